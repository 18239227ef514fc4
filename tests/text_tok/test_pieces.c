// test_pieces.c - WordPiece and Unigram.
#include "vocab.h"

enum { S = TOKEN_PARSE_SPECIAL, A = TOKEN_ADD_SPECIAL };

static void wordpiece(void **state) {
    static const char *const tokens[] = {"▁un", "▁want", "▁runn", "ed", "ing", "▁,", "▁the",
                                         "▁é",  "▁e",    "▁中",   "a",  "▁[",  "▁]", "▁cls"};
    vocab v = {0};
    (void)state;
    vocab_add(&v, "[UNK]", TOKEN_UNKNOWN, 0);
    vocab_add(&v, "[CLS]", TOKEN_CONTROL, 0);
    vocab_add(&v, "[SEP]", TOKEN_CONTROL, 0);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) vocab_add(&v, tokens[i], TOKEN_NORMAL, 0);
    token_source *s = vocab_source(&v, "bert", "");
    s->unk = 0, s->bos = 1, s->sep = 2;
    tokenizer *t = vocab_make(s);
    expect(t, "unwant running , WANTED", A, "[CLS]|[UNK]|▁runn|ing|▁,|▁want|ed|[SEP]");
    expect(t, "The\t the,the", 0, "▁the|▁the|▁,|▁the");
    expect(t, "\xc3\xa9 e\xcc\x81", 0, "▁e|▁e");          // accents are stripped
    expect(t, "\xe4\xb8\xad\xe4\xb8\xad", 0, "▁中|▁中"); // each stands alone
    expect(t, "th\xff" "e \xef\xbf\xbd", 0, "▁the");      // what is no character is left out
    expect(t, "[CLS]", 0, "▁[|▁cls|▁]");
    expect(t, "[CLS]the", S, "[CLS]|▁the");
    expect(t, "  ", A, "[CLS]|[SEP]");
    tokenizer_free(t);
    s->strip_accents = 0, s->lowercase = 0;
    t = vocab_make(s);
    expect(t, "\xc3\xa9 The", 0, "▁é|[UNK]");
    tokenizer_free(t);
    vocab_free(&v);
}

// A normalizer table in the file's form: "A" -> "b", "Ab" -> "" over a double array of XOR steps. Unit: bits 0-7 label, 8 has
// a value, 9 offset scale, 10 on the offset; a value unit has bit 31.
typedef struct charsmap {
    uint32_t bytes;
    uint32_t unit[512];
    char replacements[4];
} charsmap;

static void charsmap_make(charsmap *c) {
    *c = (charsmap){.bytes = sizeof c->unit};
    const uint32_t root = 256, a = root ^ 'A', a_base = 128, ab = a_base ^ 'b', ab_base = 320;
    c->unit[0] = root << 10;
    c->unit[a] = 'A' | 1u << 8 | (a ^ a_base) << 10;
    c->unit[a_base] = 1u << 31 | 0; // "b"
    c->unit[ab] = 'b' | 1u << 8 | (ab ^ ab_base) << 10;
    c->unit[ab_base] = 1u << 31 | 2; // ""
    memcpy(c->replacements, "b\0\0", 4);
}

static void unigram_vocab(vocab *v) {
    static const struct { const char *text; float score; } tokens[] = {
        {"▁", -2}, {"a", -3}, {"b", -3}, {"ab", -4}, {"▁a", -4}, {"▁ab", -6}, {"bb", -4.5f}, {"abb", -8},
    };
    vocab_add(v, "<pad>", TOKEN_CONTROL, 0);
    vocab_add(v, "</s>", TOKEN_CONTROL, 0);
    vocab_add(v, "<unk>", TOKEN_UNKNOWN, 0);
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) vocab_add(v, tokens[i].text, TOKEN_NORMAL, tokens[i].score);
    vocab_add(v, "<x>", TOKEN_USER_DEFINED, 0);
}

static void unigram(void **state) {
    vocab v = {0};
    (void)state;
    unigram_vocab(&v);
    token_source *s = vocab_source(&v, "t5", "");
    tokenizer *t = vocab_make(s);
    expect(t, "", A, "</s>");
    expect(t, "ab", A, "ab|</s>");
    expect(t, "abb", 0, "ab|b");          // -7; "a|bb" sums up to -7.5, "abb" is -8
    expect(t, "a ab", 0, "a|▁ab");
    expect(t, "xyb", 0, "<unk>|b");       // a run of unknown characters is one token
    expect(t, "</s>", 0, "<unk>");
    expect(t, "a</s>", S, "a|</s>");
    expect(t, "a<x>b", 0, "a|<x>|b");
    expect(t, "a\xff", 0, "a|<unk>");
    tokenizer_free(t);
    s->add_space_prefix = 1, s->remove_extra_whitespaces = 1;
    t = vocab_make(s);
    expect(t, "  a   ab ", 0, "▁a|▁ab");
    tokenizer_free(t);
    vocab_free(&v);
}

static void normalizer(void **state) {
    vocab v = {0};
    charsmap c;
    (void)state;
    unigram_vocab(&v);
    charsmap_make(&c);
    token_source *s = vocab_source(&v, "t5", "");
    s->charsmap = &c, s->charsmap_n = sizeof c;
    tokenizer *t = vocab_make(s);
    expect(t, "A", 0, "b");
    expect(t, "aAbb", 0, "ab"); // the longest match wins
    expect(t, "AA", 0, "bb");
    tokenizer_free(t);
    s->charsmap_n = 3;
    expect_refused(s, TL_E_FORMAT, "precompiled_charsmap");
    s->charsmap_n = sizeof c - sizeof c.replacements - 1;
    expect_refused(s, TL_E_FORMAT, "precompiled_charsmap");
    s->charsmap_n = sizeof c - 3; // "b" without its end
    expect_refused(s, TL_E_FORMAT, "the last replacement is cut");
    s->charsmap_n = sizeof c;
    c.unit[128] = 1u << 31 | 100; // a value beyond the replacements is no match
    t = vocab_make(s);
    expect(t, "A", 0, "<unk>");
    tokenizer_free(t);
    s->charsmap = NULL;
    s->unk = UINT32_MAX;
    expect_refused(s, TL_E_FORMAT, "unknown token");
    s->scores = NULL;
    expect_refused(s, TL_E_FORMAT, "scores");
    vocab_free(&v);
}

static void allocations_fail(void **state) {
    vocab v = {0};
    charsmap c;
    (void)state;
    unigram_vocab(&v);
    charsmap_make(&c);
    token_source *s = vocab_source(&v, "t5", "");
    s->charsmap = &c, s->charsmap_n = sizeof c;
    expect_survival(s, STR("aAb<x>b zz abb"));
    s = vocab_source(&v, "bert", "");
    s->unk = 2, s->bos = 0, s->sep = 1;
    expect_survival(s, STR("a ab, abb"));
    vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wordpiece), cmocka_unit_test(unigram), cmocka_unit_test(normalizer),
                                       cmocka_unit_test(allocations_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
