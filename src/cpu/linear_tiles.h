// linear_tiles.h - linear() over LINEAR_I16 with matrix tiles, for TILE_ROWS rows of x and more: included by linear_amx.c
// and linear_i8mm.c (and by a test, in plain C) after linear_codes.h and these:
//   ti_begin()   this thread's tiles become [16 rows, 32 int8] x [8, 16 lanes of 4 int8]
//   ti_dot(slot, t, x, stride, codes, out)   out[16 rows][16 lanes] = int8 rows at x times codes of format t; calls with
//                different `slot` (0 or 1) may overlap
//   ti_end()     gives the tiles back
//
// An expanded block is a tile as it lies: 8 vectors of 16 lanes, 4 consecutive k each; so are 16 rows of activations. A
// tile's sums of one block are exact int32, so row_add() sees what the vector kernels see, in the same order of blocks:
// the bits are theirs. What is left is the float arithmetic, which tiles do not speed up: formats with a scale for each 16
// values have twice as much of it, gained nothing on Sapphire Rapids and stay with the vector kernels.
enum {
    TILE_ROWS = 16,     // fewer rows go to the vector kernels
    TILE_BATCH = 128,   // rows that meet an expanded panel; a multiple of TILE_ROWS
    TILE_GROUPS = 4,    // groups expanded together, so that rows of x are read less often
    TILES_AHEAD = 3,    // blocks whose products are under way before the first is added up
};
enum { TILE_SUMS = TILE_ROWS * LINEAR_ROWS };

// Products of block b, a tile of sums for each plane to `out`.
INLINE void tile_block(tl_dtype t, bool wide, int64_t b, const uint8_t *e, const uint8_t *x, size_t stride, int32_t *out) {
    x += (size_t)b * (wide ? sizeof(act_q16) : sizeof(act_q8));
    e += b * EXPANDED;
    ti_dot(wide ? 0 : (int)(b & 1), t, x, stride, e, out);
    if (wide) ti_dot(1, t, x + ACT_BLOCK, stride, e, out + TILE_SUMS);
}

// n expanded blocks against 16 rows whose first block is at x; sums continue in sum[16][16].
INLINE void tile_panel(tl_dtype t, bool wide, const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {
    _Alignas(64) int32_t ring[(TILES_AHEAD + 1) * 2 * TILE_SUMS];
    const int planes = wide ? 2 : 1;
    size_t act = wide ? sizeof(act_q16) : sizeof(act_q8);
    VF acc[TILE_ROWS][HALVES];
    UNROLL
    for (int r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (int h = 0; h < HALVES; h++) acc[r][h] = vf_load(sum + LINEAR_ROWS * r + LANES * h);
    }
    for (int64_t b = -TILES_AHEAD; b < n; b++) {
        int64_t next = b + TILES_AHEAD;
        if (next < n) tile_block(t, wide, next, e, x, stride, ring + next % (TILES_AHEAD + 1) * planes * TILE_SUMS);
        if (b < 0) continue;
        const int32_t *dots = ring + b % (TILES_AHEAD + 1) * planes * TILE_SUMS;
        VF scale[HALVES], min[HALVES];
        UNROLL
        for (int h = 0; h < HALVES; h++) {
            const uint8_t *at = e + b * EXPANDED + 512 + 4 * LANES * h;
            scale[h] = vf_load(at);
            min[h] = has_min(t) ? vf_load(at + 64) : scale[h];
        }
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            VI dot[2][HALVES];
            UNROLL
            for (int i = 0; i < planes * HALVES; i++)
                dot[i / HALVES][i % HALVES] =
                    vi_load(dots + i / HALVES * TILE_SUMS + r * LINEAR_ROWS + LANES * (i % HALVES));
            row_add(t, wide, 0, scale, min, x + (size_t)r * stride + (size_t)b * act, dot[0], dot[1], acc[r]);
        }
    }
    UNROLL
    for (int r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (int h = 0; h < HALVES; h++) vf_store(sum + LINEAR_ROWS * r + LANES * h, acc[r][h]);
    }
}

// ---- instances -----------------------------------------------------------------------------------------
typedef void tiles_expand_fn(const uint8_t *g, int64_t b, int64_t n, uint8_t *to);
typedef void tiles_panel_fn(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum);
#define TILES_EXPAND(T) \
    static void tiles_expand_##T(const uint8_t *g, int64_t b, int64_t n, uint8_t *to) { expand(DT_##T, g, b, n, to); }
#define TILES_PANEL(T)                                                                                                 \
    static void tiles_panel_##T(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {            \
        tile_panel(DT_##T, false, e, n, x, stride, sum);                                                               \
    }                                                                                                                  \
    static void tiles_wide_##T(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {             \
        tile_panel(DT_##T, true, e, n, x, stride, sum);                                                                \
    }
TILES_EXPAND(Q4_0) TILES_EXPAND(Q4_1) TILES_EXPAND(Q5_0) TILES_EXPAND(Q5_1) TILES_EXPAND(Q8_0)
TILES_EXPAND(Q4_K) TILES_EXPAND(Q5_K)
TILES_PANEL(Q4_0) TILES_PANEL(Q4_1) TILES_PANEL(Q5_0) TILES_PANEL(Q8_0)

// E: the format whose expanded blocks are the same.
#define TILES_ENTRY(T, E) [DT_##T] = {tiles_expand_##T, {tiles_panel_##E, tiles_wide_##E}}
static const struct tiles_format {
    tiles_expand_fn *expand;
    tiles_panel_fn *panel[2]; // [wide]
} tiles_table[DT_COUNT] = {
    TILES_ENTRY(Q4_0, Q4_0), TILES_ENTRY(Q4_1, Q4_1), TILES_ENTRY(Q5_0, Q5_0), TILES_ENTRY(Q5_1, Q4_1),
    TILES_ENTRY(Q8_0, Q8_0), TILES_ENTRY(Q4_K, Q4_1), TILES_ENTRY(Q5_K, Q4_1),
};

// ---- the whole product -------------------------------------------------------------------------------
// Where tile i of `rows` rows (at least 16) begins: the last one goes back over rows that the one before it has, too.
static int64_t tile_start(int64_t i, int64_t rows) {
    return (i + 1) * TILE_ROWS <= rows ? i * TILE_ROWS : rows - TILE_ROWS;
}

// Groups of rows [n, n1) of W, 16 to TILE_BATCH rows of x.
static void tiles_batch(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy,
                        int64_t n, int64_t n1) {
    _Alignas(64) uint8_t panel[TILE_GROUPS][PANEL * EXPANDED];
    _Alignas(64) float sum[TILE_GROUPS][TILE_BATCH * LINEAR_ROWS]; // by tile
    const struct tiles_format *f = &tiles_table[w->type];
    int64_t blocks = w->k / ACT_BLOCK, groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t act = w->wide ? sizeof(act_q16) : sizeof(act_q8);
    for (int64_t i = 0; i < groups; i++) memset(sum[i], 0, (size_t)(tiles * TILE_ROWS) * LINEAR_ROWS * sizeof(float));
    for (int64_t b = 0; b < blocks; b += PANEL) {
        int64_t count = blocks - b < PANEL ? blocks - b : PANEL;
        for (int64_t i = 0; i < groups; i++) f->expand(linear_group(w, n + i * LINEAR_ROWS), b, count, panel[i]);
        for (int64_t t = 0; t < tiles; t++)
            for (int64_t i = 0; i < groups; i++)
                f->panel[w->wide](panel[i], count, x + (size_t)tile_start(t, rows) * stride + (size_t)b * act, stride,
                                  sum[i] + t * TILE_ROWS * LINEAR_ROWS);
    }
    for (int64_t i = 0; i < groups; i++, n += LINEAR_ROWS)
        for (int64_t t = 0; t < tiles; t++)
            for (int64_t r = 0; r < TILE_ROWS; r++)
                memcpy(y + (tile_start(t, rows) + r) * ldy + n, sum[i] + (t * TILE_ROWS + r) * LINEAR_ROWS,
                       (size_t)(n1 - n < LINEAR_ROWS ? n1 - n : LINEAR_ROWS) * sizeof(float));
}

// How many of `rows` rows the next batch takes: never so many that fewer than a tile's are left.
static int64_t next_batch(int64_t rows) {
    if (rows <= TILE_BATCH) return rows;
    return rows - TILE_BATCH < TILE_ROWS ? TILE_BATCH - TILE_ROWS : TILE_BATCH;
}

static bool tiles_apply(const cpu_matrix *w, int64_t rows) {
    return rows >= TILE_ROWS && w->layout == LINEAR_I16 && tiles_table[w->type].expand;
}

static void linear_tiles(const cpu_matrix *w, const uint8_t *x, int64_t rows, float *y, int64_t ldy, int64_t n0,
                         int64_t n1) {
    size_t stride = act_bytes(w->wide ? ACT_Q16 : ACT_Q8, w->k);
    ti_begin();
    for (int64_t n = n0; n < n1; n += TILE_GROUPS * LINEAR_ROWS) {
        int64_t end = n1 - n < TILE_GROUPS * LINEAR_ROWS ? n1 : n + TILE_GROUPS * LINEAR_ROWS;
        for (int64_t r = 0, count; r < rows; r += count) {
            count = next_batch(rows - r);
            tiles_batch(w, x + (size_t)r * stride, stride, count, y + r * ldy, ldy, n, end);
        }
    }
    ti_end();
}
