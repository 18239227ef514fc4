// token_trie.c - building the trie of token_trie.h.
#include "text/token_trie.h"

enum { FIRST_EDGES = 256, MOST_NODES = 1 << 24 };

trie *trie_new(void) {
    trie *t = mem_calloc(1, sizeof *t);
    if (!t) return NULL;
    t->edges = mem_calloc(FIRST_EDGES, sizeof *t->edges);
    t->mask = FIRST_EDGES - 1;
    if (t->edges && vec_push(&t->values, -1)) return t;
    trie_free(t);
    return NULL;
}

void trie_free(trie *t) {
    if (!t) return;
    mem_free(t->edges);
    vec_free(&t->values);
    mem_free(t);
}

static void edge_put(trie_edge *edges, uint32_t mask, trie_edge e) {
    uint32_t i = trie_edge_place(e.key) & mask;
    while (edges[i].key) i = (i + 1) & mask;
    edges[i] = e;
}

static bool grow(trie *t) {
    uint32_t mask = t->mask * 2 + 1;
    trie_edge *edges = mem_calloc((size_t)mask + 1, sizeof *edges);
    if (!edges) return false;
    for (uint32_t i = 0; i <= t->mask; i++)
        if (t->edges[i].key) edge_put(edges, mask, t->edges[i]);
    mem_free(t->edges);
    t->edges = edges, t->mask = mask;
    return true;
}

static uint32_t node_add(trie *t, uint32_t from, unsigned char c) {
    uint32_t node = (uint32_t)t->values.n;
    if (node >= MOST_NODES || !vec_push(&t->values, -1)) return 0;
    if (from == 0) {
        t->first[c] = node;
        return node;
    }
    if (t->n_edges + 1 > t->mask / 2 && !grow(t)) return 0;
    edge_put(t->edges, t->mask, (trie_edge){1 + (from << 8 | c), node});
    t->n_edges++;
    return node;
}

bool trie_add(trie *t, str key, int32_t value) {
    uint32_t node = 0;
    for (size_t i = 0; i < key.n; i++) {
        unsigned char c = (unsigned char)key.p[i];
        uint32_t next = trie_step(t, node, c);
        if (!next && !(next = node_add(t, node, c))) return false;
        node = next;
    }
    if (node && t->values.p[node] < 0) t->values.p[node] = value;
    return true;
}
