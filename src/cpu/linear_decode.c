// linear_decode.c - blocks of the quantized formats as integers with scales and minima, plain C.
// gguf/quant.h defines the values; tests hold this file to it. Offsets are those of the file's block structures
// (GGUF specification); fields are little endian and unaligned.
#include "cpu/linear.h"

static float half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return f16_to_f32(h);
}

static void set_scale(linear_sub *out, float scale, float min) {
    out->scale[0] = out->scale[1] = scale;
    out->min[0] = out->min[1] = min;
}

// Value i is the low nibble of byte i, value i + 16 the high one; bit i of qh is value i's fifth bit.
static void legacy_nibbles(const uint8_t *qs, uint32_t qh, int zero, int8_t q[32]) {
    for (int i = 0; i < 16; i++) {
        q[i] = (int8_t)((int)((qs[i] & 15) | ((qh >> i) & 1) << 4) - zero);
        q[i + 16] = (int8_t)((int)((qs[i] >> 4) | ((qh >> (i + 16)) & 1) << 4) - zero);
    }
}

static uint32_t word_at(const uint8_t *p) {
    uint32_t w;
    memcpy(&w, p, 4);
    return w;
}

// Six-bit scale and minimum of sub-block s (0..7) out of twelve packed bytes.
static void k4_scale_min(const uint8_t *p, int s, float *scale, float *min) {
    int sc = s < 4 ? p[s] & 63 : (p[s + 4] & 15) | (p[s - 4] >> 6) << 4;
    int mn = s < 4 ? p[s + 4] & 63 : (p[s + 4] >> 4) | (p[s] >> 6) << 4;
    *scale = (float)sc;
    *min = (float)mn;
}

static void k45_decode(const uint8_t *block, const uint8_t *qh, const uint8_t *qs, int s, linear_sub *out) {
    float scale, min;
    k4_scale_min(block + 4, s, &scale, &min);
    set_scale(out, half_at(block) * scale, half_at(block + 2) * min);
    for (int i = 0; i < 32; i++) {
        int low = qs[s / 2 * 32 + i] >> (s % 2 * 4) & 15;
        out->q[i] = (int8_t)(low | (qh ? (qh[i] >> s & 1) << 4 : 0));
    }
}

static void q2_k_decode(const uint8_t *block, int s, linear_sub *out) { // scales[16], qs[64], d, dmin
    float d = half_at(block + 80), dmin = half_at(block + 82);
    for (int h = 0; h < 2; h++) {
        out->scale[h] = d * (float)(block[2 * s + h] & 15);
        out->min[h] = dmin * (float)(block[2 * s + h] >> 4);
    }
    for (int i = 0; i < 32; i++) out->q[i] = block[16 + s / 4 * 32 + i] >> (s % 4 * 2) & 3;
}

static void q3_k_decode(const uint8_t *block, int s, linear_sub *out) { // hmask[32], qs[64], scales[12], d
    const uint8_t *packed = block + 96;
    float d = half_at(block + 108);
    for (int h = 0; h < 2; h++) {
        int i = 2 * s + h, low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
        int high = packed[8 + i % 4] >> (i / 4 * 2) & 3;
        out->scale[h] = d * (float)((low | high << 4) - 32);
        out->min[h] = 0;
    }
    for (int i = 0; i < 32; i++) {
        int low = block[32 + s / 4 * 32 + i] >> (s % 4 * 2) & 3;
        out->q[i] = (int8_t)(low - (block[i] >> s & 1 ? 0 : 4));
    }
}

static void q6_k_decode(const uint8_t *block, int s, linear_sub *out) { // ql[128], qh[64], scales[16], d
    const uint8_t *ql = block + s / 4 * 64 + s % 2 * 32, *qh = block + 128 + s / 4 * 32;
    float d = half_at(block + 208);
    for (int h = 0; h < 2; h++) {
        out->scale[h] = d * (float)(int8_t)block[192 + 2 * s + h];
        out->min[h] = 0;
    }
    for (int i = 0; i < 32; i++) {
        int low = s % 4 < 2 ? ql[i] & 15 : ql[i] >> 4;
        out->q[i] = (int8_t)((low | (qh[i] >> (s % 4 * 2) & 3) << 4) - 32);
    }
}

void linear_sub_decode(tl_dtype type, const uint8_t *block, int sub, linear_sub *out) {
    switch (type) {
    case DT_Q4_0:
        set_scale(out, half_at(block), 0);
        legacy_nibbles(block + 2, 0, 8, out->q);
        break;
    case DT_Q4_1:
        set_scale(out, half_at(block), -half_at(block + 2));
        legacy_nibbles(block + 4, 0, 0, out->q);
        break;
    case DT_Q5_0:
        set_scale(out, half_at(block), 0);
        legacy_nibbles(block + 6, word_at(block + 2), 16, out->q);
        break;
    case DT_Q5_1:
        set_scale(out, half_at(block), -half_at(block + 2));
        legacy_nibbles(block + 8, word_at(block + 4), 0, out->q);
        break;
    case DT_Q8_0:
        set_scale(out, half_at(block), 0);
        memcpy(out->q, block + 2, 32);
        break;
    case DT_Q2_K: q2_k_decode(block, sub, out); break;
    case DT_Q3_K: q3_k_decode(block, sub, out); break;
    case DT_Q4_K: k45_decode(block, NULL, block + 16, sub, out); break;
    case DT_Q5_K: k45_decode(block, block + 16, block + 48, sub, out); break;
    case DT_Q6_K: q6_k_decode(block, sub, out); break;
    default: TL_CHECK(!"a quantized matrix type");
    }
}
