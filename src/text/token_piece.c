// token_piece.c - the bytes that each token stands for, made once.
#include "text/token_int.h"

#include <ctype.h>

static bool byte_prints(uint32_t b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
}

// The 188 printing bytes stand for themselves; the other 68, in order, for U+0100 and on.
uint32_t byte_to_char(unsigned char b) {
    if (byte_prints(b)) return b;
    return b < 0x21 ? 256u + b : b == 0xad ? 323u : 289u + (b - 0x7fu);
}

// The alphabet the other way round: the byte of each code point below ALPHABET, -1: none.
enum { ALPHABET = 324 };
typedef struct alphabet {
    int16_t byte[ALPHABET];
} alphabet;

static void alphabet_make(alphabet *a) {
    memset(a, 0xff, sizeof *a);
    for (int b = 0; b < 256; b++) a->byte[byte_to_char((unsigned char)b)] = (int16_t)b;
}

// "<0x1F>" is byte 0x1f; anything else -1.
static int byte_text(str s) {
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    int value = 0;
    for (int i = 3; i < 5; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (!isxdigit(c)) return -1;
        value = value * 16 + (isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
    }
    return value;
}

// U+2581 to a space. Returns the bytes written to out, at most s.n.
static size_t unescape(char *out, str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        if (s.n - i >= 3 && memcmp(s.p + i, "\xe2\x96\x81", 3) == 0) out[n++] = ' ', i += 3;
        else out[n++] = s.p[i++];
    }
    return n;
}

// The byte alphabet to bytes; characters outside of it stay.
static size_t unspell(const alphabet *a, char *out, str s) {
    size_t n = 0;
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        bool two = c >= 0xc2 && c <= 0xc5 && i + 1 < s.n && ((unsigned char)s.p[i + 1] & 0xc0) == 0x80;
        uint32_t code = two ? (uint32_t)(c & 0x1f) << 6 | ((unsigned char)s.p[i + 1] & 0x3f) : c < 0x80 ? c : ALPHABET;
        int byte = code < ALPHABET ? a->byte[code] : -1;
        out[n++] = byte >= 0 ? (char)byte : s.p[i];
        i += byte >= 0 && two ? 2 : 1;
    }
    return n;
}

static bool plain_ascii(str s) {
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] - 0x21u > 0x7eu - 0x21u) return false;
    return true;
}

static bool no_lead_e2(str s) { return s.n == 0 || !memchr(s.p, 0xe2, s.n); }

static tl_status byte_piece(tokenizer *t, int32_t id, char *out, tl_error *err) {
    int byte = byte_text(token_text(t, id));
    char shown[64];
    if (byte < 0)
        return err_set(err, TL_E_FORMAT, "token %d has the type 'byte' but is spelled '%s'", id,
                       str_escape(shown, sizeof shown, token_text(t, id)));
    *out = (char)byte;
    return TL_OK;
}

tl_status piece_build(tokenizer *t, tl_error *err) {
    size_t total = 1;
    for (int32_t i = 0; i < t->n; i++)
        if (!size_add(total, token_text(t, i).n, &total)) return err_set(err, TL_E_MEMORY, "the tokens are too long");
    t->piece_at = mem_alloc(((size_t)t->n + 1) * sizeof *t->piece_at);
    t->piece_pool = mem_alloc(total);
    if (!t->piece_at || !t->piece_pool) return err_set(err, TL_E_MEMORY, "out of memory for %d tokens", t->n);
    bool spelled = t->kind == MODEL_BPE && !(t->pre_flags & PRE_RAW);
    char *at = t->piece_pool;
    alphabet a;
    alphabet_make(&a);
    for (int32_t i = 0; i < t->n; i++) {
        unsigned attr = t->attr[i];
        str text = token_text(t, i);
        t->piece_at[i] = t->piece_at[i + 1] = (uint32_t)(at - t->piece_pool);
        if (attr & (ATTR_SPECIAL | ATTR_USER)) continue;
        if (attr & ATTR_NORMAL) {
            if (spelled ? plain_ascii(text) : no_lead_e2(text)) continue;
            at += spelled ? unspell(&a, at, text) : unescape(at, text);
        } else if (attr & ATTR_BYTE) {
            TL_TRY(byte_piece(t, i, at++, err));
        }
        t->attr[i] |= ATTR_OWN_PIECE;
        t->piece_at[i + 1] = (uint32_t)(at - t->piece_pool);
    }
    return TL_OK;
}
