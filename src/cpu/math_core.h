// math_core.h - transcendental functions of vectors of float32, in the words of simd_*.h: math_ref.h's operations, so its bits.
#ifndef TL_CPU_MATH_CORE_H
#define TL_CPU_MATH_CORE_H
#include <math.h>

#include "cpu/math_poly.h"

enum { V_EXP_MOST = 4 }; // vectors beside each other

// c[0] + c[1] x + .. + c[n - 1] x^(n - 1)
V_INLINE vf v_poly(vf x, const float *c, int n) {
    vf y = v_set1(c[n - 1]);
    V_UNROLL for (int i = n - 2; i >= 0; i--) y = v_fma(y, x, v_set1(c[i]));
    return y;
}

// y[i] = e^x[i] / 2^n[i] of `some` vectors step by step beside each other: one alone is a long chain of waiting operations.
V_INLINE void v_exp_reduced_some(int some, const vf *x, vf *y, vf *n) {
    V_UNROLL for (int i = 0; i < some; i++) n[i] = v_rint(v_mul(x[i], v_set1(0x1.715476p+0f)));
    vf r[V_EXP_MOST];
    V_UNROLL for (int i = 0; i < some; i++) {
        r[i] = v_fnma(n[i], v_set1(LN2_LO), v_fnma(n[i], v_set1(LN2_HI), x[i]));
        y[i] = v_set1(exp_poly[5]);
    }
    V_UNROLL for (int c = 4; c >= 0; c--)
        V_UNROLL for (int i = 0; i < some; i++) {
            y[i] = v_fma(y[i], r[i], v_set1(exp_poly[c]));
            if (some > 1) v_keep(&y[i]); // in this order
        }
    V_UNROLL for (int i = 0; i < some; i++) y[i] = v_add(v_fma(v_mul(r[i], r[i]), y[i], r[i]), v_set1(1.0f));
}
V_INLINE vf v_exp_reduced(vf x, vf *n) {
    vf y;
    v_exp_reduced_some(1, &x, &y, n);
    return y;
}

V_INLINE vf v_exp(vf x) {
    x = v_max(v_set1(-105.0f), v_min(v_set1(89.0f), x)); // in this order a NaN stays
    vf n, y = v_exp_reduced(x, &n);
    return v_scale2(y, n);
}

// e^x for x <= 0, and 0 where that is below the smallest normal float32. NaN stays.
V_INLINE void v_exp_weight_some(int some, vf *x) {
    vf n[V_EXP_MOST], y[V_EXP_MOST];
    v_exp_reduced_some(some, x, y, n); // of no use where x is below
    V_UNROLL for (int i = 0; i < some; i++) x[i] = v_clear_scale2(v_lt(x[i], v_set1(-87.33f)), y[i], n[i]);
}
V_INLINE vf v_exp_weight(vf x) {
    v_exp_weight_some(1, &x);
    return x;
}

V_INLINE vf v_log(vf x) {
    vm small = v_lt(x, v_set1(0x1p-126f));
    vf a = v_sel(small, v_mul(x, v_set1(0x1p23f)), x);
    vi u = v_isub(v_bits(a), v_iset1(0x3f3504f3)); // bits of sqrt(1/2)
    vf e = v_sub(v_from_int(v_isar(u, 23)), v_sel(small, v_set1(23.0f), v_zero()));
    vf f = v_sub(v_float(v_iadd(v_iand(u, v_iset1(0x007fffff)), v_iset1(0x3f3504f3))), v_set1(1.0f));
    vf f2 = v_mul(f, f), y = v_mul(v_mul(f2, f), v_poly(f, log_poly, 9));
    y = v_fma(e, v_set1(LN2_LO), y);
    y = v_fma(f2, v_set1(-0.5f), y);
    y = v_fma(e, v_set1(LN2_HI), v_add(f, y));
    y = v_sel(v_lt(x, v_set1(INFINITY)), y, x);                                       // inf, NaN
    y = v_sel(v_lt(x, v_zero()), v_set1(NAN), y);
    return v_sel(v_eq(x, v_zero()), v_set1(-INFINITY), y);
}

// ln(1 + u) for u >= 0: the rounding of w = 1 + u is undone by u / (w - 1) (W. Kahan).
V_INLINE vf v_log1p(vf u) {
    vf one = v_set1(1.0f), w = v_add(u, one), d = v_sub(w, one);
    vf y = v_mul(v_log(w), v_div(u, d));
    y = v_sel(v_eq(d, v_zero()), u, y);
    return v_sel(v_eq(u, v_set1(INFINITY)), u, y);
}

V_INLINE vf v_tanh(vf x) {
    vf sign = v_and(x, v_set1(-0.0f)), t = v_andnot(v_set1(-0.0f), x), s = v_mul(x, x);
    vf small = v_fma(v_mul(t, s), v_poly(s, tanh_poly, 6), t);
    vf one = v_set1(1.0f), big = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(t, t)), one)));
    return v_or(v_sel(v_lt(t, v_set1(0.625f)), small, big), sign);
}

V_INLINE vf v_erf(vf x) {
    vf sign = v_and(x, v_set1(-0.0f)), t = v_andnot(v_set1(-0.0f), x), s = v_mul(x, x);
    vf small = v_fma(t, v_poly(s, erf_poly, 7), t);
    vf far = v_min(v_set1(4.0f), t); // erf is 1 from 3.92 on
    vf big = v_sub(v_set1(1.0f), v_exp_weight(v_sub(v_zero(), v_poly(far, erfc_poly, 8))));
    return v_or(v_sel(v_lt(t, v_set1(0.9375f)), small, big), sign);
}

V_INLINE bool v_sincos_fits(vf x) {
    vf t = v_andnot(v_set1(-0.0f), x);
    return !v_any(v_mor(v_lt(v_set1(SINCOS_MOST), t), v_ne(t, t)));
}
V_INLINE vf v_sincos(vf x, int quarter) { // sin(x + quarter pi / 2)
    vi q;
    vf r = v_reduce(x, &q), s = v_mul(r, r);
    q = v_iadd(q, v_iset1(quarter));
    vf sine = v_fma(v_mul(r, s), v_poly(s, sin_poly, 4), r);
    vf cosine = v_fma(v_mul(s, s), v_poly(s, cos_poly, 4), v_fma(s, v_set1(-0.5f), v_set1(1.0f)));
    vm odd = v_ilt(v_iset1(0), v_iand(q, v_iset1(1)));
    vf sign = v_float(v_ishl(v_iand(q, v_iset1(2)), 30));
    return v_xor(v_sel(odd, cosine, sine), sign);
}
#endif
