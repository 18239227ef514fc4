// check.c - the values that a run stores, looked through while they are fresh: stage by stage, before their place in the
// workspace goes to others.
#include <math.h>

#include "plan/plan_int.h"

enum { BLOCK = 16, MANY = 1024 }; // floats a vector; at most so many are looked at together, and then for the one found

// All bits of a float's exponent set: infinite or NaN. With the sign away, one more unit of the exponent carries into the sign's
// place for these alone; so a vector costs an AND, an ADD and an OR.
typedef uint32_t lanes __attribute__((vector_size(64), aligned(4), may_alias)); // the compiler makes of it what the target has
#define ANY_BAD                                                                                                        \
    lanes bad = {0};                                                                                                   \
    uint32_t any = 0;                                                                                                  \
    for (int64_t i = 0; i < n; i += BLOCK) bad |= (*(const lanes *)(x + i) & 0x7fffffffu) + 0x00800000u;               \
    for (int i = 0; i < BLOCK; i++) any |= bad[i];                                                                     \
    return any >> 31;
static bool any_plain(const float *x, int64_t n) { ANY_BAD }
#if defined(__x86_64__)
__attribute__((target("avx2"))) static bool any_avx2(const float *x, int64_t n) { ANY_BAD }
__attribute__((target("avx512f"))) static bool any_avx512(const float *x, int64_t n) { ANY_BAD }
#endif

typedef bool (*any_fn)(const float *x, int64_t n);
static any_fn any_best(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return any_avx512;
    if (__builtin_cpu_supports("avx2")) return any_avx2;
#endif
    return any_plain;
}

static bool is_bad(float x, bool meant) { return meant ? isnan(x) : !isfinite(x); }

// The first position, or n.
static int64_t first_bad(const float *x, int64_t n, bool meant) {
    any_fn any = any_best();
    for (int64_t i = 0; i < n;) {
        int64_t whole = (n - i < MANY ? n - i : MANY) / BLOCK * BLOCK, end = whole ? i + whole : n;
        if (whole && !any(x + i, whole)) i = end;
        for (; i < end; i++)
            if (is_bad(x[i], meant)) return i;
    }
    return n;
}

static void check_kernel(plan *p, int at) {
    const kernel *k = p->kernels[at];
    if (k->out < 0) return;
    const value *v = &p->values[k->out];
    if (v->place != V_WORK || v->type != DT_F32 || v->inner == 0) return;
    int64_t n = v->inner * sym_rows(p, v->sym, 1), bad = first_bad(p->base[k->out], n, p->meant[at]);
    if (bad == n) return;
    int64_t row = v->sym ? bad / v->inner : 0;
    if (!p->fault.node || row < p->fault.row) p->fault = (plan_fault){k->node, row};
}

void check_stage(plan *p, int s) {
    if (p->fault.node) return; // of an earlier stage
    for (int i = 0; i < p->stages[s].n; i++) {
        const item *it = &p->items[p->stages[s].first + i];
        for (int k = 0; k < it->n; k++) check_kernel(p, it->first + k);
    }
}

tl_status plan_trap(plan *p, bool on, tl_error *err) {
    mem_free(p->meant);
    p->meant = NULL;
    p->fault = (plan_fault){0};
    if (!on) return TL_OK;
    if (p->device) return err_set(err, TL_E_UNSUPPORTED, "values on a GPU are not looked through: --nan-trap works on the CPU, without --device");
    if (!(p->meant = mem_calloc((size_t)p->n_kernels + 1, 1))) return err_set(err, TL_E_MEMORY, "out of memory");
    for (int i = 0; i < p->n_kernels; i++) p->meant[i] = ir_infinity_meant(p->kernels[i]->node);
    return TL_OK;
}

plan_fault plan_first_fault(const plan *p) { return p->fault; }
