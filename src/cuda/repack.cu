// repack.cu - matrices from the file's blocks to layout.h, and rows of them back to floats (embeddings).
#include "cuda/cuda.h"
#include "cuda/mma.cuh"

DEV int file_bytes(int t) {
    switch (t) {
#define TL_DTYPE(name, id, values, bytes, quant) case CT_##name: return bytes;
#include "base/dtype.def"
#undef TL_DTYPE
    }
    return 1;
}

// Value i of a file's block as stored: an unsigned code, or Q8_0's byte.
template <int T> DEV uint32_t file_code(const unsigned char *b, int i) {
    int low = i & 15, high = i >> 4 & 1; // of 32
    if (T == CT_Q4_0) return b[2 + low] >> (4 * high) & 15;
    if (T == CT_Q4_1) return b[4 + low] >> (4 * high) & 15;
    if (T == CT_Q5_0) return (b[6 + low] >> (4 * high) & 15) | (b[2 + i / 8] >> (i % 8) & 1) << 4;
    if (T == CT_Q5_1) return (b[8 + low] >> (4 * high) & 15) | (b[4 + i / 8] >> (i % 8) & 1) << 4;
    if (T == CT_Q8_0) return b[2 + i];
    int j = i % 32, run = i / 32;
    if (T == CT_Q2_K) return b[16 + run / 4 * 32 + j] >> (run % 4 * 2) & 3;
    if (T == CT_Q3_K) return (b[32 + run / 4 * 32 + j] >> (run % 4 * 2) & 3) | (b[j] >> run & 1) << 2;
    if (T == CT_Q4_K) return b[16 + run / 2 * 32 + j] >> (run % 2 * 4) & 15;
    if (T == CT_Q5_K) return (b[48 + run / 2 * 32 + j] >> (run % 2 * 4) & 15) | (b[16 + j] >> run & 1) << 4;
    int half = i / 128, part = run % 4; // Q6_K
    return (b[64 * half + part % 2 * 32 + j] >> (part / 2 * 4) & 15) | (b[128 + 32 * half + j] >> (2 * part) & 3) << 4;
}

// The four codes of fragment a_i of block `blk` (of 32) of a row, one a byte; zeros where the row or the block is none.
template <int T> DEV uint32_t codes_of(const unsigned char *row, int blk, int k, int i, int t) {
    if (!row || blk * 32 >= k) return 0;
    const int subs = layout_is_blocks(T) && T >= CT_Q2_K ? 8 : 1;
    const unsigned char *b = row + (int64_t)(blk / subs) * file_bytes(T);
    uint32_t w = 0;
    for (int e = 0; e < 4; e++) w |= file_code<T>(b, blk % subs * 32 + (i / 2) * 16 + 4 * t + e) << (8 * e);
    return w;
}

DEV void put_bytes(unsigned char *to, const unsigned char *from, int n) {
    for (int i = 0; i < n; i++) to[i] = from ? from[i] : 0;
}

template <int T> DEV void repack_scales(const unsigned char *row, unsigned char *S, unsigned char *D, int r, int piece, int c, int k) {
    int bytes = file_bytes(T);
    if (T <= CT_Q8_0) {
        for (int b = 0; b < 2; b++) {
            int blk = (piece * 4 + c) * 2 + b;
            const unsigned char *from = row && blk * 32 < k ? row + (int64_t)blk * bytes : 0;
            put_bytes(S + r * 16 + c * 4 + b * 2, from, 2);
            if (layout_d_bytes(T)) put_bytes(D + r * 16 + c * 4 + b * 2, from ? from + 2 : from, 2);
        }
        return;
    }
    if (c) return;
    const unsigned char *b = row ? row + (int64_t)piece * bytes : row;
    if (T == CT_Q3_K) {
        put_bytes(S + r * 16, b ? b + 96 : b, 14);
        put_bytes(S + r * 16 + 14, 0, 2);
    } else put_bytes(S + r * 16, b ? b + (T == CT_Q6_K ? 192 : 0) : b, 16);
    if (T == CT_Q2_K) put_bytes(D + r * 4, b ? b + 80 : b, 4);
    if (T == CT_Q6_K) put_bytes(D + r * 2, b ? b + 208 : b, 2);
}

// One warp: a chunk of 64 k of a strip.
template <int T> DEV void repack_chunk(const cuda_repack_args &a, int strip, int chunk, int lane) {
    const int g = lane >> 2, t = lane & 3, k = a.m.k, piece = chunk / 4, c = chunk % 4;
    const int chunks = min(4, (int)layout_chunks(k) - piece * 4);
    const unsigned char *row[2];
    for (int r = 0; r < 2; r++) {
        int at = strip * 16 + g + 8 * r;
        row[r] = at < a.rows ? (const unsigned char *)a.src + at * a.row_bytes : 0;
    }
    unsigned char *u = (unsigned char *)a.m.data + (int64_t)(a.n0 / 16 + strip) * layout_strip_bytes(T, k) + (int64_t)piece * layout_unit_bytes(T, 4);
    if constexpr (layout_is_half(T)) {
        for (int step = 0; step < 4; step++)
            for (int i = 0; i < 4; i++) {
                uint32_t w = 0;
                for (int e = 0; e < 2; e++) {
                    int at = chunk * 64 + step * 16 + i / 2 * 8 + 2 * t + e;
                    const unsigned char *from = row[i % 2];
                    if (from && at < k) w |= (uint32_t)((const uint16_t *)from)[at] << (16 * e);
                }
                ((uint32_t *)(u + (c * 4 + step) * 512))[lane * 4 + i] = w;
            }
    } else {
        uint32_t code[2][4]; // [block][i]
        for (int b = 0; b < 2; b++)
            for (int i = 0; i < 4; i++) code[b][i] = codes_of<T>(row[i % 2], chunk * 2 + b, k, i, t);
        if (T == CT_Q8_0) {
            for (int b = 0; b < 2; b++)
                for (int i = 0; i < 4; i++) ((uint32_t *)(u + (2 * c + b) * 512))[lane * 4 + i] = code[b][i];
        } else if (T == CT_Q2_K || T == CT_Q3_K) {
            for (int b = 0; b < 2; b++) {
                uint32_t w = 0;
                for (int i = 0; i < 4; i++) w |= (code[b][i] & 0x03030303) << (2 * i);
                ((uint32_t *)(u + c * 256))[lane * 2 + b] = w;
            }
        } else {
            for (int b = 0; b < 2; b++)
                for (int r = 0; r < 2; r++) ((uint32_t *)(u + c * 512))[lane * 4 + 2 * b + r] = (code[b][r] & 0x0f0f0f0f) | (code[b][r + 2] & 0x0f0f0f0f) << 4;
        }
        if (T == CT_Q6_K)
            for (int b = 0; b < 2; b++) {
                uint32_t w = 0;
                for (int i = 0; i < 4; i++) w |= (code[b][i] >> 4 & 0x03030303) << (2 * i);
                ((uint32_t *)(u + chunks * 512 + c * 256))[lane * 2 + b] = w;
            }
        if (T == CT_Q3_K || T == CT_Q5_0 || T == CT_Q5_1 || T == CT_Q5_K) {
            const int bit = T == CT_Q3_K ? 2 : 4, first = T == CT_Q3_K ? 256 : 512;
            uint32_t w = 0;
            for (int b = 0; b < 2; b++)
                for (int i = 0; i < 4; i++) w |= (code[b][i] >> bit & 0x01010101) << (4 * b + i);
            ((uint32_t *)(u + chunks * first + c * 128))[lane] = w;
        }
        if (lane >= 16) return;
        unsigned char *S = u + chunks * layout_code_bytes(T);
        int at = strip * 16 + lane;
        repack_scales<T>(at < a.rows ? (const unsigned char *)a.src + at * a.row_bytes : 0, S, S + 256, lane, piece, c, k);
    }
}

#define FOR_TYPES(X) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q8_0) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(F16) X(BF16)

// Grid: x = chunks / 4 (a warp each), y = strips of the rows. 128 threads.
CUDA_KERNEL(repack, cuda_repack_args, 128) {
    int chunk = (int)blockIdx.x * 4 + (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    if (chunk >= layout_chunks(a.m.k)) return;
    for (int strip = (int)blockIdx.y; strip < layout_strips(a.rows); strip += (int)gridDim.y)
        switch (a.m.type) {
#define ONE(name) case CT_##name: repack_chunk<CT_##name>(a, strip, chunk, lane); break;
            FOR_TYPES(ONE)
#undef ONE
        }
}

// ---- rows as floats --------------------------------------------------------------------------------------
// Values of row `row` of the matrix in chunk `chunk` that lane t of its four holds.
template <int T> DEV void embed_chunk(const cuda_embed_args &a, int row, int chunk, int t, float *out) {
    const int k = a.m.k, piece = chunk / 4, c = chunk % 4, chunks = min(4, (int)layout_chunks(k) - piece * 4), g = row % 8, r = row / 8 % 2, lane = 4 * g + t;
    const unsigned char *u = (const unsigned char *)a.m.data + (int64_t)(a.m.strip0 + row / 16) * layout_strip_bytes(T, k) + (int64_t)piece * layout_unit_bytes(T, 4);
    if constexpr (layout_is_half(T)) {
        for (int step = 0; step < 4; step++)
            for (int h = 0; h < 2; h++) {
                uint32_t w = ((const uint32_t *)(u + (c * 4 + step) * 512))[lane * 4 + 2 * h + r];
                for (int e = 0; e < 2; e++) {
                    int at = chunk * 64 + step * 16 + 8 * h + 2 * t + e;
                    if (at < k) out[at] = T == CT_F16 ? f16_float(w >> (16 * e)) : bf16_float(w >> (16 * e) & 0xffff);
                }
            }
    } else {
        uint32_t code[2][4];
        float s[2][2][2], m[2][2][2];
        mma_codes<T>(u, chunks, c, lane, code);
        mma_scales<T>(u, chunks, c, g, s, m);
        for (int b = 0; b < 2; b++)
            for (int h = 0; h < 2; h++) {
                uint32_t w = r ? code[b][2 * h + 1] : code[b][2 * h];
                int part = layout_parts(T) == 2 ? h : 0;
                float scale = r ? s[b][part][1] : s[b][part][0], min_ = 0;
                if (layout_has_min(T)) min_ = r ? m[b][part][1] : m[b][part][0];
                for (int e = 0; e < 4; e++) {
                    int at = chunk * 64 + b * 32 + h * 16 + 4 * t + e;
                    float v = scale * (float)(int8_t)(w >> (8 * e));
                    if (layout_has_min(T)) v = v + min_;
                    if (at < k) out[at] = v;
                }
            }
    }
}

// Grid: x = rows. 128 threads, each 16 values of a chunk.
CUDA_KERNEL(embed, cuda_embed_args, 128) {
    dev_wait();
    dev_launch_next();
    int r = (int)blockIdx.x, id = a.ids[r * a.id_stride];
    float *out = a.out + (int64_t)r * a.m.k;
    if (id < 0 || id >= a.m.n || a.m.type == CT_F32) {
        for (int i = (int)threadIdx.x; i < a.m.k; i += 128) out[i] = id < 0 || id >= a.m.n ? 0.0f : ((const float *)a.m.data)[((int64_t)a.m.strip0 * 16 + id) * a.m.k + i];
        return;
    }
    for (int i = (int)threadIdx.x; i < 4 * layout_chunks(a.m.k); i += 128)
        switch (a.m.type) {
#define ONE(name) case CT_##name: embed_chunk<CT_##name>(a, id, i / 4, i % 4, out); break;
            FOR_TYPES(ONE)
#undef ONE
        }
}
