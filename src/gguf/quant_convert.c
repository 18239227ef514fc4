// quant_convert.c - from one format to another, for formats that no kernel multiplies: they are loaded as Q8_0. Most of
// them are whole multiples of one unit for each 32 values (IQ4: levels up to 127; TQ, Q1_0, MXFP4, IQ1_S, IQ2_XXS,
// IQ3: smaller ones), which Q8_0 holds as they are, its float16 scale being the only rounding.
#include "gguf/quant_internal.h"

#include <math.h>

enum { CHUNK = 256 }; // a multiple of every block size

tl_dtype quant_stand_in(tl_dtype t) {
    return quant_codebook_decoder(t) || quant_tiny_decoder(t) ? DT_Q8_0 : t;
}

// Whether all values are whole multiples of unit, up to 127 times; fills the codes.
static bool codes_of(const float *x, float unit, int8_t *code) {
    for (int i = 0; i < 32; i++) {
        float q = x[i] / unit, whole = roundf(q);
        if (fabsf(whole) > 127 || fabsf(q - whole) > 1e-4f * fabsf(whole)) return false;
        code[i] = (int8_t)whole;
    }
    return true;
}

// The largest unit of which all values are whole multiples: the smallest magnitude is some multiple of it.
static bool find_unit(const float *x, float *unit, int8_t *code) {
    float least = INFINITY, peak = 0;
    for (int i = 0; i < 32; i++) {
        float size = fabsf(x[i]);
        if (size > 0 && size < least) least = size;
        if (size > peak) peak = size;
    }
    if (!isfinite(peak) || peak == 0) return false;
    for (int k = 1; k <= 127 && peak * (float)k <= 127.01f * least; k++) {
        *unit = least / (float)k;
        if (codes_of(x, *unit, code)) return *unit > 0x1p-14f && *unit < 65504; // a normal float16
    }
    return false;
}

static void to_q8_0(const float *x, uint8_t *b, int64_t n) {
    for (int64_t i = 0; i < n; i += 32, x += 32, b += 34) {
        int8_t code[32];
        float unit;
        if (!find_unit(x, &unit, code)) {
            quant_encode(DT_Q8_0, x, b, 32);
            continue;
        }
        uint16_t h = f32_to_f16(unit);
        memcpy(b, &h, 2);
        memcpy(b + 2, code, 32);
    }
}

void quant_convert(tl_dtype from, const void *src, tl_dtype to, void *dst, int64_t n) {
    size_t in, out;
    TL_CHECK(dtype_bytes(from, n, &in) && dtype_bytes(to, n, &out) && quant_can_encode(to));
    const uint8_t *s = src;
    uint8_t *d = dst;
    for (int64_t i = 0; i < n; i += CHUNK) {
        float x[CHUNK];
        int64_t part = n - i < CHUNK ? n - i : CHUNK;
        quant_decode(from, s, x, part);
        if (to == DT_Q8_0) to_q8_0(x, d, part);
        else quant_encode(to, x, d, part);
        if (dtype_bytes(from, part, &in)) s += in;
        if (dtype_bytes(to, part, &out)) d += out;
    }
}
