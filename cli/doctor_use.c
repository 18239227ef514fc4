// doctor_use.c - whether the model can be used: its program and what that asks for, tokenizer and chat template, memory and
// speed, and a first step, whose logits tell more than anything else.
#include "base/base.h"
#include "doctor.h"
#include "progress.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_NAMED = 12, PROMPT = 256 };

typedef struct use {
    doctor *d;
    tl_engine *engine;
    tl_model *model;    // with its program, or for its text only
    bool whole;
    tl_session *session;
    progress loading;
    int32_t *prompt;    // of a chat, or of a text
    size_t n_prompt;
    tl_error why;       // the session could not be opened
    json_t *unused;
    int wants;
} use;

static void on_warning(void *ctx, const char *message) {
    use *u = ctx;
    if (strncmp(message, "output.weight", 13) == 0) return; // the values have been looked at
    doctor_find(u->d, DOCTOR_WARNING, "program", NULL, "", "%s", message);
}

static void on_progress(void *ctx, const char *what, double done, double total) {
    use *u = ctx;
    (void)what;
    if (u->loading.total != (int64_t)total) progress_start(&u->loading, "loading", (int64_t)total, 0, isatty(STDERR_FILENO) != 1);
    progress_update(&u->loading, (int64_t)done, "");
    if (done >= total) progress_end(&u->loading), u->loading = (progress){0};
}

// "FILE:LINE:COL: error: ..." as the place of a finding.
static json_t *place_of(const char *message) {
    char file[300];
    int line, col;
    json_t *place = json_object();
    if (sscanf(message, "%299[^:\n]:%d:%d:", file, &line, &col) == 3)
        json_object_set_new(place, "file", json_bytes(file, strlen(file))), json_object_set_new(place, "line", json_integer(line));
    return place;
}

// ---- opening -----------------------------------------------------------------------------------
static void tell_output(doctor *d) {
    const gguf_tensor *out = gguf_tensor_find(d->g, STR("output.weight")), *emb = gguf_tensor_find(d->g, STR("token_embd.weight"));
    if (!out && emb) doctor_find(d, DOCTOR_OK, "output", NULL, "", "tied: there is no output.weight, token_embd.weight (%s) is used", dtype_table[emb->type].name);
    if (out && emb && !d->tied) doctor_find(d, DOCTOR_OK, "output", NULL, "", "output.weight is of its own (%s)", dtype_table[out->type].name);
}

static bool open_for_use(use *u) {
    doctor *d = u->d;
    const model_args *a = &d->a->model;
    char *chat_template = NULL;
    size_t n;
    tl_error err = {0};
    const tl_engine_options eo = {.threads = a->threads, .isa = a->isa, .on_warning = on_warning, .on_progress = on_progress, .ctx = u};
    if (tl_engine_new(&eo, &u->engine, &err) != TL_OK) {
        doctor_find(d, DOCTOR_ERROR, "program", NULL, "", "%s", err.message);
        return false;
    }
    if (a->chat_template && read_file("doctor", a->chat_template, &chat_template, &n) != 0)
        doctor_find(d, DOCTOR_ERROR, "template", NULL, "", "%s cannot be read", a->chat_template);
    tl_model_options o = {.program = a->program, .pre = a->pre, .chat_template = chat_template, .no_repair = a->no_repair};
    u->whole = tl_model_open(u->engine, d->path, &o, &u->model, &err) == TL_OK;
    if (!u->whole) {
        doctor_find(d, DOCTOR_ERROR, "program", place_of(err.message), err.code == TL_E_UNSUPPORTED ? "write a program for it and give it with --program FILE.tl" : "", "%s", err.message);
        o.no_repair = false, o.parts = TL_MODEL_DATA, u->model = NULL;
        if (tl_model_open(u->engine, d->path, &o, &u->model, &err) != TL_OK) doctor_find(d, DOCTOR_ERROR, "program", NULL, "", "%s", err.message), u->model = NULL;
    }
    free(chat_template);
    return u->model != NULL;
}

// ---- text --------------------------------------------------------------------------------------
static bool same_but_space(const char *a, size_t n, const char *b, size_t m) { // the space that SentencePiece puts in front
    if (m == n + 1 && b[0] == ' ') b++, m--;
    return n == m && memcmp(a, b, n) == 0;
}

static char *text_of_ids(const tl_model *m, const int32_t *ids, size_t n, bool special, size_t *size) {
    tl_decoder *dec;
    char *text = NULL;
    FILE *to = open_memstream(&text, size);
    if (!to) return NULL;
    if (tl_decoder_new(m, special, &dec, NULL) == TL_OK) {
        for (size_t i = 0; i < n; i++) fputs(tl_decoder_put(dec, ids[i]), to);
        fputs(tl_decoder_end(dec), to);
        tl_decoder_free(dec);
    }
    fclose(to);
    return text;
}

static bool check_round_trip(use *u) {
    static const char *const texts[] = {"Hello, world! 1234 + 5678 = 6912", "int main(void) {\n\treturn 0;\n}\n", "na\xc3\xafve \xe2\x80\x94 caf\xc3\xa9",
                                        "\xe4\xbd\xa0\xe5\xa5\xbd \xd0\xbc\xd0\xb8\xd1\x80 \xd8\xb3\xd9\x84\xd8\xa7\xd9\x85", "two  spaces, three   and \xf0\x9f\x99\x82"};
    tl_error err;
    int wrong = 0;
    const char *first = NULL;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        int32_t *ids;
        size_t n, size = 0;
        if (tl_tokenize(u->model, texts[i], strlen(texts[i]), 0, &ids, &n, &err) != TL_OK) {
            bool none = !gguf_find(u->d->g, STR("tokenizer.ggml.model"));
            doctor_find(u->d, DOCTOR_ERROR, "tokenizer", NULL,
                        none ? "fetch a file that has one; tl trace, lens, diff and score work on token ids (--ids)" : "--pre NAME chooses another pre-tokenizer; token ids (--ids) still work",
                        "%s", err.message);
            return false;
        }
        char *back = text_of_ids(u->model, ids, n, false, &size);
        if (!back || !same_but_space(texts[i], strlen(texts[i]), back, size)) wrong++, first = first ? first : texts[i];
        free(back), tl_free(ids);
    }
    if (wrong) doctor_find(u->d, DOCTOR_WARNING, "tokenizer", NULL, "expected of vocabularies that lower-case or lack bytes; else the vocabulary is broken",
                           "%d of %zu texts do not come back from their tokens, the first is \"%s\"", wrong, sizeof texts / sizeof *texts, first);
    else doctor_find(u->d, DOCTOR_OK, "tokenizer", NULL, "", "%zu texts come back from their tokens", sizeof texts / sizeof *texts);
    return true;
}

static void check_special_ids(use *u) {
    static const char *const names[] = {"bos", "eos", "eot", "eom", "unknown", "padding"};
    doctor *d = u->d;
    const gguf_value *list = gguf_find(d->g, STR("tokenizer.ggml.tokens"));
    int64_t n = list && list->type == GGUF_ARR ? (int64_t)list->count : 0, id, ends = 0;
    char told[500] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char key[80];
        size_t length, at = strlen(told);
        snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", names[i]);
        if (gguf_get_int(d->g, key, &id, NULL) != TL_OK) continue;
        if (id < 0 || id >= n) {
            doctor_find(d, DOCTOR_WARNING, "tokenizer", json_pack("{s:s}", "key", key), "the vocabulary and the ids are not of the same model", "%s is %lld, the vocabulary has %lld tokens", key, (long long)id, (long long)n);
            continue;
        }
        const char *text = tl_token_text(u->model, (int32_t)id, true, &length);
        char shown[60];
        snprintf(told + at, sizeof told - at, "%s%s %lld \"%s\"", at ? ", " : "", names[i], (long long)id, str_escape(shown, sizeof shown, (str){text, length}));
    }
    for (int64_t i = 0; i < n; i++) ends += tl_token_is_end(u->model, (int32_t)i);
    if (!ends) doctor_find(d, DOCTOR_ERROR, "tokenizer", NULL, "tokenizer.ggml.eos_token_id must name the token that ends a reply", "no token ends a reply: it would go on until the cache is full");
    else doctor_find(d, DOCTOR_OK, "tokenizer", NULL, "", "%lld tokens; %s%s%lld end%s a reply", (long long)n, told, *told ? "; " : "", (long long)ends, ends == 1 ? "s" : "");
    const gguf_tensor *emb = gguf_tensor_find(d->g, STR("token_embd.weight"));
    if (emb && emb->rank == 2 && emb->ne[1] != n)
        doctor_find(d, emb->ne[1] < n ? DOCTOR_ERROR : DOCTOR_NOTE, "tokenizer", NULL, emb->ne[1] < n ? "the vocabulary and the weights are not of the same model" : "",
                    "the vocabulary has %lld tokens, token_embd.weight %lld rows", (long long)n, (long long)emb->ne[1]);
}

static void check_template(use *u) {
    const tl_message hello = {"user", "Hello"};
    tl_error err;
    if (tl_chat_tokenize(u->model, &hello, 1, true, NULL, &u->prompt, &u->n_prompt, &err) != TL_OK) {
        u->prompt = NULL;
        doctor_find(u->d, DOCTOR_ERROR, "template", NULL, err.code == TL_E_USAGE ? "tl generate continues texts without one" : "--chat-template FILE gives another", "%s", err.message);
        return;
    }
    size_t size = 0;
    char *text = text_of_ids(u->model, u->prompt, u->n_prompt, true, &size), shown[600];
    json_object_set_new(u->d->facts, "chat_prompt", json_bytes(text ? text : "", text ? size : 0));
    doctor_find(u->d, DOCTOR_OK, "template", NULL, "", "a first message is rendered as %zu tokens: \"%s\"", u->n_prompt, str_escape(shown, sizeof shown, (str){text ? text : "", text ? size : 0}));
    free(text);
}

static void check_text(use *u) {
    if (!check_round_trip(u)) return;
    check_special_ids(u);
    check_template(u);
}

// ---- program -----------------------------------------------------------------------------------
static void bad_but_unused(doctor *d, const char *tensor) {
    size_t i;
    json_t *f;
    json_array_foreach(d->findings, i, f) {
        const char *name = json_string_value(json_object_get(f, "tensor"));
        if (name && strcmp(name, tensor) == 0 && strcmp(json_string_value(json_object_get(f, "check")), "values") == 0 &&
            strcmp(json_string_value(json_object_get(f, "severity")), "error") == 0) {
            doctor_set_level(d, f, DOCTOR_WARNING);
            json_object_set_new(f, "advice", json_string("the program does not read this tensor, so it harms nothing"));
        }
    }
}

static void tell_disagreement(void *ctx, const tl_tensor_problem *p) {
    use *u = ctx;
    if (p->kind == TL_TENSOR_UNUSED) {
        json_array_append_new(u->unused, json_bytes(p->tensor, strlen(p->tensor)));
        if (u->session) bad_but_unused(u->d, p->tensor);
        return;
    }
    if (strstr(u->why.message, p->tensor) || strstr(p->message, u->why.message)) u->why.message[0] = '\0'; // told here, with all others
    if (u->wants++ >= MOST_NAMED * 4) return;
    json_t *place = json_pack("{s:o, s:o, s:i}", "tensor", json_bytes(p->tensor, strlen(p->tensor)), "file", json_bytes(p->file, strlen(p->file)), "line", p->line);
    if (p->kind == TL_TENSOR_MISSING) doctor_find(u->d, DOCTOR_ERROR, "program", place, "the file is incomplete, or another program belongs to it (--program)", "%s:%d asks for %s, which the file does not have", p->file, p->line, p->tensor);
    else doctor_find(u->d, DOCTOR_ERROR, "program", place, "the file's tensors and metadata are not of the same model", "%s does not have the shape that the program says\n%s", p->tensor, p->message);
}

static void tell_unused(use *u) {
    size_t n = json_array_size(u->unused), at = 0;
    char names[1000] = "";
    if (!n || !u->session) return;
    for (size_t i = 0; i < n && i < MOST_NAMED && at + 100 < sizeof names; i++) {
        char shown[80];
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i ? ", " : "", str_escape(shown, sizeof shown, str_of(json_string_value(json_array_get(u->unused, i)))));
    }
    if (n > MOST_NAMED) snprintf(names + at, sizeof names - at, ", ...");
    doctor_find(u->d, DOCTOR_WARNING, "program", json_pack("{s:O}", "tensors", u->unused), "the file may need a program that reads them (--program)",
                "the program does not read %zu of the file's tensors: %s", n, names);
}

static void check_program(use *u) {
    doctor *d = u->d;
    const model_args *a = &d->a->model;
    const tl_session_options so = {.n_ctx = a->n_ctx, .n_batch = a->n_batch, .cache_type = a->cache_type};
    tl_error err;
    if (tl_session_new(u->model, &so, &u->session, &u->why) != TL_OK) u->session = NULL;
    progress_end(&u->loading);
    u->unused = json_array();
    if (tl_model_audit(u->model, tell_disagreement, u, &err) != TL_OK) doctor_find(d, DOCTOR_ERROR, "program", NULL, "", "%s", err.message);
    if (u->wants > MOST_NAMED * 4) doctor_find(d, DOCTOR_ERROR, "program", NULL, "", "%d more tensors are missing or of another shape", u->wants - MOST_NAMED * 4);
    if (!u->session && u->why.message[0]) doctor_find(d, DOCTOR_ERROR, "program", place_of(u->why.message), "", "%s", u->why.message);
    if (u->session && !u->wants) doctor_find(d, DOCTOR_OK, "program", NULL, "", "%s: the program finds every tensor it asks for", tl_model_architecture(u->model));
    tell_unused(u);
    json_decref(u->unused);
}

// ---- memory and speed --------------------------------------------------------------------------
static double available_bytes(void) {
    char line[200];
    double kib = 0;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "MemAvailable: %lf kB", &kib) == 1) break;
    if (f) fclose(f);
    return 1024 * kib;
}

static void check_memory(use *u) {
    doctor *d = u->d;
    tl_memory m = tl_session_memory(u->session);
    double all = m.weights + m.cache + m.workspace, there = available_bytes();
    long long n_ctx = (long long)tl_session_n_ctx(u->session), train = (long long)tl_model_n_ctx_train(u->model);
    json_object_set_new(d->facts, "memory", json_pack("{s:I, s:I, s:I, s:I, s:I}", "context", (json_int_t)n_ctx, "weights", (json_int_t)m.weights, "cache", (json_int_t)m.cache,
                                                      "workspace", (json_int_t)m.workspace, "total", (json_int_t)all));
    // The weights are loaded by now, so they are no longer in what is available.
    bool fits = there <= 0 || m.cache + m.workspace <= there;
    doctor_find(d, fits ? DOCTOR_OK : DOCTOR_ERROR, "memory", NULL, fits ? "" : "ask for a smaller context with -c N, or --cache-type q8_0",
                "%.0f MB for a context of %lld tokens: weights %.0f, cache %.0f, workspace %.0f%s", 1e-6 * all, n_ctx, 1e-6 * m.weights, 1e-6 * m.cache, 1e-6 * m.workspace,
                fits ? "" : "; that is more than this machine has left");
    if (train > 0 && n_ctx > train)
        doctor_find(d, DOCTOR_WARNING, "memory", NULL, "-c N sets the context", "the context of %lld tokens is longer than the %lld that the model was trained on", n_ctx, train);
}

static void check_speed(use *u) {
    tl_profile_line *lines;
    size_t n;
    double bytes = 0, rate = tl_engine_read_bandwidth(u->engine);
    if (tl_session_profile_lines(u->session, &lines, &n, NULL) != TL_OK) return;
    for (size_t i = 0; i < n; i++) bytes += lines[i].bytes;
    tl_free(lines);
    if (bytes <= 0 || rate <= 0) return;
    json_object_set_new(u->d->facts, "speed", json_pack("{s:f, s:f, s:f}", "read_bytes_per_second", rate, "bytes_per_token", bytes, "expected_tokens_per_second", rate / bytes));
    doctor_find(u->d, DOCTOR_OK, "speed", NULL, "", "a token reads %.1f MB, this machine reads %.1f GB/s: at most %.0f tokens/s", 1e-6 * bytes, 1e-9 * rate, rate / bytes);
}

// ---- a step ------------------------------------------------------------------------------------
static bool prompt_of_some_kind(use *u) {
    tl_error err;
    if (u->n_prompt && u->prompt) return true;
    tl_free(u->prompt), u->prompt = NULL;
    if (tl_tokenize(u->model, "Hello", 5, TL_ADD_SPECIAL, &u->prompt, &u->n_prompt, &err) == TL_OK && u->n_prompt) return true;
    return false;
}

static void judge_logits(use *u, const float *logits, int64_t n) {
    doctor *d = u->d;
    int64_t bad = 0, best = 0, minus = 0;
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (logits[i] == -INFINITY) minus++; // a mask's
        else if (!isfinite(logits[i])) bad++;
        else {
            if (logits[i] > high) high = logits[i], best = i;
            if (logits[i] < low) low = logits[i];
        }
    }
    size_t length = 0;
    const char *text = tl_token_text(u->model, (int32_t)best, true, &length);
    char shown[100], token[120];
    if (text && length) snprintf(token, sizeof token, "\"%s\"", str_escape(shown, sizeof shown, (str){text, length}));
    else snprintf(token, sizeof token, "#%lld", (long long)best);
    if (bad || minus == n)
        doctor_find(d, DOCTOR_ERROR, "step", NULL, d->n_bad ? "the tensors above whose values are not finite are the cause" : "no weight is at fault: a statement of the program overflows or divides by zero; --nan-trap of tl generate and tl score names it",
                    "%lld of %lld logits of the first step are infinite or no number", (long long)(bad + minus), (long long)n);
    else if (low == high) doctor_find(d, DOCTOR_ERROR, "step", NULL, "an output layer of zeros gives this", "all logits of the first step are the same: %g", (double)low);
    else doctor_find(d, DOCTOR_OK, "step", NULL, "", "the logits of a first step are finite, from %.3g to %.3g; the most probable token is %s", (double)low, (double)high, token);
}

static void check_step(use *u) {
    tl_error err;
    const float *logits;
    const int32_t zero = 0;
    bool text = prompt_of_some_kind(u);
    size_t n = text ? u->n_prompt < PROMPT ? u->n_prompt : PROMPT : 1;
    if ((int64_t)n > tl_session_n_ctx(u->session)) n = (size_t)tl_session_n_ctx(u->session);
    if (tl_session_prompt(u->session, 0, text ? u->prompt : &zero, n, &logits, NULL, &err) != TL_OK)
        doctor_find(u->d, DOCTOR_ERROR, "step", NULL, "", "%s", err.message);
    else judge_logits(u, logits, tl_model_n_vocab(u->model));
}

void doctor_use(doctor *d) {
    use u = {.d = d};
    tell_output(d);
    if (open_for_use(&u)) {
        check_text(&u);
        if (u.whole) check_program(&u);
        if (u.session) check_memory(&u), check_speed(&u), check_step(&u);
    }
    tl_free(u.prompt);
    tl_session_free(u.session);
    tl_model_free(u.model);
    tl_engine_free(u.engine);
}
