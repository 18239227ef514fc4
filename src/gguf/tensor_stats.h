// tensor_stats.h - what can be seen of a tensor's stored values at near memory speed: non-finite values, rows of zeros, the
// largest scale, and mean and size of some rows' values.
#ifndef TL_TENSOR_STATS_H
#define TL_TENSOR_STATS_H
#include "gguf/gguf.h"
#include "gguf/quant.h"

typedef struct tensor_stats {
    quant_bad bad;               // count 0: all values are finite
    int64_t bad_blocks;          // blocks (values of float types) that are not
    int64_t zero_rows, zero_row; // rows that are 0 throughout, and the first
    // The largest finite |scale| or |min| of a block (|value| of float types), and where.
    float largest;
    int64_t largest_row, largest_block;
    // Of the sampled rows' finite values.
    int64_t sampled;
    double sum, squares;
    float low, high;
    double scale_sum;            // of the sampled blocks' |scale|; float types: of the |values|
    int64_t scales;
} tensor_stats;

int64_t tensor_rows(const gguf_tensor *t);            // all axes but the contiguous one
bool tensor_stats_known(tl_dtype t);                  // integers have none
// Rows [row0, row1); *out starts as {0} and may be added to, rows ascending.
void tensor_stats_add(const gguf_tensor *t, int64_t row0, int64_t row1, tensor_stats *out);
// Values of one row, for mean, rms, low and high; buf: at least t->ne[0] floats.
void tensor_stats_sample(const gguf_tensor *t, int64_t row, float *buf, tensor_stats *out);
void tensor_stats_merge(tensor_stats *to, const tensor_stats *from); // of other rows of the same tensor
double tensor_stats_rms(const tensor_stats *s);
double tensor_stats_mean_scale(const tensor_stats *s);

// Which part of the bad block is not finite: "scale", "min", "scale and min", or "values" of float types.
const char *tensor_bad_part(const gguf_tensor *t, const quant_bad *bad);

// Makes every non-finite value 0: float values one by one, of quantized tensors the whole block. The number of blocks (or
// values) changed.
int64_t quant_mend(tl_dtype t, void *data, int64_t rows, int64_t cols);
#endif
