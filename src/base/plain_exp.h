// plain_exp.h - e^x with the same bits on every processor: additions and products of doubles only, in one order (compiled
// without contraction). Choosing a token draws by it on the CPU and on a GPU, so that both draw alike.
#ifndef TL_PLAIN_EXP_H
#define TL_PLAIN_EXP_H
#include <stdint.h>
#include <string.h>

#ifndef PLAIN_EXP // what stands before the function: a GPU's compiler wants a word more
#define PLAIN_EXP static inline
#endif

// For x <= 0: e^x, correctly rounded but for one in some 10^8. 0 below -104, NaN for NaN.
PLAIN_EXP float plain_exp(float x) {
    if (x != x) return x;
    if (x < -104.0f) return 0;
    double d = (double)x, n = d * 1.4426950408889634 + 6755399441055744.0; // the nearest integer stands in the low bits
    int64_t bits;
    memcpy(&bits, &n, 8);
    int k = (int)(int32_t)(uint32_t)bits;
    n -= 6755399441055744.0;
    double r = (d - n * 0x1.62e42fefap-1) - n * 0x1.cf79abc9e3b3ap-40, p = 1.0 / 479001600; // |r| <= 0.35; Taylor to r^12
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    bits = (int64_t)(1023 + k) << 52; // k >= -151
    memcpy(&n, &bits, 8);
    return (float)(p * n);
}
#endif
