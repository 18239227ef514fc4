// builtins_core.c - functions on numbers, strings, lists and maps; printing and the environment.
#include <ctype.h>
#include <inttypes.h>
#include <math.h>

#include "eval/relations.h"

value named_arg(call *c, const char *name, int position, value otherwise) {
    if (c->names)
        for (int i = 0; i < c->n; i++)
            if (c->names[i].n && str_is(c->names[i], name)) return c->arg[i];
    if (position < c->n && (!c->names || !c->names[position].n)) return c->arg[position];
    return otherwise;
}

static value f_print(call *c) {
    sbuf *b = text_begin(c->ev);
    for (int i = 0; i < c->n; i++) {
        if (i) sbuf_putc(b, ' ');
        v_print(c->ev, c->arg[i], b, false);
    }
    if (c->self->doc[0] != 'W') sbuf_putc(b, '\n');
    if (c->ev->o.host.print && b->n) c->ev->o.host.print(c->ev->o.host.ctx, b->p, b->n);
    text_end(c->ev, b);
    return v_none();
}

static value f_len(call *c) {
    value v = c->arg[0];
    switch (v.kind) {
    case V_STR: { // characters
        int64_t n = 0;
        for (size_t i = 0; i < v.s->n; i++) n += ((unsigned char)v.s->p[i] & 0xc0) != 0x80;
        return v_int(n);
    }
    case V_LIST: return v_int((int64_t)v.list->n);
    case V_MAP: return v_int((int64_t)v.map->n);
    case V_RANGE: return v_int(v.range.hi > v.range.lo ? v.range.hi - v.range.lo : 0);
    case V_RELATION: return v_int(relation_count(c->ev, v.rel, c->at));
    case V_TENSOR:
        if (v.t->rank && !v.t->ax[0].sym) return v_int(v.t->ax[0].size);
        break;
    default: break;
    }
    ev_fail(c->ev, c->at, "%s has no length", v_names[v.kind]);
}

static value f_str(call *c) {
    sbuf *b = text_begin(c->ev);
    v_print(c->ev, c->arg[0], b, false);
    return text_value(c->ev, b);
}

static value f_range(call *c) {
    int64_t lo = 0, hi = want_int(c->ev, c->arg[0], c->at, "a bound of range");
    if (c->n > 1) lo = hi, hi = want_int(c->ev, c->arg[1], c->at, "a bound of range");
    if (lo < INT32_MIN || hi > INT32_MAX || lo > INT32_MAX || hi < INT32_MIN) ev_fail(c->ev, c->at, "range: bounds must fit 32 bits");
    int64_t step = c->n > 2 ? want_int(c->ev, c->arg[2], c->at, "the step of range") : 1;
    if (step == 1) return (value){.kind = V_RANGE, .range = {(int32_t)lo, (int32_t)(hi < lo ? lo : hi)}};
    if (step == 0) ev_fail(c->ev, c->at, "range: a step of 0 never ends");
    value l = v_list_new(c->ev);
    if (step > UINT32_MAX || step < -(int64_t)UINT32_MAX) step = step > 0 ? UINT32_MAX : -(int64_t)UINT32_MAX; // beyond any bound
    for (int64_t i = lo; step > 0 ? i < hi : i > hi; i += step) list_push(c->ev, l.list, v_int(i));
    return l;
}

static value f_append(call *c) {
    if (c->arg[0].kind != V_LIST) ev_fail(c->ev, c->at, "append needs a list, found %s", v_names[c->arg[0].kind]);
    value l = v_list_new(c->ev);
    for (size_t i = 0; i < c->arg[0].list->n; i++) list_push(c->ev, l.list, c->arg[0].list->p[i]);
    for (int i = 1; i < c->n; i++) list_push(c->ev, l.list, c->arg[i]);
    return l;
}

static value f_push(call *c) {
    if (c->arg[0].kind != V_LIST) ev_fail(c->ev, c->at, "push needs a list, found %s", v_names[c->arg[0].kind]);
    for (int i = 1; i < c->n; i++) list_push(c->ev, c->arg[0].list, c->arg[i]);
    return c->arg[0];
}

static value f_keys(call *c) {
    if (c->arg[0].kind != V_MAP) ev_fail(c->ev, c->at, "%s needs a map, found %s", c->self->name, v_names[c->arg[0].kind]);
    value l = v_list_new(c->ev);
    const v_map *m = c->arg[0].map;
    for (size_t i = 0; i < m->n; i++) list_push(c->ev, l.list, c->self->name[0] == 'k' ? m->keys[i] : m->vals[i]);
    return l;
}

static value f_has(call *c) {
    value v = c->arg[0];
    if (v.kind == V_MAP) return v_bool(map_find(v.map, c->arg[1]) != NULL);
    if (v.kind == V_LIST) {
        for (size_t i = 0; i < v.list->n; i++)
            if (v_equal(c->ev, v.list->p[i], c->arg[1], c->at)) return v_bool(true);
        return v_bool(false);
    }
    if (v.kind == V_STR) {
        str s = v_text(v), part = want_str(c->ev, c->arg[1], c->at, "what is looked for");
        return v_bool(memmem(s.p, s.n, part.p, part.n) != NULL);
    }
    ev_fail(c->ev, c->at, "contains needs a list, a map or a string, found %s", v_names[v.kind]);
}

static value f_to_int(call *c) {
    value v = c->arg[0];
    if (v.kind == V_STR) {
        char buf[64], *end;
        str s = v_text(v);
        if (s.n >= sizeof buf) ev_fail(c->ev, c->at, "not a number");
        memcpy(buf, s.p, s.n);
        buf[s.n] = 0;
        long long i = strtoll(buf, &end, 10);
        while (isspace((unsigned char)*end)) end++;
        if (!s.n || *end) ev_fail(c->ev, c->at, "\"%s\" is not an integer", buf);
        return v_int(i);
    }
    double f = want_float(c->ev, v, c->at, "the value");
    if (!(fabs(f) < 9.2e18)) ev_fail(c->ev, c->at, "%g does not fit an integer", f);
    return v_int((int64_t)f);
}

static value f_to_float(call *c) {
    value v = c->arg[0];
    if (v.kind != V_STR) return v_float(want_float(c->ev, v, c->at, "the value"));
    char buf[64], *end;
    str s = v_text(v);
    if (s.n >= sizeof buf) ev_fail(c->ev, c->at, "not a number");
    memcpy(buf, s.p, s.n);
    buf[s.n] = 0;
    double f = strtod(buf, &end);
    while (isspace((unsigned char)*end)) end++;
    if (!s.n || *end) ev_fail(c->ev, c->at, "\"%s\" is not a number", buf);
    return v_float(f);
}

static value f_env(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "a variable's name");
    const char *v = getenv(intern(c->ev, s));
    if (v) return v_str_new(c->ev, str_of(v));
    return c->n > 1 ? c->arg[1] : v_str_new(c->ev, STR(""));
}

static value f_input(call *c) {
    if (c->n && c->ev->o.host.print) {
        sbuf *b = text_begin(c->ev);
        v_print(c->ev, c->arg[0], b, false);
        c->ev->o.host.print(c->ev->o.host.ctx, b->p ? b->p : "", b->n);
        text_end(c->ev, b);
    }
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, stdin);
    if (n < 0) {
        free(line);
        return v_none();
    }
    while (n && (line[n - 1] == '\n' || line[n - 1] == '\r')) n--;
    sbuf *b = text_begin(c->ev);
    sbuf_put(b, line, (size_t)n);
    free(line);
    return text_value(c->ev, b);
}

static value f_arg(call *c) { // name=value among the program's arguments, or a number: the nth word
    const ev_options *o = &c->ev->o;
    if (c->arg[0].kind == V_INT) {
        int64_t i = c->arg[0].i;
        if (i >= 0 && (size_t)i < o->n_args) return v_str_new(c->ev, str_of(o->args[i]));
    } else {
        str s = want_str(c->ev, c->arg[0], c->at, "an argument's name");
        for (size_t i = 0; i < o->n_args; i++) {
            const char *eq = strchr(o->args[i], '=');
            if (eq && str_eq(s, (str){o->args[i], (size_t)(eq - o->args[i])})) return v_str_new(c->ev, str_of(eq + 1));
        }
        if (str_is(s, "model") && c->ev->model) return (value){.kind = V_MODEL, .model = c->ev->model};
        if (str_is(s, "prompt") && o->prompt) return v_str_new(c->ev, str_of(o->prompt));
        if (c->n > 1) return c->arg[1];
        char fix[200];
        if (str_is(s, "model")) ev_fail_fix(c->ev, c->at, "tl run FILE.tl -m MODEL", "this program needs a model");
        snprintf(fix, sizeof fix, "tl run FILE.tl %.*s=VALUE", (int)s.n, s.p);
        ev_fail_fix(c->ev, c->at, fix, "the argument \"%.*s\" is missing", (int)s.n, s.p);
    }
    if (c->n > 1) return c->arg[1];
    ev_fail(c->ev, c->at, "there is no such argument");
}

static value f_args(call *c) {
    value l = v_list_new(c->ev);
    for (size_t i = 0; i < c->ev->o.n_args; i++) list_push(c->ev, l.list, v_str_new(c->ev, str_of(c->ev->o.args[i])));
    return l;
}

static value f_type(call *c) {
    static const char *const names[V_KINDS] = {"nothing", "int", "float", "bool", "string", "list", "map", "tensor", "fn", "fn", "relation", "state", "model", "tokenizer",
                                               "path", "family", "tensor", "range"};
    return v_str_new(c->ev, str_of(names[c->arg[0].kind]));
}

static value f_join(call *c) {
    if (c->arg[0].kind != V_LIST) ev_fail(c->ev, c->at, "join needs a list, found %s", v_names[c->arg[0].kind]);
    str sep = c->n > 1 ? want_str(c->ev, c->arg[1], c->at, "the separator") : STR("");
    sbuf *b = text_begin(c->ev);
    for (size_t i = 0; i < c->arg[0].list->n; i++) {
        if (i) sbuf_put(b, sep.p, sep.n);
        v_print(c->ev, c->arg[0].list->p[i], b, false);
    }
    return text_value(c->ev, b);
}

static value f_split_text(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "the text"), sep = c->n > 1 ? want_str(c->ev, c->arg[1], c->at, "the separator") : STR(" ");
    value l = v_list_new(c->ev);
    if (!sep.n) ev_fail(c->ev, c->at, "an empty separator");
    for (;;) {
        const char *hit = s.n ? memmem(s.p, s.n, sep.p, sep.n) : NULL;
        str part = {s.p, hit ? (size_t)(hit - s.p) : s.n};
        list_push(c->ev, l.list, v_str_new(c->ev, part));
        if (!hit) return l;
        s.n -= part.n + sep.n;
        s.p = hit + sep.n;
    }
}

static value f_case(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "the text");
    value v = v_str_new(c->ev, s);
    for (size_t i = 0; i < s.n; i++) v.s->p[i] = (char)(c->self->name[0] == 'u' ? toupper((unsigned char)s.p[i]) : tolower((unsigned char)s.p[i]));
    return v;
}

static value f_trim(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "the text");
    while (s.n && isspace((unsigned char)s.p[0])) s.p++, s.n--;
    while (s.n && isspace((unsigned char)s.p[s.n - 1])) s.n--;
    return v_str_new(c->ev, s);
}

static value f_replace(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "the text"), from = want_str(c->ev, c->arg[1], c->at, "what is replaced"), to = want_str(c->ev, c->arg[2], c->at, "the replacement");
    if (!from.n) ev_fail(c->ev, c->at, "nothing to replace");
    sbuf *b = text_begin(c->ev);
    for (const char *hit; s.n && (hit = memmem(s.p, s.n, from.p, from.n));) {
        sbuf_put(b, s.p, (size_t)(hit - s.p));
        sbuf_put(b, to.p, to.n);
        s.n -= (size_t)(hit - s.p) + from.n;
        s.p = hit + from.n;
    }
    sbuf_put(b, s.p, s.n);
    return text_value(c->ev, b);
}

static value f_starts(call *c) { return v_bool(str_starts(want_str(c->ev, c->arg[0], c->at, "the text"), want_str(c->ev, c->arg[1], c->at, "the beginning"))); }

static value f_time(call *c) {
    (void)c;
    return v_float(1e-9 * clock_ns());
}

static value f_sort(call *c) {
    if (c->arg[0].kind != V_LIST) ev_fail(c->ev, c->at, "sort needs a list, found %s", v_names[c->arg[0].kind]);
    value l = v_list_new(c->ev);
    for (size_t i = 0; i < c->arg[0].list->n; i++) { // insertion by binary search, stable
        value x = c->arg[0].list->p[i];
        size_t lo = 0, hi = l.list->n;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (binary_op(c->ev, OP_LT, x, l.list->p[mid], c->at).b) hi = mid;
            else lo = mid + 1;
        }
        list_push(c->ev, l.list, x);
        memmove(l.list->p + lo + 1, l.list->p + lo, sizeof(value) * (l.list->n - 1 - lo));
        l.list->p[lo] = x;
    }
    return l;
}

static value f_error(call *c) {
    str s = want_str(c->ev, c->arg[0], c->at, "the message");
    ev_fail(c->ev, c->at, "%.*s", (int)s.n, s.p);
}

static value f_seed(call *c) {
    c->ev->seed = (uint64_t)want_int(c->ev, c->arg[0], c->at, "the seed");
    return v_none();
}

const builtin builtins_core[] = {
    {"print", f_print, 0, -1, "...", "Prints its arguments with spaces between them and a newline."},
    {"write", f_print, 0, -1, "...", "Writes its arguments with spaces between them, without a newline."},
    {"len", f_len, 1, 1, "x", "Characters of a string, elements of a list or map, size of a tensor's first axis."},
    {"str", f_str, 1, 1, "x", "The text that print writes."},
    {"to_string", f_str, 1, 1, "x", "The text that print writes."},
    {"range", f_range, 1, 3, "from, to, step", "Whole numbers from (0) up to, not including, to."},
    {"append", f_append, 2, -1, "list, x...", "A new list with x at its end."},
    {"push", f_push, 2, -1, "list, x...", "Puts x at the end of the list itself."},
    {"keys", f_keys, 1, 1, "map", "The keys of a map."},
    {"values", f_keys, 1, 1, "map", "The values of a map."},
    {"contains", f_has, 2, 2, "in, x", "Whether a list has the element, a map the key, a string the part."},
    {"to_int", f_to_int, 1, 1, "x", "A number or text as an integer, rounded towards zero."},
    {"int", f_to_int, 1, 1, "x", "A number or text as an integer, rounded towards zero."},
    {"to_float", f_to_float, 1, 1, "x", "A number or text as a float."},
    {"float", f_to_float, 1, 1, "x", "A number or text as a float."},
    {"env", f_env, 1, 2, "name, otherwise=\"\"", "An environment variable."},
    {"input", f_input, 0, 1, "prompt", "A line of standard input, nothing at its end."},
    {"arg", f_arg, 1, 2, "name, otherwise", "A program argument: name=value, or by number."},
    {"args", f_args, 0, 0, "", "All program arguments."},
    {"type", f_type, 1, 1, "x", "The kind of a value as text."},
    {"join", f_join, 1, 2, "list, separator=\"\"", "The elements as one text."},
    {"split_text", f_split_text, 1, 2, "text, separator=\" \"", "The parts of a text."},
    {"upper", f_case, 1, 1, "text", "ASCII letters in upper case."},
    {"lower", f_case, 1, 1, "text", "ASCII letters in lower case."},
    {"trim", f_trim, 1, 1, "text", "Without white space at both ends."},
    {"replace", f_replace, 3, 3, "text, from, to", "Every occurrence of from replaced."},
    {"starts_with", f_starts, 2, 2, "text, beginning", "Whether a text begins so."},
    {"time", f_time, 0, 0, "", "Seconds of a clock that never goes back."},
    {"sort", f_sort, 1, 1, "list", "A sorted copy."},
    {"error", f_error, 1, 1, "message", "Stops the program with this message."},
    {"seed", f_seed, 1, 1, "n", "Sets the seed of the samplers and of random()."},
    {0},
};
