// args.h - options of a command as a table: one row is the option, its place, its range and its line of help.
// Errors and help go where they should: help asked for on stdout, a usage error on stderr with what was probably meant.
#ifndef CLI_ARGS_H
#define CLI_ARGS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { ARG_END, ARG_HEADING, ARG_FLAG, ARG_INT, ARG_I32, ARG_I64, ARG_U64, ARG_FLOAT, ARG_TEXT, ARG_LIST } arg_kind;

typedef struct arg_list { // of an option that may be repeated; the texts are argv's
    const char *p[64];
    size_t n;
} arg_list;

typedef struct arg_option {
    arg_kind kind;
    const char *name; // without "--"; of a heading its text
    char letter;      // 0: no short form
    void *to;         // bool, int, int32_t, int64_t, uint64_t, float, const char * or arg_list by kind
    const char *value; // what stands for the value in the help; NULL for a flag
    const char *help;
    double low, high; // both bounds are allowed; equal: no bounds
} arg_option;

typedef struct arg_command {
    const char *name, *usage; // usage: what follows "tl NAME "
    const char *about;        // paragraphs of the help
    const arg_option *options; // ends with ARG_END; --help is added
    int least, most;          // positional arguments; most -1: any number
    bool rest;                // what follows the first positional argument is not read as options
} arg_command;

// Reads argv[1..]; afterwards argv[*first..argc-1] are the positional arguments.
// Returns -1 to go on, or the exit status: 0 after --help, 2 for a usage error.
int args_parse(const arg_command *c, int argc, char **argv, int *first);
// Prints "tl NAME: message" and where help is; returns 2.
int args_wrong(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
// A model that may be given as an argument instead of with -m: -1, or 2 after a message if both were.
int args_positional(const char *name, const char *argument, const char **model);
// The one of `names` (ends with NULL) that `word` probably means, or NULL.
const char *args_nearest(const char *word, const char *const *names);
#endif
