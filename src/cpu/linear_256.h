// linear_256.h - the vector primitives of linear_simd.h with 256-bit registers (AVX2, FMA, F16C): 8 lanes of 32 bits.
// The int8 products are left to the including file:
//   vi_mac, vi_mac_one int32 lane += sum of 4 unsigned codes times 4 int8
//   vi_s8, vi_mac_s8   the same for Q8_0's codes, which vi_s8 makes ZERO_8 more than they are
//   vi_pair            int32 lane += two int16 factors times two int16 in memory
// and where LINEAR_RUNS is defined, for codes of fewer than 8 bits instead of vi_mac:
//   vi_step(bits)      how many products may be summed in int16, 2 in each lane
//   vi_first16, vi_mac16, vi_total16   start such a run, go on, end it as int32 times a factor
#include <immintrin.h>

#include "cpu/linear.h"

typedef __m256i VI;
typedef __m256 VF;
enum { LANES = 8, AHEAD = 2048 };

static inline VI vi_load(const void *p) { return _mm256_loadu_si256(p); }
static inline void vi_store(void *p, VI v) { _mm256_storeu_si256(p, v); }
static inline VI vi_bcast(const void *p) { // no alignment is assumed
    int32_t v;
    memcpy(&v, p, 4);
    return _mm256_set1_epi32(v);
}
static inline VI vi_splat(uint32_t v) { return _mm256_set1_epi32((int32_t)v); }
static inline VI vi_and(VI a, VI b) { return _mm256_and_si256(a, b); }
static inline VI vi_or(VI a, VI b) { return _mm256_or_si256(a, b); }
static inline VI vi_add(VI a, VI b) { return _mm256_add_epi32(a, b); }
static inline VI vi_sub(VI a, VI b) { return _mm256_sub_epi32(a, b); }
#define vi_srl _mm256_srli_epi32
#define vi_sll _mm256_slli_epi32
#define vi_sra _mm256_srai_epi32
static inline VF vf_load(const void *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(void *p, VF v) { _mm256_storeu_ps(p, v); }
static inline VF vf_bcast(const float *p) { return _mm256_broadcast_ss(p); }
static inline VF vf_splat(float v) { return _mm256_set1_ps(v); }
static inline VF vf_half(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
static inline VF vf_bits(VI v) { return _mm256_castsi256_ps(v); }
static inline VF vf_int(VI v) { return _mm256_cvtepi32_ps(v); }
static inline VF vf_mul(VF a, VF b) { return _mm256_mul_ps(a, b); }
static inline VF vf_sub(VF a, VF b) { return _mm256_sub_ps(a, b); }
static inline VF vf_fma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
#include "cpu/linear_one.h"
static inline VI vi_pair(VI s, const void *pair, uint32_t factors) { return vi_add(s, _mm256_madd_epi16(vi_bcast(pair), vi_splat(factors))); }
static inline VF vf_neg(VF a) { return _mm256_xor_ps(a, _mm256_set1_ps(-0.0f)); }
