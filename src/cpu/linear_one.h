// linear_one.h - what linear_512.h does by operands in memory, for vectors that have none: included by linear_256.h and linear_128.h
typedef VI vi_one; // one value for all lanes, at some address
typedef VF vf_one;
static inline vi_one vi_one_at(const void *p) { return vi_bcast(p); }
static inline vf_one vf_one_at(const float *p) { return vf_bcast(p); }
static inline VF vf_fma_one(vf_one a, VF b, VF c) { return vf_fma(a, b, c); }
