// vocab.h - small vocabularies for tests, and expectations written as the tokens' spellings with "|" between.
#ifndef TL_TESTS_VOCAB_H
#define TL_TESTS_VOCAB_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "text/token.h"

typedef struct vocab { // zero-initialise
    VEC(str) tokens;
    VEC(float) scores;
    VEC(int32_t) types;
    VEC(str) merges;
    arena mem;
    token_source source; // filled by vocab_make
} vocab;

static inline void vocab_add(vocab *v, const char *text, int32_t type, float score) {
    str s = {arena_strndup(&v->mem, text, strlen(text)), strlen(text)};
    assert_true(vec_push(&v->tokens, s) && vec_push(&v->scores, score) && vec_push(&v->types, type));
}

static inline void vocab_merge(vocab *v, const char *text) {
    str s = {arena_strndup(&v->mem, text, strlen(text)), strlen(text)};
    assert_true(vec_push(&v->merges, s));
}

// The 256 tokens of a byte alphabet, in the bytes' order, spelled as byte-level vocabularies do.
static inline void vocab_alphabet(vocab *v) {
    for (unsigned b = 0, next = 256; b < 256; b++) {
        bool prints = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        unsigned c = prints ? b : next++;
        char text[3] = {(char)c, 0, 0};
        if (c >= 0x80) text[0] = (char)(0xc0 | c >> 6), text[1] = (char)(0x80 | (c & 0x3f));
        vocab_add(v, text, TOKEN_NORMAL, 0);
    }
}

static inline void vocab_bytes(vocab *v) { // <0x00> to <0xFF>
    for (int b = 0; b < 256; b++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", b);
        vocab_add(v, text, TOKEN_BYTE, 0);
    }
}

static inline token_source *vocab_source(vocab *v, const char *model, const char *pre) {
    token_source *s = &v->source;
    token_source_init(s);
    s->model = str_of(model);
    s->pre = str_of(pre);
    s->tokens = v->tokens.p, s->n_tokens = v->tokens.n;
    s->scores = v->scores.p;
    s->types = v->types.p;
    s->merges = v->merges.p, s->n_merges = v->merges.n;
    return s;
}

static inline tokenizer *vocab_make(const token_source *s) {
    tokenizer *t;
    tl_error err = {0};
    if (tokenizer_new(s, &t, &err) != TL_OK) fail_msg("%s", err.message);
    return t;
}

static inline void vocab_free(vocab *v) {
    vec_free(&v->tokens);
    vec_free(&v->scores);
    vec_free(&v->types);
    vec_free(&v->merges);
    arena_free(&v->mem);
}

// The vocabulary does not make a tokenizer, and the message says `part`.
static inline void expect_refused(const token_source *s, tl_status status, const char *part) {
    tokenizer *t;
    tl_error err = {0};
    assert_int_equal(tokenizer_new(s, &t, &err), status);
    assert_null(t);
    if (!strstr(err.message, part)) fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static inline void expect_ids(const tokenizer *t, const token_ids *ids, const char *want) {
    sbuf got = {0};
    sbuf_puts(&got, "");
    for (size_t i = 0; i < ids->n; i++) {
        str s = tokenizer_token(t, ids->p[i]);
        if (i) sbuf_putc(&got, '|');
        sbuf_put(&got, s.p, s.n);
    }
    assert_string_equal(got.p, want);
    sbuf_free(&got);
}

static inline void expect_text(const tokenizer *t, str text, unsigned flags, const char *want) {
    token_ids ids = {0};
    tl_error err = {0};
    if (tokenizer_encode(t, text, flags, &ids, &err) != TL_OK) fail_msg("%s", err.message);
    expect_ids(t, &ids, want);
    vec_free(&ids);
}
// Making the tokenizer and encoding `text`, with each allocation in turn failing: an error each time, no leak, no crash.
static inline void expect_survival(const token_source *s, str text) {
    tl_error err;
    for (int64_t n = 1;; n++) {
        tokenizer *t;
        token_ids ids = {0};
        mem_fail_after(n);
        tl_status status = tokenizer_new(s, &t, &err);
        if (status == TL_OK) status = tokenizer_encode(t, text, TOKEN_ADD_SPECIAL, &ids, &err);
        mem_fail_after(-1);
        assert_true(status == TL_OK || (ids.n == 0 && status == TL_E_MEMORY));
        tokenizer_free(t);
        vec_free(&ids);
        if (status == TL_OK) {
            assert_true(n > 8);
            return;
        }
    }
}
#define expect(t, text, flags, want) expect_text((t), STR(text), (flags), (want))
#endif
