// constraint_rule.h - the constraint that a program's rule Allowed(seq, tok) is, in the states of constraint.c.
#ifndef TL_RUN_CONSTRAINT_RULE_H
#define TL_RUN_CONSTRAINT_RULE_H
#include "eval/allow.h"

typedef struct rule_constraint rule_constraint;
// `text` NULL: the file is read. Functions as tl_constraint_* of the same names; the model must outlive it.
tl_status rule_new(tl_model *m, const char *file, const char *text, size_t n, rule_constraint **out, tl_error *err);
void rule_free(rule_constraint *r); // NULL is fine
tl_status rule_mask(rule_constraint *r, uint32_t state, const uint64_t **mask, tl_error *err);
tl_status rule_next(rule_constraint *r, uint32_t state, int32_t token, uint32_t *next, tl_error *err);
bool rule_may_end(rule_constraint *r, uint32_t state);
#endif
