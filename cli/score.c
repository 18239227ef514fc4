// score.c - `tl score`: the natural-log probability of each token of a text given those before it; the logits as .npy.
#include "stamp.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct score_args {
    model_args model;
    const char *file, *text, *ids, *npy;
    bool json, parse_special, no_special;
} score_args;

typedef struct score {
    int32_t *ids;
    size_t n;
    double *log_probability; // [n]; the first is NAN
    FILE *npy;
} score;

enum { CHUNK_LOGITS = 16 << 20 }; // logits of one step: 64 MB of float32

// Format version 1.0 of numpy.lib.format: the header is padded to a multiple of 64 bytes.
static bool npy_header(FILE *f, size_t rows, int64_t columns) {
    char dict[118];
    int n = snprintf(dict, sizeof dict, "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %lld), }", rows, (long long)columns);
    if (n < 0 || n >= (int)sizeof dict) return false;
    return fwrite("\x93NUMPY\x01\x00\x76\x00", 1, 10, f) == 10 && fprintf(f, "%-117s\n", dict) == 118;
}

static double log_probability(const float *logits, int64_t n, int32_t id) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = (double)logits[i] > max ? (double)logits[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - max);
    return (double)logits[id] - max - log(sum);
}

static int compute(score *s, opened *o) {
    int64_t n_vocab = tl_model_n_vocab(o->model);
    size_t batch = (size_t)tl_session_n_batch(o->session);
    if (batch > CHUNK_LOGITS / (size_t)n_vocab) batch = CHUNK_LOGITS / (size_t)n_vocab;
    if (batch == 0) batch = 1;
    tl_row *rows = calloc(batch, sizeof *rows);
    if (!rows) return fail("score", "out of memory");
    int status = 0;
    for (size_t from = 0; from < s->n && status == 0; from += batch) {
        size_t n = s->n - from < batch ? s->n - from : batch;
        const float *logits;
        tl_error err;
        for (size_t i = 0; i < n; i++) rows[i] = (tl_row){.token = s->ids[from + i], .logits = true};
        if (tl_session_step(o->session, rows, n, &logits, &err) != TL_OK) {
            status = fail_with("score", &err);
            break;
        }
        for (size_t i = 0; i < n && from + i + 1 < s->n; i++)
            s->log_probability[from + i + 1] = log_probability(logits + (int64_t)i * n_vocab, n_vocab, s->ids[from + i + 1]);
        if (s->npy && fwrite(logits, sizeof *logits * (size_t)n_vocab, n, s->npy) != n)
            status = fail("score", "the logits cannot be written: %s", strerror(errno));
    }
    free(rows);
    return status;
}

static int print_score(const score *s, const opened *o, bool json) {
    const tl_model *m = o->model;
    double sum = 0;
    for (size_t i = 1; i < s->n; i++) sum += s->log_probability[i];
    if (!json) {
        for (size_t i = 0; i < s->n; i++) {
            size_t length;
            const char *text = tl_token_text(m, s->ids[i], true, &length);
            json_t *quoted = json_bytes(text, length);
            char *shown = json_dumps(quoted, JSON_ENCODE_ANY);
            if (i == 0) printf("%8d %10s  %s\n", s->ids[i], "-", shown ? shown : "");
            else printf("%8d %10.5f  %s\n", s->ids[i], s->log_probability[i], shown ? shown : "");
            free(shown);
            json_decref(quoted);
        }
        if (s->n > 1) printf("sum %.6f, mean %.6f, perplexity %.4f\n", sum, sum / (double)(s->n - 1), exp(-sum / (double)(s->n - 1)));
        return 0;
    }
    json_t *ids = json_array(), *texts = json_array(), *values = json_array();
    for (size_t i = 0; i < s->n; i++) {
        size_t length;
        const char *text = tl_token_text(m, s->ids[i], true, &length);
        json_array_append_new(ids, json_integer(s->ids[i]));
        json_array_append_new(texts, json_bytes(text, length));
        json_array_append_new(values, json_real_or_null(s->log_probability[i]));
    }
    return print_json(json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "ids", ids, "tokens", texts, "logprobs", values, "sum",
                                json_real_or_null(sum), "perplexity", json_real_or_null(exp(-sum / (double)(s->n - 1))), "stamp",
                                stamp_json(o, NULL, 0, s->ids, s->n)));
}

static int score_ids(score *s, const score_args *a, opened *o) {
    int64_t n_vocab = tl_model_n_vocab(o->model);
    for (size_t i = 0; i < s->n; i++)
        if (s->ids[i] >= n_vocab) return fail("score", "token %d is not in the vocabulary of %lld", s->ids[i], (long long)n_vocab);
    if (s->n == 0) return fail("score", "there is no token to score");
    int64_t batch = n_vocab > 0 ? CHUNK_LOGITS / n_vocab : 1;
    int status = open_session("score", &a->model, (int64_t)s->n, batch < 1 ? 1 : batch > 512 ? 512 : batch, o);
    if (status != 0) return status;
    s->log_probability = malloc(s->n * sizeof *s->log_probability);
    if (!s->log_probability) return fail("score", "out of memory");
    s->log_probability[0] = NAN;
    if (a->npy) {
        s->npy = fopen(a->npy, "wb");
        if (!s->npy || !npy_header(s->npy, s->n, n_vocab)) status = fail("score", "%s: %s", a->npy, strerror(errno));
    }
    if (status == 0) status = compute(s, o);
    if (s->npy && fclose(s->npy) != 0 && status == 0) status = fail("score", "%s: %s", a->npy, strerror(errno));
    return status != 0 ? status : print_score(s, o, a->json);
}

static int read_tokens(const score_args *a, const char *text, size_t n, const opened *o, int32_t **ids, size_t *n_ids) {
    tl_error err;
    unsigned flags = (a->no_special ? 0 : TL_ADD_SPECIAL) | (a->parse_special ? TL_PARSE_SPECIAL : 0);
    if (tl_tokenize(o->model, text, n, flags, ids, n_ids, &err) != TL_OK) return fail_with("score", &err);
    return 0;
}

int cli_score(int argc, char **argv) {
    score_args a = {.model.cache_type = "f32"}; // exact rather than small: the texts are short
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "file", 'f', &a.file, "FILE", "the text is in FILE; - is stdin", 0, 0},
        {ARG_TEXT, "text", 'p', &a.text, "TEXT", "the text", 0, 0},
        {ARG_TEXT, "ids", 0, &a.ids, "1,2,3", "token ids instead of a text", 0, 0},
        {ARG_TEXT, "logits", 0, &a.npy, "OUT.npy", "write the logits: float32 [tokens, vocab]", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "ids, tokens, logprobs (the first is null), sum, perplexity", 0, 0},
        {ARG_FLAG, "parse-special", 0, &a.parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "no-special", 0, &a.no_special, NULL, "do not add the special tokens that the model asks for", 0, 0},
        MODEL_OPTIONS(a.model), INSIDE_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "score", .usage = "[-m MODEL] (-f FILE | --text TEXT | --ids 1,2,3) [options]",
        .options = options, .most = 1,
        .about = "Prints the natural-log probability of each token given those before it. The cache is f32 unless --cache-type\n"
                 "says otherwise."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (!!a.file + !!a.text + !!a.ids != 1) return args_wrong("score", "give one of -f FILE, --text TEXT and --ids 1,2,3");
    if (first < argc && (status = args_positional("score", argv[first], &a.model.model)) >= 0) return status;
    char *text = NULL;
    size_t n = 0;
    score s = {0};
    opened o;
    if (a.file && (status = read_file("score", a.file, &text, &n)) > 0) return status;
    if (a.ids && !parse_ids(a.ids, &s.ids, &s.n)) return args_wrong("score", "--ids: whole numbers separated by commas are wanted");
    if ((status = open_model("score", &a.model, TL_MODEL_WHOLE, &o)) == 0) {
        if (!a.ids) status = read_tokens(&a, text ? text : a.text, text ? n : strlen(a.text), &o, &s.ids, &s.n);
        if (status == 0) status = score_ids(&s, &a, &o);
        opened_free(&o);
    }
    if (a.ids) free(s.ids);
    else tl_free(s.ids);
    free(s.log_probability), free(text);
    return status;
}
