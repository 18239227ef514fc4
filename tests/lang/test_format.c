// test_format.c - the formatter: exact results (formatted.txt), and for every program at hand that formatting keeps the
// tree and the comments, and that a second run changes nothing.
#include <dirent.h>

#include "cases.h"
#include "lang/lex.h"

static void format_text(str text, sbuf *out) {
    source src = source_of("t.tl", text);
    arena a = {0};
    diag_list dl = {0};
    tl_status status = tl_format(&a, &src, &dl, out);
    if (status != TL_OK) {
        for (const diag *d = dl.first; d != NULL; d = d->next) diag_render(d, out, false);
        print_error("%.*s\n%s", (int)text.n, text.p, out->p);
    }
    assert_int_equal(status, TL_OK);
    arena_free(&a);
    source_free(&src);
}

static void dump_text(str text, sbuf *out) {
    source src = source_of("t.tl", text);
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    assert_int_equal(tl_parse(&a, &src, &dl, &prog), TL_OK);
    ast_dump(prog, out);
    arena_free(&a);
    source_free(&src);
}

// All comments of the text, one after the other.
static void comments_of(str text, sbuf *out) {
    source src = source_of("t.tl", text);
    arena a = {0};
    diag_list dl = {.a = &a};
    lexed lx = {0};
    assert_true(lex_source(&src, &dl, &lx));
    for (size_t i = 0; i < lx.comments.n; i++) {
        sbuf_put(out, src.text.p + lx.comments.p[i].begin, lx.comments.p[i].end - lx.comments.p[i].begin);
        sbuf_putc(out, '\n');
    }
    lex_free(&lx);
    arena_free(&a);
    source_free(&src);
}

static void assert_same(const sbuf *a, const sbuf *b, const char *what, str text) {
    if (a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0)) return;
    fail_msg("%s changed for:\n%.*s\n-- before\n%s\n-- after\n%s", what, (int)text.n, text.p, a->p ? a->p : "", b->p ? b->p : "");
}

static void check_laws(str text) {
    sbuf once = {0}, twice = {0}, tree = {0}, tree2 = {0}, notes = {0}, notes2 = {0};
    format_text(text, &once);
    str formatted = {once.p, once.n};
    format_text(formatted, &twice);
    assert_same(&once, &twice, "a formatted text", text);
    dump_text(text, &tree);
    dump_text(formatted, &tree2);
    assert_same(&tree, &tree2, "the tree", text);
    comments_of(text, &notes);
    comments_of(formatted, &notes2);
    assert_same(&notes, &notes2, "the comments", text);
    sbuf *all[] = {&once, &twice, &tree, &tree2, &notes, &notes2};
    for (size_t i = 0; i < 6; i++) sbuf_free(all[i]);
}

static void exact(void **state) {
    (void)state;
    run_cases(TEST_DIR "/formatted.txt", format_text, 8);
}

static void laws_of_cases(void **state) {
    (void)state;
    static const char *const files[] = {TEST_DIR "/accepted.txt", TEST_DIR "/formatted.txt"};
    for (int i = 0; i < 2; i++) {
        size_t n, at = 0;
        char *all = read_file(files[i], &n);
        for (test_case c; next_case((str){all, n}, &at, &c);) check_laws(c.text);
        mem_free(all);
    }
}

static int laws_of_folder(const char *path) {
    DIR *dir = opendir(path);
    int count = 0;
    if (dir == NULL) return 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        size_t len = strlen(e->d_name), n;
        char file[2048];
        if (len < 4 || strcmp(e->d_name + len - 3, ".tl") != 0) continue;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        char *text = read_file(file, &n);
        check_laws((str){text, n});
        mem_free(text);
        count++;
    }
    closedir(dir);
    return count;
}

static void laws_of_programs(void **state) {
    (void)state;
    laws_of_folder(REPO_DIR "/models");
    laws_of_folder(REPO_DIR "/std");
    laws_of_folder(REPO_DIR "/examples");
    assert_true(laws_of_folder(TEST_DIR "/programs") >= 2);
}

// The examples between ```tl and ``` of a page.
static int laws_of_page(const char *path) {
    size_t n;
    int count = 0;
    char *text = read_file(path, &n);
    for (char *p = text, *end; (p = strstr(p, "\n```tl\n")) != NULL; p = end + 4, count++) {
        p += 7;
        end = strstr(p, "\n```");
        assert_non_null(end);
        check_laws((str){p, (size_t)(end + 1 - p)});
    }
    mem_free(text);
    return count;
}

static void laws_of_docs(void **state) {
    (void)state;
    assert_true(laws_of_page(REPO_DIR "/docs/language-grammar.md") >= 6);
    assert_true(laws_of_page(REPO_DIR "/docs/language.md") >= 6);
}

// Any line break that may stand between two tokens, and any comment, keeps the tree.
static void comments_between_tokens(void **state) {
    (void)state;
    static const char good[] = "fn f(x: int[?], y: q) -> int {\n"
                               "    let a[i, (g r), s] = -x[1:, *t + 1].b (c) * max[i](d[{\"e\": [1, 2]}])\n"
                               "}\nR(a)?\nb max= 2; c or= 3\nS(x) <- not R(x)\n";
    source src = source_of("t.tl", str_of(good));
    arena a = {0};
    diag_list dl = {.a = &a};
    lexed lx = {0};
    assert_true(lex_source(&src, &dl, &lx));
    static const char *const put[] = {" /* c */ ", " // c\n", "\n", "\n\n\n// c\n", "/* a\nb */"};
    int tried = 0;
    for (size_t i = 0; i < lx.toks.n; i++) {
        for (size_t k = 0; k < sizeof put / sizeof *put; k++) {
            sbuf b = {0};
            sbuf_put(&b, good, lx.toks.p[i].begin);
            sbuf_puts(&b, put[k]);
            sbuf_puts(&b, good + lx.toks.p[i].begin);
            source changed = source_of("t.tl", (str){b.p, b.n});
            arena a2 = {0};
            diag_list dl2 = {0};
            ast_program *prog;
            if (tl_parse(&a2, &changed, &dl2, &prog) == TL_OK) {
                check_laws((str){b.p, b.n});
                tried++;
            }
            arena_free(&a2);
            source_free(&changed);
            sbuf_free(&b);
        }
    }
    assert_true(tried > 100);
    lex_free(&lx);
    arena_free(&a);
    source_free(&src);
}

static void wrong_program(void **state) {
    (void)state;
    source src = source_of("t.tl", STR("x = (1\n"));
    arena a = {0};
    diag_list dl = {0};
    sbuf out = {0};
    assert_int_equal(tl_format(&a, &src, &dl, &out), TL_E_PROGRAM);
    assert_int_equal(dl.errors, 1);
    assert_int_equal(out.n, 0);
    arena_free(&a);
    source_free(&src);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(exact), cmocka_unit_test(laws_of_cases), cmocka_unit_test(laws_of_programs),
                                       cmocka_unit_test(laws_of_docs),
                                       cmocka_unit_test(comments_between_tokens), cmocka_unit_test(wrong_program)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
