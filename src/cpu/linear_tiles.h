// linear_tiles.h - linear() over LINEAR_I16 with matrix tiles, for TILE_ROWS rows of x and more: included by linear_amx.c
// and linear_i8mm.c (and by a test, in plain C) after linear_codes.h and these:
//   ti_begin()   this thread's tiles become [16 rows, 32 int8] x [8, 16 lanes of 4 int8]
//   ti_dot(slot, t, x, codes, out), ti_store(slot, out)   after both out[16 rows][16 lanes] = 16 rows of 32 int8 side by side at x
//                times codes of format t; `slot`: 2 * (which of two x) + which of two codes, new ones are read from memory with
//                codes 0 and x 0 only; before ti_store() other slots may be used
//   ti_end()     gives the tiles back
//
// An expanded block is a tile as it lies: 8 vectors of 16 lanes, 4 consecutive k each. Rows of activations lie side by side as act.h
// says (act_tile8): by act_tile() for all matrices that read them, else copied once for some groups. A tile's sums of one block are
// exact int32, so row_sum() sees what the vector kernels see, in the same order of blocks: the bits are theirs. What is left is the
// float arithmetic, which tiles do not speed up: formats with a scale for each 16 values have twice as much of it, gained nothing on
// Sapphire Rapids and stay with the vector kernels.
//
// Two tiles of rows meet two groups at once, so that a tile that was loaded serves two products: loading is what costs most. Their
// sums are too many for the registers: products of a job (a few blocks) wait in the first cache while the job before is scaled,
// a piece at a time. Products and scaling take turns, so that little has to be in flight for both to be under way; a product is
// stored when the next one has begun.
enum {
    TILE_ROWS = CPU_TILE, // fewer rows go to the vector kernels
    TILE_BATCH = 256,  // rows that meet an expanded panel; a multiple of 2 * TILE_ROWS
    TILE_GROUPS = 16,  // groups expanded together, an even number
    JOB_PRODUCTS = 8,  // 4 for each block and plane
    PIECE_ROWS = LANES < 16 ? 4 : 8,   // rows and
    PIECE_GROUPS = LANES < 16 ? 1 : 2, // groups whose float sums are in registers together
    PIECES = 2 * TILE_ROWS / PIECE_ROWS * 2 / PIECE_GROUPS,
    TILE_CHUNK = 32,   // blocks of a row that are quantized before they go to their tile
};
enum { TILE_SUMS = TILE_ROWS * LINEAR_ROWS };

INLINE act_kind tile_kind(bool wide) { return wide ? ACT_Q16 : ACT_Q8; }

// Two groups' blocks against two tiles of rows.
typedef struct tile_work {
    int tiles, groups;    // how many of the two are there
    int rows[2];          // of each tile
    int64_t n;            // blocks
    const uint8_t *e;     // [2][PANEL] expanded
    const uint8_t *x[2];  // each tile's blocks
    const float *add;     // [2][PANEL][16] what row_sum() takes besides d: ds where there is a min, else -zero * ds
    bool first;           // sums begin at 0
    float *sum;           // [2 tiles][TILE_GROUPS][16][16]
    float *y[2];          // where the tiles' sums go in the end, rows ldy apart; NULL: not the end, they stay in `sum`
    int64_t ldy;
    int32_t *ring;        // [2][JOB_PRODUCTS][TILE_SUMS]
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
    int64_t b = product_block(wide, job, i);
    const uint8_t *x = w->x[i / 2 % 2] + (size_t)b * act_tile_bytes(tile_kind(wide));
    if (wide && i / 4) x += offsetof(act_tile16, lo);
    ti_dot(i % 4, t, x, w->e + (i % 2 * PANEL + b) * EXPANDED, product_sums(w, job, i));
}

INLINE void product_store(bool wide, const tile_work *w, int64_t job, int i) {
    if (product_there(wide, w, job, i)) ti_store(i % 4, product_sums(w, job, i));
}

// Scales one block of a piece: PIECE_ROWS rows, PIECE_GROUPS groups, e the first one's block. d, adds, dots: of the first row.
INLINE void piece_block(tl_dtype t, bool wide, const uint8_t *e, const float *d_of, const float *add_of, const int32_t *dots,
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
        VF d = vf_bcast(d_of + r), add = vf_bcast(add_of + r);
        UNROLL
        for (int i = 0; i < PIECE_GROUPS; i++) {
            VI dot[HALVES], low[HALVES];
            UNROLL
            for (int h = 0; h < HALVES; h++) {
                const int32_t *at = dots + i * TILE_SUMS + r * LINEAR_ROWS + LANES * h;
                dot[h] = vi_load(at);
                low[h] = wide ? vi_load(at + 4 * TILE_SUMS) : dot[h];
            }
            row_sum(t, wide, scale[i], min[i], d, add, add, dot, low, acc[i][r]);
        }
    }
}

// A piece's sums: PIECE_ROWS rows of a group at `sum`, those of a second group TILE_SUMS further on.
typedef VF piece_sums[PIECE_GROUPS][PIECE_ROWS][HALVES];
INLINE void piece_load(const float *sum, piece_sums acc) {
    UNROLL
    for (int r = 0; r < PIECE_ROWS; r++) {
        UNROLL
        for (int i = 0; i < PIECE_GROUPS * HALVES; i++)
            acc[i / HALVES][r][i % HALVES] = vf_load(sum + i / HALVES * TILE_SUMS + r * LINEAR_ROWS + i % HALVES * LANES);
    }
}

INLINE void piece_zero(piece_sums acc) {
    UNROLL
    for (int i = 0; i < PIECE_ROWS * PIECE_GROUPS * HALVES; i++) acc[i / HALVES % PIECE_GROUPS][i / HALVES / PIECE_GROUPS][i % HALVES] = vf_splat(0);
}

INLINE void piece_keep(float *sum, piece_sums acc) {
    UNROLL
    for (int r = 0; r < PIECE_ROWS; r++) {
        UNROLL
        for (int i = 0; i < PIECE_GROUPS * HALVES; i++)
            vf_store(sum + i / HALVES * TILE_SUMS + r * LINEAR_ROWS + i % HALVES * LANES, acc[i / HALVES][r][i % HALVES]);
    }
}

INLINE void piece_out(float *y, int64_t ldy, int rows, int groups, piece_sums acc) { // those that are there
    UNROLL
    for (int r = 0; r < PIECE_ROWS; r++) {
        if (r >= rows) break;
        UNROLL
        for (int i = 0; i < PIECE_GROUPS * HALVES; i++)
            if (i / HALVES < groups) vf_store(y + r * ldy + i / HALVES * LINEAR_ROWS + i % HALVES * LANES, acc[i / HALVES][r][i % HALVES]);
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
        piece_sums acc;
        if (there) {
            if (w->first && job == 1) piece_zero(acc);
            else piece_load(sum, acc);
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
            if (there && first + b < w->n) {
                const act_tile8 *x = (const act_tile8 *)(const void *)(w->x[tile] + (size_t)(first + b) * act_tile_bytes(tile_kind(wide)));
                piece_block(t, wide, w->e + (group * PANEL + first + b) * EXPANDED, x->d + r0, w->add + (tile * PANEL + first + b) * TILE_ROWS + r0,
                            dots + (4 * b + 2 * tile + group) * TILE_SUMS + r0 * LINEAR_ROWS, acc);
            }
        }
        if (there) {
            if (!make && w->y[tile]) piece_out(w->y[tile] + r0 * w->ldy + group * LINEAR_ROWS, w->ldy, w->rows[tile] - r0, w->groups - group, acc);
            else piece_keep(sum, acc);
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
typedef void tiles_panel_fn(const tile_work *w);
#define TILES_EXPAND(T) \
    static void tiles_expand_##T(const uint8_t *g, int64_t b, int64_t n, uint8_t *to) { expand(DT_##T, g, b, n, to); }
#define TILES_PANEL(T, WIDE) \
    static void tiles_panel_##T##_##WIDE(const tile_work *w) { tile_panel(DT_##T, WIDE, w); }
TILES_EXPAND(Q4_0) TILES_EXPAND(Q4_1) TILES_EXPAND(Q5_0) TILES_EXPAND(Q5_1) TILES_EXPAND(Q8_0)
TILES_EXPAND(Q4_K) TILES_EXPAND(Q5_K)
TILES_PANEL(Q4_0, 0) TILES_PANEL(Q4_1, 0) TILES_PANEL(Q5_0, 0) TILES_PANEL(Q8_0, 0)
TILES_PANEL(Q4_0, 1) TILES_PANEL(Q4_1, 1) TILES_PANEL(Q5_0, 1) TILES_PANEL(Q8_0, 1)

// E: the format whose expanded blocks are the same.
#define TILES_ENTRY(T, E) [DT_##T] = {tiles_expand_##T, {tiles_panel_##E##_0, tiles_panel_##E##_1}}
static const struct tiles_format {
    tiles_expand_fn *expand;
    tiles_panel_fn *panel[2]; // [wide]
} tiles_table[DT_COUNT] = {
    TILES_ENTRY(Q4_0, Q4_0), TILES_ENTRY(Q4_1, Q4_1), TILES_ENTRY(Q5_0, Q5_0), TILES_ENTRY(Q5_1, Q4_1),
    TILES_ENTRY(Q8_0, Q8_0), TILES_ENTRY(Q4_K, Q4_1), TILES_ENTRY(Q5_K, Q4_1),
};

// ---- the whole product -------------------------------------------------------------------------------
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

// A tile of up to 16 rows of activations as they lie, n blocks of them from x on.
static void tiles_copy(act_kind kind, const uint8_t *x, size_t stride, int rows, int64_t n, uint8_t *to) {
    for (int r = 0; r < rows; r++) act_tile_put(kind, x + (size_t)r * stride, n, to, r);
    for (int64_t b = 0; b < n; b++) {
        act_tile8 *t = (act_tile8 *)(void *)(to + (size_t)b * act_tile_bytes(kind));
        for (int r = rows; r < TILE_ROWS; r++) t->d[r] = t->ds[r] = 0;
    }
}

static void tiles_add(tl_dtype t, act_kind kind, const uint8_t *x, int64_t n, float *add) { // tile_work.add of a tile
    VF factor = vf_splat(has_min(t) ? 1 : (float)-zero_of(t));
    for (int64_t b = 0; b < n; b++)
        for (int r = 0; r < TILE_ROWS; r += LANES)
            vf_store(add + b * TILE_ROWS + r, vf_mul(factor, vf_load(x + (size_t)b * act_tile_bytes(kind) + offsetof(act_tile8, ds) + (size_t)r * sizeof(float))));
}

// What a call is about. x: tiles, or rows as they lie.
typedef struct tiles_call {
    const cpu_matrix *w;
    const uint8_t *x;
    bool tiled;
    act_kind kind;
    int64_t rows;
    float *y;
    int64_t ldy;
} tiles_call;

// Groups of rows [n, n1) of W, up to TILE_BATCH rows of x.
static void tiles_batch(const tiles_call *c, int64_t n, int64_t n1) {
    _Alignas(64) uint8_t panel[TILE_GROUPS][PANEL * EXPANDED];
    _Alignas(64) float sum[TILE_BATCH / TILE_ROWS][TILE_GROUPS][TILE_SUMS];
    _Alignas(64) int32_t ring[2 * JOB_PRODUCTS * TILE_SUMS];
    _Alignas(64) uint8_t copy[2][PANEL * sizeof(act_tile16)];
    _Alignas(64) float add[2][PANEL][TILE_ROWS];
    const cpu_matrix *w = c->w;
    const struct tiles_format *f = &tiles_table[w->type];
    int64_t blocks = w->k / ACT_BLOCK, groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    int64_t tiles = (c->rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t act = w->wide ? sizeof(act_q16) : sizeof(act_q8), stride = act_bytes(c->kind, w->k);
    tiles_next next = {.stride = stride, .bytes = PANEL * act};
    for (int64_t b = 0; b < blocks; b += PANEL) {
        int64_t count = blocks - b < PANEL ? blocks - b : PANEL;
        for (int64_t i = 0; i < groups; i++) f->expand(linear_group(w, n + i * LINEAR_ROWS), b, count, panel[i]);
        for (int64_t t = 0; t < tiles; t += 2) {
            tile_work work = {.tiles = t + 1 < tiles ? 2 : 1, .n = count, .add = add[0][0], .ring = ring, .first = b == 0, .ldy = c->ldy};
            for (int i = 0; i < work.tiles; i++) {
                const uint8_t *x = c->x + (size_t)((t + i) * TILE_ROWS) * stride;
                work.rows[i] = at_most(c->rows - (t + i) * TILE_ROWS, TILE_ROWS);
                if (!c->tiled) tiles_copy(c->kind, x + (size_t)b * act, stride, work.rows[i], count, copy[i]);
                work.x[i] = c->tiled ? x + (size_t)b * act_tile_bytes(c->kind) : copy[i];
                tiles_add(w->type, c->kind, work.x[i], count, add[i][0]);
            }
            int64_t left = c->rows - (t + 2) * TILE_ROWS;
            if (left > 0) next.at = c->x + (size_t)((t + 2) * TILE_ROWS) * stride + (size_t)b * act;
            else next.at = c->x + (size_t)(b + count) * act;
            next.rows = c->tiled || (left <= 0 && b + count == blocks) ? 0 : at_most(left > 0 ? left : c->rows, 2 * TILE_ROWS);
            for (int64_t i = 0; i < groups; i += 2) {
                int64_t at = n + i * LINEAR_ROWS;
                work.groups = i + 1 < groups ? 2 : 1;
                work.e = panel[i];
                work.sum = sum[t][i];
                bool out = b + count == blocks && n1 - at >= work.groups * LINEAR_ROWS;
                for (int j = 0; j < work.tiles; j++) work.y[j] = out ? c->y + (t + j) * TILE_ROWS * c->ldy + at : NULL;
                tiles_fetch(&next, (groups + 1) / 2);
                f->panel[w->wide](&work);
            }
        }
    }
    int64_t last = (groups - 1) / 2 * 2; // a pair of groups with a part of a group
    for (int64_t i = last; n1 - n < groups * LINEAR_ROWS && i < groups; i++)
        for (int64_t r = 0; r < c->rows; r++) {
            int64_t at = n + i * LINEAR_ROWS;
            memcpy(c->y + r * c->ldy + at, sum[r / TILE_ROWS][i] + r % TILE_ROWS * LINEAR_ROWS, (size_t)at_most(n1 - at, LINEAR_ROWS) * sizeof(float));
        }
}

static bool tiles_have(const cpu_matrix *w) { return w->layout == LINEAR_I16 && tiles_table[w->type].expand; }
static bool tiles_apply(const cpu_matrix *w, int64_t rows) { return rows >= TILE_ROWS && tiles_have(w); }

static void tiles_call_run(const cpu_matrix *w, const uint8_t *x, bool tiled, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    tiles_call c = {.w = w, .tiled = tiled, .kind = tile_kind(w->wide), .ldy = ldy};
    size_t stride = act_bytes(c.kind, w->k);
    int64_t batches = (rows + TILE_BATCH - 1) / TILE_BATCH, tiles = (rows + TILE_ROWS - 1) / TILE_ROWS, each = (tiles + batches - 1) / batches * TILE_ROWS;
    ti_begin();
    for (int64_t r = 0; r < rows; r += each) { // of about equal size
        c.x = x + (size_t)r * stride;
        c.y = y + r * ldy;
        c.rows = rows - r < each ? rows - r : each;
        for (int64_t n = n0; n < n1; n += TILE_GROUPS * LINEAR_ROWS)
            tiles_batch(&c, n, n1 - n < TILE_GROUPS * LINEAR_ROWS ? n1 : n + TILE_GROUPS * LINEAR_ROWS);
    }
    ti_end();
}

static void linear_tiles(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    tiles_call_run(w, x, false, rows, y, ldy, n0, n1);
}

static void linear_tiled(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    tiles_call_run(w, x, true, rows, y, ldy, n0, n1);
}

// kernels.h, act_tile(), by this instruction set's act_quantize().
INLINE void tiles_quantize(void (*quantize)(act_kind kind, const float *x, void *dst, int64_t k), act_kind kind, const float *x, void *dst, int64_t k, int64_t row) {
    _Alignas(64) act_q16 some[TILE_CHUNK];
    uint8_t *to = (uint8_t *)dst + (size_t)(row / TILE_ROWS * TILE_ROWS) * act_bytes(kind, k);
    if (!x) memset(some, 0, sizeof some);
    for (int64_t i = 0; i < k; i += TILE_CHUNK * ACT_BLOCK, to += TILE_CHUNK * act_tile_bytes(kind)) {
        int64_t n = k - i < TILE_CHUNK * ACT_BLOCK ? k - i : TILE_CHUNK * ACT_BLOCK;
        if (x) quantize(kind, x + i, some, n);
        act_tile_put(kind, some, act_blocks(n), to, (int)(row % TILE_ROWS));
    }
}
