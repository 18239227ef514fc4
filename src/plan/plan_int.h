// plan_int.h - what the files of src/plan share. Private to this folder.
//
// From graph to replay:
//   weights.c  weight tensors in the backend's form
//   reader.c   typed, strided reading: any edge of any storage type as float32 runs
//   lower.c    live nodes become kernels (a function and its argument block) and values (arrays)
//   stage.c    kernels become stages: dependencies, row groups, liveness, one workspace
//   run.c      schedule for a row count, replay
//   team.c     how many threads take part in steps of few rows
//   op_*.c     the kernels
//   split.c    layers split between a device and the CPU
//   gpu*.c     the same kernels on a CUDA device, one after the other
//
// A kernel computes ranges of the first label of its node. When that label is symbolic and the kernel reads only its own
// row of other rows' values, kernels that feed each other join one "row group" of a stage: a unit of work is then some
// rows through all kernels of the group, with no barrier between.
#ifndef TL_PLAN_INT_H
#define TL_PLAN_INT_H
#include "cuda/cuda.h"
#include "plan/plan.h"
#include "plan/team.h"

enum {
    TEAM_ROWS = 8,       // steps of more rows are all threads'
    RUN = 512,           // elements processed at a time where a temporary is needed
    RUN_ROOM = RUN + 512, // floats of one temporary: a run and the rest of the widest blocks at both ends
    TEMPS = 8,           // temporaries of a thread for inputs
    STACK = 16,          // and for the stack of a FUSED program
    MAX_EDGES = 8,       // edges that a walk follows
    LINE = 64,
};

// ---- weights -------------------------------------------------------------------------------------
typedef struct weight_room weight_room; // memory that several repacked matrices share (weights.c)
typedef struct plan_weight { // ir_weight.prepared
    cpu_matrix m;       // what linear() and matrix_row() read; m.data NULL: not wanted so far
    bool repacked;      // m is in the layout that the backend wants
    void *made;         // the memory behind a repacked m
    weight_room *room;  // that it is a part of; or NULL
    size_t made_bytes;
    void *copy;         // the file's bytes, moved to an aligned address; or NULL
    void *other;        // the file's values in a format that kernels read; or NULL
    float *f32;         // the whole tensor as float32; or NULL
    cuda_device *device; // of the following
    cuda_matrix dm;     // for products and lookups; dm.k 0: not wanted so far; dm.data NULL: not there so far
    void *d_matrix, *d_bytes; // the memory behind dm; the file's bytes on the device; or NULL
    size_t device_bytes;
} plan_weight;

typedef enum { USE_ROWS, USE_LINEAR, USE_F32, USE_BYTES } weight_use;
bool weight_is_matrix(tl_dtype t);
// Makes what `use` needs; w->prepared exists afterwards. *room: for repacked matrices, made and replaced as needed; NULL at first,
// left by its owner at last.
tl_status weight_need(ir_weight *w, weight_use use, const plan_backend *b, weight_room **room, tl_error *err);
void weight_room_leave(weight_room *r); // of the users of a room the last one frees it; NULL: nothing
const void *weight_bytes(const ir_weight *w);    // the file's bytes, aligned
bool weight_small(const ir_weight *w);           // read as float32 as a whole where not a matrix

// ---- values and sources --------------------------------------------------------------------------
typedef enum { V_NONE, V_WORK, V_FIXED, V_INPUT, V_STATE } value_place;
typedef struct value {  // an array that kernels read or write
    value_place place;
    tl_dtype type;      // F32 or I32; of activations: F32, bytes per row in row_bytes
    ir_sym sym;
    int64_t inner;      // elements of a row, or of all when not symbolic
    size_t row_bytes;
    int32_t maker;      // kernel, -1: none
    int32_t first, last; // stages
    size_t offset;      // in the workspace
    const void *fixed;
    const ir_state *state;
    int input;
} value;

typedef enum { SRC_F32, SRC_I32, SRC_SCALAR, SRC_STATE, SRC_BLOCKS } reader_kind;
typedef struct reader {  // an edge, resolved
    reader_kind kind;
    tl_dtype type;
    int32_t value;
    float scalar;        // SRC_SCALAR
    int64_t offset;
    const int64_t *stride;
    const ir_state *state;
} reader;

typedef struct kernel kernel;
typedef void (*kernel_fn)(const plan *p, const kernel *k, int64_t begin, int64_t end, int thread);
// ROW: units are rows of `sym`, may join a row group. RANGE: units are label 0 of a node without rows, or rows that
// cannot join. WHOLE: one unit. FLAT: units are rows x chunks of the last label. TILE: LINEAR. ATTN: attention items.
typedef enum { K_ROW, K_RANGE, K_WHOLE, K_FLAT, K_TILE, K_ATTN } kernel_kind;

typedef struct value_read { // a value that a kernel reads
    int32_t value;
    bool local;         // row r of the kernel reads row r only
} value_read;

struct kernel {
    kernel_fn run;
    kernel_kind kind;
    ir_sym sym;
    int64_t fixed;      // rows when sym is none
    const ir_node *node;
    int32_t out;        // value, -1: none
    reader *in;         // as node->in
    void *args;         // per op_*.c
    double cost;        // estimated ns for one row
    value_read *reads;
    int n_reads;
    int32_t *after;     // kernels that must be in an earlier stage, besides the makers of reads
    int n_after;
    int32_t stage, depth, id;
    int followers;      // kernels after this one, in order of execution, that run_add_norm() does as well; 0: none
    void *gpu;          // gpu.h: what it is fused with
};

// ---- arguments of kernels with a kernel-table function --------------------------------------------
typedef struct quant_args { // activation rows for linear()
    act_kind kind;
    int64_t k;
    size_t bytes;       // of one row
    bool tiled;         // steps of CPU_TILE rows and more: in tiles (act_tile()), since all that read them want that
    bool attended;      // attention makes them together with its results, but for those in tiles
} quant_args;

typedef struct gpu_linear { // LINEAR on a device
    const plan_weight *w;
    int64_t row0, n;
    bool wide;
} gpu_linear;

typedef struct linear_args {
    cpu_matrix m;       // of the weight, `wide` as this product wants it
    int32_t x;          // value
    size_t x_bytes;     // between activation rows
    int64_t x_offset;   // bytes
    int64_t row0, n;    // slice of the matrix's rows
    size_t group_bytes; // of CPU_ROW_GROUP rows
    const quant_args *quant; // what makes x, or NULL
} linear_args;

typedef struct attn_plan {
    attn_args a;        // filled at the start of a run
    int32_t work;       // which of the plan's attention work areas
    const kernel *quant; // what quantizes the results, or NULL
} attn_plan;

typedef struct fused_args {
    const ir_fused *code;
    int n;
} fused_args;

typedef struct einsum_args einsum_args; // op_einsum.c

// ---- stages --------------------------------------------------------------------------------------
typedef struct item { // of a stage: a row group, or one kernel
    int32_t first, n;   // kernels
    kernel_kind kind;
    ir_sym sym;
    // for the current row counts
    int64_t rows, units, blocks, block_rows; // units of all blocks
    int64_t chunk, row_block;
    double cost;
} item;
typedef struct stage {
    int32_t first, n;   // items
    int blocks;         // of rows, one for each thread's share of all items, or 1: for the current row counts
} stage;
typedef struct phase { // stages that run between two barriers: one shared by all threads, then some by one thread
    int32_t stage;      // -1: none
    int32_t tail0, tail1;
    int threads;        // that share it
} phase;

typedef struct gpu_plan gpu_plan; // gpu.h
struct plan {
    arena mem;
    cuda_device *device; // NULL: the CPU. Else base[] and work are addresses there
    gpu_plan *gpu;
    const cpu_kernels *k;
    pool *threads;
    int n_threads;
    team_choice teams[TEAM_ROWS + 1]; // by rows of a step
    int given_team;      // threads for such steps by TL_TEAM; 0: as they prove fastest
    plan_limits limits;
    const ir_graph *graph;
    // of a plan in parts (split.c)
    plan *front;         // comes before this one, on the CPU; NULL: there is none
    const uint8_t *mine; // [graph ids] nodes of this part; NULL: all
    const ir_node **passed; // nodes of the front that this part reads
    int n_passed;
    int32_t *pass_value; // [n_passed] their values here
    value *values;
    int n_values, cap_values;
    void **base;        // [n_values] addresses
    kernel **kernels;   // in order of execution
    int n_kernels;
    item *items;
    stage *stages;
    phase *phases;
    pool_loop *loops;    // of phases from 1 on: loops[i] is phases[i + 1]'s shared stage
    int n_items, n_stages, n_phases;
    int32_t *node_value; // [graph ids]: value or -1
    int32_t n_nodes;
    int32_t out_value[8];
    int n_outputs;
    // memory
    weight_room *room;  // while the plan is made
    char *work;
    size_t work_bytes;
    char *scratch;      // per thread
    size_t scratch_bytes, attn_scratch;
    char **attn_work;   // zeroed between calls
    int n_attn_work;
    kernel **attns;
    int n_attns;
    kernel **early;     // make the sequences and positions of attention calls: also run before the work is cut
    int n_early;
    int32_t *state_values, *input_values;
    int n_state_values, n_input_values;
    // of the current run
    plan_step step;
    int64_t rows, outs; // that phases are made for; -1: none
    int team;           // and threads
    bool measure;
    double outside_ns, total_ns, kernel_ns;
    uint8_t *meant;     // [kernels] while checking, else NULL: infinities are meant
    plan_fault fault;
    struct profile_cell { double ns; int64_t units; } *profile; // [threads, kernels] while profiling, else NULL
    plan_event *events;  // [threads, most_events] while they are recorded, else NULL
    size_t most_events;
    struct event_count { _Alignas(64) size_t n; } *event_counts; // [threads]; may exceed most_events
};

// Is the run to end? Asked once for each STOP_WORK products counted in *work.
enum { STOP_WORK = 1 << 20 };
bool plan_stopped(const plan *p);
static inline bool stopped_after(const plan *p, int64_t *work, int64_t more) {
    if (!p->limits.stop || (*work += more) < STOP_WORK) return false;
    *work = 0;
    return plan_stopped(p);
}

static inline int64_t sym_rows(const plan *p, ir_sym s, int64_t fixed) {
    return s == SYM_ROWS ? p->step.rows : s == SYM_OUT ? p->step.outs : fixed;
}
static inline float *thread_temp(const plan *p, int thread, int i) { // RUN_ROOM floats
    return (float *)(p->scratch + (size_t)thread * p->scratch_bytes) + (size_t)i * RUN_ROOM;
}
static inline void *thread_attn(const plan *p, int thread) {
    return p->scratch + (size_t)thread * p->scratch_bytes + (size_t)(TEMPS + STACK) * RUN_ROOM * sizeof(float);
}

// n elements at pos, pos + stride, ... as float32: in place where possible, else in tmp (RUN_ROOM floats, n <= RUN).
const float *reader_slow(const plan *p, const reader *s, int64_t pos, int64_t stride, int64_t n, float *tmp);
static inline const float *reader_run(const plan *p, const reader *s, int64_t pos, int64_t stride, int64_t n, float *tmp) {
    if (s->kind == SRC_F32 && stride == 1) return (const float *)p->base[s->value] + pos;
    return reader_slow(p, s, pos, stride, n, tmp);
}
float reader_one(const plan *p, const reader *s, int64_t pos);
int64_t reader_index(const plan *p, const reader *s, int64_t pos); // -1 for what is no index
bool reader_in_place(const reader *s); // stride-1 runs of any length need no temporary
// Writes n elements at pos of a state.
void state_store(const plan *p, const ir_state *s, char *data, int64_t pos, const float *src, int64_t n);

// ---- walks: all runs (along the last output label) of label-0 range [r0, r1) ----------------------
typedef struct walk {
    int n_edges, mid0, mid1;         // labels [mid0, mid1) are looped over
    int64_t r, r1, run;              // run: length of the last label
    int64_t at[IR_MAX_LABELS];
    int64_t pos[MAX_EDGES];
    int64_t out;                     // output position
    const ir_node *node;
    const reader *in;
    bool one;                        // label 0 is the run
} walk;
bool walk_begin(walk *w, const plan *p, const kernel *k, int64_t r0, int64_t r1);
bool walk_next(walk *w);
static inline int64_t walk_stride(const walk *w, int edge) { // of an edge along the run
    int last = w->node->nout - 1;
    return last < 0 ? 0 : w->in[edge].stride[last];
}

// ---- kernels -------------------------------------------------------------------------------------
void run_map(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_fused(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_flat(const plan *p, const kernel *k, int64_t u0, int64_t u1, int thread); // MAP and FUSED in chunks of FLAT_RUN
enum { FLAT_RUN = 8192 };
void run_gather(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_assemble(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_scatter(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_owned(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_softmax(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_topk(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_add_norm(const plan *p, kernel *const *k, int64_t r0, int64_t r1, int thread); // k[0] and its followers
void run_norm(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_rope(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_reduce(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_einsum(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_quantize(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_linear(const plan *p, const kernel *k, int64_t n0, int64_t n1, int64_t r0, int64_t r1, int thread);
void run_embed(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread);
void run_attention(const plan *p, const kernel *k, int64_t i0, int64_t i1, int thread);
void attn_fill(plan *p, kernel *k); // at the start of a run
const char *kernel_name(const kernel *k);

// ---- on a device (gpu*.c) -------------------------------------------------------------------------
bool gpu_takes_matrix(const ir_weight *w, int64_t row0, const plan_weight *pw);
tl_status gpu_weight_want(ir_weight *w, const plan_backend *b, tl_error *err); // dm but for its data
size_t gpu_weight_room(const ir_weight *w);                                // bytes that gpu_weight() will take; 0: it is there
tl_status gpu_weight(ir_weight *w, const plan_backend *b, tl_error *err);  // dm.data, after gpu_weight_want()
tl_status gpu_weight_bytes(ir_weight *w, cuda_device *d, tl_error *err);   // d_bytes
void gpu_weight_free(plan_weight *pw);
tl_status gpu_make(plan *p, const plan_backend *b, tl_error *err);         // after plan_stages: memory, constants
tl_status gpu_run(plan *p, tl_error *err);                                 // begins it; p->step is set and checked
void gpu_free(plan *p);
tl_status gpu_value(const plan *p, int32_t value, const void **out, tl_error *err); // on the host

// ---- parts (split.c) ------------------------------------------------------------------------------
typedef struct plan_part { // of a graph
    const uint8_t *mine;
    const ir_node **passed; // what others read of it
    int n_passed;
} plan_part;
tl_status plan_new_part(const ir_graph *g, const plan_backend *b, const plan_limits *limits, const plan_part *part, plan **out, tl_error *err);
tl_status plan_split(plan *p, const plan_backend *b, tl_error *err); // makes p->front where p's limits ask for it
tl_status plan_pass(plan *p, tl_error *err);                         // what the front has made, to the device
bool plan_leaf(const ir_node *n);                                    // belongs to every part
uint8_t *plan_live(plan *p);                                         // [graph ids] nodes that this part makes or reads

// ---- passes --------------------------------------------------------------------------------------
tl_status plan_lower(plan *p, const plan_backend *b, tl_error *err);
tl_status plan_order(plan *p, tl_error *err);  // kernels, so far by their ids, in order of execution; when values begin and end
tl_status plan_stages(plan *p, tl_error *err); // that, and what the CPU cuts work by
tl_status plan_memory(plan *p, tl_error *err);
void check_stage(plan *p, int stage); // after it has run; p->meant is there
void plan_schedule(plan *p); // phases for p->step's row counts
int64_t item_rows(const plan *p, const item *it);
#endif
