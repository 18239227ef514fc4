// logic.h - Datalog: relations, facts, rules with negation, arithmetic, aggregates and recursive folds, queries.
// Used by the evaluator: declarations, facts, rules and queries come in as syntax trees; rows come out as values.
//
// Every function that takes a diag_list reports problems there with their places and returns TL_E_PROGRAM; after an
// error the database is as it was. TL_E_MEMORY and TL_E_LIMIT (budgets) leave it usable too. Trees and sources must
// outlive the database. One thread at a time may use a database.
#ifndef TL_LOGIC_H
#define TL_LOGIC_H
#include "lang/ast.h"

#define LOGIC_MAX_COLS 30

typedef enum {
    LT_ENTITY, // interned string, member of a domain
    LT_INT,    // int64_t
    LT_FLOAT,  // double; -0 is stored as 0 and every NaN as one NaN, so equal bits mean equal values
    LT_STRING, // interned string
    LT_BOOL,   // 0 or 1
    LT_ANY,    // a column whose type the first fact or rule decides
} logic_type;

typedef struct logic_value {
    logic_type type; // never LT_ANY
    int64_t i;       // LT_INT, LT_BOOL
    double f;        // LT_FLOAT
    str s;           // LT_ENTITY, LT_STRING; from the database: valid until logic_db_free
} logic_value;

// How the last column of a relation combines when the columns before it are equal. NONE: rows are a set.
typedef enum { LF_NONE, LF_MAX, LF_MIN, LF_OR, LF_SUM, LF_AVG, LF_COUNT } logic_fold;

typedef struct logic_db logic_db;
typedef struct logic_rel logic_rel;

// What the evaluator adds; every pointer may be NULL.
typedef struct logic_hooks {
    void *ctx;
    // The value of a name that is bound in the program (then it is no variable of a rule).
    bool (*constant)(void *ctx, str name, logic_value *out);
    // A relation for R(...) or R[...] in a body where R is no relation of the database: typically made from a Boolean
    // tensor with logic_relation and logic_from_dense. NULL: there is none.
    logic_rel *(*relation)(void *ctx, str name, int arity);
    // A body literal that is no atom and no comparison the engine knows (`at[s] <= pos[p]`), with the values of the
    // rule's variables that occur in it.
    tl_status (*test)(void *ctx, const ast_expr *e, const str *names, const logic_value *values, int n, bool *out, tl_error *err);
    bool (*cancelled)(void *ctx);
} logic_hooks;

typedef struct logic_options {
    logic_hooks hooks;
    // Budgets of one evaluation; 0: the default.
    int64_t max_rounds; // of one fixpoint: 1,000,000
    int64_t max_steps;  // rows looked at: 2^40
    size_t max_bytes;   // of all relations: 8 GiB
} logic_options;

tl_status logic_db_new(const logic_options *o, logic_db **out, tl_error *err); // o may be NULL
void logic_db_free(logic_db *db);                                             // NULL is fine
size_t logic_bytes(const logic_db *db);                                       // memory held by relations and strings

// ---- entities and relations ----------------------------------------------------------------------
// Member `name` of `domain` (empty: of the domain "entity"), made when missing. *number (may be NULL): its place among
// the members, from 0: the index along an axis of that domain. The domain is also a relation of one column.
tl_status logic_entity(logic_db *db, str domain, str name, int64_t *number, tl_error *err);
int64_t logic_entity_count(logic_db *db, str domain); // members; 0 for a domain that does not exist
str logic_entity_name(logic_db *db, str domain, int64_t number); // empty when out of range
tl_status logic_entity_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl); // ST_ENTITY

typedef struct logic_column {
    str name;
    logic_type type;
    str domain; // of LT_ENTITY; empty: any entity
} logic_column;
// TL_E_USAGE: too many columns, or the name is taken by a relation of another shape (the same shape is returned).
tl_status logic_relation(logic_db *db, str name, const logic_column *cols, int arity, logic_rel **out, tl_error *err);
tl_status logic_relation_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl, logic_rel **out); // ST_RELATION
logic_rel *logic_find(logic_db *db, str name); // NULL: none
str logic_name(const logic_rel *r);
int logic_arity(const logic_rel *r);
logic_column logic_column_of(const logic_rel *r, int col);
logic_fold logic_fold_of(const logic_rel *r);

// ---- going back --------------------------------------------------------------------------------------
// Keeps a moment (facts are copied) to which logic_go_back returns, at most once; forget it afterwards, whether used
// or not, before the database is freed. TL_E_MEMORY, TL_E_LIMIT.
typedef struct logic_moment logic_moment;
tl_status logic_keep(logic_db *db, logic_moment **out, tl_error *err);
tl_status logic_go_back(logic_db *db, logic_moment *m, tl_error *err); // TL_E_MEMORY: names of members are lost
void logic_forget(logic_db *db, logic_moment *m);                      // NULL is fine

// ---- facts, rules ----------------------------------------------------------------------------------
tl_status logic_fact(logic_db *db, logic_rel *r, const logic_value *values, tl_error *err); // logic_arity(r) values
void logic_clear(logic_db *db, logic_rel *r);                                               // forgets its facts
tl_status logic_fact_from_ast(logic_db *db, const ast_expr *call, diag_list *dl);           // EX_CALL of a relation
// ST_RULE with a round head; ST_ASSIGN with a round head that is a relation (=, +=, min=, max=, avg=, or=).
tl_status logic_rule_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl);
// Evaluates what facts and rules since the last time made out of date. Queries, rows and saving do it by themselves.
tl_status logic_run(logic_db *db, diag_list *dl);

// ---- rows --------------------------------------------------------------------------------------------
// Rows are sorted: column by column, numbers by size, texts by their bytes.
typedef struct logic_rows logic_rows;
// One column for each free variable in order of appearance. A query without variables has 1 row (yes) or 0.
tl_status logic_query(logic_db *db, const ast_expr *atom, const ast_literal *where, diag_list *dl, logic_rows **out);
tl_status logic_iterate(logic_db *db, logic_rel *r, diag_list *dl, logic_rows **out); // every row of r
size_t logic_rows_count(const logic_rows *rows);
int logic_rows_columns(const logic_rows *rows);
str logic_rows_name(const logic_rows *rows, int col);
logic_value logic_rows_value(const logic_rows *rows, size_t row, int col);
void logic_rows_free(logic_rows *rows);
size_t logic_count(logic_rel *r); // rows as of the last evaluation

// ---- text ----------------------------------------------------------------------------------------------
typedef enum { LOGIC_TSV, LOGIC_CSV } logic_format;
// Adds a fact for each line. A column's type is the relation's; LT_ANY columns take int, then float, then string, the
// first that fits all lines. CSV as RFC 4180; TSV with \t \n \r \\ escaped. err->offset: of the line at fault.
tl_status logic_load_text(logic_db *db, logic_rel *r, logic_format f, str text, tl_error *err);
tl_status logic_save_text(logic_db *db, logic_rel *r, logic_format f, sbuf *out, diag_list *dl);
tl_status logic_load(logic_db *db, logic_rel *r, const char *path, tl_error *err); // .csv: CSV; else TSV
tl_status logic_save(logic_db *db, logic_rel *r, const char *path, diag_list *dl, tl_error *err);
void logic_value_text(logic_value v, sbuf *out); // as programs write it: strings in quotes, entities bare

// ---- Boolean tensors -------------------------------------------------------------------------------------
// Axis c of a tensor is the domain of column c (numbers of its members), or the value itself of an LT_INT column.
// sizes[c]: extent of axis c, row-major data, one byte an element (0 or not).
// The smallest sizes that hold every row. TL_E_USAGE: a column is neither an entity nor an int from 0.
tl_status logic_dense_sizes(logic_db *db, logic_rel *r, int64_t *sizes, diag_list *dl, tl_error *err);
// Sets data[...] to 0 and 1. A row outside sizes is an error (TL_E_USAGE).
tl_status logic_to_dense(logic_db *db, logic_rel *r, const int64_t *sizes, uint8_t *data, diag_list *dl, tl_error *err);
// Replaces the facts of r by the elements that are not 0. An entity axis longer than its domain is an error.
tl_status logic_from_dense(logic_db *db, logic_rel *r, const int64_t *sizes, const uint8_t *data, tl_error *err);
#endif
