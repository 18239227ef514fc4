// family.c - axes named by let heads, dims and their sizes, families of stored tensors.
#include <inttypes.h>

#include "eval/value.h"
#include "eval/watch.h"

// ---- dims ----------------------------------------------------------------------------------------
const ast_stmt *dim_decl_of(evaluator *ev, const char *name) {
    dim_entry *d = dim_find(ev, name);
    return d ? d->decl : NULL;
}

bool dim_learn(evaluator *ev, str name, int64_t size, span at, const char *what) {
    dim_entry *d = dim_put(ev, intern(ev, name));
    if (d->size == size) return false;
    if (d->size < 0) {
        d->size = size;
        d->at = at;
        return true;
    }
    diag *g = ev_diag(ev, at, "dim '%s' has two sizes: %" PRId64 " and %" PRId64 " (%s)", d->name, d->size, size, what);
    if (d->at.src) diag_note(&ev->dl, g, d->at, "size %" PRId64 " comes from here", d->size);
    ev_throw(ev);
}

// ---- naming axes -----------------------------------------------------------------------------------
static const ast_index *skip_index(const ast_index *ix, int n) {
    while (ix && n-- > 0) ix = ix->next;
    return ix;
}

static void name_axis(evaluator *ev, axis *a, str name, span at, bool learn) {
    a->dim = intern(ev, name);
    a->dim_at = at;
    char what[80];
    snprintf(what, sizeof what, "this axis");
    const ast_stmt *decl = dim_decl_of(ev, a->dim);
    if (learn || decl) (void)dim_learn(ev, name, a->size, at, what);
    a->dim_decl = dim_decl_of(ev, a->dim);
}

// Splits one axis by a composite's names. False: two sizes or more are unknown.
static bool split_axis(evaluator *ev, const axis *from, const ast_index *ix, axis *out, int *n, bool must) {
    const ast_expr *names[IR_MAX_RANK], *open = NULL;
    int count = 0, unknown = -1;
    int64_t rest = 1, size[IR_MAX_RANK];
    for (const ast_expr *nm = ix->names; nm; nm = nm->next) {
        if (count == IR_MAX_RANK) ev_fail(ev, ix->at, "too many indices");
        dim_entry *d = dim_find(ev, intern(ev, nm->name));
        size[count] = d ? d->size : -1;
        if (size[count] >= 0) {
            rest *= size[count];
        } else if (unknown >= 0) {
            if (must) ev_fail_fix(ev, ix->at, "declare them: dim NAME = SIZE", "the sizes of '%.*s' and '%.*s' are both unknown", (int)open->name.n, open->name.p, (int)nm->name.n, nm->name.p);
            return false;
        } else {
            unknown = count;
            open = nm;
        }
        names[count++] = nm;
    }
    if (rest == 0 || from->size % rest || (unknown < 0 && from->size != rest))
        ev_fail(ev, ix->at, "these indices have %" PRId64 " positions together, the axis has %" PRId64, rest, from->size);
    if (unknown >= 0) size[unknown] = from->size / rest;
    int64_t stride = from->stride;
    for (int i = count - 1; i >= 0; i--) {
        axis *a = &out[*n + i];
        *a = (axis){.size = size[i], .stride = stride};
        stride *= size[i];
        name_axis(ev, a, names[i]->name, names[i]->at, true);
    }
    *n += count;
    return true;
}

tensor *name_axes(evaluator *ev, tensor *t, const ast_stmt *s, int first, bool must) {
    axis ax[2 * IR_MAX_RANK];
    int n = 0, from = 0, given = 0;
    bool learn = s->expr->kind == EX_CALL && s->expr->kids->kind == EX_NAME && str_is(s->expr->kids->name, "get_tensor");
    const ast_index *list = skip_index(s->head.index, first);
    for (const ast_index *ix = list; ix; ix = ix->next) given++;
    if (given != t->rank) {
        char shape[160];
        ev_fail(ev, s->head.at, "'%.*s' is stored as %s, which has %d axes; %d are named", (int)s->head.name.n, s->head.name.p,
                tensor_shape(t, shape, sizeof shape), t->rank, given);
    }
    for (const ast_index *ix = list; ix; ix = ix->next, from++) {
        if (n + IR_MAX_RANK > 2 * IR_MAX_RANK && ix->kind == IX_COMPOSITE) ev_fail(ev, ix->at, "a tensor has at most %d axes", IR_MAX_RANK);
        if (ix->kind == IX_COMPOSITE) {
            if (!split_axis(ev, &t->ax[from], ix, ax, &n, must)) return NULL;
        } else if (ix->kind == IX_EXPR && ix->expr->kind == EX_NAME) {
            ax[n] = t->ax[from];
            name_axis(ev, &ax[n++], ix->expr->name, ix->at, learn);
        } else {
            ev_fail(ev, ix->at, "an index name was expected");
        }
    }
    if (n > IR_MAX_RANK) ev_fail(ev, s->head.at, "a tensor has at most %d axes", IR_MAX_RANK);
    tensor *r = tensor_dup(ev, t);
    r->rank = n;
    memcpy(r->ax, ax, sizeof *ax * (size_t)n);
    return r;
}

// ---- stored tensors ------------------------------------------------------------------------------
// The named tensor with its axes in stored order, slowest first; NULL if the file has none (or it is unusable).
tensor *stored_tensor(evaluator *ev, ev_model *m, str name) {
    const gguf_tensor *g = gguf_tensor_find(m->file, name);
    if (!g || (m->repaired && str_is(name, "output.weight"))) return NULL;
    tensor *t = tensor_new(ev, g->rank);
    int64_t stride = 1;
    for (int i = 0; i < g->rank; i++) {
        t->ax[g->rank - 1 - i] = (axis){.size = g->ne[i], .stride = stride};
        stride *= g->ne[i];
    }
    t->weight = &m->weights[g - gguf_tensor_at(m->file, 0)];
    t->name = t->weight->name;
    t->weight->asked = true;
    return t;
}

_Noreturn void no_such_tensor(evaluator *ev, ev_model *m, str name, span at) {
    char buf[200], fix[260];
    size_t n = gguf_n_tensors(m->file);
    str *names = arena_array(&ev->dl_arena, str, n ? n : 1);
    for (size_t i = 0; i < n; i++) names[i] = gguf_tensor_at(m->file, i)->name;
    const char *near = diag_nearest(name, names, n, buf, sizeof buf);
    if (near) snprintf(fix, sizeof fix, "did you mean \"%s\"? (tl inspect --tensors lists them)", near);
    else snprintf(fix, sizeof fix, "tl inspect --tensors lists the tensors; a third argument of get_tensor is used where there is none");
    ev_fail_fix(ev, at, fix, "the model has no tensor \"%.*s\"", (int)name.n, name.p);
}

static bool is_get_tensor(const ast_expr *e) {
    return e->kind == EX_CALL && e->kids->kind == EX_NAME && str_is(e->kids->name, "get_tensor") && (e->n_kids == 3 || e->n_kids == 4);
}

static int key_number(const v_family *f, str name) {
    for (int i = 0; i < f->n_keys; i++)
        if (str_eq(str_of(f->key[i]), name)) return i;
    return -1;
}

char *family_member_name(evaluator *ev, v_family *f, const int64_t *key, sbuf *b) {
    for (const ast_expr *k = f->name->kids; k; k = k->next) {
        int i = k->kind == EX_NAME ? key_number(f, k->name) : -1;
        if (i >= 0) sbuf_printf(b, "%" PRId64, key[i]);
        else if (k->kind == EX_STRING && !k->kids) sbuf_put(b, k->name.p, k->name.n);
        else v_print(ev, eval(ev, k), b, false);
    }
    return b->p;
}

static value member(evaluator *ev, v_family *f, const int64_t *key, span at, bool must) {
    sbuf *b = text_begin(ev);
    (void)family_member_name(ev, f, key, b);
    value name = text_value(ev, b);
    value *old = map_find(f->members, name);
    if (old) return *old;
    const unit *cur = ev->cur;
    ev->cur = f->unit;
    tensor *t = stored_tensor(ev, f->model, v_text(name));
    value v = f->otherwise;
    if (!t && v.kind == V_NONE) no_such_tensor(ev, f->model, v_text(name), f->name->at.src ? f->name->at : at);
    if (t) {
        t = name_axes(ev, t, f->def, f->n_keys, must);
        v = t ? v_of_tensor(t) : v_none();
    }
    ev->cur = cur;
    if (v.kind != V_NONE) map_set(ev, f->members, name, v);
    return v;
}

value family_member(evaluator *ev, v_family *f, const int64_t *key, span at) { return member(ev, f, key, at, true); }

// Finds the names in the string's braces that have no value: the keys, which must be the head's first axes.
static int find_keys(evaluator *ev, const ast_stmt *s, const ast_expr *name, const char **key) {
    int n = 0;
    for (const ast_expr *k = name->kids; k; k = k->next) {
        if (k->kind != EX_NAME || find_name(ev, k->name)) continue;
        const ast_index *ix = skip_index(s->head.index, n);
        if (n == 4 || !ix || ix->kind != IX_EXPR || ix->expr->kind != EX_NAME || !str_eq(ix->expr->name, k->name))
            ev_fail(ev, k->at, "'%.*s' picks a tensor of a family: it must stand among the first indices of the left side", (int)k->name.n, k->name.p);
        key[n++] = intern(ev, k->name);
    }
    return n;
}

static bool let_family(evaluator *ev, const ast_stmt *s, ev_model *m, const ast_expr *name, int n_keys, const char **key, value otherwise, bool must) {
    v_family *f = heap_new(ev, sizeof *f, V_FAMILY);
    f->def = s, f->name = name, f->model = m, f->otherwise = otherwise, f->n_keys = n_keys, f->unit = ev->cur;
    memcpy(f->key, key, sizeof *key * (size_t)n_keys);
    f->members = v_map_new(ev).map;
    int64_t zero[4] = {0};
    value first = member(ev, f, zero, s->head.at, must);
    if (first.kind == V_NONE) return false;
    if (n_keys == 1 && first.kind == V_TENSOR) { // how many there are
        dim_entry *d = dim_put(ev, key[0]);
        int64_t n = 1;
        for (;; n++) {
            sbuf *b = text_begin(ev);
            (void)family_member_name(ev, f, &n, b);
            bool there = gguf_tensor_find(m->file, (str){b->p, b->n}) != NULL;
            text_end(ev, b);
            if (!there) break;
        }
        if (d->size < 0) d->size = n, d->at = s->head.at;
    }
    env_put(ev, ev->scope, s->head.name, (value){.kind = V_FAMILY, .family = f}, s->head.at);
    return true;
}

static bool try_let(evaluator *ev, const ast_stmt *s, bool must) {
    const ast_expr *e = s->expr;
    value v;
    if (is_get_tensor(e)) {
        value model = eval(ev, e->kids->next);
        if (model.kind != V_MODEL) ev_fail(ev, e->kids->next->at, "get_tensor needs a model first, found %s", v_names[model.kind]);
        const ast_expr *name = e->kids->next->next, *other = name->next;
        value otherwise = other ? eval(ev, other) : v_none();
        const char *key[4];
        int n_keys = name->kind == EX_STRING ? find_keys(ev, s, name, key) : 0;
        if (n_keys) return let_family(ev, s, model.model, name, n_keys, key, otherwise, must);
        value text = eval(ev, name);
        tensor *t = stored_tensor(ev, model.model, want_str(ev, text, name->at, "a tensor's name"));
        if (!t && !other) no_such_tensor(ev, model.model, v_text(text), name->at);
        v = t ? v_of_tensor(t) : otherwise;
    } else {
        v = settle(ev, eval(ev, e), e->at);
        if (v.kind == V_LIST || v.kind == V_PATH) v = v_of_tensor(value_tensor(ev, v, e->at));
    }
    if (v.kind == V_TENSOR && v.t->rank) {
        tensor *t = name_axes(ev, v.t, s, 0, must);
        if (!t) return false;
        v = v_of_tensor(t);
    } else if (v.kind != V_TENSOR && v.kind != V_INT && v.kind != V_FLOAT && v.kind != V_BOOL) {
        ev_fail(ev, e->at, "%s has no axes to name", v_names[v.kind]);
    }
    env_put(ev, ev->scope, s->head.name, watch_value(ev, s, v), s->head.at);
    return true;
}

bool let_axes(evaluator *ev, const ast_stmt *s, bool must) {
    ev->pending++;
    bool top = ev->scope == ev->global && !must;
    bool done = try_let(ev, s, !top);
    if (!done && !vec_push(&ev->waiting, s)) ev_fail(ev, s->at, "out of memory");
    for (bool again = done; again;) { // what was learnt may settle others
        again = false;
        for (size_t i = 0; i < ev->waiting.n; i++) {
            if (ev->waiting.p[i] == s || !try_let(ev, ev->waiting.p[i], false)) continue;
            memmove(ev->waiting.p + i, ev->waiting.p + i + 1, sizeof *ev->waiting.p * (ev->waiting.n - i - 1));
            ev->waiting.n--;
            again = true;
            break;
        }
    }
    ev->pending--;
    return done;
}
