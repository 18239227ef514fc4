// token_vocab.c - from a token's text to its id.
#include "text/token_int.h"

int32_t vocab_find(const tokenizer *t, const char *p, size_t n) {
    uint64_t h = text_hash(p, n);
    for (uint32_t i = (uint32_t)h & t->slot_mask;; i = (i + 1) & t->slot_mask) {
        vocab_slot slot = t->slots[i];
        if (slot.id < 0) return -1;
        if (slot.tag == h >> 32 && t->text[slot.id].n == n && memcmp(t->text[slot.id].p, p, n) == 0) return slot.id;
    }
}

void vocab_warm(const tokenizer *t, const str *texts, size_t n) {
    uint64_t hash[VOCAB_BATCH];
    int32_t id[VOCAB_BATCH];
    for (size_t i = 0; i < n; i++) {
        hash[i] = text_hash(texts[i].p, texts[i].n);
        __builtin_prefetch(&t->slots[hash[i] & t->slot_mask]);
    }
    for (size_t i = 0; i < n; i++) {
        id[i] = t->slots[hash[i] & t->slot_mask].id;
        if (id[i] < 0) continue;
        __builtin_prefetch(&t->text[id[i]]);
        __builtin_prefetch(&t->attr[id[i]]);
    }
    for (size_t i = 0; i < n; i++)
        if (id[i] >= 0) __builtin_prefetch(t->text[id[i]].p);
}

static void insert(tokenizer *t, int32_t id, uint64_t h) {
    uint32_t i = (uint32_t)h & t->slot_mask;
    while (t->slots[i].id >= 0 && !(t->slots[i].tag == h >> 32 && str_eq(t->text[t->slots[i].id], t->text[id])))
        i = (i + 1) & t->slot_mask;
    if (t->slots[i].id < 0) t->slots[i] = (vocab_slot){(uint32_t)(h >> 32), id};
}

// Of tokens that are spelled alike the first counts. An empty text is no token that text could become.
tl_status vocab_build(tokenizer *t, const token_source *s, tl_error *err) {
    if (s->n_tokens == 0) return err_set(err, TL_E_FORMAT, "the vocabulary (tokenizer.ggml.tokens) is empty");
    if (s->n_tokens > INT32_MAX / 8) return err_set(err, TL_E_LIMIT, "%zu tokens are too many", s->n_tokens);
    t->text = s->tokens;
    t->n = (int32_t)s->n_tokens;
    uint32_t cap = 16;
    while (cap < 2 * (uint32_t)t->n) cap *= 2;
    t->slot_mask = cap - 1;
    t->slots = mem_alloc(cap * sizeof *t->slots);
    t->attr = mem_calloc((size_t)t->n, sizeof *t->attr);
    if (!t->slots || !t->attr) return err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
    memset(t->slots, 0xff, cap * sizeof *t->slots);
    for (int32_t first = 0; first < t->n; first += VOCAB_BATCH) {
        uint64_t hash[VOCAB_BATCH];
        int32_t last = t->n - first < VOCAB_BATCH ? t->n : first + VOCAB_BATCH;
        for (int32_t id = first; id < last; id++) {
            str text = t->text[id];
            if (text.n > t->longest) t->longest = text.n;
            hash[id - first] = text_hash(text.p, text.n);
            __builtin_prefetch(&t->slots[hash[id - first] & t->slot_mask], 1);
        }
        for (int32_t id = first; id < last; id++)
            if (t->text[id].n) insert(t, id, hash[id - first]);
    }
    return TL_OK;
}
