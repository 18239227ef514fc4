// linear_avx2.c - linear() for AVX2 without VNNI: products of bytes are summed in int16 as long as they fit.
#include "cpu/linear_256.h"

#define LINEAR_RUNS
// A maddubs lane is at most 2 * 127 * (2^bits - 1); so many of them stay within int16.
static inline int vi_step(int bits) { return bits <= 4 ? 8 : bits == 5 ? 4 : bits == 6 ? 2 : 1; }
static inline VI vi_first16(VI w, VI a) { return _mm256_maddubs_epi16(w, a); }
static inline VI vi_mac16(VI s, VI w, VI a) {
    VI sum = _mm256_add_epi16(s, _mm256_maddubs_epi16(w, a));
    __asm__("" : "+x"(sum)); // add now: compilers would rather make all products first and spill them
    return sum;
}
static inline VI vi_total16(VI s, int factor) { return _mm256_madd_epi16(s, _mm256_set1_epi16((short)factor)); }

enum { ZERO_8 = 0 };
static inline VI vi_s8(VI w) { return w; }
static inline VI vi_mac_s8(VI s, VI w, vi_one a) { // |w| times a with w's sign
    VI sum = _mm256_add_epi32(s, vi_total16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(a, w)), 1));
    __asm__("" : "+x"(sum));
    return sum;
}
static inline VI vi_mac(VI s, VI w, VI a) { return vi_mac_s8(s, w, a); } // for part_dot()'s sake: 8 bits only
static inline VI vi_mac_one(VI s, VI w, vi_one a) { return vi_mac_s8(s, w, a); }

#include "cpu/linear_simd.h"

static void linear_avx2(const cpu_matrix *w, const void *x, int64_t rows, float *y, int64_t ldy, int64_t n0, int64_t n1) {
    linear_simd(w, x, rows, y, ldy, n0, n1);
}

void cpu_linear_avx2(cpu_kernels *k) {
    k->matrix_layout = linear_layout_i16;
    k->act_quantize = act_quantize_avx2;
    k->linear = linear_avx2;
}
