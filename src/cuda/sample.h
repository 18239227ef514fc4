// sample.h - argument blocks of the kernels in sample.cu: choosing tokens where the logits are.
#ifndef TL_CUDA_SAMPLE_H
#define TL_CUDA_SAMPLE_H
#include <stdbool.h>
#include <stdint.h>

// CHUNK: logits of a block. MOST: what top_k may leave. The chunks' best together are at most one chunk.
enum { SAMPLE_THREADS = 256, SAMPLE_CHUNK = 4096, SAMPLE_MOST = 256, SAMPLE_OPS = 4, SAMPLE_INLINE = 8 };
#ifndef __CUDACC__
static inline int64_t sample_chunks(int64_t n) { return (n + SAMPLE_CHUNK - 1) / SAMPLE_CHUNK; }
// Can the best k of n be chosen among?
static inline bool sample_fits(int64_t n, int32_t k) {
    return n > 0 && n < INT32_MAX && k > 0 && k <= SAMPLE_MOST && (k == 1 || k < n) && sample_chunks(n) * k <= SAMPLE_CHUNK;
}
#endif
typedef enum { SAMPLE_TOP_P, SAMPLE_MIN_P, SAMPLE_SCALE } sample_op; // MIN_P: value is log p; SCALE: 1 / temperature
typedef struct sample_edit { // of one logit
    int32_t id;
    union { float bias; int32_t count; } u; // bias NaN: never; count: how often it was said
} sample_edit;

typedef struct sample_row {
    const float *x;        // n logits
    double u;              // in [0, 1): what is drawn
    int32_t k;             // the k best go on; 1: the best, nothing is drawn
    int32_t n_ops, min_keep;
    int32_t op[SAMPLE_OPS];
    float value[SAMPLE_OPS];
    float repeat, frequency, presence;
    int32_t n_bias, n_said;
    int64_t mask, bias, said; // places in `data`; mask -1: none. Bits of ids that may be chosen; edits, of `said` one an id
} sample_row;

typedef struct sample_pick_args { // grid: chunks, rows
    const sample_row *rows; // NULL: they are in `row`, and there is no data
    sample_row row[SAMPLE_INLINE];
    const char *data;
    int64_t n;
    int32_t room, pad;       // entries of `found` for a chunk: the largest k
    unsigned long long *found; // [rows, chunks, room]
    unsigned *counter;       // [rows], zero between calls
    int32_t *ids, *ids_host; // [rows] the choice, -1: none; twice
} sample_pick_args;

typedef struct sample_feed_args { // tokens below 0 are choices: -1 - i is choice i
    int32_t *tok;
    int64_t rows;
    const int32_t *ids;
} sample_feed_args;
#endif
