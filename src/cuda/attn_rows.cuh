// attn_rows.cuh - attention of rows that share no sequence (decoding one or many sequences), attn_many.cu; ONE: of a single row, whose
// queries and keys are rotated, and whose keys and values are stored, on the way, attn_one.cu.
//
// A block: up to 16 heads of one kv head of one row. Four warps are a team and take a chunk: each multiplies 16 of its keys, then,
// with the weights of all 64 in shared memory, a share of the value columns. Teams take neighbouring chunks and leave
// (m, l, values) in shared memory, which fold in ascending order. With splits > 1, z = 0 .. splits - 1 blocks share a
// row's chunks: partials go to a.work [x][y][chunk][2 + values][heads] and the last block folds them. Same operations, same bits.
// Grid: x = rows, y = kv heads x parts of their group, z = splits. Threads: 128 x teams.
#ifndef TL_CUDA_ATTN_ROWS_CUH
#define TL_CUDA_ATTN_ROWS_CUH
#include "cuda/attn.cuh"
#include "cuda/attn_rows.h"
#include "cuda/rotate.cuh"

struct rows_memory {
    uint32_t fresh[4][2]; // [team]: a bit for each entry of its chunk that this step writes itself
    int last;
};

template <int NV, bool ONE> struct rows_block {
    static constexpr int VALUES = NV * 16, PER_THREAD = VALUES / 8; // of one of 16 vectors, with 128 threads
    const cuda_attn_args &a;
    rows_memory *s;
    unsigned char *q_hi, *q_lo, *k, *v, *weights; // k, v, weights: of this team's chunk; its partial afterwards over k
    float *tops;                                  // [16 vectors][4 warps]
    int *slots;
    int kv, head0, group, lane, warp, team, teams, thread, dk, team_bytes, own; // warp, thread: in the team; own: this row's slot, or -1
    float acc[PER_THREAD], top, total; // of vector()

    DEV_MEMBER rows_block(const cuda_attn_args &args, unsigned char *memory) : a(args) {
        int whole = a.heads / a.kv_heads, parts = (whole + ATTN_VECTORS - 1) / ATTN_VECTORS, part = (int)blockIdx.y % parts;
        kv = (int)blockIdx.y / parts;
        head0 = kv * whole + part * ATTN_VECTORS;
        group = min((int)ATTN_VECTORS, whole - part * ATTN_VECTORS);
        team = (int)threadIdx.x / 128, teams = (int)blockDim.x / 128, thread = (int)threadIdx.x % 128;
        warp = thread / 32, lane = thread % 32, own = -1;
        dk = (a.dk + 15) / 16 * 16;
        s = (rows_memory *)memory;
        q_hi = memory + (sizeof(rows_memory) + 15) / 16 * 16;
        q_lo = q_hi + ATTN_VECTORS * attn_stride(dk);
        team_bytes = rows_team_bytes(a.dk, VALUES);
        k = q_lo + ATTN_VECTORS * attn_stride(dk) + team * team_bytes;
        v = k + rows_key_bytes(a.dk, VALUES);
        weights = v + ATTN_ENTRIES * attn_stride(VALUES);
        tops = (float *)(weights + ATTN_VECTORS * attn_stride(ATTN_ENTRIES));
        slots = (int *)(tops + 4 * ATTN_VECTORS);
#pragma unroll
        for (int i = 0; i < PER_THREAD; i++) acc[i] = 0.0f;
        top = ATTN_NONE, total = 0.0f;
    }

    DEV_MEMBER int first_entry(const cuda_seq &seq, int c) const { return (int)((int64_t)c * ATTN_ENTRIES - seq.dropped); }

    // K and V of chunk c on their way; entries that this step writes itself are left out.
    DEV_MEMBER void load(const cuda_seq &seq, int c, bool active, int lo, int hi) const {
        int base = first_entry(seq, c);
        if (active && thread < ATTN_ENTRIES) {
            int slot = base + thread >= lo && base + thread < hi ? seq.slots[base + thread] : -1;
            bool fresh = ONE && slot >= 0 && slot == own;
            slots[thread] = fresh ? (int)ATTN_FRESH : slot;
            if (ONE) {
                uint32_t bits = __ballot_sync(0xffffffffu, fresh);
                if (lane == 0) s->fresh[team][warp] = bits;
            }
        }
        __syncthreads();
        if (active) {
#pragma unroll 1
            for (int i = 0; i < 2; i++) attn_load(a, i, kv, slots, i ? v : k, i ? VALUES : dk, thread, 128);
        }
        cp_async_commit();
    }

    // The loaded chunk; its partial to `to`, [2 + VALUES][group].
    DEV_MEMBER void compute(const cuda_seq &seq, int c, bool active, int lo, int hi, const uint32_t *bits, float *to) const {
        if (group <= 8) compute_of<1>(seq, c, active, lo, hi, bits, to);
        else compute_of<2>(seq, c, active, lo, hi, bits, to);
    }
    template <int R> DEV_MEMBER void compute_of(const cuda_seq &seq, int c, bool active, int lo, int hi, const uint32_t *bits, float *to) const { // R times 8 vectors
        const int g = lane >> 2, t = lane & 3, base = first_entry(seq, c), stride = attn_stride(dk);
        float x[2][4], m[R], l[R];
#pragma unroll
        for (int r = 0; r < R; r++) m[r] = ATTN_NONE, l[r] = 0.0f;
        cp_async_wait<0>();
        __syncthreads();
        if (active) {
            attn_scores_of<2>(q_hi, q_lo, k + warp * 16 * stride, a.dk, lane, x);
            int from[R], until[R];
            const uint32_t *words[R];
#pragma unroll
            for (int r = 0; r < R; r++) from[r] = lo - base, until[r] = hi - base, words[r] = bits;
            attn_score<2, R>(a, warp * 16, from, until, words, base, lane, x, m);
#pragma unroll
            for (int r = 0; r < R; r++)
                if (t == 0) tops[(g + 8 * r) * 4 + warp] = m[r];
        }
        __syncthreads();
        if (active) {
#pragma unroll
            for (int r = 0; r < R; r++) {
                float4 w = *(const float4 *)(tops + (g + 8 * r) * 4);
                m[r] = fmaxf(fmaxf(w.x, w.y), fmaxf(w.z, w.w));
                float from = m[r] == ATTN_NONE ? 0.0f : m[r];
#pragma unroll
                for (int n = 0; n < 2; n++)
                    *(uint32_t *)(weights + (g + 8 * r) * attn_stride(ATTN_ENTRIES) + (warp * 16 + n * 8 + 2 * t) * 2) =
                        float_f16x2(dev_exp(x[n][2 * r] - from), dev_exp(x[n][2 * r + 1] - from));
            }
        }
        __syncthreads();
        if (!active) return;
        attn_part part;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            ldmatrix4(part.p[e], weights + ((R == 2 ? lane / 8 % 2 * 8 : 0) + lane % 8) * attn_stride(ATTN_ENTRIES) + lane / 16 * 16 + e * 32);
            if (R == 1) part.p[e][1] = part.p[e][3] = 0; // of vectors that are not there
        }
        if (warp == 0) {
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int r = 0; r < R; r++) {
                    uint32_t h = part.p[n / 2][n % 2 * 2 + r];
                    l[r] += f16_float(h);
                    l[r] += f16_float(h >> 16);
                }
#pragma unroll
            for (int r = 0; r < R; r++) {
                attn_sum_lanes(&l[r]);
                if (t == 0 && g + 8 * r < group) to[g + 8 * r] = m[r], to[group + g + 8 * r] = l[r];
            }
        }
#pragma unroll 1
        for (int n = warp; n < NV; n += 4) {
            float o[2][4];
            attn_values(part, v, attn_stride(VALUES), n, lane, o);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                int d = n * 16 + i / 4 * 8 + 2 * t + i % 2, vector = g + i % 4 / 2 * 8;
                if ((R == 2 || i % 4 < 2) && vector < group) to[(2 + d) * group + vector] = o[i / 4][i % 4];
            }
        }
    }

    // Folds n partials into acc, the i-th at from + i * step floats: a thread has one vector, and values dim(0), dim(1), ..
    DEV_MEMBER int vector() const { return (int)threadIdx.x % ATTN_VECTORS; }
    DEV_MEMBER int dim(int j) const { return (int)threadIdx.x / ATTN_VECTORS + j * 8 * teams; } // below VALUES where j * 8 * teams is
    DEV_MEMBER void fold(const float *from, int64_t step, int n) { // in shared memory
        if (vector() >= group || n <= 0) return;
        from += vector();
        float m = from[0], l = from[group];
        int first = (2 + dim(0)) * group, next = 8 * teams * group;
#pragma unroll 1
        for (int c = 0; c < n; c++) {
            const float *values = from + first;
            float keep, add, now_m = m, now_l = l;
            if (c + 1 < n) from += step, m = from[0], l = from[group];
            if (!attn_fold(now_m, now_l, &top, &total, &keep, &add)) continue;
#pragma unroll
            for (int j = 0; j < PER_THREAD; j++) {
                if (j * 8 * teams >= VALUES) break;
                acc[j] = fmaf(*values, add, acc[j] * keep);
                values += next;
            }
        }
    }
    DEV_MEMBER void fold_far(const float *from, int64_t step, int n) { // in global memory: a chunk's values are asked for together
        if (teams == 4) fold_of<(PER_THREAD + 3) / 4>(from, step, n);
        else fold_of<PER_THREAD>(from, step, n);
    }
    template <int N> DEV_MEMBER void fold_of(const float *from, int64_t step, int n) { // at most N values a thread
        if (vector() >= group || n <= 0) return;
        from += vector();
        float m = from[0], l = from[group];
        int first = (2 + dim(0)) * group, next = 8 * teams * group;
#pragma unroll 1
        for (int c = 0; c < n; c++) {
            float keep, add, now_m = m, now_l = l, values[N];
#pragma unroll
            for (int j = 0; j < N; j++)
                if (j * 8 * teams < VALUES) values[j] = from[first + j * next];
            if (c + 1 < n) from += step, m = from[0], l = from[group];
            if (!attn_fold(now_m, now_l, &top, &total, &keep, &add)) continue;
#pragma unroll
            for (int j = 0; j < N; j++)
                if (j * 8 * teams < VALUES) acc[j] = fmaf(values[j], add, acc[j] * keep);
        }
    }

    DEV_MEMBER void finish(int row) const {
        if (vector() >= group) return;
        float scale = attn_scale(a, head0 + vector(), top, total);
        float *out = a.out + row * a.out_stride + (int64_t)(head0 + vector()) * a.dv;
#pragma unroll
        for (int j = 0; j < PER_THREAD; j++) {
            if (j * 8 * teams >= VALUES) break;
            if (dim(j) < a.dv) out[dim(j)] = acc[j] * scale;
        }
    }

    DEV_MEMBER bool come_last(int index) const {
        __threadfence();
        __syncthreads();
        if ((int)threadIdx.x == 0) {
            s->last = atomicAdd(&a.counter[index], 1) == a.splits - 1;
            if (s->last) a.counter[index] = 0;
        }
        __syncthreads();
        if (s->last) __threadfence();
        return s->last;
    }

    // ---- a row alone, with its rotations and stores ---------------------------------------------------------
    // Of a thread's first pair of a query and first element of keys and values all that can be is worked out before the kernel in front has
    // ended, and what it left is asked for together. i: vector and pair; entries of keys, then values, each in whole warps.
    struct query_pair {
        int i, pair;
        rotation r[2];
        DEV_MEMBER query_pair(const fused_task &q, int head0, int dk, int vector, int p)
            : i(vector), pair(p), r{rotation(q, (head0 + vector) * dk, min(2 * p, dk - 1)), rotation(q, (head0 + vector) * dk, min(2 * p + 1, dk - 1))} {}
    };
    DEV_MEMBER void put_query(const query_pair &p, const float4 v[2]) const {
        int d = p.pair * 2, at = p.i * attn_stride(dk) + d * 2;
        attn_put_q(d < a.dk ? p.r[0].value(v[0]) : 0.0f, d + 1 < a.dk ? p.r[1].value(v[1]) : 0.0f, q_hi + at, q_lo + at);
    }

    // This head's keys and values of the row: into the cache, by one of the blocks, and into the chunk that reads them, with zeros behind.
    struct fresh_element {
        int value, d, width;
        rotation r;
        DEV_MEMBER fresh_element(const attn_one_args &one, int kv, int keys, int i)
            : value(i >= keys), d(i - (value ? keys : 0)), width(value ? one.a.dv : one.a.dk), r(value ? one.v : one.k, kv * width, min(d, width - 1)) {}
    };
    DEV_MEMBER void put_fresh(const attn_one_args &one, const fresh_element &f, float4 x, int entry, bool writes) const {
        const fused_task &task = f.value ? one.v : one.k;
        int padded = f.value ? VALUES : dk;
        float stored = store_element(task.type, (unsigned char *)task.state + own * task.slot_bytes, task.at + kv * f.width + f.d, f.d < f.width ? f.r.value(x) : 0.0f,
                                     writes && f.d < f.width && own >= 0);
        if (entry < 0) return;
        unsigned char *to = (f.value ? v : k) + entry * attn_stride(padded);
        if (f.d < padded) *(uint16_t *)(to + f.d * 2) = f.d < f.width ? (uint16_t)float_f16(stored) : 0;
        if (f.d == f.width - 1)
            for (int e = (f.width + 31) / 32 * 32; e < padded; e++) *(uint16_t *)(to + e * 2) = 0;
    }
    DEV_MEMBER float4 load_fresh(const attn_one_args &one, const fresh_element &f) const { return f.value ? f.r.load(one.v, one.v.x, one.v.cs) : f.r.load(one.k, one.k.x, one.k.cs); }

    DEV_MEMBER int fresh_entry(bool active) const { // of this team's chunk, or -1
        uint32_t low = active ? s->fresh[team][0] : 0, high = active ? s->fresh[team][1] : 0;
        return low ? __ffs((int)low) - 1 : high ? __ffs((int)high) + 31 : -1;
    }

    // The first time: queries too, behind dev_wait().
    DEV_MEMBER void take(const attn_one_args &one, bool active, bool first, bool writes) const {
        int entry = fresh_entry(active), keys = (a.dk + 31) / 32 * 32, all = keys + (a.dv + 31) / 32 * 32, i = thread;
        writes = writes && team == 0;
        bool takes = entry >= 0 || writes;
        fresh_element f(one, kv, keys, i);
        if (first) {
            int pairs = dk / 2, vector = (int)threadIdx.x / pairs, pair = (int)threadIdx.x - vector * pairs, step = (int)blockDim.x / pairs, rest = (int)blockDim.x - step * pairs;
            query_pair p(one.q, head0, a.dk, vector, pair);
            f.r.keep(), p.r[0].keep(), p.r[1].keep();
            dev_wait();
            float4 x[2], y = make_float4(0, 0, 0, 0);
            bool mine = vector < group; // the other vectors' results are not read
            if (mine) x[0] = p.r[0].load(one.q, one.q.x, one.q.cs), x[1] = p.r[1].load(one.q, one.q.x, one.q.cs);
            if (takes && i < all) y = load_fresh(one, f);
            if (mine) put_query(p, x);
            if (takes && i < all) put_fresh(one, f, y, entry, writes);
            i += 128;
#pragma unroll 1
            while (vector < group) {
                vector += step, pair += rest;
                if (pair >= pairs) pair -= pairs, vector++;
                if (vector >= group) break;
                query_pair more(one.q, head0, a.dk, vector, pair);
                x[0] = more.r[0].load(one.q, one.q.x, one.q.cs), x[1] = more.r[1].load(one.q, one.q.x, one.q.cs);
                put_query(more, x);
            }
        }
        if (!takes) return;
#pragma unroll 1
        for (; i < all; i += 128) { // whole warps
            fresh_element more(one, kv, keys, i);
            put_fresh(one, more, load_fresh(one, more), entry, writes);
        }
    }

    DEV_MEMBER void run(const attn_one_args *one) {
        if (ONE) dev_launch_next(); // lists and older entries were written before the kernel in front of this one began
        else {
            dev_wait();
            dev_launch_next();
        }
        int row = (int)blockIdx.x, lo, hi;
        const cuda_seq seq = a.seqs[a.seq[row]];
        attn_reads(a, seq, row, &lo, &hi);
        if (ONE) {
            own = one->k.slot[0];
            if (own >= one->k.limit) own = -1;
        }
        const uint32_t *bits = a.mask ? a.mask + row * a.mask_stride : 0;
        int c0 = (int)((seq.dropped + lo) / ATTN_ENTRIES), c1 = lo < hi ? (int)((seq.dropped + hi - 1) / ATTN_ENTRIES + 1) : c0, n = c1 - c0;
        bool split = a.splits > 1;
        int index = row * (int)gridDim.y + (int)blockIdx.y, first = (int)blockIdx.z * teams, step = a.splits * teams;
        int64_t part = (int64_t)(2 + VALUES) * min((int)ATTN_VECTORS, a.heads / a.kv_heads);
        float *work = a.work + index * (int64_t)a.chunks * part, *shared_part = (float *)(k - team * team_bytes);
        if (!ONE) attn_load_q<2>(a, row, head0, group, group, ATTN_VECTORS, q_hi, q_lo, (int)threadIdx.x, (int)blockDim.x);
#pragma unroll 1
        for (int c = first; c < n || (ONE && c == first); c += step) { // a row that reads nothing is stored too
            bool active = c + team < n;
            if (c != first) __syncthreads(); // partials have been folded
            load(seq, c0 + c + team, active, lo, hi);
            if (ONE) take(*one, active, c == first, c == 0 && head0 % (a.heads / a.kv_heads) == 0);
            compute(seq, c0 + c + team, active, lo, hi, bits, split ? work + (c + team) * part : (float *)k);
            __syncthreads();
            if (!split) fold(shared_part, team_bytes / 4, min(teams, n - c));
        }
        if (split) {
            if (!come_last(index)) return;
            fold_far(work, part, n);
        }
        finish(row);
    }
};
#endif
