// act.h - how activations are laid out for linear(): one format per act_kind, the same for every ISA.
//
// ACT_F32: the k floats themselves. ACT_BF16: k bfloat16 values. ACT_Q8 and ACT_Q16: blocks of 32 values with their
// scale and ready-made sums, so that a row needs one pointer: a weight kernel broadcasts 4 of the int8 at a time to 16
// interleaved weight rows, and adds offsets and minima through the sums. Rows are multiples of 64 bytes.
//   ACT_Q8:  value i of a block = d * q[i]; q = rint(x * (127 / max|x|)), within [-127, 127]; d = max|x| / 127.
//   ACT_Q16: value i = d * v, v = rint(x * (ACT_WIDE_MAX / max|x|)) = 254 * hi[i] + lo[i], hi and lo within [-127, 127].
// A block with a NaN or an infinity gets d = NaN or infinity and zeros, so that its outputs become NaN.
#ifndef TL_CPU_ACT_H
#define TL_CPU_ACT_H
#include "cpu/kernels.h"

enum { ACT_CLASH = 1024, ACT_APART = 11 * 64 }; // such rows of ACT_BF16 are kept apart: six of them must not share the sets of a cache
enum { ACT_BLOCK = 32, ACT_BASE = 254, ACT_WIDE_MAX = ACT_BASE * 127 };
#define ACT_TINY 1e-30f // blocks whose largest magnitude is below this are stored as zeros (127 / max must stay finite)

typedef struct act_q8 {
    int8_t q[ACT_BLOCK];
    float d;        // scale
    float ds;       // d * (sum of all q)
    float ds1;      // d * (sum of q[16..31]), for formats with scales per 16
    int16_t sum[2]; // sums of q[0..15] and q[16..31]
} act_q8;
_Static_assert(sizeof(act_q8) == 48, "act_q8 is 48 bytes, without padding");

typedef struct act_q16 {
    int8_t hi[ACT_BLOCK], lo[ACT_BLOCK];
    float d, ds, ds1;          // as in act_q8, of the whole values
    int16_t sum_hi[2], sum_lo[2];
    int32_t pad[3];            // zero
} act_q16;
_Static_assert(sizeof(act_q16) == 96, "act_q16 is 96 bytes");

static inline size_t act_block_bytes(act_kind kind) { return kind == ACT_Q16 ? sizeof(act_q16) : sizeof(act_q8); } // of ACT_Q8, ACT_Q16

// CPU_TILE rows of ACT_Q8 or ACT_Q16 side by side, as products by tiles read them (kernels.h, act_tile()): block after block, in the
// place of the rows, which take more.
typedef struct act_tile8 {
    int8_t q[CPU_TILE][ACT_BLOCK];
    float d[CPU_TILE], ds[CPU_TILE];
} act_tile8;
typedef struct act_tile16 {
    int8_t hi[CPU_TILE][ACT_BLOCK];
    float d[CPU_TILE], ds[CPU_TILE];
    int8_t lo[CPU_TILE][ACT_BLOCK];
} act_tile16;
_Static_assert(sizeof(act_tile8) % 64 == 0 && sizeof(act_tile8) <= CPU_TILE * sizeof(act_q8), "tiles begin at lines, in the rows' place");
_Static_assert(sizeof(act_tile16) % 64 == 0 && sizeof(act_tile16) <= CPU_TILE * sizeof(act_q16), "tiles begin at lines, in the rows' place");

static inline size_t act_tile_bytes(act_kind kind) { return kind == ACT_Q16 ? sizeof(act_tile16) : sizeof(act_tile8); } // of a block

// n blocks of a row to row r of the tile whose blocks begin at `to`.
static inline void act_tile_put_as(act_kind kind, const void *row, int64_t n, uint8_t *to, int r) {
    const act_q8 *x = row;
    const act_q16 *wide = row;
    for (int64_t b = 0; b < n; b++, to += act_tile_bytes(kind)) {
        act_tile16 *t = (act_tile16 *)(void *)to; // begins as act_tile8 does
        memcpy(t->hi[r], kind == ACT_Q16 ? wide[b].hi : x[b].q, ACT_BLOCK);
        if (kind == ACT_Q16) memcpy(t->lo[r], wide[b].lo, ACT_BLOCK);
        t->d[r] = kind == ACT_Q16 ? wide[b].d : x[b].d;
        t->ds[r] = kind == ACT_Q16 ? wide[b].ds : x[b].ds;
    }
}
static inline void act_tile_put(act_kind kind, const void *row, int64_t n, uint8_t *to, int r) { // a loop for each kind
    if (kind == ACT_Q16) act_tile_put_as(ACT_Q16, row, n, to, r);
    else act_tile_put_as(ACT_Q8, row, n, to, r);
}

static inline int64_t act_blocks(int64_t k) { return (k + ACT_BLOCK - 1) / ACT_BLOCK; }

size_t act_bytes(act_kind kind, int64_t k); // of one row, a multiple of 64
void act_quantize_ref(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_avx2(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_avx512(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_neon(act_kind kind, const float *x, void *dst, int64_t k);
#endif
