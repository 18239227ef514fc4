// slices.c - slices in equations. X[4:8][j] reads a part, whose index stands behind it; Z[1:3, j] := ... changes a part:
// a slice on the left is an index without a name, and slices of the right side run along with those of the left.
#include <inttypes.h>

#include "eval/update.h"

static bool has_slice(const ast_expr *e) {
    for (; e->kind == EX_INDEX; e = e->kids)
        for (const ast_index *ix = e->index; ix; ix = ix->next)
            if (ix->kind == IX_SLICE) return true;
    return false;
}

static ast_index *copy_index(evaluator *ev, const ast_index *ix, ast_index ***tail) {
    ast_index *c = arena_new(ev->g->a, ast_index);
    *c = *ix;
    c->next = NULL;
    **tail = c;
    *tail = &c->next;
    return c;
}

// The tensor with all of its slices taken, and one index for each of its axes.
static ast_index *merge(evaluator *ev, const ast_expr *e, tensor **t) {
    ast_index *list = NULL, **tail = &list;
    if (e->kind != EX_INDEX) {
        *t = want_tensor(ev, settle(ev, eval(ev, e), e->at), e->at, "what is indexed");
        return NULL;
    }
    const ast_index *inner = merge(ev, e->kids, t), *outer = e->index;
    int pos = 0;
    for (; inner; inner = inner->next, pos++) {
        if (inner->kind != IX_SLICE) {
            (void)copy_index(ev, inner, &tail);
            continue;
        }
        if (pos >= (*t)->rank) ev_fail(ev, inner->at, "this tensor has %d axes", (*t)->rank);
        if ((*t)->ax[pos].sym) ev_fail(ev, inner->at, "a slice of the step's rows");
        int64_t lo, hi;
        slice_bounds(ev, inner, (*t)->ax[pos].size, &lo, &hi);
        *t = tensor_select(ev, *t, pos, lo, hi, false);
        (*t)->ax[pos].dim = NULL, (*t)->ax[pos].dim_decl = NULL; // a part of the axis: no longer the dim
        if (!outer) ev_fail_fix(ev, inner->at, "name the index of the part: X[4:8][j]", "a slice has no index name");
        (void)copy_index(ev, outer, &tail);
        outer = outer->next;
    }
    for (; outer; outer = outer->next) (void)copy_index(ev, outer, &tail);
    return list;
}

bool eq_slices(equation *q, const ast_expr *e, value *v, const ast_index **list, int *n) {
    if (e->kids->kind != EX_INDEX || !has_slice(e->kids)) return false;
    tensor *t;
    *list = merge(q->ev, e, &t);
    *v = v_of_tensor(t);
    *n = 0;
    for (const ast_index *ix = *list; ix; ix = ix->next) ++*n;
    return true;
}

value eq_base(equation *q, const ast_expr *e) {
    for (int i = 0; i < q->n_bases; i++)
        if (q->base[i].e == e) return q->base[i].v;
    value v = settle(q->ev, eval(q->ev, e), e->at);
    if (q->n_bases < (int)(sizeof q->base / sizeof *q->base)) q->base[q->n_bases++] = (eq_base_value){e, v};
    return v;
}

// Z[1:3, j]: the slice becomes the position 1 + s, with an index s that no program can write.
void eq_slice_head(equation *q, ast_stmt *s, tensor *t) {
    evaluator *ev = q->ev;
    ast_index *list = NULL, **tail = &list;
    int pos = 0;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next, pos++) {
        ast_index *c = copy_index(ev, ix, &tail);
        if (ix->kind != IX_SLICE) continue;
        if (pos >= t->rank) ev_fail(ev, ix->at, "'%.*s' has %d axes", (int)s->head.name.n, s->head.name.p, t->rank);
        int64_t lo, hi;
        slice_bounds(ev, ix, t->ax[pos].size, &lo, &hi);
        char name[16];
        snprintf(name, sizeof name, "[%d]", pos);
        ast_expr *at = arena_new(ev->g->a, ast_expr), *from = arena_new(ev->g->a, ast_expr), *index = arena_new(ev->g->a, ast_expr);
        *index = (ast_expr){.kind = EX_NAME, .at = ix->at, .name = str_of(intern(ev, str_of(name)))};
        *from = (ast_expr){.kind = EX_INT, .at = ix->at, .i = lo, .next = index};
        *at = (ast_expr){.kind = EX_BINARY, .op = OP_ADD, .at = ix->at, .kids = from, .n_kids = 2};
        c->kind = IX_EXPR;
        c->expr = at;
        int l = eq_label_of(q, index->name, ix->at);
        q->lab[l].size = hi - lo;
        if (q->n_slices < IR_MAX_RANK) q->slice[q->n_slices++] = l;
    }
    s->head.index = list;
}

bool eq_has_slice(const ast_head *h) {
    for (const ast_index *ix = h->index; ix; ix = ix->next)
        if (ix->kind == IX_SLICE) return true;
    return false;
}
