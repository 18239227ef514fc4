// eval.h - running .tl programs: ordinary code is interpreted; tensor work becomes IR, which is computed when a value
// is needed (eagerly, in a program) or traced into one graph (a model's step function, run by a session).
//
// run/ owns engines, models and sessions and hands them in through ev_host; this folder knows neither threads nor files
// of its own beyond import and load_model, which the host opens.
#ifndef TL_EVAL_H
#define TL_EVAL_H
#include "gguf/gguf.h"
#include "ir/ir.h"
#include "plan/plan.h"

typedef struct tokenizer tokenizer; // text/token.h

// ---- a model file as programs see it -----------------------------------------------------------
typedef struct ev_model {
    gguf *file;
    const char *path;
    ir_weight *weights;        // [gguf_n_tensors(file)], same order
    bool repaired;             // "output.weight" is unusable and counts as missing (weight tying)
    const tokenizer *tok;      // NULL: none (or not opened yet)
    tokenizer *tok_owned;      // what open_tokenizer made; freed with the model
    struct ev_model *next;
    void *owner;               // the host's
} ev_model;

// Sessions over a model's step function, for programs that generate; tl_session_* in the host's hands.
typedef struct ev_sessions {
    tl_status (*open)(void *ctx, ev_model *m, int64_t n_ctx, int32_t n_seq, void **out, tl_error *err);
    tl_status (*prompt)(void *s, int32_t seq, const int32_t *ids, size_t n, const float **logits, int64_t *n_vocab, tl_error *err);
    tl_status (*step)(void *s, const int32_t *ids, const int32_t *seqs, size_t n, const float **logits, int64_t *n_vocab, tl_error *err);
    tl_status (*fork)(void *s, int32_t from, int32_t to, tl_error *err);
    void (*cut)(void *s, int32_t seq, int64_t length);
    int64_t (*length)(void *s, int32_t seq);
} ev_sessions;

typedef struct ev_host { // what the world outside provides; every pointer may be NULL (then the feature is an error)
    void *ctx;
    plan_backend backend;
    tl_status (*open_model)(void *ctx, const char *path, ev_model **out, tl_error *err); // owned by the host
    tl_status (*open_tokenizer)(void *ctx, ev_model *m, const tokenizer **out, tl_error *err);
    void (*print)(void *ctx, const char *text, size_t n);
    void (*warn)(void *ctx, const char *message);
    bool (*cancelled)(void *ctx);
    // One sampled token of logits [n]; `how` as tl_sampling. Deterministic in (*seed), which it advances.
    int32_t (*sample)(void *ctx, const float *logits, int64_t n, const tl_sampling *how, uint64_t *seed);
    // The ids of a conversation of one user message, up to where the reply begins; to be freed with mem_free.
    tl_status (*chat)(void *ctx, ev_model *m, const char *text, int32_t **ids, size_t *n, tl_error *err);
    const ev_sessions *sessions;
    bool color;
} ev_host;

// ---- state tensors of one session ------------------------------------------------------------------
typedef struct ev_state { // linked by next; one for each member of a family that the program touched
    ir_state ir;
    struct ev_state *next;
    const void *decl;
    int version;          // of the trace in progress
    int64_t size[IR_MAX_RANK]; // of a member's axes
} ev_state;

typedef struct evaluator evaluator;
// `predefined`: model, tokens (with text), NULL where there is none.
typedef struct ev_options {
    ev_host host;
    ev_model *model;
    const char *prompt;
    const char *const *args;
    size_t n_args;
    // A model's program is somebody else's: it reads its own model and imports from its own folder, nothing else. No
    // other files, environment or input.
    bool confined;
    int64_t max_steps;  // statements of one call that enters the evaluator; 0: no limit
    size_t max_bytes;   // of the program's values; 0: no limit
} ev_options;
tl_status ev_new(const ev_options *o, evaluator **out, tl_error *err);
void ev_free(evaluator *ev);

// Parses and runs a file (text NULL: read it) to its end, `main` included if `run_main`. Errors hold rendered messages.
tl_status ev_run(evaluator *ev, const char *file, const char *text, size_t n, bool run_main, tl_error *err);
// One REPL entry: like ev_run in the same scope; the value of a last expression is printed. After an error everything is as
// it was before. `keep` false: also after success.
tl_status ev_enter(evaluator *ev, const char *text, size_t n, bool keep, tl_error *err);
tl_status ev_load(evaluator *ev, const char *file, tl_error *err); // runs a file in the same scope, `main` included
// The kind and shape of an expression's value, as one line.
tl_status ev_type(evaluator *ev, const char *text, size_t n, sbuf *out, tl_error *err);
// Names that begin with `prefix`: bindings, then builtins.
void ev_names(evaluator *ev, const char *prefix, void (*each)(void *ctx, const char *name), void *ctx);
// Runs each `test NAME { }` of a file that ev_run has run, in a scope of its own; what it changes is taken back.
void ev_tests(evaluator *ev, const char *file, void (*each)(void *ctx, const char *name, int line, double seconds, const char *message), void *ctx);
void ev_set_dump(evaluator *ev, const char *what); // NULL, "ir", "plan": printed for each computation of a program

// ---- the step function of a model ----------------------------------------------------------------
// A value that the step function gave a name, once for each time that it did: X after attention in layer 3 and X after the
// feed-forward in layer 3 are two. Strings live as long as the evaluator.
typedef struct ev_loop { const char *name; int64_t at; } ev_loop; // a `for` around it, the outermost first
enum { EV_LOOPS = 4 };
typedef struct ev_binding {
    const char *name, *path; // path: "blk.3.rope.R": layer (value of the outermost loop), functions but the step, name
    int nth, of;             // among those of the same path, from 1
    span at, stmt, call;     // the name; the statement; the innermost call's place (src NULL: in the step function itself)
    ev_loop loop[EV_LOOPS];
    int n_loops;
    int rank;                // the value: node's elements at offset + sum of index * stride
    struct { int64_t size, stride; ir_sym sym; const char *dim; } ax[IR_MAX_RANK]; // dim NULL: no name
    int64_t offset;
    ir_node *node;
    bool is_lens;            // the step function's result, had it ended after this layer (-1: before the first)
    bool patched;            // made by a patch
} ev_binding;
typedef VEC(ev_binding) ev_bindings;

typedef struct ev_trace_options {
    int64_t n_ctx;        // slots of per-slot states
    tl_dtype cache_type;  // DT_COUNT: as declared
    arena *a;             // holds the states
    arena *graph;         // holds the graph; NULL: a
    ev_bindings *bindings; // NULL: not wanted. In the order of the program; to be freed with vec_free
    bool lens;            // the step's end is traced after each layer too
} ev_trace_options;
// The function whose parameters are tok, pos, seq, slot, out. Makes the graph (not yet rewritten) with its result as
// outputs[0], and the states it uses. TL_E_PROGRAM, with the place.
tl_status ev_trace(evaluator *ev, const ev_trace_options *o, ir_graph *g, ev_state **states, tl_error *err);
bool ev_has_step(const evaluator *ev);
// A patch, "X[l=12] += 4 * steer.npy": from now on it follows the last assignment to X of each block (docs/inside.md). It is
// the user's own, so it may read .npy files. TL_E_PROGRAM, with the place in its text.
tl_status ev_add_patch(evaluator *ev, const char *text, tl_error *err);
void ev_clear_patches(evaluator *ev);              // those of ev_add_patch
// TL_E_USAGE, naming it, if a patch has not been applied since it was added.
tl_status ev_patches_applied(const evaluator *ev, tl_error *err);
// Eager programs: each tensor that gets a name is computed and looked through at once.
void ev_set_trap(evaluator *ev, bool on);

// The files that were read, in order; NULL behind the last. `main`: not an import, nor the standard library.
const source *ev_source(const evaluator *ev, size_t i, bool *main);

// ---- what a program wants of its model --------------------------------------------------------------
typedef struct ev_want {
    span at;             // where the program asks for it
    const char *name;    // the tensor
    bool missing;        // else it has another shape than the program says
    const char *message; // the program's own error, with its place
} ev_want;
// After the top level has run, also when tracing failed: every member 0 to `layers` - 1 of the program's families of tensors
// that the file lacks or whose axes do not fit. Single tensors were looked at by the top level itself.
tl_status ev_audit(evaluator *ev, int64_t layers, void (*each)(void *ctx, const ev_want *want), void *ctx, tl_error *err);

// Embedded files (std/, models/): text of `path` ("std/nn.tl"), or a null slice. A file of that path under
// $TL_PATH (a folder) comes first.
str ev_embedded(const char *path);
// Names of the embedded programs under a folder, without ".tl", separated by commas.
void ev_embedded_list(const char *folder, sbuf *out);
#endif
