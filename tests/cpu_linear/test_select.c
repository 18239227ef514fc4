// cpu_select: names, TL_CPU, complete tables.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cpu/kernels.h"

static void names(void **state) {
    (void)state;
    const cpu_kernels *k = NULL;
    tl_error err = {0};
    unsetenv("TL_CPU");
    assert_int_equal(cpu_select("ref", &k, &err), TL_OK);
    assert_string_equal(k->isa, "ref");
    assert_int_equal(cpu_select("sse\n1", &k, &err), TL_E_USAGE);
    assert_non_null(strstr(err.message, "ref"));
    assert_null(strchr(err.message, '\n'));
    assert_int_equal(cpu_select(NULL, &k, &err), TL_OK);
    const cpu_kernels *best = k;
    setenv("TL_CPU", "ref", 1);
    assert_int_equal(cpu_select(NULL, &k, &err), TL_OK);
    assert_string_equal(k->isa, "ref");
    assert_int_equal(cpu_select(best->isa, &k, &err), TL_OK); // an argument wins over the environment
    assert_ptr_equal(k, best);
    setenv("TL_CPU", "no", 1);
    assert_int_equal(cpu_select(NULL, &k, &err), TL_E_USAGE);
    unsetenv("TL_CPU");
}

// Every entry after the name is a function pointer; those of tiles are all there or none.
static void tables_are_complete(void **state) {
    (void)state;
    static const char *const all[] = {"ref", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "neon", "dotprod", "i8mm"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const cpu_kernels *k;
        tl_error err;
        tl_status status = cpu_select(all[i], &k, &err);
        if (status != TL_OK) continue; // not on this machine
        void *const *entries = (void *const *)(const void *)k;
        enum { TILES = offsetof(cpu_kernels, tiled) / sizeof(void *) };
        for (size_t e = 1; e < sizeof *k / sizeof *entries; e++)
            if (e < TILES || e >= TILES + 3) assert_non_null(entries[e]);
        assert_true(!k->tiled == !k->act_tile && !k->tiled == !k->linear_tiled);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(tables_are_complete)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
