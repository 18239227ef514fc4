// pool.c - the team of threads behind pool.h.
// Every wait is one pattern, wait_change(): spin with pause, then yield, then sleep on the pool's condition variable until
// a word has another value. Who changes a word calls wake_sleepers(), which costs one load when nobody sleeps.
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
    YIELDS = 1000,        // then sleep
    YIELDS_CROWDED = 32,
};

typedef struct worker {
    pool *p;
    int index;
    pthread_t id;
} worker;

struct pool {
    int n, spins, yields;
    worker *workers; // [n]; 0 is unused
    pool_fn fn;      // published by `job`
    void *ctx;
    bool stop;
    _Alignas(LINE) _Atomic uint32_t job;      // counts pool_run calls
    _Alignas(LINE) _Atomic uint32_t finished; // counts pool_run calls whose workers are all done
    _Alignas(LINE) _Atomic int running;       // workers still in fn
    _Alignas(LINE) _Atomic int arrived;       // at the barrier
    _Alignas(LINE) _Atomic uint32_t phase;    // counts barriers passed
    _Alignas(LINE) _Atomic int64_t cursor;
    _Alignas(LINE) _Atomic int sleepers;
    pthread_mutex_t mutex;
    pthread_cond_t cond;
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

static void *worker_main(void *arg) {
    worker *w = arg;
    pool *p = w->p;
    for (uint32_t seen = 0;; seen++) {
        wait_change(p, &p->job, seen);
        if (p->stop) return NULL;
        p->fn(p->ctx, w->index, p->n);
        if (atomic_fetch_sub_explicit(&p->running, 1, memory_order_acq_rel) == 1) {
            atomic_fetch_add(&p->finished, 1);
            wake_sleepers(p);
        }
    }
}

static void stop_workers(pool *p, int made) {
    p->stop = true;
    atomic_fetch_add(&p->job, 1);
    wake_sleepers(p);
    for (int i = 1; i < made; i++) pthread_join(p->workers[i].id, NULL);
}

static void pool_destroy(pool *p) {
    pthread_cond_destroy(&p->cond);
    pthread_mutex_destroy(&p->mutex);
    mem_free(p->workers);
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
    p->workers = mem_calloc((size_t)n, sizeof *p->workers);
    if (!p->workers) {
        pool_destroy(p);
        return err_set(err, TL_E_MEMORY, "out of memory for %d threads", n);
    }
    for (int i = 1; i < n; i++) {
        p->workers[i] = (worker){.p = p, .index = i};
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
    uint32_t seen = atomic_load_explicit(&p->finished, memory_order_relaxed);
    p->fn = fn;
    p->ctx = ctx;
    atomic_store_explicit(&p->running, p->n - 1, memory_order_relaxed);
    atomic_fetch_add(&p->job, 1);
    wake_sleepers(p);
    fn(ctx, 0, p->n);
    wait_change(p, &p->finished, seen);
}

typedef struct barrier_work { // what threads do at a barrier
    pool_barrier_fn last, early;
    void *ctx;
    int thread;
} barrier_work;

static void barrier(pool *p, bool reset, const barrier_work *work) {
    if (p->n > 1) {
        uint32_t seen = atomic_load_explicit(&p->phase, memory_order_relaxed); // cannot change before we have arrived
        if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) != p->n - 1) {
            if (work && work->early) work->early(work->ctx, work->thread);
            wait_change(p, &p->phase, seen);
            return;
        }
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
    }
    if (reset) atomic_store_explicit(&p->cursor, 0, memory_order_relaxed);
    if (work && work->last) work->last(work->ctx, work->thread);
    if (p->n == 1) return;
    atomic_fetch_add(&p->phase, 1);
    wake_sleepers(p);
}

void pool_barrier(pool *p) { barrier(p, false, NULL); }
void pool_barrier_reset(pool *p) { barrier(p, true, NULL); }
void pool_barrier_then(pool *p, int thread, pool_barrier_fn last, pool_barrier_fn early, void *ctx) {
    barrier(p, true, &(barrier_work){last, early, ctx, thread});
}

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
