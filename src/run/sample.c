// sample.c - see sample.h and the sampling part of tensorlogic.h: a sampler's options, its memory and its chain.
#include "run/sample.h"

#include <math.h>

#include "cuda/sample.h"
#include "run/sample_random.h"

enum { MAX_ID = 1 << 24 };

struct tl_sampler {
    tl_sampling o;
    sampler_kind chain[CHAIN_MOST];
    size_t n_chain;
    tl_logit_bias *bias;
    uint64_t position;
    float mu;             // of mirostat
    VEC(int32_t) history; // all that was accepted, where a sampler looks back
    VEC(int32_t) counts;  // of each id among the last penalty_last_n
    sample_set set;
    dry_state dry;
    sample_vocab vocab;
    tl_sampler_step_fn *step;
    void *step_ctx;
    size_t step_most;
    VEC(tl_candidate) shown;
    VEC(cuda_edit) edits; // of a choice that a device makes
};

// ---- rows without a sampler --------------------------------------------------------------------------
static const cpu_kernels *kernels(void) {
    const cpu_kernels *k = NULL;
    if (cpu_select(NULL, &k, NULL) != TL_OK) cpu_select("ref", &k, NULL); // a wrong TL_CPU is told elsewhere
    return k;
}

int32_t sample_argmax(const float *logits, int64_t n) {
    float best = NAN;
    int32_t at = -1;
    for (int64_t i = 0; i < n; i += 4096) { // the maximum of a stretch first: most have nothing new
        float maxima[4096 / CPU_BLOCK], top = -INFINITY;
        int64_t m = n - i < 4096 ? n - i : 4096;
        kernels()->block_maxima(logits + i, maxima, m);
        for (int64_t b = 0; b * CPU_BLOCK < m; b++) top = maxima[b] > top ? maxima[b] : top;
        if (at >= 0 && !(top > best)) continue;
        for (int64_t j = i; j < i + m; j++)
            if (at < 0 ? !isnan(logits[j]) : logits[j] > best) best = logits[j], at = (int32_t)j;
    }
    return at;
}

tl_status sample_top_k(const float *logits, int64_t n, int64_t k, sample_item *out, int64_t *found, tl_error *err) {
    sample_set s = {.k = kernels()};
    set_begin(&s, logits, n, NULL);
    if (k > 0 && n > 0) set_keep_best(&s, k < n ? k : n);
    *found = s.failed ? 0 : (int64_t)s.items.n;
    for (int64_t i = 0; i < *found; i++) out[i] = (sample_item){s.items.p[i].logit, s.items.p[i].id};
    bool failed = s.failed;
    set_free(&s);
    return !failed ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory while choosing the %lld largest", (long long)k);
}

double sample_log_sum(const float *logits, int64_t n) {
    int32_t best = sample_argmax(logits, n);
    double max = best < 0 ? -INFINITY : (double)logits[best], sum = 0;
    if (isinf(max)) return max;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(logits[i])) sum += exp((double)logits[i] - max);
    return max + log(sum);
}

// ---- options -----------------------------------------------------------------------------------------
tl_sampling tl_sampling_default(void) {
    return (tl_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1,
                         .penalty_last_n = 64, .typical_p = 1, .xtc_threshold = 0.1f, .dynatemp_exponent = 1,
                         .dry_base = 1.75f, .dry_allowed_length = 2, .dry_penalty_last_n = -1, .mirostat_tau = 5,
                         .mirostat_eta = 0.1f};
}

// Every number with its bounds, which are allowed.
static tl_status check_numbers(const tl_sampling *o, tl_error *err) {
    const struct {
        const char *name;
        double x, low, high;
    } rows[] = {
        {"temperature", (double)o->temperature, -1e9, 1e9}, {"top_k", o->top_k, 0, INT32_MAX},
        {"top_p", (double)o->top_p, 0, 1}, {"min_p", (double)o->min_p, 0, 1}, {"typical_p", (double)o->typical_p, 0, 1},
        {"repeat_penalty", (double)o->repeat_penalty, 1e-6, 1e6}, {"presence_penalty", (double)o->presence_penalty, -1e6, 1e6},
        {"frequency_penalty", (double)o->frequency_penalty, -1e6, 1e6}, {"penalty_last_n", o->penalty_last_n, -1, INT32_MAX},
        {"top_n_sigma", (double)o->top_n_sigma, -1e9, 1e9}, {"xtc_probability", (double)o->xtc_probability, 0, 1},
        {"xtc_threshold", (double)o->xtc_threshold, 0, 1}, {"dynatemp_range", (double)o->dynatemp_range, 0, 1e9},
        {"dynatemp_exponent", (double)o->dynatemp_exponent, -1e9, 1e9}, {"dry_multiplier", (double)o->dry_multiplier, 0, 1e6},
        {"dry_base", (double)o->dry_base, 0, 1e6}, {"dry_allowed_length", o->dry_allowed_length, 0, INT32_MAX},
        {"dry_penalty_last_n", o->dry_penalty_last_n, -1, INT32_MAX}, {"mirostat", o->mirostat, 0, 2},
        {"mirostat_tau", (double)o->mirostat_tau, 0, 1e6}, {"mirostat_eta", (double)o->mirostat_eta, 0, 1e6},
        {"min_keep", o->min_keep, 0, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!(rows[i].x >= rows[i].low && rows[i].x <= rows[i].high))
            return err_set(err, TL_E_USAGE, "%s must be between %g and %g, not %g", rows[i].name, rows[i].low, rows[i].high, rows[i].x);
    for (size_t i = 0; i < o->n_logit_bias; i++)
        if (isnan(o->logit_bias[i].bias) || o->logit_bias[i].bias == INFINITY || o->logit_bias[i].id < 0)
            return err_set(err, TL_E_USAGE, "a logit bias is a number or -inf for a token's id, not %g for %d",
                           (double)o->logit_bias[i].bias, o->logit_bias[i].id);
    return TL_OK;
}

static tl_status no_memory(tl_error *err) { return err_set(err, TL_E_MEMORY, "out of memory"); }

tl_status tl_sampler_new(const tl_sampling *options, tl_sampler **out, tl_error *err) {
    tl_sampling o = options ? *options : tl_sampling_default();
    *out = NULL;
    TL_TRY(check_numbers(&o, err));
    tl_sampler *s = mem_calloc(1, sizeof *s);
    if (!s) return no_memory(err);
    s->o = o;
    tl_status status = chain_parse(o.samplers, s->chain, &s->n_chain, err);
    if (status == TL_OK && o.n_logit_bias) {
        size_t bytes;
        s->bias = size_mul(o.n_logit_bias, sizeof *s->bias, &bytes) ? mem_alloc(bytes) : NULL;
        if (s->bias) memcpy(s->bias, o.logit_bias, bytes);
        else status = no_memory(err);
    }
    s->o.logit_bias = s->bias;
    s->o.samplers = NULL; // the caller's; read already
    s->set.k = kernels();
    tl_sampler_reset(s);
    if (status == TL_OK) *out = s;
    else tl_sampler_free(s);
    return status;
}

void tl_sampler_free(tl_sampler *s) {
    if (!s) return;
    vec_free(&s->history), vec_free(&s->counts), vec_free(&s->shown), vec_free(&s->edits);
    set_free(&s->set);
    dry_free(&s->dry);
    mem_free(s->bias);
    mem_free(s);
}

void tl_sampler_reset(tl_sampler *s) {
    s->position = 0;
    s->mu = 2 * s->o.mirostat_tau;
    s->history.n = s->counts.n = 0;
}

const char *tl_sampler_name(const tl_sampler *s, size_t i) { return i < s->n_chain ? sampler_kind_name(s->chain[i]) : NULL; }
void tl_sampler_seek(tl_sampler *s, uint64_t position) { s->position = position; }
uint64_t tl_sampler_position(const tl_sampler *s) { return s->position; }
void sampler_set_vocab(tl_sampler *s, const sample_vocab *v) { s->vocab = *v; }
dry_state *sampler_dry(tl_sampler *s) { return &s->dry; }

void tl_sampler_watch(tl_sampler *s, tl_sampler_step_fn *step, void *ctx, size_t most) {
    s->step = step;
    s->step_ctx = ctx;
    s->step_most = most;
}

// ---- what was said -----------------------------------------------------------------------------------
static bool penalties_on(const tl_sampling *o) {
    return o->penalty_last_n != 0 && (o->repeat_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0);
}
static bool dry_on(const tl_sampling *o) { return o->dry_multiplier != 0 && o->dry_base >= 1 && o->dry_penalty_last_n != 0; }

bool sampler_dry_on(const tl_sampler *s) { return dry_on(&s->o); }

// The last n tokens (-1: all) of a history of `size`.
static size_t last(size_t size, int32_t n) { return n < 0 || (size_t)n > size ? size : (size_t)n; }

// Without memory the token is not seen; there is nobody to tell, and a weaker penalty is no wrong result.
void tl_sampler_accept(tl_sampler *s, int32_t id) {
    if ((!penalties_on(&s->o) && !dry_on(&s->o)) || id < 0 || id >= MAX_ID) return;
    if (!vec_reserve(&s->counts, (size_t)id + 1)) return;
    while (s->counts.n <= (size_t)id) s->counts.p[s->counts.n++] = 0;
    if (!vec_push(&s->history, id)) return;
    s->counts.p[id]++;
    if (s->o.penalty_last_n >= 0 && s->history.n > (size_t)s->o.penalty_last_n)
        s->counts.p[s->history.p[s->history.n - 1 - (size_t)s->o.penalty_last_n]]--;
}

size_t tl_sampler_accepted(const tl_sampler *s) { return s->history.n; }

void tl_sampler_rewind(tl_sampler *s, size_t accepted) {
    if (accepted >= s->history.n) return;
    for (size_t i = 0; i < s->counts.n; i++) s->counts.p[i] = 0;
    s->history.n = accepted;
    for (size_t i = accepted - last(accepted, s->o.penalty_last_n); i < accepted; i++) s->counts.p[s->history.p[i]]++;
}

#define COPY(to, from) (vec_reserve(&(to), (from).n) && ((from).n == 0 || memcpy((to).p, (from).p, sizeof *(to).p * (from).n)) && (((to).n = (from).n), true))

tl_status tl_sampler_fork(const tl_sampler *s, uint64_t sequence, tl_sampler **out, tl_error *err) {
    tl_sampler *copy;
    TL_TRY(tl_sampler_new(&s->o, &copy, err));
    copy->n_chain = s->n_chain;
    memcpy(copy->chain, s->chain, sizeof s->chain);
    copy->o.sequence = sequence;
    copy->position = s->position;
    copy->mu = s->mu;
    copy->vocab = s->vocab;
    bool ok = COPY(copy->history, s->history) && COPY(copy->counts, s->counts) && COPY(copy->dry.breakers, s->dry.breakers) &&
              COPY(copy->dry.tail, s->dry.tail);
    if (ok) return *out = copy, TL_OK;
    tl_sampler_free(copy);
    *out = NULL;
    return no_memory(err);
}

// ---- the chain ---------------------------------------------------------------------------------------
static void show(tl_sampler *s, const char *name) {
    sample_set *set = &s->set;
    float max;
    s->shown.n = 0;
    if (!s->step || !set_largest(set, &max)) return;
    size_t left = (size_t)set_count(set), n = left < s->step_most ? left : s->step_most;
    double total = set_total(set, max, NULL);
    sample_set top = {.k = set->k, .x = set->x, .n = set->n, .dense = set->dense};
    for (size_t i = 0; i < set->items.n && !set->dense; i++) top.failed |= !vec_push(&top.items, set->items.p[i]);
    if (n) set_keep_best(&top, (int64_t)n);
    for (size_t i = 0; i < top.items.n && !top.failed; i++) {
        const candidate *c = &top.items.p[i];
        tl_candidate item = {c->id, c->logit, (float)(exp((double)c->logit - (double)max) / total)};
        if (!vec_push(&s->shown, item)) break;
    }
    set_free(&top);
    s->step(s->step_ctx, name, s->shown.p, s->shown.n, left);
}

static void run_step(tl_sampler *s, sampler_kind kind, double chance) {
    const tl_sampling *o = &s->o;
    sample_set *set = &s->set;
    const int32_t *end = s->history.p + s->history.n;
    switch (kind) {
    case SAMPLER_PENALTIES: {
        size_t n = last(s->history.n, o->penalty_last_n);
        if (penalties_on(o) && n) step_penalties(set, end - n, n, s->counts.p, o->repeat_penalty, o->frequency_penalty, o->presence_penalty);
        break;
    }
    case SAMPLER_DRY: {
        size_t n = last(s->history.n, o->dry_penalty_last_n);
        const dry_options d = {o->dry_multiplier, o->dry_base, o->dry_allowed_length};
        if (dry_on(o) && n) step_dry(set, &s->dry, &d, end - n, n);
        break;
    }
    case SAMPLER_TOP_N_SIGMA: step_top_n_sigma(set, o->top_n_sigma); break;
    case SAMPLER_TOP_K: step_top_k(set, o->top_k); break;
    case SAMPLER_TYPICAL: step_typical(set, o->typical_p, o->min_keep); break;
    case SAMPLER_TOP_P: step_top_p(set, o->top_p, o->min_keep); break;
    case SAMPLER_MIN_P: step_min_p(set, o->min_p, o->min_keep); break;
    case SAMPLER_XTC: step_xtc(set, o->xtc_probability, o->xtc_threshold, o->min_keep, chance); break;
    case SAMPLER_INFILL: step_infill(set, &s->vocab); break;
    case SAMPLER_TEMPERATURE: step_temperature(set, o->temperature, o->dynatemp_range, o->dynatemp_exponent); break;
    case SAMPLER_KINDS: break;
    }
}

static int32_t draw(tl_sampler *s, double u) {
    if (s->o.mirostat) {
        step_temperature(&s->set, s->o.temperature, 0, 1);
        show(s, "temperature");
        return step_mirostat(&s->set, s->o.mirostat, s->o.mirostat_tau, s->o.mirostat_eta, s->set.n, u, &s->mu);
    }
    return set_draw(&s->set, u, NULL);
}

// Greedy, and whatever else the chain does, the best one stays: nothing need be thinned out.
static bool only_best(const tl_sampler *s) {
    const tl_sampling *o = &s->o;
    bool cold = false, late = false;
    if (o->temperature > 0 || o->dynatemp_range > 0 || o->mirostat || s->step) return false;
    if (o->xtc_probability > 0 || (o->typical_p > 0 && o->typical_p < 1)) return false;
    for (size_t i = 0; i < s->n_chain; i++) {
        if (s->chain[i] == SAMPLER_INFILL) return false;
        cold |= s->chain[i] == SAMPLER_TEMPERATURE;
        late |= cold && (s->chain[i] == SAMPLER_PENALTIES || s->chain[i] == SAMPLER_DRY);
    }
    return cold && !late;
}

static int32_t best_of(const sample_set *s) {
    if (s->dense) return sample_argmax(s->x, s->n);
    const candidate *best = NULL;
    for (size_t i = 0; i < s->items.n; i++) {
        const candidate *c = &s->items.p[i];
        if (!best || c->logit > best->logit || (c->logit == best->logit && c->id < best->id)) best = c;
    }
    return best ? best->id : -1;
}

static int32_t pick_best(tl_sampler *s) {
    for (size_t i = 0; i < s->n_chain; i++)
        if (s->chain[i] == SAMPLER_PENALTIES || s->chain[i] == SAMPLER_DRY) run_step(s, s->chain[i], 0);
    return best_of(&s->set);
}

static int32_t pick(tl_sampler *s) {
    double u[2];
    sample_uniform(s->o.seed, s->o.sequence, s->position++, u);
    step_logit_bias(&s->set, s->bias, s->o.n_logit_bias);
    if (only_best(s)) return pick_best(s);
    show(s, "logits");
    for (size_t i = 0; i < s->n_chain && !s->o.mirostat; i++) {
        run_step(s, s->chain[i], u[1]);
        show(s, sampler_kind_name(s->chain[i]));
    }
    return draw(s, u[0]);
}

// Out of memory: the most probable of those allowed is never wrong.
static int32_t plain_best(const float *logits, int64_t n, const uint64_t *mask) {
    int32_t best = -1;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(logits[i]) || (mask && !(mask[i / 64] >> (i % 64) & 1))) continue;
        if (best < 0 || logits[i] > logits[best]) best = (int32_t)i;
    }
    return best;
}

int32_t tl_sampler_pick_masked(tl_sampler *s, const float *logits, int64_t n, const uint64_t *mask) {
    if (n <= 0) return -1;
    set_begin(&s->set, logits, n, mask);
    int32_t id = s->set.failed ? -1 : pick(s);
    if (s->set.failed) id = plain_best(logits, n, mask);
    if (s->step && id >= 0) s->step(s->step_ctx, "draw", &(tl_candidate){id, logits[id], 1}, 1, 1);
    return id;
}

int32_t tl_sampler_pick(tl_sampler *s, const float *logits, int64_t n) { return tl_sampler_pick_masked(s, logits, n, NULL); }

// ---- choices on a device -----------------------------------------------------------------------------
// The part of a chain that a device goes through: penalties, then what thins out behind top_k. False: there is more to it.
static bool device_chain(const tl_sampler *s, cuda_choice *out) {
    const tl_sampling *o = &s->o;
    bool thinned = false;
    *out = (cuda_choice){.min_keep = o->min_keep, .repeat = o->repeat_penalty, .frequency = o->frequency_penalty, .presence = o->presence_penalty};
    for (size_t i = 0; i < s->n_chain; i++) {
        sample_op op = SAMPLE_SCALE;
        float value = 0;
        switch (s->chain[i]) {
        case SAMPLER_PENALTIES:
            if (penalties_on(o) && thinned) return false;
            continue;
        case SAMPLER_TOP_K:
            if (o->top_k <= 0 || thinned) return false;
            out->k = o->top_k;
            thinned = true;
            continue;
        case SAMPLER_DRY: if (dry_on(o)) return false; continue;
        case SAMPLER_TOP_N_SIGMA: if (o->top_n_sigma > 0) return false; continue;
        case SAMPLER_TYPICAL: if (o->typical_p > 0 && o->typical_p < 1) return false; continue;
        case SAMPLER_XTC: if (o->xtc_probability > 0) return false; continue;
        case SAMPLER_TOP_P:
            if (o->top_p >= 1) continue;
            op = SAMPLE_TOP_P, value = o->top_p;
            break;
        case SAMPLER_MIN_P:
            if (o->min_p <= 0) continue;
            op = SAMPLE_MIN_P, value = logf(o->min_p);
            break;
        case SAMPLER_TEMPERATURE:
            if (o->temperature <= 0 || o->dynatemp_range > 0) return false;
            if (o->temperature == 1) continue;
            value = 1 / o->temperature;
            break;
        default: return false;
        }
        if (!thinned || out->n_ops == SAMPLE_OPS) return false;
        out->op[out->n_ops].kind = (int32_t)op, out->op[out->n_ops++].value = value;
    }
    return thinned;
}

// Greedy: dry would have to be computed here.
static bool device_can(const tl_sampler *s, int64_t n, cuda_choice *out) {
    size_t penalties = 0;
    for (size_t i = 0; i < s->n_chain; i++) penalties += s->chain[i] == SAMPLER_PENALTIES;
    if (s->step || s->o.mirostat || penalties > 1) return false;
    if (!only_best(s)) return device_chain(s, out) && sample_fits(n, out->k);
    *out = (cuda_choice){.k = 1, .repeat = s->o.repeat_penalty, .frequency = s->o.frequency_penalty, .presence = s->o.presence_penalty};
    return !dry_on(&s->o) && sample_fits(n, 1);
}

bool sampler_device_can(const tl_sampler *s, int64_t n) {
    cuda_choice c;
    return device_can(s, n, &c);
}

static bool in_chain(const tl_sampler *s, sampler_kind kind) {
    for (size_t i = 0; i < s->n_chain; i++)
        if (s->chain[i] == kind) return true;
    return false;
}

// The ids among the last tokens, each once.
static bool said_edits(tl_sampler *s) {
    size_t n = last(s->history.n, s->o.penalty_last_n);
    const int32_t *tokens = s->history.p + s->history.n - n;
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokens[i], count = s->counts.p[id];
        if (count <= 0) continue;
        s->counts.p[id] = -count; // done; as step_penalties
        ok &= vec_push(&s->edits, ((cuda_edit){.id = id, .count = count}));
    }
    for (size_t i = 0; i < n; i++)
        if (s->counts.p[tokens[i]] < 0) s->counts.p[tokens[i]] = -s->counts.p[tokens[i]];
    return ok;
}

bool sampler_device_choice(tl_sampler *s, int64_t n, cuda_choice *out) {
    if (!device_can(s, n, out)) return false;
    s->edits.n = 0;
    for (size_t i = 0; i < s->o.n_logit_bias; i++) {
        const tl_logit_bias *b = &s->bias[i];
        if (!vec_push(&s->edits, ((cuda_edit){.id = b->id, .bias = b->bias == -INFINITY ? NAN : b->bias}))) return false;
    }
    out->n_bias = s->edits.n;
    if (penalties_on(&s->o) && in_chain(s, SAMPLER_PENALTIES) && !said_edits(s)) return false;
    out->n_said = s->edits.n - out->n_bias;
    out->edits = s->edits.p;
    double u[2];
    sample_uniform(s->o.seed, s->o.sequence, s->position++, u);
    out->u = u[0];
    return true;
}
