// maps.c - chains of elementwise nodes become one FUSED node: a postfix program over up to 8 inputs in one pass.
// A node is drawn in where it is used once, whole and in order; the iteration spaces of both are refined to labels that
// suit all inputs, so an input that is the same all along a row stays one value per row.
#include "ir/ir_int.h"

enum { MAX_INPUTS = 8, MAX_CODE = 24 };

typedef struct program {
    ir_fused code[MAX_CODE];
    int n, n_in;
    ir_edge in[MAX_INPUTS];
    ir_space sp;
    bool full;
} program;

// Labels of both spaces cut so that each label of either is a run of the result's. False: no such labels.
static bool refine(const ir_space *a, const int64_t *size, int nout, ir_space *out) {
    int64_t found[IR_MAX_LABELS], rest_a = 1, rest_b = 1;
    int first = a->sym ? 1 : 0, i = a->nout, j = nout, n = 0;
    for (;;) {
        if (rest_a == 1 && i > first) rest_a = a->size[--i];
        if (rest_b == 1 && j > first) rest_b = size[--j];
        if (rest_a == 1 && rest_b == 1) {
            if (i == first && j == first) break;
            continue; // labels of size 1
        }
        int64_t take = rest_a < rest_b ? rest_a : rest_b;
        if (take == 1 || rest_a % take || rest_b % take || n + first == IR_MAX_LABELS) return false;
        found[n++] = take;
        rest_a /= take, rest_b /= take;
    }
    *out = (ir_space){.sym = a->sym, .nlab = n + first, .nout = n + first};
    for (int l = 0; l < n; l++) out->size[first + l] = found[n - 1 - l];
    return true;
}

// Edge over n's labels as an edge over the finer labels of sp.
static ir_edge refined(const ir_node *n, const ir_edge *e, const ir_space *sp) {
    ir_edge r = {.node = e->node, .offset = e->offset};
    int first = n->sym ? 1 : 0, l = sp->nout;
    if (n->sym) r.stride[0] = e->stride[0];
    for (int i = n->nout - 1; i >= first; i--) {
        int64_t done = 1;
        while (done < n->size[i]) {
            l--;
            r.stride[l] = e->stride[i] * done;
            done *= sp->size[l];
        }
    }
    return r;
}

static void emit(program *p, int op, int arg) {
    if (p->n == MAX_CODE) p->full = true;
    else p->code[p->n++] = (ir_fused){(int16_t)op, (int16_t)arg};
}

static int input_of(program *p, const ir_node *n, const ir_edge *e) {
    ir_edge r = refined(n, e, &p->sp);
    for (int i = 0; i < p->n_in; i++)
        if (p->in[i].node == r.node && p->in[i].offset == r.offset && !memcmp(p->in[i].stride, r.stride, sizeof r.stride)) return i;
    if (p->n_in == MAX_INPUTS) {
        p->full = true;
        return 0;
    }
    p->in[p->n_in] = r;
    return p->n_in++;
}

static void emit_node(program *p, const ir_node *n) {
    if (n->op == IR_MAP) {
        for (int e = 0; e < n->n_in; e++) emit(p, FUSED_PUSH, input_of(p, n, &n->in[e]));
        emit(p, n->sub, 0);
        return;
    }
    for (int c = 0; c < n->u.fused.n; c++) {
        const ir_fused *f = &n->u.fused.code[c];
        emit(p, f->op, f->op == FUSED_PUSH ? input_of(p, n, &n->in[f->arg]) : 0);
    }
}

// Draws in the inputs of `mask`. False: labels or limits do not allow it.
static bool try_program(const ir_node *n, unsigned mask, program *p) {
    *p = (program){.sp = {.sym = n->sym, .nlab = n->nout, .nout = n->nout}};
    memcpy(p->sp.size, n->size, sizeof p->sp.size);
    for (int e = 0; e < n->n_in; e++)
        if (mask >> e & 1 && !refine(&p->sp, n->in[e].node->size, n->in[e].node->nout, &p->sp)) return false;
    for (int e = 0; e < n->n_in; e++) {
        if (mask >> e & 1) emit_node(p, n->in[e].node);
        else emit(p, FUSED_PUSH, input_of(p, n, &n->in[e]));
    }
    emit(p, n->sub, 0);
    return !p->full;
}

static ir_node *rule_maps(ir_graph *g, ir_node *n) {
    if (n->op != IR_MAP) return NULL;
    unsigned mask = 0;
    for (int e = 0; e < n->n_in; e++) {
        const ir_node *x = n->in[e].node;
        if ((x->op == IR_MAP || x->op == IR_FUSED) && ir_swallow(x) && ir_reads_whole(n, &n->in[e])) mask |= 1u << e;
    }
    program p;
    bool found = false;
    for (unsigned m = mask; m && !found; m = (m - 1) & mask) found = try_program(n, m, &p); // all first, then fewer
    if (!found) return NULL;
    ir_node *r = ir_proto(g, IR_FUSED, &p.sp, p.n_in);
    memcpy(r->in, p.in, sizeof *p.in * (size_t)p.n_in);
    r->u.fused.code = arena_dup(g->a, p.code, sizeof *p.code * (size_t)p.n);
    r->u.fused.n = p.n;
    ir_canonical(r, IR_MAX_LABELS);
    return ir_intern(g, r);
}

void ir_fuse_maps(ir_graph *g) {
    static const ir_rule rules[] = {rule_maps};
    ir_reorder(g);
    while (ir_apply(g, rules, 1)) {}
}
