// fused.cu - kernels that stand for several nodes: rows normalised and quantized; queries and keys rotated, keys and values
// stored. Their numbers are those of the single kernels (ops.cu, quantize.cu).
#include "cuda/cuda.h"
#include "cuda/fused/args.h"
#include "cuda/norm.cuh"
#include "cuda/quantize.cuh"
#include "cuda/rotate.cuh"

// A block a row, 256 threads; a warp quantizes 256 values at a time.
CUDA_KERNEL(fused_norm, fused_norm_args, NORM_THREADS) {
    __shared__ float part[NORM_PIECES];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, pieces = (int)layout_pieces(a.k);
    const float *x = a.x + blockIdx.x * a.ldx;
    dev_wait();
    dev_launch_next();
    float f = norm_rms_factor(norm_squares([x](int i) { return x[i]; }, a.k, part), a.k, a.eps);
    for (int piece = warp; piece < pieces; piece += NORM_WARPS) {
        float v[8];
        for (int j = 0; j < 8; j++) {
            int i = piece * CUDA_PIECE + lane * 8 + j;
            v[j] = i < a.k ? x[i] * f : 0.0f;
            if (a.w && i < a.k) v[j] *= a.w[i];
        }
        quantize_piece(a.kind, v, a.q, a.k, (int)blockIdx.x, piece, lane);
    }
}

// Grid: x = elements of all tasks / 256, y = rows. 256 threads; a warp has 32 neighbouring elements of one task.
CUDA_KERNEL(fused_store, fused_store_args, 256) {
    int i = blockIdx.x * 256 + threadIdx.x, r = blockIdx.y, k = 0;
    dev_wait();
    dev_launch_next();
    while (k < a.n_tasks && i >= (a.task[k].n + 31) / 32 * 32) i -= (a.task[k].n + 31) / 32 * 32, k++;
    if (k >= a.n_tasks) return;
    const fused_task &t = a.task[k];
    const float *x = t.x + r * t.ldx;
    int e = t.rot ? i % t.d : i;
    float v = i >= t.n ? 0.0f : rotated(t, x + (i - e), t.cs + r * t.ld_cs, e);
    if (t.out && i < t.n) t.out[(int64_t)r * t.n + i] = v;
    if (!t.state) return;
    int64_t slot = t.slot[r];
    if (slot < 0 || slot >= t.limit) return;
    store_element(t.type, (unsigned char *)t.state + slot * t.slot_bytes, t.at + i, v, i < t.n);
}
