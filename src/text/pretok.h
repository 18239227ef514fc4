// pretok.h - pre-tokenizers: how a byte-level BPE model cuts text into words before merging. The rules are data
// (pretok.def): a name, as tokenizer.ggml.pre gives it, and the patterns that are applied one after the other, each to
// the pieces that the one before left.
#ifndef TL_TEXT_PRETOK_H
#define TL_TEXT_PRETOK_H
#include "base/base.h"

enum { // properties that come with a name
    PRE_IGNORE_MERGES = 1,  // a word that is a token is taken whole
    PRE_ADD_BOS = 2,        // when the file does not say
    PRE_ADD_SEP = 4,        // when the file does not say
    PRE_RAW = 8,            // tokens spell text as UTF-8 and bytes as <0xXX>, not with the byte alphabet
    PRE_ESCAPE_SPACES = 16, // " " is spelled U+2581
    PRE_NEWLINES_WHOLE = 32, // a run of newlines that is a token is taken whole
    PRE_DROP_SPACES = 64    // white space parts words and is left out; text is put in lower case where the file asks for that
};

typedef struct pretok pretok; // compiled; immutable, may be shared by threads
// TL_E_UNSUPPORTED: no such name, or an empty one (the message lists the names); TL_E_MEMORY.
tl_status pretok_new(str name, pretok **out, tl_error *err);
void pretok_free(pretok *p); // NULL is fine
unsigned pretok_flags(const pretok *p);
const char *pretok_name(size_t i); // the i-th known name, NULL past the last

typedef struct pretok_work { // one thread's scratch; zero-initialise
    VEC(uint32_t) ends, next; // ends: the result
    void *match, *context, *stack;
} pretok_work;
void pretok_work_deinit(pretok_work *w);
// Cuts text (n < 2^31 bytes of UTF-8; surrogates are tolerated) into words: w->ends holds where each ends, ascending,
// the last one n. TL_E_LIMIT: a pattern ran out of stack; TL_E_MEMORY.
tl_status pretok_split(const pretok *p, pretok_work *w, const char *text, size_t n, tl_error *err);
#endif
