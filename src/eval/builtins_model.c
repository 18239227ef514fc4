// builtins_model.c - models, tokenizers, samplers.
#include <inttypes.h>
#include <math.h>

#include "eval/value.h"
#include "run/sample.h"
#include "text/token.h"

static ev_model *model_arg(call *c, int i) {
    value v = c->arg[i];
    if (v.kind == V_MODEL) return v.model;
    if (v.kind == V_STR) { // a path
        ev_model *m = NULL;
        tl_error err = {0};
        if (c->ev->model && c->ev->model->path && strcmp(c->ev->model->path, v.s->p) == 0) return c->ev->model;
        if (c->ev->o.confined) ev_fail(c->ev, c->at, "a model's program cannot open another file: it may read nothing but its model");
        if (!c->ev->o.host.open_model) ev_fail(c->ev, c->at, "models cannot be opened here");
        if (c->ev->o.host.open_model(c->ev->o.host.ctx, v.s->p, &m, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
        return m;
    }
    ev_fail_fix(c->ev, c->at, "load_model(\"FILE.gguf\")", "a model was expected, found %s", v_names[v.kind]);
}

static value f_load_model(call *c) { return (value){.kind = V_MODEL, .model = model_arg(c, 0)}; }

static const tokenizer *tokenizer_of(evaluator *ev, ev_model *m, span at) {
    if (m->tok) return m->tok;
    tl_error err = {0};
    const tokenizer *t = NULL;
    if (!ev->o.host.open_tokenizer) ev_fail(ev, at, "tokenizers cannot be opened here");
    if (ev->o.host.open_tokenizer(ev->o.host.ctx, m, &t, &err) != TL_OK) ev_fail_err(ev, at, &err);
    return m->tok = t;
}

static const tokenizer *tokenizer_arg(call *c, int i) {
    if (c->arg[i].kind == V_TOKENIZER) return c->arg[i].tok;
    return tokenizer_of(c->ev, model_arg(c, i), c->at);
}

static value f_load_tokenizer(call *c) { return (value){.kind = V_TOKENIZER, .tok = tokenizer_arg(c, 0)}; }

// ---- tensors and metadata ------------------------------------------------------------------------
// GGUF's own order: axis 0 is the contiguous one.
static value gguf_order(evaluator *ev, tensor *t) {
    tensor *r = tensor_dup(ev, t);
    for (int i = 0; i < t->rank; i++) r->ax[i] = t->ax[t->rank - 1 - i];
    return v_of_tensor(r);
}

static value f_get_tensor(call *c) {
    ev_model *m = model_arg(c, 0);
    str name = want_str(c->ev, c->arg[1], c->at, "a tensor's name");
    tensor *t = stored_tensor(c->ev, m, name);
    if (t) return gguf_order(c->ev, t);
    if (c->n > 2) return c->arg[2];
    no_such_tensor(c->ev, m, name, c->at);
}

static value f_has_tensor(call *c) {
    return v_bool(stored_tensor(c->ev, model_arg(c, 0), want_str(c->ev, c->arg[1], c->at, "a tensor's name")) != NULL);
}

static value gguf_element(const gguf_value *v, uint64_t i, gguf_type type) {
    int64_t n;
    double f;
    bool b;
    if (type == GGUF_BOOL && gguf_value_bool(v, i, &b)) return v_bool(b);
    if ((type == GGUF_F32 || type == GGUF_F64) && gguf_value_float(v, i, &f)) return v_float(f);
    if (gguf_value_int(v, i, &n)) return v_int(n);
    return v_none();
}

static value metadata(evaluator *ev, ev_model *m, str key, span at) { // V_NONE: absent
    const gguf_value *v = gguf_find(m->file, key);
    if (!v) return v_none();
    if (v->type == GGUF_STR) return v_str_new(ev, v->s);
    if (v->type != GGUF_ARR) return gguf_element(v, 0, v->type);
    value l = v_list_new(ev);
    if (v->elem == GGUF_STR) {
        const str *s;
        uint64_t n;
        tl_error err = {0};
        if (gguf_strings(m->file, intern(ev, key), &s, &n, &err) != TL_OK) ev_fail_err(ev, at, &err);
        for (uint64_t i = 0; i < n; i++) list_push(ev, l.list, v_str_new(ev, s[i]));
        return l;
    }
    for (uint64_t i = 0; i < v->count; i++) list_push(ev, l.list, gguf_element(v, i, v->elem));
    return l;
}

// The key that the file has under its own architecture's name, where the program names another one: "odd.block_count" for
// "ARCHITECTURE.block_count". NULL: there is none.
static const char *own_key(const ev_model *m, str key, char *buf, size_t cap) {
    const gguf_value *arch = gguf_find(m->file, STR("general.architecture"));
    const char *dot = memchr(key.p, '.', key.n);
    if (!arch || arch->type != GGUF_STR || !dot) return NULL;
    str name = arch->s;
    int n = snprintf(buf, cap, "%.*s%.*s", (int)name.n, name.p, (int)(key.n - (size_t)(dot - key.p)), dot);
    return n > 0 && (size_t)n < cap && gguf_find(m->file, str_of(buf)) ? buf : NULL;
}

static value f_meta(call *c) {
    ev_model *m = model_arg(c, 0);
    str key = want_str(c->ev, c->arg[1], c->at, "a key");
    value v = metadata(c->ev, m, key, c->at);
    if (v.kind != V_NONE) return v;
    if (c->n > 2) return c->arg[2];
    char buf[200], fix[260];
    size_t n = gguf_n_kv(m->file);
    str *keys = arena_array(&c->ev->dl_arena, str, n ? n : 1);
    for (size_t i = 0; i < n; i++) keys[i] = gguf_kv_at(m->file, i)->key;
    const char *own = own_key(m, key, buf, sizeof buf), *near = own ? own : diag_nearest(key, keys, n, buf, sizeof buf);
    if (own) snprintf(fix, sizeof fix, "the file has \"%s\": the program is one for another architecture", own);
    else if (near) snprintf(fix, sizeof fix, "did you mean \"%s\"? A third argument is the value where there is none", near);
    ev_fail_fix(c->ev, c->at, near ? fix : "a third argument is the value where there is none", "the model has no key \"%.*s\"", (int)key.n, key.p);
}

value path_value(evaluator *ev, v_path *p, span at) {
    tensor *t = stored_tensor(ev, p->m, str_of(p->prefix));
    if (t) return gguf_order(ev, t);
    value v = metadata(ev, p->m, str_of(p->prefix), at);
    if (v.kind != V_NONE) return v;
    no_such_tensor(ev, p->m, str_of(p->prefix), at);
}

// ---- text ----------------------------------------------------------------------------------------
static value ids_value(evaluator *ev, int32_t *ids, size_t n) { // frees ids
    if (ids) temp_begin(ev, ids, mem_free);
    value v = v_of_tensor(tensor_from_ints(ev, (int64_t)n, ids));
    if (ids) temp_end(ev, ids);
    return v;
}

static value f_tokenize(call *c) {
    const tokenizer *t = tokenizer_arg(c, 0);
    str text = want_str(c->ev, c->arg[1], c->at, "the text");
    unsigned flags = truthy(c->ev, named_arg(c, "add_special", 2, v_bool(true)), c->at) ? TOKEN_ADD_SPECIAL : 0;
    if (truthy(c->ev, named_arg(c, "parse_special", 3, v_bool(false)), c->at)) flags |= TOKEN_PARSE_SPECIAL;
    token_ids ids = {0};
    tl_error err = {0};
    if (tokenizer_encode(t, text, flags, &ids, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
    return ids_value(c->ev, ids.p, ids.n);
}

static value f_chat_tokens(call *c) {
    ev_model *m = model_arg(c, 0);
    str text = want_str(c->ev, c->arg[1], c->at, "the message");
    int32_t *ids = NULL;
    size_t n = 0;
    tl_error err = {0};
    if (!c->ev->o.host.chat) ev_fail(c->ev, c->at, "chat templates are not available here");
    if (c->ev->o.host.chat(c->ev->o.host.ctx, m, text.p, &ids, &n, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
    return ids_value(c->ev, ids, n);
}

static value f_detokenize(call *c) {
    const tokenizer *t = tokenizer_arg(c, 0);
    token_decoder d;
    bool skip = truthy(c->ev, named_arg(c, "skip_special", 2, v_bool(true)), c->at);
    token_decoder_init(&d, t, (skip ? 0u : DECODE_SPECIAL) | (c->arg[1].kind == V_INT ? 0u : DECODE_WHOLE));
    sbuf *out = text_begin(c->ev);
    if (c->arg[1].kind == V_INT) {
        str s = token_decoder_put(&d, (int32_t)c->arg[1].i);
        sbuf_put(out, s.p, s.n);
    } else {
        tensor *ids = want_tensor(c->ev, c->arg[1], c->at, "the ids");
        const float *p = tensor_floats(c->ev, ids, c->at);
        for (int64_t i = 0; i < tensor_elements(ids); i++) {
            str s = token_decoder_put(&d, (int32_t)p[i]);
            sbuf_put(out, s.p, s.n);
        }
    }
    str s = token_decoder_end(&d);
    sbuf_put(out, s.p, s.n);
    token_decoder_deinit(&d);
    return text_value(c->ev, out);
}

static value f_token(call *c) { // properties of a vocabulary
    const tokenizer *t = tokenizer_arg(c, 0);
    const char *n = c->self->name;
    if (strcmp(n, "vocab_size") == 0) return v_int(tokenizer_size(t));
    if (strcmp(n, "bos_token") == 0) return v_int(tokenizer_bos(t));
    if (strcmp(n, "eos_token") == 0) return v_int(tokenizer_eos(t));
    if (c->n < 2) ev_fail(c->ev, c->at, "%s needs a tokenizer and a token", n);
    if (strcmp(n, "token_id") == 0) return v_int(tokenizer_find(t, want_str(c->ev, c->arg[1], c->at, "a token")));
    int64_t id = want_int(c->ev, c->arg[1], c->at, "a token id");
    return v_bool(id >= 0 && id < tokenizer_size(t) && tokenizer_is_end(t, (int32_t)id));
}

// ---- samplers ------------------------------------------------------------------------------------
// A [seq, vocab] tensor means its last row.
static const float *last_row(call *c, int64_t *n) {
    tensor *t = want_tensor(c->ev, c->arg[0], c->at, "the logits");
    if (t->rank < 1 || !tensor_elements(t)) ev_fail(c->ev, c->at, "there are no logits to choose from");
    *n = t->ax[t->rank - 1].size;
    tensor *row = t;
    while (row->rank > 1) row = tensor_select(c->ev, row, 0, row->ax[0].size - 1, row->ax[0].size, true);
    return tensor_floats(c->ev, row, c->at);
}

static value f_sample(call *c) {
    tl_sampling how = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};
    const char *kind = c->self->name;
    double x = c->n > 1 ? want_float(c->ev, c->arg[1], c->at, "the sampler's parameter") : 0;
    if (strcmp(kind, "greedy_sample") == 0) how.temperature = 0;
    else if (strcmp(kind, "temperature_sample") == 0) how.temperature = (float)x;
    else if (strcmp(kind, "top_k_sample") == 0) how.top_k = (int32_t)x;
    else if (strcmp(kind, "top_p_sample") == 0) how.top_p = (float)x;
    else how.min_p = (float)x;
    if (strcmp(kind, "temperature_sample") != 0 && c->n > 2) how.temperature = (float)want_float(c->ev, c->arg[2], c->at, "the temperature");
    int64_t n;
    const float *p = last_row(c, &n);
    bool usable = false;
    for (int64_t i = 0; i < n && !usable; i++) usable = !isnan(p[i]);
    if (!usable) ev_fail_fix(c->ev, c->at, "nonfinite(x) tells where the first one of a tensor is", "all logits are NaN: there is nothing to choose from");
    if (!c->ev->o.host.sample) ev_fail(c->ev, c->at, "sampling is not available here");
    int32_t id = c->ev->o.host.sample(c->ev->o.host.ctx, p, n, &how, &c->ev->seed);
    if (id < 0) ev_fail(c->ev, c->at, "%s: parameter %g is out of range", kind, x);
    return v_int(id);
}

// The innermost tokenizer that has a name where the call stands; else that of the model given with the program.
static const tokenizer *tokenizer_in_scope(call *c) {
    for (const scope *s = c->ev->scope; s; s = s->parent)
        for (size_t i = s->n; i-- > 0;)
            if (s->p[i].v.kind == V_TOKENIZER) return s->p[i].v.tok;
    ev_model *m = c->ev->model;
    if (!m || m->tok) return m ? m->tok : NULL;
    return gguf_find(m->file, STR("tokenizer.ggml.model")) ? tokenizer_of(c->ev, m, c->at) : NULL;
}

static value f_print_top_k(call *c) {
    int64_t n, k = want_int(c->ev, c->arg[1], c->at, "k"), found = 0;
    const float *p = last_row(c, &n);
    if (k < 1) ev_fail(c->ev, c->at, "k must be at least 1");
    if (k > n) k = n;
    sample_item *top = arena_array(&c->ev->dl_arena, sample_item, k);
    tl_error err = {0};
    if (sample_top_k(p, n, k, top, &found, &err) != TL_OK) ev_fail_err(c->ev, c->at, &err);
    const tokenizer *tok = c->n > 2 ? tokenizer_arg(c, 2) : tokenizer_in_scope(c);
    sbuf b = {0};
    for (int64_t i = 0; i < found; i++) {
        sbuf_printf(&b, "  [%d] = %.4f", top[i].id, (double)top[i].logit);
        if (tok && top[i].id < tokenizer_size(tok)) {
            char text[100];
            sbuf_printf(&b, "  \"%s\"", str_escape(text, sizeof text, tokenizer_piece(tok, top[i].id, true)));
        }
        sbuf_putc(&b, '\n');
    }
    if (c->ev->o.host.print) c->ev->o.host.print(c->ev->o.host.ctx, b.p ? b.p : "", b.n);
    sbuf_free(&b);
    return v_none();
}

const builtin builtins_model[] = {
    {"load_model", f_load_model, 1, 1, "path", "Opens a GGUF file."},
    {"load_tokenizer", f_load_tokenizer, 1, 1, "model or path", "The tokenizer of a GGUF file."},
    {"get_tensor", f_get_tensor, 2, 3, "model, name, otherwise", "A tensor of the file, a matrix as [in, out]; `otherwise` if it has none."},
    {"has_tensor", f_has_tensor, 2, 2, "model, name", "Whether the file has a usable tensor of this name."},
    {"meta", f_meta, 2, 3, "model, key, otherwise", "A metadata value of the file."},
    {"tokenize", f_tokenize, 2, 4, "tokenizer, text, add_special=true, parse_special=false", "Text as token ids."},
    {"chat_tokens", f_chat_tokens, 2, 2, "model, message", "The tokens of a conversation with this user message, up to where the model's reply begins."},
    {"detokenize", f_detokenize, 2, 3, "tokenizer, ids, skip_special=true", "Token ids as text."},
    {"token_id", f_token, 2, 2, "tokenizer, text", "The id of the token spelled so, or -1."},
    {"is_end_token", f_token, 2, 2, "tokenizer, id", "Whether the token ends a reply."},
    {"vocab_size", f_token, 1, 1, "tokenizer", "How many tokens there are."},
    {"bos_token", f_token, 1, 1, "tokenizer", "The token that begins a text, or -1."},
    {"eos_token", f_token, 1, 1, "tokenizer", "The token that ends a text, or -1."},
    {"greedy_sample", f_sample, 1, 1, "logits", "The most probable token."},
    {"temperature_sample", f_sample, 2, 2, "logits, temperature", "A token drawn with a temperature; 0: the most probable."},
    {"top_k_sample", f_sample, 2, 3, "logits, k, temperature=1", "A token drawn from the k most probable."},
    {"top_p_sample", f_sample, 2, 3, "logits, p, temperature=1", "A token drawn from the fewest that together reach p."},
    {"min_p_sample", f_sample, 2, 3, "logits, p, temperature=1", "A token drawn from those at least p times as probable as the best."},
    {"print_top_k", f_print_top_k, 2, 3, "x, k, tokenizer", "Prints the k largest elements with their positions and tokens."},
    {0},
};
