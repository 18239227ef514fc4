// check.c - the values that a run stores, looked through while they are fresh: stage by stage, before their place in the
// workspace goes to others.
#include <math.h>

#include "plan/plan_int.h"

enum { MANY = 1024 }; // values that are looked at together, and then for the one found

static bool is_bad(float x, bool meant) { return meant ? isnan(x) : !isfinite(x); }

// The first position, or n.
static int64_t first_bad(const cpu_kernels *k, const float *x, int64_t n, bool meant) {
    for (int64_t i = 0; i < n;) {
        int64_t end = n - i < MANY ? n : i + MANY;
        if (k->all_finite(x + i, end - i)) i = end;
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
    int64_t n = v->inner * sym_rows(p, v->sym, 1), bad = first_bad(p->k, p->base[k->out], n, p->meant[at]);
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
