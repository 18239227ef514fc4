// batch.c - jobs side by side in one session (tensorlogic.h): continuous batching with prompts read in pieces.
//
// A job is let in when the free slots suffice for all that it and the others may still need, so that no job can starve
// another in the middle. Rows of replies come first in a step, then prompts in the order of their jobs.
#include "run/run.h"

typedef struct job {
    tl_job j;
    int32_t *ids;
    size_t fed;          // tokens of the prompt in the cache
    int64_t room, said;  // tokens of the reply: most that may be, and so far
    int32_t last;        // the token to be fed next, once the prompt has been read
    int64_t row;         // its row of logits in the step under way, -1: none
    bool used;
} job;

struct tl_batch {
    tl_session *s;
    job *jobs;           // [n_seq], job i has sequence i
    int32_t n_seq, active;
    int32_t *order;      // [active] jobs by age
    tl_row *rows;        // [n_batch]
    uint64_t *no_ends;   // all ids but those that end a reply; made when a job ignores these
    tl_sampler **samplers; // [n_batch] of the rows with logits
    const uint64_t **masks;
    int32_t *ids;
};

tl_status tl_batch_new(tl_session *s, tl_batch **out, tl_error *err) {
    if (session_is_hidden(s)) return err_set(err, TL_E_USAGE, "a session of hidden states has no logits to choose tokens from");
    tl_batch *b = mem_calloc(1, sizeof *b);
    if (!b) return err_set(err, TL_E_MEMORY, "out of memory");
    b->s = s;
    b->n_seq = session_sequences(s);
    b->jobs = mem_calloc((size_t)b->n_seq, sizeof *b->jobs);
    b->order = mem_calloc((size_t)b->n_seq, sizeof *b->order);
    b->rows = mem_calloc((size_t)tl_session_n_batch(s), sizeof *b->rows);
    b->samplers = mem_calloc((size_t)tl_session_n_batch(s), sizeof *b->samplers);
    b->masks = mem_calloc((size_t)tl_session_n_batch(s), sizeof *b->masks);
    b->ids = mem_calloc((size_t)tl_session_n_batch(s), sizeof *b->ids);
    if (!b->jobs || !b->order || !b->rows || !b->samplers || !b->masks || !b->ids) {
        tl_batch_free(b);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    for (int32_t i = 0; i < b->n_seq; i++) tl_seq_cut(s, i, 0);
    *out = b;
    return TL_OK;
}

void tl_batch_free(tl_batch *b) {
    if (!b) return;
    for (int32_t i = 0; b->jobs && i < b->n_seq; i++) {
        mem_free(b->jobs[i].ids);
        tl_seq_cut(b->s, i, 0);
    }
    mem_free(b->jobs);
    mem_free(b->order);
    mem_free(b->rows);
    mem_free(b->no_ends);
    mem_free(b->samplers);
    mem_free(b->masks);
    mem_free(b->ids);
    mem_free(b);
}

int32_t tl_batch_active(const tl_batch *b) { return b->active; }

// ---- letting in ----------------------------------------------------------------------------------
// The last token of a reply is not fed.
static int64_t room_of(const tl_batch *b, const tl_job *j) {
    int64_t room = tl_session_n_ctx(b->s) - (int64_t)j->n + 1;
    return j->most >= 0 && j->most < room ? j->most : room;
}

static int64_t need_of(const tl_batch *b, const tl_job *j) {
    int64_t room = room_of(b, j);
    return (int64_t)j->n + (room > 1 ? room - 1 : 0);
}

static int64_t promised(const tl_batch *b) { // slots that the jobs under way may still take
    int64_t n = 0;
    for (int32_t i = 0; i < b->active; i++) {
        int32_t at = b->order[i];
        int64_t more = need_of(b, &b->jobs[at].j) - tl_seq_length(b->s, at);
        n += more > 0 ? more : 0;
    }
    return n;
}

bool tl_batch_fits(const tl_batch *b, const tl_job *j) {
    return b->active < b->n_seq && (b->active == 0 || need_of(b, j) <= tl_session_free_slots(b->s) - promised(b));
}

static bool make_no_ends(tl_batch *b) {
    const tl_model *m = session_model(b->s);
    if (b->no_ends) return true;
    b->no_ends = mem_calloc((size_t)(m->n_vocab + 63) / 64, sizeof *b->no_ends);
    for (int64_t i = 0; b->no_ends && i < m->n_vocab; i++) b->no_ends[i / 64] |= (uint64_t)!tl_token_is_end(m, (int32_t)i) << (i % 64);
    return b->no_ends != NULL;
}

tl_status tl_batch_add(tl_batch *b, const tl_job *j, tl_error *err) {
    if (j->n == 0) return err_set(err, TL_E_USAGE, "an empty prompt");
    int64_t n_ctx = tl_session_n_ctx(b->s);
    if ((int64_t)j->n > n_ctx)
        return err_set(err, TL_E_LIMIT, "the prompt has %zu tokens, the cache has room for %lld; ask for more with -c N", j->n, (long long)n_ctx);
    for (size_t i = 0; i < j->n; i++)
        if (j->ids[i] < 0 || j->ids[i] >= session_model(b->s)->n_vocab) return err_set(err, TL_E_USAGE, "token id %d is outside the vocabulary", j->ids[i]);
    if (!tl_batch_fits(b, j)) return err_set(err, TL_E_LIMIT, "there is no room for another sequence now");
    int32_t at = 0;
    while (b->jobs[at].used) at++;
    job *n = &b->jobs[at];
    int32_t *ids = mem_alloc(j->n * sizeof *ids);
    if (!ids || (j->ignore_end && !make_no_ends(b))) {
        mem_free(ids);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    memcpy(ids, j->ids, j->n * sizeof *ids);
    *n = (job){.j = *j, .ids = ids, .room = room_of(b, j), .row = -1, .used = true};
    n->j.ids = ids;
    for (size_t i = 0; i < j->n; i++) tl_sampler_accept(j->sampler, ids[i]);
    b->order[b->active++] = at;
    return TL_OK;
}

// ---- steps ---------------------------------------------------------------------------------------
static void finish(tl_batch *b, int32_t at, tl_job_end why, const tl_error *err) {
    job *n = &b->jobs[at];
    int32_t i = 0;
    while (b->order[i] != at) i++;
    memmove(b->order + i, b->order + i + 1, (size_t)(b->active - i - 1) * sizeof *b->order);
    b->active--;
    tl_seq_cut(b->s, at, 0);
    mem_free(n->ids);
    tl_job j = n->j;
    *n = (job){0};
    if (j.done) j.done(j.ctx, why, err);
}

// Rows of the next step; *outs of them want logits.
static size_t gather(tl_batch *b, int64_t *outs) {
    size_t n = 0, most = (size_t)tl_session_n_batch(b->s);
    *outs = 0;
    for (int32_t i = 0; i < b->active; i++) {
        job *j = &b->jobs[b->order[i]];
        j->row = -1;
        if (j->fed < j->j.n || n == most) continue;
        b->rows[n++] = (tl_row){.token = j->last, .seq = b->order[i], .logits = true};
        j->row = (*outs)++;
    }
    for (int32_t i = 0; i < b->active && n < most; i++) {
        job *j = &b->jobs[b->order[i]];
        if (j->row >= 0 || j->fed == j->j.n) continue;
        if (j->fed == 0) j->fed = (size_t)tl_seq_share(b->s, b->order[i], j->ids, j->j.n - 1);
        for (; j->fed < j->j.n && n < most; j->fed++)
            b->rows[n++] = (tl_row){.token = j->ids[j->fed], .seq = b->order[i], .logits = j->fed + 1 == j->j.n};
        if (j->fed == j->j.n) j->row = (*outs)++;
    }
    return n;
}

static void take(tl_batch *b, int32_t at, int32_t id) { // what was chosen for a job
    job *j = &b->jobs[at];
    tl_error err;
    if (j->room <= 0) {
        finish(b, at, j->j.most == 0 ? TL_JOB_LENGTH : TL_JOB_CONTEXT, NULL);
        return;
    }
    if (id < 0) {
        (void)err_set(&err, TL_E_FORMAT, "all logits are NaN: the model's weights are broken; `tl doctor` tells where");
        finish(b, at, TL_JOB_FAILED, &err);
        return;
    }
    tl_sampler_accept(j->j.sampler, id);
    if (!j->j.ignore_end && tl_token_is_end(session_model(b->s), id)) {
        finish(b, at, TL_JOB_END, NULL);
        return;
    }
    j->said++;
    j->last = id;
    if (!j->j.token(j->j.ctx, id)) finish(b, at, TL_JOB_STOPPED, NULL);
    else if (j->said == j->room) finish(b, at, j->said == j->j.most ? TL_JOB_LENGTH : TL_JOB_CONTEXT, NULL);
}

// For all rows at once: on a GPU only ids come back.
static tl_status choose(tl_batch *b, int64_t outs, tl_error *err) {
    for (int32_t i = 0; i < b->active; i++) {
        const job *j = &b->jobs[b->order[i]];
        if (j->row < 0) continue;
        b->samplers[j->row] = j->j.sampler;
        b->masks[j->row] = j->j.ignore_end ? b->no_ends : NULL;
    }
    return outs ? tl_session_choose(b->s, b->samplers, b->masks, b->ids, err) : TL_OK;
}

tl_status tl_batch_step(tl_batch *b, tl_error *err) {
    int64_t outs;
    size_t n = gather(b, &outs);
    if (n == 0) return TL_OK;
    TL_TRY(tl_session_step(b->s, b->rows, n, NULL, err));
    TL_TRY(choose(b, outs, err));
    for (int32_t i = 0; i < b->active;) {
        int32_t at = b->order[i];
        if (b->jobs[at].row >= 0) take(b, at, b->ids[b->jobs[at].row]);
        if (i < b->active && b->order[i] == at) i++; // else the job is over and the next has moved here
    }
    return TL_OK;
}
