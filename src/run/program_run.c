// program_run.c - running a .tl program for tl_program_run(): the host's side of the evaluator.
#include "run/run.h"
#include "run/tokenizer_gguf.h"

static void host_print(void *ctx, const char *text, size_t n) {
    program_host *h = ctx;
    if (h->o->print) h->o->print(h->o->ctx, text, n);
}

static void host_warn(void *ctx, const char *message) { engine_warn(((program_host *)ctx)->engine, "%s", message); }

static bool host_cancelled(void *ctx) {
    program_host *h = ctx;
    return h->o->cancel && *h->o->cancel;
}

static tl_status host_open_model(void *ctx, const char *path, ev_model **out, tl_error *err) {
    program_host *h = ctx;
    for (ev_model *m = h->opened; m; m = m->next)
        if (strcmp(m->path, path) == 0) return *out = m, TL_OK;
    ev_model *m = mem_calloc(1, sizeof *m);
    if (!m) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status st = model_file_open(h->engine, path, false, m, err);
    if (st != TL_OK) {
        mem_free(m);
        return st;
    }
    m->next = h->opened;
    h->opened = m;
    *out = m;
    return TL_OK;
}

static tl_status host_chat(void *ctx, ev_model *m, const char *text, int32_t **ids, size_t *n, tl_error *err) {
    program_host *h = ctx;
    if (!h->o->model || m != &h->o->model->m) return err_set(err, TL_E_USAGE, "the chat template is known only for the model given with -m");
    tl_message message = {"user", text};
    return tl_chat_tokenize(h->o->model, &message, 1, true, NULL, ids, n, err);
}

static tl_status dump_step(const tl_program_options *o, tl_error *err) { // the plan of a model program: needs a session
    tl_session *s;
    TL_TRY(tl_session_new(o->model, NULL, &s, err));
    sbuf b = {0};
    if (strcmp(o->dump, "plan") == 0) tl_session_print_plan(s, &b);
    else tl_session_print_ir(s, &b);
    if (o->print) o->print(o->ctx, b.p ? b.p : "", b.n);
    sbuf_free(&b);
    tl_session_free(s);
    return TL_OK;
}

tl_status program_start(program_host *h, const tl_program_options *o, evaluator **out, tl_error *err) {
    *h = (program_host){.engine = o->engine, .o = o};
    ev_options eo = {.host = engine_host(o->engine, o->model), .model = o->model ? &o->model->m : NULL, .prompt = o->prompt, .args = o->args, .n_args = o->n_args, .max_steps = o->max_steps, .max_bytes = o->max_bytes};
    h->base = eo.host;
    eo.host.ctx = h;
    eo.host.print = host_print;
    eo.host.warn = host_warn;
    eo.host.cancelled = host_cancelled;
    eo.host.open_model = host_open_model;
    eo.host.chat = host_chat;
    eo.host.sessions = &host_sessions;
    eo.host.color = o->color;
    TL_TRY(ev_new(&eo, out, err));
    for (const char *const *p = o->patches; p && *p; p++) TL_TRY(ev_add_patch(*out, *p, err));
    ev_set_trap(*out, o->nan_trap);
    return TL_OK;
}

void program_end(program_host *h, evaluator *ev) {
    ev_free(ev);
    for (size_t i = 0; i < h->sessions.n; i++) tl_session_free(h->sessions.p[i]);
    vec_free(&h->sessions);
    for (ev_model *m = h->opened, *next; m; m = next) {
        next = m->next;
        model_file_close(m);
        mem_free(m);
    }
}

tl_status tl_program_run(const tl_program_options *o, tl_error *err) {
    program_host h;
    evaluator *ev = NULL;
    tl_status st = program_start(&h, o, &ev, err);
    if (st == TL_OK && o->dump && strcmp(o->dump, "ast") != 0) ev_set_dump(ev, o->dump);
    if (st == TL_OK) st = ev_run(ev, o->file, o->text, o->text_n, true, err);
    bool step = st == TL_OK && ev_has_step(ev);
    if (st == TL_OK && o->patches && !step) st = ev_patches_applied(ev, err);
    program_end(&h, ev);
    if (st != TL_OK || !step || !o->dump || !o->model) return st;
    // A model's step function: traced as a session would.
    tl_model *m;
    tl_model_options mo = {.program = o->file};
    TL_TRY(tl_model_open(o->engine, o->model->path, &mo, &m, err));
    tl_program_options inner = *o;
    inner.model = m;
    st = dump_step(&inner, err);
    tl_model_free(m);
    return st;
}
