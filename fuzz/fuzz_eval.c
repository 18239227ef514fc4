// fuzz_eval.c - any text as a program: lexed, parsed and run with small budgets, as a model's program is (no files, no
// environment, no input). What was printed and the message are all that comes out.
#include "run/run.h"

static void drop(void *ctx, const char *text, size_t n) { *(size_t *)ctx += n + (size_t)text[0]; }

static int polls;
static bool stop(void *ctx) {
    (void)ctx;
    return ++polls > 200;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static tl_engine *engine;
    tl_engine_options eo = {.threads = 1};
    if (!engine && tl_engine_new(&eo, &engine, NULL) != TL_OK) abort();
    if (size > 10000) return 0;
    size_t printed = 0;
    polls = 0;
    ev_options o = {.host = engine_host(engine, NULL), .confined = true, .max_steps = 3000, .max_bytes = 16u << 20};
    o.host.ctx = &printed;
    o.host.print = drop;
    o.host.warn = NULL;
    o.host.cancelled = stop;
    evaluator *ev;
    tl_error err;
    if (ev_new(&o, &ev, &err) != TL_OK) abort();
    tl_status st = ev_run(ev, "fuzz.tl", (const char *)data, size, true, &err);
    if (st != TL_OK && err.message[0] == 0) abort();
    ev_free(ev);
    return 0;
}
