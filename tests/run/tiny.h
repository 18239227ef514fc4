// tiny.h - a small random model in a GGUF file, for tests of sessions: any weight format, any of three architectures.
#ifndef TESTS_RUN_TINY_H
#define TESTS_RUN_TINY_H
#include "gguf/writer.h"

typedef struct tiny {
    const char *arch;    // "llama", "qwen2" or "gemma3"
    tl_dtype type;       // of the matrices
    bool tied;           // no output.weight
    int64_t bad_output;  // so many blocks of output.weight hold NaN
} tiny;
enum { TINY_VOCAB = 96, TINY_WIDTH = 256, TINY_LAYERS = 3 };
// Writes the model to `path`; aborts where that fails.
void tiny_write(const char *path, const tiny *t);
#endif
