// trace.c - `tl trace`: the values that a model's program gives names, as statistics, as JSON or as .npy files.
#include "base/moments.h"
#include "inside.h"
#include "interrupt.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TRACE_ROWS = 64 };

typedef struct watched {
    value_stats v;
    FILE *npy;
} watched;

typedef struct trace {
    const inside_args *a;
    const char *folder;
    tl_session *s;
    size_t n, tokens, room;
    float *values;
    watched *stats;
    int pass; // 0: all but the bins; 1: the bins, whose range is known then
    bool one_step;
} trace;

// ---- values ------------------------------------------------------------------------------------
static int write_values(const trace *t, watched *v, const tl_watch *w, const float *x, size_t n) {
    bool rows = w->rows || w->outs;
    int64_t size[8];
    char path[4096];
    if (!v->npy) {
        if (snprintf(path, sizeof path, "%s/%s.npy", t->folder, w->key) >= (int)sizeof path) return fail("trace", "the folder's name is too long");
        memcpy(size, w->size, sizeof size);
        if (rows) size[0] = (int64_t)t->tokens;
        v->npy = fopen(path, "wb");
        if (!v->npy || !npy_write_header(v->npy, size, w->rank)) return fail("trace", "%s: %s", path, strerror(errno));
    }
    if (!rows && fseek(v->npy, 256, SEEK_SET) != 0) return fail("trace", "%s: %s", w->key, strerror(errno)); // the last step's
    if (fwrite(x, sizeof *x, n, v->npy) != n) return fail("trace", "%s: %s", w->key, strerror(errno));
    // Hundreds of files may be watched: only those of several steps stay open.
    if (t->one_step) {
        int bad = fclose(v->npy);
        v->npy = NULL;
        if (bad) return fail("trace", "%s: %s", w->key, strerror(errno));
    }
    return 0;
}

static int on_step(void *ctx, size_t from, size_t rows, const float *logits) {
    trace *t = ctx;
    (void)from, (void)rows, (void)logits;
    for (size_t i = 0; i < t->n && !interrupt_came; i++) {
        tl_watch w;
        tl_error err;
        tl_session_watch_at(t->s, i, &w);
        size_t n = inside_elements(&w);
        if (n > t->room) {
            free(t->values);
            t->values = malloc(n * sizeof *t->values);
            t->room = t->values ? n : 0;
            if (!t->values) return fail("trace", "out of memory");
        }
        if (tl_session_watch_read(t->s, i, t->values, &err) != TL_OK) return fail_with("trace", &err);
        watched *v = &t->stats[i];
        if (t->pass == 0) stats_add(&v->v, t->values, n);
        if (t->pass == 1 || t->one_step) stats_add_bins(&v->v, t->values, n);
        int status = t->folder && t->pass == 0 ? write_values(t, v, &w, t->values, n) : 0;
        if (status) return status;
    }
    return 0;
}

// ---- output ------------------------------------------------------------------------------------
static void sparkline(const value_stats *v, char *out) {
    static const char *const bars[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    int64_t most = 1;
    for (int i = 0; i < STATS_BINS; i++) most = v->bins[i] > most ? v->bins[i] : most;
    *out = 0;
    for (int i = 0; i < STATS_BINS; i++) {
        double h = 8.0 * (double)v->bins[i] / (double)most;
        strcat(out, bars[v->bins[i] == 0 ? 0 : h < 1 ? 1 : (int)(h + 0.5)]);
    }
}

static int print_table(const trace *t) {
    int wide_key = 3, wide_shape = 5;
    char shape[200], where[600], spark[4 * STATS_BINS + 1];
    for (size_t i = 0; i < t->n; i++) {
        tl_watch w;
        tl_session_watch_at(t->s, i, &w);
        inside_shape(&w, shape, sizeof shape, t->tokens);
        int k = (int)strlen(w.key), s = (int)strlen(shape);
        wide_key = k > wide_key ? k : wide_key;
        wide_shape = s > wide_shape ? s : wide_shape;
    }
    printf("%-*s %-*s %11s %11s %11s %11s %9s  %-*s  %s\n", wide_key, "name", wide_shape, "shape", "min", "max", "mean", "rms", "not fin.", STATS_BINS, "histogram", "where");
    for (size_t i = 0; i < t->n; i++) {
        const value_stats *v = &t->stats[i].v;
        tl_watch w;
        tl_session_watch_at(t->s, i, &w);
        inside_shape(&w, shape, sizeof shape, t->tokens);
        inside_place(&w, where, sizeof where);
        sparkline(v, spark);
        printf("%-*s %-*s %11.4g %11.4g %11.4g %11.4g %9" PRId64 "  %s  %s%s\n", wide_key, w.key, wide_shape, shape, stats_min(v), stats_max(v), stats_mean(v),
               stats_rms(v), v->nan + v->inf, spark, where, w.patched ? " (patched)" : "");
    }
    return 0;
}

static int print_trace_json(const trace *t, const opened *o, const int32_t *ids) {
    json_t *list = json_array(), *numbers = json_array();
    for (size_t i = 0; i < t->tokens; i++) json_array_append_new(numbers, json_integer(ids[i]));
    for (size_t i = 0; i < t->n; i++) {
        const value_stats *v = &t->stats[i].v;
        tl_watch w;
        tl_session_watch_at(t->s, i, &w);
        json_t *one = inside_json(&w, t->tokens), *bins = json_array();
        for (int k = 0; k < STATS_BINS; k++) json_array_append_new(bins, json_integer(v->bins[k]));
        json_object_set_new(one, "min", json_real_or_null(stats_min(v)));
        json_object_set_new(one, "max", json_real_or_null(stats_max(v)));
        json_object_set_new(one, "mean", json_real_or_null(stats_mean(v)));
        json_object_set_new(one, "rms", json_real_or_null(stats_rms(v)));
        json_object_set_new(one, "nan", json_integer(v->nan));
        json_object_set_new(one, "inf", json_integer(v->inf));
        json_object_set_new(one, "histogram", bins);
        json_array_append_new(list, one);
    }
    return print_json(json_pack("{s:o, s:o, s:o}", "ids", numbers, "tokens", inside_token_texts(o->model, ids, t->tokens), "values", list));
}

// ---- the command -------------------------------------------------------------------------------
static int trace_ids(trace *t, opened *o, const int32_t *ids) {
    int status = open_session("trace", &t->a->model, (int64_t)t->tokens, t->tokens < TRACE_ROWS ? (int64_t)t->tokens : TRACE_ROWS, o);
    if (status != 0) return status;
    t->s = o->session;
    t->n = tl_session_watch_count(o->session);
    t->stats = calloc(t->n + 1, sizeof *t->stats);
    t->one_step = t->tokens <= (size_t)tl_session_n_batch(o->session);
    if (!t->stats) return fail("trace", "out of memory");
    if (t->folder && mkdir(t->folder, 0777) != 0 && errno != EEXIST) return fail("trace", "%s: %s", t->folder, strerror(errno));
    for (t->pass = 0; t->pass < (t->one_step ? 1 : 2) && status == 0; t->pass++) status = inside_run("trace", o->session, ids, t->tokens, on_step, t);
    for (size_t i = 0; i < t->n; i++)
        if (t->stats[i].npy && fclose(t->stats[i].npy) != 0 && status == 0) status = fail("trace", "%s", strerror(errno));
    if (status != 0) return status;
    return t->a->json ? print_trace_json(t, o, ids) : print_table(t);
}

static const char about[] =
    "Runs a model's program on a text and tells what the values are that it gives names: shape, smallest, largest, mean,\n"
    "root mean square, how many are NaN or infinite, and how they are spread from the smallest to the largest. Each time\n"
    "that a name gets a value is a value of its own: blk.3.X#2 is what X becomes the second time in layer 3. Watching\n"
    "changes no bit of any other result.\n\n"
    "A PATTERN is a name, with * and ? for any characters; with a dot in it it is compared with the whole path (layer,\n"
    "functions, name). Several are separated by spaces. It may be limited:\n"
    "  X               every X             'X[l=3]', 'l=3:X'   in layer 3 (a loop's own name, or l)\n"
    "  'X[l=-1]'       in the last layer   'X[l=2:5]'          in layers 2, 3 and 4\n"
    "  'blk.*.X#2'     the second in each  'X@57'              the one in line 57\n"
    "  '*'             everything          'blk.0.*'           everything in layer 0\n\n"
    "Examples:\n"
    "  tl trace -p 'Hello' --watch 'X[l=0:3] result'\n"
    "  tl trace -p 'Hello' --watch 'A[l=5]' --npy out\n"
    "  tl trace -p 'Hello' --watch 'blk.*.X#2' --set 'A[l=3, g=1] = 0' --json";

int cli_trace(int argc, char **argv) {
    inside_args a = {.model.cache_type = "f32", .model.watch = "*"};
    trace t = {.a = &a};
    bool stats = false;
    int first;
    const arg_option options[] = {
        INSIDE_TEXT_OPTIONS(a),
        {ARG_TEXT, "watch", 'w', &a.model.watch, "PATTERN", "which values (default: '*', all)", 0, 0},
        {ARG_FLAG, "stats", 0, &stats, NULL, "a table of statistics (what happens without --json, too)", 0, 0},
        {ARG_TEXT, "npy", 0, &t.folder, "DIR", "write each value whole as DIR/KEY.npy", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "as JSON: key, name, layer, place, axes, shape, statistics", 0, 0},
        INSIDE_OPTIONS(a.model), MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "trace", .usage = "[-m MODEL] (-p TEXT | -f FILE | --ids 1,2,3) [--watch PATTERN] [options]",
        .options = options, .most = 1, .about = about};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0 || (status = inside_check("trace", &a)) >= 0) return status;
    if (stats && a.json) return args_wrong("trace", "give either --stats or --json");
    if (first < argc && (status = args_positional("trace", argv[first], &a.model.model)) >= 0) return status;
    opened o;
    int32_t *ids = NULL;
    if ((status = open_model("trace", &a.model, TL_MODEL_WHOLE, &o)) != 0) return status;
    status = inside_tokens("trace", &a, &o, &ids, &t.tokens);
    if (status == 0) status = trace_ids(&t, &o, ids);
    opened_free(&o);
    free(ids), free(t.values), free(t.stats);
    return status;
}
