// test_same.c - every instruction set gives the bits of `ref`, and `ref` those of every machine and compiler: sums in one order,
// functions by one formula. test_attention.c has attention, tests/run/same_bits.py whole models.
#include <math.h>

#include "cpu/vec_ops.h"
#include "util.h"

static cpu_kernels table[MAX_TABLES];
static int n_tables;

static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 31, 32, 33, 47, 48, 50, 63, 64, 65, 72, 79, 100, 127, 128, 129, 200, 576, 1000, 2049};
enum { SIZES = sizeof sizes / sizeof *sizes, MOST = 2049 };

static uint64_t hash; // of all that `ref` gave: FNV-1a

static void add_to_hash(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], 4);
        if (isnan(x[i])) u = 0x7fc00000; // which NaN it is, processors decide
        hash = (hash ^ u) * 0x100000001b3u;
    }
}

static float *fill(float *x, int64_t n, float scale) { // no libm: the same numbers everywhere
    for (int64_t i = 0; i < n; i++) x[i] = scale * ((float)random_below(1 << 24) - 0x1p23f) * 0x1p-22f;
    return x;
}

static void same(const float *got, const float *want, int64_t n, const char *isa, const char *what, int64_t size) {
    for (int64_t i = 0; i < n; i++)
        if (!(isnan(got[i]) && isnan(want[i])) && memcmp(&got[i], &want[i], 4) != 0)
            fail_msg("%s %s of %d at %d: %a, ref: %a", isa, what, (int)size, (int)i, (double)got[i], (double)want[i]);
}

// One call of each row kernel; results one after the other.
static int64_t run_rows(const cpu_kernels *k, const float *x, const float *w, const float *b, int64_t n, float *out) {
    int64_t at = 0, blocks = (n + CPU_BLOCK - 1) / CPU_BLOCK, even = n / 2 * 2;
    float most = -10;
    for (int64_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    k->rms_norm(x, w, 1e-5f, out + at, n), at += n;
    k->rms_norm(x, NULL, 1e-6f, out + at, n), at += n;
    k->layer_norm(x, w, b, 1e-5f, out + at, n), at += n;
    k->softmax(x, out + at, n), at += n;
    k->block_maxima(x, out + at, n), at += blocks;
    k->block_exp_sums(x, most, out + at, out + at + blocks, n), at += 2 * blocks;
    for (int pairs = 0; pairs < 2; pairs++) k->rope(x, w, out + at, even, even, pairs), at += even;
    memcpy(out + at, b, (size_t)n * sizeof *b);
    k->axpy(0.7f, x, out + at, n), at += n;
    out[at++] = k->dot(x, w, n);
    return at;
}

static void rows(void **unused) {
    (void)unused;
    static float x[MOST], w[MOST], b[MOST], want[16 * MOST], got[16 * MOST];
    for (int s = 0; s < SIZES; s++) for (int round = 0; round < 12; round++) {
        int64_t n = sizes[s];
        fill(x, n, round % 3 == 2 ? 12 : 2), fill(w, n, 1), fill(b, n, 1);
        if (round % 4 == 3) x[n - 1] = round == 3 ? NAN : -INFINITY;
        if (round == 11) x[n / 2] = INFINITY;
        int64_t values = run_rows(&table[0], x, w, b, n, want);
        add_to_hash(want, values);
        for (int t = 1; t < n_tables; t++) {
            run_rows(&table[t], x, w, b, n, got);
            same(got, want, values, table[t].isa, "row kernels", n);
        }
    }
}

static bool by_libm(int op, const float *x) { return op == MAP_POW || ((op == MAP_SIN || op == MAP_COS) && !(fabsf(*x) <= 1e9f)); }

static void maps(void **unused) {
    (void)unused;
    enum { N = 1000 };
    static float x[N], y[N], want[N], got[N];
    for (int round = 0; round < 60; round++) {
        for (int i = 0; i < N; i++) {
            uint32_t u = random_bits();
            if (round % 2) memcpy(&x[i], &u, 4); // any float32 at all
            else fill(x + i, 1, (float)(1 << round / 5));
        }
        fill(y, N, 3);
        for (int op = 0; op <= MAP_OR; op++) {
            bool one = op < MAP_ADD;
            for (int t = 0; t < n_tables; t++) {
                float *to = t ? got : want;
                if (one) table[t].map1(op, x, to, N);
                else table[t].map2(op, x, y, to, N);
                if (t) same(got, want, N, table[t].isa, "operation of map.def, number", op);
            }
            for (int i = 0; i < N; i++)
                if (!by_libm(op, &x[i])) add_to_hash(&want[i], 1);
        }
    }
}

static void products(void **unused) {
    (void)unused;
    static const int shapes[][3] = {{1, 1, 1}, {1, 600, 300}, {2, 513, 70}, {3, 16, 5}, {7, 33, 257}, {13, 31, 512}, {67, 130, 300}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        float *a = guard_floats(NULL, m * k), *b = guard_floats(NULL, k * n), *want = guard_floats(NULL, m * n), *start = guard_floats(NULL, m * n);
        fill(a, m * k, 1), fill(b, k * n, 1), fill(start, m * n, 1);
        for (int t = 0; t < n_tables; t++) {
            float *c = guard_floats(start, m * n);
            table[t].gemm(a, k, b, n, c, n, m, n, k);
            if (t) same(c, want, m * n, table[t].isa, "gemm", k);
            else memcpy(want, c, (size_t)(m * n) * sizeof *c), add_to_hash(want, m * n);
            guard_floats_free(c, m * n);
        }
        guard_floats_free(a, m * k), guard_floats_free(b, k * n), guard_floats_free(want, m * n), guard_floats_free(start, m * n);
    }
}

// The number is that of x86-64; another processor or compiler gives the same one, another order of operations does not.
static void on_every_machine(void **unused) {
    (void)unused;
    if (hash != 0x64d5f9e7b2cbf3b5) fail_msg("the hash of all results of `ref` is 0x%llx", (unsigned long long)hash);
}

int main(void) {
    n_tables = tables(table);
    hash = 0xcbf29ce484222325u;
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows), cmocka_unit_test(maps), cmocka_unit_test(products), cmocka_unit_test(on_every_machine)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
