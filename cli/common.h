// common.h - what most commands share: opening a model as the options say, messages, files and JSON.
#ifndef CLI_COMMON_H
#define CLI_COMMON_H
#include "args.h"
#include "commands.h"
#include "sampling.h"
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <tensorlogic.h>

// ---- options -----------------------------------------------------------------------------------
typedef struct model_args {
    const char *model, *program, *pre, *chat_template, *isa, *device, *gpu_layers, *cache_type; // chat_template: the path of a file
    arg_list adapters;
    int threads;
    int64_t n_ctx, n_batch;
    int32_t n_seq;    // of open_session; 0: 1
    bool no_repair, verbose, nan_trap, lens;
    arg_list set;
    const char *watch;
} model_args;

// Rows of a command's option table. TEXT: for commands that need no weights.
#define MODEL_OPTIONS_TEXT(a)                                                                                          \
    {ARG_HEADING, "Model", 0, NULL, NULL, NULL, 0, 0},                                                                 \
    {ARG_TEXT, "model", 'm', &(a).model, "MODEL", "a name that `tl models` lists, or a path (default: smollm2)", 0, 0}, \
    {ARG_TEXT, "pre", 0, &(a).pre, "NAME", "pre-tokenizer instead of the file's", 0, 0},                               \
    {ARG_FLAG, "verbose", 'v', &(a).verbose, NULL, "tell on stderr what is done, and how", 0, 0}
#define MODEL_OPTIONS_DATA(a)                                                                                          \
    MODEL_OPTIONS_TEXT(a),                                                                                             \
    {ARG_INT, "threads", 't', &(a).threads, "N", "threads (default: one for each physical core)", 0, 1024},            \
    {ARG_TEXT, "device", 0, &(a).device, "DEVICE", "cpu, cuda, cuda:N, or auto: a GPU if there is one (default: TL_DEVICE, else cpu)", 0, 0}, \
    {ARG_TEXT, "gpu-layers", 0, &(a).gpu_layers, "N", "with a GPU: the last N layers run there, the others on the CPU (default: all)", 0, 0}, \
    {ARG_TEXT, "isa", 0, &(a).isa, "NAME", "instruction set: ref, avx2, avx512, ... (default: the best)", 0, 0},       \
    {ARG_FLAG, "no-repair", 0, &(a).no_repair, NULL, "a broken output.weight is an error", 0, 0}
#define MODEL_OPTIONS(a)                                                                                               \
    MODEL_OPTIONS_DATA(a),                                                                                             \
    {ARG_TEXT, "program", 0, &(a).program, "FILE.tl", "the model's program instead of the built-in one", 0, 0},        \
    {ARG_I64, "ctx-size", 'c', &(a).n_ctx, "N", "room for N tokens in the cache", 0, 1e9},                             \
    {ARG_I64, "batch-size", 'b', &(a).n_batch, "N", "most tokens in one step (default: 512)", 0, 65536},               \
    {ARG_TEXT, "cache-type", 0, &(a).cache_type, "TYPE", "f16, f32, q8_0 or q4_0 (default: as the program says)", 0, 0},   \
    {ARG_LIST, "lora", 0, &(a).adapters, "FILE[:SCALE]", "a LoRA adapter in GGUF; may be repeated", 0, 0}

// For commands that run the model's program (docs/inside.md).
#define SET_OPTION(a) {ARG_LIST, "set", 0, &(a).set, "PATCH", "change a value on the way: 'X[l=12] += 4 * steer.npy'; may be repeated", 0, 0}
#define INSIDE_OPTIONS(a)                                                                                              \
    {ARG_HEADING, "Seeing inside", 0, NULL, NULL, NULL, 0, 0}, SET_OPTION(a),                                          \
    {ARG_FLAG, "nan-trap", 0, &(a).nan_trap, NULL, "stop at the first value that is not finite and tell its origin", 0, 0}

// ---- opening -----------------------------------------------------------------------------------
typedef struct opened {
    tl_engine *engine;
    tl_model *model;
    tl_session *session; // NULL until open_session
} opened;
// Opens the engine and the model, warning on stderr. Returns 0, or the exit status after its message.
int open_model(const char *command, const model_args *a, tl_model_parts parts, opened *o);
// n_ctx: room that is wanted if -c says nothing (0: the library's choice). n_batch the same.
int open_session(const char *command, const model_args *a, int64_t n_ctx, int64_t n_batch, opened *o);
// What the options of INSIDE_OPTIONS ask of a session. `patches`: room for them and a NULL, used by *o.
enum { MOST_PATCHES = sizeof((arg_list *)0)->p / sizeof(char *) };
void inside_session(const model_args *a, const char *patches[MOST_PATCHES + 1], tl_session_options *o);
void opened_free(opened *o);

// ---- messages ----------------------------------------------------------------------------------
int fail(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3))); // returns 1
int fail_with(const char *command, const tl_error *err); // returns the exit status
bool color_wanted(FILE *to); // a terminal, and neither NO_COLOR nor TERM=dumb

// ---- text --------------------------------------------------------------------------------------
// The whole file, or stdin for "-" ; NUL-terminated, freed with free(). 0, or the exit status after its message.
int read_file(const char *command, const char *path, char **text, size_t *n);
// "1,2 3" or "[1, 2, 3]"; *ids freed with free(). False: something else is in it.
bool parse_ids(const char *text, int32_t **ids, size_t *n);
json_t *json_bytes(const char *text, size_t n); // bytes that are not UTF-8 become U+FFFD
json_t *json_real_or_null(double x);            // null for what JSON cannot say
int print_json(json_t *value);                  // pretty, frees it; returns the exit status
double seconds_now(void);
#endif
