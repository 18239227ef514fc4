// fuse.c - rewrite rules: a group of equations becomes one fused operation where a kernel for it exists.
// Each rule looks at one node and what feeds it, and answers with a replacement or NULL. A rule applies only
// when every node that it would swallow is used here alone and is not watched (`keep`), so any value of a
// program can be observed by keeping it, without another result changing.
#include <math.h>

#include "ir/ir_int.h"

static bool swallow(const ir_node *n) { return ir_swallow(n); }

// Does edge e of node n read all of e.node in n's output order (so that flat positions agree)?
bool ir_reads_whole(const ir_node *n, const ir_edge *e) {
    const ir_node *x = e->node;
    if (e->offset || n->sym != x->sym || n->inner != x->inner) return false;
    int64_t stride = 1;
    for (int i = n->nout - 1; i >= 0; i--) {
        if (e->stride[i] != stride) return false;
        if (i > 0 || !n->sym) stride *= n->size[i];
    }
    return true;
}

static ir_node *is_map(const ir_edge *e, map_op op) { return e->node->op == IR_MAP && e->node->sub == (int)op ? e->node : NULL; }

// ---- LINEAR: sum_k W[n, k] x[p, k] ---------------------------------------------------------------
static ir_node *rule_linear(ir_graph *g, ir_node *n) {
    if (n->op != IR_EINSUM || n->nlab != n->nout + 1 || n->nout < 1 || n->nout > 2) return NULL;
    for (int side = 0; side < 2; side++) {
        const ir_edge *w = &n->in[side], *x = &n->in[1 - side];
        if (w->node->op != IR_WEIGHT || x->node->op == IR_WEIGHT || x->node->op == IR_STATE) continue;
        const ir_weight *ref = w->node->u.weight;
        int k = n->nout, col = n->nout - 1;
        if (n->size[k] != ref->cols || w->stride[k] != 1 || x->stride[k] != 1) continue;
        if (w->stride[col] != ref->cols || x->stride[col] != 0 || (col == 0 && n->sym)) continue;
        if (n->nout == 2 && w->stride[0] != 0) continue;
        if (w->offset % ref->cols || w->offset / ref->cols + n->size[col] > ref->rows) continue;
        if (x->node->type != DT_F32) continue;
        ir_space sp = {.nlab = n->nlab, .nout = n->nout, .sym = n->sym};
        memcpy(sp.size, n->size, sizeof sp.size);
        ir_node *r = ir_proto(g, IR_LINEAR, &sp, 2);
        r->in[0] = *x;
        r->in[1] = *w;
        r->u.weight = w->node->u.weight;
        return ir_intern(g, r);
    }
    return NULL;
}

// ---- EMBED: W[tok[p], k] -------------------------------------------------------------------------
static ir_node *rule_embed(ir_graph *g, ir_node *n) {
    if (n->op != IR_GATHER || n->n_in != 2 || n->in[0].node->op != IR_WEIGHT || n->nout > 2 || n->nout < 1) return NULL;
    const ir_edge *w = &n->in[0];
    const ir_weight *ref = w->node->u.weight;
    int col = n->nout - 1;
    if (w->offset || w->stride[col] != 1 || n->size[col] != ref->cols || n->u.gather.gstride[0] != ref->cols) return NULL;
    if (n->nout == 2 && (w->stride[0] || n->in[1].stride[1])) return NULL;
    if (n->in[1].node->type != DT_I32) return NULL;
    ir_space sp = {.nlab = n->nlab, .nout = n->nout, .sym = n->sym};
    memcpy(sp.size, n->size, sizeof sp.size);
    ir_node *r = ir_proto(g, IR_EMBED, &sp, 2);
    r->in[0] = n->in[1];
    r->in[1] = *w;
    r->u.weight = w->node->u.weight;
    return ir_intern(g, r);
}

// ---- RMS_NORM: x / sqrt(avg(x^2) + eps) [* w] ----------------------------------------------------
// x[.., e] / sqrt(..)[..]: e is the last label of the division.
static ir_node *rule_rms_norm(ir_graph *g, ir_node *n) {
    if (n->op != IR_MAP || n->sub != MAP_DIV || n->nout < 1) return NULL;
    const ir_edge *x = &n->in[0], *d = &n->in[1];
    int last = n->nout - 1;
    ir_node *root = is_map(d, MAP_SQRT), *sum, *avg, *sq;
    double eps;
    if (!root || !swallow(root) || d->stride[last] != 0 || (last == 0 && n->sym)) return NULL;
    if (!(sum = is_map(&root->in[0], MAP_ADD)) || !swallow(sum) || !ir_is_scalar_const(sum->in[1].node, &eps)) return NULL;
    avg = sum->in[0].node;
    if (avg->op != IR_REDUCE || avg->sub != FOLD_AVG || !swallow(avg)) return NULL;
    if (!ir_reads_whole(root, &root->in[0]) || !ir_reads_whole(sum, &sum->in[0])) return NULL;
    if (!(sq = is_map(&avg->in[0], MAP_SQUARE)) || !swallow(sq) || sq->in[0].node != x->node || !ir_reads_whole(sq, &sq->in[0])) return NULL;
    if (sq->inner != x->node->inner || avg->nlab != avg->nout + 1 || avg->size[avg->nout] != n->size[last]) return NULL;
    // The rows averaged are the rows divided: same strides into x, row by row.
    if (avg->in[0].offset != x->offset || avg->in[0].stride[avg->nout] != x->stride[last] || x->stride[last] != 1) return NULL;
    int64_t rows_n = 1, rows_avg = 1;
    for (int i = n->sym ? 1 : 0; i < last; i++) rows_n *= n->size[i];
    for (int i = avg->sym ? 1 : 0; i < avg->nout; i++) rows_avg *= avg->size[i];
    if (avg->sym != n->sym || rows_n != rows_avg || avg->nout > n->nout) return NULL;
    int64_t flat = 1; // d must read the averages in order
    for (int i = last - 1; i >= 0; i--) {
        if (d->stride[i] != flat) return NULL;
        flat *= n->size[i];
    }
    ir_space sp = {.nlab = n->nlab, .nout = n->nout, .sym = n->sym};
    memcpy(sp.size, n->size, sizeof sp.size);
    ir_node *r = ir_proto(g, IR_RMS_NORM, &sp, 1);
    r->in[0] = *x;
    r->u.norm.eps = (float)eps;
    return ir_intern(g, r);
}

// ---- LAYER_NORM: RMS_NORM of x - avg(x) [+ b] ------------------------------------------------------
static ir_node *rule_layer_norm(ir_graph *g, ir_node *n) {
    if (n->op != IR_RMS_NORM || n->nout < 1 || !ir_reads_whole(n, &n->in[0])) return NULL;
    ir_node *diff = is_map(&n->in[0], MAP_SUB), *avg;
    int last = n->nout - 1;
    if (!diff || !swallow(diff) || diff->nout != n->nout || memcmp(diff->size, n->size, sizeof *n->size * (size_t)n->nout)) return NULL;
    const ir_edge *x = &diff->in[0], *m = &diff->in[1];
    avg = m->node;
    if (avg->op != IR_REDUCE || avg->sub != FOLD_AVG || !swallow(avg) || avg->nlab != avg->nout + 1 || avg->sym != n->sym) return NULL;
    if (avg->in[0].node != x->node || avg->in[0].offset != x->offset || avg->size[avg->nout] != n->size[last]) return NULL;
    if (x->stride[last] != 1 || avg->in[0].stride[avg->nout] != 1 || m->offset || m->stride[last]) return NULL;
    if (avg->nout != last || x->node->type != DT_F32) return NULL;
    int64_t flat = 1; // row by row: the same rows of x, the averages in order
    for (int i = last - 1; i >= 0; i--) {
        if (m->stride[i] != flat || avg->in[0].stride[i] != x->stride[i] || ((i || !n->sym) && avg->size[i] != n->size[i])) return NULL;
        flat *= n->size[i];
    }
    ir_space sp = {.nlab = n->nlab, .nout = n->nout, .sym = n->sym};
    memcpy(sp.size, n->size, sizeof sp.size);
    ir_node *r = ir_proto(g, IR_LAYER_NORM, &sp, n->n_in);
    r->in[0] = *x;
    if (n->n_in == 2) r->in[1] = n->in[1];
    r->u.norm.eps = n->u.norm.eps;
    return ir_intern(g, r);
}

// Is e a row of float32 over the last label only, known before any step?
static bool is_row(const ir_node *n, const ir_edge *e) {
    int last = n->nout - 1;
    for (int i = 0; i < last; i++)
        if (e->stride[i]) return false;
    const ir_node *x = e->node;
    return e->stride[last] == 1 && !x->sym && (x->op == IR_WEIGHT || x->op == IR_CONST) && x->type == DT_F32;
}

// norm(x) * w as input `at` = 1, layer_norm(x) * w + b as input 2; w, b over the last label only
static ir_node *norm_and_row(ir_graph *g, ir_node *n, int at) {
    if (n->op != IR_MAP || n->nout < 1) return NULL;
    for (int side = 0; side < 2; side++) {
        ir_node *norm = n->in[side].node;
        bool layer = norm->op == IR_LAYER_NORM;
        if ((!layer && (norm->op != IR_RMS_NORM || at == 2)) || norm->n_in != at || !swallow(norm)) continue;
        int last = n->nout - 1;
        if (!ir_reads_whole(n, &n->in[side]) || norm->nout != n->nout || norm->size[last] != n->size[last]) continue;
        if (!is_row(n, &n->in[1 - side])) continue;
        ir_space sp = {.nlab = n->nlab, .nout = n->nout, .sym = n->sym};
        memcpy(sp.size, n->size, sizeof sp.size);
        ir_node *r = ir_proto(g, norm->op, &sp, at + 1);
        memcpy(r->in, norm->in, sizeof *r->in * (size_t)at);
        r->in[at] = n->in[1 - side];
        r->u.norm.eps = norm->u.norm.eps;
        return ir_intern(g, r);
    }
    return NULL;
}

static ir_node *rule_norm_weight(ir_graph *g, ir_node *n) { return n->sub == MAP_MUL ? norm_and_row(g, n, 1) : NULL; }
static ir_node *rule_norm_bias(ir_graph *g, ir_node *n) { return n->sub == MAP_ADD ? norm_and_row(g, n, 2) : NULL; }

// ---- ROPE ----------------------------------------------------------------------------------------
// Is part i of the 2 x 2 block at `offset`: a whole array of angles' cosines or sines?
static ir_node *rotation_part(const ir_node *r, int64_t offset, map_op fn, bool negative) {
    for (int i = 0; i < r->n_in; i++) {
        if (r->u.parts.offset[i] != offset) continue;
        ir_node *x = r->in[i].node;
        if (negative) {
            if (!(x = is_map(&r->in[i], MAP_NEG)) || !ir_reads_whole(x, &x->in[0])) return NULL;
            x = x->in[0].node;
        }
        return x->op == IR_MAP && x->sub == (int)fn ? x : NULL;
    }
    return NULL;
}

// R[p, j, 2, 2] = [[cos, -sin], [sin, cos]] of the same angles; returns the nodes.
static bool is_rotation(const ir_node *r, ir_node **cosine, ir_node **sine) {
    if (r->op != IR_ASSEMBLE || r->n_in != 4 || r->nout < 2 || r->size[r->nout - 1] != 2 || r->size[r->nout - 2] != 2) return false;
    *cosine = rotation_part(r, 0, MAP_COS, false);
    *sine = rotation_part(r, 2, MAP_SIN, false);
    if (!*cosine || !*sine || rotation_part(r, 3, MAP_COS, false) != *cosine || rotation_part(r, 1, MAP_SIN, true) != *sine) return false;
    return (*cosine)->in[0].node == (*sine)->in[0].node && (*cosine)->inner * 4 == r->inner && (*cosine)->sym == r->sym;
}

// cos and sin side by side, [p, 2, j]: one row is what the kernel reads.
static ir_node *cos_sin(ir_graph *g, ir_node *c, ir_node *s) {
    int64_t half = c->inner;
    ir_space sp = {.nlab = 0};
    if (c->sym) sp.sym = c->sym, sp.nlab++;
    sp.size[sp.nlab++] = 2;
    sp.size[sp.nlab++] = half;
    sp.nout = sp.nlab;
    ir_edge parts[2] = {{.node = c}, {.node = s}};
    int64_t offset[2] = {0, half}, stride[6], sizes[6];
    for (int i = 0; i < 2; i++) {
        int64_t *st = stride + i * sp.nout, *sz = sizes + i * sp.nout;
        int at = 0;
        if (c->sym) st[at] = 2 * half, sz[at] = 1, parts[i].stride[at] = half, at++;
        st[at] = half, sz[at] = 1, at++;
        st[at] = 1, sz[at] = half, parts[i].stride[at] = 1;
    }
    return ir_assemble(g, &sp, 2, parts, offset, stride, sizes);
}

// sum_c R[p, j, c', c] T[p, h, j, c]. Out labels: [p], [h], then (j c') interleaved or (c' j) in halves.
static ir_node *rule_rope(ir_graph *g, ir_node *n) {
    if (n->op != IR_EINSUM || n->nlab != n->nout + 1 || n->size[n->nout] != 2 || n->nout < 2) return NULL;
    for (int side = 0; side < 2; side++) {
        const ir_edge *r = &n->in[side], *t = &n->in[1 - side];
        ir_node *cosine, *sine;
        if (!is_rotation(r->node, &cosine, &sine) || r->offset || t->node->type != DT_F32 || t->node->op == IR_WEIGHT) continue;
        int k = n->nout, a = n->nout - 2, b = n->nout - 1; // a, b: the two innermost output labels
        if (r->stride[k] != 1) continue;
        bool inter = r->stride[b] == 2 && (r->stride[a] == 4 || n->size[a] == 1);
        bool halves = r->stride[a] == 2 && r->stride[b] == 4;
        if (!inter && !halves) continue;
        int cp = inter ? b : a, j = inter ? a : b;
        int64_t half = n->size[j];
        if (n->size[cp] != 2 || half != cosine->inner) continue;
        if (t->stride[cp] != 0 || t->stride[j] != (inter ? 2 : 1) || t->stride[k] != (inter ? 1 : half)) continue;
        int first = n->sym ? 1 : 0, heads_label = -1;
        if (n->nout - 2 - first > 1 || r->node->sym != n->sym) continue;
        if (n->nout - 2 - first == 1) heads_label = first;
        if (heads_label >= 0 && r->stride[heads_label] != 0) continue;
        if (n->sym && r->stride[0] != half * 4) continue;
        ir_space sp = {.nlab = 0, .sym = n->sym};
        if (n->sym) sp.nlab++;
        int64_t heads = heads_label >= 0 ? n->size[heads_label] : 1;
        sp.size[sp.nlab++] = heads * half * 2;
        sp.nout = sp.nlab;
        ir_node *cs = cos_sin(g, cosine, sine);
        ir_node *y = ir_proto(g, IR_ROPE, &sp, 2);
        y->in[0] = (ir_edge){.node = t->node, .offset = t->offset};
        y->in[0].stride[0] = n->sym ? t->stride[0] : 1;
        if (n->sym) y->in[0].stride[1] = 1;
        y->in[1] = (ir_edge){.node = cs};
        y->in[1].stride[0] = n->sym ? half * 2 : 0;
        y->u.rope.heads = heads;
        y->u.rope.head_stride = heads_label >= 0 ? t->stride[heads_label] : half * 2;
        y->u.rope.d = y->u.rope.rot = half * 2;
        y->u.rope.interleaved = inter;
        return ir_intern(g, y);
    }
    return NULL;
}

// ---- ATTENTION -----------------------------------------------------------------------------------
typedef struct mask_rule {
    const ir_edge *seq, *pos; // edges over the mask's rows
    ir_state *at;
    bool causal, owned;
    int32_t window;
} mask_rule;

static bool is_at(const ir_edge *e, mask_rule *m) { // at[s]
    if (e->node->op != IR_STATE || e->stride[1] != 1 || e->stride[0] != 0 || e->offset) return false;
    if (m->at && m->at != e->node->u.state.ref) return false;
    m->at = e->node->u.state.ref;
    return true;
}

static bool is_pos(const ir_edge *e, mask_rule *m) { // pos[p]
    if (e->node->op != IR_INPUT || e->stride[0] != 1 || e->stride[1] != 0) return false;
    if (m->pos && m->pos->node != e->node) return false;
    m->pos = e;
    return true;
}

// pos[p] - W, as SUB(pos, W) or ADD(pos, -W): an edge to a node over p alone
static bool is_pos_minus(const ir_edge *e, mask_rule *m, double *w) {
    const ir_node *x = e->node;
    if (x->op != IR_MAP || (x->sub != MAP_SUB && x->sub != MAP_ADD) || x->nout != 1 || e->stride[0] != 1 || e->stride[1]) return false;
    if (!ir_is_scalar_const(x->in[1].node, w) || !is_pos(&x->in[0], m)) return false;
    if (x->sub == MAP_ADD) *w = -*w;
    return true;
}

static bool mask_term(const ir_edge *e, mask_rule *m) {
    const ir_node *n = e->node;
    double w;
    if (n->op == IR_OWNED) {
        if (m->owned) return n->in[0].node == m->seq->node;
        m->owned = true;
        m->seq = &n->in[0];
        return true;
    }
    if (n->op != IR_MAP || n->nout != 2) return false;
    const ir_edge *a = &n->in[0], *b = &n->in[1];
    switch (n->sub) {
    case MAP_AND: return ir_reads_whole(n, a) && ir_reads_whole(n, b) && mask_term(a, m) && mask_term(b, m);
    case MAP_LE: // at <= pos, or pos - W <= at - written with strict bounds only
        if (is_at(a, m) && is_pos(b, m)) return m->causal = true;
        return false;
    case MAP_GE:
        if (is_at(b, m) && is_pos(a, m)) return m->causal = true;
        return false;
    case MAP_GT: // at > pos - W
        if (!is_at(a, m) || !is_pos_minus(b, m, &w)) return false;
        break;
    case MAP_LT: // pos - W < at
        if (!is_at(b, m) || !is_pos_minus(a, m, &w)) return false;
        break;
    default: return false;
    }
    if (w < 1 || w > INT32_MAX || m->window) return false;
    m->window = (int32_t)w;
    return true;
}

// scale and soft cap around the products: [cap * tanh(] scale * qk [/ cap)]
static const ir_node *score_scale(const ir_node *s, ir_attention *at) {
    double c, inv;
    at->scale = 1;
    if (s->op == IR_MAP && s->sub == MAP_MUL && ir_is_scalar_const(s->in[1].node, &c)) {
        const ir_node *x = s->in[0].node;
        if (x->op == IR_MAP && x->sub == MAP_TANH && swallow(x)) {
            const ir_node *d = x->in[0].node;
            if (d->op != IR_MAP || d->sub != MAP_MUL || !swallow(d) || !ir_is_scalar_const(d->in[1].node, &inv)) return NULL;
            const ir_node *y = d->in[0].node;
            double scale = inv * c; // what multiplies qk before the cap
            if (y->op == IR_MAP && y->sub == MAP_MUL && swallow(y) && ir_is_scalar_const(y->in[1].node, &scale)) y = y->in[0].node, scale *= inv * c;
            at->softcap = (float)c;
            at->scale = (float)scale;
            return y;
        }
        at->scale = (float)c;
        return x;
    }
    return s;
}

// softmax(scores)[p, h, s] V[s, g, d] summed over s, scores = q k over the head's width
static ir_node *rule_attention(ir_graph *g, ir_node *n) {
    if (n->op != IR_EINSUM || n->sym != SYM_ROWS || n->nlab != n->nout + 1) return NULL;
    const ir_edge *ea = &n->in[0], *ev = &n->in[1];
    if (ea->node->op != IR_SOFTMAX) ea = &n->in[1], ev = &n->in[0];
    ir_node *soft = ea->node;
    if (soft->op != IR_SOFTMAX || soft->n_in != 2 || !swallow(soft) || ev->node->op != IR_STATE) return NULL;
    ir_attention at = {0};
    if (!swallow(soft->in[0].node)) return NULL;
    const ir_node *qk = score_scale(soft->in[0].node, &at);
    if (!qk || qk->op != IR_EINSUM || !swallow(qk) || qk->nlab != qk->nout + 1) return NULL;
    const ir_edge *q = &qk->in[0], *k = &qk->in[1];
    if (k->node->op != IR_STATE) q = &qk->in[1], k = &qk->in[0];
    if (k->node->op != IR_STATE || q->node->op == IR_STATE || q->node->type != DT_F32) return NULL;
    // qk: [p, (g, (r,)) s | d]
    int s = qk->nout - 1, d = qk->nout, mid = qk->nout - 2; // mid: labels between p and s
    if (mid < 0 || mid > 2 || qk->sym != SYM_ROWS) return NULL;
    ir_state *ks = k->node->u.state.ref, *vs = ev->node->u.state.ref;
    at.dk = (int)qk->size[d];
    if (!ks->per_slot || !vs->per_slot || qk->size[s] != ks->slots || k->stride[s] != ks->width || k->stride[d] != 1 || q->stride[d] != 1) return NULL;
    if (q->stride[s] || k->stride[0] || k->offset) return NULL;
    int64_t groups = 1, reps = 1;
    for (int i = 1; i <= mid; i++) {
        if (k->stride[i] != 0) { // a kv head
            if (groups != 1 || reps != 1 || k->stride[i] != at.dk) return NULL;
            groups = qk->size[i];
        } else {
            reps *= qk->size[i];
        }
    }
    at.heads = (int)(groups * reps);
    at.kv_heads = (int)groups;
    int64_t flat = at.dk;
    for (int i = mid; i >= 1; i--) { // q's heads are contiguous
        if (q->stride[i] != flat) return NULL;
        flat *= qk->size[i];
    }
    // n: [p, heads.., d | s], V edge: s: width, g: dv, d: 1
    int dv = n->nout - 1, fs = n->nout;
    at.dv = (int)n->size[dv];
    if (ev->stride[dv] != 1 || ev->stride[fs] != vs->width || ev->offset || ev->stride[0]) return NULL;
    if (n->inner != (int64_t)at.heads * at.dv || groups * at.dv != vs->width || groups * at.dk != ks->width) return NULL;
    int64_t vg = 1;
    for (int i = 1; i < dv; i++)
        if (ev->stride[i]) {
            if (ev->stride[i] != at.dv || vg != 1) return NULL;
            vg = n->size[i];
        }
    if (vg != groups || ea->stride[dv]) return NULL;
    mask_rule m = {0};
    const ir_edge *mask = &soft->in[1];
    ir_edge flatmask = {.node = mask->node};
    if (mask->offset || mask->node->nout != 2 || mask->stride[soft->nout - 1] != 1 || mask->stride[0] != ks->slots) return NULL;
    for (int i = 1; i < soft->nout - 1; i++)
        if (mask->stride[i]) return NULL;
    if (!mask_term(&flatmask, &m) || !m.owned || (!m.causal && m.window)) return NULL;
    at.causal = m.causal;
    at.window = m.window;
    ir_space sp = {.nlab = 2, .nout = 2, .sym = SYM_ROWS, .size = {0, n->inner}};
    ir_node *r = ir_proto(g, IR_ATTENTION, &sp, m.pos ? 5 : 4);
    r->in[0] = (ir_edge){.node = q->node, .offset = q->offset};
    r->in[0].stride[0] = q->stride[0];
    r->in[1] = (ir_edge){.node = k->node};
    r->in[2] = (ir_edge){.node = ev->node};
    r->in[3] = *m.seq;
    if (m.pos) r->in[4] = *m.pos;
    r->u.attn = at;
    r->state2 = ks;
    r->state3 = vs;
    return ir_intern(g, r);
}

// ---- driver --------------------------------------------------------------------------------------
// Room for all nodes of the list, until the next call.
static ir_node **all_places(ir_graph *g) {
    if (g->scratch_cap < g->n) {
        g->scratch_cap = g->n + g->n / 2;
        g->scratch = arena_array(g->a, ir_node *, g->scratch_cap);
    }
    return g->scratch;
}

void ir_count_uses(ir_graph *g) {
    ir_node **order = all_places(g);
    size_t n = 0;
    for (ir_node *x = g->first; x; x = x->next) {
        x->uses = 0;
        order[n++] = x;
    }
    for (int i = 0; i < g->n_outputs; i++) g->outputs[i]->uses++;
    for (size_t i = n; i-- > 0;) {
        ir_node *x = order[i];
        if (x->op == IR_SCATTER && !x->repl) x->uses++; // an effect is live by itself
        if (x->keep && !x->repl) x->uses++;
        if (x->uses > 0)
            for (int e = 0; e < x->n_in; e++) x->in[e].node->uses++;
    }
}

static ir_node *resolve(ir_node *n) {
    while (n->repl) n = n->repl;
    return n;
}

bool ir_apply(ir_graph *g, const ir_rule *rules, size_t n_rules) {
    bool changed = false;
    ir_node *last = NULL;
    for (ir_node *x = g->first; x; x = x->next) last = x;
    for (ir_node *x = g->first; x; x = x->next) {
        bool moved = false;
        if (x->repl || x->uses == 0) {
            if (x == last) break;
            continue;
        }
        for (int e = 0; e < x->n_in; e++) moved |= x->in[e].node->repl != NULL;
        ir_node *cur = x;
        if (moved) { // x stays the node that it is, so that who reads it need not be made anew
            ir_unlist(g, x);
            for (int e = 0; e < x->n_in; e++) x->in[e].node = resolve(x->in[e].node);
            cur = ir_relist(g, x);
            if (cur != x) {
                cur->at = x->at, cur->name = x->name ? x->name : cur->name, cur->keep |= x->keep, cur->uses = x->uses;
                x->repl = cur;
            }
        }
        g->at = cur->at; // nodes that a rule makes stand where the one does that it replaces
        for (size_t r = 0; r < n_rules; r++) {
            ir_node *y = rules[r](g, cur);
            if (!y || y == cur) continue;
            y->at = cur->at, y->name = cur->name, y->keep |= cur->keep, y->uses = cur->uses;
            cur->repl = y;
            changed = true;
            break;
        }
        if (x == last) break;
    }
    for (int i = 0; i < g->n_outputs; i++) g->outputs[i] = resolve(g->outputs[i]);
    ir_reorder(g);
    return changed;
}

// Depth-first from a live root, without recursion (a graph may be deeper than the stack): `next` links the way back up,
// `hash` counts the inputs already visited; both are made anew afterwards.
static void visit(ir_node *root, ir_node ***tail, int32_t mark) {
    if (root->id == mark) return;
    root->id = mark, root->hash = 0, root->next = NULL;
    for (ir_node *x = root; x;) {
        if (x->hash < (uint64_t)x->n_in) {
            ir_edge *e = &x->in[x->hash++];
            e->node = resolve(e->node);
            if (e->node->id == mark) continue;
            e->node->id = mark, e->node->hash = 0, e->node->next = x;
            x = e->node;
            continue;
        }
        ir_node *up = x->next;
        **tail = x;
        *tail = &x->next;
        x = up;
    }
}

// `extra`: nodes that are wanted too, in the list or not.
static void reorder(ir_graph *g, ir_node *const *extra, size_t n_extra) {
    ir_node **all = all_places(g), *first = NULL, **tail = &first;
    size_t n = 0;
    for (ir_node *x = g->first; x; x = x->next) all[n++] = x;
    for (size_t i = 0; i < n; i++) {
        ir_node *r = resolve(all[i]);
        if (r->op == IR_SCATTER || r->keep) visit(r, &tail, -1);
    }
    for (int i = 0; i < g->n_outputs; i++) visit(g->outputs[i] = resolve(g->outputs[i]), &tail, -1);
    ir_node **back = tail;
    for (size_t i = 0; i < n_extra; i++) visit(resolve(extra[i]), &tail, -1);
    *tail = NULL;
    for (ir_node *x = *back; x; x = x->next) x->beside = true;
    g->first = first;
    g->tail = tail;
    g->n = 0;
    for (ir_node *x = first; x; x = x->next) n += x->beside;
    if (2 * n >= g->table_cap) {
        while (2 * n >= g->table_cap) g->table_cap *= 2;
        g->table = arena_array(g->a, ir_node *, g->table_cap);
    }
    memset(g->table, 0, sizeof *g->table * g->table_cap);
    for (ir_node *x = first; x; x = x->next) x->id = (int32_t)g->n++;
    for (ir_node *x = first; x; x = x->next) ir_rehash(g, x);
    ir_count_uses(g);
}

void ir_reorder(ir_graph *g) { reorder(g, NULL, 0); }

void ir_keep(ir_graph *g, ir_node *const *list, size_t n) {
    reorder(g, list, n);
    for (size_t i = 0; i < n; i++) resolve(list[i])->keep = true;
    ir_count_uses(g);
}

void ir_rewrite(ir_graph *g) {
    static const ir_rule first[] = {rule_linear, rule_embed, rule_rms_norm, rule_layer_norm, rule_norm_weight, rule_norm_bias, rule_rope};
    static const ir_rule second[] = {rule_attention};
    static const ir_rule third[] = {ir_rule_out_rows};
    ir_reorder(g);
    while (ir_apply(g, first, sizeof first / sizeof *first)) {}
    while (ir_apply(g, second, sizeof second / sizeof *second)) {}
    while (ir_apply(g, third, sizeof third / sizeof *third)) {}
}
