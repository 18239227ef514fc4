// profile.c - `tl profile`: where a step's time goes, by line of the program; as text, JSON, a flame graph to look at in a
// browser, or a trace of every piece of work for chrome://tracing and ui.perfetto.dev.
#include "base/base.h"
#include "bench.h"
#include "tl_pages.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct profile_args {
    model_args model;
    int64_t prompt, tokens, depth, traced;
    const char *trace, *html;
    bool json;
} profile_args;

enum { RECORDS_PER_STEP = 65536, MOST_RECORDS = 4 << 20 };

// ---- files -------------------------------------------------------------------------------------
// Written beside and renamed, so that no half of a file has its name.
static int write_whole(const char *path, bool (*put)(FILE *f, const void *what), const void *what) {
    char part[PATH_MAX];
    int n = snprintf(part, sizeof part, "%s.new", path);
    FILE *f = n < (int)sizeof part ? fopen(part, "wb") : NULL;
    if (!f) return fail("profile", "%s: %s", path, strerror(n < (int)sizeof part ? errno : ENAMETOOLONG));
    bool done = put(f, what);
    if (fclose(f) == 0 && done && rename(part, path) == 0) return 0;
    int why = errno;
    unlink(part);
    return fail("profile", "%s: %s", path, strerror(why));
}

// ---- flame graph -------------------------------------------------------------------------------
static json_t *kernels_json(const opened *o, int64_t steps, tl_error *err) {
    tl_profile_kernel *k;
    size_t n;
    if (tl_session_profile_kernels(o->session, &k, &n, err) != TL_OK) return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        const char *end = k[i].text_n ? memchr(k[i].text, '\n', k[i].text_n) : NULL;
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:o, s:i, s:f, s:f}", "kernel", k[i].kernel, "file", k[i].file, "line", k[i].line, "text",
                                              json_bytes(k[i].text, end ? (size_t)(end - k[i].text) : k[i].text_n), "layer", k[i].layer, "seconds",
                                              k[i].seconds / (double)steps / tl_session_workers(o->session, 1), "bytes", k[i].bytes));
    }
    tl_free(k);
    return list;
}

// In HTML, "<" inside the data must not look like the end of the script.
static bool put_page(FILE *f, const void *what) {
    const embedded_file *page = &tl_pages[0];
    const char *mark = strstr(page->data, "@DATA@");
    char *data = json_dumps(what, JSON_COMPACT);
    if (!data || !mark) return free(data), false;
    fwrite(page->data, 1, (size_t)(mark - page->data), f);
    for (const char *p = data; *p; p++)
        if (*p == '<') fputs("\\u003c", f);
        else putc(*p, f);
    free(data);
    fputs(mark + 6, f);
    return !ferror(f);
}

static int write_html(const profile_args *a, const opened *o, json_t *lines, double bandwidth, tl_error *err) {
    char about[400];
    json_t *kernels = kernels_json(o, a->tokens, err);
    if (!kernels) return fail_with("profile", err);
    snprintf(about, sizeof about, "One step of decoding with %lld tokens in the cache, mean of %lld; %d threads, %s kernels; memory reads %.1f GB/s.", (long long)a->depth,
             (long long)a->tokens, tl_engine_threads(o->engine), tl_engine_isa(o->engine), 1e-9 * bandwidth);
    const char *name = tl_model_name(o->model);
    json_t *data = json_pack("{s:o, s:s, s:O, s:o}", "model", json_bytes(name, strlen(name)), "about", about, "lines", lines, "kernels", kernels);
    int status = write_whole(a->html, put_page, data);
    json_decref(data);
    return status;
}

// ---- trace -------------------------------------------------------------------------------------
typedef struct recorded {
    const opened *o;
    const tl_profile_kernel *list;
    size_t n;
    double start;
} recorded;

static json_t *event_json(const recorded *r, const tl_profile_kernel *k) {
    char name[80], place[200];
    const char *slash = strrchr(k->file, '/'), *end = k->text_n ? memchr(k->text, '\n', k->text_n) : NULL;
    snprintf(name, sizeof name, "%.50s:%d %.20s", slash ? slash + 1 : k->file, k->line, k->kernel);
    snprintf(place, sizeof place, "%.180s:%d", k->file, k->line);
    json_t *args = json_pack("{s:s, s:o, s:s, s:f, s:f}", "line", place, "text", json_bytes(k->text, end ? (size_t)(end - k->text) : k->text_n), "kernel", k->kernel, "bytes", k->bytes,
                             "gigabytes_per_second", k->seconds > 0 ? 1e-9 * k->bytes / k->seconds : 0);
    if (k->layer >= 0) json_object_set_new(args, "layer", json_integer(k->layer));
    return json_pack("{s:s, s:s, s:s, s:f, s:f, s:i, s:i, s:o}", "name", name, "cat", k->kernel, "ph", "X", "ts", 1e6 * (k->begin - r->start), "dur", 1e6 * k->seconds, "pid", 1,
                     "tid", k->thread, "args", args);
}

static void put_json(FILE *f, json_t *value, const char *before) {
    fputs(before, f);
    json_dumpf(value, f, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(value);
}

// The "JSON object format" of Google's Trace Event Format: complete events ("X") in microseconds, names of threads ("M").
static bool put_trace(FILE *f, const void *what) {
    const recorded *r = what;
    const char *name = tl_model_name(r->o->model);
    fputs("{\"displayTimeUnit\":\"ns\",\"otherData\":", f);
    put_json(f, json_pack("{s:o, s:s, s:i}", "model", json_bytes(name, strlen(name)), "isa", tl_engine_isa(r->o->engine), "threads", tl_engine_threads(r->o->engine)), "");
    fputs(",\"traceEvents\":[\n", f);
    for (int t = 0; t < tl_engine_workers(r->o->engine); t++) {
        char thread[40];
        if (strcmp(tl_engine_device(r->o->engine), "cpu") != 0) snprintf(thread, sizeof thread, "%.39s", tl_engine_device(r->o->engine));
        else snprintf(thread, sizeof thread, "thread %d", t);
        put_json(f, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", "thread_name", "ph", "M", "pid", 1, "tid", t, "args", "name", thread), t ? ",\n" : "");
    }
    for (size_t i = 0; i < r->n; i++) put_json(f, event_json(r, &r->list[i]), ",\n");
    fputs("\n]}\n", f);
    return !ferror(f);
}

static int write_trace(const profile_args *a, opened *o, tl_error *err) {
    double unused;
    size_t lost, most = (size_t)a->traced * RECORDS_PER_STEP < MOST_RECORDS ? (size_t)a->traced * RECORDS_PER_STEP : MOST_RECORDS;
    recorded r = {.o = o, .start = seconds_now()};
    tl_profile_kernel *list = NULL;
    tl_status done = tl_session_record(o->session, most, err);
    if (done == TL_OK) done = bench_decode(o, 1, a->traced, &unused, err);
    if (done == TL_OK) done = tl_session_recorded(o->session, &list, &r.n, &lost, err);
    if (done != TL_OK) return fail_with("profile", err);
    r.list = list;
    if (lost) fprintf(stderr, "tl profile: %zu records more did not fit; ask for fewer steps with --trace-steps\n", lost);
    int status = write_whole(a->trace, put_trace, &r);
    tl_free(list);
    (void)tl_session_record(o->session, 0, NULL);
    return status;
}

// ---- the command -------------------------------------------------------------------------------
static int report(const profile_args *a, const opened *o, json_t *decode, json_t *prompt, double bandwidth, json_t *layer) {
    if (a->json) {
        const char *name = tl_model_path(o->model);
        json_t *top = json_pack("{s:o, s:s, s:i, s:I, s:I, s:f, s:O}", "model", json_bytes(name, strlen(name)), "isa", tl_engine_isa(o->engine), "threads", tl_engine_threads(o->engine),
                                "tokens", (json_int_t)a->tokens, "depth", (json_int_t)a->depth, "read_bytes_per_second", bandwidth, "decode", decode);
        if (prompt) json_object_set(top, "prompt", prompt);
        if (layer) json_object_set(top, "layer", layer);
        return print_json(top);
    }
    if (strcmp(tl_engine_device(o->engine), "cpu") != 0) printf("%s\n%s; memory moves %.1f GB/s\n", tl_model_path(o->model), tl_engine_device(o->engine), 1e-9 * bandwidth);
    else printf("%s\n%d threads, %s kernels; memory reads %.1f GB/s\n", tl_model_path(o->model), tl_engine_threads(o->engine), tl_engine_isa(o->engine), 1e-9 * bandwidth);
    bench_print_profile("decoding, the program's statements in all layers", decode, bandwidth);
    bench_print_layer_time(layer);
    bench_print_profile("prompt", prompt, 0);
    return 0;
}

static json_t *measure(opened *o, int64_t prompt, int64_t tokens, int64_t depth, double bandwidth, tl_error *err) {
    double unused;
    tl_status status = bench_fill(o, 1, prompt ? 0 : depth, &unused, err);
    if (status == TL_OK && !prompt) status = bench_decode(o, 1, 2, &unused, err); // does not count
    if (status == TL_OK) status = tl_session_profile(o->session, true, err);
    if (status == TL_OK) status = prompt ? bench_fill(o, 1, prompt, &unused, err) : bench_decode(o, 1, tokens, &unused, err);
    return status == TL_OK ? bench_profile_rows(o, prompt ? 1 : tokens, prompt ? prompt : 1, prompt ? 0 : bandwidth, err) : NULL;
}

static int profile_with(const profile_args *a, opened *o) {
    tl_error err = {.code = TL_E_MEMORY, .message = "out of memory"};
    int64_t room = a->depth + a->tokens + a->traced + 8;
    int status = open_session("profile", &a->model, room > a->prompt + 8 ? room : a->prompt + 8, 0, o);
    if (status != 0) return status;
    double bandwidth = tl_engine_read_bandwidth(o->engine);
    json_t *prompt = a->prompt ? measure(o, a->prompt, 0, 0, 0, &err) : NULL;
    json_t *decode = a->prompt && !prompt ? NULL : measure(o, 0, a->tokens, a->depth, bandwidth, &err);
    json_t *layer = decode ? bench_layer_time(o, a->tokens, 1, bandwidth, &err) : NULL;
    if (!decode) status = fail_with("profile", &err);
    if (status == 0 && a->html) status = write_html(a, o, decode, bandwidth, &err);
    if (status == 0 && a->trace) status = write_trace(a, o, &err);
    if (status == 0) status = report(a, o, decode, prompt, bandwidth, layer);
    json_decref(decode), json_decref(prompt), json_decref(layer);
    return status;
}

int cli_profile(int argc, char **argv) {
    profile_args a = {.tokens = 32, .traced = 4};
    int first;
    const arg_option options[] = {
        {ARG_I64, "n-gen", 'n', &a.tokens, "N", "tokens to decode (default: 32)", 1, 1e6},
        {ARG_I64, "n-depth", 'd', &a.depth, "N", "tokens in the cache when decoding starts (default: 0)", 0, 1e6},
        {ARG_I64, "n-prompt", 'p', &a.prompt, "N", "also a prompt of N tokens (default: 0)", 0, 1e6},
        {ARG_TEXT, "html", 0, &a.html, "FILE", "write a flame graph by layer and line, a page of its own", 0, 0},
        {ARG_TEXT, "trace", 0, &a.trace, "FILE", "write every piece of work for chrome://tracing or ui.perfetto.dev", 0, 0},
        {ARG_I64, "trace-steps", 0, &a.traced, "N", "steps in the trace (default: 4)", 1, 1000},
        {ARG_FLAG, "json", 0, &a.json, NULL, "as JSON", 0, 0},
        MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "profile", .usage = "[-m MODEL | MODEL] [-n N] [--html FILE] [--trace FILE] [options]", .options = options, .most = 1,
        .about = "Measures where the time of a decoding step goes, by line of the model's program: time, share, bytes and the share of\n"
                 "this machine's bandwidth."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (first < argc && (status = args_positional("profile", argv[first], &a.model.model)) >= 0) return status;
    opened o;
    if ((status = open_model("profile", &a.model, TL_MODEL_WHOLE, &o)) != 0) return status;
    status = profile_with(&a, &o);
    opened_free(&o);
    return status;
}
