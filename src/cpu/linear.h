// linear.h - what the files of linear() share: prepared layouts, the plain decoder, and the table entries per ISA.
//
// LINEAR_I16 is the one prepared layout, read by every ISA but `ref`: 16 rows interleaved. A "group" is 16 rows; a group is
// its k blocks one after the other; a block is the file's block of each of the 16 rows, merged unit by unit: a field
// of u units (dwords of quants and packed scales, halfwords of float16 scales) becomes u vectors of 16 units, lane r
// belonging to row r. A dword of quants is four consecutive k, so one broadcast of 4 activations meets 16 rows.
// The size is the file's, rows padded with zeros to a multiple of 16 (and k of BF16 to a multiple of 2).
#ifndef TL_CPU_LINEAR_H
#define TL_CPU_LINEAR_H
#include "cpu/act.h"

enum { LINEAR_FILE = 0, LINEAR_I16 = 1, LINEAR_ROWS = 16, LINEAR_BLOCK_MAX = 210 };

// A field of a block: `units` units of `unit` bytes at `src` in the file's block of one row, at `dst` in the merged
// block. A unit of LINEAR_BITS is a dword of 32 single bits, transposed so that byte b, bit j is bit 4 * j + b.
enum { LINEAR_BITS = 5 };
typedef struct linear_field {
    uint16_t src, dst;
    uint8_t units, unit;
} linear_field;
typedef struct linear_format {
    int values, bytes; // of a file's block; 0: no such matrix
    int parts;         // scales of 32 values: 1, or 2 (one for each 16)
    linear_field field[5];
} linear_format;
const linear_format *linear_format_of(tl_dtype type); // quantized types only, else NULL

// Offsets of the fields in merged blocks, for the kernels (bytes).
enum {
    Q4_0_D = 256, Q4_0_BYTES = 288,
    Q4_1_D = 256, Q4_1_M = 288, Q4_1_BYTES = 320,
    Q5_0_H = 256, Q5_0_D = 320, Q5_0_BYTES = 352,
    Q5_1_H = 256, Q5_1_D = 320, Q5_1_M = 352, Q5_1_BYTES = 384,
    Q8_0_D = 512, Q8_0_BYTES = 544,
    Q2_K_SC = 1024, Q2_K_D = 1280, Q2_K_M = 1312, Q2_K_BYTES = 1344,
    Q3_K_H = 1024, Q3_K_SC = 1536, Q3_K_D = 1728, Q3_K_BYTES = 1760,
    Q4_K_SC = 2048, Q4_K_D = 2240, Q4_K_M = 2272, Q4_K_BYTES = 2304,
    Q5_K_H = 2048, Q5_K_SC = 2560, Q5_K_D = 2752, Q5_K_M = 2784, Q5_K_BYTES = 2816,
    Q6_K_H = 2048, Q6_K_SC = 3072, Q6_K_D = 3328, Q6_K_BYTES = 3360,
};

bool linear_is_matrix(tl_dtype type);                       // a type linear() takes
size_t linear_group_bytes(tl_dtype type, int64_t k);        // of 16 rows in LINEAR_I16
static inline const uint8_t *linear_group(const cpu_matrix *w, int64_t row) { // of rows [row, row + 16)
    return (const uint8_t *)w->data + (size_t)(row / LINEAR_ROWS) * linear_group_bytes(w->type, w->k);
}

// 32 consecutive weights in integer form: weight i = scale[i / 16] * q[i] - min[i / 16].
typedef struct linear_sub {
    int8_t q[32];
    float scale[2], min[2];
} linear_sub;
void linear_sub_decode(tl_dtype type, const uint8_t *block, int sub, linear_sub *out); // file's block
// Block `block` of a row as the file has it, any layout; put together in `buffer` (LINEAR_BLOCK_MAX bytes) if need be.
const uint8_t *linear_block(const cpu_matrix *w, int64_t row, int64_t block, uint8_t *buffer);
bool linear_has_min(tl_dtype type); // a format whose min is not always 0
void linear_plain(const cpu_matrix *w, int64_t row, int64_t k0, int64_t count, float *dst); // values k0.. of a row of F32, F16, BF16

// Entries of the table that all ISAs share.
int linear_layout_file(tl_dtype type, int64_t n, int64_t k);
int linear_layout_i16(tl_dtype type, int64_t n, int64_t k);
size_t linear_bytes(tl_dtype type, int layout, int64_t n, int64_t k);
void linear_prepare(const cpu_matrix *src, int layout, void *dst, int64_t n0, int64_t n1);
void linear_row(const cpu_matrix *w, int64_t row, float *dst);
act_kind linear_act(tl_dtype type);
void linear_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);

// What BF16 matrices times rows of ACT_BF16 are, for ISAs whose matrix_act() says so (file's rows only): with VDPBF16PS, and
// with tiles (TDPBF16PS).
void linear_bf16_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
void linear_bf16_tiles_ref(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);

// Fill the entries from matrix_layout to matrix_row.
void cpu_linear_ref(cpu_kernels *k);
void cpu_linear_avx2(cpu_kernels *k);    // AVX2, FMA, F16C
void cpu_linear_avxvnni(cpu_kernels *k); // AVX-VNNI besides
void cpu_linear_avx512(cpu_kernels *k);  // AVX-512 F, BW, DQ, VL, VNNI
void cpu_linear_avx512bf16(cpu_kernels *k); // AVX512_BF16 besides
void cpu_linear_amx(cpu_kernels *k);     // AMX-TILE, AMX-INT8, AMX-BF16 besides
void cpu_linear_neon(cpu_kernels *k);    // AArch64
void cpu_linear_dotprod(cpu_kernels *k); // SDOT besides
void cpu_linear_i8mm(cpu_kernels *k);    // SMMLA besides
void linear_avx512(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
void linear_bf16_amx(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
void linear_dotprod(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1);
#endif
