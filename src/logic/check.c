// check.c - types of variables and columns by inference; strata, and the cycles that have none.
#include "logic/impl.h"

#define NAME(s) (int)((s).n < 100 ? (s).n : 100), (s).p

// ---- types -----------------------------------------------------------------------------------------------
typedef struct infer { logic_db *db; lrule *r; diag_list *dl; bool changed, failed; } infer;

static logic_type join(logic_type a, logic_type b) { return a == LT_ENTITY || b == LT_ENTITY ? LT_ENTITY : a; }

static void set_var(infer *f, int var, logic_type t, domain *dom, span at) {
    lvar *v = &f->r->vars[var];
    if (v->type == LT_ANY) {
        v->type_at = at;
    } else if (v->type != t && !(type_is_text(v->type) && type_is_text(t))) {
        diag *d = diag_add(f->dl, DG_ERROR, at, "'%.*s' is %s here and %s elsewhere", NAME(v->name), type_name(t), type_name(v->type));
        diag_note(f->dl, d, v->type_at, "%s here", type_name(v->type));
        f->failed = true;
        return;
    }
    bool generic = !v->dom || str_is(v->dom->name, "entity");
    if (!generic && dom && dom != v->dom && !str_is(dom->name, "entity")) {
        diag *d = diag_add(f->dl, DG_ERROR, at, "'%.*s' is a %.*s here and a %.*s elsewhere", NAME(v->name), NAME(dom->name), NAME(v->dom->name));
        diag_note(f->dl, d, v->type_at, "a %.*s here", NAME(v->dom->name));
        f->failed = true;
        return;
    }
    logic_type now = v->type == LT_ANY ? t : join(v->type, t);
    domain *best = generic && dom ? dom : v->dom;
    if (now == v->type && best == v->dom) return;
    v->type = now;
    if (best != v->dom) v->type_at = at;
    v->dom = best;
    f->changed = true;
}

static void set_col(infer *f, lcol *c, logic_type t, domain *dom) {
    if (c->type != LT_ANY || t == LT_ANY) return;
    c->type = t;
    if (t == LT_ENTITY) c->dom = dom ? dom : domain_get(f->db, (str){0}, true);
    f->changed = true;
}

static void infer_term(infer *f, const logic_rel *rel, int col, const lterm *t) {
    lcol *c = &rel->cols[col];
    logic_word w;
    if (t->kind == TM_VAR) {
        const lvar *v = &f->r->vars[t->var];
        if (c->type != LT_ANY) set_var(f, t->var, c->type, c->dom, t->at);
        else set_col(f, c, v->type, v->dom);
    } else if (t->kind == TM_CONST && !convert_word(t->word, t->type, c->type, &w)) {
        diag *d = diag_add(f->dl, DG_ERROR, t->at, "column %d of '%.*s' is %s, this is %s", col + 1, NAME(rel->name), type_name(c->type), type_name(t->type));
        if (rel->at.src) diag_note(f->dl, d, rel->at, "declared here");
        f->failed = true;
    }
}

static void type_binary(infer *f, lexpr *e) {
    logic_type a = e->a->type, b = e->b->type;
    if (a == LT_ANY || b == LT_ANY) e->type = LT_ANY;
    else e->type = a == LT_FLOAT || b == LT_FLOAT || e->op == OP_DIV ? LT_FLOAT : LT_INT;
    const lexpr *bad = type_is_text(a) || a == LT_BOOL ? e->a : type_is_text(b) || b == LT_BOOL ? e->b : NULL;
    if (!bad) return;
    diag_add(f->dl, DG_ERROR, bad->at, "expected a number for arithmetic, this is %s", type_name(bad->type));
    f->failed = true;
}

static void type_expr(infer *f, lexpr *e) {
    if (!e || f->failed) return;
    type_expr(f, e->a);
    type_expr(f, e->b);
    if (f->failed) return;
    switch (e->kind) {
    case LX_TERM: e->type = e->term.kind == TM_VAR ? f->r->vars[e->term.var].type : e->term.type; break;
    case LX_TO_INT: e->type = LT_INT; break;
    case LX_TO_FLOAT: e->type = LT_FLOAT; break;
    case LX_NEG:
    case LX_ABS:
        e->type = e->a->type;
        if (!type_is_text(e->type)) break;
        diag_add(f->dl, DG_ERROR, e->at, "expected a number for arithmetic, this is %s", type_name(e->type));
        f->failed = true;
        break;
    default: type_binary(f, e);
    }
}

static bool numeric(logic_type t) { return t == LT_INT || t == LT_FLOAT; }

static void infer_compare(infer *f, llit *l) {
    type_expr(f, l->a);
    type_expr(f, l->b);
    if (f->failed) return;
    logic_type a = l->a->type, b = l->b->type;
    if (l->op == OP_EQ && !l->negated) { // an equation can give a variable its type
        if (a == LT_ANY && b != LT_ANY && l->a->kind == LX_TERM) set_var(f, l->a->term.var, b, NULL, l->at);
        if (b == LT_ANY && a != LT_ANY && l->b->kind == LX_TERM) set_var(f, l->b->term.var, a, NULL, l->at);
    }
    if (a == LT_ANY || b == LT_ANY || a == b || (numeric(a) && numeric(b)) || (type_is_text(a) && type_is_text(b))) return;
    diag_add(f->dl, DG_ERROR, l->at, "%s is compared with %s", type_name(a), type_name(b));
    f->failed = true;
}

static void infer_literals(infer *f, llit *l);
static void infer_fold(infer *f, llit *l) {
    infer_literals(f, l->inner);
    type_expr(f, l->a);
    if (f->failed) return;
    logic_type t = l->fold == LF_COUNT ? LT_INT : l->fold == LF_AVG ? LT_FLOAT : l->a->type;
    if (l->a && l->a->type != LT_ANY && !numeric(l->a->type)) {
        diag_add(f->dl, DG_ERROR, l->at, "expected numbers to fold, these are %s", type_name(l->a->type));
        f->failed = true;
    } else if (t != LT_ANY) {
        set_var(f, l->result, t, NULL, l->at);
    }
}

static void infer_literals(infer *f, llit *l) {
    for (; l && !f->failed; l = l->next) {
        if (l->kind == LL_ATOM)
            for (int i = 0; i < l->rel->arity && !f->failed; i++) infer_term(f, l->rel, i, &l->terms[i]);
        else if (l->kind == LL_COMPARE) infer_compare(f, l);
        else if (l->kind == LL_FOLD) infer_fold(f, l);
    }
}

static void head_mismatch(infer *f, int i, const lexpr *e, logic_type have) {
    const logic_rel *h = f->r->head;
    diag *d = diag_add(f->dl, DG_ERROR, e->at, "column %d of '%.*s' is %s, this is %s", i + 1, NAME(h->name), type_name(h->cols[i].type), type_name(have));
    if (h->at.src) diag_note(f->dl, d, h->at, "declared here");
    if (have == LT_FLOAT && h->cols[i].type == LT_INT) diag_fix(f->dl, d, "int(...) cuts off the fraction");
    f->failed = true;
}

static void infer_head(infer *f, int i, lexpr *e) {
    lrule *r = f->r;
    lcol *c = &r->head->cols[i];
    logic_word w;
    type_expr(f, e);
    if (f->failed) return;
    bool folded = r->fold != LF_NONE && i == r->head->arity - 1;
    logic_type t = folded && r->fold == LF_COUNT ? LT_INT : folded && r->fold == LF_AVG ? LT_FLOAT : e->type;
    domain *dom = e->kind == LX_TERM && e->term.kind == TM_VAR ? r->vars[e->term.var].dom : NULL;
    if (folded && r->fold != LF_OR && t != LT_ANY && !numeric(t)) {
        diag_add(f->dl, DG_ERROR, e->at, "expected a number to fold, this is %s", type_name(t));
        f->failed = true;
        return;
    }
    set_col(f, c, t, dom);
    if (t == LT_ANY && c->type != LT_ANY && e->kind == LX_TERM) set_var(f, e->term.var, c->type, c->dom, e->at);
    if (t == LT_ANY || convert_word(0, t, c->type, &w)) return;
    head_mismatch(f, i, e, t);
}

bool infer_rule(logic_db *db, lrule *r, diag_list *dl) {
    infer f = {.db = db, .r = r, .dl = dl};
    for (int i = 0; i < r->n_vars; i++) r->vars[i].type = LT_ANY, r->vars[i].dom = NULL;
    do {
        f.changed = false;
        infer_literals(&f, r->lits);
        for (int i = 0; i < r->head->arity && !f.failed; i++) infer_head(&f, i, r->cols[i]);
    } while (f.changed && !f.failed);
    return !f.failed;
}

// Columns get types from rules, which get them from columns: in rounds, until nothing changes.
bool infer_all(logic_db *db, diag_list *dl) {
    int untyped = -1;
    for (;;) {
        int left = 0;
        for (const logic_rel *r = db->rels; r; r = r->next)
            for (int i = 0; i < r->arity; i++) left += r->cols[i].type == LT_ANY;
        if (left == untyped) return true;
        untyped = left;
        for (logic_rel *h = db->rels; h; h = h->next)
            for (lrule *r = h->rules; r; r = r->next)
                if (!infer_rule(db, r, dl)) return false;
    }
}

// ---- strata ----------------------------------------------------------------------------------------------
typedef struct edge_walk { // the atoms of a rule, folds included
    const llit *stack[LOGIC_MAX_FOLDS + 2];
    int n;
    bool folded[LOGIC_MAX_FOLDS + 2];
} edge_walk;

static void walk_begin(edge_walk *w, const lrule *r) {
    w->n = 1;
    w->stack[0] = r->lits;
    w->folded[0] = r->fold == LF_SUM || r->fold == LF_AVG || r->fold == LF_COUNT;
}

// *strict: what the head says is not monotone in this atom.
static const llit *walk_next(edge_walk *w, bool *strict) {
    while (w->n > 0) {
        const llit *l = w->stack[w->n - 1];
        bool folded = w->folded[w->n - 1];
        if (!l) {
            w->n--;
            continue;
        }
        w->stack[w->n - 1] = l->next;
        if (l->kind == LL_FOLD) {
            w->stack[w->n] = l->inner;
            w->folded[w->n++] = true;
        } else if (l->kind == LL_ATOM) {
            *strict = folded || l->negated;
            return l;
        }
    }
    return NULL;
}

typedef struct tarjan { logic_rel **stack; int n, clock, strata; } tarjan;

static void visit(tarjan *t, logic_rel *r) {
    r->order = r->low = ++t->clock;
    r->on_stack = true;
    t->stack[t->n++] = r;
    for (const lrule *u = r->rules; u; u = u->next) {
        edge_walk w;
        bool strict;
        walk_begin(&w, u);
        for (const llit *l; (l = walk_next(&w, &strict)) != NULL;) {
            if (!l->rel->order) visit(t, l->rel);
            if (l->rel->on_stack && l->rel->low < r->low) r->low = l->rel->low;
        }
    }
    if (r->low != r->order) return;
    logic_rel *top;
    do {
        top = t->stack[--t->n];
        top->on_stack = false;
        top->stratum = t->strata;
    } while (top != r);
    t->strata++;
}

// Notes the way from `from` back to `to` inside one stratum; the graph is small, so a breadth-first search will do.
static void note_way(logic_db *db, diag_list *dl, diag *d, logic_rel *from, const logic_rel *to) {
    logic_rel **queue = arena_array(&db->tmp, logic_rel *, db->n_rels + 1);
    const llit **by = arena_array(&db->tmp, const llit *, db->n_rels + 1);
    int *before = arena_array(&db->tmp, int, db->n_rels + 1);
    int n = 1, at = 0, path[64], len = 0;
    queue[0] = from;
    for (logic_rel *r = db->rels; r; r = r->next) r->on_stack = false;
    from->on_stack = true;
    for (; at < n && queue[at] != to; at++)
        for (const lrule *u = queue[at]->rules; u; u = u->next) {
            edge_walk w;
            bool strict;
            walk_begin(&w, u);
            for (const llit *l; (l = walk_next(&w, &strict)) != NULL;) {
                if (l->rel->on_stack || l->rel->stratum != from->stratum) continue;
                l->rel->on_stack = true;
                by[n] = l;
                before[n] = at;
                queue[n++] = l->rel;
            }
        }
    for (int i = at; i > 0 && i < n && len < 64; i = before[i]) path[len++] = i;
    while (len-- > 0) {
        const logic_rel *a = queue[before[path[len]]], *b = queue[path[len]];
        diag_note(dl, d, by[path[len]]->at, "'%.*s' is defined through '%.*s' here", NAME(a->name), NAME(b->name));
    }
    for (logic_rel *r = db->rels; r; r = r->next) r->on_stack = false;
}

static const char *const fold_words[] = {"", "max", "min", "or", "sum", "avg", "count"};

static bool check_edge(logic_db *db, diag_list *dl, const lrule *u, const llit *l, bool strict) {
    logic_rel *h = u->head, *b = l->rel;
    if (h->stratum != b->stratum) return true;
    diag *d;
    if (strict && l->negated) {
        if (h == b) d = diag_add(dl, DG_ERROR, l->at, "'%.*s' is defined by its own absence", NAME(h->name));
        else d = diag_add(dl, DG_ERROR, l->at, "'%.*s' is defined by the absence of '%.*s', which is defined by '%.*s'", NAME(h->name), NAME(b->name), NAME(h->name));
        note_way(db, dl, d, b, h);
        diag_fix(dl, d, "'not' may only ask relations that are complete before '%.*s' begins", NAME(h->name));
        return false;
    }
    if (strict) {
        const char *what = u->fold > LF_OR ? fold_words[u->fold] : "a fold";
        if (h == b) d = diag_add(dl, DG_ERROR, l->at, "'%.*s' is defined by %s over itself", NAME(h->name), what);
        else d = diag_add(dl, DG_ERROR, l->at, "'%.*s' is defined by %s over '%.*s', which is defined by '%.*s'", NAME(h->name), what, NAME(b->name), NAME(h->name));
        note_way(db, dl, d, b, h);
        diag_fix(dl, d, "max and min may be recursive; sum, avg and count need relations that are complete");
        return false;
    }
    if (b->fold == LF_NONE || b->fold == h->fold || l->terms[b->arity - 1].kind == TM_WILD) return true;
    d = diag_add(dl, DG_ERROR, l->at, "'%.*s' would keep values of '%.*s' that a later round replaces by a better %s", NAME(h->name), NAME(b->name), fold_words[b->fold]);
    note_way(db, dl, d, b, h);
    diag_fix(dl, d, "define '%.*s' by %s= too, or keep it out of the recursion", NAME(h->name), fold_words[b->fold]);
    return false;
}

bool stratify(logic_db *db, diag_list *dl, int *n) {
    tarjan t = {.stack = arena_array(&db->tmp, logic_rel *, db->n_rels + 1)};
    for (logic_rel *r = db->rels; r; r = r->next) r->order = 0, r->on_stack = false;
    for (logic_rel *r = db->rels; r; r = r->next)
        if (!r->order) visit(&t, r);
    *n = t.strata;
    for (logic_rel *r = db->rels; r; r = r->next)
        for (const lrule *u = r->rules; u; u = u->next) {
            edge_walk w;
            bool strict;
            walk_begin(&w, u);
            for (const llit *l; (l = walk_next(&w, &strict)) != NULL;)
                if (!check_edge(db, dl, u, l, strict)) return false;
        }
    return true;
}
