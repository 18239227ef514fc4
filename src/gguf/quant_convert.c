// quant_convert.c - from one format to another, for formats that no kernel multiplies: they are loaded as Q8_0. Most of
// them are whole multiples of one unit for each 32 values (IQ4: levels up to 127; TQ, Q1_0, MXFP4, IQ1_S, IQ2_XXS,
// IQ3: smaller ones), which Q8_0 holds as they are, its float16 scale being the only rounding. NVFP4, with a scale for each 16
// values, is loaded as Q6_K, which has such scales too, or where rows are no whole blocks of that as F16, which holds all its values.
#include "gguf/quant_internal.h"

#include <math.h>
#include <pthread.h>

enum { CHUNK = 256, CODE_MOST = 127 }; // CHUNK: a multiple of every block size, and Q6_K's

tl_dtype quant_stand_in(tl_dtype t, int64_t cols) {
    if (t == DT_NVFP4) return cols % CHUNK ? DT_F16 : DT_Q6_K;
    return quant_codebook_decoder(t) || quant_tiny_decoder(t) ? DT_Q8_0 : t;
}

// Whether all values are whole multiples of unit, up to CODE_MOST times; fills the codes.
static bool codes_of(const float *x, float unit, int8_t *code) {
    for (int i = 0; i < 32; i++) {
        float q = x[i] / unit, whole = roundf(q);
        if (fabsf(whole) > CODE_MOST || fabsf(q - whole) > 1e-4f * fabsf(whole)) return false;
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
    for (int k = 1; k <= CODE_MOST && peak * (float)k <= (CODE_MOST + 0.01f) * least; k++) {
        *unit = least / (float)k;
        if (codes_of(x, *unit, code)) return true;
    }
    return false;
}

// Formats whose scale changes after 16 values: the magnitudes that a scale multiplies, the largest first.
typedef struct two_scales {
    tl_dtype type;
    float level[3];
} two_scales;
static const two_scales two_scale_types[] = {
    {DT_IQ2_XS, {43, 25, 8}}, {DT_IQ2_S, {43, 25, 8}}, {DT_IQ1_M, {9, 7, 1}},
};
enum { TWO_SCALE_TYPES = sizeof two_scale_types / sizeof *two_scale_types };

// What code the largest of 32 such values gets so that all are met best, by the ratio of the smaller half's largest value to the other's: least
// squared error over all magnitudes in both halves. CODE_MOST leaves three times (IQ1_M 15 times) as much.
enum { RATIOS = 1024, CODE_LEAST = 32 };
static uint8_t two_scale_peaks[TWO_SCALE_TYPES][RATIOS + 1];
static pthread_once_t peaks_once = PTHREAD_ONCE_INIT;

static void find_peaks(void) {
    for (size_t t = 0; t < TWO_SCALE_TYPES; t++)
        for (int r = 0; r <= RATIOS; r++) {
            const two_scales *f = &two_scale_types[t];
            float best = INFINITY;
            for (int k = CODE_MOST; k >= CODE_LEAST; k--) {
                float sum = 0;
                for (int i = 0; i < 6 && sum < best; i++) {
                    float v = f->level[i / 2] / f->level[0] * (i % 2 ? (float)r / RATIOS : 1), q = v * (float)k, off = (q - (float)(int)(q + 0.5f)) / (float)k;
                    sum += off * off;
                }
                if (sum < best) best = sum, two_scale_peaks[t][r] = (uint8_t)k;
            }
        }
}

static const uint8_t *peaks_of(tl_dtype t) {
    for (size_t i = 0; i < TWO_SCALE_TYPES; i++)
        if (two_scale_types[i].type == t) {
            TL_CHECK(pthread_once(&peaks_once, find_peaks) == 0);
            return two_scale_peaks[i];
        }
    return NULL;
}

static bool two_scale_codes(const uint8_t *peak, const float *x, float *unit, int8_t *code) {
    float most[2] = {0};
    bool nan = false;
    for (int i = 0; i < 32; i++) most[i / 16] = fmaxf(most[i / 16], fabsf(x[i])), nan |= isnan(x[i]) != 0;
    float large = fmaxf(most[0], most[1]), small = fminf(most[0], most[1]);
    if (nan || !(large > 0 && large < INFINITY)) return false;
    int k = peak[(int)(small / large * RATIOS + 0.5f)];
    *unit = large / (float)k;
    float by = (float)k / large;
    for (int i = 0; i < 32; i++) code[i] = (int8_t)(x[i] * by + copysignf(0.5f, x[i]));
    return true;
}

// peak: peaks_of() what x was.
static void to_q8_0(const uint8_t *peak, const float *x, uint8_t *b, int64_t n) {
    for (int64_t i = 0; i < n; i += 32, x += 32, b += 34) {
        int8_t code[32];
        float unit;
        bool found = peak ? two_scale_codes(peak, x, &unit, code) : find_unit(x, &unit, code);
        if (!found || !(unit > 0x1p-14f && unit < 65504)) { // a normal float16
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
    const uint8_t *s = src, *peak = to == DT_Q8_0 ? peaks_of(from) : NULL;
    uint8_t *d = dst;
    bool scales = from == DT_NVFP4 && to == DT_Q6_K;
    for (int64_t i = 0; i < n; i += CHUNK) {
        float x[CHUNK];
        int64_t part = n - i < CHUNK ? n - i : CHUNK;
        if (!scales) quant_decode(from, s, x, part);
        if (scales) quant_nvfp4_as_q6_k(s, d);
        else if (to == DT_Q8_0) to_q8_0(peak, x, d, part);
        else quant_encode(to, x, d, part);
        if (dtype_bytes(from, part, &in)) s += in;
        if (dtype_bytes(to, part, &out)) d += out;
    }
}
