// test_reject.c - what wrong programs are told (rejected.txt; TL_UPDATE=1 rewrites it), and that errors change nothing.
#include "program.h"
#include "../lang/cases.h"

static void run(str text, sbuf *out) {
    program p;
    char *copy = strndup(text.p, text.n);
    program_open(&p, NULL);
    program_run(&p, copy);
    sbuf_put(out, p.out.p ? p.out.p : "", p.out.n);
    program_close(&p);
    free(copy);
}

static void messages(void **state) {
    (void)state;
    run_cases(TEST_DIR "/rejected.txt", run, 40);
}

static void nothing_changes(void **state) {
    (void)state;
    program p;
    program_open(&p, NULL);
    assert_int_equal(program_run(&p, "relation E(x: int, y: int)\nE(1, 2)\nT(x, y) <- E(x, y)\n"), TL_OK);
    static const char *const wrong[] = {
        "T(x, y) <- E(x, y), not T(y, x)\n", "T(x, sum(y)) <- E(x, y)\n", "T(x, y) <- U(x, y)\n", "V(x, \"a\") <- E(x, y), V(y, y)\n",
        "V(x, z) <- E(x, y)\n",              "V(x) <- E(x, y), not V(y)\n", "E(1, 2, 3)\n",        "E(\"a\", 2)\n",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_int_equal(program_run(&p, wrong[i]), TL_E_PROGRAM);
    assert_null(logic_find(p.db, STR("V")));
    p.out.n = 0;
    assert_int_equal(program_run(&p, "query T(x, y)\nV(x, y, z) <- E(x, y), z == \"a\"\nquery V(x, y, z)\n"), TL_OK);
    assert_string_equal(p.out.p, "x=1 y=2\nx=1 y=2 z=\"a\"\n");
    program_close(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(messages), cmocka_unit_test(nothing_changes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
