// sums.h - the order in which every instruction set adds up, in the words of simd_*.h. ref_vec.c has it in plain C.
//
// A sum has SUM_LANES lanes, whatever this instruction set's vectors hold: lane i takes elements i, i + 16, i + 32, .. one after
// the other. A long row's sum has four such groups, 64 lanes, which are joined first: (0 + 1) + (2 + 3). Then lanes are
// added by halves: i and i + 8, + 4, + 2, + 1. So all instruction sets give the same bits.
#ifndef TL_CPU_SUMS_H
#define TL_CPU_SUMS_H
enum {
    SUM_LANES = 16,
    PARTS = SUM_LANES / V_N,   // vectors of this instruction set that hold the lanes
    ROW_LANES = 4 * SUM_LANES, // of a long row
    ROW_PARTS = 4 * PARTS,
};

V_INLINE vf join_parts(const vf s[PARTS]) { // by halves, until one vector is left
    enum { LAST = PARTS - 1, HALF = PARTS / 2 };
    _Static_assert(PARTS == 1 || PARTS == 2 || PARTS == 4, "vectors of 16, 8 or 4");
    if (PARTS == 1) return s[0];
    if (PARTS == 2) return v_add(s[0], s[LAST]);
    return v_add(v_add(s[0], s[HALF]), v_add(s[LAST - HALF], s[LAST]));
}
V_INLINE float sum_parts(const vf s[PARTS]) { return v_hsum(join_parts(s)); }

V_INLINE float sum_row(const vf s[ROW_PARTS]) {
    vf t[PARTS];
    V_UNROLL for (int i = 0; i < PARTS; i++) t[i] = v_add(v_add(s[i], s[PARTS + i]), v_add(s[2 * PARTS + i], s[3 * PARTS + i]));
    return sum_parts(t);
}
#endif
