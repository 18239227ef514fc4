// builtins_sample.c - the samplers of src/run/sample*.c one by one, for programs: logits in, logits out, -1e30 where a token is
// out. std/sample.tl defines them as equations.
#include <math.h>

#include "eval/value.h"
#include "run/sample.h"
#include "run/sample_random.h"
#include "text/token.h"

static const float OUT = -1e30f;

typedef struct row { // the logits of a call, and what samplers make of them
    sample_set set;
    int rank;
    int64_t sizes[1];
    const float *x;
} row;

static float number(call *c, const char *name, int position, double otherwise) {
    double x = want_float(c->ev, named_arg(c, name, position, v_float(otherwise)), c->at, name);
    if (!isfinite(x)) ev_fail(c->ev, c->at, "%s: %s must be a finite number", c->self->name, name);
    return (float)x;
}

static row begin(call *c) { // after all other arguments: what it holds is freed in finish()
    tensor *t = want_tensor(c->ev, c->arg[0], c->at, "the logits");
    row r = {.rank = 1};
    tl_error err = {0};
    if (t->rank != 1) ev_fail(c->ev, c->at, "%s needs the logits of one row, found %d axes", c->self->name, t->rank);
    r.sizes[0] = t->ax[0].size;
    r.x = tensor_floats(c->ev, t, c->at);
    if (cpu_select(NULL, &r.set.k, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
    // What a program's samplers left out is out for the next one too.
    float *x = mem_alloc(sizeof *x * (size_t)r.sizes[0] + 1);
    if (!x) ev_fail(c->ev, c->at, "out of memory");
    for (int64_t i = 0; i < r.sizes[0]; i++) x[i] = r.x[i] <= OUT ? NAN : r.x[i];
    r.x = x;
    set_begin(&r.set, x, r.sizes[0], NULL);
    return r;
}

static value finish(call *c, row *r) {
    bool failed = r->set.failed;
    float *out = failed ? NULL : mem_alloc(sizeof *out * (size_t)r->sizes[0] + 1);
    for (int64_t i = 0; out && i < r->sizes[0]; i++) out[i] = !r->set.dense || isnan(r->set.x[i]) ? OUT : r->set.x[i];
    for (size_t i = 0; out && !r->set.dense && i < r->set.items.n; i++) out[r->set.items.p[i].id] = r->set.items.p[i].logit;
    set_free(&r->set);
    mem_free((float *)(uintptr_t)r->x);
    if (!out) ev_fail(c->ev, c->at, "out of memory");
    tensor *t = tensor_from_floats(c->ev, 1, r->sizes, out);
    mem_free(out);
    return v_of_tensor(t);
}

static value f_filter(call *c) { // samplers of one parameter
    const char *kind = c->self->name;
    float p = number(c, strcmp(kind, "top_k_logits") == 0 ? "k" : strcmp(kind, "top_n_sigma_logits") == 0 ? "n" : "p", 1, 0);
    row r = begin(c);
    if (strcmp(kind, "top_k_logits") == 0) step_top_k(&r.set, p < 2e9f ? (int32_t)p : INT32_MAX);
    else if (strcmp(kind, "top_p_logits") == 0) step_top_p(&r.set, p, 0);
    else if (strcmp(kind, "min_p_logits") == 0) step_min_p(&r.set, p, 0);
    else if (strcmp(kind, "typical_logits") == 0) step_typical(&r.set, p, 0);
    else step_top_n_sigma(&r.set, p);
    return finish(c, &r);
}

static value f_xtc(call *c) {
    float p = number(c, "probability", 1, 0), threshold = number(c, "threshold", 2, 0.1);
    double u[2];
    sample_uniform(c->ev->seed++, 0, 0, u);
    row r = begin(c);
    step_xtc(&r.set, p, threshold, 0, u[1]);
    return finish(c, &r);
}

static value f_temperature(call *c) {
    float t = number(c, "t", 1, 1), range = number(c, "range", 2, 0), exponent = number(c, "exponent", 3, 1);
    row r = begin(c);
    step_temperature(&r.set, t, range, exponent);
    return finish(c, &r);
}

// Ids from a list or tensor, in memory of the evaluator; those that are none are an error.
static int32_t *ids_of(call *c, value v, int64_t *n, const char *what) {
    if (v.kind == V_LIST && v.list->n == 0) return *n = 0, NULL;
    tensor *t = want_tensor(c->ev, v, c->at, what);
    const float *p = tensor_floats(c->ev, t, c->at);
    *n = tensor_elements(t);
    int32_t *ids = arena_array(&c->ev->dl_arena, int32_t, *n + 1);
    for (int64_t i = 0; i < *n; i++) {
        if (!(p[i] >= 0 && p[i] < 16777216)) ev_fail(c->ev, c->at, "%s: %g is no token id", c->self->name, (double)p[i]);
        ids[i] = (int32_t)p[i];
    }
    return ids;
}

static value f_penalty(call *c) {
    float repeat = number(c, "repeat", 2, 1), presence = number(c, "presence", 3, 0), frequency = number(c, "frequency", 4, 0);
    int64_t n, most = 0;
    int32_t *ids = ids_of(c, c->arg[1], &n, "the tokens");
    for (int64_t i = 0; i < n; i++) most = ids[i] > most ? ids[i] : most;
    int32_t *counts = arena_array(&c->ev->dl_arena, int32_t, most + 1);
    for (int64_t i = 0; i < n; i++) counts[ids[i]]++;
    if (repeat <= 0) ev_fail(c->ev, c->at, "penalty_logits: repeat must be above 0");
    row r = begin(c);
    step_penalties(&r.set, ids, (size_t)n, counts, repeat, frequency, presence);
    return finish(c, &r);
}

static value f_dry(call *c) {
    const dry_options o = {number(c, "multiplier", 2, 1), number(c, "base", 3, 1.75), (int32_t)number(c, "allowed_length", 4, 2)};
    int64_t n, n_breakers;
    int32_t *ids = ids_of(c, c->arg[1], &n, "the tokens");
    int32_t *breakers = ids_of(c, named_arg(c, "breakers", 5, v_list_new(c->ev)), &n_breakers, "the breakers");
    if (o.allowed_length < 0) ev_fail(c->ev, c->at, "dry_logits: allowed_length must be 0 or more");
    row r = begin(c);
    dry_state d = {0};
    for (int64_t i = 0; i < n_breakers; i++) r.set.failed |= !dry_add_breaker(&d, breakers[i], NULL, 0);
    dry_sort_breakers(&d);
    step_dry(&r.set, &d, &o, ids, (size_t)n);
    dry_free(&d);
    return finish(c, &r);
}

static value f_bias(call *c) {
    int64_t n;
    int32_t *ids = ids_of(c, c->arg[1], &n, "the tokens");
    tensor *t = want_tensor(c->ev, c->arg[2], c->at, "the biases");
    const float *p = tensor_floats(c->ev, t, c->at);
    if (tensor_elements(t) != n) ev_fail(c->ev, c->at, "bias_logits: there are %lld tokens and %lld biases", (long long)n, (long long)tensor_elements(t));
    tl_logit_bias *bias = arena_array(&c->ev->dl_arena, tl_logit_bias, n + 1);
    for (int64_t i = 0; i < n; i++) bias[i] = (tl_logit_bias){ids[i], p[i]};
    row r = begin(c);
    step_logit_bias(&r.set, bias, (size_t)n);
    return finish(c, &r);
}

static const char *text_of(void *ctx, int32_t id, size_t *n) {
    str s = id < tokenizer_size(ctx) ? tokenizer_piece(ctx, id, false) : (str){"", 0};
    return *n = s.n, s.p;
}
static bool is_end(void *ctx, int32_t id) { return id < tokenizer_size(ctx) && tokenizer_is_end(ctx, id); }

static value f_infill(call *c) {
    if (c->arg[1].kind != V_TOKENIZER) ev_fail_fix(c->ev, c->at, "load_tokenizer(model)", "infill_logits needs a tokenizer, found %s", v_names[c->arg[1].kind]);
    const sample_vocab v = {.ctx = (void *)(uintptr_t)c->arg[1].tok, .text = text_of, .is_end = is_end, .end = tokenizer_eos(c->arg[1].tok)};
    row r = begin(c);
    if (v.end >= 0 && v.end < r.sizes[0]) step_infill(&r.set, &v);
    return finish(c, &r);
}

static value f_mirostat(call *c) {
    float mu = number(c, "mu", 1, 10), tau = number(c, "tau", 2, 5), eta = number(c, "eta", 3, 0.1);
    int version = number(c, "version", 4, 2) == 1 ? 1 : 2;
    double u[2];
    sample_uniform(c->ev->seed++, 0, 0, u);
    row r = begin(c);
    int32_t id = step_mirostat(&r.set, version, tau, eta, r.sizes[0], u[0], &mu);
    finish(c, &r);
    if (id < 0) ev_fail(c->ev, c->at, "there are no logits to choose from");
    value l = v_list_new(c->ev);
    list_push(c->ev, l.list, v_int(id));
    list_push(c->ev, l.list, v_float((double)mu));
    return l;
}

const builtin builtins_sample[] = {
    {"top_k_logits", f_filter, 2, 2, "x, k", "Logits of the k most probable; the others become -1e30."},
    {"top_p_logits", f_filter, 2, 2, "x, p", "Those of the fewest that together reach p."},
    {"min_p_logits", f_filter, 2, 2, "x, p", "Those of at least p times the best one's probability."},
    {"typical_logits", f_filter, 2, 2, "x, p", "Those nearest to the entropy in surprise that together exceed p."},
    {"top_n_sigma_logits", f_filter, 2, 2, "x, n", "Those within n standard deviations of the largest logit."},
    {"xtc_logits", f_xtc, 2, 3, "x, probability, threshold=0.1", "With this probability without all but the last of those that reach the threshold."},
    {"temperature_logits", f_temperature, 2, 4, "x, t, range=0, exponent=1", "Divided by t, which moves in its range with the entropy; 0: the best alone."},
    {"penalty_logits", f_penalty, 2, 5, "x, tokens, repeat=1, presence=0, frequency=0", "With penalties for the tokens that are in the list."},
    {"dry_logits", f_dry, 2, 6, "x, tokens, multiplier=1, base=1.75, allowed_length=2, breakers=[]", "With penalties for what would lengthen a repetition of the last tokens."},
    {"bias_logits", f_bias, 3, 3, "x, tokens, biases", "With a number added to each of these tokens."},
    {"infill_logits", f_infill, 2, 2, "x, tokenizer", "Those of clear candidates for a gap, or of end tokens."},
    {"mirostat_sample", f_mirostat, 2, 5, "x, mu, tau=5, eta=0.1, version=2", "[a token, the next mu]: holds the surprise at tau bits; mu begins at 2 tau."},
    {0},
};
