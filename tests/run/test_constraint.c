// test_constraint.c - constraints and samplers through the public interface, on a small vocabulary: whatever the seed, and wherever
// it is cut, the text is one that was asked for; masks, states and forks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <unistd.h>

#include "gguf/writer.h"

static tl_engine *engine;
static tl_model *model;
static tl_error err;

// A vocabulary without weights: three control tokens, all bytes, and words that cut texts anywhere.
static void write_vocab(const char *path) {
    static const char *const words[] = {"ab", "abc", "one", "two", "three", " hundred", "{\"", "\":", "[]", "[\"", "20", "19", "-0", "\"]", ", ", "ccc", "()", "((", "\xc3\xa9", "\xc3"};
    enum { WORDS = sizeof words / sizeof *words, N = 3 + 256 + WORDS };
    static char bytes[256][8];
    str tokens[N] = {STR("<unk>"), STR("<s>"), STR("</s>")};
    float scores[N] = {0};
    int32_t types[N] = {2, 3, 3};
    gguf_writer w = {0};
    for (int i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        tokens[3 + i] = str_of(bytes[i]), types[3 + i] = 6;
    }
    for (int i = 0; i < WORDS; i++) tokens[259 + i] = str_of(words[i]), types[259 + i] = 1, scores[259 + i] = -(float)i;
    gguf_put_str(&w, "general.architecture", STR("none"));
    gguf_put_str(&w, "tokenizer.ggml.model", STR("llama"));
    gguf_put_strs(&w, "tokenizer.ggml.tokens", tokens, N);
    gguf_put_array(&w, "tokenizer.ggml.scores", GGUF_F32, scores, N);
    gguf_put_array(&w, "tokenizer.ggml.token_type", GGUF_I32, types, N);
    gguf_put_int(&w, "tokenizer.ggml.bos_token_id", GGUF_U32, 1);
    gguf_put_int(&w, "tokenizer.ggml.eos_token_id", GGUF_U32, 2);
    if (gguf_save(&w, path, &err) != TL_OK) fprintf(stderr, "%s\n", err.message), abort();
    gguf_writer_free(&w);
}

static int open_all(void **state) {
    (void)state;
    char path[] = "/tmp/tl-constraint-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    close(fd);
    write_vocab(path);
    int failed = tl_engine_new(&(tl_engine_options){.threads = 1}, &engine, &err) != TL_OK ||
                 tl_model_open(engine, path, &(tl_model_options){.parts = TL_MODEL_TEXT}, &model, &err) != TL_OK;
    unlink(path);
    if (failed) fprintf(stderr, "%s\n", err.message);
    return failed;
}

static int close_all(void **state) {
    (void)state;
    tl_model_free(model);
    tl_engine_free(engine);
    return 0;
}

static tl_constraint *make(tl_constraint_kind kind, const char *text) {
    tl_constraint *c;
    if (tl_constraint_new(model, kind, text, strlen(text), &c, &err) != TL_OK) fail_msg("%s", err.message);
    return c;
}

static void refuse(tl_constraint_kind kind, const char *text, tl_status code) {
    tl_constraint *c = (tl_constraint *)1;
    assert_int_equal(tl_constraint_new(model, kind, text, strlen(text), &c, &err), code);
    assert_null(c);
    assert_true(err.message[0]);
    assert_int_equal(tl_constraint_new(model, kind, text, strlen(text), &c, NULL), code);
}

// ---- a reply, without a model: the logits are noise ------------------------------------------------------
static void reply(tl_constraint *c, tl_sampler *s, int most, sbuf *out) {
    int64_t n = tl_model_n_vocab(model);
    float *logits = malloc(sizeof *logits * (size_t)n);
    uint32_t state = tl_constraint_start(c);
    for (int i = 0; i < most; i++) {
        const uint64_t *mask;
        bool any;
        assert_int_equal(tl_constraint_mask(c, state, &mask, &any, &err), TL_OK);
        if (!any) break;
        for (int64_t k = 0; k < n; k++) logits[k] = (float)((k * 7919 + i * 104729) % 1000) / 100;
        int32_t id = tl_sampler_pick_masked(s, logits, n, mask);
        assert_true(id >= 0 && (mask[id / 64] >> (id % 64) & 1));
        if (tl_token_is_end(model, id)) {
            assert_true(tl_constraint_may_end(c, state));
            break;
        }
        size_t len;
        const char *text = tl_token_text(model, id, false, &len);
        sbuf_put(out, text, len);
        assert_int_equal(tl_constraint_next(c, state, id, &state, &err), TL_OK);
        assert_int_not_equal(state, 0);
    }
    const char *rest;
    size_t len;
    assert_int_equal(tl_constraint_shortest(c, state, &rest, &len, &err), TL_OK);
    assert_true((len == 0) == tl_constraint_may_end(c, state));
    sbuf_put(out, rest, len);
    free(logits);
}

static void every_text_is_one_that_was_asked_for(void **state) {
    (void)state;
    static const struct {
        tl_constraint_kind kind;
        const char *text;
    } rows[] = {
        {TL_CONSTRAINT_GRAMMAR, "root ::= \"(\" root \")\" | [0-9]+ (\"+\" root)?"},
        {TL_CONSTRAINT_GRAMMAR, "root ::= \"a\" dead | \"b\" dead?\ndead ::= \"x\" dead"}, // a way that never ends is not taken
        {TL_CONSTRAINT_REGEX, "(ab|c{2,9})+d?"},
        {TL_CONSTRAINT_CHOICES, "one|two|three hundred"},
        {TL_CONSTRAINT_JSON_SCHEMA, "{\"type\":\"array\",\"items\":{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"string\",\"format\":\"date\"}]},\"minItems\":2}"},
        {TL_CONSTRAINT_JSON_SCHEMA, "{}"},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        tl_constraint *c = make(rows[r].kind, rows[r].text);
        for (int round = 0; round < 60; round++) {
            tl_sampling o = tl_sampling_default();
            tl_sampler *s;
            sbuf out = {0};
            uint32_t end;
            o.seed = (uint64_t)round, o.temperature = (float)(round % 4), o.top_k = round % 3 ? 40 : 0, o.xtc_probability = round % 5 ? 0 : 0.5f;
            assert_int_equal(tl_sampler_new(&o, &s, &err), TL_OK);
            reply(c, s, round % 23, &out);
            assert_int_equal(tl_constraint_next_text(c, tl_constraint_start(c), out.p ? out.p : "", out.n, &end, &err), TL_OK);
            assert_true(tl_constraint_may_end(c, end));
            if (rows[r].kind == TL_CONSTRAINT_JSON_SCHEMA) {
                json_t *j = json_loadb(out.p, out.n, JSON_DECODE_ANY, NULL);
                assert_non_null(j);
                json_decref(j);
            }
            sbuf_free(&out);
            tl_sampler_free(s);
        }
        tl_constraint_free(c);
    }
}

static void what_is_forced_is_known(void **state) {
    (void)state;
    tl_constraint *c = make(TL_CONSTRAINT_GRAMMAR, "root ::= \"abc\" [xy] \"de\"? \"f\"");
    const char *text;
    size_t n;
    uint32_t s;
    assert_int_equal(tl_constraint_forced(c, tl_constraint_start(c), &text, &n, &err), TL_OK);
    assert_true(n == 3 && memcmp(text, "abc", 3) == 0);
    assert_int_equal(tl_constraint_next_text(c, tl_constraint_start(c), "abcx", 4, &s, &err), TL_OK);
    assert_int_equal(tl_constraint_forced(c, s, &text, &n, &err), TL_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tl_constraint_shortest(c, s, &text, &n, &err), TL_OK);
    assert_true(n == 1 && *text == 'f');
    assert_int_equal(tl_constraint_next_text(c, s, "z", 1, &s, &err), TL_OK);
    assert_int_equal(s, 0);
    const uint64_t *mask;
    bool any;
    assert_int_equal(tl_constraint_mask(c, s, &mask, &any, &err), TL_OK);
    assert_false(any);
    assert_int_equal(tl_constraint_mask(c, 123456, &mask, &any, &err), TL_E_USAGE);
    assert_int_equal(tl_constraint_next(c, tl_constraint_start(c), -1, &s, &err), TL_E_USAGE);
    tl_constraint_free(c);
}

static void wrong_ones_are_refused(void **state) {
    (void)state;
    refuse(TL_CONSTRAINT_GRAMMAR, "root ::= root \"a\"", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_GRAMMAR, "root ::= \"a\" root", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_GRAMMAR, "", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_GRAMMAR, "root ::= \"a\"{0,1000000}", TL_E_LIMIT);
    refuse(TL_CONSTRAINT_JSON_SCHEMA, "{\"not\":{}}", TL_E_UNSUPPORTED);
    refuse(TL_CONSTRAINT_JSON_SCHEMA, "{\"type\":\"string\"", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_JSON_SCHEMA, "\xff", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_CHOICES, "a\xc3|b", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_REGEX, "(a", TL_E_FORMAT);
    refuse(TL_CONSTRAINT_REGEX, "(?=a)", TL_E_UNSUPPORTED);
    refuse((tl_constraint_kind)99, "a", TL_E_USAGE);
    refuse(TL_CONSTRAINT_RULE, "let x = 1", TL_E_PROGRAM);
    refuse(TL_CONSTRAINT_RULE_FILE, "/nowhere/at/all.tl", TL_E_IO);
    tl_constraint_free(NULL);
}

static void a_rule_allows_what_it_derives(void **state) {
    (void)state;
    tl_constraint *c = make(TL_CONSTRAINT_RULE, "Allowed(s, 5) <- Sequence(s)\nAllowed(s, 6) <- Said(s, _, 5), not Said(s, _, 6)\n");
    const uint64_t *mask;
    bool any;
    uint32_t s = tl_constraint_start(c), t, u;
    assert_int_equal(tl_constraint_mask(c, s, &mask, &any, &err), TL_OK);
    assert_true(any && mask[0] == 1 << 5);
    assert_int_equal(tl_constraint_next(c, s, 5, &t, &err), TL_OK);
    assert_int_equal(tl_constraint_mask(c, t, &mask, &any, &err), TL_OK);
    assert_true(mask[0] == (1 << 5 | 1 << 6));
    assert_int_equal(tl_constraint_next(c, t, 6, &u, &err), TL_OK);
    assert_int_equal(tl_constraint_mask(c, u, &mask, &any, &err), TL_OK);
    assert_true(mask[0] == 1 << 5);
    assert_int_equal(tl_constraint_next(c, s, 6, &u, &err), TL_OK);
    assert_int_equal(u, 0);
    assert_int_equal(tl_constraint_next(c, s, 5, &u, &err), TL_OK);
    assert_int_equal(u, t); // the same text, the same state
    tl_constraint_free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_text_is_one_that_was_asked_for), cmocka_unit_test(what_is_forced_is_known),
        cmocka_unit_test(wrong_ones_are_refused), cmocka_unit_test(a_rule_allows_what_it_derives),
    };
    return cmocka_run_group_tests_name("run_constraint", tests, open_all, close_all);
}
