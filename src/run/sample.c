// sample.c - see sample.h and the sampling part of tensorlogic.h. Meanings as tensorlogic.h says.
//
// A vocabulary has up to 262,144 entries and a token should not pay for sorting them. Largest-k selection first takes
// the maximum of every block of 64 logits: the k-th largest of those maxima is a lower bound of the k-th largest logit, so
// only blocks that reach it are looked at again, and only a little more than k items are sorted.
#include "run/sample.h"
#include <math.h>

enum { BLOCK = 64, MAX_ID = 1 << 24 };

// ---- plain selection ---------------------------------------------------------------------------
// Sixteen running maxima without a dependence between them. `v > m` is false for NaN.
static float block_max(const float *x, int64_t n) {
    float lane[16], best = -INFINITY;
    for (int j = 0; j < 16; j++) lane[j] = -INFINITY;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j];
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    for (int j = 0; j < 16; j++) best = lane[j] > best ? lane[j] : best;
    return best;
}

int32_t sample_argmax(const float *logits, int64_t n) {
    float best = block_max(logits, n);
    for (int64_t i = 0; i < n; i++)
        if (logits[i] == best) return (int32_t)i; // also when all are -inf
    return -1;
}

static int descending(const void *a, const void *b) {
    const sample_item *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

// The k-th largest (k >= 1) of n numbers without NaN, whose order is lost: quickselect with the median of three.
static float kth_largest(float *x, int64_t n, int64_t k) {
    int64_t low = 0, high = n - 1;
    while (low < high) {
        float a = x[low], b = x[(low + high) / 2], c = x[high];
        float pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t i = low, j = high;
        while (i <= j) {
            while (x[i] > pivot) i++;
            while (x[j] < pivot) j--;
            if (i > j) break;
            float t = x[i];
            x[i++] = x[j], x[j--] = t;
        }
        if (k - 1 <= j) high = j;
        else if (k - 1 >= i) low = i;
        else return pivot;
    }
    return x[low];
}

// Buffers of one selection, kept by a sampler from token to token so that a pick allocates only once.
typedef struct scratch {
    VEC(float) maxima, spare;
    VEC(sample_item) items;
} scratch;

static void scratch_free(scratch *s) { vec_free(&s->maxima), vec_free(&s->spare), vec_free(&s->items); }

// Everything not below `least`, in id order. `maxima` (may be NULL): of the blocks.
static bool collect(scratch *s, const float *x, int64_t n, float least, const float *maxima) {
    s->items.n = 0;
    for (int64_t from = 0; from < n; from += BLOCK) {
        if (maxima && maxima[from / BLOCK] < least) continue;
        if (!vec_reserve(&s->items, s->items.n + BLOCK)) return false;
        int64_t to = from + BLOCK < n ? from + BLOCK : n;
        for (int64_t i = from; i < to; i++)
            if (x[i] >= least) s->items.p[s->items.n++] = (sample_item){x[i], (int32_t)i};
    }
    return true;
}

// s->items becomes the k largest, descending.
static bool select_largest(scratch *s, const float *x, int64_t n, int64_t k) {
    int64_t blocks = (n + BLOCK - 1) / BLOCK;
    float least = -INFINITY;
    s->maxima.n = s->spare.n = 0;
    if (!vec_reserve(&s->maxima, (size_t)blocks) || !vec_reserve(&s->spare, (size_t)blocks)) return false;
    for (int64_t b = 0; b < blocks; b++)
        s->maxima.p[b] = block_max(x + b * BLOCK, b * BLOCK + BLOCK < n ? BLOCK : n - b * BLOCK);
    if (k <= blocks) {
        memcpy(s->spare.p, s->maxima.p, sizeof(float) * (size_t)blocks);
        least = kth_largest(s->spare.p, blocks, k);
    }
    if (!collect(s, x, n, least, s->maxima.p)) return false;
    if (s->items.n > 1) qsort(s->items.p, s->items.n, sizeof *s->items.p, descending);
    if ((int64_t)s->items.n > k) s->items.n = (size_t)k;
    return true;
}

tl_status sample_top_k(const float *logits, int64_t n, int64_t k, sample_item *out, int64_t *found, tl_error *err) {
    scratch s = {0};
    bool ok = k <= 0 || n <= 0 || select_largest(&s, logits, n, k < n ? k : n);
    if (ok && s.items.n) memcpy(out, s.items.p, sizeof *out * s.items.n);
    *found = (int64_t)s.items.n;
    scratch_free(&s);
    return ok ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory while choosing the %lld largest", (long long)k);
}

// exp((x - max) / temperature); the largest counts 1 even when it is infinite, NaN counts 0.
static double weight(float x, float max, float scale) {
    if (x == max) return 1;
    float e = expf((x - max) * scale);
    return e > 0 ? (double)e : 0;
}

double sample_log_sum(const float *logits, int64_t n) {
    float max = block_max(logits, n);
    double sum = 0;
    if (isinf(max)) return max;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(logits[i])) sum += exp((double)logits[i] - (double)max);
    return max + log(sum);
}

// ---- sampler -----------------------------------------------------------------------------------
struct tl_sampler {
    tl_sampling o;
    uint64_t state;
    VEC(int32_t) history; // the last penalty_last_n tokens; from `oldest` on, in a ring, when that many have come
    size_t oldest;
    VEC(int32_t) counts;  // of each id in the history
    VEC(float) adjusted;  // logits with penalties
    scratch s;
};

tl_sampling tl_sampling_default(void) {
    return (tl_sampling){.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .repeat_penalty = 1,
                         .penalty_last_n = 64};
}

static tl_status check_options(const tl_sampling *o, tl_error *err) {
    if (!isfinite(o->temperature)) return err_set(err, TL_E_USAGE, "temperature must be a finite number");
    if (o->top_k < 0) return err_set(err, TL_E_USAGE, "top_k must be 0 (off) or more, not %d", o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1)) return err_set(err, TL_E_USAGE, "top_p must be above 0 and at most 1, not %g", (double)o->top_p);
    if (!(o->min_p >= 0 && o->min_p <= 1)) return err_set(err, TL_E_USAGE, "min_p must be between 0 and 1, not %g", (double)o->min_p);
    if (!(o->repeat_penalty > 0) || isinf(o->repeat_penalty))
        return err_set(err, TL_E_USAGE, "repeat_penalty must be above 0, not %g", (double)o->repeat_penalty);
    if (!isfinite(o->presence_penalty) || !isfinite(o->frequency_penalty))
        return err_set(err, TL_E_USAGE, "presence_penalty and frequency_penalty must be finite numbers");
    if (o->penalty_last_n < -1) return err_set(err, TL_E_USAGE, "penalty_last_n must be -1 (all), 0 (off) or more");
    return TL_OK;
}

tl_status tl_sampler_new(const tl_sampling *options, tl_sampler **out, tl_error *err) {
    tl_sampling o = options ? *options : tl_sampling_default();
    *out = NULL;
    TL_TRY(check_options(&o, err));
    tl_sampler *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(err, TL_E_MEMORY, "out of memory");
    s->o = o;
    s->state = o.seed;
    *out = s;
    return TL_OK;
}

void tl_sampler_free(tl_sampler *s) {
    if (!s) return;
    vec_free(&s->history), vec_free(&s->counts), vec_free(&s->adjusted);
    scratch_free(&s->s);
    mem_free(s);
}

void tl_sampler_reset(tl_sampler *s) {
    s->state = s->o.seed;
    s->history.n = s->oldest = s->counts.n = 0;
}

static bool penalties_on(const tl_sampling *o) {
    return o->penalty_last_n != 0 && (o->repeat_penalty != 1 || o->presence_penalty != 0 || o->frequency_penalty != 0);
}

// Without memory the token is not seen; there is nobody to tell, and a weaker penalty is no wrong result.
void tl_sampler_accept(tl_sampler *s, int32_t id) {
    if (!penalties_on(&s->o) || id < 0 || id >= MAX_ID) return;
    if (!vec_reserve(&s->counts, (size_t)id + 1)) return;
    while (s->counts.n <= (size_t)id) s->counts.p[s->counts.n++] = 0;
    if (s->o.penalty_last_n > 0 && s->history.n == (size_t)s->o.penalty_last_n) {
        s->counts.p[s->history.p[s->oldest]]--;
        s->history.p[s->oldest] = id;
        s->oldest = (s->oldest + 1) % s->history.n;
    } else if (!vec_push(&s->history, id)) {
        return;
    }
    s->counts.p[id]++;
}

// The usual rule: the repetition penalty divides a positive logit and multiplies another; the two others are taken off,
// one for each occurrence and one for there being any.
static const float *apply_penalties(tl_sampler *s, const float *logits, int64_t n) {
    const tl_sampling *o = &s->o;
    if (!penalties_on(o) || !s->history.n || !vec_reserve(&s->adjusted, (size_t)n)) return logits;
    float *x = s->adjusted.p;
    memcpy(x, logits, sizeof(float) * (size_t)n);
    for (size_t i = 0; i < s->history.n; i++) {
        int32_t id = s->history.p[i], count = s->counts.p[id];
        if (count <= 0 || id >= n) continue; // negative: done already
        x[id] = x[id] > 0 ? x[id] / o->repeat_penalty : x[id] * o->repeat_penalty;
        x[id] -= (float)count * o->frequency_penalty + o->presence_penalty;
        s->counts.p[id] = -count;
    }
    for (size_t i = 0; i < s->history.n; i++) {
        int32_t *count = &s->counts.p[s->history.p[i]];
        if (*count < 0) *count = -*count;
    }
    return x;
}

// The most probable ones, descending, that together reach top_p of all: looks below the maximum step by step.
static bool select_nucleus(tl_sampler *s, const float *x, int64_t n, float max) {
    double total = 0;
    for (int64_t i = 0; i < n; i++) total += weight(x[i], max, 1);
    for (float depth = 4;; depth *= 2) {
        float least = depth > 1000 || isinf(max) ? -INFINITY : max - depth;
        double sum = 0;
        if (!collect(&s->s, x, n, least, NULL)) return false;
        for (size_t i = 0; i < s->s.items.n; i++) sum += weight(s->s.items.p[i].logit, max, 1);
        if (sum >= (double)s->o.top_p * total || isinf(least)) break;
    }
    qsort(s->s.items.p, s->s.items.n, sizeof *s->s.items.p, descending);
    double sum = 0;
    size_t keep = 0;
    while (keep < s->s.items.n && (keep == 0 || sum < (double)s->o.top_p * total))
        sum += weight(s->s.items.p[keep++].logit, max, 1);
    s->s.items.n = keep;
    return true;
}

static void cut_nucleus(tl_sampler *s, float max) { // the same among the items that top_k left
    double total = 0, sum = 0;
    size_t keep = 0;
    for (size_t i = 0; i < s->s.items.n; i++) total += weight(s->s.items.p[i].logit, max, 1);
    while (keep < s->s.items.n && (keep == 0 || sum < (double)s->o.top_p * total))
        sum += weight(s->s.items.p[keep++].logit, max, 1);
    s->s.items.n = keep;
}

static double next_uniform(tl_sampler *s) { // splitmix64 (Steele, Lea and Flood 2014), its upper 53 bits: [0, 1)
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static int32_t draw(tl_sampler *s, float max) {
    const sample_item *items = s->s.items.p;
    float scale = 1 / s->o.temperature;
    double total = 0;
    for (size_t i = 0; i < s->s.items.n; i++) total += weight(items[i].logit, max, scale);
    double left = next_uniform(s) * total;
    int32_t last = -1;
    for (size_t i = 0; i < s->s.items.n; i++) {
        double w = weight(items[i].logit, max, scale);
        if (w == 0) continue;
        last = items[i].id;
        left -= w;
        if (left < 0) break;
    }
    return last;
}

int32_t tl_sampler_pick(tl_sampler *s, const float *logits, int64_t n) {
    const tl_sampling *o = &s->o;
    const float *x = apply_penalties(s, logits, n);
    int32_t best = sample_argmax(x, n);
    if (o->temperature <= 0 || best < 0) return best;
    float max = x[best], least = o->min_p > 0 && isfinite(max) ? max + logf(o->min_p) : -INFINITY;
    bool ok = true;
    if (o->top_k > 0 && o->top_k < n) {
        ok = select_largest(&s->s, x, n, o->top_k);
        if (ok && o->top_p < 1) cut_nucleus(s, max);
    } else if (o->top_p < 1) {
        ok = select_nucleus(s, x, n, max);
    } else {
        ok = collect(&s->s, x, n, least, NULL);
    }
    if (!ok) return best; // out of memory: the most probable one is never wrong
    size_t keep = 0;
    for (size_t i = 0; i < s->s.items.n; i++)
        if (s->s.items.p[i].logit >= least) s->s.items.p[keep++] = s->s.items.p[i];
    s->s.items.n = keep;
    return draw(s, max);
}
