// simd_avx2.h - the vector words that vec_core.h, map_core.h, gemm_core.h and attention_core.h are written in: AVX2, FMA, F16C.
// simd_avx512.h and simd_neon.h give the same words for AVX-512 and AArch64; a translation unit includes one of them, then the cores.
#ifndef TL_CPU_SIMD_H
#define TL_CPU_SIMD_H
#include <immintrin.h>

#include "cpu/kernels.h"

#define V_NAME(f) f##_avx2
#define V_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    V_N = 8,
    GEMM_ROWS = 6, GEMM_VECS = 2, // accumulators of a tile of the product
    QK_ROWS = 3,                  // query vectors a score tile holds (times 4 keys)
    QP_ROWS = 3, QP_VECS = 2,     // and with turned keys: query vectors, vectors of keys
    PV_ROWS = 6, PV_SUMS = 12,    // query vectors a value tile holds, and its accumulators
};
#define QP_WIDEST 128 // keys of more values are not turned: nothing is gained; 0: none are
typedef __m256 vf;
typedef __m256i vi;
typedef __m256 vm; // a comparison's result

V_INLINE vf v_set1(float x) { return _mm256_set1_ps(x); }
V_INLINE void v_keep(vf *a) { __asm__("" : "+x"(*a)); } // in a register: not loaded again at each use
V_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
V_INLINE vf v_load(const float *p) { return _mm256_loadu_ps(p); }
V_INLINE void v_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
V_INLINE vf v_add(vf a, vf b) { return _mm256_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm256_div_ps(a, b); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }   // a b + c
V_INLINE vf v_fms(vf a, vf b, vf c) { return _mm256_fmsub_ps(a, b, c); }   // a b - c
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); } // c - a b
#include "cpu/simd_one.h"
V_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); } // a < b ? a : b, so b where one is NaN
V_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); } // a > b ? a : b
V_INLINE vf v_sqrt(vf a) { return _mm256_sqrt_ps(a); }
V_INLINE vf v_floor(vf a) { return _mm256_floor_ps(a); }
V_INLINE vf v_ceil(vf a) { return _mm256_ceil_ps(a); }
V_INLINE vf v_trunc(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
V_INLINE vf v_rint(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

V_INLINE vf v_and(vf a, vf b) { return _mm256_and_ps(a, b); }
V_INLINE vf v_or(vf a, vf b) { return _mm256_or_ps(a, b); }
V_INLINE vf v_xor(vf a, vf b) { return _mm256_xor_ps(a, b); }
V_INLINE vf v_andnot(vf a, vf b) { return _mm256_andnot_ps(a, b); } // ~a & b
V_INLINE vm v_lt(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
V_INLINE vm v_le(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
V_INLINE vm v_eq(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
V_INLINE vm v_ne(vf a, vf b) { return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ); } // true where one is NaN, as in C
V_INLINE vm v_mand(vm a, vm b) { return _mm256_and_ps(a, b); }
V_INLINE vm v_mor(vm a, vm b) { return _mm256_or_ps(a, b); }
V_INLINE vf v_sel(vm m, vf a, vf b) { return _mm256_blendv_ps(b, a, m); } // m ? a : b
V_INLINE bool v_any(vm m) { return _mm256_movemask_ps(m) != 0; }

V_INLINE vi v_bits(vf a) { return _mm256_castps_si256(a); }
V_INLINE vf v_float(vi a) { return _mm256_castsi256_ps(a); }
V_INLINE vi v_iset1(int32_t x) { return _mm256_set1_epi32(x); }
V_INLINE vi v_iadd(vi a, vi b) { return _mm256_add_epi32(a, b); }
V_INLINE vi v_isub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
V_INLINE vi v_iand(vi a, vi b) { return _mm256_and_si256(a, b); }
V_INLINE vi v_ishl(vi a, int n) { return _mm256_slli_epi32(a, n); }
V_INLINE vi v_isar(vi a, int n) { return _mm256_srai_epi32(a, n); }
V_INLINE vf v_from_int(vi a) { return _mm256_cvtepi32_ps(a); }
V_INLINE vi v_to_int(vf a) { return _mm256_cvtps_epi32(a); } // nearest even
V_INLINE vi v_lanes(void) { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
V_INLINE vm v_ilt(vi a, vi b) { return _mm256_castsi256_ps(_mm256_cmpgt_epi32(b, a)); }

V_INLINE float v_first(vf a) { return _mm256_cvtss_f32(a); }
V_INLINE vm v_from_bits(uint32_t bits) { // lane i by bit i
    vi lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), lane), lane));
}

// The first n lanes (0 <= n <= V_N) of memory; nothing past them is touched, and the other lanes are 0.
V_INLINE vf v_loadn(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), v_lanes()));
}
V_INLINE void v_storen(float *p, vf a, int64_t n) {
    float t[8];
    _mm256_storeu_ps(t, a);
    memcpy(p, t, (size_t)n * sizeof *p);
}

// a * 2^n for integral n from -252 to 254, correctly rounded unless a itself is subnormal.
V_INLINE vf v_scale2(vf a, vf n) {
    vi k = v_to_int(n), half = v_isar(k, 1), bias = v_iset1(127);
    vf lo = v_float(v_ishl(v_iadd(half, bias), 23)), hi = v_float(v_ishl(v_iadd(v_isub(k, half), bias), 23));
    return v_mul(v_mul(a, lo), hi);
}
// 0 where m, else a * 2^n, which is normal there.
V_INLINE vf v_clear_scale2(vm m, vf a, vf n) { return v_andnot(m, v_mul(a, v_float(v_ishl(v_iadd(v_to_int(n), v_iset1(127)), 23)))); }

// Sums and maxima over lanes, always by halves: lane i with i + 4, then + 2, then + 1.
V_INLINE __m128 v_fold(vf a) { return _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1)); }
V_INLINE float v_hsum(vf a) {
    __m128 t = v_fold(a);
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
V_INLINE float v_hmax(vf a) {
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
// The same sums of four vectors at once, to p[0..3]; and of four more to r[0..3].
V_INLINE void v_hsum4(float *p, const vf a[4]) {
    __m128 t0 = v_fold(a[0]), t1 = v_fold(a[1]), t2 = v_fold(a[2]), t3 = v_fold(a[3]);
    __m128 lo = _mm_add_ps(_mm_unpacklo_ps(t0, t1), _mm_unpackhi_ps(t0, t1)); // by lane: 0+2 of t0, t1, then 1+3 of them
    __m128 hi = _mm_add_ps(_mm_unpacklo_ps(t2, t3), _mm_unpackhi_ps(t2, t3));
    _mm_storeu_ps(p, _mm_add_ps(_mm_movelh_ps(lo, hi), _mm_movehl_ps(hi, lo)));
}
V_INLINE vf v_fold2(vf a, vf b) { return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31)); }
V_INLINE void v_hsum4x2(float *p, float *r, const vf a[4], const vf b[4]) {
    vf t0 = v_fold2(a[0], b[0]), t1 = v_fold2(a[1], b[1]), t2 = v_fold2(a[2], b[2]), t3 = v_fold2(a[3], b[3]);
    vf lo = _mm256_add_ps(_mm256_unpacklo_ps(t0, t1), _mm256_unpackhi_ps(t0, t1));
    vf hi = _mm256_add_ps(_mm256_unpacklo_ps(t2, t3), _mm256_unpackhi_ps(t2, t3));
    vf sum = _mm256_add_ps(_mm256_shuffle_ps(lo, hi, 0x44), _mm256_shuffle_ps(lo, hi, 0xee));
    _mm_storeu_ps(p, _mm256_castps256_ps128(sum));
    _mm_storeu_ps(r, _mm256_extractf128_ps(sum, 1));
}

// x = q pi/2 + r for |x| up to 1e9, reduced in double: r good to float32, q's low bits the quadrant.
V_INLINE __m128 v_reduce_half(__m128 x, __m128i *q) {
    __m256d d = _mm256_cvtps_pd(x);
    __m256d n = _mm256_round_pd(_mm256_mul_pd(d, _mm256_set1_pd(0x1.45f306dc9c883p-1)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    d = _mm256_fnmadd_pd(n, _mm256_set1_pd(0x1.921fb54442d18p+0), d);
    d = _mm256_fnmadd_pd(n, _mm256_set1_pd(0x1.1a62633145c07p-54), d);
    *q = _mm256_cvtpd_epi32(n);
    return _mm256_cvtpd_ps(d);
}
V_INLINE vf v_reduce(vf x, vi *q) {
    __m128i q0, q1;
    __m128 r0 = v_reduce_half(_mm256_castps256_ps128(x), &q0), r1 = v_reduce_half(_mm256_extractf128_ps(x, 1), &q1);
    *q = _mm256_set_m128i(q1, q0);
    return _mm256_set_m128(r1, r0);
}

// Narrow types.
V_INLINE float v_f16(uint16_t h) { return _cvtsh_ss(h); }
V_INLINE vf v_load_f16(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
V_INLINE void v_store_f16(void *p, vf a) { _mm_storeu_si128(p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }
V_INLINE vf v_load_bf16(const void *p) { return v_float(v_ishl(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16)); }
V_INLINE void v_store_u16(void *p, vi a) { // the low halves of values below 65536
    __m128i t = _mm_packus_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    _mm_storeu_si128(p, t);
}
V_INLINE vi v_ishr(vi a, int n) { return _mm256_srli_epi32(a, n); }
V_INLINE vf v_load_i8(const void *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p))); }
V_INLINE void v_store_i8(void *p, vf a) { // rounded to nearest even; must be in range
    __m256i i = _mm256_cvtps_epi32(a);
    __m128i t = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64(p, _mm_packs_epi16(t, t));
}

// to[d][r] = from[r][d] of 16 by 16 values; `stride` between rows of `from`, 16 between those of `to`.
V_INLINE void v_turn(const float *from, int64_t stride, float *to) {
    for (int r = 0; r < 16; r += 8)
        V_UNROLL for (int d = 0; d < 16; d += 4) {
            __m256 a[4]; // halves: rows i and i + 4
            V_UNROLL for (int i = 0; i < 4; i++) {
                const float *p = from + (r + i) * stride + d;
                a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * stride), 1);
            }
            __m256 lo0 = _mm256_unpacklo_ps(a[0], a[1]), lo1 = _mm256_unpacklo_ps(a[2], a[3]);
            __m256 hi0 = _mm256_unpackhi_ps(a[0], a[1]), hi1 = _mm256_unpackhi_ps(a[2], a[3]);
            v_store(to + 16 * d + r, _mm256_shuffle_ps(lo0, lo1, 0x44));
            v_store(to + 16 * d + 16 + r, _mm256_shuffle_ps(lo0, lo1, 0xee));
            v_store(to + 16 * d + 32 + r, _mm256_shuffle_ps(hi0, hi1, 0x44));
            v_store(to + 16 * d + 48 + r, _mm256_shuffle_ps(hi0, hi1, 0xee));
        }
}

// Pairs (2i, 2i + 1).
V_INLINE vf v_load_twice(const float *p) { // p0 p0 p1 p1 ..
    return _mm256_permutevar8x32_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
}
V_INLINE vf v_swap_pairs(vf a) { return _mm256_permute_ps(a, 0xb1); }
V_INLINE vf v_fmaddsub(vf a, vf b, vf c) { return _mm256_fmaddsub_ps(a, b, c); } // a b - c in even lanes, + in odd
#endif
