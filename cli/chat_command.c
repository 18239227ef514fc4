// chat_command.c - the /commands of a conversation. What they say goes to stderr, since stdout is for replies.
#include "chat.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct setting {
    const char *name;
    enum { SET_FLOAT, SET_I32, SET_I64 } kind;
    void *at;
} setting;

enum { SETTINGS = 10 };
static void list_settings(chat *c, setting *s) {
    tl_sampling *o = &c->sampling->s;
    const setting rows[SETTINGS] = {
        {"temp", SET_FLOAT, &o->temperature}, {"top-k", SET_I32, &o->top_k}, {"top-p", SET_FLOAT, &o->top_p},
        {"min-p", SET_FLOAT, &o->min_p}, {"repeat-penalty", SET_FLOAT, &o->repeat_penalty},
        {"presence-penalty", SET_FLOAT, &o->presence_penalty}, {"frequency-penalty", SET_FLOAT, &o->frequency_penalty},
        {"repeat-last-n", SET_I32, &o->penalty_last_n}, {"seed", SET_I64, &c->sampling->seed}, {"n", SET_I64, &c->reply.most}};
    memcpy(s, rows, sizeof rows);
}

static int show_settings(const setting *s) {
    for (int i = 0; i < SETTINGS; i++) {
        if (s[i].kind == SET_FLOAT) fprintf(stderr, "  %-18s %g\n", s[i].name, (double)*(float *)s[i].at);
        else if (s[i].kind == SET_I32) fprintf(stderr, "  %-18s %d\n", s[i].name, *(int32_t *)s[i].at);
        else fprintf(stderr, "  %-18s %lld\n", s[i].name, (long long)*(int64_t *)s[i].at);
    }
    return 0;
}

static const setting *find_setting(const setting *s, char *name) {
    if (strcmp(name, "temperature") == 0) return &s[0];
    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    for (int i = 0; i < SETTINGS; i++)
        if (strcmp(s[i].name, name) == 0) return &s[i];
    return NULL;
}

// Applies the changed options; a value that the sampler refuses is taken back.
static int renew_sampler(chat *c, const sampling_args *old) {
    tl_sampler *fresh = NULL;
    if (open_sampler("chat", c->sampling, c->o->model, c->model->verbose, &fresh) != 0) {
        *c->sampling = *old;
        return 2;
    }
    for (size_t i = 0; i < c->reply.held.n; i++) tl_sampler_accept(fresh, c->reply.held.p[i]);
    tl_sampler_free(c->reply.sampler);
    c->reply.sampler = fresh;
    return 0;
}

static int set(chat *c, char *rest) {
    setting s[SETTINGS];
    list_settings(c, s);
    char *name = strtok(rest, " \t="), *value = strtok(NULL, " \t="), *end;
    if (!name) return show_settings(s);
    const setting *found = find_setting(s, name);
    if (!found) return fail("chat", "/set: there is no setting \"%s\"; /set alone lists them", name);
    sampling_args old = *c->sampling;
    errno = 0;
    double x = value ? strtod(value, &end) : NAN;
    if (!value || *end || !isfinite(x) || fabs(x) > 9e15) return fail("chat", "/set %s: a number is wanted", name);
    if (found->kind != SET_FLOAT && x != floor(x)) return fail("chat", "/set %s: a whole number is wanted", name);
    if (found->kind == SET_I32 && fabs(x) > INT32_MAX) return fail("chat", "/set %s: the number is too large", name);
    if (found->kind == SET_FLOAT) *(float *)found->at = (float)x;
    else if (found->kind == SET_I32) *(int32_t *)found->at = (int32_t)x;
    else *(int64_t *)found->at = (int64_t)x;
    return found->at == &c->reply.most ? 0 : renew_sampler(c, &old);
}

static int save(chat *c, const char *path) {
    if (!*path) return fail("chat", "/save: a file name is wanted");
    if (strlen(path) > 4 && strcmp(path + strlen(path) - 4, ".tls") == 0) return chat_save_session(c, path);
    json_t *list = chat_json(c);
    int status = chat_write_json(path, list);
    json_decref(list);
    if (status == 0) fprintf(stderr, "[%zu messages in %s]\n", c->n, path);
    return status;
}

static int help(void) {
    fputs("  /help              this list\n"
          "  /reset             start over; the system message stays\n"
          "  /system [TEXT]     set the system message; without TEXT none\n"
          "  /save FILE         write the conversation as JSON; FILE.tls: with its cache\n"
          "  /load FILE         go on with what /save wrote\n"
          "  /set [NAME VALUE]  set an option of sampling, or n; alone lists them\n"
          "  /quit              leave\n"
          "A line that begins with // is a message that begins with /.\n", stderr);
    return 0;
}

int chat_command(chat *c, char *line) {
    static const char *const names[] = {"help", "reset", "system", "save", "load", "set", "quit", NULL};
    char *word = line + 1, *rest = word + strcspn(word, " \t\n");
    if (*rest) *rest++ = '\0';
    rest += strspn(rest, " \t\n");
    for (size_t n = strlen(rest); n > 0 && strchr(" \t\n", rest[n - 1]); n--) rest[n - 1] = '\0';
    if (strcmp(word, "help") == 0 || strcmp(word, "?") == 0) return help();
    if (strcmp(word, "reset") == 0) return chat_clear(c), 0;
    if (strcmp(word, "system") == 0) return chat_set_system(c, rest) ? 0 : fail("chat", "out of memory");
    if (strcmp(word, "save") == 0) return save(c, rest);
    if (strcmp(word, "load") == 0) return *rest ? chat_load(c, rest) : fail("chat", "/load: a file name is wanted");
    if (strcmp(word, "set") == 0) return set(c, rest);
    if (strcmp(word, "quit") == 0 || strcmp(word, "exit") == 0) return c->quit = true, 0;
    const char *near = args_nearest(word, names);
    if (near) return fail("chat", "there is no /%s; did you mean /%s?", word, near);
    return fail("chat", "there is no /%s; /help lists the commands", word);
}
