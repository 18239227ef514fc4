// test_steps.c - every sampler: a distribution goes in, one comes out. The numbers are those of llama.cpp's
// tests/test-sampling.cpp (MIT), the cases of mirostat, infill, min_keep and logit biases our own. Every case runs on a dense
// set and on a list, on all instruction sets; sizes of chains over 10,000 candidates are compared as there.
#include "run/sample.h"
#include "run/sample_random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { MOST = 8 };
typedef struct dist {
    int n;
    float p[MOST];
} dist;
#define P(...) {.n = (int)(sizeof((float[]){__VA_ARGS__}) / sizeof(float)), .p = {__VA_ARGS__}}

typedef struct spec { // what is 0 or NULL is off
    const char *what;
    dist in, out; // out: by id; 0 for what is gone
    float top_p, min_p, typical, sigma, xtc, temp, range, exponent;
    int top_k, min_keep;
    int32_t last[8];
    int n_last;
    float repeat, frequency, presence;
    dry_options dry;
    int dry_last, breaker; // breaker: 1 + its id
} spec;

static const spec specs[] = {
    {"temp 1", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .temp = 1},
    {"temp 0", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .temp = -1},
    {"temp_ext 1", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .temp = 1, .exponent = 1},
    {"top_k 1", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .top_k = 1},
    {"top_k 3", P(.1f, .2f, .3f, .4f), P(0, .22222f, .33333f, .44444f), .top_k = 3},
    {"top_k 4", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .top_k = 4},
    {"top_k 0", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .top_k = 0},
    {"top_p 0", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .top_p = 1e-30f},
    {"top_p .7", P(.1f, .2f, .3f, .4f), P(0, 0, .428571f, .571429f), .top_p = .7f},
    {"top_p .8", P(.1f, .2f, .3f, .4f), P(0, .22222f, .33333f, .44444f), .top_p = .8f},
    {"top_p 1", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .top_p = 1},
    {"min_p 0", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .min_p = 0},
    {"min_p .24", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .min_p = .24f},
    {"min_p .26", P(.1f, .2f, .3f, .4f), P(0, .222222f, .333333f, .444444f), .min_p = .26f},
    {"min_p .49", P(.1f, .2f, .3f, .4f), P(0, .222222f, .333333f, .444444f), .min_p = .49f},
    {"min_p .51", P(.1f, .2f, .3f, .4f), P(0, 0, .428571f, .571429f), .min_p = .51f},
    {"min_p .74", P(.1f, .2f, .3f, .4f), P(0, 0, .428571f, .571429f), .min_p = .74f},
    {"min_p .76", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .min_p = .76f},
    {"min_p 1", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .min_p = 1},
    {"min_p 1.05", P(.1f, .2f, .3f, .4f), P(0, 0, 0, 1), .min_p = 1.05f},
    {"xtc .09", P(.4f, .3f, .2f, .1f), P(0, 0, 0, 1), .xtc = .09f}, // there without being normalised: {.1}
    {"xtc .19", P(.4f, .3f, .2f, .1f), P(0, 0, .666667f, .333333f), .xtc = .19f},
    {"xtc .29", P(.4f, .3f, .2f, .1f), P(0, .5f, .333333f, .166667f), .xtc = .29f},
    {"xtc .39", P(.4f, .3f, .2f, .1f), P(.4f, .3f, .2f, .1f), .xtc = .39f},
    {"typical .5", P(.97f, .01f, .01f, .01f), P(1, 0, 0, 0), .typical = .5f},
    {"typical .5 of a flat tail", P(.4f, .2f, .2f, .2f), P(0, .333333f, .333333f, .333333f), .typical = .5f},
    {"repeat 50, one", P(.2f, .2f, .2f, .2f, .2f), P(0, .25f, .25f, .25f, .25f), .last = {0}, .n_last = 1, .repeat = 50},
    {"repeat 50, three", P(.2f, .2f, .2f, .2f, .2f), P(0, 0, 0, .5f, .5f), .last = {0, 1, 2}, .n_last = 3, .repeat = 50},
    {"repeat 50, five", P(.2f, .2f, .2f, .2f, .2f), P(0, 0, 0, .5f, .5f), .last = {0, 1, 2, 0, 0}, .n_last = 5, .repeat = 50},
    {"frequency and presence 5, one", P(.2f, .2f, .2f, .2f, .2f), P(.000011f, .249997f, .249997f, .249997f, .249997f),
     .last = {0}, .n_last = 1, .repeat = 1, .frequency = 5, .presence = 5},
    {"frequency and presence 5, three", P(.2f, .2f, .2f, .2f, .2f), P(.000023f, .000023f, .000023f, .499966f, .499966f),
     .last = {0, 1, 2}, .n_last = 3, .repeat = 1, .frequency = 5, .presence = 5},
    {"frequency and presence 5, five", P(.2f, .2f, .2f, .2f, .2f), P(0, .000023f, .000023f, .499977f, .499977f),
     .last = {0, 1, 2, 0, 0}, .n_last = 5, .repeat = 1, .frequency = 5, .presence = 5},
    {"dry, no repetition", P(.25f, .25f, .25f, .25f), P(.25f, .25f, .25f, .25f), .last = {0, 1}, .n_last = 2, .dry = {1, 1.1f, 2}, .dry_last = 4},
    {"dry, a repetition", P(.25f, .25f, .25f, .25f), P(.296923f, .296923f, .109232f, .296923f), .last = {0, 1, 2, 0, 1}, .n_last = 5,
     .dry = {1, 1.1f, 2}, .dry_last = 5},
    {"dry, a breaker", P(.2f, .2f, .2f, .2f, .2f), P(.2f, .2f, .2f, .2f, .2f), .last = {0, 1, 3, 4, 0, 1}, .n_last = 6,
     .dry = {1, 1.1f, 2}, .dry_last = 6, .breaker = 1 + 3},
    {"dry, twice as strong", P(.2f, .2f, .2f, .2f, .2f), P(.241818f, .241818f, .032727f, .241818f, .241818f), .last = {0, 1, 2, 0, 1},
     .n_last = 5, .dry = {2, 1.1f, 2}, .dry_last = 5},
    {"dry, too short", P(.2f, .2f, .2f, .2f, .2f), P(.2f, .2f, .2f, .2f, .2f), .last = {0, 1, 2, 3, 4, 0, 1}, .n_last = 7,
     .dry = {1, 1.1f, 4}, .dry_last = 7},
    {"top_n_sigma 1", P(.1f, .2f, .3f, .4f), P(0, 0, .428571f, .571429f), .sigma = 1},
    {"top_n_sigma 0", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .sigma = 0},
    {"top_n_sigma 3", P(.1f, .2f, .3f, .4f), P(.1f, .2f, .3f, .4f), .sigma = 3},
    // ours
    {"temp 2", P(.1f, .2f, .3f, .4f), P(.162701f, .230093f, .281805f, .325401f), .temp = 2},
    {"min_keep with top_p", P(.1f, .2f, .3f, .4f), P(0, .22222f, .33333f, .44444f), .top_p = .1f, .min_keep = 3},
    {"min_keep with min_p", P(.1f, .2f, .3f, .4f), P(0, .22222f, .33333f, .44444f), .min_p = .9f, .min_keep = 3},
    {"min_keep with typical", P(.97f, .01f, .01f, .01f), P(.989796f, .010204f, 0, 0), .typical = .5f, .min_keep = 2},
    {"min_keep with xtc", P(.4f, .3f, .2f, .1f), P(.4f, .3f, .2f, .1f), .xtc = .09f, .min_keep = 2},
    {"a word that repeats itself", P(.25f, .25f, .25f, .25f), P(.138172f, .287276f, .287276f, .287276f), .last = {0, 0, 0}, .n_last = 3,
     .dry = {.665464f, 1.1f, 1}, .dry_last = 3},
};

static void run(sample_set *s, const spec *t) {
    int32_t counts[MOST] = {0};
    for (int i = 0; i < t->n_last; i++) counts[t->last[i]]++;
    if (t->temp) step_temperature(s, t->temp < 0 ? 0 : t->temp, t->range, t->exponent);
    if (t->top_k) step_top_k(s, t->top_k);
    if (t->top_p > 0) step_top_p(s, t->top_p, t->min_keep);
    if (t->min_p > 0) step_min_p(s, t->min_p, t->min_keep);
    if (t->typical > 0) step_typical(s, t->typical, t->min_keep);
    if (t->sigma > 0) step_top_n_sigma(s, t->sigma);
    if (t->xtc > 0) step_xtc(s, .99f, t->xtc, t->min_keep, 0.5);
    if (t->repeat > 0) step_penalties(s, t->last, (size_t)t->n_last, counts, t->repeat, t->frequency, t->presence);
    if (t->dry.multiplier > 0) {
        dry_state d = {0};
        if (t->breaker) assert_true(dry_add_breaker(&d, t->breaker - 1, NULL, 0));
        step_dry(s, &d, &t->dry, t->last, (size_t)t->n_last);
        dry_free(&d);
    }
    for (int i = 0; i < t->n_last; i++) assert_true(counts[t->last[i]] > 0);
}

static void make_list(sample_set *s) { // the same candidates, but not as the row itself
    for (int64_t i = 0; i < s->n; i++)
        assert_true(vec_push(&s->items, ((candidate){.key = s->x[i], .id = (int32_t)i, .logit = s->x[i]})));
    s->dense = false;
}

static void expect(sample_set *s, const spec *t, const char *isa, bool list) {
    float got[MOST] = {0};
    double total = 0;
    set_weights(s);
    for (size_t i = 0; i < s->items.n; i++) total += (double)s->items.p[i].weight;
    for (size_t i = 0; i < s->items.n; i++) got[s->items.p[i].id] = (float)((double)s->items.p[i].weight / total);
    for (int i = 0; i < t->out.n; i++)
        if (!(fabsf(got[i] - t->out.p[i]) < 1e-5f))
            fail_msg("%s (%s%s): candidate %d has %g, not %g", t->what, isa, list ? ", list" : "", i, (double)got[i], (double)t->out.p[i]);
}

static const char *const isas[] = {"ref", "avx2", "avx512"};

static void distributions_are_those_of_llama_cpp(void **state) {
    (void)state;
    for (int isa = 0; isa < 3; isa++)
        for (size_t c = 0; c < sizeof specs / sizeof *specs; c++)
            for (int list = 0; list < 2; list++) {
                const spec *t = &specs[c];
                sample_set s = {0};
                float x[MOST];
                if (cpu_select(isas[isa], &s.k, NULL) != TL_OK) continue;
                for (int i = 0; i < t->in.n; i++) x[i] = logf(t->in.p[i]);
                set_begin(&s, x, t->in.n, NULL);
                if (list) make_list(&s);
                run(&s, t);
                expect(&s, t, isas[isa], list);
                for (int i = 0; i < t->in.n; i++) assert_true(x[i] == logf(t->in.p[i])); // the caller's row is not touched
                set_free(&s);
            }
}

// ---- chains over 10,000 candidates with probabilities 0, 1, 2, .. ----------------------------------------
enum { WIDE = 10000 };
typedef struct queue {
    const char *letters;
    int top_k;
    float top_p, min_p;
} queue;

// How many are left and the least of them, by arithmetic on whole numbers (as the test of llama.cpp counts).
static void count_left(const queue *q, char step, int64_t *size, int64_t *least) {
    if (step == 'k') {
        *least = *least > WIDE - q->top_k ? *least : WIDE - q->top_k;
        *size = *size < q->top_k ? *size : q->top_k;
    } else if (step == 'p') {
        int64_t all = (int64_t)WIDE * (WIDE - 1) / 2 - *least * (*least - 1) / 2, want = (int64_t)ceilf(q->top_p * (float)all), sum = 0;
        *least = WIDE, *size = 0;
        do sum += --*least, ++*size;
        while (sum < want);
        if (*least == 1) --*least, ++*size; // the one with probability 0, where all are asked for
    } else {
        int64_t m = (int64_t)ceilf((1 - q->min_p) * WIDE), from = (int64_t)floorf(q->min_p * WIDE);
        m = m < 1 ? 1 : m;
        *size = m < *size ? m : *size;
        from = from < 1 ? 1 : from;
        *least = from > WIDE - *size ? from : WIDE - *size;
        *least = *least < WIDE - 1 ? *least : WIDE - 1;
    }
}

static void chains_leave_as_many_as_in_llama_cpp(void **state) {
    (void)state;
    static const queue queues[] = {
        {"k", 10000, 1, 1}, {"k", 1, 1, 1}, {"p", 10000, 0, 1}, {"m", 10000, 1, 1}, {"k", 100, 1, 1}, {"p", 10000, .0003f, 1},
        {"p", 10000, .8f, 1}, {"m", 10000, 1, 9997.9f / 9999}, {"m", 10000, 1, .1f}, {"kp", 100, .8f, .1f}, {"km", 100, .8f, .1f},
        {"pk", 100, .8f, .1f}, {"pm", 100, .8f, .1f}, {"mk", 100, .8f, .1f}, {"mp", 100, .8f, 9997.9f / 9999}, {"mp", 100, .8f, .1f},
        {"kpm", 100, .8f, .1f}, {"kmp", 100, .8f, .1f}, {"pkm", 100, .8f, .1f}, {"pmk", 100, .8f, .1f}, {"mkp", 100, .8f, .1f},
        {"mpk", 100, .8f, .1f},
    };
    float *x = malloc(WIDE * sizeof *x);
    for (int i = 0; i < WIDE; i++) x[i] = logf((float)i);
    for (int isa = 0; isa < 3; isa++)
        for (size_t c = 0; c < sizeof queues / sizeof *queues; c++) {
            const queue *q = &queues[c];
            sample_set s = {0};
            int64_t size = WIDE, least = 0;
            if (cpu_select(isas[isa], &s.k, NULL) != TL_OK) continue;
            set_begin(&s, x, WIDE, NULL);
            for (const char *p = q->letters; *p; p++) {
                if (*p == 'k') step_top_k(&s, q->top_k);
                else if (*p == 'p') step_top_p(&s, q->top_p, 0);
                else step_min_p(&s, q->min_p, 0);
                count_left(q, *p, &size, &least);
                if (set_count(&s) != size) fail_msg("%s at %c: %d left, not %d", q->letters, *p, (int)set_count(&s), (int)size);
            }
            set_sort(&s);
            assert_int_equal(s.items.p[0].id, WIDE - 1);
            assert_int_equal(s.items.p[s.items.n - 1].id, least);
            set_free(&s);
        }
    free(x);
}

// ---- the same by definition, over random rows -----------------------------------------------------------
static uint32_t noise_seed = 7;
static float noise(void) {
    noise_seed = noise_seed * 1664525u + 1013904223u;
    return (float)((int)(noise_seed >> 8) % 4000) / 400.0f - 5.0f;
}

static int by_value(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

// Sorted by key; weights are probabilities.
static void define(const float *x, int n, candidate *all, double *entropy) {
    double total = 0, max = -INFINITY;
    for (int i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    for (int i = 0; i < n; i++) total += exp((double)x[i] - max);
    *entropy = 0;
    for (int i = 0; i < n; i++) {
        double p = exp((double)x[i] - max) / total;
        all[i] = (candidate){.key = x[i], .id = i, .logit = x[i], .weight = (float)p};
        *entropy -= p * log(p);
    }
}

static int mass(candidate *all, int n, double p, bool strict) { // how many of the first reach p
    double sum = 0;
    int keep = 0;
    qsort(all, (size_t)n, sizeof *all, by_value);
    while (keep < n && (keep == 0 || (strict ? sum <= p : sum < p))) sum += (double)all[keep++].weight;
    return keep;
}

static void expect_same(sample_set *s, const candidate *all, int keep) {
    uint8_t *in = calloc(1, 100000);
    assert_int_equal(set_count(s), keep);
    for (int i = 0; i < keep; i++) in[all[i].id] = 1;
    for (size_t i = 0; i < s->items.n; i++) assert_true(in[s->items.p[i].id]);
    free(in);
}

static void large_sets_are_cut_as_defined(void **state) {
    (void)state;
    enum { N = 20000 };
    float *x = malloc(N * sizeof *x);
    candidate *all = malloc(N * sizeof *all);
    for (int round = 0; round < 30; round++) {
        sample_set s = {0};
        double entropy, p = (double[]){.1, .5, .9, .99, .999}[round % 5];
        float spread = (float[]){.2f, 1, 3}[round / 5 % 3];
        assert_int_equal(cpu_select(isas[round % 3], &s.k, NULL) == TL_OK ? TL_OK : cpu_select("ref", &s.k, NULL), TL_OK);
        for (int i = 0; i < N; i++) x[i] = noise() * spread;
        define(x, N, all, &entropy);
        set_begin(&s, x, N, NULL);
        if (round >= 15) {
            for (int i = 0; i < N; i++) all[i].key = -fabsf((float)(-log((double)all[i].weight) - entropy));
            step_typical(&s, (float)p, 0);
            assert_true(llabs(set_count(&s) - mass(all, N, p, true)) <= 2 + N / 5000); // ties of float keys
        } else {
            step_top_p(&s, (float)p, 0);
            expect_same(&s, all, mass(all, N, (double)(float)p * (1 - 1e-6), false));
        }
        set_free(&s);
    }
    free(x), free(all);
}

// ---- dynamic temperature, mirostat, infill, biases ---------------------------------------------------------
static void the_entropy_moves_the_temperature(void **state) {
    (void)state;
    const float p[] = {.1f, .2f, .3f, .4f};
    float x[4];
    double h = 0;
    for (int i = 0; i < 4; i++) x[i] = logf(p[i]), h -= (double)p[i] * log((double)p[i]);
    double t = 0.5 + (1.5 - 0.5) * pow(h / log(4), 2.0);
    for (int list = 0; list < 2; list++) {
        sample_set s = {0};
        assert_int_equal(cpu_select(NULL, &s.k, NULL), TL_OK);
        set_begin(&s, x, 4, NULL);
        if (list) make_list(&s);
        step_temperature(&s, 1, 0.5f, 2);
        for (int i = 0; i < 4; i++) assert_true(fabs((double)*set_find(&s, i) - (double)x[i] / t) < 1e-5);
        set_begin(&s, x, 4, NULL);
        step_temperature(&s, 0, 0, 1);
        assert_int_equal(set_count(&s), 1);
        set_begin(&s, x, 4, NULL);
        step_temperature(&s, 0.5f, 1, 1); // from 0 to 1.5
        assert_true(fabs((double)*set_find(&s, 0) - (double)x[0] / (1.5 * h / log(4))) < 1e-4);
        set_free(&s);
    }
}

static void mirostat_holds_the_surprise(void **state) {
    (void)state;
    enum { N = 5000, TURNS = 4000 };
    float *x = malloc(N * sizeof *x);
    for (int version = 1; version <= 2; version++)
        for (int c = 0; c < 2; c++) {
            sample_set s = {0};
            float tau = c ? 5 : 3, mu = 2 * tau;
            double surprise = 0, total = 0;
            assert_int_equal(cpu_select(NULL, &s.k, NULL), TL_OK);
            for (int i = 0; i < N; i++) x[i] = -1.1f * logf((float)i + 1);
            for (int i = 0; i < N; i++) total += exp((double)x[i]);
            for (int i = 0; i < TURNS; i++) {
                double u[2];
                sample_uniform(1, 2, (uint64_t)i, u);
                set_begin(&s, x, N, NULL);
                int32_t id = step_mirostat(&s, version, tau, 0.1f, N, u[0], &mu);
                assert_true(id >= 0 && id < N);
                if (i >= TURNS / 2) surprise += -log2(exp((double)x[id]) / total);
            }
            // What is observed is the surprise after the cut, which is below that of the model.
            assert_true(surprise / (TURNS / 2) > (double)tau * 0.9 && surprise / (TURNS / 2) < (double)tau * 1.6);
            set_free(&s);
        }
    free(x);
}

static const char *word_of(void *ctx, int32_t id, size_t *n) {
    const char *const *words = ctx;
    return *n = strlen(words[id]), words[id];
}
static bool is_last(void *ctx, int32_t id) { return *((const char *const *)ctx)[id] == '\0'; }

static int infill(const float *p, int n, const char *const *words, float *out) {
    sample_set s = {0};
    float x[MOST];
    double total = 0;
    const sample_vocab v = {.ctx = (void *)(uintptr_t)words, .text = word_of, .is_end = is_last, .end = n - 1};
    assert_int_equal(cpu_select(NULL, &s.k, NULL), TL_OK);
    for (int i = 0; i < n; i++) x[i] = logf(p[i]), out[i] = 0;
    set_begin(&s, x, n, NULL);
    step_infill(&s, &v);
    set_weights(&s);
    for (size_t i = 0; i < s.items.n; i++) total += (double)s.items.p[i].weight;
    for (size_t i = 0; i < s.items.n; i++) out[s.items.p[i].id] = (float)((double)s.items.p[i].weight / total);
    int left = (int)s.items.n;
    set_free(&s);
    return left;
}

static void infill_joins_prefixes_and_likes_to_end(void **state) {
    (void)state;
    float out[MOST];
    static const char *const words[] = {"a", "ab", "c", ""};
    // 3 * p(end) * n > p(text): only ends are left
    assert_int_equal(infill((float[]){.3f, .2f, .4f, .1f}, 4, words, out), 1);
    assert_true(out[3] == 1);
    // "ab" joins "a": .60, .38; both above .2, and above 1 / (2 + 1)
    assert_int_equal(infill((float[]){.4f, .2f, .38f, .02f}, 4, words, out), 3);
    assert_true(fabsf(out[0] - .6f) < 1e-4f && out[1] == 0 && fabsf(out[2] - .38f) < 1e-4f && fabsf(out[3] - .02f) < 1e-4f);
    // nothing is clear: the end
    static const char *const many[] = {"b", "c", "d", "e", "f", "g", "h", ""};
    assert_int_equal(infill((float[]){.14f, .14f, .14f, .14f, .14f, .14f, .14f, .02f}, 8, many, out), 1);
    assert_true(out[7] == 1);
}

static void biases_are_added(void **state) {
    (void)state;
    const float x[] = {1, 2, 3};
    const tl_logit_bias bias[] = {{0, 2.5f}, {2, -INFINITY}, {7, 1}};
    for (int list = 0; list < 2; list++) {
        sample_set s = {0};
        assert_int_equal(cpu_select(NULL, &s.k, NULL), TL_OK);
        set_begin(&s, x, 3, NULL);
        if (list) make_list(&s);
        step_logit_bias(&s, bias, 3);
        assert_int_equal(set_count(&s), 2);
        assert_true(*set_find(&s, 0) == 3.5f && *set_find(&s, 1) == 2 && !set_find(&s, 2));
        set_free(&s);
    }
}

// ---- random numbers ------------------------------------------------------------------------------------
static void philox_gives_the_published_numbers(void **state) { // kat_vectors of Random123
    (void)state;
    static const uint32_t in[3][6] = {{0, 0, 0, 0, 0, 0}, {~0u, ~0u, ~0u, ~0u, ~0u, ~0u},
                                      {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0}};
    static const uint32_t out[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t got[4];
        philox4x32(in[i], in[i] + 4, got);
        assert_memory_equal(got, out[i], sizeof got);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distributions_are_those_of_llama_cpp), cmocka_unit_test(chains_leave_as_many_as_in_llama_cpp),
        cmocka_unit_test(large_sets_are_cut_as_defined), cmocka_unit_test(the_entropy_moves_the_temperature),
        cmocka_unit_test(mirostat_holds_the_surprise), cmocka_unit_test(infill_joins_prefixes_and_likes_to_end),
        cmocka_unit_test(biases_are_added), cmocka_unit_test(philox_gives_the_published_numbers),
    };
    return cmocka_run_group_tests_name("sample_steps", tests, NULL, NULL);
}
