// constraint_rule.c - see constraint_rule.h. A state is what was said: a token and the state before it, found again by a hash.
#include "run/constraint_rule.h"

#include "run/run.h"

enum { START = 1, MOST_STATES = 1 << 22 };

typedef struct said { // a state
    uint32_t before;
    int32_t token, length;
} said;

struct rule_constraint {
    tl_model *model;
    program_host host;
    tl_program_options o;
    evaluator *ev;
    allow_vocab vocab;
    VEC(said) states;     // [0] is the dead one, [1] has said nothing
    uint32_t *slots;      // hash table of states
    size_t n_slots;
    VEC(int32_t) ids;     // scratch
    uint64_t *mask;
    uint32_t mask_of;     // the state it belongs to; 0: none
};

static const char *piece(void *ctx, int32_t id, size_t *n) { return tl_token_text(ctx, id, false, n); }
static bool is_end(void *ctx, int32_t id) { return tl_token_is_end(ctx, id); }
static tl_status no_memory(tl_error *err) { return err_set(err, TL_E_MEMORY, "out of memory"); }

tl_status rule_new(tl_model *m, const char *file, const char *text, size_t n, rule_constraint **out, tl_error *err) {
    rule_constraint *r = mem_calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->model = m;
    r->o = (tl_program_options){.file = file, .engine = m->engine, .model = m};
    r->vocab = (allow_vocab){.ctx = m, .n = (int32_t)m->n_vocab, .text = piece, .is_end = is_end};
    r->mask = mem_calloc(((size_t)m->n_vocab + 63) / 64, sizeof *r->mask);
    tl_status s = r->mask && vec_push(&r->states, ((said){0})) && vec_push(&r->states, ((said){0})) ? TL_OK : no_memory(err);
    if (s == TL_OK) s = program_start(&r->host, &r->o, &r->ev, err);
    if (s == TL_OK) s = allow_open(r->ev, file, text, n, &r->vocab, err);
    if (s == TL_OK) *out = r;
    else rule_free(r);
    return s;
}

void rule_free(rule_constraint *r) {
    if (!r) return;
    program_end(&r->host, r->ev);
    vec_free(&r->states), vec_free(&r->ids);
    mem_free(r->slots), mem_free(r->mask);
    mem_free(r);
}

static size_t place(const rule_constraint *r, uint32_t before, int32_t token) {
    uint64_t h = ((uint64_t)before << 32 | (uint32_t)token) * 0x9fb21c651e98df25u;
    size_t k = (h ^ h >> 32) & (r->n_slots - 1);
    for (; r->slots[k]; k = (k + 1) & (r->n_slots - 1))
        if (r->states.p[r->slots[k]].before == before && r->states.p[r->slots[k]].token == token) break;
    return k;
}

static bool grow(rule_constraint *r) {
    if (r->states.n * 2 < r->n_slots) return true;
    size_t n = r->n_slots ? 2 * r->n_slots : 256;
    uint32_t *slots = mem_calloc(n, sizeof *slots);
    if (!slots) return false;
    mem_free(r->slots);
    r->slots = slots, r->n_slots = n;
    for (uint32_t i = START + 1; i < r->states.n; i++) r->slots[place(r, r->states.p[i].before, r->states.p[i].token)] = i;
    return true;
}

tl_status rule_mask(rule_constraint *r, uint32_t state, const uint64_t **mask, tl_error *err) {
    if (state == 0 || state >= r->states.n) return err_set(err, TL_E_USAGE, "no such state of the constraint");
    *mask = r->mask;
    if (r->mask_of == state) return TL_OK;
    size_t n = (size_t)r->states.p[state].length;
    if (!vec_reserve(&r->ids, n + 1)) return no_memory(err);
    for (uint32_t s = state; s != START; s = r->states.p[s].before) r->ids.p[r->states.p[s].length - 1] = r->states.p[s].token;
    r->mask_of = 0;
    TL_TRY(allow_mask(r->ev, &r->vocab, r->ids.p, n, r->mask, err));
    r->mask_of = state;
    return TL_OK;
}

static bool in_mask(const uint64_t *mask, int32_t id) { return mask[id / 64] >> (id % 64) & 1; }

tl_status rule_next(rule_constraint *r, uint32_t state, int32_t token, uint32_t *next, tl_error *err) {
    const uint64_t *mask;
    *next = 0;
    if (token < 0 || token >= r->vocab.n) return err_set(err, TL_E_USAGE, "no such token");
    if (state == 0) return TL_OK;
    TL_TRY(rule_mask(r, state, &mask, err));
    if (!in_mask(mask, token) || tl_token_is_end(r->model, token)) return TL_OK;
    if (!grow(r)) return no_memory(err);
    size_t k = place(r, state, token);
    if (!r->slots[k]) {
        if (r->states.n >= MOST_STATES) return err_set(err, TL_E_LIMIT, "the constraint has met more than %d texts", MOST_STATES);
        said s = {state, token, r->states.p[state].length + 1};
        if (!vec_push(&r->states, s)) return no_memory(err);
        r->slots[k] = (uint32_t)r->states.n - 1;
    }
    *next = r->slots[k];
    return TL_OK;
}

bool rule_may_end(rule_constraint *r, uint32_t state) {
    const uint64_t *mask;
    if (rule_mask(r, state, &mask, NULL) != TL_OK) return false;
    for (int32_t id = 0; id < r->vocab.n; id++)
        if (in_mask(mask, id) && tl_token_is_end(r->model, id)) return true;
    return false;
}
