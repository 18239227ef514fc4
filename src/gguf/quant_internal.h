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
