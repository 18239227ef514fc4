// The life of a plan: what it refuses, what it allocates, weights shared between plans, failing allocations.
#include "plan/plan_int.h"
#include "toy.h"

typedef struct fixture {
    toy_model m;
    pool *threads;
    plan_backend b;
    plan_limits limits;
} fixture;

static void start(fixture *f, tl_dtype weights) {
    toy_config c = toy_small;
    c.weights = weights;
    tl_error err;
    toy_build(&f->m, &c);
    assert_int_equal(pool_new(2, &f->threads, &err), TL_OK);
    f->b = toy_backend(f->threads);
    f->limits = (plan_limits){.max_rows = 8, .max_outs = 8, .max_slots = TOY_ROWS};
}

static void stop(fixture *f) {
    toy_free(&f->m);
    pool_free(f->threads);
}

static void test_refusals(void **state) {
    (void)state;
    fixture f;
    start(&f, DT_F32);
    tl_error err = {0};
    plan *p;
    plan_limits none = {.max_rows = 0, .max_outs = 1, .max_slots = 1};
    assert_int_equal(plan_new(&f.m.g, &f.b, &none, &p, &err), TL_E_USAGE);
    assert_null(p);
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    toy_step t = {0};
    toy_rows(&t, 0, 9, 0, 0, false);
    assert_int_equal(plan_run(p, &t.s, &err), TL_E_LIMIT);
    t.s.rows = 8;
    t.out[0] = 7;
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    t.s.in[INPUT_POS] = NULL;
    assert_int_equal(plan_run(p, &t.s, &err), TL_E_USAGE);
    assert_non_null(strstr(err.message, "`pos`"));
    t.s.in[INPUT_POS] = t.pos;
    t.seq[3] = 4;
    assert_int_equal(plan_run(p, &t.s, &err), TL_E_USAGE);
    assert_non_null(strstr(err.message, "row 3"));
    t.seq[3] = 0;
    t.s.rows = t.s.outs = 0; // nothing to do is allowed
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    assert_null(plan_output(p, 1));
    plan_free(p);
    stop(&f);
}

static size_t place_end(const plan *p, const value *v) {
    int64_t rows = v->sym == SYM_ROWS ? p->limits.max_rows : v->sym == SYM_OUT ? p->limits.max_outs : 1;
    return v->offset + (size_t)rows * v->row_bytes;
}

static bool reads(const kernel *k, int32_t v) {
    for (int r = 0; r < k->n_reads; r++)
        if (k->reads[r].value == v) return true;
    return false;
}

// Values that live at the same time share no memory, but for one whose only last reader is elementwise and puts its result there.
static void test_places(void **state) {
    (void)state;
    fixture f;
    tl_error err = {0};
    plan *p;
    start(&f, DT_Q8_0);
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    int replaced = 0;
    size_t all = 0, end = 0;
    for (int32_t i = 0; i < p->n_values; i++) {
        const value *a = &p->values[i];
        if (a->place != V_WORK) continue;
        all += place_end(p, a) - a->offset;
        if (place_end(p, a) > end) end = place_end(p, a);
        for (int32_t j = 0; j < p->n_values; j++) {
            const value *b = &p->values[j];
            bool shares = b->place == V_WORK && a->offset < place_end(p, b) && b->offset < place_end(p, a);
            if (j == i || !shares || a->last < b->first || b->last < a->first || b->first < a->first) continue;
            int readers = 0;
            const kernel *k = NULL;
            assert_true(a->first < b->first && a->last == b->first && a->offset == b->offset && a->row_bytes == b->row_bytes);
            for (int n = 0; n < p->n_kernels; n++) {
                if (p->kernels[n]->stage == a->last && reads(p->kernels[n], i)) readers++, k = p->kernels[n];
            }
            assert_true(readers == 1 && k->out == j && (k->node->op == IR_MAP || k->node->op == IR_FUSED));
            replaced++;
        }
    }
    assert_true(replaced > 0);
    assert_true(end <= p->work_bytes && p->work_bytes < all / 2);
    plan_free(p);
    stop(&f);
}

static void test_unsupported(void **state) { // a cache type that attention does not read
    (void)state;
    toy_config c = toy_small;
    c.cache = DT_BF16;
    toy_model m;
    toy_build(&m, &c);
    pool *threads;
    plan *p;
    tl_error err;
    assert_int_equal(pool_new(1, &threads, &err), TL_OK);
    plan_backend b = toy_backend(threads);
    plan_limits limits = {.max_rows = 8, .max_outs = 8, .max_slots = 8};
    assert_int_equal(plan_new(&m.g, &b, &limits, &p, &err), TL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "BF16"));
    toy_free(&m);
    pool_free(threads);
}

static void test_no_allocation(void **state) {
    (void)state;
    fixture f;
    start(&f, DT_Q4_0);
    tl_error err;
    plan *p;
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    int64_t before = mem_count();
    for (int r = 0; r < 8; r++) {
        toy_step t = {0};
        toy_rows(&t, r, r + 1 + r % 3, 0, 0, true);
        assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    }
    assert_int_equal(mem_count(), before);
    plan_free(p);
    stop(&f);
}

typedef struct calls {
    const void *dropped[64]; // where each dropped range begins
    int drops;
    double last, total;
} calls;
static void on_drop(void *ctx, const void *data, size_t bytes) {
    (void)bytes;
    calls *c = ctx;
    assert_true(c->drops < 64);
    c->dropped[c->drops++] = data;
}
static void on_progress(void *ctx, double done, double total) {
    calls *c = ctx;
    assert_true(done >= c->last && done <= total);
    c->last = done;
    c->total = total;
}

static void test_weights(void **state) { // prepared once, by the first plan; file bytes at any address
    (void)state;
    fixture f;
    start(&f, DT_Q8_0);
    calls c = {0};
    f.b.drop = on_drop, f.b.progress = on_progress, f.b.ctx = &c;
    toy_step t = {0};
    toy_rows(&t, 0, 8, 0, 0, true);
    tl_error err;
    plan *p, *q;
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    assert_true(c.total > 0 && c.last == c.total);
    for (int i = 0; i < f.m.n_weights; i++) { // small ones are copied, none stays in the file's pages
        int j = 0;
        while (j < c.drops && c.dropped[j] != f.m.weights[i]->data) j++;
        assert_true(j < c.drops);
    }
    c = (calls){0};
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &q, &err), TL_OK);
    assert_int_equal(c.drops, 0);
    assert_true(c.total == 0);
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    float *want = mem_alloc(sizeof *want * 8 * 80);
    memcpy(want, plan_output(p, 0), sizeof *want * 8 * 80);
    plan_free(p);
    plan_free(q);
    for (int i = 0; i < f.m.n_weights; i++) { // the same bytes, one byte further on
        ir_weight *w = f.m.weights[i];
        plan_weight_free(w);
        char *moved = arena_alloc(&f.m.mem, w->bytes + 1);
        memcpy(moved + 1, w->data, w->bytes);
        w->data = moved + 1;
    }
    toy_clear_states(&f.m);
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    assert_memory_equal(plan_output(p, 0), want, sizeof *want * 8 * 80);
    mem_free(want);
    plan_free(p);
    stop(&f);
}

static void test_shared_memory(void **state) { // matrices below two large pages share memory, and go one by one
    (void)state;
    enum { COUNT = 5, SIZE = 1792, SMALL = 64 };
    fixture f;
    start(&f, DT_Q8_0);
    uint64_t seed = 5;
    ir_weight *w = toy_weight(&f.m.mem, "large", DT_Q8_0, SIZE, SIZE, 1, &seed), all[COUNT], small = *w;
    plan_weight *made[COUNT];
    weight_room *room = NULL;
    tl_error err;
    small.rows = small.cols = SMALL;
    for (int i = 0; i < COUNT; i++) {
        all[i] = *w;
        assert_int_equal(weight_need(&all[i], USE_LINEAR, &f.b, &room, &err), TL_OK);
        made[i] = all[i].prepared;
    }
    assert_int_equal(weight_need(&small, USE_LINEAR, &f.b, &room, &err), TL_OK);
    if (!made[0]->made) { // this ISA reads the file's bytes
        for (int i = 0; i < COUNT; i++) plan_weight_free(&all[i]);
        plan_weight_free(&small);
        stop(&f);
        skip();
    }
    assert_null(((plan_weight *)small.prepared)->room);
    plan_weight_free(&small);
    for (int i = 1; i < COUNT - 1; i++) { // four of 3.4 MB in 16
        assert_ptr_equal(made[i]->room, made[0]->room);
        assert_true((char *)made[i]->made >= (char *)made[i - 1]->made + made[i - 1]->made_bytes);
    }
    assert_ptr_not_equal(made[COUNT - 1]->room, made[0]->room);
    assert_ptr_equal(made[COUNT - 1]->room, room);
    weight_room_leave(room);
    static const int order[COUNT] = {1, 4, 0, 3, 2};
    float want[SIZE], got[SIZE];
    for (int i = 0; i < COUNT; i++) { // what is left holds its values, whoever has gone
        for (int j = i; j < COUNT; j++)
            for (int64_t r = 0; r < SIZE; r += SIZE - 1) {
                quant_decode(DT_Q8_0, (const char *)w->data + (size_t)r * (w->bytes / SIZE), want, SIZE);
                f.b.k->matrix_row(&made[order[j]]->m, r, got);
                assert_memory_equal(got, want, sizeof want);
            }
        plan_weight_free(&all[order[i]]);
        assert_null(all[order[i]].prepared);
    }
    stop(&f);
}

static void test_bad_weight(void **state) { // a tensor shorter than its shape
    (void)state;
    fixture f;
    start(&f, DT_Q8_0);
    f.m.weights[3]->bytes--;
    tl_error err;
    plan *p;
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_E_PROGRAM);
    assert_non_null(strstr(err.message, f.m.weights[3]->name));
    stop(&f);
}

static void test_failing_allocations(void **state) { // every allocation of plan_new may fail; then it works
    (void)state;
    fixture f;
    start(&f, DT_Q4_0);
    plan *p = NULL;
    int failures = 0;
    for (int64_t n = 0; n < 1000 && !p; n++) {
        tl_error err = {0};
        mem_fail_after(n);
        tl_status s = plan_new(&f.m.g, &f.b, &f.limits, &p, &err);
        mem_fail_after(-1);
        if (s == TL_OK) break;
        assert_int_equal(s, TL_E_MEMORY);
        assert_null(p);
        failures++;
        for (int i = 0; i < f.m.n_weights; i++) plan_weight_free(f.m.weights[i]);
    }
    assert_non_null(p);
    assert_true(failures > 5);
    toy_step t = {0};
    toy_rows(&t, 0, 3, 0, 0, true);
    tl_error err;
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    plan_free(p);
    stop(&f);
}

static void test_profile(void **state) {
    (void)state;
    fixture f;
    start(&f, DT_F32);
    tl_error err;
    plan *p;
    assert_int_equal(plan_new(&f.m.g, &f.b, &f.limits, &p, &err), TL_OK);
    plan_measure(p, true);
    assert_int_equal(plan_profile(p, true, &err), TL_OK);
    toy_step t = {0};
    toy_rows(&t, 0, 3, 0, 0, true);
    assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
    double outside, total, sum = 0;
    int linears = 0;
    plan_timing(p, &outside, &total);
    assert_true(total > 0 && outside <= total);
    for (int i = 0; i < plan_kernel_count(p); i++) {
        plan_kernel_time k = plan_kernel_timing(p, i);
        assert_true(k.units > 0);
        linears += strcmp(k.kernel, "LINEAR") == 0;
        sum += k.ns;
    }
    assert_int_equal(linears, 15);
    assert_true(sum > 0);
    plan_free(p);
    stop(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_places), cmocka_unit_test(test_unsupported), cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_weights), cmocka_unit_test(test_shared_memory),
        cmocka_unit_test(test_bad_weight), cmocka_unit_test(test_failing_allocations), cmocka_unit_test(test_profile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
