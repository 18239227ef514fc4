// act_avx512.c - activations quantized with AVX-512 (F, BW, DQ, VL, VNNI): the operations of act.c, so the same bits.
#include <immintrin.h>

#include "cpu/act.h"

typedef struct levels {
    __m512i v[2]; // 32 integers
    float d;
} levels;

static inline __m512i magnitude(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

static inline float max_lane(__m512i v) { // of magnitudes, as act.c orders them
    __m256i m = _mm256_max_epu32(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i h = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0x4e));
    h = _mm_max_epu32(h, _mm_shuffle_epi32(h, 0xb1));
    return _mm_cvtss_f32(_mm_castsi128_ps(h));
}

static inline levels quantize(const float *x, float top) {
    levels l;
    __m512 f0 = _mm512_loadu_ps(x), f1 = _mm512_loadu_ps(x + 16);
    float max = max_lane(_mm512_max_epu32(magnitude(f0), magnitude(f1)));
    bool plain = max >= ACT_TINY && max <= 0x1.fffffep127f; // neither tiny nor infinite nor NaN
    __mmask16 keep = (__mmask16)(plain ? 0xffff : 0);
    l.d = max < ACT_TINY ? 0 : max / top;
    __m512 inverse = _mm512_set1_ps(top / max);
    l.v[0] = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(f0, inverse));
    l.v[1] = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(f1, inverse));
    return l;
}

static inline __m256i pack(__m512i a, __m512i b) { // 32 values that fit in int8
    return _mm256_set_m128i(_mm512_cvtepi32_epi8(b), _mm512_cvtepi32_epi8(a));
}

// Sums of the first and the last 16 bytes.
static inline __m128i sums(__m256i bytes) {
    __m256i s = _mm256_dpbusd_epi32(_mm256_setzero_si256(), _mm256_set1_epi8(1), bytes);
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4e));
    s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0xb1));
    return _mm_unpacklo_epi32(_mm256_castsi256_si128(s), _mm256_extracti128_si256(s, 1));
}

static inline void quantize_q8(const float *x, act_q8 *b) {
    levels l = quantize(x, 127);
    __m256i q = pack(l.v[0], l.v[1]);
    __m128i s = sums(q);
    int s0 = _mm_cvtsi128_si32(s), s1 = _mm_extract_epi32(s, 1);
    _mm256_storeu_si256((__m256i *)(void *)b->q, q);
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    b->sum[0] = (int16_t)s0, b->sum[1] = (int16_t)s1;
}

static inline void quantize_q16(const float *x, act_q16 *b) {
    levels l = quantize(x, ACT_WIDE_MAX);
    __m512i hi[2], lo[2];
    for (int i = 0; i < 2; i++) {
        hi[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(l.v[i]), _mm512_set1_ps(1.0f / ACT_BASE)));
        lo[i] = _mm512_sub_epi32(l.v[i], _mm512_mullo_epi32(hi[i], _mm512_set1_epi32(ACT_BASE)));
    }
    __m256i upper = pack(hi[0], hi[1]), lower = pack(lo[0], lo[1]);
    __m128i h = sums(upper), w = sums(lower), s = _mm_add_epi32(_mm_mullo_epi32(h, _mm_set1_epi32(ACT_BASE)), w);
    int s0 = _mm_cvtsi128_si32(s), s1 = _mm_extract_epi32(s, 1);
    _mm256_storeu_si256((__m256i *)(void *)b->hi, upper);
    _mm256_storeu_si256((__m256i *)(void *)b->lo, lower);
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    b->sum_hi[0] = (int16_t)_mm_cvtsi128_si32(h), b->sum_hi[1] = (int16_t)_mm_extract_epi32(h, 1);
    b->sum_lo[0] = (int16_t)_mm_cvtsi128_si32(w), b->sum_lo[1] = (int16_t)_mm_extract_epi32(w, 1);
    memset(b->pad, 0, sizeof b->pad);
}

// Four blocks at once, which share the steps across lanes and the divisions. False where one of them is not plain.
typedef struct four_levels {
    __m512i v[8];
    __m128 d;
} four_levels;
static inline bool quantize_four(const float *x, float top, four_levels *l) {
    __m512 f[8];
    __m512i m[4];
    for (int i = 0; i < 8; i++) f[i] = _mm512_loadu_ps(x + 16 * i);
    for (int i = 0; i < 4; i++) m[i] = _mm512_max_epu32(magnitude(f[2 * i]), magnitude(f[2 * i + 1]));
    for (int i = 0; i < 4; i += 2) m[i] = _mm512_max_epu32(_mm512_shuffle_i32x4(m[i], m[i + 1], 0x44), _mm512_shuffle_i32x4(m[i], m[i + 1], 0xee));
    m[0] = _mm512_max_epu32(_mm512_shuffle_i32x4(m[0], m[2], 0x88), _mm512_shuffle_i32x4(m[0], m[2], 0xdd)); // a quarter for each block
    m[0] = _mm512_max_epu32(m[0], _mm512_shuffle_epi32(m[0], 0x4e));
    m[0] = _mm512_max_epu32(m[0], _mm512_shuffle_epi32(m[0], 0xb1));
    __m128 max = _mm_castsi128_ps(_mm512_castsi512_si128(_mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), m[0])));
    __mmask8 plain = _mm_cmp_ps_mask(max, _mm_set1_ps(ACT_TINY), _CMP_GE_OQ) & _mm_cmp_ps_mask(max, _mm_set1_ps(0x1.fffffep127f), _CMP_LE_OQ);
    if ((plain & 15) != 15) return false;
    l->d = _mm_div_ps(max, _mm_set1_ps(top));
    __m512 inverse = _mm512_castps128_ps512(_mm_div_ps(_mm_set1_ps(top), max));
    for (int i = 0; i < 8; i++) l->v[i] = _mm512_cvtps_epi32(_mm512_mul_ps(f[i], _mm512_permutexvar_ps(_mm512_set1_epi32(i / 2), inverse)));
    return true;
}

typedef struct four_bytes {
    __m512i q[2];    // two blocks each
    __m128i sum[2];  // of the blocks' first and last 16
} four_bytes;
static inline four_bytes pack_four(const __m512i v[8]) { // values that fit in int8
    four_bytes f;
    __m512i s[2];
    for (int i = 0; i < 2; i++) { // sums: a quarter for each 16
        __m512i lo = _mm512_packs_epi32(v[4 * i], v[4 * i + 1]), hi = _mm512_packs_epi32(v[4 * i + 2], v[4 * i + 3]);
        f.q[i] = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), _mm512_packs_epi16(lo, hi));
        s[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), _mm512_set1_epi8(1), f.q[i]);
        s[i] = _mm512_add_epi32(s[i], _mm512_shuffle_epi32(s[i], 0x4e));
        s[i] = _mm512_add_epi32(s[i], _mm512_shuffle_epi32(s[i], 0xb1));
    }
    __m256i sums = _mm512_castsi512_si256(_mm512_permutex2var_epi32(s[0], _mm512_setr_epi32(0, 8, 16, 24, 4, 12, 20, 28, 0, 0, 0, 0, 0, 0, 0, 0), s[1]));
    f.sum[0] = _mm256_castsi256_si128(sums), f.sum[1] = _mm256_extracti128_si256(sums, 1);
    return f;
}
static inline void store_block(int8_t q[ACT_BLOCK], const four_bytes *f, int i) {
    _mm256_storeu_si256((__m256i *)(void *)q, i % 2 ? _mm512_extracti64x4_epi64(f->q[i / 2], 1) : _mm512_castsi512_si256(f->q[i / 2]));
}
static inline __m128i pair_sums(const four_bytes *f) { // as int16, first and last
    return _mm_or_si128(_mm_and_si128(f->sum[0], _mm_set1_epi32(0xffff)), _mm_slli_epi32(f->sum[1], 16));
}

static inline void quantize_q8_four(const float *x, act_q8 *b) {
    four_levels l;
    if (!quantize_four(x, 127, &l)) {
        for (int i = 0; i < 4; i++) quantize_q8(x + i * ACT_BLOCK, b + i);
        return;
    }
    four_bytes f = pack_four(l.v);
    for (int i = 0; i < 4; i++) store_block(b[i].q, &f, i);
    __m128 r0 = l.d, r1 = _mm_mul_ps(l.d, _mm_cvtepi32_ps(_mm_add_epi32(f.sum[0], f.sum[1]))), r2 = _mm_mul_ps(l.d, _mm_cvtepi32_ps(f.sum[1]));
    __m128 r3 = _mm_castsi128_ps(pair_sums(&f));
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3); // a block's d, ds, ds1, sum
    _mm_storeu_ps(&b[0].d, r0);
    _mm_storeu_ps(&b[1].d, r1);
    _mm_storeu_ps(&b[2].d, r2);
    _mm_storeu_ps(&b[3].d, r3);
}

static inline void quantize_q16_four(const float *x, act_q16 *b) {
    four_levels l;
    if (!quantize_four(x, ACT_WIDE_MAX, &l)) {
        for (int i = 0; i < 4; i++) quantize_q16(x + i * ACT_BLOCK, b + i);
        return;
    }
    __m512i hi[8], lo[8];
    for (int i = 0; i < 8; i++) {
        hi[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(l.v[i]), _mm512_set1_ps(1.0f / ACT_BASE)));
        lo[i] = _mm512_sub_epi32(l.v[i], _mm512_mullo_epi32(hi[i], _mm512_set1_epi32(ACT_BASE)));
    }
    four_bytes h = pack_four(hi), w = pack_four(lo);
    for (int i = 0; i < 4; i++) {
        store_block(b[i].hi, &h, i);
        store_block(b[i].lo, &w, i);
    }
    __m128i s0 = _mm_add_epi32(_mm_mullo_epi32(h.sum[0], _mm_set1_epi32(ACT_BASE)), w.sum[0]);
    __m128i s1 = _mm_add_epi32(_mm_mullo_epi32(h.sum[1], _mm_set1_epi32(ACT_BASE)), w.sum[1]), low = pair_sums(&w);
    __m128 r0 = l.d, r1 = _mm_mul_ps(l.d, _mm_cvtepi32_ps(_mm_add_epi32(s0, s1))), r2 = _mm_mul_ps(l.d, _mm_cvtepi32_ps(s1));
    __m128 r3 = _mm_castsi128_ps(pair_sums(&h));
    _MM_TRANSPOSE4_PS(r0, r1, r2, r3); // a block's d, ds, ds1, sum_hi; sum_lo and zeros follow
    __m128 r[4] = {r0, r1, r2, r3};
    for (int i = 0; i < 4; i++) {
        _mm_storeu_ps(&b[i].d, r[i]);
        _mm_storeu_si128((__m128i *)(void *)b[i].sum_lo, _mm_maskz_compress_epi32((__mmask8)(1 << i), low));
    }
}

#include "cpu/act_rows.h"

void act_quantize_avx512(act_kind kind, const float *x, void *dst, int64_t k) {
    int64_t b = 0;
    if (kind == ACT_Q8)
        for (; (b + 4) * ACT_BLOCK <= k; b += 4) quantize_q8_four(x + b * ACT_BLOCK, (act_q8 *)dst + b);
    if (kind == ACT_Q16)
        for (; (b + 4) * ACT_BLOCK <= k; b += 4) quantize_q16_four(x + b * ACT_BLOCK, (act_q16 *)dst + b);
    act_quantize_row(kind, x + b * ACT_BLOCK, (char *)dst + (size_t)b * act_block_bytes(kind), k - b * ACT_BLOCK);
}
