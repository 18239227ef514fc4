// contract.c - products: which pairs to multiply first, elementwise factors merged before, one einsum for each pair.
//
// The order depends on sizes with one row, never on the number of rows, so that results do not either. Two stored
// matrices are never multiplied with each other unless nothing else is possible.
#include <math.h>

#include "eval/eq.h"

static int64_t label_size(const equation *q, int l) { return q->lab[l].sym ? 1 : q->lab[l].size; }

static double set_size(const equation *q, eq_set s) {
    double n = 1;
    for (int i = 0; i < q->n; i++)
        if (s & eq_bit(i)) n *= (double)label_size(q, i);
    return n;
}

// ---- spaces --------------------------------------------------------------------------------------
int eq_order(equation *q, const operand *a, eq_set set, int *out) {
    int n = 0;
    for (int i = 0; i < q->n; i++)
        if (set & eq_bit(i)) out[n++] = i;
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0; j--) {
            int x = out[j - 1], y = out[j];
            bool sx = q->lab[x].sym != SYM_NONE, sy = q->lab[y].sym != SYM_NONE;
            bool swap = sx != sy ? sy : a && a->stride[y] > a->stride[x];
            if (!swap) break;
            out[j - 1] = y, out[j] = x;
        }
    return n;
}

void eq_space(equation *q, const int *labels, int n, ir_space *sp) {
    *sp = (ir_space){0};
    if (n > IR_MAX_LABELS) ev_fail(q->ev, q->stmt->at, "more than %d indices in one product", IR_MAX_LABELS);
    for (int i = 0; i < n; i++) {
        const eq_label *l = &q->lab[labels[i]];
        if (l->sym) {
            if (i > 0) ev_fail(q->ev, q->stmt->at, "index '%s' runs over the rows of a step and cannot be combined like this", l->name);
            sp->sym = l->sym;
        } else {
            sp->size[i] = l->size;
        }
    }
    sp->nlab = sp->nout = n;
}

ir_edge eq_edge(equation *q, const operand *o, const int *labels, int n) {
    ir_edge e = {.node = operand_node(q, o), .offset = o->is_const ? 0 : o->offset};
    for (int i = 0; i < n; i++)
        if (!o->is_const && o->labels & eq_bit(labels[i])) e.stride[i] = o->stride[labels[i]];
    return e;
}

operand eq_space_result(const int *labels, int n, const ir_space *sp, ir_node *node) {
    double k;
    if (ir_is_scalar_const(node, &k)) return eq_const(k);
    operand r = {.node = node};
    int64_t at = 1;
    for (int i = n - 1; i >= 0; i--) {
        r.labels |= eq_bit(labels[i]);
        r.stride[labels[i]] = at;
        if (!(i == 0 && sp->sym)) at *= sp->size[i];
    }
    return r;
}

// ---- elementwise ---------------------------------------------------------------------------------
// Output order: the operand with most elements leads.
static const operand *leader(const equation *q, const operand *in, int n) {
    const operand *best = NULL;
    for (int i = 0; i < n; i++)
        if (!in[i].is_const && (!best || set_size(q, in[i].labels) > set_size(q, best->labels))) best = &in[i];
    return best;
}

int eq_rows_first(const equation *q, int *labels, int n) {
    for (int i = 1; i < n; i++)
        if (q->lab[labels[i]].sym) {
            int l = labels[i];
            memmove(labels + 1, labels, sizeof *labels * (size_t)i);
            labels[0] = l;
        }
    return n;
}

int eq_union_order(equation *q, const operand *lead, const operand *in, int n, int *out) {
    if (!lead) return 0;
    int m = eq_order(q, lead, lead->labels, out);
    eq_set seen = lead->labels;
    for (int i = 0; i < n; i++) {
        if (in[i].is_const) continue;
        m += eq_order(q, &in[i], in[i].labels & ~seen, out + m);
        seen |= in[i].labels;
    }
    return eq_rows_first(q, out, m);
}

operand eq_map(equation *q, map_op op, const operand *in, int n) {
    int labels[EQ_LABELS] = {0}, m = eq_union_order(q, leader(q, in, n), in, n, labels);
    ir_space sp;
    eq_space(q, labels, m, &sp);
    ir_edge e[3] = {{0}};
    for (int i = 0; i < n; i++) e[i] = eq_edge(q, &in[i], labels, m);
    operand r = eq_space_result(labels, m, &sp, ir_map(q->ev->g, op, &sp, e));
    r.boolean = (op >= MAP_EQ && op <= MAP_OR) || op == MAP_NOT;
    return r;
}

// "or" over no index still answers whether there is something.
static operand truth(equation *q, const operand *a) {
    if (a->is_const) return eq_const(a->k != 0);
    operand in[2] = {*a, eq_const(0)};
    return a->boolean ? *a : eq_map(q, MAP_NE, in, 2);
}

static bool without_elements(const equation *q, eq_set s) {
    for (int i = 0; i < q->n; i++)
        if (s & eq_bit(i) && !q->lab[i].sym && q->lab[i].size == 0) return true;
    return false;
}

operand eq_fold(equation *q, fold_kind k, const operand *a, eq_set over) {
    if (without_elements(q, over)) {
        operand none = eq_const(ir_fold_neutral(k));
        none.boolean = k == FOLD_OR;
        return none;
    }
    if (k == FOLD_OR && (a->is_const || !(over & a->labels))) return truth(q, a);
    if (a->is_const) {
        if (k == FOLD_SUM) return eq_const(a->k * set_size(q, over));
        if (k == FOLD_PROD) return eq_const(pow(a->k, set_size(q, over)));
        return *a;
    }
    if (over & ~a->labels && (k == FOLD_SUM || k == FOLD_PROD)) { // over an index that the term does not have: so many times
        operand r = eq_fold(q, k, a, over & a->labels);
        operand two[2] = {r, eq_const(set_size(q, over & ~a->labels))};
        return eq_map(q, k == FOLD_SUM ? MAP_MUL : MAP_POW, two, 2);
    }
    over &= a->labels;
    if (!over) return *a;
    int labels[EQ_LABELS], n = eq_order(q, a, a->labels & ~over, labels), m = n;
    ir_space sp;
    m += eq_order(q, a, over, labels + n);
    for (int i = n; i < m; i++)
        if (q->lab[labels[i]].sym) ev_fail(q->ev, q->stmt->at, "a fold over '%s', the rows of a step: rows are independent of each other", q->lab[labels[i]].name);
    eq_space(q, labels, m, &sp);
    sp.nout = n;
    ir_edge e = eq_edge(q, a, labels, m);
    ir_space out = sp;
    return eq_space_result(labels, n, &out, ir_reduce(q->ev->g, k, &sp, &e));
}

// ---- pairs ---------------------------------------------------------------------------------------
static operand einsum_pair(equation *q, const operand *a, const operand *b, eq_set out, eq_set folded) {
    // Which operand's order leads: activations before stored matrices; then the one with rows; of two with rows the
    // second, as what an operator (a rotation, a mixing) is applied to stands after it.
    const operand *lead = a, *tail = b;
    eq_set sym = 0;
    for (int i = 0; i < q->n; i++)
        if (q->lab[i].sym) sym |= eq_bit(i);
    bool swap = a->weight != b->weight ? a->weight : (b->labels & sym) != 0;
    if (swap) lead = b, tail = a;
    int labels[EQ_LABELS], n = 0, all[EQ_LABELS];
    int m = eq_order(q, lead, lead->labels, all);
    eq_set fresh = out & ~lead->labels; // come from the other operand
    int fresh_order[EQ_LABELS], n_fresh = eq_order(q, tail, fresh, fresh_order);
    bool rotated = !tail->weight && !lead->weight && n_fresh == 1 && __builtin_popcount(folded) == 1 && !q->lab[fresh_order[0]].sym;
    for (int i = 0; i < m; i++) {
        if (out & eq_bit(all[i])) labels[n++] = all[i];
        else if (rotated && label_size(q, all[i]) == label_size(q, fresh_order[0])) labels[n++] = fresh_order[0], fresh &= ~eq_bit(fresh_order[0]);
    }
    n = eq_rows_first(q, labels, n + eq_order(q, tail, fresh, labels + n));
    int total = n + eq_order(q, lead, folded, labels + n);
    for (int i = n; i < total; i++)
        if (q->lab[labels[i]].sym) ev_fail(q->ev, q->stmt->at, "a sum over '%s', the rows of a step: rows are independent of each other", q->lab[labels[i]].name);
    ir_space sp;
    eq_space(q, labels, total, &sp);
    sp.nout = n;
    ir_edge ea = eq_edge(q, a, labels, total), eb = eq_edge(q, b, labels, total);
    return eq_space_result(labels, n, &sp, ir_einsum(q->ev->g, &sp, &ea, &eb));
}

static operand multiply(equation *q, const operand *a, const operand *b, eq_set needed) {
    eq_set all = a->labels | b->labels, folded = all & ~needed;
    if (!folded) {
        operand in[2] = {*a, *b};
        return eq_map(q, MAP_MUL, in, 2);
    }
    return einsum_pair(q, a, b, all & needed, folded);
}

static bool is_matrix(const operand *o) { return o->weight && __builtin_popcount(o->labels) > 1; }

static double pair_cost(const equation *q, const operand *a, const operand *b) {
    double c = set_size(q, a->labels | b->labels);
    return is_matrix(a) && is_matrix(b) ? c * 1e12 : c;
}

static eq_set needed_by(const operand *list, int n, int skip_a, int skip_b, eq_set keep) {
    for (int i = 0; i < n; i++)
        if (i != skip_a && i != skip_b) keep |= list[i].labels;
    return keep;
}

// The cheapest way to multiply `list` together, by exhaustion; answers its cost and the first pair of it.
static double search(const equation *q, const operand *list, int n, eq_set keep, int *first_a, int *first_b) {
    if (n < 2) return 0;
    double best = -1;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            operand next[EQ_OPERANDS];
            eq_set all = list[i].labels | list[j].labels, need = needed_by(list, n, i, j, keep);
            int m = 0, x, y;
            next[m++] = (operand){.labels = all & need, .weight = is_matrix(&list[i]) && is_matrix(&list[j])};
            for (int k = 0; k < n; k++)
                if (k != i && k != j) next[m++] = list[k];
            // Temporaries count a little, so that of equal work the smaller ones are made first.
            double c = pair_cost(q, &list[i], &list[j]) + 0.001 * set_size(q, all & need) + search(q, next, m, keep, &x, &y);
            if (best < 0 || c < best) best = c, *first_a = i, *first_b = j;
        }
    return best;
}

static void greedy(const equation *q, const operand *list, int n, int *a, int *b) {
    double best = -1;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            double c = pair_cost(q, &list[i], &list[j]);
            if (best < 0 || c < best) best = c, *a = i, *b = j;
        }
}

static void drop(operand *list, int *n, int at) {
    memmove(list + at, list + at + 1, sizeof *list * (size_t)(*n - at - 1));
    --*n;
}

// Factors whose labels another (no stored matrix) has as well are multiplied in at once, in source order.
static void merge_factors(equation *q, operand *num, int *n, operand *den, int *n_den, eq_set keep) {
    for (int i = 0; i < *n_den;) {
        int best = -1;
        for (int j = 0; j < *n; j++)
            if (!is_matrix(&num[j]) && !(den[i].labels & ~num[j].labels) && (best < 0 || set_size(q, num[j].labels) < set_size(q, num[best].labels))) best = j;
        if (best < 0) {
            i++;
            continue;
        }
        operand in[2] = {num[best], den[i]};
        num[best] = eq_map(q, MAP_DIV, in, 2);
        drop(den, n_den, i);
    }
    for (int i = 0; i < *n; i++)
        for (int j = i + 1; j < *n; j++) {
            bool ji = !(num[j].labels & ~num[i].labels), ij = !(num[i].labels & ~num[j].labels);
            if ((!ji && !ij) || is_matrix(&num[i]) || is_matrix(&num[j])) continue;
            // A dot product is a contraction: do not spell it out element by element.
            eq_set folded = (num[i].labels | num[j].labels) & ~needed_by(num, *n, i, j, keep);
            if (folded) continue;
            operand in[2] = {num[i], num[j]};
            num[i] = eq_map(q, MAP_MUL, in, 2);
            drop(num, n, j);
            j = i;
        }
}

static void fold_lonely(equation *q, operand *num, int n, eq_set keep) { // indices that only one factor has
    for (int i = 0; i < n; i++) {
        eq_set over = num[i].labels & ~needed_by(num, n, i, i, keep);
        if (over) num[i] = eq_fold(q, FOLD_SUM, &num[i], over);
    }
}

operand eq_product(equation *q, operand *num, int n, operand *den, int n_den, eq_set keep) {
    double scale = 1;
    bool scaled = false;
    for (int i = 0; i < n;)
        if (num[i].is_const) scale *= num[i].k, scaled = true, drop(num, &n, i);
        else i++;
    for (int i = 0; i < n_den;)
        if (den[i].is_const) scale /= den[i].k, scaled = true, drop(den, &n_den, i);
        else i++;
    if (n == 0 && n_den == 0) return eq_const(scale);
    operand one = eq_const(scale);
    if (n == 0) { // scale / d
        operand d = den[0];
        for (int i = 1; i < n_den; i++) {
            operand in[2] = {d, den[i]};
            d = eq_map(q, MAP_MUL, in, 2);
        }
        operand in[2] = {one, d};
        num[n++] = eq_map(q, MAP_DIV, in, 2);
        n_den = 0;
        scaled = false;
    }
    for (;;) {
        merge_factors(q, num, &n, den, &n_den, keep);
        for (int i = 0; n_den && i < n_den; i++) { // no factor has all of its indices: its reciprocal is a factor
            operand in[2] = {eq_const(1), den[i]};
            if (n < EQ_OPERANDS) num[n++] = eq_map(q, MAP_DIV, in, 2);
        }
        n_den = 0;
        fold_lonely(q, num, n, keep);
        if (n == 1) break;
        int a = 0, b = 1;
        if (n <= 5) (void)search(q, num, n, keep, &a, &b);
        else greedy(q, num, n, &a, &b);
        num[a] = multiply(q, &num[a], &num[b], needed_by(num, n, a, b, keep));
        drop(num, &n, b);
    }
    if (scaled && scale != 1) {
        operand in[2] = {num[0], one};
        num[0] = eq_map(q, MAP_MUL, in, 2);
    }
    return num[0];
}
