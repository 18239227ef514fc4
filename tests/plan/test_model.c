// A small transformer, fused and planned, against the plain evaluation of its equations; and the promises about bits.
#include "toy.h"

typedef struct setup {
    toy_model m;
    pool *threads;
    plan *p;
} setup;

static void start(setup *s, const toy_config *c, int threads) {
    tl_error err = {0};
    toy_build(&s->m, c);
    assert_int_equal(pool_new(threads, &s->threads, &err), TL_OK);
    plan_backend b = toy_backend(s->threads);
    plan_limits limits = {.max_rows = TOY_ROWS, .max_outs = TOY_ROWS, .max_slots = TOY_ROWS};
    if (plan_new(&s->m.g, &b, &limits, &s->p, &err) != TL_OK) fail_msg("%s", err.message);
}

static void stop(setup *s) {
    plan_free(s->p);
    toy_free(&s->m);
    pool_free(s->threads);
}

static const float *run(setup *s, const toy_step *t) {
    tl_error err = {0};
    if (plan_run(s->p, &t->s, &err) != TL_OK) fail_msg("%s", err.message);
    return plan_output(s->p, 0);
}

static double against_reference(const toy_config *c, int threads) {
    setup s;
    start(&s, c, threads);
    toy_config plain = *c;
    plain.plain = true;
    toy_model ref;
    toy_build(&ref, &plain);
    double worst = 0;
    int64_t cuts[] = {0, 5, 6, 7, 20};
    for (int i = 0; i < 4; i++) {
        toy_step t = {0};
        toy_rows(&t, cuts[i], cuts[i + 1], 1, 10, true);
        const float *got = run(&s, &t);
        float *want = NULL;
        tl_error err;
        assert_int_equal(plan_reference(&ref.g, &t.s, &want, &err), TL_OK);
        double d = toy_distance(got, want, t.s.outs * c->vocab);
        if (!(d <= worst)) worst = d;
        mem_free(want);
    }
    toy_free(&ref);
    stop(&s);
    return worst;
}

static void test_f32(void **state) {
    (void)state;
    double d = against_reference(&toy_small, 1);
    if (!(d < 2e-5)) fail_msg("distance %g", d);
}

static void test_variants(void **state) {
    (void)state;
    for (int i = 0; i < 16; i++) {
        toy_config c = toy_small;
        c.interleaved = i & 1;
        c.window = i & 2 ? 4 : 0;
        c.softcap = i & 4 ? 5.0f : 0;
        c.cache = i & 8 ? DT_F16 : DT_Q8_0;
        double d = against_reference(&c, 1 + i % 3);
        if (!(d < 2e-3)) fail_msg("variant %d: distance %g", i, d);
    }
}

static void test_plain_graph(void **state) { // nothing fused: the general kernels
    (void)state;
    toy_config c = toy_small;
    c.plain = true;
    double d = against_reference(&c, 2);
    if (!(d < 2e-5)) fail_msg("distance %g", d);
}

static void test_quantized(void **state) {
    (void)state;
    static const struct { tl_dtype t; double d; } rows[] = {{DT_F16, 2e-2}, {DT_BF16, 2e-2}, {DT_Q8_0, 5e-2}, {DT_Q4_0, 5e-2}, {DT_Q4_1, 5e-2}, {DT_Q5_0, 5e-2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        toy_config c = toy_small;
        c.weights = rows[i].t;
        double d = against_reference(&c, 2);
        if (!(d < rows[i].d)) fail_msg("%s: distance %g", dtype_table[rows[i].t].name, d);
    }
}

// One sequence of 20 rows: at once, in pieces, on other thread counts, beside another sequence.
static void collect(const toy_config *c, int threads, const int64_t *cuts, bool company, float *out) {
    setup s;
    start(&s, c, threads);
    for (int i = 0; cuts[i] < 20; i++) {
        toy_step t = {0};
        if (company) toy_rows(&t, cuts[i], cuts[i + 1], 2, 50, false);
        int64_t skip = t.s.outs;
        toy_rows(&t, cuts[i], cuts[i + 1], 1, 10, true);
        const float *got = run(&s, &t);
        memcpy(out + cuts[i] * c->vocab, got + skip * c->vocab, sizeof *out * (size_t)((cuts[i + 1] - cuts[i]) * c->vocab));
    }
    stop(&s);
}

static void test_same_bits(void **state) {
    (void)state;
    static const tl_dtype types[] = {DT_F32, DT_Q4_0, DT_Q8_0};
    static const int64_t whole[] = {0, 20}, pieces[] = {0, 1, 2, 9, 10, 20};
    for (int i = 0; i < 3; i++) {
        toy_config c = toy_small;
        c.weights = types[i];
        c.cache = DT_F16;
        float *a = mem_calloc(20 * 80, 4), *b = mem_calloc(20 * 80, 4);
        collect(&c, 1, whole, false, a);
        for (int v = 0; v < 4; v++) {
            collect(&c, 1 + v, v & 1 ? pieces : whole, v & 2, b);
            assert_memory_equal(a, b, 20 * 80 * 4);
        }
        mem_free(a);
        mem_free(b);
    }
}

static void test_watched(void **state) { // a kept node changes no bit and can be read
    (void)state;
    setup s, w;
    start(&s, &toy_small, 2);
    toy_config c = toy_small;
    c.plain = true;
    tl_error err = {0};
    toy_build(&w.m, &c);
    w.m.watched->keep = true;
    ir_rewrite(&w.m.g);
    ir_fuse_maps(&w.m.g);
    assert_int_equal(pool_new(1, &w.threads, &err), TL_OK);
    plan_backend b = toy_backend(w.threads);
    plan_limits limits = {.max_rows = TOY_ROWS, .max_outs = TOY_ROWS, .max_slots = TOY_ROWS};
    assert_int_equal(plan_new(&w.m.g, &b, &limits, &w.p, &err), TL_OK);
    toy_step t = {0};
    toy_rows(&t, 0, 9, 0, 3, true);
    assert_memory_equal(run(&s, &t), run(&w, &t), sizeof(float) * 9 * 80);
    const float *x = plan_value(w.p, w.m.watched);
    assert_non_null(x);
    assert_null(plan_value(s.p, s.m.watched));
    double sum = 0;
    for (int i = 0; i < 9 * 64; i++) sum += fabs((double)x[i]);
    assert_true(sum > 1 && isfinite(sum));
    stop(&s);
    stop(&w);
}

static void test_print(void **state) {
    (void)state;
    setup s, r;
    start(&s, &toy_small, 1);
    start(&r, &toy_small, 1);
    sbuf a = {0}, b = {0};
    plan_print(s.p, &a);
    plan_print(r.p, &b);
    assert_string_equal(a.p, b.p);
    assert_non_null(strstr(a.p, "ATTENTION"));
    assert_null(strstr(a.p, "EINSUM"));
    assert_null(strstr(a.p, "SOFTMAX"));
    assert_non_null(strstr(a.p, "$0 SILU $1 MUL"));
    sbuf_free(&a);
    sbuf_free(&b);
    stop(&s);
    stop(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32),      cmocka_unit_test(test_variants), cmocka_unit_test(test_plain_graph), cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_watched), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
