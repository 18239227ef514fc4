// emulated.c - linear_simd.h and linear_tiles.h with plain C in place of vector and tile instructions: 16 lanes and sums in
// int32, as AVX-512 VNNI and AMX have them, so that every machine tests what only some can run.
#include <math.h>

#include "cpu/linear.h"

#define INLINE static
#define UNROLL

enum { LANES = 16, AHEAD = 2048 };
#define LINEAR_PAIRS
#define LINEAR_BIASED
typedef struct VI {
    int32_t v[LANES];
} VI;
typedef struct VF {
    float v[LANES];
} VF;

#define LANEWISE(T, head, expr)                                                                                        \
    static T head {                                                                                                    \
        T out;                                                                                                         \
        for (int i = 0; i < LANES; i++) out.v[i] = (expr);                                                             \
        return out;                                                                                                    \
    }
static uint32_t word(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static float half(const void *p, int i) {
    uint16_t h;
    memcpy(&h, (const uint8_t *)p + 2 * i, 2);
    return f16_to_f32(h);
}
static VI vi_load(const void *p) {
    VI v;
    memcpy(&v, p, sizeof v);
    return v;
}
static void vi_store(void *p, VI v) { memcpy(p, &v, sizeof v); }
LANEWISE(VI, vi_splat(uint32_t x), (int32_t)x)
LANEWISE(VI, vi_and(VI a, VI b), a.v[i] & b.v[i])
LANEWISE(VI, vi_or(VI a, VI b), a.v[i] | b.v[i])
LANEWISE(VI, vi_add(VI a, VI b), (int32_t)((uint32_t)a.v[i] + (uint32_t)b.v[i])) // of what means nothing, too
LANEWISE(VI, vi_sub(VI a, VI b), a.v[i] - b.v[i])
static int32_t sub8(int32_t a, int32_t b) {
    uint32_t s = 0;
    for (int i = 0; i < 32; i += 8) s |= ((((uint32_t)a >> i) - ((uint32_t)b >> i)) & 255) << i;
    return (int32_t)s;
}
LANEWISE(VI, vi_sub8(VI a, VI b), sub8(a.v[i], b.v[i]))
LANEWISE(VI, vi_srl(VI a, int n), (int32_t)((uint32_t)a.v[i] >> n))
LANEWISE(VI, vi_sll(VI a, int n), (int32_t)((uint32_t)a.v[i] << n))
LANEWISE(VI, vi_sra(VI a, int n), a.v[i] >> n)
static VF vf_load(const void *p) {
    VF v;
    memcpy(&v, p, sizeof v);
    return v;
}
static void vf_store(void *p, VF v) { memcpy(p, &v, sizeof v); }
LANEWISE(VF, vf_splat(float x), x)
static VF vf_bcast(const float *p) { return vf_splat(*p); }
LANEWISE(VF, vf_half(const void *p), half(p, i))
static VF vf_bits(VI v) { return vf_load(&v); }
LANEWISE(VF, vf_int(VI a), (float)a.v[i])
LANEWISE(VF, vf_mul(VF a, VF b), a.v[i] * b.v[i])
LANEWISE(VF, vf_sub(VF a, VF b), a.v[i] - b.v[i])
LANEWISE(VF, vf_fma(VF a, VF b, VF c), fmaf(a.v[i], b.v[i], c.v[i]))
typedef const float *vf_one;
static vf_one vf_one_at(const float *p) { return p; }
static VF vf_fma_one(vf_one a, VF b, VF c) { return vf_fma(vf_bcast(a), b, c); }
LANEWISE(VF, vf_neg(VF a), -a.v[i])

static int32_t dot4(int32_t w, int32_t a) { // unsigned bytes times signed bytes
    int32_t s = 0;
    for (int b = 0; b < 32; b += 8) s += (int32_t)((uint32_t)w >> b & 255) * (int8_t)((uint32_t)a >> b);
    return s;
}
LANEWISE(VI, vi_mac(VI s, VI w, VI a), s.v[i] + dot4(w.v[i], a.v[i]))
static VI vi_bcast(const void *p) { return vi_splat(word(p)); }
typedef const void *vi_one;
static vi_one vi_one_at(const void *p) { return p; }
static VI vi_mac_one(VI s, VI w, vi_one a) { return vi_mac(s, w, vi_bcast(a)); }
static VI vi_pair(VI s, const void *pair, uint32_t factors) {
    uint32_t v = word(pair);
    return vi_add(s, vi_splat((uint32_t)((int16_t)v * (int16_t)factors + (int16_t)(v >> 16) * (int16_t)(factors >> 16))));
}
enum { ZERO_8 = 128 };
LANEWISE(VI, vi_s8(VI w), (int32_t)((uint32_t)w.v[i] ^ 0x80808080))
static VI vi_mac_s8(VI s, VI w, vi_one a) { return vi_mac_one(s, w, a); }

#include "cpu/linear_simd.h"

// Tiles as AMX has them, one at a time, and the operands it has loaded.
static bool tiles_on;
static uint8_t loaded_x[2][16 * 32], loaded_codes[4][512];
static int32_t slot_sums[2][16 * LANES];
static void ti_begin(void) { tiles_on = true; }
static void ti_end(void) { tiles_on = false; }
static void ti_load_x(int i, const uint8_t *x) { memcpy(loaded_x[i], x, sizeof *loaded_x); }
static void ti_load_codes(int i, const uint8_t *codes) { memcpy(loaded_codes[i], codes, sizeof *loaded_codes); }
static void ti_dot(int slot, int xi, const uint8_t *x, int ci, const uint8_t *codes, int32_t *out) {
    TL_CHECK(tiles_on);
    TL_CHECK(memcmp(x, loaded_x[xi], sizeof *loaded_x) == 0 && memcmp(codes, loaded_codes[ci], sizeof *loaded_codes) == 0);
    for (int r = 0; r < 16; r++)
        for (int lane = 0; lane < LANES; lane++) {
            int32_t s = 0;
            for (int i = 0; i < 32; i++) {
                int8_t code = (int8_t)codes[i / 4 * 64 + lane * 4 + i % 4];
                s += code * (int8_t)x[r * 32 + i];
            }
            slot_sums[slot][r * LANES + lane] = s;
        }
    memset(out, 0xa5, sizeof *slot_sums); // not before ti_store()
}
static void ti_store(int slot, int32_t *out) { memcpy(out, slot_sums[slot], sizeof *slot_sums); }

#include "cpu/linear_tiles.h"

static void act_tile(act_kind kind, const float *x, void *dst, int64_t k, int64_t row) { tiles_quantize(act_quantize_ref, kind, x, dst, k, row); }

static void linear_both(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    if (tiles_apply(w, rows)) linear_tiles(w, x, rows, y, ldy, n0, n1);
    else linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_emulated(cpu_kernels *k, bool tiles);
void cpu_linear_emulated(cpu_kernels *k, bool tiles) {
    cpu_linear_ref(k);
    k->isa = tiles ? "emulated tiles" : "emulated";
    k->matrix_layout = linear_layout_i16;
    k->linear = tiles ? linear_both : linear_simd;
    if (!tiles) return;
    k->tiled = tiles_have;
    k->act_tile = act_tile;
    k->linear_tiled = linear_tiled;
}
