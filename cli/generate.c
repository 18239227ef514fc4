// generate.c - `tl generate`: continues a text; only the continuation goes to stdout.
#include "batch.h"
#include "beams.h"
#include "completions.h"
#include "interrupt.h"
#include "logprobs.h"
#include "reply.h"
#include "stamp.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct generate_args {
    model_args model;
    sampling_args sampling;
    const char *prompt, *file, *prompts, *out, *spec, *draft, *session;
    int64_t keep;
    beam_args beam;
    int64_t most;
    reply_args limits;
    int logprobs, completions, parallel;
    bool overwrite, shift, json, parse_special, no_special, chat;
} generate_args;

typedef struct completion { // one of those under way
    const generate_args *a;
    const opened *o;
    FILE *to;               // NULL: stdout
    char *text;
    size_t size;
    json_t *logprobs;       // NULL: not wanted
} completion;

static void show_text(void *ctx, const char *text, size_t n) {
    completion *c = ctx;
    if (c->to) fwrite(text, 1, n, c->to);
    else print_reply_text(text, n);
}

static void note_token(void *ctx, const float *logits, int64_t n, int32_t id) {
    completion *c = ctx;
    json_array_append_new(c->logprobs, logprobs_json(c->o->model, logits, n, id, c->a->logprobs));
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

static json_t *result_json(const reply *r, const completion *c) {
    double prompt = r->prompt_seconds, said = r->reply_seconds;
    json_t *j = json_pack("{s:o, s:I, s:I, s:s, s:o, s:o}", "text", json_bytes(c->text, c->size), "prompt_tokens",
                          (json_int_t)r->prompt_tokens, "tokens", (json_int_t)r->reply_tokens, "stop", stop_name(r->stop),
                          "prompt_tokens_per_second", json_real_or_null((double)r->all_prompt / prompt),
                          "tokens_per_second", json_real_or_null((double)r->all_reply / said));
    if (r->stop_text) json_object_set_new(j, "stop_text", json_bytes(r->stop_text, strlen(r->stop_text)));
    if (r->constraint) json_object_set_new(j, "completed_bytes", json_integer((json_int_t)r->completed));
    if (r->constraint) json_object_set_new(j, "tokens_without_choice", json_integer((json_int_t)r->jumped));
    if (c->logprobs) json_object_set(j, "logprobs", c->logprobs);
    return j;
}

// Completion i: its own sequence of random numbers; the prompt is in the cache from the second one on.
static int complete(generate_args *a, reply *r, const int32_t *ids, size_t n, int i, json_t *results) {
    completion c = {.a = a, .o = r->o, .logprobs = a->logprobs >= 0 ? json_array() : NULL};
    tl_error err;
    a->sampling.s.sequence = (uint64_t)i;
    int status = open_sampler("generate", &a->sampling, r->o->model, a->model.verbose && i == 0, &r->sampler);
    if (status != 0) return json_decref(c.logprobs), status;
    for (size_t k = 0; k + 1 < n && k < r->held.n && r->held.p[k] == ids[k]; k++) tl_sampler_accept(r->sampler, ids[k]);
    if (a->json) c.to = open_memstream(&c.text, &c.size);
    r->ctx = &c;
    r->chosen = c.logprobs ? note_token : NULL;
    tl_status done = reply_run(r, ids, n, &err);
    if (c.to) fclose(c.to);
    if (done != TL_OK) status = fail_with("generate", &err);
    else if (a->json) json_array_append_new(results, result_json(r, &c));
    if (done == TL_OK && a->json && i == 0) // of all completions; the sampler is still there
        json_object_set_new(json_array_get(results, 0), "stamp", stamp_json(r->o, r->sampler, a->sampling.seed, ids, n));
    else if (isatty(STDOUT_FILENO) == 1 || a->completions > 1) putchar('\n');
    tl_sampler_free(r->sampler);
    r->sampler = NULL;
    free(c.text);
    json_decref(c.logprobs);
    return status;
}

static int spec_mode(const char *name) { // -1: there is no such mode
    static const char *const names[] = {[SPEC_AUTO] = "auto", [SPEC_NGRAM] = "ngram", [SPEC_OFF] = "off", [SPEC_TREE] = "tree"};
    for (int i = 0; name && i < (int)(sizeof names / sizeof *names); i++)
        if (strcmp(names[i], name) == 0) return i;
    return name ? -1 : SPEC_AUTO;
}

static int generate_with(generate_args *a, opened *o, const int32_t *ids, size_t n) {
    reply r = {.o = o, .most = a->most, .ignore_end = a->limits.ignore_end, .stops = &a->limits.stops, .cancel = &interrupt_came,
               .max_seconds = (double)a->limits.max_seconds, .show = show_text,
               .by_token = a->limits.constraint.rule != NULL};
    r.shift = a->shift, r.keep = a->keep;
    json_t *results = json_array();
    int64_t train = tl_model_n_ctx_train(o->model), room = (int64_t)n + (a->most < 0 ? 2048 : a->most);
    if (n == 0) return fail("generate", "the prompt has no tokens, and the model asks for none at the start: give -p");
    if (train > 0 && room > train) room = (int64_t)n < train ? train : (int64_t)n;
    int status = open_constraint("generate", &a->limits.constraint, o->model, &r.constraint);
    if (status == 0 && a->beam.beams) {
        beam_args b = a->beam;
        b.most = a->most, b.ignore_end = a->limits.ignore_end, b.json = a->json, b.constraint = r.constraint, b.cancel = &interrupt_came;
        interrupt_catch();
        status = beams_generate(&b, &a->model, o, ids, n);
        json_decref(results);
        tl_constraint_free(r.constraint);
        return status;
    }
    // Together, unless something goes from one token or completion to the next.
    if (status == 0 && a->completions > 1 && !a->session && !a->draft && !a->shift && a->logprobs < 0) {
        sampling_fix_seed(&a->sampling);
        const completions_args c = {.model = &a->model, .sampling = &a->sampling, .stops = &a->limits.stops, .constraint = r.constraint, .by_token = r.by_token,
                                    .ignore_end = a->limits.ignore_end, .json = a->json, .max_seconds = r.max_seconds, .most = a->most, .n = a->completions,
                                    .parallel = a->parallel, .cancel = &interrupt_came};
        interrupt_catch();
        status = completions_generate(&c, o, ids, n);
        json_decref(results);
        tl_constraint_free(r.constraint);
        return status;
    }
    if (a->session && room < 4096) room = train > 0 && train < 4096 ? train : 4096; // what was saved may be longer than this
    bool tree = spec_mode(a->spec) == SPEC_TREE;
    if (status == 0 && tree && strcmp(tl_engine_device(o->engine), "cpu") != 0) status = fail("generate", "--spec tree is not there for GPUs");
    if (tree) a->model.n_seq = 2;
    if (status == 0) status = open_session("generate", &a->model, room, 0, o);
    if (status == 0 && a->session && access(a->session, F_OK) == 0) status = reply_load("generate", &r, a->session, NULL);
    r.spec.mode = spec_mode(a->spec);
    opened small = {0};
    if (status == 0 && a->draft) {
        status = speculation_open("generate", a->draft, &a->model, o->model, &small);
        r.spec.small = &small;
    }
    interrupt_catch();
    sampling_fix_seed(&a->sampling);
    for (int i = 0; i < a->completions && status == 0 && !interrupt_came; i++) {
        if (a->completions > 1 && !a->json && i > 0) fprintf(stderr, "[%d of %d]\n", i + 1, a->completions);
        status = complete(a, &r, ids, n, i, results);
    }
    if (status == 0 && a->session) status = reply_save("generate", &r, a->session, NULL);
    if (status == 0 && a->json) {
        json_t *first = json_array_get(results, 0);
        json_t *stamp = json_incref(json_object_get(first, "stamp")), *all = json_pack("{s:O, s:O}", "completions", results, "stamp", stamp);
        if (a->completions > 1) json_object_del(first, "stamp");
        status = print_json(json_incref(a->completions == 1 ? first : all));
        json_decref(stamp), json_decref(all);
    } else if (status == 0 && a->model.verbose) {
        reply_print_speed(&r);
    }
    json_decref(results);
    tl_constraint_free(r.constraint);
    reply_free(&r);
    opened_free(&small);
    return status != 0 ? status : interrupt_came ? 1 : 0;
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

static int generate_many(const generate_args *a) {
    const batch_args b = {.model = &a->model, .sampling = &a->sampling, .stops = &a->limits.stops, .constraint = &a->limits.constraint, .prompts = a->prompts, .out = a->out, .parallel = a->parallel, .most = a->most, .chat = a->chat,
                          .parse_special = a->parse_special, .no_special = a->no_special, .ignore_end = a->limits.ignore_end, .max_seconds = (double)a->limits.max_seconds, .overwrite = a->overwrite, .cancel = &interrupt_came};
    interrupt_catch();
    return batch_generate(&b);
}

int cli_generate(int argc, char **argv) {
    generate_args a = {.sampling = SAMPLING_DEFAULT, .most = 256, .logprobs = -1, .completions = 1, .parallel = 8, .beam = BEAM_DEFAULT};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "prompt", 'p', &a.prompt, "TEXT", "the text to continue", 0, 0},
        {ARG_TEXT, "file", 'f', &a.file, "FILE", "the text is in FILE; - is stdin", 0, 0},
        {ARG_I64, "n-predict", 'n', &a.most, "N", "at most N tokens; -1: until the end token (default: 256)", -1, 1e9},
        {ARG_FLAG, "chat", 0, &a.chat, NULL, "the text is a user's message in the model's chat template", 0, 0},
        {ARG_FLAG, "parse-special", 0, &a.parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "no-special", 0, &a.no_special, NULL, "do not add the special tokens that the model asks for", 0, 0},
        {ARG_INT, "n", 0, &a.completions, "N", "N completions of the one prompt (default: 1)", 1, 100000},
        REPLY_OPTIONS(a.limits),
        {ARG_FLAG, "json", 0, &a.json, NULL, "text, counts, why it stopped and speed", 0, 0},
        {ARG_INT, "logprobs", 0, &a.logprobs, "K", "with --json: each token's log-probability and the K best", 0, LOGPROBS_MOST},
        {ARG_TEXT, "chat-template", 0, &a.model.chat_template, "FILE", "Jinja template instead of the file's", 0, 0},
        {ARG_HEADING, "Many texts at once", 0, NULL, NULL, NULL, 0, 0},
        {ARG_TEXT, "prompts", 0, &a.prompts, "FILE", "one JSON object a line: prompt or messages, max_tokens, seed, stop, ...", 0, 0},
        {ARG_TEXT, "out", 0, &a.out, "FILE", "results, in the order of the prompts; a run that was killed is gone on with", 0, 0},
        {ARG_INT, "parallel", 0, &a.parallel, "N", "how many side by side, also of --n (default: 8)", 1, 256},
        {ARG_FLAG, "overwrite", 0, &a.overwrite, NULL, "results of other prompts in --out are thrown away", 0, 0},
        {ARG_FLAG, "context-shift", 0, &a.shift, NULL, "a full cache forgets the older half of the text and goes on", 0, 0},
        {ARG_I64, "keep", 0, &a.keep, "N", "but not its first N tokens (default: 0)", 0, 1e9},
        {ARG_TEXT, "session", 0, &a.session, "FILE", "keep the cache in FILE: a text that begins alike computes only the rest", 0, 0},
        BEAM_OPTIONS(a.beam),
        {ARG_HEADING, "Speculation (the text is the same with and without)", 0, NULL, NULL, NULL, 0, 0},
        {ARG_TEXT, "spec", 0, &a.spec, "HOW", "guess from the text: ngram, tree (two ways), off, auto: if it pays (default: auto)", 0, 0},
        {ARG_TEXT, "draft", 0, &a.draft, "MODEL", "guess with a small model of the same vocabulary", 0, 0},
        CONSTRAINT_OPTIONS(a.limits.constraint), SAMPLING_OPTIONS(a.sampling), MODEL_OPTIONS(a.model), INSIDE_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "generate", .usage = "[-m MODEL] (-p TEXT | -f FILE | --prompts FILE) [options]", .options = options, .most = 1,
        .about = "Continues a text; only the continuation goes to stdout. Without -p and -f it reads stdin."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (a.logprobs >= 0 && !a.json) return args_wrong("generate", "--logprobs needs --json");
    if (a.prompts && (a.prompt || a.file)) return args_wrong("generate", "give either --prompts FILE or one prompt with -p or -f");
    if (!a.prompts && (a.out || a.overwrite)) return args_wrong("generate", "--out and --overwrite go with --prompts FILE");
    if (a.prompts && a.completions > 1) return args_wrong("generate", "with --prompts there is no --n: give a line several times");
    if (a.prompts && (a.logprobs >= 0 || a.draft || a.shift)) return args_wrong("generate", "--logprobs, --draft and --context-shift go with one prompt");
    if (a.session && a.model.set.n) return args_wrong("generate", "a cache that patches changed is not kept: give either --session or --set");
    if (a.session && (a.prompts || a.beam.beams)) return args_wrong("generate", "--session goes with one prompt");
    if (a.prompts && a.beam.beams) return args_wrong("generate", "give either --prompts or --beams");
    if (a.beam.beams && (a.completions > 1 || a.logprobs >= 0)) return args_wrong("generate", "with --beams there are neither --n nor --logprobs; --n-best shows more than one");
    if (spec_mode(a.spec) < 0)
        return args_wrong("generate", "--spec: auto, ngram, tree or off is wanted, not \"%s\"", a.spec);
    if (a.prompt && a.file) return args_wrong("generate", "give either -p TEXT or -f FILE");
    if (first < argc && (status = args_positional("generate", argv[first], &a.model.model)) >= 0) return status;
    return a.prompts ? generate_many(&a) : generate(&a);
}
