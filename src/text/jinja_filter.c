// jinja_filter.c - the filters: text, numbers and JSON; those over sequences are in jinja_filter_seq.c.
#include "text/jinja_filter.h"

#include <math.h>

// ---- text ----------------------------------------------------------------------------------------
static jv f_recase(jrt *r, jv in, text_case how) { return jv_of_str(text_recase(r, jv_text(r, in), how)); }
static jv f_upper(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, (void)c, f_recase(r, in, CASE_UPPER); }
static jv f_lower(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, (void)c, f_recase(r, in, CASE_LOWER); }
static jv f_title(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, (void)c, f_recase(r, in, CASE_JTITLE); }
static jv f_capitalize(jrt *r, jv in, const jv *a, const jcall *c) {
    return (void)a, (void)c, f_recase(r, in, CASE_CAPITAL);
}
static jv f_string(jrt *r, jv in, const jv *a, const jcall *c) { return (void)a, (void)c, jv_of_str(jv_text(r, in)); }

static jv f_trim(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    return jv_of_str(text_strip(r, jv_text(r, in), a[0], 3));
}

static jv f_replace(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    int64_t count = a[2].kind == JV_NONE ? -1 : call_int(r, "replace", a[2], -1);
    return jv_of_str(text_replace(r, jv_text(r, in), jv_text(r, a[0]), jv_text(r, a[1]), count));
}

static jv f_center(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    return jv_of_str(text_pad(r, jv_text(r, in), call_int(r, "center", a[0], 80), jstr_lit(r, " "), 2));
}

static jv f_format(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a;
    if (c->n && c->n_kw) jinja_fail(r, TL_E_FORMAT, "can't handle positional and keyword arguments at the same time");
    jv args = {JV_TUPLE, 0, {.l = jlist_new(r, c->n)}};
    for (uint32_t i = 0; i < c->n; i++) jlist_push(r, args.u.l, c->pos[i]);
    if (c->n_kw) args = (jv){JV_DICT, 0, {.d = jdict_new(r)}};
    for (uint32_t i = 0; i < c->n_kw; i++) jdict_put(r, args.u.d, jv_of_str(c->kw[i].name), c->kw[i].v);
    return format_percent(r, jv_text(r, in), args);
}

static jv f_escape(jrt *r, jv in, const jv *a, const jcall *c) {
    static const char *const to[][2] = {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}};
    (void)a, (void)c;
    jstr *s = jv_text(r, in);
    for (size_t i = 0; i < sizeof to / sizeof *to; i++)
        s = text_replace(r, s, jstr_lit(r, to[i][0]), jstr_lit(r, to[i][1]), -1);
    return jv_of_str(s);
}

static jstr *spaces(jrt *r, jv width, int64_t absent) { // a number of spaces, or the string itself
    if (width.kind == JV_STR) return width.u.s;
    return text_pad(r, jstr_lit(r, ""), call_int(r, "indent", width, absent), jstr_lit(r, " "), 0);
}

static jv f_indent(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    jstr *by = spaces(r, a[0], 4), *s = jv_text(r, in);
    bool first = jv_true(a[1]), blank = jv_true(a[2]);
    jbuf b = {0};
    for (size_t from = 0; from <= s->n;) {
        const char *nl = memchr(s->p + from, '\n', s->n - from);
        size_t to = nl ? (size_t)(nl - s->p) : s->n;
        if (from == 0 ? first : blank || to > from) jb_str(r, &b, by);
        jb_sub(r, &b, s, from, nl ? to + 1 : to);
        from = to + 1;
        jinja_step(r, 1);
    }
    return jb_value(r, &b);
}

static jv f_wordcount(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    const jstr *s = jv_text(r, in);
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t cp;
        n = utf8_next(s->p + i, s->n - i, &cp);
        words += !cp_space(cp) && !inside;
        inside = !cp_space(cp);
    }
    return jv_int(words);
}

static jv f_tojson(jrt *r, jv in, const jv *a, const jcall *c) { // as Transformers defines it: no HTML escapes
    (void)c;
    jjson o = {.ascii = jv_true(a[0]), .sort = jv_true(a[3]), .key_sep = jstr_lit(r, ": "), .item_sep = jstr_lit(r, ", ")};
    if (a[1].kind != JV_MISSING && a[1].kind != JV_NONE) {
        o.pretty = true;
        o.indent = spaces(r, a[1], 0);
        o.item_sep = jstr_lit(r, ",");
    }
    if (a[2].kind == JV_LIST || a[2].kind == JV_TUPLE) {
        if (a[2].u.l->n != 2) jinja_fail(r, TL_E_FORMAT, "tojson: separators must be two strings");
        o.item_sep = call_str(r, "tojson", a[2].u.l->v[0]);
        o.key_sep = call_str(r, "tojson", a[2].u.l->v[1]);
    }
    jbuf b = {0};
    jv_json(r, &b, in, &o, 0);
    return jb_value(r, &b);
}

// ---- numbers -------------------------------------------------------------------------------------
// Reads the whole of s (white space around it aside); false if it is no number.
static bool read_float(const jstr *s, double *out) {
    char buf[128];
    size_t from = text_lspace(s->p, s->n), n = text_rtrim(s->p, s->n);
    if (n <= from || n - from >= sizeof buf) return false;
    memcpy(buf, s->p + from, n - from);
    buf[n - from] = 0;
    if (strchr(buf, 'x') || strchr(buf, 'X')) return false;
    char *end;
    *out = strtod(buf, &end);
    return *end == 0;
}

static bool read_int(const jstr *s, int base, int64_t *out) {
    char buf[128];
    size_t from = text_lspace(s->p, s->n), n = text_rtrim(s->p, s->n), m = 0;
    if (n <= from || n - from >= sizeof buf) return false;
    for (size_t i = from; i < n; i++)
        if (s->p[i] != '_') buf[m++] = s->p[i];
    buf[m] = 0;
    if (m == 0 || (buf[0] != '-' && buf[0] != '+' && (buf[0] < '0' || buf[0] > 'z'))) return false;
    char *end;
    *out = strtoll(buf, &end, base);
    return *end == 0 && *out != INT64_MAX && *out != INT64_MIN;
}

static jv whole(jv fallback, double f) { return f > -9e18 && f < 9e18 ? jv_int((int64_t)f) : fallback; }

static jv f_int(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    jv fallback = a[0].kind == JV_MISSING ? jv_int(0) : a[0];
    int64_t v, base = call_int(r, "int", a[1], 10);
    double f;
    if (base != 0 && (base < 2 || base > 36)) return fallback;
    if (in.kind == JV_FLOAT) return whole(fallback, in.u.f);
    if (jv_is_int(in)) return jv_int(in.u.i);
    if (in.kind != JV_STR) return fallback;
    if (read_int(in.u.s, (int)base, &v)) return jv_int(v);
    return read_float(in.u.s, &f) ? whole(fallback, f) : fallback;
}

static jv f_float(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)r, (void)c;
    double f;
    if (jv_is_num(in)) return jv_float(jv_num(in));
    if (in.kind == JV_STR && read_float(in.u.s, &f)) return jv_float(f);
    return a[0].kind == JV_MISSING ? jv_float(0) : a[0];
}

static double number(jrt *r, const char *what, jv v) {
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    if (!jv_is_num(v)) jinja_fail(r, TL_E_FORMAT, "%s: a number is required, not %s", what, jv_type(v));
    return jv_num(v);
}

static jv f_abs(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)a, (void)c;
    double f = number(r, "abs", in);
    if (in.kind == JV_FLOAT) return jv_float(fabs(f));
    if (in.u.i == INT64_MIN) jinja_fail(r, TL_E_LIMIT, "integer overflow in abs");
    return jv_int(in.u.i < 0 ? -in.u.i : in.u.i);
}

static jv f_round(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    double f = number(r, "round", in), scale = pow(10, (double)call_int(r, "round", a[0], 0));
    str how = a[1].kind == JV_MISSING ? STR("common") : jstr_slice(call_str(r, "round", a[1]));
    if (str_is(how, "ceil")) return jv_float(ceil(f * scale) / scale);
    if (str_is(how, "floor")) return jv_float(floor(f * scale) / scale);
    if (!str_is(how, "common")) jinja_fail(r, TL_E_FORMAT, "method must be common, ceil or floor");
    if (jv_is_int(in)) return jv_int(in.u.i);
    char buf[400]; // printf rounds the exact value half to even, as Python's round does
    int digits = a[0].kind == JV_INT && a[0].u.i > 0 ? (a[0].u.i > 30 ? 30 : (int)a[0].u.i) : 0;
    if (scale < 1) return jv_float(nearbyint(f * scale) / scale);
    snprintf(buf, sizeof buf, "%.*f", digits, f);
    return jv_float(strtod(buf, NULL));
}

// ---- any value -----------------------------------------------------------------------------------
static jv f_safe(jrt *r, jv in, const jv *a, const jcall *c) { return (void)r, (void)a, (void)c, in; }

static jv f_default(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    bool use = in.kind == JV_UNDEF || (jv_true(a[1]) && !jv_true(in));
    if (!use) return in;
    return a[0].kind == JV_MISSING ? jv_of_str(jstr_lit(r, "")) : a[0];
}

static jv f_attr(jrt *r, jv in, const jv *a, const jcall *c) {
    (void)c;
    if (in.kind == JV_DICT)
        return (jv){JV_UNDEF, 1 + JV_DICT, {.s = call_str(r, "attr", a[0])}}; // items are not attributes
    return eval_attr(r, in, call_str(r, "attr", a[0]));
}

// ---- table ---------------------------------------------------------------------------------------
static const struct filter {
    const char *name;
    filter_fn *fn;
    const char *params; // for call_bind; NULL: the filter reads the call itself
} filters[] = {
    {"abs", f_abs, ""},
    {"attr", f_attr, "!name"},
    {"batch", seq_batch, "!linecount fill_with"},
    {"capitalize", f_capitalize, ""},
    {"center", f_center, "width"},
    {"count", seq_length, ""},
    {"d", f_default, "default_value boolean"},
    {"default", f_default, "default_value boolean"},
    {"dictsort", seq_dictsort, "case_sensitive by reverse"},
    {"e", f_escape, ""},
    {"escape", f_escape, ""},
    {"first", seq_first, ""},
    {"float", f_float, "default"},
    {"forceescape", f_escape, ""},
    {"format", f_format, NULL},
    {"groupby", seq_groupby, "!attribute default case_sensitive"},
    {"indent", f_indent, "width first blank"},
    {"int", f_int, "default base"},
    {"items", seq_items, ""},
    {"join", seq_join, "d attribute"},
    {"last", seq_last, ""},
    {"length", seq_length, ""},
    {"list", seq_list, ""},
    {"lower", f_lower, ""},
    {"map", seq_map, NULL},
    {"max", seq_max, "case_sensitive attribute"},
    {"min", seq_min, "case_sensitive attribute"},
    {"reject", seq_reject, NULL},
    {"rejectattr", seq_rejectattr, NULL},
    {"replace", f_replace, "!old !new count"},
    {"reverse", seq_reverse, ""},
    {"round", f_round, "precision method"},
    {"safe", f_safe, ""},
    {"select", seq_select, NULL},
    {"selectattr", seq_selectattr, NULL},
    {"slice", seq_slice, "!slices fill_with"},
    {"sort", seq_sort, "reverse case_sensitive attribute"},
    {"string", f_string, ""},
    {"sum", seq_sum, "attribute start"},
    {"title", f_title, ""},
    {"tojson", f_tojson, "ensure_ascii indent separators sort_keys"},
    {"trim", f_trim, "chars"},
    {"unique", seq_unique, "case_sensitive attribute"},
    {"upper", f_upper, ""},
    {"wordcount", f_wordcount, ""},
};

int filter_find(str name) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (str_is(name, filters[i].name)) return (int)i;
    return -1;
}

jv filter_call(jrt *r, int id, jv in, const jcall *c) {
    const struct filter *f = &filters[id];
    jv a[4] = {{0}};
    jinja_enter(r);
    if (f->params) call_bind(r, f->name, f->params, c, a);
    jv out = f->fn(r, in, a, c);
    jinja_leave(r);
    return out;
}
