// repl.c - programs that grow entry by entry, and tests: both run statements and can take back what those changed.

#include "eval/relations.h"
#include "eval/value.h"

// ---- taking back ---------------------------------------------------------------------------------
// What was: the global bindings in a scope between the globals and the prelude (where every name is shadowed, and the
// collector finds the values), lists and maps as pairs of themselves and a copy; facts and
// rules are kept by the relations' own engine.
typedef struct snapshot {
    scope *was, *above;
    v_list *copies;
    size_t dims, waiting;
    logic_moment *facts;     // NULL: there was no database
    VEC(dim_entry) dim_list;
} snapshot;
enum { MAX_COPIES = 8192, MAX_DEPTH = 6 };

static bool is_saved(const v_list *l, const void *o) {
    for (size_t i = 0; i < l->n; i += 2)
        if ((const void *)l->p[i].o == o) return true;
    return false;
}

static void save_value(evaluator *ev, v_list *into, value v, int depth) {
    if ((v.kind != V_LIST && v.kind != V_MAP) || depth == MAX_DEPTH || into->n >= MAX_COPIES || is_saved(into, v.o)) return;
    value copy = v_list_new(ev);
    list_push(ev, into, v);
    list_push(ev, into, copy);
    size_t n = v.kind == V_LIST ? v.list->n : v.map->n;
    for (size_t i = 0; i < n; i++) {
        if (v.kind == V_MAP) list_push(ev, copy.list, v.map->keys[i]);
        value x = v.kind == V_LIST ? v.list->p[i] : v.map->vals[i];
        list_push(ev, copy.list, x);
        save_value(ev, into, x, depth + 1);
    }
}

static void snapshot_take(evaluator *ev, snapshot *s) {
    tl_error err = {0};
    if (ev->logic && logic_keep(ev->logic, &s->facts, &err) != TL_OK) ev_fail_err(ev, (span){0}, &err);
    ev->pending++;
    s->above = ev->global->parent;
    s->was = env_new(ev, s->above);
    value copies = v_list_new(ev);
    s->copies = copies.list;
    for (size_t i = 0; i < ev->global->n; i++) {
        const binding *b = &ev->global->p[i];
        env_put(ev, s->was, b->name, b->v, b->at)->constant = b->constant;
    }
    env_put(ev, s->was, STR(" copies"), copies, (span){0});
    for (size_t i = 0; i < ev->global->n; i++) save_value(ev, s->copies, ev->global->p[i].v, 0);
    ev->global->parent = s->was;
    s->waiting = ev->waiting.n;
    s->dims = ev->dims.n;
    for (size_t i = 0; i < ev->dims.n; i++) (void)vec_push(&s->dim_list, ev->dims.p[i]);
    ev->pending--;
}

static void restore_values(evaluator *ev, const snapshot *s) {
    for (size_t i = 0; i < s->copies->n; i += 2) {
        value v = s->copies->p[i];
        const v_list *copy = s->copies->p[i + 1].list;
        if (v.kind == V_LIST) {
            v.list->n = 0;
            for (size_t k = 0; k < copy->n; k++) list_push(ev, v.list, copy->p[k]);
        } else {
            v.map->n = 0;
            for (size_t k = 0; k + 1 < copy->n; k += 2) map_set(ev, v.map, copy->p[k], copy->p[k + 1]);
        }
    }
}

static void restore_facts(evaluator *ev, const snapshot *s) {
    tl_error err = {0};
    ev->logic_version++;
    if (!s->facts) {
        logic_db_free(ev->logic);
        ev->logic = NULL;
    } else if (logic_go_back(ev->logic, s->facts, &err) != TL_OK) {
        ev_fail_err(ev, (span){0}, &err);
    }
}

static void snapshot_end(evaluator *ev, snapshot *s, bool back) {
    ev->global->parent = s->above;
    if (back) {
        ev->global->n = s->was->n - 1; // bindings are only ever added, in order; the last of `was` are the copies
        for (size_t i = 0; i < ev->global->n; i++) ev->global->p[i] = s->was->p[i];
        restore_values(ev, s);
        ev->waiting.n = s->waiting < ev->waiting.n ? s->waiting : ev->waiting.n;
        ev->dims.n = 0;
        for (size_t i = 0; i < s->dim_list.n; i++) (void)vec_push(&ev->dims, s->dim_list.p[i]);
    }
    vec_free(&s->dim_list);
    if (back && ev->logic) restore_facts(ev, s);
    if (ev->logic) logic_forget(ev->logic, s->facts);
}

static void need_entries(evaluator *ev) {
    if (ev->entries) return;
    ev->entries = arena_new(&ev->a, unit);
    ev->entries->path = arena_strndup(&ev->a, "input", 5);
    ev->entries->state = 2;
}

typedef struct snapshot_job { snapshot *s; bool end, back; } snapshot_job;
static void snapshot_run(evaluator *ev, void *ctx) {
    snapshot_job *j = ctx;
    need_entries(ev);
    if (j->end) snapshot_end(ev, j->s, j->back);
    else snapshot_take(ev, j->s);
}

// ---- entries -------------------------------------------------------------------------------------
static ast_stmt *parse_entry(evaluator *ev, str text) {
    need_entries(ev);
    source *src = arena_new(&ev->a, source);
    *src = (source){.name = "input", .dir = "", .text = {arena_strndup(&ev->a, text.p, text.n), text.n}};
    ast_program *prog;
    if (tl_parse(&ev->a, src, &ev->dl, &prog) != TL_OK) ev_throw(ev);
    ev->cur = ev->entries;
    return prog->items;
}

static void show(evaluator *ev, value v) {
    if (v.kind == V_NONE) return;
    sbuf *b = text_begin(ev);
    v_print(ev, v, b, true);
    sbuf_putc(b, '\n');
    if (ev->o.host.print) ev->o.host.print(ev->o.host.ctx, b->p, b->n);
    text_end(ev, b);
}

static void enter_job(evaluator *ev, void *ctx) {
    for (const ast_stmt *s = parse_entry(ev, *(str *)ctx); s; s = s->next) {
        bool fact = s->kind == ST_EXPR && s->expr->kind == EX_CALL && is_relation(ev, s->expr->kids);
        if (s->kind == ST_EXPR && !s->next && !fact) show(ev, settle(ev, eval(ev, s->expr), s->at));
        else if (exec(ev, s) != FLOW_NEXT) ev_fail(ev, s->at, "this has no place outside a loop or function");
    }
    if (ev->waiting.n) (void)let_axes(ev, ev->waiting.p[0], true);
}

static tl_status begin(evaluator *ev, snapshot *s, tl_error *err) {
    snapshot_job j = {.s = s};
    return ev_guarded(ev, snapshot_run, &j, err);
}

static tl_status finish(evaluator *ev, snapshot *s, bool keep, tl_status st, tl_error *err) {
    snapshot_job j = {.s = s, .end = true, .back = st != TL_OK || !keep};
    tl_status end = ev_guarded(ev, snapshot_run, &j, st == TL_OK ? err : NULL);
    return st == TL_OK ? end : st;
}

static tl_status taken_back(evaluator *ev, void (*fn)(evaluator *, void *), void *ctx, bool keep, tl_error *err) {
    snapshot s = {0};
    TL_TRY(begin(ev, &s, err));
    return finish(ev, &s, keep, ev_guarded(ev, fn, ctx, err), err);
}

tl_status ev_enter(evaluator *ev, const char *text, size_t n, bool keep, tl_error *err) {
    str s = {text, n};
    return taken_back(ev, enter_job, &s, keep, err);
}

tl_status ev_load(evaluator *ev, const char *file, tl_error *err) {
    snapshot s = {0};
    TL_TRY(begin(ev, &s, err));
    tl_status st = finish(ev, &s, true, ev_run(ev, file, NULL, 0, true, err), err);
    size_t n = ev->dims.n; // entries see the file's dims
    for (size_t i = s.dims; i < n && st == TL_OK; i++) {
        dim_entry d = ev->dims.p[i];
        if (d.unit == ev->entries || d.depth) continue;
        d.unit = ev->entries;
        if (!vec_push(&ev->dims, d)) return err_set(err, TL_E_MEMORY, "out of memory");
    }
    return st;
}

// ---- types ---------------------------------------------------------------------------------------
typedef struct type_job { str text; sbuf *out; } type_job;

static void put_function(const ast_stmt *def, sbuf *out) {
    sbuf_printf(out, "fn %.*s(", (int)def->head.name.n, def->head.name.p);
    for (const ast_param *p = def->params; p; p = p->next) {
        sbuf_printf(out, "%s%.*s", p == def->params ? "" : ", ", (int)p->name.n, p->name.p);
        if (p->type) sbuf_printf(out, ": %.*s", (int)(p->type->at.end - p->type->at.begin), p->type->at.src->text.p + p->type->at.begin);
    }
    sbuf_putc(out, ')');
    if (def->type) sbuf_printf(out, " -> %.*s", (int)(def->type->at.end - def->type->at.begin), def->type->at.src->text.p + def->type->at.begin);
}

static void type_run(evaluator *ev, void *ctx) {
    type_job *j = ctx;
    const ast_stmt *s = parse_entry(ev, j->text);
    if (!s || s->next || s->kind != ST_EXPR) ev_fail(ev, s ? s->at : (span){0}, "one expression was expected");
    value v = settle(ev, eval(ev, s->expr), s->at);
    switch (v.kind) {
    case V_TENSOR:
        sbuf_printf(j->out, "%s", v.t->weight ? dtype_table[v.t->weight->type].name : v.t->type == DT_I32 ? "int32" : v.t->type == DT_BOOL ? "bool" : "float32");
        tensor_shape_text(v.t, j->out);
        break;
    case V_FN: put_function(v.fn->def, j->out); break;
    case V_BUILTIN: sbuf_printf(j->out, "%s(%s): %s", v.bi->name, v.bi->params, v.bi->doc); break;
    case V_LIST: sbuf_printf(j->out, "a list of %zu", v.list->n); break;
    case V_MAP: sbuf_printf(j->out, "a map of %zu", v.map->n); break;
    case V_STATE: case V_RELATION: {
        const ast_stmt *def = v.kind == V_STATE ? v.state->def : v.rel->def;
        sbuf_printf(j->out, "%.*s", (int)(def->at.end - def->at.begin), def->at.src->text.p + def->at.begin);
        break;
    }
    default: sbuf_puts(j->out, v_names[v.kind]);
    }
}

tl_status ev_type(evaluator *ev, const char *text, size_t n, sbuf *out, tl_error *err) {
    type_job j = {{text, n}, out};
    return taken_back(ev, type_run, &j, false, err);
}

// ---- names ---------------------------------------------------------------------------------------
static void offer(str name, const char *prefix, void (*each)(void *ctx, const char *name), void *ctx) {
    char buf[200];
    if (!str_starts(name, str_of(prefix)) || name.n >= sizeof buf || name.p[0] == ' ') return;
    snprintf(buf, sizeof buf, "%.*s", (int)name.n, name.p);
    each(ctx, buf);
}

void ev_names(evaluator *ev, const char *prefix, void (*each)(void *ctx, const char *name), void *ctx) {
    for (const scope *s = ev->global; s; s = s->parent)
        for (size_t i = 0; i < s->n; i++) offer(s->p[i].name, prefix, each, ctx);
    for (size_t i = 0; i < ev->builtins.cap; i++)
        if (ev->builtins.slots[i].key.p) offer(ev->builtins.slots[i].key, prefix, each, ctx);
}

// ---- tests ---------------------------------------------------------------------------------------
typedef struct test_job { const ast_stmt *test; const unit *unit; } test_job;

static void test_run(evaluator *ev, void *ctx) {
    test_job *j = ctx;
    ev->cur = j->unit;
    ev->scope = env_new(ev, ev->global);
    if (exec_block(ev, j->test->body) != FLOW_NEXT) ev_fail(ev, j->test->at, "'break', 'continue' or 'return' outside a loop or function");
    ev->scope = ev->global;
    ev->cur = NULL;
}

void ev_tests(evaluator *ev, const char *file, void (*each)(void *ctx, const char *name, int line, double seconds, const char *message), void *ctx) {
    const unit *u = ev->units;
    while (u && (u->importer || u->imported_by_stmt || strcmp(u->src.name, file) != 0)) u = u->next;
    for (const ast_stmt *s = u && u->prog ? u->prog->items : NULL; s; s = s->next) {
        if (s->kind != ST_TEST) continue;
        char name[200];
        int line, col;
        tl_error err = {0};
        double begun = 1e-9 * clock_ns();
        str_escape(name, sizeof name, s->head.name);
        span_line_col(s->at, &line, &col);
        test_job j = {s, u};
        tl_status st = taken_back(ev, test_run, &j, false, &err);
        each(ctx, name, line, 1e-9 * clock_ns() - begun, st == TL_OK ? NULL : err.message);
        if (st == TL_E_CANCELLED) return;
    }
}
