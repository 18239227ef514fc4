// chat.h - a conversation's state, shared by the turns (chat.c) and the /commands (chat_command.c).
#ifndef CLI_CHAT_H
#define CLI_CHAT_H
#include "probs.h"
#include "reply.h"

typedef struct chat {
    opened *o;
    const model_args *model;
    sampling_args *sampling;
    const reply_args *limits;
    tl_message *messages; // contents are owned; the first one may be the system message
    size_t n, cap;
    reply reply;
    FILE *said;           // the reply under way
    bool quit, forgot, continued, color;
    bool show_probs;
    probs probs;          // of the reply under way
    const char *log;      // a file for the conversation and its stamp, or NULL
    bool json;            // the same on stdout, in place of replies
    FILE *entered;        // what was entered, into `lines`; NULL before the first line
    char *lines;
    size_t lines_n;
    json_t *before;       // the messages that --session started with, or NULL
    int64_t interruptions; // replies that Ctrl-C stopped
} chat;

bool chat_add(chat *c, const char *role, const char *content); // false: out of memory
void chat_clear(chat *c);                                      // all but the system message
bool chat_set_system(chat *c, const char *text);               // "": none
// chat_session.c: in a file with the cache. 0, or the exit status after its message.
json_t *chat_json(const chat *c);
int chat_save_session(chat *c, const char *path);
int chat_load(chat *c, const char *path);
// chat_log.c: --json and --log. 0, or the exit status after its message.
void chat_note_line(chat *c, const char *line, int64_t stopped_after); // -1: the reply was not stopped, or there was none
int chat_write_json(const char *path, const json_t *value);
int chat_check_log(const chat *c);
int chat_end_log(chat *c);
void chat_free_log(chat *c);
// Obeys "/word rest". Returns 0, or an exit status after its message (which does not end the conversation).
int chat_command(chat *c, char *line);
#endif
