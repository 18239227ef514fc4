// relation.h - storage of the relational half: words, interned strings, tuple sets and their indexes.
// A tuple is `arity` 64-bit words. A tupset keeps its rows in an append-only array in order of insertion, so that
// "everything before round k" is a prefix and "what round k found" is a range: semi-naive evaluation copies nothing.
// Rows of up to four small words are packed into one 64-bit key (two 32-bit halves, three 21-bit parts, ...); the
// first row that does not fit widens the set. Duplicates are kept out by a hash set or, when two columns are dense
// enough, by a bit matrix.
#ifndef TL_LOGIC_RELATION_H
#define TL_LOGIC_RELATION_H
#include "logic/logic.h"

typedef uint64_t logic_word;

static inline logic_word logic_of_int(int64_t i) { return (logic_word)i; }
static inline int64_t logic_to_int(logic_word w) { return (int64_t)w; }
static inline double logic_to_float(logic_word w) {
    double d;
    memcpy(&d, &w, 8);
    return d;
}
static inline logic_word logic_of_float(double d) {
    logic_word w;
    if (d != d) return 0x7FF8000000000000u;
    if (d == 0) d = 0; // drops the sign of -0
    memcpy(&w, &d, 8);
    return d == 0 ? 0 : w;
}

// ---- accounted memory ----------------------------------------------------------------------------
typedef struct logic_mem {
    size_t used, peak, limit; // bytes; limit 0: none
    tl_status status;         // of the last failure: TL_E_MEMORY or TL_E_LIMIT
} logic_mem;
// realloc that keeps the account; new_bytes 0 frees and returns NULL. NULL (and status set) on failure, p intact.
void *logic_realloc(logic_mem *m, void *p, size_t old_bytes, size_t new_bytes);

// ---- interned strings ----------------------------------------------------------------------------
typedef struct interner interner;
interner *interner_new(logic_mem *m); // NULL: out of memory
void interner_free(interner *in);
bool interner_put(interner *in, str s, logic_word *id);        // copies s; false: out of memory
bool interner_find(const interner *in, str s, logic_word *id); // false: never interned
str interner_text(const interner *in, logic_word id);          // empty for an unknown id
size_t interner_count(const interner *in);
// rank[id] is the place of id's text among all texts in byte order. Cached; NULL: out of memory.
const uint32_t *interner_ranks(interner *in);

// ---- indexes -------------------------------------------------------------------------------------
typedef struct tupset tupset;
typedef struct ixent {
    uint32_t start, len, cap; // block in the pool; cap 0: the entry is free
    uint32_t old;             // how many of len were there before the rows of the last update
} ixent;

// Rows of a set grouped by the columns in `cols`. A block of a packed set holds the packed rows themselves; of a
// wide set, row numbers. A single dense key column is addressed directly, anything else through a hash table.
typedef struct relindex {
    uint32_t cols;     // bit c: column c is part of the key
    size_t n;          // rows of the set that are in the index (a prefix)
    bool direct;       // key column value v is at dir[v - lo]
    unsigned shift;    // direct: where the key column sits in a packed row; hashed: 64 - log2(dir_n)
    uint64_t lo;
    ixent *dir;
    size_t dir_n, dir_used;
    uint64_t *keys;    // hashed: packed key; wide: high half of the key's hash, low half a row that has the key
    uint64_t *pool64;  // packed rows
    uint32_t *pool32;  // row numbers
    size_t pool_n, pool_cap;
    uint32_t *touched; // entries whose len differs from old
    size_t touched_n, touched_cap;
    bool touched_all;  // the list was lost to a rehash: every entry must be looked at
} relindex;

typedef struct ixblock {
    const uint64_t *rows; // packed set
    const uint32_t *ids;  // wide set
    uint32_t n, old;      // the first `old` rows were there before the last update
} ixblock;

// ---- tuple sets ----------------------------------------------------------------------------------
#define TUPSET_INDEXES 8
#define TUPSET_EMPTY 0x8000000000000001u // never a packed row: such a row widens the set
struct tupset {
    logic_mem *mem;
    int arity, n_key; // columns; how many of them identify a row: arity, or arity - 1 under a fold
    logic_fold fold;
    logic_type value; // fold: type of the last column
    bool packed;
    unsigned bits;    // packed: bits of one column; column c is at shift (arity - 1 - c) * bits
    uint64_t mask;    // packed: the largest word a column can hold
    uint64_t *rows;   // packed: one word a row; wide: arity words a row
    size_t n, cap;
    uint64_t *slots;  // packed: rows; wide: high half of the hash, low half row number + 1
    size_t slot_n;    // 0 or a power of two
    unsigned shift;   // 64 - log2(slot_n)
    uint64_t *map;    // packed pairs: bit (a - lo0) * span1 + (b - lo1); replaces slots
    uint64_t lo0, lo1, span0, span1;
    double *sums;     // LF_AVG: the running sum of each row
    uint64_t *counts; // LF_AVG: its number of terms
    uint32_t *changed, *next_changed; // LF_MAX, LF_MIN, LF_OR: rows changed in the last round and in this one
    size_t changed_n, next_n, changed_cap;
    uint8_t *mark;    // row is in next_changed
    relindex index[TUPSET_INDEXES];
    int n_index;
};

typedef enum { TUP_OLD, TUP_NEW, TUP_NOMEM, TUP_WIDEN, TUP_OVERFLOW } tup_result;

// arity 0..LOGIC_MAX_COLS. wide: never pack (for columns that hold floats). A fold needs arity >= 1.
void tupset_init(tupset *s, logic_mem *m, int arity, logic_fold fold, logic_type value, bool wide);
void tupset_deinit(tupset *s);
void tupset_clear(tupset *s); // no rows, no indexes; keeps the shape
bool tupset_copy(tupset *to, const tupset *from); // to is initialised alike; its rows are replaced
// Inserts or folds one row. TUP_OLD: nothing changed. TUP_OVERFLOW: an int64 sum or count overflowed. Widens as needed.
tup_result tupset_insert(tupset *s, const logic_word *row);
// Inserts n packed rows. False: out of memory (some may be in).
bool tupset_insert_packed(tupset *s, const uint64_t *rows, size_t n);
// Inserts base | ((rows[i] >> from) & mask) for each i < n, where base holds every column but the last. *done: how many,
// fewer than n when the rest must go another way (then none of it is in). False: out of memory. rows is not the set's.
bool tupset_insert_run(tupset *s, uint64_t base, const uint64_t *rows, size_t n, unsigned from, uint64_t mask, size_t *done);
bool tupset_contains(const tupset *s, const logic_word *row); // a fold compares the value too
// The row whose key columns equal key, or -1. Not for packed sets.
int64_t tupset_find(const tupset *s, const logic_word *key);
bool tupset_widen(tupset *s); // drops the indexes. False: out of memory
// A fold set's next round: what changed in this one becomes `changed`.
void tupset_rotate(tupset *s);
bool tupset_mark_all(tupset *s); // every row counts as changed in this round
// The index on the columns `cols` (of a fold: key columns only), made when missing; it may lag: see
// tupset_index_update. NULL: the set has TUPSET_INDEXES others, which tupset_has_room tells beforehand.
bool tupset_has_room(const tupset *s, uint32_t cols);
relindex *tupset_index(tupset *s, uint32_t cols);
// Brings an index up to the first `upto` rows; rows from `fresh` on are the ones beyond `old` in a block.
bool tupset_index_update(tupset *s, relindex *ix, size_t fresh, size_t upto);
size_t relindex_bytes(const relindex *ix);

static inline unsigned tupset_shift(const tupset *s, int col) { return (unsigned)(s->arity - 1 - col) * s->bits; }
static inline logic_word tupset_get(const tupset *s, size_t row, int col) {
    if (s->packed) return (s->rows[row] >> tupset_shift(s, col)) & s->mask;
    return s->rows[row * (size_t)s->arity + (size_t)col];
}
void tupset_row(const tupset *s, size_t row, logic_word *out); // all columns
// Packs a row; false when a word is too large.
bool tupset_pack(const tupset *s, const logic_word *row, uint64_t *out);
bool tupset_contains_packed(const tupset *s, uint64_t row);

uint64_t logic_hash_words(const logic_word *w, size_t n);
static inline uint64_t logic_hash_word(uint64_t w) {
    w ^= w >> 32;
    w *= 0x9E3779B97F4A7C15u;
    return w ^ (w >> 29) * 0xBF58476D1CE4E5B9u;
}
// key: the words of the index's columns, in column order.
ixblock relindex_find(const tupset *s, const relindex *ix, const logic_word *key);
#endif
