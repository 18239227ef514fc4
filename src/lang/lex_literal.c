// lex_literal.c - the values of number tokens and of escape sequences.
#include "lang/lex.h"
#include <locale.h>
#include <math.h>

static int digit_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 99;
}

bool literal_int(str text, bool negated, int64_t *out) {
    uint64_t base = 10, v = 0;
    size_t i = 0;
    if (text.n > 2 && text.p[0] == '0' && (text.p[1] == 'x' || text.p[1] == 'X')) base = 16, i = 2;
    if (text.n > 2 && text.p[0] == '0' && (text.p[1] == 'b' || text.p[1] == 'B')) base = 2, i = 2;
    for (; i < text.n; i++) {
        if (text.p[i] == '_') continue;
        if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, (uint64_t)digit_value(text.p[i]), &v)) return false;
    }
    const uint64_t limit = (uint64_t)INT64_MAX + (negated ? 1 : 0);
    if (v > limit) return false;
    *out = !negated ? (int64_t)v : v == limit ? INT64_MIN : -(int64_t)v;
    return true;
}

bool literal_float(arena *a, str text, double *out) {
    char *buf = arena_alloc(a, text.n + 1);
    const char *point = localeconv()->decimal_point; // strtod follows the process's locale; our text does not
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '_') continue;
        buf[n++] = text.p[i] == '.' ? *point : text.p[i];
    }
    *out = strtod(buf, NULL);
    return isfinite(*out);
}

static const char *escape_unicode(str text, size_t *at, char *out, size_t *out_n) {
    size_t i = *at + 2;
    if (i >= text.n || text.p[i] != '{') return "\\u needs a code point in braces, as in \\u{e9}";
    uint32_t cp = 0;
    int digits = 0;
    for (i++; i < text.n && digit_value(text.p[i]) < 16 && digits < 7; i++, digits++)
        cp = cp << 4 | (uint32_t)digit_value(text.p[i]);
    if (i >= text.n || text.p[i] != '}' || digits == 0 || digits > 6) return "\\u{...} takes 1 to 6 hexadecimal digits";
    int len = lex_utf8_put(cp, out);
    if (len == 0) return "this is no Unicode character (a surrogate, or above \\u{10ffff})";
    *out_n = (size_t)len;
    *at = i + 1;
    return NULL;
}

const char *literal_escape(str text, size_t *at, char *out, size_t *out_n) {
    static const char from[] = "ntr\\\"'{}0", to[] = "\n\t\r\\\"'{}";
    char c = *at + 1 < text.n ? text.p[*at + 1] : '\n';
    *out_n = 1;
    if (c == 'u') return escape_unicode(text, at, out, out_n);
    if (c == 'x') {
        int hi = *at + 2 < text.n ? digit_value(text.p[*at + 2]) : 99, lo = *at + 3 < text.n ? digit_value(text.p[*at + 3]) : 99;
        if (hi > 15 || lo > 15) return "\\x takes two hexadecimal digits, as in \\x0a";
        out[0] = (char)(hi << 4 | lo);
        *at += 4;
        return NULL;
    }
    const char *hit = memchr(from, c, sizeof from - 1);
    if (hit == NULL) return "unknown escape; known are \\n \\t \\r \\0 \\\\ \\\" \\' \\{ \\} \\xNN \\u{...}";
    out[0] = to[hit - from];
    if (c == '{' || c == '}') out[1] = c, *out_n = 2; // a brace that is text is doubled, as in the source
    *at += 2;
    return NULL;
}
