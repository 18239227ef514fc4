// print.c - a plan as text: stages, kernels, shapes, weights. Two programs that compute the same give the same text: kernels
// of a stage are ordered by what they compute, values are numbered in that order, and no name of the program appears.
#include <inttypes.h>

#include "plan/plan_int.h"

typedef struct printer {
    const plan *p;
    uint64_t *hash;    // [n_values] of what a value holds
    int32_t *number;   // [n_values] as printed, -1: none yet
    int32_t next;
    sbuf line;
} printer;

// ---- references ----------------------------------------------------------------------------------
static void put_value(printer *pr, int32_t v, bool hashed, sbuf *out) {
    static const char *const inputs[INPUT_COUNT] = {"tok", "pos", "seq", "slot", "out"};
    const value *x = &pr->p->values[v];
    if (x->place == V_INPUT) {
        sbuf_puts(out, inputs[x->input]);
    } else if (x->place == V_STATE) {
        sbuf_printf(out, "state(%s %lldx%lld layer %lld)", dtype_table[x->state->type].name, (long long)x->state->slots, (long long)x->state->width,
                    (long long)x->state->layer);
    } else if (hashed) {
        sbuf_printf(out, "#%016" PRIx64, pr->hash[v]);
    } else {
        sbuf_printf(out, "v%d", pr->number[v]);
    }
}

static void put_edge(printer *pr, const kernel *k, int e, bool hashed, sbuf *out) {
    const ir_node *n = k->node, *x = n->in[e].node;
    const reader *r = &k->in[e];
    if (r->kind == SRC_SCALAR) {
        sbuf_printf(out, "%.9g", (double)r->scalar);
        return;
    }
    if (x->op == IR_WEIGHT) sbuf_printf(out, "%s", x->u.weight->name ? x->u.weight->name : "?");
    else if (r->value < 0) sbuf_puts(out, "state");
    else if (pr->p->values[r->value].place == V_FIXED) sbuf_printf(out, "const[%lld]", (long long)pr->p->values[r->value].inner);
    else put_value(pr, r->value, hashed, out);
    if (r->offset) sbuf_printf(out, "+%lld", (long long)r->offset);
    sbuf_putc(out, '<');
    for (int i = 0; i < n->nlab; i++) sbuf_printf(out, "%s%lld", i ? " " : "", (long long)r->stride[i]);
    sbuf_putc(out, '>');
}

// ---- one kernel ----------------------------------------------------------------------------------
static void put_shape(const ir_node *n, sbuf *out) {
    sbuf_puts(out, "[");
    for (int i = 0; i < n->nlab; i++) {
        if (i || n->nout == 0) sbuf_puts(out, i == n->nout ? "|" : " ");
        if (i == 0 && n->sym) sbuf_putc(out, n->sym == SYM_ROWS ? 'p' : 'o');
        else sbuf_printf(out, "%lld", (long long)n->size[i]);
    }
    sbuf_puts(out, "]");
}

static void put_program(const ir_node *n, sbuf *out) {
    for (int i = 0; i < n->u.fused.n; i++) {
        const ir_fused *f = &n->u.fused.code[i];
        if (f->op == FUSED_PUSH) sbuf_printf(out, " $%d", f->arg);
        else sbuf_printf(out, " %s", map_names[f->op]);
    }
}

static void put_attributes(const kernel *k, sbuf *out) {
    const ir_node *n = k->node;
    switch (n->op) {
    case IR_MAP: sbuf_printf(out, " %s", map_names[n->sub]); break;
    case IR_FUSED: put_program(n, out); break;
    case IR_REDUCE: sbuf_printf(out, " %s", fold_names[n->sub]); break;
    case IR_TOPK: sbuf_printf(out, " %lld", (long long)n->u.topk); break;
    case IR_RMS_NORM: case IR_LAYER_NORM: sbuf_printf(out, " eps %.9g", (double)n->u.norm.eps); break;
    case IR_ROPE: sbuf_printf(out, " heads %lld rot %lld/%lld %s", (long long)n->u.rope.heads, (long long)n->u.rope.rot, (long long)n->u.rope.d, n->u.rope.interleaved ? "pairs" : "halves"); break;
    case IR_ATTENTION:
        sbuf_printf(out, " heads %d/%d dk %d dv %d scale %.9g softcap %.9g window %d causal %d", n->u.attn.heads, n->u.attn.kv_heads, n->u.attn.dk, n->u.attn.dv,
                    (double)n->u.attn.scale, (double)n->u.attn.softcap, n->u.attn.window, n->u.attn.causal);
        break;
    case IR_GATHER:
        for (int i = 0; i + 1 < n->n_in; i++) sbuf_printf(out, " *%lld<%lld", (long long)n->u.gather.gstride[i], (long long)n->u.gather.limit[i]);
        break;
    case IR_ASSEMBLE:
        for (int i = 0; i < n->n_in; i++) {
            sbuf_printf(out, " %lld:", (long long)n->u.parts.offset[i]);
            for (int j = n->sym ? 1 : 0; j < n->nout; j++)
                sbuf_printf(out, "%lld*%lld,", (long long)n->u.parts.sizes[i * n->nout + j], (long long)n->u.parts.stride[i * n->nout + j]);
        }
        break;
    case IR_SCATTER:
        sbuf_printf(out, " state(%s %lldx%lld layer %lld) slot*%lld", dtype_table[n->state2->type].name, (long long)n->state2->slots, (long long)n->state2->width,
                    (long long)n->state2->layer, (long long)n->u.gather.gstride[0]);
        break;
    default: break;
    }
}

const char *kernel_name(const kernel *k) { return k->run == run_quantize ? "QUANTIZE" : k->run == run_einsum ? "EINSUM" : ir_op_name(k->node->op); }

// The kernel's line without the value it makes; inputs as hashes or as numbers.
static void put_kernel(printer *pr, const kernel *k, bool hashed, sbuf *out) {
    sbuf_puts(out, kernel_name(k));
    sbuf_putc(out, ' ');
    put_shape(k->node, out);
    if (k->kind == K_TILE && pr->p->device) {
        const gpu_linear *l = k->args;
        const ir_weight *w = k->node->u.weight;
        sbuf_printf(out, " %s %s rows %lld+%lld (", dtype_table[w->type].name, w->name ? w->name : "?", (long long)l->row0, (long long)l->n);
        put_edge(pr, k, 0, hashed, out);
        sbuf_puts(out, ")");
        return;
    }
    if (k->kind == K_TILE) {
        const linear_args *l = k->args;
        const ir_weight *w = k->node->u.weight;
        sbuf_printf(out, " %s %s rows %lld+%lld (", dtype_table[w->type].name, w->name ? w->name : "?", (long long)l->row0, (long long)l->n);
        put_value(pr, l->x, hashed, out);
        sbuf_puts(out, ")");
        return;
    }
    if (k->run == run_quantize) {
        static const char *const kinds[ACT_KINDS] = {"f32", "bf16", "q8", "q16"};
        sbuf_printf(out, " %s", kinds[((const quant_args *)k->args)->kind]);
    } else {
        put_attributes(k, out);
    }
    if (k->node->op == IR_EMBED) sbuf_printf(out, " %s", k->node->u.weight->name ? k->node->u.weight->name : "?");
    sbuf_puts(out, " (");
    int n = k->node->op == IR_EMBED ? 1 : k->node->n_in;
    for (int e = k->node->op == IR_SCATTER ? 1 : 0; e < n; e++) {
        put_edge(pr, k, e, hashed, out);
        if (e + 1 < n) sbuf_puts(out, ", ");
    }
    sbuf_puts(out, ")");
}

// ---- order ---------------------------------------------------------------------------------------
typedef struct entry {
    const kernel *k;
    uint64_t hash;
} entry;

static int by_hash(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->k->kind != K_ROW || y->k->kind != K_ROW || x->k->sym != y->k->sym) {
        int cx = x->k->kind == K_ROW ? (int)x->k->sym : 9, cy = y->k->kind == K_ROW ? (int)y->k->sym : 9;
        if (cx != cy) return cx - cy;
    } else if (x->k->depth != y->k->depth) {
        return x->k->depth < y->k->depth ? -1 : 1;
    }
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void print_stage(printer *pr, int s, entry *entries, sbuf *out) {
    const plan *p = pr->p;
    int n = 0;
    for (int i = 0; i < p->stages[s].n; i++) {
        const item *it = &p->items[p->stages[s].first + i];
        for (int j = 0; j < it->n; j++) {
            const kernel *k = p->kernels[it->first + j];
            pr->line.n = 0;
            put_kernel(pr, k, true, &pr->line);
            entries[n] = (entry){k, str_hash((str){pr->line.p, pr->line.n})};
            if (k->out >= 0) pr->hash[k->out] = entries[n].hash;
            n++;
        }
    }
    qsort(entries, (size_t)n, sizeof *entries, by_hash);
    sbuf_printf(out, "stage %d\n", s);
    for (int i = 0; i < n; i++) {
        const kernel *k = entries[i].k;
        sbuf_puts(out, k->kind == K_ROW ? "  | " : "  ");
        if (k->out >= 0) sbuf_printf(out, "v%d = ", pr->number[k->out] = pr->next++);
        put_kernel(pr, k, false, out);
        sbuf_putc(out, '\n');
    }
}

void plan_print(const plan *p, sbuf *out) {
    printer pr = {.p = p};
    pr.hash = mem_calloc((size_t)p->n_values + 1, sizeof *pr.hash);
    pr.number = mem_calloc((size_t)p->n_values + 1, sizeof *pr.number);
    entry *entries = mem_calloc((size_t)p->n_kernels + 1, sizeof *entries);
    if (pr.hash && pr.number && entries) {
        for (int s = 0; s < p->n_stages; s++) print_stage(&pr, s, entries, out);
        for (int i = 0; i < p->n_outputs; i++) {
            sbuf_printf(out, "output %d: ", i);
            put_value(&pr, p->out_value[i], false, out);
            sbuf_putc(out, '\n');
        }
    } else {
        out->failed = true;
    }
    mem_free(pr.hash);
    mem_free(pr.number);
    mem_free(entries);
    sbuf_free(&pr.line);
}
