// diff.h - what the kinds of comparison of `tl diff` are called by.
#ifndef CLI_DIFF_H
#define CLI_DIFF_H
#include "common.h"

// diff_tensors.c: weights and metadata of two files, given by name or path. threads 0: one for each core. `all`: also lists
// the tensors that are the same. Returns the exit status: 0 also where the files differ.
int diff_tensors(const char *a, const char *b, int threads, bool all, bool json);
#endif
