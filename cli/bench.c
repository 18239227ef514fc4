// bench.c - `tl bench`: speed of the prompt and of decoding, time to load and to the first token, peak memory.
// Medians of the repetitions; each starts from an empty cache (or --depth tokens for decoding), with arbitrary tokens.
#include "bench.h"
#include "models.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { READS = 5 };

typedef struct bench_args {
    model_args model;
    int64_t prompt, decode, depth;
    int repeat, sequences;
    bool json, profile;
} bench_args;

typedef struct bench_result {
    double load, first_token, *prompt, *decode; // seconds; the two lists have one entry a repetition
    double *reads;        // seconds of a plain read of the decoded weights, READS of each repetition
    tl_weight_read read;  // the last one
    json_t *profile;
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

// Sequence 0 gets n tokens, the others are copies of it.
tl_status bench_fill(opened *o, int sequences, int64_t n, double *seconds, tl_error *err) {
    const float *logits;
    int32_t *ids = malloc(sizeof *ids * (size_t)(n ? n : 1));
    *err = (tl_error){.code = TL_E_MEMORY, .offset = -1, .message = "out of memory"};
    for (int i = 0; i < sequences; i++) tl_seq_cut(o->session, i, 0);
    for (int64_t i = 0; ids && i < n; i++) ids[i] = arbitrary(i, tl_model_n_vocab(o->model));
    double start = seconds_now();
    tl_status status = ids ? n ? tl_session_prompt(o->session, 0, ids, (size_t)n, &logits, NULL, err) : TL_OK : TL_E_MEMORY;
    *seconds = seconds_now() - start;
    for (int i = 1; i < sequences && status == TL_OK; i++) status = tl_seq_fork(o->session, 0, i, err);
    free(ids);
    return status;
}

// On a GPU decoding goes on with the tokens that it chooses itself, the best ones: a step begins before the host knows its tokens.
static tl_status decode_there(opened *o, int sequences, int64_t n, double *seconds, tl_error *err) {
    const tl_sampling greedy = {.temperature = 0, .repeat_penalty = 1, .top_p = 1};
    tl_sampler *one = NULL, *all[MAX_SEQUENCES];
    tl_row rows[MAX_SEQUENCES];
    int32_t ids[MAX_SEQUENCES];
    tl_status status = tl_sampler_new(&greedy, &one, err);
    for (int k = 0; k < sequences; k++) {
        all[k] = one;
        rows[k] = (tl_row){.token = arbitrary(1000 + k, tl_model_n_vocab(o->model)), .seq = k, .logits = true};
    }
    double start = seconds_now();
    for (int64_t i = 0; i < n && status == TL_OK; i++) {
        status = tl_session_step(o->session, rows, (size_t)sequences, NULL, err);
        if (status == TL_OK && i > 0) status = tl_session_chosen(o->session, ids, err);
        if (status == TL_OK) status = tl_session_choose(o->session, all, NULL, NULL, err);
        for (int k = 0; k < sequences; k++) rows[k].token = TL_CHOSEN(k);
    }
    if (status == TL_OK) status = tl_session_chosen(o->session, ids, err);
    *seconds = seconds_now() - start;
    tl_sampler_free(one);
    return status;
}

// n steps of one token for each sequence.
tl_status bench_decode(opened *o, int sequences, int64_t n, double *seconds, tl_error *err) {
    const float *logits;
    tl_row rows[MAX_SEQUENCES];
    if (n > 0 && strcmp(tl_engine_device(o->engine), "cpu") != 0) return decode_there(o, sequences, n, seconds, err);
    double start = seconds_now();
    for (int64_t i = 0; i < n; i++) {
        for (int k = 0; k < sequences; k++)
            rows[k] = (tl_row){.token = arbitrary(1000 + i * sequences + k, tl_model_n_vocab(o->model)), .seq = k, .logits = true};
        tl_status status = tl_session_step(o->session, rows, (size_t)sequences, &logits, err);
        if (status != TL_OK) return status;
    }
    *seconds = seconds_now() - start;
    return TL_OK;
}

// A prompt may need the whole cache: what other sequences hold of the last round goes.
static void empty(opened *o, int sequences) {
    for (int i = 0; i < sequences; i++) tl_seq_cut(o->session, i, 0);
}

// Plain reads of the weights, right after they were decoded with.
static tl_status read_weights(const bench_args *a, const opened *o, bench_result *r, int repetition, tl_error *err) {
    for (int i = 0; i < READS && a->decode; i++) {
        tl_status status = tl_session_read_weights(o->session, &r->read, err);
        if (status != TL_OK) return status;
        r->reads[repetition * READS + i] = r->read.seconds;
    }
    return TL_OK;
}

static tl_status measure(const bench_args *a, opened *o, bench_result *r, tl_error *err) {
    double unused;
    for (int i = 0; i < a->repeat; i++) {
        empty(o, a->sequences);
        tl_status status = a->prompt ? bench_fill(o, 1, a->prompt, &r->prompt[i], err) : TL_OK;
        if (status == TL_OK && a->decode) status = bench_fill(o, a->sequences, a->depth, &unused, err);
        if (status == TL_OK && a->decode) status = bench_decode(o, a->sequences, a->decode, &r->decode[i], err);
        if (status == TL_OK) status = read_weights(a, o, r, i, err);
        if (status != TL_OK) return status;
    }
    return TL_OK;
}

// ---- profile -----------------------------------------------------------------------------------
static size_t first_line(const char *text, size_t n) {
    const char *end = text ? memchr(text, '\n', n) : NULL;
    return end ? (size_t)(end - text) : n;
}

// Each statement of the program: time of a step, its share, and the rate of what one row reads there from memory.
json_t *bench_profile_rows(const opened *o, int64_t steps, int64_t rows, double bandwidth, tl_error *err) {
    tl_profile_line *lines;
    size_t n;
    double all = 0;
    if (tl_session_profile_lines(o->session, &lines, &n, err) != TL_OK) return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) all += lines[i].seconds;
    for (size_t i = 0; i < n; i++) {
        const tl_profile_line *l = &lines[i];
        double rate = l->bytes > 0 && l->seconds > 0 ? l->bytes * (double)steps / l->seconds : NAN;
        json_t *text = json_bytes(l->text, first_line(l->text, l->text_n));
        json_array_append_new(list, json_pack("{s:s, s:i, s:o, s:f, s:f, s:f, s:f, s:o, s:o}", "file", l->file, "line", l->line, "text", text,
            "seconds_per_step", l->seconds / (double)steps, "microseconds_per_token", 1e6 * l->seconds / (double)steps / (double)rows,
            "share", all > 0 ? l->seconds / all : 0, "bytes", l->bytes, "bytes_per_second", json_real_or_null(rate),
            "share_of_bandwidth", json_real_or_null(bandwidth > 0 ? rate / bandwidth : NAN)));
    }
    tl_free(lines);
    return list;
}

json_t *bench_layer_time(const opened *o, int64_t steps, int64_t rows, double bandwidth, tl_error *err) {
    tl_profile_kernel *k;
    size_t n;
    int layers = 0, workers = tl_session_workers(o->session, rows);
    double seconds = 0, bytes = 0;
    if (tl_session_profile_kernels(o->session, &k, &n, err) != TL_OK) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (k[i].layer < 0) continue;
        layers = k[i].layer + 1 > layers ? k[i].layer + 1 : layers;
        seconds += k[i].seconds / (double)steps / workers;
        bytes += k[i].bytes;
    }
    tl_free(k);
    if (layers == 0) return NULL;
    double one = 1e6 * seconds / layers, reading = bandwidth > 0 ? 1e6 * bytes / bandwidth / layers : 0;
    return json_pack("{s:i, s:f, s:f, s:f}", "layers", layers, "microseconds", one, "reading_microseconds", reading, "exposed_microseconds", one > reading ? one - reading : 0.0);
}

void bench_print_layer_time(const json_t *layer) {
    if (!layer) return;
    printf("\na layer of %lld: %.1f us a step; reading its bytes at the bandwidth above would take %.1f, %.1f are exposed\n", (long long)json_integer_value(json_object_get(layer, "layers")),
           json_number_value(json_object_get(layer, "microseconds")), json_number_value(json_object_get(layer, "reading_microseconds")),
           json_number_value(json_object_get(layer, "exposed_microseconds")));
}

static tl_status profile(const bench_args *a, opened *o, bench_result *r, tl_error *err) {
    double unused, bandwidth = tl_engine_read_bandwidth(o->engine);
    r->profile = json_pack("{s:f}", "read_bytes_per_second", bandwidth);
    for (int part = 0; part < 2; part++) {
        int64_t n = part ? a->prompt : a->decode, steps = part ? 1 : n, rows = part ? n : a->sequences;
        if (!n) continue;
        empty(o, a->sequences);
        tl_status status = bench_fill(o, part ? 1 : a->sequences, part ? 0 : a->depth, &unused, err);
        if (status == TL_OK) status = tl_session_profile(o->session, true, err);
        if (status == TL_OK) status = part ? bench_fill(o, 1, n, &unused, err) : bench_decode(o, a->sequences, n, &unused, err);
        json_t *list = status == TL_OK ? bench_profile_rows(o, steps, rows, part ? 0 : bandwidth, err) : NULL;
        if (!list) return status == TL_OK ? TL_E_MEMORY : status;
        json_object_set_new(r->profile, part ? "prompt" : "decode", list);
        json_t *layer = part ? NULL : bench_layer_time(o, steps, rows, bandwidth, err);
        if (layer) json_object_set_new(r->profile, "layer", layer);
        (void)tl_session_profile(o->session, false, err);
    }
    return TL_OK;
}

void bench_print_profile(const char *title, const json_t *rows, double bandwidth) {
    size_t i;
    json_t *row;
    double number;
    if (!rows) return;
    printf("\n%s\n  us/token  share%s   line\n", title, bandwidth > 0 ? "     GB/s  of bandwidth" : "");
    json_array_foreach(rows, i, row) {
        double share = json_number_value(json_object_get(row, "share"));
        if (share < 0.0005) continue;
        printf("%10.1f %5.1f %%", json_number_value(json_object_get(row, "microseconds_per_token")), 100 * share);
        number = json_number_value(json_object_get(row, "bytes_per_second"));
        if (bandwidth > 0 && number > 0) printf(" %8.1f %11.0f %%", 1e-9 * number, 100 * number / bandwidth);
        else if (bandwidth > 0) printf(" %22s", "");
        printf("   %s:%lld: %.80s\n", json_string_value(json_object_get(row, "file")),
               (long long)json_integer_value(json_object_get(row, "line")), json_string_value(json_object_get(row, "text")));
    }
}

// ---- result ------------------------------------------------------------------------------------
// Linux's own figure first: ru_maxrss counts what this process was before exec(), which may be a large script's copy.
static double peak_bytes(void) {
    struct rusage u;
    char line[200];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && kib <= 0 && fgets(line, sizeof line, f)) (void)sscanf(line, "VmHWM: %lf kB", &kib);
    if (f) fclose(f);
    if (kib > 0) return 1024 * kib;
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

// Decoding against a plain read of the same memory: bytes a second of both, weights and the cache's share of them.
typedef struct memory_use {
    double weights, cache; // bytes of a step
    double decode, with_cache, plain; // bytes a second; NAN: not measured
} memory_use;

static memory_use against_memory(const bench_args *a, const bench_result *r) {
    memory_use b = {.weights = r->read.bytes, .decode = NAN, .with_cache = NAN, .plain = NAN};
    if (!a->decode || r->read.bytes <= 0) return b;
    double steps = (double)a->decode / median(r->decode, a->repeat), last = (double)(a->depth + a->decode);
    b.cache = r->read.cache_bytes * (double)a->sequences * ((double)a->depth + 0.5 * (double)a->decode) / last; // of the middle step
    b.decode = b.weights * steps;
    b.with_cache = (b.weights + b.cache) * steps;
    b.plain = b.weights / median(r->reads, a->repeat * READS);
    return b;
}

static json_t *json_bandwidth(const memory_use *b) {
    return json_pack("{s:f, s:f, s:o, s:o, s:o, s:o}", "weight_bytes", b->weights, "cache_bytes", b->cache, "bytes_per_second", json_real_or_null(b->decode),
                     "with_cache_bytes_per_second", json_real_or_null(b->with_cache), "read_bytes_per_second", json_real_or_null(b->plain),
                     "share", json_real_or_null(b->with_cache / b->plain));
}

static int print_result(const bench_args *a, const opened *o, const bench_result *r) {
    char cpu[200];
    double prompt = a->prompt ? (double)a->prompt / median(r->prompt, a->repeat) : NAN;
    double said = a->decode ? (double)(a->decode * a->sequences) / median(r->decode, a->repeat) : NAN;
    memory_use b = against_memory(a, r);
    tl_memory m = tl_session_memory(o->session);
    int threads = tl_engine_threads(o->engine), workers = tl_session_workers(o->session, a->sequences);
    cpu_name(cpu, sizeof cpu);
    if (a->json)
        return print_json(json_pack(
            "{s:o, s:o, s:f, s:f, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:i, s:i, s:i, s:s, s:o, s:s, s:o, s:o*}", "prompt_tokens_per_second",
            json_real_or_null(prompt), "decode_tokens_per_second", json_real_or_null(said), "load_seconds", r->load,
            "first_token_seconds", r->first_token, "peak_rss_bytes", (json_int_t)peak_bytes(), "file_bytes", (json_int_t)m.file, "cache_bytes",
            (json_int_t)m.cache, "prompt_runs",
            list_of_rates(r->prompt, a->prompt ? a->repeat : 0, a->prompt), "decode_runs",
            list_of_rates(r->decode, a->decode ? a->repeat : 0, a->decode * a->sequences), "prompt_tokens", (json_int_t)a->prompt, "decode_tokens",
            (json_int_t)a->decode, "depth", (json_int_t)a->depth, "sequences", a->sequences, "threads", threads, "decode_threads", workers,
            "isa", tl_engine_isa(o->engine),
            "model", json_bytes(tl_model_path(o->model), strlen(tl_model_path(o->model))), "cpu", cpu, "decode_memory", json_bandwidth(&b), "profile", r->profile));
    printf("%s\n%s, %d threads, %s kernels", tl_model_path(o->model), cpu, threads, tl_engine_isa(o->engine));
    if (strcmp(tl_engine_device(o->engine), "cpu") != 0) printf("; %s", tl_engine_device(o->engine));
    else if (a->decode && workers < threads) printf("; %d of the threads took part in decoding: more were slower", workers);
    putchar('\n');
    if (a->prompt) printf("prompt %6lld tokens   %9.1f tokens/s\n", (long long)a->prompt, prompt);
    if (a->decode && a->sequences > 1) printf("decode %6lld x %-4d     %9.1f tokens/s\n", (long long)a->decode, a->sequences, said);
    else if (a->decode) printf("decode %6lld tokens   %9.1f tokens/s\n", (long long)a->decode, said);
    if (b.plain > 0)
        printf("decode reads           %9.1f GB/s of weights, %.1f with the cache: %.0f %% of a plain read of these weights (%.1f GB/s)\n", 1e-9 * b.decode,
               1e-9 * b.with_cache, 100 * b.with_cache / b.plain, 1e-9 * b.plain);
    printf("load                   %9.3f s\nfirst token            %9.3f s\npeak memory            %9.1f MB (the file has %.1f, the cache for %lld tokens %.1f)\n", r->load,
           r->first_token, 1e-6 * peak_bytes(), 1e-6 * m.file, (long long)tl_session_n_ctx(o->session), 1e-6 * m.cache);
    if (r->profile) {
        double bandwidth = json_number_value(json_object_get(r->profile, "read_bytes_per_second"));
        printf("\nread bandwidth         %9.1f GB/s\n", 1e-9 * bandwidth);
        bench_print_profile("decoding, the program's statements in all layers", json_object_get(r->profile, "decode"), bandwidth);
        bench_print_layer_time(json_object_get(r->profile, "layer"));
        bench_print_profile("prompt", json_object_get(r->profile, "prompt"), 0);
        json_decref(r->profile);
    }
    return 0;
}

// The first token counts from the start of the program: opening, a prompt of one word, and choosing.
static int open_and_time(const bench_args *a, opened *o, bench_result *r) {
    double start = seconds_now(), unused;
    int64_t said = a->depth + (a->decode > 2 ? a->decode : 2) * a->sequences;
    int64_t n_ctx = (a->prompt > said ? a->prompt : said) + 8;
    tl_error err;
    int status = open_model("bench", &a->model, TL_MODEL_WHOLE, o);
    if (status != 0) return status;
    const tl_session_options options = {.n_ctx = a->model.n_ctx ? a->model.n_ctx : n_ctx, .n_batch = a->model.n_batch,
                                        .n_seq = a->sequences, .cache_type = a->model.cache_type};
    if (tl_session_new(o->model, &options, &o->session, &err) != TL_OK) return fail_with("bench", &err);
    r->load = seconds_now() - start;
    if (bench_fill(o, a->sequences, 4, &unused, &err) != TL_OK) return fail_with("bench", &err);
    r->first_token = seconds_now() - start;
    // One round that does not count: plans are made and pages touched.
    if (a->decode && bench_decode(o, a->sequences, 2, &unused, &err) != TL_OK) return fail_with("bench", &err);
    empty(o, a->sequences);
    if (a->prompt && bench_fill(o, 1, a->prompt, &unused, &err) != TL_OK) return fail_with("bench", &err);
    return 0;
}

static int bench(const bench_args *a) {
    opened o = {0};
    tl_error err;
    bench_result r = {.prompt = calloc((size_t)a->repeat, sizeof(double)), .decode = calloc((size_t)a->repeat, sizeof(double)),
                      .reads = calloc((size_t)a->repeat * READS, sizeof(double))};
    int status = r.prompt && r.decode && r.reads ? open_and_time(a, &o, &r) : fail("bench", "out of memory");
    if (status == 0) status = measure(a, &o, &r, &err) == TL_OK && (!a->profile || profile(a, &o, &r, &err) == TL_OK) ? print_result(a, &o, &r) : fail_with("bench", &err);
    opened_free(&o);
    free(r.prompt), free(r.decode), free(r.reads);
    return status;
}

int cli_bench(int argc, char **argv) {
    bench_args a = {.prompt = 256, .decode = 64, .repeat = 5, .sequences = 1};
    int first;
    const arg_option options[] = {
        {ARG_I64, "n-prompt", 'p', &a.prompt, "N", "tokens of the prompt; 0: not measured (default: 256)", 0, 1e6},
        {ARG_I64, "n-gen", 'n', &a.decode, "N", "tokens to decode; 0: not measured (default: 64)", 0, 1e6},
        {ARG_I64, "n-depth", 'd', &a.depth, "N", "tokens in the cache when decoding starts (default: 0)", 0, 1e6},
        {ARG_INT, "sequences", 's', &a.sequences, "N", "sequences decoded at once, each with its own tokens (default: 1)", 1, MAX_SEQUENCES},
        {ARG_FLAG, "profile", 0, &a.profile, NULL, "then measure each statement of the program: time, bytes, share of the bandwidth", 0, 0},
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
