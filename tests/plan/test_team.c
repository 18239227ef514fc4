// How many threads take part in a step: the choice against made-up times, and the same bits whatever it is.
#include <stdlib.h>

#include "plan/plan_int.h"
#include "toy.h"

// ---- the choice ------------------------------------------------------------------------------------
typedef struct clock_model { // what a step takes with n threads
    double work, each;       // work / n + each * n, in ns
    double noise;            // a step takes up to this much more, as a share
    double stall;            // and of every STALL_EVERY steps one so much more
} clock_model;
enum { MOST = 16, STALL_EVERY = 10 };

static double took(const clock_model *c, int n, int64_t step, uint64_t *seed) {
    double ns = (c->work / n + c->each * n) * (1 + c->noise * (toy_random(seed) + 1) / 2);
    return step % STALL_EVERY == 3 ? ns * (1 + c->stall) : ns;
}

typedef struct steps_seen {
    double ns, best;    // of all steps; and with the best number in each
    int changes;        // of the number in force
    int least, most;    // numbers that had a turn
} steps_seen;

static steps_seen run_steps(team_choice *t, const clock_model *c, int64_t n, int best, uint64_t *seed) {
    steps_seen seen = {.least = MOST};
    for (int64_t i = 0; i < n; i++) {
        int size = team_size(t), before = team_in_force(t);
        assert_in_range(size, 1, t->most);
        double ns = took(c, size, i, seed);
        seen.ns += ns;
        seen.best += ns / took(&(clock_model){c->work, c->each, 0, 0}, size, 0, seed) * took(&(clock_model){c->work, c->each, 0, 0}, best, 0, seed);
        seen.least = size < seen.least ? size : seen.least;
        seen.most = size > seen.most ? size : seen.most;
        team_took(t, ns);
        seen.changes += team_in_force(t) != before;
    }
    return seen;
}

static const clock_model scales = {.work = 1e7, .each = 0}, crowded = {.work = 1.6e6, .each = 1e5}; // crowded: 4 are best
static const clock_model full = {.work = 8e6, .each = 8e4};                                          // 8 to 12 are

static void test_begins_with_all(void **state) {
    (void)state;
    team_choice t;
    uint64_t seed = 1;
    team_init(&t, MOST);
    assert_int_equal(team_in_force(&t), MOST);
    steps_seen s = run_steps(&t, &scales, 20000, MOST, &seed);
    assert_int_equal(s.changes, 0);
    assert_true(s.least < MOST); // others were tried
    assert_true(s.ns < 1.002 * s.best);
    s = run_steps(&t, &scales, 20000, MOST, &seed);
    assert_true(s.ns < 1.001 * s.best);
}

static void test_fewer_when_more_are_slower(void **state) {
    (void)state;
    team_choice t;
    uint64_t seed = 2;
    team_init(&t, MOST);
    (void)run_steps(&t, &crowded, 800, 4, &seed);
    assert_int_equal(team_in_force(&t), 4);
    steps_seen s = run_steps(&t, &crowded, 20000, 4, &seed);
    assert_int_equal(s.changes, 0);
    assert_true(s.ns < 1.01 * s.best);
    const clock_model one = {.work = 1e5, .each = 1e6};
    (void)run_steps(&t, &one, 3000, 1, &seed);
    assert_int_equal(team_in_force(&t), 1);
    (void)run_steps(&t, &one, 3000, 1, &seed);
    assert_int_equal(team_in_force(&t), 1);
}

static void test_returns_to_all(void **state) {
    (void)state;
    team_choice t;
    uint64_t seed = 3;
    team_init(&t, MOST);
    (void)run_steps(&t, &crowded, 800, 4, &seed);
    assert_int_equal(team_in_force(&t), 4);
    (void)run_steps(&t, &scales, 1500, MOST, &seed); // the step's time has changed: no long wait
    assert_int_equal(team_in_force(&t), MOST);
}

static void test_noise_changes_nothing(void **state) {
    (void)state;
    int changes = 0;
    for (uint64_t s = 10; s < 60; s++) {
        team_choice t;
        uint64_t seed = s;
        clock_model flat = {.work = 0, .each = 0, .noise = 0.2, .stall = 2}; // stalls of some steps
        team_init(&t, MOST);
        for (int64_t i = 0; i < 20000; i++) { // all sizes alike
            int before = team_in_force(&t);
            double ns = 1e6 * (1 + flat.noise * (toy_random(&seed) + 1) / 2);
            team_took(&t, i % STALL_EVERY == 3 ? ns * (1 + flat.stall) : ns);
            changes += team_in_force(&t) != before;
        }
    }
    assert_in_range(changes, 0, 25); // of about 350 trials
}

static void test_finds_it_under_noise(void **state) {
    (void)state;
    int near = 0;
    for (uint64_t s = 100; s < 150; s++) {
        team_choice t;
        uint64_t seed = s;
        clock_model noisy = full;
        noisy.noise = 0.1, noisy.stall = 2;
        team_init(&t, MOST);
        (void)run_steps(&t, &noisy, 4000, 8, &seed);
        int n = team_in_force(&t);
        near += n == 8 || n == 12;
    }
    assert_in_range(near, 45, 50);
}

static void test_few_threads(void **state) {
    (void)state;
    for (int most = 1; most <= 9; most++) {
        team_choice t;
        uint64_t seed = 5;
        const clock_model slow = {.work = 1, .each = 1e6};
        team_init(&t, most);
        steps_seen s = run_steps(&t, &slow, 3000, 1, &seed);
        assert_int_equal(team_in_force(&t), 1);
        assert_int_equal(s.most, most);
        team_init(&t, most);
        (void)run_steps(&t, &scales, 3000, most, &seed);
        assert_int_equal(team_in_force(&t), most);
    }
}

// ---- a plan ----------------------------------------------------------------------------------------
enum { THREADS = 5, STEPS = 100 };

// `rows` rows a step, each of its own sequence, over and over at the same position. Sizes that steps ran with: bits of the result.
static unsigned run_plan(const char *given, int rows, float *last) {
    toy_model m;
    toy_config c = toy_small;
    pool *threads;
    plan *p;
    tl_error err;
    unsigned sizes = 0;
    c.weights = DT_Q4_0;
    c.embd = 64, c.ffn = 96;
    toy_build(&m, &c);
    assert_int_equal(pool_new(given ? atoi(given) : THREADS, &threads, &err), TL_OK);
    plan_backend b = toy_backend(threads);
    plan_limits limits = {.max_rows = 8, .max_outs = 8, .max_slots = TOY_ROWS};
    assert_int_equal(plan_new(&m.g, &b, &limits, &p, &err), TL_OK);
    for (int i = 0; i < STEPS; i++) {
        toy_step t = {0};
        toy_rows(&t, 0, rows, 0, 0, true);
        if (i % 16 == 15) t.s.outs = 1; // another kind of step between them
        assert_int_equal(plan_run(p, &t.s, &err), TL_OK);
        sizes |= 1u << p->team;
        assert_in_range(plan_workers(p, rows), 1, pool_size(threads));
        const float *out = plan_output(p, 0);
        if (i > 0 && t.s.outs > 1) assert_memory_equal(out, last, sizeof *out * (size_t)(t.s.outs * c.vocab));
        if (t.s.outs == rows) memcpy(last, out, sizeof *out * (size_t)(rows * c.vocab));
    }
    assert_int_equal(plan_workers(p, TEAM_ROWS + 1), pool_size(threads));
    plan_free(p);
    toy_free(&m);
    pool_free(threads);
    return sizes;
}

static void test_same_bits(void **state) {
    (void)state;
    static float one[8 * 4096], all[8 * 4096];
    assert_true(toy_small.vocab <= 4096);
    for (int rows = 1; rows <= 8; rows += 3) {
        assert_int_equal(run_plan("1", rows, one), 1u << 1);
        unsigned sizes = run_plan(NULL, rows, all);
        assert_true(sizes & 1u << THREADS);
        assert_true(sizes & ~(1u << THREADS)); // a trial was among the steps
        assert_memory_equal(one, all, sizeof *one * (size_t)(rows * toy_small.vocab));
    }
}

static void test_given_team(void **state) {
    (void)state;
    static float out[8 * 4096];
    setenv("TL_TEAM", "2", 1);
    assert_int_equal(run_plan(NULL, 4, out), 1u << 2);
    setenv("TL_TEAM", "99", 1);
    assert_int_equal(run_plan(NULL, 4, out), 1u << THREADS);
    unsetenv("TL_TEAM");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begins_with_all), cmocka_unit_test(test_fewer_when_more_are_slower), cmocka_unit_test(test_returns_to_all),
        cmocka_unit_test(test_noise_changes_nothing), cmocka_unit_test(test_finds_it_under_noise), cmocka_unit_test(test_few_threads),
        cmocka_unit_test(test_same_bits), cmocka_unit_test(test_given_team),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
