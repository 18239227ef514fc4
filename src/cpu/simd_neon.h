// simd_neon.h - the words of simd_avx2.h (see there) in AArch64 NEON: 4 lanes, and 32 registers of them.
#ifndef TL_CPU_SIMD_H
#define TL_CPU_SIMD_H
#include <arm_neon.h>

#include "cpu/kernels.h"

#define V_NAME(f) f##_neon
#define V_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define V_UNROLL _Pragma("clang loop unroll(full)")
#else
#define V_UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    V_N = 4,
    GEMM_ROWS = 6, GEMM_VECS = 4,
    QK_ROWS = 4,
    PV_ROWS = 6, PV_SUMS = 16,
};
#define QP_WIDEST 0
typedef float32x4_t vf;
typedef int32x4_t vi;
typedef uint32x4_t vm;

V_INLINE vf v_set1(float x) { return vdupq_n_f32(x); }
V_INLINE void v_keep(vf *a) { __asm__("" : "+w"(*a)); }
V_INLINE vf v_zero(void) { return vdupq_n_f32(0); }
V_INLINE vf v_load(const float *p) { return vld1q_f32(p); }
V_INLINE void v_store(float *p, vf a) { vst1q_f32(p, a); }
V_INLINE vf v_add(vf a, vf b) { return vaddq_f32(a, b); }
V_INLINE vf v_sub(vf a, vf b) { return vsubq_f32(a, b); }
V_INLINE vf v_mul(vf a, vf b) { return vmulq_f32(a, b); }
V_INLINE vf v_div(vf a, vf b) { return vdivq_f32(a, b); }
V_INLINE vf v_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
V_INLINE vf v_fms(vf a, vf b, vf c) { return vfmaq_f32(vnegq_f32(c), a, b); }
V_INLINE vf v_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
#include "cpu/simd_one.h"
V_INLINE vf v_min(vf a, vf b) { return vbslq_f32(vcltq_f32(a, b), a, b); } // FMIN would keep a NaN of either
V_INLINE vf v_max(vf a, vf b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
V_INLINE vf v_sqrt(vf a) { return vsqrtq_f32(a); }
V_INLINE vf v_floor(vf a) { return vrndmq_f32(a); }
V_INLINE vf v_ceil(vf a) { return vrndpq_f32(a); }
V_INLINE vf v_trunc(vf a) { return vrndq_f32(a); }
V_INLINE vf v_rint(vf a) { return vrndnq_f32(a); }

V_INLINE vi v_bits(vf a) { return vreinterpretq_s32_f32(a); }
V_INLINE vf v_float(vi a) { return vreinterpretq_f32_s32(a); }
V_INLINE vf v_and(vf a, vf b) { return v_float(vandq_s32(v_bits(a), v_bits(b))); }
V_INLINE vf v_or(vf a, vf b) { return v_float(vorrq_s32(v_bits(a), v_bits(b))); }
V_INLINE vf v_xor(vf a, vf b) { return v_float(veorq_s32(v_bits(a), v_bits(b))); }
V_INLINE vf v_andnot(vf a, vf b) { return v_float(vbicq_s32(v_bits(b), v_bits(a))); }
V_INLINE vm v_lt(vf a, vf b) { return vcltq_f32(a, b); }
V_INLINE vm v_le(vf a, vf b) { return vcleq_f32(a, b); }
V_INLINE vm v_eq(vf a, vf b) { return vceqq_f32(a, b); }
V_INLINE vm v_ne(vf a, vf b) { return vmvnq_u32(vceqq_f32(a, b)); }
V_INLINE vm v_mand(vm a, vm b) { return vandq_u32(a, b); }
V_INLINE vm v_mor(vm a, vm b) { return vorrq_u32(a, b); }
V_INLINE vf v_sel(vm m, vf a, vf b) { return vbslq_f32(m, a, b); }
V_INLINE bool v_any(vm m) { return vmaxvq_u32(m) != 0; }

V_INLINE vi v_iset1(int32_t x) { return vdupq_n_s32(x); }
V_INLINE vi v_iadd(vi a, vi b) { return vaddq_s32(a, b); }
V_INLINE vi v_isub(vi a, vi b) { return vsubq_s32(a, b); }
V_INLINE vi v_iand(vi a, vi b) { return vandq_s32(a, b); }
V_INLINE vi v_ishl(vi a, int n) { return vshlq_s32(a, vdupq_n_s32(n)); }
V_INLINE vi v_isar(vi a, int n) { return vshlq_s32(a, vdupq_n_s32(-n)); } // a shift left by less than 0 goes right
V_INLINE vi v_ishr(vi a, int n) { return vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-n))); }
V_INLINE vf v_from_int(vi a) { return vcvtq_f32_s32(a); }
V_INLINE vi v_to_int(vf a) { return vcvtnq_s32_f32(a); }
V_INLINE vi v_lanes(void) {
    static const int32_t lanes[4] = {0, 1, 2, 3};
    return vld1q_s32(lanes);
}
V_INLINE vm v_ilt(vi a, vi b) { return vcltq_s32(a, b); }

V_INLINE float v_first(vf a) { return vgetq_lane_f32(a, 0); }
V_INLINE vm v_from_bits(uint32_t bits) { // lane i by bit i
    static const uint32_t lane[4] = {1, 2, 4, 8};
    return vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lane));
}

V_INLINE vf v_loadn(const float *p, int64_t n) {
    float t[4] = {0};
    memcpy(t, p, (size_t)n * sizeof *p);
    return vld1q_f32(t);
}
V_INLINE void v_storen(float *p, vf a, int64_t n) {
    float t[4];
    vst1q_f32(t, a);
    memcpy(p, t, (size_t)n * sizeof *p);
}

// a * 2^n for integral n from -252 to 254, correctly rounded unless a itself is subnormal.
V_INLINE vf v_scale2(vf a, vf n) {
    vi k = v_to_int(n), half = v_isar(k, 1), bias = v_iset1(127);
    vf lo = v_float(v_ishl(v_iadd(half, bias), 23)), hi = v_float(v_ishl(v_iadd(v_isub(k, half), bias), 23));
    return v_mul(v_mul(a, lo), hi);
}
V_INLINE vf v_clear_scale2(vm m, vf a, vf n) { // 0 where m, else a * 2^n, which is normal there
    return v_sel(m, v_zero(), v_mul(a, v_float(v_ishl(v_iadd(v_to_int(n), v_iset1(127)), 23))));
}

// Sums and maxima over lanes, always by halves: lane i with i + 2, then + 1.
V_INLINE float32x2_t v_fold(vf a) { return vadd_f32(vget_low_f32(a), vget_high_f32(a)); }
V_INLINE float v_hsum(vf a) {
    float32x2_t t = v_fold(a);
    return vget_lane_f32(vpadd_f32(t, t), 0);
}
V_INLINE float v_hmax(vf a) {
    float32x2_t lo = vget_low_f32(a), hi = vget_high_f32(a), t = vbsl_f32(vcgt_f32(lo, hi), lo, hi);
    float x = vget_lane_f32(t, 0), y = vget_lane_f32(t, 1);
    return x > y ? x : y;
}
V_INLINE void v_hsum4(float *p, const vf a[4]) {
    vst1_f32(p, vpadd_f32(v_fold(a[0]), v_fold(a[1])));
    vst1_f32(p + 2, vpadd_f32(v_fold(a[2]), v_fold(a[3])));
}
V_INLINE void v_hsum4x2(float *p, float *r, const vf a[4], const vf b[4]) {
    v_hsum4(p, a);
    v_hsum4(r, b);
}

// x = q pi/2 + r for |x| up to 1e9, reduced in double: r good to float32, q's low bits the quadrant.
V_INLINE float32x2_t v_reduce_half(float64x2_t d, int32x2_t *q) {
    float64x2_t n = vrndnq_f64(vmulq_f64(d, vdupq_n_f64(0x1.45f306dc9c883p-1)));
    d = vfmsq_f64(d, n, vdupq_n_f64(0x1.921fb54442d18p+0));
    d = vfmsq_f64(d, n, vdupq_n_f64(0x1.1a62633145c07p-54));
    *q = vmovn_s64(vcvtnq_s64_f64(n));
    return vcvt_f32_f64(d);
}
V_INLINE vf v_reduce(vf x, vi *q) {
    int32x2_t q0, q1;
    float32x2_t r0 = v_reduce_half(vcvt_f64_f32(vget_low_f32(x)), &q0), r1 = v_reduce_half(vcvt_high_f64_f32(x), &q1);
    *q = vcombine_s32(q0, q1);
    return vcombine_f32(r0, r1);
}

// Narrow types.
V_INLINE float v_f16(uint16_t h) { return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0); }
V_INLINE vf v_load_f16(const void *p) {
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}
V_INLINE void v_store_f16(void *p, vf a) {
    uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32(a));
    memcpy(p, &h, sizeof h);
}
V_INLINE vf v_load_bf16(const void *p) {
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}
V_INLINE void v_store_u16(void *p, vi a) { // the low halves of values below 65536
    uint16x4_t h = vmovn_u32(vreinterpretq_u32_s32(a));
    memcpy(p, &h, sizeof h);
}
V_INLINE vf v_load_i8(const void *p) {
    uint64_t bytes = 0;
    memcpy(&bytes, p, 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(bytes)))));
}
V_INLINE void v_store_i8(void *p, vf a) { // rounded to nearest even; must be in range
    int16x4_t h = vqmovn_s32(vcvtnq_s32_f32(a));
    int8x8_t b = vqmovn_s16(vcombine_s16(h, h));
    memcpy(p, &b, 4);
}

// Pairs (2i, 2i + 1).
V_INLINE vf v_load_twice(const float *p) { // p0 p0 p1 p1
    float32x2_t a = vld1_f32(p);
    return vcombine_f32(vdup_lane_f32(a, 0), vdup_lane_f32(a, 1));
}
V_INLINE vf v_swap_pairs(vf a) { return vrev64q_f32(a); }
V_INLINE vf v_fmaddsub(vf a, vf b, vf c) { // a b - c in even lanes, + in odd
    static const uint32_t even[4] = {0x80000000, 0, 0x80000000, 0};
    return vfmaq_f32(v_xor(c, vreinterpretq_f32_u32(vld1q_u32(even))), a, b);
}
#endif
