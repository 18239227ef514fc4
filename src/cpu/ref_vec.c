// ref_vec.c - plain C of everything in the kernel table that is not about weight matrices. It defines the results:
// sums are taken in double, elementwise operations are libm's.
#include <math.h>

#include "cpu/attention.h"
#include "cpu/vec.h"
#include "cpu/vec_ops.h"

// ---- rows ------------------------------------------------------------------------------------------
static void rms_norm_ref(const float *x, const float *w, float eps, float *y, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    float scale = (float)(1.0 / sqrt(sum / (double)n + eps));
    for (int64_t i = 0; i < n; i++) y[i] = w ? x[i] * scale * w[i] : x[i] * scale;
}

static void layer_norm_ref(const float *x, const float *w, const float *b, float eps, float *y, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    float mean = (float)(sum / (double)n);
    for (int64_t i = 0; i < n; i++) squares += (double)(x[i] - mean) * (x[i] - mean);
    float scale = (float)(1.0 / sqrt(squares / (double)n + eps));
    for (int64_t i = 0; i < n; i++) {
        float v = (x[i] - mean) * scale;
        if (w) v *= w[i];
        y[i] = b ? v + b[i] : v;
    }
}

static void softmax_ref(const float *x, float *y, int64_t n) {
    float max = -INFINITY;
    for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    if (max == -INFINITY) max = 0; // every exp is 0, or NaN where x is
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        y[i] = expf(x[i] - max);
        sum += y[i];
    }
    float scale = sum == 0 ? 0.0f : (float)(1.0 / sum);
    for (int64_t i = 0; i < n; i++) y[i] *= scale;
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
        double sum = 0, dot = 0;
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j++) {
            double d = (double)x[j] - (double)base, e = exp(d);
            if (!(e > 0)) continue; // NaN, -inf
            sum += e;
            dot += e * d;
        }
        sums[i / CPU_BLOCK] = (float)sum;
        if (dots) dots[i / CPU_BLOCK] = (float)dot;
    }
}

static void rope_ref(const float *x, const float *cs, float *y, int64_t d, int64_t rot, bool interleaved) {
    int64_t half = rot / 2;
    for (int64_t i = 0; i < half; i++) {
        int64_t p = interleaved ? 2 * i : i, q = interleaved ? 2 * i + 1 : i + half;
        float a = x[p], b = x[q], c = cs[i], s = cs[half + i];
        y[p] = a * c - b * s;
        y[q] = a * s + b * c;
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
static double score_ref(const attn_args *a, const float *q, const char *k, float *buf) {
    load_ref(a->kv_type, k, buf, a->dk);
    double s = 0;
    for (int d = 0; d < a->dk; d++) s += (double)q[d] * buf[d];
    s *= a->scale;
    return a->softcap > 0 ? a->softcap * tanh(s / a->softcap) : s;
}

// One query head of one row: softmax of the scores of what it may read, times the values.
static void attend_ref(const attn_args *a, int64_t row, int head, float *buf, float *scores) {
    const attn_seq *seq = &a->seqs[a->seq[row]];
    int kv = head / (a->heads / a->kv_heads);
    size_t k_head = 0, v_head = 0;
    TL_CHECK(dtype_bytes(a->kv_type, (int64_t)a->dk * kv, &k_head) && dtype_bytes(a->kv_type, (int64_t)a->dv * kv, &v_head));
    const float *q = a->q + row * a->q_stride + (int64_t)head * a->dk;
    float *out = a->out + row * a->out_stride + (int64_t)head * a->dv;
    int64_t lo, hi;
    attn_range(a, row, &lo, &hi);
    double max = -INFINITY, sum = 0; // of the pieces so far; `out` holds their weighted values
    memset(out, 0, (size_t)a->dv * sizeof *out);
    for (int64_t j0 = lo; j0 < hi; j0 += ATTN_CHUNK) {
        int64_t n = hi - j0 < ATTN_CHUNK ? hi - j0 : ATTN_CHUNK;
        double top = max;
        for (int64_t j = 0; j < n; j++) {
            const char *k = (const char *)a->k + (size_t)seq->slots[j0 + j] * a->k_slot_bytes + k_head;
            scores[j] = attn_bit(a, row, j0 + j) ? (float)score_ref(a, q, k, buf) : -INFINITY;
            top = scores[j] > top ? scores[j] : top;
        }
        double base = top == -INFINITY ? 0 : top, shrink = exp(max - base);
        sum *= shrink;
        for (int d = 0; d < a->dv; d++) out[d] = (float)(out[d] * shrink);
        for (int64_t j = 0; j < n; j++) {
            if (scores[j] == -INFINITY) continue;
            double p = exp(scores[j] - base);
            sum += p;
            load_ref(a->kv_type, (const char *)a->v + (size_t)seq->slots[j0 + j] * a->v_slot_bytes + v_head, buf, a->dv);
            for (int d = 0; d < a->dv; d++) out[d] += (float)(p * buf[d]);
        }
        max = top;
    }
    if (sum == 0) return;
    double base = max == -INFINITY ? 0 : max; // infinite or NaN scores end as NaN
    if (a->sinks && a->sinks[head] > base) {
        double shrink = exp(base - a->sinks[head]);
        sum = sum * shrink + 1;
        for (int d = 0; d < a->dv; d++) out[d] = (float)(out[d] * shrink);
    } else if (a->sinks) sum += exp(a->sinks[head] - base);
    for (int d = 0; d < a->dv; d++) out[d] = (float)(out[d] / sum);
}

static void attention_ref(const attn_args *a, int64_t item0, int64_t item1, void *scratch) {
    float *scores = scratch, *buf = scores + ATTN_CHUNK;
    attn_iter it;
    attn_iter_init(&it, a, item0);
    for (int64_t i = item0; i < item1; i++) {
        attn_item t;
        attn_iter_next(&it, &t);
        if (t.split && t.chunk0 != t.first) continue; // whole rows at their first chunk
        int group = a->heads / a->kv_heads;
        for (int64_t r = t.row0; r < t.row0 + t.rows; r++)
            for (int h = t.kv_head * group; h < (t.kv_head + 1) * group; h++) attend_ref(a, r, h, buf, scores);
    }
}

// ---- elementwise -----------------------------------------------------------------------------------
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

// ---- products --------------------------------------------------------------------------------------
static void gemm_ref(const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t m, int64_t n,
                     int64_t k) {
    enum { COLUMNS = 64 };
    for (int64_t i = 0; i < m; i++)
        for (int64_t j0 = 0; j0 < n; j0 += COLUMNS) {
            int64_t w = n - j0 < COLUMNS ? n - j0 : COLUMNS;
            double sum[COLUMNS] = {0};
            for (int64_t p = 0; p < k; p++)
                for (int64_t j = 0; j < w; j++) sum[j] += (double)a[i * lda + p] * b[p * ldb + j0 + j];
            for (int64_t j = 0; j < w; j++) c[i * ldc + j0 + j] += (float)sum[j];
        }
}

static float dot_ref(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return (float)sum;
}

static void axpy_ref(float s, const float *x, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] += s * x[i];
}

void cpu_vec_ref(cpu_kernels *k) {
    k->rms_norm = rms_norm_ref;
    k->layer_norm = layer_norm_ref;
    k->softmax = softmax_ref;
    k->block_maxima = block_maxima_ref;
    k->block_exp_sums = block_exp_sums_ref;
    k->rope = rope_ref;
    k->store = store_ref;
    k->load = load_ref;
    k->attention = attention_ref;
    k->map1 = map1_ref;
    k->map2 = map2_ref;
    k->map2s = map2s_ref;
    k->gemm = gemm_ref;
    k->dot = dot_ref;
    k->axpy = axpy_ref;
}
