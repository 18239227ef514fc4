// grammar_parse.c - GBNF text to the automaton of grammar_int.h.
#include "text/grammar_int.h"

enum { MAX_TEXT = 4 << 20, MAX_ELEMS = 2 << 20, MAX_DEPTH = 200, MAX_REPEAT = 100000, UNBOUNDED = INT32_MAX };
#define ARG 0x3fffffffu // what fits in g_elem.arg; MAX_ELEMS keeps every number below it

typedef VEC(g_elem) elems;
typedef VEC(uint32_t) alts;
typedef struct range {
    uint32_t lo, hi;
} range;
typedef VEC(range) ranges;

typedef struct parser {
    grammar *g;
    str text;
    size_t pos;
    int depth;
    map ids;        // name -> rule
    VEC(str) names; // by rule; empty for those without
    VEC(size_t) uses; // by rule: where it was first named
    tl_error *err;
} parser;

// ---- errors and characters -----------------------------------------------------------------------
static tl_status fail_at(parser *p, size_t pos, tl_status code, const char *what) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < pos && i < p->text.n; i++) {
        column++;
        if (p->text.p[i] == '\n') line++, column = 1;
    }
    return err_at(p->err, code, (int64_t)pos, "grammar, line %zu, column %zu: %s", line, column, what);
}
static tl_status fail(parser *p, const char *what) { return fail_at(p, p->pos, TL_E_FORMAT, what); }
static tl_status no_memory(parser *p) { return err_set(p->err, TL_E_MEMORY, "out of memory"); }

static int peek(const parser *p) { return p->pos < p->text.n ? (unsigned char)p->text.p[p->pos] : -1; }
static bool take(parser *p, int c) { return peek(p) == c ? (p->pos++, true) : false; }

static void skip_space(parser *p, bool newlines) {
    for (int c; (c = peek(p)) >= 0; p->pos++) {
        if (c == '#') {
            while (peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r') p->pos++;
            p->pos--;
        } else if (c != ' ' && c != '\t' && !(newlines && (c == '\n' || c == '\r'))) {
            return;
        }
    }
}

static bool word_char(int c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static str take_word(parser *p) {
    size_t from = p->pos;
    while (word_char(peek(p))) p->pos++;
    return (str){p->text.p + from, p->pos - from};
}

// ---- building ------------------------------------------------------------------------------------
static tl_status push(parser *p, elems *seq, g_elem e) {
    if (seq->n + p->g->elems.n > MAX_ELEMS)
        return fail_at(p, p->pos, TL_E_LIMIT, "the grammar is too large once its repetitions are written out");
    return vec_push(seq, e) ? TL_OK : no_memory(p);
}

static tl_status new_rule(parser *p, str name, uint32_t *id) {
    *id = (uint32_t)p->g->rules.n;
    if (!vec_push(&p->g->rules, ((g_rule){0, 0})) || !vec_push(&p->names, name) || !vec_push(&p->uses, p->pos))
        return no_memory(p);
    return TL_OK;
}

// Ends one alternative: seq's elements, then G_END.
static tl_status add_alt(parser *p, alts *a, const g_elem *e, size_t n) {
    grammar *g = p->g;
    if (g->elems.n + n > MAX_ELEMS)
        return fail_at(p, p->pos, TL_E_LIMIT, "the grammar is too large once its repetitions are written out");
    if (!vec_push(a, (uint32_t)g->elems.n)) return no_memory(p);
    for (size_t i = 0; i < n; i++)
        if (!vec_push(&g->elems, e[i])) return no_memory(p);
    return vec_push(&g->elems, ((g_elem){G_END, 0})) ? TL_OK : no_memory(p);
}

static tl_status define(parser *p, uint32_t id, const alts *a) {
    grammar *g = p->g;
    g->rules.p[id] = (g_rule){(uint32_t)g->alts.n, (uint32_t)a->n};
    for (size_t i = 0; i < a->n; i++)
        if (!vec_push(&g->alts, a->p[i])) return no_memory(p);
    return TL_OK;
}

// rule ::= u rest | (nothing), where rest may be the rule itself or absent.
static tl_status optional_rule(parser *p, g_elem u, const uint32_t *rest, bool recursive, uint32_t *id) {
    TL_TRY(new_rule(p, (str){0}, id));
    g_elem e[2] = {u, {G_REF, (recursive ? *id : rest ? *rest : 0) & ARG}};
    alts a = {0};
    tl_status s = add_alt(p, &a, e, recursive || rest ? 2 : 1);
    if (s == TL_OK) s = add_alt(p, &a, NULL, 0);
    if (s == TL_OK) s = define(p, *id, &a);
    vec_free(&a);
    return s;
}

// Replaces seq[from ..] by that unit repeated.
static tl_status repeat(parser *p, elems *seq, size_t from, int32_t min, int32_t max) {
    uint32_t id = 0;
    g_elem u = seq->n > from ? seq->p[from] : (g_elem){0};
    if (seq->n - from != 1) { // "abc"* or ""*: a rule for the unit
        alts a = {0};
        TL_TRY(new_rule(p, (str){0}, &id));
        tl_status s = add_alt(p, &a, seq->p + from, seq->n - from);
        if (s == TL_OK) s = define(p, id, &a);
        vec_free(&a);
        TL_TRY(s);
        u = (g_elem){G_REF, id & ARG};
    }
    seq->n = from;
    for (int32_t i = 0; i < min; i++) TL_TRY(push(p, seq, u));
    if (max == UNBOUNDED) {
        TL_TRY(optional_rule(p, u, NULL, true, &id));
        return push(p, seq, (g_elem){G_REF, id & ARG});
    }
    for (int32_t i = min; i < max; i++) {
        uint32_t rest = id;
        TL_TRY(optional_rule(p, u, i > min ? &rest : NULL, false, &id));
    }
    return max > min ? push(p, seq, (g_elem){G_REF, id & ARG}) : TL_OK;
}

static tl_status push_set(parser *p, elems *seq, const g_set *s) {
    grammar *g = p->g;
    for (size_t i = g->sets.n; i-- > 0 && g->sets.n - i < 64;)
        if (memcmp(&g->sets.p[i], s, sizeof *s) == 0) return push(p, seq, (g_elem){G_SET, (uint32_t)i & ARG});
    if (!vec_push(&g->sets, *s)) return no_memory(p);
    return push(p, seq, (g_elem){G_SET, (uint32_t)(g->sets.n - 1) & ARG});
}

static size_t utf8(uint32_t c, unsigned char out[4]) {
    if (c < 0x80) return out[0] = (unsigned char)c, 1;
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (unsigned char)(0x80 | (c & 0x3f));
    out[0] = (unsigned char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

// Alternatives for the UTF-8 of lo..hi, which are of one length.
static tl_status add_utf8(parser *p, alts *a, uint32_t lo, uint32_t hi) {
    unsigned char from[4], to[4];
    size_t n = utf8(lo, from);
    for (size_t i = 1; i < n; i++) { // split until every trailing byte is a full range or a prefix is shared
        uint32_t m = ((uint32_t)1 << (6 * i)) - 1;
        if ((lo & ~m) == (hi & ~m)) continue;
        if (!(lo & m) && (hi & m) == m) continue;
        uint32_t mid = lo & m ? lo | m : (hi & ~m) - 1;
        TL_TRY(add_utf8(p, a, lo, mid));
        return add_utf8(p, a, mid + 1, hi);
    }
    utf8(hi, to);
    elems seq = {0};
    tl_status s = TL_OK;
    for (size_t i = 0; i < n && s == TL_OK; i++) {
        g_set set = {{0}};
        set_add(&set, from[i], to[i]);
        s = push_set(p, &seq, &set);
    }
    if (s == TL_OK) s = add_alt(p, a, seq.p, seq.n);
    vec_free(&seq);
    return s;
}

static tl_status add_range(parser *p, alts *a, uint32_t lo, uint32_t hi) {
    static const range parts[] = {{0x80, 0x7ff}, {0x800, 0xd7ff}, {0xe000, 0xffff}, {0x10000, 0x10ffff}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        uint32_t from = lo > parts[i].lo ? lo : parts[i].lo, to = hi < parts[i].hi ? hi : parts[i].hi;
        if (from <= to) TL_TRY(add_utf8(p, a, from, to));
    }
    return TL_OK;
}

static int by_lo(const void *a, const void *b) {
    const range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static bool normalize(ranges *r, bool negate) { // sorted, joined; false: out of memory
    if (r->n) qsort(r->p, r->n, sizeof *r->p, by_lo);
    size_t m = 0;
    for (size_t i = 0; i < r->n; i++) {
        if (m > 0 && r->p[i].lo <= r->p[m - 1].hi + 1) {
            if (r->p[i].hi > r->p[m - 1].hi) r->p[m - 1].hi = r->p[i].hi;
        } else {
            r->p[m++] = r->p[i];
        }
    }
    r->n = m;
    if (!negate) return true;
    uint32_t next = 0;
    size_t k = 0;
    if (!vec_reserve(r, m + 1)) return false;
    for (size_t i = 0; i < m; i++) { // gaps never outnumber what has been read
        range in = r->p[i];
        if (in.lo > next) r->p[k++] = (range){next, in.lo - 1};
        next = in.hi + 1;
    }
    if (next <= 0x10ffff) r->p[k++] = (range){next, 0x10ffff};
    r->n = k;
    return true;
}

// One character out of a set: a byte set where ASCII is enough, else a rule.
static tl_status push_class(parser *p, elems *seq, ranges *r, bool negate) {
    if (!normalize(r, negate)) return no_memory(p);
    g_set ascii = {{0}};
    bool any = false, wide = false;
    for (size_t i = 0; i < r->n; i++) {
        if (r->p[i].lo < 0x80) set_add(&ascii, r->p[i].lo, r->p[i].hi < 0x7f ? r->p[i].hi : 0x7f), any = true;
        wide |= r->p[i].hi >= 0x80;
    }
    if (!wide) return push_set(p, seq, &ascii);
    alts a = {0};
    elems one = {0};
    uint32_t id;
    tl_status s = new_rule(p, (str){0}, &id);
    if (s == TL_OK && any) s = push_set(p, &one, &ascii);
    if (s == TL_OK && any) s = add_alt(p, &a, one.p, one.n);
    for (size_t i = 0; i < r->n && s == TL_OK; i++)
        if (r->p[i].hi >= 0x80) s = add_range(p, &a, r->p[i].lo, r->p[i].hi);
    if (s == TL_OK) s = define(p, id, &a);
    vec_free(&a);
    vec_free(&one);
    return s == TL_OK ? push(p, seq, (g_elem){G_REF, id & ARG}) : s;
}

// ---- reading -------------------------------------------------------------------------------------
static tl_status take_hex(parser *p, int digits, uint32_t *c) {
    *c = 0;
    for (int i = 0; i < digits; i++, p->pos++) {
        int h = peek(p);
        int d = h >= '0' && h <= '9' ? h - '0' : (h | 32) >= 'a' && (h | 32) <= 'f' ? (h | 32) - 'a' + 10 : -1;
        if (d < 0) return fail(p, "a hexadecimal digit is missing");
        *c = *c * 16 + (uint32_t)d;
    }
    return *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000) ? fail(p, "the escape is no character") : TL_OK;
}

static tl_status take_char(parser *p, uint32_t *c) { // one character, escapes read
    static const char from[] = "tnr\\\"[]-^", to[] = "\t\n\r\\\"[]-^";
    if (peek(p) < 0) return fail(p, "unexpected end of the grammar");
    if (take(p, '\\')) {
        int e = peek(p);
        const char *simple = e > 0 ? strchr(from, e) : NULL;
        if (simple) return p->pos++, *c = (unsigned char)to[simple - from], TL_OK;
        if (e == 'x' || e == 'u' || e == 'U') return p->pos++, take_hex(p, e == 'x' ? 2 : e == 'u' ? 4 : 8, c);
        return fail(p, "unknown escape");
    }
    unsigned char b = (unsigned char)p->text.p[p->pos];
    size_t n = b < 0x80 ? 1 : b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2;
    if (b >= 0x80 && (b < 0xc2 || b > 0xf4)) return fail(p, "the grammar is not valid UTF-8");
    *c = n == 1 ? b : b & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p->pos + i >= p->text.n || ((unsigned char)p->text.p[p->pos + i] & 0xc0) != 0x80)
            return fail(p, "the grammar is not valid UTF-8");
        *c = *c << 6 | ((unsigned char)p->text.p[p->pos + i] & 0x3f);
    }
    if (*c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000)) return fail(p, "the grammar is not valid UTF-8");
    p->pos += n;
    return TL_OK;
}

static tl_status literal(parser *p, elems *seq) { // after the opening quote
    size_t start = p->pos - 1;
    while (!take(p, '"')) {
        uint32_t c;
        unsigned char b[4];
        if (peek(p) < 0) return fail_at(p, start, TL_E_FORMAT, "the string has no end");
        TL_TRY(take_char(p, &c));
        for (size_t i = 0, n = utf8(c, b); i < n; i++) {
            g_set s = {{0}};
            set_add(&s, b[i], b[i]);
            TL_TRY(push_set(p, seq, &s));
        }
    }
    return TL_OK;
}

static tl_status read_class(parser *p, ranges *r) {
    size_t start = p->pos - 1;
    while (!take(p, ']')) {
        range x;
        if (peek(p) < 0) return fail_at(p, start, TL_E_FORMAT, "the character class has no end");
        TL_TRY(take_char(p, &x.lo));
        x.hi = x.lo;
        if (peek(p) == '-' && p->pos + 1 < p->text.n && p->text.p[p->pos + 1] != ']') {
            p->pos++;
            TL_TRY(take_char(p, &x.hi));
        }
        if (x.hi < x.lo) return fail(p, "the range of characters is upside down");
        if (!vec_push(r, x)) return no_memory(p);
    }
    return TL_OK;
}

static tl_status char_class(parser *p, elems *seq) { // after the '['
    ranges r = {0};
    bool negate = take(p, '^');
    tl_status s = read_class(p, &r);
    if (s == TL_OK) s = push_class(p, seq, &r, negate);
    vec_free(&r);
    return s;
}

static tl_status any_char(parser *p, elems *seq) {
    ranges none = {0};
    tl_status s = push_class(p, seq, &none, true);
    vec_free(&none);
    return s;
}

static tl_status rule_id(parser *p, str name, uint32_t *id) {
    int64_t *old = map_get(&p->ids, name);
    if (old) return *id = (uint32_t)*old, TL_OK;
    TL_TRY(new_rule(p, name, id));
    p->uses.p[*id] = (size_t)(name.p - p->text.p);
    return map_put(&p->ids, name, *id) ? TL_OK : no_memory(p);
}

static tl_status alternatives(parser *p, bool nested, uint32_t id);

static tl_status group(parser *p, elems *seq) { // after the '('
    uint32_t id;
    size_t start = p->pos - 1;
    TL_TRY(new_rule(p, (str){0}, &id));
    skip_space(p, true);
    TL_TRY(alternatives(p, true, id));
    if (!take(p, ')')) return fail_at(p, peek(p) < 0 ? start : p->pos, TL_E_FORMAT, "expected ')'");
    return push(p, seq, (g_elem){G_REF, id & ARG});
}

static tl_status take_count(parser *p, int32_t *v) {
    if (peek(p) < '0' || peek(p) > '9') return fail(p, "expected a number of repetitions");
    for (*v = 0; peek(p) >= '0' && peek(p) <= '9'; p->pos++) {
        *v = *v * 10 + (peek(p) - '0');
        if (*v > MAX_REPEAT) return fail_at(p, p->pos, TL_E_LIMIT, "more than 100000 repetitions");
    }
    return TL_OK;
}

static tl_status braces(parser *p, elems *seq, size_t from) { // after the '{'
    int32_t min = 0, max;
    skip_space(p, false);
    if (peek(p) != ',') TL_TRY(take_count(p, &min));
    max = min;
    skip_space(p, false);
    if (take(p, ',')) {
        skip_space(p, false);
        max = UNBOUNDED;
        if (peek(p) != '}') TL_TRY(take_count(p, &max));
        skip_space(p, false);
    }
    if (!take(p, '}')) return fail(p, "expected '}'");
    if (max < min) return fail(p, "the most repetitions are fewer than the least");
    return repeat(p, seq, from, min, max);
}

static tl_status postfix(parser *p, elems *seq, size_t from) {
    if (take(p, '*')) return repeat(p, seq, from, 0, UNBOUNDED);
    if (take(p, '+')) return repeat(p, seq, from, 1, UNBOUNDED);
    if (take(p, '?')) return repeat(p, seq, from, 0, 1);
    return take(p, '{') ? braces(p, seq, from) : TL_OK;
}

static tl_status symbol(parser *p, elems *seq, bool *more) {
    *more = true;
    if (take(p, '"')) return literal(p, seq);
    if (take(p, '[')) return char_class(p, seq);
    if (take(p, '.')) return any_char(p, seq);
    if (take(p, '(')) return group(p, seq);
    if (peek(p) == '<' || peek(p) == '!')
        return fail_at(p, p->pos, TL_E_UNSUPPORTED, "token references are not supported, write the token's text");
    *more = word_char(peek(p));
    if (!*more) return TL_OK;
    uint32_t id;
    TL_TRY(rule_id(p, take_word(p), &id));
    return push(p, seq, (g_elem){G_REF, id & ARG});
}

static tl_status sequence(parser *p, elems *seq, bool nested) {
    for (;;) {
        size_t from = seq->n;
        bool more;
        TL_TRY(symbol(p, seq, &more));
        if (!more) {
            if (peek(p) >= 0 && strchr("*+?{", peek(p))) return fail(p, "there is nothing before this to repeat");
            return TL_OK;
        }
        for (skip_space(p, nested); peek(p) > 0 && strchr("*+?{", peek(p)); skip_space(p, nested)) {
            TL_TRY(postfix(p, seq, from));
        }
    }
}

static tl_status alternatives(parser *p, bool nested, uint32_t id) {
    if (++p->depth > MAX_DEPTH) return fail_at(p, p->pos, TL_E_LIMIT, "parentheses are nested too deeply");
    alts a = {0};
    elems seq = {0};
    tl_status s;
    do {
        seq.n = 0;
        skip_space(p, a.n > 0 || nested);
        s = sequence(p, &seq, nested);
        if (s == TL_OK) s = add_alt(p, &a, seq.p, seq.n);
    } while (s == TL_OK && take(p, '|'));
    if (s == TL_OK) s = define(p, id, &a);
    vec_free(&a);
    vec_free(&seq);
    p->depth--;
    return s;
}

static tl_status rule(parser *p) {
    size_t start = p->pos;
    uint32_t id;
    str name = take_word(p);
    if (name.n == 0) return fail(p, "expected a rule's name");
    TL_TRY(rule_id(p, name, &id));
    skip_space(p, false);
    if (p->text.n - p->pos < 3 || memcmp(p->text.p + p->pos, "::=", 3) != 0) return fail(p, "expected '::='");
    p->pos += 3;
    if (p->g->rules.p[id].n > 0) return fail_at(p, start, TL_E_FORMAT, "the rule is defined twice");
    skip_space(p, true);
    TL_TRY(alternatives(p, false, id));
    if (peek(p) >= 0 && peek(p) != '\n' && peek(p) != '\r') return fail(p, "unexpected character");
    skip_space(p, true);
    return TL_OK;
}

static tl_status finish(parser *p, const char *root) {
    char esc[80], what[160];
    for (size_t i = 0; i < p->g->rules.n; i++) {
        if (p->g->rules.p[i].n > 0) continue;
        snprintf(what, sizeof what, "the rule '%s' is not defined", str_escape(esc, sizeof esc, p->names.p[i]));
        return fail_at(p, p->uses.p[i], TL_E_FORMAT, what);
    }
    int64_t *id = map_get(&p->ids, str_of(root));
    if (!id)
        return err_set(p->err, TL_E_FORMAT, "the grammar has no rule '%s' to start with",
                       str_escape(esc, sizeof esc, str_of(root)));
    p->g->root = (uint32_t)*id;
    TL_TRY(grammar_check(p->g, p->names.p, p->err));
    return grammar_measure(p->g, p->err);
}

tl_status grammar_parse(str gbnf, const char *root, grammar **out, tl_error *err) {
    *out = NULL;
    if (gbnf.n > MAX_TEXT) return err_set(err, TL_E_LIMIT, "the grammar is longer than %d bytes", MAX_TEXT);
    tl_error own;
    parser p = {.g = mem_calloc(1, sizeof(grammar)), .text = gbnf, .err = err ? err : &own};
    if (!p.g) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status s = TL_OK;
    for (skip_space(&p, true); s == TL_OK && peek(&p) >= 0;) s = rule(&p);
    if (s == TL_OK) s = finish(&p, root);
    map_free(&p.ids);
    vec_free(&p.names);
    vec_free(&p.uses);
    if (s == TL_OK) *out = p.g;
    else grammar_free(p.g);
    return s;
}

void grammar_free(grammar *g) {
    if (!g) return;
    vec_free(&g->elems);
    vec_free(&g->alts);
    vec_free(&g->rules);
    vec_free(&g->sets);
    mem_free(g->least);
    mem_free(g);
}
