// linear_k4.cu - linear.cuh for Q4_K and Q5_K.
#include "cuda/linear.cuh"

#define LINEAR_T CT_Q4_K
#define LINEAR_NAME q4_k
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE

#define LINEAR_T CT_Q5_K
#define LINEAR_NAME q5_k
#define LINEAR_WIDE false
LINEAR_SHAPES(LINEAR_SHAPE)
#undef LINEAR_T
#undef LINEAR_NAME
#undef LINEAR_WIDE
