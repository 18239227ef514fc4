// check_lint.c - equations that run and most likely mean something else: states read under no guard, names with a value
// in the place of a summed index.
#include "eval/check.h"

static bool mentions(const ast_expr *e, str name) {
    if (e->kind == EX_NAME && str_eq(e->name, name)) return true;
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->expr && mentions(ix->expr, name)) return true;
        for (const ast_expr *n = ix->names; n; n = n->next)
            if (str_eq(n->name, name)) return true;
    }
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (mentions(k, name)) return true;
    return false;
}

// ---- states ----------------------------------------------------------------------------------------
// The axis that a step scatters into is the one of the slots: K[l, slot[p], d] := ...
void chk_state_written(const checker *c, chk_symbol *state, const ast_head *h) {
    int pos = 1;
    for (const ast_index *ix = h->index; ix; ix = ix->next, pos++)
        if (ix->kind == IX_EXPR && ix->expr->kind != EX_NAME && chk_has_free(c, ix->expr)) state->slot_axis = pos;
}

static const chk_label *slot_read(const checker *c, const ast_expr *e, const chk_eq *q) { // the index that runs over the slots
    const chk_symbol *s = e->kind == EX_INDEX && e->kids->kind == EX_NAME ? chk_find(c, e->kids->name) : NULL;
    if (!s || s->kind != CK_STATE || !s->slot_axis) return NULL;
    const ast_index *ix = e->index;
    for (int pos = 1; ix && pos < s->slot_axis; pos++) ix = ix->next;
    for (int i = 0; ix && ix->kind == IX_EXPR && ix->expr->kind == EX_NAME && i < q->n; i++)
        if (str_eq(q->lab[i].name, ix->expr->name)) return &q->lab[i];
    return NULL;
}

static bool other_read(const ast_expr *e, const ast_expr *not_this, str name) { // a weight over the slots, say
    if (e != not_this && e->kind == EX_INDEX && mentions(e, name)) return true;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (other_read(k, not_this, name)) return true;
    return false;
}

static void slots(checker *c, const ast_stmt *s, const ast_expr *e, const chk_eq *q, bool normalised) {
    const chk_label *l = slot_read(c, e, q);
    bool guarded = false;
    for (const ast_literal *w = s->where; l && w; w = w->next) guarded |= mentions(w->expr, l->name);
    if (l && !guarded && (normalised || (!l->left && !other_read(s->expr, e, l->name)))) {
        diag *d = diag_add(c->dl, DG_WARNING, e->at, "every slot of the state '%.*s' is read, also those of other sequences and those never written", (int)e->kids->name.n, e->kids->name.p);
        diag_fix(c->dl, d, "... where Sees(p, %.*s), with a rule for who sees which slot", (int)l->name.n, l->name.p);
    }
    for (const ast_expr *k = e->kids; k; k = k->next) slots(c, s, k, q, normalised);
}

// ---- names with a value ------------------------------------------------------------------------------
typedef struct fixed_use { const chk_symbol *s; const ast_index *first; int n; } fixed_use;

static const chk_symbol *number(const checker *c, const ast_index *ix) { // let i = 2, used as an index
    if (ix->kind != IX_EXPR || ix->expr->kind != EX_NAME) return NULL;
    const chk_symbol *s = chk_find(c, ix->expr->name);
    bool plain = s && s->kind == CK_VALUE && !s->assigned && s->def && s->def->kind == ST_LET && s->def->expr && s->def->expr->kind == EX_INT;
    return plain ? s : NULL;
}

static void count_uses(const checker *c, const ast_expr *e, fixed_use *u, int *n) {
    for (const ast_index *ix = e->kind == EX_INDEX ? e->index : NULL; ix; ix = ix->next) {
        const chk_symbol *s = number(c, ix);
        int i = 0;
        while (s && i < *n && u[i].s != s) i++;
        if (!s || i == 8) continue;
        if (i == *n) u[(*n)++] = (fixed_use){s, ix, 0};
        u[i].n++;
    }
    bool product = e->kind == EX_BINARY && (e->op == OP_MUL || e->op == OP_JUXT);
    for (const ast_expr *k = e->kids; product && k; k = k->next) count_uses(c, k, u, n);
}

static void factors(checker *c, const ast_expr *e) {
    bool product = e->kind == EX_BINARY && (e->op == OP_MUL || e->op == OP_JUXT);
    fixed_use u[8];
    int n = 0;
    if (product) count_uses(c, e, u, &n);
    for (int i = 0; i < n; i++) {
        if (u[i].n < 2) continue;
        diag *d = diag_add(c->dl, DG_WARNING, u[i].first->at, "'%.*s' has a value, so nothing is summed over it here: both factors are read at %lld", (int)u[i].s->name.n, u[i].s->name.p,
                           (long long)u[i].s->def->expr->i);
        diag_note(c->dl, d, u[i].s->at, "it has its value from here");
        diag_fix(c->dl, d, "give the index another name, or the value");
    }
    for (const ast_expr *k = e->kids; !product && k; k = k->next) factors(c, k);
}

void chk_lint(checker *c, const ast_stmt *s, const chk_eq *q) {
    bool normalised = false;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) normalised |= ix->normalised;
    slots(c, s, s->expr, q, normalised);
    factors(c, s->expr);
}
