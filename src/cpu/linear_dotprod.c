// linear_dotprod.c - linear() for AArch64 with SDOT (FEAT_DotProd).
#include "cpu/linear_128.h"

static inline VI vi_mac(VI s, VI w, VI a) { return vdotq_s32(s, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a)); }

#include "cpu/linear_simd.h"

void linear_dotprod(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_dotprod(cpu_kernels *k) { k->linear = linear_dotprod; }
