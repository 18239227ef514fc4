// test_chain.c - samplers as the public interface has them: chains by name and letter, what a watcher sees, seeds, sequences,
// forks, masks, and a million draws of every way to draw.
#include "run/sample.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const tl_sampling plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

static tl_sampler *make(tl_sampling o) {
    tl_sampler *s;
    tl_error err;
    if (tl_sampler_new(&o, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

// ---- chains ------------------------------------------------------------------------------------------
static void expect_chain(const char *text, const char *names) {
    tl_sampling o = plain;
    sbuf b = {0};
    o.samplers = text;
    tl_sampler *s = make(o);
    for (size_t i = 0; tl_sampler_name(s, i); i++) sbuf_printf(&b, "%s%s", i ? ";" : "", tl_sampler_name(s, i));
    assert_string_equal(b.p ? b.p : "", names);
    sbuf_free(&b);
    tl_sampler_free(s);
}

static void chains_have_names_and_letters(void **state) {
    (void)state;
    const char *usual = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    expect_chain(NULL, usual);
    expect_chain(usual, usual);
    expect_chain("=edskypmxt", usual);
    expect_chain("top-k;nucleus,typical;typ;temp", "top_k;top_p;typ_p;typ_p;temperature");
    expect_chain("=tki", "temperature;top_k;infill");
    expect_chain("=", "");
    expect_chain("", "");
    static const char *const wrong[] = {"top_q", "=q", "top_k;;min_p", "top_k ;min_p", "=kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk", ";"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        tl_sampling o = plain;
        tl_sampler *s;
        tl_error err;
        o.samplers = wrong[i];
        assert_int_equal(tl_sampler_new(&o, &s, &err), TL_E_USAGE);
        assert_null(s);
    }
}

// ---- watching ----------------------------------------------------------------------------------------
typedef struct seen {
    sbuf names;
    size_t left[16], n;
    float first[16];
    int32_t drawn;
} seen;

static void note(void *ctx, const char *name, const tl_candidate *items, size_t n, size_t left) {
    seen *w = ctx;
    sbuf_printf(&w->names, "%s ", name);
    assert_true(n <= 3 && n <= left && w->n < 16);
    for (size_t i = 1; i < n; i++) assert_true(items[i - 1].p >= items[i].p);
    w->left[w->n] = left;
    w->first[w->n++] = items[0].p;
    w->drawn = items[0].id;
}

static void a_watcher_sees_every_step(void **state) {
    (void)state;
    float x[100];
    for (int i = 0; i < 100; i++) x[i] = logf((float)(100 - i));
    tl_sampling o = plain;
    o.samplers = "top_k;top_p;temperature", o.top_k = 10, o.top_p = .3f, o.temperature = .5f;
    tl_sampler *s = make(o), *alone = make(o);
    seen w = {0};
    tl_sampler_watch(s, note, &w, 3);
    for (int i = 0; i < 20; i++) {
        w.n = 0, w.names.n = 0;
        int32_t id = tl_sampler_pick(s, x, 100);
        assert_int_equal(id, tl_sampler_pick(alone, x, 100)); // looking changes nothing
        assert_string_equal(w.names.p, "logits top_k top_p temperature draw ");
        assert_int_equal(w.drawn, id);
    }
    assert_int_equal(w.left[0], 100);
    assert_int_equal(w.left[1], 10);
    assert_int_equal(w.left[2], 3); // 100 + 99 + 98 of 955
    assert_int_equal(w.left[3], 3);
    assert_true(fabsf(w.first[0] - 100 / 5050.f) < 1e-6f && fabsf(w.first[1] - 100 / 955.f) < 1e-6f);
    assert_true(fabsf(w.first[3] - 10000.f / (10000 + 99 * 99 + 98 * 98)) < 1e-5f);
    sbuf_free(&w.names);
    tl_sampler_free(s), tl_sampler_free(alone);
}

// ---- seeds ---------------------------------------------------------------------------------------------
static void positions_sequences_and_seeds_decide(void **state) {
    (void)state;
    float x[1000];
    for (int i = 0; i < 1000; i++) x[i] = sinf((float)i);
    tl_sampling o = plain;
    o.seed = 3, o.sequence = 5;
    tl_sampler *s = make(o), *copy;
    int32_t ids[40];
    for (int i = 0; i < 40; i++) ids[i] = tl_sampler_pick(s, x, 1000);
    for (int i = 39; i >= 0; i -= 3) { // any order
        tl_sampler_seek(s, (uint64_t)i);
        assert_int_equal(tl_sampler_pick(s, x, 1000), ids[i]);
        assert_int_equal(tl_sampler_position(s), i + 1);
    }
    tl_sampler_seek(s, 7);
    assert_int_equal(tl_sampler_fork(s, 5, &copy, NULL), TL_OK);
    for (int i = 7; i < 40; i++) assert_int_equal(tl_sampler_pick(copy, x, 1000), ids[i]);
    tl_sampler_free(copy);
    for (int other = 0; other < 2; other++) {
        int same = 0;
        if (other) o.sequence = 5, o.seed = 4;
        else o.sequence = 6;
        tl_sampler *t = make(o);
        for (int i = 0; i < 40; i++) same += tl_sampler_pick(t, x, 1000) == ids[i];
        assert_true(same < 5);
        tl_sampler_free(t);
    }
    tl_sampler_free(s);
}

static void rewinding_forgets(void **state) {
    (void)state;
    tl_sampling o = plain;
    float x[50];
    for (int i = 0; i < 50; i++) x[i] = (float)(50 - i);
    o.temperature = 0, o.repeat_penalty = 1.1f, o.frequency_penalty = 2, o.penalty_last_n = 6, o.dry_multiplier = 1, o.dry_base = 1.7f;
    o.dry_penalty_last_n = -1, o.dry_allowed_length = 2;
    tl_sampler *a = make(o), *b = make(o), *c;
    int32_t ids[60];
    for (int i = 0; i < 60; i++) {
        ids[i] = tl_sampler_pick(a, x, 50);
        tl_sampler_accept(a, ids[i]);
    }
    assert_int_equal(tl_sampler_accepted(a), 60);
    for (size_t keep = 59; keep > 0; keep -= 7) {
        if (keep > 59) break;
        tl_sampler_rewind(a, keep);
        tl_sampler_reset(b);
        for (size_t i = 0; i < keep; i++) tl_sampler_accept(b, ids[i]);
        assert_int_equal(tl_sampler_fork(b, 0, &c, NULL), TL_OK);
        assert_int_equal(tl_sampler_pick(a, x, 50), ids[keep]);
        assert_int_equal(tl_sampler_pick(b, x, 50), ids[keep]);
        assert_int_equal(tl_sampler_pick(c, x, 50), ids[keep]);
        tl_sampler_free(c);
    }
    tl_sampler_free(a), tl_sampler_free(b);
}

// ---- masks ---------------------------------------------------------------------------------------------
static void masked_ids_never_come_out(void **state) {
    (void)state;
    enum { N = 700 };
    float x[N];
    tl_sampling o = tl_sampling_default();
    for (int round = 0; round < 300; round++) {
        uint64_t mask[(N + 63) / 64] = {0};
        int few = round % 3, any = 0;
        o.seed = (uint64_t)round, o.temperature = round % 5 ? 2 : 0, o.top_k = round % 2 ? 40 : 0, o.xtc_probability = round % 7 ? 0 : 1;
        o.mirostat = round % 11 ? 0 : 1 + round % 2, o.top_p = round % 4 ? 1 : .9f, o.typical_p = round % 13 ? 1 : .5f;
        for (int i = 0; i < N; i++) {
            x[i] = round % 17 ? sinf((float)(i * (round + 1))) * 8 : -INFINITY;
            if ((i * 7919 + round) % (few == 0 ? 97 : few == 1 ? 3 : 300) == 0) mask[i / 64] |= (uint64_t)1 << (i % 64), any++;
            else if (i % 19 == 0) x[i] = INFINITY;
        }
        tl_sampler *s = make(o);
        int32_t id = tl_sampler_pick_masked(s, x, N, mask);
        assert_true(any > 0 && id >= 0 && (mask[id / 64] >> (id % 64) & 1));
        memset(mask, 0, sizeof mask);
        assert_int_equal(tl_sampler_pick_masked(s, x, N, mask), -1);
        tl_sampler_free(s);
    }
}

static void a_mask_is_as_if_the_rest_were_not_there(void **state) {
    (void)state;
    float x[256], few[256];
    uint64_t mask[4] = {0x5555555555555555, 0, 0x0f0f, 1};
    for (int i = 0; i < 256; i++) {
        x[i] = sinf((float)i) * 4;
        few[i] = mask[i / 64] >> (i % 64) & 1 ? x[i] : NAN;
    }
    tl_sampling o = tl_sampling_default();
    tl_sampler *a = make(o), *b = make(o);
    for (int i = 0; i < 200; i++) assert_int_equal(tl_sampler_pick_masked(a, x, 256, mask), tl_sampler_pick(b, few, 256));
    tl_sampler_free(a), tl_sampler_free(b);
}

// ---- greedy ---------------------------------------------------------------------------------------------
static void ignore(void *ctx, const char *name, const tl_candidate *items, size_t n, size_t left) {
    (void)ctx, (void)name, (void)items, (void)n, (void)left;
}

static void greedy_is_the_whole_chain(void **state) { // which a watched sampler runs
    (void)state;
    float x[300];
    tl_sampling o = tl_sampling_default();
    o.temperature = 0, o.repeat_penalty = 1.3f, o.dry_multiplier = .8f;
    tl_sampler *quick = make(o), *whole = make(o);
    tl_sampler_watch(whole, ignore, NULL, 1);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 300; i++) x[i] = roundf(sinf((float)(i * 31 + round * 7)) * 6);
        int32_t id = tl_sampler_pick(quick, x, 300);
        assert_int_equal(tl_sampler_pick(whole, x, 300), id);
        tl_sampler_accept(quick, id), tl_sampler_accept(whole, id);
    }
    tl_sampler_free(quick), tl_sampler_free(whole);
}

// ---- a million draws -------------------------------------------------------------------------------------
enum { IDS = 100 };
static void expect_draws(tl_sampling o, int draws, const char *what) { // of IDS candidates with chances 1, 2, .. IDS, the filters all but off
    static float x[IDS];
    static int64_t count[IDS];
    double total = 0, chi = 0, p[IDS];
    for (int i = 0; i < IDS; i++) {
        x[i] = logf((float)(i + 1)), count[i] = 0;
        p[i] = pow((double)i + 1, 1 / (double)o.temperature);
        total += p[i];
    }
    tl_sampler *s = make(o);
    for (int i = 0; i < draws; i++) count[tl_sampler_pick(s, x, IDS)]++;
    tl_sampler_free(s);
    for (int i = 0; i < IDS; i++) {
        double want = draws * p[i] / total;
        chi += ((double)count[i] - want) * ((double)count[i] - want) / want;
    }
    if (!(chi > 52 && chi < 159)) fail_msg("%s: chi-square %g with 99 degrees of freedom", what, chi); // both tails at 1e-4
}

static void a_million_draws_follow_the_probabilities(void **state) {
    (void)state;
    tl_sampling o = plain;
    expect_draws(o, 1000000, "dense");
    o.seed = 1, o.top_k = IDS, o.samplers = "=kx", o.xtc_probability = 0.5f, o.xtc_threshold = 0.4f;
    expect_draws(o, 200000, "top_k");
    o.seed = 2, o.samplers = NULL, o.top_k = 0, o.xtc_probability = 0, o.top_p = 0.9999999f;
    expect_draws(o, 200000, "top_p");
    o.seed = 3, o.top_p = 1, o.temperature = 2;
    expect_draws(o, 200000, "temperature 2");
}

static void xtc_comes_as_often_as_asked(void **state) {
    (void)state;
    const float x[] = {0, 0.1f, -9};
    tl_sampling o = plain;
    o.xtc_probability = .3f, o.xtc_threshold = .2f, o.temperature = 1, o.samplers = "xtc;top_k", o.top_k = 1;
    tl_sampler *s = make(o);
    int n = 0;
    for (int i = 0; i < 100000; i++) n += tl_sampler_pick(s, x, 3) == 0; // 1 is dropped, then 0 is the best
    assert_true(abs(n - 30000) < 600);
    tl_sampler_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chains_have_names_and_letters), cmocka_unit_test(a_watcher_sees_every_step),
        cmocka_unit_test(positions_sequences_and_seeds_decide), cmocka_unit_test(rewinding_forgets),
        cmocka_unit_test(masked_ids_never_come_out), cmocka_unit_test(a_mask_is_as_if_the_rest_were_not_there),
        cmocka_unit_test(greedy_is_the_whole_chain), cmocka_unit_test(a_million_draws_follow_the_probabilities),
        cmocka_unit_test(xtc_comes_as_often_as_asked),
    };
    return cmocka_run_group_tests_name("sample_chain", tests, NULL, NULL);
}
