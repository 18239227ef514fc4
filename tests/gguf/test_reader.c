// test_reader.c - what is written is read back: every metadata type, every tensor type; conversions; lookups; failing
// allocations.
#include "spec.h"

#include "gguf/gguf.h"
#include "gguf/writer.h"

static gguf *open_image(const sbuf *image) {
    gguf *g;
    tl_error err = {0};
    if (gguf_open_memory(image->p, image->n, &g, &err) != TL_OK) fail_msg("%s", err.message);
    return g;
}

static gguf *open_spec(sbuf *image, const char *spec) {
    spec_put(image, spec);
    return open_image(image);
}

static void every_value(gguf_writer *w) {
    gguf_put_int(w, "u8", GGUF_U8, 255);
    gguf_put_int(w, "i8", GGUF_I8, -128);
    gguf_put_int(w, "u16", GGUF_U16, 65535);
    gguf_put_int(w, "i16", GGUF_I16, -32768);
    gguf_put_int(w, "u32", GGUF_U32, 4294967295);
    gguf_put_int(w, "i32", GGUF_I32, INT32_MIN);
    gguf_put_int(w, "u64", GGUF_U64, INT64_MAX);
    gguf_put_int(w, "i64", GGUF_I64, INT64_MIN);
    gguf_put_float(w, "f32", GGUF_F32, 0.1);
    gguf_put_float(w, "f64", GGUF_F64, 0.1);
    gguf_put_bool(w, "yes", true);
    gguf_put_bool(w, "no", false);
    gguf_put_str(w, "text", STR("caf\xc3\xa9\0!"));
    gguf_put_array(w, "shorts", GGUF_I16, (int16_t[]){1, -2, 3}, 3);
    gguf_put_array(w, "none", GGUF_F32, NULL, 0);
    gguf_put_strs(w, "words", (str[]){STR("a"), STR(""), STR("c\xff")}, 3);
}

static void values_come_back(void **state) {
    static const struct { const char *key; int64_t value; } whole[] = {
        {"u8", 255}, {"i8", -128}, {"u16", 65535}, {"i16", -32768}, {"u32", 4294967295}, {"i32", INT32_MIN}, {"u64", INT64_MAX}, {"i64", INT64_MIN},
    };
    gguf_writer w = {0};
    sbuf image = {0};
    tl_error err = {0};
    (void)state;
    every_value(&w);
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    gguf *g = open_image(&image);
    assert_int_equal(gguf_n_kv(g), 16);
    assert_int_equal(gguf_n_tensors(g), 0);
    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_file_size(g), image.n);
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        int64_t n = 7;
        double f = 7;
        assert_int_equal(gguf_get_int(g, whole[i].key, &n, &err), TL_OK);
        assert_true(n == whole[i].value);
        assert_int_equal(gguf_get_float(g, whole[i].key, &f, &err), TL_OK);
        assert_true(f == (double)whole[i].value);
    }
    double f;
    bool b;
    str s;
    assert_int_equal(gguf_get_float(g, "f32", &f, &err), TL_OK);
    assert_true(f == (double)0.1f);
    assert_int_equal(gguf_get_float(g, "f64", &f, &err), TL_OK);
    assert_true(f == 0.1);
    assert_true(gguf_get_bool(g, "yes", &b, &err) == TL_OK && b);
    assert_true(gguf_get_bool(g, "no", &b, &err) == TL_OK && !b);
    assert_int_equal(gguf_get_str(g, "text", &s, &err), TL_OK);
    assert_true(str_eq(s, STR("caf\xc3\xa9\0!")));
    gguf_close(g);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

static void arrays_come_back(void **state) {
    gguf_writer w = {0};
    sbuf image = {0};
    tl_error err = {0};
    int64_t n;
    uint64_t count;
    const str *words, *again;
    (void)state;
    every_value(&w);
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    gguf *g = open_image(&image);
    const gguf_value *v = gguf_find(g, STR("shorts"));
    assert_true(v && v->type == GGUF_ARR && v->elem == GGUF_I16 && v->count == 3 && v->bytes == 6);
    assert_true(v->data == (const uint8_t *)image.p + v->offset);
    assert_true(gguf_value_int(v, 1, &n) && n == -2);
    assert_false(gguf_value_int(v, 3, &n));
    assert_false(gguf_value_int(v, UINT64_MAX, &n));
    assert_int_equal(gguf_find(g, STR("none"))->count, 0);
    assert_int_equal(gguf_strings(g, "words", &words, &count, &err), TL_OK);
    assert_int_equal(count, 3);
    assert_true(str_is(words[0], "a") && words[1].n == 0 && str_is(words[2], "c\xff"));
    assert_int_equal(gguf_strings(g, "words", &again, &count, &err), TL_OK);
    assert_ptr_equal(words, again);
    gguf_close(g);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

// Asked for as another type: TL_E_FORMAT, the message naming the key, what it is and what was wanted.
static void wrong_types_are_told(void **state) {
    sbuf image = {0};
    tl_error err;
    int64_t n;
    double f;
    bool b;
    str s;
    const str *strs;
    uint64_t count;
    (void)state;
    gguf *g = open_spec(&image, HEAD(0, 4) "s'number' 4:4 7:4 s'big' 10:4 -1:8 s'list' 9:4 4:4 1:8 5:4 s'text' 8:4 s'x'");
    assert_int_equal(gguf_get_int(g, "text", &n, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "key text is a string, wanted is an integer"));
    assert_int_equal(gguf_get_int(g, "big", &n, &err), TL_E_FORMAT); // beyond int64
    assert_int_equal(gguf_get_float(g, "big", &f, &err), TL_OK);
    assert_true(f == 18446744073709551615.0);
    assert_int_equal(gguf_get_int(g, "list", &n, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "key list is an array of u32"));
    assert_int_equal(gguf_get_bool(g, "number", &b, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "key number is the u32 7, wanted is a bool"));
    assert_true(err.offset > 0);
    assert_int_equal(gguf_get_str(g, "number", &s, &err), TL_E_FORMAT);
    assert_int_equal(gguf_get_float(g, "text", &f, &err), TL_E_FORMAT);
    assert_int_equal(gguf_strings(g, "list", &strs, &count, &err), TL_E_FORMAT);
    assert_int_equal(gguf_get_int(g, "absent", &n, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "absent"));
    assert_null(gguf_find(g, STR("numbe")));
    gguf_close(g);
    sbuf_free(&image);
}

static void every_tensor_type_comes_back(void **state) {
    gguf_writer w = {.alignment = 64};
    sbuf image = {0};
    tl_error err = {0};
    uint8_t data[2 * 2048];
    (void)state;
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 37 + i / 256);
    for (int t = 0; t < DT_COUNT; t++)
        if (dtype_table[t].gguf_id >= 0) gguf_put_tensor(&w, dtype_table[t].name, (tl_dtype)t, 2, (int64_t[]){256, 2}, data);
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    gguf *g = open_image(&image);
    assert_int_equal(gguf_n_tensors(g), DT_COUNT - 1); // all but BOOL
    for (int t = 0; t < DT_COUNT; t++) {
        const gguf_tensor *x = gguf_tensor_find(g, str_of(dtype_table[t].name));
        if (dtype_table[t].gguf_id < 0) continue;
        assert_true(x && x->type == (tl_dtype)t && x->rank == 2 && x->ne[0] == 256 && x->ne[1] == 2 && x->ne[2] == 1 && x->ne[3] == 1);
        assert_int_equal(x->bytes, 512 / dtype_table[t].block_values * dtype_table[t].block_bytes);
        assert_int_equal(x->offset % 64, 0);
        assert_memory_equal(x->data, data, x->bytes);
    }
    assert_null(gguf_tensor_find(g, STR("Q4")));
    assert_null(gguf_tensor_at(g, gguf_n_tensors(g)));
    gguf_close(g);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

// Tensors may lie in any order and with gaps, as long as they do not overlap; trailing bytes do no harm; version 2 is
// laid out like version 3; an empty file is valid.
static void unusual_files_are_read(void **state) {
    static const char *const specs[] = {
        HEAD(2, 0) "s'a' 1:4 8:8 0:4 64:8 s'b' 1:4 8:8 0:4 0:8 p32 z96 'trailing'",
        "M 2:4 2:8 0:8 s'a' 1:4 8:8 0:4 64:8 s'b' 4:4 2:8 2:8 2:8 1:8 0:4 0:8 p32 z96",
        HEAD(0, 0),
        HEAD(0, 1) "s'general.alignment' 4:4 8:4",
        HEAD(0, 1) "s'a key with spaces \xc3\xa9' 0:4 1:1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        sbuf image = {0};
        gguf_close(open_spec(&image, specs[i]));
        sbuf_free(&image);
    }
}

static void many_names_are_found(void **state) {
    gguf_writer w = {0};
    sbuf image = {0};
    tl_error err = {0};
    char name[32];
    float zeros[8] = {0};
    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof name, "t%d", (i * 7919) % 3000);
        gguf_put_tensor(&w, name, DT_F32, 1, (int64_t[]){1 + i % 8}, zeros);
        gguf_put_int(&w, name, GGUF_I32, i);
    }
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    gguf *g = open_image(&image);
    for (int i = 0; i < 3000; i++) {
        int64_t n;
        snprintf(name, sizeof name, "t%d", (i * 7919) % 3000);
        assert_ptr_equal(gguf_tensor_find(g, str_of(name)), gguf_tensor_at(g, (size_t)i));
        assert_true(gguf_get_int(g, name, &n, &err) == TL_OK && n == i);
    }
    gguf_close(g);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

static void writer_refuses(void **state) {
    char long_name[80] = "";
    gguf_writer w;
    tl_error err;
    sbuf image = {0};
    (void)state;
    memset(long_name, 'x', 64);
    for (int i = 0; i < 10; i++) {
        w = (gguf_writer){0};
        err = (tl_error){0};
        switch (i) {
        case 0: gguf_put_int(&w, "k", GGUF_U8, 256); break;
        case 1: gguf_put_int(&w, "k", GGUF_U64, -1); break;
        case 2: gguf_put_int(&w, "k", GGUF_I16, -32769); break;
        case 3: gguf_put_int(&w, "k", GGUF_F32, 1); break;
        case 4: gguf_put_str(&w, "", STR("v")); break;
        case 5: gguf_put_tensor(&w, long_name, DT_F32, 1, (int64_t[]){1}, &i); break;
        case 6: gguf_put_tensor(&w, "w", DT_Q4_0, 1, (int64_t[]){33}, &i); break;
        case 7: gguf_put_tensor(&w, "w", DT_BOOL, 1, (int64_t[]){1}, &i); break;
        case 8: gguf_put_tensor(&w, "w", DT_F32, 2, (int64_t[]){INT64_MAX, 2}, &i); break;
        case 9: w.alignment = 48; break;
        }
        assert_int_equal(gguf_image(&w, &image, &err), TL_E_USAGE);
        assert_true(err.message[0] != 0);
        gguf_writer_free(&w);
    }
    sbuf_free(&image);
}

// With the nth allocation failing, for every n: TL_E_MEMORY, and (under the sanitizer) nothing lost.
static void failing_allocations_are_survived(void **state) {
    gguf_writer w = {0};
    sbuf image = {0};
    float data[32] = {0};
    tl_error err = {0};
    bool done = false;
    (void)state;
    every_value(&w);
    gguf_put_tensor(&w, "late", DT_F32, 1, (int64_t[]){32}, data);
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    for (int n = 0; !done && n < 1000; n++) {
        gguf *g = NULL;
        const str *words;
        uint64_t count;
        mem_fail_after(n);
        tl_status status = gguf_open_memory(image.p, image.n, &g, &err);
        if (status == TL_OK) status = gguf_strings(g, "words", &words, &count, &err);
        mem_fail_after(-1);
        if (status == TL_OK) done = n > 5;
        else assert_int_equal(status, TL_E_MEMORY);
        gguf_close(g);
    }
    assert_true(done);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

static void failing_writes_are_survived(void **state) {
    float data[32] = {0};
    bool done = false;
    (void)state;
    for (int n = 0; !done && n < 1000; n++) {
        gguf_writer w = {0};
        sbuf image = {0};
        tl_error err;
        mem_fail_after(n);
        every_value(&w);
        gguf_put_tensor(&w, "late", DT_F32, 1, (int64_t[]){32}, data);
        tl_status status = gguf_image(&w, &image, &err);
        mem_fail_after(-1);
        if (status == TL_OK) done = n > 3;
        else assert_int_equal(status, TL_E_MEMORY);
        gguf_writer_free(&w);
        sbuf_free(&image);
    }
    assert_true(done);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),
        cmocka_unit_test(arrays_come_back),
        cmocka_unit_test(wrong_types_are_told),
        cmocka_unit_test(every_tensor_type_comes_back),
        cmocka_unit_test(unusual_files_are_read),
        cmocka_unit_test(many_names_are_found),
        cmocka_unit_test(writer_refuses),
        cmocka_unit_test(failing_allocations_are_survived),
        cmocka_unit_test(failing_writes_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
