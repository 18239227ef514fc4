// linear_half.cu - linear.cuh for F16 and BF16.
#include "cuda/linear.cuh"

#define LINEAR_T CT_F16
#define LINEAR_NAME f16
#define LINEAR_WIDE false
LINEAR_SHAPES_HALF(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_BF16
#define LINEAR_NAME bf16
#define LINEAR_WIDE false
LINEAR_SHAPES_HALF(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
