// token_bpe.c - byte-level BPE (and BPE over characters with byte tokens, PRE_RAW): the table of merges, and words to
// symbols. The alphabet that spells bytes as characters exists in the file only: here a word is its bytes.
#include "text/token_int.h"

#include <utf8proc.h>

// Tokens as merges see them: one that no text may become is only a piece.
static int32_t piece_id(tokenizer *t, str piece, bool keep, tl_status *status) {
    int32_t id = vocab_find_text(t, piece.p, piece.n);
    if (id >= 0) return id;
    int64_t *known = map_get(&t->extra, piece);
    if (known) return (int32_t)*known;
    if (keep) {
        char *copy = t->extra_pool + t->extra_pool_n;
        memcpy(copy, piece.p, piece.n);
        t->extra_pool_n += piece.n;
        piece.p = copy;
    }
    id = t->n + (int32_t)t->extra.n;
    if (!map_put(&t->extra, piece, id)) *status = TL_E_MEMORY;
    return id;
}

// "left right": the space that parts them is not the first byte, since left may begin with one in raw vocabularies.
static bool merge_parse(str merge, str *left, str *right) {
    const char *space = merge.n > 1 ? memchr(merge.p + 1, ' ', merge.n - 1) : NULL;
    if (!space) return false;
    *left = (str){merge.p, (size_t)(space - merge.p)};
    *right = (str){space + 1, merge.n - left->n - 1};
    return right->n > 0;
}

// Up to MERGE_BATCH merges at a time, so that the tables' cache misses overlap.
enum { MERGE_BATCH = VOCAB_BATCH / 2 };
typedef struct merge_build {
    tokenizer *t;
    char *joined;
    int32_t last; // what the last merge made; vocabularies mostly list these in the merges' order
} merge_build;

static int32_t joined_id(merge_build *m, str left, str right, tl_status *status) {
    const tokenizer *t = m->t;
    memcpy(m->joined, left.p, left.n);
    memcpy(m->joined + left.n, right.p, right.n);
    str both = {m->joined, left.n + right.n};
    int32_t guess = m->last + 1;
    bool guessed = guess < t->n && str_eq(token_text(t, guess), both) && !(t->attr[guess] & ATTR_NOT_TEXT);
    return m->last = guessed ? guess : piece_id(m->t, both, true, status);
}

static tl_status merges_add(merge_build *m, const str *merges, size_t first, size_t n, tl_error *err) {
    tokenizer *t = m->t;
    str parts[2 * MERGE_BATCH] = {0};
    char shown[100];
    for (size_t i = 0; i < n; i++)
        if (!merge_parse(merges[first + i], &parts[2 * i], &parts[2 * i + 1]))
            return err_set(err, TL_E_FORMAT, "tokenizer.ggml.merges[%zu] is '%s', not two pieces with a space between",
                           first + i, str_escape(shown, sizeof shown, merges[first + i]));
    vocab_warm(t, parts, 2 * n);
    tl_status status = TL_OK;
    for (size_t i = 0; i < n; i++) {
        str left = parts[2 * i], right = parts[2 * i + 1];
        merge_pair *pair = &t->pairs[first + i];
        pair->left = piece_id(t, left, false, &status);
        pair->right = piece_id(t, right, false, &status);
        pair->merged = joined_id(m, left, right, &status);
        pair_warm(t, (uint32_t)(first + i));
    }
    for (size_t i = 0; i < n; i++) pair_add(t, (uint32_t)(first + i));
    return status == TL_OK ? TL_OK : err_set(err, status, "out of memory for the merges");
}

static tl_status pairs_build(tokenizer *t, const token_source *s, tl_error *err) {
    if (s->n_merges > INT32_MAX / 8) return err_set(err, TL_E_LIMIT, "%zu merges are too many", s->n_merges);
    size_t total = 1, longest = 0;
    for (size_t i = 0; i < s->n_merges; i++) {
        if (!size_add(total, s->merges[i].n, &total)) return err_set(err, TL_E_MEMORY, "the merges are too long");
        if (s->merges[i].n > longest) longest = s->merges[i].n;
    }
    t->pairs = mem_alloc(s->n_merges * sizeof *t->pairs);
    t->extra_pool = mem_alloc(total);
    merge_build m = {t, mem_alloc(longest + 1), -1};
    tl_status status =
        t->pairs && t->extra_pool && m.joined && index_init(&t->ranks, (uint32_t)s->n_merges) ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory for the merges");
    for (size_t i = 0; i < s->n_merges && status == TL_OK; i += MERGE_BATCH)
        status = merges_add(&m, s->merges, i, s->n_merges - i < MERGE_BATCH ? s->n_merges - i : MERGE_BATCH, err);
    mem_free(m.joined);
    return status;
}

static size_t put_char(char out[2], uint32_t c) { // below U+0800
    if (c < 0x80) return out[0] = (char)c, 1;
    out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
}

static int32_t sym_find(const tokenizer *t, const char *p, size_t n) {
    int32_t id = vocab_find_text(t, p, n);
    int64_t *extra = id < 0 ? map_get(&t->extra, (str){p, n}) : NULL;
    return extra ? (int32_t)*extra : id;
}

tl_status bpe_build(tokenizer *t, const token_source *s, tl_error *err) {
    if (s->n_merges == 0) return err_set(err, TL_E_FORMAT, "a byte-level BPE needs tokenizer.ggml.merges");
    TL_TRY(pairs_build(t, s, err));
    for (int b = 0; b < 256; b++) {
        char spelled[8];
        if (t->pre_flags & PRE_RAW) {
            snprintf(spelled, sizeof spelled, "<0x%02X>", b);
            t->byte_id[b] = vocab_find(t, spelled, 6);
            continue;
        }
        size_t n = put_char(spelled, byte_to_char((unsigned char)b));
        t->byte_id[b] = vocab_find_text(t, spelled, n);
        t->byte_sym[b] = sym_find(t, spelled, n);
    }
    return TL_OK;
}

// ---- encoding ------------------------------------------------------------------------------------
static size_t put_utf8(char out[4], uint32_t c) {
    if (c < 0x800) return put_char(out, c);
    size_t n = c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

// The reference reads UTF-8 by its lead byte and continuation bytes alone, so that long forms and surrogates count as
// the characters they spell; whatever else is no character gives U+FFFD for each byte.
static size_t loose_char(const unsigned char *p, size_t n, uint32_t *c) {
    size_t len = utf8_lead_len(p[0]);
    *c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    if (len > n || p[0] >= 0xf8 || (len == 1 && p[0] >= 0x80)) return 0;
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        *c = *c << 6 | (p[i] & 0x3f);
    }
    return *c <= 0x10ffff ? len : 0;
}

size_t utf8_char_len(const unsigned char *p, size_t n) {
    uint32_t c;
    size_t len = loose_char(p, n, &c);
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    return c < least[len] || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

static bool is_utf8(str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    for (size_t i = 0; i < s.n;) {
        uint64_t w;
        if (s.n - i >= 8 && (memcpy(&w, p + i, 8), (w & 0x8080808080808080u) == 0)) {
            i += 8;
            continue;
        }
        size_t len = p[i] < 0x80 ? 1 : utf8_char_len(p + i, s.n - i);
        if (len == 0) return false;
        i += len;
    }
    return true;
}

static void clean(sbuf *out, str s) {
    out->n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        char bytes[4];
        size_t len = loose_char((const unsigned char *)s.p + i, s.n - i, &c);
        sbuf_put(out, bytes, put_utf8(bytes, len ? c : 0xfffd));
        i += len ? len : 1;
    }
}

static void escape_spaces(sbuf *out, str s) {
    out->n = 0;
    for (size_t i = 0, end; i < s.n; i = end) {
        const char *space = memchr(s.p + i, ' ', s.n - i);
        end = space ? (size_t)(space - s.p) : s.n;
        sbuf_put(out, s.p + i, end - i);
        if (space) sbuf_put(out, "\xe2\x96\x81", 3), end++;
    }
}

static void lower(sbuf *out, str s) {
    out->n = 0;
    for (size_t i = 0; i < s.n;) {
        uint32_t c;
        char bytes[4];
        i += loose_char((const unsigned char *)s.p + i, s.n - i, &c);
        sbuf_put(out, bytes, put_utf8(bytes, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c)));
    }
}

// The token that a whole word is, or -1.
static int32_t whole_word(const tokenizer *t, str word) {
    if (t->pre_flags & PRE_RAW) return vocab_find_text(t, word.p, word.n);
    char spelled[512];
    if (word.n > t->longest || word.n > sizeof spelled / 2) return -1;
    size_t n = 0;
    for (size_t i = 0; i < word.n; i++) n += put_char(spelled + n, byte_to_char((unsigned char)word.p[i]));
    return vocab_find_text(t, spelled, n);
}

static bool only_newlines(str s) {
    size_t i = 0;
    while (i < s.n && s.p[i] == '\n') i++;
    return i == s.n;
}

static tl_status encode_word(encoder *e, str word) {
    const tokenizer *t = e->t;
    if ((t->pre_flags & PRE_IGNORE_MERGES) || ((t->pre_flags & PRE_NEWLINES_WHOLE) && only_newlines(word))) {
        int32_t id = whole_word(t, word);
        if (id >= 0) return vec_push(e->out, id) ? TL_OK : err_set(e->err, TL_E_MEMORY, "out of memory");
    }
    if (!vec_reserve(&e->syms, word.n)) return err_set(e->err, TL_E_MEMORY, "out of memory");
    size_t n = 0;
    if (t->pre_flags & PRE_RAW) {
        for (size_t i = 0, len; i < word.n; i += len) {
            len = utf8_lead_len((unsigned char)word.p[i]);
            if (len > word.n - i) len = word.n - i;
            e->syms.p[n++] = (merge_sym){sym_find(t, word.p + i, len), (uint32_t)i, (uint32_t)(i + len), 0, 0};
        }
    } else {
        for (; n < word.n; n++)
            e->syms.p[n] = (merge_sym){t->byte_sym[(unsigned char)word.p[n]], (uint32_t)n, (uint32_t)n + 1, 0, 0};
    }
    e->syms.n = n;
    return merge_word(e, word.p);
}

static bool starts_with_space(str word) {
    uint32_t c;
    return loose_char((const unsigned char *)word.p, word.n, &c) && char_is_white((int32_t)c);
}

tl_status bpe_encode(encoder *e, str text) {
    if (!is_utf8(text)) {
        clean(&e->clean, text);
        text = (str){e->clean.p, e->clean.n};
    }
    bool drop = e->t->pre_flags & PRE_DROP_SPACES, change = e->t->escape_spaces || (drop && e->t->lowercase);
    if (e->t->escape_spaces) escape_spaces(&e->text, text);
    else if (change) lower(&e->text, text);
    if (change) text = (str){e->text.p, e->text.n};
    if (e->clean.failed || e->text.failed) return err_set(e->err, TL_E_MEMORY, "out of memory");
    if (text.n > INT32_MAX) return err_set(e->err, TL_E_LIMIT, "a text of %zu bytes is too long", text.n);
    TL_TRY(pretok_split(e->t->pre, &e->pre, text.p, text.n, e->err));
    for (size_t i = 0, begin = 0; i < e->pre.ends.n; begin = e->pre.ends.p[i++]) {
        str word = {text.p + begin, e->pre.ends.p[i] - begin};
        if (!(drop && starts_with_space(word))) TL_TRY(encode_word(e, word));
    }
    return TL_OK;
}
