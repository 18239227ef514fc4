// repl.c - `tl repl`: a program written line by line. On a terminal with libedit's editing, history and completion; from a
// pipe it reads entries in the same way and prints no prompts.
#include "common.h"
#include "terminal.h"
#include <ctype.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct repl {
    tl_repl *r;
    EditLine *edit; // NULL: not a terminal
    History *history;
    char *entry;    // what has been read of an entry
    size_t n, cap;
    bool failed;
} repl;

static volatile int interrupted;
static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static void print_text(void *ctx, const char *text, size_t n) {
    (void)ctx;
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static void on_warning(void *ctx, const char *message) {
    (void)ctx;
    size_t n = strlen(message);
    fprintf(stderr, "%s%s", message, n && message[n - 1] == '\n' ? "" : "\n");
}

// ---- commands ----------------------------------------------------------------------------------
static const char help[] = "An entry is any part of a program; the value of an expression is printed. It goes on over\n"
                           "several lines while a bracket is open. After an error everything is as it was before.\n"
                           "  :type EXPRESSION     kind and shape of a value\n"
                           "  :explain EQUATION    how it is computed; nothing is kept\n"
                           "  :load FILE.tl        run a file here\n"
                           "  :time ENTRY          run it and tell how long that took\n"
                           "  :help                this\n"
                           "  :quit                end (so does Ctrl-D); Ctrl-C stops what runs\n";

static void said(repl *p, tl_status st, const tl_error *err) {
    if (st == TL_OK) return;
    fflush(stdout);
    fprintf(stderr, "%s\n", err->message);
    p->failed = true;
}

static bool begins(const char *text, const char *word, const char **rest) {
    size_t n = strlen(word);
    if (strncmp(text, word, n) != 0 || (text[n] && !isspace((unsigned char)text[n]))) return false;
    for (*rest = text + n; isspace((unsigned char)**rest); ++*rest) {}
    return true;
}

static void run_command(repl *p, char *text, bool *quit) {
    static const char *const names[] = {":type", ":explain", ":load", ":time", ":help", ":quit", NULL};
    const char *rest;
    tl_error err;
    size_t n = strlen(text);
    while (n && isspace((unsigned char)text[n - 1])) text[--n] = 0;
    if (begins(text, ":quit", &rest) || begins(text, ":q", &rest)) *quit = true;
    else if (begins(text, ":help", &rest) || begins(text, ":h", &rest)) fputs(help, stdout);
    else if (begins(text, ":type", &rest) || begins(text, ":t", &rest)) said(p, tl_repl_type(p->r, rest, strlen(rest), &err), &err);
    else if (begins(text, ":explain", &rest)) said(p, tl_repl_explain(p->r, rest, strlen(rest), &err), &err);
    else if (begins(text, ":load", &rest)) said(p, tl_repl_load(p->r, rest, &err), &err);
    else if (begins(text, ":time", &rest)) {
        double begun = seconds_now();
        said(p, tl_repl_enter(p->r, rest, strlen(rest), &err), &err);
        printf("%.3f ms\n", 1e3 * (seconds_now() - begun));
    } else {
        text[strcspn(text, " \t\n")] = 0;
        const char *near = args_nearest(text, names);
        fprintf(stderr, "there is no command %s; ", text);
        fprintf(stderr, near ? "did you mean %s?\n" : ":help lists them\n", near);
        p->failed = true;
    }
}

// ---- entries -----------------------------------------------------------------------------------
static bool add_line(repl *p, const char *line) {
    size_t n = strlen(line);
    if (p->n + n + 2 > p->cap) {
        char *grown = realloc(p->entry, p->cap = 2 * (p->n + n + 2));
        if (!grown) return false;
        p->entry = grown;
    }
    memcpy(p->entry + p->n, line, n + 1);
    p->n += n;
    return true;
}

static bool is_blank(const char *text) { return text[strspn(text, " \t\r\n")] == 0; }

// True: the entry is whole. An empty line ends one that would go on, but for an open bracket.
static bool whole(const repl *p, const char *line) {
    const char *first = p->entry + strspn(p->entry, " \t");
    const char *rest = first;
    if (*first == ':' && !begins(first, ":time", &rest) && !begins(first, ":explain", &rest)) return true;
    return tl_repl_complete_entry(rest, strlen(rest)) || (p->edit && is_blank(line));
}

static void run_entry(repl *p, bool *quit) {
    char *text = p->entry + strspn(p->entry, " \t");
    tl_error err;
    interrupted = 0;
    if (*text == ':') run_command(p, text, quit);
    else if (!is_blank(text)) said(p, tl_repl_enter(p->r, p->entry, p->n, &err), &err);
}

static void take_line(repl *p, const char *line, bool *quit) {
    if (!add_line(p, line) || !whole(p, line)) return;
    HistEvent event;
    if (p->history && !is_blank(p->entry)) edit.history(p->history, &event, H_ENTER, p->entry);
    run_entry(p, quit);
    p->n = 0;
}

// ---- the terminal ------------------------------------------------------------------------------
static char *prompt(EditLine *el) {
    static char first[] = "> ", more[] = "... ";
    repl *p;
    edit.el_get(el, EL_CLIENTDATA, &p);
    return p->n ? more : first;
}

typedef struct candidates { char common[256]; int count; bool print; } candidates;

static void on_name(void *ctx, const char *name) {
    candidates *c = ctx;
    if (c->print) printf("%s  ", name);
    size_t k = 0;
    if (c->count++ == 0) {
        snprintf(c->common, sizeof c->common, "%s", name);
        return;
    }
    while (c->common[k] && c->common[k] == name[k]) k++;
    c->common[k] = 0;
}

static unsigned char complete(EditLine *el, int key) {
    (void)key;
    repl *p;
    char prefix[200];
    edit.el_get(el, EL_CLIENTDATA, &p);
    const LineInfo *line = edit.el_line(el);
    const char *from = line->cursor;
    while (from > line->buffer && (isalnum((unsigned char)from[-1]) || from[-1] == '_' || (unsigned char)from[-1] >= 0x80)) from--;
    size_t n = (size_t)(line->cursor - from);
    if (n == 0 || n >= sizeof prefix) return n ? CC_ERROR : (edit.el_insertstr(el, "    "), CC_REFRESH);
    memcpy(prefix, from, n);
    prefix[n] = 0;
    candidates c = {0};
    tl_repl_names(p->r, prefix, on_name, &c);
    if (c.count == 0) return CC_ERROR;
    if (strlen(c.common) > n) return edit.el_insertstr(el, c.common + n) == 0 ? CC_REFRESH : CC_ERROR;
    if (c.count == 1) return CC_ERROR;
    putchar('\n');
    c = (candidates){.print = true};
    tl_repl_names(p->r, prefix, on_name, &c);
    putchar('\n');
    return CC_REDISPLAY;
}

static bool history_path(char *path, size_t cap) {
    const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME");
    if (state && *state) snprintf(path, cap, "%s", state);
    else if (home && *home) snprintf(path, cap, "%s/.local/state", home);
    else return false;
    size_t n = strlen(path);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && i < n) continue;
        path[i] = 0;
        mkdir(path, 0755);
        if (i < n) path[i] = '/';
    }
    return n + 20 < cap && (mkdir(strcat(path, "/tl"), 0755), strcat(path, "/history"), true);
}

static int open_terminal(repl *p, char *file, size_t cap) {
    HistEvent event;
    char why[300];
    if (!terminal_load(why, sizeof why)) return fail("repl", "%s", why);
    p->edit = edit.el_init("tl", stdin, stdout, stderr);
    p->history = edit.history_init();
    if (!p->edit || !p->history) return fail("repl", "the terminal cannot be used");
    edit.history(p->history, &event, H_SETSIZE, 1000);
    edit.history(p->history, &event, H_SETUNIQUE, 1);
    if (!history_path(file, cap)) *file = 0;
    if (*file) edit.history(p->history, &event, H_LOAD, file);
    edit.el_set(p->edit, EL_CLIENTDATA, p);
    edit.el_set(p->edit, EL_PROMPT, prompt);
    edit.el_set(p->edit, EL_EDITOR, "emacs");
    edit.el_set(p->edit, EL_HIST, edit.history, p->history);
    edit.el_set(p->edit, EL_ADDFN, "tl-complete", "complete a name", complete);
    edit.el_set(p->edit, EL_BIND, "^I", "tl-complete", NULL);
    edit.el_set(p->edit, EL_SIGNAL, 0);
    edit.el_source(p->edit, NULL);
    return 0;
}

static int read_terminal(repl *p) {
    char file[PATH_MAX] = "";
    bool quit = false;
    HistEvent event;
    int status = open_terminal(p, file, sizeof file);
    if (status == 0) printf("tl %s: :help tells what can be done here\n", tl_version());
    while (status == 0 && !quit) {
        int n;
        const char *line = edit.el_gets(p->edit, &n);
        if (line && n > 0) {
            take_line(p, line, &quit);
        } else if (interrupted) {
            interrupted = 0;
            p->n = 0;
            putchar('\n');
        } else {
            break;
        }
    }
    if (p->history && *file) edit.history(p->history, &event, H_SAVE, file);
    if (status == 0 && !quit) putchar('\n');
    if (p->edit) edit.el_end(p->edit);
    if (p->history) edit.history_end(p->history);
    return status;
}

static void read_pipe(repl *p) {
    char *line = NULL;
    size_t cap = 0;
    bool quit = false;
    while (!quit && !interrupted && getline(&line, &cap, stdin) > 0) take_line(p, line, &quit);
    if (p->n && !quit) run_entry(p, &quit); // an entry that never ended: its error
    free(line);
}

int cli_repl(int argc, char **argv) {
    model_args a = {0};
    const char *text = NULL;
    int first;
    const arg_option options[] = {{ARG_TEXT, "prompt", 'p', &text, "TEXT", "predefines `tokens`, the tokens of TEXT", 0, 0}, MODEL_OPTIONS_DATA(a), {0}};
    const arg_command command = {.name = "repl", .usage = "[FILE.tl] [options]", .options = options, .least = 0, .most = 1,
        .about = "Reads a program entry by entry and runs each at once; FILE.tl is run first. -m predefines `model` and `tokenizer`.\n"
                 "Tab completes names, :help lists the commands. From a pipe: exit status 1 if an entry failed."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    opened o = {0};
    tl_error err;
    const tl_engine_options engine = {.threads = a.threads, .isa = a.isa, .on_warning = on_warning};
    status = a.model || text ? open_model("repl", &a, TL_MODEL_DATA, &o) : tl_engine_new(&engine, &o.engine, &err) == TL_OK ? 0 : fail_with("repl", &err);
    if (status != 0) return status;
    bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    const tl_program_options program = {.engine = o.engine, .model = o.model, .prompt = text, .print = print_text, .cancel = &interrupted, .color = color_wanted(stderr)};
    repl p = {0};
    struct sigaction action = {.sa_handler = on_interrupt}; // no SA_RESTART: reading a line stops too
    sigaction(SIGINT, &action, NULL);
    if (tl_repl_new(&program, &p.r, &err) != TL_OK) status = fail_with("repl", &err);
    else if (first < argc && tl_repl_load(p.r, argv[first], &err) != TL_OK) status = fail_with("repl", &err);
    else if (terminal) status = read_terminal(&p);
    else read_pipe(&p);
    if (!terminal && p.failed) status = 1;
    free(p.entry);
    tl_repl_free(p.r);
    opened_free(&o);
    return status;
}
