// attn_rows.cu - attention of rows that share no sequence (decoding one or many sequences).
//
// A block: up to 16 heads of one kv head of one row; its warps take a chunk each, load its K and V themselves and leave the
// chunk's (m, l, values) in shared memory, which then fold in ascending order. With splits > 1, z = 0 .. splits - 1 blocks share a
// row's chunks: partials go to a.work [x][y][chunk][2 + values][heads] and the last block folds them. Same operations, same bits.
// Grid: x = rows, y = kv heads x parts of their group, z = splits. Threads: 32 x warps.
#include "cuda/attn.cuh"

enum { ROWS_BATCH = 32 }; // chunks whose factors are ready at a time when work is folded

struct rows_memory {
    float keep[ROWS_BATCH][ATTN_VECTORS], add[ROWS_BATCH][ATTN_VECTORS];
    float top[ATTN_VECTORS], total[ATTN_VECTORS];
    int last;
};

// Folds n chunks' partials into acc: part(c) is floats [2 + NV * 16][vectors]; element e of acc is value e / vectors of vector e % vectors.
template <int NV> struct rows_block {
    static constexpr int VALUES = NV * 16, PER_THREAD = VALUES * ATTN_VECTORS / 64; // 64 threads at least
    const cuda_attn_args &a;
    rows_memory *s;
    unsigned char *q_hi, *q_lo, *mine; // mine: this warp's K, then V; its partial afterwards over K
    int *slots;
    int kv, head0, group, lane, warp, warps, dk, warp_bytes;
    float acc[PER_THREAD];

    DEV_MEMBER rows_block(const cuda_attn_args &args, unsigned char *memory) : a(args) {
        int whole = a.heads / a.kv_heads, parts = (whole + ATTN_VECTORS - 1) / ATTN_VECTORS, part = (int)blockIdx.y % parts;
        kv = (int)blockIdx.y / parts;
        head0 = kv * whole + part * ATTN_VECTORS;
        group = min((int)ATTN_VECTORS, whole - part * ATTN_VECTORS);
        lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, warps = (int)blockDim.x / 32;
        dk = (a.dk + 15) / 16 * 16;
        s = (rows_memory *)memory;
        slots = (int *)(memory + (sizeof(rows_memory) + 15) / 16 * 16) + warp * ATTN_ENTRIES;
        q_hi = memory + (sizeof(rows_memory) + 15) / 16 * 16 + warps * ATTN_ENTRIES * 4;
        q_lo = q_hi + ATTN_VECTORS * attn_stride(dk);
        int k_bytes = ATTN_ENTRIES * attn_stride(dk), part_bytes = (2 + VALUES) * ATTN_VECTORS * 4;
        warp_bytes = (k_bytes > part_bytes ? k_bytes : part_bytes) + ATTN_ENTRIES * attn_stride(VALUES);
        mine = q_lo + ATTN_VECTORS * attn_stride(dk) + warp * warp_bytes;
#pragma unroll
        for (int i = 0; i < PER_THREAD; i++) acc[i] = 0.0f;
        if (threadIdx.x < ATTN_VECTORS) s->top[threadIdx.x] = ATTN_NONE, s->total[threadIdx.x] = 0.0f;
    }

    DEV_MEMBER float *part_of(int w) const { return (float *)(mine + (w - warp) * warp_bytes); }

    // This warp's chunk; its partial to `to`, [2 + VALUES][group].
    DEV_MEMBER void chunk(const cuda_seq &seq, int c, int lo, int hi, const uint32_t *bits, float *to) {
        int base = (int)((int64_t)c * ATTN_ENTRIES - seq.dropped);
        unsigned char *k = mine, *v = mine + warp_bytes - ATTN_ENTRIES * attn_stride(VALUES);
        for (int i = lane; i < ATTN_ENTRIES; i += 32) slots[i] = base + i >= lo && base + i < hi ? seq.slots[base + i] : -1;
        __syncwarp();
        attn_load(a, false, kv, slots, k, dk, lane, 32);
        attn_load(a, true, kv, slots, v, VALUES, lane, 32);
        cp_async_commit();
        cp_async_wait<0>();
        __syncwarp();
        float score[8][4];
        attn_part part;
        int l[2] = {lo - base, lo - base}, h[2] = {hi - base, hi - base};
        const uint32_t *b[2] = {bits, bits};
        attn_scores(q_hi, q_lo, k, dk, lane, score);
        attn_weigh(a, l, h, b, base, lane, score, &part);
        __syncwarp(); // all lanes are done with K
        const int g = lane >> 2, t = lane & 3;
#pragma unroll
        for (int r = 0; r < 2; r++)
            if (t == 0 && g + 8 * r < group) to[g + 8 * r] = part.m[r], to[group + g + 8 * r] = part.l[r];
#pragma unroll 2
        for (int n = 0; n < NV; n++) {
            float o[2][4];
            attn_values(part, v, attn_stride(VALUES), n, lane, o);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int d = n * 16 + i / 4 * 8 + 2 * t + i % 2, vector = g + i % 4 / 2 * 8;
                if (vector < group) to[(2 + d) * group + vector] = o[i / 4][i % 4];
            }
        }
        __syncwarp();
    }

    // Folds n partials, the i-th at from + i * step floats (of bytes / 4).
    DEV_MEMBER void fold(const float *from, int64_t step, int n) {
        if ((int)threadIdx.x < group) {
            int i = (int)threadIdx.x;
            float top = s->top[i], total = s->total[i];
            for (int c = 0; c < n; c++) {
                bool read = attn_fold(from[c * step + i], from[c * step + group + i], &top, &total, &s->keep[c][i], &s->add[c][i]);
                if (!read) s->keep[c][i] = -1.0f;
            }
            s->top[i] = top, s->total[i] = total;
        }
        __syncthreads();
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++) {
            int e = (int)threadIdx.x + j * (int)blockDim.x;
            if (e >= VALUES * group) break;
            int i = e % group;
            for (int c = 0; c < n; c++) {
                float keep = s->keep[c][i];
                if (!(keep < 0.0f)) acc[j] = fmaf(from[c * step + 2 * group + e], s->add[c][i], acc[j] * keep);
            }
        }
        __syncthreads();
    }

    DEV_MEMBER void finish(int row) {
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++) {
            int e = (int)threadIdx.x + j * (int)blockDim.x;
            if (e >= VALUES * group) break;
            int i = e % group, d = e / group;
            if (d < a.dv) a.out[row * a.out_stride + (int64_t)(head0 + i) * a.dv + d] = acc[j] * attn_scale(a, head0 + i, s->top[i], s->total[i]);
        }
    }

    DEV_MEMBER bool come_last(int index) {
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            s->last = atomicAdd(&a.counter[index], 1) == a.splits - 1;
            if (s->last) a.counter[index] = 0;
        }
        __syncthreads();
        if (s->last) __threadfence();
        return s->last;
    }

    DEV_MEMBER void run() {
        int row = (int)blockIdx.x, lo, hi;
        const cuda_seq seq = a.seqs[a.seq[row]];
        attn_reads(a, seq, row, &lo, &hi);
        attn_load_q(a, row, head0, group, group, ATTN_VECTORS, q_hi, q_lo, (int)threadIdx.x, (int)blockDim.x);
        __syncthreads();
        const uint32_t *bits = a.mask ? a.mask + row * a.mask_stride : 0;
        int c0 = (int)((seq.dropped + lo) / ATTN_ENTRIES), c1 = lo < hi ? (int)((seq.dropped + hi - 1) / ATTN_ENTRIES + 1) : c0, n = c1 - c0;
        if (a.splits == 1) {
            for (int c = 0; c < n; c += warps) {
                if (c + warp < n) chunk(seq, c0 + c + warp, lo, hi, bits, part_of(warp));
                __syncthreads();
                fold(part_of(0), warp_bytes / 4, min(warps, n - c));
            }
            finish(row);
            return;
        }
        int index = row * (int)gridDim.y + (int)blockIdx.y;
        int64_t step = (int64_t)(2 + VALUES) * min((int)ATTN_VECTORS, a.heads / a.kv_heads);
        float *work = a.work + index * (int64_t)a.chunks * step;
        for (int c = (int)blockIdx.z * warps + warp; c < n; c += a.splits * warps) chunk(seq, c0 + c, lo, hi, bits, work + c * step);
        if (!come_last(index)) return;
        for (int c = 0; c < n; c += ROWS_BATCH) fold(work + c * step, step, min((int)ROWS_BATCH, n - c));
        finish(row);
    }
};

template <int NV> DEV void attn_row(const cuda_attn_args &a) {
    DEV_SMEM(memory);
    dev_wait();
    dev_launch_next();
    rows_block<NV>(a, memory).run();
}

CUDA_KERNEL(attn_rows_64, cuda_attn_args, 128) { attn_row<4>(a); }
CUDA_KERNEL(attn_rows_128, cuda_attn_args, 128) { attn_row<8>(a); }
CUDA_KERNEL(attn_rows_256, cuda_attn_args, 128) { attn_row<16>(a); }
