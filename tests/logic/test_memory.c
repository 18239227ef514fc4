// test_memory.c - every allocation fails once: no crash, no leak, TL_E_MEMORY, and the database still answers.
#include "program.h"

static const char text[] =
    "entity P = {A, B, C}\n"
    "relation Parent(x: P, y: P)\nrelation W(x: P, y: P, w: int)\n"
    "Parent(A, B)\nParent(B, C)\nW(A, B, 70000000000)\nW(B, C, 2)\nW(A, C, -1)\n"
    "Anc(x, z) <- Parent(x, z)\nAnc(x, z) <- Anc(x, y), Parent(y, z)\n"
    "Kids(x, n) <- P(x), n == count[y](Parent(x, y))\n"
    "Total(x, sum(w)) <- W(x, _, w)\nMean(x, avg(w)) <- W(x, y, w)\n"
    "Dist(x, min(0)) <- P(x), x == A\nDist(y) min= Dist(x) + W(x, y)\n"
    "Lone(x) <- P(x), not Anc(_, x)\n"
    "query Anc(A, z) where z != B\nquery Kids(x, n)\nquery Total(x, n)\nquery Mean(x, n)\nquery Dist(x, d)\nquery Lone(x)\n"
    "query Nothing(x)\nR(x, y) <- P(x)\n";
static const char want[] =
    "z=C\nx=A n=1\nx=B n=1\nx=C n=0\nx=A n=69999999999\nx=B n=2\nx=A n=34999999999.5\nx=B n=2.0\nx=A d=0\nx=B d=70000000000\nx=C d=-1\nx=A\n"
    "t.tl:23:7: error: there is no relation 'Nothing'\n";

// The messages' own memory (rendering, the parser) is not under test: it does not fail.
static tl_status attempt(int64_t n, bool *complete) {
    program p;
    logic_db *db;
    ast_program *prog;
    memset(&p, 0, sizeof p);
    p.dl.a = &p.a;
    source src = {.name = "t.tl", .dir = "", .text = str_of(text)};
    assert_int_equal(tl_parse(&p.a, &src, &p.dl, &prog), TL_OK);
    mem_fail_after(n);
    tl_status status = logic_db_new(NULL, &db, NULL);
    p.db = db;
    for (const ast_stmt *s = prog->items; s && status != TL_E_MEMORY; s = s->next) status = program_statement(&p, s);
    sbuf csv = {0};
    if (status != TL_E_MEMORY) status = logic_save_text(db, logic_find(db, STR("W")), LOGIC_TSV, &csv, &p.dl);
    if (status == TL_OK) status = logic_load_text(db, logic_find(db, STR("W")), LOGIC_TSV, (str){csv.p, csv.n}, NULL);
    mem_fail_after(-1);
    sbuf_free(&csv);
    *complete = status != TL_E_MEMORY && !p.out.failed;
    if (*complete) {
        for (const diag *d = p.dl.first; d; d = d->next) diag_render(d, &p.out, false);
        if (strncmp(p.out.p, want, strlen(want)) != 0) fail_msg("%s", p.out.p);
    } else if (db && logic_find(db, STR("Parent"))) {
        logic_rows *rows;
        status = logic_iterate(db, logic_find(db, STR("Parent")), &p.dl, &rows);
        assert_int_equal(status, TL_OK);
        logic_rows_free(rows);
    }
    p.n_sources = 0;
    program_close(&p);
    return status;
}

static void each_allocation(void **state) {
    (void)state;
    bool complete = false;
    int64_t n = 0;
    for (; !complete && n < 100000; n++) attempt(n, &complete);
    assert_true(complete);
    assert_true(n > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
