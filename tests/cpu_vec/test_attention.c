// test_attention.c - attention of every instruction set against a softmax in double; and that a row's bits do not depend on
// the rows beside it, on threads, on the order of items, on freed entries or on what it may not read.
#include <math.h>

#include "cpu/act.h"
#include "util.h"

static cpu_kernels table[MAX_TABLES];
static int n_tables;
#define EACH_TABLE(k) for (const cpu_kernels *k = table; k < table + n_tables; k++)

enum { MAX_SEQS = 3 };

typedef struct scene { // a cache with sequences in it, and a call
    attn_args a;
    attn_seq seqs[MAX_SEQS];
    int32_t *slots[MAX_SEQS], *at[MAX_SEQS], *row_seq, *row_pos;
    int64_t n_slots, longest;
    void *k, *v;
    size_t k_bytes, v_bytes;
    float *q, *sinks;
    uint32_t *mask;
} scene;

typedef struct shape {
    int rows, heads, kv_heads, dk, dv, seqs, length;
    tl_dtype type;
    int window;
    float softcap;
    bool sinks, mask, all; // all: not causal
} shape;

static void fill_cache(scene *s, const cpu_kernels *k, const shape *h, void **cache, size_t *slot_bytes, size_t *total, int width) {
    size_t head;
    assert_true(dtype_bytes(h->type, width, &head));
    *slot_bytes = head * (size_t)h->kv_heads;
    *total = *slot_bytes * (size_t)s->n_slots;
    *cache = guard_alloc(*total);
    int64_t n = (int64_t)width * h->kv_heads;
    float *row = mem_alloc((size_t)n * sizeof *row);
    for (int64_t i = 0; i < s->n_slots; i++) {
        for (int64_t j = 0; j < n; j++) row[j] = random_normal();
        k->store(h->type, row, (char *)*cache + (size_t)i * *slot_bytes, n);
    }
    mem_free(row);
}

// Sequences of random slots; positions ascend, some twice. The rows are the last positions of each sequence.
static scene *scene_new(const shape *h) {
    scene *s = mem_calloc(1, sizeof *s);
    attn_args *a = &s->a;
    s->longest = h->length;
    s->n_slots = (int64_t)h->length * h->seqs + 7;
    *a = (attn_args){.rows = h->rows, .heads = h->heads, .kv_heads = h->kv_heads, .dk = h->dk, .dv = h->dv, .kv_type = h->type, .seqs = s->seqs,
                     .scale = 1 / sqrtf((float)h->dk) * 1.3f, .softcap = h->softcap, .window = h->window, .causal = !h->all,
                     .q_stride = h->heads * h->dk + 3, .out_stride = h->heads * h->dv + 5};
    fill_cache(s, &table[0], h, &s->k, &a->k_slot_bytes, &s->k_bytes, h->dk);
    fill_cache(s, &table[0], h, &s->v, &a->v_slot_bytes, &s->v_bytes, h->dv);
    int32_t *order = mem_alloc((size_t)s->n_slots * sizeof *order);
    for (int64_t i = 0; i < s->n_slots; i++) order[i] = (int32_t)i;
    for (int64_t i = s->n_slots - 1; i > 0; i--) {
        int64_t j = random_below(i + 1);
        int32_t t = order[i];
        order[i] = order[j], order[j] = t;
    }
    for (int p = 0; p < h->seqs; p++) {
        int64_t n = p == 0 ? h->length : 1 + random_below(h->length);
        s->slots[p] = guard_alloc((size_t)n * 4);
        s->at[p] = guard_alloc((size_t)n * 4);
        memcpy(s->slots[p], order + (int64_t)p * h->length, (size_t)n * 4);
        int32_t at = (int32_t)random_below(5);
        for (int64_t i = 0; i < n; i++) s->at[p][i] = at += random_below(20) != 0;
        s->seqs[p] = (attn_seq){.slots = s->slots[p], .at = s->at[p], .n = n};
    }
    mem_free(order);
    s->row_seq = guard_alloc((size_t)h->rows * 4);
    s->row_pos = guard_alloc((size_t)h->rows * 4);
    for (int r = 0; r < h->rows; r++) {
        int p = r * h->seqs / h->rows;
        const attn_seq *q = &s->seqs[p];
        int64_t i = q->n - 1 - (h->rows - 1 - r) % q->n;
        s->row_seq[r] = p;
        s->row_pos[r] = q->at[i];
    }
    int64_t nq = (h->rows - 1) * a->q_stride + h->heads * h->dk;
    s->q = guard_floats(NULL, nq);
    for (int64_t i = 0; i < nq; i++) s->q[i] = random_normal();
    s->sinks = guard_floats(NULL, h->heads);
    for (int i = 0; i < h->heads; i++) s->sinks[i] = 2 * random_normal();
    a->mask_stride = (h->length + 31) / 32;
    s->mask = guard_alloc((size_t)(h->rows * a->mask_stride) * 4);
    for (int64_t i = 0; i < h->rows * a->mask_stride; i++) s->mask[i] = random_below(4) ? random_bits() | random_bits() : 0;
    a->q = s->q, a->k = s->k, a->v = s->v, a->seq = s->row_seq, a->pos = s->row_pos;
    a->sinks = h->sinks ? s->sinks : NULL;
    a->mask = h->mask ? s->mask : NULL;
    return s;
}

static void scene_free(scene *s) {
    const attn_args *a = &s->a;
    guard_free(s->k, s->k_bytes), guard_free(s->v, s->v_bytes);
    for (int p = 0; p < MAX_SEQS; p++)
        if (s->slots[p]) guard_free(s->slots[p], (size_t)s->seqs[p].n * 4), guard_free(s->at[p], (size_t)s->seqs[p].n * 4);
    guard_free(s->row_seq, (size_t)a->rows * 4), guard_free(s->row_pos, (size_t)a->rows * 4);
    guard_floats_free(s->q, (a->rows - 1) * a->q_stride + (int64_t)a->heads * a->dk);
    guard_floats_free(s->sinks, a->heads);
    guard_free(s->mask, (size_t)(a->rows * a->mask_stride) * 4);
    mem_free(s);
}

static int64_t out_floats(const attn_args *a) { return (a->rows - 1) * a->out_stride + (int64_t)a->heads * a->dv; }

// Rows of results quantized by attention are what a.quantize() makes of them.
static void check_quantized(const attn_args *a) {
    int64_t n = (int64_t)a->heads * a->dv;
    size_t blocks = (size_t)(n / ACT_BLOCK) * act_block_bytes(a->act_kind); // without a row's padding
    char *row = mem_alloc(a->act_bytes);
    for (int64_t r = 0; r < a->rows; r++) {
        a->quantize(a->act_kind, a->out + r * a->out_stride, row, n);
        assert_memory_equal((char *)a->act + (size_t)r * a->act_bytes, row, blocks);
    }
    mem_free(row);
}

// The call's items in random order, as `threads` threads would share them.
static float *attend(const cpu_kernels *k, const attn_args *call, int threads, int64_t max_slots) {
    attn_args a = *call;
    a.threads = threads;
    a.work_slots = max_slots;
    size_t bytes = attn_work_bytes(&a, max_slots), scratch_bytes = attn_scratch_bytes(&a);
    a.work = bytes ? guard_alloc(bytes) : NULL;
    if (bytes) memset(a.work, 0, bytes);
    void *scratch = guard_alloc(scratch_bytes);
    float *first = NULL;
    for (int again = 0; again < 2; again++) { // work is left ready for the next call
        float *out = guard_floats(NULL, out_floats(&a));
        a.out = out;
        a.act_kind = again ? ACT_Q16 : ACT_Q8;
        a.act_bytes = act_bytes(a.act_kind, (int64_t)a.heads * a.dv);
        a.act = a.heads / a.kv_heads * a.dv % 32 == 0 ? guard_alloc((size_t)a.rows * a.act_bytes) : NULL;
        a.quantize = act_quantize_ref;
        int64_t n = attn_items(&a);
        int64_t *order = mem_alloc((size_t)n * sizeof *order);
        for (int64_t i = 0; i < n; i++) order[i] = i;
        for (int64_t i = n - 1; i > 0; i--) {
            int64_t j = random_below(i + 1), t = order[i];
            order[i] = order[j], order[j] = t;
        }
        memset(scratch, 0xff, scratch_bytes);
        for (int64_t i = 0; i < n; i++) k->attention(&a, order[i], order[i] + 1, scratch);
        mem_free(order);
        if (a.act) {
            check_quantized(&a);
            guard_free(a.act, (size_t)a.rows * a.act_bytes);
        }
        if (!first) {
            first = out;
            continue;
        }
        assert_memory_equal(first, out, (size_t)out_floats(&a) * sizeof *out);
        guard_floats_free(out, out_floats(&a));
    }
    guard_free(scratch, scratch_bytes);
    if (bytes) guard_free(a.work, bytes);
    return first;
}

static bool readable(const attn_args *a, int64_t row, int64_t i) {
    int64_t at = a->seqs[a->seq[row]].at[i], pos = a->pos[row];
    if (a->causal && at > pos) return false;
    if (a->window && (at <= pos - a->window || at >= pos + a->window)) return false;
    return !a->mask || (a->mask[row * a->mask_stride + i / 32] >> (i % 32) & 1);
}

static double *exact_row(const attn_args *a, int64_t row, int head) { // [dv]
    const attn_seq *s = &a->seqs[a->seq[row]];
    int kv = head / (a->heads / a->kv_heads), wide = a->dk > a->dv ? a->dk : a->dv;
    double *out = mem_calloc((size_t)a->dv, sizeof *out), *p = mem_calloc((size_t)s->n + 1, sizeof *p), max = -INFINITY, sum = 0;
    float *buf = mem_alloc((size_t)wide * sizeof *buf);
    const float *q = a->q + row * a->q_stride + head * a->dk;
    bool none = true;
    for (int64_t i = 0; i < s->n; i++) {
        p[i] = -INFINITY;
        if (!readable(a, row, i)) continue;
        none = false;
        table[0].load(a->kv_type, (const char *)a->k + (size_t)s->slots[i] * a->k_slot_bytes + a->k_slot_bytes / (size_t)a->kv_heads * (size_t)kv, buf, a->dk);
        double t = 0;
        for (int d = 0; d < a->dk; d++) t += (double)q[d] * buf[d];
        t *= a->scale;
        p[i] = a->softcap > 0 ? a->softcap * tanh(t / a->softcap) : t;
        max = p[i] > max ? p[i] : max;
    }
    if (a->sinks && a->sinks[head] > max) max = a->sinks[head];
    if (!none && a->sinks) sum = exp(a->sinks[head] - max);
    for (int64_t i = 0; i < s->n && !none; i++) {
        double e = exp(p[i] - max);
        sum += e;
        table[0].load(a->kv_type, (const char *)a->v + (size_t)s->slots[i] * a->v_slot_bytes + a->v_slot_bytes / (size_t)a->kv_heads * (size_t)kv, buf, a->dv);
        if (e > 0)
            for (int d = 0; d < a->dv; d++) out[d] += e * buf[d];
    }
    for (int d = 0; d < a->dv && !none; d++) out[d] /= sum;
    mem_free(p), mem_free(buf);
    return out;
}

static const shape shapes[] = {
    // rows, heads, kv heads, dk, dv, sequences, length, type, window, softcap, sinks, mask, all
    {1, 1, 1, 64, 64, 1, 1, DT_F16, 0, 0, false, false, false},
    {1, 9, 3, 64, 64, 1, 700, DT_F16, 0, 0, false, false, false},
    {1, 4, 4, 128, 128, 1, 1100, DT_F16, 0, 0, false, false, false},
    {1, 14, 2, 64, 64, 1, 400, DT_F16, 0, 0, false, false, false},
    {1, 2, 1, 256, 256, 1, 300, DT_F16, 100, 0, false, false, false},
    {2, 8, 1, 80, 80, 2, 300, DT_F32, 0, 0, true, false, false},
    {5, 6, 2, 96, 64, 2, 513, DT_Q8_0, 0, 0, false, false, false},
    {1, 6, 2, 32, 128, 1, 513, DT_Q8_0, 0, 0, false, false, false},
    {1, 6, 2, 64, 64, 1, 700, DT_Q4_0, 0, 0, false, false, false},
    {20, 6, 2, 96, 32, 2, 300, DT_Q4_0, 40, 0, false, false, false},
    {40, 9, 3, 64, 64, 1, 300, DT_F16, 0, 0, false, false, false},
    {70, 2, 2, 64, 80, 1, 600, DT_F16, 90, 0, false, false, false},
    {33, 4, 2, 128, 128, 3, 280, DT_Q8_0, 0, 30, false, false, false},
    {9, 6, 3, 72, 40, 2, 300, DT_F16, 0, 0, false, true, false},
    {3, 4, 4, 20, 12, 2, 290, DT_F32, 0, 5, true, true, false},
    {20, 4, 2, 64, 64, 1, 260, DT_F16, 0, 0, false, false, true},
    {20, 4, 2, 64, 64, 1, 400, DT_F32, 50, 0, true, false, true},
    {2, 71, 1, 64, 64, 1, 270, DT_F16, 0, 0, false, false, false},
    {4, 100, 2, 16, 16, 1, 70, DT_F32, 0, 0, false, false, false},
    {7, 3, 3, 5, 3, 1, 33, DT_F32, 0, 0, false, false, false},
    {30, 4, 2, 72, 40, 1, 300, DT_F16, 60, 0, false, true, false},
    {50, 8, 2, 64, 96, 1, 600, DT_F16, 0, 20, true, true, false},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void matches_exact(void **unused) {
    (void)unused;
    for (int i = 0; i < SHAPES; i++) {
        scene *s = scene_new(&shapes[i]);
        const attn_args *a = &s->a;
        float *out[MAX_TABLES];
        for (int t = 0; t < n_tables; t++) out[t] = attend(&table[t], a, 1, s->longest);
        for (int64_t r = 0; r < a->rows; r++)
            for (int h = 0; h < a->heads; h++) {
                double *want = exact_row(a, r, h);
                for (int t = 0; t < n_tables; t++)
                    for (int d = 0; d < a->dv; d++) {
                        char what[64];
                        snprintf(what, sizeof what, "shape %d row %d head %d", i, (int)r, h);
                        check_close(out[t][r * a->out_stride + h * a->dv + d], want[d], 1e-5, 4e-6, table[t].isa, what, d);
                    }
                mem_free(want);
            }
        for (int t = 0; t < n_tables; t++) {
            for (int64_t r = 0; r + 1 < a->rows; r++) // between rows: untouched
                for (int64_t d = a->heads * a->dv; d < a->out_stride; d++) assert_true(isnan(out[t][r * a->out_stride + d]));
            guard_floats_free(out[t], out_floats(a));
        }
        scene_free(s);
    }
}

static void same_rows(const attn_args *a, const float *got, const float *want, int64_t first, int64_t n, const char *isa, const char *what, int at) {
    for (int64_t r = first; r < first + n; r++)
        if (memcmp(got + (r - first) * a->out_stride, want + r * a->out_stride, (size_t)(a->heads * a->dv) * sizeof *got) != 0)
            fail_msg("%s: shape %d row %d differs by %s", isa, at, (int)r, what);
}

static void instruction_sets_agree(void **unused) { // to the bit
    (void)unused;
    for (int round = 0; round < 3; round++) for (int i = 0; i < SHAPES; i++) {
        scene *s = scene_new(&shapes[i]);
        float *want = attend(&table[0], &s->a, 1, s->longest);
        for (int t = 1; t < n_tables; t++) {
            float *got = attend(&table[t], &s->a, 1 + 2 * round, s->longest);
            same_rows(&s->a, got, want, 0, s->a.rows, table[t].isa, "instruction set", i);
            guard_floats_free(got, out_floats(&s->a));
        }
        guard_floats_free(want, out_floats(&s->a));
        scene_free(s);
    }
}

static bool too_slow(const cpu_kernels *k, const shape *h) { // for `ref`, under a sanitizer
    return k == table && h->rows * h->heads * h->length > 20000;
}

static void threads_change_nothing(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int i = 0; i < SHAPES; i++) {
        if (too_slow(k, &shapes[i])) continue;
        scene *s = scene_new(&shapes[i]);
        const attn_args *a = &s->a;
        float *want = attend(k, a, 1, s->longest);
        for (int threads = 2; threads <= 40; threads *= 4) {
            float *got = attend(k, a, threads, s->longest + threads % 3);
            same_rows(a, got, want, 0, a->rows, k->isa, "threads", i);
            guard_floats_free(got, out_floats(a));
        }
        guard_floats_free(want, out_floats(a));
        scene_free(s);
    }
}

static void other_rows_change_nothing(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int i = 0; i < SHAPES; i++) {
        if (too_slow(k, &shapes[i])) continue;
        scene *s = scene_new(&shapes[i]);
        attn_args a = s->a;
        float *want = attend(k, &s->a, 1, s->longest);
        for (int64_t r = 0, n; r < s->a.rows; r += n) {
            n = 1 + random_below(s->a.rows - r < 13 ? s->a.rows - r : 13);
            if (random_below(2)) n = 1;
            a.rows = n;
            a.q = s->a.q + r * a.q_stride, a.seq = s->a.seq + r, a.pos = s->a.pos + r;
            a.mask = s->a.mask ? s->a.mask + r * a.mask_stride : NULL;
            float *got = attend(k, &a, 1 + (int)random_below(4), s->longest);
            same_rows(&s->a, got, want, r, n, k->isa, "the rows beside it", i);
            guard_floats_free(got, out_floats(&a));
        }
        guard_floats_free(want, out_floats(&s->a));
        scene_free(s);
    }
}

// Entries that a window has passed are dropped from the list: nothing changes.
static void dropped_entries_change_nothing(void **unused) {
    (void)unused;
    static const shape windowed[] = {
        {1, 6, 3, 64, 64, 1, 800, DT_F16, 300, 0, false, false, false},
        {5, 4, 4, 64, 64, 1, 800, DT_Q8_0, 20, 0, true, false, false},
        {30, 4, 2, 128, 96, 1, 900, DT_F32, 270, 0, false, false, false},
    };
    EACH_TABLE(k) for (int i = 0; i < 3; i++) {
        scene *s = scene_new(&windowed[i]);
        float *want = attend(k, &s->a, 1, s->longest);
        int64_t unread = 0;
        while (!readable(&s->a, 0, unread)) unread++;
        attn_seq whole = s->seqs[0];
        for (int64_t drop = 1; drop <= unread; drop += 1 + random_below(unread / 5 + 1)) {
            s->seqs[0] = (attn_seq){.slots = whole.slots + drop, .at = whole.at + drop, .n = whole.n - drop, .dropped = drop};
            float *got = attend(k, &s->a, 1 + (int)random_below(4), s->longest);
            same_rows(&s->a, got, want, 0, s->a.rows, k->isa, "dropping", i);
            guard_floats_free(got, out_floats(&s->a));
        }
        s->seqs[0] = whole;
        guard_floats_free(want, out_floats(&s->a));
        scene_free(s);
    }
}

// A mask that hides nothing is no mask.
static void full_mask_is_none(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int i = 0; i < SHAPES; i++) {
        if (too_slow(k, &shapes[i])) continue;
        shape h = shapes[i];
        h.mask = true;
        scene *s = scene_new(&h);
        memset(s->mask, 0xff, (size_t)(s->a.rows * s->a.mask_stride) * 4);
        float *got = attend(k, &s->a, 2, s->longest);
        s->a.mask = NULL;
        float *want = attend(k, &s->a, 1, s->longest);
        same_rows(&s->a, got, want, 0, s->a.rows, k->isa, "a full mask", i);
        guard_floats_free(want, out_floats(&s->a)), guard_floats_free(got, out_floats(&s->a));
        scene_free(s);
    }
}

// Infinities and NaN in what a row may not read stay out of it; in what it reads, they show.
static void unread_values_stay_out(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int i = 0; i < SHAPES; i++) {
        scene *s = scene_new(&shapes[i]);
        attn_args *a = &s->a;
        if (a->kv_type != DT_F16 || a->rows < 2) {
            scene_free(s);
            continue;
        }
        float *want = attend(k, a, 1, s->longest);
        const attn_seq *seq = &s->seqs[a->seq[0]];
        int64_t e = seq->n - 1; // the last rows read it, the first do not, unless all read all
        uint16_t *key = (uint16_t *)((char *)s->k + (size_t)seq->slots[e] * a->k_slot_bytes);
        uint16_t *value = (uint16_t *)((char *)s->v + (size_t)seq->slots[e] * a->v_slot_bytes);
        for (size_t j = 0; j < a->k_slot_bytes / 2; j++) key[j] = 0x7e00;
        for (size_t j = 0; j < a->v_slot_bytes / 2; j++) value[j] = 0x7e00;
        float *got = attend(k, a, 2, s->longest);
        int kept = 0;
        for (int64_t r = 0; r < a->rows; r++) {
            if (a->seq[r] == a->seq[0] && readable(a, r, e)) {
                assert_true(isnan(got[r * a->out_stride]));
            } else {
                same_rows(a, got + r * a->out_stride, want, r, 1, k->isa, "what it may not read", i);
                kept++;
            }
        }
        if (a->causal && !a->mask && a->heads < 71) assert_true(kept > 0);
        guard_floats_free(want, out_floats(a)), guard_floats_free(got, out_floats(a));
        scene_free(s);
    }
}

static void nothing_to_read_gives_zeros(void **unused) {
    (void)unused;
    EACH_TABLE(k) for (int threads = 1; threads <= 4; threads += 3) {
        shape h = {3, 4, 2, 64, 64, 1, 600, DT_F16, 0, 0, true, true, false};
        scene *s = scene_new(&h);
        memset(s->mask, 0, (size_t)(s->a.rows * s->a.mask_stride) * 4);
        float *out = attend(k, &s->a, threads, s->longest);
        for (int64_t r = 0; r < 3; r++)
            for (int64_t d = 0; d < s->a.heads * s->a.dv; d++) assert_true(out[r * s->a.out_stride + d] == 0);
        guard_floats_free(out, out_floats(&s->a));
        s->a.mask = NULL;
        int64_t n = s->seqs[0].n;
        s->seqs[0].n = 0; // an empty sequence
        out = attend(k, &s->a, threads, s->longest);
        for (int64_t d = 0; d < s->a.heads * s->a.dv; d++) assert_true(out[d] == 0);
        guard_floats_free(out, out_floats(&s->a));
        s->seqs[0].n = n;
        scene_free(s);
    }
}

int main(void) {
    n_tables = tables(table);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_exact),
        cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(other_rows_change_nothing),
        cmocka_unit_test(dropped_entries_change_nothing),
        cmocka_unit_test(full_mask_is_none),
        cmocka_unit_test(unread_values_stay_out),
        cmocka_unit_test(nothing_to_read_gives_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
