// test_plan.c - whole models on a CUDA device: the driver is driver_sim.c's (or a GPU's, with TL_CUDA_TEST_GPU set). Logits are
// near the CPU's; a row's bits depend neither on its batch, nor on how launches are fused or recorded; tokens chosen there are the
// host's; what fails, fails cleanly.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "../run/tiny.h"
#include "run/run.h"

enum { N = 12 };
static char path[64];

typedef struct opened {
    tl_engine *e;
    tl_model *m;
} opened;

static int gpu_layers; // for try_open
static char report[400];
static void on_report(void *ctx, const char *text) {
    (void)ctx;
    snprintf(report, sizeof report, "%s", text);
}

static tl_status try_open(const char *device, opened *o, tl_error *err) {
    *o = (opened){0};
    tl_engine_options eo = {.threads = 2, .device = device, .gpu_layers = gpu_layers, .on_report = on_report};
    TL_TRY(tl_engine_new(&eo, &o->e, err));
    return tl_model_open(o->e, path, NULL, &o->m, err);
}

static void close_all(opened *o) {
    tl_model_free(o->m);
    tl_engine_free(o->e);
}

static opened open_on(const char *device) {
    opened o;
    tl_error err = {0};
    if (try_open(device, &o, &err) != TL_OK) fail_msg("%s", err.message);
    return o;
}

static tl_session *session(opened *o, const char *cache) {
    tl_error err = {0};
    tl_session *s;
    tl_session_options so = {.n_ctx = 160, .n_batch = 64, .n_seq = 4, .cache_type = cache};
    if (tl_session_new(o->m, &so, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

// N tokens of sequence `seq`, in steps of `chunk`; `beside`: other sequences get a row in every step too.
static void run(tl_session *s, int32_t seq, int chunk, int beside, float *out) {
    tl_row rows[64];
    for (int at = 0; at < N; at += chunk) {
        int n = 0;
        for (int b = 0; b < beside; b++) rows[n++] = (tl_row){.token = (at * 5 + b * 3 + 1) % TINY_VOCAB, .seq = (seq + 1 + b) % 4};
        for (int i = at; i < N && i < at + chunk; i++) rows[n++] = (tl_row){.token = (i * 7 + 3) % TINY_VOCAB, .seq = seq, .logits = true};
        const float *logits;
        tl_error err = {0};
        if (tl_session_step(s, rows, (size_t)n, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        memcpy(out + at * TINY_VOCAB, logits, (size_t)(n - beside) * TINY_VOCAB * sizeof *out);
    }
}

static void fill(opened *o, const char *cache, int chunk, int beside, float *out) {
    tl_session *s = session(o, cache);
    run(s, 1, chunk, beside, out);
    tl_session_free(s);
}

static double difference(const float *a, const float *b) { // relative, in the 2-norm
    double d = 0, n = 0;
    for (int i = 0; i < N * TINY_VOCAB; i++) {
        assert_true(isfinite(b[i]));
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        n += (double)a[i] * (double)a[i];
    }
    return sqrt(d / n);
}

static void check_model(const char *arch, tl_dtype type, const char *cache, double most) {
    static float cpu[N * TINY_VOCAB], gpu[N * TINY_VOCAB], again[N * TINY_VOCAB];
    tiny t = {.arch = arch, .type = type};
    tiny_write(path, &t);
    opened c = open_on("cpu"), g = open_on("cuda");
    fill(&c, cache, N, 0, cpu);
    fill(&g, cache, N, 0, gpu);
    double d = difference(cpu, gpu);
    if (!(d < most)) fail_msg("%s %s cache %s: %.2e from the CPU's", arch, dtype_table[type].name, cache, d);
    static const struct { int chunk, beside; } cuts[] = {{1, 0}, {3, 0}, {1, 3}, {4, 2}};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        fill(&g, cache, cuts[i].chunk, cuts[i].beside, again);
        if (memcmp(gpu, again, sizeof gpu)) fail_msg("%s %s cache %s: other bits in steps of %d beside %d rows", arch, dtype_table[type].name, cache, cuts[i].chunk, cuts[i].beside);
    }
    static const char *const ways[][2] = {{"0", "1"}, {"1", "0"}, {"0", "0"}}; // fused, recorded
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        setenv("TL_CUDA_FUSE", ways[i][0], 1);
        setenv("TL_CUDA_GRAPHS", ways[i][1], 1);
        fill(&g, cache, 1, 1, again);
        unsetenv("TL_CUDA_FUSE");
        unsetenv("TL_CUDA_GRAPHS");
        double off = difference(gpu, again);
        if (memcmp(gpu, again, sizeof gpu)) fail_msg("%s %s cache %s: fused %s, recorded %s: %.2e", arch, dtype_table[type].name, cache, ways[i][0], ways[i][1], off);
    }
    close_all(&c);
    close_all(&g);
}

static void test_q4_0(void **state) { (void)state, check_model("llama", DT_Q4_0, "f16", 3e-2); }
static void test_q4_k(void **state) { (void)state, check_model("llama", DT_Q4_K, "q8_0", 3e-2); }
static void test_q6_k(void **state) { (void)state, check_model("gemma3", DT_Q6_K, "f16", 3e-2); }
static void test_bf16(void **state) { (void)state, check_model("qwen2", DT_BF16, "f32", 1e-3); }
static void test_f32(void **state) { (void)state, check_model("llama", DT_F32, "f32", 1e-5); }

// Cutting and forking change lists that the device has a copy of.
static void test_lists(void **state) {
    (void)state;
    static float a[N * TINY_VOCAB], b[N * TINY_VOCAB];
    tiny t = {.arch = "llama", .type = DT_Q8_0};
    tl_error err = {0};
    tiny_write(path, &t);
    opened g = open_on("cuda");
    tl_session *s = session(&g, "f16");
    run(s, 0, N, 0, a);
    tl_seq_cut(s, 0, 5);
    assert_int_equal(tl_seq_fork(s, 0, 2, &err), TL_OK);
    const float *logits;
    for (int i = 5; i < N; i++) {
        tl_row rows[2] = {{.token = 11, .seq = 0}, {.token = (i * 7 + 3) % TINY_VOCAB, .seq = 2, .logits = true}};
        assert_int_equal(tl_session_step(s, rows, 2, &logits, &err), TL_OK);
        memcpy(b + i * TINY_VOCAB, logits, TINY_VOCAB * sizeof *b);
    }
    assert_memory_equal(a + 5 * TINY_VOCAB, b + 5 * TINY_VOCAB, sizeof *a * TINY_VOCAB * (N - 5));
    tl_session_free(s);
    close_all(&g);
}

// ---- layers on both sides --------------------------------------------------------------------------------
static void test_split(void **state) {
    (void)state;
    static float cpu[N * TINY_VOCAB], gpu[N * TINY_VOCAB], part[N * TINY_VOCAB], again[N * TINY_VOCAB];
    static const char *const archs[] = {"gemma3", "llama"}; // tied embeddings and others
    for (int a = 0; a < 2; a++) {
        tiny t = {.arch = archs[a], .type = DT_Q8_0};
        tiny_write(path, &t);
        opened c = open_on("cpu"), g = open_on("cuda");
        fill(&c, "f16", N, 0, cpu);
        fill(&g, "f16", N, 0, gpu);
        for (gpu_layers = a ? -1 : 1; gpu_layers <= (a ? TINY_LAYERS : 1); gpu_layers += gpu_layers < 0 ? 2 : 1) {
            opened o = open_on("cuda");
            fill(&o, "f16", N, 0, part);
            fill(&o, "f16", 4, 2, again);
            assert_memory_equal(part, again, sizeof part);
            if (gpu_layers < 0) assert_memory_equal(part, cpu, sizeof part);
            else if (gpu_layers >= TINY_LAYERS) assert_memory_equal(part, gpu, sizeof part);
            else assert_true(difference(cpu, part) < 3e-2 && memcmp(part, cpu, sizeof part) && memcmp(part, gpu, sizeof part));
            close_all(&o);
        }
        gpu_layers = 0;
        close_all(&c);
        close_all(&g);
    }
}

// Several sessions of a model, several models, and the CPU beside them in one process.
static void test_many(void **state) {
    (void)state;
    static float cpu[N * TINY_VOCAB], gpu[N * TINY_VOCAB], again[N * TINY_VOCAB];
    tiny t = {.arch = "llama", .type = DT_Q4_K};
    tiny_write(path, &t);
    opened c = open_on("cpu"), g = open_on("cuda"), h = open_on("cuda:0");
    fill(&c, "f16", N, 0, cpu);
    fill(&g, "f16", N, 0, gpu);
    tl_session *a = session(&g, "f16"), *b = session(&g, "q8_0"), *d = session(&h, "f16");
    run(b, 1, 3, 1, again);
    run(a, 1, 1, 0, again);
    assert_memory_equal(gpu, again, sizeof gpu);
    run(d, 2, 4, 1, again);
    assert_memory_equal(gpu, again, sizeof gpu);
    tl_session_free(a);
    close_all(&c);
    a = session(&g, "f16");
    run(a, 0, N, 0, again);
    assert_memory_equal(gpu, again, sizeof gpu);
    tl_session_free(a), tl_session_free(b), tl_session_free(d);
    close_all(&g);
    close_all(&h);
}

// ---- sessions on disk, profiles ----------------------------------------------------------------------------
static void test_saved(void **state) {
    (void)state;
    char file[80];
    tl_error err = {0};
    tiny t = {.arch = "llama", .type = DT_Q8_0};
    tiny_write(path, &t);
    snprintf(file, sizeof file, "%s.session", path);
    opened o[3] = {open_on("cpu"), open_on("cuda")};
    gpu_layers = 2;
    o[2] = open_on("cuda");
    gpu_layers = 0;
    for (int from = 0; from < 3; from++)
        for (int to = from ? 0 : 1; to < (from == 2 ? 1 : 3); to++) {
            static float plain[N * TINY_VOCAB];
            tl_session *a = session(&o[from], "f32"), *b = session(&o[to], "f32");
            const float *x, *y;
            int32_t *ids;
            size_t n;
            tl_row next = {.token = 9, .seq = 1, .logits = true};
            run(a, 1, 6, 1, plain);
            if (tl_session_save(a, 1, file, NULL, 0, &err) != TL_OK) fail_msg("%s", err.message);
            run(b, 1, N, 2, plain); // something else is in the slots
            if (tl_session_load(b, 1, file, &ids, &n, NULL, NULL, &err) != TL_OK) fail_msg("%s", err.message);
            assert_int_equal(n, N);
            tl_free(ids);
            assert_int_equal(tl_session_step(a, &next, 1, &x, &err), TL_OK);
            assert_int_equal(tl_session_step(b, &next, 1, &y, &err), TL_OK);
            float most = 0;
            for (int i = 0; i < TINY_VOCAB; i++) most = fmaxf(most, fabsf(x[i]));
            for (int i = 0; i < TINY_VOCAB; i++)
                if (from == to ? x[i] != y[i] : fabsf(x[i] - y[i]) > 0.05f * most) fail_msg("from %d to %d: %g %g", from, to, (double)x[i], (double)y[i]);
            tl_session_free(a);
            tl_session_free(b);
        }
    unlink(file);
    for (int i = 0; i < 3; i++) close_all(&o[i]);
}

static void test_profile(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q8_0};
    tiny_write(path, &t);
    for (gpu_layers = 0; gpu_layers < 3; gpu_layers += 2) {
        opened g = open_on("cuda");
        tl_session *s = session(&g, "f16");
        tl_error err = {0};
        tl_profile_line *lines;
        tl_profile_kernel *kernels;
        tl_row row = {.token = 3, .logits = true};
        size_t n, k, lost;
        double all = 0, matrices = 0;
        int layers = 0;
        assert_int_equal(tl_engine_workers(g.e), 1);
        assert_int_equal(tl_session_profile(s, true, &err), TL_OK);
        assert_int_equal(tl_session_record(s, 1000, &err), TL_OK);
        for (int i = 0; i < 3; i++) assert_int_equal(tl_session_step(s, &row, 1, NULL, &err), TL_OK);
        assert_int_equal(tl_session_profile_lines(s, &lines, &n, &err), TL_OK);
        for (size_t i = 0; i < n; i++) all += lines[i].seconds, matrices += lines[i].bytes > 1000 ? lines[i].seconds : 0;
        assert_true(n > 10 && all > 0 && matrices > 0);
        assert_int_equal(tl_session_profile_kernels(s, &kernels, &k, &err), TL_OK);
        for (size_t i = 0; i < k; i++) layers = kernels[i].layer >= layers ? kernels[i].layer + 1 : layers;
        assert_int_equal(layers, TINY_LAYERS);
        tl_free(lines), tl_free(kernels);
        assert_int_equal(tl_session_recorded(s, &kernels, &k, &lost, &err), TL_OK);
        assert_true(k > 10 && lost == 0 && kernels[0].begin > 0);
        tl_free(kernels);
        assert_int_equal(tl_session_profile(s, false, &err), TL_OK);
        assert_int_equal(tl_session_step(s, &row, 1, NULL, &err), TL_OK);
        tl_session_free(s);
        close_all(&g);
    }
    gpu_layers = 0;
}

// ---- choices ---------------------------------------------------------------------------------------------
enum { SAID = 8 };

static tl_sampler *sampler(int how) {
    tl_error err = {0};
    tl_sampling o = tl_sampling_default();
    tl_sampler *s;
    if (how == 0) o.temperature = 0;
    if (how == 2) o.repeat_penalty = 1.4f, o.temperature = 2, o.top_p = 1;
    if (how == 3) o.top_k = 0, o.temperature = 3; // not for the device
    o.seed = 42;
    if (tl_sampler_new(&o, &s, &err) != TL_OK) fail_msg("%s", err.message);
    return s;
}

static const uint64_t *odd_ids(int64_t i, bool masked) {
    static uint64_t mask[2][2] = {{0xaaaaaaaaaaaaaaaau, 0xaaaaaaaau}, {0xfffffffffffffff0u, 0xffffffffu}};
    return masked ? mask[i % 2] : NULL;
}

// What sequence 1 says, the logits on the host each time.
static void say_plainly(tl_session *s, int how, bool masked, int32_t *ids) {
    tl_error err = {0};
    tl_sampler *p = sampler(how);
    const float *logits;
    tl_row row = {.token = 5, .seq = 1, .logits = true};
    for (int i = 0; i < SAID; i++) {
        if (tl_session_step(s, &row, 1, &logits, &err) != TL_OK) fail_msg("%s", err.message);
        ids[i] = row.token = tl_sampler_pick_masked(p, logits, TINY_VOCAB, odd_ids(i, masked));
        tl_sampler_accept(p, ids[i]);
    }
    tl_sampler_free(p);
}

// The same with each step begun before its token is known.
static void say_ahead(tl_session *s, int how, bool masked, int32_t *ids) {
    tl_error err = {0};
    tl_sampler *p = sampler(how);
    tl_row row = {.token = 5, .seq = 1, .logits = true};
    if (tl_session_step(s, &row, 1, NULL, &err) != TL_OK) fail_msg("%s", err.message);
    row.token = TL_CHOSEN(0);
    for (int i = 0; i < SAID; i++) {
        const uint64_t *mask = odd_ids(i, masked);
        if (tl_session_choose(s, &p, &mask, NULL, &err) != TL_OK) fail_msg("%s", err.message);
        if (i + 1 < SAID && tl_session_step(s, &row, 1, NULL, &err) != TL_OK) fail_msg("%s", err.message);
        if (tl_session_chosen(s, &ids[i], &err) != TL_OK) fail_msg("%s", err.message);
        tl_sampler_accept(p, ids[i]);
    }
    tl_sampler_free(p);
}

static void check_choices(opened *o, int how, bool masked) {
    int32_t want[SAID], got[SAID], all[SAID + 1] = {5};
    tl_session *s = session(o, "f16");
    say_plainly(s, how, masked, want);
    tl_seq_cut(s, 1, 0);
    say_ahead(s, how, masked, got);
    if (memcmp(want, got, sizeof got)) fail_msg("sampler %d: another token ahead", how);
    memcpy(all + 1, got, sizeof got);
    assert_int_equal(tl_seq_length(s, 1), SAID);
    assert_int_equal(tl_seq_share(s, 2, all, SAID + 1), SAID); // the slots know what they hold
    tl_session_free(s);
}

static void test_choices(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q8_0};
    tiny_write(path, &t);
    opened c = open_on("cpu"), g = open_on("cuda");
    for (int how = 0; how < 4; how++)
        for (int masked = 0; masked < 2; masked++) {
            check_choices(&c, how, masked);
            check_choices(&g, how, masked);
        }
    close_all(&c);
    close_all(&g);
}

// Rows of several sequences, some of which go on with choices; what is asked for wrongly.
static void test_choices_of_many(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q8_0};
    tl_error err = {0};
    tiny_write(path, &t);
    opened g = open_on("cuda");
    tl_session *s = session(&g, "f16");
    tl_sampler *p[3] = {sampler(1), sampler(0), sampler(2)};
    tl_row rows[4] = {{.token = 1, .seq = 0, .logits = true}, {.token = 2, .seq = 1, .logits = true}, {.token = 3, .seq = 2}, {.token = 4, .seq = 2, .logits = true}};
    int32_t ids[3], twice[3];
    const float *logits;
    assert_int_equal(tl_session_chosen(s, ids, &err), TL_E_USAGE);
    tl_row wrong = {.token = TL_CHOSEN(0)};
    assert_int_equal(tl_session_step(s, &wrong, 1, NULL, &err), TL_E_USAGE);
    assert_int_equal(tl_session_step(s, rows, 4, &logits, &err), TL_OK);
    int32_t want[3];
    for (int i = 0; i < 3; i++) {
        want[i] = tl_sampler_pick(p[i], logits + i * TINY_VOCAB, TINY_VOCAB);
        tl_sampler_reset(p[i]);
    }
    assert_int_equal(tl_session_choose(s, p, NULL, NULL, &err), TL_OK);
    const tl_row next[2] = {{.token = TL_CHOSEN(2), .seq = 2, .logits = true}, {.token = 9, .seq = 3, .logits = true}};
    assert_int_equal(tl_session_step(s, next, 2, NULL, &err), TL_OK);
    wrong.token = TL_CHOSEN(3);
    assert_int_equal(tl_session_step(s, &wrong, 1, NULL, &err), TL_E_USAGE);
    assert_int_equal(tl_session_chosen(s, ids, &err), TL_OK);
    assert_memory_equal(want, ids, sizeof ids);
    assert_int_equal(tl_seq_length(s, 2), 3);
    assert_int_equal(tl_session_choose(s, p, NULL, twice, &err), TL_OK); // of the two rows
    tl_seq_cut(s, 2, 2);
    tl_row plain[2] = {{.token = ids[2], .seq = 2, .logits = true}, {.token = 9, .seq = 0, .logits = true}};
    tl_sampler_reset(p[0]);
    tl_sampler_seek(p[0], 1);
    assert_int_equal(tl_session_step(s, plain, 2, &logits, &err), TL_OK);
    assert_int_equal(tl_sampler_pick(p[0], logits, TINY_VOCAB), twice[0]);
    for (int i = 0; i < 3; i++) tl_sampler_free(p[i]);
    tl_session_free(s);
    close_all(&g);
}

// ---- what goes wrong -------------------------------------------------------------------------------------
static void check_refused(const char *setting, const char *value, const char *device, tl_status code, const char *words) {
    opened o;
    tl_error err = {0};
    if (setting) setenv(setting, value, 1);
    tl_status st = try_open(device, &o, &err);
    if (setting) unsetenv(setting);
    if (st != code || !strstr(err.message, words)) fail_msg("%s=%s %s: %d, %s", setting ? setting : "", value ? value : "", device, (int)st, err.message);
    close_all(&o);
}

static void test_refusals(void **state) {
    (void)state;
    check_refused("TL_SIM_DEVICES", "0", "cuda", TL_E_UNSUPPORTED, "no CUDA device");
    check_refused("TL_SIM_CC", "75", "cuda", TL_E_UNSUPPORTED, "compute capability 7.5");
    check_refused(NULL, NULL, "cuda:3", TL_E_USAGE, "no CUDA device 3");
    check_refused(NULL, NULL, "gpu", TL_E_USAGE, "there are cpu, cuda");
    setenv("TL_SIM_DEVICES", "0", 1); // auto: the CPU
    opened o = open_on("auto");
    unsetenv("TL_SIM_DEVICES");
    assert_string_equal(tl_engine_device(o.e), "cpu");
    close_all(&o);
}

static void test_memory(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q4_0};
    int refused = 0, worked = 0;
    tiny_write(path, &t);
    setenv("TL_SIM_LEAKS", "1", 1);
    for (long mib = 1; mib < 64; mib += mib < 24 ? 1 : 8) {
        char bytes[32];
        tl_error err = {0};
        tl_session *s = NULL;
        snprintf(bytes, sizeof bytes, "%ld", mib << 20);
        setenv("TL_SIM_MEMORY", bytes, 1);
        opened o = open_on("cuda");
        tl_session_options so = {.n_ctx = 160, .n_batch = 64};
        tl_status st = tl_session_new(o.m, &so, &s, &err);
        if (st != TL_OK) {
            assert_int_equal(st, TL_E_MEMORY);
            if (!strstr(err.message, "--gpu-layers") || !strstr(err.message, "MiB of weights")) fail_msg("%ld MiB: %s", mib, err.message);
            refused++;
        } else {
            worked++;
        }
        assert_non_null(strstr(report, "MiB to work in"));
        tl_session_free(s);
        close_all(&o);
    }
    unsetenv("TL_SIM_MEMORY");
    unsetenv("TL_SIM_LEAKS");
    assert_true(refused > 1 && worked > 1);
}

// More memory is wanted in the middle of the work and there is none: the session goes on with what it has.
static void test_growth(void **state) {
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q4_0};
    tiny_write(path, &t);
    opened g = open_on("cuda");
    tl_session *s = session(&g, "f16");
    tl_sampler *p[64];
    tl_error err = {0};
    tl_row rows[64];
    int32_t ids[64];
    for (int i = 0; i < 64; i++) p[i] = sampler(1), rows[i] = (tl_row){.token = i, .logits = true};
    assert_int_equal(tl_session_step(s, rows, 1, NULL, &err), TL_OK);
    assert_int_equal(tl_session_choose(s, p, NULL, ids, &err), TL_OK);
    assert_int_equal(tl_session_step(s, rows, 64, NULL, &err), TL_OK);
    setenv("TL_SIM_MEMORY", "1000", 1); // all of it is in use
    assert_int_equal(tl_session_choose(s, p, NULL, NULL, &err), TL_E_MEMORY);
    assert_non_null(strstr(err.message, "out of memory"));
    unsetenv("TL_SIM_MEMORY");
    assert_int_equal(tl_session_choose(s, p, NULL, ids, &err), TL_OK);
    const float *logits;
    assert_int_equal(tl_session_step(s, rows, 1, &logits, &err), TL_OK);
    assert_int_equal(tl_seq_length(s, 0), 66);
    for (int i = 0; i < 64; i++) tl_sampler_free(p[i]);
    tl_session_free(s);
    close_all(&g);
}

static void test_lost(void **state) { // keep last: the simulated device does not come back
    (void)state;
    tiny t = {.arch = "llama", .type = DT_Q4_0};
    tiny_write(path, &t);
    opened o = open_on("cuda");
    tl_session *s = session(&o, "f16");
    tl_error err = {0};
    tl_row row = {.token = 3, .logits = true};
    const float *logits;
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_OK);
    setenv("TL_SIM_BREAK", "1", 1);
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_E_IO);
    assert_non_null(strstr(err.message, "failed"));
    assert_int_equal(tl_seq_length(s, 0), 1); // the row was taken back
    assert_int_equal(tl_session_step(s, &row, 1, &logits, &err), TL_E_IO);
    unsetenv("TL_SIM_BREAK");
    // Everything that follows says the same; nothing hangs or crashes, and what is on the host is still there.
    tl_sampler *p = sampler(0);
    int32_t id;
    char first[sizeof err.message];
    memcpy(first, err.message, sizeof first);
    assert_int_equal(tl_session_choose(s, &p, NULL, &id, &err), TL_E_IO);
    assert_string_equal(first, err.message);
    assert_int_equal(tl_session_save(s, 0, "/tmp/tl-lost", NULL, 0, &err), TL_E_IO);
    assert_int_equal(access("/tmp/tl-lost", F_OK), -1);
    assert_int_equal(tl_seq_length(s, 0), 1);
    tl_sampler_free(p);
    tl_session_free(s);
    close_all(&o);
    tl_engine *e;
    tl_engine_options eo = {.threads = 1, .device = "cuda"};
    assert_int_not_equal(tl_engine_new(&eo, &e, &err), TL_OK);
    o = open_on("cpu");
    close_all(&o);
}

int main(int argc, char **argv) { // PATTERN: only tests whose names it matches
    tl_engine *e;
    tl_error err = {0};
    tl_engine_options eo = {.threads = 1, .device = "cuda"};
    bool gpu = getenv("TL_CUDA_TEST_GPU") != NULL;
    if (!gpu) setenv("TL_CUDA_DRIVER", SIM_DRIVER, 1);
    setenv("TL_CPU", "ref", 1); // others may read bfloat16 weights with bfloat16 activations
    if (tl_engine_new(&eo, &e, &err) != TL_OK) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    tl_engine_free(e);
    snprintf(path, sizeof path, "/tmp/tl-cuda-plan-%d.gguf", (int)getpid());
#define ON_ANY cmocka_unit_test(test_q4_0), cmocka_unit_test(test_q4_k), cmocka_unit_test(test_q6_k), cmocka_unit_test(test_bf16), cmocka_unit_test(test_f32), cmocka_unit_test(test_lists), cmocka_unit_test(test_split), cmocka_unit_test(test_many), cmocka_unit_test(test_saved), cmocka_unit_test(test_profile), cmocka_unit_test(test_choices), cmocka_unit_test(test_choices_of_many)
    const struct CMUnitTest on_any[] = {ON_ANY};
    const struct CMUnitTest simulated[] = {ON_ANY, cmocka_unit_test(test_refusals), cmocka_unit_test(test_memory), cmocka_unit_test(test_growth), cmocka_unit_test(test_lost)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = gpu ? cmocka_run_group_tests(on_any, NULL, NULL) : cmocka_run_group_tests(simulated, NULL, NULL);
    unlink(path);
    return failed;
}
