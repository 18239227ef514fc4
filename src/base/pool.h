// pool.h - one team of threads that runs a function together; spin-then-sleep between calls.
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
// The same, and the last thread to arrive runs `last`(ctx, thread) before any goes on, while each other runs `early` once
// before it waits. Either may be NULL. thread: the caller's own number.
typedef void (*pool_barrier_fn)(void *ctx, int thread);
void pool_barrier_then(pool *p, int thread, pool_barrier_fn last, pool_barrier_fn early, void *ctx);
int pool_default_threads(void);   // physical cores this process may use
#endif
