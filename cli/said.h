// said.h - the text of one job of a batch: its tokens decoded, up to a stop string, made whole under a constraint.
#ifndef CLI_SAID_H
#define CLI_SAID_H
#include "common.h"
#include "output.h"

typedef struct said_text { // zero, then the first group set by the caller; stays where it is
    const tl_model *model;
    const arg_list *stops;     // may be NULL
    tl_constraint *constraint; // may be NULL
    bool by_token;             // the constraint is a rule: it speaks of tokens, not of their bytes

    double max_seconds;        // from the first token on; 0: no limit

    char *text;
    size_t n;
    int64_t tokens, jumped;    // jumped: taken without asking the model
    size_t completed;          // bytes at the end that the constraint added, since something had cut the text
    text_output out;           // out.stopped: the stop string that came
    tl_decoder *decoder;
    uint32_t shown;            // the constraint's state after what has come out
    double started;
    bool late, failed;         // late: max_seconds ended it; failed: out of memory
} said_text;

tl_status said_open(said_text *s, tl_error *err);
bool said_token(said_text *s, int32_t id); // false: the text is over
tl_status said_end(said_text *s, tl_error *err); // what was held back, and what makes the text whole
const char *said_stop(const said_text *s, tl_job_end why); // what results call it: "end", "length", "stop", "time", ...
void said_free(said_text *s);
#endif
