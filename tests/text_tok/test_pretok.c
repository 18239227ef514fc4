// test_pretok.c - the rules of pretok.def: how each cuts text, that all compile, that none is slower than linear.
#include "vocab.h"

#include "text/pretok.h"

static void split(const char *name, str text, pretok_work *w) {
    pretok *p;
    tl_error err = {0};
    if (pretok_new(str_of(name), &p, &err) != TL_OK) fail_msg("%s", err.message);
    if (pretok_split(p, w, text.p, text.n, &err) != TL_OK) fail_msg("%s: %s", name, err.message);
    pretok_free(p);
}

static void cuts(void **state) {
    static const struct { const char *name, *text, *words; } cases[] = {
        {"gpt-2", "Hello  world's 123 don't\n\n x", "Hello| | world|'s| 123| don|'t|\n\n| x"},
        {"gpt-2", "DON'T \t!?", "DON|'|T| |\t|!?"},
        {"smollm", "a12 3 b", "a|1|2| |3| b"},
        {"qwen2", "I'M 12x\r\n\n y", "I|'M| |1|2|x|\r\n\n| y"},
        {"qwen2", "a \xe1\xa0\x8e" "b", "a| \xe1\xa0\x8e|b"},              // U+180E is no space
        {"qwen2", "a\xe3\x80\x80\xc2\x85 b", "a|\xe3\x80\x80\xc2\x85| b"}, // U+3000 and U+0085 are
        {"qwen2", "(x) //\n\n  \n z", "(x|)| //\n\n|  \n| z"},
        {"llama-bpe", "1234567 ok!!\n", "123|456|7| ok|!!\n"},
        {"gpt-4o", "HelloWORLD don't camelCase", "Hello|WORLD| don't| camel|Case"},
        {"tekken", "a12 A'B", "a|1|2| A|'B"},
        {"afmoe", "1234567", "1|234|567"},
        {"tiny_aya", "ab12345", "ab|12|345"},
        {"superbpe", "x 1234 y", "x |1|234| y"},
        {"deepseek-v3", "abc\xe4\xbd\xa0\xe5\xa5\xbd" "1234abc", "abc|\xe4\xbd\xa0\xe5\xa5\xbd|123|4|abc"},
        {"deepseek-llm", "hi  \n  ", "hi|  |\n|  "},
        {"deepseek-coder", "a, b1", "a|,| b|1"},
        {"kimi-k2", "hello\xe4\xb8\x96\xe7\x95\x8cWorld", "hello|\xe4\xb8\x96\xe7\x95\x8c|World"},
        {"exaone-moe", "two words here 1", "two words here| |1"},
        {"bloom", "Hi there. ok", "Hi| there|.| ok"},
        {"viking", "ab12", "ab|1|2"},
        {"falcon", "a+b 12345", "a|+|b| |123|45"},
        {"default", "a. b 1234", "a|.| b| |123|4"},
        {"chameleon", "IMGIMGABZ\tx", "IMGIMGABZ|\t|x"},
        {"gemma4", "ab c\n\nd", "ab c|\n\n|d"},
        {"jais-2", "a      b", "a|    | | b"},
        {"seed-coder", "a!\n", "a|!|\n"},
        {"bailingmoe", "a\n\n", "a|\n\n"},
        {"youtu", "\xea\xb0\x80\xeb\x82\x98" "ab", "\xea\xb0\x80\xeb\x82\x98|ab"},
        {"spark2_5", "a!\n\nb", "a|!|\n|\n|b"},
    };
    pretok_work w = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sbuf got = {0};
        split(cases[i].name, str_of(cases[i].text), &w);
        for (size_t k = 0, at = 0; k < w.ends.n; at = w.ends.p[k++]) {
            if (k) sbuf_putc(&got, '|');
            sbuf_put(&got, cases[i].text + at, w.ends.p[k] - at);
        }
        if (strcmp(got.p, cases[i].words) != 0) fail_msg("%s: %s", cases[i].name, got.p);
        sbuf_free(&got);
    }
    pretok_work_deinit(&w);
}

// A quadratic pattern would take minutes here.
static void every_rule_is_quick(void **state) {
    static const char *const units[] = {"a", "A", " ", "7", "\n", "'", "a ", "\xe4\xb8\xad", "<", "\xcc\x81"};
    enum { LONG = 60000 };
    pretok_work w = {0};
    sbuf text = {0};
    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        text.n = 0;
        while (text.n < LONG) sbuf_puts(&text, units[u]);
        sbuf_puts(&text, "x");
        for (size_t i = 0; pretok_name(i); i++) {
            split(pretok_name(i), (str){text.p, text.n}, &w);
            uint32_t before = 0;
            for (size_t k = 0; k < w.ends.n; before = w.ends.p[k++]) assert_true(w.ends.p[k] > before);
            assert_int_equal(before, text.n);
        }
    }
    split("qwen2", (str){text.p, 0}, &w);
    assert_int_equal(w.ends.n, 0);
    sbuf_free(&text);
    pretok_work_deinit(&w);
}

static void unknown_names(void **state) {
    pretok *p;
    tl_error err;
    (void)state;
    assert_int_equal(pretok_new(STR("no\nsuch"), &p, &err), TL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no\\x0asuch"));
    assert_non_null(strstr(err.message, "--pre NAME"));
    assert_null(p);
    assert_int_equal(pretok_new(STR(""), &p, &err), TL_E_UNSUPPORTED);
    assert_null(pretok_name(100000));
    pretok_free(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cuts), cmocka_unit_test(every_rule_is_quick),
                                       cmocka_unit_test(unknown_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
