// plan.h - from a finished IR graph to a list of kernel calls over one workspace, and its replay.
//
// A plan is made once for a graph (rewritten, fused, verified) and run for any number of rows up to max_rows: row
// counts are symbolic in the graph and known at each run. Running allocates nothing (debug builds: mem_forbid).
// Every thread of the pool walks the same stages; inside a stage work is taken by an atomic cursor; a barrier stands
// only between stages that depend on each other. No bit of a result depends on the thread count, on how many rows are
// in the step, or on which.
#ifndef TL_PLAN_H
#define TL_PLAN_H
#include "base/bandwidth.h"
#include "base/pool.h"
#include "cpu/kernels.h"
#include "ir/ir.h"

// How fast the system has handed out large pages for weights (weights.c). Zero it once.
typedef struct plan_pages {
    double seconds, bytes;
    bool slow;                  // too slow: small ones from now on
} plan_pages;

typedef struct plan_backend {
    const cpu_kernels *k;
    pool *threads;
    struct cuda_device *device; // NULL: the CPU; else the plan runs there
    // Called when weight bytes in the file's mapping are no longer needed (they were repacked). May be NULL.
    void (*drop)(void *ctx, const void *data, size_t bytes);
    plan_pages *pages;          // outlives the calls; NULL: large pages at any price
    void (*progress)(void *ctx, double done, double total); // bytes of weights prepared by plan_new; may be NULL
    void (*report)(void *ctx, const char *text); // what will be taken of a device's memory, before it is; may be NULL
    void *ctx;
} plan_backend;

typedef struct plan_stop { // asked between blocks of work, by every thread
    bool (*wanted)(void *ctx);
    void *ctx;
    _Atomic bool hit;           // it was: plan_run answers TL_E_CANCELLED, the results are not complete
} plan_stop;

typedef struct plan_limits {
    plan_stop *stop;            // may be NULL; outlives the plan. Not for plans with states, nor on a device
    int64_t max_rows, max_outs; // most rows of SYM_ROWS and SYM_OUT nodes
    int64_t max_slots;          // most entries of one attn_seq
    int64_t device_layers;      // on a device: so many of the last layers, what comes before them is the CPU's; 0: all
    bool touched;               // all of the workspace will be written: large pages save faults
    size_t max_bytes;           // of the workspace; 0: no limit. TL_E_LIMIT beyond
} plan_limits;

typedef struct plan plan;
// The graph and its weights and states must outlive the plan. Prepares weights that no plan prepared before
// (ir_weight.prepared), in parallel. TL_E_MEMORY, TL_E_UNSUPPORTED (naming node and type).
tl_status plan_new(const ir_graph *g, const plan_backend *b, const plan_limits *limits, plan **out, tl_error *err);
void plan_free(plan *p);
bool plan_is_split(const plan *p); // between a device and the CPU: plan_step.chosen has no meaning
void plan_weight_free(ir_weight *w); // frees what plan_new prepared
size_t plan_weight_bytes(const ir_weight *w); // that plans hold or read in the file; 0: no plan uses it

typedef struct plan_step {
    int64_t rows, outs;
    const int32_t *in[INPUT_COUNT]; // tok, pos, seq, slot: [rows]; out: [outs], row numbers
    const attn_seq *seqs;           // in[INPUT_SEQ][p] indexes these
    int64_t n_seqs;
    const int32_t *chosen;          // on a device: ids there; tok -1 - i stands for chosen[i]. NULL: all of tok is known
} plan_step;
// On a device it is only begun: what goes wrong there is told by plan_fetch, or by the next run.
tl_status plan_run(plan *p, const plan_step *step, tl_error *err);
// Output i of the graph after a run (float32, or int32 where the node's type says so), row-major, valid until the next.
const void *plan_output(const plan *p, int i);
tl_status plan_fetch(const plan *p, int i, const void **out, tl_error *err); // the same, with what went wrong
const void *plan_output_on_device(const plan *p, int i);                    // where it is there; NULL: not on a device
// A node with `keep` set, after a run; NULL if the graph has no such node. rows of it: as its symbol says.
const void *plan_value(const plan *p, const ir_node *n);
// States of a plan on a device, from and to their memory on the host (ir_state.data), for n slots; nothing on the CPU.
tl_status plan_states_fetch(const plan *p, const int32_t *slots, int64_t n, tl_error *err);
tl_status plan_states_send(const plan *p, const int32_t *slots, int64_t n, tl_error *err);
size_t plan_workspace_bytes(const plan *p);
int plan_workers(const plan *p, int64_t rows); // threads that take part in steps of so many rows (see team.h), 1 on a device
// Stages, kernels, shapes and weights as text: the same for graphs that compute the same. Pointers, file positions and
// names given by the program do not appear.
void plan_print(const plan *p, sbuf *out);
// Time spent outside kernels in the last run, and in all of it, in ns (thread 0), when measuring was on.
void plan_measure(plan *p, bool on);
void plan_timing(const plan *p, double *outside_ns, double *total_ns);
// Looks through what the kernels of a run store, while on: where something is not finite (NaN; an infinity unless it is meant).
// TL_E_MEMORY.
typedef struct plan_fault {
    const ir_node *node;      // of the earliest stage that stored one; NULL: there is none
    int64_t row;              // of node, the first
} plan_fault;
tl_status plan_trap(plan *p, bool on, tl_error *err);
plan_fault plan_first_fault(const plan *p); // of the last run
// Time by kernel, summed over runs and threads while on (switching on starts from 0). The node says what and where in the
// program (`at`), LINEAR's u.weight how many bytes are read. TL_E_MEMORY.
typedef struct plan_kernel_time {
    const char *kernel;       // "LINEAR", "QUANTIZE", ...
    const ir_node *node;      // owned by the plan or the graph
    int stage;
    double ns;
    int64_t units;            // pieces that the work was cut into
} plan_kernel_time;
tl_status plan_profile(plan *p, bool on, tl_error *err);
int plan_kernel_count(const plan *p);
plan_kernel_time plan_kernel_timing(const plan *p, int i); // i < plan_kernel_count(), in order of execution
// Each piece of work of the runs from now on, at most `most` for each thread, while profiling is on. 0: off. TL_E_MEMORY.
typedef struct plan_event {
    int32_t kernel;           // for plan_kernel_timing
    int32_t units;            // pieces that the kernel's work was cut into
    double begin_ns, ns;      // on CLOCK_MONOTONIC
} plan_event;
tl_status plan_record(plan *p, size_t most, tl_error *err);
// Of one thread, in order; *n is how many there were, of which the first `most` are there.
size_t plan_record_room(const plan *p); // `most`
const plan_event *plan_recorded(const plan *p, int thread, size_t *n);

// What one row's products read of their matrices, in order of execution: at most plan_kernel_count() stretches; how many.
size_t plan_matrix_reads(const plan *p, read_stretch *list);

// The definition of results: evaluates the graph element by element, sums in double; states are written at the end.
// out[i] becomes output i as float32, to be freed with mem_free. For tests and for finding faults: slow, and takes much memory.
tl_status plan_reference(const ir_graph *g, const plan_step *step, float **out, tl_error *err);
#endif
