// attn.cuh - what the attention kernels share; the definition of a (row, head)'s numbers.
//
// Entries of a row's slot list, counted from the sequence's start (`dropped` included), fall into chunks of 64. Of each chunk
//   s = softcap(scale * (q_hi . k + q_lo . k)), -inf where the row may not read      (q = q_hi + q_lo in f16; tensor core, d ascending)
//   m = max s; p = f16(exp(s - m)); l = sum of p (each lane its columns in order, then lanes by xor 1, 2); o = p V (entries ascending)
// and chunks fold in ascending order: top' = max(top, m), total = total * exp(top - top') + l * exp(m - top'), acc likewise.
// Who computes which chunk and which rows share a warp changes no bit.
//
// A warp computes 16 query vectors (rows x heads of one kv head). K and V of a chunk lie in shared memory as f16 rows of
// 2 * width + 16 bytes: an odd number of 16-byte units, so that ldmatrix meets no bank twice.
#ifndef TL_CUDA_ATTN_CUH
#define TL_CUDA_ATTN_CUH
#include "cuda/cuda.h"
#include "cuda/dev.cuh"

enum { ATTN_ENTRIES = 64, ATTN_VECTORS = 16, ATTN_FRESH = -2 };
#define ATTN_NONE (-__int_as_float(0x7f800000)) // -infinity

LAYOUT int attn_stride(int width) { return 2 * ((width + 15) / 16 * 16) + 16; }

// ---- which entries a row reads ------------------------------------------------------------------------
// First entry whose position is >= pos. Lists mostly hold consecutive positions: the guess is looked at first.
DEV int attn_lower(const cuda_seq &s, int pos) {
    int n = (int)s.n;
    if (n == 0) return 0;
    int guess = pos - s.at[0];
    guess = guess < 0 ? 0 : guess > n ? n : guess;
    if ((guess == 0 || s.at[guess - 1] < pos) && (guess == n || s.at[guess] >= pos)) return guess;
    int lo = 0, hi = n;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        if (s.at[mid] < pos) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}
DEV void attn_reads(const cuda_attn_args &a, const cuda_seq &s, int row, int *lo, int *hi) {
    int pos = a.pos ? a.pos[row] : 0;
    *lo = a.window > 0 ? attn_lower(s, pos - a.window + 1) : 0;
    *hi = a.causal ? attn_lower(s, pos + 1) : a.window > 0 ? attn_lower(s, pos + a.window) : (int)s.n;
    if (*hi < *lo) *hi = *lo;
}

// ---- shared memory -------------------------------------------------------------------------------------
// Values of one cache row (this kv head's) that cannot be copied as they are, as f16: the 16-byte unit `unit`.
static __device__ __noinline__ uint4 attn_convert(int type, const unsigned char *from, int head, int width, int unit) {
    int d = unit * 8;
    float v[8];
    for (int i = 0; i < 8; i++) v[i] = 0.0f;
    if (d < width) {
        if (type == CT_Q8_0) { // width % 32 == 0
            const unsigned char *b = from + ((int64_t)head * width + d) / 32 * 34;
            float scale = f16_float(*(const uint16_t *)b);
            const uint16_t *q = (const uint16_t *)(b + 2 + d % 32);
            for (int i = 0; i < 4; i++) {
                uint32_t w = q[i];
                v[2 * i] = scale * (float)(int8_t)(w & 255);
                v[2 * i + 1] = scale * (float)(int8_t)(w >> 8);
            }
        } else
            for (int i = 0; i < 8 && d + i < width; i++)
                v[i] = type == CT_F16 ? f16_float(((const uint16_t *)from)[(int64_t)head * width + d + i]) : ((const float *)from)[(int64_t)head * width + d + i];
    }
    return make_uint4(float_f16x2(v[0], v[1]), float_f16x2(v[2], v[3]), float_f16x2(v[4], v[5]), float_f16x2(v[6], v[7]));
}

// A chunk's K or V: slots[64] of its entries, -1 where no row reads it (zeros), -2: left as it is. Threads [0, threads) take part.
DEV void attn_load(const cuda_attn_args &a, bool values, int head, const int *slots, unsigned char *to, int padded, int thread, int threads) {
    int width = values ? a.dv : a.dk, units = padded / 8, stride = 2 * padded + 16, e = thread / units, unit = thread - e * units;
    const unsigned char *base = (const unsigned char *)(values ? a.v : a.k);
    int64_t slot_bytes = values ? a.v_slot_bytes : a.k_slot_bytes;
    bool plain = a.kv_type == CT_F16 && width % 8 == 0;
    int step = threads / units, rest = threads - step * units;
    if (plain && rest == 0 && unit * 8 < width) { // the usual widths: a thread keeps its unit
        base += ((int64_t)head * width + unit * 8) * 2;
        to += unit * 16;
#pragma unroll 4
        for (; e < ATTN_ENTRIES; e += step) {
            int slot = slots[e];
            if (slot != ATTN_FRESH) cp_async16(to + e * stride, base + (slot < 0 ? 0 : slot * slot_bytes), slot >= 0);
        }
        return;
    }
#pragma unroll 1
    while (e < ATTN_ENTRIES) {
        int slot = slots[e];
        unsigned char *at = to + e * stride + unit * 16;
        const unsigned char *from = base + (slot < 0 ? 0 : slot * slot_bytes);
        if (slot == ATTN_FRESH) ;
        else if (plain && unit * 8 < width) cp_async16(at, from + ((int64_t)head * width + unit * 8) * 2, slot >= 0);
        else *(uint4 *)at = slot < 0 ? make_uint4(0, 0, 0, 0) : attn_convert(a.kv_type, from, head, width, unit);
        e += step, unit += rest;
        if (unit >= units) unit -= units, e++;
    }
}

// Two values of a query as halves, and what these leave of them.
DEV void attn_split(float x0, float x1, uint32_t *hi, uint32_t *lo) {
    *hi = float_f16x2(x0, x1);
    *lo = float_f16x2(x0 - f16_float(*hi), x1 - f16_float(*hi >> 16));
}
DEV void attn_put_q(float x0, float x1, unsigned char *hi, unsigned char *lo) { attn_split(x0, x1, (uint32_t *)hi, (uint32_t *)lo); }

// Query vectors v < n, of rows row0 + v / group and heads head0 + v % group, as hi and lo; zeros for the others. AHEAD are
// asked for before the first is needed.
template <int AHEAD> DEV void attn_load_q(const cuda_attn_args &a, int row0, int head0, int group, int n, int vectors, unsigned char *hi, unsigned char *lo, int thread, int threads) {
    int padded = (a.dk + 15) / 16 * 16, stride = attn_stride(a.dk);
    int pairs = padded / 2, v = thread / pairs, pair = thread - v * pairs, step = threads / pairs, rest = threads - step * pairs;
#pragma unroll 1
    while (v < vectors) {
        float x[AHEAD][2];
        int v0 = v, pair0 = pair;
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int d = pair * 2, vector = v < n ? v : 0;
            const float *from = a.q + (row0 + vector / group) * a.q_stride + (int64_t)(head0 + vector % group) * a.dk + d;
            x[i][0] = v < n && d < a.dk ? from[0] : 0.0f, x[i][1] = v < n && d + 1 < a.dk ? from[1] : 0.0f;
            v += step, pair += rest;
            if (pair >= pairs) pair -= pairs, v++;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (v0 < vectors) attn_put_q(x[i][0], x[i][1], hi + v0 * stride + pair0 * 4, lo + v0 * stride + pair0 * 4);
            v0 += step, pair0 += rest;
            if (pair0 >= pairs) pair0 -= pairs, v0++;
        }
    }
}

// ---- a chunk of 16 vectors -----------------------------------------------------------------------------
struct attn_part {
    float m[2], l[2];    // of rows g and g + 8 of the 16
    uint32_t p[4][4];    // weights as fragments A, 16 entries each
};

DEV void attn_sum_lanes(float *l) {
    *l += __shfl_xor_sync(0xffffffffu, *l, 1);
    *l += __shfl_xor_sync(0xffffffffu, *l, 2);
}

// 16 of a query's values, hi and lo, with those of N * 8 keys, of which kb is this lane's address for ldmatrix.
template <int N> DEV void attn_score_step(const uint32_t hi[4], const uint32_t lo[4], const unsigned char *kb, int stride, float s[N][4]) {
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        uint32_t b[4];
        ldmatrix4(b, kb + n * 8 * stride);
        mma_f16(s[n], hi, b[0], b[1]);
        mma_f16(s[n + 1], hi, b[2], b[3]);
        mma_f16(s[n], lo, b[0], b[1]);
        mma_f16(s[n + 1], lo, b[2], b[3]);
    }
}
DEV const unsigned char *attn_key_place(const unsigned char *k, int stride, int lane) { return k + (lane / 16 * 8 + lane % 8) * stride + lane / 8 % 2 * 16; }

// Of N * 8 keys at k.
template <int N> DEV void attn_scores_of(const unsigned char *q_hi, const unsigned char *q_lo, const unsigned char *k, int dk, int lane, float s[N][4]) {
    int stride = attn_stride(dk);
    const unsigned char *qa = q_hi + (lane / 8 % 2 * 8 + lane % 8) * stride + lane / 16 * 16, *qb = qa + (q_lo - q_hi);
    const unsigned char *kb = attn_key_place(k, stride, lane);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[n][i] = 0.0f;
#pragma unroll (N > 2 ? 1 : 4)
    for (int d = 0; d < dk; d += 16) {
        uint32_t hi[4], lo[4];
        ldmatrix4(hi, qa + d * 2);
        ldmatrix4(lo, qb + d * 2);
        attn_score_step<N>(hi, lo, kb + d * 2, stride, s);
    }
}
DEV void attn_scores(const unsigned char *q_hi, const unsigned char *q_lo, const unsigned char *k, int dk, int lane, float s[8][4]) { attn_scores_of<8>(q_hi, q_lo, k, dk, lane, s); }

static __device__ __noinline__ float attn_soften(float x, float cap) { return cap * tanhf(x / cap); }

// Products of N * 8 keys from entry `first` of the chunk that starts at list entry `base`, as scores; of rows g and, of R = 2, g + 8: [lo, hi) of
// the chunk, or their bits, are read. m: the rows' largest.
template <int N, int R>
DEV void attn_score(const cuda_attn_args &a, int first, const int lo[R], const int hi[R], const uint32_t *const bits[R], int base, int lane, float s[N][4], float m[R]) {
    first += 2 * (lane & 3);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 2 * R; i++) s[n][i] *= a.scale;
    if (a.softcap > 0)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 2 * R; i++) s[n][i] = attn_soften(s[n][i], a.softcap);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 2 * R; i++) {
            int j = first + n * 8 + i % 2;
            if (j < lo[i / 2] || j >= hi[i / 2]) s[n][i] = ATTN_NONE;
        }
#pragma unroll
    for (int r = 0; r < R; r++)
        if (bits[r])
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int j = first + n * 8 + i, e = base + j;
                    if (j >= lo[r] && j < hi[r] && !(bits[r][e >> 5] >> (e & 31) & 1)) s[n][2 * r + i] = ATTN_NONE;
                }
#pragma unroll
    for (int r = 0; r < R; r++) {
        m[r] = ATTN_NONE;
#pragma unroll
        for (int n = 0; n < N; n++) m[r] = fmaxf(m[r], fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        m[r] = fmaxf(m[r], __shfl_xor_sync(0xffffffffu, m[r], 1));
        m[r] = fmaxf(m[r], __shfl_xor_sync(0xffffffffu, m[r], 2));
    }
}

// lo, hi: entries of the chunk that rows g and, of R = 2, g + 8 read; bits: their mask words or NULL, base: the chunk's first list entry.
template <int R> DEV void attn_weigh(const cuda_attn_args &a, const int lo[R], const int hi[R], const uint32_t *const bits[R], int base, int lane, float s[8][4], attn_part *out) {
    float m[R], l[R];
    attn_score<8, R>(a, 0, lo, hi, bits, base, lane, s, m);
#pragma unroll
    for (int r = 0; r < R; r++) l[r] = 0.0f;
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            uint32_t *to = &out->p[n / 2][n % 2 * 2 + r];
            if (r >= R) {
                *to = 0;
                continue;
            }
            float from = m[r] == ATTN_NONE ? 0.0f : m[r];
            uint32_t h = float_f16x2(dev_exp(s[n][2 * r] - from), dev_exp(s[n][2 * r + 1] - from));
            l[r] += f16_float(h);
            l[r] += f16_float(h >> 16);
            *to = h;
        }
#pragma unroll
    for (int r = 0; r < R; r++) {
        attn_sum_lanes(&l[r]);
        out->m[r] = m[r];
        out->l[r] = l[r];
    }
}

// o: columns 16 c .. 16 c + 15 of the chunk's weighted values, as two result fragments.
DEV void attn_values(const attn_part &part, const unsigned char *v, int stride, int c, int lane, float o[2][4]) {
    const unsigned char *vb = v + (lane / 8 % 2 * 8 + lane % 8) * stride + lane / 16 * 16 + c * 32;
#pragma unroll
    for (int i = 0; i < 4; i++) o[0][i] = o[1][i] = 0.0f;
#pragma unroll
    for (int e = 0; e < 4; e++) {
        uint32_t b[4];
        ldmatrix4_trans(b, vb + e * 16 * stride);
        mma_f16(o[0], part.p[e], b[0], b[1]);
        mma_f16(o[1], part.p[e], b[2], b[3]);
    }
}

// ---- folding -------------------------------------------------------------------------------------------
// Adds (m, l) to (top, total); keep and add are the factors of acc and of the chunk's values. False: nothing was read.
DEV bool attn_fold(float m, float l, float *top, float *total, float *keep, float *add) {
    *keep = 1.0f, *add = 0.0f;
    if (l == 0.0f) return false;
    float most = fmaxf(m, *top), base = most == ATTN_NONE ? 0.0f : most;
    *keep = dev_exp(*top - base);
    *add = dev_exp(m - base);
    *total = fmaf(l, *add, *total * *keep);
    *top = most;
    return true;
}

DEV float attn_scale(const cuda_attn_args &a, int head, float top, float total) { // of acc, in the end
    float keep = 1.0f;
    if (total == 0.0f) return 0.0f;
    if (a.sinks) {
        float sink = a.sinks[head], base = fmaxf(sink, top == ATTN_NONE ? 0.0f : top);
        keep = dev_exp(top - base);
        total = fmaf(total, keep, dev_exp(sink - base));
    }
    return keep / total;
}
#endif
