// mma.cuh - products of a unit (16 rows x up to 256 k of a matrix, layout.h) with groups of 8 columns, both in shared memory.
//
// The order of float operations, which makes a row's bits independent of the rows beside it and of the kernel that computes
// it: within a piece of 256 k, from p = 0, for each block of 32 in ascending order and each part that has one scale (32
// values, or 16 and 16):
//   t = the exact integer sum of (code - zero) * q;  p = fma(scale, d * t, p);  then p = fma(-min, dsum, p) where there is a min
// (wide: t = fma(254, sum of hi, sum of lo)). Pieces are added in ascending order, y = ((0 + p0) + p1) + ...
// Halves: the tensor core adds up a piece; p = scale * (hi's sum + lo's sum).
#ifndef TL_CUDA_MMA_CUH
#define TL_CUDA_MMA_CUH
#include "cuda/dev.cuh"
#include "cuda/layout.h"

// Formats with a zero have it in the top bit of a byte: codes are this many times (code - zero).
LAYOUT float mma_code_unit(int t) { return t == CT_Q4_0 ? 0x1p-4f : t == CT_Q5_0 ? 0x1p-3f : t == CT_Q6_K ? 0x1p-2f : t == CT_Q3_K ? 0x1p-5f : 1.0f; }

#define MMA_MAGIC 0x4b400000 // the bits of 1.5 * 2^23: an integer sum that starts here is a float that needs no conversion
#define MMA_MAGIC_FLOAT 12582912.0f

DEV uint32_t word_at(const unsigned char *p) { return *(const uint32_t *)p; }

// ---- codes: fragments a[block][i] of chunk c ----------------------------------------------------------
template <int T> DEV void mma_codes(const unsigned char *u, int chunks, int c, int lane, uint32_t a[2][4]) {
    if (T == CT_Q8_0) {
        for (int b = 0; b < 2; b++) {
            uint4 w = *(const uint4 *)(u + (2 * c + b) * 512 + lane * 16);
            a[b][0] = w.x, a[b][1] = w.y, a[b][2] = w.z, a[b][3] = w.w;
        }
    } else if (T == CT_Q2_K || T == CT_Q3_K) {
        uint2 w = *(const uint2 *)(u + c * 256 + lane * 8);
        uint32_t word[2] = {w.x, w.y}, h = T == CT_Q3_K ? word_at(u + chunks * 256 + c * 128 + lane * 4) : 0;
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (T == CT_Q2_K) a[b][i] = (word[b] >> (2 * i)) & 0x03030303;
                else {
                    int up = 5 - 2 * i;
                    uint32_t low = (up >= 0 ? word[b] << up : word[b] >> -up) & 0x60606060;
                    a[b][i] = (low | ((h << (7 - 4 * b - i)) & 0x80808080)) ^ 0x80808080;
                }
            }
    } else {
        uint4 v = *(const uint4 *)(u + c * 512 + lane * 16);
        uint32_t word[4] = {v.x, v.y, v.z, v.w}, h = 0, two[2] = {0, 0};
        if (T == CT_Q5_0 || T == CT_Q5_1 || T == CT_Q5_K) h = word_at(u + chunks * 512 + c * 128 + lane * 4);
        if (T == CT_Q6_K) {
            uint2 w = *(const uint2 *)(u + chunks * 512 + c * 256 + lane * 8);
            two[0] = w.x, two[1] = w.y;
        }
#pragma unroll
        for (int b = 0; b < 2; b++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                uint32_t w = word[2 * b + i % 2];
                bool high = i >= 2;
                uint32_t x;
                if (T == CT_Q4_0) x = ((high ? w : w << 4) & 0xf0f0f0f0) ^ 0x80808080;
                else if (T == CT_Q5_0) {
                    x = (high ? w >> 1 : w << 3) & 0x78787878;
                    x = (x | ((h << (7 - 4 * b - i)) & 0x80808080)) ^ 0x80808080;
                } else if (T == CT_Q6_K) {
                    x = (high ? w >> 2 : w << 2) & 0x3c3c3c3c;
                    x = (x | ((two[b] << (6 - 2 * i)) & 0xc0c0c0c0)) ^ 0x80808080;
                } else {
                    x = (high ? w >> 4 : w) & 0x0f0f0f0f;
                    int at = 4 * b + i;
                    if (T == CT_Q5_1 || T == CT_Q5_K) x |= (at > 4 ? h >> (at - 4) : h << (4 - at)) & 0x10101010;
                }
                a[b][i] = x;
            }
    }
}

// ---- scales and minima (negative for K formats) of chunk c, rows g and g + 8: [block][part][row] ------
// Where the words of planes S and D come from: memory, or the registers into which a lane loaded those of its rows, for all chunks.
struct mma_scale_memory {
    const unsigned char *s; // plane S, at row g
    DEV_MEMBER uint32_t word(int plane, int r, int c) const { return word_at(s + plane * 256 + r * 128 + c * 4); }
};
template <int T> struct mma_scale_words {
    uint4 w[2][2]; // [plane][row]
    DEV_MEMBER explicit mma_scale_words(const unsigned char *s) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            w[0][r] = *(const uint4 *)(s + r * 128);
            if (T == CT_Q4_1 || T == CT_Q5_1) w[1][r] = *(const uint4 *)(s + 256 + r * 128);
        }
    }
    DEV_MEMBER uint32_t word(int plane, int r, int c) const { return c == 0 ? w[plane][r].x : c == 1 ? w[plane][r].y : c == 2 ? w[plane][r].z : w[plane][r].w; }
};

// S: the plane; unit: mma_code_unit(T), or 1 where the activations' scales have it.
template <int T, class WORDS> DEV void mma_scales_of(const unsigned char *S, const WORDS &words, float unit, int c, int g, float s[2][2][2], float m[2][2][2]) {
    const unsigned char *D = S + 256;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int row = g + 8 * r;
        if (T <= CT_Q8_0) {
            uint32_t d = words.word(0, r, c);
            s[0][0][r] = f16_float(d) * unit, s[1][0][r] = f16_float(d >> 16) * unit;
            if (layout_has_min(T)) {
                uint32_t v = words.word(1, r, c);
                m[0][0][r] = f16_float(v), m[1][0][r] = f16_float(v >> 16);
            }
        } else if (T == CT_Q4_K || T == CT_Q5_K) {
            uint4 w = *(const uint4 *)(S + row * 16);
            float d = f16_float(w.x), dmin = -f16_float(w.x >> 16);
            uint32_t sc = c < 2 ? w.y & 0x3f3f3f3f : (w.w & 0x0f0f0f0f) | ((w.y >> 2) & 0x30303030);
            uint32_t mn = c < 2 ? w.z & 0x3f3f3f3f : ((w.w >> 4) & 0x0f0f0f0f) | ((w.z >> 2) & 0x30303030);
            int at = 2 * (c & 1);
            for (int b = 0; b < 2; b++) s[b][0][r] = d * byte_float(sc, at + b), m[b][0][r] = dmin * byte_float(mn, at + b);
        } else if (T == CT_Q2_K) {
            uint32_t w = words.word(0, r, c), v = word_at(D + row * 4);
            float d = f16_float(v), dmin = -f16_float(v >> 16);
            for (int i = 0; i < 4; i++) {
                s[i / 2][i % 2][r] = d * byte_float(w & 0x0f0f0f0f, i);
                m[i / 2][i % 2][r] = dmin * byte_float((w >> 4) & 0x0f0f0f0f, i);
            }
        } else if (T == CT_Q3_K) {
            uint4 w = *(const uint4 *)(S + row * 16);
            float d = f16_float(w.w) * unit;
            uint32_t low = ((c & 1 ? w.y : w.x) >> (4 * (c >> 1))) & 0x0f0f0f0f, high = (w.z >> (2 * c)) & 0x03030303;
            for (int i = 0; i < 4; i++) s[i / 2][i % 2][r] = d * (byte_float(low | high << 4, i) - 32.0f);
        } else { // CT_Q6_K
            uint32_t w = words.word(0, r, c);
            float d = f16_float(*(const uint16_t *)(D + row * 2)) * unit;
            for (int i = 0; i < 4; i++) s[i / 2][i % 2][r] = d * sbyte_float(w, i);
        }
    }
}

template <int T> DEV void mma_scales(const unsigned char *u, int chunks, int c, int g, float s[2][2][2], float m[2][2][2]) {
    const unsigned char *S = u + chunks * layout_code_bytes(T);
    mma_scales_of<T>(S, mma_scale_memory{S + g * 16}, mma_code_unit(T), c, g, s, m);
}

// A unit's scales worked out once for all its chunks (layout_worked()).
template <int T> DEV void mma_work_out(const unsigned char *S, int lane, unsigned char *to) { // by the lanes of a warp
    float v[2][2][2][2];
    mma_scales_of<T>(S, mma_scale_memory{S + (lane >> 2) * 16}, mma_code_unit(T), lane & 3, lane >> 2, v[0], v[1]);
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int i = 0; i < layout_worked(T) / 2; i++) {
            int kind = i / layout_parts(T), part = i % layout_parts(T);
            *(float2 *)(to + (lane & 3) * layout_worked_chunk(T) + ((lane >> 2) + 8 * r) * layout_worked(T) * 4 + i * 8) = make_float2(v[kind][0][part][r], v[kind][1][part][r]);
        }
}
template <int T> DEV void mma_worked_out(const unsigned char *from, int c, int lane, float s[2][2][2], float m[2][2][2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const unsigned char *at = from + c * layout_worked_chunk(T) + ((lane >> 2) + 8 * r) * layout_worked(T) * 4;
        float v[8];
        if (layout_worked(T) == 2) {
            float2 x = *(const float2 *)at;
            v[0] = x.x, v[1] = x.y;
        } else
#pragma unroll
            for (int i = 0; i < layout_worked(T); i += 4) {
                float4 x = *(const float4 *)(at + i * 4);
                v[i] = x.x, v[i + 1] = x.y, v[i + 2] = x.z, v[i + 3] = x.w;
            }
#pragma unroll
        for (int i = 0; i < layout_worked(T) / 2; i++) {
            int kind = i / layout_parts(T), part = i % layout_parts(T);
            (kind ? m : s)[0][part][r] = v[2 * i], (kind ? m : s)[1][part][r] = v[2 * i + 1];
        }
    }
}

// ---- one part of a block: p[row, column] --------------------------------------------------------------
// d, z = -1.5 * 2^23 * d and dsum of columns 2 t and 2 t + 1. Wide: the two columns are one value's hi and lo.
template <int T, bool WIDE> DEV void mma_add(const int acc[4], float d0, float d1, float z0, float z1, float s0, float s1, float m0, float m1, float dsum0, float dsum1, float *p) {
    float x0 = __int_as_float(acc[0]), x1 = __int_as_float(acc[1]), x2 = __int_as_float(acc[2]), x3 = __int_as_float(acc[3]);
    if (WIDE) {
        float t0 = fmaf(254.0f, x0 - MMA_MAGIC_FLOAT, x1 - MMA_MAGIC_FLOAT), t1 = fmaf(254.0f, x2 - MMA_MAGIC_FLOAT, x3 - MMA_MAGIC_FLOAT);
        p[0] = fmaf(s0, d0 * t0, p[0]);
        p[1] = fmaf(s1, d0 * t1, p[1]);
        if (layout_has_min(T)) p[0] = fmaf(m0, dsum0, p[0]), p[1] = fmaf(m1, dsum0, p[1]);
        return;
    }
    p[0] = fmaf(s0, fmaf(x0, d0, z0), p[0]);
    p[1] = fmaf(s0, fmaf(x1, d1, z1), p[1]);
    p[2] = fmaf(s1, fmaf(x2, d0, z0), p[2]);
    p[3] = fmaf(s1, fmaf(x3, d1, z1), p[3]);
    if (layout_has_min(T)) {
        p[0] = fmaf(m0, dsum0, p[0]);
        p[1] = fmaf(m0, dsum1, p[1]);
        p[2] = fmaf(m1, dsum0, p[2]);
        p[3] = fmaf(m1, dsum1, p[3]);
    }
}

// Values of a fragment of results: rows g, g + 8 of columns 2 t, 2 t + 1 (p[2 row + column]); where two columns are one row of
// activations, rows g, g + 8 of activation row t.
template <int T, bool WIDE> LAYOUT int mma_values() { return WIDE || layout_is_half(T) ? 2 : 4; }

// ---- where columns lie: X of mma_blocks() and mma_halves() -----------------------------------------------
// Groups of 8 columns, `stride` apart: of each, `chunks` chunks of codes, then of each kind of scale, as layout.h has them; the
// scales of halves are at `whole_scales`, 32 bytes a group.
template <int T, bool WIDE> struct mma_groups {
    const unsigned char *x;
    int stride, chunks, lane;
    const unsigned char *whole_scales;
    DEV_MEMBER uint4 codes(int n, int c) const { return *(const uint4 *)(x + n * stride + c * 512 + lane * 16); }
    DEV_MEMBER float4 scales(int kind, int n, int c) const { return *(const float4 *)(x + n * stride + chunks * (512 + 64 * kind) + c * 64 + (lane & 3) * 16); }
    DEV_MEMBER float whole(int n) const { return *(const float *)(whole_scales + n * 32 + 8 * (lane & 3)); }
};
// One row, in every column (hi and lo in turn where a row is two): a piece is
//   int8: [4 chunks][hi, lo if WIDE][t] 4 words, then each kind of scale [4 chunks][2 blocks] float
//   halves: [8 steps of 32 k][hi, lo][t] 4 words, then the scale
template <int T, bool WIDE> struct mma_row {
    const unsigned char *x;
    int lane;
    DEV_MEMBER uint4 codes(int, int c) const {
        bool two = WIDE || layout_is_half(T);
        return *(const uint4 *)(x + c * (two ? 128 : 64) + (two ? (lane >> 2 & 1) * 64 : 0) + (lane & 3) * 16);
    }
    DEV_MEMBER float4 scales(int kind, int, int c) const {
        float2 d = *(const float2 *)(x + layout_row_codes(T, WIDE) + kind * 32 + c * 8);
        return make_float4(d.x, d.x, d.y, d.y);
    }
    DEV_MEMBER float whole(int) const { return *(const float *)(x + 1024); }
};

// The same with a whole piece's scales in registers, those of kind 0 times mma_code_unit(T): a power of two, so that s (unit d t) is (s unit) d t.
template <int T, bool WIDE> struct mma_row_loaded {
    mma_row<T, WIDE> row;
    float d[layout_scale_kinds(T)][8];
    DEV_MEMBER explicit mma_row_loaded(const mma_row<T, WIDE> &r) : row(r) {
#pragma unroll
        for (int kind = 0; kind < layout_scale_kinds(T); kind++)
#pragma unroll
            for (int i = 0; i < 8; i += 4) {
                float4 v = *(const float4 *)(row.x + layout_row_codes(T, WIDE) + kind * 32 + i * 4);
                float unit = kind ? 1.0f : mma_code_unit(T);
                d[kind][i] = v.x * unit, d[kind][i + 1] = v.y * unit, d[kind][i + 2] = v.z * unit, d[kind][i + 3] = v.w * unit;
            }
    }
    DEV_MEMBER uint4 codes(int n, int c) const { return row.codes(n, c); }
    DEV_MEMBER float4 scales(int kind, int, int c) const { return make_float4(d[kind][2 * c], d[kind][2 * c], d[kind][2 * c + 1], d[kind][2 * c + 1]); }
};

// ---- pieces: SW units at w (`stride` apart) times NT groups ------------------------------------------------
// Steps [c0, c1) of 32 k of a piece of halves; w: the first of them.
template <int T, int SW, int NT, class X> DEV void mma_halves(const unsigned char *w, int stride, const X &x, int c0, int c1, int lane, float acc[SW][NT][4]) {
#pragma unroll 1
    for (int c = c0; c < c1; c++) {
        uint32_t a[SW][2][4];
#pragma unroll
        for (int s = 0; s < SW; s++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                uint4 v = *(const uint4 *)(w + s * stride + (2 * (c - c0) + h) * 512 + lane * 16);
                a[s][h][0] = v.x, a[s][h][1] = v.y, a[s][h][2] = v.z, a[s][h][3] = v.w;
            }
#pragma unroll
        for (int n = 0; n < NT; n++) {
            uint4 b = x.codes(n, c);
#pragma unroll
            for (int s = 0; s < SW; s++) {
                if (T == CT_F16) mma_f16(acc[s][n], a[s][0], b.x, b.y), mma_f16(acc[s][n], a[s][1], b.z, b.w);
                else mma_bf16(acc[s][n], a[s][0], b.x, b.y), mma_bf16(acc[s][n], a[s][1], b.z, b.w);
            }
        }
    }
}

// Integer sums of a chunk's blocks with a group's columns, [unit][block][part].
template <int T, int SW> DEV void mma_products(const uint32_t a[SW][2][4], uint4 b, int acc[SW][2][layout_parts(T)][4]) {
    const uint32_t bw[2][2] = {{b.x, b.y}, {b.z, b.w}};
#pragma unroll
    for (int h = 0; h < 2; h++)
#pragma unroll
        for (int s = 0; s < SW; s++) {
#pragma unroll
            for (int i = 0; i < layout_parts(T) * 4; i++) acc[s][h][i / 4][i % 4] = MMA_MAGIC;
            if (layout_parts(T) == 1) mma_s8_k32(acc[s][h][0], a[s][h], bw[h]);
            else {
                mma_s8_k16(acc[s][h][0], a[s][h][0], a[s][h][1], bw[h][0]);
                mma_s8_k16(acc[s][h][layout_parts(T) - 1], a[s][h][2], a[s][h][3], bw[h][1]);
            }
        }
}

// Chunk c of a piece of blocks, whose codes and scales are at hand, added to p. The tensor core is a group ahead.
template <int T, bool WIDE, int SW, int NT, class X>
DEV void mma_chunk_of(const uint32_t a[SW][2][4], const float sc[SW][2][2][2], const float mn[SW][2][2][2], const X &x, int c, float p[SW][NT][mma_values<T, WIDE>()]) {
    constexpr int PARTS = layout_parts(T);
    int acc[2][SW][2][PARTS][4];
    mma_products<T, SW>(a, x.codes(0, c), acc[0]);
#pragma unroll
    for (int n = 0; n < NT; n++) {
        if (n + 1 < NT) mma_products<T, SW>(a, x.codes(n + 1, c), acc[(n + 1) % 2]);
        float4 d4 = x.scales(0, n, c), ds4, ds14;
        if (layout_has_min(T)) ds4 = x.scales(1, n, c);
        if (layout_has_min(T) && PARTS == 2) ds14 = x.scales(2, n, c);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float d0 = h ? d4.z : d4.x, d1 = h ? d4.w : d4.y, z0 = -MMA_MAGIC_FLOAT * d0, z1 = -MMA_MAGIC_FLOAT * d1;
            float e0 = 0, e1 = 0, f0 = 0, f1 = 0; // sums: of the block or its first half, of its second half
            if (layout_has_min(T)) e0 = h ? ds4.z : ds4.x, e1 = h ? ds4.w : ds4.y;
            if (layout_has_min(T) && PARTS == 2) {
                f0 = h ? ds14.z : ds14.x, f1 = h ? ds14.w : ds14.y;
                e0 -= f0, e1 -= f1;
            }
#pragma unroll
            for (int s = 0; s < SW; s++) {
                const int(*sums)[4] = acc[n % 2][s][h];
                mma_add<T, WIDE>(sums[0], d0, d1, z0, z1, sc[s][h][0][0], sc[s][h][0][1], mn[s][h][0][0], mn[s][h][0][1], e0, e1, p[s][n]);
                if (PARTS == 2) mma_add<T, WIDE>(sums[PARTS - 1], d0, d1, z0, z1, sc[s][h][1][0], sc[s][h][1][1], mn[s][h][1][0], mn[s][h][1][1], f0, f1, p[s][n]);
            }
        }
    }
}

template <int T, bool WIDE, int SW, int NT, class X>
DEV void mma_chunk(const unsigned char *w, int stride, const X &x, int chunks, int c, int lane, float p[SW][NT][mma_values<T, WIDE>()]) {
    uint32_t a[SW][2][4];
    float sc[SW][2][2][2], mn[SW][2][2][2];
#pragma unroll
    for (int s = 0; s < SW; s++) {
        mma_codes<T>(w + s * stride, chunks, c, lane, a[s]);
        mma_scales<T>(w + s * stride, chunks, c, lane >> 2, sc[s], mn[s]);
    }
    mma_chunk_of<T, WIDE, SW, NT>(a, sc, mn, x, c, p);
}

// A whole piece of blocks, all four chunks, with one row: p = its sums. The scales come in 16 bytes at a time.
template <int T, bool WIDE> DEV void mma_row_piece(const unsigned char *w, const mma_row<T, WIDE> &row, int lane, float p[1][1][mma_values<T, WIDE>()]) {
    const unsigned char *S = w + CUDA_PIECE_CHUNKS * layout_code_bytes(T);
    mma_scale_words<T> words(S + (lane >> 2) * 16);
    mma_row_loaded<T, WIDE> x(row);
    for (int i = 0; i < mma_values<T, WIDE>(); i++) p[0][0][i] = 0.0f;
#pragma unroll
    for (int c = 0; c < CUDA_PIECE_CHUNKS; c++) {
        uint32_t a[1][2][4];
        float sc[1][2][2][2], mn[1][2][2][2];
        mma_codes<T>(w, CUDA_PIECE_CHUNKS, c, lane, a[0]);
        mma_scales_of<T>(S, words, 1.0f, c, lane >> 2, sc[0], mn[0]);
        mma_chunk_of<T, WIDE, 1, 1>(a, sc, mn, x, c, p);
    }
}
#endif
