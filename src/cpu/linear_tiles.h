// linear_tiles.h - linear() over LINEAR_I16 with matrix tiles, for TILE_ROWS rows of x and more: included by linear_amx.c
// and linear_i8mm.c (and by a test, in plain C) after linear_codes.h and these:
//   ti_begin()   this thread's tiles become [16 rows, 32 int8] x [8, 16 lanes of 4 int8]
//   ti_dot(slot, t, x, codes, out), ti_store(slot, out)   after both out[16 rows][16 lanes] = 16 rows of 32 int8 side by side at x
//                times codes of format t; `slot`: 2 * (which of two x) + which of two codes, new ones are read from memory with
//                codes 0 and x 0 only; before ti_store() other slots may be used
//   ti_end()     gives the tiles back
//
// An expanded block is a tile as it lies: 8 vectors of 16 lanes, 4 consecutive k each; 16 rows of activations are copied side
// by side. A tile's sums of one block are exact int32, so row_sum() sees what the vector kernels see, in the same order of
// blocks: the bits are theirs. What is left is the float arithmetic, which tiles do not speed up: formats with a scale for each
// 16 values have twice as much of it, gained nothing on Sapphire Rapids and stay with the vector kernels.
//
// Two tiles of rows meet two groups at once, so that a tile that was loaded serves two products: loading is what costs most. Their
// sums are too many for the registers: products of a job (a few blocks) wait in the first cache while the job before is scaled,
// a piece at a time. Products and scaling take turns, so that little has to be in flight for both to be under way; a product is
// stored when the next one has begun.
enum {
    TILE_ROWS = 16,    // fewer rows go to the vector kernels
    TILE_BATCH = 256,  // rows that meet an expanded panel; a multiple of 2 * TILE_ROWS
    TILE_GROUPS = 16,  // groups expanded together, an even number, so that rows of x are copied less often
    JOB_PRODUCTS = 8,  // 4 for each block and plane
    PIECE_ROWS = LANES < 16 ? 4 : 8,   // rows and
    PIECE_GROUPS = LANES < 16 ? 1 : 2, // groups whose float sums are in registers together
    PIECES = 2 * TILE_ROWS / PIECE_ROWS * 2 / PIECE_GROUPS,
};
enum { TILE_SUMS = TILE_ROWS * LINEAR_ROWS };

// One block of 16 rows of x: their (high) plane as a tile reads it, and for each row what row_sum() takes.
typedef struct tile_rows {
    _Alignas(64) uint8_t plane[TILE_ROWS * ACT_BLOCK];
    float d[TILE_ROWS], add[TILE_ROWS]; // ds where there is a min, else -zero * ds
} tile_rows;
typedef struct tile_low { // the low plane
    _Alignas(64) uint8_t plane[TILE_ROWS * ACT_BLOCK];
} tile_low;
_Static_assert(sizeof(tile_rows) % 64 == 0, "tiles begin at lines");

// Those of n blocks of 16 rows whose first block is at x.
INLINE void tile_copy(tl_dtype t, bool wide, const uint8_t *x, size_t stride, int64_t n, tile_rows *to, tile_low *low) {
    const float factor = has_min(t) ? 1 : (float)-zero_of(t);
    const int planes = wide ? 2 : 1;
    for (int r = 0; r < TILE_ROWS; r++, x += stride) {
        const uint8_t *p = x;
        for (int64_t b = 0; b < n; b++, p += wide ? sizeof(act_q16) : sizeof(act_q8)) {
            float tail[2]; // d, ds
            memcpy(tail, p + planes * ACT_BLOCK, sizeof tail);
            memcpy(to[b].plane + r * ACT_BLOCK, p, ACT_BLOCK);
            if (wide) memcpy(low[b].plane + r * ACT_BLOCK, p + ACT_BLOCK, ACT_BLOCK);
            to[b].d[r] = tail[0];
            to[b].add[r] = factor * tail[1];
        }
    }
}

// Two groups' blocks against two tiles of rows.
typedef struct tile_work {
    int tiles, groups;   // how many of the two are there
    int64_t n;           // blocks
    const uint8_t *e;    // [2][PANEL] expanded
    const tile_rows *x;  // [2][PANEL]
    const tile_low *low; // [2][PANEL], wide ones only
    float *sum;          // [2 tiles][TILE_GROUPS][16][16]
    int32_t *ring;       // [2][JOB_PRODUCTS][TILE_SUMS]
} tile_work;

INLINE int job_blocks(bool wide) { return wide ? 1 : 2; }

// Product i of a job, where there is one: of block i / 4 (plane i / 4 of the one block), tile i / 2 % 2, group i % 2.
INLINE int64_t product_block(bool wide, int64_t job, int i) { return job * job_blocks(wide) + (wide ? 0 : i / 4); }
INLINE bool product_there(bool wide, const tile_work *w, int64_t job, int i) {
    return product_block(wide, job, i) < w->n && i / 2 % 2 < w->tiles && i % 2 < w->groups;
}
INLINE int32_t *product_sums(const tile_work *w, int64_t job, int i) { return w->ring + (job % 2 * JOB_PRODUCTS + i) * TILE_SUMS; }

INLINE void product_make(tl_dtype t, bool wide, const tile_work *w, int64_t job, int i) {
    if (!product_there(wide, w, job, i)) return;
    int64_t b = product_block(wide, job, i), at = i / 2 % 2 * PANEL + b;
    ti_dot(i % 4, t, wide && i / 4 ? w->low[at].plane : w->x[at].plane, w->e + (i % 2 * PANEL + b) * EXPANDED, product_sums(w, job, i));
}

INLINE void product_store(bool wide, const tile_work *w, int64_t job, int i) {
    if (product_there(wide, w, job, i)) ti_store(i % 4, product_sums(w, job, i));
}

// Scales one block of a piece: PIECE_ROWS rows from row r0 of a tile on, PIECE_GROUPS groups, e the first one's block.
INLINE void piece_block(tl_dtype t, bool wide, const uint8_t *e, const tile_rows *x, int r0, const int32_t *dots,
                        VF acc[PIECE_GROUPS][PIECE_ROWS][HALVES]) {
    VF scale[PIECE_GROUPS][HALVES], min[PIECE_GROUPS][HALVES];
    UNROLL
    for (int i = 0; i < PIECE_GROUPS; i++) {
        UNROLL
        for (int h = 0; h < HALVES; h++) {
            const uint8_t *at = e + i * (PANEL * EXPANDED) + 512 + 4 * LANES * h;
            scale[i][h] = vf_load(at);
            min[i][h] = has_min(t) ? vf_load(at + 64) : scale[i][h];
        }
    }
    UNROLL
    for (int r = 0; r < PIECE_ROWS; r++) {
        VF d = vf_bcast(x->d + r0 + r), add = vf_bcast(x->add + r0 + r);
        UNROLL
        for (int i = 0; i < PIECE_GROUPS; i++) {
            VI dot[HALVES], low[HALVES];
            UNROLL
            for (int h = 0; h < HALVES; h++) {
                const int32_t *at = dots + i * TILE_SUMS + (r0 + r) * LINEAR_ROWS + LANES * h;
                dot[h] = vi_load(at);
                low[h] = wide ? vi_load(at + 4 * TILE_SUMS) : dot[h];
            }
            row_sum(t, wide, scale[i], min[i], d, add, add, dot, low, acc[i][r]);
        }
    }
}

// Products of `job` and the scaling of the job before in turn; `make`, `scale`: whether there are such.
INLINE void tile_job(tl_dtype t, bool wide, bool make, bool scale, const tile_work *w, int64_t job) {
    const int blocks = job_blocks(wide);
    const int32_t *dots = product_sums(w, job + 1, 0); // the job before had the other half
    int64_t first = (job - 1) * blocks;
    UNROLL
    for (int p = 0, made = 0; p < PIECES; p++) {
        const int halves = TILE_ROWS / PIECE_ROWS, tile = p / (PIECES / 2), r0 = p % halves * PIECE_ROWS;
        const int group = PIECE_GROUPS == 2 ? 0 : p / halves % 2, due = (p + 1) * JOB_PRODUCTS / PIECES;
        float *sum = w->sum + (tile * TILE_GROUPS + group) * TILE_SUMS + r0 * LINEAR_ROWS;
        bool there = scale && tile < w->tiles && group < w->groups;
        VF acc[PIECE_GROUPS][PIECE_ROWS][HALVES];
        if (there) {
            UNROLL
            for (int r = 0; r < PIECE_ROWS; r++) {
                UNROLL
                for (int i = 0; i < PIECE_GROUPS * HALVES; i++)
                    acc[i / HALVES][r][i % HALVES] = vf_load(sum + i / HALVES * TILE_SUMS + r * LINEAR_ROWS + i % HALVES * LANES);
            }
        }
        UNROLL
        for (int b = 0; b < blocks; b++) {
            if (make) {
                UNROLL
                for (; made < due - (blocks - 1 - b); made++) {
                    product_make(t, wide, w, job, made);
                    if (made) product_store(wide, w, job, made - 1);
                }
            }
            if (there && first + b < w->n)
                piece_block(t, wide, w->e + (group * PANEL + first + b) * EXPANDED, w->x + tile * PANEL + first + b, r0,
                            dots + (4 * b + 2 * tile + group) * TILE_SUMS, acc);
        }
        if (there) {
            UNROLL
            for (int r = 0; r < PIECE_ROWS; r++) {
                UNROLL
                for (int i = 0; i < PIECE_GROUPS * HALVES; i++)
                    vf_store(sum + i / HALVES * TILE_SUMS + r * LINEAR_ROWS + i % HALVES * LANES, acc[i / HALVES][r][i % HALVES]);
            }
        }
    }
    if (make) product_store(wide, w, job, JOB_PRODUCTS - 1);
}

// Sums continue in work->sum. Without a second group its sums have no meaning.
INLINE void tile_panel(tl_dtype t, bool wide, const tile_work *w) {
    int64_t jobs = (w->n + job_blocks(wide) - 1) / job_blocks(wide);
    tile_job(t, wide, true, false, w, 0);
    for (int64_t job = 1; job < jobs; job++) tile_job(t, wide, true, true, w, job);
    tile_job(t, wide, false, true, w, jobs);
}

// ---- instances -----------------------------------------------------------------------------------------
typedef void tiles_expand_fn(const uint8_t *g, int64_t b, int64_t n, uint8_t *to);
typedef void tiles_copy_fn(const uint8_t *x, size_t stride, int64_t n, tile_rows *to, tile_low *low);
typedef void tiles_panel_fn(const tile_work *w);
#define TILES_EXPAND(T) \
    static void tiles_expand_##T(const uint8_t *g, int64_t b, int64_t n, uint8_t *to) { expand(DT_##T, g, b, n, to); }
#define TILES_PANEL(T, WIDE)                                                                                           \
    static void tiles_copy_##T##_##WIDE(const uint8_t *x, size_t stride, int64_t n, tile_rows *to, tile_low *low) {                   \
        tile_copy(DT_##T, WIDE, x, stride, n, to, low);                                                                  \
    }                                                                                                                  \
    static void tiles_panel_##T##_##WIDE(const tile_work *w) { tile_panel(DT_##T, WIDE, w); }
TILES_EXPAND(Q4_0) TILES_EXPAND(Q4_1) TILES_EXPAND(Q5_0) TILES_EXPAND(Q5_1) TILES_EXPAND(Q8_0)
TILES_EXPAND(Q4_K) TILES_EXPAND(Q5_K)
TILES_PANEL(Q4_0, 0) TILES_PANEL(Q4_1, 0) TILES_PANEL(Q5_0, 0) TILES_PANEL(Q8_0, 0)
TILES_PANEL(Q4_0, 1) TILES_PANEL(Q4_1, 1) TILES_PANEL(Q5_0, 1) TILES_PANEL(Q8_0, 1)

// E: the format whose expanded blocks are the same.
#define TILES_ENTRY(T, E) \
    [DT_##T] = {tiles_expand_##T, {tiles_copy_##E##_0, tiles_copy_##E##_1}, {tiles_panel_##E##_0, tiles_panel_##E##_1}}
static const struct tiles_format {
    tiles_expand_fn *expand;
    tiles_copy_fn *copy[2]; // [wide]
    tiles_panel_fn *panel[2];
} tiles_table[DT_COUNT] = {
    TILES_ENTRY(Q4_0, Q4_0), TILES_ENTRY(Q4_1, Q4_1), TILES_ENTRY(Q5_0, Q5_0), TILES_ENTRY(Q5_1, Q4_1),
    TILES_ENTRY(Q8_0, Q8_0), TILES_ENTRY(Q4_K, Q4_1), TILES_ENTRY(Q5_K, Q4_1),
};

// ---- the whole product -------------------------------------------------------------------------------
// Where tile i of `rows` rows (at least 16) begins: the last one goes back over rows that the one before it has, too.
static int64_t tile_start(int64_t i, int64_t rows) {
    return (i + 1) * TILE_ROWS <= rows ? i * TILE_ROWS : rows - TILE_ROWS;
}

static int at_most(int64_t n, int most) { return n < most ? (int)n : most; }

// Blocks of x that are copied next: a few rows of them are asked for before each panel.
typedef struct tiles_next {
    const uint8_t *at;
    size_t stride, bytes;
    int rows;
} tiles_next;

static void tiles_fetch(tiles_next *next, int64_t calls) {
    for (int64_t i = (2 * TILE_ROWS + calls - 1) / calls; i > 0 && next->rows > 0; i--, next->rows--, next->at += next->stride)
        for (size_t j = 0; j < next->bytes + 63; j += 64) __builtin_prefetch(next->at + j);
}

// Groups of rows [n, n1) of W, 16 to TILE_BATCH rows of x.
static void tiles_batch(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy,
                        int64_t n, int64_t n1) {
    _Alignas(64) uint8_t panel[TILE_GROUPS][PANEL * EXPANDED];
    _Alignas(64) float sum[TILE_BATCH / TILE_ROWS][TILE_GROUPS][TILE_SUMS];
    _Alignas(64) int32_t ring[2 * JOB_PRODUCTS * TILE_SUMS];
    tile_rows copy[2][PANEL];
    tile_low low[2][PANEL];
    const struct tiles_format *f = &tiles_table[w->type];
    int64_t blocks = w->k / ACT_BLOCK, groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    int64_t tiles = (rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t act = w->wide ? sizeof(act_q16) : sizeof(act_q8);
    tiles_next next = {.stride = stride, .bytes = PANEL * act};
    for (int64_t t = 0; t < tiles; t++) memset(sum[t], 0, (size_t)groups * sizeof sum[t][0]);
    for (int64_t b = 0; b < blocks; b += PANEL) {
        int64_t count = blocks - b < PANEL ? blocks - b : PANEL;
        for (int64_t i = 0; i < groups; i++) f->expand(linear_group(w, n + i * LINEAR_ROWS), b, count, panel[i]);
        for (int64_t t = 0; t < tiles; t += 2) {
            tile_work work = {.tiles = t + 1 < tiles ? 2 : 1, .n = count, .x = copy[0], .low = low[0], .ring = ring};
            for (int i = 0; i < work.tiles; i++)
                f->copy[w->wide](x + (size_t)tile_start(t + i, rows) * stride + (size_t)b * act, stride, count, copy[i], low[i]);
            if (t + 2 < tiles) next.at = x + (size_t)tile_start(t + 2, rows) * stride + (size_t)b * act;
            else next.at = x + (size_t)(b + count) * act;
            next.rows = t + 2 < tiles || b + count < blocks ? at_most(rows, 2 * TILE_ROWS) : 0;
            for (int64_t i = 0; i < groups; i += 2) {
                work.groups = i + 1 < groups ? 2 : 1;
                work.e = panel[i];
                work.sum = sum[t][i];
                tiles_fetch(&next, (groups + 1) / 2);
                f->panel[w->wide](&work);
            }
        }
    }
    for (int64_t r = 0; r < tiles * TILE_ROWS; r++)
        for (int64_t i = 0; i < groups; i++) {
            int64_t at = n + i * LINEAR_ROWS, t = r / TILE_ROWS;
            float *to = y + (tile_start(t, rows) + r % TILE_ROWS) * ldy + at;
            const float *from = sum[t][i] + r % TILE_ROWS * LINEAR_ROWS;
            if (n1 - at >= LINEAR_ROWS) memcpy(to, from, LINEAR_ROWS * sizeof *to);
            else memcpy(to, from, (size_t)(n1 - at) * sizeof *to);
        }
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
    for (int64_t r = 0, count; r < rows; r += count) {
        count = next_batch(rows - r);
        for (int64_t n = n0; n < n1; n += TILE_GROUPS * LINEAR_ROWS) {
            int64_t end = n1 - n < TILE_GROUPS * LINEAR_ROWS ? n1 : n + TILE_GROUPS * LINEAR_ROWS;
            tiles_batch(w, x + (size_t)r * stride, stride, count, y + r * ldy, ldy, n, end);
        }
    }
    ti_end();
}
