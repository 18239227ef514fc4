// format.c - a program's canonical text: its own tokens and comments with spaces, indentation and empty lines made
// anew. Line breaks stay where the author put them, except around braces and before else. The tokens, their order and
// which of them begin lines do not change in a way that the grammar can see, so neither does the tree.
#include "lang/parse.h"

#define INDENT 4

typedef struct open_entry { int line_indent, stmt_indent; bool block; } open_entry;
typedef struct tail_comment { // stands at `offset` of `raw`
    size_t offset;
    int column, line, indent;
    bool opens; // behind the "{" of a block
} tail_comment;

typedef struct formatter {
    const source *src;
    lexed *lx;
    sbuf raw;               // the text before trailing comments are aligned
    VEC(open_entry) open;
    VEC(tail_comment) tails;
    size_t comment;         // next one to write
    uint32_t last_end;      // source position behind what was written last
    int line, indent, stmt_indent;
    size_t line_start;      // of the current line in raw
    bool fresh;             // nothing is on the current line yet
    bool oom;
} formatter;

static str text_of(const formatter *f, uint32_t begin, uint32_t end) { return (str){f->src->text.p + begin, end - begin}; }

// ---- lines -------------------------------------------------------------------------------------
static int breaks_between(const formatter *f, uint32_t from, uint32_t to) {
    const char *p = f->src->text.p;
    int n = 0;
    for (uint32_t i = from; i < to; i++) n += p[i] == '\n' || (p[i] == '\r' && !(i + 1 < to && p[i + 1] == '\n'));
    return n;
}

static void new_line(formatter *f) {
    if (!f->fresh) sbuf_putc(&f->raw, '\n'), f->line++;
    f->fresh = true;
    f->line_start = f->raw.n;
}

// Begins a line for what stands at source byte `begin`, with one empty line above if there were any.
static void begin_line(formatter *f, uint32_t begin, int indent, bool may_skip) {
    new_line(f);
    if (may_skip && f->raw.n > 0 && breaks_between(f, f->last_end, begin) > 1) {
        sbuf_putc(&f->raw, '\n');
        f->line++;
        f->line_start = f->raw.n;
    }
    for (int i = 0; i < indent; i++) sbuf_putc(&f->raw, ' ');
    f->indent = indent;
}

static void put_text(formatter *f, str s, uint32_t end) {
    sbuf_put(&f->raw, s.p, s.n);
    f->fresh = false;
    f->last_end = end;
}

static int width_of(const formatter *f) {
    if (f->raw.failed) return 0; // there may be no buffer at all
    const char *p = f->raw.p + f->line_start, *end = f->raw.p + f->raw.n;
    int width = 0;
    for (uint32_t cp = 0; p < end;) {
        int n = utf8_get(p, end, &cp);
        width += n > 0 ? char_width(cp) : 1;
        p += n > 0 ? n : 1;
    }
    return width;
}

// ---- indentation -------------------------------------------------------------------------------
static bool opens(const token *t) { return t->kind == TK_LPAREN || t->kind == TK_LBRACK || t->kind == TK_LBRACE; }
static bool closes(const token *t) { return t->kind == TK_RPAREN || t->kind == TK_RBRACK || t->kind == TK_RBRACE; }

// Of a line that begins with t; `inside`: of a comment above t.
static int indent_for(const formatter *f, const token *t, bool inside) {
    bool top = f->open.n == 0;
    const open_entry *o = top ? NULL : &f->open.p[f->open.n - 1];
    if (!top && closes(t) && !inside) return o->line_indent;
    int base = top ? 0 : o->line_indent + INDENT;
    bool goes_on = (top || o->block) && !t->start && t->kind != TK_ELSE && t->kind != TK_END && !(t->role == TR_BLOCK);
    return goes_on ? base + INDENT : base;
}

static void track_brackets(formatter *f, const token *t) {
    if (opens(t)) {
        bool block = t->role == TR_BLOCK;
        open_entry o = {block ? f->stmt_indent : f->indent, f->stmt_indent, block};
        if (!vec_push(&f->open, o)) f->oom = true;
    } else if (closes(t) && f->open.n > 0) {
        f->stmt_indent = f->open.p[--f->open.n].stmt_indent;
    }
}

// ---- spaces ------------------------------------------------------------------------------------
static bool word_like(const token *t) { return t->kind == TK_INT || t->kind == TK_FLOAT || t->kind == TK_NAME || token_is_keyword((tk_kind)t->kind); }

static bool space_between(const token *a, const token *b) {
    bool tight = a->role == TR_TIGHT || b->role == TR_TIGHT;
    if (tight && a->kind == TK_INT && b->kind == TK_DOT && !word_like(b + 1)) return true; // "1." is another number
    if (a->kind == TK_COMMA && b->kind == TK_COLON) return true; // a[:, :]
    if (a->role == TR_UNARY || tight || b->role == TR_GLUED) return false;
    if (a->role == TR_FOLD || a->role == TR_ARROW) return false;
    if (a->role == TR_BLOCK || b->role == TR_BLOCK) return true;
    switch (b->kind) {
    case TK_COMMA: case TK_SEMI: case TK_RPAREN: case TK_RBRACK: case TK_RBRACE: case TK_COLON: return false;
    case TK_QUESTION: return a->kind != TK_RPAREN && a->kind != TK_LBRACK;
    default: break;
    }
    return a->kind != TK_LPAREN && a->kind != TK_LBRACK && a->kind != TK_LBRACE;
}

// ---- comments ----------------------------------------------------------------------------------
static bool is_tail(const formatter *f, const comment *c, const token *next) {
    size_t k = (size_t)(c - f->lx->comments.p);
    const comment *more = k + 1 < f->lx->comments.n ? c + 1 : NULL;
    bool last = !more || more->begin > next->begin || more->own_line || breaks_between(f, c->end, more->begin) > 0;
    return (next->nl || next->kind == TK_END) && last;
}

static void put_comment(formatter *f, const comment *c, const token *before, const token *next) {
    bool behind = !f->fresh && f->tails.n > 0 && f->tails.p[f->tails.n - 1].line == f->line; // another comment, and a ";" that went
    bool alone = c->own_line || f->fresh || behind;                                          // fresh: only a ";" stood before it
    if (alone) {
        bool first = before != NULL && before->role == TR_BLOCK && before->kind == TK_LBRACE && f->last_end == before->end;
        begin_line(f, c->begin, indent_for(f, next, true), !first);
    } else if (is_tail(f, c, next)) {
        tail_comment tail = {f->raw.n, width_of(f), f->line, f->indent, before != NULL && before->role == TR_BLOCK && before->kind == TK_LBRACE};
        if (!vec_push(&f->tails, tail)) f->oom = true;
    } else if (!f->fresh && !f->raw.failed && f->raw.p[f->raw.n - 1] != '(' && f->raw.p[f->raw.n - 1] != '[') {
        sbuf_putc(&f->raw, ' ');
    }
    put_text(f, text_of(f, c->begin, c->end), c->end);
    if (alone || breaks_between(f, c->begin, c->end) > 0) new_line(f);
}

// Comments before byte `until`; true if there were any.
static bool put_comments(formatter *f, const token *before, const token *next) {
    bool any = false;
    for (; f->comment < f->lx->comments.n && f->lx->comments.p[f->comment].begin < next->begin; f->comment++, any = true)
        put_comment(f, &f->lx->comments.p[f->comment], before, next);
    return any;
}

// ---- tokens ------------------------------------------------------------------------------------
// A block whose braces stand on different lines has each statement line, and "}", on a line of its own.
static bool many_lines(const formatter *f, const token *open) {
    const token *close = &f->lx->toks.p[open->match];
    return open->match != LEX_NONE && breaks_between(f, open->end, close->begin) > 0;
}

static bool breaks_before(const formatter *f, const token *a, const token *t, bool commented) {
    bool joins = (t->kind == TK_ELSE && a->kind == TK_RBRACE) || (t->kind == TK_LBRACE && t->role == TR_BLOCK && !t->start);
    if (joins && !commented) return false;
    if (a->role == TR_BLOCK && a->kind == TK_LBRACE && t->kind != TK_RBRACE && many_lines(f, a)) return true;
    if (t->role == TR_BLOCK && t->kind == TK_RBRACE && many_lines(f, &f->lx->toks.p[t->match])) return true;
    return t->nl;
}

// A ";" is needed only between two statements of one line.
static bool idle_semicolon(const token *t) {
    if (t->kind != TK_SEMI) return false;
    const token *next = t + 1;
    while (next->kind == TK_SEMI && !next->nl) next++;
    return t->start || next->nl || next->kind == TK_RBRACE;
}

static void put_token(formatter *f, const token *a, const token *t) {
    bool commented = put_comments(f, a, t);
    bool on_new = a == NULL || f->fresh || breaks_before(f, a, t, commented);
    if (on_new) {
        bool brace = a != NULL && a->role == TR_BLOCK && a->kind == TK_LBRACE && !commented;
        bool close = t->role == TR_BLOCK && t->kind == TK_RBRACE;
        begin_line(f, t->begin, indent_for(f, t, false), !brace && !close);
    } else if (commented ? (t->kind != TK_COMMA && t->kind != TK_RPAREN && t->kind != TK_RBRACK && t->kind != TK_SEMI) : space_between(a, t)) {
        sbuf_putc(&f->raw, ' ');
    }
    if (t->start) f->stmt_indent = f->indent;
    put_text(f, text_of(f, t->begin, t->end), t->end);
    track_brackets(f, t);
}

static void put_tokens(formatter *f) {
    const token *before = NULL;
    token *t = f->lx->toks.p;
    for (; t->kind != TK_END; t++) {
        if (idle_semicolon(t)) {
            t[1].nl = t[1].nl || t->nl;
            f->last_end = t->end;
            continue;
        }
        put_token(f, before, t);
        before = t;
    }
    put_comments(f, before, t);
    new_line(f);
}

// ---- trailing comments -------------------------------------------------------------------------
// Those of neighbouring lines with one indentation begin in one column, two columns behind the longest line.
static bool aligned(const tail_comment *a, const tail_comment *b) {
    return b->line == a->line + 1 && b->indent == a->indent && !a->opens && !b->opens;
}

static void align(formatter *f, sbuf *out) {
    size_t from = 0;
    for (size_t i = 0, end; i < f->tails.n; i = end) {
        const tail_comment *t = f->tails.p;
        int column = t[i].column;
        for (end = i + 1; end < f->tails.n && aligned(&t[end - 1], &t[end]); end++)
            if (t[end].column > column) column = t[end].column;
        for (size_t k = i; k < end; k++) {
            sbuf_put(out, f->raw.p + from, t[k].offset - from);
            for (int n = t[k].column; n < column + 2; n++) sbuf_putc(out, ' ');
            from = t[k].offset;
        }
    }
    sbuf_put(out, f->raw.p ? f->raw.p + from : "", f->raw.n - from);
}

tl_status tl_format(arena *a, const source *src, diag_list *dl, sbuf *out) {
    lexed lx = {0};
    ast_program *prog;
    tl_status status = parse_tokens(a, src, dl, &lx, &prog);
    formatter f = {.src = src, .lx = &lx, .fresh = true};
    if (status == TL_OK) {
        put_tokens(&f);
        if (!f.raw.failed) align(&f, out);
        if (f.oom || f.raw.failed || out->failed) status = TL_E_MEMORY;
    }
    sbuf_free(&f.raw);
    vec_free(&f.open);
    vec_free(&f.tails);
    lex_free(&lx);
    return status;
}
