// linear_q5.cu - linear.cuh for Q5_0 and Q5_1.
#include "cuda/linear.cuh"

#define LINEAR_T CT_Q5_0
#define LINEAR_NAME q5_0
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q5_0
#define LINEAR_NAME q5_0_wide
#define LINEAR_WIDE true
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q5_1
#define LINEAR_NAME q5_1
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q5_1
#define LINEAR_NAME q5_1_wide
#define LINEAR_WIDE true
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
