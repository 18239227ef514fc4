// token_merge.c - the merging that BPE and SPM share: of all adjacent pairs that may merge, the best one does, the leftmost
// among equals, until none is left. Short words scan for the best pair; long ones keep a heap of candidates, so that a
// megabyte without a border costs n log n.
#include "text/token_int.h"

enum { SCAN_MOST = 24 }; // symbols

static uint64_t pair_hash(int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 29) * 0xd6e8feb86659fd93u;
    return h ^ h >> 32;
}

// The place of the pair, or the empty one where it would be.
static uint32_t pair_place(const tokenizer *t, int32_t left, int32_t right, uint64_t h) {
    const hash_index *x = &t->ranks;
    for (uint32_t i = index_place(x, h);; i = index_next(x, i)) {
        uint32_t slot = x->slots[i];
        if (slot == (uint32_t)INDEX_EMPTY) return i;
        if (!index_may_be(x, slot, h)) continue;
        const merge_pair *p = &t->pairs[slot & x->number];
        if (p->left == left && p->right == right) return i;
    }
}

static bool bpe_pair(const tokenizer *t, const merge_sym *l, const merge_sym *r, uint32_t *priority, int32_t *merged) {
    if (l->id < 0 || r->id < 0) return false;
    uint32_t slot = t->ranks.slots[pair_place(t, l->id, r->id, pair_hash(l->id, r->id))];
    if (slot == (uint32_t)INDEX_EMPTY) return false;
    *priority = slot & t->ranks.number;
    *merged = t->pairs[*priority].merged;
    return true;
}

void pair_warm(const tokenizer *t, uint32_t rank) {
    const merge_pair *p = &t->pairs[rank];
    __builtin_prefetch(&t->ranks.slots[index_place(&t->ranks, pair_hash(p->left, p->right))], 1);
}

void pair_add(tokenizer *t, uint32_t rank) {
    const merge_pair *p = &t->pairs[rank];
    uint64_t h = pair_hash(p->left, p->right);
    uint32_t *slot = &t->ranks.slots[pair_place(t, p->left, p->right, h)];
    if (*slot == (uint32_t)INDEX_EMPTY) *slot = index_slot(&t->ranks, h, rank);
}

// Higher scores first: a float's bits in descending order.
static uint32_t score_priority(float score) {
    float f = score + 0.0f; // -0 equals 0
    uint32_t u;
    memcpy(&u, &f, 4);
    return ~(u >> 31 ? ~u : u | 0x80000000u);
}

static bool find_pair(const encoder *e, const char *text, const merge_sym *l, const merge_sym *r, uint32_t *priority,
                      int32_t *merged) {
    if (e->t->kind == MODEL_BPE) return bpe_pair(e->t, l, r, priority, merged);
    *merged = vocab_find_text(e->t, text + l->start, r->end - l->start);
    if (*merged < 0) return false;
    *priority = score_priority(vocab_score(e->t, *merged));
    return true;
}

static void scan_pair(const encoder *e, const char *text, const merge_sym *s, size_t i, uint64_t *key, int32_t *merged) {
    uint32_t priority;
    key[i] = find_pair(e, text, &s[i], &s[i + 1], &priority, &merged[i]) ? priority : UINT64_MAX;
}

static size_t merge_scanning(const encoder *e, const char *text, merge_sym *s, size_t n) {
    uint64_t key[SCAN_MOST]; // of the pair (i, i + 1)
    int32_t merged[SCAN_MOST];
    for (size_t i = 0; i + 1 < n; i++) scan_pair(e, text, s, i, key, merged);
    for (;;) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (key[i] < key[best]) best = i;
        if (n < 2 || key[best] == UINT64_MAX) return n;
        s[best].id = merged[best];
        s[best].end = s[best + 1].end;
        size_t after = n - best - 2; // symbols behind the pair
        memmove(&s[best + 1], &s[best + 2], after * sizeof *s);
        if (after) {
            memmove(&key[best + 1], &key[best + 2], (after - 1) * sizeof *key);
            memmove(&merged[best + 1], &merged[best + 2], (after - 1) * sizeof *merged);
        }
        n--;
        if (best > 0) scan_pair(e, text, s, best - 1, key, merged);
        if (best + 1 < n) scan_pair(e, text, s, best, key, merged);
    }
}

// ---- heap, smallest key at the top ---------------------------------------------------------------
static void sift_down(merge_item *h, size_t n, size_t i) {
    merge_item x = h[i];
    for (size_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && h[c + 1].key < h[c].key) c++;
        if (x.key <= h[c].key) break;
        h[i] = h[c];
    }
    h[i] = x;
}

static bool push_pair(encoder *e, const char *text, int32_t left, int32_t right) {
    if (left < 0 || right < 0) return true;
    const merge_sym *l = &e->syms.p[left], *r = &e->syms.p[right];
    uint32_t priority;
    int32_t merged;
    if (!find_pair(e, text, l, r, &priority, &merged)) return true;
    merge_item x = {(uint64_t)priority << 32 | (uint32_t)left, merged, r->end - l->start};
    if (!vec_push(&e->heap, x)) return false;
    merge_item *h = e->heap.p;
    size_t i = e->heap.n - 1;
    for (; i > 0 && x.key < h[(i - 1) / 2].key; i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = x;
    return true;
}

static merge_item pop(encoder *e) {
    merge_item top = e->heap.p[0];
    e->heap.p[0] = e->heap.p[--e->heap.n];
    if (e->heap.n) sift_down(e->heap.p, e->heap.n, 0);
    return top;
}

static size_t compact(merge_sym *s) {
    size_t n = 0;
    for (int32_t i = 0; i >= 0;) {
        int32_t next = s[i].next;
        s[n++] = s[i];
        i = next;
    }
    return n;
}

// A merged right symbol is marked by end = start; an item is out of date when its two symbols no longer span its size.
static bool merge_heap(encoder *e, const char *text, size_t *n) {
    merge_sym *s = e->syms.p;
    for (size_t i = 0; i < *n; i++) s[i].prev = (int32_t)i - 1, s[i].next = i + 1 < *n ? (int32_t)i + 1 : -1;
    e->heap.n = 0;
    for (size_t i = 0; i + 1 < *n; i++)
        if (!push_pair(e, text, (int32_t)i, (int32_t)i + 1)) return false;
    while (e->heap.n) {
        merge_item x = pop(e);
        int32_t left = (int32_t)(uint32_t)x.key, right = s[left].next;
        if (s[left].end == s[left].start || right < 0 || s[right].end - s[left].start != x.size) continue;
        s[left].id = x.merged;
        s[left].end = s[right].end;
        s[right].end = s[right].start;
        s[left].next = s[right].next;
        if (s[right].next >= 0) s[s[right].next].prev = left;
        if (!push_pair(e, text, s[left].prev, left) || !push_pair(e, text, left, s[left].next)) return false;
    }
    *n = compact(s);
    return true;
}

// A symbol that is no token becomes the tokens of its bytes; without those, the unknown token once. Byte-level BPE has no
// unknown token: what its alphabet lacks (a few control characters, in some vocabularies) is left out, as the reference does.
static tl_status emit(encoder *e, const char *text, const merge_sym *s) {
    const tokenizer *t = e->t;
    if (s->id >= 0 && s->id < t->n) return vec_push(e->out, s->id) ? TL_OK : err_set(e->err, TL_E_MEMORY, "out of memory");
    bool any = false;
    for (uint32_t i = s->start; i < s->end; i++) {
        int32_t id = t->byte_id[(unsigned char)text[i]];
        if (id < 0) continue;
        any = true;
        if (!vec_push(e->out, id)) return err_set(e->err, TL_E_MEMORY, "out of memory");
    }
    if (any || t->kind == MODEL_BPE) return TL_OK;
    if (t->unk < 0) {
        char shown[40];
        return err_set(e->err, TL_E_FORMAT, "the vocabulary has no token for '%s': neither bytes nor an unknown token",
                       str_escape(shown, sizeof shown, (str){text + s->start, s->end - s->start}));
    }
    return vec_push(e->out, t->unk) ? TL_OK : err_set(e->err, TL_E_MEMORY, "out of memory");
}

tl_status merge_word(encoder *e, const char *text) {
    size_t n = e->syms.n;
    if (n <= SCAN_MOST) n = merge_scanning(e, text, e->syms.p, n);
    else if (!merge_heap(e, text, &n)) return err_set(e->err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) TL_TRY(emit(e, text, &e->syms.p[i]));
    return TL_OK;
}
