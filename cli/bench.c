// bench.c - `tl bench`: speed of the prompt and of decoding, time to load and to the first token, peak memory.
// Medians of the repetitions; each starts from an empty cache (or --depth tokens for decoding), with arbitrary tokens.
#include "common.h"
#include "models.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

typedef struct bench_args {
    model_args model;
    int64_t prompt, decode, depth;
    int repeat;
    bool json;
} bench_args;

typedef struct bench_result {
    double load, first_token, *prompt, *decode; // seconds; the two lists have one entry a repetition
} bench_result;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *x, int n) {
    double *sorted = malloc(sizeof *x * (size_t)n), m = NAN;
    if (!sorted) return m;
    memcpy(sorted, x, sizeof *x * (size_t)n);
    qsort(sorted, (size_t)n, sizeof *x, ascending);
    m = n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
    free(sorted);
    return m;
}

// Arbitrary but fixed ids, not the control tokens that most vocabularies have at their start.
static int32_t arbitrary(int64_t i, int64_t n_vocab) {
    uint64_t z = ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
    int64_t first = n_vocab > 1000 ? 300 : 0;
    return (int32_t)(first + (int64_t)((z >> 20) % (uint64_t)(n_vocab - first)));
}

static tl_status fill(opened *o, int64_t n, double *seconds, tl_error *err) {
    const float *logits;
    int32_t *ids = malloc(sizeof *ids * (size_t)(n ? n : 1));
    *err = (tl_error){.code = TL_E_MEMORY, .offset = -1, .message = "out of memory"};
    tl_seq_cut(o->session, 0, 0);
    for (int64_t i = 0; ids && i < n; i++) ids[i] = arbitrary(i, tl_model_n_vocab(o->model));
    double start = seconds_now();
    tl_status status = ids ? n ? tl_session_prompt(o->session, 0, ids, (size_t)n, &logits, NULL, err) : TL_OK : TL_E_MEMORY;
    *seconds = seconds_now() - start;
    free(ids);
    return status;
}

static tl_status decode(opened *o, int64_t n, double *seconds, tl_error *err) {
    const float *logits;
    double start = seconds_now();
    for (int64_t i = 0; i < n; i++) {
        const tl_row row = {.token = arbitrary(1000 + i, tl_model_n_vocab(o->model)), .logits = true};
        tl_status status = tl_session_step(o->session, &row, 1, &logits, err);
        if (status != TL_OK) return status;
    }
    *seconds = seconds_now() - start;
    return TL_OK;
}

static tl_status measure(const bench_args *a, opened *o, bench_result *r, tl_error *err) {
    double unused;
    for (int i = 0; i < a->repeat; i++) {
        tl_status status = a->prompt ? fill(o, a->prompt, &r->prompt[i], err) : TL_OK;
        if (status == TL_OK && a->decode) status = fill(o, a->depth, &unused, err);
        if (status == TL_OK && a->decode) status = decode(o, a->decode, &r->decode[i], err);
        if (status != TL_OK) return status;
    }
    return TL_OK;
}

static double peak_bytes(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? 1024.0 * (double)u.ru_maxrss : NAN;
}

static void cpu_name(char *name, size_t cap) {
    char line[300];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(name, cap, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(name, cap, "%s", colon + 2);
        break;
    }
    if (f) fclose(f);
}

static json_t *list_of_rates(const double *seconds, int n, int64_t tokens) {
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_real_or_null((double)tokens / seconds[i]));
    return list;
}

static int print_result(const bench_args *a, const opened *o, const bench_result *r) {
    char cpu[200];
    double prompt = a->prompt ? (double)a->prompt / median(r->prompt, a->repeat) : NAN;
    double said = a->decode ? (double)a->decode / median(r->decode, a->repeat) : NAN;
    cpu_name(cpu, sizeof cpu);
    if (a->json)
        return print_json(json_pack(
            "{s:o, s:o, s:f, s:f, s:I, s:o, s:o, s:I, s:I, s:I, s:i, s:s, s:o, s:s}", "prompt_tokens_per_second",
            json_real_or_null(prompt), "decode_tokens_per_second", json_real_or_null(said), "load_seconds", r->load,
            "first_token_seconds", r->first_token, "peak_rss_bytes", (json_int_t)peak_bytes(), "prompt_runs",
            list_of_rates(r->prompt, a->prompt ? a->repeat : 0, a->prompt), "decode_runs",
            list_of_rates(r->decode, a->decode ? a->repeat : 0, a->decode), "prompt_tokens", (json_int_t)a->prompt, "decode_tokens",
            (json_int_t)a->decode, "depth", (json_int_t)a->depth, "threads", tl_engine_threads(o->engine), "isa", tl_engine_isa(o->engine),
            "model", json_bytes(tl_model_path(o->model), strlen(tl_model_path(o->model))), "cpu", cpu));
    printf("%s\n%s, %d threads, %s kernels\n", tl_model_path(o->model), cpu, tl_engine_threads(o->engine), tl_engine_isa(o->engine));
    if (a->prompt) printf("prompt %6lld tokens   %9.1f tokens/s\n", (long long)a->prompt, prompt);
    if (a->decode) printf("decode %6lld tokens   %9.1f tokens/s\n", (long long)a->decode, said);
    printf("load                   %9.3f s\nfirst token            %9.3f s\npeak memory            %9.1f MB\n", r->load, r->first_token,
           1e-6 * peak_bytes());
    return 0;
}

// The first token counts from the start of the program: opening, a prompt of one word, and choosing.
static int open_and_time(const bench_args *a, opened *o, bench_result *r) {
    double start = seconds_now(), unused;
    int64_t n_ctx = (a->prompt > a->depth + a->decode ? a->prompt : a->depth + a->decode) + 8;
    tl_error err;
    int status = open_model("bench", &a->model, TL_MODEL_WHOLE, o);
    if (status == 0) status = open_session("bench", &a->model, n_ctx, 0, o);
    if (status != 0) return status;
    r->load = seconds_now() - start;
    if (fill(o, 4, &unused, &err) != TL_OK) return fail_with("bench", &err);
    r->first_token = seconds_now() - start;
    // One round that does not count: plans are made and pages touched.
    if (a->decode && decode(o, 2, &unused, &err) != TL_OK) return fail_with("bench", &err);
    if (a->prompt && fill(o, a->prompt, &unused, &err) != TL_OK) return fail_with("bench", &err);
    return 0;
}

static int bench(const bench_args *a) {
    opened o = {0};
    tl_error err;
    bench_result r = {.prompt = calloc((size_t)a->repeat, sizeof(double)), .decode = calloc((size_t)a->repeat, sizeof(double))};
    int status = r.prompt && r.decode ? open_and_time(a, &o, &r) : fail("bench", "out of memory");
    if (status == 0) status = measure(a, &o, &r, &err) == TL_OK ? print_result(a, &o, &r) : fail_with("bench", &err);
    opened_free(&o);
    free(r.prompt), free(r.decode);
    return status;
}

int cli_bench(int argc, char **argv) {
    bench_args a = {.prompt = 256, .decode = 64, .repeat = 5};
    int first;
    const arg_option options[] = {
        {ARG_I64, "n-prompt", 'p', &a.prompt, "N", "tokens of the prompt; 0: not measured (default: 256)", 0, 1e6},
        {ARG_I64, "n-gen", 'n', &a.decode, "N", "tokens to decode; 0: not measured (default: 64)", 0, 1e6},
        {ARG_I64, "n-depth", 'd', &a.depth, "N", "tokens in the cache when decoding starts (default: 0)", 0, 1e6},
        {ARG_INT, "repetitions", 'r', &a.repeat, "N", "the medians of N runs (default: 5)", 1, 1000},
        {ARG_FLAG, "json", 0, &a.json, NULL, "as JSON", 0, 0},
        MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "bench", .usage = "[-m MODEL | MODEL] [-p N] [-n N] [-t N] [options]", .options = options,
        .most = 1, .about = "Measures tokens a second for a prompt and for decoding, the time to load and to the first token, and\n"
                            "the peak memory of the process."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (first < argc && (status = args_positional("bench", argv[first], &a.model.model)) >= 0) return status;
    return bench(&a);
}
