// eq.h - compiling one equation: its labels, its operands, products in the cheapest order.
//
// An operand is a view of an IR node over the statement's labels: which labels it has, and how far each moves the
// read position. Labels are the statement's index variables; an operand's label set is a bit mask over them.
#ifndef TL_EVAL_EQ_H
#define TL_EVAL_EQ_H
#include "eval/value.h"

enum { EQ_LABELS = 24, EQ_OPERANDS = 12 };

typedef struct eq_label {
    const char *name; // interned, primes included
    const char *dim;  // without primes
    const char *domain; // kind of entity, or NULL
    int64_t size;     // -1: not known yet
    ir_sym sym;
    const ast_stmt *decl;
    span at;          // where the size came from
    char what[80];
} eq_label;

typedef uint32_t eq_set; // of labels

typedef struct operand {
    bool is_const;
    double k;
    ir_node *node;
    int64_t offset;
    int64_t stride[EQ_LABELS];
    eq_set labels;
    bool weight;      // a stored matrix: never multiplied by another one
    bool boolean;
} operand;

typedef struct eq_base_value { const ast_expr *e; value v; } eq_base_value;
typedef struct equation {
    evaluator *ev;
    const ast_stmt *stmt;
    eq_label lab[EQ_LABELS];
    int n;
    int slice[IR_MAX_RANK], n_slices; // labels of the slices on the left
    eq_base_value base[8];            // what is indexed and is no name, evaluated once
    int n_bases;
} equation;

static inline eq_set eq_bit(int i) { return (eq_set)1 << i; }

// labels.c
int eq_label_of(equation *q, str name, span at);              // makes it if need be
int eq_find_label(const equation *q, str name);               // -1: none
bool eq_size(equation *q, int label, const axis *a, span at, const char *what); // true: news; conflicts are errors
void eq_collect(equation *q, const ast_expr *e);              // labels and sizes of all reads below e
void eq_collect_index(equation *q, const value *base, str of, const ast_index *list, span at); // `of`: its name
void eq_solve(equation *q, const ast_stmt *s);                // rounds over head, right side and guards
eq_set eq_labels_in(equation *q, const ast_expr *e);          // labels that occur
bool eq_free_name(evaluator *ev, const ast_expr *e);          // a plain name that is no value
const ast_index *eq_atom_args(const ast_expr *e, arena *a); // R(x, y) as an index list

value eq_base(equation *q, const ast_expr *e); // of f(x)[j]: an expression without indices of the statement

// lower.c
operand eq_const(double k);
ir_node *operand_node(equation *q, const operand *o);
operand eq_read(equation *q, value base, const ast_index *list, int n_index, span at);
operand eq_scope(equation *q, const ast_expr *e, eq_set keep);  // sums what is not in keep
operand eq_factor(equation *q, const ast_expr *e, eq_set keep);
operand eq_guard(equation *q, const ast_literal *list, eq_set keep); // and of all literals
tensor *eq_tensor(equation *q, const operand *o, const int *labels, int n); // axes in the order of `labels`

// contract.c
int eq_order(equation *q, const operand *a, eq_set set, int *out); // labels of `set` in the order of a's strides
operand eq_map(equation *q, map_op op, const operand *in, int n);
operand eq_product(equation *q, operand *num, int n_num, operand *den, int n_den, eq_set keep);
operand eq_fold(equation *q, fold_kind k, const operand *a, eq_set over);
operand eq_space_result(const int *labels, int n, const ir_space *sp, ir_node *node);
void eq_space(equation *q, const int *labels, int n, ir_space *sp); // rows must come first
int eq_rows_first(const equation *q, int *labels, int n);          // moves them there; returns n
// Labels of all operands: the leader's in its order, then what the others add; rows first. 0 without a leader.
int eq_union_order(equation *q, const operand *lead, const operand *in, int n, int *out);
ir_edge eq_edge(equation *q, const operand *o, const int *labels, int n);
#endif
