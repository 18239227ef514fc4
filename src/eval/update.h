// update.h - equations beyond one definition (update.c).
#ifndef TL_EVAL_UPDATE_H
#define TL_EVAL_UPDATE_H
#include "eval/eq.h"

typedef struct update_head { // of what is changed, one entry for each axis
    int n;
    const int *label;                 // -1: fixed or scattered
    const int64_t *fixed;
    const ast_expr *const *scatter;   // a position given by a tensor, or NULL
    eq_set keep;                      // labels that the right side keeps
} update_head;
// b's tensor with some elements changed as s says; x is the right side over h->keep. Positions outside are errors.
void update_elements(equation *q, const ast_stmt *s, const update_head *h, const operand *x, binding *b);

const ast_index *virtual_index(const ast_stmt *s); // *t on the left, or NULL
void exec_recurrence(evaluator *ev, const ast_stmt *s);   // H[*t + 1, d] = ...: one step after the other
void refuse_cycle(evaluator *ev, const ast_stmt *s);      // an error if an `=` reads what it defines
bool reads_steps(const ast_stmt *s);                      // H[*t, d] on the right only: what the recurrence of H went through
void exec_step_reads(evaluator *ev, const ast_stmt *s);
bool is_fixpoint(evaluator *ev, const ast_stmt *s);       // or=, max=, min= over what exists and is read on the right
void exec_fixpoint(evaluator *ev, const ast_stmt *s);
// slices.c
bool eq_slices(equation *q, const ast_expr *e, value *v, const ast_index **list, int *n); // X[4:8][j]: the part and its indices
bool eq_has_slice(const ast_head *h);
void eq_slice_head(equation *q, ast_stmt *s, tensor *t);  // before eq_solve; s is a copy, t what is changed
operand call_lifted(equation *q, const ast_expr *e, value fn, eq_set keep); // f(X[i, j]) for a function of the program
#endif
