// jinja_eval.c - expressions: names, attributes, items, slices, operators, calls.
#include "text/jinja_int.h"

#include <math.h>

// ---- scopes --------------------------------------------------------------------------------------
jscope *scope_new(jrt *r, jscope *parent) {
    jscope *s = arena_new(&r->mem, jscope);
    s->parent = parent;
    return s;
}

void scope_set(jrt *r, jscope *s, uint32_t id, jv v) {
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->vars[i].id != id) continue;
        s->vars[i].v = v;
        return;
    }
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? 2 * s->cap : 4;
        jvar *p = arena_array(&r->mem, jvar, cap);
        if (s->n) memcpy(p, s->vars, s->n * sizeof *p);
        s->vars = p;
        s->cap = cap;
    }
    s->vars[s->n++] = (jvar){id, v};
}

jv *scope_find(jrt *r, uint32_t id) {
    int64_t looked = 0;
    for (jscope *s = r->scope; s; s = s->parent)
        for (uint32_t i = 0; i < s->n; i++, looked++)
            if (s->vars[i].id == id) return &s->vars[i].v;
    jinja_step(r, looked / 16);
    return NULL;
}

static jv eval_name(jrt *r, const jnode *n) {
    jv *found = scope_find(r, n->id);
    if (!found) found = jdict_find(r, r->globals, n->value);
    if (found) return *found;
    int id = func_find(jstr_slice(n->value.u.s));
    return id >= 0 ? (jv){JV_FUNC, (uint32_t)id, {0}} : jv_undef(n->value.u.s);
}

// ---- attributes and items ------------------------------------------------------------------------
static const char *object_name(jv_kind kind) { // as Jinja's messages call it
    return kind == JV_NONE ? "None" : jv_type((jv){kind, 0, {0}});
}

_Noreturn void eval_undefined(jrt *r, jv u) {
    char esc[120];
    const char *name = u.u.s ? str_escape(esc, sizeof esc, jstr_slice(u.u.s)) : "an element";
    if (u.id == 0) jinja_fail(r, TL_E_FORMAT, u.u.s ? "'%s' is undefined" : "%s out of range is undefined", name);
    const char *of = object_name((jv_kind)(u.id - 1));
    jinja_fail(r, TL_E_FORMAT, "'%s%s' has no attribute '%s'", of, u.id - 1 == JV_NONE ? "" : " object", name);
}

static jv missing(jv obj, jstr *name) { return (jv){JV_UNDEF, 1 + (uint32_t)obj.kind, {.s = name}}; }

static jv bound_method(jrt *r, jv obj, int id) {
    jv *self = arena_dup(&r->mem, &obj, sizeof obj);
    return (jv){JV_METHOD, (uint32_t)id, {.self = self}};
}

jv eval_attr(jrt *r, jv obj, jstr *name) {
    if (obj.kind == JV_UNDEF) eval_undefined(r, obj);
    if (obj.kind == JV_LOOP) return loop_attr(r, obj, jstr_slice(name));
    if (obj.kind == JV_MACRO && str_is(jstr_slice(name), "name")) return obj.u.m->node->value;
    int id = method_find(obj, jstr_slice(name));
    if (id >= 0) return bound_method(r, obj, id);
    if (obj.kind == JV_DICT || obj.kind == JV_NS) {
        jv *found = jdict_find(r, obj.u.d, jv_of_str(name));
        if (found) return *found;
    }
    return missing(obj, name);
}

static jv list_at(const jlist *l, int64_t i) {
    if (i < 0) i += (int64_t)l->n;
    return i >= 0 && (size_t)i < l->n ? l->v[i] : jv_undef(NULL);
}

jv eval_item(jrt *r, jv obj, jv key) {
    if (obj.kind == JV_UNDEF) eval_undefined(r, obj);
    if (obj.kind == JV_DICT && jv_hashable(key)) {
        jv *found = jdict_find(r, obj.u.d, key);
        if (found) return *found;
    }
    if (jv_is_int(key)) {
        if (obj.kind == JV_LIST || obj.kind == JV_TUPLE) return list_at(obj.u.l, key.u.i);
        if (obj.kind == JV_STR) return text_index(r, obj.u.s, key.u.i);
    }
    if (key.kind == JV_STR) return eval_attr(r, obj, key.u.s);
    if (key.kind == JV_UNDEF && obj.kind != JV_DICT) eval_undefined(r, key);
    return missing(obj, jv_text(r, key));
}

// Python's slice.indices().
static void slice_bounds(jrt *r, jv lo, jv hi, int64_t step, int64_t n, int64_t *from, int64_t *to) {
    int64_t min = step > 0 ? 0 : -1, max = step > 0 ? n : n - 1;
    const jv *in[2] = {&lo, &hi};
    int64_t *out[2] = {from, to};
    for (int k = 0; k < 2; k++) {
        if (in[k]->kind == JV_NONE) {
            *out[k] = (k == 0) == (step > 0) ? min : max;
            continue;
        }
        int64_t v = call_int(r, "slice", *in[k], 0);
        if (v < 0) v = v + n < min ? min : v + n;
        *out[k] = v > max ? max : v;
    }
}

static jv slice_of(jrt *r, jv obj, jv lo, jv hi, jv by) {
    int64_t step = by.kind == JV_NONE ? 1 : call_int(r, "slice", by, 1), from, to;
    if (obj.kind == JV_UNDEF) eval_undefined(r, obj);
    if (step == 0) jinja_fail(r, TL_E_FORMAT, "slice step cannot be zero");
    if (obj.kind == JV_STR && step == 1) {
        slice_bounds(r, lo, hi, 1, jstr_chars(obj.u.s), &from, &to);
        jinja_step(r, (int64_t)(obj.u.s->n / 64));
        if (from >= to) return jv_of_str(jstr_lit(r, ""));
        return jv_of_str(jstr_sub(r, obj.u.s, text_offset(obj.u.s, from), text_offset(obj.u.s, to)));
    }
    if (obj.kind != JV_LIST && obj.kind != JV_TUPLE && obj.kind != JV_STR)
        jinja_fail(r, TL_E_FORMAT, "'%s' object is not subscriptable with a slice", jv_type(obj));
    const jlist *l = obj.kind == JV_STR ? text_chars(r, obj.u.s) : obj.u.l;
    slice_bounds(r, lo, hi, step, (int64_t)l->n, &from, &to);
    jlist *out = jlist_new(r, 0);
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        jlist_push(r, out, l->v[i]);
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    if (obj.kind == JV_STR) return text_join(r, jstr_lit(r, ""), out);
    return (jv){obj.kind, 0, {.l = out}};
}

static jv eval_slice(jrt *r, const jnode *n) {
    jv obj = jinja_eval(r, n->a);
    jv lo = n->b ? jinja_eval(r, n->b) : jv_none(), hi = n->c ? jinja_eval(r, n->c) : jv_none();
    return slice_of(r, obj, lo, hi, n->list[0] ? jinja_eval(r, n->list[0]) : jv_none());
}

// ---- operators -----------------------------------------------------------------------------------
_Noreturn static void bad_operands(jrt *r, const char *op, jv a, jv b) {
    if (a.kind == JV_UNDEF || b.kind == JV_UNDEF) eval_undefined(r, a.kind == JV_UNDEF ? a : b);
    if (a.kind == JV_STR && op[0] == '+')
        jinja_fail(r, TL_E_FORMAT, "can only concatenate str (not \"%s\") to str", jv_type(b));
    jinja_fail(r, TL_E_FORMAT, "unsupported operand type(s) for %s: '%s' and '%s'", op, jv_type(a), jv_type(b));
}

static const char *op_name(int op) {
    static const char one[][2] = {"+", "-", "*", "/", "%"};
    if (op == OP_POW) return "** or pow()";
    if (op == OP_FLOORDIV) return "//";
    for (size_t i = 0; i < sizeof one / sizeof *one; i++)
        if (one[i][0] == op) return one[i];
    return "?";
}

static int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static bool int_pow(int64_t base, int64_t e, int64_t *out) {
    *out = 1;
    for (; e > 0; e >>= 1) {
        if ((e & 1) && __builtin_mul_overflow(*out, base, out)) return false;
        if (e > 1 && __builtin_mul_overflow(base, base, &base)) return false;
    }
    return true;
}

static jv int_op(jrt *r, int op, int64_t a, int64_t b) {
    int64_t v = 0;
    bool ok = true;
    if ((op == OP_FLOORDIV || op == '%' || op == '/') && b == 0) jinja_fail(r, TL_E_FORMAT, "division by zero");
    if (op == '/') return jv_float((double)a / (double)b);
    if (op == OP_POW && b < 0) return jv_float(pow((double)a, (double)b));
    if (op == '+') ok = !__builtin_add_overflow(a, b, &v);
    else if (op == '-') ok = !__builtin_sub_overflow(a, b, &v);
    else if (op == '*') ok = !__builtin_mul_overflow(a, b, &v);
    else if (op == OP_POW) ok = int_pow(a, b, &v);
    else if (b == -1) ok = op == '%' || !__builtin_sub_overflow((int64_t)0, a, &v);
    else v = op == '%' ? a - b * floor_div(a, b) : floor_div(a, b);
    if (!ok) jinja_fail(r, TL_E_LIMIT, "integer overflow in %s", op_name(op));
    return jv_int(v);
}

static jv float_op(jrt *r, int op, double a, double b) {
    if ((op == OP_FLOORDIV || op == '%' || op == '/') && b == 0) jinja_fail(r, TL_E_FORMAT, "float division by zero");
    switch (op) {
    case '+': return jv_float(a + b);
    case '-': return jv_float(a - b);
    case '*': return jv_float(a * b);
    case '/': return jv_float(a / b);
    case OP_POW: return jv_float(pow(a, b));
    case OP_FLOORDIV: return jv_float(floor(a / b));
    default: {
        double m = fmod(a, b);
        return jv_float(m != 0 && (m < 0) != (b < 0) ? m + b : m);
    }
    }
}

static jv repeat(jrt *r, jv seq, int64_t count) {
    if (seq.kind == JV_STR) {
        jbuf b = {0};
        for (int64_t i = 0; i < count; i++, jinja_step(r, 1)) jb_str(r, &b, seq.u.s);
        return jb_value(r, &b);
    }
    jlist *l = jlist_new(r, 0);
    for (int64_t i = 0; i < count && seq.u.l->n > 0; i++)
        for (size_t k = 0; k < seq.u.l->n; k++) jlist_push(r, l, seq.u.l->v[k]);
    return (jv){seq.kind, 0, {.l = l}};
}

static bool repeatable(jv v) { return v.kind == JV_STR || v.kind == JV_LIST || v.kind == JV_TUPLE; }

jv eval_binary(jrt *r, int op, jv a, jv b) {
    if (jv_is_int(a) && jv_is_int(b)) return int_op(r, op, a.u.i, b.u.i);
    if (jv_is_num(a) && jv_is_num(b)) return float_op(r, op, jv_num(a), jv_num(b));
    if (op == '+' && a.kind == JV_STR && b.kind == JV_STR) return jv_of_str(jstr_concat(r, a.u.s, b.u.s));
    if (op == '+' && a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE)) {
        jlist *l = jlist_new(r, a.u.l->n + b.u.l->n);
        for (size_t i = 0; i < a.u.l->n; i++) jlist_push(r, l, a.u.l->v[i]);
        for (size_t i = 0; i < b.u.l->n; i++) jlist_push(r, l, b.u.l->v[i]);
        return (jv){a.kind, 0, {.l = l}};
    }
    if (op == '%' && a.kind == JV_STR) return format_percent(r, a.u.s, b);
    if (op == '*' && repeatable(a) && jv_is_int(b)) return repeat(r, a, b.u.i);
    if (op == '*' && repeatable(b) && jv_is_int(a)) return repeat(r, b, a.u.i);
    bad_operands(r, op_name(op), a, b);
}

bool eval_compare(jrt *r, int op, jv a, jv b) {
    switch (op) {
    case OP_EQ: return jv_eq(r, a, b);
    case OP_NE: return !jv_eq(r, a, b);
    case OP_IN: return jv_in(r, a, b);
    case OP_NOTIN: return !jv_in(r, a, b);
    default: break;
    }
    if (jv_is_num(a) && jv_is_num(b) && (isnan(jv_num(a)) || isnan(jv_num(b)))) return false;
    int c = jv_cmp(r, a, b);
    return op == '<' ? c < 0 : op == '>' ? c > 0 : op == OP_LE ? c <= 0 : c >= 0;
}

static jv eval_chain(jrt *r, const jnode *n) { // a < b < c
    jv a = jinja_eval(r, n->list[0]);
    for (uint32_t i = 1; i < n->n; i++) {
        jv b = jinja_eval(r, n->list[i]);
        if (!eval_compare(r, n->ops[i - 1], a, b)) return jv_bool(false);
        a = b;
    }
    return jv_bool(true);
}

static jv eval_sign(jrt *r, const jnode *n) {
    jv v = jinja_eval(r, n->a);
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    if (!jv_is_num(v))
        jinja_fail(r, TL_E_FORMAT, "bad operand type for unary %c: '%s'", n->kind == E_NEG ? '-' : '+', jv_type(v));
    if (v.kind == JV_FLOAT) return jv_float(n->kind == E_NEG ? -v.u.f : v.u.f);
    return int_op(r, n->kind == E_NEG ? '-' : '+', 0, v.u.i);
}

static jv eval_concat(jrt *r, const jnode *n) {
    jbuf b = {0};
    for (uint32_t i = 0; i < n->n; i++) jv_print(r, &b, jinja_eval(r, n->list[i]));
    return jb_value(r, &b);
}

// ---- calls ---------------------------------------------------------------------------------------
static void add_kw(jrt *r, jcall *c, uint32_t *cap, jstr *name, jv v) {
    for (uint32_t i = 0; i < c->n_kw; i++)
        if (str_eq(jstr_slice(c->kw[i].name), jstr_slice(name)))
            jinja_fail(r, TL_E_FORMAT, "got multiple values for keyword argument '%.*s'", (int)name->n, name->p);
    if (c->n_kw == *cap) {
        *cap = *cap ? 2 * *cap : 4;
        jkw *p = arena_array(&r->mem, jkw, *cap);
        if (c->n_kw) memcpy(p, c->kw, c->n_kw * sizeof *p);
        c->kw = p;
    }
    c->kw[c->n_kw++] = (jkw){name, v};
}

static void spread_kw(jrt *r, jcall *c, uint32_t *cap, jv v) {
    if (v.kind != JV_DICT) jinja_fail(r, TL_E_FORMAT, "argument after ** must be a mapping, not %s", jv_type(v));
    for (size_t i = 0; i < v.u.d->n; i++) {
        if (v.u.d->e[i].k.kind != JV_STR) jinja_fail(r, TL_E_FORMAT, "keywords must be strings");
        add_kw(r, c, cap, v.u.d->e[i].k.u.s, v.u.d->e[i].v);
    }
}

static jcall eval_args(jrt *r, const jnode *n) {
    jlist pos = {0};
    jcall c = {0};
    uint32_t cap = 0;
    for (uint32_t i = 0; i < n->n_args; i++) {
        jv v = jinja_eval(r, n->args[i].value);
        if (n->args[i].kind == ARG_POS) {
            jlist_push(r, &pos, v);
        } else if (n->args[i].kind == ARG_KW) {
            add_kw(r, &c, &cap, n->args[i].name, v);
        } else if (n->args[i].kind == ARG_STAR) {
            const jlist *l = jv_iter(r, v);
            for (size_t k = 0; k < l->n; k++) jlist_push(r, &pos, l->v[k]);
        } else {
            spread_kw(r, &c, &cap, v);
        }
    }
    c.pos = pos.v;
    c.n = (uint32_t)pos.n;
    return c;
}

jv eval_call(jrt *r, jv f, const jcall *c) {
    switch (f.kind) {
    case JV_FUNC: return func_call(r, (int)f.id, c);
    case JV_METHOD: return method_call(r, f, c);
    case JV_MACRO: return exec_macro(r, f.u.m, c);
    case JV_LOOP:
        if (c->n != 1 || c->n_kw) jinja_fail(r, TL_E_FORMAT, "loop() takes one argument");
        return exec_loop_again(r, f.u.loop, c->pos[0]);
    case JV_UNDEF: eval_undefined(r, f);
    default: jinja_fail(r, TL_E_FORMAT, "'%s' object is not callable", jv_type(f));
    }
}

static jv eval_call_node(jrt *r, const jnode *n) {
    jv f = jinja_eval(r, n->a);
    jcall c = eval_args(r, n);
    r->line = n->line;
    return eval_call(r, f, &c);
}

// The word at *at of a parameter list; false at its end.
static bool param_word(const char **at, str *word, bool *needed) {
    while (**at == ' ') ++*at;
    *needed = **at == '!';
    *at += *needed;
    word->p = *at;
    while (**at && **at != ' ') ++*at;
    word->n = (size_t)(*at - word->p);
    return word->n > 0;
}

void call_bind(jrt *r, const char *what, const char *params, const jcall *c, jv *out) {
    uint32_t i = 0, used = 0;
    str word;
    bool needed;
    for (const char *at = params; param_word(&at, &word, &needed); i++) {
        out[i] = i < c->n ? c->pos[i] : (jv){0};
        for (uint32_t k = 0; k < c->n_kw; k++) {
            if (!str_eq(jstr_slice(c->kw[k].name), word)) continue;
            if (out[i].kind != JV_MISSING)
                jinja_fail(r, TL_E_FORMAT, "%s got multiple values for argument '%.*s'", what, (int)word.n, word.p);
            out[i] = c->kw[k].v;
            used++;
        }
        if (needed && out[i].kind == JV_MISSING)
            jinja_fail(r, TL_E_FORMAT, "%s is missing the argument '%.*s'", what, (int)word.n, word.p);
    }
    if (c->n > i) jinja_fail(r, TL_E_FORMAT, "%s takes at most %u arguments, %u given", what, i, c->n);
    if (used < c->n_kw) jinja_fail(r, TL_E_FORMAT, "%s got an unexpected keyword argument", what);
}

int64_t call_int(jrt *r, const char *what, jv v, int64_t absent) {
    if (v.kind == JV_MISSING) return absent;
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    if (!jv_is_int(v)) jinja_fail(r, TL_E_FORMAT, "%s: an integer is required, not %s", what, jv_type(v));
    return v.u.i;
}

jstr *call_str(jrt *r, const char *what, jv v) {
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    if (v.kind != JV_STR) jinja_fail(r, TL_E_FORMAT, "%s: a string is required, not %s", what, jv_type(v));
    return v.u.s;
}

// ---- filters and tests ---------------------------------------------------------------------------
static jv eval_filter(jrt *r, const jnode *n, jv in) {
    jcall c = eval_args(r, n);
    r->line = n->line;
    if ((int)n->id < 0) jinja_fail(r, TL_E_FORMAT, "no filter named '%.*s'", (int)n->value.u.s->n, n->value.u.s->p);
    return filter_call(r, (int)n->id, in, &c);
}

jv eval_filters(jrt *r, const jnode *chain, jv in) {
    if (!chain) return in;
    jinja_enter(r);
    jv out = eval_filter(r, chain, eval_filters(r, chain->a, in));
    jinja_leave(r);
    return out;
}

static jv eval_test(jrt *r, const jnode *n) {
    jv v = jinja_eval(r, n->a);
    jcall c = eval_args(r, n);
    r->line = n->line;
    if ((int)n->id < 0) jinja_fail(r, TL_E_FORMAT, "no test named '%.*s'", (int)n->value.u.s->n, n->value.u.s->p);
    return jv_bool(test_call(r, (int)n->id, v, &c) != n->flag);
}

static jv eval_items(jrt *r, const jnode *n) {
    jlist *l = jlist_new(r, n->n);
    for (uint32_t i = 0; i < n->n; i++) jlist_push(r, l, jinja_eval(r, n->list[i]));
    return (jv){n->kind == E_LIST ? JV_LIST : JV_TUPLE, 0, {.l = l}};
}

static jv eval_dict(jrt *r, const jnode *n) {
    jdict *d = jdict_new(r);
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        jv key = jinja_eval(r, n->list[i]);
        jdict_put(r, d, key, jinja_eval(r, n->list[i + 1]));
    }
    return (jv){JV_DICT, 0, {.d = d}};
}

static jv eval_node(jrt *r, const jnode *n) {
    jv a, b;
    switch ((jkind)n->kind) {
    case E_CONST: return n->value;
    case E_NAME: return eval_name(r, n);
    case E_LIST:
    case E_TUPLE: return eval_items(r, n);
    case E_DICT: return eval_dict(r, n);
    case E_NEG:
    case E_POS: return eval_sign(r, n);
    case E_NOT: return jv_bool(!jv_true(jinja_eval(r, n->a)));
    case E_AND:
    case E_OR:
        a = jinja_eval(r, n->a);
        return jv_true(a) == (n->kind == E_OR) ? a : jinja_eval(r, n->b);
    case E_BIN:
        a = jinja_eval(r, n->a);
        b = jinja_eval(r, n->b);
        r->line = n->line;
        return eval_binary(r, n->op, a, b);
    case E_CONCAT: return eval_concat(r, n);
    case E_CMP: return eval_chain(r, n);
    case E_COND:
        if (jv_true(jinja_eval(r, n->b))) return jinja_eval(r, n->a);
        return n->c ? jinja_eval(r, n->c) : jv_undef(NULL);
    case E_ATTR: return eval_attr(r, jinja_eval(r, n->a), n->value.u.s);
    case E_ITEM:
        a = jinja_eval(r, n->a);
        return eval_item(r, a, jinja_eval(r, n->b));
    case E_SLICE: return eval_slice(r, n);
    case E_CALL: return eval_call_node(r, n);
    case E_FILTER: return eval_filter(r, n, n->a ? jinja_eval(r, n->a) : jv_none());
    case E_TEST: return eval_test(r, n);
    default: jinja_fail(r, TL_E_FORMAT, "not an expression");
    }
}

jv jinja_eval(jrt *r, const jnode *n) {
    jinja_enter(r);
    r->line = n->line;
    jv v = eval_node(r, n);
    jinja_leave(r);
    return v;
}
