// simt.cpp - the machine behind simt.h: fibers, their meetings, and what tensor-core instructions compute.
#include "simt.h"

#include <stdio.h>

struct meeting_point {
    simt_meeting m;
    const void *what;
    uint32_t arrived;
};

struct copy {
    void *dst;
    const void *src;
    bool valid;
};

enum { MAX_THREADS = 1024, STACK = 128 << 10, COPIES = 512, GROUPS = 64 };

struct simt_thread {
    void *sp;
    simt_dim tid;
    enum { READY, MEETING, BARRIER, DONE } state;
    copy copies[COPIES]; // in order; groups[i]: where group i ends
    int n_copies, groups[GROUPS], n_groups;
};

simt_thread_view simt_now;
static simt_thread *threads;
static char *stacks;
static meeting_point points[MAX_THREADS / 32];
static simt_thread *self;
static void *scheduler_sp;
static unsigned block_threads, alive, at_barrier;
static int barrier_or, barrier_result;
static unsigned char *smem;
static simt_entry entry;
static const void *entry_args;
static simt_kernel *kernels;

static void die(const char *what) {
    fprintf(stderr, "simt: %s (block %u,%u,%u thread %u)\n", what, simt_now.bid.x, simt_now.bid.y, simt_now.bid.z, simt_now.tid.x);
    abort();
}

// ---- fibers ---------------------------------------------------------------------------------------------
#ifdef __x86_64__
extern "C" void simt_swap(void **from, void *to);
__asm__(".text\n.globl simt_swap\n.type simt_swap,@function\nsimt_swap:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp, (%rdi)\nmov %rsi, %rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        ".size simt_swap,.-simt_swap\n.section .note.GNU-stack,\"\",@progbits\n.text\n");
static void fiber_main();
static void *fiber_new(char *stack, size_t bytes) {
    void **sp = (void **)((uintptr_t)(stack + bytes) & ~(uintptr_t)63);
    *--sp = 0;
    *--sp = (void *)fiber_main;
    for (int i = 0; i < 6; i++) *--sp = 0;
    return sp;
}
#else
#include <ucontext.h>
static void fiber_main();
static void simt_swap(void **from, void *to) {
    ucontext_t here;
    *from = &here;
    swapcontext(&here, (ucontext_t *)to);
}
static ucontext_t fresh[MAX_THREADS];
static void *fiber_new(char *stack, size_t bytes) {
    ucontext_t *c = &fresh[(stack - stacks) / STACK];
    getcontext(c);
    c->uc_stack.ss_sp = stack;
    c->uc_stack.ss_size = bytes;
    c->uc_link = 0;
    makecontext(c, fiber_main, 0);
    return c;
}
#endif

static void yield() { simt_swap(&self->sp, scheduler_sp); }

static void release_barrier() {
    if (!alive || at_barrier < alive) return;
    for (unsigned i = 0; i < block_threads; i++)
        if (threads[i].state == simt_thread::BARRIER) threads[i].state = simt_thread::READY;
    at_barrier = 0;
    barrier_result = barrier_or;
    barrier_or = 0;
}

static void fiber_main() {
    entry(entry_args);
    simt_copies_wait(0);
    self->state = simt_thread::DONE;
    alive--;
    release_barrier();
    yield();
}

static void resume(simt_thread *t) {
    self = t;
    simt_now.tid = t->tid;
    simt_swap(&scheduler_sp, t->sp);
}

static uint32_t random_next(uint32_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return *s;
}

static void run_block(uint32_t *seed) {
    unsigned n = block_threads, warps = (n + 31) / 32;
    memset(points, 0, sizeof points);
    alive = n;
    at_barrier = 0;
    barrier_or = 0;
    for (unsigned i = 0; i < n; i++) {
        simt_thread *t = &threads[i];
        t->sp = fiber_new(stacks + (size_t)i * STACK, STACK);
        t->tid = {i % simt_now.bdim.x, i / simt_now.bdim.x % simt_now.bdim.y, i / simt_now.bdim.x / simt_now.bdim.y};
        t->state = simt_thread::READY;
        t->n_copies = t->n_groups = 0;
    }
    while (alive) { // a warp at a time, as far as it comes
        unsigned first = random_next(seed) % warps, moved = 0;
        for (unsigned w = 0; w < warps; w++) {
            unsigned warp = (first + w) % warps;
            bool any = true;
            while (any) {
                any = false;
                for (unsigned l = 0; l < 32 && warp * 32 + l < n; l++) {
                    simt_thread *t = &threads[warp * 32 + l];
                    if (t->state != simt_thread::READY) continue;
                    resume(t);
                    any = true;
                    moved++;
                }
                if (random_next(seed) % 4 == 0) break; // let another warp overtake
            }
        }
        if (!moved) die("deadlock: threads wait for others that never come");
    }
}

simt_kernel::simt_kernel(const char *n, simt_entry e, unsigned bytes, unsigned most) : name(n), entry(e), args_bytes(bytes), max_threads(most), next(kernels) {
    kernels = this;
}

const simt_kernel *simt_find(const char *name) {
    for (simt_kernel *k = kernels; k; k = k->next)
        if (!strcmp(k->name, name)) return k;
    return 0;
}

const char *simt_name(int i, unsigned *args_bytes, unsigned *max_threads) {
    simt_kernel *k = kernels;
    while (k && i--) k = k->next;
    if (!k) return 0;
    *args_bytes = k->args_bytes;
    *max_threads = k->max_threads;
    return k->name;
}

int simt_launch(const char *name, const unsigned grid[3], const unsigned block[3], unsigned smem_bytes, const void *args) {
    const simt_kernel *k = simt_find(name);
    size_t n = (size_t)block[0] * block[1] * block[2];
    if (!k || !n || n > k->max_threads || smem_bytes > 227 * 1024 || !grid[0] || !grid[1] || !grid[2] || grid[1] > 65535 || grid[2] > 65535) return -1;
    if (!threads) {
        threads = (simt_thread *)calloc(MAX_THREADS, sizeof *threads);
        stacks = (char *)malloc((size_t)MAX_THREADS * STACK);
        smem = (unsigned char *)aligned_alloc(128, 256 * 1024);
        if (!threads || !stacks || !smem) die("out of memory");
    }
    const char *s = getenv("TL_SIMT_SEED");
    uint32_t seed = s && atoi(s) ? (uint32_t)atoi(s) : 1;
    entry = k->entry;
    entry_args = args;
    block_threads = (unsigned)n;
    simt_now.bdim = {block[0], block[1], block[2]};
    simt_now.gdim = {grid[0], grid[1], grid[2]};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                simt_now.bid = {x, y, z};
                memset(smem, 0xcd, smem_bytes);
                memset(smem + smem_bytes, 0xee, 1024);
                run_block(&seed);
                for (int i = 0; i < 1024; i++)
                    if (smem[smem_bytes + i] != 0xee) die("wrote past the end of shared memory");
            }
    return 0;
}

void *simt_smem() { return smem; }
unsigned simt_lane() { return (unsigned)(self - threads) % 32; }

// ---- meetings ---------------------------------------------------------------------------------------------
void __syncthreads() {
    self->state = simt_thread::BARRIER;
    at_barrier++;
    release_barrier();
    yield();
}

int __syncthreads_or(int pred) {
    barrier_or |= pred != 0;
    __syncthreads();
    return barrier_result;
}

void simt_meet(uint32_t mask, const void *what, void (*all)(simt_meeting *, int), int arg, const void *in, void *out) {
    unsigned index = (unsigned)(self - threads), lane = index % 32, warp = index / 32;
    if (warp * 32 + 32 > block_threads) mask &= (1u << (block_threads - warp * 32)) - 1;
    meeting_point *p = &points[warp];
    if (!(mask >> lane & 1)) die("a lane is not in its own mask");
    if (p->arrived && (p->what != what || p->m.mask != mask)) die("lanes of a warp meet at different instructions");
    p->what = what;
    p->m.mask = mask;
    p->m.in[lane] = in;
    p->m.out[lane] = out;
    p->arrived |= 1u << lane;
    if (p->arrived != mask) {
        self->state = simt_thread::MEETING;
        yield();
        return;
    }
    if (all) all(&p->m, arg);
    p->arrived = 0;
    for (unsigned i = 0; i < 32; i++)
        if (mask >> i & 1) threads[warp * 32 + i].state = simt_thread::READY;
}

void simt_ballot_all(simt_meeting *m, int) {
    uint32_t r = 0;
    for (int i = 0; i < 32; i++)
        if (m->mask >> i & 1 && *(const int *)m->in[i]) r |= 1u << i;
    for (int i = 0; i < 32; i++)
        if (m->mask >> i & 1) *(uint32_t *)m->out[i] = r;
}

// ---- tensor cores -------------------------------------------------------------------------------------------
// Fragments: lane 4 g + t. A: word 0 row g, 1 row g + 8, 2 and 3 the second half of k; a word is 4 (s8) or 2 (half) values from
// k = 4 t or 2 t. B: word h column g, half h of k. C: 0, 1 row g, columns 2 t, 2 t + 1; 2, 3 row g + 8.
struct mma_in {
    uint32_t a[4], b[2];
    union {
        int i[4];
        float f[4];
    } c;
};

static void mma_s8_all(simt_meeting *m, int k) {
    static int8_t A[16][32], B[8][32];
    int half = k / 2; // per fragment word group
    for (int l = 0; l < 32; l++) {
        const mma_in *in = (const mma_in *)m->in[l];
        int g = l / 4, t = l % 4;
        for (int e = 0; e < 4; e++) {
            if (k == 32) {
                for (int w = 0; w < 4; w++) A[g + w % 2 * 8][w / 2 * half + 4 * t + e] = (int8_t)(in->a[w] >> (8 * e));
                for (int w = 0; w < 2; w++) B[g][w * half + 4 * t + e] = (int8_t)(in->b[w] >> (8 * e));
            } else {
                for (int w = 0; w < 2; w++) A[g + w * 8][4 * t + e] = (int8_t)(in->a[w] >> (8 * e));
                B[g][4 * t + e] = (int8_t)(in->b[0] >> (8 * e));
            }
        }
    }
    for (int l = 0; l < 32; l++) {
        const mma_in *in = (const mma_in *)m->in[l];
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + i / 2 * 8, col = l % 4 * 2 + i % 2, s = in->c.i[i];
            for (int x = 0; x < k; x++) s += A[row][x] * B[col][x];
            ((int *)m->out[l])[i] = s;
        }
    }
}

void simt_mma_s8(int c[4], const uint32_t *a, const uint32_t *b, int k) {
    mma_in in;
    memcpy(in.a, a, 16);
    memcpy(in.b, b, 8);
    memcpy(in.c.i, c, 16);
    simt_meet(0xffffffffu, (const void *)mma_s8_all, mma_s8_all, k, &in, c);
}

static void mma_half_all(simt_meeting *m, int bf) {
    static float A[16][16], B[8][16];
    for (int l = 0; l < 32; l++) {
        const mma_in *in = (const mma_in *)m->in[l];
        int g = l / 4, t = l % 4;
        for (int e = 0; e < 2; e++) {
            for (int w = 0; w < 4; w++) {
                uint32_t h = in->a[w] >> (16 * e) & 0xffff;
                A[g + w % 2 * 8][w / 2 * 8 + 2 * t + e] = bf ? __uint_as_float(h << 16) : f16_float(h);
            }
            for (int w = 0; w < 2; w++) {
                uint32_t h = in->b[w] >> (16 * e) & 0xffff;
                B[g][w * 8 + 2 * t + e] = bf ? __uint_as_float(h << 16) : f16_float(h);
            }
        }
    }
    for (int l = 0; l < 32; l++) {
        const mma_in *in = (const mma_in *)m->in[l];
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + i / 2 * 8, col = l % 4 * 2 + i % 2;
            double s = 0;
            for (int x = 0; x < 16; x++) s += (double)A[row][x] * B[col][x];
            ((float *)m->out[l])[i] = (float)(in->c.f[i] + s);
        }
    }
}

void simt_mma_half(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, bool bf) {
    mma_in in;
    memcpy(in.a, a, 16);
    in.b[0] = b0;
    in.b[1] = b1;
    memcpy(in.c.f, c, 16);
    simt_meet(0xffffffffu, (const void *)mma_half_all, mma_half_all, bf, &in, c);
}

static void ldmatrix_all(simt_meeting *m, int trans) {
    uint32_t got[32][4];
    for (int l = 0; l < 32; l++) {
        if ((uintptr_t)m->in[l] & 15) die("ldmatrix: a row is not 16-byte aligned");
        for (int j = 0; j < 4; j++) {
            uint16_t v[2];
            for (int e = 0; e < 2; e++) {
                int row = trans ? l % 4 * 2 + e : l / 4, col = trans ? l / 4 : l % 4 * 2 + e;
                memcpy(&v[e], (const uint16_t *)m->in[j * 8 + row] + col, 2);
            }
            got[l][j] = v[0] | (uint32_t)v[1] << 16;
        }
    }
    for (int l = 0; l < 32; l++) memcpy(m->out[l], got[l], 16);
}

void simt_ldmatrix(uint32_t r[4], const void *row, bool trans) {
    simt_meet(0xffffffffu, (const void *)ldmatrix_all, ldmatrix_all, trans, row, r);
}

// ---- copies in the background ------------------------------------------------------------------------------
void cp_async16(void *dst, const void *src, bool valid) {
    if (((uintptr_t)dst | (uintptr_t)src) & 15) die("cp.async: not 16-byte aligned");
    if ((unsigned char *)dst < smem || (unsigned char *)dst >= smem + 227 * 1024) die("cp.async: not into shared memory");
    if (self->n_copies == COPIES) die("cp.async: too many");
    self->copies[self->n_copies++] = {dst, src, valid};
}

void cp_async_commit() {
    if (self->n_groups == GROUPS) die("cp.async: too many groups");
    self->groups[self->n_groups++] = self->n_copies;
}

void simt_copies_wait(int left) {
    int done = self->n_groups - left;
    if (done <= 0) return;
    int end = self->groups[done - 1];
    for (int i = 0; i < end; i++) {
        if (self->copies[i].valid) memcpy(self->copies[i].dst, self->copies[i].src, 16);
        else memset(self->copies[i].dst, 0, 16);
    }
    memmove(self->copies, self->copies + end, (size_t)(self->n_copies - end) * sizeof(copy));
    self->n_copies -= end;
    for (int i = done; i < self->n_groups; i++) self->groups[i - done] = self->groups[i] - end;
    self->n_groups = left < self->n_groups ? left : self->n_groups;
}
