// undo.c - going back to what a database held before: facts, rules, relations, members and the names of members.
//
// Rows are copied when the moment is kept; going back moves the copies in and needs memory for the map of names only.
#include "logic/impl.h"

typedef struct kept_rel {
    logic_rel *rel;
    tupset base;
    lcol *cols;
    lrule *last_rule;
    logic_fold fold;
} kept_rel;

struct logic_moment {
    int n, cap;
    kept_rel *rels;
    domain *domains;
    name_entry *names;
};

void logic_forget(logic_db *db, logic_moment *m) {
    if (!m) return;
    for (int i = 0; i < m->n; i++) {
        tupset_deinit(&m->rels[i].base);
        logic_realloc(&db->mem, m->rels[i].cols, sizeof(lcol) * (size_t)(m->rels[i].rel->arity + 1), 0);
    }
    logic_realloc(&db->mem, m->rels, sizeof *m->rels * (size_t)m->cap, 0);
    logic_realloc(&db->mem, m, sizeof *m, 0);
}

static bool keep_rel(logic_db *db, logic_rel *r, kept_rel *k) {
    *k = (kept_rel){.rel = r, .last_rule = r->last_rule, .fold = r->fold};
    tupset_init(&k->base, &db->mem, r->arity, r->base.fold, r->base.value, false);
    k->cols = logic_realloc(&db->mem, NULL, 0, sizeof(lcol) * (size_t)(r->arity + 1));
    if (!k->cols) return false;
    memcpy(k->cols, r->cols, sizeof(lcol) * (size_t)r->arity);
    return tupset_copy(&k->base, &r->base);
}

tl_status logic_keep(logic_db *db, logic_moment **out, tl_error *err) {
    *out = NULL;
    logic_moment *m = logic_realloc(&db->mem, NULL, 0, sizeof *m);
    if (!m) return mem_error(db, err);
    *m = (logic_moment){.domains = db->domains, .names = db->names};
    m->rels = logic_realloc(&db->mem, NULL, 0, sizeof *m->rels * (size_t)(db->n_rels + 1));
    if (m->rels) m->cap = db->n_rels + 1;
    bool ok = m->rels != NULL;
    for (logic_rel *r = db->rels; r && ok; r = r->next) {
        ok = keep_rel(db, r, &m->rels[m->n]);
        if (m->rels[m->n].cols) m->n++;
    }
    if (!ok) {
        logic_forget(db, m);
        return mem_error(db, err);
    }
    *out = m;
    return TL_OK;
}

// ---- going back ----------------------------------------------------------------------------------
static void drop_new(logic_db *db, const logic_moment *m) { // relations and domains made since
    while (db->n_rels > m->n) {
        logic_rel *r = db->last_rel;
        tupset_deinit(&r->base);
        if (r->rules) tupset_deinit(&r->full);
        rel_unlink(db, r);
    }
    for (; db->domains != m->domains; db->domains = db->domains->next) {
        domain *d = db->domains;
        logic_realloc(&db->mem, d->number, d->number_cap * sizeof *d->number, 0);
    }
}

static void restore(logic_rel *r, kept_rel *k) {
    tupset now = r->base; // freed with the moment
    r->base = k->base;
    k->base = now;
    memcpy(r->cols, k->cols, sizeof(lcol) * (size_t)r->arity);
    r->fold = k->fold;
    if (r->rules && !k->last_rule) {
        tupset_deinit(&r->full);
        r->full = (tupset){0};
        r->rules = NULL;
    }
    r->last_rule = k->last_rule;
    if (k->last_rule) k->last_rule->next = NULL;
    r->dirty = true;
    domain *d = r->members;
    if (!d || !d->number) return;
    memset(d->number, 0, d->number_cap * sizeof *d->number);
    for (size_t i = 0; i < r->base.n; i++) d->number[tupset_get(&r->base, i, 0)] = (uint32_t)i + 1;
}

tl_status logic_go_back(logic_db *db, logic_moment *m, tl_error *err) {
    drop_new(db, m);
    for (int i = 0; i < m->n; i++) restore(m->rels[i].rel, &m->rels[i]);
    db->dirty = db->untyped = true;
    if (db->names == m->names) return TL_OK;
    db->names = m->names;
    map_free(&db->name_map);
    db->name_map = (map){0};
    for (name_entry *e = db->names; e; e = e->next)
        if (!map_put(&db->name_map, e->name, (int64_t)(intptr_t)e)) return err_set(err, TL_E_MEMORY, "out of memory");
    return TL_OK;
}
