// progress.h - a progress bar on stderr for things that take a while. On a terminal one line that is redrawn; elsewhere
// a line at every tenth. Draws nothing for what ends within a moment on a terminal, or when quiet.
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H
#include <stdbool.h>
#include <stdint.h>

typedef struct progress {
    const char *title; // must outlive the bar
    const char *unit;  // NULL: bytes; else what `total` counts, "lines"
    int64_t total;     // 0: unknown
    int64_t first;     // bytes that were there at the start: they do not count for the speed
    bool quiet, terminal, drawn;
    int tenth;
    double started, last;
} progress;

void progress_start(progress *p, const char *title, int64_t total, int64_t done, bool quiet);
void progress_update(progress *p, int64_t done, const char *note); // note: a few words, or ""
void progress_end(progress *p); // clears the bar's line, so that a message can follow
double progress_seconds(void);  // a monotonic clock
#endif
