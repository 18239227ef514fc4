// relations.c - relations, facts, rules and queries of programs: the Datalog engine of src/logic behind the evaluator.
// A relation is a Boolean tensor: both directions of that are here, so that rules and equations mix.
#include "eval/relations.h"

// Errors inside the engine's callbacks must not jump over its frames: they are caught and handed on as tl_error.
static tl_status caught(evaluator *ev, void (*fn)(evaluator *, void *), void *ctx, tl_error *err) {
    jmp_buf here, *outer = ev->escape;
    scope *const saved = ev->scope;
    const int pending = ev->pending, depth = ev->depth;
    frame *const frames = ev->frames;
    const diag_list before = ev->dl;
    ev->escape = &here;
    if (setjmp(here) == 0) {
        fn(ev, ctx);
        ev->escape = outer;
        return TL_OK;
    }
    ev->escape = outer;
    ev->scope = saved;
    ev->pending = pending;
    ev->depth = depth;
    ev->frames = frames;
    const diag *d = ev->dl.last;
    tl_status status = err_set(err, ev->code == TL_OK ? TL_E_PROGRAM : ev->code, "%s", d != before.last ? d->text : "out of memory");
    ev->dl = before; // the engine reports it with the place of the literal
    if (before.last) before.last->next = NULL;
    return status;
}

// ---- values --------------------------------------------------------------------------------------
static value value_of(evaluator *ev, logic_value v) {
    switch (v.type) {
    case LT_INT: return v_int(v.i);
    case LT_FLOAT: return v_float(v.f);
    case LT_BOOL: return v_bool(v.i != 0);
    default: return v_str_new(ev, v.s);
    }
}

static bool constant(void *ctx, str name, logic_value *out) {
    const binding *b = find_name(ctx, name);
    if (!b) return false;
    switch (b->v.kind) {
    case V_INT: *out = (logic_value){.type = LT_INT, .i = b->v.i}; return true;
    case V_FLOAT: *out = (logic_value){.type = LT_FLOAT, .f = b->v.f}; return true;
    case V_BOOL: *out = (logic_value){.type = LT_BOOL, .i = b->v.b}; return true;
    case V_STR: *out = (logic_value){.type = LT_STRING, .s = v_text(b->v)}; return true;
    default: return false;
    }
}

// ---- tests in bodies -------------------------------------------------------------------------------
typedef struct test_job {
    const ast_expr *e;
    const str *names;
    const logic_value *values;
    int n;
    bool yes;
} test_job;

static void run_test(evaluator *ev, void *ctx) {
    test_job *j = ctx;
    scope *outer = ev->scope;
    ev->pending++;
    ev->scope = env_new(ev, outer);
    for (int i = 0; i < j->n; i++) env_put(ev, ev->scope, j->names[i], value_of(ev, j->values[i]), j->e->at);
    j->yes = truthy(ev, settle(ev, eval(ev, j->e), j->e->at), j->e->at);
    ev->scope = outer;
    ev->pending--;
}

static tl_status test(void *ctx, const ast_expr *e, const str *names, const logic_value *values, int n, bool *out, tl_error *err) {
    test_job j = {e, names, values, n, false};
    evaluator *ev = ctx;
    ev->in_test = true;
    tl_status status = caught(ev, run_test, &j, err);
    ev->in_test = false;
    if (status != TL_OK) return status;
    *out = j.yes;
    return TL_OK;
}

// ---- tensors as relations ----------------------------------------------------------------------------
static uint8_t *tensor_bytes(evaluator *ev, tensor *t, int64_t *sizes, span at) {
    const float *f = tensor_floats(ev, t, at);
    int64_t n = tensor_elements(t);
    uint8_t *bytes = arena_array(&ev->dl_arena, uint8_t, (size_t)n + 1);
    for (int64_t i = 0; i < n; i++) bytes[i] = f[i] != 0;
    for (int i = 0; i < t->rank; i++) sizes[i] = t->ax[i].size;
    return bytes;
}

typedef struct tensor_job {
    str name;
    int arity;
    logic_rel *rel;
} tensor_job;

static void tensor_as_relation(evaluator *ev, void *ctx) {
    tensor_job *j = ctx;
    const binding *b = find_name(ev, j->name);
    if (!b || (b->v.kind != V_TENSOR && b->v.kind != V_PARTS) || ev->tracing) return;
    tensor *t = value_tensor(ev, b->v, b->at);
    if (t->rank != j->arity || tensor_has_sym(t)) return;
    logic_column cols[IR_MAX_RANK];
    int64_t sizes[IR_MAX_RANK];
    for (int i = 0; i < t->rank; i++) {
        const char *d = t->ax[i].domain;
        cols[i] = (logic_column){.name = str_of(t->ax[i].dim ? t->ax[i].dim : "i"), .type = d ? LT_ENTITY : LT_INT};
        if (d) cols[i].domain = str_of(d);
    }
    // A name that no program can write: the next statement that reads the tensor asks again and sees its value then.
    char name[200];
    snprintf(name, sizeof name, "%.*s[%d]", (int)j->name.n, j->name.p, t->rank);
    tl_error err = {0};
    logic_rel *r = NULL;
    if (logic_relation(ev->logic, str_of(name), cols, t->rank, &r, &err) != TL_OK) ev_fail_err(ev, b->at, &err);
    uint8_t *bytes = tensor_bytes(ev, t, sizes, b->at);
    if (logic_from_dense(ev->logic, r, sizes, bytes, &err) != TL_OK) ev_fail_err(ev, b->at, &err);
    j->rel = r;
}

static logic_rel *tensor_relation(void *ctx, str name, int arity) {
    tensor_job j = {name, arity, NULL};
    return caught(ctx, tensor_as_relation, &j, NULL) == TL_OK ? j.rel : NULL;
}

static bool cancelled(void *ctx) {
    const ev_host *h = &((evaluator *)ctx)->o.host;
    return h->cancelled && h->cancelled(h->ctx);
}

static logic_db *database(evaluator *ev, span at) {
    if (ev->in_test) ev_fail(ev, at, "relations cannot be asked inside a computed test of a rule");
    if (ev->logic) return ev->logic;
    logic_options o = {.hooks = {ev, constant, tensor_relation, test, cancelled}, .max_bytes = ev->o.max_bytes};
    if (ev->o.max_steps) o.max_steps = ev->o.max_steps < INT64_MAX >> 12 ? ev->o.max_steps << 12 : 0; // rows looked at, which are less than statements
    tl_error err = {0};
    if (logic_db_new(&o, &ev->logic, &err) != TL_OK) ev_fail_err(ev, at, &err);
    return ev->logic;
}

static void check(evaluator *ev, tl_status status, span at) {
    if (status == TL_OK) return;
    ev->code = status;
    if (!ev->dl.errors) (void)ev_diag(ev, at, status == TL_E_MEMORY ? "out of memory" : "this could not be evaluated");
    ev_throw(ev);
}

static void check_err(evaluator *ev, tl_status status, const tl_error *err, span at) {
    if (status == TL_OK) return;
    if (ev->dl.errors) check(ev, status, at);
    ev_fail_err(ev, at, err);
}

// ---- declarations ------------------------------------------------------------------------------------
static void bind_relation(evaluator *ev, str name, logic_rel *r, const ast_stmt *def, span at) {
    v_relation *v = heap_new(ev, sizeof *v, V_RELATION);
    v->def = def;
    v->logic = r;
    env_put(ev, ev->global, (str){intern(ev, name), name.n}, (value){.kind = V_RELATION, .rel = v}, at);
}

// Members of a kind are names for texts in ordinary code, and for positions on axes of their kind.
static void bind_member(evaluator *ev, const ast_expr *e) {
    if (!find_name(ev, e->name)) env_put(ev, ev->global, e->name, v_str_new(ev, e->name), e->at);
}

void declare_relation(evaluator *ev, const ast_stmt *s) {
    logic_rel *r = NULL;
    check(ev, logic_relation_from_ast(database(ev, s->at), s, &ev->dl, &r), s->at);
    bind_relation(ev, s->head.name, r, s, s->head.at);
}

void declare_entity(evaluator *ev, const ast_stmt *s) {
    declare_members(ev, s);
    logic_rel *r = logic_find(ev->logic, s->head.name);
    if (r) bind_relation(ev, s->head.name, r, s, s->head.at);
}

void declare_members(evaluator *ev, const ast_stmt *s) {
    check(ev, logic_entity_from_ast(database(ev, s->at), s, &ev->dl), s->at);
    ev->logic_version++;
    for (const ast_expr *m = s->names; m; m = m->next) bind_member(ev, m);
}

bool is_relation(evaluator *ev, const ast_expr *callee) {
    if (callee->kind != EX_NAME) return false;
    const binding *b = find_name(ev, callee->name);
    return b && b->v.kind == V_RELATION && !b->v.rel->cache;
}

// What a fact computes ("item {i}", n + 1) is written out as a constant.
static const ast_expr *literal(evaluator *ev, const ast_expr *e) {
    bool plain = e->kind == EX_NAME || e->kind == EX_INT || e->kind == EX_FLOAT || e->kind == EX_BOOL || (e->kind == EX_STRING && !e->kids);
    if (plain) return e;
    value v = settle(ev, eval(ev, e), e->at);
    ast_expr *c = arena_new(&ev->a, ast_expr);
    *c = (ast_expr){.at = e->at, .arg_name = e->arg_name, .height = 1};
    switch (v.kind) {
    case V_INT: case V_BOOL: c->kind = v.kind == V_INT ? EX_INT : EX_BOOL, c->i = v.kind == V_INT ? v.i : v.b, c->f = (double)c->i; break;
    case V_STR: c->kind = EX_STRING, c->name = (str){arena_strndup(&ev->a, v.s->p, v.s->n), v.s->n}; break;
    default: c->kind = EX_FLOAT, c->f = want_float(ev, v, e->at, "what a fact holds");
    }
    return c;
}

static const ast_expr *fact_of(evaluator *ev, const ast_expr *e) {
    ast_expr *copy = arena_new(&ev->a, ast_expr), **tail = &copy->kids;
    *copy = *e;
    for (const ast_expr *k = e->kids; k; k = k->next) {
        ast_expr *c = arena_new(&ev->a, ast_expr);
        *c = k == e->kids ? *k : *literal(ev, k);
        c->next = NULL;
        *tail = c;
        tail = &c->next;
    }
    return copy;
}

void exec_fact(evaluator *ev, const ast_expr *e) {
    e = fact_of(ev, e);
    check(ev, logic_fact_from_ast(database(ev, e->at), e, &ev->dl), e->at);
    ev->logic_version++;
    for (const ast_expr *k = e->kids->next; k; k = k->next)
        if (k->kind == EX_NAME) bind_member(ev, k);
}

bool is_logic_rule(evaluator *ev, const ast_stmt *s) {
    if (!s->head.round || ev->tracing) return false;
    const binding *b = find_name(ev, s->head.name);
    if (b) return b->v.kind == V_RELATION && !b->v.rel->cache;
    for (const ast_literal *l = s->where; l; l = l->next) {
        const ast_expr *e = l->expr;
        while (e->kind == EX_UNARY) e = e->kids;
        if (e->kind == EX_CALL && is_relation(ev, e->kids)) return true;
    }
    return false;
}

static void check_atoms(evaluator *ev, const ast_stmt *s) {
    for (const ast_literal *l = s->where; l; l = l->next) {
        const ast_expr *e = l->expr;
        while (e->kind == EX_UNARY) e = e->kids;
        if (e->kind != EX_CALL || e->kids->kind != EX_NAME || find_name(ev, e->kids->name) || map_get(&ev->builtins, e->kids->name)) continue;
        if (str_eq(e->kids->name, s->head.name)) continue;
        ev_fail_fix(ev, e->kids->at, "declare it before the rules that use it: relation NAME(column: type)", "unknown relation '%.*s'", (int)e->kids->name.n, e->kids->name.p);
    }
}

void exec_logic_rule(evaluator *ev, const ast_stmt *s) {
    check_atoms(ev, s);
    check(ev, logic_rule_from_ast(database(ev, s->at), s, &ev->dl), s->at);
    ev->logic_version++;
    logic_rel *r = logic_find(ev->logic, s->head.name);
    if (r && !find_name(ev, s->head.name)) bind_relation(ev, s->head.name, r, NULL, s->head.at);
}

// ---- queries -----------------------------------------------------------------------------------------
static void rows_text(const logic_rows *rows, sbuf *out) {
    int n = logic_rows_columns(rows);
    if (n == 0) sbuf_puts(out, logic_rows_count(rows) ? "yes\n" : "no\n");
    for (size_t r = 0; n && r < logic_rows_count(rows); r++)
        for (int c = 0; c < n; c++) {
            str name = logic_rows_name(rows, c);
            sbuf_printf(out, "%.*s=", (int)name.n, name.p);
            logic_value_text(logic_rows_value(rows, r, c), out);
            sbuf_putc(out, c == n - 1 ? '\n' : ' ');
        }
}

void exec_query(evaluator *ev, const ast_stmt *s) {
    logic_rows *rows = NULL;
    check(ev, logic_query(database(ev, s->at), s->expr, s->where, &ev->dl, &rows), s->at);
    sbuf b = {0};
    rows_text(rows, &b);
    logic_rows_free(rows);
    if (ev->o.host.print && b.n) ev->o.host.print(ev->o.host.ctx, b.p, b.n);
    sbuf_free(&b);
}

value ask_relation(evaluator *ev, const ast_expr *e) {
    logic_rows *rows = NULL;
    check(ev, logic_query(database(ev, e->at), e, NULL, &ev->dl, &rows), e->at);
    int columns = logic_rows_columns(rows);
    bool yes = logic_rows_count(rows) != 0;
    logic_rows_free(rows);
    if (columns) ev_fail_fix(ev, e->at, "query prints the rows; tuples(R) is the list of them", "as a value, an atom has no free variables");
    return v_bool(yes);
}

int64_t relation_count(evaluator *ev, v_relation *rel, span at) {
    check(ev, logic_run(database(ev, at), &ev->dl), at);
    return (int64_t)logic_count(rel->logic);
}

static void rows_drop(void *p) { logic_rows_free(p); }

static value rows_of(evaluator *ev, v_relation *rel, span at) {
    logic_rows *rows = NULL;
    check(ev, logic_iterate(database(ev, at), rel->logic, &ev->dl, &rows), at);
    temp_begin(ev, rows, rows_drop);
    value list = v_list_new(ev);
    for (size_t r = 0; r < logic_rows_count(rows); r++) {
        value row = v_list_new(ev);
        for (int c = 0; c < logic_rows_columns(rows); c++) list_push(ev, row.list, value_of(ev, logic_rows_value(rows, r, c)));
        list_push(ev, list.list, row);
    }
    temp_end(ev, rows);
    return list;
}

// ---- relations as tensors ----------------------------------------------------------------------------
// An int column named like a dim has its size, if that holds every row.
static void widen_to_dims(evaluator *ev, logic_rel *r, int64_t *sizes) {
    for (int c = 0; c < logic_arity(r); c++) {
        logic_column col = logic_column_of(r, c);
        const dim_entry *d = col.type == LT_INT ? dim_find(ev, intern(ev, col.name)) : NULL;
        if (d && d->size > sizes[c]) sizes[c] = d->size;
    }
}

tensor *relation_tensor(evaluator *ev, v_relation *rel, span at) {
    if (rel->cache) ev_fail(ev, at, "the relation '%.*s' is known only inside a model's step function", (int)rel->def->head.name.n, rel->def->head.name.p);
    if (rel->whole && rel->version == ev->logic_version) return rel->whole;
    logic_rel *r = rel->logic;
    int64_t sizes[LOGIC_MAX_COLS], n = 1;
    tl_error err = {0};
    int rank = logic_arity(r);
    if (rank > IR_MAX_RANK) ev_fail(ev, at, "a relation of %d columns is no tensor: at most %d axes", rank, IR_MAX_RANK);
    check_err(ev, logic_dense_sizes(database(ev, at), r, sizes, &ev->dl, &err), &err, at);
    widen_to_dims(ev, r, sizes);
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(n, sizes[i], &n) || n > (int64_t)1 << 32) ev_fail(ev, at, "the relation '%.*s' has too many possible rows for a tensor", (int)logic_name(r).n, logic_name(r).p);
    tensor *t = tensor_from_floats(ev, rank, sizes, NULL);
    uint8_t *bytes = mem_alloc((size_t)n + 1);
    if (!bytes) check(ev, TL_E_MEMORY, at);
    tl_status status = logic_to_dense(ev->logic, r, sizes, bytes, &ev->dl, &err);
    if (status != TL_OK) mem_free(bytes);
    check_err(ev, status, &err, at);
    float *f = t->buf->data;
    for (int64_t i = 0; i < n; i++) f[i] = bytes[i];
    mem_free(bytes);
    t->type = DT_BOOL;
    for (int c = 0; c < rank; c++) {
        logic_column col = logic_column_of(r, c);
        if (col.type == LT_ENTITY) t->ax[c].domain = intern(ev, col.domain.n ? col.domain : STR("entity"));
    }
    rel->whole = t;
    rel->version = ev->logic_version;
    return t;
}

void relation_assign(evaluator *ev, v_relation *rel, tensor *t, bool keep, span at) {
    logic_rel *r = rel->logic;
    if (t->rank != logic_arity(r)) ev_fail(ev, at, "'%.*s' has %d columns, the tensor %d axes", (int)logic_name(r).n, logic_name(r).p, logic_arity(r), t->rank);
    if (keep) {
        value both[2] = {v_of_tensor(relation_tensor(ev, rel, at)), v_of_tensor(t)};
        t = tensor_map(ev, MAP_OR, 2, both, at);
    }
    int64_t sizes[IR_MAX_RANK];
    tl_error err = {0};
    uint8_t *bytes = tensor_bytes(ev, t, sizes, at);
    check_err(ev, logic_from_dense(database(ev, at), r, sizes, bytes, &err), &err, at);
    ev->logic_version++;
}

int64_t entity_position(evaluator *ev, const char *domain, str name, span at) {
    int64_t n = domain && ev->logic ? logic_entity_count(ev->logic, str_of(domain)) : 0;
    for (int64_t i = 0; i < n; i++)
        if (str_eq(logic_entity_name(ev->logic, str_of(domain), i), name)) return i;
    if (!domain) ev_fail(ev, at, "'%.*s' is a text, and this axis is numbered", (int)name.n, name.p);
    ev_fail(ev, at, "'%.*s' is no member of %s, over which this axis runs", (int)name.n, name.p, domain);
}

// ---- builtins ------------------------------------------------------------------------------------------
static v_relation *relation_arg(call *c) {
    if (c->arg[0].kind != V_RELATION || c->arg[0].rel->cache) ev_fail(c->ev, c->at, "%s needs a relation, found %s", c->self->name, v_names[c->arg[0].kind]);
    return c->arg[0].rel;
}

static value f_tuples(call *c) { return rows_of(c->ev, relation_arg(c), c->at); }

static value f_load_facts(call *c) {
    v_relation *r = relation_arg(c);
    tl_error err = {0};
    const char *path = intern(c->ev, want_str(c->ev, c->arg[1], c->at, "a path"));
    if (logic_load(c->ev->logic, r->logic, path, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
    c->ev->logic_version++;
    return v_none();
}

static value f_save_facts(call *c) {
    v_relation *r = relation_arg(c);
    tl_error err = {0};
    const char *path = intern(c->ev, want_str(c->ev, c->arg[1], c->at, "a path"));
    check_err(c->ev, logic_save(c->ev->logic, r->logic, path, &c->ev->dl, &err), &err, c->at);
    return v_none();
}

static value f_to_tensor(call *c) { return v_of_tensor(relation_tensor(c->ev, relation_arg(c), c->at)); }

const builtin builtins_relation[] = {
    {"tuples", f_tuples, 1, 1, "relation", "The rows of a relation as a sorted list of lists."},
    {"to_tensor", f_to_tensor, 1, 1, "relation", "The relation as a Boolean tensor, one axis for each column."},
    {"load_facts", f_load_facts, 2, 2, "relation, path", "Adds the rows of a text file: CSV if the path ends in .csv, else TSV."},
    {"save_facts", f_save_facts, 2, 2, "relation, path", "Writes the rows, sorted: CSV if the path ends in .csv, else TSV."},
    {0},
};
