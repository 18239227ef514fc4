// test_products.c - gemm, dot and axpy against sums in double, and gemm's bits against how the product is cut.
#include <math.h>

#include "util.h"

static cpu_kernels table[MAX_TABLES];
static int n_tables;
#define EACH_TABLE(k) for (const cpu_kernels *k = table; k < table + n_tables; k++)

static float *random_matrix(int64_t rows, int64_t ld, int64_t cols) { // ends with the last row's last column
    int64_t n = (rows - 1) * ld + cols;
    float *p = guard_floats(NULL, n);
    for (int64_t i = 0; i < n; i++) p[i] = random_normal();
    return p;
}
static void free_matrix(float *p, int64_t rows, int64_t ld, int64_t cols) { guard_floats_free(p, (rows - 1) * ld + cols); }

static void check_gemm(const cpu_kernels *k, int64_t m, int64_t n, int64_t depth, int64_t gap) {
    int64_t lda = depth + gap, ldb = n + gap, ldc = n + gap;
    float *a = random_matrix(m, lda, depth), *b = random_matrix(depth, ldb, n), *c = random_matrix(m, ldc, n);
    float *d = guard_floats(c, (m - 1) * ldc + n), *e = guard_floats(c, (m - 1) * ldc + n);
    k->gemm(a, lda, b, ldb, d, ldc, m, n, depth);
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = c[i * ldc + j], size = fabs(sum);
            for (int64_t p = 0; p < depth; p++) {
                double t = (double)a[i * lda + p] * b[p * ldb + j];
                sum += t;
                size += fabs(t);
            }
            check_close(d[i * ldc + j], sum, 0, 6e-7 * size, k->isa, "gemm", i * n + j);
        }
        for (int64_t j = n; j < ldc && i < m - 1; j++) assert_true(d[i * ldc + j] == c[i * ldc + j]); // between rows: untouched
    }
    // The same in pieces of rows and columns.
    for (int64_t i = 0, rows; i < m; i += rows) {
        rows = 1 + random_below(m - i < 9 ? m - i : 9);
        for (int64_t j = 0, cols; j < n; j += cols) {
            cols = 1 + random_below(n - j < 40 ? n - j : 40);
            k->gemm(a + i * lda, lda, b + j, ldb, e + i * ldc + j, ldc, rows, cols, depth);
        }
    }
    assert_memory_equal(d, e, (size_t)((m - 1) * ldc + n) * sizeof *d);
    free_matrix(a, m, lda, depth), free_matrix(b, depth, ldb, n), free_matrix(c, m, ldc, n), free_matrix(d, m, ldc, n), free_matrix(e, m, ldc, n);
}

static void gemm_shapes(void **unused) {
    (void)unused;
    static const int64_t shapes[][3] = {{1, 1, 1},   {1, 600, 300}, {2, 513, 70}, {3, 16, 5},   {6, 16, 256},   {7, 33, 257},
                                        {12, 32, 3}, {13, 31, 512}, {40, 50, 20}, {200, 47, 9}, {67, 130, 300}, {24, 64, 600}};
    EACH_TABLE(k) for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) for (int64_t gap = 0; gap < 6; gap += 5)
        check_gemm(k, shapes[s][0], shapes[s][1], shapes[s][2], gap);
    EACH_TABLE(k) { // nothing to do
        float c[4] = {1, 2, 3, 4};
        k->gemm(NULL, 1, NULL, 1, c, 2, 2, 2, 0);
        k->gemm(NULL, 1, NULL, 1, NULL, 1, 0, 5, 5);
        assert_true(c[0] == 1 && c[1] == 2 && c[2] == 3 && c[3] == 4);
    }
}

static void dot_and_axpy(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int64_t n = 0; n <= 150; n++) {
        float *x = guard_floats(NULL, n), *y = guard_floats(NULL, n);
        double sum = 0, size = 0;
        for (int64_t i = 0; i < n; i++) {
            x[i] = random_normal();
            y[i] = random_normal();
            sum += (double)x[i] * y[i];
            size += fabs((double)x[i] * y[i]);
        }
        check_close(k->dot(x, y, n), sum, 0, 6e-7 * size, k->isa, "dot", n);
        float *z = guard_floats(y, n);
        k->axpy(0.7f, x, z, n);
        for (int64_t i = 0; i < n; i++) check_close(z[i], y[i] + (double)0.7f * x[i], 2e-7, 1e-7, k->isa, "axpy", i);
        guard_floats_free(x, n), guard_floats_free(y, n), guard_floats_free(z, n);
    }
}

int main(void) {
    n_tables = tables(table);
    const struct CMUnitTest tests[] = {cmocka_unit_test(gemm_shapes), cmocka_unit_test(dot_and_axpy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
