// jinja_method.c - the methods of strings, dicts and lists. None changes its receiver: values are immutable.
#include "text/jinja_int.h"

#include <utf8proc.h>

typedef enum {
    M_STRIP, M_LSTRIP, M_RSTRIP, M_SPLIT, M_RSPLIT, M_SPLITLINES, M_STARTSWITH, M_ENDSWITH, M_REPLACE, M_UPPER, M_LOWER,
    M_TITLE, M_CAPITALIZE, M_SWAPCASE, M_FIND, M_RFIND, M_INDEX, M_COUNT, M_JOIN, M_ISDIGIT, M_ISALPHA, M_ISALNUM,
    M_ISSPACE, M_ISUPPER, M_ISLOWER, M_ZFILL, M_LJUST, M_RJUST, M_CENTER, M_REMOVEPREFIX, M_REMOVESUFFIX, M_FORMAT,
    M_PARTITION, M_RPARTITION, M_ITEMS, M_KEYS, M_VALUES, M_GET, M_COPY, M_LINDEX, M_LCOUNT
} method_id;

static const struct method {
    jv_kind kind; // of the receiver
    const char *name;
    method_id id;
    const char *params; // for call_bind
} methods[] = {
    {JV_STR, "strip", M_STRIP, "chars"},
    {JV_STR, "lstrip", M_LSTRIP, "chars"},
    {JV_STR, "rstrip", M_RSTRIP, "chars"},
    {JV_STR, "split", M_SPLIT, "sep maxsplit"},
    {JV_STR, "rsplit", M_RSPLIT, "sep maxsplit"},
    {JV_STR, "splitlines", M_SPLITLINES, "keepends"},
    {JV_STR, "startswith", M_STARTSWITH, "!prefix start end"},
    {JV_STR, "endswith", M_ENDSWITH, "!suffix start end"},
    {JV_STR, "replace", M_REPLACE, "!old !new count"},
    {JV_STR, "upper", M_UPPER, ""},
    {JV_STR, "lower", M_LOWER, ""},
    {JV_STR, "casefold", M_LOWER, ""},
    {JV_STR, "title", M_TITLE, ""},
    {JV_STR, "capitalize", M_CAPITALIZE, ""},
    {JV_STR, "swapcase", M_SWAPCASE, ""},
    {JV_STR, "find", M_FIND, "!sub start end"},
    {JV_STR, "rfind", M_RFIND, "!sub start end"},
    {JV_STR, "index", M_INDEX, "!sub start end"},
    {JV_STR, "count", M_COUNT, "!sub start end"},
    {JV_STR, "join", M_JOIN, "!iterable"},
    {JV_STR, "isdigit", M_ISDIGIT, ""},
    {JV_STR, "isdecimal", M_ISDIGIT, ""},
    {JV_STR, "isnumeric", M_ISDIGIT, ""},
    {JV_STR, "isalpha", M_ISALPHA, ""},
    {JV_STR, "isalnum", M_ISALNUM, ""},
    {JV_STR, "isspace", M_ISSPACE, ""},
    {JV_STR, "isupper", M_ISUPPER, ""},
    {JV_STR, "islower", M_ISLOWER, ""},
    {JV_STR, "zfill", M_ZFILL, "!width"},
    {JV_STR, "ljust", M_LJUST, "!width fillchar"},
    {JV_STR, "rjust", M_RJUST, "!width fillchar"},
    {JV_STR, "center", M_CENTER, "!width fillchar"},
    {JV_STR, "removeprefix", M_REMOVEPREFIX, "!prefix"},
    {JV_STR, "removesuffix", M_REMOVESUFFIX, "!suffix"},
    {JV_STR, "format", M_FORMAT, NULL},
    {JV_STR, "partition", M_PARTITION, "!sep"},
    {JV_STR, "rpartition", M_RPARTITION, "!sep"},
    {JV_DICT, "items", M_ITEMS, ""},
    {JV_DICT, "keys", M_KEYS, ""},
    {JV_DICT, "values", M_VALUES, ""},
    {JV_DICT, "get", M_GET, "!key default"},
    {JV_DICT, "copy", M_COPY, ""},
    {JV_LIST, "copy", M_COPY, ""},
    {JV_LIST, "index", M_LINDEX, "!value"},
    {JV_LIST, "count", M_LCOUNT, "!value"},
    {JV_TUPLE, "index", M_LINDEX, "!value"},
    {JV_TUPLE, "count", M_LCOUNT, "!value"},
};

int method_find(jv self, str name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].kind == self.kind && str_is(name, methods[i].name)) return (int)i;
    return -1;
}

const char *method_name(jv method) { return method.u.self->kind == JV_LOOP ? "loop" : methods[method.id].name; }

static jv piece(jrt *r, jstr *s, size_t from, size_t to) { return jv_of_str(jstr_sub(r, s, from, to)); }

static void reverse(jlist *l) {
    for (size_t i = 0, j = l->n; i + 1 < j; i++) {
        jv t = l->v[i];
        l->v[i] = l->v[--j];
        l->v[j] = t;
    }
}

// ---- splitting -----------------------------------------------------------------------------------
static jlist *split_space(jrt *r, jstr *s, int64_t limit) {
    jlist *l = jlist_new(r, 0);
    size_t i = text_lspace(s->p, s->n);
    while (i < s->n) {
        if (limit >= 0 && (int64_t)l->n == limit) {
            jlist_push(r, l, piece(r, s, i, s->n));
            return l;
        }
        size_t end = i, n;
        for (int32_t c; end < s->n; end += n) {
            n = utf8_next(s->p + end, s->n - end, &c);
            if (cp_space(c)) break;
        }
        jlist_push(r, l, piece(r, s, i, end));
        i = end + text_lspace(s->p + end, s->n - end);
    }
    return l;
}

static int64_t find_last(jrt *r, str hay, str needle) {
    for (size_t i = hay.n >= needle.n ? hay.n - needle.n + 1 : 0; i-- > 0;) {
        if (needle.n > 0 && hay.p[i] != needle.p[0]) continue;
        jinja_step(r, 1 + (int64_t)(needle.n / 64));
        if (memcmp(hay.p + i, needle.p, needle.n) == 0) return (int64_t)i;
    }
    return -1;
}

static jlist *split_by(jrt *r, jstr *s, jstr *sep, int64_t limit) {
    jlist *l = jlist_new(r, 0);
    size_t i = 0;
    while (limit < 0 || (int64_t)l->n < limit) {
        int64_t hit = text_find(jstr_slice(s), jstr_slice(sep), i);
        if (hit < 0) break;
        jlist_push(r, l, piece(r, s, i, (size_t)hit));
        i = (size_t)hit + sep->n;
    }
    jlist_push(r, l, piece(r, s, i, s->n));
    return l;
}

static jlist *rsplit_by(jrt *r, jstr *s, jstr *sep, int64_t limit) {
    jlist *l = jlist_new(r, 0);
    size_t end = s->n;
    while (limit < 0 || (int64_t)l->n < limit) {
        int64_t hit = find_last(r, (str){s->p, end}, jstr_slice(sep));
        if (hit < 0) break;
        jlist_push(r, l, piece(r, s, (size_t)hit + sep->n, end));
        end = (size_t)hit;
    }
    jlist_push(r, l, piece(r, s, 0, end));
    reverse(l);
    return l;
}

static jlist *rsplit_space(jrt *r, jstr *s, int64_t limit) {
    jlist *all = split_space(r, s, -1);
    if (limit < 0 || (int64_t)all->n <= limit) return all;
    jlist *l = jlist_new(r, 0);
    size_t drop = all->n - (size_t)limit; // words that stay together
    const jstr *last = all->v[drop - 1].u.s;
    jlist_push(r, l, piece(r, s, 0, (size_t)(last->p - s->p) + last->n));
    for (size_t i = drop; i < all->n; i++) jlist_push(r, l, all->v[i]);
    return l;
}

static jv split(jrt *r, jstr *s, const jv *a, bool right) {
    int64_t limit = call_int(r, "maxsplit", a[1], -1);
    jinja_step(r, (int64_t)(s->n / 64));
    if (a[0].kind == JV_MISSING || a[0].kind == JV_NONE)
        return jv_of_list(right ? rsplit_space(r, s, limit) : split_space(r, s, limit));
    jstr *sep = call_str(r, "split()", a[0]);
    if (sep->n == 0) jinja_fail(r, TL_E_FORMAT, "empty separator");
    return jv_of_list(right ? rsplit_by(r, s, sep, limit) : split_by(r, s, sep, limit));
}

static bool is_line_end(int32_t c) {
    return (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static jv splitlines(jrt *r, jstr *s, bool keep) {
    jlist *l = jlist_new(r, 0);
    size_t from = 0;
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t c;
        n = utf8_next(s->p + i, s->n - i, &c);
        if (!is_line_end(c)) continue;
        if (c == '\r' && i + 1 < s->n && s->p[i + 1] == '\n') n = 2;
        jlist_push(r, l, piece(r, s, from, keep ? i + n : i));
        from = i + n;
    }
    if (from < s->n) jlist_push(r, l, piece(r, s, from, s->n));
    return jv_of_list(l);
}

static jv partition(jrt *r, jstr *s, jv by, bool right) {
    jstr *sep = call_str(r, "partition()", by);
    if (sep->n == 0) jinja_fail(r, TL_E_FORMAT, "empty separator");
    int64_t hit = right ? find_last(r, jstr_slice(s), jstr_slice(sep)) : text_find(jstr_slice(s), jstr_slice(sep), 0);
    jlist *l = jlist_new(r, 3);
    size_t at = (size_t)hit;
    if (hit < 0) at = right ? 0 : s->n;
    jlist_push(r, l, piece(r, s, 0, at));
    jlist_push(r, l, piece(r, s, at, hit < 0 ? at : at + sep->n));
    jlist_push(r, l, piece(r, s, hit < 0 ? at : at + sep->n, s->n));
    return (jv){JV_TUPLE, 0, {.l = l}};
}

// ---- looking -------------------------------------------------------------------------------------
// The bytes of s[start:end] for find(), count(), startswith().
static jstr *window(jrt *r, jstr *s, const jv *a, int64_t *start) {
    int64_t n = jstr_chars(s), from = call_int(r, "start", a[1], 0), to = call_int(r, "end", a[2], n);
    if (from < 0) from = from + n < 0 ? 0 : from + n;
    if (to < 0) to = to + n < 0 ? 0 : to + n;
    if (to > n) to = n;
    *start = from;
    if (from > to) return NULL;
    return jstr_sub(r, s, text_offset(s, from), text_offset(s, to));
}

static bool affix(jrt *r, const jstr *s, jv what, bool start) {
    if (what.kind == JV_TUPLE) {
        for (size_t i = 0; i < what.u.l->n; i++)
            if (what.u.l->v[i].kind != JV_TUPLE && affix(r, s, what.u.l->v[i], start)) return true;
        return false;
    }
    jstr *x = call_str(r, start ? "startswith()" : "endswith()", what);
    return x->n <= s->n && memcmp(start ? s->p : s->p + s->n - x->n, x->p, x->n) == 0;
}

static jv find(jrt *r, jstr *s, const jv *a, method_id id) {
    int64_t start, hit = -1;
    jstr *sub = call_str(r, "find()", a[0]), *in = window(r, s, a, &start);
    if (in && id == M_RFIND) hit = find_last(r, jstr_slice(in), jstr_slice(sub));
    else if (in) hit = text_find(jstr_slice(in), jstr_slice(sub), 0);
    if (hit < 0 && id == M_INDEX) jinja_fail(r, TL_E_FORMAT, "substring not found");
    return jv_int(hit < 0 ? -1 : start + jstr_chars(jstr_sub(r, in, 0, (size_t)hit)));
}

static jv count(jrt *r, jstr *s, const jv *a) {
    int64_t start, hit, found = 0;
    jstr *sub = call_str(r, "count()", a[0]), *in = window(r, s, a, &start);
    if (!in) return jv_int(0);
    if (sub->n == 0) return jv_int(jstr_chars(in) + 1);
    jinja_step(r, (int64_t)(in->n / 64));
    for (size_t i = 0; (hit = text_find(jstr_slice(in), jstr_slice(sub), i)) >= 0; found++) i = (size_t)hit + sub->n;
    return jv_int(found);
}

static bool cp_is(int32_t c, method_id id) {
    utf8proc_category_t k = utf8proc_category(c);
    bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO, digit = k == UTF8PROC_CATEGORY_ND;
    return id == M_ISALPHA ? letter : id == M_ISDIGIT ? digit : id == M_ISALNUM ? letter || digit : cp_space(c);
}

static bool all_are(const jstr *s, method_id id) {
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t c;
        n = utf8_next(s->p + i, s->n - i, &c);
        if (!cp_is(c, id)) return false;
    }
    return s->n > 0;
}

static jv zfill(jrt *r, jstr *s, int64_t width) {
    size_t sign = s->n > 0 && (s->p[0] == '-' || s->p[0] == '+');
    jbuf b = {0};
    jb_sub(r, &b, s, 0, sign);
    for (int64_t i = jstr_chars(s); i < width; i++, jinja_step(r, 1)) jb_puts(r, &b, "0");
    jb_sub(r, &b, s, sign, s->n);
    return jb_value(r, &b);
}

static jv pad(jrt *r, jstr *s, const jv *a, int mode) {
    jstr *fill = a[1].kind == JV_MISSING ? jstr_lit(r, " ") : call_str(r, "fillchar", a[1]);
    if (jstr_chars(fill) != 1) jinja_fail(r, TL_E_FORMAT, "the fill character must be exactly one character long");
    return jv_of_str(text_pad(r, s, call_int(r, "width", a[0], 0), fill, mode));
}

static jv join(jrt *r, jstr *sep, jv items) {
    jlist *l = jv_iter(r, items);
    for (size_t i = 0; i < l->n; i++)
        if (l->v[i].kind != JV_STR)
            jinja_fail(r, TL_E_FORMAT, "sequence item %zu: expected str instance, %s found", i, jv_type(l->v[i]));
    return text_join(r, sep, l);
}

static jv str_method(jrt *r, jstr *s, method_id id, const jv *a, const jcall *c) {
    int64_t start;
    jstr *x;
    switch (id) {
    case M_STRIP: return jv_of_str(text_strip(r, s, a[0], 3));
    case M_LSTRIP: return jv_of_str(text_strip(r, s, a[0], 1));
    case M_RSTRIP: return jv_of_str(text_strip(r, s, a[0], 2));
    case M_SPLIT:
    case M_RSPLIT: return split(r, s, a, id == M_RSPLIT);
    case M_SPLITLINES: return splitlines(r, s, jv_true(a[0]));
    case M_STARTSWITH:
    case M_ENDSWITH:
        x = window(r, s, a, &start);
        return jv_bool(x && affix(r, x, a[0], id == M_STARTSWITH));
    case M_REPLACE:
        x = call_str(r, "replace()", a[0]);
        return jv_of_str(text_replace(r, s, x, call_str(r, "replace()", a[1]), call_int(r, "count", a[2], -1)));
    case M_UPPER: return jv_of_str(text_recase(r, s, CASE_UPPER));
    case M_LOWER: return jv_of_str(text_recase(r, s, CASE_LOWER));
    case M_TITLE: return jv_of_str(text_recase(r, s, CASE_TITLE));
    case M_CAPITALIZE: return jv_of_str(text_recase(r, s, CASE_CAPITAL));
    case M_SWAPCASE: return jv_of_str(text_recase(r, s, CASE_SWAP));
    case M_FIND:
    case M_RFIND:
    case M_INDEX: return find(r, s, a, id);
    case M_COUNT: return count(r, s, a);
    case M_JOIN: return join(r, s, a[0]);
    case M_ISDIGIT:
    case M_ISALPHA:
    case M_ISALNUM:
    case M_ISSPACE: return jv_bool(all_are(s, id));
    case M_ISUPPER:
    case M_ISLOWER: return jv_bool(text_is_case(s, id == M_ISUPPER));
    case M_ZFILL: return zfill(r, s, call_int(r, "width", a[0], 0));
    case M_LJUST:
    case M_RJUST:
    case M_CENTER: return pad(r, s, a, id == M_LJUST ? 0 : id == M_RJUST ? 1 : 2);
    case M_REMOVEPREFIX:
        x = call_str(r, "removeprefix()", a[0]);
        return affix(r, s, a[0], true) ? piece(r, s, x->n, s->n) : jv_of_str(s);
    case M_REMOVESUFFIX:
        x = call_str(r, "removesuffix()", a[0]);
        return affix(r, s, a[0], false) ? piece(r, s, 0, s->n - x->n) : jv_of_str(s);
    case M_PARTITION:
    case M_RPARTITION: return partition(r, s, a[0], id == M_RPARTITION);
    default: return format_braces(r, s, c);
    }
}

// ---- dicts and lists -----------------------------------------------------------------------------
static jv dict_method(jrt *r, jv self, method_id id, const jv *a) {
    jdict *d = self.u.d;
    if (id == M_COPY) return self;
    if (id == M_GET) {
        jv *found = jdict_find(r, d, a[0]);
        return found ? *found : a[1].kind == JV_MISSING ? jv_none() : a[1];
    }
    jlist *l = jlist_new(r, d->n);
    for (size_t i = 0; i < d->n; i++) {
        jv item = id == M_KEYS ? d->e[i].k : d->e[i].v;
        if (id == M_ITEMS) {
            jlist *pair = jlist_new(r, 2);
            jlist_push(r, pair, d->e[i].k);
            jlist_push(r, pair, d->e[i].v);
            item = (jv){JV_TUPLE, 0, {.l = pair}};
        }
        jlist_push(r, l, item);
    }
    return jv_of_list(l);
}

static jv list_method(jrt *r, jv self, method_id id, const jv *a) {
    if (id == M_COPY) return self;
    const jlist *l = self.u.l;
    int64_t found = 0;
    jinja_step(r, (int64_t)l->n);
    for (size_t i = 0; i < l->n; i++) {
        if (!jv_eq(r, l->v[i], a[0])) continue;
        if (id == M_LINDEX) return jv_int((int64_t)i);
        found++;
    }
    if (id == M_LINDEX) jinja_fail(r, TL_E_FORMAT, "the value is not in the list");
    return jv_int(found);
}

jv method_call(jrt *r, jv method, const jcall *c) {
    if (method.u.self->kind == JV_LOOP) return loop_call(r, method, c);
    const struct method *m = &methods[method.id];
    jv self = *method.u.self, a[4] = {{0}};
    if (m->params) call_bind(r, m->name, m->params, c, a);
    if (self.kind == JV_STR) return str_method(r, self.u.s, m->id, a, c);
    return self.kind == JV_DICT ? dict_method(r, self, m->id, a) : list_method(r, self, m->id, a);
}
