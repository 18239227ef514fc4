// token_int.h - what the files token*.c share; nobody else includes it.
#ifndef TL_TEXT_TOKEN_INT_H
#define TL_TEXT_TOKEN_INT_H
#include "text/pretok.h"
#include "text/token.h"

typedef enum { MODEL_BPE, MODEL_SPM, MODEL_WPM, MODEL_UGM } model_kind;

// Bytes of a token that text is searched for at every place: longer ones, which no real vocabulary has, would make that slow.
enum { SEARCHED_MOST = 1024 };

// Attributes of a token. A token that is called an end of turn counts as control whatever its type.
enum {
    ATTR_NORMAL = 1, ATTR_UNKNOWN = 2, ATTR_CONTROL = 4, ATTR_USER = 8, ATTR_UNUSED = 16, ATTR_BYTE = 32,
    ATTR_LSTRIP = 64, ATTR_RSTRIP = 128, // white space before, after it belongs to it
    ATTR_END = 256,                      // ends a reply
    ATTR_SHOWN = 512,                    // control, yet part of the text that a reader wants
    ATTR_OWN_PIECE = 1024,               // stands for other bytes than its text
    ATTR_SPECIAL = ATTR_CONTROL | ATTR_UNKNOWN,
    ATTR_NOT_TEXT = ATTR_CONTROL | ATTR_UNKNOWN | ATTR_BYTE // text never merges into such a token
};

// Open addressing in 4 bytes a place: the lowest bits number an entry, the others are those of its hash (index_tag) and tell most
// others without a look at them. All bits set: empty.
typedef struct hash_index {
    uint32_t *slots;
    uint32_t cap, number; // places; mask of the bits that are the number
} hash_index;
enum { INDEX_EMPTY = -1 };
static inline uint32_t index_place(const hash_index *x, uint64_t h) { return (uint32_t)((h & UINT32_MAX) * x->cap >> 32); }
static inline uint32_t index_next(const hash_index *x, uint32_t i) { return i + 1 < x->cap ? i + 1 : 0; }
static inline bool index_may_be(const hash_index *x, uint32_t slot, uint64_t h) { return ((slot ^ (uint32_t)(h >> 32)) & ~x->number) == 0; }
static inline uint32_t index_slot(const hash_index *x, uint64_t h, uint32_t number) { return ((uint32_t)(h >> 32) & ~x->number) | number; }
bool index_init(hash_index *x, uint32_t n); // for n entries, two thirds full then; false: out of memory

typedef struct merge_pair {
    int32_t left, right, merged;
} merge_pair;

struct tokenizer {
    model_kind kind;
    const char *texts;   // of all tokens, one after the other; borrowed, or text_pool
    uint32_t *text_at;   // [n + 1] where each begins there; the last ends text_gap before text_at[n]
    uint32_t text_gap;   // bytes between a text and the next
    char *text_pool;     // copies, where the texts lie otherwise; or NULL
    int32_t n;
    uint16_t *attr;
    const unsigned char *scores; // float32, unaligned, borrowed; may be NULL
    size_t longest;              // bytes of the longest token

    hash_index ids; // text -> id

    uint32_t *piece_at; // [n + 1] where in `piece_pool` the bytes of each token begin that has ATTR_OWN_PIECE
    char *piece_pool;

    struct trie *special;  // texts of control, unknown and user-defined tokens
    int32_t bos, eos, unk, sep, pad;
    bool add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces, lowercase, strip_accents;
    bool escape_spaces;   // " " is spelled U+2581 in tokens
    int32_t byte_id[256]; // the token of a single byte, or -1

    // BPE
    pretok *pre;
    unsigned pre_flags;
    merge_pair *pairs;    // by rank
    hash_index ranks;     // left, right -> rank
    map extra;            // pieces of merges that are no tokens -> ids from n on
    char *extra_pool;     // their texts where two parts had to be joined
    size_t extra_pool_n;
    int32_t byte_sym[256];

    // SPM: some token has U+2581 after another character that ends in this byte. After all others text may be cut
    // before U+2581: no merge reaches over such a place.
    bool joins_space[256];

    // UGM
    struct trie *words;       // normal, user-defined and unused tokens
    struct trie *user;        // user-defined tokens
    float unknown_score;
    const uint8_t *charsmap;
    size_t charsmap_nodes;
    const char *replacements;
    size_t replacements_n;
};

// One symbol of a word while it is merged: text[start, end).
typedef struct merge_sym {
    int32_t id; // token, extra piece, or -1
    uint32_t start, end;
    int32_t prev, next; // -1: none
} merge_sym;

typedef struct merge_item { // a possible merge, best (smallest key) first
    uint64_t key;           // priority << 32 | index of the left symbol
    int32_t merged;
    uint32_t size;          // bytes of both symbols when it was found
} merge_item;

// The state of one encoding: scratch that grows and is reused from fragment to fragment.
typedef struct encoder {
    const tokenizer *t;
    token_ids *out;
    tl_error *err;
    sbuf text, clean;
    VEC(merge_sym) syms;
    VEC(merge_item) heap;
    pretok_work pre;
    void *lattice; // Unigram's best paths
    size_t lattice_cap;
} encoder;

static inline uint64_t text_hash(const char *p, size_t n) {
    uint64_t h = n * 0x9e3779b97f4a7c15u, w = 0;
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) {
            memcpy(&w, p + i, 8);
            h = (h ^ w) * 0x9fb21c651e98df25u;
            h ^= h >> 32;
        }
        memcpy(&w, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t first, last;
        memcpy(&first, p, 4);
        memcpy(&last, p + n - 4, 4);
        w = first | (uint64_t)last << 32;
    } else if (n) {
        w = (unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8 | (uint64_t)(unsigned char)p[n - 1] << 16;
    }
    h = (h ^ w) * 0x9fb21c651e98df25u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ h >> 29;
}

static inline str token_text(const tokenizer *t, int32_t id) {
    return (str){t->texts + t->text_at[id], t->text_at[id + 1] - t->text_at[id] - t->text_gap};
}

// token_vocab.c
tl_status vocab_build(tokenizer *t, const token_source *s, tl_error *err);
int32_t vocab_find(const tokenizer *t, const char *p, size_t n); // -1: none
// Brings into the cache what looking up the n <= VOCAB_BATCH texts will touch: a table as large as a vocabulary's is not in it.
enum { VOCAB_BATCH = 64 };
void vocab_warm(const tokenizer *t, const str *texts, size_t n);
static inline int32_t vocab_find_text(const tokenizer *t, const char *p, size_t n) { // only tokens that text may become
    if (n > t->longest) return -1;
    int32_t id = vocab_find(t, p, n);
    return id >= 0 && (t->attr[id] & ATTR_NOT_TEXT) ? -1 : id;
}
static inline float vocab_score(const tokenizer *t, int32_t id) {
    float f = 0;
    if (t->scores) memcpy(&f, t->scores + 4 * (size_t)id, 4);
    return f;
}

// token_attr.c: attributes by type, name and rule; special ids; the table of special texts
tl_status attr_build(tokenizer *t, const token_source *s, tl_error *err);
tl_status token_too_long(const tokenizer *t, int32_t id, tl_error *err); // TL_E_LIMIT: over SEARCHED_MOST

// token_piece.c
tl_status piece_build(tokenizer *t, tl_error *err);
uint32_t byte_to_char(unsigned char b); // the code point that byte-level vocabularies write for a byte

// token_merge.c: merges e->syms (one word over `text`; id, start and end are set) until no pair is left, appends the ids.
tl_status merge_word(encoder *e, const char *text);
void pair_add(tokenizer *t, uint32_t rank); // t->pairs[rank]; keeps the first of equal pairs, which has the better rank
void pair_warm(const tokenizer *t, uint32_t rank);

// Build what a kind of model needs; append the ids of one fragment of text, which special tokens or
// the text's ends delimit.
tl_status bpe_build(tokenizer *t, const token_source *s, tl_error *err);
tl_status bpe_encode(encoder *e, str text);
tl_status spm_build(tokenizer *t, tl_error *err);
tl_status spm_encode(encoder *e, str text);
tl_status wpm_build(tokenizer *t, tl_error *err);
tl_status wpm_encode(encoder *e, str text);
tl_status ugm_build(tokenizer *t, const token_source *s, tl_error *err);
tl_status ugm_encode(encoder *e, str text);

bool char_is_white(int32_t c); // Unicode's White_Space
// UTF-8. Length of the valid character at p (n >= 1 bytes left), or 0.
size_t utf8_char_len(const unsigned char *p, size_t n);
static inline size_t utf8_lead_len(unsigned char c) { return c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; }
#endif
