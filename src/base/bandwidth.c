// bandwidth.c - see bandwidth.h.
#include "base/bandwidth.h"
#include <stdatomic.h>
#include <time.h>

typedef struct read_job {
    const uint64_t *data;
    size_t words;
    _Atomic uint64_t sum; // so that the reads are needed
} read_job;

static void read_part(void *ctx, int thread, int n) {
    read_job *job = ctx;
    size_t line = 64 / sizeof(uint64_t), lines = job->words / line;
    const uint64_t *p = job->data + lines * (size_t)thread / (size_t)n * line;
    const uint64_t *end = job->data + lines * (size_t)(thread + 1) / (size_t)n * line;
    uint64_t s[8] = {0};
    for (; p < end; p += 8) {
        __builtin_prefetch(p + 512);
        for (int i = 0; i < 8; i++) s[i] ^= p[i];
    }
    atomic_fetch_xor(&job->sum, s[0] ^ s[1] ^ s[2] ^ s[3] ^ s[4] ^ s[5] ^ s[6] ^ s[7]);
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double read_bandwidth(pool *threads, const void *data, size_t bytes, int rounds) {
    double best = 0;
    for (int i = 0; i < rounds; i++) {
        read_job job = {.data = data, .words = bytes / sizeof *job.data};
        double start = seconds();
        pool_run(threads, read_part, &job);
        double rate = (double)bytes / (seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}
