// tupset.c - sets of tuples: packing, the hash set, the bit matrix, folds. See relation.h for the shape.
// Invariants: rows[0..n) are distinct in their key columns; a packed set has either slots or map, never both.
#include "logic/relation.h"

#define MAX_ROWS ((size_t)UINT32_MAX - 2) // row numbers are 32-bit

uint64_t logic_hash_words(const logic_word *w, size_t n) {
    uint64_t h = 0x51ED270B27B4F3CFu;
    for (size_t i = 0; i < n; i++) h = logic_hash_word(h ^ w[i]);
    return h;
}

void tupset_init(tupset *s, logic_mem *m, int arity, logic_fold fold, logic_type value, bool wide) {
    TL_CHECK(arity >= 0 && arity <= LOGIC_MAX_COLS && (fold == LF_NONE || arity > 0));
    *s = (tupset){.mem = m, .arity = arity, .fold = fold, .value = value};
    s->n_key = fold == LF_NONE ? arity : arity - 1;
    s->packed = !wide && fold == LF_NONE && arity <= 4;
    if (s->packed && arity > 0) {
        s->bits = 64u / (unsigned)arity;
        s->mask = s->bits == 64 ? UINT64_MAX : ((uint64_t)1 << s->bits) - 1;
    }
}

static size_t row_words(const tupset *s) { return s->packed ? 1 : s->arity ? (size_t)s->arity : 1; }

static void drop_indexes(tupset *s) {
    for (int i = 0; i < s->n_index; i++) {
        relindex *ix = &s->index[i];
        logic_mem *m = s->mem;
        logic_realloc(m, ix->dir, ix->dir_n * sizeof *ix->dir, 0);
        logic_realloc(m, ix->keys, ix->direct ? 0 : ix->dir_n * sizeof *ix->keys, 0);
        logic_realloc(m, ix->pool64, ix->pool_cap * sizeof *ix->pool64, 0);
        logic_realloc(m, ix->pool32, ix->pool_cap * sizeof *ix->pool32, 0);
        logic_realloc(m, ix->touched, ix->touched_cap * sizeof *ix->touched, 0);
    }
    s->n_index = 0;
}

static void drop_set(tupset *s) {
    logic_realloc(s->mem, s->slots, s->slot_n * sizeof *s->slots, 0);
    logic_realloc(s->mem, s->map, s->map ? (size_t)((s->span0 * s->span1 + 63) / 64) * 8 : 0, 0);
    s->slots = s->map = NULL;
    s->slot_n = 0;
}

void tupset_deinit(tupset *s) {
    if (!s->mem) return;
    logic_mem *m = s->mem;
    drop_indexes(s);
    drop_set(s);
    logic_realloc(m, s->rows, s->cap * row_words(s) * 8, 0);
    logic_realloc(m, s->sums, s->sums ? s->cap * 8 : 0, 0);
    logic_realloc(m, s->counts, s->counts ? s->cap * 8 : 0, 0);
    logic_realloc(m, s->mark, s->mark ? s->cap : 0, 0);
    logic_realloc(m, s->changed, s->changed_cap * 4, 0);
    logic_realloc(m, s->next_changed, s->changed_cap * 4, 0);
    *s = (tupset){0};
}

void tupset_clear(tupset *s) {
    tupset t;
    // A set widened by its data may pack again; one that never packed has no bits.
    tupset_init(&t, s->mem, s->arity, s->fold, s->value, s->bits == 0 && s->arity > 0);
    tupset_deinit(s);
    *s = t;
}

// ---- rows ----------------------------------------------------------------------------------------
static bool grow_part(tupset *s, void *pp, size_t elem, size_t cap) {
    void *p;
    memcpy(&p, pp, sizeof p);
    p = logic_realloc(s->mem, p, p ? s->cap * elem : 0, cap * elem);
    if (!p) return false;
    memcpy(pp, &p, sizeof p);
    return true;
}

// Every array of the rows grows together; on failure the account may lag behind one array, so sizes are restored.
static bool reserve(tupset *s, size_t need) {
    if (need <= s->cap) return true;
    if (need > MAX_ROWS) {
        s->mem->status = TL_E_LIMIT;
        return false;
    }
    size_t cap = s->cap < 8 ? 16 : s->cap * 2;
    if (cap < need) cap = need;
    if (cap > MAX_ROWS) cap = MAX_ROWS;
    size_t old = s->cap, w = row_words(s) * 8;
    if (s->fold == LF_NONE) {
        if (!grow_part(s, &s->rows, w, cap)) return false;
        s->cap = cap;
        return true;
    }
    bool avg = s->fold == LF_AVG;
    bool r = grow_part(s, &s->rows, w, cap), m = r && grow_part(s, &s->mark, 1, cap);
    bool u = m && (!avg || grow_part(s, &s->sums, 8, cap)), c = u && (!avg || grow_part(s, &s->counts, 8, cap));
    if (c) {
        memset(s->mark + old, 0, cap - old);
        s->cap = cap;
        return true;
    }
    s->mem->used -= (r ? (cap - old) * w : 0) + (m ? cap - old : 0) + (u && avg ? (cap - old) * 8 : 0);
    return false;
}

void tupset_row(const tupset *s, size_t row, logic_word *out) {
    if (!s->packed) {
        memcpy(out, s->rows + row * (size_t)s->arity, (size_t)s->arity * 8);
        return;
    }
    for (int c = 0; c < s->arity; c++) out[c] = (s->rows[row] >> tupset_shift(s, c)) & s->mask;
}

bool tupset_pack(const tupset *s, const logic_word *row, uint64_t *out) {
    uint64_t key = 0;
    for (int c = 0; c < s->arity; c++) {
        if (row[c] > s->mask) return false;
        key |= row[c] << tupset_shift(s, c);
    }
    *out = key;
    return key != TUPSET_EMPTY;
}

// ---- hash set of packed rows ---------------------------------------------------------------------
static inline size_t slot_of(const tupset *s, uint64_t key) {
    return (size_t)(((key ^ key >> 32) * 0x9E3779B97F4A7C15u) >> s->shift);
}

static inline size_t find_packed(const tupset *s, uint64_t key) {
    size_t m = s->slot_n - 1, i = slot_of(s, key);
    while (s->slots[i] != TUPSET_EMPTY && s->slots[i] != key) i = (i + 1) & m;
    return i;
}

static inline bool map_bit(const tupset *s, uint64_t key, uint64_t *bit) {
    uint64_t a = (key >> 32) - s->lo0, b = (key & UINT32_MAX) - s->lo1;
    *bit = a * s->span1 + b;
    return a < s->span0 && b < s->span1;
}

// Replaces whatever the set was with a hash table of `want` slots (a power of two) filled from the rows.
static bool build_slots(tupset *s, size_t want) {
    uint64_t *fresh = logic_realloc(s->mem, NULL, 0, want * 8);
    if (!fresh) return false;
    drop_set(s);
    for (size_t i = 0; i < want; i++) fresh[i] = TUPSET_EMPTY;
    s->slots = fresh;
    s->slot_n = want;
    s->shift = 64;
    for (size_t w = want; w > 1; w /= 2) s->shift--;
    for (size_t r = 0; r < s->n; r++) s->slots[find_packed(s, s->rows[r])] = s->rows[r];
    return true;
}

// Pairs whose box of values is small beside the hash table they would need go to one bit each.
static bool build_map(tupset *s, size_t slot_bytes) {
    if (s->arity != 2 || s->n < 1024) return false;
    uint64_t lo0 = UINT64_MAX, lo1 = UINT64_MAX, hi0 = 0, hi1 = 0;
    for (size_t r = 0; r < s->n; r++) {
        uint64_t a = s->rows[r] >> 32, b = s->rows[r] & UINT32_MAX;
        lo0 = a < lo0 ? a : lo0, hi0 = a > hi0 ? a : hi0;
        lo1 = b < lo1 ? b : lo1, hi1 = b > hi1 ? b : hi1;
    }
    uint64_t lo = lo0 < lo1 ? lo0 : lo1, hi = hi0 > hi1 ? hi0 : hi1, side = hi - lo + 1;
    // The common case is one domain for both columns; take its square when that fits, else the box itself.
    if (side <= 1u << 20 && side * side / 8 <= slot_bytes) lo0 = lo1 = lo, hi0 = hi1 = hi;
    uint64_t span0 = hi0 - lo0 + 1, span1 = hi1 - lo1 + 1;
    if (span0 > UINT64_MAX / span1 / 2 || span0 * span1 / 8 > slot_bytes) return false;
    size_t words = (size_t)((span0 * span1 + 63) / 64);
    uint64_t *bits = logic_realloc(s->mem, NULL, 0, words * 8);
    if (!bits) return false;
    memset(bits, 0, words * 8);
    drop_set(s);
    s->map = bits;
    s->lo0 = lo0, s->lo1 = lo1, s->span0 = span0, s->span1 = span1;
    for (size_t r = 0; r < s->n; r++) {
        uint64_t bit;
        map_bit(s, s->rows[r], &bit);
        bits[bit / 64] |= (uint64_t)1 << bit % 64;
    }
    return true;
}

// Room for `more` packed rows in the set (the map has room for any row inside its box).
static bool reserve_slots(tupset *s, size_t more) {
    if (s->map || (s->n + more) * 2 <= s->slot_n) return true;
    size_t want = s->slot_n ? s->slot_n : 16;
    while ((s->n + more) * 2 > want) want *= 2;
    return build_map(s, want * 8) || build_slots(s, want);
}

static bool leave_map(tupset *s, size_t more) {
    size_t want = 16;
    while ((s->n + more) * 2 > want) want *= 2;
    return build_slots(s, want);
}

// Stops early (returning how many were taken) at a row outside the map's box.
static size_t add_to_map(tupset *s, const uint64_t *rows, size_t n) {
    size_t count = s->n;
    uint64_t *out = s->rows, *bits = s->map;
    for (size_t i = 0; i < n; i++) {
        uint64_t bit;
        if (!map_bit(s, rows[i], &bit)) {
            s->n = count;
            return i;
        }
        uint64_t w = bits[bit / 64], b = bit % 64;
        out[count] = rows[i];
        count += !(w >> b & 1);
        bits[bit / 64] = w | (uint64_t)1 << b;
    }
    s->n = count;
    return n;
}

static void add_to_slots(tupset *s, const uint64_t *rows, size_t n) {
    enum { AHEAD = 16 };
    for (size_t i = 0; i < n && i < AHEAD; i++) __builtin_prefetch(&s->slots[slot_of(s, rows[i])], 1);
    for (size_t i = 0; i < n; i++) {
        if (i + AHEAD < n) __builtin_prefetch(&s->slots[slot_of(s, rows[i + AHEAD])], 1);
        size_t at = find_packed(s, rows[i]);
        if (s->slots[at] == rows[i]) continue;
        s->slots[at] = rows[i];
        s->rows[s->n++] = rows[i];
    }
}

bool tupset_insert_packed(tupset *s, const uint64_t *rows, size_t n) {
    enum { BLOCK = 4096 }; // bounds how far the tables are grown ahead of rows that may be duplicates
    while (n > 0) {
        size_t k = n < BLOCK ? n : BLOCK;
        if (!reserve(s, s->n + k) || !reserve_slots(s, k)) return false;
        if (s->map) {
            size_t done = add_to_map(s, rows, k);
            if (done < k && !leave_map(s, k)) return false;
            k = done;
        } else {
            add_to_slots(s, rows, k);
        }
        rows += k;
        n -= k;
    }
    return true;
}

bool tupset_insert_run(tupset *s, uint64_t base, const uint64_t *rows, size_t n, unsigned from, uint64_t mask, size_t *done) {
    uint64_t a = (base >> 32) - s->lo0;
    *done = 0;
    if (!s->map || a >= s->span0 || base >> 32 == TUPSET_EMPTY >> 32) return true;
    if (s->n + n > s->cap && !reserve(s, s->n + n)) return false;
    uint64_t *out = s->rows + s->n, *const bits = s->map, *const end = out;
    const uint64_t line = a * s->span1, lo1 = s->lo1, span1 = s->span1;
    size_t i = 0;
    for (; i < n; i++) {
        uint64_t v = (rows[i] >> from) & mask, b = v - lo1;
        if (b >= span1) break;
        b += line;
        uint64_t w = bits[b / 64], bit = (uint64_t)1 << b % 64;
        *out = base | v;
        out += !(w & bit);
        bits[b / 64] = w | bit;
    }
    s->n += (size_t)(out - end);
    *done = i;
    return true;
}

bool tupset_contains_packed(const tupset *s, uint64_t row) {
    uint64_t bit;
    if (s->map) return map_bit(s, row, &bit) && (s->map[bit / 64] >> bit % 64 & 1);
    return s->slot_n && row != TUPSET_EMPTY && s->slots[find_packed(s, row)] == row;
}

// ---- hash set of wide rows -----------------------------------------------------------------------
static size_t find_wide(const tupset *s, const logic_word *key, uint64_t hash) {
    size_t m = s->slot_n - 1, i = (size_t)(hash >> s->shift), bytes = (size_t)s->n_key * 8;
    for (;; i = (i + 1) & m) {
        uint64_t v = s->slots[i];
        if (v == 0) return i;
        if (v >> 32 == hash >> 32 && memcmp(s->rows + ((uint32_t)v - 1) * (size_t)s->arity, key, bytes) == 0) return i;
    }
}

static bool grow_wide(tupset *s) {
    size_t want = s->slot_n ? s->slot_n * 2 : 16;
    while (want <= s->n * 2) want *= 2;
    uint64_t *fresh = logic_realloc(s->mem, NULL, 0, want * 8);
    if (!fresh) return false;
    memset(fresh, 0, want * 8);
    drop_set(s);
    s->slots = fresh;
    s->slot_n = want;
    s->shift = 64;
    for (size_t w = want; w > 1; w /= 2) s->shift--;
    for (size_t r = 0; r < s->n; r++) {
        const logic_word *row = s->rows + r * (size_t)s->arity;
        uint64_t h = logic_hash_words(row, (size_t)s->n_key);
        s->slots[find_wide(s, row, h)] = (h & ~(uint64_t)UINT32_MAX) | (r + 1);
    }
    return true;
}

int64_t tupset_find(const tupset *s, const logic_word *key) {
    if (!s->slot_n) return -1;
    return (int64_t)(uint32_t)s->slots[find_wide(s, key, logic_hash_words(key, (size_t)s->n_key))] - 1;
}

bool tupset_widen(tupset *s) {
    if (!s->packed) return true;
    size_t cap = s->n < 8 ? 16 : s->n + s->n / 2, a = (size_t)s->arity;
    uint64_t *rows = logic_realloc(s->mem, NULL, 0, cap * a * 8);
    if (!rows) return false;
    for (size_t r = 0; r < s->n; r++) tupset_row(s, r, rows + r * a);
    drop_indexes(s);
    drop_set(s);
    logic_realloc(s->mem, s->rows, s->cap * 8, 0);
    s->rows = rows;
    s->cap = cap;
    s->packed = false;
    return grow_wide(s);
}

// ---- folds ---------------------------------------------------------------------------------------
static bool mark_changed(tupset *s, size_t row) {
    if (s->fold > LF_OR || s->mark[row]) return true;
    if (s->next_n == s->changed_cap) {
        size_t cap = s->changed_cap ? s->changed_cap * 2 : 64;
        uint32_t *a = logic_realloc(s->mem, NULL, 0, cap * 4), *b = logic_realloc(s->mem, NULL, 0, cap * 4);
        if (!a || !b) {
            logic_realloc(s->mem, a, cap * 4, 0);
            logic_realloc(s->mem, b, cap * 4, 0);
            return false;
        }
        if (s->changed_n) memcpy(a, s->changed, s->changed_n * 4);
        if (s->next_n) memcpy(b, s->next_changed, s->next_n * 4);
        logic_realloc(s->mem, s->changed, s->changed_cap * 4, 0);
        logic_realloc(s->mem, s->next_changed, s->changed_cap * 4, 0);
        s->changed = a, s->next_changed = b, s->changed_cap = cap;
    }
    s->mark[row] = 1;
    s->next_changed[s->next_n++] = (uint32_t)row;
    return true;
}

void tupset_rotate(tupset *s) {
    uint32_t *t = s->changed;
    s->changed = s->next_changed;
    s->next_changed = t;
    s->changed_n = s->next_n;
    s->next_n = 0;
    for (size_t i = 0; i < s->changed_n; i++) s->mark[s->changed[i]] = 0;
}

bool tupset_mark_all(tupset *s) {
    for (size_t r = 0; r < s->n; r++)
        if (!mark_changed(s, r)) return false;
    return true;
}

static bool better(const tupset *s, logic_word have, logic_word v) {
    bool less = s->value == LT_FLOAT ? logic_to_float(v) < logic_to_float(have)
                                     : logic_to_int(v) < logic_to_int(have);
    bool nan = s->value == LT_FLOAT && logic_to_float(v) != logic_to_float(v);
    return !nan && v != have && (s->fold == LF_MIN ? less : !less);
}

static double value_of(const tupset *s, logic_word v) {
    return s->value == LT_FLOAT ? logic_to_float(v) : (double)logic_to_int(v);
}

// Folds v into row r, which exists. A NaN never wins under max and min.
static tup_result fold_into(tupset *s, size_t r, logic_word v) {
    logic_word *at = &s->rows[r * (size_t)s->arity + (size_t)s->n_key];
    int64_t sum;
    switch (s->fold) {
    case LF_MAX:
    case LF_MIN:
    case LF_OR:
        if (!better(s, *at, v)) return TUP_OLD;
        *at = v;
        return mark_changed(s, r) ? TUP_NEW : TUP_NOMEM;
    case LF_SUM:
        if (s->value == LT_FLOAT) {
            *at = logic_of_float(logic_to_float(*at) + logic_to_float(v));
            return TUP_NEW;
        }
        if (__builtin_add_overflow(logic_to_int(*at), logic_to_int(v), &sum)) return TUP_OVERFLOW;
        *at = logic_of_int(sum);
        return TUP_NEW;
    case LF_COUNT:
        if (__builtin_add_overflow(logic_to_int(*at), logic_to_int(v), &sum)) return TUP_OVERFLOW;
        *at = logic_of_int(sum);
        return TUP_NEW;
    default: // LF_AVG: the column is float64
        s->sums[r] += logic_to_float(v);
        s->counts[r]++;
        *at = logic_of_float(s->sums[r] / (double)s->counts[r]);
        return TUP_NEW;
    }
}

static tup_result insert_wide(tupset *s, const logic_word *row) {
    if ((s->n + 1) * 2 > s->slot_n && !grow_wide(s)) return TUP_NOMEM;
    uint64_t h = logic_hash_words(row, (size_t)s->n_key);
    size_t at = find_wide(s, row, h);
    if (s->slots[at]) {
        if (s->fold == LF_NONE) return TUP_OLD;
        return fold_into(s, (uint32_t)s->slots[at] - 1, row[s->n_key]);
    }
    if (!reserve(s, s->n + 1)) return TUP_NOMEM;
    size_t r = s->n;
    memcpy(s->rows + r * (size_t)s->arity, row, (size_t)s->arity * 8);
    if (s->fold == LF_AVG) {
        s->sums[r] = value_of(s, row[s->n_key]);
        s->counts[r] = 1;
    }
    if (s->fold != LF_NONE && !mark_changed(s, r)) return TUP_NOMEM;
    s->slots[at] = (h & ~(uint64_t)UINT32_MAX) | (r + 1);
    s->n = r + 1;
    return TUP_NEW;
}

tup_result tupset_insert(tupset *s, const logic_word *row) {
    if (s->packed) {
        uint64_t key;
        size_t before = s->n;
        if (tupset_pack(s, row, &key)) {
            if (!tupset_insert_packed(s, &key, 1)) return TUP_NOMEM;
            return s->n > before ? TUP_NEW : TUP_OLD;
        }
        if (!tupset_widen(s)) return TUP_NOMEM;
    }
    return insert_wide(s, row);
}

bool tupset_contains(const tupset *s, const logic_word *row) {
    uint64_t key;
    if (s->packed) return tupset_pack(s, row, &key) && tupset_contains_packed(s, key);
    int64_t r = tupset_find(s, row);
    return r >= 0 && (s->fold == LF_NONE || s->rows[(size_t)r * (size_t)s->arity + (size_t)s->n_key] == row[s->n_key]);
}

bool tupset_copy(tupset *to, const tupset *from) {
    tupset_clear(to);
    if (!from->packed && !tupset_widen(to)) return false;
    if (from->n == 0) return true;
    if (from->packed) return tupset_insert_packed(to, from->rows, from->n);
    for (size_t r = 0; r < from->n; r++)
        if (insert_wide(to, from->rows + r * (size_t)from->arity) == TUP_NOMEM) return false;
    if (from->fold == LF_AVG) {
        memcpy(to->sums, from->sums, from->n * 8);
        memcpy(to->counts, from->counts, from->n * 8);
    }
    return true;
}
