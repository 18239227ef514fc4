// quant_internal.h - one block's decoder and encoder per type, for quant_decode.c and quant_encode.c.
#ifndef TL_QUANT_INTERNAL_H
#define TL_QUANT_INTERNAL_H
#include "gguf/quant.h"

typedef void (*quant_block_decoder)(const uint8_t *block, float *values);
typedef void (*quant_block_encoder)(const float *values, uint8_t *block); // of finite values
// NULL when t is no such format.
quant_block_decoder quant_codebook_decoder(tl_dtype t); // IQ1 to IQ4
quant_block_decoder quant_tiny_decoder(tl_dtype t);     // Q1_0, TQ1_0, TQ2_0, MXFP4, NVFP4
quant_block_encoder quant_tiny_encoder(tl_dtype t);

// Q6_K: all of a block but its float16 scale, which ends it: scales of 16 values each (-128..127) and codes (0..63, 32 is zero).
void quant_put_q6_k(const int scale[16], const uint8_t code[256], uint8_t *block);
// 4 blocks of NVFP4 as one of Q6_K: exactly where the largest of their 16 scales is at most 8 times the smallest, else values
// under smaller ones are rounded, by less than the largest scale's 1/24.
void quant_nvfp4_as_q6_k(const uint8_t *blocks, uint8_t *block);

// IQ1_M: the float16 scale, whose bits are spread over the block's end.
uint16_t quant_iq1_m_scale(const uint8_t *block);

static inline uint16_t quant_u16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t quant_u32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline float quant_half(const uint8_t *p) { return f16_to_f32(quant_u16(p)); }
#endif
