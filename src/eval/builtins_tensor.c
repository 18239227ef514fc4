// builtins_tensor.c - functions on tensors.
#include <inttypes.h>
#include <math.h>

#include "eval/value.h"

static tensor *tensor_arg(call *c, int i, const char *what) { return want_tensor(c->ev, c->arg[i], c->at, what); }

// ---- elementwise ---------------------------------------------------------------------------------
static const struct { const char *name; map_op op; } functions[] = {
    {"neg", MAP_NEG}, {"abs", MAP_ABS}, {"exp", MAP_EXP}, {"log", MAP_LOG}, {"sqrt", MAP_SQRT}, {"sin", MAP_SIN}, {"cos", MAP_COS}, {"tanh", MAP_TANH},
    {"sigmoid", MAP_SIGMOID}, {"silu", MAP_SILU}, {"swish", MAP_SILU}, {"gelu", MAP_GELU}, {"gelu_tanh", MAP_GELU}, {"gelu_erf", MAP_GELU_ERF},
    {"gelu_quick", MAP_GELU_QUICK}, {"relu", MAP_RELU}, {"softplus", MAP_SOFTPLUS}, {"step", MAP_STEP}, {"floor", MAP_FLOOR}, {"ceil", MAP_CEIL},
    {"round", MAP_ROUND}, {"sign", MAP_SIGN}, {"erf", MAP_ERF}, {"square", MAP_SQUARE}, {"pow", MAP_POW}, {"mod", MAP_MOD}, {"min", MAP_MIN}, {"max", MAP_MAX},
    {"select", MAP_SELECT},
};

int map_function(str name) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (str_is(name, functions[i].name)) return (int)functions[i].op;
    return -1;
}

static double scalar_function(map_op op, double a, double b) { // numbers of programs are float64
    switch (op) {
    case MAP_EXP: return exp(a);
    case MAP_LOG: return log(a);
    case MAP_SQRT: return sqrt(a);
    case MAP_SIN: return sin(a);
    case MAP_COS: return cos(a);
    case MAP_TANH: return tanh(a);
    case MAP_POW: return pow(a, b);
    case MAP_FLOOR: return floor(a);
    case MAP_CEIL: return ceil(a);
    case MAP_ROUND: return round(a);
    case MAP_ABS: return fabs(a);
    case MAP_NEG: return -a;
    case MAP_MIN: return a < b ? a : b;
    case MAP_MAX: return a > b ? a : b;
    case MAP_SQUARE: return a * a;
    default: return (double)map_eval(op, (float)a, (float)b, 0);
    }
}

static value f_map(call *c) {
    map_op op = (map_op)map_function(str_of(c->self->name));
    if (op == MAP_SELECT) {
        if (c->arg[0].kind == V_BOOL) return c->arg[0].b ? c->arg[1] : c->arg[2];
        return v_of_tensor(tensor_map(c->ev, op, 3, c->arg, c->at));
    }
    bool tensors = false, ints = true;
    for (int i = 0; i < c->n; i++) {
        tensors |= c->arg[i].kind == V_TENSOR || c->arg[i].kind == V_LIST || c->arg[i].kind == V_PATH;
        ints &= c->arg[i].kind == V_INT;
    }
    if (tensors) return v_of_tensor(tensor_map(c->ev, op, c->n, c->arg, c->at));
    double a = want_float(c->ev, c->arg[0], c->at, "the argument"), b = c->n > 1 ? want_float(c->ev, c->arg[1], c->at, "the argument") : 0;
    double r = scalar_function(op, a, b);
    if (ints && (op == MAP_ABS || op == MAP_MIN || op == MAP_MAX || op == MAP_NEG || op == MAP_SIGN)) return v_int((int64_t)r);
    if ((op == MAP_FLOOR || op == MAP_CEIL || op == MAP_ROUND) && fabs(r) < 9e15) return v_int((int64_t)r);
    return v_float(r);
}

// ---- shape ---------------------------------------------------------------------------------------
static value f_shape(call *c) {
    tensor *t = tensor_arg(c, 0, "the argument of shape");
    value l = v_list_new(c->ev);
    for (int i = 0; i < t->rank; i++) {
        if (t->ax[i].sym) ev_fail(c->ev, c->at, "the number of rows of a step is not known while its function is traced");
        list_push(c->ev, l.list, v_int(t->ax[i].size));
    }
    return l;
}

static int axis_arg(call *c, const tensor *t, value v) {
    int64_t a = want_int(c->ev, v, c->at, "an axis");
    if (a < -t->rank || a >= t->rank) ev_fail(c->ev, c->at, "axis %" PRId64 " of a tensor with %d axes", a, t->rank);
    return (int)(a < 0 ? a + t->rank : a);
}

static value f_transpose(call *c) { // the last two axes, or the two given
    tensor *t = tensor_arg(c, 0, "the argument of transpose");
    if (t->rank < 2) return v_of_tensor(t);
    int a = c->n > 2 ? axis_arg(c, t, c->arg[1]) : t->rank - 2, b = c->n > 2 ? axis_arg(c, t, c->arg[2]) : t->rank - 1;
    tensor *r = tensor_dup(c->ev, t);
    r->ax[a] = t->ax[b], r->ax[b] = t->ax[a];
    return v_of_tensor(r);
}

static int sizes_arg(call *c, int from, int64_t *sizes) { // a list, or the remaining arguments
    int n = 0;
    bool list = c->arg[from].kind == V_LIST;
    int count = list ? (int)c->arg[from].list->n : c->n - from;
    for (int i = 0; i < count; i++) {
        if (n == IR_MAX_RANK) ev_fail(c->ev, c->at, "a tensor has at most %d axes", IR_MAX_RANK);
        sizes[n++] = want_int(c->ev, list ? c->arg[from].list->p[i] : c->arg[from + i], c->at, "a size");
    }
    return n;
}

static value f_permute(call *c) {
    tensor *t = tensor_arg(c, 0, "the argument of permute"), *r = tensor_dup(c->ev, t);
    int64_t order[IR_MAX_RANK];
    unsigned seen = 0;
    if (sizes_arg(c, 1, order) != t->rank) ev_fail(c->ev, c->at, "permute needs all %d axes", t->rank);
    for (int i = 0; i < t->rank; i++) {
        if (order[i] < 0 || order[i] >= t->rank || seen >> order[i] & 1) ev_fail(c->ev, c->at, "permute needs each axis once");
        seen |= 1u << order[i];
        r->ax[i] = t->ax[order[i]];
    }
    return v_of_tensor(r);
}

static value f_reshape(call *c) {
    int64_t sizes[IR_MAX_RANK];
    tensor *t = tensor_arg(c, 0, "the argument of reshape");
    int n = sizes_arg(c, 1, sizes);
    return v_of_tensor(tensor_reshape(c->ev, t, n, sizes, c->at));
}

static value f_concat(call *c) {
    tensor *parts[64];
    int n = 0;
    value last = named_arg(c, "axis", c->n - 1, v_none());
    bool list = c->arg[0].kind == V_LIST && c->arg[0].list->n && c->arg[0].list->p[0].kind == V_TENSOR;
    int64_t axis_no = 0;
    int count = list ? (int)c->arg[0].list->n : c->n;
    if (!list && count > 1 && (c->arg[count - 1].kind == V_INT)) count--;
    if (last.kind == V_INT) axis_no = last.i;
    if (count > 64) ev_fail(c->ev, c->at, "concat of more than 64 tensors");
    for (int i = 0; i < count; i++) parts[n++] = want_tensor(c->ev, list ? c->arg[0].list->p[i] : c->arg[i], c->at, "a part");
    if (!n) ev_fail(c->ev, c->at, "concat of nothing");
    return v_of_tensor(tensor_concat(c->ev, parts, n, (int)axis_no, c->at));
}

static value f_split(call *c) { // split(x, parts or [sizes], axis=0)
    tensor *t = tensor_arg(c, 0, "the argument of split");
    int a = axis_arg(c, t, named_arg(c, "axis", 2, v_int(0)));
    value l = v_list_new(c->ev);
    if (t->ax[a].sym) ev_fail(c->ev, c->at, "split of the step's rows");
    int64_t at = 0, total = t->ax[a].size;
    if (c->arg[1].kind == V_LIST) {
        for (size_t i = 0; i < c->arg[1].list->n; i++) {
            int64_t n = want_int(c->ev, c->arg[1].list->p[i], c->at, "a size");
            if (n < 0 || at + n > total) ev_fail(c->ev, c->at, "the parts are larger than the axis of %" PRId64, total);
            list_push(c->ev, l.list, v_of_tensor(tensor_select(c->ev, t, a, at, at + n, false)));
            at += n;
        }
        if (at != total) ev_fail(c->ev, c->at, "the parts have %" PRId64 " positions, the axis has %" PRId64, at, total);
        return l;
    }
    int64_t parts = want_int(c->ev, c->arg[1], c->at, "the number of parts");
    if (parts < 1 || total % parts) ev_fail(c->ev, c->at, "an axis of %" PRId64 " cannot be split into %" PRId64 " equal parts", total, parts);
    for (int64_t i = 0; i < parts; i++) list_push(c->ev, l.list, v_of_tensor(tensor_select(c->ev, t, a, i * (total / parts), (i + 1) * (total / parts), false)));
    return l;
}

static value f_slice(call *c) { // slice(x, axis, from, to)
    tensor *t = tensor_arg(c, 0, "the argument of slice");
    int a = axis_arg(c, t, c->arg[1]);
    int64_t lo = want_int(c->ev, c->arg[2], c->at, "a bound"), hi = want_int(c->ev, c->arg[3], c->at, "a bound");
    if (t->ax[a].sym || lo < 0 || hi > t->ax[a].size || lo > hi) ev_fail(c->ev, c->at, "slice %" PRId64 ":%" PRId64 " of an axis of %" PRId64, lo, hi, t->ax[a].size);
    return v_of_tensor(tensor_select(c->ev, t, a, lo, hi, false));
}

// ---- products and folds --------------------------------------------------------------------------
static value f_matmul(call *c) { return v_of_tensor(tensor_matmul(c->ev, tensor_arg(c, 0, "the left side"), tensor_arg(c, 1, "the right side"), c->at)); }

// y = x W^T for a stored matrix: contracts over its contiguous axis, whichever way round it is viewed.
static value f_linear(call *c) {
    tensor *x = tensor_arg(c, 0, "the input of linear"), *w = tensor_arg(c, 1, "the weight of linear");
    if (w->rank != 2) ev_fail(c->ev, c->at, "the weight of linear must be a matrix");
    if (w->weight && w->ax[1].stride == 1 && w->ax[0].stride != 1) { // [out, in]
        w = tensor_dup(c->ev, w);
        axis a = w->ax[0];
        w->ax[0] = w->ax[1], w->ax[1] = a;
    }
    tensor *y = tensor_matmul(c->ev, x, w, c->at);
    if (c->n < 3) return v_of_tensor(y);
    value sum[2] = {v_of_tensor(y), c->arg[2]};
    return v_of_tensor(tensor_map(c->ev, MAP_ADD, 2, sum, c->at));
}

static value f_softmax(call *c) {
    tensor *t = tensor_arg(c, 0, "the argument of softmax");
    if (!t->rank) ev_fail(c->ev, c->at, "softmax of a single number");
    return v_of_tensor(tensor_softmax(c->ev, t, axis_arg(c, t, named_arg(c, "axis", 1, v_int(-1))), c->at));
}

static value f_reduce(call *c) {
    static const struct { const char *name; fold_kind k; } kinds[] = {{"sum", FOLD_SUM}, {"mean", FOLD_AVG}, {"avg", FOLD_AVG}, {"prod", FOLD_PROD}, {"any", FOLD_OR},
                                                                      {"reduce_max", FOLD_MAX}, {"reduce_min", FOLD_MIN}};
    fold_kind k = FOLD_SUM;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, c->self->name) == 0) k = kinds[i].k;
    tensor *t = tensor_arg(c, 0, "the argument");
    value a = named_arg(c, "axis", 1, v_none());
    if (a.kind == V_NONE) return v_of_tensor(tensor_reduce(c->ev, k, t, INT32_MIN, c->at));
    int along = axis_arg(c, t, a);
    tensor *r = tensor_reduce(c->ev, k, t, along, c->at);
    if (truthy(c->ev, named_arg(c, "keep", 2, v_bool(false)), c->at)) { // the folded axis stays, with size 1
        r = tensor_dup(c->ev, r);
        memmove(r->ax + along + 1, r->ax + along, sizeof *r->ax * (size_t)(r->rank++ - along));
        r->ax[along] = (axis){.size = 1};
    }
    return v_of_tensor(r);
}

static value f_min_max(call *c) { // of two values elementwise, or of one tensor or list
    if (c->n == 2 && !(c->names && (c->names[1].n)) && c->arg[0].kind != V_LIST) return f_map(c);
    tensor *t = tensor_arg(c, 0, "the argument");
    value a = named_arg(c, "axis", 1, v_none());
    fold_kind k = c->self->name[1] == 'a' ? FOLD_MAX : FOLD_MIN;
    tensor *r = tensor_reduce(c->ev, k, t, a.kind == V_NONE ? INT32_MIN : axis_arg(c, t, a), c->at);
    if (c->arg[0].kind != V_LIST) return v_of_tensor(r);
    return v_float(tensor_scalar(c->ev, r, c->at));
}

static value f_argmax(call *c) {
    tensor *t = tensor_arg(c, 0, "the argument of argmax");
    if (!t->rank || t->ax[t->rank - 1].size < 1) ev_fail(c->ev, c->at, "argmax of nothing");
    const float *p = tensor_floats(c->ev, t, c->at);
    int64_t n = t->ax[t->rank - 1].size, rows = tensor_elements(t) / n;
    int32_t *best = arena_array(c->ev->g->a, int32_t, rows);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 1; i < n; i++)
            if (p[r * n + i] > p[r * n + best[r]] || isnan(p[r * n + best[r]])) best[r] = (int32_t)i;
    if (t->rank == 1) return v_int(best[0]);
    tensor *out = tensor_from_ints(c->ev, rows, best);
    int64_t sizes[IR_MAX_RANK];
    for (int i = 0; i + 1 < t->rank; i++) sizes[i] = t->ax[i].size;
    return v_of_tensor(tensor_reshape(c->ev, out, t->rank - 1, sizes, c->at));
}

static value f_embedding(call *c) { // rows of a table; a stored table is [vocab, width] whichever way round it is viewed
    tensor *t = tensor_arg(c, 0, "the table"), *ids = tensor_arg(c, 1, "the ids");
    if (t->rank != 2) ev_fail(c->ev, c->at, "an embedding table has two axes");
    int vocab = t->weight && t->ax[0].stride == 1 && t->ax[1].stride != 1 ? 1 : 0;
    tensor *e = tensor_gather_rows(c->ev, t, vocab, ids, c->at);
    if (vocab == 1) { // the gathered axis first
        tensor *r = tensor_dup(c->ev, e);
        for (int i = 0; i < ids->rank; i++) r->ax[i] = e->ax[i + 1];
        r->ax[ids->rank] = e->ax[0];
        e = r;
    }
    return v_of_tensor(e);
}

static value f_gather(call *c) {
    tensor *t = tensor_arg(c, 0, "the tensor"), *ids = tensor_arg(c, 1, "the indices");
    return v_of_tensor(tensor_gather_rows(c->ev, t, axis_arg(c, t, named_arg(c, "axis", 2, v_int(0))), ids, c->at));
}

// Errors of the equation that is made of a specification are shown at the call.
const char einsum_source[] = "einsum";

static ast_program *einsum_program(evaluator *ev, str text) { // parsed once
    int64_t *known = map_get(&ev->einsums, text);
    if (known) return (ast_program *)(intptr_t)*known;
    source *s = arena_new(&ev->a, source);
    s->name = einsum_source;
    s->dir = "";
    s->text = (str){arena_strndup(&ev->a, text.p, text.n), text.n};
    ast_program *prog;
    if (tl_parse(&ev->a, s, &ev->dl, &prog) != TL_OK) ev_throw(ev);
    if (!map_put(&ev->einsums, s->text, (int64_t)(intptr_t)prog)) ev_fail(ev, (span){0}, "out of memory");
    return prog;
}

static bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

typedef struct einsum_letter { int operand, axis; int64_t size; } einsum_letter; // where it was first; operand 0: nowhere

static void einsum_axis(call *c, str spec, einsum_letter *seen, char l, const tensor *t, int operand, int axis_no) {
    if (!is_letter(l)) ev_fail(c->ev, c->at, "einsum \"%.*s\": '%c' is no index", (int)spec.n, spec.p, l);
    if (axis_no >= t->rank || t->ax[axis_no].sym) return; // the number of axes is checked afterwards
    einsum_letter *s = &seen[(unsigned char)l], now = {operand, axis_no, t->ax[axis_no].size};
    if (!s->operand) *s = now;
    if (s->size != now.size)
        ev_fail(c->ev, c->at, "einsum \"%.*s\": '%c' has two sizes: %" PRId64 " (axis %d of operand %d) and %" PRId64 " (axis %d of operand %d)", (int)spec.n, spec.p, l,
                s->size, s->axis, s->operand, now.size, now.axis, now.operand);
}

static void einsum_result(call *c, str spec, str in, const char *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *what = !is_letter(out[i]) ? "is no index" : !memchr(in.p, out[i], in.n) ? "on the right is in no operand" : memchr(out, out[i], i) ? "stands twice on the right" : NULL;
        if (what) ev_fail(c->ev, c->at, "einsum \"%.*s\": '%c' %s", (int)spec.n, spec.p, out[i], what);
    }
    if (n > IR_MAX_RANK) ev_fail(c->ev, c->at, "einsum \"%.*s\": a tensor has at most %d axes", (int)spec.n, spec.p, IR_MAX_RANK);
}

// einsum("ihd,jhd->ihj", Q, K): written as an equation over fresh index names, two operands at a time by the equation engine.
static value f_einsum(call *c) {
    evaluator *ev = c->ev;
    str spec = want_str(ev, c->arg[0], c->at, "the specification of einsum");
    sbuf *src = text_begin(ev);
    scope *env = env_new(ev, NULL);
    int operand = 0;
    const char *arrow = memmem(spec.p, spec.n, "->", 2);
    str in = {spec.p, arrow ? (size_t)(arrow - spec.p) : spec.n};
    char out[64];
    size_t n_out = 0;
    if (arrow) {
        for (const char *p = arrow + 2; p < spec.p + spec.n && n_out < 60; p++)
            if (*p != ' ') out[n_out++] = *p;
    } else { // implicit: letters that occur once, in order of the alphabet
        for (char l = 'A'; l <= 'z'; l++) {
            int count = 0;
            for (size_t i = 0; i < in.n; i++) count += in.p[i] == l;
            if (count == 1 && n_out < 60) out[n_out++] = l;
        }
    }
    einsum_letter seen[256] = {{0}};
    einsum_result(c, spec, in, out, n_out);
    if (n_out) {
        sbuf_puts(src, "einsum_result[");
        for (size_t i = 0; i < n_out; i++) sbuf_printf(src, "%si_%c", i ? ", " : "", out[i]);
        sbuf_puts(src, "] = ");
    }
    sbuf *body = text_begin(ev);
    size_t i = 0;
    for (;;) {
        if (operand + 1 >= c->n) ev_fail(ev, c->at, "einsum: \"%.*s\" has more operands than are given", (int)spec.n, spec.p);
        tensor *t = tensor_arg(c, operand + 1, "an operand");
        char name[16];
        snprintf(name, sizeof name, "op_%d", operand);
        tensor *plain = tensor_dup(ev, t);
        for (int k = 0; k < plain->rank; k++) plain->ax[k].dim = NULL, plain->ax[k].dim_decl = NULL;
        env_put(ev, env, str_of(intern(ev, str_of(name))), v_of_tensor(plain), c->at);
        sbuf_printf(body, "%s%s[", operand ? " * " : "", name);
        int letters = 0;
        for (; i < in.n && in.p[i] != ','; i++) {
            if (in.p[i] == ' ') continue;
            einsum_axis(c, spec, seen, in.p[i], plain, operand + 1, letters);
            sbuf_printf(body, "%si_%c", letters++ ? ", " : "", in.p[i]);
        }
        sbuf_putc(body, ']');
        if (letters != plain->rank) ev_fail(ev, c->at, "einsum: operand %d has %d axes, \"%.*s\" gives it %d", operand + 1, plain->rank, (int)spec.n, spec.p, letters);
        operand++;
        if (i >= in.n) break;
        i++;
    }
    if (operand + 1 != c->n) ev_fail(ev, c->at, "einsum: %d operands for \"%.*s\"", c->n - 1, (int)spec.n, spec.p);
    if (!n_out) { // a full contraction
        sbuf_puts(src, "einsum_result[i_] = (");
        sbuf_put(src, body->p, body->n);
        sbuf_puts(src, ") * one[i_]");
        float one = 1;
        int64_t size = 1;
        env_put(ev, env, STR("one"), v_of_tensor(tensor_from_floats(ev, 1, &size, &one)), c->at);
    } else {
        sbuf_put(src, body->p, body->n);
    }
    ast_program *prog = einsum_program(ev, (str){src->p, src->n});
    text_end(ev, body);
    text_end(ev, src);
    scope *saved = ev->scope;
    ev->scope = env;
    ev->einsum_at = c->at, ev->einsum_spec = spec;
    exec_equation(ev, prog->items);
    ev->scope = saved;
    tensor *r = tensor_dup(ev, env_find_here(env, STR("einsum_result"))->v.t);
    for (int k = 0; k < r->rank; k++) r->ax[k].dim = NULL;
    if (!n_out) r->rank = 0;
    return v_of_tensor(r);
}

// ---- making --------------------------------------------------------------------------------------
static value f_full(call *c) {
    int64_t sizes[IR_MAX_RANK];
    bool full = c->self->name[0] == 'f';
    float v = full ? (float)want_float(c->ev, c->arg[1], c->at, "the value") : c->self->name[0] == 'o' ? 1.0f : 0.0f;
    call shape = *c;
    if (full) shape.n = 1;
    int n = sizes_arg(&shape, 0, sizes);
    for (int i = 0; i < n; i++)
        if (sizes[i] < 0) ev_fail(c->ev, c->at, "a size cannot be negative");
    tensor *t = tensor_from_floats(c->ev, n, sizes, NULL);
    float *p = t->buf->data;
    for (int64_t i = 0; i < tensor_elements(t); i++) p[i] = v;
    return v_of_tensor(t);
}

static uint64_t next_random(uint64_t *s) { // splitmix64 (Steele, Lea, Flood 2014)
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static value f_random(call *c) { // uniform in [0, 1), or normal with mean 0 and variance 1
    int64_t sizes[IR_MAX_RANK];
    int n = c->n ? sizes_arg(c, 0, sizes) : 0;
    tensor *t = tensor_from_floats(c->ev, n, sizes, NULL);
    float *p = t->buf->data;
    for (int64_t i = 0; i < tensor_elements(t); i++) {
        double u = (double)(next_random(&c->ev->seed) >> 11) * 0x1p-53;
        if (c->self->name[4] == 'n') {
            double v = (double)(next_random(&c->ev->seed) >> 11) * 0x1p-53;
            u = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * v);
        }
        p[i] = (float)u;
    }
    return n ? v_of_tensor(t) : v_float((double)p[0]);
}

static value f_tensor(call *c) { return v_of_tensor(tensor_arg(c, 0, "the argument")); }

static value f_to_list(call *c) {
    tensor *t = tensor_arg(c, 0, "the argument");
    value l = v_list_new(c->ev);
    if (t->rank > 1) {
        for (int64_t i = 0; i < t->ax[0].size; i++) {
            value one = v_of_tensor(tensor_select(c->ev, t, 0, i, i + 1, true));
            call inner = *c;
            inner.arg = &one;
            list_push(c->ev, l.list, f_to_list(&inner));
        }
        return l;
    }
    const float *p = tensor_floats(c->ev, t, c->at);
    for (int64_t i = 0; i < tensor_elements(t); i++) list_push(c->ev, l.list, t->type == DT_I32 ? v_int((int64_t)p[i]) : v_float((double)p[i]));
    return l;
}

static value f_count(call *c) { // NaN or infinite elements
    tensor *t = tensor_arg(c, 0, "the argument");
    const float *p = tensor_floats(c->ev, t, c->at);
    int64_t n = 0, total = tensor_elements(t);
    bool nan = strcmp(c->self->name, "count_nan") == 0;
    for (int64_t i = 0; i < total; i++) n += nan ? isnan(p[i]) != 0 : isinf(p[i]) != 0;
    return v_int(n);
}

const builtin builtins_tensor[] = {
#define M1(name) {name, f_map, 1, 1, "x", "Elementwise."}
    M1("abs"), M1("exp"), M1("log"), M1("sqrt"), M1("sin"), M1("cos"), M1("tanh"), M1("sigmoid"), M1("silu"), M1("swish"), M1("gelu"), M1("gelu_tanh"), M1("gelu_erf"),
    M1("gelu_quick"), M1("relu"), M1("softplus"), M1("step"), M1("floor"), M1("ceil"), M1("round"), M1("sign"), M1("erf"), M1("square"),
#undef M1
    {"pow", f_map, 2, 2, "x, y", "x to the power y, elementwise."},
    {"mod", f_map, 2, 2, "x, y", "The remainder with the sign of y, elementwise."},
    {"select", f_map, 3, 3, "condition, yes, no", "Elementwise choice."},
    {"min", f_min_max, 1, 2, "x, y | x, axis=", "The smaller of two values elementwise; of one tensor: its smallest element, or along an axis."},
    {"max", f_min_max, 1, 2, "x, y | x, axis=", "The larger of two values elementwise; of one tensor: its largest element, or along an axis."},
    {"shape", f_shape, 1, 1, "x", "The sizes of the axes as a list."},
    {"transpose", f_transpose, 1, 3, "x, a=-2, b=-1", "Two axes exchanged."},
    {"permute", f_permute, 2, -1, "x, [axes]", "The axes in another order."},
    {"reshape", f_reshape, 2, -1, "x, [sizes]", "Another shape with the same elements; one size may be -1."},
    {"concat", f_concat, 1, -1, "a, b, ..., axis=0", "Tensors joined along an axis."},
    {"split", f_split, 2, 3, "x, parts, axis=0", "A list of equal parts, or of parts of the given sizes."},
    {"slice", f_slice, 4, 4, "x, axis, from, to", "A part of one axis."},
    {"matmul", f_matmul, 2, 2, "a, b", "Matrix product over the last axis of a and the last but one of b."},
    {"linear", f_linear, 2, 3, "x, weight, bias", "x times a stored matrix, over the matrix's contiguous axis."},
    {"einsum", f_einsum, 2, -1, "\"ij,jk->ik\", a, b, ...", "A product by index letters."},
    {"softmax", f_softmax, 1, 2, "x, axis=-1", "Softmax along an axis."},
    {"sum", f_reduce, 1, 3, "x, axis, keep=false", "The sum of all elements, or along an axis."},
    {"mean", f_reduce, 1, 3, "x, axis, keep=false", "The mean of all elements, or along an axis."},
    {"avg", f_reduce, 1, 3, "x, axis, keep=false", "The mean of all elements, or along an axis."},
    {"prod", f_reduce, 1, 3, "x, axis, keep=false", "The product of all elements, or along an axis."},
    {"argmax", f_argmax, 1, 1, "x", "The position of the largest element of the last axis."},
    {"embedding", f_embedding, 2, 2, "table, ids", "Rows of a table [vocab, width]; a stored table may be its transpose."},
    {"gather", f_gather, 2, 3, "x, indices, axis=0", "Positions of an axis."},
    {"zeros", f_full, 1, -1, "[sizes]", "A tensor of zeros."},
    {"ones", f_full, 1, -1, "[sizes]", "A tensor of ones."},
    {"full", f_full, 2, 2, "[sizes], value", "A tensor of one value."},
    {"rand", f_random, 0, -1, "[sizes]", "Uniform random numbers from [0, 1)."},
    {"randn", f_random, 0, -1, "[sizes]", "Normal random numbers."},
    {"tensor", f_tensor, 1, 1, "list", "A list of numbers, nested for more axes, as a tensor."},
    {"to_list", f_to_list, 1, 1, "x", "The elements as nested lists."},
    {"count_nan", f_count, 1, 1, "x", "How many elements are NaN."},
    {"count_inf", f_count, 1, 1, "x", "How many elements are infinite."},
    {0},
};
