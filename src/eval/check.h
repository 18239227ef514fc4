// check.h - what can be known about a program without running it: names, arguments, axes, indices, and what is most
// likely wrong. The checker never refuses a program that would run: where it cannot know, it says nothing.
//
// It follows the evaluator's order: the file's top level first, then the bodies of functions, main and tests, which see
// every top-level name. Imported files are read and checked too; their problems have their own places.
#ifndef TL_EVAL_CHECK_H
#define TL_EVAL_CHECK_H
#include "eval/value.h"

typedef enum { CK_VALUE, CK_TENSOR, CK_FN, CK_PARAM, CK_DIM, CK_STATE, CK_RELATION, CK_ENTITY, CK_MEMBER, CK_INDEX, CK_LOOP, CK_BUILTIN, CK_GIVEN, CK_EMBEDDING, CK_TEST } chk_kind;
extern const char *const chk_kind_names[];

typedef struct chk_symbol {
    chk_kind kind;
    str name;
    span at;                  // of the name; src NULL: a builtin
    span visible;             // where it can be used; src NULL: everywhere
    const ast_stmt *def;
    const ast_param *param;
    const builtin *bi;
    int rank;                 // -1: not known
    int slot_axis;            // of a state: place, from 1, of the axis that is scattered into; 0: not known
    str axes[IR_MAX_RANK];    // their names; empty: not known
    bool used, boolean, local;
    bool whole;               // defined by `=` for all elements
    bool assigned;            // its value may be replaced: nothing is known of it
    struct chk_symbol *next;  // in its scope
} chk_symbol;

typedef struct chk_scope {
    chk_symbol *first;
    struct chk_scope *parent;
    span extent;
} chk_scope;

typedef struct chk_ref { span at; chk_symbol *to; } chk_ref;

typedef struct chk_unit {
    source src;
    ast_program *prog;
    const char *path;            // as real as can be, to tell files apart
    struct chk_unit *importer, *next;
    const ast_stmt *via;         // the import
    bool done;
    map dims;                    // names that `dim` declares: chk_symbol
    map sizes;                   // names that stand for an axis's size anywhere: signatures, let heads
    map fluid;                   // names that an unindexed assignment may change
    map rules;                   // heads of rules, entity members, arguments of facts
} chk_unit;

typedef struct checker {
    arena *a;
    diag_list *dl, *shown;       // where problems go now; those of parsing always are shown
    diag_list quiet;             // after a file that could not be read whole: unknown names would be no news
    chk_unit *units, *main, *cur;
    chk_scope *std, *global, *scope;
    map builtins;
    VEC(chk_symbol *) symbols;   // all, in order of declaration
    VEC(chk_ref) refs;
    VEC(struct { const ast_stmt *s; chk_unit *u; }) later; // bodies that run after the top level
    int loops;                   // around the statement
    bool in_fn, failed;
    const ast_stmt *fn;
} checker;

// Checks one source with what it imports. `a` holds everything; problems go to dl (whose arena is `a`).
// The checker is then asked with the functions below and freed with chk_free. TL_E_MEMORY only.
tl_status chk_program(checker *c, arena *a, diag_list *dl, const char *file, str text);
void chk_free(checker *c);
enum { CHK_FILE_MAX = 8 << 20 }; // bytes of a program's text, as the parser has it
tl_status chk_read(const char *path, char **text, size_t *n, tl_error *err); // NUL-terminated, freed with mem_free
const chk_symbol *chk_at(const checker *c, uint32_t byte, span *name); // the name at a byte of the main source, or NULL
bool chk_visible(const checker *c, const chk_symbol *s, uint32_t byte); // may be used at this byte of the main source
void chk_detail(const checker *c, const chk_symbol *s, sbuf *out);     // its declaration in one line, with sizes that are known
void chk_doc(const chk_symbol *s, sbuf *out);                          // the comment above its declaration

// ---- between the parts of the checker ----------------------------------------------------------------
typedef struct chk_label {
    str name;
    span at;
    bool left, right, sized, folded;
    chk_symbol *sym;
} chk_label;
enum { CHK_LABELS = 24 };
typedef struct chk_eq { // a statement with index variables
    chk_label lab[CHK_LABELS];
    int n;
    bool rule;          // names may be constants
    bool valued;        // an equation over relations: R(x) min= S(x) + T(x, y)
} chk_eq;

chk_symbol *chk_find(const checker *c, str name);
chk_symbol *chk_declare(checker *c, chk_kind kind, str name, span at, const ast_stmt *def);
void chk_use(checker *c, span at, chk_symbol *s);
void chk_expr(checker *c, const ast_expr *e, chk_eq *q);  // q NULL: ordinary code
void chk_literals(checker *c, const ast_literal *l, chk_eq *q);
bool chk_free_name(const checker *c, const ast_expr *e);  // would be an index variable
bool chk_has_free(const checker *c, const ast_expr *e);
chk_label *chk_label_of(checker *c, chk_eq *q, str name, span at);
chk_symbol *chk_dim(const checker *c, str name);          // declared with `dim`; primes are ignored
bool chk_dim_size(const checker *c, str name, int64_t *size);
void chk_lint(checker *c, const ast_stmt *s, const chk_eq *q);                  // check_lint.c
void chk_state_written(const checker *c, chk_symbol *state, const ast_head *h);
void chk_equation(checker *c, const ast_stmt *s);
void chk_rule(checker *c, const ast_stmt *s);
void chk_scan(checker *c, chk_unit *u, const ast_stmt *list);
void chk_prune(ast_stmt **list); // takes out statements that lack a part
void chk_unknown(checker *c, str name, span at);
void chk_position(checker *c, const chk_symbol *base, int pos, const ast_index *ix, chk_eq *q, bool read);
#endif
