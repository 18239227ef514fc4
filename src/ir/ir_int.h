// ir_int.h - what the files of src/ir share. Private to this folder.
#ifndef TL_IR_INT_H
#define TL_IR_INT_H
#include "ir/ir.h"

// Drops labels of size 1, sorts folded labels, merges neighbours where every edge allows. Output labels from `fixed` on keep
// their identity (IR_MAX_LABELS: none does).
void ir_canonical(ir_node *n, int fixed);

// ---- rewriting (fuse.c) --------------------------------------------------------------------------
typedef ir_node *(*ir_rule)(ir_graph *, ir_node *); // the replacement of a node, or NULL
bool ir_apply(ir_graph *g, const ir_rule *rules, size_t n_rules); // one pass over all nodes; true: something changed
void ir_reorder(ir_graph *g);                       // drops dead and replaced nodes; inputs come first; new ids and uses
static inline bool ir_swallow(const ir_node *n) { return n->uses == 1 && !n->keep; }
// Does edge e of n read all of its node in n's output order, so that flat positions agree?
bool ir_reads_whole(const ir_node *n, const ir_edge *e);
// A choice of rows of f(x) becomes f of a choice of rows of x (rows.c).
ir_node *ir_rule_out_rows(ir_graph *g, ir_node *n);
#endif
