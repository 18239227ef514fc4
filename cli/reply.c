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
    static const char *const names[] = {"end", "length", "context", "cancelled"};
    return names[s];
}

void reply_free(reply *r) {
    free(r->held.p);
    r->held = (token_list){0};
}

void print_reply_text(const char *text) {
    if (isatty(STDOUT_FILENO) != 1) {
        fputs(text, stdout);
    } else {
        for (const char *p = text; *p; p++)
            if ((unsigned char)*p >= ' ' || *p == '\n' || *p == '\t') putchar(*p);
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
    r->held.n = common;
}

static tl_status compute_prompt(reply *r, const int32_t *ids, size_t n, const float **logits, tl_error *err) {
    keep_common(r, ids, n);
    size_t from = r->held.n;
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

static tl_status sample_reply(reply *r, const float *logits, tl_decoder *d, tl_error *err) {
    const tl_model *m = r->o->model;
    int64_t n_vocab = tl_model_n_vocab(m);
    r->stop = STOP_LENGTH;
    for (int64_t i = 0; r->most < 0 || i < r->most; i++) {
        if (r->cancel && *r->cancel) return r->stop = STOP_CANCELLED, TL_OK;
        int32_t id = tl_sampler_pick(r->sampler, logits, n_vocab);
        if (id < 0) {
            *err = (tl_error){.code = TL_E_FORMAT, .offset = -1, .message = "all logits are NaN: the model's weights are broken"};
            return err->code;
        }
        tl_sampler_accept(r->sampler, id);
        if (!r->ignore_end && tl_token_is_end(m, id)) return r->stop = STOP_END, TL_OK;
        r->reply_tokens++, r->all_reply++;
        if (r->chosen) r->chosen(r->ctx, logits, n_vocab, id);
        const char *text = tl_decoder_put(d, id);
        if (*text) r->show(r->ctx, text);
        if (i + 1 == r->most) break; // the next token's logits are not wanted
        const tl_row row = {.token = id, .logits = true};
        tl_status status = tl_session_step(r->o->session, &row, 1, &logits, err);
        if (status == TL_E_LIMIT) return r->stop = STOP_CONTEXT, TL_OK;
        if (status != TL_OK) return status;
        if (!token_list_add(&r->held, id)) return no_memory(err);
    }
    return TL_OK;
}

tl_status reply_run(reply *r, const int32_t *ids, size_t n, tl_error *err) {
    const float *logits = NULL;
    tl_decoder *d;
    r->reply_tokens = 0;
    tl_status status = compute_prompt(r, ids, n, &logits, err);
    if (status == TL_E_CANCELLED) return r->stop = STOP_CANCELLED, TL_OK;
    if (status != TL_OK) return status;
    status = tl_decoder_new(r->o->model, false, &d, err);
    if (status != TL_OK) return status;
    double start = seconds_now();
    status = sample_reply(r, logits, d, err);
    const char *rest = tl_decoder_end(d);
    if (*rest) r->show(r->ctx, rest);
    r->reply_seconds += seconds_now() - start;
    tl_decoder_free(d);
    return status;
}

void reply_print_speed(const reply *r) {
    double prompt = r->prompt_seconds, said = r->reply_seconds;
    fprintf(stderr, "[prompt %lld tokens, %.1f tokens/s; reply %lld tokens, %.1f tokens/s]\n", (long long)r->all_prompt,
            prompt > 0 ? (double)r->all_prompt / prompt : 0, (long long)r->all_reply, said > 0 ? (double)r->all_reply / said : 0);
}
