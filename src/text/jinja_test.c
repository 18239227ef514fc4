// jinja_test.c - the tests of `is`.
#include "text/jinja_int.h"

typedef enum {
    IS_BOOLEAN, IS_CALLABLE, IS_DEFINED, IS_DIVISIBLE, IS_EQ, IS_EVEN, IS_FALSE, IS_FILTER, IS_FLOAT, IS_GE, IS_GT, IS_IN,
    IS_INTEGER, IS_ITERABLE, IS_LE, IS_LOWER, IS_LT, IS_MAPPING, IS_NE, IS_NONE, IS_NUMBER, IS_ODD, IS_SAMEAS,
    IS_SEQUENCE, IS_STRING, IS_TEST, IS_TRUE, IS_UNDEFINED, IS_UPPER, IS_ESCAPED
} test_id;

static const struct test {
    const char *name;
    test_id id;
    bool arg; // takes one argument
} tests[] = {
    {"boolean", IS_BOOLEAN, false}, {"callable", IS_CALLABLE, false}, {"defined", IS_DEFINED, false},
    {"divisibleby", IS_DIVISIBLE, true}, {"==", IS_EQ, true}, {"eq", IS_EQ, true}, {"equalto", IS_EQ, true},
    {"escaped", IS_ESCAPED, false}, {"even", IS_EVEN, false}, {"false", IS_FALSE, false}, {"filter", IS_FILTER, false},
    {"float", IS_FLOAT, false}, {">=", IS_GE, true}, {"ge", IS_GE, true}, {">", IS_GT, true}, {"gt", IS_GT, true},
    {"greaterthan", IS_GT, true}, {"in", IS_IN, true}, {"integer", IS_INTEGER, false}, {"iterable", IS_ITERABLE, false},
    {"<=", IS_LE, true}, {"le", IS_LE, true}, {"lower", IS_LOWER, false}, {"<", IS_LT, true}, {"lt", IS_LT, true},
    {"lessthan", IS_LT, true}, {"mapping", IS_MAPPING, false}, {"!=", IS_NE, true}, {"ne", IS_NE, true},
    {"none", IS_NONE, false}, {"number", IS_NUMBER, false}, {"odd", IS_ODD, false}, {"sameas", IS_SAMEAS, true},
    {"sequence", IS_SEQUENCE, false}, {"string", IS_STRING, false}, {"test", IS_TEST, false}, {"true", IS_TRUE, false},
    {"undefined", IS_UNDEFINED, false}, {"upper", IS_UPPER, false},
};

int test_find(str name) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (str_is(name, tests[i].name)) return (int)i;
    return -1;
}

static bool same(jv a, jv b) { // Python's `is`, as far as values tell
    if (a.kind != b.kind) return false;
    if (a.kind == JV_NONE) return true;
    if (jv_is_int(a)) return a.u.i == b.u.i;
    if (a.kind == JV_FLOAT) return false;
    return a.u.l == b.u.l;
}

static bool sequence(jv v) {
    return v.kind == JV_STR || v.kind == JV_LIST || v.kind == JV_TUPLE || v.kind == JV_DICT || v.kind == JV_UNDEF;
}

bool test_call(jrt *r, int id, jv v, const jcall *c) {
    const struct test *t = &tests[id];
    if (c->n_kw || c->n != (uint32_t)t->arg)
        jinja_fail(r, TL_E_FORMAT, "the test '%s' takes %s", t->name, t->arg ? "one argument" : "no arguments");
    jv a = t->arg ? c->pos[0] : (jv){0};
    switch (t->id) {
    case IS_BOOLEAN: return v.kind == JV_BOOL;
    case IS_CALLABLE: return v.kind == JV_FUNC || v.kind == JV_METHOD || v.kind == JV_MACRO || v.kind == JV_LOOP;
    case IS_DEFINED: return v.kind != JV_UNDEF;
    case IS_UNDEFINED: return v.kind == JV_UNDEF;
    case IS_DIVISIBLE: return jv_eq(r, eval_binary(r, '%', v, a), jv_int(0));
    case IS_EVEN: return jv_eq(r, eval_binary(r, '%', v, jv_int(2)), jv_int(0));
    case IS_ODD: return jv_eq(r, eval_binary(r, '%', v, jv_int(2)), jv_int(1));
    case IS_EQ: return jv_eq(r, v, a);
    case IS_NE: return !jv_eq(r, v, a);
    case IS_GE: return eval_compare(r, OP_GE, v, a);
    case IS_GT: return eval_compare(r, '>', v, a);
    case IS_LE: return eval_compare(r, OP_LE, v, a);
    case IS_LT: return eval_compare(r, '<', v, a);
    case IS_IN: return jv_in(r, v, a);
    case IS_TRUE: return v.kind == JV_BOOL && v.u.b;
    case IS_FALSE: return v.kind == JV_BOOL && !v.u.b;
    case IS_FILTER: return v.kind == JV_STR && filter_find(jstr_slice(v.u.s)) >= 0;
    case IS_TEST: return v.kind == JV_STR && test_find(jstr_slice(v.u.s)) >= 0;
    case IS_FLOAT: return v.kind == JV_FLOAT;
    case IS_INTEGER: return v.kind == JV_INT;
    case IS_NUMBER: return jv_is_num(v);
    case IS_ITERABLE: return sequence(v) || v.kind == JV_GEN;
    case IS_LOWER: return text_is_case(jv_text(r, v), false);
    case IS_UPPER: return text_is_case(jv_text(r, v), true);
    case IS_MAPPING: return v.kind == JV_DICT;
    case IS_NONE: return v.kind == JV_NONE;
    case IS_SAMEAS: return same(v, a);
    case IS_SEQUENCE: return sequence(v);
    case IS_STRING: return v.kind == JV_STR;
    case IS_ESCAPED: return false;
    }
    return false;
}
