// linear_codes.h - what a block of LINEAR_I16 holds, for one instruction set: codes, scales and minima of 16 rows in
// vectors, blocks "expanded" to bytes, and the one way in which a block's products become float sums. Included after the
// vector primitives (linear_256.h lists them).
#include "cpu/linear.h"

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#endif

enum {
    HALVES = LINEAR_ROWS / LANES, // vectors for the 16 lanes
    PANEL = 8,                    // blocks of 32 k expanded at a time
    EXPANDED = 512 + 4 * 64,      // bytes of an expanded block: codes, then scales, then minima (of each part)
};

// ---- formats ---------------------------------------------------------------------------------------
INLINE int parts_of(tl_dtype t) { return t == DT_Q2_K || t == DT_Q3_K || t == DT_Q6_K ? 2 : 1; }
INLINE int subs_of(tl_dtype t) { return t >= DT_Q2_K && t <= DT_Q6_K ? 8 : 1; } // blocks of 32 in a file block
INLINE int zero_of(tl_dtype t) { return t == DT_Q4_0 ? 8 : t == DT_Q5_0 ? 16 : t == DT_Q6_K ? 32 : t == DT_Q3_K ? 4 : 0; }
INLINE int code_zero(tl_dtype t) { return t == DT_Q8_0 ? ZERO_8 : zero_of(t); } // of codes as codes() makes them
INLINE bool has_min(tl_dtype t) { return t == DT_Q4_1 || t == DT_Q5_1 || t == DT_Q2_K || t == DT_Q4_K || t == DT_Q5_K; }
INLINE int bits_of(tl_dtype t) {
    switch (t) {
    case DT_Q2_K: return 2;
    case DT_Q3_K: return 3;
    case DT_Q5_0:
    case DT_Q5_1:
    case DT_Q5_K: return 5;
    case DT_Q6_K: return 6;
    case DT_Q8_0: return 8;
    default: return 4;
    }
}
INLINE int block_bytes(tl_dtype t) {
    switch (t) {
    case DT_Q4_0: return Q4_0_BYTES;
    case DT_Q4_1: return Q4_1_BYTES;
    case DT_Q5_0: return Q5_0_BYTES;
    case DT_Q5_1: return Q5_1_BYTES;
    case DT_Q8_0: return Q8_0_BYTES;
    case DT_Q2_K: return Q2_K_BYTES;
    case DT_Q3_K: return Q3_K_BYTES;
    case DT_Q4_K: return Q4_K_BYTES;
    case DT_Q5_K: return Q5_K_BYTES;
    default: return Q6_K_BYTES;
    }
}

INLINE VI dwords(const uint8_t *g, int at, int unit, int h) { return vi_load(g + at + 64 * unit + 4 * LANES * h); }
INLINE VF halves(const uint8_t *g, int at, int h) { return vf_half(g + at + 2 * LANES * h); }
INLINE VI shifted(VI v, int right) { return right > 0 ? vi_srl(v, right) : right < 0 ? vi_sll(v, -right) : v; }
INLINE VI field(VI v, int right, uint32_t mask) { return vi_and(shifted(v, right), vi_splat(mask)); }

// Codes of k = 4 j .. 4 j + 3 of sub-block s, lanes of half h; unsigned, but Q8_0's are as vi_s8 makes them.
INLINE VI codes(tl_dtype t, const uint8_t *g, int s, int j, int h) {
    switch (t) {
    case DT_Q4_0:
    case DT_Q4_1: return field(dwords(g, 0, j % 4, h), j < 4 ? 0 : 4, 0x0f0f0f0f);
    case DT_Q5_0:
    case DT_Q5_1:
        return vi_or(field(dwords(g, 0, j % 4, h), j < 4 ? 0 : 4, 0x0f0f0f0f), field(dwords(g, Q5_0_H, 0, h), j - 4, 0x10101010));
    case DT_Q8_0: return vi_s8(dwords(g, 0, j, h));
    case DT_Q2_K: return field(dwords(g, 0, s / 4 * 8 + j, h), s % 4 * 2, 0x03030303);
    case DT_Q3_K:
        return vi_or(field(dwords(g, 0, s / 4 * 8 + j, h), s % 4 * 2, 0x03030303), field(dwords(g, Q3_K_H, j, h), s - 2, 0x04040404));
    case DT_Q4_K: return field(dwords(g, 0, s / 2 * 8 + j, h), s % 2 * 4, 0x0f0f0f0f);
    case DT_Q5_K:
        return vi_or(field(dwords(g, 0, s / 2 * 8 + j, h), s % 2 * 4, 0x0f0f0f0f), field(dwords(g, Q5_K_H, j, h), s - 4, 0x10101010));
    default: // DT_Q6_K
        return vi_or(field(dwords(g, 0, s / 4 * 16 + s % 2 * 8 + j, h), s % 4 / 2 * 4, 0x0f0f0f0f),
                     field(dwords(g, Q6_K_H, s / 4 * 8 + j, h), s % 4 * 2 - 4, 0x30303030));
    }
}

// Six-bit number s of Q4_K's and Q5_K's packed scales (min = 0) or minima (min = 1); g: the three dwords.
INLINE VI packed6(const uint8_t *g, int s, int min, int h) {
    if (s < 4) return field(dwords(g, 0, min, h), 8 * s, 63);
    VI low = field(dwords(g, 0, 2, h), 8 * (s - 4) + 4 * min, 15);
    return vi_or(low, field(dwords(g, 0, min, h), 8 * (s - 4) + 2, 0x30));
}

INLINE VI q3_k_scale(const uint8_t *g, int i, int h) {
    VI low = field(dwords(g, Q3_K_SC, i % 8 / 4, h), 8 * (i % 4) + i / 8 * 4, 15);
    VI high = field(dwords(g, Q3_K_SC, 2, h), 8 * (i % 4) + i / 4 * 2 - 4, 0x30);
    return vi_sub(vi_or(low, high), vi_splat(32));
}

// Scale of part p of sub-block s.
INLINE VF scale_of(tl_dtype t, const uint8_t *g, int s, int p, int h) {
    int i = 2 * s + p;
    switch (t) {
    case DT_Q4_0: return halves(g, Q4_0_D, h);
    case DT_Q4_1: return halves(g, Q4_1_D, h);
    case DT_Q5_0: return halves(g, Q5_0_D, h);
    case DT_Q5_1: return halves(g, Q5_1_D, h);
    case DT_Q8_0: return halves(g, Q8_0_D, h);
    case DT_Q2_K: return vf_mul(halves(g, Q2_K_D, h), vf_int(field(dwords(g, Q2_K_SC, i / 4, h), i % 4 * 8, 15)));
    case DT_Q3_K: return vf_mul(halves(g, Q3_K_D, h), vf_int(q3_k_scale(g, i, h)));
    case DT_Q4_K: return vf_mul(halves(g, Q4_K_D, h), vf_int(packed6(g + Q4_K_SC, s, 0, h)));
    case DT_Q5_K: return vf_mul(halves(g, Q5_K_D, h), vf_int(packed6(g + Q5_K_SC, s, 0, h)));
    default: // DT_Q6_K
        return vf_mul(halves(g, Q6_K_D, h), vf_int(vi_sra(shifted(dwords(g, Q6_K_SC, i / 4, h), i % 4 * 8 - 24), 24)));
    }
}

// What is added for each unit of the activations' sum: the min of legacy formats, minus the min of K-quants.
INLINE VF min_of(tl_dtype t, const uint8_t *g, int s, int p, int h) {
    int i = 2 * s + p;
    switch (t) {
    case DT_Q4_1: return halves(g, Q4_1_M, h);
    case DT_Q5_1: return halves(g, Q5_1_M, h);
    case DT_Q2_K: return vf_mul(vf_neg(halves(g, Q2_K_M, h)), vf_int(field(dwords(g, Q2_K_SC, i / 4, h), i % 4 * 8 + 4, 15)));
    case DT_Q4_K: return vf_mul(vf_neg(halves(g, Q4_K_M, h)), vf_int(packed6(g + Q4_K_SC, s, 1, h)));
    default: // DT_Q5_K
        return vf_mul(vf_neg(halves(g, Q5_K_M, h)), vf_int(packed6(g + Q5_K_SC, s, 1, h)));
    }
}

// Are products of bytes summed in int16 for a while (vi_step())? 8 bits leave no room for that. With 16-bit activations the high plane's
// dot then comes times ACT_BASE, which a run's total takes for nothing: the whole value's dot, below 2^27, is an integer sum, rounded to
// float once, as the fused operation rounds it otherwise.
INLINE bool int16_runs(tl_dtype t) {
#ifdef LINEAR_RUNS
    return bits_of(t) < 8;
#else
    (void)t;
    return false;
#endif
}


// With LINEAR_BIASED a dot of one plane carries DOT_BIAS, which makes its bits the float 1.5 * 2^23 + dot: every |dot| is below
// 2^22. Scaling takes the bias away and is the conversion at once, with the one rounding of the product, since scales have few enough
// bits for 1.5 * 2^23 * scale to be exact. (Only an infinite scale, of a broken file, makes NaN here where it makes an infinity elsewhere.)
#ifdef LINEAR_BIASED
enum { DOT_BIAS = 0x4b400000 };
#else
enum { DOT_BIAS = 0 };
#endif
INLINE VF shift_of(VF scale) { return DOT_BIAS != 0 ? vf_mul(vf_splat(-0x1.8p23f), scale) : scale; }

// scale * dot, with 16-bit activations of two planes' dots.
INLINE VF scaled(tl_dtype t, bool wide, VF scale, VF shift, VI dot, VI low) {
    if (DOT_BIAS != 0 && !wide) return vf_fma(scale, vf_bits(dot), shift);
    VF v = vf_int(wide && int16_runs(t) ? vi_add(dot, low) : dot);
    if (wide && !int16_runs(t)) v = vf_fma(vf_splat(ACT_BASE), v, vf_int(low));
    return vf_mul(scale, v);
}

// ---- expanded ----------------------------------------------------------------------------------------
// Blocks [b, b + n) of 32 k of the group at g to `to`.
INLINE void expand(tl_dtype t, const uint8_t *g, int64_t b, int64_t n, uint8_t *to) {
    g += b / subs_of(t) * block_bytes(t); // b and n are whole file blocks
    for (int64_t i = 0; i < n; i += subs_of(t), g += block_bytes(t)) {
        UNROLL
        for (int s = 0; s < subs_of(t); s++, to += EXPANDED) {
            UNROLL
            for (int h = 0; h < HALVES; h++) {
                uint8_t *lane = to + 4 * LANES * h;
                UNROLL
                for (int j = 0; j < 8; j++) vi_store(lane + 64 * j, codes(t, g, s, j, h));
                UNROLL
                for (int p = 0; p < parts_of(t); p++) {
                    vf_store(lane + 512 + 64 * p, scale_of(t, g, s, p, h));
                    if (has_min(t)) vf_store(lane + 512 + 64 * (parts_of(t) + p), min_of(t, g, s, p, h));
                }
            }
        }
    }
}
