// sample_set.c - the candidates of one choice: see sample.h.
//
// A vocabulary has up to 262,144 entries and a token should not pay for sorting them. While a set is dense it is the row of
// logits itself, read by the CPU's kernels in blocks of 64: their maxima bound the k-th largest from below, and their sums
// of exponentials are what a draw walks over, so that only blocks that matter are looked at one by one. Lists are cut by
// partitioning, and only what is left is ever sorted. The order is total (ties by id), so results do not depend on the way.
#include <math.h>

#include "base/plain_exp.h"
#include "cpu/vec_ops.h"
#include "run/sample.h"

enum { BLOCK = CPU_BLOCK };

void set_free(sample_set *s) {
    vec_free(&s->items), vec_free(&s->own), vec_free(&s->maxima), vec_free(&s->spare), vec_free(&s->sums), vec_free(&s->dots);
}

static int64_t blocks_of(int64_t n) { return (n + BLOCK - 1) / BLOCK; }
static int64_t block_end(const sample_set *s, int64_t b) { return (b + 1) * BLOCK < s->n ? (b + 1) * BLOCK : s->n; }

// exp(x - max) of one candidate; the largest weighs 1, NaN nothing. As src/cuda/sample.cu has it.
static float weight_of(float x, float max) {
    float w = x == max ? 1 : plain_exp(x - max);
    return w > 0 ? w : 0;
}

static bool before(const candidate *a, const candidate *b) { return a->key != b->key ? a->key > b->key : a->id < b->id; }

static int by_order(const void *a, const void *b) { return before(a, b) ? -1 : before(b, a); }

// ---- the beginning -----------------------------------------------------------------------------------
static bool make_list(sample_set *s) { // an empty one
    s->items.n = 0;
    s->dense = s->sorted = false;
    return true;
}

static bool add(sample_set *s, float x, int32_t id) {
    if (isnan(x)) return true;
    if (!vec_push(&s->items, ((candidate){.key = x, .id = id, .logit = x}))) return !(s->failed = true);
    return true;
}

static int64_t bits_set(const uint64_t *mask, int64_t n) {
    int64_t count = 0;
    for (int64_t i = 0; i < (n + 63) / 64; i++) count += __builtin_popcountll(mask[i]);
    return count;
}

static void list_masked(sample_set *s, const uint64_t *mask) {
    make_list(s);
    for (int64_t w = 0; w < (s->n + 63) / 64; w++)
        for (uint64_t bits = mask[w]; bits; bits &= bits - 1) {
            int64_t id = 64 * w + __builtin_ctzll(bits);
            if (id < s->n && !add(s, s->x[id], (int32_t)id)) return;
        }
}

static bool own_copy(sample_set *s, bool fill) {
    if (s->x == s->own.p) return true;
    if (!vec_reserve(&s->own, (size_t)s->n)) return !(s->failed = true);
    if (fill) memcpy(s->own.p, s->x, sizeof(float) * (size_t)s->n);
    s->x = s->own.p;
    return true;
}

static void copy_masked(sample_set *s, const uint64_t *mask) {
    const float *x = s->x;
    if (!own_copy(s, false)) return;
    float *to = s->own.p;
    for (int64_t i = 0; i < s->n; i += 64) {
        int64_t end = i + 64 < s->n ? i + 64 : s->n;
        uint64_t bits = mask[i / 64], valid = end - i == 64 ? UINT64_MAX : ((uint64_t)1 << (end - i)) - 1;
        memcpy(to + i, x + i, sizeof(float) * (size_t)(end - i));
        if ((bits & valid) == 0)
            for (int64_t j = i; j < end; j++) to[j] = NAN;
        else
            for (uint64_t out = ~bits & valid; out; out &= out - 1) to[i + __builtin_ctzll(out)] = NAN;
    }
}

void set_begin(sample_set *s, const float *logits, int64_t n, const uint64_t *mask) {
    s->x = logits;
    s->n = n;
    s->items.n = 0;
    s->dense = true;
    s->sorted = s->failed = false;
    if (!mask) return;
    if (bits_set(mask, n) < n / 16) list_masked(s, mask);
    else copy_masked(s, mask);
}

int64_t set_count(const sample_set *s) {
    if (!s->dense) return (int64_t)s->items.n;
    int64_t count = 0;
    for (int64_t i = 0; i < s->n; i++) count += !isnan(s->x[i]);
    return count;
}

// ---- the largest -------------------------------------------------------------------------------------
static bool block_maxima(sample_set *s) {
    size_t blocks = (size_t)blocks_of(s->n);
    if (!vec_reserve(&s->maxima, blocks)) return !(s->failed = true);
    s->k->block_maxima(s->x, s->maxima.p, s->n);
    s->maxima.n = blocks;
    return true;
}

static void keep_equal(sample_set *s, float x) { // of a dense set or a list; their logits become 0
    size_t keep = 0;
    if (s->dense) {
        make_list(s);
        for (int64_t i = 0; i < s->n; i++)
            if (s->x[i] == x && !add(s, 0, (int32_t)i)) return;
    } else {
        for (size_t i = 0; i < s->items.n; i++)
            if (s->items.p[i].logit == x) s->items.p[keep++] = (candidate){.id = s->items.p[i].id};
        s->items.n = keep;
        s->sorted = false;
    }
}

bool set_largest(sample_set *s, float *max) {
    float best = NAN;
    if (s->dense) {
        if (!block_maxima(s)) return false;
        for (size_t b = 0; b < s->maxima.n; b++) best = s->maxima.p[b] > best || isnan(best) ? s->maxima.p[b] : best;
    } else {
        for (size_t i = 0; i < s->items.n; i++) best = s->items.p[i].logit > best || isnan(best) ? s->items.p[i].logit : best;
    }
    if (isinf(best)) {
        keep_equal(s, best);
        best = 0;
        if (s->items.n == 0) return false; // dense, and all NaN: their maximum is -inf too
    }
    *max = best;
    return !isnan(best) && !s->failed;
}

// ---- changing logits ---------------------------------------------------------------------------------
// How many logits are not below `least`.
int64_t set_count_from(sample_set *s, double least) {
    int64_t count = 0;
    if (!s->dense) {
        for (size_t i = 0; i < s->items.n; i++) count += (double)s->items.p[i].logit >= least;
        return count;
    }
    if (!block_maxima(s)) return 0;
    for (int64_t b = 0; b < blocks_of(s->n); b++)
        for (int64_t i = b * BLOCK; (double)s->maxima.p[b] >= least && i < block_end(s, b); i++) count += (double)s->x[i] >= least;
    return count;
}

float *set_find(sample_set *s, int32_t id) {
    if (s->dense) {
        if (id < 0 || id >= s->n || isnan(s->x[id]) || !own_copy(s, true)) return NULL;
        return &s->own.p[id];
    }
    for (size_t i = 0; i < s->items.n; i++)
        if (s->items.p[i].id == id) return &s->items.p[i].logit;
    return NULL;
}

void set_changed(sample_set *s) {
    size_t keep = 0;
    if (s->dense) return;
    for (size_t i = 0; i < s->items.n; i++) {
        s->items.p[i].key = s->items.p[i].logit;
        if (!isnan(s->items.p[i].logit)) s->items.p[keep++] = s->items.p[i];
    }
    s->items.n = keep;
    s->sorted = false;
}

void set_scale(sample_set *s, float factor) {
    if (!s->dense) {
        for (size_t i = 0; i < s->items.n; i++) s->items.p[i].key = s->items.p[i].logit *= factor;
        return;
    }
    const float *x = s->x;
    if (!own_copy(s, false)) return;
    for (int64_t i = 0; i < s->n; i++) s->own.p[i] = x[i] * factor;
}

// ---- lists -------------------------------------------------------------------------------------------
static bool collect(sample_set *s, float low, float high, bool by_block) { // logits in [low, high]
    make_list(s);
    for (int64_t b = 0; b * BLOCK < s->n; b++) {
        if (by_block && s->maxima.p[b] < low) continue;
        if (!vec_reserve(&s->items, s->items.n + BLOCK)) return !(s->failed = true);
        for (int64_t i = b * BLOCK; i < block_end(s, b); i++)
            if (s->x[i] >= low && s->x[i] <= high) s->items.p[s->items.n++] = (candidate){.key = s->x[i], .id = (int32_t)i, .logit = s->x[i]};
    }
    return true;
}

static void list_all(sample_set *s) {
    if (s->dense) collect(s, -INFINITY, INFINITY, false);
}

static void sort_items(candidate *p, size_t n) {
    if (n > 1) qsort(p, n, sizeof *p, by_order);
}

void set_sort(sample_set *s) {
    list_all(s);
    if (!s->sorted) sort_items(s->items.p, s->items.n);
    s->sorted = true;
}

void set_weights(sample_set *s) {
    float max;
    list_all(s);
    if (!set_largest(s, &max)) return;
    for (size_t i = 0; i < s->items.n; i++) s->items.p[i].weight = weight_of(s->items.p[i].logit, max);
}

// Splits p[low .. high): what comes before the pivot, the median of three, then the rest, which begins with the pivot.
static size_t partition(candidate *p, size_t low, size_t high) {
    size_t middle = low + (high - low) / 2, last = high - 1;
    size_t m = before(&p[low], &p[middle]) ? (before(&p[middle], &p[last]) ? middle : before(&p[low], &p[last]) ? last : low)
                                           : (before(&p[low], &p[last]) ? low : before(&p[middle], &p[last]) ? last : middle);
    candidate pivot = p[m], t;
    p[m] = p[last];
    size_t at = low;
    for (size_t i = low; i < last; i++)
        if (before(&p[i], &pivot)) t = p[i], p[i] = p[at], p[at++] = t;
    p[last] = p[at];
    p[at] = pivot;
    return at;
}

enum { SMALL = 48 }; // so few are simply sorted

static void first_items(candidate *p, size_t n, size_t k) { // the first k of the order come to the front, sorted
    size_t low = 0, high = n;
    while (high - low > SMALL && low < k && k < high) {
        size_t at = partition(p, low, high);
        if (at < k) low = at + 1;
        else high = at;
    }
    sort_items(p, high < k ? k : high);
}

static float kth_largest(float *x, int64_t n, int64_t k) { // the order of x is lost
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

// The k-th largest of the block maxima is a lower bound of the k-th largest logit.
static bool collect_best(sample_set *s, int64_t k) {
    int64_t blocks = blocks_of(s->n);
    float least = -INFINITY;
    if (!block_maxima(s) || !vec_reserve(&s->spare, (size_t)blocks)) return !(s->failed = true);
    if (k <= blocks) {
        memcpy(s->spare.p, s->maxima.p, sizeof(float) * (size_t)blocks);
        least = kth_largest(s->spare.p, blocks, k);
    }
    return collect(s, least, INFINITY, true);
}

void set_keep_best(sample_set *s, int64_t k) {
    if (s->dense) {
        if (!collect_best(s, k)) return;
    }
    int64_t n = (int64_t)s->items.n;
    if (!s->sorted) first_items(s->items.p, s->items.n, (size_t)(k < n ? k : n));
    s->items.n = (size_t)(k < n ? k : n);
    s->sorted = true;
}

void set_keep_from(sample_set *s, float least, int64_t min_keep) {
    size_t keep = 0;
    if (s->dense) {
        if (!block_maxima(s) || !vec_reserve(&s->items, 1)) return;
        bool any = false;
        for (size_t b = 0; b < s->maxima.n; b++) any |= s->maxima.p[b] >= least;
        if (!any) return set_keep_best(s, min_keep > 1 ? min_keep : 1);
        if (!collect(s, least, INFINITY, true)) return;
        if ((int64_t)s->items.n < min_keep) s->dense = true, set_keep_best(s, min_keep);
        return;
    }
    for (size_t i = 0; i < s->items.n; i++) keep += s->items.p[i].logit >= least;
    if (keep == 0 || (int64_t)keep < min_keep) return set_keep_best(s, min_keep > 1 ? min_keep : 1);
    keep = 0;
    for (size_t i = 0; i < s->items.n; i++)
        if (s->items.p[i].logit >= least) s->items.p[keep++] = s->items.p[i];
    s->items.n = keep;
}

void set_drop_best(sample_set *s, int64_t k) {
    if (s->dense) {
        if (!own_copy(s, true) || !collect_best(s, k)) return;
        first_items(s->items.p, s->items.n, (size_t)k);
        for (int64_t i = 0; i < k; i++) s->own.p[s->items.p[i].id] = NAN;
        s->dense = true;
        return;
    }
    set_sort(s);
    memmove(s->items.p, s->items.p + k, (s->items.n - (size_t)k) * sizeof *s->items.p);
    s->items.n -= (size_t)k;
}

// ---- sums --------------------------------------------------------------------------------------------
static bool block_sums(sample_set *s, float max, bool dots) {
    size_t blocks = (size_t)blocks_of(s->n);
    if (!vec_reserve(&s->sums, blocks) || (dots && !vec_reserve(&s->dots, blocks))) return !(s->failed = true);
    s->k->block_exp_sums(s->x, max, s->sums.p, dots ? s->dots.p : NULL, s->n);
    return true;
}

double set_total(sample_set *s, float max, double *dot) {
    double total = 0, product = 0;
    if (s->dense) {
        if (!block_sums(s, max, dot != NULL)) return 1;
        for (int64_t b = 0; b < blocks_of(s->n); b++) {
            total += (double)s->sums.p[b];
            if (dot) product += (double)s->dots.p[b];
        }
    } else {
        for (size_t i = 0; i < s->items.n; i++) {
            candidate *c = &s->items.p[i];
            c->weight = weight_of(c->logit, max);
            total += (double)c->weight;
            if (c->weight > 0) product += (double)c->weight * (double)(c->logit - max);
        }
    }
    if (dot) *dot = product;
    return total;
}

// Cuts items[0 .. n), which have weights, to the fewest of the order that reach the target.
static void cut_mass(sample_set *s, double target, bool strict, size_t min_keep) {
    candidate *p = s->items.p;
    size_t low = 0, high = s->items.n, keep;
    double sum = 0; // of p[0 .. low)
    while (!s->sorted && high - low > SMALL) {
        size_t at = partition(p, low, high);
        double part = 0;
        for (size_t i = low; i <= at; i++) part += (double)p[i].weight;
        bool reached = strict ? sum + part > target : sum + part >= target;
        if (reached && at + 1 >= min_keep) {
            if (high == at + 1) break; // the pivot is the last: no progress
            high = at + 1;
        } else {
            sum += part;
            low = at + 1;
        }
    }
    if (!s->sorted) sort_items(p + low, high - low);
    for (keep = low; keep < high; keep++) {
        if (keep >= 1 && keep >= min_keep && (strict ? sum > target : sum >= target)) break;
        sum += (double)p[keep].weight;
    }
    s->items.n = keep;
    s->sorted |= low == 0;
}

static bool collect_near(sample_set *s, float max, float center, float depth) {
    bool all = depth > 1000;
    if (isnan(center)) return collect(s, all ? -INFINITY : max - depth, INFINITY, true);
    return collect(s, all ? -INFINITY : center - depth, all ? INFINITY : center + depth, false);
}

static bool weigh(sample_set *s, float max) { // a long list; the exponentials by the CPU's kernel
    size_t n = s->items.n;
    if (!vec_reserve(&s->spare, n)) return !(s->failed = true);
    for (size_t i = 0; i < n; i++) s->spare.p[i] = s->items.p[i].logit - max;
    if (n) s->k->map1(MAP_EXP, s->spare.p, s->spare.p, (int64_t)n);
    for (size_t i = 0; i < n; i++) s->items.p[i].weight = s->spare.p[i];
    return true;
}

void set_keep_mass(sample_set *s, float max, float center, double target, bool strict, int64_t min_keep) {
    bool dense = s->dense;
    if (dense && !block_maxima(s)) return;
    for (float depth = isnan(center) ? 4 : 0.5f;; depth *= 2) {
        double sum = 0;
        if (dense && !collect_near(s, max, center, depth)) return;
        if (dense && !weigh(s, max)) return;
        for (size_t i = 0; i < s->items.n; i++) {
            candidate *c = &s->items.p[i];
            if (!dense) c->weight = weight_of(c->logit, max);
            sum += (double)c->weight;
            c->key = isnan(center) ? c->logit : -fabsf(c->logit - center);
        }
        bool enough = (strict ? sum > target : sum >= target) && (int64_t)s->items.n >= min_keep;
        if (!dense || enough || depth > 1000) break;
    }
    if (!isnan(center)) s->sorted = false;
    cut_mass(s, target, strict, (size_t)(min_keep > 0 ? min_keep : 0));
    if (isnan(center)) return;
    for (size_t i = 0; i < s->items.n; i++) s->items.p[i].key = s->items.p[i].logit;
    s->sorted = false;
}

// ---- drawing -----------------------------------------------------------------------------------------
static int32_t draw_dense(sample_set *s, double left, float max, double *w) {
    int64_t b = 0, at = -1;
    int32_t last = -1;
    for (; b < blocks_of(s->n); b++) {
        if (s->sums.p[b] == 0) continue;
        at = b;
        if (left < (double)s->sums.p[b]) break;
        left -= (double)s->sums.p[b];
    }
    if (at < 0) return -1;
    if (b == blocks_of(s->n)) left = INFINITY; // fell off the end by rounding: the last candidate
    for (int64_t i = at * BLOCK; i < block_end(s, at); i++) {
        float one = weight_of(s->x[i], max);
        if (one == 0) continue;
        last = (int32_t)i, *w = (double)one;
        if ((left -= (double)one) < 0) break;
    }
    return last;
}

int32_t set_draw(sample_set *s, double u, double *p) {
    float max;
    int32_t last = -1;
    double w = 0;
    if (!set_largest(s, &max)) return -1;
    double total = set_total(s, max, NULL), left = u * total;
    if (s->failed) return -1;
    if (s->dense) last = draw_dense(s, left, max, &w);
    for (size_t i = 0; !s->dense && i < s->items.n; i++) {
        if (s->items.p[i].weight == 0) continue;
        last = s->items.p[i].id, w = (double)s->items.p[i].weight;
        if ((left -= w) < 0) break;
    }
    if (p) *p = w / total;
    return last;
}
