// linear_amx.c - linear() for AMX: quantized weights by tiles of int8 for 16 rows and more, AVX-512 (linear_avx512.c) for what
// linear_tiles.h leaves; bfloat16 by linear_bf16_amx.c.
//
// Instructions are written out: compilers' intrinsics (gcc 12) do not say that tiles read and write memory.
#include "cpu/linear_512.h"

static inline VI vi_s8(VI w) { return w; } // Q8_0's codes stay signed

#include "cpu/linear_codes.h"
#include "cpu/linear_tile.h"

// Tiles 0 to 2: sums, activations, codes of slot 0; 3 to 5 those of slot 1.
static void ti_begin(void) {
    tile_config c = {.palette = 1};
    for (int i = 0; i < 6; i++) {
        c.rows[i] = (uint8_t)(i % 3 == 2 ? 8 : 16);
        c.colsb[i] = (uint16_t)(i % 3 == 1 ? 32 : 64);
    }
    tile_configure(&c);
}

static void ti_end(void) { tile_release(); }

#define TI_DOT(C, A, B, MULTIPLY)                                                                                      \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #A "\n\ttileloadd (%2,%3,1), %%tmm" #B "\n\ttilezero %%tmm" #C       \
                     "\n\t" MULTIPLY " %%tmm" #B ", %%tmm" #A ", %%tmm" #C "\n\ttilestored %%tmm" #C ", (%4,%3,1)"     \
                     : : "r"(x), "r"(stride), "r"(codes), "r"((size_t)64), "r"(out) : "memory")

// Signed activations times unsigned codes, or signed ones (Q8_0).
static inline void ti_dot(int slot, tl_dtype t, const uint8_t *x, size_t stride, const uint8_t *codes, int32_t *out) {
    if (t == DT_Q8_0) {
        if (slot) TI_DOT(3, 4, 5, "tdpbssd");
        else TI_DOT(0, 1, 2, "tdpbssd");
    } else {
        if (slot) TI_DOT(3, 4, 5, "tdpbsud");
        else TI_DOT(0, 1, 2, "tdpbsud");
    }
}

#include "cpu/linear_tiles.h"

static void linear_amx(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (w->type == DT_BF16) linear_bf16_amx(w, x, rows, y, ldy, n0, n1);
    else if (tiles_apply(w, rows)) linear_tiles(w, x, rows, y, ldy, n0, n1);
    else linear_avx512(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_amx(cpu_kernels *k) { k->linear = linear_amx; }
