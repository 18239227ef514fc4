// watch_pattern.h - which bindings a pattern means: "X", "blk.*.G", "A[l=3]", "l=3:G", "X#2", "X@49" (docs/inside.md).
#ifndef TL_RUN_WATCH_PATTERN_H
#define TL_RUN_WATCH_PATTERN_H
#include "eval/eval.h"

enum { PATTERN_LIMITS = 4 };
typedef struct watch_pattern {
    char text[200], glob[120];
    struct { char name[40]; int64_t lo, hi; } limit[PATTERN_LIMITS]; // [lo, hi); below 0: from the end
    int n_limits;
    int line, nth;          // 0: any
    int64_t layers;         // set by the caller: how many there are, for numbers below 0
} watch_pattern;

// Reads the next pattern of *at, which ends at white space or a comma outside brackets. False: there is none.
// A wrong one sets *err.
bool pattern_next(const char **at, watch_pattern *out, tl_error *err);
bool pattern_matches(const watch_pattern *p, const ev_binding *b);
bool pattern_glob(const char *glob, const char *text);
#endif
