// test_memory.c - every allocation of the front end fails once: no crash, no leak, and TL_E_MEMORY says so.
#include "cases.h"

static const char program[] =
    "#!/usr/bin/env tl\n"
    "import \"x.tl\"\n"
    "dim e = 4, f = 5 // sizes\n"
    "relation R(a: entity, b: entity)\n"
    "R(A, B)\n"
    "S(a) <- R(a, b), not a == b\n"
    "fn f(x: float32[e], n: int) -> float32[e] {\n"
    "    let s = \"v {x[0]} and {n + 1}\\n\"\n"
    "    for i in range(n) { x[e] += W[e, f] x[f] } // comment\n"
    "    result := {\"a\": [1, 2.5], \"b\": sum[i](x[i])}\n"
    "}\n"
    "A[p, s.] = softmax(Q[p, :] K[s]) where S(s)\n";
static const char wrong[] = "let = 1\nx = (2\nfn f(a b) { }\ny = 'q'\nprint \"x\"\n";

typedef tl_status (*step)(arena *a, const source *src, diag_list *dl, sbuf *out);

static tl_status parse_step(arena *a, const source *src, diag_list *dl, sbuf *out) {
    ast_program *prog;
    tl_status status = tl_parse(a, src, dl, &prog);
    if (status == TL_OK) ast_dump(prog, out);
    return out->failed ? TL_E_MEMORY : status;
}

static void fail_each(const char *text, step run, tl_status want) {
    source src = source_of("m.tl", str_of(text));
    bool failed = true;
    int64_t n = 0;
    for (; failed && n < 100000; n++) {
        arena a = {0};
        diag_list dl = {0};
        sbuf out = {0};
        mem_fail_after(n);
        tl_status status = run(&a, &src, &dl, &out);
        mem_fail_after(-1);
        failed = status == TL_E_MEMORY;
        if (!failed) assert_int_equal(status, want);
        arena_free(&a);
        sbuf_free(&out);
    }
    assert_false(failed);
    assert_true(n > 3); // several allocations did fail
    source_free(&src);
}

static void parsing(void **state) {
    (void)state;
    fail_each(program, parse_step, TL_OK);
}

static void formatting(void **state) {
    (void)state;
    fail_each(program, tl_format, TL_OK);
}

static void messages(void **state) {
    (void)state;
    fail_each(wrong, parse_step, TL_E_PROGRAM);
}

// The arena's own limit is an allocation that fails, too; the caller's handler is put back.
static void on_fail(void *ctx, size_t size) {
    (void)ctx, (void)size;
    fail();
}

static void arena_limit(void **state) {
    (void)state;
    sbuf text = {0};
    for (int i = 0; i < 20000; i++) sbuf_puts(&text, "x = a + b\n");
    source src = source_of("m.tl", (str){text.p, text.n});
    arena a = {.limit = 1 << 20, .on_fail = on_fail};
    diag_list dl = {0};
    ast_program *prog;
    assert_int_equal(tl_parse(&a, &src, &dl, &prog), TL_E_MEMORY);
    assert_true(a.on_fail == on_fail);
    arena_free(&a);
    source_free(&src);
    sbuf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parsing), cmocka_unit_test(formatting), cmocka_unit_test(messages),
                                       cmocka_unit_test(arena_limit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
