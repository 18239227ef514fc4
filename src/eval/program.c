// program.c - programs as a whole: files and imports, the prelude, running, the trace of a model's step function.
#include <errno.h>
#include <limits.h>

#include "eval/value.h"
#include "tl_files.h"

// ---- embedded files --------------------------------------------------------------------------------
str ev_embedded(const char *path) {
    for (const embedded_file *f = tl_files; f->name; f++)
        if (strcmp(f->name, path) == 0) return (str){f->data, f->size};
    return (str){NULL, 0};
}

void ev_embedded_list(const char *folder, sbuf *out) {
    size_t n = strlen(folder);
    for (const embedded_file *f = tl_files; f->name; f++)
        if (strncmp(f->name, folder, n) == 0) sbuf_printf(out, "%s%.*s", out->n ? ", " : "", (int)(strlen(f->name) - n - 3), f->name + n);
}

static char *read_whole(evaluator *ev, const char *path, size_t *n, tl_error *err) {
    sbuf b = {0};
    tl_status st = sbuf_read_file(&b, path, (64u << 20) - 1, err);
    if (st == TL_E_LIMIT) err_set(err, st, "%s: larger than 64 MiB: this is no program", path);
    if (st != TL_OK) return NULL;
    char *text = arena_strndup(&ev->a, b.p, b.n);
    *n = b.n;
    sbuf_free(&b);
    return text;
}

// ---- units ---------------------------------------------------------------------------------------
static unit *unit_new(evaluator *ev, const char *path, str text) {
    unit *u = arena_new(&ev->a, unit);
    u->path = arena_strndup(&ev->a, path, strlen(path));
    const char *slash = strrchr(path, '/');
    u->src = (source){.name = u->path, .text = text};
    u->src.dir = slash ? arena_strndup(&ev->a, path, (size_t)(slash - path)) : "";
    u->next = ev->units;
    ev->units = u;
    return u;
}

static tl_status run_unit(evaluator *ev, unit *u) {
    if (tl_parse(&ev->a, &u->src, &ev->dl, &u->prog) != TL_OK) ev_throw(ev);
    const unit *cur = ev->cur;
    u->state = 1;
    ev->cur = u;
    (void)exec_block(ev, u->prog->items);
    if (ev->waiting.n && !cur) (void)let_axes(ev, ev->waiting.p[0], true);
    ev->cur = cur;
    u->state = 2;
    return TL_OK;
}

static bool inside_folder(const char *folder, const char *real) {
    size_t n = folder ? strlen(folder) : 0;
    return n && strncmp(real, folder, n) == 0 && (real[n] == '/' || folder[n - 1] == '/');
}

tl_status ev_import(evaluator *ev, const ast_stmt *s);
tl_status ev_import(evaluator *ev, const ast_stmt *s) {
    char path[PATH_MAX];
    const char *dir = s->at.src ? s->at.src->dir : "";
    if (s->text.n && s->text.p[0] == '/') snprintf(path, sizeof path, "%.*s", (int)s->text.n, s->text.p);
    else snprintf(path, sizeof path, "%s%s%.*s", dir, *dir ? "/" : "", (int)s->text.n, s->text.p);
    char real[PATH_MAX];
    str builtin_text = ev_embedded(path);
    if (!realpath(path, real)) {
        if (!builtin_text.p) builtin_text = ev_embedded(arena_strndup(&ev->dl_arena, s->text.p, s->text.n));
        if (!builtin_text.p) ev_fail(ev, s->at, "cannot import \"%.*s\": %s: %s", (int)s->text.n, s->text.p, path, strerror(errno));
        snprintf(real, sizeof real, "%s", path);
    }
    if (ev->o.confined && !builtin_text.p && !inside_folder(ev->confine, real))
        ev_fail_fix(ev, s->at, "put the file into the program's folder", "a model's program imports from its own folder only, not %s", real);
    for (unit *u = ev->units; u; u = u->next) {
        if (strcmp(u->path, real) != 0) continue;
        if (u->state == 2) return TL_OK;
        diag *d = ev_diag(ev, s->at, "the imports form a cycle back to %s", real);
        for (const unit *w = ev->cur; w && w->imported_by_stmt && w != u; w = w->importer) diag_note(&ev->dl, d, w->imported_by_stmt->at, "%s is imported here", w->path);
        ev_throw(ev);
    }
    size_t n = builtin_text.n;
    tl_error err = {0};
    const char *text = builtin_text.p ? builtin_text.p : read_whole(ev, real, &n, &err);
    if (!text) ev_fail_err(ev, s->at, &err);
    unit *u = unit_new(ev, real, (str){text, n});
    u->imported_by_stmt = s;
    u->importer = (unit *)ev->cur;
    scope *saved = ev->scope;
    ev->scope = ev->global;
    (void)run_unit(ev, u);
    ev->scope = saved;
    return TL_OK;
}

// ---- errors --------------------------------------------------------------------------------------
static tl_status report(evaluator *ev, tl_error *err) {
    sbuf b = {0};
    for (const diag *d = ev->dl.first; d; d = d->next) {
        if (b.n) sbuf_putc(&b, '\n');
        if (d->at.src) diag_render(d, &b, ev->o.host.color);
        else sbuf_puts(&b, d->text);
    }
    while (b.n && b.p[b.n - 1] == '\n') b.p[--b.n] = 0;
    tl_status code = ev->code == TL_OK ? TL_E_PROGRAM : ev->code;
    if (err) {
        err->code = code;
        err->offset = -1;
        snprintf(err->message, sizeof err->message, "%s", b.p ? b.p : "the program failed");
    }
    sbuf_free(&b);
    return code;
}

static void clear_errors(evaluator *ev) {
    arena_free(&ev->dl_arena);
    ev->dl = (diag_list){.a = &ev->dl_arena, .limit = 20};
    ev->code = TL_OK;
}

static void out_of_arena(void *ctx, size_t size) {
    evaluator *ev = ctx;
    (void)size;
    ev->code = TL_E_MEMORY;
    if (ev->escape) longjmp(*ev->escape, 1);
    TL_CHECK(!"out of memory");
}

// Runs fn(ev, ctx) with errors caught; the evaluator's position is restored after one.
tl_status ev_guarded(evaluator *ev, void (*fn)(evaluator *, void *), void *ctx, tl_error *err) {
    jmp_buf here;
    jmp_buf *outer = ev->escape;
    scope *saved_scope = ev->scope;
    const unit *cur = ev->cur;
    ev_temp *temps = ev->temps;
    clear_errors(ev);
    if (!outer) ev->steps = 0;
    if (!outer) ev->stack = __builtin_frame_address(0);
    ev->escape = &here;
    tl_status st = TL_OK;
    if (setjmp(here) == 0) {
        fn(ev, ctx);
    } else {
        st = report(ev, err);
        ev->frames = NULL;
        ev->loops = NULL;
        ev->in_lens = false;
        ev->depth = ev->pending = ev->nesting = 0;
        temps_drop(ev, temps);
        ev->scope = saved_scope;
        ev->cur = cur;
        ev->g = &ev->eager;
        ev->tracing = false;
        ev->trace = NULL;
        while (ev->dims.n && ev->dims.p[ev->dims.n - 1].depth) ev->dims.n--;
    }
    ev->escape = outer;
    for (const diag *d = ev->dl.first; d && st == TL_OK; d = d->next)
        if (ev->o.host.warn) {
            sbuf b = {0};
            diag_render(d, &b, ev->o.host.color);
            ev->o.host.warn(ev->o.host.ctx, b.p ? b.p : "");
            sbuf_free(&b);
        }
    return st;
}

// ---- life ----------------------------------------------------------------------------------------
static void add_builtins(evaluator *ev, const builtin *list) {
    for (; list->name; list++)
        if (!map_put(&ev->builtins, str_of(list->name), (int64_t)(intptr_t)list)) ev_fail(ev, (span){0}, "out of memory");
}

static void predefine(evaluator *ev, const char *name, value v) { env_put(ev, ev->global, str_of(name), v, (span){0}); }

static void prelude(evaluator *ev, void *ctx) {
    (void)ctx;
    add_builtins(ev, builtins_core);
    add_builtins(ev, builtins_tensor);
    add_builtins(ev, builtins_model);
    add_builtins(ev, builtins_sample);
    add_builtins(ev, builtins_debug);
    add_builtins(ev, builtins_relation);
    add_builtins(ev, builtins_session);
    add_builtins(ev, builtins_files);
    scope *std = env_new(ev, NULL);
    ev->global = ev->scope = std;
    unit *u = unit_new(ev, "std/nn.tl", ev_embedded("std/nn.tl"));
    (void)run_unit(ev, u);
    ev->global = ev->scope = env_new(ev, std);
    if (!ev->model) return;
    predefine(ev, "model", (value){.kind = V_MODEL, .model = ev->model});
    if (!ev->o.prompt) return;
    value args[2] = {{.kind = V_MODEL, .model = ev->model}, v_str_new(ev, str_of(ev->o.prompt))};
    predefine(ev, "tokenizer", call_value(ev, lookup(ev, STR("load_tokenizer"), (span){0}), args, NULL, 1, (span){0}));
    args[0] = find_name(ev, STR("tokenizer"))->v;
    predefine(ev, "prompt", args[1]);
    predefine(ev, "tokens", call_value(ev, lookup(ev, STR("tokenize"), (span){0}), args, NULL, 2, (span){0}));
}

tl_status ev_new(const ev_options *o, evaluator **out, tl_error *err) {
    evaluator *ev = mem_calloc(1, sizeof *ev);
    if (!ev) return err_set(err, TL_E_MEMORY, "out of memory");
    ev->o = *o;
    ev->model = o->model;
    ev->heap_limit = o->max_bytes && o->max_bytes < (128u << 20) ? o->max_bytes / 2 : 64u << 20;
    ev->a.on_fail = ev->dl_arena.on_fail = ev->eager_arena.on_fail = out_of_arena;
    ev->a.fail_ctx = ev->dl_arena.fail_ctx = ev->eager_arena.fail_ctx = ev;
    ir_init(&ev->eager, &ev->eager_arena);
    ev->eager.fold_limit = EAGER_FOLD;
    ev->g = &ev->eager;
    tl_status st = ev_guarded(ev, prelude, NULL, err);
    if (st != TL_OK) ev_free(ev);
    else *out = ev;
    return st;
}

void ev_free(evaluator *ev) {
    if (!ev) return;
    heap_free(ev);
    temps_drop(ev, NULL);
    logic_db_free(ev->logic);
    map_free(&ev->names);
    map_free(&ev->builtins);
    map_free(&ev->einsums);
    vec_free(&ev->dims);
    vec_free(&ev->waiting);
    arena_free(&ev->a);
    arena_free(&ev->dl_arena);
    arena_free(&ev->eager_arena);
    mem_free(ev);
}

void ev_set_dump(evaluator *ev, const char *what) { ev->dump = what; }

// ---- running -------------------------------------------------------------------------------------
typedef struct job {
    const char *file, *text;
    size_t n;
    bool run_main;
} job;

static void find_step(evaluator *ev) {
    static const char *const want[] = {"tok", "pos", "seq", "slot", "out"};
    for (size_t i = 0; i < ev->global->n; i++) {
        value v = ev->global->p[i].v;
        if (v.kind != V_FN || v.fn->def->n_params != 5) continue;
        int k = 0;
        for (const ast_param *p = v.fn->def->params; p; p = p->next) k += str_is(p->name, want[k]);
        if (k == 5) ev->step = v.fn;
    }
}

static void run_job(evaluator *ev, void *ctx) {
    job *j = ctx;
    tl_error err = {0};
    const char *text = j->text;
    size_t n = j->n;
    if (!text && !(text = read_whole(ev, j->file, &n, &err))) {
        ev->code = err.code;
        (void)ev_diag(ev, (span){0}, "%s", err.message);
        ev_throw(ev);
    }
    char real[PATH_MAX];
    bool known = !j->text && realpath(j->file, real);
    unit *u = unit_new(ev, known ? real : j->file, (str){text, n});
    const char *slash = known ? strrchr(real, '/') : NULL;
    if (slash) ev->confine = arena_strndup(&ev->a, real, slash == real ? 1 : (size_t)(slash - real));
    u->src.name = arena_strndup(&ev->a, j->file, strlen(j->file));
    (void)run_unit(ev, u);
    find_step(ev);
    ev->cur = u;
    for (const ast_stmt *s = u->prog->items; s && j->run_main; s = s->next) {
        if (s->kind != ST_MAIN) continue;
        ev->scope = env_new(ev, ev->global);
        (void)exec_block(ev, s->body);
        ev->scope = ev->global;
    }
    ev->cur = NULL;
}

tl_status ev_run(evaluator *ev, const char *file, const char *text, size_t n, bool run_main, tl_error *err) {
    job j = {file, text, n, run_main};
    return ev_guarded(ev, run_job, &j, err);
}

// ---- tracing -------------------------------------------------------------------------------------
bool ev_has_step(const evaluator *ev) { return ev->step != NULL; }

// Numbers the bindings of one path.
static void number_bindings(evaluator *ev, ev_bindings *all) {
    map seen = {0};
    bool ok = true;
    for (size_t i = 0; i < all->n && ok; i++) {
        const int64_t *n = map_get(&seen, str_of(all->p[i].path));
        all->p[i].nth = n ? (int)*n + 1 : 1;
        ok = map_put(&seen, str_of(all->p[i].path), all->p[i].nth);
    }
    for (size_t i = 0; i < all->n && ok; i++) all->p[i].of = (int)*map_get(&seen, str_of(all->p[i].path));
    map_free(&seen);
    if (!ok) ev_fail(ev, (span){0}, "out of memory");
}

typedef struct trace_job {
    const ev_trace_options *o;
    ir_graph *g;
    ev_state **states;
} trace_job;

static value input_value(evaluator *ev, ir_input which, ir_sym sym) {
    axis ax = {.sym = sym};
    tensor *t = tensor_of_node(ev, ir_input_node(ev->g, which, sym), 1, &ax);
    t->ax[0].stride = 1;
    return v_of_tensor(t);
}

static void trace(evaluator *ev, void *ctx) {
    trace_job *j = ctx;
    if (!ev->step) ev_fail(ev, (span){0}, "the program defines no step function: fn NAME(tok: int32[p], pos: int32[p], seq: int32[p], slot: int32[p], out: int32[o]) -> float32[o, v]");
    ir_init(j->g, j->o->graph ? j->o->graph : j->o->a);
    ev->trace = j->o;
    ev->states = NULL;
    ev->g = j->g;
    ev->tracing = true;
    value args[5];
    for (int i = 0; i < 5; i++) args[i] = input_value(ev, (ir_input)i, i == INPUT_OUT ? SYM_OUT : SYM_ROWS);
    span at = ev->step->def->head.at;
    value r = call_value(ev, (value){.kind = V_FN, .fn = ev->step}, args, NULL, 5, at);
    if (r.kind != V_TENSOR || r.t->rank != 2 || r.t->ax[0].sym != SYM_OUT) ev_fail(ev, at, "the result of a step function must be a tensor [o, v]: the logits of each row in out");
    tensor *c = tensor_compact(ev, r.t, at);
    j->g->outputs[0] = tensor_node(ev, c, at);
    j->g->n_outputs = 1;
    if (j->o->bindings) number_bindings(ev, j->o->bindings);
    *j->states = ev->states;
    ev->tracing = false;
    ev->trace = NULL;
    ev->g = &ev->eager;
    heap_collect(ev); // the graph holds all that is left of the tensors
}

tl_status ev_trace(evaluator *ev, const ev_trace_options *o, ir_graph *g, ev_state **states, tl_error *err) {
    trace_job j = {o, g, states};
    return ev_guarded(ev, trace, &j, err);
}
