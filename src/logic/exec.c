// exec.c - runs a join plan: nested loops over rows and index blocks, registers for variables, rows into a set.
// Sets change under a running plan only in two ways, both safe here: rows are appended (so rows are re-read by number,
// never held by pointer), and nothing is widened before the plan has ended (rows that do not fit wait in `spill`).
#include "logic/impl.h"
#include <math.h>

#define BUF 2048

typedef struct fold_state {
    const pstep *s;
    tupset seen;
    int64_t count, isum;
    double fsum;
    logic_word best;
} fold_state;

bool exec_fail(exec *x, tl_status status, span at, const char *fmt, ...) {
    va_list ap;
    if (x->fail.status) return false;
    va_start(ap, fmt);
    vsnprintf(x->fail.err.message, sizeof x->fail.err.message, fmt, ap);
    va_end(ap);
    x->fail.status = status;
    x->fail.at = at;
    return false;
}

bool exec_memory(exec *x) {
    if (x->db->mem.status == TL_E_LIMIT) return exec_fail(x, TL_E_LIMIT, x->plan ? x->plan->rule->at : (span){0}, "the relations need more than their limit of %zu bytes", x->db->mem.limit);
    return exec_fail(x, TL_E_MEMORY, (span){0}, "out of memory");
}

bool exec_init(exec *x, logic_db *db) {
    memset(x, 0, sizeof *x);
    x->db = db;
    db->live = x;
    x->buf = logic_realloc(&db->mem, NULL, 0, BUF * sizeof *x->buf);
    return x->buf || exec_memory(x);
}

void exec_deinit(exec *x) {
    logic_realloc(&x->db->mem, x->buf, x->buf ? BUF * sizeof *x->buf : 0, 0);
    logic_realloc(&x->db->mem, x->spill, x->spill_cap * 8, 0);
    tupset_deinit(&x->seen);
    x->db->live = NULL;
}

// ---- values --------------------------------------------------------------------------------------------
static inline logic_word term_word(const exec *x, const lterm *t) { return t->kind == TM_VAR ? x->reg[t->var] : t->word; }

static bool int_op(exec *x, const lexpr *e, int64_t a, int64_t b, logic_word *out) {
    int64_t v = 0;
    bool over = false;
    switch (e->kind == LX_BINARY ? e->op : OP_NONE) {
    case OP_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case OP_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case OP_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case OP_MOD:
        if (b == 0) return exec_fail(x, TL_E_PROGRAM, e->at, "division by zero");
        v = b == -1 ? 0 : a % b;
        if (v != 0 && (v < 0) != (b < 0)) v += b;
        break;
    case OP_POW: {
        if (b < 0) return exec_fail(x, TL_E_PROGRAM, e->at, "an int to a negative power; write float(...)");
        v = 1;
        if (a == 0 || a == 1) b = b > 0 ? 1 : 0;
        if (a == -1) b = b % 2;
        for (int64_t i = 0; i < b && !over; i++) over = __builtin_mul_overflow(v, a, &v);
        break;
    }
    default: v = (e->kind == LX_MIN) == (a < b) ? a : b;
    }
    *out = logic_of_int(v);
    return !over || exec_fail(x, TL_E_PROGRAM, e->at, "the result is beyond int64: %lld and %lld", (long long)a, (long long)b);
}

static bool float_op(exec *x, const lexpr *e, double a, double b, logic_word *out) {
    double v;
    switch (e->kind == LX_BINARY ? e->op : OP_NONE) {
    case OP_ADD: v = a + b; break;
    case OP_SUB: v = a - b; break;
    case OP_MUL: v = a * b; break;
    case OP_DIV:
        if (b == 0) return exec_fail(x, TL_E_PROGRAM, e->at, "division by zero");
        v = a / b;
        break;
    case OP_MOD:
        if (b == 0) return exec_fail(x, TL_E_PROGRAM, e->at, "division by zero");
        v = a - b * floor(a / b);
        break;
    case OP_POW: v = pow(a, b); break;
    default: v = (e->kind == LX_MIN) == (a < b) ? a : b;
    }
    *out = logic_of_float(v);
    return true;
}

static inline double as_float(logic_word w, logic_type t) { return t == LT_FLOAT ? logic_to_float(w) : (double)logic_to_int(w); }

static bool to_int(exec *x, const lexpr *e, logic_word a, logic_word *out) {
    *out = a;
    if (e->a->type != LT_FLOAT) return true;
    double d = trunc(logic_to_float(a));
    if (!(d >= -0x1p63 && d < 0x1p63)) return exec_fail(x, TL_E_PROGRAM, e->at, "%g is beyond int64", d);
    *out = logic_of_int((int64_t)d);
    return true;
}

static bool unary_op(exec *x, const lexpr *e, logic_word a, logic_word *out) {
    if (e->a->type == LT_FLOAT) {
        double d = logic_to_float(a);
        *out = logic_of_float(e->kind == LX_NEG || d < 0 ? -d : d);
        return true;
    }
    int64_t i = logic_to_int(a);
    if (i == INT64_MIN) return exec_fail(x, TL_E_PROGRAM, e->at, "the result is beyond int64");
    *out = logic_of_int(e->kind == LX_NEG || i < 0 ? -i : i);
    return true;
}

bool eval_expr(exec *x, const lexpr *e, logic_word *out) {
    logic_word a, b;
    if (e->kind == LX_TERM) {
        *out = term_word(x, &e->term);
        return true;
    }
    if (!eval_expr(x, e->a, &a)) return false;
    if (e->kind == LX_NEG || e->kind == LX_ABS) return unary_op(x, e, a, out);
    if (e->kind == LX_TO_INT) return to_int(x, e, a, out);
    if (e->kind == LX_TO_FLOAT) {
        *out = logic_of_float(as_float(a, e->a->type));
        return true;
    }
    if (!eval_expr(x, e->b, &b)) return false;
    if (e->type != LT_FLOAT) return int_op(x, e, logic_to_int(a), logic_to_int(b), out);
    return float_op(x, e, as_float(a, e->a->type), as_float(b, e->b->type), out);
}

static bool holds(ex_op op, int cmp) { // cmp: -1, 0, 1; 2: unordered (NaN)
    switch (op) {
    case OP_EQ: return cmp == 0;
    case OP_NE: return cmp != 0;
    case OP_LT: return cmp == -1;
    case OP_LE: return cmp == -1 || cmp == 0;
    case OP_GT: return cmp == 1;
    default: return cmp == 1 || cmp == 0;
    }
}

static int compare_floats(double a, double b) { return a < b ? -1 : a > b ? 1 : a == b ? 0 : 2; }

static int compare_int_float(int64_t i, double d) {
    if (d != d) return 2;
    if (d >= 0x1p63) return -1;
    if (d < -0x1p63) return 1;
    int64_t whole = (int64_t)d;
    if (i != whole) return i < whole ? -1 : 1;
    double rest = d - (double)whole;
    return rest > 0 ? -1 : rest < 0 ? 1 : 0;
}

static int compare_words(const logic_db *db, logic_word a, logic_type ta, logic_word b, logic_type tb) {
    if (type_is_text(ta)) {
        if (a == b) return 0;
        str s = interner_text(db->strings, a), t = interner_text(db->strings, b);
        int c = memcmp(s.p, t.p, s.n < t.n ? s.n : t.n);
        return c ? (c < 0 ? -1 : 1) : s.n < t.n ? -1 : 1;
    }
    if (ta == LT_FLOAT && tb == LT_FLOAT) return compare_floats(logic_to_float(a), logic_to_float(b));
    if (ta == LT_FLOAT) {
        int c = compare_int_float(logic_to_int(b), logic_to_float(a));
        return c == 2 ? 2 : -c;
    }
    if (tb == LT_FLOAT) return compare_int_float(logic_to_int(a), logic_to_float(b));
    int64_t i = logic_to_int(a), j = logic_to_int(b);
    return i < j ? -1 : i > j;
}

bool logic_compare_values(exec *x, const llit *l, bool *out) {
    logic_word a, b;
    if (!eval_expr(x, l->a, &a) || !eval_expr(x, l->b, &b)) return false;
    bool yes = type_is_text(l->a->type) && (l->op == OP_EQ || l->op == OP_NE) ? (a == b) == (l->op == OP_EQ)
                                                                              : holds(l->op, compare_words(x->db, a, l->a->type, b, l->b->type));
    *out = yes != l->negated;
    return true;
}

// ---- rows out --------------------------------------------------------------------------------------------
static bool spill(exec *x, const logic_word *row, int arity) {
    if (x->n_spill + (size_t)arity > x->spill_cap) {
        size_t cap = x->spill_cap ? x->spill_cap * 2 : 256;
        logic_word *p = logic_realloc(&x->db->mem, x->spill, x->spill_cap * 8, cap * 8);
        if (!p) return exec_memory(x);
        x->spill = p;
        x->spill_cap = cap;
    }
    memcpy(x->spill + x->n_spill, row, (size_t)arity * 8);
    x->n_spill += (size_t)arity;
    return true;
}

static bool flush(exec *x) {
    bool reserved = false;
    for (size_t i = 0; i < x->n_buf; i++) reserved |= x->buf[i] == TUPSET_EMPTY;
    for (size_t i = 0; reserved && i < x->n_buf; i++) {
        if (x->buf[i] != TUPSET_EMPTY) continue;
        logic_word row[LOGIC_MAX_COLS];
        for (int c = 0; c < x->out->arity; c++) row[c] = (x->buf[i] >> tupset_shift(x->out, c)) & x->out->mask;
        if (!spill(x, row, x->out->arity)) return false;
        x->buf[i--] = x->buf[--x->n_buf];
    }
    size_t n = x->n_buf;
    x->n_buf = 0;
    return tupset_insert_packed(x->out, x->buf, n) || exec_memory(x);
}

static bool put_row(exec *x, const logic_word *row) {
    tupset *out = x->out;
    uint64_t key;
    if (out->packed) {
        if (!tupset_pack(out, row, &key)) return spill(x, row, out->arity);
        x->buf[x->n_buf++] = key;
        return x->n_buf < BUF || flush(x);
    }
    tup_result t = tupset_insert(out, row);
    if (t == TUP_OVERFLOW) return exec_fail(x, TL_E_PROGRAM, x->plan->rule->at, "the sum is beyond int64");
    return t != TUP_NOMEM || exec_memory(x);
}

// False through *fresh: this solution was there before.
static bool is_fresh(exec *x, tupset *seen, const solution *sol, bool *fresh) {
    logic_word row[LOGIC_MAX_COLS];
    *fresh = true;
    if (!sol->distinct) return true;
    for (int i = 0; i < sol->n; i++) row[i] = x->reg[sol->vars[i]];
    tup_result t = tupset_insert(seen, row);
    *fresh = t == TUP_NEW;
    return t != TUP_NOMEM || exec_memory(x);
}

static bool emit(exec *x) {
    const lrule *r = x->plan->rule;
    logic_word row[LOGIC_MAX_COLS];
    bool fresh;
    if (!is_fresh(x, &x->seen, &x->plan->sol, &fresh)) return false;
    if (!fresh) return true;
    for (int i = 0; i < r->head->arity; i++) {
        const lexpr *e = r->cols[i];
        if (!eval_expr(x, e, &row[i])) return false;
        convert_word(row[i], e->type, r->head->cols[i].type, &row[i]);
    }
    return put_row(x, row);
}

// ---- steps -----------------------------------------------------------------------------------------------
static bool run(exec *x, const pstep *s);

static bool poll(exec *x) {
    const logic_options *o = &x->db->opt;
    int64_t max = o->max_steps ? o->max_steps : (int64_t)1 << 40;
    x->next_poll = x->steps + 65536 < max ? x->steps + 65536 : max;
    if (o->hooks.cancelled && o->hooks.cancelled(o->hooks.ctx)) return exec_fail(x, TL_E_CANCELLED, x->plan->rule->at, "cancelled");
    if (x->steps <= max) return true;
    return exec_fail(x, TL_E_LIMIT, x->plan->rule->at, "the rules looked at more than %lld rows without coming to an end", (long long)max);
}

static inline bool count_steps(exec *x, size_t n) {
    x->steps += (int64_t)n;
    return x->steps < x->next_poll || poll(x);
}

static inline bool match_packed(exec *x, const pstep *s, uint64_t row, uint64_t mask) {
    for (int i = 0; i < s->n_bind; i++) x->reg[s->bind[i].term.var] = (row >> s->bind[i].shift) & mask;
    for (int i = 0; i < s->n_check; i++)
        if (((row >> s->check[i].shift) & mask) != term_word(x, &s->check[i].term)) return false;
    return true;
}

static inline bool match_wide(exec *x, const pstep *s, const logic_word *row) {
    for (int i = 0; i < s->n_bind; i++) x->reg[s->bind[i].term.var] = row[s->bind[i].col];
    for (int i = 0; i < s->n_check; i++)
        if (row[s->check[i].col] != term_word(x, &s->check[i].term)) return false;
    return true;
}

static void prepare_move(exec *x, const pstep *s) {
    const lrule *r = x->plan->rule;
    const tupset *out = x->out;
    mover m = {.ok = s->last && s->set->packed && out->packed && out->arity > 0 && s->set->mask <= out->mask};
    for (int c = 0; c < r->head->arity && m.ok; c++) {
        const lterm *t = &r->cols[c]->term;
        int b = 0;
        m.ok = r->cols[c]->kind == LX_TERM;
        while (b < s->n_bind && (t->kind != TM_VAR || s->bind[b].term.var != t->var)) b++;
        if (b < s->n_bind) {
            m.from[m.n_moved] = s->bind[b].shift;
            m.to[m.n_moved++] = tupset_shift(out, c);
        } else {
            m.fixed[m.n_fixed] = *t;
            m.fixed_to[m.n_fixed++] = tupset_shift(out, c);
        }
    }
    x->plan->move = m;
}

// The rows of the last atom (NULL: the set's own, which may move) become rows of the head by shifts alone.
// *done false: they do not fit, take the long way.
static bool emit_block(exec *x, const pstep *s, const uint64_t *rows, size_t at, size_t n, bool *done) {
    const mover *m = &x->plan->move;
    uint64_t base = 0, mask = s->set->mask;
    for (int c = 0; c < m->n_fixed; c++) {
        uint64_t w = term_word(x, &m->fixed[c]);
        if (w > x->out->mask) return true;
        base |= w << m->fixed_to[c];
    }
    *done = true;
    if (rows && m->n_moved == 1 && m->to[0] == 0 && x->out->map) {
        size_t k;
        if (!tupset_insert_run(x->out, base, rows, n, m->from[0], mask, &k)) return exec_memory(x);
        at = k;
    }
    for (size_t i = at; i < n;) {
        size_t k = n - i < BUF - x->n_buf ? n - i : BUF - x->n_buf;
        uint64_t *o = x->buf + x->n_buf;
        const uint64_t *p = (rows ? rows : s->set->rows) + i;
        for (size_t j = 0; j < k; j++) {
            o[j] = base;
            for (int c = 0; c < m->n_moved; c++) o[j] |= ((p[j] >> m->from[c]) & mask) << m->to[c];
        }
        x->n_buf += k;
        i += k;
        if (x->n_buf == BUF && !flush(x)) return false;
    }
    return true;
}

static bool run_atom(exec *x, const pstep *s);

// A row matched: of a positive atom, what follows runs.
static inline bool on_match(exec *x, const pstep *s, bool *found) {
    *found = true;
    if (s->lit->negated) return true;
    return s[1].kind == SP_ATOM ? run_atom(x, s + 1) : run(x, s + 1);
}

static inline bool leads_nowhere(const pstep *s, uint64_t row, uint64_t mask) {
    if (!s->peek) return false;
    uint64_t i = ((row >> s->peek_shift) & mask) - s->peek->lo;
    return i >= s->peek->dir_n || s->peek->dir[i].len == 0;
}

static bool visit_block(exec *x, const pstep *s, ixblock b) {
    size_t n = s->range == RANGE_OLD ? b.old : b.n;
    if (n == 0 && !s->lit->negated) return true;
    bool found = false, ok = true, stop = s->once || s->lit->negated, done = false;
    if (!count_steps(x, n)) return false;
    if (b.rows) {
        if (n && s->last && x->plan->move.ok && !emit_block(x, s, b.rows, 0, n, &done)) return false;
        if (done) return true;
        uint64_t mask = s->set->mask;
        for (size_t i = 0; i < n && ok && !(found && stop); i++)
            if (!leads_nowhere(s, b.rows[i], mask) && match_packed(x, s, b.rows[i], mask)) ok = on_match(x, s, &found);
    } else {
        size_t a = (size_t)s->set->arity;
        for (size_t i = 0; i < n && ok && !(found && stop); i++)
            if (match_wide(x, s, s->set->rows + b.ids[i] * a)) ok = on_match(x, s, &found);
    }
    return ok && (!s->lit->negated || found || run(x, s + 1));
}

static bool visit_rows(exec *x, const pstep *s, size_t from, size_t to) {
    bool found = false, ok = true, stop = s->once || s->lit->negated, done = false;
    const tupset *set = s->set;
    if (!stop && !count_steps(x, to - from)) return false;
    if (set->packed) {
        if (to > from && s->last && x->plan->move.ok && !emit_block(x, s, NULL, from, to, &done)) return false;
        if (done) return true;
        for (size_t r = from; r < to && ok && !(found && stop); r++)
            if (!leads_nowhere(s, set->rows[r], set->mask) && match_packed(x, s, set->rows[r], set->mask)) ok = on_match(x, s, &found);
    } else {
        for (size_t r = from; r < to && ok && !(found && stop); r++)
            if (match_wide(x, s, set->rows + r * (size_t)set->arity)) ok = on_match(x, s, &found);
    }
    if (stop && !count_steps(x, 1)) return false;
    return ok && (!s->lit->negated || found || run(x, s + 1));
}

// The rows of a fold that the last round changed; the list may move while this round fills the next.
static bool visit_changed(exec *x, const pstep *s) {
    bool found = false, ok = true;
    const tupset *set = s->set;
    if (!count_steps(x, set->changed_n)) return false;
    for (size_t i = 0; i < set->changed_n && ok && !(found && s->once); i++)
        if (match_wide(x, s, set->rows + set->changed[i] * (size_t)set->arity)) ok = on_match(x, s, &found);
    return ok;
}

static bool scan(exec *x, const pstep *s) {
    const tupset *set = s->set;
    const logic_rel *r = s->rel;
    if (s->range == RANGE_OLD) return visit_rows(x, s, 0, r->lo);
    if (s->range == RANGE_ALL) return visit_rows(x, s, 0, r->hi);
    return set->fold == LF_NONE ? visit_rows(x, s, r->lo, r->hi) : visit_changed(x, s);
}

// The common case, a dense column: nothing is hashed, and most keys lead nowhere.
static inline bool visit_direct(exec *x, const pstep *s) {
    const relindex *ix = s->ix;
    uint64_t i = term_word(x, &s->key->term) - ix->lo;
    const ixent *e = i < ix->dir_n ? &ix->dir[i] : NULL;
    if (!e || e->len == 0) return !s->lit->negated || run(x, s + 1);
    return visit_block(x, s, (ixblock){ix->pool64 + e->start, NULL, e->len, e->old});
}

static bool run_atom(exec *x, const pstep *s) {
    logic_word key[LOGIC_MAX_COLS];
    if (s->path == PATH_SCAN) return scan(x, s);
    if (s->path == PATH_INDEX && s->ix->direct) return visit_direct(x, s);
    for (int i = 0; i < s->n_key; i++) key[i] = term_word(x, &s->key[i].term);
    if (s->path == PATH_INDEX) return visit_block(x, s, relindex_find(s->set, s->ix, key));
    if (!count_steps(x, 1)) return false;
    if (s->path == PATH_CONTAINS) return tupset_contains(s->set, key) == s->lit->negated || run(x, s + 1);
    int64_t r = tupset_find(s->set, key);
    bool found = r >= 0 && match_wide(x, s, s->set->rows + (size_t)r * (size_t)s->set->arity);
    return found == s->lit->negated || run(x, s + 1);
}

static bool run_assign(exec *x, const pstep *s) {
    logic_word w;
    if (!eval_expr(x, s->e, &w)) return false;
    logic_type to = x->plan->rule->vars[s->target].type;
    if (s->e->type == LT_FLOAT && to == LT_INT) { // an int equals a float only when that is whole
        double d = logic_to_float(w);
        if (!(d >= -0x1p63 && d < 0x1p63) || d != trunc(d)) return true;
        w = logic_of_int((int64_t)d);
    } else {
        convert_word(w, s->e->type, to, &w);
    }
    x->reg[s->target] = w;
    return run(x, s + 1);
}

static bool run_test(exec *x, const pstep *s) {
    const logic_hooks *h = &x->db->opt.hooks;
    const llit *l = s->lit;
    const lvar *vars = x->plan->rule->vars;
    str names[LOGIC_MAX_COLS];
    logic_value values[LOGIC_MAX_COLS];
    bool yes = false;
    tl_error err = {0};
    for (int i = 0; i < l->n_vars; i++) {
        names[i] = vars[l->vars[i]].name;
        values[i] = value_of_word(x->db, x->reg[l->vars[i]], vars[l->vars[i]].type);
    }
    if (!count_steps(x, 1)) return false;
    tl_status status = h->test(h->ctx, l->ast, names, values, l->n_vars, &yes, &err);
    if (status != TL_OK) return exec_fail(x, status, l->at, "%s", err.message);
    return yes == l->negated || run(x, s + 1);
}

static bool collect(exec *x) {
    fold_state *f = x->fold;
    const llit *l = f->s->lit;
    logic_word w = 0;
    bool fresh;
    if (!is_fresh(x, &f->seen, &f->s->sol, &fresh)) return false;
    if (!fresh) return true;
    if (l->a && !eval_expr(x, l->a, &w)) return false;
    bool first = f->count++ == 0, real = l->a && l->a->type == LT_FLOAT;
    if (l->fold == LF_SUM || l->fold == LF_AVG) {
        if (real) f->fsum += logic_to_float(w);
        else if (__builtin_add_overflow(f->isum, logic_to_int(w), &f->isum)) return exec_fail(x, TL_E_PROGRAM, l->at, "the sum is beyond int64");
        return true;
    }
    if (l->fold == LF_COUNT) return true;
    bool less = real ? logic_to_float(w) < logic_to_float(f->best) : logic_to_int(w) < logic_to_int(f->best);
    bool more = real ? logic_to_float(w) > logic_to_float(f->best) : logic_to_int(w) > logic_to_int(f->best);
    if (first || (l->fold == LF_MIN ? less : more)) f->best = w;
    return true;
}

// max, min and avg of nothing have no value: the rule says nothing then.
static bool run_fold(exec *x, const pstep *s) {
    fold_state f = {.s = s}, *outer = x->fold;
    const llit *l = s->lit;
    if (s->sol.distinct) tupset_init(&f.seen, &x->db->mem, s->sol.n, LF_NONE, LT_INT, false);
    x->fold = &f;
    bool ok = run(x, s->inner);
    x->fold = outer;
    tupset_deinit(&f.seen);
    if (!ok) return false;
    if (f.count == 0 && l->fold != LF_COUNT && l->fold != LF_SUM) return true;
    bool real = l->a && l->a->type == LT_FLOAT;
    logic_word w = f.best;
    if (l->fold == LF_COUNT) w = logic_of_int(f.count);
    else if (l->fold == LF_SUM) w = real ? logic_of_float(f.fsum) : logic_of_int(f.isum);
    else if (l->fold == LF_AVG) w = logic_of_float((real ? f.fsum : (double)f.isum) / (double)f.count);
    x->reg[s->target] = w;
    return run(x, s + 1);
}

static bool run(exec *x, const pstep *s) {
    bool yes;
    switch (s->kind) {
    case SP_ATOM: return run_atom(x, s);
    case SP_FILTER: return logic_compare_values(x, s->lit, &yes) && (!yes || run(x, s + 1));
    case SP_ASSIGN: return run_assign(x, s);
    case SP_TEST: return run_test(x, s);
    case SP_FOLD: return run_fold(x, s);
    case SP_EMIT: return emit(x);
    case SP_COLLECT: return collect(x);
    default: return true; // SP_STOP
    }
}

// ---- one plan --------------------------------------------------------------------------------------------
static void prepare_peek(pstep *before, const pstep *s) {
    if (before->kind != SP_ATOM || before->lit->negated || !before->set->packed || s->lit->negated || !s->ix->direct) return;
    for (int i = 0; i < before->n_bind; i++) {
        if (s->key->term.kind != TM_VAR || s->key->term.var != before->bind[i].term.var) continue;
        before->peek = s->ix;
        before->peek_shift = before->bind[i].shift;
    }
}

static bool prepare(exec *x, pstep *s) {
    const pstep *first = s;
    for (; s->kind != SP_EMIT && s->kind != SP_COLLECT; s++) {
        if (s->kind == SP_FOLD && !prepare(x, s->inner)) return false;
        if (s->kind != SP_ATOM) continue;
        s->set = rel_rows(s->rel);
        s->peek = NULL;
        for (int i = 0; s->set->packed && i < s->n_bind; i++) s->bind[i].shift = tupset_shift(s->set, s->bind[i].col);
        for (int i = 0; s->set->packed && i < s->n_check; i++) s->check[i].shift = tupset_shift(s->set, s->check[i].col);
        if (s->last) prepare_move(x, s);
        if (s->path != PATH_INDEX) continue;
        s->ix = tupset_index(s->set, s->key_cols);
        if (!s->ix || !tupset_index_update(s->set, s->ix, s->rel->lo, s->rel->hi)) return exec_memory(x);
        if (s > first) prepare_peek(s - 1, s);
    }
    return true;
}

static bool unspill(exec *x) {
    size_t a = (size_t)x->out->arity;
    for (size_t i = 0; i < x->n_spill; i += a)
        if (tupset_insert(x->out, x->spill + i) == TUP_NOMEM) return exec_memory(x);
    x->n_spill = 0;
    return true;
}

bool exec_plan(exec *x, lplan *p, tupset *out) {
    x->plan = p;
    x->out = out;
    p->move.ok = false;
    if (p->sol.distinct) {
        tupset_deinit(&x->seen);
        tupset_init(&x->seen, &x->db->mem, p->sol.n, LF_NONE, LT_INT, false);
    }
    bool ok = prepare(x, p->steps) && run(x, p->steps) && (!x->n_buf || flush(x)) && unspill(x);
    x->n_buf = x->n_spill = 0;
    return ok;
}
