// attn_many.cu - attn_rows.cuh for the rows of many sequences.
#include "cuda/attn_rows.cuh"

CUDA_KERNEL_MIN(attn_rows_64, cuda_attn_args, 256, 3) {
    DEV_SMEM(memory);
    rows_block<4, false>(a, memory).run(0);
}
CUDA_KERNEL_MIN(attn_rows_128, cuda_attn_args, 256, 3) {
    DEV_SMEM(memory);
    rows_block<8, false>(a, memory).run(0);
}
CUDA_KERNEL_MIN(attn_rows_256, cuda_attn_args, 256, 1) {
    DEV_SMEM(memory);
    rows_block<16, false>(a, memory).run(0);
}
