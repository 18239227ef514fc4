// sample.cu - choosing tokens on the device: the samplers of src/run/sample_steps.c for chains that begin with top_k, with
// their very arithmetic (sums in the same order, plain_exp), so that equal logits give equal tokens.
//
// Every chunk of logits finds its k best; the row's last block takes the best of those, sorts them and goes through the
// rest of the chain with them. The order is total: the larger logit, of equal ones the lower id. NaN is absent.
#include "cuda/dev.cuh"
#include "cuda/sample.h"
#define PLAIN_EXP DEV
#include "base/plain_exp.h"

enum { WARPS = SAMPLE_THREADS / 32, EACH = SAMPLE_CHUNK / SAMPLE_THREADS };

// ---- order -----------------------------------------------------------------------------------------------
// Larger keys come first; 0: absent.
DEV uint32_t key_of(float x) {
    if (x != x) return 0;
    uint32_t u = __float_as_uint(x + 0.0f); // -0 is 0
    return u >> 31 ? ~u : u | 0x80000000u;
}
DEV float logit_of(uint32_t key) { return __uint_as_float(key >> 31 ? key & 0x7fffffffu : ~key); }
DEV uint64_t entry_of(float x, uint32_t id) {
    uint32_t key = key_of(x);
    return key ? (uint64_t)key << 32 | (uint32_t)~id : 0;
}

DEV int warp_count(int n) { // sum over the warp
#ifdef TL_SIMT
    for (int d = 16; d; d >>= 1) n += __shfl_xor_sync(0xffffffffu, n, d);
    return n;
#else
    return __reduce_add_sync(0xffffffffu, n);
#endif
}

// Sum over the block, in every thread. `sums`: two of them, used in turn.
DEV int block_sum(int n, int (*sums)[WARPS], int turn) {
    n = warp_count(n);
    if (threadIdx.x % 32 == 0) sums[turn & 1][threadIdx.x / 32] = n;
    __syncthreads();
    n = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) n += sums[turn & 1][w];
    return n;
}

DEV uint64_t block_max(const uint64_t (&e)[EACH], unsigned long long *tops) { // tops: [WARPS]
    uint64_t top = 0;
#pragma unroll
    for (int i = 0; i < EACH; i++) top = e[i] > top ? e[i] : top;
    for (int d = 16; d; d >>= 1) {
        uint64_t other = __shfl_xor_sync(0xffffffffu, top, d);
        top = other > top ? other : top;
    }
    if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top;
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS; w++) top = tops[w] > top ? tops[w] : top;
    return top;
}

// The k-th largest of the block's entries (all different, 0: absent), or the smallest where there are fewer; 1: there are none.
DEV uint64_t kth_largest(const uint64_t (&e)[EACH], int k, int (*sums)[WARPS], unsigned long long *tops) {
    int turn = 0, there = 0;
    if (k == 1) {
        uint64_t top = block_max(e, tops);
        return top ? top : 1;
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) there += e[i] != 0;
    there = block_sum(there, sums, turn++);
    k = k < there ? k : there;
    if (k == 0) return 1;
    uint64_t t = 0;
    for (int bit = 63; bit >= 0; bit--) {
        uint64_t tried = t | (uint64_t)1 << bit;
        int n = 0;
#pragma unroll
        for (int i = 0; i < EACH; i++) n += e[i] >= tried;
        n = block_sum(n, sums, turn++);
        if (n >= k) t = tried;
        if (n == k) break;
    }
    return t ? t : 1;
}

// Entries from `least` on into out[most], the rest of which becomes 0.
DEV void gather(const uint64_t (&e)[EACH], uint64_t least, unsigned long long *out, int most, int *count) {
    if (threadIdx.x == 0) *count = 0;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < EACH; i++)
        if (e[i] >= least) {
            int at = atomicAdd(count, 1);
            if (at < most) out[at] = e[i];
        }
    __syncthreads();
    for (int i = *count + (int)threadIdx.x; i < most; i += SAMPLE_THREADS) out[i] = 0;
}

// ---- logits, as bias, penalties and the mask leave them ----------------------------------------------------
DEV void edit_logits(const sample_pick_args &a, const sample_row &r, float *x, int64_t first, int n) {
    const sample_edit *bias = (const sample_edit *)(a.data + r.bias), *said = (const sample_edit *)(a.data + r.said);
    if (r.n_bias) {
        if (threadIdx.x == 0) // an id may come twice
            for (int i = 0; i < r.n_bias; i++) {
                int64_t at = bias[i].id - first;
                if (at >= 0 && at < n) x[at] += bias[i].u.bias;
            }
        __syncthreads();
    }
    for (int i = (int)threadIdx.x; i < r.n_said; i += SAMPLE_THREADS) {
        int64_t at = said[i].id - first;
        if (at < 0 || at >= n) continue;
        float y = x[at];
        y = y > 0 ? y / r.repeat : y * r.repeat;
        x[at] = y - ((float)said[i].u.count * r.frequency + r.presence);
    }
    if (r.n_said) __syncthreads();
}

DEV void load_entries(const sample_pick_args &a, const sample_row &r, int64_t first, int n, float *x, uint64_t (&e)[EACH]) {
    const uint32_t *mask = r.mask < 0 ? 0 : (const uint32_t *)(a.data + r.mask);
    const float *from = r.x + first;
    if (!mask && !r.n_bias && !r.n_said) {
        float v[EACH];
#pragma unroll
        for (int i = 0; i < EACH; i++) {
            int at = i * SAMPLE_THREADS + (int)threadIdx.x;
            v[i] = at < n ? from[at] : __uint_as_float(0x7fc00000u);
        }
#pragma unroll
        for (int i = 0; i < EACH; i++) e[i] = entry_of(v[i], (uint32_t)(first + i * SAMPLE_THREADS + (int)threadIdx.x));
        return;
    }
    for (int i = (int)threadIdx.x; i < SAMPLE_CHUNK; i += SAMPLE_THREADS) {
        float v = __uint_as_float(0x7fc00000u);
        if (i < n && (!mask || (mask[(first + i) / 32] >> ((first + i) % 32) & 1))) v = from[i];
        x[i] = v;
    }
    __syncthreads();
    edit_logits(a, r, x, first, n);
    for (int i = 0; i < EACH; i++) {
        int at = i * SAMPLE_THREADS + (int)threadIdx.x;
        e[i] = entry_of(x[at], (uint32_t)(first + at));
    }
}

// ---- the rest of the chain, over `n` candidates in order ----------------------------------------------------
struct candidates {
    float x[SAMPLE_MOST], w[SAMPLE_MOST];
    int id[SAMPLE_MOST];
    int n;
    float max;
};

// sample_set.c's set_largest: an infinite largest leaves only its equals, with logit 0. False: there are none.
DEV bool largest(candidates *c) {
    if (threadIdx.x == 0) {
        float best = c->n ? c->x[0] : 0; // they are in order
        if (c->n && (best == INFINITY || best == -INFINITY)) {
            int kept = 0;
            for (int i = 0; i < c->n; i++)
                if (c->x[i] == best) c->id[kept] = c->id[i], c->x[kept++] = 0;
            c->n = kept;
            best = 0;
        }
        c->max = best;
    }
    __syncthreads();
    return c->n > 0;
}

DEV void weigh(candidates *c) {
    int i = (int)threadIdx.x;
    if (i < c->n) c->w[i] = c->x[i] == c->max ? 1 : plain_exp(c->x[i] - c->max);
    __syncthreads();
}

DEV double total(const candidates *c) {
    double sum = 0;
#pragma unroll 8
    for (int i = 0; i < c->n; i++) sum += (double)c->w[i];
    return sum;
}

DEV void keep_mass(candidates *c, float p, int min_keep) {
    weigh(c);
    if (threadIdx.x == 0) {
        double target = (double)p * total(c) * (1 - 1e-6), sum = 0;
        int keep = 0;
        for (; keep < c->n; keep++) {
            if (keep >= 1 && keep >= min_keep && sum >= target) break;
            sum += (double)c->w[keep];
        }
        c->n = keep;
    }
    __syncthreads();
}

DEV void keep_from(candidates *c, float least, int min_keep) { // their order is that of the logits
    __syncthreads(); // all have seen that there are some
    if (threadIdx.x == 0) {
        int keep = 0, few = min_keep > 1 ? min_keep : 1;
        while (keep < c->n && c->x[keep] >= least) keep++;
        if (keep == 0 || keep < min_keep) keep = few < c->n ? few : c->n;
        c->n = keep;
    }
    __syncthreads();
}

DEV void scale(candidates *c, float factor) {
    int i = (int)threadIdx.x;
    if (i < c->n) c->x[i] *= factor;
    __syncthreads();
}

DEV int draw(candidates *c, double u) { // in thread 0
    int last = -1;
    if (!largest(c)) return -1;
    weigh(c);
    if (threadIdx.x) return -1;
    double left = u * total(c);
    for (int i = 0; i < c->n; i++) {
        if (!(c->w[i] > 0)) continue;
        last = c->id[i];
        if ((left -= (double)c->w[i]) < 0) break;
    }
    return last;
}

DEV int choose(candidates *c, const sample_row &r) {
    for (int i = 0; i < r.n_ops; i++) {
        if (!largest(c)) return -1;
        switch (r.op[i]) {
        case SAMPLE_TOP_P: keep_mass(c, r.value[i], r.min_keep); break;
        case SAMPLE_MIN_P: keep_from(c, c->max + r.value[i], r.min_keep); break;
        default: scale(c, r.value[i]); break;
        }
    }
    return draw(c, r.u);
}

// The candidates of best[k] (in no order, 0: none) in their order.
DEV void sort_candidates(candidates *c, const unsigned long long *best, int k) {
    int i = (int)threadIdx.x, n = 0;
#pragma unroll 8
    for (int j = 0; j < k; j++) n += best[j] != 0;
    if (i < k && best[i]) {
        int rank = 0;
#pragma unroll 8
        for (int j = 0; j < k; j++) rank += best[j] > best[i];
        c->x[rank] = logit_of((uint32_t)(best[i] >> 32));
        c->id[rank] = (int)~(uint32_t)best[i];
    }
    if (i == 0) c->n = n;
    __syncthreads();
}

CUDA_KERNEL(sample_pick, sample_pick_args, SAMPLE_THREADS) {
    __shared__ float x[SAMPLE_CHUNK];
    __shared__ int sums[2][WARPS], count, is_last;
    __shared__ candidates c;
    __shared__ unsigned long long best[SAMPLE_MOST];
    __shared__ unsigned long long tops[WARPS];
    const sample_row &r = a.rows ? a.rows[blockIdx.y] : a.row[blockIdx.y];
    int64_t first = (int64_t)blockIdx.x * SAMPLE_CHUNK;
    int chunks = (int)gridDim.x, n = a.n - first < SAMPLE_CHUNK ? (int)(a.n - first) : SAMPLE_CHUNK;
    unsigned long long *found = a.found + (int64_t)blockIdx.y * chunks * a.room;
    uint64_t e[EACH];
    load_entries(a, r, first, n, x, e);
    gather(e, kth_largest(e, r.k, sums, tops), found + blockIdx.x * a.room, a.room, &count);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicInc(a.counter + blockIdx.y, (unsigned)chunks - 1) == (unsigned)chunks - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        int at = i * SAMPLE_THREADS + (int)threadIdx.x;
        e[i] = at < chunks * a.room ? __ldcg(found + at) : 0;
    }
    gather(e, kth_largest(e, r.k, sums, tops), best, r.k, &count);
    __syncthreads();
    sort_candidates(&c, best, r.k);
    int id = r.k == 1 ? (c.n ? c.id[0] : -1) : choose(&c, r);
    if (threadIdx.x == 0) a.ids[blockIdx.y] = a.ids_host[blockIdx.y] = id;
}

CUDA_KERNEL(sample_feed, sample_feed_args, SAMPLE_THREADS) {
    int64_t r = (int64_t)blockIdx.x * SAMPLE_THREADS + threadIdx.x;
    if (r >= a.rows || a.tok[r] >= 0) return;
    int id = a.ids[-1 - a.tok[r]];
    a.tok[r] = id < 0 ? 0 : id; // no choice: the host hears of it, and of this row nobody
}
