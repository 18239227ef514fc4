// test_beam.c - beam search against exhaustive search and greedy decoding.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/run.h"
#include "run/sample.h"
#include "tiny.h"

enum { V = TINY_VOCAB };
static char path[64];
static tl_engine *engine;
static tl_model *model;

static tl_session *session(int64_t n_ctx, int32_t n_seq) {
    tl_error err = {0};
    tl_session *s;
    tl_session_options so = {.n_ctx = n_ctx, .n_batch = 256, .n_seq = n_seq};
    if (tl_session_new(model, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

static const float *next(tl_session *s, const int32_t *ids, size_t n) {
    tl_error err = {0};
    const float *logits;
    tl_seq_cut(s, 0, 0);
    if (tl_session_prompt(s, 0, ids, n, &logits, NULL, &err) != TL_OK) fail_msg("%s", err.message);
    return logits;
}

static double log_probability(const float *logits, int32_t id) { return (double)logits[id] - sample_log_sum(logits, V); }

static tl_hypothesis *search(const int32_t *prompt, size_t n, const tl_beam_options *o, size_t *found) {
    tl_error err = {0};
    tl_hypothesis *h;
    tl_session *s = session((int64_t)n + (o->beams + 1) * o->most, o->beams + 1);
    int64_t slots = tl_session_free_slots(s);
    if (tl_beam_search(s, prompt, n, o, &h, found, &err) != TL_OK) fail_msg("%s", err.message);
    assert_int_equal(tl_session_free_slots(s), slots);
    tl_session_free(s);
    return h;
}

static int descending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

// Two tokens: all 96 x 96 continuations, and the beams keep every first token.
static void test_exhaustive(void **state) {
    (void)state;
    int32_t prompt[5] = {1, 7, 30, 2, 9};
    static double all[V * V];
    tl_session *s = session(64, 1);
    float first[V];
    memcpy(first, next(s, prompt, 4), sizeof first);
    for (int32_t a = 0; a < V; a++) {
        prompt[4] = a;
        const float *second = next(s, prompt, 5);
        for (int32_t b = 0; b < V; b++) all[a * V + b] = log_probability(first, a) + log_probability(second, b);
    }
    tl_session_free(s);
    qsort(all, V * V, sizeof *all, descending);
    size_t found;
    const tl_beam_options o = {.beams = V, .most = 2, .ignore_end = true};
    tl_hypothesis *h = search(prompt, 4, &o, &found);
    assert_int_equal(found, V);
    for (size_t i = 0; i < found; i++)
        if (fabs(h[i].log_probability - all[i]) > 1e-4) fail_msg("hypothesis %zu: %.6f, exhaustive search has %.6f", i, h[i].log_probability, all[i]);
    tl_hypotheses_free(h, found);
}

static double greedy(const int32_t *prompt, size_t n, int64_t most) {
    int32_t ids[64];
    double sum = 0;
    tl_session *s = session(64, 1);
    memcpy(ids, prompt, n * sizeof *ids);
    for (int64_t i = 0; i < most; i++) {
        const float *logits = next(s, ids, n);
        ids[n] = sample_argmax(logits, V);
        sum += log_probability(logits, ids[n++]);
    }
    tl_session_free(s);
    return sum;
}

static void test_not_below_greedy(void **state) {
    (void)state;
    for (int k = 0; k < 50; k++) {
        int32_t prompt[6];
        for (int i = 0; i < 6; i++) prompt[i] = (k * 31 + i * 17 + k * i) % V;
        double least = greedy(prompt, 6, 8);
        for (int32_t beams = 1; beams <= 4; beams += 3) {
            size_t found;
            const tl_beam_options o = {.beams = beams, .most = 8, .ignore_end = true};
            tl_hypothesis *h = search(prompt, 6, &o, &found);
            assert_int_equal(found, beams);
            for (size_t i = 1; i < found; i++) assert_true(h[i].score <= h[i - 1].score);
            if (h[0].log_probability < least - 1e-5) fail_msg("prompt %d, %d beams: %.6f, greedy has %.6f", k, beams, h[0].log_probability, least);
            if (beams == 1) assert_true(h[0].log_probability >= least - 1e-5);
            tl_hypotheses_free(h, found);
        }
    }
}

static void test_groups(void **state) {
    (void)state;
    const int32_t prompt[3] = {4, 8, 15};
    size_t n, m;
    tl_beam_options o = {.beams = 4, .most = 6, .ignore_end = true};
    tl_hypothesis *one = search(prompt, 3, &o, &n);
    o.groups = 4, o.diversity = 100;
    tl_hypothesis *four = search(prompt, 3, &o, &m);
    assert_int_equal(m, 4);
    for (size_t i = 0; i < m; i++)
        for (size_t k = 0; k < i; k++) assert_int_not_equal(four[i].ids[0], four[k].ids[0]); // each avoids the others
    assert_true(four[0].log_probability <= one[0].log_probability + 1e-5);
    tl_hypotheses_free(one, n);
    tl_hypotheses_free(four, m);
}

static void test_wrong(void **state) {
    (void)state;
    const int32_t prompt[2] = {1, 2};
    tl_error err;
    tl_hypothesis *h;
    size_t n;
    tl_session *s = session(64, 4);
    const tl_beam_options bad[] = {{.beams = 0, .most = 1}, {.beams = 4, .most = 4}, {.beams = 3, .most = 0}, {.beams = 3, .groups = 2, .most = 4}, {.beams = 2, .most = 2, .diversity = NAN}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(tl_beam_search(s, prompt, 2, &bad[i], &h, &n, &err), TL_E_USAGE);
    const tl_beam_options good = {.beams = 3, .most = 60};
    assert_int_equal(tl_beam_search(s, prompt, 2, &good, &h, &n, &err), TL_E_LIMIT); // the cache is full on the way
    assert_null(h);
    assert_int_equal(tl_session_free_slots(s), 64);
    tl_session_free(s);
}

int main(void) {
    tl_error err = {0};
    snprintf(path, sizeof path, "beam-%d.gguf", (int)getpid());
    tiny t = {.arch = "llama", .type = DT_Q4_0};
    tiny_write(path, &t);
    tl_engine_options eo = {.threads = 2};
    if (tl_engine_new(&eo, &engine, &err) != TL_OK || tl_model_open(engine, path, NULL, &model, &err) != TL_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exhaustive), cmocka_unit_test(test_not_below_greedy), cmocka_unit_test(test_groups), cmocka_unit_test(test_wrong),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tl_model_free(model);
    tl_engine_free(engine);
    unlink(path);
    return failed;
}
