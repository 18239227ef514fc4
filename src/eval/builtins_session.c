// builtins_session.c - a model's step function from programs: sessions, their sequences, and what drivers of generation need.
#include <math.h>

#include "eval/value.h"
#include "run/sample.h"

static const ev_sessions *host_of(call *c) {
    if (!c->ev->o.host.sessions) ev_fail(c->ev, c->at, "sessions cannot be opened here");
    return c->ev->o.host.sessions;
}

static void *session_arg(call *c) {
    if (c->arg[0].kind != V_SESSION) ev_fail_fix(c->ev, c->at, "session(model)", "a session was expected, found %s", v_names[c->arg[0].kind]);
    return c->arg[0].session;
}

static int32_t sequence_of(call *c, value v) {
    int64_t q = want_int(c->ev, v, c->at, "a sequence");
    if (q < 0 || q > INT32_MAX) ev_fail(c->ev, c->at, "sequences are numbered from 0");
    return (int32_t)q;
}

static _Noreturn void fail_session(call *c, tl_error *err) {
    if (err->code == TL_E_USAGE) err->code = TL_E_PROGRAM; // of the program's, not of whoever runs it
    ev_fail_err(c->ev, c->at, err);
}

static value f_session(call *c) {
    const ev_sessions *h = host_of(c);
    void *s = NULL;
    tl_error err = {0};
    if (c->arg[0].kind != V_MODEL) ev_fail(c->ev, c->at, "session needs a model, found %s", v_names[c->arg[0].kind]);
    int64_t n_seq = want_int(c->ev, named_arg(c, "sequences", 1, v_int(1)), c->at, "the number of sequences");
    int64_t n_ctx = want_int(c->ev, named_arg(c, "n_ctx", 2, v_int(0)), c->at, "the cache's size");
    if (n_seq < 1 || n_seq > 10000 || n_ctx < 0) ev_fail(c->ev, c->at, "a session has 1 to 10000 sequences and a cache of some positions");
    if (h->open(c->ev->o.host.ctx, c->arg[0].model, n_ctx, (int32_t)n_seq, &s, &err) != TL_OK) fail_session(c, &err);
    return (value){.kind = V_SESSION, .session = s};
}

// Token ids: a number, a list or a tensor.
static int64_t ids_arg(call *c, value v, int32_t **out) {
    if (v.kind == V_INT) {
        *out = arena_array(&c->ev->dl_arena, int32_t, 1);
        **out = (int32_t)v.i;
        return 1;
    }
    tensor *t = value_tensor(c->ev, v, c->at);
    int64_t n = tensor_elements(t);
    const float *p = n ? tensor_floats(c->ev, t, c->at) : NULL;
    *out = arena_array(&c->ev->dl_arena, int32_t, n ? n : 1);
    for (int64_t i = 0; i < n; i++) (*out)[i] = (int32_t)p[i];
    return n;
}

static value f_session_prompt(call *c) {
    int32_t *ids;
    const float *logits;
    int64_t n = ids_arg(c, c->arg[1], &ids), n_vocab;
    tl_error err = {0};
    if (host_of(c)->prompt(session_arg(c), c->n > 2 ? sequence_of(c, c->arg[2]) : 0, ids, (size_t)n, &logits, &n_vocab, &err) != TL_OK) fail_session(c, &err);
    return v_of_tensor(tensor_from_floats(c->ev, 1, &n_vocab, logits));
}

static value f_session_step(call *c) {
    int32_t *ids, *seqs;
    const float *logits;
    int64_t n = ids_arg(c, c->arg[1], &ids), m = 0, size[2] = {n, 0};
    tl_error err = {0};
    if (c->n > 2) m = ids_arg(c, c->arg[2], &seqs);
    else seqs = arena_array(&c->ev->dl_arena, int32_t, n ? n : 1), m = n;
    if (m != n) ev_fail(c->ev, c->at, "%lld tokens and %lld sequences: each token has one", (long long)n, (long long)m);
    if (host_of(c)->step(session_arg(c), ids, seqs, (size_t)n, &logits, &size[1], &err) != TL_OK) fail_session(c, &err);
    return v_of_tensor(tensor_from_floats(c->ev, 2, size, logits));
}

static value f_session_fork(call *c) {
    tl_error err = {0};
    if (host_of(c)->fork(session_arg(c), sequence_of(c, c->arg[1]), sequence_of(c, c->arg[2]), &err) != TL_OK) fail_session(c, &err);
    return v_none();
}

static value f_session_cut(call *c) {
    int64_t length = want_int(c->ev, c->arg[2], c->at, "a length");
    if (length < 0) ev_fail(c->ev, c->at, "a length is 0 or more");
    host_of(c)->cut(session_arg(c), sequence_of(c, c->arg[1]), length);
    return v_none();
}

static value f_session_length(call *c) { return v_int(host_of(c)->length(session_arg(c), sequence_of(c, c->n > 1 ? c->arg[1] : v_int(0)))); }

static value f_log_softmax(call *c) {
    tensor *t = want_tensor(c->ev, c->arg[0], c->at, "the logits");
    int64_t n = t->rank ? t->ax[t->rank - 1].size : 0, all = tensor_elements(t), size[IR_MAX_RANK];
    if (n < 1) ev_fail(c->ev, c->at, "log_softmax works on the last axis, and there is none");
    for (int i = 0; i < t->rank; i++) size[i] = t->ax[i].size;
    const float *x = tensor_floats(c->ev, t, c->at);
    tensor *r = tensor_from_floats(c->ev, t->rank, size, x);
    float *y = r->buf->data;
    for (int64_t row = 0; row < all; row += n) {
        double sum = sample_log_sum(x + row, n);
        for (int64_t i = 0; i < n; i++) y[row + i] = (float)((double)x[row + i] - sum);
    }
    return v_of_tensor(r);
}

static value f_top_k(call *c) {
    tensor *t = want_tensor(c->ev, c->arg[0], c->at, "a tensor");
    int64_t n = tensor_elements(t), k = want_int(c->ev, c->arg[1], c->at, "k"), found = 0;
    tl_error err = {0};
    if (k < 1) ev_fail(c->ev, c->at, "k must be at least 1");
    if (k > n) k = n;
    sample_item *top = arena_array(&c->ev->dl_arena, sample_item, k);
    if (n && sample_top_k(tensor_floats(c->ev, t, c->at), n, k, top, &found, &err) != TL_OK) fail_session(c, &err);
    value list = v_list_new(c->ev), pair;
    for (int64_t i = 0; i < found; i++) {
        pair = v_list_new(c->ev);
        list_push(c->ev, list.list, pair);
        list_push(c->ev, pair.list, v_int(top[i].id));
        list_push(c->ev, pair.list, v_float((double)top[i].logit));
    }
    return list;
}

const builtin builtins_session[] = {
    {"session", f_session, 1, 3, "model, sequences=1, n_ctx=0", "A cache for a model's step function, with empty sequences numbered from 0."},
    {"session_prompt", f_session_prompt, 2, 3, "session, ids, sequence=0", "Makes a sequence these tokens, computing those that the cache does not hold; the logits after the last one."},
    {"session_step", f_session_step, 2, 3, "session, ids, sequences=[0, ...]", "Appends each token to its sequence, all in one step; the logits after each, [n, vocab]."},
    {"session_fork", f_session_fork, 3, 3, "session, from, to", "Makes one sequence begin as another one is; they share the cache, nothing is copied."},
    {"session_cut", f_session_cut, 3, 3, "session, sequence, length", "Forgets the tokens of a sequence from a position on."},
    {"session_length", f_session_length, 1, 2, "session, sequence=0", "How many tokens a sequence has."},
    {"log_softmax", f_log_softmax, 1, 1, "logits", "Log-probabilities over the last axis."},
    {"top_k", f_top_k, 2, 2, "x, k", "The k largest elements of all of x, the largest first, as [position, value]."},
    {0},
};
