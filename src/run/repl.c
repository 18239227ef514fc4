// repl.c - programs entry by entry, and tests of programs, for the public interface.
#include "run/run.h"

struct tl_repl {
    tl_program_options o;
    program_host host;
    evaluator *ev;
};

tl_status tl_repl_new(const tl_program_options *options, tl_repl **out, tl_error *err) {
    tl_repl *r = mem_calloc(1, sizeof *r);
    if (!r) return err_set(err, TL_E_MEMORY, "out of memory");
    r->o = *options;
    tl_status st = program_start(&r->host, &r->o, &r->ev, err);
    if (st != TL_OK) tl_repl_free(r);
    else *out = r;
    return st;
}

void tl_repl_free(tl_repl *r) {
    if (!r) return;
    program_end(&r->host, r->ev);
    mem_free(r);
}

evaluator *repl_evaluator(tl_repl *r) { return r->ev; }
const tl_program_options *repl_options(const tl_repl *r) { return &r->o; }

tl_status tl_repl_enter(tl_repl *r, const char *text, size_t n, tl_error *err) { return ev_enter(r->ev, text, n, true, err); }
tl_status tl_repl_load(tl_repl *r, const char *file, tl_error *err) { return ev_load(r->ev, file, err); }

tl_status tl_repl_type(tl_repl *r, const char *text, size_t n, tl_error *err) {
    sbuf b = {0};
    tl_status st = ev_type(r->ev, text, n, &b, err);
    if (st == TL_OK) {
        sbuf_putc(&b, '\n');
        if (r->o.print) r->o.print(r->o.ctx, b.p ? b.p : "", b.n);
    }
    sbuf_free(&b);
    return st;
}

void tl_repl_names(tl_repl *r, const char *prefix, void (*each)(void *ctx, const char *name), void *ctx) { ev_names(r->ev, prefix, each, ctx); }

// Whether the text ends inside a bracket, a block comment or after what wants to go on.
bool tl_repl_complete_entry(const char *text, size_t n) {
    int open = 0;
    size_t last = n; // the last byte that is neither space nor comment
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (c == '"') {
            last = i;
            while (++i < n && text[i] != '"' && text[i] != '\n') i += text[i] == '\\';
        } else if (c == '/' && i + 1 < n && text[i + 1] == '/') {
            while (i + 1 < n && text[i + 1] != '\n') i++;
        } else if (c == '/' && i + 1 < n && text[i + 1] == '*') {
            for (i += 2; i + 1 < n && !(text[i] == '*' && text[i + 1] == '/'); i++) {}
            if (i + 1 >= n) return false;
            i++;
        } else if (c != ' ' && c != '\t' && c != '\n' && c != '\r') {
            open += (c == '(' || c == '[' || c == '{') - (c == ')' || c == ']' || c == '}');
            last = i;
        }
    }
    if (open > 0) return false;
    return last == n || !strchr("=+*/%,@<^\\", text[last]);
}

// ---- tests ---------------------------------------------------------------------------------------
typedef struct test_sink {
    void (*each)(void *ctx, const tl_test_result *result);
    void *ctx;
    int *passed, *failed;
} test_sink;

static void on_test(void *ctx, const char *name, int line, double seconds, const char *message) {
    test_sink *s = ctx;
    tl_test_result r = {name, message, seconds, line};
    ++*(message ? s->failed : s->passed);
    if (s->each) s->each(s->ctx, &r);
}

tl_status tl_program_test(const tl_program_options *o, void (*each)(void *ctx, const tl_test_result *result), void *ctx, int *passed, int *failed, tl_error *err) {
    program_host h;
    evaluator *ev = NULL;
    test_sink sink = {each, ctx, passed, failed};
    tl_status st = program_start(&h, o, &ev, err);
    if (st == TL_OK) st = ev_run(ev, o->file, o->text, o->text_n, false, err);
    if (st == TL_OK) ev_tests(ev, o->file, on_test, &sink);
    program_end(&h, ev);
    return st;
}
