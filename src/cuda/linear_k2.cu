// linear_k2.cu - linear.cuh for Q2_K and Q3_K.
#include "cuda/linear.cuh"

#define LINEAR_T CT_Q2_K
#define LINEAR_NAME q2_k
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q3_K
#define LINEAR_NAME q3_k
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
