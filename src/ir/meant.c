// meant.c - infinities that a program writes itself, to be told from those that it did not expect.
#include <math.h>

#include "ir/ir.h"

enum { MOST_VISITS = 300 };

static bool infinite_input(const ir_node *n) {
    double k;
    for (int e = 0; e < n->n_in; e++)
        if (ir_is_scalar_const(n->in[e].node, &k) && isinf(k)) return true;
    return false;
}

static bool selects(const ir_node *n) {
    if (n->op == IR_MAP) return n->sub == MAP_SELECT;
    for (int i = 0; n->op == IR_FUSED && i < n->u.fused.n; i++)
        if (n->u.fused.code[i].op == MAP_SELECT) return true;
    return false;
}

static bool meant(const ir_node *n, int *visits) {
    if (++*visits > MOST_VISITS || n->op == IR_SOFTMAX || (n->op == IR_MAP && n->sub == MAP_EXP)) return false;
    if (selects(n) && infinite_input(n)) return true;
    if (n->op != IR_MAP && n->op != IR_FUSED && n->op != IR_REDUCE && n->op != IR_GATHER && n->op != IR_ASSEMBLE) return false;
    for (int e = 0; e < n->n_in; e++)
        if (meant(n->in[e].node, visits)) return true;
    return false;
}

bool ir_infinity_meant(const ir_node *n) {
    int visits = 0;
    return meant(n, &visits);
}
