// test_lex.c - numbers, escapes, characters, token positions.
#include "cases.h"
#include "lang/lex.h"

static void ints(void **state) {
    (void)state;
    int64_t v = 0;
    assert_true(literal_int(STR("0"), false, &v) && v == 0);
    assert_true(literal_int(STR("1_000"), false, &v) && v == 1000);
    assert_true(literal_int(STR("0xFf"), false, &v) && v == 255);
    assert_true(literal_int(STR("0b101"), false, &v) && v == 5);
    assert_true(literal_int(STR("9223372036854775807"), false, &v) && v == INT64_MAX);
    assert_false(literal_int(STR("9223372036854775808"), false, &v));
    assert_true(literal_int(STR("9223372036854775808"), true, &v) && v == INT64_MIN);
    assert_false(literal_int(STR("9223372036854775809"), true, &v));
    assert_false(literal_int(STR("0xFFFFFFFFFFFFFFFFF"), false, &v));
    assert_false(literal_int(STR("99999999999999999999999999"), false, &v));
}

static void floats(void **state) {
    (void)state;
    arena a = {0};
    double f = 0;
    assert_true(literal_float(&a, STR("1.5"), &f) && f == 1.5);
    assert_true(literal_float(&a, STR(".5e-3"), &f) && f == 0.0005);
    assert_true(literal_float(&a, STR("1_0.2_5"), &f) && f == 10.25);
    assert_true(literal_float(&a, STR("5e-324"), &f) && f > 0);
    assert_false(literal_float(&a, STR("1e309"), &f));
    arena_free(&a);
}

static void escapes(void **state) {
    (void)state;
    static const struct { const char *text, *out; size_t n, used; } good[] = {
        {"\\n", "\n", 1, 2}, {"\\t", "\t", 1, 2}, {"\\0", "\0", 1, 2}, {"\\\\", "\\", 1, 2}, {"\\\"", "\"", 1, 2}, {"\\{", "{{", 2, 2},
        {"\\}", "}}", 2, 2}, {"\\x41z", "A", 1, 4}, {"\\xff", "\xff", 1, 4}, {"\\u{e9}", "\xC3\xA9", 2, 6}, {"\\u{1F600}", "\xF0\x9F\x98\x80", 4, 9},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        char out[8];
        size_t at = 0, n = 0;
        assert_null(literal_escape(str_of(good[i].text), &at, out, &n));
        assert_int_equal(n, good[i].n);
        assert_memory_equal(out, good[i].out, n);
        assert_int_equal(at, good[i].used);
    }
    static const char *const bad[] = {"\\q", "\\", "\\x4", "\\xg0", "\\u41", "\\u{}", "\\u{1234567}", "\\u{d800}", "\\u{110000}", "\\u{41"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char out[8];
        size_t at = 0, n = 0;
        assert_non_null(literal_escape(str_of(bad[i]), &at, out, &n));
    }
}

static void utf8(void **state) {
    (void)state;
    static const uint32_t points[] = {0x24, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFD, 0x10000, 0x10FFFF};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
        char b[4];
        uint32_t cp = 0;
        int n = lex_utf8_put(points[i], b);
        assert_true(n > 0);
        assert_int_equal(utf8_get(b, b + n, &cp), n);
        assert_int_equal(cp, points[i]);
        if (n > 1) assert_int_equal(utf8_get(b, b + n - 1, &cp), 0); // cut off
    }
    static const char *const bad[] = {"\x80",             "\xC0\x80",         "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                                      "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF8", "\xC3("};
    uint32_t cp;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(utf8_get(bad[i], bad[i] + strlen(bad[i]), &cp), 0);
}

static void classes(void **state) {
    (void)state;
    static const uint32_t yes[] = {'a', 'Z', '_', 0xE9, 0x3B1, 0x416, 0x5D0, 0x65E5, 0x2080, 0xAC00, 0x1D44E};
    static const uint32_t no[] = {'0', ' ', '\'', '-', 0xA0, 0xD7, 0xF7, 0x2019, 0x2032, 0x2192, 0x2264, 0x3000, 0x3002, 0x1F600, 0xFEFF};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(char_is_letter(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(char_is_letter(no[i]));
    assert_int_equal(char_width('a'), 1);
    assert_int_equal(char_width(0xE9), 1);
    assert_int_equal(char_width(0x301), 0);
    assert_int_equal(char_width(0x65E5), 2);
    assert_int_equal(char_width(0x1F600), 2);
}

// Kinds, "first on its line" and "space before" of a line of tokens.
static void tokens(void **state) {
    (void)state;
    source src = source_of("t.tl", STR("x' -1.5e3..a /* c */ b // end\n/* two\nlines */ <- \"s\\\"\" 1.foo"));
    arena a = {0};
    diag_list dl = {.a = &a};
    lexed lx = {0};
    assert_true(lex_source(&src, &dl, &lx));
    static const struct { tk_kind kind; const char *text; bool nl, space; } want[] = {
        {TK_NAME, "x'", false, false}, {TK_MINUS, "-", false, true}, {TK_FLOAT, "1.5e3", false, false}, {TK_DOT, ".", false, false},
        {TK_DOT, ".", false, false}, {TK_NAME, "a", false, false}, {TK_NAME, "b", false, true}, {TK_LT, "<", true, true},
        {TK_MINUS, "-", false, false}, {TK_STRING, "\"s\\\"\"", false, true}, {TK_INT, "1", false, true}, {TK_DOT, ".", false, false},
        {TK_NAME, "foo", false, false}, {TK_END, "", true, false},
    };
    assert_int_equal(dl.errors, 0);
    assert_int_equal(lx.toks.n, sizeof want / sizeof *want);
    for (size_t i = 0; i < lx.toks.n; i++) {
        const token *t = &lx.toks.p[i];
        assert_int_equal(t->kind, want[i].kind);
        assert_true(str_is((str){src.text.p + t->begin, t->end - t->begin}, want[i].text));
        assert_int_equal(t->nl, want[i].nl);
        assert_int_equal(t->space, want[i].space);
    }
    assert_int_equal(lx.comments.n, 3);
    assert_false(lx.comments.p[1].own_line);
    assert_true(lx.comments.p[2].own_line);
    lex_free(&lx);
    arena_free(&a);
    source_free(&src);
}

static void brackets(void **state) {
    (void)state;
    source src = source_of("t.tl", STR("( [ ) ] { ( } )"));
    arena a = {0};
    diag_list dl = {.a = &a};
    lexed lx = {0};
    assert_true(lex_source(&src, &dl, &lx));
    static const uint32_t want[] = {2, LEX_NONE, 0, LEX_NONE, 6, LEX_NONE, 4, LEX_NONE, LEX_NONE};
    for (size_t i = 0; i < lx.toks.n; i++) assert_int_equal(lx.toks.p[i].match, want[i]);
    lex_free(&lx);
    arena_free(&a);
    source_free(&src);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(ints), cmocka_unit_test(floats), cmocka_unit_test(escapes), cmocka_unit_test(utf8),
                                       cmocka_unit_test(classes), cmocka_unit_test(tokens), cmocka_unit_test(brackets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
