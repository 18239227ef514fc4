// attn_tiles.cu - attention where many rows belong to one sequence (prompts): flash attention over slot lists.
//
// A block: 64 query vectors (rows x heads of one kv head), 16 a warp, over all chunks that they read. Shared memory: the
// queries in two terms, two stages of K and V, the rows' ranges. Grid: x = blocks of rows, y = kv heads x parts of their group.
// Rows of a block that belong to different sequences are taken run by run.
#include "cuda/attn.cuh"

enum { TILE_WARPS = 4, TILE_THREADS = 32 * TILE_WARPS, TILE_VECTORS = TILE_WARPS * ATTN_VECTORS };

struct tile_memory {
    int slots[2][ATTN_ENTRIES];
    int lo[TILE_VECTORS], hi[TILE_VECTORS]; // by row of the run
};

template <int NV> struct tile_block {
    const cuda_attn_args &a;
    tile_memory *s;
    unsigned char *q_hi, *q_lo, *k, *v; // k, v: two stages
    int kv, head0, group, lane, warp, dk, k_bytes, v_bytes;
    int row0, rows, first, last; // of the run; entries that any of its rows reads
    cuda_seq seq;

    DEV_MEMBER tile_block(const cuda_attn_args &args, unsigned char *memory) : a(args) {
        int whole = a.heads / a.kv_heads, parts = (whole + TILE_VECTORS - 1) / TILE_VECTORS, part = (int)blockIdx.y % parts;
        kv = (int)blockIdx.y / parts;
        head0 = kv * whole + part * TILE_VECTORS;
        group = min(TILE_VECTORS, whole - part * TILE_VECTORS);
        lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
        dk = (a.dk + 15) / 16 * 16;
        k_bytes = ATTN_ENTRIES * attn_stride(dk), v_bytes = ATTN_ENTRIES * attn_stride(NV * 16);
        s = (tile_memory *)memory;
        q_hi = memory + sizeof(tile_memory);
        q_lo = q_hi + TILE_VECTORS * attn_stride(dk);
        k = q_lo + TILE_VECTORS * attn_stride(dk);
        v = k + 2 * k_bytes;
    }

    DEV_MEMBER void load_slots(int chunk) {
        if ((int)threadIdx.x >= ATTN_ENTRIES) return;
        int64_t e = (int64_t)chunk * ATTN_ENTRIES - seq.dropped + threadIdx.x;
        s->slots[chunk & 1][threadIdx.x] = e >= first && e < last ? seq.slots[e] : -1;
    }
    DEV_MEMBER void load_chunk(int chunk) {
        attn_load(a, false, kv, s->slots[chunk & 1], k + (chunk & 1) * k_bytes, dk, (int)threadIdx.x, TILE_THREADS);
        attn_load(a, true, kv, s->slots[chunk & 1], v + (chunk & 1) * v_bytes, NV * 16, (int)threadIdx.x, TILE_THREADS);
        cp_async_commit();
    }

    DEV_MEMBER void begin() {
        __syncthreads(); // the run before is done with shared memory
        attn_load_q<8>(a, row0, head0, group, rows * group, TILE_VECTORS, q_hi, q_lo, (int)threadIdx.x, TILE_THREADS);
        for (int r = (int)threadIdx.x; r < rows; r += TILE_THREADS) attn_reads(a, seq, row0 + r, &s->lo[r], &s->hi[r]);
        __syncthreads();
        first = (int)seq.n, last = 0;
        for (int r = 0; r < rows; r++)
            if (s->lo[r] < s->hi[r]) first = min(first, s->lo[r]), last = max(last, s->hi[r]);
    }

    DEV_MEMBER void run() {
        begin();
        const int g = lane >> 2, t = lane & 3, vector0 = warp * ATTN_VECTORS;
        int lo[2], hi[2];
        const uint32_t *bits[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int r = (vector0 + g + 8 * i) / group;
            bool valid = r < rows;
            lo[i] = valid ? s->lo[r] : 0, hi[i] = valid ? s->hi[r] : 0;
            bits[i] = valid && a.mask ? a.mask + (row0 + r) * a.mask_stride : 0;
        }
        float acc[2 * NV][4], top[2] = {ATTN_NONE, ATTN_NONE}, total[2] = {0.0f, 0.0f};
#pragma unroll
        for (int n = 0; n < 2 * NV; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[n][i] = 0.0f;
        if (first < last) {
            int c0 = (int)((seq.dropped + first) / ATTN_ENTRIES), c1 = (int)((seq.dropped + last - 1) / ATTN_ENTRIES + 1);
            load_slots(c0);
            __syncthreads();
            load_chunk(c0);
            if (c0 + 1 < c1) load_slots(c0 + 1);
#pragma unroll 1
            for (int c = c0; c < c1; c++) {
                cp_async_wait<0>();
                __syncthreads();
                if (c + 1 < c1) load_chunk(c + 1);
                if (c + 2 < c1) load_slots(c + 2);
                int base = (int)((int64_t)c * ATTN_ENTRIES - seq.dropped), l[2] = {lo[0] - base, lo[1] - base}, h[2] = {hi[0] - base, hi[1] - base};
                float score[8][4], keep[2], add[2];
                attn_part part;
                attn_scores(q_hi + vector0 * attn_stride(dk), q_lo + vector0 * attn_stride(dk), k + (c & 1) * k_bytes, dk, lane, score);
                attn_weigh<2>(a, l, h, bits, base, lane, score, &part);
                bool read0 = attn_fold(part.m[0], part.l[0], &top[0], &total[0], &keep[0], &add[0]);
                bool read1 = attn_fold(part.m[1], part.l[1], &top[1], &total[1], &keep[1], &add[1]);
#pragma unroll
                for (int n = 0; n < NV; n++) {
                    float o[2][4];
                    attn_values(part, v + (c & 1) * v_bytes, attn_stride(NV * 16), n, lane, o);
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        float *x = &acc[2 * n + i / 4][i % 4];
                        int r = i % 4 / 2;
                        if (r ? read1 : read0) *x = fmaf(o[i / 4][i % 4], add[r], *x * keep[r]);
                    }
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int vector = vector0 + g + 8 * r, row = vector / group, head = head0 + vector % group;
            if (row >= rows) continue;
            float scale = attn_scale(a, head, top[r], total[r]);
            float *out = a.out + (row0 + row) * a.out_stride + (int64_t)head * a.dv;
#pragma unroll
            for (int n = 0; n < 2 * NV; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int d = n * 8 + 2 * t + i;
                    if (d < a.dv) out[d] = acc[n][2 * r + i] * scale;
                }
        }
    }
};

template <int NV> DEV void attn_tile(const cuda_attn_args &a) {
    DEV_SMEM(memory);
    dev_wait();
    dev_launch_next();
    tile_block<NV> b(a, memory);
    int each = TILE_VECTORS / b.group, row = (int)blockIdx.x * each, end = min(a.rows, row + each);
    while (row < end) {
        int of = a.seq[row], n = 1;
        while (row + n < end && a.seq[row + n] == of) n++;
        b.row0 = row, b.rows = n, b.seq = a.seqs[of];
        b.run();
        row += n;
    }
}

CUDA_KERNEL_MIN(attn_tiles_64, cuda_attn_args, TILE_THREADS, 3) { attn_tile<4>(a); }
CUDA_KERNEL_MIN(attn_tiles_128, cuda_attn_args, TILE_THREADS, 2) { attn_tile<8>(a); }
CUDA_KERNEL_MIN(attn_tiles_256, cuda_attn_args, TILE_THREADS, 1) { attn_tile<16>(a); }
