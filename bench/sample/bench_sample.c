// bench_sample.c - microseconds of a choice over a vocabulary, for several chains, and of a constraint's masks.
//
//   bench_sample [TOKENS (262144)] [REPEATS (200)]
//
// Logits are normal with a few that stand out, another row for each repeat; medians are printed. The second part takes a
// vocabulary of as many random words and JSON schemas: the first mask of a state, one that is known, and a choice under it.
#include <math.h>
#include <time.h>

#include "run/sample.h"
#include "text/grammar.h"
#include "text/schema.h"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + 1e-3 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

static uint64_t state = 1;
static double uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) * 0x1p-53;
}

static void fill(float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)(3 * sqrt(-2 * log(uniform() + 1e-300)) * cos(6.2831853 * uniform()));
    for (int i = 0; i < 20; i++) x[(int64_t)(uniform() * (double)n)] += 8;
}

enum { ROWS = 4 };
static void time_chain(const char *what, const tl_sampling *o, float *const rows[ROWS], int64_t n, int repeats, const uint64_t *mask) {
    tl_sampler *s;
    tl_error err;
    double *t = malloc(sizeof *t * (size_t)repeats);
    if (!t || tl_sampler_new(o, &s, &err) != TL_OK) exit(1);
    for (int i = 0; i < 1000; i++) tl_sampler_accept(s, (int32_t)(uniform() * (double)n));
    for (int i = -2; i < repeats; i++) {
        double start = now();
        int32_t id = tl_sampler_pick_masked(s, rows[(i + 2) % ROWS], n, mask);
        if (i >= 0) t[i] = now() - start;
        if (id < 0) exit(1);
    }
    printf("  %-44s %8.1f us\n", what, median(t, repeats));
    tl_sampler_free(s);
    free(t);
}

static void time_chains(float *const rows[ROWS], int64_t n, int repeats) {
    tl_sampling o = tl_sampling_default(), plain = o;
    plain.top_k = 0, plain.top_p = 1, plain.min_p = 0, plain.temperature = 1;
    time_chain("the default chain", &o, rows, n, repeats, NULL);
    o.repeat_penalty = 1.1f, o.dry_multiplier = 0.8f;
    time_chain("with penalties and DRY", &o, rows, n, repeats, NULL);
    o = plain, o.temperature = 0;
    time_chain("greedy", &o, rows, n, repeats, NULL);
    time_chain("temperature 1 alone", &plain, rows, n, repeats, NULL);
    o = plain, o.top_p = 0.95f;
    time_chain("top-p 0.95 alone", &o, rows, n, repeats, NULL);
    o = plain, o.min_p = 0.05f;
    time_chain("min-p 0.05 alone", &o, rows, n, repeats, NULL);
    o = plain, o.typical_p = 0.9f;
    time_chain("typical 0.9 alone", &o, rows, n, repeats, NULL);
    o = plain, o.top_n_sigma = 1;
    time_chain("top-n-sigma 1 alone", &o, rows, n, repeats, NULL);
    o = plain, o.xtc_probability = 1;
    time_chain("xtc alone", &o, rows, n, repeats, NULL);
    o = plain, o.mirostat = 2;
    time_chain("mirostat 2", &o, rows, n, repeats, NULL);
}

// ---- masks ---------------------------------------------------------------------------------------------
static char *words;
static const char *word(void *ctx, int32_t id, size_t *n) {
    (void)ctx;
    return *n = strlen(words + (size_t)id * 12), words + (size_t)id * 12;
}

static void make_words(int64_t n) { // 256 bytes first, then words of 2 to 10 letters, most with a space before them
    words = calloc((size_t)n, 12);
    if (!words) exit(1);
    for (int64_t i = 0; i < n; i++) {
        char *w = words + i * 12;
        if (i < 256) {
            w[0] = (char)(i ? i : 1);
            continue;
        }
        int len = 2 + (int)(uniform() * 8);
        for (int k = 0; k < len; k++) w[k] = k == 0 && uniform() < 0.6 ? ' ' : uniform() < 0.93 ? (char)('a' + (int)(uniform() * 26)) : "\"{}:,.0"[(int)(uniform() * 7)];
    }
}

static void time_masks(float *const rows[ROWS], int64_t n, int repeats) {
    static const char schema[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"},\"n\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}}},\"required\":[\"name\",\"n\"]}";
    static const char *const texts[] = {"", "{\"name\":\"ab", "{\"name\":\"x\",\"n\":[1"};
    json_t *j = json_loads(schema, 0, NULL);
    char *gbnf;
    grammar *g;
    grammar_vocab *v;
    tl_error err;
    int32_t end = 0;
    make_words(n);
    double start = now();
    if (schema_to_gbnf(j, &gbnf, &err) != TL_OK || grammar_parse(str_of(gbnf), "root", &g, &err) != TL_OK) exit(1);
    printf("  %-44s %8.1f us\n", "schema to automaton", now() - start);
    start = now();
    if (grammar_vocab_new((int32_t)n, word, NULL, &end, 1, &v, &err) != TL_OK) exit(1);
    printf("  %-44s %8.1f us\n", "trie over the vocabulary", now() - start);
    for (int c = 0; c < 3; c++) {
        grammar_matcher *m;
        uint32_t s;
        const uint64_t *mask;
        char what[80];
        double *t = malloc(sizeof *t * (size_t)repeats);
        if (!t || grammar_matcher_new(g, v, &m, &err) != TL_OK) exit(1);
        if (grammar_next_bytes(m, GRAMMAR_START, str_of(texts[c]), &s, &err) != TL_OK) exit(1);
        start = now();
        if (grammar_mask(m, s, &mask, &err) != TL_OK) exit(1);
        double first = now() - start;
        for (int i = 0; i < repeats; i++) {
            start = now();
            if (grammar_mask(m, s, &mask, &err) != TL_OK) exit(1);
            t[i] = now() - start;
        }
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) count += mask[i / 64] >> (i % 64) & 1;
        printf("  after `%s`: %lld tokens may come\n  %-44s %8.1f us\n", texts[c], (long long)count, "  first mask", first);
        printf("  %-44s %8.2f us\n", "  known mask", median(t, repeats));
        const tl_sampling o = tl_sampling_default();
        snprintf(what, sizeof what, "  the default chain under it");
        time_chain(what, &o, rows, n, repeats, mask);
        grammar_matcher_free(m);
        free(t);
    }
    grammar_vocab_free(v), grammar_free(g), mem_free(gbnf), json_decref(j), free(words);
}

int main(int argc, char **argv) {
    int64_t n = argc > 1 ? atoll(argv[1]) : 262144;
    int repeats = argc > 2 ? atoi(argv[2]) : 200;
    float *rows[ROWS];
    if (n < 1000 || repeats < 1) return fprintf(stderr, "usage: bench_sample [TOKENS] [REPEATS]\n"), 2;
    for (int i = 0; i < ROWS; i++) {
        if (!(rows[i] = malloc(sizeof **rows * (size_t)n))) return 1;
        fill(rows[i], n);
    }
    printf("%lld tokens, median of %d\n", (long long)n, repeats);
    time_chains(rows, n, repeats);
    time_masks(rows, n, repeats);
    for (int i = 0; i < ROWS; i++) free(rows[i]);
    return 0;
}
