// update.c - equations that change a tensor in place or run in steps: scatters, parts, recurrences, fixpoints.
#include <inttypes.h>
#include <math.h>

#include "eval/update.h"
#include "eval/watch.h"

// ---- elements ------------------------------------------------------------------------------------

static float updated(as_kind k, float old, float x) {
    switch (k) {
    case AS_ADD: return old + x;
    case AS_SUB: return old - x;
    case AS_MUL: return old * x;
    case AS_MAX: return x > old ? x : old;
    case AS_MIN: return x < old ? x : old;
    case AS_OR: return (float)(old != 0 || x != 0);
    default: return x;
    }
}

static float *head_positions(equation *q, const ast_expr *e, const int *labels, int n) {
    operand o = eq_factor(q, e, ~(eq_set)0);
    return tensor_floats(q->ev, tensor_compact(q->ev, eq_tensor(q, &o, labels, n), e->at), e->at);
}

void update_elements(equation *q, const ast_stmt *s, const update_head *h, const operand *x, binding *b) {
    evaluator *ev = q->ev;
    if (s->assign == AS_AVG) ev_fail(ev, s->assign_at, "an average of parts is not kept: use a new name");
    tensor *old = value_tensor(ev, b->v, s->head.at);
    if (old->rank != h->n) ev_fail(ev, s->head.at, "'%.*s' has %d axes, %d indices are given", (int)s->head.name.n, s->head.name.p, old->rank, h->n);
    int labels[EQ_LABELS], n = eq_order(q, NULL, h->keep, labels);
    const float *from = tensor_floats(ev, tensor_compact(ev, eq_tensor(q, x, labels, n), s->at), s->at);
    const float *place[IR_MAX_RANK] = {0};
    for (int i = 0; i < h->n; i++)
        if (h->scatter[i]) place[i] = head_positions(q, h->scatter[i], labels, n);
    int64_t sizes[IR_MAX_RANK], total = 1, at[EQ_LABELS] = {0};
    for (int i = 0; i < old->rank; i++) sizes[i] = old->ax[i].size;
    for (int i = 0; i < n; i++) total *= q->lab[labels[i]].size;
    tensor *t = tensor_from_floats(ev, old->rank, sizes, tensor_floats(ev, old, s->head.at));
    for (int i = 0; i < old->rank; i++) {
        int64_t stride = t->ax[i].stride;
        t->ax[i] = old->ax[i];
        t->ax[i].stride = stride;
    }
    t->type = old->type == DT_BOOL ? DT_BOOL : DT_F32;
    float *to = t->buf->data;
    for (int64_t e = 0; e < total; e++) {
        int64_t where = 0;
        for (int i = 0; i < h->n; i++) {
            int64_t p = h->fixed[i];
            if (place[i]) p = (int64_t)place[i][e];
            for (int k = 0; k < n && h->label[i] >= 0; k++)
                if (labels[k] == h->label[i]) p = at[k];
            if (p < 0 || p >= sizes[i]) ev_fail(ev, s->head.at, "index %" PRId64 " of an axis of %" PRId64, p, sizes[i]);
            where += p * t->ax[i].stride;
        }
        to[where] = updated(s->assign, to[where], from[e]);
        for (int k = n - 1; k >= 0 && ++at[k] == q->lab[labels[k]].size; k--) at[k] = 0;
    }
    b->v = v_of_tensor(watch_bound(ev, s, s->head.name, t));
}

// ---- recurrences over a virtual index ------------------------------------------------------------
static ast_index *without_virtual(arena *a, const ast_index *list, int *n, const ast_index **found);

static ast_expr *expr_without(arena *a, const ast_expr *e, const ast_index **found) {
    ast_expr *c = arena_new(a, ast_expr), **tail = &c->kids;
    *c = *e;
    for (const ast_expr *k = e->kids; k; k = k->next) {
        *tail = expr_without(a, k, found);
        tail = &(*tail)->next;
    }
    *tail = NULL;
    c->index = without_virtual(a, e->index, &c->n_index, found);
    return c;
}

static ast_index *without_virtual(arena *a, const ast_index *list, int *n, const ast_index **found) {
    ast_index *first = NULL, **tail = &first;
    *n = 0;
    for (const ast_index *ix = list; ix; ix = ix->next) {
        if (ix->virtual_axis) {
            *found = ix;
            continue;
        }
        ast_index *c = arena_new(a, ast_index);
        *c = *ix;
        c->next = NULL;
        if (ix->expr) c->expr = expr_without(a, ix->expr, found);
        *tail = c;
        tail = &c->next;
        ++*n;
    }
    return first;
}

const ast_index *virtual_index(const ast_stmt *s) {
    for (const ast_index *ix = s->head.index; ix; ix = ix->next)
        if (ix->virtual_axis) return ix;
    return NULL;
}

static const ast_expr *name_in(const ast_expr *e) {
    while (e && e->kind == EX_BINARY) e = e->kids;
    return e && e->kind == EX_NAME ? e : NULL;
}

// ---- the steps of a recurrence ---------------------------------------------------------------------
// One step is stored unless a later equation of the same block reads the others: Y[t, o] = W[o, d] H[*t + 1, d]. Then
// they are kept under a name that no program can write: "*H", with the steps as its first axis, from the first value on.
static const ast_index *virtual_read(const ast_expr *e, str name) { // of `name`; empty: of anything
    const ast_index *found = NULL;
    if (e->kind == EX_INDEX && e->kids->kind == EX_NAME && (!name.n || str_eq(e->kids->name, name)))
        for (const ast_index *ix = e->index; ix; ix = ix->next)
            if (ix->virtual_axis) return ix;
    for (const ast_index *ix = e->index; ix && !found; ix = ix->next) found = ix->expr ? virtual_read(ix->expr, name) : NULL;
    for (const ast_expr *k = e->kids; k && !found; k = k->next) found = virtual_read(k, name);
    return found;
}

bool reads_steps(const ast_stmt *s) { return s->expr && !virtual_index(s) && virtual_read(s->expr, (str){0}); }

static bool steps_wanted(const evaluator *ev, const ast_stmt *s) {
    if (ev->cur == ev->entries && !s->next) return true; // of the REPL: what comes next is not known
    for (const ast_stmt *p = s->next; p; p = p->next)
        if (p->expr && !virtual_index(p) && virtual_read(p->expr, s->head.name)) return true;
    return false;
}

static str steps_name(evaluator *ev, str name) {
    char buf[200];
    int n = snprintf(buf, sizeof buf, "*%.*s", name.n < 190 ? (int)name.n : 190, name.p);
    return (str){intern(ev, (str){buf, (size_t)n}), (size_t)n};
}

// All steps in one tensor, bound at once: the collector sees it.
static tensor *new_steps(evaluator *ev, const ast_stmt *s, int64_t steps) {
    const tensor *first = value_tensor(ev, find_name(ev, s->head.name)->v, s->at);
    int64_t sizes[IR_MAX_RANK] = {steps};
    if (first->rank == IR_MAX_RANK) ev_fail(ev, s->at, "the steps of a tensor with %d axes cannot be kept", IR_MAX_RANK);
    for (int i = 0; i < first->rank; i++) sizes[i + 1] = first->ax[i].size;
    tensor *t = tensor_from_floats(ev, first->rank + 1, sizes, NULL);
    for (int i = 0; i < first->rank; i++) {
        int64_t stride = t->ax[i + 1].stride;
        t->ax[i + 1] = first->ax[i];
        t->ax[i + 1].stride = stride;
    }
    env_put(ev, ev->scope, steps_name(ev, s->head.name), v_of_tensor(t), s->head.at);
    return t;
}

static void keep_step(evaluator *ev, tensor *all, const ast_stmt *s, int64_t step) {
    if (!all) return;
    tensor *t = value_tensor(ev, find_name(ev, s->head.name)->v, s->at);
    int64_t n = tensor_elements(t);
    if (n != all->ax[0].stride) ev_fail(ev, s->at, "a step of '%.*s' has another size than its first value", (int)s->head.name.n, s->head.name.p);
    memcpy((float *)all->buf->data + step * n, tensor_floats(ev, t, s->at), sizeof(float) * (size_t)n);
}

// H[*t + 1, d] becomes *H[(t + 1), d]; *name is t.
static ast_expr *read_of_steps(evaluator *ev, const ast_expr *e, const ast_expr **name, int64_t *steps) {
    ast_expr *c = arena_new(&ev->a, ast_expr), **tail = &c->kids;
    *c = *e;
    for (const ast_expr *k = e->kids; k; k = k->next) {
        *tail = read_of_steps(ev, k, name, steps);
        (*tail)->next = NULL;
        tail = &(*tail)->next;
    }
    const ast_index *v = e->kind == EX_INDEX && e->kids->kind == EX_NAME ? virtual_read(e, e->kids->name) : NULL;
    if (!v) return c;
    str hidden = steps_name(ev, e->kids->name);
    const binding *b = find_name(ev, hidden);
    *name = name_in(v->expr);
    if (!*name || find_name(ev, (*name)->name)) ev_fail(ev, v->at, "a virtual index is a name without a value: *t or *t + 1");
    if (!b)
        ev_fail_fix(ev, e->at, "write the recurrence before it, in the same block", "the steps of '%.*s' are not kept: no recurrence of it stands here", (int)e->kids->name.n, e->kids->name.p);
    *steps = b->v.t->ax[0].size - 1;
    c->kids->name = hidden;
    ast_index *first = arena_new(&ev->a, ast_index), **at = &first->next;
    *first = *v;
    first->virtual_axis = false;
    first->expr = arena_new(&ev->a, ast_expr);
    *first->expr = *v->expr;
    first->expr->parens = true; // a position, not the axis's own index: there is one value more than steps
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix == v) continue;
        *at = arena_new(&ev->a, ast_index);
        **at = *ix;
        at = &(*at)->next;
    }
    *at = NULL;
    c->index = first;
    return c;
}

void exec_step_reads(evaluator *ev, const ast_stmt *s) {
    const ast_expr *name = NULL;
    int64_t steps = 0;
    ast_stmt plain = *s;
    plain.expr = read_of_steps(ev, s->expr, &name, &steps);
    dim_entry *d = dim_find(ev, intern(ev, name->name));
    size_t dims = ev->dims.n;
    if (!d || d->size < 0) { // how many steps there were tells the size of the index
        if (!vec_push(&ev->dims, ((dim_entry){.name = intern(ev, name->name), .unit = ev->cur, .depth = ev->depth, .size = steps, .at = name->at}))) ev_fail(ev, s->at, "out of memory");
    }
    exec_equation(ev, &plain);
    ev->dims.n = dims;
}

void exec_recurrence(evaluator *ev, const ast_stmt *s) {
    const ast_index *ix = virtual_index(s), *read = NULL;
    const ast_expr *name = name_in(ix->expr);
    if (!name || find_name(ev, name->name)) ev_fail(ev, ix->at, "a virtual index is a name without a value: *t or *t + 1");
    ast_stmt step = *s;
    step.expr = expr_without(&ev->a, s->expr, &read);
    step.head.index = without_virtual(&ev->a, s->head.index, &step.head.n_index, &read);
    step.head.indexed = step.head.n_index > 0;
    step.assign = AS_SET;
    if (!find_name(ev, s->head.name))
        ev_fail_fix(ev, s->head.at, "let H[d] = zeros(8) before it, without the virtual index", "the recurrence of '%.*s' has no first value", (int)s->head.name.n, s->head.name.p);
    ev->pending++;
    equation q = {.ev = ev, .stmt = &step};
    eq_solve(&q, &step);
    ev->pending--;
    int l = eq_find_label(&q, name->name);
    dim_entry *d = dim_find(ev, intern(ev, name->name));
    int64_t n = l >= 0 && q.lab[l].size >= 0 ? q.lab[l].size : d ? d->size : -1;
    if (n < 0) ev_fail_fix(ev, ix->at, "declare it: dim t = SIZE, or read a tensor at t", "nothing tells how many steps '%.*s' has", (int)name->name.n, name->name.p);
    scope *outer = ev->scope;
    tensor *all = !ev->tracing && steps_wanted(ev, s) ? new_steps(ev, s, n + 1) : NULL;
    keep_step(ev, all, s, 0);
    for (int64_t t = 0; t < n; t++) { // one step is stored: the next overwrites it
        ev->scope = env_new(ev, outer);
        env_put(ev, ev->scope, name->name, v_int(t), name->at);
        exec_equation(ev, &step);
        value v = find_name(ev, s->head.name)->v;
        if (v.kind == V_TENSOR && !ev->tracing) tensor_force(ev, v.t, s->at);
        keep_step(ev, all, s, t + 1);
        ev->scope = outer;
        heap_maybe_collect(ev);
    }
}

// ---- fixpoints -------------------------------------------------------------------------------------
static bool reads(const ast_expr *e, str name) {
    if (e->kind == EX_NAME && str_eq(e->name, name)) return true;
    for (const ast_index *ix = e->index; ix; ix = ix->next)
        if (ix->expr && reads(ix->expr, name)) return true;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (reads(k, name)) return true;
    return false;
}

// `=` defines once: what a definition reads must be there before it.
static const ast_stmt *defined_later(evaluator *ev, const ast_stmt *from, const ast_stmt *s, str name, int depth) {
    if (reads(s->expr, name) && !find_name(ev, name)) return s;
    for (const ast_stmt *p = from->next; p && depth < 8; p = p->next)
        if (p->kind == ST_ASSIGN && p->assign == AS_EQ && p->expr && p != s && !find_name(ev, p->head.name) && reads(s->expr, p->head.name)) {
            const ast_stmt *last = defined_later(ev, from, p, name, depth + 1);
            if (last) return last;
        }
    return NULL;
}

static bool steps_along(evaluator *ev, const ast_stmt *s) { // H[t + 1] = ... H[t] ...
    bool along = false;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) along |= ix->kind == IX_EXPR && ix->expr->kind == EX_BINARY && has_free_index(ev, ix->expr);
    for (const ast_index *ix = s->head.index; ix && !along; ix = ix->next)
        for (const ast_expr *k = ix->kind == IX_EXPR && ix->expr->kind == EX_BINARY ? ix->expr->kids : NULL; k; k = k->next) along |= eq_free_name(ev, k);
    return along && reads(s->expr, s->head.name);
}

void refuse_cycle(evaluator *ev, const ast_stmt *s) {
    if (s->kind != ST_ASSIGN || s->assign != AS_EQ || !s->head.indexed || ev->tracing) return;
    str name = s->head.name;
    const ast_stmt *last = defined_later(ev, s, s, name, 0);
    bool along = !last && steps_along(ev, s);
    if (!last && !along) return;
    diag *d = ev_diag(ev, s->at, last && last != s ? "'%.*s' and '%.*s' are defined by each other" : "'%.*s' is defined by itself", (int)name.n, name.p,
                      last ? (int)last->head.name.n : 0, last ? last->head.name.p : "");
    if (last && last != s) diag_note(&ev->dl, d, last->head.at, "this reads '%.*s' again", (int)name.n, name.p);
    diag_fix(&ev->dl, d, along ? "step over a virtual index: %.*s[*t + 1] = ... %.*s[*t] ..." : "give it a first value; then %.*s[*t + 1] = ... %.*s[*t] ... steps, := overwrites, or= max= min= run to a fixpoint",
             (int)name.n, name.p, (int)name.n, name.p);
    ev_throw(ev);
}

bool is_fixpoint(evaluator *ev, const ast_stmt *s) {
    if (s->kind != ST_ASSIGN || !s->head.indexed) return false;
    if (s->assign != AS_OR && s->assign != AS_MAX && s->assign != AS_MIN) return false;
    const binding *b = find_name(ev, s->head.name);
    return b && (b->v.kind == V_TENSOR || b->v.kind == V_PARTS) && reads(s->expr, s->head.name);
}

void exec_fixpoint(evaluator *ev, const ast_stmt *s) {
    int64_t limit = 1000;
    if (ev->tracing)
        ev_fail_fix(ev, s->at, "one round is := max(old, new); a rule over relations runs outside", "a recursion takes as many rounds as its values need, and a step function is traced once");
    for (int64_t round = 0;; round++) {
        tensor *before = value_tensor(ev, find_name(ev, s->head.name)->v, s->at);
        int64_t n = tensor_elements(before);
        if (n + 1 > limit) limit = n + 1; // a shortest way has no more steps than there are elements
        ev->pending++;
        const float *old = tensor_floats(ev, before, s->at);
        exec_equation(ev, s);
        tensor *after = value_tensor(ev, find_name(ev, s->head.name)->v, s->at);
        bool same = tensor_elements(after) == n && memcmp(old, tensor_floats(ev, after, s->at), (size_t)n * sizeof *old) == 0;
        ev->pending--;
        if (same) return;
        if (round < limit) continue;
        ev->code = TL_E_LIMIT;
        ev_fail_fix(ev, s->at, "a cycle that improves a value each time never ends (a negative weight under min=)",
                    "the recursion of '%.*s' has not come to an end after %" PRId64 " rounds", (int)s->head.name.n, s->head.name.p, round);
    }
}
