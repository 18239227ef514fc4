// allow.h - rules of programs as constraints on the next token.
#ifndef TL_EVAL_ALLOW_H
#define TL_EVAL_ALLOW_H
#include "eval/eval.h"

typedef struct allow_vocab {
    void *ctx;
    int32_t n;
    const char *(*text)(void *ctx, int32_t id, size_t *n);
    bool (*is_end)(void *ctx, int32_t id);
} allow_vocab;

// Runs a program (text NULL: the file) that says Allowed(seq, tok) <- ..., over the relations Said(seq, pos, tok): what was
// said, Sequence(seq): 0, Piece(tok, text) and End(tok): the vocabulary. TL_E_PROGRAM.
tl_status allow_open(evaluator *ev, const char *file, const char *text, size_t n, const allow_vocab *v, tl_error *err);
// mask[(v->n + 63) / 64]: the tokens that Allowed(0, tok) has after these ids.
tl_status allow_mask(evaluator *ev, const allow_vocab *v, const int32_t *ids, size_t n, uint64_t *mask, tl_error *err);
#endif
