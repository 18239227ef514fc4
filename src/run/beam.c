// beam.c - beam search (tensorlogic.h) over one session: a hypothesis is a sequence of the cache, forked where it splits.
//
// A step takes every beam's most probable tokens, in groups; the best continuations live on. A parent's sequence goes to its
// first child, others fork it. The greedy hypothesis is kept whether or not it is among the best: in the place of the least of
// these, so that a step has no more rows than beams; with groups, and at the end, as one more.
#include <math.h>

#include "run/run.h"
#include "run/sample.h"

typedef struct beam {
    int32_t *ids;        // [most]
    int64_t n;
    double sum;          // log-probability
    int32_t seq, group;  // group -1: the greedy one beside all groups
    uint32_t state;      // of the constraint
    bool greedy;
} beam;

typedef struct option { // a way to go on
    int32_t parent, id;
    double sum, rank;    // rank: with the group's penalty for what others chose
    bool greedy;
} option;

typedef struct search {
    tl_session *s;
    const tl_beam_options *o;
    int64_t n_vocab;
    int32_t width, groups, each; // each: beams of a group
    beam *live, *next;   // [width + 1]
    int32_t n_live, n_next;
    option *options;     // [(width + 1) * per]
    int32_t per;         // tokens looked at of a beam
    sample_item *top;
    tl_hypothesis *done; // [width], the best first
    size_t n_done;
    int32_t *used;       // [width + 1] which of the next beams has the sequence, -1: none
    float *masked, *sums; // logits that the constraint leaves; sums: of blocks of logits
    tl_row *rows;
    bool greedy_over;
} search;

static double score_of(const search *x, double sum, int64_t n) {
    return x->o->length_penalty != 0 && n > 0 ? sum / pow((double)n, (double)x->o->length_penalty) : sum;
}

// ---- results -------------------------------------------------------------------------------------
void tl_hypotheses_free(tl_hypothesis *h, size_t n) {
    for (size_t i = 0; h && i < n; i++) mem_free(h[i].ids);
    mem_free(h);
}

static bool same_ids(const tl_hypothesis *h, const beam *b) {
    return h->n == (size_t)b->n && memcmp(h->ids, b->ids, h->n * sizeof *h->ids) == 0;
}

// Adds a hypothesis if it is among the best `width`.
static tl_status add_done(search *x, const beam *b, double sum, bool finished, tl_error *err) {
    double score = score_of(x, sum, b->n + finished);
    for (size_t i = 0; i < x->n_done; i++)
        if (x->done[i].finished == finished && same_ids(&x->done[i], b)) return TL_OK;
    size_t at = x->n_done;
    while (at > 0 && x->done[at - 1].score < score) at--;
    if (at == (size_t)x->width) return TL_OK;
    tl_hypothesis h = {.n = (size_t)b->n, .log_probability = sum, .score = score, .finished = finished};
    h.ids = mem_alloc((h.n + 1) * sizeof *h.ids);
    if (!h.ids) return err_set(err, TL_E_MEMORY, "out of memory");
    memcpy(h.ids, b->ids, h.n * sizeof *h.ids);
    if (x->n_done == (size_t)x->width) mem_free(x->done[--x->n_done].ids);
    memmove(x->done + at + 1, x->done + at, (x->n_done - at) * sizeof *x->done);
    x->done[at] = h;
    x->n_done++;
    return TL_OK;
}

// ---- a step ----------------------------------------------------------------------------------------
static double log_sum(const search *x, const float *logits) {
    int32_t best = sample_argmax(logits, x->n_vocab);
    double sum = 0;
    if (best < 0 || isinf(logits[best])) return best < 0 ? 0 : (double)logits[best];
    session_model(x->s)->engine->k->block_exp_sums(logits, logits[best], x->sums, NULL, x->n_vocab);
    for (int64_t b = 0; b < (x->n_vocab + CPU_BLOCK - 1) / CPU_BLOCK; b++) sum += (double)x->sums[b];
    return (double)logits[best] + log(sum);
}

// The continuations of a beam, most probable first.
static int expand(search *x, int32_t parent, const float *logits, option *out, tl_error *err) {
    const beam *b = &x->live[parent];
    int64_t found = 0;
    const uint64_t *mask = NULL;
    bool any = true;
    if (x->o->constraint && tl_constraint_mask(x->o->constraint, b->state, &mask, &any, err) != TL_OK) return -1;
    if (!any) return 0;
    for (int64_t i = 0; mask && i < x->n_vocab; i++) x->masked[i] = mask[i / 64] >> (i % 64) & 1 ? logits[i] : NAN;
    double all = log_sum(x, logits); // of the model: a constraint does not make what it allows more probable
    if (sample_top_k(mask ? x->masked : logits, x->n_vocab, x->per, x->top, &found, err) != TL_OK) return -1;
    for (int64_t i = 0; i < found; i++) {
        double sum = b->sum + (double)x->top[i].logit - all;
        out[i] = (option){parent, x->top[i].id, sum, sum, b->greedy && i == 0};
    }
    return (int)found;
}

static int better(const void *a, const void *b) {
    const option *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? 1 : -1;
    if (x->parent != y->parent) return x->parent < y->parent ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static tl_status grow(search *x, const option *o, int32_t group, tl_error *err) {
    beam *n = &x->next[x->n_next++], *p = &x->live[o->parent];
    memcpy(n->ids, p->ids, (size_t)p->n * sizeof *n->ids);
    n->ids[p->n] = o->id;
    n->n = p->n + 1;
    n->sum = o->sum;
    n->seq = o->parent; // its parent, until sequences are dealt out
    n->group = group;
    n->greedy = o->greedy;
    return x->o->constraint ? tl_constraint_next(x->o->constraint, p->state, o->id, &n->state, err) : TL_OK;
}

static bool ends(const search *x, int32_t id) { return !x->o->ignore_end && tl_token_is_end(session_model(x->s), id); }

// One group's options, best first: `each` live on. Ends that are among the best are done; the greedy one always is.
static tl_status choose(search *x, option *list, int n, int32_t group, int32_t first_next, tl_error *err) {
    for (int i = 0; i < n; i++)
        for (int32_t k = 0; k < first_next && x->groups > 1; k++)
            if (x->next[k].ids[x->next[k].n - 1] == list[i].id) list[i].rank -= (double)x->o->diversity;
    if (n > 1) qsort(list, (size_t)n, sizeof *list, better);
    int32_t kept = 0;
    for (int i = 0; i < n && kept < x->each; i++) {
        bool end = ends(x, list[i].id);
        if (end && (i < x->each || list[i].greedy)) TL_TRY(add_done(x, &x->live[list[i].parent], list[i].sum, true, err));
        if (end && list[i].greedy) x->greedy_over = true;
        if (end) continue;
        TL_TRY(grow(x, &list[i], group, err));
        kept++;
    }
    return TL_OK;
}

// Makes room for one among the next: the least probable goes.
static void drop_least(search *x) {
    int32_t least = 0;
    for (int32_t i = 1; i < x->n_next; i++)
        if (x->next[i].sum <= x->next[least].sum) least = i;
    beam gone = x->next[least];
    memmove(x->next + least, x->next + least + 1, (size_t)(x->n_next - least - 1) * sizeof *x->next);
    x->next[--x->n_next] = gone; // its memory is the next one's
}

// The greedy hypothesis goes on even where it is not among the best.
static tl_status keep_greedy(search *x, const option *greedy, tl_error *err) {
    if (x->greedy_over || greedy->parent < 0) return TL_OK;
    for (int32_t i = 0; i < x->n_next; i++)
        if (x->next[i].greedy) return TL_OK;
    if (ends(x, greedy->id)) {
        x->greedy_over = true;
        return add_done(x, &x->live[greedy->parent], greedy->sum, true, err);
    }
    bool last = x->live[greedy->parent].n + 1 == x->o->most;
    if (x->groups == 1 && x->n_next == x->width && !last) drop_least(x);
    return grow(x, greedy, x->groups == 1 ? 0 : -1, err);
}

// Which sequence each of the next beams has: a parent's for its first child, forks for the others.
static tl_status deal_sequences(search *x, tl_error *err) {
    for (int32_t i = 0; i <= x->width; i++) x->used[i] = -1;
    for (int32_t i = 0; i < x->n_next; i++) {
        int32_t seq = x->live[x->next[i].seq].seq;
        if (x->used[seq] < 0) x->used[seq] = i;
    }
    for (int32_t i = 0; i <= x->width; i++)
        if (x->used[i] < 0) tl_seq_cut(x->s, i, 0);
    int32_t spare = 0;
    for (int32_t i = 0; i < x->n_next; i++) {
        beam *b = &x->next[i];
        int32_t from = x->live[b->seq].seq;
        b->seq = from;
        if (x->used[from] == i) continue;
        while (x->used[spare] >= 0) spare++;
        TL_TRY(tl_seq_fork(x->s, from, spare, err));
        x->used[spare] = i;
        b->seq = spare;
    }
    return TL_OK;
}

static tl_status branch(search *x, const float *logits, tl_error *err) {
    option greedy = {.parent = -1};
    x->n_next = 0;
    for (int32_t group = 0; group < x->groups; group++) {
        int n = 0;
        bool first = x->live[0].n == 0; // all groups begin from the prompt
        for (int32_t i = 0; i < x->n_live; i++) {
            bool mine = x->live[i].group == group || first;
            if (!mine && (x->live[i].group >= 0 || group > 0)) continue;
            int more = expand(x, i, logits + (int64_t)i * x->n_vocab, x->options + n, err);
            if (more < 0) return err->code;
            if (first && group > 0 && more > 0) x->options[n].greedy = false; // one is enough
            if (more > 0 && x->options[n].greedy) greedy = x->options[n];
            if (mine) n += more; // what goes on from the one beside the groups is for itself
        }
        TL_TRY(choose(x, x->options, n, group, x->n_next, err));
    }
    TL_TRY(keep_greedy(x, &greedy, err));
    TL_TRY(deal_sequences(x, err));
    beam *t = x->live;
    x->live = x->next, x->next = t;
    x->n_live = x->n_next;
    return TL_OK;
}

static bool over(const search *x) {
    if (x->n_live == 0 || x->live[0].n == x->o->most) return true;
    if (x->n_done < (size_t)x->width) return false;
    if (x->o->early) return true;
    // No step makes a hypothesis more probable; the longer one has at best its present sum over the greatest length.
    double worst = x->done[x->n_done - 1].score;
    for (int32_t i = 0; i < x->n_live; i++)
        if (score_of(x, x->live[i].sum, x->o->length_penalty > 0 ? x->o->most : x->live[i].n) > worst) return false;
    return true;
}

static tl_status run(search *x, const float *logits, tl_error *err) {
    for (;;) {
        TL_TRY(branch(x, logits, err));
        if (over(x)) break;
        if (x->o->cancel && *x->o->cancel) return err_set(err, TL_E_CANCELLED, "stopped");
        for (int32_t i = 0; i < x->n_live; i++) x->rows[i] = (tl_row){.token = x->live[i].ids[x->live[i].n - 1], .seq = x->live[i].seq, .logits = true};
        TL_TRY(tl_session_step(x->s, x->rows, (size_t)x->n_live, &logits, err));
    }
    for (int32_t i = 0; i < x->n_live; i++)
        if (x->n_done < (size_t)x->width || x->live[i].n == x->o->most) TL_TRY(add_done(x, &x->live[i], x->live[i].sum, false, err));
    return TL_OK;
}

// ---- life ----------------------------------------------------------------------------------------
static tl_status check_options(const tl_session *s, size_t n, const tl_beam_options *o, tl_error *err) {
    if (session_is_hidden(s)) return err_set(err, TL_E_USAGE, "a session of hidden states has no logits to choose tokens from");
    if (o->beams < 1 || o->beams > 10000) return err_set(err, TL_E_USAGE, "beams: from 1 to 10000");
    if (o->most < 1) return err_set(err, TL_E_USAGE, "a beam search needs a greatest length of at least 1 token");
    if (o->groups < 0 || (o->groups > 1 && o->beams % o->groups)) return err_set(err, TL_E_USAGE, "%d groups do not divide %d beams", o->groups, o->beams);
    if (!isfinite(o->diversity) || o->diversity < 0 || !isfinite(o->length_penalty)) return err_set(err, TL_E_USAGE, "diversity is a number from 0, the length penalty a number");
    if (session_sequences(s) < o->beams + 1 || tl_session_n_batch(s) < o->beams + 1)
        return err_set(err, TL_E_USAGE, "%d beams need a session of %d sequences and as many rows in a step", o->beams, o->beams + 1);
    if (n == 0) return err_set(err, TL_E_USAGE, "an empty prompt");
    return TL_OK;
}

static void search_free(search *x) {
    for (int32_t i = 0; i <= x->width; i++) {
        if (x->live) mem_free(x->live[i].ids);
        if (x->next) mem_free(x->next[i].ids);
    }
    mem_free(x->live), mem_free(x->next), mem_free(x->options), mem_free(x->top), mem_free(x->used), mem_free(x->masked), mem_free(x->sums), mem_free(x->rows);
}

static bool search_init(search *x) {
    size_t n = (size_t)x->width + 1, per = (size_t)x->per;
    x->live = mem_calloc(n, sizeof *x->live);
    x->next = mem_calloc(n, sizeof *x->next);
    x->options = mem_calloc(n * per, sizeof *x->options);
    x->top = mem_calloc(per, sizeof *x->top);
    x->used = mem_calloc(n, sizeof *x->used);
    x->masked = mem_calloc(x->o->constraint ? (size_t)x->n_vocab : 1, sizeof *x->masked);
    x->sums = mem_calloc((size_t)x->n_vocab / CPU_BLOCK + 1, sizeof *x->sums);
    x->rows = mem_calloc(n, sizeof *x->rows);
    x->done = mem_calloc(n, sizeof *x->done);
    bool ok = x->live && x->next && x->options && x->top && x->used && x->masked && x->sums && x->rows && x->done;
    for (size_t i = 0; i < n && ok; i++) {
        x->live[i].ids = mem_alloc((size_t)x->o->most * sizeof(int32_t));
        x->next[i].ids = mem_alloc((size_t)x->o->most * sizeof(int32_t));
        ok = x->live[i].ids && x->next[i].ids;
    }
    return ok;
}

tl_status tl_beam_search(tl_session *s, const int32_t *prompt, size_t n, const tl_beam_options *o, tl_hypothesis **out, size_t *n_out, tl_error *err) {
    *out = NULL, *n_out = 0;
    TL_TRY(check_options(s, n, o, err));
    search x = {.s = s, .o = o, .n_vocab = session_model(s)->n_vocab, .width = o->beams, .groups = o->groups > 1 ? o->groups : 1};
    x.each = x.width / x.groups;
    int32_t per = x.each * 2 + (x.width - x.each); // though half of them are ends and others chosen by other groups, enough live on
    x.per = per < x.n_vocab ? per : (int32_t)x.n_vocab;
    const float *logits = NULL;
    tl_status st = search_init(&x) ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory for %d beams", o->beams);
    if (st == TL_OK) {
        for (int32_t i = 0; i <= x.width; i++) tl_seq_cut(s, i, 0);
        int64_t held = tl_seq_share(s, 0, prompt, n - 1);
        st = tl_session_prompt(s, 0, prompt + held, n - (size_t)held, &logits, o->cancel, err);
    }
    if (st == TL_OK) {
        x.n_live = 1;
        x.live[0].greedy = true;
        if (o->constraint) x.live[0].state = tl_constraint_start(o->constraint);
        st = run(&x, logits, err);
    }
    for (int32_t i = 0; i <= x.width && x.used; i++) tl_seq_cut(s, i, 0);
    search_free(&x);
    if (st != TL_OK) tl_hypotheses_free(x.done, x.n_done);
    else *out = x.done, *n_out = x.n_done;
    return st;
}
