// jinja_int.h - shared by the jinja_*.c files only: values, syntax tree, runtime.
// Invariants: every value and node lives in one arena; failure leaves by jinja_fail's longjmp to the setjmp in
// jinja_compile or jinja_render, which is safe because nothing but arenas is owned in between. Strings, lists and dicts are
// immutable once another value can see them.
#ifndef TL_TEXT_JINJA_INT_H
#define TL_TEXT_JINJA_INT_H
#include "text/jinja.h"
#include <setjmp.h>

typedef struct jrt jrt; // runtime (and, while compiling, compiler) state

// ---- values ------------------------------------------------------------------------------------
typedef enum {
    JV_MISSING, // an argument that was not given
    JV_UNDEF,   // u.s: the name that was not there, or NULL
    JV_NONE,
    JV_BOOL,
    JV_INT,
    JV_FLOAT,
    JV_STR,
    JV_LIST,
    JV_TUPLE,
    JV_DICT,
    JV_GEN,  // a generator: read once, always true, no length
    JV_NS,   // namespace(): the one mutable value
    JV_FUNC, // id: a global function
    JV_METHOD,
    JV_MACRO,
    JV_LOOP,
} jv_kind;

typedef struct jstr {
    const char *p; // UTF-8
    size_t n;
    const jinja_range *taint; // sorted, disjoint
    uint32_t n_taint;
    int64_t chars; // code points; -1: not counted yet
} jstr;

typedef struct jlist jlist;
typedef struct jdict jdict;
typedef struct jmacro jmacro;
typedef struct jloop jloop;

typedef struct jv {
    jv_kind kind;
    uint32_t
        id; // JV_FUNC: which; JV_METHOD: which; JV_UNDEF: 0 a variable, else 1 + kind of the object it was looked up in
    union {
        bool b;
        int64_t i;
        double f;
        jstr *s;
        jlist *l; // also JV_GEN
        jdict *d; // also JV_NS
        jmacro *m;
        jloop *loop;
        struct jv *self; // JV_METHOD: the receiver
    } u;
} jv;

struct jlist {
    jv *v;
    size_t n, cap;
    size_t pos; // JV_GEN: items already taken
};
typedef struct jpair {
    jv k, v;
    uint64_t hash;
} jpair;
struct jdict {
    jpair *e; // insertion order
    size_t n, cap;
    uint32_t *index; // open addressing over e, entries + 1; NULL while small
    size_t n_index;
};

static inline jv jv_undef(jstr *what) { return (jv){JV_UNDEF, 0, {.s = what}}; }
static inline jv jv_none(void) { return (jv){JV_NONE, 0, {.i = 0}}; }
static inline jv jv_bool(bool b) { return (jv){JV_BOOL, 0, {.i = b}}; } // u.i is set too: bool is an int
static inline jv jv_int(int64_t i) { return (jv){JV_INT, 0, {.i = i}}; }
static inline jv jv_float(double f) { return (jv){JV_FLOAT, 0, {.f = f}}; }
static inline jv jv_of_str(jstr *s) { return (jv){JV_STR, 0, {.s = s}}; }
static inline jv jv_of_list(jlist *l) { return (jv){JV_LIST, 0, {.l = l}}; }
static inline bool jv_is_int(jv v) { return v.kind == JV_INT || v.kind == JV_BOOL; }
static inline bool jv_is_num(jv v) { return jv_is_int(v) || v.kind == JV_FLOAT; }
static inline double jv_num(jv v) { return v.kind == JV_FLOAT ? v.u.f : (double)v.u.i; }

// ---- syntax tree -------------------------------------------------------------------------------
typedef enum {
    // expressions
    E_CONST, // value
    E_NAME,  // id, value (the name)
    E_LIST, E_TUPLE,
    E_DICT,                       // list: key, value, key, value, ...
    E_NEG, E_POS, E_NOT, E_AND, E_OR, // a (, b)
    E_BIN,                        // op, a, b
    E_CONCAT,                     // list
    E_CMP,                        // list: operands; ops: the operators between
    E_COND,                       // a if b else c (NULL)
    E_ATTR,                       // a, value (name)
    E_ITEM,                       // a, b
    E_SLICE,                      // a, b, c; NULL where absent
    E_CALL,                       // a, args
    E_FILTER,                     // a (NULL inside {% filter %} and {% set | %}), id, args
    E_TEST,                       // a, id, args; flag: negated
    // statements
    S_BODY,  // list
    S_DATA,  // value
    S_PRINT, // a
    S_IF,    // list: condition, body, ...; c: else
    S_FOR,   // a target, b iterable, c condition, list: body, else (NULL); flag: recursive
    S_SET,   // a target, b value
    S_SETBLOCK, // a target, b filter chain or NULL, c body
    S_MACRO,    // id, value: name; args: parameters with defaults; c body; op: MACRO_USES_*
    S_CALLBLOCK, // a call expression, b the caller as S_MACRO
    S_FILTER,    // b filter chain, c body
    S_WITH,      // list: target, value, ...; c body
    S_BREAK, S_CONTINUE,
    S_GENERATION, // c body
} jkind;

enum { MACRO_USES_CALLER = 1, MACRO_USES_VARARGS = 2, MACRO_USES_KWARGS = 4 };
enum { // two-character operators; one-character ones are themselves
    OP_POW = 256, OP_FLOORDIV, OP_EQ, OP_NE, OP_LE, OP_GE, OP_IN, OP_NOTIN
};
typedef enum { ARG_POS, ARG_KW, ARG_STAR, ARG_DSTAR } jarg_kind;

typedef struct jnode jnode;
typedef struct jarg {
    jarg_kind kind;
    jstr *name; // ARG_KW; a macro's parameter
    uint32_t id;
    jnode *value; // a parameter's default, or NULL
} jarg;
struct jnode {
    uint8_t kind;
    bool flag;
    uint16_t op;
    uint32_t line, id, n, n_args;
    jnode *a, *b, *c;
    jnode **list;
    uint16_t *ops;
    jarg *args;
    jv value;
};

typedef struct jclean { // string values under `key` that are one of `words` carry no taint
    const char *key;
    const char *const *words; // NULL-terminated
} jclean;

struct jinja {
    arena mem;
    jnode *root;
    map ids;      // name -> id
    jstr **names; // by id
    bool *read; // by id: whether an expression reads it
    uint32_t n_names;
};

// ---- runtime -----------------------------------------------------------------------------------
typedef struct jvar {
    uint32_t id;
    jv v;
} jvar;
typedef struct jscope {
    struct jscope *parent;
    jvar *vars;
    uint32_t n, cap;
    bool captured; // a macro points here: the loop must not reuse it
} jscope;

struct jmacro {
    const jnode *node;
    jscope *scope; // where it was defined
};
struct jloop {
    jlist *items;
    size_t index; // 0-based
    int depth0;
    const jnode *node; // to recurse
    jscope *outer;
    jlist *last_changed; // arguments of the last loop.changed()
};

// A growing string with its taint.
typedef struct jbuf {
    char *p;
    size_t n, cap;
    jinja_range *t;
    size_t nt, ct;
} jbuf;

struct jrt {
    arena mem;
    jmp_buf jump;
    tl_error *err;
    tl_status code;
    jinja_limits lim;
    int64_t steps;
    int depth;
    uint32_t line; // of the node being evaluated
    const jinja *t;
    jdict *globals; // the caller's variables
    jclean clean;
    jscope *scope;
    jbuf *out, *root_out;
    jbuf root_buf;
    jinja_range *gen;
    size_t n_gen, cap_gen;
    bool raised; // the failure is raise_exception's
};

_Noreturn void jinja_fail(jrt *r, tl_status code, const char *fmt, ...) TL_PRINTF(3, 4);
_Noreturn void jinja_fail_mem(void *r, size_t size); // arena.on_fail
static inline void jinja_step(jrt *r, int64_t n) {
    if ((r->steps += n) > r->lim.steps) jinja_fail(r, TL_E_LIMIT, "too many steps (limit %lld)", (long long)r->lim.steps);
}
static inline void jinja_enter(jrt *r) {
    jinja_step(r, 1);
    if (++r->depth > r->lim.depth) jinja_fail(r, TL_E_LIMIT, "nested too deeply (limit %d)", r->lim.depth);
}
static inline void jinja_leave(jrt *r) { r->depth--; }

// ---- jinja_value.c: construction, dicts, comparison ---------------------------------------------
jstr *jstr_new(jrt *r, const char *p, size_t n);          // copies; untainted
jstr *jstr_wrap(jrt *r, const char *p, size_t n);         // points at p
jstr *jstr_sub(jrt *r, const jstr *s, size_t from, size_t to); // shares bytes; carries taint
static inline jstr *jstr_lit(jrt *r, const char *s) { return jstr_wrap(r, s, strlen(s)); }
int64_t jstr_chars(jstr *s);
static inline bool jstr_ascii(jstr *s) { return (size_t)jstr_chars(s) == s->n; }
static inline str jstr_slice(const jstr *s) { return (str){s->p, s->n}; }
void jb_put(jrt *r, jbuf *b, const char *p, size_t n, bool tainted);
void jb_puts(jrt *r, jbuf *b, const char *s);
void jb_str(jrt *r, jbuf *b, const jstr *s);
void jb_sub(jrt *r, jbuf *b, const jstr *s, size_t from, size_t to);
jstr *jb_done(jrt *r, jbuf *b);
jv jb_value(jrt *r, jbuf *b);
jlist *jlist_new(jrt *r, size_t cap);
void jlist_push(jrt *r, jlist *l, jv v);
jdict *jdict_new(jrt *r);
jv *jdict_find(jrt *r, jdict *d, jv key); // NULL if absent; fails for an unhashable key
jv *jdict_get(jrt *r, jdict *d, const char *key);
void jdict_put(jrt *r, jdict *d, jv key, jv value);
bool jv_hashable(jv v);
bool jv_true(jv v);
bool jv_eq(jrt *r, jv a, jv b);
int jv_cmp(jrt *r, jv a, jv b); // <0, 0, >0; fails as Python's < would
bool jv_in(jrt *r, jv item, jv container);
const char *jv_type(jv v); // Python's name of the type
jlist *jv_iter(jrt *r, jv v); // the items; a generator is used up
jstr *jstr_concat(jrt *r, const jstr *a, const jstr *b);

// ---- jinja_print.c: text of values --------------------------------------------------------------
void jv_print(jrt *r, jbuf *b, jv v); // str()
void jv_repr(jrt *r, jbuf *b, jv v);
jstr *jv_text(jrt *r, jv v); // str()
typedef struct jjson {
    bool ascii, sort, pretty;
    jstr *indent, *item_sep, *key_sep;
} jjson;
void jv_json(jrt *r, jbuf *b, jv v, const jjson *o, int level);
size_t float_repr(char buf[40], double f); // Python's repr
// `clean` as in jinja_ctx_clean, or NULL.
jv jv_from_json(jrt *r, const json_t *j, bool tainted, const jclean *clean, int depth);

// ---- jinja_format.c: '%' and str.format() -------------------------------------------------------
typedef struct jkw {
    jstr *name;
    jv v;
} jkw;
typedef struct jcall {
    jv *pos;
    uint32_t n;
    jkw *kw;
    uint32_t n_kw;
} jcall;
jv format_percent(jrt *r, jstr *fmt, jv args);
jv format_braces(jrt *r, jstr *fmt, const jcall *c);

// ---- jinja_text.c: Unicode and operations on strings ---------------------------------------------------
size_t utf8_next(const char *p, size_t n, int32_t *cp); // bytes used (>= 1); U+FFFD for bad bytes
size_t utf8_put(char out[4], int32_t cp);
bool utf8_valid(const char *p, size_t n);
bool cp_space(int32_t cp);
bool cp_printable(int32_t cp);
size_t text_lspace(const char *p, size_t n); // bytes of leading white space
size_t text_rtrim(const char *p, size_t n);  // length without trailing white space
size_t text_offset(jstr *s, int64_t index);  // byte offset of a code point index in [0, chars]
int64_t text_find(str hay, str needle, size_t from); // -1
jstr *text_strip(jrt *r, jstr *s, jv chars, int sides); // 1 left, 2 right, 3 both
jstr *text_replace(jrt *r, jstr *s, jstr *from, jstr *to, int64_t count);
typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITAL, CASE_SWAP, CASE_JTITLE } text_case;
jstr *text_recase(jrt *r, const jstr *s, text_case how);
bool text_is_case(const jstr *s, bool upper); // Python's isupper, islower
jstr *text_pad(jrt *r, jstr *s, int64_t width, jstr *fill, int mode); // 0 ljust, 1 rjust, 2 center
jlist *text_chars(jrt *r, jstr *s);
jv text_join(jrt *r, jstr *sep, jlist *items);
jv text_index(jrt *r, jstr *s, int64_t i); // undefined out of range
bool text_tainted(const jstr *s, uint32_t *range, size_t i); // is byte i; *range starts at 0 and i never goes back

// ---- jinja_method.c: methods of strings, dicts and lists -----------------------------------------
int method_find(jv self, str name); // -1; a method of the value's type
const char *method_name(jv method);
jv method_call(jrt *r, jv method, const jcall *c);

// ---- jinja_eval.c, jinja_exec.c -----------------------------------------------------------------
jv jinja_eval(jrt *r, const jnode *n);
_Noreturn void eval_undefined(jrt *r, jv undef); // fails: "'x' is undefined"
jv eval_attr(jrt *r, jv obj, jstr *name);
jv eval_item(jrt *r, jv obj, jv key);
jv eval_binary(jrt *r, int op, jv a, jv b);
bool eval_compare(jrt *r, int op, jv a, jv b);
jv eval_call(jrt *r, jv f, const jcall *c);
jv eval_filters(jrt *r, const jnode *chain, jv in); // chain's innermost operand is NULL
// Spreads the call's arguments over `params` ("!needed optional ..."); absent ones are JV_MISSING.
void call_bind(jrt *r, const char *what, const char *params, const jcall *c, jv *out);
int64_t call_int(jrt *r, const char *what, jv v, int64_t absent);
jstr *call_str(jrt *r, const char *what, jv v);
jv *scope_find(jrt *r, uint32_t id);
void scope_set(jrt *r, jscope *s, uint32_t id, jv v);
jscope *scope_new(jrt *r, jscope *parent);
jv exec_macro(jrt *r, jmacro *m, const jcall *c);
jv exec_loop_again(jrt *r, jloop *l, jv items);
void exec_render(jrt *r);

// ---- jinja_filter.c, jinja_test.c, jinja_func.c --------------------------------------------------
int filter_find(str name); // -1
jv filter_call(jrt *r, int id, jv in, const jcall *c);
int test_find(str name); // -1
bool test_call(jrt *r, int id, jv in, const jcall *c);
int func_find(str name); // -1
jv func_call(jrt *r, int id, const jcall *c);
const char *func_name(int id);
jv loop_attr(jrt *r, jv loop, str name);
jv loop_call(jrt *r, jv method, const jcall *c); // loop.cycle, loop.changed

// ---- jinja_lex.c, jinja_parse.c ------------------------------------------------------------------
typedef enum {
    T_EOF, T_DATA, T_VAR_BEGIN, T_VAR_END, T_BLOCK_BEGIN, T_BLOCK_END, T_NAME, T_STRING, T_INT, T_FLOAT, T_OP
} jtok_type;
typedef struct jtok {
    jtok_type type;
    uint32_t line;
    int op; // T_OP
    str text; // T_DATA, T_NAME
    jv value; // T_STRING, T_INT, T_FLOAT
} jtok;
typedef struct jlex {
    const char *p;
    size_t n, pos;
    uint32_t line;
    int mode, balance;
    bool line_start;
} jlex;
void lex_init(jrt *r, jlex *lx, str source);
jtok lex_next(jrt *r, jlex *lx);
void parse_template(jrt *r, jinja *t, str source);
#endif
