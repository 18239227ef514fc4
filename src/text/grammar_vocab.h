// grammar_vocab.h - the trie of token bytes that masks are made with.
#ifndef TL_TEXT_GRAMMAR_VOCAB_H
#define TL_TEXT_GRAMMAR_VOCAB_H
#include "text/grammar.h"

typedef struct trie_node { // nodes are in preorder
    uint32_t next;         // the first node after this one's subtree
    uint32_t first, n;     // tokens that end here: by_text[first .. first + n)
    uint16_t depth;        // bytes up to here
    unsigned char byte;
} trie_node;

struct grammar_vocab {
    int32_t n;             // tokens
    char *bytes;           // of all tokens, by id
    size_t *start;         // n + 1
    bool *is_end;
    int32_t *by_text;      // ids of tokens with text, in order of their bytes
    VEC(trie_node) nodes;
    size_t max_len;
};
#endif
