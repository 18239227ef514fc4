// test_parse.c - what programs parse to (accepted.txt) and which messages wrong ones get (rejected.txt). After a
// wanted change: TL_UPDATE=1 build/.../test_lang_parse, and read the difference.
#include "cases.h"

static void run_accepted(str text, sbuf *out) {
    source src = source_of("t.tl", text);
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    tl_status status = tl_parse(&a, &src, &dl, &prog);
    for (const diag *d = dl.first; d != NULL; d = d->next) diag_render(d, out, false);
    assert_int_equal(status, dl.errors > 0 ? TL_E_PROGRAM : TL_OK);
    assert_non_null(prog);
    ast_dump(prog, out);
    arena_free(&a);
    source_free(&src);
}

static void run_rejected(str text, sbuf *out) {
    source src = source_of("t.tl", text);
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    assert_int_equal(tl_parse(&a, &src, &dl, &prog), TL_E_PROGRAM);
    assert_true(dl.errors > 0);
    for (const diag *d = dl.first; d != NULL; d = d->next) diag_render(d, out, false);
    arena_free(&a);
    source_free(&src);
}

static void accepted(void **state) {
    (void)state;
    run_cases(TEST_DIR "/accepted.txt", run_accepted, 40);
}

static void rejected(void **state) {
    (void)state;
    run_cases(TEST_DIR "/rejected.txt", run_rejected, 60);
}

// ---- limits ------------------------------------------------------------------------------------
static tl_status parse_status(const char *text, size_t n, char *message, size_t cap) {
    source src = source_of("t.tl", (str){text, n});
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    tl_status status = tl_parse(&a, &src, &dl, &prog);
    snprintf(message, cap, "%s", dl.first ? dl.first->text : "");
    arena_free(&a);
    source_free(&src);
    return status;
}

static void expect_limit(const char *head, const char *part, int times, const char *tail, tl_status want, const char *message) {
    sbuf b = {0};
    char got[300];
    sbuf_puts(&b, head);
    for (int i = 0; i < times; i++) sbuf_puts(&b, part);
    sbuf_puts(&b, tail);
    assert_int_equal(parse_status(b.p, b.n, got, sizeof got), want);
    assert_string_equal(got, message);
    sbuf_free(&b);
}

static void limits(void **state) {
    (void)state;
    const char *deep = "nested too deeply (the limit is 200 levels)", *tall = "this expression is too long (more than 800 operations deep)";
    expect_limit("x = ", "(", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("x = ", "[", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("x = ", "-", 100000, "1", TL_E_PROGRAM, deep);
    expect_limit("x = ", "not ", 100000, "1", TL_E_PROGRAM, deep);
    expect_limit("x = ", "2^", 100000, "1", TL_E_PROGRAM, deep);
    expect_limit("x = ", "f(", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("x = ", "a[", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("x = ", "{1:", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("", "{", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("", "if x { ", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("if x { }", " else if x { }", 100000, "", TL_E_PROGRAM, deep);
    expect_limit("x = a", " + a", 100000, "", TL_E_PROGRAM, tall);
    expect_limit("x = a", " a", 100000, "", TL_E_PROGRAM, tall);
    expect_limit("x = a", ".b", 100000, "", TL_E_PROGRAM, tall);
    expect_limit("x = a", "[1]", 100000, "", TL_E_PROGRAM, tall);
    expect_limit("x = a", " + a", 700, "", TL_OK, "");
    expect_limit("x = ", "(", 190, "1", TL_E_PROGRAM, "'(' is never closed");
    expect_limit("x = [1", ",1", 100000, "]", TL_OK, "");
    expect_limit("", "x = 1\n", 20000, "", TL_OK, "");
    expect_limit("fn f(a0: int", ", a: int", 200, ") { }", TL_E_PROGRAM, "the function has two parameters named 'a'");
}

// No more errors than the limit are listed, but all are counted.
static void error_limit(void **state) {
    (void)state;
    sbuf b = {0};
    for (int i = 0; i < 100; i++) sbuf_puts(&b, "let = 1\n");
    source src = source_of("t.tl", (str){b.p, b.n});
    arena a = {0};
    diag_list dl = {.limit = 5};
    ast_program *prog = NULL;
    assert_int_equal(tl_parse(&a, &src, &dl, &prog), TL_E_PROGRAM);
    int listed = 0;
    for (const diag *d = dl.first; d != NULL; d = d->next) listed++;
    assert_int_equal(listed, 5);
    assert_int_equal(dl.errors, 100);
    arena_free(&a);
    source_free(&src);
    sbuf_free(&b);
}

// The pieces of a string with {expressions} carry their own places.
static void hole_spans(void **state) {
    (void)state;
    source src = source_of("t.tl", STR("print(\"a{ x }b{xy + 1}\")"));
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    assert_int_equal(tl_parse(&a, &src, &dl, &prog), TL_OK);
    const ast_expr *s = prog->items->expr->kids->next;
    assert_int_equal(s->kind, EX_STRING);
    assert_true(str_is(s->name, "a{ x }b{xy + 1}"));
    assert_int_equal(s->n_kids, 2); // "a{ x }b" is plain: a hole begins with a letter
    const ast_expr *sum = s->kids->next;
    assert_int_equal(sum->kind, EX_BINARY);
    assert_int_equal(sum->at.begin, 15);
    assert_int_equal(sum->at.end, 21);
    arena_free(&a);
    source_free(&src);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(accepted), cmocka_unit_test(rejected), cmocka_unit_test(limits),
                                       cmocka_unit_test(error_limit), cmocka_unit_test(hole_spans)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
