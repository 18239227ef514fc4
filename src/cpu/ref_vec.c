// ref_vec.c - plain C of everything in the kernel table that is not about weight matrices. It defines the results, to the bit:
// every instruction set does the same operations in the same order (sums: sums.h), so all give what this file gives.
#include "cpu/attention.h"
#include "cpu/math_ref.h"
#include "cpu/vec.h"
#include "cpu/vec_ops.h"

enum { SUM_LANES = 16, ROW_LANES = 4 * SUM_LANES }; // sums.h says how sums are taken

static float sum_lanes(float lane[SUM_LANES]) {
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

static float sum_row(const float lane[ROW_LANES]) {
    float t[SUM_LANES];
    for (int i = 0; i < SUM_LANES; i++) t[i] = (lane[i] + lane[SUM_LANES + i]) + (lane[2 * SUM_LANES + i] + lane[3 * SUM_LANES + i]);
    return sum_lanes(t);
}

static float dot_ref(const float *a, const float *b, int64_t n) {
    float lane[ROW_LANES] = {0};
    for (int64_t i = 0; i < n; i++) lane[i % ROW_LANES] = fmaf(a[i], b[i], lane[i % ROW_LANES]);
    return sum_row(lane);
}

// ---- rows ------------------------------------------------------------------------------------------
static void rms_norm_ref(const float *x, const float *w, float eps, float *y, int64_t n) {
    double squares = dot_ref(x, x, n);
    float scale = (float)(1.0 / sqrt(squares / (double)n + (double)eps));
    for (int64_t i = 0; i < n; i++) y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

static void layer_norm_ref(const float *x, const float *w, const float *b, float eps, float *y, int64_t n) {
    float sum[ROW_LANES] = {0}, square[ROW_LANES] = {0};
    for (int64_t i = 0; i < n; i++) sum[i % ROW_LANES] += x[i];
    float mean = (float)((double)sum_row(sum) / (double)n);
    for (int64_t i = 0; i < n; i++) square[i % ROW_LANES] = fmaf(x[i] - mean, x[i] - mean, square[i % ROW_LANES]);
    double squares = sum_row(square);
    float scale = (float)(1.0 / sqrt(squares / (double)n + (double)eps));
    for (int64_t i = 0; i < n; i++) {
        float v = (x[i] - mean) * scale;
        if (w) v *= w[i];
        y[i] = b ? v + b[i] : v;
    }
}

static void softmax_ref(const float *x, float *y, int64_t n) {
    float max = -INFINITY, sum[SUM_LANES] = {0};
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    if (max == -INFINITY) max = 0; // every exp is 0, or NaN where x is
    for (int64_t i = 0; i < n; i++) {
        y[i] = ref_exp(x[i] - max);
        sum[i % SUM_LANES] += y[i];
    }
    float total = sum_lanes(sum), scale = total == 0 ? 0.0f : 1.0f / total;
    for (int64_t i = 0; i < n; i++) y[i] *= scale;
}

static bool all_finite_ref(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

static void block_maxima_ref(const float *x, float *maxima, int64_t n) {
    for (int64_t i = 0; i < n; i += CPU_BLOCK) {
        float max = -INFINITY;
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j++) max = x[j] > max ? x[j] : max;
        maxima[i / CPU_BLOCK] = max;
    }
}

static void block_exp_sums_ref(const float *x, float base, float *sums, float *dots, int64_t n) {
    for (int64_t i = 0; i < n; i += CPU_BLOCK) {
        float sum[SUM_LANES] = {0}, dot[SUM_LANES] = {0};
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j++) {
            float d = (isnan(x[j]) ? -INFINITY : x[j]) - base, e = ref_exp_weight(d);
            sum[j % SUM_LANES] += e;
            dot[j % SUM_LANES] = fmaf(e, d < -105.0f ? -105.0f : d, dot[j % SUM_LANES]); // where d is -inf, e is 0
        }
        sums[i / CPU_BLOCK] = sum_lanes(sum);
        if (dots) dots[i / CPU_BLOCK] = sum_lanes(dot);
    }
}

static void rope_ref(const float *x, const float *cs, float *y, int64_t d, int64_t rot, bool interleaved) {
    int64_t half = rot / 2;
    for (int64_t i = 0; i < half; i++) {
        int64_t p = interleaved ? 2 * i : i, q = interleaved ? 2 * i + 1 : i + half;
        float a = x[p], b = x[q], c = cs[i], s = cs[half + i];
        y[p] = fmaf(a, c, -(b * s));
        y[q] = fmaf(b, c, a * s);
    }
    if (y != x && d > rot) memmove(y + rot, x + rot, (size_t)(d - rot) * sizeof *y);
}

// ---- conversions -----------------------------------------------------------------------------------
enum { Q8_VALUES = 32, Q8_BYTES = 34, Q4_BYTES = 18 };

// Q8_0 (GGUF): a float16 scale d = max|x| / 127, then 32 int8 of x / d. A block with a non-finite value becomes NaN.
static void store_q8_block(const float *x, uint8_t *dst) {
    float max = 0;
    bool finite = true;
    for (int i = 0; i < Q8_VALUES; i++) {
        float v = fabsf(x[i]);
        if (!(v < INFINITY)) finite = false;
        max = v > max ? v : max;
    }
    float d = max / 127.0f, inverse = finite && d > 0 ? 1.0f / d : 0.0f;
    if (!(inverse < INFINITY)) inverse = 0; // a subnormal scale: float16 has none so small
    uint16_t h = f32_to_f16(finite ? d : NAN);
    memcpy(dst, &h, 2);
    for (int i = 0; i < Q8_VALUES; i++) ((int8_t *)dst)[2 + i] = (int8_t)(inverse > 0 ? rintf(x[i] * inverse) : 0);
}

static void load_q8(const uint8_t *src, float *dst, int64_t n) {
    for (int64_t b = 0; b < n / Q8_VALUES; b++, src += Q8_BYTES) {
        uint16_t h;
        memcpy(&h, src, 2);
        float d = f16_to_f32(h);
        for (int i = 0; i < Q8_VALUES; i++) dst[b * Q8_VALUES + i] = d * (float)((const int8_t *)src)[2 + i];
    }
}

// Q4_0 (GGUF): a float16 scale d, the value of largest magnitude divided by -8, then 32 values x / d + 8 in four bits each: byte j
// has values j (low) and j + 16 (high). A block with a non-finite value becomes NaN.
void cpu_store_q4(const float *x, uint8_t *dst, int64_t n) {
    for (int64_t b = 0; b < n / Q8_VALUES; b++, x += Q8_VALUES, dst += Q4_BYTES) {
        float most = 0;
        bool finite = true;
        for (int i = 0; i < Q8_VALUES; i++) {
            finite &= fabsf(x[i]) < INFINITY;
            most = fabsf(x[i]) > fabsf(most) ? x[i] : most;
        }
        float d = most / -8.0f, inverse = finite && d != 0 ? 1.0f / d : 0.0f;
        if (!(fabsf(inverse) < INFINITY)) inverse = 0;
        uint16_t h = f32_to_f16(finite ? d : NAN);
        memcpy(dst, &h, 2);
        uint8_t q[Q8_VALUES];
        for (int i = 0; i < Q8_VALUES; i++) {
            float v = inverse != 0 ? x[i] * inverse + 8.5f : 8;
            q[i] = v >= 15 ? 15 : (uint8_t)v;
        }
        for (int i = 0; i < Q8_VALUES / 2; i++) dst[2 + i] = (uint8_t)(q[i] | q[i + Q8_VALUES / 2] << 4);
    }
}

static void load_q4(const uint8_t *src, float *dst, int64_t n) {
    for (int64_t b = 0; b < n / Q8_VALUES; b++, src += Q4_BYTES, dst += Q8_VALUES) {
        uint16_t h;
        memcpy(&h, src, 2);
        float d = f16_to_f32(h);
        for (int i = 0; i < Q8_VALUES / 2; i++) {
            dst[i] = d * (float)((src[2 + i] & 15) - 8);
            dst[i + Q8_VALUES / 2] = d * (float)((src[2 + i] >> 4) - 8);
        }
    }
}

static void store_ref(tl_dtype type, const float *x, void *dst, int64_t n) {
    uint16_t *h = dst;
    switch (type) {
    case DT_F32: memmove(dst, x, (size_t)n * sizeof *x); break;
    case DT_F16:
        for (int64_t i = 0; i < n; i++) h[i] = f32_to_f16(x[i]);
        break;
    case DT_BF16:
        for (int64_t i = 0; i < n; i++) h[i] = f32_to_bf16(x[i]);
        break;
    case DT_Q8_0:
        for (int64_t b = 0; b < n / Q8_VALUES; b++) store_q8_block(x + b * Q8_VALUES, (uint8_t *)dst + b * Q8_BYTES);
        break;
    case DT_Q4_0: cpu_store_q4(x, dst, n); break;
    default: TL_CHECK(!"store: F32, F16, BF16, Q8_0 or Q4_0");
    }
}

static void load_ref(tl_dtype type, const void *src, float *dst, int64_t n) {
    const uint16_t *h = src;
    switch (type) {
    case DT_F32: memmove(dst, src, (size_t)n * sizeof *dst); break;
    case DT_F16:
        for (int64_t i = 0; i < n; i++) dst[i] = f16_to_f32(h[i]);
        break;
    case DT_BF16:
        for (int64_t i = 0; i < n; i++) dst[i] = bf16_to_f32(h[i]);
        break;
    case DT_Q8_0: load_q8(src, dst, n); break;
    case DT_Q4_0: load_q4(src, dst, n); break;
    default: TL_CHECK(!"load: F32, F16, BF16, Q8_0 or Q4_0");
    }
}

// ---- attention -------------------------------------------------------------------------------------
typedef struct head_row { // one query head of one row, in the thread's scratch
    float *q, *weights, *part, *acc, *buf; // [dk] times scale, [ATTN_CHUNK], [dv] of a chunk, [dv] so far, a key or a value
    float top, total;                      // so far
} head_row;

static float score_ref(const attn_args *a, const head_row *h, const char *k) {
    float lane[SUM_LANES] = {0};
    load_ref(a->kv_type, k, h->buf, a->dk);
    for (int d = 0; d < a->dk; d++) lane[d % SUM_LANES] = fmaf(h->q[d], h->buf[d], lane[d % SUM_LANES]);
    float s = sum_lanes(lane);
    return a->softcap > 0 ? a->softcap * ref_tanh(s / a->softcap) : s;
}

// Softmax weights of list entries [lo, hi), relative to the largest score among them. A weight stands at its entry's place in the
// chunk, whose first entry is `base`.
static float weigh_ref(const attn_args *a, int64_t row, const head_row *h, const char *k, int64_t base, int64_t lo, int64_t hi, float *sum) {
    float max = -INFINITY, lane[SUM_LANES] = {0};
    for (int64_t j = lo; j < hi; j++) {
        float *w = h->weights + (j - base);
        *w = -INFINITY;
        if (attn_bit(a, row, j)) *w = score_ref(a, h, k + (size_t)a->seqs[a->seq[row]].slots[j] * a->k_slot_bytes);
        max = *w > max ? *w : max;
    }
    for (int64_t j = lo; j < hi; j++) {
        float *w = h->weights + (j - base);
        *w = ref_exp_weight(*w - (max == -INFINITY ? 0.0f : max));
        lane[(j - base) % SUM_LANES] += *w;
    }
    *sum = sum_lanes(lane);
    return max;
}

static void add_chunk(const attn_args *a, int64_t row, head_row *h, const char *k, const char *v, int64_t base, int64_t lo, int64_t hi) {
    float sum, max = weigh_ref(a, row, h, k, base, lo, hi, &sum);
    if (sum == 0) return;
    memset(h->part, 0, (size_t)a->dv * sizeof *h->part);
    for (int64_t j = lo; j < hi; j++) {
        if (!attn_bit(a, row, j)) continue;
        load_ref(a->kv_type, v + (size_t)a->seqs[a->seq[row]].slots[j] * a->v_slot_bytes, h->buf, a->dv);
        for (int d = 0; d < a->dv; d++) h->part[d] = fmaf(h->weights[j - base], h->buf[d], h->part[d]);
    }
    float most = max > h->top ? max : h->top, from = most == -INFINITY ? 0.0f : most;
    float keep = ref_exp_weight(h->top - from), add = ref_exp_weight(max - from);
    h->total = h->total * keep + sum * add;
    h->top = most;
    for (int d = 0; d < a->dv; d++) h->acc[d] = fmaf(h->part[d], add, h->acc[d] * keep);
}

static void attend_ref(const attn_args *a, int64_t row, int head, float *scratch) {
    const attn_seq *seq = &a->seqs[a->seq[row]];
    int kv = head / (a->heads / a->kv_heads);
    size_t k_head = 0, v_head = 0;
    TL_CHECK(dtype_bytes(a->kv_type, (int64_t)a->dk * kv, &k_head) && dtype_bytes(a->kv_type, (int64_t)a->dv * kv, &v_head));
    head_row h = {.q = scratch, .weights = scratch + a->dk, .top = -INFINITY};
    h.part = h.weights + ATTN_CHUNK, h.acc = h.part + a->dv, h.buf = h.acc + a->dv;
    memset(h.acc, 0, (size_t)a->dv * sizeof *h.acc);
    const float *q = a->q + row * a->q_stride + (int64_t)head * a->dk;
    for (int d = 0; d < a->dk; d++) h.q[d] = q[d] * a->scale;
    int64_t lo, hi;
    attn_range(a, row, &lo, &hi);
    for (int64_t base = (seq->dropped + lo) / ATTN_CHUNK * ATTN_CHUNK - seq->dropped; base < hi; base += ATTN_CHUNK)
        add_chunk(a, row, &h, (const char *)a->k + k_head, (const char *)a->v + v_head, base, lo > base ? lo : base,
                  hi < base + ATTN_CHUNK ? hi : base + ATTN_CHUNK);
    float total = h.total, keep = 1;
    if (total != 0 && a->sinks) {
        float top = h.top == -INFINITY ? 0.0f : h.top, sink = a->sinks[head], base = sink > top ? sink : top;
        keep = ref_exp_weight(top - base);
        total = total * keep + ref_exp_weight(sink - base);
    }
    float scale = total == 0 ? 0.0f : keep / total, *out = a->out + row * a->out_stride + (int64_t)head * a->dv;
    for (int d = 0; d < a->dv; d++) out[d] = h.acc[d] * scale;
}

static void attention_ref(const attn_args *a, int64_t item0, int64_t item1, void *scratch) {
    attn_iter it;
    attn_iter_init(&it, a, item0);
    for (int64_t i = item0; i < item1; i++) {
        attn_item t;
        attn_iter_next(&it, &t);
        if (t.split && t.chunk0 != t.first) continue; // whole rows at their first chunk
        int group = a->heads / a->kv_heads;
        for (int64_t r = t.row0; r < t.row0 + t.rows; r++) {
            for (int h = t.kv_head * group; h < (t.kv_head + 1) * group; h++) attend_ref(a, r, h, scratch);
            attn_quantize(a, r, t.kv_head);
        }
    }
}

// ---- elementwise -----------------------------------------------------------------------------------
// map.def's expressions, with the functions of math_ref.h in place of libm's. Those that round correctly, and pow, are libm's.
#define expf ref_exp
#define logf ref_log
#define sinf(x) ref_sincos(x, 0)
#define cosf(x) ref_sincos(x, 1)
#define tanhf ref_tanh
#define erff ref_erf
#define log1pf ref_log1p
static void map1_ref(int op, const float *x, float *dst, int64_t n) {
    switch (op) {
#define MAP1(name, expr)                                                                                               \
    case MAP_##name:                                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            float a = x[i];                                                                                            \
            dst[i] = expr;                                                                                             \
        }                                                                                                              \
        return;
#define MAP2(name, expr)
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    default: TL_CHECK(!"map1: not a MAP1 row of map.def");
    }
}

// b advances by `step`: 1, or 0 for one value.
static void map2_step(int op, const float *x, const float *y, int64_t step, float *dst, int64_t n) {
    switch (op) {
#define MAP1(name, expr)
#define MAP2(name, expr)                                                                                               \
    case MAP_##name:                                                                                                   \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            float a = x[i], b = y[i * step];                                                                           \
            dst[i] = expr;                                                                                             \
        }                                                                                                              \
        return;
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    default: TL_CHECK(!"map2: not a MAP2 row of map.def");
    }
}
static void map2_ref(int op, const float *a, const float *b, float *dst, int64_t n) { map2_step(op, a, b, 1, dst, n); }
static void map2s_ref(int op, const float *a, float b, float *dst, int64_t n) { map2_step(op, a, &b, 0, dst, n); }

static void gate_ref(int op, const float *a, const float *b, float *dst, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float factor;
        map1_ref(op, a + i, &factor, 1);
        dst[i] = factor * b[i];
    }
}

// ---- products --------------------------------------------------------------------------------------
// Blocks of k that start at multiples of GEMM_K: a block's sum starts at 0 and is added to c.
static void gemm_ref(const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t m, int64_t n,
                     int64_t k) {
    enum { COLUMNS = 64, GEMM_K = 256 };
    for (int64_t p0 = 0; p0 < k; p0 += GEMM_K)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j0 = 0; j0 < n; j0 += COLUMNS) {
                int64_t w = n - j0 < COLUMNS ? n - j0 : COLUMNS, end = k - p0 < GEMM_K ? k : p0 + GEMM_K;
                float sum[COLUMNS] = {0};
                for (int64_t p = p0; p < end; p++)
                    for (int64_t j = 0; j < w; j++) sum[j] = fmaf(a[i * lda + p], b[p * ldb + j0 + j], sum[j]);
                for (int64_t j = 0; j < w; j++) c[i * ldc + j0 + j] += sum[j];
            }
}

static void axpy_ref(float s, const float *x, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] = fmaf(s, x[i], y[i]);
}

void cpu_vec_ref(cpu_kernels *k) {
    k->rms_norm = rms_norm_ref;
    k->layer_norm = layer_norm_ref;
    k->softmax = softmax_ref;
    k->all_finite = all_finite_ref;
    k->block_maxima = block_maxima_ref;
    k->block_exp_sums = block_exp_sums_ref;
    k->rope = rope_ref;
    k->store = store_ref;
    k->load = load_ref;
    k->attention = attention_ref;
    k->map1 = map1_ref;
    k->map2 = map2_ref;
    k->map2s = map2s_ref;
    k->gate = gate_ref;
    k->gemm = gemm_ref;
    k->dot = dot_ref;
    k->axpy = axpy_ref;
}
