// op_einsum.c - general contractions: sum over the folded labels of in0 * in1.
//
// Which of two ways is taken depends on the node alone, never on how many rows there are:
//   products of tiles  one input does not move along the last output label (A), the other does (B). For fixed middle labels
//                      this is C[m, n] += A[m, k] B[k, n], m being label 0 where B does not depend on it. Tiles of A and B
//                      are copied out as float32 from whatever they are stored in; a whole input is never converted. What
//                      is float32 in the order of the loops is read where it lies, in tiles as large as the range.
//   dot products       all else, and where both inputs lie contiguous along the innermost folded label (but for large
//                      products without rows of a step).
#include "plan/plan_int.h"

// Sizes of tiles: short and wide where B lies along n; where it lies along k, long enough for the widest blocks.
typedef struct tile_shape {
    int64_t m, n, k;
    bool along_k;
} tile_shape;
static const tile_shape wide = {64, RUN, 16, false}, tall = {32, 32, 256, true}, in_rows = {32, INT32_MAX, 256, false};
enum { PACKED = 8, PACKED_A = TEMPS, TMP = TEMPS + PACKED }; // temporaries: a packed B, a packed A, a run
_Static_assert(16 * RUN <= PACKED * RUN_ROOM && 32 * 256 <= PACKED * RUN_ROOM && 64 * 16 <= PACKED * RUN_ROOM, "packed tiles fit");
_Static_assert(PACKED <= (int)TEMPS && PACKED < (int)STACK, "and so does the run");

static bool in_place(const reader *r, int label) { return r->kind == SRC_F32 && r->stride[label] == 1; }

// ---- dot products --------------------------------------------------------------------------------
// One output element: pa, pb are where its first products lie.
static float einsum_one(const plan *p, const kernel *k, int64_t pa, int64_t pb, float *ta, float *tb, int64_t *work) {
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
            if (stopped_after(p, work, m)) return 0;
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

static void einsum_dots(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    walk w;
    int64_t work = 0;
    for (bool more = walk_begin(&w, p, k, r0, r1); more; more = walk_next(&w)) {
        float *out = (float *)p->base[k->out] + w.out;
        for (int64_t i = 0; i < w.run && !stopped_after(p, &work, 1); i++)
            out[i] = einsum_one(p, k, w.pos[0] + i * walk_stride(&w, 0), w.pos[1] + i * walk_stride(&w, 1), thread_temp(p, thread, 0),
                                thread_temp(p, thread, 1), &work);
    }
}

// ---- tiles ---------------------------------------------------------------------------------------
typedef struct tile { // C[m, n] at c, rows ldc apart; A and B start at pa, pb
    const reader *a, *b;
    int64_t pa, pb, m, n;
    int64_t sam, sbn;      // strides of A along m, of B along n
    float *c;
    int64_t ldc;
} tile;

// dst[k, n] = B
static void pack_b(const plan *p, const tile *t, const tile_shape *s, int64_t pb, int64_t sk, int64_t kc, float *dst, float *tmp) {
    for (int64_t j = 0; s->along_k && j < t->n; j++) {
        const float *x = reader_run(p, t->b, pb + j * t->sbn, 1, kc, tmp);
        for (int64_t i = 0; i < kc; i++) dst[i * t->n + j] = x[i];
    }
    for (int64_t i = 0; !s->along_k && i < kc; i++) {
        const float *x = reader_run(p, t->b, pb + i * sk, t->sbn, t->n, tmp);
        memcpy(dst + i * t->n, x, (size_t)t->n * sizeof *dst);
    }
}

// The next position of the folded labels but the last; false after the last one.
static bool next_fold(const ir_node *n, const tile *t, int64_t *at, int64_t *pa, int64_t *pb) {
    for (int l = n->nlab - 2; l >= n->nout; l--) {
        *pa += t->a->stride[l], *pb += t->b->stride[l];
        if (++at[l] < n->size[l]) return true;
        *pa -= at[l] * t->a->stride[l], *pb -= at[l] * t->b->stride[l];
        at[l] = 0;
    }
    return false;
}

static void tile_product(const plan *p, const kernel *k, const tile *t, const tile_shape *s, int thread, int64_t *work) {
    const ir_node *n = k->node;
    int last = n->nlab - 1;
    int64_t at[IR_MAX_LABELS] = {0}, pa = t->pa, pb = t->pb, sa = t->a->stride[last], sb = t->b->stride[last], size = n->size[last];
    float *b = thread_temp(p, thread, 0), *a = thread_temp(p, thread, PACKED_A), *tmp = thread_temp(p, thread, TMP);
    for (int64_t m = 0; m < t->m; m++) memset(t->c + m * t->ldc, 0, (size_t)t->n * sizeof *t->c);
    for (;;) {
        for (int64_t i = 0; i < size; i += s->k) {
            int64_t kc = size - i < s->k ? size - i : s->k;
            pack_b(p, t, s, pb + i * sb, sb, kc, b, tmp);
            for (int64_t m = 0; m < t->m; m++) memcpy(a + m * kc, reader_run(p, t->a, pa + m * t->sam + i * sa, sa, kc, tmp), (size_t)kc * sizeof *a);
            p->k->gemm(a, kc, b, t->n, t->c, t->ldc, t->m, t->n, kc);
            if (stopped_after(p, work, t->m * t->n * kc)) return;
        }
        if (!next_fold(n, t, at, &pa, &pb)) return;
    }
}

// B is float32 with n contiguous: only A is packed, and not even that where it lies along k.
static void row_product(const plan *p, const kernel *k, const tile *t, int thread, int64_t *work) {
    const ir_node *n = k->node;
    int last = n->nlab - 1;
    int64_t at[IR_MAX_LABELS] = {0}, pa = t->pa, pb = t->pb, sa = t->a->stride[last], sb = t->b->stride[last], size = n->size[last];
    const float *b = p->base[t->b->value];
    float *packed = thread_temp(p, thread, PACKED_A), *tmp = thread_temp(p, thread, TMP);
    for (int64_t m = 0; m < t->m; m++) memset(t->c + m * t->ldc, 0, (size_t)t->n * sizeof *t->c);
    for (;;) {
        if (in_place(t->a, last)) {
            p->k->gemm((const float *)p->base[t->a->value] + pa, t->sam, b + pb, sb, t->c, t->ldc, t->m, t->n, size);
        } else {
            for (int64_t i = 0; i < size; i += in_rows.k) {
                int64_t kc = size - i < in_rows.k ? size - i : in_rows.k;
                for (int64_t m = 0; m < t->m; m++) memcpy(packed + m * kc, reader_run(p, t->a, pa + m * t->sam + i * sa, sa, kc, tmp), (size_t)kc * sizeof *packed);
                p->k->gemm(packed, kc, b + pb + i * sb, sb, t->c, t->ldc, t->m, t->n, kc);
            }
        }
        if (stopped_after(p, work, t->m * t->n * size)) return;
        if (!next_fold(n, t, at, &pa, &pb)) return;
    }
}

// All tiles of label 0 = [r0, r1): for each combination of the middle labels, pieces of label 0 and of the last label.
static void einsum_tiles(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    const ir_node *n = k->node;
    int last = n->nout - 1, side = k->in[0].stride[last] == 0 ? 0 : 1;
    const reader *a = &k->in[side], *b = &k->in[1 - side];
    const tile_shape *s = in_place(b, last) ? &in_rows : b->stride[last] != 1 && b->stride[n->nlab - 1] == 1 ? &tall : &wide;
    bool one = last == 0;                     // label 0 is n
    bool shared = !one && b->stride[0] == 0;  // B serves all rows
    bool whole = s == &in_rows && in_place(a, n->nlab - 1);
    int64_t step = one || (shared && whole) ? r1 - r0 : shared ? s->m : 1, work = 0;
    for (int64_t r = r0; r < r1; r += step) {
        walk w;
        for (bool more = walk_begin(&w, p, k, r, one ? r1 : r + 1); more; more = walk_next(&w))
            for (int64_t j = 0; j < w.run; j += s->n) {
                if (stopped_after(p, &work, 1)) return;
                tile t = {.a = a, .b = b, .pa = w.pos[side], .pb = w.pos[1 - side] + j * b->stride[last], .sam = shared ? a->stride[0] : 0,
                          .sbn = b->stride[last], .c = (float *)p->base[k->out] + w.out + j};
                t.m = one ? 1 : r1 - r < step ? r1 - r : step;
                t.n = w.run - j < s->n ? w.run - j : s->n;
                t.ldc = one ? 0 : n->sym ? n->inner : n->inner / n->size[0];
                if (s == &in_rows) row_product(p, k, &t, thread, &work);
                else tile_product(p, k, &t, s, thread, &work);
            }
    }
}

static bool wants_tiles(const kernel *k) {
    const ir_node *n = k->node;
    const reader *a = &k->in[0], *b = &k->in[1];
    int last = n->nout - 1, fold = n->nlab - 1;
    if (last < 0 || fold < n->nout || (a->stride[last] == 0) == (b->stride[last] == 0)) return false;
    const reader *rows = a->stride[last] == 0 ? b : a; // what moves along n, packed for at least so many rows
    bool many = n->sym == SYM_NONE && last > 0 && rows->stride[0] == 0 && n->size[0] >= 16 && n->size[last] >= 16;
    return many || !in_place(a, fold) || !in_place(b, fold);
}

void run_einsum(const plan *p, const kernel *k, int64_t r0, int64_t r1, int thread) {
    if (r0 >= r1) return;
    if (wants_tiles(k)) einsum_tiles(p, k, r0, r1, thread);
    else einsum_dots(p, k, r0, r1, thread);
}
