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

DEV uint32_t quantize_pack(const int *v) { // their low bytes
    return __byte_perm(__byte_perm((uint32_t)v[0], (uint32_t)v[1], 0x0040), __byte_perm((uint32_t)v[2], (uint32_t)v[3], 0x0040), 0x5410);
}

// Where a row's piece goes. quantize_columns: layout.h's activations, `to` the group's piece, column the row's first.
// quantize_row: mma.cuh's single row.
struct quantize_columns {
    static constexpr int KINDS = 3, PLANES = 2; // of scales; of scales of a wide row
    unsigned char *to;
    int chunks, column;
    DEV_MEMBER uint32_t *word(int c, int p, int t, int i) const { return (uint32_t *)(to + c * 512 + (4 * (column + p) + t) * 16 + i * 4); }
    DEV_MEMBER float *scale(int kind, int c, int b, int p) const {
        return (float *)(to + chunks * (512 + 64 * kind) + (c * 16 + (column + p) / 2 * 4 + b * 2 + (column + p) % 2) * 4);
    }
    DEV_MEMBER uint32_t *half_word(int step, int p, int t, int i) const { return (uint32_t *)(to + step * 512 + (4 * (column + p) + t) * 16 + i * 4); }
    DEV_MEMBER float *whole(int p) const { return (float *)(to + chunks * 1024 + 4 * (column + p)); }
};
template <int N, bool WIDE> struct quantize_row { // N kinds of scales are kept
    static constexpr int KINDS = N, PLANES = 1;
    unsigned char *to;
    int chunks;
    DEV_MEMBER uint32_t *word(int c, int p, int t, int i) const { return (uint32_t *)(to + c * (WIDE ? 128 : 64) + p * 64 + t * 16 + i * 4); }
    DEV_MEMBER float *scale(int kind, int c, int b, int) const { return (float *)(to + (WIDE ? 512 : 256) + kind * 32 + c * 8 + b * 4); }
    DEV_MEMBER uint32_t *half_word(int step, int p, int t, int i) const { return (uint32_t *)(to + step * 128 + p * 64 + t * 16 + i * 4); }
    DEV_MEMBER float *whole(int) const { return (float *)(to + 1024); }
};

// a / n, n a constant: correctly rounded, since 1 / n is, while a's last bit is a normal number.
DEV float quantize_share(float a, float n) {
    float q = a * (1.0f / n);
    return fmaf(fmaf(-n, q, a), 1.0f / n, q);
}

// int8: blocks of 32 are four lanes.
template <bool WIDE, class PLACE> DEV void quantize_blocks(const float v[8], const PLACE &place, int lane) {
    const float top = WIDE ? 254.0f * 127.0f : 127.0f;
    uint32_t bits = quantize_max(v, 4);
    float most = __uint_as_float(bits);
    bool plain = bits < 0x7f800000u && most >= QUANTIZE_TINY;
    float d = plain ? quantize_up16(quantize_share(most, top)) : bits >= 0x7f800000u ? most : 0.0f;
    float inverse = plain ? dev_inverse(plain ? d : 1.0f) : 0.0f;
    int q[8], lo[8], sum = 0;
    for (int i = 0; i < 8; i++) {
        float x = plain ? v[i] * inverse + QUANTIZE_MAGIC : QUANTIZE_MAGIC; // rounded to an integer, to even
        q[i] = __float_as_int(x) - __float_as_int(QUANTIZE_MAGIC);
        if (PLACE::KINDS > 1) sum += q[i];
        if (WIDE) {
            int hi = __float_as_int((x - QUANTIZE_MAGIC) * (1.0f / 254.0f) + QUANTIZE_MAGIC) - __float_as_int(QUANTIZE_MAGIC);
            lo[i] = q[i] - 254 * hi;
            q[i] = hi;
        }
    }
    int quarter = lane & 3, c = lane >> 3, b = lane >> 2 & 1, sums[3] = {0, 0, 0}; // by kind of scale: of values 0 .. 31, 16 .. 31
    if (PLACE::KINDS > 1) {
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        int other = __shfl_xor_sync(0xffffffffu, sum, 2);
        sums[1] = sum + other, sums[2] = other; // as a block's first lane has them
    }
    if (c >= place.chunks) return;
    for (int p = 0; p < (WIDE ? 2 : 1); p++)
        for (int j = 0; j < 2; j++) *place.word(c, p, quarter % 2 * 2 + j, 2 * b + quarter / 2) = quantize_pack((p ? lo : q) + 4 * j);
    if (quarter) return;
    for (int p = 0; p < (WIDE ? PLACE::PLANES : 1); p++)
#pragma unroll
        for (int kind = 0; kind < PLACE::KINDS; kind++) *place.scale(kind, c, b, p) = kind == 0 ? d : d * (float)sums[kind];
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
