// vec_core.h - norms, softmax, rotary embedding and stores in the words of simd_*.h; included once by each vec_ISA.c.
// Loops take whole vectors, then the first lanes of one more: an element's value never depends on where it stands.
// Sums run over SUMS vectors of partial sums in an order that only n decides.
#include <math.h>

#include "cpu/convert_core.h"
#include "cpu/map_core.h"

enum { SUMS = 4 };

V_INLINE vf first_lanes(vf a, int64_t n) { return v_sel(v_ilt(v_lanes(), v_iset1((int32_t)n)), a, v_zero()); }

V_INLINE float sum_up(vf s[SUMS]) { return v_hsum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3]))); }

// ---- rows ------------------------------------------------------------------------------------------
static void V_NAME(rms_norm)(const float *x, const float *w, float eps, float *y, int64_t n) {
    vf s[SUMS] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;
    for (; i + SUMS * V_N <= n; i += SUMS * V_N) {
        V_UNROLL for (int j = 0; j < SUMS; j++) {
            vf a = v_load(x + i + j * V_N);
            s[j] = v_fma(a, a, s[j]);
        }
    }
    for (; i < n; i += V_N) {
        vf a = n - i < V_N ? v_loadn(x + i, n - i) : v_load(x + i);
        s[0] = v_fma(a, a, s[0]);
    }
    vf scale = v_set1((float)(1.0 / sqrt((double)sum_up(s) / (double)n + (double)eps)));
    for (i = 0; i + V_N <= n; i += V_N) {
        vf a = v_mul(v_load(x + i), scale);
        v_store(y + i, w ? v_mul(a, v_load(w + i)) : a);
    }
    if (i < n) {
        vf a = v_mul(v_loadn(x + i, n - i), scale);
        v_storen(y + i, w ? v_mul(a, v_loadn(w + i, n - i)) : a, n - i);
    }
}

static float V_NAME(sum)(const float *x, int64_t n) {
    vf s[SUMS] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;
    for (; i + SUMS * V_N <= n; i += SUMS * V_N)
        V_UNROLL for (int j = 0; j < SUMS; j++) s[j] = v_add(s[j], v_load(x + i + j * V_N));
    for (; i < n; i += V_N) s[0] = v_add(s[0], n - i < V_N ? v_loadn(x + i, n - i) : v_load(x + i));
    return sum_up(s);
}

static float V_NAME(sum_squares_from)(const float *x, vf mean, int64_t n) {
    vf s[SUMS] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int64_t i = 0;
    for (; i + SUMS * V_N <= n; i += SUMS * V_N) {
        V_UNROLL for (int j = 0; j < SUMS; j++) {
            vf a = v_sub(v_load(x + i + j * V_N), mean);
            s[j] = v_fma(a, a, s[j]);
        }
    }
    for (; i < n; i += V_N) {
        vf a = n - i < V_N ? first_lanes(v_sub(v_loadn(x + i, n - i), mean), n - i) : v_sub(v_load(x + i), mean);
        s[0] = v_fma(a, a, s[0]);
    }
    return sum_up(s);
}

static void V_NAME(layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, int64_t n) {
    vf mean = v_set1((float)((double)V_NAME(sum)(x, n) / (double)n));
    double squares = V_NAME(sum_squares_from)(x, mean, n);
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
    vf sum = v_zero();
    for (i = 0; i + V_N <= n; i += V_N) {
        vf p = v_exp(v_sub(v_load(x + i), base));
        v_store(y + i, p);
        sum = v_add(sum, p);
    }
    if (i < n) {
        vf p = first_lanes(v_exp(v_sub(v_loadn(x + i, n - i), base)), n - i);
        v_storen(y + i, p, n - i);
        sum = v_add(sum, p);
    }
    float total = v_hsum(sum);
    vf scale = v_set1(total == 0 ? 0.0f : 1.0f / total);
    for (i = 0; i + V_N <= n; i += V_N) v_store(y + i, v_mul(v_load(y + i), scale));
    if (i < n) v_storen(y + i, v_mul(v_loadn(y + i, n - i), scale), n - i);
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
        vf sum = v_zero(), dot = v_zero();
        for (int64_t j = i; j < n && j < i + CPU_BLOCK; j += V_N) {
            vf d = v_sub(load_present(x + j, n - j), from), e = v_exp_weight(d);
            sum = v_add(sum, e);
            dot = v_fma(e, v_max(least, d), dot); // where d is -inf, e is 0
        }
        sums[i / CPU_BLOCK] = v_hsum(sum);
        if (dots) dots[i / CPU_BLOCK] = v_hsum(dot);
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
