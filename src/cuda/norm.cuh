// norm.cuh - sums over a row by one block, in an order that depends on the row's length alone, for every kernel that normalises: of
// each piece of 256 lane l adds elements 8 l .. 8 l + 7, then lanes by halves, then pieces ascending.
#ifndef TL_CUDA_NORM_CUH
#define TL_CUDA_NORM_CUH
#include "cuda/dev.cuh"

enum { NORM_THREADS = 256, NORM_WARPS = NORM_THREADS / 32, NORM_PIECE = 256, NORM_PIECES = 64 };

// Sum of a value of each thread, the same in every thread. part: NORM_WARPS floats of shared memory, free to be written.
DEV float norm_block_sum(float x, float *part) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = part[0];
    for (int i = 1; i < NORM_WARPS; i++) sum += part[i];
    return sum;
}

// Sum of a piece's squares, of which v is this lane's eight, zeros past the end.
DEV float norm_piece_squares(const float v[8]) {
    float sum = 0;
    for (int j = 0; j < 8; j++) sum = fmaf(v[j], v[j], sum);
    return warp_sum(sum);
}

// Sum of the squares of at(0) .. at(n - 1), the same in every thread. part: NORM_PIECES floats of shared memory, free to be written.
template <class AT> DEV float norm_squares(const AT &at, int n, float *part) {
    int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, pieces = (n + NORM_PIECE - 1) / NORM_PIECE;
    float sum = 0;
    for (int first = 0; first < pieces; first += NORM_PIECES) {
        int count = min((int)NORM_PIECES, pieces - first);
        __syncthreads();
        for (int p = warp; p < count; p += NORM_WARPS) {
            float v[8];
            for (int j = 0; j < 8; j++) {
                int i = (first + p) * NORM_PIECE + lane * 8 + j;
                v[j] = i < n ? at(i) : 0.0f;
            }
            float s = norm_piece_squares(v);
            if (lane == 0) part[p] = s;
        }
        __syncthreads();
        for (int p = 0; p < count; p++) sum += part[p];
    }
    return sum;
}

DEV float norm_rms_factor(float sum_of_squares, int n, float eps) { return 1.0f / sqrtf(sum_of_squares / (float)n + eps); }
#endif
