// bandwidth.h - how fast this machine reads memory: the bound of decoding.
#ifndef TL_BANDWIDTH_H
#define TL_BANDWIDTH_H
#include "base/pool.h"
// Reads `bytes` (a multiple of 64, far more than any cache holds, already written) with all threads of the pool, `rounds`
// times; the best rate, in bytes a second.
double read_bandwidth(pool *threads, const void *data, size_t bytes, int rounds);
#endif
