// jinja_format.c - Python's '%' on strings and str.format().
#include "text/jinja_int.h"

typedef struct spec {
    bool minus, zero, plus, space, alt;
    int64_t width, prec; // prec -1: not given
    char conv;
} spec;

typedef struct args { // what the next conversions read
    jv all;
    size_t next, n;
} args;

static jv next_arg(jrt *r, args *a) {
    if (a->next >= a->n) jinja_fail(r, TL_E_FORMAT, "not enough arguments for format string");
    jv v = a->all.kind == JV_TUPLE ? a->all.u.l->v[a->next] : a->all;
    a->next++;
    return v;
}

static int64_t spec_number(jrt *r, const jstr *f, size_t *i) {
    int64_t v = 0;
    for (; *i < f->n && f->p[*i] >= '0' && f->p[*i] <= '9'; ++*i) {
        v = v * 10 + (f->p[*i] - '0');
        if (v > 100000) jinja_fail(r, TL_E_LIMIT, "format width is too large");
    }
    return v;
}

static spec parse_spec(jrt *r, const jstr *f, size_t *i) {
    spec s = {.prec = -1};
    for (; *i < f->n; ++*i) {
        char c = f->p[*i];
        if (c == '-') s.minus = true;
        else if (c == '0') s.zero = true;
        else if (c == '+') s.plus = true;
        else if (c == ' ') s.space = true;
        else if (c == '#') s.alt = true;
        else break;
    }
    s.width = spec_number(r, f, i);
    if (*i < f->n && f->p[*i] == '.') {
        ++*i;
        s.prec = spec_number(r, f, i);
    }
    if (*i >= f->n) jinja_fail(r, TL_E_FORMAT, "incomplete format");
    s.conv = f->p[(*i)++];
    return s;
}

static jstr *format_number(jrt *r, const spec *s, jv v) {
    if (v.kind == JV_UNDEF) eval_undefined(r, v);
    if (!jv_is_num(v)) jinja_fail(r, TL_E_FORMAT, "%%%c format: a real number is required, not %s", s->conv, jv_type(v));
    char fmt[16], buf[512];
    bool whole = strchr("diuxXo", s->conv) != NULL;
    int prec = s->prec > 100 ? 100 : (int)s->prec, n;
    if (whole && v.kind == JV_FLOAT) {
        if (!(v.u.f > -9e18 && v.u.f < 9e18)) jinja_fail(r, TL_E_FORMAT, "cannot convert float to integer");
        v = jv_int((int64_t)v.u.f);
    }
    bool neg = whole && v.u.i < 0;
    unsigned long long mag = neg ? 0 - (unsigned long long)v.u.i : (unsigned long long)v.u.i;
    const char *sign = neg ? "-" : s->plus ? "+" : s->space ? " " : "";
    if (whole) {
        const char *prefix = !s->alt ? "" : s->conv == 'x' ? "0x" : s->conv == 'X' ? "0X" : s->conv == 'o' ? "0o" : "";
        snprintf(fmt, sizeof fmt, "%%s%%s%%.*ll%c", s->conv == 'd' || s->conv == 'i' ? 'u' : s->conv);
        n = snprintf(buf, sizeof buf, fmt, sign, prefix, prec < 0 ? 1 : prec, mag);
    } else {
        snprintf(fmt, sizeof fmt, "%%%s%s%s.*%c", s->plus ? "+" : "", s->space ? " " : "", s->alt ? "#" : "", s->conv);
        n = snprintf(buf, sizeof buf, fmt, prec < 0 ? 6 : prec, jv_num(v));
    }
    if (n < 0 || (size_t)n >= sizeof buf) jinja_fail(r, TL_E_LIMIT, "formatted number is too long");
    jstr *out = jstr_new(r, buf, (size_t)n);
    if (!s->zero || s->minus || n >= s->width) return out;
    size_t head = (size_t)(buf[0] == '-' || buf[0] == '+' || buf[0] == ' '); // zeros go after the sign
    jstr *digits = text_pad(r, jstr_sub(r, out, head, out->n), s->width - (int64_t)head, jstr_lit(r, "0"), 1);
    return jstr_concat(r, jstr_sub(r, out, 0, head), digits);
}

static jstr *convert(jrt *r, const spec *s, jv v) {
    jstr *out;
    if (s->conv == 's' || s->conv == 'r') {
        jbuf b = {0};
        if (s->conv == 's') jv_print(r, &b, v);
        else jv_repr(r, &b, v);
        out = jb_done(r, &b);
        if (s->prec >= 0 && s->prec < jstr_chars(out)) out = jstr_sub(r, out, 0, text_offset(out, s->prec));
    } else if (s->conv && strchr("diuxXofFeEgG", s->conv)) {
        out = format_number(r, s, v);
    } else {
        jinja_fail(r, TL_E_FORMAT, "unsupported format character '%c'", s->conv >= 32 && s->conv < 127 ? s->conv : '?');
    }
    return text_pad(r, out, s->width, jstr_lit(r, " "), s->minus ? 0 : 1);
}

static jv named_arg(jrt *r, const jstr *f, size_t *i, args *a) {
    const char *end = memchr(f->p + *i, ')', f->n - *i);
    if (!end) jinja_fail(r, TL_E_FORMAT, "incomplete format key");
    if (a->all.kind != JV_DICT) jinja_fail(r, TL_E_FORMAT, "format requires a mapping");
    jstr *key = jstr_new(r, f->p + *i, (size_t)(end - f->p) - *i);
    jv *v = jdict_find(r, a->all.u.d, jv_of_str(key));
    if (!v) jinja_fail(r, TL_E_FORMAT, "format key '%s' is missing", key->p);
    *i = (size_t)(end - f->p) + 1;
    return *v;
}

jv format_percent(jrt *r, jstr *f, jv in) {
    args a = {.all = in, .n = in.kind == JV_TUPLE ? in.u.l->n : 1};
    jbuf b = {0};
    size_t i = 0;
    for (;;) {
        int64_t hit = text_find(jstr_slice(f), STR("%"), i);
        jb_sub(r, &b, f, i, hit < 0 ? f->n : (size_t)hit);
        if (hit < 0) break;
        i = (size_t)hit + 1;
        if (i < f->n && f->p[i] == '%') {
            jb_sub(r, &b, f, i, i + 1);
            i++;
            continue;
        }
        bool named = i < f->n && f->p[i] == '(';
        jv v = jv_none();
        if (named) i++, v = named_arg(r, f, &i, &a);
        spec s = parse_spec(r, f, &i);
        jb_str(r, &b, convert(r, &s, named ? v : next_arg(r, &a)));
        jinja_step(r, 1);
    }
    if (a.next < a.n && in.kind != JV_DICT && in.kind != JV_LIST)
        jinja_fail(r, TL_E_FORMAT, "not all arguments converted during string formatting");
    return jb_value(r, &b);
}

// One {field}: empty, a position or a keyword. Attributes and format specifications are not part of the subset.
static jv brace_arg(jrt *r, str field, const jcall *c, uint32_t *next) {
    size_t digits = 0;
    while (digits < field.n && digits < 6 && field.p[digits] >= '0' && field.p[digits] <= '9') digits++;
    uint32_t at = digits == 0 ? *next : (uint32_t)strtoul(field.p, NULL, 10);
    if (digits == field.n) {
        if (digits == 0) ++*next;
        if (at >= c->n) jinja_fail(r, TL_E_FORMAT, "replacement index %u out of range for positional args tuple", at);
        return c->pos[at];
    }
    for (uint32_t i = 0; i < c->n_kw; i++)
        if (str_eq(jstr_slice(c->kw[i].name), field)) return c->kw[i].v;
    char esc[80];
    jinja_fail(r, TL_E_FORMAT, "str.format(): no argument for '{%s}'", str_escape(esc, sizeof esc, field));
}

jv format_braces(jrt *r, jstr *f, const jcall *c) {
    jbuf b = {0};
    uint32_t next = 0;
    for (size_t i = 0; i < f->n;) {
        size_t from = i;
        while (i < f->n && f->p[i] != '{' && f->p[i] != '}') i++;
        jb_sub(r, &b, f, from, i);
        if (i >= f->n) break;
        if (i + 1 < f->n && f->p[i + 1] == f->p[i]) { // {{ and }}
            jb_sub(r, &b, f, i, i + 1);
            i += 2;
            continue;
        }
        const char *end = f->p[i] == '{' ? memchr(f->p + i, '}', f->n - i) : NULL;
        if (!end) jinja_fail(r, TL_E_FORMAT, "single '%c' encountered in format string", f->p[i]);
        str field = {f->p + i + 1, (size_t)(end - f->p) - i - 1};
        jv_print(r, &b, brace_arg(r, field, c, &next));
        i = (size_t)(end - f->p) + 1;
        jinja_step(r, 1);
    }
    return jb_value(r, &b);
}
