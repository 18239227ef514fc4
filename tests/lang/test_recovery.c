// test_recovery.c - one slip in a program (its end cut off, a token left out, doubled or exchanged with the next): no
// crash, sound places in all messages, and few messages, since one mistake should not look like many.
#include "cases.h"
#include "lang/lex.h"

typedef struct tally { int runs, wrong, messages, worst; } tally;

static void check_place(const source *src, span at, const char *text) {
    assert_true(text != NULL && text[0] != 0);
    if (at.src == NULL) return;
    assert_ptr_equal(at.src, src);
    assert_true(at.begin <= at.end && at.end <= src->text.n);
}

static void try_text(const sbuf *b, tally *t) {
    source src = source_of("t.tl", (str){b->p ? b->p : "", b->n});
    arena a = {0};
    diag_list dl = {0};
    ast_program *prog = NULL;
    tl_status status = tl_parse(&a, &src, &dl, &prog);
    assert_int_equal(status, dl.errors > 0 ? TL_E_PROGRAM : TL_OK);
    assert_non_null(prog);
    sbuf out = {0};
    for (const diag *d = dl.first; d != NULL; d = d->next) {
        check_place(&src, d->at, d->text);
        for (const dg_note *n = d->notes; n != NULL; n = n->next) check_place(&src, n->at, n->text);
        diag_render(d, &out, false);
    }
    ast_dump(prog, &out); // what could be read can be walked
    t->runs++;
    t->wrong += dl.errors > 0;
    t->messages += dl.errors;
    if (dl.errors > t->worst) t->worst = dl.errors;
    sbuf_free(&out);
    arena_free(&a);
    source_free(&src);
}

static void put_range(sbuf *b, const char *text, uint32_t from, uint32_t to) { sbuf_put(b, text + from, to - from); }

typedef void (*slip)(sbuf *b, const char *text, uint32_t n, const token *t); // makes the text with a slip at t

static void cut(sbuf *b, const char *text, uint32_t n, const token *t) {
    (void)n;
    put_range(b, text, 0, t->begin);
}
static void leave_out(sbuf *b, const char *text, uint32_t n, const token *t) {
    put_range(b, text, 0, t->begin);
    put_range(b, text, t->end, n);
}
static void twice(sbuf *b, const char *text, uint32_t n, const token *t) {
    put_range(b, text, 0, t->end);
    sbuf_putc(b, ' ');
    put_range(b, text, t->begin, n);
}
static void exchange(sbuf *b, const char *text, uint32_t n, const token *t) {
    put_range(b, text, 0, t->begin);
    put_range(b, text, t[1].begin, t[1].end);
    put_range(b, text, t->end, t[1].begin);
    put_range(b, text, t->begin, t->end);
    put_range(b, text, t[1].end, n);
}

static tally slips(const char *file, slip make) {
    tally t = {0};
    size_t n;
    char *text = read_file(file, &n);
    source src = {.name = file, .dir = "", .text = {text, n}};
    arena a = {0};
    diag_list dl = {.a = &a};
    lexed lx = {0};
    assert_true(lex_source(&src, &dl, &lx));
    for (size_t i = 0; i + 1 < lx.toks.n; i++) {
        sbuf b = {0};
        make(&b, text, (uint32_t)n, &lx.toks.p[i]);
        try_text(&b, &t);
        sbuf_free(&b);
    }
    lex_free(&lx);
    arena_free(&a);
    mem_free(text);
    return t;
}

// `most`: messages for one slip; `mean`: in hundredths of a message, over the slips that are errors.
static void check(slip make, int most, int mean) {
    static const char *const files[] = {TEST_DIR "/programs/equations.tl", TEST_DIR "/programs/functions.tl",
                                        TEST_DIR "/programs/mixed.tl"};
    for (int i = 0; i < 3; i++) {
        tally t = slips(files[i], make);
        assert_true(t.wrong > 0);
        assert_true(t.worst <= most);
        assert_true(t.messages * 100 <= t.wrong * mean);
    }
}

static void cut_off(void **state) { (void)state, check(cut, 2, 170); }
static void left_out(void **state) { (void)state, check(leave_out, 3, 110); }
static void doubled(void **state) { (void)state, check(twice, 2, 105); }
static void exchanged(void **state) { (void)state, check(exchange, 2, 105); }

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cut_off), cmocka_unit_test(left_out), cmocka_unit_test(doubled),
                                       cmocka_unit_test(exchanged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
