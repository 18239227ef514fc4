// op_einsum.c - general contractions: sum over the folded labels of in0 * in1.
#include "plan/plan_int.h"

// One output element: pa, pb are where its first products lie.
static float einsum_one(const plan *p, const kernel *k, int64_t pa, int64_t pb, float *ta, float *tb) {
    const ir_node *n = k->node;
    const reader *a = &k->in[0], *b = &k->in[1];
    int last = n->nlab - 1;
    if (last < n->nout) return reader_one(p, a, pa) * reader_one(p, b, pb);
    int64_t at[IR_MAX_LABELS] = {0}, sa = a->stride[last], sb = b->stride[last];
    double acc = 0;
    for (;;) {
        for (int64_t i = 0; i < n->size[last]; i += RUN) {
            int64_t m = n->size[last] - i < RUN ? n->size[last] - i : RUN;
            const float *x = reader_run(p, a, pa + i * sa, sa, m, ta), *y = reader_run(p, b, pb + i * sb, sb, m, tb);
            acc += (double)p->k->dot(x, y, m);
        }
        int l = last - 1;
        for (; l >= n->nout; l--) {
            pa += a->stride[l], pb += b->stride[l];
            if (++at[l] < n->size[l]) break;
            pa -= at[l] * a->stride[l], pb -= at[l] * b->stride[l];
            at[l] = 0;
        }
        if (l < n->nout) return (float)acc;
    }
}

void run_einsum(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        float *out = (float *)p->base[k->out] + w.out;
        for (int64_t i = 0; i < w.run; i++)
            out[i] = einsum_one(p, k, w.pos[0] + i * walk_stride(&w, 0), w.pos[1] + i * walk_stride(&w, 1), thread_temp(p, thread, 0),
                                thread_temp(p, thread, 1));
    }
}
