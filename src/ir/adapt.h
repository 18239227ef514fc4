// adapt.h - low-rank changes of weights (LoRA, Hu et al. 2021, arXiv 2106.09685) as a pass over a finished graph: where the program
// computes W x, y = W x + scale B (A x) takes its place, and where it looks up a row of W, + scale B A[row]. W stays as it
// is stored.
#ifndef TL_IR_ADAPT_H
#define TL_IR_ADAPT_H
#include "ir/ir.h"

typedef struct ir_adapter {
    const ir_weight *of;  // W: [n, k]
    ir_weight *a, *b;     // A: [rank, k], B: [n, rank]; of a table whose rows are looked up A: [n, rank], B: [k, rank]
    double scale;
    bool table;
    bool used;            // set by ir_adapt
} ir_adapter;
// After ir_rewrite, before ir_fuse_maps; again after ir_keep, for the products that it brought back. TL_E_UNSUPPORTED: W is used in another way.
tl_status ir_adapt(ir_graph *g, ir_adapter *list, size_t n, tl_error *err);
#endif
