// linear_q8.cu - linear.cuh for Q8_0 and Q6_K.
#include "cuda/linear.cuh"

#define LINEAR_T CT_Q8_0
#define LINEAR_NAME q8_0
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q8_0
#define LINEAR_NAME q8_0_wide
#define LINEAR_WIDE true
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q6_K
#define LINEAR_NAME q6_k
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
