// batch.h - `tl generate --prompts`: many texts continued side by side, one line of JSON for each.
#ifndef CLI_BATCH_H
#define CLI_BATCH_H
#include "common.h"
#include "sampling.h"

typedef struct batch_args {
    const model_args *model;
    const sampling_args *sampling; // what a line does not say itself
    const arg_list *stops;
    const constraint_args *constraint;
    const char *prompts, *out;     // out NULL: stdout
    int parallel;
    double max_seconds;
    int64_t most;
    bool chat, parse_special, no_special, ignore_end, overwrite;
    volatile int *cancel;
} batch_args;
int batch_generate(const batch_args *a); // returns the exit status

// ---- what is asked for (batch_file.c) -----------------------------------------------------------
typedef struct batch_line {
    json_t *said;          // the line
    char *text;            // the prompt; NULL: messages
    tl_message *messages;
    size_t n_messages;
    arg_list stops;        // point into `said`
    int64_t most;
    bool ignore_end;
    sampling_args sampling;
    tl_constraint_kind constraint_kind;
    const char *constraint; // text of what the reply must be; NULL: free. The options' or of `own`
    size_t n_constraint;
    char *own;
    tl_constraint *fits;   // made of it; belongs to the lines
    size_t number;         // of the line in the file
    uint64_t key;          // of all that the result depends on: a result with it is this line's
    char *result;          // a line of JSON, once there
} batch_line;

typedef struct batch_lines {
    batch_line *p;
    size_t n, done;
    char *constraint;      // of the options
    tl_constraint **fits;  // one for each text of a constraint
    size_t n_fits;
} batch_lines;
int batch_read(const batch_args *a, uint64_t model_key, batch_lines *out); // 0, or the exit status after its message
// Makes the constraints of lines that are not done; lines with the same text share one.
int batch_open_constraints(const batch_args *a, tl_model *m, batch_lines *l);
void batch_lines_free(batch_lines *l);

// ---- results that outlive the process -------------------------------------------------------------
// While lines are missing, results are appended to OUT.part as they come; OUT appears whole, in order, at the end.
typedef struct batch_store {
    const char *out;
    char *part;
    int file;              // -1: results go to stdout
    size_t shown;          // lines printed to stdout
} batch_store;
int batch_store_open(batch_store *s, const batch_args *a, batch_lines *lines); // takes over what is there already
int batch_store_add(batch_store *s, batch_lines *lines, size_t i, char *result); // result: malloc'ed, one line without its end
int batch_store_finish(batch_store *s, const batch_lines *lines);
void batch_store_close(batch_store *s);
#endif
