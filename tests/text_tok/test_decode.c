// test_decode.c - ids to text: pieces, and a stream that is valid UTF-8 however characters are split over tokens.
#include "vocab.h"

// Feeds bytes as byte tokens; the outputs joined with "|", the end's after "#".
static void expect_stream(const tokenizer *t, str bytes, const char *want) {
    token_decoder d;
    sbuf got = {0};
    token_decoder_init(&d, t, 0);
    for (size_t i = 0; i < bytes.n; i++) {
        str s = token_decoder_put(&d, (unsigned char)bytes.p[i]);
        sbuf_put(&got, s.p, s.n);
        sbuf_putc(&got, '|');
    }
    str s = token_decoder_end(&d);
    sbuf_putc(&got, '#');
    sbuf_put(&got, s.p, s.n);
    assert_string_equal(got.p, want);
    token_decoder_deinit(&d);
    sbuf_free(&got);
}
#define FFFD "\xef\xbf\xbd"

static void streams(void **state) {
    vocab v = {0};
    (void)state;
    vocab_alphabet(&v);
    vocab_merge(&v, "a b");
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    expect_stream(t, STR("a\xc3\xa9" "b"), "a||\xc3\xa9|b|#");
    expect_stream(t, STR("\xe2\x82\xac"), "||\xe2\x82\xac|#");
    expect_stream(t, STR("\xf0\x9f\x98\x80"), "|||\xf0\x9f\x98\x80|#");
    expect_stream(t, STR("\xe2\x82"), "||#" FFFD);
    expect_stream(t, STR("\xe2\x82" "a"), "||" FFFD "a|#");
    expect_stream(t, STR("\xff\xc0\x80"), FFFD "|" FFFD "|" FFFD "|#");
    expect_stream(t, STR("\xed\xa0\x80"), "|" FFFD FFFD "|" FFFD "|#"); // a surrogate
    expect_stream(t, STR("\xe0\x80"), "|" FFFD FFFD "|#");               // too long a form
    expect_stream(t, STR("\xf4\x90"), "|" FFFD FFFD "|#");               // beyond U+10FFFF
    expect_stream(t, STR("\xf0\x9f\xc3\xa9"), "||" FFFD "|\xc3\xa9|#");
    expect_stream(t, STR(""), "#");
    tokenizer_free(t);
    vocab_free(&v);
}

static void decode(const tokenizer *t, const char *const *tokens, unsigned flags, const char *want) {
    token_decoder d;
    sbuf got = {0};
    token_decoder_init(&d, t, flags);
    for (; *tokens; tokens++) {
        int32_t id = tokenizer_find(t, str_of(*tokens));
        assert_true(id >= 0);
        str s = token_decoder_put(&d, id);
        sbuf_put(&got, s.p, s.n);
    }
    str s = token_decoder_end(&d);
    sbuf_put(&got, s.p, s.n);
    assert_string_equal(got.p, want);
    token_decoder_deinit(&d);
    sbuf_free(&got);
}

static void pieces(void **state) {
    static const char *const text[] = {"<s>",   "▁a",          "▁▁b",    "<0xC3>", "<0xA9>",
                                       "▁user", "<|channel|>", "unused", "</s>",   NULL};
    vocab v = {0};
    (void)state;
    vocab_add(&v, "<unk>", TOKEN_UNKNOWN, 0);
    vocab_add(&v, "<s>", TOKEN_CONTROL, 0);
    vocab_add(&v, "</s>", TOKEN_CONTROL, 0);
    vocab_add(&v, "▁a", TOKEN_NORMAL, 0);
    vocab_add(&v, "▁▁b", TOKEN_NORMAL, 0);
    vocab_add(&v, "▁user", TOKEN_USER_DEFINED, 0); // spelled as it is
    vocab_add(&v, "<|channel|>", TOKEN_CONTROL, 0); // shown though it is a control token
    vocab_add(&v, "unused", TOKEN_UNUSED, 0);
    vocab_bytes(&v);
    tokenizer *t = vocab_make(vocab_source(&v, "llama", ""));
    decode(t, text, 0, " a  b\xc3\xa9▁user<|channel|>");
    decode(t, text, DECODE_WHOLE, "a  b\xc3\xa9▁user<|channel|>");
    decode(t, text, DECODE_SPECIAL | DECODE_WHOLE, "<s>a  b\xc3\xa9▁user<|channel|></s>");
    assert_int_equal(tokenizer_piece(t, 0, false).n, 0);
    assert_int_equal(tokenizer_piece(t, 0, true).n, 5);
    assert_int_equal(tokenizer_piece(t, -1, true).n, 0);
    assert_int_equal(tokenizer_piece(t, tokenizer_size(t), true).n, 0);
    assert_int_equal(tokenizer_token(t, tokenizer_size(t)).n, 0);
    tokenizer_free(t);
    vocab_free(&v);
}

static void odd_spellings(void **state) { // what is outside of the byte alphabet stays as it is
    vocab v = {0};
    (void)state;
    vocab_alphabet(&v);
    vocab_add(&v, "Ġa中", TOKEN_NORMAL, 0);
    vocab_add(&v, "a\xc4", TOKEN_NORMAL, 0);
    vocab_merge(&v, "a b");
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    str s = tokenizer_piece(t, 256, false);
    assert_true(str_is(s, " a中"));
    assert_true(str_is(tokenizer_piece(t, 257, false), "a\xc4"));
    for (int b = 0; b < 256; b++) {
        s = tokenizer_piece(t, b, false);
        assert_true(s.n == 1 && (unsigned char)s.p[0] == b);
    }
    tokenizer_free(t);
    vocab_free(&v);
}

static void end_of_reply(void **state) { // by name, by id, and not where other tokens change the meaning
    static const struct { const char *name; int32_t type; bool end; } cases[] = {
        {"<|eot_id|>", TOKEN_NORMAL, true}, {"<end_of_turn>", TOKEN_CONTROL, true}, {"<|end|>", TOKEN_CONTROL, false},
        {"<|return|>", TOKEN_CONTROL, true}, {"<|call|>", TOKEN_CONTROL, true},     {"</s>", TOKEN_NORMAL, false},
        {"<|file_sep|>", TOKEN_NORMAL, true}, {"<eog>", TOKEN_CONTROL, true},       {"x", TOKEN_NORMAL, false},
    };
    vocab v = {0};
    (void)state;
    vocab_alphabet(&v);
    vocab_merge(&v, "a b");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) vocab_add(&v, cases[i].name, cases[i].type, 0);
    token_source *s = vocab_source(&v, "gpt2", "gpt-2");
    s->eot = 256 + 7;
    tokenizer *t = vocab_make(s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tokenizer_is_end(t, 256 + (int32_t)i), cases[i].end);
    tokenizer_free(t);
    vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(streams), cmocka_unit_test(pieces),
                                       cmocka_unit_test(odd_spellings), cmocka_unit_test(end_of_reply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
