// jinja_func.c - global functions and the attributes of `loop`.
#include "text/jinja_int.h"

#include <time.h>

typedef enum { FN_RANGE, FN_DICT, FN_NAMESPACE, FN_RAISE, FN_STRFTIME } func_id;
static const struct {
    const char *name;
    const char *params; // NULL: reads the call itself
} funcs[] = {[FN_RANGE] = {"range", "!start stop step"},
             [FN_DICT] = {"dict", NULL},
             [FN_NAMESPACE] = {"namespace", NULL},
             [FN_RAISE] = {"raise_exception", "!message"},
             [FN_STRFTIME] = {"strftime_now", "!format"}};
enum { FN_COUNT = sizeof funcs / sizeof *funcs };

int func_find(str name) {
    for (int i = 0; i < FN_COUNT; i++)
        if (str_is(name, funcs[i].name)) return i;
    return -1;
}

const char *func_name(int id) { return funcs[id].name; }

static jv range(jrt *r, const jv *a) {
    int64_t from = call_int(r, "range", a[0], 0), to = call_int(r, "range", a[1], 0), step = call_int(r, "range", a[2], 1);
    if (a[1].kind == JV_MISSING) to = from, from = 0;
    if (step == 0) jinja_fail(r, TL_E_FORMAT, "range() arg 3 must not be zero");
    jlist *l = jlist_new(r, 0);
    for (int64_t i = from; step > 0 ? i < to : i > to;) {
        if (l->n >= 100000) jinja_fail(r, TL_E_LIMIT, "range too big: more than 100000 items"); // as Jinja's sandbox
        jlist_push(r, l, jv_int(i));
        if (__builtin_add_overflow(i, step, &i)) break;
    }
    return jv_of_list(l);
}

// dict(...) and namespace(...): an optional mapping or list of pairs, then keywords.
static jdict *dict_from(jrt *r, const char *what, const jcall *c) {
    jdict *d = jdict_new(r);
    if (c->n > 1) jinja_fail(r, TL_E_FORMAT, "%s() takes at most one positional argument", what);
    if (c->n == 1 && c->pos[0].kind == JV_DICT) {
        for (size_t i = 0; i < c->pos[0].u.d->n; i++) jdict_put(r, d, c->pos[0].u.d->e[i].k, c->pos[0].u.d->e[i].v);
    } else if (c->n == 1) {
        const jlist *l = jv_iter(r, c->pos[0]);
        for (size_t i = 0; i < l->n; i++) {
            const jlist *kv = jv_iter(r, l->v[i]);
            if (kv->n != 2) jinja_fail(r, TL_E_FORMAT, "%s(): element %zu has length %zu; 2 is required", what, i, kv->n);
            jdict_put(r, d, kv->v[0], kv->v[1]);
        }
    }
    for (uint32_t i = 0; i < c->n_kw; i++) jdict_put(r, d, jv_of_str(c->kw[i].name), c->kw[i].v);
    return d;
}

static jv strftime_now(jrt *r, jv format) {
    const jstr *f = call_str(r, "strftime_now", format);
    time_t t = r->lim.now ? (time_t)r->lim.now : time(NULL);
    struct tm tm;
    char buf[512], fmt[128];
    if (f->n >= sizeof fmt || !localtime_r(&t, &tm)) jinja_fail(r, TL_E_LIMIT, "strftime_now: the format is too long");
    memcpy(fmt, f->p, f->n);
    fmt[f->n] = 0;
    size_t n = strftime(buf, sizeof buf, fmt, &tm);
    return jv_of_str(jstr_new(r, buf, n));
}

_Noreturn static void raise_exception(jrt *r, jv message) {
    char esc[1500];
    const jstr *s = jv_text(r, message);
    r->raised = true;
    jinja_fail(r, TL_E_USAGE, "%s", str_escape(esc, sizeof esc, jstr_slice(s)));
}

jv func_call(jrt *r, int id, const jcall *c) {
    jv a[3] = {{0}};
    if (funcs[id].params) call_bind(r, funcs[id].name, funcs[id].params, c, a);
    switch ((func_id)id) {
    case FN_RANGE: return range(r, a);
    case FN_DICT: return (jv){JV_DICT, 0, {.d = dict_from(r, "dict", c)}};
    case FN_NAMESPACE: return (jv){JV_NS, 0, {.d = dict_from(r, "namespace", c)}};
    case FN_STRFTIME: return strftime_now(r, a[0]);
    case FN_RAISE: raise_exception(r, a[0]);
    }
    return jv_none();
}

// ---- loop ----------------------------------------------------------------------------------------
typedef enum { L_CYCLE, L_CHANGED } loop_method;

static jv loop_value(jv loop, str name, bool *found) {
    const jloop *l = loop.u.loop;
    int64_t i = (int64_t)l->index, n = (int64_t)l->items->n;
    *found = true;
    if (str_is(name, "index")) return jv_int(i + 1);
    if (str_is(name, "index0")) return jv_int(i);
    if (str_is(name, "revindex")) return jv_int(n - i);
    if (str_is(name, "revindex0")) return jv_int(n - i - 1);
    if (str_is(name, "first")) return jv_bool(i == 0);
    if (str_is(name, "last")) return jv_bool(i + 1 == n);
    if (str_is(name, "length")) return jv_int(n);
    if (str_is(name, "depth")) return jv_int(l->depth0 + 1);
    if (str_is(name, "depth0")) return jv_int(l->depth0);
    if (str_is(name, "previtem")) return i > 0 ? l->items->v[i - 1] : jv_undef(NULL);
    if (str_is(name, "nextitem")) return i + 1 < n ? l->items->v[i + 1] : jv_undef(NULL);
    *found = false;
    return jv_none();
}

jv loop_attr(jrt *r, jv loop, str name) {
    bool found;
    jv v = loop_value(loop, name, &found);
    if (found) return v;
    bool cycle = str_is(name, "cycle");
    if (!cycle && !str_is(name, "changed")) return (jv){JV_UNDEF, 1 + JV_LOOP, {.s = jstr_new(r, name.p, name.n)}};
    jv *self = arena_dup(&r->mem, &loop, sizeof loop);
    return (jv){JV_METHOD, cycle ? L_CYCLE : L_CHANGED, {.self = self}};
}

jv loop_call(jrt *r, jv method, const jcall *c) {
    jloop *l = method.u.self->u.loop;
    if (c->n_kw || c->n == 0)
        jinja_fail(r, TL_E_FORMAT, "loop.%s() takes values", method.id == L_CYCLE ? "cycle" : "changed");
    if (method.id == L_CYCLE) return c->pos[l->index % c->n];
    jlist *now = jlist_new(r, c->n);
    for (uint32_t i = 0; i < c->n; i++) jlist_push(r, now, c->pos[i]);
    bool changed = !l->last_changed || !jv_eq(r, jv_of_list(now), jv_of_list(l->last_changed));
    l->last_changed = now;
    return jv_bool(changed);
}
