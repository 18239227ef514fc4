// parse_decl.c - types and declarations: import, dim, tensor, relation, entity, embedding, fn, main, test, bench.
#include "lang/parse.h"

// ---- types -------------------------------------------------------------------------------------
static ast_size *parse_size(parser *p) {
    ast_size *z = arena_new(p->a, ast_size);
    z->at = ps_span_of(p, p->t);
    if (ps_accept(p, TK_QUESTION)) {
        z->kind = SZ_ANY;
    } else if (ps_at(p, TK_INT)) {
        z->kind = SZ_INT;
        if (!literal_int(ps_token_str(p, p->t), false, &z->n)) ps_fail(p, z->at, "this size does not fit into an int (64 bits)");
        ps_take(p);
    } else if (ps_at(p, TK_NAME)) {
        z->kind = SZ_NAME;
        z->name = ps_token_str(p, ps_take(p));
    } else {
        diag *d = ps_fail(p, ps_found_at(p), "expected a size, found %s", ps_found(p));
        ps_fix(p, d, "a size is a number, a dim's name, or ? for any");
    }
    if (!p->panic && !ps_at(p, TK_COMMA) && !ps_at(p, TK_RBRACK)) {
        diag *d = ps_fail(p, ps_found_at(p), "expected ',' or ']' after a size, found %s", ps_found(p));
        ps_fix(p, d, "a size is one number or name; compute it with dim n = ... and write n");
    }
    return z;
}

ast_type *parse_type(parser *p) {
    ast_type *ty = arena_new(p->a, ast_type);
    uint32_t begin = p->t->begin;
    if (ps_at(p, TK_LBRACK)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "expected an element type before '['");
        ps_fix(p, d, "write float32[...], int32[...] or another type's name");
    }
    ty->name = ps_expect_name(p, "a type");
    ty->dtype = p->panic ? DT_COUNT : dtype_from_name(ty->name);
    token *open = p->t;
    if (!p->panic && open->kind == TK_LBRACK && !ps_line_ends(p)) {
        open->role = TR_GLUED;
        ps_take(p);
        ty->has_shape = true;
        p->brackets++;
        if (ps_at(p, TK_RBRACK)) {
            diag *d = ps_fail(p, ps_span_of(p, open), "empty list of sizes");
            ps_fix(p, d, "a single number has a type without brackets");
        }
        for (ast_size **tail = &ty->sizes; !ps_at(p, TK_RBRACK) && !p->panic;) {
            *tail = parse_size(p);
            ty->rank++;
            tail = &(*tail)->next;
            if (!ps_accept(p, TK_COMMA)) break;
        }
        p->brackets--;
        ps_expect_close(p, open, "the sizes");
    }
    ty->at = ps_span_from(p, begin);
    return ty;
}

// ---- parameters --------------------------------------------------------------------------------
static void no_default(parser *p) {
    diag *d = ps_fail(p, ps_span_of(p, p->t), "parameters have no default values");
    ps_fix(p, d, "pass the value in every call");
}

static ast_param *parse_param(parser *p, const char *of) {
    ast_param *q = arena_new(p->a, ast_param);
    uint32_t begin = p->t->begin;
    q->name = ps_expect_name(p, "a parameter's name");
    const bool fn = *of == 'f';
    const int n = (int)q->name.n;
    const char *name = q->name.p;
    if (!p->panic && fn && (ps_at(p, TK_COMMA) || ps_at(p, TK_RPAREN))) { // a function's parameter may be of any type
        q->at = ps_span_from(p, begin);
        return q;
    }
    if (!p->panic && ps_at(p, TK_ASSIGN)) {
        no_default(p);
    } else if (!p->panic && !ps_at(p, TK_COLON)) {
        diag *d = ps_fail(p, ps_found_at(p), "expected '%s' after parameter '%.*s' of the %s, found %s",
                          fn ? ":', ',' or ')" : ":", n, name, of, ps_found(p));
        if (fn) ps_fix(p, d, "a type follows a colon: %.*s: int, %.*s: float32[?]", n, name, n, name);
        else ps_fix(p, d, "write %.*s: entity, or the name of a domain (%.*s: seq)", n, name, n, name);
    }
    ps_accept(p, TK_COLON);
    q->type = parse_type(p);
    if (!p->panic && ps_at(p, TK_ASSIGN)) no_default(p);
    q->at = ps_span_from(p, begin);
    return q;
}

static void check_twice(parser *p, const ast_param *first, const ast_param *q, const char *of) {
    for (const ast_param *o = first; o != q && !p->panic; o = o->next) {
        if (!str_eq(o->name, q->name)) continue;
        diag *d = ps_fail(p, q->at, "the %s has two parameters named '%.*s'", of, (int)q->name.n, q->name.p);
        ps_note(p, d, o->at, "the first one");
    }
}

static void parse_params(parser *p, ast_stmt *s, const char *of) {
    token *open = p->t;
    if (!ps_expect(p, TK_LPAREN, "before the parameters")) return;
    open->role = TR_GLUED;
    ast_param **tail = &s->params;
    p->brackets++;
    while (!ps_at(p, TK_RPAREN) && !p->panic) {
        ast_param *q = *tail = parse_param(p, of);
        tail = &q->next;
        s->n_params++;
        if (s->n_params <= 64) check_twice(p, s->params, q, of);
        else ps_fail(p, q->at, "more than 64 parameters");
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, "the parameters");
}

// ---- declarations ------------------------------------------------------------------------------
static void take_name(parser *p, ast_stmt *s, const char *what) {
    s->head.at = ps_span_of(p, p->t);
    s->head.name = ps_expect_name(p, what);
}

static void parse_import(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_IMPORT, ps_take(p)->begin, tail);
    if (ps_at(p, TK_STRING) && !ps_line_ends(p)) {
        s->text = parse_string(p, p->t);
        s->head.at = ps_span_of(p, p->t);
        if (s->text.n == 0) ps_fail(p, s->head.at, "the path of this import is empty");
        ps_take(p);
    } else {
        diag *d = ps_fail(p, ps_found_at(p), "expected a path in quotes after import, found %s", ps_found(p));
        ps_fix(p, d, "write import \"file.tl\"; the path is relative to this file");
    }
    stmt_end(p, s, "the path");
}

static void parse_dim(parser *p, ast_stmt ***tail) {
    uint32_t begin = ps_take(p)->begin;
    ast_stmt *s;
    for (;;) {
        s = stmt_new(p, ST_DIM, begin, tail);
        take_name(p, s, "the dim's name");
        if (!p->panic && !ps_at(p, TK_ASSIGN)) {
            diag *d = ps_fail(p, ps_found_at(p), "expected '=' after dim %.*s, found %s", (int)s->head.name.n, s->head.name.p, ps_found(p));
            ps_fix(p, d, "a dim has a size: dim %.*s = 64", (int)s->head.name.n, s->head.name.p);
        }
        ps_accept(p, TK_ASSIGN);
        s->expr = parse_expr(p);
        stmt_done(p, s);
        if (p->panic || !ps_accept(p, TK_COMMA)) break;
        begin = p->t->begin;
    }
    stmt_end(p, s, "the size");
}

static void parse_tensor(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_TENSOR, ps_take(p)->begin, tail);
    take_name(p, s, "the tensor's name");
    ps_take(p); // ":", seen by parse_declaration
    s->type = parse_type(p);
    for (; !p->panic && ps_at(p, TK_NAME) && !ps_line_ends(p); ps_take(p)) {
        if (ps_at_word(p, "learnable")) s->learnable = true;
        else if (ps_at_word(p, "frozen")) s->frozen = true;
        else if (ps_at_word(p, "state")) s->state = true;
        else {
            static const str words[] = {{"learnable", 9}, {"frozen", 6}, {"state", 5}};
            char near[16];
            const char *best = diag_nearest(ps_token_str(p, p->t), words, 3, near, sizeof near);
            diag *d = ps_fail(p, ps_span_of(p, p->t), "expected learnable, frozen, state or '=' after the type, found %s", ps_found(p));
            if (best) ps_fix(p, d, "did you mean %s?", best);
            return;
        }
    }
    if (!p->panic && ps_at(p, TK_ASSIGN) && !ps_line_ends(p)) {
        ps_take(p);
        s->expr = parse_expr(p);
    }
    stmt_end(p, s, "the tensor");
}

static void parse_relation(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_RELATION, ps_take(p)->begin, tail);
    take_name(p, s, "the relation's name");
    parse_params(p, s, "relation");
    if (!p->panic && ps_at_word(p, "embed") && !ps_line_ends(p)) {
        ps_take(p);
        s->type = parse_type(p);
    }
    stmt_end(p, s, "the relation");
}

static void parse_entity(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_ENTITY, ps_take(p)->begin, tail);
    take_name(p, s, "the entity's name");
    if (!p->panic && ps_at(p, TK_ASSIGN) && !ps_line_ends(p)) {
        ps_take(p);
        if (!ps_at(p, TK_LBRACE)) {
            diag *d = ps_fail(p, ps_found_at(p), "expected '{' before the members, found %s", ps_found(p));
            ps_fix(p, d, "write entity %.*s = {A, B, C}", (int)s->head.name.n, s->head.name.p);
        }
        s->names = parse_name_set(p, "the members")->kids;
    }
    stmt_end(p, s, "the entity");
}

static void parse_embedding(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_EMBEDDING, ps_take(p)->begin, tail);
    take_name(p, s, "the embedding's name");
    s->fields = parse_fields(p, NULL);
    stmt_done(p, s);
}

static void parse_fn(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_FN, ps_take(p)->begin, tail);
    take_name(p, s, "the function's name");
    parse_params(p, s, "function");
    if (ps_accept(p, TK_ARROW)) s->type = parse_type(p);
    else if (!p->panic && ps_at(p, TK_COLON)) {
        diag *d = ps_fail(p, ps_span_of(p, p->t), "expected '->' before the result's type, found ':'");
        ps_fix(p, d, "write -> instead of :");
    }
    s->body = parse_block(p, s->type ? "the result's type" : "the parameters");
    stmt_done(p, s);
}

static void parse_named_block(parser *p, st_kind kind, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, kind, p->t->begin, tail);
    const char *word = kind == ST_MAIN ? "main" : "the name";
    ps_take(p);
    if (kind != ST_MAIN && ps_at(p, TK_STRING)) {
        s->head.at = ps_span_of(p, p->t);
        s->head.name = parse_string(p, p->t);
        ps_take(p);
    } else if (kind != ST_MAIN) {
        take_name(p, s, kind == ST_TEST ? "the test's name" : "the benchmark's name");
    }
    s->body = parse_block(p, word);
    parse_warn_last(p, s->body);
    stmt_done(p, s);
}

// ---- which one -----------------------------------------------------------------------------------
// Only `import` and `fn` are reserved; the others are declarations by what follows them on the line.
static st_kind declaration_ahead(const parser *p) {
    const token *next = ps_ahead(p, 1), *after = ps_ahead(p, 2);
    if (ps_at(p, TK_IMPORT)) return ST_IMPORT;
    if (ps_at(p, TK_FN)) return ST_FN;
    if (!ps_at(p, TK_NAME) || next->nl) return ST_EXPR;
    bool name = next->kind == TK_NAME;
    if (ps_at_word(p, "dim") && name) return ST_DIM;
    if (ps_at_word(p, "tensor") && name && after->kind == TK_COLON) return ST_TENSOR;
    if (ps_at_word(p, "relation") && name && after->kind == TK_LPAREN) return ST_RELATION;
    if (ps_at_word(p, "entity") && name && (after->kind == TK_ASSIGN || after->kind == TK_SEMI || after->nl)) return ST_ENTITY;
    if (ps_at_word(p, "embedding") && name && after->kind == TK_LBRACE) return ST_EMBEDDING;
    if (ps_at_word(p, "main") && next->kind == TK_LBRACE) return ST_MAIN;
    bool block = (name || next->kind == TK_STRING) && after->kind == TK_LBRACE;
    if (ps_at_word(p, "test") && block) return ST_TEST;
    if (ps_at_word(p, "bench") && block) return ST_BENCH;
    return ST_EXPR;
}

// A declaration that stands only at the top level shows where a block without "}" was meant to end.
bool parse_block_ends(const parser *p, const token *open) {
    if (ps_at(p, TK_END)) return true;
    if (open == NULL) return false;
    if (ps_at(p, TK_RBRACE)) return true;
    st_kind kind = open->match == LEX_NONE && p->t->nl ? declaration_ahead(p) : ST_EXPR;
    return kind != ST_EXPR && kind != ST_TENSOR && kind != ST_DIM;
}

bool parse_declaration(parser *p, ast_stmt ***tail, bool top) {
    st_kind kind = declaration_ahead(p);
    if (kind == ST_EXPR) return false;
    if (!top && kind != ST_TENSOR && kind != ST_DIM) {
        str word = ps_token_str(p, p->t);
        diag *d = ps_fail(p, ps_span_of(p, p->t), "'%.*s' inside a block", (int)word.n, word.p);
        ps_fix(p, d, "declare it at the top level of the file");
        return true;
    }
    switch (kind) {
    case ST_IMPORT: parse_import(p, tail); break;
    case ST_DIM: parse_dim(p, tail); break;
    case ST_TENSOR: parse_tensor(p, tail); break;
    case ST_RELATION: parse_relation(p, tail); break;
    case ST_ENTITY: parse_entity(p, tail); break;
    case ST_EMBEDDING: parse_embedding(p, tail); break;
    case ST_FN: parse_fn(p, tail); break;
    default: parse_named_block(p, kind, tail); break;
    }
    return true;
}
