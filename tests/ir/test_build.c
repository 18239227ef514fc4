// Constructors: equal computations become one node, constants fold, scalars simplify.
#include "toy.h"

typedef struct fixture {
    arena mem;
    ir_graph g;
    uint64_t seed;
    ir_node *x, *y; // [p, 24]
} fixture;

static void start(fixture *f) {
    *f = (fixture){.seed = 3};
    ir_init(&f->g, &f->mem);
    ir_node *tok = ir_input_node(&f->g, INPUT_TOK, SYM_ROWS);
    int64_t n = 24, limit = 10;
    ir_space sp = SPACE(SYM_ROWS, 2, P, n);
    for (int i = 0; i < 2; i++) {
        ir_weight *w = toy_weight(&f->mem, "t", DT_F32, 10, 24, 1, &f->seed);
        ir_edge base = EDGE(ir_weight_node(&f->g, w), 0, N(0), N(1)), idx = EDGE(tok, 0, N(1), N(0));
        *(i ? &f->y : &f->x) = ir_gather(&f->g, &sp, &base, 1, &idx, &n, &limit);
    }
}

static void test_one_node(void **state) { // written over [p, e], [p, (h d)] or with axes of one: the same node
    (void)state;
    fixture f;
    start(&f);
    ir_space flat = SPACE(SYM_ROWS, 2, P, N(24)), heads = SPACE(SYM_ROWS, 3, P, N(4), N(6)), ones = SPACE(SYM_ROWS, 5, P, N(1), N(4), N(1), N(6));
    ir_edge a[2] = {EDGE(f.x, 0, N(24), N(1)), EDGE(f.y, 0, N(24), N(1))};
    ir_edge b[2] = {EDGE(f.x, 0, N(24), N(6), N(1)), EDGE(f.y, 0, N(24), N(6), N(1))};
    ir_edge c[2] = {EDGE(f.x, 0, N(24), N(7), N(6), N(9), N(1)), EDGE(f.y, 0, N(24), N(0), N(6), N(0), N(1))};
    ir_node *n = ir_map(&f.g, MAP_ADD, &flat, a);
    assert_ptr_equal(n, ir_map(&f.g, MAP_ADD, &heads, b));
    assert_ptr_equal(n, ir_map(&f.g, MAP_ADD, &ones, c));
    ir_edge turned[2] = {EDGE(f.x, 0, N(24), N(1), N(4)), EDGE(f.y, 0, N(24), N(6), N(1))}; // not the same
    assert_ptr_not_equal(n, ir_map(&f.g, MAP_ADD, &heads, turned));
    assert_int_equal(n->nout, 2);
    assert_int_equal(n->inner, 24);
    arena_free(&f.mem);
}

static void test_contraction_labels(void **state) { // folded labels merge and are ordered
    (void)state;
    fixture f;
    start(&f);
    ir_weight *w = toy_weight(&f.mem, "w", DT_F32, 5, 24, 1, &f.seed);
    ir_node *wn = ir_weight_node(&f.g, w);
    ir_space flat = SPACE(SYM_ROWS, 2, P, N(5), N(24)), split = SPACE(SYM_ROWS, 2, P, N(5), N(4), N(6)), swapped = SPACE(SYM_ROWS, 2, P, N(5), N(6), N(4));
    ir_edge a = EDGE(f.x, 0, N(24), N(0), N(1)), b = EDGE(wn, 0, N(0), N(24), N(1));
    ir_edge c = EDGE(f.x, 0, N(24), N(0), N(6), N(1)), d = EDGE(wn, 0, N(0), N(24), N(6), N(1));
    ir_edge e = EDGE(f.x, 0, N(24), N(0), N(1), N(6)), h = EDGE(wn, 0, N(0), N(24), N(1), N(6));
    ir_node *n = ir_einsum(&f.g, &flat, &a, &b);
    assert_ptr_equal(n, ir_einsum(&f.g, &split, &c, &d));
    assert_ptr_equal(n, ir_einsum(&f.g, &swapped, &e, &h));
    arena_free(&f.mem);
}

static void test_scalars(void **state) {
    (void)state;
    fixture f;
    start(&f);
    ir_graph *g = &f.g;
    ir_node *x = f.x;
    double v;
    assert_ptr_equal(toy_map2(g, MAP_ADD, x, ir_scalar(g, 0)), x);
    assert_ptr_equal(toy_map2(g, MAP_MUL, x, ir_scalar(g, 1)), x);
    assert_ptr_equal(toy_map2(g, MAP_POW, x, ir_scalar(g, 1)), x);
    assert_ptr_equal(toy_map2(g, MAP_DIV, x, ir_scalar(g, 4)), toy_map2(g, MAP_MUL, x, ir_scalar(g, 0.25)));
    assert_ptr_equal(toy_map2(g, MAP_POW, x, ir_scalar(g, 2)), toy_map1(g, MAP_SQUARE, x));
    assert_ptr_not_equal(toy_map2(g, MAP_DIV, x, ir_scalar(g, 0)), x);
    assert_true(ir_is_scalar_const(toy_map2(g, MAP_SUB, ir_scalar(g, 5), ir_scalar(g, 3)), &v));
    assert_true(v == 2);
    ir_space sp = SPACE(SYM_ROWS, 2, P, N(24));
    ir_edge turned[2] = {{.node = ir_scalar(g, 3)}, EDGE(x, 0, N(24), N(1))};
    assert_ptr_equal(ir_map(g, MAP_MUL, &sp, turned), toy_map2(g, MAP_MUL, x, ir_scalar(g, 3)));
    assert_ptr_not_equal(ir_map(g, MAP_SUB, &sp, turned), toy_map2(g, MAP_SUB, x, ir_scalar(g, 3)));
    arena_free(&f.mem);
}

static void test_constants(void **state) { // arrays known now are computed now
    (void)state;
    fixture f;
    start(&f);
    float *v = arena_array(&f.mem, float, 6);
    for (int i = 0; i < 6; i++) v[i] = (float)i;
    ir_space sp = SPACE(SYM_NONE, 2, N(3), N(2));
    ir_edge e[2] = {EDGE(ir_const(&f.g, DT_F32, v, 6), 0, N(1), N(3)), EDGE(ir_iota(&f.g, 3), 0, N(1), N(0))};
    ir_node *n = ir_map(&f.g, MAP_MUL, &sp, e);
    assert_int_equal(n->op, IR_CONST);
    static const float want[6] = {0, 0, 1, 4, 4, 10};
    assert_memory_equal(n->u.k.data, want, sizeof want);
    arena_free(&f.mem);
}

static void test_print(void **state) {
    (void)state;
    fixture f;
    start(&f);
    ir_space sp = SPACE(SYM_ROWS, 1, P, N(20));
    ir_edge e = EDGE(toy_map1(&f.g, MAP_ABS, f.x), 2, N(24), N(1));
    f.g.outputs[f.g.n_outputs++] = ir_reduce(&f.g, FOLD_MAX, &sp, &e);
    ir_rewrite(&f.g);
    sbuf b = {0};
    ir_print(&f.g, &b);
    assert_string_equal(b.p, "%0 = INPUT I32 [p] tok\n"
                             "%1 = WEIGHT [240] t\n"
                             "%2 = EMBED [p, 24] t (%0<1 0>, %1<0 1>)\n"
                             "%3 = MAP [p, 24] ABS (%2<24 1>)\n"
                             "%4 = REDUCE [p | 20] max (%3+2<24 1>)\n"
                             "output 0: %4\n");
    sbuf_free(&b);
    arena_free(&f.mem);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_node), cmocka_unit_test(test_contraction_labels), cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_constants), cmocka_unit_test(test_print),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
