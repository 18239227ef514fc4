// linear_plain.h - linear() over LINEAR_I16 for float32, float16 and bfloat16 weights and float32 activations; included
// by linear_simd.h. Every output is one chain y = fma(W[n, k], x[k], y), k upwards, as in linear_ref.c: speed comes from
// many outputs at a time, never from splitting k.
//
// One row: PLAIN_STREAMS groups of 16 weight rows walk k together, weights converted in registers. More rows: PLAIN_K
// values of k of a group meet all rows, up to TALL at a time, with the sums in a small array; from more than FEW_MOST rows
// on, the values are converted to float32 once for all of them, and a tile meets PLAIN_SPAN groups.

enum {
    PLAIN_K = 128,        // k of a panel; a multiple of 2
    PLAIN_GROUPS = 4,     // groups that walk k together
    PLAIN_BATCH = 128,    // rows that meet a panel
    PLAIN_SPAN = HALVES == 1 ? 2 : 1, // groups of a tile; a divisor of PLAIN_GROUPS
    PLAIN_VECS = PLAIN_SPAN * HALVES,
    TALL = HALVES == 1 ? 8 : HALVES == 2 ? 6 : 5, // rows of a tile, at least 4: enough sums to hide their latency
    PLAIN_STREAMS = 2,    // groups of 16 weight rows that a single row meets together,
    PLAIN_AHEAD = 6 << 10, // and how far in advance it asks for each
    PLAIN_STEPS = 4,       // of k, for each of which no pointer moves
};

// Bytes of a step of k, and its length: 1, or 2 where bfloat16 lies in pairs.
INLINE int plain_step(tl_dtype t) { return t == DT_BF16 ? 2 : 1; }
INLINE int plain_bytes(tl_dtype t) { return t == DT_F16 ? 32 : 64; }

// Weights of lanes of half h at a step; i: which k of the step.
INLINE VF plain_at(tl_dtype t, const uint8_t *g, int i, int h) {
    if (t == DT_F32) return vf_load(g + 4 * LANES * h);
    if (t == DT_F16) return vf_half(g + 2 * LANES * h);
    VI pair = vi_load(g + 4 * LANES * h);
    return vf_bits(i ? vi_and(pair, vi_splat(0xffff0000)) : vi_sll(pair, 16));
}

// Groups from n0 on, `apart` rows apart; lanes: rows up to the matrix's or the range's end.
INLINE void plain_direct(tl_dtype t, int groups, const cpu_matrix *w, const float *x, float *y, int64_t n0, int64_t lanes, int64_t apart) {
    const uint8_t *g = linear_group(w, n0), *end = linear_group(w, w->n + LINEAR_ROWS - 1);
    size_t stream = linear_group_bytes(t, w->k) * (size_t)(apart / LINEAR_ROWS);
    size_t ahead = (size_t)(end - g) > PLAIN_AHEAD + stream ? PLAIN_AHEAD : 0;
    VF acc[PLAIN_STREAMS][HALVES];
    for (int c = 0; c < groups; c++)
        for (int h = 0; h < HALVES; h++) acc[c][h] = vf_splat(0);
    for (int64_t k = 0; k < w->k; k += plain_step(t), g += plain_bytes(t)) {
        UNROLL
        for (int i = 0; i < plain_step(t); i++) {
            if (i && k + i == w->k) break; // the half-empty pair of an odd k
            VF a = vf_bcast(x + k + i);
            UNROLL
            for (int c = 0; c < groups; c++) {
                if (i == 0) __builtin_prefetch(g + (size_t)c * stream + ahead);
                UNROLL
                for (int h = 0; h < HALVES; h++) acc[c][h] = vf_fma(plain_at(t, g + (size_t)c * stream, i, h), a, acc[c][h]);
            }
        }
    }
    for (int c = 0; c < groups; c++) store_lanes(y + apart * c, lanes - apart * c, acc[c]);
}

// `count` values of k of a group as float32 [count][16].
INLINE void plain_panel(tl_dtype t, const uint8_t *g, int64_t count, float *to) {
    for (int64_t k = 0; k < count; k += plain_step(t), g += plain_bytes(t)) // an odd k's last pair is half unused
        for (int i = 0; i < plain_step(t); i++)
            for (int h = 0; h < HALVES; h++) vf_store(to + LINEAR_ROWS * (k + i) + LANES * h, plain_at(t, g, i, h));
}

// One step of k, from value i of each row on.
INLINE void plain_mac(tl_dtype t, int rows, int vecs, const uint8_t *g, size_t apart, int64_t i, bool odd, const float *const *a, VF acc[][PLAIN_VECS]) {
    UNROLL
    for (int j = 0; j < plain_step(t); j++) {
        if (j && odd) break; // the half-empty pair of an odd k
        VF w[PLAIN_VECS];
        UNROLL
        for (int v = 0; v < vecs; v++) w[v] = plain_at(t, g + (size_t)(v / HALVES) * apart, j, v % HALVES);
        UNROLL
        for (int r = 0; r < rows; r++) {
            // Operands in memory take no operation of their own, but a load for each use: half of each are in balance.
            vf_one one = vf_one_at(a[r] + i + j);
            VF b = vf_bcast(a[r] + i + j);
            UNROLL
            for (int v = 0; v < vecs; v++) acc[r][v] = r % 2 ? vf_fma_one(one, w[v], acc[r][v]) : vf_fma(b, w[v], acc[r][v]);
        }
    }
}

// `count` values of k of `vecs` vectors of weights of type t (those of a second group stand `apart` bytes further on, their
// sums PLAIN_BATCH rows) against several rows; the sums continue in sum[rows][16].
INLINE float *plain_sum(float *sum, int r, int v) { return sum + v / HALVES * PLAIN_BATCH * LINEAR_ROWS + LINEAR_ROWS * r + LANES * (v % HALVES); }
INLINE void plain_tile(tl_dtype t, int rows, int vecs, const void *panel, size_t apart, int64_t count, const uint8_t *x, size_t stride, float *sum) {
    const int each = PLAIN_STEPS * plain_step(t);
    const uint8_t *g = panel;
    const float *a[TALL];
    VF acc[TALL][PLAIN_VECS];
    UNROLL
    for (int r = 0; r < rows; r++) {
        a[r] = (const float *)(const void *)(x + (size_t)r * stride);
        UNROLL
        for (int v = 0; v < vecs; v++) acc[r][v] = vf_load(plain_sum(sum, r, v));
    }
    for (; count >= each; count -= each) {
        UNROLL
        for (int i = 0; i < PLAIN_STEPS; i++, g += plain_bytes(t)) {
            if (t != DT_F32) { // panels are in the cache already
                UNROLL
                for (int v = 0; v < vecs; v += HALVES) __builtin_prefetch(g + (size_t)(v / HALVES) * apart + 2 * AHEAD);
            }
            plain_mac(t, rows, vecs, g, apart, i * plain_step(t), false, a, acc);
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            a[r] += each;
            __asm__("" : "+r"(a[r])); // a base and an index would make two operations of each product with memory
        }
    }
    for (int64_t i = 0; i < count; i += plain_step(t), g += plain_bytes(t)) plain_mac(t, rows, vecs, g, apart, i, i + 1 == count, a, acc);
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < vecs; v++) vf_store(plain_sum(sum, r, v), acc[r][v]);
    }
}
typedef void plain_tile_fn(const void *panel, size_t apart, int64_t count, const uint8_t *x, size_t stride, float *sum);
#define PLAIN_TILE(T, R)                                                                                               \
    static void plain_tile_##T##_##R(const void *panel, size_t apart, int64_t count, const uint8_t *x, size_t stride,  \
                                     float *sum) {                                                                     \
        plain_tile(DT_##T, R, HALVES, panel, apart, count, x, stride, sum);                                            \
    }                                                                                                                  \
    static void plain_span_##T##_##R(const void *panel, size_t apart, int64_t count, const uint8_t *x, size_t stride,  \
                                     float *sum) {                                                                     \
        plain_tile(DT_##T, R, PLAIN_VECS, panel, apart, count, x, stride, sum);                                        \
    }
#define PLAIN_TILES(T) PLAIN_TILE(T, 1) PLAIN_TILE(T, 2) PLAIN_TILE(T, 4) PLAIN_TILE(T, TALL)
PLAIN_TILES(F32) PLAIN_TILES(F16) PLAIN_TILES(BF16)

// All rows against `groups` <= PLAIN_SPAN groups, converted (F32) or as they lie.
INLINE void plain_tiles(tl_dtype t, const void *panel, size_t apart, int64_t groups, int64_t count, const uint8_t *x, size_t stride,
                        int64_t rows, float *sum) {
#define PLAIN_ENTRY(T) {{plain_tile_##T##_1, plain_tile_##T##_2, plain_tile_##T##_4, plain_tile_##T##_TALL},           \
                        {plain_span_##T##_1, plain_span_##T##_2, plain_span_##T##_4, plain_span_##T##_TALL}}
    static plain_tile_fn *const fns[3][2][4] = {PLAIN_ENTRY(F32), PLAIN_ENTRY(F16), PLAIN_ENTRY(BF16)};
    static const int sizes[4] = {1, 2, 4, TALL};
    for (int64_t r = 0; r < rows;) {
        int which = rows - r >= TALL ? 3 : rows - r >= 4 ? 2 : rows - r >= 2;
        bool all = groups == PLAIN_SPAN;
        for (int64_t c = 0; c < (all ? 1 : groups); c++)
            fns[t == DT_F32 ? 0 : t == DT_F16 ? 1 : 2][all][which]((const uint8_t *)panel + (size_t)c * apart, apart, count, x + (size_t)r * stride,
                                                                   stride, sum + c * PLAIN_BATCH * LINEAR_ROWS + LINEAR_ROWS * r);
        r += sizes[which];
    }
}

// At most PLAIN_GROUPS groups from n, at most PLAIN_BATCH rows.
INLINE void plain_many(tl_dtype t, const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy,
                       int64_t n, int64_t n1) {
    _Alignas(64) float panel[PLAIN_SPAN][PLAIN_K * LINEAR_ROWS];
    _Alignas(64) float sum[PLAIN_GROUPS][PLAIN_BATCH * LINEAR_ROWS];
    int64_t groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    size_t group_bytes = linear_group_bytes(t, w->k);
    for (int64_t c = 0; c < groups; c++) memset(sum[c], 0, (size_t)rows * LINEAR_ROWS * sizeof(float));
    for (int64_t k = 0; k < w->k; k += PLAIN_K) {
        int64_t count = w->k - k < PLAIN_K ? w->k - k : PLAIN_K;
        const uint8_t *xk = x + (size_t)k * sizeof(float);
        for (int64_t c = 0; c < groups; c += PLAIN_SPAN) {
            int64_t some = groups - c < PLAIN_SPAN ? groups - c : PLAIN_SPAN;
            const uint8_t *g = linear_group(w, n + LINEAR_ROWS * c) + k / plain_step(t) * plain_bytes(t);
            if (rows <= FEW_MOST) {
                plain_tiles(t, g, group_bytes, some, count, xk, stride, rows, sum[c]);
                continue;
            }
            for (int64_t i = 0; i < some; i++) plain_panel(t, g + (size_t)i * group_bytes, count, panel[i]);
            plain_tiles(DT_F32, panel, sizeof *panel, some, count, xk, stride, rows, sum[c]);
        }
    }
    for (int64_t c = 0; c < groups; c++, n += LINEAR_ROWS)
        for (int64_t r = 0; r < rows; r++)
            memcpy(y + r * ldy + n, sum[c] + r * LINEAR_ROWS, (size_t)(n1 - n < LINEAR_ROWS ? n1 - n : LINEAR_ROWS) * sizeof(float));
}

// Two groups walk k together, from the two halves of the range: one alone would wait for its own sums.
INLINE void plain_one(tl_dtype t, const cpu_matrix *w, const float *x, float *y, int64_t n, int64_t n1) {
    int64_t half = (n1 - n) / (PLAIN_STREAMS * LINEAR_ROWS) * LINEAR_ROWS;
    for (int64_t i = 0; i < half; i += LINEAR_ROWS) plain_direct(t, PLAIN_STREAMS, w, x, y + n + i, n + i, n1 - n - i, half);
    for (y += n + PLAIN_STREAMS * half, n += PLAIN_STREAMS * half; n < n1; n += LINEAR_ROWS, y += LINEAR_ROWS) plain_direct(t, 1, w, x, y, n, n1 - n, LINEAR_ROWS);
}

INLINE void plain_type(tl_dtype t, const cpu_matrix *w, const uint8_t *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    size_t stride = act_bytes(ACT_F32, w->k);
    if (rows == 1) {
        plain_one(t, w, (const float *)(const void *)x, y, n0, n1);
        return;
    }
    for (int64_t n = n0; n < n1; n += PLAIN_GROUPS * LINEAR_ROWS) {
        int64_t end = n1 - n < PLAIN_GROUPS * LINEAR_ROWS ? n1 : n + PLAIN_GROUPS * LINEAR_ROWS;
        for (int64_t r = 0; r < rows; r += PLAIN_BATCH)
            plain_many(t, w, x + (size_t)r * stride, stride, rows - r < PLAIN_BATCH ? rows - r : PLAIN_BATCH, y + r * ldy, ldy, n, end);
    }
}

static void plain(const cpu_matrix *w, const uint8_t *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    switch (w->type) {
    case DT_F32: plain_type(DT_F32, w, x, rows, y, ldy, n0, n1); break;
    case DT_F16: plain_type(DT_F16, w, x, rows, y, ldy, n0, n1); break;
    default: plain_type(DT_BF16, w, x, rows, y, ldy, n0, n1);
    }
}
