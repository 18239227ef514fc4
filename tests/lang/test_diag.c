// test_diag.c - how problems are shown: places, carets, tabs, wide characters, long lines, colour, JSON, near names.
#include "cases.h"

static source src_of(const char *text) { return (source){.name = "d.tl", .dir = "", .text = str_of(text)}; }

static void expect_render(const source *src, uint32_t begin, uint32_t end, const char *want) {
    arena a = {0};
    diag_list dl = {.a = &a};
    sbuf out = {0};
    diag_add(&dl, DG_ERROR, (span){src, begin, end}, "m");
    diag_render(dl.first, &out, false);
    assert_string_equal(out.p, want);
    sbuf_free(&out);
    arena_free(&a);
}

static void carets(void **state) {
    (void)state;
    source s = src_of("abc\n\txy = 1\n\xE6\x97\xA5\xC3\xA9 z\nlast");
    expect_render(&s, 0, 3, "d.tl:1:1: error: m\n    1 | abc\n      | ^~~\n");
    expect_render(&s, 3, 3, "d.tl:1:4: error: m\n    1 | abc\n      |    ^\n");
    expect_render(&s, 5, 7, "d.tl:2:2: error: m\n    2 |     xy = 1\n      |     ^~\n");
    expect_render(&s, 18, 19, "d.tl:3:4: error: m\n    3 | \xE6\x97\xA5\xC3\xA9 z\n      |     ^\n");
    expect_render(&s, 12, 17, "d.tl:3:1: error: m\n    3 | \xE6\x97\xA5\xC3\xA9 z\n      | ^~~\n");
    expect_render(&s, 0, 24, "d.tl:1:1: error: m\n    1 | abc\n      | ^~~\n"); // over lines: the first one
    expect_render(&s, 24, 24, "d.tl:4:5: error: m\n    4 | last\n      |     ^\n");
    expect_render(&s, 9999, 9999, "d.tl:4:5: error: m\n    4 | last\n      |     ^\n");
    source empty = src_of("");
    expect_render(&empty, 0, 0, "d.tl:1:1: error: m\n    1 | \n      | ^\n");
    source odd = src_of("a\r\nb\rc\x01\xFF");
    expect_render(&odd, 5, 6, "d.tl:3:1: error: m\n    3 | c\xEF\xBF\xBD\xEF\xBF\xBD\n      | ^\n");
}

static void long_line(void **state) {
    (void)state;
    sbuf text = {0};
    for (int i = 0; i < 1000; i++) sbuf_printf(&text, "%d", i % 10);
    source s = src_of(text.p);
    arena a = {0};
    diag_list dl = {.a = &a};
    sbuf out = {0};
    diag_add(&dl, DG_ERROR, (span){&s, 500, 502}, "m");
    diag_render(dl.first, &out, false);
    const char *line = strstr(out.p, "  1 | "), *mark = strstr(line, "\n      | ");
    assert_non_null(mark);
    size_t caret = strcspn(mark + 1, "^");
    assert_int_equal(line[caret - 2], '0'); // "    1 | " and "      | " are both 8 wide; line starts 2 in
    assert_int_equal(line[caret - 1], '1');
    assert_true(mark - line < 180);
    assert_non_null(strstr(line, "...\n"));
    sbuf_free(&out);
    sbuf_free(&text);
    arena_free(&a);
}

static void whole(void **state) {
    (void)state;
    source s = src_of("x = y\nz = \"q\"\n");
    arena a = {0};
    diag_list dl = {.a = &a};
    sbuf out = {0};
    diag *d = diag_add(&dl, DG_WARNING, (span){&s, 4, 5}, "no %s", "y");
    diag_note(&dl, d, (span){&s, 6, 7}, "z is \"here\"");
    diag_note(&dl, d, (span){0}, "nowhere");
    diag_fix(&dl, d, "write z");
    diag_render(d, &out, false);
    assert_string_equal(out.p, "d.tl:1:5: warning: no y\n    1 | x = y\n      |     ^\n"
                               "d.tl:2:1: note: z is \"here\"\n    2 | z = \"q\"\n      | ^\n"
                               "note: nowhere\nhelp: write z\n");
    out.n = 0;
    diag_render(d, &out, true);
    assert_non_null(strstr(out.p, "\033[1;35mwarning:\033[0m no y\n"));
    assert_non_null(strstr(out.p, "\033[1;35m^\033[0m\n"));
    out.n = 0;
    diag_render_json(d, &out);
    assert_string_equal(out.p, "{\"level\":\"warning\",\"message\":\"no y\",\"file\":\"d.tl\",\"line\":1,\"col\":5,\"end_line\":1,\"end_col\":6,"
                               "\"help\":\"write z\",\"notes\":[{\"message\":\"z is \\\"here\\\"\",\"file\":\"d.tl\",\"line\":2,\"col\":1,"
                               "\"end_line\":2,\"end_col\":2},{\"message\":\"nowhere\"}]}\n");
    assert_int_equal(dl.warnings, 1);
    assert_int_equal(dl.errors, 0);
    sbuf_free(&out);
    arena_free(&a);
}

static void json_bytes(void **state) {
    (void)state;
    source s = {.name = "a\x01\xFF\\.tl", .dir = "", .text = STR("x")};
    arena a = {0};
    diag_list dl = {.a = &a};
    sbuf out = {0};
    diag_render_json(diag_add(&dl, DG_ERROR, (span){&s, 0, 1}, "\xC3\xA9\n"), &out);
    assert_string_equal(out.p, "{\"level\":\"error\",\"message\":\"\xC3\xA9\\u000a\",\"file\":\"a\\u0001\\ufffd\\\\.tl\",\"line\":1,\"col\":1,"
                               "\"end_line\":1,\"end_col\":2,\"notes\":[]}\n");
    sbuf_free(&out);
    arena_free(&a);
}

static void near_names(void **state) {
    (void)state;
    static const str names[] = {{"softmax", 7}, {"rms_norm", 8}, {"sum", 3}, {"x", 1}, {"attention", 9}};
    char buf[16];
    assert_string_equal(diag_nearest(STR("sofmax"), names, 5, buf, sizeof buf), "softmax");
    assert_string_equal(diag_nearest(STR("rmsnorm"), names, 5, buf, sizeof buf), "rms_norm");
    assert_string_equal(diag_nearest(STR("atention"), names, 5, buf, sizeof buf), "attention");
    assert_string_equal(diag_nearest(STR("smu"), names, 5, buf, sizeof buf), "sum"); // swapped letters
    assert_null(diag_nearest(STR("y"), names, 5, buf, sizeof buf));
    assert_null(diag_nearest(STR("matmul"), names, 5, buf, sizeof buf));
    assert_null(diag_nearest(STR(""), names, 5, buf, sizeof buf));
    assert_null(diag_nearest(STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), names, 5, buf, sizeof buf));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(carets), cmocka_unit_test(long_line), cmocka_unit_test(whole),
                                       cmocka_unit_test(json_bytes), cmocka_unit_test(near_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
