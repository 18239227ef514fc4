// linear_amx.c - linear() for AMX: quantized weights by tiles of int8 for 16 rows and more, AVX-512 (linear_avx512.c) for what
// linear_tiles.h leaves; bfloat16 by linear_bf16_amx.c.
//
// Instructions are written out: compilers' intrinsics (gcc 12) do not say that tiles read and write memory. The memory is named, not
// all of it clobbered, so that pointers stay in registers between them.
#include "cpu/linear_512.h"

enum { ZERO_8 = 0 }; // Q8_0's codes stay signed
static inline VI vi_s8(VI w) { return w; }

#include "cpu/linear_codes.h"
#include "cpu/linear_tile.h"

// Tiles 0, 1: sums of a slot each; 2, 3: activations; 4 to 7: codes.
static void ti_begin(void) {
    tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.rows[i] = (uint8_t)(i < 4 ? 16 : 8);
        c.colsb[i] = (uint16_t)(i == 2 || i == 3 ? 32 : 64);
    }
    tile_configure(&c);
}

static void ti_end(void) { tile_release(); }

#define TI_LOAD(T, AT, STRIDE) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #T : : "r"(AT), "r"((size_t)(STRIDE)), "m"(*(const uint8_t(*)[512])(AT)))
#define TI_STORE(C) __asm__ volatile("tilestored %%tmm" #C ", (%1,%2,1)\n\ttilezero %%tmm" #C : "=m"(*(int32_t(*)[256])out) : "r"(out), "r"((size_t)64))
#define TI_DOT(C, A, B) __asm__ volatile("tdpbssd %%tmm" #B ", %%tmm" #A ", %%tmm" #C : : )

INLINE void ti_load_x(int i, const uint8_t *x) {
    if (i == 0) TI_LOAD(2, x, ACT_BLOCK);
    else TI_LOAD(3, x, ACT_BLOCK);
}

INLINE void ti_load_codes(int i, const uint8_t *codes) {
    switch (i) {
    case 0: TI_LOAD(4, codes, 64); break;
    case 1: TI_LOAD(5, codes, 64); break;
    case 2: TI_LOAD(6, codes, 64); break;
    default: TI_LOAD(7, codes, 64);
    }
}

INLINE void ti_dot(int slot, int i, const uint8_t *x, int j, const uint8_t *codes, int32_t *out) {
    (void)x, (void)codes, (void)out;
    switch (8 * slot + 4 * i + j) {
    case 0: TI_DOT(0, 2, 4); break;
    case 1: TI_DOT(0, 2, 5); break;
    case 2: TI_DOT(0, 2, 6); break;
    case 3: TI_DOT(0, 2, 7); break;
    case 4: TI_DOT(0, 3, 4); break;
    case 5: TI_DOT(0, 3, 5); break;
    case 6: TI_DOT(0, 3, 6); break;
    case 7: TI_DOT(0, 3, 7); break;
    case 8: TI_DOT(1, 2, 4); break;
    case 9: TI_DOT(1, 2, 5); break;
    case 10: TI_DOT(1, 2, 6); break;
    case 11: TI_DOT(1, 2, 7); break;
    case 12: TI_DOT(1, 3, 4); break;
    case 13: TI_DOT(1, 3, 5); break;
    case 14: TI_DOT(1, 3, 6); break;
    default: TI_DOT(1, 3, 7);
    }
}

INLINE void ti_store(int slot, int32_t *out) {
    if (slot == 0) TI_STORE(0);
    else TI_STORE(1);
}

#include "cpu/linear_tiles.h"

static void act_tile(act_kind kind, const float *x, void *dst, int64_t k, int64_t row) { tiles_quantize(act_quantize_avx512, kind, x, dst, k, row); }

static void linear_amx(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (w->type == DT_BF16) linear_bf16_amx(w, x, rows, y, ldy, n0, n1);
    else if (tiles_apply(w, rows)) linear_tiles(w, x, rows, y, ldy, n0, n1);
    else linear_avx512(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_amx(cpu_kernels *k) {
    k->linear = linear_amx;
    k->tiled = tiles_have;
    k->act_tile = act_tile;
    k->linear_tiled = linear_tiled;
}
