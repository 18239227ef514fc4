// lower.c - live nodes of the graph become values (arrays) and kernels (a function and what it needs).
#include <limits.h>

#include "plan/plan_int.h"

typedef struct state_use { // for the order of reads and writes of a state
    const ir_state *state;
    int64_t version;
    int32_t kernel;
    bool writes;
} state_use;

typedef struct lowering {
    plan *p;
    const plan_backend *b;
    tl_error *err;
    kernel **kernels;    // these grow in the plan's arena, which is freed whole when anything fails
    state_use *uses;
    value *values;
    size_t n_kernels, cap_kernels, n_uses, cap_uses, n_values, cap_values;
    int32_t *as_f32;     // [n_nodes]: value of a float32 copy, -1: none
    struct quant_memo { int32_t x, out; int64_t offset, stride, k; act_kind kind; ir_sym sym; int64_t fixed; quant_args *args; } *quants;
    size_t n_quants, cap_quants;
    uint8_t *wide;       // [n_nodes]: the product reads 16-bit activations, if its weights are in blocks of 32
} lowering;

// Room for one more element of an array in the arena.
static void *grown(arena *a, void *p, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return p;
    *cap = *cap ? *cap * 2 : 16;
    void *q = arena_alloc(a, *cap * size);
    if (n) memcpy(q, p, n * size);
    return q;
}
#define GROW(l, what) (l)->what = grown(&(l)->p->mem, (l)->what, (l)->n_##what, &(l)->cap_##what, sizeof *(l)->what)

// ---- values --------------------------------------------------------------------------------------
static int32_t add_value(lowering *l, value v) {
    v.last = -1;
    GROW(l, values);
    l->values[l->n_values] = v;
    return (int32_t)l->n_values++;
}

static int32_t fixed_value(lowering *l, tl_dtype t, int64_t n, const void *data) {
    return add_value(l, (value){.place = V_FIXED, .type = t, .inner = n, .maker = -1, .fixed = data});
}

static const ir_state *state_of(const ir_node *n) { return n->op == IR_SCATTER ? n->state2 : n->u.state.ref; }

static int64_t state_version(const ir_node *n) {
    int64_t steps = 0;
    for (; n->op == IR_SCATTER; n = n->in[0].node) steps++;
    return n->u.state.version + steps;
}

static bool is_state(const ir_node *n) { return n->op == IR_STATE || n->op == IR_SCATTER; }

// The value of a node that is not computed by a kernel.
static tl_status leaf_value(lowering *l, const ir_node *n, int32_t *out) {
    switch (n->op) {
    case IR_INPUT: *out = add_value(l, (value){.place = V_INPUT, .type = DT_I32, .sym = n->sym, .inner = 1, .maker = -1, .input = n->sub}); break;
    case IR_CONST:
        if (n->u.k.scalar) {
            float *v = arena_new(&l->p->mem, float);
            *v = (float)n->u.k.value;
            *out = fixed_value(l, DT_F32, 1, v);
            break;
        }
        *out = fixed_value(l, n->type, n->u.k.n, n->u.k.data);
        break;
    case IR_IOTA: *out = fixed_value(l, DT_F32, n->u.k.n, n->u.k.data); break;
    case IR_WEIGHT: {
        ir_weight *w = n->u.weight;
        bool whole = w->type == DT_F32 || weight_small(w);
        TL_TRY(weight_need(w, whole ? USE_F32 : USE_BYTES, l->b, &l->p->room, l->err));
        const plan_weight *pw = w->prepared;
        *out = fixed_value(l, whole ? DT_F32 : w->type, w->rows * w->cols, whole && pw->f32 ? pw->f32 : weight_bytes(w));
        break;
    }
    default: *out = add_value(l, (value){.place = V_STATE, .type = n->type, .inner = 1, .maker = -1, .state = state_of(n)});
    }
    return TL_OK;
}

static tl_status node_value(lowering *l, const ir_node *n, int32_t *out) {
    int32_t *at = &l->p->node_value[n->id];
    if (*at < 0) TL_TRY(leaf_value(l, n, at));
    *out = *at;
    return TL_OK;
}

static tl_status resolve(lowering *l, const ir_edge *e, reader *s) {
    const ir_node *n = e->node;
    double c;
    *s = (reader){.type = DT_F32, .offset = e->offset, .stride = e->stride, .value = -1};
    if (ir_is_scalar_const(n, &c)) {
        s->kind = SRC_SCALAR;
        s->scalar = (float)c;
        return TL_OK;
    }
    TL_TRY(node_value(l, n, &s->value));
    const value *v = &l->values[s->value];
    s->type = v->type;
    if (v->place == V_STATE) {
        size_t bytes;
        s->state = v->state;
        bool packed = dtype_bytes(v->type, v->state->width, &bytes) && bytes == v->state->slot_bytes;
        s->kind = packed && v->type == DT_F32 ? SRC_F32 : packed && v->type == DT_I32 ? SRC_I32 : SRC_STATE;
    } else {
        s->kind = v->type == DT_F32 || (v->place == V_WORK && v->type != DT_I32) ? SRC_F32 : v->type == DT_I32 ? SRC_I32 : SRC_BLOCKS;
    }
    return TL_OK;
}

// ---- kernels -------------------------------------------------------------------------------------
static kernel *add_kernel(lowering *l, const ir_node *n, kernel_fn run, kernel_kind kind, ir_sym sym, int64_t fixed) {
    kernel *k = arena_new(&l->p->mem, kernel);
    *k = (kernel){.run = run, .kind = kind, .sym = sym, .fixed = fixed, .node = n, .out = -1, .id = (int32_t)l->n_kernels};
    GROW(l, kernels);
    l->kernels[l->n_kernels++] = k;
    return k;
}

static int32_t work_value(lowering *l, kernel *k, tl_dtype t, int64_t inner, size_t row_bytes) {
    k->out = add_value(l, (value){.place = V_WORK, .type = t, .sym = k->sym, .inner = inner, .row_bytes = row_bytes, .maker = k->id});
    return k->out;
}

static void add_read(kernel *k, int32_t v, bool local) { k->reads[k->n_reads++] = (value_read){v, local}; }

// Does edge e of n, for row r, read only row r of the array, given how far it moves inside a row?
static bool row_local(const ir_node *n, const ir_edge *e) {
    const ir_node *x = e->node;
    if (!n->sym || x->sym != n->sym || e->stride[0] != x->inner) return false;
    int64_t lo = e->offset, hi = e->offset;
    if (n->op == IR_ROPE) {
        hi += (n->u.rope.heads - 1) * n->u.rope.head_stride + n->u.rope.d - 1;
        return lo >= 0 && hi < x->inner;
    }
    if (n->op == IR_ASSEMBLE) { // strides are over the part's sizes
        const int64_t *sizes = n->u.parts.sizes + (e - n->in) * n->nout;
        for (int i = 1; i < n->nout; i++) *(e->stride[i] > 0 ? &hi : &lo) += (sizes[i] - 1) * e->stride[i];
        return lo >= 0 && hi < x->inner;
    }
    for (int i = 1; i < n->nlab; i++) *(e->stride[i] > 0 ? &hi : &lo) += (n->size[i] - 1) * e->stride[i];
    return lo >= 0 && hi < x->inner;
}

static void note_state(lowering *l, const kernel *k, const ir_node *n, bool writes) {
    GROW(l, uses);
    l->uses[l->n_uses++] = (state_use){state_of(n), state_version(n), k->id, writes};
}

// Resolves all edges of k's node into k->in and notes what is read.
static tl_status resolve_inputs(lowering *l, kernel *k) {
    const ir_node *n = k->node;
    k->in = arena_array(&l->p->mem, reader, n->n_in + 1);
    k->reads = arena_array(&l->p->mem, value_read, n->n_in + 1);
    for (int e = 0; e < n->n_in; e++) {
        TL_TRY(resolve(l, &n->in[e], &k->in[e]));
        if (n->op == IR_SCATTER && e == 0) {
            note_state(l, k, n->in[0].node, true);
            continue;
        }
        if (is_state(n->in[e].node)) note_state(l, k, n->in[e].node, false);
        bool gathered = n->op == IR_GATHER && e == 0;
        if (k->in[e].value >= 0) add_read(k, k->in[e].value, !gathered && row_local(n, &n->in[e]));
    }
    return TL_OK;
}

// A float32 copy of a node stored in another type (or of a state, to outlive its next version).
static tl_status float_copy(lowering *l, const ir_node *n, int32_t *out) {
    if (l->as_f32[n->id] >= 0) {
        *out = l->as_f32[n->id];
        return TL_OK;
    }
    ir_node *c = arena_new(&l->p->mem, ir_node);
    int64_t inner = is_state(n) ? state_of(n)->slots * state_of(n)->width : n->inner;
    *c = (ir_node){.op = IR_MAP, .sub = MAP_COPY, .type = DT_F32, .sym = is_state(n) ? SYM_NONE : n->sym, .n_in = 1, .inner = inner, .id = -1};
    int at = 0;
    c->in = arena_new(&l->p->mem, ir_edge);
    c->in[0].node = (ir_node *)n;
    if (c->sym) c->in[0].stride[at++] = inner;
    if (!c->sym || inner > 1) c->size[at] = inner, c->in[0].stride[at++] = 1;
    c->nlab = c->nout = (uint8_t)at;
    kernel *k = add_kernel(l, c, run_map, c->sym ? K_ROW : K_RANGE, c->sym, inner);
    TL_TRY(resolve_inputs(l, k));
    k->cost = c->sym ? (double)inner : 1;
    *out = l->as_f32[n->id] = work_value(l, k, DT_F32, inner, (size_t)inner * sizeof(float));
    return TL_OK;
}

// Makes input e of k one that kernels of the table read directly: float32, in place.
static tl_status need_float(lowering *l, kernel *k, int e) {
    reader *s = &k->in[e];
    const ir_node *x = k->node->in[e].node;
    if (s->kind == SRC_F32) return TL_OK;
    if (s->kind == SRC_SCALAR) TL_TRY(node_value(l, x, &s->value));
    else TL_TRY(float_copy(l, x, &s->value));
    bool found = false;
    for (int i = 0; i < k->n_reads; i++)
        if (k->reads[i].value == l->p->node_value[x->id]) k->reads[i].value = s->value, found = true;
    if (!found) add_read(k, s->value, false);
    s->kind = SRC_F32;
    return TL_OK;
}

static int64_t label0(const ir_node *n) { return n->nout ? n->size[0] : 1; }

static double node_cost(const ir_node *n) { // of one unit of label 0, a rough figure in ns
    double inner = n->sym || n->nout == 0 ? (double)n->inner : (double)n->inner / (double)n->size[0], folded = 1;
    for (int i = n->nout; i < n->nlab; i++) folded *= (double)n->size[i];
    switch (n->op) {
    case IR_EINSUM: case IR_LINEAR: return inner * (folded * 0.4 + 20);
    case IR_REDUCE: return inner * (folded * 0.5 + 10);
    case IR_SOFTMAX: return inner * 1.5;
    case IR_TOPK: return inner * 15;
    case IR_FUSED: return 20 + inner * 0.25 * n->u.fused.n;
    case IR_MAP: return 20 + inner * (n->sub <= MAP_ERF ? 0.6 : 0.2);
    case IR_RMS_NORM: case IR_LAYER_NORM: return 20 + inner * 0.2;
    case IR_ROPE: return 20 + inner * 0.3;
    default: return 20 + inner * 0.5;
    }
}

// The common case: one kernel over label 0.
static tl_status lower_plain(lowering *l, const ir_node *n, kernel_fn run, bool whole) {
    bool single = whole || n->nout == 0;
    kernel *k = add_kernel(l, n, run, n->sym && !whole ? K_ROW : single ? K_WHOLE : K_RANGE, n->sym, label0(n));
    TL_TRY(resolve_inputs(l, k));
    k->cost = node_cost(n);
    if (n->op == IR_SCATTER) return TL_OK;
    if (n->op == IR_RMS_NORM || n->op == IR_LAYER_NORM || n->op == IR_ROPE)
        for (int e = 0; e < n->n_in; e++) TL_TRY(need_float(l, k, e));
    l->p->node_value[n->id] = work_value(l, k, n->type == DT_I32 ? DT_I32 : DT_F32, n->inner, (size_t)n->inner * 4);
    return TL_OK;
}

static tl_status lower_map(lowering *l, const ir_node *n) {
    bool flat = n->nout >= 1 && (n->nout == 2 || (n->nout == 1 && !n->sym)) && n->size[n->nout - 1] >= 2 * FLAT_RUN;
    TL_TRY(lower_plain(l, n, n->op == IR_FUSED ? run_fused : run_map, false));
    kernel *k = l->kernels[l->n_kernels - 1];
    if (n->op == IR_FUSED) {
        fused_args *f = arena_new(&l->p->mem, fused_args);
        *f = (fused_args){n->u.fused.code, n->u.fused.n};
        k->args = f;
    }
    if (flat) {
        k->kind = K_FLAT;
        k->run = run_flat;
        if (n->nout == 1) k->fixed = 1, k->cost *= (double)n->inner;
    }
    return TL_OK;
}

// ---- LINEAR --------------------------------------------------------------------------------------
// `tiled`: the product that reads them can take them in tiles.
static tl_status quantized_rows(lowering *l, const ir_node *n, act_kind kind, int64_t k, bool tiled, linear_args *to) {
    int64_t stride = n->nout == 2 ? n->in[0].stride[0] : 0;
    int64_t fixed = n->nout == 2 ? n->size[0] : 1;
    ir_node *q = arena_new(&l->p->mem, ir_node); // as a node [p, k], for the dependencies
    *q = (ir_node){.op = IR_MAP, .sub = MAP_COPY, .sym = n->sym, .nlab = 2, .nout = 2, .size = {n->sym ? 0 : fixed, k}, .n_in = 1, .inner = k, .id = -1, .at = n->at};
    q->in = arena_new(&l->p->mem, ir_edge);
    q->in[0] = (ir_edge){.node = n->in[0].node, .offset = n->in[0].offset, .stride = {stride, 1}};
    size_t bytes = l->p->k->act_bytes(kind, k);
    reader s;
    TL_TRY(resolve(l, &q->in[0], &s));
    if (s.kind == SRC_F32) {
        for (size_t i = 0; i < l->n_quants; i++) {
            const struct quant_memo *m = &l->quants[i];
            if (m->x != s.value || m->offset != s.offset || m->stride != stride || m->k != k || m->kind != kind || m->sym != n->sym || m->fixed != fixed) continue;
            to->x = m->out;
            to->quant = m->args;
            m->args->tiled &= tiled;
            return TL_OK;
        }
    }
    kernel *kn = add_kernel(l, q, run_quantize, n->sym ? K_ROW : K_RANGE, n->sym, fixed);
    TL_TRY(resolve_inputs(l, kn));
    TL_TRY(need_float(l, kn, 0));
    quant_args *a = arena_new(&l->p->mem, quant_args);
    *a = (quant_args){.kind = kind, .k = k, .bytes = bytes, .tiled = tiled};
    kn->args = a;
    kn->cost = 20 + (double)k * 0.2;
    to->x = work_value(l, kn, DT_I8, (int64_t)bytes, n->sym ? bytes : bytes * (size_t)((fixed + CPU_TILE - 1) / CPU_TILE * CPU_TILE));
    to->quant = a;
    GROW(l, quants);
    l->quants[l->n_quants++] = (struct quant_memo){kn->in[0].value, to->x, s.offset, stride, k, kind, n->sym, fixed, a};
    return TL_OK;
}

// ---- 16-bit activations ------------------------------------------------------------------------------
// The products whose results attention keeps (keys and values) read 16-bit activations: they are few weights, and measured
// (docs/performance.md, "Accuracy") their 8-bit activations cost more accuracy than those of any other product. Only weights in
// blocks of 32: formats in blocks of 256 lose more by themselves.

// Goes on from n to the products that make it: through what changes the elements of one array (biases, norms, rotations) and
// through arrays put together, but not through sums of several (a residual stream).
static void mark_makers(uint8_t *mark, const ir_node *n) {
    if (n->op == IR_LINEAR) {
        mark[n->id] = 1;
        return;
    }
    if (n->op == IR_ATTENTION || n->op == IR_EINSUM || n->op == IR_EMBED || is_state(n)) return;
    const ir_node *from = NULL;
    int n_in = n->op == IR_ROPE ? 1 : n->n_in; // its angles are no part of what is kept
    for (int e = 0; e < n_in; e++) {
        const ir_node *x = n->in[e].node;
        if (plan_leaf(x) || x == from) continue;
        if (from && n->op != IR_ASSEMBLE) return;
        from = x;
    }
    for (int e = 0; e < n_in; e++)
        if (!plan_leaf(n->in[e].node)) mark_makers(mark, n->in[e].node);
}

static bool kept_by_attention(const ir_graph *g, const ir_state *s) {
    for (const ir_node *x = g->first; x; x = x->next)
        if (x->op == IR_ATTENTION && (x->state2 == s || x->state3 == s)) return true;
    return false;
}

// The rows that a product reads, all or some of them.
static const ir_node *rows_read(const ir_node *product) {
    const ir_node *x = product->in[0].node;
    return ir_picks_rows(x) ? x->in[0].node : x;
}

// A device makes the products of one input in one launch, so that there all of them read the same activations.
static void choose_wide(lowering *l) {
    const ir_graph *g = l->p->graph;
    l->wide = arena_array(&l->p->mem, uint8_t, l->p->n_nodes + 1);
    for (const ir_node *x = g->first; x; x = x->next)
        if (x->op == IR_SCATTER && kept_by_attention(g, x->state2)) mark_makers(l->wide, x->in[1].node);
    if (!l->p->device) return;
    uint8_t *read = arena_array(&l->p->mem, uint8_t, l->p->n_nodes + 1);
    for (const ir_node *x = g->first; x; x = x->next)
        if (x->op == IR_LINEAR && l->wide[x->id]) read[rows_read(x)->id] = 1;
    for (const ir_node *x = g->first; x; x = x->next)
        if (x->op == IR_LINEAR) l->wide[x->id] = read[rows_read(x)->id];
}

static bool is_wide(const lowering *l, const ir_node *n) { return l->wide[n->id] && dtype_table[n->u.weight->type].block_values == 32; }

static tl_status lower_linear_device(lowering *l, const ir_node *n) {
    ir_weight *w = n->u.weight;
    TL_TRY(gpu_weight_want(w, l->b, l->err));
    const plan_weight *pw = w->prepared;
    gpu_linear *a = arena_new(&l->p->mem, gpu_linear);
    *a = (gpu_linear){.w = pw, .row0 = n->in[1].offset / w->cols, .n = n->size[n->nout - 1], .wide = pw->dm.type != DT_F32 && is_wide(l, n)};
    if (!gpu_takes_matrix(w, a->row0, pw)) return lower_plain(l, n, run_einsum, false);
    kernel *k = add_kernel(l, n, NULL, K_TILE, n->sym, n->nout == 2 ? n->size[0] : 1);
    k->args = a;
    k->in = arena_array(&l->p->mem, reader, 2);
    k->reads = arena_array(&l->p->mem, value_read, 2);
    TL_TRY(resolve(l, &n->in[0], &k->in[0]));
    if (is_state(n->in[0].node)) note_state(l, k, n->in[0].node, false);
    if (k->in[0].value >= 0) add_read(k, k->in[0].value, false);
    TL_TRY(need_float(l, k, 0));
    l->p->node_value[n->id] = work_value(l, k, DT_F32, n->inner, (size_t)n->inner * 4);
    return TL_OK;
}

static tl_status lower_linear(lowering *l, const ir_node *n) {
    ir_weight *w = n->u.weight;
    if (!weight_is_matrix(w->type)) return lower_plain(l, n, run_einsum, false);
    if (l->p->device) return lower_linear_device(l, n);
    TL_TRY(weight_need(w, USE_LINEAR, l->b, &l->p->room, l->err));
    linear_args *a = arena_new(&l->p->mem, linear_args);
    a->m = ((const plan_weight *)w->prepared)->m;
    a->row0 = n->in[1].offset / w->cols;
    a->n = n->size[n->nout - 1];
    cpu_matrix *m = &a->m;
    a->group_bytes = m->layout ? l->p->k->matrix_bytes(m->type, m->layout, m->n, m->k) / (size_t)((m->n + CPU_ROW_GROUP - 1) / CPU_ROW_GROUP) : m->row_bytes * CPU_ROW_GROUP;
    act_kind kind = l->p->k->matrix_act(m->type);
    if (kind == ACT_Q8 && is_wide(l, n)) {
        m->wide = true;
        kind = ACT_Q16;
    }
    reader s;
    TL_TRY(resolve(l, &n->in[0], &s));
    a->x_bytes = l->p->k->act_bytes(kind, w->cols);
    int64_t stride = n->nout == 2 ? n->in[0].stride[0] : (int64_t)(a->x_bytes / sizeof(float));
    bool direct = kind == ACT_F32 && s.kind == SRC_F32 && l->values[s.value].place == V_WORK && (size_t)stride * 4 == a->x_bytes && s.offset * 4 % LINE == 0;
    if (direct) {
        a->x = s.value;
        a->x_offset = s.offset * 4;
    } else {
        bool whole = a->row0 % CPU_ROW_GROUP == 0 && ((a->row0 + a->n) % CPU_ROW_GROUP == 0 || a->row0 + a->n == m->n);
        bool tiled = (kind == ACT_Q8 || kind == ACT_Q16) && whole && l->p->k->tiled && l->p->k->tiled(m);
        TL_TRY(quantized_rows(l, n, kind, m->k, tiled, a));
    }
    kernel *k = add_kernel(l, n, NULL, K_TILE, n->sym, n->nout == 2 ? n->size[0] : 1);
    k->args = a;
    k->reads = arena_array(&l->p->mem, value_read, 1);
    add_read(k, a->x, false);
    size_t bytes;
    TL_CHECK(dtype_bytes(w->type, w->cols, &bytes));
    k->cost = (double)a->n * ((double)bytes * 0.08 + (double)w->cols * 0.01);
    l->p->node_value[n->id] = work_value(l, k, DT_F32, n->inner, (size_t)n->inner * 4);
    return TL_OK;
}

static tl_status lower_embed(lowering *l, const ir_node *n) {
    ir_weight *w = n->u.weight;
    if (!weight_is_matrix(w->type))
        return err_set(l->err, TL_E_UNSUPPORTED, "rows of %s: elements of type %s cannot be looked up", w->name ? w->name : "?", dtype_table[w->type].name);
    TL_TRY(l->p->device ? gpu_weight_want(w, l->b, l->err) : weight_need(w, USE_ROWS, l->b, &l->p->room, l->err));
    kernel *k = add_kernel(l, n, run_embed, n->sym ? K_ROW : n->nout == 2 ? K_RANGE : K_WHOLE, n->sym, n->nout == 2 ? n->size[0] : 1);
    k->in = arena_array(&l->p->mem, reader, 2);
    k->reads = arena_array(&l->p->mem, value_read, 1);
    TL_TRY(resolve(l, &n->in[0], &k->in[0]));
    if (is_state(n->in[0].node)) note_state(l, k, n->in[0].node, false);
    if (k->in[0].value >= 0) add_read(k, k->in[0].value, row_local(n, &n->in[0]));
    k->args = w->prepared;
    k->cost = 20 + (double)w->cols;
    l->p->node_value[n->id] = work_value(l, k, DT_F32, n->inner, (size_t)n->inner * 4);
    return TL_OK;
}

// ---- ATTENTION -----------------------------------------------------------------------------------
static bool plain_ints(const reader *s) { return s->kind == SRC_I32 && s->offset == 0 && s->stride[0] == 1; }

static tl_status lower_attention(lowering *l, const ir_node *n) {
    const ir_state *ks = n->state2, *vs = n->state3;
    if (l->p->device && ks->type == DT_Q4_0)
        return err_set(l->err, TL_E_UNSUPPORTED, "a cache of type q4_0 on a GPU: there are f16, q8_0 (half of f16's memory) and f32 (--cache-type)");
    bool blocks = ks->type == DT_Q8_0 || ks->type == DT_Q4_0;
    bool known = ks->type == DT_F16 || ks->type == DT_F32 || (blocks && n->u.attn.dk % 32 == 0 && n->u.attn.dv % 32 == 0);
    if (ks->type != vs->type || !known)
        return err_set(l->err, TL_E_UNSUPPORTED, "attention over %s (%s) and %s (%s): both must be f32, f16, or q8_0 or q4_0 with heads of whole blocks of 32", ks->name,
                       dtype_table[ks->type].name, vs->name, dtype_table[vs->type].name);
    kernel *k = add_kernel(l, n, run_attention, K_ATTN, n->sym, 0);
    TL_TRY(resolve_inputs(l, k));
    TL_TRY(need_float(l, k, 0));
    if (!plain_ints(&k->in[3]) || (n->n_in > 4 && !plain_ints(&k->in[4])))
        return err_set(l->err, TL_E_UNSUPPORTED, "attention: sequence and position of a row must be the step's inputs");
    attn_plan *a = arena_new(&l->p->mem, attn_plan);
    const ir_attention *at = &n->u.attn;
    a->a = (attn_args){.heads = at->heads, .kv_heads = at->kv_heads, .dk = at->dk, .dv = at->dv, .kv_type = ks->type, .scale = at->scale,
                       .softcap = at->softcap, .window = at->window, .causal = at->causal, .threads = l->p->n_threads};
    k->args = a;
    k->cost = 5000;
    size_t scratch = attn_scratch_bytes(&a->a);
    if (scratch > l->p->attn_scratch) l->p->attn_scratch = scratch;
    l->p->node_value[n->id] = work_value(l, k, DT_F32, n->inner, (size_t)n->inner * 4);
    return TL_OK;
}

static tl_status lower_scatter(lowering *l, const ir_node *n) {
    const ir_state *s = n->state2;
    const ir_edge *to = &n->in[0];
    bool known = s->type == DT_F32 || s->type == DT_F16 || s->type == DT_BF16 || s->type == DT_I32;
    int last = n->nout - 1;
    if (s->type == DT_Q8_0 || s->type == DT_Q4_0) {
        known = last >= 0 && (last > 0 || !n->sym) && to->stride[last] == 1 && n->size[last] % 32 == 0 && to->offset % 32 == 0 && s->width % 32 == 0;
        for (int i = 0; i < last; i++) known &= to->stride[i] % 32 == 0;
        known &= n->n_in < 3 || (n->in[2].stride[last < 0 ? 0 : last] == 0 && n->u.gather.gstride[0] % 32 == 0);
    }
    if (!known)
        return err_set(l->err, TL_E_UNSUPPORTED, "state %s of type %s cannot be written in pieces of this shape", s->name, dtype_table[s->type].name);
    return lower_plain(l, n, run_scatter, !n->sym || n->n_in < 3);
}

static tl_status lower_node(lowering *l, const ir_node *n) {
    bool last_is_0 = n->nout == 1; // an operation over the last label cannot be cut along it
    if (n->op != IR_ASSEMBLE && n->n_in > MAX_EDGES) return err_set(l->err, TL_E_UNSUPPORTED, "%s with %d inputs", ir_op_name(n->op), n->n_in);
    switch (n->op) {
    case IR_INPUT: case IR_CONST: case IR_WEIGHT: case IR_STATE: case IR_IOTA: return TL_OK; // made when read
    case IR_OWNED: return lower_plain(l, n, run_owned, false);
    case IR_MAP: case IR_FUSED: return lower_map(l, n);
    case IR_EINSUM: return lower_plain(l, n, run_einsum, false);
    case IR_REDUCE: return lower_plain(l, n, run_reduce, false);
    case IR_SOFTMAX: return lower_plain(l, n, run_softmax, last_is_0);
    case IR_TOPK: return lower_plain(l, n, run_topk, last_is_0);
    case IR_GATHER: return lower_plain(l, n, run_gather, false);
    case IR_ASSEMBLE: return lower_plain(l, n, run_assemble, !n->sym);
    case IR_SCATTER: return lower_scatter(l, n);
    case IR_LINEAR: return lower_linear(l, n);
    case IR_EMBED: return lower_embed(l, n);
    case IR_RMS_NORM: case IR_LAYER_NORM: return lower_plain(l, n, run_norm, last_is_0);
    case IR_ROPE: return lower_plain(l, n, run_rope, !n->sym);
    case IR_ATTENTION: return lower_attention(l, n);
    case IR_OP_COUNT: break;
    }
    return err_set(l->err, TL_E_UNSUPPORTED, "%s cannot be computed", ir_op_name(n->op));
}

// ---- order of state accesses ---------------------------------------------------------------------
static int by_state(const void *a, const void *b) {
    const state_use *x = a, *y = b;
    if (x->state != y->state) return x->state < y->state ? -1 : 1;
    return x->kernel < y->kernel ? -1 : x->kernel > y->kernel;
}

// Must x come before y? Version v is read before the write that ends it, and after the one that made it.
static bool before(const state_use *x, const state_use *y) {
    if (x->writes && y->writes) return x->version < y->version || (x->version == y->version && x->kernel < y->kernel);
    if (x->writes) return x->version < y->version;
    return y->writes && x->version <= y->version;
}

static void order_states(lowering *l) {
    if (l->n_uses == 0) return;
    qsort(l->uses, l->n_uses, sizeof *l->uses, by_state);
    for (size_t i = 0, end; i < l->n_uses; i = end) {
        for (end = i; end < l->n_uses && l->uses[end].state == l->uses[i].state; end++) {}
        for (size_t y = i; y < end; y++) {
            kernel *k = l->kernels[l->uses[y].kernel];
            int32_t *after = arena_array(&l->p->mem, int32_t, k->n_after + (int)(end - i));
            if (k->n_after) memcpy(after, k->after, sizeof *after * (size_t)k->n_after);
            k->after = after;
            for (size_t x = i; x < end; x++)
                if (before(&l->uses[x], &l->uses[y]) && l->uses[x].kernel != k->id) k->after[k->n_after++] = l->uses[x].kernel;
        }
    }
}

// ---- the whole graph -----------------------------------------------------------------------------
static bool foreign(const plan *p, const ir_node *n) { return p->mine && !p->mine[n->id] && !plan_leaf(n); } // another part makes it

uint8_t *plan_live(plan *p) {
    const ir_graph *g = p->graph;
    int32_t n = 0, m = 0;
    for (const ir_node *x = g->first; x; x = x->next) {
        m++;
        if (x->id >= n) n = x->id + 1;
    }
    p->n_nodes = n;
    uint8_t *live = arena_array(&p->mem, uint8_t, n + 1);
    const ir_node **order = arena_array(&p->mem, const ir_node *, m + 1);
    m = 0;
    for (const ir_node *x = g->first; x; x = x->next) {
        order[m++] = x;
        if ((x->op == IR_SCATTER || x->keep) && !foreign(p, x)) live[x->id] = 1;
    }
    for (int i = 0; i < g->n_outputs; i++)
        if (!foreign(p, g->outputs[i])) live[g->outputs[i]->id] = 1;
    for (int i = 0; i < p->n_passed; i++) live[p->passed[i]->id] = 1;
    while (m-- > 0)
        if (live[order[m]->id] && !foreign(p, order[m]))
            for (int e = 0; e < order[m]->n_in; e++) live[order[m]->in[e].node->id] = 1;
    return live;
}

static tl_status keep_value(lowering *l, const ir_node *n, int32_t *out) {
    if (is_state(n) || (n->op == IR_WEIGHT && n->type != DT_F32 && !weight_small(n->u.weight))) TL_TRY(float_copy(l, n, out));
    else TL_TRY(node_value(l, n, out));
    l->values[*out].last = INT_MAX;
    return TL_OK;
}

// What goes from one part of the graph to another.
static tl_status pass_values(lowering *l) {
    plan *p = l->p;
    p->pass_value = arena_array(&p->mem, int32_t, p->n_passed + 1);
    for (int i = 0; i < p->n_passed; i++) {
        if (foreign(p, p->passed[i])) p->pass_value[i] = p->node_value[p->passed[i]->id];
        else TL_TRY(keep_value(l, p->passed[i], &p->pass_value[i]));
    }
    return TL_OK;
}

// Tells the backend's progress function what part of the weights is ready.
static void report(const plan_backend *b, double done, double total) {
    if (b->progress && total > 0) b->progress(b->ctx, done, total);
}

static bool needs_work(const ir_node *n, bool device) { // a device's matrices come later (gpu_memory.c)
    const plan_weight *pw = n->op == IR_LINEAR ? n->u.weight->prepared : NULL;
    return n->op == IR_LINEAR && !device && !(pw && pw->repacked);
}

static tl_status lower_all(lowering *l) {
    plan *p = l->p;
    const ir_graph *g = p->graph;
    const uint8_t *live = plan_live(p);
    p->node_value = arena_array(&p->mem, int32_t, p->n_nodes + 1);
    l->as_f32 = arena_array(&p->mem, int32_t, p->n_nodes + 1);
    choose_wide(l);
    double total = 0, done = 0;
    for (int32_t i = 0; i < p->n_nodes; i++) p->node_value[i] = l->as_f32[i] = -1;
    for (const ir_node *x = g->first; x; x = x->next)
        if (live[x->id] && !foreign(p, x) && needs_work(x, p->device != NULL)) total += (double)x->u.weight->bytes;
    for (const ir_node *x = g->first; x; x = x->next) {
        if (!live[x->id]) continue;
        if (foreign(p, x)) {
            p->node_value[x->id] = add_value(l, (value){.place = V_WORK, .type = x->type == DT_I32 ? DT_I32 : DT_F32, .sym = x->sym, .inner = x->inner, .row_bytes = (size_t)x->inner * 4, .maker = -1});
            continue;
        }
        bool work = needs_work(x, p->device != NULL);
        TL_TRY(lower_node(l, x));
        if (work) report(l->b, done += (double)x->u.weight->bytes, total);
    }
    for (int i = 0; i < g->n_outputs && !foreign(p, g->outputs[i]); i++) {
        TL_TRY(keep_value(l, g->outputs[i], &p->out_value[i]));
        p->n_outputs = i + 1;
    }
    TL_TRY(pass_values(l));
    int32_t kept;
    for (const ir_node *x = g->first; x; x = x->next)
        if (x->keep && live[x->id] && !foreign(p, x)) {
            TL_TRY(keep_value(l, x, &kept));
            p->node_value[x->id] = kept;
        }
    order_states(l);
    return TL_OK;
}

tl_status plan_lower(plan *p, const plan_backend *b, tl_error *err) {
    lowering l = {.p = p, .b = b, .err = err};
    TL_TRY(lower_all(&l));
    p->n_values = (int)l.n_values;
    p->values = l.values;
    p->base = arena_array(&p->mem, void *, l.n_values + 1);
    p->n_kernels = (int)l.n_kernels;
    p->kernels = l.kernels;
    return TL_OK;
}
