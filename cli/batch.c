// batch.c - running the lines of a batch (batch.h) through tl_batch_*.
#include "batch.h"
#include "progress.h"
#include "said.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct runner {
    const batch_args *a;
    opened o;
    batch_lines lines;
    batch_store store;
    progress bar;
    int64_t tokens, prompt_tokens; // of replies and prompts so far
    size_t before;                 // lines that were done at the start
    double started;
    struct running **jobs;         // [lines.n], NULL where there is nothing to do (any more)
    int status, fatal;             // of lines that failed; of what ends the whole
} runner;

typedef struct running { // one job
    runner *r;
    size_t index;
    int32_t *ids;
    size_t n_ids;
    tl_sampler *sampler;
    said_text said;
} running;

// ---- one reply -----------------------------------------------------------------------------------
static void free_running(running *j) {
    j->r->jobs[j->index] = NULL;
    tl_free(j->ids);
    tl_sampler_free(j->sampler);
    said_free(&j->said);
    free(j);
}

static bool on_token(void *ctx, int32_t id) {
    running *j = ctx;
    j->r->tokens++;
    bool goes_on = said_token(&j->said, id);
    if (j->said.failed) j->r->fatal = fail("generate", "out of memory");
    return goes_on;
}

static char *result_of(running *j, const char *stop, const char *problem) {
    const batch_line *l = &j->r->lines.p[j->index];
    char key[24];
    snprintf(key, sizeof key, "%016llx", (unsigned long long)l->key);
    json_t *v = json_pack("{s:I}", "index", (json_int_t)j->index), *id = json_object_get(l->said, "id");
    if (id) json_object_set(v, "id", id);
    if (problem) json_object_set_new(v, "error", json_bytes(problem, strlen(problem)));
    else json_object_set_new(v, "text", json_bytes(j->said.text ? j->said.text : "", j->said.n));
    if (!problem) json_object_set_new(v, "prompt_tokens", json_integer((json_int_t)j->n_ids));
    if (!problem) json_object_set_new(v, "tokens", json_integer((json_int_t)j->said.tokens));
    if (!problem) json_object_set_new(v, "stop", json_string(stop));
    if (!problem && j->said.constraint) json_object_set_new(v, "completed_bytes", json_integer((json_int_t)j->said.completed));
    json_object_set_new(v, "key", json_string(key));
    char *text = json_dumps(v, JSON_COMPACT);
    json_decref(v);
    return text;
}

static void keep_result(running *j, const char *stop, const char *problem) {
    runner *r = j->r;
    char *text = result_of(j, stop, problem);
    int status = text ? batch_store_add(&r->store, &r->lines, j->index, text) : fail("generate", "out of memory");
    if (problem) r->status = 1;
    if (status != 0) r->fatal = status;
    free_running(j);
}

static void on_done(void *ctx, tl_job_end why, const tl_error *err) {
    running *j = ctx;
    tl_error wrong;
    if (said_end(&j->said, &wrong) != TL_OK && !err) err = &wrong;
    if (j->said.failed) j->r->fatal = fail("generate", "out of memory");
    keep_result(j, said_stop(&j->said, why), err ? err->message : NULL);
}

// ---- all of them ---------------------------------------------------------------------------------
static tl_status tokens_of(const runner *r, const batch_line *l, int32_t **ids, size_t *n, tl_error *err) {
    const batch_args *a = r->a;
    unsigned flags = (a->no_special ? 0 : TL_ADD_SPECIAL) | (a->parse_special ? TL_PARSE_SPECIAL : 0);
    const tl_message message = {"user", l->text};
    if (l->messages) return tl_chat_tokenize(r->o.model, l->messages, l->n_messages, true, NULL, ids, n, err);
    if (a->chat) return tl_chat_tokenize(r->o.model, &message, 1, true, NULL, ids, n, err);
    return tl_tokenize(r->o.model, l->text, strlen(l->text), flags, ids, n, err);
}

// A session for `parallel` sequences of the longest kind there is, if -c does not say otherwise.
static int open_wide(runner *r) {
    const model_args *m = r->a->model;
    int64_t train = tl_model_n_ctx_train(r->o.model), longest = 16, parallel = r->a->parallel, left = (int64_t)(r->lines.n - r->before);
    for (size_t i = 0; i < r->lines.n; i++) {
        if (!r->jobs[i]) continue;
        int64_t n = (int64_t)r->jobs[i]->n_ids, need = n + (r->lines.p[i].most < 0 ? 2048 : r->lines.p[i].most);
        if (train > 0 && need > train) need = n < train ? train : n;
        if (need > longest) longest = need;
    }
    if (parallel > left && left > 0) parallel = left;
    tl_error err;
    const char *patches[MOST_PATCHES + 1];
    tl_session_options options = {.n_ctx = m->n_ctx ? m->n_ctx : longest * parallel, .n_batch = m->n_batch, .n_seq = (int32_t)parallel,
                                        .cache_type = m->cache_type, .keep_released = true};
    inside_session(m, patches, &options);
    return tl_session_new(r->o.model, &options, &r->o.session, &err) == TL_OK ? 0 : fail_with("generate", &err);
}

// The jobs of the lines that are not done, with their tokens; a line that has none gets its result at once.
static int prepare(runner *r) {
    tl_error err;
    for (size_t i = 0; i < r->lines.n; i++) {
        batch_line *l = &r->lines.p[i];
        running *j = l->result ? NULL : calloc(1, sizeof *j);
        if (l->result) continue;
        if (!j) return fail("generate", "out of memory");
        j->r = r, j->index = i;
        j->said = (said_text){.model = r->o.model, .stops = &l->stops, .max_seconds = r->a->max_seconds, .constraint = l->fits, .by_token = l->constraint_kind == TL_CONSTRAINT_RULE_FILE};
        r->jobs[i] = j;
        tl_status st = tokens_of(r, l, &j->ids, &j->n_ids, &err);
        if (st != TL_OK || j->n_ids == 0) keep_result(j, NULL, st == TL_OK ? "the prompt has no tokens" : err.message);
    }
    return 0;
}

static int start_job(runner *r, tl_batch *b, running *j) {
    const batch_line *l = &r->lines.p[j->index];
    tl_error err;
    tl_job job = {.ids = j->ids, .n = j->n_ids, .most = l->most, .ignore_end = l->ignore_end, .constraint = l->fits, .token = on_token, .done = on_done, .ctx = j};
    int status = open_sampler("generate", &l->sampling, r->o.model, false, &j->sampler);
    if (status == 0 && said_open(&j->said, &err) != TL_OK) status = fail_with("generate", &err);
    job.sampler = j->sampler;
    if (status == 0 && tl_batch_add(b, &job, &err) != TL_OK) keep_result(j, NULL, err.message);
    r->prompt_tokens += (int64_t)job.n;
    return status;
}

static void show_progress(runner *r) {
    char note[100];
    double passed = seconds_now() - r->started;
    snprintf(note, sizeof note, "%.0f tokens/s", passed > 0 ? (double)r->tokens / passed : 0);
    progress_update(&r->bar, (int64_t)r->lines.done, note);
}

static int run_jobs(runner *r) {
    running **jobs = r->jobs;
    tl_batch *b = NULL;
    tl_error err;
    size_t next = 0;
    if (tl_batch_new(r->o.session, &b, &err) != TL_OK) return fail_with("generate", &err);
    progress_start(&r->bar, "generating", (int64_t)r->lines.n, (int64_t)r->lines.done, false);
    r->bar.unit = "lines";
    r->started = seconds_now();
    while (r->fatal == 0 && !*r->a->cancel) {
        while (next < r->lines.n && !jobs[next]) next++;
        const tl_job probe = next < r->lines.n ? (tl_job){.n = jobs[next]->n_ids, .most = r->lines.p[next].most} : (tl_job){0};
        if (next < r->lines.n && tl_batch_fits(b, &probe)) {
            r->fatal = start_job(r, b, jobs[next++]);
            continue;
        }
        if (tl_batch_active(b) == 0) break;
        if (tl_batch_step(b, &err) != TL_OK) r->fatal = fail_with("generate", &err);
        show_progress(r);
    }
    progress_end(&r->bar);
    tl_batch_free(b);
    return r->fatal;
}

static int run_all(runner *r) {
    r->jobs = calloc(r->lines.n, sizeof *r->jobs);
    if (!r->jobs) return fail("generate", "out of memory");
    r->before = r->lines.done;
    int status = batch_open_constraints(r->a, r->o.model, &r->lines);
    if (status == 0) status = prepare(r);
    if (status == 0) status = open_wide(r);
    if (status == 0) status = run_jobs(r);
    for (size_t i = 0; i < r->lines.n; i++)
        if (r->jobs[i]) free_running(r->jobs[i]);
    free(r->jobs);
    return status;
}

static void tell(const runner *r) {
    double passed = seconds_now() - r->started;
    if (r->before > 0) fprintf(stderr, "[%zu of %zu lines were done already]\n", r->before, r->lines.n);
    if (r->lines.done > r->before && passed > 0)
        fprintf(stderr, "[%zu lines, %lld tokens of prompts, %lld of replies in %.1f s: %.1f tokens/s]\n", r->lines.done - r->before,
                (long long)r->prompt_tokens, (long long)r->tokens, passed, (double)r->tokens / passed);
    if (r->lines.done < r->lines.n && r->store.file >= 0)
        fprintf(stderr, "[stopped: %zu of %zu lines are kept in %s; the same command goes on]\n", r->lines.done, r->lines.n, r->store.part);
}

// Of what opened the model: another file under the same name gives other results.
static uint64_t model_key(const runner *r) {
    struct stat st;
    const char *path = tl_model_path(r->o.model), *name = strrchr(path, '/');
    uint64_t h = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
    for (const char *p = name ? name : path; *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    for (const char *p = r->a->model->program; p && *p; p++) h = (h ^ (uint8_t)*p) * 0x100000001b3u;
    return h;
}

int batch_generate(const batch_args *a) {
    runner r = {.a = a, .store.file = -1};
    int status = open_model("generate", a->model, TL_MODEL_WHOLE, &r.o);
    if (status != 0) return status;
    status = batch_read(a, model_key(&r), &r.lines);
    if (status == 0) status = batch_store_open(&r.store, a, &r.lines);
    r.started = seconds_now();
    if (status == 0 && r.lines.done < r.lines.n) status = run_all(&r);
    else r.before = r.lines.done;
    if (status == 0) status = r.status;
    if (status <= 1 && r.lines.done == r.lines.n && r.lines.n > 0) {
        int finished = batch_store_finish(&r.store, &r.lines);
        if (finished != 0) status = finished;
    }
    if (r.lines.n > 0) tell(&r);
    if (status == 0 && r.lines.done < r.lines.n) status = 1;
    batch_store_close(&r.store);
    batch_lines_free(&r.lines);
    opened_free(&r.o);
    return status;
}
