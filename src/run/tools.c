// tools.c - formatting and analysing programs for the public interface: nothing here runs one.
#include <errno.h>

#include "run/run.h"

// ---- files ---------------------------------------------------------------------------------------
tl_status program_read(const char *path, char **text, size_t *n, tl_error *err) {
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, TL_E_IO, "%s: %s", path, strerror(errno));
    sbuf b = {0};
    char buf[65536];
    size_t got;
    while ((got = fread(buf, 1, sizeof buf, f)) > 0 && b.n <= PROGRAM_MAX) sbuf_put(&b, buf, got);
    int bad = ferror(f) ? errno : 0;
    fclose(f);
    tl_status st = TL_OK;
    if (bad) st = err_set(err, TL_E_IO, "%s: %s", path, strerror(bad));
    else if (b.n > PROGRAM_MAX) st = err_set(err, TL_E_LIMIT, "%s: larger than 8 MiB: this is no program", path);
    else if (b.failed) st = err_set(err, TL_E_MEMORY, "out of memory");
    else if (!b.p) sbuf_putc(&b, 0), b.n = 0;
    if (st == TL_OK && b.p) {
        *text = b.p;
        *n = b.n;
        return TL_OK;
    }
    sbuf_free(&b);
    return st == TL_OK ? err_set(err, TL_E_MEMORY, "out of memory") : st;
}

// ---- formatting ----------------------------------------------------------------------------------
static void render_all(const diag_list *dl, bool color, sbuf *out) {
    for (const diag *d = dl->first; d; d = d->next) {
        if (d->level == DG_WARNING && dl->errors) continue;
        diag_render(d, out, color);
    }
    while (out->n && out->p[out->n - 1] == '\n') out->p[--out->n] = 0;
}

tl_status tl_program_format(const char *file, const char *text, size_t n, char **out, size_t *out_n, tl_error *err) {
    char *owned = NULL;
    if (!text) TL_TRY(program_read(file, &owned, &n, err));
    arena a = {0};
    source src = {.name = file ? file : "input", .dir = "", .text = {owned ? owned : text, n}};
    diag_list dl = {.a = &a, .limit = 20};
    sbuf b = {0};
    tl_status st = tl_format(&a, &src, &dl, &b);
    if (st == TL_OK) {
        sbuf_puts(&b, "");
        if (!b.p || b.failed) st = err_set(err, TL_E_MEMORY, "out of memory");
        else *out = b.p, *out_n = b.n, b.p = NULL;
    } else if (st == TL_E_PROGRAM) {
        sbuf m = {0};
        render_all(&dl, false, &m);
        st = err_set(err, st, "%s", m.p ? m.p : "the program does not parse");
        sbuf_free(&m);
    } else {
        err_set(err, st, "out of memory");
    }
    sbuf_free(&b);
    arena_free(&a);
    mem_free(owned);
    return st;
}
