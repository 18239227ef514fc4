// embed_decl.c - `embedding E { members: {Alice, Bob}, width: 8, init: "normal" }`: a tensor with one row for each member.
#include <inttypes.h>
#include <math.h>

#include "eval/relations.h"
#include "eval/value.h"

typedef struct fields {
    const ast_expr *members, *width, *init;
} fields;

static fields read_fields(evaluator *ev, const ast_stmt *s) {
    fields f = {0};
    for (const ast_expr *e = s->fields; e; e = e->next) {
        if (str_is(e->arg_name, "members") || str_is(e->arg_name, "table")) f.members = e;
        else if (str_is(e->arg_name, "width") || str_is(e->arg_name, "dim")) f.width = e;
        else if (str_is(e->arg_name, "init")) f.init = e;
        else ev_fail_fix(ev, e->at, "there are members, width and init", "an embedding has no field '%.*s'", (int)e->arg_name.n, e->arg_name.p);
    }
    if (!f.members) ev_fail_fix(ev, s->at, "members: {Alice, Bob}, or the name of an entity kind", "the embedding '%.*s' does not say whose rows it has", (int)s->head.name.n, s->head.name.p);
    if (!f.width && !f.init) ev_fail_fix(ev, s->at, "width: 8", "the embedding '%.*s' does not say how wide its rows are", (int)s->head.name.n, s->head.name.p);
    return f;
}

static int64_t rows_of(evaluator *ev, const ast_stmt *s, const ast_expr *members, str *kind) {
    if (members->kind == EX_SET) {
        *kind = s->head.name;
        ast_stmt entity = {.kind = ST_ENTITY, .at = s->at, .head = s->head, .names = members->kids};
        for (const ast_expr *m = members->kids; m; m = m->next)
            if (m->kind != EX_NAME) ev_fail(ev, m->at, "the members of an embedding are names");
        declare_members(ev, &entity);
    } else if (members->kind == EX_NAME) {
        *kind = members->name;
    } else {
        ev_fail_fix(ev, members->at, "members: {Alice, Bob}, or the name of an entity kind", "this names no members");
    }
    int64_t n = ev->logic ? logic_entity_count(ev->logic, *kind) : 0;
    if (!n) ev_fail(ev, members->at, "'%.*s' has no members", (int)kind->n, kind->p);
    return n;
}

static tensor *random_rows(evaluator *ev, const ast_expr *at, const char *how, int64_t n, int64_t width, float scale, float shift) {
    value args[2] = {v_int(n), v_int(width)};
    tensor *t = value_tensor(ev, call_value(ev, lookup(ev, str_of(how), at->at), args, NULL, 2, at->at), at->at);
    float *p = t->buf->data;
    for (int64_t i = 0; i < n * width; i++) p[i] = (p[i] - shift) * scale;
    return t;
}

static tensor *named_rows(evaluator *ev, const ast_stmt *s, const fields *f, str how, int64_t n, int64_t width) {
    const ast_expr *at = f->init ? f->init : f->width;
    float root = 1.0f / sqrtf((float)width);
    if (str_is(how, "normal")) return random_rows(ev, at, "randn", n, width, root, 0);
    if (str_is(how, "uniform")) return random_rows(ev, at, "rand", n, width, 2 * root, 0.5f);
    if (!str_is(how, "zeros") && !str_is(how, "ones") && !str_is(how, "onehot"))
        ev_fail_fix(ev, at->at, "\"normal\", \"uniform\", \"zeros\", \"ones\", \"onehot\", or a tensor", "the embedding '%.*s' cannot begin as \"%.*s\"", (int)s->head.name.n, s->head.name.p, (int)how.n, how.p);
    if (str_is(how, "onehot") && width < n) ev_fail(ev, at->at, "%" PRId64 " members need a width of at least %" PRId64 " to have one place each, not %" PRId64, n, n, width);
    int64_t sizes[2] = {n, width};
    tensor *t = tensor_from_floats(ev, 2, sizes, NULL);
    float *p = t->buf->data;
    for (int64_t i = 0; i < n * width; i++) p[i] = str_is(how, "ones") || (str_is(how, "onehot") && i / width == i % width) ? 1 : 0;
    return t;
}

void declare_embedding(evaluator *ev, const ast_stmt *s) {
    ev->pending++;
    fields f = read_fields(ev, s);
    str kind;
    int64_t n = rows_of(ev, s, f.members, &kind);
    int64_t width = f.width ? want_int(ev, settle(ev, eval(ev, f.width), f.width->at), f.width->at, "a width") : -1;
    if (f.width && (width < 1 || width > 1 << 24)) ev_fail(ev, f.width->at, "a width of %" PRId64 " is not possible", width);
    value init = f.init ? settle(ev, eval(ev, f.init), f.init->at) : v_none();
    tensor *t;
    if (init.kind == V_STR || !f.init) {
        if (!f.width) ev_fail_fix(ev, s->at, "width: 8", "the embedding '%.*s' does not say how wide its rows are", (int)s->head.name.n, s->head.name.p);
        t = named_rows(ev, s, &f, f.init ? v_text(init) : STR("normal"), n, width);
    } else {
        t = tensor_dup(ev, value_tensor(ev, init, f.init->at));
        if (t->rank != 2 || t->ax[0].size != n || (f.width && t->ax[1].size != width)) {
            char shape[160];
            ev_fail(ev, f.init->at, "the first rows must be [%" PRId64 ", %s], this is %s", n, f.width ? "width" : "any", tensor_shape(t, shape, sizeof shape));
        }
    }
    t->ax[0].domain = intern(ev, kind);
    env_put(ev, ev->global, s->head.name, v_of_tensor(t), s->head.at);
    ev->pending--;
}
