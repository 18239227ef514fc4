// args.h - argument blocks of fused.cu: kernels that stand for several nodes of the IR.
#ifndef TL_CUDA_FUSED_ARGS_H
#define TL_CUDA_FUSED_ARGS_H
#include <stdint.h>

typedef struct fused_norm_args { // rows normalised and quantized: one block a row
    const float *x, *w;     // w may be NULL
    int64_t ldx;
    int32_t k, kind;        // cuda_act_kind
    float eps;
    void *q;
} fused_norm_args;

enum { FUSED_TASKS = 6 };
typedef struct fused_task { // one input [rows, n] rotated or not, written as floats, into a state, or both
    const float *x;
    int64_t ldx;
    int32_t n, d, rot, interleaved; // rot 0: as it is; else heads of width d, one after the other
    const float *cs;
    int64_t ld_cs;
    float *out;             // [rows, n] or NULL
    void *state;            // or NULL, then row r goes to slot[r]
    int64_t slot_bytes, at, limit; // at: first element in the slot
    const int32_t *slot;
    int32_t type, pad;      // tl_dtype of the state: F32, F16, BF16, Q8_0 (n and at multiples of 32)
} fused_task;
typedef struct fused_store_args {
    fused_task task[FUSED_TASKS];
    int32_t n_tasks, rows;
} fused_store_args;
#endif
