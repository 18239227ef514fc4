// test_files.c - tokenizers from GGUF files: one made here; the reference vocabulary and the default model where they are.
#include "vocab.h"

#include "gguf/writer.h"
#include "run/tokenizer_gguf.h"

#include <limits.h>
#include <unistd.h>

static void small_file(gguf_writer *w, vocab *v) {
    vocab_alphabet(v);
    vocab_add(v, "ab", TOKEN_NORMAL, 0);
    vocab_add(v, "<|im_end|>", TOKEN_CONTROL, 0);
    vocab_merge(v, "a b");
    gguf_put_str(w, "tokenizer.ggml.model", STR("gpt2"));
    gguf_put_str(w, "tokenizer.ggml.pre", STR("gpt-2"));
    gguf_put_strs(w, "tokenizer.ggml.tokens", v->tokens.p, v->tokens.n);
    gguf_put_array(w, "tokenizer.ggml.token_type", GGUF_I32, v->types.p, v->types.n);
    gguf_put_strs(w, "tokenizer.ggml.merges", v->merges.p, v->merges.n);
    gguf_put_int(w, "tokenizer.ggml.eos_token_id", GGUF_U32, 257);
    gguf_put_int(w, "tokenizer.ggml.bos_token_id", GGUF_U32, 0);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
}

static gguf *open_image(gguf_writer *w, sbuf *image) {
    gguf *g = NULL;
    tl_error err = {0};
    if (gguf_image(w, image, &err) != TL_OK || gguf_open_memory(image->p, image->n, &g, &err) != TL_OK)
        fail_msg("%s", err.message);
    gguf_writer_free(w);
    return g;
}

static void made_here(void **state) {
    gguf_writer w = {0};
    sbuf image = {0};
    vocab v = {0};
    tokenizer *t;
    tl_error err = {0};
    (void)state;
    small_file(&w, &v);
    gguf *g = open_image(&w, &image);
    if (tokenizer_from_gguf(g, NULL, &t, &err) != TL_OK) fail_msg("%s", err.message);
    expect(t, "abc<|im_end|>", TOKEN_ADD_SPECIAL | TOKEN_PARSE_SPECIAL, "Ā|ab|c|<|im_end|>");
    assert_true(tokenizer_is_end(t, 257));
    tokenizer_free(t);
    assert_int_equal(tokenizer_from_gguf(g, "nonsense", &t, &err), TL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "'nonsense'"));
    gguf_close(g);
    sbuf_free(&image);
    vocab_free(&v);
}

// Each of these keys instead of, or beside, those of a good file is refused by a message that names it.
static void wrong_keys(void **state) {
    static const char *const keys[] = {"tokenizer.ggml.scores", "tokenizer.ggml.token_type", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.add_eos_token", "tokenizer.ggml.precompiled_charsmap", "general.name"};
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        gguf_writer w = {0};
        sbuf image = {0};
        vocab v = {0};
        tokenizer *t;
        tl_error err = {0};
        gguf_put_str(&w, "tokenizer.ggml.model", STR("gpt2"));
        gguf_put_str(&w, "tokenizer.ggml.pre", STR("gpt-2"));
        vocab_alphabet(&v);
        gguf_put_strs(&w, "tokenizer.ggml.tokens", v.tokens.p, v.tokens.n);
        if (i == 0) gguf_put_array(&w, keys[i], GGUF_F32, v.scores.p, 255); // one too few
        else if (i == 1) gguf_put_array(&w, keys[i], GGUF_F32, v.scores.p, 256);
        else if (i == 3) gguf_put_str(&w, keys[i], STR("yes"));
        else gguf_put_array(&w, keys[i], GGUF_F32, v.scores.p, 1);
        gguf *g = open_image(&w, &image);
        assert_int_equal(tokenizer_from_gguf(g, NULL, &t, &err), TL_E_FORMAT);
        assert_null(t);
        if (!strstr(err.message, keys[i])) fail_msg("%s: %s", keys[i], err.message);
        gguf_close(g);
        sbuf_free(&image);
        vocab_free(&v);
    }
}

static void no_tokenizer(void **state) {
    gguf_writer w = {0};
    sbuf image = {0};
    tokenizer *t;
    tl_error err = {0};
    (void)state;
    gguf_put_str(&w, "general.architecture", STR("demo"));
    gguf *g = open_image(&w, &image);
    assert_int_equal(tokenizer_from_gguf(g, NULL, &t, &err), TL_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no tokenizer"));
    gguf_close(g);
    sbuf_free(&image);
}

static bool read_file(sbuf *out, const char *path) {
    FILE *f = fopen(path, "rb");
    char buffer[4096];
    if (!f) return false;
    for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;) sbuf_put(out, buffer, n);
    fclose(f);
    return true;
}

static tokenizer *open_file(const char *path, gguf **g) {
    tokenizer *t = NULL;
    tl_error err = {0};
    if (gguf_open(path, g, &err) != TL_OK || tokenizer_from_gguf(*g, NULL, &t, &err) != TL_OK)
        fail_msg("%s: %s", path, err.message);
    return t;
}

// The ids of one line of numbers; returns its end.
static const char *expect_line(const tokenizer *t, str text, unsigned flags, const char *line) {
    token_ids ids = {0};
    tl_error err = {0};
    if (tokenizer_encode(t, text, flags, &ids, &err) != TL_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < ids.n; i++) {
        char *end;
        long id = strtol(line, &end, 10);
        if (end == line || id != ids.p[i]) fail_msg("id %zu of '%.*s' is %d, not %ld", i, (int)text.n, text.p, ids.p[i], id);
        line = end;
    }
    line += strspn(line, " ");
    assert_true(*line == '\n');
    vec_free(&ids);
    return line + 1;
}

#define REFERENCE TEST_DIR "/../../../shared/data/ggml-vocab-llama-spm.gguf"
static void reference_vocabulary(void **state) {
    static const char border[] = "\n__ggml_vocab_test__\n";
    sbuf texts = {0}, ids = {0};
    gguf *g;
    (void)state;
    if (!read_file(&texts, REFERENCE ".inp") || !read_file(&ids, REFERENCE ".out")) skip();
    tokenizer *t = open_file(REFERENCE, &g);
    const char *text = texts.p, *line = ids.p;
    size_t n = 0;
    for (const char *end; (end = strstr(text, border)) != NULL; text = end + sizeof border - 1, n++)
        line = expect_line(t, (str){text, (size_t)(end - text)}, 0, line);
    assert_true(n == 46 && *line == 0);
    tokenizer_free(t);
    gguf_close(g);
    sbuf_free(&texts);
    sbuf_free(&ids);
}

static bool default_model(char *path, size_t cap) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && cache[0] == '/') snprintf(path, cap, "%s/tensorlogic/smollm2.gguf", cache);
    else snprintf(path, cap, "%s/.cache/tensorlogic/smollm2.gguf", home ? home : "");
    return access(path, R_OK) == 0;
}

static void unhex(sbuf *out, const char *hex, size_t n) {
    out->n = 0;
    for (size_t i = 0; i + 1 < n; i += 2) sbuf_putc(out, (char)strtol((char[]){hex[i], hex[i + 1], 0}, NULL, 16));
}

// golden_smollm2.tsv holds what llama.cpp and Hugging Face's tokenizers agree on (compare.py --golden).
static void default_model_golden(void **state) {
    char path[PATH_MAX];
    sbuf golden = {0}, text = {0};
    gguf *g;
    size_t n = 0;
    (void)state;
    if (!default_model(path, sizeof path)) skip();
    assert_true(read_file(&golden, TEST_DIR "/golden_smollm2.tsv"));
    tokenizer *t = open_file(path, &g);
    for (const char *line = golden.p; *line; n++) {
        const char *tab = strchr(line, '\t');
        assert_non_null(tab);
        unhex(&text, line, (size_t)(tab - line));
        line = expect_line(t, (str){text.p, text.n}, TOKEN_PARSE_SPECIAL, tab + 1);
    }
    assert_true(n > 200);
    tokenizer_free(t);
    gguf_close(g);
    sbuf_free(&golden);
    sbuf_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_here),            cmocka_unit_test(wrong_keys),           cmocka_unit_test(no_tokenizer),
        cmocka_unit_test(reference_vocabulary), cmocka_unit_test(default_model_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
