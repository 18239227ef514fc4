// bandwidth.h - how fast this machine reads memory: the bound of decoding.
#ifndef TL_BANDWIDTH_H
#define TL_BANDWIDTH_H
#include "base/pool.h"
typedef struct read_stretch {
    const void *data;
    size_t bytes;
} read_stretch;
// Reads all stretches once, with all threads of the pool, each an equal share of the bytes, with this machine's widest plain
// loads; the seconds it took.
double read_stretches(pool *threads, const read_stretch *list, size_t n);
// Reads `bytes` (far more than any cache holds, already written) `rounds` times; the best rate, in bytes a second.
double read_bandwidth(pool *threads, const void *data, size_t bytes, int rounds);
#endif
