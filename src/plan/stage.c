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

// Does edge e of k read rows of n values, one after the other, of the value v (-1: any)?
static bool reads_rows(const kernel *k, int e, int64_t n, int32_t v) {
    const reader *in = &k->in[e];
    return in->kind == SRC_F32 && in->offset == 0 && in->stride[0] == n && in->stride[1] == 1 && (v < 0 || in->value == v);
}

// Finds sums of two arrays that are normed next, and what is quantized of the norms: run_add_norm().
static void find_followers(plan *p) {
    for (int i = 0; i < p->n_items && !p->device; i++) {
        const item *it = &p->items[i];
        for (int j = 0; j + 1 < it->n; j += p->kernels[it->first + j]->followers + 1) {
            kernel *const *k = &p->kernels[it->first + j];
            const ir_node *sum = k[0]->node, *norm = k[1]->node;
            int64_t n = norm->inner;
            if (it->kind != K_ROW || k[0]->run != run_map || sum->sub != MAP_ADD || k[1]->run != run_norm || norm->op != IR_RMS_NORM) continue;
            if (sum->nout != 2 || norm->nout != 2 || sum->inner != n || !reads_rows(k[0], 0, n, -1) || !reads_rows(k[0], 1, n, -1) || !reads_rows(k[1], 0, n, k[0]->out)) continue;
            int more = 1;
            while (j + more + 1 < it->n && k[more + 1]->run == run_quantize) more++;
            k[0]->followers = more;
        }
    }
}

// Finds what quantizes the results of attention: its threads do that while they have them at hand, and a row's heads apart.
static void find_attended(plan *p) {
    for (int i = 0; i < p->n_kernels && !p->device; i++) {
        const kernel *k = p->kernels[i];
        if (k->run != run_quantize || k->kind != K_ROW) continue;
        quant_args *q = k->args;
        int32_t maker = p->values[k->in[0].value].maker;
        for (int j = i - 1; j >= 0; j--) {
            const kernel *from = p->kernels[j];
            attn_plan *at = from->args;
            if (from->id != maker) continue;
            if (from->kind != K_ATTN || at->quant || from->sym != k->sym) break;
            if ((q->kind != ACT_Q8 && q->kind != ACT_Q16) || q->k != from->node->inner || !reads_rows(k, 0, q->k, from->out)) break;
            if ((int64_t)(at->a.heads / at->a.kv_heads) * at->a.dv % 32 != 0) break;
            at->quant = k;
            q->attended = true;
            p->values[k->out].first = from->stage;
            break;
        }
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
    find_followers(p);
    find_attended(p);
    make_attention_areas(p);
    return find_early(p, err);
}

enum { HUGE_PAGE = 2 << 20 };

// ---- workspace -----------------------------------------------------------------------------------
static bool value_bytes(const plan *p, const value *v, size_t *out) {
    int64_t rows = v->sym == SYM_ROWS ? p->limits.max_rows : v->sym == SYM_OUT ? p->limits.max_outs : 1;
    if (v->sym && v->type == DT_I8 && rows > CPU_TILE) rows = (rows + CPU_TILE - 1) / CPU_TILE * CPU_TILE; // activations in whole tiles
    if (!size_mul((size_t)rows, v->row_bytes, out) || !size_add(*out, 2 * LINE - 1, out)) return false;
    // An odd number of lines, so that rows of different values do not fall into the same cache sets.
    *out = *out / LINE * LINE;
    if (*out / LINE % 2 == 0) *out += LINE;
    return true;
}

// Does edge e of k read element i of its input where element i of the node is written?
static bool reads_own_place(const plan *p, const kernel *k, int e) {
    const reader *in = &k->in[e];
    const value *from = &p->values[in->value], *to = &p->values[k->out];
    int64_t dense = 1;
    if (in->kind != SRC_F32 || in->offset != 0 || from->sym != to->sym || from->inner != to->inner || from->row_bytes != to->row_bytes) return false;
    for (int l = k->node->nout - 1; l >= 0; dense *= k->node->size[l--])
        if ((l == 0 && k->node->sym ? true : k->node->size[l] > 1) && in->stride[l] != dense) return false;
    return true;
}

// An input of an elementwise kernel that nobody needs any more gives its place to the result. It has to be of an earlier stage: one
// of the same would be gone when check_stage() looks at it. -1: there is none.
static int32_t input_to_replace(const plan *p, const kernel *k, const int32_t *last_reader) {
    if ((k->node->op != IR_MAP && k->node->op != IR_FUSED) || k->out < 0 || p->values[k->out].type != DT_F32) return -1;
    for (int e = 0; e < k->node->n_in; e++) {
        int32_t v = k->in[e].kind == SRC_F32 ? k->in[e].value : -1;
        if (v < 0 || p->values[v].place != V_WORK || p->values[v].last != k->stage || p->values[v].first >= k->stage || last_reader[v] != k->id) continue;
        bool own = true;
        for (int f = 0; f < k->node->n_in; f++)
            if (k->in[f].kind != SRC_SCALAR && k->in[f].value == v) own &= reads_own_place(p, k, f);
        if (own) return v;
    }
    return -1;
}

typedef struct block { // of the workspace: a value, or several that follow each other
    size_t bytes, offset;
    int32_t first, last; // stages
    int32_t value;
} block;

static int large_first(const void *a, const void *b) {
    const block *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes > y->bytes ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

// The lowest place that is free while b lives; placed[n] is in the order of offsets, and gets b.
static void place(block **placed, int n, block *b) {
    int at = n;
    b->offset = 0;
    for (int i = 0; i < n; i++) {
        if (placed[i]->last < b->first || placed[i]->first > b->last) continue;
        if (placed[i]->offset >= b->offset + b->bytes) break;
        if (placed[i]->offset + placed[i]->bytes > b->offset) b->offset = placed[i]->offset + placed[i]->bytes;
    }
    while (at > 0 && placed[at - 1]->offset > b->offset) placed[at] = placed[at - 1], at--;
    placed[at] = b;
}

// Values whose lives do not overlap share memory. Large ones are placed first: in the order of time they would lie scattered, with gaps
// that fit nothing.
static tl_status place_values(plan *p, size_t *top, tl_error *err) {
    block *blocks = arena_array(&p->mem, block, p->n_values + 1), **placed = arena_array(&p->mem, block *, p->n_values + 1);
    int32_t *block_of = arena_array(&p->mem, int32_t, p->n_values + 1), *last_reader = arena_array(&p->mem, int32_t, p->n_values + 1);
    int n = 0;
    for (int i = 0; i < p->n_values; i++) last_reader[i] = block_of[i] = -1;
    for (int i = 0; i < p->n_kernels && !p->device; i++)
        for (int r = 0; r < p->kernels[i]->n_reads; r++) {
            const kernel *k = p->kernels[i];
            int32_t v = k->reads[r].value;
            if (k->stage == p->values[v].last) last_reader[v] = last_reader[v] < 0 || last_reader[v] == k->id ? k->id : INT_MAX;
        }
    for (int i = 0; i < p->n_kernels && !p->device; i++) { // kernels are in the order of stages: an input has its block
        int32_t from = input_to_replace(p, p->kernels[i], last_reader), to = p->kernels[i]->out;
        if (from < 0) continue;
        if (block_of[from] < 0) {
            block_of[from] = n;
            blocks[n++] = (block){.first = p->values[from].first, .value = from};
        }
        block_of[to] = block_of[from];
    }
    for (int i = 0; i < p->n_values; i++) {
        const value *v = &p->values[i];
        size_t bytes;
        if (v->place != V_WORK) continue;
        if (!value_bytes(p, v, &bytes)) return err_set(err, TL_E_MEMORY, "an array of the program is larger than memory can be");
        if (block_of[i] < 0) {
            block_of[i] = n;
            blocks[n++] = (block){.first = v->first, .value = i};
        }
        block *b = &blocks[block_of[i]];
        if (bytes > b->bytes) b->bytes = bytes;
        if (v->last > b->last) b->last = v->last;
    }
    block *sorted = arena_dup(&p->mem, blocks, sizeof *blocks * (size_t)n);
    qsort(sorted, (size_t)n, sizeof *sorted, large_first);
    for (int i = 0; i < n; i++) {
        place(placed, i, &sorted[i]);
        if (sorted[i].offset + sorted[i].bytes > *top) *top = sorted[i].offset + sorted[i].bytes;
        blocks[block_of[sorted[i].value]].offset = sorted[i].offset;
    }
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].place == V_WORK) p->values[i].offset = blocks[block_of[i]].offset;
    return TL_OK;
}

tl_status plan_memory(plan *p, tl_error *err) {
    size_t top = 0;
    TL_TRY(place_values(p, &top, err));
    p->work_bytes = top;
    if (p->limits.max_bytes && top > p->limits.max_bytes)
        return err_set(err, TL_E_LIMIT, "the computation needs %zu MiB of temporaries, more than its limit of %zu MiB", top >> 20, p->limits.max_bytes >> 20);
    if (p->device) return TL_OK; // the caller has the memory
    bool large = p->limits.touched && top >= HUGE_PAGE;
    p->work = mem_alloc_aligned(top + LINE, large ? HUGE_PAGE : LINE);
    if (p->work && large) (void)madvise(p->work, top, MADV_HUGEPAGE);
    p->scratch_bytes = ((size_t)(TEMPS + STACK) * RUN_ROOM * sizeof(float) + p->attn_scratch + 3 * LINE) / LINE * LINE;
    p->scratch = mem_alloc_aligned(p->scratch_bytes * (size_t)p->n_threads, LINE);
    if (!p->work || !p->scratch) return err_set(err, TL_E_MEMORY, "out of memory for a workspace of %zu bytes", top);
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
