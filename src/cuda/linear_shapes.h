// linear_shapes.h - the block shapes in which linear.cuh is compiled for each type:
// SHAPE(name, SW strips and NT groups a warp, RW x MW x KW warps, chunks a step, stages, resident blocks wanted)
#ifndef TL_CUDA_LINEAR_SHAPES_H
#define TL_CUDA_LINEAR_SHAPES_H
#include "cuda/layout.h"

// Groups of a warp whose sums are in shared memory at a time: half of them where all would be 64 KiB.
LAYOUT int linear_turn(int sw, int nt, int rw, int mw, int kw) { return kw * rw * sw * mw * nt * 512 >= 65536 && nt % 2 == 0 ? nt / 2 : nt; }

#define LINEAR_SHAPES(SHAPE)                                                                                           \
    SHAPE(one, 1, 1, 1, 1, 8, 4, 2, 3)  /* up to 8 columns */                                                          \
    SHAPE(pair, 2, 1, 1, 1, 8, 4, 2, 2) /* the same, two strips a warp: gate and up */                                 \
    SHAPE(thin, 1, 2, 1, 2, 8, 4, 2, 1) /* 16 rows of W by 32 columns: matrices with few rows */                       \
    SHAPE(few, 2, 2, 1, 2, 2, 4, 2, 3)  /* 32 rows of W by 32 columns */                                               \
    SHAPE(some, 2, 4, 2, 2, 1, 4, 2, 3) /* 64 rows of W by 64 columns */                                               \
    SHAPE(deep, 2, 8, 1, 1, 8, 1, 3, 1) /* 32 by 64, a piece of k a warp */                                            \
    SHAPE(tall, 2, 8, 8, 1, 1, 4, 2, 1) /* 256 by 64 */
// The same for F16 and BF16, whose units are larger.
#define LINEAR_SHAPES_HALF(SHAPE)                                                                                      \
    SHAPE(one, 1, 1, 1, 1, 4, 4, 2, 2)                                                                                 \
    SHAPE(pair, 2, 1, 1, 1, 4, 4, 2, 1)                                                                                \
    SHAPE(thin, 1, 2, 1, 2, 4, 4, 2, 1)                                                                                \
    SHAPE(few, 2, 2, 1, 2, 2, 4, 2, 1)                                                                                 \
    SHAPE(some, 2, 4, 2, 2, 1, 4, 2, 1)                                                                                \
    SHAPE(deep, 2, 4, 2, 4, 1, 4, 2, 1)                                                                                \
    SHAPE(tall, 2, 4, 4, 2, 1, 4, 2, 1)
#endif
