// rows.c - computing only the rows that are asked for: when a node is read for chosen rows only (`out`), the choice moves
// from its result to its inputs. In a decoder the whole last layer after its keys and values then runs on the output rows.
#include "ir/ir_int.h"

bool ir_picks_rows(const ir_node *n) {
    if (n->op != IR_GATHER || n->sym != SYM_OUT || n->n_in != 2 || n->nout > 2) return false;
    const ir_edge *x = &n->in[0], *i = &n->in[1];
    if (x->node->sym != SYM_ROWS || x->offset || x->stride[0] || n->u.gather.gstride[0] != x->node->inner) return false;
    if (i->node->type != DT_I32 || i->stride[0] != 1 || i->offset) return false;
    if (n->nout == 1) return x->node->inner == 1;
    return n->size[1] == x->node->inner && x->stride[1] == 1 && i->stride[1] == 0;
}

// Operations whose row r depends on row r of their inputs, where an edge's row stride says so.
static bool by_rows(const ir_node *x) {
    switch (x->op) {
    case IR_MAP: case IR_FUSED: case IR_LINEAR: case IR_EMBED: case IR_RMS_NORM: case IR_LAYER_NORM: case IR_ROPE: case IR_EINSUM: case IR_REDUCE:
    case IR_SOFTMAX: case IR_OWNED: break;
    case IR_ATTENTION: break;
    default: return false;
    }
    for (int e = 0; e < x->n_in; e++) {
        const ir_edge *in = &x->in[e];
        if (in->node->sym && (in->node->sym != SYM_ROWS || in->stride[0] != in->node->inner)) return false;
    }
    return true;
}

static ir_node *pick(ir_graph *g, const ir_node *n, ir_node *x) {
    ir_space sp = {.sym = SYM_OUT, .nlab = 1, .nout = 1};
    ir_edge base = {.node = x}, index = {.node = n->in[1].node, .stride = {1}};
    if (x->inner > 1) {
        sp.nlab = sp.nout = 2;
        sp.size[1] = x->inner;
        base.stride[1] = 1;
    }
    return ir_gather(g, &sp, &base, 1, &index, &x->inner, n->u.gather.limit);
}

ir_node *ir_rule_out_rows(ir_graph *g, ir_node *n) {
    if (!ir_picks_rows(n)) return NULL;
    ir_node *x = n->in[0].node;
    if (!ir_swallow(x) || !by_rows(x)) return NULL;
    ir_node *y = arena_dup(g->a, x, sizeof *x);
    y->in = arena_dup(g->a, x->in, sizeof *x->in * (size_t)x->n_in);
    y->sym = SYM_OUT;
    y->repl = NULL;
    y->uses = 0;
    for (int e = 0; e < y->n_in; e++)
        if (y->in[e].node->sym) y->in[e].node = pick(g, n, x->in[e].node);
    return ir_intern(g, y);
}
