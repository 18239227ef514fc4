// check_expr.c - names, calls and reads inside expressions.
#include <inttypes.h>

#include "eval/check.h"

static str bare(str s) {
    while (s.n && s.p[s.n - 1] == '\'') s.n--;
    return s;
}

// ---- dims ----------------------------------------------------------------------------------------
chk_symbol *chk_dim(const checker *c, str name) {
    int64_t *d = map_get(&c->cur->dims, bare(name));
    return d ? (chk_symbol *)(intptr_t)*d : NULL;
}

static bool constant(const checker *c, const ast_expr *e, int64_t *v, int depth) {
    int64_t a, b;
    if (!e || depth > 8) return false;
    if (e->kind == EX_INT) return *v = e->i, true;
    if (e->kind == EX_NAME) {
        const chk_symbol *d = chk_dim(c, e->name);
        return d && constant(c, d->def->expr, v, depth + 1);
    }
    if (e->kind != EX_BINARY || !constant(c, e->kids, &a, depth) || !constant(c, e->kids->next, &b, depth)) return false;
    switch (e->op) {
    case OP_ADD: return !__builtin_add_overflow(a, b, v);
    case OP_SUB: return !__builtin_sub_overflow(a, b, v);
    case OP_MUL: case OP_JUXT: return !__builtin_mul_overflow(a, b, v);
    case OP_DIV: return b > 0 && a % b == 0 && (*v = a / b, true);
    default: return false;
    }
}

bool chk_dim_size(const checker *c, str name, int64_t *size) {
    const chk_symbol *d = chk_dim(c, name);
    return d && !d->local && constant(c, d->def->expr, size, 0);
}

// ---- names ---------------------------------------------------------------------------------------
bool chk_free_name(const checker *c, const ast_expr *e) { return e->kind == EX_NAME && !e->parens && !chk_find(c, e->name); }

bool chk_has_free(const checker *c, const ast_expr *e) {
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind == IX_COMPOSITE) return true;
        if (ix->kind == IX_EXPR && (chk_free_name(c, ix->expr) || chk_has_free(c, ix->expr))) return true;
    }
    if (e->kind == EX_REDUCE) return false;
    if (e->kind == EX_CALL && e->kids->kind == EX_NAME) {
        const chk_symbol *s = chk_find(c, e->kids->name);
        if (s && (s->kind == CK_TENSOR || s->kind == CK_RELATION)) return true;
    }
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (chk_has_free(c, k)) return true;
    return false;
}

chk_label *chk_label_of(checker *c, chk_eq *q, str name, span at) {
    for (int i = 0; i < q->n; i++)
        if (str_eq(q->lab[i].name, name)) return &q->lab[i];
    if (q->n == CHK_LABELS) return NULL;
    chk_label *l = &q->lab[q->n++];
    *l = (chk_label){.name = name, .at = at};
    l->sized = chk_dim(c, name) || map_get(&c->cur->sizes, bare(name));
    return l;
}

static void use_label(checker *c, chk_label *l, span at) {
    if (!l) return;
    chk_symbol *d = chk_dim(c, l->name);
    if (d) {
        chk_use(c, at, d);
        return;
    }
    if (!l->sym) {
        l->sym = arena_new(c->a, chk_symbol);
        *l->sym = (chk_symbol){.kind = CK_INDEX, .name = l->name, .at = l->at, .rank = -1};
    }
    chk_use(c, at, l->sym);
}

void chk_unknown(checker *c, str name, span at) {
    VEC(str) names = {0};
    char near[100];
    for (const chk_scope *s = c->scope; s; s = s->parent)
        for (const chk_symbol *x = s->first; x; x = x->next) (void)vec_push(&names, x->name);
    for (size_t i = 0; i < c->builtins.cap; i++)
        if (c->builtins.slots[i].key.p) (void)vec_push(&names, c->builtins.slots[i].key);
    diag *d = diag_add(c->dl, DG_ERROR, at, "unknown name '%.*s'", (int)name.n, name.p);
    if (diag_nearest(name, names.p, names.n, near, sizeof near)) diag_fix(c->dl, d, "did you mean '%s'?", near);
    vec_free(&names);
}

static void name_value(checker *c, const ast_expr *e, chk_eq *q) {
    chk_symbol *s = chk_find(c, e->name);
    if (!s) {
        int64_t *b = map_get(&c->builtins, e->name);
        if (b) s = (chk_symbol *)(intptr_t)*b;
    }
    if (s) {
        chk_use(c, e->at, s);
        return;
    }
    for (int i = 0; q && i < q->n; i++)
        if (str_eq(q->lab[i].name, e->name)) {
            q->lab[i].right = true;
            use_label(c, &q->lab[i], e->at);
            return;
        }
    chk_symbol *d = chk_dim(c, e->name);
    if (d) {
        chk_use(c, e->at, d);
        return;
    }
    if (map_get(&c->cur->sizes, e->name)) return;
    if (q && (q->rule || map_get(&c->cur->rules, e->name))) return;
    chk_unknown(c, e->name, e->at);
}

// ---- reads ---------------------------------------------------------------------------------------
static void axis_dim(checker *c, const chk_symbol *base, int pos, str index, span at) {
    const chk_symbol *a = chk_dim(c, base->axes[pos]), *l = chk_dim(c, index);
    if (!a || !l || a == l || a->local || l->local || base->at.src != &c->cur->src) return;
    diag *d = diag_add(c->dl, DG_ERROR, at, "index '%.*s' (dim %.*s) on an axis declared as dim '%.*s'", (int)index.n, index.p, (int)l->name.n, l->name.p, (int)a->name.n, a->name.p);
    diag_note(c->dl, d, l->at, "dim %.*s is declared here", (int)l->name.n, l->name.p);
    diag_note(c->dl, d, base->at, "the axis is named here");
    diag_fix(c->dl, d, "use index %.*s here", (int)a->name.n, a->name.p);
}

// One position of an indexed name; base may be NULL.
void chk_position(checker *c, const chk_symbol *base, int pos, const ast_index *ix, chk_eq *q, bool read) {
    bool known = base && base->rank >= 0 && pos < base->rank;
    if (ix->kind == IX_SLICE) {
        if (ix->lo) chk_expr(c, ix->lo, q);
        if (ix->hi) chk_expr(c, ix->hi, q);
        return;
    }
    for (const ast_expr *n = ix->kind == IX_COMPOSITE ? ix->names : NULL; n; n = n->next) {
        chk_symbol *v = chk_find(c, n->name);
        if (v) {
            diag *d = diag_add(c->dl, DG_ERROR, n->at, "'%.*s' has a value and cannot be a part of a composite index", (int)n->name.n, n->name.p);
            if (v->at.src) diag_note(c->dl, d, v->at, "it gets its value here");
            continue;
        }
        chk_label *l = q ? chk_label_of(c, q, n->name, n->at) : NULL;
        if (l && read) l->right = l->sized = true;
        use_label(c, l, n->at);
    }
    if (ix->kind != IX_EXPR) return;
    if (q && chk_free_name(c, ix->expr)) {
        chk_label *l = chk_label_of(c, q, ix->expr->name, ix->at);
        if (l && read) l->right = l->sized = true;
        use_label(c, l, ix->expr->at);
        if (known) axis_dim(c, base, pos, ix->expr->name, ix->at);
        return;
    }
    int64_t size;
    if (known && base->at.src == &c->cur->src && ix->expr->kind == EX_INT && chk_dim_size(c, base->axes[pos], &size) && ix->expr->i >= size)
        diag_add(c->dl, DG_ERROR, ix->at, "index %" PRId64 " of an axis of %" PRId64, ix->expr->i, size);
    chk_expr(c, ix->expr, q);
}

static void wrong_rank(checker *c, const ast_expr *e, const chk_symbol *s, int n) {
    diag *d = diag_add(c->dl, DG_ERROR, e->at, "'%.*s' has %d ax%s, %d ind%s given", (int)s->name.n, s->name.p, s->rank, s->rank == 1 ? "is" : "es", n, n == 1 ? "ex is" : "ices are");
    diag_note(c->dl, d, s->at, "declared here");
}

static void index_expr(checker *c, const ast_expr *e, chk_eq *q) {
    const ast_expr *b = e->kids;
    chk_symbol *s = b->kind == EX_NAME ? chk_find(c, b->name) : NULL;
    chk_expr(c, b, q);
    bool recurrent = false; // a virtual index has no axis
    for (const ast_index *ix = e->index; ix; ix = ix->next) recurrent |= ix->virtual_axis;
    if (s && s->rank >= 0 && s->kind != CK_RELATION && !recurrent) {
        bool wants_all = q && chk_has_free(c, e);
        if (e->n_index > s->rank || (wants_all && e->n_index != s->rank)) wrong_rank(c, e, s, e->n_index);
    }
    int pos = 0;
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        chk_position(c, ix->virtual_axis ? NULL : s, pos, ix, q, true);
        pos += !ix->virtual_axis;
    }
}

// ---- calls ---------------------------------------------------------------------------------------
static void wrong_count(checker *c, const ast_expr *e, const chk_symbol *s, int n) {
    char range[40];
    const builtin *b = s->bi;
    if (!b) snprintf(range, sizeof range, "%d argument%s", s->def->n_params, s->def->n_params == 1 ? "" : "s");
    else if (b->max_args < 0) snprintf(range, sizeof range, "%d or more arguments", b->min_args);
    else if (b->max_args == b->min_args) snprintf(range, sizeof range, "%d argument%s", b->min_args, b->min_args == 1 ? "" : "s");
    else snprintf(range, sizeof range, "%d to %d arguments", b->min_args, b->max_args);
    diag *d = diag_add(c->dl, DG_ERROR, e->at, "%.*s takes %s, %d given", (int)s->name.n, s->name.p, range, n);
    if (b) diag_fix(c->dl, d, "%s(%s)", b->name, b->params);
    else diag_note(c->dl, d, s->at, "declared here");
}

static bool has_parameter(const chk_symbol *s, str name) {
    if (!s->bi) {
        for (const ast_param *p = s->def->params; p; p = p->next)
            if (str_eq(p->name, name)) return true;
        return false;
    }
    const char *p = s->bi->params;
    if (strstr(p, "...")) return true;
    for (; (p = memmem(p, strlen(p), name.p, name.n)) != NULL; p += name.n) {
        char before = p == s->bi->params ? ' ' : p[-1], after = p[name.n];
        if ((before == ' ' || before == '[') && (after == 0 || strchr(",=] ", after))) return true;
    }
    return false;
}

static void arguments(checker *c, const ast_expr *e, const chk_symbol *s) {
    int n = e->n_kids - 1;
    bool wrong = s->bi ? n < s->bi->min_args || (s->bi->max_args >= 0 && n > s->bi->max_args) : n != s->def->n_params;
    if (wrong) wrong_count(c, e, s, n);
    for (const ast_expr *k = e->kids->next; k; k = k->next) {
        if (!k->arg_name.n || has_parameter(s, k->arg_name)) continue;
        diag *d = diag_add(c->dl, DG_ERROR, k->at, "%.*s has no parameter '%.*s'", (int)s->name.n, s->name.p, (int)k->arg_name.n, k->arg_name.p);
        if (s->bi) diag_fix(c->dl, d, "%s(%s)", s->bi->name, s->bi->params);
        else diag_note(c->dl, d, s->at, "declared here");
    }
}

static void atom(checker *c, const ast_expr *e, chk_symbol *s, chk_eq *q) {
    int n = e->n_kids - 1, pos = 0;
    bool as_function = q && q->valued && s->kind == CK_RELATION && n == s->rank - 1; // its last column is the value
    if (s->rank >= 0 && n != s->rank && !as_function) {
        if (s->kind == CK_RELATION) {
            diag *d = diag_add(c->dl, DG_ERROR, e->at, "'%.*s' has %d argument%s, %d given", (int)s->name.n, s->name.p, s->rank, s->rank == 1 ? "" : "s", n);
            diag_note(c->dl, d, s->at, "declared here");
        } else {
            wrong_rank(c, e, s, n);
        }
    }
    for (const ast_expr *k = e->kids->next; k; k = k->next, pos++) {
        ast_index ix = {.kind = IX_EXPR, .at = k->at, .expr = (ast_expr *)k};
        if (q) chk_position(c, s->kind == CK_TENSOR ? s : NULL, pos, &ix, q, true);
        else if (!(s->kind == CK_RELATION && chk_free_name(c, k))) chk_expr(c, k, q); // a fact: its names are constants
    }
}

static void call_of(checker *c, const ast_expr *e, chk_eq *q) {
    const ast_expr *f = e->kids;
    chk_symbol *s = f->kind == EX_NAME ? chk_find(c, f->name) : NULL;
    if (!s && f->kind == EX_NAME) {
        int64_t *b = map_get(&c->builtins, f->name);
        if (b) s = (chk_symbol *)(intptr_t)*b;
    }
    if (s && (s->kind == CK_TENSOR || s->kind == CK_RELATION)) {
        chk_use(c, f->at, s);
        atom(c, e, s, q);
        return;
    }
    bool elsewhere = f->kind == EX_NAME && !s && map_get(&c->cur->rules, f->name);   // a rule defines it
    bool head_only = f->kind == EX_NAME && !s && q && str_is(f->name, "log_softmax"); // known with a dot on the left only
    if (!elsewhere && !head_only) chk_expr(c, f, q);
    if (s && (s->kind == CK_BUILTIN || s->kind == CK_FN)) arguments(c, e, s);
    for (const ast_expr *k = f->next; k; k = k->next)
        if (s || !q || !chk_free_name(c, k)) chk_expr(c, k, q);
}

// ---- folds ---------------------------------------------------------------------------------------
static void reduce(checker *c, const ast_expr *e, chk_eq *q) {
    chk_eq own = {0};
    if (!q) q = &own;
    bool before[CHK_LABELS] = {0};
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR || !chk_free_name(c, ix->expr)) continue;
        chk_label *l = chk_label_of(c, q, ix->expr->name, ix->at);
        if (!l) continue;
        if (l->left) {
            diag *d = diag_add(c->dl, DG_WARNING, ix->at, "'%.*s' is an index of the left side: this folds over it although it stays", (int)l->name.n, l->name.p);
            diag_fix(c->dl, d, "give the index of the fold another name: %.*s'", (int)l->name.n, l->name.p);
        }
        before[l - q->lab] = l->right;
        l->right = false;
        l->folded = true;
        use_label(c, l, ix->expr->at);
    }
    chk_expr(c, e->kids, q);
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR || !chk_free_name(c, ix->expr)) continue;
        chk_label *l = chk_label_of(c, q, ix->expr->name, ix->at);
        if (!l) continue;
        if (!l->right) diag_add(c->dl, DG_WARNING, ix->at, "index '%.*s' is not used in what is folded over it", (int)l->name.n, l->name.p);
        l->right |= before[l - q->lab];
    }
    for (int i = 0; q == &own && i < own.n; i++) {
        if (own.lab[i].folded) continue;
        diag *d = diag_add(c->dl, DG_ERROR, own.lab[i].at, "index '%.*s' is not folded here", (int)own.lab[i].name.n, own.lab[i].name.p);
        diag_fix(c->dl, d, "name it in the brackets, or define a tensor: Y[%.*s] = ...", (int)own.lab[i].name.n, own.lab[i].name.p);
    }
}

void chk_expr(checker *c, const ast_expr *e, chk_eq *q) {
    switch (e->kind) {
    case EX_NAME: name_value(c, e, q); break;
    case EX_INDEX: index_expr(c, e, q); break;
    case EX_CALL: call_of(c, e, q); break;
    case EX_REDUCE: reduce(c, e, q); break;
    case EX_SET:
        for (const ast_expr *k = e->kids; k; k = k->next)
            if (chk_find(c, k->name)) name_value(c, k, q); // others are entities
        break;
    case EX_PATH: break;
    default:
        for (const ast_expr *k = e->kids; k; k = k->next) chk_expr(c, k, q);
    }
}

void chk_literals(checker *c, const ast_literal *l, chk_eq *q) {
    for (; l; l = l->next) chk_expr(c, l->expr, q);
}
