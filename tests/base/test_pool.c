// test_pool.c - the thread team: every thread runs, barriers separate, the cursor hands out each piece once, and waits
// that outlast the spinning sleep and wake.
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
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

// ---- chains
enum { LOOPS = 9 };
typedef struct chain_job {
    pool *p;
    pool_loop *loops;
    int n;
    int64_t done[LOOPS];           // plain: `then` orders it
    _Atomic int64_t units[LOOPS];
    uint8_t *taken[LOOPS];         // plain: one thread takes a unit
    int then_at;                   // plain: loops come one after the other
    _Atomic int wrong;
    int nap_thread, nap_us;        // sleeps in `early`, with no unit in its hands
} chain_job;

static void chain_units(void *ctx, int loop, int64_t begin, int64_t end, int thread) {
    chain_job *j = ctx;
    if (j->then_at != loop || begin < 0 || begin >= end || end > j->loops[loop].units || thread >= j->loops[loop].threads) {
        atomic_fetch_add(&j->wrong, 1);
        return;
    }
    for (int64_t u = begin; u < end; u++) j->taken[loop][u]++;
    atomic_fetch_add(&j->units[loop], end - begin);
}
static void chain_next(void *ctx, int loop, int thread) {
    chain_job *j = ctx;
    (void)thread;
    if (j->then_at++ != loop || atomic_load(&j->units[loop]) != j->loops[loop].units) atomic_fetch_add(&j->wrong, 1);
    j->done[loop]++;
}
static bool chain_early(void *ctx, int loop, int thread, int64_t i) { // there is always more: only the next loop ends it
    static _Thread_local int64_t next;
    static _Thread_local int in;
    chain_job *j = ctx;
    if (i != 0 && (i != next || loop != in)) atomic_fetch_add(&j->wrong, 1);
    next = i + 1;
    in = loop;
    if (thread == j->nap_thread) usleep((useconds_t)j->nap_us);
    return thread % 3 != 1; // but for some
}

static void run_chain(pool *p, const pool_loop *loops, int n, int nap_thread, int times) {
    pool_loop own[LOOPS];
    chain_job j = {.p = p, .loops = own, .n = n, .nap_thread = nap_thread, .nap_us = 200};
    for (int i = 0; i < n; i++) j.taken[i] = calloc((size_t)loops[i].units + 1, 1);
    for (int t = 1; t <= times; t++) {
        memcpy(own, loops, sizeof *own * (size_t)n);
        for (int i = 0; i < n; i++) own[i].threads = own[i].threads < pool_size(p) ? own[i].threads : pool_size(p), atomic_store(&j.units[i], 0);
        j.then_at = 0;
        pool_chain c = {.loops = own, .n = n, .work = chain_units, .then = chain_next, .early = chain_early, .ctx = &j};
        pool_run_chain(p, &c);
        assert_int_equal(j.then_at, n);
        for (int i = 0; i < n; i++) {
            assert_int_equal(j.done[i], t);
            for (int64_t u = 0; u < own[i].units; u++) assert_int_equal(j.taken[i][u], t);
        }
    }
    assert_int_equal(j.wrong, 0);
    for (int i = 0; i < n; i++) free(j.taken[i]);
}

static void chains_cover(pool *p) {
    static const pool_loop all[LOOPS] = {{.units = 0, .threads = 1}, {.units = 1, .threads = 9}, {.units = 1000, .threads = 9},
        {.units = 0, .threads = 2}, {.units = 0, .threads = 9}, {.units = 7, .threads = 2, .backward = true}, {.units = 64, .threads = 1}, {.units = 3, .threads = 9, .backward = true}, {.units = 0, .threads = 3}};
    static const pool_loop none[2] = {{.units = 0, .threads = 1}, {.units = 0, .threads = 1}};
    for (int i = 0; i < 5; i++) {
        run_chain(p, all, LOOPS, -1, 100);
        run_chain(p, none, 2, -1, 3);
        run_chain(p, all + 2, 1, -1, 50);
        run_chain(p, all, 0, -1, 1);
        job j = {.p = p}; // both kinds of work in turn
        pool_run(p, count_threads, &j);
        for (int t = 0; t < pool_size(p); t++) assert_int_equal(j.ran[t], 1);
    }
    for (int thread = 0; thread < pool_size(p); thread++) run_chain(p, all, LOOPS, thread, 10);
}
static void chains_do_each_unit_once_in_order(void **state) {
    (void)state;
    with_pools(chains_cover);
}

// The caller's first units are those that it owns: the others wait with theirs until it has begun.
typedef struct front {
    _Atomic int64_t begin; // of the caller's first piece, -1: it has none yet
} front;
static void front_units(void *ctx, int loop, int64_t begin, int64_t end, int thread) {
    front *f = ctx;
    int64_t none = -1;
    (void)loop, (void)end;
    if (thread == 0) atomic_compare_exchange_strong(&f->begin, &none, begin);
    while (atomic_load(&f->begin) < 0) usleep(10);
}
static void fronts(pool *p) {
    int n = pool_size(p);
    for (int i = 0; i < 20 && n > 1; i++) {
        pool_loop l = {.units = 5 * n, .threads = n, .backward = i % 2};
        front f = {.begin = -1};
        pool_chain c = {.loops = &l, .n = 1, .work = front_units, .ctx = &f};
        pool_run_chain(p, &c);
        assert_int_equal(f.begin, i % 2 ? 5 * n - 5 : 0);
    }
}
static void threads_begin_with_what_they_own(void **state) {
    (void)state;
    with_pools(fronts);
}

// Teams of any size in turn: their chains are whole, the others take no part and are there again for pool_run.
static void teams_change(pool *p) {
    static const pool_loop loops[4] = {{.units = 5, .threads = 9}, {.units = 0, .threads = 1}, {.units = 64, .threads = 9}, {.units = 3, .threads = 2}};
    for (int i = 0; i < 60; i++) {
        int n = 1 + i * 5 % pool_size(p);
        pool_loop own[4];
        memcpy(own, loops, sizeof own);
        for (int l = 0; l < 4; l++) own[l].threads = own[l].threads < n ? own[l].threads : n;
        pool_team(p, n);
        run_chain(p, own, 4, -1, 1 + i % 3);
        if (i % 10 == 7) usleep(20000); // all asleep
        if (i % 4) continue;
        job j = {.p = p};
        pool_run(p, count_threads, &j);
        for (int t = 0; t < pool_size(p); t++) assert_int_equal(j.ran[t], 1);
    }
    pool_team(p, 1); // and ends while they sleep
}
static void teams_of_any_size(void **state) {
    (void)state;
    with_pools(teams_change);
}

// Threads outside the team take no processor time, however often those inside begin another loop.
enum { SHORT_NS = 50000, SHORT_CHAINS = 200 };
static void short_work(void *ctx, int loop, int64_t begin, int64_t end, int thread) {
    (void)ctx, (void)loop, (void)begin, (void)end, (void)thread;
    for (double until = clock_ns() + SHORT_NS; clock_ns() < until;) {}
}
static double processor_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}
static void others_sleep(void **state) {
    (void)state;
    pool *p;
    tl_error err;
    assert_int_equal(pool_new(2, &p, &err), TL_OK);
    pool_team(p, 1);
    double before = processor_ns();
    for (int i = 0; i < SHORT_CHAINS; i++) {
        pool_loop l[LOOPS];
        for (int k = 0; k < LOOPS; k++) l[k] = (pool_loop){.units = 1, .threads = 1};
        pool_chain c = {.loops = l, .n = LOOPS, .work = short_work};
        pool_run_chain(p, &c);
    }
    double work = (double)SHORT_CHAINS * LOOPS * SHORT_NS;
    assert_true(processor_ns() - before < 1.3 * work);
    pool_free(p);
}

static void owned_ranges(void **state) {
    (void)state;
    for (int64_t units = 0; units < 40; units++)
        for (int n = 1; n < 12; n++) {
            pool_loop l = {.units = units, .threads = n};
            assert_int_equal(pool_owned(&l, 0), 0);
            assert_int_equal(pool_owned(&l, n), units);
            for (int t = 0; t < n; t++) assert_in_range(pool_owned(&l, t + 1) - pool_owned(&l, t), units / n, units / n + 1);
        }
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
        cmocka_unit_test(sleeps_and_wakes),       cmocka_unit_test(chains_do_each_unit_once_in_order),
        cmocka_unit_test(threads_begin_with_what_they_own),
        cmocka_unit_test(teams_of_any_size),      cmocka_unit_test(others_sleep),
        cmocka_unit_test(owned_ranges),           cmocka_unit_test(bad_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
