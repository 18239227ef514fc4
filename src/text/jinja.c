// jinja.c - the interface: compiling, variables, rendering, and where every failure ends.
#include "text/jinja_int.h"

enum { MAX_SOURCE = 4 << 20, PARSE_DEPTH = 400, DEFAULT_DEPTH = 1500 };

struct jinja_ctx {
    jrt r;
};

// ---- failure -------------------------------------------------------------------------------------
void jinja_fail(jrt *r, tl_status code, const char *fmt, ...) {
    char what[1700];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    const char *who = r->raised ? "the chat template refuses: " : "";
    if (r->line) err_set(r->err, code, "%s%s (chat template, line %u)", who, what, r->line);
    else err_set(r->err, code, "%s%s", who, what);
    r->code = code;
    longjmp(r->jump, 1);
}

void jinja_fail_mem(void *ctx, size_t size) {
    jrt *r = ctx;
    if (size > r->lim.memory || r->mem.total > r->lim.memory - size || r->lim.memory - size - r->mem.total < 65536 + 16)
        jinja_fail(r, TL_E_LIMIT, "the chat template needs too much memory (limit %zu bytes)", r->lim.memory);
    jinja_fail(r, TL_E_MEMORY, "out of memory");
}

static void start(jrt *r, const jinja_limits *limits) {
    memset(r, 0, sizeof *r);
    if (limits) r->lim = *limits;
    if (!r->lim.steps) r->lim.steps = 20000000;
    if (!r->lim.memory) r->lim.memory = (size_t)256 << 20;
    if (!r->lim.output) r->lim.output = (size_t)64 << 20;
    if (!r->lim.depth) r->lim.depth = DEFAULT_DEPTH;
    r->mem.limit = r->lim.memory;
    r->mem.on_fail = jinja_fail_mem;
    r->mem.fail_ctx = r;
}

// ---- compiling -----------------------------------------------------------------------------------
tl_status jinja_compile(str source, jinja **out, tl_error *err) {
    *out = NULL;
    if (source.n > MAX_SOURCE)
        return err_set(err, TL_E_LIMIT, "the chat template is too long (limit %d bytes)", MAX_SOURCE);
    if (!utf8_valid(source.p, source.n)) return err_set(err, TL_E_FORMAT, "the chat template is not valid UTF-8");
    jinja *t = mem_calloc(1, sizeof *t);
    jrt *r = mem_alloc(sizeof *r);
    if (!t || !r) {
        mem_free(t);
        mem_free(r);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    start(r, NULL);
    r->lim.depth = PARSE_DEPTH;
    r->err = err;
    if (setjmp(r->jump) == 0) parse_template(r, t, source);
    tl_status code = r->code;
    t->mem = r->mem;
    t->mem.on_fail = NULL;
    mem_free(r);
    if (code == TL_OK) *out = t;
    else jinja_free(t);
    return code;
}

void jinja_free(jinja *t) {
    if (!t) return;
    arena_free(&t->mem);
    map_free(&t->ids);
    mem_free(t);
}

bool jinja_uses(const jinja *t, const char *name) {
    const int64_t *id = map_get(&t->ids, str_of(name));
    return id && t->read[*id];
}

// ---- variables -----------------------------------------------------------------------------------
tl_status jinja_ctx_new(const jinja_limits *limits, jinja_ctx **out, tl_error *err) {
    jinja_ctx *c = *out = mem_alloc(sizeof *c);
    if (!c) return err_set(err, TL_E_MEMORY, "out of memory");
    start(&c->r, limits);
    return TL_OK;
}

void jinja_ctx_free(jinja_ctx *c) {
    if (!c) return;
    arena_free(&c->r.mem);
    mem_free(c);
}

void jinja_ctx_clean(jinja_ctx *c, const char *key, const char *const *words) { c->r.clean = (jclean){key, words}; }

typedef struct setting { // a variable as the caller gives it
    const char *name;
    jv v;
    const char *text;
    size_t n;
    const json_t *json;
    bool tainted;
} setting;

static jv make(jrt *r, const setting *s) {
    if (s->json) return jv_from_json(r, s->json, s->tainted, &r->clean, 0);
    if (!s->text) return s->v;
    jbuf b = {0};
    jb_put(r, &b, s->text, s->n, s->tainted);
    return jb_value(r, &b);
}

static void put(jrt *r, const setting *s) {
    if (!r->globals) r->globals = jdict_new(r);
    jv key = jv_of_str(jstr_new(r, s->name, strlen(s->name)));
    jdict_put(r, r->globals, key, make(r, s));
}

static tl_status set(jinja_ctx *c, const setting *s, tl_error *err) {
    jrt *r = &c->r;
    r->err = err;
    r->code = TL_OK;
    r->line = 0;
    r->steps = 0;
    if (setjmp(r->jump) == 0) put(r, s);
    return r->code;
}

tl_status jinja_set_str(jinja_ctx *c, const char *name, str value, bool tainted, tl_error *err) {
    if (!utf8_valid(value.p, value.n)) return err_set(err, TL_E_FORMAT, "the value of '%s' is not valid UTF-8", name);
    setting s = {.name = name, .text = value.p ? value.p : "", .n = value.n, .tainted = tainted};
    return set(c, &s, err);
}
tl_status jinja_set_int(jinja_ctx *c, const char *name, int64_t value, tl_error *err) {
    return set(c, &(setting){.name = name, .v = jv_int(value)}, err);
}
tl_status jinja_set_bool(jinja_ctx *c, const char *name, bool value, tl_error *err) {
    return set(c, &(setting){.name = name, .v = jv_bool(value)}, err);
}
tl_status jinja_set_none(jinja_ctx *c, const char *name, tl_error *err) {
    return set(c, &(setting){.name = name, .v = jv_none()}, err);
}
tl_status jinja_set_json(jinja_ctx *c, const char *name, const json_t *value, bool tainted, tl_error *err) {
    return set(c, &(setting){.name = name, .json = value, .tainted = tainted}, err);
}

// ---- rendering -----------------------------------------------------------------------------------
static void *copy_out(const void *p, size_t n, size_t extra) { // zeroed `extra` bytes follow
    char *out = mem_alloc(n + extra);
    if (!out) return NULL;
    if (n) memcpy(out, p, n);
    memset(out + n, 0, extra);
    return out;
}

static tl_status hand_over(jrt *r, jinja_output *out, tl_error *err) {
    const jbuf *b = &r->root_buf;
    out->text = copy_out(b->p, b->n, 1);
    out->taint = copy_out(b->t, b->nt * sizeof *b->t, 1);
    out->generation = copy_out(r->gen, r->n_gen * sizeof *r->gen, 1);
    if (!out->text || !out->taint || !out->generation) {
        jinja_output_free(out);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    out->n = b->n;
    out->n_taint = b->nt;
    out->n_generation = r->n_gen;
    return TL_OK;
}

tl_status jinja_render(const jinja *t, jinja_ctx *c, jinja_output *out, tl_error *err) {
    jrt *r = &c->r;
    memset(out, 0, sizeof *out);
    r->err = err;
    r->code = TL_OK;
    r->t = t;
    r->steps = r->depth = 0;
    r->line = 0;
    r->raised = false;
    r->root_buf = (jbuf){0};
    r->out = r->root_out = &r->root_buf;
    r->gen = NULL;
    r->n_gen = r->cap_gen = 0;
    if (setjmp(r->jump) == 0) {
        if (!r->globals) r->globals = jdict_new(r);
        exec_render(r);
    }
    return r->code == TL_OK ? hand_over(r, out, err) : r->code;
}

void jinja_output_free(jinja_output *out) {
    mem_free(out->text);
    mem_free(out->taint);
    mem_free(out->generation);
    memset(out, 0, sizeof *out);
}
