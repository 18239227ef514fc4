// norm.cuh - sums over a row by one block, in an order that depends on the row's length alone, for every kernel that
// normalises: thread t adds elements t, t + NORM_THREADS, ...; then lanes by halves, then warps ascending.
#ifndef TL_CUDA_NORM_CUH
#define TL_CUDA_NORM_CUH
#include "cuda/dev.cuh"

enum { NORM_THREADS = 256, NORM_WARPS = NORM_THREADS / 32 };

// The same value in every thread. part: NORM_WARPS floats of shared memory, free to be written.
DEV float norm_block_sum(float x, float *part) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = part[0];
    for (int i = 1; i < NORM_WARPS; i++) sum += part[i];
    return sum;
}

DEV float norm_rms_factor(float sum_of_squares, int n, float eps) { return 1.0f / sqrtf(sum_of_squares / (float)n + eps); }
#endif
