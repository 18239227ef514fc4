// schema_regex.c - a regular expression (ECMA 262, the regular part) to GBNF over the characters of a JSON string.
#include "text/schema_int.h"

typedef struct range {
    uint32_t lo, hi;
} range;
typedef struct set { // sorted and joined by set_sort
    range r[256];
    int n;
    bool negate;
} set;

typedef struct regex {
    schema *s;
    str text;
    size_t pos;
    int depth;
    bool plain; // the text itself rather than a JSON string of it
} regex;

_Noreturn static void unsupported(regex *x, const char *what) {
    schema_fail(x->s, TL_E_UNSUPPORTED, "in the pattern, at character %zu: %s", x->pos, what);
}
_Noreturn static void wrong(regex *x, const char *what) {
    schema_fail(x->s, TL_E_FORMAT, "in the pattern, at character %zu: %s", x->pos, what);
}

static int peek(const regex *x) { return x->pos < x->text.n ? (unsigned char)x->text.p[x->pos] : -1; }
static bool take(regex *x, int c) { return peek(x) == c ? (x->pos++, true) : false; }

static uint32_t take_utf8(regex *x) { // jansson has checked it
    unsigned char b = (unsigned char)x->text.p[x->pos++];
    int more = b >= 0xf0 ? 3 : b >= 0xe0 ? 2 : b >= 0xc0 ? 1 : 0;
    uint32_t c = more ? b & (0x3fu >> more) : b;
    while (more-- > 0 && x->pos < x->text.n) c = c << 6 | ((unsigned char)x->text.p[x->pos++] & 0x3f);
    return c;
}

// ---- sets ----------------------------------------------------------------------------------------
static void set_add(regex *x, set *t, uint32_t lo, uint32_t hi) {
    if (t->n >= 120) unsupported(x, "the character class is too long");
    t->r[t->n++] = (range){lo, hi};
}

static int by_lo(const void *a, const void *b) {
    const range *p = a, *q = b;
    return p->lo < q->lo ? -1 : p->lo > q->lo;
}

static void set_sort(set *t) {
    int m = 0;
    qsort(t->r, (size_t)t->n, sizeof *t->r, by_lo);
    for (int i = 0; i < t->n; i++) {
        if (m > 0 && t->r[i].lo <= t->r[m - 1].hi + 1)
            t->r[m - 1].hi = t->r[i].hi > t->r[m - 1].hi ? t->r[i].hi : t->r[m - 1].hi;
        else t->r[m++] = t->r[i];
    }
    t->n = m;
    if (!t->negate) return;
    set out = {.n = 0};
    uint32_t next = 0;
    for (int i = 0; i < m; i++) {
        if (t->r[i].lo > next) out.r[out.n++] = (range){next, t->r[i].lo - 1};
        next = t->r[i].hi + 1;
    }
    if (next <= 0x10ffff) out.r[out.n++] = (range){next, 0x10ffff};
    *t = out;
}

static bool set_has(const set *t, uint32_t c) {
    for (int i = 0; i < t->n; i++)
        if (t->r[i].lo <= c && c <= t->r[i].hi) return true;
    return false;
}

// \d, \w, \s and their opposites.
static void add_named(regex *x, set *t, int name) {
    static const range digit[] = {{'0', '9'}}, word[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                       space[] = {{9, 13}, {32, 32}, {0xa0, 0xa0}, {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                  {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    const range *r = (name | 32) == 'd' ? digit : (name | 32) == 'w' ? word : space;
    int n = (name | 32) == 'd' ? 1 : (name | 32) == 'w' ? 4 : 10;
    set own = {.negate = name < 'a'};
    for (int i = 0; i < n; i++) own.r[own.n++] = r[i];
    set_sort(&own);
    for (int i = 0; i < own.n; i++) set_add(x, t, own.r[i].lo, own.r[i].hi);
}

static const char *class_char(regex *x, uint32_t c) {
    bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    return plain ? schema_text(x->s, "%c", (char)c) : schema_text(x->s, c < 0x10000 ? "\\u%04X" : "\\U%08X", c);
}

// The set as a JSON string writes it: characters as they are, and those that must be escaped by their short escapes.
static const char *set_text(regex *x, set *t) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    static const range in_json[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x7e}, {0x80, 0xd7ff}, {0xe000, 0x10ffff}},
                       in_text[] = {{0, 0xd7ff}, {0xe000, 0x10ffff}};
    const range *may = x->plain ? in_text : in_json;
    size_t n_may = x->plain ? 2 : 5;
    set_sort(t);
    const char *cls = "", *e = "";
    for (int i = 0; i < t->n; i++)
        for (size_t k = 0; k < n_may; k++) {
            uint32_t lo = t->r[i].lo > may[k].lo ? t->r[i].lo : may[k].lo;
            uint32_t hi = t->r[i].hi < may[k].hi ? t->r[i].hi : may[k].hi;
            if (lo <= hi) cls = schema_text(x->s, "%s%s", cls, class_char(x, lo));
            if (lo < hi) cls = schema_text(x->s, "%s-%s", cls, class_char(x, hi));
        }
    if (*cls) e = schema_text(x->s, "[%s]", cls);
    for (size_t i = 0; from[i] && !x->plain; i++) {
        if (!set_has(t, (unsigned char)from[i])) continue;
        const char *esc = to[i] == '"'    ? "\"\\\\\\\"\""
                          : to[i] == '\\' ? "\"\\\\\\\\\""
                                          : schema_text(x->s, "\"\\\\%c\"", to[i]);
        e = schema_text(x->s, "%s%s%s", e, *e ? " | " : "", esc);
    }
    if (!*e) unsupported(x, "the character cannot be written in a string");
    return schema_text(x->s, "(%s)", e);
}

// ---- reading -------------------------------------------------------------------------------------
static uint32_t take_hex(regex *x, int n) {
    uint32_t v = 0;
    for (int i = 0; i < n; i++, x->pos++) {
        int c = peek(x), d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0) wrong(x, "a hexadecimal digit is missing");
        v = v * 16 + (uint32_t)d;
    }
    return v;
}

// After a backslash. True: one character in *c; false: a named set was added.
static bool escape(regex *x, set *t, uint32_t *c) {
    static const char from[] = "nrtfv0", to[] = "\n\r\t\f\v";
    int e = peek(x);
    if (e <= 0) wrong(x, "a backslash before nothing");
    if (strchr("dDwWsS", e)) return x->pos++, add_named(x, t, e), false;
    const char *simple = strchr(from, e);
    if (simple) return x->pos++, *c = (unsigned char)to[simple - from], true;
    if (e == 'x' || e == 'u') return x->pos++, *c = take_hex(x, e == 'x' ? 2 : 4), true;
    if ((e >= '1' && e <= '9') || (e >= 'a' && e <= 'z') || (e >= 'A' && e <= 'Z'))
        unsupported(x, "this escape is not supported");
    *c = take_utf8(x);
    return true;
}

static const char *char_class(regex *x) { // after the '['
    set t = {.negate = take(x, '^')};
    while (!take(x, ']')) {
        uint32_t lo = 0, hi;
        if (peek(x) < 0) wrong(x, "the character class has no end");
        if (take(x, '\\') ? !escape(x, &t, &lo) : (lo = take_utf8(x), false)) continue;
        hi = lo;
        if (peek(x) == '-' && x->pos + 1 < x->text.n && x->text.p[x->pos + 1] != ']') {
            x->pos++;
            if (take(x, '\\') ? !escape(x, &t, &hi) : (hi = take_utf8(x), false)) wrong(x, "a range that ends in a set");
        }
        if (hi < lo) wrong(x, "the range of characters is upside down");
        set_add(x, &t, lo, hi);
    }
    return set_text(x, &t);
}

static const char *alternatives(regex *x);

static const char *group(regex *x) { // after the '('
    if (take(x, '?') && !take(x, ':')) unsupported(x, "only (?:...) of the groups with '?' is supported");
    if (++x->depth > 60) schema_fail(x->s, TL_E_LIMIT, "the pattern is nested too deeply");
    const char *e = schema_text(x->s, "(%s)", alternatives(x));
    x->depth--;
    if (!take(x, ')')) wrong(x, "expected ')'");
    return e;
}

static const char *atom(regex *x) {
    set t = {.n = 0};
    uint32_t c;
    if (take(x, '(')) return group(x);
    if (take(x, '[')) return char_class(x);
    if (take(x, '.')) {
        static const range lines[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
        for (int i = 0; i < 3; i++) set_add(x, &t, lines[i].lo, lines[i].hi);
        t.negate = true;
    } else if (take(x, '\\')) {
        if (escape(x, &t, &c)) set_add(x, &t, c, c);
    } else if (peek(x) == '^' || peek(x) == '$') {
        unsupported(x, "'^' and '$' are supported at the ends only");
    } else if (peek(x) == ')') {
        wrong(x, "unexpected ')'");
    } else if (strchr("*+?{", peek(x))) {
        wrong(x, "there is nothing before this to repeat");
    } else {
        c = take_utf8(x);
        set_add(x, &t, c, c);
    }
    return set_text(x, &t);
}

static int64_t number(regex *x) {
    int64_t v = 0;
    if (peek(x) < '0' || peek(x) > '9') wrong(x, "expected a number of repetitions");
    for (; peek(x) >= '0' && peek(x) <= '9' && v <= 10000; x->pos++) v = v * 10 + (peek(x) - '0');
    if (v > 10000) schema_fail(x->s, TL_E_LIMIT, "the pattern has more than 10000 repetitions");
    return v;
}

static const char *repeated(regex *x, const char *e) {
    const char *out = e;
    if (take(x, '*')) out = schema_text(x->s, "%s*", e);
    else if (take(x, '+')) out = schema_text(x->s, "%s+", e);
    else if (take(x, '?')) out = schema_text(x->s, "%s?", e);
    else if (take(x, '{')) {
        int64_t min = number(x), max = min;
        bool open = take(x, ',') && peek(x) == '}';
        if (!open && x->text.p[x->pos - 1] == ',') max = number(x);
        if (!take(x, '}') || max < min) wrong(x, "bad repetition");
        out = open ? schema_text(x->s, "%s{%d,}", e, (int)min) : schema_text(x->s, "%s{%d,%d}", e, (int)min, (int)max);
    }
    if (out != e) {
        take(x, '?'); // lazy: the same texts
        if (peek(x) >= 0 && strchr("*+{", peek(x))) wrong(x, "two repetitions in a row");
    }
    return out;
}

static bool branch_ends(const regex *x) {
    bool dollar = x->depth == 0 && peek(x) == '$' && (x->pos + 1 == x->text.n || x->text.p[x->pos + 1] == '|');
    return peek(x) < 0 || peek(x) == '|' || (peek(x) == ')' && x->depth > 0) || dollar;
}

static const char *branch(regex *x) { // at the top level, what is not anchored may stand anywhere in the string
    bool top = x->depth == 0, from_start = top && take(x, '^');
    const char *e = top && !from_start && !x->plain ? schema_text(x->s, "%s*", schema_shared(x->s, SH_CHAR)) : "";
    while (!branch_ends(x)) {
        const char *one = atom(x);
        e = schema_text(x->s, "%s%s%s", e, *e ? " " : "", repeated(x, one));
    }
    if (top && !take(x, '$') && !x->plain) e = schema_text(x->s, "%s%s%s*", e, *e ? " " : "", schema_shared(x->s, SH_CHAR));
    return e;
}

static const char *alternatives(regex *x) {
    const char *e = branch(x);
    while (take(x, '|')) e = schema_text(x->s, "%s | %s", e, branch(x));
    return e;
}

const char *schema_pattern(schema *s, str text, bool plain) {
    regex x = {.s = s, .text = text, .plain = plain};
    return alternatives(&x);
}
