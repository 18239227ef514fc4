// fuzz_lex.c - any bytes through the lexer: the tokens are in order, do not overlap, end with TK_END, and brackets match both
// ways or not at all. Literals are read as the parser does it.
#include "lang/lex.h"

static void check_token(const lexed *l, size_t i, const source *src, arena *a) {
    const token *t = &l->toks.p[i];
    TL_CHECK(t->kind < TK_COUNT && t->begin <= t->end && t->end <= src->text.n);
    TL_CHECK(i == 0 || l->toks.p[i - 1].end <= t->begin);
    TL_CHECK((t->kind == TK_END) == (i + 1 == l->toks.n));
    TL_CHECK(t->match == LEX_NONE || (t->match < l->toks.n && l->toks.p[t->match].match == i));
    TL_CHECK(token_kind_text((tk_kind)t->kind) != NULL);
    str text = {src->text.p + t->begin, t->end - t->begin};
    int64_t n;
    double f;
    if (t->kind == TK_INT) (void)literal_int(text, i & 1, &n);
    if (t->kind == TK_FLOAT) (void)literal_float(a, text, &f);
}

static void check_escapes(const char *p, size_t n) {
    str text = {p, n};
    for (size_t at = 0; at < n; at++) {
        size_t next = at, made = 0;
        char out[8];
        if (p[at] == '\\' && literal_escape(text, &next, out, &made) == NULL) TL_CHECK(next > at && next <= n && made >= 1 && made <= 4);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    source src = {.name = "fuzz.tl", .dir = "", .text = {(const char *)data, size}};
    arena a = {.limit = 256u << 20};
    diag_list dl = {.a = &a};
    lexed l = {0};
    if (lex_source(&src, &dl, &l)) {
        TL_CHECK(l.toks.n > 0);
        for (size_t i = 0; i < l.toks.n; i++) check_token(&l, i, &src, &a);
        for (size_t i = 0; i < l.comments.n; i++)
            TL_CHECK(l.comments.p[i].begin <= l.comments.p[i].end && l.comments.p[i].end <= size && (i == 0 || l.comments.p[i - 1].end <= l.comments.p[i].begin));
        sbuf shown = {0};
        for (const diag *d = dl.first; d != NULL; d = d->next) diag_render(d, &shown, true);
        sbuf_free(&shown);
    }
    check_escapes(src.text.p, size);
    lex_free(&l);
    arena_free(&a);
    return 0;
}
