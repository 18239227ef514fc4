// terminal.c - see terminal.h.
#include "terminal.h"

struct terminal_library edit;
static const char *const names[] = {TERMINAL_FUNCTIONS(LATE_NAME) NULL};

bool terminal_load(char *why, size_t cap) { return late_load(LIBEDIT, names, &edit, why, cap); }
