// trap.c - the NaN trap: a step has stored a value that is not finite. The row that it belongs to is computed once more with
// every binding kept, and the first binding in the order of the program that is not finite is told, with what it was made of.
// A row's result depends on the rows beside it through the cache only, which the step has written.
#include <inttypes.h>
#include <math.h>

#include "base/moments.h"
#include "gguf/quant.h"
#include "run/run.h"

enum { MOST_NODES = 500, MOST_NOTES = 12 };

typedef struct trap {
    const trap_case *c;
    arena a;               // the graph, messages
    ir_graph g;
    ev_bindings all;
    plan *p;
    int64_t row;           // of the step
    plan_step one;
    int32_t out;
    VEC(const ir_node *) seen; // nodes that were asked already
    diag_list dl;
    diag *d;
    int notes;
    bool blamed;
} trap;

static const ir_node *resolved(const ir_node *n) {
    while (n->repl) n = n->repl;
    return n;
}

// ---- the row once more ---------------------------------------------------------------------------
static tl_status keep_all(trap *t, tl_error *err) {
    ir_node **nodes = mem_alloc((t->all.n + 1) * sizeof *nodes);
    if (!nodes) return err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < t->all.n; i++) nodes[i] = t->all.p[i].node;
    ir_keep(&t->g, nodes, t->all.n);
    mem_free(nodes);
    return ir_verify(&t->g, err);
}

static tl_status compute_row(trap *t, tl_error *err) {
    const plan_step *s = t->c->step;
    ev_trace_options o = {.n_ctx = t->c->n_ctx, .cache_type = t->c->cache_type, .a = &t->a, .bindings = &t->all};
    ev_state *states = NULL;
    TL_TRY(session_trace(t->c->m, t->c->patches, &o, &t->g, &states, err));
    const ev_state *from = t->c->states;
    for (ev_state *to = states; to && from; to = to->next, from = from->next) to->ir.data = from->ir.data; // the same program: the same order
    ir_rewrite(&t->g);
    ir_adapter *adapters = t->c->m->adapters.p;
    TL_TRY(ir_adapt(&t->g, adapters, t->c->m->adapters.n, err));
    ir_fuse_maps(&t->g);
    TL_TRY(keep_all(t, err));
    TL_TRY(ir_adapt(&t->g, adapters, t->c->m->adapters.n, err)); // of what came back
    TL_TRY(ir_verify(&t->g, err));
    plan_backend b = engine_backend(t->c->m->engine, t->c->m);
    TL_TRY(plan_new(&t->g, &b, &(plan_limits){.max_rows = 1, .max_outs = 1, .max_slots = t->c->n_ctx}, &t->p, err));
    t->one = *s;
    t->one.rows = t->one.outs = 1;
    for (int i = 0; i < INPUT_COUNT; i++) t->one.in[i] = i == INPUT_OUT ? &t->out : s->in[i] + t->row;
    return plan_run(t->p, &t->one, err);
}

// ---- the first binding ---------------------------------------------------------------------------
static bool is_integer(const ev_binding *b) { return resolved(b->node)->type == DT_I32; }

static float *value_of(trap *t, const ev_binding *b, int64_t *n) {
    *n = binding_elements(b, 1, 1);
    float *x = mem_alloc((size_t)(*n + 1) * sizeof *x);
    if (x && binding_read(b, t->p, 1, 1, x)) return x;
    mem_free(x);
    return NULL;
}

static const ev_binding *first_bad(trap *t, int64_t *at, float *bad) {
    for (size_t i = 0; i < t->all.n; i++) {
        const ev_binding *b = &t->all.p[i];
        int64_t n;
        float *x = is_integer(b) ? NULL : value_of(t, b, &n);
        bool meant = ir_infinity_meant(b->node);
        for (*at = 0; x && *at < n; ++*at)
            if (meant ? isnan(x[*at]) : !isfinite(x[*at])) break;
        bool found = x && *at < n;
        if (found) *bad = x[*at];
        mem_free(x);
        if (found) return b;
    }
    return NULL;
}

// "p=5, e=312, l=7": positions of the axes, then of the loops around.
static void put_place(const trap *t, const ev_binding *b, int64_t flat, sbuf *out) {
    int64_t at[IR_MAX_RANK];
    for (int i = b->rank - 1; i >= 0; i--) {
        int64_t size = b->ax[i].sym ? 1 : b->ax[i].size;
        at[i] = flat % size, flat /= size;
        if (b->ax[i].sym) at[i] = t->one.in[INPUT_POS][0];
    }
    for (int i = 0; i < b->rank; i++)
        sbuf_printf(out, "%s%s%s%" PRId64, i ? ", " : "", b->ax[i].dim ? b->ax[i].dim : "", b->ax[i].dim ? "=" : "", at[i]);
    for (int i = 0; i < b->n_loops; i++) sbuf_printf(out, "%s%s=%" PRId64, i || b->rank ? ", " : "", b->loop[i].name, b->loop[i].at);
}

// ---- what it was made of -------------------------------------------------------------------------
static void note(trap *t, span at, const char *text) {
    if (t->notes++ < MOST_NOTES) diag_note(&t->dl, t->d, at, "%s", text);
}

static void note_weight(trap *t, const ir_weight *w, int64_t row0, int64_t row1) {
    quant_bad bad = {0};
    char text[400];
    if (!quant_find_nonfinite(w->type, w->data, row0, row1, w->cols, &bad)) {
        snprintf(text, sizeof text, "the weight %s (%s) is finite", w->name, dtype_table[w->type].name);
    } else {
        const gguf *f = t->c->m->m.file;
        const gguf_tensor *tensor = gguf_tensor_find(f, str_of(w->name));
        snprintf(text, sizeof text, "the weight %s (%s) is the cause: %" PRId64 " of its values are not finite, the first in row %" PRId64 ", block %" PRId64 " (byte %" PRIu64 " of the file%s)",
                 w->name, dtype_table[w->type].name, bad.count, bad.row, bad.block, (uint64_t)bad.byte_offset + (tensor ? tensor->offset : 0), bad.in_scale ? ", its scale" : "");
        t->blamed = true;
    }
    note(t, (span){0}, text);
}

static void note_state(trap *t, const ir_state *s) {
    const attn_seq *q = &t->one.seqs[t->one.in[INPUT_SEQ][0]];
    float *row = s->type == DT_I32 ? NULL : mem_alloc((size_t)(s->width + 1) * sizeof *row);
    value_stats v = {0};
    char text[400], range[160];
    for (int64_t i = 0; row && i < q->n; i++) {
        quant_decode(s->type, (const char *)s->data + (size_t)q->slots[i] * s->slot_bytes, row, s->width);
        stats_add(&v, row, (size_t)s->width);
    }
    if (row && q->n) {
        snprintf(text, sizeof text, "the cache %s (%s): %s%s", s->name, dtype_table[s->type].name, stats_range(&v, range, sizeof range),
                 v.nan + v.inf && s->type == DT_F16 ? "; values beyond 65504 became infinite when they were stored: --cache-type f32 holds them" : "");
        note(t, (span){0}, text);
    }
    mem_free(row);
}

static void note_binding(trap *t, const ev_binding *b) {
    int64_t n;
    float *x = value_of(t, b, &n);
    value_stats v = {0};
    char text[400], range[160];
    if (x && n) {
        stats_add(&v, x, (size_t)n);
        snprintf(text, sizeof text, "%s: %s", b->name, stats_range(&v, range, sizeof range));
        note(t, b->at, text);
    }
    mem_free(x);
}

static const ev_binding *binding_of(const trap *t, const ir_node *n, const ev_binding *before) {
    for (const ev_binding *b = before; b-- > t->all.p;)
        if (b->node == n || resolved(b->node) == resolved(n)) return b;
    return NULL;
}

// Back from a value's node to named values, weights and the cache. `via`: the node that reads n.
static void note_operands(trap *t, const ir_node *n, const ir_node *via, const ev_binding *self, int depth) {
    const ev_binding *b = via ? binding_of(t, n, self) : NULL;
    for (size_t i = 0; i < t->seen.n; i++)
        if (t->seen.p[i] == n) return;
    if (t->seen.n >= MOST_NODES || !vec_push(&t->seen, n)) return;
    if (b) {
        note_binding(t, b);
        return;
    }
    if (n->op == IR_WEIGHT) {
        const ir_weight *w = n->u.weight;
        int32_t tok = t->one.in[INPUT_TOK][0];
        bool looked_up = via && (via->op == IR_GATHER || via->op == IR_EMBED) && tok >= 0 && tok < w->rows;
        note_weight(t, w, looked_up ? tok : 0, looked_up ? tok + 1 : w->rows);
        return;
    }
    if (n->op == IR_STATE) note_state(t, n->u.state.ref);
    for (int e = 0; e < n->n_in && depth < 60; e++) { // the matrix of a product first, as programs write it
        const ir_edge *in = &n->in[n->op == IR_LINEAR ? n->n_in - 1 - e : e];
        note_operands(t, in->node, n, self, depth + 1);
    }
}

// ---- the message ---------------------------------------------------------------------------------
static void tell(trap *t, tl_error *err) {
    sbuf b = {0};
    diag_render(t->d, &b, false);
    while (b.n && b.p[b.n - 1] == '\n') b.p[--b.n] = 0;
    (void)err_set(err, TL_E_PROGRAM, "%s", b.p ? b.p : "a value is not finite");
    sbuf_free(&b);
}

static void explain(trap *t, tl_error *err) {
    int64_t at;
    float bad = 0;
    const ev_binding *b = first_bad(t, &at, &bad);
    if (!b) {
        t->d = diag_add(&t->dl, DG_ERROR, t->c->fault.node->at, "a value of this statement is not finite (position %d); no value with a name is", t->one.in[INPUT_POS][0]);
        tell(t, err);
        return;
    }
    sbuf place = {0};
    put_place(t, b, at, &place);
    t->d = diag_add(&t->dl, DG_ERROR, b->stmt.src ? b->stmt : b->at, "the first value that is not finite: %s[%s] is %g", b->name, place.p ? place.p : "", (double)bad);
    sbuf_free(&place);
    if (b->call.src) diag_note(&t->dl, t->d, b->call, "in this call");
    note_operands(t, b->node, NULL, b, 0);
    if (t->blamed) diag_fix(&t->dl, t->d, "`tl doctor -m %s` tells all that is wrong with the file", tl_model_path(t->c->m));
    else diag_fix(&t->dl, t->d, "no weight is the cause: the numbers of this statement get too large for float32, or it divides by zero");
    tell(t, err);
}

tl_status trap_explain(const trap_case *c, tl_error *err) {
    trap t = {.c = c, .row = c->fault.row};
    if (c->fault.node->sym == SYM_OUT) t.row = c->step->in[INPUT_OUT][c->fault.row];
    if (c->fault.node->sym == SYM_NONE || t.row >= c->step->rows) t.row = 0;
    t.dl = (diag_list){.a = &t.a, .limit = 2};
    tl_error other = {0};
    tl_status st = compute_row(&t, &other);
    if (st == TL_OK) explain(&t, err);
    else (void)err_set(err, TL_E_PROGRAM, "a value is not finite; where it came from could not be found: %s", other.message);
    plan_free(t.p);
    vec_free(&t.seen);
    vec_free(&t.all);
    arena_free(&t.a);
    return TL_E_PROGRAM;
}
