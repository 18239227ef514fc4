// rotate.cuh - what fused.cu and attn_rows.cuh do with one row's queries, keys and values.
#ifndef TL_CUDA_ROTATE_CUH
#define TL_CUDA_ROTATE_CUH
#include "cuda/dev.cuh"
#include "cuda/fused/args.h"
#include "cuda/layout.h"

// Element e of a head at x + h, rotated where it is: where its operands are, then they, then its value.
struct rotation {
    int own, other, pair, turned, second;
    DEV_MEMBER rotation(const fused_task &t, int h, int e) {
        int half = t.rot / 2;
        turned = e < t.rot, second = turned && (t.interleaved ? e & 1 : e >= half);
        pair = !turned ? 0 : t.interleaved ? e >> 1 : second ? e - half : e;
        own = h + e, other = h + (!turned ? e : t.interleaved ? e ^ 1 : second ? pair : pair + half);
    }
    DEV_MEMBER void keep() { dev_keep(own), dev_keep(other), dev_keep(pair), dev_keep(turned), dev_keep(second); }
    DEV_MEMBER float4 load(const fused_task &t, const float *x, const float *cs) const {
        float4 v = make_float4(__ldcg(x + own), __ldcg(x + other), 1.0f, 0.0f);
        if (t.rot) v.z = __ldcg(cs + pair), v.w = __ldcg(cs + t.rot / 2 + pair);
        return v;
    }
    DEV_MEMBER float value(float4 v) const { return !turned ? v.x : second ? v.y * v.w + v.x * v.z : v.x * v.z - v.y * v.w; }
};
DEV float rotated(const fused_task &t, const float *h, const float *cs, int e) {
    rotation r(t, 0, e);
    return r.value(r.load(t, h, cs));
}

// A row's element `at` to the slot's bytes `row`; Q8_0: by the 32 lanes of a warp, of which each has one element of a block.
// Written where it is `mine`; returns the value as it reads from there.
DEV float store_element(int type, unsigned char *row, int64_t at, float v, bool mine) {
    if (type == CT_Q8_0) {
        float d = warp_max(fabsf(v)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
        unsigned char *b = row + at / 32 * 34;
        signed char q = (signed char)rintf(v * inverse);
        uint32_t h = float_f16(d);
        if (mine) b[2 + at % 32] = (unsigned char)q;
        if (mine && at % 32 == 0) b[0] = (unsigned char)h, b[1] = (unsigned char)(h >> 8);
        return f16_float(h) * (float)q;
    }
    if (type == CT_F32) {
        if (mine) ((float *)row)[at] = v;
        return v;
    }
    uint32_t h = type == CT_F16 ? float_f16(v) : float_bf16(v);
    if (mine) ((uint16_t *)row)[at] = (uint16_t)h;
    return type == CT_F16 ? f16_float(h) : bf16_float(h);
}
#endif
