// reader.c - reading any edge of any storage type as runs of float32, and the loops over an iteration space.
#include <math.h>

#include "gguf/quant.h"
#include "plan/plan_int.h"

// ---- storage formats -----------------------------------------------------------------------------
// Elements [pos, pos + n); tmp has RUN_ROOM floats. Returns where they lie.
static const float *decode_run(tl_dtype t, const char *data, int64_t pos, int64_t n, float *tmp) {
    const dtype_info *d = &dtype_table[t];
    int64_t b0 = pos / d->block_values, b1 = (pos + n + d->block_values - 1) / d->block_values;
    quant_decode(t, data + (size_t)b0 * d->block_bytes, tmp, (b1 - b0) * d->block_values);
    return tmp + (pos - b0 * d->block_values);
}

static float decode_one(tl_dtype t, const char *data, int64_t pos) {
    float block[256];
    int64_t v = dtype_table[t].block_values;
    quant_decode(t, data + (size_t)(pos / v) * dtype_table[t].block_bytes, block, v);
    return block[pos % v];
}

static float state_one(const ir_state *s, const char *data, int64_t pos) {
    return decode_one(s->type, data + (size_t)(pos / s->width) * s->slot_bytes, pos % s->width);
}

float reader_one(const plan *p, const reader *s, int64_t pos) {
    switch (s->kind) {
    case SRC_F32: return ((const float *)p->base[s->value])[pos];
    case SRC_I32: return (float)((const int32_t *)p->base[s->value])[pos];
    case SRC_SCALAR: return s->scalar;
    case SRC_STATE: return state_one(s->state, p->base[s->value], pos);
    case SRC_BLOCKS: return decode_one(s->type, p->base[s->value], pos);
    }
    return NAN;
}

int64_t reader_index(const plan *p, const reader *s, int64_t pos) {
    if (s->kind == SRC_I32) return ((const int32_t *)p->base[s->value])[pos];
    float v = reader_one(p, s, pos);
    return v >= 0 && v < 9e15f ? (int64_t)v : -1;
}

bool reader_in_place(const reader *s) { return s->kind == SRC_F32; }

static const float *state_run(const plan *p, const reader *s, int64_t pos, int64_t n, float *tmp) {
    const ir_state *st = s->state;
    const char *data = p->base[s->value];
    int64_t in_slot = pos % st->width;
    if (in_slot + n <= st->width) return decode_run(st->type, data + (size_t)(pos / st->width) * st->slot_bytes, in_slot, n, tmp);
    for (int64_t i = 0; i < n; i++) tmp[i] = state_one(st, data, pos + i);
    return tmp;
}

const float *reader_slow(const plan *p, const reader *s, int64_t pos, int64_t stride, int64_t n, float *tmp) {
    if (stride == 1) {
        if (s->kind == SRC_STATE) return state_run(p, s, pos, n, tmp);
        if (s->kind == SRC_BLOCKS) return decode_run(s->type, p->base[s->value], pos, n, tmp);
    }
    if (stride == 0 || s->kind == SRC_SCALAR) {
        float v = reader_one(p, s, pos);
        for (int64_t i = 0; i < n; i++) tmp[i] = v;
    } else if (s->kind == SRC_F32) {
        const float *x = (const float *)p->base[s->value] + pos;
        for (int64_t i = 0; i < n; i++) tmp[i] = x[i * stride];
    } else if (s->kind == SRC_I32) {
        const int32_t *x = (const int32_t *)p->base[s->value] + pos;
        for (int64_t i = 0; i < n; i++) tmp[i] = (float)x[i * stride];
    } else {
        for (int64_t i = 0; i < n; i++) tmp[i] = reader_one(p, s, pos + i * stride);
    }
    return tmp;
}

// ---- states --------------------------------------------------------------------------------------
static void store_run(const plan *p, const ir_state *s, char *slot, int64_t at, const float *src, int64_t n) {
    const dtype_info *d = &dtype_table[s->type];
    char *dst = slot + (size_t)(at / d->block_values) * d->block_bytes;
    if (s->type != DT_I32) {
        p->k->store(s->type, src, dst, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) ((int32_t *)(void *)dst)[i] = (int32_t)src[i];
}

void state_store(const plan *p, const ir_state *s, char *data, int64_t pos, const float *src, int64_t n) {
    while (n > 0) {
        int64_t at = pos % s->width, here = s->width - at < n ? s->width - at : n;
        store_run(p, s, data + (size_t)(pos / s->width) * s->slot_bytes, at, src, here);
        pos += here, src += here, n -= here;
    }
}

// ---- walks ---------------------------------------------------------------------------------------
static void walk_row(walk *w) { // positions at the start of row w->r
    const ir_node *n = w->node;
    memset(w->at, 0, sizeof w->at);
    for (int e = 0; e < w->n_edges; e++) w->pos[e] = w->in[e].offset + (n->nout ? w->r * w->in[e].stride[0] : 0);
}

bool walk_begin(walk *w, const plan *p, const kernel *k, int64_t r0, int64_t r1) {
    (void)p;
    const ir_node *n = k->node;
    if (r0 >= r1) return false;
    w->node = n;
    w->in = k->in;
    w->n_edges = n->n_in < MAX_EDGES ? n->n_in : MAX_EDGES;
    w->r = r0;
    w->r1 = r1;
    w->one = n->nout == 1;
    w->mid0 = 1;
    w->mid1 = n->nout - 1;
    w->run = n->nout == 0 ? 1 : w->one ? r1 - r0 : n->size[n->nout - 1];
    w->out = w->one ? r0 : r0 * (n->sym || n->nout == 0 ? n->inner : n->inner / n->size[0]);
    walk_row(w);
    return w->run > 0;
}

bool walk_next(walk *w) {
    if (w->one) return false;
    w->out += w->run;
    for (int l = w->mid1 - 1; l >= w->mid0; l--) {
        const int64_t size = w->node->size[l];
        if (++w->at[l] < size) {
            for (int e = 0; e < w->n_edges; e++) w->pos[e] += w->in[e].stride[l];
            return true;
        }
        w->at[l] = 0;
        for (int e = 0; e < w->n_edges; e++) w->pos[e] -= (size - 1) * w->in[e].stride[l];
    }
    if (++w->r >= w->r1) return false;
    walk_row(w);
    return true;
}
