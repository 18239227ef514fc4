// linear_plain.h - linear() over LINEAR_I16 for float32, float16 and bfloat16 weights and float32 activations; included
// by linear_simd.h. Every output is one chain y = fma(W[n, k], x[k], y), k upwards, as in linear_ref.c: speed comes from
// many outputs at a time, never from splitting k.
//
// One row: WIDE_GROUPS groups of 16 weight rows walk k together, weights converted in registers. More rows: PLAIN_K
// values of k of a group meet all rows, up to TALL at a time, with the sums in a small array; from more than FEW_MOST rows
// on, the values are converted to float32 once for all of them.

enum {
    PLAIN_K = 128,        // k of a panel; a multiple of 2
    PLAIN_GROUPS = 4,     // groups that walk k together
    PLAIN_BATCH = 60,     // rows that meet a panel; a multiple of TALL
    TALL = HALVES < 4 ? 12 / HALVES : 5, // rows of a tile; at least 4
    WIDE_GROUPS = 4,      // groups of 16 weight rows that a single row meets together
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

INLINE void plain_direct(tl_dtype t, int groups, const cpu_matrix *w, const float *x, float *y, int64_t n0, int64_t lanes) {
    const uint8_t *g = linear_group(w, n0);
    size_t group_bytes = linear_group_bytes(t, w->k);
    VF acc[WIDE_GROUPS][HALVES];
    for (int c = 0; c < groups; c++)
        for (int h = 0; h < HALVES; h++) acc[c][h] = vf_splat(0);
    for (int64_t k = 0; k < w->k; k += plain_step(t), g += plain_bytes(t)) {
        UNROLL
        for (int i = 0; i < plain_step(t); i++) {
            if (i && k + i == w->k) break; // the half-empty pair of an odd k
            VF a = vf_bcast(x + k + i);
            UNROLL
            for (int c = 0; c < groups; c++) {
                if (i == 0) __builtin_prefetch(g + (size_t)c * group_bytes + AHEAD / 4);
                UNROLL
                for (int h = 0; h < HALVES; h++) acc[c][h] = vf_fma(plain_at(t, g + (size_t)c * group_bytes, i, h), a, acc[c][h]);
            }
        }
    }
    for (int c = 0; c < groups; c++) store_lanes(y + LINEAR_ROWS * c, lanes - LINEAR_ROWS * c, acc[c]);
}

// `count` values of k from k0 of a group as float32 [count][16]; the file's own bytes where they are that.
INLINE const float *plain_panel(tl_dtype t, const uint8_t *g, int64_t k0, int64_t count, float *to) {
    g += k0 / plain_step(t) * plain_bytes(t);
    if (t == DT_F32) return (const float *)(const void *)g;
    for (int64_t k = 0; k < count; k += plain_step(t), g += plain_bytes(t)) // an odd k's last pair is half unused
        for (int i = 0; i < plain_step(t); i++)
            for (int h = 0; h < HALVES; h++) vf_store(to + LINEAR_ROWS * (k + i) + LANES * h, plain_at(t, g, i, h));
    return to;
}

// `count` values of k of a group of type t against several rows; the sums continue in sum[rows][16].
INLINE void plain_tile(tl_dtype t, int rows, const void *panel, int64_t count, const uint8_t *x, size_t stride, float *sum) {
    const uint8_t *g = panel;
    const float *a[TALL];
    VF acc[TALL][HALVES];
    UNROLL
    for (int r = 0; r < rows; r++) {
        a[r] = (const float *)(const void *)(x + (size_t)r * stride);
        UNROLL
        for (int h = 0; h < HALVES; h++) acc[r][h] = vf_load(sum + LINEAR_ROWS * r + LANES * h);
    }
    for (int64_t k = 0; k < count; k += plain_step(t), g += plain_bytes(t)) {
        UNROLL
        for (int i = 0; i < plain_step(t); i++) {
            if (i && k + i == count) break; // the half-empty pair of an odd k
            VF w[HALVES];
            UNROLL
            for (int h = 0; h < HALVES; h++) w[h] = plain_at(t, g, i, h);
            UNROLL
            for (int r = 0; r < rows; r++) {
                VF v = vf_bcast(a[r] + k + i);
                UNROLL
                for (int h = 0; h < HALVES; h++) acc[r][h] = vf_fma(w[h], v, acc[r][h]);
            }
        }
    }
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int h = 0; h < HALVES; h++) vf_store(sum + LINEAR_ROWS * r + LANES * h, acc[r][h]);
    }
}
typedef void plain_tile_fn(const void *panel, int64_t count, const uint8_t *x, size_t stride, float *sum);
#define PLAIN_TILE(T, R)                                                                                               \
    static void plain_tile_##T##_##R(const void *panel, int64_t count, const uint8_t *x, size_t stride, float *sum) {  \
        plain_tile(DT_##T, R, panel, count, x, stride, sum);                                                           \
    }
PLAIN_TILE(F32, 1) PLAIN_TILE(F32, 2) PLAIN_TILE(F32, 4) PLAIN_TILE(F32, TALL)
PLAIN_TILE(F16, 1) PLAIN_TILE(F16, 2) PLAIN_TILE(F16, 4)
PLAIN_TILE(BF16, 1) PLAIN_TILE(BF16, 2) PLAIN_TILE(BF16, 4)

// All rows against a panel, converted (F32) or as it lies in the group.
INLINE void plain_tiles(tl_dtype t, const void *panel, int64_t count, const uint8_t *x, size_t stride, int64_t rows, float *sum) {
    static plain_tile_fn *const fns[3][3] = {{plain_tile_F32_1, plain_tile_F32_2, plain_tile_F32_4},
                                             {plain_tile_F16_1, plain_tile_F16_2, plain_tile_F16_4},
                                             {plain_tile_BF16_1, plain_tile_BF16_2, plain_tile_BF16_4}};
    int64_t r = 0;
    if (t == DT_F32)
        for (; r + TALL <= rows; r += TALL) plain_tile_F32_TALL(panel, count, x + (size_t)r * stride, stride, sum + LINEAR_ROWS * r);
    while (r < rows) {
        int which = rows - r >= 4 ? 2 : rows - r >= 2;
        fns[t == DT_F32 ? 0 : t == DT_F16 ? 1 : 2][which](panel, count, x + (size_t)r * stride, stride, sum + LINEAR_ROWS * r);
        r += 1 << which;
    }
}

// At most PLAIN_GROUPS groups from n, at most PLAIN_BATCH rows.
INLINE void plain_many(tl_dtype t, const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy,
                       int64_t n, int64_t n1) {
    _Alignas(64) float panel[PLAIN_K * LINEAR_ROWS];
    _Alignas(64) float sum[PLAIN_GROUPS][PLAIN_BATCH * LINEAR_ROWS];
    int64_t groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    for (int64_t c = 0; c < groups; c++) memset(sum[c], 0, (size_t)rows * LINEAR_ROWS * sizeof(float));
    for (int64_t k = 0; k < w->k; k += PLAIN_K) {
        int64_t count = w->k - k < PLAIN_K ? w->k - k : PLAIN_K;
        for (int64_t c = 0; c < groups; c++) {
            const uint8_t *g = linear_group(w, n + LINEAR_ROWS * c);
            if (rows <= FEW_MOST) plain_tiles(t, g + k / plain_step(t) * plain_bytes(t), count, x + (size_t)k * sizeof(float), stride, rows, sum[c]);
            else plain_tiles(DT_F32, plain_panel(t, g, k, count, panel), count, x + (size_t)k * sizeof(float), stride, rows, sum[c]);
        }
    }
    for (int64_t c = 0; c < groups; c++, n += LINEAR_ROWS)
        for (int64_t r = 0; r < rows; r++)
            memcpy(y + r * ldy + n, sum[c] + r * LINEAR_ROWS, (size_t)(n1 - n < LINEAR_ROWS ? n1 - n : LINEAR_ROWS) * sizeof(float));
}

INLINE void plain_one(tl_dtype t, const cpu_matrix *w, const float *x, float *y, int64_t n, int64_t n1) {
    for (; n + WIDE_GROUPS * LINEAR_ROWS <= n1; n += WIDE_GROUPS * LINEAR_ROWS) plain_direct(t, WIDE_GROUPS, w, x, y + n, n, n1 - n);
    for (; n < n1; n += LINEAR_ROWS) plain_direct(t, 1, w, x, y + n, n, n1 - n);
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
