// run.c - `tl run`: runs a .tl program.
#include "common.h"
#include "interrupt.h"
#include <string.h>
#include <unistd.h>

static void print_text(void *ctx, const char *text, size_t n) {
    fwrite(text, 1, n, stdout);
    if (*(bool *)ctx || (n > 0 && text[n - 1] != '\n')) fflush(stdout); // a prompt, or somebody is watching
}

static int open_engine_only(const model_args *a, opened *o) {
    tl_error err;
    const tl_engine_options options = {.threads = a->threads, .isa = a->isa};
    *o = (opened){0};
    return tl_engine_new(&options, &o->engine, &err) == TL_OK ? 0 : fail_with("run", &err);
}

int cli_run(int argc, char **argv) {
    model_args a = {0};
    const char *prompt = NULL, *dump = NULL;
    int64_t steps = 0, memory = 0;
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "prompt", 'p', &prompt, "TEXT", "predefines `tokens`, the tokens of TEXT", 0, 0},
        {ARG_TEXT, "dump", 0, &dump, "WHAT", "print ast, ir or plan", 0, 0},
        {ARG_I64, "max-steps", 0, &steps, "N", "stop with an error after N statements", 1, 1e18},
        {ARG_I64, "max-memory", 0, &memory, "MIB", "stop with an error when values need more", 1, 1e9},
        MODEL_OPTIONS_DATA(a), INSIDE_OPTIONS(a), {0}};
    const arg_command command = {.name = "run", .usage = "FILE.tl [options] [ARGS ...]", .options = options, .least = 1, .most = -1,
        .about = "Runs a program. -m predefines `model` and `tokenizer`, -p also `tokens`. ARGS, words and name=value, are what\n"
                 "`args` and arg(\"name\") read; those that begin with - follow after --."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (dump && strcmp(dump, "ast") != 0 && strcmp(dump, "ir") != 0 && strcmp(dump, "plan") != 0)
        return args_wrong("run", "--dump: ast, ir or plan is wanted, not \"%s\"", dump);
    if (access(argv[first], R_OK) != 0) return fail("run", "%s: %m", argv[first]); // before a model is loaded
    opened o;
    status = a.model || prompt ? open_model("run", &a, TL_MODEL_DATA, &o) : open_engine_only(&a, &o);
    if (status != 0) return status;
    bool watched = isatty(STDOUT_FILENO) == 1;
    tl_error err;
    const char *patches[MOST_PATCHES + 1];
    tl_session_options inside = {0};
    inside_session(&a, patches, &inside);
    const tl_program_options program = {
        .patches = patches, .nan_trap = a.nan_trap,
        .file = argv[first], .engine = o.engine, .model = o.model, .prompt = prompt, .args = (const char *const *)argv + first + 1,
        .n_args = (size_t)(argc - first - 1), .print = print_text, .ctx = &watched, .cancel = &interrupt_came,
        .color = color_wanted(stderr), .dump = dump,
        .max_steps = steps, .max_bytes = (size_t)memory << 20};
    interrupt_catch();
    if (tl_program_run(&program, &err) != TL_OK) status = fail_with("run", &err);
    opened_free(&o);
    return status;
}
