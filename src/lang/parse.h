// parse.h - the parser's state and the functions its files share. Inside tl_lang only: ps_* move over the tokens and
// report, parse_* read one production of docs/language-grammar.md.
//
// Errors: the first problem in a statement is reported and sets `panic`; the current token then reads as the end of
// the file, so that every loop and list ends by itself and nothing more is reported. The statement list clears it and
// goes on at the next statement (parse_resync).
#ifndef TL_PARSE_H
#define TL_PARSE_H
#include "lang/lex.h"

#define PARSE_MAX_DEPTH 200  // nesting of expressions, blocks and else-ifs
#define PARSE_MAX_HEIGHT 800 // height of one expression's tree (a long a + b + c ... is a deep tree)
#define PARSE_MAX_ERRORS 20

typedef struct parser {
    arena *a;
    const source *src;
    diag_list *dl;
    token *toks;
    size_t n;
    token *t;          // the current token
    token *stopped;    // where panic was set
    uint32_t last_end; // end of the last token taken
    int brackets;      // > 0: line ends do not end statements
    int depth;
    bool panic;
    bool too_deep;     // nothing is read after that: what follows is most likely nested as deeply
    bool quiet;        // no messages (an expression inside a string)
    const token *block; // "{" of the innermost block, NULL at the top level
    diag *unclosed;    // the message about the innermost "{" that lacks its "}"; outer ones are notes of it
    bool header;       // in the condition of if, while, for: "then" and "do" are mistakes
    bool fields;       // in a field list, where `name:` starts the next field
    lexed *sub;        // scratch tokens of an expression inside a string; the driver frees them
} parser;

// ---- parse.c -----------------------------------------------------------------------------------
tl_status parse_tokens(arena *a, const source *src, diag_list *dl, lexed *lx, ast_program **out); // tl_parse; the caller frees lx
bool ps_at(const parser *p, tk_kind kind);
bool ps_at_word(const parser *p, const char *word); // a NAME with this text
bool ps_line_ends(const parser *p);                 // the current token starts a new line that counts
token *ps_take(parser *p);                          // returns the token and moves on
bool ps_accept(parser *p, tk_kind kind);
bool ps_expect(parser *p, tk_kind kind, const char *where); // "expected ')' after ..., found ..."
const token *ps_ahead(const parser *p, int n);              // n tokens after the current one; never past the end
str ps_token_str(const parser *p, const token *t);
span ps_span_of(const parser *p, const token *t);
span ps_span_from(const parser *p, uint32_t begin); // from begin to the last token taken
const char *ps_found(parser *p);                    // the current token, for messages
span ps_found_at(const parser *p);
diag *ps_fail(parser *p, span where, const char *fmt, ...) TL_PRINTF(3, 4); // NULL when nothing is reported
void ps_note(parser *p, diag *d, span where, const char *fmt, ...) TL_PRINTF(4, 5);
void ps_fix(parser *p, diag *d, const char *fmt, ...) TL_PRINTF(3, 4);
bool ps_enter(parser *p); // one level deeper; false and an error when too deep. Always pair with ps_leave().
void ps_leave(parser *p);
str ps_expect_name(parser *p, const char *what);
bool ps_expect_close(parser *p, token *open, const char *inside); // the bracket that closes `open`
void parse_resync(parser *p, token *start, bool in_block);

// ---- parse_expr.c ------------------------------------------------------------------------------
ast_expr *parse_expr(parser *p);
ast_expr *parse_postfix(parser *p);
ast_expr *parse_name(parser *p, const char *what);                // a plain EX_NAME
ast_expr *parse_name_set(parser *p, const char *inside);          // "{" NAME { "," NAME } "}" as EX_SET
ast_index *parse_indices(parser *p, token *open, const char *inside, int *n); // up to and with the closing bracket
ast_expr *expr_new(parser *p, ex_kind kind, uint32_t begin);
ast_expr *expr_done(parser *p, ast_expr *e); // fills kids' count, the span's end and the height; checks the height

// ---- parse_primary.c ---------------------------------------------------------------------------
ast_expr *parse_primary(parser *p);
str parse_string(parser *p, const token *t);                  // decoded text; { } doubled where they are literal
bool parse_fold_word(str name);                               // sum, max, ...: names that take [i](...)

// ---- parse_decl.c ------------------------------------------------------------------------------
ast_type *parse_type(parser *p);
bool parse_declaration(parser *p, ast_stmt ***tail, bool top); // false: the current token starts none
bool parse_block_ends(const parser *p, const token *open); // at "}", at the end, or where `open` lacks its "}"

// ---- parse_stmt.c ------------------------------------------------------------------------------
void parse_stmt(parser *p, ast_stmt ***tail, bool top);
ast_stmt *parse_list(parser *p, bool top); // up to "}" or the end
ast_stmt *parse_block(parser *p, const char *after);
void parse_warn_last(parser *p, const ast_stmt *body); // where the last statement's value is not used either
ast_stmt *stmt_new(parser *p, st_kind kind, uint32_t begin, ast_stmt ***tail);
void stmt_done(parser *p, ast_stmt *s);                    // sets the span's end
void stmt_end(parser *p, ast_stmt *s, const char *after);  // stmt_done; then NL, ";", or "}" ahead
ast_head parse_head(parser *p);
ast_literal *parse_literals(parser *p);
ast_literal *parse_where(parser *p); // [ "where" body ]
as_kind parse_assign_at(const parser *p, const token *t, int *n); // *n: tokens of the operator at t, 0 if there is none

// ---- parse_query.c -----------------------------------------------------------------------------
bool parse_logic(parser *p, ast_stmt ***tail); // query, learn, infer, rule; false: the current token starts none
void parse_query_end(parser *p, ast_stmt *s);  // the "?" and where of a query
ast_expr *parse_atom(parser *p, const char *what);
ast_expr *parse_fields(parser *p, ast_stmt *body_of); // NAME ":" expr ...; statements too when body_of is not NULL

// ---- parse_patch.c -----------------------------------------------------------------------------
bool parse_patch(parser *p, ast_stmt ***tail); // false: the current token starts none

// ---- parse_hint.c: fixes for slips that newcomers make ---------------------------------------------
bool hint_statement(parser *p, bool top);             // at the start of a statement; true if it reported something
void hint_end(parser *p, diag *d, const ast_expr *e); // something stands where a statement should end, after e (or NULL)
void hint_block(parser *p, diag *d);                  // something stands where "{" should
#endif
