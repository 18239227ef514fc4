// patch.c - patches: statements that follow the last assignment to a name in each block that has one. `patch` in a program
// and --set on a command line make them; docs/inside.md tells what they mean.
#include <inttypes.h>

#include "eval/watch.h"

// ---- where one applies ---------------------------------------------------------------------------
static bool assigns(const ast_stmt *s, str name) {
    bool binds = s->kind == ST_ASSIGN || s->kind == ST_LET || s->kind == ST_RULE;
    if (binds && str_eq(s->head.name, name)) return true;
    for (const ast_stmt *k = s->body; k && s->kind != ST_FN; k = k->next)
        if (assigns(k, name)) return true;
    for (const ast_stmt *k = s->orelse; k; k = k->next)
        if (assigns(k, name)) return true;
    return false;
}

static bool last_in_block(const ast_stmt *s, str name) {
    for (const ast_stmt *k = s->next; k; k = k->next)
        if (assigns(k, name)) return false;
    return true;
}

typedef struct span64 { int64_t lo, hi; } span64; // [lo, hi)

// `n`: how many there are, or -1. Numbers below 0 count from the end.
static span64 limit_of(evaluator *ev, const ast_index *x, int64_t n) {
    span64 r = {0, INT64_MAX};
    if (x->kind == IX_EXPR) r.lo = want_int(ev, eval(ev, x->expr), x->at, "a position");
    if (x->kind == IX_SLICE && x->lo) r.lo = want_int(ev, eval(ev, x->lo), x->at, "a position");
    if (x->kind == IX_SLICE && x->hi) r.hi = want_int(ev, eval(ev, x->hi), x->at, "a position");
    if (n < 0 && (r.lo < 0 || r.hi < 0)) ev_fail(ev, x->at, "positions are counted from the front here");
    if (r.lo < 0) r.lo += n;
    if (r.hi < 0) r.hi += n;
    if (x->kind == IX_EXPR) r.hi = r.lo + 1;
    return r;
}

static const loop_at *loop_named(const evaluator *ev, str name) {
    const loop_at *outermost = NULL;
    for (const loop_at *l = ev->loops; l; l = l->outer) {
        if (str_is(name, l->name)) return l;
        outermost = l;
    }
    return str_is(name, "layer") || str_is(name, "l") ? outermost : NULL;
}

static int axis_named(const tensor *t, str name) {
    for (int i = 0; i < t->rank; i++) {
        const char *dim = t->ax[i].dim ? t->ax[i].dim : t->ax[i].sym == SYM_ROWS ? "p" : t->ax[i].sym == SYM_OUT ? "o" : NULL;
        if (dim && str_is(name, dim)) return i;
    }
    return -1;
}

static int line_of(span at) {
    int line = 0, col;
    if (at.src) span_line_col(at, &line, &col);
    return line;
}

// Loops and lines; axes are for later. False: not here.
static bool applies(evaluator *ev, const patch *p, const ast_stmt *s, const tensor *t) {
    bool line_given = false;
    for (const ast_index *x = p->s->head.index; x; x = x->next) {
        str name = x->names->name;
        if (axis_named(t, name) >= 0) continue;
        if (str_is(name, "line")) {
            span64 r = limit_of(ev, x, -1);
            line_given = true;
            if (line_of(s->head.at) < r.lo || line_of(s->head.at) >= r.hi) return false;
            continue;
        }
        const loop_at *l = loop_named(ev, name);
        if (!l) {
            if (ev->loops || t->rank == 0) {
                char shape[200];
                ev_fail(ev, x->names->at, "'%.*s' is neither a loop around '%.*s' nor one of its axes %s", (int)name.n, name.p, (int)p->s->head.name.n, p->s->head.name.p,
                        tensor_shape(t, shape, sizeof shape));
            }
            return false;
        }
        span64 r = limit_of(ev, x, l->n);
        if (l->at < r.lo || l->at >= r.hi) return false;
    }
    return line_given || last_in_block(s, p->s->head.name);
}

// ---- the value -----------------------------------------------------------------------------------
// The position in its sequence of each row of t.
static value positions(evaluator *ev, ir_sym sym, span at) {
    axis rows = {.sym = SYM_ROWS, .stride = 1}, outs = {.sym = SYM_OUT, .stride = 1};
    tensor *pos = tensor_of_node(ev, ir_input_node(ev->g, INPUT_POS, SYM_ROWS), 1, &rows);
    if (sym != SYM_OUT) return v_of_tensor(pos);
    tensor *out = tensor_of_node(ev, ir_input_node(ev->g, INPUT_OUT, SYM_OUT), 1, &outs);
    int64_t gstride = 1, limit = 0;
    ir_space sp = {.nlab = 1, .nout = 1, .sym = SYM_OUT};
    ir_edge base = {.node = tensor_node(ev, pos, at)}, idx = {.node = tensor_node(ev, out, at), .stride = {1}};
    return v_of_tensor(tensor_of_node(ev, ir_gather(ev->g, &sp, &base, 1, &idx, &gstride, &limit), 1, &outs));
}

// A tensor over axis i of t alone, to be broadcast over the axes behind it.
static value along(evaluator *ev, const tensor *t, int i, value v) {
    tensor *a = tensor_dup(ev, v.t);
    for (int k = 1; k < t->rank - i; k++) a->ax[k] = (axis){.size = 1};
    a->rank = t->rank - i;
    return v_of_tensor(a);
}

static value map2(evaluator *ev, map_op op, value a, value b, span at) {
    value v[2] = {a, b};
    return v_of_tensor(tensor_map(ev, op, 2, v, at));
}

// 1 where axis i of t is inside the limits.
static value axis_mask(evaluator *ev, const tensor *t, int i, const ast_index *x) {
    if (t->ax[i].sym) {
        span64 r = limit_of(ev, x, -1);
        value pos = positions(ev, t->ax[i].sym, x->at), m = map2(ev, MAP_GE, pos, v_int(r.lo), x->at);
        if (r.hi < INT64_MAX) m = map2(ev, MAP_AND, m, map2(ev, MAP_LT, pos, v_int(r.hi), x->at), x->at);
        return along(ev, t, i, m);
    }
    span64 r = limit_of(ev, x, t->ax[i].size);
    if (r.lo < 0 || r.lo >= t->ax[i].size || (x->kind == IX_EXPR && r.hi > t->ax[i].size))
        ev_fail(ev, x->at, "position %" PRId64 " of an axis of %" PRId64, r.lo, t->ax[i].size);
    int64_t n = t->ax[i].size;
    tensor *m = tensor_from_floats(ev, 1, &n, NULL);
    for (int64_t k = r.lo; k < n && k < r.hi; k++) ((float *)m->buf->data)[k] = 1;
    return along(ev, t, i, v_of_tensor(m));
}

static tensor *without_names(evaluator *ev, const tensor *t) {
    tensor *c = tensor_dup(ev, t);
    for (int i = 0; i < c->rank; i++) c->ax[i].dim = NULL, c->ax[i].dim_decl = NULL;
    return c;
}

// The right side. A tensor with as many axes as a value with rows is read by position: rows beyond it stay as they are (*mask).
static value right_side(evaluator *ev, const patch *p, const tensor *t, value *mask) {
    scope *outer = ev->scope;
    ev->scope = env_new(ev, outer); // the name itself means what it was just given
    env_put(ev, ev->scope, p->s->head.name, v_of_tensor((tensor *)t), p->s->head.at);
    value v = settle(ev, eval(ev, p->s->expr), p->s->expr->at);
    ev->scope = outer;
    if (v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL) return v_float(want_float(ev, v, p->s->expr->at, "the value"));
    tensor *x = without_names(ev, want_tensor(ev, v, p->s->expr->at, "the value of a patch"));
    if (t->rank == 0 || x->rank != t->rank || !t->ax[0].sym || x->ax[0].sym || x->ax[0].size == 1) return v_of_tensor(x);
    value pos = positions(ev, t->ax[0].sym, p->s->at);
    *mask = along(ev, t, 0, map2(ev, MAP_LT, pos, v_int(x->ax[0].size), p->s->at));
    return v_of_tensor(tensor_gather_rows(ev, x, 0, pos.t, p->s->at));
}

static value combined(evaluator *ev, const patch *p, value old, value v) {
    static const struct { as_kind k; map_op op; } ops[] = {{AS_ADD, MAP_ADD}, {AS_SUB, MAP_SUB}, {AS_MUL, MAP_MUL}, {AS_MAX, MAP_MAX}, {AS_MIN, MAP_MIN}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].k == p->s->assign) return map2(ev, ops[i].op, old, v, p->s->at);
    value all[3] = {v_bool(true), v, old}; // of the old value's shape
    return v_of_tensor(tensor_map(ev, MAP_SELECT, 3, all, p->s->at));
}

static tensor *patched(evaluator *ev, const patch *p, tensor *t) {
    span at = p->s->at;
    value old = v_of_tensor(without_names(ev, t)), beyond = v_none();
    value v = right_side(ev, p, t, &beyond), fresh = combined(ev, p, old, v);
    for (const ast_index *x = p->s->head.index; x; x = x->next) {
        int i = axis_named(t, x->names->name);
        if (i < 0) continue;
        value sel[3] = {axis_mask(ev, t, i, x), fresh, old};
        fresh = v_of_tensor(tensor_map(ev, MAP_SELECT, 3, sel, at));
    }
    if (beyond.kind == V_TENSOR) {
        value sel[3] = {beyond, fresh, old};
        fresh = v_of_tensor(tensor_map(ev, MAP_SELECT, 3, sel, at));
    }
    tensor *r = fresh.t;
    bool same = r->rank == t->rank;
    for (int i = 0; same && i < t->rank; i++) same = r->ax[i].sym == t->ax[i].sym && (t->ax[i].sym || r->ax[i].size == t->ax[i].size);
    if (!same) {
        char a[200], b[200];
        ev_fail(ev, p->s->expr->at, "the value %s does not fit '%.*s' %s", tensor_shape(v.kind == V_TENSOR ? v.t : r, a, sizeof a), (int)p->s->head.name.n, p->s->head.name.p,
                tensor_shape(t, b, sizeof b));
    }
    for (int i = 0; i < t->rank; i++) {
        int64_t stride = r->ax[i].stride;
        r->ax[i] = t->ax[i];
        r->ax[i].stride = stride;
    }
    r->type = t->type == DT_BOOL ? DT_BOOL : DT_F32;
    return r;
}

tensor *patch_apply(evaluator *ev, const ast_stmt *s, str name, tensor *t) {
    for (patch *p = ev->patches; p; p = p->next) {
        if (!str_eq(p->s->head.name, name)) continue;
        ev->pending++;
        if (applies(ev, p, s, t)) {
            span saved = ev->g->at;
            if (p->s->at.src && !p->own) ev->g->at = p->s->at;
            t = patched(ev, p, t);
            ev->g->at = saved;
            p->applied++;
        }
        ev->pending--;
    }
    return t;
}

// ---- making --------------------------------------------------------------------------------------
static void add(evaluator *ev, const ast_stmt *s, bool own) {
    patch **tail = &ev->patches;
    while (*tail) tail = &(*tail)->next;
    patch *p = arena_new(&ev->a, patch);
    *p = (patch){.s = s, .own = own};
    *tail = p;
}

void patch_declare(evaluator *ev, const ast_stmt *s) {
    if (ev->depth || ev->loops) ev_fail_fix(ev, s->at, "say where it applies: patch X[l=12] += ...", "'patch' stands at the top level of a file");
    add(ev, s, false);
}

static bool ends_in_npy(str s) { return s.n > 4 && memcmp(s.p + s.n - 4, ".npy", 4) == 0; }

// steer.npy and "dir/steer.npy" are the tensors of these files, read once.
static ast_expr *with_files(evaluator *ev, const ast_expr *e) {
    ast_expr *c = arena_dup(&ev->a, e, sizeof *e), **tail = &c->kids;
    bool field = e->kind == EX_FIELD && str_is(e->name, "npy"), plain = field && e->kids->kind == EX_NAME;
    if (plain || (e->kind == EX_STRING && !e->kids && ends_in_npy(e->name))) {
        static const char hidden[] = "*file";
        char buf[64];
        str text = e->kind == EX_STRING ? e->name : (str){e->at.src->text.p + e->at.begin, e->at.end - e->at.begin};
        value path = v_str_new(ev, text);
        value t = call_value(ev, lookup(ev, STR("load_npy"), e->at), &path, NULL, 1, e->at);
        snprintf(buf, sizeof buf, "%s%zu", hidden, ev->global->n);
        str name = str_of(intern(ev, str_of(buf)));
        env_put(ev, ev->global, name, t, e->at);
        *c = (ast_expr){.kind = EX_NAME, .at = e->at, .name = name, .next = NULL, .arg_name = e->arg_name, .parens = e->parens};
        return c;
    }
    for (const ast_expr *k = e->kids; k; k = k->next) {
        *tail = with_files(ev, k);
        (*tail)->next = NULL;
        tail = &(*tail)->next;
    }
    *tail = NULL;
    return c;
}

static void add_text(evaluator *ev, void *ctx) {
    const char *text = ctx;
    source *src = arena_new(&ev->a, source);
    sbuf b = {0};
    sbuf_printf(&b, "patch %s\n", text);
    *src = (source){.name = "--set", .dir = "", .text = {arena_strndup(&ev->a, b.p ? b.p : "", b.n), b.n}};
    sbuf_free(&b);
    ast_program *prog;
    if (tl_parse(&ev->a, src, &ev->dl, &prog) != TL_OK) ev_throw(ev);
    if (!prog->items || prog->items->next || prog->items->kind != ST_PATCH)
        ev_fail_fix(ev, (span){src, 6, (uint32_t)src->text.n}, "X[l=12] += 4 * steer.npy, A[l=3, g=1] = 0", "one assignment to a name was expected");
    ev->pending++;
    prog->items->expr = with_files(ev, prog->items->expr);
    ev->pending--;
    add(ev, prog->items, true);
}

tl_status ev_add_patch(evaluator *ev, const char *text, tl_error *err) {
    bool confined = ev->o.confined;
    char *copy = arena_strndup(&ev->a, text, strlen(text));
    ev->o.confined = false; // the text is the user's own, not the model's
    tl_status st = ev_guarded(ev, add_text, copy, err);
    ev->o.confined = confined;
    return st;
}

void ev_clear_patches(evaluator *ev) {
    patch **at = &ev->patches;
    while (*at)
        if ((*at)->own) *at = (*at)->next;
        else at = &(*at)->next;
}

tl_status ev_patches_applied(const evaluator *ev, tl_error *err) {
    for (const patch *p = ev->patches; p; p = p->next) {
        if (p->applied) continue;
        const span at = p->s->at;
        return err_set(err, TL_E_USAGE, "nothing was patched by \"%.*s\": no assignment to '%.*s' is like that; `tl trace --watch '*'` lists what there is",
                       at.src ? (int)(at.end - at.begin) : 0, at.src ? at.src->text.p + at.begin : "", (int)p->s->head.name.n, p->s->head.name.p);
    }
    return TL_OK;
}
