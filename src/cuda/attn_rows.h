// attn_rows.h - what attn_rows.cuh and its launcher agree on: shared memory, and a single row's arguments.
#ifndef TL_CUDA_ATTN_ROWS_H
#define TL_CUDA_ATTN_ROWS_H
#include "cuda/cuda.h"
#include "cuda/fused/args.h"

LAYOUT int rows_stride(int width) { return 2 * ((width + 15) / 16 * 16) + 16; } // attn_stride()
LAYOUT int rows_key_bytes(int dk, int values) { return 64 * rows_stride(dk) > (2 + values) * 64 ? 64 * rows_stride(dk) : (2 + values) * 64; }
LAYOUT int rows_team_bytes(int dk, int values) { return rows_key_bytes(dk, values) + 64 * rows_stride(values) + 16 * rows_stride(64) + 4 * 16 * 4 + 64 * 4; }

LAYOUT int seqs_value_stages(int d) { return d == 64 ? 2 : 1; } // attn_seqs.cu
LAYOUT int seqs_bytes(int d) { return (2 + seqs_value_stages(d)) * 64 * rows_stride(d); }

typedef struct attn_one_args { // one row: a.q is not read, but q.x; k and v also go to the cache
    cuda_attn_args a;
    fused_task q, k, v;
} attn_one_args;
#endif
