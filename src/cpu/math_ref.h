// math_ref.h - transcendental functions of float32 in plain C: the definition, to the bit, of what every instruction set
// computes (math_core.h). Bounds that tests/cpu_vec holds them to, against double on every 8195th float32: exp 1.5 ulp;
// log, sin, cos, erf 2; tanh 3. Infinities and NaN behave as in C's <math.h>; subnormal arguments and results are kept.
#ifndef TL_CPU_MATH_REF_H
#define TL_CPU_MATH_REF_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "cpu/math_poly.h"

static inline uint32_t ref_bits(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static inline float ref_float(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float ref_poly(float x, const float *c, int n) { // c[0] + c[1] x + .. + c[n - 1] x^(n - 1)
    float y = c[n - 1];
    for (int i = n - 2; i >= 0; i--) y = fmaf(y, x, c[i]);
    return y;
}

static inline float ref_exp_reduced(float x, float *n) { // e^x / 2^n
    *n = rintf(x * 0x1.715476p+0f);
    float r = fmaf(-*n, LN2_LO, fmaf(-*n, LN2_HI, x));
    return fmaf(r * r, ref_poly(r, exp_poly, 6), r) + 1.0f;
}

static inline float ref_exp(float x) {
    x = 89.0f < x ? 89.0f : x; // so written that a NaN stays
    x = -105.0f > x ? -105.0f : x;
    if (isnan(x)) return x;
    float n, y = ref_exp_reduced(x, &n);
    return ldexpf(y, (int)n);
}

// e^x for x <= 0, and 0 where that is below the smallest normal float32. NaN stays.
static inline float ref_exp_weight(float x) {
    if (x < -87.33f) return 0;
    if (isnan(x)) return x;
    float n, y = ref_exp_reduced(x, &n);
    return ldexpf(y, (int)n);
}

static inline float ref_log(float x) {
    if (isnan(x) || x == INFINITY) return x;
    if (x < 0) return NAN;
    if (x == 0) return -INFINITY;
    bool small = x < 0x1p-126f;
    uint32_t root_half = 0x3f3504f3, u = ref_bits(small ? x * 0x1p23f : x) - root_half; // bits of sqrt(1/2)
    float e = (float)((int32_t)u >> 23) - (small ? 23.0f : 0.0f);
    float f = ref_float((u & 0x007fffff) + root_half) - 1.0f;
    float f2 = f * f, y = f2 * f * ref_poly(f, log_poly, 9);
    y = fmaf(e, LN2_LO, y);
    y = fmaf(f2, -0.5f, y);
    return fmaf(e, LN2_HI, f + y);
}

// ln(1 + u) for u >= 0: the rounding of w = 1 + u is undone by u / (w - 1) (W. Kahan).
static inline float ref_log1p(float u) {
    float w = u + 1.0f, d = w - 1.0f;
    return u == INFINITY || d == 0 ? u : ref_log(w) * (u / d);
}

static inline float ref_tanh(float x) {
    float t = fabsf(x), s = x * x;
    float y = t < 0.625f ? fmaf(t * s, ref_poly(s, tanh_poly, 6), t) : 1.0f - 2.0f / (ref_exp(t + t) + 1.0f);
    return copysignf(y, x);
}

static inline float ref_erf(float x) {
    float t = fabsf(x), s = x * x, far = 4.0f < t ? 4.0f : t; // erf is 1 from 3.92 on
    float y = t < 0.9375f ? fmaf(t, ref_poly(s, erf_poly, 7), t) : 1.0f - ref_exp_weight(-ref_poly(far, erfc_poly, 8));
    return copysignf(y, x);
}

static inline float ref_sincos(float x, int quarter) { // sin(x + quarter pi / 2)
    if (!(fabsf(x) <= SINCOS_MOST)) return quarter ? cosf(x) : sinf(x);
    double n = rint(x * 0x1.45f306dc9c883p-1), d = fma(-n, 0x1.921fb54442d18p+0, x); // in quarter turns, and the rest
    float r = (float)fma(-n, 0x1.1a62633145c07p-54, d), s = r * r;
    uint32_t q = (uint32_t)((int32_t)n + quarter);
    float sine = fmaf(r * s, ref_poly(s, sin_poly, 4), r);
    float cosine = fmaf(s * s, ref_poly(s, cos_poly, 4), fmaf(s, -0.5f, 1.0f));
    return ref_float(ref_bits(q & 1 ? cosine : sine) ^ (q & 2) << 30);
}
#endif
