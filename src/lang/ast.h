// ast.h - the syntax tree of a .tl program, as the parser makes it. Everything lives in one arena; nodes
// are plain structs linked by `next`. The tree keeps what the formatter needs (spans, comments by line).
#ifndef TL_AST_H
#define TL_AST_H
#include "base/dtype.h"

typedef struct source { // one file (or REPL entry, or embedded library)
    const char *name;   // as shown in messages
    const char *dir;    // of the file, for imports; "" when there is none
    str text;
    int32_t id;         // index in the program's list of sources
    struct source *next;
} source;

typedef struct span { // [begin, end) bytes of source `src`; line and column are computed when shown
    const source *src;
    uint32_t begin, end;
} span;

// ---- expressions ---------------------------------------------------------------------------------
typedef enum {
    // EX_STRING has kids when it holds {expressions} or doubled braces: the pieces in order, plain text as EX_STRING
    // without kids (its braces undoubled) and the expressions themselves.
    EX_INT, EX_FLOAT, EX_STRING, EX_BOOL, EX_NAME,
    EX_LIST,     // [a, b, ...]               kids
    EX_TUPLE,    // (a, b, ...) two or more   kids
    EX_MAP,      // {"k": v, ...}             kids: key, value, key, value, ...
    EX_UNARY,    // op a
    EX_BINARY,   // a op b (OP_JUXT: juxtaposition, which multiplies)
    EX_CALL,     // callee = kids[0]; arguments follow (arg_name set for named ones)
    EX_INDEX,    // base = kids[0]; `index` list holds what is between the brackets
    EX_FIELD,    // kids[0] . name
    EX_PATH,     // kids[0] :: name
    EX_CAST,     // kids[0] as name
    EX_REDUCE,   // name[i, j](kids[0]): sum, max, min, avg, or, prod, ...; `index` lists the names
    EX_SET,      // {a, b, c}                 kids (names)
} ex_kind;

typedef enum {
    OP_NONE, OP_OR, OP_AND, OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE, OP_ADD, OP_SUB, OP_MUL, OP_DIV, OP_MOD, OP_MATMUL,
    OP_JUXT, OP_POW, OP_NEG, OP_NOT,
} ex_op;

typedef struct ast_index ast_index;
typedef struct ast_expr ast_expr;
struct ast_expr {
    ex_kind kind;
    ex_op op;
    span at;        // whole expression
    span op_at;     // operator or name token
    str name;       // NAME (primes included), FIELD, PATH, CAST, REDUCE; decoded text of STRING (its {x} kept)
    str arg_name;   // when this expression is a named argument of a call: its name
    int64_t i;      // INT, BOOL
    double f;       // FLOAT (and INT's value)
    ast_expr *kids; // first child; siblings by next
    int n_kids;
    ast_index *index;
    int n_index;
    bool parens;    // was written inside ( )
    int height;     // of this tree (a leaf is 1); the parser keeps it below a limit, so that walks may recurse
    ast_expr *next;
};

// One position inside [ ] or ( ) of an indexed name.
typedef enum { IX_EXPR, IX_COMPOSITE, IX_SLICE } ix_kind;
struct ast_index {
    ix_kind kind;
    span at;
    bool virtual_axis;  // *t
    bool normalised;    // s.
    ast_expr *expr;     // IX_EXPR: any expression; a plain name is the common case
    ast_expr *names;    // IX_COMPOSITE: EX_NAME list, slowest first; of a patch: the one axis or loop that is restricted
    ast_expr *lo, *hi;  // IX_SLICE: either may be NULL
    ast_index *next;
};

// ---- types ---------------------------------------------------------------------------------------
typedef enum { SZ_ANY, SZ_INT, SZ_NAME } sz_kind;
typedef struct ast_size { sz_kind kind; span at; int64_t n; str name; struct ast_size *next; } ast_size;
typedef struct ast_type {
    span at;
    str name;       // "float32", "int", "entity", "tensor", a dim's name, ...
    tl_dtype dtype; // DT_COUNT when name is no element type
    bool has_shape; // had [ ... ]
    ast_size *sizes;
    int rank;
} ast_type;
typedef struct ast_param { span at; str name; ast_type *type; struct ast_param *next; } ast_param; // type NULL: any value (of a fn)

// ---- statements ----------------------------------------------------------------------------------
typedef enum {
    ST_IMPORT,   // text
    ST_DIM,      // head.name = expr, one statement for each name
    ST_TENSOR,   // head.name, type, flags, expr or NULL
    ST_RELATION, // head.name, params, type (of embed) or NULL
    ST_ENTITY,   // head.name, names (EX_NAME list) or NULL
    ST_EMBEDDING,// head.name, fields: EX_* list with arg_name set
    ST_FN,       // head.name, params, type (result) or NULL, body
    ST_MAIN, ST_BLOCK, // body
    ST_TEST, ST_BENCH, // head.name, body
    ST_LET,      // head, type or NULL, expr
    ST_ASSIGN,   // head, assign, expr, where (literals) or NULL
    ST_RULE,     // head <- where (literals)
    ST_IF,       // expr, body, orelse (statement list)
    ST_FOR,      // head.name in expr, body
    ST_WHILE, ST_LOOP,
    ST_BREAK, ST_CONTINUE,
    ST_RETURN,   // expr or NULL
    ST_QUERY,    // expr (the atom), where or NULL   (`query A(x)` and `A(x)?`)
    ST_ASSERT,   // expr, text or NULL: `assert expr` / `assert expr, "message"`
    ST_LEARN, ST_INFER, // body / queries: parsed, not executed
    ST_PATCH,    // head (index: names with a value or a range), assign, expr: what follows a name's assignments elsewhere
    ST_EXPR,     // expr: a call, or a fact when the callee is a relation
} st_kind;

typedef enum { AS_EQ, AS_SET /* := */, AS_ADD, AS_SUB, AS_MUL, AS_MAX, AS_MIN, AS_AVG, AS_OR, AS_SOFT /* ~ */ } as_kind;

typedef struct ast_head {
    span at;
    str name;
    bool indexed;        // had [ ] or ( )
    bool round;          // ( ): a relation head
    ast_index *index;
    int n_index;
} ast_head;

// A literal of a rule body or of `where`: [not] expression (an EX_CALL whose callee is a relation is an atom).
typedef struct ast_literal { span at; bool negated; ast_expr *expr; struct ast_literal *next; } ast_literal;

typedef struct ast_stmt ast_stmt;
struct ast_stmt {
    st_kind kind;
    span at;
    ast_head head;
    as_kind assign;
    span assign_at;
    bool learnable, frozen, state;
    ast_type *type;
    ast_param *params;
    int n_params;
    ast_expr *expr, *names, *fields;
    ast_literal *where;
    ast_stmt *body, *orelse;
    str text;            // IMPORT path, ASSERT message
    ast_stmt *next;
    void *info;          // the checker's notes
};

typedef struct ast_program { const source *src; ast_stmt *items; } ast_program;

// ---- messages ------------------------------------------------------------------------------------
// One problem with its places. Rendered as file:line:col, the line, a caret, notes (each with its own place), a fix.
typedef enum { DG_ERROR, DG_WARNING } dg_level;
typedef struct dg_note { span at; char *text; struct dg_note *next; } dg_note;
typedef struct diag {
    dg_level level;
    span at;
    char *text;      // what was found and what was expected
    char *fix;       // "help:" line or NULL
    dg_note *notes;
    struct diag *next;
} diag;
typedef struct diag_list { arena *a; diag *first, *last; int errors, warnings, limit; } diag_list;
// NULL once `limit` errors are listed (they are still counted); diag_note and diag_fix accept NULL.
diag *diag_add(diag_list *l, dg_level level, span at, const char *fmt, ...) TL_PRINTF(4, 5);
diag *diag_addv(diag_list *l, dg_level level, span at, const char *fmt, va_list ap) TL_PRINTF(4, 0);
void diag_note(diag_list *l, diag *d, span at, const char *fmt, ...) TL_PRINTF(4, 5); // at.src may be NULL: no place
void diag_fix(diag_list *l, diag *d, const char *fmt, ...) TL_PRINTF(3, 4);
void diag_render(const diag *d, sbuf *out, bool color);
void diag_render_json(const diag *d, sbuf *out);
void span_line_col(span at, int *line, int *col); // 1-based; col counts UTF-8 characters
const char *diag_nearest(str name, const str *names, size_t n, char *buf, size_t cap); // "did you mean"; NULL if none is near

// ---- front end -----------------------------------------------------------------------------------
// Parses one source. Every problem goes to `dl`; TL_E_PROGRAM if there was an error (the tree then holds what
// could be read). Depth and size limits are errors with a span, never a crash.
tl_status tl_parse(arena *a, const source *src, diag_list *dl, ast_program **out);
// The program's canonical text (idempotent; comments kept). TL_E_PROGRAM when the source does not parse.
tl_status tl_format(arena *a, const source *src, diag_list *dl, sbuf *out);
const char *op_text(ex_op op);
// The tree as text, one node a line, indented; for tests and `tl check --dump ast`.
void ast_dump(const ast_program *prog, sbuf *out);
#endif
