// linear_avx512.c - linear() for AVX-512 F, BW, DQ, VL and VNNI.
#include "cpu/linear_512.h"

static inline VI vi_mac(VI s, VI w, VI a) { return _mm512_dpbusd_epi32(s, w, a); }
static inline VI vi_mac_one(VI s, VI w, vi_one a) { // written out, as vf_fma_one() is
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(s) : "v"(w), "m"(*(const char (*)[4])a));
    return s;
}
static inline VI vi_pair(VI s, const void *pair, uint32_t factors) { // likewise
    __asm__("vpdpwssd %2%{1to16%}, %1, %0" : "+v"(s) : "v"(vi_splat(factors)), "m"(*(const char (*)[4])pair));
    return s;
}
// Signed codes are read as unsigned, 128 more.
enum { ZERO_8 = 128 };
static inline VI vi_s8(VI w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
static inline VI vi_mac_s8(VI s, VI w, vi_one a) { return vi_mac_one(s, w, a); }

#include "cpu/linear_simd.h"

void linear_avx512(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avx512(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->act_quantize = act_quantize_avx512;
    k->linear = linear_avx512;
}
