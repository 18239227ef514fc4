// watch.h - what happens when a value gets its name: it is recorded for those who watch, patches are applied, and in a
// program under the trap it is looked through. Everything that binds a tensor calls watch_bound.
#ifndef TL_EVAL_WATCH_H
#define TL_EVAL_WATCH_H
#include "eval/eq.h"

// The tensor that s gives a name; answers what the name is to stand for.
tensor *watch_bound(evaluator *ev, const ast_stmt *s, str name, tensor *t);
value watch_value(evaluator *ev, const ast_stmt *s, value v); // the same for any value
void watch_part(evaluator *ev, const ast_stmt *s, const struct part *part, int rank); // R[p, 0, 1] = ..: no patches
tensor *watch_whole(evaluator *ev, const v_parts *p, tensor *whole); // all parts together, on first use
operand watch_operand(equation *q, const ast_stmt *s, const operand *x, const int *labels, int n); // written to a state
void watch_lens(evaluator *ev, const ast_stmt *loop, scope *outer, int64_t layer); // if `loop` is the step's over layers

// ---- patch.c -------------------------------------------------------------------------------------
void patch_declare(evaluator *ev, const ast_stmt *s);
tensor *patch_apply(evaluator *ev, const ast_stmt *s, str name, tensor *t); // all that match; t if none does
#endif
