// quant_decode.c - what the bytes of a block mean, for the plain element types and the Q formats of 2 to 8 bits. docs/formats.md draws the layouts.
// Invariants: no alignment is assumed; products are formed in the order the format defines (scale times sub-scale
// first, then times the integer), so that results are the same bits on every machine.
// Source of all layouts: the GGUF specification and ggml's published block structures.
#include "gguf/quant_internal.h"

// ---- blocks of 32 values -----------------------------------------------------------------------
// Value j is in the low nibble of byte j, value j + 16 in the high nibble.
static void decode_q4_0(const uint8_t *b, float *y) { // d, qs[16]
    float d = quant_half(b);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)((b[2 + j] & 15) - 8);
        y[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

static void decode_q4_1(const uint8_t *b, float *y) { // d, m, qs[16]
    float d = quant_half(b), m = quant_half(b + 2);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)(b[4 + j] & 15) + m;
        y[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

// The fifth bit of value j is bit j of the little-endian word qh.
static void decode_q5_0(const uint8_t *b, float *y) { // d, qh, qs[16]
    float d = quant_half(b);
    uint32_t qh;
    memcpy(&qh, b + 2, 4);
    for (int j = 0; j < 16; j++) {
        int lo = (b[6 + j] & 15) | (int)((qh >> j) & 1) << 4;
        int hi = (b[6 + j] >> 4) | (int)((qh >> (j + 16)) & 1) << 4;
        y[j] = d * (float)(lo - 16);
        y[j + 16] = d * (float)(hi - 16);
    }
}

static void decode_q5_1(const uint8_t *b, float *y) { // d, m, qh, qs[16]
    float d = quant_half(b), m = quant_half(b + 2);
    uint32_t qh;
    memcpy(&qh, b + 4, 4);
    for (int j = 0; j < 16; j++) {
        int lo = (b[8 + j] & 15) | (int)((qh >> j) & 1) << 4;
        int hi = (b[8 + j] >> 4) | (int)((qh >> (j + 16)) & 1) << 4;
        y[j] = d * (float)lo + m;
        y[j + 16] = d * (float)hi + m;
    }
}

static void decode_q8_0(const uint8_t *b, float *y) { // d, qs[32]
    float d = quant_half(b);
    for (int j = 0; j < 32; j++) y[j] = d * (float)(int8_t)b[2 + j];
}

// ---- superblocks of 256 values -------------------------------------------------------------------
static void decode_q2_k(const uint8_t *b, float *y) { // scales[16], qs[64], d, dmin
    const uint8_t *q = b + 16;
    float d = quant_half(b + 80), dmin = quant_half(b + 82);
    for (int sub = 0; sub < 16; sub++) { // 16 values each; two bits of byte 32 * half + position
        int half = sub / 8, shift = sub % 8 / 2 * 2, first = 32 * half + sub % 2 * 16;
        float scale = d * (float)(b[sub] & 15), min = dmin * (float)(b[sub] >> 4);
        for (int j = 0; j < 16; j++) *y++ = scale * (float)((q[first + j] >> shift) & 3) - min;
    }
}

void quant_q3_k_scales(const uint8_t packed[12], int8_t scales[16]) {
    for (int i = 0; i < 16; i++) {
        int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
        int high = (packed[8 + i % 4] >> (i / 4 * 2)) & 3;
        scales[i] = (int8_t)((low | high << 4) - 32);
    }
}

static void decode_q3_k(const uint8_t *b, float *y) { // hmask[32], qs[64], scales[12], d
    const uint8_t *q = b + 32;
    float d = quant_half(b + 108);
    int8_t scales[16];
    quant_q3_k_scales(b + 96, scales);
    for (int sub = 0; sub < 16; sub++) { // hmask bit sub/2 of byte `position`: set means nothing to subtract
        int half = sub / 8, shift = sub % 8 / 2 * 2, first = sub % 2 * 16;
        float scale = d * (float)scales[sub];
        for (int j = 0; j < 16; j++) {
            int low = (q[32 * half + first + j] >> shift) & 3;
            int high = (b[first + j] >> (sub / 2)) & 1;
            *y++ = scale * (float)(low - (high ? 0 : 4));
        }
    }
}

void quant_k4_scale_min(const uint8_t packed[12], int i, uint8_t *scale, uint8_t *min) {
    if (i < 4) {
        *scale = packed[i] & 63;
        *min = packed[i + 4] & 63;
    } else {
        *scale = (uint8_t)((packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4);
        *min = (uint8_t)((packed[i + 4] >> 4) | (packed[i] >> 6) << 4);
    }
}

static void decode_q4_k(const uint8_t *b, float *y) { // d, dmin, scales[12], qs[128]
    float d = quant_half(b), dmin = quant_half(b + 2);
    for (int sub = 0; sub < 8; sub++) { // 32 values: sub-blocks 2i and 2i+1 share 32 bytes, low then high nibbles
        const uint8_t *q = b + 16 + sub / 2 * 32;
        uint8_t sc, mn;
        quant_k4_scale_min(b + 4, sub, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        for (int j = 0; j < 32; j++) *y++ = scale * (float)(sub % 2 ? q[j] >> 4 : q[j] & 15) - min;
    }
}

static void decode_q5_k(const uint8_t *b, float *y) { // d, dmin, scales[12], qh[32], qs[128]
    float d = quant_half(b), dmin = quant_half(b + 2);
    const uint8_t *qh = b + 16; // bit `sub` of byte j is the fifth bit of value j of that sub-block
    for (int sub = 0; sub < 8; sub++) {
        const uint8_t *q = b + 48 + sub / 2 * 32;
        uint8_t sc, mn;
        quant_k4_scale_min(b + 4, sub, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        for (int j = 0; j < 32; j++) {
            int low = sub % 2 ? q[j] >> 4 : q[j] & 15, high = (qh[j] >> sub) & 1;
            *y++ = scale * (float)(low | high << 4) - min;
        }
    }
}

// The block's scale d is at its END (byte 208): reading it from the front gives inf for ordinary files.
static void decode_q6_k(const uint8_t *b, float *y) { // ql[128], qh[64], scales[16] (int8), d
    float d = quant_half(b + 208);
    for (int run = 0; run < 8; run++) { // 32 values each; four runs share one half of ql and qh
        int half = run / 4, part = run % 4;
        const uint8_t *ql = b + 64 * half + part % 2 * 32, *qh = b + 128 + 32 * half;
        for (int j = 0; j < 32; j++) {
            int low = part < 2 ? ql[j] & 15 : ql[j] >> 4, high = (qh[j] >> (2 * part)) & 3;
            float scale = d * (float)(int8_t)b[192 + 8 * half + 2 * part + j / 16];
            *y++ = scale * (float)((low | high << 4) - 32);
        }
    }
}

// ---- plain elements ------------------------------------------------------------------------------
#define DECODE_ELEMENTS(name, T, expr)                                                                                 \
    static void name(const uint8_t *src, float *dst, int64_t n) {                                                      \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            T v;                                                                                                       \
            memcpy(&v, src + (size_t)i * sizeof v, sizeof v);                                                          \
            dst[i] = (expr);                                                                                           \
        }                                                                                                              \
    }
DECODE_ELEMENTS(decode_f16, uint16_t, f16_to_f32(v))
DECODE_ELEMENTS(decode_bf16, uint16_t, bf16_to_f32(v))
DECODE_ELEMENTS(decode_f64, double, (float)v)
DECODE_ELEMENTS(decode_i8, int8_t, (float)v)
DECODE_ELEMENTS(decode_i16, int16_t, (float)v)
DECODE_ELEMENTS(decode_i32, int32_t, (float)v)
DECODE_ELEMENTS(decode_i64, int64_t, (float)v)

static quant_block_decoder block_decoder(tl_dtype t) {
    switch (t) {
    case DT_Q4_0: return decode_q4_0;
    case DT_Q4_1: return decode_q4_1;
    case DT_Q5_0: return decode_q5_0;
    case DT_Q5_1: return decode_q5_1;
    case DT_Q8_0: return decode_q8_0;
    case DT_Q2_K: return decode_q2_k;
    case DT_Q3_K: return decode_q3_k;
    case DT_Q4_K: return decode_q4_k;
    case DT_Q5_K: return decode_q5_k;
    case DT_Q6_K: return decode_q6_k;
    default: return quant_codebook_decoder(t) ? quant_codebook_decoder(t) : quant_tiny_decoder(t);
    }
}

static void decode_blocks(tl_dtype t, const uint8_t *src, float *dst, int64_t n) {
    const dtype_info *info = &dtype_table[t];
    quant_block_decoder one = block_decoder(t);
    TL_CHECK(one);
    for (int64_t i = 0; i < n; i += info->block_values, src += info->block_bytes, dst += info->block_values) one(src, dst);
}

void quant_decode(tl_dtype t, const void *src, float *dst, int64_t n) {
    TL_CHECK(t < DT_COUNT && n >= 0 && n % dtype_table[t].block_values == 0);
    switch (t) {
    case DT_F32: if (n) memcpy(dst, src, (size_t)n * 4); return;
    case DT_F16: decode_f16(src, dst, n); return;
    case DT_BF16: decode_bf16(src, dst, n); return;
    case DT_F64: decode_f64(src, dst, n); return;
    case DT_I8: decode_i8(src, dst, n); return;
    case DT_I16: decode_i16(src, dst, n); return;
    case DT_I32: decode_i32(src, dst, n); return;
    case DT_I64: decode_i64(src, dst, n); return;
    case DT_BOOL: for (int64_t i = 0; i < n; i++) dst[i] = ((const uint8_t *)src)[i] ? 1.0f : 0.0f; return;
    default: decode_blocks(t, src, dst, n); return;
    }
}
