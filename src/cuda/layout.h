// layout.h - how matrices and activations lie in the GPU's memory. C and CUDA; sizes only, no memory is touched here.
//
// mma.sync's operand A is 16 rows of a matrix, B is 8 columns: activations. Everything is stored in the order in which the
// 32 lanes of a warp hold such fragments, so that loads are 16 bytes wide and need no shuffling. lane = 4 g + t.
//
// MATRIX [n, k]: strips of 16 rows; a strip is its pieces of 256 k one after the other; k is padded to 64, so the last piece
// has 1 to 4 "chunks" of 64. Padding is zeros. A piece of c chunks is contiguous, its planes one after the other:
//   P8 (Q8_0)               [2 c blocks of 32][lane] 4 words a0 a1 a2 a3
//   P4 (low 4 bits)         [c][lane] 4 words: block 0 rows g, g + 8; block 1 rows g, g + 8. Low nibbles a0, a1; high nibbles a2, a3
//   P2 (2 bits)             [c][lane] 2 words, one a block: a_i = (word >> 2 i) & 0x03030303
//   P1 (1 bit)              [c][lane] 1 word: bit 8 b + 4 j + i belongs to byte b of a_i of block j
//   H  (F16, BF16)          [4 c steps of 16 k][lane] 4 words a0 a1 a2 a3 of m16n8k16
//   S  [16 rows] 16 bytes:  8 x f16 d | the file's d, dmin, 12 bytes of scales (Q4_K, Q5_K) | 16 scale bytes (Q2_K, Q6_K) |
//                           12 bytes of scales, d, 2 unused (Q3_K)
//   D  [16 rows]            Q4_1, Q5_1: 8 x f16 m; Q2_K: f16 d, dmin; Q6_K: f16 d
// where, of a block of 32 k: a0 = row g, k 4 t .. 4 t + 3; a1 = row g + 8; a2, a3 = the same rows, k 16 + 4 t .. 16 + 4 t + 3.
// F32 matrices lie as in the file.
//
// ACTIVATIONS: groups of 8 columns; a group is its pieces of 256 k one after the other; of a piece of c chunks:
//   int8:   [c][lane] 4 words: b0, b1 of block 0, b0, b1 of block 1 (b0 = column g, k 4 t ..; b1 = k 16 + 4 t ..), then the
//           scales d, then ds, then ds1, each [c][t][2 blocks][columns 2 t, 2 t + 1] float
//   halves: [2 c steps of 32 k][lane] 4 words: b0, b1 of two m16n8k16; then a scale for each column, 8 floats
// A row is one column of int8; a "wide" row is two, 2 r = hi and 2 r + 1 = lo (value = d (254 hi + lo)), and so is a row of
// halves (value = scale (hi + lo)). Columns past the last may hold anything.
// d has 16 significant bits, so that d * 1.5 * 2^23 is exact.
#ifndef TL_CUDA_LAYOUT_H
#define TL_CUDA_LAYOUT_H
#include <stdbool.h>
#include <stdint.h>

#ifdef __CUDACC__
#define LAYOUT static __host__ __device__ constexpr
#elif defined(__cplusplus)
#define LAYOUT static constexpr
#else
#define LAYOUT static inline
#endif

typedef enum { // tl_dtype's numbers, for kernels
#define TL_DTYPE(name, id, values, bytes, quant) CT_##name,
#include "base/dtype.def"
#undef TL_DTYPE
    CT_COUNT
} cuda_type;
typedef enum { CUDA_ACT_Q8, CUDA_ACT_WIDE, CUDA_ACT_F16, CUDA_ACT_BF16 } cuda_act_kind;

enum { CUDA_STRIP = 16, CUDA_CHUNK = 64, CUDA_PIECE = 256, CUDA_PIECE_CHUNKS = 4, CUDA_GROUP = 8 };

LAYOUT bool layout_is_half(int t) { return t == CT_F16 || t == CT_BF16; }
LAYOUT bool layout_is_blocks(int t) { return t >= CT_Q4_0 && t <= CT_Q6_K; }
LAYOUT int layout_code_bytes(int t) { // of a strip's chunk, all planes
    return t == CT_Q8_0                                    ? 1024
           : t == CT_Q2_K                                  ? 256
           : t == CT_Q3_K                                  ? 256 + 128
           : t == CT_Q6_K                                  ? 512 + 256
           : t == CT_Q5_0 || t == CT_Q5_1 || t == CT_Q5_K ? 512 + 128
           : layout_is_half(t)                             ? 2048
                                                           : 512;
}
LAYOUT int layout_first_plane(int t) { return t == CT_Q3_K ? 256 : t == CT_Q5_0 || t == CT_Q5_1 || t == CT_Q5_K || t == CT_Q6_K ? 512 : layout_code_bytes(t); } // of them
LAYOUT int layout_s_bytes(int t) { return layout_is_half(t) ? 0 : 256; }
LAYOUT int layout_d_bytes(int t) { return t == CT_Q4_1 || t == CT_Q5_1 ? 256 : t == CT_Q2_K ? 64 : t == CT_Q6_K ? 32 : 0; }
LAYOUT int layout_unit_bytes(int t, int chunks) { return layout_code_bytes(t) * chunks + layout_s_bytes(t) + layout_d_bytes(t); }
// Scales of a block of 32: of its halves where it has two parts, and minima; so many kinds of its activations' scales are read.
LAYOUT int layout_parts(int t) { return t == CT_Q2_K || t == CT_Q3_K || t == CT_Q6_K ? 2 : 1; }
LAYOUT bool layout_has_min(int t) { return t == CT_Q4_1 || t == CT_Q5_1 || t == CT_Q2_K || t == CT_Q4_K || t == CT_Q5_K; }
LAYOUT int layout_scale_kinds(int t) { return t == CT_Q2_K ? 3 : layout_has_min(t) ? 2 : 1; } // of d, ds, ds1
// A unit's scales worked out once for all its chunks: [chunk][row] layout_worked() floats, chunks 32 bytes further apart than they need.
LAYOUT int layout_worked(int t) { return 2 * layout_parts(t) * (layout_has_min(t) ? 2 : 1); } // of a row's chunk: s of both blocks, then m
LAYOUT int layout_worked_chunk(int t) { return CUDA_STRIP * layout_worked(t) * 4 + 32; }
// row.cuh: a warp's ring of slots; a slot is a unit, half of it where units are large.
enum { CUDA_ROW_SLOTS = 2 };
LAYOUT int layout_row_slot(int t) { return layout_is_half(t) ? 4096 : layout_unit_bytes(t, CUDA_PIECE_CHUNKS); }
// A single row's piece in shared memory (mma_row in mma.cuh): its codes, and all of it.
LAYOUT int layout_row_codes(int t, bool wide) { return layout_is_half(t) ? 1024 : wide ? 512 : 256; }
LAYOUT int layout_row_bytes(int t, bool wide) { return layout_row_codes(t, wide) + (layout_is_half(t) ? 16 : 32 * layout_scale_kinds(t)); }
LAYOUT int64_t layout_chunks(int64_t k) { return (k + CUDA_CHUNK - 1) / CUDA_CHUNK; }
LAYOUT int64_t layout_pieces(int64_t k) { return (k + CUDA_PIECE - 1) / CUDA_PIECE; }
LAYOUT int64_t layout_strips(int64_t n) { return (n + CUDA_STRIP - 1) / CUDA_STRIP; }
LAYOUT int64_t layout_strip_bytes(int t, int64_t k) {
    return layout_chunks(k) * layout_code_bytes(t) + layout_pieces(k) * (layout_s_bytes(t) + layout_d_bytes(t));
}
LAYOUT int64_t layout_matrix_bytes(int t, int64_t n, int64_t k) {
    return t == CT_F32 ? n * k * 4 : layout_strips(n) * layout_strip_bytes(t, k);
}

LAYOUT int layout_act_kind(int t, int wide) { return t == CT_F16 ? CUDA_ACT_F16 : t == CT_BF16 ? CUDA_ACT_BF16 : wide ? CUDA_ACT_WIDE : CUDA_ACT_Q8; }
LAYOUT int layout_columns(int act) { return act == CUDA_ACT_Q8 ? 1 : 2; } // of a row
LAYOUT int layout_act_piece(int act, int chunks) { return act <= CUDA_ACT_WIDE ? chunks * (512 + 3 * 64) : chunks * 1024 + 32; }
LAYOUT int64_t layout_group_bytes(int act, int64_t k) {
    return act <= CUDA_ACT_WIDE ? layout_chunks(k) * (512 + 3 * 64) : layout_chunks(k) * 1024 + layout_pieces(k) * 32;
}
LAYOUT int64_t layout_act_bytes(int act, int64_t rows, int64_t k) {
    return (rows * layout_columns(act) + CUDA_GROUP - 1) / CUDA_GROUP * layout_group_bytes(act, k);
}
#endif
