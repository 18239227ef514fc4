// tensorlogic.h - the public interface of TensorLogic: open a GGUF model (its architecture is a .tl program), turn
// text into tokens, run steps over cached sequences, sample. C17, plain structs, opaque handles.
//
// Rules that hold for every call:
//  - A function that can fail returns tl_status (0 is TL_OK) and, if `err` is not NULL, fills it where it failed.
//  - Handles are freed by the matching *_free, which accepts NULL. A handle must outlive what was made from it:
//    engine > model > session. Pointers handed out by const accessors live as long as their handle.
//  - The library never prints and never exits. Warnings go to the engine's `on_warning`.
//  - One session is used by one thread at a time. Models may be shared by sessions of the same engine; steps of
//    sessions of one engine run one after the other (they share the engine's threads).
#ifndef TENSORLOGIC_H
#define TENSORLOGIC_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TL_API __attribute__((visibility("default")))
#else
#define TL_API
#endif

// ---- status and errors -------------------------------------------------------------------------
typedef enum {
    TL_OK = 0,
    TL_E_USAGE,       // the caller asked for something that cannot be (arguments, names, ranges)
    TL_E_IO,          // the operating system refused (open, read, mmap, write)
    TL_E_FORMAT,      // a file's bytes do not mean what its format says
    TL_E_UNSUPPORTED, // valid, but not something this build can do
    TL_E_MEMORY,      // an allocation failed or a limit was reached
    TL_E_PROGRAM,     // a .tl program is wrong (place and notes are in the message)
    TL_E_LIMIT,       // a step, depth, size or time budget ran out
    TL_E_CANCELLED,   // the user asked to stop
} tl_status;

typedef struct tl_error {
    tl_status code;
    int64_t offset;     // byte offset in the input file, or -1
    char message[2000]; // one or more lines, no trailing newline; control bytes from inputs are escaped
} tl_error;

// ---- engine --------------------------------------------------------------------------------------
typedef struct tl_engine tl_engine;
typedef struct tl_engine_options {
    int threads;      // 0: one for each physical core this process may use
    const char *isa;  // "ref", "avx2", "avx512", ...; NULL: TL_CPU, else the best of this machine
    const char *device; // where sessions run: "cpu", "cuda", "cuda:1", "auto" (a GPU if there is one); NULL: TL_DEVICE, else "cpu"
    int gpu_layers;   // with a GPU: so many of a model's last layers run there, the others on the CPU; 0: all; < 0: none
    void (*on_warning)(void *ctx, const char *message); // NULL: warnings are dropped
    // Work that takes a while: `done` of `total` units of `what` ("loading"). NULL: not wanted.
    void (*on_progress)(void *ctx, const char *what, double done, double total);
    // What a session is about to take of a GPU's memory, before it does. NULL: not wanted.
    void (*on_report)(void *ctx, const char *message);
    void *ctx;
} tl_engine_options;
TL_API tl_status tl_engine_new(const tl_engine_options *options, tl_engine **out, tl_error *err); // options may be NULL
TL_API void tl_engine_free(tl_engine *e);
TL_API const char *tl_engine_isa(const tl_engine *e);
TL_API int tl_engine_threads(const tl_engine *e);
TL_API int tl_engine_workers(const tl_engine *e); // that share a session's work: the threads, or one GPU
TL_API const char *tl_engine_device(const tl_engine *e); // "cpu", or the GPU's name

// ---- model ---------------------------------------------------------------------------------------
typedef struct tl_model tl_model;
// How much of a model is opened. TL_MODEL_DATA serves programs that read weights and text themselves: a file that has no
// program for its architecture, or no usable tokenizer, opens; what is missing is told where it is used.
typedef enum {
    TL_MODEL_WHOLE, // program, weights, tokenizer
    TL_MODEL_TEXT,  // tokenize, detokenize and chat rendering only; a missing tokenizer is an error
    TL_MODEL_DATA,  // weights and tokenizer, no program: sessions cannot be opened
} tl_model_parts;
typedef struct tl_model_options {
    const char *program;    // path of the .tl program; NULL: found by the file's general.architecture
    const char *pre;        // pre-tokenizer instead of tokenizer.ggml.pre; NULL: the file's
    const char *chat_template; // Jinja text instead of the file's; NULL: the file's
    const char *const *adapters; // LoRA adapters, "FILE.gguf" or "FILE.gguf:SCALE"; the weights stay as they are stored
    size_t n_adapters;
    bool no_repair;         // non-finite output.weight is an error instead of tied weights
    tl_model_parts parts;
} tl_model_options;
TL_API tl_status tl_model_open(tl_engine *e, const char *path, const tl_model_options *options, tl_model **out, tl_error *err);
TL_API void tl_model_free(tl_model *m);
TL_API const char *tl_model_path(const tl_model *m);
TL_API const char *tl_model_adapter(const tl_model *m, size_t i); // the file of the i-th LoRA adapter; NULL: there are fewer
TL_API const char *tl_model_name(const tl_model *m);          // general.name, or the file's name
TL_API const char *tl_model_architecture(const tl_model *m);
TL_API int64_t tl_model_n_vocab(const tl_model *m);
TL_API int64_t tl_model_n_ctx_train(const tl_model *m);       // 0: the file does not say
TL_API bool tl_model_has_chat_template(const tl_model *m);

// The files of the model's program in the order in which they were read, the standard library first. False: there are not so
// many. Texts live as long as the model.
TL_API bool tl_model_program(const tl_model *m, size_t i, const char **file, const char **text, size_t *n);
TL_API bool tl_model_program_is_main(const tl_model *m, size_t i);

// What the model's program and the file do not agree on: tensors that are missing or have another shape than the program says,
// all of them where running stops at the first, then tensors that no statement asked for. Complete after a session was
// opened, or could not be: until then the program has not asked for everything.
typedef struct tl_tensor_problem {
    const char *tensor;
    enum { TL_TENSOR_MISSING, TL_TENSOR_SHAPE, TL_TENSOR_UNUSED } kind;
    const char *file;    // of the statement that asks for it; "" where none does
    int line;            // 0: none
    const char *message; // the program's own error; ""
} tl_tensor_problem;
TL_API tl_status tl_model_audit(tl_model *m, void (*each)(void *ctx, const tl_tensor_problem *problem), void *ctx, tl_error *err);

// ---- text ----------------------------------------------------------------------------------------
enum { TL_ADD_SPECIAL = 1 /* BOS, EOS as the model asks */, TL_PARSE_SPECIAL = 2 /* "<|im_end|>" in text is the token */ };
// *ids is malloc'ed; the caller frees it with tl_free. Text need not be valid UTF-8.
TL_API tl_status tl_tokenize(const tl_model *m, const char *text, size_t n, unsigned flags, int32_t **ids, size_t *n_ids, tl_error *err);
TL_API void tl_free(void *p);
TL_API bool tl_token_is_end(const tl_model *m, int32_t id);      // ends a reply (EOS, EOT, <|im_end|>, ...)
TL_API bool tl_token_is_special(const tl_model *m, int32_t id);  // control token: no text of its own
// The token's own bytes ("" for control tokens unless `special`); *n its length. Not NUL-terminated in general.
TL_API const char *tl_token_text(const tl_model *m, int32_t id, bool special, size_t *n);
// Streaming detokenizer: bytes come out only as whole UTF-8 characters (or U+FFFD for bytes that cannot become one).
typedef struct tl_decoder tl_decoder;
TL_API tl_status tl_decoder_new(const tl_model *m, bool special, tl_decoder **out, tl_error *err);
TL_API const char *tl_decoder_put(tl_decoder *d, int32_t id);  // new text, "" if none yet; valid until the next call
TL_API const char *tl_decoder_end(tl_decoder *d);              // what was held back
TL_API void tl_decoder_free(tl_decoder *d);

typedef struct tl_message { const char *role, *content; } tl_message; // "system", "user", "assistant", ...
// Renders the conversation with the model's chat template and tokenizes it. Text of messages never becomes a special
// token. *ids as in tl_tokenize. `reply`: ends with the prompt for the assistant's turn. `tools_json`: NULL or a JSON
// array as OpenAI's API takes it. TL_E_USAGE without a template; TL_E_FORMAT where the template fails (its message).
TL_API tl_status tl_chat_tokenize(const tl_model *m, const tl_message *messages, size_t n, bool reply, const char *tools_json,
                                  int32_t **ids, size_t *n_ids, tl_error *err);

// ---- session: sequences in one cache ---------------------------------------------------------------
typedef struct tl_session tl_session;
typedef struct tl_session_options {
    int64_t n_ctx;      // cache slots; 0: min(trained context, 4096)
    int64_t n_batch;    // most rows in one step; 0: 512
    int32_t n_seq;      // most sequences; 0: 1
    const char *cache_type; // "f16", "f32", "q8_0", "q4_0"; NULL: what the program declares
    bool hidden;        // steps give what the logits are made from instead of logits: [wanted rows, tl_session_width]
    bool keep_released; // slots that no sequence owns are overwritten last, for tl_seq_share; else first, which takes less memory
    // For seeing inside (docs/inside.md); all may be left out.
    const char *watch;      // patterns of bindings whose values are wanted: "X A[l=3] blk.*.G". No result changes by it
    const char *const *patches; // NULL-terminated: "X[l=12] += 4 * steer.npy", applied in this order
    bool lens;              // watches the logits that the program's end makes of every layer instead of `watch`
    bool nan_trap;          // a step with a value that is not finite is TL_E_PROGRAM: where it came from
} tl_session_options;
TL_API tl_status tl_session_new(tl_model *m, const tl_session_options *options, tl_session **out, tl_error *err);
TL_API void tl_session_free(tl_session *s);
TL_API int64_t tl_session_n_ctx(const tl_session *s);
TL_API int64_t tl_session_n_batch(const tl_session *s);
TL_API int64_t tl_session_width(const tl_session *s); // numbers of a row that a step gives: the vocabulary's, or those of a hidden state
typedef struct tl_memory {
    double file;      // bytes of the model's files
    double weights;   // as the session reads them: converted ones and those in the mapped file
    double cache;     // for n_ctx tokens; taken as they come
    double workspace;
} tl_memory;
TL_API tl_memory tl_session_memory(const tl_session *s);

typedef struct tl_row {
    int32_t token, seq; // token: an id, or TL_CHOSEN(i)
    bool logits;        // this row's logits are wanted
    int32_t also;       // so many sequences behind seq own the row as well: a trunk, whose branches follow in the same step. Such rows
                        // come first and are all alike in seq and also; the sequences are forks of one (on the CPU)
} tl_row;
// Appends the rows to their sequences (rows of one sequence in order) and computes. *logits: [wanted rows, vocab] in
// row order, valid until the next call on this session. n <= n_batch. TL_E_LIMIT: the cache is full (nothing changed).
TL_API tl_status tl_session_step(tl_session *s, const tl_row *rows, size_t n, const float **logits, tl_error *err);
// With logits NULL, a session on a GPU does not wait for the step: what goes wrong is told by the next call that does.
// Appends n tokens to `seq` in steps of n_batch; *logits: those of the last row (NULL pointer: not wanted).
// `cancel` (may be NULL) is polled between steps: TL_E_CANCELLED, with the finished steps kept.
TL_API tl_status tl_session_prompt(tl_session *s, int32_t seq, const int32_t *ids, size_t n, const float **logits,
                                   volatile const int *cancel, tl_error *err);
TL_API int64_t tl_seq_length(const tl_session *s, int32_t seq);
TL_API tl_status tl_seq_fork(tl_session *s, int32_t from, int32_t to, tl_error *err); // `to` becomes a copy; no data moves
// Forgets tokens from position `length` on. Where all layers have sliding windows, what has left them is gone: a cut that
// would need it empties the sequence (tl_seq_length says so).
TL_API void tl_seq_cut(tl_session *s, int32_t seq, int64_t length);
// `seq` becomes the longest beginning of ids[n] that the cache holds anywhere, in whichever sequence or left behind by one;
// returns its length. Same bits as computing it. No logits come from it: leave at least one token to compute.
TL_API int64_t tl_seq_share(tl_session *s, int32_t seq, const int32_t *ids, size_t n);
TL_API int64_t tl_session_free_slots(const tl_session *s);

// ---- many sequences at once ----------------------------------------------------------------------------
// Jobs (a prompt, and how to go on from it) run side by side in one session: each step computes a row of every sequence that
// is replying and as many rows of waiting prompts as fit. What a job says does not depend on the jobs beside it.
// TL_JOB_STUCK: no token of the vocabulary fits the constraint.
typedef enum { TL_JOB_END, TL_JOB_LENGTH, TL_JOB_CONTEXT, TL_JOB_STOPPED, TL_JOB_FAILED, TL_JOB_STUCK } tl_job_end;
typedef struct tl_sampler tl_sampler;
typedef struct tl_constraint tl_constraint;
typedef struct tl_job {
    const int32_t *ids;   // the prompt, n >= 1; copied
    size_t n;
    int64_t most;         // tokens of the reply; -1: until the end token or the cache is full
    bool ignore_end;      // end tokens are not chosen
    tl_sampler *sampler;  // the caller's, for this job alone
    tl_constraint *constraint; // the caller's, for any number of jobs; may be NULL
    int64_t *jumped;      // counts tokens that the constraint left no choice about; may be NULL
    bool (*token)(void *ctx, int32_t id); // a token of the reply; false: it ends with this one (TL_JOB_STOPPED). May not call tl_batch_*
    // The job is over, its sequence gone. err: of TL_JOB_FAILED. May not call tl_batch_*.
    void (*done)(void *ctx, tl_job_end why, const tl_error *err);
    void *ctx;
} tl_job;
typedef struct tl_batch tl_batch;
// Uses the session's sequences 0 to n_seq - 1 and nobody else may meanwhile.
TL_API tl_status tl_batch_new(tl_session *s, tl_batch **out, tl_error *err);
TL_API void tl_batch_free(tl_batch *b); // before its session; jobs under way are forgotten
TL_API bool tl_batch_fits(const tl_batch *b, const tl_job *job); // a sequence is free, and cache enough for the whole job
TL_API tl_status tl_batch_add(tl_batch *b, const tl_job *job, tl_error *err); // TL_E_LIMIT where it does not fit
TL_API int32_t tl_batch_active(const tl_batch *b);               // jobs under way
TL_API tl_status tl_batch_step(tl_batch *b, tl_error *err);      // nothing to do where there are none
// ---- watched values --------------------------------------------------------------------------------
// A value that the program's step function gives a name, each time that it does: in the order of the program.
typedef struct tl_watch {
    const char *key;        // unique: "blk.3.X#2": layer, functions, name; "#2" where a name is given more than once there
    const char *name;       // "X"
    int64_t layer;          // value of the outermost loop around it; -1: none (of a lens: before the first layer)
    const char *file;       // where it gets its name
    int line, col;
    const char *text;       // the statement, not NUL-terminated
    size_t text_n;
    const char *call_file;  // of a name inside a function: where that is called; NULL: in the step function itself
    int call_line;
    bool beside;            // a fused operation does without it: it is computed for the watch only
    bool patched;           // as a patch left it
    int rank;
    const char *axis[8];    // names of the axes; "" where the program gives none
    int64_t size[8];        // of the last step
    bool rows, outs;        // axis 0 runs over the step's rows, or over those whose logits were wanted
} tl_watch;
TL_API size_t tl_session_watch_count(const tl_session *s);
TL_API bool tl_session_watch_at(const tl_session *s, size_t i, tl_watch *out); // false: there are not so many
// The value after the last step, row-major float32 of the sizes that tl_session_watch_at tells.
TL_API tl_status tl_session_watch_read(const tl_session *s, size_t i, float *out, tl_error *err);

// ---- where the time goes ---------------------------------------------------------------------------
typedef struct tl_profile_line { // a statement of the model's program, in all layers
    const char *file;
    int line;
    const char *text;       // its source, not NUL-terminated
    size_t text_n;
    double seconds;         // in its kernels, divided by the threads that took part (tl_session_workers of the last step's rows)
    double bytes;           // of weights and cache that one row reads there, once a step
    int64_t kernels;        // calls in one step
} tl_profile_line;
// How many of the engine's threads take part in a step of so many rows: in steps of few rows as many as prove fastest, measured
// while they run; the results are the same. 1: a GPU.
TL_API int tl_session_workers(const tl_session *s, int64_t rows);
// Measures the kernels of all steps from now on (on: from 0 again). Costs some tens of nanoseconds for each piece of work.
TL_API tl_status tl_session_profile(tl_session *s, bool on, tl_error *err);
// What was measured, the most expensive first; *lines is to be freed with tl_free, the texts belong to the model.
TL_API tl_status tl_session_profile_lines(const tl_session *s, tl_profile_line **lines, size_t *n, tl_error *err);
// The same, not added up: each kernel of the step in order of execution, or with tl_session_record each piece of work.
typedef struct tl_profile_kernel {
    const char *kernel;     // "LINEAR", ...
    const char *file, *text; // as in tl_profile_line
    size_t text_n;
    int line, layer;        // layer -1: of no layer
    double seconds, bytes;  // of all threads together; in one step
    int thread;             // of a piece; else 0
    double begin;           // of a piece: seconds of the clock CLOCK_MONOTONIC
} tl_profile_kernel;
TL_API tl_status tl_session_profile_kernels(const tl_session *s, tl_profile_kernel **list, size_t *n, tl_error *err); // tl_free
// Records pieces of work of the steps from now on, at most `most` for each thread, while profiling is on. 0: no more.
TL_API tl_status tl_session_record(tl_session *s, size_t most, tl_error *err);
// By thread, then time; *lost: how many there were beyond `most`.
TL_API tl_status tl_session_recorded(const tl_session *s, tl_profile_kernel **list, size_t *n, size_t *lost, tl_error *err); // tl_free
// Bytes a second that the engine's threads read from memory (measured, about 0.1 s); 0 without memory for it.
TL_API double tl_engine_read_bandwidth(tl_engine *e);

// What bounds decoding: the weights of a step of one row, as they lie in memory for the engine's kernels, read once by its threads
// with plain loads. (How fast memory is depends on how the system backs it: only the same bytes compare.)
typedef struct tl_weight_read {
    double bytes, seconds;  // 0 bytes where the model is on a device
    double cache_bytes;     // of the cache that such a step reads besides; not read here
} tl_weight_read;
TL_API tl_status tl_session_read_weights(const tl_session *s, tl_weight_read *out, tl_error *err);

// ---- sampling --------------------------------------------------------------------------------------
// A token is chosen by a chain of samplers, each of which changes or thins out the candidates. Names and meanings as in
// llama.cpp; docs/generation.md has them all. What is 0 is off, unless something else is said.
typedef struct tl_logit_bias {
    int32_t id;
    float bias;              // added to the logit; -inf: never
} tl_logit_bias;
typedef struct tl_sampling {
    float temperature;       // <= 0: greedy
    int32_t top_k;
    float top_p;             // 1: off; 0: the most probable alone
    float min_p;
    float repeat_penalty;    // 1: off
    float presence_penalty;
    float frequency_penalty;
    int32_t penalty_last_n;  // tokens looked back; -1: all
    uint64_t seed;
    uint64_t sequence;       // one of many from one seed: another one, other choices
    float typical_p;         // 1: off, too
    float top_n_sigma;
    float xtc_probability, xtc_threshold;
    float dynatemp_range, dynatemp_exponent;
    float dry_multiplier, dry_base;
    int32_t dry_allowed_length, dry_penalty_last_n; // -1: all
    int32_t mirostat;        // 1, 2: instead of the chain, after the temperature
    float mirostat_tau, mirostat_eta;
    int32_t min_keep;        // top_p, min_p, typical_p and xtc leave at least so many
    const tl_logit_bias *logit_bias; // copied, as all of this is
    size_t n_logit_bias;
    // The chain: names with ';' between them, or "=" and letters. NULL:
    // "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature", which is "=edskypmxt".
    const char *samplers;
} tl_sampling;
TL_API tl_sampling tl_sampling_default(void); // llama.cpp's: 0.8, 40, 0.95, 0.05, the last 64 tokens, nothing else; seed 0
typedef struct tl_sampler tl_sampler;
TL_API tl_status tl_sampler_new(const tl_sampling *options, tl_sampler **out, tl_error *err); // TL_E_USAGE: out of range
// What dry's breakers and infill need: the model's vocabulary. Texts that end a repetition (NULL: "\n", ":", "\"", "*").
TL_API tl_status tl_sampler_bind(tl_sampler *s, const tl_model *m, const char *const *dry_breakers, size_t n, tl_error *err);
TL_API void tl_sampler_accept(tl_sampler *s, int32_t id); // the penalties see it
// Does not accept; NaN logits are never picked. The choice depends on the logits, what was accepted, the seed, the sequence
// and the position: how many picks there were before. -1: there is nothing to choose from.
TL_API int32_t tl_sampler_pick(tl_sampler *s, const float *logits, int64_t n);
// The same among the ids whose bit is set in mask[(n + 63) / 64] (NULL: all).
TL_API int32_t tl_sampler_pick_masked(tl_sampler *s, const float *logits, int64_t n, const uint64_t *mask);
TL_API void tl_sampler_reset(tl_sampler *s);
TL_API void tl_sampler_seek(tl_sampler *s, uint64_t position); // of the next pick
TL_API uint64_t tl_sampler_position(const tl_sampler *s);
TL_API void tl_sampler_rewind(tl_sampler *s, size_t accepted);  // forgets what was accepted after the first so many
TL_API size_t tl_sampler_accepted(const tl_sampler *s);         // how many it remembers
// A copy in its present state, for a forked sequence.
TL_API tl_status tl_sampler_fork(const tl_sampler *s, uint64_t sequence, tl_sampler **out, tl_error *err);
TL_API void tl_sampler_free(tl_sampler *s);

// Choosing where the logits are: what tl_sampler_pick_masked chooses from each row of logits of the last step, in order, by
// samplers[i] among masks[i] (NULL: all; masks NULL: no masks). On a GPU greedy choices, and chains of penalties, top_k (up to
// 256), top_p, min_p and temperature, are made there and only ids come back; others bring the logits to the host.
// ids NULL: it is only begun. tl_session_chosen waits for it; until the next choice, TL_CHOSEN(i) as a row's token stands for
// choice i, so that the next step can begin before the host knows it. *ids: -1: there was nothing to choose from (a row made of it
// has no meaning).
#define TL_CHOSEN(i) (-1 - (int32_t)(i))
TL_API tl_status tl_session_choose(tl_session *s, tl_sampler *const *samplers, const uint64_t *const *masks, int32_t *ids, tl_error *err);
TL_API tl_status tl_session_chosen(tl_session *s, int32_t *ids, tl_error *err);
// Does it pay to begin the next step before a choice is known: is the choice made on a GPU? (On the CPU it would only be wasted at the end.)
TL_API bool tl_session_chooses_ahead(const tl_session *s, const tl_sampler *sampler);

// Looking into the chain. `step` is called with "logits" and what there is to choose from, with the name of each sampler and
// what it left, and at last with "draw" and the chosen one: the `n` most probable of `left` candidates, in descending order
// (only the `most` of tl_sampler_watch). NULL: no more.
typedef struct tl_candidate {
    int32_t id;
    float logit, p;
} tl_candidate;
typedef void tl_sampler_step_fn(void *ctx, const char *sampler, const tl_candidate *items, size_t n, size_t left);
TL_API void tl_sampler_watch(tl_sampler *s, tl_sampler_step_fn *step, void *ctx, size_t most);
// The names of the chain as it was read: i from 0; NULL behind the last one. Samplers that are off are in it.
TL_API const char *tl_sampler_name(const tl_sampler *s, size_t i);

// ---- constraints -----------------------------------------------------------------------------------
// What a reply must be, as a mask over the vocabulary for the next token: docs/generation.md. A state stands for a text so
// far; it is a number, valid for its constraint, and many sequences may use one constraint. One thread at a time.
typedef struct tl_constraint tl_constraint;
typedef enum {
    TL_CONSTRAINT_GRAMMAR,     // GBNF; the rule `root`
    TL_CONSTRAINT_JSON_SCHEMA, // JSON text of a schema; what cannot be promised is TL_E_UNSUPPORTED
    TL_CONSTRAINT_REGEX,       // the whole reply matches
    TL_CONSTRAINT_CHOICES,     // one of these, on lines of their own, or between '|' in one line
    TL_CONSTRAINT_RULE,        // text of a program that says Allowed(seq, tok) <- ...; it promises each token, not the whole
    TL_CONSTRAINT_RULE_FILE,   // the same; the text is the file's path
} tl_constraint_kind;
// TL_E_FORMAT, TL_E_UNSUPPORTED, TL_E_LIMIT: what is wrong with the text. The model must outlive the constraint.
TL_API tl_status tl_constraint_new(tl_model *m, tl_constraint_kind kind, const char *text, size_t n, tl_constraint **out, tl_error *err);
TL_API void tl_constraint_free(tl_constraint *c);
TL_API uint32_t tl_constraint_start(const tl_constraint *c); // the state of the empty text; 0 is the state where nothing fits
// For tl_sampler_pick_masked; valid until the next call. End tokens are in it where the text may end, and nowhere else. Made
// when a state is first asked for, and kept. *any: something may come.
TL_API tl_status tl_constraint_mask(tl_constraint *c, uint32_t state, const uint64_t **mask, bool *any, tl_error *err);
TL_API tl_status tl_constraint_next(tl_constraint *c, uint32_t state, int32_t token, uint32_t *next, tl_error *err);
TL_API tl_status tl_constraint_next_text(tl_constraint *c, uint32_t state, const char *text, size_t n, uint32_t *next, tl_error *err);
TL_API bool tl_constraint_may_end(const tl_constraint *c, uint32_t state);
// Bytes that must come next, since nothing else can; none where the text may end. Valid until the next call.
TL_API tl_status tl_constraint_forced(tl_constraint *c, uint32_t state, const char **text, size_t *n, tl_error *err);
// Tokens of those bytes that need not be asked for: all but the last, whose place a longer one may take; at most `most`.
TL_API tl_status tl_constraint_jump(tl_constraint *c, uint32_t state, int32_t *ids, size_t most, size_t *n, tl_error *err);
// The fewest bytes that make a text whole which something has cut.
TL_API tl_status tl_constraint_shortest(tl_constraint *c, uint32_t state, const char **text, size_t *n, tl_error *err);

// ---- beam search -----------------------------------------------------------------------------------------
typedef struct tl_beam_options {
    int32_t beams;         // >= 1; the session has at least one sequence more
    int32_t groups;        // 0, 1: one; else a divisor of `beams`: each group avoids what the ones before it chose in the same step
    float diversity;       // taken from a token's log-probability for each group that chose it before (Vijayakumar et al. 2016)
    float length_penalty;  // score: log-probability / length ^ length_penalty; 0: the log-probability
    int64_t most;          // tokens of a hypothesis, >= 1
    bool ignore_end;       // end tokens are text like any other
    bool early;            // ends with as many finished hypotheses as beams, though a better one might follow
    tl_constraint *constraint;  // what hypotheses must be; may be NULL
    volatile const int *cancel; // may be NULL
} tl_beam_options;
typedef struct tl_hypothesis {
    int32_t *ids;          // without the prompt and without the end token
    size_t n;
    double log_probability, score; // of ids and, if finished, the end token
    bool finished;         // by an end token
} tl_hypothesis;
// The best hypotheses found, at most `beams`, the best first; *out is freed with tl_hypotheses_free. Greedy decoding's hypothesis is
// followed to its end, if need be in the place of the least beam, so that the best result is never worse than it (but for `early`). Sequences are forked,
// never copied. Log-probabilities are the model's, also under a constraint.
TL_API tl_status tl_beam_search(tl_session *s, const int32_t *prompt, size_t n, const tl_beam_options *o, tl_hypothesis **out, size_t *n_out,
                                tl_error *err);
TL_API void tl_hypotheses_free(tl_hypothesis *h, size_t n);

// ---- sessions on disk --------------------------------------------------------------------------------------
// Writes a sequence, its tokens and what the cache holds of them, beside `path` and then in its place: a process that dies leaves
// the old file or the new one. `note` (may be NULL): bytes of the caller's that come back from tl_session_load.
TL_API tl_status tl_session_save(const tl_session *s, int32_t seq, const char *path, const char *note, size_t n_note, tl_error *err);
// Brings it back. TL_E_FORMAT, saying why: no such file, cut, changed, of another version, model, program, adapter or cache type. TL_E_LIMIT:
// it does not fit. The sequence is as it was before unless TL_OK. *ids, *note: freed with tl_free; may be NULL.
TL_API tl_status tl_session_load(tl_session *s, int32_t seq, const char *path, int32_t **ids, size_t *n, char **note, size_t *n_note, tl_error *err);

// ---- programs ----------------------------------------------------------------------------------------
typedef struct tl_program_options {
    const char *file;            // shown in messages and the base of imports
    const char *text;            // NULL: read `file`
    size_t text_n;
    tl_engine *engine;
    tl_model *model;             // may be NULL; else `model`, `tokenizer` are predefined
    const char *prompt;          // may be NULL; else `tokens` is predefined
    const char *const *args;     // what `args` and arg("name") read: words and name=value
    size_t n_args;
    void (*print)(void *ctx, const char *text, size_t n); // what the program prints
    void *ctx;
    volatile const int *cancel;  // may be NULL; polled between statements
    bool color;                  // in messages
    int64_t max_steps;           // statements; 0: no limit. TL_E_LIMIT beyond
    size_t max_bytes;            // of the program's values; 0: no limit. TL_E_LIMIT beyond
    bool check_only;             // all diagnostics, nothing runs
    const char *dump;            // NULL, "ast", "ir", "plan": written through print
    const char *const *patches;  // NULL, or as in tl_session_options: they follow the assignments of the program
    bool nan_trap;               // TL_E_PROGRAM at the first assignment of a value that is not finite
} tl_program_options;
TL_API tl_status tl_program_run(const tl_program_options *options, tl_error *err);

// ---- tools over programs (docs/tools.md) ---------------------------------------------------------------
// The canonical text of a program; *out is malloc'ed and freed with tl_free. `text` NULL: `file` is read.
// TL_E_PROGRAM when it does not parse (the messages are in *err); `file` is what they call it.
TL_API tl_status tl_program_format(const char *file, const char *text, size_t n, char **out, size_t *out_n, tl_error *err);

// What can be known about a program without running it: problems, and what its names mean.
typedef struct tl_analysis tl_analysis;
// Succeeds for wrong programs too: their problems are what it is for. Fails for files that cannot be read.
TL_API tl_status tl_analysis_new(const char *file, const char *text, size_t n, bool color, tl_analysis **out, tl_error *err);
TL_API void tl_analysis_free(tl_analysis *a);
typedef struct tl_problem {
    bool warning;
    const char *file;                 // "" when there is no place
    int line, col, end_line, end_col; // from 1, columns in characters, the end is behind the last one; 0: no place
    const char *message, *help;       // help may be NULL
    const char *text, *json;          // as `tl check` shows it: several lines; one line of JSON
} tl_problem;
TL_API int tl_analysis_errors(const tl_analysis *a);   // all, also those beyond the list's limit
TL_API int tl_analysis_warnings(const tl_analysis *a);
TL_API bool tl_analysis_problem(const tl_analysis *a, size_t i, tl_problem *out); // false: there are not so many
typedef struct tl_name {
    const char *name, *kind;          // "function", "tensor", "dim", "index", "relation", "parameter", "builtin", ...
    const char *detail, *doc;         // its declaration in one line, with axes and sizes where known; the comment above it, or ""
    const char *file;                 // "" for builtins
    int line, col, end_line, end_col; // of the name where it is declared; 0 for builtins
} tl_name;
TL_API bool tl_analysis_at(const tl_analysis *a, int line, int col, tl_name *out);  // the name at a place of `file`
// Names that can be used at a place and begin with `prefix`, with each(ctx, name) for each.
TL_API void tl_analysis_complete(const tl_analysis *a, int line, int col, const char *prefix, void (*each)(void *ctx, const tl_name *name), void *ctx);
TL_API bool tl_analysis_symbol(const tl_analysis *a, size_t i, tl_name *out); // the file's own top-level names, in order

// Runs `test NAME { }` blocks, each in a scope of its own after the file's top level. `each` (may be NULL) hears of every
// test: message is NULL when it passed. *passed and *failed are counted. Fails if the top level does.
typedef struct tl_test_result { const char *name, *message; double seconds; int line; } tl_test_result;
TL_API tl_status tl_program_test(const tl_program_options *options, void (*each)(void *ctx, const tl_test_result *result), void *ctx,
                                 int *passed, int *failed, tl_error *err);

// How equations are computed, as text through options->print: indices and sizes, folds, contraction order and cost,
// kernels, bytes. `line` 0: all equations. The program runs (with a model: its step function is traced).
typedef enum { TL_EXPLAIN_TEXT, TL_EXPLAIN_PLAN, TL_EXPLAIN_DOT } tl_explain_form;
TL_API tl_status tl_program_explain(const tl_program_options *options, int line, tl_explain_form form, tl_error *err);

// A program that grows entry by entry. `options->file` and `text` are not used.
typedef struct tl_repl tl_repl;
TL_API tl_status tl_repl_new(const tl_program_options *options, tl_repl **out, tl_error *err); // options are copied, not what they point to
TL_API void tl_repl_free(tl_repl *r);
// Runs one entry; the value of a last expression is printed. After an error names have the values they had before.
TL_API tl_status tl_repl_enter(tl_repl *r, const char *text, size_t n, tl_error *err);
TL_API bool tl_repl_complete_entry(const char *text, size_t n); // false: a bracket is still open or the line wants to go on
TL_API tl_status tl_repl_load(tl_repl *r, const char *file, tl_error *err);                    // runs a file in the same scope
TL_API tl_status tl_repl_type(tl_repl *r, const char *text, size_t n, tl_error *err);          // prints kind and shape of an expression
TL_API tl_status tl_repl_explain(tl_repl *r, const char *text, size_t n, tl_error *err);       // runs an entry, tells how, takes it back
TL_API void tl_repl_names(tl_repl *r, const char *prefix, void (*each)(void *ctx, const char *name), void *ctx);

TL_API const char *tl_version(void);
TL_API const char *tl_build(void); // the revision of the sources, or "unknown"
#endif
