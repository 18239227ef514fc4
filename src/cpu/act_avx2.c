// act_avx2.c - activations quantized with AVX2: the operations of act.c, so the same bits.
#include <immintrin.h>

#include "cpu/act.h"

static inline __m256i magnitude(__m256 v) { return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff)); }

static inline float max_lane(__m256i v) { // of magnitudes, as act.c orders them
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(m));
}

static inline int sum_lanes(__m256i v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1)));
}

typedef struct levels {
    __m256i v[4]; // 32 integers
    float d;
} levels;

static inline levels quantize(const float *x, float top) {
    levels l;
    __m256 f[4];
    for (int i = 0; i < 4; i++) f[i] = _mm256_loadu_ps(x + 8 * i);
    __m256i m = _mm256_max_epu32(_mm256_max_epu32(magnitude(f[0]), magnitude(f[1])), _mm256_max_epu32(magnitude(f[2]), magnitude(f[3])));
    float max = max_lane(m);
    bool plain = max >= ACT_TINY && max <= 0x1.fffffep127f; // neither tiny nor infinite nor NaN
    l.d = max < ACT_TINY ? 0 : max / top;
    __m256 inverse = _mm256_set1_ps(plain ? top / max : 0);
    for (int i = 0; i < 4; i++) l.v[i] = plain ? _mm256_cvtps_epi32(_mm256_mul_ps(f[i], inverse)) : _mm256_setzero_si256();
    return l;
}

static inline __m256i pack(const __m256i v[4]) { // 32 values that fit in int8
    __m256i a = _mm256_packs_epi32(v[0], v[1]), b = _mm256_packs_epi32(v[2], v[3]);
    return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

static inline int sum16(const __m256i v[2]) { return sum_lanes(_mm256_add_epi32(v[0], v[1])); }

static inline void quantize_q8(const float *x, act_q8 *b) {
    levels l = quantize(x, 127);
    __m256i q = pack(l.v), s = _mm256_sad_epu8(_mm256_xor_si256(q, _mm256_set1_epi8(-128)), _mm256_setzero_si256()); // of q + 128, by 8
    s = _mm256_add_epi64(s, _mm256_shuffle_epi32(s, 0x4e));
    int s0 = _mm_cvtsi128_si32(_mm256_castsi256_si128(s)) - 16 * 128, s1 = _mm_cvtsi128_si32(_mm256_extracti128_si256(s, 1)) - 16 * 128;
    _mm256_storeu_si256((__m256i *)(void *)b->q, q);
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    b->sum[0] = (int16_t)s0, b->sum[1] = (int16_t)s1;
}

static inline void quantize_q16(const float *x, act_q16 *b) {
    levels l = quantize(x, ACT_WIDE_MAX);
    __m256i hi[4], lo[4];
    for (int i = 0; i < 4; i++) {
        hi[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(l.v[i]), _mm256_set1_ps(1.0f / ACT_BASE)));
        lo[i] = _mm256_sub_epi32(l.v[i], _mm256_mullo_epi32(hi[i], _mm256_set1_epi32(ACT_BASE)));
    }
    int s0 = sum16(l.v), s1 = sum16(l.v + 2);
    memset(b, 0, sizeof *b);
    _mm256_storeu_si256((__m256i *)(void *)b->hi, pack(hi));
    _mm256_storeu_si256((__m256i *)(void *)b->lo, pack(lo));
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    for (int h = 0; h < 2; h++) b->sum_hi[h] = (int16_t)sum16(hi + 2 * h), b->sum_lo[h] = (int16_t)sum16(lo + 2 * h);
}

#include "cpu/act_rows.h"

void act_quantize_avx2(act_kind kind, const float *x, void *dst, int64_t k) { act_quantize_row(kind, x, dst, k); }
