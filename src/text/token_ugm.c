// token_ugm.c - Unigram: text is normalized by the model's own table, then cut into the tokens whose scores sum up
// best (Viterbi). Characters that no token covers cost a fixed penalty and become the unknown token.
#include "text/token_int.h"
#include "text/token_trie.h"

#include <float.h>

static const float unknown_penalty = 10;

// The normalizer: u32 bytes of a double array, the array (u32 units), then NUL-terminated replacements.
static tl_status charsmap_open(tokenizer *t, const token_source *s, tl_error *err) {
    if (!s->charsmap || s->charsmap_n == 0) return TL_OK;
    uint32_t bytes = 0;
    if (s->charsmap_n >= 4) memcpy(&bytes, s->charsmap, 4);
    if (s->charsmap_n < 4 || bytes % 4 || bytes > s->charsmap_n - 4)
        return err_set(err, TL_E_FORMAT, "tokenizer.ggml.precompiled_charsmap is cut or has a wrong length (%zu bytes)",
                       s->charsmap_n);
    t->charsmap = (const uint8_t *)s->charsmap + 4;
    t->charsmap_nodes = bytes / 4;
    t->replacements = (const char *)t->charsmap + bytes;
    t->replacements_n = s->charsmap_n - 4 - bytes;
    if (t->replacements_n && t->replacements[t->replacements_n - 1] != 0)
        return err_set(err, TL_E_FORMAT, "tokenizer.ggml.precompiled_charsmap: the last replacement is cut");
    return TL_OK;
}

static uint32_t node_at(const tokenizer *t, size_t i) { // past the end: a node without children
    uint32_t u = 0;
    if (i < t->charsmap_nodes) memcpy(&u, t->charsmap + 4 * i, 4);
    return u;
}

static uint32_t node_base(uint32_t u) { return (u >> 10) << ((u & 1u << 9) >> 6); }

// The longest prefix of s that the table replaces: its length (0: none) and what it becomes.
static size_t replace(const tokenizer *t, str s, str *by) {
    size_t found = 0;
    uint32_t at = node_base(node_at(t, 0));
    for (size_t i = 0; i < s.n && t->charsmap_nodes; i++) {
        unsigned char c = (unsigned char)s.p[i];
        at ^= c;
        uint32_t u = node_at(t, at);
        if (c == 0 || (u & (1u << 31 | 0xff)) != c) break;
        at ^= node_base(u);
        if (!(u >> 8 & 1)) continue;
        size_t place = node_at(t, at) & ~(1u << 31);
        if (place >= t->replacements_n) break;
        *by = str_of(t->replacements + place);
        found = i + 1;
    }
    return found;
}

static size_t user_prefix(const tokenizer *t, str s) {
    size_t found = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < s.n && (node = trie_step(t->user, node, (unsigned char)s.p[i])); i++)
        if (trie_value(t->user, node) >= 0) found = i + 1;
    return found;
}

// The first piece of s and what it is normalized to.
static size_t normalize_prefix(const tokenizer *t, str s, str *by) {
    size_t n = user_prefix(t, s);
    if (n == 0 && (n = replace(t, s, by))) return n;
    if (n == 0) n = utf8_char_len((const unsigned char *)s.p, s.n);
    *by = n ? (str){s.p, n} : STR("\xef\xbf\xbd");
    return n ? n : 1;
}

static void normalize(encoder *e, str text) {
    const tokenizer *t = e->t;
    sbuf *out = &e->text;
    str space = STR("\xe2\x96\x81");
    bool in_word = false, prefixed = false;
    out->n = 0;
    for (size_t i = 0; i < text.n;) {
        str by;
        i += normalize_prefix(t, (str){text.p + i, text.n - i}, &by);
        for (size_t k = 0; k < by.n; k++) {
            if (by.p[k] == ' ') {
                in_word = false;
                if (!t->remove_extra_whitespaces) sbuf_put(out, space.p, space.n);
                continue;
            }
            if (!in_word && ((t->add_space_prefix && !prefixed) || t->remove_extra_whitespaces)) {
                sbuf_put(out, space.p, space.n);
                prefixed = true;
            }
            in_word = true;
            sbuf_putc(out, by.p[k]);
        }
    }
}

tl_status ugm_build(tokenizer *t, const token_source *s, tl_error *err) {
    if (!t->scores) return err_set(err, TL_E_FORMAT, "a Unigram vocabulary needs tokenizer.ggml.scores");
    if (t->unk < 0) return err_set(err, TL_E_FORMAT, "a Unigram vocabulary needs an unknown token");
    TL_TRY(charsmap_open(t, s, err));
    t->words = trie_new();
    t->user = trie_new();
    bool ok = t->words && t->user;
    float least = FLT_MAX;
    for (int32_t i = 0; i < t->n && ok; i++) {
        float score = vocab_score(t, i);
        if (score != score) return err_set(err, TL_E_FORMAT, "tokenizer.ggml.scores[%d] is not a number", i);
        TL_TRY(token_too_long(t, i, err));
        if ((t->attr[i] & ATTR_NORMAL) && score < least) least = score;
        if (t->attr[i] & (ATTR_NORMAL | ATTR_USER | ATTR_UNUSED) && !(t->attr[i] & ATTR_NOT_TEXT))
            ok = trie_add(t->words, token_text(t, i), i);
        if (t->attr[i] & ATTR_USER) ok = ok && trie_add(t->user, token_text(t, i), i);
    }
    t->unknown_score = least - unknown_penalty;
    return ok ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
}

typedef struct best { // the best way to reach a place in the text
    double score;
    uint32_t from;
    int32_t id; // its last token
} best;

static void offer(best *b, double score, size_t from, int32_t id) {
    if (score > b->score) *b = (best){score, (uint32_t)from, id};
}

static void find_paths(const tokenizer *t, best *paths, str s) {
    for (size_t i = 0; i <= s.n; i++) paths[i] = (best){-DBL_MAX, 0, t->unk};
    paths[0].score = 0;
    for (size_t i = 0, len; i < s.n; i += len) {
        len = utf8_lead_len((unsigned char)s.p[i]);
        if (len > s.n - i) len = s.n - i;
        bool whole = false; // a token is exactly this character
        uint32_t node = 0;
        for (size_t k = i; k < s.n && (node = trie_step(t->words, node, (unsigned char)s.p[k])); k++) {
            int32_t id = trie_value(t->words, node);
            if (id < 0) continue;
            whole = whole || k + 1 - i == len;
            double score = t->attr[id] & ATTR_USER ? 0 : (double)vocab_score(t, id);
            offer(&paths[k + 1], paths[i].score + score, i, id);
        }
        if (!whole) offer(&paths[i + len], paths[i].score + (double)t->unknown_score, i, t->unk);
    }
}

tl_status ugm_encode(encoder *e, str text) {
    normalize(e, text);
    str s = {e->text.p, e->text.n};
    if (e->text.failed) return err_set(e->err, TL_E_MEMORY, "out of memory");
    if (s.n > INT32_MAX) return err_set(e->err, TL_E_LIMIT, "a text of %zu bytes is too long", text.n);
    if (s.n == 0) return TL_OK;
    if (!vec_grow_(&e->lattice, &e->lattice_cap, s.n + 1, sizeof(best))) return err_set(e->err, TL_E_MEMORY, "out of memory");
    best *paths = e->lattice;
    find_paths(e->t, paths, s);
    size_t first = e->out->n;
    bool unknown = false; // a run of unknown tokens is one
    for (size_t i = s.n; i > 0; i = paths[i].from) {
        bool is = paths[i].id == e->t->unk;
        if (!(is && unknown) && !vec_push(e->out, paths[i].id)) return err_set(e->err, TL_E_MEMORY, "out of memory");
        unknown = is;
    }
    for (size_t a = first, b = e->out->n; a + 1 < b; a++) {
        int32_t swap = e->out->p[a];
        e->out->p[a] = e->out->p[--b];
        e->out->p[b] = swap;
    }
    return TL_OK;
}
