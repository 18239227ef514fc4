// jinja_value.c - values: strings with taint, lists, dicts, truth, equality, order, membership, iteration.
#include "text/jinja_int.h"

// ---- strings -------------------------------------------------------------------------------------
jstr *jstr_wrap(jrt *r, const char *p, size_t n) {
    jstr *s = arena_new(&r->mem, jstr);
    *s = (jstr){.p = p, .n = n, .chars = -1};
    return s;
}

jstr *jstr_new(jrt *r, const char *p, size_t n) { return jstr_wrap(r, arena_strndup(&r->mem, p, n), n); }

int64_t jstr_chars(jstr *s) {
    if (s->chars >= 0) return s->chars;
    int64_t count = 0;
    for (size_t i = 0; i < s->n; i++) count += ((unsigned char)s->p[i] & 0xc0) != 0x80;
    return s->chars = count;
}

jstr *jstr_sub(jrt *r, const jstr *s, size_t from, size_t to) {
    if (from == 0 && to == s->n) return (jstr *)s; // shared: nothing but the lazy count changes
    jstr *o = jstr_wrap(r, s->p + from, to - from);
    if ((size_t)s->chars == s->n) o->chars = (int64_t)o->n; // ASCII stays ASCII
    uint32_t a = 0, b = s->n_taint;
    while (a < b && s->taint[a].end <= from) a++;
    while (b > a && s->taint[b - 1].begin >= to) b--;
    if (a == b) return o;
    jinja_range *t = arena_array(&r->mem, jinja_range, b - a);
    for (uint32_t i = a; i < b; i++) {
        size_t begin = s->taint[i].begin, end = s->taint[i].end;
        t[i - a] = (jinja_range){begin < from ? 0 : begin - from, (end > to ? to : end) - from};
    }
    o->taint = t;
    o->n_taint = b - a;
    return o;
}

static void jb_reserve(jrt *r, jbuf *b, size_t more) {
    if (more <= b->cap - b->n) return;
    if (more > r->lim.memory) jinja_fail_mem(r, more);
    size_t cap = b->n + more > 2 * b->cap ? b->n + more : 2 * b->cap;
    if (cap < 64) cap = 64;
    char *p = arena_alloc(&r->mem, cap);
    if (b->n) memcpy(p, b->p, b->n);
    b->p = p;
    b->cap = cap;
}

static void jb_taint(jrt *r, jbuf *b, size_t begin, size_t end) {
    if (begin == end) return;
    if (b->nt > 0 && b->t[b->nt - 1].end == begin) {
        b->t[b->nt - 1].end = end;
        return;
    }
    if (b->nt == b->ct) {
        size_t cap = b->ct ? 2 * b->ct : 4;
        jinja_range *t = arena_array(&r->mem, jinja_range, cap);
        if (b->nt) memcpy(t, b->t, b->nt * sizeof *t);
        b->t = t;
        b->ct = cap;
    }
    b->t[b->nt++] = (jinja_range){begin, end};
}

void jb_put(jrt *r, jbuf *b, const char *p, size_t n, bool tainted) {
    if (n == 0) return;
    jinja_step(r, (int64_t)(n / 64));
    jb_reserve(r, b, n);
    memcpy(b->p + b->n, p, n);
    if (tainted) jb_taint(r, b, b->n, b->n + n);
    b->n += n;
    if (b == r->root_out && b->n > r->lim.output)
        jinja_fail(r, TL_E_LIMIT, "the rendered text is too long (limit %zu bytes)", r->lim.output);
}

void jb_puts(jrt *r, jbuf *b, const char *s) { jb_put(r, b, s, strlen(s), false); }

void jb_sub(jrt *r, jbuf *b, const jstr *s, size_t from, size_t to) {
    size_t base = b->n;
    jb_put(r, b, s->p + from, to - from, false);
    for (uint32_t i = 0; i < s->n_taint; i++) {
        size_t begin = s->taint[i].begin > from ? s->taint[i].begin : from;
        size_t end = s->taint[i].end < to ? s->taint[i].end : to;
        if (begin < end) jb_taint(r, b, base + begin - from, base + end - from);
    }
}

void jb_str(jrt *r, jbuf *b, const jstr *s) { jb_sub(r, b, s, 0, s->n); }

jstr *jb_done(jrt *r, jbuf *b) {
    jstr *s = jstr_wrap(r, b->p ? b->p : "", b->n);
    s->taint = b->t;
    s->n_taint = (uint32_t)b->nt;
    return s;
}

jv jb_value(jrt *r, jbuf *b) { return jv_of_str(jb_done(r, b)); }

jstr *jstr_concat(jrt *r, const jstr *a, const jstr *b) {
    jbuf o = {0};
    jb_reserve(r, &o, a->n + b->n);
    jb_str(r, &o, a);
    jb_str(r, &o, b);
    return jb_done(r, &o);
}

// ---- lists ---------------------------------------------------------------------------------------
jlist *jlist_new(jrt *r, size_t cap) {
    jlist *l = arena_new(&r->mem, jlist);
    if (cap > r->lim.memory / sizeof(jv)) jinja_fail_mem(r, cap);
    *l = (jlist){.v = cap ? arena_array(&r->mem, jv, cap) : NULL, .cap = cap};
    return l;
}

void jlist_push(jrt *r, jlist *l, jv v) {
    jinja_step(r, 1);
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 4;
        jv *p = arena_array(&r->mem, jv, cap);
        if (l->n) memcpy(p, l->v, l->n * sizeof *p);
        l->v = p;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

// ---- dicts ---------------------------------------------------------------------------------------
bool jv_hashable(jv v) { return v.kind != JV_LIST && v.kind != JV_DICT && v.kind != JV_NS; }

static uint64_t jv_hash(jrt *r, jv v) {
    if (!jv_hashable(v)) jinja_fail(r, TL_E_FORMAT, "unhashable type: '%s'", jv_type(v));
    if (v.kind == JV_STR) return str_hash(jstr_slice(v.u.s));
    if (v.kind == JV_FLOAT && v.u.f < 9e18 && v.u.f > -9e18 && v.u.f == (double)(int64_t)v.u.f)
        v = jv_int((int64_t)v.u.f); // 1.0 and 1 are the same key
    if (v.kind != JV_TUPLE) return ((uint64_t)v.u.i + 1) * 0x9fb21c651e98df25u;
    jinja_enter(r);
    uint64_t h = v.u.l->n;
    for (size_t i = 0; i < v.u.l->n; i++) h = (h ^ jv_hash(r, v.u.l->v[i])) * 0x100000001b3u;
    jinja_leave(r);
    return h;
}

jdict *jdict_new(jrt *r) { return arena_new(&r->mem, jdict); }

static jpair *find_hashed(jrt *r, jdict *d, jv key, uint64_t hash) {
    if (!d->index) {
        for (size_t i = 0; i < d->n; i++)
            if (d->e[i].hash == hash && jv_eq(r, d->e[i].k, key)) return &d->e[i];
        return NULL;
    }
    for (size_t i = hash & (d->n_index - 1); d->index[i]; i = (i + 1) & (d->n_index - 1)) {
        jpair *e = &d->e[d->index[i] - 1];
        if (e->hash == hash && jv_eq(r, e->k, key)) return e;
    }
    return NULL;
}

jv *jdict_find(jrt *r, jdict *d, jv key) {
    jpair *e = find_hashed(r, d, key, jv_hash(r, key));
    return e ? &e->v : NULL;
}

jv *jdict_get(jrt *r, jdict *d, const char *key) {
    jstr s = {.p = key, .n = strlen(key), .chars = -1};
    return jdict_find(r, d, jv_of_str(&s));
}

static void index_put(jdict *d, size_t at) {
    size_t i = d->e[at].hash & (d->n_index - 1);
    while (d->index[i]) i = (i + 1) & (d->n_index - 1);
    d->index[i] = (uint32_t)at + 1;
}

static void dict_grow(jrt *r, jdict *d) {
    size_t cap = d->cap ? 2 * d->cap : 4;
    if (cap > UINT32_MAX / 4) jinja_fail_mem(r, cap);
    jpair *e = arena_array(&r->mem, jpair, cap);
    if (d->n) memcpy(e, d->e, d->n * sizeof *e);
    d->e = e;
    d->cap = cap;
    if (cap <= 8) return;
    d->n_index = 2 * cap;
    d->index = arena_array(&r->mem, uint32_t, d->n_index);
    for (size_t i = 0; i < d->n; i++) index_put(d, i);
}

void jdict_put(jrt *r, jdict *d, jv key, jv value) {
    uint64_t hash = jv_hash(r, key);
    jpair *old = find_hashed(r, d, key, hash);
    jinja_step(r, 1);
    if (old) {
        old->v = value;
        return;
    }
    if (d->n == d->cap) dict_grow(r, d);
    d->e[d->n++] = (jpair){key, value, hash};
    if (d->index) index_put(d, d->n - 1);
}

// ---- truth, equality, order ----------------------------------------------------------------------
bool jv_true(jv v) {
    switch (v.kind) {
    case JV_MISSING:
    case JV_UNDEF:
    case JV_NONE: return false;
    case JV_BOOL:
    case JV_INT: return v.u.i != 0;
    case JV_FLOAT: return v.u.f != 0;
    case JV_STR: return v.u.s->n > 0;
    case JV_LIST:
    case JV_TUPLE: return v.u.l->n > 0;
    case JV_DICT: return v.u.d->n > 0;
    default: return true;
    }
}

static bool lists_eq(jrt *r, const jlist *a, const jlist *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!jv_eq(r, a->v[i], b->v[i])) return false;
    return true;
}

static bool dicts_eq(jrt *r, const jdict *a, jdict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        jpair *e = find_hashed(r, b, a->e[i].k, a->e[i].hash);
        if (!e || !jv_eq(r, a->e[i].v, e->v)) return false;
    }
    return true;
}

bool jv_eq(jrt *r, jv a, jv b) {
    if (jv_is_int(a) && jv_is_int(b)) return a.u.i == b.u.i;
    if (jv_is_num(a) && jv_is_num(b)) return jv_num(a) == jv_num(b);
    if (a.kind != b.kind) return false;
    if (a.kind == JV_STR) {
        if (a.u.s->n == b.u.s->n) jinja_step(r, (int64_t)(a.u.s->n / 64));
        return str_eq(jstr_slice(a.u.s), jstr_slice(b.u.s));
    }
    if (a.kind == JV_NONE || a.kind == JV_UNDEF || a.kind == JV_MISSING) return true;
    if (a.kind != JV_LIST && a.kind != JV_TUPLE && a.kind != JV_DICT) return a.id == b.id && a.u.l == b.u.l;
    jinja_enter(r);
    bool same = a.kind == JV_DICT ? dicts_eq(r, a.u.d, b.u.d) : lists_eq(r, a.u.l, b.u.l);
    jinja_leave(r);
    return same;
}

static int order(double a, double b) { return a < b ? -1 : a > b; }

static int str_order(jrt *r, const jstr *a, const jstr *b) { // UTF-8 sorts as its code points do
    size_t n = a->n < b->n ? a->n : b->n;
    jinja_step(r, (int64_t)(n / 64));
    int c = n ? memcmp(a->p, b->p, n) : 0;
    return c ? c : a->n < b->n ? -1 : a->n > b->n;
}

int jv_cmp(jrt *r, jv a, jv b) {
    if (jv_is_int(a) && jv_is_int(b)) return a.u.i < b.u.i ? -1 : a.u.i > b.u.i;
    if (jv_is_num(a) && jv_is_num(b)) return order(jv_num(a), jv_num(b));
    if (a.kind == JV_STR && b.kind == JV_STR) return str_order(r, a.u.s, b.u.s);
    if (a.kind == b.kind && (a.kind == JV_LIST || a.kind == JV_TUPLE)) {
        const jlist *x = a.u.l, *y = b.u.l;
        int c = 0;
        jinja_enter(r);
        for (size_t i = 0; c == 0 && i < x->n && i < y->n; i++)
            if (!jv_eq(r, x->v[i], y->v[i])) c = jv_cmp(r, x->v[i], y->v[i]);
        jinja_leave(r);
        return c ? c : x->n < y->n ? -1 : x->n > y->n;
    }
    if (a.kind == JV_UNDEF || b.kind == JV_UNDEF) eval_undefined(r, a.kind == JV_UNDEF ? a : b);
    jinja_fail(r, TL_E_FORMAT, "'<' not supported between instances of '%s' and '%s'", jv_type(a), jv_type(b));
}

bool jv_in(jrt *r, jv item, jv in) {
    if (in.kind == JV_STR) {
        if (item.kind == JV_UNDEF) eval_undefined(r, item);
        if (item.kind != JV_STR)
            jinja_fail(r, TL_E_FORMAT, "'in <string>' requires string as left operand, not %s", jv_type(item));
        jinja_step(r, (int64_t)(in.u.s->n / 64));
        return text_find(jstr_slice(in.u.s), jstr_slice(item.u.s), 0) >= 0;
    }
    if (in.kind == JV_DICT) return jdict_find(r, in.u.d, item) != NULL;
    if (in.kind != JV_LIST && in.kind != JV_TUPLE && in.kind != JV_GEN && in.kind != JV_UNDEF)
        jinja_fail(r, TL_E_FORMAT, "argument of type '%s' is not iterable", jv_type(in));
    const jlist *l = jv_iter(r, in);
    jinja_step(r, (int64_t)l->n);
    for (size_t i = 0; i < l->n; i++)
        if (jv_eq(r, l->v[i], item)) return true;
    return false;
}

const char *jv_type(jv v) {
    static const char *const names[] = {
        [JV_MISSING] = "missing", [JV_UNDEF] = "Undefined", [JV_NONE] = "NoneType", [JV_BOOL] = "bool",
        [JV_INT] = "int",         [JV_FLOAT] = "float",     [JV_STR] = "str",       [JV_LIST] = "list",
        [JV_TUPLE] = "tuple",     [JV_DICT] = "dict",       [JV_GEN] = "generator", [JV_NS] = "Namespace",
        [JV_FUNC] = "function",   [JV_METHOD] = "method",   [JV_MACRO] = "Macro",   [JV_LOOP] = "LoopContext"};
    return names[v.kind];
}

jlist *jv_iter(jrt *r, jv v) {
    jlist *l;
    switch (v.kind) {
    case JV_LIST:
    case JV_TUPLE: return v.u.l;
    case JV_STR: return text_chars(r, v.u.s);
    case JV_DICT:
        l = jlist_new(r, v.u.d->n);
        for (size_t i = 0; i < v.u.d->n; i++) jlist_push(r, l, v.u.d->e[i].k);
        return l;
    case JV_GEN:
        l = arena_new(&r->mem, jlist);
        if (v.u.l->pos < v.u.l->n) *l = (jlist){.v = v.u.l->v + v.u.l->pos, .n = v.u.l->n - v.u.l->pos};
        l->cap = l->n;
        v.u.l->pos = v.u.l->n;
        return l;
    case JV_UNDEF: return jlist_new(r, 0);
    default: jinja_fail(r, TL_E_FORMAT, "'%s' object is not iterable", jv_type(v));
    }
}
