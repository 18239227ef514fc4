// stamp.h - what made a result: the call, the model, the program, the build, the seed. With it `tl replay` makes it again.
#ifndef CLI_STAMP_H
#define CLI_STAMP_H
#include "common.h"

// The call, before its options are parsed; argv outlives the program's work. What was read from stdin is kept too.
void stamp_call(int argc, char **argv);
void stamp_stdin(const char *text, size_t n);
// The object "stamp" of a result. s may be NULL; ids: the tokens that the model was given. Reads the whole model for its hash.
json_t *stamp_json(const opened *o, const tl_sampler *s, int64_t seed, const int32_t *ids, size_t n);
#endif
