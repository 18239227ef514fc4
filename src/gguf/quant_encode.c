// quant_encode.c - float32 to every storage format. Blocks of 32 round to the nearest code of the scale that the
// block's range gives; superblocks of 256 search scale and min of each sub-block for the least squared error, then
// search again around the quantized scales. Not fast: for tests, tools and caches.
// A block with a non-finite value gets a NaN scale, so that it decodes to NaN and quant_find_nonfinite sees it; values
// too large for a float16 scale saturate.
#include "gguf/quant_internal.h"

#include <math.h>

enum { HALF_NAN = 0x7e00, SUPER = 256 };
static const float HALF_MAX = 65504.0f;

static bool all_finite(const float *x, int n) {
    for (int i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static void put16(uint8_t *p, uint16_t h) { memcpy(p, &h, 2); }

static float clampf(float v, float lo, float hi) { return v > lo ? v < hi ? v : hi : lo; } // NaN gives lo

// Stores v as float16, saturated, and returns the stored value.
static float put_half(uint8_t *p, float v) {
    uint16_t h = f32_to_f16(clampf(v, -HALF_MAX, HALF_MAX));
    put16(p, h);
    return f16_to_f32(h);
}

// 1 / d, or 0 where that overflows (then every code is that of zero).
static float inverse(float d) {
    float inv = d == 0 ? 0 : 1 / d;
    return isfinite(inv) ? inv : 0;
}

static int nearest(float v, int lo, int hi) { return (int)clampf(roundf(v), (float)lo, (float)hi); }

// ---- blocks of 32 --------------------------------------------------------------------------------
static float largest(const float *x, int n) { // the value of greatest magnitude, with its sign
    float best = 0;
    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(best)) best = x[i];
    return best;
}

static void put_nibbles(uint8_t *qs, uint8_t *qh, const int *code) {
    uint32_t high = 0;
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)((code[j] & 15) | (code[j + 16] & 15) << 4);
    for (int j = 0; j < 32; j++) high |= (uint32_t)(code[j] >> 4 & 1) << j;
    if (qh) memcpy(qh, &high, 4);
}

// Q4_0 (top 8) and Q5_0 (top 16): codes 0..2*top-1 mean -top..top-1; the largest value gets -top exactly.
static void encode_centred(const float *x, uint8_t *b, int top, bool fifth) {
    int code[32] = {0};
    float d = clampf(largest(x, 32) / (float)-top, -HALF_MAX, HALF_MAX), inv = inverse(d);
    put_half(b, d);
    for (int j = 0; j < 32; j++) code[j] = (int)clampf(x[j] * inv + (float)top + 0.5f, 0, (float)(2 * top - 1));
    put_nibbles(b + (fifth ? 6 : 2), fifth ? b + 2 : NULL, code);
}

// Q4_1 (top 15) and Q5_1 (top 31): value = code * d + m.
static void encode_ranged(const float *x, uint8_t *b, int top, bool fifth) {
    int code[32];
    float lo = x[0], hi = x[0];
    for (int j = 1; j < 32; j++) lo = x[j] < lo ? x[j] : lo, hi = x[j] > hi ? x[j] : hi;
    lo = clampf(lo, -HALF_MAX, HALF_MAX);
    float d = clampf((hi - lo) / (float)top, 0, HALF_MAX), inv = inverse(d);
    put_half(b, d);
    put_half(b + 2, lo);
    for (int j = 0; j < 32; j++) code[j] = (int)clampf((x[j] - lo) * inv + 0.5f, 0, (float)top);
    put_nibbles(b + (fifth ? 8 : 4), fifth ? b + 4 : NULL, code);
}

static void encode_q4_0(const float *x, uint8_t *b) { encode_centred(x, b, 8, false); }
static void encode_q5_0(const float *x, uint8_t *b) { encode_centred(x, b, 16, true); }
static void encode_q4_1(const float *x, uint8_t *b) { encode_ranged(x, b, 15, false); }
static void encode_q5_1(const float *x, uint8_t *b) { encode_ranged(x, b, 31, true); }

static void encode_q8_0(const float *x, uint8_t *b) {
    float d = clampf(fabsf(largest(x, 32)) / 127, 0, HALF_MAX), inv = inverse(d);
    put_half(b, d);
    for (int j = 0; j < 32; j++) b[2 + j] = (uint8_t)nearest(x[j] * inv, -127, 127);
}

// ---- searches over one sub-block -----------------------------------------------------------------
// x ~ scale * q - min with q in 0..top, scale >= 0, min >= 0.
typedef struct affine {
    float scale, min;
    double error;
} affine;

static double affine_error(const float *x, int n, int top, float scale, float min) {
    float inv = inverse(scale);
    double error = 0;
    for (int i = 0; i < n; i++) {
        double e = x[i] - (double)(scale * (float)nearest((x[i] + min) * inv, 0, top) - min);
        error += e * e;
    }
    return error;
}

// Least squares for fixed codes q = round((x + min) / scale): the scale and min that fit them best.
static affine affine_refit(const float *x, int n, int top, float scale, float min) {
    double sq = 0, sqq = 0, sx = 0, sxq = 0;
    float inv = inverse(scale);
    for (int i = 0; i < n; i++) {
        double q = nearest((x[i] + min) * inv, 0, top);
        sq += q, sqq += q * q, sx += x[i], sxq += q * x[i];
    }
    double det = n * sqq - sq * sq, s = scale, m = min;
    if (det > 0) s = (n * sxq - sq * sx) / det, m = -(sx - s * sq) / n;
    if (m < 0) m = 0, s = sqq > 0 ? sxq / sqq : 0;
    if (s < 0) s = 0;
    affine fit = {(float)s, (float)m, 0};
    fit.error = affine_error(x, n, top, fit.scale, fit.min);
    return fit;
}

static affine affine_search(const float *x, int n, int top) {
    float lo = 0, hi = 0;
    for (int i = 0; i < n; i++) lo = x[i] < lo ? x[i] : lo, hi = x[i] > hi ? x[i] : hi;
    affine best = {(hi - lo) / (float)top, -lo, 0};
    best.error = affine_error(x, n, top, best.scale, best.min);
    for (int step = -4; step <= 12 && hi > lo; step++) { // ranges a little wider and up to half narrower than [lo, hi]
        affine fit = affine_refit(x, n, top, (hi - lo) / ((float)top * (1 + 0.05f * (float)step)), -lo);
        affine again = affine_refit(x, n, top, fit.scale, fit.min);
        if (fit.error < best.error) best = fit;
        if (again.error < best.error) best = again;
    }
    return best;
}

// x ~ scale * q with q in -top..top-1; the scale may be negative.
static double signed_error(const float *x, int n, int top, float scale) {
    float inv = inverse(scale);
    double error = 0;
    for (int i = 0; i < n; i++) {
        double e = x[i] - (double)(scale * (float)nearest(x[i] * inv, -top, top - 1));
        error += e * e;
    }
    return error;
}

static float signed_search(const float *x, int n, int top) {
    float peak = largest(x, n), best = peak / (float)-top;
    double best_error = signed_error(x, n, top, best);
    for (int step = -12; step <= 12 && peak != 0; step++) {
        float inv = inverse(peak / -((float)top * (1 + 0.025f * (float)step)));
        double sqq = 0, sxq = 0;
        for (int i = 0; i < n; i++) {
            double q = nearest(x[i] * inv, -top, top - 1);
            sqq += q * q, sxq += q * x[i];
        }
        float scale = sqq > 0 ? (float)(sxq / sqq) : 0;
        double error = signed_error(x, n, top, scale);
        if (error < best_error) best = scale, best_error = error;
    }
    return best;
}

// ---- superblocks ---------------------------------------------------------------------------------
// The best integer sub-scale and sub-min near the searched ones, given the stored d and dmin.
static void affine_quantize(const float *x, int n, int top, int limit, float d, float dmin, affine want, int *sc, int *mn) {
    int s0 = nearest(want.scale * inverse(d), 0, limit), m0 = nearest(want.min * inverse(dmin), 0, limit);
    double best = INFINITY;
    *sc = s0, *mn = m0;
    for (int s = s0 - 1; s <= s0 + 1; s++) {
        for (int m = m0 - 1; m <= m0 + 1; m++) {
            if (s < 0 || s > limit || m < 0 || m > limit) continue;
            double error = affine_error(x, n, top, d * (float)s, dmin * (float)m);
            if (error < best) best = error, *sc = s, *mn = m;
        }
    }
}

// Q2_K, Q4_K, Q5_K: `count` sub-blocks with codes 0..top and sub-scales and sub-mins 0..limit.
typedef struct affine_super {
    int sc[16], mn[16];
    uint8_t code[SUPER];
} affine_super;

static void affine_encode(const float *x, int count, int top, int limit, uint8_t *d_out, uint8_t *dmin_out, affine_super *out) {
    affine fit[16];
    int n = SUPER / count;
    float max_scale = 0, max_min = 0;
    for (int i = 0; i < count; i++) {
        fit[i] = affine_search(x + i * n, n, top);
        if (fit[i].scale > max_scale) max_scale = fit[i].scale;
        if (fit[i].min > max_min) max_min = fit[i].min;
    }
    float d = put_half(d_out, max_scale / (float)limit), dmin = put_half(dmin_out, max_min / (float)limit);
    for (int i = 0; i < count; i++) {
        affine_quantize(x + i * n, n, top, limit, d, dmin, fit[i], &out->sc[i], &out->mn[i]);
        float inv = inverse(d * (float)out->sc[i]), min = dmin * (float)out->mn[i];
        for (int j = 0; j < n; j++) out->code[i * n + j] = (uint8_t)nearest((x[i * n + j] + min) * inv, 0, top);
    }
}

static void encode_q2_k(const float *x, uint8_t *b) {
    affine_super s;
    memset(b, 0, 84);
    affine_encode(x, 16, 3, 15, b + 80, b + 82, &s);
    for (int i = 0; i < 16; i++) b[i] = (uint8_t)(s.sc[i] | s.mn[i] << 4);
    for (int i = 0; i < SUPER; i++) b[16 + i / 128 * 32 + i % 32] |= (uint8_t)(s.code[i] << (i % 128 / 32 * 2));
}

// Eight 6-bit scales and mins in 12 bytes; the inverse of quant_k4_scale_min.
static void put_k4_scales(uint8_t *p, const affine_super *s) {
    memset(p, 0, 12);
    for (int i = 0; i < 4; i++) {
        p[i] = (uint8_t)(s->sc[i] | (s->sc[i + 4] >> 4) << 6);
        p[i + 4] = (uint8_t)(s->mn[i] | (s->mn[i + 4] >> 4) << 6);
        p[i + 8] = (uint8_t)((s->sc[i + 4] & 15) | (s->mn[i + 4] & 15) << 4);
    }
}

static void encode_q4_k(const float *x, uint8_t *b) {
    affine_super s;
    memset(b, 0, 144);
    affine_encode(x, 8, 15, 63, b, b + 2, &s);
    put_k4_scales(b + 4, &s);
    for (int i = 0; i < SUPER; i++) b[16 + i / 64 * 32 + i % 32] |= (uint8_t)(s.code[i] << (i % 64 / 32 * 4));
}

static void encode_q5_k(const float *x, uint8_t *b) {
    affine_super s;
    memset(b, 0, 176);
    affine_encode(x, 8, 31, 63, b, b + 2, &s);
    put_k4_scales(b + 4, &s);
    for (int i = 0; i < SUPER; i++) {
        b[48 + i / 64 * 32 + i % 32] |= (uint8_t)((s.code[i] & 15) << (i % 64 / 32 * 4));
        b[16 + i % 32] |= (uint8_t)((s.code[i] >> 4) << (i / 32));
    }
}

// Q3_K (top 4, sub-scales -32..31) and Q6_K (top 32, sub-scales -128..127): 16 sub-blocks of 16; codes are q + top.
static void signed_encode(const float *x, int top, int limit, uint8_t *d_out, int sc[16], uint8_t code[SUPER]) {
    float scale[16];
    for (int i = 0; i < 16; i++) scale[i] = signed_search(x + 16 * i, 16, top);
    float d = put_half(d_out, largest(scale, 16) / (float)-limit), inv_d = inverse(d);
    for (int i = 0; i < 16; i++) {
        int s0 = nearest(scale[i] * inv_d, -limit, limit - 1);
        double best = INFINITY;
        sc[i] = s0;
        for (int s = s0 - 1; s <= s0 + 1; s++) {
            if (s < -limit || s >= limit) continue;
            double error = signed_error(x + 16 * i, 16, top, d * (float)s);
            if (error < best) best = error, sc[i] = s;
        }
        float inv = inverse(d * (float)sc[i]);
        for (int j = 0; j < 16; j++) code[16 * i + j] = (uint8_t)(nearest(x[16 * i + j] * inv, -top, top - 1) + top);
    }
}

static void encode_q3_k(const float *x, uint8_t *b) {
    int sc[16];
    uint8_t code[SUPER];
    memset(b, 0, 110);
    signed_encode(x, 4, 32, b + 108, sc, code);
    for (int i = 0; i < 16; i++) {
        int s = sc[i] + 32;
        b[96 + i % 8] |= (uint8_t)((s & 15) << (i / 8 * 4));
        b[104 + i % 4] |= (uint8_t)((s >> 4) << (i / 4 * 2));
    }
    for (int i = 0; i < SUPER; i++) {
        b[32 + i / 128 * 32 + i % 32] |= (uint8_t)((code[i] & 3) << (i % 128 / 32 * 2));
        b[i % 32] |= (uint8_t)((code[i] >> 2) << (i / 32));
    }
}

void quant_put_q6_k(const int sc[16], const uint8_t code[SUPER], uint8_t *b) {
    memset(b, 0, 208);
    for (int i = 0; i < 16; i++) b[192 + i] = (uint8_t)sc[i];
    for (int i = 0; i < SUPER; i++) {
        int half = i / 128, part = i % 128 / 32, j = i % 32;
        b[64 * half + part % 2 * 32 + j] |= (uint8_t)((code[i] & 15) << (part / 2 * 4));
        b[128 + 32 * half + j] |= (uint8_t)((code[i] >> 4) << (2 * part));
    }
}

static void encode_q6_k(const float *x, uint8_t *b) {
    int sc[16];
    uint8_t code[SUPER];
    signed_encode(x, 32, 128, b + 208, sc, code);
    quant_put_q6_k(sc, code, b);
}

// ---- dispatch ------------------------------------------------------------------------------------
static quant_block_encoder block_encoder(tl_dtype t) {
    switch (t) {
    case DT_Q4_0: return encode_q4_0;
    case DT_Q4_1: return encode_q4_1;
    case DT_Q5_0: return encode_q5_0;
    case DT_Q5_1: return encode_q5_1;
    case DT_Q8_0: return encode_q8_0;
    case DT_Q2_K: return encode_q2_k;
    case DT_Q3_K: return encode_q3_k;
    case DT_Q4_K: return encode_q4_k;
    case DT_Q5_K: return encode_q5_k;
    case DT_Q6_K: return encode_q6_k;
    default: return quant_tiny_encoder(t);
    }
}

// Decodes to NaN throughout: zero codes under NaN scales (and mins). NVFP4 has no NaN.
static void put_nan_block(tl_dtype t, uint8_t *b) {
    memset(b, 0, dtype_table[t].block_bytes);
    size_t scale, min;
    if (t == DT_MXFP4) {
        b[0] = 255;
    } else if (quant_scale_places(t, &scale, &min)) {
        put16(b + scale, HALF_NAN);
        put16(b + min, HALF_NAN);
    }
}

static void encode_blocks(tl_dtype t, const float *src, uint8_t *dst, int64_t n) {
    const dtype_info *info = &dtype_table[t];
    quant_block_encoder one = block_encoder(t);
    for (int64_t i = 0; i < n; i += info->block_values, src += info->block_values, dst += info->block_bytes) {
        if (all_finite(src, (int)info->block_values)) one(src, dst);
        else put_nan_block(t, dst);
    }
}

bool quant_can_encode(tl_dtype t) {
    return t == DT_F32 || t == DT_F16 || t == DT_BF16 || t == DT_F64 || block_encoder(t) != NULL;
}

void quant_encode(tl_dtype t, const float *src, void *dst, int64_t n) {
    TL_CHECK(quant_can_encode(t) && n >= 0 && n % dtype_table[t].block_values == 0);
    uint8_t *p = dst;
    switch (t) {
    case DT_F32: if (n) memcpy(dst, src, (size_t)n * 4); return;
    case DT_F16: for (int64_t i = 0; i < n; i++) put16(p + 2 * i, f32_to_f16(src[i])); return;
    case DT_BF16: for (int64_t i = 0; i < n; i++) put16(p + 2 * i, f32_to_bf16(src[i])); return;
    case DT_F64: for (int64_t i = 0; i < n; i++) memcpy(p + 8 * i, &(double){(double)src[i]}, 8); return;
    default: encode_blocks(t, src, p, n); return;
    }
}
