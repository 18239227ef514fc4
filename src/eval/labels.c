// labels.c - the index variables of an equation: which there are, over which axes they run, their sizes.
#include <inttypes.h>

#include "eval/update.h"

static str without_primes(str s) {
    while (s.n && s.p[s.n - 1] == '\'') s.n--;
    return s;
}

int eq_find_label(const equation *q, str name) {
    for (int i = 0; i < q->n; i++)
        if (strncmp(q->lab[i].name, name.p, name.n) == 0 && q->lab[i].name[name.n] == 0) return i;
    return -1;
}

int eq_label_of(equation *q, str name, span at) {
    int i = eq_find_label(q, name);
    if (i >= 0) return i;
    if (q->n == EQ_LABELS) ev_fail(q->ev, at, "more than %d indices in one statement", EQ_LABELS);
    eq_label *l = &q->lab[q->n];
    *l = (eq_label){.name = intern(q->ev, name), .dim = intern(q->ev, without_primes(name)), .size = -1};
    dim_entry *d = dim_find(q->ev, l->dim);
    if (d) {
        l->size = d->size;
        l->decl = d->decl;
        l->at = d->at;
        if (d->size >= 0) snprintf(l->what, sizeof l->what, "dim %s", l->dim);
    }
    return q->n++;
}

bool eq_size(equation *q, int label, const axis *a, span at, const char *what) {
    eq_label *l = &q->lab[label];
    if (l->decl && a->dim_decl && l->decl != a->dim_decl) {
        diag *d = ev_diag(q->ev, at, "index '%s' (dim %s) on an axis declared as dim '%s'", l->name, l->dim, a->dim);
        if (l->decl->head.at.src) diag_note(&q->ev->dl, d, l->decl->head.at, "dim %s is declared here", l->dim);
        if (a->dim_at.src) diag_note(&q->ev->dl, d, a->dim_at, "the axis is named here");
        diag_fix(&q->ev->dl, d, "use index %s here", a->dim);
        ev_throw(q->ev);
    }
    if (!l->domain) l->domain = a->domain;
    if (a->sym) {
        if (l->size >= 0 && !l->sym) ev_fail(q->ev, at, "index '%s' has the fixed size %" PRId64 ", but %s runs over the rows of a step", l->name, l->size, what);
        if (l->sym && l->sym != a->sym) ev_fail(q->ev, at, "index '%s' runs over the step's rows and over its outputs", l->name);
        bool news = !l->sym;
        l->sym = a->sym;
        return news;
    }
    if (l->sym) ev_fail(q->ev, at, "index '%s' runs over the rows of a step, but %s has the fixed size %" PRId64, l->name, what, a->size);
    if (l->size >= 0 && l->size != a->size) {
        diag *d = ev_diag(q->ev, at, "index '%s' has two sizes: %" PRId64 " (%s) and %" PRId64 " (%s)", l->name, l->size, l->what, a->size, what);
        if (l->at.src) diag_note(&q->ev->dl, d, l->at, "size %" PRId64 " comes from here", l->size);
        if (l->dim == l->name) diag_fix(&q->ev->dl, d, "if another index is meant, give it another name, such as %s'", l->name);
        ev_throw(q->ev);
    }
    if (l->size >= 0) return false;
    l->size = a->size;
    l->at = at;
    snprintf(l->what, sizeof l->what, "%s", what);
    return true;
}

bool eq_free_name(evaluator *ev, const ast_expr *e) { return e->kind == EX_NAME && !e->parens && !find_name(ev, e->name); }

static bool plain_label(evaluator *ev, const ast_index *ix) { return ix->kind == IX_EXPR && eq_free_name(ev, ix->expr); }

// The axes of what is being indexed, for families and states after their fixed positions.
typedef struct base_axes {
    int skip, rank;
    axis ax[IR_MAX_RANK];
    bool scalar;
} base_axes;

static bool axes_of(equation *q, value v, const ast_index *list, base_axes *out, span at) {
    evaluator *ev = q->ev;
    *out = (base_axes){0};
    if (v.kind == V_FAMILY) {
        int64_t key[4];
        const ast_index *ix = list;
        for (int i = 0; i < v.family->n_keys; i++, ix = ix->next) {
            if (!ix || ix->kind != IX_EXPR || has_free_index(ev, ix->expr) || eq_free_name(ev, ix->expr))
                ev_fail(ev, ix ? ix->at : at, "which tensor of the family '%.*s' is meant must be known here: bind its index in a loop", (int)v.family->def->head.name.n,
                        v.family->def->head.name.p);
            key[i] = want_int(ev, eval(ev, ix->expr), ix->at, "an index of a family");
        }
        out->skip = v.family->n_keys;
        v = family_member(ev, v.family, key, at);
    }
    if (v.kind == V_STATE) {
        v_statedecl *d = v.state;
        int64_t layer = -1;
        const ast_index *ix = list;
        out->skip = state_family_axes(ev, d);
        for (int i = 0; i < out->skip && ix; i++, ix = ix->next) {
            if (ix->kind != IX_EXPR || has_free_index(ev, ix->expr) || eq_free_name(ev, ix->expr))
                ev_fail(ev, ix->at, "which member of the state '%.*s' is meant must be known here: bind its index in a loop", (int)d->def->head.name.n, d->def->head.name.p);
            layer = want_int(ev, eval(ev, ix->expr), ix->at, "an index of a state's family");
        }
        out->rank = state_axes(ev, d, layer, out->ax);
        return true;
    }
    v = settle(ev, v, at);
    if (v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL) return out->scalar = true;
    tensor *t = value_tensor(ev, v, at);
    if (t->rank == 0) return out->scalar = true;
    out->rank = t->rank;
    memcpy(out->ax, t->ax, sizeof out->ax);
    return true;
}

// X[2 * k]: nothing but `dim k` tells that k is an index here, and how many there are of it.
static void collect_dims(equation *q, const ast_expr *e) {
    if (eq_free_name(q->ev, e) && dim_find(q->ev, intern(q->ev, without_primes(e->name)))) (void)eq_label_of(q, e->name, e->at);
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (!((e->kind == EX_CALL || e->kind == EX_INDEX) && k == e->kids)) collect_dims(q, k);
}

// What eq_size would find out is known already.
static bool agrees(const eq_label *l, const axis *a) {
    if ((l->decl && a->dim_decl && l->decl != a->dim_decl) || (!l->domain && a->domain)) return false;
    return a->sym ? l->sym == a->sym : !l->sym && l->size == a->size;
}

void eq_collect_index(equation *q, const value *base, str of, const ast_index *list, span at) {
    evaluator *ev = q->ev;
    base_axes b = {0};
    bool known = base && axes_of(q, *base, list, &b, at);
    int pos = 0;
    for (const ast_index *ix = list; ix; ix = ix->next, pos++) {
        if (ix->kind == IX_SLICE) continue;
        if (ix->kind == IX_EXPR && !plain_label(ev, ix)) {
            eq_collect(q, ix->expr);
            collect_dims(q, ix->expr);
            continue;
        }
        const axis *a = known && !b.scalar && pos >= b.skip && pos - b.skip < b.rank ? &b.ax[pos - b.skip] : NULL;
        if (ix->kind == IX_EXPR) {
            int l = eq_label_of(q, ix->expr->name, ix->at);
            char what[80];
            if (!a || (!a->sym && a->size < 0) || agrees(&q->lab[l], a)) continue;
            snprintf(what, sizeof what, "axis %d%s%.*s", pos, of.n ? " of " : "", of.n < 50 ? (int)of.n : 50, of.p ? of.p : "");
            (void)eq_size(q, l, a, ix->at, what);
            continue;
        }
        int unknown = -1; // a composite: at most one part's size can be found
        int64_t rest = 1;
        for (const ast_expr *nm = ix->names; nm; nm = nm->next) {
            if (!eq_free_name(ev, nm)) ev_fail(ev, nm->at, "'%.*s' has a value and cannot be a part of a composite index", (int)nm->name.n, nm->name.p);
            int l = eq_label_of(q, nm->name, nm->at);
            if (q->lab[l].size >= 0) rest *= q->lab[l].size;
            else unknown = unknown == -1 ? l : -2;
        }
        if (!a || a->sym || a->size < 0) continue;
        if (unknown == -1 && rest != a->size) ev_fail(ev, ix->at, "these indices have %" PRId64 " positions together, the axis has %" PRId64, rest, a->size);
        if (unknown < 0) continue;
        if (!rest || a->size % rest) ev_fail(ev, ix->at, "an axis of %" PRId64 " cannot be split by %" PRId64, a->size, rest);
        axis part = {.size = a->size / rest};
        (void)eq_size(q, unknown, &part, ix->at, "the rest of a composite axis");
    }
}

const ast_index *eq_atom_args(const ast_expr *e, arena *a) {
    ast_index *first = NULL, **tail = &first;
    for (const ast_expr *k = e->kids->next; k; k = k->next) {
        ast_index *ix = arena_new(a, ast_index);
        ix->kind = IX_EXPR;
        ix->at = k->at;
        ix->expr = (ast_expr *)k;
        *tail = ix;
        tail = &ix->next;
    }
    return first;
}

static bool is_atom(evaluator *ev, const ast_expr *e, value *base) { // R(x, y) where R is a tensor or relation
    if (e->kind != EX_CALL || e->kids->kind != EX_NAME) return false;
    binding *b = find_name(ev, e->kids->name);
    if (!b || (b->v.kind != V_TENSOR && b->v.kind != V_PARTS && b->v.kind != V_RELATION)) return false;
    *base = b->v;
    return true;
}

void eq_collect(equation *q, const ast_expr *e) {
    evaluator *ev = q->ev;
    value base;
    if (e->kind == EX_INDEX) {
        if (e->kids->kind == EX_NAME) {
            binding *b = find_name(ev, e->kids->name);
            value v = b ? b->v : lookup(ev, e->kids->name, e->kids->at);
            eq_collect_index(q, &v, e->kids->name, e->index, e->at);
        } else {
            value v = v_none();
            const ast_index *list = e->index;
            int n;
            bool known = eq_slices(q, e, &v, &list, &n);
            if (!known && !has_free_index(ev, e->kids)) known = true, v = eq_base(q, e->kids);
            known = known && v.kind != V_MODEL && v.kind != V_PATH && v.kind != V_MAP && v.kind != V_STR;
            eq_collect_index(q, known ? &v : NULL, (str){0}, list, e->at);
        }
        return;
    }
    if (is_atom(ev, e, &base)) {
        const ast_index *args = eq_atom_args(e, ev->g->a);
        if (base.kind == V_RELATION && base.rel->cache) {
            int pos = 0;
            for (const ast_index *ix = args; ix; ix = ix->next, pos++) {
                if (!plain_label(ev, ix)) {
                    eq_collect(q, ix->expr);
                    continue;
                }
                int l = eq_label_of(q, ix->expr->name, ix->at);
                if (pos == 1 && ev->trace) {
                    axis a = {.size = ev->trace->n_ctx};
                    (void)eq_size(q, l, &a, ix->at, "the cache's slots");
                }
            }
        } else {
            eq_collect_index(q, &base, e->kids->name, args, e->at);
        }
        return;
    }
    if (e->kind == EX_REDUCE)
        for (const ast_index *ix = e->index; ix; ix = ix->next)
            if (plain_label(ev, ix)) (void)eq_label_of(q, ix->expr->name, ix->at);
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (!(e->kind == EX_CALL && k == e->kids)) eq_collect(q, k);
}

static int known_sizes(const equation *q) {
    int n = 0;
    for (int i = 0; i < q->n; i++) n += q->lab[i].size >= 0 || q->lab[i].sym;
    return n;
}

void eq_solve(equation *q, const ast_stmt *s) {
    int before = -1;
    for (int round = 0; round < 8 && known_sizes(q) != before && (round == 0 || known_sizes(q) < q->n); round++) {
        before = known_sizes(q);
        if (s->expr) eq_collect(q, s->expr);
        for (const ast_literal *l = s->where; l; l = l->next) eq_collect(q, l->expr);
        if (s->head.indexed) {
            binding *b = find_name(q->ev, s->head.name);
            bool existing = b && (b->v.kind == V_STATE || (s->assign != AS_EQ && (b->v.kind == V_TENSOR)));
            eq_collect_index(q, existing ? &b->v : NULL, s->head.name, s->head.index, s->head.at);
        }
    }
}

static void add_index_labels(equation *q, const ast_index *list, eq_set *set) {
    for (const ast_index *ix = list; ix; ix = ix->next) {
        if (ix->kind == IX_EXPR) *set |= eq_labels_in(q, ix->expr);
        for (const ast_expr *nm = ix->names; nm; nm = nm->next) *set |= eq_labels_in(q, nm);
    }
}

eq_set eq_labels_in(equation *q, const ast_expr *e) {
    eq_set set = 0;
    if (e->kind == EX_NAME) {
        if (find_name(q->ev, e->name)) return 0;
        int l = eq_find_label(q, e->name);
        return l >= 0 ? eq_bit(l) : 0;
    }
    if (e->kind == EX_REDUCE) { // its own indices end there
        eq_set inner = 0, own = 0;
        for (const ast_expr *k = e->kids; k; k = k->next) inner |= eq_labels_in(q, k);
        add_index_labels(q, e->index, &own);
        return inner & ~own;
    }
    add_index_labels(q, e->index, &set);
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (!((e->kind == EX_CALL || e->kind == EX_INDEX) && k == e->kids && k->kind == EX_NAME)) set |= eq_labels_in(q, k);
    return set;
}

bool has_free_index(evaluator *ev, const ast_expr *e) {
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind == IX_COMPOSITE) return true;
        if (ix->kind == IX_EXPR && (eq_free_name(ev, ix->expr) || has_free_index(ev, ix->expr))) return true;
    }
    value base;
    if (is_atom(ev, e, &base)) return true;
    if (e->kind == EX_REDUCE) return false;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (has_free_index(ev, k)) return true;
    return false;
}
