// check.c - `tl check`: what is wrong with programs, without running them.
#include "common.h"
#include <stdlib.h>
#include <string.h>

typedef struct totals { int errors, warnings; } totals;

static int check_one(const char *path, bool json, totals *t) {
    char *text;
    size_t n;
    tl_error err;
    tl_analysis *a;
    tl_problem p;
    int status = read_file("check", path, &text, &n);
    if (status != 0) return status;
    tl_status st = tl_analysis_new(strcmp(path, "-") == 0 ? "stdin" : path, text, n, color_wanted(stdout), &a, &err);
    free(text);
    if (st != TL_OK) return fail_with("check", &err);
    for (size_t i = 0; tl_analysis_problem(a, i, &p); i++) printf("%s\n", json ? p.json : p.text);
    t->errors += tl_analysis_errors(a);
    t->warnings += tl_analysis_warnings(a);
    tl_analysis_free(a);
    return 0;
}

int cli_check(int argc, char **argv) {
    bool json = false, strict = false;
    int first, status, worst = 0;
    totals t = {0};
    const arg_option options[] = {
        {ARG_FLAG, "json", 0, &json, NULL, "one JSON object a line for each problem", 0, 0},
        {ARG_FLAG, "strict", 0, &strict, NULL, "warnings count as errors for the exit status", 0, 0}, {0}};
    const arg_command command = {.name = "check", .usage = "FILE.tl ... [--json] [--strict]", .options = options, .least = 1, .most = -1,
        .about = "Finds what is wrong with programs without running them: what does not parse, unknown names, wrong arguments, axes\n"
                 "that do not fit, and what runs but is most likely a mistake. - reads stdin. Problems go to stdout.\n"
                 "Exit status: 0 without errors, 1 with some, 2 for a wrong call."};
    if ((status = args_parse(&command, argc, argv, &first)) >= 0) return status;
    for (int i = first; i < argc; i++)
        if ((status = check_one(argv[i], json, &t)) > worst) worst = status;
    if (t.errors + t.warnings > 0)
        fprintf(stderr, "%d error%s, %d warning%s\n", t.errors, t.errors == 1 ? "" : "s", t.warnings, t.warnings == 1 ? "" : "s");
    return worst ? worst : t.errors || (strict && t.warnings) ? 1 : 0;
}
