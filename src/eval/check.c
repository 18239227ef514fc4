// check.c - the checker's walk over files, scopes and statements.
#include <errno.h>
#include <limits.h>

#include "eval/check.h"

const char *const chk_kind_names[] = {"value", "tensor", "function", "parameter", "dim", "state", "relation", "entity", "member of an entity", "index", "loop variable", "builtin",
                                      "given", "embedding", "test"};

// ---- scopes --------------------------------------------------------------------------------------
chk_symbol *chk_find(const checker *c, str name) {
    for (const chk_scope *s = c->scope; s; s = s->parent)
        for (chk_symbol *x = s->first; x; x = x->next)
            if (str_eq(x->name, name)) return x;
    return NULL;
}

static span name_span(span at, str name) { // `at` begins at the name, or a little before it
    const source *src = at.src;
    for (uint32_t i = at.begin; src && name.n && i + name.n <= src->text.n && i < at.begin + 200; i++)
        if (memcmp(src->text.p + i, name.p, name.n) == 0) return (span){src, i, i + (uint32_t)name.n};
    return at;
}

static void out_of_memory(checker *c) { c->failed = true; }

chk_symbol *chk_declare(checker *c, chk_kind kind, str name, span at, const ast_stmt *def) {
    chk_symbol *s = arena_new(c->a, chk_symbol);
    *s = (chk_symbol){.kind = kind, .name = name, .at = name_span(at, name), .def = def, .rank = -1};
    s->local = c->scope != c->global && c->scope != c->std;
    s->assigned = c->cur && map_get(&c->cur->fluid, name) != NULL;
    s->visible = s->local ? c->scope->extent : (span){0};
    s->next = c->scope->first;
    c->scope->first = s;
    if (!vec_push(&c->symbols, s)) out_of_memory(c);
    return s;
}

void chk_use(checker *c, span at, chk_symbol *s) {
    s->used = true;
    if (at.src && at.src == &c->main->src && !vec_push(&c->refs, ((chk_ref){at, s}))) out_of_memory(c);
}

static void open_scope(checker *c, span extent) {
    chk_scope *s = arena_new(c->a, chk_scope);
    s->parent = c->scope;
    s->extent = extent;
    c->scope = s;
}

static void close_scope(checker *c) {
    VEC(const chk_symbol *) unused = {0};
    for (const chk_symbol *s = c->scope->first; s; s = s->next) {
        bool plain = s->kind == CK_VALUE || s->kind == CK_TENSOR;
        if (plain && !s->used && s->name.n && s->name.p[0] != '_' && !str_is(s->name, "result")) (void)vec_push(&unused, s);
    }
    for (size_t i = unused.n; i-- > 0;) {
        const chk_symbol *s = unused.p[i];
        diag *d = diag_add(c->dl, DG_WARNING, s->at, "'%.*s' is never used", (int)s->name.n, s->name.p);
        diag_fix(c->dl, d, "remove it, or call it _%.*s", (int)s->name.n, s->name.p);
    }
    vec_free(&unused);
    c->scope = c->scope->parent;
}

// ---- what a file mentions ------------------------------------------------------------------------
static void mention(checker *c, map *m, str name) {
    while (name.n && name.p[name.n - 1] == '\'') name.n--;
    if (!map_get(m, name) && !map_put(m, name, 1)) out_of_memory(c);
}

static void mention_type(checker *c, chk_unit *u, const ast_type *t) {
    for (const ast_size *z = t ? t->sizes : NULL; z; z = z->next)
        if (z->kind == SZ_NAME) mention(c, &u->sizes, z->name);
}

static void mention_head(checker *c, chk_unit *u, const ast_stmt *s) {
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        for (const ast_expr *n = ix->names; n; n = n->next) mention(c, &u->sizes, n->name);
        if (ix->kind == IX_EXPR && ix->expr->kind == EX_NAME) mention(c, &u->sizes, ix->expr->name);
    }
}

static void add_dim(checker *c, chk_unit *u, const ast_stmt *s, bool local) {
    int64_t *old = map_get(&u->dims, s->head.name);
    if (old) { // names of one size in several places: the file's own counts
        ((chk_symbol *)(intptr_t)*old)->local |= local;
        return;
    }
    chk_symbol *d = arena_new(c->a, chk_symbol);
    *d = (chk_symbol){.kind = CK_DIM, .name = s->head.name, .at = name_span(s->head.at, s->head.name), .def = s, .rank = -1, .local = local};
    if (!map_put(&u->dims, d->name, (int64_t)(intptr_t)d) || !vec_push(&c->symbols, d)) out_of_memory(c);
}

static void scan_list(checker *c, chk_unit *u, const ast_stmt *list, bool inner) {
    for (const ast_stmt *s = list; s; s = s->next) {
        mention_type(c, u, s->type);
        for (const ast_param *p = s->params; p; p = p->next) mention_type(c, u, p->type);
        switch (s->kind) {
        case ST_DIM: add_dim(c, u, s, inner); break;
        case ST_LET: if (s->head.indexed) mention_head(c, u, s); break;
        case ST_ASSIGN: if (!s->head.indexed) mention(c, &u->fluid, s->head.name); break;
        case ST_RULE: mention(c, &u->rules, s->head.name); break;
        case ST_ENTITY: case ST_EMBEDDING:
            for (const ast_expr *n = s->names; n; n = n->next) mention(c, &u->rules, n->name);
            for (const ast_expr *f = s->fields; f; f = f->next)
                for (const ast_expr *n = f->kind == EX_SET ? f->kids : NULL; n; n = n->next) mention(c, &u->rules, n->name);
            break;
        case ST_EXPR:
            for (const ast_expr *k = s->expr->kind == EX_CALL ? s->expr->kids->next : NULL; k; k = k->next)
                if (k->kind == EX_NAME) mention(c, &u->rules, k->name);
            break;
        default: break;
        }
        bool nested = inner || s->kind == ST_FN || s->kind == ST_MAIN || s->kind == ST_TEST || s->kind == ST_BENCH;
        scan_list(c, u, s->body, nested);
        scan_list(c, u, s->orelse, nested);
    }
}

void chk_scan(checker *c, chk_unit *u, const ast_stmt *list) { scan_list(c, u, list, false); }

// ---- files ---------------------------------------------------------------------------------------
tl_status chk_read(const char *path, char **text, size_t *n, tl_error *err) {
    sbuf b = {0};
    tl_status st = sbuf_read_file(&b, path, CHK_FILE_MAX, err);
    if (st == TL_E_LIMIT) err_set(err, st, "%s: larger than 8 MiB: this is no program", path);
    if (st != TL_OK) return st;
    *text = b.p;
    *n = b.n;
    return TL_OK;
}

static chk_unit *unit_of(checker *c, const char *name, const char *path, str text) {
    chk_unit *u = arena_new(c->a, chk_unit);
    const char *slash = strrchr(path, '/');
    u->path = arena_strndup(c->a, path, strlen(path));
    u->src = (source){.name = arena_strndup(c->a, name, strlen(name)), .text = text};
    u->src.dir = slash ? arena_strndup(c->a, path, (size_t)(slash - path)) : "";
    u->next = c->units;
    c->units = u;
    return u;
}

static void block(checker *c, const ast_stmt *list);

static void run_unit(checker *c, chk_unit *u) {
    bool good = tl_parse(c->a, &u->src, c->shown, &u->prog) == TL_OK;
    if (!good) c->dl = &c->quiet; // names are still found for editors
    if (!u->prog) return;
    if (!good) chk_prune(&u->prog->items);
    chk_unit *cur = c->cur;
    c->cur = u;
    chk_scan(c, u, u->prog->items);
    block(c, u->prog->items);
    c->cur = cur;
    u->done = true;
}

static void import(checker *c, const ast_stmt *s) {
    char path[PATH_MAX], real[PATH_MAX];
    const char *dir = c->cur->src.dir;
    int n = (int)s->text.n;
    if (n && s->text.p[0] == '/') snprintf(path, sizeof path, "%.*s", n, s->text.p);
    else snprintf(path, sizeof path, "%s%s%.*s", dir, *dir ? "/" : "", n, s->text.p);
    str text = {NULL, 0};
    if (!realpath(path, real)) {
        int reason = errno;
        snprintf(real, sizeof real, "%.*s", n, s->text.p);
        text = ev_embedded(path);
        if (!text.p) text = ev_embedded(real);
        if (!text.p) {
            diag_add(c->dl, DG_ERROR, s->at, "cannot import \"%.*s\": %s: %s", n, s->text.p, path, strerror(reason));
            c->dl = &c->quiet;
            return;
        }
    }
    for (const chk_unit *u = c->units; u; u = u->next) {
        if (strcmp(u->path, real) != 0) continue;
        if (u->done) return;
        diag *d = diag_add(c->dl, DG_ERROR, s->at, "the imports form a cycle back to %s", real);
        for (const chk_unit *w = c->cur; w && w->via && w != u; w = w->importer) diag_note(c->dl, d, w->via->at, "%s is imported here", w->path);
        return;
    }
    char *owned = NULL;
    tl_error err;
    if (!text.p) {
        size_t size;
        if (chk_read(real, &owned, &size, &err) != TL_OK) {
            diag_add(c->dl, DG_ERROR, s->at, "%s", err.message);
            c->dl = &c->quiet;
            return;
        }
        text = (str){arena_strndup(c->a, owned, size), size};
        mem_free(owned);
    }
    chk_unit *u = unit_of(c, real, real, text);
    u->importer = c->cur;
    u->via = s;
    chk_scope *saved = c->scope;
    c->scope = c->global;
    run_unit(c, u);
    c->scope = saved;
}

// ---- statements ----------------------------------------------------------------------------------
static void scoped(checker *c, const ast_stmt *list, span extent) {
    open_scope(c, extent);
    block(c, list);
    close_scope(c);
}

static void type_axes(chk_symbol *s, const ast_type *t) {
    if (!t || !t->has_shape || s->assigned) return;
    s->rank = 0;
    for (const ast_size *z = t->sizes; z; z = z->next, s->rank++)
        if (s->rank < IR_MAX_RANK && z->kind == SZ_NAME) s->axes[s->rank] = z->name;
    if (s->rank > IR_MAX_RANK) s->rank = -1;
}

static void function_body(checker *c, const ast_stmt *s) {
    open_scope(c, s->at);
    for (const ast_param *p = s->params; p; p = p->next) {
        chk_symbol *x = chk_declare(c, CK_PARAM, p->name, p->at, s);
        x->param = p;
        type_axes(x, p->type);
    }
    c->in_fn = true;
    c->fn = s;
    block(c, s->body);
    c->in_fn = false;
    c->fn = NULL;
    close_scope(c);
}

static void run_later(checker *c) {
    for (size_t i = 0; i < c->later.n; i++) {
        const ast_stmt *s = c->later.p[i].s;
        c->cur = c->later.p[i].u;
        c->loops = 0;
        if (s->kind == ST_FN) function_body(c, s);
        else scoped(c, s->body, s->at);
    }
}

static bool has_effect(const checker *c, const ast_expr *e) {
    static const char *const names[] = {"print", "write", "push", "input", "error", "seed", "print_top_k", "load_facts", "save_facts", "session_prompt", "session_step", "session_fork", "session_cut"};
    if (e->kind != EX_CALL || e->kids->kind != EX_NAME) return false;
    if (chk_find(c, e->kids->name)) return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_is(e->kids->name, names[i])) return true;
    return map_get(&c->builtins, e->kids->name) == NULL; // unknown: that is said already
}

static void expression(checker *c, const ast_stmt *s) {
    chk_expr(c, s->expr, NULL);
    bool plain = c->fn && !s->next; // the value of a function, or of a branch that ends it
    bool said = s->expr->kind == EX_UNARY && s->expr->op == OP_NEG; // by the parser
    if (plain || said || has_effect(c, s->expr)) return;
    diag *d = diag_add(c->dl, DG_WARNING, s->expr->at, "this value is not used");
    if (s->expr->kind == EX_CALL && str_is(s->expr->kids->name, "append")) diag_fix(c->dl, d, "append makes a new list; push changes the list itself");
}

static void assign(checker *c, const ast_stmt *s) {
    if (!s->head.indexed && !s->where) {
        chk_expr(c, s->expr, NULL);
        chk_symbol *b = chk_find(c, s->head.name);
        bool update = s->assign != AS_EQ && s->assign != AS_SET;
        if (!b && update) diag_add(c->dl, DG_ERROR, s->head.at, "'%.*s' has no value to update yet", (int)s->head.name.n, s->head.name.p);
        if (!b) chk_declare(c, CK_VALUE, s->head.name, s->head.at, s)->used = update;
        else b->whole = false, b->rank = -1;
        return;
    }
    const chk_symbol *b = chk_find(c, s->head.name);
    bool any_free = s->where != NULL || chk_has_free(c, s->expr);
    for (const ast_index *ix = s->head.index; ix; ix = ix->next)
        any_free |= ix->kind != IX_EXPR || chk_free_name(c, ix->expr) || chk_has_free(c, ix->expr) || ix->virtual_axis;
    if (any_free || !b || (b->kind != CK_VALUE && b->kind != CK_PARAM && b->kind != CK_LOOP)) {
        chk_equation(c, s);
        return;
    }
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) chk_expr(c, ix->expr, NULL); // of a list or a map
    chk_expr(c, s->expr, NULL);
}

static void outside(checker *c, const ast_stmt *s, const char *word, const char *where) {
    diag_add(c->dl, DG_ERROR, s->at, "'%s' outside a %s", word, where);
}

static void declare_fn(checker *c, const ast_stmt *s) {
    for (const chk_symbol *o = c->scope->first; o; o = o->next)
        if (o->kind == CK_FN && str_eq(o->name, s->head.name)) {
            diag *d = diag_add(c->dl, DG_WARNING, s->head.at, "'%.*s' is declared again: the first one is lost", (int)s->head.name.n, s->head.name.p);
            diag_note(c->dl, d, o->at, "the first is here");
            break;
        }
    chk_declare(c, CK_FN, s->head.name, s->head.at, s);
    if (c->scope != c->std && !vec_push(&c->later, ((__typeof__(*c->later.p)){s, c->cur}))) out_of_memory(c);
}

static void query(checker *c, const ast_stmt *s) {
    chk_eq q = {.rule = true};
    if (s->expr) chk_expr(c, s->expr, &q);
    chk_literals(c, s->where, &q);
}

static void statement(checker *c, const ast_stmt *s) {
    chk_symbol *x;
    switch (s->kind) {
    case ST_IMPORT: import(c, s); break;
    case ST_DIM: chk_expr(c, s->expr, NULL); break;
    case ST_TENSOR:
        if (s->expr) chk_expr(c, s->expr, NULL);
        x = chk_declare(c, s->state ? CK_STATE : CK_TENSOR, s->head.name, s->head.at, s);
        type_axes(x, s->type);
        break;
    case ST_RELATION:
        x = chk_declare(c, CK_RELATION, s->head.name, s->head.at, s);
        x->rank = s->n_params;
        break;
    case ST_ENTITY:
        chk_declare(c, CK_ENTITY, s->head.name, s->head.at, s);
        for (const ast_expr *n = s->names; n; n = n->next) chk_declare(c, CK_MEMBER, n->name, n->at, s);
        break;
    case ST_EMBEDDING:
        for (const ast_expr *f = s->fields; f; f = f->next) {
            if (f->kind != EX_SET) chk_expr(c, f, NULL);
            for (const ast_expr *n = f->kind == EX_SET ? f->kids : NULL; n; n = n->next) chk_declare(c, CK_MEMBER, n->name, n->at, s);
        }
        chk_declare(c, CK_EMBEDDING, s->head.name, s->head.at, s)->rank = 2;
        break;
    case ST_FN: declare_fn(c, s); break;
    case ST_MAIN: case ST_TEST: case ST_BENCH:
        if (c->scope != c->std && !vec_push(&c->later, ((__typeof__(*c->later.p)){s, c->cur}))) out_of_memory(c);
        break;
    case ST_BLOCK: scoped(c, s->body, s->at); break;
    case ST_LET:
        if (s->head.indexed) {
            chk_equation(c, s);
            break;
        }
        chk_expr(c, s->expr, NULL);
        x = chk_declare(c, CK_VALUE, s->head.name, s->head.at, s);
        type_axes(x, s->type);
        break;
    case ST_ASSIGN: assign(c, s); break;
    case ST_RULE: chk_rule(c, s); break;
    case ST_IF:
        chk_expr(c, s->expr, NULL);
        scoped(c, s->body, s->at);
        if (s->orelse) scoped(c, s->orelse, s->at);
        break;
    case ST_FOR: case ST_WHILE: case ST_LOOP:
        if (s->expr) chk_expr(c, s->expr, NULL);
        open_scope(c, s->at);
        if (s->kind == ST_FOR) chk_declare(c, CK_LOOP, s->head.name, s->head.at, s);
        c->loops++;
        block(c, s->body);
        c->loops--;
        close_scope(c);
        break;
    case ST_BREAK: if (!c->loops) outside(c, s, "break", "loop"); break;
    case ST_CONTINUE: if (!c->loops) outside(c, s, "continue", "loop"); break;
    case ST_RETURN:
        if (!c->in_fn) outside(c, s, "return", "function");
        if (s->expr) chk_expr(c, s->expr, NULL);
        break;
    case ST_QUERY: query(c, s); break;
    case ST_ASSERT: chk_expr(c, s->expr, NULL); break;
    case ST_EXPR: expression(c, s); break;
    case ST_PATCH: break; // its names are those of the place that it is applied to
    case ST_LEARN: case ST_INFER: break; // read, not run
    }
}

// Rules of a block stand for themselves in any order; a recurrence reads what it defines.
static void declare_ahead(checker *c, const ast_stmt *list) {
    for (const ast_stmt *s = list; s; s = s->next) {
        bool recurrent = s->kind == ST_ASSIGN && s->head.indexed && (s->assign == AS_OR || s->assign == AS_MAX || s->assign == AS_MIN);
        for (const ast_index *ix = s->kind == ST_ASSIGN ? s->head.index : NULL; ix; ix = ix->next) recurrent |= ix->virtual_axis;
        if ((!recurrent && s->kind != ST_RULE) || chk_find(c, s->head.name)) continue;
        bool declared = false;
        for (const ast_stmt *o = list; o && !declared; o = o->next)
            declared = (o->kind == ST_RELATION || o->kind == ST_TENSOR || o->kind == ST_LET || (o->kind == ST_ASSIGN && o != s)) && str_eq(o->head.name, s->head.name);
        if (declared) continue;
        chk_symbol *x = chk_declare(c, CK_TENSOR, s->head.name, s->head.at, s);
        x->rank = x->assigned ? -1 : s->head.n_index;
        x->boolean = s->kind == ST_RULE;
        x->used = x->boolean;
    }
}

static void block(checker *c, const ast_stmt *list) {
    declare_ahead(c, list);
    for (const ast_stmt *s = list; s; s = s->next) {
        statement(c, s);
        bool leaves = s->kind == ST_RETURN || s->kind == ST_BREAK || s->kind == ST_CONTINUE;
        if (leaves && s->next) diag_add(c->dl, DG_WARNING, s->next->at, "this is never reached");
    }
}

// ---- programs ------------------------------------------------------------------------------------
static void add_builtins(checker *c, const builtin *list) {
    for (; list->name; list++) {
        chk_symbol *s = arena_new(c->a, chk_symbol);
        *s = (chk_symbol){.kind = CK_BUILTIN, .name = str_of(list->name), .bi = list, .rank = -1};
        if (!map_put(&c->builtins, s->name, (int64_t)(intptr_t)s) || !vec_push(&c->symbols, s)) out_of_memory(c);
    }
}

tl_status chk_program(checker *c, arena *a, diag_list *dl, const char *file, str text) {
    static const char *const given[] = {"model", "tokenizer", "prompt", "tokens"};
    *c = (checker){.a = a, .quiet = {.a = a, .limit = 1}};
    c->dl = c->shown = &c->quiet;
    add_builtins(c, builtins_core);
    add_builtins(c, builtins_tensor);
    add_builtins(c, builtins_model);
    add_builtins(c, builtins_sample);
    add_builtins(c, builtins_debug);
    add_builtins(c, builtins_relation);
    add_builtins(c, builtins_session);
    add_builtins(c, builtins_files);
    c->std = c->scope = arena_new(a, chk_scope);
    c->main = c->cur = NULL;
    chk_unit *std = unit_of(c, "std/nn.tl", "std/nn.tl", ev_embedded("std/nn.tl"));
    c->main = std;
    run_unit(c, std);
    c->refs.n = 0;
    for (size_t i = 0; i < 4; i++) chk_declare(c, CK_GIVEN, str_of(given[i]), (span){0}, NULL);
    c->dl = c->shown = dl;
    c->global = c->scope = arena_new(a, chk_scope);
    c->global->parent = c->std;
    char real[PATH_MAX];
    c->main = unit_of(c, file, realpath(file, real) ? real : file, text);
    run_unit(c, c->main);
    run_later(c);
    c->cur = c->main;
    return c->failed ? TL_E_MEMORY : TL_OK;
}

void chk_free(checker *c) {
    for (chk_unit *u = c->units; u; u = u->next) map_free(&u->dims), map_free(&u->sizes), map_free(&u->fluid), map_free(&u->rules);
    map_free(&c->builtins);
    vec_free(&c->symbols);
    vec_free(&c->refs);
    vec_free(&c->later);
}
