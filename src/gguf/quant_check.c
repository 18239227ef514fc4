// quant_check.c - finds non-finite values at near memory speed: floats in one vectorizable pass, quantized
// tensors by their 16-bit block scales alone. For every format with float16 scales a block decodes to finite values if
// and only if its scale (and min) are finite: the largest product, 65504 * 127 * 128, is far below float32's limit,
// while inf or NaN times any integer, zero included, plus or minus any min stays non-finite.
#include "gguf/quant_internal.h"

#include <math.h>

enum { CHUNK = 2048 };

// Position of the first non-finite element at or after `from`, or n.
#define FLOAT_SCANNER(name, T, mask)                                                                                   \
    static int64_t count_##name(const uint8_t *p, int64_t n) {                                                         \
        T bad = 0;                                                                                                     \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            T v;                                                                                                       \
            memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                                            \
            bad = (T)(bad + ((v & (T)(mask)) == (T)(mask)));                                                           \
        }                                                                                                              \
        return (int64_t)bad; /* n <= CHUNK, so that it fits T */                                                       \
    }                                                                                                                  \
    static int64_t first_##name(const uint8_t *p) {                                                                    \
        for (int64_t i = 0;; i++)                                                                                      \
            if (count_##name(p + (size_t)i * sizeof(T), 1)) return i;                                                  \
    }
FLOAT_SCANNER(16f, uint16_t, 0x7c00u)
FLOAT_SCANNER(16b, uint16_t, 0x7f80u)
FLOAT_SCANNER(32, uint32_t, 0x7f800000u)
FLOAT_SCANNER(64, uint64_t, 0x7ff0000000000000u)

static bool scan_floats(const uint8_t *p, int64_t row0, int64_t row1, int64_t cols, size_t size, quant_bad *out,
                        int64_t (*count)(const uint8_t *, int64_t), int64_t (*first)(const uint8_t *)) {
    int64_t total = (row1 - row0) * cols, base = row0 * cols;
    for (int64_t i = 0; i < total; i += CHUNK) {
        const uint8_t *chunk = p + (size_t)(base + i) * size;
        int64_t bad = count(chunk, total - i < CHUNK ? total - i : CHUNK);
        if (bad && out->count == 0) {
            int64_t at = base + i + first(chunk);
            *out = (quant_bad){.row = at / cols, .block = at % cols, .byte_offset = (size_t)at * size};
        }
        out->count += bad;
    }
    return out->count > 0;
}

static bool half_bad(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, 2);
    return (h & 0x7c00) == 0x7c00;
}

bool quant_scale_places(tl_dtype t, size_t *scale, size_t *min) {
    *scale = *min = 0;
    switch (t) {
    case DT_Q2_K: *scale = 80, *min = 82; return true;
    case DT_Q3_K: *scale = *min = 108; return true;
    case DT_Q6_K: *scale = *min = 208; return true;
    case DT_Q4_1: case DT_Q5_1: case DT_Q4_K: case DT_Q5_K: *min = 2; return true;
    case DT_TQ1_0: *scale = *min = 52; return true;
    case DT_TQ2_0: *scale = *min = 64; return true;
    case DT_IQ1_M: case DT_MXFP4: case DT_NVFP4: return false;
    default: return dtype_table[t].quantized;
    }
}

// The formats without float16 scales. NVFP4 has no code for NaN or infinity.
static bool odd_scale_bad(tl_dtype t, const uint8_t *block) {
    float values[32];
    if (t == DT_IQ1_M) return (quant_iq1_m_scale(block) & 0x7c00) == 0x7c00;
    if (t != DT_MXFP4 || block[0] < 253) return false; // below, 12 times half of 2^(e - 127) is finite
    quant_decode(t, block, values, 32);
    for (int i = 0; i < 32; i++)
        if (!isfinite(values[i])) return true;
    return false;
}

static bool scan_blocks(tl_dtype t, const uint8_t *p, int64_t row0, int64_t row1, int64_t cols, quant_bad *out) {
    const dtype_info *info = &dtype_table[t];
    size_t scale, min, bytes = info->block_bytes;
    bool half = quant_scale_places(t, &scale, &min);
    int64_t per_row = cols / info->block_values, end = row1 * per_row;
    for (int64_t i = row0 * per_row; i < end; i++) {
        const uint8_t *block = p + (size_t)i * bytes;
        if (half ? !half_bad(block + scale) && !half_bad(block + min) : !odd_scale_bad(t, block)) continue;
        if (out->count == 0)
            *out = (quant_bad){.row = i / per_row, .block = i % per_row, .byte_offset = (size_t)i * bytes, .in_scale = true};
        out->count += info->block_values;
    }
    return out->count > 0;
}

bool quant_find_nonfinite(tl_dtype t, const void *data, int64_t row0, int64_t row1, int64_t cols, quant_bad *out) {
    TL_CHECK(t < DT_COUNT && cols > 0 && cols % dtype_table[t].block_values == 0 && 0 <= row0 && row0 <= row1);
    *out = (quant_bad){0};
    switch (t) {
    case DT_F32: return scan_floats(data, row0, row1, cols, 4, out, count_32, first_32);
    case DT_F16: return scan_floats(data, row0, row1, cols, 2, out, count_16f, first_16f);
    case DT_BF16: return scan_floats(data, row0, row1, cols, 2, out, count_16b, first_16b);
    case DT_F64: return scan_floats(data, row0, row1, cols, 8, out, count_64, first_64);
    default: return dtype_table[t].quantized && scan_blocks(t, data, row0, row1, cols, out);
    }
}
