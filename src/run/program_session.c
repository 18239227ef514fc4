// program_session.c - sessions that a program opens (src/eval/builtins_session.c).
#include "run/run.h"

static tl_status open_for(void *ctx, ev_model *m, int64_t n_ctx, int32_t n_seq, void **out, tl_error *err) {
    program_host *h = ctx;
    tl_session *s;
    if (!h->o->model || m != &h->o->model->m) return err_set(err, TL_E_USAGE, "a session needs the model given with -m, whose program is known");
    TL_TRY(model_load_program(h->o->model, err));
    tl_session_options o = {.n_ctx = n_ctx, .n_seq = n_seq, .keep_released = true};
    TL_TRY(tl_session_new(h->o->model, &o, &s, err));
    if (!vec_push(&h->sessions, s)) {
        tl_session_free(s);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    *out = s;
    return TL_OK;
}

// A prompt replaces what the sequence had; what the cache holds of it is not computed again.
static tl_status prompt(void *s, int32_t seq, const int32_t *ids, size_t n, const float **logits, int64_t *n_vocab, tl_error *err) {
    *n_vocab = session_model(s)->n_vocab;
    if (n == 0) return err_set(err, TL_E_USAGE, "an empty prompt");
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= *n_vocab) return err_set(err, TL_E_USAGE, "token id %d is outside the vocabulary of %lld", ids[i], (long long)*n_vocab);
    size_t held = (size_t)tl_seq_share(s, seq, ids, n - 1);
    return tl_session_prompt(s, seq, ids + held, n - held, logits, NULL, err);
}

static tl_status step(void *s, const int32_t *ids, const int32_t *seqs, size_t n, const float **logits, int64_t *n_vocab, tl_error *err) {
    tl_row *rows = mem_calloc(n ? n : 1, sizeof *rows);
    if (!rows) return err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) rows[i] = (tl_row){.token = ids[i], .seq = seqs[i], .logits = true};
    *n_vocab = session_model(s)->n_vocab;
    tl_status st = tl_session_step(s, rows, n, logits, err);
    mem_free(rows);
    return st;
}

static tl_status fork_sequence(void *s, int32_t from, int32_t to, tl_error *err) { return tl_seq_fork(s, from, to, err); }
static void cut(void *s, int32_t seq, int64_t length) { tl_seq_cut(s, seq, length); }
static int64_t length(void *s, int32_t seq) { return tl_seq_length(s, seq); }

const ev_sessions host_sessions = {.open = open_for, .prompt = prompt, .step = step, .fork = fork_sequence, .cut = cut, .length = length};
