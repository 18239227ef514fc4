// token_wpm.c - WordPiece: text is normalized and cut at white space, punctuation and Chinese characters; each word is spelled
// greedily with the longest pieces, or is unknown as a whole. Pieces that begin a word carry U+2581.
#include "text/token_int.h"

#include <utf8proc.h>

bool char_is_white(int32_t c) {
    return c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

static bool is_chinese(int32_t c) {
    static const int32_t ranges[][2] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
                                        {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1]) return true;
    return false;
}

static bool stands_alone(int32_t c, utf8proc_category_t category) {
    bool symbol = category >= UTF8PROC_CATEGORY_SM && category <= UTF8PROC_CATEGORY_SO;
    bool punctuation = category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
    return punctuation || (c < 0x7f && symbol) || is_chinese(c);
}

tl_status wpm_build(tokenizer *t, tl_error *err) {
    for (int32_t i = 0; i < t->n; i++) TL_TRY(token_too_long(t, i, err));
    return TL_OK;
}

static tl_status word_encode(encoder *e, const char *p, size_t n) {
    size_t had = e->out->n;
    for (size_t i = 0; i < n;) {
        int32_t id = -1;
        size_t len = n - i < e->t->longest ? n - i : e->t->longest;
        for (; len > 0 && (id = vocab_find_text(e->t, p + i, len)) < 0; len--) {}
        if (id < 0) {
            e->out->n = had;
            break;
        }
        if (!vec_push(e->out, id)) return err_set(e->err, TL_E_MEMORY, "out of memory");
        i += len;
    }
    if (e->out->n > had) return TL_OK;
    if (e->t->unk < 0) return err_set(e->err, TL_E_FORMAT, "the vocabulary has no unknown token");
    return vec_push(e->out, e->t->unk) ? TL_OK : err_set(e->err, TL_E_MEMORY, "out of memory");
}

// Ends the word in e->text; the next begins with the mark.
static tl_status word_end(encoder *e) {
    sbuf *word = &e->text;
    if (word->failed) return err_set(e->err, TL_E_MEMORY, "out of memory");
    if (word->n > 3) TL_TRY(word_encode(e, word->p, word->n));
    word->n = 0;
    sbuf_put(word, "\xe2\x96\x81", 3);
    return TL_OK;
}

static tl_status put_char(encoder *e, int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    if (char_is_white(c)) return word_end(e);
    bool control = category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF || category == UTF8PROC_CATEGORY_CN ||
                   category == UTF8PROC_CATEGORY_CS || category == UTF8PROC_CATEGORY_CO;
    if (c == 0 || c == 0xfffd || control) return TL_OK;
    if (e->t->strip_accents && category == UTF8PROC_CATEGORY_MN) return TL_OK;
    char bytes[4];
    size_t n = (size_t)utf8proc_encode_char(e->t->lowercase ? utf8proc_tolower(c) : c, (utf8proc_uint8_t *)bytes);
    bool alone = stands_alone(c, category);
    if (alone) TL_TRY(word_end(e));
    sbuf_put(&e->text, bytes, n);
    return alone ? word_end(e) : TL_OK;
}

tl_status wpm_encode(encoder *e, str text) {
    e->text.n = 0;
    TL_TRY(word_end(e));
    for (size_t i = 0, len; i < text.n; i += len) {
        len = utf8_char_len((const unsigned char *)text.p + i, text.n - i);
        if (len == 0) { // not UTF-8: left out, as U+FFFD is
            len = 1;
            continue;
        }
        utf8proc_int32_t c, parts[32];
        utf8proc_iterate((const utf8proc_uint8_t *)text.p + i, (utf8proc_ssize_t)len, &c);
        utf8proc_ssize_t n = 1;
        parts[0] = c;
        int last = 0;
        if (e->t->strip_accents) n = utf8proc_decompose_char(c, parts, 32, UTF8PROC_DECOMPOSE, &last);
        for (utf8proc_ssize_t k = 0; k < n && k < 32; k++) TL_TRY(put_char(e, parts[k]));
    }
    return word_end(e);
}
