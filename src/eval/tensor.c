// tensor.c - tensors as views: leaves, layouts, computing what is lazy.
#include <inttypes.h>
#include <sys/mman.h>

#include "eval/explain.h"
#include "gguf/quant.h"

// ---- making --------------------------------------------------------------------------------------
tensor *tensor_new(evaluator *ev, int rank) {
    tensor *t = heap_new(ev, sizeof *t, V_TENSOR);
    t->rank = rank;
    t->type = DT_F32;
    return t;
}

enum { HUGE_PAGE = 2 << 20 };

static buffer *buffer_new(evaluator *ev, int64_t elements) {
    size_t bytes;
    if (elements < 0 || !size_mul((size_t)elements, 4, &bytes)) ev_fail(ev, (span){0}, "a tensor of this size does not fit in memory");
    buffer *b = heap_new(ev, sizeof *b, O_BUFFER);
    b->bytes = bytes;
    heap_account(ev, bytes);
    bool large = bytes >= HUGE_PAGE; // fewer page faults: a good part of the time of a fresh result
    b->data = mem_alloc_aligned(bytes ? bytes : 4, large ? HUGE_PAGE : 64);
    if (b->data && large) (void)madvise(b->data, bytes, MADV_HUGEPAGE);
    if (!b->data) {
        ev->code = TL_E_MEMORY;
        ev_fail(ev, (span){0}, "out of memory for a tensor of %" PRId64 " elements", elements);
    }
    return b;
}

static void row_major(tensor *t) {
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        t->ax[i].stride = stride;
        stride *= t->ax[i].size;
    }
}

tensor *tensor_from_floats(evaluator *ev, int rank, const int64_t *sizes, const float *data) {
    tensor *t = tensor_new(ev, rank);
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        t->ax[i].size = sizes[i];
        if (__builtin_mul_overflow(n, sizes[i], &n)) ev_fail(ev, (span){0}, "a tensor of this size does not fit in memory");
    }
    row_major(t);
    t->buf = buffer_new(ev, n);
    if (data) memcpy(t->buf->data, data, (size_t)n * 4);
    else memset(t->buf->data, 0, (size_t)n * 4);
    return t;
}

tensor *tensor_from_ints(evaluator *ev, int64_t n, const int32_t *data) {
    tensor *t = tensor_new(ev, 1);
    t->ax[0] = (axis){.size = n, .stride = 1};
    t->buf = buffer_new(ev, n);
    t->type = DT_I32;
    memcpy(t->buf->data, data, (size_t)n * 4);
    return t;
}

tensor *tensor_dup(evaluator *ev, const tensor *t) {
    tensor *c = tensor_new(ev, t->rank);
    obj keep = c->o;
    *c = *t;
    c->o = keep;
    return c;
}

int64_t tensor_elements(const tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->ax[i].sym ? 1 : t->ax[i].size;
    return n;
}

bool tensor_has_sym(const tensor *t) {
    for (int i = 0; i < t->rank; i++)
        if (t->ax[i].sym) return true;
    return false;
}

bool tensor_contiguous(const tensor *t) {
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->ax[i].sym) return i == 0 && (t->ax[0].stride == stride);
        if (t->ax[i].size != 1 && t->ax[i].stride != stride) return false;
        stride *= t->ax[i].size;
    }
    return true;
}

void tensor_shape_text(const tensor *t, sbuf *out) {
    sbuf_putc(out, '[');
    for (int i = 0; i < t->rank; i++) {
        if (i) sbuf_puts(out, ", ");
        if (t->ax[i].dim) sbuf_puts(out, t->ax[i].dim);
        if (t->ax[i].dim && !t->ax[i].sym) sbuf_putc(out, '=');
        if (t->ax[i].sym && !t->ax[i].dim) sbuf_puts(out, t->ax[i].sym == SYM_ROWS ? "rows" : "outs");
        if (!t->ax[i].sym) sbuf_printf(out, "%" PRId64, t->ax[i].size);
    }
    sbuf_putc(out, ']');
}

char *tensor_shape(const tensor *t, char *buf, size_t cap) {
    sbuf b = {0};
    tensor_shape_text(t, &b);
    snprintf(buf, cap, "%s", b.p ? b.p : "[]");
    sbuf_free(&b);
    return buf;
}

// ---- layouts -------------------------------------------------------------------------------------
void layout_make(const axis *ax, int rank, layout *l) {
    *l = (layout){0};
    int at = 0;
    for (int i = 0; i < rank; i++)
        if (ax[i].sym && !l->sp.sym) {
            l->label[i] = 0;
            l->sp.sym = ax[i].sym;
            l->sp.size[0] = 0;
            at = 1;
        }
    for (int i = 0; i < rank; i++) {
        if (ax[i].sym) continue;
        l->label[i] = at;
        l->sp.size[at++] = ax[i].size;
    }
    l->sp.nlab = l->sp.nout = at;
}

void layout_strides(const layout *l, int64_t *stride) {
    int64_t at = 1;
    for (int i = l->sp.nout - 1; i >= 0; i--) {
        stride[i] = at;
        at *= i == 0 && l->sp.sym ? 1 : l->sp.size[i];
    }
}

tensor *layout_tensor(evaluator *ev, const layout *l, ir_node *n, const axis *ax, int rank) {
    tensor *t = tensor_new(ev, rank);
    int64_t stride[IR_MAX_LABELS];
    layout_strides(l, stride);
    bool scalar = n->op == IR_CONST && n->u.k.scalar;
    for (int i = 0; i < rank; i++) {
        t->ax[i] = ax[i];
        t->ax[i].stride = scalar ? 0 : stride[l->label[i]];
    }
    t->node = n;
    t->graph = ev->g;
    if (n->type == DT_I32) t->type = DT_I32;
    return t;
}

tensor *tensor_of_node(evaluator *ev, ir_node *n, int rank, const axis *ax) {
    layout l;
    layout_make(ax, rank, &l);
    return layout_tensor(ev, &l, n, ax, rank);
}

// ---- leaves --------------------------------------------------------------------------------------
static void adopt_computed(tensor *t) { // another view of the same node was computed already
    if (t->node && t->node->buf && t->graph && !t->buf) {
        t->buf = t->node->buf;
        t->node = NULL;
    }
}

ir_node *tensor_node(evaluator *ev, tensor *t, span at) {
    if (t->weight) return ir_weight_node(ev->g, t->weight);
    if (t->node && t->graph == ev->g) {
        if (!ev->tracing) adopt_computed(t);
        if (t->node) return t->node;
    }
    if (t->node) tensor_force(ev, t, at); // a value from outside the function being traced
    buffer *b = t->buf;
    int64_t n = (int64_t)(b->bytes / 4);
    if (n == 0) return ir_scalar(ev->g, 0);
    tl_dtype type = t->type == DT_I32 ? DT_I32 : DT_F32;
    const void *data = b->data;
    if (ev->tracing) { // the graph outlives this program's heap
        if (b->graph != ev->g) {
            b->copy = arena_dup(ev->g->a, b->data, b->bytes ? b->bytes : 4);
            b->graph = ev->g;
        }
        data = b->copy;
    }
    return ir_const(ev->g, type, data, n);
}

// ---- computing -----------------------------------------------------------------------------------
// The part of the eager graph that `n` needs, copied: computed nodes become constants.
static ir_node *clone_node(ir_graph *to, ir_node *n, ir_node **memo) {
    if (memo[n->id]) return memo[n->id];
    ir_node *c;
    if (n->buf) {
        const buffer *b = n->buf;
        c = ir_const(to, n->type == DT_I32 ? DT_I32 : DT_F32, b->data, (int64_t)(b->bytes / 4));
    } else {
        ir_node *p = ir_proto(to, n->op, NULL, n->n_in);
        ir_edge *in = p->in;
        *p = *n;
        p->in = in;
        p->next = NULL, p->repl = NULL, p->buf = NULL;
        for (int e = 0; e < n->n_in; e++) {
            in[e] = n->in[e];
            in[e].node = clone_node(to, n->in[e].node, memo);
        }
        c = ir_intern(to, p);
    }
    return memo[n->id] = c;
}

static void dump_graph(evaluator *ev, const ir_graph *g, const plan *p) {
    sbuf b = {0};
    if (p) plan_print(p, &b);
    else ir_print(g, &b);
    if (ev->o.host.print) ev->o.host.print(ev->o.host.ctx, b.p ? b.p : "", b.n);
    sbuf_free(&b);
}

// An equation counts as a statement more for each million of its innermost operations, so that no budget is one equation long.
static void count_work(evaluator *ev, const ir_graph *g) {
    double work = 0;
    for (const ir_node *n = g->first; n; n = n->next) {
        double loops = 1;
        for (int i = n->sym ? 1 : 0; i < n->nlab; i++) loops *= (double)n->size[i];
        if (n->op == IR_LINEAR) loops *= (double)n->u.weight->cols;
        work += loops;
    }
    if (work < 1 << 20 || ev->collecting) return;
    ev->steps += work < 1e18 ? (int64_t)(work / (1 << 20)) : (int64_t)1 << 40;
    poll_budget(ev, ev->g->at);
}

static tl_status run_graph(evaluator *ev, ir_graph *g, buffer *into, tl_error *err) {
    ir_rewrite(g);
    ir_fuse_maps(g);
    TL_TRY(ir_verify(g, err));
    count_work(ev, g);
    if (ev->dump && strcmp(ev->dump, "ir") == 0) dump_graph(ev, g, NULL);
    plan *p = NULL;
    plan_stop stop = {.wanted = ev->o.host.cancelled, .ctx = ev->o.host.ctx};
    plan_limits limits = {.stop = stop.wanted ? &stop : NULL, .max_rows = 1, .max_outs = 1, .max_slots = 1, .touched = true, .max_bytes = ev->o.max_bytes};
    TL_TRY(plan_new(g, &ev->o.host.backend, &limits, &p, err));
    if (ev->dump && strcmp(ev->dump, "plan") == 0) dump_graph(ev, g, p);
    if (ev->explain) explain_graph(ev, g, p);
    plan_step step = {.rows = 1, .outs = 1};
    tl_status st = plan_run(p, &step, err);
    if (st == TL_OK) memcpy(into->data, plan_output(p, 0), into->bytes);
    plan_free(p);
    return st;
}

static void graph_drop(void *p) {
    arena_free(p);
    mem_free(p);
}

static void compute(evaluator *ev, ir_node *n, span at) {
    if (n->buf) return;
    buffer *b = buffer_new(ev, ir_elements(n, 1, 1));
    arena *a = mem_calloc(1, sizeof *a);
    temp_begin(ev, a, graph_drop);
    a->on_fail = ev->a.on_fail;
    a->fail_ctx = ev;
    ir_graph g;
    ir_init(&g, a);
    ir_node **memo = arena_array(a, ir_node *, ev->eager.n + 1);
    g.outputs[0] = clone_node(&g, n, memo);
    g.n_outputs = 1;
    ir_node *root = g.outputs[0];
    tl_error err = {0};
    tl_status st = TL_OK;
    if (ir_is_const(root) && !root->u.k.scalar) memcpy(b->data, root->u.k.data, b->bytes);
    else if (root->op == IR_CONST) *(float *)b->data = (float)root->u.k.value;
    else st = run_graph(ev, &g, b, &err);
    if (n->type == DT_I32 && root->op == IR_CONST && root->u.k.scalar) *(int32_t *)b->data = (int32_t)root->u.k.value;
    temp_end(ev, a);
    if (st != TL_OK) ev_fail_err(ev, at.src ? at : n->at, &err);
    n->buf = b;
}

void tensor_force(evaluator *ev, tensor *t, span at) {
    if (t->buf) return;
    if (t->weight) { // decoded whole: float32
        ir_weight *w = t->weight;
        buffer *b = buffer_new(ev, w->rows * w->cols);
        quant_decode(w->type, w->data, b->data, w->rows * w->cols);
        t->buf = b;
        t->weight = NULL;
        return;
    }
    if (ev->tracing && t->graph == ev->g)
        ev_fail_fix(ev, at, "a step function is traced once and then replayed: its control flow cannot depend on what it computes",
                    "the value of this tensor is not known while the function is traced");
    ir_graph *g = ev->g;
    bool tracing = ev->tracing;
    ev->g = &ev->eager;
    ev->tracing = false;
    compute(ev, t->node, at);
    ev->g = g;
    ev->tracing = tracing;
    t->buf = t->node->buf;
    t->node = NULL;
}

static void copy_strided(const tensor *t, int axis_no, int64_t from, float **to) {
    const float *src = t->buf->data;
    const int32_t *ints = t->buf->data;
    if (axis_no == t->rank) {
        *(*to)++ = t->type == DT_I32 ? (float)ints[from] : src[from];
        return;
    }
    for (int64_t i = 0; i < t->ax[axis_no].size; i++) copy_strided(t, axis_no + 1, from + i * t->ax[axis_no].stride, to);
}

float *tensor_floats(evaluator *ev, tensor *t, span at) {
    if (t->weight && tensor_elements(t) < t->weight->rows * t->weight->cols) { // a part: decode only its rows
        t = tensor_compact(ev, t, at);
    }
    tensor_force(ev, t, at);
    if (t->type != DT_I32 && tensor_contiguous(t)) return (float *)t->buf->data + t->offset;
    buffer *b = buffer_new(ev, tensor_elements(t));
    float *to = b->data;
    copy_strided(t, 0, t->offset, &to);
    return b->data;
}

double tensor_scalar(evaluator *ev, tensor *t, span at) {
    if (tensor_elements(t) != 1 || tensor_has_sym(t)) {
        char shape[200];
        ev_fail(ev, at, "a single number is needed here, this is a tensor %s", tensor_shape(t, shape, sizeof shape));
    }
    return (double)tensor_floats(ev, t, at)[0];
}

tensor *tensor_compact(evaluator *ev, tensor *t, span at) {
    bool sym_inside = false;
    for (int i = 1; i < t->rank; i++) sym_inside |= t->ax[i].sym != SYM_NONE;
    if (tensor_contiguous(t) && !t->weight && t->offset == 0 && !sym_inside) return t;
    layout l;
    layout_make(t->ax, t->rank, &l);
    ir_edge e = {.node = tensor_node(ev, t, at), .offset = t->offset};
    for (int i = 0; i < t->rank; i++) e.stride[l.label[i]] = t->ax[i].stride;
    return layout_tensor(ev, &l, ir_map(ev->g, MAP_COPY, &l.sp, &e), t->ax, t->rank);
}

// ---- values as tensors ---------------------------------------------------------------------------
static int list_shape(evaluator *ev, value v, int64_t *sizes, span at) {
    int rank = 0;
    while (v.kind == V_LIST) {
        if (rank == IR_MAX_RANK) ev_fail(ev, at, "a tensor has at most %d axes", IR_MAX_RANK);
        sizes[rank++] = (int64_t)v.list->n;
        if (!v.list->n) break;
        v = v.list->p[0];
    }
    return rank;
}

static void list_fill(evaluator *ev, value v, int depth, int rank, const int64_t *sizes, float **to, bool *ints, span at) {
    if (depth == rank) {
        if (v.kind != V_INT) *ints = false;
        *(*to)++ = (float)want_float(ev, v, at, "an element of a tensor");
        return;
    }
    if (v.kind != V_LIST || (int64_t)v.list->n != sizes[depth])
        ev_fail(ev, at, "rows of different length: %" PRId64 " elements were expected%s", sizes[depth], v.kind == V_LIST ? "" : ", found a single value");
    for (size_t i = 0; i < v.list->n; i++) list_fill(ev, v.list->p[i], depth + 1, rank, sizes, to, ints, at);
}

tensor *value_tensor(evaluator *ev, value v, span at) {
    v = settle(ev, v, at);
    if (v.kind == V_TENSOR) return v.t;
    if (v.kind == V_RELATION) return relation_tensor(ev, v.rel, at);
    if (v.kind == V_PATH) return value_tensor(ev, path_value(ev, v.path, at), at);
    if (v.kind == V_RANGE) {
        tensor *t = tensor_new(ev, 1);
        int64_t n = v.range.hi > v.range.lo ? v.range.hi - v.range.lo : 0;
        t->ax[0] = (axis){.size = n, .stride = 1};
        t->buf = buffer_new(ev, n);
        t->type = DT_I32;
        for (int64_t i = 0; i < n; i++) ((int32_t *)t->buf->data)[i] = v.range.lo + (int32_t)i;
        return t;
    }
    if (v.kind == V_INT || v.kind == V_FLOAT || v.kind == V_BOOL) {
        float f = (float)want_float(ev, v, at, "number");
        return tensor_from_floats(ev, 0, NULL, &f);
    }
    if (v.kind != V_LIST) ev_fail(ev, at, "a tensor was expected, found %s", v_names[v.kind]);
    int64_t sizes[IR_MAX_RANK];
    int rank = list_shape(ev, v, sizes, at);
    tensor *t = tensor_from_floats(ev, rank, sizes, NULL);
    float *to = t->buf->data;
    bool ints = true;
    list_fill(ev, v, 0, rank, sizes, &to, &ints, at);
    if (ints && tensor_elements(t) > 0) { // a list of integers is an int32 tensor (token ids)
        t->type = DT_I32;
        int32_t *q = t->buf->data;
        const float *f = t->buf->data;
        for (int64_t i = 0; i < tensor_elements(t); i++) q[i] = (int32_t)f[i];
    }
    return t;
}
