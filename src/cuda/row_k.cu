// row_k.cu - row.cuh for Q2_K Q3_K Q4_K Q5_K Q6_K.
#include "cuda/row.cuh"

ROW_KERNEL(CT_Q2_K, q2_k, false)
ROW_KERNEL(CT_Q3_K, q3_k, false)
ROW_KERNEL(CT_Q4_K, q4_k, false)
ROW_KERNEL(CT_Q5_K, q5_k, false)
ROW_KERNEL(CT_Q6_K, q6_k, false)
