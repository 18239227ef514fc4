// terminal.c - see terminal.h.
#include "terminal.h"

struct terminal_library edit;
static const late_function rows[] = {TERMINAL_FUNCTIONS(LATE_ROW){0}};

bool terminal_load(char *why, size_t cap) { return late_load(LIBEDIT, rows, &edit, why, cap); }
