// run.h - the structures behind the public handles.
#ifndef TL_RUN_H
#define TL_RUN_H
#include "cuda/cuda.h"
#include "eval/eval.h"
#include "ir/adapt.h"
#include "text/chat.h"
#include "text/token.h"

struct tl_engine {
    tl_engine_options o;
    const cpu_kernels *k;
    pool *threads;
    plan_pages pages;
    cuda_device *device; // NULL: the CPU
};

struct tl_model {
    tl_engine *engine;
    ev_model m;               // the file, its weights
    tokenizer *tok;           // NULL: the file has none
    tl_error tok_err;         // why
    chat_template *chat;
    tl_error chat_err;
    evaluator *program;       // after its top level has run; NULL: tokenizer only
    char *name, *arch, *path;
    ev_model *others;         // opened by programs
    VEC(ir_adapter) adapters;
    ev_model *adapter_files;
    int64_t n_vocab, n_ctx_train;
    uint64_t program_hash;    // of the program's text and the library that it sees
    bool no_repair;
    struct grammar_vocab *vocab; // for constraints; made for the first one
};

// A program's evaluator with what it may reach of the outside world. Both outlive neither `o` nor what that points to.
typedef struct program_host {
    ev_host base;
    tl_engine *engine;
    const tl_program_options *o;
    ev_model *opened;
    VEC(tl_session *) sessions;
} program_host;
tl_status program_start(program_host *h, const tl_program_options *o, evaluator **out, tl_error *err);
void program_end(program_host *h, evaluator *ev); // ev may be NULL

tl_status model_load_program(tl_model *m, tl_error *err); // of a model that was opened without
extern const ev_sessions host_sessions; // ctx: a program_host; program_session.c
tl_status model_add_adapter(tl_model *m, const char *given, tl_error *err); // adapter.c
void model_free_adapters(tl_model *m);
evaluator *repl_evaluator(tl_repl *r);
const tl_program_options *repl_options(const tl_repl *r);

// ---- watched values (watch.c) --------------------------------------------------------------------
typedef struct watch_list {
    ev_bindings all;       // of the traced step
    size_t *picked;        // those that are wanted, in order
    size_t n;
    char **keys;           // of the picked
} watch_list;
// Which of w->all `patterns` means. TL_E_USAGE with what there is where one means nothing.
tl_status watch_pick(watch_list *w, const char *patterns, bool lens, tl_error *err);
tl_status watch_keep(const watch_list *w, ir_graph *g, tl_error *err); // after the rewriting of g
void watch_free(watch_list *w);
const watch_list *session_watches(const tl_session *s);
void session_last_step(const tl_session *s, int64_t *rows, int64_t *outs);
// A binding's value in a plan's run as dense float32; rows and outs: of that run.
int64_t binding_elements(const ev_binding *b, int64_t rows, int64_t outs);
bool binding_read(const ev_binding *b, const plan *p, int64_t rows, int64_t outs, float *out); // false: it has none
void binding_key(const ev_binding *b, sbuf *out);

// ---- the trap (trap.c) ---------------------------------------------------------------------------
typedef struct trap_case { // a step that stored something that is not finite
    tl_model *m;
    int64_t n_ctx;
    tl_dtype cache_type;
    char *const *patches;
    ev_state *states;
    const plan_step *step;
    plan_fault fault;
} trap_case;
tl_status trap_explain(const trap_case *c, tl_error *err); // never TL_OK: where it came from
tl_status session_trace(tl_model *m, char *const *patches, const ev_trace_options *o, ir_graph *g, ev_state **states, tl_error *err);

void engine_warn(const tl_engine *e, const char *fmt, ...) TL_PRINTF(2, 3);
plan_backend engine_backend(tl_engine *e, tl_model *m);
ev_host engine_host(tl_engine *e, tl_model *m); // m may be NULL
// Opens a file's tables and checks output.weight; no program, no tokenizer.
tl_status model_file_open(tl_engine *e, const char *path, bool no_repair, ev_model *out, tl_error *err);
void model_file_close(ev_model *m);
// For dumps and measurements; out and the plan belong to the caller and the session.
void tl_session_print_plan(const tl_session *s, sbuf *out);
void tl_session_print_ir(const tl_session *s, sbuf *out);
plan *tl_session_plan(const tl_session *s);
const tl_model *session_model(const tl_session *s);
int32_t session_sequences(const tl_session *s); // how many there can be
bool session_is_hidden(const tl_session *s); // steps give hidden states: there is nothing to choose a token from
int64_t session_cached(const tl_session *s); // positions that attention reads for a row of the longest sequence
#endif
