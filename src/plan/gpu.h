// gpu.h - a plan on a CUDA device: what gpu*.c share. Private to this folder.
//
//   gpu.c         memory, the step's inputs and lists, replay, results
//   gpu_memory.c  what all of it takes, before it is taken
//   gpu_weights.c matrices repacked on the device, streamed through the pinned ring
//   gpu_ops.c     a launch for each kernel of the plan
//   gpu_view.c    another order of them, for steps all of whose rows are wanted
//   gpu_profile.c their times
//   gpu_states.c  states from and to the host
//   gpu_fuse.c    which kernels of the plan become one launch
#ifndef TL_GPU_H
#define TL_GPU_H
#include "plan/plan_int.h"

enum { GPU_ALIGN = 256, GPU_GRAPHS = 32, GPU_MEMBERS = 8, GPU_TASKS = 6, GPU_CHUNK = 64 }; // CHUNK: of a slot list, as attention cuts it

// What a kernel is to the launches (kernel.gpu): SKIP: another launch does it. The others lead a launch of all members.
typedef enum { GPU_ALONE, GPU_SKIP, GPU_ADD, GPU_GLU, GPU_PRODUCTS, GPU_NORM, GPU_STORES, GPU_SOME } gpu_role_kind;
typedef struct gpu_role {
    gpu_role_kind kind;
    kernel *member[GPU_MEMBERS];
    int n;
    int residual, map;  // ADD: the input that is added; GLU: the map of the first product
    bool ahead;         // SOME: they read only what a step begins with, and one embedding is launched before them
    uint32_t float_out; // STORES: bit i: member i's float output is wanted
    const kernel *attend;         // STORES: the attention that does all of it where there is one row,
    const struct gpu_role *stores; // and that attention's: they
} gpu_role;

typedef struct gpu_state {
    const ir_state *state;
    void *data;
} gpu_state;

// A plan's kernels in an order of their own, and what depends on that order. In a plan: of the one in force.
typedef struct gpu_view {
    kernel **kernels;    // NULL: there is no such view
    value *values;
    void **base;
    int32_t *norm_of;    // [values] the kernel, of role NORM, that makes it; -1
} gpu_view;

typedef struct gpu_key { // what a recorded graph is for
    int64_t rows, outs;
    int32_t chunks, tiles, view;
    int64_t n_seqs;
} gpu_key;
typedef struct gpu_recorded {
    gpu_key key;
    cuda_graph *graph;
    uint64_t used;   // 0: empty
    int32_t seen;
} gpu_recorded;

typedef struct gpu_seen { // a sequence's list as the device has it
    int64_t n;
    uint32_t version;
    bool known;
} gpu_seen;

struct gpu_plan {
    cuda_device *d;
    void *work, *act, *consts, *lists, *attn_work;
    size_t act_bytes, const_bytes, work_bytes, list_bytes, attn_bytes, state_bytes, counter_bytes;
    gpu_state *states;
    int n_states;
    // inputs of a step: rows' inputs, sequences, edits; written to a `host`, in turn since steps are not waited for, and sent
    // to `input`
    char *host[2];
    cuda_point *sent[2];
    int turn;
    void *input;
    size_t input_room;
    const cuda_seq *seqs_device;
    int32_t n_tiles[2];    // runs of rows of one sequence: of all rows, of the outputs'
    int64_t n_seqs, max_seqs;
    int32_t *shadow;       // [max_seqs, max_slots] slots as sent, then positions
    gpu_seen *seen;
    int32_t chunks;        // most chunks of 64 entries of any sequence in the step, rounded up
    int32_t *norm_of;      // of the view in force
    gpu_view view[2];      // for any step, and for those all of whose rows are wanted, in order
    int32_t *picked;       // [values] what value i is a choice of rows of, in the second view; -1
    // the quantized rows in `act`
    int32_t act_value;
    int64_t act_offset, act_stride, act_rows, act_k;
    int act_kind;
    // results
    struct gpu_copy { void *host; size_t bytes; bool fresh; } *copies; // [n_values]
    gpu_recorded graphs[GPU_GRAPHS];
    uint64_t clock;
    bool no_graphs;
};

tl_status gpu_launch(plan *p, kernel *k, tl_error *err);
tl_status gpu_launch_all(plan *p, tl_error *err);
tl_status gpu_profile_point(const plan *p, int i, tl_error *err); // before kernel i, and behind the last one; nothing unless profiling is on
tl_status gpu_profile_collect(plan *p, tl_error *err);            // of a run that was launched
tl_status gpu_fuse(plan *p, tl_error *err); // before memory is laid out
tl_status gpu_views_make(plan *p, tl_error *err);  // fuses, and lays the workspace out
void gpu_views_place(plan *p);                     // where values are, once the first view's are known
int gpu_view_of(const gpu_plan *g, const plan_step *s); // which one a step takes
void gpu_view_take(plan *p, int which);            // kernels, values and addresses from now on
void gpu_view_leave(plan *p);                      // the first again, but for where results are
void gpu_view_inputs(plan *p);                     // once the step's inputs have their places
size_t gpu_fixed_bytes(const plan *p, int i); // that value i, a fixed one, will take
static inline size_t gpu_aligned(size_t n) { return (n + GPU_ALIGN - 1) / GPU_ALIGN * GPU_ALIGN; }
size_t gpu_work_bytes(plan *p);              // after plan_memory()
tl_status gpu_check_memory(plan *p, const plan_backend *b, tl_error *err);
tl_status gpu_load_weights(plan *p, const plan_backend *b, tl_error *err);
size_t gpu_act_room(const plan *p);         // bytes of the largest quantized input
size_t gpu_attn_room(const plan *p, size_t *counters);
#endif
