// explain.h - how equations are computed: what `tl explain` and the REPL's :explain tell.
#ifndef TL_EVAL_EXPLAIN_H
#define TL_EVAL_EXPLAIN_H
#include "eval/value.h"

typedef struct explain_kernel { // of a plan that computed an explained equation
    const char *kernel;
    int64_t bytes;              // of a stored matrix
    int line, times;           // line 0: that of the equation
    char space[160];
} explain_kernel;

typedef struct explainer {
    const char *file;          // equations of this source only, by the name that messages give it
    int line;                  // 0: all
    tl_explain_form form;
    sbuf *out;
    VEC(const ast_stmt *) told; // each statement once, however often it runs
    int depth;                 // equations being computed for an explained one
    VEC(explain_kernel) kernels;
    size_t workspace;
    int graphs;
    int found;                 // equations that were explained
} explainer;

typedef struct explain_mark { // of a statement between its beginning and its end
    bool on;
    ir_node **tail;
    char *indices;             // lines about its indices
    double all;                // operations if all indices ran at once
} explain_mark;

// Around a statement; ev->explain is set. The end computes what was defined, so that its kernels are seen.
explain_mark explain_begin(evaluator *ev, const ast_stmt *s);
void explain_end(evaluator *ev, const ast_stmt *s, const explain_mark *m);
// A graph is about to run.
void explain_graph(evaluator *ev, const ir_graph *g, const plan *p);
// The kernels of a plan whose nodes stand at the explained lines, as text.
void explain_plan(explainer *x, const plan *p);
bool explain_wants(const explainer *x, span at);
#endif
