// sample_trace.c - `tl sample-trace`: what there is to choose from before and after each sampler of the chain, token by token.
#include "base/base.h"
#include "stamp.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct trace_args {
    model_args model;
    sampling_args sampling;
    const char *prompt;
    int64_t tokens, shown;
    bool chat, parse_special, json;
} trace_args;

typedef struct trace {
    const trace_args *a;
    const tl_model *model;
    json_t *steps;      // of the token under way; NULL: text
} trace;

// ---- a step of the chain -----------------------------------------------------------------------
static const char *shown_token(const tl_model *m, int32_t id, char *buf, size_t cap) {
    size_t n;
    const char *text = tl_token_text(m, id, true, &n);
    return str_escape(buf, cap, (str){text, n});
}

static json_t *candidates_json(const trace *t, const tl_candidate *items, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const char *text = tl_token_text(t->model, items[i].id, true, &length);
        json_array_append_new(list, json_pack("{s:i, s:o, s:o, s:o}", "id", items[i].id, "token", json_bytes(text, length), "logit", json_real_or_null((double)items[i].logit),
                                              "p", json_real_or_null((double)items[i].p)));
    }
    return list;
}

static void on_step(void *ctx, const char *sampler, const tl_candidate *items, size_t n, size_t left) {
    trace *t = ctx;
    char shown[60];
    if (t->steps) {
        json_array_append_new(t->steps, json_pack("{s:s, s:I, s:o}", "sampler", sampler, "left", (json_int_t)left, "candidates", candidates_json(t, items, n)));
        return;
    }
    printf("  %-12s %7zu", sampler, left);
    for (size_t i = 0; i < n; i++)
        printf("  %s\"%s\" %.3f", i == 0 ? "" : " ", shown_token(t->model, items[i].id, shown, sizeof shown), (double)items[i].p);
    if (left > n) printf("   ...");
    putchar('\n');
}

// ---- token by token ----------------------------------------------------------------------------
static void begin_token(trace *t, int64_t number, int64_t position) {
    if (t->a->json) t->steps = json_array();
    else printf("token %lld, position %lld\n", (long long)number, (long long)position);
}

static void end_token(trace *t, json_t *all, int32_t id) {
    if (!t->a->json) return;
    size_t n;
    const char *text = tl_token_text(t->model, id, true, &n);
    json_array_append_new(all, json_pack("{s:i, s:o, s:o}", "id", id, "token", json_bytes(text, n), "steps", t->steps));
    t->steps = NULL;
}

static int run(trace *t, opened *o, tl_sampler *s, const int32_t *ids, size_t n, json_t *all) {
    const float *logits;
    tl_error err;
    for (size_t i = 0; i < n; i++) tl_sampler_accept(s, ids[i]);
    if (tl_session_prompt(o->session, 0, ids, n, &logits, NULL, &err) != TL_OK) return fail_with("sample-trace", &err);
    for (int64_t i = 0; i < t->a->tokens; i++) {
        begin_token(t, i + 1, tl_seq_length(o->session, 0));
        int32_t id = tl_sampler_pick(s, logits, tl_model_n_vocab(o->model));
        if (id < 0) return json_decref(t->steps), fail("sample-trace", "no logit is a number: `tl doctor` tells why");
        end_token(t, all, id);
        tl_sampler_accept(s, id);
        if (tl_token_is_end(o->model, id) || i + 1 == t->a->tokens) break;
        const tl_row row = {.token = id, .logits = true};
        if (tl_session_step(o->session, &row, 1, &logits, &err) != TL_OK) return fail_with("sample-trace", &err);
    }
    return 0;
}

static int trace_with(trace *t, opened *o, const int32_t *ids, size_t n) {
    tl_sampler *s = NULL;
    json_t *all = t->a->json ? json_array() : NULL;
    if (n == 0) return json_decref(all), fail("sample-trace", "the prompt has no tokens, and the model asks for none at the start: give -p");
    int status = open_session("sample-trace", &t->a->model, (int64_t)n + t->a->tokens, 0, o);
    if (status == 0) status = open_sampler("sample-trace", &t->a->sampling, o->model, t->a->model.verbose, &s);
    if (status == 0) {
        tl_sampler_watch(s, on_step, t, (size_t)t->a->shown);
        status = run(t, o, s, ids, n, all);
    }
    if (status == 0 && all) {
        json_t *stamp = stamp_json(o, s, t->a->sampling.seed, ids, n);
        tl_sampler_free(s);
        return print_json(json_pack("{s:o, s:o}", "tokens", all, "stamp", stamp));
    }
    tl_sampler_free(s);
    json_decref(all);
    return status;
}

static int sample_trace(const trace_args *a) {
    opened o;
    tl_error err;
    int32_t *ids = NULL;
    size_t n = 0;
    const tl_message message = {"user", a->prompt};
    int status = open_model("sample-trace", &a->model, TL_MODEL_WHOLE, &o);
    if (status != 0) return status;
    trace t = {.a = a, .model = o.model};
    tl_status read = a->chat ? tl_chat_tokenize(o.model, &message, 1, true, NULL, &ids, &n, &err)
                             : tl_tokenize(o.model, a->prompt, strlen(a->prompt), TL_ADD_SPECIAL | (a->parse_special ? TL_PARSE_SPECIAL : 0), &ids, &n, &err);
    status = read == TL_OK ? trace_with(&t, &o, ids, n) : fail_with("sample-trace", &err);
    tl_free(ids);
    opened_free(&o);
    return status;
}

int cli_sample_trace(int argc, char **argv) {
    trace_args a = {.sampling = SAMPLING_DEFAULT, .tokens = 8, .shown = 5};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "prompt", 'p', &a.prompt, "TEXT", "the text to continue", 0, 0},
        {ARG_I64, "n-predict", 'n', &a.tokens, "N", "at most N tokens (default: 8)", 1, 1e6},
        {ARG_I64, "top", 'k', &a.shown, "K", "show the K most probable candidates (default: 5)", 1, 1000},
        {ARG_FLAG, "chat", 0, &a.chat, NULL, "the text is a user's message in the model's chat template", 0, 0},
        {ARG_FLAG, "parse-special", 0, &a.parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "as JSON: of each token the steps and their candidates", 0, 0},
        {ARG_TEXT, "chat-template", 0, &a.model.chat_template, "FILE", "Jinja template instead of the file's", 0, 0},
        SAMPLING_OPTIONS(a.sampling), MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "sample-trace", .usage = "[-m MODEL] -p TEXT [-n N] [options]", .options = options, .most = 1,
        .about = "Continues a text and shows how each token is chosen: how many candidates each sampler of the chain leaves, and the\n"
                 "most probable ones with their probabilities."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (!a.prompt) return args_wrong("sample-trace", "give -p TEXT");
    sampling_fix_seed(&a.sampling);
    if (first < argc && (status = args_positional("sample-trace", argv[first], &a.model.model)) >= 0) return status;
    return sample_trace(&a);
}
