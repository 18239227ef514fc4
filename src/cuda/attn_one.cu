// attn_one.cu - attn_rows.cuh for a row alone.
#include "cuda/attn_rows.cuh"

CUDA_KERNEL_REGS(attn_one_64, attn_one_args, 512, 96) {
    DEV_SMEM(memory);
    rows_block<4, true>(a.a, memory).run(&a);
}
CUDA_KERNEL_REGS(attn_one_128, attn_one_args, 512, 96) {
    DEV_SMEM(memory);
    rows_block<8, true>(a.a, memory).run(&a);
}
CUDA_KERNEL_MIN(attn_one_256, attn_one_args, 256, 1) {
    DEV_SMEM(memory);
    rows_block<16, true>(a.a, memory).run(&a);
}
