// map_core.h - the elementwise operations of map.def in the words of simd_*.h; included by vec_core.h.
// Equal to `ref` bit for bit: the same operations, with math_core.h's functions. POW is libm's.
#include "cpu/math_core.h"
#include "cpu/vec_ops.h"

// Applies `expr` of a (or of a and b) to whole vectors, then to the first lanes of one more.
#define MAP_LOOP1(name, expr)                                                                                          \
    case MAP_##name: {                                                                                                 \
        int64_t i = 0;                                                                                                 \
        for (; i + V_N <= n; i += V_N) {                                                                               \
            vf a = v_load(x + i);                                                                                      \
            v_store(dst + i, expr);                                                                                    \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            vf a = v_loadn(x + i, n - i);                                                                              \
            v_storen(dst + i, expr, n - i);                                                                            \
        }                                                                                                              \
        return;                                                                                                        \
    }
#define MAP_LOOP2(name, expr)                                                                                          \
    case MAP_##name: {                                                                                                 \
        int64_t i = 0;                                                                                                 \
        for (; i + V_N <= n; i += V_N) {                                                                               \
            vf a = v_load(x + i), b = v_load(y + i);                                                                   \
            v_store(dst + i, expr);                                                                                    \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            vf a = v_loadn(x + i, n - i), b = v_loadn(y + i, n - i);                                                   \
            v_storen(dst + i, expr, n - i);                                                                            \
        }                                                                                                              \
        return;                                                                                                        \
    }
#define MAP_LOOP2S(name, expr)                                                                                         \
    case MAP_##name: {                                                                                                 \
        vf b = v_set1(y);                                                                                              \
        int64_t i = 0;                                                                                                 \
        for (; i + V_N <= n; i += V_N) {                                                                               \
            vf a = v_load(x + i);                                                                                      \
            v_store(dst + i, expr);                                                                                    \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            vf a = v_loadn(x + i, n - i);                                                                              \
            v_storen(dst + i, expr, n - i);                                                                            \
        }                                                                                                              \
        return;                                                                                                        \
    }

V_INLINE vf v_truth(vm m) { return v_sel(m, v_set1(1.0f), v_zero()); }
V_INLINE vf v_neg(vf a) { return v_xor(a, v_set1(-0.0f)); }
V_INLINE vf v_logistic(vf a, vf above) { // above / (1 + e^-a)
    return v_div(above, v_add(v_set1(1.0f), v_exp(v_neg(a))));
}
V_INLINE vf v_gelu(vf a) {
    vf cubic = v_add(v_set1(1.0f), v_mul(v_mul(v_set1(0.044715f), a), a));
    vf t = v_tanh(v_mul(v_mul(v_set1(0.79788456080286535588f), a), cubic));
    return v_mul(v_mul(v_set1(0.5f), a), v_add(v_set1(1.0f), t));
}
V_INLINE vf v_gelu_erf(vf a) {
    vf t = v_erf(v_mul(a, v_set1(0.70710678118654752440f)));
    return v_mul(v_mul(v_set1(0.5f), a), v_add(v_set1(1.0f), t));
}
V_INLINE vf v_softplus(vf a) { return v_sel(v_lt(v_set1(20.0f), a), a, v_log1p(v_exp(a))); }
V_INLINE vf v_round(vf a) { // halves away from zero: just under 1/2, so that no sum rounds up to the next integer
    vf half = v_or(v_set1(0x1.fffffep-2f), v_and(a, v_set1(-0.0f)));
    return v_trunc(v_add(a, half));
}
V_INLINE vf v_sign(vf a) {
    vf minus = v_sel(v_lt(a, v_zero()), v_set1(-1.0f), v_zero());
    return v_sel(v_lt(v_zero(), a), v_set1(1.0f), minus);
}
V_INLINE vf v_mod(vf a, vf b) { return v_sub(a, v_mul(b, v_floor(v_div(a, b)))); }
V_INLINE vm v_nonzero(vf a) { return v_ne(a, v_zero()); }

// sin and cos fall back to libm for a whole vector when one lane's argument is out of range; other lanes' values must not
// change by that, so in-range lanes keep the vector result.
static void sincos_some(const float *x, float *dst, int64_t n, int quarter) {
    vf a = v_loadn(x, n);
    float in[V_N], out[V_N];
    v_store(in, a);
    v_store(out, v_sincos(a, quarter));
    for (int64_t i = 0; i < n; i++)
        dst[i] = fabsf(in[i]) <= SINCOS_MOST ? out[i] : quarter ? cosf(in[i]) : sinf(in[i]);
}
static void sincos_all(const float *x, float *dst, int64_t n, int quarter) {
    for (int64_t i = 0; i < n; i += V_N) {
        if (n - i < V_N) sincos_some(x + i, dst + i, n - i, quarter);
        else {
            vf a = v_load(x + i);
            if (v_sincos_fits(a)) v_store(dst + i, v_sincos(a, quarter));
            else sincos_some(x + i, dst + i, V_N, quarter);
        }
    }
}

static void V_NAME(map1)(int op, const float *x, float *dst, int64_t n) {
    switch (op) {
        MAP_LOOP1(NEG, v_neg(a))
        MAP_LOOP1(ABS, v_andnot(v_set1(-0.0f), a))
        MAP_LOOP1(EXP, v_exp(a))
        MAP_LOOP1(LOG, v_log(a))
        MAP_LOOP1(SQRT, v_sqrt(a))
    case MAP_SIN: sincos_all(x, dst, n, 0); return;
    case MAP_COS: sincos_all(x, dst, n, 1); return;
        MAP_LOOP1(TANH, v_tanh(a))
        MAP_LOOP1(SIGMOID, v_logistic(a, v_set1(1.0f)))
        MAP_LOOP1(SILU, v_logistic(a, a))
        MAP_LOOP1(GELU, v_gelu(a))
        MAP_LOOP1(GELU_ERF, v_gelu_erf(a))
        MAP_LOOP1(GELU_QUICK, v_logistic(v_mul(v_set1(1.702f), a), a))
        MAP_LOOP1(RELU, v_max(a, v_zero()))
        MAP_LOOP1(SOFTPLUS, v_softplus(a))
        MAP_LOOP1(STEP, v_truth(v_lt(v_zero(), a)))
        MAP_LOOP1(NOT, v_truth(v_eq(a, v_zero())))
        MAP_LOOP1(FLOOR, v_floor(a))
        MAP_LOOP1(CEIL, v_ceil(a))
        MAP_LOOP1(ROUND, v_round(a))
        MAP_LOOP1(SQUARE, v_mul(a, a))
        MAP_LOOP1(SIGN, v_sign(a))
        MAP_LOOP1(ERF, v_erf(a))
    default: TL_CHECK(!"map1: not a MAP1 row of map.def");
    }
}

// The operations of two arguments that have vector forms: all but POW.
#define MAP2_ROWS(ROW)                                                                                                 \
    ROW(ADD, v_add(a, b))                                                                                              \
    ROW(SUB, v_sub(a, b))                                                                                              \
    ROW(MUL, v_mul(a, b))                                                                                              \
    ROW(DIV, v_div(a, b))                                                                                              \
    ROW(MIN, v_min(a, b))                                                                                              \
    ROW(MAX, v_max(a, b))                                                                                              \
    ROW(MOD, v_mod(a, b))                                                                                              \
    ROW(EQ, v_truth(v_eq(a, b)))                                                                                       \
    ROW(NE, v_truth(v_ne(a, b)))                                                                                       \
    ROW(LT, v_truth(v_lt(a, b)))                                                                                       \
    ROW(LE, v_truth(v_le(a, b)))                                                                                       \
    ROW(GT, v_truth(v_lt(b, a)))                                                                                       \
    ROW(GE, v_truth(v_le(b, a)))                                                                                       \
    ROW(AND, v_truth(v_mand(v_nonzero(a), v_nonzero(b))))                                                              \
    ROW(OR, v_truth(v_mor(v_nonzero(a), v_nonzero(b))))

static void V_NAME(map2)(int op, const float *x, const float *y, float *dst, int64_t n) {
    switch (op) {
        MAP2_ROWS(MAP_LOOP2)
    case MAP_POW:
        for (int64_t i = 0; i < n; i++) dst[i] = powf(x[i], y[i]);
        return;
    default: TL_CHECK(!"map2: not a MAP2 row of map.def");
    }
}

static void V_NAME(map2s)(int op, const float *x, float y, float *dst, int64_t n) {
    switch (op) {
        MAP2_ROWS(MAP_LOOP2S)
    case MAP_POW:
        for (int64_t i = 0; i < n; i++) dst[i] = powf(x[i], y);
        return;
    default: TL_CHECK(!"map2s: not a MAP2 row of map.def");
    }
}

// The product of two long arrays alone would wait for memory; beside op(a)'s arithmetic there is time to fetch both ahead.
enum { GATE_AHEAD = 512 }; // values
#define GATE_LOOP(name, expr)                                                                                          \
    case MAP_##name: {                                                                                                 \
        int64_t i = 0;                                                                                                 \
        for (; i + V_N <= n; i += V_N) {                                                                               \
            vf a = v_load(x + i);                                                                                      \
            v_keep(&a);                                                                                                \
            __builtin_prefetch(x + i + GATE_AHEAD);                                                                    \
            __builtin_prefetch(y + i + GATE_AHEAD);                                                                    \
            v_store(dst + i, v_mul(expr, v_load(y + i)));                                                              \
        }                                                                                                              \
        if (i < n) {                                                                                                   \
            vf a = v_loadn(x + i, n - i), b = v_loadn(y + i, n - i);                                                   \
            v_storen(dst + i, v_mul(expr, b), n - i);                                                                  \
        }                                                                                                              \
        return;                                                                                                        \
    }
static void V_NAME(gate)(int op, const float *x, const float *y, float *dst, int64_t n) {
    switch (op) {
        GATE_LOOP(SILU, v_logistic(a, a))
        GATE_LOOP(GELU, v_gelu(a))
    default: TL_CHECK(!"gate: MAP_SILU or MAP_GELU");
    }
}
#undef GATE_LOOP
#undef MAP_LOOP1
#undef MAP_LOOP2
#undef MAP_LOOP2S
#undef MAP2_ROWS
