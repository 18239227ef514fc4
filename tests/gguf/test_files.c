// test_files.c - what only real files can do: paths that are no files, sparse files, saving, split models.
#include "spec.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf/gguf.h"
#include "gguf/writer.h"

static char dir[200];

static int make_dir(void **state) {
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(dir, sizeof dir, "%.150s/tl-gguf-XXXXXX", tmp ? tmp : "/tmp");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    return rmdir(dir);
}

// dir/name; the buffers are used in turn.
static const char *in_dir(const char *name) {
    static char paths[4][300];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void write_file(const char *path, const void *data, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static void write_spec(const char *path, const char *spec) {
    sbuf image = {0};
    spec_put(&image, spec);
    write_file(path, image.p, image.n);
    sbuf_free(&image);
}

static void expect_refused(const char *path, tl_status status, const char *says) {
    gguf *g;
    tl_error err = {0};
    tl_status got = gguf_open(path, &g, &err);
    if (got != status || !strstr(err.message, says)) fail_msg("%s: status %d: %s", path, got, err.message);
    assert_null(g);
}

static void paths_that_are_no_files(void **state) { // G10
    (void)state;
    expect_refused(in_dir("absent.gguf"), TL_E_IO, "absent.gguf: cannot be opened: No such file");
    expect_refused(dir, TL_E_IO, "is a directory");
    expect_refused("/dev/zero", TL_E_IO, "is a device");
    expect_refused("", TL_E_IO, "cannot be opened");
    assert_int_equal(mkfifo(in_dir("pipe"), 0600), 0);
    expect_refused(in_dir("pipe"), TL_E_IO, "is a pipe"); // and does not wait for a writer
    assert_int_equal(unlink(in_dir("pipe")), 0);
    assert_int_equal(symlink(in_dir("loop"), in_dir("loop")), 0);
    expect_refused(in_dir("loop"), TL_E_IO, "cannot be opened");
    assert_int_equal(unlink(in_dir("loop")), 0);
    write_file(in_dir("empty"), "", 0);
    expect_refused(in_dir("empty"), TL_E_FORMAT, "the file is empty");
    assert_int_equal(unlink(in_dir("empty")), 0);
    write_spec(in_dir("\33[2J"), "M 9:4");
    expect_refused(in_dir("\33[2J"), TL_E_UNSUPPORTED, "\\x1b[2J: header: version 9");
    assert_int_equal(unlink(in_dir("\33[2J")), 0);
}

// 8 GB of zeros on disk behind a count of 2^30 empty strings: refused from the count alone.
static void sparse_file_is_refused(void **state) { // G18, G32
    const char *path = in_dir("sparse.gguf");
    (void)state;
    write_spec(path, HEAD(0, 1) "s'k' 9:4 8:4 1073741824:8");
    if (truncate(path, (off_t)9 << 30) == 0) expect_refused(path, TL_E_UNSUPPORTED, "an array of 1073741824 strings");
    assert_int_equal(unlink(path), 0);
}

static void saved_file_is_read(void **state) {
    const char *path = in_dir("saved.gguf");
    float data[40];
    gguf_writer w = {0};
    gguf *g;
    tl_error err = {0};
    sbuf image = {0};
    (void)state;
    for (int i = 0; i < 40; i++) data[i] = (float)i;
    gguf_put_str(&w, "general.name", STR("saved"));
    gguf_put_tensor(&w, "a", DT_F32, 1, (int64_t[]){3}, data);
    gguf_put_tensor(&w, "b", DT_F32, 2, (int64_t[]){10, 4}, data);
    assert_int_equal(gguf_save(&w, path, &err), TL_OK);
    assert_int_equal(gguf_image(&w, &image, &err), TL_OK);
    assert_int_equal(gguf_open(path, &g, &err), TL_OK);
    assert_string_equal(gguf_path(g), path);
    assert_int_equal(gguf_file_size(g), image.n);
    assert_memory_equal(gguf_tensor_find(g, STR("b"))->data, data, sizeof data);
    assert_int_equal(gguf_check(g, &err), TL_OK);
    gguf_close(g);
    assert_int_equal(gguf_save(&w, in_dir("no/such/folder"), &err), TL_E_IO);
    assert_non_null(strstr(err.message, "no/such/folder: cannot be created"));
    struct rlimit was, little = {100, 100};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    little.rlim_max = was.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    assert_int_equal(gguf_save(&w, path, &err), TL_E_IO); // as on a full disk; the file of before is still there
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    assert_non_null(strstr(err.message, "saved.gguf: cannot be written: File too large"));
    assert_int_equal(gguf_open(path, &g, &err), TL_OK);
    gguf_close(g);
    gguf_writer_free(&w);
    sbuf_free(&image);
    assert_int_equal(unlink(path), 0);
}

// ---- split models ----------------------------------------------------------------------------------
#define SPLIT(no, count, total) "s'split.no' 2:4 " #no ":2 s'split.count' 2:4 " #count ":2 s'split.tensors.count' 5:4 " #total ":4 "
#define A "s'a' 1:4 8:8 0:4 0:8 p32 'aaaaAAAAaaaaAAAAaaaaAAAAaaaaAAAA'"
#define B "s'b' 1:4 8:8 0:4 0:8 p32 'bbbbBBBBbbbbBBBBbbbbBBBBbbbbBBBB'"

static void split_model_is_joined(void **state) {
    gguf *g;
    tl_error err = {0};
    (void)state;
    write_spec(in_dir("m-00001-of-00003.gguf"), HEAD(0, 4) "s'general.name' 8:4 s'whole' " SPLIT(0, 3, 2));
    write_spec(in_dir("m-00002-of-00003.gguf"), HEAD(1, 3) SPLIT(1, 3, 2) A);
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 3) SPLIT(2, 3, 2) B);
    static const char *const names[] = {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"};
    for (size_t i = 0; i < 2; i++) { // any file of the set opens the set
        str name;
        if (gguf_open(in_dir(names[i]), &g, &err) != TL_OK) fail_msg("%s", err.message);
        assert_int_equal(gguf_n_tensors(g), 2);
        assert_memory_equal(gguf_tensor_find(g, STR("a"))->data, "aaaaAAAA", 8);
        assert_memory_equal(gguf_tensor_find(g, STR("b"))->data, "bbbbBBBB", 8);
        assert_true(gguf_get_str(g, "general.name", &name, &err) == TL_OK && str_is(name, "whole"));
        gguf_drop_pages(g, gguf_tensor_find(g, STR("b"))->data, 32);
        assert_int_equal(gguf_check(g, &err), TL_OK);
        gguf_close(g);
    }
    bool done = false; // nothing is lost when memory runs out between the files
    for (int n = 0; !done && n < 1000; n++) {
        mem_fail_after(n);
        tl_status status = gguf_open(in_dir(names[0]), &g, &err);
        mem_fail_after(-1);
        if (status == TL_OK) done = true;
        else assert_int_equal(status, TL_E_MEMORY);
        gguf_close(g);
    }
    assert_true(done);
}

static void split_lies_are_refused(void **state) { // G24
    char first[300]; // outlives the turns of in_dir()
    (void)state;
    snprintf(first, sizeof first, "%s", in_dir("m-00001-of-00003.gguf"));
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 3) SPLIT(1, 3, 2) A); // file 2 twice
    expect_refused(first, TL_E_FORMAT, "m-00003-of-00003.gguf: it says to be file 2 of 3");
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 3) SPLIT(2, 4, 2) B);
    expect_refused(first, TL_E_FORMAT, "file 3 of 4 of a split model, not 3 of 3");
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 0) B);
    expect_refused(first, TL_E_FORMAT, "file 1 of 1 of a split model, not 3 of 3");
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 3) SPLIT(2, 3, 2) A); // its tensor is that of file 2
    expect_refused(first, TL_E_FORMAT, "tensor 'a' is there twice");
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(0, 3) SPLIT(2, 3, 2));
    expect_refused(first, TL_E_FORMAT, "split.tensors.count is 2, but the 3 files hold 1");
    write_spec(in_dir("m-00003-of-00003.gguf"), HEAD(1, 3) SPLIT(2, 3, 2) "s'b' 1:4 8:8 0:4 0:8 p32 z31");
    expect_refused(first, TL_E_FORMAT, "m-00003-of-00003.gguf: tensor 'b'");
    assert_int_equal(unlink(in_dir("m-00003-of-00003.gguf")), 0);
    expect_refused(first, TL_E_IO, "m-00003-of-00003.gguf: cannot be opened");
    assert_int_equal(rename(first, in_dir("x.gguf")), 0);
    expect_refused(in_dir("x.gguf"), TL_E_FORMAT, "its name must end in -00001-of-00003.gguf");
    assert_int_equal(unlink(in_dir("x.gguf")), 0);
    assert_int_equal(unlink(in_dir("m-00002-of-00003.gguf")), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_that_are_no_files),
        cmocka_unit_test(sparse_file_is_refused),
        cmocka_unit_test(saved_file_is_read),
        cmocka_unit_test(split_model_is_joined),
        cmocka_unit_test(split_lies_are_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
