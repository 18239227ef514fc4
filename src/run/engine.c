// engine.c - threads and kernels shared by models; what the evaluator is given of the outside world.
#include <stdarg.h>

#include "run/run.h"
#include "run/tokenizer_gguf.h"
#include "tl_build.h"

void engine_warn(const tl_engine *e, const char *fmt, ...) {
    if (!e->o.on_warning) return;
    sbuf b = {0};
    va_list ap;
    va_start(ap, fmt);
    sbuf_vprintf(&b, fmt, ap);
    va_end(ap);
    e->o.on_warning(e->o.ctx, b.p ? b.p : "");
    sbuf_free(&b);
}

// "cpu", "auto", "cuda" or "cuda:N".
static tl_status open_device(tl_engine *e, tl_error *err) {
    const char *name = e->o.device ? e->o.device : getenv("TL_DEVICE");
    if (!name || !*name || strcmp(name, "cpu") == 0 || e->o.gpu_layers < 0) return TL_OK;
    if (strcmp(name, "auto") == 0) return cuda_count() > 0 && cuda_open(0, &e->device, err) != TL_OK ? (engine_warn(e, "%s; the CPU is used", err ? err->message : "no GPU"), TL_OK) : TL_OK;
    char *end = NULL;
    long n = 0;
    if (strncmp(name, "cuda:", 5) == 0 && name[5] >= '0' && name[5] <= '9') n = strtol(name + 5, &end, 10);
    if (strcmp(name, "cuda") != 0 && !(end && !*end && n < 1000)) return err_set(err, TL_E_USAGE, "device \"%s\": there are cpu, cuda, cuda:N and auto", name);
    return cuda_open((int)n, &e->device, err);
}

tl_status tl_engine_new(const tl_engine_options *options, tl_engine **out, tl_error *err) {
    tl_engine *e = mem_calloc(1, sizeof *e);
    if (!e) return err_set(err, TL_E_MEMORY, "out of memory");
    if (options) e->o = *options;
    tl_status st = cpu_select(e->o.isa, &e->k, err);
    int n = e->o.threads ? e->o.threads : pool_default_threads();
    if (st == TL_OK) st = pool_new(n, &e->threads, err);
    if (st == TL_OK) st = open_device(e, err);
    if (st != TL_OK) {
        tl_engine_free(e);
        return st;
    }
    *out = e;
    return TL_OK;
}

void tl_engine_free(tl_engine *e) {
    if (!e) return;
    cuda_close(e->device);
    pool_free(e->threads);
    mem_free(e);
}

const char *tl_engine_isa(const tl_engine *e) { return e->k->isa; }
const char *tl_engine_device(const tl_engine *e) { return e->device ? cuda_device_info(e->device)->name : "cpu"; }
int tl_engine_threads(const tl_engine *e) { return pool_size(e->threads); }
int tl_engine_workers(const tl_engine *e) { return e->device ? 1 : pool_size(e->threads); }
const char *tl_version(void) { return "0.1.0"; }
const char *tl_build(void) { return TL_BUILD; }
void tl_free(void *p) { mem_free(p); }

// ---- what programs get -----------------------------------------------------------------------------
static void drop_pages(void *ctx, const void *data, size_t bytes) {
    tl_model *m = ctx;
    if (m && m->m.file) gguf_drop_pages(m->m.file, data, bytes);
}

static void show_progress(void *ctx, double done, double total) {
    tl_model *m = ctx;
    if (m && m->engine->o.on_progress) m->engine->o.on_progress(m->engine->o.ctx, "loading", done, total);
}

static void tell(void *ctx, const char *text) {
    tl_model *m = ctx;
    if (m && m->engine->o.on_report) m->engine->o.on_report(m->engine->o.ctx, text);
}

plan_backend engine_backend(tl_engine *e, tl_model *m) {
    return (plan_backend){.report = m ? tell : NULL, .k = e->k, .threads = e->threads, .pages = &e->pages,
                          .drop = m ? drop_pages : NULL, .progress = m ? show_progress : NULL, .ctx = m};
}

static tl_status host_tokenizer(void *ctx, ev_model *m, const tokenizer **out, tl_error *err) {
    (void)ctx;
    tokenizer *t;
    TL_TRY(tokenizer_from_gguf(m->file, NULL, &t, err));
    m->tok_owned = t;
    *out = t;
    return TL_OK;
}

static int32_t host_sample(void *ctx, const float *logits, int64_t n, const tl_sampling *how, uint64_t *seed) {
    (void)ctx;
    tl_sampler *s;
    tl_sampling o = *how;
    o.seed = (*seed)++;
    if (tl_sampler_new(&o, &s, NULL) != TL_OK) return -1;
    int32_t id = tl_sampler_pick(s, logits, n);
    tl_sampler_free(s);
    return id;
}

ev_host engine_host(tl_engine *e, tl_model *m) {
    return (ev_host){.ctx = e, .backend = engine_backend(e, m), .open_tokenizer = host_tokenizer, .sample = host_sample};
}
