// util.c - see util.h.
#include "util.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/vec.h"

int tables(cpu_kernels out[MAX_TABLES]) {
    int n = 0;
    memset(out, 0, MAX_TABLES * sizeof *out);
    cpu_vec_ref(&out[n]);
    out[n++].isa = "ref";
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        cpu_vec_avx2(&out[n]);
        out[n++].isa = "avx2";
    }
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
        cpu_vec_avx512(&out[n]);
        out[n++].isa = "avx512";
    }
#elif defined(__aarch64__)
    cpu_vec_neon(&out[n]);
    out[n++].isa = "neon";
#endif
    return n;
}

static uint64_t state = 0x9e3779b97f4a7c15u;

uint32_t random_bits(void) { // xorshift64*
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)(state * 0x2545f4914f6cdd1du >> 32);
}

int64_t random_below(int64_t n) { return (int64_t)(((uint64_t)random_bits() << 20 ^ random_bits()) % (uint64_t)n); }

float random_normal(void) {
    double u = (random_bits() + 0.5) / 4294967296.0, v = (random_bits() + 0.5) / 4294967296.0;
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }
static size_t whole_pages(size_t n) { return (n + page_size() - 1) / page_size() * page_size(); }

void *guard_alloc(size_t n) {
    size_t body = whole_pages(n);
    char *p = mmap(NULL, body + page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    assert_int_equal(mprotect(p + body, page_size(), PROT_NONE), 0);
    return p + body - n;
}

void guard_free(void *p, size_t n) {
    assert_int_equal(munmap((char *)p + n - whole_pages(n), whole_pages(n) + page_size()), 0);
}

void guard_floats_free(float *p, int64_t n) { guard_free(p, (size_t)n * sizeof *p); }

float *guard_floats(const float *from, int64_t n) {
    float *p = guard_alloc((size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = from ? from[i] : NAN;
    return p;
}

void check_close(float got, double want, double rel, double abs, const char *isa, const char *what, int64_t at) {
    bool close = isnan(want) ? isnan(got) : isinf((float)want) ? got == (float)want : fabs(got - want) <= abs + rel * fabs(want);
    if (!close) fail_msg("%s %s at %lld: %.9g, not %.9g", isa, what, (long long)at, got, want);
}

double ulps(float got, double want) {
    float w = (float)want;
    if (isnan(want) || isnan(got)) return isnan(want) && isnan(got) ? 0 : INFINITY;
    if (isinf(w) || isinf(got)) return got == w ? 0 : INFINITY;
    int e = 0;
    frexp(want, &e);
    if (want == 0 || e < -125) e = -125;
    return fabs(got - want) / ldexp(1, e - 24);
}
