// op_map.c - elementwise kernels: MAP, FUSED, and what only moves data (GATHER, ASSEMBLE, SCATTER, OWNED).
#include "plan/plan_int.h"

// ---- MAP -----------------------------------------------------------------------------------------
// An operand over a run: a vector, or one value for all of it.
typedef struct operand {
    const float *v; // NULL: s
    float s;
} operand;

static operand fetch(const plan *p, const reader *s, int64_t pos, int64_t stride, int64_t n, float *tmp) {
    if (s->kind == SRC_SCALAR) return (operand){.s = s->scalar};
    if (stride == 0) return (operand){.s = reader_one(p, s, pos)};
    return (operand){.v = reader_run(p, s, pos, stride, n, tmp)};
}

static const float *spread(operand a, float *tmp, int64_t n) {
    if (a.v) return a.v;
    for (int64_t i = 0; i < n; i++) tmp[i] = a.s;
    return tmp;
}

static bool commutes(int op) { return op == MAP_ADD || op == MAP_MUL || op == MAP_EQ || op == MAP_NE || op == MAP_AND || op == MAP_OR; }

// dst = op(a, b, c); t: temporaries of two runs
static void apply(const plan *p, int op, operand a, operand b, operand c, float *dst, int64_t n, float *t0, float *t1) {
    if (map_arity[op] == 2) {
        if (!a.v && b.v && commutes(op)) {
            operand x = a;
            a = b, b = x;
        }
        const float *av = spread(a, t0, n);
        if (b.v) p->k->map2(op, av, b.v, dst, n);
        else p->k->map2s(op, av, b.s, dst, n);
        return;
    }
    const float *av = spread(a, t0, n);
    if (op == MAP_COPY) {
        if (av != dst) memmove(dst, av, (size_t)n * sizeof *dst);
    } else if (op == MAP_SELECT) {
        const float *bv = spread(b, t1, n);
        for (int64_t i = 0; i < n; i++) {
            float other = c.v ? c.v[i] : c.s;
            dst[i] = av[i] != 0 ? bv[i] : other;
        }
    } else {
        p->k->map1(op, av, dst, n);
    }
}

// Elements [i, i + n) of operand e's run.
static operand fetch_of(const plan *p, const kernel *k, const walk *w, int e, int64_t i, int64_t n, int thread) {
    int64_t stride = walk_stride(w, e);
    return fetch(p, &k->in[e], w->pos[e] + i * stride, stride, n, thread_temp(p, thread, e));
}

// Elements [c0, c1) of one run of a MAP.
static void map_run(const plan *p, const kernel *k, const walk *w, int64_t c0, int64_t c1, int thread) {
    float *out = (float *)p->base[k->out] + w->out;
    for (int64_t i = c0; i < c1; i += RUN) {
        int64_t n = c1 - i < RUN ? c1 - i : RUN;
        operand v[3] = {{0}};
        for (int e = 0; e < k->node->n_in; e++) v[e] = fetch_of(p, k, w, e, i, n, thread);
        apply(p, k->node->sub, v[0], v[1], v[2], out + i, n, thread_temp(p, thread, TEMPS), thread_temp(p, thread, TEMPS + 1));
    }
}

void run_map(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) map_run(p, k, &w, 0, w.run, thread);
}

// ---- FUSED: a postfix program on a stack of runs -------------------------------------------------
// Is the result of instruction c, on top of the stack, multiplied next? By what is below (1 instruction) or by an operand that is
// pushed first (2). 0: it is not, or the kernels have no loop for both.
static int product_after(const fused_args *f, int c) {
    if (f->code[c].op != MAP_SILU && f->code[c].op != MAP_GELU) return 0;
    if (c + 1 < f->n && f->code[c + 1].op == MAP_MUL) return 1;
    return c + 2 < f->n && f->code[c + 1].op == FUSED_PUSH && f->code[c + 2].op == MAP_MUL ? 2 : 0;
}

static void fused_run(const plan *p, const kernel *k, const walk *w, int64_t c0, int64_t c1, int thread) {
    const fused_args *f = k->args;
    float *out = (float *)p->base[k->out] + w->out;
    for (int64_t i = c0; i < c1; i += RUN) {
        int64_t n = c1 - i < RUN ? c1 - i : RUN;
        operand stack[STACK];
        int top = 0;
        for (int c = 0; c < f->n; c++) {
            const ir_fused *in = &f->code[c];
            if (in->op == FUSED_PUSH) {
                stack[top++] = fetch_of(p, k, w, in->arg, i, n, thread);
                continue;
            }
            int more = product_after(f, c);
            operand gate = {0};
            if (more == 1) gate = stack[top - 2];
            if (more == 2) gate = fetch_of(p, k, w, f->code[c + 1].arg, i, n, thread);
            if (gate.v && stack[top - 1].v) {
                const float *a = stack[top - 1].v;
                if (more == 1) top--;
                c += more;
                float *dst = c + 1 == f->n ? out + i : thread_temp(p, thread, TEMPS + top - 1);
                p->k->gate(in->op, a, gate.v, dst, n);
                stack[top - 1] = (operand){.v = dst};
                continue;
            }
            top -= map_arity[in->op];
            operand *a = &stack[top];
            float *dst = c + 1 == f->n ? out + i : thread_temp(p, thread, TEMPS + top);
            operand b = map_arity[in->op] > 1 ? a[1] : *a, z = map_arity[in->op] > 2 ? a[2] : *a;
            apply(p, in->op, *a, b, z, dst, n, thread_temp(p, thread, TEMPS + STACK - 2), thread_temp(p, thread, TEMPS + STACK - 1));
            stack[top++] = (operand){.v = dst};
        }
    }
}

void run_fused(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) fused_run(p, k, &w, 0, w.run, thread);
}

// Units are chunks of FLAT_RUN elements of the last label of [p, n] or [m, n] nodes, or of the only one.
void run_flat(const plan *p, const kernel *k, int64_t u0, int64_t u1, int thread) {
    const ir_node *n = k->node;
    int64_t last = n->size[n->nout - 1], chunks = (last + FLAT_RUN - 1) / FLAT_RUN;
    for (int64_t u = u0; u < u1; u++) {
        int64_t r = u / chunks, c0 = u % chunks * FLAT_RUN, c1 = c0 + FLAT_RUN < last ? c0 + FLAT_RUN : last;
        walk w;
        if (n->nout == 1) {
            walk_begin(&w, p, k, 0, last);
        } else {
            walk_begin(&w, p, k, r, r + 1);
        }
        if (n->op == IR_FUSED) fused_run(p, k, &w, c0, c1, thread);
        else map_run(p, k, &w, c0, c1, thread);
    }
}

// ---- GATHER --------------------------------------------------------------------------------------
// Adds what the indices say to *pos; false when one is out of range.
static bool gather_at(const plan *p, const kernel *k, const walk *w, int64_t i, int64_t *pos) {
    const ir_node *n = k->node;
    for (int e = 1; e < n->n_in; e++) {
        const ir_node *base = n->in[0].node;
        int64_t limit = n->u.gather.limit[e - 1], gstride = n->u.gather.gstride[e - 1];
        int64_t index = reader_index(p, &k->in[e], w->pos[e] + i * walk_stride(w, e));
        if (base->sym && gstride == base->inner) { // the axis is the rows
            int64_t rows = sym_rows(p, base->sym, 0);
            if (limit <= 0 || limit > rows) limit = rows;
        }
        if (index < 0 || index >= limit) return false;
        *pos += index * gstride;
    }
    return true;
}

static void gather_element(const plan *p, const kernel *k, int64_t out, int64_t pos, bool valid) {
    if (k->node->type == DT_I32) ((int32_t *)p->base[k->out])[out] = valid ? ((const int32_t *)p->base[k->in[0].value])[pos] : 0;
    else ((float *)p->base[k->out])[out] = valid ? reader_one(p, &k->in[0], pos) : 0;
}

static void gather_same(const plan *p, const kernel *k, const walk *w, float *tmp) { // one index for the whole run
    int64_t pos = w->pos[0], stride = walk_stride(w, 0);
    bool valid = gather_at(p, k, w, 0, &pos);
    if (k->node->type == DT_I32) {
        for (int64_t i = 0; i < w->run; i++) gather_element(p, k, w->out + i, pos + i * stride, valid);
        return;
    }
    float *out = (float *)p->base[k->out] + w->out;
    if (!valid) {
        memset(out, 0, (size_t)w->run * sizeof *out);
        return;
    }
    for (int64_t i = 0; i < w->run; i += RUN) {
        int64_t n = w->run - i < RUN ? w->run - i : RUN;
        memcpy(out + i, reader_run(p, &k->in[0], pos + i * stride, stride, n, tmp), (size_t)n * sizeof *out);
    }
}

void run_gather(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        bool same = true;
        for (int e = 1; e < k->node->n_in; e++) same &= walk_stride(&w, e) == 0;
        if (same) {
            gather_same(p, k, &w, thread_temp(p, thread, 0));
        } else {
            for (int64_t i = 0; i < w.run; i++) {
                int64_t pos = w.pos[0] + i * walk_stride(&w, 0);
                bool valid = gather_at(p, k, &w, i, &pos);
                gather_element(p, k, w.out + i, pos, valid);
            }
        }
    }
}

// ---- ASSEMBLE ------------------------------------------------------------------------------------
static int64_t parts_total(const ir_node *n) { // elements that the parts cover, without a symbolic label
    int64_t total = 0;
    for (int e = 0; e < n->n_in; e++) {
        int64_t m = 1;
        for (int l = n->sym ? 1 : 0; l < n->nout; l++) m *= n->u.parts.sizes[e * n->nout + l];
        total += m;
    }
    return total;
}

// Part e for label 0 = [r0, r1).
static void assemble_part(const plan *p, const kernel *k, int e, int64_t r0, int64_t r1, float *tmp) {
    const ir_node *n = k->node;
    const int64_t *sizes = n->u.parts.sizes + e * n->nout, *dst = n->u.parts.stride + e * n->nout;
    const reader *s = &k->in[e];
    float *out = (float *)p->base[k->out];
    int last = n->nout - 1;
    int64_t at[IR_MAX_LABELS] = {r0};
    int64_t run = last > 0 ? sizes[last] : r1 - r0;
    for (;;) {
        int64_t from = s->offset, to = n->u.parts.offset[e];
        for (int l = 0; l < n->nout; l++) from += at[l] * s->stride[l], to += at[l] * dst[l];
        for (int64_t i = 0; i < run; i += RUN) {
            int64_t m = run - i < RUN ? run - i : RUN;
            const float *x = reader_run(p, s, from + i * s->stride[last], s->stride[last], m, tmp);
            if (dst[last] == 1) memcpy(out + to + i, x, (size_t)m * sizeof *out);
            else for (int64_t j = 0; j < m; j++) out[to + (i + j) * dst[last]] = x[j];
        }
        int l = last - 1;
        for (; l >= 0; l--) {
            if (++at[l] < (l == 0 ? r1 : sizes[l])) break;
            at[l] = l == 0 ? r0 : 0;
        }
        if (l < 0) return;
    }
}

void run_assemble(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    const ir_node *n = k->node;
    if (r0 >= r1) return;
    float *out = (float *)p->base[k->out];
    if (n->sym) {
        if (parts_total(n) < n->inner) memset(out + r0 * n->inner, 0, (size_t)((r1 - r0) * n->inner) * sizeof *out);
    } else {
        memset(out, 0, (size_t)n->inner * sizeof *out);
    }
    for (int e = 0; e < n->n_in; e++) {
        if (n->nout == 0) out[n->u.parts.offset[e]] = reader_one(p, &k->in[e], k->in[e].offset);
        else assemble_part(p, k, e, n->sym ? r0 : 0, n->sym ? r1 : n->u.parts.sizes[e * n->nout], thread_temp(p, thread, 0));
    }
}

// ---- SCATTER -------------------------------------------------------------------------------------
void run_scatter(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    const ir_node *n = k->node;
    const ir_state *s = n->state2;
    char *data = s->data;
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        int64_t to_stride = walk_stride(&w, 0), from_stride = walk_stride(&w, 1), slot_stride = n->n_in > 2 ? walk_stride(&w, 2) : 0;
        bool block = to_stride == 1 && slot_stride == 0;
        int64_t step = block ? RUN : 1;
        for (int64_t i = 0; i < w.run; i += step) {
            int64_t m = w.run - i < step ? w.run - i : step, to = w.pos[0] + i * to_stride;
            if (n->n_in > 2) {
                int64_t slot = reader_index(p, &k->in[2], w.pos[2] + i * slot_stride);
                if (slot < 0 || slot >= n->u.gather.limit[0]) continue;
                to += slot * n->u.gather.gstride[0];
            }
            state_store(p, s, data, to, reader_run(p, &k->in[1], w.pos[1] + i * from_stride, from_stride, m, thread_temp(p, thread, 0)), m);
        }
    }
}

// ---- OWNED ---------------------------------------------------------------------------------------
void run_owned(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const ir_node *n = k->node;
    int64_t slots = n->size[n->nout - 1];
    for (int64_t r = r0; r < r1; r++) {
        float *out = (float *)p->base[k->out] + r * slots;
        memset(out, 0, (size_t)slots * sizeof *out);
        int64_t seq = reader_index(p, &k->in[0], k->in[0].offset + r * k->in[0].stride[0]);
        if (seq < 0 || seq >= p->step.n_seqs) continue;
        const attn_seq *s = &p->step.seqs[seq];
        for (int64_t i = 0; i < s->n; i++)
            if (s->slots[i] >= 0 && s->slots[i] < slots) out[s->slots[i]] = 1;
    }
}
