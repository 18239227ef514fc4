// parse.c - the parser's driver: tokens, errors, recovery, limits, memory.
#include "lang/parse.h"
#include <setjmp.h>

bool ps_at(const parser *p, tk_kind kind) { return p->t->kind == kind; }

str ps_token_str(const parser *p, const token *t) { return (str){p->src->text.p + t->begin, t->end - t->begin}; }
span ps_span_of(const parser *p, const token *t) { return (span){p->src, t->begin, t->end}; }
span ps_span_from(const parser *p, uint32_t begin) { return (span){p->src, begin, p->last_end > begin ? p->last_end : begin}; }
bool ps_at_word(const parser *p, const char *word) { return ps_at(p, TK_NAME) && str_is(ps_token_str(p, p->t), word); }
bool ps_line_ends(const parser *p) { return p->t->kind == TK_END || (p->t->nl && p->brackets == 0); }

token *ps_take(parser *p) {
    token *t = p->t;
    if (t->kind != TK_END) {
        p->last_end = t->end;
        p->t++;
    }
    return t;
}

const token *ps_ahead(const parser *p, int n) {
    const token *last = &p->toks[p->n - 1];
    return last - p->t > n ? p->t + n : last;
}

bool ps_accept(parser *p, tk_kind kind) {
    if (!ps_at(p, kind)) return false;
    ps_take(p);
    return true;
}

// ---- messages ----------------------------------------------------------------------------------
static const char *token_name(parser *p, const token *t) {
    char shown[48];
    str text = ps_token_str(p, t);
    if (t->kind == TK_END) return "the end of the file";
    if (t->kind == TK_STRING) return "a string";
    if (token_is_keyword(t->kind)) return arena_printf(p->a, "the keyword '%s'", token_kind_text(t->kind));
    return arena_printf(p->a, "'%s'", str_escape(shown, sizeof shown, text));
}

const char *ps_found(parser *p) {
    const token *t = p->panic ? p->stopped : p->t;
    return t->nl && p->brackets == 0 && t->kind != TK_END && p->last_end > 0 ? "the end of the line" : token_name(p, t);
}

// A missing thing at a line's end is shown behind the line's last token, not at the next line.
span ps_found_at(const parser *p) {
    bool ended = (p->t->nl || ps_at(p, TK_END)) && (p->brackets == 0 || ps_at(p, TK_END)) && p->last_end > 0;
    return ended ? (span){p->src, p->last_end, p->last_end} : ps_span_of(p, p->t);
}

static diag *fail_v(parser *p, span where, const char *fmt, va_list ap) {
    if (p->panic) return NULL;
    bool unread = ps_at(p, TK_BAD); // the lexer has reported it
    p->panic = true;
    p->stopped = p->t;
    p->t = &p->toks[p->n - 1];
    if (p->quiet || unread) return NULL;
    return diag_addv(p->dl, DG_ERROR, where, fmt, ap);
}

diag *ps_fail(parser *p, span where, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag *d = fail_v(p, where, fmt, ap);
    va_end(ap);
    return d;
}

void ps_note(parser *p, diag *d, span where, const char *fmt, ...) {
    if (d == NULL) return;
    va_list ap;
    va_start(ap, fmt);
    char text[400];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    diag_note(p->dl, d, where, "%s", text);
}

void ps_fix(parser *p, diag *d, const char *fmt, ...) {
    if (d == NULL) return;
    va_list ap;
    va_start(ap, fmt);
    char text[400];
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    diag_fix(p->dl, d, "%s", text);
}

bool ps_expect(parser *p, tk_kind kind, const char *where) {
    if (ps_accept(p, kind)) return true;
    ps_fail(p, ps_found_at(p), "expected '%s' %s, found %s", token_kind_text(kind), where, ps_found(p));
    return false;
}

str ps_expect_name(parser *p, const char *what) {
    if (ps_at(p, TK_NAME)) return ps_token_str(p, ps_take(p));
    diag *d = ps_fail(p, ps_found_at(p), "expected %s, found %s", what, ps_found(p));
    if (p->stopped != NULL && token_is_keyword(p->stopped->kind) && !p->stopped->nl)
        ps_fix(p, d, "'%s' is a reserved word; choose another name", token_kind_text(p->stopped->kind));
    return (str){0};
}

// Where a '}' at the beginning of a line closes a '{' whose line is indented differently, a brace before it is missing.
static bool note_indentation(parser *p, diag *d, const token *open) {
    uint32_t column[2];
    for (const token *t = open + 1; d != NULL && t->kind != TK_END; t++) {
        if (t->kind != TK_RBRACE || !t->nl || t->match == LEX_NONE) continue;
        const token *both[2] = {t, &p->toks[t->match]};
        for (int i = 0; i < 2; i++) {
            const token *first = both[i];
            while (!first->nl && first > p->toks) first--;
            uint32_t start = first->begin;
            while (start > 0 && p->src->text.p[start - 1] != '\n' && p->src->text.p[start - 1] != '\r') start--;
            column[i] = first->begin - start;
        }
        if (column[0] == column[1]) continue;
        ps_note(p, d, ps_span_of(p, both[1]), "the '}' that seems to be missing belongs to this '{'");
        ps_note(p, d, ps_span_of(p, t), "which is closed by this '}', with another indentation");
        return true;
    }
    return false;
}

bool ps_expect_close(parser *p, token *open, const char *inside) {
    tk_kind close = (tk_kind)(open->kind + 1);
    if (ps_accept(p, close)) return true;
    if (open->match == LEX_NONE && close == TK_RBRACE && p->unclosed != NULL && !p->panic) {
        ps_note(p, p->unclosed, ps_span_of(p, open), "this '{' is not closed either");
        p->panic = true;
        p->stopped = p->t;
        p->t = &p->toks[p->n - 1];
    } else if (open->match == LEX_NONE) {
        span end = ps_found_at(p);
        diag *d = ps_fail(p, ps_span_of(p, open), "'%s' is never closed", token_kind_text(open->kind));
        bool told = close == TK_RBRACE && note_indentation(p, d, open);
        if (!told && p->stopped != NULL && p->stopped->kind != TK_END)
            ps_note(p, d, end, "%s should have ended before this", inside);
        if (close == TK_RBRACE) p->unclosed = d;
        ps_fix(p, d, "add '%s'", token_kind_text(close));
    } else {
        diag *d = ps_fail(p, ps_found_at(p), "expected ',' or '%s' in %s, found %s", token_kind_text(close), inside, ps_found(p));
        ps_note(p, d, ps_span_of(p, open), "'%s' opened here", token_kind_text(open->kind));
        tk_kind k = (tk_kind)p->stopped->kind;
        if (k == TK_STRING || k == TK_NAME || k == TK_INT || k == TK_FLOAT || k == TK_LBRACK) ps_fix(p, d, "put ',' between the two parts");
        else if (k == TK_ASSIGN && close != TK_RPAREN) ps_fix(p, d, "== compares");
        else if (k == TK_RPAREN || k == TK_RBRACK || k == TK_RBRACE)
            ps_fix(p, d, "the brackets do not pair; close '%s' first", token_kind_text(open->kind));
    }
    return false;
}

// ---- limits ------------------------------------------------------------------------------------
bool ps_enter(parser *p) {
    if (++p->depth <= PARSE_MAX_DEPTH) return true;
    p->too_deep = true;
    diag *d = ps_fail(p, ps_span_of(p, p->t), "nested too deeply (the limit is %d levels)", PARSE_MAX_DEPTH);
    ps_fix(p, d, "name parts of it with let, or move them into a function");
    return false;
}

void ps_leave(parser *p) { p->depth--; }

// ---- recovery ----------------------------------------------------------------------------------
static bool starts_statement(const token *t) {
    switch (t->kind) {
    case TK_LET: case TK_FN: case TK_FOR: case TK_WHILE: case TK_BREAK: case TK_CONTINUE: case TK_RETURN: case TK_IMPORT: return true;
    default: return false;
    }
}

// Moves on to where the next statement seems to start: behind the error, at a line's beginning, ";" or "}", and not
// inside a bracket that was opened in the broken statement and is closed.
void parse_resync(parser *p, token *start, bool in_block) {
    token *t = start, *last = &p->toks[p->n - 1];
    token *stop = p->stopped;
    if (p->too_deep) return;
    p->panic = false;
    p->brackets = 0;
    while (t < last) {
        bool past = t >= stop && t > start;
        if (past && (t->nl || (t->kind == TK_RBRACE && in_block))) break;
        if (t->kind == TK_SEMI && t >= stop) {
            t++;
            break;
        }
        bool open = t->kind == TK_LPAREN || t->kind == TK_LBRACK || t->kind == TK_LBRACE;
        if (open && t->match != LEX_NONE) {
            // a closed bracket is skipped whole, unless the next statement clearly starts inside it
            token *end = &p->toks[t->match], *inner = t + 1;
            while (t->kind != TK_LBRACE && inner < end && !(inner > stop && inner->nl && starts_statement(inner))) inner++;
            t = t->kind == TK_LBRACE || inner == end ? end + 1 : inner;
        } else {
            t++;
        }
    }
    p->t = t;
    if (t > start) p->last_end = t[-1].end;
}

// ---- driver ------------------------------------------------------------------------------------
typedef struct memory_guard { // arena exhaustion comes back here
    jmp_buf jump;
    arena *arenas[2];
    void (*old_fail[2])(void *, size_t);
    void *old_ctx[2];
} memory_guard;

static void out_of_memory(void *ctx, size_t size) {
    (void)size;
    longjmp(((memory_guard *)ctx)->jump, 1);
}

static void guard_arenas(memory_guard *g, arena *a, arena *b) {
    g->arenas[0] = a;
    g->arenas[1] = b == a ? NULL : b;
    for (int i = 0; i < 2; i++) {
        if (g->arenas[i] == NULL) continue;
        g->old_fail[i] = g->arenas[i]->on_fail;
        g->old_ctx[i] = g->arenas[i]->fail_ctx;
        g->arenas[i]->on_fail = out_of_memory;
        g->arenas[i]->fail_ctx = g;
    }
}

static void release_arenas(memory_guard *g) {
    for (int i = 0; i < 2; i++) {
        if (g->arenas[i] == NULL) continue;
        g->arenas[i]->on_fail = g->old_fail[i];
        g->arenas[i]->fail_ctx = g->old_ctx[i];
    }
}

// Messages in the order of the text: the lexer's come first otherwise. Few, so insertion will do.
static void sort_from(diag_list *l, diag *before) {
    diag *rest = before ? before->next : l->first, *sorted = NULL;
    while (rest != NULL) {
        diag *d = rest, **at_ = &sorted;
        rest = rest->next;
        while (*at_ != NULL && (*at_)->at.begin <= d->at.begin) at_ = &(*at_)->next;
        d->next = *at_;
        *at_ = d;
    }
    if (before) before->next = sorted;
    else l->first = sorted;
    for (l->last = l->first; l->last != NULL && l->last->next != NULL;) l->last = l->last->next;
}

static tl_status run(parser *p, lexed *lx, ast_program **out) {
    if (!lex_source(p->src, p->dl, lx)) return TL_E_MEMORY;
    p->toks = lx->toks.p;
    p->n = lx->toks.n;
    p->t = p->toks;
    ast_program *prog = arena_new(p->a, ast_program);
    prog->src = p->src;
    prog->items = parse_list(p, true);
    *out = prog;
    return TL_OK;
}

tl_status parse_tokens(arena *a, const source *src, diag_list *dl, lexed *lx, ast_program **out) {
    *out = NULL;
    if (dl->a == NULL) dl->a = a;
    if (dl->limit <= 0) dl->limit = PARSE_MAX_ERRORS;
    const int errors = dl->errors;
    diag *before = dl->last;
    memory_guard guard = {0};
    lexed sub = {0};
    parser *p = mem_calloc(1, sizeof *p);
    if (p == NULL) return TL_E_MEMORY;
    *p = (parser){.a = a, .src = src, .dl = dl, .sub = &sub};
    guard_arenas(&guard, a, dl->a);
    tl_status status = TL_E_MEMORY;
    if (setjmp(guard.jump) == 0) {
        if (src->text.n > LEX_MAX_SOURCE) {
            diag_add(dl, DG_ERROR, (span){src, 0, 0}, "the program has %zu bytes; the limit is %u", src->text.n, LEX_MAX_SOURCE);
            status = TL_E_PROGRAM;
        } else {
            status = run(p, lx, out);
            sort_from(dl, before);
            if (status == TL_OK && dl->errors > errors) status = TL_E_PROGRAM;
        }
    } else {
        status = TL_E_MEMORY;
    }
    release_arenas(&guard);
    lex_free(&sub);
    mem_free(p);
    return status;
}

tl_status tl_parse(arena *a, const source *src, diag_list *dl, ast_program **out) {
    lexed lx = {0};
    tl_status status = parse_tokens(a, src, dl, &lx, out);
    lex_free(&lx);
    return status;
}
