// simd_avx512.h - the words of simd_avx2.h (see there) in AVX-512 F, BW, DQ and VL.
#ifndef TL_CPU_SIMD_H
#define TL_CPU_SIMD_H
#include <immintrin.h>

#include "cpu/kernels.h"

#define V_NAME(f) f##_avx512
#define V_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    V_N = 16,
    GEMM_ROWS = 12, GEMM_VECS = 2,
    QK_ROWS = 6,
    QP_ROWS = 6, QP_VECS = 1,
    PV_ROWS = 12, PV_SUMS = 24,
};
#define QP_WIDEST INT64_MAX
typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;

V_INLINE vf v_set1(float x) { return _mm512_set1_ps(x); }
V_INLINE void v_keep(vf *a) { __asm__("" : "+v"(*a)); } // in a register: not loaded again at each use
V_INLINE vf v_now(vf a) { // worked out here: compilers put sums off, and run out of registers
    __asm__ volatile("" : "+v"(a));
    return a;
}
V_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
V_INLINE vf v_load(const float *p) { return _mm512_loadu_ps(p); }
V_INLINE void v_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
V_INLINE vf v_add(vf a, vf b) { return _mm512_add_ps(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
V_INLINE vf v_div(vf a, vf b) { return _mm512_div_ps(a, b); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
V_INLINE vf v_fms(vf a, vf b, vf c) { return _mm512_fmsub_ps(a, b, c); }
V_INLINE vf v_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
// One value for all lanes, at some address: operands in memory are broadcast for nothing. Written out, since gcc 12 shares broadcasts,
// instructions of their own, among products.
typedef const float *v_one;
V_INLINE v_one v_one_at(const float *p) { return p; }
V_INLINE vf v_mul_one(v_one a, vf b) {
    vf c;
    __asm__ volatile("vmulps %2%{1to16%}, %1, %0" : "=v"(c) : "v"(b), "m"(*a));
    return c;
}
V_INLINE vf v_fma_one(v_one a, vf b, vf c) {
    __asm__ volatile("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(c) : "v"(b), "m"(*a));
    return c;
}
V_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
V_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); }
V_INLINE vf v_sqrt(vf a) { return _mm512_sqrt_ps(a); }
V_INLINE vf v_floor(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
V_INLINE vf v_ceil(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
V_INLINE vf v_trunc(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC); }
V_INLINE vf v_rint(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

V_INLINE vf v_and(vf a, vf b) { return _mm512_and_ps(a, b); }
V_INLINE vf v_or(vf a, vf b) { return _mm512_or_ps(a, b); }
V_INLINE vf v_xor(vf a, vf b) { return _mm512_xor_ps(a, b); }
V_INLINE vf v_andnot(vf a, vf b) { return _mm512_andnot_ps(a, b); }
V_INLINE vm v_lt(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
V_INLINE vm v_le(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ); }
V_INLINE vm v_eq(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
V_INLINE vm v_ne(vf a, vf b) { return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ); }
V_INLINE vm v_mand(vm a, vm b) { return (vm)(a & b); }
V_INLINE vm v_mor(vm a, vm b) { return (vm)(a | b); }
V_INLINE vf v_sel(vm m, vf a, vf b) { return _mm512_mask_blend_ps(m, b, a); }
V_INLINE bool v_any(vm m) { return m != 0; }

V_INLINE vi v_bits(vf a) { return _mm512_castps_si512(a); }
V_INLINE vf v_float(vi a) { return _mm512_castsi512_ps(a); }
V_INLINE vi v_iset1(int32_t x) { return _mm512_set1_epi32(x); }
V_INLINE vi v_iadd(vi a, vi b) { return _mm512_add_epi32(a, b); }
V_INLINE vi v_isub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
V_INLINE vi v_iand(vi a, vi b) { return _mm512_and_si512(a, b); }
V_INLINE vi v_ishl(vi a, unsigned n) { return _mm512_slli_epi32(a, n); }
V_INLINE vi v_ishr(vi a, unsigned n) { return _mm512_srli_epi32(a, n); }
V_INLINE vi v_isar(vi a, unsigned n) { return _mm512_srai_epi32(a, n); }
V_INLINE vf v_from_int(vi a) { return _mm512_cvtepi32_ps(a); }
V_INLINE vi v_to_int(vf a) { return _mm512_cvtps_epi32(a); }
V_INLINE vi v_lanes(void) { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
V_INLINE vm v_ilt(vi a, vi b) { return _mm512_cmplt_epi32_mask(a, b); }

V_INLINE float v_first(vf a) { return _mm512_cvtss_f32(a); }
V_INLINE vm v_from_bits(uint32_t bits) { return (vm)bits; }

V_INLINE vf v_loadn(const float *p, int64_t n) { return _mm512_maskz_loadu_ps((vm)((1u << n) - 1), p); }
V_INLINE void v_storen(float *p, vf a, int64_t n) { _mm512_mask_storeu_ps(p, (vm)((1u << n) - 1), a); }

V_INLINE vf v_scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); }
V_INLINE vf v_clear_scale2(vm m, vf a, vf n) { return _mm512_maskz_scalef_ps((vm)~m, a, n); }

// Sums and maxima over lanes, always by halves: lane i with i + 8, then + 4, + 2, + 1.
V_INLINE __m256 v_fold8(vf a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
V_INLINE __m128 v_fold(vf a) {
    __m256 t = v_fold8(a);
    return _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1));
}
V_INLINE float v_hsum(vf a) {
    __m128 t = v_fold(a);
    t = _mm_add_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_add_ss(t, _mm_movehdup_ps(t)));
}
V_INLINE float v_hmax(vf a) {
    __m256 u = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(u), _mm256_extractf128_ps(u, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    return _mm_cvtss_f32(_mm_max_ss(t, _mm_movehdup_ps(t)));
}
V_INLINE void v_hsum4(float *p, const vf a[4]) {
    __m128 t0 = v_fold(a[0]), t1 = v_fold(a[1]), t2 = v_fold(a[2]), t3 = v_fold(a[3]);
    __m128 lo = _mm_add_ps(_mm_unpacklo_ps(t0, t1), _mm_unpackhi_ps(t0, t1));
    __m128 hi = _mm_add_ps(_mm_unpacklo_ps(t2, t3), _mm_unpackhi_ps(t2, t3));
    _mm_storeu_ps(p, _mm_add_ps(_mm_movelh_ps(lo, hi), _mm_movehl_ps(hi, lo)));
}
V_INLINE __m256 v_fold2(vf a, vf b) { // v_fold of both
    vf t = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee)); // a0+a2 a1+a3 b0+b2 b1+b3 by quarters
    __m256 lo = _mm512_castps512_ps256(t), hi = _mm512_extractf32x8_ps(t, 1);
    return _mm256_add_ps(_mm256_permute2f128_ps(lo, hi, 0x20), _mm256_permute2f128_ps(lo, hi, 0x31));
}
V_INLINE void v_hsum4x2(float *p, float *r, const vf a[4], const vf b[4]) {
    __m256 t0 = v_fold2(a[0], b[0]), t1 = v_fold2(a[1], b[1]), t2 = v_fold2(a[2], b[2]), t3 = v_fold2(a[3], b[3]);
    __m256 lo = _mm256_add_ps(_mm256_unpacklo_ps(t0, t1), _mm256_unpackhi_ps(t0, t1));
    __m256 hi = _mm256_add_ps(_mm256_unpacklo_ps(t2, t3), _mm256_unpackhi_ps(t2, t3));
    __m256 sum = _mm256_add_ps(_mm256_shuffle_ps(lo, hi, 0x44), _mm256_shuffle_ps(lo, hi, 0xee));
    _mm_storeu_ps(p, _mm256_castps256_ps128(sum));
    _mm_storeu_ps(r, _mm256_extractf128_ps(sum, 1));
}

V_INLINE __m256 v_reduce_half(__m256 x, __m256i *q) {
    __m512d d = _mm512_cvtps_pd(x);
    __m512d n = _mm512_roundscale_pd(_mm512_mul_pd(d, _mm512_set1_pd(0x1.45f306dc9c883p-1)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    d = _mm512_fnmadd_pd(n, _mm512_set1_pd(0x1.921fb54442d18p+0), d);
    d = _mm512_fnmadd_pd(n, _mm512_set1_pd(0x1.1a62633145c07p-54), d);
    *q = _mm512_cvtpd_epi32(n);
    return _mm512_cvtpd_ps(d);
}
V_INLINE vf v_reduce(vf x, vi *q) {
    __m256i q0, q1;
    __m256 r0 = v_reduce_half(_mm512_castps512_ps256(x), &q0), r1 = v_reduce_half(_mm512_extractf32x8_ps(x, 1), &q1);
    *q = _mm512_inserti64x4(_mm512_castsi256_si512(q0), q1, 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(r0), r1, 1);
}

V_INLINE float v_f16(uint16_t h) { return _cvtsh_ss(h); }
V_INLINE vf v_load_f16(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
V_INLINE void v_store_f16(void *p, vf a) { _mm256_storeu_si256(p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)); }
V_INLINE vf v_load_bf16(const void *p) { return v_float(v_ishl(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16)); }
V_INLINE void v_store_u16(void *p, vi a) { _mm256_storeu_si256(p, _mm512_cvtepi32_epi16(a)); }
V_INLINE vf v_load_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }
V_INLINE void v_store_i8(void *p, vf a) { _mm_storeu_si128(p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(a))); }

V_INLINE void v_turn(const float *from, int64_t stride, float *to) {
    V_UNROLL for (int d = 0; d < 16; d += 4) {
        __m512 a[4]; // quarters: rows i, i + 4, i + 8, i + 12
        V_UNROLL for (int i = 0; i < 4; i++) {
            const float *p = from + i * stride + d;
            a[i] = _mm512_castps128_ps512(_mm_loadu_ps(p));
            a[i] = _mm512_insertf32x4(a[i], _mm_loadu_ps(p + 4 * stride), 1);
            a[i] = _mm512_insertf32x4(a[i], _mm_loadu_ps(p + 8 * stride), 2);
            a[i] = _mm512_insertf32x4(a[i], _mm_loadu_ps(p + 12 * stride), 3);
        }
        __m512 lo0 = _mm512_unpacklo_ps(a[0], a[1]), lo1 = _mm512_unpacklo_ps(a[2], a[3]);
        __m512 hi0 = _mm512_unpackhi_ps(a[0], a[1]), hi1 = _mm512_unpackhi_ps(a[2], a[3]);
        v_store(to + 16 * d, _mm512_shuffle_ps(lo0, lo1, 0x44));
        v_store(to + 16 * d + 16, _mm512_shuffle_ps(lo0, lo1, 0xee));
        v_store(to + 16 * d + 32, _mm512_shuffle_ps(hi0, hi1, 0x44));
        v_store(to + 16 * d + 48, _mm512_shuffle_ps(hi0, hi1, 0xee));
    }
}

V_INLINE vf v_load_twice(const float *p) {
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), _mm512_castps256_ps512(_mm256_loadu_ps(p)));
}
V_INLINE vf v_swap_pairs(vf a) { return _mm512_permute_ps(a, 0xb1); }
V_INLINE vf v_fmaddsub(vf a, vf b, vf c) { return _mm512_fmaddsub_ps(a, b, c); }
#endif
