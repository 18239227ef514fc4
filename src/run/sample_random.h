// sample_random.h - the random numbers of samplers: a function of seed, sequence and position, nothing else.
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3; SC 2011).
#ifndef TL_RUN_SAMPLE_RANDOM_H
#define TL_RUN_SAMPLE_RANDOM_H
#include <stdint.h>

static inline void philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t a = counter[0], b = counter[1], c = counter[2], d = counter[3], k = key[0], l = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p = (uint64_t)0xd2511f53u * a, q = (uint64_t)0xcd9e8d57u * c;
        a = (uint32_t)(q >> 32) ^ b ^ k, c = (uint32_t)(p >> 32) ^ d ^ l;
        b = (uint32_t)q, d = (uint32_t)p;
        k += 0x9e3779b9u, l += 0xbb67ae85u;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

// Two numbers in [0, 1) with 53 bits each.
static inline void sample_uniform(uint64_t seed, uint64_t sequence, uint64_t position, double out[2]) {
    const uint32_t counter[4] = {(uint32_t)position, (uint32_t)(position >> 32), (uint32_t)sequence, (uint32_t)(sequence >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t r[4];
    philox4x32(counter, key, r);
    for (int i = 0; i < 2; i++) out[i] = (double)(((uint64_t)r[2 * i] << 32 | r[2 * i + 1]) >> 11) * 0x1p-53;
}
#endif
