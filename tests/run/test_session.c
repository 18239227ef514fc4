// test_session.c - the promises about results: a row's logits are the same bits however it was computed.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/run.h"
#include "tiny.h"

enum { N = 40 };
static char path[64];
static int32_t tokens[N];

static void say(void *ctx, const char *message) { snprintf(ctx, 1000, "%s", message); }

typedef struct opened {
    tl_engine *e;
    tl_model *m;
    char warning[1000];
} opened;

static void open_with(opened *o, int threads, const char *isa, const tl_model_options *mo) {
    tl_error err = {0};
    *o = (opened){0};
    tl_engine_options eo = {.threads = threads, .isa = isa, .on_warning = say, .ctx = o->warning};
    if (tl_engine_new(&eo, &o->e, &err) != TL_OK || tl_model_open(o->e, path, mo, &o->m, &err) != TL_OK) fail_msg("%s", err.message);
}

static void close_all(opened *o) {
    tl_model_free(o->m);
    tl_engine_free(o->e);
}

static tl_session *session(opened *o, int64_t n_batch, int32_t n_seq, const char *cache) {
    tl_error err = {0};
    tl_session *s;
    tl_session_options so = {.n_ctx = 128, .n_batch = n_batch, .n_seq = n_seq, .cache_type = cache};
    if (tl_session_new(o->m, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

// All rows' logits [N, vocab], the tokens of `seq` given in steps of `chunk`.
static void run_chunks(tl_session *s, int32_t seq, int64_t chunk, float *out) {
    tl_row rows[N];
    for (int at = 0; at < N;) {
        int n = N - at < chunk ? N - at : (int)chunk;
        for (int i = 0; i < n; i++) rows[i] = (tl_row){.token = tokens[at + i], .seq = seq, .logits = true};
        const float *logits;
        tl_error err = {0};
        if (tl_session_step(s, rows, (size_t)n, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        memcpy(out + at * TINY_VOCAB, logits, (size_t)n * TINY_VOCAB * 4);
        at += n;
    }
}

static float *whole(opened *o, const char *cache) {
    float *out = malloc(N * TINY_VOCAB * 4);
    tl_session *s = session(o, N, 1, cache);
    run_chunks(s, 0, N, out);
    tl_session_free(s);
    for (int i = 0; i < N * TINY_VOCAB; i++) assert_true(isfinite(out[i]));
    return out;
}

static void same_bits(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++)
        if (memcmp(a + i, b + i, 4) != 0) fail_msg("%s: logit %zu of row %zu: %.9g and %.9g", what, i % TINY_VOCAB, i / TINY_VOCAB, (double)a[i], (double)b[i]);
}

static void make(const char *arch, tl_dtype type) {
    tiny t = {.arch = arch, .type = type};
    tiny_write(path, &t);
}

static void check_chunks(opened *o, const float *want, const char *cache) {
    static const int64_t chunks[] = {1, 2, 3, 5, 8, 17, 33};
    float *got = malloc(N * TINY_VOCAB * 4);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        char what[60];
        snprintf(what, sizeof what, "steps of %d rows", (int)chunks[i]);
        tl_session *s = session(o, N, 1, cache);
        run_chunks(s, 0, chunks[i], got);
        same_bits(want, got, N * TINY_VOCAB, what);
        tl_session_free(s);
    }
    free(got);
}

// Rows of other sequences beside it, in another order of slots, change nothing.
static void check_company(opened *o, const float *want) {
    tl_session *s = session(o, 64, 3, NULL);
    tl_error err = {0};
    const float *logits;
    for (int at = 0; at < N; at++) {
        tl_row rows[3] = {{.token = tokens[(at * 7 + 1) % N], .seq = 1, .logits = at % 2}, {.token = tokens[at], .seq = 0, .logits = true}, {.token = tokens[N - 1 - at], .seq = 2}};
        if (tl_session_step(s, rows, 3, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        same_bits(want + at * TINY_VOCAB, logits + (at % 2) * TINY_VOCAB, TINY_VOCAB, "beside other sequences");
    }
    tl_session_free(s);
}

// A fork continues as its parent would; a cut sequence as if the rest had never been.
static void check_fork(opened *o, const float *want) {
    tl_session *s = session(o, 64, 2, NULL);
    tl_error err = {0};
    const float *logits;
    assert_int_equal(tl_session_prompt(s, 0, tokens, 20, NULL, NULL, &err), TL_OK);
    assert_int_equal(tl_seq_fork(s, 0, 1, &err), TL_OK);
    assert_int_equal(tl_session_free_slots(s), 128 - 20);
    int32_t wrong[3] = {1, 2, 3};
    assert_int_equal(tl_session_prompt(s, 0, wrong, 3, NULL, NULL, &err), TL_OK);
    assert_int_equal(tl_session_prompt(s, 1, tokens + 20, N - 20, &logits, NULL, &err), TL_OK);
    same_bits(want + (N - 1) * TINY_VOCAB, logits, TINY_VOCAB, "a fork");
    tl_seq_cut(s, 0, 20);
    assert_int_equal(tl_session_prompt(s, 0, tokens + 20, N - 20, &logits, NULL, &err), TL_OK);
    same_bits(want + (N - 1) * TINY_VOCAB, logits, TINY_VOCAB, "a cut sequence");
    assert_int_equal(tl_seq_length(s, 0), N);
    tl_seq_cut(s, 0, 0);
    tl_seq_cut(s, 1, 0);
    assert_int_equal(tl_session_free_slots(s), 128);
    tl_session_free(s);
}

// All rows' logits of one step of `rows` rows.
static float *long_prompt(int threads, int64_t rows) {
    opened o;
    open_with(&o, threads, NULL, NULL);
    tl_session_options so = {.n_ctx = rows, .n_batch = rows, .n_seq = 1};
    tl_session *s;
    tl_error err = {0};
    const float *logits;
    if (tl_session_new(o.m, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    tl_row *row = calloc((size_t)rows, sizeof *row);
    for (int64_t i = 0; i < rows; i++) row[i] = (tl_row){.token = tokens[i * 7 % N], .logits = true};
    if (tl_session_step(s, row, (size_t)rows, &logits, &err) != TL_OK) fail_msg("%s", err.message);
    float *out = malloc((size_t)rows * TINY_VOCAB * sizeof *out);
    memcpy(out, logits, (size_t)rows * TINY_VOCAB * sizeof *out);
    free(row);
    tl_session_free(s);
    close_all(&o);
    return out;
}

// Enough rows for each thread to have a block of its own: of whole tiles, the last one shorter, all rows or too few for that.
static void test_long_prompts(void **state) {
    (void)state;
    static const struct { int threads; int64_t rows; } cases[] = {{2, 256}, {2, 251}, {2, 224}, {2, 600}, {3, 350}, {4, 500}};
    static const tl_dtype types[] = {DT_Q4_1, DT_Q6_K, DT_F16};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        make("llama", types[t]);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            float *want = long_prompt(1, cases[i].rows), *got = long_prompt(cases[i].threads, cases[i].rows);
            same_bits(want, got, (size_t)cases[i].rows * TINY_VOCAB, "a long prompt");
            free(want);
            free(got);
        }
    }
}

static void check_all(const char *arch, tl_dtype type) {
    make(arch, type);
    opened o;
    open_with(&o, 1, NULL, NULL);
    float *want = whole(&o, NULL);
    check_chunks(&o, want, NULL);
    check_company(&o, want);
    check_fork(&o, want);
    close_all(&o);
    for (int threads = 2; threads <= 3; threads++) {
        open_with(&o, threads, NULL, NULL);
        float *got = whole(&o, NULL);
        same_bits(want, got, N * TINY_VOCAB, threads == 2 ? "2 threads" : "3 threads");
        free(got);
        check_chunks(&o, want, NULL);
        close_all(&o);
    }
    // Plain C defines the result; other kernels differ by rounding only.
    open_with(&o, 2, "ref", NULL);
    float *ref = whole(&o, NULL);
    double worst = 0, norm = 0;
    for (int i = 0; i < N * TINY_VOCAB; i++) worst = fmax(worst, fabs((double)ref[i] - (double)want[i])), norm = fmax(norm, fabs((double)ref[i]));
    if (worst > norm * 0.03) fail_msg("%s %s: off the plain kernels by %g of %g", arch, dtype_table[type].name, worst, norm);
    free(ref);
    close_all(&o);
    free(want);
}

static void test_float32(void **state) { (void)state; check_all("llama", DT_F32); }
static void test_legacy(void **state) {
    (void)state;
    check_all("llama", DT_Q4_0);
    check_all("qwen2", DT_Q4_1);
    check_all("llama", DT_Q5_0);
    check_all("gemma3", DT_Q8_0);
}
static void test_k_quants(void **state) {
    (void)state;
    check_all("llama", DT_Q4_K);
    check_all("gemma3", DT_Q6_K);
    check_all("qwen2", DT_Q5_K);
    check_all("llama", DT_Q3_K);
    check_all("llama", DT_Q2_K);
}
static void test_halves(void **state) {
    (void)state;
    check_all("llama", DT_F16);
    check_all("qwen2", DT_BF16);
}

static void test_stand_ins(void **state) { // formats without kernels of their own
    (void)state;
    check_all("llama", DT_MXFP4);
    check_all("qwen2", DT_TQ2_0);
    check_all("llama", DT_NVFP4);
}

static void test_cache_types(void **state) {
    (void)state;
    make("llama", DT_Q8_0);
    opened o;
    open_with(&o, 2, NULL, NULL);
    float *exact = whole(&o, "f32");
    static const char *const types[] = {"f32", "f16", "q8_0", "q4_0"};
    static const double limit[] = {0, 0.02, 0.3, 0.8}; // root mean square of the error, in units of the logits'
    for (int i = 0; i < 4; i++) {
        float *got = whole(&o, types[i]);
        check_chunks(&o, got, types[i]);
        double error = 0, norm = 0;
        for (int k = 0; k < N * TINY_VOCAB; k++) {
            double d = (double)got[k] - (double)exact[k];
            error += d * d;
            norm += (double)exact[k] * (double)exact[k];
        }
        if (sqrt(error / norm) > limit[i]) fail_msg("a cache of %s: relative error %g", types[i], sqrt(error / norm));
        free(got);
    }
    free(exact);
    close_all(&o);
}

static void test_no_allocation(void **state) {
    (void)state;
    make("llama", DT_Q4_0);
    opened o;
    open_with(&o, 2, NULL, NULL);
    tl_session *s = session(&o, 8, 1, NULL);
    tl_error err = {0};
    const float *logits;
    tl_row row = {.token = 3, .logits = true};
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_OK);
    int64_t before = mem_count();
    for (int i = 0; i < 20; i++) assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_OK);
    assert_int_equal(mem_count(), before);
    tl_session_free(s);
    close_all(&o);
}

static void test_limits(void **state) {
    (void)state;
    make("llama", DT_F32);
    opened o;
    open_with(&o, 1, NULL, NULL);
    tl_session *s = session(&o, 100, 1, NULL);
    tl_error err = {0};
    int32_t ids[200] = {0};
    const float *logits;
    assert_int_equal(tl_session_prompt(s, 0, ids, 200, &logits, NULL, &err), TL_E_LIMIT);
    assert_int_equal(tl_seq_length(s, 0), 0);
    assert_int_equal(tl_session_prompt(s, 0, ids, 128, &logits, NULL, &err), TL_OK);
    tl_row row = {.token = 0};
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_E_LIMIT);
    assert_non_null(strstr(err.message, "-c"));
    tl_seq_cut(s, 0, 100);
    row.token = TINY_VOCAB;
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_E_USAGE);
    row = (tl_row){.token = 0, .seq = 1};
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_E_USAGE);
    int stop = 1;
    assert_int_equal(tl_session_prompt(s, 0, ids, 5, &logits, &stop, &err), TL_E_CANCELLED);
    assert_int_equal(tl_session_prompt(s, 0, ids, 0, &logits, NULL, &err), TL_E_USAGE);
    tl_session_free(s);
    tl_session_options so = {.cache_type = "q4_1"};
    assert_int_equal(tl_session_new(o.m, &so, &s, &err), TL_E_USAGE);
    close_all(&o);
}

// ---- weight tying --------------------------------------------------------------------------------
static void test_tying(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q6_K, .tied = true};
    tiny_write(path, &t);
    opened o;
    open_with(&o, 2, NULL, NULL);
    assert_string_equal(o.warning, "");
    float *tied = whole(&o, NULL);
    close_all(&o);
    t = (tiny){.arch = "llama", .type = DT_Q6_K, .bad_output = 2};
    tiny_write(path, &t); // the generator gives the other weights the same values only up to output.weight
    open_with(&o, 2, NULL, NULL);
    assert_non_null(strstr(o.warning, "output.weight (Q6_K) holds 512 values"));
    assert_non_null(strstr(o.warning, "row 5, block 0"));
    float *repaired = whole(&o, NULL);
    free(repaired);
    free(tied);
    close_all(&o);
    tl_error err = {0};
    tl_engine *e;
    tl_model *m;
    tl_model_options mo = {.no_repair = true};
    assert_int_equal(tl_engine_new(NULL, &e, &err), TL_OK);
    assert_int_equal(tl_model_open(e, path, &mo, &m, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "output.weight"));
    assert_non_null(strstr(err.message, "--no-repair"));
    tl_engine_free(e);
}

// ---- two styles, one plan --------------------------------------------------------------------------
static void plan_text(const char *program, sbuf *out, float *logits) {
    opened o;
    tl_model_options mo = {.program = program};
    open_with(&o, 2, NULL, &mo);
    tl_session *s = session(&o, N, 1, NULL);
    tl_session_print_plan(s, out);
    run_chunks(s, 0, N, logits);
    tl_session_free(s);
    close_all(&o);
}

static void test_styles(void **state) {
    (void)state;
    static const char *const archs[] = {"llama", "qwen2", "gemma3"};
    for (int i = 0; i < 3; i++) {
        make(archs[i], DT_Q4_0);
        char a[300], b[300];
        snprintf(a, sizeof a, "%s/models/%s.tl", SOURCE_DIR, archs[i]);
        snprintf(b, sizeof b, "%s/models/fn/%s.tl", SOURCE_DIR, archs[i]);
        sbuf pa = {0}, pb = {0};
        float *la = malloc(N * TINY_VOCAB * 4), *lb = malloc(N * TINY_VOCAB * 4);
        plan_text(a, &pa, la);
        plan_text(b, &pb, lb);
        assert_true(pa.n > 1000);
        assert_string_equal(pa.p, pb.p);
        assert_non_null(strstr(pa.p, "ATTENTION"));
        assert_non_null(strstr(pa.p, "ROPE"));
        assert_non_null(strstr(pa.p, "RMS_NORM"));
        assert_null(strstr(pa.p, "EINSUM"));
        assert_null(strstr(pa.p, "SOFTMAX"));
        same_bits(la, lb, N * TINY_VOCAB, archs[i]);
        sbuf_free(&pa);
        sbuf_free(&pb);
        free(la);
        free(lb);
    }
}

static void test_bad_models(void **state) {
    (void)state;
    tl_error err = {0};
    tl_engine *e;
    tl_model *m;
    assert_int_equal(tl_engine_new(NULL, &e, &err), TL_OK);
    static const struct { const char *arch, *says; } cases[] = {{"Etc/passwd", "no name of an architecture"}, {"marvin", "--program"}, {"..", "no name"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tiny t = {.arch = cases[i].arch, .type = DT_F32};
        tiny_write(path, &t);
        assert_int_not_equal(tl_model_open(e, path, NULL, &m, &err), TL_OK);
        if (!strstr(err.message, cases[i].says)) fail_msg("\"%s\": %s", cases[i].arch, err.message);
    }
    assert_int_equal(tl_model_open(e, "/no/such/file.gguf", NULL, &m, &err), TL_E_IO);
    tl_engine_options eo = {.isa = "abacus"};
    tl_engine *none;
    assert_int_equal(tl_engine_new(&eo, &none, &err), TL_E_USAGE);
    tl_engine_free(e);
}

int main(void) {
    snprintf(path, sizeof path, "tiny-%d.gguf", (int)getpid());
    for (int i = 0; i < N; i++) tokens[i] = (i * 37 + 11) % TINY_VOCAB;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float32), cmocka_unit_test(test_legacy), cmocka_unit_test(test_k_quants), cmocka_unit_test(test_halves), cmocka_unit_test(test_stand_ins),
        cmocka_unit_test(test_cache_types), cmocka_unit_test(test_no_allocation), cmocka_unit_test(test_limits), cmocka_unit_test(test_tying),
        cmocka_unit_test(test_styles), cmocka_unit_test(test_long_prompts), cmocka_unit_test(test_bad_models),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
