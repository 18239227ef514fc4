// interp.c - statements and expressions of ordinary code.
#include <inttypes.h>
#include <math.h>

#include "eval/explain.h"
#include "eval/relations.h"
#include "eval/update.h"
#include "eval/watch.h"

enum { MAX_CALL_DEPTH = 1000, MAX_STACK = 4 << 20 }; // bytes: half of what threads usually have

// ---- wants ---------------------------------------------------------------------------------------
int64_t want_int(evaluator *ev, value v, span at, const char *what) {
    if (v.kind == V_INT) return v.i;
    if (v.kind == V_BOOL) return v.b;
    double f;
    if (v.kind == V_FLOAT) f = v.f;
    else if (v.kind == V_TENSOR) f = tensor_scalar(ev, v.t, at);
    else ev_fail(ev, at, "%s must be an integer, found %s", what, v_names[v.kind]);
    if (!(f == floor(f)) || fabs(f) > 9e15) ev_fail(ev, at, "%s must be a whole number, found %.17g", what, f);
    return (int64_t)f;
}

double want_float(evaluator *ev, value v, span at, const char *what) {
    switch (v.kind) {
    case V_INT: return (double)v.i;
    case V_FLOAT: return v.f;
    case V_BOOL: return v.b;
    case V_TENSOR: return tensor_scalar(ev, v.t, at);
    default: ev_fail(ev, at, "%s must be a number, found %s", what, v_names[v.kind]);
    }
}

tensor *want_tensor(evaluator *ev, value v, span at, const char *what) {
    switch (v.kind) {
    case V_TENSOR: case V_INT: case V_FLOAT: case V_BOOL: case V_LIST: case V_PARTS: case V_PATH: case V_RANGE: case V_RELATION: return value_tensor(ev, v, at);
    default: ev_fail(ev, at, "%s must be a tensor, found %s", what, v_names[v.kind]);
    }
}

str want_str(evaluator *ev, value v, span at, const char *what) {
    if (v.kind != V_STR) ev_fail(ev, at, "%s must be a string, found %s", what, v_names[v.kind]);
    return v_text(v);
}

bool truthy(evaluator *ev, value v, span at) {
    switch (v.kind) {
    case V_NONE: return false;
    case V_INT: return v.i != 0;
    case V_FLOAT: return v.f != 0;
    case V_BOOL: return v.b;
    case V_STR: return v.s->n != 0;
    case V_LIST: return v.list->n != 0;
    case V_MAP: return v.map->n != 0;
    case V_TENSOR: return tensor_scalar(ev, v.t, at) != 0;
    default: return true;
    }
}

// ---- names ---------------------------------------------------------------------------------------
binding *find_name(evaluator *ev, str name) { return env_find(ev->scope, name); }

static const char *suggestion(evaluator *ev, str name, char *buf, size_t cap) {
    VEC(str) names = {0};
    for (scope *s = ev->scope; s; s = s->parent)
        for (size_t i = 0; i < s->n; i++) (void)vec_push(&names, s->p[i].name);
    for (size_t i = 0; i < ev->builtins.cap; i++)
        if (ev->builtins.slots[i].key.p) (void)vec_push(&names, ev->builtins.slots[i].key);
    const char *r = diag_nearest(name, names.p, names.n, buf, cap);
    vec_free(&names);
    return r;
}

value lookup(evaluator *ev, str name, span at) {
    binding *b = find_name(ev, name);
    if (b) return b->v;
    int64_t *bi = map_get(&ev->builtins, name);
    if (bi) return (value){.kind = V_BUILTIN, .bi = (const builtin *)(intptr_t)*bi};
    dim_entry *d = dim_find(ev, intern(ev, name));
    if (d && d->size >= 0) return v_int(d->size);
    for (size_t i = 0; i < ev->waiting.n; i++)
        if (str_eq(ev->waiting.p[i]->head.name, name)) (void)let_axes(ev, ev->waiting.p[i], true); // says what is missing
    char buf[100], fix[200];
    const char *near = suggestion(ev, name, buf, sizeof buf);
    if (near) snprintf(fix, sizeof fix, "did you mean '%s'?", near);
    ev_fail_fix(ev, at, near ? fix : NULL, "unknown name '%.*s'", (int)name.n, name.p);
}

value settle(evaluator *ev, value v, span at) {
    if (v.kind != V_PARTS) return v;
    v_parts *p = v.parts;
    if (p->whole) return v_of_tensor(p->whole);
    axis ax[IR_MAX_RANK] = {{0}};
    for (int i = 0; i < p->rank; i++) {
        if (p->p[0].at[i] >= 0) {
            ax[i].size = p->const_size[i];
            continue;
        }
        int k = 0;
        for (int j = 0; j < i; j++) k += p->p[0].at[j] < 0;
        ax[i] = p->p[0].t->ax[k];
    }
    layout l;
    layout_make(ax, p->rank, &l);
    int64_t stride[IR_MAX_LABELS];
    layout_strides(&l, stride);
    int n = (int)p->n, nout = l.sp.nout;
    ir_edge *e = arena_array(ev->g->a, ir_edge, n);
    int64_t *off = arena_array(ev->g->a, int64_t, n), *st = arena_array(ev->g->a, int64_t, n * nout), *sz = arena_array(ev->g->a, int64_t, n * nout);
    for (int i = 0; i < n; i++) {
        struct part *q = &p->p[i];
        e[i] = (ir_edge){.node = tensor_node(ev, q->t, at), .offset = q->t->offset};
        for (int a = 0, k = 0; a < p->rank; a++) {
            int lab = l.label[a];
            st[i * nout + lab] = stride[lab];
            sz[i * nout + lab] = 1;
            if (q->at[a] >= 0) {
                off[i] += q->at[a] * stride[lab];
                continue;
            }
            e[i].stride[lab] = q->t->ax[k].stride;
            if (!ax[a].sym) sz[i * nout + lab] = ax[a].size;
            k++;
        }
    }
    p->whole = layout_tensor(ev, &l, ir_assemble(ev->g, &l.sp, n, e, off, st, sz), ax, p->rank);
    p->whole = watch_whole(ev, p, p->whole);
    return v_of_tensor(p->whole);
}

// ---- operators -----------------------------------------------------------------------------------
static bool is_number(value v) { return v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL; }
static bool is_tensor_like(value v) { return v.kind == V_TENSOR || v.kind == V_PARTS || v.kind == V_PATH; }

static value int_op(evaluator *ev, ex_op op, int64_t a, int64_t b, span at) {
    int64_t r = 0;
    bool over = false;
    switch (op) {
    case OP_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case OP_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case OP_MUL: case OP_JUXT: over = __builtin_mul_overflow(a, b, &r); break;
    case OP_DIV:
        if (b == 0) ev_fail(ev, at, "division by zero");
        if (b != -1 && a % b == 0) return v_int(a / b);
        if (b == -1 && a != INT64_MIN) return v_int(-a);
        return v_float((double)a / (double)b);
    case OP_MOD:
        if (b == 0) ev_fail(ev, at, "division by zero");
        if (b == -1) return v_int(0);
        r = a % b;
        if (r != 0 && (r < 0) != (b < 0)) r += b;
        return v_int(r);
    case OP_POW: {
        if (b < 0) return v_float(pow((double)a, (double)b));
        r = 1;
        for (int64_t i = 0; i < b && !over; i++) over = __builtin_mul_overflow(r, a, &r);
        if (over) return v_float(pow((double)a, (double)b));
        return v_int(r);
    }
    default: TL_CHECK(!"operator");
    }
    if (over) ev_fail(ev, at, "integer overflow: %" PRId64 " %s %" PRId64, a, op_text(op), b);
    return v_int(r);
}

static value float_op(evaluator *ev, ex_op op, double a, double b, span at) {
    switch (op) {
    case OP_ADD: return v_float(a + b);
    case OP_SUB: return v_float(a - b);
    case OP_MUL: case OP_JUXT: return v_float(a * b);
    case OP_DIV:
        if (b == 0) ev_fail(ev, at, "division by zero");
        return v_float(a / b);
    case OP_MOD:
        if (b == 0) ev_fail(ev, at, "division by zero");
        return v_float(a - b * floor(a / b));
    case OP_POW: return v_float(pow(a, b));
    default: TL_CHECK(!"operator");
    }
    return v_none();
}

static int map_of(ex_op op) {
    switch (op) {
    case OP_OR: return MAP_OR;
    case OP_AND: return MAP_AND;
    case OP_EQ: return MAP_EQ;
    case OP_NE: return MAP_NE;
    case OP_LT: return MAP_LT;
    case OP_LE: return MAP_LE;
    case OP_GT: return MAP_GT;
    case OP_GE: return MAP_GE;
    case OP_ADD: return MAP_ADD;
    case OP_SUB: return MAP_SUB;
    case OP_MUL: case OP_JUXT: return MAP_MUL;
    case OP_DIV: return MAP_DIV;
    case OP_MOD: return MAP_MOD;
    case OP_POW: return MAP_POW;
    default: return -1;
    }
}

static value compare(evaluator *ev, ex_op op, value a, value b, span at) {
    int c;
    if (a.kind == V_STR && b.kind == V_STR) {
        str x = v_text(a), y = v_text(b);
        c = memcmp(x.p, y.p, x.n < y.n ? x.n : y.n);
        if (c == 0) c = x.n < y.n ? -1 : x.n > y.n;
    } else if (is_number(a) && is_number(b)) {
        if (a.kind != V_FLOAT && b.kind != V_FLOAT) {
            int64_t x = want_int(ev, a, at, ""), y = want_int(ev, b, at, "");
            c = x < y ? -1 : x > y;
        } else {
            double x = want_float(ev, a, at, ""), y = want_float(ev, b, at, "");
            if (isnan(x) || isnan(y)) return v_bool(false);
            c = x < y ? -1 : x > y;
        }
    } else {
        ev_fail(ev, at, "'%s' cannot compare %s with %s", op_text(op), v_names[a.kind], v_names[b.kind]);
    }
    return v_bool(op == OP_LT ? c < 0 : op == OP_LE ? c <= 0 : op == OP_GT ? c > 0 : c >= 0);
}

value binary_op(evaluator *ev, ex_op op, value a, value b, span at) {
    if (op == OP_MATMUL) return v_of_tensor(tensor_matmul(ev, want_tensor(ev, a, at, "the left side of @"), want_tensor(ev, b, at, "the right side of @"), at));
    bool tensors = is_tensor_like(a) || is_tensor_like(b);
    if (!tensors && (op == OP_EQ || op == OP_NE)) return v_bool(v_equal(ev, a, b, at) == (op == OP_EQ));
    if (tensors && a.kind != V_STR && b.kind != V_STR) {
        value args[2] = {settle(ev, a, at), settle(ev, b, at)};
        return v_of_tensor(tensor_map(ev, (map_op)map_of(op), 2, args, at));
    }
    if (op >= OP_LT && op <= OP_GE) return compare(ev, op, a, b, at);
    if (op == OP_ADD && (a.kind == V_STR || b.kind == V_STR)) { // the other side is written as print writes it
        sbuf *s = text_begin(ev);
        v_print(ev, a, s, false);
        v_print(ev, b, s, false);
        return text_value(ev, s);
    }
    if (op == OP_ADD && a.kind == V_LIST && b.kind == V_LIST) {
        value l = v_list_new(ev);
        for (size_t i = 0; i < a.list->n; i++) list_push(ev, l.list, a.list->p[i]);
        for (size_t i = 0; i < b.list->n; i++) list_push(ev, l.list, b.list->p[i]);
        return l;
    }
    if (!is_number(a) || !is_number(b)) ev_fail(ev, at, "'%s' cannot be applied to %s and %s", op_text(op), v_names[a.kind], v_names[b.kind]);
    if (a.kind != V_FLOAT && b.kind != V_FLOAT) return int_op(ev, op, want_int(ev, a, at, ""), want_int(ev, b, at, ""), at);
    return float_op(ev, op, want_float(ev, a, at, ""), want_float(ev, b, at, ""), at);
}

static value unary(evaluator *ev, const ast_expr *e) {
    value a = settle(ev, eval(ev, e->kids), e->at);
    if (e->op == OP_NOT) {
        if (a.kind == V_TENSOR && a.t->rank) return v_of_tensor(tensor_map(ev, MAP_NOT, 1, &a, e->at));
        return v_bool(!truthy(ev, a, e->at));
    }
    if (a.kind == V_INT) {
        if (a.i == INT64_MIN) ev_fail(ev, e->at, "integer overflow");
        return v_int(-a.i);
    }
    if (a.kind == V_FLOAT) return v_float(-a.f);
    if (is_tensor_like(a)) return v_of_tensor(tensor_map(ev, MAP_NEG, 1, &a, e->at));
    ev_fail(ev, e->at, "'-' cannot be applied to %s", v_names[a.kind]);
}

str interpolate(evaluator *ev, const ast_expr *e) {
    if (!e->kids) return e->name;
    sbuf *b = text_begin(ev);
    for (const ast_expr *k = e->kids; k; k = k->next) {
        if (k->kind == EX_STRING && !k->kids) sbuf_put(b, k->name.p, k->name.n);
        else v_print(ev, settle(ev, eval(ev, k), k->at), b, false);
    }
    return v_text(text_value(ev, b));
}

// ---- indexing known positions --------------------------------------------------------------------
static int64_t clamp_index(evaluator *ev, int64_t i, int64_t n, span at) {
    int64_t k = i < 0 ? i + n : i;
    if (k < 0 || k >= n) ev_fail(ev, at, "index %" PRId64 " of %" PRId64 " elements", i, n);
    return k;
}

void slice_bounds(evaluator *ev, const ast_index *ix, int64_t n, int64_t *lo, int64_t *hi) {
    *lo = ix->lo ? want_int(ev, eval(ev, ix->lo), ix->lo->at, "a slice bound") : 0;
    *hi = ix->hi ? want_int(ev, eval(ev, ix->hi), ix->hi->at, "a slice bound") : n;
    if (*lo < 0) *lo += n;
    if (*hi < 0) *hi += n;
    if (*hi > n) *hi = n;
    if (*lo < 0) *lo = 0;
    if (*lo > *hi) *lo = *hi;
}

static value index_tensor(evaluator *ev, tensor *t, const ast_expr *e) {
    if (e->n_index > t->rank) ev_fail(ev, e->at, "%d indices for a tensor with %d axes", e->n_index, t->rank);
    int ax = 0;
    for (const ast_index *ix = e->index; ix; ix = ix->next, ax++) {
        if (ix->kind == IX_SLICE) {
            int64_t lo, hi;
            if (t->ax[ax].sym) {
                if (!ix->lo && !ix->hi) continue;
                ev_fail(ev, ix->at, "a slice of the step's rows");
            }
            slice_bounds(ev, ix, t->ax[ax].size, &lo, &hi);
            t = tensor_select(ev, t, ax, lo, hi, false);
            continue;
        }
        if (ix->kind == IX_COMPOSITE) ev_fail(ev, ix->at, "a composite index belongs in an equation");
        value v = settle(ev, eval(ev, ix->expr), ix->at);
        if (v.kind == V_LIST || (v.kind == V_TENSOR && v.t->rank > 0)) {
            tensor *ids = value_tensor(ev, v, ix->at);
            t = tensor_gather_rows(ev, t, ax, ids, ix->at);
            ax += ids->rank - 1;
            continue;
        }
        if (t->ax[ax].sym) ev_fail(ev, ix->at, "one row of a step cannot be picked by number");
        int64_t at = v.kind == V_STR ? entity_position(ev, t->ax[ax].domain, v_text(v), ix->at) : want_int(ev, v, ix->at, "an index");
        int64_t i = clamp_index(ev, at, t->ax[ax].size, ix->at);
        t = tensor_select(ev, t, ax, i, i + 1, true);
        ax--;
    }
    return v_of_tensor(t);
}

static value index_path(evaluator *ev, v_path *p, const ast_expr *e) {
    sbuf *b = text_begin(ev);
    sbuf_puts(b, p->prefix);
    for (const ast_index *ix = e->index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR) ev_fail(ev, ix->at, "a number or a name was expected");
        value v = eval(ev, ix->expr);
        if (b->n) sbuf_putc(b, '.');
        v_print(ev, v, b, false);
    }
    v_path *q = heap_new(ev, sizeof *q, V_PATH);
    q->m = p->m;
    q->prefix = b->p;
    *b = (sbuf){0};
    text_end(ev, b);
    return (value){.kind = V_PATH, .path = q};
}

value index_value(evaluator *ev, value base, const ast_expr *e) {
    base = settle(ev, base, e->at);
    if (base.kind == V_RELATION && !base.rel->cache) base = v_of_tensor(relation_tensor(ev, base.rel, e->at));
    const ast_index *ix = e->index;
    switch (base.kind) {
    case V_TENSOR: return index_tensor(ev, base.t, e);
    case V_PATH: {
        return index_path(ev, base.path, e);
    }
    case V_LIST: case V_STR: case V_RANGE: {
        if (e->n_index != 1) ev_fail(ev, e->at, "one index was expected");
        int64_t n = base.kind == V_LIST ? (int64_t)base.list->n : base.kind == V_STR ? (int64_t)base.s->n : base.range.hi - base.range.lo;
        int64_t lo, hi;
        if (ix->kind == IX_SLICE) {
            slice_bounds(ev, ix, n, &lo, &hi);
            if (base.kind == V_STR) return v_str_new(ev, (str){base.s->p + lo, (size_t)(hi - lo)});
            if (base.kind == V_RANGE) return (value){.kind = V_RANGE, .range = {base.range.lo + (int32_t)lo, base.range.lo + (int32_t)hi}};
            value l = v_list_new(ev);
            for (int64_t i = lo; i < hi; i++) list_push(ev, l.list, base.list->p[i]);
            return l;
        }
        if (ix->kind != IX_EXPR) ev_fail(ev, ix->at, "a number was expected");
        int64_t i = clamp_index(ev, want_int(ev, eval(ev, ix->expr), ix->at, "an index"), n, ix->at);
        if (base.kind == V_LIST) return base.list->p[i];
        if (base.kind == V_RANGE) return v_int(base.range.lo + i);
        return v_str_new(ev, (str){base.s->p + i, 1});
    }
    case V_MAP: {
        if (e->n_index != 1 || ix->kind != IX_EXPR) ev_fail(ev, e->at, "one key was expected");
        value key = eval(ev, ix->expr), *v = map_find(base.map, key);
        if (!v) {
            sbuf *b = text_begin(ev);
            v_print(ev, key, b, true);
            ev_fail(ev, ix->at, "the map has no key %.*s", b->n < 200 ? (int)b->n : 200, b->p);
        }
        return *v;
    }
    case V_FAMILY: {
        int64_t key[4];
        if (e->n_index < base.family->n_keys) ev_fail(ev, e->at, "%d indices are needed to pick a tensor of this family", base.family->n_keys);
        for (int i = 0; i < base.family->n_keys; i++, ix = ix->next) {
            if (ix->kind != IX_EXPR) ev_fail(ev, ix->at, "a number was expected");
            key[i] = want_int(ev, eval(ev, ix->expr), ix->at, "an index of a family");
        }
        value m = family_member(ev, base.family, key, e->at);
        if (!ix) return m;
        ast_expr rest = *e;
        rest.index = (ast_index *)ix;
        rest.n_index -= base.family->n_keys;
        return index_value(ev, m, &rest);
    }
    case V_STATE:
        if (!ev->tracing && base.state->now.kind == V_TENSOR) return index_tensor(ev, base.state->now.t, e);
        ev_fail(ev, e->at, "a state tensor is read in an equation");
    default: ev_fail(ev, e->at, "%s cannot be indexed", v_names[base.kind]);
    }
}

// ---- calls ---------------------------------------------------------------------------------------
// Names a parameter's axes as its signature says; sizes of equal names must agree.
static value bind_param(evaluator *ev, const ast_param *p, value v, span at) {
    const ast_type *ty = p->type;
    if (!ty || !ty->has_shape) return v;
    tensor *t = tensor_dup(ev, want_tensor(ev, v, at, "this argument"));
    if (t->rank != ty->rank) {
        diag *d = ev_diag(ev, at, "'%.*s' must have %d axes, the argument has %d", (int)p->name.n, p->name.p, ty->rank, t->rank);
        diag_note(&ev->dl, d, p->at, "declared here");
        ev_throw(ev);
    }
    int i = 0;
    for (const ast_size *s = ty->sizes; s; s = s->next, i++) {
        axis *a = &t->ax[i];
        a->dim = NULL, a->dim_decl = NULL;
        if (s->kind == SZ_INT && (a->sym || a->size != s->n)) {
            diag *d = ev_diag(ev, at, "axis %d of '%.*s' must be %" PRId64 ", the argument has %" PRId64, i, (int)p->name.n, p->name.p, s->n, a->size);
            diag_note(&ev->dl, d, s->at, "declared here");
            ev_throw(ev);
        }
        if (s->kind != SZ_NAME) continue;
        a->dim = intern(ev, s->name);
        a->dim_decl = dim_decl_of(ev, a->dim);
        a->dim_at = s->at;
        if (a->sym) continue;
        char what[120];
        snprintf(what, sizeof what, "axis %d of '%.*s'", i, (int)p->name.n, p->name.p);
        (void)dim_learn(ev, s->name, a->size, at.src ? at : s->at, what);
    }
    return v_of_tensor(t);
}

static void strip_dims(value *v, evaluator *ev) {
    if (v->kind != V_TENSOR) return;
    v->t = tensor_dup(ev, v->t);
    for (int i = 0; i < v->t->rank; i++) v->t->ax[i].dim = NULL, v->t->ax[i].dim_decl = NULL;
}

static void name_result(evaluator *ev, value *v, const ast_stmt *def) {
    if (v->kind != V_TENSOR || !def->type || !def->type->has_shape) return;
    ast_param p = {.at = def->type->at, .name = STR("the result"), .type = def->type};
    *v = bind_param(ev, &p, *v, def->type->at);
    if (def->type->dtype == DT_I32) v->t->type = DT_I32;
}

static const ast_param *param_of(evaluator *ev, const ast_stmt *def, const str *names, int k, span at) { // of argument k
    const ast_param *p = def->params;
    if (!names || !names[k].n) {
        for (int i = 0; i < k; i++) p = p->next;
        return p;
    }
    for (; p; p = p->next)
        if (str_eq(names[k], p->name)) return p;
    ev_fail(ev, at, "%.*s has no parameter '%.*s'", (int)def->head.name.n, def->head.name.p, (int)names[k].n, names[k].p);
}

static value call_fn(evaluator *ev, v_fn *f, value *args, const str *names, int n, span at) {
    const ast_stmt *def = f->def;
    if (n != def->n_params) {
        diag *d = ev_diag(ev, at, "%.*s takes %d argument%s, %d given", (int)def->head.name.n, def->head.name.p, def->n_params, def->n_params == 1 ? "" : "s", n);
        diag_note(&ev->dl, d, def->head.at, "declared here");
        ev_throw(ev);
    }
    ptrdiff_t used = ev->stack - (const char *)__builtin_frame_address(0);
    if (++ev->depth > MAX_CALL_DEPTH || used > MAX_STACK || used < -MAX_STACK) {
        ev->code = TL_E_LIMIT;
        ev_fail(ev, at, "calls are nested too deeply");
    }
    scope *saved = ev->scope;
    const unit *cur = ev->cur;
    size_t dims = ev->dims.n;
    frame fr = {.caller = ev->frames, .call = at, .fn = intern(ev, def->head.name)};
    fr.env = saved;
    ev->frames = &fr;
    scope *env = env_new(ev, f->env);
    ev->scope = env;
    ev->cur = f->unit;
    // Undeclared dims of the signature are the call's own: they shadow.
    for (const ast_param *p = def->params; p; p = p->next) {
        const ast_type *ty = p->type;
        for (const ast_size *s = ty && ty->has_shape ? ty->sizes : NULL; s; s = s->next) {
            if (s->kind != SZ_NAME) continue;
            const char *nm = intern(ev, s->name);
            if (dim_decl_of(ev, nm)) continue; // declared for the whole file
            bool own = false;
            for (size_t k = dims; k < ev->dims.n; k++) own |= ev->dims.p[k].name == nm;
            if (!own && !vec_push(&ev->dims, ((dim_entry){.name = nm, .unit = ev->cur, .depth = ev->depth, .size = -1}))) ev_fail(ev, at, "out of memory");
        }
    }
    for (int k = 0; k < n; k++) env_put(ev, env, param_of(ev, def, names, k, at)->name, v_none(), at);
    if (env->n != (size_t)n) ev_fail(ev, at, "%.*s is given an argument twice", (int)def->head.name.n, def->head.name.p);
    for (int k = 0; k < n; k++) {
        const ast_param *p = param_of(ev, def, names, k, at);
        env_put(ev, env, p->name, bind_param(ev, p, args[k], at), p->at);
    }
    flow fl = FLOW_NEXT;
    value last = v_none();
    for (const ast_stmt *s = def->body; s; s = s->next) {
        if (s->kind == ST_EXPR && !s->next) { // the last expression is the value
            last = eval(ev, s->expr);
            break;
        }
        fl = exec(ev, s);
        if (fl == FLOW_RETURN) break;
        if (fl != FLOW_NEXT) ev_fail(ev, s->at, "'break' or 'continue' outside a loop");
    }
    value result = fl == FLOW_RETURN ? fr.result : last;
    if (fl != FLOW_RETURN) {
        binding *r = env_find_here(env, STR("result"));
        if (r) result = r->v;
    }
    result = settle(ev, result, at);
    name_result(ev, &result, def);
    if (ev->frames == &fr && !(f == ev->step)) strip_dims(&result, ev);
    ev->frames = fr.caller;
    ev->scope = saved;
    ev->cur = cur;
    ev->dims.n = dims;
    ev->depth--;
    return result;
}

static bool reaches_outside(const char *name) {
    static const char *const names[] = {"env", "input", "load_npy", "save_npy", "load_safetensors", "save_safetensors", "load_facts", "save_facts"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static value call_builtin(evaluator *ev, const builtin *b, value *args, const str *names, int n, span at) {
    if (n < b->min_args || (b->max_args >= 0 && n > b->max_args)) {
        char fix[200], range[40];
        snprintf(fix, sizeof fix, "%s(%s)", b->name, b->params);
        if (b->max_args < 0) snprintf(range, sizeof range, "%d or more", b->min_args);
        else if (b->max_args == b->min_args) snprintf(range, sizeof range, "%d", b->min_args);
        else snprintf(range, sizeof range, "%d to %d", b->min_args, b->max_args);
        ev_fail_fix(ev, at, fix, "%s takes %s argument%s, %d given", b->name, range, b->min_args == 1 && b->max_args == 1 ? "" : "s", n);
    }
    if (ev->o.confined && reaches_outside(b->name))
        ev_fail_fix(ev, at, "run it with `tl run`, which gives a program files, environment and input", "a model's program cannot use %s: it may read nothing but its model", b->name);
    call c = {.ev = ev, .arg = args, .names = names, .n = n, .at = at, .self = b};
    return b->fn(&c);
}

value call_value(evaluator *ev, value callee, value *args, const str *names, int n, span at) {
    if (callee.kind == V_FN) return call_fn(ev, callee.fn, args, names, n, at);
    if (callee.kind == V_BUILTIN) return call_builtin(ev, callee.bi, args, names, n, at);
    ev_fail(ev, at, "%s cannot be called", v_names[callee.kind]);
}

static value call_expr(evaluator *ev, const ast_expr *e) {
    value callee = eval(ev, e->kids);
    int n = e->n_kids - 1;
    if (n > 64) ev_fail(ev, e->at, "more than 64 arguments");
    if (callee.kind == V_RELATION && !callee.rel->cache) return ask_relation(ev, e);
    if (callee.kind == V_TENSOR || callee.kind == V_PARTS || callee.kind == V_RELATION)
        ev_fail_fix(ev, e->at, "write it in an equation or a rule, or index it with [ ]", "%s is not called like a function here", v_names[callee.kind]);
    value args[64];
    str names[64];
    bool named = false;
    ev->pending++;
    int i = 0;
    for (const ast_expr *k = e->kids->next; k; k = k->next, i++) {
        args[i] = settle(ev, eval(ev, k), k->at);
        names[i] = k->arg_name;
        named |= k->arg_name.n != 0;
    }
    value r;
    if (callee.kind == V_FN) ev->pending--; // its statements may collect: the arguments are bound in its scope
    r = call_value(ev, callee, args, named ? names : NULL, n, e->at);
    if (callee.kind != V_FN) ev->pending--;
    return r;
}

// ---- expressions ---------------------------------------------------------------------------------
static value field(evaluator *ev, const ast_expr *e) {
    value b = settle(ev, eval(ev, e->kids), e->at);
    if (b.kind == V_MODEL || b.kind == V_PATH) {
        v_path *p = heap_new(ev, sizeof *p, V_PATH);
        sbuf s = {0};
        if (b.kind == V_PATH) {
            sbuf_puts(&s, b.path->prefix);
            sbuf_putc(&s, '.');
        }
        sbuf_put(&s, e->name.p, e->name.n);
        p->m = b.kind == V_MODEL ? b.model : b.path->m;
        p->prefix = s.p;
        if (gguf_tensor_find(p->m->file, (str){s.p, s.n})) return path_value(ev, p, e->at);
        return (value){.kind = V_PATH, .path = p};
    }
    if (b.kind == V_MAP) {
        value key = v_str_new(ev, e->name), *v = map_find(b.map, key);
        if (v) return *v;
        ev_fail(ev, e->op_at, "the map has no key \"%.*s\"", (int)e->name.n, e->name.p);
    }
    ev_fail(ev, e->op_at, "%s has no field '%.*s'", v_names[b.kind], (int)e->name.n, e->name.p);
}

static value cast(evaluator *ev, const ast_expr *e) {
    value v = settle(ev, eval(ev, e->kids), e->at);
    if (str_is(e->name, "int") || str_is(e->name, "int64")) {
        if (v.kind == V_FLOAT) {
            if (!(fabs(v.f) < 9.2e18)) ev_fail(ev, e->at, "%g does not fit an integer", v.f);
            return v_int((int64_t)v.f);
        }
        return v_int(want_int(ev, v, e->at, "the value"));
    }
    if (str_is(e->name, "float") || str_is(e->name, "float64")) return v_float(want_float(ev, v, e->at, "the value"));
    if (str_is(e->name, "bool")) return v_bool(truthy(ev, v, e->at));
    if (str_is(e->name, "string") || str_is(e->name, "str")) {
        sbuf *s = text_begin(ev);
        v_print(ev, v, s, false);
        return text_value(ev, s);
    }
    tl_dtype t = dtype_from_name(e->name);
    if (t == DT_COUNT) ev_fail(ev, e->op_at, "unknown type '%.*s'", (int)e->name.n, e->name.p);
    tensor *x = want_tensor(ev, v, e->at, "the value");
    if (t == DT_I32 || t == DT_I64) { // rounds towards zero
        value a[1] = {v_of_tensor(x)};
        tensor *sign = tensor_map(ev, MAP_SIGN, 1, a, e->at), *mag = tensor_map(ev, MAP_ABS, 1, a, e->at);
        value m[1] = {v_of_tensor(mag)};
        value b[2] = {v_of_tensor(sign), v_of_tensor(tensor_map(ev, MAP_FLOOR, 1, m, e->at))};
        return v_of_tensor(tensor_map(ev, MAP_MUL, 2, b, e->at));
    }
    return v_of_tensor(x);
}

value eval(evaluator *ev, const ast_expr *e) {
    value v = v_none();
    bool inner = e->kind != EX_CALL;
    if (inner) ev->pending++;
    switch (e->kind) {
    case EX_INT: v = v_int(e->i); break;
    case EX_FLOAT: v = v_float(e->f); break;
    case EX_BOOL: v = v_bool(e->i != 0); break;
    case EX_STRING: v = v_str_new(ev, interpolate(ev, e)); break;
    case EX_NAME: v = lookup(ev, e->name, e->at); break;
    case EX_LIST: case EX_TUPLE: case EX_SET:
        v = v_list_new(ev);
        for (const ast_expr *k = e->kids; k; k = k->next) list_push(ev, v.list, eval(ev, k));
        break;
    case EX_MAP:
        v = v_map_new(ev);
        for (const ast_expr *k = e->kids; k; k = k->next->next) {
            value key = eval(ev, k);
            if (key.kind != V_STR && key.kind != V_INT) ev_fail(ev, k->at, "a key is a string or an integer, found %s", v_names[key.kind]);
            map_set(ev, v.map, key, eval(ev, k->next));
        }
        break;
    case EX_UNARY: v = unary(ev, e); break;
    case EX_BINARY:
        if (e->op == OP_AND || e->op == OP_OR) {
            v = settle(ev, eval(ev, e->kids), e->at);
            if (v.kind == V_TENSOR && v.t->rank) {
                v = binary_op(ev, e->op, v, eval(ev, e->kids->next), e->op_at);
                break;
            }
            bool a = truthy(ev, v, e->kids->at);
            if (a == (e->op == OP_OR)) v = v_bool(a);
            else v = v_bool(truthy(ev, eval(ev, e->kids->next), e->kids->next->at));
            break;
        }
        v = eval(ev, e->kids);
        v = binary_op(ev, e->op, v, eval(ev, e->kids->next), e->op_at);
        break;
    case EX_CALL: v = call_expr(ev, e); break;
    case EX_INDEX: v = index_value(ev, eval(ev, e->kids), e); break;
    case EX_FIELD: v = field(ev, e); break;
    case EX_PATH: ev_fail(ev, e->at, "'::' has no meaning here");
    case EX_CAST: v = cast(ev, e); break;
    case EX_REDUCE: v = eval_reduce(ev, e); break;
    }
    if (inner) ev->pending--;
    return v;
}

// ---- statements ----------------------------------------------------------------------------------
void poll_budget(evaluator *ev, span at) {
    if (ev->o.max_steps && ev->steps >= ev->o.max_steps) {
        ev->code = TL_E_LIMIT;
        ev_fail_fix(ev, at, "a loop that never ends?", "the program has run %" PRId64 " statements, which is its limit", ev->steps);
    }
    if (ev->o.host.cancelled && ev->o.host.cancelled(ev->o.host.ctx)) {
        ev->code = TL_E_CANCELLED;
        ev_fail(ev, at, "stopped");
    }
}

static void poll(evaluator *ev, span at) {
    if ((++ev->steps & 63) == 0 || (ev->o.max_steps && ev->steps >= ev->o.max_steps)) poll_budget(ev, at);
}

static flow exec_loop_body(evaluator *ev, const ast_stmt *s, scope *outer, const str *var, value v) {
    ev->scope = env_new(ev, outer);
    if (var) env_put(ev, ev->scope, *var, v, s->head.at);
    flow f = exec_block(ev, s->body);
    ev->scope = outer;
    poll(ev, s->at);
    heap_maybe_collect(ev);
    return f;
}

static flow exec_for(evaluator *ev, const ast_stmt *s) {
    value it = settle(ev, eval(ev, s->expr), s->expr->at);
    int64_t n;
    if (it.kind == V_RANGE) n = it.range.hi > it.range.lo ? it.range.hi - it.range.lo : 0;
    else if (it.kind == V_LIST) n = (int64_t)it.list->n;
    else if (it.kind == V_TENSOR && it.t->rank && !it.t->ax[0].sym) n = it.t->ax[0].size;
    else if (it.kind == V_MAP) n = (int64_t)it.map->n;
    else ev_fail(ev, s->expr->at, "'for' needs a list, a range, a map or a tensor, found %s", v_names[it.kind]);
    scope *outer = ev->scope, *hold = env_new(ev, outer);
    env_put(ev, hold, STR(" iterated"), it, s->at); // keeps it alive
    flow f = FLOW_NEXT;
    loop_at here = {.outer = ev->loops, .name = intern(ev, s->head.name), .n = n};
    watch_lens(ev, s, outer, -1);
    for (int64_t i = 0; i < n; i++) {
        value v;
        if (it.kind == V_RANGE) v = v_int(it.range.lo + i);
        else if (it.kind == V_LIST) v = i < (int64_t)it.list->n ? it.list->p[i] : v_none();
        else if (it.kind == V_MAP) v = it.map->keys[i];
        else v = v_of_tensor(tensor_select(ev, it.t, 0, i, i + 1, true));
        bool counted = v.kind == V_INT;
        here.at = counted ? v.i : 0;
        if (counted) ev->loops = &here;
        f = exec_loop_body(ev, s, hold, &s->head.name, v);
        ev->loops = here.outer;
        if (counted && f == FLOW_NEXT) watch_lens(ev, s, outer, v.i);
        if (f == FLOW_BREAK || f == FLOW_RETURN) break;
    }
    ev->scope = outer;
    return f == FLOW_RETURN ? f : FLOW_NEXT;
}

static flow exec_while(evaluator *ev, const ast_stmt *s) {
    scope *outer = ev->scope;
    for (;;) {
        if (s->kind == ST_WHILE && !truthy(ev, eval(ev, s->expr), s->expr->at)) return FLOW_NEXT;
        flow f = exec_loop_body(ev, s, outer, NULL, v_none());
        if (f == FLOW_RETURN) return f;
        if (f == FLOW_BREAK) return FLOW_NEXT;
    }
}

static void assign_element(evaluator *ev, const ast_stmt *s, binding *b) {
    value v = eval(ev, s->expr), base = b->v;
    ev->pending++;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR) ev_fail(ev, ix->at, "a key or number was expected");
        value key = eval(ev, ix->expr);
        if (!ix->next && s->assign != AS_EQ && s->assign != AS_SET) {
            value *old = base.kind == V_MAP ? map_find(base.map, key) : NULL;
            if (base.kind == V_LIST) old = &base.list->p[clamp_index(ev, want_int(ev, key, ix->at, "an index"), (int64_t)base.list->n, ix->at)];
            if (!old) ev_fail(ev, ix->at, "there is nothing here to update yet");
            v = binary_op(ev, s->assign == AS_SUB ? OP_SUB : s->assign == AS_MUL ? OP_MUL : OP_ADD, *old, v, s->assign_at);
        }
        if (base.kind == V_MAP) {
            if (!ix->next) map_set(ev, base.map, key, v);
            else {
                value *q = map_find(base.map, key);
                if (!q) ev_fail(ev, ix->at, "the map has no such key");
                base = *q;
            }
        } else if (base.kind == V_LIST) {
            int64_t i = clamp_index(ev, want_int(ev, key, ix->at, "an index"), (int64_t)base.list->n, ix->at);
            if (!ix->next) base.list->p[i] = v;
            else base = base.list->p[i];
        } else {
            ev_fail(ev, ix->at, "%s has no elements to assign to", v_names[base.kind]);
        }
    }
    ev->pending--;
}

static void assign_name(evaluator *ev, const ast_stmt *s) {
    value v = eval(ev, s->expr);
    binding *b = find_name(ev, s->head.name);
    if (s->assign != AS_EQ && s->assign != AS_SET) {
        if (!b) ev_fail(ev, s->head.at, "'%.*s' has no value to update yet", (int)s->head.name.n, s->head.name.p);
        ex_op op = s->assign == AS_ADD ? OP_ADD : s->assign == AS_SUB ? OP_SUB : s->assign == AS_MUL ? OP_MUL : OP_NONE;
        value args[2] = {b->v, v};
        if (op != OP_NONE) v = binary_op(ev, op, b->v, v, s->assign_at);
        else if (s->assign == AS_MAX || s->assign == AS_MIN) v = v_of_tensor(tensor_map(ev, s->assign == AS_MAX ? MAP_MAX : MAP_MIN, 2, args, s->assign_at));
        else ev_fail(ev, s->assign_at, "this fold needs an indexed left side");
    }
    v = watch_value(ev, s, v);
    if (b) b->v = v, b->constant = false; // the outer variable changes; its place of definition stays
    else env_put(ev, ev->scope, s->head.name, v, s->head.at);
}

static void exec_let(evaluator *ev, const ast_stmt *s) {
    value v = eval(ev, s->expr);
    if (s->type && s->type->has_shape) {
        ast_param p = {.at = s->type->at, .name = s->head.name, .type = s->type};
        v = bind_param(ev, &p, v, s->expr->at);
    } else if (s->type && (str_is(s->type->name, "float") || str_is(s->type->name, "float64")) && v.kind == V_INT) {
        v = v_float((double)v.i);
    }
    env_put(ev, ev->scope, s->head.name, watch_value(ev, s, v), s->head.at);
}

static void declare_tensor(evaluator *ev, const ast_stmt *s) {
    if (s->state) {
        v_statedecl *d = heap_new(ev, sizeof *d, V_STATE);
        d->def = s;
        d->type = s->type->dtype == DT_COUNT ? DT_F32 : s->type->dtype;
        d->rank = s->type->rank;
        d->unit = ev->cur;
        env_put(ev, ev->scope, s->head.name, (value){.kind = V_STATE, .state = d}, s->head.at);
        return;
    }
    value v;
    if (s->expr) {
        v = v_of_tensor(want_tensor(ev, eval(ev, s->expr), s->expr->at, "a tensor's value"));
    } else { // zeros of the declared shape
        int64_t sizes[IR_MAX_RANK];
        int i = 0;
        for (const ast_size *z = s->type->sizes; z; z = z->next, i++) {
            sizes[i] = z->n;
            if (z->kind == SZ_NAME) sizes[i] = want_int(ev, lookup(ev, z->name, z->at), z->at, "a size");
            if (z->kind == SZ_ANY) ev_fail(ev, z->at, "a tensor without a value needs a size here");
        }
        v = v_of_tensor(tensor_from_floats(ev, i, sizes, NULL));
    }
    if (s->type->has_shape) {
        ast_param p = {.at = s->type->at, .name = s->head.name, .type = s->type};
        v = bind_param(ev, &p, v, s->at);
    }
    env_put(ev, ev->scope, s->head.name, v, s->head.at);
}

static void declare_dims(evaluator *ev, const ast_stmt *s) {
    int64_t n = want_int(ev, eval(ev, s->expr), s->expr->at, "a dim's size");
    if (n < 0) ev_fail(ev, s->expr->at, "a dim's size cannot be %" PRId64, n);
    if (ev->depth) { // inside a function: the call's own
        if (!vec_push(&ev->dims, ((dim_entry){.name = intern(ev, s->head.name), .unit = ev->cur, .depth = ev->depth, .size = n, .at = s->head.at}))) ev_fail(ev, s->at, "out of memory");
        return;
    }
    (void)dim_learn(ev, s->head.name, n, s->head.at, "this dim");
    dim_find(ev, intern(ev, s->head.name))->decl = s;
}

static bool element_target(evaluator *ev, const ast_stmt *s) {
    binding *b = find_name(ev, s->head.name);
    if (!b || (b->v.kind != V_LIST && b->v.kind != V_MAP)) return false;
    for (const ast_index *ix = s->head.index; ix && b->v.kind == V_LIST; ix = ix->next)
        if (ix->kind == IX_SLICE || (ix->kind == IX_EXPR && (eq_free_name(ev, ix->expr) || has_free_index(ev, ix->expr)))) { // an equation over a list of numbers
            b->v = v_of_tensor(value_tensor(ev, b->v, s->head.at));
            return false;
        }
    return true;
}

static void exec_assert(evaluator *ev, const ast_stmt *s) {
    if (truthy(ev, eval(ev, s->expr), s->expr->at)) return;
    const ast_expr *e = s->expr;
    sbuf *b = text_begin(ev);
    if (e->kind == EX_BINARY && e->op >= OP_EQ && e->op <= OP_GE) { // show both sides
        value l = settle(ev, eval(ev, e->kids), e->at), r = settle(ev, eval(ev, e->kids->next), e->at);
        sbuf_puts(b, ": ");
        v_print(ev, l, b, true);
        sbuf_printf(b, " %s ", op_text(e->op));
        v_print(ev, r, b, true);
    }
    char found[300];
    snprintf(found, sizeof found, "%s", b->p ? b->p : "");
    text_end(ev, b);
    if (s->text.p) ev_fail(ev, s->at, "%.*s%s", (int)s->text.n, s->text.p, found);
    ev_fail(ev, s->at, "the assertion does not hold%s", found);
}

flow exec_block(evaluator *ev, const ast_stmt *list) {
    for (const ast_stmt *s = list; s; s = s->next) {
        flow f = exec(ev, s);
        if (f != FLOW_NEXT) return f;
    }
    return FLOW_NEXT;
}

static flow exec_scoped(evaluator *ev, const ast_stmt *list) {
    scope *outer = ev->scope;
    ev->scope = env_new(ev, outer);
    flow f = exec_block(ev, list);
    ev->scope = outer;
    return f;
}

// The relation between sequences and the cache's slots: the session fills it.
static bool is_cache_relation(const ast_stmt *s) {
    for (const ast_param *p = s->params; p; p = p->next)
        if (p->type && str_is(p->type->name, "slot")) return true;
    return false;
}

static void declare_cache(evaluator *ev, const ast_stmt *s) {
    v_relation *r = heap_new(ev, sizeof *r, V_RELATION);
    r->def = s;
    r->cache = true;
    env_put(ev, ev->scope, s->head.name, (value){.kind = V_RELATION, .rel = r}, s->head.at);
}

static void declare_fn(evaluator *ev, const ast_stmt *s) {
    v_fn *fn = heap_new(ev, sizeof *fn, V_FN);
    fn->def = s;
    fn->env = ev->scope;
    fn->unit = ev->cur;
    env_put(ev, ev->scope, s->head.name, (value){.kind = V_FN, .fn = fn}, s->head.at);
}

static void exec_assign(evaluator *ev, const ast_stmt *s) {
    if (s->assign == AS_SOFT) {
        ev->code = TL_E_UNSUPPORTED;
        ev_fail_fix(ev, s->assign_at, "write = for an exact equation", "'~' is understood, but learning is not there yet");
    }
    if (!s->head.indexed && !s->where) assign_name(ev, s);
    else if (is_logic_rule(ev, s)) exec_logic_rule(ev, s);
    else if (virtual_index(s)) exec_recurrence(ev, s);
    else if (reads_steps(s)) exec_step_reads(ev, s);
    else if (element_target(ev, s)) assign_element(ev, s, find_name(ev, s->head.name));
    else if (is_fixpoint(ev, s)) exec_fixpoint(ev, s);
    else {
        refuse_cycle(ev, s);
        exec_equation(ev, s);
    }
}

tl_status ev_import(evaluator *ev, const ast_stmt *s);

flow exec(evaluator *ev, const ast_stmt *s) {
    span saved = ev->g->at;
    ev->g->at = s->at;
    flow f = FLOW_NEXT;
    explain_mark mark = {0};
    if (ev->explain) mark = explain_begin(ev, s);
    switch (s->kind) {
    case ST_IMPORT: (void)ev_import(ev, s); break;
    case ST_DIM: declare_dims(ev, s); break;
    case ST_TENSOR: declare_tensor(ev, s); break;
    case ST_RELATION:
        if (is_cache_relation(s)) declare_cache(ev, s);
        else declare_relation(ev, s);
        break;
    case ST_FN: declare_fn(ev, s); break;
    case ST_MAIN: case ST_TEST: case ST_BENCH: break; // run by the driver
    case ST_BLOCK: f = exec_scoped(ev, s->body); break;
    case ST_LET:
        if (!s->head.indexed) exec_let(ev, s);
        else if (is_equation(ev, s)) exec_equation(ev, s);
        else (void)let_axes(ev, s, false);
        break;
    case ST_ASSIGN: exec_assign(ev, s); break;
    case ST_RULE:
        if (is_logic_rule(ev, s)) exec_logic_rule(ev, s);
        else exec_rule(ev, s);
        break;
    case ST_IF:
        if (truthy(ev, eval(ev, s->expr), s->expr->at)) f = exec_scoped(ev, s->body);
        else if (s->orelse) f = exec_scoped(ev, s->orelse);
        break;
    case ST_FOR: f = exec_for(ev, s); break;
    case ST_WHILE: case ST_LOOP: f = exec_while(ev, s); break;
    case ST_BREAK: f = FLOW_BREAK; break;
    case ST_CONTINUE: f = FLOW_CONTINUE; break;
    case ST_RETURN:
        if (!ev->frames) ev_fail(ev, s->at, "'return' outside a function");
        ev->frames->result = s->expr ? settle(ev, eval(ev, s->expr), s->expr->at) : v_none();
        f = FLOW_RETURN;
        break;
    case ST_ASSERT: exec_assert(ev, s); break;
    case ST_EXPR:
        if (s->expr->kind == EX_CALL && is_relation(ev, s->expr->kids)) exec_fact(ev, s->expr);
        else (void)eval(ev, s->expr);
        break;
    case ST_ENTITY: declare_entity(ev, s); break;
    case ST_QUERY: exec_query(ev, s); break;
    case ST_PATCH: patch_declare(ev, s); break;
    case ST_LEARN:
        ev->code = TL_E_UNSUPPORTED;
        ev_fail(ev, s->at, "'learn' is understood, but learning is not there yet");
    case ST_EMBEDDING: declare_embedding(ev, s); break;
    case ST_INFER:
        ev->code = TL_E_UNSUPPORTED;
        ev_fail_fix(ev, s->at, "ask with query", "'infer' is understood, but cannot be run yet");
    }
    if (ev->explain) explain_end(ev, s, &mark);
    ev->g->at = saved;
    poll(ev, s->at);
    if (f == FLOW_NEXT) heap_maybe_collect(ev);
    return f;
}
