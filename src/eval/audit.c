// audit.c - what a model's program wants of its file and does not get, all of it, where running stops at the first.
#include "eval/value.h"

typedef struct audit_job {
    int64_t layers;
    void (*each)(void *ctx, const ev_want *want);
    void *ctx;
    v_family *f;   // of the member being looked at
    int64_t key;
} audit_job;

static void look(evaluator *ev, void *ctx) {
    audit_job *j = ctx;
    (void)family_member(ev, j->f, &j->key, j->f->def->head.at);
}

static void write_name(evaluator *ev, void *ctx) {
    audit_job *j = ctx;
    sbuf b = {0};
    const char *name = intern(ev, str_of(family_member_name(ev, j->f, &j->key, &b)));
    sbuf_free(&b);
    j->ctx = (void *)name;
}

static tl_status look_at_family(evaluator *ev, const audit_job *all, v_family *f, tl_error *err) {
    for (int64_t i = 0; i < all->layers; i++) {
        audit_job j = {.f = f, .key = i}, named = j;
        tl_error wrong = {0};
        tl_status status = ev_guarded(ev, look, &j, &wrong);
        if (status == TL_OK) continue;
        if (status == TL_E_MEMORY || ev_guarded(ev, write_name, &named, err) != TL_OK) return err_set(err, TL_E_MEMORY, "out of memory");
        const char *name = named.ctx;
        ev_want want = {.at = f->name->at.src ? f->name->at : f->def->at, .name = name, .message = wrong.message};
        want.missing = gguf_tensor_find(f->model->file, str_of(name)) == NULL;
        all->each(all->ctx, &want);
    }
    return TL_OK;
}

tl_status ev_audit(evaluator *ev, int64_t layers, void (*each)(void *ctx, const ev_want *want), void *ctx, tl_error *err) {
    audit_job j = {.layers = layers, .each = each, .ctx = ctx};
    for (size_t i = 0; i < ev->global->n; i++) {
        value v = ev->global->p[i].v;
        if (v.kind == V_FAMILY && v.family->n_keys == 1) TL_TRY(look_at_family(ev, &j, v.family, err));
    }
    return TL_OK;
}

// Units are kept with the latest first.
const source *ev_source(const evaluator *ev, size_t i, bool *main) {
    size_t n = 0;
    for (const unit *u = ev->units; u; u = u->next) n++;
    if (i >= n) return NULL;
    const unit *u = ev->units;
    for (size_t k = n - 1; k > i; k--) u = u->next;
    *main = i > 0 && !u->imported_by_stmt;
    return &u->src;
}
