// allow.c - a rule of a program as a constraint: Allowed(seq, tok) <- ... over what has been said so far.
// The host declares Said(seq, pos, tok), Sequence(seq), Piece(tok, text) and End(tok), fills them, and asks for Allowed.
#include "eval/allow.h"

#include "eval/value.h"

static const char declarations[] = "relation Said(seq: int, pos: int, tok: int)\n"
                                   "relation Sequence(seq: int)\n"
                                   "relation Piece(tok: int, text: string)\n"
                                   "relation End(tok: int)\n";

typedef struct job {
    const char *file;
    const allow_vocab *vocab;
    const int32_t *ids;
    size_t n;
    uint64_t *mask;
} job;

static logic_rel *relation_of(evaluator *ev, const char *name) {
    logic_rel *r = ev->logic ? logic_find(ev->logic, str_of(name)) : NULL;
    if (!r) ev_fail(ev, (span){0}, "the program has no relation %s", name);
    return r;
}

static void fact(evaluator *ev, logic_rel *r, const logic_value *v) {
    tl_error err = {0};
    if (logic_fact(ev->logic, r, v, &err) != TL_OK) ev_fail_err(ev, (span){0}, &err);
}

static void fill(evaluator *ev, void *ctx) {
    const allow_vocab *v = ((job *)ctx)->vocab;
    logic_rel *piece = relation_of(ev, "Piece"), *end = relation_of(ev, "End");
    fact(ev, relation_of(ev, "Sequence"), &(logic_value){.type = LT_INT});
    for (int32_t id = 0; id < v->n; id++) {
        size_t n;
        const char *text = v->text(v->ctx, id, &n);
        const logic_value row[2] = {{.type = LT_INT, .i = id}, {.type = LT_STRING, .s = {text, n}}};
        if (v->is_end(v->ctx, id)) fact(ev, end, row);
        else if (n) fact(ev, piece, row);
    }
    logic_rel *allowed = logic_find(ev->logic, STR("Allowed"));
    if (!allowed || logic_arity(allowed) != 2) ev_fail(ev, (span){0}, "a constraint needs a rule Allowed(seq, tok) <- ...");
}

tl_status allow_open(evaluator *ev, const char *file, const char *text, size_t n, const allow_vocab *v, tl_error *err) {
    job j = {.vocab = v};
    TL_TRY(ev_run(ev, "constraint", declarations, sizeof declarations - 1, false, err));
    TL_TRY(text ? ev_enter(ev, text, n, true, err) : ev_load(ev, file, err));
    return ev_guarded(ev, fill, &j, err);
}

static void ask(evaluator *ev, void *ctx) {
    const job *j = ctx;
    logic_rel *said = relation_of(ev, "Said");
    logic_rows *rows;
    logic_clear(ev->logic, said);
    for (size_t i = 0; i < j->n; i++) {
        const logic_value row[3] = {{.type = LT_INT}, {.type = LT_INT, .i = (int64_t)i}, {.type = LT_INT, .i = j->ids[i]}};
        fact(ev, said, row);
    }
    if (logic_iterate(ev->logic, relation_of(ev, "Allowed"), &ev->dl, &rows) != TL_OK) ev_throw(ev);
    for (size_t i = 0; i < logic_rows_count(rows); i++) {
        logic_value seq = logic_rows_value(rows, i, 0), tok = logic_rows_value(rows, i, 1);
        if (seq.type == LT_INT && seq.i == 0 && tok.type == LT_INT && tok.i >= 0 && tok.i < j->vocab->n)
            j->mask[tok.i / 64] |= (uint64_t)1 << (tok.i % 64);
    }
    logic_rows_free(rows);
}

tl_status allow_mask(evaluator *ev, const allow_vocab *v, const int32_t *ids, size_t n, uint64_t *mask, tl_error *err) {
    job j = {.vocab = v, .ids = ids, .n = n, .mask = mask};
    memset(mask, 0, ((size_t)v->n + 63) / 64 * sizeof *mask);
    return ev_guarded(ev, ask, &j, err);
}
