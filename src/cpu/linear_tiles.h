// linear_tiles.h - linear() over LINEAR_I16 with matrix tiles, for TILE_ROWS rows of x and more: included by linear_amx.c
// and linear_i8mm.c (and by a test, in plain C) after linear_codes.h and these:
//   ti_begin()   this thread's tiles become [16 rows, 32 int8] x [8, 16 lanes of 4 int8]
//   ti_load_x(i, x), ti_load_codes(i, codes)   x i of two: 16 rows of 32 int8 side by side; codes i of four, signed
//   ti_dot(slot, i, x, j, codes, out), ti_store(slot, out)   after both out[16 rows][16 lanes] = x i times codes j, which lie where
//                they were loaded from, at x and codes; slot: one of two, a product begins in one while the other one's is stored
//   ti_end()     gives the tiles back
//
// An expanded block is a tile as it lies: 8 vectors of 16 lanes, 4 consecutive k each, less the format's zero. Rows of activations lie
// side by side as act.h says (act_tile8): by act_tile() for all matrices that read them, else copied for each call. A tile's
// sums of one block are exact int32, so scaled() sees what the vector kernels see, in the same order of blocks: the bits are theirs.
// What is left is the float arithmetic, which tiles do not speed up: formats with a scale for each 16 values have twice as much of
// it, gained nothing on Sapphire Rapids and stay with the vector kernels.
//
// Two tiles of rows meet two groups at once, so that a tile that was loaded serves two products: loading is what costs most. Their
// sums are too many for the registers: a job's products (of a few blocks) wait in the first cache until they are scaled, a piece at a
// time, and there as little as can be (a neighbour on the core's other thread takes half of it): a ring of one job's products,
// whose places are free again before the next job needs them. Products and scaling take turns, so that little has to be in flight for
// both to be under way. No product waits for a tile: half a turn after one has begun, a tile for one of the next is loaded and the
// product before it stored. Jobs follow each other without a break from one pair of groups to the next. What remains is a matter of
// how few instructions there are: a step is a function of its own, where registers suffice.
enum {
    TILE_ROWS = CPU_TILE, // fewer rows go to the vector kernels
    TILE_BATCH = 256,  // rows that meet an expanded panel; a multiple of 2 * TILE_ROWS
    TILE_GROUPS = 16,  // groups expanded together, an even number
    JOB_PRODUCTS = 8,  // 4 of each tile: of two groups and two blocks, or planes of one
    PIECE_ROWS = LANES < 16 ? 4 : 8,   // rows and
    PIECE_GROUPS = LANES < 16 ? 1 : 2, // groups whose float sums are in registers together
    PIECES = 2 * TILE_ROWS / PIECE_ROWS * 2 / PIECE_GROUPS,
    PIECES_LATER = PIECES / 2, // a tile is scaled while the next one's products are made
    TILE_CHUNK = 32,   // blocks of a row that are quantized before they go to their tile
};
enum { TILE_SUMS = TILE_ROWS * LINEAR_ROWS };

INLINE act_kind tile_kind(bool wide) { return wide ? ACT_Q16 : ACT_Q8; }
INLINE int job_blocks(bool wide) { return wide ? 1 : 2; }

// A few blocks of two groups against two tiles of rows.
typedef struct tile_job {
    const uint8_t *e;    // the first group's first block, expanded; the second group's is a panel further on
    const uint8_t *x[2]; // each tile's first block
    const float *from;   // the sums so far, as they lie at `sum`, or zeros
    float *sum;          // [2 tiles][2 groups][16][16]
    int tile, group;     // the first ones
    int64_t b;           // the first block
    int64_t left;        // blocks, tiles and groups from these on: there may be fewer than a job takes
    int tiles, groups;
    float *y;            // where sums go when this job has made them complete, ldy apart; NULL: to `sum`
    float *whole_y;      // y of the last job of these tiles and groups
    int64_t ldy;
} tile_job;

// Product i of a job is tile i / 4's, block i % 4 / 2's (or that plane's of the one block), group i % 2's. whole: it is there.
INLINE bool product_there(bool wide, bool whole, const tile_job *j, int i) {
    return whole || (i / 4 < j->tiles && (wide || i % 4 / 2 < j->left) && i % 2 < j->groups);
}
INLINE const uint8_t *product_x(bool wide, const tile_job *j, int i) {
    return j->x[i / 4] + (size_t)(i % 4 / 2) * (wide ? offsetof(act_tile16, lo) : sizeof(act_tile8));
}
INLINE const uint8_t *product_codes(bool wide, const tile_job *j, int i) { return j->e + (i % 2 * PANEL + (wide ? 0 : i % 4 / 2)) * EXPANDED; }
INLINE int x_of(int i) { return i % 4 / 2; } // the loaded tiles that it needs
INLINE int codes_of(bool wide, int i) { return wide ? i % 2 : i % 4; }

INLINE void product_store(bool wide, bool whole, const tile_job *j, int i, int32_t *ring) {
    if (product_there(wide, whole, j, i)) ti_store(i % 2, ring + i * TILE_SUMS);
}
INLINE void product_load_x(bool wide, bool whole, const tile_job *j, int i) {
    if (product_there(wide, whole, j, i)) ti_load_x(x_of(i), product_x(wide, j, i));
}
INLINE void product_load_codes(bool wide, bool whole, const tile_job *j, int i) {
    if (product_there(wide, whole, j, i)) ti_load_codes(codes_of(wide, i), product_codes(wide, j, i));
}

// A step: products of `make` and the scaling of its first pieces and of the last ones of `scale`, the job before, in turn; NULL: there
// is none. next: the job after `make`, or `make`.
typedef struct tile_turns {
    const tile_job *make, *next, *scale;
    int32_t *ring; // [JOB_PRODUCTS][16][16]
} tile_turns;

// What products of a job need before any of them.
INLINE void first_loads(bool wide, const tile_job *j) {
    product_load_x(wide, false, j, 0);
    product_load_codes(wide, false, j, 0);
    product_load_codes(wide, false, j, 1);
    if (!wide) product_load_x(wide, false, j, 2);
}

// The tile that is loaded when product i has begun, in the place of one that later products do not need.
INLINE void product_load(bool wide, bool whole, const tile_turns *turns, int i) {
    const tile_job *make = turns->make, *next = turns->next;
    switch (i) {
    case 0: wide ? product_load_x(wide, whole, make, 2) : product_load_codes(wide, whole, make, 2); break;
    case 1: product_load_x(wide, whole, make, 4); break;
    case 2: if (!wide) product_load_codes(wide, whole, make, 3); break;
    case 3: product_load_x(wide, whole, make, 6); break;
    case 4: if (!wide) product_load_codes(wide, true, next, 0); break;
    case 5: product_load_x(wide, true, next, 0); break;
    case 6: product_load_codes(wide, wide, next, wide ? 0 : 1); break;
    default: wide ? product_load_codes(wide, false, next, 1) : product_load_x(wide, false, next, 2);
    }
}

// What is due of the products in a quarter of a turn.
enum { QUARTERS = 4 };
INLINE void products_due(bool wide, bool whole, const tile_turns *turns, int quarter) {
    const int each = QUARTERS * PIECES * job_blocks(wide) / JOB_PRODUCTS, i = quarter / each;
    const tile_job *make = turns->make;
    if (!(whole || make)) return;
    if (quarter % each == 0 && product_there(wide, whole, make, i))
        ti_dot(i % 2, x_of(i), product_x(wide, make, i), codes_of(wide, i), product_codes(wide, make, i), turns->ring + i * TILE_SUMS);
    if (quarter % each != each / 2) return;
    if (i) product_store(wide, whole, make, i - 1, turns->ring);
    product_load(wide, whole, turns, i);
}

// A turn that begins with `quarter`, of a step whose products are due: adds a block to the sums of a piece, PIECE_ROWS rows of
// PIECE_GROUPS groups. e: the first group's block; x: the tile's; r0: the first row; dots: its own, a second plane's 2 * TILE_SUMS further
// on. The sums so far are at `from` if the piece begins, a second group's TILE_SUMS further on, else in acc.
typedef VF piece_sums[PIECE_GROUPS][PIECE_ROWS][HALVES];
INLINE void piece_block(tl_dtype t, bool wide, bool whole, const tile_turns *turns, int quarter, const uint8_t *e, const uint8_t *x, int r0,
                        const int32_t *dots, bool begins, const float *from, piece_sums acc) {
    const act_tile8 *a = (const act_tile8 *)(const void *)x; // act_tile16 begins so
    const int part = PIECE_GROUPS * PIECE_ROWS / QUARTERS;
    UNROLL
    for (int i = 0; i < PIECE_GROUPS; i++) {
        VF scale[HALVES], shift[HALVES], min[HALVES];
        if (i == 0) products_due(wide, whole, turns, quarter);
        UNROLL
        for (int h = 0; h < HALVES; h++) {
            const uint8_t *at = e + i * (PANEL * EXPANDED) + 512 + 4 * LANES * h;
            scale[h] = vf_load(at), shift[h] = shift_of(scale[h]), min[h] = has_min(t) ? vf_load(at + 64) : scale[h];
        }
        UNROLL
        for (int r = 0; r < PIECE_ROWS; r++) {
            const int row = i * PIECE_ROWS + r;
            if (row && row % part == 0) products_due(wide, whole, turns, quarter + row / part);
            UNROLL
            for (int h = 0; h < HALVES; h++) {
                int lane = i * TILE_SUMS + r * LINEAR_ROWS + LANES * h;
                VI dot = vi_load(dots + lane), low = wide ? vi_load(dots + lane + 2 * TILE_SUMS) : dot;
                VF u = scaled(t, wide, scale[h], shift[h], wide ? dot : vi_add(dot, vi_splat(DOT_BIAS)), low), *s = &acc[i][r][h];
                if (begins) *s = vf_fma(vf_bcast(a->d + r0 + r), u, vf_load(from + lane)); // one operand may be in memory
                else *s = vf_fma_one(vf_one_at(a->d + r0 + r), u, *s);
                if (has_min(t)) *s = vf_fma_one(vf_one_at(a->ds + r0 + r), min[h], *s);
            }
        }
    }
}

// To rows `apart` apart, those of a second group `groups` further on.
INLINE void piece_keep(float *to, int64_t apart, int64_t groups, piece_sums acc) {
    UNROLL
    for (int r = 0; r < PIECE_ROWS; r++, to += apart) {
        UNROLL
        for (int i = 0; i < PIECE_GROUPS * HALVES; i++) vf_store(to + i / HALVES * groups + i % HALVES * LANES, acc[i / HALVES][r][i % HALVES]);
    }
}

INLINE void turns_without(bool wide, bool whole, const tile_turns *turns, int quarter, int count) {
    UNROLL
    for (int i = 0; i < 2 * QUARTERS; i++)
        if (i < count * QUARTERS) products_due(wide, whole, turns, quarter + i);
}

// whole: both jobs are there with all they can have.
INLINE void tile_step(tl_dtype t, bool wide, bool whole, const tile_turns *turns) {
    const int halves = TILE_ROWS / PIECE_ROWS, blocks = job_blocks(wide);
    UNROLL
    for (int i = 0; i < PIECES; i++) {
        const tile_job *scale = i < PIECES_LATER ? turns->scale : turns->make;
        const int p = (i + PIECES - PIECES_LATER) % PIECES, tile = p / (PIECES / 2), group = PIECE_GROUPS == 2 ? 0 : p / halves % 2, r0 = p % halves * PIECE_ROWS;
        const int quarter = QUARTERS * i * blocks, at = (2 * tile + group) * TILE_SUMS + r0 * LINEAR_ROWS;
        if (!whole && (!scale || tile >= scale->tiles || group >= scale->groups)) {
            turns_without(wide, whole, turns, quarter, blocks);
            continue;
        }
        piece_sums acc;
        UNROLL
        for (int b = 0; b < 2; b++) {
            if (b == blocks) break;
            if (!whole && b && scale->left == 1) turns_without(wide, whole, turns, quarter + QUARTERS, 1);
            else
                piece_block(t, wide, whole, turns, quarter + QUARTERS * b, scale->e + (group * PANEL + b) * EXPANDED,
                            scale->x[tile] + (size_t)b * act_tile_bytes(tile_kind(wide)), r0,
                            turns->ring + (4 * tile + 2 * b + group) * TILE_SUMS + r0 * LINEAR_ROWS, b == 0, scale->from + at, acc);
        }
        if (scale->y) piece_keep(scale->y + (tile * TILE_ROWS + r0) * scale->ldy + group * LINEAR_ROWS, scale->ldy, LINEAR_ROWS, acc);
        else piece_keep(scale->sum + at, LINEAR_ROWS, TILE_SUMS, acc);
    }
    if (whole || turns->make) product_store(wide, whole, turns->make, JOB_PRODUCTS - 1, turns->ring);
}

// ---- instances -----------------------------------------------------------------------------------------
typedef void tile_expand_fn(const uint8_t *g, int64_t b, int64_t n, uint8_t *to);
typedef void tile_step_fn(const tile_job *make, const tile_job *next, const tile_job *scale, int32_t *ring);

#define TILE_EXPAND(T) \
    static void tile_expand_##T(const uint8_t *g, int64_t b, int64_t n, uint8_t *to) { tile_expand(DT_##T, g, b, n, to); }
#define TILE_STEP(NAME, T, WIDE, WHOLE) \
    static __attribute__((noinline)) void NAME##_##T##_##WIDE(const tile_job *make, const tile_job *next, const tile_job *scale, int32_t *ring) { \
        tile_turns turns = {make, next, scale, ring};                                                                      \
        tile_step(DT_##T, WIDE, WHOLE, &turns);                                                                            \
    }
#define TILE_STEPS(T, WIDE) TILE_STEP(step_any, T, WIDE, false) TILE_STEP(step_whole, T, WIDE, true)

// Blocks [b, b + n) as expand() makes them, codes signed.
INLINE void tile_expand(tl_dtype t, const uint8_t *g, int64_t b, int64_t n, uint8_t *to) {
    expand(t, g, b, n, to);
    int zero = code_zero(t);
    for (; zero && n > 0; n--, to += EXPANDED)
        for (int i = 0; i < 512; i += 4 * LANES) vi_store(to + i, vi_sub8(vi_load(to + i), vi_splat((uint32_t)zero * 0x01010101)));
}

TILE_EXPAND(Q4_0) TILE_EXPAND(Q4_1) TILE_EXPAND(Q5_0) TILE_EXPAND(Q5_1) TILE_EXPAND(Q8_0) TILE_EXPAND(Q4_K) TILE_EXPAND(Q5_K)
TILE_STEPS(Q8_0, 0) TILE_STEPS(Q8_0, 1) TILE_STEPS(Q4_1, 0) TILE_STEPS(Q4_1, 1)

// E: the format whose expanded blocks are the same.
#define TILE_OF(E, WIDE) {step_any_##E##_##WIDE, step_whole_##E##_##WIDE}
#define TILE_ENTRY(T, E) [DT_##T] = {tile_expand_##T, {TILE_OF(E, 0), TILE_OF(E, 1)}}
static const struct tile_format {
    tile_expand_fn *expand;
    tile_step_fn *step[2][2]; // [wide][whole]
} tile_table[DT_COUNT] = {
    TILE_ENTRY(Q4_0, Q8_0), TILE_ENTRY(Q4_1, Q4_1), TILE_ENTRY(Q5_0, Q8_0), TILE_ENTRY(Q5_1, Q4_1),
    TILE_ENTRY(Q8_0, Q8_0), TILE_ENTRY(Q4_K, Q4_1), TILE_ENTRY(Q5_K, Q4_1),
};

// ---- the whole product -------------------------------------------------------------------------------
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

// Where sums begin.
static const _Alignas(64) float no_sums[4 * TILE_SUMS];

// What the next panel will be made of, from memory to L2: `piece` lines at each step.
typedef struct tile_ahead {
    const uint8_t *at, *end; // of a group
    size_t group, skip;      // bytes from group to group, and from a group's end to the next one
    int64_t left, piece;     // lines
} tile_ahead;

INLINE void fetch_ahead(tile_ahead *a) {
    int64_t n = a->piece < a->left ? a->piece : a->left;
    a->left -= n;
    for (; n > 0; n--) {
        __builtin_prefetch(a->at, 0, 2);
        if ((a->at += 64) >= a->end) a->at = a->end + a->skip, a->end += a->group;
    }
}

// A panel: n blocks of all groups against all tiles of a batch.
typedef struct tile_panel {
    tile_step_fn *const *step;
    const uint8_t *e;     // [groups][PANEL] expanded
    const uint8_t *x;     // tiles, `stride` apart
    size_t stride, block; // block: bytes of one of a tile's
    int tiles, groups, blocks; // blocks: that a job takes
    int64_t n;
    bool first;           // sums begin at 0
    float *y;             // the first group's output, if the sums are complete with this panel, else NULL
    int64_t ldy;
    int64_t rows, lanes;  // of y
    float *sum;           // [tiles / 2][TILE_GROUPS / 2][2 tiles][2 groups][16][16]
    int32_t *ring;        // [JOB_PRODUCTS][16][16]
} tile_panel;

// Of tiles t, t + 1 and groups g, g + 1.
INLINE float *pair_sums(const tile_panel *p, int t, int g) { return p->sum + (t * TILE_GROUPS + 2 * g) * TILE_SUMS; }

// Sums of two groups and two tiles of which not all are there, complete, to y.
static void tiles_out(const tile_panel *p, int tile, int group) {
    for (int t = tile; t < tile + 2 && t < p->tiles; t++)
        for (int g = group; g < group + 2 && g < p->groups; g++) {
            const float *sum = pair_sums(p, tile, group) + (2 * (t - tile) + g - group) * TILE_SUMS;
            int64_t at = g * LINEAR_ROWS, lanes = p->lanes - at < LINEAR_ROWS ? p->lanes - at : LINEAR_ROWS;
            for (int64_t r = t * TILE_ROWS; r < p->rows && r < (t + 1) * TILE_ROWS; r++, sum += LINEAR_ROWS) {
                float *y = p->y + r * p->ldy + at;
                if (lanes < LINEAR_ROWS) memcpy(y, sum, (size_t)lanes * sizeof *y);
                else memcpy(y, sum, LINEAR_ROWS * sizeof *y); // a size that compilers know
            }
        }
}

// The job that begins with block b of tile t and group g. (Of two that are one pair the second may be missing.)
INLINE void job_at(const tile_panel *p, int t, int g, int64_t b, tile_job *to) {
    to->e = p->e + (size_t)(g * PANEL + b) * EXPANDED;
    to->x[0] = p->x + (size_t)t * p->stride + (size_t)b * p->block;
    to->x[1] = to->x[0] + p->stride;
    to->sum = pair_sums(p, t, g);
    to->from = p->first && b == 0 ? no_sums : to->sum;
    to->tile = t, to->group = g, to->b = b;
    to->tiles = p->tiles - t, to->groups = p->groups - g, to->left = p->n - b;
    to->whole_y = p->y && (t + 2) * TILE_ROWS <= p->rows && (g + 2) * LINEAR_ROWS <= p->lanes ? p->y + t * TILE_ROWS * p->ldy + g * LINEAR_ROWS : NULL;
    to->y = to->left <= p->blocks ? to->whole_y : NULL;
    to->ldy = p->ldy;
}

// The one after `j` of the same tiles and groups.
INLINE void job_on(const tile_panel *p, const tile_job *j, tile_job *to) {
    size_t x = (size_t)p->blocks * p->block;
    *to = (tile_job){.e = j->e + p->blocks * EXPANDED, .x = {j->x[0] + x, j->x[1] + x}, .from = j->sum, .sum = j->sum, .tile = j->tile, .group = j->group, .b = j->b + p->blocks,
                     .left = j->left - p->blocks, .tiles = j->tiles, .groups = j->groups, .whole_y = j->whole_y, .ldy = j->ldy};
    to->y = to->left <= p->blocks ? to->whole_y : NULL;
}

static void tiles_panel(const tile_panel *p, tile_ahead *ahead) {
    tile_job jobs[3], *make = jobs, *scale = NULL, *next = jobs + 1;
    bool was_whole = false;
    job_at(p, 0, 0, 0, make);
    first_loads(p->blocks == 1, make);
    for (;;) {
        bool on = make->left > p->blocks, across = !on && make->groups > 2, more = on || across || make->tiles > 2;
        if (on) job_on(p, make, next);
        else if (more) job_at(p, make->tile + (across ? 0 : 2), across ? make->group + 2 : 0, 0, next);
        bool whole = make->tiles > 1 && make->groups > 1 && make->left >= p->blocks;
        fetch_ahead(ahead);
        p->step[whole && was_whole](make, more ? next : make, scale, p->ring);
        if (p->y && scale && !scale->y && make->b == 0) tiles_out(p, scale->tile, scale->group);
        tile_job *was = scale ? scale : jobs + 2;
        scale = make, make = next, next = was, was_whole = whole;
        if (!more) break;
    }
    p->step[false](NULL, NULL, scale, p->ring);
    if (p->y && !scale->y) tiles_out(p, scale->tile, scale->group);
}

// Blocks [b, b + n) of rows as they lie to tiles, `apart` bytes apart; rows that are missing in the last one count for nothing.
static void copy_rows(const tiles_call *c, int64_t b, int64_t n, uint8_t *to, size_t apart) {
    size_t act = act_block_bytes(c->kind), stride = act_bytes(c->kind, c->w->k);
    int64_t r = 0;
    for (; r < c->rows; r++) act_tile_put(c->kind, c->x + (size_t)r * stride + (size_t)b * act, n, to + (size_t)(r / TILE_ROWS) * apart, (int)(r % TILE_ROWS));
    for (; r % TILE_ROWS; r++)
        for (int64_t i = 0; i < n; i++) {
            act_tile8 *t = (act_tile8 *)(void *)(to + (size_t)(r / TILE_ROWS) * apart + (size_t)i * act_tile_bytes(c->kind));
            t->d[r % TILE_ROWS] = t->ds[r % TILE_ROWS] = 0;
        }
}

// After blocks [b, b + PANEL) of the groups from row n on: their next ones, or else as many groups' first ones, which most calls go on with.
static tile_ahead find_ahead(const cpu_matrix *w, const tile_panel *p, int64_t n, int64_t b) {
    int64_t blocks = w->k / ACT_BLOCK, steps = (p->tiles + 1) / 2 * ((p->groups + 1) / 2) * ((p->n + p->blocks - 1) / p->blocks);
    size_t group = linear_group_bytes(w->type, w->k), block = group / (size_t)blocks;
    int64_t groups = p->groups;
    b += PANEL;
    if (b >= blocks) {
        int64_t left = (w->n - n + LINEAR_ROWS - 1) / LINEAR_ROWS - groups;
        b = 0, n += groups * LINEAR_ROWS, groups = left < groups ? left : groups;
    }
    size_t bytes = (size_t)(blocks - b < PANEL ? blocks - b : PANEL) * block;
    tile_ahead a = {.at = linear_group(w, n) + (size_t)b * block, .group = group, .skip = group - bytes};
    a.end = a.at + bytes;
    a.left = (int64_t)((bytes + 63) / 64) * groups;
    a.piece = a.left / steps + 1;
    return a;
}

// Groups of rows [n, n1) of W, up to TILE_BATCH rows of x.
static void tiles_batch(const tiles_call *c, int64_t n, int64_t n1) {
    _Alignas(64) uint8_t panel[TILE_GROUPS][PANEL * EXPANDED];
    _Alignas(64) float sum[TILE_BATCH / TILE_ROWS * TILE_GROUPS * TILE_SUMS];
    _Alignas(64) int32_t ring[JOB_PRODUCTS * TILE_SUMS];
    _Alignas(64) uint8_t copy[TILE_BATCH / TILE_ROWS][PANEL * sizeof(act_tile16)];
    const cpu_matrix *w = c->w;
    const struct tile_format *f = &tile_table[w->type];
    int64_t blocks = w->k / ACT_BLOCK, groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    tile_panel p = {.step = f->step[w->wide], .e = panel[0], .x = copy[0], .stride = c->tiled ? TILE_ROWS * act_bytes(c->kind, w->k) : sizeof copy[0], .block = act_tile_bytes(c->kind),
                    .tiles = (int)((c->rows + TILE_ROWS - 1) / TILE_ROWS), .groups = (int)groups, .blocks = job_blocks(w->wide), .sum = sum, .ring = ring,
                    .ldy = c->ldy, .rows = c->rows, .lanes = n1 - n};
    for (int64_t b = 0; b < blocks; b += PANEL) {
        p.n = blocks - b < PANEL ? blocks - b : PANEL;
        p.first = b == 0;
        for (int64_t i = 0; i < groups; i++) f->expand(linear_group(w, n + i * LINEAR_ROWS), b, p.n, panel[i]);
        if (c->tiled) p.x = c->x + (size_t)b * p.block;
        else copy_rows(c, b, p.n, copy[0], p.stride);
        p.y = b + p.n == blocks ? c->y + n : NULL;
        tile_ahead ahead = find_ahead(w, &p, n, b);
        tiles_panel(&p, &ahead);
    }
}

static bool tiles_have(const cpu_matrix *w) { return w->layout == LINEAR_I16 && tile_table[w->type].expand; }
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
