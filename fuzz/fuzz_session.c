// fuzz_session.c - a session file: any bytes, or a good file that was changed. What is refused leaves the sequence as it was;
// what is accepted can be gone on with.
//
// The first byte: bit 0: the rest is edits of a good file, three bytes each (place, place, value), else the file; bit 1: the file is
// cut at the place of the last edit.
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "run/run.h"
#include "tiny.h"

static tl_session *session;
static uint8_t *good, *changed;
static size_t n_good;
static int file;
static char path[64];

static void check(tl_status status, const tl_error *err) {
    if (status == TL_OK) return;
    fprintf(stderr, "%s\n", err->message);
    abort();
}

static void prepare(void) {
    static const int32_t prompt[6] = {1, 7, 30, 2, 9, 5};
    const tiny t = {.arch = "llama", .type = DT_Q4_0};
    const tl_engine_options eo = {.threads = 1};
    const tl_session_options so = {.n_ctx = 32, .n_batch = 16, .n_seq = 2};
    char name[64];
    tl_engine *engine;
    tl_model *model;
    tl_error err;
    snprintf(name, sizeof name, "/tmp/fuzz-session-%d", (int)getpid());
    tiny_write(name, &t);
    check(tl_engine_new(&eo, &engine, &err), &err);
    check(tl_model_open(engine, name, NULL, &model, &err), &err);
    unlink(name);
    check(tl_session_new(model, &so, &session, &err), &err);
    check(tl_session_prompt(session, 0, prompt, 6, NULL, NULL, &err), &err);
    check(tl_session_save(session, 0, name, "note", 4, &err), &err);
    FILE *f = fopen(name, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) abort();
    n_good = (size_t)ftell(f);
    rewind(f);
    good = malloc(n_good), changed = malloc(n_good);
    if (!good || !changed || fread(good, 1, n_good, f) != n_good) abort();
    fclose(f);
    unlink(name);
    file = memfd_create("session", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
}

static size_t edit(const uint8_t *data, size_t size) {
    size_t at = n_good;
    memcpy(changed, good, n_good);
    for (size_t i = 1; i + 3 <= size; i += 3) {
        at = (data[i] | (size_t)data[i + 1] << 8) % n_good;
        changed[at] = data[i + 2];
    }
    return data[0] & 2 ? at : n_good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const int32_t before[2] = {3, 4};
    tl_error err;
    int32_t *ids = NULL;
    size_t n = 0, n_note = 0;
    char *note = NULL;
    if (!session) prepare();
    if (size == 0) return 0;
    const uint8_t *bytes = data[0] & 1 ? changed : data + 1;
    size_t length = data[0] & 1 ? edit(data, size) : size - 1;
    if (ftruncate(file, 0) != 0 || pwrite(file, bytes, length, 0) != (ssize_t)length) abort();
    tl_seq_cut(session, 1, 0);
    check(tl_session_prompt(session, 1, before, 2, NULL, NULL, &err), &err);
    if (tl_session_load(session, 1, path, &ids, &n, &note, &n_note, &err) == TL_OK) {
        const tl_row row = {.token = 1, .seq = 1, .logits = true};
        const float *logits;
        if (tl_seq_length(session, 1) != (int64_t)n) abort();
        check(tl_session_step(session, &row, 1, &logits, &err), &err);
    } else if (tl_seq_length(session, 1) != 2 || !err.message[0]) {
        abort();
    }
    tl_free(ids), tl_free(note);
    return 0;
}
