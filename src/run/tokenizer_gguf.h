// tokenizer_gguf.h - the tokenizer that a GGUF file describes (its tokenizer.ggml.* keys).
#ifndef TL_RUN_TOKENIZER_GGUF_H
#define TL_RUN_TOKENIZER_GGUF_H
#include "gguf/gguf.h"
#include "text/token.h"

// `pre` replaces tokenizer.ggml.pre (NULL: the file's own). The tokenizer borrows from g, which must outlive it.
// TL_E_UNSUPPORTED: no tokenizer in the file, or one that is unknown; TL_E_FORMAT: keys that do not fit together;
// TL_E_MEMORY.
tl_status tokenizer_from_gguf(const gguf *g, const char *pre, tokenizer **out, tl_error *err);
#endif
