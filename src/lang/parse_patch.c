// parse_patch.c - `patch X[l=12, g=0:2] += expr`: what is to follow a name's assignments elsewhere in the program.
#include "lang/parse.h"

// NAME "=" ( expr | [ expr ] ":" [ expr ] )
static ast_index *parse_limit(parser *p) {
    ast_index *x = arena_new(p->a, ast_index);
    uint32_t begin = p->t->begin;
    x->names = parse_name(p, "the name of a loop or an axis");
    if (!p->panic && !ps_at(p, TK_ASSIGN)) {
        diag *d = ps_fail(p, ps_found_at(p), "expected '=' after the name, found %s", ps_found(p));
        ps_fix(p, d, "a patch says where it applies: X[l=12], A[l=3, g=0:2]");
        return x;
    }
    p->t->role = TR_TIGHT;
    ps_accept(p, TK_ASSIGN);
    if (!ps_at(p, TK_COLON)) x->expr = parse_expr(p);
    if (!p->panic && ps_at(p, TK_COLON)) {
        p->t->role = TR_TIGHT;
        ps_take(p);
        x->kind = IX_SLICE;
        x->lo = x->expr;
        x->expr = NULL;
        if (!ps_at(p, TK_COMMA) && !ps_at(p, TK_RBRACK)) x->hi = parse_expr(p);
    }
    x->at = ps_span_from(p, begin);
    return x;
}

static void parse_limits(parser *p, ast_head *h) {
    ast_index **tail = &h->index;
    token *open = p->t;
    open->role = TR_GLUED;
    ps_take(p);
    h->indexed = true;
    p->brackets++;
    while (!p->panic && !ps_at(p, TK_RBRACK)) {
        *tail = parse_limit(p);
        tail = &(*tail)->next;
        h->n_index++;
        if (!ps_accept(p, TK_COMMA)) break;
    }
    p->brackets--;
    ps_expect_close(p, open, "where the patch applies");
}

bool parse_patch(parser *p, ast_stmt ***tail) {
    const token *next = ps_ahead(p, 1);
    int n;
    if (!ps_at_word(p, "patch") || next->kind != TK_NAME || next->nl) return false;
    parse_assign_at(p, next, &n);
    if (n) return false; // patch max= 3
    ast_stmt *s = stmt_new(p, ST_PATCH, ps_take(p)->begin, tail);
    s->head.at = ps_span_of(p, p->t);
    s->head.name = ps_expect_name(p, "the name that is patched");
    if (!p->panic && ps_at(p, TK_LBRACK) && !p->t->space) parse_limits(p, &s->head);
    s->assign = p->panic ? AS_EQ : parse_assign_at(p, p->t, &n);
    if (!p->panic && (n == 0 || s->assign == AS_AVG || s->assign == AS_OR || s->assign == AS_SOFT)) {
        ps_fail(p, ps_found_at(p), "expected =, +=, -=, *=, max= or min= in a patch, found %s", ps_found(p));
        return true;
    }
    const token *op = p->t;
    if (n == 2) p->t->role = TR_FOLD;
    for (int i = 0; i < n && !p->panic; i++) ps_take(p);
    if (!p->panic) s->assign_at = ps_span_from(p, op->begin);
    s->expr = parse_expr(p);
    stmt_end(p, s, "the patch");
    return true;
}
