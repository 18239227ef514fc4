// common.c - see common.h.
#include "common.h"
#include "models.h"
#include "progress.h"
#include "stamp.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// ---- messages ----------------------------------------------------------------------------------
int fail(const char *command, const char *format, ...) {
    va_list ap;
    fflush(stdout);
    fprintf(stderr, "tl %s: ", command);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    return 1;
}

int fail_with(const char *command, const tl_error *err) {
    fflush(stdout);
    // A program's messages name their place themselves.
    if (err->code == TL_E_PROGRAM) fprintf(stderr, "%s\n", err->message);
    else fprintf(stderr, "tl %s: %s\n", command, err->message);
    return err->code == TL_E_USAGE ? 2 : 1;
}

bool color_wanted(FILE *to) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return !(no && *no) && term && strcmp(term, "dumb") != 0 && isatty(fileno(to));
}

double seconds_now(void) { return progress_seconds(); }

// ---- opening -----------------------------------------------------------------------------------
static progress loading;

static void on_warning(void *ctx, const char *message) {
    (void)ctx;
    progress_end(&loading);
    fprintf(stderr, "tl: warning: %s\n", message);
}

static void on_progress(void *ctx, const char *what, double done, double total) {
    (void)ctx, (void)what;
    if (loading.total != (int64_t)total) {
        progress_end(&loading);
        progress_start(&loading, "loading", (int64_t)total, 0, !isatty(STDERR_FILENO));
    }
    progress_update(&loading, (int64_t)done, "");
    if (done >= total) progress_end(&loading);
}

static void on_report(void *ctx, const char *message) {
    (void)ctx;
    fprintf(stderr, "%s\n", message);
}

// "all" or a number. -1: it is neither.
static int layers_of(const char *text) {
    char *end;
    if (!text || strcmp(text, "all") == 0) return 0;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 0 || n > 1000000) return -1;
    return n == 0 ? INT_MIN : (int)n;
}

static int open_engine(const char *command, const model_args *a, opened *o) {
    tl_error err;
    const int layers = layers_of(a->gpu_layers);
    if (layers == -1) return args_wrong(command, "--gpu-layers: a number of layers or \"all\" is wanted, not \"%s\"", a->gpu_layers);
    const tl_engine_options options = {.threads = a->threads, .isa = a->isa, .device = a->device, .gpu_layers = layers, .on_warning = on_warning, .on_progress = on_progress,
                                       .on_report = a->verbose ? on_report : NULL};
    loading = (progress){0};
    if (tl_engine_new(&options, &o->engine, &err) != TL_OK) return fail_with(command, &err);
    if (a->verbose) fprintf(stderr, "%d threads, %s kernels, device %s\n", tl_engine_threads(o->engine), tl_engine_isa(o->engine), tl_engine_device(o->engine));
    return 0;
}

int open_model(const char *command, const model_args *a, tl_model_parts parts, opened *o) {
    char path[PATH_MAX], why[2000], *chat_template = NULL;
    size_t n;
    tl_error err;
    *o = (opened){0};
    if (model_path_by_name(a->model, path, sizeof path, why, sizeof why) != 0) return fail(command, "%s", why);
    int status = a->chat_template ? read_file(command, a->chat_template, &chat_template, &n) : 0;
    if (status == 0) status = open_engine(command, a, o);
    const tl_model_options options = {.program = a->program, .pre = a->pre, .chat_template = chat_template,
                                      .no_repair = a->no_repair, .adapters = a->adapters.p, .n_adapters = a->adapters.n, .parts = parts};
    if (status == 0 && tl_model_open(o->engine, path, &options, &o->model, &err) != TL_OK) {
        progress_end(&loading);
        status = fail_with(command, &err);
    }
    free(chat_template);
    if (status != 0) opened_free(o);
    else if (a->verbose) fprintf(stderr, "%s: %s, architecture %s\n", path, tl_model_name(o->model), tl_model_architecture(o->model));
    return status;
}

void inside_session(const model_args *a, const char *patches[MOST_PATCHES + 1], tl_session_options *o) {
    memcpy(patches, a->set.p, a->set.n * sizeof *patches);
    patches[a->set.n] = NULL;
    o->patches = patches;
    o->watch = a->watch;
    o->lens = a->lens;
    o->nan_trap = a->nan_trap;
}

int open_session(const char *command, const model_args *a, int64_t n_ctx, int64_t n_batch, opened *o) {
    tl_error err;
    const char *patches[MOST_PATCHES + 1];
    tl_session_options options = {.n_ctx = a->n_ctx ? a->n_ctx : n_ctx, .n_batch = a->n_batch ? a->n_batch : n_batch,
                                        .n_seq = a->n_seq, .cache_type = a->cache_type};
    inside_session(a, patches, &options);
    if (tl_session_new(o->model, &options, &o->session, &err) != TL_OK) return fail_with(command, &err);
    return 0;
}

void opened_free(opened *o) {
    tl_session_free(o->session);
    tl_model_free(o->model);
    tl_engine_free(o->engine);
    *o = (opened){0};
}

// ---- text --------------------------------------------------------------------------------------
int read_file(const char *command, const char *path, char **text, size_t *n) {
    bool standard = strcmp(path, "-") == 0;
    FILE *f = standard ? stdin : fopen(path, "rb");
    size_t cap = 0;
    *text = NULL, *n = 0;
    if (!f) return fail(command, "%s: %s", path, strerror(errno));
    for (;;) {
        if (*n + 4096 > cap) {
            char *grown = realloc(*text, cap = cap ? 2 * cap : 8192);
            if (!grown) break;
            *text = grown;
        }
        size_t got = fread(*text + *n, 1, cap - *n - 1, f);
        *n += got;
        if (got == 0) break;
    }
    int failed = ferror(f) ? errno : feof(f) ? 0 : ENOMEM;
    if (!standard) fclose(f);
    if (failed) {
        free(*text);
        *text = NULL;
        return fail(command, "%s: %s", path, strerror(failed));
    }
    (*text)[*n] = '\0';
    if (standard) stamp_stdin(*text, *n);
    return 0;
}

bool parse_ids(const char *text, int32_t **ids, size_t *n) {
    size_t cap = strlen(text) / 2 + 1;
    const char *p = text + strspn(text, " \t\r\n");
    bool list = *p == '[';
    *n = 0;
    *ids = malloc(cap * sizeof **ids);
    if (!*ids) return false;
    if (list) p++;
    for (;;) {
        char *end;
        p += strspn(p, " \t\r\n,");
        if (!*p || *p == ']') break;
        errno = 0;
        long id = strtol(p, &end, 10);
        if (end == p || errno || id < 0 || id > INT32_MAX || *n == cap || (*end && !strchr(" \t\r\n,]", *end))) break;
        (*ids)[(*n)++] = (int32_t)id;
        p = end;
    }
    if (list && *p == ']') p++, list = false;
    p += strspn(p, " \t\r\n");
    if (!*p && !list) return true;
    free(*ids);
    *ids = NULL;
    return false;
}

// Length of the UTF-8 character at p (n bytes there), 0 if it is none.
static size_t utf8_length(const unsigned char *p, size_t n) {
    size_t k = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (k == 0 || k > n) return 0;
    for (size_t i = 1; i < k; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return k;
}

json_t *json_bytes(const char *text, size_t n) {
    char *valid = malloc(3 * n + 1);
    size_t m = 0;
    if (!valid) return NULL;
    for (size_t i = 0; i < n;) {
        size_t k = utf8_length((const unsigned char *)text + i, n - i);
        memcpy(valid + m, k ? text + i : "\xef\xbf\xbd", k ? k : 3);
        m += k ? k : 3, i += k ? k : 1;
    }
    json_t *value = json_stringn(valid, m);
    free(valid);
    return value;
}

json_t *json_real_or_null(double x) { return isfinite(x) ? json_real(x) : json_null(); }

int print_json(json_t *value) {
    int status = value ? json_dumpf(value, stdout, JSON_INDENT(1) | JSON_ENCODE_ANY) : -1;
    putchar('\n');
    json_decref(value);
    return status == 0 ? 0 : 1;
}
