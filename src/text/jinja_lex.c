// jinja_lex.c - source text to tokens, with Jinja's white space rules (trim_blocks and lstrip_blocks on).
#include "text/jinja_int.h"

enum { MODE_DATA, MODE_VAR, MODE_BLOCK };

// Line ends become \n and one at the end of the template goes, as keep_trailing_newline=False does.
void lex_init(jrt *r, jlex *lx, str source) {
    char *p = arena_alloc(&r->mem, source.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < source.n; i++) {
        if (source.p[i] == '\r') {
            if (i + 1 < source.n && source.p[i + 1] == '\n') i++;
            p[n++] = '\n';
        } else {
            p[n++] = source.p[i];
        }
    }
    if (n > 0 && p[n - 1] == '\n') n--;
    *lx = (jlex){.p = p, .n = n, .line = 1, .line_start = true};
}

static void advance(jlex *lx, size_t to) {
    for (size_t i = lx->pos; i < to; i++) lx->line += lx->p[i] == '\n';
    lx->pos = to;
}

static bool at(const jlex *lx, size_t pos, const char *s) {
    size_t n = strlen(s);
    return lx->n - pos >= n && memcmp(lx->p + pos, s, n) == 0;
}

// Ends a tag at `pos` (its closing brace included): eats what the sign or trim_blocks asks for.
static void close_tag(jlex *lx, size_t pos, bool strip, bool trim) {
    size_t to = pos;
    if (strip) to += text_lspace(lx->p + pos, lx->n - pos);
    else if (trim && to < lx->n && lx->p[to] == '\n') to++;
    lx->line_start = lx->p[to - 1] == '\n';
    advance(lx, to);
}

// The data before a tag that begins at `end` with `sign`; `variable` tags are not subject to lstrip_blocks.
static str data_before(const jlex *lx, size_t end, char sign, bool variable) {
    const char *p = lx->p + lx->pos;
    size_t n = end - lx->pos;
    if (sign == '-') return (str){p, text_rtrim(p, n)};
    if (sign == '+' || variable) return (str){p, n};
    size_t line = n;
    while (line > 0 && p[line - 1] != '\n') line--;
    if ((line > 0 || lx->line_start) && text_lspace(p + line, n - line) == n - line) n = line;
    return (str){p, n};
}

static size_t find_tag(const jlex *lx) {
    for (size_t i = lx->pos; i + 1 < lx->n; i++) {
        const char *hit = memchr(lx->p + i, '{', lx->n - 1 - i);
        if (!hit) break;
        i = (size_t)(hit - lx->p);
        if (hit[1] == '{' || hit[1] == '%' || hit[1] == '#') return i;
    }
    return lx->n;
}

static size_t skip_space(const jlex *lx, size_t pos) { return pos + text_lspace(lx->p + pos, lx->n - pos); }

// Whether `{% word %}` stands at `pos`; gives the position after it and its closing sign.
static bool word_tag(const jlex *lx, size_t pos, const char *word, bool plus_end, size_t *end, bool *strip) {
    size_t i = pos + 2;
    if (i < lx->n && (lx->p[i] == '-' || lx->p[i] == '+')) i++;
    i = skip_space(lx, i);
    if (!at(lx, i, word)) return false;
    i = skip_space(lx, i + strlen(word));
    *strip = at(lx, i, "-%}");
    if (*strip || (plus_end && at(lx, i, "+%}"))) i++;
    if (!at(lx, i, "%}")) return false;
    *end = i + 2;
    return true;
}

static char sign_at(const jlex *lx, size_t pos) {
    return pos < lx->n && (lx->p[pos] == '-' || lx->p[pos] == '+') ? lx->p[pos] : 0;
}

static jtok raw_block(jrt *r, jlex *lx) {
    size_t end;
    bool strip;
    for (size_t i = lx->pos; i + 1 < lx->n; i++) {
        if (!at(lx, i, "{%") || !word_tag(lx, i, "endraw", true, &end, &strip)) continue;
        jtok t = {.type = T_DATA, .line = lx->line, .text = data_before(lx, i, sign_at(lx, i + 2), false)};
        close_tag(lx, end, strip, lx->p[end - 3] != '+');
        return t;
    }
    r->line = lx->line;
    jinja_fail(r, TL_E_FORMAT, "missing end of raw directive");
}

static void comment(jrt *r, jlex *lx, size_t begin) {
    r->line = lx->line;
    advance(lx, begin + 2);
    if (sign_at(lx, lx->pos)) advance(lx, lx->pos + 1);
    size_t i = lx->pos;
    while (i + 1 < lx->n && !at(lx, i, "#}")) i++;
    if (i + 1 >= lx->n) jinja_fail(r, TL_E_FORMAT, "missing end of comment tag");
    char sign = i > lx->pos ? lx->p[i - 1] : 0;
    close_tag(lx, i + 2, sign == '-', sign != '+');
}

static jtok lex_data(jrt *r, jlex *lx) {
    for (;;) {
        if (lx->pos >= lx->n) return (jtok){.type = T_EOF, .line = lx->line};
        size_t start = find_tag(lx), end;
        bool strip;
        if (start >= lx->n) {
            jtok t = {.type = T_DATA, .line = lx->line, .text = {lx->p + lx->pos, lx->n - lx->pos}};
            advance(lx, lx->n);
            return t;
        }
        char open = lx->p[start + 1], sign = sign_at(lx, start + 2);
        jtok t = {.type = T_DATA, .line = lx->line, .text = data_before(lx, start, sign, open == '{')};
        if (start > lx->pos) { // the data first; the tag is found again, its sign does nothing to an empty text
            lx->line_start = false;
            advance(lx, start);
            if (t.text.n > 0) return t;
        }
        if (open == '#') {
            comment(r, lx, start);
        } else if (open == '%' && word_tag(lx, start, "raw", false, &end, &strip)) {
            close_tag(lx, end, strip, false);
            return raw_block(r, lx);
        } else {
            t = (jtok){.type = open == '{' ? T_VAR_BEGIN : T_BLOCK_BEGIN, .line = lx->line};
            lx->mode = open == '{' ? MODE_VAR : MODE_BLOCK;
            lx->balance = 0;
            advance(lx, start + 2 + (sign != 0));
            return t;
        }
    }
}

static int hex_value(jrt *r, const char *p, size_t n, size_t digits, int32_t *cp) {
    int32_t v = 0;
    if (n < digits) jinja_fail(r, TL_E_FORMAT, "truncated escape in string");
    for (size_t i = 0; i < digits; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0 || v > 0x10ffff) jinja_fail(r, TL_E_FORMAT, "bad escape in string");
        v = v * 16 + d;
    }
    *cp = v;
    return (int)digits;
}

// \uD83D\uDE00 is one code point; a lone surrogate has no UTF-8.
static size_t unicode_escape(jrt *r, const char *p, size_t n, size_t digits, int32_t *cp) {
    size_t used = (size_t)hex_value(r, p, n, digits, cp);
    if (*cp >= 0xd800 && *cp < 0xdc00 && n >= used + 6 && p[used] == '\\' && p[used + 1] == 'u') {
        int32_t low;
        hex_value(r, p + used + 2, n - used - 2, 4, &low);
        if (low >= 0xdc00 && low < 0xe000) {
            *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
            used += 6;
        }
    }
    if (*cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000)) jinja_fail(r, TL_E_FORMAT, "escape is no character");
    return used;
}

// Python's unicode-escape over the text between the quotes.
static jv unescape(jrt *r, const char *p, size_t n) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char *out = arena_alloc(&r->mem, n + 1);
    size_t o = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\\' || i + 1 >= n) {
            out[o++] = p[i];
            continue;
        }
        char c = p[++i];
        const char *simple = c ? strchr(from, c) : NULL;
        int32_t cp = -1;
        if (c == '\n') continue;
        if (simple) {
            out[o++] = to[simple - from];
            continue;
        }
        if (c >= '0' && c <= '7') {
            cp = 0;
            for (int k = 0; k < 3 && i < n && p[i] >= '0' && p[i] <= '7'; k++) cp = cp * 8 + (p[i++] - '0');
            i--;
        } else if (c == 'x' || c == 'u' || c == 'U') {
            size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
            i += unicode_escape(r, p + i + 1, n - i - 1, digits, &cp);
        } else if (c == 'N') {
            jinja_fail(r, TL_E_FORMAT, "\\N escapes are not supported");
        }
        if (cp >= 0) {
            o += utf8_put(out + o, cp); // never longer than its escape
        } else {
            out[o++] = '\\';
            out[o++] = c;
        }
    }
    jstr *s = jstr_wrap(r, out, o);
    jstr_chars(s); // counted now: the compiled template is shared by threads
    return jv_of_str(s);
}

static jtok lex_string(jrt *r, jlex *lx) {
    char quote = lx->p[lx->pos];
    size_t i = lx->pos + 1;
    while (i < lx->n && lx->p[i] != quote) i += lx->p[i] == '\\' ? 2 : 1;
    if (i >= lx->n) jinja_fail(r, TL_E_FORMAT, "unterminated string");
    jtok t = {.type = T_STRING, .line = lx->line};
    t.value = unescape(r, lx->p + lx->pos + 1, i - lx->pos - 1);
    advance(lx, i + 1);
    return t;
}

static size_t digits_at(const jlex *lx, size_t i) { // digits with single underscores between
    size_t from = i;
    while (i < lx->n && ((lx->p[i] >= '0' && lx->p[i] <= '9') ||
                         (lx->p[i] == '_' && i > from && lx->p[i - 1] != '_' && i + 1 < lx->n && lx->p[i + 1] >= '0' &&
                          lx->p[i + 1] <= '9')))
        i++;
    return i - from;
}

static jtok lex_number(jrt *r, jlex *lx) {
    char buf[64];
    size_t from = lx->pos, i = from + digits_at(lx, from), m = 0;
    bool real = false;
    if (i + 1 < lx->n && lx->p[i] == '.' && digits_at(lx, i + 1) && !(from > 0 && lx->p[from - 1] == '.')) {
        real = true;
        i += 1 + digits_at(lx, i + 1);
    }
    if (i < lx->n && (lx->p[i] | 32) == 'e') {
        size_t e = i + 1 + (i + 1 < lx->n && (lx->p[i + 1] == '+' || lx->p[i + 1] == '-'));
        if (e < lx->n && digits_at(lx, e)) {
            real = true;
            i = e + digits_at(lx, e);
        }
    }
    int base = 10;
    if (!real && i == from + 1 && lx->p[from] == '0' && i < lx->n && strchr("xXoObB", lx->p[i])) {
        base = (lx->p[i] | 32) == 'x' ? 16 : (lx->p[i] | 32) == 'o' ? 8 : 2;
        from = ++i;
        while (i < lx->n &&
               ((lx->p[i] >= '0' && lx->p[i] <= '9') || ((lx->p[i] | 32) >= 'a' && (lx->p[i] | 32) <= 'f')))
            i++;
    }
    for (size_t k = from; k < i; k++) {
        if (lx->p[k] == '_') continue;
        if (m + 1 >= sizeof buf) jinja_fail(r, TL_E_LIMIT, "number is too long");
        buf[m++] = lx->p[k];
    }
    buf[m] = 0;
    jtok t = {.type = real ? T_FLOAT : T_INT, .line = lx->line};
    char *end = buf;
    if (real) {
        t.value = jv_float(strtod(buf, &end));
    } else {
        unsigned long long v = strtoull(buf, &end, base);
        if (m > 19 || v > INT64_MAX) {
            if (base == 10 || m > 16 || v > INT64_MAX) jinja_fail(r, TL_E_LIMIT, "integer is too large");
        }
        t.value = jv_int((int64_t)v);
    }
    if (m == 0 || *end) jinja_fail(r, TL_E_FORMAT, "bad number");
    advance(lx, i);
    return t;
}

static jtok lex_operator(jrt *r, jlex *lx) {
    static const struct {
        const char *text;
        int op;
    } two[] = {{"**", OP_POW}, {"//", OP_FLOORDIV}, {"==", OP_EQ}, {"!=", OP_NE}, {"<=", OP_LE}, {">=", OP_GE}};
    jtok t = {.type = T_OP, .line = lx->line};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) {
        if (!at(lx, lx->pos, two[i].text)) continue;
        t.op = two[i].op;
        lx->pos += 2;
        return t;
    }
    char c = lx->p[lx->pos];
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c)) {
        char esc[16];
        str one = {lx->p + lx->pos, 1};
        jinja_fail(r, TL_E_FORMAT, "unexpected character '%s'", str_escape(esc, sizeof esc, one));
    }
    if (c == '(' || c == '[' || c == '{') lx->balance++;
    if (c == ')' || c == ']' || c == '}') {
        if (lx->balance-- == 0) jinja_fail(r, TL_E_FORMAT, "unexpected '%c'", c);
    }
    lx->pos++;
    t.op = c;
    return t;
}

static bool name_char(char c, bool first) {
    return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (signed char)c < 0 ||
           (!first && c >= '0' && c <= '9');
}

static bool lex_tag_end(jlex *lx, jtok *t) {
    if (lx->balance > 0) return false;
    size_t i = lx->pos;
    bool var = lx->mode == MODE_VAR;
    char sign = lx->p[i] == '-' || (!var && lx->p[i] == '+') ? lx->p[i] : 0;
    if (sign) i++;
    if (!at(lx, i, var ? "}}" : "%}")) return false;
    *t = (jtok){.type = var ? T_VAR_END : T_BLOCK_END, .line = lx->line};
    lx->mode = MODE_DATA;
    close_tag(lx, i + 2, sign == '-', !var && sign != '+');
    return true;
}

jtok lex_next(jrt *r, jlex *lx) {
    jinja_step(r, 1);
    if (lx->mode == MODE_DATA) return lex_data(r, lx);
    r->line = lx->line;
    advance(lx, skip_space(lx, lx->pos));
    if (lx->pos >= lx->n) jinja_fail(r, TL_E_FORMAT, "unexpected end of template inside a tag");
    r->line = lx->line;
    jtok t;
    if (lex_tag_end(lx, &t)) return t;
    char c = lx->p[lx->pos];
    if (c == '"' || c == '\'') return lex_string(r, lx);
    if (c >= '0' && c <= '9') return lex_number(r, lx);
    if (name_char(c, true)) {
        size_t i = lx->pos;
        while (i < lx->n && name_char(lx->p[i], false)) i++;
        t = (jtok){.type = T_NAME, .line = lx->line, .text = {lx->p + lx->pos, i - lx->pos}};
        lx->pos = i;
        return t;
    }
    return lex_operator(r, lx);
}
