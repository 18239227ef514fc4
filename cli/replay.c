// replay.c - `tl replay`: makes a stamped result again and says whether the bytes are the same, or what differs.
// The call in the file is data from somewhere: only commands that compute are run, and nothing that writes files.
#include "base/base.h"
#include "common.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct replay_args {
    const char *model;
    bool json;
} replay_args;

typedef struct call_texts { // arguments that are made here
    char seed[40], n_ctx[40], messages[PATH_MAX];
    bool has_messages;
} call_texts;

static const char *const commands[] = {"generate", "score", "perplexity", "sample-trace", "chat", NULL};

// Options that name files to write; `least` letters of them are enough to mean them. Left out, or a reason to refuse. What a
// session's file holds changes no result (what is in the cache has the bits that it would get anew), but for a conversation.
static const struct { const char *command, *option; size_t least; bool leave_out; } writers[] = {
    {"score", "logits", 1, true}, {"generate", "out", 1, false}, {"generate", "prompts", 7, false}, {"generate", "session", 3, true},
    {"chat", "log", 3, true}, {"chat", "session", 3, true},
};

// ---- the call ----------------------------------------------------------------------------------
static int writes_file(const char *command, const char *argument) { // the row of `writers`, or -1
    if (strncmp(argument, "--", 2) != 0) return -1;
    size_t n = strcspn(argument + 2, "=");
    for (size_t i = 0; i < sizeof writers / sizeof *writers; i++)
        if (strcmp(writers[i].command, command) == 0 && n >= writers[i].least && n <= strlen(writers[i].option) && strncmp(argument + 2, writers[i].option, n) == 0) return (int)i;
    return -1;
}

// The messages that a conversation started with, in a file that --session reads and the program may write to. False: there are none.
static bool earlier_messages(const json_t *stamp, char path[PATH_MAX]) {
    const json_t *messages = json_object_get(stamp, "conversation");
    const char *folder = getenv("TMPDIR");
    snprintf(path, PATH_MAX, "%s/tl-replay-XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = json_is_array(messages) ? mkstemp(path) : -1;
    bool written = fd >= 0 && json_dumpfd(messages, fd, JSON_COMPACT) == 0;
    if (fd >= 0) close(fd);
    return written;
}

static bool saves(const json_t *stamp) { // a conversation may write a file by its own commands
    const char *lines = json_string_value(json_object_get(stamp, "stdin"));
    for (const char *p = lines; p && (p = strstr(p, "/save")) != NULL; p++)
        if (p == lines || p[-1] == '\n') return true;
    return false;
}

// argv for the program itself: a list that ends with NULL, freed with free(); its strings belong to the stamp.
static int make_call(const replay_args *a, const json_t *stamp, call_texts *t, const char ***argv) {
    const char *command = json_string_value(json_object_get(stamp, "command")), *isa = json_string_value(json_object_get(stamp, "isa"));
    const json_t *list = json_object_get(stamp, "arguments"), *number = json_object_get(stamp, "seed"), *n_ctx = json_object_get(stamp, "n_ctx");
    size_t n = json_array_size(list), k = 0;
    int known = 0;
    bool json = false, session = false;
    while (command && commands[known] && strcmp(commands[known], command) != 0) known++;
    if (!command || !commands[known] || !json_is_array(list)) return fail("replay", "the stamp names no command that can be run again");
    if (strcmp(command, "chat") == 0 && saves(stamp)) return fail("replay", "the conversation wrote files (/save): hold it again by hand");
    const char **v = *argv = calloc(n + 16, sizeof *v);
    if (!v) return fail("replay", "out of memory");
    v[k++] = "tl", v[k++] = command;
    for (size_t i = 0; i < n; i++) {
        const char *argument = json_string_value(json_array_get(list, i));
        if (!argument) return fail("replay", "the stamp's arguments are no texts");
        int row = writes_file(command, argument);
        if (row >= 0 && !writers[row].leave_out) return fail("replay", "the call wrote files (%s): run it by hand", argument);
        json |= strcmp(argument, "--json") == 0;
        session |= row >= 0 && strcmp(writers[row].option, "session") == 0;
        if (row >= 0) i += strchr(argument, '=') == NULL; // with its value
        else if (strcmp(argument, "--") == 0) break;
        else v[k++] = argument;
    }
    if (a->model) v[k++] = "-m", v[k++] = a->model;
    tl_engine *e = NULL;
    tl_error err;
    const tl_engine_options options = {.isa = isa, .threads = 1};
    if (isa && tl_engine_new(&options, &e, &err) == TL_OK) v[k++] = "--isa", v[k++] = isa;
    tl_engine_free(e);
    if (json_is_integer(number)) snprintf(t->seed, sizeof t->seed, "%lld", (long long)json_integer_value(number)), v[k++] = "--seed", v[k++] = t->seed;
    if (session && json_is_integer(n_ctx)) snprintf(t->n_ctx, sizeof t->n_ctx, "%lld", (long long)json_integer_value(n_ctx)), v[k++] = "-c", v[k++] = t->n_ctx;
    if (strcmp(command, "chat") != 0) return 0;
    if (!json) v[k++] = "--json";
    if ((t->has_messages = earlier_messages(stamp, t->messages))) v[k++] = "--session", v[k++] = t->messages;
    return 0;
}

// Runs it, with what it had on stdin; *out is what it printed.
static int run_call(const char *const *argv, const json_t *stamp, json_t **result) {
    const json_t *input = json_object_get(stamp, "stdin");
    const char *folder = json_string_value(json_object_get(stamp, "folder"));
    FILE *in = tmpfile(), *out = tmpfile();
    if (!in || !out) return fail("replay", "no temporary file: %s", strerror(errno));
    if (json_is_string(input)) fwrite(json_string_value(input), 1, json_string_length(input), in);
    fflush(in), rewind(in);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (folder && *folder && chdir(folder) != 0) fprintf(stderr, "tl replay: %s: %s; file names are read from here\n", folder, strerror(errno));
        if (dup2(fileno(in), 0) < 0 || dup2(fileno(out), 1) < 0) _exit(1);
        execv("/proc/self/exe", (char *const *)argv);
        _exit(127);
    }
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    rewind(out);
    json_error_t why;
    *result = json_loadf(out, 0, &why);
    fclose(in), fclose(out);
    if (child < 0 || status != 0 || !*result) return fail("replay", "the call does not work any more (see above)");
    return 0;
}

// ---- comparison --------------------------------------------------------------------------------
static bool is_volatile(const char *key) { return strcmp(key, "stamp") == 0 || strstr(key, "per_second") || strstr(key, "seconds"); }

static size_t first_byte(const char *a, const char *b) {
    size_t i = 0;
    while (a[i] && a[i] == b[i]) i++;
    return i;
}

static void differ(json_t *list, const char *path, const json_t *was, const json_t *is) {
    json_t *d = json_pack("{s:s, s:O?, s:O?}", "at", path, "was", was, "is", is);
    if (json_is_string(was) && json_is_string(is)) json_object_set_new(d, "byte", json_integer((json_int_t)first_byte(json_string_value(was), json_string_value(is))));
    json_array_append_new(list, d);
}

static void compare_values(json_t *list, const char *path, json_t *was, json_t *is) {
    char deeper[300];
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(was) && json_is_object(is)) {
        json_object_foreach(was, key, value) {
            snprintf(deeper, sizeof deeper, "%.200s%s%.60s", path, *path ? "." : "", key);
            if (!is_volatile(key)) compare_values(list, deeper, value, json_object_get(is, key));
        }
    } else if (json_is_array(was) && json_is_array(is)) {
        snprintf(deeper, sizeof deeper, "%.200s.length", path);
        if (json_array_size(was) != json_array_size(is)) differ(list, deeper, NULL, NULL);
        size_t before = json_array_size(list);
        json_array_foreach(was, i, value) { // of a list, the first that differs
            snprintf(deeper, sizeof deeper, "%.200s[%zu]", path, i);
            if (json_array_size(list) > before + (json_array_size(was) != json_array_size(is))) break;
            if (i < json_array_size(is)) compare_values(list, deeper, value, json_array_get(is, i));
        }
    } else if (!json_equal(was, is)) {
        differ(list, path, was, is);
    }
}

static void print_differences(const char *what, const json_t *list) {
    size_t i;
    json_t *d;
    if (!json_array_size(list)) {
        printf("%s: the same\n", what);
        return;
    }
    json_array_foreach(list, i, d) {
        const json_t *byte = json_object_get(d, "byte");
        char *was = json_dumps(json_object_get(d, "was"), JSON_ENCODE_ANY), *is = json_dumps(json_object_get(d, "is"), JSON_ENCODE_ANY);
        printf("%s: %s differs", what, json_string_value(json_object_get(d, "at")));
        if (byte) printf(" from byte %lld on", (long long)json_integer_value(byte));
        printf(": %.400s, now %.400s\n", was ? was : "nothing", is ? is : "nothing");
        free(was), free(is);
    }
}

// What may make a difference, whether or not it did.
static json_t *compare_stamps(json_t *was, json_t *is) {
    static const char *const keys[] = {"version", "build", "isa", "n_ctx", "adapters", "samplers", "seed", "prompt_ids"};
    json_t *list = json_array(), *m = json_object_get(was, "model"), *n = json_object_get(is, "model"), *p = json_object_get(was, "program"), *q = json_object_get(is, "program");
    compare_values(list, "model.sha256", json_object_get(m, "sha256"), json_object_get(n, "sha256"));
    compare_values(list, "program.sha256", json_object_get(p, "sha256"), json_object_get(q, "sha256"));
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *a = json_object_get(was, keys[i]), *b = json_object_get(is, keys[i]);
        if (a || b) compare_values(list, keys[i], a, b);
    }
    return list;
}

static int replay(const replay_args *a, json_t *was) {
    call_texts t = {0};
    const char **argv = NULL;
    json_t *stamp = json_object_get(was, "stamp"), *is = NULL;
    if (!json_is_object(stamp)) return fail("replay", "the file has no stamp: it is no result of tl generate, chat, score, perplexity or sample-trace with --json");
    int status = make_call(a, stamp, &t, &argv);
    if (status == 0) status = run_call(argv, stamp, &is);
    if (t.has_messages) unlink(t.messages);
    free(argv);
    if (status != 0) return status;
    json_t *made = compare_stamps(stamp, json_object_get(is, "stamp")), *result = json_array();
    compare_values(result, "", was, is);
    bool same = json_array_size(result) == 0;
    if (a->json) {
        status = print_json(json_pack("{s:b, s:O, s:O, s:O}", "same", same, "made_by", made, "result", result, "now", is));
    } else {
        print_differences("made by", made);
        print_differences("result", result);
    }
    json_decref(made), json_decref(result), json_decref(is);
    return status != 0 ? status : !same;
}

int cli_replay(int argc, char **argv) {
    replay_args a = {0};
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "model", 'm', &a.model, "MODEL", "another model than the stamp says", 0, 0},
        {ARG_FLAG, "json", 0, &a.json, NULL, "what differs, and the new result", 0, 0},
        {0}};
    const arg_command command = {.name = "replay", .usage = "FILE.json [options]", .options = options, .least = 1, .most = 1,
        .about = "Makes a result of `tl generate`, `tl chat`, `tl score`, `tl perplexity` or `tl sample-trace` with --json again (of\n"
                 "`tl chat`, also what --log wrote), from the stamp in it. Exit status 0 if text, tokens and numbers are the same;\n"
                 "else it says what differs, and what it was made by then and now."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    char *text;
    size_t n;
    json_error_t why;
    if ((status = read_file("replay", argv[first], &text, &n)) != 0) return status;
    json_t *was = json_loadb(text, n, 0, &why);
    free(text);
    if (!was) return fail("replay", "%s: line %d: %s", argv[first], why.line, why.text);
    status = replay(&a, was);
    json_decref(was);
    return status;
}
