// test_schema.c - JSON Schema as a grammar: instances that fit and do not (schemas.json), refusals, bounded work.
#include "text/grammar.h"
#include "text/schema.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static tl_error err;

static const char *byte_text(void *ctx, int32_t id, size_t *n) {
    static char one[256];
    (void)ctx;
    *n = id < 256;
    return id < 256 ? (one[id] = (char)id, &one[id]) : "";
}

static tl_status compile(const json_t *schema, grammar **g) {
    char *gbnf = NULL;
    *g = NULL;
    TL_TRY(schema_to_gbnf(schema, &gbnf, &err));
    tl_status code = grammar_parse(str_of(gbnf), "root", g, &err);
    mem_free(gbnf);
    return code;
}

static void check_group(const json_t *group, const grammar_vocab *v) {
    const char *name = json_string_value(json_object_get(group, "description"));
    grammar *g;
    grammar_matcher *m;
    json_t *t;
    size_t i;
    if (compile(json_object_get(group, "schema"), &g) != TL_OK) fail_msg("%s: %s", name, err.message);
    assert_int_equal(grammar_matcher_new(g, v, &m, &err), TL_OK);
    json_array_foreach(json_object_get(group, "tests"), i, t) {
        bool valid = json_is_true(json_object_get(t, "valid"));
        for (int compact = 0; compact < 2; compact++) {
            char *text = json_dumps(json_object_get(t, "data"),
                                    JSON_ENCODE_ANY | JSON_REAL_PRECISION(15) | (compact ? JSON_COMPACT : 0));
            uint32_t s;
            assert_int_equal(grammar_next_bytes(m, GRAMMAR_START, str_of(text), &s, &err), TL_OK);
            if (grammar_may_end(m, s) != valid) fail_msg("%s: %s %s", name, text, valid ? "does not fit" : "fits");
            free(text);
        }
    }
    grammar_matcher_free(m);
    grammar_free(g);
}

static void test_instances(void **state) {
    (void)state;
    json_error_t e;
    json_t *all = json_load_file(TEST_DIR "/schemas.json", 0, &e), *group;
    grammar_vocab *v;
    int32_t end = 256;
    size_t i;
    if (!all) fail_msg("schemas.json: %s", e.text);
    assert_true(json_array_size(all) >= 40);
    assert_int_equal(grammar_vocab_new(257, byte_text, NULL, &end, 1, &v, &err), TL_OK);
    json_array_foreach(all, i, group) check_group(group, v);
    grammar_vocab_free(v);
    json_decref(all);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        tl_status code;
        const char *message;
    } cases[] = {
        {"{\"properties\":{\"a\":{\"not\":{}}}}", TL_E_UNSUPPORTED,
         "at #/properties/a: the keyword 'not' is not supported"},
        {"{\"type\":\"array\",\"uniqueItems\":true}", TL_E_UNSUPPORTED, "at #: the keyword 'uniqueItems'"},
        {"{\"anyOf\":[{\"type\":\"x\"}]}", TL_E_FORMAT, "at #/anyOf/0: 'type' must be"},
        {"{\"type\":\"object\",\"anyOf\":[{}]}", TL_E_UNSUPPORTED, "'type' beside 'anyOf'"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", TL_E_UNSUPPORTED,
         "branches 0 and 1 of 'oneOf' may overlap"},
        {"{\"oneOf\":[{\"enum\":[1,2]},{\"enum\":[2,3]}]}", TL_E_UNSUPPORTED, "may overlap"},
        {"{\"$ref\":\"#/x\"}", TL_E_FORMAT, "leads nowhere"},
        {"{\"$ref\":\"http://example.com/x\"}", TL_E_UNSUPPORTED, "does not point into this schema"},
        {"{\"$ref\":\"#/a\",\"a\":{},\"minimum\":1}", TL_E_UNSUPPORTED, "beside '$ref'"},
        {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", TL_E_FORMAT, "no whole number between"},
        {"{\"type\":\"number\",\"minimum\":0.1,\"maximum\":0.9}", TL_E_UNSUPPORTED, "no whole number between"},
        {"{\"type\":\"integer\",\"minimum\":1e300}", TL_E_LIMIT, "more than 16 digits"},
        {"{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", TL_E_FORMAT, "larger than 'maxLength'"},
        {"{\"type\":\"string\",\"maxLength\":100001}", TL_E_LIMIT, "larger than 100000"},
        {"{\"type\":\"string\",\"minLength\":-1}", TL_E_FORMAT, "whole number"},
        {"{\"type\":\"string\",\"format\":\"zap\"}", TL_E_UNSUPPORTED, "the format 'zap'"},
        {"{\"type\":\"string\",\"pattern\":\"a(?=b)\"}", TL_E_UNSUPPORTED, "in the pattern, at character 3"},
        {"{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}", TL_E_UNSUPPORTED, "this escape"},
        {"{\"type\":\"string\",\"pattern\":\"a$b\"}", TL_E_UNSUPPORTED, "at the ends only"},
        {"{\"type\":\"string\",\"pattern\":\"[b-a]\"}", TL_E_FORMAT, "upside down"},
        {"{\"type\":\"string\",\"pattern\":\"(a\"}", TL_E_FORMAT, "expected ')'"},
        {"{\"type\":\"string\",\"pattern\":\"a)\"}", TL_E_FORMAT, "unexpected ')'"},
        {"{\"type\":\"string\",\"pattern\":\"*a\"}", TL_E_FORMAT, "nothing before"},
        {"{\"type\":\"string\",\"pattern\":\"a\\\\\"}", TL_E_FORMAT, "a backslash before nothing"},
        {"{\"type\":\"string\",\"pattern\":\"[a\"}", TL_E_FORMAT, "no end"},
        {"{\"type\":\"string\",\"pattern\":\"\\u0000\"}", TL_E_FORMAT, "nothing before"},
        {"{\"properties\":{\"a\":{}},\"required\":[\"b\"],\"additionalProperties\":false}", TL_E_FORMAT,
         "'b' is required but not allowed"},
        {"{\"enum\":[]}", TL_E_FORMAT, "no value is allowed"},
        {"{\"enum\":[1],\"type\":\"string\"}", TL_E_FORMAT, "no value is allowed"},
        {"false", TL_E_FORMAT, "nothing is allowed here"},
        {"3", TL_E_FORMAT, "a schema must be an object"},
        {"{\"items\":4}", TL_E_FORMAT, "at #/items: a schema must be"},
        {"{\"allOf\":[{\"properties\":{\"a\":{}},\"additionalProperties\":false},{\"properties\":{\"b\":{}}}]}",
         TL_E_UNSUPPORTED, "'additionalProperties'"},
        {"{\"allOf\":[{\"minimum\":1},{\"minimum\":2}]}", TL_E_UNSUPPORTED, "two different 'minimum'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *j = json_loads(cases[i].schema, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        grammar *g;
        assert_non_null(j);
        memset(&err, 0, sizeof err);
        tl_status code = compile(j, &g);
        if (code != cases[i].code || !strstr(err.message, cases[i].message))
            fail_msg("%s: %d %s", cases[i].schema, code, err.message);
        json_decref(j);
    }
}

// Whether a grammar text matches.
static bool matches(const char *gbnf, const char *text) {
    grammar *g;
    grammar_vocab *v;
    grammar_matcher *m;
    uint32_t s;
    int32_t end = 256;
    assert_int_equal(grammar_parse(str_of(gbnf), "root", &g, &err), TL_OK);
    assert_int_equal(grammar_vocab_new(257, byte_text, NULL, &end, 1, &v, &err), TL_OK);
    assert_int_equal(grammar_matcher_new(g, v, &m, &err), TL_OK);
    assert_int_equal(grammar_next_bytes(m, GRAMMAR_START, str_of(text), &s, &err), TL_OK);
    bool whole = grammar_may_end(m, s);
    grammar_matcher_free(m);
    grammar_vocab_free(v);
    grammar_free(g);
    return whole;
}

static void test_plain(void **state) { // regular expressions and choices over plain text
    (void)state;
    static const char *const list[] = {"yes", "no \"\\", "l\n2"};
    char *gbnf;
    assert_int_equal(schema_regex_to_gbnf(STR("^(\\d{2}|\"\\n\\\\)[^a]?$"), &gbnf, &err), TL_OK);
    assert_true(matches(gbnf, "12") && matches(gbnf, "\"\n\\") && matches(gbnf, "34\""));
    assert_false(matches(gbnf, "1") || matches(gbnf, "12a") || matches(gbnf, "x12"));
    mem_free(gbnf);
    assert_int_equal(schema_regex_to_gbnf(STR("a|b."), &gbnf, &err), TL_OK);
    assert_true(matches(gbnf, "a") && matches(gbnf, "b\xc3\xa9"));
    assert_false(matches(gbnf, "xa") || matches(gbnf, "b\n"));
    mem_free(gbnf);
    assert_int_equal(schema_regex_to_gbnf(STR("a("), &gbnf, &err), TL_E_FORMAT);
    assert_string_equal(err.message, "in the pattern, at character 2: expected ')'");
    assert_int_equal(schema_choices_to_gbnf(list, 3, &gbnf, &err), TL_OK);
    assert_true(matches(gbnf, "yes") && matches(gbnf, "no \"\\") && matches(gbnf, "l\n2"));
    assert_false(matches(gbnf, "") || matches(gbnf, "ye"));
    mem_free(gbnf);
    assert_int_equal(schema_choices_to_gbnf(NULL, 0, &gbnf, &err), TL_E_USAGE);
}

static void test_endless(void **state) { // a schema that only refers to itself: an error, not a loop
    (void)state;
    json_t *j = json_loads("{\"$ref\":\"#\"}", 0, NULL);
    grammar *g;
    assert_int_equal(compile(j, &g), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "never end"));
    json_decref(j);
}

static void test_depth(void **state) {
    (void)state;
    json_t *j = json_object();
    grammar *g;
    for (int i = 0; i < 300; i++) j = json_pack("{s:s,s:o}", "type", "array", "items", j);
    assert_int_equal(compile(j, &g), TL_E_LIMIT);
    json_decref(j);
}

static void test_memory(void **state) {
    (void)state;
    json_t *j = json_loads(
        "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"^a+$\"},\"b\":{\"enum\":[1]}}}",
        0, NULL);
    for (int n = 0; n < 2000; n++) {
        grammar *g;
        mem_fail_after(n);
        tl_status code = compile(j, &g);
        mem_fail_after(-1);
        grammar_free(g);
        if (code == TL_OK) return json_decref(j);
        assert_int_equal(code, TL_E_MEMORY);
    }
    fail_msg("never succeeds");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_instances), cmocka_unit_test(test_refused), cmocka_unit_test(test_plain),
        cmocka_unit_test(test_endless),   cmocka_unit_test(test_depth),   cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
