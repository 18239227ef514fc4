// ir.h - the intermediate representation: a graph of tensor operations in index form.
//
// Every node computes a dense row-major array over its output labels. A node reads its inputs through
// edges: for each label of the node, how far the read position moves in the input's array (a stride in
// elements, 0: the input does not depend on it). Permutation, transpose, slices, splitting an axis,
// diagonals and broadcasting are therefore nothing but strides, and equal computations look equal:
// labels are merged wherever all edges allow, so `W[l, (g r d), e] N[p, e]` and `linear(n, W)` are one node.
//
// Row counts are symbolic: label 0 of a node may be SYM_ROWS (p) or SYM_OUT (o), known at replay only.
// Nodes are hash-consed and in an order where inputs come first. All memory is the graph's arena.
#ifndef TL_IR_H
#define TL_IR_H
#include "lang/ast.h"

enum { IR_MAX_LABELS = 12, IR_MAX_RANK = 8 };

typedef enum {
#define IR_OP(name, what) IR_##name,
#include "ir/ops.def"
#undef IR_OP
    IR_OP_COUNT
} ir_op;

typedef enum { // scalar operations of MAP; names and meanings: cpu/map.def, plus two that it lacks
#define MAP1(name, expr) MAP_##name,
#define MAP2(name, expr) MAP_##name,
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    MAP_COUNT,
    MAP_COPY = MAP_COUNT, // in0
    MAP_SELECT,           // in0 != 0 ? in1 : in2
    MAP_END
} map_op;
extern const char *const map_names[MAP_END];
extern const uint8_t map_arity[MAP_END];
float map_eval(map_op op, float a, float b, float c); // the definition

typedef enum { FOLD_SUM, FOLD_MAX, FOLD_MIN, FOLD_AVG, FOLD_OR, FOLD_PROD, FOLD_COUNT } fold_kind;
extern const char *const fold_names[FOLD_COUNT];

typedef enum { SYM_NONE, SYM_ROWS, SYM_OUT } ir_sym;
typedef enum { INPUT_TOK, INPUT_POS, INPUT_SEQ, INPUT_SLOT, INPUT_OUT, INPUT_COUNT } ir_input;

// A tensor of the model file. Owned by the model; outlives every graph.
typedef struct ir_weight {
    const char *name;
    tl_dtype type;
    int64_t rows, cols;   // cols: the contiguous axis; rows: all others together
    const void *data;
    size_t bytes;
    int64_t id;           // index in the model
    void *prepared;       // the backend's own form, made on first use
    bool nonfinite_known, nonfinite;
    bool asked;           // a program has asked for it
} ir_weight;

// A state tensor (one member of its family over layers). Owned by the session.
typedef struct ir_state {
    const char *name;
    tl_dtype type;
    int64_t slots, width; // elements: slots * width
    int64_t layer;        // member of the family, -1: no family
    bool per_slot;        // axis 0 is the cache's slots
    int64_t width0;       // innermost axis (one head), for formats stored in blocks
    void *data;
    size_t slot_bytes;
    int64_t id;
} ir_state;

typedef struct ir_node ir_node;
typedef struct ir_edge {
    ir_node *node;
    int64_t offset;
    int64_t stride[IR_MAX_LABELS];
} ir_edge;

typedef struct ir_attention {
    int heads, kv_heads, dk, dv;
    float scale, softcap;
    int32_t window;
    bool causal;
} ir_attention;

typedef struct ir_fused { // postfix program of FUSED: op < MAP_END applies to the stack; INPUT pushes in[arg]
    int16_t op;           // FUSED_PUSH or a map_op
    int16_t arg;
} ir_fused;
enum { FUSED_PUSH = -1 };

struct ir_node {
    ir_op op;
    int sub;                          // map_op, fold_kind, ir_input
    tl_dtype type;                    // of the result
    uint8_t nlab, nout;
    ir_sym sym;                       // of label 0
    int64_t size[IR_MAX_LABELS];      // size[0] is meaningless when sym is set
    int n_in;
    ir_edge *in;
    union {
        struct { double value; const void *data; int64_t n; bool scalar; } k; // CONST: float32 or int32 by type
        ir_weight *weight;                                     // WEIGHT, LINEAR, EMBED
        struct { ir_state *ref; int version; } state;          // STATE, SCATTER (ref only)
        struct { int64_t *gstride, *limit; } gather;           // GATHER: per index input, and the axis's size (0: the rows of in0); SCATTER: [0]
        struct { int64_t *offset; int64_t *stride; int64_t *sizes; } parts; // ASSEMBLE: per part; stride, sizes [part * nout]
        struct { float eps; } norm;
        struct { int64_t heads, head_stride, d, rot; bool interleaved; } rope;
        ir_attention attn;
        struct { ir_fused *code; int n; } fused;
        int64_t topk;
    } u;
    ir_state *state2;                 // SCATTER: the state written; ATTENTION: K
    ir_state *state3;                 // ATTENTION: V
    int64_t inner;                    // elements per row: product of output sizes without a symbolic one
    span at;                          // where in the program
    const char *name;                 // binding, or NULL
    int32_t id, uses;
    bool keep;                        // its value is wanted: rewrite rules may not swallow it
    bool beside;                      // brought back by ir_keep: the fused operations do without it
    bool adapted;                     // LINEAR, EMBED: what adapters add is added behind it
    ir_node *repl;                    // rewriting: this node's replacement
    ir_node *next;
    uint64_t hash;
    void *buf;                        // lowering
};

typedef struct ir_graph {
    arena *a;
    ir_node *first, **tail;
    ir_node **table;                  // hash-consing
    size_t table_cap, n;
    ir_node *outputs[8];
    int n_outputs;
    ir_node **scratch;                // of passes over all nodes
    size_t scratch_cap;
    span at;                          // statement being traced: new nodes get it
    int64_t fold_limit;               // elements of a constant array that is computed while the graph is made
} ir_graph;

void ir_init(ir_graph *g, arena *a);

// ---- constructors: all canonicalise, fold what is constant and return an existing equal node if there is one ----
ir_node *ir_scalar(ir_graph *g, double v);
double ir_fold_neutral(fold_kind k); // a fold over nothing: NaN for an average
ir_node *ir_const(ir_graph *g, tl_dtype t, const void *data, int64_t n);   // data must outlive the graph
ir_node *ir_input_node(ir_graph *g, ir_input which, ir_sym sym);
ir_node *ir_weight_node(ir_graph *g, ir_weight *w);
ir_node *ir_state_node(ir_graph *g, ir_state *s, int version);
ir_node *ir_iota(ir_graph *g, int64_t n);

typedef struct ir_space { // iteration space handed to a constructor
    int nlab, nout;
    ir_sym sym;                       // of label 0
    int64_t size[IR_MAX_LABELS];
} ir_space;
ir_edge ir_whole(ir_node *n);         // reads n's own labels in order (for a space equal to its outputs)
ir_node *ir_map(ir_graph *g, map_op op, const ir_space *sp, const ir_edge *in);
ir_node *ir_einsum(ir_graph *g, const ir_space *sp, const ir_edge *a, const ir_edge *b);
ir_node *ir_reduce(ir_graph *g, fold_kind k, const ir_space *sp, const ir_edge *a);
ir_node *ir_softmax(ir_graph *g, const ir_space *sp, const ir_edge *a, const ir_edge *mask);
ir_node *ir_owned(ir_graph *g, const ir_edge *seq, const ir_space *sp);
ir_node *ir_gather(ir_graph *g, const ir_space *sp, const ir_edge *base, int n_idx, const ir_edge *idx, const int64_t *gstride, const int64_t *limit);
// parts[i] covers sizes[i][0..nout) elements at offset[i] with stride[i][0..nout) in the output
ir_node *ir_assemble(ir_graph *g, const ir_space *sp, int n, const ir_edge *parts, const int64_t *offset, const int64_t *stride, const int64_t *sizes);
ir_node *ir_scatter(ir_graph *g, ir_node *state, const ir_space *sp, const ir_edge *value, const ir_edge *slot, int64_t gstride, int64_t limit, int64_t offset, const int64_t *dst_stride);
ir_node *ir_topk(ir_graph *g, const ir_space *sp, const ir_edge *a, int64_t k);
// A node with the given fields exactly (for rewrite rules); consed.
ir_node *ir_intern(ir_graph *g, const ir_node *proto);
ir_node *ir_proto(ir_graph *g, ir_op op, const ir_space *sp, int n_in); // scratch node to fill and intern
void ir_rehash(ir_graph *g, ir_node *n);  // puts a node back into the emptied table after ids changed
// Around a change of a node's inputs: out of the table, and in again, unless an equal node is there, which is returned then.
void ir_unlist(ir_graph *g, const ir_node *n);
ir_node *ir_relist(ir_graph *g, ir_node *n);
// Copies all nodes, in order and with ids of their own below g->n, to `a`; the graph's arena may be freed then. Pointers to nodes that
// others hold are not followed.
void ir_move(ir_graph *g, arena *a);

bool ir_is_scalar_const(const ir_node *n, double *v);
bool ir_is_const(const ir_node *n);
int64_t ir_elements(const ir_node *n, int64_t rows, int64_t outs);
const char *ir_op_name(ir_op op);
// Does n pick whole rows of its first input, by one index a row?
bool ir_picks_rows(const ir_node *n);
// Is an infinite value of n what the program asked for: select(mask, x, -inf), and what passes it on towards a softmax?
bool ir_infinity_meant(const ir_node *n);
// The layer that a node belongs to, looked for `depth` inputs far; -1: none. Of a tensor: by its name (layer.c).
int ir_layer_of(const ir_node *n, int depth);
int ir_layer_of_weight(const ir_weight *w);

// ---- passes --------------------------------------------------------------------------------------
// Rewrites towards fused operations; outputs[] are updated. Rules only apply where no `keep` node would vanish.
void ir_rewrite(ir_graph *g);
void ir_fuse_maps(ir_graph *g);            // last: chains of MAP become FUSED
// After the passes above: brings back the nodes in list[] (as they were made) where a rule swallowed them, with what they need
// and no more, and sets `keep`. What was there stays as it is, so that no other result changes. Where a node was replaced, the
// replacement is kept.
void ir_keep(ir_graph *g, ir_node *const *list, size_t n);
void ir_count_uses(ir_graph *g);           // uses by live nodes; dead nodes get 0
// TL_E_PROGRAM with the node printed when an invariant is broken (a bug of ours, or a rule's).
tl_status ir_verify(const ir_graph *g, tl_error *err);
void ir_print(const ir_graph *g, sbuf *out);
void ir_print_node(const ir_node *n, sbuf *out);
#endif
