// test_grammar.c - GBNF: what is parsed, what is refused and how, which texts match, masks, forced bytes, memory.
#include "text/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static tl_error err;

// ---- a small vocabulary: single bytes, then some longer tokens, a control token and the end ---------------------------
static const char *const longer[] = {"true",     "tr", "false", "\"a\"", "\":", "{\"", "\xc3\xa9", "\xf0\x9f\x98\x80",
                                     "\xf0\x9f", "ab", "abc",   "abab",  "  ",  "12",  "null,",    "ab",
                                     "\n\n",     "}}", "]]",    "a\xc3"};
enum { N_LONGER = sizeof longer / sizeof *longer, CONTROL = 256 + N_LONGER, END, N_VOCAB };

static const char *token_text(void *ctx, int32_t id, size_t *n) {
    static char one[256];
    (void)ctx;
    *n = id < 256 ? 1 : id < CONTROL ? strlen(longer[id - 256]) : id == END ? 3 : 0;
    if (id < 256) return one[id] = (char)id, &one[id];
    return id < CONTROL ? longer[id - 256] : "</>";
}

static grammar_vocab *vocab(void) {
    grammar_vocab *v;
    int32_t ends[] = {END};
    assert_int_equal(grammar_vocab_new(N_VOCAB, token_text, NULL, ends, 1, &v, &err), TL_OK);
    return v;
}

static grammar *parse(const char *text) {
    grammar *g;
    if (grammar_parse(str_of(text), "root", &g, &err) != TL_OK) fail_msg("%s\n%s", text, err.message);
    return g;
}

static bool matches(grammar_matcher *m, str s) {
    uint32_t state;
    assert_int_equal(grammar_next_bytes(m, GRAMMAR_START, s, &state, &err), TL_OK);
    return grammar_may_end(m, state);
}

#define JSON                                                                                                           \
    "root ::= value\n"                                                                                                 \
    "value ::= object | array | string | number | (\"true\" | \"false\" | \"null\") ws\n"                              \
    "object ::=\n  \"{\" ws (\n string \":\" ws value\n (\",\" ws string \":\" ws value)*\n  )? \"}\" ws\n"            \
    "array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws # comment\n"                                             \
    "string ::= \"\\\"\" ( [^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}) )* \"\\\"\" ws\n" \
    "number ::= \"-\"? ([0-9] | [1-9] [0-9]{0,15}) (\".\" [0-9]+)? ([eE] [-+]? [0-9]+)? ws\n"                          \
    "ws ::= | \" \" | \"\\n\" [ \\t]{0,20}\n"

static void test_match(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *yes[8], *no[8];
    } cases[] = {
        {"root ::= \"ab\"", {"ab"}, {"", "a", "abb", "ba"}},
        {"root ::= \"a\" | \"b\" \"c\" |", {"a", "bc", ""}, {"b", "abc"}},
        {"root ::= [a-c]+ [^a-c]?",
         {"a", "abcz", "c\xc3\xa9", "a\xf0\x9f\x98\x80"},
         {"", "z", "aza", "a\xc3", "a\x80"}},
        {"root ::= \"ab\"*", {"", "ab", "abab"}, {"a", "aba"}},
        {"root ::= \"a\" \"bc\"{2}", {"abcbc"}, {"abc", "abcbcbc"}},
        {"root ::= [x]{2,4}", {"xx", "xxx", "xxxx"}, {"x", "xxxxx"}},
        {"root ::= [x]{2,}", {"xx", "xxxxxxxx"}, {"x", ""}},
        {"root ::= [x]{,2} \"y\"", {"y", "xxy"}, {"xxxy"}},
        {"root ::= [x]{0} \"y\"", {"y"}, {"xy"}},
        {"root ::= .",
         {"a", "\n", "\xc3\xa9", "\xe2\x82\xac", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"},
         {"", "ab", "\xc3", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc0\x80", "\xe0\x80\x80"}},
        {"root ::= [\xc3\xa9-\xe2\x82\xac]",
         {"\xc3\xa9", "\xe0\xa4\x84", "\xe2\x82\xac", "\xdf\xbf"},
         {"\xc3\xa8", "\xe2\x82\xad", "e"}},
        {"root ::= [\\u00e9\\U0001F600\\x41\\n]", {"\xc3\xa9", "\xf0\x9f\x98\x80", "A", "\n"}, {"B"}},
        {"root ::= \"\\u00e9\\t\\\"\\\\\"", {"\xc3\xa9\t\"\\"}, {"\xc3\xa9"}},
        {"root ::= [a-] [\\]] [-x]", {"a]-", "-]x"}, {"b]x"}},
        {"root ::= (\"a\" | (\"b\" \"c\"?)+)* \"d\"", {"d", "abd", "bcbad"}, {"cd", "abc"}},
        {"root ::= (([a]*)*)*", {"", "aaa"}, {"b"}},
        {"root ::= \"\"* \"a\" (\"\")?", {"a"}, {""}},
        {"# c\nroot   ::= a-b\n  \na-b ::= \"(\" a-b \")\" | x_1\nx_1 ::= \"x\"", {"x", "((x))"}, {"((x)", "x)"}},
        {"root ::= s\ns ::= \"a\" s \"b\" | \"ab\"", {"ab", "aaabbb"}, {"aabbb", "aab"}},
        {"root ::= (\n\"a\"\n|\n\"b\"\n)\r\n", {"a", "b"}, {""}},
        {JSON,
         {"{}", "[1, 2.5e-3,{\"a\":[null]}]", "\"\\u00e9\xc3\xa9\"", "-0", "true\n  ", "{\"a\":\n \"b\",\"c\":[]}"},
         {"{\"a\"}", "[1,]", "\"\n\"", "01", "tru", "[", "\"\\x\""}},
    };
    grammar_vocab *v = vocab();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar *g = parse(cases[i].grammar);
        grammar_matcher *m;
        assert_int_equal(grammar_matcher_new(g, v, &m, &err), TL_OK);
        for (int k = 0; k < 8 && cases[i].yes[k]; k++)
            if (!matches(m, str_of(cases[i].yes[k]))) fail_msg("%s: no match of '%s'", cases[i].grammar, cases[i].yes[k]);
        for (int k = 0; k < 8 && cases[i].no[k]; k++)
            if (matches(m, str_of(cases[i].no[k]))) fail_msg("%s: match of '%s'", cases[i].grammar, cases[i].no[k]);
        grammar_matcher_free(m);
        grammar_free(g);
    }
    grammar_vocab_free(v);
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *grammar;
        tl_status code;
        const char *message;
    } cases[] = {
        {"", TL_E_FORMAT, "no rule 'root'"},
        {"root ::= a\n", TL_E_FORMAT, "line 1, column 10: the rule 'a' is not defined"},
        {"root = \"a\"", TL_E_FORMAT, "line 1, column 6: expected '::='"},
        {"root ::= \"a", TL_E_FORMAT, "line 1, column 10: the string has no end"},
        {"root ::= \"\\q\"", TL_E_FORMAT, "line 1, column 12: unknown escape"},
        {"root ::= \"\\x4\"", TL_E_FORMAT, "a hexadecimal digit is missing"},
        {"root ::= \"\\ud800\"", TL_E_FORMAT, "the escape is no character"},
        {"root ::= [a", TL_E_FORMAT, "the character class has no end"},
        {"root ::= [z-a]", TL_E_FORMAT, "upside down"},
        {"root ::= (\"a\"\n", TL_E_FORMAT, "line 1, column 10: expected ')'"},
        {"root ::= \"a\" )", TL_E_FORMAT, "line 1, column 14: unexpected character"},
        {"root ::= *", TL_E_FORMAT, "nothing before this to repeat"},
        {"root ::= \"a\"{3,2}", TL_E_FORMAT, "fewer than the least"},
        {"root ::= \"a\"{x}", TL_E_FORMAT, "expected a number"},
        {"root ::= \"a\"{1", TL_E_FORMAT, "expected '}'"},
        {"root ::= \"a\"{100001}", TL_E_LIMIT, "more than 100000"},
        {"root ::= \"a\"\nroot ::= \"b\"", TL_E_FORMAT, "line 2, column 1: the rule is defined twice"},
        {"root ::= root \"a\" | \"b\"", TL_E_FORMAT, "'root' is left recursive"},
        {"root ::= a\na ::= b \"x\"\nb ::= \"y\"? a \"z\"", TL_E_FORMAT, "is left recursive"},
        {"root ::= <[12]>", TL_E_UNSUPPORTED, "token references"},
        {"root ::= \"\xff\"", TL_E_FORMAT, "not valid UTF-8"},
        {"root ::= [\xc3]", TL_E_FORMAT, "not valid UTF-8"},
        {"  ::= a", TL_E_FORMAT, "expected a rule's name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        grammar *g;
        tl_status code = grammar_parse(str_of(cases[i].grammar), "root", &g, &err);
        bool as_wanted = code == cases[i].code && strstr(err.message, cases[i].message);
        if (!as_wanted) fail_msg("%s: %d %s", cases[i].grammar, code, err.message);
        assert_null(g);
    }
}

static void test_sizes(void **state) { // bounded time and memory
    (void)state;
    enum { N = 100000 };
    static char deep[N + 32];
    grammar *g;
    strcpy(deep, "root ::= ");
    memset(deep + 9, '(', N);
    assert_int_equal(grammar_parse(str_of(deep), "root", &g, &err), TL_E_LIMIT);
    assert_int_equal(grammar_parse(STR("root ::= \"a\"{90000} \"b\"{90000} (\"c\"{90000}){0,90000}"), "root", &g, &err),
                     TL_OK);
    grammar_free(g);
    assert_int_equal(
        grammar_parse(STR("root ::= [a]{90000} | a a a\na ::= [^b]{90000} [^c]{0,90000} [^c]{0,90000} [a]*"), "root",
                      &g, &err),
        TL_OK);
    grammar_free(g);
    char many[50 * 16] = "root ::=";
    for (int i = 0; i < 50; i++) strcat(many, " [a]{90000}");
    assert_int_equal(grammar_parse(str_of(many), "root", &g, &err), TL_E_LIMIT);
    assert_non_null(strstr(err.message, "too large"));
    static char chain[40 * 20000]; // a long chain of rules that refer to the next
    size_t n = (size_t)sprintf(chain, "root ::= r0\n");
    for (int i = 0; i < 20000; i++) n += (size_t)sprintf(chain + n, "r%d ::= r%d\n", i, i + 1);
    sprintf(chain + n, "r20000 ::= \"x\"?\n");
    g = parse(chain);
    grammar_free(g);
}

static void test_masks(void **state) { // every bit says what grammar_next does, along random walks
    (void)state;
    grammar_vocab *v = vocab();
    grammar *g = parse(JSON);
    grammar_matcher *m;
    uint64_t seed = 1;
    assert_int_equal(grammar_matcher_new(g, v, &m, &err), TL_OK);
    for (int walk = 0; walk < 30; walk++) {
        uint32_t s = GRAMMAR_START;
        for (int length = 0; length < 60 && s != GRAMMAR_DEAD; length++) {
            const uint64_t *mask;
            int32_t allowed[N_VOCAB];
            int n = 0;
            assert_int_equal(grammar_mask(m, s, &mask, &err), TL_OK);
            for (int32_t id = 0; id < N_VOCAB; id++) {
                uint32_t next;
                bool bit = mask[id / 64] >> (id % 64) & 1;
                assert_int_equal(grammar_next(m, s, id, &next, &err), TL_OK);
                if (id == END) assert_int_equal(bit, grammar_may_end(m, s));
                else assert_int_equal(bit, next != GRAMMAR_DEAD);
                if (bit && id != END) allowed[n++] = id;
            }
            if (n == 0) break;
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            assert_int_equal(grammar_next(m, s, allowed[(seed >> 33) % (unsigned)n], &s, &err), TL_OK);
        }
    }
    grammar_matcher_free(m);
    grammar_free(g);
    grammar_vocab_free(v);
}

static void test_forced(void **state) {
    (void)state;
    grammar_vocab *v = vocab();
    grammar *g = parse("root ::= \"{\\\"name\\\": \" [0-9] (\"ab\" | \"ac\") \"end\"?");
    grammar_matcher *m;
    char buf[64];
    size_t n;
    uint32_t s;
    assert_int_equal(grammar_matcher_new(g, v, &m, &err), TL_OK);
    assert_int_equal(grammar_forced(m, GRAMMAR_START, buf, sizeof buf, &n, &err), TL_OK);
    assert_int_equal(n, 9);
    assert_memory_equal(buf, "{\"name\": ", 9);
    assert_int_equal(grammar_forced(m, GRAMMAR_START, buf, 3, &n, &err), TL_OK);
    assert_int_equal(n, 3);
    assert_int_equal(grammar_next_bytes(m, GRAMMAR_START, STR("{\"name\": 1"), &s, &err), TL_OK);
    assert_int_equal(grammar_forced(m, s, buf, sizeof buf, &n, &err), TL_OK);
    assert_int_equal(n, 1); // 'a', then b or c
    assert_int_equal(grammar_next_bytes(m, s, STR("ac"), &s, &err), TL_OK);
    assert_int_equal(grammar_forced(m, s, buf, sizeof buf, &n, &err), TL_OK);
    assert_int_equal(n, 0); // the text may end here
    assert_true(grammar_may_end(m, s) && !grammar_may_end(m, GRAMMAR_DEAD));
    grammar_matcher_free(m);
    grammar_free(g);
    grammar_vocab_free(v);
}

static tl_status use_all(void) { // parses, matches, masks; frees what it got
    grammar *g = NULL;
    grammar_vocab *v = NULL;
    grammar_matcher *m = NULL;
    const uint64_t *mask;
    uint32_t s = GRAMMAR_START;
    int32_t end = END;
    tl_status code = grammar_parse(STR(JSON), "root", &g, &err);
    if (code == TL_OK) code = grammar_vocab_new(N_VOCAB, token_text, NULL, &end, 1, &v, &err);
    if (code == TL_OK) code = grammar_matcher_new(g, v, &m, &err);
    if (code == TL_OK) code = grammar_mask(m, s, &mask, &err);
    if (code == TL_OK) code = grammar_next(m, s, '[', &s, &err);
    if (code == TL_OK) code = grammar_mask(m, s, &mask, &err);
    grammar_matcher_free(m);
    grammar_vocab_free(v);
    grammar_free(g);
    return code;
}

static void test_memory(void **state) {
    (void)state;
    for (int n = 0; n < 5000; n++) {
        mem_fail_after(n);
        tl_status code = use_all();
        mem_fail_after(-1);
        if (code == TL_OK) return;
        assert_int_equal(code, TL_E_MEMORY);
    }
    fail_msg("never succeeds");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match), cmocka_unit_test(test_errors), cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_masks), cmocka_unit_test(test_forced), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
