// test_pool.c - the thread team: every thread runs, barriers separate, the cursor hands out each piece once, and waits
// that outlast the spinning sleep and wake.
#include <stdatomic.h>
#include <unistd.h>

#include "base/pool.h"
#include "cmocka_all.h"

enum { MAX_THREADS = 7, ITEMS = 1000 };

typedef struct job {
    pool *p;
    _Atomic int ran[MAX_THREADS];
    int before[MAX_THREADS];      // plain: a barrier must order it
    int taken[ITEMS];             // plain: only one thread may take an item
    _Atomic int wrong;
    int pause_us;
} job;

static void count_threads(void *ctx, int thread, int n) {
    job *j = ctx;
    if (n != pool_size(j->p) || thread < 0 || thread >= n) atomic_fetch_add(&j->wrong, 1);
    else atomic_fetch_add(&j->ran[thread], 1);
}

static void with_pools(void (*test)(pool *p)) {
    for (int n = 1; n <= MAX_THREADS; n += 2) {
        pool *p;
        tl_error err;
        assert_int_equal(pool_new(n, &p, &err), TL_OK);
        test(p);
        pool_free(p);
    }
}

static void runs_each(pool *p) {
    job j = {.p = p};
    for (int i = 0; i < 300; i++) pool_run(p, count_threads, &j);
    for (int t = 0; t < pool_size(p); t++) assert_int_equal(j.ran[t], 300);
    assert_int_equal(j.wrong, 0);
}
static void every_thread_runs_once(void **state) {
    (void)state;
    with_pools(runs_each);
}

static void step_phases(void *ctx, int thread, int n) {
    job *j = ctx;
    for (int phase = 1; phase <= 40; phase++) {
        j->before[thread] = phase;
        pool_barrier(j->p);
        for (int t = 0; t < n; t++)
            if (j->before[t] != phase) atomic_fetch_add(&j->wrong, 1);
        pool_barrier(j->p); // nobody writes the next phase while others still read this one
    }
}
static void barrier_orders(pool *p) {
    job j = {.p = p};
    for (int i = 0; i < 5; i++) pool_run(p, step_phases, &j);
    assert_int_equal(j.wrong, 0);
}
static void barriers_separate(void **state) {
    (void)state;
    with_pools(barrier_orders);
}

static void take_all(void *ctx, int thread, int n) {
    job *j = ctx;
    (void)thread, (void)n;
    for (int64_t chunk = 1; chunk <= 64; chunk *= 4) {
        int64_t begin, end;
        while (pool_take(j->p, ITEMS, chunk, &begin, &end)) {
            if (begin % chunk || end > ITEMS || end <= begin) atomic_fetch_add(&j->wrong, 1);
            else
                for (int64_t i = begin; i < end; i++) j->taken[i]++;
        }
        pool_barrier_reset(j->p);
    }
}
static void cursor_covers(pool *p) {
    job j = {.p = p};
    for (int run = 1; run <= 10; run++) {
        pool_run(p, take_all, &j);
        for (int i = 0; i < ITEMS; i++) assert_int_equal(j.taken[i], 4 * run);
    }
    assert_int_equal(j.wrong, 0);
}
static void cursor_gives_each_piece_once(void **state) {
    (void)state;
    with_pools(cursor_covers);
}

static void late_first_thread(void *ctx, int thread, int n) {
    job *j = ctx;
    (void)n;
    if (thread == 0) usleep((useconds_t)j->pause_us); // the others fall asleep at the barrier
    pool_barrier(j->p);
    atomic_fetch_add(&j->ran[thread], 1);
    if (thread != 0) usleep((useconds_t)j->pause_us); // and thread 0 in pool_run
}
static void sleeps_and_wakes(void **state) {
    (void)state;
    pool *p;
    tl_error err;
    assert_int_equal(pool_new(3, &p, &err), TL_OK);
    job j = {.p = p, .pause_us = 20000};
    for (int i = 0; i < 5; i++) {
        pool_run(p, late_first_thread, &j);
        usleep(20000); // the workers sleep between calls
    }
    for (int t = 0; t < 3; t++) assert_int_equal(j.ran[t], 5);
    usleep(20000);
    pool_free(p); // wakes sleepers to end them
}

static void bad_sizes(void **state) {
    (void)state;
    pool *p;
    tl_error err;
    assert_int_equal(pool_new(0, &p, &err), TL_E_USAGE);
    assert_null(p);
    assert_int_equal(pool_new(-3, &p, &err), TL_E_USAGE);
    mem_fail_after(0);
    assert_int_equal(pool_new(2, &p, &err), TL_E_MEMORY);
    mem_fail_after(1);
    assert_int_equal(pool_new(2, &p, &err), TL_E_MEMORY);
    mem_fail_after(-1);
    assert_null(p);
    pool_free(NULL);
    assert_in_range(pool_default_threads(), 1, 4096);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_runs_once), cmocka_unit_test(barriers_separate), cmocka_unit_test(cursor_gives_each_piece_once),
        cmocka_unit_test(sleeps_and_wakes),       cmocka_unit_test(bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
