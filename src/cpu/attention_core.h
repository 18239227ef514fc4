// attention_core.h - attention in the words of simd_*.h; included once by each attention_ISA.c. See attention.h for how a
// call is cut and what defines a row's numbers.
//
// A tile is some rows of one sequence times the query heads of one kv head: `vectors` query vectors that read the same keys
// and values. Chunk by chunk: scores (each key converted once for all vectors), softmax weights, weighted values; then the
// chunk's (max, sum, values) are folded into the running ones, or left in `work` for the thread that merges. Of many vectors
// some at a time go all this way, so that their scores and weights stay in the first cache; the chunk's converted keys and
// values come from the second.
//
// What keeps a row's bits its own: a score is a sum over d as sums.h says, whatever tile computes it;
// weights stand at their entry's place in the chunk, 0 where the row may not read, and are summed likewise; values
// are added in the order of entries, and only entries that the row reads touch it (a NaN elsewhere stays elsewhere).
#include <math.h>

#include "cpu/attention.h"
#include "cpu/convert_core.h"
#include "cpu/math_core.h"
#include "cpu/sums.h"

enum {
    QK_KEYS = 4,
    CHUNK_WORDS = ATTN_CHUNK / 32,
    WEIGHTS = ATTN_CHUNK + 16, // stride: at ATTN_CHUNK, all vectors' places for an entry would share four cache sets
    AHEAD = 12,                // entries that memory is asked for in advance
    GROUP = ATTN_GROUP / PV_ROWS * PV_ROWS, // vectors at a time, where keys are turned
};

typedef struct tile_row {
    int64_t lo, hi;             // list entries that the row may read by position
    uint32_t bits[CHUNK_WORDS]; // of the present chunk
} tile_row;

typedef struct tile {
    const attn_args *a;
    const attn_item *it;
    const attn_seq *seq;
    int group, vectors;
    int64_t dk, dv;       // padded to whole vectors: strides of q and of results
    bool key_direct, value_direct; // float16 rows are read in place: too few vectors to repay a conversion
    bool turned;          // the chunk's keys are turned, 16 at a time, and its values converted: vectors enough to repay that
    int first, n;         // vectors at work, [first, first + n): what is [n] has the first of them at 0
    int64_t state;        // where it is in top and total
    int64_t end;          // one past the last chunk, of a tile that is not split
    const char *k, *v;    // this kv head in slot 0
    float *q;             // [vectors, dk], times scale
    float *weights;       // [n, WEIGHTS]: scores, then weights
    float *part;          // [n, dv]: the chunk's weighted values
    float *acc;           // [vectors, dv]: the running ones
    float *max, *sum;     // [n]: the chunk's
    float *keep, *add;    // [n]: what the running values and the chunk's are multiplied by
    float *top, *total;   // running, each group from a whole number of vectors
    float *panel;         // converted keys or values
    float *values;        // [ATTN_CHUNK, dv + 16] where keys are turned: the chunk's
    tile_row *row;        // [rows]
    const uint32_t **bits; // [vectors]: its row's bits
    uint32_t *word;       // [groups of QK_ROWS vectors]: what any of them reads of 32 entries
} tile;

V_INLINE int64_t padded(int64_t n) { return (n + 15) / 16 * 16; }
V_INLINE float exp_weight(float x) { return v_first(v_exp_weight(v_set1(x))); }

static size_t head_bytes(tl_dtype type, int64_t values) {
    return (size_t)(values / dtype_table[type].block_values) * dtype_table[type].block_bytes;
}

// ---- set-up ------------------------------------------------------------------------------------------
static float *take(float **from, int64_t n) { // whole cache lines
    float *p = *from;
    *from += padded(n);
    return p;
}

static void load_queries(tile *t) {
    const attn_args *a = t->a;
    vf scale = v_set1(a->scale);
    for (int i = 0; i < t->vectors; i++) {
        int64_t row = t->it->row0 + i / t->group, head = (int64_t)t->it->kv_head * t->group + i % t->group;
        const float *from = a->q + row * a->q_stride + head * a->dk;
        float *to = t->q + i * t->dk;
        int64_t d = 0;
        for (; d + V_N <= a->dk; d += V_N) v_store(to + d, v_mul(v_load(from + d), scale));
        for (; d < a->dk; d++) to[d] = from[d] * a->scale;
        for (; d < t->dk; d++) to[d] = 0;
    }
}

static int tile_groups(const tile *t) { return t->turned ? (t->vectors + GROUP - 1) / GROUP : 1; }
static void take_group(tile *t, int g) {
    int groups = tile_groups(t);
    t->first = g * t->vectors / groups;
    t->n = (g + 1) * t->vectors / groups - t->first;
    t->state = g * padded(GROUP);
}

static void tile_init(tile *t, const attn_args *a, const attn_item *it, void *scratch) {
    int group = a->heads / a->kv_heads, vectors = (int)it->rows * group;
    *t = (tile){.a = a, .it = it, .seq = &a->seqs[a->seq[it->row0]], .group = group, .vectors = vectors, .dk = padded(a->dk), .dv = padded(a->dv)};
    bool half = a->kv_type == DT_F16;
    bool few = vectors <= 3 * QK_ROWS;
    t->key_direct = half && few && a->dk % V_N == 0;
    t->turned = !few && t->dk <= QP_WIDEST;
    t->value_direct = half && vectors <= 2 * PV_ROWS && a->dv % V_N == 0 && !t->turned;
    t->k = (const char *)a->k + head_bytes(a->kv_type, (int64_t)a->dk * it->kv_head);
    t->v = (const char *)a->v + head_bytes(a->kv_type, (int64_t)a->dv * it->kv_head);
    float *p = scratch;
    int64_t n = t->turned ? GROUP : vectors, states = tile_groups(t) * padded(n);
    t->q = take(&p, vectors * t->dk);
    t->weights = take(&p, n * WEIGHTS);
    t->part = take(&p, n * t->dv);
    t->acc = take(&p, vectors * t->dv);
    t->max = take(&p, n);
    t->sum = take(&p, n);
    t->keep = take(&p, n);
    t->add = take(&p, n);
    t->top = take(&p, states);
    t->total = take(&p, states);
    t->panel = take(&p, t->turned ? (ATTN_CHUNK + 16) * t->dk : ATTN_PANEL * (t->dk > t->dv ? t->dk : t->dv) + 16 * ATTN_PANEL);
    t->values = take(&p, t->turned ? ATTN_CHUNK * (t->dv + 16) : 0);
    t->bits = (const uint32_t **)p;
    t->row = (tile_row *)(t->bits + vectors);
    t->word = (uint32_t *)(t->row + it->rows);
    take_group(t, 0);
    load_queries(t);
    for (int64_t r = 0; r < it->rows; r++) attn_range(a, it->row0 + r, &t->row[r].lo, &t->row[r].hi);
    for (int i = 0; i < vectors; i++) t->bits[i] = t->row[i / group].bits;
}

// ---- what is visible -----------------------------------------------------------------------------------
static uint32_t mask_word(const attn_args *a, int64_t row, int64_t i) { // bits of entries i .. i + 31; any where there are none
    const uint32_t *m = a->mask + row * a->mask_stride;
    int64_t w = i >> 5;
    int shift = (int)(i & 31);
    uint64_t low = w >= 0 && w < a->mask_stride ? m[w] : 0, high = w + 1 >= 0 && w + 1 < a->mask_stride ? m[w + 1] : 0;
    return (uint32_t)((high << 32 | low) >> shift);
}

static uint32_t range_bits(int64_t from, int64_t to) { // those of 0..31 in [from, to)
    if (from < 0) from = 0;
    if (to > 32) to = 32;
    return from < to ? UINT32_MAX >> (32 - (to - from)) << from : 0;
}

// Marks what each row reads of the chunk whose first entry is list entry `base`; [*lo, *hi) spans them, from base.
static bool mark_chunk(tile *t, int64_t base, int *lo, int *hi) {
    *lo = ATTN_CHUNK;
    *hi = 0;
    for (int64_t r = 0; r < t->it->rows; r++) {
        tile_row *row = &t->row[r];
        for (int w = 0; w < CHUNK_WORDS; w++) {
            uint32_t b = range_bits(row->lo - base - 32 * w, row->hi - base - 32 * w);
            if (b && t->a->mask) b &= mask_word(t->a, t->it->row0 + r, base + 32 * w);
            row->bits[w] = b;
            if (!b) continue;
            int first = 32 * w + __builtin_ctz(b), end = 32 * w + 32 - __builtin_clz(b);
            if (first < *lo) *lo = first;
            if (end > *hi) *hi = end;
        }
    }
    return *lo < *hi;
}

// Entries of a word that some and that all of n vectors read, of which t->first + first is the first. Those of a row read the same.
typedef struct read_bits {
    uint32_t any, all;
} read_bits;
V_INLINE read_bits read_by(const tile *t, int first, int n, int word) {
    const uint32_t *const *bits = t->bits + t->first + first;
    read_bits b = {bits[n - 1][word], bits[n - 1][word]};
    for (int i = 0; i < n - 1; i += t->group) b.any |= bits[i][word], b.all &= bits[i][word];
    return b;
}

// ---- scores ----------------------------------------------------------------------------------------------
// Scores of the vector `first + i` for entries [32 word, hi) of that word's: capped, -infinity in place of those that it does not
// read. Returns the larger of `top` and them, lane by lane.
V_INLINE vf mask_scores(const tile *t, int i, int word, int hi, vf top) {
    uint32_t bits = t->bits[t->first + i][word];
    float *w = t->weights + (int64_t)i * WEIGHTS;
    float cap = t->a->softcap;
    for (int j = 32 * word; j < 32 * word + 32 && j < hi; j += V_N) {
        vf s = v_load(w + j);
        if (cap > 0) s = v_mul(v_set1(cap), v_tanh(v_div(s, v_set1(cap))));
        s = v_sel(v_from_bits(bits >> (j % 32)), s, v_set1(-INFINITY));
        v_store(w + j, s);
        top = v_max(s, top);
    }
    return top;
}

static void find_max(const tile *t, int i, int lo, int hi) {
    const float *w = t->weights + (int64_t)i * WEIGHTS;
    vf top = v_set1(-INFINITY);
    for (int word = lo / 32; 32 * word < hi; word++) {
        if (t->a->softcap == 0 && t->bits[t->first + i][word] == UINT32_MAX)
            V_UNROLL for (int j = 0; j < 32; j += V_N) top = v_max(v_load(w + 32 * word + j), top);
        else top = mask_scores(t, i, word, hi, top);
    }
    t->max[i] = v_hmax(top);
}

V_INLINE vf load_some(bool half, const void *p, int64_t d) {
    return half ? v_load_f16((const uint16_t *)p + d) : v_load((const float *)p + d);
}

// The lanes of one part of the sums of `rows` vectors times four keys (float32, or float16 read in place).
V_INLINE void score_part(int rows, bool half, const float *q, int64_t stride, const void *const key[QK_KEYS], int part, int64_t dk,
                         vf s[QK_ROWS][QK_KEYS]) {
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int j = 0; j < QK_KEYS; j++) s[r][j] = v_zero();
    for (int64_t d = part * V_N; d < dk; d += SUM_LANES) {
        vf x[QK_ROWS];
        V_UNROLL for (int r = 0; r < rows; r++) {
            x[r] = v_load(q + r * stride + d);
            v_keep(&x[r]);
        }
        V_UNROLL for (int j = 0; j < QK_KEYS; j++) {
            vf y = load_some(half, key[j], d);
            v_keep(&y);
            V_UNROLL for (int r = 0; r < rows; r++) s[r][j] = v_fma(x[r], y, s[r][j]);
        }
    }
}

// Scores of `rows` vectors with four keys. Where the lanes take several vectors, one after the other: there are no registers for more.
V_INLINE void score_tile(int rows, bool half, const float *q, int64_t stride, const void *const key[QK_KEYS], int64_t dk, float *out) {
    vf s[PARTS][QK_ROWS][QK_KEYS];
    V_UNROLL for (int p = 0; p < PARTS; p++) score_part(rows, half, q, stride, key, p, dk, s[p]);
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int j = 0; j < QK_KEYS; j++) {
            vf lanes[PARTS];
            V_UNROLL for (int p = 0; p < PARTS; p++) lanes[p] = s[p][r][j];
            s[0][r][j] = join_parts(lanes);
        }
    V_UNROLL for (int r = 0; r + 1 < rows; r += 2) v_hsum4x2(out + r * WEIGHTS, out + (r + 1) * WEIGHTS, s[0][r], s[0][r + 1]);
    if (rows % 2) v_hsum4(out + (rows - 1) * WEIGHTS, s[0][rows - 1]);
}

V_INLINE void score_rows(const tile *t, bool half, int n, const float *q, const void *const key[QK_KEYS], float *out) {
    int64_t dk = (t->a->dk + V_N - 1) / V_N * V_N, stride = t->dk;
    int i = 0;
    for (; i + QK_ROWS <= n; i += QK_ROWS) score_tile(QK_ROWS, half, q + i * stride, stride, key, dk, out + i * WEIGHTS);
    for (; i + 3 <= n; i += 3) score_tile(3, half, q + i * stride, stride, key, dk, out + i * WEIGHTS);
    for (; i + 2 <= n; i += 2) score_tile(2, half, q + i * stride, stride, key, dk, out + i * WEIGHTS);
    for (; i < n; i++) score_tile(1, half, q + i * stride, stride, key, dk, out + i * WEIGHTS);
}

static void score_some(const tile *t, int first, int n, const void *const key[QK_KEYS], int j) {
    const float *q = t->q + first * t->dk;
    float *out = t->weights + (int64_t)first * WEIGHTS + j;
    if (t->key_direct) score_rows(t, true, n, q, key, out);
    else score_rows(t, false, n, q, key, out);
}

// Not inlined: the loops that read keys and values in place, for few vectors, would be 4 % slower.
static __attribute__((noinline)) void convert_row(const tile *t, const void *from, float *to, int64_t n, int64_t stride) {
    if (t->a->kv_type == DT_F16 && n == stride) { // the usual case
        for (int64_t i = 0; i < n; i += V_N) v_store(to + i, v_load_f16((const uint16_t *)from + i));
        return;
    }
    V_NAME(load)(t->a->kv_type, from, to, n);
    for (; n < stride; n++) to[n] = 0;
}

static void ask_ahead(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i);
}

static void mark_groups(const tile *t, int word) {
    for (int v = 0; v < t->vectors; v += QK_ROWS) {
        uint32_t any = 0;
        for (int i = v; i < v + QK_ROWS && i < t->vectors; i++) any |= t->bits[i][word];
        t->word[v / QK_ROWS] = any;
    }
}

static void score_chunk(const tile *t, int64_t base, int lo, int hi) {
    const attn_args *a = t->a;
    const int32_t *slots = t->seq->slots;
    size_t bytes = head_bytes(a->kv_type, a->dk);
    for (int j = lo / QK_KEYS * QK_KEYS; j < hi; j += QK_KEYS) {
        const void *key[QK_KEYS];
        if (j % 32 == 0 || j < lo + QK_KEYS) mark_groups(t, j / 32);
        for (int i = 0; i < QK_KEYS; i++) {
            int e = j + i < lo ? lo : j + i < hi ? j + i : hi - 1; // beside the span: any readable entry, not used
            key[i] = t->k + (size_t)slots[base + e] * a->k_slot_bytes;
            if (e + AHEAD < hi) ask_ahead(t->k + (size_t)slots[base + e + AHEAD] * a->k_slot_bytes, bytes);
            if (!t->key_direct) {
                convert_row(t, key[i], t->panel + i * t->dk, a->dk, t->dk);
                key[i] = t->panel + i * t->dk;
            }
        }
        for (int v = 0; v < t->vectors; v += QK_ROWS) {
            int n = t->vectors - v < QK_ROWS ? t->vectors - v : QK_ROWS;
            if (t->word[v / QK_ROWS] >> (j % 32) & ((1u << QK_KEYS) - 1)) score_some(t, v, n, key, j);
        }
    }
}

#if QP_WIDEST
// ---- scores of many vectors -------------------------------------------------------------------------------
// Keys are turned 16 at a time: panel[d][16], so that the lanes of a vector are keys. A score's own lanes are then one register after
// the other, and their sum, by halves as sums.h says, needs no shuffles.
enum { PANEL_KEYS = 16, PANEL_VECS = PANEL_KEYS / V_N };

// out[r][c] = lane i of the sums of `rows` vectors with `vecs` vectors of keys. The first products are not added to 0: that shows
// in the sign of a zero only, which no weight depends on.
V_INLINE void panel_lane(int rows, int vecs, const float *q, const float *panel, int64_t dk, int i, vf out[QP_ROWS][QP_VECS]) {
    vf y[QP_VECS];
    V_UNROLL for (int c = 0; c < vecs; c++) {
        y[c] = v_load(panel + c * V_N + i * PANEL_KEYS);
        v_keep(&y[c]);
    }
    V_UNROLL for (int r = 0; r < rows; r++) {
        v_one x = v_one_at(q + r * dk + i);
        V_UNROLL for (int c = 0; c < vecs; c++) out[r][c] = v_mul_one(x, y[c]);
    }
    for (int64_t d = i + SUM_LANES; d < dk; d += SUM_LANES) {
        V_UNROLL for (int c = 0; c < vecs; c++) {
            y[c] = v_load(panel + c * V_N + d * PANEL_KEYS);
            v_keep(&y[c]);
        }
        V_UNROLL for (int r = 0; r < rows; r++) {
            v_one x = v_one_at(q + r * dk + d);
            V_UNROLL for (int c = 0; c < vecs; c++) out[r][c] = v_fma_one(x, y[c], out[r][c]);
        }
    }
}

V_INLINE void panel_add(int rows, int vecs, vf a[QP_ROWS][QP_VECS], vf b[QP_ROWS][QP_VECS]) { // a += b
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < vecs; c++) a[r][c] = v_now(v_add(a[r][c], b[r][c]));
}

// Lanes i, i + step, .. added by halves.
V_INLINE void panel_sum2(int rows, int vecs, const float *q, const float *panel, int64_t dk, int i, vf out[QP_ROWS][QP_VECS]) {
    vf other[QP_ROWS][QP_VECS];
    panel_lane(rows, vecs, q, panel, dk, i, out);
    panel_lane(rows, vecs, q, panel, dk, i + 8, other);
    panel_add(rows, vecs, out, other);
}
V_INLINE void panel_sum4(int rows, int vecs, const float *q, const float *panel, int64_t dk, int i, vf out[QP_ROWS][QP_VECS]) {
    vf other[QP_ROWS][QP_VECS];
    panel_sum2(rows, vecs, q, panel, dk, i, out);
    panel_sum2(rows, vecs, q, panel, dk, i + 4, other);
    panel_add(rows, vecs, out, other);
}
V_INLINE void panel_sum8(int rows, int vecs, const float *q, const float *panel, int64_t dk, int i, vf out[QP_ROWS][QP_VECS]) {
    vf other[QP_ROWS][QP_VECS];
    panel_sum4(rows, vecs, q, panel, dk, i, out);
    panel_sum4(rows, vecs, q, panel, dk, i + 2, other);
    panel_add(rows, vecs, out, other);
}

V_INLINE void panel_tile(int rows, int vecs, const float *q, const float *panel, int64_t dk, float *out, float *top) {
    vf s[QP_ROWS][QP_VECS], other[QP_ROWS][QP_VECS];
    panel_sum8(rows, vecs, q, panel, dk, 0, s);
    panel_sum8(rows, vecs, q, panel, dk, 1, other);
    panel_add(rows, vecs, s, other);
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < vecs; c++) v_store(out + r * WEIGHTS + c * V_N, s[r][c]);
    if (top)
        V_UNROLL for (int r = 0; r < rows; r++) {
            vf most = v_load(top + r * V_N);
            V_UNROLL for (int c = 0; c < vecs; c++) most = v_max(s[r][c], most);
            v_store(top + r * V_N, most);
        }
}

// Scores of QP_ROWS vectors at q with a panel; top, or NULL: [QP_ROWS, V_N] the largest so far.
static void panel_scores(const float *q, const float *panel, int64_t dk, float *out, float *top) {
    for (int c = 0; c < PANEL_VECS; c += QP_VECS, panel += QP_VECS * V_N, out += QP_VECS * V_N) {
        if (dk == 64) panel_tile(QP_ROWS, QP_VECS, q, panel, 64, out, top); // its loops are unrolled
        else if (dk == 128) panel_tile(QP_ROWS, QP_VECS, q, panel, 128, out, top);
        else panel_tile(QP_ROWS, QP_VECS, q, panel, dk, out, top);
    }
}

// The chunk's keys [lo, hi), 16 at a time from a whole number of them; beside the span any readable entry, not used.
static void turn_keys(const tile *t, int64_t base, int lo, int hi) {
    const attn_args *a = t->a;
    const int32_t *slots = t->seq->slots;
    size_t bytes = head_bytes(a->kv_type, a->dk);
    float *rows = t->panel + ATTN_CHUNK * t->dk;
    for (int j = lo / PANEL_KEYS * PANEL_KEYS; j < hi; j += PANEL_KEYS) {
        for (int i = 0; i < PANEL_KEYS; i++) {
            int e = j + i < lo ? lo : j + i < hi ? j + i : hi - 1;
            if (e + AHEAD < hi) ask_ahead(t->k + (size_t)slots[base + e + AHEAD] * a->k_slot_bytes, bytes);
            convert_row(t, t->k + (size_t)slots[base + e] * a->k_slot_bytes, rows + i * t->dk, a->dk, t->dk);
        }
        for (int64_t d = 0; d < t->dk; d += PANEL_KEYS) v_turn(rows + d, t->dk, t->panel + j * t->dk + d * PANEL_KEYS);
    }
}

_Static_assert(2 * PANEL_KEYS == 32, "two blocks' entries are one word of bits");
static void score_group(const tile *t, int lo, int hi) {
    float top[GROUP * V_N];
    for (int i = 0; i < t->n * V_N; i++) top[i] = -INFINITY;
    for (int j = lo / 32 * 32; j < hi; j += 32) {
        const float *panel[2] = {t->panel + j * t->dk, t->panel + (j + PANEL_KEYS) * t->dk};
        for (int v = 0; v < t->n; v += QP_ROWS) {
            int from = v + QP_ROWS <= t->n ? v : t->n - QP_ROWS; // the last ones: some are done twice
            const float *q = t->q + (t->first + from) * t->dk;
            float *out = t->weights + (int64_t)from * WEIGHTS + j, *most = top + from * V_N;
            read_bits marks = read_by(t, from, QP_ROWS, j / 32);
            bool reads[2] = {marks.any & 0xffff, marks.any >> 16}, plain = marks.all == UINT32_MAX && t->a->softcap == 0;
            for (int b = 0; b < 2; b++)
                if (reads[b]) panel_scores(q, panel[b], t->dk, out + b * PANEL_KEYS, plain ? most : NULL);
            if (plain) continue;
            for (int i = from; i < from + QP_ROWS; i++) v_store(top + i * V_N, mask_scores(t, i, j / 32, hi, v_load(top + i * V_N)));
        }
    }
    for (int i = 0; i < t->n; i++) t->max[i] = v_hmax(v_load(top + i * V_N));
}
#endif

// ---- weights -----------------------------------------------------------------------------------------------
// Scores of vector first + i to weights relative to their maximum.
static void weigh(tile *t, int i, int lo, int hi) {
    float *w = t->weights + (int64_t)i * WEIGHTS;
    vf base = v_set1(t->max[i] == -INFINITY ? 0.0f : t->max[i]), sum[PARTS];
    V_UNROLL for (int p = 0; p < PARTS; p++) sum[p] = v_zero();
    int j = lo / SUM_LANES * SUM_LANES;
    for (; j + V_EXP_MOST * V_N <= hi; j += V_EXP_MOST * V_N) {
        vf x[V_EXP_MOST];
        V_UNROLL for (int c = 0; c < V_EXP_MOST; c++) x[c] = v_sub(v_load(w + j + c * V_N), base);
        v_exp_weight_some(V_EXP_MOST, x);
        V_UNROLL for (int c = 0; c < V_EXP_MOST; c++) {
            v_store(w + j + c * V_N, x[c]);
            sum[c % PARTS] = v_add(sum[c % PARTS], x[c]);
        }
    }
    for (; j < hi; j += SUM_LANES)
        V_UNROLL for (int p = 0; p < PARTS; p++) {
            if (j + p * V_N >= hi) break;
            vf e = v_exp_weight(v_sub(v_load(w + j + p * V_N), base));
            v_store(w + j + p * V_N, e);
            sum[p] = v_add(sum[p], e);
        }
    t->sum[i] = sum_parts(sum);
}

// ---- values ------------------------------------------------------------------------------------------------
enum {
    PV_MOST = 8,
    TURNED_ROWS = 6,      // of a value tile where keys are turned: all columns of 64 at once,
    TURNED_TOGETHER = V_N == 16 ? 64 : ATTN_CHUNK, // and so many entries, which stay in the first cache from tile to tile
};

// `rows` vectors' sums, columns [0, vecs * V_N) of them, plus n entries' values times weights.
V_INLINE void value_tile(int rows, int vecs, bool half, const float *w, float *sums, int64_t stride, const void *const *value, int64_t d, int n) {
    vf s[PV_ROWS][PV_MOST];
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < vecs; c++) s[r][c] = v_load(sums + r * stride + d + c * V_N);
    for (int j = 0; j < n; j++) {
        vf y[PV_MOST];
        V_UNROLL for (int c = 0; c < vecs; c++) y[c] = load_some(half, value[j], d + c * V_N);
        V_UNROLL for (int r = 0; r < rows; r++) {
            vf x = v_set1(w[r * WEIGHTS + j]);
            V_UNROLL for (int c = 0; c < vecs; c++) s[r][c] = v_fma(x, y[c], s[r][c]);
        }
    }
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < vecs; c++) v_store(sums + r * stride + d + c * V_N, s[r][c]);
}

V_INLINE int64_t value_columns(int rows, int vecs, const tile *t, const float *w, float *sums, const void *const *value, int64_t d, int n) {
    int64_t dv = (t->a->dv + V_N - 1) / V_N * V_N;
    for (; d + vecs * V_N <= dv; d += vecs * V_N) {
        if (t->value_direct) value_tile(rows, vecs, true, w, sums, t->dv, value, d, n);
        else value_tile(rows, vecs, false, w, sums, t->dv, value, d, n);
    }
    return d;
}

V_INLINE void value_rows(int rows, const tile *t, int first, const void *const *value, int j, int n) {
    const float *w = t->weights + (int64_t)first * WEIGHTS + j;
    float *sums = t->part + first * t->dv;
    int64_t d = 0; // as many columns at a time as there are registers for
    if (rows * 8 <= PV_SUMS) d = value_columns(rows, 8, t, w, sums, value, d, n);
    if (rows * 4 <= PV_SUMS) d = value_columns(rows, 4, t, w, sums, value, d, n);
    d = value_columns(rows, 2, t, w, sums, value, d, n);
    value_columns(rows, 1, t, w, sums, value, d, n);
}

// Vectors [first, first + rows) of those at work read all of the n entries from j of the chunk.
static void add_values(const tile *t, int first, int rows, const void *const *value, int j, int n) {
    const int most = t->turned ? TURNED_ROWS : PV_ROWS;
    while (rows > 0) {
        int some = rows >= most ? most : rows >= TURNED_ROWS ? TURNED_ROWS : rows == 5 ? 3 : rows;
        switch (some) {
        case 1: value_rows(1, t, first, value, j, n); break;
        case 2: value_rows(2, t, first, value, j, n); break;
        case 3: value_rows(3, t, first, value, j, n); break;
        case 4: value_rows(4, t, first, value, j, n); break;
        case TURNED_ROWS: value_rows(TURNED_ROWS, t, first, value, j, n); break;
        default: value_rows(PV_ROWS, t, first, value, j, n);
        }
        first += some;
        rows -= some;
    }
}

// Vectors [first, first + n) of those at work over entries [32 word, 32 word + 32), cut where one of them starts or stops reading.
_Static_assert(ATTN_PANEL == 32, "a panel's entries are one word of bits");
static void value_group(const tile *t, int first, int n, const void *const value[ATTN_PANEL], int word) {
    const uint32_t *const *bits = t->bits + t->first + first;
    for (int j = 0; j < ATTN_PANEL;) {
        uint32_t any = read_by(t, first, n, word).any >> j;
        if (!any) return;
        j += __builtin_ctz(any);
        int len = ATTN_PANEL - j;
        for (int v = 0; v < n; v++) {
            uint32_t b = bits[v][word] >> j, change = b & 1 ? ~b : b;
            if (change && __builtin_ctz(change) < len) len = __builtin_ctz(change);
        }
        for (int v = 0; v < n;) { // neighbours that read together
            int end = v;
            while (end < n && bits[end][word] >> j & 1) end++;
            if (end > v) add_values(t, first + v, end - v, value + j, ATTN_PANEL * word + j, len);
            v = end > v ? end : v + 1;
        }
        j += len;
    }
}

static void value_chunk(const tile *t, int64_t base, int lo, int hi) {
    const attn_args *a = t->a;
    const int32_t *slots = t->seq->slots;
    size_t bytes = head_bytes(a->kv_type, a->dv);
    int64_t stride = t->dv + 16; // so that rows do not share cache sets
    int groups = (t->n + PV_ROWS - 1) / PV_ROWS, each = (t->n + groups - 1) / groups;
    for (int j0 = lo / ATTN_PANEL * ATTN_PANEL; j0 < hi; j0 += ATTN_PANEL) {
        const void *value[ATTN_PANEL] = {0};
        for (int j = j0 > lo ? j0 : lo; j < j0 + ATTN_PANEL && j < hi; j++) {
            const char *from = t->v + (size_t)slots[base + j] * a->v_slot_bytes;
            value[j - j0] = from;
            if (t->value_direct) ask_ahead(from, bytes);
            else {
                if (j + AHEAD < hi) ask_ahead(t->v + (size_t)slots[base + j + AHEAD] * a->v_slot_bytes, bytes);
                convert_row(t, from, t->panel + (j - j0) * stride, a->dv, t->dv);
                value[j - j0] = t->panel + (j - j0) * stride;
            }
        }
        for (int v = 0; v < t->n; v += each) value_group(t, v, t->n - v < each ? t->n - v : each, value, j0 / ATTN_PANEL);
    }
}

#if QP_WIDEST
static void convert_values(const tile *t, int64_t base, int lo, int hi, const void *value[ATTN_CHUNK]) {
    const attn_args *a = t->a;
    const int32_t *slots = t->seq->slots;
    size_t bytes = head_bytes(a->kv_type, a->dv);
    for (int j = lo; j < hi; j++) {
        float *to = t->values + j * (t->dv + 16); // so that rows do not share cache sets
        if (j + AHEAD < hi) ask_ahead(t->v + (size_t)slots[base + j + AHEAD] * a->v_slot_bytes, bytes);
        convert_row(t, t->v + (size_t)slots[base + j] * a->v_slot_bytes, to, a->dv, t->dv);
        value[j] = to;
    }
}

// Vectors [first, first + n) of those at work over the chunk's entries [lo, hi): at once where all of them read all.
static void sum_values(const tile *t, int first, int n, const void *const value[ATTN_CHUNK], int lo, int hi) {
    for (int w = lo / 32; 32 * w < hi;) {
        int end = w;
        while (32 * end < hi && read_by(t, first, n, end).all == UINT32_MAX) end++;
        if (end > w) add_values(t, first, n, value + 32 * w, 32 * w, 32 * (end - w));
        if (32 * end < hi) value_group(t, first, n, value + 32 * end, end);
        w = end + 1;
    }
}
#endif

// ---- chunks ------------------------------------------------------------------------------------------------
// Folds the chunk's partials of the vectors at work into their running ones.
static void fold(tile *t) {
    for (int i = 0; i < t->n; i += V_N) {
        float *top = t->top + t->state + i, *total = t->total + t->state + i;
        vf max = v_load(t->max + i), sum = v_load(t->sum + i), old = v_load(top), before = v_load(total), zero = v_zero();
        vf most = v_sel(v_lt(old, max), max, old), base = v_sel(v_eq(most, v_set1(-INFINITY)), zero, most);
        vf keep = v_exp_weight(v_sub(old, base)), add = v_exp_weight(v_sub(max, base));
        vm none = v_eq(sum, zero);
        v_store(t->keep + i, v_sel(v_eq(before, zero), v_set1(-1), keep)); // -1: nothing yet
        v_store(t->add + i, add);
        v_store(top, v_sel(none, old, most));
        v_store(total, v_sel(none, before, v_add(v_mul(before, keep), v_mul(sum, add))));
    }
    for (int i = 0; i < t->n; i++) {
        if (t->sum[i] == 0) continue;
        const float *part = t->part + i * t->dv;
        float *acc = t->acc + (t->first + i) * t->dv;
        vf keep = v_set1(t->keep[i]), add = v_set1(t->add[i]);
        if (t->keep[i] < 0)
            for (int64_t d = 0; d < t->dv; d += V_N) v_store(acc + d, v_fma(v_load(part + d), add, v_zero()));
        else
            for (int64_t d = 0; d < t->dv; d += V_N) v_store(acc + d, v_fma(v_load(part + d), add, v_mul(v_load(acc + d), keep)));
    }
}

static void start_running(tile *t) {
    int64_t states = tile_groups(t) * padded(t->turned ? GROUP : t->vectors);
    for (int64_t i = 0; i < states; i++) {
        t->top[i] = -INFINITY;
        t->total[i] = 0;
    }
}

// The result of the i'th vector at work.
V_INLINE void finish_vector(const tile *t, int i) {
    const attn_args *a = t->a;
    int64_t row = t->it->row0 + (t->first + i) / t->group, head = (int64_t)t->it->kv_head * t->group + (t->first + i) % t->group;
    float *out = a->out + row * a->out_stride + head * a->dv, total = t->total[t->state + i], keep = 1;
    if (total == 0) { // it read nothing
        memset(out, 0, (size_t)a->dv * sizeof *out);
        return;
    }
    if (a->sinks) {
        float top = t->top[t->state + i] == -INFINITY ? 0.0f : t->top[t->state + i], sink = a->sinks[head], base = sink > top ? sink : top;
        keep = exp_weight(top - base);
        total = total * keep + exp_weight(sink - base);
    }
    vf scale = v_set1(total == 0 ? 0.0f : keep / total);
    const float *from = t->acc + (t->first + i) * t->dv;
    int64_t d = 0;
    for (; d + V_N <= a->dv; d += V_N) v_store(out + d, v_mul(v_load(from + d), scale));
    if (d < a->dv) v_storen(out + d, v_mul(v_load(from + d), scale), a->dv - d);
}

static void finish(const tile *t) {
    for (int i = 0; i < t->n; i++) {
        finish_vector(t, i);
        int at = t->first + i;
        if (at % t->group == t->group - 1) attn_quantize(t->a, t->it->row0 + at / t->group, t->it->kv_head);
    }
}

static float *partial(const tile *t, int i, int64_t chunk) { // of vector first + i
    i += t->first;
    return attn_partial(t->a, t->it, t->it->row0 + i / t->group, t->it->kv_head * t->group + i % t->group, chunk);
}

// What becomes of a chunk's partials: those of a split tile go to `work`; others are folded, and are results after the last chunk.
static void use_partials(tile *t, int64_t chunk) {
    if (!t->it->split) {
        fold(t);
        if (chunk + 1 == t->end) finish(t);
        return;
    }
    for (int i = 0; i < t->n; i++) {
        float *p = partial(t, i, chunk);
        p[0] = t->max[i];
        p[1] = t->sum[i];
        memcpy(p + ATTN_HEAD, t->part + i * t->dv, (size_t)t->a->dv * sizeof *p);
    }
}

#if QP_WIDEST
// A chunk's max, sum and part of the vectors at work, whose entries lie in [lo, hi); sum 0 where a vector reads nothing.
static void attend_group(tile *t, int lo, int hi, const void *const value[ATTN_CHUNK]) {
    uint32_t some = 0;
    while (lo < hi && !(some = read_by(t, 0, t->n, lo / 32).any)) lo = (lo / 32 + 1) * 32;
    if (some) lo = lo / 32 * 32 + __builtin_ctz(some);
    while (lo < hi && !(some = read_by(t, 0, t->n, (hi - 1) / 32).any)) hi = (hi - 1) / 32 * 32;
    if (some) hi = (hi - 1) / 32 * 32 + 32 - __builtin_clz(some);
    memset(t->part, 0, (size_t)(t->n * t->dv) * sizeof *t->part);
    memset(t->sum, 0, (size_t)t->n * sizeof *t->sum);
    if (lo >= hi) return;
    score_group(t, lo, hi);
    for (int i = 0; i < t->n; i++) weigh(t, i, lo, hi);
    for (int j = lo / 32 * 32; j < hi; j += TURNED_TOGETHER) {
        int from = j > lo ? j : lo, to = j + TURNED_TOGETHER < hi ? j + TURNED_TOGETHER : hi;
        for (int i = 0; i < t->n; i += TURNED_ROWS) sum_values(t, i, t->n - i < TURNED_ROWS ? t->n - i : TURNED_ROWS, value, from, to);
    }
}

static void attend_groups(tile *t, int64_t chunk, int64_t base, int lo, int hi) {
    const void *value[ATTN_CHUNK] = {0};
    turn_keys(t, base, lo, hi);
    convert_values(t, base, lo, hi, value);
    for (int g = 0; g < tile_groups(t); g++) {
        take_group(t, g);
        attend_group(t, lo, hi, value);
        use_partials(t, chunk);
    }
}
#endif

static void attend_chunk(tile *t, int64_t chunk) {
    int64_t base = chunk * ATTN_CHUNK - t->seq->dropped;
    int lo, hi;
    bool any = mark_chunk(t, base, &lo, &hi);
#if QP_WIDEST
    if (t->turned) {
        attend_groups(t, chunk, base, any ? lo : 0, any ? hi : 0);
        return;
    }
#endif
    memset(t->part, 0, (size_t)(t->n * t->dv) * sizeof *t->part);
    memset(t->sum, 0, (size_t)t->n * sizeof *t->sum);
    if (any) {
        score_chunk(t, base, lo, hi);
        for (int i = 0; i < t->n; i++) find_max(t, i, lo, hi); // all of them first: one takes long to come
        for (int i = 0; i < t->n; i++) weigh(t, i, lo, hi);
        value_chunk(t, base, lo, hi);
    }
    use_partials(t, chunk);
}

// One chunk of a split tile; whoever comes last folds them all.
static void attend_split(tile *t) {
    const attn_item *it = t->it;
    attend_chunk(t, it->chunk0);
    if (!attn_item_done(t->a, it)) return;
    start_running(t);
    for (int g = 0; g < tile_groups(t); g++) {
        take_group(t, g);
        for (int64_t c = it->first; c < it->last; c++) {
            for (int i = 0; i < t->n; i++) {
                const float *p = partial(t, i, c);
                t->max[i] = p[0];
                t->sum[i] = p[1];
                memcpy(t->part + i * t->dv, p + ATTN_HEAD, (size_t)t->a->dv * sizeof *p);
            }
            fold(t);
        }
        finish(t);
    }
}

static void attend_whole(tile *t) {
    int64_t first = INT64_MAX, last = 0;
    for (int64_t r = 0; r < t->it->rows; r++) {
        int64_t lo = t->row[r].lo + t->seq->dropped, hi = t->row[r].hi + t->seq->dropped;
        if (lo == hi) continue;
        if (lo / ATTN_CHUNK < first) first = lo / ATTN_CHUNK;
        if ((hi + ATTN_CHUNK - 1) / ATTN_CHUNK > last) last = (hi + ATTN_CHUNK - 1) / ATTN_CHUNK;
    }
    if (first >= last) first = 0, last = 1; // no row reads anything: a chunk of nothing
    t->end = last;
    start_running(t);
    for (int64_t c = first; c < last; c++) attend_chunk(t, c);
}

void V_NAME(attention)(const attn_args *a, int64_t item0, int64_t item1, void *scratch) {
    attn_iter iter;
    attn_iter_init(&iter, a, item0);
    for (int64_t i = item0; i < item1; i++) {
        attn_item it;
        tile t;
        attn_iter_next(&iter, &it);
        tile_init(&t, a, &it, scratch);
        if (it.split) attend_split(&t);
        else attend_whole(&t);
    }
}
