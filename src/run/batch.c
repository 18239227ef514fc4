// batch.c - jobs side by side in one session (tensorlogic.h): continuous batching with prompts read in pieces.
//
// A job is let in when the free slots suffice for all that it and the others may still need, so that no job can starve
// another in the middle. Rows of replies come first in a step, then prompts in the order of their jobs. A prompt that begins like
// one that is being read waits for it, so that what they share is computed once.
#include "run/run.h"

enum { JUMP_MOST = 63, SHARED_LEAST = 8 }; // tokens taken at once without being asked for; for which it is worth to wait

typedef struct job {
    tl_job j;
    int32_t *ids;
    size_t fed;          // tokens of the prompt in the cache
    int64_t room, said;  // tokens of the reply: most that may be, and so far
    int32_t next[JUMP_MOST + 1]; // tokens to be fed, once the prompt has been read: the last one chosen and those behind it
    size_t n_next, at_next;
    uint32_t state;      // of the constraint
    uint64_t *mask;      // what it allows next; NULL: no constraint
    int64_t row;         // its row of logits in the step under way, -1: none
    bool used, begun, reading, broken; // begun: rows of its prompt have been computed; reading: in the step under way
} job;

struct tl_batch {
    tl_session *s;
    job *jobs;           // [n_seq], job i has sequence i
    int32_t n_seq, active;
    int32_t *order;      // [active] jobs by age
    tl_row *rows;        // [n_batch]
    uint64_t *no_ends;   // all ids but those that end a reply; made when a job ignores these
    tl_error wrong;      // of a job that is `broken`
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
        mem_free(b->jobs[i].ids), mem_free(b->jobs[i].mask);
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
    size_t words = (size_t)(session_model(b->s)->n_vocab + 63) / 64;
    int32_t *ids = mem_alloc(j->n * sizeof *ids);
    uint64_t *mask = j->constraint ? mem_calloc(words, sizeof *mask) : NULL;
    if (!ids || (j->constraint && !mask) || (j->ignore_end && !make_no_ends(b))) {
        mem_free(ids), mem_free(mask);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    memcpy(ids, j->ids, j->n * sizeof *ids);
    *n = (job){.j = *j, .ids = ids, .mask = mask, .room = room_of(b, j), .row = -1, .used = true};
    n->j.ids = ids;
    if (j->constraint) n->state = tl_constraint_start(j->constraint);
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
    mem_free(n->ids), mem_free(n->mask);
    tl_job j = n->j;
    *n = (job){0};
    if (j.done) j.done(j.ctx, why, err);
}

// Does its prompt go on like one that is being read, beyond what of it the cache holds already?
static bool waits(const tl_batch *b, int32_t i) {
    const job *j = &b->jobs[b->order[i]];
    for (int32_t k = 0; k < i; k++) {
        const job *o = &b->jobs[b->order[k]];
        size_t n = o->j.n < j->j.n ? o->j.n : j->j.n, same = 0;
        if (!o->reading) continue;
        while (same < n && o->ids[same] == j->ids[same]) same++;
        if (same >= j->fed + SHARED_LEAST) return true;
    }
    return false;
}

// Rows of the next step; *outs of them want logits.
static size_t gather(tl_batch *b, int64_t *outs) {
    size_t n = 0, most = (size_t)tl_session_n_batch(b->s);
    *outs = 0;
    for (int32_t i = 0; i < b->active; i++) {
        job *j = &b->jobs[b->order[i]];
        j->row = -1, j->reading = false;
        if (j->fed < j->j.n || n == most) continue;
        for (; j->at_next < j->n_next && n < most; j->at_next++)
            b->rows[n++] = (tl_row){.token = j->next[j->at_next], .seq = b->order[i], .logits = j->at_next + 1 == j->n_next};
        if (j->at_next == j->n_next) j->row = (*outs)++;
    }
    for (int32_t i = 0; i < b->active && n < most; i++) {
        job *j = &b->jobs[b->order[i]];
        if (j->fed == j->j.n) continue;
        if (!j->begun) j->fed = (size_t)tl_seq_share(b->s, b->order[i], j->ids, j->j.n - 1);
        if (!j->begun && waits(b, i)) continue;
        j->begun = j->reading = true;
        for (; j->fed < j->j.n && n < most; j->fed++)
            b->rows[n++] = (tl_row){.token = j->ids[j->fed], .seq = b->order[i], .logits = j->fed + 1 == j->j.n};
        if (j->fed == j->j.n) j->row = (*outs)++;
    }
    return n;
}

// A constraint's mask stands until the next call only: the job keeps a copy.
static tl_status allow(tl_batch *b, job *j, tl_error *err) {
    const uint64_t *mask;
    bool any;
    TL_TRY(tl_constraint_mask(j->j.constraint, j->state, &mask, &any, err));
    bool no_ends = j->j.ignore_end && tl_constraint_may_end(j->j.constraint, j->state);
    for (int64_t w = 0; w < (session_model(b->s)->n_vocab + 63) / 64; w++) j->mask[w] = no_ends ? mask[w] & b->no_ends[w] : mask[w];
    return TL_OK;
}

// For all rows at once: on a GPU only ids come back.
static tl_status choose(tl_batch *b, int64_t outs, tl_error *err) {
    for (int32_t i = 0; i < b->active; i++) {
        job *j = &b->jobs[b->order[i]];
        if (j->row < 0) continue;
        b->samplers[j->row] = j->j.sampler;
        b->masks[j->row] = j->mask ? j->mask : j->j.ignore_end ? b->no_ends : NULL;
        j->broken = j->mask && allow(b, j, &b->wrong) != TL_OK;
    }
    return outs ? tl_session_choose(b->s, b->samplers, b->masks, b->ids, err) : TL_OK;
}

// A token of the reply, chosen or forced. *over: and the last one.
static tl_status say(job *j, int32_t id, bool *over, tl_job_end *why, tl_error *err) {
    tl_sampler_accept(j->j.sampler, id);
    if (j->mask) TL_TRY(tl_constraint_next(j->j.constraint, j->state, id, &j->state, err));
    j->next[j->n_next++] = id;
    j->said++;
    *over = true;
    if (!j->j.token(j->j.ctx, id)) *why = TL_JOB_STOPPED;
    else if (j->said == j->room) *why = j->said == j->j.most ? TL_JOB_LENGTH : TL_JOB_CONTEXT;
    else *over = false;
    return TL_OK;
}

// Where nothing but one text can follow, its tokens are taken without asking the model.
static tl_status jump(job *j, bool *over, tl_job_end *why, tl_error *err) {
    int32_t ids[JUMP_MOST];
    size_t n = 0;
    if (!j->mask || *over) return TL_OK;
    TL_TRY(tl_constraint_jump(j->j.constraint, j->state, ids, JUMP_MOST, &n, err));
    for (size_t i = 0; i < n && !*over; i++) {
        TL_TRY(say(j, ids[i], over, why, err));
        if (j->j.jumped) ++*j->j.jumped;
    }
    if (n) tl_sampler_seek(j->j.sampler, tl_sampler_position(j->j.sampler) + n);
    return TL_OK;
}

// What was chosen for a job; -1: nothing.
static tl_status take(const tl_batch *b, job *j, int32_t id, bool *over, tl_job_end *why, tl_error *err) {
    *over = true, *why = j->j.most == 0 ? TL_JOB_LENGTH : TL_JOB_CONTEXT;
    if (j->room <= 0) return TL_OK;
    if (j->broken) return *err = b->wrong, err->code;
    if (id < 0 && !j->mask) return err_set(err, TL_E_FORMAT, "all logits are NaN: the model's weights are broken; `tl doctor` tells where");
    if (id < 0) return *why = tl_constraint_may_end(j->j.constraint, j->state) ? TL_JOB_END : TL_JOB_STUCK, TL_OK;
    if (!j->j.ignore_end && tl_token_is_end(session_model(b->s), id)) return *why = TL_JOB_END, tl_sampler_accept(j->j.sampler, id), TL_OK;
    j->n_next = j->at_next = 0;
    TL_TRY(say(j, id, over, why, err));
    return jump(j, over, why, err);
}

tl_status tl_batch_step(tl_batch *b, tl_error *err) {
    int64_t outs;
    tl_error wrong;
    size_t n = gather(b, &outs);
    if (n == 0) return TL_OK;
    TL_TRY(tl_session_step(b->s, b->rows, n, NULL, err));
    TL_TRY(choose(b, outs, err));
    for (int32_t i = 0; i < b->active;) {
        int32_t at = b->order[i];
        job *j = &b->jobs[at];
        bool over = false;
        tl_job_end why;
        tl_status st = j->row >= 0 ? take(b, j, b->ids[j->row], &over, &why, &wrong) : TL_OK;
        if (st != TL_OK) finish(b, at, TL_JOB_FAILED, &wrong);
        else if (over) finish(b, at, why, NULL);
        else i++; // if the job is over, the next has moved here
    }
    return TL_OK;
}
