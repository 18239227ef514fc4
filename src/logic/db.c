// db.c - the database: strings, domains of entities, relations, facts, values.
#include "logic/impl.h"
#include <setjmp.h>

// ---- memory ----------------------------------------------------------------------------------------
typedef struct guard { jmp_buf at; } guard;
static void exhausted(void *ctx, size_t size) {
    (void)size;
    longjmp(((guard *)ctx)->at, 1);
}

// Hooks may come back into the database, so guards nest: each restores what it found.
typedef struct saved { void (*on_fail)(void *, size_t); void *ctx; } saved;
static saved catch_in(arena *a, guard *g) {
    saved s = {a->on_fail, a->fail_ctx};
    a->on_fail = exhausted;
    a->fail_ctx = g;
    return s;
}

static void restore(arena *a, saved s) {
    a->on_fail = s.on_fail;
    a->fail_ctx = s.ctx;
}

tl_status guarded(logic_db *db, diag_list *dl, tl_status (*fn)(void *), void *ctx) {
    guard g;
    arena *other = dl && dl->a != &db->a ? dl->a : &db->a, *const at = db->at;
    const saved a = catch_in(&db->a, &g), t = catch_in(&db->tmp, &g), o = catch_in(other, &g);
    volatile tl_status status = TL_E_MEMORY;
    const int depth = db->depth++;
    db->mem.status = TL_OK;
    db->at = &db->a;
    if (setjmp(g.at) == 0) status = fn(ctx);
    restore(other, o);
    restore(&db->tmp, t);
    restore(&db->a, a);
    db->depth = depth;
    db->at = at;
    if (depth == 0 && db->live) exec_deinit(db->live);
    if (depth == 0) arena_free(&db->tmp);
    return status;
}

tl_status mem_error(logic_db *db, tl_error *err) {
    if (db->mem.status == TL_E_LIMIT) return err_set(err, TL_E_LIMIT, "the relations need more than their limit of %zu bytes", db->mem.limit);
    return err_set(err, TL_E_MEMORY, "out of memory");
}

tl_status mem_diag(logic_db *db, diag_list *dl) {
    if (db->mem.status != TL_E_LIMIT) return TL_E_MEMORY;
    if (dl) diag_add(dl, DG_ERROR, (span){0}, "the relations need more than their limit of %zu bytes", db->mem.limit);
    return TL_E_LIMIT;
}

str keep_str(logic_db *db, str s) { return (str){arena_strndup(db->at, s.n ? s.p : "", s.n), s.n}; }

tl_status logic_db_new(const logic_options *o, logic_db **out, tl_error *err) {
    logic_db *db = mem_calloc(1, sizeof *db);
    *out = NULL;
    if (!db) return err_set(err, TL_E_MEMORY, "out of memory");
    if (o) db->opt = *o;
    db->mem.limit = db->opt.max_bytes ? db->opt.max_bytes : (size_t)8 << 30;
    db->strings = interner_new(&db->mem);
    if (!db->strings) {
        mem_free(db);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    *out = db;
    return TL_OK;
}

void logic_db_free(logic_db *db) {
    if (!db) return;
    for (logic_rel *r = db->rels; r; r = r->next) {
        tupset_deinit(&r->base);
        tupset_deinit(&r->full);
    }
    for (domain *d = db->domains; d; d = d->next) logic_realloc(&db->mem, d->number, d->number_cap * sizeof *d->number, 0);
    interner_free(db->strings);
    map_free(&db->name_map);
    map_free(&db->rel_map);
    arena_free(&db->tmp);
    arena_free(&db->a);
    mem_free(db);
}

size_t logic_bytes(const logic_db *db) { return db->mem.used; }

// ---- relations ---------------------------------------------------------------------------------------
logic_rel *rel_new(logic_db *db, str name, int arity, span at) {
    logic_rel *r = arena_new(db->at, logic_rel);
    r->name = keep_str(db, name);
    r->at = at;
    r->arity = arity;
    r->cols = arena_array(db->at, lcol, arity ? arity : 1);
    for (int i = 0; i < arity; i++) r->cols[i].type = LT_ANY;
    r->dirty = true;
    tupset_init(&r->base, &db->mem, arity, LF_NONE, LT_INT, false);
    return r;
}

bool rel_link(logic_db *db, logic_rel *r) {
    if (!map_put(&db->rel_map, r->name, (int64_t)(intptr_t)r)) {
        db->mem.status = TL_E_MEMORY;
        return false;
    }
    if (db->last_rel) db->last_rel->next = r;
    else db->rels = r;
    db->last_rel = r;
    db->n_rels++;
    return true;
}

void rel_unlink(logic_db *db, logic_rel *r) {
    logic_rel *before = NULL;
    for (logic_rel *p = db->rels; p != r; p = p->next) before = p;
    if (before) before->next = NULL;
    else db->rels = NULL;
    db->last_rel = before;
    db->n_rels--;
    map_put(&db->rel_map, r->name, 0); // overwrites: needs no memory
}

logic_rel *logic_find(logic_db *db, str name) {
    int64_t *v = map_get(&db->rel_map, name);
    return v ? (logic_rel *)(intptr_t)*v : NULL;
}

str logic_name(const logic_rel *r) { return r->name; }
int logic_arity(const logic_rel *r) { return r->arity; }
logic_fold logic_fold_of(const logic_rel *r) { return r->fold; }
size_t logic_count(logic_rel *r) { return rel_rows(r)->n; }

logic_column logic_column_of(const logic_rel *r, int col) {
    const lcol *c = &r->cols[col];
    return (logic_column){c->name, c->type, c->dom ? c->dom->name : (str){0}};
}

typedef struct relation_args { logic_db *db; str name; const logic_column *cols; int arity; span at; logic_rel *out; } relation_args;

static bool same_shape(logic_db *db, const logic_rel *r, const logic_column *cols, int arity) {
    if (r->arity != arity) return false;
    for (int i = 0; i < arity; i++) {
        if (r->cols[i].type != cols[i].type) return false;
        if (cols[i].type == LT_ENTITY && r->cols[i].dom != domain_get(db, cols[i].domain, true)) return false;
    }
    return true;
}

static tl_status make_relation(void *ctx) {
    relation_args *a = ctx;
    logic_rel *r = rel_new(a->db, a->name, a->arity, a->at);
    for (int i = 0; i < a->arity; i++) {
        r->cols[i].name = keep_str(a->db, a->cols[i].name);
        r->cols[i].type = a->cols[i].type;
        if (a->cols[i].type == LT_ENTITY) r->cols[i].dom = domain_get(a->db, a->cols[i].domain, true);
    }
    if (!rel_link(a->db, r)) return TL_E_MEMORY;
    a->out = r;
    return TL_OK;
}

static tl_status check_same(void *ctx) {
    relation_args *a = ctx;
    return same_shape(a->db, a->out, a->cols, a->arity) ? TL_OK : TL_E_USAGE;
}

static tl_status relation_at(logic_db *db, str name, const logic_column *cols, int arity, span at, logic_rel **out, tl_error *err) {
    char buf[80];
    *out = NULL;
    if (arity > LOGIC_MAX_COLS) return err_set(err, TL_E_USAGE, "a relation has at most %d columns, not %d", LOGIC_MAX_COLS, arity);
    relation_args a = {db, name, cols, arity, at, logic_find(db, name)};
    bool exists = a.out != NULL;
    tl_status status = guarded(db, NULL, exists ? check_same : make_relation, &a);
    if (status == TL_E_USAGE) {
        return err_set(err, TL_E_USAGE, "there is a relation '%s' already, with other columns", str_escape(buf, sizeof buf, name));
    }
    if (status != TL_OK) return mem_error(db, err);
    *out = a.out;
    return TL_OK;
}

tl_status logic_relation(logic_db *db, str name, const logic_column *cols, int arity, logic_rel **out, tl_error *err) {
    return relation_at(db, name, cols, arity, (span){0}, out, err);
}

static const struct { const char *name; logic_type type; } type_names[] = {
    {"entity", LT_ENTITY}, {"int", LT_INT}, {"int64", LT_INT}, {"int32", LT_INT}, {"int16", LT_INT}, {"int8", LT_INT},
    {"float", LT_FLOAT}, {"float64", LT_FLOAT}, {"float32", LT_FLOAT}, {"float16", LT_FLOAT}, {"string", LT_STRING},
    {"str", LT_STRING}, {"bool", LT_BOOL}, {"any", LT_ANY},
};

static logic_column column_of_param(const ast_param *p) {
    logic_column c = {p->name, LT_ENTITY, {0}};
    if (!p->type) return (logic_column){p->name, LT_ANY, {0}};
    for (size_t i = 0; i < sizeof type_names / sizeof *type_names; i++)
        if (str_is(p->type->name, type_names[i].name)) c.type = type_names[i].type;
    if (c.type == LT_ENTITY && !str_is(p->type->name, "entity")) c.domain = p->type->name;
    return c;
}

tl_status logic_relation_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl, logic_rel **out) {
    logic_column cols[LOGIC_MAX_COLS];
    int n = 0;
    *out = NULL;
    for (const ast_param *p = s->params; p; p = p->next) {
        if (n == LOGIC_MAX_COLS) {
            diag_add(dl, DG_ERROR, p->at, "a relation has at most %d columns", LOGIC_MAX_COLS);
            return TL_E_PROGRAM;
        }
        cols[n++] = column_of_param(p);
    }
    tl_error err = {0};
    tl_status status = relation_at(db, s->head.name, cols, n, s->at, out, &err);
    if (status != TL_E_USAGE) return status;
    diag *d = diag_add(dl, DG_ERROR, s->head.at, "%s", err.message);
    const logic_rel *r = logic_find(db, s->head.name);
    if (r && r->at.src) diag_note(dl, d, r->at, "declared here");
    return TL_E_PROGRAM;
}

// ---- domains -------------------------------------------------------------------------------------------
domain *domain_get(logic_db *db, str name, bool make) {
    if (name.n == 0) name = STR("entity");
    for (domain *d = db->domains; d; d = d->next)
        if (str_eq(d->name, name)) return d;
    if (!make) return NULL;
    domain *d = arena_new(&db->a, domain);
    d->name = keep_str(db, name);
    logic_rel *r = rel_new(db, name, 1, (span){0});
    r->cols[0] = (lcol){STR("x"), LT_ENTITY, d};
    r->members = d;
    d->rel = r;
    if (!logic_find(db, name) && !rel_link(db, r)) db->a.on_fail(db->a.fail_ctx, 0);
    d->next = db->domains;
    db->domains = d;
    return d;
}

bool domain_add(logic_db *db, domain *d, logic_word id) {
    if (id < d->number_cap && d->number[id]) return true;
    if (id >= d->number_cap) {
        size_t cap = d->number_cap ? d->number_cap : 64;
        while (cap <= id) cap *= 2;
        uint32_t *p = logic_realloc(&db->mem, d->number, d->number_cap * sizeof *p, cap * sizeof *p);
        if (!p) return false;
        memset(p + d->number_cap, 0, (cap - d->number_cap) * sizeof *p);
        d->number = p;
        d->number_cap = cap;
    }
    if (tupset_insert(&d->rel->base, &id) == TUP_NOMEM) return false;
    d->number[id] = (uint32_t)d->rel->base.n;
    d->rel->dirty = db->dirty = true;
    return true;
}

typedef struct entity_args { logic_db *db; str domain; str name; int64_t number; bool bare; } entity_args;

static tl_status put_entity(void *ctx) {
    entity_args *a = ctx;
    logic_db *db = a->db;
    domain *d = domain_get(db, a->domain, true);
    logic_word id;
    if (a->bare && a->name.n == 0) return TL_OK; // the domain only
    if (!interner_put(db->strings, a->name, &id) || !domain_add(db, d, id)) return TL_E_MEMORY;
    a->number = d->number[id] - 1;
    if (!a->bare || map_get(&db->name_map, a->name)) return TL_OK;
    name_entry *e = arena_new(&db->a, name_entry);
    *e = (name_entry){id, d, keep_str(db, a->name), db->names};
    db->names = e;
    return map_put(&db->name_map, e->name, (int64_t)(intptr_t)e) ? TL_OK : TL_E_MEMORY;
}

tl_status logic_entity(logic_db *db, str name_of_domain, str name, int64_t *number, tl_error *err) {
    entity_args a = {db, name_of_domain, name, 0, false};
    if (guarded(db, NULL, put_entity, &a) != TL_OK) return mem_error(db, err);
    if (number) *number = a.number;
    return TL_OK;
}

int64_t logic_entity_count(logic_db *db, str name_of_domain) {
    const domain *d = domain_get(db, name_of_domain, false);
    return d ? (int64_t)d->rel->base.n : 0;
}

str logic_entity_name(logic_db *db, str name_of_domain, int64_t number) {
    const domain *d = domain_get(db, name_of_domain, false);
    if (!d || number < 0 || (size_t)number >= d->rel->base.n) return (str){"", 0};
    return interner_text(db->strings, tupset_get(&d->rel->base, (size_t)number, 0));
}

tl_status logic_entity_from_ast(logic_db *db, const ast_stmt *s, diag_list *dl) {
    const logic_rel *r = logic_find(db, s->head.name);
    if (r && !r->members) {
        diag *d = diag_add(dl, DG_ERROR, s->head.at, "'%.*s' is a relation already", (int)s->head.name.n, s->head.name.p);
        if (r->at.src) diag_note(dl, d, r->at, "declared here");
        return TL_E_PROGRAM;
    }
    entity_args a = {db, s->head.name, {0}, 0, true};
    if (guarded(db, dl, put_entity, &a) != TL_OK) return TL_E_MEMORY;
    for (const ast_expr *e = s->names; e; e = e->next) {
        a.name = e->name;
        if (guarded(db, dl, put_entity, &a) != TL_OK) return TL_E_MEMORY;
    }
    return TL_OK;
}

// ---- values --------------------------------------------------------------------------------------------
bool type_is_text(logic_type t) { return t == LT_ENTITY || t == LT_STRING; }

const char *type_name(logic_type t) {
    static const char *const names[] = {"an entity", "an int", "a float", "a string", "a bool", "of an unknown type"};
    return names[t];
}

bool convert_word(logic_word w, logic_type from, logic_type to, logic_word *out) {
    *out = w;
    if (from == to || to == LT_ANY || (type_is_text(from) && type_is_text(to))) return true;
    if (from != LT_INT || to != LT_FLOAT) return false;
    *out = logic_of_float((double)logic_to_int(w));
    return true;
}

tl_status word_of_value(logic_db *db, logic_value v, lcol *col, logic_word *out, tl_error *err) {
    logic_word w = 0;
    if (v.type == LT_FLOAT) w = logic_of_float(v.f);
    else if (!type_is_text(v.type)) w = logic_of_int(v.type == LT_BOOL ? v.i != 0 : v.i);
    else if (!interner_put(db->strings, v.s, &w)) return mem_error(db, err);
    if (!convert_word(w, v.type, col->type, out)) {
        return err_set(err, TL_E_USAGE, "column '%.*s' is %s, the value %s", (int)col->name.n, col->name.p, type_name(col->type), type_name(v.type));
    }
    if (col->type == LT_ENTITY && col->dom && !domain_add(db, col->dom, *out)) return mem_error(db, err);
    return TL_OK;
}

logic_value value_of_word(const logic_db *db, logic_word w, logic_type t) {
    logic_value v = {.type = t == LT_ANY ? LT_INT : t};
    if (type_is_text(t)) v.s = interner_text(db->strings, w);
    else if (t == LT_FLOAT) v.f = logic_to_float(w);
    else v.i = logic_to_int(w);
    return v;
}

// ---- facts ---------------------------------------------------------------------------------------------
bool rel_add_fact(logic_db *db, logic_rel *r, const logic_word *row) {
    if (r->members) return domain_add(db, r->members, row[0]);
    tup_result t = tupset_insert(&r->base, row);
    if (t == TUP_NEW) r->dirty = db->dirty = true;
    return t != TUP_NOMEM;
}

tl_status logic_fact(logic_db *db, logic_rel *r, const logic_value *values, tl_error *err) {
    logic_word row[LOGIC_MAX_COLS];
    for (int i = 0; i < r->arity; i++) {
        lcol *c = &r->cols[i];
        if (c->type == LT_ANY) {
            c->type = values[i].type;
            if (c->type == LT_ENTITY) c->type = LT_STRING; // without a domain
            db->untyped = true;
        }
        TL_TRY(word_of_value(db, values[i], c, &row[i], err));
    }
    return rel_add_fact(db, r, row) ? TL_OK : mem_error(db, err);
}

void logic_clear(logic_db *db, logic_rel *r) {
    tupset_clear(&r->base);
    if (r->members) memset(r->members->number, 0, r->members->number_cap * sizeof *r->members->number);
    r->dirty = db->dirty = true;
}

typedef struct fact_args { logic_db *db; const ast_expr *call; diag_list *dl; } fact_args;

// A capital letter makes an unknown name of a fact a new entity, which later rules know.
static bool new_entity(compile *c, const ast_expr *e, lcol *col) {
    if (e->kind != EX_NAME || (col->type != LT_ENTITY && col->type != LT_ANY)) return true;
    if (map_get(&c->db->name_map, e->name) || str_is(e->name, "_")) return true;
    logic_value v;
    const logic_hooks *h = &c->db->opt.hooks;
    if (h->constant && h->constant(h->ctx, e->name, &v)) return true;
    if (e->name.p[0] >= 'A' && e->name.p[0] <= 'Z') {
        entity_args a = {c->db, col->dom ? col->dom->name : (str){0}, e->name, 0, true};
        if (col->type == LT_ANY) col->type = LT_ENTITY, col->dom = domain_get(c->db, (str){0}, true);
        return put_entity(&a) == TL_OK;
    }
    return true;
}

static tl_status fact_from_ast(void *ctx) {
    fact_args *a = ctx;
    const ast_expr *callee = a->call->kids, *args[LOGIC_MAX_COLS];
    compile c = {.db = a->db, .dl = a->dl, .fact = true};
    logic_rel *r = logic_find(a->db, callee->name);
    if (!r) {
        compile_unknown(&c, callee->name, callee->at, "relation");
        return TL_E_PROGRAM;
    }
    if (!compile_args(&c, r, a->call, r->arity, args)) return TL_E_PROGRAM;
    logic_word row[LOGIC_MAX_COLS];
    for (int i = 0; i < r->arity; i++) {
        lterm t;
        if (!new_entity(&c, args[i], &r->cols[i])) return TL_E_MEMORY;
        if (!compile_term(&c, args[i], &t)) compile_fail(&c, args[i]->at, "a fact holds constants only");
        if (c.failed) return TL_E_PROGRAM;
        if (r->cols[i].type == LT_ANY) r->cols[i].type = t.type, a->db->untyped = true;
        if (r->cols[i].type == LT_ENTITY && !r->cols[i].dom) r->cols[i].dom = domain_get(a->db, (str){0}, true);
        if (!convert_word(t.word, t.type, r->cols[i].type, &row[i])) {
            diag *d = compile_fail(&c, args[i]->at, "column '%.*s' of '%.*s' is %s, this is %s", (int)r->cols[i].name.n, r->cols[i].name.p,
                                   (int)r->name.n, r->name.p, type_name(r->cols[i].type), type_name(t.type));
            if (r->at.src) diag_note(a->dl, d, r->at, "declared here");
            return TL_E_PROGRAM;
        }
    }
    for (int i = 0; i < r->arity; i++)
        if (r->cols[i].type == LT_ENTITY && !domain_add(a->db, r->cols[i].dom, row[i])) return TL_E_MEMORY;
    return rel_add_fact(a->db, r, row) ? TL_OK : TL_E_MEMORY;
}

tl_status logic_fact_from_ast(logic_db *db, const ast_expr *call, diag_list *dl) {
    fact_args a = {db, call, dl};
    tl_status status = guarded(db, dl, fact_from_ast, &a);
    return status == TL_E_MEMORY ? mem_diag(db, dl) : status;
}
