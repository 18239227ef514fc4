// parse_stmt.c - statements: assignments and equations, control flow, blocks.
#include "lang/parse.h"

ast_stmt *stmt_new(parser *p, st_kind kind, uint32_t begin, ast_stmt ***tail) {
    ast_stmt *s = arena_new(p->a, ast_stmt);
    s->kind = kind;
    s->at = (span){p->src, begin, begin};
    **tail = s;
    *tail = &s->next;
    return s;
}

void stmt_done(parser *p, ast_stmt *s) { s->at = ps_span_from(p, s->at.begin); }

// Where a statement went on to the line of the stopped token only because the line before ends in an operator.
static void note_goes_on(parser *p, diag *d) {
    const token *t = p->stopped;
    while (t > p->toks && !t->nl) t--;
    if (t < p->toks + 2 || t->start || t == p->stopped) return;
    const token *last = t - 1;
    if (last->role == TR_BLOCK || last->kind == TK_SEMI) return;
    span end = {p->src, last[-1].role == TR_ARROW ? last[-1].begin : last->begin, last->end};
    ps_note(p, d, end, "the statement goes on behind this '%.*s' at the line's end", (int)(end.end - end.begin), p->src->text.p + end.begin);
}

void stmt_end(parser *p, ast_stmt *s, const char *after) {
    stmt_done(p, s);
    if (p->panic || ps_accept(p, TK_SEMI) || ps_line_ends(p) || ps_at(p, TK_RBRACE)) return;
    diag *d = ps_fail(p, ps_span_of(p, p->t), "expected the end of the line after %s, found %s", after, ps_found(p));
    note_goes_on(p, d);
    hint_end(p, d, s->expr);
}

// ---- heads -------------------------------------------------------------------------------------
ast_head parse_head(parser *p) {
    ast_head h = {.at = ps_span_of(p, p->t)};
    h.name = ps_expect_name(p, "a name");
    token *open = p->t;
    if (p->panic || open->space || (open->kind != TK_LBRACK && open->kind != TK_LPAREN)) return h;
    open->role = TR_GLUED;
    ps_take(p);
    h.indexed = true;
    h.round = open->kind == TK_LPAREN;
    h.index = parse_indices(p, open, h.round ? "the arguments" : "the index list", &h.n_index);
    h.at = ps_span_from(p, h.at.begin);
    return h;
}

as_kind parse_assign_at(const parser *p, const token *t, int *n) {
    static const struct { uint8_t kind, assign; } plain[] = {{TK_ASSIGN, AS_EQ}, {TK_SET, AS_SET}, {TK_ADD_SET, AS_ADD}, {TK_SUB_SET, AS_SUB},
                                                             {TK_MUL_SET, AS_MUL}, {TK_TILDE, AS_SOFT}};
    static const struct { const char *word; as_kind assign; } folds[] = {{"max", AS_MAX}, {"min", AS_MIN}, {"avg", AS_AVG}};
    *n = 1;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (t->kind == plain[i].kind) return (as_kind)plain[i].assign;
    *n = 2;
    if (t->kind != TK_END && t[1].kind == TK_ASSIGN && !t[1].nl) {
        if (t->kind == TK_OR) return AS_OR;
        for (size_t i = 0; i < 3 && t->kind == TK_NAME; i++)
            if (str_is(ps_token_str(p, t), folds[i].word)) return folds[i].assign;
    }
    *n = 0;
    return AS_EQ;
}

static bool arrow_at(const token *t) { return t->kind == TK_LT && t[1].kind == TK_MINUS && t[1].begin == t->end; }

// The token behind the head at the current NAME.
static const token *behind_head(const parser *p, bool *indexed) {
    const token *t = p->t + 1;
    *indexed = (t->kind == TK_LBRACK || t->kind == TK_LPAREN) && !t->space && t->match != LEX_NONE;
    return *indexed ? &p->toks[t->match] + 1 : t;
}

// ---- where and rule bodies ---------------------------------------------------------------------
static ast_literal *parse_literal(parser *p) {
    ast_literal *l = arena_new(p->a, ast_literal);
    uint32_t begin = p->t->begin;
    ast_expr *e = parse_expr(p);
    if (e->kind == EX_UNARY && e->op == OP_NOT && e->kids != NULL) {
        l->negated = true;
        e = e->kids;
    }
    l->expr = e;
    l->at = ps_span_from(p, begin);
    return l;
}

ast_literal *parse_literals(parser *p) {
    ast_literal *first = NULL, **tail = &first;
    do {
        *tail = parse_literal(p);
        tail = &(*tail)->next;
    } while (!p->panic && ps_accept(p, TK_COMMA));
    return first;
}

// `where` may start the next line: no statement begins with it.
ast_literal *parse_where(parser *p) { return ps_accept(p, TK_WHERE) ? parse_literals(p) : NULL; }

// ---- assignments, equations, rules -------------------------------------------------------------
static void parse_rule_tail(parser *p, ast_stmt *s) {
    s->kind = ST_RULE;
    p->t->role = TR_ARROW;
    ps_take(p);
    ps_take(p);
    s->where = parse_literals(p);
    stmt_end(p, s, "the rule");
}

static void parse_assign_tail(parser *p, ast_stmt *s) {
    int n;
    const token *op = p->t;
    s->assign = parse_assign_at(p, p->t, &n);
    if (n == 2) p->t->role = TR_FOLD;
    for (int i = 0; i < n; i++) ps_take(p);
    s->assign_at = ps_span_from(p, op->begin);
    s->expr = parse_expr(p);
    if (!p->panic && ps_at(p, TK_ASSIGN) && !ps_line_ends(p)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "a second '=' in one statement");
        ps_fix(p, d, "== compares; to assign to two names, write two lines");
        return;
    }
    s->where = parse_where(p);
    stmt_end(p, s, "the expression");
}

// NAME [indices] assign ..., head <- ..., atom? ...; false: the line is none of these.
static bool parse_headed(parser *p, ast_stmt ***tail) {
    bool indexed;
    int n;
    const token *u = behind_head(p, &indexed);
    bool round = indexed && p->t[1].kind == TK_LPAREN;
    if (u->nl && u->kind != TK_END) return false;
    parse_assign_at(p, u, &n);
    bool arrow = indexed && arrow_at(u);
    if (n == 0 && !arrow && !(round && u->kind == TK_QUESTION)) return false;
    ast_stmt *s = stmt_new(p, ST_ASSIGN, p->t->begin, tail);
    if (n == 0 && !arrow) {
        s->kind = ST_QUERY;
        s->expr = parse_postfix(p);
        parse_query_end(p, s);
        return true;
    }
    s->head = parse_head(p);
    if (p->panic) return true;
    if (arrow) parse_rule_tail(p, s);
    else parse_assign_tail(p, s);
    return true;
}

// let heads name axes; "l (g r)" is a comma forgotten, not a product.
static void check_axes(parser *p, const ast_head *h) {
    for (const ast_index *x = h->index; x != NULL && !p->panic; x = x->next) {
        if (x->kind != IX_EXPR || x->expr->kind != EX_BINARY || x->expr->op != OP_JUXT) continue;
        diag *d = ps_fail(p, x->at, "expected an axis's name here, found a product");
        ps_fix(p, d, "put ',' between the axes");
    }
}

static void parse_let(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_LET, ps_take(p)->begin, tail);
    if (ps_at(p, TK_LPAREN) || ps_at(p, TK_LBRACK)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "let takes one name; it does not take values apart");
        ps_fix(p, d, "write let t = ..., then let a = t[0]");
        return;
    }
    s->head = parse_head(p);
    if (s->head.round && !p->panic) {
        diag *d = ps_fail(p, s->head.at, "let names a value, and %.*s(...) is a function's or relation's head", (int)s->head.name.n, s->head.name.p);
        ps_fix(p, d, "write fn %.*s(...) { ... } for a function, or [ ] for axes", (int)s->head.name.n, s->head.name.p);
        return;
    }
    check_axes(p, &s->head);
    if (ps_accept(p, TK_COLON)) s->type = parse_type(p);
    int n;
    parse_assign_at(p, p->t, &n);
    if (!ps_at(p, TK_ASSIGN) || ps_line_ends(p)) {
        str name = s->head.name;
        diag *d = ps_fail(p, ps_found_at(p), "expected '=' after let %.*s, found %s", (int)name.n, name.p, ps_found(p));
        const token *op = p->stopped;
        if (n > 0)
            ps_fix(p, d, "let introduces a name with =; %.*s works on one that exists, without let",
                   (int)(op[n - 1].end - op->begin), p->src->text.p + op->begin);
        else if (str_is(name, "mut") || str_is(name, "var"))
            ps_fix(p, d, "leave %.*s away: every name can be assigned again", (int)name.n, name.p);
        else if (p->stopped->kind == TK_LBRACK && !p->stopped->nl) ps_fix(p, d, "leave no space before '['");
        else if (p->stopped->kind == TK_NAME && !p->stopped->nl) ps_fix(p, d, "a name is one word; a type follows a colon: let x: int = 1");
        else ps_fix(p, d, "every let has a value: let x = 0");
        return;
    }
    s->assign_at = ps_span_of(p, p->t);
    ps_take(p);
    s->expr = parse_expr(p);
    if (!p->panic && ps_at(p, TK_WHERE)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "'where' belongs to an equation, not to let");
        ps_fix(p, d, "leave the word let away");
        return;
    }
    stmt_end(p, s, "the value");
}

static void parse_expr_stmt(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_EXPR, p->t->begin, tail);
    s->expr = parse_expr(p);
    int n;
    parse_assign_at(p, p->t, &n);
    if (!p->panic && n > 0 && !ps_line_ends(p)) {
        diag *d = ps_fail(p, s->expr->at, "cannot assign to this: the left side is a name, or a name with one list of indices");
        if (s->expr->kind == EX_INDEX) ps_fix(p, d, "write all indices in one list: a[i, j]");
        else if (s->expr->kind == EX_FIELD) ps_fix(p, d, "fields are read-only; bind the new value to a name");
        else if (s->expr->kind == EX_TUPLE || s->expr->kind == EX_LIST) ps_fix(p, d, "assign to one name a line");
        else hint_end(p, d, s->expr);
        return;
    }
    stmt_end(p, s, "the expression");
}

// ---- control flow ------------------------------------------------------------------------------
ast_stmt *parse_block(parser *p, const char *after) {
    token *open = p->t;
    if (!ps_at(p, TK_LBRACE)) {
        diag *d = ps_fail(p, ps_found_at(p), "expected '{' after %s, found %s", after, ps_found(p));
        hint_block(p, d);
        return NULL;
    }
    ast_stmt *body = NULL;
    int brackets = p->brackets;
    bool header = p->header, fields = p->fields;
    const token *block = p->block;
    p->block = open;
    p->brackets = 0;
    p->header = p->fields = false;
    open->role = TR_BLOCK;
    ps_take(p);
    if (ps_enter(p)) body = parse_list(p, false);
    ps_leave(p);
    if (ps_at(p, TK_RBRACE)) p->t->role = TR_BLOCK;
    ps_expect_close(p, open, "the block");
    p->block = block;
    p->brackets = brackets;
    p->header = header;
    p->fields = fields;
    return body;
}

static ast_expr *parse_condition(parser *p) {
    bool header = p->header;
    p->header = true;
    ast_expr *e = parse_expr(p);
    if (!p->panic && ps_at(p, TK_ASSIGN)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "'=' in a condition");
        ps_fix(p, d, "== compares");
    }
    p->header = header;
    return e;
}

static void parse_if(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_IF, ps_take(p)->begin, tail);
    s->expr = parse_condition(p);
    s->body = parse_block(p, "the condition");
    if (!p->panic && ps_accept(p, TK_ELSE)) {
        if (ps_at(p, TK_LBRACE)) {
            s->orelse = parse_block(p, "else");
        } else if (ps_line_ends(p)) {
            ps_fail(p, ps_found_at(p), "expected '{' or a statement after else, found %s", ps_found(p));
        } else {
            ast_stmt **rest = &s->orelse;
            if (ps_enter(p)) parse_stmt(p, &rest, false);
            ps_leave(p);
        }
    }
    stmt_done(p, s);
}

static void parse_for(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_FOR, ps_take(p)->begin, tail);
    s->head.at = ps_span_of(p, p->t);
    s->head.name = ps_expect_name(p, "the loop's name after for");
    if (!p->panic && !ps_at(p, TK_IN)) {
        diag *d = ps_fail(p, ps_found_at(p), "expected 'in' after for %.*s, found %s", (int)s->head.name.n, s->head.name.p, ps_found(p));
        ps_fix(p, d, "loops are written: for i in range(n) { ... }");
        return;
    }
    ps_accept(p, TK_IN);
    s->expr = parse_condition(p);
    s->body = parse_block(p, "what the loop goes over");
    parse_warn_last(p, s->body);
    stmt_done(p, s);
}

static void parse_while(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_WHILE, ps_take(p)->begin, tail);
    s->expr = parse_condition(p);
    s->body = parse_block(p, "the condition");
    parse_warn_last(p, s->body);
    stmt_done(p, s);
}

static void parse_return(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_RETURN, ps_take(p)->begin, tail);
    if (!ps_line_ends(p) && !ps_at(p, TK_RBRACE) && !ps_at(p, TK_SEMI)) s->expr = parse_expr(p);
    stmt_end(p, s, "the returned value");
}

static void parse_jump(parser *p, st_kind kind, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, kind, ps_take(p)->begin, tail);
    stmt_end(p, s, kind == ST_BREAK ? "break" : "continue");
}

// `assert e`, `assert e, "message"`, `assert(e, "message")`
static void parse_assert(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_ASSERT, ps_take(p)->begin, tail);
    if (ps_at(p, TK_LPAREN) && !p->t->space) p->t->role = TR_GLUED;
    s->expr = parse_expr(p);
    ast_expr *text = NULL;
    if (!p->panic && ps_accept(p, TK_COMMA)) {
        text = parse_expr(p);
    } else if (s->expr->kind == EX_TUPLE && s->expr->n_kids == 2) {
        ast_expr *both = s->expr->kids;
        text = both->next;
        s->expr = both;
        both->next = NULL;
    }
    if (text != NULL && !p->panic && text->kind != EX_STRING) ps_fail(p, text->at, "expected a string: the message of the assertion");
    if (text != NULL) s->text = text->name;
    stmt_end(p, s, "the assertion");
}

static bool parse_word_stmt(parser *p, ast_stmt ***tail) {
    const token *next = ps_ahead(p, 1);
    if (ps_at_word(p, "loop") && next->kind == TK_LBRACE && !next->nl) {
        ast_stmt *s = stmt_new(p, ST_LOOP, ps_take(p)->begin, tail);
        s->body = parse_block(p, "loop");
        parse_warn_last(p, s->body);
        stmt_done(p, s);
        return true;
    }
    int n;
    parse_assign_at(p, next, &n);
    if (ps_at_word(p, "assert") && n == 0 && !next->nl && next->kind != TK_DOT && next->kind != TK_LBRACK) return parse_assert(p, tail), true;
    return false;
}

// ---- lists -------------------------------------------------------------------------------------
void parse_stmt(parser *p, ast_stmt ***tail, bool top) {
    if (hint_statement(p, top)) return;
    switch (p->t->kind) {
    case TK_LET: parse_let(p, tail); return;
    case TK_IF: parse_if(p, tail); return;
    case TK_FOR: parse_for(p, tail); return;
    case TK_WHILE: parse_while(p, tail); return;
    case TK_RETURN: parse_return(p, tail); return;
    case TK_BREAK: parse_jump(p, ST_BREAK, tail); return;
    case TK_CONTINUE: parse_jump(p, ST_CONTINUE, tail); return;
    case TK_SEMI: ps_take(p); return;
    case TK_LBRACE: {
        ast_stmt *s = stmt_new(p, ST_BLOCK, p->t->begin, tail);
        s->body = parse_block(p, "");
        stmt_done(p, s);
        return;
    }
    default: break;
    }
    if (parse_declaration(p, tail, top)) return;
    if (ps_at(p, TK_NAME) && (parse_logic(p, tail) || parse_patch(p, tail) || parse_word_stmt(p, tail) || parse_headed(p, tail))) return;
    parse_expr_stmt(p, tail);
}

// A value that nobody uses is most often a line that was meant to go on, or a call without ( ). The last statement of
// a list is spared: it may be a function's value.
static void warn_unused(parser *p, const ast_stmt *s) {
    const ast_expr *e = s->expr;
    if (s->kind != ST_EXPR || e == NULL || e->kind == EX_CALL) return;
    diag *d = diag_add(p->dl, DG_WARNING, e->at, "the value of this line is not used");
    const ast_expr *left = e->kids;
    if (e->kind == EX_UNARY && e->op == OP_NEG) diag_fix(p->dl, d, "if it goes on from the line before, put the '-' at that line's end");
    else if (e->kind == EX_BINARY && e->op == OP_JUXT && left->kind == EX_NAME && left->next->parens)
        diag_fix(p->dl, d, "to call %.*s, leave no space before '('", (int)left->name.n, left->name.p);
    else if (e->kind == EX_BINARY && e->op == OP_EQ) diag_fix(p->dl, d, "= assigns, == compares");
    else if (e->kind == EX_BINARY && e->op == OP_LT && left->next->kind == EX_UNARY && left->next->at.begin == e->op_at.end)
        diag_fix(p->dl, d, "'<-' makes a rule only after a head with arguments, such as R(x, y); = assigns");
    else hint_end(p, d, e);
}

void parse_warn_last(parser *p, const ast_stmt *body) {
    while (body != NULL && body->next != NULL) body = body->next;
    if (body != NULL && !p->panic) warn_unused(p, body);
}

ast_stmt *parse_list(parser *p, bool top) {
    ast_stmt *first = NULL, **tail = &first;
    while (!parse_block_ends(p, top ? NULL : p->block)) {
        token *start = p->t;
        ast_stmt **before = tail;
        start->start = true;
        parse_stmt(p, &tail, top);
        if (p->panic) {
            parse_resync(p, start, !top);
            continue;
        }
        if (p->t == start) ps_take(p);
        if (*before != NULL && !ps_at(p, TK_END) && !ps_at(p, TK_RBRACE)) warn_unused(p, *before);
    }
    return first;
}
