// move.c - a finished graph without what its making has left behind.
#include "ir/ir_int.h"

static void copy_arrays(arena *a, ir_node *n) {
    size_t k = (size_t)n->n_in, dims = k * n->nout;
    switch (n->op) {
    case IR_CONST:
        if (!n->u.k.scalar) n->u.k.data = arena_dup(a, n->u.k.data, (size_t)n->u.k.n * 4);
        break;
    case IR_GATHER: case IR_SCATTER:
        k = n->op == IR_GATHER ? k - 1 : 1;
        n->u.gather.gstride = arena_dup(a, n->u.gather.gstride, k * sizeof *n->u.gather.gstride);
        n->u.gather.limit = arena_dup(a, n->u.gather.limit, k * sizeof *n->u.gather.limit);
        break;
    case IR_ASSEMBLE:
        n->u.parts.offset = arena_dup(a, n->u.parts.offset, k * sizeof *n->u.parts.offset);
        n->u.parts.stride = arena_dup(a, n->u.parts.stride, dims * sizeof *n->u.parts.stride);
        n->u.parts.sizes = arena_dup(a, n->u.parts.sizes, dims * sizeof *n->u.parts.sizes);
        break;
    case IR_FUSED: n->u.fused.code = arena_dup(a, n->u.fused.code, (size_t)n->u.fused.n * sizeof *n->u.fused.code); break;
    default: break;
    }
}

void ir_move(ir_graph *g, arena *a) {
    ir_node **copy = arena_array(g->a, ir_node *, g->n), *old = g->first;
    g->a = a, g->first = NULL, g->tail = &g->first;
    g->scratch = NULL, g->scratch_cap = 0;
    while (g->table_cap > 256 && g->table_cap >= 8 * g->n) g->table_cap /= 2;
    g->table = arena_array(a, ir_node *, g->table_cap);
    for (; old; old = old->next) {
        ir_node *n = copy[old->id] = arena_dup(a, old, sizeof *old);
        n->in = arena_dup(a, old->in, sizeof *old->in * (size_t)old->n_in);
        for (int e = 0; e < n->n_in; e++) n->in[e].node = copy[n->in[e].node->id];
        copy_arrays(a, n);
        n->next = NULL;
        *g->tail = n, g->tail = &n->next;
        ir_rehash(g, n);
    }
    for (int i = 0; i < g->n_outputs; i++) g->outputs[i] = copy[g->outputs[i]->id];
}
