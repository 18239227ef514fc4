// tools.c - formatting and analysing programs for the public interface: nothing here runs one.
#include "eval/check.h"
#include "run/run.h"

// ---- formatting ----------------------------------------------------------------------------------
static void render_all(const diag_list *dl, sbuf *out) {
    for (const diag *d = dl->first; d; d = d->next)
        if (d->level == DG_ERROR) diag_render(d, out, false);
    while (out->n && out->p[out->n - 1] == '\n') out->p[--out->n] = 0;
}

tl_status tl_program_format(const char *file, const char *text, size_t n, char **out, size_t *out_n, tl_error *err) {
    char *owned = NULL;
    if (!text) TL_TRY(chk_read(file, &owned, &n, err));
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
        render_all(&dl, &m);
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

// ---- analysis ------------------------------------------------------------------------------------
struct tl_analysis {
    arena a;
    checker c;
    diag_list dl;
    bool color;
    VEC(tl_problem) problems;
    VEC(const chk_symbol *) own; // the file's top-level names
};

static const char *kept(arena *a, sbuf *b) {
    const char *s = arena_strndup(a, b->p ? b->p : "", b->n);
    sbuf_free(b);
    return s;
}

static tl_problem problem_of(tl_analysis *an, const diag *d) {
    tl_problem p = {.warning = d->level == DG_WARNING, .file = "", .message = d->text, .help = d->fix};
    sbuf text = {0}, json = {0};
    if (d->at.src) {
        p.file = d->at.src->name;
        span_line_col(d->at, &p.line, &p.col);
        span_line_col((span){d->at.src, d->at.end > d->at.begin ? d->at.end : d->at.begin, 0}, &p.end_line, &p.end_col);
    }
    diag_render(d, &text, an->color);
    diag_render_json(d, &json);
    while (text.n && text.p[text.n - 1] == '\n') text.n--;
    while (json.n && json.p[json.n - 1] == '\n') json.n--;
    p.text = kept(&an->a, &text);
    p.json = kept(&an->a, &json);
    return p;
}

static int by_place(const void *x, const void *y) {
    const tl_problem *a = x, *b = y;
    if (a->line != b->line) return a->line - b->line;
    if (a->col != b->col) return a->col - b->col;
    return a->warning - b->warning;
}

static void list_problems(tl_analysis *an) {
    size_t from = 0; // by place inside each file, files in the order in which they were read
    for (const diag *d = an->dl.first; d; d = d->next) (void)vec_push(&an->problems, problem_of(an, d));
    for (size_t i = 1; i <= an->problems.n; i++) {
        if (i < an->problems.n && strcmp(an->problems.p[i].file, an->problems.p[from].file) == 0) continue;
        qsort(an->problems.p + from, i - from, sizeof *an->problems.p, by_place);
        from = i;
    }
}

tl_status tl_analysis_new(const char *file, const char *text, size_t n, bool color, tl_analysis **out, tl_error *err) {
    char *owned = NULL;
    if (!text) TL_TRY(chk_read(file, &owned, &n, err));
    tl_analysis *an = mem_calloc(1, sizeof *an);
    if (!an) {
        mem_free(owned);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    an->color = color;
    an->dl = (diag_list){.a = &an->a, .limit = 100};
    str copy = {arena_strndup(&an->a, owned ? owned : text, n), n};
    mem_free(owned);
    if (chk_program(&an->c, &an->a, &an->dl, file, copy) != TL_OK) {
        tl_analysis_free(an);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    list_problems(an);
    for (size_t i = 0; i < an->c.symbols.n; i++) {
        const chk_symbol *s = an->c.symbols.p[i];
        if (s->at.src == &an->c.main->src && !s->local) (void)vec_push(&an->own, s);
    }
    *out = an;
    return TL_OK;
}

void tl_analysis_free(tl_analysis *an) {
    if (!an) return;
    chk_free(&an->c);
    vec_free(&an->problems);
    vec_free(&an->own);
    arena_free(&an->a);
    mem_free(an);
}

int tl_analysis_errors(const tl_analysis *an) { return an->dl.errors; }
int tl_analysis_warnings(const tl_analysis *an) { return an->dl.warnings; }

bool tl_analysis_problem(const tl_analysis *an, size_t i, tl_problem *out) {
    if (i >= an->problems.n) return false;
    *out = an->problems.p[i];
    return true;
}

// ---- names ---------------------------------------------------------------------------------------
static void describe(const tl_analysis *an, const chk_symbol *s, tl_name *out) {
    arena *a = (arena *)&an->a; // texts are kept with the analysis
    sbuf detail = {0}, doc = {0};
    *out = (tl_name){.name = arena_strndup(a, s->name.p, s->name.n), .kind = chk_kind_names[s->kind], .file = ""};
    chk_detail(&an->c, s, &detail);
    chk_doc(s, &doc);
    out->detail = kept(a, &detail);
    out->doc = kept(a, &doc);
    if (!s->at.src) return;
    out->file = s->at.src->name;
    span_line_col(s->at, &out->line, &out->col);
    span_line_col((span){s->at.src, s->at.end, 0}, &out->end_line, &out->end_col);
}

static uint32_t byte_at(const tl_analysis *an, int line, int col) {
    str t = an->c.main->src.text;
    uint32_t i = 0;
    for (; line > 1 && i < t.n; i++)
        if (t.p[i] == '\n' || (t.p[i] == '\r' && !(i + 1 < t.n && t.p[i + 1] == '\n'))) line--;
    for (; col > 1 && i < t.n && t.p[i] != '\n'; col--) {
        i++;
        while (i < t.n && ((unsigned char)t.p[i] & 0xC0) == 0x80) i++;
    }
    return i;
}

bool tl_analysis_at(const tl_analysis *an, int line, int col, tl_name *out) {
    span name = {0};
    const chk_symbol *s = chk_at(&an->c, byte_at(an, line, col), &name);
    if (s) describe(an, s, out);
    return s != NULL;
}

void tl_analysis_complete(const tl_analysis *an, int line, int col, const char *prefix, void (*each)(void *ctx, const tl_name *name), void *ctx) {
    uint32_t byte = byte_at(an, line, col);
    map seen = {0};
    for (size_t i = an->c.symbols.n; i-- > 0;) { // inner ones were declared later and come first
        const chk_symbol *s = an->c.symbols.p[i];
        if (!str_starts(s->name, str_of(prefix)) || map_get(&seen, s->name) || !chk_visible(&an->c, s, byte)) continue;
        tl_name name;
        describe(an, s, &name);
        each(ctx, &name);
        (void)map_put(&seen, s->name, 1);
    }
    map_free(&seen);
}

bool tl_analysis_symbol(const tl_analysis *an, size_t i, tl_name *out) {
    if (i >= an->own.n) return false;
    describe(an, an->own.p[i], out);
    return true;
}
