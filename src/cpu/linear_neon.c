// linear_neon.c - linear() for any AArch64: products of bytes in int16, summed by pairs.
#include "cpu/linear_128.h"

static inline VI vi_mac(VI s, VI w, VI a) {
    int8x16_t x = vreinterpretq_s8_s32(w), y = vreinterpretq_s8_s32(a);
    int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(y)), high = vmull_high_s8(x, y);
    return vaddq_s32(s, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)));
}

#include "cpu/linear_simd.h"

static void linear_neon(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_neon(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->act_quantize = act_quantize_neon;
    k->linear = linear_neon;
}
