// pool.c - the team of threads behind pool.h.
// Every wait is one pattern, wait_change(): spin with pause, then yield, then sleep on the pool's condition variable until
// a word has another value. Who changes a word calls wake_sleepers(), which costs one load when nobody sleeps.
//
// `state` says what there is to do: a loop of the chain (>= 0), a function for all, nothing. `news` counts its changes and is
// what idle threads watch. A worker raises its `busy` before it reads `state`, and reads nothing of a job unless `state` names
// one; who ended a job waits until no worker is busy (both sides sequentially consistent: one sees the other). So a job's
// data may go while a worker sleeps. Units of all chains are numbered on and on: cursors and `done` only grow, and a worker
// that is late by a loop finds it used up.
//
// Workers outside the team sleep on a condition of their own at once: they neither spin on a processor that the team could
// use, nor make each publish() wake somebody.
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define CPU_RELAX() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define CPU_RELAX() __asm__ volatile("yield")
#else
#define CPU_RELAX() ((void)0)
#endif

enum {
    LINE = 64,
    SPIN_PAUSES = 4000,   // about 50 to 150 us: longer than the gaps inside a token
    SPIN_CROWDED = 64,    // more threads than CPUs: the one we wait for may need this CPU
    YIELDS = 4000,        // then sleep
    YIELDS_CROWDED = 32,
};
enum { STATE_NONE = -1, STATE_RUN = -2, STATE_STOP = -3 };

typedef struct worker {
    _Alignas(LINE) _Atomic int busy;
    _Alignas(LINE) _Atomic int64_t cursor; // units below it are taken, of those that this thread owns
    pool *p;
    int index;
    uint32_t ran; // the last pool_run it took part in
    pthread_t id;
} worker;

struct pool {
    int n, spins, yields;
    worker *workers; // [n]; 0: the caller's, without a thread
    pool_fn fn;      // of pool_run
    void *ctx;
    uint32_t runs;   // counts pool_run calls
    pool_chain *chain;
    int64_t units;   // numbered so far
    _Alignas(LINE) _Atomic int state;         // both are written by one thread at a time and read by all
    _Atomic uint32_t news;                    // counts changes of state
    _Alignas(LINE) _Atomic int64_t done;      // units finished, of all chains
    _Alignas(LINE) _Atomic uint32_t finished; // counts pool_run calls whose workers are all done
    _Alignas(LINE) _Atomic int running;       // workers still in fn
    _Alignas(LINE) _Atomic int arrived;       // at the barrier
    _Alignas(LINE) _Atomic uint32_t phase;    // counts barriers passed
    _Alignas(LINE) _Atomic int64_t cursor;    // of pool_take
    _Alignas(LINE) _Atomic int sleepers;
    _Atomic int team; // workers from this number on have nothing to do
    pthread_mutex_t mutex;
    pthread_cond_t cond, larger; // larger: the team is
};

// Waits until *word != seen, with acquire order.
static void wait_change(pool *p, _Atomic uint32_t *word, uint32_t seen) {
    for (int i = 0; i < p->spins; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        CPU_RELAX();
    }
    for (int i = 0; i < p->yields; i++) {
        if (atomic_load_explicit(word, memory_order_acquire) != seen) return;
        sched_yield();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1); // sequentially consistent with the change of *word: one side sees the other
    while (atomic_load(word) == seen) pthread_cond_wait(&p->cond, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

static void wake_sleepers(pool *p) {
    if (atomic_load(&p->sleepers) == 0) return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_broadcast(&p->cond);
    pthread_mutex_unlock(&p->mutex);
}

static void publish(pool *p, int state) {
    atomic_store(&p->state, state);
    atomic_fetch_add(&p->news, 1);
    wake_sleepers(p);
}

// No worker reads the job any more, nor will before the next one.
static void retire(pool *p) {
    for (int t = 1; t < p->n; t++)
        for (int i = 0; atomic_load(&p->workers[t].busy); i++) {
            if (i < p->spins) CPU_RELAX();
            else sched_yield();
        }
}

// ---- chains --------------------------------------------------------------------------------------
// The next piece of [lo, hi): half of what is left.
static bool take_piece(_Atomic int64_t *cursor, int64_t lo, int64_t hi, int64_t *begin, int64_t *end) {
    int64_t at = atomic_load_explicit(cursor, memory_order_relaxed);
    do {
        *begin = at > lo ? at : lo;
        if (*begin >= hi) return false;
        *end = *begin + (hi - *begin + 1) / 2;
    } while (!atomic_compare_exchange_weak_explicit(cursor, &at, *end, memory_order_relaxed, memory_order_relaxed));
    return true;
}

// Who finished the last unit of a loop does what follows it, and opens the next loop that has units.
static void finish_loop(pool *p, int loop, int thread) {
    const pool_chain *c = p->chain;
    do {
        if (c->then) c->then(c->ctx, loop, thread);
    } while (++loop < c->n && c->loops[loop].units == 0);
    publish(p, loop < c->n ? loop : STATE_NONE);
}

static void work_loop(pool *p, int loop, int thread) {
    const pool_chain *c = p->chain;
    const pool_loop *l = &c->loops[loop];
    int64_t did = 0, begin, end;
    for (int i = 0; thread < l->threads && i < l->threads; i++) {
        int owner = (thread + i) % l->threads;
        int range = l->backward ? l->threads - 1 - owner : owner;
        int64_t lo = l->base + pool_owned(l, range), hi = l->base + pool_owned(l, range + 1);
        while (take_piece(&p->workers[owner].cursor, lo, hi, &begin, &end)) {
            c->work(c->ctx, loop, begin - l->base, end - l->base, thread);
            did += end - begin;
        }
    }
    if (did && atomic_fetch_add_explicit(&p->done, did, memory_order_acq_rel) + did == l->base + l->units) finish_loop(p, loop, thread);
    else if (c->early)
        for (int64_t i = 0; atomic_load_explicit(&p->state, memory_order_relaxed) == loop && c->early(c->ctx, loop, thread, i);) i++;
}

static void run_alone(const pool_chain *c) {
    for (int i = 0; i < c->n; i++) {
        if (c->loops[i].units) c->work(c->ctx, i, 0, c->loops[i].units, 0);
        if (c->then) c->then(c->ctx, i, 0);
    }
}

void pool_team(pool *p, int n) {
    if (atomic_load_explicit(&p->team, memory_order_relaxed) == n) return;
    pthread_mutex_lock(&p->mutex);
    atomic_store_explicit(&p->team, n, memory_order_relaxed);
    pthread_cond_broadcast(&p->larger);
    pthread_mutex_unlock(&p->mutex);
}

// What a worker outside the team waits in. (One that is in it again finds out what there is to do as one that wakes up late.)
static void sit_out(worker *w) {
    pool *p = w->p;
    if (w->index < atomic_load_explicit(&p->team, memory_order_relaxed)) return;
    pthread_mutex_lock(&p->mutex);
    while (w->index >= atomic_load_explicit(&p->team, memory_order_relaxed)) pthread_cond_wait(&p->larger, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

void pool_run_chain(pool *p, pool_chain *c) {
    if (p->n == 1) {
        run_alone(c);
        return;
    }
    int first = 0;
    for (int i = 0; i < c->n; i++) {
        c->loops[i].base = p->units;
        p->units += c->loops[i].units;
    }
    for (; first < c->n && c->loops[first].units == 0; first++)
        if (c->then) c->then(c->ctx, first, 0);
    if (first == c->n) return;
    p->chain = c;
    publish(p, first);
    for (int state;;) {
        uint32_t seen = atomic_load_explicit(&p->news, memory_order_acquire);
        if ((state = atomic_load(&p->state)) < 0) break;
        work_loop(p, state, 0);
        if (atomic_load(&p->state) == state) wait_change(p, &p->news, seen);
    }
    retire(p);
}

// ---- workers ---------------------------------------------------------------------------------------
static void take_part(worker *w, int state) {
    pool *p = w->p;
    if (state >= 0) work_loop(p, state, w->index);
    if (state != STATE_RUN || w->ran == p->runs) return;
    w->ran = p->runs;
    p->fn(p->ctx, w->index, p->n);
    if (atomic_fetch_sub_explicit(&p->running, 1, memory_order_acq_rel) != 1) return;
    atomic_store(&p->state, STATE_NONE);
    atomic_fetch_add(&p->finished, 1);
    wake_sleepers(p);
}

static void *worker_main(void *arg) {
    worker *w = arg;
    pool *p = w->p;
    for (;;) {
        sit_out(w);
        uint32_t seen = atomic_load_explicit(&p->news, memory_order_acquire);
        atomic_store(&w->busy, 1);
        int state = atomic_load(&p->state);
        if (state == STATE_STOP) return NULL;
        take_part(w, state);
        atomic_store_explicit(&w->busy, 0, memory_order_release);
        wait_change(p, &p->news, seen);
    }
}

static void stop_workers(pool *p, int made) {
    pool_team(p, p->n);
    publish(p, STATE_STOP);
    for (int i = 1; i < made; i++) pthread_join(p->workers[i].id, NULL);
}

static void pool_destroy(pool *p) {
    pthread_cond_destroy(&p->cond);
    pthread_cond_destroy(&p->larger);
    pthread_mutex_destroy(&p->mutex);
    mem_free_aligned(p->workers);
    mem_free_aligned(p);
}

static int usable_cpus(cpu_set_t *set) {
    CPU_ZERO(set);
    if (sched_getaffinity(0, sizeof *set, set) == 0 && CPU_COUNT(set) > 0) return CPU_COUNT(set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    CPU_ZERO(set);
    for (long i = 0; i < n && i < CPU_SETSIZE; i++) CPU_SET((size_t)i, set);
    return n > 0 ? (int)n : 1;
}

// Workers take no signals: Ctrl-C and its like belong to the thread that called us. The faults of their own work they
// take: one that is blocked ends the process, whatever its handler would do (src/gguf/guard.c survives SIGBUS).
static int create_quiet(worker *w) {
    sigset_t all, before;
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&w->id, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

tl_status pool_new(int n, pool **out, tl_error *err) {
    *out = NULL;
    if (n < 1 || n > 4096) return err_set(err, TL_E_USAGE, "a pool of %d threads: from 1 to 4096 are possible", n);
    pool *p = mem_alloc_aligned(sizeof *p, LINE);
    if (!p) return err_set(err, TL_E_MEMORY, "out of memory for a thread pool");
    memset(p, 0, sizeof *p);
    p->n = n;
    cpu_set_t set;
    bool crowded = n > usable_cpus(&set);
    p->spins = crowded ? SPIN_CROWDED : SPIN_PAUSES;
    p->yields = crowded ? YIELDS_CROWDED : YIELDS;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->cond, NULL);
    pthread_cond_init(&p->larger, NULL);
    atomic_store(&p->team, n);
    atomic_store(&p->state, STATE_NONE);
    p->workers = mem_alloc_aligned((size_t)n * sizeof *p->workers, LINE);
    if (!p->workers) {
        pool_destroy(p);
        return err_set(err, TL_E_MEMORY, "out of memory for %d threads", n);
    }
    memset(p->workers, 0, (size_t)n * sizeof *p->workers);
    for (int i = 1; i < n; i++) {
        p->workers[i].p = p;
        p->workers[i].index = i;
        if (create_quiet(&p->workers[i]) == 0) continue;
        stop_workers(p, i);
        pool_destroy(p);
        return err_set(err, TL_E_MEMORY, "the system refused thread %d of %d", i + 1, n);
    }
    *out = p;
    return TL_OK;
}

void pool_free(pool *p) {
    if (!p) return;
    stop_workers(p, p->n);
    pool_destroy(p);
}

int pool_size(const pool *p) { return p->n; }

void pool_run(pool *p, pool_fn fn, void *ctx) {
    atomic_store_explicit(&p->cursor, 0, memory_order_relaxed);
    if (p->n == 1) {
        fn(ctx, 0, 1);
        return;
    }
    pool_team(p, p->n);
    uint32_t seen = atomic_load_explicit(&p->finished, memory_order_relaxed);
    p->fn = fn;
    p->ctx = ctx;
    p->runs++;
    atomic_store_explicit(&p->running, p->n - 1, memory_order_relaxed);
    publish(p, STATE_RUN);
    fn(ctx, 0, p->n);
    wait_change(p, &p->finished, seen);
    retire(p);
}

static void barrier(pool *p, bool reset) {
    if (p->n > 1) {
        uint32_t seen = atomic_load_explicit(&p->phase, memory_order_relaxed); // cannot change before we have arrived
        if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) != p->n - 1) {
            wait_change(p, &p->phase, seen);
            return;
        }
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    }
    if (reset) atomic_store_explicit(&p->cursor, 0, memory_order_relaxed);
    if (p->n == 1) return;
    atomic_fetch_add(&p->phase, 1);
    wake_sleepers(p);
}

void pool_barrier(pool *p) { barrier(p, false); }
void pool_barrier_reset(pool *p) { barrier(p, true); }

bool pool_take(pool *p, int64_t total, int64_t chunk, int64_t *begin, int64_t *end) {
    int64_t at = atomic_fetch_add_explicit(&p->cursor, chunk, memory_order_relaxed);
    if (at >= total) return false;
    *begin = at;
    *end = chunk < total - at ? at + chunk : total;
    return true;
}

// The lowest-numbered hardware thread of the core that holds `cpu`, or cpu itself where the system does not say.
static int core_leader(int cpu) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    int first = cpu;
    if (f) {
        if (fscanf(f, "%d", &first) != 1) first = cpu;
        fclose(f);
    }
    return first;
}

// CPUs that the control group allows by time, rounded up; `most` where there is no limit.
static int quota_cpus(int most) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    long long quota, period;
    int n = most;
    if (f) {
        if (fscanf(f, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0 && (quota + period - 1) / period < most)
            n = (int)((quota + period - 1) / period);
        fclose(f);
    }
    return n < 1 ? 1 : n;
}

int pool_default_threads(void) {
    cpu_set_t set, cores;
    int n = usable_cpus(&set);
    CPU_ZERO(&cores);
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, &set)) continue;
        int lead = core_leader(i);
        if (lead >= 0 && lead < CPU_SETSIZE) CPU_SET((size_t)lead, &cores);
    }
    int found = CPU_COUNT(&cores);
    return quota_cpus(found > 0 ? found : n);
}
