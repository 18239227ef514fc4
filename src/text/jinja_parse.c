// jinja_parse.c - tokens to a syntax tree, after Jinja2's own grammar.
#include "text/jinja_int.h"

typedef struct parser {
    jrt *r;
    jinja *t;
    jlex lex;
    jtok tok; // the current one
    int loops;
    uint32_t open_line; // of the tag that opened the body to come
    uint16_t uses; // MACRO_USES_* of the macro being read
    size_t cap_names; // of t->names and t->read
} parser;

typedef VEC(jnode *) nodes; // grown in the arena by push_node

// ---- small steps ---------------------------------------------------------------------------------
static void next(parser *p) { p->tok = lex_next(p->r, &p->lex); }

static jnode *node(parser *p, jkind kind) {
    jnode *n = arena_new(&p->r->mem, jnode);
    n->kind = (uint8_t)kind;
    n->line = p->tok.line;
    return n;
}

static void push_node(parser *p, nodes *v, jnode *n) {
    if (v->n == v->cap) {
        size_t cap = v->cap ? 2 * v->cap : 4;
        jnode **q = arena_array(&p->r->mem, jnode *, cap);
        if (v->n) memcpy(q, v->p, v->n * sizeof *q);
        v->p = q;
        v->cap = cap;
    }
    v->p[v->n++] = n;
}

static void set_list(jnode *n, const nodes *v) {
    n->list = v->p;
    n->n = (uint32_t)v->n;
}

static bool is_op(const parser *p, int op) { return p->tok.type == T_OP && p->tok.op == op; }
static bool is_name(const parser *p, const char *name) { return p->tok.type == T_NAME && str_is(p->tok.text, name); }
static bool skip_op(parser *p, int op) { return is_op(p, op) ? (next(p), true) : false; }
static bool skip_name(parser *p, const char *name) { return is_name(p, name) ? (next(p), true) : false; }

static const char *token_text(const parser *p, char buf[64]) {
    static const char *const kinds[] = {"end of template", "template data", "{{", "end of print statement", "{%",
                                        "end of statement block", "", "string", "integer", "float", ""};
    static const char *const two[] = {"**", "//", "==", "!=", "<=", ">="};
    if (p->tok.type == T_NAME) return str_escape(buf, 64, p->tok.text);
    if (p->tok.type != T_OP) return kinds[p->tok.type];
    if (p->tok.op >= OP_POW && p->tok.op <= OP_GE) return two[p->tok.op - OP_POW];
    snprintf(buf, 64, "%c", p->tok.op);
    return buf;
}

_Noreturn static void unexpected(parser *p, const char *wanted) {
    char buf[64];
    p->r->line = p->tok.line;
    if (wanted) jinja_fail(p->r, TL_E_FORMAT, "expected %s, got '%s'", wanted, token_text(p, buf));
    jinja_fail(p->r, TL_E_FORMAT, "unexpected '%s'", token_text(p, buf));
}

static void expect_op(parser *p, int op) {
    char want[8];
    snprintf(want, sizeof want, "'%c'", op);
    if (!skip_op(p, op)) unexpected(p, want);
}

static uint32_t name_id(parser *p, str name) {
    int64_t *old = map_get(&p->t->ids, name);
    if (old) return (uint32_t)*old;
    jinja *t = p->t;
    if (t->n_names == p->cap_names) {
        size_t cap = p->cap_names ? 2 * p->cap_names : 32;
        jstr **names = arena_array(&p->r->mem, jstr *, cap);
        bool *read = arena_array(&p->r->mem, bool, cap);
        if (t->n_names) memcpy(names, t->names, t->n_names * sizeof *names);
        if (t->n_names) memcpy(read, t->read, t->n_names * sizeof *read);
        t->names = names;
        t->read = read;
        p->cap_names = cap;
    }
    jstr *s = jstr_new(p->r, name.p, name.n);
    jstr_chars(s);
    t->names[t->n_names] = s;
    if (!map_put(&p->t->ids, jstr_slice(s), t->n_names)) jinja_fail_mem(p->r, 0);
    return t->n_names++;
}

static jstr *take_name(parser *p, const char *what) {
    if (p->tok.type != T_NAME) unexpected(p, what);
    uint32_t id = name_id(p, p->tok.text); // may move t->names
    next(p);
    return p->t->names[id];
}

static jnode *constant(parser *p, jv v) {
    jnode *n = node(p, E_CONST);
    n->value = v;
    return n;
}

// ---- expressions ---------------------------------------------------------------------------------
static jnode *expression(parser *p, bool condexpr);
static jnode *unary(parser *p, bool filters);
static jnode *postfix(parser *p, jnode *n);
static jnode *primary(parser *p);

static void push_arg(parser *p, jnode *n, jarg a, uint32_t *cap) {
    if (n->n_args == *cap) {
        *cap = *cap ? 2 * *cap : 4;
        jarg *q = arena_array(&p->r->mem, jarg, *cap);
        if (n->n_args) memcpy(q, n->args, n->n_args * sizeof *q);
        n->args = q;
    }
    n->args[n->n_args++] = a;
}

static void call_args(parser *p, jnode *n) { // after the '('
    uint32_t cap = 0;
    bool keyword = false;
    while (!skip_op(p, ')')) {
        jarg a = {.kind = skip_op(p, OP_POW) ? ARG_DSTAR : skip_op(p, '*') ? ARG_STAR : ARG_POS};
        a.value = expression(p, true);
        if (a.kind == ARG_POS && a.value->kind == E_NAME && is_op(p, '=')) {
            next(p);
            a = (jarg){ARG_KW, a.value->value.u.s, a.value->id, expression(p, true)};
        }
        if (a.kind == ARG_POS && keyword) unexpected(p, "a keyword argument");
        keyword |= a.kind != ARG_POS && a.kind != ARG_STAR;
        push_arg(p, n, a, &cap);
        if (!is_op(p, ')')) expect_op(p, ',');
    }
}

static bool tuple_end(const parser *p) {
    return p->tok.type == T_VAR_END || p->tok.type == T_BLOCK_END || is_op(p, ')');
}

// a, b, c: one expression alone is itself. `stop` is a name that ends it.
static jnode *tuple(parser *p, bool condexpr, const char *stop, bool may_be_empty) {
    jnode *n = node(p, E_TUPLE);
    nodes items = {0};
    bool comma = false;
    for (;;) {
        if (comma) expect_op(p, ',');
        if (tuple_end(p) || (stop && is_name(p, stop))) break;
        push_node(p, &items, expression(p, condexpr));
        comma = true;
        if (!is_op(p, ',')) break;
        n->flag = true; // really a tuple
    }
    if (!n->flag && items.n == 1) return items.p[0];
    if (!n->flag && !may_be_empty) unexpected(p, "an expression");
    set_list(n, &items);
    return n;
}

static jnode *list_literal(parser *p) {
    jnode *n = node(p, E_LIST);
    nodes items = {0};
    next(p);
    while (!skip_op(p, ']')) {
        push_node(p, &items, expression(p, true));
        if (!is_op(p, ']')) expect_op(p, ',');
    }
    set_list(n, &items);
    return n;
}

static jnode *dict_literal(parser *p) {
    jnode *n = node(p, E_DICT);
    nodes items = {0};
    next(p);
    while (!skip_op(p, '}')) {
        push_node(p, &items, expression(p, true));
        expect_op(p, ':');
        push_node(p, &items, expression(p, true));
        if (!is_op(p, '}')) expect_op(p, ',');
    }
    set_list(n, &items);
    return n;
}

static jnode *name_node(parser *p) {
    static const struct {
        const char *name;
        int value;
    } words[] = {{"true", 1}, {"True", 1}, {"false", 0}, {"False", 0}, {"none", -1}, {"None", -1}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!is_name(p, words[i].name)) continue;
        jnode *n = constant(p, words[i].value < 0 ? jv_none() : jv_bool(words[i].value));
        next(p);
        return n;
    }
    jnode *n = node(p, E_NAME);
    if (is_name(p, "caller")) p->uses |= MACRO_USES_CALLER;
    if (is_name(p, "varargs")) p->uses |= MACRO_USES_VARARGS;
    if (is_name(p, "kwargs")) p->uses |= MACRO_USES_KWARGS;
    n->id = name_id(p, p->tok.text);
    p->t->read[n->id] = true;
    n->value = jv_of_str(p->t->names[n->id]);
    next(p);
    return n;
}

static jnode *string_literal(parser *p) { // neighbours are one string
    jnode *n = constant(p, p->tok.value);
    for (next(p); p->tok.type == T_STRING; next(p)) {
        n->value = jv_of_str(jstr_concat(p->r, n->value.u.s, p->tok.value.u.s));
        jstr_chars(n->value.u.s);
    }
    return n;
}

static jnode *primary(parser *p) {
    if (p->tok.type == T_NAME) return name_node(p);
    if (p->tok.type == T_STRING) return string_literal(p);
    if (p->tok.type == T_INT || p->tok.type == T_FLOAT) {
        jnode *n = constant(p, p->tok.value);
        next(p);
        return n;
    }
    if (skip_op(p, '(')) {
        jnode *n = tuple(p, true, NULL, true);
        expect_op(p, ')');
        return n;
    }
    if (is_op(p, '[')) return list_literal(p);
    if (is_op(p, '{')) return dict_literal(p);
    unexpected(p, NULL);
}

static jnode *subscript(parser *p, jnode *of) { // after the '['
    jnode *n = node(p, E_ITEM), *part[3] = {0};
    int parts = 0;
    n->a = of;
    if (!is_op(p, ':')) part[0] = expression(p, true);
    while (is_op(p, ':') && parts < 2) {
        next(p);
        parts++;
        if (!is_op(p, ']') && !is_op(p, ':')) part[parts] = expression(p, true);
    }
    if (is_op(p, ',')) jinja_fail(p->r, TL_E_UNSUPPORTED, "subscripts with commas are not supported");
    expect_op(p, ']');
    n->b = part[0];
    if (parts == 0) return n;
    jnode *s = node(p, E_SLICE);
    s->a = of;
    s->b = part[0];
    s->c = part[1];
    s->list = arena_array(&p->r->mem, jnode *, 1);
    s->list[0] = part[2];
    return s;
}

static jnode *postfix(parser *p, jnode *n) {
    for (;;) {
        jnode *o;
        if (skip_op(p, '.')) {
            if (p->tok.type == T_INT) {
                o = node(p, E_ITEM);
                o->b = primary(p);
            } else {
                o = node(p, E_ATTR);
                o->value = jv_of_str(take_name(p, "a name"));
            }
        } else if (skip_op(p, '[')) {
            n = subscript(p, n);
            continue;
        } else if (is_op(p, '(')) {
            o = node(p, E_CALL);
            next(p);
            call_args(p, o);
        } else {
            return n;
        }
        o->a = n;
        n = o;
    }
}

static jstr *dotted_name(parser *p, const char *what) {
    jstr *name = take_name(p, what);
    while (skip_op(p, '.')) {
        name = jstr_concat(p->r, name, jstr_lit(p->r, "."));
        name = jstr_concat(p->r, name, take_name(p, "a name"));
        jstr_chars(name);
    }
    return name;
}

static jnode *filter_node(parser *p, jnode *in) { // after the '|'
    jnode *n = node(p, E_FILTER);
    n->a = in;
    jstr *name = dotted_name(p, "a filter's name");
    n->value = jv_of_str(name);
    n->id = (uint32_t)filter_find(jstr_slice(name));
    if (skip_op(p, '(')) call_args(p, n);
    return n;
}

// An argument may follow a test's name without parentheses: `is divisibleby 3`.
static bool bare_test_arg(const parser *p) {
    if (p->tok.type == T_NAME) return !is_name(p, "else") && !is_name(p, "or") && !is_name(p, "and") && !is_name(p, "is") &&
                                      !is_name(p, "if") && !is_name(p, "in") && !is_name(p, "not");
    return p->tok.type == T_STRING || p->tok.type == T_INT || p->tok.type == T_FLOAT || is_op(p, '[') || is_op(p, '{');
}

static jnode *test_node(parser *p, jnode *in) { // after the `is`
    jnode *n = node(p, E_TEST);
    n->a = in;
    n->flag = skip_name(p, "not");
    jstr *name = dotted_name(p, "a test's name");
    n->value = jv_of_str(name);
    n->id = (uint32_t)test_find(jstr_slice(name));
    if (skip_op(p, '(')) {
        call_args(p, n);
    } else if (bare_test_arg(p)) {
        uint32_t cap = 0;
        push_arg(p, n, (jarg){.kind = ARG_POS, .value = postfix(p, primary(p))}, &cap);
    }
    return n;
}

static jnode *filters(parser *p, jnode *n) {
    for (;;) {
        if (skip_op(p, '|')) n = filter_node(p, n);
        else if (skip_name(p, "is")) n = test_node(p, n);
        else if (is_op(p, '(')) n = postfix(p, n);
        else return n;
    }
}

static jnode *unary(parser *p, bool with_filters) {
    jinja_enter(p->r);
    jnode *n;
    if (is_op(p, '-') || is_op(p, '+')) {
        n = node(p, p->tok.op == '-' ? E_NEG : E_POS);
        next(p);
        n->a = unary(p, false);
    } else {
        n = primary(p);
    }
    n = postfix(p, n);
    if (with_filters) n = filters(p, n);
    jinja_leave(p->r);
    return n;
}

static jnode *binary(parser *p, int op, jnode *a, jnode *b) {
    jnode *n = node(p, E_BIN);
    n->op = (uint16_t)op;
    n->a = a;
    n->b = b;
    return n;
}

static jnode *power(parser *p) {
    jnode *n = unary(p, true);
    while (skip_op(p, OP_POW)) n = binary(p, OP_POW, n, unary(p, true));
    return n;
}

static jnode *product(parser *p) {
    jnode *n = power(p);
    while (is_op(p, '*') || is_op(p, '/') || is_op(p, OP_FLOORDIV) || is_op(p, '%')) {
        int op = p->tok.op;
        next(p);
        n = binary(p, op, n, power(p));
    }
    return n;
}

static jnode *concat(parser *p) {
    jnode *first = product(p);
    if (!is_op(p, '~')) return first;
    jnode *n = node(p, E_CONCAT);
    nodes items = {0};
    push_node(p, &items, first);
    while (skip_op(p, '~')) push_node(p, &items, product(p));
    set_list(n, &items);
    return n;
}

static jnode *sum(parser *p) {
    jnode *n = concat(p);
    while (is_op(p, '+') || is_op(p, '-')) {
        int op = p->tok.op;
        next(p);
        n = binary(p, op, n, concat(p));
    }
    return n;
}

static int compare_op(parser *p) { // 0: none; else it has been read
    int op = p->tok.type == T_OP ? p->tok.op : 0;
    if (op == OP_EQ || op == OP_NE || op == OP_LE || op == OP_GE || op == '<' || op == '>') return next(p), op;
    if (skip_name(p, "in")) return OP_IN;
    if (!is_name(p, "not")) return 0;
    jlex save = p->lex;
    jtok tok = p->tok;
    next(p);
    if (skip_name(p, "in")) return OP_NOTIN;
    p->lex = save;
    p->tok = tok;
    return 0;
}

static jnode *compare(parser *p) {
    jnode *first = sum(p), *n = NULL;
    nodes items = {0};
    uint32_t cap = 0;
    for (int op; (op = compare_op(p)) != 0;) {
        if (!n) n = node(p, E_CMP), push_node(p, &items, first);
        if (items.n > cap) {
            uint16_t *ops = arena_array(&p->r->mem, uint16_t, cap = 2 * (uint32_t)items.n);
            if (n->ops) memcpy(ops, n->ops, (items.n - 1) * sizeof *ops);
            n->ops = ops;
        }
        n->ops[items.n - 1] = (uint16_t)op;
        push_node(p, &items, sum(p));
    }
    if (!n) return first;
    set_list(n, &items);
    return n;
}

static jnode *negation(parser *p) {
    if (!is_name(p, "not")) return compare(p);
    jnode *n = node(p, E_NOT);
    jinja_enter(p->r);
    next(p);
    n->a = negation(p);
    jinja_leave(p->r);
    return n;
}

static jnode *logical(parser *p, bool is_or) {
    jnode *n = is_or ? logical(p, false) : negation(p);
    while (is_name(p, is_or ? "or" : "and")) {
        jnode *o = node(p, is_or ? E_OR : E_AND);
        next(p);
        o->a = n;
        o->b = is_or ? logical(p, false) : negation(p);
        n = o;
    }
    return n;
}

static jnode *expression(parser *p, bool condexpr) {
    jinja_enter(p->r);
    jnode *n = logical(p, true);
    while (condexpr && is_name(p, "if")) {
        jnode *o = node(p, E_COND);
        next(p);
        o->a = n;
        o->b = logical(p, true);
        if (skip_name(p, "else")) o->c = expression(p, true);
        n = o;
    }
    jinja_leave(p->r);
    return n;
}

// ---- statements ----------------------------------------------------------------------------------
static jnode *body(parser *p, const char *const *ends);

static void end_tag(parser *p) {
    if (p->tok.type != T_BLOCK_END) unexpected(p, "end of statement block");
    next(p);
}

static jnode *body_to(parser *p, const char *end) { // the end tag is read
    const char *const ends[] = {end, NULL};
    jnode *n = body(p, ends);
    next(p);
    end_tag(p);
    return n;
}

static jnode *target(parser *p, bool namespaced) {
    if (p->tok.type != T_NAME && !is_op(p, '(')) unexpected(p, "a name to assign to");
    if (skip_op(p, '(')) {
        jnode *n = node(p, E_TUPLE);
        nodes items = {0};
        jinja_enter(p->r);
        while (!skip_op(p, ')')) {
            push_node(p, &items, target(p, false));
            if (!is_op(p, ')')) expect_op(p, ',');
        }
        jinja_leave(p->r);
        set_list(n, &items);
        return n;
    }
    jnode *n = node(p, E_NAME);
    jstr *name = take_name(p, "a name");
    n->id = name_id(p, jstr_slice(name));
    n->value = jv_of_str(name);
    if (!namespaced || !skip_op(p, '.')) return n;
    jnode *o = node(p, E_ATTR);
    o->value = jv_of_str(take_name(p, "a name"));
    o->a = n;
    return o;
}

static jnode *targets(parser *p, bool namespaced) { // a, b or a single one
    jnode *first = target(p, namespaced);
    if (!is_op(p, ',')) return first;
    jnode *n = node(p, E_TUPLE);
    nodes items = {0};
    push_node(p, &items, first);
    while (skip_op(p, ',') && (p->tok.type == T_NAME || is_op(p, '(')) && !is_name(p, "in"))
        push_node(p, &items, target(p, namespaced));
    set_list(n, &items);
    return n;
}

static jnode *parse_for(parser *p) {
    static const char *const ends[] = {"else", "endfor", NULL};
    jnode *n = node(p, S_FOR);
    next(p);
    n->a = targets(p, false);
    if (!skip_name(p, "in")) unexpected(p, "'in'");
    n->b = tuple(p, false, "recursive", false);
    if (skip_name(p, "if")) n->c = expression(p, true);
    n->flag = skip_name(p, "recursive");
    end_tag(p);
    nodes parts = {0};
    p->loops++;
    push_node(p, &parts, body(p, ends));
    p->loops--;
    bool has_else = is_name(p, "else");
    next(p);
    end_tag(p);
    push_node(p, &parts, has_else ? body_to(p, "endfor") : NULL);
    set_list(n, &parts);
    return n;
}

static jnode *parse_if(parser *p) {
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    jnode *n = node(p, S_IF);
    nodes parts = {0};
    for (;;) {
        next(p); // if, elif
        push_node(p, &parts, tuple(p, false, NULL, false));
        end_tag(p);
        push_node(p, &parts, body(p, ends));
        if (!is_name(p, "elif")) break;
    }
    bool has_else = is_name(p, "else");
    next(p);
    end_tag(p);
    if (has_else) n->c = body_to(p, "endif");
    set_list(n, &parts);
    return n;
}

static jnode *filter_chain(parser *p, jnode *n) {
    while (skip_op(p, '|')) n = filter_node(p, n);
    return n;
}

static jnode *parse_set(parser *p) {
    jnode *n = node(p, S_SET);
    next(p);
    n->a = targets(p, true);
    if (skip_op(p, '=')) {
        n->b = tuple(p, true, NULL, false);
        end_tag(p);
        return n;
    }
    n->kind = S_SETBLOCK;
    n->b = filter_chain(p, NULL);
    end_tag(p);
    n->c = body_to(p, "endset");
    return n;
}

static void signature(parser *p, jnode *n) { // after the '('
    uint32_t cap = 0;
    while (!skip_op(p, ')')) {
        jarg a = {.kind = ARG_KW, .name = take_name(p, "a parameter's name")};
        a.id = name_id(p, jstr_slice(a.name));
        if (skip_op(p, '=')) a.value = expression(p, true);
        else if (n->n_args > 0 && n->args[n->n_args - 1].value) unexpected(p, "a default");
        push_arg(p, n, a, &cap);
        if (!is_op(p, ')')) expect_op(p, ',');
    }
}

static void macro_body(parser *p, jnode *n, const char *end) {
    uint16_t outer_uses = p->uses;
    int outer_loops = p->loops;
    p->uses = 0;
    p->loops = 0;
    end_tag(p);
    n->c = body_to(p, end);
    n->op = p->uses;
    p->uses = outer_uses;
    p->loops = outer_loops;
}

static jnode *parse_macro(parser *p) {
    jnode *n = node(p, S_MACRO);
    next(p);
    jstr *name = take_name(p, "the macro's name");
    n->value = jv_of_str(name);
    n->id = name_id(p, jstr_slice(name));
    expect_op(p, '(');
    signature(p, n);
    macro_body(p, n, "endmacro");
    return n;
}

static jnode *parse_call(parser *p) {
    jnode *n = node(p, S_CALLBLOCK), *caller = node(p, S_MACRO);
    next(p);
    if (skip_op(p, '(')) signature(p, caller);
    n->a = expression(p, true);
    if (n->a->kind != E_CALL) unexpected(p, "a call");
    caller->id = name_id(p, STR("caller"));
    caller->value = jv_of_str(p->t->names[caller->id]);
    macro_body(p, caller, "endcall");
    n->b = caller;
    return n;
}

static jnode *parse_filter(parser *p) {
    jnode *n = node(p, S_FILTER);
    next(p);
    n->b = filter_chain(p, filter_node(p, NULL));
    end_tag(p);
    n->c = body_to(p, "endfilter");
    return n;
}

static jnode *parse_with(parser *p) {
    jnode *n = node(p, S_WITH);
    nodes parts = {0};
    next(p);
    while (p->tok.type != T_BLOCK_END) {
        if (parts.n > 0) expect_op(p, ',');
        push_node(p, &parts, target(p, false));
        expect_op(p, '=');
        push_node(p, &parts, expression(p, true));
    }
    end_tag(p);
    n->c = body_to(p, "endwith");
    set_list(n, &parts);
    return n;
}

static jnode *parse_generation(parser *p) {
    jnode *n = node(p, S_GENERATION);
    next(p);
    end_tag(p);
    n->c = body_to(p, "endgeneration");
    return n;
}

static jnode *parse_break(parser *p) {
    jnode *n = node(p, is_name(p, "break") ? S_BREAK : S_CONTINUE);
    if (p->loops == 0) jinja_fail(p->r, TL_E_FORMAT, "'%s' outside of a loop", n->kind == S_BREAK ? "break" : "continue");
    next(p);
    end_tag(p);
    return n;
}

static jnode *statement(parser *p) {
    static const struct {
        const char *name;
        jnode *(*parse)(parser *);
    } tags[] = {{"if", parse_if},       {"for", parse_for},       {"set", parse_set},     {"macro", parse_macro},
                {"call", parse_call},   {"filter", parse_filter}, {"with", parse_with},   {"generation", parse_generation},
                {"break", parse_break}, {"continue", parse_break}};
    static const char *const files[] = {"include", "import", "from", "extends", "block"};
    if (p->tok.type != T_NAME) unexpected(p, "a tag's name");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
        if (is_name(p, tags[i].name)) return tags[i].parse(p);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (is_name(p, files[i]))
            jinja_fail(p->r, TL_E_UNSUPPORTED, "the tag '%s' needs other templates, which a chat template has not",
                       files[i]);
    char buf[64];
    jinja_fail(p->r, TL_E_FORMAT, "encountered unknown tag '%s'", token_text(p, buf));
}

static bool at_end(const parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (is_name(p, *ends)) return true;
    return false;
}

_Noreturn static void no_end(parser *p, uint32_t line, const char *const *ends) {
    while (ends[1]) ends++;
    p->r->line = line;
    jinja_fail(p->r, TL_E_FORMAT, "the block that begins here has no '%s'", *ends);
}

static jnode *print_node(parser *p) {
    jnode *n = node(p, S_PRINT);
    next(p);
    n->a = tuple(p, true, NULL, false);
    if (p->tok.type != T_VAR_END) unexpected(p, "end of print statement");
    next(p);
    return n;
}

static jnode *data_node(parser *p) {
    jnode *n = node(p, S_DATA);
    n->value = jv_of_str(jstr_wrap(p->r, p->tok.text.p, p->tok.text.n));
    jstr_chars(n->value.u.s);
    next(p);
    return n;
}

// Statements up to a tag whose name is in `ends` (the name is the current token) or to the end of the template.
static jnode *body(parser *p, const char *const *ends) {
    jnode *n = node(p, S_BODY);
    nodes items = {0};
    uint32_t line = p->open_line;
    jinja_enter(p->r);
    for (;;) {
        if (p->tok.type == T_EOF && !ends) break;
        if (p->tok.type == T_EOF) no_end(p, line, ends);
        if (p->tok.type == T_DATA) {
            push_node(p, &items, data_node(p));
        } else if (p->tok.type == T_VAR_BEGIN) {
            push_node(p, &items, print_node(p));
        } else {
            next(p);
            p->open_line = p->tok.line;
            if (at_end(p, ends)) break;
            push_node(p, &items, statement(p));
        }
    }
    jinja_leave(p->r);
    set_list(n, &items);
    return n;
}

void parse_template(jrt *r, jinja *t, str source) {
    parser p = {.r = r, .t = t};
    lex_init(r, &p.lex, source);
    next(&p);
    t->root = body(&p, NULL);
}
