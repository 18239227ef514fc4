// progress.c - see progress.h.
#include "progress.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

double progress_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_start(progress *p, const char *title, int64_t total, int64_t done, bool quiet) {
    *p = (progress){.title = title, .total = total, .first = done, .quiet = quiet, .started = progress_seconds()};
    p->terminal = isatty(STDERR_FILENO) == 1;
    p->tenth = total > 0 ? (int)(done * 10 / total) : 0;
}

static int terminal_width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static void draw_line(progress *p, int64_t done, const char *note, double now) {
    char bar[32] = "", rest[120], line[300];
    double speed = now > p->started ? (double)(done - p->first) / (now - p->started) : 0, mega = 1e-6;
    int n = 0;
    if (p->total > 0) {
        int filled = (int)(done * 24 / p->total);
        memset(bar, ' ', 24);
        memset(bar, '#', (size_t)(filled > 24 ? 24 : filled));
        int percent = (int)(done * 100 / p->total);
        if (p->unit) n = snprintf(rest, sizeof rest, "%3d %% %lld / %lld %.20s", percent, (long long)done, (long long)p->total, p->unit);
        else n = snprintf(rest, sizeof rest, "%3d %% %.1f / %.1f MB", percent, (double)done * mega, (double)p->total * mega);
    } else {
        n = snprintf(rest, sizeof rest, "%.1f MB", (double)done * mega);
    }
    if (speed > 0 && now - p->started > 1) {
        if (!p->unit) n += snprintf(rest + n, sizeof rest - (size_t)n, "  %.1f MB/s", speed * mega);
        if (p->total > done) snprintf(rest + n, sizeof rest - (size_t)n, "  %.0f s left", (double)(p->total - done) / speed);
    }
    snprintf(line, sizeof line, "%.80s%s%s%s %s  %.60s", p->title, *bar ? " [" : "", bar, *bar ? "]" : "", rest, note);
    if (p->terminal) fprintf(stderr, "\r\033[K%.*s", terminal_width() - 1, line);
    else fprintf(stderr, "%s\n", line);
    p->drawn = true;
}

void progress_update(progress *p, int64_t done, const char *note) {
    if (p->quiet) return;
    if (p->total > 0 && done > p->total) done = p->total;
    double now = progress_seconds();
    if (p->terminal) {
        if (now - p->started < 0.2 || now - p->last < 0.1) return;
    } else {
        int tenth = p->total > 0 ? (int)(done * 10 / p->total) : (int)(done / 10000000);
        if (tenth == p->tenth) return;
        p->tenth = tenth;
    }
    p->last = now;
    draw_line(p, done, note, now);
}

void progress_end(progress *p) {
    if (p->drawn && p->terminal) fputs("\r\033[K", stderr);
    p->drawn = false;
}
