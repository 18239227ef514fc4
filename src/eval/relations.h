// relations.h - relations, facts, rules and queries of programs (relations.c). All functions throw on errors.
#ifndef TL_EVAL_RELATIONS_H
#define TL_EVAL_RELATIONS_H
#include "eval/value.h"

void declare_relation(evaluator *ev, const ast_stmt *s);
void declare_entity(evaluator *ev, const ast_stmt *s);
void declare_members(evaluator *ev, const ast_stmt *s);    // of an entity kind, without binding the kind's own name
void declare_embedding(evaluator *ev, const ast_stmt *s);  // embed_decl.c: a tensor [members, width]
bool is_relation(evaluator *ev, const ast_expr *callee);   // a name bound to a relation that is not the cache's owner
void exec_fact(evaluator *ev, const ast_expr *call);
bool is_logic_rule(evaluator *ev, const ast_stmt *s);      // over relations; else over tensors
void exec_logic_rule(evaluator *ev, const ast_stmt *s);    // also an equation R(x) max= e
void exec_query(evaluator *ev, const ast_stmt *s);         // prints the rows
value ask_relation(evaluator *ev, const ast_expr *call);   // a Boolean: every argument is known
int64_t relation_count(evaluator *ev, v_relation *rel, span at);
void relation_assign(evaluator *ev, v_relation *rel, tensor *t, bool keep, span at); // keep: besides the rows it has
int64_t entity_position(evaluator *ev, const char *domain, str name, span at);
#endif
