// quant_tiny.c - formats of one to four bits with few levels: Q1_0 (signs), TQ1_0 and TQ2_0 (-1, 0, 1), MXFP4 and NVFP4
// (four-bit floats). Sources: the OCP Microscaling specification 1.0 (MXFP4), NVIDIA's description of NVFP4, ggml's
// published block structures, and its Python package gguf (quants.py), with which the tests compare bit for bit.
#include "gguf/quant_internal.h"

#include <math.h>

static float peak_of(const float *x, int n) {
    float peak = 0;
    for (int i = 0; i < n; i++) peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
    return peak;
}

// Stores v as float16, saturated, and returns the stored value.
static float put_scale(uint8_t *p, float v) {
    uint16_t h = f32_to_f16(v < 65504 ? v : 65504);
    memcpy(p, &h, 2);
    return f16_to_f32(h);
}

// ---- signs: value j is +d when bit j is set, else -d -------------------------------------------------
static void decode_q1_0(const uint8_t *b, float *y) { // d, qs[16]
    float d = quant_half(b);
    for (int j = 0; j < 128; j++) y[j] = (b[2 + j / 8] >> (j % 8)) & 1 ? d : -d;
}

static void encode_q1_0(const float *x, uint8_t *b) { // the mean magnitude has the least squared error
    double sum = 0;
    memset(b, 0, 18);
    for (int j = 0; j < 128; j++) {
        sum += fabs((double)x[j]);
        b[2 + j / 8] |= (uint8_t)((x[j] >= 0) << (j % 8));
    }
    put_scale(b, (float)(sum / 128));
}

// ---- ternary ---------------------------------------------------------------------------------------
static int trit(float v, float inv) { // 0, 1, 2
    float q = roundf(v * inv);
    return q < 0 ? 0 : q > 0 ? 2 : 1;
}

static void decode_tq2_0(const uint8_t *b, float *y) { // qs[64], d; four values a byte, 32 apart
    float d = quant_half(b + 64);
    for (int i = 0; i < 256; i++) y[i] = d * (float)(((b[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3) - 1);
}

static void encode_tq2_0(const float *x, uint8_t *b) {
    float d = peak_of(x, 256), inv = d > 0 ? 1 / d : 0;
    memset(b, 0, 64);
    put_scale(b + 64, d);
    for (int i = 0; i < 256; i++) b[i / 128 * 32 + i % 32] |= (uint8_t)(trit(x[i], inv) << (i % 128 / 32 * 2));
}

// TQ1_0: five trits a byte, the byte being their fraction 0.t0t1t2t3t4 in base three, scaled to 256 and rounded up: times
// three, the next trit appears above the byte. Three runs of bytes: where they are, and how many trits each holds.
static const struct { int byte, count, trits; } tq1_runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}}; // qs[48], qh[4], d

static void decode_tq1_0(const uint8_t *b, float *y) {
    float d = quant_half(b + 52);
    for (int r = 0; r < 3; r++) {
        unsigned power = 1;
        for (int t = 0; t < tq1_runs[r].trits; t++, power *= 3) {
            for (int j = 0; j < tq1_runs[r].count; j++) {
                unsigned shifted = (b[tq1_runs[r].byte + j] * power) & 255;
                *y++ = d * (float)((int)(shifted * 3 >> 8) - 1);
            }
        }
    }
}

static void encode_tq1_0(const float *x, uint8_t *b) {
    float d = peak_of(x, 256), inv = d > 0 ? 1 / d : 0;
    put_scale(b + 52, d);
    for (int r = 0; r < 3; r++) {
        int count = tq1_runs[r].count, trits = tq1_runs[r].trits;
        for (int j = 0; j < count; j++) {
            unsigned q = 0;
            for (int t = 0; t < 5; t++) q = q * 3 + (t < trits ? (unsigned)trit(x[t * count + j], inv) : 0);
            b[tq1_runs[r].byte + j] = (uint8_t)((q * 256 + 242) / 243);
        }
        x += count * trits;
    }
}

// ---- four-bit floats (E2M1); levels are doubled (code 8, minus zero, counts as zero), scales halved ---------------------------------
static const float e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static int nearest_e2m1(float v) { // v in units of half the scale; ties go to the smaller magnitude
    int best = 0;
    float size = fabsf(v);
    for (int i = 1; i < 8; i++)
        if (size - e2m1[best] > e2m1[i] - size) best = i;
    return best && v < 0 ? best + 8 : best;
}

static float float_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

// Half of 2^(e - 127); code 255 is NaN (OCP Microscaling, 5.4.1).
static float e8m0_half(unsigned e) {
    if (e == 255) return NAN;
    return float_of_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

static void decode_mxfp4(const uint8_t *b, float *y) { // e, qs[16]; low nibbles, then high ones
    float d = e8m0_half(b[0]);
    for (int j = 0; j < 16; j++) {
        y[j] = d * e2m1[b[1 + j] & 15];
        y[j + 16] = d * e2m1[b[1 + j] >> 4];
    }
}

static void encode_mxfp4(const float *x, uint8_t *b) { // the exponent that the specification suggests: of the peak, less 2
    float peak = peak_of(x, 32);
    int e = peak > 0 ? ilogbf(peak) - 2 + 127 : 0;
    e = e < 0 ? 0 : e;
    b[0] = (uint8_t)e;
    float d = e8m0_half((unsigned)e);
    for (int j = 0; j < 16; j++) b[1 + j] = (uint8_t)(nearest_e2m1(x[j] / d) | nearest_e2m1(x[j + 16] / d) << 4);
}

// Half of an unsigned E4M3 (bias 7); 0x7f, which would be NaN, counts as zero.
static float ue4m3_half(unsigned code) {
    unsigned e = code >> 3 & 15, m = code & 7;
    if (code == 0x7f) return 0;
    return 0.5f * (e ? ldexpf(1 + (float)m / 8, (int)e - 7) : ldexpf((float)m, -9));
}

static void decode_nvfp4(const uint8_t *b, float *y) { // d[4] (E4M3), qs[32]; 16 values a scale
    for (int i = 0; i < 4; i++, y += 16) {
        float d = ue4m3_half(b[i]);
        for (int j = 0; j < 8; j++) {
            y[j] = d * e2m1[b[4 + 8 * i + j] & 15];
            y[j + 8] = d * e2m1[b[4 + 8 * i + j] >> 4];
        }
    }
}

static double nvfp4_error(const float *x, float d) {
    double error = 0;
    for (int j = 0; j < 16; j++) {
        double e = (double)(x[j] - d * e2m1[nearest_e2m1(x[j] / d)]);
        error += e * e;
    }
    return error;
}

// Of the scales around the smallest that does not cut the peak (level 12), the one with the least squared error.
static unsigned nvfp4_scale(const float *x) {
    float peak = peak_of(x, 16);
    unsigned full = 1, best = 0;
    double best_error = INFINITY;
    if (peak == 0) return 0;
    while (full < 0x7e && ue4m3_half(full) * 12 < peak) full++;
    for (unsigned code = full > 3 ? full - 3 : 1; code <= full + 3 && code <= 0x7e; code++) {
        double error = nvfp4_error(x, ue4m3_half(code));
        if (error < best_error) best = code, best_error = error;
    }
    return best;
}

static void encode_nvfp4(const float *x, uint8_t *b) {
    for (int i = 0; i < 4; i++, x += 16) {
        b[i] = (uint8_t)nvfp4_scale(x);
        float d = ue4m3_half(b[i]), inv = d > 0 ? 1 / d : 0;
        for (int j = 0; j < 8; j++) b[4 + 8 * i + j] = (uint8_t)(nearest_e2m1(x[j] * inv) | nearest_e2m1(x[j + 8] * inv) << 4);
    }
}

// The scale of Q6_K, a whole number of its steps, with which `steps` times each level comes out best: the fewer steps a scale is, the
// more codes (up to 31) are left to make up for what it lacks.
static int nvfp4_scale_in_steps(float steps) {
    int best = 0;
    float best_error = INFINITY;
    if (steps == roundf(steps)) return (int)steps;
    for (int sc = (int)ceilf(steps * 12 / 31); sc <= (int)ceilf(steps); sc++) {
        float error = 0;
        for (int i = 1; i < 8; i++) error += powf(roundf(e2m1[i] * steps / (float)sc) * (float)sc - e2m1[i] * steps, 2);
        if (error < best_error) best = sc, best_error = error;
    }
    return best;
}

void quant_nvfp4_as_q6_k(const uint8_t *blocks, uint8_t *b) {
    enum { SCALES = 16, BLOCK = 36 };
    float unit[SCALES], largest = 0, d = 0x1p-10f; // the least scale is 2^-10, so that all are whole multiples of a power of two
    int sc[SCALES];
    uint8_t code[256];
    for (int i = 0; i < SCALES; i++) unit[i] = ue4m3_half(blocks[i / 4 * BLOCK + i % 4]), largest = fmaxf(largest, unit[i]);
    while (largest > 127 * d) d *= 2;
    for (int i = 0; i < SCALES; i++) {
        const uint8_t *q = blocks + i / 4 * BLOCK + 4 + i % 4 * 8;
        sc[i] = nvfp4_scale_in_steps(unit[i] / d);
        float by = sc[i] ? unit[i] / d / (float)sc[i] : 0;
        for (int j = 0; j < 16; j++) code[16 * i + j] = (uint8_t)(32 + (int)roundf(by * e2m1[j < 8 ? q[j] & 15 : q[j - 8] >> 4]));
    }
    quant_put_q6_k(sc, code, b);
    uint16_t h = f32_to_f16(d);
    memcpy(b + 208, &h, 2);
}

quant_block_decoder quant_tiny_decoder(tl_dtype t) {
    switch (t) {
    case DT_Q1_0: return decode_q1_0;
    case DT_TQ1_0: return decode_tq1_0;
    case DT_TQ2_0: return decode_tq2_0;
    case DT_MXFP4: return decode_mxfp4;
    case DT_NVFP4: return decode_nvfp4;
    default: return NULL;
    }
}

quant_block_encoder quant_tiny_encoder(tl_dtype t) {
    switch (t) {
    case DT_Q1_0: return encode_q1_0;
    case DT_TQ1_0: return encode_tq1_0;
    case DT_TQ2_0: return encode_tq2_0;
    case DT_MXFP4: return encode_mxfp4;
    case DT_NVFP4: return encode_nvfp4;
    default: return NULL;
    }
}
