// cmocka.h - what the kernels' tests use of cmocka, for a machine that has no cmocka: the first failure ends the test.
#ifndef TL_TEST_SHIM_CMOCKA_H
#define TL_TEST_SHIM_CMOCKA_H
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};
#define cmocka_unit_test(f) {#f, f}
#define fail_msg(...) (fprintf(stderr, "%s:%d: ", __FILE__, __LINE__), fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), exit(1))
#define shim_check(holds, what) ((holds) ? (void)0 : fail_msg("%s", what))
#define assert_true(x) shim_check(x, #x)
#define assert_false(x) shim_check(!(x), "not " #x)
#define assert_null(x) shim_check((x) == NULL, #x " is NULL")
#define assert_non_null(x) shim_check((x) != NULL, #x " is not NULL")
#define assert_int_equal(a, b) shim_check((long long)(a) == (long long)(b), #a " == " #b)
#define assert_ptr_equal(a, b) shim_check((const void *)(a) == (const void *)(b), #a " == " #b)
#define assert_string_equal(a, b) shim_check(strcmp(a, b) == 0, #a " is " #b)
#define assert_memory_equal(a, b, n) shim_check(memcmp(a, b, n) == 0, #a " has the bytes of " #b)

static inline int shim_run(const struct CMUnitTest *tests, size_t n, int (*setup)(void **), int (*teardown)(void **)) {
    void *state = NULL;
    if (setup && setup(&state) != 0) fail_msg("the tests could not be set up");
    for (size_t i = 0; i < n; i++) {
        printf("%s\n", tests[i].name);
        fflush(stdout);
        tests[i].run(&state);
    }
    return teardown ? teardown(&state) : 0;
}
#define cmocka_run_group_tests(tests, setup, teardown) shim_run(tests, sizeof(tests) / sizeof *(tests), setup, teardown)
#endif
