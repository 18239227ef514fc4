// lower.c - expressions of an equation become operands: reads, gathers, elementwise functions, sums in their scope.
#include <inttypes.h>
#include <math.h>

#include "eval/eq.h"
#include "eval/relations.h"
#include "eval/update.h"

operand eq_const(double k) { return (operand){.is_const = true, .k = k}; }

ir_node *operand_node(equation *q, const operand *o) { return o->is_const ? ir_scalar(q->ev->g, o->k) : o->node; }

static void need_size(equation *q, int l, span at) {
    if (q->lab[l].size >= 0 || q->lab[l].sym) return;
    ev_fail_fix(q->ev, at, "declare it: dim NAME = SIZE, or use it on an axis of known size", "nothing tells the size of index '%s'", q->lab[l].name);
}

// ---- reads ---------------------------------------------------------------------------------------
typedef struct reading {
    operand base;             // what is read directly
    operand gather[IR_MAX_RANK];
    int64_t gstride[IR_MAX_RANK], limit[IR_MAX_RANK];
    int n_gather, n_slices;
    bool outside;             // a position computed from indices of one element lies outside: what is read is 0
} reading;

// index = sum coef[l] * l + constant with whole coefficients; false: it is something else
static bool affine(equation *q, const ast_expr *e, int64_t *coef, int64_t *constant) {
    evaluator *ev = q->ev;
    if (e->kind == EX_INT) {
        *constant += e->i;
        return true;
    }
    if (e->kind == EX_NAME) {
        binding *b = find_name(ev, e->name);
        if (b) {
            if (b->v.kind != V_INT) return false;
            *constant += b->v.i;
            return true;
        }
        int l = eq_find_label(q, e->name);
        if (l < 0) return false;
        coef[l]++;
        return true;
    }
    if (e->kind == EX_UNARY && e->op == OP_NEG) {
        int64_t c[EQ_LABELS] = {0}, k = 0;
        if (!affine(q, e->kids, c, &k)) return false;
        for (int i = 0; i < q->n; i++) coef[i] -= c[i];
        *constant -= k;
        return true;
    }
    if (e->kind != EX_BINARY) return false;
    int64_t ca[EQ_LABELS] = {0}, cb[EQ_LABELS] = {0}, ka = 0, kb = 0;
    if (e->op != OP_ADD && e->op != OP_SUB && e->op != OP_MUL && e->op != OP_JUXT) return false;
    if (!affine(q, e->kids, ca, &ka) || !affine(q, e->kids->next, cb, &kb)) return false;
    if (e->op == OP_ADD || e->op == OP_SUB) {
        int64_t sign = e->op == OP_ADD ? 1 : -1;
        for (int i = 0; i < q->n; i++) coef[i] += ca[i] + sign * cb[i];
        *constant += ka + sign * kb;
        return true;
    }
    bool va = false, vb = false;
    for (int i = 0; i < q->n; i++) va |= ca[i] != 0, vb |= cb[i] != 0;
    if (va && vb) return false;
    for (int i = 0; i < q->n; i++) coef[i] += va ? ca[i] * kb : cb[i] * ka;
    *constant += ka * kb;
    return true;
}

static void add_gather(equation *q, reading *r, operand idx, const axis *a, const ast_expr *e) {
    int64_t stride = a->stride;
    if (idx.is_const) {
        int64_t i = (int64_t)floor(idx.k);
        if (!a->sym && (i < 0 || i >= a->size) && eq_labels_in(q, e)) {
            r->outside = true;
            return;
        }
        if (!a->sym && (i < 0 || i >= a->size)) ev_fail(q->ev, e->at, "index %" PRId64 " of an axis of %" PRId64, i, a->size);
        r->base.offset += i * stride;
        return;
    }
    r->gather[r->n_gather] = idx;
    r->gstride[r->n_gather] = stride;
    r->limit[r->n_gather++] = a->sym ? INT32_MAX : a->size;
}

static void read_affine(equation *q, reading *r, const ast_index *ix, const axis *a, const int64_t *coef, int64_t constant) {
    int64_t lo = constant, hi = constant;
    for (int i = 0; i < q->n; i++) {
        if (!coef[i]) continue;
        need_size(q, i, ix->at);
        if (q->lab[i].sym || (r->base.labels & eq_bit(i))) goto general;
        int64_t reach = coef[i] * (q->lab[i].size - 1);
        if (reach < 0) lo += reach;
        else hi += reach;
    }
    if (!a->sym && lo >= 0 && hi < a->size) {
        r->base.offset += constant * a->stride;
        for (int i = 0; i < q->n; i++)
            if (coef[i]) r->base.labels |= eq_bit(i), r->base.stride[i] += coef[i] * a->stride;
        return;
    }
general:
    add_gather(q, r, eq_factor(q, ix->expr, ~(eq_set)0), a, ix->expr);
}

static void read_label(equation *q, reading *r, str name, const axis *a, span at) {
    int l = eq_find_label(q, name);
    TL_CHECK(l >= 0);
    axis plain = *a;
    if (a->size >= 0 || a->sym) (void)eq_size(q, l, &plain, at, "this axis");
    if (r->base.labels & eq_bit(l)) r->base.stride[l] += a->stride; // a diagonal
    else r->base.stride[l] = a->stride, r->base.labels |= eq_bit(l);
}

static void read_slice(equation *q, reading *r, const ast_index *ix, const axis *a) { // runs along with a slice on the left
    evaluator *ev = q->ev;
    int64_t lo, hi;
    if (r->n_slices == q->n_slices || a->sym) ev_fail_fix(ev, ix->at, "name the index of the part: X[4:8][j]", "a slice has no index name");
    int l = q->slice[r->n_slices++];
    slice_bounds(ev, ix, a->size, &lo, &hi);
    if (hi - lo != q->lab[l].size) ev_fail(ev, ix->at, "this slice has %" PRId64 " positions, that on the left %" PRId64, hi - lo, q->lab[l].size);
    r->base.offset += lo * a->stride;
    r->base.labels |= eq_bit(l);
    r->base.stride[l] += a->stride;
}

static void read_position(equation *q, reading *r, const ast_index *ix, const axis *a) {
    evaluator *ev = q->ev;
    if (ix->kind == IX_SLICE) {
        read_slice(q, r, ix, a);
        return;
    }
    if (ix->kind == IX_COMPOSITE) {
        int64_t stride = a->stride, total = 1;
        const ast_expr *names[IR_MAX_RANK];
        int n = 0;
        for (const ast_expr *nm = ix->names; nm && n < IR_MAX_RANK; nm = nm->next) names[n++] = nm;
        for (int i = n - 1; i >= 0; i--) {
            int l = eq_find_label(q, names[i]->name);
            need_size(q, l, names[i]->at);
            r->base.labels |= eq_bit(l);
            r->base.stride[l] += stride;
            stride *= q->lab[l].size;
            total *= q->lab[l].size;
        }
        if (a->sym || total != a->size) ev_fail(ev, ix->at, "these indices have %" PRId64 " positions together, the axis has %" PRId64, total, a->size);
        return;
    }
    const ast_expr *e = ix->expr;
    if (eq_free_name(ev, e)) {
        if (eq_find_label(q, e->name) >= 0) read_label(q, r, e->name, a, ix->at);
        else ev_fail(ev, ix->at, "unknown index '%.*s'", (int)e->name.n, e->name.p);
        return;
    }
    binding *text = e->kind == EX_NAME ? find_name(ev, e->name) : NULL;
    if (e->kind == EX_STRING || (text && text->v.kind == V_STR)) { // a member of the kind that numbers the axis
        r->base.offset += entity_position(ev, a->domain, want_str(ev, eval(ev, e), e->at, "a member"), ix->at) * a->stride;
        return;
    }
    int64_t coef[EQ_LABELS] = {0}, constant = 0;
    if (affine(q, e, coef, &constant)) {
        bool any = false;
        for (int i = 0; i < q->n; i++) any |= coef[i] != 0;
        if (any) {
            read_affine(q, r, ix, a, coef, constant);
            return;
        }
        if (!a->sym && (constant < 0 || constant >= a->size)) ev_fail(ev, ix->at, "index %" PRId64 " of an axis of %" PRId64, constant, a->size);
        if (a->sym) ev_fail(ev, ix->at, "one row of a step cannot be picked by number");
        r->base.offset += constant * a->stride;
        return;
    }
    operand idx;
    if (e->kind == EX_NAME) { // a vector by its bare name: its own axis is the index
        binding *b = find_name(ev, e->name);
        tensor *t = value_tensor(ev, b->v, e->at);
        if (t->rank != 1 || !t->ax[0].dim) ev_fail_fix(ev, e->at, "write its index: name[i]", "'%.*s' is a tensor; in an index position its own index must be named", (int)e->name.n, e->name.p);
        int l = eq_label_of(q, str_of(t->ax[0].dim), e->at);
        (void)eq_size(q, l, &t->ax[0], e->at, "this vector");
        idx = (operand){.node = tensor_node(ev, t, e->at), .offset = t->offset, .labels = eq_bit(l)};
        idx.stride[l] = t->ax[0].stride;
    } else {
        idx = eq_factor(q, e, ~(eq_set)0);
        if (e->kind == EX_BINARY && e->op == OP_DIV && !idx.is_const) idx = eq_map(q, MAP_FLOOR, &idx, 1);
    }
    add_gather(q, r, idx, a, e);
}

static operand finish_read(equation *q, reading *r) {
    if (r->outside) return eq_const(0);
    if (!r->n_gather) return r->base;
    operand in[IR_MAX_RANK + 1]; // indices first, then what is read
    memcpy(in, r->gather, sizeof *in * (size_t)r->n_gather);
    in[r->n_gather] = r->base;
    int labels[EQ_LABELS], n = eq_union_order(q, in, in, r->n_gather + 1, labels);
    ir_space sp;
    eq_space(q, labels, n, &sp);
    ir_edge base = eq_edge(q, &r->base, labels, n), idx[IR_MAX_RANK];
    for (int i = 0; i < r->n_gather; i++) idx[i] = eq_edge(q, &r->gather[i], labels, n);
    operand o = eq_space_result(labels, n, &sp, ir_gather(q->ev->g, &sp, &base, r->n_gather, idx, r->gstride, r->limit));
    o.boolean = r->base.boolean;
    return o;
}

static operand read_relation(equation *q, const v_relation *rel, const ast_index *list, int n_index, span at) {
    evaluator *ev = q->ev;
    if (!ev->tracing) ev_fail(ev, at, "the relation '%.*s' is known only inside a model's step function", (int)rel->def->head.name.n, rel->def->head.name.p);
    if (n_index != 2) ev_fail(ev, at, "'%.*s' has 2 arguments: a sequence and a slot", (int)rel->def->head.name.n, rel->def->head.name.p);
    const ast_index *s = list->next;
    if (s->kind != IX_EXPR || !eq_free_name(ev, s->expr)) ev_fail(ev, s->at, "an index over the slots was expected");
    int ls = eq_find_label(q, s->expr->name);
    axis a = {.size = ev->trace->n_ctx};
    (void)eq_size(q, ls, &a, s->at, "the cache's slots");
    operand seq = eq_factor(q, list->expr, ~(eq_set)0);
    int labels[EQ_LABELS], n = eq_order(q, &seq, seq.labels, labels);
    if (seq.is_const || n != 1) ev_fail(ev, list->at, "the sequence of each row was expected: seq[p]");
    labels[n++] = ls;
    ir_space sp;
    eq_space(q, labels, n, &sp);
    ir_edge e = eq_edge(q, &seq, labels, n);
    operand r = eq_space_result(labels, n, &sp, ir_owned(ev->g, &e, &sp));
    r.boolean = true;
    return r;
}

operand eq_read(equation *q, value v, const ast_index *list, int n_index, span at) {
    evaluator *ev = q->ev;
    if (v.kind == V_RELATION && v.rel->cache) return read_relation(q, v.rel, list, n_index, at);
    reading r = {0};
    axis ax[IR_MAX_RANK];
    int rank = 0;
    if (v.kind == V_FAMILY) {
        int64_t key[4];
        for (int i = 0; i < v.family->n_keys && list; i++, list = list->next, n_index--) key[i] = want_int(ev, eval(ev, list->expr), list->at, "an index of a family");
        v = family_member(ev, v.family, key, at);
    }
    if (v.kind == V_STATE) {
        int skip = state_family_axes(ev, v.state);
        int64_t layer = -1;
        for (int i = 0; i < skip && list; i++, list = list->next, n_index--) layer = want_int(ev, eval(ev, list->expr), list->at, "an index of a state's family");
        r.base.node = state_current(ev, v.state, layer, at, NULL);
        rank = state_axes(ev, v.state, layer, ax);
    } else {
        v = settle(ev, v, at);
        if (v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL) return eq_const(want_float(ev, v, at, ""));
        tensor *t = want_tensor(ev, v, at, "what is indexed");
        if (t->rank == 0) {
            r.base.node = tensor_node(ev, t, at);
            r.base.offset = t->offset;
            return r.base;
        }
        r.base.node = tensor_node(ev, t, at);
        r.base.offset = t->offset;
        r.base.weight = t->weight != NULL;
        r.base.boolean = t->type == DT_BOOL;
        rank = t->rank;
        memcpy(ax, t->ax, sizeof ax);
    }
    if (n_index != rank) ev_fail(ev, at, "this tensor has %d axes, %d indices are given", rank, n_index);
    int i = 0;
    for (const ast_index *ix = list; ix; ix = ix->next, i++) read_position(q, &r, ix, &ax[i]);
    double k;
    if (!r.n_gather && !r.outside && ir_is_scalar_const(r.base.node, &k)) return eq_const(k);
    return finish_read(q, &r);
}

// ---- factors -------------------------------------------------------------------------------------
typedef struct factors {
    const ast_expr *num[EQ_OPERANDS], *den[EQ_OPERANDS];
    int n_num, n_den;
    bool negative;
} factors;

static bool is_sum(const ast_expr *e) { return e->kind == EX_BINARY && (e->op == OP_ADD || e->op == OP_SUB); }

// A product in parentheses is a factor of its own: that is how a program says what to multiply first.
static void flatten(equation *q, const ast_expr *e, bool inverse, bool top, factors *f) {
    if (e->kind == EX_UNARY && e->op == OP_NEG && (top || !e->parens)) {
        f->negative = !f->negative;
        flatten(q, e->kids, inverse, false, f);
        return;
    }
    if (e->kind == EX_BINARY && (e->op == OP_MUL || e->op == OP_JUXT || e->op == OP_DIV) && (top || !e->parens)) {
        flatten(q, e->kids, inverse, false, f);
        flatten(q, e->kids->next, inverse != (e->op == OP_DIV), false, f);
        return;
    }
    int *n = inverse ? &f->n_den : &f->n_num;
    if (*n == EQ_OPERANDS) ev_fail(q->ev, e->at, "a product of more than %d factors", EQ_OPERANDS);
    (inverse ? f->den : f->num)[(*n)++] = e;
}

static bool is_product(const ast_expr *e) { return e->kind == EX_BINARY && (e->op == OP_MUL || e->op == OP_JUXT); }

static operand power(equation *q, const ast_expr *e, eq_set keep) {
    const ast_expr *b = e->kids, *x = e->kids->next;
    eq_set inside = eq_labels_in(q, b);
    if (is_product(b) && (inside & ~keep)) {
        int l = __builtin_ctz(inside & ~keep);
        diag *d = ev_diag(q->ev, e->at, "index '%s' is summed in a product inside a power: is the sum raised, or each product?", q->lab[l].name);
        diag_fix(&q->ev->dl, d, "the sum raised: sum[%s](...) ^ n;  each product raised and then summed: (...)^n with each factor raised by itself", q->lab[l].name);
        ev_throw(q->ev);
    }
    operand in[2] = {eq_factor(q, b, keep | inside), eq_factor(q, x, keep | eq_labels_in(q, x))};
    if (in[0].is_const && in[1].is_const) return eq_const(pow(in[0].k, in[1].k));
    return eq_map(q, MAP_POW, in, 2);
}

static bool has_fold(const ast_expr *e) { // whose indices may have their sizes from elsewhere in the statement
    if (e->kind == EX_REDUCE) return true;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (has_fold(k)) return true;
    return false;
}

static operand function(equation *q, const ast_expr *e, eq_set keep) {
    evaluator *ev = q->ev;
    const ast_expr *callee = e->kids;
    binding *b = callee->kind == EX_NAME ? find_name(ev, callee->name) : NULL;
    if (b && (b->v.kind == V_TENSOR || b->v.kind == V_PARTS || b->v.kind == V_RELATION))
        return eq_read(q, b->v, eq_atom_args(e, ev->g->a), e->n_kids - 1, e->at);
    eq_set inside = eq_labels_in(q, e);
    int op = callee->kind == EX_NAME && !b ? map_function(callee->name) : -1;
    if (!inside && (op < 0 || !has_fold(e))) { // no index: an ordinary value
        value v = settle(ev, eval(ev, e), e->at);
        if (v.kind == V_TENSOR && v.t->rank) ev_fail(ev, e->at, "this is a tensor with %d axes: give its indices", v.t->rank);
        if (v.kind == V_TENSOR) {
            operand o = {.node = tensor_node(ev, v.t, e->at), .offset = v.t->offset};
            return o;
        }
        return eq_const(want_float(ev, v, e->at, "this"));
    }
    if (op < 0 && b && b->v.kind == V_FN) return call_lifted(q, e, b->v, keep);
    if (op < 0) {
        if (callee->kind == EX_NAME && str_is(callee->name, "softmax"))
            ev_fail_fix(ev, e->at, "write A[i, j.] = softmax(...), the dot on the axis that sums to 1", "softmax stands alone on the right side, and its axis is marked on the left");
        ev_fail_fix(ev, e->at, "bind its value first: let y = f(x), then index y", "only elementwise functions apply to indexed values");
    }
    operand in[3];
    int n = 0;
    if (e->n_kids - 1 != map_arity[op]) ev_fail(ev, e->at, "%.*s takes %d arguments", (int)callee->name.n, callee->name.p, map_arity[op]);
    for (const ast_expr *k = callee->next; k; k = k->next) {
        eq_set others = 0; // of the other arguments: an index shared by two arguments is not summed inside one
        for (const ast_expr *o = callee->next; o; o = o->next)
            if (o != k) others |= eq_labels_in(q, o);
        in[n++] = eq_scope(q, k, keep | others);
    }
    bool constant = true;
    for (int i = 0; i < n; i++) constant &= in[i].is_const;
    if (constant) return eq_const((double)map_eval((map_op)op, (float)in[0].k, n > 1 ? (float)in[1].k : 0, n > 2 ? (float)in[2].k : 0));
    return eq_map(q, (map_op)op, in, n);
}

static operand binary(equation *q, const ast_expr *e, eq_set keep) {
    static const struct { ex_op from; map_op to; } ops[] = {
        {OP_OR, MAP_OR}, {OP_AND, MAP_AND}, {OP_EQ, MAP_EQ}, {OP_NE, MAP_NE}, {OP_LT, MAP_LT}, {OP_LE, MAP_LE}, {OP_GT, MAP_GT}, {OP_GE, MAP_GE}, {OP_MOD, MAP_MOD},
    };
    if (e->op == OP_POW) return power(q, e, keep);
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (ops[i].from != e->op) continue;
        operand in[2] = {eq_scope(q, e->kids, keep | eq_labels_in(q, e->kids->next)), eq_scope(q, e->kids->next, keep | eq_labels_in(q, e->kids))};
        if (in[0].is_const && in[1].is_const) return eq_const((double)map_eval(ops[i].to, (float)in[0].k, (float)in[1].k, 0));
        return eq_map(q, ops[i].to, in, 2);
    }
    if (e->op == OP_MATMUL) ev_fail(q->ev, e->op_at, "'@' has no place in an equation: write the indices");
    return eq_scope(q, e, keep);
}

static fold_kind fold_named(str name) {
    for (int i = 0; i < FOLD_COUNT; i++)
        if (str_is(name, fold_names[i])) return (fold_kind)i;
    return str_is(name, "mean") ? FOLD_AVG : FOLD_COUNT;
}

static operand two(equation *q, map_op op, operand a, operand b) {
    operand in[2] = {a, b};
    if (a.is_const && b.is_const) return eq_const((double)map_eval(op, (float)a.k, (float)b.k, 0));
    return eq_map(q, op, in, 2);
}

// Folds that are made of others.
static operand composed_fold(equation *q, const ast_expr *e, operand x, eq_set over) {
    if (str_is(e->name, "any")) return eq_fold(q, FOLD_OR, &x, over);
    if (str_is(e->name, "all") || str_is(e->name, "and")) {
        operand no = x.is_const ? eq_const(x.k == 0) : eq_map(q, MAP_NOT, &x, 1), some = eq_fold(q, FOLD_OR, &no, over);
        return some.is_const ? eq_const(some.k == 0) : eq_map(q, MAP_NOT, &some, 1);
    }
    if (str_is(e->name, "count")) {
        operand one = two(q, MAP_NE, x, eq_const(0));
        return eq_fold(q, FOLD_SUM, &one, over);
    }
    if (str_is(e->name, "lse")) { // log sum exp, from the largest
        operand m = eq_fold(q, FOLD_MAX, &x, over), d = two(q, MAP_SUB, x, m);
        operand ex = d.is_const ? eq_const(1) : eq_map(q, MAP_EXP, &d, 1), s = eq_fold(q, FOLD_SUM, &ex, over);
        return two(q, MAP_ADD, m, s.is_const ? eq_const(log(s.k)) : eq_map(q, MAP_LOG, &s, 1));
    }
    bool least = str_is(e->name, "argmin");
    if (!least && !str_is(e->name, "argmax"))
        ev_fail_fix(q->ev, e->op_at, "there are sum, max, min, avg, or, prod, all, count, lse, argmax, argmin", "unknown fold '%.*s'", (int)e->name.n, e->name.p);
    if (__builtin_popcount(over) != 1) ev_fail(q->ev, e->op_at, "%.*s is over one index", (int)e->name.n, e->name.p);
    int l = __builtin_ctz(over);
    if (x.is_const || q->lab[l].size <= 1) return eq_const(0);
    operand best = eq_fold(q, least ? FOLD_MIN : FOLD_MAX, &x, over), at = {.node = ir_iota(q->ev->g, q->lab[l].size), .labels = over};
    at.stride[l] = 1;
    operand in[3] = {two(q, MAP_EQ, x, best), at, eq_const((double)q->lab[l].size)}, where = eq_map(q, MAP_SELECT, in, 3);
    return eq_fold(q, FOLD_MIN, &where, over); // the first of equal ones
}

static operand reduce(equation *q, const ast_expr *e, eq_set keep) {
    fold_kind k = fold_named(e->name);
    eq_set over = 0;
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR || !eq_free_name(q->ev, ix->expr)) ev_fail(q->ev, ix->at, "an index name was expected");
        int l = eq_label_of(q, ix->expr->name, ix->at);
        need_size(q, l, ix->at);
        over |= eq_bit(l);
    }
    if (k == FOLD_SUM) return eq_scope(q, e->kids, keep & ~over);
    operand o = eq_scope(q, e->kids, keep | over);
    return k == FOLD_COUNT ? composed_fold(q, e, o, over) : eq_fold(q, k, &o, over);
}

operand eq_factor(equation *q, const ast_expr *e, eq_set keep) {
    evaluator *ev = q->ev;
    switch (e->kind) {
    case EX_INT: return eq_const((double)e->i);
    case EX_FLOAT: return eq_const(e->f);
    case EX_BOOL: return eq_const(e->i != 0);
    case EX_NAME: {
        binding *b = find_name(ev, e->name);
        int l = b ? -1 : eq_find_label(q, e->name);
        if (l >= 0) {
            need_size(q, l, e->at);
            if (q->lab[l].sym) ev_fail(ev, e->at, "'%s' runs over the rows of a step: its number is no value", q->lab[l].name);
            operand o = {.node = ir_iota(ev->g, q->lab[l].size), .labels = eq_bit(l)};
            if (q->lab[l].size == 1) return eq_const(0);
            o.stride[l] = 1;
            return o;
        }
        value v = settle(ev, lookup(ev, e->name, e->at), e->at);
        if (v.kind == V_TENSOR && v.t->rank) {
            char shape[160];
            ev_fail_fix(ev, e->at, "write one index for each axis", "'%.*s' is a tensor %s and needs its indices in an equation", (int)e->name.n, e->name.p,
                        tensor_shape(v.t, shape, sizeof shape));
        }
        if (v.kind == V_TENSOR) return (operand){.node = tensor_node(ev, v.t, e->at), .offset = v.t->offset};
        return eq_const(want_float(ev, v, e->at, "a name in an equation"));
    }
    case EX_INDEX: {
        value v;
        const ast_index *list = e->index;
        int n = e->n_index;
        if (e->kids->kind == EX_NAME) v = lookup(ev, e->kids->name, e->kids->at);
        else if (!eq_slices(q, e, &v, &list, &n)) v = eq_base(q, e->kids);
        return eq_read(q, v, list, n, e->at);
    }
    case EX_CALL: return function(q, e, keep);
    case EX_REDUCE: return reduce(q, e, keep);
    case EX_BINARY: return binary(q, e, keep);
    case EX_UNARY:
        if (e->op == OP_NOT) {
            operand o = eq_scope(q, e->kids, keep);
            return o.is_const ? eq_const(o.k == 0) : eq_map(q, MAP_NOT, &o, 1);
        }
        return eq_scope(q, e, keep);
    case EX_FIELD: {
        value v = settle(ev, eval(ev, e), e->at);
        return eq_const(want_float(ev, v.kind == V_PATH ? path_value(ev, v.path, e->at) : v, e->at, "a field in an equation"));
    }
    default: ev_fail(ev, e->at, "this cannot stand in an equation");
    }
}

// ---- terms and scopes ----------------------------------------------------------------------------
static operand term(equation *q, const ast_expr *e, eq_set keep, bool negative) {
    factors f = {.negative = negative};
    flatten(q, e, false, true, &f);
    operand num[EQ_OPERANDS], den[EQ_OPERANDS];
    eq_set in[2 * EQ_OPERANDS];
    int n = 0;
    for (int i = 0; i < f.n_num; i++) in[n++] = eq_labels_in(q, f.num[i]);
    for (int i = 0; i < f.n_den; i++) in[n++] = eq_labels_in(q, f.den[i]);
    for (int i = 0; i < n; i++) {
        eq_set others = keep;
        for (int j = 0; j < n; j++)
            if (j != i) others |= in[j];
        const ast_expr *x = i < f.n_num ? f.num[i] : f.den[i - f.n_num];
        operand o = is_sum(x) ? eq_scope(q, x, others) : eq_factor(q, x, others);
        if (i < f.n_num) num[i] = o;
        else den[i - f.n_num] = o;
    }
    operand r = eq_product(q, num, f.n_num, den, f.n_den, keep);
    if (!r.is_const && r.labels & ~keep) r = eq_fold(q, FOLD_SUM, &r, r.labels & ~keep);
    if (!f.negative) return r;
    return r.is_const ? eq_const(-r.k) : eq_map(q, MAP_NEG, &r, 1);
}

operand eq_scope(equation *q, const ast_expr *e, eq_set keep) {
    if (!is_sum(e)) return term(q, e, keep, false);
    operand in[2] = {eq_scope(q, e->kids, keep), eq_scope(q, e->kids->next, keep)};
    if (in[0].is_const && in[1].is_const) return eq_const(e->op == OP_ADD ? in[0].k + in[1].k : in[0].k - in[1].k);
    return eq_map(q, e->op == OP_ADD ? MAP_ADD : MAP_SUB, in, 2);
}

operand eq_guard(equation *q, const ast_literal *list, eq_set keep) {
    operand all = eq_const(1);
    for (const ast_literal *l = list; l; l = l->next) {
        operand o = eq_scope(q, l->expr, keep);
        if (l->negated) o = o.is_const ? eq_const(o.k == 0) : eq_map(q, MAP_NOT, &o, 1);
        operand in[2] = {all, o};
        if (all.is_const && all.k != 0) all = o;
        else all = eq_map(q, MAP_AND, in, 2);
    }
    return all;
}

tensor *eq_tensor(equation *q, const operand *o, const int *labels, int n) {
    evaluator *ev = q->ev;
    tensor *t = tensor_new(ev, n);
    t->node = operand_node(q, o);
    t->graph = ev->g;
    t->offset = o->is_const ? 0 : o->offset;
    t->type = o->boolean ? DT_BOOL : !o->is_const && o->node->type == DT_I32 ? DT_I32 : DT_F32;
    for (int i = 0; i < n; i++) {
        const eq_label *l = &q->lab[labels[i]];
        t->ax[i] = (axis){.size = l->size, .sym = l->sym, .dim = l->dim, .domain = l->domain, .dim_decl = l->decl, .dim_at = l->at};
        t->ax[i].stride = !o->is_const && o->labels & eq_bit(labels[i]) ? o->stride[labels[i]] : 0;
    }
    return t;
}
