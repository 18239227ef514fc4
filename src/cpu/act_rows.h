// act_rows.h - a row of activations by an instruction set's quantize_q8() and quantize_q16(), which the includer has defined: whole
// blocks by these, what they do not do by act.c's definition.
#ifndef TL_ACT_ROWS_H
#define TL_ACT_ROWS_H
#include "cpu/act.h"

static inline void act_quantize_row(act_kind kind, const float *x, void *dst, int64_t k) {
    if (kind != ACT_Q8 && kind != ACT_Q16) {
        act_quantize_ref(kind, x, dst, k);
        return;
    }
    int64_t whole = k / ACT_BLOCK;
    if (kind == ACT_Q8)
        for (int64_t b = 0; b < whole; b++) quantize_q8(x + b * ACT_BLOCK, (act_q8 *)dst + b);
    else
        for (int64_t b = 0; b < whole; b++) quantize_q16(x + b * ACT_BLOCK, (act_q16 *)dst + b);
    if (k % ACT_BLOCK) {
        uint8_t *tail = (uint8_t *)dst + (size_t)whole * act_block_bytes(kind);
        act_quantize_ref(kind, x + whole * ACT_BLOCK, tail, k % ACT_BLOCK);
    }
}
#endif
