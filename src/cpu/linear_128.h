// linear_128.h - the vector primitives of linear_codes.h and linear_simd.h in AArch64 NEON: 4 lanes of 32 bits. The int8
// product vi_mac is left to the including file; it multiplies signed by signed, so that Q8_0's codes need no care, and all
// others are below 64.
#include <arm_neon.h>

#include "cpu/linear.h"

typedef int32x4_t VI;
typedef float32x4_t VF;
enum { LANES = 4, AHEAD = 2048 };

static inline VI vi_load(const void *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
static inline void vi_store(void *p, VI v) { vst1q_u8(p, vreinterpretq_u8_s32(v)); }
static inline VI vi_bcast(const void *p) { // no alignment is assumed
    int32_t v;
    memcpy(&v, p, 4);
    return vdupq_n_s32(v);
}
static inline VI vi_splat(uint32_t v) { return vdupq_n_s32((int32_t)v); }
static inline VI vi_and(VI a, VI b) { return vandq_s32(a, b); }
static inline VI vi_or(VI a, VI b) { return vorrq_s32(a, b); }
static inline VI vi_add(VI a, VI b) { return vaddq_s32(a, b); }
static inline VI vi_sub8(VI a, VI b) { return vreinterpretq_s32_s8(vsubq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b))); }
static inline VI vi_sub(VI a, VI b) { return vsubq_s32(a, b); }
#define vi_srl(v, n) ((VI)((uint32x4_t)(v) >> (uint32_t)(n))) // constants, once inlined
#define vi_sll(v, n) ((VI)((uint32x4_t)(v) << (uint32_t)(n)))
#define vi_sra(v, n) ((VI)((v) >> (n)))
static inline VF vf_load(const void *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
static inline void vf_store(void *p, VF v) { vst1q_u8(p, vreinterpretq_u8_f32(v)); }
static inline VF vf_bcast(const float *p) { return vld1q_dup_f32(p); }
static inline VF vf_splat(float v) { return vdupq_n_f32(v); }
static inline VF vf_half(const void *p) {
    uint16x4_t h;
    memcpy(&h, p, sizeof h);
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
}
static inline VF vf_bits(VI v) { return vreinterpretq_f32_s32(v); }
static inline VF vf_int(VI v) { return vcvtq_f32_s32(v); }
static inline VF vf_mul(VF a, VF b) { return vmulq_f32(a, b); }
static inline VF vf_sub(VF a, VF b) { return vsubq_f32(a, b); }
static inline VF vf_fma(VF a, VF b, VF c) { return vfmaq_f32(c, a, b); }
#include "cpu/linear_one.h"
static inline VI vi_pair(VI s, const void *pair, uint32_t factors) { // two int16 factors times two int16
    int16_t v[2];
    memcpy(v, pair, sizeof v);
    return vi_add(s, vdupq_n_s32(v[0] * (int16_t)factors + v[1] * (int16_t)(factors >> 16)));
}
static inline VF vf_neg(VF a) { return vnegq_f32(a); }

static inline VI vi_mac(VI s, VI w, VI a);
static inline VI vi_mac_one(VI s, VI w, vi_one a) { return vi_mac(s, w, a); }
enum { ZERO_8 = 0 };
static inline VI vi_s8(VI w) { return w; }
static inline VI vi_mac_s8(VI s, VI w, vi_one a) { return vi_mac(s, w, a); }
