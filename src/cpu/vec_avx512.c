// vec_avx512.c - rows, conversions, maps and products compiled for one instruction set; attention_avx512.c has attention.
#include "cpu/simd_avx512.h"
#include "cpu/vec.h"
#include "cpu/vec_core.h"
#include "cpu/gemm_core.h"

void cpu_vec_avx512(cpu_kernels *k) {
    k->rms_norm = V_NAME(rms_norm);
    k->layer_norm = V_NAME(layer_norm);
    k->softmax = V_NAME(softmax);
    k->all_finite = V_NAME(all_finite);
    k->block_maxima = V_NAME(block_maxima);
    k->block_exp_sums = V_NAME(block_exp_sums);
    k->rope = V_NAME(rope);
    k->store = V_NAME(store);
    k->load = V_NAME(load);
    k->attention = attention_avx512;
    k->map1 = V_NAME(map1);
    k->map2 = V_NAME(map2);
    k->map2s = V_NAME(map2s);
    k->gate = V_NAME(gate);
    k->gemm = V_NAME(gemm);
    k->dot = V_NAME(dot);
    k->axpy = V_NAME(axpy);
}
