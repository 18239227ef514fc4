// diff.c - `tl diff`: what differs between two models.
#include "diff.h"

int cli_diff(int argc, char **argv) {
    bool tensors = false, json = false, all = false;
    int threads = 0, first;
    const arg_option options[] = {
        {ARG_FLAG, "tensors", 0, &tensors, NULL, "compare weights and metadata", 0, 0},
        {ARG_FLAG, "all", 0, &all, NULL, "list the tensors that are the same, too", 0, 0},
        {ARG_FLAG, "json", 0, &json, NULL, "as JSON", 0, 0},
        {ARG_INT, "threads", 't', &threads, "N", "threads (default: one for each physical core)", 0, 1024},
        {0}};
    const arg_command command = {.name = "diff", .usage = "--tensors A B [options]", .options = options, .least = 2, .most = 2,
        .about = "Compares two models, given by name or path. --tensors decodes every tensor of both files and tells the normalised\n"
                 "mean square error of B's values, their cosine with A's and the largest error with its place, then what differs in\n"
                 "types, shapes and metadata."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (!tensors) return args_wrong("diff", "say what to compare: --tensors");
    return diff_tensors(argv[first], argv[first + 1], threads, all, json);
}
