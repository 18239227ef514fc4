// survey.h - everything that is wrong with a GGUF file's structure, where gguf_open stops at the first mistake.
#ifndef TL_SURVEY_H
#define TL_SURVEY_H
#include "gguf/gguf.h"

typedef struct gguf_problem {
    tl_status code;      // TL_OK: worth knowing, but the file can be read
    str name;            // the key or tensor, as in the file; empty: neither
    int64_t offset;      // byte of the file, or -1
    const char *message; // without the path; valid during the call
} gguf_problem;

// Looks at one file (of a split model: the one that is named) and calls each(ctx, problem) for what it finds: mistakes in the
// order of the file, then tensors that share bytes or are there twice, then bytes that nothing uses. A file for which gguf_open
// fails has at least one problem with a code other than TL_OK, unless the reason lies in other files of a split model.
// Fails only if the file cannot be opened, or without memory.
tl_status gguf_survey(const char *path, void (*each)(void *ctx, const gguf_problem *problem), void *ctx, tl_error *err);
tl_status gguf_survey_memory(const void *data, size_t size, void (*each)(void *ctx, const gguf_problem *problem), void *ctx, tl_error *err);
#endif
