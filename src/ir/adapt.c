// adapt.c - see adapt.h.
#include "ir/adapt.h"

#include "ir/ir_int.h"

static ir_space space_of(const ir_node *x, int64_t columns, int64_t folded) { // x's rows, then other columns
    ir_space sp = {.nlab = x->nout + (folded > 0), .nout = x->nout, .sym = x->sym};
    memcpy(sp.size, x->size, sizeof sp.size);
    sp.size[x->nout - 1] = columns;
    if (folded > 0) sp.size[x->nout] = folded;
    return sp;
}

// Rows [row0, row0 + n) of w times what `from` reads.
static ir_node *product(ir_graph *g, const ir_node *x, ir_weight *w, int64_t row0, int64_t n, const ir_edge *from) {
    ir_space sp = space_of(x, n, w->cols);
    ir_node *r = ir_proto(g, IR_LINEAR, &sp, 2);
    r->in[0] = *from;
    r->in[1] = (ir_edge){.node = ir_weight_node(g, w), .offset = row0 * w->cols};
    r->in[1].stride[x->nout - 1] = w->cols;
    r->in[1].stride[x->nout] = 1;
    r->u.weight = w;
    return ir_intern(g, r);
}

static ir_node *lookup(ir_graph *g, const ir_node *x, ir_weight *w) {
    ir_space sp = space_of(x, w->cols, 0);
    ir_node *r = ir_proto(g, IR_EMBED, &sp, 2);
    r->in[0] = x->in[0];
    r->in[1] = (ir_edge){.node = ir_weight_node(g, w)};
    r->in[1].stride[x->nout - 1] = 1;
    r->u.weight = w;
    return ir_intern(g, r);
}

// x + scale B (A ..)
static ir_node *changed(ir_graph *g, ir_node *x, ir_node *base, const ir_adapter *a) {
    bool table = x->op == IR_EMBED;
    int col = x->nout - 1;
    int64_t rank = a->b->cols;
    ir_node *inner = table ? lookup(g, x, a->a) : product(g, x, a->a, 0, rank, &x->in[0]);
    ir_edge from = {.node = inner};
    if (col > 0) from.stride[0] = rank;
    from.stride[x->nout] = 1;
    int64_t row0 = table ? 0 : x->in[1].offset / x->u.weight->cols;
    ir_node *outer = product(g, x, a->b, row0, x->size[col], &from);
    ir_space sp = space_of(x, x->size[col], 0);
    ir_edge scaled[2] = {ir_whole(outer), {.node = ir_scalar(g, a->scale)}};
    ir_edge sum[2] = {ir_whole(base), {0}};
    sum[1] = ir_whole(ir_map(g, MAP_MUL, &sp, scaled));
    return ir_map(g, MAP_ADD, &sp, sum);
}

// x's product as a node of its own. x then becomes what the adapters make of it, for all that reads x or is named by it.
static ir_node *product_of(ir_graph *g, const ir_node *x) {
    ir_node *n = arena_array(g->a, ir_node, 1);
    *n = *x;
    n->adapted = true, n->keep = false, n->next = NULL;
    n->id = (int32_t)g->n++;
    *g->tail = n, g->tail = &n->next;
    return n;
}

static void become(ir_node *x, const ir_node *y) {
    ir_node was = *x;
    *x = *y;
    x->id = was.id, x->next = was.next, x->keep = was.keep, x->beside = was.beside, x->at = was.at, x->name = was.name, x->hash = was.hash;
}

static tl_status check_use(const ir_node *x, const ir_adapter *list, size_t n, tl_error *err) {
    for (int e = 0; e < x->n_in; e++)
        for (size_t i = 0; i < n && x->in[e].node->op == IR_WEIGHT; i++) {
            if (list[i].of != x->in[e].node->u.weight) continue;
            if ((x->op == IR_LINEAR && !list[i].table) || (x->op == IR_EMBED && list[i].table)) continue;
            return err_set(err, TL_E_UNSUPPORTED, "an adapter changes %s%s, and the program uses it %s", list[i].of->name, list[i].table ? " as a table of rows" : " as a matrix",
                           x->op == IR_LINEAR ? "as a matrix" : x->op == IR_EMBED ? "as a table of rows" : "in another way than in a product");
        }
    return TL_OK;
}

tl_status ir_adapt(ir_graph *g, ir_adapter *list, size_t n, tl_error *err) {
    if (n == 0) return TL_OK;
    size_t n_nodes = 0;
    for (ir_node *x = g->first; x; x = x->next) n_nodes++;
    ir_node **all = arena_array(g->a, ir_node *, n_nodes ? n_nodes : 1);
    n_nodes = 0;
    for (ir_node *x = g->first; x; x = x->next) all[n_nodes++] = x;
    for (size_t k = 0; k < n_nodes; k++) {
        ir_node *x = all[k], *y = NULL;
        TL_TRY(check_use(x, list, n, err));
        g->at = x->at;
        for (size_t i = 0; i < n && !x->adapted && (x->op == IR_LINEAR || x->op == IR_EMBED); i++) {
            if (list[i].of != x->u.weight) continue;
            list[i].used = true;
            y = changed(g, x, y ? y : product_of(g, x), &list[i]);
        }
        if (y) become(x, y);
    }
    ir_reorder(g);
    return TL_OK;
}
