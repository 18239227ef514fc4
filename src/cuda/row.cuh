// row.cuh - y = W f(x) for one row of floats: f quantizes, after a norm where one is asked for, in the block that needs it.
// The numbers are those of quantize.cuh, norm.cuh and linear.cuh, bit for bit. Included by row_*.cu.
//
// What counts is that bytes of W are always on their way. A block has 8 or 12 warps and takes tiles (a strip, or the same strip of gate
// and up) blockIdx.x, + gridDim.x, ..: warp w multiplies pieces w, w + warps, .. of k. Each warp copies its own units, SLOTS
// of them ahead and across tiles, into its ring of shared memory; the first before dev_wait(), so before the kernel in front of
// it has ended. A tile's pieces meet in shared memory and are added in ascending order.
// Shared memory: rings, the row's pieces as mma_row reads them, sums of pieces [2][matrices][pieces][16], those of their squares.
#ifndef TL_CUDA_ROW_CUH
#define TL_CUDA_ROW_CUH
#include "cuda/cuda.h"
#include "cuda/map.cuh"
#include "cuda/mma.cuh"
#include "cuda/norm.cuh"
#include "cuda/quantize.cuh"

static __device__ __noinline__ float row_any_map(int op, float x) { return map1(op, x); }
DEV float row_map(int op, float x) { return op == CMAP_SILU ? map1(CMAP_SILU, x) : row_any_map(op, x); } // the usual one without a jump

template <int T, bool WIDE> struct row_block {
    static constexpr bool HALF = layout_is_half(T);
    static constexpr int SLOTS = CUDA_ROW_SLOTS, SLOT = layout_row_slot(T), PARTS = HALF ? 2 : 1, CHUNKS = CUDA_PIECE_CHUNKS / PARTS; // of a unit
    static constexpr int UNIT = layout_unit_bytes(T, CUDA_PIECE_CHUNKS), X = layout_row_bytes(T, WIDE), AHEAD = 2;

    const cuda_row_args &a;
    unsigned char *ring, *x;
    float *sums, *norm_part;
    int lane, warp, warps, pieces, chunks_all, rounds, matrices, tiles;
    int64_t strip_bytes;

    struct cursor { // the next part of a unit of this warp
        int tile, m, round, part, slot;
        const unsigned char *from; // the unit; read only by who copies
    };

    DEV_MEMBER row_block(const cuda_row_args &args, unsigned char *memory) : a(args) {
        lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
        chunks_all = (int)layout_chunks(a.l.m[0].k), pieces = (int)layout_pieces(a.l.m[0].k);
        rounds = (pieces + warps - 1) / warps;
        strip_bytes = layout_strip_bytes(T, a.l.m[0].k);
        matrices = a.l.epilogue == CUDA_EPI_GLU ? 2 : 1;
        tiles = 0;
        for (int i = 0; i < a.l.n_m; i++) tiles += a.l.tiles[i];
        ring = memory + warp * SLOTS * SLOT;
        x = memory + warps * SLOTS * SLOT;
        sums = (float *)(x + pieces * X);
        norm_part = sums + 2 * matrices * pieces * CUDA_STRIP;
    }

    DEV_MEMBER const unsigned char *first_unit(int tile, int m) const { // of this warp
        if (tile >= tiles) return 0;
        if (matrices == 1) m = matrix_of(&tile);
        return (const unsigned char *)a.l.m[m].data + (a.l.m[m].strip0 + tile) * strip_bytes + warp * UNIT;
    }
    template <bool COPIES> DEV_MEMBER void advance(cursor *c) const {
        c->slot = c->slot + 1 == SLOTS ? 0 : c->slot + 1;
        if (++c->part < PARTS) return;
        c->part = 0;
        if (COPIES) c->from += warps * UNIT;
        if (++c->round < rounds) return;
        c->round = 0;
        if (++c->m == matrices) c->m = 0, c->tile += (int)gridDim.x;
        if (COPIES) c->from = first_unit(c->tile, c->m);
    }
    DEV_MEMBER int chunks(int piece) const { return min((int)CUDA_PIECE_CHUNKS, chunks_all - piece * CUDA_PIECE_CHUNKS); }
    DEV_MEMBER int matrix_of(int *tile) const {
        int m = 0;
        while (m + 1 < a.l.n_m && *tile >= a.l.tiles[m]) *tile -= a.l.tiles[m++];
        return m;
    }

    DEV_MEMBER void copy(cursor *c) const { // always one group
        if (c->tile >= tiles) {
            cp_async_commit();
            return;
        }
        int piece = c->round * warps + warp, n = piece < pieces ? min((int)CHUNKS, chunks(piece) - c->part * CHUNKS) : 0;
        const unsigned char *from = c->from + c->part * SLOT + lane * 16;
        unsigned char *to = ring + c->slot * SLOT + lane * 16;
        if (n == CHUNKS) {
#pragma unroll
            for (int i = 0; i < SLOT / 512; i++) cp_async16(to + i * 512, from + i * 512, true);
            if (lane * 16 < SLOT % 512) cp_async16(to + SLOT / 512 * 512, from + SLOT / 512 * 512, true);
        } else if (n > 0) {
            int bytes = HALF ? n * 2048 : layout_unit_bytes(T, n);
#pragma unroll 1
            for (int at = 0; at + lane * 16 < bytes; at += 512) cp_async16(to + at, from + at, true);
        }
        cp_async_commit();
        advance<true>(c);
    }

    // ---- the row ---------------------------------------------------------------------------------------
    DEV_MEMBER void load(int piece, float v[8]) const {
        int at = piece * CUDA_PIECE + lane * 8;
        float4 p = make_float4(0, 0, 0, 0), q = p;
        // All blocks read the same: by way of the multiprocessor's own cache, which holds nothing from before dev_wait().
        if (piece < pieces && at < a.l.m[0].k) p = *(const float4 *)(a.x + at), q = *(const float4 *)(a.x + at + 4);
        v[0] = p.x, v[1] = p.y, v[2] = p.z, v[3] = p.w, v[4] = q.x, v[5] = q.y, v[6] = q.z, v[7] = q.w;
    }

    DEV_MEMBER void load_norm(int piece, float w[8]) const {
        int at = piece * CUDA_PIECE + lane * 8;
        if (!a.norm || !a.w || piece >= pieces) return;
        float4 p = make_float4(0, 0, 0, 0), q = p;
        if (at < a.l.m[0].k) p = *(const float4 *)(a.w + at), q = *(const float4 *)(a.w + at + 4);
        w[0] = p.x, w[1] = p.y, w[2] = p.z, w[3] = p.w, w[4] = q.x, w[5] = q.y, w[6] = q.z, w[7] = q.w;
    }

    // Of the row, of whose pieces of this warp v has the first; they meet in norm.cuh's order.
    DEV_MEMBER float norm_factor(const float v[AHEAD][8]) const {
#pragma unroll
        for (int i = 0; i < AHEAD; i++) norm_piece(i * warps + warp, v[i]);
#pragma unroll 1
        for (int r = AHEAD; r < rounds; r++) {
            float more[8];
            load(r * warps + warp, more);
            norm_piece(r * warps + warp, more);
        }
        __syncthreads();
        float sum = 0;
#pragma unroll 8
        for (int i = 0; i < pieces; i++) sum += norm_part[i];
        return norm_rms_factor(sum, a.l.m[0].k, a.eps);
    }
    DEV_MEMBER void norm_piece(int piece, const float v[8]) const {
        if (piece >= pieces) return;
        float sum = norm_piece_squares(v);
        if (lane == 0) norm_part[piece] = sum;
    }

    DEV_MEMBER void put(int piece, float f, const float w[8], float v[8]) const {
        if (piece >= pieces) return;
        if (a.norm)
            for (int j = 0; j < 8; j++) {
                v[j] = v[j] * f;
                if (a.w) v[j] *= w[j];
            }
        quantize_row<layout_scale_kinds(T), WIDE> place = {x + piece * X, chunks(piece)};
        if constexpr (HALF) quantize_halves<T == CT_BF16>(v, place, lane);
        else quantize_blocks<WIDE>(v, place, lane);
    }

    DEV_MEMBER void row() const { // each warp the pieces that it multiplies
        float v[AHEAD][8], w[AHEAD][8], f = 1.0f;
#pragma unroll
        for (int i = 0; i < AHEAD; i++) load_norm(i * warps + warp, w[i]);
        dev_wait();
#pragma unroll
        for (int i = 0; i < AHEAD; i++) load(i * warps + warp, v[i]);
        if (a.norm) f = norm_factor(v);
#pragma unroll 1
        for (int r = 0; r < rounds; r += AHEAD) {
#pragma unroll
            for (int i = 0; i < AHEAD; i++) {
                if (r + i >= rounds) break;
                int piece = (r + i) * warps + warp;
                put(piece, f, w[i], v[i]);
                if (r + i + AHEAD >= rounds) continue;
                load(piece + AHEAD * warps, v[i]);
                load_norm(piece + AHEAD * warps, w[i]);
            }
        }
        __syncwarp();
    }

    // ---- tiles -----------------------------------------------------------------------------------------
    DEV_MEMBER void multiply(cursor *c, cursor *ahead, float *to) const { // one piece; its sums of rows to `to`
        int piece = c->round * warps + warp, n = piece < pieces ? chunks(piece) : 0;
        float p[1][1][mma_values<T, WIDE>()];
        mma_row<T, WIDE> row = {x + piece * X, lane};
        if constexpr (HALF) {
            float acc[1][1][4] = {{{0, 0, 0, 0}}};
#pragma unroll 1
            for (int part = 0; part < PARTS; part++) {
                cp_async_wait<SLOTS - 1>();
                __syncwarp();
                mma_halves<T, 1, 1>(ring + c->slot * SLOT, 0, row, part * 2 * CHUNKS, min(2 * n, (part + 1) * 2 * CHUNKS), lane, acc);
                __syncwarp();
                copy(ahead);
                advance<false>(c);
            }
            float scale = n ? row.whole(0) : 0.0f;
            p[0][0][0] = (acc[0][0][0] + acc[0][0][1]) * scale;
            p[0][0][1] = (acc[0][0][2] + acc[0][0][3]) * scale;
        } else {
            cp_async_wait<SLOTS - 1>();
            __syncwarp();
            const unsigned char *unit = ring + c->slot * SLOT;
            if (n == CUDA_PIECE_CHUNKS) mma_row_piece<T, WIDE>(unit, row, lane, p);
            else {
                for (int i = 0; i < mma_values<T, WIDE>(); i++) p[0][0][i] = 0.0f;
#pragma unroll 1
                for (int i = 0; i < n; i++) mma_chunk<T, WIDE, 1, 1>(unit, 0, row, n, i, lane, p);
            }
            __syncwarp();
            copy(ahead);
            advance<false>(c);
        }
        if (n && (lane & 3) == 0) {
            to[piece * CUDA_STRIP + (lane >> 2)] = p[0][0][0];
            to[piece * CUDA_STRIP + (lane >> 2) + 8] = p[0][0][mma_values<T, WIDE>() / 2];
        }
    }

    // By one warp: lanes 0 to 15 a row each; of a gate, lanes 16 to 31 the rows of up.
    struct result { // of this lane: where it goes, or NULL; what is added
        float *y, res;
    };
    DEV_MEMBER result result_of(int tile) const {
        int m = matrices == 2 ? 0 : matrix_of(&tile), i = tile * CUDA_STRIP + lane;
        bool mine = lane < CUDA_STRIP && i < a.l.m[m].n;
        return {mine ? a.l.y[m] + i : 0, mine && a.l.epilogue == CUDA_EPI_ADD ? __ldcg(a.l.res + i) : 0.0f};
    }
    DEV_MEMBER void finish(const result &to, const float *from) const {
        float sum = 0.0f;
        from += lane % CUDA_STRIP;
        if (matrices == 2 && lane >= CUDA_STRIP) from += pieces * CUDA_STRIP;
#pragma unroll 8
        for (int p = 0; p < pieces; p++) sum += from[p * CUDA_STRIP];
        if (matrices == 2) sum = row_map(a.l.map, sum) * __shfl_sync(0xffffffffu, sum, lane | 16);
        else if (a.l.epilogue == CUDA_EPI_ADD) sum = sum + to.res;
        if (to.y) *to.y = sum;
    }

    DEV_MEMBER void run() const {
        dev_launch_next();
        cursor ahead = {(int)blockIdx.x, 0, 0, 0, 0, first_unit((int)blockIdx.x, 0)}, now = {(int)blockIdx.x, 0, 0, 0, 0, 0};
#pragma unroll 1
        for (int i = 0; i < SLOTS; i++) copy(&ahead);
        row();
#pragma unroll 1
        for (int tile = (int)blockIdx.x, turn = 0, half = 0; tile < tiles; tile += (int)gridDim.x, half ^= 1) { // turn: whose it is to finish
            float *mine = sums + half * matrices * pieces * CUDA_STRIP;
            bool last = warp == turn;
            turn = turn + 1 == warps ? 0 : turn + 1;
            result to = {0, 0};
            if (last) to = result_of(tile); // asked for before it is needed
#pragma unroll 1
            for (int i = 0; i < matrices * rounds; i++) multiply(&now, &ahead, mine + now.m * pieces * CUDA_STRIP);
            __syncthreads();
            if (last) finish(to, mine);
        }
    }
};

#define ROW_KERNEL(T, name, wide)                                                                                      \
    CUDA_KERNEL_MIN(row_##name, cuda_row_args, 512, 2) {                                                               \
        DEV_SMEM(memory);                                                                                              \
        row_block<T, wide>(a, memory).run();                                                                           \
    }
#endif
