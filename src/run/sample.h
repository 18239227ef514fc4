// sample.h - choosing a token from logits: what the public tl_sampler_* functions and the samplers of programs share.
// All of it treats NaN as absent, and breaks ties in favour of the lower id.
#ifndef TL_RUN_SAMPLE_H
#define TL_RUN_SAMPLE_H
#include "base/base.h"

typedef struct sample_item {
    float logit;
    int32_t id;
} sample_item;

// The id of the largest of n logits; -1 when all are NaN (or n is 0).
int32_t sample_argmax(const float *logits, int64_t n);
// The k largest, in descending order, into out[k]. Returns how many there are: less than k only if n is, or NaNs are.
// Reads the logits twice at most and sorts few more than k. TL_E_MEMORY.
tl_status sample_top_k(const float *logits, int64_t n, int64_t k, sample_item *out, int64_t *found, tl_error *err);
// log(sum(exp(logits))) in double, for the probabilities of print_top_k; -inf when all are NaN or -inf.
double sample_log_sum(const float *logits, int64_t n);
#endif
