// op_row.c - kernels over whole rows: SOFTMAX, TOPK, RMS_NORM, LAYER_NORM, ROPE, REDUCE.
#include <math.h>

#include "plan/plan_int.h"

// ---- SOFTMAX: in0 over the last label, in1 (if any) says which entries count ----------------------
void run_softmax(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        float *out = (float *)p->base[k->out] + w.out;
        int64_t sx = walk_stride(&w, 0);
        for (int64_t i = 0; i < w.run; i += RUN) {
            int64_t n = w.run - i < RUN ? w.run - i : RUN;
            const float *x = reader_run(p, &k->in[0], w.pos[0] + i * sx, sx, n, thread_temp(p, thread, 0));
            if (k->node->n_in == 1) {
                memcpy(out + i, x, (size_t)n * sizeof *out);
                continue;
            }
            int64_t sm = walk_stride(&w, 1);
            const float *m = reader_run(p, &k->in[1], w.pos[1] + i * sm, sm, n, thread_temp(p, thread, 1));
            for (int64_t j = 0; j < n; j++) out[i + j] = m[j] != 0 ? x[j] : -INFINITY;
        }
        p->k->softmax(out, out, w.run);
    }
}

// ---- TOPK ----------------------------------------------------------------------------------------
static inline float rank_of(float v) { return v == v ? v : -INFINITY; } // NaN counts least

// The kth largest of v[0..n) (k from 1); reorders v.
static float kth_largest(float *v, int64_t n, int64_t k) {
    int64_t lo = 0, hi = n - 1, want = k - 1;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] > pivot) i++;
            while (v[j] < pivot) j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j], v[j--] = t;
            }
        }
        if (want <= j) hi = j;
        else if (want >= i) lo = i;
        else break;
    }
    return v[want];
}

// Of equal values the first ones are taken.
void run_topk(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    int64_t count = k->node->u.topk;
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        float *out = (float *)p->base[k->out] + w.out;
        int64_t s = walk_stride(&w, 0), above = 0;
        if (count <= 0 || count >= w.run) {
            for (int64_t i = 0; i < w.run; i++) out[i] = count > 0;
            continue;
        }
        for (int64_t i = 0; i < w.run; i++) out[i] = rank_of(reader_one(p, &k->in[0], w.pos[0] + i * s));
        float bound = kth_largest(out, w.run, count);
        for (int64_t i = 0; i < w.run; i++) above += rank_of(reader_one(p, &k->in[0], w.pos[0] + i * s)) > bound;
        int64_t equal = count - above;
        for (int64_t i = 0; i < w.run; i++) {
            float v = rank_of(reader_one(p, &k->in[0], w.pos[0] + i * s));
            out[i] = v > bound || (v == bound && equal-- > 0);
        }
    }
    (void)thread;
}

// ---- norms ---------------------------------------------------------------------------------------
void run_norm(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const ir_node *n = k->node;
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        const float *v[3] = {NULL};
        for (int e = 0; e < n->n_in; e++) v[e] = (const float *)p->base[k->in[e].value] + w.pos[e];
        float *out = (float *)p->base[k->out] + w.out;
        if (n->op == IR_RMS_NORM) p->k->rms_norm(v[0], v[1], n->u.norm.eps, out, w.run);
        else p->k->layer_norm(v[0], v[1], v[2], n->u.norm.eps, out, w.run);
    }
}

// A residual sum, its norm and what is quantized of that, row by row: what kernels of few rows cost is more than their arithmetic.
void run_add_norm(const plan *p, kernel *const *k, int64_t r0, int64_t r1, int thread) {
    const kernel *norm = k[1];
    int64_t n = norm->node->inner;
    const float *a = (const float *)p->base[k[0]->in[0].value], *b = (const float *)p->base[k[0]->in[1].value];
    const float *w = norm->node->n_in > 1 ? (const float *)p->base[norm->in[1].value] + norm->in[1].offset : NULL;
    for (int64_t r = r0; r < r1; r++) {
        float *sum = (float *)p->base[k[0]->out] + r * n;
        p->k->map2(MAP_ADD, a + r * n, b + r * n, sum, n);
        p->k->rms_norm(sum, w, norm->node->u.norm.eps, (float *)p->base[norm->out] + r * n, n);
        for (int i = 2; i <= k[0]->followers; i++) k[i]->run(p, k[i], r, r + 1, thread);
    }
}

// ---- ROPE: [p, heads * d] ------------------------------------------------------------------------
void run_rope(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    (void)thread;
    const ir_node *n = k->node;
    const float *x = (const float *)p->base[k->in[0].value] + k->in[0].offset, *cs = (const float *)p->base[k->in[1].value] + k->in[1].offset;
    int64_t sx = n->sym ? k->in[0].stride[0] : 0, sc = n->sym ? k->in[1].stride[0] : 0, d = n->u.rope.d;
    for (int64_t r = r0; r < r1; r++) {
        float *out = (float *)p->base[k->out] + r * n->inner;
        for (int64_t h = 0; h < n->u.rope.heads; h++)
            p->k->rope(x + r * sx + h * n->u.rope.head_stride, cs + r * sc, out + h * d, d, n->u.rope.rot, n->u.rope.interleaved);
    }
}

// ---- REDUCE --------------------------------------------------------------------------------------
static double fold_start(fold_kind f) {
    return f == FOLD_MAX ? -INFINITY : f == FOLD_MIN ? INFINITY : f == FOLD_PROD ? 1 : 0;
}

static double fold_run(fold_kind f, double acc, const float *x, int64_t n) {
    switch (f) {
    case FOLD_SUM: case FOLD_AVG:
        for (int64_t i = 0; i < n; i++) acc += (double)x[i];
        break;
    case FOLD_MAX:
        for (int64_t i = 0; i < n; i++) acc = acc > (double)x[i] ? acc : (double)x[i];
        break;
    case FOLD_MIN:
        for (int64_t i = 0; i < n; i++) acc = acc < (double)x[i] ? acc : (double)x[i];
        break;
    case FOLD_OR:
        for (int64_t i = 0; i < n; i++) acc = acc != 0 || x[i] != 0;
        break;
    case FOLD_PROD:
        for (int64_t i = 0; i < n; i++) acc *= (double)x[i];
        break;
    case FOLD_COUNT: break;
    }
    return acc;
}

static float reduce_one(const plan *p, const kernel *k, int64_t pos, float *tmp, int64_t *work) {
    const ir_node *n = k->node;
    const reader *s = &k->in[0];
    fold_kind f = (fold_kind)n->sub;
    double acc = fold_start(f);
    int last = n->nlab - 1;
    if (last < n->nout) { // nothing is folded: size-1 labels are gone
        float x = reader_one(p, s, pos);
        acc = fold_run(f, acc, &x, 1);
        return (float)acc;
    }
    int64_t at[IR_MAX_LABELS] = {0}, count = 1, stride = s->stride[last];
    for (int l = n->nout; l < n->nlab; l++) count *= n->size[l];
    for (;;) {
        for (int64_t i = 0; i < n->size[last]; i += RUN) {
            int64_t m = n->size[last] - i < RUN ? n->size[last] - i : RUN;
            acc = fold_run(f, acc, reader_run(p, s, pos + i * stride, stride, m, tmp), m);
            if (stopped_after(p, work, m)) return 0;
        }
        int l = last - 1;
        for (; l >= n->nout; l--) {
            pos += s->stride[l];
            if (++at[l] < n->size[l]) break;
            pos -= at[l] * s->stride[l];
            at[l] = 0;
        }
        if (l < n->nout) break;
    }
    return (float)(f == FOLD_AVG ? acc / (double)count : acc);
}

void run_reduce(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    int64_t work = 0;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        float *out = (float *)p->base[k->out] + w.out;
        for (int64_t i = 0; i < w.run && !stopped_after(p, &work, 1); i++) out[i] = reduce_one(p, k, w.pos[0] + i * walk_stride(&w, 0), thread_temp(p, thread, 0), &work);
    }
}
