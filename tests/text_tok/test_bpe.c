// test_bpe.c - byte-level BPE: merges, special tokens, segments, refused vocabularies.
#include "vocab.h"

enum { S = TOKEN_PARSE_SPECIAL, A = TOKEN_ADD_SPECIAL };

static void common(vocab *v) {
    vocab_alphabet(v);
    static const char *const words[] = {"he", "ll", "hell", "hello", "Ġw", "or", "Ġwor", "ld", "Ġworld", "ĊĊ"};
    static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "Ċ Ċ"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        vocab_add(v, words[i], TOKEN_NORMAL, 0);
        vocab_merge(v, merges[i]);
    }
    vocab_add(v, "<|im_start|>", TOKEN_CONTROL, 0);
    vocab_add(v, "<|im_end|>", TOKEN_NORMAL, 0); // control by its name
    vocab_add(v, "<tool>", TOKEN_USER_DEFINED, 0);
}

static void words(void **state) {
    vocab v = {0};
    (void)state;
    common(&v);
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    expect(t, "", 0, "");
    expect(t, "hello", 0, "hello");
    expect(t, "hello world", 0, "hello|Ġworld");
    expect(t, "hell hel lo", 0, "hell|Ġ|he|l|Ġ|l|o");
    expect(t, "worl", 0, "w|or|l");
    expect(t, "\n\n\nhe", 0, "ĊĊ|Ċ|he");
    expect(t, "\0\x7f", 0, "Ā|ġ");
    expect(t, "\xc3\xa9", 0, "Ã|©");
    // Bytes that are no character give U+FFFD each; an over-long form and a surrogate are read as what they spell.
    expect(t, "h\xff" "e", 0, "h|ï|¿|½|e");
    expect(t, "\xe2\x96", 0, "ï|¿|½|ï|¿|½");
    expect(t, "\xc1\xa8", 0, "h");
    expect(t, "\xed\xa0\x80", 0, "í|ł|Ģ");
    expect(t, "\xf4\x90\x80\x80", 0, "ï|¿|½|ï|¿|½|ï|¿|½|ï|¿|½");
    tokenizer_free(t);
    vocab_free(&v);
}

static void special_tokens(void **state) {
    vocab v = {0};
    (void)state;
    common(&v);
    token_source *s = vocab_source(&v, "gpt2", "gpt-2");
    s->bos = 0, s->eos = (int64_t)v.tokens.n - 2, s->add_bos = 1, s->add_eos = 1;
    tokenizer *t = vocab_make(s);
    expect(t, "he<|im_end|>", 0, "he|<|||i|m|_|e|n|d|||>");
    expect(t, "he<|im_end|>he", S, "he|<|im_end|>|he");
    expect(t, "<tool>he<tool>", 0, "<tool>|he|<tool>");
    expect(t, "<|im_start|><|im_start|", S, "<|im_start|>|<|||i|m|_|s|t|a|r|t||");
    expect(t, "he", A, "Ā|he|<|im_end|>");
    expect(t, "", A, "Ā|<|im_end|>");
    int32_t end = tokenizer_find(t, STR("<|im_end|>")), start = tokenizer_find(t, STR("<|im_start|>"));
    assert_true(tokenizer_is_end(t, end) && tokenizer_is_special(t, end));
    assert_true(!tokenizer_is_end(t, start) && tokenizer_is_special(t, start));
    assert_false(tokenizer_is_special(t, tokenizer_find(t, STR("<tool>"))));
    assert_false(tokenizer_is_end(t, -1) || tokenizer_is_special(t, 1 << 20));
    assert_int_equal(tokenizer_find(t, STR("nothing")), -1);
    assert_int_equal(tokenizer_find(t, STR("")), -1);
    assert_true(tokenizer_adds_bos(t) && tokenizer_adds_eos(t) && tokenizer_bos(t) == 0 && tokenizer_eos(t) == end);
    tokenizer_free(t);
    vocab_free(&v);
}

static void stripped_spaces(void **state) { // attributes that follow from the model's name only
    vocab v = {0};
    (void)state;
    common(&v);
    vocab_add(&v, "<s>", TOKEN_CONTROL, 0);
    vocab_add(&v, "<mask>", TOKEN_CONTROL, 0);
    token_source *s = vocab_source(&v, "gpt2", "gpt-2");
    s->name = STR("Some Phi-3 mini");
    tokenizer *t = vocab_make(s);
    expect(t, "<|im_end|> \n he<s> he", S, "<|im_end|>|he|<s>|Ġ|he");
    expect(t, "<|im_end|>  ", S, "<|im_end|>");
    tokenizer_free(t);
    s = vocab_source(&v, "gpt2", "jina-v2-es");
    t = vocab_make(s);
    expect(t, "he \t<mask> he <s>", S, "he|<mask>|Ġ|he|Ġ|<s>");
    expect(t, "  <mask>", S, "<mask>");
    tokenizer_free(t);
    vocab_free(&v);
}

static void markers(void **state) { // user-defined, but of a control token's form
    vocab v = {0};
    (void)state;
    common(&v);
    vocab_add(&v, "<|user|>", TOKEN_USER_DEFINED, 0);
    vocab_add(&v, "<\xef\xbd\x9cx\xef\xbd\x9c>", TOKEN_USER_DEFINED, 0);
    vocab_add(&v, "<|>", TOKEN_USER_DEFINED, 0); // too short to be one
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    expect(t, "<|user|>", 0, "<|||u|s|e|r|||>");
    expect(t, "<|user|><\xef\xbd\x9cx\xef\xbd\x9c>", S, "<|user|>|<\xef\xbd\x9cx\xef\xbd\x9c>");
    expect(t, "<|>", 0, "<|>");
    int32_t id = tokenizer_find(t, STR("<|user|>"));
    assert_true(tokenizer_is_special(t, id) && tokenizer_piece(t, id, false).n == 8); // yet readers may want it
    tokenizer_free(t);
    vocab_free(&v);
}

static void segments(void **state) {
    static const struct { token_segment parts[4]; const char *want;
    } cases[] = {
        {{{STR("<|im_start|>"), true}, {STR("<|im_end|>"), false}, {STR("<|im_end|>"), true}},
         "<|im_start|>|<|||i|m|_|e|n|d|||>|<|im_end|>"},
        {{{STR("<|im_"), true}, {STR("end|>"), false}}, "<|||i|m|_|e|n|d|||>"}, // not by a user's help
        {{{STR("<|im_"), false}, {STR("end|>"), true}}, "<|||i|m|_|e|n|d|||>"},
        {{{STR("<|im_"), true}, {STR("end|>"), true}}, "<|im_end|>"},
        {{{STR("hel"), true}, {STR("lo wo"), false}, {STR("rld"), true}}, "hello|Ġworld"}, // words cross the borders
        {{{STR(""), true}, {STR(""), false}, {STR("<|im_end|>"), true}, {STR("he"), false}}, "<|im_end|>|he"},
        {{{STR("<tool>"), false}, {STR("<|im_end|>"), false}, {STR("<|im_end|>"), true}},
         "<tool>|<|||i|m|_|e|n|d|||>|<|im_end|>"},
    };
    vocab v = {0};
    (void)state;
    common(&v);
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        token_ids ids = {0};
        tl_error err = {0};
        assert_int_equal(tokenizer_encode_segments(t, cases[i].parts, 4, false, &ids, &err), TL_OK);
        expect_ids(t, &ids, cases[i].want);
        vec_free(&ids);
    }
    token_ids none = {0};
    assert_int_equal(tokenizer_encode_segments(t, NULL, 0, false, &none, NULL), TL_OK);
    assert_int_equal(none.n, 0);
    tokenizer_free(t);
    vocab_free(&v);
}

static void whole_words(void **state) { // ignore_merges: no merge makes "hexo"
    vocab v = {0};
    (void)state;
    common(&v);
    vocab_add(&v, "hexo", TOKEN_NORMAL, 0);
    vocab_add(&v, "hoho", TOKEN_CONTROL, 0);
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "llama-bpe"));
    expect(t, "hexo hexo", 0, "hexo|Ġ|he|x|o");
    expect(t, "hoho", 0, "h|o|h|o"); // a control token is no word
    tokenizer_free(t);
    t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    expect(t, "hexo", 0, "he|x|o");
    tokenizer_free(t);
    vocab_free(&v);
}

static void raw_bytes(void **state) { // characters as they are, spaces as U+2581, bytes as <0xXX>
    vocab v = {0};
    (void)state;
    vocab_bytes(&v);
    static const char *const tokens[] = {"h", "e", "▁", "he", "▁he", "\n", "\n\n", "é"};
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) vocab_add(&v, tokens[i], TOKEN_NORMAL, 0);
    vocab_merge(&v, "h e");
    vocab_merge(&v, "▁ he");
    tokenizer *t = vocab_make(vocab_source(&v, "gemma4", ""));
    expect(t, "he he", 0, "he|▁he");
    expect(t, "h\n\n\xc3\xa9", 0, "h|\n\n|é");
    expect(t, "x\xe2\x82\xac", 0, "<0x78>|<0xE2>|<0x82>|<0xAC>");
    assert_int_equal(tokenizer_piece(t, tokenizer_find(t, STR("▁he")), false).n, 3);
    tokenizer_free(t);
    token_source *s = vocab_source(&v, "whitespace", "whitespace"); // words without what is between them
    t = vocab_make(s);
    expect(t, " he\n\xe3\x80\x80he H ", 0, "he|he|<0x48>");
    tokenizer_free(t);
    s->lowercase = 1;
    t = vocab_make(s);
    expect(t, "HE \xc3\x89\xff", 0, "he|é|<0xEF>|<0xBF>|<0xBD>");
    tokenizer_free(t);
    vocab_free(&v);
}

static void odd_vocabularies(void **state) {
    vocab v = {0};
    (void)state;
    vocab_alphabet(&v);
    v.tokens.p['q'] = STR("zz"); // no token for this byte: it is left out
    vocab_add(&v, "abc", TOKEN_NORMAL, 0);
    vocab_add(&v, "", TOKEN_NORMAL, 0);
    vocab_add(&v, "abc", TOKEN_NORMAL, 0); // again
    vocab_add(&v, "cd", TOKEN_CONTROL, 0);
    vocab_merge(&v, "a b"); // makes what is no token
    vocab_merge(&v, "ab c");
    vocab_merge(&v, "c d"); // makes what text must not become
    vocab_merge(&v, "a b");
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    expect(t, "abcab", 0, "abc|a|b");
    expect(t, "qaq", 0, "a");
    expect(t, "cd", 0, "c|d");
    expect(t, "cd", S, "cd");
    assert_int_equal(tokenizer_piece(t, 257, true).n, 0);
    tokenizer_free(t);
    vocab_free(&v);
}

static void refused(void **state) {
    vocab v = {0};
    (void)state;
    common(&v);
    token_source *s = vocab_source(&v, "gpt2", "");
    expect_refused(s, TL_E_UNSUPPORTED, "--pre NAME");
    s->pre = STR("who-knows");
    expect_refused(s, TL_E_UNSUPPORTED, "'who-knows'");
    s->pre = STR("gpt-2");
    s->model = STR("who-knows");
    expect_refused(s, TL_E_UNSUPPORTED, "--pre NAME");
    s->pre_forced = true; // the user says that it is one
    tokenizer_free(vocab_make(s));
    s->model = STR("gpt2");
    s->eos = (int64_t)v.tokens.n;
    expect_refused(s, TL_E_FORMAT, "eos_token_id is 269");
    s->eos = UINT32_MAX; // none
    tokenizer_free(vocab_make(s));
    s->n_merges = 0;
    expect_refused(s, TL_E_FORMAT, "tokenizer.ggml.merges");
    s->n_tokens = 0;
    expect_refused(s, TL_E_FORMAT, "empty");
    sbuf huge = {0};
    for (int i = 0; i < 1025; i++) sbuf_putc(&huge, 'a');
    str was = v.tokens.p[v.tokens.n - 1];
    v.tokens.p[v.tokens.n - 1] = (str){huge.p, huge.n};
    expect_refused(vocab_source(&v, "gpt2", "gpt-2"), TL_E_LIMIT, "token 268 has 1025 bytes");
    v.tokens.p[0] = (str){huge.p, huge.n}; // text is not searched for an ordinary one
    v.tokens.p[v.tokens.n - 1] = was;
    tokenizer_free(vocab_make(vocab_source(&v, "gpt2", "gpt-2")));
    expect_refused(vocab_source(&v, "bert", ""), TL_E_LIMIT, "token 0");
    expect_refused(vocab_source(&v, "t5", ""), TL_E_LIMIT, "token 0");
    v.tokens.p[0] = STR("x");
    sbuf_free(&huge);
    static const char *const bad[] = {"", "a", " ", "a ", " a", "ab"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        v.merges.p[3] = str_of(bad[i]);
        expect_refused(vocab_source(&v, "gpt2", "gpt-2"), TL_E_FORMAT, "merges[3]");
    }
    vocab_free(&v);
}

// Merging by definition: again and again the best pair, the leftmost among equals.
static size_t merge_slowly(const char (*merges)[4], size_t n_merges, char (*parts)[64], size_t n) {
    for (;;) {
        size_t best = n_merges, at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t m = 0; m < best; m++) {
                char both[130];
                snprintf(both, sizeof both, "%.63s %.63s", parts[i], parts[i + 1]);
                if (strcmp(both, merges[m]) == 0) best = m, at = i;
            }
        if (best == n_merges) return n;
        parts[at][1] = parts[at + 1][0]; // what merges is of one letter
        parts[at][2] = 0;
        memmove(parts[at + 1], parts[at + 2], (n - at - 2) * sizeof *parts);
        n--;
    }
}

static void merges_by_definition(void **state) {
    static const char merges[][4] = {"b a", "a b", "b b", "c c", "a a", "c a"}; // each makes a token of two letters
    static char parts[128][64];
    vocab v = {0};
    uint32_t seed = 1;
    (void)state;
    vocab_alphabet(&v);
    for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
        vocab_add(&v, (char[]){merges[i][0], merges[i][2], 0}, TOKEN_NORMAL, 0);
        vocab_merge(&v, merges[i]);
    }
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "gpt-2"));
    for (size_t n = 1; n <= 120; n++) {
        char text[128] = "";
        sbuf want = {0};
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = (char)('a' + (seed >> 24) % 3);
            parts[i][0] = text[i], parts[i][1] = 0;
        }
        size_t left = merge_slowly(merges, sizeof merges / sizeof *merges, parts, n);
        for (size_t i = 0; i < left; i++) sbuf_printf(&want, i ? "|%s" : "%s", parts[i]);
        expect_text(t, (str){text, n}, 0, want.p);
        sbuf_free(&want);
    }
    tokenizer_free(t);
    vocab_free(&v);
}

static void allocations_fail(void **state) {
    vocab v = {0};
    (void)state;
    common(&v);
    vocab_merge(&v, "x y"); // makes no token
    expect_survival(vocab_source(&v, "gpt2", "gpt-2"), STR("hello hello hello\xff abcdefghijklmnopqrstuvwxyz1234567890"));
    vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),     cmocka_unit_test(special_tokens),   cmocka_unit_test(segments),
        cmocka_unit_test(stripped_spaces),
        cmocka_unit_test(markers),
        cmocka_unit_test(raw_bytes), cmocka_unit_test(whole_words),      cmocka_unit_test(merges_by_definition),
        cmocka_unit_test(refused),   cmocka_unit_test(odd_vocabularies), cmocka_unit_test(allocations_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
