// late.h - libraries that only some commands need, loaded when one of these wants them: each, and those it brings along, would cost every
// other command memory and time at its start. (libarchive alone comes with eleven, which take 2 MB.)
//
// A library is a list of its functions and a table of pointers to them, with the types of its own header:
//
//     #define ZIP_FUNCTIONS(F) F(zip_open) F(zip_close)
//     static struct { ZIP_FUNCTIONS(LATE_FIELD) } zip;
//     static const char *const zip_names[] = {ZIP_FUNCTIONS(LATE_NAME) NULL};
//     if (late_load("libzip.so.5", zip_names, &zip, why, sizeof why)) zip.zip_open(...);
#ifndef CLI_LATE_H
#define CLI_LATE_H
#include <stdbool.h>
#include <stddef.h>

#define LATE_FIELD(name) __typeof__(&(name)) name;
#define LATE_NAME(name) #name,

// Fills the table, in the order of the names (NULL ends them), which is that of its fields. Once that is done nothing more is.
// False, with the reason, and the table is empty.
bool late_load(const char *library, const char *const *names, void *table, char *why, size_t cap);
#endif
