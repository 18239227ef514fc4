// call.c - calls of functions and builtins: parameters are bound, their axes named and checked.
#include <inttypes.h>

#include "eval/relations.h"

enum { MAX_CALL_DEPTH = 1000, MAX_STACK = 4 << 20 }; // bytes: half of what threads usually have

// Names a parameter's axes as its signature says; sizes of equal names must agree.
value bind_param(evaluator *ev, const ast_param *p, value v, span at) {
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

value call_expr(evaluator *ev, const ast_expr *e) {
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
