// doctor.c - `tl doctor`: what is wrong with a model file, where, and what to do about it. The parts are in doctor_*.c.
#include "doctor.h"
#include "gguf/survey.h"
#include "models.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = {"ok", "note", "warning", "error"};
static const char *const level_colors[] = {"32", "36", "33", "31"};
enum { MOST_STRUCTURE = 100 }; // mistakes listed; the others are counted

// ---- findings ----------------------------------------------------------------------------------
json_t *doctor_find(doctor *d, doctor_level level, const char *check, json_t *place, const char *advice, const char *format, ...) {
    char message[4000];
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof message, format, ap);
    va_end(ap);
    json_t *f = json_pack("{s:s, s:s, s:o}", "severity", level_names[level], "check", check, "message", json_bytes(message, strlen(message)));
    if (*advice) json_object_set_new(f, "advice", json_bytes(advice, strlen(advice)));
    if (place) json_object_update(f, place), json_decref(place);
    json_array_append_new(d->findings, f);
    d->count[level]++;
    return f;
}

void doctor_set_level(doctor *d, json_t *finding, doctor_level level) {
    const char *was = json_string_value(json_object_get(finding, "severity"));
    for (int i = 0; i <= DOCTOR_ERROR; i++)
        if (strcmp(was, level_names[i]) == 0) d->count[i]--;
    d->count[level]++;
    json_object_set_new(finding, "severity", json_string(level_names[level]));
}

// ---- structure ---------------------------------------------------------------------------------
typedef struct structure {
    doctor *d;
    int errors, notes;
} structure;

static void tell_problem(void *ctx, const gguf_problem *p) {
    structure *s = ctx;
    doctor_level level = p->code == TL_OK ? DOCTOR_NOTE : DOCTOR_ERROR;
    if ((level == DOCTOR_ERROR ? s->errors++ : s->notes++) >= MOST_STRUCTURE) return;
    json_t *place = json_object();
    if (p->name.n) json_object_set_new(place, "name", json_bytes(p->name.p, p->name.n));
    if (p->offset >= 0) json_object_set_new(place, "offset", json_integer(p->offset));
    const char *advice = level == DOCTOR_NOTE ? "" : p->code == TL_E_UNSUPPORTED ? "take a file in another format or version" : "fetch the file again, or make it anew";
    doctor_find(s->d, level, "structure", place, advice, "%s", p->message);
}

static void check_structure(doctor *d) {
    structure s = {.d = d};
    tl_error err;
    tl_status readable = gguf_survey(d->path, tell_problem, &s, &err);
    if (readable != TL_OK) doctor_find(d, DOCTOR_ERROR, "structure", NULL, "give the path of a GGUF file", "%s", err.message);
    if (s.errors > MOST_STRUCTURE) doctor_find(d, DOCTOR_ERROR, "structure", NULL, "", "%d more mistakes of this kind", s.errors - MOST_STRUCTURE);
    if (s.notes > MOST_STRUCTURE) doctor_find(d, DOCTOR_NOTE, "structure", NULL, "", "%d more notes of this kind", s.notes - MOST_STRUCTURE);
    if (readable != TL_OK || s.errors) return;
    if (gguf_open(d->path, &d->g, &err) != TL_OK) { // other files of a split model
        doctor_find(d, DOCTOR_ERROR, "structure", NULL, "fetch all files of the model into one folder", "%s", err.message);
        return;
    }
    doctor_find(d, DOCTOR_OK, "structure", NULL, "", "GGUF version %u, %zu bytes, %zu keys, %zu tensors: offsets, alignment and sizes fit", gguf_version(d->g),
                gguf_file_size(d->g), gguf_n_kv(d->g), gguf_n_tensors(d->g));
    if (!gguf_n_tensors(d->g)) doctor_find(d, DOCTOR_ERROR, "structure", NULL, "take the file of a model", "there are no tensors");
}

// ---- result ------------------------------------------------------------------------------------
// Program texts in messages have several lines; control bytes of the file do not reach the terminal.
static void print_indented(const char *text) {
    for (; *text; text++) {
        if (*text == '\n') printf("\n           ");
        else if ((unsigned char)*text >= ' ' && *text != 0x7f) putchar(*text);
    }
}

static void print_finding(const json_t *f, bool color) {
    const char *severity = json_string_value(json_object_get(f, "severity")), *advice = json_string_value(json_object_get(f, "advice"));
    int level = 0;
    while (strcmp(severity, level_names[level]) != 0) level++;
    if (color) printf("\033[%sm%-8s\033[0m   ", level_colors[level], severity);
    else printf("%-8s   ", severity);
    printf("%s: ", json_string_value(json_object_get(f, "check")));
    print_indented(json_string_value(json_object_get(f, "message")));
    putchar('\n');
    if (!advice) return;
    printf("           -> ");
    print_indented(advice);
    putchar('\n');
}

static void print_findings(const doctor *d) {
    char path[2 * PATH_MAX];
    bool color = color_wanted(stdout);
    size_t i;
    json_t *f;
    printf("%s\n", str_escape(path, sizeof path, str_of(d->path)));
    json_array_foreach(d->findings, i, f) print_finding(f, color);
    printf("%d error%s, %d warning%s%s\n", d->count[DOCTOR_ERROR], d->count[DOCTOR_ERROR] == 1 ? "" : "s", d->count[DOCTOR_WARNING],
           d->count[DOCTOR_WARNING] == 1 ? "" : "s", d->count[DOCTOR_ERROR] ? ": a chat would go wrong" : ": a chat works");
}

static json_t *result(const doctor *d) {
    json_t *top = json_pack("{s:o, s:b, s:i, s:i, s:O}", "path", json_bytes(d->path, strlen(d->path)), "chat_works", d->count[DOCTOR_ERROR] == 0, "errors",
                            d->count[DOCTOR_ERROR], "warnings", d->count[DOCTOR_WARNING], "findings", d->findings);
    json_object_update(top, d->facts);
    return top;
}

static void examine(doctor *d, const doctor_args *a, const char *path) {
    *d = (doctor){.a = a, .path = path, .findings = json_array(), .facts = json_object()};
    check_structure(d);
    if (d->g) doctor_tensors(d);
    if (d->g) doctor_use(d);
}

static void doctor_close(doctor *d) {
    gguf_close(d->g);
    json_decref(d->findings);
    json_decref(d->facts);
    free(d->bad);
}

// The copy is examined as the original was; its result is the command's.
static int repair(doctor *d, const doctor_args *a, json_t *top) {
    doctor copy;
    if (!d->g) {
        if (top) print_json(top);
        return fail("doctor", "the file cannot be read as a whole, so no copy can be mended: fetch it again");
    }
    int status = doctor_repair(d);
    if (status != 0) {
        if (top) print_json(top);
        return status;
    }
    examine(&copy, a, a->repair);
    status = copy.count[DOCTOR_ERROR] > 0;
    if (top) json_object_set_new(top, "repaired", result(&copy)), print_json(top);
    else putchar('\n'), print_findings(&copy);
    doctor_close(&copy);
    return status;
}

int cli_doctor(int argc, char **argv) {
    doctor_args a = {0};
    int first;
    const arg_option options[] = {
        {ARG_FLAG, "json", 0, &a.json, NULL, "findings with their places, memory and speed", 0, 0},
        {ARG_TEXT, "repair", 0, &a.repair, "OUT.gguf", "write a mended copy and examine it too", 0, 0},
        {ARG_FLAG, "zero-nan", 0, &a.zero_nan, NULL, "with --repair: blocks that are not finite become zeros", 0, 0},
        {ARG_TEXT, "chat-template", 0, &a.model.chat_template, "FILE", "Jinja template instead of the file's", 0, 0},
        MODEL_OPTIONS(a.model), {0}};
    const arg_command command = {.name = "doctor", .usage = "[-m MODEL | MODEL] [--json] [--repair OUT.gguf [--zero-nan]]", .options = options, .most = 1,
        .about = "Examines a model file: its structure, every tensor's values, whether its program finds what it needs,\n"
                 "tokenizer and chat template, memory and speed to expect, and a first step. Exit status 1 if a chat would go wrong.\n"
                 "--repair leaves an unusable output.weight out, so that the embedding takes its place."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (a.zero_nan && !a.repair) return args_wrong("doctor", "--zero-nan changes a copy: give --repair OUT.gguf too");
    if (first < argc && (status = args_positional("doctor", argv[first], &a.model.model)) >= 0) return status;
    char path[PATH_MAX], why[2000];
    doctor d;
    if (model_path_by_name(a.model.model, path, sizeof path, why, sizeof why) != 0) return fail("doctor", "%s", why);
    examine(&d, &a, path);
    json_t *top = a.json ? result(&d) : NULL;
    status = d.count[DOCTOR_ERROR] > 0;
    if (!a.json) print_findings(&d);
    if (a.repair) status = repair(&d, &a, top);
    else if (top) print_json(top);
    doctor_close(&d);
    return status;
}
