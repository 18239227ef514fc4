// state.c - state tensors while a step function is traced: members, sizes, versions.
#include <inttypes.h>

#include "eval/value.h"

// A name is the slots' index if a relation of the same file gives it the type `slot`, or if it is called so.
static bool is_slot_name(const v_statedecl *d, str name) {
    if (str_is(name, "slot")) return true;
    for (const ast_stmt *s = d->unit ? d->unit->prog->items : NULL; s; s = s->next) {
        if (s->kind != ST_RELATION) continue;
        for (const ast_param *p = s->params; p; p = p->next)
            if (p->type && str_is(p->type->name, "slot") && str_eq(p->name, name)) return true;
    }
    return false;
}

int state_family_axes(evaluator *ev, v_statedecl *d) {
    int i = 0;
    for (const ast_size *s = d->def->type->sizes; s; s = s->next, i++)
        if (s->kind == SZ_NAME && is_slot_name(d, s->name)) {
            if (i > 1) ev_fail(ev, s->at, "at most one axis may stand before the slots: the index of a layer");
            return i;
        }
    ev_fail_fix(ev, d->def->at, "relation Owns(q: seq, s: slot) makes s the index of slots", "none of the axes of the state '%.*s' runs over the cache's slots",
                (int)d->def->head.name.n, d->def->head.name.p);
}

static ev_state *find(evaluator *ev, v_statedecl *d, int64_t layer) {
    for (ev_state *s = ev->states; s; s = s->next)
        if (s->decl == d && s->ir.layer == layer) return s;
    return NULL;
}

int state_axes(evaluator *ev, v_statedecl *d, int64_t layer, axis *ax) {
    int skip = state_family_axes(ev, d), n = 0, i = 0;
    const ev_state *st = find(ev, d, layer);
    const unit *cur = ev->cur;
    for (const ast_size *s = d->def->type->sizes; s; s = s->next, i++) {
        if (i < skip) continue;
        axis *a = &ax[n];
        *a = (axis){.size = s->kind == SZ_INT ? s->n : -1, .dim_at = s->at};
        if (s->kind == SZ_NAME) {
            ev->cur = d->unit;
            dim_entry *e = dim_find(ev, intern(ev, s->name));
            ev->cur = cur;
            a->dim = intern(ev, s->name);
            if (e) a->size = e->size, a->dim_decl = e->decl;
        }
        if (n == 0 && ev->trace) a->size = ev->trace->n_ctx;
        if (st) a->size = st->size[n];
        n++;
    }
    int64_t stride = 1;
    for (int k = n - 1; k >= 0; k--) {
        ax[k].stride = stride;
        stride *= ax[k].size > 0 ? ax[k].size : 1;
    }
    return n;
}

void state_sizes(evaluator *ev, v_statedecl *d, int64_t layer, const int64_t *sizes, span at) {
    if (find(ev, d, layer)) return;
    axis ax[IR_MAX_RANK];
    int n = state_axes(ev, d, layer, ax);
    ev_state *st = arena_new(ev->trace->a, ev_state);
    int64_t width = 1;
    for (int i = 0; i < n; i++) {
        st->size[i] = ax[i].size >= 0 ? ax[i].size : sizes[i];
        if (st->size[i] < 0) ev_fail(ev, at, "the size of axis %d of the state '%.*s' is not known", i, (int)d->def->head.name.n, d->def->head.name.p);
        if (i) width *= st->size[i];
    }
    st->decl = d;
    st->ir = (ir_state){.name = intern(ev, d->def->head.name), .type = d->type, .slots = st->size[0], .width = width, .layer = layer, .per_slot = true};
    st->ir.width0 = n > 1 && st->size[1] > 0 ? width / st->size[1] : width;
    bool real = d->type == DT_F16 || d->type == DT_F32 || d->type == DT_BF16 || d->type == DT_Q8_0 || d->type == DT_Q4_0;
    if (real && n > 1 && ev->trace->cache_type != DT_COUNT) st->ir.type = ev->trace->cache_type;
    size_t bytes;
    if (!dtype_bytes(st->ir.type, width, &bytes)) ev_fail(ev, at, "the state '%s' has rows of %" PRId64 " values, which %s cannot hold", st->ir.name, width, dtype_table[st->ir.type].name);
    st->ir.slot_bytes = bytes;
    int64_t id = 0;
    ev_state **tail = &ev->states;
    for (; *tail; tail = &(*tail)->next) id++;
    st->ir.id = id;
    *tail = st;
}

ir_node *state_current(evaluator *ev, v_statedecl *d, int64_t layer, span at, ev_state **out) {
    if (!ev->tracing) ev_fail(ev, at, "the state '%.*s' exists only inside a model's step function", (int)d->def->head.name.n, d->def->head.name.p);
    int64_t none[IR_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    state_sizes(ev, d, layer, none, at);
    ev_state *st = find(ev, d, layer);
    if (out) *out = st;
    return ir_state_node(ev->g, &st->ir, st->version);
}

void state_advance(ev_state *s) { s->version++; }
