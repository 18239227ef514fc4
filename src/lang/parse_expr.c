// parse_expr.c - operators by precedence, postfix forms, index lists.
#include "lang/parse.h"

ast_expr *expr_new(parser *p, ex_kind kind, uint32_t begin) {
    ast_expr *e = arena_new(p->a, ast_expr);
    e->kind = kind;
    e->at = (span){p->src, begin, begin};
    e->op_at = ps_span_of(p, p->t);
    return e;
}

ast_expr *expr_done(parser *p, ast_expr *e) {
    int height = 0;
    e->n_kids = 0;
    for (const ast_expr *k = e->kids; k != NULL; k = k->next, e->n_kids++) height = k->height > height ? k->height : height;
    for (const ast_index *x = e->index; x != NULL; x = x->next) {
        const ast_expr *parts[] = {x->expr, x->lo, x->hi};
        for (int i = 0; i < 3; i++) height = parts[i] && parts[i]->height > height ? parts[i]->height : height;
    }
    e->height = height + 1;
    e->at.end = p->last_end > e->at.begin ? p->last_end : e->at.begin;
    if (e->height > PARSE_MAX_HEIGHT) {
        diag *d = ps_fail(p, e->op_at, "this expression is too long (more than %d operations deep)", PARSE_MAX_HEIGHT);
        ps_fix(p, d, "name parts of it with let, or use a loop");
    }
    return e;
}

ast_expr *parse_name(parser *p, const char *what) {
    ast_expr *e = expr_new(p, EX_NAME, p->t->begin);
    e->name = ps_expect_name(p, what);
    return expr_done(p, e);
}

ast_expr *parse_name_set(parser *p, const char *inside) {
    ast_expr *e = expr_new(p, EX_SET, p->t->begin);
    token *open = p->t;
    if (!ps_expect(p, TK_LBRACE, "before the names of a set")) return e;
    p->brackets++;
    ast_expr **tail = &e->kids;
    while (!ps_at(p, TK_RBRACE) && !p->panic) {
        *tail = parse_name(p, "a name");
        tail = &(*tail)->next;
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, inside);
    return expr_done(p, e);
}

// ---- index lists -------------------------------------------------------------------------------
// "(" NAME NAME ... ")" and nothing else: a composite axis.
static bool composite_ahead(const parser *p) {
    const token *t = p->t;
    if (t->kind != TK_LPAREN || t->match == LEX_NONE) return false;
    const token *end = &p->toks[t->match];
    for (const token *k = t + 1; k < end; k++)
        if (k->kind != TK_NAME) return false;
    return end - t > 2 && (end[1].kind == TK_COMMA || end[1].kind == TK_RBRACK || end[1].kind == TK_RPAREN);
}

static void parse_composite(parser *p, ast_index *x) {
    x->kind = IX_COMPOSITE;
    ast_expr **tail = &x->names;
    ps_take(p);
    while (ps_at(p, TK_NAME)) {
        *tail = parse_name(p, "an index name");
        tail = &(*tail)->next;
    }
    ps_take(p); // ")", seen by composite_ahead
}

static bool at_index_end(const parser *p) { return ps_at(p, TK_COMMA) || ps_at(p, TK_RBRACK) || ps_at(p, TK_RPAREN); }

static void check_no_step(parser *p) {
    if (!ps_at(p, TK_COLON) && !ps_at(p, TK_PATH)) return;
    diag *d = ps_fail(p, ps_span_of(p, p->t), "a slice has two parts, begin:end; it has no step");
    ps_fix(p, d, "write a[begin:end]");
}

static ast_index *parse_index(parser *p) {
    ast_index *x = arena_new(p->a, ast_index);
    uint32_t begin = p->t->begin;
    if (ps_at(p, TK_STAR)) {
        p->t->role = TR_UNARY;
        ps_take(p);
        x->virtual_axis = true;
    }
    if (composite_ahead(p)) {
        parse_composite(p, x);
    } else {
        if (ps_at(p, TK_PATH)) check_no_step(p);
        if (!ps_at(p, TK_COLON)) x->expr = parse_expr(p);
        if (ps_at(p, TK_COLON)) {
            p->t->role = TR_TIGHT;
            ps_take(p);
            x->kind = IX_SLICE;
            x->lo = x->expr;
            x->expr = NULL;
            check_no_step(p);
            if (!at_index_end(p)) x->hi = parse_expr(p);
        }
        check_no_step(p);
    }
    if (ps_at(p, TK_DOT)) {
        p->t->role = TR_TIGHT;
        ps_take(p);
        x->normalised = true;
    }
    x->at = ps_span_from(p, begin);
    return x;
}

ast_index *parse_indices(parser *p, token *open, const char *inside, int *n) {
    ast_index *first = NULL, **tail = &first;
    tk_kind close = (tk_kind)(open->kind + 1);
    *n = 0;
    p->brackets++;
    if (ps_at(p, close) && close == TK_RBRACK) {
        diag *d = ps_fail(p, ps_span_of(p, open), "empty index list");
        ps_fix(p, d, "write the indices, as in a[i, j], or leave the brackets away for the whole tensor");
    }
    while (!ps_at(p, close) && !p->panic) {
        *tail = parse_index(p);
        tail = &(*tail)->next;
        ++*n;
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, inside);
    return first;
}

// ---- postfix -----------------------------------------------------------------------------------
static ast_expr *wrap(parser *p, ex_kind kind, ast_expr *base) {
    ast_expr *e = expr_new(p, kind, base->at.begin);
    e->kids = base;
    return e;
}

// A call's argument, named when NAME is followed by ":" or "=". Keywords may name arguments.
static ast_expr *parse_arg(parser *p) {
    str name = {0};
    tk_kind next = (tk_kind)ps_ahead(p, 1)->kind;
    if ((ps_at(p, TK_NAME) || token_is_keyword(p->t->kind)) && (next == TK_COLON || next == TK_ASSIGN)) {
        name = ps_token_str(p, ps_take(p));
        if (next == TK_ASSIGN) p->t->role = TR_TIGHT;
        ps_take(p);
    }
    ast_expr *e = parse_expr(p);
    e->arg_name = name;
    return e;
}

static ast_expr *parse_call(parser *p, ast_expr *callee) {
    if (callee->parens || (callee->kind != EX_NAME && callee->kind != EX_FIELD && callee->kind != EX_PATH)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "'(' right after %s would be a call, and this is no function's name",
                          callee->kind == EX_INT || callee->kind == EX_FLOAT ? "a number" : "an expression");
        ps_fix(p, d, "to multiply, put a space or * before '('");
        return callee;
    }
    token *open = p->t;
    open->role = TR_GLUED;
    ast_expr *e = wrap(p, EX_CALL, callee), **tail = &callee->next, *named = NULL;
    ps_take(p);
    p->brackets++;
    while (!ps_at(p, TK_RPAREN) && !p->panic) {
        ast_expr *arg = *tail = parse_arg(p);
        tail = &arg->next;
        if (arg->arg_name.n > 0) named = arg;
        else if (named != NULL && !p->panic) {
            diag *d = ps_fail(p, arg->at, "an argument without a name follows a named one");
            ps_note(p, d, named->at, "'%.*s' is named here", (int)named->arg_name.n, named->arg_name.p);
            ps_fix(p, d, "write the unnamed arguments first");
        }
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, "the arguments");
    return expr_done(p, e);
}

static ast_expr *parse_subscript(parser *p, ast_expr *base) {
    token *open = p->t;
    ast_expr *e = wrap(p, EX_INDEX, base);
    if (open->space) {
        diag *d = ps_fail(p, ps_span_of(p, open), "a space before '['");
        ps_fix(p, d, "write the index directly after the name, as in a[i]; to multiply by a list, use *");
        return e;
    }
    open->role = TR_GLUED;
    ps_take(p);
    e->index = parse_indices(p, open, "the index list", &e->n_index);
    return expr_done(p, e);
}

static ast_expr *parse_field(parser *p, ast_expr *base, ex_kind kind) {
    ast_expr *e = wrap(p, kind, base);
    p->t->role = TR_TIGHT;
    ps_take(p);
    const token *t = p->t;
    e->op_at = ps_span_of(p, t);
    bool name = t->kind == TK_NAME || token_is_keyword(t->kind) || (t->kind == TK_INT && kind == EX_FIELD);
    if (name && !ps_line_ends(p)) {
        e->name = ps_token_str(p, ps_take(p));
    } else {
        bool ended = ps_line_ends(p);
        diag *d = ps_fail(p, ps_found_at(p), "expected a %s after '%s', found %s", kind == EX_FIELD ? "field name" : "name",
                          kind == EX_FIELD ? "." : "::", ps_found(p));
        if (ended && kind == EX_FIELD) ps_fix(p, d, "statements end with the line; no '.' is needed");
        if (kind == EX_PATH && p->brackets > 0) ps_fix(p, d, "a slice is begin:end; it has no step");
    }
    return expr_done(p, e);
}

static ast_expr *parse_cast(parser *p, ast_expr *base) {
    ast_expr *e = wrap(p, EX_CAST, base);
    ps_take(p);
    e->op_at = ps_span_of(p, p->t);
    e->name = ps_expect_name(p, "a type after 'as'");
    return expr_done(p, e);
}

ast_expr *parse_postfix(parser *p) {
    ast_expr *e = parse_primary(p);
    while (!p->panic && !(p->t->nl && p->brackets == 0)) {
        const token *t = p->t;
        if (t->kind == TK_LBRACK && !t->nl) {
            if (t->space && e->kind == EX_LIST) break; // a comma forgotten between two lists
            e = parse_subscript(p, e);
        } else if (t->kind == TK_LPAREN && !t->space) {
            e = parse_call(p, e);
        } else if (t->kind == TK_DOT) {
            tk_kind next = (tk_kind)t[1].kind;
            if (p->brackets > 0 && (next == TK_COMMA || next == TK_RBRACK || next == TK_RPAREN)) break; // the axis mark
            e = parse_field(p, e, EX_FIELD);
        } else if (t->kind == TK_PATH && (e->kind == EX_NAME || e->kind == EX_PATH || e->kind == EX_FIELD)) {
            e = parse_field(p, e, EX_PATH);
        } else if (t->kind == TK_AS) {
            e = parse_cast(p, e);
        } else {
            break;
        }
    }
    return e;
}

// ---- operators ---------------------------------------------------------------------------------
enum { LV_NONE, LV_OR, LV_AND, LV_CMP, LV_SUM, LV_PROD };

static const struct { uint8_t kind, level, op; } binary_ops[] = {
    {TK_OR, LV_OR, OP_OR},         {TK_OR2, LV_OR, OP_OR},     {TK_AND, LV_AND, OP_AND},       {TK_AND2, LV_AND, OP_AND},
    {TK_EQ, LV_CMP, OP_EQ},        {TK_NE, LV_CMP, OP_NE},     {TK_LT, LV_CMP, OP_LT},         {TK_LE, LV_CMP, OP_LE},
    {TK_GT, LV_CMP, OP_GT},        {TK_GE, LV_CMP, OP_GE},     {TK_PLUS, LV_SUM, OP_ADD},      {TK_MINUS, LV_SUM, OP_SUB},
    {TK_STAR, LV_PROD, OP_MUL},    {TK_SLASH, LV_PROD, OP_DIV}, {TK_PERCENT, LV_PROD, OP_MOD}, {TK_AT, LV_PROD, OP_MATMUL},
};

// The next token starts an operand that multiplies the one before: on the same line, after a space.
static bool juxt_ahead(const parser *p) {
    const token *t = p->t;
    if (t->nl || !t->space) return false;
    if (t->kind == TK_NAME) {
        if (p->header && (ps_at_word(p, "then") || ps_at_word(p, "do"))) return false;
        return !(p->fields && p->brackets == 0 && t[1].kind == TK_COLON);
    }
    bool after_number = t > p->toks && (t[-1].kind == TK_INT || t[-1].kind == TK_FLOAT);
    return t->kind == TK_LPAREN || ((t->kind == TK_INT || t->kind == TK_FLOAT) && !after_number);
}

static int level_ahead(const parser *p, ex_op *op) {
    if (p->t->nl && p->brackets == 0) return LV_NONE;
    for (size_t i = 0; i < sizeof binary_ops / sizeof *binary_ops; i++) {
        if (p->t->kind != binary_ops[i].kind) continue;
        if (p->t->kind == TK_OR && p->t[1].kind == TK_ASSIGN) return LV_NONE; // or=
        *op = (ex_op)binary_ops[i].op;
        return binary_ops[i].level;
    }
    *op = OP_JUXT;
    return juxt_ahead(p) ? LV_PROD : LV_NONE;
}

static ast_expr *parse_binary(parser *p, int least);
static ast_expr *parse_unary(parser *p);

static ast_expr *parse_power(parser *p) {
    ast_expr *base = parse_postfix(p);
    if ((!ps_at(p, TK_CARET) && !ps_at(p, TK_POW)) || (p->t->nl && p->brackets == 0)) return base;
    ast_expr *e = wrap(p, EX_BINARY, base);
    e->op = OP_POW;
    ps_take(p);
    base->next = ps_enter(p) ? parse_unary(p) : expr_new(p, EX_INT, p->t->begin);
    ps_leave(p);
    return expr_done(p, e);
}

// "-" before 9223372036854775808: the only number that fits only with its sign.
static ast_expr *least_int(parser *p) {
    int64_t v;
    if (p->t[1].kind != TK_INT || literal_int(ps_token_str(p, p->t + 1), false, &v)) return NULL;
    if (!literal_int(ps_token_str(p, p->t + 1), true, &v)) return NULL;
    ast_expr *e = expr_new(p, EX_INT, p->t->begin);
    p->t->role = TR_UNARY;
    ps_take(p);
    ps_take(p);
    e->i = v;
    e->f = (double)v;
    return expr_done(p, e);
}

static ast_expr *parse_prefix(parser *p, ex_op op, int level) {
    ast_expr *e = expr_new(p, EX_UNARY, p->t->begin);
    e->op = op;
    if (p->t->kind != TK_NOTW) p->t->role = TR_UNARY;
    ps_take(p);
    if (!ps_enter(p)) e->kids = expr_new(p, EX_INT, p->t->begin);
    else e->kids = level == LV_NONE ? parse_unary(p) : parse_binary(p, level);
    ps_leave(p);
    return expr_done(p, e);
}

static ast_expr *parse_unary(parser *p) {
    if (ps_at(p, TK_MINUS)) {
        ast_expr *e = least_int(p);
        return e ? e : parse_prefix(p, OP_NEG, LV_NONE);
    }
    if (ps_at(p, TK_NOT) || ps_at(p, TK_NOTW)) return parse_prefix(p, OP_NOT, LV_NONE);
    return parse_power(p);
}

static void check_chain(parser *p, const ast_expr *e) {
    ex_op op;
    if (level_ahead(p, &op) != LV_CMP) return;
    diag *d = ps_fail(p, ps_span_of(p, p->t), "comparisons do not chain");
    ps_note(p, d, e->op_at, "the first comparison");
    ps_fix(p, d, "write a %s b and b %s c", op_text(e->op), op_text(op));
}

static ast_expr *parse_binary(parser *p, int least) {
    // `not` holds a whole comparison: not a == b is not (a == b); ! holds one operand
    ast_expr *left = ps_at(p, TK_NOTW) && least <= LV_CMP ? parse_prefix(p, OP_NOT, LV_CMP) : parse_unary(p);
    ex_op op = OP_NONE;
    for (int level; !p->panic && (level = level_ahead(p, &op)) >= least && level != LV_NONE;) {
        ast_expr *e = wrap(p, EX_BINARY, left);
        e->op = op;
        if (op == OP_JUXT) e->op_at.end = e->op_at.begin;
        else ps_take(p);
        left->next = parse_binary(p, level + 1);
        left = expr_done(p, e);
        if (level == LV_CMP) check_chain(p, e);
    }
    return left;
}

ast_expr *parse_expr(parser *p) {
    ast_expr *e = NULL;
    if (ps_enter(p)) e = parse_binary(p, LV_OR);
    ps_leave(p);
    return e ? e : expr_new(p, EX_INT, p->t->begin); // after an error: a placeholder, so that nobody checks for NULL
}
