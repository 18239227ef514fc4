// value.h - values of running programs, their heap, scopes and tensors (views over buffers, weights and IR nodes).
//
// Everything on the heap starts with `obj` and is linked for mark and sweep. A collection runs only at statement ends
// when no expression is half done (ev->pending == 0), so C locals need no roots. Errors longjmp to ev->escape.
#ifndef TL_EVAL_VALUE_H
#define TL_EVAL_VALUE_H
#include <setjmp.h>

#include "eval/eval.h"
#include "logic/logic.h"

typedef enum {
    V_NONE, V_INT, V_FLOAT, V_BOOL, V_STR, V_LIST, V_MAP, V_TENSOR, V_FN, V_BUILTIN, V_RELATION, V_STATE, V_MODEL,
    V_TOKENIZER, V_PATH, V_FAMILY, V_PARTS, V_RANGE, V_SESSION, V_KINDS
} v_kind;
extern const char *const v_names[V_KINDS]; // "nothing", "an integer", ...

typedef struct obj {
    struct obj *next;
    uint8_t kind; // v_kind, or O_*
    bool mark;
} obj;
enum { O_BUFFER = V_KINDS, O_SCOPE };

typedef struct value value;
typedef struct v_str v_str;
typedef struct v_list v_list;
typedef struct v_map v_map;
typedef struct v_fn v_fn;
typedef struct tensor tensor;
typedef struct v_relation v_relation;
typedef struct v_statedecl v_statedecl;
typedef struct v_family v_family;
typedef struct v_path v_path;
typedef struct v_parts v_parts;
typedef struct builtin builtin;

struct value {
    v_kind kind;
    union {
        int64_t i;
        double f;
        bool b;
        obj *o;
        v_str *s;
        v_list *list;
        v_map *map;
        tensor *t;
        v_fn *fn;
        const builtin *bi;
        v_relation *rel;
        v_statedecl *state;
        v_family *family;
        v_path *path;
        v_parts *parts;
        ev_model *model;
        const tokenizer *tok;
        void *session; // the host's
        struct { int32_t lo, hi; } range;
    };
};

struct v_str { obj o; size_t n; char p[]; };
struct v_list { obj o; value *p; size_t n, cap; };
struct v_map { obj o; value *keys, *vals; size_t n, cap; }; // insertion order; keys are strings or integers

typedef struct binding {
    str name;
    uint64_t hash;
    value v;
    span at;
    bool constant; // defined by `=` on an indexed head: once
} binding;
typedef struct scope {
    obj o;
    struct scope *parent; // lexical
    binding *p;
    size_t n, cap;
    uint64_t seen[4]; // a bit for the hash of each name that was ever here: most look-ups are for names that are not
} scope;

struct v_fn { obj o; const ast_stmt *def; scope *env; const struct unit *unit; };

// ---- tensors ---------------------------------------------------------------------------------------
typedef struct buffer {
    obj o;
    size_t bytes;
    void *data;
    const ir_graph *graph; // the traced graph that `copy` was made for
    void *copy;
} buffer;
typedef struct axis {
    int64_t size;       // meaningless when sym is set
    int64_t stride;     // elements
    ir_sym sym;
    const char *dim;    // interned name, NULL: none
    const char *domain; // interned kind of entity that numbers it, or NULL
    const ast_stmt *dim_decl; // the `dim` statement when the name is declared
    span dim_at;        // where the axis got its name
} axis;
struct tensor { // elements at leaf[offset + sum index * stride]; a rank-0 tensor holds one element
    obj o;
    int rank;
    axis ax[IR_MAX_RANK];
    int64_t offset;
    // exactly one leaf:
    buffer *buf;         // float32 or int32 (type), computed
    ir_weight *weight;
    ir_node *node;       // of `graph`
    ir_graph *graph;
    tl_dtype type;       // logical element type: DT_F32, DT_I32, DT_BOOL; a weight's storage type is weight->type
    const char *name;    // tensor name in a message, or NULL
};

struct v_statedecl { // `tensor K: float16[l, s, g, j, c] state`
    obj o;
    const ast_stmt *def;
    tl_dtype type;
    int rank, slot_axis; // slot_axis -1: none; the axes before it are a family's
    const struct unit *unit;
    int64_t size[IR_MAX_RANK]; // -1 until known
    value now;           // eager mode: the whole state as a tensor (V_NONE: not yet written)
};
struct v_family { // let W[l, e] = get_tensor(M, "blk.{l}.x"[, default]): one tensor for each value of the names in braces
    obj o;
    const ast_stmt *def;
    const ast_expr *name;    // the string
    ev_model *model;
    value otherwise;         // V_NONE: a missing member is an error
    int n_keys;              // the head's first axes
    const char *key[4];
    v_map *members;          // by joined keys; filled on first use
    const struct unit *unit;
};
struct v_path { obj o; ev_model *m; char *prefix; }; // M.blk[3].attn_q: joined with dots
struct v_parts { // a tensor being defined piece by piece: R[p, 0] = .., R[p, 1] = ..
    obj o;
    int rank;
    const ast_stmt *first;
    struct part { tensor *t; const ast_stmt *def; int64_t at[IR_MAX_RANK]; } *p; // at -1: a whole axis; t has only those
    size_t n, cap;
    int64_t const_size[IR_MAX_RANK];
    tensor *whole;       // assembled on first use
    int loops;           // around its definition
};
struct v_relation {
    obj o;
    const ast_stmt *def;
    bool cache;          // says who reads which slot: known inside a step function only
    logic_rel *logic;    // any other
    tensor *whole;       // its rows as of `version`, or NULL
    int64_t version;
};

// ---- evaluator ---------------------------------------------------------------------------------------
typedef struct unit { // a parsed file
    source src;
    ast_program *prog;
    char *path;
    int state; // 1: running (import cycle), 2: done
    const ast_stmt *imported_by_stmt;
    struct unit *importer, *next;
} unit;

typedef struct dim_entry {
    const char *name;
    const struct unit *unit; // dims belong to a file
    int depth;         // of the call that it belongs to; 0: the file
    int64_t size;      // -1: not known
    const ast_stmt *decl; // `dim` statement or NULL
    span at;           // where the size came from
} dim_entry;

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_RETURN } flow;

typedef struct frame { // a call in progress
    struct frame *caller;
    scope *env;
    value result;
    span call;
    const char *fn;
} frame;

enum { EAGER_FOLD = 4096 }; // constants in a program's own equations: beyond, kernels are faster
typedef struct ev_temp { // see temp_begin
    struct ev_temp *next;
    void *p;
    void (*drop)(void *p);
} ev_temp;
typedef struct loop_at { // a `for` over numbers in progress
    struct loop_at *outer;
    const char *name;
    int64_t at, n;
} loop_at;

typedef struct patch { // in the order in which they were added
    const ast_stmt *s;
    bool own;                // of ev_add_patch
    int64_t applied;
    struct patch *next;
} patch;

struct evaluator {
    ev_options o;
    arena a;                 // programs, names; for the evaluator's life
    map names;               // interned C strings
    map builtins;
    map einsums;             // parsed ones
    span einsum_at;          // the call that runs one, and what it says
    str einsum_spec;
    unit *units;
    scope *global, *scope;   // current
    frame *frames;
    int depth, pending, nesting;
    const char *stack;       // address of the outermost frame: the C stack is bounded from there
    obj *objects;
    size_t heap_bytes, heap_limit;
    ev_temp *temps;
    VEC(dim_entry) dims;
    // the graph that tensor nodes belong to
    ir_graph *g, eager;
    arena eager_arena;
    bool tracing;
    const ev_trace_options *trace;
    ev_state *states;
    span tok_param;          // for messages
    // errors
    jmp_buf *escape;
    diag_list dl;
    arena dl_arena;
    tl_status code;
    uint64_t seed;
    v_fn *step;
    const unit *cur;         // file being run
    const char *dump;
    int64_t steps;           // statements executed since the evaluator was entered, for polling and the budget
    bool collecting;
    const char *confine;     // real path of the folder that a confined program imports from
    bool std_loaded;
    VEC(const ast_stmt *) waiting; // lets whose sizes are not known yet
    ev_model *model;
    unit *entries;           // the REPL's: all entries are one file
    struct explainer *explain; // NULL: nobody wants to know
    logic_db *logic;         // made by the first relation
    bool in_test;            // the engine is evaluating: it cannot be asked
    int64_t logic_version;   // of its facts and rules
    loop_at *loops;          // innermost
    patch *patches;
    bool trap, in_lens;
};

// ---- errors (never return) -----------------------------------------------------------------------
diag *ev_diag(evaluator *ev, span at, const char *fmt, ...) TL_PRINTF(3, 4); // add notes, then ev_throw
_Noreturn void ev_throw(evaluator *ev);
_Noreturn void ev_fail(evaluator *ev, span at, const char *fmt, ...) TL_PRINTF(3, 4);
_Noreturn void ev_fail_fix(evaluator *ev, span at, const char *fix, const char *fmt, ...) TL_PRINTF(4, 5);
_Noreturn void ev_fail_err(evaluator *ev, span at, const tl_error *err); // an error of another module, at this place

// Runs fn(ev, ctx) with errors caught and rendered; the evaluator's position is restored after one. Warnings go to the host.
tl_status ev_guarded(evaluator *ev, void (*fn)(evaluator *, void *), void *ctx, tl_error *err);

// ---- heap ----------------------------------------------------------------------------------------
void *heap_new(evaluator *ev, size_t size, int kind);
void heap_account(evaluator *ev, size_t bytes); // of values; an error beyond the program's limit
void heap_collect(evaluator *ev);      // only between statements with ev->pending == 0
void heap_maybe_collect(evaluator *ev);
void heap_free(evaluator *ev);
// What a function holds while it may fail: ended by temp_end, text_end or text_value, or by the error that leaves it.
void temp_begin(evaluator *ev, void *p, void (*drop)(void *p));
void temp_end(evaluator *ev, void *p); // drops it
sbuf *text_begin(evaluator *ev);
void text_end(evaluator *ev, sbuf *b);
value text_value(evaluator *ev, sbuf *b); // as a string; the text ends
void temps_drop(evaluator *ev, struct ev_temp *until); // after an error
const char *intern(evaluator *ev, str s);

value v_none(void);
value v_int(int64_t i);
value v_float(double f);
value v_bool(bool b);
value v_str_new(evaluator *ev, str s);
value v_list_new(evaluator *ev);
void list_push(evaluator *ev, v_list *l, value v);
value v_map_new(evaluator *ev);
void map_set(evaluator *ev, v_map *m, value key, value v);
value *map_find(v_map *m, value key);
value v_of_tensor(tensor *t);
static inline str v_text(value v) { return (str){v.s->p, v.s->n}; }
bool v_equal(evaluator *ev, value a, value b, span at);
void v_print(evaluator *ev, value v, sbuf *out, bool nested);

scope *env_new(evaluator *ev, scope *parent);
binding *env_find_here(scope *s, str name);
binding *env_find(scope *s, str name);
binding *env_put(evaluator *ev, scope *s, str name, value v, span at); // overwrites

// ---- tensors ---------------------------------------------------------------------------------------
tensor *tensor_new(evaluator *ev, int rank);
tensor *tensor_from_floats(evaluator *ev, int rank, const int64_t *sizes, const float *data); // data NULL: zeros
tensor *tensor_from_ints(evaluator *ev, int64_t n, const int32_t *data);
tensor *tensor_dup(evaluator *ev, const tensor *t);
tensor *tensor_of_node(evaluator *ev, ir_node *n, int rank, const axis *ax); // row-major over ax (strides are set)
ir_node *tensor_node(evaluator *ev, tensor *t, span at); // the leaf in the current graph
int64_t tensor_elements(const tensor *t);
bool tensor_contiguous(const tensor *t);
bool tensor_has_sym(const tensor *t);
// Computes if need be and returns dense row-major float32 (or int32 for DT_I32 buffers as float): t then has a buffer.
void tensor_force(evaluator *ev, tensor *t, span at);
float *tensor_floats(evaluator *ev, tensor *t, span at);    // dense copy or the buffer itself
tensor *tensor_compact(evaluator *ev, tensor *t, span at);  // row-major view of the same values (a node if need be)
double tensor_scalar(evaluator *ev, tensor *t, span at);
char *tensor_shape(const tensor *t, char *buf, size_t cap); // the same, cut to fit; returns buf
void tensor_shape_text(const tensor *t, sbuf *out);         // "[3, 4]"

// The label order of a result with the given axes: a symbolic axis first, the others as they stand.
typedef struct layout {
    ir_space sp;
    int label[IR_MAX_RANK]; // of each axis
} layout;
void layout_make(const axis *ax, int rank, layout *l);
void layout_strides(const layout *l, int64_t *stride); // row-major, of each label
tensor *layout_tensor(evaluator *ev, const layout *l, ir_node *n, const axis *ax, int rank); // n computed over l's outputs
tensor *tensor_reshape(evaluator *ev, tensor *t, int rank, const int64_t *sizes, span at); // one size may be -1
tensor *tensor_map(evaluator *ev, map_op op, int n, value *args, span at); // NumPy broadcasting; scalars allowed
tensor *tensor_matmul(evaluator *ev, tensor *a, tensor *b, span at);
tensor *tensor_softmax(evaluator *ev, tensor *t, int axis_no, span at);
tensor *tensor_reduce(evaluator *ev, fold_kind k, tensor *t, int axis_no, span at); // axis_no -1: all
extern const char einsum_source[]; // the name of sources made of specifications of einsum
tensor *tensor_gather_rows(evaluator *ev, tensor *table, int axis_no, tensor *ids, span at);
tensor *tensor_select(evaluator *ev, tensor *t, int axis_no, int64_t lo, int64_t hi, bool drop); // slice or fix
tensor *tensor_concat(evaluator *ev, tensor **parts, int n, int axis_no, span at);
tensor *value_tensor(evaluator *ev, value v, span at);      // numbers, nested lists and relations become tensors
tensor *relation_tensor(evaluator *ev, v_relation *rel, span at);

// ---- dims ------------------------------------------------------------------------------------------
dim_entry *dim_find(evaluator *ev, const char *name); // NULL if unknown
dim_entry *dim_put(evaluator *ev, const char *name);

// ---- interpreter -------------------------------------------------------------------------------------
value eval(evaluator *ev, const ast_expr *e);
value call_value(evaluator *ev, value callee, value *args, const str *names, int n, span at);
value call_expr(evaluator *ev, const ast_expr *e);          // f(x, name = y); a relation is asked
flow exec_block(evaluator *ev, const ast_stmt *list);
flow exec(evaluator *ev, const ast_stmt *s);
void poll_budget(evaluator *ev, span at);                  // an error when the program has run long enough or is to stop
value binary_op(evaluator *ev, ex_op op, value a, value b, span at);
value lookup(evaluator *ev, str name, span at);             // error with a suggestion if unknown
binding *find_name(evaluator *ev, str name);                // NULL if unknown; not builtins
int64_t want_int(evaluator *ev, value v, span at, const char *what);
double want_float(evaluator *ev, value v, span at, const char *what);
tensor *want_tensor(evaluator *ev, value v, span at, const char *what);
str want_str(evaluator *ev, value v, span at, const char *what);
bool truthy(evaluator *ev, value v, span at);
char *family_member_name(evaluator *ev, v_family *f, const int64_t *key, sbuf *b); // of the tensor; b's text
value family_member(evaluator *ev, v_family *f, const int64_t *key, span at); // keys in the order of the head
value path_value(evaluator *ev, v_path *p, span at);        // the tensor or metadata value that the path names
void slice_bounds(evaluator *ev, const ast_index *ix, int64_t n, int64_t *lo, int64_t *hi); // of an axis of n
value index_value(evaluator *ev, value base, const ast_expr *e); // X[1, 2:4] with known indices
int64_t clamp_index(evaluator *ev, int64_t i, int64_t n, span at); // from the end where negative; outside n an error
value bind_param(evaluator *ev, const ast_param *p, value v, span at); // its axes named and checked as declared
str interpolate(evaluator *ev, const ast_expr *e);          // {expr} in a string
value settle(evaluator *ev, value v, span at);              // parts are assembled

// ---- equations -------------------------------------------------------------------------------------
bool is_equation(evaluator *ev, const ast_stmt *s);         // an indexed head with variables, or free indices on the right
void exec_equation(evaluator *ev, const ast_stmt *s);
void exec_rule(evaluator *ev, const ast_stmt *s);
value eval_reduce(evaluator *ev, const ast_expr *e);        // sum[i](..) outside an equation
bool has_free_index(evaluator *ev, const ast_expr *e);
// let W[l, (g d), e] = get_tensor(..): names axes. False: sizes that are needed are not known yet (nothing is bound).
bool let_axes(evaluator *ev, const ast_stmt *s, bool must);
tensor *name_axes(evaluator *ev, tensor *t, const ast_stmt *s, int first_axis, bool must); // by head; NULL: not yet
bool dim_learn(evaluator *ev, str name, int64_t size, span at, const char *what); // true: it was new; a conflict is an error
const ast_stmt *dim_decl_of(evaluator *ev, const char *name);

// ---- builtins ----------------------------------------------------------------------------------------
typedef struct call {
    evaluator *ev;
    value *arg;
    const str *names; // [n]; empty: positional
    int n;
    span at;
    const builtin *self;
} call;
struct builtin {
    const char *name;
    value (*fn)(call *c);
    int min_args, max_args; // max -1: any
    const char *params;     // "x, axis=-1"; the names of named arguments
    const char *doc;
};
tensor *stored_tensor(evaluator *ev, ev_model *m, str name);
_Noreturn void no_such_tensor(evaluator *ev, ev_model *m, str name, span at);
extern const builtin builtins_core[], builtins_tensor[], builtins_model[], builtins_sample[], builtins_session[], builtins_relation[], builtins_files[], builtins_debug[]; // ended by name NULL
int map_function(str name);  // MAP op of an elementwise function ("silu"), or -1
value named_arg(call *c, const char *name, int position, value otherwise);

// ---- states ------------------------------------------------------------------------------------------
ir_node *state_current(evaluator *ev, v_statedecl *d, int64_t layer, span at, ev_state **out); // its latest version
void state_advance(ev_state *s);                          // a scatter made the next version
int state_family_axes(evaluator *ev, v_statedecl *d);     // axes before that over slots: which member
// Axes of one member, row-major; size -1: not known yet. Returns how many.
int state_axes(evaluator *ev, v_statedecl *d, int64_t layer, axis *ax);
// Gives the unknown sizes of a member (by its first scatter).
void state_sizes(evaluator *ev, v_statedecl *d, int64_t layer, const int64_t *sizes, span at);
#endif
