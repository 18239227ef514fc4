// linear_f32.cu - y = W x for float matrices: small ones (routers, test models), on the ordinary units.
#include "cuda/cuda.h"
#include "cuda/map.cuh"

enum { F32_ROWS = 4 };

DEV void f32_dot(const float *w, const cuda_linear_args &a, int row0, int lane, float sum[F32_ROWS]) {
    int k = a.m[0].k;
    for (int r = 0; r < F32_ROWS; r++) sum[r] = 0.0f;
    for (int i = lane; i < k; i += 32) {
        float v = w[i];
#pragma unroll
        for (int r = 0; r < F32_ROWS; r++)
            if (row0 + r < a.rows) sum[r] = fmaf(v, ((const float *)a.x)[(row0 + r) * a.ld_x + i], sum[r]);
    }
    for (int r = 0; r < F32_ROWS; r++) sum[r] = warp_sum(sum[r]);
}

// A warp: a row of W times F32_ROWS rows of x. Grid: x = rows of all W / 4, y = rows of x / F32_ROWS. 128 threads.
CUDA_KERNEL(linear_f32, cuda_linear_args, 128) {
    int lane = (int)threadIdx.x % 32, i = (int)blockIdx.x * 4 + (int)threadIdx.x / 32, m = 0, row0 = (int)blockIdx.y * F32_ROWS;
    bool glu = a.epilogue == CUDA_EPI_GLU;
    dev_wait();
    dev_launch_next();
    while (!glu && m + 1 < a.n_m && i >= a.m[m].n) i -= a.m[m++].n;
    if (i >= a.m[m].n) return;
    float sum[F32_ROWS], up[F32_ROWS];
    f32_dot((const float *)a.m[m].data + ((int64_t)a.m[m].strip0 * CUDA_STRIP + i) * a.m[m].k, a, row0, lane, sum);
    if (glu) f32_dot((const float *)a.m[1].data + ((int64_t)a.m[1].strip0 * CUDA_STRIP + i) * a.m[1].k, a, row0, lane, up);
    for (int r = 0; r < F32_ROWS && row0 + r < a.rows; r++) {
        float value = sum[r];
        if (glu) value = map1(a.map, value) * up[r];
        else if (a.epilogue == CUDA_EPI_ADD) value = value + a.res[(row0 + r) * a.ld_res + i];
        if (lane == 0) a.y[m][(row0 + r) * a.ldy[m] + i] = value;
    }
}
