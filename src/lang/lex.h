// lex.h - a source's text as one array of tokens, plus its comments. Inside tl_lang only.
// Invariants: the array ends with one TK_END; spans are in order and do not overlap; `match` of a bracket is the
// index of its partner, or LEX_NONE when the brackets do not balance.
#ifndef TL_LEX_H
#define TL_LEX_H
#include "lang/ast.h"

typedef enum {
#define TL_TOKEN(kind, text) TK_##kind,
#define TL_KEYWORD(kind, text) TK_##kind,
#include "lang/token.def"
#undef TL_TOKEN
#undef TL_KEYWORD
    TK_COUNT
} tk_kind;

// What the parser found a token to be where its kind alone does not tell; the formatter spaces by it.
typedef enum {
    TR_NONE,
    TR_UNARY,  // prefix operator
    TR_GLUED,  // "(" of a call or a head, "[" of an index: no space before it
    TR_TIGHT,  // ":" of a slice, "." of an axis or field, "=" of an argument: no space on either side
    TR_BLOCK,  // "{" or "}" of a block: the indentation changes
    TR_FOLD,   // max, min, avg, or before "=": no space between the two
    TR_ARROW,  // "<" of a rule's "<-"
} tk_role;

#define LEX_NONE UINT32_MAX
#define LEX_MAX_SOURCE (8u << 20) // bytes

typedef struct token {
    uint8_t kind;  // tk_kind
    uint8_t role;  // tk_role
    bool nl;       // first on its line
    bool space;    // white space, a comment or a line end before it
    bool start;    // the parser began a statement or a field with it
    uint32_t begin, end;
    uint32_t match;
} token;

typedef struct comment { uint32_t begin, end; bool own_line; } comment;

typedef struct lexed {
    VEC(token) toks;
    VEC(comment) comments;
} lexed;

// Reads all of src. Problems go to dl and lexing goes on. false: out of memory (release with lex_free all the same).
bool lex_source(const source *src, diag_list *dl, lexed *out);
// The same for bytes [begin, end) of src: an expression inside a string. Appends to out.
bool lex_range(const source *src, uint32_t begin, uint32_t end, diag_list *dl, lexed *out);
void lex_free(lexed *l);

const char *token_kind_text(tk_kind kind);
bool token_is_keyword(tk_kind kind);
tk_kind keyword_find(str word); // TK_NAME when it is none

// ---- literals (lex_literal.c) ------------------------------------------------------------------
// An INT token's value; false if it does not fit. `negated`: a "-" stands before it, so 2^63 fits (as INT64_MIN).
bool literal_int(str text, bool negated, int64_t *out);
// A FLOAT token's value; false if it overflows double or memory ran out in the arena's handler.
bool literal_float(arena *a, str text, double *out);
// One escape sequence at text.p[*at] (a backslash): writes 1 to 4 bytes and advances; NULL, or what is wrong.
const char *literal_escape(str text, size_t *at, char *out, size_t *out_n);

// ---- characters (lex_char.c) -------------------------------------------------------------------
// Decodes one UTF-8 character of [p, end): its length, or 0 if the bytes are not valid UTF-8.
int utf8_get(const char *p, const char *end, uint32_t *cp);
int lex_utf8_put(uint32_t cp, char out[4]); // length; 0 for a surrogate or above U+10FFFF
bool char_is_letter(uint32_t cp);       // may start a name ("_" included)
int char_width(uint32_t cp);            // terminal columns: 0, 1 or 2
#endif
