// logprobs.h - the log-probabilities of a row of logits, before any sampler: the K best, and one that was chosen.
#ifndef CLI_LOGPROBS_H
#define CLI_LOGPROBS_H
#include "common.h"

enum { LOGPROBS_MOST = 100 };
// {"id", "token", "logprob", "top": [{"id", "token", "logprob"}]}; NULL without memory.
json_t *logprobs_json(const tl_model *m, const float *logits, int64_t n, int32_t id, int k);
#endif
