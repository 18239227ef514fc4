// intern.c - accounted memory, and the table that gives every distinct string one id.
#include "logic/relation.h"

void *logic_realloc(logic_mem *m, void *p, size_t old_bytes, size_t new_bytes) {
    if (new_bytes == 0) {
        mem_free(p);
        m->used -= p ? old_bytes : 0;
        return NULL;
    }
    size_t before = p ? old_bytes : 0;
    size_t after;
    if (!size_add(m->used - before, new_bytes, &after) || (m->limit && new_bytes > before && after > m->limit)) {
        m->status = TL_E_LIMIT;
        return NULL;
    }
    void *q = mem_realloc(p, new_bytes);
    if (!q) {
        m->status = TL_E_MEMORY;
        return NULL;
    }
    m->used = after;
    if (after > m->peak) m->peak = after;
    return q;
}

#define CHUNK ((size_t)1 << 16)
typedef struct chunk {
    struct chunk *next;
    size_t bytes; // of the whole allocation
    char data[];
} chunk;

struct interner {
    logic_mem *mem;
    chunk *chunks; // text of the strings, newest first
    char *at;
    size_t left;
    str *strs;
    size_t n, cap;
    uint32_t *slots; // id + 1; 0: free
    size_t slot_n;
    uint32_t *rank;
    size_t rank_cap, rank_n; // words allocated; ids ranked
};

interner *interner_new(logic_mem *m) {
    interner *in = logic_realloc(m, NULL, 0, sizeof *in);
    if (!in) return NULL;
    memset(in, 0, sizeof *in);
    in->mem = m;
    return in;
}

void interner_free(interner *in) {
    if (!in) return;
    logic_mem *m = in->mem;
    for (chunk *c = in->chunks, *next; c; c = next) {
        next = c->next;
        logic_realloc(m, c, c->bytes, 0);
    }
    logic_realloc(m, in->strs, in->cap * sizeof *in->strs, 0);
    logic_realloc(m, in->slots, in->slot_n * sizeof *in->slots, 0);
    logic_realloc(m, in->rank, in->rank_cap * sizeof *in->rank, 0);
    logic_realloc(m, in, sizeof *in, 0);
}

static size_t find_slot(const interner *in, str s) {
    size_t m = in->slot_n - 1, i = (size_t)str_hash(s) & m;
    while (in->slots[i] && !str_eq(in->strs[in->slots[i] - 1], s)) i = (i + 1) & m;
    return i;
}

bool interner_find(const interner *in, str s, logic_word *id) {
    if (!in->slot_n) return false;
    uint32_t v = in->slots[find_slot(in, s)];
    if (v) *id = v - 1;
    return v != 0;
}

static bool grow_slots(interner *in) {
    size_t cap = in->slot_n ? in->slot_n * 2 : 64;
    uint32_t *fresh = logic_realloc(in->mem, NULL, 0, cap * sizeof *fresh);
    if (!fresh) return false;
    memset(fresh, 0, cap * sizeof *fresh);
    logic_realloc(in->mem, in->slots, in->slot_n * sizeof *in->slots, 0);
    in->slots = fresh;
    in->slot_n = cap;
    for (size_t i = 0; i < in->n; i++) in->slots[find_slot(in, in->strs[i])] = (uint32_t)i + 1;
    return true;
}

static char *copy_text(interner *in, str s) {
    if (s.n > in->left || !in->at) {
        size_t bytes = sizeof(chunk) + (s.n > CHUNK / 4 ? s.n : CHUNK);
        if (s.n > SIZE_MAX / 2) return NULL;
        chunk *c = logic_realloc(in->mem, NULL, 0, bytes);
        if (!c) return NULL;
        c->bytes = bytes;
        c->next = in->chunks;
        in->chunks = c;
        if (s.n > CHUNK / 4) return s.n ? memcpy(c->data, s.p, s.n) : c->data;
        in->at = c->data;
        in->left = CHUNK;
    }
    char *p = in->at;
    if (s.n) memcpy(p, s.p, s.n);
    in->at += s.n;
    in->left -= s.n;
    return p;
}

bool interner_put(interner *in, str s, logic_word *id) {
    if (interner_find(in, s, id)) return true;
    if (in->n >= INT32_MAX) {
        in->mem->status = TL_E_LIMIT;
        return false;
    }
    if ((in->n + 1) * 2 > in->slot_n && !grow_slots(in)) return false;
    if (in->n == in->cap) {
        size_t cap = in->cap ? in->cap * 2 : 64;
        str *p = logic_realloc(in->mem, in->strs, in->cap * sizeof *p, cap * sizeof *p);
        if (!p) return false;
        in->strs = p;
        in->cap = cap;
    }
    char *text = copy_text(in, s);
    if (!text) return false;
    size_t slot = find_slot(in, s);
    in->strs[in->n] = (str){text, s.n};
    in->slots[slot] = (uint32_t)++in->n;
    *id = in->n - 1;
    return true;
}

str interner_text(const interner *in, logic_word id) { return id < in->n ? in->strs[id] : (str){"", 0}; }
size_t interner_count(const interner *in) { return in->n; }

static int compare_text(str a, str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

// Merge sort of ids by text: stable in time whatever the input is.
static void sort_ids(const interner *in, uint32_t *a, uint32_t *tmp, size_t n) {
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t i = 0; i < n; i += 2 * w) {
            size_t l = i, m = i + w < n ? i + w : n, r = m, e = i + 2 * w < n ? i + 2 * w : n, o = i;
            while (l < m && r < e) tmp[o++] = compare_text(in->strs[a[l]], in->strs[a[r]]) <= 0 ? a[l++] : a[r++];
            while (l < m) tmp[o++] = a[l++];
            while (r < e) tmp[o++] = a[r++];
        }
        memcpy(a, tmp, n * sizeof *a);
    }
}

const uint32_t *interner_ranks(interner *in) {
    if (in->rank && in->rank_n == in->n) return in->rank;
    size_t n = in->n ? in->n : 1;
    uint32_t *ids = logic_realloc(in->mem, NULL, 0, 2 * n * sizeof *ids);
    if (!ids) return NULL;
    uint32_t *rank = logic_realloc(in->mem, in->rank, in->rank_cap * sizeof *rank, n * sizeof *rank);
    if (rank) {
        in->rank = rank;
        in->rank_cap = n;
        in->rank_n = in->n;
        for (size_t i = 0; i < in->n; i++) ids[i] = (uint32_t)i;
        sort_ids(in, ids, ids + n, in->n);
        for (size_t i = 0; i < in->n; i++) rank[ids[i]] = (uint32_t)i;
    }
    logic_realloc(in->mem, ids, 2 * n * sizeof *ids, 0);
    return rank;
}
