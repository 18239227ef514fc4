// Rewriting: what becomes which operation, what must not, and that no depth of a program is too deep.
#include "toy.h"

static int count(const ir_graph *g, ir_op op) {
    int n = 0;
    for (const ir_node *x = g->first; x; x = x->next) n += x->op == op;
    return n;
}

static void test_transformer(void **state) { // every variant is found
    (void)state;
    for (int i = 0; i < 8; i++) {
        toy_config c = toy_small;
        c.interleaved = i & 1;
        c.window = i & 2 ? 4 : 0;
        c.softcap = i & 4 ? 5.0f : 0;
        toy_model m;
        toy_build(&m, &c);
        assert_int_equal(count(&m.g, IR_ATTENTION), 2);
        assert_int_equal(count(&m.g, IR_RMS_NORM), 5);
        assert_int_equal(count(&m.g, IR_ROPE), 4);
        assert_int_equal(count(&m.g, IR_LINEAR), 15);
        assert_int_equal(count(&m.g, IR_EMBED), 1);
        assert_int_equal(count(&m.g, IR_EINSUM) + count(&m.g, IR_SOFTMAX) + count(&m.g, IR_OWNED) + count(&m.g, IR_REDUCE), 0);
        assert_int_equal(count(&m.g, IR_FUSED), 2);
        int windows = 0, out_rows = 0;
        for (const ir_node *n = m.g.first; n; n = n->next)
            if (n->op == IR_ATTENTION) {
                windows += n->u.attn.window;
                out_rows += n->sym == SYM_OUT;
                assert_true(n->u.attn.causal);
                assert_float_equal(n->u.attn.scale, 1 / sqrt(32), 1e-6);
                assert_float_equal(n->u.attn.softcap, c.softcap, 1e-6);
            }
        assert_int_equal(windows, c.window);
        assert_int_equal(out_rows, 1); // the last layer runs on the rows asked for
        toy_free(&m);
    }
}

typedef struct fixture {
    arena mem;
    ir_graph g;
    uint64_t seed;
    ir_node *x; // [p, 24]
} fixture;

static ir_node *embed(fixture *f) { // rows of a table of its own
    int64_t n = 24, limit = 10;
    ir_space sp = SPACE(SYM_ROWS, 2, P, n);
    ir_edge base = EDGE(ir_weight_node(&f->g, toy_weight(&f->mem, "t", DT_F32, 10, 24, 1, &f->seed)), 0, N(0), N(1));
    ir_edge idx = EDGE(ir_input_node(&f->g, INPUT_TOK, SYM_ROWS), 0, N(1), N(0));
    return ir_gather(&f->g, &sp, &base, 1, &idx, &n, &limit);
}

static void start(fixture *f) {
    *f = (fixture){.seed = 3};
    ir_init(&f->g, &f->mem);
    f->x = embed(f);
}

static void finish(fixture *f, ir_node *out) {
    tl_error err = {0};
    f->g.outputs[f->g.n_outputs++] = out;
    ir_rewrite(&f->g);
    ir_fuse_maps(&f->g);
    if (ir_verify(&f->g, &err) != TL_OK) fail_msg("%s", err.message);
}

static void test_watched_parts(void **state) { // a node that is kept or used elsewhere is not swallowed
    (void)state;
    for (int how = 0; how < 3; how++) {
        fixture f;
        start(&f);
        ir_node *n = toy_rms_norm(&f.g, f.x, toy_weight(&f.mem, "w", DT_F32, 1, 24, 1, &f.seed), 1e-5f);
        ir_node *root = NULL;
        for (ir_node *x = f.g.first; x; x = x->next)
            if (x->op == IR_MAP && x->sub == MAP_SQRT) root = x;
        assert_non_null(root);
        if (how == 1) root->keep = true;
        if (how == 2) f.g.outputs[f.g.n_outputs++] = root;
        finish(&f, n);
        assert_int_equal(count(&f.g, IR_RMS_NORM), how == 0);
        assert_int_equal(count(&f.g, IR_REDUCE), how != 0);
        arena_free(&f.mem);
    }
}

// (x - avg(x)) / sqrt(avg(..^2) + eps) * w + b; the average of other rows or of something else is left alone.
static ir_node *layer_norm(fixture *f, ir_node *averaged) {
    int64_t n = 24;
    ir_space rows = SPACE(SYM_ROWS, 1, P, n), all = SPACE(SYM_ROWS, 2, P, n);
    ir_edge whole = EDGE(averaged, 0, n, N(1));
    ir_edge sub[2] = {EDGE(f->x, 0, n, N(1)), EDGE(ir_reduce(&f->g, FOLD_AVG, &rows, &whole), 0, N(1), N(0))};
    ir_node *diff = ir_map(&f->g, MAP_SUB, &all, sub);
    ir_node *scaled = toy_rms_norm(&f->g, diff, toy_weight(&f->mem, "w", DT_F32, 1, 24, 1, &f->seed), 1e-5f);
    ir_edge add[2] = {EDGE(scaled, 0, n, N(1)), EDGE(ir_weight_node(&f->g, toy_weight(&f->mem, "b", DT_F32, 1, 24, 1, &f->seed)), 0, N(0), N(1))};
    return ir_map(&f->g, MAP_ADD, &all, add);
}

static void test_layer_norm(void **state) {
    (void)state;
    for (int how = 0; how < 3; how++) {
        fixture f;
        start(&f);
        ir_node *n = layer_norm(&f, how == 1 ? toy_map1(&f.g, MAP_NEG, f.x) : f.x);
        for (ir_node *x = f.g.first; x; x = x->next)
            if (how == 2 && x->op == IR_MAP && x->sub == MAP_SUB) x->keep = true;
        finish(&f, n);
        assert_int_equal(count(&f.g, IR_LAYER_NORM), how == 0);
        assert_int_equal(count(&f.g, IR_RMS_NORM), how != 0);
        assert_int_equal(count(&f.g, IR_REDUCE), how != 0);
        for (const ir_node *x = f.g.first; x; x = x->next)
            if (x->op == IR_LAYER_NORM) assert_true(x->n_in == 3 && x->u.norm.eps == 1e-5f);
        arena_free(&f.mem);
    }
}

static void test_fuse_limits(void **state) {
    (void)state;
    fixture f;
    start(&f);
    ir_node *x = f.x; // 40 operations: two programs of at most 24
    for (int i = 0; i < 40; i++) x = toy_map1(&f.g, i & 1 ? MAP_SIGMOID : MAP_NEG, x);
    finish(&f, x);
    assert_int_equal(count(&f.g, IR_MAP), 0);
    assert_int_equal(count(&f.g, IR_FUSED), 2);
    for (const ir_node *n = f.g.first; n; n = n->next) assert_true(n->op != IR_FUSED || n->u.fused.n <= 24);
    arena_free(&f.mem);
    start(&f);
    ir_node *sum = f.x; // 12 different inputs: no program reads more than 8
    for (int i = 0; i < 11; i++) sum = toy_map2(&f.g, MAP_ADD, sum, embed(&f));
    finish(&f, sum);
    assert_int_equal(count(&f.g, IR_MAP), 0);
    assert_int_equal(count(&f.g, IR_FUSED), 2);
    for (const ir_node *n = f.g.first; n; n = n->next) assert_true(n->op != IR_FUSED || n->n_in <= 8);
    arena_free(&f.mem);
}

static void test_fuse_labels(void **state) { // 24 = 4 * 6 = 3 * 8 have no common labels; 24 = 4 * 6 = 2 * 12 do
    (void)state;
    for (int h = 2; h <= 3; h++) {
        fixture f;
        start(&f);
        float *v = arena_array(&f.mem, float, 8);
        for (int i = 0; i < 8; i++) v[i] = toy_random(&f.seed);
        ir_node *k = ir_const(&f.g, DT_F32, v, 8);
        ir_space a = SPACE(SYM_ROWS, 3, P, N(4), N(6)), b = SPACE(SYM_ROWS, 3, P, h, N(24) / h);
        ir_edge one[2] = {EDGE(f.x, 0, N(24), N(6), N(1)), EDGE(k, 0, N(0), N(1), N(0))};
        ir_node *y = ir_map(&f.g, MAP_MUL, &a, one);
        ir_edge two[2] = {EDGE(y, 0, N(24), N(24) / h, N(1)), EDGE(k, 4, N(0), N(1), N(0))};
        finish(&f, ir_map(&f.g, MAP_ADD, &b, two));
        assert_int_equal(count(&f.g, IR_FUSED), h == 2);
        assert_int_equal(count(&f.g, IR_MAP), h == 2 ? 0 : 2);
        arena_free(&f.mem);
    }
}

static void test_deep(void **state) { // no recursion over the length of a program
    (void)state;
    fixture f;
    start(&f);
    ir_node *x = f.x;
    for (int i = 0; i < 30000; i++) x = toy_map2(&f.g, MAP_ADD, x, ir_scalar(&f.g, i + 1));
    finish(&f, x);
    assert_int_equal(count(&f.g, IR_MAP), 0);
    assert_in_range(count(&f.g, IR_FUSED), 30000 / 12, 30000 / 5);
    arena_free(&f.mem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transformer), cmocka_unit_test(test_watched_parts), cmocka_unit_test(test_layer_norm), cmocka_unit_test(test_fuse_limits), cmocka_unit_test(test_fuse_labels),
        cmocka_unit_test(test_deep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
