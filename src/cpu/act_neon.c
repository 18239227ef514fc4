// act_neon.c - activations quantized with NEON: the operations of act.c, so the same bits.
#include <arm_neon.h>

#include "cpu/act.h"

enum { VECS = ACT_BLOCK / 4 };

typedef struct levels {
    int32x4_t v[VECS]; // 32 integers
    float d;
} levels;

static inline levels quantize(const float *x, float top) {
    levels l;
    float32x4_t f[VECS];
    uint32x4_t m = vdupq_n_u32(0); // magnitudes as bits, as act.c orders them
    for (int i = 0; i < VECS; i++) {
        f[i] = vld1q_f32(x + 4 * i);
        m = vmaxq_u32(m, vandq_u32(vreinterpretq_u32_f32(f[i]), vdupq_n_u32(0x7fffffff)));
    }
    uint32_t bits = vmaxvq_u32(m);
    float max;
    memcpy(&max, &bits, 4);
    bool plain = max >= ACT_TINY && max <= 0x1.fffffep127f; // neither tiny nor infinite nor NaN
    l.d = max < ACT_TINY ? 0 : max / top;
    float32x4_t inverse = vdupq_n_f32(plain ? top / max : 0);
    for (int i = 0; i < VECS; i++) l.v[i] = plain ? vcvtnq_s32_f32(vmulq_f32(f[i], inverse)) : vdupq_n_s32(0);
    return l;
}

static inline void pack(const int32x4_t v[VECS], int8_t *to) { // 32 values that fit in int8
    for (int i = 0; i < VECS; i += 4) {
        int16x8_t a = vcombine_s16(vmovn_s32(v[i]), vmovn_s32(v[i + 1])), b = vcombine_s16(vmovn_s32(v[i + 2]), vmovn_s32(v[i + 3]));
        vst1q_s8(to + 4 * i, vcombine_s8(vmovn_s16(a), vmovn_s16(b)));
    }
}

static inline int sum16(const int32x4_t v[4]) { return vaddvq_s32(vaddq_s32(vaddq_s32(v[0], v[1]), vaddq_s32(v[2], v[3]))); }

static inline void quantize_q8(const float *x, act_q8 *b) {
    levels l = quantize(x, 127);
    int s0 = sum16(l.v), s1 = sum16(l.v + 4);
    pack(l.v, b->q);
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    b->sum[0] = (int16_t)s0, b->sum[1] = (int16_t)s1;
}

static inline void quantize_q16(const float *x, act_q16 *b) {
    levels l = quantize(x, ACT_WIDE_MAX);
    int32x4_t hi[VECS], lo[VECS];
    for (int i = 0; i < VECS; i++) {
        hi[i] = vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(l.v[i]), vdupq_n_f32(1.0f / ACT_BASE)));
        lo[i] = vmlsq_s32(l.v[i], hi[i], vdupq_n_s32(ACT_BASE));
    }
    int s0 = sum16(l.v), s1 = sum16(l.v + 4);
    memset(b, 0, sizeof *b);
    pack(hi, b->hi);
    pack(lo, b->lo);
    b->d = l.d;
    b->ds = l.d * (float)(s0 + s1);
    b->ds1 = l.d * (float)s1;
    for (int h = 0; h < 2; h++) b->sum_hi[h] = (int16_t)sum16(hi + 4 * h), b->sum_lo[h] = (int16_t)sum16(lo + 4 * h);
}

#include "cpu/act_rows.h"

void act_quantize_neon(act_kind kind, const float *x, void *dst, int64_t k) { act_quantize_row(kind, x, dst, k); }
