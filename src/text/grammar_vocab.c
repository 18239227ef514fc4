// grammar_vocab.c - builds the trie over a vocabulary.
#include "text/grammar_vocab.h"

enum { MAX_TOKEN = 60000 }; // bytes; longer ones are never allowed

typedef struct entry {
    uint64_t head; // the first eight bytes, the first one highest: decides nearly every comparison
    const char *p;
    size_t n;
    int32_t id;
} entry;

static int by_bytes(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->head != y->head) return x->head < y->head ? -1 : 1;
    int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    if (c) return c;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint64_t head_of(const char *p, size_t n) {
    uint64_t h = 0;
    for (size_t i = 0; i < 8; i++) h = h << 8 | (i < n ? (unsigned char)p[i] : 0);
    return h;
}

static bool copy_bytes(grammar_vocab *v, grammar_token_fn *text, void *ctx) {
    size_t total = 0, len;
    for (int32_t i = 0; i < v->n; i++) {
        text(ctx, i, &len);
        v->start[i] = total;
        if (!size_add(total, len, &total)) return false;
    }
    v->start[v->n] = total;
    v->bytes = mem_alloc(total);
    if (!v->bytes) return false;
    for (int32_t i = 0; i < v->n; i++) {
        const char *p = text(ctx, i, &len);
        if (len != v->start[i + 1] - v->start[i]) return false; // the callback is not a function of the id
        if (len) memcpy(v->bytes + v->start[i], p, len);
    }
    return true;
}

// Adds the nodes of one more text, which sorts after `last`; open[d] is the current node of depth d.
static bool add_text(grammar_vocab *v, const entry *e, const entry *last, uint32_t *open, uint32_t at) {
    size_t same = 0, most = last ? (last->n < e->n ? last->n : e->n) : 0;
    while (same < most && last->p[same] == e->p[same]) same++;
    for (size_t d = same + 1; last && d <= last->n; d++) v->nodes.p[open[d]].next = (uint32_t)v->nodes.n;
    for (size_t d = same + 1; d <= e->n; d++) {
        open[d] = (uint32_t)v->nodes.n;
        trie_node node = {.first = at, .depth = (uint16_t)d, .byte = (unsigned char)e->p[d - 1]};
        if (!vec_push(&v->nodes, node)) return false;
    }
    v->nodes.p[open[e->n]].n++;
    return true;
}

static bool build(grammar_vocab *v, entry *e) {
    size_t n = 0;
    for (int32_t i = 0; i < v->n; i++) {
        size_t len = v->start[i + 1] - v->start[i];
        if (len == 0 || len > MAX_TOKEN || v->is_end[i]) continue;
        const char *p = v->bytes + v->start[i];
        e[n++] = (entry){head_of(p, len), p, len, i};
        if (len > v->max_len) v->max_len = len;
    }
    qsort(e, n, sizeof *e, by_bytes);
    uint32_t *open = mem_calloc(v->max_len + 1, sizeof *open);
    bool ok = open != NULL;
    for (size_t i = 0; i < n && ok; i++) {
        v->by_text[i] = e[i].id;
        ok = add_text(v, &e[i], i ? &e[i - 1] : NULL, open, (uint32_t)i);
    }
    for (size_t d = 1; n > 0 && ok && d <= e[n - 1].n; d++) v->nodes.p[open[d]].next = (uint32_t)v->nodes.n;
    mem_free(open);
    return ok;
}

tl_status grammar_vocab_new(int32_t n, grammar_token_fn *text, void *ctx, const int32_t *ends, size_t n_ends,
                            grammar_vocab **out, tl_error *err) {
    *out = NULL;
    if (n <= 0) return err_set(err, TL_E_USAGE, "the vocabulary is empty");
    grammar_vocab *v = mem_calloc(1, sizeof *v);
    entry *e = mem_calloc((size_t)n, sizeof *e);
    bool ok = v && e;
    if (ok) {
        v->n = n;
        v->start = mem_calloc((size_t)n + 1, sizeof *v->start);
        v->is_end = mem_calloc((size_t)n, sizeof *v->is_end);
        v->by_text = mem_calloc((size_t)n, sizeof *v->by_text);
        ok = v->start && v->is_end && v->by_text;
    }
    for (size_t i = 0; ok && i < n_ends; i++)
        if (ends[i] >= 0 && ends[i] < n) v->is_end[ends[i]] = true;
    ok = ok && copy_bytes(v, text, ctx) && build(v, e);
    mem_free(e);
    if (ok) return *out = v, TL_OK;
    grammar_vocab_free(v);
    return err_set(err, TL_E_MEMORY, "out of memory");
}

void grammar_vocab_free(grammar_vocab *v) {
    if (!v) return;
    mem_free(v->bytes);
    mem_free(v->start);
    mem_free(v->is_end);
    mem_free(v->by_text);
    vec_free(&v->nodes);
    mem_free(v);
}
