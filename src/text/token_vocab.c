// token_vocab.c - from a token's text to its id.
#include "text/token_int.h"

bool index_init(hash_index *x, uint32_t n) { // n < 2^28
    x->number = 15;
    while (x->number < n) x->number = 2 * x->number + 1; // the largest number is not in use: no slot looks empty
    x->cap = n + n / 2 + 2;
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
        __builtin_prefetch(&t->text_at[id[i]]);
        __builtin_prefetch(&t->attr[id[i]]);
    }
    for (size_t i = 0; i < n; i++)
        if (id[i] >= 0) __builtin_prefetch(t->texts + t->text_at[id[i]]);
}

static void insert(tokenizer *t, int32_t id, uint64_t h) {
    str text = token_text(t, id);
    uint32_t *slot = &t->ids.slots[find_place(t, text.p, text.n, h)];
    if (*slot == (uint32_t)INDEX_EMPTY) *slot = index_slot(&t->ids, h, (uint32_t)id);
}

// Do the texts follow each other, each so many bytes after the one before? A file's do: their lengths are between.
static bool in_a_row(const str *tokens, int32_t n, uint32_t *gap) {
    uintptr_t first = (uintptr_t)tokens[0].p, end = first + tokens[0].n;
    *gap = 0;
    if (n > 1 && (uintptr_t)tokens[1].p >= end && (uintptr_t)tokens[1].p - end <= 64) *gap = (uint32_t)((uintptr_t)tokens[1].p - end);
    for (int32_t i = 1; i < n; end = (uintptr_t)tokens[i].p + tokens[i].n, i++)
        if ((uintptr_t)tokens[i].p != end + *gap) return false;
    return tokens[0].p && end - first < UINT32_MAX - *gap;
}

// Where the texts are, in 4 bytes each.
static tl_status texts_build(tokenizer *t, const str *tokens, tl_error *err) {
    size_t total = 1;
    for (int32_t i = 0; i < t->n; i++)
        if (!size_add(total, tokens[i].n, &total) || total > UINT32_MAX) return err_set(err, TL_E_LIMIT, "the tokens are too long");
    t->text_at = mem_alloc(((size_t)t->n + 1) * sizeof *t->text_at);
    bool row = in_a_row(tokens, t->n, &t->text_gap);
    if (!row) t->text_gap = 0, t->text_pool = mem_alloc(total);
    t->texts = row ? tokens[0].p : t->text_pool;
    if (!t->text_at || !t->texts) return err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
    t->text_at[0] = 0;
    for (int32_t i = 0; i < t->n; i++) {
        if (!row && tokens[i].n) memcpy(t->text_pool + t->text_at[i], tokens[i].p, tokens[i].n);
        t->text_at[i + 1] = t->text_at[i] + (uint32_t)tokens[i].n + t->text_gap;
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
            if (token_text(t, id).n) insert(t, id, hash[id - first]);
    }
    return TL_OK;
}
