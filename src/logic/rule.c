// rule.c - from syntax trees to rules: which names are variables, literals, arithmetic, folds, recursive folds.
// A name is a constant when it is a declared entity or bound in the program; any other name is a variable.
#include "logic/impl.h"
#include <math.h>

diag *compile_fail(compile *c, span at, const char *fmt, ...) {
    char buf[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    c->failed = true;
    return diag_add(c->dl, DG_ERROR, at, "%s", buf);
}

void compile_unknown(compile *c, str name, span at, const char *what) {
    char buf[100];
    diag *d = compile_fail(c, at, "there is no %s '%.*s'", what, (int)(name.n < 200 ? name.n : 200), name.p);
    str *names = arena_array(c->db->at, str, c->db->n_rels + 1);
    size_t n = 0;
    for (const logic_rel *r = c->db->rels; r; r = r->next) names[n++] = r->name;
    const char *near = diag_nearest(name, names, n, buf, sizeof buf);
    if (near) diag_fix(c->dl, d, "did you mean '%s'?", near);
    else diag_fix(c->dl, d, "declare it: relation %.*s(x: entity, ...)", (int)(name.n < 200 ? name.n : 200), name.p);
}

bool compile_args(compile *c, const logic_rel *r, const ast_expr *call, int n, const ast_expr **out) {
    int given = call->n_kids - 1, at = 0;
    for (int i = 0; i < n; i++) out[i] = NULL;
    if (given != n) {
        diag *d = compile_fail(c, call->at, "'%.*s' has %d column%s, and %d argument%s given", (int)r->name.n, r->name.p, r->arity, r->arity == 1 ? "" : "s",
                               given, given == 1 ? " is" : "s are");
        if (r->at.src) diag_note(c->dl, d, r->at, "declared here");
        return false;
    }
    for (const ast_expr *e = call->kids->next; e; e = e->next, at++) {
        int col = at;
        if (e->arg_name.n) {
            for (col = 0; col < n && !str_eq(r->cols[col].name, e->arg_name); col++) {}
        }
        if (col >= n || out[col]) {
            if (col >= n) compile_fail(c, e->at, "'%.*s' has no column '%.*s'", (int)r->name.n, r->name.p, (int)e->arg_name.n, e->arg_name.p);
            else compile_fail(c, e->at, "a second argument for one column of '%.*s'", (int)r->name.n, r->name.p);
            return false;
        }
        out[col] = e;
    }
    return true;
}

llit *compile_add(compile *c, lit_kind kind, span at) {
    llit *l = arena_new(c->db->at, llit);
    l->kind = kind;
    l->at = at;
    l->index = c->depth ? -1 : c->rule->n_lits++;
    *c->tail = l;
    c->tail = &l->next;
    if (c->rule->n_lits > LOGIC_MAX_LITERALS) compile_fail(c, at, "a rule of more than %d literals", LOGIC_MAX_LITERALS);
    return l;
}

lexpr *lexpr_new(logic_db *db, lx_kind kind, span at) {
    lexpr *e = arena_new(db->at, lexpr);
    e->kind = kind;
    e->at = at;
    e->type = LT_ANY;
    return e;
}

// ---- variables and constants ---------------------------------------------------------------------------
static int new_var(compile *c, str name, span at) {
    lrule *r = c->rule;
    if (r->n_vars == LOGIC_MAX_VARS) {
        if (!c->failed) compile_fail(c, at, "a rule of more than %d variables", LOGIC_MAX_VARS);
        return 0;
    }
    r->vars[r->n_vars] = (lvar){.name = name, .at = at, .type = LT_ANY};
    return r->n_vars++;
}

int compile_fresh(compile *c, span at) {
    int v = new_var(c, (str){0}, at);
    c->rule->vars[v].outer = c->depth == 0;
    return v;
}

// Alice without quotes is a variable unless declared: where a string of that text is around, it is likely a mistake.
static void warn_capital(compile *c, const ast_expr *e) {
    logic_word id;
    if (e->name.p[0] < 'A' || e->name.p[0] > 'Z' || e->name.n < 2 || !interner_find(c->db->strings, e->name, &id)) return;
    diag *d = diag_add(c->dl, DG_WARNING, e->at, "'%.*s' is a variable here, since no entity of that name is declared", (int)e->name.n, e->name.p);
    diag_fix(c->dl, d, "write \"%.*s\" for the constant", (int)e->name.n, e->name.p);
}

static int find_var(const compile *c, str name) {
    for (int i = c->rule->n_vars - 1; i >= 0; i--)
        if (c->rule->vars[i].name.n && str_eq(c->rule->vars[i].name, name)) return i;
    return -1;
}

static void const_term(lterm *t, logic_word w, logic_type type) {
    t->kind = TM_CONST;
    t->word = w;
    t->type = type;
}

static void string_term(compile *c, lterm *t, str s, logic_type type) {
    logic_word id = 0;
    if (!interner_put(c->db->strings, s, &id)) c->db->a.on_fail(c->db->a.fail_ctx, s.n);
    const_term(t, id, type);
}

static void name_term(compile *c, const ast_expr *e, lterm *t) {
    int64_t *entry = map_get(&c->db->name_map, e->name);
    const logic_hooks *h = &c->db->opt.hooks;
    logic_value v;
    if (entry) {
        const_term(t, ((const name_entry *)(intptr_t)*entry)->id, LT_ENTITY);
    } else if (str_is(e->name, "_")) {
        t->kind = TM_WILD;
        if (c->fact) compile_fail(c, e->at, "a fact holds constants only");
    } else if (h->constant && h->constant(h->ctx, e->name, &v)) {
        if (type_is_text(v.type)) string_term(c, t, v.s, v.type);
        else const_term(t, v.type == LT_FLOAT ? logic_of_float(v.f) : logic_of_int(v.i), v.type);
    } else if (c->fact) {
        diag *d = compile_fail(c, e->at, "'%.*s' is no declared entity, and a fact holds constants only", (int)e->name.n, e->name.p);
        diag_fix(c->dl, d, "write \"%.*s\", or declare it: entity Kind = {%.*s}", (int)e->name.n, e->name.p, (int)e->name.n, e->name.p);
    } else {
        t->kind = TM_VAR;
        t->var = find_var(c, e->name);
        if (t->var < 0) {
            t->var = new_var(c, e->name, e->at);
            warn_capital(c, e);
        }
        if (c->depth == 0) c->rule->vars[t->var].outer = true;
    }
}

bool compile_term(compile *c, const ast_expr *e, lterm *t) {
    *t = (lterm){.at = e->at, .type = LT_ANY};
    const ast_expr *k = e->kids;
    switch (e->kind) {
    case EX_INT: const_term(t, logic_of_int(e->i), LT_INT); return true;
    case EX_FLOAT: const_term(t, logic_of_float(e->f), LT_FLOAT); return true;
    case EX_BOOL: const_term(t, logic_of_int(e->i != 0), LT_BOOL); return true;
    case EX_STRING:
        if (k && (k->kind != EX_STRING || k->next)) return false;
        string_term(c, t, k ? k->name : e->name, LT_STRING);
        return true;
    case EX_NAME: name_term(c, e, t); return true;
    case EX_UNARY:
        if (e->op != OP_NEG || (k->kind != EX_INT && k->kind != EX_FLOAT)) return false;
        if (k->kind == EX_FLOAT) const_term(t, logic_of_float(-k->f), LT_FLOAT);
        else const_term(t, 0 - (uint64_t)k->i, LT_INT);
        return true;
    default: return false;
    }
}

// ---- values --------------------------------------------------------------------------------------------
static const struct { const char *name; logic_fold fold; } folds[] = {
    {"count", LF_COUNT}, {"sum", LF_SUM}, {"max", LF_MAX}, {"min", LF_MIN}, {"avg", LF_AVG}, {"mean", LF_AVG},
};

bool fold_named(str name, logic_fold *out) {
    for (size_t i = 0; i < sizeof folds / sizeof *folds; i++) {
        if (!str_is(name, folds[i].name)) continue;
        *out = folds[i].fold;
        return true;
    }
    return false;
}

static lexpr *term_value(compile *c, lterm t) {
    lexpr *x = lexpr_new(c->db, LX_TERM, t.at);
    x->term = t;
    if (t.kind == TM_WILD) compile_fail(c, t.at, "'_' has no value");
    return x;
}

static lexpr *var_value(compile *c, int var, span at) { return term_value(c, (lterm){.kind = TM_VAR, .var = var, .type = LT_ANY, .at = at}); }

static lterm term_of(compile *c, const ast_expr *e);

// R(x) as a number, where R has one column more: the value in its last column.
static lexpr *lookup_value(compile *c, logic_rel *r, const ast_expr *e) {
    const ast_expr *args[LOGIC_MAX_COLS];
    if (!compile_args(c, r, e, r->arity - 1, args)) return NULL;
    lterm *terms = arena_array(c->db->at, lterm, r->arity);
    for (int i = 0; i < r->arity - 1; i++) terms[i] = term_of(c, args[i]);
    int v = compile_fresh(c, e->at);
    terms[r->arity - 1] = (lterm){.kind = TM_VAR, .var = v, .type = LT_ANY, .at = e->at};
    llit *l = compile_add(c, LL_ATOM, e->at);
    l->rel = r;
    l->terms = terms;
    return var_value(c, v, e->at);
}

static bool is_product(const ast_expr *e) { return e->kind == EX_BINARY && (e->op == OP_MUL || e->op == OP_JUXT || e->op == OP_AND); }

static logic_rel *called(const compile *c, const ast_expr *e) {
    return e->kind == EX_CALL && e->kids->kind == EX_NAME ? logic_find(c->db, e->kids->name) : NULL;
}

// Factors that are atoms are conditions (they are 0 or 1); NULL: nothing but conditions.
static lexpr *product_value(compile *c, const ast_expr *e) {
    logic_rel *r = called(c, e);
    if ((r && e->n_kids - 1 == r->arity) || (e->kind == EX_BINARY && e->op >= OP_EQ && e->op <= OP_GE)) {
        compile_literal(c, e, false);
        return NULL;
    }
    if (!is_product(e)) return compile_value(c, e);
    lexpr *a = product_value(c, e->kids), *b = product_value(c, e->kids->next);
    if (!a || !b) return a ? a : b;
    lexpr *x = lexpr_new(c->db, LX_BINARY, e->at);
    x->op = OP_MUL;
    x->a = a;
    x->b = b;
    return x;
}

// count[y](R(x, y)), sum[y](W(x, y) ...): literals and a value of their own.
static lexpr *fold_value(compile *c, const ast_expr *e) {
    logic_fold fold;
    if (!fold_named(e->name, &fold)) {
        compile_fail(c, e->at, "'%.*s' does not fold in a rule; count, sum, max, min and avg do", (int)e->name.n, e->name.p);
        return NULL;
    }
    if (c->depth == LOGIC_MAX_FOLDS) {
        compile_fail(c, e->at, "more than %d folds inside one another", LOGIC_MAX_FOLDS);
        return NULL;
    }
    llit *l = arena_new(c->db->at, llit), **tail = c->tail;
    int n_names = 0;
    for (const ast_index *ix = e->index; ix; ix = ix->next) n_names++;
    *l = (llit){.kind = LL_FOLD, .at = e->at, .fold = fold, .vars = arena_array(c->db->at, int, n_names + 1)};
    int first = c->rule->n_vars;
    for (const ast_index *ix = e->index; ix; ix = ix->next)
        if (ix->kind == IX_EXPR && ix->expr->kind == EX_NAME) l->vars[l->n_vars++] = new_var(c, ix->expr->name, ix->expr->at);
    c->depth++;
    c->tail = &l->inner;
    l->a = product_value(c, e->kids);
    c->tail = tail;
    c->depth--;
    if (!l->inner && !c->failed) compile_fail(c, e->at, "nothing inside says which values to fold over");
    if (!l->a && fold != LF_COUNT && !c->failed) compile_fail(c, e->at, "there is no value to fold here, only conditions");
    for (int i = 0; i < l->n_vars; i++) c->rule->vars[first + i].name = (str){0}; // known inside only
    l->result = compile_fresh(c, e->at);
    c->rule->vars[l->result].computed = true;
    l->index = c->depth ? -1 : c->rule->n_lits++;
    *c->tail = l;
    c->tail = &l->next;
    return var_value(c, l->result, e->at);
}

static lexpr *function_value(compile *c, const ast_expr *e) {
    static const struct { const char *name; lx_kind kind; int n; } fns[] = {
        {"abs", LX_ABS, 1}, {"min", LX_MIN, 2}, {"max", LX_MAX, 2}, {"int", LX_TO_INT, 1}, {"to_int", LX_TO_INT, 1}, {"float", LX_TO_FLOAT, 1},
    };
    str name = e->kids->name;
    for (size_t i = 0; i < sizeof fns / sizeof *fns; i++) {
        if (!str_is(name, fns[i].name) || e->n_kids - 1 != fns[i].n) continue;
        lexpr *x = lexpr_new(c->db, fns[i].kind, e->at);
        x->a = compile_value(c, e->kids->next);
        if (fns[i].n == 2) x->b = compile_value(c, e->kids->next->next);
        return x;
    }
    compile_unknown(c, name, e->kids->at, "relation or function");
    return NULL;
}

static lexpr *binary_value(compile *c, const ast_expr *e) {
    lexpr *x = lexpr_new(c->db, LX_BINARY, e->at);
    x->op = e->op == OP_JUXT ? OP_MUL : e->op;
    x->a = compile_value(c, e->kids);
    x->b = compile_value(c, e->kids->next);
    return x;
}

lexpr *compile_value(compile *c, const ast_expr *e) {
    lterm t;
    if (c->failed) return NULL;
    if (compile_term(c, e, &t)) return term_value(c, t);
    if (e->kind == EX_REDUCE) return fold_value(c, e);
    if (e->kind == EX_UNARY && e->op == OP_NEG) {
        lexpr *x = lexpr_new(c->db, LX_NEG, e->at);
        x->a = compile_value(c, e->kids);
        return x;
    }
    if (e->kind == EX_BINARY && e->op >= OP_ADD && e->op != OP_MATMUL && e->op <= OP_POW) return binary_value(c, e);
    if (e->kind == EX_CAST) {
        bool to_int = str_starts(e->name, STR("int"));
        lexpr *x = lexpr_new(c->db, to_int ? LX_TO_INT : LX_TO_FLOAT, e->at);
        if (!to_int && !str_starts(e->name, STR("float"))) compile_fail(c, e->at, "a value of a rule is cast to int or float");
        x->a = compile_value(c, e->kids);
        return x;
    }
    if (e->kind == EX_CALL && e->kids->kind == EX_NAME) {
        logic_rel *r = called(c, e);
        if (!r) return function_value(c, e);
        if (r->arity == 0) compile_fail(c, e->at, "'%.*s' has no column that could be a value", (int)r->name.n, r->name.p);
        return c->failed ? NULL : lookup_value(c, r, e);
    }
    compile_fail(c, e->at, "expected a variable, a constant or arithmetic here");
    return NULL;
}

// An argument of an atom; arithmetic becomes a variable of its own and an equation.
static lterm term_of(compile *c, const ast_expr *e) {
    lterm t = {.kind = TM_WILD, .at = e->at};
    if (compile_term(c, e, &t)) return t;
    lexpr *x = compile_value(c, e);
    if (!x) return t;
    t = (lterm){.kind = TM_VAR, .var = compile_fresh(c, e->at), .type = LT_ANY, .at = e->at};
    llit *l = compile_add(c, LL_COMPARE, e->at);
    l->op = OP_EQ;
    l->a = var_value(c, t.var, e->at);
    l->b = x;
    return t;
}

// ---- literals --------------------------------------------------------------------------------------------
static void add_atom(compile *c, logic_rel *r, const ast_expr *e, bool negated) {
    const ast_expr *args[LOGIC_MAX_COLS];
    if (!compile_args(c, r, e, r->arity, args)) return;
    lterm *terms = arena_array(c->db->at, lterm, r->arity + 1);
    for (int i = 0; i < r->arity; i++) terms[i] = term_of(c, args[i]);
    llit *l = compile_add(c, LL_ATOM, e->at);
    l->rel = r;
    l->terms = terms;
    l->negated = negated;
}

static void note_names(compile *c, llit *l, const ast_expr *e) {
    lterm t;
    if (e->kind == EX_NAME) {
        if (!compile_term(c, e, &t) || t.kind != TM_VAR) return;
        for (int i = 0; i < l->n_vars; i++)
            if (l->vars[i] == t.var) return;
        if (l->n_vars < LOGIC_MAX_COLS) l->vars[l->n_vars++] = t.var;
        return;
    }
    const ast_expr *k = e->kids;
    if (k && (e->kind == EX_CALL || e->kind == EX_INDEX)) k = k->next; // its name is no variable
    for (; k; k = k->next) note_names(c, l, k);
    for (const ast_index *ix = e->index; ix; ix = ix->next)
        if (ix->kind == IX_EXPR) note_names(c, l, ix->expr);
}

static void add_test(compile *c, const ast_expr *e, bool negated) {
    if (!c->db->opt.hooks.test) {
        compile_fail(c, e->at, "expected a relation or a comparison here");
        return;
    }
    llit *l = compile_add(c, LL_TEST, e->at);
    l->ast = e;
    l->negated = negated;
    l->vars = arena_array(c->db->at, int, LOGIC_MAX_COLS);
    note_names(c, l, e);
}

static bool has_index(const ast_expr *e) {
    for (; e; e = e->next)
        if (e->kind == EX_INDEX || has_index(e->kids)) return true;
    return false;
}

static void add_compare(compile *c, const ast_expr *e, bool negated) {
    if (has_index(e->kids)) {
        add_test(c, e, negated);
        return;
    }
    lexpr *a = compile_value(c, e->kids), *b = compile_value(c, e->kids->next);
    llit *l = compile_add(c, LL_COMPARE, e->at);
    l->op = e->op;
    l->a = a;
    l->b = b;
    l->negated = negated;
    if (negated && e->op == OP_NE) l->op = OP_EQ, l->negated = false;
}

static void add_tensor_atom(compile *c, const ast_expr *e, bool negated) {
    const logic_hooks *h = &c->db->opt.hooks;
    logic_rel *r = h->relation ? h->relation(h->ctx, e->kids->name, e->n_index) : NULL;
    if (!r || r->arity != e->n_index) {
        add_test(c, e, negated);
        return;
    }
    lterm *terms = arena_array(c->db->at, lterm, r->arity + 1);
    int i = 0;
    for (const ast_index *ix = e->index; ix; ix = ix->next, i++) {
        if (ix->kind == IX_EXPR) terms[i] = term_of(c, ix->expr);
        else compile_fail(c, ix->at, "expected one index here");
    }
    llit *l = compile_add(c, LL_ATOM, e->at);
    l->rel = r;
    l->terms = terms;
    l->negated = negated;
}

static void add_call(compile *c, const ast_expr *e, bool negated) {
    const logic_hooks *h = &c->db->opt.hooks;
    logic_rel *r = called(c, e);
    if (!r && h->relation) r = h->relation(h->ctx, e->kids->name, e->n_kids - 1);
    if (r) add_atom(c, r, e, negated);
    else if (h->test) add_test(c, e, negated);
    else compile_unknown(c, e->kids->name, e->kids->at, "relation");
}

void compile_literal(compile *c, const ast_expr *e, bool negated) {
    if (c->failed) return;
    if (e->kind == EX_UNARY && e->op == OP_NOT) {
        compile_literal(c, e->kids, !negated);
    } else if (e->kind == EX_BINARY && e->op == OP_AND && !negated) {
        compile_literal(c, e->kids, false);
        compile_literal(c, e->kids->next, false);
    } else if (e->kind == EX_BINARY && (e->op == OP_OR || e->op == OP_AND)) {
        diag *d = compile_fail(c, e->at, "'%s' inside a literal", e->op == OP_OR ? "or" : "not (... and ...)");
        diag_fix(c->dl, d, "write one rule for each case");
    } else if (e->kind == EX_BINARY && e->op >= OP_EQ && e->op <= OP_GE) {
        add_compare(c, e, negated);
    } else if (e->kind == EX_BOOL) {
        if ((e->i != 0) == negated) compile_add(c, LL_FALSE, e->at);
    } else if (e->kind == EX_CALL && e->kids->kind == EX_NAME) {
        add_call(c, e, negated);
    } else if (e->kind == EX_INDEX && e->kids->kind == EX_NAME) {
        add_tensor_atom(c, e, negated);
    } else {
        add_test(c, e, negated);
    }
}

// ---- rules -------------------------------------------------------------------------------------------------
typedef struct rule_args { logic_db *db; const ast_stmt *s; diag_list *dl; } rule_args;

static lrule *rule_new(compile *c, span at) {
    lrule *r = arena_new(c->db->at, lrule);
    r->at = at;
    r->vars = arena_array(&c->db->tmp, lvar, LOGIC_MAX_VARS); // cut to size when the rule is entered
    r->n_over = -1;
    c->rule = r;
    c->tail = &r->lits;
    return r;
}

// count(y), sum(w), max[y](w) as a head's last argument. False: an ordinary expression.
static bool head_fold(compile *c, const ast_expr *e) {
    logic_fold fold;
    lrule *r = c->rule;
    bool call = e->kind == EX_CALL && e->kids->kind == EX_NAME && e->n_kids <= 2 && !called(c, e);
    if (!call && e->kind != EX_REDUCE) return false;
    if (!fold_named(call ? e->kids->name : e->name, &fold)) return false;
    r->fold = fold;
    lexpr **value = &r->cols[r->head->arity - 1];
    const ast_expr *arg = call ? e->kids->next : e->kids;
    if (e->kind == EX_REDUCE) {
        r->over = arena_array(c->db->at, int, e->n_index + 1);
        r->n_over = 0;
        for (const ast_index *ix = e->index; ix; ix = ix->next) {
            lterm t;
            if (ix->kind == IX_EXPR && compile_term(c, ix->expr, &t) && t.kind == TM_VAR) r->over[r->n_over++] = t.var;
        }
    }
    if (fold == LF_COUNT) {
        *value = lexpr_new(c->db, LX_TERM, e->at);
        (*value)->term = (lterm){.kind = TM_CONST, .word = 1, .type = LT_INT, .at = e->at};
    } else if (arg) {
        *value = compile_value(c, arg);
    } else {
        compile_fail(c, e->at, "expected the value to fold in ( )");
    }
    return true;
}

static void compile_head(compile *c, const ast_stmt *s, bool valued) {
    lrule *r = c->rule;
    int i = 0, n = r->head->arity - valued;
    r->cols = arena_array(c->db->at, lexpr *, r->head->arity + 1);
    for (const ast_index *ix = s->head.index; ix && !c->failed; ix = ix->next, i++) {
        if (ix->kind != IX_EXPR || ix->virtual_axis || ix->normalised) {
            compile_fail(c, ix->at, "expected a variable, a constant or arithmetic here");
        } else if (i == n - 1 && !valued && head_fold(c, ix->expr)) {
            continue;
        } else {
            r->cols[i] = compile_value(c, ix->expr);
        }
    }
}

// A head with a new name declares a relation; one letter from another name, it is likely a slip.
static void warn_new(compile *c, str name, span at, int arity) {
    char buf[100];
    str *names = arena_array(&c->db->tmp, str, c->db->n_rels + 1);
    size_t n = 0;
    for (const logic_rel *r = c->db->rels; r; r = r->next)
        if (r->arity == arity && r->name.n > 3) names[n++] = r->name;
    bool numbered = name.n && name.p[name.n - 1] >= '0' && name.p[name.n - 1] <= '9'; // R12 beside R11 is meant
    const char *near = name.n > 3 && !numbered ? diag_nearest(name, names, n, buf, sizeof buf) : NULL;
    if (!near) return;
    diag *d = diag_add(c->dl, DG_WARNING, at, "this rule makes a new relation '%.*s'", (int)name.n, name.p);
    diag_fix(c->dl, d, "did you mean '%s'? A declaration (relation %.*s(...)) says that it is new", near, (int)name.n, name.p);
}

// The relation of a head, made by its first rule when it was not declared.
static logic_rel *head_relation(compile *c, const ast_stmt *s, bool valued, bool *fresh) {
    logic_rel *r = logic_find(c->db, s->head.name);
    int n = s->head.n_index + valued;
    *fresh = !r;
    if (r && r->members) {
        compile_fail(c, s->head.at, "'%.*s' is a kind of entity; rules cannot add members", (int)r->name.n, r->name.p);
        return NULL;
    }
    if (r && r->arity != n) {
        diag *d = compile_fail(c, s->head.at, "'%.*s' has %d column%s, and this head gives %d", (int)r->name.n, r->name.p, r->arity, r->arity == 1 ? "" : "s", n);
        if (r->at.src) diag_note(c->dl, d, r->at, "declared here");
        return NULL;
    }
    if (r) return r;
    if (n > LOGIC_MAX_COLS) {
        compile_fail(c, s->head.at, "a relation has at most %d columns", LOGIC_MAX_COLS);
        return NULL;
    }
    warn_new(c, s->head.name, s->head.at, n);
    r = rel_new(c->db, s->head.name, n, s->head.at);
    int i = 0;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next, i++)
        if (ix->kind == IX_EXPR && ix->expr->kind == EX_NAME) r->cols[i].name = keep_str(c->db, ix->expr->name);
    return r;
}

static const logic_fold assign_folds[] = {[AS_EQ] = LF_SUM, [AS_ADD] = LF_SUM, [AS_MAX] = LF_MAX, [AS_MIN] = LF_MIN, [AS_AVG] = LF_AVG, [AS_OR] = LF_OR};

static void compile_body(compile *c, const ast_stmt *s, bool valued) {
    lrule *r = c->rule;
    if (valued) {
        r->fold = assign_folds[s->assign];
        r->cols[r->head->arity - 1] = product_value(c, s->expr);
        if (!r->cols[r->head->arity - 1] && !c->failed) { // conditions only: they count as 1 (true)
            lexpr *one = lexpr_new(c->db, LX_TERM, s->expr->at);
            one->term = (lterm){.kind = TM_CONST, .word = 1, .type = s->assign == AS_OR ? LT_BOOL : LT_INT, .at = s->expr->at};
            r->cols[r->head->arity - 1] = one;
        }
    } else if (s->kind == ST_ASSIGN) {
        compile_literal(c, s->expr, false);
    }
    for (const ast_literal *l = s->where; l && !c->failed; l = l->next) compile_literal(c, l->expr, l->negated);
}

static bool same_fold(compile *c, logic_rel *head) {
    static const char *const names[] = {"set of rows", "max", "min", "or", "sum", "avg", "count"};
    lrule *r = c->rule;
    if (!head->rules || head->fold == r->fold) return true;
    if (r->fold == LF_NONE && (head->fold == LF_MAX || head->fold == LF_MIN || head->fold == LF_OR)) { // one more value to fold
        r->fold = head->fold;
        return true;
    }
    const char *const here = names[r->fold], *const there = names[head->fold];
    diag *d = compile_fail(c, r->at, "'%.*s' is a %s here and a %s elsewhere", (int)head->name.n, head->name.p, here, there);
    diag_note(c->dl, d, head->rules->at, "an earlier rule");
    return false;
}

// Inference gives types to columns that have none; a rule that fails must not leave them behind.
static lcol *save_columns(logic_db *db) {
    int n = 0;
    for (const logic_rel *r = db->rels; r; r = r->next) n += r->arity;
    lcol *all = arena_array(&db->tmp, lcol, n + 1), *at = all;
    for (const logic_rel *r = db->rels; r; at += r->arity, r = r->next)
        if (r->arity) memcpy(at, r->cols, sizeof *at * (size_t)r->arity);
    return all;
}

static bool same_columns(const logic_db *db, const lcol *at) {
    for (const logic_rel *r = db->rels; r; at += r->arity, r = r->next)
        for (int i = 0; i < r->arity; i++)
            if (r->cols[i].type != at[i].type) return false;
    return true;
}

static void restore_columns(logic_db *db, const lcol *at) {
    for (logic_rel *r = db->rels; r; at += r->arity, r = r->next)
        if (r->arity) memcpy(r->cols, at, sizeof *at * (size_t)r->arity);
}

// Enters a checked rule; on failure everything is as it was.
static tl_status enter_rule(compile *c, logic_rel *head) {
    lrule *r = c->rule, *last = head->last_rule;
    logic_fold fold = head->fold;
    lcol *cols = save_columns(c->db);
    int n;
    r->vars = arena_dup(c->db->at, r->vars, sizeof *r->vars * (size_t)(r->n_vars + 1));
    head->fold = r->fold;
    if (last) last->next = r;
    else head->rules = r;
    head->last_rule = r;
    bool ok = infer_rule(c->db, r, c->dl) && (same_columns(c->db, cols) || infer_all(c->db, c->dl)); // others may learn from it
    if (ok && stratify(c->db, c->dl, &n)) {
        if (!last) tupset_init(&head->full, &c->db->mem, head->arity, head->fold, LT_INT, false);
        head->dirty = c->db->dirty = true;
        return TL_OK;
    }
    if (last) last->next = NULL;
    else head->rules = NULL;
    head->last_rule = last;
    head->fold = fold;
    restore_columns(c->db, cols);
    return TL_E_PROGRAM;
}

static tl_status rule_from_ast(void *ctx) {
    rule_args *a = ctx;
    const ast_stmt *s = a->s;
    compile c = {.db = a->db, .dl = a->dl};
    bool fresh, valued = s->kind == ST_ASSIGN;
    if (valued && s->assign == AS_OR) { // R(x) or= A(x): R's columns are all in the head, or one more holds the bool
        const logic_rel *have = logic_find(a->db, s->head.name);
        valued = have && have->arity == s->head.n_index + 1;
    }
    if (s->kind == ST_ASSIGN && s->assign != AS_EQ && s->assign != AS_ADD && s->assign != AS_MAX && s->assign != AS_MIN && s->assign != AS_AVG && s->assign != AS_OR) {
        compile_fail(&c, s->assign_at, "a relation is defined with <-, =, +=, max=, min=, avg= or or=");
        return TL_E_PROGRAM;
    }
    lrule *r = rule_new(&c, s->at);
    logic_rel *head = head_relation(&c, s, valued, &fresh);
    if (!head) return TL_E_PROGRAM;
    if (fresh && !rel_link(a->db, head)) return TL_E_MEMORY;
    r->head = head;
    compile_head(&c, s, valued);
    if (!c.failed) compile_body(&c, s, valued);
    bool ok = !c.failed && same_fold(&c, head) && plan_check(a->db, r, a->dl);
    tl_status status = ok ? enter_rule(&c, head) : TL_E_PROGRAM;
    if (status != TL_OK && fresh) rel_unlink(a->db, head);
    return status;
}

tl_status logic_rule_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl) {
    rule_args a = {db, s, dl};
    tl_status status = guarded(db, dl, rule_from_ast, &a);
    return status == TL_E_MEMORY ? mem_diag(db, dl) : status;
}

// ---- queries -------------------------------------------------------------------------------------------------
lrule *compile_query(logic_db *db, const ast_expr *atom, const ast_literal *where, diag_list *dl) {
    compile c = {.db = db, .dl = dl};
    lrule *r = rule_new(&c, atom->at);
    compile_literal(&c, atom, false);
    for (; where && !c.failed; where = where->next) compile_literal(&c, where->expr, where->negated);
    if (c.failed) return NULL;
    int n = 0;
    for (int i = 0; i < r->n_vars; i++) n += r->vars[i].name.n != 0 && r->vars[i].outer;
    r->head = rel_new(db, (str){0}, n < LOGIC_MAX_COLS ? n : LOGIC_MAX_COLS, atom->at);
    r->cols = arena_array(db->at, lexpr *, n + 1);
    n = 0;
    for (int i = 0; i < r->n_vars && n < LOGIC_MAX_COLS; i++) {
        if (!r->vars[i].name.n || !r->vars[i].outer) continue;
        r->cols[n] = var_value(&c, i, r->vars[i].at);
        r->head->cols[n++].name = r->vars[i].name;
    }
    return plan_check(db, r, dl) && infer_rule(db, r, dl) ? r : NULL;
}
