// diff.h - what the kinds of comparison of `tl diff` are called by.
#ifndef CLI_DIFF_H
#define CLI_DIFF_H
#include "inside.h"

// diff_tensors.c: weights and metadata of two files, given by name or path. threads 0: one for each core. `all`: also lists
// the tensors that are the same. Returns the exit status: 0 also where the files differ.
int diff_tensors(const char *a, const char *b, int threads, bool all, bool json);

// diff_values.c: what two models make of a text. inside: the text, patches and settings of both. NULL program, isa: as usual.
typedef struct diff_values_args {
    inside_args inside;
    const char *model_a, *model_b; // b: or a folder of .npy files
    const char *program_a, *program_b, *isa_a, *isa_b;
    double limit;                  // NMSE beyond which a value diverges
    bool all;                      // also lists the values that are the same
} diff_values_args;
int diff_values(const diff_values_args *args);
#endif
