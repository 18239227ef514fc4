// linear_avx512.c - linear() for AVX-512 F, BW, DQ, VL and VNNI.
#include "cpu/linear_512.h"

static inline int vi_step(int bits) { // sums are int32: any number fits
    (void)bits;
    return 8;
}
static inline VI vi_mac(VI s, VI w, VI a) { return _mm512_dpbusd_epi32(s, w, a); }
static inline VI vi_first(VI w, VI a) { return vi_mac(_mm512_setzero_si512(), w, a); }
static inline VI vi_total(VI s) { return s; }
// Signed codes are read as unsigned, 128 more, which the start value takes back.
static inline VI vi_s8(VI w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
static inline VI vi_first_s8(const void *sum, VI w, VI a) {
    return vi_mac(_mm512_madd_epi16(vi_bcast(sum), _mm512_set1_epi16(-128)), w, a);
}
static inline VI vi_mac_s8(VI s, VI w, VI a) { return vi_mac(s, w, a); }

#include "cpu/linear_simd.h"

void linear_avx512(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avx512(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->act_quantize = act_quantize_avx512;
    k->linear = linear_avx512;
}
