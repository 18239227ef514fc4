// gpu_ops.c - a launch for each kernel of the plan.
#include "cuda/attn_rows.h"
#include "cuda/fused/args.h"
#include "cuda/layout.h"
#include "cuda/ops.h"
#include "plan/gpu.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

// ---- arguments -------------------------------------------------------------------------------------------
static int64_t kernel_rows(const plan *p, const kernel *k) { return sym_rows(p, k->sym, k->fixed); }

static ops_space space_of(const plan *p, const ir_node *n) {
    ops_space s = {.nout = n->nout, .nlab = n->nlab, .count = 1};
    for (int l = 0; l < n->nlab; l++) s.size[l] = (int32_t)(l == 0 && n->sym ? sym_rows(p, n->sym, 0) : n->size[l]);
    for (int l = 0; l < n->nout; l++) s.count *= s.size[l];
    return s;
}

static ops_reader reader_of(const plan *p, const ir_node *n, const reader *s) {
    static const int32_t kinds[] = {[SRC_F32] = OPS_F32, [SRC_I32] = OPS_I32, [SRC_SCALAR] = OPS_SCALAR, [SRC_STATE] = OPS_STATE, [SRC_BLOCKS] = OPS_BLOCKS};
    ops_reader r = {.kind = kinds[s->kind], .type = (int32_t)s->type, .scalar = s->scalar, .offset = s->offset, .p = s->value >= 0 ? p->base[s->value] : NULL};
    if (s->state) r.width = (int32_t)s->state->width, r.slot_bytes = (int64_t)s->state->slot_bytes;
    for (int l = 0; l < n->nlab; l++) r.stride[l] = s->stride[l];
    return r;
}

static unsigned blocks(int64_t n, int64_t each) { return (unsigned)((n + each - 1) / each); }

#define LAUNCH(name, x, y, threads, args) cuda_launch(p->device, name, x, y, 1, threads, 0, &(args), sizeof(args), CUDA_PDL, err)

// ---- elementwise -----------------------------------------------------------------------------------------
static tl_status too_long(const kernel *k, tl_error *err) {
    return err_set(err, TL_E_UNSUPPORTED, "%s with %d inputs is too long for a CUDA device", ir_op_name(k->node->op), k->node->n_in);
}

static tl_status map_args(const plan *p, const kernel *k, ops_map_args *a, tl_error *err) {
    const ir_node *n = k->node;
    if (n->n_in > OPS_INPUTS) return too_long(k, err);
    *a = (ops_map_args){.s = space_of(p, n), .n_in = n->n_in, .out = p->base[k->out]};
    if (n->op == IR_FUSED) {
        const fused_args *f = k->args;
        if (f->n > OPS_CODE) return too_long(k, err);
        for (int i = 0; i < f->n; i++) a->code[i] = (int8_t)f->code[i].op, a->arg[i] = (int8_t)f->code[i].arg;
        a->n_code = f->n;
    } else {
        for (int e = 0; e < n->n_in; e++) a->code[e] = -1, a->arg[e] = (int8_t)e;
        a->code[n->n_in] = (int8_t)n->sub;
        a->n_code = n->n_in + 1;
    }
    for (int e = 0; e < n->n_in; e++) a->in[e] = reader_of(p, n, &k->in[e]);
    return TL_OK;
}

static tl_status run_map_fused(plan *p, const kernel *k, tl_error *err) {
    ops_map_args a;
    TL_TRY(map_args(p, k, &a, err));
    return LAUNCH("ops_map", blocks(a.s.count, THREADS), 1, THREADS, a);
}

static tl_status gather_args(const plan *p, const kernel *k, ops_gather_args *a, tl_error *err) {
    const ir_node *n = k->node, *base = n->in[0].node;
    if (n->n_in > OPS_INPUTS) return too_long(k, err);
    *a = (ops_gather_args){.s = space_of(p, n), .n_in = n->n_in, .integer = n->type == DT_I32, .out = p->base[k->out]};
    for (int e = 0; e < n->n_in; e++) a->in[e] = reader_of(p, n, &k->in[e]);
    for (int e = 1; e < n->n_in; e++) {
        a->gstride[e] = n->u.gather.gstride[e - 1];
        a->limit[e] = n->u.gather.limit[e - 1];
        int64_t rows = base->sym && a->gstride[e] == base->inner ? sym_rows(p, base->sym, 0) : -1; // the axis is the rows
        if (rows >= 0 && (a->limit[e] <= 0 || a->limit[e] > rows)) a->limit[e] = rows;
    }
    return TL_OK;
}

static tl_status run_gathered(plan *p, const kernel *k, tl_error *err) {
    ops_gather_args a;
    TL_TRY(gather_args(p, k, &a, err));
    return LAUNCH("ops_gather", blocks(a.s.count, THREADS), 1, THREADS, a);
}

static ops_part_args part_args(const plan *p, const kernel *k, int e) { // of part e
    const ir_node *n = k->node;
    ops_part_args a = {.in = reader_of(p, n, &k->in[e]), .offset = n->u.parts.offset[e], .out = p->base[k->out]};
    a.s = (ops_space){.nout = n->nout, .nlab = n->nout, .count = 1};
    for (int l = 0; l < n->nout; l++) {
        a.s.size[l] = (int32_t)(l == 0 && n->sym ? sym_rows(p, n->sym, 0) : n->u.parts.sizes[e * n->nout + l]);
        a.s.count *= a.s.size[l];
        a.dst[l] = n->u.parts.stride[e * n->nout + l];
    }
    return a;
}

static int64_t parts_cover(const ir_node *n) { // elements of a row, or of all without rows
    int64_t covered = 0;
    for (int e = 0; e < n->n_in; e++) {
        int64_t m = 1;
        for (int l = n->sym ? 1 : 0; l < n->nout; l++) m *= n->u.parts.sizes[e * n->nout + l];
        covered += m;
    }
    return covered;
}

static tl_status run_parts(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    int64_t rows = n->sym ? sym_rows(p, n->sym, 0) : 1;
    if (parts_cover(n) < n->inner) TL_TRY(cuda_zero(p->device, p->base[k->out], (size_t)(rows * n->inner) * sizeof(float), err));
    for (int e = 0; e < n->n_in; e++) {
        ops_part_args a = part_args(p, k, e);
        TL_TRY(LAUNCH("ops_part", blocks(a.s.count, THREADS), 1, THREADS, a));
    }
    return TL_OK;
}

static ops_scatter_args scatter_args(const plan *p, const kernel *k) {
    const ir_node *n = k->node;
    const ir_state *s = n->state2;
    ops_scatter_args a = {.s = space_of(p, n), .in = reader_of(p, n, &k->in[1]), .type = (int32_t)s->type, .width = (int32_t)s->width,
                          .to_offset = n->in[0].offset, .slot_bytes = (int64_t)s->slot_bytes, .data = p->base[k->in[0].value]};
    for (int l = 0; l < n->nlab; l++) a.to_stride[l] = n->in[0].stride[l];
    if (n->n_in > 2) {
        a.has_slot = 1;
        a.slot = reader_of(p, n, &k->in[2]);
        a.gstride = n->u.gather.gstride[0];
        a.limit = n->u.gather.limit[0];
    }
    return a;
}

static tl_status run_scattered(plan *p, const kernel *k, tl_error *err) {
    ops_scatter_args a = scatter_args(p, k);
    if (a.type == DT_Q4_0) return err_set(err, TL_E_UNSUPPORTED, "a cache of type q4_0 on a CUDA device: there are f16, f32 and q8_0");
    return LAUNCH("ops_scatter", blocks(a.s.count, THREADS), 1, THREADS, a);
}

// ---- several small ones ------------------------------------------------------------------------------------
typedef union one_args { // of a task; all begin with its space
    ops_space s;
    ops_map_args map;
    ops_gather_args gather;
    ops_part_args part;
    ops_scatter_args scatter;
} one_args;

// False: there is no room for it, or it is not small.
static bool add_task(ops_some_args *some, size_t *used, ops_task_kind kind, bool behind, const one_args *a, size_t bytes) {
    if (some->n == OPS_TASKS || bytes > sizeof some->args - *used || a->s.count > OPS_TASK_MOST) return false;
    some->task[some->n].kind = (int16_t)kind, some->task[some->n].behind = behind, some->task[some->n].at = (int32_t)*used;
    some->n++;
    memcpy((char *)some->args + *used, a, bytes);
    *used += bytes;
    return true;
}

static bool add_kernel(const plan *p, const kernel *k, bool behind, ops_some_args *some, size_t *used) {
    const ir_node *n = k->node;
    one_args a;
    switch (n->op) {
    case IR_MAP: case IR_FUSED:
        return map_args(p, k, &a.map, NULL) == TL_OK && add_task(some, used, OPS_MAP, behind, &a, offsetof(ops_map_args, in) + (size_t)n->n_in * sizeof(ops_reader));
    case IR_GATHER:
        return gather_args(p, k, &a.gather, NULL) == TL_OK && add_task(some, used, OPS_GATHER, behind, &a, offsetof(ops_gather_args, in) + (size_t)n->n_in * sizeof(ops_reader));
    case IR_ASSEMBLE:
        for (int e = 0; e < n->n_in; e++) {
            a.part = part_args(p, k, e);
            if (!add_task(some, used, OPS_PART, behind && e == 0, &a, sizeof a.part)) return false;
        }
        return parts_cover(n) == n->inner;
    default:
        a.scatter = scatter_args(p, k);
        return add_task(some, used, OPS_SCATTER, behind, &a, sizeof a.scatter);
    }
}

static bool reads_made(const kernel *k, kernel *const *made, int n) { // what one of them makes
    for (int i = 0; i < n; i++)
        for (int r = 0; r < k->n_reads; r++)
            if (made[i]->out >= 0 && k->reads[r].value == made[i]->out) return true;
    return false;
}

static tl_status run_node(plan *p, const kernel *k, tl_error *err);

static tl_status run_some(plan *p, const gpu_role *r, tl_error *err) {
    ops_some_args a = {.ahead = r->ahead && !p->profile};
    size_t used = 0;
    int level = 0; // the first member behind the last barrier
    for (int i = 0; i < r->n; i++) {
        bool behind = reads_made(r->member[i], r->member + level, i - level);
        if (behind) level = i;
        if (add_kernel(p, r->member[i], behind, &a, &used)) continue;
        for (int j = 0; j < r->n; j++) TL_TRY(run_node(p, r->member[j], err));
        return TL_OK;
    }
    return LAUNCH("ops_some", 1, 1, THREADS, a);
}

// ---- rows ------------------------------------------------------------------------------------------------
static int64_t run_length(const ops_space *s) { return s->nout ? s->size[s->nout - 1] : 1; }

static tl_status run_rows(plan *p, const kernel *k, tl_error *err) { // SOFTMAX, TOPK
    const ir_node *n = k->node;
    ops_row_args a = {.s = space_of(p, n), .n_in = n->n_in, .k = n->op == IR_TOPK ? n->u.topk : 0, .out = p->base[k->out]};
    a.run = (int32_t)run_length(&a.s);
    for (int e = 0; e < n->n_in && e < 2; e++) a.in[e] = reader_of(p, n, &k->in[e]);
    return LAUNCH(n->op == IR_TOPK ? "ops_topk" : "ops_softmax", (unsigned)(a.s.count / a.run), 1, THREADS, a);
}

static tl_status run_normed(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    ops_norm_args a = {.s = space_of(p, n), .n_in = n->n_in, .layer = n->op == IR_LAYER_NORM, .eps = n->u.norm.eps, .out = p->base[k->out]};
    a.run = (int32_t)run_length(&a.s);
    for (int e = 0; e < n->n_in; e++) a.in[e] = reader_of(p, n, &k->in[e]);
    return LAUNCH("ops_norm", (unsigned)(a.s.count / a.run), 1, THREADS, a);
}

static tl_status run_roped(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    ops_rope_args a = {.x = (const float *)p->base[k->in[0].value] + k->in[0].offset, .cs = (const float *)p->base[k->in[1].value] + k->in[1].offset,
                       .x_row = n->sym ? k->in[0].stride[0] : 0, .cs_row = n->sym ? k->in[1].stride[0] : 0, .head_stride = n->u.rope.head_stride,
                       .rows = n->sym ? kernel_rows(p, k) : 1, .heads = (int32_t)n->u.rope.heads, .d = (int32_t)n->u.rope.d, .rot = (int32_t)n->u.rope.rot,
                       .interleaved = n->u.rope.interleaved, .out = p->base[k->out]};
    return LAUNCH("ops_rope", blocks(a.rows * a.heads * a.d, THREADS), 1, THREADS, a);
}

static tl_status run_folds(plan *p, const kernel *k, tl_error *err) { // REDUCE, EINSUM
    const ir_node *n = k->node;
    ops_fold_args a = {.s = space_of(p, n), .n_in = n->op == IR_REDUCE ? 1 : 2, .fold = n->op == IR_REDUCE ? n->sub : FOLD_SUM, .folded = 1, .out = p->base[k->out]};
    for (int l = n->nout; l < n->nlab; l++) a.folded *= n->size[l];
    for (int e = 0; e < a.n_in; e++) a.in[e] = reader_of(p, n, &k->in[e]);
    return LAUNCH("ops_fold", blocks(a.s.count, WARPS), 1, THREADS, a);
}

static tl_status run_owners(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    ops_owned_args a = {.seq = reader_of(p, n, &k->in[0]), .seqs = p->gpu->seqs_device, .n_seqs = (int32_t)p->gpu->n_seqs, .slots = (int32_t)n->size[n->nout - 1],
                        .rows = kernel_rows(p, k), .out = p->base[k->out]};
    return LAUNCH("ops_owned", (unsigned)a.rows, 1, THREADS, a);
}

// ---- matrices --------------------------------------------------------------------------------------------
static int act_kind_of(const gpu_linear *l) { return layout_act_kind((int)l->w->m.type, l->wide); }

size_t gpu_act_room(const plan *p) {
    size_t most = 0;
    for (int i = 0; i < p->n_kernels; i++) {
        const kernel *k = p->kernels[i];
        if (k->kind != K_TILE) continue;
        const gpu_linear *l = k->args;
        int64_t rows = k->sym == SYM_ROWS ? p->limits.max_rows : k->sym == SYM_OUT ? p->limits.max_outs : k->fixed;
        size_t bytes = l->w->m.type == DT_F32 ? 0 : (size_t)layout_act_bytes(act_kind_of(l), rows, l->w->m.k);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static const kernel *fused_norm(const plan *p, int32_t v) { // the norm that makes v while its rows are quantized, or NULL
    int32_t m = p->gpu->norm_of[v];
    return m < 0 ? NULL : p->kernels[m];
}

static tl_status quantize_normed(plan *p, const kernel *norm, int64_t rows, int kind, tl_error *err) {
    const reader *x = &norm->in[0], *w = norm->node->n_in > 1 ? &norm->in[1] : NULL;
    fused_norm_args a = {.x = (const float *)p->base[x->value] + x->offset, .w = w ? (const float *)p->base[w->value] + w->offset : NULL, .ldx = x->stride[0],
                         .k = (int32_t)norm->node->inner, .kind = kind, .eps = norm->node->u.norm.eps, .q = p->gpu->act};
    return LAUNCH("fused_norm", (unsigned)rows, 1, THREADS, a);
}

// The rows of a product's input in the form it reads; made anew unless they are still there.
static tl_status quantized(plan *p, const kernel *k, int64_t rows, int64_t stride, tl_error *err) {
    gpu_plan *g = p->gpu;
    const gpu_linear *l = k->args;
    const reader *x = &k->in[0];
    int kind = act_kind_of(l);
    if (g->act_value == x->value && g->act_offset == x->offset && g->act_stride == stride && g->act_rows == rows && g->act_k == l->w->m.k && g->act_kind == kind) return TL_OK;
    const kernel *norm = fused_norm(p, x->value);
    cuda_quantize_args a = {.x = (const float *)p->base[x->value] + x->offset, .ldx = stride, .rows = (int32_t)rows, .k = (int32_t)l->w->m.k, .kind = kind, .q = g->act};
    TL_TRY(norm ? quantize_normed(p, norm, rows, kind, err) : cuda_quantize(p->device, &a, err));
    g->act_value = x->value, g->act_offset = x->offset, g->act_stride = stride, g->act_rows = rows, g->act_k = l->w->m.k, g->act_kind = kind;
    return TL_OK;
}

static cuda_matrix matrix_slice(const gpu_linear *l) {
    cuda_matrix m = l->w->dm;
    m.n = (int32_t)l->n;
    m.strip0 = (int32_t)(l->row0 / CUDA_STRIP);
    return m;
}

// A row alone: quantized, and normalised before, by the product itself.
static bool row_alone(const plan *p, const kernel *k, cuda_linear_args *l, cuda_row_args *a) {
    const reader *x = &k->in[0];
    const kernel *norm = fused_norm(p, x->value);
    if (l->m[0].type == DT_F32) return false;
    *a = (cuda_row_args){.l = *l, .x = (const float *)p->base[x->value] + x->offset};
    if (norm) {
        const reader *from = &norm->in[0], *w = norm->node->n_in > 1 ? &norm->in[1] : NULL;
        a->norm = 1;
        a->eps = norm->node->u.norm.eps;
        a->x = (const float *)p->base[from->value] + from->offset;
        a->w = w ? (const float *)p->base[w->value] + w->offset : NULL;
    }
    return cuda_row_takes(a);
}

// Products of one input; `a` has what is added or how they are joined.
static tl_status run_products(plan *p, kernel *const *k, int n, cuda_linear_args a, tl_error *err) {
    const kernel *first = k[0];
    const gpu_linear *l = first->args;
    int64_t rows = kernel_rows(p, first), stride = first->node->nout == 2 ? first->in[0].stride[0] : 0;
    if (rows == 0) return TL_OK;
    a.n_m = n;
    a.rows = (int32_t)rows;
    a.wide = l->wide;
    for (int i = 0; i < n; i++) {
        a.m[i] = matrix_slice(k[i]->args);
        if (!a.y[i]) a.y[i] = p->base[k[i]->out];
        a.ldy[i] = ((const gpu_linear *)k[i]->args)->n;
    }
    cuda_row_args row;
    if (rows == 1 && row_alone(p, first, &a, &row)) return cuda_row(p->device, &row, err);
    if (l->w->m.type == DT_F32) {
        a.x = (const float *)p->base[first->in[0].value] + first->in[0].offset;
        a.ld_x = stride;
    } else {
        TL_TRY(quantized(p, first, rows, stride, err));
        a.x = p->gpu->act;
    }
    return cuda_linear(p->device, &a, err);
}

static tl_status run_product_group(plan *p, kernel *k, const gpu_role *r, tl_error *err) {
    cuda_linear_args a = {.epilogue = CUDA_EPI_NONE};
    switch (r->kind) {
    case GPU_ADD:
        a.epilogue = CUDA_EPI_ADD;
        a.res = (const float *)p->base[k->in[r->residual].value];
        a.ld_res = k->node->inner;
        a.y[0] = p->base[k->out];
        break;
    case GPU_GLU:
        a.epilogue = CUDA_EPI_GLU;
        a.map = r->map;
        a.y[0] = p->base[k->out];
        break;
    case GPU_PRODUCTS: break;
    default: return run_products(p, &k, 1, a, err);
    }
    return run_products(p, r->member, r->n, a, err);
}

static tl_status run_lookup(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    const plan_weight *w = k->args;
    const reader *s = &k->in[0];
    int64_t rows = n->nout == 2 ? kernel_rows(p, k) : 1;
    if (s->kind != SRC_I32) return err_set(err, TL_E_UNSUPPORTED, "a lookup by numbers that are not integers, on a CUDA device");
    cuda_embed_args a = {.m = w->dm, .ids = (const int32_t *)p->base[s->value] + s->offset, .id_stride = n->nout == 2 ? s->stride[0] : 0, .rows = (int32_t)rows, .out = p->base[k->out]};
    return rows ? cuda_embed(p->device, &a, err) : TL_OK;
}

// ---- attention -------------------------------------------------------------------------------------------
static cuda_attn_args attention_args(const plan *p, const kernel *k, int64_t rows) {
    const ir_node *n = k->node;
    const ir_attention *at = &n->u.attn;
    const reader *q = &k->in[0];
    bool outs = k->sym == SYM_OUT;
    return (cuda_attn_args){.rows = (int32_t)rows, .heads = at->heads, .kv_heads = at->kv_heads, .dk = at->dk, .dv = at->dv,
                            .q = (const float *)p->base[q->value] + q->offset, .q_stride = q->stride[0], .kv_type = (int32_t)n->state2->type, .causal = at->causal,
                            .k = p->base[k->in[1].value], .v = p->base[k->in[2].value], .k_slot_bytes = (int64_t)n->state2->slot_bytes,
                            .v_slot_bytes = (int64_t)n->state3->slot_bytes, .seq = p->base[k->in[3].value], .pos = n->n_in > 4 ? p->base[k->in[4].value] : NULL,
                            .seqs = p->gpu->seqs_device, .scale = at->scale, .softcap = at->softcap, .window = at->window, .chunks = p->gpu->chunks,
                            .out = p->base[k->out], .out_stride = n->inner, .n_seqs = p->gpu->n_tiles[outs]};
}

// Bytes of the work area, the counters at its start.
size_t gpu_attn_room(const plan *p, size_t *counters) {
    size_t most = 0;
    *counters = 0;
    for (int i = 0; i < p->n_kernels; i++) {
        if (p->kernels[i]->node->op != IR_ATTENTION) continue;
        cuda_attn_args a = attention_args(p, p->kernels[i], p->limits.max_rows);
        size_t count, bytes;
        a.chunks = (int32_t)(p->limits.max_slots / GPU_CHUNK + 2);
        a.chunks += a.chunks / 8 + 2; // as they are rounded up
        bytes = cuda_attention_work(&a, &count);
        most = bytes > most ? bytes : most;
        *counters = count > *counters ? count : *counters;
    }
    *counters = gpu_aligned(*counters);
    return most + *counters;
}

// ---- rotations and stores ----------------------------------------------------------------------------------
static void store_task(const plan *p, const kernel *k, fused_task *t) {
    const ir_node *n = k->node;
    const ir_state *s = n->state2;
    t->state = p->base[k->in[0].value];
    t->slot_bytes = (int64_t)s->slot_bytes;
    t->at = n->in[0].offset;
    t->limit = n->u.gather.limit[0];
    t->slot = (const int32_t *)p->base[k->in[2].value] + k->in[2].offset;
    t->type = (int32_t)s->type;
}

static fused_task task_of(const plan *p, const kernel *k) {
    const ir_node *n = k->node;
    const reader *x = &k->in[n->op == IR_SCATTER ? 1 : 0];
    fused_task t = {.x = (const float *)p->base[x->value] + x->offset, .ldx = x->stride[0], .n = (int32_t)(n->op == IR_SCATTER ? n->size[1] : n->inner), .d = 1};
    if (n->op == IR_SCATTER) {
        store_task(p, k, &t);
        return t;
    }
    t.d = (int32_t)n->u.rope.d, t.rot = (int32_t)n->u.rope.rot, t.interleaved = n->u.rope.interleaved;
    t.cs = (const float *)p->base[k->in[1].value] + k->in[1].offset;
    t.ld_cs = k->in[1].stride[0];
    return t;
}

static void attention_work(const plan *p, cuda_attn_args *a) {
    a->counter = p->gpu->attn_work;
    a->work = (float *)(void *)((char *)p->gpu->attn_work + p->gpu->counter_bytes);
}

// One row: its attention rotates and stores (gpu_fuse.c).
static bool attends_alone(const plan *p, const kernel *k, attn_one_args *one) {
    const gpu_role *r = ((const gpu_role *)k->gpu)->stores;
    if (!r || kernel_rows(p, k) != 1) return false;
    *one = (attn_one_args){.a = attention_args(p, k, 1)};
    attention_work(p, &one->a);
    for (int i = 0; i < r->n; i++) {
        const kernel *m = r->member[i];
        fused_task t = task_of(p, m);
        if (m->node->op == IR_ROPE && m->out == k->in[0].value) one->q = t;
        if (m->node->op != IR_SCATTER) continue;
        for (int j = 0; j < r->n; j++)
            if (r->member[j]->out >= 0 && r->member[j]->out == m->in[1].value) {
                t = task_of(p, r->member[j]);
                store_task(p, m, &t);
            }
        if (m->node->state2 == k->node->state2) one->k = t;
        else one->v = t;
    }
    int type = one->a.kv_type;
    return one->k.state == one->a.k && one->v.state == one->a.v && one->k.type == type && one->v.type == type && (type == CT_F16 || type == CT_Q8_0) && cuda_attention_takes(&one->a);
}

static tl_status run_stores(plan *p, const gpu_role *r, tl_error *err) {
    attn_one_args one;
    if (r->attend && attends_alone(p, r->attend, &one)) return TL_OK;
    fused_store_args a = {.rows = (int32_t)kernel_rows(p, r->member[0])};
    int task[GPU_MEMBERS], all = 0;
    for (int i = 0; i < r->n; i++) {
        const kernel *k = r->member[i];
        int of = -1;
        for (int j = 0; j < i && k->node->op == IR_SCATTER; j++)
            if (r->member[j]->out >= 0 && r->member[j]->out == k->in[1].value && !a.task[task[j]].state) of = task[j];
        if (of >= 0) {
            store_task(p, k, &a.task[of]);
            continue;
        }
        task[i] = a.n_tasks++;
        a.task[task[i]] = task_of(p, k);
        if (r->float_out >> i & 1) a.task[task[i]].out = p->base[k->out];
        all += (a.task[task[i]].n + 31) / 32 * 32;
    }
    return LAUNCH("fused_store", blocks(all, THREADS), (unsigned)a.rows, THREADS, a);
}

// ---- attention, launched ---------------------------------------------------------------------------------
static tl_status run_attend(plan *p, const kernel *k, tl_error *err) {
    cuda_attn_args a = attention_args(p, k, kernel_rows(p, k));
    attn_one_args one;
    if (a.rows == 0) return TL_OK;
    if (attends_alone(p, k, &one)) return cuda_attention_one(p->device, &one, err);
    attention_work(p, &a);
    if (k->node->state2->type != DT_F32 && cuda_attention_takes(&a)) return cuda_attention(p->device, &a, err); // a float32 cache is for exact results
    if (a.dk > 1024 || a.dv > 1024 || k->node->state2->type == DT_Q4_0)
        return err_set(err, TL_E_UNSUPPORTED, "attention with heads of %d and %d values over %s on a CUDA device", a.dk, a.dv, dtype_table[k->node->state2->type].name);
    return cuda_launch(p->device, "attn_any", (unsigned)a.heads, (unsigned)a.rows, 1, THREADS, 0, &a, sizeof a, CUDA_PDL, err);
}

// ---- all -------------------------------------------------------------------------------------------------
static tl_status run_node(plan *p, const kernel *k, tl_error *err) {
    const ir_node *n = k->node;
    if (n->sym && sym_rows(p, n->sym, 0) == 0) return TL_OK;
    switch (n->op) {
    case IR_MAP: case IR_FUSED: return run_map_fused(p, k, err);
    case IR_EINSUM: case IR_REDUCE: return run_folds(p, k, err);
    case IR_SOFTMAX: case IR_TOPK: return run_rows(p, k, err);
    case IR_GATHER: return run_gathered(p, k, err);
    case IR_ASSEMBLE: return run_parts(p, k, err);
    case IR_SCATTER: return run_scattered(p, k, err);
    case IR_OWNED: return run_owners(p, k, err);
    case IR_RMS_NORM: case IR_LAYER_NORM: return run_normed(p, k, err);
    case IR_ROPE: return run_roped(p, k, err);
    case IR_LINEAR: return run_folds(p, k, err);
    case IR_EMBED: return run_lookup(p, k, err);
    case IR_ATTENTION: return run_attend(p, k, err);
    default: return err_set(err, TL_E_UNSUPPORTED, "%s cannot be computed on a CUDA device", ir_op_name(n->op));
    }
}

tl_status gpu_launch(plan *p, kernel *k, tl_error *err) {
    const gpu_role *r = k->gpu;
    if (r->kind == GPU_SOME) return run_some(p, r, err);
    if (r->kind == GPU_SKIP || r->kind == GPU_NORM || (k->node->sym && sym_rows(p, k->node->sym, 0) == 0)) return TL_OK;
    if (r->kind == GPU_STORES) return run_stores(p, r, err);
    if (r->kind != GPU_ALONE || k->kind == K_TILE) return run_product_group(p, k, r, err);
    return run_node(p, k, err);
}

tl_status gpu_launch_all(plan *p, tl_error *err) {
    p->gpu->act_value = -1;
    for (int i = 0; i < p->n_kernels; i++) {
        TL_TRY(gpu_profile_point(p, i, err));
        TL_TRY(gpu_launch(p, p->kernels[i], err));
    }
    return gpu_profile_point(p, p->n_kernels, err);
}
