// test_malformed.c - files that lie (G1 to G33 of the list of malformed inputs that concern the file's structure). Every
// one must be refused with the right status, a message that names what is wrong, and the place in the file.
#include "spec.h"

#include "gguf/gguf.h"
#include "gguf/survey.h"

typedef struct bad_file {
    const char *name, *spec;
    tl_status status;
    int64_t offset;
    const char *says; // part of the message
} bad_file;

#define KEY HEAD(0, 1) "s'k' " // the value type comes next, at byte 33
#define TENSOR HEAD(1, 0) "s'w' " // the rank comes next, at byte 33
#define ROW "1:4 32:8 0:4 "       // one dimension of 32, F32; then the offset, at byte 49

static const bad_file bad_files[] = {
    // Header.
    {"G2 magic only", "M", TL_E_FORMAT, 4, "within its version"},
    {"G2 no counts", "M 3:4", TL_E_FORMAT, 8, "within its tensor count"},
    {"G2 23 bytes", "M 3:4 0:8 z7", TL_E_FORMAT, 16, "within its key count"},
    {"G3 magic", "'GGML' 3:4 0:8 0:8", TL_E_FORMAT, 0, "no GGUF file"},
    {"G3 lower case", "'gguf' 3:4 0:8 0:8", TL_E_FORMAT, 0, "67 67 75 66"},
    {"G4 version 0", "M 0:4 0:8 0:8", TL_E_UNSUPPORTED, 4, "version 0"},
    {"G4 version 1", "M 1:4 0:8 0:8", TL_E_UNSUPPORTED, 4, "version 1"},
    {"G4 version 4", "M 4:4 0:8 0:8", TL_E_UNSUPPORTED, 4, "version 4"},
    {"G4 version -1", "M -1:4 0:8 0:8", TL_E_UNSUPPORTED, 4, "version 4294967295"},
    {"G5 big endian", "M 0x03000000:4 0:8 0:8", TL_E_UNSUPPORTED, 4, "big-endian"},
    {"G6 tensors 2^63", HEAD(9223372036854775808, 0), TL_E_FORMAT, 8, "tensor count of 9223372036854775808"},
    {"G6 tensors -1", HEAD(-1, 0), TL_E_FORMAT, 8, "tensor count of 18446744073709551615"},
    {"G6 SIZE_MAX/56", HEAD(329406144173384850, 0), TL_E_FORMAT, 8, "tensor count"},
    {"G6 one more than there are", HEAD(2, 0) "s'w' " ROW "0:8 p32 z128", TL_E_FORMAT, 57, "tensor number 1"},
    {"G7 keys 2^63", HEAD(0, 9223372036854775808), TL_E_FORMAT, 16, "key count of 9223372036854775808"},
    {"G7 keys -1", HEAD(0, -1), TL_E_FORMAT, 16, "key count of 18446744073709551615"},
    {"G7 one more than there are", HEAD(0, 2) "s'k' 8:4 s'twelve bytes'", TL_E_FORMAT, 57, "key number 1"},
    {"G7 above the limit", HEAD(0, 70000) "z1000000", TL_E_UNSUPPORTED, 16, "above the limit"},
    {"G6 above the limit", HEAD(140000, 0) "z5000000", TL_E_UNSUPPORTED, 8, "above the limit"},
    {"G9 GGUF at an offset", "z16 " HEAD(0, 0), TL_E_FORMAT, 0, "no GGUF file"},
    // Keys and values.
    {"G11 key length 0", HEAD(0, 1) "s'' 8:4 s'v' z8", TL_E_FORMAT, 24, "is empty"},
    {"G11 key length -1", HEAD(0, 1) "-1:8 'k' 8:4 s'v'", TL_E_FORMAT, 24, "18446744073709551615 bytes"},
    {"G11 key of 65536", HEAD(0, 1) "s#65536 8:4 s'v'", TL_E_FORMAT, 24, "65536 bytes"},
    {"G11 key past the end", HEAD(0, 1) "100:8 z50", TL_E_FORMAT, 24, "only 50 remain"},
    {"G12 NUL in key", HEAD(0, 1) "3:8 'a' 0:1 'b' 8:4 s'v'", TL_E_FORMAT, 24, "control character"},
    {"G12 terminal escape in key", HEAD(0, 1) "s'\33[2J' 8:4 s'v'", TL_E_FORMAT, 24, "control character"},
    {"G12 C1 control in key", HEAD(0, 1) "s'\xc2\x9b' 8:4 s'v'", TL_E_FORMAT, 24, "control character"},
    {"G12 invalid UTF-8 in key", HEAD(0, 1) "s'\xff' 8:4 s'v'", TL_E_FORMAT, 24, "not valid UTF-8"},
    {"G12 overlong UTF-8 in key", HEAD(0, 1) "s'\xe0\x80\x80' 8:4 s'v'", TL_E_FORMAT, 24, "not valid UTF-8"},
    {"G12 surrogate in key", HEAD(0, 1) "s'\xed\xa0\x80' 8:4 s'v'", TL_E_FORMAT, 24, "not valid UTF-8"},
    {"G13 key twice", HEAD(0, 2) "s'k' 4:4 1:4 s'k' 4:4 2:4", TL_E_FORMAT, 54, "key 'k' is there twice"},
    {"G14 type 13", KEY "13:4 z8", TL_E_FORMAT, 33, "key 'k': value type 13"},
    {"G14 type -1", KEY "-1:4 z8", TL_E_FORMAT, 33, "value type 4294967295"},
    {"G14 type 255", KEY "255:4 z8", TL_E_FORMAT, 33, "value type 255"},
    {"G15 array of arrays", KEY "9:4 9:4 1:8 4:4 1:8 7:4", TL_E_UNSUPPORTED, 37, "array of arrays"},
    {"G16 count -1", KEY "9:4 4:4 -1:8 z16", TL_E_FORMAT, 41, "18446744073709551615 u32"},
    {"G16 count wraps", KEY "9:4 10:4 0x2000000000000001:8 z16", TL_E_FORMAT, 41, "does not fit"},
    {"G16 count one too many", KEY "9:4 4:4 5:8 z16", TL_E_FORMAT, 41, "5 u32 does not fit the 16 bytes"},
    {"G17 element type 13", KEY "9:4 13:4 1:8 z8", TL_E_FORMAT, 37, "element type 13"},
    {"G17 element type -1", KEY "9:4 -1:4 1:8 z8", TL_E_FORMAT, 37, "element type 4294967295"},
    {"G18 2^30 strings", KEY "9:4 8:4 1073741824:8 z64", TL_E_FORMAT, 41, "1073741824 strings does not fit"},
    {"G18 one string missing", KEY "9:4 8:4 2:8 s'twelve bytes'", TL_E_FORMAT, 69, "within string 1 of 2"},
    {"G18 string past the end", KEY "9:4 8:4 2:8 s'a' 9:8 'b'", TL_E_FORMAT, 58, "string 1 of 2 has 9 bytes, but only 1"},
    {"G18 string length wraps", KEY "9:4 8:4 2:8 -8:8 s'a'", TL_E_FORMAT, 49, "string 0 of 2"},
    {"G19 bool 2", KEY "7:4 2:1", TL_E_FORMAT, 37, "a bool is 2"},
    {"G19 bool 255 in array", KEY "9:4 7:4 3:8 0:1 1:1 255:1", TL_E_FORMAT, 51, "a bool is 255"},
    {"G20 string length -1", KEY "8:4 -1:8 'v'", TL_E_FORMAT, 37, "18446744073709551615 bytes"},
    {"G20 string length 2^63", KEY "8:4 9223372036854775808:8 'v'", TL_E_FORMAT, 37, "9223372036854775808 bytes"},
    {"G20 string one too long", KEY "8:4 2:8 'v'", TL_E_FORMAT, 37, "has 2 bytes, but only 1 remain"},
    {"value cut", KEY "10:4 z7", TL_E_FORMAT, 37, "within its value"},
    {"G21 alignment i32", HEAD(0, 1) "s'general.alignment' 5:4 32:4", TL_E_FORMAT, 53, "has type i32, wanted is u32"},
    {"G21 alignment string", HEAD(0, 1) "s'general.alignment' 8:4 s'32'", TL_E_FORMAT, 61, "has type string"},
    {"G21 alignment array", HEAD(0, 1) "s'general.alignment' 9:4 4:4 1:8 32:4", TL_E_FORMAT, 65, "has type array"},
    {"G23 alignment 0", HEAD(0, 1) "s'general.alignment' 4:4 0:4", TL_E_FORMAT, 53, "it is 0"},
    {"G23 alignment 1", HEAD(0, 1) "s'general.alignment' 4:4 1:4", TL_E_FORMAT, 53, "it is 1"},
    {"G23 alignment 3", HEAD(0, 1) "s'general.alignment' 4:4 3:4", TL_E_FORMAT, 53, "it is 3"},
    {"G23 alignment 7", HEAD(0, 1) "s'general.alignment' 4:4 7:4", TL_E_FORMAT, 53, "it is 7"},
    {"G23 alignment 24", HEAD(0, 1) "s'general.alignment' 4:4 24:4", TL_E_FORMAT, 53, "it is 24"},
    {"G23 alignment 2^31", HEAD(0, 1) "s'general.alignment' 4:4 0x80000000:4", TL_E_FORMAT, 53, "it is 2147483648"},
    {"G23 alignment 2^63", HEAD(0, 1) "s'general.alignment' 10:4 9223372036854775808:8", TL_E_FORMAT, 53, "has type u64"},
    {"G24 split in memory", HEAD(0, 2) "s'split.count' 2:4 2:2 s'split.no' 2:4 0:2", TL_E_UNSUPPORTED, -1, "split model"},
    {"G24 split.count of 65535", HEAD(0, 2) "s'split.count' 2:4 65535:2 s'split.no' 2:4 0:2", TL_E_UNSUPPORTED, -1, "65535 files"},
    {"G24 split.count a string", HEAD(0, 1) "s'split.count' 8:4 s'2'", TL_E_FORMAT, 55, "split.count is a string"},
    {"G24 no split.no", HEAD(0, 1) "s'split.count' 2:4 2:2", TL_E_FORMAT, 47, "no split.no"},
    // Tensor table.
    {"G25 name empty", HEAD(1, 0) "s'' " ROW "0:8 p32 z128", TL_E_FORMAT, 24, "is empty"},
    {"G25 name of 64", HEAD(1, 0) "s#64 " ROW "0:8 p32 z128", TL_E_FORMAT, 24, "64 bytes"},
    {"G25 NUL in name", HEAD(1, 0) "3:8 'a' 0:1 'b' " ROW "0:8 p32 z128", TL_E_FORMAT, 24, "control character"},
    {"G25 name twice", HEAD(2, 0) "s'w' " ROW "0:8 s'w' " ROW "128:8 p32 z256", TL_E_FORMAT, 224, "tensor 'w' is there twice"},
    {"G25 name upwards", HEAD(1, 0) "s'../w' " ROW "0:8 p32 z128", TL_E_FORMAT, 24, "contains \"../\""},
    {"G26 rank 0", TENSOR "0:4 0:4 0:8 p32 z128", TL_E_FORMAT, 33, "tensor 'w': it has 0 dimensions"},
    {"G26 rank 5", TENSOR "5:4 1:8 1:8 1:8 1:8 1:8 0:4 0:8", TL_E_FORMAT, 33, "has 5 dimensions"},
    {"G26 rank -1", TENSOR "-1:4 z64", TL_E_FORMAT, 33, "has 4294967295 dimensions"},
    {"G27 dimension 0", TENSOR "2:4 32:8 0:8 0:4 0:8 p32 z128", TL_E_FORMAT, 45, "dimension 1 is 0, which is not possible"},
    {"G27 dimension -1", TENSOR "1:4 -1:8 0:4 0:8 p32 z128", TL_E_FORMAT, 37, "too large"},
    {"G27 dimension 2^63", TENSOR "1:4 9223372036854775808:8 0:4 0:8 p32", TL_E_FORMAT, 37, "too large"},
    {"G27 product wraps", TENSOR "2:4 0x100000000:8 0x80000000:8 0:4 0:8", TL_E_FORMAT, 45, "dimension 1 is 2147483648, which is too large"},
    {"G27 bytes wrap", TENSOR "1:4 0x4000000000000000:8 0:4 0:8", TL_E_FORMAT, 45, "are too many"},
    {"G27 F32 of SIZE_MAX/4", TENSOR "1:4 4611686018427387903:8 0:4 0:8 p32", TL_E_FORMAT, 64, "do not fit"},
    {"G29 type 4", TENSOR "1:4 32:8 4:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 4 is a format of 2023"},
    {"G29 type 5", TENSOR "1:4 32:8 5:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 5"},
    {"G29 type 31", TENSOR "1:4 32:8 31:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "plain Q4_0"},
    {"G29 type 33", TENSOR "1:4 32:8 33:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 33"},
    {"G29 type 36", TENSOR "1:4 32:8 36:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "plain IQ4_NL"},
    {"G29 type 38", TENSOR "1:4 32:8 38:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 38"},
    {"G29 type 9, activations", TENSOR "1:4 32:8 9:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "activations"},
    {"G29 type 43", TENSOR "1:4 32:8 43:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 43 is not known"},
    {"G29 type -1", TENSOR "1:4 32:8 -1:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 4294967295 is not known"},
    {"G29 type 2^31", TENSOR "1:4 32:8 0x80000000:4 0:8 p32 z128", TL_E_UNSUPPORTED, 45, "type 2147483648"},
    {"G30 33 values of Q4_0", TENSOR "1:4 33:8 2:4 0:8 p32 z128", TL_E_FORMAT, 45, "no multiple of the 32 of a Q4_0"},
    {"G30 128 values of Q6_K", TENSOR "1:4 128:8 14:4 0:8 p32 z210", TL_E_FORMAT, 45, "no multiple of the 256 of a Q6_K"},
    {"G31 offset unaligned", TENSOR ROW "16:8 p32 z256", TL_E_FORMAT, 64, "no multiple of the alignment 32"},
    {"G31 unaligned, cut in the padding", TENSOR ROW "16:8 z3", TL_E_FORMAT, 60, "no multiple of the alignment 32"},
    {"G31 offset at the end", TENSOR ROW "128:8 p32 z128", TL_E_FORMAT, 192, "do not fit"},
    {"G31 one byte short", TENSOR ROW "0:8 p32 z127", TL_E_FORMAT, 191, "128 bytes at 0 of the data section do not fit: the section has 127"},
    {"G31 offset wraps", TENSOR ROW "-32:8 p32 z128", TL_E_FORMAT, 192, "do not fit"},
    {"G28 data before the padding's end", TENSOR ROW "0:8", TL_E_FORMAT, 57, "the section has 0"},
    {"G31 overlap", HEAD(2, 0) "s'a' " ROW "0:8 s'b' " ROW "96:8 p32 z224", TL_E_FORMAT, 192, "tensor 'b' (byte 192) overlaps that of 'a'"},
    {"G31 overlap, other order", HEAD(2, 0) "s'a' " ROW "96:8 s'b' " ROW "0:8 p32 z224", TL_E_FORMAT, 192, "tensor 'a' (byte 192) overlaps that of 'b'"},
    {"G31 the same data twice", HEAD(2, 0) "s'a' " ROW "0:8 s'b' " ROW "0:8 p32 z224", TL_E_FORMAT, 96, "overlaps"},
    {"G28 sums wrap", HEAD(2, 0) "s'a' 1:4 0x1fffffffffffffff:8 0:4 0:8 s'b' " ROW "0x7fffffffffffffe0:8 p32 z128", TL_E_FORMAT, 224, "tensor 'a': its 9223372036854775804 bytes"},
};

// An exact copy on the heap, so that the address sanitizer sees a read of even one byte more.
static tl_status open_exact(const char *p, size_t n, tl_error *err) {
    uint8_t *copy = malloc(n ? n : 1);
    gguf *g;
    assert_non_null(copy);
    if (n) memcpy(copy, p, n);
    *err = (tl_error){0};
    tl_status status = gguf_open_memory(copy, n, &g, err);
    if (status != TL_OK) assert_null(g);
    gguf_close(g);
    free(copy);
    return status;
}

static void bad_file_is_refused(void **state) {
    int failures = 0;
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        const bad_file *f = &bad_files[i];
        sbuf image = {0};
        tl_error err;
        spec_put(&image, f->spec);
        tl_status status = open_exact(image.p, image.n, &err);
        if (status != f->status || err.code != f->status || err.offset != f->offset || !strstr(err.message, f->says)) {
            print_error("%s: status %d at %lld: %s\n", f->name, status, (long long)err.offset, err.message);
            failures++;
        }
        sbuf_free(&image);
    }
    assert_int_equal(failures, 0);
}

typedef struct surveyed {
    int errors, notes;
    char said[4000];
} surveyed;

static void note_problem(void *ctx, const gguf_problem *p) {
    surveyed *s = ctx;
    size_t n = strlen(s->said);
    *(p->code == TL_OK ? &s->notes : &s->errors) += 1;
    assert_true(p->message[0]);
    snprintf(s->said + n, sizeof s->said - n, "%s\n", p->message);
}

static surveyed survey_exact(const char *p, size_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    surveyed found = {0};
    tl_error err;
    assert_non_null(copy);
    if (n) memcpy(copy, p, n);
    tl_status status = gguf_survey_memory(copy, n, note_problem, &found, &err);
    assert_int_equal(status, n ? TL_OK : TL_E_FORMAT);
    free(copy);
    return found;
}

// Whatever makes opening fail is found by a survey too, in the same words; only other files of a split model are not looked at.
static void survey_finds_what_opening_refuses(void **state) {
    int failures = 0;
    (void)state;
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        const bad_file *f = &bad_files[i];
        sbuf image = {0};
        spec_put(&image, f->spec);
        surveyed found = survey_exact(image.p, image.n);
        if (strncmp(f->name, "G24", 3) != 0 && (!found.errors || !strstr(found.said, f->says))) {
            print_error("%s: %d errors\n%s", f->name, found.errors, found.said);
            failures++;
        }
        sbuf_free(&image);
    }
    assert_int_equal(failures, 0);
}

// Six mistakes of a file that opening would stop at the first of.
static void survey_finds_all(void **state) {
    sbuf image = {0};
    (void)state;
    spec_put(&image, HEAD(5, 3) "s'k' 4:4 1:4 s'k' 4:4 2:4 s'b' 7:4 2:1 s'unaligned' 1:4 32:8 0:4 16:8 s'unknown' 1:4 32:8 43:4 0:8 "
                     "s'a' 1:4 32:8 0:4 32:8 s'b' 1:4 32:8 0:4 64:8 s'far' 1:4 32:8 0:4 4096:8 p32 z224");
    surveyed found = survey_exact(image.p, image.n);
    const char *const says[] = {"key 'k' is there twice", "a bool is 2", "tensor 'unaligned': its data offset 16", "tensor 'unknown': type 43",
                                "tensor 'b' (byte 320) overlaps that of 'a'", "tensor 'far': its 128 bytes at 4096"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++)
        if (!strstr(found.said, says[i])) fail_msg("not found: %s\nin: %s", says[i], found.said);
    assert_int_equal(found.errors, 6);
    sbuf_free(&image);
}

static void empty_file_is_refused(void **state) { // G1
    tl_error err;
    (void)state;
    assert_int_equal(open_exact("", 0, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "empty"));
}

static const char good[] = HEAD(2, 6) "s'general.alignment' 4:4 32:4 s'a.string' 8:4 s'text' s'a.bool' 7:4 1:1 "
    "s'an.array' 9:4 3:4 3:8 1:2 2:2 3:2 s'strings' 9:4 8:4 3:8 s'x' s'' s'yz' s'real' 12:4 0x3ff0000000000000:8 "
    "s'w' 2:4 32:8 2:8 2:4 0:8 s'norm' 1:4 8:8 0:4 64:8 p32 z96";

static void every_truncation_is_refused(void **state) { // G32
    sbuf image = {0};
    tl_error err;
    (void)state;
    spec_put(&image, good);
    assert_int_equal(open_exact(image.p, image.n, &err), TL_OK);
    assert_int_equal(survey_exact(image.p, image.n).errors, 0);
    for (size_t n = 0; n < image.n; n++) {
        assert_true(!n || survey_exact(image.p, n).errors > 0);
        assert_int_equal(open_exact(image.p, n, &err), TL_E_FORMAT);
        assert_in_range(err.offset, 0, n);
    }
    sbuf_free(&image);
}

// Whatever one byte says, opening ends, within the bounds of the buffer, in success or a located error.
static void every_changed_byte_is_survived(void **state) {
    sbuf image = {0};
    tl_error err;
    (void)state;
    spec_put(&image, good);
    for (size_t i = 0; i < image.n; i++) {
        char was = image.p[i];
        for (int change = 1; change < 256; change += change < 8 ? 1 : 13) {
            image.p[i] = (char)(was ^ change);
            bool opens = open_exact(image.p, image.n, &err) == TL_OK;
            assert_true(opens || (err.message[0] && err.code != TL_OK));
            assert_int_equal(opens, survey_exact(image.p, image.n).errors == 0);
        }
        image.p[i] = was;
    }
    sbuf_free(&image);
}

// A name with control bytes reaches the message escaped.
static void message_is_clean(void **state) {
    sbuf image = {0};
    tl_error err;
    (void)state;
    spec_put(&image, HEAD(0, 1) "s'a\33]0;b\7\xff' 8:4 s'v'");
    assert_int_equal(open_exact(image.p, image.n, &err), TL_E_FORMAT);
    assert_non_null(strstr(err.message, "a\\x1b]0;b\\x07\\xff"));
    for (const char *p = err.message; *p; p++) assert_true(*p >= ' ' && *p < 127);
    sbuf_free(&image);
}

// For tests/cli/test_malformed_tools.py: every bad file as FOLDER/NNN.gguf.
static int write_files(const char *folder) {
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        sbuf image = {0};
        char path[4096];
        spec_put(&image, bad_files[i].spec);
        snprintf(path, sizeof path, "%s/%03zu.gguf", folder, i);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(image.p, 1, image.n, f) != image.n || fclose(f) != 0) return 1;
        sbuf_free(&image);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "write") == 0) return write_files(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_file_is_refused),
        cmocka_unit_test(survey_finds_what_opening_refuses),
        cmocka_unit_test(survey_finds_all),
        cmocka_unit_test(empty_file_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(message_is_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
