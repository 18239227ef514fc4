// linear.cuh - y = W x for 1 to many rows of activations, straight from the stored blocks; included by linear_*.cu, which
// instantiate it for their types.
//
// A block computes RW * SW strips (16 rows of W each) times MW * NT groups (8 columns): warp (kw, rw, mw) multiplies SW strips
// and NT groups for pieces kw, kw + KW, .. of k. Codes, activations and their scales come by cp.async, STEP chunks of KW pieces
// at a time, into one of STAGES stages of shared memory: [kw][strips' codes][groups' columns]; a piece's own scales into one of
// SIDES places: [kw][strips' planes S and D][scales of groups of halves]. With KW > 1 the pieces' sums of all kw then meet in
// shared memory and are added in ascending order (mma.cuh has the order that defines the bits).
// Grid: x = tiles of strips of all matrices, y = tiles of groups. Threads: 32 RW MW KW.
#ifndef TL_CUDA_LINEAR_CUH
#define TL_CUDA_LINEAR_CUH
#include "cuda/cuda.h"
#include "cuda/linear_shapes.h"
#include "cuda/map.cuh"
#include "cuda/mma.cuh"

template <int T, bool WIDE> struct linear_sizes {
    static constexpr bool half = layout_is_half(T);
    static constexpr int act = layout_act_kind(T, WIDE), columns = layout_columns(act), kinds = half ? 0 : layout_scale_kinds(T);
    static constexpr int code = layout_code_bytes(T), first_plane = layout_first_plane(T), side = layout_s_bytes(T) + layout_d_bytes(T);
    static constexpr int x_codes = half ? 1024 : 512, x_chunk = x_codes + 64 * kinds; // of a group's chunk, what is read of it
    static constexpr int x_side = half ? 32 : 0;
    static constexpr int values = mma_values<T, WIDE>(), sums = half ? 4 : values; // of a fragment: of y, and while a piece is multiplied
};

// `bytes` of at most MOST (multiples of 16) by a warp; the addresses are this lane's.
template <int MOST> DEV void linear_copy(dev_place to, const unsigned char *from, int bytes, int lane) {
#pragma unroll
    for (int at = 0; at < MOST; at += 512)
        if (at + lane * 16 < bytes) cp_async16_to(to + at, from + at);
}

static __device__ __noinline__ float linear_map(int op, float x) { return map1(op, x); } // once, not for each value

template <int T, bool WIDE, int SW, int NT, int RW, int MW, int KW, int STEP, int STAGES> struct linear_block {
    typedef linear_sizes<T, WIDE> sizes;
    static constexpr int WARPS = RW * MW, STRIPS = RW * SW, GROUPS = MW * NT, PAIRS = (SW + 1) / 2, V = sizes::values; // PAIRS: of a strip of gate and one of up
    static constexpr int COPY_STRIPS = (STRIPS + WARPS - 1) / WARPS, COPY_GROUPS = (GROUPS + WARPS - 1) / WARPS; // of a warp
    static constexpr int STEPS = CUDA_PIECE_CHUNKS / STEP; // of a piece
    static constexpr int W_STAGE = STRIPS * STEP * sizes::code, X_GROUP = STEP * sizes::x_chunk, K_STAGE = W_STAGE + GROUPS * X_GROUP, STAGE = KW * K_STAGE;
    static constexpr int K_SIDE = STRIPS * sizes::side + GROUPS * sizes::x_side, SIDE = KW * K_SIDE, SIDES = 1 + (STAGES - 1 + STEPS - 1) / STEPS;
    static constexpr int TURN = linear_turn(SW, NT, RW, MW, KW); // groups of a warp that are exchanged at a time
    static constexpr int TOTALS = (NT + KW - 1) / KW; // groups whose totals are a warp's: kw, kw + KW, ..
    static constexpr int WORKED = sizes::half ? 0 : SW * CUDA_PIECE_CHUNKS * layout_worked_chunk(T); // of a warp
    static constexpr int UNITS = sizes::half ? 1 : sizes::kinds * STEP * 4, SCALES = sizes::half ? 0 : (COPY_GROUPS * UNITS + 31) / 32; // of 16 bytes: a group's scales; a lane's

    const cuda_linear_args &a;
    unsigned char *smem, *sides, *worked; // worked: this warp's scales
    float *part; // [kw][WARPS][SW][TURN][lane][V]
    int lane, kw, rest, rw, mw, matrix, tile, strips, chunks_all, pieces, cols, x_stride, left;
    // What a lane copies: strips' first pieces, columns of the first group; scales: where from, after how many bytes a chunk, where to.
    const unsigned char *unit[COPY_STRIPS], *x;
    int scale_from[SCALES + 1], scale_plane[SCALES + 1], scale_to[SCALES + 1];
    dev_place codes_to, x_to, side_to;

    struct cursor { // of steps: chunks [c, c + STEP) of this warp's piece, of which `n` exist
        int piece, c, whole, stage, side;
        uint32_t w, x; // where the piece starts in a strip, in a group
        DEV_MEMBER int n() const { return min(STEP, whole - c); }
    };

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
        sides = smem + min(STAGES, (pieces + KW - 1) / KW * STEPS) * STAGE;
        part = (float *)(sides + SIDES * SIDE + WARPS * KW * WORKED);
        worked = sides + SIDES * SIDE + warp * WORKED;
#pragma unroll
        for (int u = 0; u < COPY_STRIPS; u++) {
            int i = rest + u * WARPS, m = source(i % SW), at = strip(i / SW, i % SW);
            if (at >= strips) at = strips - 1; // computed twice, stored once
            unit[u] = (const unsigned char *)a.m[m].data + (int64_t)(a.m[m].strip0 + at) * layout_strip_bytes(T, a.m[0].k) + lane * 16;
        }
        x_stride = (int)layout_group_bytes(sizes::act, a.m[0].k);
        x = (const unsigned char *)a.x + ((int)blockIdx.y * GROUPS + rest) * (int64_t)x_stride;
        left = cols - ((int)blockIdx.y * GROUPS + rest) * CUDA_GROUP;
        codes_to = dev_place_of(smem + kw * K_STAGE + lane * 16);
        x_to = dev_place_of(smem + kw * K_STAGE + W_STAGE + rest * X_GROUP);
        side_to = dev_place_of(sides + kw * K_SIDE + lane * 16);
#pragma unroll
        for (int i = 0; i < SCALES; i++) {
            int at = i * 32 + lane, j = at / UNITS, kind = at % UNITS / (STEP * 4), of = at % (STEP * 4);
            bool mine = j < COPY_GROUPS && rest + j * WARPS < GROUPS && of % 4 * 2 < left - j * WARPS * CUDA_GROUP;
            scale_from[i] = j * WARPS * x_stride + of * 16;
            scale_plane[i] = 512 + 64 * kind;
            scale_to[i] = mine ? j * WARPS * X_GROUP + STEP * (512 + 64 * kind) + of * 16 : -1;
        }
    }

    DEV_MEMBER bool glu() const { return SW % 2 == 0 && a.epilogue == CUDA_EPI_GLU; }
    DEV_MEMBER int source(int s) const { return glu() ? s / PAIRS : matrix; } // gate and up side by side in a warp
    DEV_MEMBER int strip(int r, int s) const { return glu() ? (tile * RW + r) * PAIRS + s % PAIRS : (tile * RW + r) * SW + s; }
    DEV_MEMBER int chunks(int piece) const { return min((int)CUDA_PIECE_CHUNKS, chunks_all - piece * CUDA_PIECE_CHUNKS); }
    DEV_MEMBER unsigned char *side(int i) const { return sides + i * SIDE + kw * K_SIDE; }

    DEV_MEMBER cursor start() const { return {kw, 0, kw < pieces ? chunks(kw) : 0, 0, 0, (uint32_t)(kw * layout_unit_bytes(T, CUDA_PIECE_CHUNKS)), (uint32_t)(kw * layout_act_piece(sizes::act, CUDA_PIECE_CHUNKS))}; }
    DEV_MEMBER void advance(cursor *s) const {
        s->stage = s->stage + 1 == STAGES ? 0 : s->stage + 1;
        s->c += STEP;
        if (s->c < CUDA_PIECE_CHUNKS) return;
        s->c = 0, s->piece += KW, s->side = s->side + 1 == SIDES ? 0 : s->side + 1;
        s->whole = s->piece < pieces ? chunks(s->piece) : 0;
        s->w += KW * layout_unit_bytes(T, CUDA_PIECE_CHUNKS), s->x += KW * layout_act_piece(sizes::act, CUDA_PIECE_CHUNKS);
    }

    DEV_MEMBER void copy_weights(const cursor &s) const {
        const int n = s.n();
        if (n <= 0) return;
#pragma unroll
        for (int u = 0; u < COPY_STRIPS; u++) {
            int i = rest + u * WARPS;
            if (STRIPS % WARPS && i >= STRIPS) break;
            const unsigned char *from = unit[u] + s.w;
            dev_place to = codes_to + s.stage * STAGE + i * STEP * sizes::code;
            linear_copy<STEP * sizes::first_plane>(to, from + s.c * sizes::first_plane, n * sizes::first_plane, lane);
            if (sizes::code > sizes::first_plane) {
                constexpr int bytes = sizes::code - sizes::first_plane;
                linear_copy<STEP * bytes>(to + STEP * sizes::first_plane, from + s.whole * sizes::first_plane + s.c * bytes, n * bytes, lane);
            }
            if (sizes::side && s.c == 0) linear_copy<sizes::side>(side_to + s.side * SIDE + i * sizes::side, from + s.whole * sizes::code, sizes::side, lane);
        }
    }

    DEV_MEMBER void copy_x(const cursor &s) const { // without the columns past the last
        const int n = s.n();
        if (n <= 0) return;
        const unsigned char *from = x + s.x;
        dev_place to = x_to + s.stage * STAGE;
#pragma unroll
        for (int j = 0; j < COPY_GROUPS; j++) {
            if (GROUPS % WARPS && rest + j * WARPS >= GROUPS) break;
            if (lane / 4 < left - j * WARPS * CUDA_GROUP)
                linear_copy<STEP * sizes::x_codes>(to + j * WARPS * X_GROUP + lane * 16, from + (uint32_t)(j * WARPS * x_stride + s.c * sizes::x_codes + lane * 16), n * sizes::x_codes, lane);
        }
#pragma unroll
        for (int i = 0; i < SCALES; i++) // of int8
            if (scale_to[i] >= 0 && (STEP == 1 || (i * 32 + lane) % (STEP * 4) < n * 4))
                cp_async16_to(to + scale_to[i], from + (uint32_t)(scale_from[i] + s.whole * scale_plane[i] + s.c * 64));
        if (sizes::half && s.c == 0)
#pragma unroll 1
            for (int i = lane; i < COPY_GROUPS * 2; i += 32) { // of halves
                int j = i / 2, unit = i % 2;
                if (rest + j * WARPS < GROUPS && unit * 4 < left - j * WARPS * CUDA_GROUP)
                    cp_async16_to(side_to + s.side * SIDE + STRIPS * sizes::side + (rest + j * WARPS) * 32 + unit * 16 - lane * 16, from + (uint32_t)(j * WARPS * x_stride + s.whole * 1024 + unit * 16));
            }
    }

    DEV_MEMBER void multiply(const cursor &s, float p[SW][NT][sizes::sums]) const {
        const unsigned char *from = smem + s.stage * STAGE + kw * K_STAGE, *w = from + rw * SW * STEP * sizes::code;
        mma_groups<T, WIDE> groups = {from + W_STAGE + mw * NT * X_GROUP, X_GROUP, STEP, lane, 0};
        if constexpr (sizes::half) {
            mma_halves<T, SW, NT>(w, STEP * sizes::code, groups, 0, 2 * s.n(), lane, p);
        } else {
            if (s.n() <= 0) return;
            if (s.c == 0) {
                __syncwarp(); // the piece before has been read
#pragma unroll
                for (int i = 0; i < SW; i++) mma_work_out<T>(side(s.side) + (rw * SW + i) * sizes::side, lane, worked + i * CUDA_PIECE_CHUNKS * layout_worked_chunk(T));
                __syncwarp();
            }
#pragma unroll 1
            for (int c = 0; c < (STEP == 1 ? 1 : s.n()); c++) {
                uint32_t codes[SW][2][4];
                float sc[SW][2][2][2], mn[SW][2][2][2];
#pragma unroll
                for (int i = 0; i < SW; i++) {
                    mma_codes<T>(w + i * STEP * sizes::code, STEP, c, lane, codes[i]);
                    mma_worked_out<T>(worked + i * CUDA_PIECE_CHUNKS * layout_worked_chunk(T), s.c + c, lane, sc[i], mn[i]);
                }
                mma_chunk_of<T, WIDE, SW, NT>(codes, sc, mn, groups, c, p);
            }
        }
    }

    DEV_MEMBER void whole_scales(const cursor &s, float p[SW][NT][sizes::sums]) const { // halves: sums of hi and lo, scaled
        mma_groups<T, WIDE> groups = {0, 0, 0, lane, side(s.side) + STRIPS * sizes::side + mw * NT * 32};
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float scale = groups.whole(n);
#pragma unroll
            for (int i = 0; i < SW; i++) {
                p[i][n][0] = (p[i][n][0] + p[i][n][1]) * scale;
                p[i][n][1] = (p[i][n][2] + p[i][n][3]) * scale;
            }
        }
    }

    DEV_MEMBER static void put(float *to, const float *v) {
        if (V == 4) *(float4 *)to = make_float4(v[0], v[1], v[V - 2], v[V - 1]);
        else *(float2 *)to = make_float2(v[0], v[1]);
    }
    DEV_MEMBER static void add(const float *from, float v[V]) {
        if (V == 4) {
            float4 x = *(const float4 *)from;
            v[0] += x.x, v[1] += x.y, v[V - 2] += x.z, v[V - 1] += x.w;
        } else {
            float2 x = *(const float2 *)from;
            v[0] += x.x, v[1] += x.y;
        }
    }
    DEV_MEMBER float *part_of(int k, int s, int n) const { return part + ((((k * WARPS + rest) * SW + s) * TURN + n % TURN) * 32 + lane) * V; }

    // Adds the KW pieces of a round to the totals, TURN groups of a warp at a time: warp kw those of groups kw, kw + KW, ..
    DEV_MEMBER void exchange(int round, const float p[SW][NT][sizes::sums], float total[TOTALS][SW][V]) const {
#pragma unroll
        for (int first = 0; first < NT; first += TURN) {
            if (first) __syncthreads();
#pragma unroll
            for (int s = 0; s < SW; s++)
#pragma unroll
                for (int n = first; n < first + TURN; n++) put(part_of(kw, s, n), p[s][n]);
            __syncthreads();
#pragma unroll
            for (int i = 0; i < TOTALS; i++) {
                int n = i * KW + kw;
                if (n < first || n >= first + TURN) continue;
#pragma unroll
                for (int k = 0; k < KW; k++) {
                    if (round * KW + k >= pieces) break;
#pragma unroll
                    for (int s = 0; s < SW; s++) add(part_of(k, s, n), total[i][s]);
                }
            }
        }
    }

    DEV_MEMBER void store_group(int n, const float total[SW][V]) const {
        const int g = lane >> 2, t = lane & 3, group = (int)blockIdx.y * GROUPS + mw * NT + n;
#pragma unroll
        for (int s = 0; s < SW; s++) {
            if (glu() && s >= PAIRS) break;
#pragma unroll
            for (int v = 0; v < V; v++) {
                int row = V == 4 ? group * 8 + 2 * t + v % 2 : group * 4 + t, at = strip(rw, s);
                int i = at * CUDA_STRIP + g + (V == 4 ? v / 2 : v) * 8;
                if (row >= a.rows || at >= strips || i >= a.m[matrix].n) continue;
                float value = total[s][v];
                if (glu()) value = linear_map(a.map, value) * total[(s + PAIRS) % SW][v];
                else if (a.epilogue == CUDA_EPI_ADD) value = value + a.res[row * a.ld_res + i];
                a.y[matrix][row * a.ldy[matrix] + i] = value;
            }
        }
    }

    DEV_MEMBER void run() const {
        const int rounds = (pieces + KW - 1) / KW;
        cursor ahead = start(), now = ahead;
#pragma unroll 1
        for (int q = 0; q < STAGES - 1; q++) copy_weights(ahead), advance(&ahead);
        dev_wait();
        ahead = now;
#pragma unroll 1
        for (int q = 0; q < STAGES - 1; q++) {
            copy_x(ahead);
            advance(&ahead);
            cp_async_commit();
        }
        dev_launch_next();
        float total[TOTALS][SW][V];
#pragma unroll
        for (int i = 0; i < TOTALS * SW * V; i++) total[i / (SW * V)][i / V % SW][i % V] = 0.0f;
#pragma unroll 1
        for (int r = 0; r < rounds; r++) {
            float p[SW][NT][sizes::sums];
#pragma unroll
            for (int i = 0; i < SW * NT * sizes::sums; i++) p[i / (NT * sizes::sums)][i / sizes::sums % NT][i % sizes::sums] = 0.0f;
#pragma unroll 1
            for (int q = 0;; q++) {
                cp_async_wait<STAGES - 2>();
                __syncthreads();
                copy_weights(ahead);
                copy_x(ahead);
                advance(&ahead);
                cp_async_commit();
                multiply(now, p);
                if (q == STEPS - 1) break;
                advance(&now);
            }
            if (sizes::half && now.whole > 0) whole_scales(now, p);
            advance(&now);
            if (KW == 1) {
#pragma unroll
                for (int i = 0; i < NT * SW * V; i++) total[i / (SW * V)][i / V % SW][i % V] += p[i / V % SW][i / (SW * V)][i % V];
            } else exchange(r, p, total);
        }
#pragma unroll
        for (int i = 0; i < TOTALS; i++)
            if (KW == 1 || i * KW + kw < NT) store_group(i * KW + kw, total[i]);
    }
};

// For each shape of LINEAR_SHAPES: the kernel linear_<name>_<shape>. LINEAR_T, LINEAR_NAME and LINEAR_WIDE are set around it.
#define LINEAR_KERNEL_(T, name, wide, shape, SW, NT, RW, MW, KW, STEP, STAGES, BLOCKS)                                       \
    CUDA_KERNEL_MIN(linear_##name##_##shape, cuda_linear_args, 32 * RW * MW * KW, BLOCKS) {                            \
        DEV_SMEM(smem);                                                                                                \
        linear_block<T, wide, SW, NT, RW, MW, KW, STEP, STAGES>(a, smem).run();                                              \
    }
#define LINEAR_KERNEL(...) LINEAR_KERNEL_(__VA_ARGS__)
#define LINEAR_SHAPE(...) LINEAR_KERNEL(LINEAR_T, LINEAR_NAME, LINEAR_WIDE, __VA_ARGS__)
#endif
