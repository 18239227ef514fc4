// logic.c - times the Datalog engine: bench_logic WORKLOAD N M [SEED]. The same graphs in compare.py for clingo and
// DuckDB. Prints rows and milliseconds of one evaluation, and the time to enter the facts.
#include "logic/logic.h"
#include <time.h>

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t state;
static uint64_t next(uint64_t n) { // the same generator as compare.py
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % n;
}

static const struct { const char *name, *rules, *result; } workloads[] = {
    {"tc", "T(x, y) <- E(x, y)\nT(x, z) <- T(x, y), E(y, z)\n", "T"},
    {"sg", "T(x, y) <- E(a, x), E(a, y), x != y\nT(x, y) <- E(a, x), T(a, b), E(b, y)\n", "T"},
    {"paths", "D(y, min(0)) <- E(y, _, _), y == 0\nD(y) min= D(x) + E(x, y)\n", "D"},
};

static tl_status enter(logic_db *db, logic_rel *e, const char *kind, int64_t n, int64_t m) {
    bool tree = strcmp(kind, "sg") == 0; // each node has an earlier one as its parent
    for (int64_t i = 0; i < m; i++) {
        int64_t a = (int64_t)next((uint64_t)n), b = (int64_t)next((uint64_t)n);
        if (tree) b = i + 1, a = (int64_t)next((uint64_t)(i / 3 + 1));
        logic_value v[3] = {{.type = LT_INT, .i = a}, {.type = LT_INT, .i = b}, {.type = LT_INT, .i = (int64_t)next(100) + 1}};
        TL_TRY(logic_fact(db, e, v, NULL));
    }
    return TL_OK;
}

static int run(const char *name, const char *rules, const char *result, int64_t n, int64_t m) {
    arena a = {0};
    diag_list dl = {.a = &a};
    source src = {.name = name, .dir = "", .text = str_of(rules)};
    ast_program *prog;
    logic_db *db;
    logic_rel *e;
    logic_column cols[3] = {{STR("x"), LT_INT, {0}}, {STR("y"), LT_INT, {0}}, {STR("w"), LT_INT, {0}}};
    tl_status status = logic_db_new(NULL, &db, NULL);
    if (status != TL_OK || tl_parse(&a, &src, &dl, &prog) != TL_OK) return 1;
    double t0 = now_ms();
    status = logic_relation(db, STR("E"), cols, strcmp(name, "paths") == 0 ? 3 : 2, &e, NULL);
    if (status == TL_OK) status = enter(db, e, name, n, m);
    for (const ast_stmt *s = prog->items; s && status == TL_OK; s = s->next) status = logic_rule_from_ast(db, s, &dl);
    double t1 = now_ms();
    if (status == TL_OK) status = logic_run(db, &dl);
    double t2 = now_ms();
    sbuf text = {0};
    for (const diag *d = dl.first; d; d = d->next) diag_render(d, &text, false);
    if (status == TL_OK) printf("%s rows %zu ms %.2f load_ms %.2f mib %.1f\n", name, logic_count(logic_find(db, str_of(result))), t2 - t1, t1 - t0, (double)logic_bytes(db) / 1048576);
    else fprintf(stderr, "%s\n", text.p ? text.p : "failed");
    sbuf_free(&text);
    logic_db_free(db);
    arena_free(&a);
    return status != TL_OK;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: bench_logic tc|sg|paths NODES EDGES [SEED]\n");
        return 2;
    }
    state = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (strcmp(argv[1], workloads[i].name) == 0) return run(argv[1], workloads[i].rules, workloads[i].result, atoll(argv[2]), atoll(argv[3]));
    fprintf(stderr, "no workload '%s'\n", argv[1]);
    return 2;
}
