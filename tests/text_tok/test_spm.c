// test_spm.c - SentencePiece BPE: scores, the space's mark, byte tokens, and that text never merges into a control token.
#include "vocab.h"

enum { S = TOKEN_PARSE_SPECIAL, A = TOKEN_ADD_SPECIAL };

static void letters(vocab *v) {
    vocab_add(v, "<unk>", TOKEN_UNKNOWN, 0);
    vocab_add(v, "<s>", TOKEN_CONTROL, 0);
    vocab_add(v, "</s>", TOKEN_CONTROL, 0);
    static const char *const tokens[] = {"▁a", "▁b", "ab",  "▁ab", "ba", "▁▁", "▁", "a",
                                         "b",  "</", "</s", "<",   "/",  "s",  ">", "é"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) vocab_add(v, tokens[i], TOKEN_NORMAL, -(float)i);
}

static void words(void **state) {
    vocab v = {0};
    (void)state;
    letters(&v);
    vocab_bytes(&v);
    tokenizer *t = vocab_make(vocab_source(&v, "llama", ""));
    expect(t, "", 0, "");
    expect(t, "", A, "<s>");
    expect(t, "ab", A, "<s>|▁ab"); // by way of "▁a", which scores best
    expect(t, "bab", 0, "▁b|ab");
    expect(t, "a  b", 0, "▁a|▁|▁b"); // "▁b" before "▁▁"
    expect(t, "x\xc3\xa9\xff", 0, "▁|<0x78>|é|<0xFF>");
    expect(t, "\xe2\x96", 0, "▁|<0xE2>|<0x96>");
    expect(t, "<s></s>", 0, "▁|<|s|>|</s|>"); // never the control tokens, whose score is best
    expect(t, "<s></s>", S, "<s>|</s>");
    expect(t, "a</s>b", S, "▁a|</s>|▁b"); // the prefix comes after special tokens too
    expect(t, "<0x41>", 0, "▁|<|<0x30>|<0x78>|<0x34>|<0x31>|>");
    assert_true(tokenizer_is_end(t, 2) && tokenizer_eos(t) == 2 && tokenizer_bos(t) == 1 && tokenizer_unk(t) == 0);
    tokenizer_free(t);
    token_source *s = vocab_source(&v, "llama", "default");
    s->add_space_prefix = 0, s->add_bos = 0, s->add_eos = 1;
    t = vocab_make(s);
    expect(t, "ab ab", A, "ab|▁ab|</s>");
    tokenizer_free(t);
    vocab_free(&v);
}

static void without_bytes(void **state) {
    vocab v = {0};
    token_ids ids = {0};
    tl_error err = {0};
    (void)state;
    letters(&v);
    token_source *s = vocab_source(&v, "llama", "");
    tokenizer *t = vocab_make(s);
    expect(t, "axb\xe2\x82\xac", 0, "▁a|<unk>|b|<unk>");
    tokenizer_free(t);
    s->unk = UINT32_MAX; // none
    t = vocab_make(s);
    assert_true(vec_push(&ids, 7));
    assert_int_equal(tokenizer_encode(t, STR("ax"), 0, &ids, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "no token for 'x'"));
    assert_true(ids.n == 1 && ids.p[0] == 7); // as it was
    vec_free(&ids);
    tokenizer_free(t);
    vocab_free(&v);
}

static void refused(void **state) {
    vocab v = {0};
    (void)state;
    letters(&v);
    token_source *s = vocab_source(&v, "llama", "");
    s->scores = NULL;
    expect_refused(s, TL_E_FORMAT, "tokenizer.ggml.scores");
    v.scores.p[5] = 0.0f / 0.0f;
    expect_refused(vocab_source(&v, "llama", ""), TL_E_FORMAT, "scores[5]");
    v.scores.p[5] = 0;
    static const char *const bad[] = {"<0x-1>", "<0xZZ>", "<0x100>", "<0x>", "", "<0x0G>", "0x41"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vocab_add(&v, bad[i], TOKEN_BYTE, 0);
        expect_refused(vocab_source(&v, "llama", ""), TL_E_FORMAT, "type 'byte'");
        v.tokens.n--, v.types.n--, v.scores.n--;
    }
    vocab_free(&v);
}

// By definition: of all neighbours that make a token the best-scored merge, the leftmost among equals.
static size_t merge_slowly(const vocab *v, str *parts, size_t n) {
    for (;;) {
        size_t best = v->tokens.n, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k < v->tokens.n; k++) {
                str both = {parts[i].p, parts[i].n + parts[i + 1].n};
                if (str_eq(v->tokens.p[k], both) && (best == v->tokens.n || v->scores.p[k] > v->scores.p[best]))
                    best = k, at = i;
            }
        if (best == v->tokens.n) return n;
        parts[at].n += parts[at + 1].n;
        memmove(&parts[at + 1], &parts[at + 2], (n - at - 2) * sizeof *parts);
        n--;
    }
}

// Also where a token holds a space after a letter ("a▁b"), which text must not be cut at.
static void merges_by_definition(void **state) {
    static const char *const tokens[] = {"▁", "a", "b", "▁a", "▁▁", "ab", "aab", "▁ab", "a▁", "a▁b", "bb", "▁▁a", "ba"};
    static const float scores[] = {0, 0, 0, -3, -2, -2, -1, -4, -5, -1, -2, -1, -3};
    uint32_t seed = 7;
    vocab v = {0};
    (void)state;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) vocab_add(&v, tokens[i], TOKEN_NORMAL, scores[i]);
    token_source *s = vocab_source(&v, "llama", "");
    s->add_space_prefix = 0;
    tokenizer *t = vocab_make(s);
    for (size_t round = 0; round < 400; round++) {
        sbuf text = {0}, marked = {0}, want = {0};
        str parts[256];
        size_t n = 1 + round / 4;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            sbuf_putc(&text, "ab a"[seed >> 30]);
            sbuf_puts(&marked, text.p[i] == ' ' ? "▁" : (char[]){text.p[i], 0});
        }
        for (size_t i = 0, at = 0; i < n; i++) {
            parts[i] = (str){marked.p + at, text.p[i] == ' ' ? 3 : 1};
            at += parts[i].n;
        }
        size_t left = merge_slowly(&v, parts, n);
        for (size_t i = 0; i < left; i++) sbuf_printf(&want, i ? "|%.*s" : "%.*s", (int)parts[i].n, parts[i].p);
        expect_text(t, (str){text.p, text.n}, 0, want.p);
        sbuf_free(&text);
        sbuf_free(&marked);
        sbuf_free(&want);
    }
    tokenizer_free(t);
    vocab_free(&v);
}

static void long_line(void **state) { // n log n: a quadratic merge would take hours
    enum { LONG = 400000 };
    vocab v = {0};
    token_ids ids = {0};
    tl_error err;
    (void)state;
    vocab_add(&v, "a", TOKEN_NORMAL, 0);
    vocab_add(&v, "aa", TOKEN_NORMAL, -1);
    vocab_add(&v, "aaaa", TOKEN_NORMAL, -2);
    token_source *s = vocab_source(&v, "llama", "");
    s->add_space_prefix = 0;
    tokenizer *t = vocab_make(s);
    char *text = mem_alloc(LONG + 1);
    assert_non_null(text);
    memset(text, 'a', LONG + 1);
    assert_int_equal(tokenizer_encode(t, (str){text, LONG + 1}, 0, &ids, &err), TL_OK);
    assert_int_equal(ids.n, LONG / 4 + 1);
    assert_true(ids.p[0] == 2 && ids.p[LONG / 4] == 0);
    mem_free(text);
    vec_free(&ids);
    tokenizer_free(t);
    vocab_free(&v);
}

static void allocations_fail(void **state) {
    vocab v = {0};
    (void)state;
    letters(&v);
    vocab_bytes(&v);
    expect_survival(vocab_source(&v, "llama", ""), STR("ab ab\xff abababababababababababababababababababababababababababab"));
    vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(words),     cmocka_unit_test(without_bytes),
                                       cmocka_unit_test(refused),   cmocka_unit_test(merges_by_definition),
                                       cmocka_unit_test(long_line), cmocka_unit_test(allocations_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
