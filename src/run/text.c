// text.c - the public functions on text: tokenizing, streaming detokenizing, chat rendering.
#include "run/run.h"

static tl_status need_tokenizer(const tl_model *m, tl_error *err) {
    if (m->tok) return TL_OK;
    if (err) *err = m->tok_err;
    return m->tok_err.code;
}

tl_status tl_tokenize(const tl_model *m, const char *text, size_t n, unsigned flags, int32_t **ids, size_t *n_ids, tl_error *err) {
    TL_TRY(need_tokenizer(m, err));
    token_ids out = {0};
    unsigned f = (flags & TL_ADD_SPECIAL ? TOKEN_ADD_SPECIAL : 0u) | (flags & TL_PARSE_SPECIAL ? TOKEN_PARSE_SPECIAL : 0u);
    TL_TRY(tokenizer_encode(m->tok, (str){text, n}, f, &out, err));
    *ids = out.p;
    *n_ids = out.n;
    return TL_OK;
}

bool tl_token_is_end(const tl_model *m, int32_t id) { return m->tok && tokenizer_is_end(m->tok, id); }
bool tl_token_is_special(const tl_model *m, int32_t id) { return m->tok && tokenizer_is_special(m->tok, id); }

const char *tl_token_text(const tl_model *m, int32_t id, bool special, size_t *n) {
    str s = m->tok ? tokenizer_piece(m->tok, id, special) : (str){"", 0};
    *n = s.n;
    return s.p ? s.p : "";
}

struct tl_decoder { token_decoder d; };

tl_status tl_decoder_new(const tl_model *m, bool special, tl_decoder **out, tl_error *err) {
    TL_TRY(need_tokenizer(m, err));
    tl_decoder *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(err, TL_E_MEMORY, "out of memory");
    token_decoder_init(&d->d, m->tok, special ? DECODE_SPECIAL : 0);
    *out = d;
    return TL_OK;
}

static const char *text_of(str s) { return s.n ? s.p : ""; } // an empty one may point at the text before
const char *tl_decoder_put(tl_decoder *d, int32_t id) { return text_of(token_decoder_put(&d->d, id)); }
const char *tl_decoder_end(tl_decoder *d) { return text_of(token_decoder_end(&d->d)); }

void tl_decoder_free(tl_decoder *d) {
    if (!d) return;
    token_decoder_deinit(&d->d);
    mem_free(d);
}

// ---- chat ------------------------------------------------------------------------------------------
static tl_status encode_rendered(const tl_model *m, const chat_text *t, token_ids *ids, tl_error *err) {
    token_segment *seg = mem_calloc(t->n_segments ? t->n_segments : 1, sizeof *seg);
    if (!seg) return err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < t->n_segments; i++)
        seg[i] = (token_segment){.text = {t->text + t->segments[i].begin, t->segments[i].n}, .parse_special = !t->segments[i].tainted};
    tl_status st = tokenizer_encode_segments(m->tok, seg, t->n_segments, false, ids, err);
    mem_free(seg);
    return st;
}

// The template spells BOS out if the model was trained so; a model that wants it and whose template does not say it gets it.
static tl_status add_bos(const tl_model *m, token_ids *ids, tl_error *err) {
    int32_t bos = tokenizer_bos(m->tok);
    if (!tokenizer_adds_bos(m->tok) || bos < 0 || (ids->n && ids->p[0] == bos)) return TL_OK;
    if (!vec_push(ids, bos)) return err_set(err, TL_E_MEMORY, "out of memory");
    memmove(ids->p + 1, ids->p, (ids->n - 1) * sizeof *ids->p);
    ids->p[0] = bos;
    return TL_OK;
}

static char *token_spelled(const tl_model *m, int32_t id) {
    str s = id >= 0 ? tokenizer_token(m->tok, id) : (str){NULL, 0};
    char *c = s.p ? mem_alloc(s.n + 1) : NULL;
    if (c) memcpy(c, s.p, s.n), c[s.n] = 0;
    return c;
}

tl_status tl_chat_tokenize(const tl_model *m, const tl_message *messages, size_t n, bool reply, const char *tools_json, int32_t **ids, size_t *n_ids, tl_error *err) {
    TL_TRY(need_tokenizer(m, err));
    if (!m->chat) {
        if (err) *err = m->chat_err;
        return m->chat_err.code;
    }
    json_t *list = NULL, *tools = NULL;
    TL_TRY(chat_messages(messages, n, &list, err));
    json_error_t je;
    if (tools_json && !(tools = json_loads(tools_json, 0, &je))) {
        json_decref(list);
        return err_set(err, TL_E_USAGE, "tools: %s at line %d", je.text, je.line);
    }
    char *bos = token_spelled(m, tokenizer_bos(m->tok)), *eos = token_spelled(m, tokenizer_eos(m->tok));
    chat_input in = {.messages = list, .tools = tools, .reply = reply, .bos = bos, .eos = eos};
    chat_text text = {0};
    token_ids out = {0};
    tl_status st = chat_render(m->chat, &in, &text, err);
    if (st == TL_OK) st = encode_rendered(m, &text, &out, err);
    if (st == TL_OK) st = add_bos(m, &out, err);
    chat_text_free(&text);
    json_decref(list);
    json_decref(tools);
    mem_free(bos);
    mem_free(eos);
    if (st != TL_OK) {
        vec_free(&out);
        return st;
    }
    *ids = out.p;
    *n_ids = out.n;
    return TL_OK;
}
