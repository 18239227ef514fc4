// dense.c - relations as Boolean tensors and back. An axis is numbered by its domain's members, or by an int itself.
#include "logic/impl.h"

static tl_status check_axes(const logic_rel *r, tl_error *err) {
    for (int c = 0; c < r->arity; c++) {
        if (r->cols[c].type == LT_INT || (r->cols[c].type == LT_ENTITY && r->cols[c].dom)) continue;
        return err_set(err, TL_E_USAGE, "column %d of '%.*s' is %s; an axis is an entity or an int", c + 1, (int)r->name.n, r->name.p, type_name(r->cols[c].type));
    }
    return TL_OK;
}

// The place of a word along its axis; -1: none. Entities that only rules brought here become members.
static tl_status place(logic_db *db, const lcol *col, logic_word w, int64_t *out, tl_error *err) {
    if (col->type == LT_INT) {
        *out = logic_to_int(w);
        return *out >= 0 ? TL_OK : err_set(err, TL_E_USAGE, "%lld is no place along an axis", (long long)*out);
    }
    if (!domain_add(db, col->dom, w)) return mem_error(db, err);
    *out = (int64_t)col->dom->number[w] - 1;
    return TL_OK;
}

tl_status logic_dense_sizes(logic_db *db, logic_rel *r, int64_t *sizes, diag_list *dl, tl_error *err) {
    tl_status status = logic_run(db, dl);
    if (status != TL_OK) return err_set(err, status, "the rules could not be evaluated");
    TL_TRY(check_axes(r, err));
    const tupset *s = rel_rows(r);
    for (int c = 0; c < r->arity; c++) {
        sizes[c] = 0;
        for (size_t i = 0; i < s->n; i++) {
            int64_t at = 0;
            TL_TRY(place(db, &r->cols[c], tupset_get(s, i, c), &at, err));
            if (at == INT64_MAX) return err_set(err, TL_E_USAGE, "%lld is no place along an axis", (long long)at);
            if (at >= sizes[c]) sizes[c] = at + 1;
        }
    }
    for (int c = 0; c < r->arity; c++) // an axis of entities has the whole domain, not only those with rows
        if (r->cols[c].type == LT_ENTITY) sizes[c] = (int64_t)r->cols[c].dom->rel->base.n;
    return TL_OK;
}

static tl_status total_of(const logic_rel *r, const int64_t *sizes, size_t *total, tl_error *err) {
    *total = 1;
    for (int c = 0; c < r->arity; c++)
        if (sizes[c] < 0 || !size_mul(*total, (size_t)sizes[c], total)) return err_set(err, TL_E_USAGE, "the tensor is too large");
    return TL_OK;
}

tl_status logic_to_dense(logic_db *db, logic_rel *r, const int64_t *sizes, uint8_t *data, diag_list *dl, tl_error *err) {
    size_t total;
    tl_status status = logic_run(db, dl);
    if (status != TL_OK) return err_set(err, status, "the rules could not be evaluated");
    TL_TRY(check_axes(r, err));
    TL_TRY(total_of(r, sizes, &total, err));
    memset(data, 0, total);
    const tupset *s = rel_rows(r);
    for (size_t i = 0; i < s->n; i++) {
        size_t offset = 0;
        for (int c = 0; c < r->arity; c++) {
            int64_t at = 0;
            TL_TRY(place(db, &r->cols[c], tupset_get(s, i, c), &at, err));
            if (at >= sizes[c]) return err_set(err, TL_E_USAGE, "a row of '%.*s' is at %lld of an axis of %lld", (int)r->name.n, r->name.p, (long long)at, (long long)sizes[c]);
            offset = offset * (size_t)sizes[c] + (size_t)at;
        }
        data[offset] = 1;
    }
    return TL_OK;
}

tl_status logic_from_dense(logic_db *db, logic_rel *r, const int64_t *sizes, const uint8_t *data, tl_error *err) {
    size_t total;
    for (int c = 0; c < r->arity; c++)
        if (r->cols[c].type == LT_ANY) r->cols[c].type = LT_INT;
    TL_TRY(check_axes(r, err));
    TL_TRY(total_of(r, sizes, &total, err));
    for (int c = 0; c < r->arity; c++) {
        const lcol *col = &r->cols[c];
        if (col->type != LT_ENTITY || sizes[c] <= (int64_t)col->dom->rel->base.n) continue;
        return err_set(err, TL_E_USAGE, "axis %d has %lld elements, and %.*s has %zu members", c + 1, (long long)sizes[c], (int)col->dom->name.n, col->dom->name.p, col->dom->rel->base.n);
    }
    logic_clear(db, r);
    for (size_t i = 0; i < total; i++) {
        logic_word row[LOGIC_MAX_COLS];
        size_t rest = i;
        if (!data[i]) continue;
        for (int c = r->arity - 1; c >= 0; c--) {
            size_t at = rest % (size_t)sizes[c];
            rest /= (size_t)sizes[c];
            row[c] = r->cols[c].type == LT_ENTITY ? tupset_get(&r->cols[c].dom->rel->base, at, 0) : logic_of_int((int64_t)at);
        }
        if (!rel_add_fact(db, r, row)) return mem_error(db, err);
    }
    return TL_OK;
}
