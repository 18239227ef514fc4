// pool.h - one team of threads that works together; spin-then-sleep between calls.
#ifndef TL_POOL_H
#define TL_POOL_H
#include "base/base.h"
typedef struct pool pool;
// n threads in all, the caller of pool_run included (1: no thread is made). TL_E_MEMORY, TL_E_USAGE (n < 1).
tl_status pool_new(int n, pool **out, tl_error *err);
void pool_free(pool *p);
int pool_size(const pool *p);
// Runs fn(ctx, thread, pool_size) on every thread, thread 0 being the caller; returns when all are done.
typedef void (*pool_fn)(void *ctx, int thread, int n);
void pool_run(pool *p, pool_fn fn, void *ctx);
// Inside fn only: waits until every thread of the team is here (spins, then yields); full memory fence.
void pool_barrier(pool *p);
// Inside fn only: the next chunk [*begin, *end) of [0, total) from the team's shared cursor, `chunk` long; false when
// none is left. The cursor is reset by pool_barrier_reset(), which every thread must call between two loops.
bool pool_take(pool *p, int64_t total, int64_t chunk, int64_t *begin, int64_t *end);
void pool_barrier_reset(pool *p); // barrier; the cursor restarts at 0

// ---- chains --------------------------------------------------------------------------------------
// Loops over units of work, each loop after the one before. What is waited for is finished units, not threads: one that
// has not woken yet, or has lost its processor with no unit in its hands, holds nobody up. Each thread of a loop owns an
// equal, connected range of its units, takes it in ever smaller pieces from the front, and then helps the others.
typedef struct pool_loop {
    int64_t units;   // 0: the loop is only its `then`
    int threads;     // the first so many threads share it, 1 to pool_size
    bool backward;   // the first thread owns the last units
    int64_t base;    // the pool's own
} pool_loop;
typedef struct pool_chain {
    pool_loop *loops;
    int n;
    void (*work)(void *ctx, int loop, int64_t begin, int64_t end, int thread); // units [begin, end) of a loop
    void (*then)(void *ctx, int loop, int thread);  // once, when all its units are done and before the next loop begins; or NULL
    // By a thread that finds no more units, for i = 0, 1, 2 ..., until it returns false or the next loop begins; or NULL.
    bool (*early)(void *ctx, int loop, int thread, int64_t i);
    void *ctx;
} pool_chain;
void pool_run_chain(pool *p, pool_chain *c); // returns when the last loop's `then` is done
// Between calls: threads from n on (1 to pool_size) sleep until a larger team or pool_run wants them; chains are for the first n.
void pool_team(pool *p, int n);
// Units of loop l, not a backward one, that thread t owns: [pool_owned(l, t), pool_owned(l, t + 1)).
static inline int64_t pool_owned(const pool_loop *l, int t) { return l->units / l->threads * t + l->units % l->threads * t / l->threads; }
int pool_default_threads(void);   // physical cores this process may use
#endif
