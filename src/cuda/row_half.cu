// row_half.cu - row.cuh for F16 BF16.
#include "cuda/row.cuh"

ROW_KERNEL(CT_F16, f16, false)
ROW_KERNEL(CT_BF16, bf16, false)
