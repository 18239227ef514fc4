// sha256.c - see sha256.h.
#include "sha256.h"

struct sha256_library sha256;
static const char *const names[] = {SHA256_FUNCTIONS(LATE_NAME) NULL};

bool sha256_load(char *why, size_t cap) { return late_load(LIBNETTLE, names, &sha256, why, cap); }
