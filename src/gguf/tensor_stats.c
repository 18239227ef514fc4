// tensor_stats.c - see tensor_stats.h. A float16 without its sign bit orders like an integer, so a pass over block scales
// needs no conversion.
#include "gguf/tensor_stats.h"

#include <math.h>

#include "gguf/quant_internal.h"

int64_t tensor_rows(const gguf_tensor *t) { return t->ne[1] * t->ne[2] * t->ne[3]; }

bool tensor_stats_known(tl_dtype t) {
    return t < DT_COUNT && (dtype_table[t].quantized || t == DT_F32 || t == DT_F16 || t == DT_BF16 || t == DT_F64);
}

// ---- one row ---------------------------------------------------------------------------------------
typedef struct row_sight {
    uint64_t any;    // 0: the row is 0 throughout
    double largest;
    int64_t at;      // block or value that has it
    int64_t bad;     // blocks or values that are not finite
} row_sight;

#define SIGHT(name, T, mask, exponent, to_float)                                                                       \
    static void sight_##name(const uint8_t *p, int64_t n, row_sight *s) {                                              \
        T any = 0, most = 0;                                                                                           \
        int64_t bad = 0;                                                                                               \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            T v;                                                                                                       \
            memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                                            \
            v &= (T)(mask);                                                                                            \
            any |= v;                                                                                                  \
            bool wrong = v >= (T)(exponent);                                                                           \
            bad += wrong;                                                                                              \
            v = wrong ? 0 : v;                                                                                         \
            most = v > most ? v : most;                                                                                \
        }                                                                                                              \
        s->any = any, s->bad = bad, s->largest = (double)(to_float);                                                   \
        for (int64_t i = 0; i < n && most; i++) {                                                                      \
            T v;                                                                                                       \
            memcpy(&v, p + (size_t)i * sizeof v, sizeof v);                                                            \
            if ((v & (T)(mask)) == most) {                                                                             \
                s->at = i;                                                                                             \
                return;                                                                                                \
            }                                                                                                          \
        }                                                                                                              \
    }
static float bits_float(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static double bits_double(uint64_t u) {
    double d;
    memcpy(&d, &u, sizeof d);
    return d;
}
SIGHT(f16, uint16_t, 0x7fffu, 0x7c00u, f16_to_f32(most))
SIGHT(bf16, uint16_t, 0x7fffu, 0x7f80u, bf16_to_f32(most))
SIGHT(f32, uint32_t, 0x7fffffffu, 0x7f800000u, bits_float(most))
SIGHT(f64, uint64_t, 0x7fffffffffffffffu, 0x7ff0000000000000u, bits_double(most))

// Blocks whose scale and min are float16.
static void sight_halves(const uint8_t *p, int64_t blocks, size_t bytes, size_t scale, size_t min, row_sight *s) {
    unsigned any = 0, most = 0;
    int64_t at = 0, bad = 0;
    for (int64_t i = 0; i < blocks; i++, p += bytes) {
        uint16_t d, m;
        memcpy(&d, p + scale, 2), memcpy(&m, p + min, 2);
        d &= 0x7fff, m &= 0x7fff;
        any |= (unsigned)d | m;
        if (d >= 0x7c00 || m >= 0x7c00) {
            bad++;
            continue;
        }
        unsigned v = d > m ? d : m;
        if (v > most) most = v, at = i;
    }
    *s = (row_sight){.any = any, .largest = (double)f16_to_f32((uint16_t)most), .at = at, .bad = bad};
}

// MXFP4 and NVFP4 have scales of their own, of which zero is none; IQ1_M's is in parts.
static void sight_odd(tl_dtype t, const uint8_t *p, int64_t blocks, size_t bytes, row_sight *s) {
    *s = (row_sight){.any = 1};
    for (int64_t i = 0; i < blocks; i++, p += bytes) {
        quant_bad b;
        if (quant_find_nonfinite(t, p, 0, 1, dtype_table[t].block_values, &b)) s->bad++;
        else if (t == DT_MXFP4 && ldexp(1, p[0] - 127) > s->largest) s->largest = ldexp(1, p[0] - 127), s->at = i;
    }
}

static void sight_row(tl_dtype t, const uint8_t *p, int64_t cols, row_sight *s) {
    const dtype_info *info = &dtype_table[t];
    size_t scale, min;
    *s = (row_sight){0};
    switch (t) {
    case DT_F32: sight_f32(p, cols, s); return;
    case DT_F16: sight_f16(p, cols, s); return;
    case DT_BF16: sight_bf16(p, cols, s); return;
    case DT_F64: sight_f64(p, cols, s); return;
    default: break;
    }
    if (quant_scale_places(t, &scale, &min)) sight_halves(p, cols / info->block_values, info->block_bytes, scale, min, s);
    else sight_odd(t, p, cols / info->block_values, info->block_bytes, s);
}

// ---- a tensor --------------------------------------------------------------------------------------
void tensor_stats_add(const gguf_tensor *t, int64_t row0, int64_t row1, tensor_stats *out) {
    size_t row_bytes = t->bytes / (size_t)tensor_rows(t);
    for (int64_t r = row0; r < row1; r++) {
        const uint8_t *p = t->data + (size_t)r * row_bytes;
        row_sight s;
        sight_row(t->type, p, t->ne[0], &s);
        if (!s.any && out->zero_rows++ == 0) out->zero_row = r;
        if (s.largest > (double)out->largest) out->largest = (float)s.largest, out->largest_row = r, out->largest_block = s.at;
        if (!s.bad) continue;
        quant_bad b;
        (void)quant_find_nonfinite(t->type, t->data, r, r + 1, t->ne[0], &b);
        int64_t count = out->bad.count + b.count;
        if (!out->bad.count) out->bad = b;
        out->bad.count = count;
        out->bad_blocks += s.bad;
    }
}

static void sample_scales(const gguf_tensor *t, const uint8_t *p, tensor_stats *out) {
    const dtype_info *info = &dtype_table[t->type];
    size_t scale, min;
    if (!info->quantized || !quant_scale_places(t->type, &scale, &min)) return;
    for (int64_t i = 0; i < t->ne[0] / info->block_values; i++, p += info->block_bytes) {
        uint16_t d, m;
        memcpy(&d, p + scale, 2), memcpy(&m, p + min, 2);
        float a = fabsf(f16_to_f32(d)), b = fabsf(f16_to_f32(m)), v = a > b ? a : b;
        if (isfinite(v)) out->scale_sum += (double)v, out->scales++;
    }
}

void tensor_stats_sample(const gguf_tensor *t, int64_t row, float *buf, tensor_stats *out) {
    const uint8_t *p = t->data + (size_t)row * (t->bytes / (size_t)tensor_rows(t));
    quant_decode(t->type, p, buf, t->ne[0]);
    for (int64_t i = 0; i < t->ne[0]; i++) {
        float v = buf[i];
        if (!isfinite(v)) continue;
        if (!out->sampled++) out->low = out->high = v;
        out->low = v < out->low ? v : out->low;
        out->high = v > out->high ? v : out->high;
        out->sum += (double)v, out->squares += (double)v * (double)v;
    }
    sample_scales(t, p, out);
}

void tensor_stats_merge(tensor_stats *to, const tensor_stats *from) {
    int64_t count = to->bad.count + from->bad.count;
    if (from->bad.count && (!to->bad.count || from->bad.row < to->bad.row)) to->bad = from->bad;
    to->bad.count = count;
    to->bad_blocks += from->bad_blocks;
    if (from->zero_rows && (!to->zero_rows || from->zero_row < to->zero_row)) to->zero_row = from->zero_row;
    to->zero_rows += from->zero_rows;
    if (from->largest > to->largest || (from->largest == to->largest && from->largest_row < to->largest_row))
        to->largest = from->largest, to->largest_row = from->largest_row, to->largest_block = from->largest_block;
    if (from->sampled) {
        to->low = !to->sampled || from->low < to->low ? from->low : to->low;
        to->high = !to->sampled || from->high > to->high ? from->high : to->high;
    }
    to->sampled += from->sampled, to->sum += from->sum, to->squares += from->squares;
    to->scale_sum += from->scale_sum, to->scales += from->scales;
}

double tensor_stats_rms(const tensor_stats *s) { return s->sampled ? sqrt(s->squares / (double)s->sampled) : 0; }
double tensor_stats_mean_scale(const tensor_stats *s) { return s->scales ? s->scale_sum / (double)s->scales : 0; }

const char *tensor_bad_part(const gguf_tensor *t, const quant_bad *bad) {
    size_t scale, min;
    if (!dtype_table[t->type].quantized) return "values";
    if (!quant_scale_places(t->type, &scale, &min) || scale == min) return "scale";
    const uint8_t *p = t->data + bad->byte_offset;
    uint16_t d, m;
    memcpy(&d, p + scale, 2), memcpy(&m, p + min, 2);
    bool in_scale = (d & 0x7c00) == 0x7c00, in_min = (m & 0x7c00) == 0x7c00;
    return in_scale && in_min ? "scale and min" : in_min ? "min" : "scale";
}
