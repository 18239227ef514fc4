// equation.c - statements with indexed heads: equations, scatters into states, rules as Boolean equations.
#include <inttypes.h>
#include <math.h>

#include "eval/eq.h"
#include "eval/relations.h"
#include "eval/update.h"
#include "eval/watch.h"

// ---- the head ------------------------------------------------------------------------------------
typedef struct head {
    int n;                        // axes of what is defined: one for each index name
    int label[IR_MAX_RANK];       // -1: a fixed position
    int64_t fixed[IR_MAX_RANK];
    const ast_expr *scatter[IR_MAX_RANK]; // position given by a tensor: slot[p]
    bool any_fixed, any_scatter, composite;
    int normalised;               // label, or -1
    int parts[IR_MAX_RANK];       // consecutive labels that make one axis of the result: 1, or those of a composite
    int n_axes;
    eq_set keep;
} head;

static void head_axis(equation *q, head *h, span at) {
    if (h->n == IR_MAX_RANK) ev_fail(q->ev, at, "a tensor has at most %d axes", IR_MAX_RANK);
    h->label[h->n] = -1;
}

static void head_label(equation *q, head *h, const ast_expr *name) {
    head_axis(q, h, name->at);
    int l = eq_label_of(q, name->name, name->at);
    if (h->keep & eq_bit(l)) ev_fail(q->ev, name->at, "index '%s' stands twice on the left", q->lab[l].name);
    h->keep |= eq_bit(l);
    h->label[h->n++] = l;
}

static void read_head(equation *q, const ast_head *a, int skip, head *h) {
    evaluator *ev = q->ev;
    *h = (head){.normalised = -1};
    for (const ast_index *ix = a->index; ix; ix = ix->next) {
        if (skip-- > 0) continue;
        if (ix->virtual_axis) {
            ev->code = TL_E_UNSUPPORTED;
            ev_fail(ev, ix->at, "a virtual index is not supported yet");
        }
        if (ix->kind == IX_SLICE) ev_fail_fix(ev, ix->at, "give the index a name", "a slice on the left changes a part of a tensor that is there");
        if (ix->kind == IX_COMPOSITE) {
            for (const ast_expr *nm = ix->names; nm; nm = nm->next) head_label(q, h, nm), h->parts[h->n_axes]++;
            h->n_axes++;
            h->composite = true;
            continue;
        }
        h->parts[h->n_axes++] = 1;
        if (eq_free_name(ev, ix->expr)) {
            head_label(q, h, ix->expr);
            if (ix->normalised) h->normalised = h->label[h->n - 1];
            continue;
        }
        head_axis(q, h, ix->at);
        eq_set inside = eq_labels_in(q, ix->expr);
        value v = inside ? v_none() : settle(ev, eval(ev, ix->expr), ix->at);
        if (inside || (v.kind == V_TENSOR && v.t->rank)) {
            h->scatter[h->n] = ix->expr;
            h->any_scatter = true;
            h->keep |= inside;
        } else {
            h->fixed[h->n] = want_int(ev, v, ix->at, "an index");
            if (h->fixed[h->n] < 0) ev_fail(ev, ix->at, "a negative index");
            h->any_fixed = true;
        }
        h->n++;
    }
}

// ---- the right side ------------------------------------------------------------------------------
static operand select_where(equation *q, operand mask, operand x, double otherwise) {
    if (mask.is_const) return mask.k != 0 ? x : eq_const(otherwise);
    operand in[3] = {mask, x, eq_const(otherwise)};
    return eq_map(q, MAP_SELECT, in, 3);
}

static operand log_softmax(equation *q, operand x, const operand *mask, int label) { // x - m - log sum exp(x - m), m the largest
    if (mask) x = select_where(q, *mask, x, -INFINITY);
    operand in[2] = {x, eq_fold(q, FOLD_MAX, &x, eq_bit(label))};
    operand d = eq_map(q, MAP_SUB, in, 2), e = eq_map(q, MAP_EXP, &d, 1), sum = eq_fold(q, FOLD_SUM, &e, eq_bit(label));
    operand out[2] = {d, eq_map(q, MAP_LOG, &sum, 1)};
    return eq_map(q, MAP_SUB, out, 2);
}

static operand right_softmax(equation *q, const ast_stmt *s, const head *h) {
    evaluator *ev = q->ev;
    const ast_expr *e = s->expr;
    bool known = e->kind == EX_CALL && e->kids->kind == EX_NAME && (str_is(e->kids->name, "softmax") || str_is(e->kids->name, "log_softmax"));
    if (!known || e->n_kids != 2)
        ev_fail_fix(ev, e->at, "A[i, j.] = softmax(...)", "an index with a dot on the left marks the axis of a softmax, which must be the whole right side");
    operand x = eq_scope(q, e->kids->next, h->keep);
    int labels[EQ_LABELS], n = eq_order(q, x.is_const ? NULL : &x, (x.is_const ? 0 : x.labels) & ~eq_bit(h->normalised), labels);
    operand mask = {0};
    if (s->where) {
        mask = eq_guard(q, s->where, h->keep);
        if (mask.is_const && mask.k == 0 && str_is(e->kids->name, "softmax")) return eq_const(0); // over nothing
        eq_set more = mask.is_const ? 0 : mask.labels & ~x.labels & ~eq_bit(h->normalised);
        n += eq_order(q, &mask, more, labels + n);
    }
    labels[n++] = h->normalised;
    if (str_is(e->kids->name, "log_softmax")) return log_softmax(q, x, s->where ? &mask : NULL, h->normalised);
    ir_space sp;
    eq_space(q, labels, n, &sp);
    ir_edge a = eq_edge(q, &x, labels, n), m;
    bool masked = s->where && !mask.is_const;
    if (masked) m = eq_edge(q, &mask, labels, n);
    operand r = eq_space_result(labels, n, &sp, ir_softmax(ev->g, &sp, &a, masked ? &m : NULL));
    return r;
}

static fold_kind fold_of(as_kind k) {
    switch (k) {
    case AS_MAX: return FOLD_MAX;
    case AS_MIN: return FOLD_MIN;
    case AS_AVG: return FOLD_AVG;
    case AS_OR: return FOLD_OR;
    case AS_MUL: return FOLD_PROD;
    default: return FOLD_SUM;
    }
}

static double identity_of(fold_kind k) {
    switch (k) {
    case FOLD_MAX: return -INFINITY;
    case FOLD_MIN: return INFINITY;
    case FOLD_PROD: return 1;
    default: return 0;
    }
}

static operand right_side(equation *q, const ast_stmt *s, const head *h) {
    if (h->normalised >= 0) return right_softmax(q, s, h);
    fold_kind k = fold_of(s->assign);
    eq_set all = h->keep | eq_labels_in(q, s->expr);
    for (const ast_literal *l = s->where; l; l = l->next) all |= eq_labels_in(q, l->expr);
    operand mask = s->where ? eq_guard(q, s->where, all) : eq_const(1);
    eq_set guarded = 0, over = all & ~h->keep;
    for (const ast_literal *l = s->where; l; l = l->next) guarded |= eq_labels_in(q, l->expr);
    bool apart = k != FOLD_SUM || guarded & ~h->keep; // terms must stay single until they are folded
    if (!apart) {
        operand r = eq_scope(q, s->expr, h->keep);
        return s->where ? select_where(q, mask, r, 0) : r;
    }
    operand x = eq_scope(q, s->expr, all);
    if (!s->where) {
        operand r = eq_fold(q, k, &x, over);
        r.boolean |= k == FOLD_OR && !r.is_const;
        return r;
    }
    operand kept = select_where(q, mask, x, k == FOLD_AVG ? 0 : identity_of(k));
    if (k != FOLD_AVG) return eq_fold(q, k, &kept, over);
    operand ones = select_where(q, mask, eq_const(1), 0);
    operand two[2] = {eq_fold(q, FOLD_SUM, &kept, over), eq_fold(q, FOLD_SUM, &ones, over)};
    return eq_map(q, MAP_DIV, two, 2);
}

// ---- storing -------------------------------------------------------------------------------------
static void scatter_state(equation *q, const ast_stmt *s, v_statedecl *d, int64_t layer, head *h, const operand *x) {
    evaluator *ev = q->ev;
    axis ax[IR_MAX_RANK];
    int rank = state_axes(ev, d, layer, ax);
    if (s->assign != AS_SET) ev_fail_fix(ev, s->assign_at, ":=", "a state is overwritten with ':='");
    if (h->n != rank) ev_fail(ev, s->head.at, "this state has %d axes%s, %d indices are given", rank, state_family_axes(ev, d) ? " after its family index" : "", h->n);
    int64_t sizes[IR_MAX_RANK];
    for (int i = 0; i < rank; i++) sizes[i] = h->label[i] >= 0 ? q->lab[h->label[i]].size : ax[i].size;
    state_sizes(ev, d, layer, sizes, s->head.at);
    rank = state_axes(ev, d, layer, ax);
    ev_state *st;
    ir_node *before = state_current(ev, d, layer, s->head.at, &st);
    operand slot = {.is_const = true};
    int labels[EQ_LABELS], n = 0;
    int64_t offset = 0, gstride = 0, limit = 0;
    for (int i = 0; i < rank; i++) {
        if (h->scatter[i]) {
            if (limit) ev_fail(ev, s->head.at, "a scatter into two axes of a state");
            slot = eq_factor(q, h->scatter[i], ~(eq_set)0);
            gstride = ax[i].stride, limit = ax[i].size;
            int own[EQ_LABELS], m = eq_order(q, &slot, slot.is_const ? 0 : slot.labels, own);
            for (int k = 0; k < m; k++) labels[n++] = own[k];
        } else if (h->label[i] < 0) {
            if (h->fixed[i] >= ax[i].size) ev_fail(ev, s->head.at, "index %" PRId64 " of an axis of %" PRId64, h->fixed[i], ax[i].size);
            offset += h->fixed[i] * ax[i].stride;
        }
    }
    for (int i = 0; i < rank; i++)
        if (h->label[i] >= 0) labels[n++] = h->label[i];
    operand stored = watch_operand(q, s, x, labels, n);
    ir_space sp;
    eq_space(q, labels, n, &sp);
    int64_t dst[IR_MAX_LABELS] = {0};
    for (int i = 0; i < rank; i++)
        for (int k = 0; k < n; k++)
            if (h->label[i] == labels[k]) dst[k] = ax[i].stride;
    ir_edge from = eq_edge(q, &stored, labels, n), idx = eq_edge(q, &slot, labels, n);
    (void)ir_scatter(ev->g, before, &sp, &from, slot.is_const ? NULL : &idx, gstride, limit, offset, dst);
    state_advance(st);
}

static void define_part(equation *q, const ast_stmt *s, head *h, const operand *x) {
    evaluator *ev = q->ev;
    binding *b = env_find_here(ev->scope, s->head.name);
    if (b && b->v.kind != V_PARTS) {
        diag *d = ev_diag(ev, s->head.at, "'%.*s' is defined already as a whole", (int)s->head.name.n, s->head.name.p);
        diag_note(&ev->dl, d, b->at, "defined here");
        ev_throw(ev);
    }
    v_parts *p = b ? b->v.parts : heap_new(ev, sizeof *p, V_PARTS);
    if (!b) {
        p->rank = h->n;
        p->first = s;
        for (const loop_at *l = ev->loops; l; l = l->outer) p->loops++;
        env_put(ev, ev->scope, s->head.name, (value){.kind = V_PARTS, .parts = p}, s->head.at);
    }
    if (p->whole) ev_fail(ev, s->head.at, "'%.*s' was read already: define all of its parts before", (int)s->head.name.n, s->head.name.p);
    int labels[IR_MAX_RANK], n = 0;
    struct part part = {.def = s};
    for (int i = 0; i < h->n; i++) {
        part.at[i] = h->label[i] >= 0 ? -1 : h->fixed[i];
        if (h->label[i] >= 0) labels[n++] = h->label[i];
        else if (h->fixed[i] >= p->const_size[i]) p->const_size[i] = h->fixed[i] + 1;
    }
    if (h->n != p->rank) ev_fail(ev, s->head.at, "'%.*s' has %d axes in its other definitions", (int)s->head.name.n, s->head.name.p, p->rank);
    for (size_t i = 0; i < p->n; i++) {
        for (int k = 0; k < p->rank; k++)
            if ((p->p[i].at[k] < 0) != (part.at[k] < 0)) ev_fail(ev, s->head.at, "the parts of '%.*s' must fix the same axes", (int)s->head.name.n, s->head.name.p);
        if (memcmp(p->p[i].at, part.at, sizeof(int64_t) * (size_t)p->rank) == 0) {
            diag *d = ev_diag(ev, s->head.at, "this part of '%.*s' is defined twice", (int)s->head.name.n, s->head.name.p);
            diag_note(&ev->dl, d, p->p[i].def->head.at, "first here");
            diag_fix(&ev->dl, d, "use += to add to it, := to overwrite it");
            ev_throw(ev);
        }
    }
    part.t = eq_tensor(q, x, labels, n);
    watch_part(ev, s, &part, p->rank);
    if (!vec_grow_((void **)&p->p, &p->cap, p->n + 1, sizeof *p->p)) ev_fail(ev, s->at, "out of memory");
    p->p[p->n++] = part;
}

static operand combine(equation *q, const ast_stmt *s, const head *h, value old, operand x) {
    static const struct { as_kind k; map_op op; } ops[] = {{AS_ADD, MAP_ADD}, {AS_MUL, MAP_MUL}, {AS_MAX, MAP_MAX}, {AS_MIN, MAP_MIN}, {AS_OR, MAP_OR}, {AS_SUB, MAP_SUB}};
    tensor *t = value_tensor(q->ev, old, s->head.at);
    if (t->rank != h->n) ev_fail(q->ev, s->head.at, "'%.*s' has %d axes, %d indices are given", (int)s->head.name.n, s->head.name.p, t->rank, h->n);
    operand o = {.node = tensor_node(q->ev, t, s->head.at), .offset = t->offset};
    for (int i = 0; i < h->n; i++) {
        (void)eq_size(q, h->label[i], &t->ax[i], s->head.at, "the tensor so far");
        o.labels |= eq_bit(h->label[i]);
        o.stride[h->label[i]] = t->ax[i].stride;
    }
    operand in[2] = {o, x};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].k == s->assign) return eq_map(q, ops[i].op, in, 2);
    ev_fail(q->ev, s->assign_at, "an average cannot be continued: use a new name");
}

static void check_sizes(equation *q, const ast_stmt *s) {
    for (int i = 0; i < q->n; i++)
        if (q->lab[i].size < 0 && !q->lab[i].sym)
            ev_fail_fix(q->ev, s->at, "declare it with dim, or use it on an axis of known size", "nothing tells the size of index '%s'", q->lab[i].name);
}

static void define_whole(equation *q, const ast_stmt *s, head *h, operand x) {
    evaluator *ev = q->ev;
    bool fresh = s->kind == ST_LET || s->assign == AS_EQ;
    binding *here = env_find_here(ev->scope, s->head.name), *b = fresh ? here : find_name(ev, s->head.name);
    if (s->assign == AS_EQ && s->kind != ST_LET && here && here->constant) {
        diag *d = ev_diag(ev, s->head.at, "'%.*s' is defined a second time", (int)s->head.name.n, s->head.name.p);
        diag_note(&ev->dl, d, here->at, "first here");
        diag_fix(&ev->dl, d, "use += to add to it, := to overwrite it");
        ev_throw(ev);
    }
    if (!fresh && s->assign != AS_SET && b && (b->v.kind == V_TENSOR || b->v.kind == V_PARTS)) x = combine(q, s, h, b->v, x);
    tensor *t = eq_tensor(q, &x, h->label, h->n);
    if (h->composite) {
        int64_t sizes[IR_MAX_RANK];
        for (int i = 0, k = 0; i < h->n_axes; i++) {
            sizes[i] = t->ax[k].sym ? -1 : 1;
            for (int j = 0; j < h->parts[i]; j++, k++)
                if (!t->ax[k].sym) sizes[i] *= t->ax[k].size;
        }
        t = tensor_reshape(ev, t, h->n_axes, sizes, s->head.at);
    }
    binding *outer = find_name(ev, s->head.name);
    if (outer && outer->v.kind == V_RELATION && !outer->v.rel->cache) {
        relation_assign(ev, outer->v.rel, t, s->assign == AS_OR || s->assign == AS_ADD, s->head.at);
        return;
    }
    t = watch_bound(ev, s, s->head.name, t);
    if (b && !fresh) b->v = v_of_tensor(t);
    else env_put(ev, ev->scope, s->head.name, v_of_tensor(t), s->head.at)->constant = s->assign == AS_EQ && s->kind != ST_LET;
}

bool is_equation(evaluator *ev, const ast_stmt *s) { return s->head.indexed && has_free_index(ev, s->expr); }

void exec_equation(evaluator *ev, const ast_stmt *s) {
    ev->pending++;
    equation q = {.ev = ev, .stmt = s};
    binding *b = find_name(ev, s->head.name);
    ast_stmt sliced = *s;
    if (b && (b->v.kind == V_TENSOR || b->v.kind == V_PARTS) && !ev->tracing && eq_has_slice(&s->head)) {
        eq_slice_head(&q, &sliced, value_tensor(ev, b->v, s->head.at));
        s = &sliced;
    }
    v_statedecl *d = s->kind == ST_ASSIGN && b && b->v.kind == V_STATE ? b->v.state : NULL;
    eq_solve(&q, s);
    head h;
    int64_t layer = -1;
    int skip = d ? state_family_axes(ev, d) : 0;
    if (d && !ev->tracing) ev_fail(ev, s->head.at, "a state tensor can be written only inside a model's step function");
    if (skip) layer = want_int(ev, eval(ev, s->head.index->expr), s->head.index->at, "an index of a state's family");
    read_head(&q, &s->head, skip, &h);
    check_sizes(&q, s);
    operand x = right_side(&q, s, &h);
    if (!x.is_const && x.labels & ~h.keep) ev_fail(ev, s->at, "an index of the right side is neither on the left nor folded");
    if (d) scatter_state(&q, s, d, layer, &h, &x);
    else if (b && (b->v.kind == V_TENSOR || b->v.kind == V_PARTS) && (h.any_scatter || (h.any_fixed && s->assign != AS_EQ)) && !ev->tracing) {
        update_head u = {h.n, h.label, h.fixed, h.scatter, h.keep};
        update_elements(&q, s, &u, &x, b);
    } else if (h.any_scatter) {
        ev_fail_fix(ev, s->head.at, "let Y = zeros(8) before it", ev->tracing ? "in a step function, only states are scattered into" : "there is no tensor yet to scatter into");
    } else if (h.any_fixed) define_part(&q, s, &h, &x);
    else define_whole(&q, s, &h, x);
    ev->pending--;
}

void exec_rule(evaluator *ev, const ast_stmt *s) {
    ev->pending++;
    equation q = {.ev = ev, .stmt = s};
    binding *b = env_find_here(ev->scope, s->head.name);
    eq_solve(&q, s);
    head h;
    read_head(&q, &s->head, 0, &h);
    if (h.any_fixed || h.any_scatter) ev_fail(ev, s->head.at, "the head of a rule over tensors consists of index names");
    check_sizes(&q, s);
    eq_set all = h.keep;
    for (const ast_literal *l = s->where; l; l = l->next) all |= eq_labels_in(&q, l->expr);
    operand x = eq_guard(&q, s->where, all);
    if (!x.is_const) x = eq_fold(&q, FOLD_OR, &x, x.labels & ~h.keep);
    x.boolean = true;
    if (b && (b->v.kind == V_TENSOR)) { // another rule of the same head
        ast_stmt or_rule = *s;
        or_rule.assign = AS_OR;
        x = combine(&q, &or_rule, &h, b->v, x);
    }
    tensor *t = eq_tensor(&q, &x, h.label, h.n);
    t->type = DT_BOOL;
    t = watch_bound(ev, s, s->head.name, t);
    env_put(ev, ev->scope, s->head.name, v_of_tensor(t), s->head.at);
    ev->pending--;
}

value eval_reduce(evaluator *ev, const ast_expr *e) { // sum[i](..) as a value: all of its indices are folded
    ast_stmt s = {.kind = ST_LET, .at = e->at, .expr = (ast_expr *)e};
    equation q = {.ev = ev, .stmt = &s};
    eq_solve(&q, &s);
    eq_set open = eq_labels_in(&q, e);
    if (open) ev_fail_fix(ev, e->at, "name it in the brackets, or define a tensor: Y[i] = ...", "index '%s' is not folded here", q.lab[__builtin_ctz(open)].name);
    operand x = eq_factor(&q, e, 0);
    if (x.is_const) return v_float(x.k);
    return v_of_tensor(eq_tensor(&q, &x, NULL, 0));
}
