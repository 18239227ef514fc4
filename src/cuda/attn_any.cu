// attn_any.cu - attention for any widths and cache types: a block for each (row, head), float32 throughout. Chunks of 64
// entries of the row's sequence, counted from its start, fold in ascending order, so a row's bits depend on its own
// sequence alone. The kernels for the usual shapes are in attn_*.cu.
#include "cuda/cuda.h"
#include "cuda/norm.cuh"
#include "cuda/read.cuh"

enum { THREADS = NORM_THREADS, CHUNK = 64, MOST = 1024 }; // widths up to MOST

DEV int64_t first_at(const cuda_seq &s, int64_t pos) { // of the entries whose position is >= pos
    int64_t lo = 0, hi = s.n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (s.at[mid] < pos) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

CUDA_KERNEL(attn_any, cuda_attn_args, THREADS) { // shared: q [dk], acc [dv], scores [CHUNK]
    __shared__ float q[MOST], acc[MOST], score[CHUNK];
    int h = blockIdx.x, t = threadIdx.x, warp = t / 32, lane = t % 32, kv = h / (a.heads / a.kv_heads);
    int64_t r = blockIdx.y;
    dev_wait();
    dev_launch_next();
    const cuda_seq s = a.seqs[a.seq[r]];
    int64_t pos = a.pos ? a.pos[r] : 0, lo = a.window > 0 ? first_at(s, pos - a.window + 1) : 0;
    int64_t hi = a.causal ? first_at(s, pos + 1) : a.window > 0 ? first_at(s, pos + a.window) : s.n;
    for (int d = t; d < a.dk; d += THREADS) q[d] = a.q[r * a.q_stride + (int64_t)h * a.dk + d];
    for (int d = t; d < a.dv; d += THREADS) acc[d] = 0;
    float top = -INFINITY, total = 0;
    for (int64_t base = (s.dropped + lo) / CHUNK * CHUNK - s.dropped; base < hi; base += CHUNK) {
        __syncthreads();
        for (int j = warp; j < CHUNK; j += THREADS / 32) {
            int64_t e = base + j;
            float x = 0;
            bool seen = e >= lo && e < hi;
            if (seen) {
                const uint8_t *key = (const uint8_t *)a.k + s.slots[e] * a.k_slot_bytes;
                for (int d = lane; d < a.dk; d += 32) x = fmaf(q[d], read_stored(a.kv_type, key, (int64_t)kv * a.dk + d), x);
                x = warp_sum(x) * a.scale;
                if (a.softcap > 0) x = a.softcap * tanhf(x / a.softcap);
            }
            if (lane == 0) score[j] = seen ? x : -INFINITY;
        }
        __syncthreads();
        float max = warp_max(fmaxf(score[lane], score[lane + 32]));
        if (max == -INFINITY) continue;
        float p0 = expf(score[lane] - max), p1 = expf(score[lane + 32] - max), sum = warp_sum(p0 + p1);
        __syncthreads();
        if (warp == 0) score[lane] = p0, score[lane + 32] = p1;
        __syncthreads();
        float most = fmaxf(top, max), keep = expf(top - most), add = expf(max - most);
        for (int d = t; d < a.dv; d += THREADS) {
            float part = 0;
            for (int j = 0; j < CHUNK; j++) {
                if (score[j] == 0) continue;
                const uint8_t *value = (const uint8_t *)a.v + s.slots[base + j] * a.v_slot_bytes;
                part = fmaf(score[j], read_stored(a.kv_type, value, (int64_t)kv * a.dv + d), part);
            }
            acc[d] = fmaf(part, add, acc[d] * keep);
        }
        total = fmaf(sum, add, total * keep);
        top = most;
    }
    __syncthreads();
    float scale = total > 0 ? 1.0f / total : 0.0f;
    if (a.sinks && total > 0) {
        float sink = a.sinks[h], base = fmaxf(top, sink), keep = expf(top - base);
        scale = keep / fmaf(total, keep, expf(sink - base));
    }
    for (int d = t; d < a.dv; d += THREADS) a.out[r * a.out_stride + (int64_t)h * a.dv + d] = acc[d] * scale;
}
