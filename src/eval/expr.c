// expr.c - expressions of ordinary code.
#include <inttypes.h>
#include <math.h>

#include "eval/relations.h"
#include "eval/watch.h"

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
int64_t clamp_index(evaluator *ev, int64_t i, int64_t n, span at) {
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
