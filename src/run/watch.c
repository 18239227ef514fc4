// watch.c - the bindings of a session's step function that are watched, and their values.
#include <inttypes.h>

#include "run/run.h"
#include "run/watch_pattern.h"

void binding_key(const ev_binding *b, sbuf *out) {
    sbuf_puts(out, b->path);
    if (b->of > 1) sbuf_printf(out, "#%d", b->nth);
}

// ---- choosing ------------------------------------------------------------------------------------
// The name is there, and what limits it leaves nothing: where the name gets its values.
static bool only_elsewhere(const watch_list *w, const watch_pattern *p, sbuf *where) {
    watch_pattern any = *p;
    int at = 0;
    any.n_limits = any.line = any.nth = 0;
    for (size_t i = 0; i < w->all.n; i++) {
        const ev_binding *b = &w->all.p[i];
        int line = 0, col;
        if (!pattern_matches(&any, b) || !b->at.src) continue;
        span_line_col(b->at, &line, &col);
        if (line > at) sbuf_printf(where, "%s%d%s", at ? ", " : "", line, b->n_loops ? "" : " (outside of layers)"); // in the order of the program
        at = line > at ? line : at;
    }
    return at > 0;
}

static tl_status nothing(const watch_list *w, const watch_pattern *p, tl_error *err) {
    sbuf lines = {0};
    if (only_elsewhere(w, p, &lines)) {
        tl_status there = err_set(err, TL_E_USAGE, "\"%s\" leaves no value: the name gets one in line %s; layers are 0 to %" PRId64, p->text, lines.p ? lines.p : "", p->layers - 1);
        sbuf_free(&lines);
        return there;
    }
    sbuf names = {0};
    map seen = {0};
    for (size_t i = 0; i < w->all.n && names.n < 600; i++) {
        str name = str_of(w->all.p[i].name);
        if (map_get(&seen, name) || !map_put(&seen, name, 1)) continue;
        sbuf_printf(&names, "%s%s", names.n ? ", " : "", w->all.p[i].name);
    }
    tl_status st = err_set(err, TL_E_USAGE, "no value of the program is called \"%s\"; there are: %s", p->text, names.p ? names.p : "none");
    map_free(&seen);
    sbuf_free(&names);
    return st;
}

static int64_t count_layers(const watch_list *w) {
    int64_t n = 0;
    for (size_t i = 0; i < w->all.n; i++)
        if (w->all.p[i].n_loops && w->all.p[i].loop[0].at >= n) n = w->all.p[i].loop[0].at + 1;
    return n;
}

static tl_status mark(const watch_list *w, const char *patterns, uint8_t *wanted, tl_error *err) {
    tl_error wrong = {.code = TL_OK};
    watch_pattern p;
    for (const char *at = patterns; pattern_next(&at, &p, &wrong);) {
        bool some = false;
        p.layers = count_layers(w);
        for (size_t i = 0; i < w->all.n; i++)
            if (pattern_matches(&p, &w->all.p[i])) wanted[i] = 1, some = true;
        if (!some) return nothing(w, &p, err);
    }
    if (wrong.code != TL_OK && err) *err = wrong;
    return wrong.code;
}

tl_status watch_pick(watch_list *w, const char *patterns, bool lens, tl_error *err) {
    uint8_t *wanted = mem_calloc(w->all.n + 1, 1);
    w->picked = mem_calloc(w->all.n + 1, sizeof *w->picked);
    w->keys = mem_calloc(w->all.n + 1, sizeof *w->keys);
    tl_status st = wanted && w->picked && w->keys ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; st == TL_OK && lens && i < w->all.n; i++) wanted[i] = w->all.p[i].is_lens;
    if (st == TL_OK && !lens) st = mark(w, patterns, wanted, err);
    for (size_t i = 0; st == TL_OK && i < w->all.n; i++) {
        if (!wanted[i]) continue;
        sbuf key = {0};
        binding_key(&w->all.p[i], &key);
        w->keys[w->n] = key.p ? mem_strdup(key.p) : NULL;
        sbuf_free(&key);
        if (!w->keys[w->n]) st = err_set(err, TL_E_MEMORY, "out of memory");
        w->picked[w->n++] = i;
    }
    mem_free(wanted);
    if (st == TL_OK && lens && !w->n)
        return err_set(err, TL_E_USAGE, "the program's step function has no loop over layers that something follows: a lens shows what that makes of each layer");
    return st;
}

tl_status watch_keep(const watch_list *w, ir_graph *g, tl_error *err) {
    ir_node **nodes = mem_alloc((w->n + 1) * sizeof *nodes);
    if (!nodes) return err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < w->n; i++) nodes[i] = w->all.p[w->picked[i]].node;
    ir_keep(g, nodes, w->n);
    mem_free(nodes);
    return TL_OK;
}

void watch_free(watch_list *w) {
    for (size_t i = 0; i < w->n; i++) mem_free(w->keys[i]);
    mem_free(w->keys);
    mem_free(w->picked);
    vec_free(&w->all);
    *w = (watch_list){0};
}

// ---- values --------------------------------------------------------------------------------------
static int64_t axis_size(const ev_binding *b, int i, int64_t rows, int64_t outs) {
    return b->ax[i].sym == SYM_ROWS ? rows : b->ax[i].sym == SYM_OUT ? outs : b->ax[i].size;
}

int64_t binding_elements(const ev_binding *b, int64_t rows, int64_t outs) {
    int64_t n = 1;
    for (int i = 0; i < b->rank; i++) n *= axis_size(b, i, rows, outs);
    return n;
}

bool binding_read(const ev_binding *b, const plan *p, int64_t rows, int64_t outs, float *out) {
    const void *data = plan_value(p, b->node);
    const ir_node *n = b->node;
    while (n->repl) n = n->repl;
    int64_t total = binding_elements(b, rows, outs), at[IR_MAX_RANK] = {0}, pos = b->offset;
    if (!data) return false;
    for (int64_t i = 0; i < total; i++) {
        out[i] = n->type == DT_I32 ? (float)((const int32_t *)data)[pos] : ((const float *)data)[pos];
        for (int k = b->rank - 1; k >= 0; k--) {
            pos += b->ax[k].stride;
            if (++at[k] < axis_size(b, k, rows, outs)) break;
            pos -= at[k] * b->ax[k].stride;
            at[k] = 0;
        }
    }
    return true;
}

// ---- the public interface ------------------------------------------------------------------------
size_t tl_session_watch_count(const tl_session *s) { return session_watches(s)->n; }

static int place(span at, const char **file, int *col) {
    int line = 0;
    *file = at.src ? at.src->name : NULL;
    if (at.src) span_line_col(at, &line, col);
    return line;
}

bool tl_session_watch_at(const tl_session *s, size_t i, tl_watch *out) {
    const watch_list *w = session_watches(s);
    int64_t rows, outs;
    int col = 0;
    if (i >= w->n) return false;
    session_last_step(s, &rows, &outs);
    const ev_binding *b = &w->all.p[w->picked[i]];
    const ir_node *n = b->node;
    while (n->repl) n = n->repl;
    *out = (tl_watch){.key = w->keys[i], .name = b->name, .layer = b->n_loops ? b->loop[0].at : -1, .beside = n->beside, .patched = b->patched, .rank = b->rank};
    out->call_line = place(b->call, &out->call_file, &col);
    out->line = place(b->at, &out->file, &out->col);
    if (!out->file) out->file = "";
    if (b->stmt.src) out->text = b->stmt.src->text.p + b->stmt.begin, out->text_n = b->stmt.end - b->stmt.begin;
    for (int k = 0; k < b->rank; k++) {
        out->axis[k] = b->ax[k].dim ? b->ax[k].dim : "";
        out->size[k] = axis_size(b, k, rows, outs);
    }
    out->rows = b->rank && b->ax[0].sym == SYM_ROWS;
    out->outs = b->rank && b->ax[0].sym == SYM_OUT;
    return true;
}

tl_status tl_session_watch_read(const tl_session *s, size_t i, float *out, tl_error *err) {
    const watch_list *w = session_watches(s);
    int64_t rows, outs;
    session_last_step(s, &rows, &outs);
    if (i >= w->n) return err_set(err, TL_E_USAGE, "watched value %zu of %zu", i, w->n);
    if (!rows) return err_set(err, TL_E_USAGE, "there is no value before the first step");
    if (!binding_read(&w->all.p[w->picked[i]], tl_session_plan(s), rows, outs, out)) return err_set(err, TL_E_UNSUPPORTED, "%s has no value of its own", w->keys[i]);
    return TL_OK;
}
