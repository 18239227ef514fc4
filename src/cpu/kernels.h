// kernels.h - the CPU backend's kernel table. ref.c fills all of it in plain C and defines the results;
// cpu_select() overrides entries with what each supported ISA does better. TL_CPU forces one ISA.
//
// Rule for all kernels: a row's result never depends on which rows are beside it, on how the work was
// split over threads, or on the range [n0, n1) it was asked for (same accumulation order per output).
#ifndef TL_KERNELS_H
#define TL_KERNELS_H
#include "base/dtype.h"

enum { CPU_ROW_GROUP = 16 }; // n ranges of linear() and matrix_prepare() are multiples of it
enum { CPU_TILE = 16 };      // rows of activations that products by tiles take together

// ---- matrices prepared for y = W x ---------------------------------------------------------------
// W is [n, k]: n output features (rows in the file, contiguous), k input features.
typedef struct cpu_matrix {
    tl_dtype type;
    int layout;         // 0: the file's own rows; others belong to the ISA that prepared it
    int64_t n, k;
    const void *data;   // file bytes (layout 0) or prepared bytes
    size_t row_bytes;   // layout 0
    bool wide;          // quantized types: linear() reads rows of ACT_Q16 in place of matrix_act()'s ACT_Q8
} cpu_matrix;

// Activations as kernels read them: float32 rows are converted once and shared by all matrices that
// read them with the same kind. ACT_F32: as is. ACT_Q8: int8 in blocks of 32, each with a float32 scale
// and the block's sum (for formats with a min). ACT_Q16: the same with about 16 bits a value, as two int8
// planes, at twice the work; read by matrices with `wide` set. The exact byte layout belongs to act.h and
// is one per kind for all ISAs, so that tests can compare.
typedef enum { ACT_F32, ACT_BF16, ACT_Q8, ACT_Q16, ACT_KINDS } act_kind;

// ---- attention -----------------------------------------------------------------------------------
// The KV cache of one layer is two arrays over slots: K [slots, g, dk], V [slots, g, dv], stored in `kv_type`.
typedef struct attn_seq {     // one sequence's readable slots, ordered by position then slot
    const int32_t *slots;     // slot ids
    const int32_t *at;        // position held by slots[i]
    int64_t n;
    int64_t dropped;          // entries freed before slots[0]: sums stay cut where they were, so bits stay equal
    uint32_t version;         // another one whenever entries changed in another way than by appending; 0: not known
} attn_seq;
typedef struct attn_args {
    int64_t rows;             // query rows
    int heads, kv_heads;      // heads % kv_heads == 0; query head h reads kv head h / (heads / kv_heads)
    int dk, dv;               // key and value width per head
    const float *q; int64_t q_stride;   // [rows, heads, dk], floats between rows
    const void *k, *v;        // slot 0
    tl_dtype kv_type;         // DT_F16, DT_F32, or DT_Q8_0, DT_Q4_0 (dk and dv multiples of 32)
    size_t k_slot_bytes, v_slot_bytes;  // between slots
    const int32_t *seq;       // [rows] index into seqs
    const int32_t *pos;       // [rows]
    const attn_seq *seqs;
    float scale, softcap;     // softcap 0: none; s = softcap * tanh(s / softcap) after scale
    int32_t window;           // 0: none; else a key at position a is read iff pos - window < a <= pos
    const float *sinks;       // [heads] extra logit with no value, or NULL
    bool causal;              // false: every slot is read (with a window: |pos - a| < window)
    const uint32_t *mask;     // NULL, or bits [rows, mask_stride * 32] over the row's sequence: entry i is read only
    int64_t mask_stride;      // if bit i % 32 of word i / 32 is set; causal and window hold as well
    float *out; int64_t out_stride;     // [rows, heads, dv]; a row that reads nothing becomes 0
    void *act; size_t act_bytes;        // NULL, or rows of `out` quantized (a table's act_quantize(), ACT_Q8 or ACT_Q16), bytes between
    act_kind act_kind;                  // them; the values of a kv head's query heads are whole blocks of 32
    void (*quantize)(act_kind kind, const float *x, void *dst, int64_t k);
    // How the call is shared out; no bit of the result depends on it.
    int threads;              // threads that will take items (0 counts as 1)
    void *work;               // attn_work_bytes() bytes shared by the threads, or NULL: one item per tile and head
    int64_t work_slots;       // the `max_slots` that work was made for
} attn_args;

typedef struct cpu_kernels {
    const char *isa; // "ref", "avx2", "avxvnni", "avx512", "amx"

    // -- matrices --
    // Layout this ISA wants for the type (0: the file's own), and the bytes it takes; prepare() converts rows
    // [n0, n1) (multiples of cpu_row_group) from file bytes into dst (the whole matrix's start).
    int (*matrix_layout)(tl_dtype type, int64_t n, int64_t k);
    size_t (*matrix_bytes)(tl_dtype type, int layout, int64_t n, int64_t k);
    void (*matrix_prepare)(const cpu_matrix *src, int layout, void *dst, int64_t n0, int64_t n1);
    act_kind (*matrix_act)(tl_dtype type);                 // what linear() reads for this weight type
    size_t (*act_bytes)(act_kind kind, int64_t k);         // bytes of one row
    void (*act_quantize)(act_kind kind, const float *x, void *dst, int64_t k); // one row
    // y[r * ldy + n] = sum_k W[n, k] x[r, k] for r < rows, n0 <= n < n1 (n0, n1 multiples of 16 or the end).
    // x: rows of act_bytes(kind, k) bytes each.
    void (*linear)(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
    // The same where an ISA has products by tiles of CPU_TILE rows, else NULL. linear_tiled() takes matrices that tiled() says; its x
    // begins at a row that is a multiple of CPU_TILE, in an array with room for whole tiles whose rows act_tile() has made: x NULL
    // stands for a row that is not there.
    bool (*tiled)(const cpu_matrix *w);
    void (*act_tile)(act_kind kind, const float *x, void *dst, int64_t k, int64_t row); // ACT_Q8, ACT_Q16; dst: of row 0
    void (*linear_tiled)(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
    // Row `row` of a matrix as float32 (embedding lookup), any layout.
    void (*matrix_row)(const cpu_matrix *w, int64_t row, float *dst);

    // -- rows of float32 --
    void (*rms_norm)(const float *x, const float *w, float eps, float *y, int64_t n);   // w may be NULL
    void (*layer_norm)(const float *x, const float *w, const float *b, float eps, float *y, int64_t n); // w, b may be NULL
    void (*softmax)(const float *x, float *y, int64_t n);  // all -inf or n = 0: zeros
    bool (*all_finite)(const float *x, int64_t n); // no NaN, no infinity
    // Of blocks of CPU_BLOCK values, the last one shorter; NaN is absent. maxima[b]: -inf where nothing is. sums[b]: of
    // exp(x - base), for values of at most `base`; dots[b] (may be NULL): of exp(x - base) (x - base).
    void (*block_maxima)(const float *x, float *maxima, int64_t n);
    void (*block_exp_sums)(const float *x, float base, float *sums, float *dots, int64_t n);
    // Rotates pairs of one head of width d (rot <= d values rotated, the rest copied): cs holds rot/2 cosines
    // then rot/2 sines. interleaved: pairs (2i, 2i+1); else (i, i + rot/2).
    void (*rope)(const float *x, const float *cs, float *y, int64_t d, int64_t rot, bool interleaved);
    // Conversions of n contiguous values (n % 32 == 0 for Q8_0 and Q4_0).
    void (*store)(tl_dtype type, const float *x, void *dst, int64_t n); // F32, F16, BF16, Q8_0, Q4_0
    void (*load)(tl_dtype type, const void *src, float *dst, int64_t n);

    // -- attention: items [item0, item1) of attn_items(); any thread, any order; complete when all items are done.
    // scratch: attn_scratch_bytes(), per thread --
    void (*attention)(const attn_args *a, int64_t item0, int64_t item1, void *scratch);

    // -- elementwise: dst[i] = op(a[i], b[i]); contiguous; dst may alias --
    void (*map1)(int op, const float *a, float *dst, int64_t n);                 // op: a MAP1 row of map.def
    void (*map2)(int op, const float *a, const float *b, float *dst, int64_t n); // op: a MAP2 row of map.def
    void (*map2s)(int op, const float *a, float b, float *dst, int64_t n);       // b is one value
    void (*gate)(int op, const float *a, const float *b, float *dst, int64_t n); // dst[i] = op(a[i]) b[i]; op: MAP_SILU or MAP_GELU
    // c[i, j] += sum_k a[i * lda + k] * b[k * ldb + j] (generic contractions after packing), float32
    void (*gemm)(const float *a, int64_t lda, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t m, int64_t n, int64_t k);
    float (*dot)(const float *a, const float *b, int64_t n);
    void (*axpy)(float s, const float *x, float *y, int64_t n); // y += s x
} cpu_kernels;

enum { CPU_BLOCK = 64 };                            // of block_maxima() and block_exp_sums()
// Work items of a call (a tile of query rows x a kv head, x a piece of the slot list when the others are few).
int64_t attn_items(const attn_args *a);
size_t attn_scratch_bytes(const attn_args *a); // per thread; reads heads, kv_heads, dk, dv only
// Bytes of `work` for sequences of up to max_slots entries; reads heads, kv_heads, dv, threads only. Zero it once, before
// the first call; every call leaves it ready for the next, of any shape it is large enough for. No other op may use it.
size_t attn_work_bytes(const attn_args *a, int64_t max_slots);

// The table for `isa` ("ref", "avx2", ... or NULL: TL_CPU, else the best this machine has).
// TL_E_USAGE naming the choices when unknown, TL_E_UNSUPPORTED when this CPU lacks it. Static storage.
tl_status cpu_select(const char *isa, const cpu_kernels **out, tl_error *err);
#endif
