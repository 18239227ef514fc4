// vec.h - fills the entries of the kernel table that are not about weight matrices: rows of float32, conversions,
// attention, elementwise maps and the float32 product.
#ifndef TL_CPU_VEC_H
#define TL_CPU_VEC_H
#include "cpu/kernels.h"
void cpu_vec_ref(cpu_kernels *k);    // plain C, the definition of the results
void cpu_vec_avx2(cpu_kernels *k);   // AVX2, FMA, F16C
void cpu_vec_avx512(cpu_kernels *k); // AVX-512 F, BW, DQ, VL besides
void cpu_vec_neon(cpu_kernels *k);   // AArch64
void cpu_store_q4(const float *x, uint8_t *dst, int64_t n); // Q4_0 blocks, for all instruction sets

// Attention for one instruction set (attention_ISA.c), entered by the functions above.
void attention_avx2(const attn_args *a, int64_t item0, int64_t item1, void *scratch);
void attention_avx512(const attn_args *a, int64_t item0, int64_t item1, void *scratch);
void attention_neon(const attn_args *a, int64_t item0, int64_t item1, void *scratch);
#endif
