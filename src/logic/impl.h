// impl.h - inside the engine: the database, compiled rules, join plans. Rules live in the database's arena.
#ifndef TL_LOGIC_IMPL_H
#define TL_LOGIC_IMPL_H
#include "logic/relation.h"

#define LOGIC_MAX_VARS 120
#define LOGIC_MAX_LITERALS 64
#define LOGIC_MAX_FOLDS 8 // one inside another

// ---- database ------------------------------------------------------------------------------------
typedef struct domain { // its members in order are the facts of `rel`
    str name;
    logic_rel *rel;
    uint32_t *number; // of a string's id: place among the members + 1; 0: no member
    size_t number_cap;
    struct domain *next;
} domain;

typedef struct lcol { str name; logic_type type; domain *dom; } lcol;
typedef struct lrule lrule;

struct logic_rel {
    str name;
    span at;          // of its declaration; at.src NULL: declared by the host or by its first rule
    int arity;
    lcol *cols;
    logic_fold fold;
    domain *members;  // this relation is the domain's own
    tupset base;      // facts
    tupset full;      // facts and what rules derive; unused (mem NULL) without rules
    lrule *rules, *last_rule;
    bool dirty;       // changed since the last evaluation
    int stratum;      // of the last stratify()
    int order, low;   // Tarjan's numbers; 0: not visited
    bool on_stack;
    size_t lo, hi;    // in a fixpoint: rows [lo, hi) are new in this round
    logic_rel *next, *in_stratum;
};
static inline tupset *rel_rows(logic_rel *r) { return r->rules ? &r->full : &r->base; }

typedef struct name_entry { logic_word id; domain *dom; str name; struct name_entry *next; } name_entry;

struct logic_db {
    logic_mem mem;
    interner *strings;
    arena a;           // what lives as long as the database
    arena tmp;         // until the outermost guarded() returns: plans, queries
    arena *at;         // where compiling allocates: one of the two
    int depth;         // of guarded(): a hook may call back
    struct exec *live; // has memory that must not be lost when an arena is exhausted
    logic_options opt;
    logic_rel *rels, *last_rel;
    int n_rels;
    domain *domains;
    name_entry *names; // entities that may be written without quotes
    map name_map;      // name -> name_entry *
    map rel_map;       // name -> logic_rel *
    bool dirty, untyped;
};

// ---- rules -----------------------------------------------------------------------------------------
typedef enum { TM_VAR, TM_CONST, TM_WILD } term_kind;
typedef struct lterm { term_kind kind; int var; logic_word word; logic_type type; span at; } lterm;

typedef enum { LX_TERM, LX_BINARY, LX_NEG, LX_ABS, LX_MIN, LX_MAX, LX_TO_INT, LX_TO_FLOAT } lx_kind;
typedef struct lexpr {
    lx_kind kind;
    ex_op op;
    logic_type type; // LT_ANY until it is known
    span at;
    lterm term;
    struct lexpr *a, *b;
} lexpr;

typedef enum { LL_ATOM, LL_COMPARE, LL_TEST, LL_FOLD, LL_FALSE } lit_kind;
typedef struct llit llit;
struct llit {
    lit_kind kind;
    bool negated;
    span at;
    logic_rel *rel;      // LL_ATOM
    lterm *terms;
    ex_op op;            // LL_COMPARE
    lexpr *a, *b;        // LL_COMPARE: both sides; LL_FOLD: a is what is folded (NULL: count)
    const ast_expr *ast; // LL_TEST
    int *vars, n_vars;   // LL_TEST: its variables; LL_FOLD: the names in brackets
    logic_fold fold;     // LL_FOLD: vars[n_vars] takes the result, of literals `inner`
    int result;
    llit *inner;
    int index;           // among the rule's literals (-1: inside a fold)
    llit *next;
};

typedef struct lvar {
    str name; // empty: made by the compiler
    span at;
    logic_type type;
    domain *dom;
    span type_at;
    bool outer;    // occurs outside of folds
    bool computed; // a fold's result: an equation tests it and never sets it
} lvar;

struct lrule {
    logic_rel *head;
    span at;
    lvar *vars;
    int n_vars;
    llit *lits;
    int n_lits;
    lexpr **cols;     // of the head
    logic_fold fold;  // of its last column
    int *over, n_over; // agg[names]: fold over distinct values of these (n_over -1: over all solutions)
    lrule *next;
};

// ---- plans -------------------------------------------------------------------------------------------
typedef enum { SP_ATOM, SP_FILTER, SP_ASSIGN, SP_TEST, SP_FOLD, SP_STOP, SP_EMIT, SP_COLLECT } step_kind;
typedef enum { PATH_SCAN, PATH_INDEX, PATH_CONTAINS, PATH_FIND } access_path;
typedef enum { RANGE_ALL, RANGE_OLD, RANGE_NEW } row_range;
typedef struct pcol { int col; lterm term; unsigned shift; } pcol;

// Before something is added up: solutions that agree on these variables count once.
typedef struct solution { bool distinct; int *vars, n; } solution;

typedef struct pstep pstep;
struct pstep {
    step_kind kind;
    const llit *lit;
    logic_rel *rel;
    access_path path;
    row_range range;
    uint32_t key_cols;
    pcol *key, *bind, *check;
    int n_key, n_bind, n_check;
    bool once;        // the first row that matches is enough
    bool last;        // the next step emits a packed row, and nothing but `bind` stands before it
    int target;       // SP_ASSIGN, SP_FOLD: variable
    const lexpr *e;   // SP_ASSIGN
    pstep *inner;     // SP_FOLD
    solution sol;     // SP_FOLD
    // for the time of one execution:
    tupset *set;
    relindex *ix;
    const relindex *peek; // the next atom's, when a column of this one is its key: rows that lead nowhere are skipped
    unsigned peek_shift;
};
// How packed rows of a last atom become packed rows of the head: fields moved from each row, others the same for all.
typedef struct mover {
    bool ok;
    int n_moved, n_fixed;
    unsigned from[4], to[4], fixed_to[4];
    lterm fixed[4];
} mover;

typedef struct lplan {
    lrule *rule;
    mover move;       // for the time of one execution
    pstep *steps;
    solution sol;
} lplan;

// delta: index of the literal that reads new rows, or -1. Needs a rule that passed plan_check.
lplan *plan_rule(logic_db *db, lrule *r, int delta, int stratum);
// Can every literal run, and is every variable of the head bound? Reports when not.
bool plan_check(logic_db *db, lrule *r, diag_list *dl);

// ---- compiling -----------------------------------------------------------------------------------------
typedef struct compile { logic_db *db; diag_list *dl; lrule *rule; llit **tail; int depth; bool failed, fact; } compile;
void compile_literal(compile *c, const ast_expr *e, bool negated);
lexpr *compile_value(compile *c, const ast_expr *e);
bool compile_term(compile *c, const ast_expr *e, lterm *out); // false: not a name or a constant
int compile_fresh(compile *c, span at);
diag *compile_fail(compile *c, span at, const char *fmt, ...) TL_PRINTF(3, 4);
llit *compile_add(compile *c, lit_kind kind, span at);
lexpr *lexpr_new(logic_db *db, lx_kind kind, span at);
bool fold_named(str name, logic_fold *out); // "count", "sum", ...
lrule *compile_query(logic_db *db, const ast_expr *atom, const ast_literal *where, diag_list *dl);
void compile_unknown(compile *c, str name, span at, const char *what);
// The places of a call's arguments, by position or column name; false: reported.
bool compile_args(compile *c, const logic_rel *r, const ast_expr *call, int n, const ast_expr **out);

bool infer_rule(logic_db *db, lrule *r, diag_list *dl); // types of variables and columns; false: reported
bool infer_all(logic_db *db, diag_list *dl);
bool stratify(logic_db *db, diag_list *dl, int *n); // sets stratum (0..n-1) of every relation; false: reported
bool type_is_text(logic_type t);
const char *type_name(logic_type t);
bool convert_word(logic_word w, logic_type from, logic_type to, logic_word *out); // false: the types do not fit

// ---- running ---------------------------------------------------------------------------------------------
typedef struct failure { tl_status status; span at; tl_error err; } failure; // of an execution; err.message
typedef struct exec {
    logic_db *db;
    lplan *plan;
    tupset *out;              // receives rows; packed ones through `buf`
    logic_word reg[LOGIC_MAX_VARS];
    uint64_t *buf;
    size_t n_buf;
    logic_word *spill;        // rows that do not fit a packed set, until the join is over
    size_t n_spill, spill_cap; // words
    tupset seen;              // solutions, when they must be distinct
    struct fold_state *fold;  // of the innermost SP_FOLD
    int64_t steps, next_poll;
    failure fail;
} exec;
bool exec_init(exec *x, logic_db *db); // x is in db->tmp; one at a time
void exec_deinit(exec *x);
bool exec_plan(exec *x, lplan *p, tupset *out); // false: x->fail
bool exec_fail(exec *x, tl_status status, span at, const char *fmt, ...) TL_PRINTF(4, 5);
bool exec_memory(exec *x);                            // records mem.status
bool eval_expr(exec *x, const lexpr *e, logic_word *out);
bool logic_compare_values(exec *x, const llit *l, bool *out);
tl_status run_all(logic_db *db, diag_list *dl);       // inside guarded()

// ---- shared helpers ----------------------------------------------------------------------------------------
// Runs fn; when an arena of db or dl is exhausted, returns TL_E_MEMORY instead.
tl_status guarded(logic_db *db, diag_list *dl, tl_status (*fn)(void *), void *ctx);
str keep_str(logic_db *db, str s); // copy in the arena
logic_rel *rel_new(logic_db *db, str name, int arity, span at);
bool rel_link(logic_db *db, logic_rel *r);
void rel_unlink(logic_db *db, logic_rel *r); // the one linked last
domain *domain_get(logic_db *db, str name, bool make);
bool domain_add(logic_db *db, domain *d, logic_word id); // false: out of memory
bool rel_add_fact(logic_db *db, logic_rel *r, const logic_word *row);
tl_status word_of_value(logic_db *db, logic_value v, lcol *col, logic_word *out, tl_error *err);
logic_value value_of_word(const logic_db *db, logic_word w, logic_type t);
tl_status mem_error(logic_db *db, tl_error *err);
tl_status mem_diag(logic_db *db, diag_list *dl);
#endif
