// stage.c - kernels into stages: who must wait for whom, which row kernels share a unit of work, and where every value
// lies in the one workspace.
#include <limits.h>
#include <sys/mman.h>

#include "plan/plan_int.h"

// ---- stages --------------------------------------------------------------------------------------
static bool joins(const kernel *a, const kernel *b, bool local) { return local && a->kind == K_ROW && b->kind == K_ROW && a->sym == b->sym; }

static bool lift(kernel *k, int32_t to, int32_t depth) {
    if (to < k->stage || (to == k->stage && depth <= k->depth)) return false;
    k->stage = to;
    k->depth = depth;
    return true;
}

// One pass of longest-path labelling; kernels are nearly in order, so two passes nearly always suffice.
static bool relax(plan *p) {
    bool changed = false;
    for (int i = 0; i < p->n_kernels; i++) {
        kernel *k = p->kernels[i];
        for (int r = 0; r < k->n_reads; r++) {
            int32_t maker = p->values[k->reads[r].value].maker;
            if (maker < 0) continue;
            const kernel *d = p->kernels[maker];
            if (joins(d, k, k->reads[r].local)) changed |= lift(k, d->stage, d->depth + 1);
            else changed |= lift(k, d->stage + 1, 0);
        }
        for (int a = 0; a < k->n_after; a++) changed |= lift(k, p->kernels[k->after[a]]->stage + 1, 0);
    }
    return changed;
}

static int item_class(const kernel *k) { return k->kind != K_ROW ? 2 : k->sym == SYM_ROWS ? 0 : 1; }

static int by_execution(const void *a, const void *b) {
    const kernel *x = *(kernel *const *)a, *y = *(kernel *const *)b;
    if (x->stage != y->stage) return x->stage < y->stage ? -1 : 1;
    int cx = item_class(x), cy = item_class(y);
    if (cx != cy) return cx - cy;
    if (x->depth != y->depth) return x->depth < y->depth ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static void make_items(plan *p) {
    p->items = arena_array(&p->mem, item, p->n_kernels + 1);
    p->n_stages = p->n_kernels ? p->kernels[p->n_kernels - 1]->stage + 1 : 0;
    p->stages = arena_array(&p->mem, stage, p->n_stages + 1);
    for (int i = 0, end; i < p->n_kernels; i = end) {
        const kernel *k = p->kernels[i];
        end = i + 1;
        if (k->kind == K_ROW)
            while (end < p->n_kernels && p->kernels[end]->stage == k->stage && item_class(p->kernels[end]) == item_class(k)) end++;
        item *it = &p->items[p->n_items];
        *it = (item){.first = i, .n = end - i, .kind = k->kind, .sym = k->sym};
        for (int j = i; j < end; j++) it->cost += p->kernels[j]->cost;
        stage *s = &p->stages[k->stage];
        if (s->n++ == 0) s->first = p->n_items;
        p->n_items++;
    }
}

// Attention calls of one stage may run at the same time: each has a work area of its own.
static void make_attention_areas(plan *p) {
    p->attns = arena_array(&p->mem, kernel *, p->n_kernels + 1);
    int32_t last = -1, in_stage = 0;
    for (int i = 0; i < p->n_kernels; i++) {
        kernel *k = p->kernels[i];
        if (k->kind != K_ATTN) continue;
        in_stage = k->stage == last ? in_stage + 1 : 0;
        last = k->stage;
        ((attn_plan *)k->args)->work = in_stage;
        if (in_stage + 1 > p->n_attn_work) p->n_attn_work = in_stage + 1;
        p->attns[p->n_attns++] = k;
    }
    p->attn_work = arena_array(&p->mem, char *, p->n_attn_work + 1);
}

// How an attention call is cut depends on its rows' sequences, which must be known before the stages run.
static tl_status find_early(plan *p, tl_error *err) {
    p->early = arena_array(&p->mem, kernel *, p->n_attns * 2 + 1);
    for (int i = 0; i < p->n_attns; i++)
        for (int e = 3; e < p->attns[i]->node->n_in; e++) {
            int32_t v = p->attns[i]->in[e].value;
            if (p->values[v].place != V_WORK) continue;
            bool known = false;
            for (int j = 0; j < p->n_early; j++) known |= p->early[j]->out == v;
            for (int j = 0; j < p->n_kernels && !known; j++) {
                kernel *k = p->kernels[j];
                if (k->out != v) continue;
                for (int r = 0; r < k->n_reads; r++)
                    if (p->values[k->reads[r].value].place != V_INPUT)
                        return err_set(err, TL_E_UNSUPPORTED, "attention: sequence and position of a row must be the step's inputs");
                p->early[p->n_early++] = k;
                known = true;
            }
        }
    return TL_OK;
}

tl_status plan_order(plan *p, tl_error *err) {
    int passes = 0;
    while (relax(p))
        if (++passes > p->n_kernels + 1) return err_set(err, TL_E_PROGRAM, "the states are read and written in a circle");
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].maker >= 0) p->values[i].first = p->kernels[p->values[i].maker]->stage;
    for (int i = 0; i < p->n_kernels; i++) {
        const kernel *k = p->kernels[i];
        if (k->out >= 0 && p->values[k->out].last < k->stage) p->values[k->out].last = k->stage;
        for (int r = 0; r < k->n_reads; r++)
            if (p->values[k->reads[r].value].last < k->stage) p->values[k->reads[r].value].last = k->stage;
    }
    qsort(p->kernels, (size_t)p->n_kernels, sizeof *p->kernels, by_execution);
    return TL_OK;
}

tl_status plan_stages(plan *p, tl_error *err) {
    TL_TRY(plan_order(p, err));
    make_items(p);
    make_attention_areas(p);
    return find_early(p, err);
}

enum { HUGE_PAGE = 2 << 20 };

// ---- workspace -----------------------------------------------------------------------------------
// A free stretch, [begin, end); the list is ordered and has no two neighbours that touch.
typedef struct gap {
    size_t begin, end;
    struct gap *next;
} gap;

typedef struct space {
    arena *mem;
    gap *gaps, *spare;
    size_t top;
} space;

static size_t space_take(space *s, size_t bytes) { // best fit
    gap **best = NULL;
    for (gap **g = &s->gaps; *g; g = &(*g)->next)
        if ((*g)->end - (*g)->begin >= bytes && (!best || (*g)->end - (*g)->begin < (*best)->end - (*best)->begin)) best = g;
    if (!best) {
        size_t at = s->top;
        s->top += bytes;
        return at;
    }
    gap *g = *best;
    size_t at = g->begin;
    g->begin += bytes;
    if (g->begin == g->end) {
        *best = g->next;
        g->next = s->spare;
        s->spare = g;
    }
    return at;
}

static void space_give(space *s, size_t begin, size_t end) {
    gap **at = &s->gaps, *before = NULL;
    while (*at && (*at)->begin < begin) before = *at, at = &(*at)->next;
    gap *after = *at;
    if (before && before->end == begin) {
        before->end = end;
        if (after && after->begin == end) {
            before->end = after->end;
            before->next = after->next;
            after->next = s->spare;
            s->spare = after;
        }
        return;
    }
    if (after && after->begin == end) {
        after->begin = begin;
        return;
    }
    gap *g = s->spare ? s->spare : arena_new(s->mem, gap);
    if (g == s->spare) s->spare = g->next;
    *g = (gap){begin, end, after};
    *at = g;
}

static bool value_bytes(const plan *p, const value *v, size_t *out) {
    int64_t rows = v->sym == SYM_ROWS ? p->limits.max_rows : v->sym == SYM_OUT ? p->limits.max_outs : 1;
    if (!size_mul((size_t)rows, v->row_bytes, out) || !size_add(*out, 2 * LINE - 1, out)) return false;
    // An odd number of lines, so that rows of different values do not fall into the same cache sets.
    *out = *out / LINE * LINE;
    if (*out / LINE % 2 == 0) *out += LINE;
    return true;
}

typedef struct event { // a value and when it ends
    int32_t stage, value;
} event;

static int by_stage(const void *a, const void *b) {
    const event *x = a, *y = b;
    if (x->stage != y->stage) return x->stage < y->stage ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

tl_status plan_memory(plan *p, tl_error *err) {
    event *starts = arena_array(&p->mem, event, p->n_values + 1), *ends = arena_array(&p->mem, event, p->n_values + 1);
    size_t *bytes = arena_array(&p->mem, size_t, p->n_values + 1);
    int n = 0;
    for (int i = 0; i < p->n_values; i++) {
        const value *v = &p->values[i];
        if (v->place != V_WORK) continue;
        if (!value_bytes(p, v, &bytes[i])) return err_set(err, TL_E_MEMORY, "an array of the program is larger than memory can be");
        starts[n] = (event){v->first, i};
        ends[n++] = (event){v->last, i};
    }
    qsort(starts, (size_t)n, sizeof *starts, by_stage);
    qsort(ends, (size_t)n, sizeof *ends, by_stage);
    space s = {.mem = &p->mem};
    for (int i = 0, e = 0; i < n; i++) {
        for (; e < n && ends[e].stage < starts[i].stage; e++) {
            int32_t v = ends[e].value;
            space_give(&s, p->values[v].offset, p->values[v].offset + bytes[v]);
        }
        p->values[starts[i].value].offset = space_take(&s, bytes[starts[i].value]);
    }
    p->work_bytes = s.top;
    if (p->limits.max_bytes && s.top > p->limits.max_bytes)
        return err_set(err, TL_E_LIMIT, "the computation needs %zu MiB of temporaries, more than its limit of %zu MiB", s.top >> 20, p->limits.max_bytes >> 20);
    if (p->device) return TL_OK; // the caller has the memory
    bool large = p->limits.touched && s.top >= HUGE_PAGE;
    p->work = mem_alloc_aligned(s.top + LINE, large ? HUGE_PAGE : LINE);
    if (p->work && large) (void)madvise(p->work, s.top, MADV_HUGEPAGE);
    p->scratch_bytes = ((size_t)(TEMPS + STACK) * RUN_ROOM * sizeof(float) + p->attn_scratch + 3 * LINE) / LINE * LINE;
    p->scratch = mem_alloc_aligned(p->scratch_bytes * (size_t)p->n_threads, LINE);
    if (!p->work || !p->scratch) return err_set(err, TL_E_MEMORY, "out of memory for a workspace of %zu bytes", s.top);
    for (int a = 0; a < p->n_attn_work; a++) {
        size_t most = 0;
        for (int i = 0; i < p->n_attns; i++) {
            const attn_plan *at = p->attns[i]->args;
            size_t need = attn_work_bytes(&at->a, p->limits.max_slots);
            if (at->work == a && need > most) most = need;
        }
        if (most == 0) continue;
        if (!(p->attn_work[a] = mem_alloc_aligned(most, LINE))) return err_set(err, TL_E_MEMORY, "out of memory for attention");
        memset(p->attn_work[a], 0, most);
    }
    return TL_OK;
}
