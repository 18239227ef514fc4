// test_text.c - slices, escapes, byte buffers, errors, element types and 16-bit floats.
#include <math.h>

#include "base/dtype.h"
#include "cmocka_all.h"

static void slices(void **state) {
    (void)state;
    assert_true(str_eq(STR("ab"), (str){"abc", 2}));
    assert_false(str_eq(STR("ab"), STR("ac")));
    assert_true(str_eq((str){NULL, 0}, STR("")));
    assert_true(str_is(STR("word"), "word"));
    assert_true(str_starts(STR("word"), STR("wo")));
    assert_false(str_starts(STR("w"), STR("wo")));
    assert_int_equal(str_of(NULL).n, 0);
    assert_true(str_hash(STR("a long enough key")) == str_hash(STR("a long enough key")));
    assert_true(str_hash(STR("a long enough key")) != str_hash(STR("a long enough kez")));
}

static void escapes(void **state) {
    (void)state;
    static const struct { const char *in, *out; } cases[] = {
        {"plain", "plain"},
        {"tab\there", "tab\\x09here"},
        {"\x1b[31m", "\\x1b[31m"},
        {"caf\xc3\xa9", "caf\xc3\xa9"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"\xc3", "\\xc3"},                     // cut sequence
        {"\xc0\xaf", "\\xc0\\xaf"},            // overlong
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},   // surrogate
        {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"}, // past U+10FFFF
        {"\xc2\x85", "\\xc2\\x85"},            // a C1 control
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\x7f", "\\x7f"},
        {"", ""},
    };
    char buf[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(str_escape(buf, sizeof buf, str_of(cases[i].in)), cases[i].out);
    for (size_t cap = 1; cap < 20; cap++) { // never past the end, always terminated, cut marked where there is room
        memset(buf, '#', sizeof buf);
        str_escape(buf, cap, STR("\x01\x02 and more text than fits"));
        assert_true(strlen(buf) < cap);
        assert_int_equal(buf[cap], '#');
        if (cap >= 12) assert_non_null(strstr(buf, "..."));
    }
}

static void buffers(void **state) {
    (void)state;
    sbuf b = {0};
    for (int i = 0; i < 300; i++) {
        sbuf_puts(&b, "ab");
        sbuf_putc(&b, 'c');
    }
    assert_int_equal(b.n, 900);
    assert_int_equal(strlen(b.p), 900);
    sbuf_free(&b);
    sbuf_printf(&b, "%s=%d", "x", 5);
    assert_string_equal(b.p, "x=5");
    char wide[1001];
    memset(wide, 'w', 1000);
    wide[1000] = 0;
    sbuf_printf(&b, "[%s]", wide); // longer than the buffer on the stack
    assert_int_equal(b.n, 3 + 1002);
    assert_int_equal(b.p[b.n - 1], ']');
    assert_false(b.failed);
    mem_fail_after(0);
    while (!b.failed) sbuf_putc(&b, 'z');
    mem_fail_after(-1);
    size_t n = b.n;
    sbuf_puts(&b, "nothing more");
    assert_int_equal(b.n, n);
    assert_int_equal(b.p[n], 0);
    sbuf_free(&b);
}

static tl_status fails_inside(tl_error *err) {
    TL_TRY(err_at(err, TL_E_USAGE, 42, "no %s", "way"));
    return TL_OK;
}

static void errors(void **state) {
    (void)state;
    tl_error err = {0};
    assert_int_equal(fails_inside(&err), TL_E_USAGE);
    assert_int_equal(err.code, TL_E_USAGE);
    assert_int_equal(err.offset, 42);
    assert_string_equal(err.message, "no way");
    assert_int_equal(err_set(&err, TL_E_MEMORY, "%0999d", 1), TL_E_MEMORY);
    assert_true(strlen(err.message) < sizeof err.message);
    assert_int_equal(err.offset, -1);
    assert_int_equal(err_set(NULL, TL_E_MEMORY, "nobody listens"), TL_E_MEMORY);
}

static void element_types(void **state) {
    (void)state;
    size_t n;
    for (int t = 0; t < DT_COUNT; t++) {
        const dtype_info *d = &dtype_table[t];
        assert_int_equal(dtype_from_name(str_of(d->name)), t);
        if (d->gguf_id >= 0) assert_int_equal(dtype_from_gguf((uint32_t)d->gguf_id), t);
        assert_true(dtype_bytes((tl_dtype)t, d->block_values, &n));
        assert_int_equal(n, d->block_bytes);
        if (d->block_values > 1) assert_false(dtype_bytes((tl_dtype)t, d->block_values + 1, &n));
    }
    assert_true(dtype_bytes(DT_Q4_K, 512, &n));
    assert_int_equal(n, 288);
    assert_int_equal(dtype_from_gguf(4), DT_COUNT);
    assert_int_equal(dtype_from_name(STR("float32")), DT_F32);
    assert_int_equal(dtype_from_name(STR("q8_0")), DT_Q8_0);
    assert_int_equal(dtype_from_name(STR("q9")), DT_COUNT);
    assert_false(dtype_bytes(DT_F32, -1, &n));
    assert_false(dtype_bytes(DT_F64, INT64_MAX, &n));
}

static uint32_t bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

static double half_value(int h) { // of a finite, non-negative pattern
    int e = h >> 10, m = h & 1023;
    return e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
}

static void halves(void **state) {
    (void)state;
    for (int h = 0; h < 0x7c00; h++) {
        float f = f16_to_f32((uint16_t)h);
        assert_true(f == half_value(h));
        assert_int_equal(f32_to_f16(f), h);
        assert_int_equal(f32_to_f16(-f), h | 0x8000);
        // halfway to the next one goes to the even one, and one step beside it to the nearer one
        float mid = (float)((half_value(h) + (h == 0x7bff ? 65536.0 : half_value(h + 1))) / 2);
        assert_int_equal(f32_to_f16(mid), h + (h & 1));
        assert_int_equal(f32_to_f16(nextafterf(mid, 0)), h);
        assert_int_equal(f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
    }
    for (int h = 0x7c01; h < 0x8000; h++) {
        assert_true(isnan(f16_to_f32((uint16_t)h)));
        assert_int_equal(f32_to_f16(f16_to_f32((uint16_t)h)), h | 0x200);
    }
    assert_int_equal(f32_to_f16(INFINITY), 0x7c00);
    assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
    assert_int_equal(f32_to_f16(1e10f), 0x7c00);
    assert_int_equal(f32_to_f16(1e-30f), 0);
    assert_true(bits(f16_to_f32(0x8000)) == 0x80000000u);
}

static void bfloats(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        float f = bf16_to_f32((uint16_t)h);
        if (isnan(f)) assert_true(isnan(bf16_to_f32(f32_to_bf16(f))));
        else assert_int_equal(f32_to_bf16(f), h);
    }
    assert_int_equal(f32_to_bf16(1.00390625f), 0x3f80); // 1 + 2^-8: halfway, to even
    assert_int_equal(f32_to_bf16(1.01171875f), 0x3f82); // 1 + 3 * 2^-8
    assert_int_equal(f32_to_bf16(3.4e38f), 0x7f80);     // rounds to infinity
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices), cmocka_unit_test(escapes),       cmocka_unit_test(buffers), cmocka_unit_test(errors),
        cmocka_unit_test(halves), cmocka_unit_test(element_types), cmocka_unit_test(bfloats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
