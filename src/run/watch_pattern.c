// watch_pattern.c - see watch_pattern.h.
#include <inttypes.h>

#include "run/watch_pattern.h"

bool pattern_glob(const char *glob, const char *text) { // `*`: any characters, `?`: one
    const char *star = NULL, *back = NULL;
    while (*text) {
        if (*glob == '*') star = ++glob, back = text;
        else if (*glob == *text || *glob == '?') glob++, text++;
        else if (star) glob = star, text = ++back;
        else return false;
    }
    while (*glob == '*') glob++;
    return !*glob;
}

// ---- reading -------------------------------------------------------------------------------------
static bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (unsigned char)c >= 0x80; }

static bool wrong(const watch_pattern *p, tl_error *err, const char *what) {
    (void)err_set(err, TL_E_USAGE, "the pattern \"%s\": %s; examples: X, 'A[l=3]', 'l=3:G', 'blk.*.H', 'X#2', 'X@49', '*'", p->text, what);
    return false;
}

static bool read_int(const char **s, int64_t *out) {
    char *end;
    *out = strtoll(*s, &end, 10);
    bool some = end != *s;
    *s = end;
    return some;
}

// NAME=N, NAME=LO:HI
static bool read_limit(watch_pattern *p, const char *s, const char *end, tl_error *err) {
    const char *eq = memchr(s, '=', (size_t)(end - s));
    if (!eq || eq == s || (size_t)(eq - s) >= sizeof p->limit[0].name) return wrong(p, err, "a limit is NAME=NUMBER or NAME=FROM:TO");
    if (p->n_limits == PATTERN_LIMITS) return wrong(p, err, "too many limits");
    int i = p->n_limits++;
    memcpy(p->limit[i].name, s, (size_t)(eq - s));
    for (const char *c = s; c < eq; c++)
        if (!is_name(*c)) return wrong(p, err, "a limit is NAME=NUMBER or NAME=FROM:TO");
    s = eq + 1;
    p->limit[i].lo = 0;
    p->limit[i].hi = INT64_MAX;
    bool some = read_int(&s, &p->limit[i].lo);
    if (s < end && *s == ':') {
        s++;
        if (s < end && !read_int(&s, &p->limit[i].hi)) return wrong(p, err, "a limit is NAME=NUMBER or NAME=FROM:TO");
    } else if (some) {
        p->limit[i].hi = p->limit[i].lo == -1 ? INT64_MAX : p->limit[i].lo + 1;
    }
    return (some || p->limit[i].hi != INT64_MAX) && s == end ? true : wrong(p, err, "a limit is NAME=NUMBER or NAME=FROM:TO");
}

static bool read_limits(watch_pattern *p, const char *s, const char *end, tl_error *err) {
    while (s < end) {
        const char *comma = memchr(s, ',', (size_t)(end - s)), *stop = comma ? comma : end;
        while (s < stop && *s == ' ') s++;
        const char *last = stop;
        while (last > s && last[-1] == ' ') last--;
        if (!read_limit(p, s, last, err)) return false;
        s = comma ? comma + 1 : end;
    }
    return true;
}

// [LIMIT:]GLOB[[LIMITS]][@LINE][#NTH]
static bool read_pattern(watch_pattern *p, tl_error *err) {
    const char *s = p->text, *eq = strchr(s, '='), *open = strchr(s, '[');
    if (eq && (!open || eq < open)) { // l=3:G, l=3:6:G
        const char *colon = strrchr(s, ':');
        if (!colon || !read_limits(p, s, colon, err)) return colon ? false : wrong(p, err, "a limit in front ends with ':'");
        s = colon + 1;
    }
    // R[_,_,0,1] is a name: the part of R
    size_t n = strcspn(s, "@#");
    open = memchr(s, '[', n);
    while (open && !memchr(open, '=', strcspn(open, "]"))) open = strchr(open + 1, '[');
    const char *end = open ? open : s + n;
    if ((size_t)(end - s) >= sizeof p->glob || end == s) return wrong(p, err, "a name is missing");
    memcpy(p->glob, s, (size_t)(end - s));
    s = end;
    if (open) {
        const char *close = strchr(open, ']');
        if (!close) return wrong(p, err, "']' is missing");
        if (!read_limits(p, open + 1, close, err)) return false;
        s = close + 1;
    }
    while (*s == '@' || *s == '#') {
        bool line = *s++ == '@';
        int64_t value;
        if (!read_int(&s, &value) || value < 1 || value > INT32_MAX) return wrong(p, err, "a number is missing behind '@' or '#'");
        *(line ? &p->line : &p->nth) = (int)value;
    }
    return *s ? wrong(p, err, "there is something behind its end") : true;
}

bool pattern_next(const char **at, watch_pattern *out, tl_error *err) {
    const char *s = *at + strspn(*at, " ,\t\n");
    size_t n = 0;
    int depth = 0;
    *out = (watch_pattern){0};
    if (!*s) return false;
    for (; s[n]; n++) {
        depth += (s[n] == '[') - (s[n] == ']');
        if (depth <= 0 && strchr(" ,\t\n", s[n])) break;
    }
    *at = s + n;
    snprintf(out->text, sizeof out->text, "%.*s", (int)n, s);
    if (n >= sizeof out->text) return wrong(out, err, "it is too long");
    return read_pattern(out, err);
}

// ---- matching ------------------------------------------------------------------------------------
static bool limit_holds(const watch_pattern *p, int i, const ev_binding *b) {
    int64_t at = 0, lo = p->limit[i].lo, hi = p->limit[i].hi;
    bool found = false;
    for (int k = 0; k < b->n_loops; k++)
        if (strcmp(b->loop[k].name, p->limit[i].name) == 0) at = b->loop[k].at, found = true;
    bool layer = strcmp(p->limit[i].name, "l") == 0 || strcmp(p->limit[i].name, "layer") == 0;
    if (!found && layer && b->n_loops) at = b->loop[0].at, found = true;
    if (lo < 0) lo += p->layers;
    if (hi < 0) hi += p->layers;
    return found && at >= lo && at < hi;
}

bool pattern_matches(const watch_pattern *p, const ev_binding *b) {
    bool whole = strchr(p->glob, '.') != NULL;
    if (!pattern_glob(p->glob, whole ? b->path : b->name)) return false;
    for (int i = 0; i < p->n_limits; i++)
        if (!limit_holds(p, i, b)) return false;
    int line = 0, col;
    if (b->at.src) span_line_col(b->at, &line, &col);
    return (!p->line || p->line == line) && (!p->nth || p->nth == b->nth);
}
