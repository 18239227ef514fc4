// linear_simd.h - linear() over LINEAR_I16 for one instruction set; included once by each linear_<isa>.c, after its
// vector primitives (linear_256.h lists them). The operations per output and their order are those of linear_ref.c, in
// every path below, so that bits depend neither on the ISA nor on which path computed a row.
//
// A matrix product walks groups of 16 weight rows (lanes). Up to FEW_MOST rows of x or a few more: codes are unpacked in registers and meet
// up to 8 rows at a time ("direct"). More rows: PANEL blocks of 32 k of a group are unpacked to bytes, scales and minima
// once ("expanded"), and then meet all rows, up to 4 at a time, with the sums in a small array.
#include "cpu/linear_codes.h"

enum {
    FEW_MOST = 8,                 // rows up to which codes are unpacked directly,
    FEW_MOST_SINGLE = LANES > 4 ? 12 : FEW_MOST, // those of formats with a block of 32 (128-bit vectors: not measured)
    FEW_PLANES = HALVES == 1 ? 8 : 4, // rows times planes that meet a block's codes together, as registers allow
    BATCH = 128,                  // rows that meet an expanded panel
    GROUPS = 4,                   // groups expanded together, so that rows of x are read less often
    DIRECT_FAR = 20 << 10,        // bytes that few rows ask for in advance, into the second cache,
    DIRECT_NEAR = 2 << 10,        // and from there into the first
    AGAIN = 4,                    // groups that rows meet before the next rows do, so that they are still in the cache
    SPAN = HALVES == 1 ? 2 : HALVES, // most vectors of weights that a tile of rows meets
};

// ---- one block of 32 k against R rows --------------------------------------------------------------
enum { MOST = 8 }; // rows of a tile times planes
typedef struct sums {
    VI v[MOST][SPAN];
} sums;

// What dots of part p begin with: -zero times the sum of the part's activations, whose two halves are at `sum`, times ACT_BASE if
// `high`, and DOT_BIAS if `biased`.
INLINE VI dot_start(tl_dtype t, int p, bool high, bool biased, const uint8_t *sum) {
    int zero = code_zero(t) * (high ? ACT_BASE : 1);
    uint32_t factor = (uint16_t)-zero, first = parts_of(t) == 1 || p == 0 ? factor : 0, second = parts_of(t) == 1 || p == 1 ? factor : 0;
    VI start = vi_splat(biased ? DOT_BIAS : 0);
    return zero ? vi_pair(start, sum, first | second << 16) : start;
}

INLINE void load_codes(tl_dtype t, bool expanded, int span, const uint8_t *g, int s, int j, VI *w) {
    UNROLL
    for (int h = 0; h < span; h++) w[h] = expanded ? dwords(g + h / HALVES * PANEL * EXPANDED, 0, j, h % HALVES) : codes(t, g, s, j, h);
}

// Dots of part p: codes (less the format's zero) times int8 planes. x[r]: the rows' blocks (act.h); planes: 1, or 2 of ACT_Q16; span:
// vectors of weights, those of an expanded block and, if there are more than HALVES, of the next group's, a panel further on.
INLINE sums part_dot(tl_dtype t, bool expanded, int rows, int planes, int span, const uint8_t *g, int s, int p, const uint8_t *const *x) {
    sums total;
    VI w[SPAN];
    int n = 8 / parts_of(t), n_rows = rows * planes;
    UNROLL
    for (int r = 0; r < n_rows; r++) {
        const uint8_t *sum = x[r / planes] + (planes == 1 ? 44 : r % planes ? 80 : 76);
        VI start = dot_start(t, p, planes == 2 && r % 2 == 0 && int16_runs(t), planes == 1, sum);
        UNROLL
        for (int h = 0; h < span; h++) total.v[r][h] = start;
    }
#ifdef LINEAR_RUNS
    int step = vi_step(bits_of(t)) < n ? vi_step(bits_of(t)) : n, steps = int16_runs(t) ? n / step : 0;
    UNROLL
    for (int q = 0; q < steps; q++) {
        sums run;
        UNROLL
        for (int i = 0; i < step; i++) {
            load_codes(t, expanded, span, g, s, p * n + q * step + i, w);
            UNROLL
            for (int r = 0; r < n_rows; r++) {
                VI a = vi_bcast(x[r / planes] + r % planes * ACT_BLOCK + 4 * (p * n + q * step + i));
                UNROLL
                for (int h = 0; h < span; h++) run.v[r][h] = i == 0 ? vi_first16(w[h], a) : vi_mac16(run.v[r][h], w[h], a);
            }
        }
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            UNROLL
            for (int h = 0; h < span; h++) total.v[r][h] = vi_add(total.v[r][h], vi_total16(run.v[r][h], planes == 2 && r % 2 == 0 ? ACT_BASE : 1));
        }
    }
#endif
    int singly = int16_runs(t) ? 0 : n;
    UNROLL
    for (int i = 0; i < singly; i++) {
        int j = p * n + i;
        load_codes(t, expanded, span, g, s, j, w);
        UNROLL
        for (int r = 0; r < n_rows; r++) {
            const uint8_t *at = x[r / planes] + r % planes * ACT_BLOCK + 4 * j;
            vi_one one = vi_one_at(at);
            VI a = vi_bcast(at);
            bool shared = span > HALVES && r % 2 == 0; // operands in memory take no operation, but a load for each use: half of each are in balance
            UNROLL
            for (int h = 0; h < span; h++) {
                VI *v = &total.v[r][h];
                *v = bits_of(t) == 8 ? vi_mac_s8(*v, w[h], one) : shared ? vi_mac(*v, w[h], a) : vi_mac_one(*v, w[h], one);
            }
        }
    }
    return total;
}

// Keeps sums of several rows in memory, where their two operations a block cost less than the registers they would
// take from the integer sums (which the compiler would otherwise spill all the time).
#define KEEP_IN_MEMORY(acc, many)                                                                                      \
    do {                                                                                                               \
        if ((many) && LANES < 16) __asm__("" : "+m"(*(VF(*)[MOST][SPAN])(acc)));                                     \
    } while (0)

INLINE void block_mac(tl_dtype t, bool expanded, int rows, bool wide, int span, const uint8_t *g, int s, const uint8_t *const *x, VF acc[][SPAN]) {
    int planes = wide ? 2 : 1;
    UNROLL
    for (int p = 0; p < parts_of(t); p++) {
        sums dot = part_dot(t, expanded, rows, planes, span, g, s, p, x);
        VF scale[SPAN], shift[SPAN], min[SPAN];
        UNROLL
        for (int h = 0; h < span; h++) {
            const uint8_t *e = g + h / HALVES * PANEL * EXPANDED + 512 + 64 * p + 4 * LANES * (h % HALVES);
            scale[h] = expanded ? vf_load(e) : scale_of(t, g, s, p, h);
            shift[h] = shift_of(scale[h]);
            min[h] = !has_min(t) ? scale[h] : expanded ? vf_load(e + 64 * parts_of(t)) : min_of(t, g, s, p, h);
        }
        UNROLL
        for (int r = 0; r < rows; r++) {
            const float *at = (const float *)(const void *)(x[r] + ACT_BLOCK * planes); // d, ds, ds1 follow the planes
            vf_one d = vf_one_at(at), ds = vf_one_at(parts_of(t) == 2 && p ? at + 2 : at + 1);
            UNROLL
            for (int h = 0; h < span; h++) {
                acc[r][h] = vf_fma_one(d, scaled(t, wide, scale[h], shift[h], dot.v[planes * r][h], dot.v[planes * r + planes - 1][h]), acc[r][h]);
                if (!has_min(t)) continue;
                if (parts_of(t) == 2 && !p) acc[r][h] = vf_fma(vf_sub(vf_bcast(at + 1), vf_bcast(at + 2)), min[h], acc[r][h]);
                else acc[r][h] = vf_fma_one(ds, min[h], acc[r][h]);
            }
        }
    }
}

// ---- direct: groups against R rows -------------------------------------------------------------------
INLINE void store_lanes(float *y, int64_t lanes, const VF *v) { // 16, or fewer in the last group
    float all[LINEAR_ROWS];
    float *to = lanes >= LINEAR_ROWS ? y : all;
    for (int h = 0; h < HALVES; h++) vf_store(to + LANES * h, v[h]);
    if (lanes < LINEAR_ROWS) memcpy(y, all, (size_t)lanes * sizeof *y);
}

// `blocks` file blocks of a group at *g against R rows; what memory is asked for in advance is at *far. The three kinds of pointers move on.
INLINE void direct_blocks(tl_dtype t, int rows, bool wide, int blocks, const uint8_t **g, const uint8_t **far, const uint8_t *a[MOST], VF acc[][SPAN]) {
    int bytes = block_bytes(t) * blocks, subs = subs_of(t) * blocks, part = bytes / subs;
    size_t act = wide ? sizeof(act_q16) : sizeof(act_q8);
    UNROLL
    for (int s = 0; s < subs; s++) {
        const uint8_t *x[MOST];
        UNROLL
        for (int i = (s * part + 63) / 64 * 64; i < (s + 1) * part; i += 64) {
            __builtin_prefetch(*far + i, 0, 1);
            __builtin_prefetch(*g + DIRECT_NEAR + i);
        }
        UNROLL
        for (int r = 0; r < rows; r++) x[r] = a[r] + s * act;
        block_mac(t, false, rows, wide, HALVES, *g + s / subs_of(t) * block_bytes(t), s % subs_of(t), x, acc);
        KEEP_IN_MEMORY(acc, rows > 1);
    }
    UNROLL
    for (int r = 0; r < rows; r++) a[r] += subs * act;
    *g += bytes;
    *far += bytes;
}

// Rows walk the groups one after the other: a single stream through memory, asked for in advance. That is what memory gives
// fastest: the more so the longer the caller's range. It comes in two steps, since the first cache waits for few lines at a
// time. There are `count` <= rows rows of x; the last one stands for what is missing.
INLINE void direct(tl_dtype t, int rows, bool wide, const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t count, float *y,
                   int64_t ldy, int64_t n0, int64_t n1) {
    const uint8_t *g = linear_group(w, n0), *end = linear_group(w, w->n + LINEAR_ROWS - 1), *a[MOST];
    int64_t blocks = w->k / (ACT_BLOCK * subs_of(t));
    int turn = subs_of(t) == 1 ? 2 : 1; // blocks at a time: pointers and counts take as many instructions for two
    for (int64_t n = n0; n < n1; n += LINEAR_ROWS) {
        VF acc[MOST][SPAN];
        UNROLL
        for (int r = 0; r < rows; r++) {
            a[r] = x + (size_t)(r < count ? r : count - 1) * stride;
            UNROLL
            for (int h = 0; h < HALVES; h++) acc[r][h] = vf_splat(0);
        }
        const uint8_t *far = g + ((size_t)(end - g) > DIRECT_FAR ? DIRECT_FAR : 0);
        __asm__("" : "+r"(far)); // a pointer of its own: compilers would keep each such distance from g in a register
        for (const uint8_t *stop = g + blocks / turn * turn * block_bytes(t); g != stop;) direct_blocks(t, rows, wide, turn, &g, &far, a, acc);
        if (blocks % turn) direct_blocks(t, rows, wide, 1, &g, &far, a, acc);
        UNROLL // (a loop over a number of rows that is not known would need all sums in memory)
        for (int r = 0; r < rows; r++)
            if (r < count) store_lanes(y + r * ldy + n - n0, n1 - n, acc[r]);
    }
}

// ---- expanded ----------------------------------------------------------------------------------------
// n expanded blocks against R rows whose first block is at x; sums continue in sum[R][16], those of a second group's
// BATCH rows further on.
INLINE float *tile_sum(float *sum, int r, int h) { return sum + h / HALVES * BATCH * LINEAR_ROWS + LINEAR_ROWS * r + LANES * (h % HALVES); }
INLINE void tile(tl_dtype t, int rows, bool wide, int span, const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {
    const uint8_t *a[MOST];
    size_t act = wide ? sizeof(act_q16) : sizeof(act_q8);
    VF acc[MOST][SPAN];
    for (int r = 0; r < rows; r++) {
        a[r] = x + (size_t)r * stride;
        for (int h = 0; h < span; h++) acc[r][h] = vf_load(tile_sum(sum, r, h));
    }
    for (; n > 0; n--, e += EXPANDED) {
        block_mac(t, true, rows, wide, span, e, 0, a, acc);
        KEEP_IN_MEMORY(acc, rows > 1);
        UNROLL
        for (int r = 0; r < rows; r++) a[r] += act;
    }
    for (int r = 0; r < rows; r++)
        for (int h = 0; h < span; h++) vf_store(tile_sum(sum, r, h), acc[r][h]);
}

// ---- instances -----------------------------------------------------------------------------------------
typedef void direct_fn(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t count, float *y, int64_t ldy, int64_t n0, int64_t n1);
typedef void tile_fn(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum);
typedef void expand_fn(const uint8_t *g, int64_t b, int64_t n, uint8_t *to);
typedef struct kernels { // [wide][0: 1 row, 1: 2 rows, 2: 4 rows, 3: 8 rows]
    direct_fn *direct[2][4]; // up to FEW_PLANES; or of one row only
    tile_fn *tile[2][3];     // wide ones take at most 2 rows
    tile_fn *pair[2]; // [wide]: as many rows as a tile has at most, against two groups; or NULL
    expand_fn *expand;
} kernels;

#define DIRECT(T, R, WIDE)                                                                                             \
    static void direct_##T##_##R##_##WIDE(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t count,         \
                                          float *y, int64_t ldy, int64_t n0, int64_t n1) {                             \
        direct(DT_##T, R, WIDE, w, x, stride, count, y, ldy, n0, n1);                                                  \
    }
#define TILE(T, R, WIDE)                                                                                               \
    static void tile_##T##_##R##_##WIDE(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {    \
        tile(DT_##T, R, WIDE, HALVES, e, n, x, stride, sum);                                                           \
    }
#define FORMAT(T)                                                                                                      \
    DIRECT(T, 1, 0) DIRECT(T, 1, 1)                                                                                    \
    static void expand_##T(const uint8_t *g, int64_t b, int64_t n, uint8_t *to) { expand(DT_##T, g, b, n, to); }
#ifdef LINEAR_PAIRS
#define PAIR(T, R, WIDE)                                                                                               \
    static void pair_##T##_##WIDE(const uint8_t *e, int64_t n, const uint8_t *x, size_t stride, float *sum) {          \
        tile(DT_##T, R, WIDE, SPAN, e, n, x, stride, sum);                                                             \
    }
#define PAIRS(T) {pair_##T##_0, pair_##T##_1}
#define DIRECT_MOST(T, R, WIDE) DIRECT(T, R, WIDE)
#define DIRECT_OR_NULL(NAME) NAME
#else
#define PAIR(T, R, WIDE)
#define PAIRS(T) {NULL, NULL}
#define DIRECT_MOST(T, R, WIDE)
#define DIRECT_OR_NULL(NAME) NULL
#endif
#define TILES(T) PAIR(T, 4, 0) PAIR(T, 2, 1) TILE(T, 1, 0) TILE(T, 2, 0) TILE(T, 4, 0) TILE(T, 1, 1) TILE(T, 2, 1)
#define FEW_ROWS(T) DIRECT(T, 2, 0) DIRECT(T, 4, 0) DIRECT_MOST(T, 8, 0)
#define FEW_WIDE_ROWS(T) DIRECT(T, 2, 1) DIRECT_MOST(T, 4, 1)
FORMAT(Q4_0) FORMAT(Q4_1) FORMAT(Q5_0) FORMAT(Q5_1) FORMAT(Q8_0)
FORMAT(Q2_K) FORMAT(Q3_K) FORMAT(Q4_K) FORMAT(Q5_K) FORMAT(Q6_K)
FEW_ROWS(Q4_0) FEW_ROWS(Q4_1) FEW_ROWS(Q5_0) FEW_ROWS(Q5_1) FEW_ROWS(Q8_0) FEW_ROWS(Q4_K) FEW_ROWS(Q5_K) FEW_ROWS(Q6_K)
FEW_WIDE_ROWS(Q4_0) FEW_WIDE_ROWS(Q4_1) FEW_WIDE_ROWS(Q5_0) FEW_WIDE_ROWS(Q5_1) FEW_WIDE_ROWS(Q8_0)
TILES(Q4_0) TILES(Q4_1) TILES(Q5_0) TILES(Q5_1) TILES(Q8_0) TILES(Q2_K) TILES(Q3_K) TILES(Q6_K)

// E: the format whose expanded blocks are the same. FEW, WIDE: several rows have kernels that unpack directly; without
// them everything but one row is expanded.
#define ONE(T, WIDE) {direct_##T##_1_##WIDE}
#define FEW(T, WIDE) {direct_##T##_1_0, direct_##T##_2_0, direct_##T##_4_0, DIRECT_OR_NULL(direct_##T##_8_0)}
#define FEW_WIDE(T, WIDE) {direct_##T##_1_1, direct_##T##_2_1, DIRECT_OR_NULL(direct_##T##_4_1)}
#define ENTRY(T, E, NARROW, WIDE)                                                                                      \
    [DT_##T] = {{NARROW(T, 0), WIDE(T, 1)},                                                                            \
                {{tile_##E##_1_0, tile_##E##_2_0, tile_##E##_4_0}, {tile_##E##_1_1, tile_##E##_2_1}},                  \
                PAIRS(E), expand_##T}
static const kernels table[DT_COUNT] = {
    ENTRY(Q4_0, Q4_0, FEW, FEW_WIDE), ENTRY(Q4_1, Q4_1, FEW, FEW_WIDE), ENTRY(Q5_0, Q5_0, FEW, FEW_WIDE),
    ENTRY(Q5_1, Q5_1, FEW, FEW_WIDE), ENTRY(Q8_0, Q8_0, FEW, FEW_WIDE), ENTRY(Q2_K, Q2_K, ONE, ONE),
    ENTRY(Q3_K, Q3_K, ONE, ONE),      ENTRY(Q4_K, Q4_1, FEW, ONE),      ENTRY(Q5_K, Q5_1, FEW, ONE),
    ENTRY(Q6_K, Q6_K, FEW, ONE),
};

// ---- the whole product -------------------------------------------------------------------------------
// Which kernel takes the next rows of `left`: 0, 1, 2 for 1, 2, 4 rows.
static int next_tile(const cpu_matrix *w, int64_t left) { return left >= 4 && !w->wide ? 2 : left >= 2; }

// The smallest that takes all `left` rows, or the largest: 0, 1, 2, 3 for 1, 2, 4, 8 rows.
static int next_direct(const cpu_matrix *w, int64_t left) {
    int which = 0;
    while (1 << which < left && (2 << which) * (w->wide ? 2 : 1) <= FEW_PLANES) which++;
    return which;
}

static void few_rows(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    int64_t span = rows << w->wide <= FEW_PLANES ? n1 - n0 : AGAIN * LINEAR_ROWS;
    for (int64_t n = n0; n < n1; n += span) {
        int64_t end = n1 - n < span ? n1 : n + span;
        for (int64_t r = 0; r < rows;) {
            int which = next_direct(w, rows - r);
            int64_t count = rows - r < 1 << which ? rows - r : 1 << which;
            table[w->type].direct[w->wide][which](w, x + (size_t)r * stride, stride, count, y + r * ldy + n, ldy, n, end);
            r += count;
        }
    }
}

// What the panels after this one will be made of, from memory to L2: `piece` lines before each tile.
typedef struct next_panel {
    const uint8_t *at[GROUPS];
    int64_t line, lines, piece; // lines: of a group
} next_panel;

static void fetch_next(next_panel *p, int64_t groups) {
    for (int64_t i = 0; i < p->piece && p->line < p->lines * groups; i++, p->line++)
        __builtin_prefetch(p->at[p->line / p->lines] + 64 * (p->line % p->lines), 0, 2);
}

static void find_next(next_panel *p, const cpu_matrix *w, int64_t n, int64_t groups, int64_t rows, int64_t b, int64_t blocks) {
    size_t group = linear_group_bytes(w->type, w->k), block = group / (size_t)blocks;
    bool last = b + PANEL >= blocks;
    p->line = 0;
    p->lines = last && n + 2 * groups * LINEAR_ROWS > w->n ? 0 : (int64_t)(PANEL * block / 64);
    p->piece = p->lines * groups / (rows / 4 + 1) + 1;
    for (int64_t i = 0; i < groups; i++)
        p->at[i] = linear_group(w, n + i * LINEAR_ROWS) + (last ? (size_t)groups * group : (size_t)(b + PANEL) * block);
}

// Groups of rows [n, n + 16 * groups) of W, at most BATCH rows of x.
static void many_rows(const cpu_matrix *w, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n, int64_t n1) {
    _Alignas(64) uint8_t panel[GROUPS][PANEL * EXPANDED];
    _Alignas(64) float sum[GROUPS][BATCH * LINEAR_ROWS];
    const kernels *k = &table[w->type];
    next_panel next;
    int64_t blocks = w->k / ACT_BLOCK, groups = (n1 - n + LINEAR_ROWS - 1) / LINEAR_ROWS;
    size_t act = w->wide ? sizeof(act_q16) : sizeof(act_q8);
    for (int64_t i = 0; i < groups; i++) memset(sum[i], 0, (size_t)rows * LINEAR_ROWS * sizeof(float));
    for (int64_t b = 0; b < blocks; b += PANEL) {
        int64_t count = blocks - b < PANEL ? blocks - b : PANEL;
        for (int64_t i = 0; i < groups; i++) k->expand(linear_group(w, n + i * LINEAR_ROWS), b, count, panel[i]);
        find_next(&next, w, n, groups, rows, b, blocks);
        for (int64_t r = 0; r < rows;) {
            fetch_next(&next, groups);
            int which = next_tile(w, rows - r);
            const uint8_t *at = x + (size_t)r * stride + (size_t)b * act;
            int64_t i = 0;
            if (which == (w->wide ? 1 : 2) && k->pair[w->wide])
                for (; i + 2 <= groups; i += 2) k->pair[w->wide](panel[i], count, at, stride, sum[i] + r * LINEAR_ROWS);
            for (; i < groups; i++) k->tile[w->wide][which](panel[i], count, at, stride, sum[i] + r * LINEAR_ROWS);
            r += 1 << which;
        }
    }
    for (int64_t i = 0; i < groups; i++, n += LINEAR_ROWS)
        for (int64_t r = 0; r < rows; r++)
            memcpy(y + r * ldy + n, sum[i] + r * LINEAR_ROWS, (size_t)(n1 - n < LINEAR_ROWS ? n1 - n : LINEAR_ROWS) * sizeof(float));
}

static void quantized(const cpu_matrix *w, const uint8_t *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    size_t stride = act_bytes(w->wide ? ACT_Q16 : ACT_Q8, w->k);
    int64_t few = subs_of(w->type) == 1 ? FEW_MOST_SINGLE : FEW_MOST;
    if (rows <= (table[w->type].direct[w->wide][1] ? few : 1)) {
        few_rows(w, x, stride, rows, y, ldy, n0, n1);
        return;
    }
    for (int64_t n = n0; n < n1; n += GROUPS * LINEAR_ROWS) {
        int64_t end = n1 - n < GROUPS * LINEAR_ROWS ? n1 : n + GROUPS * LINEAR_ROWS;
        for (int64_t r = 0; r < rows; r += BATCH)
            many_rows(w, x + (size_t)r * stride, stride, rows - r < BATCH ? rows - r : BATCH, y + r * ldy, ldy, n, end);
    }
}

#include "cpu/linear_plain.h"

static void linear_simd(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (w->layout != LINEAR_I16) linear_ref(w, x, rows, y, ldy, n0, n1);
    else if (linear_format_of(w->type)) quantized(w, x, rows, y, ldy, n0, n1);
    else plain(w, x, rows, y, ldy, n0, n1);
}
