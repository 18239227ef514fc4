// gpu_profile.c - the time of a plan's kernels on a device: points in the stream between its launches. While it is measured
// launches are not recorded, and none begins before the one before it has ended.
//
// A launch that does the work of several kernels counts for each of them by the bytes that they read (equally where they
// read none); a norm or quantizing that is part of a product's launch counts as the product.
#include <time.h>

#include "plan/gpu.h"

tl_status gpu_profile_point(const plan *p, int i, tl_error *err) { return p->profile ? cuda_mark(p->device, i, err) : TL_OK; }

static double weight_of(const kernel *k) {
    const ir_node *n = k->node;
    const ir_weight *w = n->op == IR_LINEAR || n->op == IR_EMBED ? n->u.weight : NULL;
    return w && w->rows ? (double)w->bytes * (double)n->inner / (double)w->rows : 0;
}

static int index_of(const plan *p, const kernel *k) {
    for (int i = 0; i < p->n_kernels; i++)
        if (p->kernels[i] == k) return i;
    return 0;
}

static void add_time(plan *p, int i, double ns) {
    p->profile[i].ns += ns;
    p->profile[i].units++;
}

// The launch in the place of kernel i, over all whose work it does.
static void share_time(plan *p, int i, double ns) {
    const kernel *k = p->kernels[i];
    const gpu_role *r = k->gpu;
    double all = weight_of(k);
    int members = 1;
    for (int m = 0; m < r->n; m++)
        if (r->member[m] != k) all += weight_of(r->member[m]), members++;
    if (members == 1) return add_time(p, i, ns);
    for (int m = 0; m < r->n; m++)
        if (r->member[m] != k) add_time(p, index_of(p, r->member[m]), all > 0 ? ns * weight_of(r->member[m]) / all : ns / members);
    add_time(p, i, all > 0 ? ns * weight_of(k) / all : ns / members);
}

tl_status gpu_profile_collect(plan *p, tl_error *err) {
    if (!p->profile) return TL_OK;
    TL_TRY(cuda_sync(p->device, err));
    double total = 1e6 * cuda_between(p->device, 0, p->n_kernels), begin = clock_ns() - total;
    for (int i = 0; i < p->n_kernels; i++) {
        const gpu_role *r = p->kernels[i]->gpu;
        double ns = 1e6 * cuda_between(p->device, i, i + 1);
        if (r->kind == GPU_SKIP || r->kind == GPU_NORM) continue; // its place is empty
        share_time(p, i, ns);
        if (p->events) {
            size_t at = p->event_counts[0].n++;
            if (at < p->most_events) p->events[at] = (plan_event){i, 1, begin + 1e6 * cuda_between(p->device, 0, i), ns};
        }
    }
    return TL_OK;
}
