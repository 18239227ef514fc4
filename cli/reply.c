// reply.c - see reply.h.
#include "reply.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool token_list_add(token_list *l, int32_t id) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 1024;
        int32_t *grown = realloc(l->p, cap * sizeof *grown);
        if (!grown) return false;
        l->p = grown, l->cap = cap;
    }
    l->p[l->n++] = id;
    return true;
}

const char *stop_name(stop_reason s) {
    static const char *const names[] = {"end", "length", "context", "cancelled", "stop", "time", "stuck"};
    return names[s];
}

void reply_free(reply *r) {
    free(r->held.p);
    r->held = (token_list){0};
    speculation_free(&r->spec);
}

void print_reply_text(const char *text, size_t n) {
    if (isatty(STDOUT_FILENO) != 1) {
        fwrite(text, 1, n, stdout);
    } else {
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)text[i] >= ' ' || text[i] == '\n' || text[i] == '\t') putchar(text[i]);
    }
    fflush(stdout);
}

static tl_status no_memory(tl_error *err) {
    *err = (tl_error){.code = TL_E_MEMORY, .offset = -1, .message = "out of memory"};
    return TL_E_MEMORY;
}

// The cache may hold more of the tokens than were recorded (a cancelled prompt) or fewer; its own length decides.
static void keep_common(reply *r, const int32_t *ids, size_t n) {
    size_t common = 0, held = (size_t)tl_seq_length(r->o->session, 0);
    if (held > r->held.n) held = r->held.n;
    while (common < n && common < held && r->held.p[common] == ids[common]) common++;
    if (common == n && n > 0) common--; // the last one is computed again, for its logits
    tl_seq_cut(r->o->session, 0, (int64_t)common);
    r->held.n = (size_t)tl_seq_length(r->o->session, 0); // with a sliding window it may have become empty
}

static tl_status compute_prompt(reply *r, const int32_t *ids, size_t n, const float **logits, tl_error *err) {
    size_t before = r->held.n;
    keep_common(r, ids, n);
    size_t from = r->held.n;
    if (from < before) { // what was sampled is not what the text has now: the sampler sees the text
        uint64_t position = tl_sampler_position(r->sampler);
        tl_sampler_reset(r->sampler);
        tl_sampler_seek(r->sampler, position);
        for (size_t i = 0; i < from; i++) tl_sampler_accept(r->sampler, ids[i]);
    }
    r->prompt_tokens = (int64_t)n, r->prompt_computed = (int64_t)(n - from);
    for (size_t i = from; i < n; i++) {
        if (!token_list_add(&r->held, ids[i])) return no_memory(err);
        tl_sampler_accept(r->sampler, ids[i]);
    }
    double start = seconds_now();
    tl_status status = tl_session_prompt(r->o->session, 0, ids + from, n - from, logits, r->cancel, err);
    r->held.n = (size_t)tl_seq_length(r->o->session, 0);
    r->prompt_seconds += seconds_now() - start;
    r->all_prompt += (int64_t)(r->held.n - from);
    return status;
}

// ---- one reply ---------------------------------------------------------------------------------
typedef struct turn {
    reply *r;
    const float *logits;    // of the next token; those behind guesses follow. NULL: they are where the session chooses
    bool ahead;             // the step of the token that is being chosen has begun
    int32_t guess[DRAFT_MOST];
    size_t n_guess, at;     // guesses in the cache, and how many of them have come true
    int32_t branch[BRANCH_MOST]; // other guesses for the same place, in sequence 1
    size_t n_branch, n_all; // n_all: rows of guesses in the step
    double step_start, step_seconds;
    tl_decoder *decoder;
    text_output out;
    double start;
    uint64_t *mask;         // a copy without end tokens, for ignore_end
    uint32_t state, shown;  // of the constraint: after the tokens, after what has been shown
    tl_error *err;
} turn;

// What is shown under a constraint moves a state along, so that it can be made whole wherever it is cut.
static void show_text(void *ctx, const char *text, size_t n) {
    turn *t = ctx;
    if (t->r->constraint && tl_constraint_next_text(t->r->constraint, t->shown, text, n, &t->shown, NULL) != TL_OK) t->shown = 0;
    t->r->show(t->r->ctx, text, n);
}

// A decoder mends what is not UTF-8; under a constraint on bytes a token's bytes are text as they are.
static tl_status put_token(turn *t, int32_t id) {
    size_t n = 0;
    const char *text;
    if (t->r->constraint && !t->r->by_token) {
        text = tl_token_text(t->r->o->model, id, false, &n);
    } else {
        text = tl_decoder_put(t->decoder, id);
        n = strlen(text);
    }
    return output_put(&t->out, text, n) ? TL_OK : no_memory(t->err);
}

static bool limit_reached(turn *t) {
    reply *r = t->r;
    if (r->cancel && *r->cancel) return r->stop = STOP_CANCELLED, true;
    if (t->out.stopped) return r->stop = STOP_TEXT, r->stop_text = t->out.stopped, true;
    if (r->most >= 0 && r->reply_tokens >= r->most) return r->stop = STOP_LENGTH, true;
    if (r->max_seconds > 0 && seconds_now() - t->start >= r->max_seconds) return r->stop = STOP_TIME, true;
    return false;
}

// The mask (NULL: everything) without the tokens that end a reply.
static tl_status without_ends(turn *t, const uint64_t **mask, bool *any) {
    const tl_model *m = t->r->o->model;
    int64_t n = tl_model_n_vocab(m), words = (n + 63) / 64;
    if (!t->mask && !(t->mask = malloc(sizeof *t->mask * (size_t)words))) return no_memory(t->err);
    *any = false;
    for (int64_t w = 0; w < words; w++) {
        uint64_t bits = *mask ? (*mask)[w] : UINT64_MAX;
        for (uint64_t rest = bits; rest; rest &= rest - 1)
            if (tl_token_is_end(m, (int32_t)(64 * w + __builtin_ctzll(rest)))) bits &= ~(rest & -rest);
        t->mask[w] = bits;
        *any |= bits != 0;
    }
    *mask = t->mask;
    return TL_OK;
}

// What may come next. Without a constraint the mask is made once, where one is needed at all.
static tl_status allowed(turn *t, const uint64_t **mask, bool *any) {
    reply *r = t->r;
    *mask = t->mask, *any = true;
    if (!r->constraint) return r->ignore_end && !t->mask ? without_ends(t, mask, any) : TL_OK;
    tl_status status = tl_constraint_mask(r->constraint, t->state, mask, any, t->err);
    if (status == TL_OK && r->ignore_end && tl_constraint_may_end(r->constraint, t->state)) status = without_ends(t, mask, any);
    return status;
}

// May the step of a token begin before the token is known? Not where guesses or forced tokens may join it, nor where it may
// be the last.
static bool may_go_ahead(const turn *t) {
    const reply *r = t->r;
    const speculation *p = &r->spec;
    bool guesses = p->mode == SPEC_NGRAM || (p->mode == SPEC_AUTO && p->wait == 0);
    return !guesses && !r->constraint && (r->most < 0 || r->reply_tokens + 1 < r->most) && tl_session_free_slots(r->o->session) > 0;
}

// Where the session has the logits.
static tl_status choose_there(turn *t, const uint64_t *mask, int32_t *id) {
    reply *r = t->r;
    tl_session *s = r->o->session;
    tl_status status = tl_session_choose(s, &r->sampler, &mask, NULL, t->err);
    if (status == TL_OK && may_go_ahead(t)) {
        const tl_row row = {.token = TL_CHOSEN(0), .logits = true};
        status = tl_session_step(s, &row, 1, NULL, t->err);
        t->ahead = status == TL_OK;
        if (r->spec.wait > 0) r->spec.wait--;
    }
    if (status == TL_OK) status = tl_session_chosen(s, id, t->err);
    if (status == TL_OK && t->step_start > 0 && !t->ahead) speculation_report(&r->spec, 0, 0, seconds_now() - t->step_start);
    t->step_start = 0;
    return status;
}

// The step that was begun for a token which is not wanted.
static void drop_ahead(turn *t) {
    tl_session *s = t->r->o->session;
    if (t->ahead) tl_seq_cut(s, 0, tl_seq_length(s, 0) - 1);
    t->ahead = false;
}

// The next token; -1 with r->stop set: there is none.
static tl_status choose(turn *t, int32_t *id) {
    reply *r = t->r;
    const uint64_t *mask;
    bool any;
    *id = -1;
    tl_status status = allowed(t, &mask, &any);
    if (status != TL_OK) return status;
    if (any && t->logits) *id = tl_sampler_pick_masked(r->sampler, t->logits, tl_model_n_vocab(r->o->model), mask);
    else if (any && (status = choose_there(t, mask, id)) != TL_OK) return status;
    if (*id >= 0) return TL_OK;
    if (r->constraint) return r->stop = tl_constraint_may_end(r->constraint, t->state) ? STOP_END : STOP_STUCK, TL_OK;
    *t->err = (tl_error){.code = TL_E_FORMAT, .offset = -1, .message = "all logits are NaN: the model's weights are broken; `tl doctor` tells where"};
    return t->err->code;
}

// A token of the reply, chosen or forced.
static tl_status take(turn *t, int32_t id) {
    reply *r = t->r;
    tl_sampler_accept(r->sampler, id);
    if (r->constraint) {
        tl_status status = tl_constraint_next(r->constraint, t->state, id, &t->state, t->err);
        if (status != TL_OK) return status;
    }
    r->reply_tokens++, r->all_reply++;
    return put_token(t, id);
}

enum { JUMP_MOST = 63 };
// Where nothing but one text can follow, its tokens are taken without asking the model, all but the last: the text behind it
// may go on in the same token.
static tl_status jump(turn *t, tl_row *rows, size_t *n) {
    reply *r = t->r;
    size_t n_ids, most = JUMP_MOST, free_slots = (size_t)tl_session_free_slots(r->o->session);
    int32_t ids[JUMP_MOST];
    if (!r->constraint || r->chosen || t->out.stopped) return TL_OK;
    if (r->most >= 0 && (size_t)(r->most - r->reply_tokens) < most) most = (size_t)(r->most - r->reply_tokens);
    if (free_slots < most + *n) most = free_slots > *n ? free_slots - *n : 0;
    tl_status status = tl_constraint_jump(r->constraint, t->state, ids, most, &n_ids, t->err);
    for (size_t i = 0; i < n_ids && status == TL_OK && !t->out.stopped; i++) {
        status = take(t, ids[i]);
        rows[(*n)++] = (tl_row){.token = ids[i]};
        r->jumped++;
    }
    if (n_ids) tl_sampler_seek(r->sampler, tl_sampler_position(r->sampler) + n_ids);
    return status;
}

// Guesses that may go into the next step behind the n rows: the reply's end and the cache's are where they were without them.
static void guess(turn *t, size_t n) {
    reply *r = t->r;
    int64_t most = DRAFT_MOST, batch = tl_session_n_batch(r->o->session), slots = tl_session_free_slots(r->o->session);
    if (r->most >= 0 && r->most - r->reply_tokens - 1 < most) most = r->most - r->reply_tokens - 1;
    if (batch - (int64_t)n < most) most = batch - (int64_t)n;
    if (slots - (int64_t)n < most) most = slots - (int64_t)n;
    t->n_branch = 0;
    t->n_guess = most > 0 && n == 1 ? speculation_guess(&r->spec, t->guess, (size_t)most, r->spec.mode == SPEC_TREE ? t->branch : NULL, &t->n_branch) : 0;
    t->n_all = t->n_guess + t->n_branch;
}

static tl_status compute(turn *t, tl_row *rows, size_t n) { // STOP_CONTEXT in r->stop where there is no room
    reply *r = t->r;
    tl_status status = TL_OK;
    t->step_start = seconds_now();
    for (size_t i = 0; i < n && status == TL_OK; i++)
        if (!speculation_add(&r->spec, rows[i].token)) status = no_memory(t->err);
    guess(t, n);
    for (size_t i = 0; i < t->n_guess; i++) rows[n + i] = (tl_row){.token = t->guess[i], .logits = true};
    for (size_t i = 0; i < t->n_branch; i++) rows[n + t->n_guess + i] = (tl_row){.token = t->branch[i], .seq = 1, .logits = true};
    rows[n - 1].logits = true;
    rows[0].also = t->n_branch > 0; // both branches grow from it (n is 1)
    if (t->n_branch > 0 && status == TL_OK) status = tl_seq_fork(r->o->session, 0, 1, t->err);
    bool there = !r->chosen && !t->n_guess && tl_session_chooses_ahead(r->o->session, r->sampler);
    t->logits = NULL;
    size_t batch = (size_t)tl_session_n_batch(r->o->session), from = 0;
    for (; n + t->n_all - from > batch && status == TL_OK; from += batch) status = tl_session_step(r->o->session, rows + from, batch, NULL, t->err);
    if (status == TL_OK) status = tl_session_step(r->o->session, rows + from, n + t->n_all - from, there ? NULL : &t->logits, t->err);
    if (status != TL_OK) {
        tl_seq_cut(r->o->session, 1, 0);
        t->n_guess = t->n_branch = 0;
    }
    if (there) t->step_start = n == 1 ? t->step_start : 0; // its time is known when the next token is
    else if (n == 1 && !t->n_guess) speculation_report(&r->spec, 0, 0, seconds_now() - t->step_start);
    else t->step_seconds = seconds_now() - t->step_start;
    t->at = 0;
    for (size_t i = 0; i < n && status == TL_OK; i++)
        if (!token_list_add(&r->held, rows[i].token)) status = no_memory(t->err);
    return status;
}

// The guesses that did not come true leave the cache.
static void end_guesses(turn *t) {
    tl_session *s = t->r->o->session;
    if (!t->n_guess) return;
    tl_seq_cut(s, 0, tl_seq_length(s, 0) - (int64_t)(t->n_guess - t->at));
    tl_seq_cut(s, 1, 0);
    speculation_report(&t->r->spec, t->n_all, t->at, t->step_seconds);
    t->n_guess = t->at = t->n_branch = 0;
}

// The text goes on as the branch says: sequence 1 takes the place of the trunk's guesses.
static tl_status take_branch(turn *t) {
    tl_session *s = t->r->o->session;
    tl_status status = tl_seq_fork(s, 1, 0, t->err);
    tl_seq_cut(s, 1, 0);
    t->logits += (int64_t)t->n_guess * tl_model_n_vocab(t->r->o->model); // behind the token's own: those of the other guesses
    memcpy(t->guess, t->branch, t->n_branch * sizeof *t->guess);
    t->n_guess = t->n_branch;
    t->n_branch = 0;
    return status;
}

// Has the token been guessed? Then the logits of the one after it are there already.
static bool guessed(turn *t, int32_t id, tl_status *status) {
    reply *r = t->r;
    if (t->at == 0 && t->n_branch > 0 && t->branch[0] == id) *status = take_branch(t);
    if (t->at == t->n_guess || t->guess[t->at] != id) return end_guesses(t), false;
    t->at++;
    t->logits += tl_model_n_vocab(r->o->model);
    if (!token_list_add(&r->held, id) || !speculation_add(&r->spec, id)) *status = no_memory(t->err);
    return true;
}

// Makes room: what stays is computed anew where it stands now, as if the rest had never been.
static tl_status shift(turn *t) {
    reply *r = t->r;
    tl_session *s = r->o->session;
    size_t n = r->held.n, keep = r->keep > 0 && (size_t)r->keep < n ? (size_t)r->keep : 0, gone = (n - keep) / 2;
    if (gone == 0) return TL_E_LIMIT;
    memmove(r->held.p + keep, r->held.p + keep + gone, (n - keep - gone) * sizeof *r->held.p);
    r->held.n = n - gone;
    fprintf(stderr, "[the cache of %lld tokens is full: %zu of them are forgotten]\n", (long long)tl_session_n_ctx(s), gone);
    tl_seq_cut(s, 0, (int64_t)keep);
    tl_status status = r->held.n > keep ? tl_session_prompt(s, 0, r->held.p + keep, r->held.n - keep, NULL, r->cancel, t->err) : TL_OK;
    if (status == TL_OK && !speculation_set(&r->spec, r->held.p, r->held.n)) status = no_memory(t->err);
    return status;
}

static tl_status sample_reply(turn *t) {
    reply *r = t->r;
    tl_row rows[JUMP_MOST + 1 + DRAFT_MOST];
    while (!limit_reached(t)) {
        int32_t id;
        size_t n = 0;
        tl_status status = choose(t, &id);
        if (status != TL_OK || id < 0) return status;
        if (!r->ignore_end && tl_token_is_end(r->o->model, id)) return r->stop = STOP_END, tl_sampler_accept(r->sampler, id), TL_OK;
        if (r->chosen) r->chosen(r->ctx, t->logits, tl_model_n_vocab(r->o->model), id);
        status = take(t, id);
        if (status != TL_OK) return status;
        if (limit_reached(t)) return TL_OK; // the next token's logits are not wanted
        if (t->ahead) {
            t->ahead = false;
            if (!token_list_add(&r->held, id) || !speculation_add(&r->spec, id)) return no_memory(t->err);
            continue;
        }
        bool was = guessed(t, id, &status);
        if (status != TL_OK) return status;
        if (was) continue;
        rows[n++] = (tl_row){.token = id};
        status = jump(t, rows, &n);
        if (status == TL_OK) status = compute(t, rows, n);
        if (status == TL_E_LIMIT && r->shift && (status = shift(t)) == TL_OK) status = compute(t, rows, n);
        if (status == TL_E_CANCELLED) return r->stop = STOP_CANCELLED, TL_OK;
        if (status == TL_E_LIMIT) return r->stop = STOP_CONTEXT, TL_OK;
        if (status != TL_OK) return status;
    }
    return TL_OK;
}

// The end of the text: what was held back, and under a constraint what makes it whole.
static tl_status end_reply(turn *t) {
    reply *r = t->r;
    const char *rest = tl_decoder_end(t->decoder);
    if (!output_put(&t->out, rest, strlen(rest))) return no_memory(t->err);
    if (!t->out.stopped) output_flush(&t->out);
    if (!r->constraint || tl_constraint_may_end(r->constraint, t->shown)) return TL_OK;
    tl_status status = tl_constraint_shortest(r->constraint, t->shown, &rest, &r->completed, t->err);
    if (status == TL_OK) r->show(r->ctx, rest, r->completed);
    return status;
}

tl_status reply_run(reply *r, const int32_t *ids, size_t n, tl_error *err) {
    turn t = {.r = r, .err = err, .out = {.stops = r->stops, .show = show_text}};
    t.out.ctx = &t;
    r->reply_tokens = r->jumped = 0, r->completed = 0, r->stop_text = NULL;
    if (r->constraint) t.state = t.shown = tl_constraint_start(r->constraint);
    tl_status status = compute_prompt(r, ids, n, &t.logits, err);
    if (status == TL_OK && !speculation_set(&r->spec, r->held.p, r->held.n)) status = no_memory(err);
    bool cancelled = status == TL_E_CANCELLED;
    if (status != TL_OK && !cancelled) return status;
    status = tl_decoder_new(r->o->model, false, &t.decoder, err);
    if (status != TL_OK) return status;
    t.start = seconds_now();
    r->stop = STOP_CANCELLED;
    if (!cancelled) status = sample_reply(&t);
    drop_ahead(&t);
    end_guesses(&t);
    if (status == TL_OK) status = end_reply(&t);
    r->reply_seconds += seconds_now() - t.start;
    tl_decoder_free(t.decoder);
    output_free(&t.out);
    free(t.mask);
    return status;
}

void reply_print_speed(const reply *r) {
    double prompt = r->prompt_seconds, said = r->reply_seconds;
    fprintf(stderr, "[prompt %lld tokens, %.1f tokens/s; reply %lld tokens, %.1f tokens/s]\n", (long long)r->all_prompt,
            prompt > 0 ? (double)r->all_prompt / prompt : 0, (long long)r->all_reply, said > 0 ? (double)r->all_reply / said : 0);
    if (r->spec.guessed > 0) fprintf(stderr, "[%lld of %lld guessed tokens came true]\n", (long long)r->spec.right, (long long)r->spec.guessed);
}
