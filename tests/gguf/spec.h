// spec.h - bytes of a small file, written down readably:
//   M         the magic "GGUF"
//   13:4      the number 13 in 4 bytes, little endian (also 0x1f:1, -1:8, 18446744073709551615:8)
//   'text'    these bytes
//   s'text'   a GGUF string: the length in 8 bytes, then the bytes
//   s#70      a GGUF string of 70 times 'x'
//   z100      100 zero bytes
//   p32       zeros up to a multiple of 32
#ifndef TL_TESTS_SPEC_H
#define TL_TESTS_SPEC_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base.h"

static inline void spec_number(sbuf *b, uint64_t v, size_t n) { sbuf_put(b, (const char *)&v, n); }

static inline const char *spec_text(sbuf *b, const char *p, bool counted) { // p is at the opening quote
    const char *end = strchr(p + 1, '\'');
    assert_non_null(end);
    if (counted) spec_number(b, (uint64_t)(end - p - 1), 8);
    sbuf_put(b, p + 1, (size_t)(end - p - 1));
    return end + 1;
}

static inline const char *spec_repeat(sbuf *b, const char *p, char c, bool counted) {
    char *end;
    uint64_t n = strtoull(p, &end, 10);
    if (counted) spec_number(b, n, 8);
    while (n--) sbuf_putc(b, c);
    return end;
}

static inline const char *spec_field(sbuf *b, const char *p) {
    char *end;
    uint64_t v = *p == '-' ? (uint64_t)strtoll(p, &end, 0) : strtoull(p, &end, 0);
    assert_true(end > p && *end == ':');
    spec_number(b, v, (size_t)(end[1] - '0'));
    return end + 2;
}

// Appends the bytes of a specification.
static inline void spec_put(sbuf *b, const char *p) {
    while (*p) {
        if (*p == ' ') p++;
        else if (*p == 'M') sbuf_puts(b, "GGUF"), p++;
        else if (*p == '\'') p = spec_text(b, p, false);
        else if (*p == 's' && p[1] == '#') p = spec_repeat(b, p + 2, 'x', true);
        else if (*p == 's') p = spec_text(b, p + 1, true);
        else if (*p == 'z') p = spec_repeat(b, p + 1, '\0', false);
        else if (*p == 'p') {
            uint64_t n = strtoull(p + 1, (char **)&p, 10);
            while (b->n % n) sbuf_putc(b, 0);
        } else p = spec_field(b, p);
    }
    assert_false(b->failed);
}

// Header of version 3 with so many tensors and keys (24 bytes); numbers without quotes.
#define HEAD(tensors, keys) "M 3:4 " #tensors ":8 " #keys ":8 "
#endif
