// linear_avx512bf16.c - linear() for AVX-512 with BF16: matrices of bfloat16 by VDPBF16PS, from the file's own rows (nothing
// is interleaved at load, no second copy is held). Every other type is AVX-512's.
//
// An output is 16 lanes of sums over k, 32 at a time, as linear_bf16_ref() (linear_ref.c) defines it: the same for any number
// of rows. A tile is up to TALL rows of x against WIDE rows of W.
#include "cpu/linear.h"
#include "cpu/simd_avx512.h"

enum {
    STEP = 32,          // values of k in a vector
    WIDE = 4, TALL = 6, // 24 sums, 4 weights: as many registers as there are
    ALONE = 8,          // weight rows that a single row of x meets: memory is read faster from several places
    PANEL_ROWS = 64,    // weight rows that stay in L2 while all rows of x meet them
    PANEL_K = 1408,     // k of TALL rows of x in L1
    AHEAD = 1024,       // bytes that a single row asks for in advance
};

V_INLINE __m512bh load_pairs(const uint16_t *p) { return (__m512bh)_mm512_loadu_si512(p); }
V_INLINE __m512bh load_some(const uint16_t *p, int64_t n) { // 0 <= n < STEP values, then zeros
    return (__m512bh)_mm512_maskz_loadu_epi16(((__mmask32)1 << n) - 1, p);
}

V_INLINE void step(int rows, int wide, const __m512bh *w, const __m512bh *a, vf acc[TALL][ALONE]) {
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < wide; c++) acc[r][c] = _mm512_dpbf16_ps(acc[r][c], w[c], a[r]);
}

// k values of `wide` rows of W at w[c] and `rows` rows of x; the lanes' sums continue in sum[rows][wide]. Weights `ahead` bytes
// further on are wanted next.
V_INLINE void tile(int rows, int wide, const uint16_t *const *w, int64_t k, const uint16_t *x, size_t stride, float *sum, size_t ahead) {
    vf acc[TALL][ALONE];
    __m512bh b[ALONE], a[TALL];
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < wide; c++) acc[r][c] = v_load(sum + (r * wide + c) * V_N);
    int64_t i = 0;
    for (; i + STEP <= k; i += STEP) {
        V_UNROLL for (int c = 0; c < wide; c++) {
            __builtin_prefetch((const uint8_t *)(w[c] + i) + ahead);
            b[c] = load_pairs(w[c] + i);
        }
        V_UNROLL for (int r = 0; r < rows; r++) a[r] = load_pairs(x + (size_t)r * stride + i);
        step(rows, wide, b, a, acc);
    }
    if (i < k) {
        V_UNROLL for (int c = 0; c < wide; c++) b[c] = load_some(w[c] + i, k - i);
        V_UNROLL for (int r = 0; r < rows; r++) a[r] = load_some(x + (size_t)r * stride + i, k - i);
        step(rows, wide, b, a, acc);
    }
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int c = 0; c < wide; c++) v_store(sum + (r * wide + c) * V_N, acc[r][c]);
}

// Weight rows [n, n + count), count <= wide, at k: too few stand several times.
V_INLINE void rows_at(const cpu_matrix *m, int64_t n, int64_t count, int wide, int64_t k, const uint16_t **w) {
    for (int c = 0; c < wide; c++)
        w[c] = (const uint16_t *)(const void *)((const uint8_t *)m->data + (size_t)(n + (c < count ? c : 0)) * m->row_bytes) + k;
}

static void tile_rows(int rows, const uint16_t *const *w, int64_t k, const uint16_t *x, size_t stride, float *sum, size_t ahead) {
    switch (rows) {
    case 1: tile(1, WIDE, w, k, x, stride, sum, ahead); break;
    case 2: tile(2, WIDE, w, k, x, stride, sum, ahead); break;
    case 3: tile(3, WIDE, w, k, x, stride, sum, ahead); break;
    case 4: tile(4, WIDE, w, k, x, stride, sum, ahead); break;
    case 5: tile(5, WIDE, w, k, x, stride, sum, ahead); break;
    default: tile(TALL, WIDE, w, k, x, stride, sum, ahead);
    }
}

// Lanes to outputs: 4 vectors of sums at a time, of which `count` are wanted.
V_INLINE void put(const float *sum, float *y, int64_t count) {
    vf s[4];
    float all[4];
    for (int c = 0; c < 4; c++) s[c] = v_load(sum + c * V_N);
    v_hsum4(count < 4 ? all : y, s);
    if (count < 4) memcpy(y, all, (size_t)count * sizeof *y);
}

// Weights that are wanted after these, from memory to L2: `piece` bytes of [at, end) before each tile.
typedef struct next_panel {
    const uint8_t *at, *end;
    size_t piece;
} next_panel;

static void fetch_next(next_panel *p) {
    const uint8_t *stop = (size_t)(p->end - p->at) > p->piece ? p->at + p->piece : p->end;
    for (; p->at < stop; p->at += 64) __builtin_prefetch(p->at, 0, 2);
}

// At most TALL rows of x against weight rows [n0, n1), at most PANEL_ROWS of them.
static void some_rows(const cpu_matrix *m, int rows, const uint16_t *x, size_t stride, float *y, int64_t ldy, int64_t n0, int64_t n1,
                      next_panel *next) {
    _Alignas(64) float sum[PANEL_ROWS / WIDE][TALL * WIDE * V_N];
    const uint16_t *w[WIDE];
    int64_t blocks = (n1 - n0 + WIDE - 1) / WIDE;
    for (int64_t b = 0; b < blocks; b++) memset(sum[b], 0, (size_t)(rows * WIDE * V_N) * sizeof(float));
    for (int64_t k = 0; k < m->k; k += PANEL_K)
        for (int64_t b = 0; b < blocks; b++) {
            fetch_next(next);
            rows_at(m, n0 + b * WIDE, n1 - n0 - b * WIDE, WIDE, k, w);
            tile_rows(rows, w, m->k - k < PANEL_K ? m->k - k : PANEL_K, x + k, stride, sum[b], b + 1 < blocks ? WIDE * m->row_bytes : 0);
        }
    for (int64_t b = 0; b < blocks; b++)
        for (int r = 0; r < rows; r++) put(sum[b] + r * WIDE * V_N, y + r * ldy + n0 + b * WIDE, n1 - n0 - b * WIDE);
}

// All rows of x against weight rows [n0, n1), at most PANEL_ROWS of them.
static void panel_rows(const cpu_matrix *m, const uint16_t *x, size_t stride, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    const uint8_t *data = m->data;
    int64_t after = m->n - n1 < PANEL_ROWS ? m->n : n1 + PANEL_ROWS;
    next_panel next = {.at = data + (size_t)n1 * m->row_bytes, .end = data + (size_t)after * m->row_bytes};
    size_t tiles = (size_t)((rows + TALL - 1) / TALL * ((n1 - n0 + WIDE - 1) / WIDE) * ((m->k + PANEL_K - 1) / PANEL_K));
    next.piece = rows <= TALL ? 0 : (size_t)(next.end - next.at) / tiles / 64 * 64 + 64;
    for (int64_t r = 0; r < rows; r += TALL)
        some_rows(m, rows - r < TALL ? (int)(rows - r) : TALL, x + (size_t)r * stride, stride, y + r * ldy, ldy, n0, n1, &next);
}

static void one_row(const cpu_matrix *m, const uint16_t *x, float *y, int64_t n0, int64_t n1) {
    const uint16_t *w[ALONE];
    for (int64_t n = n0; n < n1; n += ALONE) {
        _Alignas(64) float sum[ALONE * V_N] = {0};
        rows_at(m, n, n1 - n, ALONE, 0, w);
        tile(1, ALONE, w, m->k, x, 0, sum, AHEAD);
        for (int c = 0; c < ALONE && n + c < n1; c += 4) put(sum + c * V_N, y + n + c, n1 - n - c);
    }
}

static void linear_bf16(const cpu_matrix *m, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    size_t stride = act_bytes(ACT_BF16, m->k) / sizeof(uint16_t);
    if (rows == 1) {
        one_row(m, x, y, n0, n1);
        return;
    }
    for (int64_t n = n0; n < n1; n += PANEL_ROWS)
        panel_rows(m, x, stride, rows, y, ldy, n, n1 - n < PANEL_ROWS ? n1 : n + PANEL_ROWS);
}

static void quantize(act_kind kind, const float *x, void *dst, int64_t k) {
    if (kind != ACT_BF16) {
        act_quantize_avx512(kind, x, dst, k);
        return;
    }
    int64_t i = 0;
    for (; i + V_N <= k; i += V_N) { // as f32_to_bf16() rounds; VCVTNEPS2BF16 would lose subnormal numbers
        vf a = v_load(x + i);
        vi u = v_bits(a), round = v_iadd(v_iset1(0x7fff), v_iand(v_ishr(u, 16), v_iset1(1)));
        vf quiet = v_or(a, v_float(v_iset1(0x400000)));
        v_store_u16((uint16_t *)dst + i, v_ishr(v_bits(v_sel(v_ne(a, a), quiet, v_float(v_iadd(u, round)))), 16));
    }
    act_quantize_ref(ACT_BF16, x + i, (uint16_t *)dst + i, k - i);
}

static int layout(tl_dtype type, int64_t n, int64_t k) { return type == DT_BF16 ? LINEAR_FILE : linear_layout_i16(type, n, k); }
static act_kind act(tl_dtype type) { return type == DT_BF16 ? ACT_BF16 : linear_act(type); }

static void linear_avx512bf16(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (w->type == DT_BF16) linear_bf16(w, x, rows, y, ldy, n0, n1);
    else linear_avx512(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avx512bf16(cpu_kernels *k) {
    k->matrix_layout = layout;
    k->matrix_act = act;
    k->act_quantize = quantize;
    k->linear = linear_avx512bf16;
}
