// test_naive.c - random stratified programs against an evaluator that tries every assignment of every variable.
#include "program.h"

enum { DOM = 4, RELS = 7, MAX_ARITY = 3, VARS = 4, LITS = 4, RULES = 14, SPACE = 64 };

typedef struct { bool var, wild; int v; } term; // a variable's number or a value's index
typedef struct { bool negated, compare; int rel, op; term t[MAX_ARITY]; } literal;
typedef struct { int head; term t[MAX_ARITY]; literal lit[LITS]; int n; bool used[VARS]; } rule;
typedef struct { int arity, level; bool has[SPACE]; } relation;

static uint64_t seed;
static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static relation rels[RELS];
static rule rules[RULES];
static int n_rules;
static int64_t value[DOM];
static const char *const ops[] = {"==", "!=", "<", "<=", ">", ">="};

// ---- making programs ---------------------------------------------------------------------------------
static term random_term(rule *r, bool may_wild, bool must_know) {
    term t = {0};
    uint32_t k = rnd(10);
    if (k == 0) t.v = (int)rnd(DOM);
    else if (k == 1 && may_wild) t.wild = true;
    else {
        t.var = true;
        t.v = (int)rnd(VARS);
        for (int i = 0; must_know && i < VARS && !r->used[t.v]; i++) t.v = (t.v + 1) % VARS;
        if (must_know && !r->used[t.v]) t = (term){.v = (int)rnd(DOM)};
        else r->used[t.v] = true;
    }
    return t;
}

static int random_rel(int below) {
    int k;
    do k = (int)rnd(RELS);
    while (rels[k].level >= below);
    return k;
}

static void random_rule(int head) {
    rule *r = &rules[n_rules++];
    *r = (rule){.head = head, .n = 1 + (int)rnd(LITS - 1)};
    for (int i = 0; i < r->n; i++) {
        literal *l = &r->lit[i];
        l->rel = random_rel(rels[head].level + 1);
        for (int c = 0; c < rels[l->rel].arity; c++) l->t[c] = random_term(r, true, false);
    }
    if (rnd(2) && r->n < LITS) { // a test: absence of something complete, or a comparison
        literal *l = &r->lit[r->n++];
        *l = (literal){.negated = rnd(2)};
        l->compare = rnd(2);
        l->op = (int)rnd(6);
        l->rel = random_rel(rels[head].level);
        for (int c = 0; c < (l->compare ? 2 : rels[l->rel].arity); c++) l->t[c] = random_term(r, !l->compare, true);
    }
    for (int c = 0; c < rels[head].arity; c++) r->t[c] = random_term(r, false, true);
}

static void random_program(uint64_t s) {
    static const int levels[RELS] = {0, 0, 0, 1, 1, 2, 2};
    seed = s * 0x9E3779B97F4A7C15u + 1;
    n_rules = 0;
    bool wide = rnd(4) == 0; // values that no packed row holds
    for (int i = 0; i < DOM; i++) value[i] = i;
    if (wide) value[0] = -5, value[1] = 1, value[2] = (int64_t)1 << 31, value[3] = (int64_t)1 << 40;
    for (int i = 0; i < RELS; i++) {
        rels[i] = (relation){.arity = 1 + (int)rnd(MAX_ARITY), .level = levels[i]};
        if (i == 2) rels[i].arity = 2;
        for (int k = 0; levels[i] == 0 && k < 6; k++) rels[i].has[rnd(1u << 2 * rels[i].arity)] = true;
    }
    for (int i = 0; i < RELS; i++)
        for (int k = 0; levels[i] > 0 && k < 3; k++) random_rule(i);
}

static void put_term(sbuf *b, term t) {
    if (t.wild) sbuf_puts(b, "_");
    else if (t.var) sbuf_printf(b, "v%d", t.v);
    else sbuf_printf(b, "%lld", (long long)value[t.v]);
}

static void put_atom(sbuf *b, int rel, const term *t) {
    sbuf_printf(b, "R%d(", rel);
    for (int c = 0; c < rels[rel].arity; c++) {
        if (c) sbuf_puts(b, ", ");
        put_term(b, t[c]);
    }
    sbuf_puts(b, ")");
}

static void put_body(sbuf *b, const rule *r) {
    for (int i = 0; i < r->n; i++) {
        const literal *l = &r->lit[i];
        sbuf_puts(b, i ? ", " : " <- ");
        if (l->negated) sbuf_puts(b, "not ");
        if (!l->compare) {
            put_atom(b, l->rel, l->t);
            continue;
        }
        put_term(b, l->t[0]);
        sbuf_printf(b, " %s ", ops[l->op]);
        put_term(b, l->t[1]);
    }
    sbuf_puts(b, "\n");
}

static void put_program(sbuf *b) {
    for (int i = 0; i < RELS; i++) {
        sbuf_printf(b, "relation R%d(", i);
        for (int c = 0; c < rels[i].arity; c++) sbuf_printf(b, "%sc%d: int", c ? ", " : "", c);
        sbuf_puts(b, ")\n");
    }
    for (int i = 0; i < RELS; i++)
        for (int k = 0; k < 1 << 2 * rels[i].arity; k++) {
            if (!rels[i].has[k]) continue;
            term t[MAX_ARITY];
            for (int c = 0; c < rels[i].arity; c++) t[c] = (term){.v = k >> 2 * c & 3};
            put_atom(b, i, t);
            sbuf_puts(b, "\n");
        }
    for (int i = 0; i < n_rules; i++) {
        put_atom(b, rules[i].head, rules[i].t);
        put_body(b, &rules[i]);
    }
}

// ---- the naive evaluator -------------------------------------------------------------------------------
static int at_of(int code, term t) { return t.var ? code >> 2 * t.v & 3 : t.v; }

static bool atom_holds(const literal *l, int code) {
    const relation *r = &rels[l->rel];
    for (int k = 0; k < 1 << 2 * r->arity; k++) {
        bool same = r->has[k];
        for (int c = 0; c < r->arity; c++) same = same && (l->t[c].wild || (k >> 2 * c & 3) == at_of(code, l->t[c]));
        if (same) return true;
    }
    return false;
}

static bool compare_holds(const literal *l, int code) {
    int64_t a = value[at_of(code, l->t[0])], b = value[at_of(code, l->t[1])];
    return l->op == 0 ? a == b : l->op == 1 ? a != b : l->op == 2 ? a < b : l->op == 3 ? a <= b : l->op == 4 ? a > b : a >= b;
}

static bool body_holds(const rule *r, int code) {
    for (int i = 0; i < r->n; i++)
        if ((r->lit[i].compare ? compare_holds(&r->lit[i], code) : atom_holds(&r->lit[i], code)) == r->lit[i].negated) return false;
    return true;
}

static bool apply(const rule *r) {
    bool changed = false;
    for (int code = 0; code < 1 << 2 * VARS; code++) {
        int k = 0;
        if (!body_holds(r, code)) continue;
        for (int c = 0; c < rels[r->head].arity; c++) k |= at_of(code, r->t[c]) << 2 * c;
        changed = changed || !rels[r->head].has[k];
        rels[r->head].has[k] = true;
    }
    return changed;
}

static void naive(void) {
    for (int level = 1; level <= 2; level++)
        for (bool changed = true; changed;) {
            changed = false;
            for (int i = 0; i < n_rules; i++)
                if (rels[rules[i].head].level == level) changed = apply(&rules[i]) || changed;
        }
}

// ---- comparing -------------------------------------------------------------------------------------------
static void expect_relation(program *p, int i, const char *text) {
    char name[8];
    logic_rows *rows;
    size_t want = 0;
    snprintf(name, sizeof name, "R%d", i);
    assert_int_equal(logic_iterate(p->db, logic_find(p->db, str_of(name)), &p->dl, &rows), TL_OK);
    for (int k = 0; k < SPACE; k++) want += rels[i].has[k];
    if (logic_rows_count(rows) != want) fail_msg("%s: %zu rows, not %zu:\n%s", name, logic_rows_count(rows), want, text);
    for (size_t r = 0; r < want; r++) {
        int k = 0;
        for (int c = 0; c < rels[i].arity; c++) {
            int v = 0;
            while (v < DOM && value[v] != logic_rows_value(rows, r, c).i) v++;
            k |= v << 2 * c;
        }
        if (!rels[i].has[k]) fail_msg("%s: a wrong row:\n%s", name, text);
    }
    logic_rows_free(rows);
}

static void random_programs(void **state) {
    (void)state;
    size_t derived = 0;
    for (uint64_t s = 1; s <= 400; s++) {
        program p;
        sbuf text = {0};
        random_program(s);
        put_program(&text);
        naive();
        program_open(&p, NULL);
        if (program_run(&p, text.p) != TL_OK) fail_msg("%s\n%s", p.out.p, text.p);
        for (int i = 0; i < RELS; i++) expect_relation(&p, i, text.p);
        for (int i = 3; i < RELS; i++)
            for (int k = 0; k < SPACE; k++) derived += rels[i].has[k];
        program_close(&p);
        sbuf_free(&text);
    }
    assert_true(derived > 4000); // the programs say something
}

// The same facts one at a time with an evaluation after each: only what changed is evaluated again.
static void random_updates(void **state) {
    (void)state;
    for (uint64_t s = 1000; s < 1040; s++) {
        program p;
        sbuf text = {0};
        random_program(s);
        put_program(&text);
        program_open(&p, NULL);
        if (program_run(&p, text.p) != TL_OK) fail_msg("%s\n%s", p.out.p, text.p);
        for (int step = 0; step < 6; step++) {
            logic_value row[MAX_ARITY];
            int rel = (int)rnd(3), k = (int)rnd(1u << 2 * rels[rel].arity);
            char name[8];
            snprintf(name, sizeof name, "R%d", rel);
            rels[rel].has[k] = true;
            for (int i = 3; i < RELS; i++) memset(rels[i].has, 0, sizeof rels[i].has);
            for (int c = 0; c < rels[rel].arity; c++) row[c] = (logic_value){.type = LT_INT, .i = value[k >> 2 * c & 3]};
            assert_int_equal(logic_fact(p.db, logic_find(p.db, str_of(name)), row, NULL), TL_OK);
            naive();
            for (int i = 0; i < RELS; i++) expect_relation(&p, i, text.p);
        }
        program_close(&p);
        sbuf_free(&text);
    }
}

// ---- folds -------------------------------------------------------------------------------------------------
static const char *const fold_names[] = {"count", "sum", "min", "max"};

static int64_t fold(int kind, int64_t have, int64_t v, bool first) {
    if (kind == 0) return first ? 1 : have + 1;
    if (first) return v;
    return kind == 1 ? have + v : kind == 2 ? (v < have ? v : have) : v > have ? v : have;
}

// F(v0, fold(v1)) over the body of a random rule: every assignment of the variables it names counts once.
static void random_folds(void **state) {
    (void)state;
    int checked = 0;
    for (uint64_t s = 5000; s < 5400; s++) {
        random_program(s);
        rule r = rules[n_rules - 1];
        int kind = (int)rnd(4), named = 0;
        if (!r.used[0] || !r.used[1]) continue;
        for (int i = 0; i < r.n; i++)
            for (int c = 0; !r.lit[i].compare && !r.lit[i].negated && c < rels[r.lit[i].rel].arity; c++)
                if (r.lit[i].t[c].var) named |= 3 << 2 * r.lit[i].t[c].v;
        if ((named & 15) != 15) continue;
        sbuf text = {0};
        put_program(&text);
        sbuf_printf(&text, "F(v0, %s(v1))", fold_names[kind]);
        put_body(&text, &r);
        sbuf_puts(&text, "query F(x, y)\n");
        naive();
        sbuf want = {0};
        int order[DOM] = {0, 1, 2, 3};
        for (int g = 0; g < DOM; g++) {
            bool first = true;
            int64_t acc = 0;
            for (int code = 0; code < 1 << 2 * VARS; code++) {
                if ((code & 3) != order[g] || (code & ~named) || !body_holds(&r, code)) continue;
                acc = fold(kind, acc, value[code >> 2 & 3], first);
                first = false;
            }
            if (!first) sbuf_printf(&want, "x=%lld y=%lld\n", (long long)value[order[g]], (long long)acc);
        }
        program p;
        program_open(&p, NULL);
        program_run(&p, text.p);
        if (strcmp(p.out.p ? p.out.p : "", want.p ? want.p : "") != 0) fail_msg("got\n%swant\n%s\n%s", p.out.p, want.p, text.p);
        checked++;
        program_close(&p);
        sbuf_free(&text);
        sbuf_free(&want);
    }
    assert_true(checked > 50);
}

// Shortest ways in random graphs against Floyd and Warshall.
static void random_paths(void **state) {
    (void)state;
    enum { N = 12 };
    for (uint64_t s = 1; s <= 40; s++) {
        int64_t d[N][N];
        sbuf text = {0};
        seed = s;
        sbuf_puts(&text, "relation E(x: int, y: int, w: int)\nrelation D(x: int, y: int, d: int)\n");
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                d[i][j] = 1000000;
                if (rnd(6)) continue;
                d[i][j] = 1 + (int64_t)rnd(50);
                sbuf_printf(&text, "E(%d, %d, %d)\n", i, j, (int)d[i][j]);
            }
        for (int k = 0; k < N; k++)
            for (int i = 0; i < N; i++)
                for (int j = 0; j < N; j++) d[i][j] = d[i][k] + d[k][j] < d[i][j] ? d[i][k] + d[k][j] : d[i][j];
        sbuf_puts(&text, "D(x, y, min(w)) <- E(x, y, w)\n");
        sbuf_puts(&text, s % 2 ? "D(x, z) min= D(x, y) + E(y, z)\n" : "D(x, z) min= D(x, y) + D(y, z)\n");
        sbuf_puts(&text, "query D(x, y, d)\n");
        sbuf want = {0};
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++)
                if (d[i][j] < 1000000) sbuf_printf(&want, "x=%d y=%d d=%d\n", i, j, (int)d[i][j]);
        program p;
        program_open(&p, NULL);
        program_run(&p, text.p);
        assert_string_equal(p.out.p, want.p);
        program_close(&p);
        sbuf_free(&text);
        sbuf_free(&want);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_programs), cmocka_unit_test(random_updates), cmocka_unit_test(random_folds), cmocka_unit_test(random_paths)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
