// bench.h - what `tl profile` takes from `tl bench`.
#ifndef CLI_BENCH_H
#define CLI_BENCH_H
#include "common.h"

enum { MAX_SEQUENCES = 256 };

// Sequence 0 gets n arbitrary tokens, the others are copies of it.
tl_status bench_fill(opened *o, int sequences, int64_t n, double *seconds, tl_error *err);
// n steps of one token for each sequence.
tl_status bench_decode(opened *o, int sequences, int64_t n, double *seconds, tl_error *err);
// Each statement of the program: time of a step, its share, and the rate of what one row reads there. NULL: *err says why.
json_t *bench_profile_rows(const opened *o, int64_t steps, int64_t rows, double bandwidth, tl_error *err);
// What a layer takes of a step of decoding, and how much of that is not the reading of its weights and cache at `bandwidth`, in
// microseconds; NULL: no layers are known, or *err says why.
json_t *bench_layer_time(const opened *o, int64_t steps, int64_t rows, double bandwidth, tl_error *err);
void bench_print_layer_time(const json_t *layer); // nothing for NULL
void bench_print_profile(const char *title, const json_t *rows, double bandwidth);
#endif
