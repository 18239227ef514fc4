// quant.h - reference encoders and decoders of every storage format, plain C. They define what a
// quantized tensor's values are; every faster decoder is tested against them.
#ifndef TL_QUANT_H
#define TL_QUANT_H
#include "base/dtype.h"

// Decodes n values (a whole number of blocks) of type t to float32.
void quant_decode(tl_dtype t, const void *src, float *dst, int64_t n);
// Encodes n float32 values; for tests, tools and caches. Round-to-nearest reference quality
// (K-quants: the search for scale and min that minimises squared error). A block with a NaN or infinite value
// decodes to NaN throughout (NVFP4, which has none: to zeros); values beyond a float16 scale's range saturate.
// F32, F16, BF16, F64 and every quantized type but IQ1 to IQ4.
void quant_encode(tl_dtype t, const float *src, void *dst, int64_t n);
bool quant_can_encode(tl_dtype t);

// ---- formats without kernels ---------------------------------------------------------------------
// The type as which a matrix of type t with rows of `cols` values is multiplied: t where kernels exist (F32, F16, BF16, Q4_0 to
// Q8_0, Q2_K to Q6_K) and for integers; Q6_K for NVFP4 in rows of whole blocks of that, else F16; Q8_0 for IQ1 to IQ4, TQ, MXFP4, Q1_0.
// Rows that are whole blocks of t are whole blocks of it.
tl_dtype quant_stand_in(tl_dtype t, int64_t cols);
// Converts n values (whole blocks of both types) by way of float32, without allocating. `to` must be encodable. To Q8_0, 32
// values that are multiples of one unit keep them: IQ4_NL, TQ, Q1_0, MXFP4 exactly, IQ4_XS, IQ3, IQ2_XXS, IQ1_S within 2^-11.
// NVFP4 to Q6_K keeps scales: exactly where the 16 of 256 values are within a factor of 8.
void quant_convert(tl_dtype from, const void *src, tl_dtype to, void *dst, int64_t n);

// ---- parts of blocks, for kernels and repackers (docs/formats.md draws them) -------------------
// Byte offsets of a quantized block's float16 scale and min; equal when the format has no min. False where the scale is
// something else: IQ1_M (float16 in four parts), MXFP4 (E8M0), NVFP4 (E4M3).
bool quant_scale_places(tl_dtype t, size_t *scale, size_t *min);
// Q4_K and Q5_K: 6-bit scale and min of sub-block i (0..7) from the 12 packed bytes.
void quant_k4_scale_min(const uint8_t packed[12], int i, uint8_t *scale, uint8_t *min);
// Q3_K: the sixteen scales (-32..31) from the 12 packed bytes.
void quant_q3_k_scales(const uint8_t packed[12], int8_t scales[16]);

// First non-finite value of a tensor of `rows` rows of `cols` values.
typedef struct quant_bad {
    int64_t count;       // non-finite values (whole tensor)
    int64_t row, block;  // of the first: row, block within the row
    size_t byte_offset;  // of that block, from the tensor's start
    bool in_scale;       // the block's scale or min causes it (always so for quantized types)
} quant_bad;
// Looks at block scales only where that suffices, so that it runs near memory speed. Returns count > 0.
// [row0, row1) lets callers split the work; merge by taking the smallest row.
bool quant_find_nonfinite(tl_dtype t, const void *data, int64_t row0, int64_t row1, int64_t cols, quant_bad *out);
#endif
