// cases.h - test cases kept in one text file: "==== name", the program, "----", the expected text.
#ifndef TESTS_LANG_CASES_H
#define TESTS_LANG_CASES_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lang/ast.h"

typedef struct test_case { str name, text, expected; } test_case;

static inline char *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail_msg("cannot open %s", path);
    sbuf b = {0};
    char part[4096];
    for (size_t got; (got = fread(part, 1, sizeof part, f)) > 0;) sbuf_put(&b, part, got);
    fclose(f);
    *n = b.n;
    sbuf_put(&b, "", 0);
    return b.p;
}

// An exact copy on the heap, so that the address sanitizer sees a read of one byte too many.
static inline source source_of(const char *name, str text) {
    char *copy = malloc(text.n ? text.n : 1);
    memcpy(copy, text.p, text.n);
    return (source){.name = name, .dir = "", .text = {copy, text.n}};
}

static inline void source_free(source *s) { free((void *)(uintptr_t)s->text.p); }

// The next case at *at; false at the end. Lines "==== " and "----" at a line's beginning divide.
static inline bool next_case(str all, size_t *at, test_case *c) {
    const char *p = all.p + *at, *end = all.p + all.n;
    if (end - p < 5 || memcmp(p, "==== ", 5) != 0) return false;
    const char *eol = memchr(p, '\n', (size_t)(end - p));
    c->name = (str){p + 5, (size_t)(eol - p - 5)};
    const char *text = eol + 1, *line = text, *cut = NULL;
    while (line < end && !(end - line >= 5 && memcmp(line, "==== ", 5) == 0)) {
        const char *nl = memchr(line, '\n', (size_t)(end - line));
        if (cut == NULL && nl != NULL && nl - line == 4 && memcmp(line, "----", 4) == 0) {
            cut = nl + 1;
            c->text = (str){text, (size_t)(line - text)};
        }
        line = nl ? nl + 1 : end;
    }
    if (cut == NULL) fail_msg("case %.*s has no ---- line", (int)c->name.n, c->name.p);
    c->expected = (str){cut, (size_t)(line - cut)};
    *at = (size_t)(line - all.p);
    return true;
}

// Runs `run` on every case of the file and compares. With TL_UPDATE set the file is rewritten instead.
static inline void run_cases(const char *path, void (*run)(str text, sbuf *out), size_t at_least) {
    size_t n, at = 0, count = 0, wrong = 0;
    char *all = read_file(path, &n);
    sbuf updated = {0};
    for (test_case c; next_case((str){all, n}, &at, &c); count++) {
        sbuf out = {0};
        run(c.text, &out);
        sbuf_put(&out, "", 0);
        if (!str_eq((str){out.p, out.n}, c.expected)) {
            wrong++;
            if (getenv("TL_UPDATE") == NULL)
                print_error("%s: case %.*s\n-- expected\n%.*s-- got\n%s", path, (int)c.name.n, c.name.p, (int)c.expected.n, c.expected.p, out.p);
        }
        sbuf_printf(&updated, "==== %.*s\n%.*s----\n%s", (int)c.name.n, c.name.p, (int)c.text.n, c.text.p, out.p);
        sbuf_free(&out);
    }
    assert_true(at == n); // every byte of the file belonged to a case
    assert_true(count >= at_least);
    if (getenv("TL_UPDATE") != NULL) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(updated.p, 1, updated.n, f), updated.n);
        fclose(f);
        wrong = 0;
    }
    sbuf_free(&updated);
    sbuf_free((&(sbuf){.p = all}));
    assert_int_equal(wrong, 0);
}
#endif
