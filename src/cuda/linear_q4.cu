// linear_q4.cu - linear.cuh for Q4_0 and Q4_1.
#include "cuda/linear.cuh"

#define LINEAR_T CT_Q4_0
#define LINEAR_NAME q4_0
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q4_0
#define LINEAR_NAME q4_0_wide
#define LINEAR_WIDE true
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q4_1
#define LINEAR_NAME q4_1
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q4_1
#define LINEAR_NAME q4_1_wide
#define LINEAR_WIDE true
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
