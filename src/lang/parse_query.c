// parse_query.c - queries, rules marked with `rule`, learn and infer.
#include "lang/parse.h"

ast_expr *parse_atom(parser *p, const char *what) {
    const token *t = p->t;
    ast_expr *e = parse_postfix(p);
    if (p->panic || (e->kind == EX_CALL && e->kids->kind == EX_NAME)) return e;
    diag *d = ps_fail(p, (span){p->src, t->begin, e->at.end}, "expected %s such as R(x, y)", what);
    if (e->kind == EX_INDEX) ps_fix(p, d, "the arguments of a relation stand in ( )");
    return e;
}

void parse_query_end(parser *p, ast_stmt *s) {
    ps_accept(p, TK_QUESTION);
    s->where = p->panic ? NULL : parse_where(p);
    stmt_end(p, s, "the query");
}

// "{" { NAME ":" (expr | set) [","] } "}"; with body_of also statements, which go to its body.
ast_expr *parse_fields(parser *p, ast_stmt *body_of) {
    ast_expr *first = NULL, **tail = &first;
    ast_stmt **body = body_of ? &body_of->body : NULL;
    token *open = p->t;
    if (!ps_expect(p, TK_LBRACE, "before the fields")) return NULL;
    open->role = TR_BLOCK;
    bool fields = p->fields;
    p->fields = true;
    while (!parse_block_ends(p, open)) {
        token *start = p->t;
        start->start = true;
        if (ps_ahead(p, 1)->kind == TK_COLON && (ps_at(p, TK_NAME) || token_is_keyword((tk_kind)p->t->kind))) {
            str name = ps_token_str(p, ps_take(p));
            ps_take(p);
            *tail = parse_expr(p);
            (*tail)->arg_name = name;
            tail = &(*tail)->next;
            ps_accept(p, TK_COMMA);
        } else if (body != NULL) {
            parse_stmt(p, &body, false);
        } else {
            ps_fail(p, ps_span_of(p, p->t), "expected a field, as in name: value, found %s", ps_found(p));
        }
        if (p->panic && open->match == LEX_NONE) break; // who knows where it ends
        if (p->panic) parse_resync(p, start, true);
        else if (p->t == start) ps_take(p);
    }
    p->fields = fields;
    if (ps_at(p, TK_RBRACE)) p->t->role = TR_BLOCK;
    ps_expect_close(p, open, "the fields");
    return first;
}

static void parse_query(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_QUERY, ps_take(p)->begin, tail);
    s->expr = parse_atom(p, "a relation with its arguments");
    parse_query_end(p, s);
}

// METHOD atom [ "?" ] [ "where" body ]
static void parse_method_query(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_QUERY, p->t->begin, tail);
    s->head.at = ps_span_of(p, p->t);
    s->head.name = ps_expect_name(p, "a method, such as forward or backward");
    if (ps_at_word(p, "query") && ps_ahead(p, 1)->kind == TK_NAME) ps_take(p);
    s->expr = parse_atom(p, "a relation with its arguments");
    ps_accept(p, TK_QUESTION);
    s->where = p->panic ? NULL : parse_where(p);
    stmt_done(p, s);
    if (!p->panic) ps_accept(p, TK_SEMI);
}

static void parse_infer(parser *p, ast_stmt ***tail) {
    ast_stmt *s = stmt_new(p, ST_INFER, ps_take(p)->begin, tail), **body = &s->body;
    token *open = p->t;
    if (open->kind != TK_LBRACE) {
        while (!p->panic && !ps_line_ends(p) && !ps_at(p, TK_RBRACE)) parse_method_query(p, &body);
        stmt_done(p, s);
        return;
    }
    open->role = TR_BLOCK;
    ps_take(p);
    while (!parse_block_ends(p, open)) {
        token *start = p->t;
        start->start = true;
        parse_method_query(p, &body);
        if (p->panic && open->match == LEX_NONE) break; // who knows where it ends
        if (p->panic) parse_resync(p, start, true);
    }
    if (ps_at(p, TK_RBRACE)) p->t->role = TR_BLOCK;
    ps_expect_close(p, open, "the queries");
    stmt_done(p, s);
}

bool parse_logic(parser *p, ast_stmt ***tail) {
    const token *next = ps_ahead(p, 1), *after = ps_ahead(p, 2);
    int n;
    parse_assign_at(p, next, &n);
    if (next->nl || n > 0) return false;
    bool name = next->kind == TK_NAME;
    if (ps_at_word(p, "query") && name) return parse_query(p, tail), true;
    if (ps_at_word(p, "learn") && next->kind == TK_LBRACE) {
        ast_stmt *s = stmt_new(p, ST_LEARN, ps_take(p)->begin, tail);
        s->fields = parse_fields(p, s);
        stmt_done(p, s);
        return true;
    }
    if (ps_at_word(p, "infer") && (next->kind == TK_LBRACE || (name && after->kind == TK_NAME && !after->nl))) return parse_infer(p, tail), true;
    if (!ps_at_word(p, "rule") || !name) return false;
    ps_take(p); // `rule` only says what the arrow says already
    ast_stmt **before = *tail;
    parse_stmt(p, tail, false);
    if (p->panic || (*before != NULL && (*before)->kind == ST_RULE)) return true;
    diag *d = ps_fail(p, *before ? (*before)->at : ps_found_at(p), "expected a rule after 'rule'");
    ps_fix(p, d, "a rule is written: R(x, z) <- R(x, y), R(y, z)");
    return true;
}
