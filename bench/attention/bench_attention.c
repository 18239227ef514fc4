// bench_attention.c - speed of attention, the float32 product and the elementwise operations, beside what the machine can do.
//
//   bench_attention [ISA] [THREADS]
// Attention is given as GB/s of keys and values read (decode) and as GFLOP/s (prefill), after the read bandwidth measured in
// the same run; each figure is the best of several.
#include <math.h>
#include <time.h>

#include "base/pool.h"
#include "cpu/kernels.h"
#include "cpu/vec_ops.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *need(size_t n) {
    char *p = mem_alloc_aligned(n, 64);
    TL_CHECK(p);
    for (size_t i = 0; i < n; i++) p[i] = (char)(0x38 + (i * 2654435761u >> 27 & 7)); // ordinary positive numbers in every type
    return p;
}

// ---- what the machine can do ---------------------------------------------------------------------------
typedef struct span {
    pool *p;
    const float *data;
    int64_t n;
    const cpu_kernels *k;
    float sink[64 * 16];
} span;

static void read_all(void *ctx, int thread, int threads) {
    span *s = ctx;
    int64_t begin = s->n * thread / threads, end = s->n * (thread + 1) / threads;
    float sum = 0;
    for (int64_t i = begin; i + 4096 <= end; i += 4096) sum += s->k->dot(s->data + i, s->data, 4096); // one side stays in L1
    s->sink[thread * 16 % 1024] = sum;
}

static double read_bandwidth(pool *p, const cpu_kernels *k, const float *data, int64_t n) { // bytes/s
    span s = {.p = p, .data = data, .n = n, .k = k};
    double best = 1e9;
    for (int i = 0; i < 5; i++) {
        double t = now();
        pool_run(p, read_all, &s);
        t = now() - t;
        best = t < best ? t : best;
    }
    return (double)n * 4 / best;
}

// ---- attention -----------------------------------------------------------------------------------------
typedef struct call {
    pool *p;
    const cpu_kernels *k;
    attn_args a;
    char *scratch;
    size_t scratch_bytes;
} call;

static void attend(void *ctx, int thread, int threads) {
    call *c = ctx;
    (void)threads;
    int64_t begin, end, n = attn_items(&c->a);
    while (pool_take(c->p, n, 1, &begin, &end)) c->k->attention(&c->a, begin, end, c->scratch + (size_t)thread * c->scratch_bytes);
}

static void bench_attention(pool *p, const cpu_kernels *k, double bandwidth, tl_dtype type, int rows, int heads, int kv_heads, int width, int slots) {
    size_t head;
    TL_CHECK(dtype_bytes(type, width, &head));
    int layers = rows > 8 ? 1 : (int)(256e6 / (2.0 * (double)head * kv_heads * slots)) + 1; // decode finds its cache in memory
    size_t slot = head * (size_t)kv_heads, bytes = slot * (size_t)slots;
    char *keys = need(bytes * (size_t)layers), *values = need(bytes * (size_t)layers);
    int32_t *order = need((size_t)slots * 4), *at = need((size_t)slots * 4), *seq = need((size_t)rows * 4), *pos = need((size_t)rows * 4);
    float *q = need((size_t)(rows * heads * width) * 4), *out = need((size_t)(rows * heads * width) * 4);
    for (int i = 0; i < slots; i++) order[i] = at[i] = i;
    for (int r = 0; r < rows; r++) seq[r] = 0, pos[r] = slots - rows + r;
    for (int i = 0; i < rows * heads * width; i++) q[i] = (float)(i % 7 - 3);
    attn_seq list = {.slots = order, .at = at, .n = slots};
    call c = {.p = p, .k = k, .a = {.rows = rows, .heads = heads, .kv_heads = kv_heads, .dk = width, .dv = width, .q = q, .q_stride = heads * width,
              .kv_type = type, .k_slot_bytes = slot, .v_slot_bytes = slot, .seq = seq, .pos = pos, .seqs = &list, .scale = 1e-6f, .causal = true,
              .out = out, .out_stride = heads * width, .threads = pool_size(p), .work_slots = slots}};
    size_t work = attn_work_bytes(&c.a, slots);
    c.a.work = work ? need(work) : NULL;
    if (work) memset(c.a.work, 0, work);
    c.scratch_bytes = (attn_scratch_bytes(&c.a) + 63) / 64 * 64;
    c.scratch = need(c.scratch_bytes * (size_t)pool_size(p));
    double best = 1e9;
    for (int round = 0; round < 7; round++) {
        double t = now();
        for (int l = 0; l < layers; l++) {
            c.a.k = keys + bytes * (size_t)l;
            c.a.v = values + bytes * (size_t)l;
            pool_run(p, attend, &c);
        }
        t = (now() - t) / layers;
        best = t < best ? t : best;
    }
    double pairs = 0;
    for (int r = 0; r < rows; r++) pairs += pos[r] + 1;
    double flops = 4 * pairs * heads * width, rate = 2 * (double)bytes / best;
    printf("%-5s rows %4d heads %2d/%d width %3d slots %5d  %9.1f us", dtype_table[type].name, rows, heads, kv_heads, width, slots, best * 1e6);
    if (rows <= 8) printf("  %6.2f GB/s (%3.0f %% of read)", rate / 1e9, 100 * rate / bandwidth);
    printf("  %6.1f GFLOP/s\n", flops / best / 1e9);
    void *all[] = {keys, values, order, at, seq, pos, q, out, c.a.work, c.scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free_aligned(all[i]);
}

// ---- products and maps ---------------------------------------------------------------------------------
static void bench_gemm(const cpu_kernels *k, int n) {
    size_t bytes = (size_t)n * (size_t)n * 4;
    float *a = need(bytes), *b = need(bytes), *c = need(bytes);
    for (int i = 0; i < n * n; i++) a[i] = b[i] = 1 + (float)(i % 5) * 1e-3f, c[i] = 0;
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        double t = now();
        k->gemm(a, n, b, n, c, n, n, n, n);
        t = now() - t;
        best = t < best ? t : best;
    }
    printf("gemm %4d^3 one thread %9.1f us %6.1f GFLOP/s\n", n, best * 1e6, 2e-9 * n * n * n / best);
    mem_free_aligned(a), mem_free_aligned(b), mem_free_aligned(c);
}

static void bench_map(const cpu_kernels *k, int op, const char *name, int n) {
    float *a = need((size_t)n * 4), *b = need((size_t)n * 4);
    for (int i = 0; i < n; i++) a[i] = (float)(i % 201 - 100) * 0.05f, b[i] = a[i] + 0.1f;
    double best = 1e9;
    for (int round = 0; round < 20; round++) {
        double t = now();
        for (int i = 0; i < 200; i++) {
            if (op < MAP_ADD) k->map1(op, a, b, n);
            else k->map2(op, a, a, b, n);
        }
        t = (now() - t) / 200;
        best = t < best ? t : best;
    }
    printf("%-8s %4d values %7.1f ns %6.2f values/ns\n", name, n, best * 1e9, n / best * 1e-9);
    mem_free_aligned(a), mem_free_aligned(b);
}

int main(int argc, char **argv) {
    const cpu_kernels *k;
    pool *p;
    tl_error err;
    if (cpu_select(argc > 1 ? argv[1] : NULL, &k, &err) != TL_OK || pool_new(argc > 2 ? atoi(argv[2]) : 1, &p, &err) != TL_OK) {
        fprintf(stderr, "bench_attention: %s\n", err.message);
        return 1;
    }
    int64_t n = 64 << 20;
    float *big = need((size_t)n * 4);
    double bandwidth = read_bandwidth(p, k, big, n);
    mem_free_aligned(big);
    printf("%s, %d threads, reads %.1f GB/s\n", k->isa, pool_size(p), bandwidth / 1e9);
    static const tl_dtype types[] = {DT_F16, DT_Q8_0, DT_F32};
    for (int t = 0; t < 3; t++) {
        bench_attention(p, k, bandwidth, types[t], 1, 9, 3, 64, 4096); 
        bench_attention(p, k, bandwidth, types[t], 1, 32, 4, 64, 4096); 
        bench_attention(p, k, bandwidth, types[t], 1, 12, 2, 128, 4096);
        bench_attention(p, k, bandwidth, types[t], 1, 8, 8, 128, 4096);  // no sharing
        bench_attention(p, k, bandwidth, types[t], 1, 4, 1, 256, 4096);
        bench_attention(p, k, bandwidth, types[t], 1, 9, 3, 64, 256);
        bench_attention(p, k, bandwidth, types[t], 512, 9, 3, 64, 512);
        bench_attention(p, k, bandwidth, types[t], 512, 8, 8, 128, 512);
        bench_attention(p, k, bandwidth, types[t], 512, 4, 1, 256, 512);
        bench_attention(p, k, bandwidth, types[t], 512, 9, 3, 64, 4096);
    }
    for (int size = 256; size <= 1024; size *= 2) bench_gemm(k, size);
    bench_map(k, MAP_EXP, "exp", 256);
    bench_map(k, MAP_SILU, "silu", 256);
    bench_map(k, MAP_GELU, "gelu", 256);
    bench_map(k, MAP_TANH, "tanh", 256);
    bench_map(k, MAP_SIN, "sin", 256);
    bench_map(k, MAP_MUL, "mul", 256);
    pool_free(p);
    return 0;
}
