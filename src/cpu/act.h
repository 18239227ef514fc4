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

static inline int64_t act_blocks(int64_t k) { return (k + ACT_BLOCK - 1) / ACT_BLOCK; }

size_t act_bytes(act_kind kind, int64_t k); // of one row, a multiple of 64
void act_quantize_ref(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_avx2(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_avx512(act_kind kind, const float *x, void *dst, int64_t k);
void act_quantize_neon(act_kind kind, const float *x, void *dst, int64_t k);
#endif
