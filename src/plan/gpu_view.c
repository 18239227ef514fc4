// gpu_view.c - two orders of a plan's kernels. In steps all of whose rows are wanted, as in decoding, what picks the wanted rows
// (ir/rows.c) would pick all of them: in the second view nothing does, its readers read what it picks from. So the last layer
// is launched like the others, with its products together and its attention alone with its row.
//
// Kernels and values have the same numbers in both views; the workspace is laid out for each.
#include "plan/gpu.h"

static bool picks_wanted(const plan *p, const kernel *k) { // the step's `out` rows of something
    const ir_node *n = k->node, *index = n->n_in == 2 ? n->in[1].node : NULL;
    if (!ir_picks_rows(n) || index->op != IR_INPUT || index->sub != INPUT_OUT) return false;
    int64_t limit = n->u.gather.limit[0];
    return limit <= 0 || limit >= p->limits.max_rows;
}

static bool find_picked(plan *p) {
    gpu_plan *g = p->gpu;
    bool found = false;
    g->picked = arena_array(&p->mem, int32_t, p->n_values + 1);
    for (int i = 0; i < p->n_values; i++) g->picked[i] = -1;
    for (int i = 0; i < p->n_kernels; i++)
        if (picks_wanted(p, p->kernels[i])) g->picked[p->kernels[i]->out] = p->kernels[i]->in[0].value, found = true;
    return found;
}

static int32_t instead(const gpu_plan *g, int32_t v) { return v >= 0 && g->picked[v] >= 0 ? g->picked[v] : v; }

// As k, but with rows for wanted rows, and nothing picked.
static kernel *copy_kernel(plan *p, const kernel *k) {
    const gpu_plan *g = p->gpu;
    kernel *c = arena_dup(&p->mem, k, sizeof *k);
    int n_in = k->in ? k->node->n_in : 0;
    if (c->sym == SYM_OUT) c->sym = SYM_ROWS;
    c->stage = c->depth = 0;
    if (k->out >= 0 && g->picked[k->out] >= 0) {
        c->out = -1, c->n_reads = 0;
        return c;
    }
    c->in = arena_dup(&p->mem, k->in, sizeof *k->in * (size_t)n_in);
    c->reads = arena_dup(&p->mem, k->reads, sizeof *k->reads * (size_t)k->n_reads);
    for (int e = 0; e < n_in; e++) c->in[e].value = instead(g, k->in[e].value);
    for (int r = 0; r < k->n_reads; r++) c->reads[r].value = instead(g, k->reads[r].value);
    return c;
}

static value *copy_values(plan *p) {
    const gpu_plan *g = p->gpu;
    value *v = arena_dup(&p->mem, p->values, sizeof *p->values * (size_t)p->n_values);
    for (int i = 0; i < p->n_values; i++) {
        bool kept = v[i].last == INT32_MAX;
        v[i].first = 0;
        v[i].last = kept ? INT32_MAX : -1;
    }
    for (int i = 0; i < p->n_values; i++) {
        if (g->picked[i] < 0) continue;
        if (v[i].last == INT32_MAX) v[g->picked[i]].last = INT32_MAX;
        v[i].place = V_NONE, v[i].maker = -1;
    }
    return v;
}

static void switch_to(plan *p, const gpu_view *v) { p->kernels = v->kernels, p->values = v->values, p->base = v->base, p->gpu->norm_of = v->norm_of; }

static tl_status make_view(plan *p, int which, tl_error *err) {
    size_t bytes = p->work_bytes;
    TL_TRY(gpu_fuse(p, err));
    TL_TRY(plan_memory(p, err));
    p->gpu->view[which] = (gpu_view){p->kernels, p->values, p->base, p->gpu->norm_of};
    if (p->work_bytes < bytes) p->work_bytes = bytes;
    return TL_OK;
}

tl_status gpu_views_make(plan *p, tl_error *err) {
    gpu_plan *g = p->gpu;
    bool second = find_picked(p);
    gpu_view other = {0};
    if (second) { // before the first view's memory makes values live longer
        other = (gpu_view){.kernels = arena_array(&p->mem, kernel *, p->n_kernels + 1), .values = copy_values(p), .base = arena_array(&p->mem, void *, p->n_values + 1)};
        for (int i = 0; i < p->n_kernels; i++) other.kernels[p->kernels[i]->id] = copy_kernel(p, p->kernels[i]);
    }
    TL_TRY(make_view(p, 0, err));
    if (!second) return TL_OK;
    switch_to(p, &other);
    tl_status st = plan_order(p, err);
    if (st == TL_OK) st = make_view(p, 1, err);
    switch_to(p, &g->view[0]);
    return st;
}

void gpu_views_place(plan *p) {
    gpu_plan *g = p->gpu;
    for (int w = 0; w < 2; w++) {
        const gpu_view *v = &g->view[w];
        for (int i = 0; v->kernels && i < p->n_values; i++) v->base[i] = v->values[i].place == V_WORK ? (char *)g->work + v->values[i].offset : g->view[0].base[i];
    }
}

int gpu_view_of(const gpu_plan *g, const plan_step *s) {
    if (!g->view[1].kernels || s->outs != s->rows) return 0;
    for (int64_t i = 0; i < s->outs; i++)
        if (s->in[INPUT_OUT][i] != i) return 0;
    return 1;
}

void gpu_view_take(plan *p, int which) { switch_to(p, &p->gpu->view[which]); }

void gpu_view_leave(plan *p) {
    void **base = p->base;
    switch_to(p, &p->gpu->view[0]);
    p->base = base;
}

void gpu_view_inputs(plan *p) {
    const gpu_plan *g = p->gpu;
    for (int i = 0; p->base == g->view[1].base && i < p->n_values; i++)
        if (g->picked[i] >= 0) p->base[i] = p->base[g->picked[i]];
}
