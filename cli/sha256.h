// sha256.h - checksums by nettle, loaded when the first is wanted.
#ifndef CLI_SHA256_H
#define CLI_SHA256_H
#include "late.h"
#include <nettle/sha2.h>

#define SHA256_FUNCTIONS(F) F(nettle_sha256_init) F(nettle_sha256_update) F(nettle_sha256_digest)
extern struct sha256_library { SHA256_FUNCTIONS(LATE_FIELD) } sha256;

bool sha256_load(char *why, size_t cap);
#endif
