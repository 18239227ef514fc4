// diff.c - `tl diff`: what differs between two models, in their files or in what they compute.
#include "diff.h"

static const char about[] =
    "Compares two models, given by name or path: with a text what they compute of it, value by value as `tl trace` names them;\n"
    "with --tensors their files.\n\n"
    "With a text, A and B may be two models, one model with two programs or two instruction sets, or a model and a folder of\n"
    ".npy files as `tl trace --npy` writes them. Values of the same name are compared: normalised mean square error of B's\n"
    "from A's, cosine, the largest error and its place; the first that diverges; and at the end the KL divergence of the\n"
    "logits and where the most probable token differs. B may be left out where an option tells the two apart.\n\n"
    "--tensors decodes every tensor of both files and tells the same of the weights, then what differs in types, shapes and\n"
    "metadata.\n\n"
    "Examples:\n"
    "  tl diff smollm2 smollm2-f16.gguf -p 'Hello there'\n"
    "  tl diff smollm2 -p 'Hello there' --cpu-a ref --cpu-b avx2\n"
    "  tl diff smollm2 -p 'Hello there' --program-b changed.tl\n"
    "  tl diff --tensors A.gguf B.gguf";

static int diff_two(diff_values_args *v, int n, char **models) {
    const model_args *m = &v->inside.model;
    if (m->model) return args_wrong("diff", "the models are given as arguments, without -m");
    if (m->program && (v->program_a || v->program_b)) return args_wrong("diff", "give either --program or --program-a and --program-b");
    if (m->isa && (v->isa_a || v->isa_b)) return args_wrong("diff", "give either --isa or --cpu-a and --cpu-b");
    if (n < 2 && !v->program_a && !v->program_b && !v->isa_a && !v->isa_b)
        return args_wrong("diff", "what is to be compared? A second model, --program-b FILE.tl or --cpu-b NAME");
    v->model_a = models[0];
    v->model_b = n > 1 ? models[1] : models[0];
    if (!v->program_a) v->program_a = m->program;
    if (!v->program_b) v->program_b = m->program;
    if (!v->isa_a) v->isa_a = m->isa;
    if (!v->isa_b) v->isa_b = m->isa;
    int status = inside_check("diff", &v->inside);
    return status >= 0 ? status : diff_values(v);
}

int cli_diff(int argc, char **argv) {
    bool tensors = false;
    float limit = 1e-5f;
    int first;
    diff_values_args v = {.inside.model = {.cache_type = "f32", .watch = "*"}};
    inside_args *a = &v.inside;
    const arg_option options[] = {
        INSIDE_TEXT_OPTIONS(*a),
        {ARG_TEXT, "watch", 'w', &a->model.watch, "PATTERN", "which values (default: '*', all)", 0, 0},
        {ARG_TEXT, "program-a", 0, &v.program_a, "FILE.tl", "A's program", 0, 0},
        {ARG_TEXT, "program-b", 0, &v.program_b, "FILE.tl", "B's program", 0, 0},
        {ARG_TEXT, "cpu-a", 0, &v.isa_a, "NAME", "A's instruction set: ref, avx2, avx512, ...", 0, 0},
        {ARG_TEXT, "cpu-b", 0, &v.isa_b, "NAME", "B's instruction set", 0, 0},
        {ARG_FLOAT, "limit", 0, &limit, "X", "NMSE beyond which a value diverges (default: 1e-5)", 0, 1e30},
        {ARG_FLAG, "tensors", 0, &tensors, NULL, "compare weights and metadata", 0, 0},
        {ARG_FLAG, "all", 0, &v.all, NULL, "list what is the same, too", 0, 0},
        {ARG_FLAG, "json", 0, &a->json, NULL, "as JSON", 0, 0},
        MODEL_OPTIONS(a->model), {0}};
    const arg_command command = {.name = "diff", .usage = "A [B] (-p TEXT | -f FILE | --ids 1,2,3 | --tensors) [options]", .options = options, .least = 1, .most = 2, .about = about};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    v.limit = (double)limit;
    if (!tensors) return diff_two(&v, argc - first, argv + first);
    if (argc - first < 2) return args_wrong("diff", "--tensors needs two files");
    return diff_tensors(argv[first], argv[first + 1], a->model.threads, v.all, a->json);
}
