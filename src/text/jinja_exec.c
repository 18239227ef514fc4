// jinja_exec.c - statements: output, conditions, loops, assignment, macros, capture.
#include "text/jinja_int.h"

typedef enum { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE } flow;

static flow exec(jrt *r, const jnode *n);

static flow exec_body(jrt *r, const jnode *n) {
    flow f = FLOW_NEXT;
    for (uint32_t i = 0; i < n->n && f == FLOW_NEXT; i++) f = exec(r, n->list[i]);
    return f;
}

static flow exec_scoped(jrt *r, const jnode *n) { // in a scope of its own
    jscope *outer = r->scope;
    r->scope = scope_new(r, outer);
    flow f = exec_body(r, n);
    r->scope = outer;
    return f;
}

// What the body writes, as a string.
static jv capture(jrt *r, const jnode *n, flow *f) {
    jbuf b = {0}, *outer = r->out;
    r->out = &b;
    *f = exec_scoped(r, n);
    r->out = outer;
    return jb_value(r, &b);
}

// ---- assignment ----------------------------------------------------------------------------------
static void assign(jrt *r, const jnode *target, jv v);

static void unpack(jrt *r, const jnode *target, jv v) {
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    const jlist *l = jv_iter(r, v);
    if (l->n > target->n) jinja_fail(r, TL_E_FORMAT, "too many values to unpack (expected %u)", target->n);
    if (l->n < target->n) jinja_fail(r, TL_E_FORMAT, "not enough values to unpack (expected %u, got %zu)", target->n, l->n);
    for (uint32_t i = 0; i < target->n; i++) assign(r, target->list[i], l->v[i]);
}

static void assign(jrt *r, const jnode *target, jv v) {
    if (target->kind == E_NAME) return scope_set(r, r->scope, target->id, v);
    if (target->kind == E_TUPLE) return unpack(r, target, v);
    jv ns = jinja_eval(r, target->a);
    if (ns.kind != JV_NS) jinja_fail(r, TL_E_FORMAT, "cannot assign attribute on non-namespace object");
    jdict_put(r, ns.u.d, target->value, v);
}

static flow exec_with(jrt *r, const jnode *n) {
    jscope *outer = r->scope, *inner = scope_new(r, outer);
    for (uint32_t i = 0; i + 1 < n->n; i += 2) {
        jv v = jinja_eval(r, n->list[i + 1]); // values see the outer scope only
        r->scope = inner;
        assign(r, n->list[i], v);
        r->scope = outer;
    }
    r->scope = inner;
    flow f = exec_body(r, n->c);
    r->scope = outer;
    return f;
}

// ---- loops ---------------------------------------------------------------------------------------
// Items that pass the loop's condition; the condition sees the target but not `loop`.
static jlist *filter_items(jrt *r, const jnode *n, jlist *in) {
    jlist *out = jlist_new(r, 0);
    jscope *outer = r->scope;
    for (size_t i = 0; i < in->n; i++) {
        r->scope = scope_new(r, outer);
        assign(r, n->a, in->v[i]);
        if (jv_true(jinja_eval(r, n->c))) jlist_push(r, out, in->v[i]);
        r->scope = outer;
    }
    return out;
}

static uint32_t loop_id(const jrt *r) {
    int64_t *id = map_get(&r->t->ids, STR("loop"));
    return id ? (uint32_t)*id : UINT32_MAX;
}

static flow run_loop(jrt *r, const jnode *n, jv items, int depth0) {
    jscope *outer = r->scope;
    jlist *l = jv_iter(r, items);
    if (n->c) l = filter_items(r, n, l);
    if (l->n == 0) return n->list[1] ? exec_scoped(r, n->list[1]) : FLOW_NEXT;
    jloop *loop = arena_new(&r->mem, jloop);
    *loop = (jloop){.items = l, .depth0 = depth0, .node = n, .outer = outer};
    uint32_t id = loop_id(r);
    jscope *inner = NULL;
    for (size_t i = 0; i < l->n; i++) {
        if (!inner || inner->captured) inner = scope_new(r, outer);
        inner->n = 0;
        r->scope = inner;
        jinja_step(r, 1);
        loop->index = i;
        if (id != UINT32_MAX) scope_set(r, inner, id, (jv){JV_LOOP, 0, {.loop = loop}});
        assign(r, n->a, l->v[i]);
        if (exec_body(r, n->list[0]) == FLOW_BREAK) break;
    }
    r->scope = outer;
    return FLOW_NEXT;
}

jv exec_loop_again(jrt *r, jloop *l, jv items) { // loop(items) in a recursive loop
    if (!l->node->flag) jinja_fail(r, TL_E_FORMAT, "the loop must have the 'recursive' marker to be called");
    jbuf b = {0}, *out = r->out;
    jscope *scope = r->scope;
    r->out = &b;
    r->scope = l->outer;
    jinja_enter(r);
    run_loop(r, l->node, items, l->depth0 + 1);
    jinja_leave(r);
    r->scope = scope;
    r->out = out;
    return jb_value(r, &b);
}

static flow exec_if(jrt *r, const jnode *n) {
    for (uint32_t i = 0; i + 1 < n->n; i += 2)
        if (jv_true(jinja_eval(r, n->list[i]))) return exec_body(r, n->list[i + 1]);
    return n->c ? exec_body(r, n->c) : FLOW_NEXT;
}

// ---- macros --------------------------------------------------------------------------------------
static jv new_macro(jrt *r, const jnode *n) {
    jmacro *m = arena_new(&r->mem, jmacro);
    *m = (jmacro){n, r->scope};
    for (jscope *s = r->scope; s && !s->captured; s = s->parent) s->captured = true;
    return (jv){JV_MACRO, 0, {.m = m}};
}

static void set_named(jrt *r, const char *name, jv v) {
    int64_t *id = map_get(&r->t->ids, str_of(name));
    if (id) scope_set(r, r->scope, (uint32_t)*id, v);
}

static bool is_param(const jnode *n, str name) {
    for (uint32_t i = 0; i < n->n_args; i++)
        if (str_eq(jstr_slice(n->args[i].name), name)) return true;
    return false;
}

// Arguments that no parameter takes: varargs, kwargs, caller, or an error.
static void bind_rest(jrt *r, const jnode *n, const jcall *c) {
    const jstr *name = n->value.u.s;
    jv caller = jv_undef(jstr_lit(r, "caller"));
    jdict *rest = jdict_new(r);
    for (uint32_t i = 0; i < c->n_kw; i++) {
        str kw = jstr_slice(c->kw[i].name);
        if (is_param(n, kw)) continue;
        if (str_is(kw, "caller")) caller = c->kw[i].v;
        else if (n->op & MACRO_USES_KWARGS) jdict_put(r, rest, jv_of_str(c->kw[i].name), c->kw[i].v);
        else
            jinja_fail(r, TL_E_FORMAT, "macro '%.*s' takes no keyword argument '%.*s'", (int)name->n, name->p,
                       (int)kw.n, kw.p);
    }
    if (c->n > n->n_args && !(n->op & MACRO_USES_VARARGS))
        jinja_fail(r, TL_E_FORMAT, "macro '%.*s' takes not more than %u argument(s)", (int)name->n, name->p, n->n_args);
    if ((n->op & MACRO_USES_CALLER) && !is_param(n, STR("caller"))) set_named(r, "caller", caller);
    if (n->op & MACRO_USES_KWARGS) set_named(r, "kwargs", (jv){JV_DICT, 0, {.d = rest}});
    if (!(n->op & MACRO_USES_VARARGS)) return;
    jlist *more = jlist_new(r, 0);
    for (uint32_t i = n->n_args; i < c->n; i++) jlist_push(r, more, c->pos[i]);
    set_named(r, "varargs", (jv){JV_TUPLE, 0, {.l = more}});
}

static void bind_params(jrt *r, const jnode *n, const jcall *c) {
    for (uint32_t i = 0; i < n->n_args; i++) {
        const jarg *p = &n->args[i];
        jv v = i < c->n ? c->pos[i] : (jv){0};
        for (uint32_t k = 0; k < c->n_kw; k++)
            if (str_eq(jstr_slice(c->kw[k].name), jstr_slice(p->name))) v = c->kw[k].v;
        if (v.kind == JV_MISSING) v = p->value ? jinja_eval(r, p->value) : jv_undef(p->name);
        scope_set(r, r->scope, p->id, v);
    }
}

jv exec_macro(jrt *r, jmacro *m, const jcall *c) {
    jbuf b = {0}, *out = r->out;
    jscope *scope = r->scope;
    r->scope = scope_new(r, m->scope);
    r->out = &b;
    jinja_enter(r);
    bind_params(r, m->node, c);
    bind_rest(r, m->node, c);
    exec_body(r, m->node->c);
    jinja_leave(r);
    r->scope = scope;
    r->out = out;
    return jb_value(r, &b);
}

// {% call(x) f(args) %}body{% endcall %}: f gets the body as its keyword argument `caller`.
static void exec_call_block(jrt *r, const jnode *n) {
    jnode call = *n->a; // with one more argument
    jnode value = {.kind = E_CONST, .line = n->line, .value = new_macro(r, n->b)};
    call.args = arena_array(&r->mem, jarg, n->a->n_args + 1);
    if (n->a->n_args) memcpy(call.args, n->a->args, n->a->n_args * sizeof *call.args);
    call.args[call.n_args++] = (jarg){ARG_KW, n->b->value.u.s, n->b->id, &value};
    jv_print(r, r->out, jinja_eval(r, &call));
}

// ---- the rest ------------------------------------------------------------------------------------
static flow exec_generation(jrt *r, const jnode *n) {
    size_t begin = r->out->n;
    flow f = exec_scoped(r, n->c);
    if (r->out != r->root_out || r->out->n == begin) return f;
    if (r->n_gen == r->cap_gen) {
        size_t cap = r->cap_gen ? 2 * r->cap_gen : 8;
        jinja_range *p = arena_array(&r->mem, jinja_range, cap);
        if (r->n_gen) memcpy(p, r->gen, r->n_gen * sizeof *p);
        r->gen = p;
        r->cap_gen = cap;
    }
    r->gen[r->n_gen++] = (jinja_range){begin, r->out->n};
    return f;
}

static flow exec_node(jrt *r, const jnode *n) {
    flow f = FLOW_NEXT;
    jv v;
    switch ((jkind)n->kind) {
    case S_BODY: return exec_body(r, n);
    case S_DATA: jb_str(r, r->out, n->value.u.s); break;
    case S_PRINT: jv_print(r, r->out, jinja_eval(r, n->a)); break;
    case S_IF: return exec_if(r, n);
    case S_FOR: return run_loop(r, n, jinja_eval(r, n->b), 0);
    case S_SET: assign(r, n->a, jinja_eval(r, n->b)); break;
    case S_SETBLOCK:
        v = capture(r, n->c, &f);
        assign(r, n->a, eval_filters(r, n->b, v));
        break;
    case S_MACRO: scope_set(r, r->scope, n->id, new_macro(r, n)); break;
    case S_CALLBLOCK: exec_call_block(r, n); break;
    case S_FILTER:
        v = capture(r, n->c, &f);
        jv_print(r, r->out, eval_filters(r, n->b, v));
        break;
    case S_WITH: return exec_with(r, n);
    case S_BREAK: return FLOW_BREAK;
    case S_CONTINUE: return FLOW_CONTINUE;
    case S_GENERATION: return exec_generation(r, n);
    default: jinja_fail(r, TL_E_FORMAT, "not a statement");
    }
    return f;
}

static flow exec(jrt *r, const jnode *n) {
    jinja_enter(r);
    r->line = n->line;
    flow f = exec_node(r, n);
    jinja_leave(r);
    return f;
}

void exec_render(jrt *r) {
    r->scope = scope_new(r, NULL);
    exec_body(r, r->t->root);
}
