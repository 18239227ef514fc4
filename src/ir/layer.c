// layer.c - which layer of the model a node belongs to.
#include <stdio.h>

#include "ir/ir.h"

enum { NO_LAYER = -1 };

// Files name the tensors of a layer "blk.N.".
int ir_layer_of_weight(const ir_weight *w) {
    int layer;
    return w && w->name && sscanf(w->name, "blk.%9d.", &layer) == 1 ? layer : NO_LAYER;
}

static const ir_node *final_node(const ir_node *n) {
    while (n->repl) n = n->repl;
    return n;
}

// What reads a layer's weights or states belongs to the layer; else it goes on with the last layer of what it reads.
int ir_layer_of(const ir_node *n, int depth) {
    if (n->op == IR_WEIGHT || n->op == IR_LINEAR || n->op == IR_EMBED) return ir_layer_of_weight(n->u.weight);
    if (n->op == IR_ATTENTION) return n->state2 ? (int)n->state2->layer : NO_LAYER;
    if (n->op == IR_SCATTER && n->state2 && n->state2->layer >= 0) return (int)n->state2->layer;
    for (int i = 0; i < n->n_in; i++) {
        const ir_node *in = final_node(n->in[i].node);
        if (in->op == IR_WEIGHT) return ir_layer_of_weight(in->u.weight);
    }
    int last = NO_LAYER;
    for (int i = 0; i < n->n_in && depth > 0; i++) {
        int layer = ir_layer_of(final_node(n->in[i].node), depth - 1);
        last = layer > last ? layer : last;
    }
    return last;
}
