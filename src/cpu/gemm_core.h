// gemm_core.h - the float32 product and axpy in the words of simd_*.h; included once by each vec_ISA.c.
//
// c += a b is taken in blocks of k that start at multiples of GEMM_K: inside a block an element's products are added in
// the order of k to a sum that starts at 0, and the block's sum is added to c. So no element depends on m, n or tiling.
// Loops, outside in: blocks of k; blocks of GEMM_M rows of a (in L2); panels of a tile's columns of b, copied to the stack
// (in L1; a copy, since rows of b a power of two apart would share cache sets); tiles of GEMM_ROWS rows (a from L2).
enum { GEMM_K = 256, GEMM_M = 96 / GEMM_ROWS * GEMM_ROWS, GEMM_COLS = GEMM_VECS * V_N, GEMM_THIN = 2, GEMM_STRIP = 512 };

// c[r, 0..GEMM_COLS) += a[r, 0..k) b for `rows` rows (a constant when inlined); b is a packed panel.
V_INLINE void gemm_tile(int rows, const float *a, int64_t lda, const float *b, float *c, int64_t ldc, int64_t k) {
    vf sum[GEMM_ROWS][GEMM_VECS];
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int v = 0; v < GEMM_VECS; v++) sum[r][v] = v_zero();
    for (int64_t p = 0; p < k; p++, b += GEMM_COLS) {
        vf y[GEMM_VECS];
        V_UNROLL for (int v = 0; v < GEMM_VECS; v++) y[v] = v_load(b + v * V_N);
        V_UNROLL for (int r = 0; r < rows; r++) {
            vf x = v_set1(a[r * lda + p]);
            V_UNROLL for (int v = 0; v < GEMM_VECS; v++) sum[r][v] = v_fma(x, y[v], sum[r][v]);
        }
    }
    V_UNROLL for (int r = 0; r < rows; r++)
        V_UNROLL for (int v = 0; v < GEMM_VECS; v++) {
            float *to = c + r * ldc + v * V_N;
            v_store(to, v_add(v_load(to), sum[r][v]));
        }
}

static void V_NAME(gemm_rows)(int rows, const float *a, int64_t lda, const float *b, float *c, int64_t ldc, int64_t k) {
    for (; rows >= GEMM_ROWS; rows -= GEMM_ROWS, a += GEMM_ROWS * lda, c += GEMM_ROWS * ldc)
        gemm_tile(GEMM_ROWS, a, lda, b, c, ldc, k);
    for (; rows >= 4; rows -= 4, a += 4 * lda, c += 4 * ldc) gemm_tile(4, a, lda, b, c, ldc, k);
    for (; rows >= 1; rows--, a += lda, c += ldc) gemm_tile(1, a, lda, b, c, ldc, k);
}

// A panel of `cols` columns; a narrower one is filled up with zeros and its part of c goes through a copy.
static void V_NAME(gemm_panel)(int rows, const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t cols,
                               int64_t k) {
    _Alignas(64) float panel[GEMM_K * GEMM_COLS];
    if (cols >= GEMM_COLS) {
        for (int64_t p = 0; p < k; p++)
            V_UNROLL for (int v = 0; v < GEMM_VECS; v++) v_store(panel + p * GEMM_COLS + v * V_N, v_load(b + p * ldb + v * V_N));
        V_NAME(gemm_rows)(rows, a, lda, panel, c, ldc, k);
        return;
    }
    memset(panel, 0, (size_t)(k * GEMM_COLS) * sizeof *panel);
    for (int64_t p = 0; p < k; p++) memcpy(panel + p * GEMM_COLS, b + p * ldb, (size_t)cols * sizeof *panel);
    float edge[GEMM_ROWS * GEMM_COLS] = {0};
    for (int r = 0; r < rows; r += GEMM_ROWS) {
        int some = rows - r < GEMM_ROWS ? rows - r : GEMM_ROWS;
        for (int i = 0; i < some; i++) memcpy(edge + i * GEMM_COLS, c + (r + i) * ldc, (size_t)cols * sizeof *c);
        V_NAME(gemm_rows)(some, a + r * lda, lda, panel, edge, GEMM_COLS, k);
        for (int i = 0; i < some; i++) memcpy(c + (r + i) * ldc, edge + i * GEMM_COLS, (size_t)cols * sizeof *c);
    }
}

// One row times a strip of b, which is read in its own order: the same sums, held in L1.
static void V_NAME(gemm_strip)(const float *a, const float *b, int64_t ldb, float *c, int64_t cols, int64_t k) {
    float sum[GEMM_STRIP] = {0};
    for (int64_t p = 0; p < k; p++) {
        vf x = v_set1(a[p]);
        int64_t j = 0;
        for (; j + V_N <= cols; j += V_N) v_store(sum + j, v_fma(x, v_load(b + p * ldb + j), v_load(sum + j)));
        if (j < cols) v_storen(sum + j, v_fma(x, v_loadn(b + p * ldb + j, cols - j), v_loadn(sum + j, cols - j)), cols - j);
    }
    for (int64_t j = 0; j < cols; j++) c[j] += sum[j];
}

// Rows of `a` whose distance is a multiple of the caches' own would share their sets: a copy does not.
enum { GEMM_LDA = GEMM_K + V_N, GEMM_CLASH = 256 };
static void V_NAME(gemm_block)(const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int m, int64_t n, int64_t k) {
    _Alignas(64) float copy[GEMM_M * GEMM_LDA];
    if (lda % GEMM_CLASH == 0 && n >= 4 * GEMM_COLS) {
        for (int i = 0; i < m; i++) memcpy(copy + i * GEMM_LDA, a + i * lda, (size_t)k * sizeof *copy);
        a = copy, lda = GEMM_LDA;
    }
    for (int64_t j = 0; j < n; j += GEMM_COLS)
        V_NAME(gemm_panel)(m, a, lda, b + j, ldb, c + j, ldc, n - j < GEMM_COLS ? n - j : GEMM_COLS, k);
}

static void V_NAME(gemm)(const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t m, int64_t n, int64_t k) {
    for (int64_t p = 0; p < k; p += GEMM_K) {
        int64_t some_k = k - p < GEMM_K ? k - p : GEMM_K;
        for (int64_t i = 0; m > GEMM_THIN && i < m; i += GEMM_M)
            V_NAME(gemm_block)(a + i * lda + p, lda, b + p * ldb, ldb, c + i * ldc, ldc, (int)(m - i < GEMM_M ? m - i : GEMM_M), n, some_k);
        for (int64_t i = 0; m <= GEMM_THIN && i < m; i++)
            for (int64_t j = 0; j < n; j += GEMM_STRIP)
                V_NAME(gemm_strip)(a + i * lda + p, b + p * ldb + j, ldb, c + i * ldc + j, n - j < GEMM_STRIP ? n - j : GEMM_STRIP, some_k);
    }
}

static void V_NAME(axpy)(float s, const float *x, float *y, int64_t n) {
    vf f = v_set1(s);
    int64_t i = 0;
    for (; i + V_N <= n; i += V_N) v_store(y + i, v_fma(f, v_load(x + i), v_load(y + i)));
    if (i < n) v_storen(y + i, v_fma(f, v_loadn(x + i, n - i), v_loadn(y + i, n - i)), n - i);
}
