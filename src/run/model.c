// model.c - opening a GGUF file: its weights, the check of output.weight, its program, tokenizer and chat template.
#include <ctype.h>
#include <inttypes.h>

#include "gguf/quant.h"
#include "run/run.h"
#include "run/tokenizer_gguf.h"
#include "text/grammar.h"

// ---- output.weight -------------------------------------------------------------------------------
typedef struct bad_search {
    const gguf_tensor *t;
    int64_t rows, cols;
    pool *threads;
    quant_bad found[256]; // one for each thread
} bad_search;

static void search_rows(void *ctx, int thread, int n) {
    bad_search *s = ctx;
    quant_bad *mine = &s->found[thread];
    int64_t lo, hi;
    (void)n;
    while (pool_take(s->threads, s->rows, 256, &lo, &hi)) {
        quant_bad b = {0};
        if (!quant_find_nonfinite(s->t->type, s->t->data, lo, hi, s->cols, &b)) continue;
        if (!mine->count || b.row < mine->row) {
            int64_t count = mine->count;
            *mine = b;
            mine->count += count;
        } else {
            mine->count += b.count;
        }
    }
}

static quant_bad find_bad(tl_engine *e, const gguf_tensor *t) {
    bad_search s = {.t = t, .cols = t->ne[0], .threads = e->threads, .rows = 1};
    for (int i = 1; i < t->rank; i++) s.rows *= t->ne[i];
    pool_run(e->threads, search_rows, &s);
    quant_bad all = {0};
    for (int i = 0; i < pool_size(e->threads) && i < 256; i++) {
        quant_bad *b = &s.found[i];
        if (!b->count) continue;
        int64_t count = all.count + b->count;
        if (!all.count || b->row < all.row) all = *b;
        all.count = count;
    }
    return all;
}

// An output.weight with inf or NaN cannot give logits: the embedding takes its place, as in files without one.
static tl_status check_output(tl_engine *e, bool no_repair, ev_model *m, tl_error *err) {
    const gguf_tensor *t = gguf_tensor_find(m->file, STR("output.weight")), *emb = gguf_tensor_find(m->file, STR("token_embd.weight"));
    if (!t || pool_size(e->threads) > 256) return TL_OK;
    quant_bad b = find_bad(e, t);
    gguf_drop_pages(m->file, t->data, t->bytes); // or it would be in memory twice while it is repacked
    if (!b.count) return TL_OK;
    char what[300];
    snprintf(what, sizeof what, "output.weight (%s) holds %" PRId64 " value%s infinite or no number, the first in row %" PRId64 ", %s %" PRId64 " (byte %" PRIu64 ")",
             dtype_table[t->type].name, b.count, b.count == 1 ? " that is" : "s that are", b.row, dtype_table[t->type].quantized ? "block" : "column", b.block, t->offset + (uint64_t)b.byte_offset);
    bool fits = emb && emb->ne[0] == t->ne[0] && emb->ne[1] == t->ne[1];
    if (no_repair || !fits)
        return err_at(err, TL_E_FORMAT, (int64_t)(t->offset + b.byte_offset), "%s: %s%s", m->path, what,
                      fits ? "; without --no-repair the embedding would be used instead" : "; the embedding cannot take its place, its shape differs");
    m->repaired = true;
    engine_warn(e, "%s; token_embd.weight is used instead", what);
    return TL_OK;
}

// ---- the file --------------------------------------------------------------------------------------
void model_file_close(ev_model *m) {
    if (!m) return;
    for (size_t i = 0; m->weights && i < gguf_n_tensors(m->file); i++) {
        plan_weight_free(&m->weights[i]);
        mem_free((void *)m->weights[i].name);
    }
    mem_free(m->weights);
    tokenizer_free(m->tok_owned);
    gguf_close(m->file);
    mem_free((void *)m->path);
    *m = (ev_model){0};
}

tl_status model_file_open(tl_engine *e, const char *path, bool no_repair, ev_model *m, tl_error *err) {
    *m = (ev_model){0};
    TL_TRY(gguf_open(path, &m->file, err));
    size_t n = gguf_n_tensors(m->file);
    m->path = mem_strdup(path);
    m->weights = mem_calloc(n ? n : 1, sizeof *m->weights);
    bool ok = m->path && m->weights;
    for (size_t i = 0; i < n && ok; i++) {
        const gguf_tensor *t = gguf_tensor_at(m->file, i);
        ir_weight *w = &m->weights[i];
        char *name = mem_alloc(t->name.n + 1);
        if (!name) ok = false;
        else memcpy(name, t->name.p, t->name.n), name[t->name.n] = 0;
        *w = (ir_weight){.name = name, .type = t->type, .cols = t->ne[0], .rows = 1, .data = t->data, .bytes = t->bytes, .id = (int64_t)i};
        for (int k = 1; k < t->rank; k++) w->rows *= t->ne[k];
    }
    tl_status st = ok ? check_output(e, no_repair, m, err) : err_set(err, TL_E_MEMORY, "out of memory");
    if (st != TL_OK) model_file_close(m);
    return st;
}

// ---- programs --------------------------------------------------------------------------------------
static tl_status program_of(tl_model *m, const char *given, char *path, size_t cap, str *text, tl_error *err) {
    *text = (str){NULL, 0};
    if (given) {
        snprintf(path, cap, "%s", given);
        return TL_OK;
    }
    if (!m->arch) return err_set(err, TL_E_FORMAT, "%s: the file has no general.architecture; choose a program with --program FILE.tl", m->path);
    for (const char *c = m->arch; *c; c++)
        if (!(islower((unsigned char)*c) || isdigit((unsigned char)*c) || *c == '-' || *c == '_') || c - m->arch > 60)
            return err_set(err, TL_E_FORMAT, "%s: general.architecture \"%s\" is no name of an architecture (small letters, digits, - and _)", m->path, m->arch);
    snprintf(path, cap, "models/%s.tl", m->arch);
    *text = ev_embedded(path);
    if (text->p) return TL_OK;
    sbuf list = {0};
    ev_embedded_list("models/", &list);
    err_set(err, TL_E_UNSUPPORTED, "%s: there is no program for the architecture \"%s\" (there are: %s); write one and give it with --program FILE.tl", m->path, m->arch, list.p ? list.p : "");
    sbuf_free(&list);
    return TL_E_UNSUPPORTED;
}

// A program that comes with a model is not its user's: what a call of it may take (the largest need some 10,000
// statements and hold tables of a few MiB).
enum { PROGRAM_STEPS = 5000000, PROGRAM_MIB = 1024 };

static tl_status load_program(tl_model *m, const tl_model_options *o, tl_error *err) {
    char path[4096];
    str text;
    TL_TRY(program_of(m, o->program, path, sizeof path, &text, err));
    ev_options eo = {.host = engine_host(m->engine, m), .model = &m->m, .confined = true, .max_steps = PROGRAM_STEPS, .max_bytes = (size_t)PROGRAM_MIB << 20};
    TL_TRY(ev_new(&eo, &m->program, err));
    TL_TRY(ev_run(m->program, path, text.p, text.n, false, err));
    sbuf file = {0};
    if (!text.p) TL_TRY(sbuf_read_file(&file, path, 64u << 20, err));
    m->program_hash = str_hash(text.p ? text : (str){file.p, file.n}) ^ 31 * str_hash(ev_embedded("std/nn.tl"));
    sbuf_free(&file);
    if (!ev_has_step(m->program))
        return err_set(err, TL_E_PROGRAM, "%s defines no step function: fn NAME(tok: int32[p], pos: int32[p], seq: int32[p], slot: int32[p], out: int32[o]) -> float32[o, v]", path);
    return TL_OK;
}

tl_status model_load_program(tl_model *m, tl_error *err) {
    static const tl_model_options none = {0};
    return m->program ? TL_OK : load_program(m, &none, err);
}

// ---- text ------------------------------------------------------------------------------------------
static bool has_token(void *ctx, const char *token) {
    const tl_model *m = ctx;
    return m->tok && tokenizer_find(m->tok, str_of(token)) >= 0;
}

static void load_text(tl_model *m, const tl_model_options *o) {
    if (tokenizer_from_gguf(m->m.file, o->pre, &m->tok, &m->tok_err) != TL_OK) return;
    m->m.tok = m->tok;
    str script = {0};
    const gguf_value *v = gguf_find(m->m.file, STR("tokenizer.chat_template"));
    if (o->chat_template) script = str_of(o->chat_template);
    else if (v && v->type == GGUF_STR) script = v->s;
    else {
        const char *name = NULL, *t = chat_builtin(has_token, m, &name);
        if (t) script = str_of(t);
    }
    if (!script.p) err_set(&m->chat_err, TL_E_USAGE, "%s has no chat template: it continues texts (tl generate); --chat-template FILE gives one", m->path);
    else (void)chat_template_new(script, &m->chat, &m->chat_err);
}

static char *meta_text(const gguf *g, const char *key) {
    str s;
    if (gguf_get_str(g, key, &s, NULL) != TL_OK) return NULL;
    char *c = mem_alloc(s.n + 1);
    if (c) memcpy(c, s.p, s.n), c[s.n] = 0;
    return c;
}

static void find_sizes(tl_model *m) {
    char key[128];
    snprintf(key, sizeof key, "%s.context_length", m->arch ? m->arch : "");
    if (gguf_get_int(m->m.file, key, &m->n_ctx_train, NULL) != TL_OK || m->n_ctx_train < 0) m->n_ctx_train = 0;
    const gguf_tensor *t = gguf_tensor_find(m->m.file, STR("token_embd.weight"));
    m->n_vocab = m->tok ? tokenizer_size(m->tok) : 0;
    if (t && t->rank == 2) m->n_vocab = t->ne[1];
}

tl_status tl_model_open(tl_engine *e, const char *path, const tl_model_options *options, tl_model **out, tl_error *err) {
    static const tl_model_options none = {0};
    const tl_model_options *o = options ? options : &none;
    tl_model *m = mem_calloc(1, sizeof *m);
    if (!m) return err_set(err, TL_E_MEMORY, "out of memory");
    m->engine = e;
    m->no_repair = o->no_repair;
    tl_status st = model_file_open(e, path, o->no_repair, &m->m, err);
    if (st == TL_OK) {
        m->path = mem_strdup(path);
        m->arch = meta_text(m->m.file, "general.architecture");
        m->name = meta_text(m->m.file, "general.name");
        load_text(m, o);
        find_sizes(m);
        if (!m->path) st = err_set(err, TL_E_MEMORY, "out of memory");
        else if (o->parts == TL_MODEL_TEXT && !m->tok) *err = m->tok_err, st = m->tok_err.code;
        else if (o->parts == TL_MODEL_WHOLE) st = load_program(m, o, err);
        for (size_t i = 0; i < o->n_adapters && st == TL_OK; i++) st = model_add_adapter(m, o->adapters[i], err);
    }
    if (st != TL_OK) tl_model_free(m);
    else *out = m;
    return st;
}

void tl_model_free(tl_model *m) {
    if (!m) return;
    ev_free(m->program);
    chat_template_free(m->chat);
    grammar_vocab_free(m->vocab);
    tokenizer_free(m->tok);
    model_free_adapters(m);
    model_file_close(&m->m);
    mem_free(m->name);
    mem_free(m->arch);
    mem_free(m->path);
    mem_free(m);
}

const char *tl_model_path(const tl_model *m) { return m->path; }
const char *tl_model_name(const tl_model *m) {
    const char *slash = strrchr(m->path, '/');
    return m->name ? m->name : slash ? slash + 1 : m->path;
}
const char *tl_model_architecture(const tl_model *m) { return m->arch ? m->arch : ""; }
int64_t tl_model_n_vocab(const tl_model *m) { return m->n_vocab; }
int64_t tl_model_n_ctx_train(const tl_model *m) { return m->n_ctx_train; }
bool tl_model_has_chat_template(const tl_model *m) { return m->chat != NULL; }
