// verify.c - the invariants of the IR. A broken one is a bug of ours (or of a rule), not of the program.
#include "ir/ir.h"

typedef struct checker {
    const ir_node *n;
    tl_error *err;
} checker;

static tl_status refuse(const checker *c, const char *whose, const char *what) {
    sbuf b = {0};
    ir_print_node(c->n, &b);
    tl_status s = err_set(c->err, TL_E_PROGRAM, "%s%s in %.*s", whose, what, b.p ? (int)b.n : 1, b.p ? b.p : "?");
    sbuf_free(&b);
    return s;
}

static tl_status broken(const checker *c, const char *what) { return refuse(c, "internal: ", what); }

static bool arity_ok(const ir_node *n) {
    switch (n->op) {
    case IR_INPUT: case IR_CONST: case IR_WEIGHT: case IR_STATE: case IR_IOTA: return n->n_in == 0;
    case IR_OWNED: case IR_REDUCE: case IR_TOPK: return n->n_in == 1;
    case IR_MAP: return n->sub >= 0 && n->sub < MAP_END && n->n_in == map_arity[n->sub];
    case IR_EINSUM: case IR_LINEAR: case IR_EMBED: case IR_ROPE: return n->n_in == 2;
    case IR_SOFTMAX: case IR_RMS_NORM: return n->n_in == 1 || n->n_in == 2;
    case IR_LAYER_NORM: return n->n_in >= 1 && n->n_in <= 3;
    case IR_GATHER: return n->n_in >= 2;
    case IR_ASSEMBLE: return n->n_in >= 1;
    case IR_SCATTER: return n->n_in == 2 || n->n_in == 3;
    case IR_ATTENTION: return n->n_in == 4 || n->n_in == 5;
    case IR_FUSED: return n->n_in >= 1 && n->n_in <= 8;
    case IR_OP_COUNT: break;
    }
    return false;
}

// How far an edge reads beyond its offset, in [lo, hi], label 0 left out when it is symbolic.
static void extent(const ir_node *n, int e, int64_t *lo, int64_t *hi) {
    const ir_edge *in = &n->in[e];
    *lo = *hi = in->offset;
    if (n->op == IR_ROPE && e == 0) {
        *hi += (n->u.rope.heads - 1) * n->u.rope.head_stride + n->u.rope.d - 1;
        return;
    }
    if (n->op == IR_ROPE) {
        *hi += n->u.rope.rot - 1;
        return;
    }
    int last = n->op == IR_ASSEMBLE ? n->nout : n->nlab;
    for (int i = n->sym ? 1 : 0; i < last; i++) {
        int64_t size = n->op == IR_ASSEMBLE ? n->u.parts.sizes[e * n->nout + i] : n->size[i];
        *(in->stride[i] > 0 ? hi : lo) += (size - 1) * in->stride[i];
    }
    if (n->op == IR_SCATTER && e == 0 && n->n_in > 2) *hi += (n->u.gather.limit[0] - 1) * n->u.gather.gstride[0];
    if (n->op != IR_GATHER || e > 0) return;
    for (int i = 0; i + 1 < n->n_in; i++) {
        int64_t limit = n->u.gather.limit[i], step = n->u.gather.gstride[i];
        if (n->in[0].node->sym && step == n->in[0].node->inner) continue; // rows are known at replay
        if (limit > 0) *(step > 0 ? hi : lo) += (limit - 1) * step;
    }
}

static tl_status check_edge(const checker *c, int e) {
    const ir_node *n = c->n, *x = n->in[e].node;
    if (n->op == IR_ATTENTION || (n->op == IR_EMBED && e == 1) || (n->op == IR_SCATTER && e == 0 && n->n_in < 3 && n->sym)) return TL_OK;
    double unused;
    if (ir_is_scalar_const(x, &unused) && n->op == IR_OWNED) return TL_OK;
    int64_t lo, hi, whole = x->op == IR_SCATTER ? x->state2->slots * x->state2->width : x->inner;
    extent(n, e, &lo, &hi);
    if (ir_is_scalar_const(x, &unused)) whole = 1;
    if (lo < 0 || hi >= whole) return broken(c, "an edge that reads outside its array");
    if (!n->sym || (n->op == IR_GATHER && e == 0 && n->sym != x->sym)) return TL_OK;
    if (n->in[e].stride[0] == 0) return TL_OK;
    if (n->op == IR_SCATTER && e == 0) return TL_OK;
    if (x->sym != n->sym) return broken(c, "rows that move over an array without these rows");
    if (n->in[e].stride[0] != x->inner) return broken(c, "a row stride that is no row of the input");
    return TL_OK;
}

static tl_status check_fused(const checker *c) {
    const ir_node *n = c->n;
    int depth = 0;
    for (int i = 0; i < n->u.fused.n; i++) {
        const ir_fused *f = &n->u.fused.code[i];
        if (f->op == FUSED_PUSH) {
            if (f->arg < 0 || f->arg >= n->n_in) return broken(c, "a push of no input");
            depth++;
        } else {
            if (f->op < 0 || f->op >= MAP_END || depth < map_arity[f->op]) return broken(c, "an operation without operands");
            depth -= map_arity[f->op] - 1;
        }
    }
    return depth == 1 && n->u.fused.n <= 24 ? TL_OK : broken(c, "a program that leaves no single value");
}

static tl_status check_node(const checker *c) {
    const ir_node *n = c->n;
    if ((unsigned)n->op >= IR_OP_COUNT) return err_set(c->err, TL_E_PROGRAM, "internal: node %d has operation %d", n->id, (int)n->op);
    if (n->nlab > IR_MAX_LABELS || n->nout > n->nlab) return broken(c, "too many labels");
    if (n->sym && n->nout == 0) return broken(c, "a sum over the step's rows");
    for (int i = n->sym ? 1 : 0; i < n->nlab; i++)
        if (n->size[i] < 1) return refuse(c, "", "a step function cannot store an axis without elements (give its dim a size),"); // of a state or an input
    if (!arity_ok(n)) return broken(c, "a wrong number of inputs");
    int64_t inner = 1;
    for (int i = n->sym ? 1 : 0; i < n->nout; i++) inner *= n->size[i];
    if (inner != n->inner) return broken(c, "a wrong element count");
    if ((n->op == IR_SOFTMAX || n->op == IR_TOPK) && (n->nout == 0 || (n->nout == 1 && n->sym))) return broken(c, "an operation over no label");
    for (int e = 0; e < n->n_in; e++) TL_TRY(check_edge(c, e));
    return n->op == IR_FUSED ? check_fused(c) : TL_OK;
}

tl_status ir_verify(const ir_graph *g, tl_error *err) {
    uint8_t *seen = mem_calloc(g->n + 1, 1);
    if (!seen) return err_set(err, TL_E_MEMORY, "out of memory for a check of %zu nodes", g->n);
    tl_status status = TL_OK;
    for (const ir_node *n = g->first; n && status == TL_OK; n = n->next) {
        checker c = {n, err};
        if (n->id < 0 || (size_t)n->id >= g->n || seen[n->id]) {
            status = err_set(err, TL_E_PROGRAM, "internal: node id %d is out of range or used twice", n->id);
            break;
        }
        for (int e = 0; e < n->n_in && status == TL_OK; e++)
            if (!n->in[e].node || n->in[e].node->id < 0 || (size_t)n->in[e].node->id >= g->n || !seen[n->in[e].node->id]) status = broken(&c, "an input that does not come before");
        seen[n->id] = 1;
        if (status == TL_OK) status = check_node(&c);
    }
    for (int i = 0; i < g->n_outputs && status == TL_OK; i++)
        if ((size_t)g->outputs[i]->id >= g->n || !seen[g->outputs[i]->id]) status = err_set(err, TL_E_PROGRAM, "internal: output %d is not in the graph", i);
    mem_free(seen);
    return status;
}
