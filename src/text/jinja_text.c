// jinja_text.c - Unicode and the operations on strings that filters and methods share. All keep track of taint.
#include "text/jinja_int.h"

#include <utf8proc.h>

// ---- code points ---------------------------------------------------------------------------------
size_t utf8_next(const char *p, size_t n, int32_t *cp) {
    utf8proc_int32_t c;
    if ((unsigned char)*p < 0x80) return *cp = *p, 1;
    utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &c);
    *cp = used > 0 ? c : 0xfffd;
    return used > 0 ? (size_t)used : 1;
}

size_t utf8_put(char out[4], int32_t cp) {
    utf8proc_uint8_t buf[4];
    utf8proc_ssize_t n = utf8proc_encode_char(cp, buf);
    memcpy(out, buf, (size_t)n);
    return (size_t)n;
}

bool utf8_valid(const char *p, size_t n) {
    for (size_t i = 0; i < n;) {
        utf8proc_int32_t c;
        if ((unsigned char)p[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_ssize_t used = utf8proc_iterate((const utf8proc_uint8_t *)p + i, (utf8proc_ssize_t)(n - i), &c);
        if (used <= 0) return false;
        i += (size_t)used;
    }
    return true;
}

bool cp_space(int32_t c) { // str.isspace()
    return (c >= 9 && c <= 13) || (c >= 28 && c <= 32) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool cp_printable(int32_t c) { // str.isprintable()
    if (c < 0x7f) return c >= 0x20;
    utf8proc_category_t k = utf8proc_category(c);
    return k != UTF8PROC_CATEGORY_CN && k != UTF8PROC_CATEGORY_ZS && k != UTF8PROC_CATEGORY_ZL &&
           k != UTF8PROC_CATEGORY_ZP && k != UTF8PROC_CATEGORY_CC && k != UTF8PROC_CATEGORY_CF &&
           k != UTF8PROC_CATEGORY_CS && k != UTF8PROC_CATEGORY_CO;
}

static size_t before(const char *p, size_t n) { // where the last code point of p[0, n) begins
    size_t i = n - 1;
    while (i > 0 && n - i < 4 && ((unsigned char)p[i] & 0xc0) == 0x80) i--;
    return i;
}

size_t text_lspace(const char *p, size_t n) {
    size_t i = 0, used;
    for (int32_t c; i < n; i += used) {
        used = utf8_next(p + i, n - i, &c);
        if (!cp_space(c)) break;
    }
    return i;
}

size_t text_rtrim(const char *p, size_t n) {
    while (n > 0) {
        int32_t c;
        size_t i = before(p, n);
        utf8_next(p + i, n - i, &c);
        if (!cp_space(c)) break;
        n = i;
    }
    return n;
}

bool text_tainted(const jstr *s, uint32_t *range, size_t i) {
    while (*range < s->n_taint && s->taint[*range].end <= i) ++*range;
    return *range < s->n_taint && s->taint[*range].begin <= i;
}

// ---- places --------------------------------------------------------------------------------------
size_t text_offset(jstr *s, int64_t index) {
    if (jstr_ascii(s)) return (size_t)index;
    size_t i = 0;
    for (int64_t c = -1; i < s->n; i++)
        if (((unsigned char)s->p[i] & 0xc0) != 0x80 && ++c == index) return i;
    return i;
}

int64_t text_find(str hay, str needle, size_t from) {
    if (needle.n > hay.n || from > hay.n - needle.n) return -1;
    if (needle.n == 0) return (int64_t)from;
    const char *hit = memmem(hay.p + from, hay.n - from, needle.p, needle.n);
    return hit ? hit - hay.p : -1;
}

jv text_index(jrt *r, jstr *s, int64_t i) {
    int64_t n = jstr_chars(s);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return jv_undef(NULL);
    jinja_step(r, jstr_ascii(s) ? 0 : (int64_t)(s->n / 64));
    return jv_of_str(jstr_sub(r, s, text_offset(s, i), text_offset(s, i + 1)));
}

jlist *text_chars(jrt *r, jstr *s) {
    jlist *l = jlist_new(r, (size_t)jstr_chars(s));
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t c;
        n = utf8_next(s->p + i, s->n - i, &c);
        jlist_push(r, l, jv_of_str(jstr_sub(r, s, i, i + n)));
    }
    return l;
}

// ---- strip, replace, join, pad -------------------------------------------------------------------
static bool strips(jv chars, const char *p, size_t n) {
    int32_t c;
    utf8_next(p, n, &c);
    if (chars.kind != JV_STR) return cp_space(c);
    return text_find(jstr_slice(chars.u.s), (str){p, n}, 0) >= 0;
}

jstr *text_strip(jrt *r, jstr *s, jv chars, int sides) {
    size_t from = 0, to = s->n;
    for (size_t n; (sides & 1) && from < to; from += n) {
        int32_t c;
        n = utf8_next(s->p + from, to - from, &c);
        if (!strips(chars, s->p + from, n)) break;
    }
    while ((sides & 2) && to > from) {
        size_t i = before(s->p, to);
        if (!strips(chars, s->p + i, to - i)) break;
        to = i;
    }
    jinja_step(r, (int64_t)((s->n - (to - from)) / 16));
    return jstr_sub(r, s, from, to);
}

// An empty `from` puts `to` before every character and at the end.
static jstr *interleave(jrt *r, const jstr *s, const jstr *to, int64_t count) {
    jbuf b = {0};
    size_t i = 0;
    for (int64_t k = 0; k < count; k++) {
        jb_str(r, &b, to);
        if (i >= s->n) break;
        int32_t c;
        size_t n = utf8_next(s->p + i, s->n - i, &c);
        jb_sub(r, &b, s, i, i + n);
        i += n;
    }
    if (i < s->n) jb_sub(r, &b, s, i, s->n);
    return jb_done(r, &b);
}

jstr *text_replace(jrt *r, jstr *s, jstr *from, jstr *to, int64_t count) {
    if (count < 0) count = INT64_MAX;
    jinja_step(r, (int64_t)(s->n / 64));
    if (from->n == 0) return interleave(r, s, to, count);
    jbuf b = {0};
    size_t i = 0;
    for (; count > 0; count--) {
        int64_t hit = text_find(jstr_slice(s), jstr_slice(from), i);
        if (hit < 0) break;
        jinja_step(r, 1);
        jb_sub(r, &b, s, i, (size_t)hit);
        jb_str(r, &b, to);
        i = (size_t)hit + from->n;
    }
    if (i == 0) return s;
    jb_sub(r, &b, s, i, s->n);
    return jb_done(r, &b);
}

jv text_join(jrt *r, jstr *sep, jlist *items) {
    jbuf b = {0};
    for (size_t i = 0; i < items->n; i++) {
        if (i) jb_str(r, &b, sep);
        jv_print(r, &b, items->v[i]);
        jinja_step(r, 1);
    }
    return jb_value(r, &b);
}

jstr *text_pad(jrt *r, jstr *s, int64_t width, jstr *fill, int mode) {
    int64_t pad = width - jstr_chars(s), left = mode == 0 ? 0 : pad;
    if (pad <= 0) return s;
    if (mode == 2) left = pad / 2 + (pad & width & 1); // as CPython centers
    jbuf b = {0};
    for (int64_t i = 0; i < left; i++, jinja_step(r, 1)) jb_str(r, &b, fill);
    jb_str(r, &b, s);
    for (int64_t i = left; i < pad; i++, jinja_step(r, 1)) jb_str(r, &b, fill);
    return jb_done(r, &b);
}

// ---- case ----------------------------------------------------------------------------------------
static bool cp_cased(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

static int32_t cp_recase(int32_t c, text_case how, bool *begin) {
    bool first = *begin;
    switch (how) {
    case CASE_UPPER: return utf8proc_toupper(c);
    case CASE_LOWER: return utf8proc_tolower(c);
    case CASE_SWAP: return utf8proc_category(c) == UTF8PROC_CATEGORY_LU ? utf8proc_tolower(c) : utf8proc_toupper(c);
    case CASE_CAPITAL: *begin = false; break;
    case CASE_TITLE: *begin = !cp_cased(c); break;
    case CASE_JTITLE: // words begin after a hyphen, white space or an opening bracket
        *begin = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || cp_space(c);
        return first ? utf8proc_toupper(c) : utf8proc_tolower(c);
    }
    return first ? utf8proc_totitle(c) : utf8proc_tolower(c);
}

jstr *text_recase(jrt *r, const jstr *s, text_case how) {
    jbuf b = {0};
    bool begin = true;
    uint32_t range = 0;
    jinja_step(r, (int64_t)(s->n / 16));
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t c;
        char out[4];
        n = utf8_next(s->p + i, s->n - i, &c);
        bool tainted = text_tainted(s, &range, i);
        if (c == 0xdf && (how == CASE_UPPER || how == CASE_SWAP)) { // sharp s has no upper case letter of its own
            jb_put(r, &b, "SS", 2, tainted);
            continue;
        }
        jb_put(r, &b, out, utf8_put(out, cp_recase(c, how, &begin)), tainted);
    }
    return jb_done(r, &b);
}

bool text_is_case(const jstr *s, bool upper) {
    bool any = false;
    for (size_t i = 0, n; i < s->n; i += n) {
        int32_t c;
        n = utf8_next(s->p + i, s->n - i, &c);
        utf8proc_category_t k = utf8proc_category(c);
        if (k == UTF8PROC_CATEGORY_LT || k == (upper ? UTF8PROC_CATEGORY_LL : UTF8PROC_CATEGORY_LU)) return false;
        any |= k == (upper ? UTF8PROC_CATEGORY_LU : UTF8PROC_CATEGORY_LL);
    }
    return any;
}
