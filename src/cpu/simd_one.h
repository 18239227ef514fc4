// simd_one.h - what has a meaning of its own in simd_avx512.h, for vectors without operands in memory that are one value for all lanes
V_INLINE vf v_now(vf a) { return a; }
typedef vf v_one; // one value for all lanes
V_INLINE v_one v_one_at(const float *p) { return v_set1(*p); }
V_INLINE vf v_mul_one(v_one a, vf b) { return v_mul(a, b); }
V_INLINE vf v_fma_one(v_one a, vf b, vf c) { return v_fma(a, b, c); }
