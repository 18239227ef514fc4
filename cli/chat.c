// chat.c - `tl chat`: a conversation. From a terminal with line editing and history; from a pipe each line is a turn.
// Every turn renders the whole conversation with the model's template and compares the tokens with what the cache holds,
// so nothing is computed twice, whatever the template does to earlier turns.
#include "chat.h"
#include "models.h"
#include "terminal.h"
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- conversation ------------------------------------------------------------------------------
bool chat_add(chat *c, const char *role, const char *content) {
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 16;
        tl_message *grown = realloc(c->messages, cap * sizeof *grown);
        if (!grown) return false;
        c->messages = grown, c->cap = cap;
    }
    char *copy = strdup(content);
    if (!copy) return false;
    c->messages[c->n++] = (tl_message){role, copy};
    return true;
}

static void drop(chat *c, size_t from, size_t n) {
    for (size_t i = from; i < from + n; i++) free((void *)c->messages[i].content);
    if (n == 0) return; // there may be no list at all
    memmove(c->messages + from, c->messages + from + n, (c->n - from - n) * sizeof *c->messages);
    c->n -= n;
}

static bool has_system(const chat *c) { return c->n > 0 && strcmp(c->messages[0].role, "system") == 0; }

void chat_clear(chat *c) {
    size_t keep = has_system(c) ? 1 : 0;
    drop(c, keep, c->n - keep);
    tl_sampler_reset(c->reply.sampler);
}

bool chat_set_system(chat *c, const char *text) {
    if (has_system(c)) drop(c, 0, 1);
    if (!*text) return true;
    if (!chat_add(c, "system", text)) return false;
    tl_message last = c->messages[c->n - 1];
    memmove(c->messages + 1, c->messages, (c->n - 1) * sizeof *c->messages);
    c->messages[0] = last;
    return true;
}

// ---- one turn ----------------------------------------------------------------------------------
static volatile int interrupted;
static void on_interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static void show_text(void *ctx, const char *text, size_t n) {
    chat *c = ctx;
    if (c->show_probs) probs_print(&c->probs, text, n);
    else if (!c->json) print_reply_text(text, n);
    fwrite(text, 1, n, c->said);
}

static void token_chosen(void *ctx, const float *logits, int64_t n, int32_t id) {
    chat *c = ctx;
    probs_add(&c->probs, logits, n, id);
}

// The tokens of the conversation; the oldest turns are forgotten when they and a reply of some length do not fit.
static tl_status render(chat *c, int32_t **ids, size_t *n, tl_error *err) {
    int64_t room = tl_session_n_ctx(c->o->session);
    for (;;) {
        size_t first = has_system(c) ? 1 : 0;
        tl_status status = tl_chat_tokenize(c->o->model, c->messages, c->n, true, NULL, ids, n, err);
        if (status != TL_OK) return status;
        if ((int64_t)*n + room / 8 < room || c->n - first < 3) return TL_OK;
        tl_free(*ids);
        drop(c, first, 2);
        if (!c->forgot) fprintf(stderr, "[the conversation is longer than the cache (-c %lld): its oldest turns are forgotten]\n", (long long)room);
        c->forgot = true;
    }
}

static int answer(chat *c) {
    int32_t *ids;
    size_t n, size = 0;
    char *text = NULL;
    tl_error err;
    if (render(c, &ids, &n, &err) != TL_OK) return fail("chat", "%s", err.message); // a failure of the file, no wrong usage
    c->said = open_memstream(&text, &size);
    if (!c->said) return tl_free(ids), fail("chat", "out of memory");
    tl_status status = reply_run(&c->reply, ids, n, &err);
    fclose(c->said);
    tl_free(ids);
    if (!c->json) putchar('\n');
    fflush(stdout);
    if (c->show_probs) probs_end(&c->probs);
    int result = status == TL_OK ? 0 : fail_with("chat", &err);
    if (result == 0 && !chat_add(c, "assistant", text)) result = fail("chat", "out of memory");
    free(text);
    c->interruptions += result == 0 && c->reply.stop == STOP_CANCELLED;
    if (result == 0 && c->reply.stop == STOP_CONTEXT) fprintf(stderr, "[the cache is full: -c gives more room]\n");
    if (result == 0 && c->reply.stop == STOP_TIME) fprintf(stderr, "[cut after %g seconds: --max-time]\n", c->reply.max_seconds);
    if (result == 0 && c->reply.stop == STOP_LENGTH) fprintf(stderr, "[cut after %lld tokens: -n]\n", (long long)c->reply.reply_tokens);
    return result;
}

// A turn that fails is taken back, so that the conversation can go on.
static int turn(chat *c, const char *text) {
    size_t before = c->n;
    if (!chat_add(c, "user", text)) return fail("chat", "out of memory");
    int status = answer(c);
    if (status != 0 && c->n > before) drop(c, c->n - 1, 1);
    return status;
}

static int handle_line(chat *c, char *line) {
    if (line[0] == '/' && line[1] != '/') {
        chat_note_line(c, line, -1);
        return chat_command(c, line);
    }
    int64_t before = c->interruptions;
    const char *text = line + (line[0] == '/');
    int status = text[strspn(text, " \t\r\n")] ? turn(c, text) : 0;
    chat_note_line(c, line, c->interruptions > before ? c->reply.reply_tokens : -1);
    return status;
}

// A message is a line, and more after a line that ends with a backslash: whether there is more.
static bool add_line(FILE *to, const char *line, size_t n) {
    bool more = n > 0 && line[n - 1] == '\\';
    fwrite(line, 1, more ? n - 1 : n, to);
    if (more) fputc('\n', to);
    return more;
}

// ---- from a pipe -------------------------------------------------------------------------------
static bool read_piped(char **message) { // false: end of input
    char *line = NULL;
    size_t cap = 0, size = 0;
    bool more = true, got = false;
    FILE *to = open_memstream(message, &size);
    for (ssize_t n; to && more && (n = getline(&line, &cap, stdin)) >= 0; got = true) {
        if (n > 0 && line[n - 1] == '\n') n--;
        if (n > 0 && line[n - 1] == '\r') n--;
        more = add_line(to, line, (size_t)n);
    }
    if (to) fclose(to);
    free(line);
    if (got) return true;
    free(*message);
    return false;
}

// Ctrl-C stops a reply and the next line follows; while a line is awaited it ends the input.
static int talk_piped(chat *c) {
    char *message;
    int status = 0;
    for (; !c->quit && read_piped(&message); interrupted = 0) {
        int failed = handle_line(c, message);
        if (failed > status) status = failed;
        free(message);
    }
    return status;
}

// ---- from a terminal ---------------------------------------------------------------------------
static const char *prompt_text(EditLine *el) {
    chat *c;
    edit.el_get(el, EL_CLIENTDATA, &c);
    if (c->continued) return ". ";
    // What is between two \1 takes no room; libedit drops it at the very end, so a space follows.
    return c->color ? "\1\033[1;32m\1>\1\033[0m\1 " : "> ";
}

static bool history_file(char *path, size_t cap) {
    char folder[PATH_MAX];
    if (!models_folder(folder, sizeof folder) || (mkdir(folder, 0777) != 0 && errno != EEXIST)) return false;
    int n = snprintf(path, cap, "%s/chat-history", folder);
    return n > 0 && (size_t)n < cap;
}

// Reads one message: a line, and more after a line that ends with a backslash. False: end of input.
static bool read_message(chat *c, EditLine *el, char **message) {
    size_t size = 0;
    FILE *to = open_memstream(message, &size);
    bool more = true, got = false;
    c->continued = false;
    while (to && more) {
        int n = 0;
        interrupted = 0;
        errno = 0;
        const char *line = edit.el_gets(el, &n);
        if (!line && (interrupted || errno == EINTR)) {
            fprintf(stderr, "\n(Ctrl-D or /quit leaves)\n");
            edit.el_reset(el);
            break;
        }
        if (!line || n <= 0) {
            if (!got) fclose(to), free(*message), *message = NULL, to = NULL;
            break;
        }
        got = true;
        if (n > 0 && line[n - 1] == '\n') n--;
        c->continued = more = add_line(to, line, (size_t)n);
    }
    if (to) fclose(to);
    return *message != NULL;
}

static int talk_at_terminal(chat *c) {
    HistEvent event;
    char file[PATH_MAX], why[300], *message = NULL;
    if (!terminal_load(why, sizeof why)) return fail("chat", "%s", why);
    EditLine *el = edit.el_init("tl", stdin, stdout, stderr);
    History *past = edit.history_init();
    if (!el || !past) return fail("chat", "the terminal cannot be used");
    bool kept = history_file(file, sizeof file);
    edit.history(past, &event, H_SETSIZE, 1000);
    edit.history(past, &event, H_SETUNIQUE, 1);
    if (kept) edit.history(past, &event, H_LOAD, file);
    edit.el_set(el, EL_CLIENTDATA, c);
    edit.el_set(el, EL_EDITOR, "emacs");
    edit.el_set(el, EL_HIST, edit.history, past);
    edit.el_set(el, EL_PROMPT_ESC, prompt_text, '\1');
    edit.el_set(el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    // Else the kernel throws away output at Ctrl-C, and with it at times the prompt that we have just printed.
    edit.el_set(el, EL_SETTY, "-x", "+noflsh", NULL);
    edit.el_set(el, EL_SETTY, "-d", "+noflsh", NULL);
    edit.el_source(el, NULL);
    fprintf(stderr, "%s; /help lists the commands, Ctrl-C stops a reply, Ctrl-D leaves\n", tl_model_name(c->o->model));
    while (!c->quit && read_message(c, el, &message)) {
        if (message[strspn(message, " \t\n")]) {
            edit.history(past, &event, H_ENTER, message);
            handle_line(c, message); // what went wrong has been said; the conversation goes on
        }
        free(message);
    }
    mode_t old = umask(077); // what people type is theirs alone
    if (kept) edit.history(past, &event, H_SAVE, file);
    umask(old);
    edit.history_end(past);
    edit.el_end(el);
    return 0;
}

// ---- the command -------------------------------------------------------------------------------
static int talk(chat *c) {
    struct sigaction action = {.sa_handler = on_interrupt}; // no SA_RESTART: reading a line ends too
    sigaction(SIGINT, &action, NULL);
    setlocale(LC_CTYPE, "");
    c->color = color_wanted(stdout);
    c->probs.color = c->color;
    bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
    if (terminal && c->json) return args_wrong("chat", "at a terminal replies are shown as they come: --log FILE writes the JSON to a file");
    int status = terminal ? talk_at_terminal(c) : talk_piped(c), logged = chat_end_log(c);
    if (logged > status) status = logged;
    if (c->reply.all_prompt > 0) reply_print_speed(&c->reply);
    return status;
}

static int chat_with(chat *c, const char *system, int64_t most, const char *session) {
    c->reply = (reply){.o = c->o, .most = most, .cancel = &interrupted, .show = show_text, .ctx = c, .stops = &c->limits->stops,
                       .max_seconds = (double)c->limits->max_seconds, .ignore_end = c->limits->ignore_end,
                       .by_token = c->limits->constraint.rule != NULL};
    c->probs = (probs){.model = c->o->model};
    if (c->show_probs) c->reply.chosen = token_chosen;
    if (!tl_model_has_chat_template(c->o->model)) { // there is none, or it does not compile: the rendering of nothing says why
        int32_t *ids = NULL;
        size_t n;
        tl_error err = {0};
        if (tl_chat_tokenize(c->o->model, NULL, 0, true, NULL, &ids, &n, &err) != TL_OK) return fail("chat", "%s", err.message);
        tl_free(ids);
    }
    if (c->log || c->json) sampling_fix_seed(c->sampling); // so that the stamp can tell it
    int status = open_session("chat", c->model, 0, 0, c->o);
    if (status == 0) status = open_sampler("chat", c->sampling, c->o->model, c->model->verbose, &c->reply.sampler);
    if (status == 0) status = open_constraint("chat", &c->limits->constraint, c->o->model, &c->reply.constraint);
    if (status == 0 && system && !chat_set_system(c, system)) status = fail("chat", "out of memory");
    if (status == 0 && session && access(session, F_OK) == 0 && (status = chat_load(c, session)) == 0) c->before = chat_json(c);
    if (status == 0) {
        status = talk(c);
        if (session && c->reply.all_prompt > 0 && chat_save_session(c, session) != 0) status = 1;
    }
    drop(c, 0, c->n);
    chat_free_log(c);
    free(c->messages);
    tl_sampler_free(c->reply.sampler);
    tl_constraint_free(c->reply.constraint);
    reply_free(&c->reply);
    probs_free(&c->probs);
    return status;
}

int cli_chat(int argc, char **argv) {
    model_args model = {0};
    sampling_args sampling = SAMPLING_DEFAULT;
    reply_args limits = {0};
    const char *system = NULL, *session = NULL, *log = NULL;
    int64_t most = -1;
    bool show_probs = false, json = false;
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "session", 0, &session, "FILE", "go on with the conversation in FILE, and keep it there", 0, 0},
        {ARG_TEXT, "system", 0, &system, "TEXT", "system message (default: the template's own)", 0, 0},
        {ARG_I64, "n-predict", 'n', &most, "N", "at most N tokens a reply; -1: no limit (default: -1)", -1, 1e9},
        {ARG_FLAG, "show-probs", 0, &show_probs, NULL, "colour tokens by probability; NO_COLOR: numbers", 0, 0},
        {ARG_TEXT, "log", 0, &log, "FILE", "write the conversation to FILE at its end, as --json has it", 0, 0},
        {ARG_FLAG, "json", 0, &json, NULL, "messages and a stamp for `tl replay`, at the end; input comes from a pipe", 0, 0},
        {ARG_TEXT, "chat-template", 0, &model.chat_template, "FILE", "Jinja template instead of the file's", 0, 0},
        REPLY_OPTIONS(limits), CONSTRAINT_OPTIONS(limits.constraint), SAMPLING_OPTIONS(sampling), MODEL_OPTIONS(model), INSIDE_OPTIONS(model), {0}};
    const arg_command command = {.name = "chat", .usage = "[-m MODEL | MODEL] [options]", .options = options, .most = 1,
        .about = "Holds a conversation. /help lists what can be done in it, a backslash at the end of a line continues the\n"
                 "message and Ctrl-C stops a reply. From a pipe, each line is a turn. Replies go to stdout; the speed is told\n"
                 "on stderr at the end."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (first < argc && (status = args_positional("chat", argv[first], &model.model)) >= 0) return status;
    if (json && (log || show_probs)) return args_wrong("chat", "give either --json or %s", log ? "--log FILE" : "--show-probs");
    opened o;
    chat c = {.o = &o, .model = &model, .sampling = &sampling, .limits = &limits, .show_probs = show_probs, .log = log, .json = json};
    if ((status = chat_check_log(&c)) != 0 || (status = open_model("chat", &model, TL_MODEL_WHOLE, &o)) != 0) return status;
    status = chat_with(&c, system, most, session);
    opened_free(&o);
    return status;
}
