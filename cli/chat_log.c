// chat_log.c - a conversation as a result: --json, and --log FILE. The stamp holds every line that was entered, so that
// `tl replay` can hold the same conversation again.
#include "chat.h"
#include "stamp.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A message of several lines is entered with a backslash at the end of each but the last. A reply that Ctrl-C stopped is one of
// so many tokens: what was entered says so, and can be entered again.
void chat_note_line(chat *c, const char *line, int64_t stopped_after) {
    if (!c->log && !c->json) return;
    if (!c->entered) c->entered = open_memstream(&c->lines, &c->lines_n);
    if (!c->entered) return;
    if (stopped_after >= 0) fprintf(c->entered, "/set n %lld\n", (long long)stopped_after);
    for (const char *p = line; *p; p++) {
        if (*p == '\n') fputc('\\', c->entered);
        fputc(*p, c->entered);
    }
    fputc('\n', c->entered);
    if (stopped_after >= 0) fprintf(c->entered, "/set n %lld\n", (long long)c->reply.most);
}

static json_t *log_json(chat *c) {
    if (c->entered) fclose(c->entered), c->entered = NULL;
    stamp_stdin(c->lines ? c->lines : "", c->lines_n);
    json_t *stamp = stamp_json(c->o, c->reply.sampler, c->sampling->seed, c->reply.held.p, c->reply.held.n);
    if (c->before) json_object_set(stamp, "conversation", c->before);
    json_object_set_new(stamp, "interrupted", json_integer((json_int_t)c->interruptions));
    return json_pack("{s:o, s:I, s:I, s:o}", "messages", chat_json(c), "prompt_tokens", (json_int_t)c->reply.prompt_tokens, "tokens",
                     (json_int_t)c->reply.all_reply, "stamp", stamp);
}

// Written beside and renamed, so that a file of the same name survives a failure.
int chat_write_json(const char *path, const json_t *value) {
    char temporary[PATH_MAX];
    int n = snprintf(temporary, sizeof temporary, "%s.new", path);
    errno = ENAMETOOLONG;
    if (n < (int)sizeof temporary && json_dump_file(value, temporary, JSON_INDENT(1)) == 0 && rename(temporary, path) == 0) return 0;
    int reason = errno;
    if (n < (int)sizeof temporary) unlink(temporary);
    return fail("chat", "%s: %s", path, strerror(reason));
}

int chat_check_log(const chat *c) { // before the conversation, not after it
    char temporary[PATH_MAX];
    int n = c->log ? snprintf(temporary, sizeof temporary, "%s.new", c->log) : 0;
    FILE *f = n > 0 && n < (int)sizeof temporary ? fopen(temporary, "wb") : NULL;
    if (c->log && !f) return fail("chat", "%s: %s", c->log, n < (int)sizeof temporary ? strerror(errno) : "the name is too long");
    if (f) fclose(f), unlink(temporary);
    return 0;
}

int chat_end_log(chat *c) {
    if (!c->log && !c->json) return 0;
    json_t *all = log_json(c);
    int status = c->log ? chat_write_json(c->log, all) : 0;
    if (c->json) return print_json(all) != 0 ? 1 : status;
    if (status == 0) fprintf(stderr, "[the conversation is in %s; `tl replay` makes it again]\n", c->log);
    json_decref(all);
    return status;
}

void chat_free_log(chat *c) {
    if (c->entered) fclose(c->entered);
    free(c->lines);
    json_decref(c->before);
}
