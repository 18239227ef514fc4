// test_slots.c - sharing, forking, cutting, windows: whatever slots a sequence is made of, its logits are the same bits.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "run/run.h"
#include "run/slots.h"
#include "tiny.h"

static char path[64], program[64];
static tl_engine *engine;
static tl_model *model;

static void open_model(const char *with) {
    tl_error err = {0};
    tl_engine_options eo = {.threads = 2};
    tl_model_options mo = {.program = with};
    if (tl_engine_new(&eo, &engine, &err) != TL_OK || tl_model_open(engine, path, &mo, &model, &err) != TL_OK) fail_msg("%s", err.message);
}

static void close_model(void) {
    tl_model_free(model);
    tl_engine_free(engine);
}

static tl_session *session(int64_t n_ctx, int64_t n_batch, int32_t n_seq, bool keep) {
    tl_error err = {0};
    tl_session *s;
    tl_session_options so = {.n_ctx = n_ctx, .n_batch = n_batch, .n_seq = n_seq, .keep_released = keep};
    if (tl_session_new(model, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

static const float *step(tl_session *s, int32_t seq, int32_t token) {
    tl_error err = {0};
    const float *logits;
    const tl_row row = {.token = token, .seq = seq, .logits = true};
    if (tl_session_step(s, &row, 1, &logits, &err) != TL_OK) fail_msg("%s", err.message);
    return logits;
}

static const float *prompt(tl_session *s, int32_t seq, const int32_t *ids, size_t n) {
    tl_error err = {0};
    const float *logits;
    if (tl_session_prompt(s, seq, ids, n, &logits, NULL, &err) != TL_OK) fail_msg("%s", err.message);
    return logits;
}

static void fill(int32_t *ids, int n, int kind) {
    for (int i = 0; i < n; i++) ids[i] = (i * 37 + 11 * kind + i / 7) % TINY_VOCAB;
}

// ---- sharing -------------------------------------------------------------------------------------
static void test_share(void **state) {
    (void)state;
    open_model(NULL);
    int32_t a[60], b[60];
    float want[TINY_VOCAB];
    fill(a, 60, 1);
    memcpy(b, a, sizeof b);
    b[40] = (b[40] + 1) % TINY_VOCAB;
    tl_session *s = session(128, 64, 3, true);
    assert_int_equal(tl_seq_share(s, 0, a, 59), 0);
    memcpy(want, prompt(s, 0, a, 60), sizeof want);
    assert_int_equal(tl_seq_share(s, 1, a, 59), 59); // of a living sequence
    assert_int_equal(tl_session_free_slots(s), 128 - 60);
    assert_memory_equal(step(s, 1, a[59]), want, sizeof want);
    assert_int_equal(tl_seq_share(s, 2, b, 60), 40);
    tl_seq_cut(s, 0, 0);
    tl_seq_cut(s, 1, 0);
    tl_seq_cut(s, 2, 0);
    assert_int_equal(tl_session_free_slots(s), 128);
    assert_int_equal(tl_seq_share(s, 2, a, 59), 59); // of what they left behind
    assert_int_equal(tl_session_free_slots(s), 128 - 59);
    assert_memory_equal(step(s, 2, a[59]), want, sizeof want);
    assert_int_equal(tl_seq_share(s, 2, b, 50), 40); // cuts what differs
    assert_int_equal(tl_seq_length(s, 2), 40);
    tl_session_free(s);
    close_model();
}

// The cache forgets what was released first, and of a sequence its end before its beginning.
static void test_eviction(void **state) {
    (void)state;
    open_model(NULL);
    int32_t a[30], b[30], c[30];
    fill(a, 30, 1), fill(b, 30, 2), fill(c, 30, 3);
    tl_session *s = session(64, 64, 2, true);
    (void)prompt(s, 0, a, 30);
    tl_seq_cut(s, 0, 0);
    (void)prompt(s, 0, b, 30);
    tl_seq_cut(s, 0, 0);
    (void)prompt(s, 0, c, 30);
    assert_int_equal(tl_seq_share(s, 1, b, 30), 30);
    tl_seq_cut(s, 1, 0);
    assert_int_equal(tl_seq_share(s, 1, a, 30), 4); // 64 slots less the two
    tl_session_free(s);
    close_model();
}

// Random forks, cuts, shares and steps on four sequences: each row's logits are those of its tokens computed alone.
static void test_random(void **state) {
    (void)state;
    open_model(NULL);
    enum { SEQS = 4, MOST = 24 };
    int32_t ids[SEQS][MOST], n[SEQS] = {0};
    uint64_t seed = 7;
    for (int keep = 0; keep < 2; keep++) {
        tl_session *s = session(80, 64, SEQS, keep), *alone = session(MOST, MOST, 1, false);
        memset(n, 0, sizeof n);
        for (int i = 0; i < SEQS; i++) tl_seq_cut(s, i, 0);
        for (int round = 0; round < 400; round++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            int what = (int)((seed >> 40) % 8), q = (int)((seed >> 50) % SEQS), r = (int)((seed >> 33) % SEQS), x = (int)((seed >> 58) % 3);
            tl_error err;
            if (what == 0) {
                int to = (int)((seed >> 20) % (uint64_t)(n[q] + 1));
                tl_seq_cut(s, q, to);
                n[q] = to;
            } else if (what == 1) {
                assert_int_equal(tl_seq_fork(s, q, r, &err), TL_OK);
                memcpy(ids[r], ids[q], sizeof ids[r]);
                n[r] = n[q];
            } else if (what == 2) {
                int64_t got = tl_seq_share(s, q, ids[r], (size_t)n[r]);
                assert_true(got <= n[r] && (q != r || got == n[r]));
                memmove(ids[q], ids[r], sizeof ids[q]);
                n[q] = (int)got;
            } else if (n[q] < MOST) {
                ids[q][n[q]++] = x; // few tokens, so that sequences often agree
                if (tl_session_free_slots(s) == 0) {
                    tl_seq_cut(s, q, 0);
                    n[q] = 0;
                    continue;
                }
                const float *got = step(s, q, x);
                tl_seq_cut(alone, 0, 0);
                assert_memory_equal(got, prompt(alone, 0, ids[q], (size_t)n[q]), TINY_VOCAB * sizeof(float));
            }
            assert_int_equal(tl_seq_length(s, q), n[q]);
        }
        tl_session_free(s);
        tl_session_free(alone);
    }
    close_model();
}

// ---- windows -------------------------------------------------------------------------------------
// llama with a window of 6 positions in every layer.
static void write_windowed(void) {
    sbuf b = {0};
    tl_error err;
    if (sbuf_read_file(&b, SOURCE_DIR "/models/fn/llama.tl", 1 << 20, &err) != TL_OK) fail_msg("%s", err.message);
    char *at = strstr(b.p, "kv_mask(seq, pos)");
    assert_non_null(at);
    FILE *f = fopen(program, "w");
    assert_non_null(f);
    fprintf(f, "%.*skv_mask_window(seq, pos, 6)%s", (int)(at - b.p), b.p, at + strlen("kv_mask(seq, pos)"));
    fclose(f);
    sbuf_free(&b);
}

static void test_window(void **state) {
    (void)state;
    write_windowed();
    open_model(program);
    enum { N = 700 };
    static int32_t ids[N];
    fill(ids, N, 1);
    float *want = malloc(N * TINY_VOCAB * sizeof *want);
    tl_session *s = session(N, N, 1, false);
    tl_row *rows = calloc(N, sizeof *rows);
    const float *logits;
    tl_error err = {0};
    for (int i = 0; i < N; i++) rows[i] = (tl_row){.token = ids[i], .logits = true};
    assert_int_equal(tl_session_step(s, rows, N, &logits, &err), TL_OK); // nothing is dropped before its end
    memcpy(want, logits, N * TINY_VOCAB * sizeof *want);
    tl_session_free(s);
    s = session(90, 16, 2, false); // a cache far smaller than the text
    for (int i = 0; i < N;) {
        int n = i % 5 == 0 && N - i >= 16 ? 16 : 1;
        if (tl_session_step(s, rows + i, (size_t)n, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        assert_memory_equal(logits, want + i * TINY_VOCAB, (size_t)n * TINY_VOCAB * sizeof *want);
        i += n;
    }
    assert_int_equal(tl_seq_length(s, 0), N);
    assert_true(tl_session_free_slots(s) >= 90 - 6 - 64);
    tl_seq_cut(s, 0, N - 50); // back a little
    assert_int_equal(tl_seq_length(s, 0), N - 50);
    assert_int_equal(tl_seq_share(s, 0, ids, N - 40), N - 50);
    assert_memory_equal(step(s, 0, ids[N - 50]), want + (N - 50) * TINY_VOCAB, TINY_VOCAB * sizeof *want);
    assert_int_equal(tl_seq_fork(s, 0, 1, &err), TL_OK);
    assert_memory_equal(step(s, 1, ids[N - 49]), want + (N - 49) * TINY_VOCAB, TINY_VOCAB * sizeof *want);
    tl_seq_cut(s, 0, N - 200); // what it would have to see is gone
    assert_int_equal(tl_seq_length(s, 0), 0);
    tl_session_free(s);
    free(rows);
    free(want);
    close_model();
}

// ---- jobs side by side -----------------------------------------------------------------------------
typedef struct said {
    int32_t ids[64];
    int n;
    tl_job_end why;
    bool over;
} said;

static bool hear(void *ctx, int32_t id) {
    said *s = ctx;
    s->ids[s->n++] = id;
    return id != 5;
}

static void over(void *ctx, tl_job_end why, const tl_error *err) {
    (void)err;
    said *s = ctx;
    s->why = why, s->over = true;
}

enum { JOBS = 20 };
static void run_jobs(int32_t parallel, int64_t n_ctx, int64_t n_batch, said *out) {
    tl_session *s = session(n_ctx, n_batch, parallel, true);
    tl_batch *b;
    tl_error err = {0};
    tl_sampler *samplers[JOBS];
    int32_t ids[40];
    assert_int_equal(tl_batch_new(s, &b, &err), TL_OK);
    memset(out, 0, sizeof *out * JOBS);
    for (int i = 0; i < JOBS || tl_batch_active(b);) {
        tl_sampling how = tl_sampling_default();
        how.seed = (uint64_t)i, how.repeat_penalty = i % 2 ? 1.2f : 1;
        fill(ids, 40, i % 6);
        tl_job j = {.ids = ids, .n = (size_t)(1 + i * 7 % 40), .most = i % 5 ? i + 2 : i, .token = hear, .done = over, .ctx = &out[i < JOBS ? i : 0]};
        if (i < JOBS && tl_batch_fits(b, &j)) {
            assert_int_equal(tl_sampler_new(&how, &samplers[i], &err), TL_OK);
            j.sampler = samplers[i];
            if (tl_batch_add(b, &j, &err) != TL_OK) fail_msg("%s", err.message);
            i++;
        } else if (tl_batch_step(b, &err) != TL_OK) {
            fail_msg("%s", err.message);
        }
    }
    for (int i = 0; i < JOBS; i++) tl_sampler_free(samplers[i]);
    assert_int_equal(tl_session_free_slots(s), n_ctx);
    tl_batch_free(b);
    tl_session_free(s);
}

static void test_jobs(void **state) {
    (void)state;
    open_model(NULL);
    static said want[JOBS], got[JOBS];
    static const struct { int32_t parallel; int64_t n_ctx, n_batch; } cases[] = {{8, 512, 512}, {3, 130, 7}, {20, 90, 2}, {5, 62, 30}};
    run_jobs(1, 62, 512, want);
    for (int i = 0; i < JOBS; i++) assert_true(want[i].over && (want[i].why == TL_JOB_LENGTH || want[i].why == TL_JOB_STOPPED));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        run_jobs(cases[c].parallel, cases[c].n_ctx, cases[c].n_batch, got);
        for (int i = 0; i < JOBS; i++) assert_memory_equal(&got[i], &want[i], sizeof *got);
    }
    close_model();
}

int main(void) {
    snprintf(path, sizeof path, "slots-%d.gguf", (int)getpid());
    snprintf(program, sizeof program, "slots-%d.tl", (int)getpid());
    tiny t = {.arch = "llama", .type = DT_Q4_0};
    tiny_write(path, &t);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share), cmocka_unit_test(test_eviction), cmocka_unit_test(test_random), cmocka_unit_test(test_window), cmocka_unit_test(test_jobs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    unlink(program);
    return failed;
}
