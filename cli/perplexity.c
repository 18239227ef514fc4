// perplexity.c - `tl perplexity`: how well a model predicts a text, over the windows of llama.cpp's perplexity tool and so with
// its numbers: the text's tokens are cut into windows of n_ctx; each is computed from an empty cache, its first token replaced
// by BOS where the model adds one; the second half of each window is scored.
#include "interrupt.h"
#include "stamp.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct perplexity_args {
    model_args model;
    const char *file;
    int64_t window, chunks;
    bool json;
} perplexity_args;

typedef struct score_sum {
    double nll, squares;
    int64_t count;
} score_sum;

enum { CHUNK_LOGITS = 16 << 20 }; // logits of one step: 64 MB of float32

static double neg_log_probability(const float *logits, int64_t n, int32_t id) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = (double)logits[i] > max ? (double)logits[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return max + log(sum) - (double)logits[id];
}

// ---- windows -----------------------------------------------------------------------------------
// Positions [first, window - 1) of one window, each of which predicts the next token.
static tl_status score_window(opened *o, const int32_t *ids, int64_t window, tl_row *rows, score_sum *sum, tl_error *err) {
    int64_t n_vocab = tl_model_n_vocab(o->model), first = window / 2, most = tl_session_n_batch(o->session), with = CHUNK_LOGITS / n_vocab;
    if (with < 1) with = 1;
    tl_seq_cut(o->session, 0, 0);
    for (int64_t at = 0, n; at + 1 < window; at += n) {
        bool scored = at >= first;
        int64_t end = scored ? window - 1 : first, limit = scored && with < most ? with : most;
        const float *logits;
        n = end - at < limit ? end - at : limit;
        for (int64_t i = 0; i < n; i++) rows[i] = (tl_row){.token = ids[at + i], .logits = scored};
        tl_status status = tl_session_step(o->session, rows, (size_t)n, &logits, err);
        if (status != TL_OK) return status;
        for (int64_t i = 0; i < n && scored; i++) {
            double v = neg_log_probability(logits + i * n_vocab, n_vocab, ids[at + i + 1]);
            sum->nll += v, sum->squares += v * v, sum->count++;
        }
    }
    return TL_OK;
}

static double error_of(const score_sum *s) { // of the perplexity: one standard deviation of the mean
    double mean = s->nll / (double)s->count, spread = s->squares / (double)s->count - mean * mean;
    return s->count > 1 && spread > 0 ? sqrt(spread / (double)(s->count - 1)) * exp(mean) : NAN;
}

static int print_result(const perplexity_args *a, const opened *o, const score_sum *s, int64_t chunks, json_t *each, const int32_t *ids, size_t n) {
    double mean = s->nll / (double)s->count;
    if (a->json)
        return print_json(json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:O, s:o}", "perplexity", json_real_or_null(exp(mean)), "error", json_real_or_null(error_of(s)),
                                    "mean_negative_log_probability", json_real_or_null(mean), "window", (json_int_t)a->window, "chunks", (json_int_t)chunks, "scored",
                                    (json_int_t)s->count, "after_each", each, "stamp", stamp_json(o, NULL, 0, ids, n)));
    printf("perplexity %.4f +/- %.5f (%lld windows of %lld tokens, %lld tokens scored)\n", exp(mean), error_of(s), (long long)chunks, (long long)a->window, (long long)s->count);
    return 0;
}

static int score_text(const perplexity_args *a, opened *o, int32_t *ids, size_t n, int32_t bos) {
    int64_t chunks = (int64_t)n / a->window;
    tl_error err;
    score_sum sum = {0};
    if (a->chunks && a->chunks < chunks) chunks = a->chunks;
    if ((int64_t)n < 2 * a->window) return fail("perplexity", "the text has %zu tokens; at least %lld are needed, two windows of -c %lld", n, (long long)(2 * a->window), (long long)a->window);
    model_args model = a->model;
    model.n_ctx = a->window;
    int status = open_session("perplexity", &model, 0, 0, o);
    if (status != 0) return status;
    tl_row *rows = calloc((size_t)tl_session_n_batch(o->session), sizeof *rows);
    json_t *each = json_array();
    if (!rows) status = fail("perplexity", "out of memory");
    interrupt_catch();
    for (int64_t i = 0; i < chunks && status == 0 && !interrupt_came; i++) {
        int32_t *window = ids + i * a->window, was = window[0];
        if (bos >= 0) window[0] = bos;
        if (score_window(o, window, a->window, rows, &sum, &err) != TL_OK) status = fail_with("perplexity", &err);
        window[0] = was;
        if (status == 0) json_array_append_new(each, json_real_or_null(exp(sum.nll / (double)sum.count)));
        if (isatty(STDERR_FILENO) == 1) fprintf(stderr, "\r\033[Kwindow %lld of %lld: %.4f", (long long)i + 1, (long long)chunks, exp(sum.nll / (double)sum.count));
    }
    if (isatty(STDERR_FILENO) == 1) fprintf(stderr, "\r\033[K");
    if (status == 0 && interrupt_came) status = fail("perplexity", "stopped after %zu of %lld windows", json_array_size(each), (long long)chunks);
    if (status == 0) status = print_result(a, o, &sum, chunks, each, ids, n);
    json_decref(each);
    free(rows);
    return status;
}

// What the model puts before a text: the tokens with and without tell; -1: nothing.
static int32_t bos_of(const tl_model *m, const char *text, size_t n, const int32_t *ids, size_t n_ids) {
    int32_t *bare, bos = -1;
    size_t n_bare;
    tl_error err;
    if (tl_tokenize(m, text, n, 0, &bare, &n_bare, &err) != TL_OK) return -1;
    if (n_ids > n_bare && n_ids > 0 && (n_bare == 0 || memcmp(ids + 1, bare, n_bare * sizeof *bare) == 0)) bos = ids[0];
    tl_free(bare);
    return bos;
}

int cli_perplexity(int argc, char **argv) {
    perplexity_args a = {.window = 512};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "file", 'f', &a.file, "FILE", "the text; - is stdin", 0, 0},
        {ARG_I64, "window", 'w', &a.window, "N", "tokens of a window (default: 512)", 4, 1e6},
        {ARG_I64, "chunks", 0, &a.chunks, "N", "only the first N windows (default: all)", 1, 1e9},
        {ARG_FLAG, "json", 0, &a.json, NULL, "perplexity, its error, and after each window", 0, 0},
        MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "perplexity", .usage = "[-m MODEL] -f FILE [options]", .options = options, .most = 1,
        .about = "Tells how well a model predicts a text: e to the mean negative log probability of its tokens. Windows and scored tokens\n"
                 "are those of llama.cpp's perplexity tool: each window starts afresh, and its second half is scored."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (!a.file) return args_wrong("perplexity", "give the text with -f FILE");
    if (first < argc && (status = args_positional("perplexity", argv[first], &a.model.model)) >= 0) return status;
    if (a.model.n_ctx && a.model.n_ctx != a.window) a.window = a.model.n_ctx; // -c, as llama.cpp calls it
    if (a.window < 4) return args_wrong("perplexity", "a window has at least 4 tokens");
    char *text;
    size_t n, n_ids;
    int32_t *ids;
    opened o;
    tl_error err;
    if ((status = read_file("perplexity", a.file, &text, &n)) != 0) return status;
    if ((status = open_model("perplexity", &a.model, TL_MODEL_WHOLE, &o)) == 0) {
        if (tl_tokenize(o.model, text, n, TL_ADD_SPECIAL, &ids, &n_ids, &err) != TL_OK) status = fail_with("perplexity", &err);
        else status = score_text(&a, &o, ids, n_ids, bos_of(o.model, text, n, ids, n_ids)), tl_free(ids);
        opened_free(&o);
    }
    free(text);
    return status;
}
