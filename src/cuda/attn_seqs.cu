// attn_seqs.cu - attention where each row has a sequence of its own, rows are many and the cache is F16: a warp takes up to 8 heads of one kv head
// of a row through all its chunks, so that nothing is handed from warp to warp; what hides latency is the number of warps.
//
// The next chunk's keys are on their way all the while a chunk is computed, its values too where four warps fit on a multiprocessor with that
// (D = 64), else from when the chunk's own are done with. Queries stay in registers as fragments A whose rows 8 .. 15 are zeros. Operations and
// order are attn.cuh's.
// Grid: x = rows, y = kv heads. 32 threads. Shared memory: two chunks' keys, then the values of V_STAGES.
#include "cuda/attn.cuh"
#include "cuda/attn_rows.h"

template <int D> struct seqs_warp { // D: width of keys and of values
    static constexpr int STRIDE = rows_stride(D), STEPS = D / 16, UNITS = D / 8, BYTES = ATTN_ENTRIES * STRIDE, V_STAGES = seqs_value_stages(D);
    const cuda_attn_args &a;
    unsigned char *k, *v;
    int lane, kv, group, head0, lo, hi;
    uint32_t q_hi[STEPS][2], q_lo[STEPS][2];
    const unsigned char *from[2]; // what this lane copies of an entry at 0
    dev_place to;
    cuda_seq seq;

    DEV_MEMBER seqs_warp(const cuda_attn_args &args, unsigned char *memory) : a(args) {
        lane = (int)threadIdx.x, kv = (int)blockIdx.y, group = a.heads / a.kv_heads, head0 = kv * group;
        k = memory, v = memory + 2 * BYTES;
        from[0] = (const unsigned char *)a.k + (kv * D + lane % UNITS * 8) * 2;
        from[1] = (const unsigned char *)a.v + (kv * D + lane % UNITS * 8) * 2;
        to = dev_place_of(memory + lane / UNITS * STRIDE + lane % UNITS * 16);
    }

    DEV_MEMBER void load_q(int row) {
        const int g = lane >> 2, t = lane & 3;
        const float *q = a.q + row * a.q_stride + (int64_t)(head0 + g) * D + 2 * t;
#pragma unroll
        for (int d = 0; d < STEPS; d++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float x0 = g < group ? q[d * 16 + i * 8] : 0.0f, x1 = g < group ? q[d * 16 + i * 8 + 1] : 0.0f;
                attn_split(x0, x1, &q_hi[d][i], &q_lo[d][i]);
            }
    }

    DEV_MEMBER int slot(int chunk, int i) const { // of the chunk's entry lane + 32 i
        int e = (int)((int64_t)chunk * ATTN_ENTRIES - seq.dropped) + lane + 32 * i;
        return e >= lo && e < hi ? seq.slots[e] : -1;
    }

    // Keys or values of a chunk into the stage of theirs; at[i]: slot of entry lane + 32 i. Nothing past the last chunk, but one group always.
    DEV_MEMBER void load(bool values, int stage, bool any, const int at[2]) const {
        const unsigned char *base = from[values];
        const int64_t bytes = values ? a.v_slot_bytes : a.k_slot_bytes;
        dev_place place = to + ((values ? 2 : 0) + stage) * BYTES;
        constexpr int EACH = 32 / UNITS; // entries at a time
        if (any) {
#pragma unroll
            for (int i = 0; i < ATTN_ENTRIES / EACH; i++) {
                int s = __shfl_sync(0xffffffffu, at[i * EACH / 32], i * EACH % 32 + lane / UNITS);
                cp_async16_if(place + i * EACH * STRIDE, base + (s < 0 ? 0 : s * bytes), s >= 0);
            }
        }
        cp_async_commit();
    }

    DEV_MEMBER void scores(const unsigned char *keys, float s[8][4]) const {
        const unsigned char *kb = attn_key_place(keys, STRIDE, lane);
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = 0.0f;
#pragma unroll
        for (int d = 0; d < STEPS; d++) {
            const uint32_t hi4[4] = {q_hi[d][0], 0, q_hi[d][1], 0}, lo4[4] = {q_lo[d][0], 0, q_lo[d][1], 0};
            attn_score_step<8>(hi4, lo4, kb + d * 32, STRIDE, s);
        }
    }

    DEV_MEMBER void run() {
        dev_wait();
        dev_launch_next();
        const int row = (int)blockIdx.x, g = lane >> 2, t = lane & 3;
        seq = a.seqs[a.seq[row]];
        attn_reads(a, seq, row, &lo, &hi);
        const uint32_t *bits[1] = {a.mask ? a.mask + row * a.mask_stride : 0};
        int c0 = (int)((seq.dropped + lo) / ATTN_ENTRIES), c1 = lo < hi ? (int)((seq.dropped + hi - 1) / ATTN_ENTRIES + 1) : c0;
        float acc[2 * STEPS][2], top = ATTN_NONE, total = 0.0f;
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++) acc[n][0] = acc[n][1] = 0.0f;
        int at[2] = {slot(c0, 0), slot(c0, 1)};
        load(false, 0, c0 < c1, at);
        load(true, 0, c0 < c1, at);
        at[0] = slot(c0 + 1, 0), at[1] = slot(c0 + 1, 1);
        load_q(row);
#pragma unroll 1
        for (int c = c0; c < c1; c++) {
            const int stage = (c - c0) & 1, base = (int)((int64_t)c * ATTN_ENTRIES - seq.dropped), l[1] = {lo - base}, h[1] = {hi - base};
            const bool more = c + 1 < c1;
            float score[8][4], keep, add;
            attn_part part;
            load(false, 1 - stage, more, at);
            if (V_STAGES == 2) load(true, 1 - stage, more, at);
            int next[2] = {slot(c + 2, 0), slot(c + 2, 1)};
            cp_async_wait<V_STAGES + 1>();
            __syncwarp();
            scores(k + stage * BYTES, score);
            attn_weigh<1>(a, l, h, bits, base, lane, score, &part);
            bool read = attn_fold(part.m[0], part.l[0], &top, &total, &keep, &add);
            cp_async_wait<V_STAGES>();
            __syncwarp();
#pragma unroll
            for (int n = 0; n < STEPS; n++) {
                float o[2][4];
                attn_values(part, v + stage % V_STAGES * BYTES, STRIDE, n, lane, o);
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float *x = &acc[2 * n + i / 2][i % 2];
                    if (read) *x = fmaf(o[i / 2][i % 2], add, *x * keep);
                }
            }
            __syncwarp(); // of this chunk all has been read
            if (V_STAGES == 1) load(true, 0, more, at);
            at[0] = next[0], at[1] = next[1];
        }
        if (g >= group) return;
        float scale = attn_scale(a, head0 + g, top, total);
        float *out = a.out + row * a.out_stride + (int64_t)(head0 + g) * D + 2 * t;
#pragma unroll
        for (int n = 0; n < 2 * STEPS; n++) out[n * 8] = acc[n][0] * scale, out[n * 8 + 1] = acc[n][1] * scale;
    }
};

CUDA_KERNEL(attn_seqs_64, cuda_attn_args, 32) {
    DEV_SMEM(memory);
    seqs_warp<64>(a, memory).run();
}
CUDA_KERNEL(attn_seqs_128, cuda_attn_args, 32) {
    DEV_SMEM(memory);
    seqs_warp<128>(a, memory).run();
}
