// query.c - answers: queries compiled as rules of an unnamed relation, rows sorted, values as text.
#include "logic/impl.h"
#include <math.h>

struct logic_rows {
    logic_db *db;
    tupset set;
    uint32_t *order; // sorted row numbers
    size_t n;
    int arity;
    lcol cols[LOGIC_MAX_COLS]; // names point into the source or the database
};

void logic_rows_free(logic_rows *rows) {
    if (!rows) return;
    logic_realloc(&rows->db->mem, rows->order, rows->order ? rows->n * sizeof *rows->order : 0, 0);
    tupset_deinit(&rows->set);
    mem_free(rows);
}

size_t logic_rows_count(const logic_rows *rows) { return rows->n; }
int logic_rows_columns(const logic_rows *rows) { return rows->arity; }
str logic_rows_name(const logic_rows *rows, int col) { return rows->cols[col].name; }
logic_value logic_rows_value(const logic_rows *rows, size_t row, int col) {
    return value_of_word(rows->db, tupset_get(&rows->set, rows->order[row], col), rows->cols[col].type);
}

// ---- sorting -------------------------------------------------------------------------------------------
static logic_word sort_key(const logic_rows *rows, const uint32_t *ranks, uint32_t row, int col) {
    logic_word w = tupset_get(&rows->set, row, col);
    logic_type t = rows->cols[col].type;
    if (type_is_text(t)) return ranks[w];
    if (t != LT_FLOAT) return w ^ (uint64_t)1 << 63;
    return w >> 63 ? ~w : w | (uint64_t)1 << 63; // floats in the order of their bits; NaN last
}

static bool before(const logic_rows *rows, const uint32_t *ranks, uint32_t a, uint32_t b) {
    for (int c = 0; c < rows->arity; c++) {
        logic_word x = sort_key(rows, ranks, a, c), y = sort_key(rows, ranks, b, c);
        if (x != y) return x < y;
    }
    return a < b;
}

static void merge_sort(const logic_rows *rows, const uint32_t *ranks, uint32_t *a, uint32_t *tmp, size_t n) {
    for (size_t w = 1; w < n; w *= 2) {
        for (size_t i = 0; i < n; i += 2 * w) {
            size_t l = i, m = i + w < n ? i + w : n, r = m, e = i + 2 * w < n ? i + 2 * w : n, o = i;
            while (l < m && r < e) tmp[o++] = before(rows, ranks, a[r], a[l]) ? a[r++] : a[l++];
            while (l < m) tmp[o++] = a[l++];
            while (r < e) tmp[o++] = a[r++];
        }
        memcpy(a, tmp, n * sizeof *a);
    }
}

static bool sort_rows(logic_rows *rows) {
    logic_mem *m = &rows->db->mem;
    size_t n = rows->set.n;
    const uint32_t *ranks = interner_ranks(rows->db->strings);
    if (!ranks) return false;
    if (!n) return true;
    rows->order = logic_realloc(m, NULL, 0, n * sizeof *rows->order);
    if (!rows->order) return false;
    rows->n = n;
    uint32_t *tmp = logic_realloc(m, NULL, 0, n * sizeof *tmp);
    if (!tmp) return false;
    for (size_t i = 0; i < n; i++) rows->order[i] = (uint32_t)i;
    merge_sort(rows, ranks, rows->order, tmp, n);
    logic_realloc(m, tmp, n * sizeof *tmp, 0);
    return true;
}

// ---- queries -------------------------------------------------------------------------------------------
typedef struct query_args {
    logic_db *db;
    const ast_expr *atom;
    const ast_literal *where;
    logic_rel *rel; // logic_iterate
    diag_list *dl;
    logic_rows *rows;
} query_args;

static tl_status run_query(void *ctx) {
    query_args *a = ctx;
    logic_db *db = a->db;
    logic_rows *rows = a->rows;
    TL_TRY(run_all(db, a->dl));
    db->at = &db->tmp;
    lrule *r = compile_query(db, a->atom, a->where, a->dl);
    if (!r) return TL_E_PROGRAM;
    for (logic_rel *k = db->rels; k; k = k->next) k->lo = k->hi = rel_rows(k)->n; // a hook may have made one
    rows->arity = r->head->arity;
    for (int i = 0; i < rows->arity; i++) rows->cols[i] = r->head->cols[i];
    tupset_init(&rows->set, &db->mem, rows->arity, LF_NONE, LT_INT, false);
    exec *x = arena_new(&db->tmp, exec);
    bool ok = exec_init(x, db) && exec_plan(x, plan_rule(db, r, -1, -1), &rows->set);
    exec_deinit(x);
    if (!ok) {
        if (x->fail.status != TL_E_MEMORY) diag_add(a->dl, DG_ERROR, x->fail.at.src ? x->fail.at : a->atom->at, "%s", x->fail.err.message);
        return x->fail.status;
    }
    return sort_rows(rows) ? TL_OK : TL_E_MEMORY;
}

static tl_status run_iterate(void *ctx) {
    query_args *a = ctx;
    logic_rows *rows = a->rows;
    TL_TRY(run_all(a->db, a->dl));
    const tupset *from = rel_rows(a->rel);
    rows->arity = a->rel->arity;
    for (int i = 0; i < rows->arity; i++) rows->cols[i] = a->rel->cols[i];
    tupset_init(&rows->set, &a->db->mem, rows->arity, LF_NONE, LT_INT, false);
    if (from->fold == LF_NONE) {
        if (!tupset_copy(&rows->set, from)) return TL_E_MEMORY;
    } else {
        for (size_t i = 0; i < from->n; i++)
            if (tupset_insert(&rows->set, from->rows + i * (size_t)from->arity) == TUP_NOMEM) return TL_E_MEMORY;
    }
    return sort_rows(rows) ? TL_OK : TL_E_MEMORY;
}

static tl_status answer(query_args *a, tl_status (*fn)(void *), logic_rows **out) {
    *out = NULL;
    a->rows = mem_calloc(1, sizeof *a->rows);
    if (!a->rows) return TL_E_MEMORY;
    a->rows->db = a->db;
    tl_status status = guarded(a->db, a->dl, fn, a);
    if (status == TL_OK) {
        *out = a->rows;
        return TL_OK;
    }
    logic_rows_free(a->rows);
    return status == TL_E_MEMORY ? mem_diag(a->db, a->dl) : status;
}

tl_status logic_query(logic_db *db, const ast_expr *atom, const ast_literal *where, diag_list *dl, logic_rows **out) {
    query_args a = {.db = db, .atom = atom, .where = where, .dl = dl};
    return answer(&a, run_query, out);
}

tl_status logic_iterate(logic_db *db, logic_rel *r, diag_list *dl, logic_rows **out) {
    query_args a = {.db = db, .rel = r, .dl = dl};
    return answer(&a, run_iterate, out);
}

// ---- text ------------------------------------------------------------------------------------------------
static void float_text(double d, sbuf *out) {
    char buf[40];
    for (int digits = 1; digits <= 17; digits++) { // the shortest that reads back the same
        snprintf(buf, sizeof buf, "%.*g", digits, d);
        if (strtod(buf, NULL) == d) break;
    }
    const char *e = strchr(buf, 'e');
    int exponent = e ? atoi(e + 1) : 0;
    if (exponent > 0 && exponent < 16) snprintf(buf, sizeof buf, "%.0f", d); // 210, not 2.1e+02
    sbuf_puts(out, buf);
    if (isfinite(d) && !strpbrk(buf, ".e")) sbuf_puts(out, ".0");
}

void logic_value_text(logic_value v, sbuf *out) {
    switch (v.type) {
    case LT_ENTITY: sbuf_put(out, v.s.p, v.s.n); break;
    case LT_STRING:
        sbuf_putc(out, '"');
        for (size_t i = 0; i < v.s.n; i++) {
            char c = v.s.p[i];
            if (c == '"' || c == '\\') sbuf_putc(out, '\\');
            if (c == '\n') sbuf_puts(out, "\\n");
            else if (c == '\t') sbuf_puts(out, "\\t");
            else if (c == '\r') sbuf_puts(out, "\\r");
            else sbuf_putc(out, c);
        }
        sbuf_putc(out, '"');
        break;
    case LT_FLOAT: float_text(v.f, out); break;
    case LT_BOOL: sbuf_puts(out, v.i ? "true" : "false"); break;
    default: sbuf_printf(out, "%lld", (long long)v.i);
    }
}
