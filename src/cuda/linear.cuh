// linear.cuh - y = W x for 1 to many rows of activations, straight from the stored blocks; included by linear_*.cu, which
// instantiate it for their types.
//
// A block computes RW * SW strips (16 rows of W each) times MW * NT groups (8 columns): warp (kw, rw, mw) multiplies SW strips
// and NT groups for pieces kw, kw + KW, .. of k. Weights and activations of KW pieces at a time come by cp.async into one of
// STAGES stages of shared memory: [kw][strips' units][groups' pieces]. With KW > 1 the pieces' sums of all kw then meet in
// shared memory and are added in ascending order (mma.cuh has the order that defines the bits).
// Grid: x = tiles of strips of all matrices, y = tiles of groups. Threads: 32 RW MW KW.
#ifndef TL_CUDA_LINEAR_CUH
#define TL_CUDA_LINEAR_CUH
#include "cuda/cuda.h"
#include "cuda/linear_shapes.h"
#include "cuda/map.cuh"
#include "cuda/mma.cuh"

template <int T, bool WIDE> struct linear_sizes {
    static constexpr int act = layout_act_kind(T, WIDE);
    static constexpr int columns = layout_columns(act);
    static constexpr int unit = layout_unit_bytes(T, CUDA_PIECE_CHUNKS); // in shared memory and of all pieces but the last
    static constexpr int x_chunk = layout_is_half(T) ? 1024 : 512 + 64 * mma_scale_kinds(T); // what is read of it
    static constexpr int x_piece = CUDA_PIECE_CHUNKS * x_chunk + (layout_is_half(T) ? 32 : 0);
    static constexpr int values = mma_values<T, WIDE>();
};

// The first `bytes` of a group's piece, without the columns past `cols`.
template <bool HALF> DEV void linear_copy_x(unsigned char *to, const unsigned char *from, int chunks, int bytes, int cols, int lane) {
    int codes = chunks * (HALF ? 1024 : 512);
    for (int i = lane * 16; i < bytes; i += 512) {
        int column = i < codes ? i / 64 % 8 : HALF ? (i - codes) / 16 * 4 : i / 16 % 4 * 2;
        if (column < cols) cp_async16(to + i, from + i, true);
    }
}

static __device__ __noinline__ float linear_map(int op, float x) { return map1(op, x); } // once, not for each value

template <int T, bool WIDE, int SW, int NT, int RW, int MW, int KW, int STAGES> struct linear_block {
    typedef linear_sizes<T, WIDE> sizes;
    static constexpr int WARPS = RW * MW, STRIPS = RW * SW, GROUPS = MW * NT, V = sizes::values, UNITS = (STRIPS + WARPS - 1) / WARPS;
    static constexpr int K_STAGE = STRIPS * sizes::unit + GROUPS * sizes::x_piece, STAGE = KW * K_STAGE;

    const cuda_linear_args &a;
    unsigned char *smem;
    int lane, kw, rest, rw, mw, matrix, tile, strips, chunks_all, pieces, cols;
    const unsigned char *unit[UNITS]; // first pieces of the strips that this warp copies

    DEV_MEMBER linear_block(const cuda_linear_args &args, unsigned char *shared) : a(args), smem(shared) {
        int warp = (int)threadIdx.x / 32;
        lane = (int)threadIdx.x % 32;
        kw = warp / WARPS, rest = warp % WARPS, rw = rest / MW, mw = rest % MW;
        matrix = 0, tile = (int)blockIdx.x;
        while (matrix + 1 < a.n_m && tile >= a.tiles[matrix]) tile -= a.tiles[matrix++];
        strips = (int)layout_strips(a.m[matrix].n);
        chunks_all = (int)layout_chunks(a.m[0].k);
        pieces = (int)layout_pieces(a.m[0].k);
        cols = a.rows * sizes::columns;
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            int i = rest + u * WARPS, m = source(i % SW), at = strip(i / SW, i % SW);
            if (at >= strips) at = strips - 1; // computed twice, stored once
            unit[u] = (const unsigned char *)a.m[m].data + (int64_t)(a.m[m].strip0 + at) * layout_strip_bytes(T, a.m[0].k);
        }
    }

    DEV_MEMBER bool glu() const { return SW == 2 && a.epilogue == CUDA_EPI_GLU; }
    DEV_MEMBER int source(int s) const { return glu() ? s : matrix; } // gate and up side by side in a warp
    DEV_MEMBER int strip(int r, int s) const { return glu() ? tile * RW + r : (tile * RW + r) * SW + s; }
    DEV_MEMBER int chunks(int piece) const { return min(CUDA_PIECE_CHUNKS, chunks_all - piece * CUDA_PIECE_CHUNKS); }
    DEV_MEMBER unsigned char *stage(int round) const { return smem + round % STAGES * STAGE + kw * K_STAGE; }

    DEV_MEMBER void copy_weights(int round) const {
        int piece = round * KW + kw;
        if (piece >= pieces) return;
        int bytes = layout_unit_bytes(T, chunks(piece));
#pragma unroll
        for (int u = 0; u < UNITS; u++) {
            int i = rest + u * WARPS;
            if (i >= STRIPS) break;
            unsigned char *to = stage(round) + i * sizes::unit;
            const unsigned char *from = unit[u] + (int64_t)piece * sizes::unit;
            for (int at = lane * 16; at < bytes; at += 512) cp_async16(to + at, from + at, true);
        }
    }

    DEV_MEMBER void copy_x(int round) const {
        int piece = round * KW + kw;
        if (piece >= pieces) return;
        int n = chunks(piece);
        for (int i = rest; i < GROUPS; i += WARPS) {
            int group = (int)blockIdx.y * GROUPS + i, left = cols - group * CUDA_GROUP;
            if (left <= 0) break;
            const unsigned char *from = (const unsigned char *)a.x + group * layout_group_bytes(sizes::act, a.m[0].k) +
                                        (int64_t)piece * layout_act_piece(sizes::act, CUDA_PIECE_CHUNKS);
            linear_copy_x<layout_is_half(T)>(stage(round) + STRIPS * sizes::unit + i * sizes::x_piece, from, n,
                                             layout_is_half(T) ? n * 1024 + 32 : n * sizes::x_chunk, left, lane);
        }
    }

    // Adds the KW pieces of a round to the totals: warp kw those of fragments n % KW == kw.
    DEV_MEMBER void exchange(int round, const float p[SW][NT][V], float total[SW][NT][V]) const {
        float *part = (float *)(smem + (min(STAGES, (pieces + KW - 1) / KW)) * STAGE);
        float *mine = part + (kw * WARPS + rest) * SW * NT * 32 * V;
#pragma unroll
        for (int f = 0; f < SW * NT; f++)
#pragma unroll
            for (int v = 0; v < V; v += 2) *(float2 *)(mine + (f * (V / 2) + v / 2) * 64 + lane * 2) = make_float2(p[f / NT][f % NT][v], p[f / NT][f % NT][v + 1]);
        __syncthreads();
#pragma unroll
        for (int n = 0; n < NT; n++) {
            if (n % KW != kw) continue;
            for (int k = 0; k < KW && round * KW + k < pieces; k++) {
                const float *from = part + (k * WARPS + rest) * SW * NT * 32 * V;
#pragma unroll
                for (int s = 0; s < SW; s++)
#pragma unroll
                    for (int v = 0; v < V; v += 2) {
                        float2 x = *(const float2 *)(from + ((s * NT + n) * (V / 2) + v / 2) * 64 + lane * 2);
                        total[s][n][v] += x.x;
                        total[s][n][v + 1] += x.y;
                    }
            }
        }
    }

    DEV_MEMBER void store(const float total[SW][NT][V]) const {
        const int g = lane >> 2, t = lane & 3;
#pragma unroll
        for (int n = 0; n < NT; n++) {
            if (KW > 1 && n % KW != kw) continue;
            int group = (int)blockIdx.y * GROUPS + mw * NT + n;
#pragma unroll
            for (int s = 0; s < (SW == 2 ? 2 : 1); s++) {
                if (glu() && s) break;
#pragma unroll
                for (int v = 0; v < V; v++) {
                    int row = V == 4 ? group * 8 + 2 * t + v % 2 : group * 4 + t, at = strip(rw, s);
                    int i = at * CUDA_STRIP + g + (V == 4 ? v / 2 : v) * 8;
                    if (row >= a.rows || at >= strips || i >= a.m[matrix].n) continue;
                    float value = total[s][n][v];
                    if (glu()) value = linear_map(a.map, value) * total[SW - 1][n][v];
                    else if (a.epilogue == CUDA_EPI_ADD) value = value + a.res[row * a.ld_res + i];
                    a.y[matrix][row * a.ldy[matrix] + i] = value;
                }
            }
        }
    }

    DEV_MEMBER void run() const {
        const int rounds = (pieces + KW - 1) / KW;
#pragma unroll
        for (int r = 0; r < (STAGES > 1 ? STAGES - 1 : 1); r++) copy_weights(r);
        dev_wait();
#pragma unroll
        for (int r = 0; r < (STAGES > 1 ? STAGES - 1 : 1); r++) {
            copy_x(r);
            cp_async_commit();
        }
        dev_launch_next();
        float total[SW][NT][V];
#pragma unroll
        for (int i = 0; i < SW * NT * V; i++) total[i / (NT * V)][i / V % NT][i % V] = 0.0f;
#pragma unroll 1
        for (int r = 0; r < rounds; r++) {
            cp_async_wait<STAGES - 2>();
            __syncthreads();
            copy_weights(r + STAGES - 1);
            copy_x(r + STAGES - 1);
            cp_async_commit();
            float p[SW][NT][V];
            int piece = r * KW + kw;
            const unsigned char *from = stage(r);
            if (piece < pieces)
                mma_piece<T, WIDE, SW, NT>(from + rw * SW * sizes::unit, sizes::unit, from + STRIPS * sizes::unit + mw * NT * sizes::x_piece,
                                           sizes::x_piece, chunks(piece), lane, p);
            if (KW == 1) {
#pragma unroll
                for (int i = 0; i < SW * NT * V; i++) total[i / (NT * V)][i / V % NT][i % V] += p[i / (NT * V)][i / V % NT][i % V];
            } else exchange(r, p, total);
        }
        store(total);
    }
};

// For each shape of LINEAR_SHAPES: the kernel linear_<name>_<shape>. LINEAR_T, LINEAR_NAME and LINEAR_WIDE are set around it.
#define LINEAR_KERNEL_(T, name, wide, shape, SW, NT, RW, MW, KW, STAGES, BLOCKS)                                       \
    CUDA_KERNEL_MIN(linear_##name##_##shape, cuda_linear_args, 32 * RW * MW * KW, BLOCKS) {                            \
        DEV_SMEM(smem);                                                                                                \
        linear_block<T, wide, SW, NT, RW, MW, KW, STAGES>(a, smem).run();                                              \
    }
#define LINEAR_KERNEL(...) LINEAR_KERNEL_(__VA_ARGS__)
#define LINEAR_SHAPE(...) LINEAR_KERNEL(LINEAR_T, LINEAR_NAME, LINEAR_WIDE, __VA_ARGS__)
#endif
