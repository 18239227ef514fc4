// test_memory.c - checked sizes, allocation failure, arena, vector and map of base.h.
#include "base/base.h"

#include "cmocka_all.h"

static void sizes(void **state) {
    (void)state;
    size_t out;
    assert_true(size_mul(1u << 20, 1u << 20, &out));
    assert_true(out == (size_t)1 << 40);
    assert_false(size_mul(SIZE_MAX / 2, 3, &out));
    assert_true(size_add(SIZE_MAX - 1, 1, &out));
    assert_true(out == SIZE_MAX);
    assert_false(size_add(SIZE_MAX, 1, &out));
}

static void allocation_fails_once(void **state) {
    (void)state;
    int64_t before = mem_count();
    mem_fail_after(1);
    void *first = mem_alloc(8), *second = mem_alloc(8), *third = mem_alloc_aligned(10, 64);
    mem_fail_after(-1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    assert_true((uintptr_t)third % 64 == 0);
    assert_int_equal(mem_count() - before, 3);
    mem_free(first);
    mem_free_aligned(third);
    assert_null(mem_calloc(SIZE_MAX / 2, 3));
    assert_null(mem_alloc_aligned(SIZE_MAX - 5, 64));
}

static void arena_gives_zeroed_aligned_memory(void **state) {
    (void)state;
    arena a = {0};
    for (int round = 0; round < 2; round++) {
        for (size_t size = 0; size < 3000; size += 37) {
            unsigned char *p = arena_alloc(&a, size);
            assert_true((uintptr_t)p % 16 == 0);
            for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
            memset(p, 0xee, size);
        }
        unsigned char *big = arena_alloc(&a, 300000); // larger than a block
        assert_int_equal(big[299999], 0);
        assert_true(a.total >= 300000);
        arena_free(&a);
        assert_true(a.total == 0);
    }
    char *s = arena_strndup(&a, "slice", 3);
    assert_string_equal(s, "sli");
    assert_string_equal(arena_printf(&a, "%d %s", 7, s), "7 sli");
    int data[3] = {1, 2, 3};
    assert_memory_equal(arena_dup(&a, data, sizeof data), data, sizeof data);
    arena_free(&a);
}

static jmp_buf escape;
static size_t refused;
static void on_fail(void *ctx, size_t size) {
    assert_ptr_equal(ctx, &escape);
    refused = size;
    longjmp(escape, 1);
}

static void arena_stops_at_its_limit(void **state) {
    (void)state;
    arena a = {.limit = 200 * 1024, .on_fail = on_fail, .fail_ctx = &escape};
    volatile int got = 0;
    if (setjmp(escape) == 0) {
        for (;;) {
            arena_alloc(&a, 1000);
            got++;
        }
    }
    assert_int_equal(refused, 1000);
    assert_in_range(got, 100, 210);
    assert_true(a.total <= a.limit);
    refused = 0;
    if (setjmp(escape) == 0) arena_alloc(&a, SIZE_MAX - 4); // the size itself overflows
    assert_true(refused == SIZE_MAX - 4);
    arena_free(&a);
    mem_fail_after(0);
    if (setjmp(escape) == 0) arena_alloc(&a, 10);
    mem_fail_after(-1);
    assert_int_equal(refused, 10);
    arena_free(&a);
}

static void vectors(void **state) {
    (void)state;
    VEC(int) v = {0};
    for (int i = 0; i < 1000; i++) assert_true(vec_push(&v, i * 3));
    assert_int_equal(v.n, 1000);
    for (int i = 0; i < 1000; i++) assert_int_equal(v.p[i], i * 3);
    while (v.n < v.cap) assert_true(vec_push(&v, 1));
    size_t n = v.n;
    mem_fail_after(0);
    assert_false(vec_push(&v, 5));
    mem_fail_after(-1);
    assert_int_equal(v.n, n); // unchanged
    assert_int_equal(v.p[999], 2997);
    assert_false(vec_reserve(&v, SIZE_MAX / 2));
    vec_free(&v);
    assert_true(v.p == NULL && v.n == 0 && v.cap == 0);
}

static void maps(void **state) {
    (void)state;
    enum { N = 5000 };
    map m = {0};
    arena a = {0};
    assert_null(map_get(&m, STR("absent")));
    for (int i = 0; i < N; i++) assert_true(map_put(&m, str_of(arena_printf(&a, "key %d", i)), i));
    assert_true(map_put(&m, STR("key 17"), -17));
    assert_true(map_put(&m, (str){NULL, 0}, 99)); // the empty key is a key
    assert_true(map_put(&m, (str){"nul\0in it", 9}, 1));
    assert_int_equal(m.n, N + 2);
    for (int i = 0; i < N; i++) {
        char key[32];
        snprintf(key, sizeof key, "key %d", i);
        int64_t *value = map_get(&m, str_of(key));
        assert_non_null(value);
        assert_int_equal(*value, i == 17 ? -17 : i);
    }
    assert_int_equal(*map_get(&m, STR("")), 99);
    assert_null(map_get(&m, (str){"nul\0in IT", 9}));
    assert_null(map_get(&m, STR("key")));
    map_free(&m);
    arena_free(&a);
}

static void map_survives_failed_growth(void **state) {
    (void)state;
    map m = {0};
    static char keys[64][12];
    int put = 0;
    for (; put < 64; put++) {
        snprintf(keys[put], sizeof keys[put], "%d", put);
        mem_fail_after(put > 0 ? 0 : -1); // the first may allocate; then growth fails
        bool ok = map_put(&m, str_of(keys[put]), put);
        mem_fail_after(-1);
        if (!ok) break;
    }
    assert_in_range(put, 4, 63);
    assert_int_equal(m.n, put);
    for (int i = 0; i < put; i++) assert_int_equal(*map_get(&m, str_of(keys[i])), i);
    assert_true(map_put(&m, str_of(keys[put]), put));
    map_free(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(allocation_fails_once),
        cmocka_unit_test(arena_gives_zeroed_aligned_memory),
        cmocka_unit_test(arena_stops_at_its_limit),
        cmocka_unit_test(vectors),
        cmocka_unit_test(maps),
        cmocka_unit_test(map_survives_failed_growth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
