// jinja_filter_seq.c - filters over sequences. Those that are lazy in Jinja give a JV_GEN.
#include "text/jinja_filter.h"

static jv generator(jlist *l) { return (jv){JV_GEN, 0, {.l = l}}; }

static jv pair(jrt *r, jv a, jv b) {
    jlist *l = jlist_new(r, 2);
    jlist_push(r, l, a);
    jlist_push(r, l, b);
    return (jv){JV_TUPLE, 0, {.l = l}};
}

static jlist *copy(jrt *r, const jlist *in) {
    jlist *l = jlist_new(r, in->n);
    for (size_t i = 0; i < in->n; i++) jlist_push(r, l, in->v[i]);
    return l;
}

// `a.b.0` of a value; a MISSING or none path is the value itself.
static jv path_get(jrt *r, jv v, jv path) {
    if (path.kind == JV_MISSING || path.kind == JV_NONE) return v;
    if (path.kind != JV_STR) return eval_item(r, v, path);
    const jstr *s = path.u.s;
    for (size_t i = 0; i <= s->n;) {
        const char *dot = memchr(s->p + i, '.', s->n - i);
        size_t to = dot ? (size_t)(dot - s->p) : s->n;
        jstr *part = jstr_sub(r, s, i, to);
        bool digits = to > i && to - i < 18;
        for (size_t k = i; k < to; k++) digits &= s->p[k] >= '0' && s->p[k] <= '9';
        v = eval_item(r, v, digits ? jv_int(strtoll(part->p, NULL, 10)) : jv_of_str(part));
        i = to + 1;
    }
    return v;
}

static jv folded(jrt *r, jv v, jv case_sensitive) { // what comparisons without case see
    return v.kind == JV_STR && !jv_true(case_sensitive) ? jv_of_str(text_recase(r, v.u.s, CASE_LOWER)) : v;
}

// ---- simple --------------------------------------------------------------------------------------
jv seq_length(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    switch (in.kind) {
    case JV_UNDEF: return jv_int(0);
    case JV_STR: return jv_int(jstr_chars(in.u.s));
    case JV_LIST:
    case JV_TUPLE: return jv_int((int64_t)in.u.l->n);
    case JV_DICT: return jv_int((int64_t)in.u.d->n);
    default: jinja_fail(r, TL_E_FORMAT, "object of type '%s' has no len()", jv_type(in));
    }
}

jv seq_list(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, (void)c, jv_of_list(copy(r, jv_iter(r, in))); }

jv seq_first(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    if (in.kind == JV_GEN) return in.u.l->pos < in.u.l->n ? in.u.l->v[in.u.l->pos++] : jv_undef(NULL);
    if (in.kind == JV_STR) return text_index(r, in.u.s, 0);
    const jlist *l = jv_iter(r, in);
    return l->n ? l->v[0] : jv_undef(NULL);
}

jv seq_last(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    if (in.kind == JV_STR) return text_index(r, in.u.s, -1);
    if (in.kind == JV_GEN) jinja_fail(r, TL_E_FORMAT, "'generator' object is not reversible");
    const jlist *l = jv_iter(r, in);
    return l->n ? l->v[l->n - 1] : jv_undef(NULL);
}

jv seq_reverse(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    const jlist *l = jv_iter(r, in);
    jlist *out = jlist_new(r, l->n);
    for (size_t i = l->n; i-- > 0;) jlist_push(r, out, l->v[i]);
    return in.kind == JV_STR ? text_join(r, jstr_lit(r, ""), out) : generator(out);
}

jv seq_items(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    jlist *out = jlist_new(r, 0);
    if (in.kind == JV_UNDEF) return generator(out);
    if (in.kind != JV_DICT) jinja_fail(r, TL_E_FORMAT, "Can only get item pairs from a mapping.");
    for (size_t i = 0; i < in.u.d->n; i++) jlist_push(r, out, pair(r, in.u.d->e[i].k, in.u.d->e[i].v));
    return generator(out);
}

jv seq_join(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    const jlist *l = jv_iter(r, in);
    jlist *items = jlist_new(r, l->n);
    for (size_t i = 0; i < l->n; i++) jlist_push(r, items, path_get(r, l->v[i], a[1]));
    return text_join(r, a[0].kind == JV_MISSING ? jstr_lit(r, "") : jv_text(r, a[0]), items);
}

jv seq_sum(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    const jlist *l = jv_iter(r, in);
    jv sum = a[1].kind == JV_MISSING ? jv_int(0) : a[1];
    if (sum.kind == JV_STR) jinja_fail(r, TL_E_FORMAT, "sum() can't sum strings");
    for (size_t i = 0; i < l->n; i++) sum = eval_binary(r, '+', sum, path_get(r, l->v[i], a[0]));
    return sum;
}

static jv extreme(jrt *r, jv in, const jv *a, int sign) {
    const jlist *l = jv_iter(r, in);
    jv best = jv_undef(NULL), best_key = best;
    for (size_t i = 0; i < l->n; i++) {
        jv key = folded(r, path_get(r, l->v[i], a[1]), a[0]);
        if (i > 0 && sign * jv_cmp(r, key, best_key) <= 0) continue;
        best = l->v[i];
        best_key = key;
    }
    return best;
}
jv seq_max(jrt *r, jv in, const jv *a, const jcall *c) { return (void)c, extreme(r, in, a, 1); }
jv seq_min(jrt *r, jv in, const jv *a, const jcall *c) { return (void)c, extreme(r, in, a, -1); }

// ---- order ---------------------------------------------------------------------------------------
typedef struct keyed {
    jv key, v;
} keyed;

// Stable merge sort; `reverse` keeps the order of equals too, as Python's does.
static jlist *sort_keyed(jrt *r, keyed *in, size_t n, bool reverse) {
    keyed *out = arena_array(&r->mem, keyed, n ? n : 1);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            for (size_t i = lo, j = mid, k = lo; k < hi; k++, jinja_step(r, 1)) {
                bool right = i >= mid;
                if (!right && j < hi) {
                    int order = jv_cmp(r, in[j].key, in[i].key);
                    right = reverse ? order > 0 : order < 0;
                }
                out[k] = right ? in[j++] : in[i++];
            }
        }
        keyed *t = in;
        in = out;
        out = t;
    }
    jlist *l = jlist_new(r, n);
    for (size_t i = 0; i < n; i++) jlist_push(r, l, in[i].v);
    return l;
}

static jv sort_key(jrt *r, jv v, jv path, jv case_sensitive) { // "a,b" sorts by both
    if (path.kind != JV_STR || !memchr(path.u.s->p, ',', path.u.s->n))
        return folded(r, path_get(r, v, path), case_sensitive);
    jlist *keys = jlist_new(r, 2);
    for (size_t i = 0; i <= path.u.s->n;) {
        const char *comma = memchr(path.u.s->p + i, ',', path.u.s->n - i);
        size_t to = comma ? (size_t)(comma - path.u.s->p) : path.u.s->n;
        jlist_push(r, keys, folded(r, path_get(r, v, jv_of_str(jstr_sub(r, path.u.s, i, to))), case_sensitive));
        i = to + 1;
    }
    return jv_of_list(keys);
}

static jlist *sort_by(jrt *r, const jlist *l, jv path, jv case_sensitive, bool reverse) {
    keyed *k = arena_array(&r->mem, keyed, l->n ? l->n : 1);
    for (size_t i = 0; i < l->n; i++) k[i] = (keyed){sort_key(r, l->v[i], path, case_sensitive), l->v[i]};
    return sort_keyed(r, k, l->n, reverse);
}

jv seq_sort(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    return jv_of_list(sort_by(r, jv_iter(r, in), a[2], a[1], jv_true(a[0])));
}

jv seq_dictsort(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    str by = a[1].kind == JV_MISSING ? STR("key") : jstr_slice(call_str(r, "dictsort", a[1]));
    if (!str_is(by, "key") && !str_is(by, "value"))
        jinja_fail(r, TL_E_FORMAT, "You can only sort by either \"key\" or \"value\"");
    jv items = in.kind == JV_DICT ? seq_items(r, in, NULL, NULL) : in;
    if (items.kind == JV_UNDEF) eval_undefined(r, items);
    return jv_of_list(sort_by(r, jv_iter(r, items), jv_int(str_is(by, "value")), a[0], jv_true(a[2])));
}

jv seq_unique(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    const jlist *l = jv_iter(r, in);
    jlist *out = jlist_new(r, 0);
    jdict *seen = jdict_new(r);
    for (size_t i = 0; i < l->n; i++) {
        jv key = folded(r, path_get(r, l->v[i], a[1]), a[0]);
        if (jdict_find(r, seen, key)) continue;
        jdict_put(r, seen, key, jv_none());
        jlist_push(r, out, l->v[i]);
    }
    return generator(out);
}

jv seq_groupby(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    jlist *sorted = sort_by(r, jv_iter(r, in), a[0], a[2], false), *out = jlist_new(r, 0), *group = NULL;
    jv last = {0};
    for (size_t i = 0; i < sorted->n; i++) {
        jv key = path_get(r, sorted->v[i], a[0]);
        if (key.kind == JV_UNDEF && a[1].kind != JV_MISSING) key = a[1];
        if (!group || !jv_eq(r, folded(r, key, a[2]), folded(r, last, a[2]))) {
            group = jlist_new(r, 0);
            last = key;
            jlist_push(r, out, pair(r, key, jv_of_list(group)));
        }
        jlist_push(r, group, sorted->v[i]);
    }
    return jv_of_list(out);
}

// ---- pieces --------------------------------------------------------------------------------------
jv seq_batch(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    const jlist *l = jv_iter(r, in);
    int64_t size = call_int(r, "batch", a[0], 1);
    jlist *out = jlist_new(r, 0), *row = NULL;
    for (size_t i = 0; i < l->n; i++) {
        if (!row || (int64_t)row->n >= size) jlist_push(r, out, jv_of_list(row = jlist_new(r, 0)));
        jlist_push(r, row, l->v[i]);
    }
    while (row && a[1].kind != JV_MISSING && a[1].kind != JV_NONE && (int64_t)row->n < size) jlist_push(r, row, a[1]);
    return generator(out);
}

jv seq_slice(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    const jlist *l = jv_iter(r, in);
    int64_t n = call_int(r, "slice", a[0], 1), each, extra, at = 0;
    if (n <= 0) jinja_fail(r, TL_E_FORMAT, "slice: the number of slices must be positive");
    each = (int64_t)l->n / n;
    extra = (int64_t)l->n % n;
    jlist *out = jlist_new(r, 0);
    for (int64_t i = 0; i < n; i++) {
        jlist *row = jlist_new(r, 0);
        for (int64_t k = 0; k < each + (i < extra); k++) jlist_push(r, row, l->v[at++]);
        if (i >= extra && a[1].kind != JV_MISSING && a[1].kind != JV_NONE) jlist_push(r, row, a[1]);
        jlist_push(r, out, jv_of_list(row));
    }
    return generator(out);
}

// ---- map, select ---------------------------------------------------------------------------------
static jv keyword(const jcall *c, const char *name) {
    for (uint32_t i = 0; i < c->n_kw; i++)
        if (str_is(jstr_slice(c->kw[i].name), name)) return c->kw[i].v;
    return (jv){0};
}

static jv map_attribute(jrt *r, const jlist *l, jv path, jv absent) {
    jlist *out = jlist_new(r, l->n);
    for (size_t i = 0; i < l->n; i++) {
        jv v = path_get(r, l->v[i], path);
        jlist_push(r, out, v.kind == JV_UNDEF && absent.kind != JV_MISSING ? absent : v);
    }
    return generator(out);
}

jv seq_map(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a;
    if (!jv_true(in)) return generator(jlist_new(r, 0)); // Jinja asks nothing more of a false value, none included
    const jlist *l = jv_iter(r, in);
    jv path = keyword(c, "attribute");
    if (c->n == 0 && path.kind != JV_MISSING) return map_attribute(r, l, path, keyword(c, "default"));
    if (c->n == 0) jinja_fail(r, TL_E_FORMAT, "map requires a filter argument");
    str name = jstr_slice(call_str(r, "map", c->pos[0]));
    int id = filter_find(name);
    if (id < 0) jinja_fail(r, TL_E_FORMAT, "No filter named '%.*s'.", (int)name.n, name.p);
    jcall sub = {c->pos + 1, c->n - 1, c->kw, c->n_kw};
    jlist *out = jlist_new(r, l->n);
    for (size_t i = 0; i < l->n; i++) jlist_push(r, out, filter_call(r, id, l->v[i], &sub));
    return generator(out);
}

static jv select_items(jrt *r, jv in, const jcall *c, bool by_attr, bool keep) {
    if (!jv_true(in)) return generator(jlist_new(r, 0));
    const jlist *l = jv_iter(r, in);
    jcall sub = *c;
    jv path = {0};
    if (by_attr && c->n == 0) jinja_fail(r, TL_E_FORMAT, "Missing parameter for attribute name");
    if (by_attr) path = c->pos[0], sub.pos++, sub.n--;
    int id = -1;
    if (sub.n > 0) {
        str name = jstr_slice(call_str(r, "select", sub.pos[0]));
        id = test_find(name);
        if (id < 0) jinja_fail(r, TL_E_FORMAT, "No test named '%.*s'.", (int)name.n, name.p);
        sub.pos++, sub.n--;
    }
    jlist *out = jlist_new(r, 0);
    for (size_t i = 0; i < l->n; i++) {
        jv v = path_get(r, l->v[i], path);
        if ((id < 0 ? jv_true(v) : test_call(r, id, v, &sub)) == keep) jlist_push(r, out, l->v[i]);
    }
    return generator(out);
}
jv seq_select(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, select_items(r, in, c, false, true); }
jv seq_reject(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, select_items(r, in, c, false, false); }
jv seq_selectattr(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, select_items(r, in, c, true, true); }
jv seq_rejectattr(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, select_items(r, in, c, true, false); }
