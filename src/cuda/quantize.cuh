// quantize.cuh - float rows to activations (layout.h). A warp takes 256 values of a row: lane l those of 8 l .. 8 l + 7.
#ifndef TL_CUDA_QUANTIZE_CUH
#define TL_CUDA_QUANTIZE_CUH
#include "cuda/dev.cuh"
#include "cuda/layout.h"

#define QUANTIZE_MAGIC 12582912.0f // 1.5 * 2^23: what is added to it loses its fraction
#define QUANTIZE_TINY 1e-30f // blocks whose largest magnitude is below this are zeros

// The largest magnitude as the bits order it: NaN above infinity above every number.
DEV uint32_t quantize_max(const float v[8], int lanes) {
    uint32_t m = 0;
    for (int i = 0; i < 8; i++) m = max(m, __float_as_uint(v[i]) & 0x7fffffffu);
    for (int d = 1; d < lanes; d <<= 1) m = max(m, __shfl_xor_sync(0xffffffffu, m, d));
    return m;
}

DEV float quantize_up16(float d) { return __uint_as_float((__float_as_uint(d) + 0xffu) & ~0xffu); } // to 16 significant bits

DEV uint32_t quantize_pack(const int *v) { return (uint32_t)(v[0] & 255) | (uint32_t)(v[1] & 255) << 8 | (uint32_t)(v[2] & 255) << 16 | (uint32_t)v[3] << 24; }

// Where a row's piece goes. quantize_columns: layout.h's activations, `to` the group's piece, column the row's first.
// quantize_row: mma.cuh's single row.
struct quantize_columns {
    unsigned char *to;
    int chunks, column;
    DEV_MEMBER uint32_t *word(int c, int p, int t, int i) const { return (uint32_t *)(to + c * 512 + (4 * (column + p) + t) * 16 + i * 4); }
    DEV_MEMBER float *scale(int kind, int c, int b, int p) const {
        return (float *)(to + chunks * (512 + 64 * kind) + (c * 16 + (column + p) / 2 * 4 + b * 2 + (column + p) % 2) * 4);
    }
    DEV_MEMBER uint32_t *half_word(int step, int p, int t, int i) const { return (uint32_t *)(to + step * 512 + (4 * (column + p) + t) * 16 + i * 4); }
    DEV_MEMBER float *whole(int p) const { return (float *)(to + chunks * 1024 + 4 * (column + p)); }
};
template <int KINDS, bool WIDE> struct quantize_row { // KINDS of scales are kept
    unsigned char *to;
    int chunks;
    DEV_MEMBER uint32_t *word(int c, int p, int t, int i) const { return (uint32_t *)(to + c * (WIDE ? 128 : 64) + p * 64 + t * 16 + i * 4); }
    DEV_MEMBER float *scale(int kind, int c, int b, int) const { return kind < KINDS ? (float *)(to + (WIDE ? 512 : 256) + kind * 32 + c * 8 + b * 4) : 0; }
    DEV_MEMBER uint32_t *half_word(int step, int p, int t, int i) const { return (uint32_t *)(to + step * 128 + p * 64 + t * 16 + i * 4); }
    DEV_MEMBER float *whole(int) const { return (float *)(to + 1024); }
};

// int8: blocks of 32 are four lanes.
template <bool WIDE, class PLACE> DEV void quantize_blocks(const float v[8], const PLACE &place, int lane) {
    const float top = WIDE ? 254.0f * 127.0f : 127.0f;
    uint32_t bits = quantize_max(v, 4);
    float most = __uint_as_float(bits);
    bool plain = bits < 0x7f800000u && most >= QUANTIZE_TINY;
    float d = bits >= 0x7f800000u ? most : plain ? quantize_up16(most / top) : 0.0f;
    float inverse = plain ? 1.0f / d : 0.0f;
    int q[8], lo[8], sum = 0;
    for (int i = 0; i < 8; i++) {
        float x = plain ? v[i] * inverse + QUANTIZE_MAGIC : QUANTIZE_MAGIC; // rounded to an integer, to even
        q[i] = __float_as_int(x) - __float_as_int(QUANTIZE_MAGIC);
        sum += q[i];
        if (WIDE) {
            int hi = __float_as_int((x - QUANTIZE_MAGIC) * (1.0f / 254.0f) + QUANTIZE_MAGIC) - __float_as_int(QUANTIZE_MAGIC);
            lo[i] = q[i] - 254 * hi;
            q[i] = hi;
        }
    }
    int other = sum + __shfl_xor_sync(0xffffffffu, sum, 1), all = other + __shfl_xor_sync(0xffffffffu, other, 2);
    int quarter = lane & 3, c = lane >> 3, b = lane >> 2 & 1;
    int second = all - __shfl_sync(0xffffffffu, other, lane & ~3); // sum of values 16 .. 31
    if (c >= place.chunks) return;
    for (int p = 0; p < (WIDE ? 2 : 1); p++)
        for (int j = 0; j < 2; j++) *place.word(c, p, quarter % 2 * 2 + j, 2 * b + quarter / 2) = quantize_pack((p ? lo : q) + 4 * j);
    if (quarter) return;
    for (int p = 0; p < (WIDE ? 2 : 1); p++)
        for (int kind = 0; kind < 3; kind++) {
            float *to = place.scale(kind, c, b, p);
            if (to) *to = kind == 0 ? d : d * (float)(kind == 1 ? all : second);
        }
}

// Halves: hi and lo of a row are two columns; f16 with one power of two for the 256 values.
template <bool BF, class PLACE> DEV void quantize_halves(const float v[8], const PLACE &place, int lane) {
    float scale = 1.0f, inverse = 1.0f;
    if (!BF) {
        uint32_t bits = quantize_max(v, 32) & 0x7f800000u;
        if (bits > 0x08000000u && bits < 0x77000000u) scale = __uint_as_float(bits), inverse = __uint_as_float(0x7f000000u - bits);
    }
    if (lane < 2) *place.whole(lane) = scale;
    if (lane >> 3 >= place.chunks) return;
    for (int t = 0; t < 4; t++) {
        float x0 = v[2 * t] * inverse, x1 = v[2 * t + 1] * inverse;
        uint32_t hi = BF ? float_bf16x2(x0, x1) : float_f16x2(x0, x1);
        float h0 = BF ? bf16_float(hi & 0xffff) : f16_float(hi), h1 = BF ? bf16_float(hi >> 16) : f16_float(hi >> 16);
        uint32_t lo = BF ? float_bf16x2(x0 - h0, x1 - h1) : float_f16x2(x0 - h0, x1 - h1);
        *place.half_word(lane >> 2, 0, t, (lane >> 1 & 1) * 2 + (lane & 1)) = hi;
        *place.half_word(lane >> 2, 1, t, (lane >> 1 & 1) * 2 + (lane & 1)) = lo;
    }
}

// 256 values of row `row` of the call (v: this lane's 8, zeros past the end) to piece `piece` of the activations at q.
DEV void quantize_piece(int kind, const float v[8], void *q, int k, int row, int piece, int lane) {
    int per = CUDA_GROUP / layout_columns(kind), chunks = min(CUDA_PIECE_CHUNKS, (int)layout_chunks(k) - piece * CUDA_PIECE_CHUNKS);
    unsigned char *to = (unsigned char *)q + row / per * layout_group_bytes(kind, k) + (int64_t)piece * layout_act_piece(kind, CUDA_PIECE_CHUNKS);
    quantize_columns place = {to, chunks, row % per * layout_columns(kind)};
    switch (kind) {
    case CUDA_ACT_Q8: quantize_blocks<false>(v, place, lane); break;
    case CUDA_ACT_WIDE: quantize_blocks<true>(v, place, lane); break;
    case CUDA_ACT_F16: quantize_halves<false>(v, place, lane); break;
    default: quantize_halves<true>(v, place, lane);
    }
}
#endif
