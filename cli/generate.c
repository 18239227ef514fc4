// generate.c - `tl generate`: continues a text; only the continuation goes to stdout.
#include "reply.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct generate_args {
    model_args model;
    sampling_args sampling;
    const char *prompt, *file;
    int64_t most;
    bool json, parse_special, no_special, ignore_end, chat;
} generate_args;

static volatile int cancelled;
static void on_interrupt(int number) {
    (void)number;
    cancelled = 1;
    signal(SIGINT, SIG_DFL); // the second one ends the program at once
}

static void show_text(void *ctx, const char *text) {
    if (ctx) fputs(text, ctx);
    else print_reply_text(text);
}

static int read_prompt(const generate_args *a, char **text, size_t *n) {
    if (a->prompt) {
        *text = strdup(a->prompt);
        *n = strlen(a->prompt);
        return *text ? 0 : fail("generate", "out of memory");
    }
    int status = read_file("generate", a->file ? a->file : "-", text, n);
    if (status == 0 && *n > 0 && (*text)[*n - 1] == '\n') (*text)[--*n] = '\0'; // as llama.cpp: the one that editors add
    return status;
}

static tl_status prompt_ids(const generate_args *a, const opened *o, const char *text, size_t n, int32_t **ids, size_t *n_ids,
                            tl_error *err) {
    const tl_message message = {"user", text};
    unsigned flags = (a->no_special ? 0 : TL_ADD_SPECIAL) | (a->parse_special ? TL_PARSE_SPECIAL : 0);
    if (a->chat) return tl_chat_tokenize(o->model, &message, 1, true, NULL, ids, n_ids, err);
    return tl_tokenize(o->model, text, n, flags, ids, n_ids, err);
}

static int print_result(const reply *r, const generate_args *a, char *text, size_t size) {
    if (!a->json) {
        if (isatty(STDOUT_FILENO) == 1) putchar('\n');
        if (a->model.verbose) reply_print_speed(r);
        return 0;
    }
    double prompt = r->prompt_seconds, said = r->reply_seconds;
    return print_json(json_pack("{s:o, s:I, s:I, s:s, s:o, s:o}", "text", json_bytes(text, size), "prompt_tokens",
                                (json_int_t)r->prompt_tokens, "tokens", (json_int_t)r->reply_tokens, "stop", stop_name(r->stop),
                                "prompt_tokens_per_second", json_real_or_null((double)r->all_prompt / prompt),
                                "tokens_per_second", json_real_or_null((double)r->all_reply / said)));
}

static int generate_with(generate_args *a, opened *o, const int32_t *ids, size_t n) {
    char *text = NULL;
    size_t size = 0;
    tl_error err;
    tl_status done = TL_E_MEMORY;
    reply r = {.o = o, .most = a->most, .ignore_end = a->ignore_end, .cancel = &cancelled, .show = show_text};
    int64_t train = tl_model_n_ctx_train(o->model), room = (int64_t)n + (a->most < 0 ? 2048 : a->most);
    if (n == 0) return fail("generate", "the prompt has no tokens, and the model asks for none at the start: give -p");
    if (train > 0 && room > train) room = (int64_t)n < train ? train : (int64_t)n;
    int status = open_session("generate", &a->model, room, 0, o);
    if (status == 0) status = open_sampler("generate", &a->sampling, a->model.verbose, &r.sampler);
    if (status != 0) return status;
    if (a->json) r.ctx = open_memstream(&text, &size);
    signal(SIGINT, on_interrupt);
    done = reply_run(&r, ids, n, &err);
    if (r.ctx) fclose(r.ctx);
    status = done == TL_OK ? print_result(&r, a, text, size) : fail_with("generate", &err);
    free(text);
    tl_sampler_free(r.sampler);
    reply_free(&r);
    return status != 0 ? status : cancelled ? 1 : 0;
}

static int generate(generate_args *a) {
    char *text = NULL;
    size_t n = 0, n_ids = 0;
    int32_t *ids = NULL;
    opened o;
    tl_error err;
    int status = read_prompt(a, &text, &n);
    if (status == 0 && (status = open_model("generate", &a->model, TL_MODEL_WHOLE, &o)) == 0) {
        if (prompt_ids(a, &o, text, n, &ids, &n_ids, &err) != TL_OK) status = fail_with("generate", &err);
        else status = generate_with(a, &o, ids, n_ids);
        tl_free(ids);
        opened_free(&o);
    }
    free(text);
    return status;
}

int cli_generate(int argc, char **argv) {
    generate_args a = {.sampling = SAMPLING_DEFAULT, .most = 256};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "prompt", 'p', &a.prompt, "TEXT", "the text to continue", 0, 0},
        {ARG_TEXT, "file", 'f', &a.file, "FILE", "the text is in FILE; - is stdin", 0, 0},
        {ARG_I64, "n-predict", 'n', &a.most, "N", "at most N tokens; -1: until the end token (default: 256)", -1, 1e9},
        {ARG_FLAG, "chat", 0, &a.chat, NULL, "the text is a user's message in the model's chat template", 0, 0},
        {ARG_FLAG, "parse-special", 0, &a.parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "no-special", 0, &a.no_special, NULL, "do not add the special tokens that the model asks for", 0, 0},
        {ARG_FLAG, "ignore-eos", 0, &a.ignore_end, NULL, "go on after an end token", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "text, counts, why it stopped and speed", 0, 0},
        {ARG_TEXT, "chat-template", 0, &a.model.chat_template, "FILE", "Jinja template instead of the file's", 0, 0},
        SAMPLING_OPTIONS(a.sampling), MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "generate", .usage = "[-m MODEL] (-p TEXT | -f FILE) [options]", .options = options, .most = 1,
        .about = "Continues a text; only the continuation goes to stdout. Without -p and -f it reads stdin."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (a.prompt && a.file) return args_wrong("generate", "give either -p TEXT or -f FILE");
    if (first < argc && (status = args_positional("generate", argv[first], &a.model.model)) >= 0) return status;
    return generate(&a);
}
