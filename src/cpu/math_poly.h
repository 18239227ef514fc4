// math_poly.h - coefficients of the functions in math_ref.h (plain C, the definition) and math_core.h (vectors).
// Polynomials are minimax fits (weighted least squares on Chebyshev nodes) of the expressions beside them.
#ifndef TL_CPU_MATH_POLY_H
#define TL_CPU_MATH_POLY_H
#define LN2_HI 0x1.62e4p-1f // ln 2 in two parts; the first has 15 bits, so its products with exponents are exact
#define LN2_LO 0x1.7f7d1cp-20f
#define SINCOS_MOST 1e9f // larger arguments, and those that are not finite, are libm's

// (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2
static const float exp_poly[6] = {0x1p-1f, 0x1.555556p-3f, 0x1.55548p-5f, 0x1.11108p-7f, 0x1.6d9686p-10f, 0x1.a1b4f4p-13f};
// (ln(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2)
static const float log_poly[9] = {0x1.555546p-2f,  -0x1.000006p-2f, 0x1.99a4f6p-3f,  -0x1.555cccp-3f, 0x1.23322ap-3f,
                                  -0x1.fc07cap-4f, 0x1.e728a6p-4f,  -0x1.deffe2p-4f, 0x1.14c9d8p-4f};
// (tanh(x) - x) / x^3 by s = x^2, |x| < 0.625
static const float tanh_poly[6] = {-0x1.555554p-2f, 0x1.111066p-3f, -0x1.b9ee9p-5f, 0x1.638b56p-6f, -0x1.0bf4f6p-7f, 0x1.18e1c4p-9f};
// erf(x) / x - 1 by s = x^2, |x| < 0.9375; and -ln(erfc(t)) for 0.92 <= t <= 4
static const float erf_poly[7] = {0x1.06eba8p-3f, -0x1.812742p-2f, 0x1.ce2df4p-4f, -0x1.b80cb4p-6f, 0x1.54b5e4p-8f, -0x1.a99ef4p-11f, 0x1.5ac32ap-14f};
static const float erfc_poly[8] = {-0x1.6e5706p-13f, 0x1.2127e4p+0f,  0x1.44460cp-1f,  0x1.bb83e8p-4f,
                                   -0x1.9b8e84p-6f,  0x1.115ad4p-8f, -0x1.c7912ep-12f, 0x1.61ea92p-16f};
// (sin(x) - x) / x^3 and (cos(x) - 1 + x^2 / 2) / x^4 by s = x^2, |x| <= pi / 4
static const float sin_poly[4] = {-0x1.555556p-3f, 0x1.111108p-7f, -0x1.a00f72p-13f, 0x1.6ccea8p-19f};
static const float cos_poly[4] = {0x1.555556p-5f, -0x1.6c16b8p-10f, 0x1.a01116p-16f, -0x1.242884p-22f};
#endif
