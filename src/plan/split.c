// split.c - a plan in two parts: the last layers on a device, and what comes before them, the embedding included, on the CPU as a
// plan of its own. What the device reads of the first part (the rows between two layers, angles) is copied there in each step.
//
// A node belongs to the layer of the weights or states that it reads, or to the last of its inputs' layers; so nothing of
// the first part reads anything of the second. Each part gives the bits that its backend gives.
#include "plan/plan_int.h"

bool plan_leaf(const ir_node *n) { return n->op == IR_INPUT || n->op == IR_CONST || n->op == IR_WEIGHT || n->op == IR_STATE || n->op == IR_IOTA; }

static int own_layer(const ir_node *n) {
    if (n->op == IR_STATE) return n->u.state.ref ? (int)n->u.state.ref->layer : -1;
    if (n->op == IR_WEIGHT || n->op == IR_LINEAR || n->op == IR_EMBED) return ir_layer_of_weight(n->u.weight);
    int layer = n->state2 ? (int)n->state2->layer : -1;
    return n->state3 && n->state3->layer > layer ? (int)n->state3->layer : layer;
}

// Which nodes are the device's; *layers: how many there are in all. NULL: the device does all of it.
static uint8_t *device_nodes(plan *p, int64_t *layers) {
    int32_t n = 0;
    for (const ir_node *x = p->graph->first; x; x = x->next) n = x->id >= n ? x->id + 1 : n;
    int *layer = arena_array(&p->mem, int, n + 1);
    uint8_t *mine = arena_array(&p->mem, uint8_t, n + 1);
    *layers = 0;
    for (const ir_node *x = p->graph->first; x; x = x->next) {
        layer[x->id] = own_layer(x);
        for (int e = 0; e < x->n_in; e++)
            if (layer[x->in[e].node->id] > layer[x->id]) layer[x->id] = layer[x->in[e].node->id];
        *layers = layer[x->id] + 1 > *layers ? layer[x->id] + 1 : *layers;
    }
    if (p->limits.device_layers >= *layers) return NULL;
    for (const ir_node *x = p->graph->first; x; x = x->next) mine[x->id] = layer[x->id] >= *layers - p->limits.device_layers;
    return mine;
}

static bool known(const plan *p, const ir_node *n) {
    for (int i = 0; i < p->n_passed; i++)
        if (p->passed[i] == n) return true;
    return false;
}

static tl_status no_split(const char *why, tl_error *err) {
    return err_set(err, TL_E_USAGE, "this program's layers cannot be split between a GPU and the CPU (%s): give all of them to one, without --gpu-layers", why);
}

// The nodes of the first part that the second reads.
static tl_status find_passed(plan *p, tl_error *err) {
    int n = 0;
    for (const ir_node *x = p->graph->first; x; x = x->next) n++;
    p->passed = arena_array(&p->mem, const ir_node *, n + 1);
    for (int i = 0; i < p->graph->n_outputs; i++)
        if (!p->mine[p->graph->outputs[i]->id] || plan_leaf(p->graph->outputs[i])) return no_split("a result does not come from the last of them", err);
    const uint8_t *live = plan_live(p);
    for (const ir_node *x = p->graph->first; x; x = x->next) {
        if (!live[x->id] || !p->mine[x->id] || plan_leaf(x)) continue;
        for (int e = 0; e < x->n_in; e++) {
            const ir_node *y = x->in[e].node;
            if (plan_leaf(y) || p->mine[y->id] || known(p, y)) continue;
            if (y->op == IR_SCATTER) return no_split("they share a state", err);
            p->passed[p->n_passed++] = y;
        }
    }
    return TL_OK;
}

tl_status plan_split(plan *p, const plan_backend *b, tl_error *err) {
    int64_t layers;
    uint8_t *mine = device_nodes(p, &layers);
    if (!mine) return TL_OK;
    p->mine = mine;
    TL_TRY(find_passed(p, err));
    int32_t n = 0;
    for (const ir_node *x = p->graph->first; x; x = x->next) n = x->id >= n ? x->id + 1 : n;
    uint8_t *others = arena_array(&p->mem, uint8_t, n + 1);
    for (int32_t i = 0; i < n; i++) others[i] = !mine[i];
    plan_backend cpu = *b;
    cpu.device = NULL;
    plan_limits limits = p->limits;
    limits.device_layers = 0;
    const plan_part part = {others, p->passed, p->n_passed};
    return plan_new_part(p->graph, &cpu, &limits, &part, &p->front, err);
}

bool plan_is_split(const plan *p) { return p->front != NULL; }

tl_status plan_pass(plan *p, tl_error *err) {
    for (int i = 0; i < p->n_passed; i++) {
        const plan *f = p->front;
        const value *v = &f->values[f->pass_value[i]];
        size_t bytes = (size_t)sym_rows(f, v->sym, 1) * (size_t)v->inner * 4;
        TL_TRY(cuda_upload(p->device, p->base[p->pass_value[i]], f->base[f->pass_value[i]], bytes, err));
    }
    return TL_OK;
}
