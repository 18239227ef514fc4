// grammar.h - constraints on generated text: GBNF grammars as masks over a vocabulary.
//
// A grammar is compiled to a pushdown automaton over bytes, so that tokens may end inside a UTF-8 character. A matcher joins
// it with a vocabulary; its states are plain numbers (a fork of a sequence copies one), made as they are reached and kept,
// together with their transitions and token masks: a state that comes again costs one look-up.
#ifndef TL_TEXT_GRAMMAR_H
#define TL_TEXT_GRAMMAR_H
#include "base/base.h"

typedef struct grammar grammar;             // immutable; may be shared by threads
typedef struct grammar_vocab grammar_vocab; // a trie over token bytes; immutable; may be shared by threads
typedef struct grammar_matcher grammar_matcher; // one thread at a time; serves any number of sequences

// Parses GBNF text (UTF-8, at most 4 MiB) whose start symbol is `root`. TL_E_FORMAT with line and column: syntax, undefined
// rules, left recursion. TL_E_UNSUPPORTED: token references (<[id]>). TL_E_LIMIT: size, nesting, repetition.
tl_status grammar_parse(str gbnf, const char *root, grammar **out, tl_error *err);
void grammar_free(grammar *g); // NULL is fine

// n tokens; token_text gives the bytes that a token adds to the output (*len = 0: none, such as control tokens, which a
// grammar never allows). `ends` are the tokens that end a reply: allowed where the text may end. Bytes are copied.
typedef const char *grammar_token_fn(void *ctx, int32_t id, size_t *len);
tl_status grammar_vocab_new(int32_t n, grammar_token_fn *token_text, void *ctx, const int32_t *ends, size_t n_ends,
                            grammar_vocab **out, tl_error *err);
void grammar_vocab_free(grammar_vocab *v);

// `g` and `v` must outlive the matcher.
tl_status grammar_matcher_new(const grammar *g, const grammar_vocab *v, grammar_matcher **out, tl_error *err);
void grammar_matcher_free(grammar_matcher *m);

enum { GRAMMAR_DEAD = 0, GRAMMAR_START = 1 }; // states; a dead one allows nothing
// Bit id % 64 of word id / 64 is set where token id may come next; (n + 63) / 64 words, valid until the next call. When no
// bit is set the sequence cannot go on (no token of the vocabulary fits). TL_E_LIMIT, TL_E_MEMORY.
tl_status grammar_mask(grammar_matcher *m, uint32_t state, const uint64_t **mask, tl_error *err);
// The state after a token (after an end token: GRAMMAR_DEAD) or after bytes; GRAMMAR_DEAD where they do not fit.
tl_status grammar_next(grammar_matcher *m, uint32_t state, int32_t token, uint32_t *next, tl_error *err);
tl_status grammar_next_bytes(grammar_matcher *m, uint32_t state, str bytes, uint32_t *next, tl_error *err);
bool grammar_may_end(const grammar_matcher *m, uint32_t state); // the text so far is whole
// Writes up to `cap` bytes that must come next, because nothing else can (jump-ahead); stops where the text may end.
tl_status grammar_forced(grammar_matcher *m, uint32_t state, char *buf, size_t cap, size_t *n, tl_error *err);
enum { GRAMMAR_MOST_REST = 1 << 20 };
// Appends the shortest text that makes the text so far whole; nothing where it is. Every state but GRAMMAR_DEAD has one.
// TL_E_LIMIT: over GRAMMAR_MOST_REST bytes.
tl_status grammar_shortest(grammar_matcher *m, uint32_t state, sbuf *out, tl_error *err);
#endif
