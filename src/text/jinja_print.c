// jinja_print.c - the text of values: Python's str() and repr(), json.dumps(), and values out of JSON.
#include "text/jinja_int.h"

#include <math.h>

// Python's repr of a float: the shortest digits that read back, exponent form outside [1e-4, 1e16).
size_t float_repr(char buf[40], double f) {
    if (isnan(f)) return (size_t)snprintf(buf, 40, "nan");
    if (isinf(f)) return (size_t)snprintf(buf, 40, f < 0 ? "-inf" : "inf");
    char e[40];
    int prec = 0;
    do snprintf(e, sizeof e, "%.*e", prec, f);
    while (strtod(e, NULL) != f && ++prec < 17);
    int exponent = (int)strtol(strchr(e, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        char *mark = strchr(e, 'e');
        return (size_t)snprintf(buf, 40, "%.*se%c%02d", (int)(mark - e), e, exponent < 0 ? '-' : '+', abs(exponent));
    }
    int decimals = prec - exponent;
    return (size_t)snprintf(buf, 40, "%.*f", decimals < 1 ? 1 : decimals, f);
}

// ---- str() and repr() ----------------------------------------------------------------------------
static void repr_char(jrt *r, jbuf *b, int32_t cp, const char *p, size_t n, char quote, bool tainted) {
    char esc[16];
    if (cp == quote || cp == '\\') snprintf(esc, sizeof esc, "\\%c", (int)cp);
    else if (cp == '\n' || cp == '\r' || cp == '\t')
        snprintf(esc, sizeof esc, "\\%c", cp == '\n' ? 'n' : cp == '\r' ? 'r' : 't');
    else if (cp_printable(cp)) return jb_put(r, b, p, n, tainted);
    else snprintf(esc, sizeof esc, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
    jb_put(r, b, esc, strlen(esc), tainted);
}

static void repr_str(jrt *r, jbuf *b, const jstr *s) {
    char quote = s->n && memchr(s->p, '\'', s->n) && !memchr(s->p, '"', s->n) ? '"' : '\'';
    uint32_t range = 0;
    jb_put(r, b, &quote, 1, false);
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t cp;
        n = utf8_next(s->p + i, s->n - i, &cp);
        repr_char(r, b, cp, s->p + i, n, quote, text_tainted(s, &range, i));
    }
    jb_put(r, b, &quote, 1, false);
    jinja_step(r, (int64_t)(s->n / 16));
}

static void repr_list(jrt *r, jbuf *b, const jlist *l, bool tuple) {
    jb_puts(r, b, tuple ? "(" : "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i) jb_puts(r, b, ", ");
        jv_repr(r, b, l->v[i]);
    }
    jb_puts(r, b, tuple ? (l->n == 1 ? ",)" : ")") : "]");
}

static void repr_dict(jrt *r, jbuf *b, const jdict *d) {
    jb_puts(r, b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) jb_puts(r, b, ", ");
        jv_repr(r, b, d->e[i].k);
        jb_puts(r, b, ": ");
        jv_repr(r, b, d->e[i].v);
    }
    jb_puts(r, b, "}");
}

static void print_atom(jrt *r, jbuf *b, jv v) {
    char num[64];
    switch (v.kind) {
    case JV_MISSING:
    case JV_UNDEF: return;
    case JV_NONE: return jb_puts(r, b, "None");
    case JV_BOOL: return jb_puts(r, b, v.u.b ? "True" : "False");
    case JV_INT: snprintf(num, sizeof num, "%lld", (long long)v.u.i); return jb_puts(r, b, num);
    case JV_FLOAT: float_repr(num, v.u.f); return jb_puts(r, b, num);
    case JV_FUNC: snprintf(num, sizeof num, "<function %s>", func_name((int)v.id)); return jb_puts(r, b, num);
    case JV_METHOD: snprintf(num, sizeof num, "<method %s>", method_name(v)); return jb_puts(r, b, num);
    case JV_MACRO:
        jb_puts(r, b, "<Macro ");
        if (v.u.m->node->value.kind == JV_STR) repr_str(r, b, v.u.m->node->value.u.s);
        return jb_puts(r, b, ">");
    default: snprintf(num, sizeof num, "<%s>", jv_type(v)); jb_puts(r, b, num);
    }
}

void jv_repr(jrt *r, jbuf *b, jv v) {
    jinja_enter(r);
    if (v.kind == JV_STR) repr_str(r, b, v.u.s);
    else if (v.kind == JV_LIST || v.kind == JV_TUPLE) repr_list(r, b, v.u.l, v.kind == JV_TUPLE);
    else if (v.kind == JV_DICT) repr_dict(r, b, v.u.d);
    else if (v.kind == JV_UNDEF) jb_puts(r, b, "Undefined");
    else print_atom(r, b, v);
    jinja_leave(r);
}

void jv_print(jrt *r, jbuf *b, jv v) {
    if (v.kind == JV_STR) jb_str(r, b, v.u.s);
    else if (v.kind == JV_UNDEF) return;
    else jv_repr(r, b, v);
}

jstr *jv_text(jrt *r, jv v) {
    if (v.kind == JV_STR) return v.u.s;
    jbuf b = {0};
    jv_print(r, &b, v);
    return jb_done(r, &b);
}

// ---- JSON ----------------------------------------------------------------------------------------
static void json_char(jrt *r, jbuf *b, int32_t cp, const char *p, size_t n, bool ascii, bool tainted) {
    static const char from[] = "\"\\\n\r\t\b\f", to[] = "\"\\nrtbf";
    char esc[16];
    const char *simple = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (simple) snprintf(esc, sizeof esc, "\\%c", to[simple - from]);
    else if (cp >= 0x20 && (cp < 0x7f || !ascii)) return jb_put(r, b, p, n, tainted);
    else if (cp < 0x10000) snprintf(esc, sizeof esc, "\\u%04x", (unsigned)cp);
    else
        snprintf(esc, sizeof esc, "\\u%04x\\u%04x", 0xd800u + (((unsigned)cp - 0x10000u) >> 10),
                 0xdc00u + (((unsigned)cp - 0x10000u) & 0x3ffu));
    jb_put(r, b, esc, strlen(esc), tainted);
}

static void json_str(jrt *r, jbuf *b, const jstr *s, bool ascii) {
    uint32_t range = 0;
    jb_puts(r, b, "\"");
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t cp;
        n = utf8_next(s->p + i, s->n - i, &cp);
        json_char(r, b, cp, s->p + i, n, ascii, text_tainted(s, &range, i));
    }
    jb_puts(r, b, "\"");
    jinja_step(r, (int64_t)(s->n / 16));
}

static void json_newline(jrt *r, jbuf *b, const jjson *o, int level) {
    if (!o->pretty) return;
    jb_puts(r, b, "\n");
    for (int i = 0; i < level; i++) jb_str(r, b, o->indent);
}

static void json_key(jrt *r, jbuf *b, jv key, const jjson *o) {
    if (key.kind == JV_STR) return json_str(r, b, key.u.s, o->ascii);
    if (key.kind != JV_NONE && !jv_is_num(key))
        jinja_fail(r, TL_E_FORMAT, "keys must be str, int, float, bool or None, not %s", jv_type(key));
    jb_puts(r, b, "\"");
    jv_json(r, b, key, o, 0);
    jb_puts(r, b, "\"");
}

static int by_key(const void *a, const void *b) {
    const jpair *x = a, *y = b;
    str p = jstr_slice(x->k.u.s), q = jstr_slice(y->k.u.s);
    size_t n = p.n < q.n ? p.n : q.n;
    int c = n ? memcmp(p.p, q.p, n) : 0;
    return c ? c : p.n < q.n ? -1 : p.n > q.n;
}

static const jpair *json_pairs(jrt *r, const jdict *d, bool sort) {
    if (!sort || d->n == 0) return d->e;
    for (size_t i = 0; i < d->n; i++)
        if (d->e[i].k.kind != JV_STR) jinja_fail(r, TL_E_UNSUPPORTED, "sort_keys with keys that are not strings");
    jpair *e = arena_dup(&r->mem, d->e, d->n * sizeof *e);
    jinja_step(r, (int64_t)d->n * 8);
    qsort(e, d->n, sizeof *e, by_key);
    return e;
}

static void json_dict(jrt *r, jbuf *b, const jdict *d, const jjson *o, int level) {
    if (d->n == 0) return jb_puts(r, b, "{}");
    const jpair *e = json_pairs(r, d, o->sort);
    jb_puts(r, b, "{");
    for (size_t i = 0; i < d->n; i++) {
        if (i) jb_str(r, b, o->item_sep);
        json_newline(r, b, o, level + 1);
        json_key(r, b, e[i].k, o);
        jb_str(r, b, o->key_sep);
        jv_json(r, b, e[i].v, o, level + 1);
    }
    json_newline(r, b, o, level);
    jb_puts(r, b, "}");
}

static void json_list(jrt *r, jbuf *b, const jlist *l, const jjson *o, int level) {
    if (l->n == 0) return jb_puts(r, b, "[]");
    jb_puts(r, b, "[");
    for (size_t i = 0; i < l->n; i++) {
        if (i) jb_str(r, b, o->item_sep);
        json_newline(r, b, o, level + 1);
        jv_json(r, b, l->v[i], o, level + 1);
    }
    json_newline(r, b, o, level);
    jb_puts(r, b, "]");
}

void jv_json(jrt *r, jbuf *b, jv v, const jjson *o, int level) {
    jinja_enter(r);
    switch (v.kind) {
    case JV_NONE: jb_puts(r, b, "null"); break;
    case JV_BOOL: jb_puts(r, b, v.u.b ? "true" : "false"); break;
    case JV_INT: print_atom(r, b, v); break;
    case JV_FLOAT:
        if (isfinite(v.u.f)) print_atom(r, b, v);
        else jb_puts(r, b, isnan(v.u.f) ? "NaN" : v.u.f < 0 ? "-Infinity" : "Infinity");
        break;
    case JV_STR: json_str(r, b, v.u.s, o->ascii); break;
    case JV_LIST:
    case JV_TUPLE: json_list(r, b, v.u.l, o, level); break;
    case JV_DICT: json_dict(r, b, v.u.d, o, level); break;
    default: jinja_fail(r, TL_E_FORMAT, "Object of type %s is not JSON serializable", jv_type(v));
    }
    jinja_leave(r);
}

static bool is_clean(const jclean *clean, const char *key, const json_t *j) {
    if (!clean || !clean->key || !json_is_string(j) || strcmp(key, clean->key) != 0) return false;
    str s = {json_string_value(j), json_string_length(j)};
    for (const char *const *w = clean->words; *w; w++)
        if (str_is(s, *w)) return true;
    return false;
}

static jv str_from(jrt *r, const char *p, size_t n, bool tainted) {
    jbuf b = {0};
    jb_put(r, &b, p, n, tainted);
    return jb_value(r, &b);
}

jv jv_from_json(jrt *r, const json_t *j, bool tainted, const jclean *clean, int depth) {
    if (depth > 200) jinja_fail(r, TL_E_LIMIT, "the JSON value is nested too deeply (limit 200)");
    jv out = jv_none();
    switch (json_typeof(j)) {
    case JSON_OBJECT: {
        out = (jv){JV_DICT, 0, {.d = jdict_new(r)}};
        const char *key;
        size_t n;
        json_t *value;
        json_object_keylen_foreach((json_t *)j, key, n, value) {
            bool t = tainted && !is_clean(clean, key, value);
            jdict_put(r, out.u.d, str_from(r, key, n, tainted), jv_from_json(r, value, t, clean, depth + 1));
        }
        return out;
    }
    case JSON_ARRAY:
        out = jv_of_list(jlist_new(r, json_array_size(j)));
        for (size_t i = 0; i < json_array_size(j); i++)
            jlist_push(r, out.u.l, jv_from_json(r, json_array_get(j, i), tainted, clean, depth + 1));
        return out;
    case JSON_STRING: return str_from(r, json_string_value(j), json_string_length(j), tainted);
    case JSON_INTEGER: return jv_int(json_integer_value(j));
    case JSON_REAL: return jv_float(json_real_value(j));
    case JSON_TRUE:
    case JSON_FALSE: return jv_bool(json_is_true(j));
    case JSON_NULL: break;
    }
    return out;
}
