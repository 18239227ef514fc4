// Prepared layouts hold exactly the file's values, whatever the pieces they were prepared in; sizes; activations.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "cases.h"
#include "gguf/quant.h"

static const cpu_kernels i16_table = {.matrix_layout = linear_layout_i16, .matrix_bytes = linear_bytes, .matrix_prepare = linear_prepare};
static const cpu_kernels file_table = {.matrix_layout = linear_layout_file, .matrix_bytes = linear_bytes, .matrix_prepare = linear_prepare};

static void check_rows(const cpu_matrix *m, const cpu_matrix *file) {
    float *want = mem_alloc((size_t)m->k * 4), *got = mem_alloc((size_t)m->k * 4);
    for (int64_t n = 0; n < m->n; n++) {
        quant_decode(file->type, (const char *)file->data + (size_t)n * file->row_bytes, want, m->k);
        linear_row(m, n, got);
        assert_memory_equal(want, got, (size_t)m->k * 4);
    }
    mem_free(want);
    mem_free(got);
}

static void rows_are_the_files(void **state) {
    (void)state;
    for (int t = 0; t < CASE_TYPES; t++)
        for (int64_t n = 1; n <= 49; n += 16) {
            tl_dtype type = case_types[t];
            int64_t k = dtype_table[type].block_values == 1 ? 77 : 512;
            guarded bytes, prepared;
            cpu_matrix file = case_matrix(type, n, k, (uint64_t)t, &bytes);
            check_rows(&file, &file);
            for (int64_t step = 16; step <= 64; step += 48) {
                cpu_matrix m = case_prepared(&i16_table, &file, step, &prepared);
                assert_int_equal(m.layout, LINEAR_I16);
                check_rows(&m, &file);
                guarded_free(&prepared);
            }
            cpu_matrix copy = case_prepared(&file_table, &file, 16, &prepared);
            check_rows(&copy, &file);
            guarded_free(&prepared);
            guarded_free(&bytes);
        }
}

// Rows beyond n are zero, so that kernels may compute them.
static void padding_is_zero(void **state) {
    (void)state;
    for (int t = 0; t < CASE_TYPES; t++) {
        int64_t k = dtype_table[case_types[t]].block_values == 1 ? 33 : 256;
        guarded bytes, prepared;
        cpu_matrix file = case_matrix(case_types[t], 19, k, 7, &bytes), m = case_prepared(&i16_table, &file, 16, &prepared);
        float *row = mem_alloc((size_t)k * 4);
        m.n = 32;
        for (int64_t n = 19; n < 32; n++) {
            linear_row(&m, n, row);
            for (int64_t i = 0; i < k; i++) assert_true(row[i] == 0);
        }
        mem_free(row);
        guarded_free(&prepared);
        guarded_free(&bytes);
    }
}

static void sizes(void **state) {
    (void)state;
    assert_int_equal(linear_bytes(DT_Q4_0, LINEAR_FILE, 3, 64), 3 * 36);
    assert_int_equal(linear_bytes(DT_Q4_0, LINEAR_I16, 3, 64), 16 * 36);
    assert_int_equal(linear_bytes(DT_Q6_K, LINEAR_I16, 17, 256), 32 * 210);
    assert_int_equal(linear_bytes(DT_BF16, LINEAR_I16, 16, 3), 16 * 8);
    assert_int_equal(linear_bytes(DT_Q4_0, LINEAR_I16, 16, 33), 0);          // not whole blocks
    assert_int_equal(linear_bytes(DT_I8, LINEAR_FILE, 1, 1), 0);             // not a matrix
    assert_int_equal(linear_bytes(DT_F32, LINEAR_FILE, INT64_MAX / 2, 8), 0); // overflow
    for (int kind = 0; kind < ACT_KINDS; kind++) assert_int_equal(act_bytes((act_kind)kind, 1000) % 64, 0);
}

static float q8_value(const act_q8 *b, int i) { return b[i / 32].d * (float)b[i / 32].q[i % 32]; }
static float q16_value(const act_q16 *b, int i) {
    return b[i / 32].d * (float)(ACT_BASE * b[i / 32].hi[i % 32] + b[i / 32].lo[i % 32]);
}

// Rounding is at most half a step of the block; sums are those of the codes; a short last block is padded with zeros.
static void activations_are_near(void **state) {
    (void)state;
    enum { K = 100 };
    float x[128] = {0};
    uint64_t seed = 5;
    for (int i = 0; i < K; i++) x[i] = case_normal(&seed) * (i < 32 ? 1e-3f : 10.0f);
    act_q8 q8[4];
    act_q16 q16[4];
    act_quantize_ref(ACT_Q8, x, q8, K);
    act_quantize_ref(ACT_Q16, x, q16, K);
    for (int i = 0; i < 128; i++) {
        assert_true(fabsf(q8_value(q8, i) - x[i]) <= q8[i / 32].d * 0.5001f);
        assert_true(fabsf(q16_value(q16, i) - x[i]) <= q16[i / 32].d * 0.51f);
    }
    for (int b = 0; b < 4; b++) {
        int sum[2] = {0}, wide[2] = {0};
        for (int i = 0; i < 32; i++) {
            sum[i / 16] += q8[b].q[i];
            wide[i / 16] += ACT_BASE * q16[b].hi[i] + q16[b].lo[i];
        }
        assert_int_equal(q8[b].sum[0], sum[0]);
        assert_int_equal(q8[b].sum[1], sum[1]);
        assert_true(q8[b].ds == q8[b].d * (float)(sum[0] + sum[1]) && q8[b].ds1 == q8[b].d * (float)sum[1]);
        assert_true(q16[b].ds == q16[b].d * (float)(wide[0] + wide[1]) && q16[b].ds1 == q16[b].d * (float)wide[1]);
        assert_int_equal(ACT_BASE * q16[b].sum_hi[1] + q16[b].sum_lo[1], wide[1]);
        assert_true(q16[b].d < q8[b].d / 200);
    }
}

static void odd_activations(void **state) {
    (void)state;
    float x[64] = {0};
    act_q8 q[2];
    x[3] = NAN, x[40] = -INFINITY;
    act_quantize_ref(ACT_Q8, x, q, 64);
    assert_true(isnan(q[0].d) && isinf(q[1].d));
    for (int i = 0; i < 64; i++) x[i] = 1e-31f;
    act_quantize_ref(ACT_Q8, x, q, 64);
    assert_true(q[0].d == 0 && q[0].ds == 0 && q[1].q[5] == 0);
    for (int i = 0; i < 64; i++) x[i] = i % 2 ? 3e38f : -3e38f;
    act_quantize_ref(ACT_Q8, x, q, 64);
    assert_true(isfinite(q[0].d) && q[0].q[0] == -127 && q[0].q[1] == 127 && q[0].sum[0] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_the_files),  cmocka_unit_test(padding_is_zero), cmocka_unit_test(sizes),
        cmocka_unit_test(activations_are_near), cmocka_unit_test(odd_activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
