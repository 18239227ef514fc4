// linear_bf16_amx.c - linear() for bfloat16 matrices with AMX-BF16: products by TDPBF16PS from the file's own rows (nothing is
// interleaved at load, no second copy is held).
//
// An output takes k 32 at a time as linear_bf16_tiles_ref() (linear_ref.c) defines it, whichever operand the weights are: the
// bits are the same for any number of rows. Few rows of x: a tile is 16 weight rows as they lie times one row of x. More: rows
// of x as they lie times weights of which pairs of k have been brought together, as the right operand has them.
//
// Instructions are written out: compilers' intrinsics (gcc 12) do not say that tiles read and write memory.
#include <immintrin.h>

#include "cpu/linear.h"
#include "cpu/linear_tile.h"

enum {
    STEP = 32,         // values of k in a tile
    SIDE = 16,         // rows of a tile
    TILE_BYTES = 1024,
    FEW = 4,           // rows of x that read weights as they lie
    FEW_AHEAD = 16,    // tiles that they ask for in advance
    SPAN = 2 * SIDE,   // rows of x and rows of W whose sums are in tiles together
    PANEL_STEPS = 32,  // tiles along k of a panel of pairs: 64 KB for SPAN rows of W
};

// ---- instructions ------------------------------------------------------------------------------------
#define TILE_LOAD(T, AT, STRIDE) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #T : : "r"(AT), "r"((size_t)(STRIDE)) : "memory")
#define TILE_STORE(T, AT, STRIDE) __asm__ volatile("tilestored %%tmm" #T ", (%0,%1,1)" : : "r"(AT), "r"((size_t)(STRIDE)) : "memory")
#define TILE_ZERO(T) __asm__ volatile("tilezero %%tmm" #T : :)
#define TILE_DOT(C, A, B) __asm__ volatile("tdpbf16ps %%tmm" #B ", %%tmm" #A ", %%tmm" #C : :) // A: rows of k; B: pairs of k

static void tile_shape(tile_config *c, int t, int rows, int bytes) {
    c->rows[t] = (uint8_t)rows;
    c->colsb[t] = (uint16_t)bytes;
}

// ---- few rows of x ---------------------------------------------------------------------------------------
// Tiles 0 to 3: sums of 16 weight rows, one column for each row of x; 4: weights; 5: a row of x, pairs below each other.
static void few_config(int weight_rows) {
    tile_config c = {.palette = 1};
    for (int r = 0; r < FEW; r++) tile_shape(&c, r, weight_rows, 4);
    tile_shape(&c, 4, weight_rows, 64);
    tile_shape(&c, 5, SIDE, 4);
    tile_configure(&c);
}

static inline __attribute__((always_inline)) void few_step(int rows, const uint8_t *w, size_t w_stride, const uint8_t *x, size_t stride) {
    TILE_LOAD(4, w, w_stride);
    TILE_LOAD(5, x, 4);
    TILE_DOT(0, 4, 5);
    if (rows > 1) {
        TILE_LOAD(5, x + stride, 4);
        TILE_DOT(1, 4, 5);
    }
    if (rows > 2) {
        TILE_LOAD(5, x + 2 * stride, 4);
        TILE_DOT(2, 4, 5);
    }
    if (rows > 3) {
        TILE_LOAD(5, x + 3 * stride, 4);
        TILE_DOT(3, 4, 5);
    }
}

// The last values of k, fewer than STEP, of `rows` rows at p: zeros follow them.
static void copy_rest(uint8_t *to, const uint8_t *p, size_t stride, int rows, int64_t values) {
    for (int r = 0; r < rows; r++) {
        memset(to + r * 64, 0, 64);
        memcpy(to + r * 64, p + (size_t)r * stride, (size_t)values * 2);
    }
}

// `count` weight rows at w against `rows` rows of x.
static inline __attribute__((always_inline)) void few_group(int rows, const uint8_t *w, size_t w_stride, int count, int64_t k, const uint8_t *x,
                                                            size_t stride, float *y, int64_t ldy) {
    int64_t steps = k / STEP;
    TILE_ZERO(0);
    if (rows > 1) TILE_ZERO(1);
    if (rows > 2) TILE_ZERO(2);
    if (rows > 3) TILE_ZERO(3);
    for (int64_t s = 0; s < steps; s++) {
        int64_t next = s + FEW_AHEAD; // beyond the rows' end: of the rows after these
        const uint8_t *ahead = next < steps ? w + next * 64 : w + SIDE * w_stride + (next - steps) * 64;
        for (int i = 0; i < SIDE; i++) __builtin_prefetch(ahead + (size_t)i * w_stride);
        few_step(rows, w + s * 64, w_stride, x + s * 64, stride);
    }
    if (k % STEP) {
        uint8_t w_rest[SIDE * 64], x_rest[FEW * 64];
        copy_rest(w_rest, w + steps * 64, w_stride, count, k % STEP);
        copy_rest(x_rest, x + steps * 64, stride, rows, k % STEP);
        few_step(rows, w_rest, 64, x_rest, 64);
    }
    TILE_STORE(0, y, 4);
    if (rows > 1) TILE_STORE(1, y + ldy, 4);
    if (rows > 2) TILE_STORE(2, y + 2 * ldy, 4);
    if (rows > 3) TILE_STORE(3, y + 3 * ldy, 4);
}

static inline __attribute__((always_inline)) void few_rows(int rows, const cpu_matrix *m, const uint8_t *x, size_t stride, float *y, int64_t ldy,
                                                           int64_t n0, int64_t n1) {
    int set = 0;
    for (int64_t n = n0; n < n1; n += SIDE) {
        int count = n1 - n < SIDE ? (int)(n1 - n) : SIDE;
        if (count != set) few_config(set = count);
        few_group(rows, (const uint8_t *)m->data + (size_t)n * m->row_bytes, m->row_bytes, count, m->k, x, stride, y + n, ldy);
    }
}

// ---- many rows of x ------------------------------------------------------------------------------------
// 16 rows of W, `count` of them there, 32 values of k: dword j of row r becomes dword r of row j.
static void bring_pairs(const uint8_t *w, size_t w_stride, uint8_t *to) {
    for (int j = 0; j < 4; j++, w += 16, to += 256) { // 4 dwords of each row
        __m512i v[4];
        for (int i = 0; i < 4; i++) { // rows i, 4 + i, 8 + i, 12 + i
            const uint8_t *p = w + (size_t)i * w_stride;
            v[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
            v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x00f0, _mm_loadu_si128((const __m128i *)(const void *)(p + 4 * w_stride)));
            v[i] = _mm512_mask_broadcast_i32x4(v[i], 0x0f00, _mm_loadu_si128((const __m128i *)(const void *)(p + 8 * w_stride)));
            v[i] = _mm512_mask_broadcast_i32x4(v[i], 0xf000, _mm_loadu_si128((const __m128i *)(const void *)(p + 12 * w_stride)));
        }
        __m512i a = _mm512_unpacklo_epi32(v[0], v[1]), b = _mm512_unpackhi_epi32(v[0], v[1]);
        __m512i c = _mm512_unpacklo_epi32(v[2], v[3]), d = _mm512_unpackhi_epi32(v[2], v[3]);
        _mm512_store_si512(to, _mm512_unpacklo_epi64(a, c));
        _mm512_store_si512(to + 64, _mm512_unpackhi_epi64(a, c));
        _mm512_store_si512(to + 128, _mm512_unpacklo_epi64(b, d));
        _mm512_store_si512(to + 192, _mm512_unpackhi_epi64(b, d));
    }
}

// Values [k0, k0 + count) of weight rows [n, n + rows), rows <= 16, to tiles of pairs `apart` bytes apart.
static void group_pairs(const cpu_matrix *m, int64_t n, int64_t rows, int64_t k0, int64_t count, uint8_t *to, size_t apart) {
    const uint8_t *w = (const uint8_t *)m->data + (size_t)n * m->row_bytes + (size_t)k0 * 2;
    for (; rows == SIDE && count >= STEP; count -= STEP, w += 64, to += apart) bring_pairs(w, m->row_bytes, to);
    for (; count > 0; count -= STEP, w += 64, to += apart) { // rows or values are missing: zeros
        _Alignas(64) uint8_t rest[SIDE * 64] = {0};
        copy_rest(rest, w, m->row_bytes, (int)rows, count < STEP ? count : STEP);
        bring_pairs(rest, 64, to);
    }
}

// Tiles 0 to 3: sums [2 tiles of x][2 tiles of W]; 4, 5: x; 6, 7: pairs. How many rows (or columns) the tiles have.
typedef struct spans {
    int x[2], w[2];
} spans;

static void many_config(spans s) {
    tile_config c = {.palette = 1};
    for (int i = 0; i < 2; i++) {
        for (int j = 0; j < 2 && s.x[i] && s.w[j]; j++) tile_shape(&c, 2 * i + j, s.x[i], 4 * s.w[j]);
        if (s.x[i]) tile_shape(&c, 4 + i, s.x[i], 64);
        if (s.w[i]) tile_shape(&c, 6 + i, SIDE, 4 * s.w[i]);
    }
    tile_configure(&c);
}

// tall, wide: whether the second tile of x, of W is there.
static inline __attribute__((always_inline)) void many_step(bool tall, bool wide, const uint8_t *x, size_t stride, const uint8_t *pairs) {
    TILE_LOAD(6, pairs, 64);
    TILE_LOAD(4, x, stride);
    TILE_DOT(0, 4, 6);
    if (wide) {
        TILE_LOAD(7, pairs + TILE_BYTES, 64);
        TILE_DOT(1, 4, 7);
    }
    if (tall) {
        TILE_LOAD(5, x + SIDE * stride, stride);
        TILE_DOT(2, 5, 6);
        if (wide) TILE_DOT(3, 5, 7);
    }
}

// Weights that are wanted after these, from memory to L2: `piece` bytes of [at, end) at each tile.
typedef struct next_panel {
    const uint8_t *at, *end;
    size_t piece;
} next_panel;

static inline void fetch_next(next_panel *p) {
    const uint8_t *stop = (size_t)(p->end - p->at) > p->piece ? p->at + p->piece : p->end;
    for (; p->at < stop; p->at += 64) __builtin_prefetch(p->at, 0, 2);
}

// `count` values of k of 16 or 32 rows of x and as many of W; first: sums start at 0, else they continue.
static inline __attribute__((always_inline)) void many_block(bool tall, bool wide, bool first, const uint8_t *x, size_t stride, int rows,
                                                             const uint8_t *pairs, int64_t count, float *y, int64_t ldy, next_panel *next) {
    size_t line = (size_t)ldy * sizeof *y;
    float *below = y + SIDE * ldy;
    TILE_ZERO(0);
    if (wide) TILE_ZERO(1);
    if (tall) TILE_ZERO(2);
    if (tall && wide) TILE_ZERO(3);
    if (!first) {
        TILE_LOAD(0, y, line);
        if (wide) TILE_LOAD(1, y + SIDE, line);
        if (tall) TILE_LOAD(2, below, line);
        if (tall && wide) TILE_LOAD(3, below + SIDE, line);
    }
    for (; count >= STEP; count -= STEP, x += 64, pairs += 2 * TILE_BYTES) {
        fetch_next(next);
        many_step(tall, wide, x, stride, pairs);
    }
    if (count) {
        uint8_t rest[SPAN * 64];
        copy_rest(rest, x, stride, rows, count);
        many_step(tall, wide, rest, 64, pairs);
    }
    TILE_STORE(0, y, line);
    if (wide) TILE_STORE(1, y + SIDE, line);
    if (tall) TILE_STORE(2, below, line);
    if (tall && wide) TILE_STORE(3, below + SIDE, line);
}

static void many_any(spans s, bool first, const uint8_t *x, size_t stride, const uint8_t *pairs, int64_t count, float *y, int64_t ldy, next_panel *next) {
    int rows = s.x[0] + s.x[1];
    if (s.x[1] && s.w[1]) many_block(true, true, first, x, stride, rows, pairs, count, y, ldy, next);
    else if (s.x[1]) many_block(true, false, first, x, stride, rows, pairs, count, y, ldy, next);
    else if (s.w[1]) many_block(false, true, first, x, stride, rows, pairs, count, y, ldy, next);
    else many_block(false, false, first, x, stride, rows, pairs, count, y, ldy, next);
}

static int part(int64_t left) { return left <= 0 ? 0 : left < SIDE ? (int)left : SIDE; }

// Weight rows [n, n1), at most SPAN of them.
static void many_rows(const cpu_matrix *m, const uint8_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n, int64_t n1, spans *set) {
    _Alignas(64) uint8_t pairs[PANEL_STEPS * 2 * TILE_BYTES]; // [k][2]
    spans s = {.w = {part(n1 - n), part(n1 - n - SIDE)}};
    int64_t after = m->n - n1 < SPAN ? m->n : n1 + SPAN, blocks = (rows + SPAN - 1) / SPAN, steps = m->k / STEP;
    next_panel next = {.at = (const uint8_t *)m->data + (size_t)n1 * m->row_bytes, .end = (const uint8_t *)m->data + (size_t)after * m->row_bytes};
    next.piece = steps ? (size_t)(next.end - next.at) / (size_t)(blocks * steps) / 64 * 64 + 64 : 0;
    for (int64_t k = 0; k < m->k; k += PANEL_STEPS * STEP) {
        int64_t count = m->k - k < PANEL_STEPS * STEP ? m->k - k : PANEL_STEPS * STEP;
        for (int i = 0; i < 2; i++)
            if (s.w[i]) group_pairs(m, n + i * SIDE, s.w[i], k, count, pairs + i * TILE_BYTES, 2 * TILE_BYTES);
        for (int64_t r = 0; r < rows; r += SPAN) {
            s.x[0] = part(rows - r), s.x[1] = part(rows - r - SIDE);
            if (memcmp(&s, set, sizeof s)) many_config(*set = s);
            many_any(s, k == 0, x + (size_t)r * stride + (size_t)k * 2, stride, pairs, count, y + r * ldy + n, ldy, &next);
        }
    }
}

void linear_bf16_amx(const cpu_matrix *m, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    size_t stride = act_bytes(ACT_BF16, m->k);
    spans set = {0};
    switch (rows) {
    case 0: return;
    case 1: few_rows(1, m, x, stride, y, ldy, n0, n1); break;
    case 2: few_rows(2, m, x, stride, y, ldy, n0, n1); break;
    case 3: few_rows(3, m, x, stride, y, ldy, n0, n1); break;
    case 4: few_rows(4, m, x, stride, y, ldy, n0, n1); break;
    default:
        for (int64_t n = n0; n < n1; n += SPAN) many_rows(m, x, stride, rows, y, ldy, n, n1 - n < SPAN ? n1 : n + SPAN, &set);
    }
    tile_release();
}
