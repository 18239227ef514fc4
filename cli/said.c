// said.c - see said.h.
#include "said.h"
#include <stdlib.h>
#include <string.h>

static void add_text(void *ctx, const char *text, size_t n) {
    said_text *s = ctx;
    char *grown = realloc(s->text, s->n + n + 1);
    if (!grown) {
        s->failed = true;
        return;
    }
    s->text = grown;
    memcpy(s->text + s->n, text, n);
    s->n += n;
    s->text[s->n] = '\0';
    if (s->constraint && tl_constraint_next_text(s->constraint, s->shown, text, n, &s->shown, NULL) != TL_OK) s->shown = 0;
}

static bool put(said_text *s, const char *text, size_t n) {
    if (!output_put(&s->out, text, n)) s->failed = true;
    return !s->failed && !s->out.stopped;
}

tl_status said_open(said_text *s, tl_error *err) {
    s->out = (text_output){.stops = s->stops, .show = add_text, .ctx = s};
    if (s->constraint) s->shown = tl_constraint_start(s->constraint);
    return tl_decoder_new(s->model, false, &s->decoder, err);
}

// A decoder mends what is not UTF-8; under a constraint on bytes a token's bytes are text as they are.
bool said_token(said_text *s, int32_t id) {
    size_t n;
    const char *text;
    if (s->tokens++ == 0 && s->max_seconds > 0) s->started = seconds_now();
    if (s->constraint && !s->by_token) text = tl_token_text(s->model, id, false, &n);
    else text = tl_decoder_put(s->decoder, id), n = strlen(text);
    bool goes_on = put(s, text, n);
    s->late = goes_on && s->max_seconds > 0 && seconds_now() - s->started >= s->max_seconds;
    return goes_on && !s->late;
}

tl_status said_end(said_text *s, tl_error *err) {
    const char *rest = tl_decoder_end(s->decoder);
    if (put(s, rest, strlen(rest))) output_flush(&s->out);
    if (s->failed || !s->constraint || tl_constraint_may_end(s->constraint, s->shown)) return TL_OK;
    tl_status status = tl_constraint_shortest(s->constraint, s->shown, &rest, &s->completed, err);
    if (status == TL_OK) add_text(s, rest, s->completed);
    return status;
}

const char *said_stop(const said_text *s, tl_job_end why) {
    static const char *const names[] = {"end", "length", "context", "stop", "failed", "stuck"};
    return s->out.stopped ? "stop" : s->late ? "time" : names[why];
}

void said_free(said_text *s) {
    tl_decoder_free(s->decoder);
    output_free(&s->out);
    free(s->text);
}
