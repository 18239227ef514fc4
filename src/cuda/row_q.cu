// row_q.cu - row.cuh for Q4_0 Q4_1 Q5_0 Q5_1 Q8_0.
#include "cuda/row.cuh"

ROW_KERNEL(CT_Q4_0, q4_0, false)
ROW_KERNEL(CT_Q4_0, q4_0_wide, true)
ROW_KERNEL(CT_Q4_1, q4_1, false)
ROW_KERNEL(CT_Q4_1, q4_1_wide, true)
ROW_KERNEL(CT_Q5_0, q5_0, false)
ROW_KERNEL(CT_Q5_0, q5_0_wide, true)
ROW_KERNEL(CT_Q5_1, q5_1, false)
ROW_KERNEL(CT_Q5_1, q5_1_wide, true)
ROW_KERNEL(CT_Q8_0, q8_0, false)
ROW_KERNEL(CT_Q8_0, q8_0_wide, true)
