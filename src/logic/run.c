// run.c - evaluation: strata from the bottom up, each to its fixpoint by semi-naive rounds.
// Only strata that depend on a change are evaluated again, from their facts on.
#include "logic/impl.h"

typedef struct evaluation {
    logic_db *db;
    exec x;
    int stratum;
    logic_rel *first; // of the stratum
} evaluation;

static bool depends_on_change(const llit *l) {
    for (; l; l = l->next)
        if ((l->kind == LL_ATOM && l->rel->dirty) || l->kind == LL_TEST || depends_on_change(l->inner)) return true;
    return false;
}

static bool is_stale(const logic_rel *r) {
    for (; r; r = r->in_stratum) {
        if (r->dirty) return true;
        for (const lrule *u = r->rules; u; u = u->next)
            if (depends_on_change(u->lits)) return true;
    }
    return false;
}

static bool reset(evaluation *v, logic_rel *r) {
    logic_word row[LOGIC_MAX_COLS];
    r->dirty = true;
    tupset_deinit(&r->full);
    tupset_init(&r->full, &v->db->mem, r->arity, r->fold, r->arity ? r->cols[r->arity - 1].type : LT_INT, false);
    if (r->fold == LF_NONE) return tupset_copy(&r->full, &r->base) || exec_memory(&v->x);
    for (size_t i = 0; i < r->base.n; i++) {
        tupset_row(&r->base, i, row);
        if (r->fold == LF_COUNT) row[r->arity - 1] = logic_of_int(1);
        tup_result t = tupset_insert(&r->full, row);
        if (t == TUP_OVERFLOW) return exec_fail(&v->x, TL_E_PROGRAM, r->at, "the sum is beyond int64");
        if (t == TUP_NOMEM) return exec_memory(&v->x);
    }
    return true;
}

static bool is_recursive(const lrule *u, const llit *l) {
    for (; l; l = l->next)
        if (l->kind == LL_ATOM && l->rel->stratum == u->head->stratum) return true;
    return false;
}

static void complete(logic_rel *r) { r->lo = r->hi = rel_rows(r)->n; }

// Begins a round: what the last one added is new. False: it added nothing.
static bool next_round(evaluation *v) {
    bool any = false;
    for (logic_rel *r = v->first; r; r = r->in_stratum) {
        tupset *s = rel_rows(r);
        r->lo = r->hi;
        r->hi = s->n;
        if (r->fold != LF_NONE && s->mem) tupset_rotate(s);
        any = any || r->hi > r->lo || (r->fold != LF_NONE && s->changed_n > 0);
    }
    return any;
}

static bool budget(evaluation *v, int64_t round) {
    int64_t max = v->db->opt.max_rounds ? v->db->opt.max_rounds : 1000000;
    if (round < max) return true;
    const logic_rel *r = v->first;
    while (r->in_stratum && r->lo == r->hi) r = r->in_stratum;
    const tupset *s = &r->full;
    sbuf text = {0};
    for (int c = 0; c < r->arity && s->n; c++) {
        if (c) sbuf_puts(&text, ", ");
        logic_value_text(value_of_word(v->db, tupset_get(s, s->n - 1, c), r->cols[c].type), &text);
    }
    exec_fail(&v->x, TL_E_LIMIT, r->rules->at, "the rules of '%.*s' have not come to an end after %lld rounds (%zu rows, the last is %.*s(%s))", (int)r->name.n, r->name.p,
              (long long)max, s->n, (int)r->name.n, r->name.p, text.p ? text.p : "");
    sbuf_free(&text);
    return false;
}

typedef struct delta_plan { lplan *plan; struct delta_plan *next; } delta_plan;

// One plan for each atom of the stratum in each of its rules: that atom reads what is new.
static delta_plan *delta_plans(evaluation *v) {
    delta_plan *first = NULL, **tail = &first;
    for (logic_rel *r = v->first; r; r = r->in_stratum)
        for (lrule *u = r->rules; u; u = u->next)
            for (const llit *l = u->lits; l; l = l->next) {
                if (l->kind != LL_ATOM || l->rel->stratum != v->stratum) continue;
                *tail = arena_new(&v->db->tmp, delta_plan);
                (*tail)->plan = plan_rule(v->db, u, l->index, v->stratum);
                tail = &(*tail)->next;
            }
    return first;
}

static bool fixpoint(evaluation *v) {
    bool recursive = false;
    for (logic_rel *r = v->first; r; r = r->in_stratum) {
        if (!r->rules) continue;
        if (!reset(v, r)) return false;
        r->lo = r->hi = 0;
    }
    for (logic_rel *r = v->first; r; r = r->in_stratum)
        for (lrule *u = r->rules; u; u = u->next) {
            if (is_recursive(u, u->lits)) recursive = true;
            else if (!exec_plan(&v->x, plan_rule(v->db, u, -1, v->stratum), &r->full)) return false;
        }
    if (!recursive) return true;
    delta_plan *plans = delta_plans(v);
    for (int64_t round = 0; next_round(v); round++) {
        if (!budget(v, round)) return false;
        for (const delta_plan *p = plans; p; p = p->next)
            if (!exec_plan(&v->x, p->plan, &p->plan->rule->head->full)) return false;
    }
    return true;
}

static tl_status report(evaluation *v, diag_list *dl) {
    failure *f = &v->x.fail;
    if (f->status != TL_E_MEMORY && dl) diag_add(dl, DG_ERROR, f->at, "%s", f->err.message);
    return f->status;
}

static void mark_rest(logic_db *db) { // an evaluation broke off: what it has not finished is stale
    for (logic_rel *r = db->rels; r; r = r->next) r->dirty = r->dirty || r->rules;
}

static bool run_strata(evaluation *v, int n) {
    logic_db *db = v->db;
    logic_rel **strata = arena_array(&db->tmp, logic_rel *, n + 1);
    for (logic_rel *r = db->rels; r; r = r->next) {
        r->in_stratum = strata[r->stratum];
        strata[r->stratum] = r;
    }
    for (int i = 0; i < n; i++) {
        v->stratum = i;
        v->first = strata[i];
        if (v->first->rules && is_stale(v->first) && !fixpoint(v)) return false;
        for (logic_rel *r = v->first; r; r = r->in_stratum) complete(r);
    }
    return true;
}

tl_status run_all(logic_db *db, diag_list *dl) {
    if (!db->dirty) return TL_OK;
    int n;
    if (db->untyped && !infer_all(db, dl)) return TL_E_PROGRAM;
    db->untyped = false;
    if (!stratify(db, dl, &n)) return TL_E_PROGRAM;
    evaluation *v = arena_new(&db->tmp, evaluation);
    v->db = db;
    bool ok = exec_init(&v->x, db) && run_strata(v, n);
    exec_deinit(&v->x);
    if (!ok) {
        mark_rest(db);
        return report(v, dl);
    }
    db->dirty = false;
    for (logic_rel *r = db->rels; r; r = r->next) {
        r->dirty = false;
        for (const lrule *u = r->rules; u; u = u->next)
            for (const llit *l = u->lits; l; l = l->next) db->dirty = db->dirty || l->kind == LL_TEST; // may say something else next time
    }
    return TL_OK;
}

typedef struct run_args { logic_db *db; diag_list *dl; } run_args;
static tl_status run_guarded(void *ctx) {
    run_args *a = ctx;
    return run_all(a->db, a->dl);
}

tl_status logic_run(logic_db *db, diag_list *dl) {
    run_args a = {db, dl};
    tl_status status = guarded(db, dl, run_guarded, &a);
    if (status == TL_E_MEMORY) {
        mark_rest(db);
        return mem_diag(db, dl);
    }
    return status;
}
