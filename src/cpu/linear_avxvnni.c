// linear_avxvnni.c - linear() for AVX2 with AVX-VNNI (256-bit VPDPBUSD): products of bytes are summed in int32.
#include "cpu/linear_256.h"

static inline VI vi_mac(VI s, VI w, VI a) { return _mm256_dpbusd_avx_epi32(s, w, a); }
static inline VI vi_mac_one(VI s, VI w, vi_one a) { return vi_mac(s, w, a); }
// Signed codes are read as unsigned, 128 more.
enum { ZERO_8 = 128 };
static inline VI vi_s8(VI w) { return _mm256_xor_si256(w, _mm256_set1_epi8(-128)); }
static inline VI vi_mac_s8(VI s, VI w, vi_one a) { return vi_mac(s, w, a); }

#include "cpu/linear_simd.h"

static void linear_avxvnni(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avxvnni(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->linear = linear_avxvnni;
}
