// diag.c - problems: collecting them, showing them with their lines, as text and as JSON.
#include "lang/lex.h"

static char *format_v(arena *a, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    size_t size = (size_t)(n > 0 ? n : 0) + 1;
    char *text = arena_alloc(a, size);
    vsnprintf(text, size, fmt, ap);
    return text;
}

diag *diag_addv(diag_list *l, dg_level level, span at, const char *fmt, va_list ap) {
    int *count = level == DG_ERROR ? &l->errors : &l->warnings;
    ++*count;
    if (l->limit > 0 && *count > l->limit) return NULL;
    diag *d = arena_new(l->a, diag);
    d->text = format_v(l->a, fmt, ap);
    d->level = level;
    d->at = at;
    if (l->last) l->last->next = d;
    else l->first = d;
    l->last = d;
    return d;
}

diag *diag_add(diag_list *l, dg_level level, span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag *d = diag_addv(l, level, at, fmt, ap);
    va_end(ap);
    return d;
}

void diag_note(diag_list *l, diag *d, span at, const char *fmt, ...) {
    if (d == NULL) return;
    dg_note *n = arena_new(l->a, dg_note), **tail = &d->notes;
    va_list ap;
    va_start(ap, fmt);
    n->text = format_v(l->a, fmt, ap);
    va_end(ap);
    n->at = at;
    while (*tail != NULL) tail = &(*tail)->next;
    *tail = n;
}

void diag_fix(diag_list *l, diag *d, const char *fmt, ...) {
    if (d == NULL) return;
    va_list ap;
    va_start(ap, fmt);
    d->fix = format_v(l->a, fmt, ap);
    va_end(ap);
}

// ---- places ------------------------------------------------------------------------------------
static bool is_line_end(char c) { return c == '\n' || c == '\r'; }

// Line and column (1-based, in characters) of a byte; *start: where its line begins.
static void locate(const source *src, uint32_t byte, int *line, int *col, uint32_t *start) {
    const char *p = src->text.p;
    uint32_t n = byte < src->text.n ? byte : (uint32_t)src->text.n;
    *line = 1;
    *start = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] != '\n' && !(p[i] == '\r' && !(i + 1 < src->text.n && p[i + 1] == '\n'))) continue;
        ++*line;
        *start = i + 1;
    }
    *col = 1;
    for (uint32_t i = *start, cp; i < n; ++*col) {
        int len = utf8_get(p + i, p + src->text.n, &cp);
        i += len > 0 ? (uint32_t)len : 1;
    }
}

void span_line_col(span at, int *line, int *col) {
    uint32_t start;
    *line = *col = 0;
    if (at.src != NULL) locate(at.src, at.begin, line, col, &start);
}

// ---- text --------------------------------------------------------------------------------------
#define TAB_WIDTH 4
#define LINE_SHOWN 150 // columns of a source line that are shown at most

typedef struct style { const char *error, *warning, *note, *help, *place, *off; } style;
static const style plain = {"", "", "", "", "", ""};
static const style colored = {"\033[1;31m", "\033[1;35m", "\033[1;36m", "\033[1;32m", "\033[1m", "\033[0m"};

// One character of a source line: what is shown for it and its columns.
static int show_char(str line, size_t i, int col, char *out, int *width) {
    uint32_t cp;
    int n = utf8_get(line.p + i, line.p + line.n, &cp);
    if (n == 1 && cp == '\t') {
        *width = TAB_WIDTH - col % TAB_WIDTH;
        memset(out, ' ', (size_t)*width);
        out[*width] = 0;
    } else if (n == 0 || cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || (cp >= 0x202A && cp <= 0x202E) || (cp >= 0x2066 && cp <= 0x2069)) {
        strcpy(out, "\xEF\xBF\xBD"); // unreadable bytes, control characters and changes of direction
        *width = 1;
    } else {
        memcpy(out, line.p + i, (size_t)n);
        out[n] = 0;
        *width = char_width(cp);
    }
    return n > 0 ? n : 1;
}

// Column (0-based, as shown) of byte `at` of the line.
static int shown_column(str line, size_t at) {
    int col = 0, width;
    char out[8];
    for (size_t i = 0; i < line.n && i < at; col += width) i += (size_t)show_char(line, i, col, out, &width);
    return col;
}

static void put_line(sbuf *out, str line, int from, int to) {
    int col = 0, width;
    char text[8];
    for (size_t i = 0; i < line.n && col < to; col += width) {
        i += (size_t)show_char(line, i, col, text, &width);
        if (col >= from) sbuf_puts(out, text);
        else if (col + width > from) for (int k = from; k < col + width; k++) sbuf_putc(out, ' ');
    }
}

static void put_excerpt(sbuf *out, span at, const char *mark, const style *st) {
    int number, col;
    uint32_t start, end;
    locate(at.src, at.begin, &number, &col, &start);
    const char *p = at.src->text.p;
    for (end = start; end < at.src->text.n && !is_line_end(p[end]);) end++;
    str line = {p + start, end - start};
    uint32_t last = at.end < end ? at.end : end;
    int from = shown_column(line, at.begin - start), to = shown_column(line, last > at.begin ? last - start : at.begin - start);
    int width = shown_column(line, line.n), left = 0;
    if (width > LINE_SHOWN && from > LINE_SHOWN * 2 / 3) left = from - LINE_SHOWN / 2;
    const char *dots = left > 0 ? "..." : "";
    if (to > left + LINE_SHOWN) to = left + LINE_SHOWN;
    sbuf_printf(out, "%5d | %s", number, dots);
    put_line(out, line, left, left + LINE_SHOWN);
    sbuf_printf(out, "%s\n      | %*s%s^", width > left + LINE_SHOWN ? "..." : "", from - left + (int)strlen(dots), "", mark);
    for (int i = from + 1; i < to; i++) sbuf_putc(out, '~');
    sbuf_printf(out, "%s\n", st->off);
}

static void put_place(sbuf *out, span at, const style *st) {
    int line, col;
    char name[1024];
    span_line_col(at, &line, &col);
    str_escape(name, sizeof name, str_of(at.src->name));
    sbuf_printf(out, "%s%s:%d:%d:%s ", st->place, name, line, col, st->off);
}

static void put_part(sbuf *out, span at, const char *mark, const char *label, const char *text, const style *st) {
    if (at.src != NULL) put_place(out, at, st);
    sbuf_printf(out, "%s%s:%s %s\n", mark, label, st->off, text);
    if (at.src != NULL) put_excerpt(out, at, mark, st);
}

void diag_render(const diag *d, sbuf *out, bool color) {
    const style *st = color ? &colored : &plain;
    bool error = d->level == DG_ERROR;
    put_part(out, d->at, error ? st->error : st->warning, error ? "error" : "warning", d->text, st);
    for (const dg_note *n = d->notes; n != NULL; n = n->next) put_part(out, n->at, st->note, "note", n->text, st);
    if (d->fix) sbuf_printf(out, "%shelp:%s %s\n", st->help, st->off, d->fix);
}

// ---- JSON --------------------------------------------------------------------------------------
static void put_json_string(sbuf *out, const char *s) {
    const char *end = s + strlen(s);
    sbuf_putc(out, '"');
    while (s < end) {
        uint32_t cp;
        int n = utf8_get(s, end, &cp);
        if (n == 0) sbuf_puts(out, "\\ufffd");
        else if (*s == '"' || *s == '\\') sbuf_printf(out, "\\%c", *s);
        else if (cp < 0x20 || cp == 0x7F) sbuf_printf(out, "\\u%04x", cp);
        else sbuf_put(out, s, (size_t)n);
        s += n > 0 ? n : 1;
    }
    sbuf_putc(out, '"');
}

static void put_json_place(sbuf *out, span at) {
    int line, col, end_line, end_col;
    if (at.src == NULL) return;
    span_line_col(at, &line, &col);
    span_line_col((span){at.src, at.end > at.begin ? at.end : at.begin, 0}, &end_line, &end_col);
    sbuf_puts(out, ",\"file\":");
    put_json_string(out, at.src->name);
    sbuf_printf(out, ",\"line\":%d,\"col\":%d,\"end_line\":%d,\"end_col\":%d", line, col, end_line, end_col);
}

void diag_render_json(const diag *d, sbuf *out) {
    sbuf_printf(out, "{\"level\":\"%s\",\"message\":", d->level == DG_ERROR ? "error" : "warning");
    put_json_string(out, d->text);
    put_json_place(out, d->at);
    if (d->fix) {
        sbuf_puts(out, ",\"help\":");
        put_json_string(out, d->fix);
    }
    sbuf_puts(out, ",\"notes\":[");
    for (const dg_note *n = d->notes; n != NULL; n = n->next) {
        sbuf_puts(out, n == d->notes ? "{\"message\":" : ",{\"message\":");
        put_json_string(out, n->text);
        put_json_place(out, n->at);
        sbuf_putc(out, '}');
    }
    sbuf_puts(out, "]}\n");
}

// ---- near names --------------------------------------------------------------------------------
#define NEAR_MAX 32

// Edits between a and b, where swapping two neighbours is one edit (optimal string alignment).
static int edit_distance(str a, str b) {
    int row[3][NEAR_MAX + 1];
    for (size_t j = 0; j <= b.n; j++) row[0][j] = (int)j;
    for (size_t i = 1; i <= a.n; i++) {
        int *now = row[i % 3], *up = row[(i - 1) % 3], *up2 = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= b.n; j++) {
            int best = up[j - 1] + (a.p[i - 1] != b.p[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            bool swap = i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1];
            if (swap && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
            now[j] = best;
        }
    }
    return row[a.n % 3][b.n];
}

const char *diag_nearest(str name, const str *names, size_t n, char *buf, size_t cap) {
    int least = name.n < 3 ? 1 : name.n < 6 ? 2 : 3; // edits that are too many: a third of the name or so
    int best = least + (name.n >= 9);
    const str *hit = NULL;
    if (name.n == 0 || name.n > NEAR_MAX) return NULL;
    for (size_t i = 0; i < n; i++) {
        if (names[i].n == 0 || names[i].n > NEAR_MAX) continue;
        int d = edit_distance(name, names[i]);
        if (d >= best || (size_t)d >= names[i].n) continue;
        best = d;
        hit = &names[i];
    }
    if (hit == NULL || cap == 0) return NULL;
    snprintf(buf, cap, "%.*s", (int)hit->n, hit->p);
    return buf;
}
