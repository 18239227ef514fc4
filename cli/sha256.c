// sha256.c - see sha256.h.
#include "sha256.h"

struct sha256_library sha256;
static const late_function rows[] = {SHA256_FUNCTIONS(LATE_ROW){0}};

bool sha256_load(char *why, size_t cap) { return late_load(LIBNETTLE, rows, &sha256, why, cap); }
