// test_sample.c - samplers against a naive sort of the whole vocabulary, and their edges: NaN, infinities, ties.
#include "run/sample.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static uint32_t seed = 1;
static float noise(void) { // about [-8, 8], many ties
    seed = seed * 1664525u + 1013904223u;
    return (float)((int)(seed >> 8) % 4000) / 250.0f - 8.0f;
}

static float *make_logits(int64_t n) {
    float *x = malloc(sizeof *x * (size_t)n);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = noise();
    return x;
}

static int by_logit(const void *a, const void *b) {
    const sample_item *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static int64_t sort_all(const float *x, int64_t n, sample_item *out) {
    int64_t m = 0;
    for (int64_t i = 0; i < n; i++)
        if (!isnan(x[i])) out[m++] = (sample_item){x[i], (int32_t)i};
    qsort(out, (size_t)m, sizeof *out, by_logit);
    return m;
}

static void top_k_is_the_head_of_a_full_sort(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 2, 63, 64, 65, 1000, 5000, 70001};
    static const int64_t ks[] = {1, 2, 40, 1000, 80000};
    for (size_t a = 0; a < 8; a++)
        for (size_t b = 0; b < 5; b++) {
            int64_t n = sizes[a], k = ks[b] < n ? ks[b] : n, found;
            float *x = make_logits(n);
            for (int64_t i = 3; i < n; i += 17) x[i] = i % 2 ? NAN : -INFINITY;
            sample_item *all = malloc(sizeof *all * (size_t)n), *top = malloc(sizeof *top * (size_t)n);
            int64_t m = sort_all(x, n, all);
            assert_int_equal(sample_top_k(x, n, ks[b], top, &found, NULL), TL_OK);
            assert_int_equal(found, k < m ? k : m);
            for (int64_t i = 0; i < found; i++) assert_int_equal(top[i].id, all[i].id);
            assert_int_equal(sample_argmax(x, n), m ? all[0].id : -1);
            free(x), free(all), free(top);
        }
}

static int32_t pick(tl_sampling o, const float *x, int64_t n) {
    tl_sampler *s;
    assert_int_equal(tl_sampler_new(&o, &s, NULL), TL_OK);
    int32_t id = tl_sampler_pick(s, x, n);
    tl_sampler_free(s);
    return id;
}

static const tl_sampling plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

static void nan_is_never_picked(void **state) {
    (void)state;
    const float some[] = {NAN, 1, NAN, -2, NAN}, none[] = {NAN, NAN}, low[] = {-INFINITY, NAN, -INFINITY};
    for (uint64_t i = 0; i < 200; i++) {
        tl_sampling o = plain;
        o.seed = i, o.top_k = i % 2 ? 3 : 0, o.top_p = i % 3 ? 1 : 0.9f, o.min_p = i % 5 ? 0 : 0.1f, o.temperature = i % 7 ? 1 : 0;
        int32_t id = pick(o, some, 5);
        assert_true(id == 1 || id == 3);
        assert_int_equal(pick(o, none, 2), -1);
        id = pick(o, low, 3);
        assert_true(id == 0 || id == 2);
    }
}

static void infinity_wins(void **state) {
    (void)state;
    const float x[] = {3, INFINITY, -INFINITY, 9, INFINITY};
    int seen[5] = {0};
    for (uint64_t i = 0; i < 400; i++) {
        tl_sampling o = plain;
        o.seed = i, o.top_k = (int)(i % 4), o.top_p = i % 3 ? 1 : 0.95f, o.min_p = i % 5 ? 0 : 0.2f;
        seen[pick(o, x, 5)]++;
    }
    assert_int_equal(seen[1] + seen[4], 400);
    assert_true(seen[4] > 50);
}

// The ids that may come out, by the definitions, over a full sort.
static int64_t naive_set(const tl_sampling *o, const float *x, int64_t n, sample_item *all) {
    int64_t m = sort_all(x, n, all), keep = 0;
    if (o->top_k > 0 && o->top_k < m) m = o->top_k;
    double total = 0, sum = 0;
    for (int64_t i = 0; i < m; i++) total += exp((double)all[i].logit);
    if (o->top_p < 1) {
        while (keep < m && (keep == 0 || sum < (double)o->top_p * total)) sum += exp((double)all[keep++].logit);
        m = keep;
    }
    for (keep = 0; keep < m && all[keep].logit >= all[0].logit + logf(o->min_p); keep++) {}
    return keep;
}

static void filters_keep_what_their_definitions_keep(void **state) {
    (void)state;
    enum { N = 3000 };
    float *x = make_logits(N);
    for (int i = 0; i < N; i++) x[i] += x[i] > 7 ? 3.0f * noise() / 8 : 0; // a few stand out
    sample_item *all = malloc(sizeof *all * N);
    static const tl_sampling cases[] = {
        {.temperature = 3, .top_k = 5, .top_p = 1, .repeat_penalty = 1},
        {.temperature = 3, .top_k = 40, .top_p = 0.5f, .repeat_penalty = 1},
        {.temperature = 3, .top_k = 0, .top_p = 0.3f, .repeat_penalty = 1},
        {.temperature = 3, .top_k = 0, .top_p = 1, .min_p = 0.3f, .repeat_penalty = 1},
        {.temperature = 3, .top_k = 30, .top_p = 0.6f, .min_p = 0.4f, .repeat_penalty = 1},
        {.temperature = 3, .top_k = 0, .top_p = 0.0001f, .repeat_penalty = 1},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        tl_sampler *s;
        static int seen[N];
        memset(seen, 0, sizeof seen);
        int64_t m = naive_set(&cases[c], x, N, all), different = 0;
        assert_true(m >= 1);
        assert_int_equal(tl_sampler_new(&cases[c], &s, NULL), TL_OK);
        for (int i = 0; i < 5000; i++) seen[tl_sampler_pick(s, x, N)]++;
        tl_sampler_free(s);
        for (int64_t i = 0; i < m; i++) different += seen[all[i].id] > 0, seen[all[i].id] = 0;
        for (int i = 0; i < N; i++) assert_int_equal(seen[i], 0); // nothing else came out
        if (m < 100) assert_int_equal(different, m);              // and all of these did
    }
    free(x), free(all);
}

static void draws_follow_the_probabilities(void **state) {
    (void)state;
    const float x[] = {0, 1, 2, 3};
    enum { DRAWS = 40000 };
    for (int c = 0; c < 3; c++) {
        tl_sampling o = plain;
        o.temperature = c == 0 ? 1 : c == 1 ? 0.5f : 2;
        o.top_k = c == 2 ? 4 : 0;
        int seen[4] = {0};
        double total = 0, chi = 0;
        tl_sampler *s;
        assert_int_equal(tl_sampler_new(&o, &s, NULL), TL_OK);
        for (int i = 0; i < DRAWS; i++) seen[tl_sampler_pick(s, x, 4)]++;
        tl_sampler_free(s);
        for (int i = 0; i < 4; i++) total += exp((double)x[i] / (double)o.temperature);
        for (int i = 0; i < 4; i++) {
            double expected = DRAWS * exp((double)x[i] / (double)o.temperature) / total;
            chi += (seen[i] - expected) * (seen[i] - expected) / expected;
        }
        assert_true(chi < 16.3); // 3 degrees of freedom, 0.1 %
    }
}

// The penalized logits cannot be seen, so each is pinned between two rivals: greedy picks the rival just above and not
// the rival just below.
static void expect_adjusted(tl_sampling o, const int32_t *history, size_t n, float logit, float adjusted) {
    tl_sampler *s;
    o.temperature = 0;
    for (int above = 0; above < 2; above++) {
        float x[] = {logit, adjusted + (above ? 1e-3f : -1e-3f), -100};
        assert_int_equal(tl_sampler_new(&o, &s, NULL), TL_OK);
        for (size_t i = 0; i < n; i++) tl_sampler_accept(s, history[i]);
        for (int again = 0; again < 2; again++) assert_int_equal(tl_sampler_pick(s, x, 3), above);
        tl_sampler_free(s);
    }
}

static void penalties_are_those_of_llama_cpp(void **state) {
    (void)state;
    tl_sampling o = plain;
    o.penalty_last_n = 4;
    const int32_t twice[] = {0, 2, 0}, gone[] = {0, 2, 2, 2, 2}, once_left[] = {0, 0, 2, 2, 2};
    o.repeat_penalty = 2;
    expect_adjusted(o, twice, 3, 3, 1.5f);
    expect_adjusted(o, twice, 3, -3, -6);
    expect_adjusted(o, gone, 5, 3, 3);
    o.frequency_penalty = 0.5f, o.presence_penalty = 0.25f;
    expect_adjusted(o, twice, 3, 3, 1.5f - 1.25f);
    expect_adjusted(o, once_left, 5, 3, 1.5f - 0.75f);
    o.penalty_last_n = -1;
    expect_adjusted(o, gone, 5, 3, 1.5f - 0.75f);
    o.penalty_last_n = 0;
    expect_adjusted(o, gone, 5, 3, 3);
}

static void odd_history_is_harmless(void **state) {
    (void)state;
    tl_sampling o = plain;
    o.penalty_last_n = 2, o.repeat_penalty = 1.5f, o.temperature = 0;
    const float x[] = {1, 2};
    tl_sampler *s;
    assert_int_equal(tl_sampler_new(&o, &s, NULL), TL_OK);
    const int32_t ids[] = {-1, 1000000, INT32_MAX, 1, 1, 1};
    for (size_t i = 0; i < 6; i++) tl_sampler_accept(s, ids[i]);
    assert_int_equal(tl_sampler_pick(s, x, 2), 1);
    tl_sampler_reset(s);
    assert_int_equal(tl_sampler_pick(s, x, 2), 1);
    tl_sampler_free(s);
}

static void a_seed_repeats_and_reset_starts_over(void **state) {
    (void)state;
    float *x = make_logits(500);
    int32_t first[50];
    int same = 0;
    tl_sampling o = plain;
    tl_sampler *s;
    for (uint64_t round = 0; round < 4; round++) {
        if (round != 1) o.seed = round == 3 ? 43 : 42;
        if (round != 1) assert_int_equal(tl_sampler_new(&o, &s, NULL), TL_OK);
        else tl_sampler_reset(s);
        for (int i = 0; i < 50; i++) {
            int32_t id = tl_sampler_pick(s, x, 500);
            if (round == 0) first[i] = id;
            else if (round < 3) assert_int_equal(id, first[i]);
            else same += id == first[i];
        }
        if (round != 0) tl_sampler_free(s);
    }
    assert_true(same < 40);
    free(x);
}

static void wrong_options_are_refused(void **state) {
    (void)state;
    for (int i = 0; i < 9; i++) {
        tl_sampling o = tl_sampling_default();
        tl_sampler *s = (tl_sampler *)1;
        tl_error err;
        if (i == 0) o.temperature = NAN;
        if (i == 1) o.top_k = -1;
        if (i == 2) o.top_p = -0.1f;
        if (i == 3) o.top_p = 1.01f;
        if (i == 4) o.min_p = -0.1f;
        if (i == 5) o.min_p = NAN;
        if (i == 6) o.repeat_penalty = 0;
        if (i == 7) o.presence_penalty = INFINITY;
        if (i == 8) o.penalty_last_n = -2;
        assert_int_equal(tl_sampler_new(&o, &s, &err), TL_E_USAGE);
        assert_null(s);
        assert_true(strlen(err.message) > 10);
    }
}

static void no_memory_is_survived(void **state) {
    (void)state;
    float *x = make_logits(1000);
    for (int64_t n = 0; n < 12; n++) {
        tl_sampling o = tl_sampling_default();
        tl_sampler *s;
        o.repeat_penalty = 1.1f;
        mem_fail_after(n);
        tl_status status = tl_sampler_new(&o, &s, NULL);
        if (status == TL_OK) {
            tl_sampler_accept(s, 5);
            int32_t id = tl_sampler_pick(s, x, 1000);
            assert_true(id >= 0 && id < 1000);
        } else {
            assert_int_equal(status, TL_E_MEMORY);
        }
        mem_fail_after(-1);
        tl_sampler_free(s);
    }
    free(x);
}

static void log_sum_is_that_of_softmax(void **state) {
    (void)state;
    const float x[] = {1, NAN, 2, -INFINITY, 1000}, none[] = {NAN};
    assert_true(fabs(sample_log_sum(x, 3) - log(exp(1) + exp(2))) < 1e-12);
    assert_true(fabs(sample_log_sum(x, 5) - 1000) < 1e-12);
    assert_true(isinf(sample_log_sum(none, 1)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_k_is_the_head_of_a_full_sort), cmocka_unit_test(nan_is_never_picked),
        cmocka_unit_test(infinity_wins), cmocka_unit_test(filters_keep_what_their_definitions_keep),
        cmocka_unit_test(draws_follow_the_probabilities), cmocka_unit_test(penalties_are_those_of_llama_cpp),
        cmocka_unit_test(odd_history_is_harmless), cmocka_unit_test(a_seed_repeats_and_reset_starts_over),
        cmocka_unit_test(wrong_options_are_refused), cmocka_unit_test(no_memory_is_survived),
        cmocka_unit_test(log_sum_is_that_of_softmax),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
