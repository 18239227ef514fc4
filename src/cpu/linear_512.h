// linear_512.h - the vector primitives of linear_codes.h and linear_simd.h with 512-bit registers (AVX-512 F, BW, DQ, VL):
// all 16 rows of a group in one. The int8 products are left to the including file, as linear_256.h says.
#include <immintrin.h>

#include "cpu/linear.h"

typedef __m512i VI;
typedef __m512 VF;
enum { LANES = 16, AHEAD = 2048 };
#define LINEAR_BIASED // conversions to float cost as much as multiply-adds, which save them
#define LINEAR_PAIRS // tiles over two groups: a group is one vector, too few products for each load of activations

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
static inline VI vi_sub8(VI a, VI b) { return _mm512_sub_epi8(a, b); }
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
// One value for all lanes, at some address: operands in memory are broadcast for nothing. Written out, since gcc 12 shares broadcasts,
// instructions of their own, among products.
typedef const void *vi_one;
typedef const float *vf_one;
static inline vi_one vi_one_at(const void *p) { return p; }
static inline vf_one vf_one_at(const float *p) { return p; }
static inline VF vf_fma_one(vf_one a, VF b, VF c) {
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a));
    return c;
}
static inline VF vf_neg(VF a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0f)); }
