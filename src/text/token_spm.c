// token_spm.c - SentencePiece BPE: spaces become U+2581, characters merge by the score of what they make, and a character
// that is no token is spelled with byte tokens.
#include "text/token_int.h"

static const char space_mark[] = "\xe2\x96\x81";
enum { SPACE_MARK = 3 };

static bool mark_at(const char *p, size_t n) { return n >= SPACE_MARK && memcmp(p, space_mark, SPACE_MARK) == 0; }

static void note_joins(tokenizer *t, str s) {
    for (size_t i = 1; i < s.n; i++)
        if (mark_at(s.p + i, s.n - i) && !(i >= SPACE_MARK && mark_at(s.p + i - SPACE_MARK, SPACE_MARK)))
            t->joins_space[(unsigned char)s.p[i - 1]] = true;
}

tl_status spm_build(tokenizer *t, tl_error *err) {
    if (!t->scores) return err_set(err, TL_E_FORMAT, "a SentencePiece vocabulary needs tokenizer.ggml.scores");
    for (int32_t i = 0; i < t->n; i++) {
        float f = vocab_score(t, i);
        if (f != f) return err_set(err, TL_E_FORMAT, "tokenizer.ggml.scores[%d] is not a number", i);
    }
    for (int b = 0; b < 256; b++) {
        char spelled[8], c = (char)b;
        snprintf(spelled, sizeof spelled, "<0x%02X>", b);
        t->byte_id[b] = vocab_find(t, spelled, 6);
        if (t->byte_id[b] < 0) t->byte_id[b] = vocab_find_text(t, &c, 1);
    }
    for (int32_t i = 0; i < t->n; i++) {
        str s = token_text(t, i);
        if (s.n > SPACE_MARK && !(t->attr[i] & ATTR_NOT_TEXT) && memchr(s.p + 1, 0xe2, s.n - 1)) note_joins(t, s);
    }
    return TL_OK;
}

static tl_status encode_part(encoder *e, const char *p, size_t n) {
    if (!vec_reserve(&e->syms, n)) return err_set(e->err, TL_E_MEMORY, "out of memory");
    e->syms.n = 0;
    for (size_t i = 0, len; i < n; i += len) {
        len = utf8_lead_len((unsigned char)p[i]);
        if (len > n - i) len = n - i;
        e->syms.p[e->syms.n++] = (merge_sym){vocab_find_text(e->t, p + i, len), (uint32_t)i, (uint32_t)(i + len), 0, 0};
    }
    return merge_word(e, p);
}

// End of the part that begins at p: where text may be cut. Walks by characters as encode_part does, since a broken one may
// swallow the mark.
static size_t part_end(const tokenizer *t, const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        if (mark_at(p + i, n - i)) {
            if (i > 0 && !t->joins_space[(unsigned char)p[i - 1]]) return i;
            while (mark_at(p + i, n - i)) i += SPACE_MARK;
        } else {
            i += utf8_lead_len((unsigned char)p[i]);
        }
    }
    return n;
}

tl_status spm_encode(encoder *e, str text) {
    sbuf *b = &e->text;
    b->n = 0;
    if (e->t->add_space_prefix) sbuf_put(b, space_mark, SPACE_MARK);
    for (size_t i = 0, end; i < text.n; i = end) {
        const char *space = memchr(text.p + i, ' ', text.n - i);
        end = space ? (size_t)(space - text.p) : text.n;
        sbuf_put(b, text.p + i, end - i);
        if (space) sbuf_put(b, space_mark, SPACE_MARK), end++;
    }
    if (b->failed) return err_set(e->err, TL_E_MEMORY, "out of memory");
    if (b->n > INT32_MAX) return err_set(e->err, TL_E_LIMIT, "a text of %zu bytes is too long", text.n);
    for (size_t i = 0, n; i < b->n; i += n) {
        n = part_end(e->t, b->p + i, b->n - i);
        TL_TRY(encode_part(e, b->p + i, n));
    }
    return TL_OK;
}
