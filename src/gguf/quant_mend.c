// quant_mend.c - zeros in place of what is not finite. A block of zero bytes decodes to zeros in every format: its scale is 0.
#include <math.h>

#include "gguf/tensor_stats.h"

int64_t quant_mend(tl_dtype t, void *data, int64_t rows, int64_t cols) {
    const dtype_info *info = &dtype_table[t];
    uint8_t *p = data;
    quant_bad bad;
    int64_t changed = 0, per_row = cols / info->block_values;
    size_t row_bytes = (size_t)per_row * info->block_bytes;
    for (int64_t r = 0; r < rows; r++) {
        if (!quant_find_nonfinite(t, p, r, r + 1, cols, &bad)) continue;
        for (int64_t b = bad.block; b < per_row; b++) {
            uint8_t *block = p + (size_t)r * row_bytes + (size_t)b * info->block_bytes;
            if (!quant_find_nonfinite(t, block, 0, 1, info->block_values, &bad)) continue;
            memset(block, 0, info->block_bytes);
            changed++;
        }
    }
    return changed;
}
