// fuzz_adapter.c - any bytes as a LoRA adapter. What is accepted must do in a session.
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "run/run.h"
#include "tiny.h"

static tl_model *model;
static int file;
static char path[64];

static void prepare(void) {
    const tiny t = {.arch = "llama", .type = DT_Q4_0};
    const tl_engine_options eo = {.threads = 1};
    char name[64];
    tl_engine *engine;
    tl_error err;
    snprintf(name, sizeof name, "/tmp/fuzz-adapter-%d", (int)getpid());
    tiny_write(name, &t);
    if (tl_engine_new(&eo, &engine, &err) != TL_OK || tl_model_open(engine, name, NULL, &model, &err) != TL_OK) abort();
    unlink(name);
    file = memfd_create("adapter", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const tl_session_options so = {.n_ctx = 8, .n_batch = 4};
    const int32_t prompt[2] = {1, 7};
    const float *logits;
    tl_session *s;
    tl_error err = {0};
    if (!model) prepare();
    if (ftruncate(file, 0) != 0 || pwrite(file, data, size, 0) != (ssize_t)size) abort();
    if (model_add_adapter(model, path, &err) != TL_OK) {
        if (!err.message[0]) abort();
    } else if (tl_session_new(model, &so, &s, &err) == TL_OK) {
        if (tl_session_prompt(s, 0, prompt, 2, &logits, NULL, &err) != TL_OK) abort();
        tl_session_free(s);
    }
    model_free_adapters(model);
    memset(&model->adapters, 0, sizeof model->adapters);
    model->adapter_files = NULL;
    return 0;
}
