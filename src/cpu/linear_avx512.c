// linear_avx512.c - linear() for AVX-512 F, BW, DQ, VL and VNNI: all 16 rows of a group in one register. The primitives
// are those that linear_256.h describes.
#include <immintrin.h>

#include "cpu/linear.h"

typedef __m512i VI;
typedef __m512 VF;
enum { LANES = 16, AHEAD = 2048 };

static inline VI vi_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void vi_store(void *p, VI v) { _mm512_storeu_si512(p, v); }
static inline VI vi_bcast(const void *p) { // no alignment is assumed
    int32_t v;
    memcpy(&v, p, 4);
    return _mm512_set1_epi32(v);
}
static inline VI vi_splat(uint32_t v) { return _mm512_set1_epi32((int32_t)v); }
static inline VI vi_and(VI a, VI b) { return _mm512_and_si512(a, b); }
static inline VI vi_or(VI a, VI b) { return _mm512_or_si512(a, b); }
static inline VI vi_add(VI a, VI b) { return _mm512_add_epi32(a, b); }
static inline VI vi_sub(VI a, VI b) { return _mm512_sub_epi32(a, b); }
#define vi_srl(v, n) _mm512_srli_epi32(v, (unsigned)(n))
#define vi_sll(v, n) _mm512_slli_epi32(v, (unsigned)(n))
#define vi_sra(v, n) _mm512_srai_epi32(v, (unsigned)(n))
static inline VF vf_load(const void *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(void *p, VF v) { _mm512_storeu_ps(p, v); }
static inline VF vf_bcast(const float *p) { return _mm512_set1_ps(*p); }
static inline VF vf_splat(float v) { return _mm512_set1_ps(v); }
static inline VF vf_half(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
static inline VF vf_bits(VI v) { return _mm512_castsi512_ps(v); }
static inline VF vf_int(VI v) { return _mm512_cvtepi32_ps(v); }
static inline VF vf_mul(VF a, VF b) { return _mm512_mul_ps(a, b); }
static inline VF vf_sub(VF a, VF b) { return _mm512_sub_ps(a, b); }
static inline VF vf_fma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }
static inline VF vf_neg(VF a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }

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

static void linear_avx512(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avx512(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->linear = linear_avx512;
}
