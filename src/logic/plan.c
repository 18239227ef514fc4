// plan.c - the order of a rule's literals and how each is looked up. Greedy: what only tests comes as early as its
// variables allow; among the atoms, the one expected to yield the fewest rows comes next. The same search without
// sizes decides whether a rule is safe: a literal that can never run has a variable that nothing binds.
#include "logic/impl.h"
#include <math.h>

typedef struct planner {
    logic_db *db;
    lrule *r;
    bool bound[LOGIC_MAX_VARS];
    int delta, stratum;
} planner;

// ---- which variables a thing mentions ----------------------------------------------------------------
typedef void (*var_fn)(void *ctx, int var);

static void expr_vars(const lexpr *e, var_fn fn, void *ctx) {
    if (!e) return;
    if (e->kind == LX_TERM && e->term.kind == TM_VAR) fn(ctx, e->term.var);
    expr_vars(e->a, fn, ctx);
    expr_vars(e->b, fn, ctx);
}

static void literal_vars(const llit *l, var_fn fn, void *ctx) {
    if (l->kind == LL_ATOM)
        for (int i = 0; i < l->rel->arity; i++)
            if (l->terms[i].kind == TM_VAR) fn(ctx, l->terms[i].var);
    expr_vars(l->a, fn, ctx);
    expr_vars(l->b, fn, ctx);
    for (int i = 0; l->kind == LL_TEST && i < l->n_vars; i++) fn(ctx, l->vars[i]);
    for (const llit *k = l->inner; k; k = k->next) literal_vars(k, fn, ctx);
    if (l->kind == LL_FOLD) fn(ctx, l->result);
}

static void mark(void *ctx, int var) { ((bool *)ctx)[var] = true; }

typedef struct missing { const planner *p; int var; const bool *needed; int except; } missing;
static void find_missing(void *ctx, int var) {
    missing *m = ctx;
    if (m->var < 0 && var != m->except && !m->p->bound[var] && (!m->needed || m->needed[var])) m->var = var;
}

// An unbound variable of e, or -1.
static int unbound_in(const planner *p, const lexpr *e) {
    missing m = {p, -1, NULL, -1};
    expr_vars(e, find_missing, &m);
    return m.var;
}

// Can an equation set e?
static bool is_unbound_var(const planner *p, const lexpr *e) {
    return e->kind == LX_TERM && e->term.kind == TM_VAR && !p->bound[e->term.var] && !p->r->vars[e->term.var].computed;
}

// The first variable that keeps a literal from running, or -1. list: where l stands, the other places of its variables.
static int blocked(const planner *p, const llit *l, const llit *list, const lexpr *value) {
    missing m = {p, -1, NULL, -1};
    bool needed[LOGIC_MAX_VARS] = {false};
    switch (l->kind) {
    case LL_ATOM:
        if (l->negated) literal_vars(l, find_missing, &m);
        return m.var;
    case LL_COMPARE:
        if (l->op == OP_EQ && !l->negated) {
            if (is_unbound_var(p, l->a)) return unbound_in(p, l->b);
            if (is_unbound_var(p, l->b)) return unbound_in(p, l->a);
        }
        literal_vars(l, find_missing, &m);
        return m.var;
    case LL_TEST: literal_vars(l, find_missing, &m); return m.var;
    case LL_FOLD: // variables that also occur outside of it must have their values
        for (int i = 0; i < p->r->n_vars; i++) needed[i] = p->r->vars[i].outer;
        for (const llit *k = list; k; k = k->next)
            if (k != l) literal_vars(k, mark, needed);
        expr_vars(value, mark, needed);
        m.needed = needed;
        m.except = l->result;
        literal_vars(l, find_missing, &m);
        return m.var;
    default: return -1;
    }
}

static void bind_literal(planner *p, const llit *l) {
    if (l->kind == LL_ATOM && !l->negated) literal_vars(l, mark, p->bound);
    else if (l->kind == LL_COMPARE && l->op == OP_EQ && !l->negated) literal_vars(l, mark, p->bound);
    else if (l->kind == LL_FOLD) p->bound[l->result] = true;
}

// ---- order ---------------------------------------------------------------------------------------------
static double atom_cost(const planner *p, const llit *l) {
    int free_cols = 0, arity = l->rel->arity;
    for (int i = 0; i < arity; i++) free_cols += l->terms[i].kind == TM_WILD || (l->terms[i].kind == TM_VAR && !p->bound[l->terms[i].var]);
    double n = (double)rel_rows(l->rel)->n + 1;
    if (l->rel->stratum == p->stratum && n < 10000) n = 10000; // still growing
    return arity ? pow(n, (double)free_cols / arity) : 1;
}

static double literal_cost(const planner *p, const llit *l) {
    switch (l->kind) {
    case LL_FALSE: return -4;
    case LL_COMPARE: return -3;
    case LL_ATOM: return l->negated ? -1 : atom_cost(p, l) <= 1 ? -2 : atom_cost(p, l);
    case LL_TEST: return -0.5;
    default: return 1.5; // a fold: a join of its own
    }
}

// Orders a list of literals into out; returns how many can run (fewer than all: the rest is blocked).
static int order(planner *p, const llit *list, const lexpr *value, const llit **out) {
    int n = 0, total = 0;
    for (const llit *l = list; l; l = l->next) total++;
    bool *done = arena_array(&p->db->tmp, bool, total + 1);
    while (n < total) {
        const llit *best = NULL;
        double best_cost = 0;
        int i = 0, best_i = 0;
        for (const llit *l = list; l; l = l->next, i++) {
            if (done[i] || blocked(p, l, list, value) >= 0) continue;
            double cost = p->delta >= 0 && l->index == p->delta ? -5 : literal_cost(p, l);
            if (!best || cost < best_cost) best = l, best_cost = cost, best_i = i;
        }
        if (!best) break;
        done[best_i] = true;
        out[n++] = best;
        bind_literal(p, best);
    }
    return n;
}

// ---- safety ----------------------------------------------------------------------------------------------
static void report_var(planner *p, diag_list *dl, span at, int var, const char *what) {
    const lvar *v = &p->r->vars[var];
    bool named = v->name.n != 0;
    diag *d = diag_add(dl, DG_ERROR, named ? v->at : at, "nothing in the body gives '%.*s' a value, and %s needs it", named ? (int)v->name.n : 5, named ? v->name.p : "this", what);
    if (named && at.src && at.begin != v->at.begin) diag_note(dl, d, at, "needed here");
    if (strcmp(what, "'not'") == 0) diag_fix(dl, d, "write _ for 'no value at all', or an atom that binds %.*s", (int)v->name.n, v->name.p);
    else if (named) diag_fix(dl, d, "add an atom that contains %.*s, or write \"%.*s\" for a constant", (int)v->name.n, v->name.p, (int)v->name.n, v->name.p);
}

static const char *needs(const llit *l) {
    if (l->negated && l->kind == LL_ATOM) return "'not'";
    return l->kind == LL_COMPARE ? "the comparison" : l->kind == LL_FOLD ? "the fold" : "the condition";
}

static bool check_list(planner *p, const llit *list, const lexpr *value, diag_list *dl) {
    int total = 0;
    for (const llit *l = list; l; l = l->next) total++;
    const llit **out = arena_array(&p->db->tmp, const llit *, total + 1);
    int n = order(p, list, value, out);
    for (const llit *l = list; n < total && l; l = l->next) {
        int var = blocked(p, l, list, value);
        if (var < 0) continue;
        report_var(p, dl, l->at, var, needs(l));
        return false;
    }
    for (const llit *l = list; l; l = l->next) {
        if (l->kind != LL_FOLD) continue;
        planner q = *p; // whatever is bound outside may be seen inside
        if (!check_list(&q, l->inner, l->a, dl)) return false;
        int var = unbound_in(&q, l->a);
        for (int i = 0; var < 0 && i < l->n_vars; i++) var = q.bound[l->vars[i]] ? -1 : l->vars[i];
        if (var < 0) continue;
        diag_add(dl, DG_ERROR, p->r->vars[var].at, "nothing inside the fold gives this name a value");
        return false;
    }
    return true;
}

static int group_vars(const planner *p, bool *in) {
    const lrule *r = p->r;
    int n = 0;
    for (int i = 0; i < r->n_vars && r->n_over < 0; i++) in[i] = r->vars[i].outer;
    for (int i = 0; i < r->head->arity && r->n_over >= 0; i++) expr_vars(r->cols[i], mark, in);
    for (int i = 0; i < r->n_over; i++) in[r->over[i]] = true;
    for (int i = 0; i < r->n_vars; i++) n += in[i];
    return n;
}

bool plan_check(logic_db *db, lrule *r, diag_list *dl) {
    planner p = {.db = db, .r = r, .delta = -1, .stratum = -1};
    if (!check_list(&p, r->lits, NULL, dl)) return false;
    for (int i = 0; i < r->head->arity; i++) {
        int var = unbound_in(&p, r->cols[i]);
        if (var < 0) continue;
        report_var(&p, dl, r->cols[i]->at, var, r->head->name.n ? "the head" : "the query");
        return false;
    }
    for (int i = 0; i < r->n_over; i++)
        if (!p.bound[r->over[i]]) {
            report_var(&p, dl, r->at, r->over[i], "the head");
            return false;
        }
    bool in[LOGIC_MAX_VARS] = {false};
    if (r->fold <= LF_OR || group_vars(&p, in) <= LOGIC_MAX_COLS) return true;
    diag_add(dl, DG_ERROR, r->at, "a rule that folds has at most %d variables", LOGIC_MAX_COLS);
    return false;
}

// ---- steps -------------------------------------------------------------------------------------------------
static pcol *add_col(pcol *list, int *n, int col, lterm t, const logic_rel *rel) {
    logic_word w;
    if (t.kind == TM_CONST && convert_word(t.word, t.type, rel->cols[col].type, &w)) t.word = w;
    list[(*n)++] = (pcol){.col = col, .term = t};
    return list;
}

static access_path choose_path(planner *p, pstep *s, int n_known, uint32_t known) {
    const logic_rel *r = s->rel;
    int n_key = r->arity - (r->fold != LF_NONE);
    uint32_t key_mask = n_key ? (uint32_t)(((uint64_t)1 << n_key) - 1) : 0;
    if (r->fold == LF_NONE && n_known == r->arity) return PATH_CONTAINS;
    s->key_cols = known & key_mask;
    if (r->fold != LF_NONE && s->key_cols == key_mask && s->range != RANGE_NEW) return PATH_FIND;
    if (!s->key_cols || p->delta == s->lit->index) return PATH_SCAN;
    return tupset_has_room(rel_rows(s->lit->rel), s->key_cols) ? PATH_INDEX : PATH_SCAN;
}

static void atom_step(planner *p, pstep *s, const llit *l) {
    logic_rel *r = l->rel;
    s->kind = SP_ATOM;
    s->lit = l;
    s->rel = r;
    pcol *all = arena_array(&p->db->tmp, pcol, 3 * r->arity + 1);
    s->key = all;
    s->bind = all + r->arity;
    s->check = all + 2 * r->arity;
    bool recursive = p->delta >= 0 && r->stratum == p->stratum && l->index >= 0;
    s->range = !recursive ? RANGE_ALL : l->index == p->delta ? RANGE_NEW : l->index > p->delta && r->fold == LF_NONE ? RANGE_OLD : RANGE_ALL;
    uint32_t known = 0;
    int n_known = 0;
    for (int i = 0; i < r->arity; i++) {
        const lterm *t = &l->terms[i];
        if (t->kind == TM_CONST || (t->kind == TM_VAR && p->bound[t->var])) known |= (uint32_t)1 << i, n_known++;
    }
    s->path = choose_path(p, s, n_known, known);
    if (s->path == PATH_CONTAINS) s->key_cols = known;
    else if (s->path == PATH_SCAN) s->key_cols = 0;
    else if (s->path == PATH_INDEX) tupset_index(rel_rows(r), s->key_cols); // takes its place among the indexes now
    bool here[LOGIC_MAX_VARS] = {false};
    for (int i = 0; i < r->arity; i++) {
        lterm t = l->terms[i];
        if (s->key_cols >> i & 1) add_col(s->key, &s->n_key, i, t, r);
        else if (t.kind == TM_CONST || (t.kind == TM_VAR && (p->bound[t.var] || here[t.var]))) add_col(s->check, &s->n_check, i, t, r);
        else if (t.kind == TM_VAR) add_col(s->bind, &s->n_bind, i, t, r), here[t.var] = true;
    }
}

static pstep *plan_list(planner *p, const llit *list, const lexpr *value, bool *used, step_kind end, solution *sol);

static void fold_step(planner *p, pstep *s, const llit *l) {
    s->kind = SP_FOLD;
    s->target = l->result;
    planner q = *p;
    q.delta = -1;
    bool used[LOGIC_MAX_VARS] = {false};
    for (int i = 0; i < l->n_vars; i++) used[l->vars[i]] = true;
    expr_vars(l->a, mark, used);
    s->sol.vars = arena_array(&p->db->tmp, int, p->r->n_vars + 1);
    for (int i = 0; i < p->r->n_vars; i++)
        if (used[i] && !p->bound[i]) s->sol.vars[s->sol.n++] = i;
    s->inner = plan_list(&q, l->inner, l->a, used, SP_COLLECT, &s->sol);
}

static void plan_step(planner *p, pstep *s, const llit *l) {
    s->lit = l;
    switch (l->kind) {
    case LL_ATOM: atom_step(p, s, l); break;
    case LL_COMPARE: {
        bool equation = l->op == OP_EQ && !l->negated, a = equation && is_unbound_var(p, l->a), b = equation && !a && is_unbound_var(p, l->b);
        s->kind = a || b ? SP_ASSIGN : SP_FILTER;
        if (a || b) s->target = (a ? l->a : l->b)->term.var, s->e = a ? l->b : l->a;
        break;
    }
    case LL_TEST: s->kind = SP_TEST; break;
    case LL_FOLD: fold_step(p, s, l); break;
    default: s->kind = SP_STOP;
    }
    bind_literal(p, l);
}

// From the last step to the first: a column that nobody reads later is not bound, and an atom that binds nothing is
// left at its first match. `used` begins as what the end of the plan reads. Rows that an atom skips over columns it
// does not bind, or binds for the join only, make solutions come several times.
static void trim(pstep *steps, int n, bool *used, solution *sol) {
    bool *solved = used + LOGIC_MAX_VARS;
    for (int i = n - 1; i >= 0; i--) {
        pstep *s = &steps[i];
        if (s->kind == SP_ATOM && !s->lit->negated) {
            int kept = 0;
            bool wild = s->n_key + s->n_check + s->n_bind < s->rel->arity;
            for (int k = 0; k < s->n_bind; k++) {
                int v = s->bind[k].term.var;
                bool read = used[v];
                for (int c = 0; c < s->n_check; c++) read = read || (s->check[c].term.kind == TM_VAR && s->check[c].term.var == v);
                if (read) s->bind[kept++] = s->bind[k];
                else wild = true;
                if (read && sol && !solved[v]) sol->distinct = true;
            }
            s->n_bind = kept;
            s->once = kept == 0;
            if (sol && wild && !s->once) sol->distinct = true;
        }
        literal_vars(s->lit, mark, used);
    }
}

static pstep *plan_list(planner *p, const llit *list, const lexpr *value, bool *used, step_kind end, solution *sol) {
    int total = 0;
    for (const llit *l = list; l; l = l->next) total++;
    const llit **out = arena_array(&p->db->tmp, const llit *, total + 1);
    planner q = *p;
    int n = order(&q, list, value, out);
    pstep *steps = arena_array(&p->db->tmp, pstep, total + 1);
    for (int i = 0; i < n; i++) plan_step(p, &steps[i], out[i]);
    steps[n].kind = end;
    bool reads[2 * LOGIC_MAX_VARS];
    memcpy(reads, used, LOGIC_MAX_VARS);
    memcpy(reads + LOGIC_MAX_VARS, used, LOGIC_MAX_VARS);
    trim(steps, n, reads, sol);
    return steps;
}

lplan *plan_rule(logic_db *db, lrule *r, int delta, int stratum) {
    planner p = {.db = db, .r = r, .delta = delta, .stratum = stratum};
    lplan *plan = arena_new(&db->tmp, lplan);
    plan->rule = r;
    bool used[LOGIC_MAX_VARS] = {false};
    bool adds = r->fold == LF_SUM || r->fold == LF_AVG || r->fold == LF_COUNT;
    if (adds) {
        group_vars(&p, used);
        plan->sol.vars = arena_array(&db->tmp, int, r->n_vars + 1);
        for (int i = 0; i < r->n_vars; i++)
            if (used[i]) plan->sol.vars[plan->sol.n++] = i;
    }
    for (int i = 0; i < r->head->arity; i++) expr_vars(r->cols[i], mark, used);
    plan->steps = plan_list(&p, r->lits, NULL, used, SP_EMIT, adds ? &plan->sol : NULL);
    int n = 0;
    while (plan->steps[n].kind != SP_EMIT) n++;
    pstep *last = n ? &plan->steps[n - 1] : NULL;
    if (last) last->last = last->kind == SP_ATOM && !last->lit->negated && !last->once && last->n_check == 0 && !adds;
    return plan;
}
