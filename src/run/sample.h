// sample.h - choosing a token from logits: what the public tl_sampler_* functions and the samplers of programs share.
// All of it treats NaN as absent, and breaks ties in favour of the lower id.
#ifndef TL_RUN_SAMPLE_H
#define TL_RUN_SAMPLE_H
#include "base/base.h"
#include "cpu/kernels.h"
#include "cuda/cuda.h"

typedef struct sample_item {
    float logit;
    int32_t id;
} sample_item;

// The id of the largest of n logits; -1 when all are NaN (or n is 0).
int32_t sample_argmax(const float *logits, int64_t n);
// The k largest, in descending order, into out[k]. Returns how many there are: less than k only if n is, or NaNs are.
// Reads the logits twice at most and sorts few more than k. TL_E_MEMORY.
tl_status sample_top_k(const float *logits, int64_t n, int64_t k, sample_item *out, int64_t *found, tl_error *err);
// log(sum(exp(logits))) in double, for the probabilities of print_top_k; -inf when all are NaN or -inf.
double sample_log_sum(const float *logits, int64_t n);

// ---- sample_set.c: candidates -----------------------------------------------------------------------
typedef struct candidate {
    float key;   // what selection goes by, the larger the earlier: the logit, but for typical_p
    int32_t id;
    float logit;
    float weight; // exp(logit - the set's largest); valid where a function says so
} candidate;

// What may still be chosen. At first all of a row of logits, looked at in place (`dense`); a list once a sampler has thinned
// it out. Memory is kept from one row to the next. `failed`: out of memory, the set is not what it should be.
typedef struct sample_set {
    const float *x; // [n], while dense
    int64_t n;
    bool dense, sorted, failed; // sorted: the list descends
    VEC(candidate) items;
    VEC(float) own;          // the copy of x that samplers change
    VEC(float) maxima, spare; // of blocks of x
    VEC(float) sums, dots;
    const cpu_kernels *k;
} sample_set;

void set_free(sample_set *s);
// mask: ids whose bit is not set are left out; may be NULL.
void set_begin(sample_set *s, const float *logits, int64_t n, const uint64_t *mask);
int64_t set_count(const sample_set *s);
int64_t set_count_from(sample_set *s, double least); // logits not below `least`
bool set_largest(sample_set *s, float *max); // false: empty. If it is infinite, only those that equal it stay, with logit 0
float *set_find(sample_set *s, int32_t id);  // its logit, to be changed; NULL: not in the set
void set_changed(sample_set *s);             // after changes through set_find
void set_scale(sample_set *s, float factor);
void set_sort(sample_set *s);                // a list, descending
void set_weights(sample_set *s);             // a list with weights
void set_keep_best(sample_set *s, int64_t k);
void set_keep_from(sample_set *s, float least, int64_t min_keep); // logits not below `least`
// sum(exp(logit - max)) and, if wanted, sum(exp(logit - max) (logit - max)).
double set_total(sample_set *s, float max, double *dot);
// The fewest in the order of |logit - center| (center NAN: of descending logits) whose weights together reach `target`, or
// exceed it if `strict`.
void set_keep_mass(sample_set *s, float max, float center, double target, bool strict, int64_t min_keep);
void set_drop_best(sample_set *s, int64_t k); // of a set where more than k are
int32_t set_draw(sample_set *s, double u, double *p); // by weight; p (may be NULL): its probability

// ---- sample_steps.c: the samplers ------------------------------------------------------------------
void step_top_k(sample_set *s, int32_t k);
void step_top_p(sample_set *s, float p, int64_t min_keep);
void step_min_p(sample_set *s, float p, int64_t min_keep);
void step_typical(sample_set *s, float p, int64_t min_keep);
void step_top_n_sigma(sample_set *s, float n);
void step_xtc(sample_set *s, float probability, float threshold, int64_t min_keep, double chance); // chance: in [0, 1)
void step_temperature(sample_set *s, float t, float range, float exponent);
void step_logit_bias(sample_set *s, const tl_logit_bias *bias, size_t n);
// counts[id] of the ids in tokens[n], which may repeat; all counts are positive, and as they were afterwards.
void step_penalties(sample_set *s, const int32_t *tokens, size_t n, int32_t *counts, float repeat, float frequency, float presence);
int32_t step_mirostat(sample_set *s, int version, float tau, float eta, int64_t n_vocab, double u, float *mu); // the choice

// ---- sample_dry.c ------------------------------------------------------------------------------------
typedef struct dry_breaker { // a token that begins a breaker, and the tokens after it
    int32_t head;
    uint32_t first, n; // tail[first .. first + n)
} dry_breaker;
typedef struct dry_repeat {
    int32_t id, length;
} dry_repeat;
typedef struct dry_state { // zero-initialise
    VEC(dry_breaker) breakers; // sorted by head
    VEC(int32_t) tail, lengths;
    VEC(dry_repeat) repeats;
} dry_state;
typedef struct dry_options {
    float multiplier, base;
    int32_t allowed_length;
} dry_options;
void dry_free(dry_state *d);
bool dry_add_breaker(dry_state *d, int32_t head, const int32_t *tail, size_t n); // false: out of memory
void dry_sort_breakers(dry_state *d);
void step_dry(sample_set *s, dry_state *d, const dry_options *o, const int32_t *tokens, size_t n);

// ---- sample_infill.c ---------------------------------------------------------------------------------
typedef struct sample_vocab { // of the model
    void *ctx;
    const char *(*text)(void *ctx, int32_t id, size_t *n);
    bool (*is_end)(void *ctx, int32_t id);
    int32_t end; // what ends a reply: EOT, else EOS
} sample_vocab;
void step_infill(sample_set *s, const sample_vocab *v);

// ---- sample_chain.c ----------------------------------------------------------------------------------
typedef enum sampler_kind {
#define SAMPLER(id, name, letter, more) SAMPLER_##id,
#include "run/samplers.def"
#undef SAMPLER
    SAMPLER_KINDS
} sampler_kind;
enum { CHAIN_MOST = 32 };
const char *sampler_kind_name(sampler_kind k);
// Names or letters (after '='), see tl_sampling.samplers; NULL: the default. A sampler may come more than once.
tl_status chain_parse(const char *text, sampler_kind *out, size_t *n, tl_error *err);

// The next pick as a device makes it (x and mask are the caller's): greedy, or a chain of penalties, top_k, top_p, min_p and
// temperature in which top_k thins out first. False: only tl_sampler_pick can; nothing has changed. Else the pick is made as
// far as the sampler is concerned. out->edits is valid until the sampler is used again.
bool sampler_device_choice(tl_sampler *s, int64_t n, cuda_choice *out);
bool sampler_device_can(const tl_sampler *s, int64_t n);
void sampler_set_vocab(tl_sampler *s, const sample_vocab *v);
dry_state *sampler_dry(tl_sampler *s);
bool sampler_dry_on(const tl_sampler *s);
#endif
