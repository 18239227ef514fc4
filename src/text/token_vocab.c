// token_vocab.c - from a token's text to its id.
#include "text/token_int.h"

bool index_init(hash_index *x, uint32_t n) { // n < 2^28
    x->number = 15;
    while (x->number < n) x->number = 2 * x->number + 1; // the largest number is not in use: no slot looks empty
    x->cap = 2 * n + 2;
    x->slots = mem_alloc(x->cap * sizeof *x->slots);
    if (x->slots) memset(x->slots, 0xff, x->cap * sizeof *x->slots);
    return x->slots != NULL;
}

// The place of the text, or the empty one where it would be.
static uint32_t find_place(const tokenizer *t, const char *p, size_t n, uint64_t h) {
    const hash_index *x = &t->ids;
    for (uint32_t i = index_place(x, h);; i = index_next(x, i)) {
        uint32_t slot = x->slots[i];
        if (slot == (uint32_t)INDEX_EMPTY) return i;
        if (!index_may_be(x, slot, h)) continue;
        str text = token_text(t, (int32_t)(slot & x->number));
        if (text.n == n && memcmp(text.p, p, n) == 0) return i;
    }
}

int32_t vocab_find(const tokenizer *t, const char *p, size_t n) {
    uint32_t slot = t->ids.slots[find_place(t, p, n, text_hash(p, n))];
    return slot == (uint32_t)INDEX_EMPTY ? -1 : (int32_t)(slot & t->ids.number);
}

void vocab_warm(const tokenizer *t, const str *texts, size_t n) {
    uint64_t hash[VOCAB_BATCH];
    int32_t id[VOCAB_BATCH];
    for (size_t i = 0; i < n; i++) {
        hash[i] = text_hash(texts[i].p, texts[i].n);
        __builtin_prefetch(&t->ids.slots[index_place(&t->ids, hash[i])]);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t slot = t->ids.slots[index_place(&t->ids, hash[i])];
        id[i] = slot == (uint32_t)INDEX_EMPTY ? -1 : (int32_t)(slot & t->ids.number);
        if (id[i] < 0) continue;
        __builtin_prefetch(&t->text[id[i]]);
        __builtin_prefetch(&t->attr[id[i]]);
    }
    for (size_t i = 0; i < n; i++)
        if (id[i] >= 0) __builtin_prefetch(t->texts + t->text[id[i]].at);
}

static void insert(tokenizer *t, int32_t id, uint64_t h) {
    str text = token_text(t, id);
    uint32_t *slot = &t->ids.slots[find_place(t, text.p, text.n, h)];
    if (*slot == (uint32_t)INDEX_EMPTY) *slot = index_slot(&t->ids, h, (uint32_t)id);
}

// Where the texts are, in 8 bytes each. A file's lie in a row; what is spread over more than 4 GiB is copied.
static tl_status texts_build(tokenizer *t, const str *tokens, tl_error *err) {
    uintptr_t low = UINTPTR_MAX, high = 0;
    size_t total = 1;
    for (int32_t i = 0; i < t->n; i++) {
        if (!tokens[i].n) continue;
        uintptr_t p = (uintptr_t)tokens[i].p, end = p + tokens[i].n;
        if (p < low) low = p, t->texts = tokens[i].p;
        if (end > high) high = end;
        if (!size_add(total, tokens[i].n, &total) || total > UINT32_MAX) return err_set(err, TL_E_LIMIT, "the tokens are too long");
    }
    t->text = mem_alloc((size_t)t->n * sizeof *t->text);
    bool far = low < high && high - low > UINT32_MAX;
    if (far) t->texts = t->text_pool = mem_alloc(total);
    if (!t->text || (far && !t->text_pool)) return err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
    if (!t->texts) t->texts = "";
    uint32_t at = 0;
    for (int32_t i = 0; i < t->n; i++) {
        uint32_t n = (uint32_t)tokens[i].n;
        if (far && n) memcpy(t->text_pool + at, tokens[i].p, n);
        t->text[i] = (text_ref){far || !n ? at : (uint32_t)((uintptr_t)tokens[i].p - low), n};
        if (far) at += n;
    }
    return TL_OK;
}

// Of tokens that are spelled alike the first counts. An empty text is no token that text could become.
tl_status vocab_build(tokenizer *t, const token_source *s, tl_error *err) {
    if (s->n_tokens == 0) return err_set(err, TL_E_FORMAT, "the vocabulary (tokenizer.ggml.tokens) is empty");
    if (s->n_tokens > INT32_MAX / 8) return err_set(err, TL_E_LIMIT, "%zu tokens are too many", s->n_tokens);
    t->n = (int32_t)s->n_tokens;
    TL_TRY(texts_build(t, s->tokens, err));
    t->attr = mem_calloc((size_t)t->n, sizeof *t->attr);
    if (!t->attr || !index_init(&t->ids, (uint32_t)t->n)) return err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
    for (int32_t first = 0; first < t->n; first += VOCAB_BATCH) {
        uint64_t hash[VOCAB_BATCH];
        int32_t last = t->n - first < VOCAB_BATCH ? t->n : first + VOCAB_BATCH;
        for (int32_t id = first; id < last; id++) {
            str text = token_text(t, id);
            if (text.n > t->longest) t->longest = text.n;
            hash[id - first] = text_hash(text.p, text.n);
            __builtin_prefetch(&t->ids.slots[index_place(&t->ids, hash[id - first])], 1);
        }
        for (int32_t id = first; id < last; id++)
            if (t->text[id].n) insert(t, id, hash[id - first]);
    }
    return TL_OK;
}
