// completions.c - see completions.h.
#include "completions.h"
#include "progress.h"
#include "reply.h"
#include "said.h"
#include "stamp.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct voice { // one completion
    struct choir *c;
    said_text said;
    tl_sampler *sampler;
    const char *stop;     // once it is over
} voice;

typedef struct choir {
    const completions_args *a;
    opened *o;
    voice *voices;        // [a->n]
    int begun, over, shown;
    int64_t tokens;
    double started, prompt_seconds;
    int status;
} choir;

static bool on_token(void *ctx, int32_t id) {
    voice *v = ctx;
    if (v->c->prompt_seconds == 0) v->c->prompt_seconds = seconds_now() - v->c->started;
    v->c->tokens++;
    bool goes_on = said_token(&v->said, id);
    if (v->said.failed) v->c->status = fail("generate", "out of memory");
    return goes_on;
}

// Texts go out in order, each once it is whole; as JSON all of them at the end.
static void show_finished(choir *c) {
    for (; c->shown < c->begun && c->voices[c->shown].stop && !c->a->json; c->shown++) {
        const voice *v = &c->voices[c->shown];
        if (c->shown > 0) fprintf(stderr, "[%d of %d]\n", c->shown + 1, c->a->n);
        print_reply_text(v->said.text ? v->said.text : "", v->said.n);
        putchar('\n');
        fflush(stdout);
    }
}

static void on_done(void *ctx, tl_job_end why, const tl_error *err) {
    voice *v = ctx;
    tl_error wrong;
    if (said_end(&v->said, &wrong) != TL_OK && !err) err = &wrong;
    if (err) v->c->status = fail_with("generate", err);
    v->stop = said_stop(&v->said, why);
    if (why == TL_JOB_LENGTH && v->c->a->most < 0) v->stop = "context";
    v->c->over++;
}

static int begin(choir *c, tl_batch *b, tl_job *job) {
    voice *v = &c->voices[c->begun];
    const completions_args *a = c->a;
    sampling_args sampling = *a->sampling;
    tl_error err;
    v->c = c;
    v->said = (said_text){.model = c->o->model, .stops = a->stops, .constraint = a->constraint, .by_token = a->by_token, .max_seconds = a->max_seconds};
    sampling.s.sequence = (uint64_t)c->begun;
    int status = open_sampler("generate", &sampling, c->o->model, a->model->verbose && c->begun == 0, &v->sampler);
    c->begun++;
    if (status == 0 && said_open(&v->said, &err) != TL_OK) status = fail_with("generate", &err);
    job->sampler = v->sampler, job->constraint = a->constraint, job->jumped = &v->said.jumped, job->ctx = v;
    if (status == 0 && tl_batch_add(b, job, &err) != TL_OK) status = fail_with("generate", &err);
    return status;
}

static int run(choir *c, const int32_t *ids, size_t n, int64_t room) {
    const completions_args *a = c->a;
    tl_job job = {.ids = ids, .n = n, .most = a->most < 0 ? room : a->most, .ignore_end = a->ignore_end, .token = on_token, .done = on_done};
    progress bar;
    tl_error err;
    tl_batch *b;
    if (tl_batch_new(c->o->session, &b, &err) != TL_OK) return fail_with("generate", &err);
    c->started = seconds_now();
    progress_start(&bar, "generating", a->n, 0, isatty(STDERR_FILENO) != 1);
    bar.unit = "completions";
    while (c->status == 0 && !*a->cancel) {
        if (c->begun < a->n && tl_batch_fits(b, &job)) {
            c->status = begin(c, b, &job);
            continue;
        }
        if (tl_batch_active(b) == 0) break;
        if (tl_batch_step(b, &err) != TL_OK) c->status = fail_with("generate", &err);
        if (c->shown < c->begun && c->voices[c->shown].stop && !a->json) progress_end(&bar);
        show_finished(c);
        progress_update(&bar, c->over, "");
    }
    progress_end(&bar);
    tl_batch_free(b);
    return c->status;
}

// ---- what goes out -------------------------------------------------------------------------------
static int print_all(const choir *c, const int32_t *ids, size_t n) {
    double passed = seconds_now() - c->started;
    json_t *list = json_array();
    for (int i = 0; i < c->begun; i++) {
        const said_text *s = &c->voices[i].said;
        if (!c->voices[i].stop) continue; // cancelled
        json_t *j = json_pack("{s:o, s:I, s:I, s:s}", "text", json_bytes(s->text ? s->text : "", s->n), "prompt_tokens", (json_int_t)n, "tokens", (json_int_t)s->tokens, "stop", c->voices[i].stop);
        if (s->out.stopped) json_object_set_new(j, "stop_text", json_bytes(s->out.stopped, strlen(s->out.stopped)));
        if (s->constraint) json_object_set_new(j, "completed_bytes", json_integer((json_int_t)s->completed));
        if (s->constraint) json_object_set_new(j, "tokens_without_choice", json_integer((json_int_t)s->jumped));
        json_array_append_new(list, j);
    }
    json_t *stamp = stamp_json(c->o, c->voices[0].sampler, c->a->sampling->seed, ids, n);
    return print_json(json_pack("{s:o, s:o, s:o, s:o}", "completions", list, "prompt_tokens_per_second", json_real_or_null((double)n / c->prompt_seconds),
                                "tokens_per_second", json_real_or_null((double)c->tokens / (passed - c->prompt_seconds)), "stamp", stamp));
}

int completions_generate(const completions_args *a, opened *o, const int32_t *ids, size_t n) {
    const model_args *m = a->model;
    const char *patches[MOST_PATCHES + 1];
    int64_t train = tl_model_n_ctx_train(o->model), room = a->most < 0 ? 2048 : a->most, side = a->n < a->parallel ? a->n : a->parallel;
    if (train > 0 && (int64_t)n + room > train) room = (int64_t)n < train ? train - (int64_t)n : 1;
    if (m->n_ctx) room = m->n_ctx - (int64_t)n + 1;
    tl_session_options options = {.n_ctx = m->n_ctx ? m->n_ctx : ((int64_t)n + room) * side, .n_batch = m->n_batch, .n_seq = (int32_t)side, .cache_type = m->cache_type, .keep_released = true};
    inside_session(m, patches, &options);
    choir c = {.a = a, .o = o, .voices = calloc((size_t)a->n, sizeof *c.voices)};
    tl_error err;
    if (!c.voices) return fail("generate", "out of memory");
    int status = tl_session_new(o->model, &options, &o->session, &err) == TL_OK ? 0 : fail_with("generate", &err);
    if (status == 0) status = run(&c, ids, n, room);
    if (status == 0 && a->json) status = print_all(&c, ids, n);
    else if (status == 0 && m->verbose) fprintf(stderr, "[prompt %zu tokens, replies %lld tokens in %.2f s]\n", n, (long long)c.tokens, seconds_now() - c.started);
    for (int i = 0; i < c.begun; i++) said_free(&c.voices[i].said), tl_sampler_free(c.voices[i].sampler);
    free(c.voices);
    return status != 0 ? status : *a->cancel ? 1 : 0;
}
