// output.h - text on its way out: held back while it may still be the beginning of a stop string.
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H
#include "args.h"

typedef struct text_output { // zero, then the first group set by the caller
    const arg_list *stops; // may be NULL
    void (*show)(void *ctx, const char *text, size_t n);
    void *ctx;

    char *held;
    size_t n_held, cap;
    const char *stopped; // the stop string that came
} text_output;
// False: out of memory. Once a stop string has come nothing more is shown.
bool output_put(text_output *o, const char *text, size_t n);
void output_flush(text_output *o); // shows what was held back
void output_free(text_output *o);
#endif
