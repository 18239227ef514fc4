// check_eq.c - equations and rules: which names are indices, what tells their sizes, what is defined.
#include "eval/check.h"

// ---- indices -------------------------------------------------------------------------------------
static void collect(checker *c, const ast_expr *e, chk_eq *q, bool inside) {
    if (inside && chk_free_name(c, e)) (void)chk_label_of(c, q, e->name, e->at);
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        for (const ast_expr *n = ix->names; n; n = n->next)
            if (!chk_find(c, n->name)) (void)chk_label_of(c, q, n->name, n->at);
        if (ix->kind != IX_EXPR) continue;
        if (chk_free_name(c, ix->expr)) (void)chk_label_of(c, q, ix->expr->name, ix->at);
        else collect(c, ix->expr, q, true);
        if (!ix->virtual_axis) continue;
        for (int i = 0; i < q->n; i++) q->lab[i].sized = true; // a recurrence runs over what its tensors have
    }
    const chk_symbol *s = e->kind == EX_CALL && e->kids->kind == EX_NAME ? chk_find(c, e->kids->name) : NULL;
    bool is_atom = s && (s->kind == CK_TENSOR || s->kind == CK_RELATION);
    for (const ast_expr *k = e->kids; k; k = k->next) {
        if (e->kind == EX_CALL && k == e->kids) continue;
        collect(c, k, q, inside || is_atom);
    }
}

static void head_label(checker *c, chk_eq *q, str name, span at) {
    chk_label *l = chk_label_of(c, q, name, at);
    if (!l) return;
    if (l->left) diag_add(c->dl, DG_ERROR, at, "index '%.*s' stands twice on the left", (int)name.n, name.p);
    l->left = true;
}

static void head_labels(checker *c, const ast_stmt *s, chk_eq *q) {
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        for (const ast_expr *n = ix->kind == IX_COMPOSITE ? ix->names : NULL; n; n = n->next)
            if (!chk_find(c, n->name)) head_label(c, q, n->name, n->at);
        if (ix->kind != IX_EXPR) continue;
        if (chk_free_name(c, ix->expr)) head_label(c, q, ix->expr->name, ix->at);
        else collect(c, ix->expr, q, true);
        for (int i = 0; ix->virtual_axis && i < q->n; i++) q->lab[i].sized = true;
    }
}

static void need_sizes(checker *c, const chk_eq *q) {
    for (int i = 0; i < q->n; i++) {
        const chk_label *l = &q->lab[i];
        if (l->sized) continue;
        diag *d = diag_add(c->dl, DG_ERROR, l->at, "nothing tells the size of index '%.*s'", (int)l->name.n, l->name.p);
        diag_fix(c->dl, d, "declare it with dim, or use it on an axis of known size");
    }
}

// ---- likely mistakes -----------------------------------------------------------------------------
static bool is_normalizer(const ast_expr *e) {
    static const char *const names[] = {"softmax", "log_softmax", "rms_norm", "layer_norm", "normalize"};
    if (e->kind == EX_CALL && e->kids->kind == EX_NAME)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
            if (str_is(e->kids->name, names[i])) return true;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (is_normalizer(k)) return true;
    return false;
}

static void check_dot(checker *c, const ast_stmt *s) {
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        if (!ix->normalised || is_normalizer(s->expr)) continue;
        diag *d = diag_add(c->dl, DG_ERROR, ix->at, "the dot marks the axis of a softmax or a norm, and nothing on the right side is one");
        diag_fix(c->dl, d, "A[i, j.] = softmax(...), or no dot");
    }
}

static bool is_mask(const checker *c, const ast_expr *e) {
    if (e->kind == EX_BINARY && e->op >= OP_EQ && e->op <= OP_GE) return true;
    if (e->kind == EX_UNARY && e->op == OP_NOT) return true;
    if ((e->kind != EX_CALL && e->kind != EX_INDEX) || e->kids->kind != EX_NAME) return false;
    const chk_symbol *s = chk_find(c, e->kids->name);
    return s && (s->boolean || s->kind == CK_RELATION);
}

static void mask_factors(checker *c, const ast_expr *e) {
    if (e->kind != EX_BINARY) return;
    bool product = e->op == OP_MUL || e->op == OP_JUXT;
    for (const ast_expr *k = e->kids; k; k = k->next) {
        if (product && is_mask(c, k)) {
            diag *d = diag_add(c->dl, DG_WARNING, k->at, "a mask as a factor under softmax makes a score 0, which still takes part");
            diag_fix(c->dl, d, "... = softmax(...) where MASK removes elements");
        } else {
            mask_factors(c, k);
        }
    }
}

static void softmax_masks(checker *c, const ast_expr *e) {
    if (e->kind == EX_CALL && e->kids->kind == EX_NAME && str_is(e->kids->name, "softmax"))
        for (const ast_expr *k = e->kids->next; k; k = k->next) mask_factors(c, k);
    for (const ast_expr *k = e->kids; k; k = k->next) softmax_masks(c, k);
}

// (W[i, j] x[j]) ^ 2 with j summed: the evaluator refuses to guess.
static void check_powers(checker *c, const ast_expr *e, const chk_eq *q) {
    const ast_expr *b = e->kids;
    if (e->kind == EX_BINARY && e->op == OP_POW && b->kind == EX_BINARY && (b->op == OP_MUL || b->op == OP_JUXT)) {
        chk_eq inside = {0};
        collect(c, b, &inside, false);
        for (int i = 0; i < inside.n; i++) {
            const chk_label *l = NULL;
            for (int k = 0; k < q->n; k++)
                if (str_eq(q->lab[k].name, inside.lab[i].name)) l = &q->lab[k];
            if (!l || l->left || l->folded || !l->right) continue;
            diag *d = diag_add(c->dl, DG_ERROR, e->at, "index '%.*s' is summed in a product inside a power: is the sum raised, or each product?", (int)l->name.n, l->name.p);
            diag_fix(c->dl, d, "the sum raised: sum[%.*s](...) ^ n;  each product raised and then summed: (...)^n with each factor raised by itself", (int)l->name.n, l->name.p);
            return;
        }
    }
    for (const ast_expr *k = e->kids; k; k = k->next) check_powers(c, k, q);
}

// ---- what is defined -----------------------------------------------------------------------------
static chk_symbol *here(const checker *c, str name) {
    for (chk_symbol *s = c->scope->first; s; s = s->next)
        if (str_eq(s->name, name)) return s;
    return NULL;
}

static void set_axes(chk_symbol *s, const ast_head *h, bool split) {
    s->rank = 0;
    for (const ast_index *ix = h->index; ix; ix = ix->next) {
        if (ix->kind == IX_COMPOSITE && split) {
            for (const ast_expr *n = ix->names; n; n = n->next, s->rank++)
                if (s->rank < IR_MAX_RANK) s->axes[s->rank] = n->name;
            continue;
        }
        if (s->rank < IR_MAX_RANK && ix->kind == IX_EXPR && ix->expr->kind == EX_NAME) s->axes[s->rank] = ix->expr->name;
        s->rank++;
    }
    if (s->rank > IR_MAX_RANK || s->assigned) s->rank = -1;
}

static bool any_fixed(const checker *c, const ast_head *h) {
    for (const ast_index *ix = h->index; ix; ix = ix->next)
        if (ix->kind == IX_EXPR && !chk_free_name(c, ix->expr) && !ix->virtual_axis) return true;
    return false;
}

static void defined_twice(checker *c, const ast_stmt *s, const chk_symbol *first, const char *what) {
    diag *d = diag_add(c->dl, DG_ERROR, s->head.at, "'%.*s' is defined %s", (int)s->head.name.n, s->head.name.p, what);
    diag_note(c->dl, d, first->at, "first here");
    diag_fix(c->dl, d, "use += to add to it, := to overwrite it");
}

static void check_rank(checker *c, const ast_stmt *s, const chk_symbol *b) {
    bool as_function = b->kind == CK_RELATION && s->kind == ST_ASSIGN && s->head.round && s->head.n_index == b->rank - 1;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) as_function |= ix->virtual_axis; // which has no axis
    if (b->rank < 0 || b->rank == s->head.n_index || as_function) return;
    diag *d = diag_add(c->dl, DG_ERROR, s->head.at, "'%.*s' has %d ax%s, %d ind%s given", (int)b->name.n, b->name.p, b->rank, b->rank == 1 ? "is" : "es", s->head.n_index,
                       s->head.n_index == 1 ? "ex is" : "ices are");
    diag_note(c->dl, d, b->at, "declared here");
}

// Both fix the same axes at the same numbers; other expressions count as different.
static bool same_part(const ast_head *a, const ast_head *b) {
    const ast_index *x = a->index, *y = b->index;
    bool numbers = false;
    for (; x && y; x = x->next, y = y->next) {
        if (x->kind != IX_EXPR || y->kind != IX_EXPR || x->expr->kind != y->expr->kind) return false;
        if (x->expr->kind == EX_INT && x->expr->i != y->expr->i) return false;
        if (x->expr->kind != EX_INT && x->expr->kind != EX_NAME) return false;
        numbers |= x->expr->kind == EX_INT;
    }
    return numbers && !x && !y;
}

static void define(checker *c, const ast_stmt *s, chk_symbol *b, bool split) {
    bool fresh = s->kind == ST_LET || s->assign == AS_EQ, fixed = any_fixed(c, &s->head);
    chk_symbol *own = here(c, s->head.name);
    for (const ast_index *ix = s->head.index; b && b->kind == CK_TENSOR && ix; ix = ix->next)
        if (ix->virtual_axis) return; // a recurrence goes on with the value that is there; its axes stay
    if (b && b->kind == CK_STATE && s->kind != ST_LET) {
        chk_state_written(c, b, &s->head);
        if (s->assign != AS_SET) {
            diag *d = diag_add(c->dl, DG_ERROR, s->assign_at, "a state is overwritten with ':='");
            diag_fix(c->dl, d, ":=");
        }
        check_rank(c, s, b);
        return;
    }
    if (s->kind != ST_LET && s->assign == AS_EQ && own && own->whole) {
        defined_twice(c, s, own, fixed ? "already as a whole" : "a second time");
        return;
    }
    if (!fresh && b) {
        if (s->assign != AS_SET) check_rank(c, s, b);
        else if (b->rank != s->head.n_index) b->rank = -1;
        return;
    }
    if (fixed && own && own->kind == CK_TENSOR && s->kind != ST_LET) { // another part
        check_rank(c, s, own);
        if (same_part(&s->head, &own->def->head) && s->assign == AS_EQ) defined_twice(c, s, own, "for these elements already");
        return;
    }
    chk_symbol *n = chk_declare(c, CK_TENSOR, s->head.name, s->head.at, s);
    set_axes(n, &s->head, split);
    n->whole = s->assign == AS_EQ && s->kind != ST_LET && !fixed && s->head.indexed;
}

void chk_equation(checker *c, const ast_stmt *s) {
    chk_symbol *b = chk_find(c, s->head.name);
    chk_eq q = {.valued = b && b->kind == CK_RELATION, .rule = b && b->kind == CK_RELATION};
    bool let = s->kind == ST_LET && !chk_has_free(c, s->expr); // names axes of a value
    head_labels(c, s, &q);
    if (s->expr) collect(c, s->expr, &q, false);
    for (const ast_literal *l = s->where; l; l = l->next) collect(c, l->expr, &q, false);
    bool existing = b && s->kind != ST_LET && (b->kind == CK_STATE || s->assign != AS_EQ);
    int pos = 0;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next, pos++) {
        chk_position(c, existing ? b : NULL, pos, ix, &q, false);
        for (int i = 0; (existing || let) && i < q.n; i++) q.lab[i].sized |= q.lab[i].left;
    }
    if (existing && b->kind != CK_STATE && s->assign != AS_SET) chk_use(c, (span){0}, b);
    if (s->expr) chk_expr(c, s->expr, &q);
    chk_literals(c, s->where, &q);
    if (!q.valued) need_sizes(c, &q);
    if (s->expr && s->kind == ST_ASSIGN) check_powers(c, s->expr, &q);
    if (s->expr) check_dot(c, s), softmax_masks(c, s->expr), chk_lint(c, s, &q);
    define(c, s, b, let);
}

// ---- rules ---------------------------------------------------------------------------------------
static bool positive(const checker *c, const ast_expr *e) { // an atom or a read, which gives its variables values
    if (e->kind == EX_INDEX) return true;
    if (e->kind != EX_CALL || e->kids->kind != EX_NAME) return false;
    const chk_symbol *s = chk_find(c, e->kids->name);
    return !s || (s->kind != CK_FN && s->kind != CK_BUILTIN);
}

void chk_rule(checker *c, const ast_stmt *s) {
    chk_eq q = {.rule = true};
    chk_symbol *b = chk_find(c, s->head.name);
    if (!b) {
        b = chk_declare(c, CK_TENSOR, s->head.name, s->head.at, s);
        set_axes(b, &s->head, false);
        b->boolean = b->used = true;
    } else if (b->kind == CK_RELATION || b->boolean) {
        check_rank(c, s, b);
        chk_use(c, (span){s->head.at.src, s->head.at.begin, s->head.at.begin + (uint32_t)s->head.name.n}, b);
    }
    head_labels(c, s, &q);
    for (const ast_literal *l = s->where; l; l = l->next) collect(c, l->expr, &q, positive(c, l->expr));
    int pos = 0;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next, pos++) chk_position(c, NULL, pos, ix, &q, false);
    chk_literals(c, s->where, &q);
    for (int i = 0; i < q.n; i++) {
        chk_label *l = &q.lab[i];
        if (!l->left || l->right || map_get(&c->cur->rules, l->name) || (b->kind != CK_RELATION && l->sized)) continue;
        diag *d = diag_add(c->dl, DG_ERROR, l->at, "'%.*s' does not occur in the body of the rule: nothing tells its values", (int)l->name.n, l->name.p);
        diag_fix(c->dl, d, "a relation of the body must hold it, or the head must do without it");
    }
}
