// index.c - indexes of tuple sets: rows grouped by some of their columns, brought up to date round by round.
// Invariant: an entry is in use when its cap is not 0; its block is pool[start .. start+len), in order of insertion.
#include "logic/relation.h"

#define DIRECT_SLACK 4096u

static bool is_free(const ixent *e) { return e->cap == 0; }

static uint64_t packed_mask(const tupset *s, uint32_t cols) {
    uint64_t m = 0;
    for (int c = 0; c < s->arity; c++)
        if (cols >> c & 1) m |= s->mask << tupset_shift(s, c);
    return m;
}

static uint64_t hash_row_key(const tupset *s, uint32_t cols, const logic_word *row) {
    uint64_t h = 0x51ED270B27B4F3CFu;
    for (int c = 0; c < s->arity; c++)
        if (cols >> c & 1) h = logic_hash_word(h ^ row[c]);
    return h;
}

relindex *tupset_index(tupset *s, uint32_t cols) {
    for (int i = 0; i < s->n_index; i++)
        if (s->index[i].cols == cols) return &s->index[i];
    if (s->n_index == TUPSET_INDEXES) {
        s->mem->status = TL_E_LIMIT;
        return NULL;
    }
    relindex *ix = &s->index[s->n_index++];
    *ix = (relindex){.cols = cols, .shift = 64};
    return ix;
}

bool tupset_has_room(const tupset *s, uint32_t cols) {
    for (int i = 0; i < s->n_index; i++)
        if (s->index[i].cols == cols) return true;
    return s->n_index < TUPSET_INDEXES;
}

size_t relindex_bytes(const relindex *ix) {
    return ix->dir_n * (sizeof *ix->dir + (ix->direct ? 0 : sizeof *ix->keys)) + ix->pool_cap * (ix->pool64 ? 8 : 4) + ix->touched_cap * 4;
}

// ---- the directory -------------------------------------------------------------------------------
static void drop_dir(tupset *s, relindex *ix) {
    logic_realloc(s->mem, ix->dir, ix->dir_n * sizeof *ix->dir, 0);
    logic_realloc(s->mem, ix->keys, ix->keys ? ix->dir_n * sizeof *ix->keys : 0, 0);
    ix->dir = NULL;
    ix->keys = NULL;
    ix->dir_n = ix->dir_used = 0;
}

static size_t find_packed_slot(const relindex *ix, uint64_t key) {
    size_t m = ix->dir_n - 1, i = (size_t)(logic_hash_word(key) >> ix->shift);
    while (!is_free(&ix->dir[i]) && ix->keys[i] != key) i = (i + 1) & m;
    return i;
}

static bool same_key(const tupset *s, uint32_t cols, const logic_word *a, const logic_word *b) {
    for (int c = 0; c < s->arity; c++)
        if ((cols >> c & 1) && a[c] != b[c]) return false;
    return true;
}

// key: a whole row (only the words of the key's columns are read).
static size_t find_wide_slot(const tupset *s, const relindex *ix, const logic_word *key, uint64_t h) {
    size_t m = ix->dir_n - 1, i = (size_t)(h >> ix->shift);
    for (; !is_free(&ix->dir[i]); i = (i + 1) & m) {
        uint64_t k = ix->keys[i];
        if (k >> 32 == h >> 32 && same_key(s, ix->cols, s->rows + (size_t)(uint32_t)k * (size_t)s->arity, key)) break;
    }
    return i;
}

static bool grow_hash(tupset *s, relindex *ix) {
    size_t want = ix->dir_n && !ix->direct ? ix->dir_n * 2 : 16;
    ixent *dir = logic_realloc(s->mem, NULL, 0, want * sizeof *dir);
    uint64_t *keys = dir ? logic_realloc(s->mem, NULL, 0, want * sizeof *keys) : NULL;
    if (!keys) {
        logic_realloc(s->mem, dir, want * sizeof *dir, 0);
        return false;
    }
    memset(dir, 0, want * sizeof *dir);
    relindex was = *ix;
    ix->dir = dir, ix->keys = keys, ix->dir_n = want, ix->shift = 64;
    for (size_t w = want; w > 1; w /= 2) ix->shift--;
    for (size_t i = 0; i < was.dir_n; i++) {
        if (is_free(&was.dir[i])) continue;
        size_t at;
        if (s->packed) {
            at = find_packed_slot(ix, was.keys[i]);
        } else {
            const logic_word *row = s->rows + (size_t)(uint32_t)was.keys[i] * (size_t)s->arity;
            at = find_wide_slot(s, ix, row, hash_row_key(s, ix->cols, row));
        }
        ix->dir[at] = was.dir[i];
        ix->keys[at] = was.keys[i];
    }
    ix->touched_all = ix->touched_all || was.touched_n > 0;
    ix->touched_n = 0;
    drop_dir(s, &was);
    return true;
}

// Entries for values lo..hi, where the ones that exist stay. False (nothing changed): no memory.
static bool grow_direct(tupset *s, relindex *ix, uint64_t lo, uint64_t hi) {
    size_t want = (size_t)(hi - lo + 1);
    ixent *dir = logic_realloc(s->mem, NULL, 0, want * sizeof *dir);
    if (!dir) return false;
    memset(dir, 0, want * sizeof *dir);
    if (ix->dir_n) memcpy(dir + (ix->lo - lo), ix->dir, ix->dir_n * sizeof *dir);
    for (size_t i = 0; i < ix->touched_n; i++) ix->touched[i] += (uint32_t)(ix->lo - lo);
    logic_realloc(s->mem, ix->dir, ix->dir_n * sizeof *ix->dir, 0);
    ix->dir = dir, ix->dir_n = want, ix->lo = lo;
    return true;
}

// From direct addressing to hashing: the values turned out to be sparse.
static bool leave_direct(tupset *s, relindex *ix) {
    relindex was = *ix;
    ix->direct = false;
    ix->dir = NULL, ix->keys = NULL, ix->dir_n = 0, ix->dir_used = 0;
    for (size_t i = 0; i < was.dir_n; i++) {
        if (is_free(&was.dir[i])) continue;
        if ((ix->dir_used + 1) * 2 > ix->dir_n && !grow_hash(s, ix)) {
            drop_dir(s, ix);
            *ix = was;
            return false;
        }
        uint64_t key = (was.lo + i) << was.shift;
        size_t at = find_packed_slot(ix, key);
        ix->dir[at] = was.dir[i];
        ix->keys[at] = key;
        ix->dir_used++;
    }
    ix->touched_all = true;
    ix->touched_n = 0;
    logic_realloc(s->mem, was.dir, was.dir_n * sizeof *was.dir, 0);
    return true;
}

// A set whose one key column is dense in rows [from, upto) (together with what is there) is addressed directly.
static bool choose_direct(tupset *s, relindex *ix, size_t from, size_t upto) {
    if (!s->packed || (ix->cols & (ix->cols - 1)) || ix->cols == 0 || (ix->dir_n && !ix->direct)) return true;
    int col = __builtin_ctz(ix->cols);
    uint64_t lo = ix->dir_n ? ix->lo : UINT64_MAX, hi = ix->dir_n ? ix->lo + ix->dir_n - 1 : 0;
    uint64_t lo0 = lo, hi0 = hi;
    for (size_t r = from; r < upto; r++) {
        uint64_t v = tupset_get(s, r, col);
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    if (lo > hi || (ix->dir_n && lo == lo0 && hi == hi0)) return true;
    if (hi - lo >= upto * 4 + DIRECT_SLACK) return !ix->direct || leave_direct(s, ix);
    if (ix->dir_n && hi > hi0) { // room for a growing domain
        uint64_t more = (hi - lo) / 2;
        hi = hi <= s->mask - more ? hi + more : s->mask;
    }
    ix->direct = true;
    ix->shift = tupset_shift(s, col);
    if (grow_direct(s, ix, lo, hi)) return true;
    if (!ix->dir_n) ix->direct = false;
    return false;
}

// The entry of a row, made when missing (with cap still 0). NULL: out of memory.
static ixent *entry_of(tupset *s, relindex *ix, size_t r, uint64_t mask) {
    if (ix->direct) return &ix->dir[((s->rows[r] >> ix->shift) & s->mask) - ix->lo];
    if ((ix->dir_used + 1) * 2 > ix->dir_n && !grow_hash(s, ix)) return NULL;
    size_t at;
    if (s->packed) {
        uint64_t key = s->rows[r] & mask;
        at = find_packed_slot(ix, key);
        ix->keys[at] = key;
    } else {
        const logic_word *row = s->rows + r * (size_t)s->arity;
        uint64_t h = hash_row_key(s, ix->cols, row);
        at = find_wide_slot(s, ix, row, h);
        if (is_free(&ix->dir[at])) ix->keys[at] = (h & ~(uint64_t)UINT32_MAX) | r;
    }
    if (is_free(&ix->dir[at])) ix->dir_used++;
    return &ix->dir[at];
}

// ---- blocks --------------------------------------------------------------------------------------
static bool reserve_pool(tupset *s, relindex *ix, size_t more) {
    size_t need = ix->pool_n + more;
    if (need <= ix->pool_cap) return true;
    size_t cap = ix->pool_cap ? ix->pool_cap + ix->pool_cap / 2 : 64, elem = s->packed ? 8 : 4;
    if (cap < need) cap = need;
    if (cap > UINT32_MAX) {
        s->mem->status = TL_E_LIMIT;
        return false;
    }
    void *was = s->packed ? (void *)ix->pool64 : (void *)ix->pool32;
    void *p = logic_realloc(s->mem, was, ix->pool_cap * elem, cap * elem);
    if (!p) return false;
    if (s->packed) ix->pool64 = p;
    else ix->pool32 = p;
    ix->pool_cap = cap;
    return true;
}

static bool grow_block(tupset *s, relindex *ix, ixent *e) {
    uint32_t cap = e->len ? e->len * 2 : 2;
    if (!reserve_pool(s, ix, cap)) return false;
    if (s->packed && e->len) memcpy(ix->pool64 + ix->pool_n, ix->pool64 + e->start, e->len * 8u);
    else if (e->len) memcpy(ix->pool32 + ix->pool_n, ix->pool32 + e->start, e->len * 4u);
    e->start = (uint32_t)ix->pool_n;
    e->cap = cap;
    ix->pool_n += cap;
    return true;
}

static bool touch(tupset *s, relindex *ix, size_t entry) {
    if (ix->touched_all) return true;
    if (ix->touched_n == ix->touched_cap) {
        size_t cap = ix->touched_cap ? ix->touched_cap * 2 : 64;
        uint32_t *p = logic_realloc(s->mem, ix->touched, ix->touched_cap * 4, cap * 4);
        if (!p) return false;
        ix->touched = p;
        ix->touched_cap = cap;
    }
    ix->touched[ix->touched_n++] = (uint32_t)entry;
    return true;
}

static bool append(tupset *s, relindex *ix, size_t from, size_t upto) {
    uint64_t mask = s->packed ? packed_mask(s, ix->cols) : 0;
    for (size_t r = from; r < upto; r++) {
        ixent *e = entry_of(s, ix, r, mask);
        if (!e) return false;
        if (e->len == e->old && !touch(s, ix, (size_t)(e - ix->dir))) return false;
        if (e->len == e->cap && !grow_block(s, ix, e)) return false;
        if (s->packed) ix->pool64[e->start + e->len++] = s->rows[r];
        else ix->pool32[e->start + e->len++] = (uint32_t)r;
        ix->n = r + 1;
    }
    return true;
}

static void settle(relindex *ix) {
    for (size_t i = 0; i < ix->touched_n; i++) ix->dir[ix->touched[i]].old = ix->dir[ix->touched[i]].len;
    for (size_t i = 0; ix->touched_all && i < ix->dir_n; i++) ix->dir[i].old = ix->dir[i].len;
    ix->touched_n = 0;
    ix->touched_all = false;
}

// The first filling: blocks are counted, laid out without gaps, then filled.
static bool build(tupset *s, relindex *ix, size_t upto) {
    uint64_t mask = s->packed ? packed_mask(s, ix->cols) : 0;
    for (size_t r = 0; r < upto; r++) {
        ixent *e = entry_of(s, ix, r, mask);
        if (!e) return false;
        e->cap++;
    }
    if (!reserve_pool(s, ix, upto)) return false;
    for (size_t i = 0; i < ix->dir_n; i++) {
        ix->dir[i].start = (uint32_t)ix->pool_n;
        ix->pool_n += ix->dir[i].cap;
    }
    for (size_t r = 0; r < upto; r++) {
        ixent *e = entry_of(s, ix, r, mask);
        if (!e) return false;
        if (s->packed) ix->pool64[e->start + e->len++] = s->rows[r];
        else ix->pool32[e->start + e->len++] = (uint32_t)r;
    }
    ix->n = upto;
    ix->touched_all = true;
    settle(ix);
    return true;
}

// An index that could not be finished starts again from nothing.
static bool fail(tupset *s, relindex *ix) {
    drop_dir(s, ix);
    ix->direct = false;
    ix->n = ix->pool_n = ix->touched_n = 0;
    ix->touched_all = false;
    return false;
}

bool tupset_index_update(tupset *s, relindex *ix, size_t fresh, size_t upto) {
    if (fresh >= ix->n) settle(ix);
    if (ix->n >= upto) return true;
    size_t old = fresh < upto ? fresh : upto;
    if (!choose_direct(s, ix, ix->n, upto)) return fail(s, ix);
    if (ix->n == 0 && old > 0 && !build(s, ix, old)) return fail(s, ix);
    if (ix->n < old) {
        if (!append(s, ix, ix->n, old)) return fail(s, ix);
        settle(ix);
    }
    return append(s, ix, ix->n, upto) || fail(s, ix);
}

ixblock relindex_find(const tupset *s, const relindex *ix, const logic_word *key) {
    ixblock none = {0};
    if (!ix->dir_n) return none;
    const ixent *e;
    if (ix->direct) {
        uint64_t i = key[0] - ix->lo;
        if (i >= ix->dir_n) return none;
        e = &ix->dir[i];
    } else if (s->packed) {
        uint64_t k = 0;
        for (int c = 0, i = 0; c < s->arity; c++) {
            if (!(ix->cols >> c & 1)) continue;
            if (key[i] > s->mask) return none;
            k |= key[i++] << tupset_shift(s, c);
        }
        e = &ix->dir[find_packed_slot(ix, k)];
    } else {
        logic_word row[LOGIC_MAX_COLS];
        for (int c = 0, i = 0; c < s->arity; c++) row[c] = ix->cols >> c & 1 ? key[i++] : 0;
        e = &ix->dir[find_wide_slot(s, ix, row, hash_row_key(s, ix->cols, row))];
    }
    if (is_free(e)) return none;
    return (ixblock){s->packed ? ix->pool64 + e->start : NULL, s->packed ? NULL : ix->pool32 + e->start, e->len, e->old};
}
