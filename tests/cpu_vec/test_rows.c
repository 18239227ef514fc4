// test_rows.c - norms, softmax, rotary embedding and conversions of every instruction set against formulas in double.
#include <math.h>

#include "util.h"

static cpu_kernels table[MAX_TABLES];
static int n_tables;
#define EACH_TABLE(k) for (const cpu_kernels *k = table; k < table + n_tables; k++)

static const int64_t sizes[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 96, 100, 127, 128, 129, 576, 1000, 2049};
enum { SIZES = sizeof sizes / sizeof *sizes };

static float *random_floats(int64_t n, float mean, float scale) {
    float *p = guard_floats(NULL, n);
    for (int64_t i = 0; i < n; i++) p[i] = mean + scale * random_normal();
    return p;
}

static void rms_norm(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int s = 0; s < SIZES; s++) for (int weighted = 0; weighted < 2; weighted++) {
        int64_t n = sizes[s];
        float *x = random_floats(n, 0.2f, 3), *w = random_floats(n, 1, 0.3f), *y = guard_floats(NULL, n);
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
        double scale = 1 / sqrt(sum / (double)n + 1e-5);
        k->rms_norm(x, weighted ? w : NULL, 1e-5f, y, n);
        for (int64_t i = 0; i < n; i++) check_close(y[i], x[i] * scale * (weighted ? w[i] : 1), 1e-6, 0, k->isa, "rms_norm", i);
        float *z = guard_floats(x, n);
        k->rms_norm(z, weighted ? w : NULL, 1e-5f, z, n); // in place
        assert_memory_equal(y, z, (size_t)n * sizeof *y);
        guard_floats_free(x, n), guard_floats_free(w, n), guard_floats_free(y, n), guard_floats_free(z, n);
    }
}

static void layer_norm(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int s = 0; s < SIZES; s++) for (int parts = 0; parts < 4; parts++) {
        int64_t n = sizes[s];
        float *x = random_floats(n, 5, 2), *w = random_floats(n, 1, 0.3f), *b = random_floats(n, 0, 1), *y = guard_floats(NULL, n);
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < n; i++) sum += x[i];
        double mean = sum / (double)n;
        for (int64_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
        double scale = 1 / sqrt(squares / (double)n + 1e-5);
        k->layer_norm(x, parts & 1 ? w : NULL, parts & 2 ? b : NULL, 1e-5f, y, n);
        double abs = n == 1 ? 1e-3 : 2e-5; // the mean is a float32; alone, a value minus itself is divided by sqrt(eps)
        for (int64_t i = 0; i < n; i++) {
            double v = (x[i] - mean) * scale * (parts & 1 ? w[i] : 1) + (parts & 2 ? b[i] : 0);
            check_close(y[i], v, 2e-6, abs, k->isa, "layer_norm", i);
        }
        guard_floats_free(x, n), guard_floats_free(w, n), guard_floats_free(b, n), guard_floats_free(y, n);
    }
}

static void softmax_rows(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int s = 0; s < SIZES; s++) for (int hidden = 0; hidden < 2; hidden++) {
        int64_t n = sizes[s];
        float *x = random_floats(n, 100, 8), *y = guard_floats(NULL, n);
        if (hidden) for (int64_t i = 1; i < n; i += 3) x[i] = -INFINITY;
        double sum = 0, max = -INFINITY;
        for (int64_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
        for (int64_t i = 0; i < n; i++) sum += exp(x[i] - max);
        k->softmax(x, y, n);
        for (int64_t i = 0; i < n; i++) check_close(y[i], exp(x[i] - max) / sum, 2e-6, 1e-37, k->isa, "softmax", i);
        guard_floats_free(x, n), guard_floats_free(y, n);
    }
}

static void softmax_edges(void **unused) {
    (void)unused;
    EACH_TABLE(k) {
        float x[40], y[40];
        for (int n = 0; n <= 40; n++) {
            for (int i = 0; i < n; i++) x[i] = -INFINITY;
            k->softmax(x, y, n);
            for (int i = 0; i < n; i++) assert_true(y[i] == 0);
            for (int i = 0; i < n; i++) x[i] = 1;
            if (n > 0) {
                x[n / 2] = NAN;
                k->softmax(x, y, n);
                for (int i = 0; i < n; i++) assert_true(isnan(y[i]));
            }
        }
    }
}

static void all_finite(void **unused) {
    (void)unused;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    EACH_TABLE(k) for (int s = 0; s < SIZES; s++) {
        int64_t n = sizes[s];
        float *x = random_floats(n, 5, 1e30f);
        for (int64_t i = 0; i < n; i += 3) x[i] = i % 2 ? 1e-42f : 3.4e38f; // subnormal, and with a sum that overflows
        assert_true(k->all_finite(x, n));
        for (int64_t i = 0; i < n; i++) {
            float was = x[i];
            x[i] = bad[i % 3];
            assert_false(k->all_finite(x, n));
            x[i] = was;
        }
        guard_floats_free(x, n);
    }
}

static void block_maxima_and_sums(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int s = 0; s < SIZES; s++) for (int holes = 0; holes < 3; holes++) {
        int64_t n = sizes[s], blocks = (n + CPU_BLOCK - 1) / CPU_BLOCK;
        float *x = random_floats(n, 3, holes ? 20 : 4), *maxima = guard_floats(NULL, blocks), *sums = guard_floats(NULL, blocks), *dots = guard_floats(NULL, blocks);
        float base = -INFINITY;
        for (int64_t i = 0; i < n && holes; i++) if (holes == 2 || i % 5 == 0) x[i] = i % 2 ? NAN : -INFINITY;
        for (int64_t i = 0; i < n; i++) base = x[i] > base ? x[i] : base;
        if (base == -INFINITY) base = 1;
        k->block_maxima(x, maxima, n);
        k->block_exp_sums(x, base, sums, dots, n);
        for (int64_t b = 0; b < blocks; b++) {
            double sum = 0, dot = 0, max = -INFINITY;
            for (int64_t i = b * CPU_BLOCK; i < n && i < (b + 1) * CPU_BLOCK; i++) {
                double e = exp((double)x[i] - base);
                if (x[i] > max) max = x[i];
                if (!(e > 0)) continue;
                sum += e, dot += e * ((double)x[i] - base);
            }
            check_close(maxima[b], max, 0, 0, k->isa, "block_maxima", b);
            check_close(sums[b], sum, 2e-6, 1e-37, k->isa, "block_exp_sums", b);
            check_close(dots[b], dot, 4e-6, 1e-35, k->isa, "block_exp_sums, dots", b);
        }
        k->block_exp_sums(x, base, sums, NULL, n);
        guard_floats_free(x, n), guard_floats_free(maxima, blocks), guard_floats_free(sums, blocks), guard_floats_free(dots, blocks);
    }
}

static void rope_turns(void **unused) {
    (void)unused;
    static const int64_t shapes[][2] = {{64, 64}, {128, 128}, {256, 256}, {80, 32}, {96, 96}, {96, 48}, {6, 6}, {10, 2}, {2, 2}, {100, 50}, {64, 34}};
    EACH_TABLE(k) for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) for (int inter = 0; inter < 2; inter++) {
        int64_t d = shapes[s][0], rot = shapes[s][1], half = rot / 2;
        float *x = random_floats(d, 0, 1), *cs = guard_floats(NULL, rot), *y = guard_floats(NULL, d), *z = guard_floats(x, d);
        for (int64_t i = 0; i < half; i++) {
            cs[i] = cosf((float)i + 0.3f);
            cs[half + i] = sinf((float)i + 0.3f);
        }
        k->rope(x, cs, y, d, rot, inter);
        for (int64_t i = 0; i < half; i++) {
            int64_t p = inter ? 2 * i : i, q = inter ? 2 * i + 1 : i + half;
            double c = cs[i], sn = cs[half + i];
            check_close(y[p], x[p] * c - x[q] * sn, 0, 5e-7, k->isa, "rope", p);
            check_close(y[q], x[p] * sn + x[q] * c, 0, 5e-7, k->isa, "rope", q);
        }
        for (int64_t i = rot; i < d; i++) assert_true(y[i] == x[i]);
        k->rope(z, cs, z, d, rot, inter); // in place
        assert_memory_equal(y, z, (size_t)d * sizeof *y);
        guard_floats_free(x, d), guard_floats_free(cs, rot), guard_floats_free(y, d), guard_floats_free(z, d);
    }
}

static const tl_dtype stored[] = {DT_F32, DT_F16, DT_BF16, DT_Q8_0, DT_Q4_0};
enum { STORED = sizeof stored / sizeof *stored };

// Every instruction set stores and loads the very bits of `ref`, whose rules base's tests and this one check.
static void conversions_are_exact(void **unused) {
    (void)unused;
    for (int t = 0; t < STORED; t++) for (int s = 0; s < SIZES; s++) for (int wild = 0; wild < 2; wild++) {
        int64_t n = stored[t] == DT_Q8_0 || stored[t] == DT_Q4_0 ? (sizes[s] + 31) / 32 * 32 : sizes[s];
        size_t bytes;
        assert_true(dtype_bytes(stored[t], n, &bytes));
        float *x = random_floats(n, 0, 2), *back = guard_floats(NULL, n), *want_back = guard_floats(NULL, n);
        if (wild) for (int64_t i = 0; i < n; i++) { // any bits at all: subnormals, infinities, NaN
            uint32_t u = random_bits();
            if (i % 64 < 32 && (u & 0x7f800000u) == 0x7f800000u) u &= ~0x40000000u; // some blocks stay finite
            memcpy(&x[i], &u, 4);
        }
        void *want = guard_alloc(bytes), *got = guard_alloc(bytes);
        table[0].store(stored[t], x, want, n);
        table[0].load(stored[t], want, want_back, n);
        EACH_TABLE(k) {
            k->store(stored[t], x, got, n);
            assert_memory_equal(got, want, bytes);
            k->load(stored[t], got, back, n);
            for (int64_t i = 0; i < n; i++)
                if (!isnan(back[i]) || !isnan(want_back[i])) assert_memory_equal(&back[i], &want_back[i], 4);
        }
        guard_free(want, bytes), guard_free(got, bytes);
        guard_floats_free(x, n), guard_floats_free(back, n), guard_floats_free(want_back, n);
    }
}

static void q8_blocks(void **unused) {
    (void)unused;
    float x[32], y[32];
    uint8_t block[34];
    for (int round = 0; round < 200; round++) {
        float scale = ldexpf(1, (int)random_below(14) - 2), max = 0;
        for (int i = 0; i < 32; i++) {
            x[i] = scale * random_normal();
            max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
        }
        table[0].store(DT_Q8_0, x, block, 32);
        table[0].load(DT_Q8_0, block, y, 32);
        // half a step, and what rounding the scale to float16 costs at 127 steps
        for (int i = 0; i < 32; i++) check_close(y[i], x[i], 0, max / 127 * (0.501 + 127.0 / 2048), "ref", "q8_0", i);
    }
    x[5] = INFINITY;
    table[0].store(DT_Q8_0, x, block, 32);
    table[0].load(DT_Q8_0, block, y, 32);
    for (int i = 0; i < 32; i++) assert_true(isnan(y[i]));
    for (int i = 0; i < 32; i++) x[i] = 0;
    table[0].store(DT_Q8_0, x, block, 32);
    for (int i = 0; i < 34; i++) assert_int_equal(block[i], 0);
}

static void q4_blocks(void **unused) {
    (void)unused;
    float x[32], y[32];
    uint8_t block[18];
    for (int round = 0; round < 200; round++) {
        float scale = ldexpf(1, (int)random_below(14) - 2), max = 0;
        for (int i = 0; i < 32; i++) {
            x[i] = scale * random_normal();
            max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
        }
        table[0].store(DT_Q4_0, x, block, 32);
        table[0].load(DT_Q4_0, block, y, 32);
        // half a step of max / 8, and a whole one at the end without a step of its own
        for (int i = 0; i < 32; i++) check_close(y[i], x[i], 0, max / 8 * 1.01, "ref", "q4_0", i);
    }
    x[5] = NAN;
    table[0].store(DT_Q4_0, x, block, 32);
    table[0].load(DT_Q4_0, block, y, 32);
    for (int i = 0; i < 32; i++) assert_true(isnan(y[i]));
    for (int i = 0; i < 32; i++) x[i] = 0;
    table[0].store(DT_Q4_0, x, block, 32);
    table[0].load(DT_Q4_0, block, y, 32);
    for (int i = 0; i < 32; i++) assert_true(y[i] == 0);
}

int main(void) {
    n_tables = tables(table);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rms_norm),   cmocka_unit_test(layer_norm),            cmocka_unit_test(softmax_rows), cmocka_unit_test(softmax_edges), cmocka_unit_test(block_maxima_and_sums),
        cmocka_unit_test(rope_turns), cmocka_unit_test(conversions_are_exact), cmocka_unit_test(q8_blocks), cmocka_unit_test(q4_blocks), cmocka_unit_test(all_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
