// parse_primary.c - literals, names, brackets, explicit folds, strings with {expressions}.
#include "lang/parse.h"

bool parse_fold_word(str name) {
    static const char *const words[] = {"sum", "prod", "max", "min", "avg", "mean", "any", "all", "count", "argmax", "argmin", "lse"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(name, words[i])) return true;
    return false;
}

static ast_expr *parse_number(parser *p) {
    const token *t = p->t;
    str text = ps_token_str(p, t);
    ast_expr *e = expr_new(p, t->kind == TK_INT ? EX_INT : EX_FLOAT, t->begin);
    if (t->kind == TK_INT) {
        if (!literal_int(text, false, &e->i)) {
            diag *d = ps_fail(p, ps_span_of(p, t), "this number does not fit into an int (64 bits)");
            ps_fix(p, d, "write it as a float, with .0 at the end, or check its digits");
        }
        e->f = (double)e->i;
    } else if (!literal_float(p->a, text, &e->f)) {
        ps_fail(p, ps_span_of(p, t), "this number is too large for a float (the largest is about 1.8e308)");
    }
    ps_take(p);
    return expr_done(p, e);
}

// ---- strings -----------------------------------------------------------------------------------
// Decodes text[from, to) of a string token. Literal braces from escapes come out doubled, as they do in the source.
static str decode(parser *p, str text, uint32_t offset) {
    char *out = arena_alloc(p->a, text.n * 2 + 5);
    size_t n = 0;
    for (size_t i = 0; i < text.n;) {
        if (text.p[i] != '\\') {
            out[n++] = text.p[i++];
            continue;
        }
        size_t begin = i, got = 0;
        const char *wrong = literal_escape(text, &i, out + n, &got);
        if (wrong != NULL) {
            span where = {p->src, offset + (uint32_t)begin, offset + (uint32_t)begin + 2};
            diag *d = ps_fail(p, where, "bad escape in a string: %s", wrong);
            ps_fix(p, d, "a backslash itself is written \\\\");
            break;
        }
        n += got;
    }
    return (str){out, n};
}

str parse_string(parser *p, const token *t) {
    str text = ps_token_str(p, t);
    return decode(p, (str){text.p + 1, text.n - 2}, t->begin + 1);
}

// The expression between braces at bytes [begin, end) of the source; NULL if it does not read as one.
static ast_expr *parse_hole(parser *p, uint32_t begin, uint32_t end) {
    diag_list none = {.a = p->a, .limit = 1};
    if (p->depth > PARSE_MAX_DEPTH / 2) return NULL;
    if (!lex_range(p->src, begin, end, &none, p->sub)) p->a->on_fail(p->a->fail_ctx, 0);
    size_t n = p->sub->toks.n;
    token *toks = arena_dup(p->a, p->sub->toks.p, n * sizeof *toks);
    bool commented = p->sub->comments.n > 0;
    p->sub->toks.n = p->sub->comments.n = 0;
    parser q = {.a = p->a, .src = p->src, .dl = &none, .toks = toks, .n = n, .t = toks, .brackets = 1, .depth = p->depth,
                .quiet = true, .sub = p->sub};
    ast_expr *e = parse_expr(&q);
    return commented || q.panic || none.errors > 0 || !ps_at(&q, TK_END) ? NULL : e;
}

// Length of "{expression}" at text.p[i], 0 if that brace is plain text. A hole starts with a letter, has no quotes,
// backslashes or braces in it, and reads as an expression.
static size_t hole_at(parser *p, str text, size_t i, uint32_t offset, ast_expr **out) {
    uint32_t cp;
    size_t end = i + 1;
    if (utf8_get(text.p + end, text.p + text.n, &cp) == 0 || !char_is_letter(cp)) return 0;
    while (end < text.n && text.p[end] != '}' && text.p[end] != '{' && text.p[end] != '\\') end++;
    if (end >= text.n || text.p[end] != '}') return 0;
    *out = parse_hole(p, offset + (uint32_t)i + 1, offset + (uint32_t)end);
    return *out ? end + 1 - i : 0;
}

// Undoubles {{ and }} of a literal piece.
static str undouble(parser *p, str s) {
    char *out = arena_alloc(p->a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        out[n++] = s.p[i];
        if ((s.p[i] == '{' || s.p[i] == '}') && i + 1 < s.n && s.p[i + 1] == s.p[i]) i++;
    }
    return (str){out, n};
}

static ast_expr **add_piece(parser *p, ast_expr **tail, str text, uint32_t offset) {
    if (text.n == 0) return tail;
    ast_expr *e = *tail = expr_new(p, EX_STRING, offset);
    e->name = undouble(p, decode(p, text, offset));
    e->at.end = offset + (uint32_t)text.n;
    e->height = 1;
    return &e->next;
}

// kids: the pieces, alternating plain text (EX_STRING without kids) and expressions, when there is anything but
// undoubled plain text to say; see ast.h.
static void split_holes(parser *p, ast_expr *e, str text, uint32_t offset) {
    ast_expr *first = NULL, **tail = &first;
    size_t from = 0, i = 0;
    bool any = false;
    while (i < text.n && !p->panic) {
        size_t n = 0;
        ast_expr *hole = NULL;
        char c = text.p[i];
        bool doubled = (c == '{' || c == '}') && i + 1 < text.n && text.p[i + 1] == c;
        if (c == '{' && !doubled) n = hole_at(p, text, i, offset, &hole);
        any = any || doubled || (c == '\\' && i + 1 < text.n && (text.p[i + 1] == '{' || text.p[i + 1] == '}'));
        if (n == 0) {
            char unused[4];
            if (c == '\\') literal_escape(text, &i, unused, &n); // \u{...} is no hole
            else i += doubled ? 2 : 1;
            continue;
        }
        tail = add_piece(p, tail, (str){text.p + from, i - from}, offset + (uint32_t)from);
        *tail = hole;
        tail = &hole->next;
        i += n;
        from = i;
        any = true;
    }
    if (!any) return;
    add_piece(p, tail, (str){text.p + from, text.n - from}, offset + (uint32_t)from);
    e->kids = first;
}

static ast_expr *parse_string_expr(parser *p) {
    token *t = p->t;
    str text = ps_token_str(p, t);
    ast_expr *e = expr_new(p, EX_STRING, t->begin);
    e->name = parse_string(p, t);
    if (!p->panic) split_holes(p, e, (str){text.p + 1, text.n - 2}, t->begin + 1);
    ps_take(p);
    return expr_done(p, e);
}

// ---- brackets ----------------------------------------------------------------------------------
// expr { "," expr } up to `close`; a trailing comma is fine.
static ast_expr *parse_items(parser *p, tk_kind close, bool *trailing) {
    ast_expr *first = NULL, **tail = &first;
    *trailing = false;
    while (!ps_at(p, close) && !p->panic) {
        *tail = parse_expr(p);
        tail = &(*tail)->next;
        *trailing = ps_accept(p, TK_COMMA);
        if (!*trailing) break;
    }
    return first;
}

static ast_expr *parse_list_literal(parser *p) {
    ast_expr *e = expr_new(p, EX_LIST, p->t->begin);
    bool trailing;
    token *open = ps_take(p);
    p->brackets++;
    e->kids = parse_items(p, TK_RBRACK, &trailing);
    p->brackets--;
    ps_expect_close(p, open, "the list");
    return expr_done(p, e);
}

static ast_expr *parse_parens(parser *p) {
    ast_expr *e = expr_new(p, EX_TUPLE, p->t->begin);
    bool trailing;
    token *open = ps_take(p);
    if (ps_at(p, TK_RPAREN)) {
        ps_fail(p, ps_span_of(p, open), "expected an expression inside ( ), found nothing");
        return e;
    }
    p->brackets++;
    e->kids = parse_items(p, TK_RPAREN, &trailing);
    p->brackets--;
    ps_expect_close(p, open, "the parentheses");
    if (e->kids == NULL || e->kids->next != NULL) return expr_done(p, e);
    if (trailing) {
        diag *d = ps_fail(p, ps_span_from(p, open->begin), "a tuple has two or more parts");
        ps_fix(p, d, "leave the comma away, or write a list of one: [x]");
    }
    e->kids->parens = true;
    e->kids->at = ps_span_from(p, open->begin);
    return e->kids;
}

static bool set_ahead(const parser *p) {
    return ps_ahead(p, 1)->kind == TK_NAME && (ps_ahead(p, 2)->kind == TK_COMMA || ps_ahead(p, 2)->kind == TK_RBRACE);
}

static ast_expr *parse_map(parser *p) {
    if (p->header && ps_ahead(p, 1)->kind != TK_STRING && !set_ahead(p)) {
        ps_fail(p, ps_span_of(p, p->t), "expected an expression before the block, found '{'");
        return expr_new(p, EX_MAP, p->t->begin);
    }
    if (set_ahead(p)) return parse_name_set(p, "the set");
    ast_expr *e = expr_new(p, EX_MAP, p->t->begin), **tail = &e->kids;
    token *open = ps_take(p);
    p->brackets++;
    while (!ps_at(p, TK_RBRACE) && !p->panic) {
        *tail = parse_expr(p);
        tail = &(*tail)->next;
        ps_expect(p, TK_COLON, "after the key of a map");
        *tail = parse_expr(p);
        tail = &(*tail)->next;
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, "the map");
    return expr_done(p, e);
}

// ---- explicit folds ----------------------------------------------------------------------------
// sum[i, j](expr): the brackets hold plain names and "(" follows directly.
static bool fold_ahead(const parser *p) {
    const token *open = ps_ahead(p, 1);
    bool word = ps_at(p, TK_OR) || ps_at(p, TK_AND) || (ps_at(p, TK_NAME) && parse_fold_word(ps_token_str(p, p->t)));
    if (!word || open->kind != TK_LBRACK || open->space || open->match == LEX_NONE) return false;
    const token *after = &p->toks[open->match] + 1;
    return after->kind == TK_LPAREN && !after->space;
}

static ast_expr *parse_fold(parser *p) {
    ast_expr *e = expr_new(p, EX_REDUCE, p->t->begin);
    e->name = ps_token_str(p, ps_take(p));
    token *open = p->t;
    open->role = TR_GLUED;
    ps_take(p);
    e->index = parse_indices(p, open, "the indices of the fold", &e->n_index);
    for (const ast_index *x = e->index; x != NULL && !p->panic; x = x->next) {
        if (x->kind == IX_EXPR && x->expr->kind == EX_NAME && !x->virtual_axis && !x->normalised) continue;
        diag *d = ps_fail(p, x->at, "expected an index name here");
        ps_fix(p, d, "%.*s[i](...) folds over the index i; its own indices go inside the parentheses", (int)e->name.n, e->name.p);
    }
    if (p->panic) return e;
    open = p->t;
    open->role = TR_GLUED;
    ps_take(p);
    p->brackets++;
    e->kids = parse_expr(p);
    if (ps_at(p, TK_COMMA)) ps_fail(p, ps_span_of(p, p->t), "%.*s[...](...) takes one expression", (int)e->name.n, e->name.p);
    p->brackets--;
    ps_expect_close(p, open, "the fold");
    return expr_done(p, e);
}

// ---- primary -----------------------------------------------------------------------------------
static ast_expr *no_operand(parser *p) {
    token *t = p->t, *before = t > p->toks ? t - 1 : NULL;
    ast_expr *e = expr_new(p, EX_INT, t->begin);
    static const uint8_t operators[] = {TK_ASSIGN, TK_SET, TK_PLUS, TK_MINUS, TK_STAR, TK_SLASH, TK_PERCENT, TK_AT, TK_CARET, TK_POW, TK_LT, TK_LE,
                                        TK_GT, TK_GE, TK_EQ, TK_NE, TK_AND, TK_AND2, TK_OR, TK_OR2, TK_NOT, TK_NOTW, TK_COMMA, TK_ADD_SET, TK_MUL_SET,
                                        TK_SUB_SET, TK_TILDE};
    bool after_op = before != NULL && p->last_end > 0 && memchr(operators, before->kind, sizeof operators) != NULL;
    diag *d = NULL;
    if (t->kind == TK_PLUS && !(t->nl && p->brackets == 0)) {
        d = ps_fail(p, ps_span_of(p, t), "there is no '+' before a single operand");
        ps_fix(p, d, "leave it away%s", t[1].kind == TK_PLUS || (before && before->kind == TK_PLUS) ? "; to count up, write x += 1" : "");
    } else if (after_op) {
        d = ps_fail(p, ps_found_at(p), "expected an expression after '%.*s', found %s", (int)(before->end - before->begin),
                    p->src->text.p + before->begin, ps_found(p));
    } else {
        d = ps_fail(p, ps_found_at(p), "expected an expression, found %s", ps_found(p));
    }
    if (d == NULL || (t->nl && p->brackets == 0)) return e;
    bool glued = t->kind == TK_ASSIGN && before != NULL && before->end == t->begin;
    if (glued && (before->kind == TK_SLASH || before->kind == TK_PERCENT || before->kind == TK_CARET))
        ps_fix(p, d, "there is no '%s='; write x := x %s y", token_kind_text((tk_kind)before->kind), token_kind_text((tk_kind)before->kind));
    else if (t->kind == TK_IF || t->kind == TK_FOR || t->kind == TK_WHILE)
        ps_fix(p, d, "%s is a statement and has no value; assign inside its block", token_kind_text((tk_kind)t->kind));
    else if (t->kind == TK_FN)
        ps_fix(p, d, "functions have names and are declared at the top level");
    else if (token_is_keyword((tk_kind)t->kind))
        ps_fix(p, d, "'%s' is a reserved word; choose another name", token_kind_text((tk_kind)t->kind));
    return e;
}

ast_expr *parse_primary(parser *p) {
    if (fold_ahead(p)) return parse_fold(p);
    switch (p->t->kind) {
    case TK_INT: case TK_FLOAT: return parse_number(p);
    case TK_STRING: return parse_string_expr(p);
    case TK_NAME: return parse_name(p, "a name");
    case TK_LPAREN: return parse_parens(p);
    case TK_LBRACK: return parse_list_literal(p);
    case TK_LBRACE: return parse_map(p);
    case TK_TRUE: case TK_FALSE: {
        ast_expr *e = expr_new(p, EX_BOOL, p->t->begin);
        e->i = ps_take(p)->kind == TK_TRUE;
        e->f = (double)e->i;
        return expr_done(p, e);
    }
    default: return no_operand(p);
    }
}
