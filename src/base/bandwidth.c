// bandwidth.c - see bandwidth.h. Whole cache lines are read, in four streams as the products of one row do, each with a
// prefetch ahead; what is read is folded into one number, so that no load is idle.
#include "base/bandwidth.h"
#include <stdatomic.h>

enum { READ_LINE = 64, READ_STREAMS = 4, READ_AHEAD = 2048 };

typedef uint64_t (*read_loop)(const char *p, size_t each); // READ_STREAMS times `each` bytes, a multiple of READ_LINE

// The same loop for each width of register; the compiler makes of `line` what the target has.
typedef uint64_t line __attribute__((vector_size(READ_LINE), aligned(8), may_alias));
#define READ_BODY                                                                                                      \
    line s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};                                                                       \
    for (size_t i = 0; i < each; i += READ_LINE) {                                                                     \
        for (int c = 0; c < READ_STREAMS; c++) __builtin_prefetch(p + (size_t)c * each + i + READ_AHEAD);              \
        s0 ^= *(const line *)(p + i), s1 ^= *(const line *)(p + each + i);                                             \
        s2 ^= *(const line *)(p + 2 * each + i), s3 ^= *(const line *)(p + 3 * each + i);                              \
    }                                                                                                                  \
    s0 ^= s1 ^ s2 ^ s3;                                                                                                \
    return s0[0] ^ s0[1] ^ s0[2] ^ s0[3] ^ s0[4] ^ s0[5] ^ s0[6] ^ s0[7];

static uint64_t read_plain(const char *p, size_t each) { READ_BODY }
#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t read_avx2(const char *p, size_t each) { READ_BODY }
__attribute__((target("avx512f"))) static uint64_t read_avx512(const char *p, size_t each) { READ_BODY }
#endif

static read_loop best_loop(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return read_avx512;
    if (__builtin_cpu_supports("avx2")) return read_avx2;
#endif
    return read_plain;
}

typedef struct read_job {
    const read_stretch *list;
    size_t n, total;
    read_loop loop;
    _Atomic uint64_t sum; // so that the reads are needed
} read_job;

static void read_part(void *ctx, int thread, int n) {
    read_job *job = ctx;
    size_t begin = job->total / (size_t)n * (size_t)thread, end = thread + 1 == n ? job->total : job->total / (size_t)n * (size_t)(thread + 1);
    uint64_t sum = 0;
    for (size_t i = 0, at = 0; i < job->n && at < end; at += job->list[i++].bytes) {
        size_t bytes = job->list[i].bytes, from = begin > at ? begin - at : 0, to = end - at < bytes ? end - at : bytes;
        if (from >= to) continue;
        size_t each = (to - from) / READ_STREAMS / READ_LINE * READ_LINE; // fewer than 256 bytes at the end stay unread
        sum ^= job->loop((const char *)job->list[i].data + from, each);
    }
    atomic_fetch_xor(&job->sum, sum);
}

double read_stretches(pool *threads, const read_stretch *list, size_t n) {
    read_job job = {.list = list, .n = n, .loop = best_loop()};
    for (size_t i = 0; i < n; i++) job.total += list[i].bytes;
    double start = 1e-9 * clock_ns();
    pool_run(threads, read_part, &job);
    return 1e-9 * clock_ns() - start;
}

double read_bandwidth(pool *threads, const void *data, size_t bytes, int rounds) {
    double best = 0;
    for (int i = 0; i < rounds; i++) {
        double rate = (double)bytes / read_stretches(threads, &(read_stretch){data, bytes}, 1);
        if (rate > best) best = rate;
    }
    return best;
}
