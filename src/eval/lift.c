// lift.c - functions of the program on indexed values: f(X[i, j]).
// Parameters without declared axes take the whole tensor over all indices, and f is called once. A parameter with
// declared axes takes its argument's last indices; f is called for each position of the others.
#include <inttypes.h>

#include "eval/update.h"

enum { ARGS = 16, MAX_CALLS = 1 << 20 };

typedef struct lifted {
    equation *q;
    const ast_expr *e;
    const ast_stmt *def;
    int n;
    operand in[ARGS];
    int core[ARGS][IR_MAX_RANK], n_core[ARGS]; // labels of an argument's axes inside f
    eq_set outside;                            // labels of the positions that f is called for
} lifted;

static bool shaped(const ast_param *p) { return p->type && p->type->has_shape && p->type->rank > 0; }

// Labels of an expression in the order in which they are written.
static int written(const lifted *x, const ast_expr *e, eq_set *left, int *labels, int n) {
    int l = e->kind == EX_NAME ? eq_find_label(x->q, e->name) : -1;
    if (l >= 0 && *left & eq_bit(l)) labels[n++] = l, *left &= ~eq_bit(l);
    for (const ast_expr *k = e->kids; k; k = k->next) n = written(x, k, left, labels, n);
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        for (const ast_expr *name = ix->names; name; name = name->next) n = written(x, name, left, labels, n);
        if (ix->expr) n = written(x, ix->expr, left, labels, n);
    }
    return n;
}

static void arguments(lifted *x, eq_set keep) {
    const ast_param *p = x->def->params;
    for (const ast_expr *k = x->e->kids->next; k; k = k->next, p = p ? p->next : NULL) {
        eq_set others = 0;
        for (const ast_expr *o = x->e->kids->next; o; o = o->next)
            if (o != k) others |= eq_labels_in(x->q, o);
        if (p && shaped(p)) others |= eq_labels_in(x->q, k); // what f folds is f's to know
        x->in[x->n++] = eq_scope(x->q, k, keep | others);
    }
}

static void split(lifted *x) {
    evaluator *ev = x->q->ev;
    eq_set core = 0;
    const ast_param *p = x->def->params;
    const ast_expr *k = x->e->kids->next;
    for (int i = 0; i < x->n; i++, p = p->next, k = k->next) {
        if (!shaped(p)) continue;
        eq_set all = eq_labels_in(x->q, k);
        int labels[EQ_LABELS], m = written(x, k, &all, labels, 0), r = p->type->rank;
        if (m < r)
            ev_fail(ev, k->at, "'%.*s' has %d ax%s, the argument %d ind%s", (int)p->name.n, p->name.p, r, r == 1 ? "is" : "es", m, m == 1 ? "ex" : "ices");
        for (int j = 0; j < m; j++) {
            if (j < m - r) x->outside |= eq_bit(labels[j]);
            else x->core[i][x->n_core[i]++] = labels[j], core |= eq_bit(labels[j]);
        }
    }
    if (core & x->outside) {
        const char *name = x->q->lab[__builtin_ctz(core & x->outside)].name;
        ev_fail_fix(ev, x->e->at, "the last indices of an argument are its parameter's axes, those before them tell which call", "index '%s' is an axis of one argument and a position of another", name);
    }
    p = x->def->params;
    for (int i = 0; i < x->n; i++, p = p->next) { // what has no declared axes: the others' axes, as far as it has them
        if (shaped(p) || x->in[i].is_const) continue;
        x->outside |= x->in[i].labels & ~core;
        x->n_core[i] = eq_order(x->q, NULL, x->in[i].labels & core, x->core[i]);
    }
}

// Which label an axis of the result has: by the names in the signature, or by the order of the arguments' axes.
static int result_labels(lifted *x, const tensor *t, int *labels, span at) {
    evaluator *ev = x->q->ev;
    const ast_type *ty = x->def->type;
    int n = 0;
    for (const ast_size *z = ty && ty->has_shape ? ty->sizes : NULL; z; z = z->next) {
        const ast_param *p = x->def->params;
        for (int i = 0, found = 0; z->kind == SZ_NAME && i < x->n && !found; i++, p = p->next) {
            int k = 0;
            for (const ast_size *w = shaped(p) ? p->type->sizes : NULL; w && !found; w = w->next, k++)
                if (w->kind == SZ_NAME && str_eq(w->name, z->name)) labels[n++] = x->core[i][k], found = 1;
        }
    }
    if (n == t->rank) return n;
    n = 0;
    eq_set have = 0;
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < x->n_core[i]; k++)
            if (!(have & eq_bit(x->core[i][k]))) {
                if (n < IR_MAX_RANK) labels[n] = x->core[i][k];
                n++;
                have |= eq_bit(x->core[i][k]);
            }
    if (t->rank == 0) return 0;
    if (n != t->rank)
        ev_fail_fix(ev, at, "name the axes in the signature: fn f(x: float32[a, b]) -> float32[a]", "nothing tells which indices the %d axes of the result of '%.*s' are", t->rank, (int)x->def->head.name.n, x->def->head.name.p);
    return n;
}

static tensor *call_at(lifted *x, value fn, tensor *const *whole, const int64_t *at, int n_out) {
    value args[ARGS];
    for (int i = 0; i < x->n; i++) {
        if (!whole[i]) {
            args[i] = v_float(x->in[i].k);
            continue;
        }
        tensor *t = whole[i];
        for (int k = 0; k < n_out; k++) t = tensor_select(x->q->ev, t, 0, at[k], at[k] + 1, true);
        args[i] = v_of_tensor(t);
    }
    value v = settle(x->q->ev, call_value(x->q->ev, fn, args, NULL, x->n, x->e->at), x->e->at);
    return value_tensor(x->q->ev, v, x->e->at);
}

static tensor *stacked(lifted *x, tensor **part, int64_t calls, const int *out, int n_out) {
    evaluator *ev = x->q->ev;
    int64_t sizes[IR_MAX_RANK], one[IR_MAX_RANK] = {1};
    int rank = part[0]->rank;
    if (rank + n_out > IR_MAX_RANK) ev_fail(ev, x->e->at, "a tensor has at most %d axes", IR_MAX_RANK);
    for (int k = 0; k < rank; k++) one[k + 1] = sizes[n_out + k] = part[0]->ax[k].size;
    for (int k = 0; k < n_out; k++) sizes[k] = x->q->lab[out[k]].size;
    for (int64_t c = 0; c < calls; c++) {
        bool same = part[c]->rank == rank;
        for (int k = 0; same && k < rank; k++) same = part[c]->ax[k].size == part[0]->ax[k].size && !part[c]->ax[k].sym;
        if (!same) ev_fail(ev, x->e->at, "the calls of '%.*s' give tensors of different shapes", (int)x->def->head.name.n, x->def->head.name.p);
    }
    if (ev->tracing) {
        for (int64_t c = 0; c < calls; c++) part[c] = tensor_reshape(ev, part[c], rank + 1, one, x->e->at);
        return tensor_reshape(ev, calls == 1 ? part[0] : tensor_concat(ev, part, (int)calls, 0, x->e->at), n_out + rank, sizes, x->e->at);
    }
    tensor *t = tensor_from_floats(ev, n_out + rank, sizes, NULL);
    int64_t inner = tensor_elements(part[0]);
    for (int64_t c = 0; c < calls; c++) memcpy((float *)t->buf->data + c * inner, tensor_floats(ev, part[c], x->e->at), sizeof(float) * (size_t)inner);
    t->type = part[0]->type == DT_BOOL ? DT_BOOL : DT_F32;
    return t;
}

static operand call_each(lifted *x, value fn, eq_set keep) {
    evaluator *ev = x->q->ev;
    int out[EQ_LABELS], n_out = eq_order(x->q, NULL, x->outside, out), labels[EQ_LABELS];
    int64_t calls = 1, at[IR_MAX_RANK] = {0};
    if (n_out > IR_MAX_RANK) ev_fail(ev, x->e->at, "an argument with more than %d indices", IR_MAX_RANK);
    for (int k = 0; k < n_out; k++) {
        if (x->q->lab[out[k]].sym) ev_fail_fix(ev, x->e->at, "give the function all axes, or declare none", "'%.*s' would be called for each row of a step", (int)x->def->head.name.n, x->def->head.name.p);
        if (__builtin_mul_overflow(calls, x->q->lab[out[k]].size, &calls) || calls > MAX_CALLS) ev_fail(ev, x->e->at, "'%.*s' would be called more than %d times", (int)x->def->head.name.n, x->def->head.name.p, MAX_CALLS);
    }
    tensor *whole[ARGS] = {0};
    for (int i = 0; i < x->n; i++) {
        memcpy(labels, out, sizeof *out * (size_t)n_out);
        if (n_out + x->n_core[i] > IR_MAX_RANK) ev_fail(ev, x->e->at, "an argument with more than %d indices", IR_MAX_RANK);
        for (int k = 0; k < x->n_core[i]; k++) labels[n_out + k] = x->core[i][k];
        if (!x->in[i].is_const || x->n_core[i]) whole[i] = eq_tensor(x->q, &x->in[i], labels, n_out + x->n_core[i]);
    }
    tensor **part = arena_array(&ev->dl_arena, tensor *, calls + 1);
    for (int64_t c = 0; c < calls; c++) {
        part[c] = call_at(x, fn, whole, at, n_out);
        for (int k = n_out - 1; k >= 0 && ++at[k] == x->q->lab[out[k]].size; k--) at[k] = 0;
    }
    if (calls == 0) return eq_const(0); // no position
    int n = result_labels(x, part[0], labels + n_out, x->e->at);
    memcpy(labels, out, sizeof *out * (size_t)n_out);
    tensor *t = n_out ? stacked(x, part, calls, out, n_out) : part[0];
    operand r = {.node = tensor_node(ev, t, x->e->at), .offset = t->offset, .boolean = t->type == DT_BOOL};
    for (int k = 0; k < n_out + n; k++) {
        const eq_label *l = &x->q->lab[labels[k]];
        if (t->ax[k].sym != l->sym || (!l->sym && t->ax[k].size != l->size))
            ev_fail(ev, x->e->at, "axis %d of the result of '%.*s' has %" PRId64 " elements, index '%s' has %" PRId64, k - n_out, (int)x->def->head.name.n, x->def->head.name.p, t->ax[k].size, l->name, l->size);
        r.labels |= eq_bit(labels[k]);
        r.stride[labels[k]] += t->ax[k].stride;
    }
    for (int i = 0; i < x->n; i++)
        for (int k = 0; k < x->n_core[i]; k++)
            if (keep & ~r.labels & eq_bit(x->core[i][k]))
                ev_fail_fix(ev, x->e->at, "give one of both another name", "index '%s' ends inside '%.*s', which has no such axis in its result, and is used outside", x->q->lab[x->core[i][k]].name, (int)x->def->head.name.n, x->def->head.name.p);
    return r;
}

static operand call_once(lifted *x, value fn) {
    evaluator *ev = x->q->ev;
    value args[ARGS];
    int labels[EQ_LABELS];
    eq_set all = 0;
    for (int i = 0; i < x->n; i++)
        if (!x->in[i].is_const) all |= x->in[i].labels;
    int m = eq_order(x->q, NULL, all, labels);
    if (m > IR_MAX_RANK) ev_fail(ev, x->e->at, "an argument with more than %d indices", IR_MAX_RANK);
    for (int i = 0; i < x->n; i++) args[i] = x->in[i].is_const ? v_float(x->in[i].k) : v_of_tensor(eq_tensor(x->q, &x->in[i], labels, m));
    value v = settle(ev, call_value(ev, fn, args, NULL, x->n, x->e->at), x->e->at);
    tensor *t = value_tensor(ev, v, x->e->at);
    if (t->rank == 0) return (operand){.node = tensor_node(ev, t, x->e->at), .offset = t->offset};
    operand r = {.node = tensor_node(ev, t, x->e->at), .offset = t->offset, .labels = all, .boolean = t->type == DT_BOOL};
    bool same = t->rank == m;
    for (int i = 0; i < m && same; i++) {
        const eq_label *l = &x->q->lab[labels[i]];
        same = t->ax[i].sym == l->sym && (t->ax[i].sym || t->ax[i].size == l->size);
        r.stride[labels[i]] = t->ax[i].stride;
    }
    if (!same) ev_fail_fix(ev, x->e->at, "declare the axes of its parameters (x: float32[?]), or bind its value first: let y = f(x), then index y", "a function of indexed values must give a value for each of their positions");
    return r;
}

operand call_lifted(equation *q, const ast_expr *e, value fn, eq_set keep) {
    lifted x = {.q = q, .e = e, .def = fn.fn->def};
    if (e->n_kids - 1 > ARGS) ev_fail(q->ev, e->at, "more than %d arguments in an equation", ARGS);
    for (const ast_expr *k = e->kids->next; k; k = k->next)
        if (k->arg_name.n) ev_fail_fix(q->ev, k->at, "give the arguments in order", "a call of a function on indexed values has no named arguments");
    bool declared = false;
    for (const ast_param *p = x.def->params; p; p = p->next) declared |= shaped(p);
    arguments(&x, keep);
    if (!declared || x.n != x.def->n_params) return call_once(&x, fn);
    split(&x);
    return call_each(&x, fn, keep);
}
