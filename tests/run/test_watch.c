// test_watch.c - seeing inside: watching changes no bit, every binding can be watched, patches do what their statement says.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/run.h"
#include "run/watch_pattern.h"
#include "tiny.h"

enum { N = 12, CHUNK = 5 };
static char path[64];
static tl_engine *engine;

static int32_t token(int i) { return (i * 37 + 11) % TINY_VOCAB; }

static tl_model *open_tiny(const char *arch, tl_dtype type, const char *program) {
    tl_error err = {0};
    tl_model *m;
    tiny_write(path, &(tiny){.arch = arch, .type = type});
    tl_model_options mo = {.program = program};
    if (tl_model_open(engine, path, &mo, &m, &err) != TL_OK) fail_msg("%s", err.message);
    return m;
}

static tl_session *open_with(tl_model *m, const tl_session_options *more) {
    tl_error err = {0};
    tl_session *s;
    tl_session_options so = *more;
    so.n_ctx = 32, so.n_batch = CHUNK;
    if (tl_session_new(m, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

// Logits of all rows, in steps of CHUNK and then one by one.
static void run(tl_session *s, float *out) {
    tl_error err = {0};
    for (int at = 0, n; at < N; at += n) {
        tl_row rows[CHUNK];
        const float *logits;
        n = at < CHUNK ? CHUNK : 1;
        for (int i = 0; i < n; i++) rows[i] = (tl_row){.token = token(at + i), .logits = true};
        if (tl_session_step(s, rows, (size_t)n, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        memcpy(out + at * TINY_VOCAB, logits, sizeof(float) * (size_t)n * TINY_VOCAB);
    }
}

static void logits_of(tl_model *m, const tl_session_options *so, float *out) {
    tl_session *s = open_with(m, so);
    run(s, out);
    tl_session_free(s);
}

static float *values(tl_session *s, size_t i, size_t *n) {
    tl_watch w;
    tl_error err = {0};
    assert_true(tl_session_watch_at(s, i, &w));
    *n = 1;
    for (int k = 0; k < w.rank; k++) *n *= (size_t)w.size[k];
    float *x = malloc((*n + 1) * sizeof *x);
    if (tl_session_watch_read(s, i, x, &err) != TL_OK) fail_msg("%s", err.message);
    return x;
}

// Each binding by itself, and all at once: the same logits, and the same values both ways.
static void check_program(const char *arch, tl_dtype type, const char *program) {
    tl_model *m = open_tiny(arch, type, program);
    static float plain[N * TINY_VOCAB], seen[N * TINY_VOCAB];
    logits_of(m, &(tl_session_options){0}, plain);
    tl_session *all = open_with(m, &(tl_session_options){.watch = "*"});
    run(all, seen);
    assert_memory_equal(plain, seen, sizeof plain);
    size_t count = tl_session_watch_count(all), beside = 0;
    assert_true(count > 30);
    for (size_t i = 0; i < count; i++) {
        tl_watch w;
        assert_true(tl_session_watch_at(all, i, &w));
        beside += w.beside;
        char pattern[200];
        snprintf(pattern, sizeof pattern, "%s", w.key);
        tl_session *one = open_with(m, &(tl_session_options){.watch = pattern});
        run(one, seen);
        if (memcmp(plain, seen, sizeof plain) != 0) fail_msg("%s: watching %s changes the logits", arch, w.key);
        size_t n, k, at = 0;
        tl_watch v = {0};
        for (; at < tl_session_watch_count(one); at++)
            if (tl_session_watch_at(one, at, &v) && strcmp(v.key, w.key) == 0) break;
        assert_string_equal(v.key, w.key);
        float *x = values(all, i, &n), *y = values(one, at, &k);
        assert_int_equal(n, k);
        if (memcmp(x, y, n * sizeof *x) != 0) fail_msg("%s: %s alone and among others differ", arch, w.key);
        free(x), free(y);
        tl_session_free(one);
    }
    assert_true(beside > 3);
    tl_session_free(all);
    tl_model_free(m);
}

static void test_bits(void **state) {
    (void)state;
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    for (size_t i = 0; i < 3; i++) {
        char fn[256];
        snprintf(fn, sizeof fn, SOURCE_DIR "/models/fn/%s.tl", archs[i]);
        check_program(archs[i], i == 0 ? DT_Q4_1 : i == 1 ? DT_F32 : DT_Q8_0, NULL);
        check_program(archs[i], DT_F16, fn);
    }
}

// What is known of values: a softmax sums to 1, R is a rotation, the last X and the norm give the logits' input.
static void test_values(void **state) {
    (void)state;
    tl_model *m = open_tiny("llama", DT_F32, NULL);
    tl_session *s = open_with(m, &(tl_session_options){.watch = "A[l=1] result X[l=-1]#2 R"});
    static float logits[N * TINY_VOCAB];
    run(s, logits);
    assert_int_equal(tl_session_watch_count(s), 4);
    static const char *const keys[] = {"R", "blk.1.A", "blk.2.X#2", "result"};
    size_t n;
    for (size_t i = 0; i < 4; i++) {
        tl_watch w;
        assert_true(tl_session_watch_at(s, i, &w));
        assert_string_equal(w.key, keys[i]);
        assert_string_equal(w.file, "models/llama.tl");
        assert_true(w.line > 30 && w.text_n > 0);
        float *x = values(s, i, &n);
        if (i == 0) assert_float_equal(x[0] * x[3] - x[1] * x[2], 1, 1e-5);
        if (i == 1)
            for (size_t row = 0; row < n / 32; row++) {
                float sum = 0;
                for (int k = 0; k < 32; k++) sum += x[row * 32 + (size_t)k];
                assert_float_equal(sum, 1, 1e-5);
            }
        if (i == 3) assert_memory_equal(x, logits + (N - 1) * TINY_VOCAB, sizeof(float) * TINY_VOCAB);
        free(x);
    }
    tl_watch w;
    assert_false(tl_session_watch_at(s, 4, &w));
    tl_session_free(s);
    tl_model_free(m);
}

// ---- patches -------------------------------------------------------------------------------------
static void test_patches(void **state) {
    (void)state;
    tl_model *m = open_tiny("llama", DT_F32, NULL);
    static float plain[N * TINY_VOCAB], other[N * TINY_VOCAB];
    logits_of(m, &(tl_session_options){0}, plain);
    static const char *const nothing[] = {"X[l=1] += 0", NULL}, *const same[] = {"A[l=1] = A", NULL}, *const half[] = {"result *= 0.5", NULL},
        *const late[] = {"X[l=0, p=7:] += 1", NULL}, *const ablate[] = {"A[l=1, g=1] = 0", NULL}, *const twice[] = {"result *= 0.5", "result *= 0.5", NULL};
    logits_of(m, &(tl_session_options){.patches = nothing}, other);
    assert_memory_equal(plain, other, sizeof plain);
    logits_of(m, &(tl_session_options){.patches = same}, other); // attention is not fused there: nearly the same
    for (int i = 0; i < N * TINY_VOCAB; i++) assert_float_equal(plain[i], other[i], 2e-3);
    logits_of(m, &(tl_session_options){.patches = half}, other);
    for (int i = 0; i < N * TINY_VOCAB; i++) assert_float_equal(plain[i] * 0.5f, other[i], 0);
    logits_of(m, &(tl_session_options){.patches = twice}, other);
    for (int i = 0; i < N * TINY_VOCAB; i++) assert_float_equal(plain[i] * 0.25f, other[i], 0);
    logits_of(m, &(tl_session_options){.patches = late}, other); // rows before position 7 are as they were
    assert_memory_equal(plain, other, sizeof(float) * 7 * TINY_VOCAB);
    assert_memory_not_equal(plain + 7 * TINY_VOCAB, other + 7 * TINY_VOCAB, sizeof(float) * TINY_VOCAB);
    tl_session *s = open_with(m, &(tl_session_options){.patches = ablate, .watch = "A[l=1]#2 A[l=0]"});
    run(s, other);
    assert_int_equal(tl_session_watch_count(s), 2);
    tl_watch w;
    assert_true(tl_session_watch_at(s, 1, &w) && w.patched && w.rank == 4);
    size_t n;
    float *x = values(s, 1, &n); // [1, g, r, s]
    size_t group = n / (size_t)w.size[1];
    float kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (i / group == 1) assert_float_equal(x[i], 0, 0);
        else kept += x[i];
    }
    assert_true(kept > 0.5f);
    free(x);
    tl_session_free(s);
    tl_model_free(m);
}

static void test_wrong(void **state) {
    (void)state;
    tl_model *m = open_tiny("llama", DT_F32, NULL);
    static const struct { const char *watch, *patch, *says; } cases[] = {
        {"nosuch", NULL, "there are: at, Sees"}, {"X[l=99]", NULL, "X[l=99]"}, {"X[l=1", NULL, "']' is missing"}, {"X[l=]", NULL, "NAME=NUMBER"}, {"=", NULL, "ends with ':'"},
        {"X@", NULL, "a number is missing"}, {"X@1x", NULL, "behind its end"}, {NULL, "nosuch = 1", "nothing was patched"}, {NULL, "X[l=1] +=", "--set:1"},
        {NULL, "X[zz=1] += 1", "neither a loop"}, {NULL, "X[l=0] = zeros(3)", "--set:1"}, {NULL, "A[l=0, g=9] = 0", "position 9"}, {NULL, "X[l=0] += missing.npy", "missing.npy"},
        {NULL, "print(1)", "--set:1"}, {NULL, "X[l=99] = 0", "nothing was patched"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const patches[] = {cases[i].patch, NULL};
        tl_session_options so = {.n_ctx = 32, .n_batch = CHUNK, .watch = cases[i].watch, .patches = patches};
        tl_session *s = NULL;
        tl_error err = {0};
        assert_int_not_equal(tl_session_new(m, &so, &s, &err), TL_OK);
        if (!strstr(err.message, cases[i].says)) fail_msg("case %zu: %s", i, err.message);
    }
    static float logits[N * TINY_VOCAB]; // and the model works as before
    logits_of(m, &(tl_session_options){0}, logits);
    tl_model_free(m);
}

static void test_globs(void **state) {
    (void)state;
    static const struct { const char *glob, *text; bool yes; } cases[] = {
        {"*", "", true}, {"X", "X", true}, {"X", "XX", false}, {"?X", "aX", true}, {"blk.*.X", "blk.12.X", true}, {"blk.*.X", "blk.1.f.X", true},
        {"*a*b*", "xxaxxb", true}, {"*a*b", "xxaxxbc", false}, {"a*", "b", false}, {"**", "abc", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_int_equal(pattern_glob(cases[i].glob, cases[i].text), cases[i].yes);
}

// ---- the lens ------------------------------------------------------------------------------------
static void test_lens(void **state) {
    (void)state;
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    for (size_t k = 0; k < 6; k++) {
        char fn[256];
        snprintf(fn, sizeof fn, SOURCE_DIR "/models/fn/%s.tl", archs[k / 2]);
        tl_model *m = open_tiny(archs[k / 2], DT_Q8_0, k % 2 ? fn : NULL);
        static float plain[N * TINY_VOCAB], seen[N * TINY_VOCAB];
        logits_of(m, &(tl_session_options){0}, plain);
        tl_session *s = open_with(m, &(tl_session_options){.lens = true});
        run(s, seen);
        assert_memory_equal(plain, seen, sizeof plain);
        assert_int_equal(tl_session_watch_count(s), TINY_LAYERS + 1);
        size_t n;
        float *x = values(s, TINY_LAYERS, &n), *y = values(s, 0, &n); // what the last layer would answer is the answer
        assert_memory_equal(x, plain + (N - 1) * TINY_VOCAB, sizeof(float) * TINY_VOCAB);
        assert_memory_not_equal(x, y, sizeof(float) * TINY_VOCAB);
        free(x), free(y);
        tl_session_free(s);
        tl_model_free(m);
    }
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/tl-test-watch-%d.gguf", (int)getpid());
    tl_error err = {0};
    if (tl_engine_new(NULL, &engine, &err) != TL_OK) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits), cmocka_unit_test(test_values), cmocka_unit_test(test_patches),
        cmocka_unit_test(test_wrong), cmocka_unit_test(test_globs), cmocka_unit_test(test_lens),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tl_engine_free(engine);
    unlink(path);
    return failed;
}
