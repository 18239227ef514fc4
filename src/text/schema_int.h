// schema_int.h - shared by the schema*.c files. Failure leaves by schema_fail's longjmp to schema_to_gbnf; strings live in
// one arena. Functions that return text return a GBNF expression that can stand in a sequence as it is.
#ifndef TL_TEXT_SCHEMA_INT_H
#define TL_TEXT_SCHEMA_INT_H
#include "text/schema.h"
#include <setjmp.h>

typedef struct place { // where in the schema, for messages; on the C stack
    const struct place *up;
    const char *name;
} place;

typedef struct schema {
    arena mem;
    jmp_buf jump;
    tl_error *err;
    tl_status code;
    const json_t *root; // NULL: no schema, but a regular expression or choices
    sbuf out;       // the rules
    sbuf values;    // the list of values being written
    map refs;       // pointer -> rule number
    json_t *made;   // array of schemas merged from allOf
    const place *at;
    int n_rules, depth;
    uint32_t shared; // bits of the rules of schema_string.c's table that are used
} schema;

typedef enum {
    SH_SPACE,
    SH_CHAR,
    SH_STRING,
    SH_NUMBER,
    SH_INTEGER,
    SH_VALUE,
    SH_OBJECT,
    SH_ARRAY,
    SH_DATE,
    SH_TIME
} shared_rule;

_Noreturn void schema_fail(schema *s, tl_status code, const char *fmt, ...) TL_PRINTF(3, 4);
char *schema_text(schema *s, const char *fmt, ...) TL_PRINTF(2, 3); // in the arena; limited in size
const char *schema_rule(schema *s, const char *body);               // a new rule; its name
const char *schema_shared(schema *s, shared_rule rule);             // its name; written out once
const char *schema_literal(schema *s, const char *text);            // "text", escaped for GBNF
const char *schema_string(schema *s, const json_t *j);              // schema_string.c: minLength, pattern, format
const char *schema_number(schema *s, const json_t *j, bool whole);  // schema_number.c: minimum, maximum
// schema_regex.c. As JSON: what may stand between the quotes, unanchored ends open. Plain: the whole text.
const char *schema_pattern(schema *s, str regex, bool plain);
int64_t schema_count(schema *s, const json_t *j, const char *key, int64_t absent); // a non-negative whole number
#endif
