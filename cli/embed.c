// embed.c - `tl embed`: texts as vectors: the model's last hidden states (after its last norm, what logits are made from), pooled.
//
// Many texts share a step, a sequence for each; a vector's bits do not depend on the texts beside it. Vectors go out in the order
// of the texts, as soon as all before them are there.
#include "inside.h"
#include "interrupt.h"
#include "progress.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef enum { POOL_MEAN, POOL_LAST, POOL_CLS } pooling;

typedef struct embed_args {
    model_args model;
    const char *file, *pooling, *npy;
    bool whole, json, normalize, parse_special, no_special;
    int64_t truncate;
    int parallel;
    pooling pool;
} embed_args;

typedef struct embed_text {
    const char *text;
    size_t n;
    int32_t *ids;
    size_t n_ids, fed;
    int32_t seq;
    double *sum;          // [width] while under way
    float *vector;        // [width] once done
} embed_text;

typedef struct embedder {
    const embed_args *a;
    opened o;
    embed_text *texts;
    size_t n, next, shown; // next to be begun, next to be put out
    int64_t tokens, width;
    tl_row *rows;
    embed_text **row_of;   // [n_batch] the text of a wanted row
    uint8_t *busy;         // [parallel] sequences
    json_t *data;          // of --json
    FILE *npy;
    progress bar;
} embedder;

// ---- what comes in -------------------------------------------------------------------------------
static int add_text(embedder *e, size_t *cap, const char *text, size_t n) {
    if (e->n == *cap) {
        *cap = *cap ? 2 * *cap : 64;
        embed_text *grown = realloc(e->texts, *cap * sizeof *grown);
        if (!grown) return fail("embed", "out of memory");
        e->texts = grown;
    }
    e->texts[e->n++] = (embed_text){.text = text, .n = n, .seq = -1};
    return 0;
}

// A file's lines, or all of it.
static int split(embedder *e, size_t *cap, const char *text, size_t n) {
    int status = 0;
    if (e->a->whole) return add_text(e, cap, text, n);
    for (size_t from = 0; from < n && status == 0;) {
        const char *end = memchr(text + from, '\n', n - from);
        size_t length = end ? (size_t)(end - text) - from : n - from, shown = length;
        if (shown > 0 && text[from + shown - 1] == '\r') shown--;
        status = add_text(e, cap, text + from, shown);
        from += length + 1;
    }
    return status;
}

static int tokenize_all(embedder *e) {
    const embed_args *a = e->a;
    unsigned flags = (a->no_special ? 0 : TL_ADD_SPECIAL) | (a->parse_special ? TL_PARSE_SPECIAL : 0);
    int64_t train = tl_model_n_ctx_train(e->o.model);
    tl_error err;
    for (size_t i = 0; i < e->n; i++) {
        embed_text *t = &e->texts[i];
        if (tl_tokenize(e->o.model, t->text, t->n, flags, &t->ids, &t->n_ids, &err) != TL_OK) return fail_with("embed", &err);
        if (a->truncate && t->n_ids > (size_t)a->truncate) t->n_ids = (size_t)a->truncate;
        if (t->n_ids == 0) return fail("embed", "text %zu has no tokens, and the model adds none", i + 1);
        if (train > 0 && (int64_t)t->n_ids > train && !a->model.n_ctx)
            return fail("embed", "text %zu has %zu tokens, the model was trained on %lld: --truncate N takes the first N of each text, -c N allows more", i + 1, t->n_ids, (long long)train);
        if (a->model.n_ctx && (int64_t)t->n_ids > a->model.n_ctx) return fail("embed", "text %zu has %zu tokens, -c gives room for %lld; --truncate N takes the first N", i + 1, t->n_ids, (long long)a->model.n_ctx);
        e->tokens += (int64_t)t->n_ids;
    }
    return 0;
}

// ---- computing -----------------------------------------------------------------------------------
static bool wanted(const embed_args *a, const embed_text *t, size_t at) {
    return a->pool == POOL_MEAN || (a->pool == POOL_CLS ? at == 0 : at + 1 == t->n_ids);
}

static int32_t free_sequence(const embedder *e) {
    for (int32_t i = 0; i < e->a->parallel; i++)
        if (!e->busy[i]) return i;
    return -1;
}

static bool begin(embedder *e, embed_text *t) {
    t->seq = free_sequence(e);
    if (t->seq < 0) return false;
    t->sum = calloc((size_t)e->width, sizeof *t->sum);
    if (!t->sum) return false;
    e->busy[t->seq] = 1;
    e->next++;
    return true;
}

// Rows of the next step, of the oldest texts first; *wants of them have a hidden state that is wanted.
static size_t gather(embedder *e, size_t first, size_t *wants) {
    size_t n = 0, most = (size_t)tl_session_n_batch(e->o.session);
    *wants = 0;
    for (size_t i = first; i < e->n && n < most; i++) {
        embed_text *t = &e->texts[i];
        if (i == e->next && !begin(e, t)) break;
        for (; t->fed < t->n_ids && n < most; t->fed++) {
            bool want = wanted(e->a, t, t->fed);
            e->rows[n++] = (tl_row){.token = t->ids[t->fed], .seq = t->seq, .logits = want};
            if (want) e->row_of[(*wants)++] = t;
        }
    }
    return n;
}

static int finish(embedder *e, embed_text *t) {
    double norm = 0, n = e->a->pool == POOL_MEAN ? (double)t->n_ids : 1;
    t->vector = malloc((size_t)e->width * sizeof *t->vector);
    if (!t->vector) return fail("embed", "out of memory");
    for (int64_t k = 0; k < e->width; k++) norm += (t->sum[k] / n) * (t->sum[k] / n);
    double scale = e->a->normalize && norm > 0 ? 1 / sqrt(norm) : 1;
    for (int64_t k = 0; k < e->width; k++) t->vector[k] = (float)(t->sum[k] / n * scale);
    tl_seq_cut(e->o.session, t->seq, 0);
    e->busy[t->seq] = 0;
    free(t->sum);
    t->sum = NULL;
    return 0;
}

// ---- what goes out -------------------------------------------------------------------------------
static json_t *numbers(const float *x, int64_t n) {
    json_t *list = json_array();
    for (int64_t k = 0; k < n; k++) json_array_append_new(list, json_real_or_null((double)x[k]));
    return list;
}

static int put_vector(embedder *e, size_t i) {
    embed_text *t = &e->texts[i];
    int status = 0;
    if (e->npy) {
        if (fwrite(t->vector, sizeof *t->vector, (size_t)e->width, e->npy) != (size_t)e->width) status = fail("embed", "%s: %s", e->a->npy, strerror(errno));
    } else if (e->data) {
        json_array_append_new(e->data, json_pack("{s:s, s:I, s:o}", "object", "embedding", "index", (json_int_t)i, "embedding", numbers(t->vector, e->width)));
    } else {
        json_t *line = json_pack("{s:I, s:I, s:o}", "index", (json_int_t)i, "tokens", (json_int_t)t->n_ids, "embedding", numbers(t->vector, e->width));
        if (json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 || putchar('\n') == EOF) status = fail("embed", "the vectors cannot be written: %s", strerror(errno));
        json_decref(line);
    }
    free(t->vector);
    t->vector = NULL;
    return status;
}

static int step(embedder *e, size_t *done) {
    const float *hidden;
    size_t wants, n = gather(e, e->shown, &wants);
    tl_error err;
    if (n == 0) return fail("embed", "out of memory");
    if (tl_session_step(e->o.session, e->rows, n, &hidden, &err) != TL_OK) return fail_with("embed", &err);
    *done += n;
    for (size_t i = 0; i < wants; i++)
        for (int64_t k = 0; k < e->width; k++) e->row_of[i]->sum[k] += (double)hidden[(int64_t)i * e->width + k];
    int status = 0;
    for (size_t i = e->shown; i < e->next && status == 0; i++)
        if (e->texts[i].fed == e->texts[i].n_ids && e->texts[i].sum) status = finish(e, &e->texts[i]);
    for (; e->shown < e->next && e->texts[e->shown].vector && status == 0; e->shown++) status = put_vector(e, e->shown);
    return status;
}

static int run(embedder *e) {
    int status = 0;
    size_t done = 0;
    char note[60];
    double start = seconds_now();
    progress_start(&e->bar, "embedding", e->tokens, 0, e->tokens < 4096 && isatty(STDERR_FILENO) != 1);
    e->bar.unit = "tokens";
    while (status == 0 && e->shown < e->n && !interrupt_came) {
        status = step(e, &done);
        snprintf(note, sizeof note, "%.0f tokens/s", (double)done / (seconds_now() - start + 1e-9));
        progress_update(&e->bar, (int64_t)done, note);
    }
    progress_end(&e->bar);
    if (status == 0 && e->shown < e->n) status = fail("embed", "stopped after %zu of %zu texts", e->shown, e->n);
    return status;
}

// ---- all of it -----------------------------------------------------------------------------------
static int open_hidden(embedder *e) {
    const model_args *m = &e->a->model;
    const char *patches[MOST_PATCHES + 1];
    tl_error err;
    size_t longest = 1, batch = m->n_batch ? (size_t)m->n_batch : 512;
    for (size_t i = 0; i < e->n; i++) longest = e->texts[i].n_ids > longest ? e->texts[i].n_ids : longest;
    if (!m->n_batch && e->tokens < (int64_t)batch) batch = (size_t)e->tokens;
    tl_session_options options = {.n_ctx = (int64_t)(longest + batch), .n_batch = (int64_t)batch, .n_seq = e->a->parallel, .cache_type = m->cache_type, .hidden = true};
    inside_session(m, patches, &options);
    if (tl_session_new(e->o.model, &options, &e->o.session, &err) != TL_OK) return fail_with("embed", &err);
    e->width = tl_session_width(e->o.session);
    e->rows = calloc(batch, sizeof *e->rows);
    e->row_of = calloc(batch, sizeof *e->row_of);
    e->busy = calloc((size_t)e->a->parallel, 1);
    return e->rows && e->row_of && e->busy ? 0 : fail("embed", "out of memory");
}

static int print_openai(embedder *e) { // the answer of OpenAI's /v1/embeddings
    json_t *usage = json_pack("{s:I, s:I}", "prompt_tokens", (json_int_t)e->tokens, "total_tokens", (json_int_t)e->tokens);
    json_t *all = json_pack("{s:s, s:O, s:s, s:o}", "object", "list", "data", e->data, "model", tl_model_name(e->o.model), "usage", usage);
    int failed = json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 || putchar('\n') == EOF;
    json_decref(all);
    return failed ? fail("embed", "the vectors cannot be written: %s", strerror(errno)) : 0;
}

static int embed(embedder *e) {
    const embed_args *a = e->a;
    int status = open_model("embed", &a->model, TL_MODEL_WHOLE, &e->o);
    if (status == 0) status = tokenize_all(e);
    if (status == 0) status = open_hidden(e);
    if (status == 0 && a->npy) {
        e->npy = fopen(a->npy, "wb");
        if (!e->npy || !npy_write_header(e->npy, (int64_t[]){(int64_t)e->n, e->width}, 2)) status = fail("embed", "%s: %s", a->npy, strerror(errno));
    }
    if (a->json) e->data = json_array();
    interrupt_catch();
    if (status == 0) status = run(e);
    if (e->npy && fclose(e->npy) != 0 && status == 0) status = fail("embed", "%s: %s", a->npy, strerror(errno));
    if (status != 0 && e->npy) remove(a->npy); // not half of the vectors
    if (status == 0 && a->json) status = print_openai(e);
    if (status == 0 && fflush(stdout) != 0) status = fail("embed", "the vectors cannot be written: %s", strerror(errno));
    return status;
}

static void embedder_free(embedder *e) {
    for (size_t i = 0; i < e->n; i++) tl_free(e->texts[i].ids), free(e->texts[i].sum), free(e->texts[i].vector);
    free(e->texts), free(e->rows), free(e->row_of), free(e->busy);
    json_decref(e->data);
    opened_free(&e->o);
}

static int read_pooling(embed_args *a) {
    static const char *const names[] = {"mean", "last", "cls"};
    for (int i = 0; i < 3 && a->pooling; i++)
        if (strcmp(a->pooling, names[i]) == 0) return a->pool = (pooling)i, -1;
    return a->pooling ? args_wrong("embed", "--pooling: mean, last or cls is wanted, not \"%s\"", a->pooling) : -1;
}

int cli_embed(int argc, char **argv) {
    embed_args a = {.model.cache_type = "f32", .parallel = 32};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "file", 'f', &a.file, "FILE", "a text on each line of FILE; - is stdin", 0, 0},
        {ARG_FLAG, "whole", 0, &a.whole, NULL, "the whole of FILE is one text", 0, 0},
        {ARG_TEXT, "pooling", 0, &a.pooling, "HOW", "mean of all tokens, last token, or cls: the first (default: mean)", 0, 0},
        {ARG_FLAG, "normalize", 0, &a.normalize, NULL, "vectors of length 1", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "one object, as OpenAI's API answers, instead of a line for each text", 0, 0},
        {ARG_TEXT, "npy", 0, &a.npy, "OUT.npy", "write float32 [texts, width] to OUT.npy", 0, 0},
        {ARG_I64, "truncate", 0, &a.truncate, "N", "only the first N tokens of each text", 1, 1e9},
        {ARG_INT, "parallel", 0, &a.parallel, "N", "texts side by side at most (default: 32)", 1, 1024},
        {ARG_FLAG, "parse-special", 0, &a.parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "no-special", 0, &a.no_special, NULL, "do not add the special tokens that the model asks for", 0, 0},
        MODEL_OPTIONS(a.model), INSIDE_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "embed", .usage = "[-m MODEL] (TEXT ... | -f FILE) [options]", .options = options, .most = -1,
        .about = "Turns texts into vectors: the hidden states behind the model's last norm, pooled over the tokens of a text. A line of JSON\n"
                 "for each text goes to stdout, in the order of the texts. Without TEXT and -f it reads stdin, a text on each line."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0 || (status = read_pooling(&a)) >= 0) return status;
    if (first < argc && a.file) return args_wrong("embed", "give either texts or -f FILE");
    if (a.json && a.npy) return args_wrong("embed", "give either --json or --npy");
    if (a.whole && first < argc) return args_wrong("embed", "--whole goes with -f FILE or stdin");
    embedder e = {.a = &a};
    char *text = NULL;
    size_t n = 0, cap = 0;
    status = 0;
    for (int i = first; i < argc && status == 0; i++) status = add_text(&e, &cap, argv[i], strlen(argv[i]));
    if (first == argc) status = read_file("embed", a.file ? a.file : "-", &text, &n);
    if (first == argc && status == 0) status = split(&e, &cap, text, n);
    if (status == 0 && e.n == 0) status = fail("embed", "there is no text");
    if (status == 0) status = embed(&e);
    embedder_free(&e);
    free(text);
    return status;
}
