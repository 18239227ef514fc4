// test_text.c - facts as text and as tensors, hooks of the evaluator.
#include "program.h"

static logic_rel *declare(program *p, const char *text, const char *name) {
    assert_int_equal(program_run(p, text), TL_OK);
    return logic_find(p->db, str_of(name));
}

static void round_trip(logic_format f, const char *text) {
    program p;
    sbuf out = {0};
    program_open(&p, NULL);
    logic_rel *r = declare(&p, "relation R(x: entity, y: int, z: float, s: string, b: bool)\n", "R");
    assert_int_equal(logic_load_text(p.db, r, f, str_of(text), NULL), TL_OK);
    assert_int_equal(logic_save_text(p.db, r, f, &out, &p.dl), TL_OK);
    assert_string_equal(out.p, text);
    sbuf_free(&out);
    program_close(&p);
}

static void formats(void **state) {
    (void)state;
    round_trip(LOGIC_TSV, "Alice\t-5\t0.1\ta\\tb\\\\c\\n\ttrue\nBob\t9223372036854775807\t1e+300\t\tfalse\n");
    round_trip(LOGIC_CSV, "Alice,-5,0.1,\"a,b\"\"c\nd\",true\n\"B,ob\",0,2.0,,false\n");
}

static void loading(void **state) {
    (void)state;
    program p;
    program_open(&p, NULL);
    logic_rel *r = declare(&p, "relation Guess(a: any, b: any, c: any)\n", "Guess");
    assert_int_equal(logic_load_text(p.db, r, LOGIC_CSV, STR("1,2,x\r\n\r\n3,4.5,6\r\n"), NULL), TL_OK);
    assert_int_equal(program_run(&p, "query Guess(a, b, c)\n"), TL_OK);
    assert_string_equal(p.out.p, "a=1 b=2.0 c=\"x\"\na=3 b=4.5 c=\"6\"\n");
    program_close(&p);
}

static void refused(logic_format f, const char *text, tl_status want, const char *message) {
    program p;
    tl_error err = {0};
    program_open(&p, NULL);
    logic_rel *r = declare(&p, "relation R(x: string, y: int)\n", "R");
    assert_int_equal(logic_load_text(p.db, r, f, str_of(text), &err), want);
    assert_non_null(strstr(err.message, message));
    assert_int_equal(logic_count(r), 0); // nothing was added
    program_close(&p);
}

static void bad_text(void **state) {
    (void)state;
    refused(LOGIC_TSV, "a\t1\nb\n", TL_E_FORMAT, "line 2: 1 fields for the 2 columns of 'R'");
    refused(LOGIC_TSV, "a\t1\nb\tx\n", TL_E_FORMAT, "line 2, field 2: \"x\" is not an int");
    refused(LOGIC_TSV, "a\t1\nb\t99999999999999999999\n", TL_E_FORMAT, "line 2, field 2");
    refused(LOGIC_TSV, "a\\q\t1\n", TL_E_FORMAT, "line 1: expected \\t");
    refused(LOGIC_TSV, "a\\", TL_E_FORMAT, "line 1: expected \\t");
    refused(LOGIC_CSV, "a,1\n\"b,2\n", TL_E_FORMAT, "line 2: the quote is never closed");
    refused(LOGIC_CSV, "\"a\"b,2\n", TL_E_FORMAT, "line 1: text after a closing quote");
    refused(LOGIC_CSV, "a,1,2\n", TL_E_FORMAT, "line 1: 3 fields");
}

static void files(void **state) {
    (void)state;
    program p;
    tl_error err = {0};
    char path[] = "logic_test_XXXXXX.csv";
    int fd = mkstemps(path, 4);
    assert_true(fd >= 0);
    close(fd);
    program_open(&p, NULL);
    logic_rel *r = declare(&p, "relation E(x: string, y: int)\nE(\"a,b\", 2)\nE(\"c\", 1)\n", "E");
    assert_int_equal(logic_save(p.db, r, path, &p.dl, &err), TL_OK);
    logic_rel *back = declare(&p, "relation F(x: string, y: int)\n", "F");
    assert_int_equal(logic_load(p.db, back, path, &err), TL_OK);
    assert_int_equal(program_run(&p, "query F(x, y)\n"), TL_OK);
    assert_string_equal(p.out.p, "x=\"a,b\" y=2\nx=\"c\" y=1\n");
    remove(path);
    assert_int_equal(logic_load(p.db, back, path, &err), TL_E_IO);
    program_close(&p);
}

// Aunt as a product of two Boolean matrices and as a rule.
static void tensors(void **state) {
    (void)state;
    program p;
    int64_t n[2];
    uint8_t sister[36], parent[36], aunt[36], want[36] = {0};
    program_open(&p, NULL);
    assert_int_equal(program_run(&p, "entity P = {A, B, C, D, E}\nrelation Sister(x: P, y: P)\nrelation Parent(x: P, y: P)\n"
                                     "Sister(A, B)\nSister(C, D)\nParent(B, D)\nParent(D, E)\nParent(B, \"F\")\nAunt(x, z) <- Sister(x, y), Parent(y, z)\n"), TL_OK);
    assert_int_equal(logic_dense_sizes(p.db, logic_find(p.db, STR("Sister")), n, &p.dl, NULL), TL_OK);
    assert_int_equal(n[0], 6);
    assert_int_equal(n[1], 6);
    assert_int_equal(logic_to_dense(p.db, logic_find(p.db, STR("Sister")), n, sister, &p.dl, NULL), TL_OK);
    assert_int_equal(logic_to_dense(p.db, logic_find(p.db, STR("Parent")), n, parent, &p.dl, NULL), TL_OK);
    assert_int_equal(logic_to_dense(p.db, logic_find(p.db, STR("Aunt")), n, aunt, &p.dl, NULL), TL_OK);
    for (int x = 0; x < 6; x++)
        for (int y = 0; y < 6; y++)
            for (int z = 0; z < 6; z++) want[x * 6 + z] |= sister[x * 6 + y] & parent[y * 6 + z];
    assert_memory_equal(aunt, want, 36);
    assert_int_equal(aunt[0 * 6 + 3] + aunt[2 * 6 + 4] + aunt[0 * 6 + 5], 3);
    logic_rel *copy = declare(&p, "relation Copy(x: P, y: P)\nCopy(E, E)\n", "Copy");
    assert_int_equal(logic_from_dense(p.db, copy, n, aunt, NULL), TL_OK);
    assert_int_equal(program_run(&p, "query Copy(x, y)\nquery Copy(x, y) where not Aunt(x, y)\n"), TL_OK);
    assert_string_equal(p.out.p, "x=A y=D\nx=A y=F\nx=C y=E\n");
    n[0] = 7;
    assert_int_equal(logic_from_dense(p.db, copy, n, aunt, NULL), TL_E_USAGE);
    n[0] = 2;
    assert_int_equal(logic_to_dense(p.db, copy, n, aunt, &p.dl, NULL), TL_E_USAGE);
    program_close(&p);
}

// ---- hooks -----------------------------------------------------------------------------------------------
static bool constant(void *ctx, str name, logic_value *out) {
    (void)ctx;
    *out = (logic_value){.type = LT_INT, .i = 3};
    return str_is(name, "limit");
}

static logic_rel *tensor(void *ctx, str name, int arity) {
    program *p = ctx;
    static const uint8_t data[9] = {0, 1, 0, 0, 0, 1, 1, 0, 0};
    static const int64_t sizes[2] = {3, 3};
    const logic_column cols[2] = {{STR("x"), LT_INT, {0}}, {STR("y"), LT_INT, {0}}};
    logic_rel *r;
    if (!str_is(name, "M") || arity != 2 || logic_relation(p->db, name, cols, 2, &r, NULL) != TL_OK) return NULL;
    return logic_from_dense(p->db, r, sizes, data, NULL) == TL_OK ? r : NULL;
}

static tl_status test(void *ctx, const ast_expr *e, const str *names, const logic_value *values, int n, bool *out, tl_error *err) {
    (void)ctx;
    if (e->kind == EX_INDEX && str_is(e->kids->name, "truth")) return err_set(err, TL_E_PROGRAM, "no truth in it");
    *out = n == 1 && str_is(names[0], "x") && values[0].i % 2 == 0; // stands for at[x] <= 1
    return TL_OK;
}

static void hooks(void **state) {
    (void)state;
    program p;
    logic_options o = {.hooks = {.ctx = &p, .constant = constant, .relation = tensor, .test = test}};
    program_open(&p, &o);
    assert_int_equal(program_run(&p, "relation N(x: int)\nN(0)\nN(1)\nN(2)\nN(3)\nN(4)\n"
                                     "query N(limit)\nquery N(x) where x > limit\nquery N(x) where M[x, y], y > x\nquery M(2, z)\n"
                                     "Even(x) <- N(x), at[x] <= 1\nquery Even(x)\nquery N(x) where not at[x] <= 1\n"), TL_OK);
    assert_string_equal(p.out.p, "yes\nx=4\nx=0 y=1\nx=1 y=2\nz=0\nx=0\nx=2\nx=4\nx=1\nx=3\n");
    assert_int_equal(program_run(&p, "query N(x) where x > 0, truth[x]\n"), TL_E_PROGRAM);
    assert_non_null(strstr(p.out.p, "no truth in it"));
    program_close(&p);
}

static bool cancel(void *ctx) {
    (void)ctx;
    return true;
}

static void cancelled(void **state) {
    (void)state;
    program p;
    logic_options o = {.hooks = {.cancelled = cancel}};
    program_open(&p, &o);
    assert_int_equal(program_run(&p, "relation N(x: int)\nN(0)\nN(x + 1) <- N(x)\nP(x, y) <- N(x), N(y), x < y\nquery P(1, 2)\n"), TL_E_CANCELLED);
    program_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats), cmocka_unit_test(loading), cmocka_unit_test(bad_text), cmocka_unit_test(files),
        cmocka_unit_test(tensors), cmocka_unit_test(hooks),   cmocka_unit_test(cancelled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
