// linear_i8mm.c - linear() for AArch64 with SMMLA (FEAT_I8MM): products of 2 x 8 by 8 x 2 bytes for 16 rows and more,
// SDOT (linear_dotprod.c) for what linear_tiles.h leaves.
#include "cpu/linear_128.h"

static inline VI vi_mac(VI s, VI w, VI a) { return vdotq_s32(s, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(a)); }

#include "cpu/linear_codes.h"

static void ti_begin(void) {}
static void ti_end(void) {}
static inline void ti_load_x(int i, const uint8_t *x) { (void)i, (void)x; }
static inline void ti_load_codes(int i, const uint8_t *codes) { (void)i, (void)codes; }

// Codes of lanes 4 q .. 4 q + 3 as the instruction wants them: pair[i][p] holds k = 8 i .. 8 i + 7 of lanes 4 q + 2 p, + 1.
static inline void lane_pairs(const uint8_t *codes, int q, int8x16_t pair[4][2]) {
    UNROLL
    for (int i = 0; i < 4; i++) {
        VI a = vi_load(codes + 128 * i + 16 * q), b = vi_load(codes + 128 * i + 64 + 16 * q);
        pair[i][0] = vreinterpretq_s8_s32(vzip1q_s32(a, b));
        pair[i][1] = vreinterpretq_s8_s32(vzip2q_s32(a, b));
    }
}

static inline void ti_dot(int slot, int x_at, const uint8_t *x, int codes_at, const uint8_t *codes, int32_t *out) {
    (void)slot, (void)x_at, (void)codes_at;
    for (int q = 0; q < 4; q++) {
        int8x16_t pair[4][2];
        lane_pairs(codes, q, pair);
        for (int r = 0; r < 16; r += 2) {
            const uint8_t *upper = x + r * ACT_BLOCK, *lower = upper + ACT_BLOCK;
            int32x4_t s0 = vdupq_n_s32(0), s1 = s0; // [row r or r + 1][two lanes]
            UNROLL
            for (int i = 0; i < 4; i++) {
                int8x16_t a = vreinterpretq_s8_u8(vcombine_u8(vld1_u8(upper + 8 * i), vld1_u8(lower + 8 * i)));
                s0 = vmmlaq_s32(s0, a, pair[i][0]);
                s1 = vmmlaq_s32(s1, a, pair[i][1]);
            }
            vst1q_s32(out + r * LINEAR_ROWS + 4 * q, vcombine_s32(vget_low_s32(s0), vget_low_s32(s1)));
            vst1q_s32(out + (r + 1) * LINEAR_ROWS + 4 * q, vcombine_s32(vget_high_s32(s0), vget_high_s32(s1)));
        }
    }
}

static inline void ti_store(int slot, int32_t *out) { (void)slot, (void)out; }

#include "cpu/linear_tiles.h"

static void act_tile(act_kind kind, const float *x, void *dst, int64_t k, int64_t row) { tiles_quantize(act_quantize_neon, kind, x, dst, k, row); }

static void linear_i8mm(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (tiles_apply(w, rows)) linear_tiles(w, x, rows, y, ldy, n0, n1);
    else linear_dotprod(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_i8mm(cpu_kernels *k) {
    k->linear = linear_i8mm;
    k->tiled = tiles_have;
    k->act_tile = act_tile;
    k->linear_tiled = linear_tiled;
}
