// ops.c - operations on whole tensors (the function style): broadcasting maps, products, folds, views.
#include <inttypes.h>

#include "eval/value.h"

// Two axes that stand for the same one: equal, or one of size 1 that is repeated. Nominal clash is an error.
static void join_axis(evaluator *ev, axis *into, const axis *with, span at) {
    if (into->sym && (with->sym == into->sym || with->size == 1)) return;
    if (with->sym && into->size == 1 && !into->sym) {
        *into = *with;
        return;
    }
    if (!into->sym && !with->sym && (into->size == with->size || with->size == 1)) {
        if (!into->dim) into->dim = with->dim, into->dim_decl = with->dim_decl, into->dim_at = with->dim_at;
        return;
    }
    if (!into->sym && into->size == 1) {
        *into = *with;
        return;
    }
    ev_fail(ev, at, "axes of different size meet: %" PRId64 " and %" PRId64, into->sym ? -1 : into->size, with->sym ? -1 : with->size);
}

tensor *tensor_map(evaluator *ev, map_op op, int n, value *args, span at) {
    tensor *t[3];
    int rank = 0;
    for (int i = 0; i < n; i++) {
        t[i] = value_tensor(ev, args[i], at);
        if (t[i]->rank > rank) rank = t[i]->rank;
    }
    axis ax[IR_MAX_RANK] = {{0}};
    for (int i = 0; i < rank; i++) ax[i].size = 1;
    for (int i = 0; i < n; i++)
        for (int k = 0; k < t[i]->rank; k++) join_axis(ev, &ax[rank - t[i]->rank + k], &t[i]->ax[k], at);
    layout l;
    layout_make(ax, rank, &l);
    ir_edge e[3] = {{0}};
    for (int i = 0; i < n; i++) {
        value v = args[i];
        if (v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL) e[i].node = ir_scalar(ev->g, want_float(ev, v, at, "number"));
        else e[i].node = tensor_node(ev, t[i], at), e[i].offset = t[i]->offset;
        for (int k = 0; k < t[i]->rank; k++)
            if (t[i]->ax[k].sym || t[i]->ax[k].size != 1) e[i].stride[l.label[rank - t[i]->rank + k]] = t[i]->ax[k].stride;
    }
    tensor *r = layout_tensor(ev, &l, ir_map(ev->g, op, &l.sp, e), ax, rank);
    if (op >= MAP_EQ && op <= MAP_OR) r->type = DT_BOOL;
    if (op == MAP_NOT) r->type = DT_BOOL;
    return r;
}

// out axes: batch axes, m (if a has it), n (if b has it); folded: k
tensor *tensor_matmul(evaluator *ev, tensor *a, tensor *b, span at) {
    char sa[200], sb[200];
    if (a->rank < 1 || b->rank < 1) ev_fail(ev, at, "matmul needs tensors with at least one axis");
    bool va = a->rank == 1, vb = b->rank == 1;
    const axis *ka = &a->ax[a->rank - 1], *kb = &b->ax[vb ? 0 : b->rank - 2];
    if (ka->sym || kb->sym || ka->size != kb->size) {
        diag *d = ev_diag(ev, at, "matmul: the last axis of %s and the %s axis of %s differ", tensor_shape(a, sa, sizeof sa), vb ? "only" : "last but one",
                          tensor_shape(b, sb, sizeof sb));
        if (!vb && b->ax[b->rank - 1].size == ka->size) diag_fix(&ev->dl, d, "transpose the second: matmul(a, transpose(b))");
        ev_throw(ev);
    }
    int batch_a = a->rank - (va ? 1 : 2), batch_b = b->rank - (vb ? 1 : 2), batch = batch_a > batch_b ? batch_a : batch_b;
    if (batch + 2 > IR_MAX_RANK) ev_fail(ev, at, "matmul: too many axes");
    axis ax[IR_MAX_RANK] = {{0}};
    for (int i = 0; i < batch; i++) ax[i].size = 1;
    for (int i = 0; i < batch_a; i++) join_axis(ev, &ax[batch - batch_a + i], &a->ax[i], at);
    for (int i = 0; i < batch_b; i++) join_axis(ev, &ax[batch - batch_b + i], &b->ax[i], at);
    int rank = batch;
    if (!va) ax[rank++] = a->ax[a->rank - 2];
    if (!vb) ax[rank++] = b->ax[b->rank - 1];
    layout l;
    layout_make(ax, rank, &l);
    int k = l.sp.nout;
    l.sp.nlab = k + 1;
    l.sp.size[k] = ka->size;
    ir_edge ea = {.node = tensor_node(ev, a, at), .offset = a->offset}, eb = {.node = tensor_node(ev, b, at), .offset = b->offset};
    for (int i = 0; i < batch_a; i++)
        if (a->ax[i].sym || a->ax[i].size != 1) ea.stride[l.label[batch - batch_a + i]] = a->ax[i].stride;
    for (int i = 0; i < batch_b; i++)
        if (b->ax[i].sym || b->ax[i].size != 1) eb.stride[l.label[batch - batch_b + i]] = b->ax[i].stride;
    if (!va) ea.stride[l.label[batch]] = a->ax[a->rank - 2].stride;
    if (!vb) eb.stride[l.label[rank - 1]] = b->ax[b->rank - 1].stride;
    ea.stride[k] = ka->stride;
    eb.stride[k] = kb->stride;
    return layout_tensor(ev, &l, ir_einsum(ev->g, &l.sp, &ea, &eb), ax, rank);
}

static int norm_axis(evaluator *ev, const tensor *t, int a, span at) {
    int k = a < 0 ? a + t->rank : a;
    if (k < 0 || k >= t->rank) ev_fail(ev, at, "axis %d of a tensor with %d axes", a, t->rank);
    return k;
}

tensor *tensor_softmax(evaluator *ev, tensor *t, int axis_no, span at) {
    axis_no = norm_axis(ev, t, axis_no, at);
    if (t->ax[axis_no].sym) ev_fail(ev, at, "softmax over the step's rows");
    axis ax[IR_MAX_RANK];
    int order[IR_MAX_RANK], n = 0;
    for (int i = 0; i < t->rank; i++)
        if (i != axis_no) order[n++] = i;
    order[n] = axis_no;
    for (int i = 0; i < t->rank; i++) ax[i] = t->ax[order[i]];
    layout l;
    layout_make(ax, t->rank, &l);
    ir_edge e = {.node = tensor_node(ev, t, at), .offset = t->offset};
    for (int i = 0; i < t->rank; i++) e.stride[l.label[i]] = ax[i].stride;
    tensor *r = layout_tensor(ev, &l, ir_softmax(ev->g, &l.sp, &e, NULL), ax, t->rank);
    tensor *back = tensor_dup(ev, r);
    for (int i = 0; i < t->rank; i++) back->ax[order[i]] = r->ax[i];
    return back;
}

tensor *tensor_reduce(evaluator *ev, fold_kind k, tensor *t, int axis_no, span at) {
    axis ax[IR_MAX_RANK];
    int rank = 0;
    bool all = axis_no == INT32_MIN;
    if (!all) axis_no = norm_axis(ev, t, axis_no, at);
    for (int i = 0; i < t->rank; i++)
        if (!all && i != axis_no) ax[rank++] = t->ax[i];
    layout l;
    layout_make(ax, rank, &l);
    ir_edge e = {.node = tensor_node(ev, t, at), .offset = t->offset};
    for (int i = 0, o = 0; i < t->rank; i++) {
        if (!all && i != axis_no) {
            e.stride[l.label[o++]] = t->ax[i].stride;
            continue;
        }
        if (t->ax[i].sym) ev_fail(ev, at, "a fold over the step's rows");
        l.sp.size[l.sp.nlab] = t->ax[i].size;
        e.stride[l.sp.nlab++] = t->ax[i].stride;
    }
    return layout_tensor(ev, &l, ir_reduce(ev->g, k, &l.sp, &e), ax, rank);
}

// What a step function computes is not known while it is traced: there, positions outside read as 0.
static void check_positions(evaluator *ev, const tensor *table, int axis_no, tensor *ids, span at) {
    if (ev->tracing || table->ax[axis_no].sym || tensor_has_sym(ids)) return;
    const float *p = tensor_floats(ev, ids, at);
    int64_t n = tensor_elements(ids), size = table->ax[axis_no].size;
    for (int64_t i = 0; i < n; i++)
        if (!(p[i] >= 0 && p[i] < (float)size))
            ev_fail(ev, at, "position %.9g lies outside axis %d, which has %" PRId64 " elements", (double)p[i], axis_no, size);
}

tensor *tensor_gather_rows(evaluator *ev, tensor *table, int axis_no, tensor *ids, span at) {
    axis_no = norm_axis(ev, table, axis_no, at);
    axis ax[IR_MAX_RANK];
    int rank = 0;
    check_positions(ev, table, axis_no, ids, at);
    if (ids->rank + table->rank - 1 > IR_MAX_RANK) ev_fail(ev, at, "too many axes");
    for (int i = 0; i < axis_no; i++) ax[rank++] = table->ax[i];
    for (int i = 0; i < ids->rank; i++) ax[rank++] = ids->ax[i];
    for (int i = axis_no + 1; i < table->rank; i++) ax[rank++] = table->ax[i];
    layout l;
    layout_make(ax, rank, &l);
    ir_edge base = {.node = tensor_node(ev, table, at), .offset = table->offset}, idx = {.node = tensor_node(ev, ids, at), .offset = ids->offset};
    for (int i = 0, o = 0; i < table->rank; i++) {
        if (i == axis_no) o += ids->rank;
        else base.stride[l.label[o++]] = table->ax[i].stride;
    }
    for (int i = 0; i < ids->rank; i++) idx.stride[l.label[axis_no + i]] = ids->ax[i].stride;
    int64_t gstride = table->ax[axis_no].stride, limit = table->ax[axis_no].size;
    return layout_tensor(ev, &l, ir_gather(ev->g, &l.sp, &base, 1, &idx, &gstride, &limit), ax, rank);
}

tensor *tensor_select(evaluator *ev, tensor *t, int axis_no, int64_t lo, int64_t hi, bool drop) {
    tensor *r = tensor_dup(ev, t);
    r->offset += lo * t->ax[axis_no].stride;
    r->ax[axis_no].size = hi - lo;
    if (hi - lo != t->ax[axis_no].size) r->ax[axis_no].dim = NULL, r->ax[axis_no].dim_decl = NULL;
    if (drop) {
        for (int i = axis_no; i + 1 < r->rank; i++) r->ax[i] = r->ax[i + 1];
        r->rank--;
    }
    return r;
}

tensor *tensor_concat(evaluator *ev, tensor **parts, int n, int axis_no, span at) {
    axis_no = norm_axis(ev, parts[0], axis_no, at);
    int rank = parts[0]->rank;
    axis ax[IR_MAX_RANK];
    memcpy(ax, parts[0]->ax, sizeof ax);
    int64_t total = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i]->rank != rank) ev_fail(ev, at, "concat: %d axes and %d axes", rank, parts[i]->rank);
        for (int k = 0; k < rank; k++)
            if (k != axis_no && (parts[i]->ax[k].sym != ax[k].sym || (!ax[k].sym && parts[i]->ax[k].size != ax[k].size)))
                ev_fail(ev, at, "concat: axis %d differs", k);
        if (parts[i]->ax[axis_no].sym) ev_fail(ev, at, "concat along the step's rows");
        total += parts[i]->ax[axis_no].size;
    }
    ax[axis_no].size = total;
    ax[axis_no].dim = NULL, ax[axis_no].dim_decl = NULL;
    layout l;
    layout_make(ax, rank, &l);
    int64_t stride[IR_MAX_LABELS];
    layout_strides(&l, stride);
    ir_edge *e = arena_array(ev->g->a, ir_edge, n);
    int64_t *off = arena_array(ev->g->a, int64_t, n), *st = arena_array(ev->g->a, int64_t, n * l.sp.nout), *sz = arena_array(ev->g->a, int64_t, n * l.sp.nout);
    int64_t done = 0;
    for (int i = 0; i < n; i++) {
        e[i] = (ir_edge){.node = tensor_node(ev, parts[i], at), .offset = parts[i]->offset};
        off[i] = done * stride[l.label[axis_no]];
        for (int k = 0; k < rank; k++) {
            int lab = l.label[k];
            e[i].stride[lab] = parts[i]->ax[k].stride;
            st[i * l.sp.nout + lab] = stride[lab];
            sz[i * l.sp.nout + lab] = ax[k].sym ? 1 : parts[i]->ax[k].size;
        }
        done += parts[i]->ax[axis_no].size;
    }
    return layout_tensor(ev, &l, ir_assemble(ev->g, &l.sp, n, e, off, st, sz), ax, rank);
}

// ---- reshape -------------------------------------------------------------------------------------
// Strides for the new axes of a view of t, when one exists (every new axis lies within a run of mergeable old axes).
static bool view_strides(const tensor *t, int from, int rank, axis *ax) {
    int64_t osize[IR_MAX_RANK], ostride[IR_MAX_RANK];
    int n = 0;
    for (int i = from; i < t->rank; i++) { // merged old axes
        if (t->ax[i].size == 1) continue;
        if (n && ostride[n - 1] == t->ax[i].stride * t->ax[i].size) osize[n - 1] *= t->ax[i].size, ostride[n - 1] = t->ax[i].stride;
        else osize[n] = t->ax[i].size, ostride[n++] = t->ax[i].stride;
    }
    int o = n - 1;
    int64_t left = o >= 0 ? osize[o] : 1, stride = o >= 0 ? ostride[o] : 1;
    for (int i = rank - 1; i >= from; i--) {
        ax[i].stride = stride;
        if (ax[i].size == 1) continue;
        if (left == 1) {
            if (--o < 0) return false;
            left = osize[o], stride = ostride[o];
            ax[i].stride = stride;
        }
        if (left % ax[i].size) return false;
        left /= ax[i].size;
        stride *= ax[i].size;
    }
    return left == 1 && o <= 0;
}

tensor *tensor_reshape(evaluator *ev, tensor *t, int rank, const int64_t *sizes, span at) {
    char shape[200];
    axis ax[IR_MAX_RANK] = {{0}};
    int from = 0, guess = -1;
    int64_t known = 1, have = tensor_elements(t);
    if (t->rank && t->ax[0].sym) { // the step's rows stay the first axis
        if (rank < 1 || sizes[0] != -1) ev_fail_fix(ev, at, "begin the new shape with -1", "the number of rows of a step is not known here: its axis must stay first");
        ax[0] = t->ax[0];
        from = 1;
    }
    for (int i = from; i < rank; i++) {
        ax[i].size = sizes[i];
        if (sizes[i] == -1 && guess < 0) guess = i;
        else if (sizes[i] < 0) ev_fail(ev, at, "reshape: size %" PRId64, sizes[i]);
        else known *= sizes[i];
    }
    if (guess >= 0) {
        if (!known || have % known) ev_fail(ev, at, "reshape: %s has %" PRId64 " elements, not a multiple of %" PRId64, tensor_shape(t, shape, sizeof shape), have, known);
        ax[guess].size = have / known;
        known = have;
    }
    if (known != have)
        ev_fail(ev, at, "reshape: %s has %" PRId64 " elements%s, the new shape %" PRId64, tensor_shape(t, shape, sizeof shape), have, from ? " a row" : "", known);
    if (have == 0) { // nothing to lay out
        for (int i = from; i < rank; i++) ax[i].stride = 0;
    } else if (!view_strides(t, from, rank, ax)) {
        t = tensor_compact(ev, t, at);
        ax[0].stride = from ? t->ax[0].stride : 0;
        if (!view_strides(t, from, rank, ax)) ev_fail(ev, at, "reshape: this view cannot be laid out anew");
    }
    tensor *r = tensor_dup(ev, t);
    r->rank = rank;
    memcpy(r->ax, ax, sizeof ax);
    return r;
}
