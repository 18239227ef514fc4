// audit.c - what a model's program and its file do not agree on, and the program's texts.
#include "run/run.h"

typedef struct audit {
    tl_model *m;
    void (*each)(void *ctx, const tl_tensor_problem *problem);
    void *ctx;
} audit;

static void tell_want(void *ctx, const ev_want *want) {
    const audit *a = ctx;
    tl_tensor_problem p = {.tensor = want->name, .kind = want->missing ? TL_TENSOR_MISSING : TL_TENSOR_SHAPE, .file = "", .message = want->message};
    int col;
    if (want->at.src) p.file = want->at.src->name, span_line_col(want->at, &p.line, &col);
    a->each(a->ctx, &p);
}

// As the file's metadata says; else as many as there are tensors of. A lie costs no more than there are tensors.
static int64_t count_layers(const tl_model *m) {
    char key[128];
    int64_t n = -1, most = 0;
    snprintf(key, sizeof key, "%s.block_count", m->arch ? m->arch : "");
    for (size_t i = 0; i < gguf_n_tensors(m->m.file); i++) {
        long long at;
        if (sscanf(m->m.weights[i].name, "blk.%9lld.", &at) == 1 && at >= most) most = at + 1;
    }
    if (gguf_get_int(m->m.file, key, &n, NULL) != TL_OK || n < 0) return most;
    return n < most + 1000 ? n : most + 1000;
}

tl_status tl_model_audit(tl_model *m, void (*each)(void *ctx, const tl_tensor_problem *problem), void *ctx, tl_error *err) {
    audit a = {m, each, ctx};
    if (!m->program) return err_set(err, TL_E_USAGE, "the model was opened without its program");
    TL_TRY(ev_audit(m->program, count_layers(m), tell_want, &a, err));
    for (size_t i = 0; i < gguf_n_tensors(m->m.file); i++) {
        const ir_weight *w = &m->m.weights[i];
        if (w->asked || (m->m.repaired && strcmp(w->name, "output.weight") == 0)) continue;
        each(ctx, &(tl_tensor_problem){.tensor = w->name, .kind = TL_TENSOR_UNUSED, .file = "", .message = ""});
    }
    return TL_OK;
}

bool tl_model_program(const tl_model *m, size_t i, const char **file, const char **text, size_t *n) {
    bool is_main;
    const source *s = m->program ? ev_source(m->program, i, &is_main) : NULL;
    if (s) *file = s->name, *text = s->text.p, *n = s->text.n;
    return s != NULL;
}

bool tl_model_program_is_main(const tl_model *m, size_t i) {
    bool is_main = false;
    return m->program && ev_source(m->program, i, &is_main) && is_main;
}
