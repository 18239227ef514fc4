// explain.c - `tl explain`: how a program's equations are computed.
#include "common.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void print_text(void *ctx, const char *text, size_t n) {
    (void)ctx;
    fwrite(text, 1, n, stdout);
}

// FILE or FILE:LINE; a file whose own name ends like that comes first. The name is cut in place.
static int split_line(char *file) {
    char *colon = strrchr(file, ':');
    if (!colon || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")] || access(file, F_OK) == 0) return 0;
    *colon = 0;
    return atoi(colon + 1);
}

int cli_explain(int argc, char **argv) {
    model_args a = {0};
    bool plan = false, dot = false;
    const char *prompt = NULL;
    int first, status;
    const arg_option options[] = {
        {ARG_FLAG, "plan", 0, &plan, NULL, "the whole plan: stages and kernels", 0, 0},
        {ARG_FLAG, "dot", 0, &dot, NULL, "a picture of what depends on what, for Graphviz", 0, 0},
        {ARG_TEXT, "prompt", 'p', &prompt, "TEXT", "predefines `tokens`, the tokens of TEXT", 0, 0}, MODEL_OPTIONS_DATA(a), {0}};
    const arg_command command = {.name = "explain", .usage = "FILE.tl[:LINE] [options] [ARGS ...]", .options = options, .least = 1, .most = -1,
        .about = "Runs a program without what it prints, and tells how each equation (or that of a line) is computed: its loops with\n"
                 "their sizes, what is folded, the order of products and its cost, kernels, bytes. With -m, the step function of a\n"
                 "model's program is traced for that model."};
    if ((status = args_parse(&command, argc, argv, &first)) >= 0) return status;
    if (plan && dot) return args_wrong("explain", "either --plan or --dot");
    int line = split_line(argv[first]);
    if (access(argv[first], R_OK) != 0) return fail("explain", "%s: %m", argv[first]);
    opened o = {0};
    tl_error err;
    const tl_engine_options engine = {.threads = a.threads, .isa = a.isa};
    status = a.model || prompt ? open_model("explain", &a, TL_MODEL_DATA, &o) : tl_engine_new(&engine, &o.engine, &err) == TL_OK ? 0 : fail_with("explain", &err);
    if (status != 0) return status;
    const tl_program_options program = {
        .file = argv[first], .engine = o.engine, .model = o.model, .prompt = prompt, .args = (const char *const *)argv + first + 1,
        .n_args = (size_t)(argc - first - 1), .print = print_text, .color = color_wanted(stderr)};
    tl_explain_form form = plan ? TL_EXPLAIN_PLAN : dot ? TL_EXPLAIN_DOT : TL_EXPLAIN_TEXT;
    if (tl_program_explain(&program, line, form, &err) != TL_OK) status = fail_with("explain", &err);
    opened_free(&o);
    return status;
}
