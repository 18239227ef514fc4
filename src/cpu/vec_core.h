// vec_core.h - norms, softmax, rotary embedding and stores in the words of simd_*.h; included once by each vec_ISA.c.
// Loops take whole vectors, then the first lanes of one more: an element's value never depends on where it stands.
// Sums are taken in the order that sums.h says.
#include <math.h>

#include "cpu/convert_core.h"
#include "cpu/map_core.h"
#include "cpu/sums.h"

V_INLINE vf first_lanes(vf a, int64_t n) { return v_sel(v_ilt(v_lanes(), v_iset1((int32_t)n)), a, v_zero()); }
V_INLINE vf load_upto(const float *p, int64_t n) { return n < V_N ? v_loadn(p, n) : v_load(p); } // and zeros behind the end

// ---- sums of rows ----------------------------------------------------------------------------------
typedef enum { SUM_PLAIN, SUM_SQUARES, SUM_SQUARES_FROM, SUM_PRODUCTS } sum_kind; // of x, x^2, (x - mean)^2, x y

V_INLINE vf sum_more(sum_kind kind, vf s, const float *x, const float *y, vf mean, int64_t n) { // n: values left, V_N of them or fewer
    vf a = load_upto(x, n);
    if (kind == SUM_PLAIN) return v_add(s, a);
    if (kind == SUM_PRODUCTS) return v_fma(a, load_upto(y, n), s);
    if (kind == SUM_SQUARES_FROM) a = n < V_N ? first_lanes(v_sub(a, mean), n) : v_sub(a, mean);
    return v_fma(a, a, s);
}

V_INLINE float sum_of(sum_kind kind, const float *x, const float *y, vf mean, int64_t n) { // y, mean: where the kind has them
    vf s[ROW_PARTS];
    V_UNROLL for (int j = 0; j < ROW_PARTS; j++) s[j] = v_zero();
    int64_t i = 0;
    for (; i + ROW_LANES <= n; i += ROW_LANES)
        V_UNROLL for (int j = 0; j < ROW_PARTS; j++) s[j] = sum_more(kind, s[j], x + i + j * V_N, y + i + j * V_N, mean, V_N);
    V_UNROLL for (int j = 0; j < ROW_PARTS; j++)
        if (i + j * V_N < n) s[j] = sum_more(kind, s[j], x + i + j * V_N, y + i + j * V_N, mean, n - i - j * V_N);
    return sum_row(s);
}

static float V_NAME(dot)(const float *x, const float *y, int64_t n) { return sum_of(SUM_PRODUCTS, x, y, v_zero(), n); }

// ---- rows ------------------------------------------------------------------------------------------
static void V_NAME(rms_norm)(const float *x, const float *w, float eps, float *y, int64_t n) {
    double squares = sum_of(SUM_SQUARES, x, x, v_zero(), n);
    vf scale = v_set1((float)(1.0 / sqrt(squares / (double)n + (double)eps)));
    int64_t i = 0;
    for (; i + V_N <= n; i += V_N) {
        vf a = v_mul(v_load(x + i), scale);
        v_store(y + i, w ? v_mul(a, v_load(w + i)) : a);
    }
    if (i < n) {
        vf a = v_mul(v_loadn(x + i, n - i), scale);
        v_storen(y + i, w ? v_mul(a, v_loadn(w + i, n - i)) : a, n - i);
    }
}

static void V_NAME(layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, int64_t n) {
    vf mean = v_set1((float)((double)sum_of(SUM_PLAIN, x, x, v_zero(), n) / (double)n));
    double squares = sum_of(SUM_SQUARES_FROM, x, x, mean, n);
    vf scale = v_set1((float)(1.0 / sqrt(squares / (double)n + (double)eps)));
    for (int64_t i = 0; i < n; i += V_N) {
        int64_t m = n - i;
        bool whole = m >= V_N;
        vf a = v_mul(v_sub(whole ? v_load(x + i) : v_loadn(x + i, m), mean), scale);
        if (w) a = v_mul(a, whole ? v_load(w + i) : v_loadn(w + i, m));
        if (b) a = v_add(a, whole ? v_load(b + i) : v_loadn(b + i, m));
        if (whole) v_store(y + i, a);
        else v_storen(y + i, a, m);
    }
}

static void V_NAME(softmax)(const float *x, float *y, int64_t n) {
    vf top = v_set1(-INFINITY);
    int64_t i = 0;
    for (; i + V_N <= n; i += V_N) top = v_max(v_load(x + i), top);
    if (i < n) top = v_max(v_sel(v_ilt(v_lanes(), v_iset1((int32_t)(n - i))), v_loadn(x + i, n - i), top), top);
    float max = v_hmax(top);
    vf base = v_set1(max == -INFINITY ? 0.0f : max);
    vf sum[PARTS];
    V_UNROLL for (int j = 0; j < PARTS; j++) sum[j] = v_zero();
    for (i = 0; i + SUM_LANES <= n; i += SUM_LANES)
        V_UNROLL for (int j = 0; j < PARTS; j++) {
            vf p = v_exp(v_sub(v_load(x + i + j * V_N), base));
            v_store(y + i + j * V_N, p);
            sum[j] = v_add(sum[j], p);
        }
    V_UNROLL for (int j = 0; j < PARTS; j++) {
        int64_t from = i + j * V_N, m = n - from < V_N ? n - from : V_N;
        if (m <= 0) break;
        vf p = first_lanes(v_exp(v_sub(v_loadn(x + from, m), base)), m);
        v_storen(y + from, p, m);
        sum[j] = v_add(sum[j], p);
    }
    float total = sum_parts(sum);
    vf scale = v_set1(total == 0 ? 0.0f : 1.0f / total);
    for (i = 0; i + V_N <= n; i += V_N) v_store(y + i, v_mul(v_load(y + i), scale));
    if (i < n) v_storen(y + i, v_mul(v_loadn(y + i, n - i), scale), n - i);
}

// 0 x is 0 for finite x and NaN for all others, and NaN stays in a sum.
static bool V_NAME(all_finite)(const float *x, int64_t n) {
    vf sum[ROW_PARTS];
    int64_t i = 0;
    V_UNROLL for (int j = 0; j < ROW_PARTS; j++) sum[j] = v_zero();
    for (; i + ROW_LANES <= n; i += ROW_LANES)
        V_UNROLL for (int j = 0; j < ROW_PARTS; j++) sum[j] = v_fma(v_load(x + i + j * V_N), v_zero(), sum[j]);
    for (; i + V_N <= n; i += V_N) sum[0] = v_fma(v_load(x + i), v_zero(), sum[0]);
    if (i < n) sum[0] = v_fma(v_loadn(x + i, n - i), v_zero(), sum[0]);
    V_UNROLL for (int j = 1; j < ROW_PARTS; j++) sum[0] = v_add(sum[0], sum[j]);
    return !isnan(v_hsum(sum[0]));
}

// ---- blocks of logits --------------------------------------------------------------------------------
V_INLINE vf load_present(const float *x, int64_t m) { // NaN and what is behind the end become -inf
    vf none = v_set1(-INFINITY), a = m < V_N ? v_sel(v_ilt(v_lanes(), v_iset1((int32_t)m)), v_loadn(x, m), none) : v_load(x);
    return v_sel(v_ne(a, a), none, a);
}

static void V_NAME(block_maxima)(const float *x, float *maxima, int64_t n) {
    for (int64_t i = 0; i < n; i += CPU_BLOCK) {
        vf top = v_set1(-INFINITY);
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j += V_N) top = v_max(load_present(x + j, n - j), top);
        maxima[i / CPU_BLOCK] = v_hmax(top);
    }
}

static void V_NAME(block_exp_sums)(const float *x, float base, float *sums, float *dots, int64_t n) {
    vf from = v_set1(base), least = v_set1(-105.0f);
    for (int64_t i = 0; i < n; i += CPU_BLOCK) {
        vf sum[PARTS], dot[PARTS];
        V_UNROLL for (int p = 0; p < PARTS; p++) sum[p] = dot[p] = v_zero();
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j += SUM_LANES)
            V_UNROLL for (int p = 0; p < PARTS; p++) {
                if (j + p * V_N >= n) break;
                vf d = v_sub(load_present(x + j + p * V_N, n - j - p * V_N), from), e = v_exp_weight(d);
                sum[p] = v_add(sum[p], e);
                dot[p] = v_fma(e, v_max(least, d), dot[p]); // where d is -inf, e is 0
            }
        sums[i / CPU_BLOCK] = sum_parts(sum);
        if (dots) dots[i / CPU_BLOCK] = sum_parts(dot);
    }
}

// ---- rotary embedding --------------------------------------------------------------------------------
static void V_NAME(rope_pairs)(const float *x, const float *cs, float *y, int64_t half) {
    int64_t i = 0;
    for (; i + V_N / 2 <= half; i += V_N / 2) {
        vf a = v_load(x + 2 * i), c = v_load_twice(cs + i), s = v_load_twice(cs + half + i);
        v_store(y + 2 * i, v_fmaddsub(a, c, v_mul(v_swap_pairs(a), s)));
    }
    for (; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1], c = cs[i], s = cs[half + i];
        y[2 * i] = fmaf(a, c, -(b * s));
        y[2 * i + 1] = fmaf(b, c, a * s);
    }
}

static void V_NAME(rope_halves)(const float *x, const float *cs, float *y, int64_t half) {
    for (int64_t i = 0; i < half; i += V_N) {
        int64_t n = half - i;
        bool whole = n >= V_N;
        vf a = whole ? v_load(x + i) : v_loadn(x + i, n), b = whole ? v_load(x + half + i) : v_loadn(x + half + i, n);
        vf c = whole ? v_load(cs + i) : v_loadn(cs + i, n), s = whole ? v_load(cs + half + i) : v_loadn(cs + half + i, n);
        vf p = v_fms(a, c, v_mul(b, s)), q = v_fma(b, c, v_mul(a, s));
        if (whole) {
            v_store(y + i, p);
            v_store(y + half + i, q);
        } else {
            v_storen(y + i, p, n);
            v_storen(y + half + i, q, n);
        }
    }
}

static void V_NAME(rope)(const float *x, const float *cs, float *y, int64_t d, int64_t rot, bool interleaved) {
    if (interleaved) V_NAME(rope_pairs)(x, cs, y, rot / 2);
    else V_NAME(rope_halves)(x, cs, y, rot / 2);
    if (y != x && d > rot) memmove(y + rot, x + rot, (size_t)(d - rot) * sizeof *y);
}

// ---- conversions -------------------------------------------------------------------------------------
// The values of ref_vec.c's store_q8_block, bit for bit.
V_INLINE void store_q8_block(const float *x, uint8_t *dst) {
    vf a[Q8_VECS], top = v_zero(), sign = v_set1(-0.0f), inf = v_set1(INFINITY);
    vm bad = v_lt(inf, inf);
    V_UNROLL for (int i = 0; i < Q8_VECS; i++) {
        a[i] = v_load(x + i * V_N);
        vf mag = v_andnot(sign, a[i]);
        bad = v_mor(bad, v_mor(v_eq(mag, inf), v_ne(mag, mag)));
        top = v_max(mag, top);
    }
    bool finite = !v_any(bad);
    float d = v_hmax(top) / 127.0f, inverse = finite && d > 0 ? 1.0f / d : 0.0f;
    if (!(inverse < INFINITY)) inverse = 0;
    uint16_t h = f32_to_f16(finite ? d : NAN);
    memcpy(dst, &h, 2);
    if (inverse == 0) {
        memset(dst + 2, 0, Q8_VALUES);
        return;
    }
    V_UNROLL for (int i = 0; i < Q8_VECS; i++) v_store_i8(dst + 2 + i * V_N, v_mul(a[i], v_set1(inverse)));
}

V_INLINE vi bf16_bits(vf a) { // round to nearest even; NaN stays NaN
    vi u = v_bits(a);
    vi round = v_iadd(v_iset1(0x7fff), v_iand(v_ishr(u, 16), v_iset1(1)));
    vi quiet = v_bits(v_or(a, v_float(v_iset1(0x400000))));
    return v_ishr(v_bits(v_sel(v_ne(a, a), v_float(quiet), v_float(v_iadd(u, round)))), 16);
}

static void V_NAME(store)(tl_dtype type, const float *x, void *dst, int64_t n) {
    uint16_t *h = dst;
    int64_t i = 0;
    switch (type) {
    case DT_F32: memmove(dst, x, (size_t)n * sizeof *x); break;
    case DT_F16:
        for (; i + V_N <= n; i += V_N) v_store_f16(h + i, v_load(x + i));
        for (; i < n; i++) h[i] = f32_to_f16(x[i]);
        break;
    case DT_BF16:
        for (; i + V_N <= n; i += V_N) v_store_u16(h + i, bf16_bits(v_load(x + i)));
        for (; i < n; i++) h[i] = f32_to_bf16(x[i]);
        break;
    case DT_Q8_0:
        for (; i < n / Q8_VALUES; i++) store_q8_block(x + i * Q8_VALUES, (uint8_t *)dst + i * Q8_BYTES);
        break;
    case DT_Q4_0: cpu_store_q4(x, dst, n); break; // a row is little beside the products that made it
    default: TL_CHECK(!"store: F32, F16, BF16, Q8_0 or Q4_0");
    }
}
