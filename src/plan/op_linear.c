// op_linear.c - kernels over weight matrices and the attention call: quantize, LINEAR, EMBED, ATTENTION.
#include "plan/plan_int.h"

static bool in_tiles(const plan *p, const kernel *k, const quant_args *q) { return q && q->tiled && sym_rows(p, k->sym, k->fixed) >= CPU_TILE; }

void run_quantize(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const quant_args *q = k->args;
    const float *x = (const float *)p->base[k->in[0].value] + k->in[0].offset;
    int64_t stride = k->in[0].stride[0];
    if (!in_tiles(p, k, q)) {
        if (q->attended) return;
        for (int64_t r = r0; r < r1; r++) p->k->act_quantize(q->kind, x + r * stride, (char *)p->base[k->out] + (size_t)r * q->bytes, q->k);
        return;
    }
    for (int64_t r = r0; r < r1; r++) p->k->act_tile(q->kind, x + r * stride, p->base[k->out], q->k, r);
    if (r1 < sym_rows(p, k->sym, k->fixed)) return;
    for (int64_t r = r1; r % CPU_TILE; r++) p->k->act_tile(q->kind, NULL, p->base[k->out], q->k, r);
}

// Rows [m0, m1) of the matrix that lie in one group which the slice [row0, row0 + n) cuts: through a temporary.
static void linear_cut(const plan *p, const linear_args *l, const char *x, float *y, int64_t ldy, int64_t m0, int64_t m1, int64_t rows) {
    int64_t g0 = m0 / CPU_ROW_GROUP * CPU_ROW_GROUP, g1 = g0 + CPU_ROW_GROUP < l->m.n ? g0 + CPU_ROW_GROUP : l->m.n;
    float tmp[CPU_ROW_GROUP];
    for (int64_t r = 0; r < rows; r++) {
        p->k->linear(&l->m, x + (size_t)r * l->x_bytes, 1, tmp - g0, CPU_ROW_GROUP, g0, g1);
        memcpy(y + r * ldy + m0, tmp + (m0 - g0), (size_t)(m1 - m0) * sizeof *tmp);
    }
}

// Outputs [n0, n1) of the slice, counted in groups of the matrix that the slice touches; activation rows [r0, r1).
void run_linear(const plan *p, const kernel *k, int64_t n0, int64_t n1, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const linear_args *l = k->args;
    const char *x = (const char *)p->base[l->x] + l->x_offset + (size_t)r0 * l->x_bytes;
    int64_t ldy = l->n, first = l->row0 / CPU_ROW_GROUP * CPU_ROW_GROUP, end = l->row0 + l->n;
    float *y = (float *)p->base[k->out] + r0 * ldy - l->row0; // y[r * ldy + row of the matrix]
    int64_t m0 = first + n0 * CPU_ROW_GROUP, m1 = first + n1 * CPU_ROW_GROUP;
    if (in_tiles(p, k, l->quant)) {
        p->k->linear_tiled(&l->m, x, r1 - r0, y, ldy, m0, m1 < end ? m1 : end);
        return;
    }
    if (m0 < l->row0) {
        int64_t stop = m0 + CPU_ROW_GROUP < end ? m0 + CPU_ROW_GROUP : end;
        linear_cut(p, l, x, y, ldy, l->row0, stop, r1 - r0);
        m0 += CPU_ROW_GROUP;
    }
    if (m1 > end) m1 = end;
    if (m0 >= m1) return;
    int64_t whole = m1 == l->m.n ? m1 : m1 / CPU_ROW_GROUP * CPU_ROW_GROUP;
    if (m0 < whole) p->k->linear(&l->m, x, r1 - r0, y, ldy, m0, whole);
    if (whole < m1) linear_cut(p, l, x, y, ldy, whole, m1, r1 - r0);
}

void run_embed(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const ir_node *n = k->node;
    const plan_weight *w = k->args;
    int64_t stride = n->nout == 2 ? k->in[0].stride[0] : 0;
    for (int64_t r = r0; r < r1; r++) {
        float *out = (float *)p->base[k->out] + r * w->m.k;
        int64_t row = reader_index(p, &k->in[0], k->in[0].offset + r * stride);
        if (row >= 0 && row < w->m.n) p->k->matrix_row(&w->m, row, out);
        else memset(out, 0, (size_t)w->m.k * sizeof *out);
    }
}

// ---- attention -----------------------------------------------------------------------------------
void attn_fill(plan *p, kernel *k) {
    attn_plan *at = k->args;
    const ir_node *n = k->node;
    attn_args *a = &at->a;
    a->rows = sym_rows(p, k->sym, 0);
    a->q = (const float *)p->base[k->in[0].value] + k->in[0].offset;
    a->q_stride = k->in[0].stride[0];
    a->k = n->state2->data;
    a->v = n->state3->data;
    a->k_slot_bytes = n->state2->slot_bytes;
    a->v_slot_bytes = n->state3->slot_bytes;
    a->seq = p->base[k->in[3].value];
    a->pos = n->n_in > 4 ? p->base[k->in[4].value] : NULL;
    a->seqs = p->step.seqs;
    a->out = p->base[k->out];
    a->out_stride = n->inner;
    const quant_args *q = at->quant ? at->quant->args : NULL;
    a->act = q && !in_tiles(p, at->quant, q) ? p->base[at->quant->out] : NULL;
    if (a->act) a->act_bytes = q->bytes, a->act_kind = q->kind, a->quantize = p->k->act_quantize;
    a->threads = p->n_threads;
    a->work = p->attn_work[at->work];
    a->work_slots = p->limits.max_slots;
}

void run_attention(const plan *p, const kernel *k, int64_t i0, int64_t i1, int thread) {
    const attn_plan *at = k->args;
    p->k->attention(&at->a, i0, i1, thread_attn(p, thread));
}
