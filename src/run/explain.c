// explain.c - explaining programs and REPL entries for the public interface.
#include "eval/explain.h"
#include "run/run.h"

static void flush(const tl_program_options *o, sbuf *b) {
    if (o->print && b->n) o->print(o->ctx, b->p, b->n);
    sbuf_free(b);
}

static void finish(explainer *x) {
    vec_free(&x->told);
    vec_free(&x->kernels);
}

static void no_print(void *ctx, const char *text, size_t n) {
    (void)ctx;
    (void)text;
    (void)n;
}

// A model's step function: traced by opening a session of it.
static tl_status explain_step(const tl_program_options *o, explainer *x, tl_error *err) {
    tl_model *m;
    tl_session *s = NULL;
    tl_model_options mo = {.program = o->file};
    TL_TRY(tl_model_open(o->engine, o->model->path, &mo, &m, err));
    m->program->explain = x;
    tl_status st = tl_session_new(m, NULL, &s, err);
    m->program->explain = NULL;
    if (st == TL_OK && x->form == TL_EXPLAIN_PLAN) tl_session_print_plan(s, x->out);
    if (st == TL_OK && x->form == TL_EXPLAIN_TEXT) explain_plan(x, tl_session_plan(s));
    tl_session_free(s);
    tl_model_free(m);
    return st;
}

tl_status tl_program_explain(const tl_program_options *options, int line, tl_explain_form form, tl_error *err) {
    tl_program_options o = *options;
    program_host h;
    evaluator *ev = NULL;
    sbuf out = {0};
    explainer x = {.file = o.file, .line = line, .form = form, .out = &out};
    o.print = no_print; // what the program prints is not asked for
    tl_status st = program_start(&h, &o, &ev, err);
    if (st == TL_OK) {
        ev->explain = &x;
        st = ev_run(ev, o.file, o.text, o.text_n, true, err);
    }
    bool step = st == TL_OK && ev_has_step(ev);
    program_end(&h, ev);
    if (st == TL_OK && step && o.model) st = explain_step(&o, &x, err);
    if (st == TL_OK && !x.found) {
        if (line) st = err_set(err, TL_E_USAGE, "%s:%d: no equation that was computed stands here", o.file, line);
        else st = err_set(err, TL_E_USAGE, "%s: no equation was computed%s", o.file, step && !o.model ? "; its step function needs a model: -m MODEL" : "");
    }
    finish(&x);
    flush(options, &out);
    return st;
}

tl_status tl_repl_explain(tl_repl *r, const char *text, size_t n, tl_error *err) {
    sbuf out = {0};
    explainer x = {.file = "input", .out = &out};
    evaluator *ev = repl_evaluator(r);
    ev->explain = &x;
    tl_status st = ev_enter(ev, text, n, false, err);
    ev->explain = NULL;
    if (st == TL_OK && !x.found) st = err_set(err, TL_E_USAGE, "this is no equation: Y[i] = W[i, j] x[j]");
    finish(&x);
    flush(repl_options(r), &out);
    return st;
}
