// late.c - see late.h.
#include "late.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool late_load(const char *library, const char *const *names, void *table, char *why, size_t cap) {
    char *fields = table;
    void *f;
    memcpy(&f, fields, sizeof f);
    if (f) return true;
    void *lib = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!lib) return snprintf(why, cap, "a library cannot be loaded: %s", dlerror()), false;
    size_t n = 0;
    for (; names[n]; n++) {
        if (!(f = dlsym(lib, names[n]))) {
            memset(fields, 0, n * sizeof f);
            return snprintf(why, cap, "%s has no %s", library, names[n]), false;
        }
        memcpy(fields + n * sizeof f, &f, sizeof f);
    }
    return true;
}
