// ops.cu - any node of the IR: a thread, a warp or a block for each output, reading through strides (read.cuh). What
// matters for speed has kernels of its own elsewhere.
#include "cuda/map.cuh"
#include "cuda/norm.cuh"
#include "cuda/read.cuh"
#include "cuda/cuda.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

// ---- reading -------------------------------------------------------------------------------------------
// PLAIN: floats, integers and scalars alone: the code that other arrays need would have to come from memory, or be jumped over.
template <bool PLAIN> DEV float value_at(const ops_reader &r, int64_t pos) {
    if (!PLAIN) return read_at(r, pos);
    return r.kind == OPS_F32 ? ((const float *)r.p)[pos] : r.kind == OPS_I32 ? (float)((const int32_t *)r.p)[pos] : r.scalar;
}
template <bool PLAIN> DEV int64_t index_at(const ops_reader &r, int64_t pos) { return PLAIN ? ((const int32_t *)r.p)[pos] : read_index(r, pos); }

// ---- a thread an output --------------------------------------------------------------------------------
template <bool PLAIN> DEV void map_element(const ops_map_args &a, int64_t i) {
    int at[OPS_LABELS];
    space_at(a.s, i, at);
    float v[OPS_INPUTS], stack[OPS_STACK];
    for (int e = 0; e < a.n_in; e++) v[e] = value_at<PLAIN>(a.in[e], read_pos(a.in[e], a.s, at));
    int top = 0;
    for (int c = 0; c < a.n_code; c++) {
        int op = a.code[c];
        if (op < 0) {
            stack[top++] = v[a.arg[c]];
            continue;
        }
        int n = map_inputs(op);
        top -= n;
        float x = stack[top];
        stack[top] = op == CMAP_SELECT ? (x != 0 ? stack[top + 1] : stack[top + 2]) : n == 2 ? map2(op, x, stack[top + 1]) : map1(op, x);
        top++;
    }
    a.out[i] = stack[0];
}

template <bool PLAIN> DEV void gather_element(const ops_gather_args &a, int64_t i) {
    int at[OPS_LABELS];
    space_at(a.s, i, at);
    int64_t pos = read_pos(a.in[0], a.s, at);
    bool valid = true;
    for (int e = 1; e < a.n_in; e++) {
        int64_t index = index_at<PLAIN>(a.in[e], read_pos(a.in[e], a.s, at));
        valid = valid && index >= 0 && index < a.limit[e];
        pos += index * a.gstride[e];
    }
    if (a.integer) ((int32_t *)a.out)[i] = valid ? ((const int32_t *)a.in[0].p)[pos] : 0;
    else ((float *)a.out)[i] = valid ? value_at<PLAIN>(a.in[0], pos) : 0.0f;
}

template <bool PLAIN> DEV void part_element(const ops_part_args &a, int64_t i) {
    int at[OPS_LABELS];
    space_at(a.s, i, at);
    int64_t to = a.offset;
    for (int l = 0; l < a.s.nout; l++) to += at[l] * a.dst[l];
    a.out[to] = value_at<PLAIN>(a.in, read_pos(a.in, a.s, at));
}

// A block of Q8_0 by the 32 lanes of a warp.
DEV void store_q8(unsigned char *block, float v) {
    float d = warp_max(fabsf(v)) / 127.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    uint32_t h = float_f16(d);
    block[2 + threadIdx.x % 32] = (unsigned char)(signed char)rintf(v * inverse);
    if (threadIdx.x % 32 == 0) block[0] = (unsigned char)h, block[1] = (unsigned char)(h >> 8);
}

// Writes an element into a state; the last label's size is a multiple of 32 for Q8_0.
template <bool PLAIN> DEV void scatter_element(const ops_scatter_args &a, int64_t i) {
    int at[OPS_LABELS], last = a.s.nout - 1;
    space_at(a.s, i, at);
    int64_t to = a.to_offset, from = a.in.offset, slot_at = a.slot.offset;
    for (int l = 0; l <= last; l++) {
        to += at[l] * a.to_stride[l];
        from += at[l] * a.in.stride[l];
        slot_at += at[l] * a.slot.stride[l];
    }
    if (a.has_slot) {
        int64_t slot = index_at<PLAIN>(a.slot, slot_at);
        if (slot < 0 || slot >= a.limit) return;
        to += slot * a.gstride;
    }
    uint8_t *row = (uint8_t *)a.data + to / a.width * a.slot_bytes;
    int64_t in_row = to % a.width;
    if (!PLAIN && a.type == CT_Q8_0) {
        store_q8(row + in_row / 32 * 34, value_at<PLAIN>(a.in, from));
        return;
    }
    float v = value_at<PLAIN>(a.in, from);
    if (a.type == CT_F32) ((float *)row)[in_row] = v;
    else if (a.type == CT_I32) ((int32_t *)row)[in_row] = a.in.kind == OPS_I32 ? ((const int32_t *)a.in.p)[from] : (int32_t)v;
    else ((uint16_t *)row)[in_row] = (uint16_t)(a.type == CT_F16 ? float_f16(v) : float_bf16(v));
}

#define ELEMENT_KERNEL(name, element)                                                                                  \
    CUDA_KERNEL(name, name##_args, THREADS) {                                                                          \
        int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;                                                       \
        dev_wait();                                                                                                    \
        dev_launch_next();                                                                                             \
        if (i < a.s.count) element(a, i);                                                                              \
    }
ELEMENT_KERNEL(ops_map, map_element<false>)
ELEMENT_KERNEL(ops_gather, gather_element<false>)
ELEMENT_KERNEL(ops_part, part_element<false>)
ELEMENT_KERNEL(ops_scatter, scatter_element<false>)

// Small ones in one block: 32 elements a warp, tasks that do not need each other side by side. `ahead`: beside the launch in front, which is
// waited for in the end, since whoever waits for this one counts on it.
CUDA_KERNEL(ops_some, ops_some_args, THREADS) {
    __shared__ ops_some_args s;
    const int64_t *from = (const int64_t *)dev_anywhere(&a); // read as constants they would come one small line after the other
    for (int i = threadIdx.x; i < (int)(sizeof s / sizeof *from); i += THREADS) ((int64_t *)&s)[i] = from[i];
    if (!a.ahead) dev_wait();
    dev_launch_next();
    for (int t = 0, end; t < a.n; t = end) {
        __syncthreads();
        for (end = t + 1; end < a.n && !s.task[end].behind; end++) {}
        for (int k = t, part = threadIdx.x / 32; k < end;) {
            const char *args = (const char *)s.args + s.task[k].at;
            int64_t count = ((const ops_space *)args)->count, i = part * 32 + threadIdx.x % 32;
            if (part * 32 >= count) {
                part -= (int)((count + 31) / 32), k++;
                continue;
            }
            part += WARPS;
            if (i >= count) continue;
            switch (s.task[k].kind) {
            case OPS_MAP: map_element<true>(*(const ops_map_args *)args, i); break;
            case OPS_GATHER: gather_element<true>(*(const ops_gather_args *)args, i); break;
            case OPS_PART: part_element<true>(*(const ops_part_args *)args, i); break;
            case OPS_SCATTER: scatter_element<true>(*(const ops_scatter_args *)args, i); break;
            }
        }
    }
    if (a.ahead) dev_wait();
}

CUDA_KERNEL(ops_rope, ops_rope_args, THREADS) { // an element of the output a thread
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x, inner = (int64_t)a.heads * a.d;
    dev_wait();
    dev_launch_next();
    if (i >= a.rows * inner) return;
    int64_t r = i / inner;
    int h = (int)(i % inner / a.d), e = (int)(i % a.d), half = a.rot / 2;
    const float *x = a.x + r * a.x_row + h * a.head_stride, *cs = a.cs + r * a.cs_row;
    if (e >= a.rot) {
        a.out[i] = x[e];
        return;
    }
    int pair = a.interleaved ? e >> 1 : e % half;
    bool second = a.interleaved ? e & 1 : e >= half;
    float x0 = x[a.interleaved ? 2 * pair : pair], x1 = x[a.interleaved ? 2 * pair + 1 : pair + half], c = cs[pair], s = cs[half + pair];
    a.out[i] = second ? x0 * s + x1 * c : x0 * c - x1 * s;
}

CUDA_KERNEL(ops_owned, ops_owned_args, THREADS) { // a block a row
    int64_t r = blockIdx.x;
    dev_wait();
    dev_launch_next();
    float *out = a.out + r * a.slots;
    for (int i = threadIdx.x; i < a.slots; i += THREADS) out[i] = 0;
    __syncthreads();
    int64_t q = read_index(a.seq, a.seq.offset + r * a.seq.stride[0]);
    if (q < 0 || q >= a.n_seqs) return;
    const cuda_seq *s = (const cuda_seq *)a.seqs + q;
    for (int64_t i = threadIdx.x; i < s->n; i += THREADS)
        if (s->slots[i] >= 0 && s->slots[i] < a.slots) out[s->slots[i]] = 1;
}

// ---- a warp an output: folds ---------------------------------------------------------------------------
DEV double fold_start(int f) { return f == 1 ? -INFINITY : f == 2 ? INFINITY : f == 5 ? 1.0 : 0.0; } // ir.h: fold_kind
DEV double fold_two(int f, double x, double y) {
    switch (f) {
    case 1: return x > y ? x : y;
    case 2: return x < y ? x : y;
    case 4: return x != 0 || y != 0;
    case 5: return x * y;
    default: return x + y;
    }
}

CUDA_KERNEL(ops_fold, ops_fold_args, THREADS) {
    int64_t i = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32;
    int lane = threadIdx.x % 32, at[OPS_LABELS];
    dev_wait();
    dev_launch_next();
    if (i >= a.s.count) return;
    space_at(a.s, i, at);
    int64_t p0 = read_pos(a.in[0], a.s, at), p1 = a.n_in > 1 ? read_pos(a.in[1], a.s, at) : 0;
    double acc = fold_start(a.fold);
    for (int64_t j = lane; j < a.folded; j += 32) {
        int64_t rest = j, x0 = p0, x1 = p1;
        for (int l = a.s.nlab - 1; l >= a.s.nout; l--) {
            int64_t v = rest % a.s.size[l];
            rest /= a.s.size[l];
            x0 += v * a.in[0].stride[l];
            if (a.n_in > 1) x1 += v * a.in[1].stride[l];
        }
        double v = read_at(a.in[0], x0);
        if (a.n_in > 1) v *= (double)read_at(a.in[1], x1);
        acc = fold_two(a.fold, acc, v);
    }
    for (int d = 16; d; d >>= 1) acc = fold_two(a.fold, acc, __shfl_xor_sync(0xffffffffu, acc, d));
    if (lane == 0) a.out[i] = (float)(a.fold == 3 ? acc / (double)a.folded : acc);
}

// ---- a block a row -------------------------------------------------------------------------------------
DEV float block_max(float x, float *part) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float m = part[0];
    for (int i = 1; i < WARPS; i++) m = fmaxf(m, part[i]);
    return m;
}


CUDA_KERNEL(ops_norm, ops_norm_args, NORM_THREADS) {
    __shared__ float part[NORM_PIECES];
    int at[OPS_LABELS], last = a.s.nout - 1;
    space_at(a.s, (int64_t)blockIdx.x * a.run, at); // label values at the start of the run
    const float *v[3] = {0, 0, 0};
    int64_t step[3];
    for (int e = 0; e < a.n_in; e++) {
        v[e] = (const float *)a.in[e].p + read_pos(a.in[e], a.s, at);
        step[e] = a.in[e].stride[last];
    }
    float *out = a.out + (int64_t)blockIdx.x * a.run, mean = 0, sum = 0;
    dev_wait();
    dev_launch_next();
    if (a.layer) {
        for (int i = threadIdx.x; i < a.run; i += NORM_THREADS) sum += v[0][i * step[0]];
        mean = norm_block_sum(sum, part) / (float)a.run;
    }
    const float *x = v[0];
    int64_t each = step[0];
    float f = norm_rms_factor(norm_squares([x, each, mean](int i) { return x[i * each] - mean; }, a.run, part), a.run, a.eps);
    for (int i = threadIdx.x; i < a.run; i += NORM_THREADS) {
        float y = (v[0][i * step[0]] - mean) * f;
        if (v[1]) y *= v[1][i * step[1]];
        if (v[2]) y += v[2][i * step[2]];
        out[i] = y;
    }
}

CUDA_KERNEL(ops_softmax, ops_row_args, NORM_THREADS) {
    __shared__ float part[NORM_WARPS];
    int at[OPS_LABELS], last = a.s.nout - 1;
    dev_wait();
    dev_launch_next();
    space_at(a.s, (int64_t)blockIdx.x * a.run, at);
    int64_t p0 = read_pos(a.in[0], a.s, at), p1 = a.n_in > 1 ? read_pos(a.in[1], a.s, at) : 0;
    float *out = a.out + (int64_t)blockIdx.x * a.run, max = -INFINITY, sum = 0;
    for (int i = threadIdx.x; i < a.run; i += NORM_THREADS) {
        float x = read_at(a.in[0], p0 + i * a.in[0].stride[last]);
        if (a.n_in > 1 && read_at(a.in[1], p1 + i * a.in[1].stride[last]) == 0) x = -INFINITY;
        out[i] = x;
        max = fmaxf(max, x);
    }
    max = block_max(max, part);
    for (int i = threadIdx.x; i < a.run; i += NORM_THREADS) {
        float e = max == -INFINITY ? 0.0f : expf(out[i] - max);
        out[i] = e;
        sum += e;
    }
    sum = norm_block_sum(sum, part);
    for (int i = threadIdx.x; i < a.run; i += NORM_THREADS) out[i] = sum > 0 ? out[i] / sum : 0.0f;
}

DEV uint32_t rank_bits(float v) { // larger values, larger numbers; NaN counts least
    uint32_t u = __float_as_uint(v == v ? v + 0.0f : -INFINITY); // + 0: -0 equals 0
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

// The k largest: their bound bit by bit, then of the equal ones the first. A thread has a contiguous part.
CUDA_KERNEL(ops_topk, ops_row_args, NORM_THREADS) {
    __shared__ int count, before[NORM_THREADS];
    int at[OPS_LABELS], last = a.s.nout - 1, t = threadIdx.x;
    dev_wait();
    dev_launch_next();
    space_at(a.s, (int64_t)blockIdx.x * a.run, at);
    int64_t p0 = read_pos(a.in[0], a.s, at), step = a.in[0].stride[last];
    float *out = a.out + (int64_t)blockIdx.x * a.run;
    int n = a.run, each = (n + NORM_THREADS - 1) / NORM_THREADS, i0 = min(t * each, n), i1 = min(i0 + each, n);
    if (a.k <= 0 || a.k >= n) {
        for (int i = i0; i < i1; i++) out[i] = a.k > 0;
        return;
    }
    uint32_t bound = 0; // the largest such that at least k are >= bound
    for (int bit = 31; bit >= 0; bit--) {
        uint32_t try_it = bound | 1u << bit;
        int mine = 0;
        for (int i = i0; i < i1; i++) mine += rank_bits(read_at(a.in[0], p0 + i * step)) >= try_it;
        __syncthreads();
        if (t == 0) count = 0;
        __syncthreads();
        atomicAdd(&count, mine);
        __syncthreads();
        if (count >= a.k) bound = try_it;
    }
    int above = 0, equal = 0;
    for (int i = i0; i < i1; i++) {
        uint32_t v = rank_bits(read_at(a.in[0], p0 + i * step));
        above += v > bound, equal += v == bound;
    }
    __syncthreads();
    if (t == 0) count = 0;
    before[t] = equal;
    __syncthreads();
    atomicAdd(&count, above);
    __syncthreads();
    int64_t left = a.k - count;
    for (int i = 0; i < t; i++) left -= before[i];
    for (int i = i0; i < i1; i++) {
        uint32_t v = rank_bits(read_at(a.in[0], p0 + i * step));
        out[i] = v > bound || (v == bound && left-- > 0);
    }
}

// ---- of the step ---------------------------------------------------------------------------------------
DEV void change_list(const int32_t *e, int32_t *slots, int32_t *at, int64_t stride) { // e: sequence, index, slot, position
    slots[e[0] * stride + e[1]] = e[2];
    at[e[0] * stride + e[1]] = e[3];
}

CUDA_KERNEL(ops_lists, ops_list_args, THREADS) {
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < a.n; i += gridDim.x * THREADS) change_list(a.edits + 4 * i, a.slots, a.at, a.stride);
}

CUDA_KERNEL(ops_inputs, ops_inputs_args, THREADS) {
    for (int i = threadIdx.x; i < a.words; i += THREADS) {
        int32_t v = a.word[i];
        if (i >= a.tok && i < a.tok + a.rows && v < 0 && a.ids) {
            int32_t id = a.ids[-1 - v];
            v = id < 0 ? 0 : id; // as sample_feed
        }
        a.to[i] = v;
    }
    for (int i = threadIdx.x; i < a.n_edits; i += THREADS) change_list(a.word + a.edits + 4 * i, a.slots, a.at, a.stride);
}

CUDA_KERNEL(ops_pick, ops_pick_args, NORM_THREADS) {
    __shared__ uint32_t best_of[NORM_WARPS];
    __shared__ int where_of[NORM_WARPS];
    dev_wait();
    dev_launch_next();
    const float *x = a.x + (int64_t)blockIdx.x * a.n;
    uint32_t best = 0;
    int where = 0;
    for (int i = threadIdx.x; i < a.n; i += NORM_THREADS) {
        uint32_t v = x[i] == x[i] ? rank_bits(x[i]) : 0;
        if (v > best) best = v, where = i;
    }
    for (int d = 16; d; d >>= 1) {
        uint32_t b = __shfl_xor_sync(0xffffffffu, best, d);
        int w = __shfl_xor_sync(0xffffffffu, where, d);
        if (b > best || (b == best && w < where)) best = b, where = w;
    }
    if (threadIdx.x % 32 == 0) best_of[threadIdx.x / 32] = best, where_of[threadIdx.x / 32] = where;
    __syncthreads();
    if (threadIdx.x) return;
    for (int i = 1; i < NORM_WARPS; i++)
        if (best_of[i] > best || (best_of[i] == best && where_of[i] < where)) best = best_of[i], where = where_of[i];
    a.out[blockIdx.x] = where;
}
