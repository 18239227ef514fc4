// schema_number.c - integers and numbers between bounds, as digits.
#include "text/schema_int.h"

#include <math.h>

enum { MAX_DIGITS = 16 };
static const int64_t unlimited = INT64_MAX;

static int64_t power10(int n) {
    int64_t p = 1;
    while (n-- > 0) p *= 10;
    return p;
}

static int digits(int64_t v) {
    int n = 1;
    while (v >= 10) v /= 10, n++;
    return n;
}

// lo..hi with the same number of digits, as alternatives joined by " | ".
static const char *same_length(schema *s, int64_t lo, int64_t hi) {
    int n = digits(lo);
    for (int i = 1; i < n; i++) { // split until each digit is a range of its own
        int64_t p = power10(i);
        if (lo / p == hi / p) continue;
        if (lo % p == 0 && hi % p == p - 1) continue;
        int64_t mid = lo % p ? lo - lo % p + p - 1 : hi - hi % p - 1;
        const char *left = same_length(s, lo, mid);
        return schema_text(s, "%s | %s", left, same_length(s, mid + 1, hi));
    }
    const char *e = "";
    for (int i = n - 1; i >= 0; i--) {
        int a = (int)(lo / power10(i) % 10), b = (int)(hi / power10(i) % 10);
        e = a == b ? schema_text(s, "%s%s\"%d\"", e, *e ? " " : "", a)
                   : schema_text(s, "%s%s[%d-%d]", e, *e ? " " : "", a, b);
    }
    return e;
}

// Decimal digits of lo..hi, 0 <= lo <= hi; `unlimited` for no upper bound.
static const char *span(schema *s, int64_t lo, int64_t hi) {
    const char *e = "";
    int n = digits(lo);
    for (; n <= MAX_DIGITS + 1; n++) {
        int64_t last = power10(n) - 1;
        if (hi == unlimited && lo == (n == 1 ? 0 : power10(n - 1)) && n > 1) break; // the rest is regular
        e = schema_text(s, "%s%s%s", e, *e ? " | " : "", same_length(s, lo, hi < last ? hi : last));
        if (hi <= last) return schema_text(s, "(%s)", e);
        lo = last + 1;
    }
    if (hi != unlimited || n > MAX_DIGITS) schema_fail(s, TL_E_LIMIT, "a bound has more than %d digits", MAX_DIGITS);
    return schema_text(s, "(%s%s[1-9] [0-9]{%d,%d})", e, *e ? " | " : "", n - 1, MAX_DIGITS - 1);
}

// Whole numbers lo..hi; either side may be without a bound (-unlimited, unlimited).
static const char *whole_span(schema *s, int64_t lo, int64_t hi) {
    const char *minus =
        lo < 0 ? schema_text(s, "\"-\" %s", span(s, hi < 0 ? -hi : 1, lo == -unlimited ? unlimited : -lo)) : NULL;
    const char *plus = hi >= 0 ? span(s, lo > 0 ? lo : 0, hi) : NULL;
    return minus && plus ? schema_text(s, "(%s | %s)", minus, plus) : minus ? minus : plus;
}

// Numbers with a fraction that lie between the bounds whatever their fraction is; NULL: there are none. Away from zero they
// stay below the next whole number, so that one may be an exclusive bound: `least` and `most` do not exclude it.
static const char *fractions(schema *s, int64_t lo, int64_t hi, int64_t least, int64_t most) {
    int64_t plus_lo = lo > 0 ? lo : 0, plus_hi = most == unlimited ? most : most - 1;
    int64_t minus_lo = hi < 0 ? -hi : 0, minus_hi = least == -unlimited ? unlimited : -least - 1;
    const char *plus = plus_lo <= plus_hi ? span(s, plus_lo, plus_hi) : NULL;
    const char *minus = minus_lo <= minus_hi ? schema_text(s, "\"-\" %s", span(s, minus_lo, minus_hi)) : NULL;
    if (!plus && !minus) return NULL;
    const char *both = plus && minus ? schema_text(s, "(%s | %s)", plus, minus) : plus ? plus : minus;
    return schema_text(s, "%s \".\" [0-9]{1,16}", both);
}

static bool bound(schema *s, const json_t *j, const char *key, double *v) {
    const json_t *x = json_object_get(j, key);
    if (!x) return false;
    if (!json_is_number(x)) schema_fail(s, TL_E_FORMAT, "'%s' must be a number", key);
    *v = json_number_value(x);
    if (fabs(*v) >= 1e16) schema_fail(s, TL_E_LIMIT, "'%s' has more than %d digits", key, MAX_DIGITS);
    return true;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

const char *schema_number(schema *s, const json_t *j, bool whole) {
    int64_t lo = -unlimited, hi = unlimited, least = lo, most = hi; // with exclusive bounds taken out, and with them in
    double v;
    if (bound(s, j, "minimum", &v)) lo = least = (int64_t)ceil(v);
    if (bound(s, j, "exclusiveMinimum", &v)) {
        lo = larger(lo, (int64_t)floor(v) + 1);
        least = larger(least, (int64_t)ceil(v));
    }
    if (bound(s, j, "maximum", &v)) hi = most = (int64_t)floor(v);
    if (bound(s, j, "exclusiveMaximum", &v)) {
        hi = -larger(-hi, 1 - (int64_t)ceil(v));
        most = -larger(-most, -(int64_t)floor(v));
    }
    if (lo == -unlimited && hi == unlimited) return schema_shared(s, whole ? SH_INTEGER : SH_NUMBER);
    if (lo > hi) schema_fail(s, whole ? TL_E_FORMAT : TL_E_UNSUPPORTED, "there is no whole number between the bounds");
    const char *e = whole_span(s, lo, hi), *fraction = whole ? NULL : fractions(s, lo, hi, least, most);
    return schema_rule(s, fraction ? schema_text(s, "%s | %s", e, fraction) : e);
}
