// reply.h - computing a prompt and then token after token, with what the cache holds kept on record.
#ifndef CLI_REPLY_H
#define CLI_REPLY_H
#include "common.h"
#include "output.h"
#include "speculate.h"

// What ended a reply: an end token (or a constraint that allows nothing more), the number of tokens, a full cache, the user,
// a stop string, --max-time, a constraint that no token of the vocabulary fits.
typedef enum { STOP_END, STOP_LENGTH, STOP_CONTEXT, STOP_CANCELLED, STOP_TEXT, STOP_TIME, STOP_STUCK } stop_reason;

typedef struct token_list {
    int32_t *p;
    size_t n, cap;
} token_list;
bool token_list_add(token_list *l, int32_t id);

typedef struct reply { // zero, then the first group set by the caller
    opened *o;
    tl_sampler *sampler;
    int64_t most;       // tokens of a reply; -1: until the end token or the cache is full
    bool ignore_end;    // end tokens are text like any other
    volatile int *cancel; // may be NULL
    void (*show)(void *ctx, const char *text, size_t n); // new text of the reply
    // May be NULL: the token chosen from n logits, before its text is shown.
    void (*chosen)(void *ctx, const float *logits, int64_t n, int32_t id);
    void *ctx;
    const arg_list *stops;     // stop strings; may be NULL
    double max_seconds;        // from the end of the prompt on; 0: no limit
    tl_constraint *constraint; // may be NULL
    bool by_token;             // the constraint is a rule: it speaks of tokens, not of their bytes
    speculation spec;          // mode, small
    bool shift;                // a full cache forgets the older half of the text, behind the first `keep` tokens, and goes on
    int64_t keep;

    token_list held;    // the tokens whose keys and values the cache has
    stop_reason stop;
    const char *stop_text;     // the stop string of STOP_TEXT
    size_t completed;          // bytes at the end of the reply that the constraint added, since something had cut it
    int64_t jumped;            // tokens that the constraint left no choice about, which were not sampled
    int64_t prompt_tokens, prompt_computed, reply_tokens; // of the last reply
    int64_t all_prompt, all_reply;                         // of all replies: computed ones
    double prompt_seconds, reply_seconds;                  // of all replies
} reply;

// Brings the cache to hold ids[n]: what it holds already in common is kept, the rest computed. Then samples and shows.
// TL_E_CANCELLED during the prompt is reported as STOP_CANCELLED, not as an error.
tl_status reply_run(reply *r, const int32_t *ids, size_t n, tl_error *err);
// The tokens and what the cache holds of them, in a file (chat_session.c). *note is freed with tl_free.
int reply_save(const char *command, const reply *r, const char *path, const char *note);
int reply_load(const char *command, reply *r, const char *path, char **note);
void reply_print_speed(const reply *r); // on stderr
const char *stop_name(stop_reason s);
void reply_free(reply *r);

// For `show`: text for a terminal loses control characters other than newline and tab.
void print_reply_text(const char *text, size_t n);
#endif
