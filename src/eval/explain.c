// explain.c - see explain.h. The graph says what is computed and in which order, the plan with which kernels.
#include <inttypes.h>

#include "eval/eq.h"
#include "eval/explain.h"
#include "eval/relations.h"

static int line_of(span at, bool end) {
    int line, col;
    if (end) at.begin = at.end;
    span_line_col(at, &line, &col);
    return line;
}

bool explain_wants(const explainer *x, span at) {
    if (!at.src || strcmp(at.src->name, x->file) != 0) return false;
    return !x->line || (line_of(at, false) <= x->line && x->line <= line_of(at, true));
}

// ---- indices -------------------------------------------------------------------------------------
static bool on_left(const ast_stmt *s, const char *name) {
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        if (ix->kind == IX_EXPR && ix->expr->kind == EX_NAME && str_is(ix->expr->name, name)) return true;
        if (ix->kind == IX_EXPR && ix->expr->kind == EX_INDEX) // a scatter's rows
            for (const ast_index *in = ix->expr->index; in; in = in->next)
                if (in->kind == IX_EXPR && in->expr->kind == EX_NAME && str_is(in->expr->name, name)) return true;
        for (const ast_expr *n = ix->names; n; n = n->next)
            if (str_is(n->name, name)) return true;
    }
    return false;
}

static const char *fold_text(const ast_stmt *s) {
    switch (s->assign) {
    case AS_MAX: return "max";
    case AS_MIN: return "min";
    case AS_AVG: return "average";
    case AS_OR: return "or";
    case AS_MUL: return "product";
    default: return s->kind == ST_RULE ? "or" : "sum";
    }
}

static void put_size(const eq_label *l, sbuf *out) {
    if (l->sym) sbuf_puts(out, l->sym == SYM_ROWS ? "the step's rows" : "the step's outputs");
    else sbuf_printf(out, "%" PRId64, l->size);
}

static char *indices_text(evaluator *ev, const equation *q, const ast_stmt *s, double *all) {
    sbuf b = {0};
    *all = 1;
    sbuf_puts(&b, "  loops   ");
    for (int left = 1; left >= 0; left--)
        for (int i = 0, n = 0; i < q->n; i++) {
            if (on_left(s, q->lab[i].name) != (left == 1)) continue;
            if (n++ == 0 && !left) sbuf_printf(&b, "%s%s over ", b.n > 10 ? "; " : "", fold_text(s));
            else if (n > 1) sbuf_puts(&b, ", ");
            sbuf_printf(&b, "%s in ", q->lab[i].name);
            put_size(&q->lab[i], &b);
            if (!q->lab[i].sym) *all *= (double)q->lab[i].size;
        }
    if (q->n == 0) sbuf_puts(&b, "none: one number");
    sbuf_putc(&b, '\n');
    for (int i = 0, n = 0; i < q->n; i++)
        if (q->lab[i].what[0] && !q->lab[i].sym) sbuf_printf(&b, "%s%s = %" PRId64 " (%s)", n++ ? ", " : "  sizes   ", q->lab[i].name, q->lab[i].size, q->lab[i].what);
    if (b.n && b.p[b.n - 1] != '\n') sbuf_putc(&b, '\n');
    char *text = arena_strndup(&ev->dl_arena, b.p ? b.p : "", b.n);
    sbuf_free(&b);
    return text;
}

static bool folds(const ast_expr *e, bool *any) { // total = sqrt(sum[i](...)): folds and numbers, nothing else
    if (e->kind == EX_REDUCE) return *any = true;
    if (e->kind == EX_INT || e->kind == EX_FLOAT || e->kind == EX_NAME) return true;
    if (e->kind != EX_UNARY && e->kind != EX_BINARY && e->kind != EX_CALL) return false;
    for (const ast_expr *k = e->kids; k; k = k->next)
        if (!folds(k, any)) return false;
    return true;
}

explain_mark explain_begin(evaluator *ev, const ast_stmt *s) {
    explainer *x = ev->explain;
    explain_mark m = {.tail = ev->g->tail};
    bool equation_like = (s->kind == ST_ASSIGN && (s->head.indexed || s->where)) || s->kind == ST_RULE || (s->kind == ST_LET && s->head.indexed && is_equation(ev, s));
    bool any = false;
    if (!s->head.indexed && s->expr && (s->kind == ST_ASSIGN || s->kind == ST_LET) && folds(s->expr, &any)) equation_like |= any;
    if (s->kind == ST_ASSIGN && s->head.indexed) {
        const binding *b = find_name(ev, s->head.name);
        if (b && (b->v.kind == V_LIST || b->v.kind == V_MAP)) equation_like = false;
    }
    if (equation_like && s->kind != ST_LET && s->head.indexed && is_logic_rule(ev, s)) equation_like = false; // the engine's
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) equation_like &= !ix->virtual_axis; // its steps run one by one
    if (!equation_like || !explain_wants(x, s->at)) return m;
    for (size_t i = 0; i < x->told.n; i++)
        if (x->told.p[i] == s) return m;
    (void)vec_push(&x->told, s);
    equation q = {.ev = ev, .stmt = s};
    eq_solve(&q, s);
    m.indices = indices_text(ev, &q, s, &m.all);
    m.on = true;
    x->kernels.n = 0;
    x->workspace = 0;
    x->graphs = 0;
    x->depth++;
    return m;
}

// ---- steps ---------------------------------------------------------------------------------------
static double node_operations(const ir_node *n) {
    double ops = 1;
    for (int i = n->sym ? 1 : 0; i < n->nlab; i++) ops *= (double)n->size[i];
    return ops;
}

static int64_t node_bytes_read(const ir_node *n) { // of each input the elements that are read, once
    int64_t bytes = 0;
    for (int e = 0; e < n->n_in; e++) {
        const ir_node *in = n->in[e].node;
        double v;
        if (ir_is_scalar_const(in, &v)) continue;
        int64_t elements = 1;
        for (int i = n->sym ? 1 : 0; i < n->nlab; i++)
            if (n->in[e].stride[i]) elements *= n->size[i];
        if (in->op == IR_WEIGHT && in->u.weight->rows * in->u.weight->cols > 0)
            bytes += (int64_t)((double)in->u.weight->bytes * (double)elements / ((double)in->u.weight->rows * (double)in->u.weight->cols));
        else bytes += 4 * elements;
    }
    return bytes;
}

static void put_number(double v, sbuf *out) { sbuf_printf(out, v < 1e7 ? "%.0f" : "%.3g", v); }

static void put_bytes(double v, sbuf *out) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    for (; v >= 10240 && u < 4; u++) v /= 1024;
    sbuf_printf(out, "%.0f %s", v, units[u]);
}

static void put_space(const ir_node *n, sbuf *out) {
    sbuf_putc(out, '[');
    for (int i = 0; i < n->nlab; i++) {
        sbuf_puts(out, i == 0 && n->nout == 0 ? "| " : i == 0 ? "" : i == n->nout ? " | " : ", ");
        if (i == 0 && n->sym) sbuf_puts(out, n->sym == SYM_ROWS ? "rows" : "outs");
        else sbuf_printf(out, "%" PRId64, n->size[i]);
    }
    sbuf_putc(out, ']');
}

static bool is_work(const ir_node *n) { return n->op != IR_CONST && n->op != IR_WEIGHT && n->op != IR_STATE && n->op != IR_INPUT; }

// What a step reads that another statement computes: equal computations are one.
static void put_earlier(const ir_node *n, const ir_node *first, sbuf *out) {
    for (int e = 0; e < n->n_in; e++) {
        const ir_node *in = n->in[e].node;
        if (!is_work(in) || in->id >= first->id || !in->at.src) continue;
        sbuf_printf(out, "             its input %s ", ir_op_name(in->op));
        put_space(in, out);
        sbuf_printf(out, " is computed at %s:%d\n", in->at.src->name, line_of(in->at, false));
    }
}

static void put_steps(ir_node *first, const explain_mark *m, sbuf *out) {
    double total = 0;
    int step = 0, products = 0;
    bool rows = false;
    for (const ir_node *n = first; n; n = n->next) {
        if (!is_work(n)) continue;
        double ops = node_operations(n);
        sbuf_printf(out, "%s%d  %s", step ? "          " : "  steps   ", step + 1, ir_op_name(n->op));
        step++;
        if (n->op == IR_MAP) sbuf_printf(out, " %s", map_names[n->sub]);
        if (n->op == IR_REDUCE) sbuf_printf(out, " %s", fold_names[n->sub]);
        sbuf_putc(out, ' ');
        put_space(n, out);
        sbuf_puts(out, ": ");
        put_number(ops, out);
        sbuf_puts(out, n->op == IR_EINSUM ? " multiply-adds, reads " : " operations, reads ");
        put_bytes((double)node_bytes_read(n), out);
        sbuf_puts(out, ", writes ");
        put_bytes(4 * (double)(n->inner ? n->inner : 1), out);
        sbuf_putc(out, '\n');
        put_earlier(n, first, out);
        total += ops;
        products += n->op == IR_EINSUM;
        rows |= n->sym != SYM_NONE;
    }
    if (!step) {
        sbuf_puts(out, "  steps   none: the values are constants by now, or another statement computes the same\n");
        return;
    }
    sbuf_puts(out, "  cost    ");
    put_number(total, out);
    sbuf_printf(out, " operations%s", rows ? " for each row" : "");
    if (products > 1) {
        sbuf_puts(out, " in this order; ");
        put_number(m->all, out);
        sbuf_puts(out, " if all indices ran at once");
    }
    sbuf_putc(out, '\n');
}

// ---- kernels -------------------------------------------------------------------------------------
static void put_kernels(const explainer *x, sbuf *out) {
    for (size_t i = 0; i < x->kernels.n; i++) {
        const explain_kernel *k = &x->kernels.p[i];
        sbuf_puts(out, i ? "          " : "  kernels ");
        if (k->line) sbuf_printf(out, "line %d: ", k->line);
        if (k->times > 1) sbuf_printf(out, "%d x ", k->times);
        sbuf_printf(out, "%s %s", k->kernel, k->space);
        if (k->bytes) sbuf_puts(out, ", a stored matrix of "), put_bytes((double)k->bytes, out);
        sbuf_putc(out, '\n');
    }
    if (!x->workspace) return;
    sbuf_puts(out, "  memory  ");
    put_bytes((double)x->workspace, out);
    sbuf_puts(out, " of temporaries\n");
}

static void note_kernel(explainer *x, const plan_kernel_time *t, int line) { // equal ones are counted
    explain_kernel k = {.kernel = t->kernel, .line = line, .times = 1};
    sbuf b = {0};
    put_space(t->node, &b);
    snprintf(k.space, sizeof k.space, "%s", b.p ? b.p : "");
    sbuf_free(&b);
    if (t->node->op == IR_LINEAR && t->node->u.weight) k.bytes = (int64_t)t->node->u.weight->bytes;
    for (size_t i = 0; i < x->kernels.n; i++) {
        explain_kernel *o = &x->kernels.p[i];
        if (o->line != line || o->bytes != k.bytes || strcmp(o->kernel, k.kernel) != 0 || strcmp(o->space, k.space) != 0) continue;
        o->times++;
        return;
    }
    (void)vec_push(&x->kernels, k);
}

static int by_line(const void *a, const void *b) { return ((const explain_kernel *)a)->line - ((const explain_kernel *)b)->line; }

static void put_dot_node(const ir_node *n, sbuf *out) {
    double v;
    sbuf_printf(out, "    n%d [label=\"%s", n->id, ir_op_name(n->op));
    if (n->op == IR_MAP) sbuf_printf(out, " %s", map_names[n->sub]);
    if (n->op == IR_REDUCE) sbuf_printf(out, " %s", fold_names[n->sub]);
    if ((n->op == IR_WEIGHT || n->op == IR_LINEAR || n->op == IR_EMBED) && n->u.weight->name) {
        char name[300];
        str_escape(name, sizeof name, str_of(n->u.weight->name));
        for (char *c = name; *c; c++)
            if (*c == '"' || *c == '\\') *c = '\'';
        sbuf_printf(out, "\\n%s", name);
    }
    sbuf_puts(out, "\\n");
    put_space(n, out);
    sbuf_printf(out, "\"%s];\n", is_work(n) ? "" : ", shape=ellipse");
    for (int e = 0; e < n->n_in; e++)
        if (!ir_is_scalar_const(n->in[e].node, &v)) sbuf_printf(out, "    n%d -> n%d;\n", n->in[e].node->id, n->id);
}

static void put_dot(const ir_graph *g, const ast_stmt *s, int number, sbuf *out) {
    double v;
    char text[200];
    str_escape(text, sizeof text, s ? (str){s->at.src->text.p + s->at.begin, s->at.end - s->at.begin} : STR("step"));
    for (char *c = text; *c; c++)
        if (*c == '"' || *c == '\\') *c = '\'';
    sbuf_printf(out, "digraph equation%d {\n    label=\"%s\"; node [shape=box, fontname=monospace];\n", number, text);
    for (const ir_node *n = g->first; n; n = n->next)
        if (n->uses || is_work(n)) {
            if (!ir_is_scalar_const(n, &v)) put_dot_node(n, out);
        }
    sbuf_puts(out, "}\n");
}

void explain_graph(evaluator *ev, const ir_graph *g, const plan *p) {
    explainer *x = ev->explain;
    if (!x->depth) return;
    x->graphs++;
    x->workspace += plan_workspace_bytes(p);
    for (int i = 0; i < plan_kernel_count(p); i++) {
        plan_kernel_time t = plan_kernel_timing(p, i);
        note_kernel(x, &t, 0);
    }
    if (x->form == TL_EXPLAIN_PLAN) plan_print(p, x->out);
    if (x->form == TL_EXPLAIN_DOT) put_dot(g, x->told.n ? x->told.p[x->told.n - 1] : NULL, x->found + 1, x->out);
}

void explain_plan(explainer *x, const plan *p) {
    x->kernels.n = x->workspace = 0;
    for (int i = 0; i < plan_kernel_count(p); i++) {
        plan_kernel_time t = plan_kernel_timing(p, i);
        if (explain_wants(x, t.node->at)) note_kernel(x, &t, line_of(t.node->at, false));
    }
    if (x->kernels.n) qsort(x->kernels.p, x->kernels.n, sizeof *x->kernels.p, by_line);
    if (x->kernels.n > 0 || !x->found) put_kernels(x, x->out);
    else sbuf_puts(x->out, "  kernels none of its own: it is a part of those of other lines\n");
}

void explain_end(evaluator *ev, const ast_stmt *s, const explain_mark *m) {
    explainer *x = ev->explain;
    const binding *b = s->head.name.n ? find_name(ev, s->head.name) : NULL;
    bool whole = b && b->v.kind == V_TENSOR && !ev->tracing && (s->kind == ST_ASSIGN || s->kind == ST_LET || s->kind == ST_RULE);
    sbuf *steps = text_begin(ev);
    if (m->on && x->form == TL_EXPLAIN_TEXT) {
        int line, col;
        span_line_col(s->at, &line, &col);
        str text = {s->at.src->text.p + s->at.begin, s->at.end - s->at.begin};
        sbuf_printf(steps, "%s%s:%d: %.*s\n%s", x->found ? "\n" : "", s->at.src->name, line, (int)text.n, text.p, m->indices);
        put_steps(*m->tail, m, steps);
    }
    if (whole && !tensor_has_sym(b->v.t)) tensor_force(ev, b->v.t, s->at); // also of others: what they compute is not part of this
    if (!m->on) {
        text_end(ev, steps);
        return;
    }
    x->depth--;
    if (x->form == TL_EXPLAIN_TEXT) {
        sbuf_put(x->out, steps->p ? steps->p : "", steps->n);
        put_kernels(x, x->out);
    }
    x->found++;
    text_end(ev, steps);
}
