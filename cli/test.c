// test.c - `tl test`: runs the test blocks of programs.
#include "common.h"
#include <string.h>
#include <unistd.h>

typedef struct report { const char *file; bool quiet, color; } report;

static void print_text(void *ctx, const char *text, size_t n) {
    (void)ctx;
    fwrite(text, 1, n, stdout);
}

static void on_result(void *ctx, const tl_test_result *r) {
    const report *p = ctx;
    if (!r->message && p->quiet) return;
    const char *on = !p->color ? "" : r->message ? "\033[1;31m" : "\033[32m", *off = p->color ? "\033[0m" : "";
    printf("%s%s%s %s:%d %s (%.0f ms)\n", on, r->message ? "FAIL" : "ok  ", off, p->file, r->line, r->name, 1e3 * r->seconds);
    if (r->message) printf("%s\n", r->message);
}

static int test_one(const char *file, tl_program_options *o, report *p, int *passed, int *failed) {
    tl_error err;
    if (access(file, R_OK) != 0) return fail("test", "%s: %m", file);
    o->file = p->file = file;
    return tl_program_test(o, on_result, p, passed, failed, &err) == TL_OK ? 0 : fail_with("test", &err);
}

int cli_test(int argc, char **argv) {
    model_args a = {0};
    report p = {.color = color_wanted(stdout)};
    int first, status, worst = 0, passed = 0, failed = 0;
    const arg_option options[] = {{ARG_FLAG, "quiet", 'q', &p.quiet, NULL, "only what fails, and the counts", 0, 0}, MODEL_OPTIONS_DATA(a), {0}};
    const arg_command command = {.name = "test", .usage = "FILE.tl ... [options]", .options = options, .least = 1, .most = -1,
        .about = "Runs the blocks `test NAME { ... }` of programs, each in a scope of its own: what one changes, the next does not see.\n"
                 "`main` does not run. With -m, `model` and `tokenizer` are predefined. Exit status 1 if a test fails."};
    if ((status = args_parse(&command, argc, argv, &first)) >= 0) return status;
    opened o = {0};
    tl_error err;
    const tl_engine_options engine = {.threads = a.threads, .isa = a.isa};
    status = a.model ? open_model("test", &a, TL_MODEL_DATA, &o) : tl_engine_new(&engine, &o.engine, &err) == TL_OK ? 0 : fail_with("test", &err);
    if (status != 0) return status;
    tl_program_options program = {.engine = o.engine, .model = o.model, .print = print_text, .color = color_wanted(stdout)};
    for (int i = first; i < argc; i++)
        if ((status = test_one(argv[i], &program, &p, &passed, &failed)) > worst) worst = status;
    printf("%d passed, %d failed\n", passed, failed);
    opened_free(&o);
    return worst ? worst : failed > 0;
}
