// token_trie.h - a trie over bytes, kept as one hash table of edges: quick to build, one probe a step.
#ifndef TL_TEXT_TOKEN_TRIE_H
#define TL_TEXT_TOKEN_TRIE_H
#include "base/base.h"

typedef struct trie_edge {
    uint32_t key; // 1 + (node << 8 | byte); 0: empty
    uint32_t node;
} trie_edge;

typedef struct trie {
    trie_edge *edges;
    uint32_t mask, n_edges;
    VEC(int32_t) values;  // of each node, -1: none; node 0 is the root
    uint32_t first[256];  // children of the root, 0: none
} trie;

trie *trie_new(void);  // NULL: out of memory
void trie_free(trie *t); // NULL is fine
// Adds a key of at least one byte; a key added twice keeps its first value. false: out of memory, or over 2^24 nodes.
bool trie_add(trie *t, str key, int32_t value);

static inline uint32_t trie_edge_place(uint32_t key) { return key * 0x9e3779b1u ^ key >> 15; }
// The child of `node` by `c`, or 0.
static inline uint32_t trie_step(const trie *t, uint32_t node, unsigned char c) {
    if (node == 0) return t->first[c];
    uint32_t key = 1 + (node << 8 | c);
    for (uint32_t i = trie_edge_place(key) & t->mask;; i = (i + 1) & t->mask) {
        if (t->edges[i].key == key) return t->edges[i].node;
        if (t->edges[i].key == 0) return 0;
    }
}
static inline int32_t trie_value(const trie *t, uint32_t node) { return t->values.p[node]; }
#endif
