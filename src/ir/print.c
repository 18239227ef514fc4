// print.c - the graph as text, one node a line: for messages, tests and `--dump-ir`.
#include "ir/ir.h"

static void print_size(const ir_node *n, int label, sbuf *out) {
    if (label == 0 && n->sym) sbuf_putc(out, n->sym == SYM_ROWS ? 'p' : 'o');
    else sbuf_printf(out, "%lld", (long long)n->size[label]);
}

static void print_space(const ir_node *n, sbuf *out) {
    sbuf_puts(out, "[");
    for (int i = 0; i < n->nlab; i++) {
        if (i) sbuf_puts(out, i == n->nout ? " | " : ", ");
        else if (n->nout == 0) sbuf_puts(out, "| ");
        print_size(n, i, out);
    }
    sbuf_puts(out, "]");
}

static void print_edge(const ir_node *n, const ir_edge *e, sbuf *out) {
    double v;
    if (ir_is_scalar_const(e->node, &v)) {
        sbuf_printf(out, "%.9g", v);
        return;
    }
    sbuf_printf(out, "%%%d", e->node->id);
    if (e->offset) sbuf_printf(out, "+%lld", (long long)e->offset);
    sbuf_puts(out, "<");
    for (int i = 0; i < n->nlab; i++) sbuf_printf(out, "%s%lld", i ? " " : "", (long long)e->stride[i]);
    sbuf_puts(out, ">");
}

static void print_attr(const ir_node *n, sbuf *out) {
    static const char *const inputs[INPUT_COUNT] = {"tok", "pos", "seq", "slot", "out"};
    switch (n->op) {
    case IR_INPUT: sbuf_printf(out, " %s", inputs[n->sub]); break;
    case IR_CONST:
        if (n->u.k.scalar) sbuf_printf(out, " %.9g", n->u.k.value);
        break;
    case IR_WEIGHT: case IR_LINEAR: case IR_EMBED: sbuf_printf(out, " %s", n->u.weight->name ? n->u.weight->name : "?"); break;
    case IR_STATE: sbuf_printf(out, " %s layer %lld version %d", n->u.state.ref->name, (long long)n->u.state.ref->layer, n->u.state.version); break;
    case IR_SCATTER: sbuf_printf(out, " %s layer %lld slot*%lld", n->state2->name, (long long)n->state2->layer, (long long)n->u.gather.gstride[0]); break;
    case IR_MAP: sbuf_printf(out, " %s", map_names[n->sub]); break;
    case IR_REDUCE: sbuf_printf(out, " %s", fold_names[n->sub]); break;
    case IR_GATHER:
        for (int i = 0; i < n->n_in - 1; i++) sbuf_printf(out, " *%lld<%lld", (long long)n->u.gather.gstride[i], (long long)n->u.gather.limit[i]);
        break;
    case IR_TOPK: sbuf_printf(out, " %lld", (long long)n->u.topk); break;
    case IR_RMS_NORM: case IR_LAYER_NORM: sbuf_printf(out, " eps %.9g", (double)n->u.norm.eps); break;
    case IR_ROPE:
        sbuf_printf(out, " heads %lld of %lld, %lld rotated %s", (long long)n->u.rope.heads, (long long)n->u.rope.d, (long long)n->u.rope.rot,
                    n->u.rope.interleaved ? "in pairs" : "in halves");
        break;
    case IR_ATTENTION:
        sbuf_printf(out, " heads %d/%d dk %d dv %d scale %.9g", n->u.attn.heads, n->u.attn.kv_heads, n->u.attn.dk, n->u.attn.dv, (double)n->u.attn.scale);
        if (n->u.attn.softcap != 0) sbuf_printf(out, " softcap %.9g", (double)n->u.attn.softcap);
        if (n->u.attn.window) sbuf_printf(out, " window %d", n->u.attn.window);
        if (n->u.attn.causal) sbuf_puts(out, " causal");
        break;
    case IR_FUSED:
        for (int i = 0; i < n->u.fused.n; i++) {
            const ir_fused *f = &n->u.fused.code[i];
            if (f->op == FUSED_PUSH) sbuf_printf(out, " $%d", f->arg);
            else sbuf_printf(out, " %s", map_names[f->op]);
        }
        break;
    default: break;
    }
}

void ir_print_node(const ir_node *n, sbuf *out) {
    sbuf_printf(out, "%%%d = %s ", n->id, ir_op_name(n->op));
    if (n->type != DT_F32) sbuf_printf(out, "%s ", dtype_table[n->type].name);
    print_space(n, out);
    print_attr(n, out);
    for (int e = 0; e < n->n_in; e++) {
        sbuf_puts(out, e ? ", " : " (");
        print_edge(n, &n->in[e], out);
        if (n->op != IR_ASSEMBLE) continue;
        sbuf_printf(out, " at %lld", (long long)n->u.parts.offset[e]);
        for (int i = 0; i < n->nout; i++) {
            sbuf_printf(out, "%s%lld*%lld", i ? " " : ":", (long long)n->u.parts.sizes[e * n->nout + i], (long long)n->u.parts.stride[e * n->nout + i]);
        }
    }
    if (n->n_in) sbuf_puts(out, ")");
    if (n->keep) sbuf_puts(out, " keep");
    if (n->name && n->op != IR_WEIGHT && n->op != IR_STATE) sbuf_printf(out, "  ; %s", n->name);
}

void ir_print(const ir_graph *g, sbuf *out) {
    for (const ir_node *n = g->first; n; n = n->next) {
        ir_print_node(n, out);
        sbuf_putc(out, '\n');
    }
    for (int i = 0; i < g->n_outputs; i++) sbuf_printf(out, "output %d: %%%d\n", i, g->outputs[i]->id);
}
