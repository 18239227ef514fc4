// lex.c - text to tokens. One pass; never fails on text, only on memory: what cannot be read is reported and skipped.
#include "lang/lex.h"

typedef struct lexer {
    const source *src;
    diag_list *dl;
    lexed *out;
    size_t first;        // index of this run's first token in out
    uint32_t i, end;     // next byte, end of the range
    bool nl, space, oom; // what lies before the next token
} lexer;

static const char *const kind_texts[TK_COUNT] = {
#define TL_TOKEN(kind, text) text,
#define TL_KEYWORD(kind, text) text,
#include "lang/token.def"
#undef TL_TOKEN
#undef TL_KEYWORD
};

const char *token_kind_text(tk_kind kind) { return kind_texts[kind]; }
bool token_is_keyword(tk_kind kind) { return kind >= TK_LET; }

tk_kind keyword_find(str word) {
    for (int k = TK_LET; k < TK_COUNT; k++)
        if (str_is(word, kind_texts[k])) return (tk_kind)k;
    return TK_NAME;
}

static span here(const lexer *x, uint32_t begin, uint32_t end) { return (span){x->src, begin, end}; }
static char peek(const lexer *x, uint32_t ahead) { return x->i + ahead < x->end ? x->src->text.p[x->i + ahead] : 0; }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Length of the letter at byte i, 0 if there is none.
static int letter_at(const lexer *x, uint32_t i) {
    uint32_t cp;
    const char *p = x->src->text.p;
    int n = i < x->end ? utf8_get(p + i, p + x->end, &cp) : 0;
    return n > 0 && char_is_letter(cp) ? n : 0;
}

static void push(lexer *x, tk_kind kind, uint32_t begin) {
    token t = {.kind = (uint8_t)kind, .nl = x->nl, .space = x->space, .begin = begin, .end = x->i, .match = LEX_NONE};
    if (!vec_push(&x->out->toks, t)) x->oom = true;
    x->nl = x->space = false;
}

// ---- between tokens ----------------------------------------------------------------------------
static void line_comment(lexer *x) {
    const char *p = x->src->text.p;
    uint32_t begin = x->i;
    while (x->i < x->end && p[x->i] != '\n' && p[x->i] != '\r') x->i++;
    uint32_t end = x->i;
    while (end > begin && (p[end - 1] == ' ' || p[end - 1] == '\t')) end--;
    comment c = {begin, end, x->nl || x->out->toks.n == x->first};
    if (!vec_push(&x->out->comments, c)) x->oom = true;
}

static void block_comment(lexer *x) {
    const char *p = x->src->text.p;
    comment c = {.begin = x->i, .own_line = x->nl || x->out->toks.n == x->first};
    bool closed = false, lines = false;
    for (x->i += 2; x->i < x->end && !closed; x->i++) {
        if (p[x->i] == '\n' || p[x->i] == '\r') lines = true;
        if (p[x->i] == '*' && peek(x, 1) == '/') closed = true, x->i++;
    }
    c.end = x->i;
    if (!closed) {
        diag *d = diag_add(x->dl, DG_ERROR, here(x, c.begin, c.begin + 2), "this comment is never closed");
        diag_fix(x->dl, d, "add */ where it ends");
    }
    x->nl = x->nl || lines; // a comment over several lines separates lines
    if (!vec_push(&x->out->comments, c)) x->oom = true;
}

static void skip_space(lexer *x) {
    while (x->i < x->end) {
        char c = peek(x, 0);
        if (c == '\n' || c == '\r') x->nl = true, x->i++;
        else if (c == ' ' || c == '\t' || c == '\f' || c == '\v') x->i++;
        else if (c == '/' && peek(x, 1) == '/') line_comment(x);
        else if (c == '/' && peek(x, 1) == '*') block_comment(x);
        else return;
        x->space = true;
    }
}

// ---- tokens ------------------------------------------------------------------------------------
static void lex_name(lexer *x) {
    uint32_t begin = x->i;
    for (;;) {
        int n = letter_at(x, x->i);
        if (n == 0 && is_digit(peek(x, 0))) n = 1;
        if (n == 0) break;
        x->i += (uint32_t)n;
    }
    while (peek(x, 0) == '\'') x->i++;
    push(x, keyword_find((str){x->src->text.p + begin, x->i - begin}), begin);
}

static bool digits(lexer *x, int base) {
    uint32_t begin = x->i;
    bool ok = true;
    for (;; x->i++) {
        char c = peek(x, 0);
        bool digit = base == 16 ? (is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')) : base == 2 ? c == '0' || c == '1' : is_digit(c);
        if (c == '_') ok = ok && x->i > begin && peek(x, 1) != '_' && x->src->text.p[x->i - 1] != '_';
        else if (!digit) break;
    }
    return ok && x->i > begin && x->src->text.p[x->i - 1] != '_';
}

static void lex_number(lexer *x) {
    uint32_t begin = x->i;
    tk_kind kind = TK_INT;
    bool ok = true;
    char mark = peek(x, 1);
    if (peek(x, 0) == '0' && (mark == 'x' || mark == 'X' || mark == 'b' || mark == 'B')) {
        x->i += 2;
        ok = digits(x, mark == 'x' || mark == 'X' ? 16 : 2);
    } else {
        if (is_digit(peek(x, 0))) ok = digits(x, 10);
        if (peek(x, 0) == '.' && peek(x, 1) != '.' && letter_at(x, x->i + 1) == 0) {
            kind = TK_FLOAT;
            x->i++;
            if (is_digit(peek(x, 0))) ok = digits(x, 10) && ok;
        }
        char sign = peek(x, 1);
        if ((peek(x, 0) == 'e' || peek(x, 0) == 'E') && (is_digit(sign) || ((sign == '+' || sign == '-') && is_digit(peek(x, 2))))) {
            kind = TK_FLOAT;
            x->i += is_digit(sign) ? 1 : 2;
            ok = digits(x, 10) && ok;
        }
    }
    uint32_t number_end = x->i;
    while (letter_at(x, x->i) > 0 || is_digit(peek(x, 0))) x->i += letter_at(x, x->i) > 0 ? (uint32_t)letter_at(x, x->i) : 1;
    if (x->i > number_end) {
        diag *d = diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "a number runs into a name");
        diag_fix(x->dl, d, "put a space between them to multiply, or start the name with a letter");
        kind = TK_BAD;
    } else if (!ok) {
        diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "malformed number: digits are missing, or an underscore does not stand between two digits");
        kind = TK_BAD;
    }
    push(x, kind, begin);
}

static void lex_string(lexer *x, char quote) {
    const char *p = x->src->text.p;
    uint32_t begin = x->i++;
    while (x->i < x->end && p[x->i] != quote && p[x->i] != '\n' && p[x->i] != '\r') {
        bool pair = p[x->i] == '\\' && x->i + 1 < x->end && p[x->i + 1] != '\n' && p[x->i + 1] != '\r';
        x->i += pair ? 2 : 1;
    }
    bool closed = x->i < x->end && p[x->i] == quote;
    if (closed) x->i++;
    if (quote == '\'') {
        diag *d = diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "strings are written with double quotes");
        if (closed) diag_fix(x->dl, d, "write \"%.*s\"", (int)(x->i - begin - 2), p + begin + 1);
    } else if (!closed) {
        diag *d = diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "this string is never closed");
        diag_fix(x->dl, d, "end it with \" on the same line; a line break inside a string is written \\n");
    }
    push(x, closed && quote == '"' ? TK_STRING : TK_BAD, begin);
}

// Longest first. Single characters come from the token table itself.
static tk_kind punctuation(const lexer *x) {
    static const uint8_t pairs[] = {TK_SET,     TK_PATH,    TK_EQ,    TK_NE,      TK_LE,  TK_GE,   TK_ADD_SET,
                                    TK_SUB_SET, TK_ARROW, TK_MUL_SET, TK_POW, TK_AND2, TK_OR2};
    for (size_t k = 0; k < sizeof pairs; k++)
        if (peek(x, 0) == kind_texts[pairs[k]][0] && peek(x, 1) == kind_texts[pairs[k]][1]) return (tk_kind)pairs[k];
    for (int k = TK_LPAREN; k < TK_LET; k++)
        if (kind_texts[k][1] == 0 && kind_texts[k][0] == peek(x, 0)) return (tk_kind)k;
    return TK_BAD;
}

// Characters that people type or paste in place of ours.
static const struct { uint32_t cp; const char *name, *fix; } lookalikes[] = {
    {0xA0, "a no-break space", "use a plain space"},       {0xB7, "'\xC2\xB7'", "write *"},
    {0xD7, "'\xC3\x97'", "write * (or @ for matrices)"},   {0xF7, "'\xC3\xB7'", "write /"},
    {0x2018, "a curly quote", "strings use \""},           {0x2019, "a curly quote", "primes and strings use plain ' and \""},
    {0x201C, "a curly quote", "strings use \""},           {0x201D, "a curly quote", "strings use \""},
    {0x2032, "a prime sign", "use '"},                     {0x2190, "'\xE2\x86\x90'", "write <-"},
    {0x2192, "'\xE2\x86\x92'", "write ->"},                {0x2212, "a typographic minus", "write -"},
    {0x2013, "a dash", "write -"},                         {0x2260, "'\xE2\x89\xA0'", "write !="},
    {0x2264, "'\xE2\x89\xA4'", "write <="},                {0x2265, "'\xE2\x89\xA5'", "write >="},
    {0x2227, "'\xE2\x88\xA7'", "write and"},               {0x2228, "'\xE2\x88\xA8'", "write or"},
    {0x00AC, "'\xC2\xAC'", "write not"},                   {0x2211, "'\xE2\x88\x91'", "write sum[i](...)"},
    {0x22C5, "'\xE2\x8B\x85'", "write *"},                 {0xFEFF, "a byte order mark", "remove it"},
    {'&', "'&'", "write and, or &&"},                      {'|', "'|'", "write or, or ||"},
    {'\\', "'\\'", "a line goes on after an operator or comma and inside brackets; no \\ is needed"},
    {'$', "'$'", "names are plain; inside strings write {name}"}, {'`', "'`'", "strings use \""},
};

static void lex_stray(lexer *x) {
    uint32_t begin = x->i, cp = 0;
    const char *p = x->src->text.p;
    if (p[begin] == '#') { // a comment in many languages
        diag *d = diag_add(x->dl, DG_ERROR, here(x, begin, begin + 1), "'#' does not start a comment");
        diag_fix(x->dl, d, "comments start with //");
        while (x->i < x->end && p[x->i] != '\n' && p[x->i] != '\r') x->i++;
        x->space = true;
        return;
    }
    int n = utf8_get(p + begin, p + x->end, &cp);
    x->i += n > 0 ? (uint32_t)n : 1;
    if (n > 0 && cp != 0) { // invalid UTF-8 and NUL bytes have been reported by check_bytes
        char shown[32];
        str_escape(shown, sizeof shown, (str){p + begin, (size_t)n});
        size_t k = 0;
        while (k < sizeof lookalikes / sizeof *lookalikes && lookalikes[k].cp != cp) k++;
        if (k < sizeof lookalikes / sizeof *lookalikes) {
            diag *d = diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "%s is not part of the language", lookalikes[k].name);
            diag_fix(x->dl, d, "%s", lookalikes[k].fix);
        } else {
            diag_add(x->dl, DG_ERROR, here(x, begin, x->i), "character '%s' (U+%04X) is not part of the language", shown, cp);
        }
    }
    push(x, TK_BAD, begin);
}

static void lex_token(lexer *x) {
    char c = peek(x, 0);
    // ".5" is a number, except right behind an operand, where "." takes a field: d.0
    const lexed *l = x->out;
    int before = x->space || l->toks.n == x->first ? TK_END : l->toks.p[l->toks.n - 1].kind;
    bool after_operand = (before >= TK_INT && before <= TK_NAME) || before == TK_RPAREN || before == TK_RBRACK || before == TK_RBRACE ||
                         token_is_keyword((tk_kind)before);
    if (letter_at(x, x->i) > 0) {
        lex_name(x);
    } else if (is_digit(c) || (c == '.' && is_digit(peek(x, 1)) && !after_operand)) {
        lex_number(x);
    } else if (c == '"' || c == '\'') {
        lex_string(x, c);
    } else {
        tk_kind k = punctuation(x);
        uint32_t begin = x->i;
        if (k == TK_BAD) {
            lex_stray(x);
        } else {
            x->i += (uint32_t)strlen(kind_texts[k]);
            push(x, k, begin);
        }
    }
}

// Pairs the brackets. A closing bracket pairs with the innermost open one of its kind; unclosed ones between stay
// unpaired, and so does a closing one without an open one; a brace is never crossed by ( ) or [ ]. `last` holds the
// stack position + 1 of the innermost open bracket of each kind, saved in each entry, so that a pop needs no search.
typedef struct open_bracket { uint32_t tok, last[3]; } open_bracket;

static int bracket_kind(int kind) { return kind < TK_LPAREN || kind > TK_RBRACE ? -1 : (kind - TK_LPAREN) / 2; }

static bool match_brackets(token *t, size_t from, size_t n) {
    VEC(open_bracket) open = {0};
    uint32_t last[3] = {0};
    bool ok = true;
    for (size_t i = from; i < n && ok; i++) {
        int k = bracket_kind(t[i].kind);
        if (k < 0) continue;
        if ((t[i].kind - TK_LPAREN) % 2 == 0) {
            open_bracket o = {.tok = (uint32_t)i};
            memcpy(o.last, last, sizeof last);
            ok = vec_push(&open, o);
            last[k] = (uint32_t)open.n;
            if (k == 2) last[0] = last[1] = 0;
        } else if (last[k] > 0) {
            const open_bracket o = open.p[last[k] - 1];
            t[o.tok].match = (uint32_t)i;
            t[i].match = o.tok;
            open.n = last[k] - 1;
            memcpy(last, o.last, sizeof last);
        }
    }
    vec_free(&open);
    return ok;
}

bool lex_range(const source *src, uint32_t begin, uint32_t end, diag_list *dl, lexed *out) {
    lexer x = {.src = src, .dl = dl, .out = out, .first = out->toks.n, .i = begin, .end = end};
    for (skip_space(&x); x.i < x.end && !x.oom; skip_space(&x)) lex_token(&x);
    x.nl = true; // the end ends a line
    push(&x, TK_END, x.i);
    return !x.oom && match_brackets(out->toks.p, x.first, out->toks.n);
}

// The first byte that is not UTF-8 and the first NUL are errors wherever they stand, comments and strings included.
static void check_bytes(const source *src, diag_list *dl) {
    const char *p = src->text.p, *end = p + src->text.n;
    bool nul = false;
    for (const char *s = p; s < end;) {
        uint32_t cp, at = (uint32_t)(s - p);
        int n = utf8_get(s, end, &cp);
        if (n == 0) {
            diag *d = diag_add(dl, DG_ERROR, (span){src, at, at + 1}, "byte 0x%02X is not valid UTF-8", (unsigned char)*s);
            diag_fix(dl, d, "save the file as UTF-8");
            return;
        }
        if (cp == 0 && !nul) {
            diag_add(dl, DG_ERROR, (span){src, at, at + 1}, "a NUL byte in the program");
            nul = true;
        }
        s += n;
    }
}

bool lex_source(const source *src, diag_list *dl, lexed *out) {
    const char *p = src->text.p;
    uint32_t begin = 0, n = (uint32_t)src->text.n;
    check_bytes(src, dl);
    if (n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) begin = 3;
    if (n >= begin + 2 && p[begin] == '#' && p[begin + 1] == '!') { // "#!/usr/bin/env -S tl run"
        comment c = {begin, begin, true};
        while (begin < n && p[begin] != '\n' && p[begin] != '\r') begin++;
        c.end = begin;
        if (!vec_push(&out->comments, c)) return false;
    }
    return lex_range(src, begin, n, dl, out);
}

void lex_free(lexed *l) {
    vec_free(&l->toks);
    vec_free(&l->comments);
}
