// act.c - activations as linear() reads them, plain C: the definition that every ISA's act_quantize reproduces bit by bit.
#include <math.h>

#include "cpu/act.h"

static const size_t value_bytes[ACT_KINDS] = {[ACT_F32] = 4, [ACT_BF16] = 2};

size_t act_bytes(act_kind kind, int64_t k) {
    size_t bytes = value_bytes[kind] ? (size_t)k * value_bytes[kind] : (size_t)act_blocks(k) * act_block_bytes(kind);
    bytes = (bytes + 63) / 64 * 64;
    return kind == ACT_BF16 && bytes % ACT_CLASH == 0 ? bytes + ACT_APART : bytes;
}

// The largest magnitude, as the bits order it: a NaN is above infinity, which is above every number.
static float max_magnitude(const float *x, int n) {
    uint32_t max = 0;
    for (int i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, x + i, 4);
        u &= 0x7fffffff;
        max = u > max ? u : max;
    }
    float f;
    memcpy(&f, &max, 4);
    return f;
}

// Scale for levels -top..top, and v = rint(x / scale).
static void quantize(const float *x, float top, float *d, int32_t v[ACT_BLOCK]) {
    float max = max_magnitude(x, ACT_BLOCK);
    memset(v, 0, ACT_BLOCK * sizeof *v);
    *d = max < ACT_TINY ? 0 : max / top;
    if (!isfinite(max) || max < ACT_TINY) return;
    float inverse = top / max;
    for (int i = 0; i < ACT_BLOCK; i++) v[i] = (int32_t)rintf(x[i] * inverse);
}

static int32_t sum16(const int32_t *v) {
    int32_t s = 0;
    for (int i = 0; i < 16; i++) s += v[i];
    return s;
}

static void quantize_q8(const float *x, act_q8 *b) {
    int32_t v[ACT_BLOCK];
    quantize(x, 127, &b->d, v);
    for (int i = 0; i < ACT_BLOCK; i++) b->q[i] = (int8_t)v[i];
    int32_t s0 = sum16(v), s1 = sum16(v + 16);
    b->sum[0] = (int16_t)s0, b->sum[1] = (int16_t)s1;
    b->ds = b->d * (float)(s0 + s1);
    b->ds1 = b->d * (float)s1;
}

static void quantize_q16(const float *x, act_q16 *b) {
    int32_t v[ACT_BLOCK], hi[ACT_BLOCK], lo[ACT_BLOCK];
    memset(b, 0, sizeof *b);
    quantize(x, ACT_WIDE_MAX, &b->d, v);
    for (int i = 0; i < ACT_BLOCK; i++) {
        hi[i] = (int32_t)rintf((float)v[i] * (1.0f / ACT_BASE));
        lo[i] = v[i] - ACT_BASE * hi[i];
        b->hi[i] = (int8_t)hi[i], b->lo[i] = (int8_t)lo[i];
    }
    for (int h = 0; h < 2; h++) b->sum_hi[h] = (int16_t)sum16(hi + 16 * h), b->sum_lo[h] = (int16_t)sum16(lo + 16 * h);
    int32_t s0 = sum16(v), s1 = sum16(v + 16);
    b->ds = b->d * (float)(s0 + s1);
    b->ds1 = b->d * (float)s1;
}

static void quantize_row(act_kind kind, const float *x, void *dst, int64_t k) {
    for (int64_t b = 0; b < act_blocks(k); b++) {
        float padded[ACT_BLOCK] = {0};
        int64_t n = k - b * ACT_BLOCK < ACT_BLOCK ? k - b * ACT_BLOCK : ACT_BLOCK;
        memcpy(padded, x + b * ACT_BLOCK, (size_t)n * sizeof *x);
        if (kind == ACT_Q8) quantize_q8(padded, (act_q8 *)dst + b);
        else quantize_q16(padded, (act_q16 *)dst + b);
    }
}

void act_quantize_ref(act_kind kind, const float *x, void *dst, int64_t k) {
    switch (kind) {
    case ACT_F32:
        if (k) memcpy(dst, x, (size_t)k * sizeof *x);
        break;
    case ACT_BF16:
        for (int64_t i = 0; i < k; i++) ((uint16_t *)dst)[i] = f32_to_bf16(x[i]);
        break;
    default: quantize_row(kind, x, dst, k);
    }
}
