// watch.c - recording the bindings of a traced step function, and looking through those of an eager program.
#include <inttypes.h>
#include <math.h>

#include "base/moments.h"
#include "eval/watch.h"

// ---- recording -----------------------------------------------------------------------------------
static void put_functions(sbuf *b, const frame *f) { // the outermost first, without the step function
    if (!f || !f->caller) return;
    put_functions(b, f->caller);
    sbuf_printf(b, "%s.", f->fn);
}

static int put_loops(const loop_at *l, ev_binding *b) {
    int at = l ? put_loops(l->outer, b) : 0;
    if (l && at < EV_LOOPS) b->loop[at] = (ev_loop){l->name, l->at};
    return l ? at + 1 : 0;
}

static span innermost_call(const evaluator *ev) {
    return ev->frames && ev->frames->caller ? ev->frames->call : (span){0};
}

static void record(evaluator *ev, const ast_stmt *s, str name, const tensor *t, bool lens, bool patched) {
    ev_bindings *all = ev->trace->bindings;
    ev_binding b = {.name = intern(ev, name), .at = s->head.at, .stmt = s->at, .call = innermost_call(ev), .rank = t->rank, .offset = t->offset,
                    .node = t->node, .is_lens = lens, .patched = patched};
    b.n_loops = put_loops(ev->loops, &b);
    if (b.n_loops > EV_LOOPS) b.n_loops = EV_LOOPS;
    for (int i = 0; i < t->rank; i++) {
        b.ax[i].size = t->ax[i].size;
        b.ax[i].stride = t->ax[i].stride;
        b.ax[i].sym = t->ax[i].sym;
        b.ax[i].dim = t->ax[i].dim ? t->ax[i].dim : t->ax[i].sym == SYM_ROWS ? "p" : t->ax[i].sym == SYM_OUT ? "o" : NULL;
    }
    sbuf path = {0};
    if (b.n_loops) sbuf_printf(&path, "blk.%" PRId64 ".", b.loop[0].at);
    put_functions(&path, ev->frames);
    sbuf_put(&path, name.p, name.n);
    b.path = intern(ev, (str){path.p, path.n});
    bool ok = !path.failed && vec_push(all, b);
    sbuf_free(&path);
    if (!ok) ev_fail(ev, s->at, "out of memory");
}

// Weights, constants and what was computed before are no values of a step.
static bool of_step(const evaluator *ev, const tensor *t) { return ev->tracing && t->node && t->graph == ev->g && !ir_is_const(t->node) && t->node->op != IR_IOTA; }

static bool recorded(const evaluator *ev, const tensor *t) { return ev->trace && ev->trace->bindings && !ev->in_lens && of_step(ev, t); }

// ---- the trap of eager programs ------------------------------------------------------------------
static void put_index(sbuf *b, const tensor *t, int64_t flat) {
    int64_t at[IR_MAX_RANK];
    for (int i = t->rank - 1; i >= 0; i--) at[i] = flat % t->ax[i].size, flat /= t->ax[i].size;
    for (int i = 0; i < t->rank; i++) {
        sbuf_puts(b, i ? ", " : "");
        if (t->ax[i].dim) sbuf_printf(b, "%s=", t->ax[i].dim);
        sbuf_printf(b, "%" PRId64, at[i]);
    }
}

// "X -1.5 .. 2" for each tensor that the statement reads.
static void note_operands(evaluator *ev, diag *d, const ast_expr *e, int *shown) {
    if (!e || *shown >= 6) return;
    const ast_expr *name = e->kind == EX_NAME ? e : NULL;
    const binding *b = name ? find_name(ev, name->name) : NULL;
    if (b && (b->v.kind == V_TENSOR || b->v.kind == V_PATH)) {
        tensor *t = value_tensor(ev, b->v, e->at);
        const char *stored = t->weight ? t->weight->name : NULL;
        value_stats v = {0};
        char range[160];
        stats_add(&v, tensor_floats(ev, tensor_dup(ev, t), e->at), (size_t)tensor_elements(t));
        diag_note(&ev->dl, d, (span){0}, "%.*s%s%s: %s%s", (int)name->name.n, name->name.p, stored ? ", the weight " : "", stored ? stored : "", stats_range(&v, range, sizeof range),
                  stored && v.nan + v.inf ? "; `tl doctor` tells where in the file" : "");
        ++*shown;
    }
    for (const ast_index *ix = e->index; ix; ix = ix->next)
        if (ix->kind == IX_EXPR) note_operands(ev, d, ix->expr, shown);
    for (const ast_expr *k = e->kids; k; k = k->next) note_operands(ev, d, k, shown);
}

static void look_through(evaluator *ev, const ast_stmt *s, str name, tensor *t) {
    bool meant = t->node && ir_infinity_meant(t->node);
    const char *stored = t->weight ? t->weight->name : NULL;
    int64_t n = tensor_elements(t);
    if (t->type == DT_I32) return;
    tensor *c = tensor_dup(ev, t);
    const float *x = tensor_floats(ev, c, s->at);
    if (!stored && !t->buf) t->buf = c->buf, t->node = c->node;
    for (int64_t i = 0; i < n; i++) {
        if (isfinite(x[i]) || (meant && x[i] < 0)) continue;
        sbuf where = {0};
        put_index(&where, t, i);
        ev->code = TL_E_PROGRAM;
        diag *d = ev_diag(ev, s->at, "the first value that is not finite: %.*s%s%s%s is %g", (int)name.n, name.p, t->rank ? "[" : "", where.p ? where.p : "", t->rank ? "]" : "", (double)x[i]);
        sbuf_free(&where);
        int shown = 0;
        if (stored) diag_note(&ev->dl, d, (span){0}, "it is in the file: %s; `tl doctor` tells where", stored);
        else note_operands(ev, d, s->expr, &shown);
        ev_throw(ev);
    }
}

void ev_set_trap(evaluator *ev, bool on) { ev->trap = on; }

// ---- what binds calls ----------------------------------------------------------------------------
tensor *watch_bound(evaluator *ev, const ast_stmt *s, str name, tensor *t) {
    if (recorded(ev, t)) record(ev, s, name, t, false, false);
    if (ev->patches) {
        tensor *p = patch_apply(ev, s, name, t);
        if (p != t && recorded(ev, p)) record(ev, s, name, p, false, true);
        t = p;
    }
    if (ev->trap && !ev->tracing) look_through(ev, s, name, t);
    return t;
}

value watch_value(evaluator *ev, const ast_stmt *s, value v) {
    if (v.kind == V_TENSOR) v.t = watch_bound(ev, s, s->head.name, v.t);
    return v;
}

void watch_part(evaluator *ev, const ast_stmt *s, const struct part *part, int rank) {
    if (ev->trap && !ev->tracing) look_through(ev, s, s->head.name, part->t);
    if (!recorded(ev, part->t)) return;
    sbuf b = {0};
    sbuf_printf(&b, "%.*s[", (int)s->head.name.n, s->head.name.p);
    for (int i = 0; i < rank; i++) {
        if (i) sbuf_putc(&b, ',');
        if (part->at[i] < 0) sbuf_putc(&b, '_');
        else sbuf_printf(&b, "%" PRId64, part->at[i]);
    }
    sbuf_putc(&b, ']');
    const char *name = intern(ev, (str){b.p ? b.p : "", b.n});
    sbuf_free(&b);
    record(ev, s, str_of(name), part->t, false, false);
}

tensor *watch_whole(evaluator *ev, const v_parts *p, tensor *whole) {
    loop_at *saved = ev->loops;
    int n = 0;
    for (const loop_at *l = ev->loops; l; l = l->outer) n++;
    for (; n > p->loops; n--) ev->loops = ev->loops->outer; // it belongs where its parts are defined
    whole = watch_bound(ev, p->first, p->first->head.name, whole);
    ev->loops = saved;
    return whole;
}

operand watch_operand(equation *q, const ast_stmt *s, const operand *x, const int *labels, int n) {
    evaluator *ev = q->ev;
    if (x->is_const || (!ev->patches && !(ev->trace && ev->trace->bindings))) return *x;
    tensor *t = eq_tensor(q, x, labels, n), *p = watch_bound(ev, s, s->head.name, t);
    if (p == t) return *x;
    operand r = {.node = tensor_node(ev, p, s->at), .offset = p->offset};
    for (int i = 0; i < n; i++) {
        r.labels |= eq_bit(labels[i]);
        r.stride[labels[i]] = p->ax[i].stride;
    }
    return r;
}

// ---- the lens ------------------------------------------------------------------------------------
static const ast_stmt *layer_loop(const evaluator *ev) { // the last `for` of the step function that something follows
    const ast_stmt *found = NULL;
    for (const ast_stmt *s = ev->step->def->body; s; s = s->next)
        if (s->kind == ST_FOR && s->next) found = s;
    return found;
}

static value run_end(evaluator *ev, const ast_stmt *list) { // as the end of a call
    value last = v_none();
    for (const ast_stmt *s = list; s; s = s->next) {
        if (s->kind == ST_EXPR && !s->next) {
            last = eval(ev, s->expr);
            break;
        }
        if (exec(ev, s) == FLOW_RETURN) return ev->frames->result;
    }
    binding *r = env_find_here(ev->scope, STR("result"));
    return r ? r->v : last;
}

// What follows the loop runs on copies of the function's names, so that the layers that follow find everything as it was.
void watch_lens(evaluator *ev, const ast_stmt *loop, scope *outer, int64_t layer) {
    if (!ev->trace || !ev->trace->lens || ev->in_lens || loop != layer_loop(ev)) return;
    scope *saved = ev->scope, *copy = env_new(ev, saved);
    ev->scope = copy;
    for (size_t i = 0; i < outer->n; i++) env_put(ev, copy, outer->p[i].name, outer->p[i].v, outer->p[i].at);
    ev->scope = env_new(ev, copy);
    ev->in_lens = true;
    value v = settle(ev, run_end(ev, loop->next), loop->at);
    ev->in_lens = false;
    if (v.kind != V_TENSOR || v.t->rank != 2 || v.t->ax[0].sym != SYM_OUT) ev_fail(ev, loop->at, "what follows the loop over layers gives no logits");
    loop_at here = {.outer = NULL, .name = intern(ev, loop->head.name), .at = layer, .n = 0}, *loops = ev->loops;
    ev->loops = &here;
    tensor *t = tensor_compact(ev, v.t, loop->at);
    if (of_step(ev, t)) record(ev, loop, STR("lens"), t, true, false);
    ev->loops = loops;
    ev->frames->result = v_none();
    ev->scope = saved;
}
