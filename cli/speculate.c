// speculate.c - see speculate.h.
#include "speculate.h"
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 16, LOOK_MOST = 64 };

static uint32_t bucket_of(const int32_t *end) { // of the DRAFT_MATCH tokens before `end`
    uint64_t h = 0;
    for (int i = 1; i <= DRAFT_MATCH; i++) h = (h ^ (uint32_t)end[-i]) * 0x9e3779b97f4a7c15u;
    return (uint32_t)(h >> 48);
}

bool speculation_add(speculation *s, int32_t id) {
    if (s->mode == SPEC_OFF) return true;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 1024;
        int32_t *ids = realloc(s->ids, cap * sizeof *ids), *before = ids ? realloc(s->before, cap * sizeof *before) : NULL;
        if (ids) s->ids = ids;
        if (!before) return false;
        s->before = before, s->cap = cap;
    }
    if (!s->table) {
        s->table = malloc(BUCKETS * sizeof *s->table);
        if (!s->table) return false;
        memset(s->table, 0xff, BUCKETS * sizeof *s->table);
    }
    s->ids[s->n] = id;
    s->before[s->n++] = -1;
    if (s->n < DRAFT_MATCH) return true;
    int32_t *head = &s->table[bucket_of(s->ids + s->n)];
    s->before[s->n - 1] = *head;
    *head = (int32_t)s->n - 1;
    return true;
}

bool speculation_set(speculation *s, const int32_t *ids, size_t n) {
    size_t same = 0;
    if (s->mode == SPEC_OFF) return true;
    while (same < n && same < s->n && s->ids[same] == ids[same]) same++;
    if (same < s->n) { // another text: made anew
        if (s->table) memset(s->table, 0xff, BUCKETS * sizeof *s->table);
        s->n = same = 0;
        s->n_small = 0;
    }
    for (size_t i = same; i < n; i++)
        if (!speculation_add(s, ids[i])) return false;
    return true;
}

// ---- guesses -------------------------------------------------------------------------------------
static size_t copy_from(const speculation *s, size_t at, int32_t *out, size_t most) {
    size_t n = 0;
    for (; n < most && at + n < s->n; n++) out[n] = s->ids[at + n];
    return n;
}

// What followed the earlier place that agrees with the end for longest; of equals the latest. The branch: the same of places
// that another token followed.
static size_t from_text(const speculation *s, int32_t *out, size_t most, int32_t *branch, size_t *n_branch) {
    size_t best = 0, best_at = 0, other = 0, other_at = 0;
    if (s->n < DRAFT_MATCH + 1) return 0;
    int32_t at = s->before[s->n - 1];
    for (int look = 0; at >= 0 && look < LOOK_MOST; at = s->before[at], look++) {
        size_t same = 0;
        while (same <= (size_t)at && same < 32 && s->ids[(size_t)at - same] == s->ids[s->n - 1 - same]) same++;
        bool differs = best == 0 || s->ids[at + 1] != s->ids[best_at];
        if (same > best && best > 0 && differs) other = best, other_at = best_at;
        else if (same <= best && differs && same > other) other = same, other_at = (size_t)at + 1;
        if (same > best) best = same, best_at = (size_t)at + 1;
    }
    if (best < DRAFT_MATCH) return 0;
    if (branch && other >= DRAFT_MATCH && most > 1) *n_branch = copy_from(s, other_at, branch, most / 2 < BRANCH_MOST ? most / 2 : BRANCH_MOST);
    return copy_from(s, best_at, out, most - *n_branch);
}

static int32_t best_of(const float *logits, int64_t n, int32_t but) {
    int64_t best = but == 0;
    for (int64_t i = best + 1; i < n; i++)
        if (i != but && logits[i] > logits[best]) best = i;
    return (int32_t)best;
}

static size_t from_model(speculation *s, int32_t *out, size_t most, int32_t *branch, size_t *n_branch) {
    const float *logits;
    tl_error err;
    tl_session *session = s->small->session;
    int64_t n_vocab = tl_model_n_vocab(s->small->model), held = tl_seq_share(session, 0, s->ids, s->n - 1);
    if (tl_session_prompt(session, 0, s->ids + held, s->n - (size_t)held, &logits, NULL, &err) != TL_OK) return 0;
    for (size_t i = 0; i < most; i++) {
        out[i] = best_of(logits, n_vocab, -1);
        if (i == 0 && branch && most > 1 && n_vocab > 1) branch[0] = best_of(logits, n_vocab, out[0]), *n_branch = 1, most--;
        const tl_row row = {.token = out[i], .logits = true};
        if (i + 1 < most && tl_session_step(session, &row, 1, &logits, &err) != TL_OK) return i + 1;
    }
    return most;
}

// How many guesses can be wrong before more is lost than may be: a step and a half, and 1 % of all.
static size_t affordable(const speculation *s) {
    double room = 1.5 + 0.01 * (double)s->steps - s->lost, row = s->row_cost > 0.02 ? s->row_cost : s->row_cost > 0 ? 0.02 : 0.35;
    return room > row ? (size_t)(room / row) : 0;
}

size_t speculation_guess(speculation *s, int32_t *out, size_t most, int32_t *branch, size_t *n_branch) {
    *n_branch = 0;
    if (s->mode == SPEC_OFF || s->n == 0) return 0;
    if (s->mode == SPEC_AUTO && s->wait > 0) return s->wait--, 0;
    if (s->length == 0) s->length = s->small ? 4 : 8;
    if (most > (size_t)s->length) most = (size_t)s->length;
    if (s->mode == SPEC_AUTO && most > affordable(s)) most = affordable(s);
    if (most == 0 || (s->mode == SPEC_AUTO && s->step_one == 0)) return 0; // first what a step costs without
    return s->small ? from_model(s, out, most, branch, n_branch) : from_text(s, out, most, branch, n_branch);
}

// ---- whether it pays -----------------------------------------------------------------------------
void speculation_report(speculation *s, size_t guessed, size_t right, double seconds) {
    if (guessed == 0) {
        s->step_one = s->step_one == 0 || seconds < s->step_one ? seconds : s->step_one + 0.05 * (seconds - s->step_one);
        s->steps++;
        return;
    }
    s->guessed += (int64_t)guessed, s->right += (int64_t)right;
    if (right == guessed) s->length = s->length * 2 < DRAFT_MOST ? s->length * 2 : DRAFT_MOST;
    else if (right * 2 < guessed) s->length = s->length > 4 ? s->length / 2 : s->length > 2 && s->small ? s->length - 1 : s->length;
    if (s->step_one == 0) return;
    double cost = seconds / s->step_one, row = (cost - 1) / (double)guessed;
    s->row_cost = s->row_cost == 0 ? row : s->row_cost + 0.3 * (row - s->row_cost);
    s->steps += (int64_t)right + 1;
    s->lost += cost - (double)(right + 1);
    if (s->lost < -2) s->lost = -2; // what was won is not there to be thrown away
    double now = seconds / ((double)(right + 1) * s->step_one);
    s->ratio = s->ratio == 0 ? now : s->ratio + 0.3 * (now - s->ratio);
    if (s->ratio < 1) {
        s->pause = 0;
        return;
    }
    s->pause = s->pause == 0 ? 8 : s->pause < 512 ? 2 * s->pause : 512; // loses ever less where it never pays
    s->wait = s->pause;
    s->ratio = 1;
}

void speculation_free(speculation *s) {
    free(s->ids), free(s->before), free(s->table);
    *s = (speculation){0};
}

int speculation_open(const char *command, const char *name, const model_args *like, const tl_model *big, opened *small) {
    model_args a = *like;
    a.model = name, a.program = NULL, a.chat_template = NULL, a.adapters.n = 0;
    int status = open_model(command, &a, TL_MODEL_WHOLE, small);
    if (status != 0) return status;
    int64_t n = tl_model_n_vocab(big);
    bool same = tl_model_n_vocab(small->model) == n;
    for (int64_t i = 0; i < n && same; i++) {
        size_t na, nb;
        const char *x = tl_token_text(big, (int32_t)i, true, &na), *y = tl_token_text(small->model, (int32_t)i, true, &nb);
        same = na == nb && memcmp(x, y, na) == 0;
        if (!same) status = fail(command, "--draft %s: token %lld of its vocabulary is another one than %s has", name, (long long)i, tl_model_name(big));
    }
    if (!same && status == 0) status = fail(command, "--draft %s: its vocabulary of %lld tokens is not the one of %s", name, (long long)tl_model_n_vocab(small->model), tl_model_name(big));
    return status != 0 ? status : open_session(command, &a, 0, 0, small);
}
