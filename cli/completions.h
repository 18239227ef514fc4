// completions.h - `tl generate --n`: completions of one prompt, side by side.
#ifndef CLI_COMPLETIONS_H
#define CLI_COMPLETIONS_H
#include "common.h"

typedef struct completions_args {
    const model_args *model;
    const sampling_args *sampling;   // its seed is known
    const arg_list *stops;
    tl_constraint *constraint;       // may be NULL
    bool by_token, ignore_end, json;
    double max_seconds;
    int64_t most;
    int n, parallel;
    volatile int *cancel;
} completions_args;
// The prompt is computed once; completion i draws what it would draw alone. Returns the exit status.
int completions_generate(const completions_args *a, opened *o, const int32_t *ids, size_t n);
#endif
