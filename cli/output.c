// output.c - see output.h.
#include "output.h"
#include <stdlib.h>
#include <string.h>

static bool hold(text_output *o, const char *text, size_t n) {
    if (o->n_held + n > o->cap) {
        size_t cap = 2 * (o->n_held + n) + 64;
        char *grown = realloc(o->held, cap);
        if (!grown) return false;
        o->held = grown, o->cap = cap;
    }
    if (n) memcpy(o->held + o->n_held, text, n);
    o->n_held += n;
    return true;
}

static void release(text_output *o, size_t n) {
    if (n) o->show(o->ctx, o->held, n);
    if (n < o->n_held) memmove(o->held, o->held + n, o->n_held - n);
    o->n_held -= n;
}

// The first stop string in what is held: where it begins, of those that begin there the first given.
static bool find_stop(text_output *o, size_t *at) {
    bool found = false;
    for (size_t i = 0; i < o->stops->n; i++) {
        size_t n = strlen(o->stops->p[i]);
        const char *p = n && o->n_held ? memmem(o->held, o->n_held, o->stops->p[i], n) : NULL;
        if (!p || (found && (size_t)(p - o->held) >= *at)) continue;
        found = true;
        *at = (size_t)(p - o->held);
        o->stopped = o->stops->p[i];
    }
    return found;
}

// How many of the last bytes a stop string begins with.
static size_t open_end(const text_output *o) {
    size_t most = 0;
    for (size_t i = 0; i < o->stops->n; i++) {
        const char *stop = o->stops->p[i];
        size_t n = strlen(stop), k = n > 0 ? n - 1 : 0;
        if (k > o->n_held) k = o->n_held;
        while (k > most && memcmp(o->held + o->n_held - k, stop, k) != 0) k--;
        if (k > most) most = k;
    }
    return most;
}

bool output_put(text_output *o, const char *text, size_t n) {
    size_t at = 0;
    if (o->stopped) return true;
    if (!hold(o, text, n)) return false;
    if (!o->stops || !o->stops->n) {
        release(o, o->n_held);
    } else if (find_stop(o, &at)) {
        release(o, at);
        o->n_held = 0;
    } else {
        release(o, o->n_held - open_end(o));
    }
    return true;
}

void output_flush(text_output *o) { release(o, o->n_held); }

void output_free(text_output *o) {
    free(o->held);
    o->held = NULL;
    o->n_held = o->cap = 0;
}
