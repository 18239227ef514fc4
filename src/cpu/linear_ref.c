// linear_ref.c - y = W x in plain C: the definition of linear()'s results for every matrix type and layout.
//
// Quantized weights, a row of W against a row x of activation blocks (act.h), for each 32 values, for each part that
// has one scale (32 values, or 16 and 16), in this order and with these roundings, from y = 0:
//   t = float(sum of code * q)                           integers, exact; code: signed, as the format says
//       (ACT_Q16: fma(254, float(sum of code * hi), float(sum of code * lo)))
//   y = fma(d, scale * t, y), then y = fma(-min, dsum, y) where the format has a min; dsum = ds of the part; its first half is ds - ds1
// Plain weights: y = fma(W[n, k], x[k], y) for k upwards. All ISAs do the same operations, so their bits are the same; but
// one with a product of bfloat16 may read BF16 matrices with rounded activations, as linear_bf16_ref() or linear_bf16_tiles_ref() says.
#include <math.h>

#include "cpu/linear.h"

typedef struct sums { // of one part
    float t, d, dsum;
} sums;

static int dot16(const int8_t *w, const int8_t *a, int n) {
    int s = 0;
    for (int i = 0; i < n; i++) s += w[i] * a[i];
    return s;
}

// Part p of `parts` of block b of a row.
static sums part_sums(const linear_sub *w, const void *row, int64_t b, bool wide, int parts, int p) {
    int n = ACT_BLOCK / parts, at = p * n;
    const act_q8 *a = (const act_q8 *)row + b;
    const act_q16 *v = (const act_q16 *)row + b;
    const int8_t *q = w->q + at;
    float ds = wide ? v->ds : a->ds, ds1 = wide ? v->ds1 : a->ds1;
    sums s = {.d = wide ? v->d : a->d, .dsum = parts == 1 ? ds : p ? ds1 : ds - ds1};
    if (wide) {
        s.t = fmaf(ACT_BASE, (float)dot16(q, v->hi + at, n), (float)dot16(q, v->lo + at, n));
    } else {
        s.t = (float)dot16(q, a->q + at, n);
    }
    return s;
}

static float add_sub(const linear_format *f, bool has_min, const linear_sub *w, const void *row, int64_t b, bool wide, float y) {
    for (int p = 0; p < f->parts; p++) {
        sums s = part_sums(w, row, b, wide, f->parts, p);
        y = fmaf(s.d, w->scale[p] * s.t, y);
        if (has_min) y = fmaf(-w->min[p], s.dsum, y);
    }
    return y;
}

bool linear_has_min(tl_dtype type) {
    return type == DT_Q4_1 || type == DT_Q5_1 || type == DT_Q2_K || type == DT_Q4_K || type == DT_Q5_K;
}

static void quantized(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n) {
    const linear_format *f = linear_format_of(w->type);
    bool has_min = linear_has_min(w->type);
    uint8_t buffer[LINEAR_BLOCK_MAX];
    linear_sub sub;
    int subs = f->values / ACT_BLOCK;
    for (int64_t r = 0; r < rows; r++) y[r * ldy + n] = 0;
    for (int64_t b = 0; b < w->k / ACT_BLOCK; b++) {
        const uint8_t *block = linear_block(w, n, b / subs, buffer);
        linear_sub_decode(w->type, block, (int)(b % subs), &sub);
        for (int64_t r = 0; r < rows; r++) {
            float *out = y + r * ldy + n;
            *out = add_sub(f, has_min, &sub, x + (size_t)r * stride, b, w->wide, *out);
        }
    }
}

static void plain(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n) {
    float part[256]; // of row n, as float32
    for (int64_t r = 0; r < rows; r++) y[r * ldy + n] = 0;
    for (int64_t k0 = 0; k0 < w->k; k0 += 256) {
        int64_t count = w->k - k0 < 256 ? w->k - k0 : 256;
        linear_plain(w, n, k0, count, part);
        for (int64_t r = 0; r < rows; r++) {
            const float *a = (const float *)(const void *)(x + (size_t)r * stride) + k0;
            float sum = y[r * ldy + n];
            for (int64_t i = 0; i < count; i++) sum = fmaf(part[i], a[i], sum);
            y[r * ldy + n] = sum;
        }
    }
}

// ---- bfloat16 by bfloat16 -------------------------------------------------------------------------
static float no_subnormal(float v) { return fabsf(v) < 0x1p-126f ? copysignf(0, v) : v; }
static float bf16_add(float sum, uint16_t w, uint16_t a) {
    return no_subnormal(fmaf(no_subnormal(bf16_to_f32(w)), no_subnormal(bf16_to_f32(a)), no_subnormal(sum)));
}

// VDPBF16PS (Intel SDM): of a pair of products the odd one is added first; subnormal numbers are zeros.
// Lane l sums k = 32 b + 2 l + 1 and 32 b + 2 l for b upwards (zeros beyond k); then lanes are summed by halves.
static float bf16_dot(const uint16_t *w, const uint16_t *a, int64_t k) {
    float lane[16] = {0};
    for (int64_t i = 0; i < k; i += 2) {
        float *s = &lane[i / 2 % 16];
        *s = i + 1 < k ? bf16_add(*s, w[i + 1], a[i + 1]) : bf16_add(*s, 0, 0);
        *s = bf16_add(*s, w[i], a[i]);
    }
    for (int half = 8; half > 0; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    return lane[0];
}

// TDPBF16PS (Intel SDM): for each 32 values of k one chain over those of even k and one over those of odd k, from 0 and k
// upwards; their sum is added to the output. Subnormal numbers are zeros in every operation. Zeros beyond k.
static float bf16_tile_dot(const uint16_t *w, const uint16_t *a, int64_t k) {
    float sum = 0;
    for (int64_t b = 0; b < k; b += 32) {
        float chain[2] = {0};
        for (int64_t i = b; i < b + 32; i++) chain[i % 2] = bf16_add(chain[i % 2], i < k ? w[i] : 0, i < k ? a[i] : 0);
        sum = no_subnormal(sum + no_subnormal(chain[0] + chain[1]));
    }
    return sum;
}

typedef float bf16_dot_fn(const uint16_t *w, const uint16_t *a, int64_t k);
static void bf16_linear(bf16_dot_fn *dot, const cpu_matrix *w, const uint8_t *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    size_t stride = act_bytes(ACT_BF16, w->k);
    const uint8_t *data = w->data;
    for (int64_t n = n0; n < n1; n++)
        for (int64_t r = 0; r < rows; r++)
            y[r * ldy + n] = dot((const uint16_t *)(const void *)(data + (size_t)n * w->row_bytes), (const uint16_t *)(const void *)(x + (size_t)r * stride), w->k);
}

void linear_bf16_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    bf16_linear(bf16_dot, w, x, rows, y, ldy, n0, n1);
}

void linear_bf16_tiles_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    bf16_linear(bf16_tile_dot, w, x, rows, y, ldy, n0, n1);
}

act_kind linear_act(tl_dtype type) { return linear_format_of(type) ? ACT_Q8 : ACT_F32; }

void linear_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    bool blocks = linear_format_of(w->type) != NULL;
    size_t stride = act_bytes(!blocks ? ACT_F32 : w->wide ? ACT_Q16 : ACT_Q8, w->k);
    for (int64_t n = n0; n < n1; n++) (blocks ? quantized : plain)(w, x, stride, rows, y, ldy, n);
}

void cpu_linear_ref(cpu_kernels *k) {
    k->matrix_layout = linear_layout_file;
    k->matrix_bytes = linear_bytes;
    k->matrix_prepare = linear_prepare;
    k->matrix_act = linear_act;
    k->act_bytes = act_bytes;
    k->act_quantize = act_quantize_ref;
    k->linear = linear_ref;
    k->matrix_row = linear_row;
}
