// The verifier: each invariant, broken on purpose, is found and the node is shown.
#include "toy.h"

static toy_model m;

static ir_node *find(ir_op op) {
    for (ir_node *n = m.g.first; n; n = n->next)
        if (n->op == op) return n;
    fail_msg("no %s", ir_op_name(op));
    return NULL;
}

static void expect(const char *what, const char *shown) {
    tl_error err = {0};
    assert_int_equal(ir_verify(&m.g, &err), TL_E_PROGRAM);
    if (!strstr(err.message, what) || !strstr(err.message, shown)) fail_msg("`%s` has no `%s` or `%s`", err.message, what, shown);
}

static int build(void **state) {
    (void)state;
    toy_build(&m, &toy_small);
    return 0;
}

static int done(void **state) {
    (void)state;
    toy_free(&m);
    return 0;
}

static void test_offset(void **state) {
    (void)state;
    find(IR_RMS_NORM)->in[0].offset = 1;
    expect("outside", "RMS_NORM");
}

static void test_stride(void **state) {
    (void)state;
    find(IR_LINEAR)->in[0].stride[0] += 64;
    expect("row stride", "LINEAR");
}

static void test_negative(void **state) {
    (void)state;
    find(IR_MAP)->in[0].offset = -1;
    expect("outside", "MAP");
}

static void test_size(void **state) {
    (void)state;
    find(IR_RMS_NORM)->size[1] = 0;
    expect("axis without elements", "RMS_NORM");
}

static void test_inner(void **state) {
    (void)state;
    find(IR_RMS_NORM)->inner++;
    expect("element count", "RMS_NORM");
}

static void test_arity(void **state) {
    (void)state;
    find(IR_ROPE)->n_in = 1;
    expect("number of inputs", "ROPE");
}

static void test_program(void **state) {
    (void)state;
    ir_node *f = find(IR_FUSED);
    f->u.fused.code[0].arg = 8;
    expect("push", "FUSED");
    f->u.fused.code[0].arg = 0;
    f->u.fused.n--;
    expect("single value", "FUSED");
    f->u.fused.n++;
    f->u.fused.code[0] = (ir_fused){MAP_ADD, 0};
    expect("without operands", "FUSED");
}

static void test_order(void **state) {
    (void)state;
    ir_node *n = find(IR_RMS_NORM);
    n->in[0].node = n;
    expect("does not come before", "RMS_NORM");
}

static void test_rows(void **state) {
    (void)state;
    ir_node *n = find(IR_RMS_NORM);
    n->sym = SYM_OUT;
    expect("rows", "RMS_NORM");
}

static void test_ids(void **state) {
    (void)state;
    find(IR_RMS_NORM)->id = find(IR_ROPE)->id;
    tl_error err = {0};
    assert_int_equal(ir_verify(&m.g, &err), TL_E_PROGRAM);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_offset, build, done), cmocka_unit_test_setup_teardown(test_stride, build, done),
        cmocka_unit_test_setup_teardown(test_negative, build, done), cmocka_unit_test_setup_teardown(test_size, build, done),
        cmocka_unit_test_setup_teardown(test_inner, build, done), cmocka_unit_test_setup_teardown(test_arity, build, done),
        cmocka_unit_test_setup_teardown(test_program, build, done), cmocka_unit_test_setup_teardown(test_order, build, done),
        cmocka_unit_test_setup_teardown(test_rows, build, done), cmocka_unit_test_setup_teardown(test_ids, build, done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
