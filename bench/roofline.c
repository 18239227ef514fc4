// roofline.c - what this machine can do at most: bytes read from memory and int8 multiply-adds a second, with 1 to N
// threads. Decoding is bounded by the first, long prompts by the second.
//   roofline [--json] [-t THREADS] [-s MEGABYTES]
// Reading goes over a buffer far larger than any cache, in whole cache lines, the best of several rounds. Products are the
// widest instructions of this machine: VPDPBUSD with AVX-512 VNNI, else AVX2's VPMADDUBSW and VPMADDWD with the add that
// follows them.
#include "base/bandwidth.h"
#include <getopt.h>
#include <stdatomic.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { ROUNDS = 7, PRODUCT_STEPS = 4000000 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// ---- products ----------------------------------------------------------------------------------
// Each returns the int8 multiply-adds it did; twelve independent sums hide the latency.
typedef int64_t (*product_loop)(_Atomic uint64_t *sink);
#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vnni"))) static int64_t products_avx512_vnni(_Atomic uint64_t *sink) {
    __m512i s[12], a = _mm512_set1_epi32((int)atomic_load(sink) | 0x01020304), b = a;
    for (int i = 0; i < 12; i++) s[i] = a;
    for (int k = 0; k < PRODUCT_STEPS; k++)
        for (int i = 0; i < 12; i++) s[i] = _mm512_dpbusd_epi32(s[i], a, b);
    for (int i = 1; i < 12; i++) s[0] = _mm512_add_epi32(s[0], s[i]);
    atomic_fetch_xor(sink, (uint64_t)_mm512_reduce_add_epi32(s[0]));
    return (int64_t)PRODUCT_STEPS * 12 * 64;
}

__attribute__((target("avx2"))) static int64_t products_avx2(_Atomic uint64_t *sink) {
    __m256i s[12], a = _mm256_set1_epi32((int)atomic_load(sink) | 0x01020304), one = _mm256_set1_epi16(1);
    for (int i = 0; i < 12; i++) s[i] = a;
    for (int k = 0; k < PRODUCT_STEPS; k++)
        for (int i = 0; i < 12; i++) // the sum is a factor, or the product would be computed once
            s[i] = _mm256_add_epi32(s[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, s[i]), one));
    for (int i = 1; i < 12; i++) s[0] = _mm256_add_epi32(s[0], s[i]);
    atomic_fetch_xor(sink, (uint64_t)_mm256_extract_epi32(s[0], 0));
    return (int64_t)PRODUCT_STEPS * 12 * 32;
}
#endif

static int64_t products_plain(_Atomic uint64_t *sink) {
    int32_t s[16] = {0};
    int8_t a = (int8_t)atomic_load(sink);
    for (int k = 0; k < PRODUCT_STEPS; k++)
        for (int i = 0; i < 16; i++) s[i] += a * (int8_t)s[i];
    for (int i = 0; i < 16; i++) atomic_fetch_xor(sink, (uint64_t)s[i]);
    return (int64_t)PRODUCT_STEPS * 16;
}

static product_loop best_products(const char **name) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512vnni")) return *name = "avx512-vnni", products_avx512_vnni;
    if (__builtin_cpu_supports("avx2")) return *name = "avx2", products_avx2;
#endif
    return *name = "plain", products_plain;
}

typedef struct product_job {
    product_loop loop;
    _Atomic int64_t done;
    _Atomic uint64_t sink;
} product_job;

static void product_part(void *ctx, int thread, int n) {
    product_job *job = ctx;
    (void)thread, (void)n;
    atomic_fetch_add(&job->done, job->loop(&job->sink));
}

static double product_rate(pool *team, product_loop loop) { // multiply-adds a second
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        product_job job = {.loop = loop};
        double start = now();
        pool_run(team, product_part, &job);
        double rate = (double)job.done / (now() - start);
        if (rate > best) best = rate;
    }
    return best;
}

// ---- report ------------------------------------------------------------------------------------
static int measure(int threads, const uint64_t *data, size_t bytes, bool json) {
    const char *name;
    product_loop loop = best_products(&name);
    if (json) printf("{\"products\": \"%s\", \"rows\": [", name);
    else printf("threads   read GB/s   int8 multiply-adds, G/s (%s)\n", name);
    for (int n = 1; n <= threads; n = n < threads && 2 * n > threads ? threads : 2 * n) {
        pool *team;
        tl_error err;
        if (pool_new(n, &team, &err) != TL_OK) return fprintf(stderr, "roofline: %s\n", err.message), 1;
        double read = 1e-9 * read_bandwidth(team, data, bytes, ROUNDS), products = 1e-9 * product_rate(team, loop);
        pool_free(team);
        if (json) printf("%s{\"threads\": %d, \"read_gb_per_second\": %.2f, \"int8_g_per_second\": %.1f}", n > 1 ? ", " : "", n, read, products);
        else printf("%7d   %9.1f   %10.0f\n", n, read, products);
        fflush(stdout);
    }
    if (json) puts("]}");
    return 0;
}

int main(int argc, char **argv) {
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'}, {0}};
    int threads = pool_default_threads();
    size_t bytes = (size_t)1 << 30;
    bool json = false;
    for (int o; (o = getopt_long(argc, argv, "t:s:", longs, NULL)) != -1;) {
        if (o == 'j') json = true;
        else if (o == 't' && atoi(optarg) > 0) threads = atoi(optarg);
        else if (o == 's' && atoi(optarg) > 0) bytes = (size_t)atoi(optarg) << 20;
        else return fprintf(stderr, "usage: roofline [--json] [-t THREADS] [-s MEGABYTES]\n"), 2;
    }
    uint64_t *data = mem_alloc_aligned(bytes, 4096);
    if (!data) return fprintf(stderr, "roofline: no memory for %zu MB\n", bytes >> 20), 1;
    for (size_t i = 0; i < bytes / sizeof *data; i++) data[i] = i; // every page is there before the clock runs
    int status = measure(threads, data, bytes, json);
    mem_free_aligned(data);
    return status;
}
