// terminal.h - libedit, loaded when a command talks at a terminal.
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H
#include "late.h"
#include <histedit.h>

#define TERMINAL_FUNCTIONS(F) \
    F(el_init) F(el_end) F(el_reset) F(el_gets) F(el_set) F(el_get) F(el_source) F(el_line) F(el_insertstr) F(history_init) F(history_end) F(history)
extern struct terminal_library { TERMINAL_FUNCTIONS(LATE_FIELD) } edit;

bool terminal_load(char *why, size_t cap);
#endif
