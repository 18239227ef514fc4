// quantize.cu - float rows to activations.
#include "cuda/cuda.h"
#include "cuda/quantize.cuh"

// Grid: x = rows * pieces / 4 (a warp each). 128 threads.
CUDA_KERNEL(quantize, cuda_quantize_args, 128) {
    int pieces = (int)layout_pieces(a.k), lane = (int)threadIdx.x % 32;
    int64_t i = (int64_t)blockIdx.x * 4 + threadIdx.x / 32;
    int row = (int)(i / pieces), piece = (int)(i % pieces);
    dev_wait();
    dev_launch_next();
    if (row >= a.rows) return;
    const float *x = a.x + row * a.ldx;
    float v[8];
    int at = piece * CUDA_PIECE + lane * 8;
    if (at + 8 <= a.k && (((uintptr_t)(x + at)) & 15) == 0) {
        float4 p = *(const float4 *)(x + at), r = *(const float4 *)(x + at + 4);
        v[0] = p.x, v[1] = p.y, v[2] = p.z, v[3] = p.w, v[4] = r.x, v[5] = r.y, v[6] = r.z, v[7] = r.w;
    } else
        for (int j = 0; j < 8; j++) v[j] = at + j < a.k ? x[at + j] : 0.0f;
    quantize_piece(a.kind, v, a.q, a.k, row, piece, lane);
}
