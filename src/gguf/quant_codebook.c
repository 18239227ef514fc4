// quant_codebook.c - decoders of the formats whose codes are looked up: IQ1 to IQ3 take groups of four or eight values
// from a codebook (quant_grids.h), IQ4 single values from a table of sixteen.
// Source of layouts and orders of operations: ggml's published block structures and its Python package gguf (quants.py),
// with which the tests compare bit for bit.
#include "gguf/quant_internal.h"
#include "gguf/quant_grids.h"

// Seven stored signs; the eighth makes the number of minus signs even.
static unsigned eight_signs(unsigned seven) {
    unsigned parity = seven ^ seven >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    return seven | (parity & 1) << 7;
}

static unsigned nibble(const uint8_t *p, int i) { return i % 2 ? p[i / 2] >> 4 : p[i / 2] & 15; }

static float *put_signed(float *y, float scale, float level, unsigned minus) {
    float v = scale * level;
    *y = minus ? -v : v;
    return y + 1;
}

// Eight values of IQ2: two-bit indices of the levels 8, 25, 43.
static float *put_iq2(float *y, float scale, uint16_t entry, unsigned signs) {
    static const float levels[4] = {8, 25, 43, 0}; // the fourth does not occur
    for (int j = 0; j < 8; j++) y = put_signed(y, scale, levels[(entry >> (2 * j)) & 3], (signs >> j) & 1);
    return y;
}

static void decode_iq2_xxs(const uint8_t *b, float *y) { // d, 8 x (4 entries, u32: 4 x 7 signs, scale)
    float d = quant_half(b);
    for (int i = 0; i < 8; i++) {
        const uint8_t *q = b + 2 + 8 * i;
        uint32_t word = quant_u32(q + 4);
        float scale = d * (0.5f + (float)(word >> 28)) * 0.25f;
        for (int k = 0; k < 4; k++) y = put_iq2(y, scale, grid_iq2_xxs[q[k]], eight_signs((word >> (7 * k)) & 127));
    }
}

static void decode_iq2_xs(const uint8_t *b, float *y) { // d, qs[32] (u16: entry, 7 signs), scales[8]
    float d = quant_half(b);
    for (int i = 0; i < 32; i++) {
        unsigned q = quant_u16(b + 2 + 2 * i);
        float scale = d * (0.5f + (float)nibble(b + 66, i / 2)) * 0.25f;
        y = put_iq2(y, scale, grid_iq2_xs[q & 511], eight_signs(q >> 9));
    }
}

static void decode_iq2_s(const uint8_t *b, float *y) { // d, qs[32], signs[32], qh[8], scales[8]
    float d = quant_half(b);
    for (int i = 0; i < 32; i++) {
        unsigned entry = b[2 + i] | ((b[66 + i / 4] >> (2 * (i % 4))) & 3u) << 8;
        float scale = d * (0.5f + (float)nibble(b + 74, i / 2)) * 0.25f;
        y = put_iq2(y, scale, grid_iq2_s[entry], b[34 + i]);
    }
}

static void decode_iq3_xxs(const uint8_t *b, float *y) { // d, qs[64], 8 x (u32: 4 x 7 signs, scale)
    static const float levels[8] = {4, 12, 20, 28, 36, 44, 52, 62};
    float d = quant_half(b);
    for (int i = 0; i < 64; i++) { // four values each
        uint32_t word = quant_u32(b + 66 + 4 * (i / 8));
        unsigned signs = eight_signs((word >> (7 * (i / 2 % 4))) & 127) >> (i % 2 * 4);
        float scale = d * (0.5f + (float)(word >> 28)) * 0.5f;
        for (int j = 0; j < 4; j++) y = put_signed(y, scale, levels[(grid_iq3_xxs[b[2 + i]] >> (4 * j)) & 7], (signs >> j) & 1);
    }
}

static void decode_iq3_s(const uint8_t *b, float *y) { // d, qs[64], qh[8], signs[32], scales[4]
    float d = quant_half(b);
    for (int i = 0; i < 64; i++) {
        unsigned entry = b[2 + i] | ((b[66 + i / 8] >> (i % 8)) & 1u) << 8, signs = b[74 + i / 2] >> (i % 2 * 4);
        float scale = d * (float)(1 + 2 * nibble(b + 106, i / 8));
        for (int j = 0; j < 4; j++) { // levels 1, 3, .., 15
            float level = (float)(2 * ((grid_iq3_s[entry] >> (4 * j)) & 7) + 1);
            y = put_signed(y, scale, level, (signs >> j) & 1);
        }
    }
}

// Eight values of IQ1: -1, 0 or 1, all shifted by an eighth.
static float *put_iq1(float *y, float scale, unsigned entry, bool minus) {
    float shift = minus ? -0.125f : 0.125f;
    for (int j = 0; j < 8; j++) *y++ = scale * ((float)((grid_iq1_s[entry] >> (2 * j)) & 3) - 1 + shift);
    return y;
}

static void decode_iq1_s(const uint8_t *b, float *y) { // d, qs[32], qh[8] (u16: 4 x 3 bits of entries, scale, shift's sign)
    float d = quant_half(b);
    for (int i = 0; i < 32; i++) {
        unsigned high = quant_u16(b + 34 + 2 * (i / 4)), entry = b[2 + i] | ((high >> (3 * (i % 4))) & 7) << 8;
        y = put_iq1(y, d * (float)(2 * ((high >> 12) & 7) + 1), entry, high >> 15);
    }
}

uint16_t quant_iq1_m_scale(const uint8_t *b) {
    uint16_t d = 0;
    for (int i = 0; i < 4; i++) d = (uint16_t)(d | (quant_u16(b + 48 + 2 * i) >> 12) << (4 * i));
    return d;
}

static void decode_iq1_m(const uint8_t *b, float *y) { // qs[32], qh[16], scales[4] (u16: 4 x 3 bits, a quarter of d)
    float d = f16_to_f32(quant_iq1_m_scale(b));
    for (int i = 0; i < 32; i++) {
        unsigned high = nibble(b + 32, i), scale = (quant_u16(b + 48 + 2 * (i / 8)) >> (3 * (i / 2 % 4))) & 7;
        y = put_iq1(y, d * (float)(2 * scale + 1), b[i] | (high & 7) << 8, high >> 3);
    }
}

static const float iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

static void put_iq4(float *y, float scale, const uint8_t *q) { // 32 values in 16 bytes: low nibbles, then high ones
    for (int j = 0; j < 16; j++) {
        y[j] = scale * iq4_levels[q[j] & 15];
        y[j + 16] = scale * iq4_levels[q[j] >> 4];
    }
}

static void decode_iq4_nl(const uint8_t *b, float *y) { put_iq4(y, quant_half(b), b + 2); } // d, qs[16]

static void decode_iq4_xs(const uint8_t *b, float *y) { // d, scales_h (u16), scales_l[4], qs[128]
    float d = quant_half(b);
    unsigned high = quant_u16(b + 2);
    for (int i = 0; i < 8; i++) {
        int scale = (int)(nibble(b + 4, i) | ((high >> (2 * i)) & 3) << 4) - 32;
        put_iq4(y + 32 * i, d * (float)scale, b + 8 + 16 * i);
    }
}

quant_block_decoder quant_codebook_decoder(tl_dtype t) {
    switch (t) {
    case DT_IQ1_S: return decode_iq1_s;
    case DT_IQ1_M: return decode_iq1_m;
    case DT_IQ2_XXS: return decode_iq2_xxs;
    case DT_IQ2_XS: return decode_iq2_xs;
    case DT_IQ2_S: return decode_iq2_s;
    case DT_IQ3_XXS: return decode_iq3_xxs;
    case DT_IQ3_S: return decode_iq3_s;
    case DT_IQ4_NL: return decode_iq4_nl;
    case DT_IQ4_XS: return decode_iq4_xs;
    default: return NULL;
    }
}
