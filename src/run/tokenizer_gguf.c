// tokenizer_gguf.c - collects a vocabulary from a file's metadata.
#include "run/tokenizer_gguf.h"

#define KEY "tokenizer.ggml."

static const gguf_value *find(const gguf *g, const char *key) { return gguf_find(g, str_of(key)); }

static tl_status read_str(const gguf *g, const char *key, str *out, tl_error *err) {
    return find(g, key) ? gguf_get_str(g, key, out, err) : TL_OK;
}

static tl_status read_id(const gguf *g, const char *key, int64_t *out, tl_error *err) {
    return find(g, key) ? gguf_get_int(g, key, out, err) : TL_OK;
}

static tl_status read_flag(const gguf *g, const char *key, int8_t *out, tl_error *err) {
    bool value = false;
    if (!find(g, key)) return TL_OK;
    TL_TRY(gguf_get_bool(g, key, &value, err));
    *out = value;
    return TL_OK;
}

// An array of n 4-byte elements, used where it lies.
static tl_status read_array(const gguf *g, const char *key, gguf_type elem, const char *elem_name, size_t n,
                            const void **out, tl_error *err) {
    const gguf_value *v = find(g, key);
    if (!v) return TL_OK;
    if (v->type != GGUF_ARR || v->elem != elem)
        return err_at(err, TL_E_FORMAT, (int64_t)v->offset, "%s is not an array of %s", key, elem_name);
    if (v->count != n)
        return err_at(err, TL_E_FORMAT, (int64_t)v->offset, "%s has %llu elements for %zu tokens", key,
                      (unsigned long long)v->count, n);
    *out = v->data;
    return TL_OK;
}

static tl_status read_ids(const gguf *g, token_source *s, tl_error *err) {
    TL_TRY(read_id(g, KEY "bos_token_id", &s->bos, err));
    TL_TRY(read_id(g, KEY "eos_token_id", &s->eos, err));
    TL_TRY(read_id(g, KEY "unknown_token_id", &s->unk, err));
    TL_TRY(read_id(g, KEY "seperator_token_id", &s->sep, err)); // the format spells it so
    TL_TRY(read_id(g, KEY "padding_token_id", &s->pad, err));
    TL_TRY(read_id(g, KEY "mask_token_id", &s->mask, err));
    TL_TRY(read_id(g, KEY "eot_token_id", &s->eot, err));
    TL_TRY(read_id(g, KEY "eom_token_id", &s->eom, err));
    TL_TRY(read_id(g, KEY "fim_pad_token_id", &s->fim_pad, err));
    TL_TRY(read_id(g, KEY "fim_rep_token_id", &s->fim_rep, err));
    return read_id(g, KEY "fim_sep_token_id", &s->fim_sep, err);
}

static tl_status read_flags(const gguf *g, token_source *s, tl_error *err) {
    TL_TRY(read_flag(g, KEY "add_bos_token", &s->add_bos, err));
    TL_TRY(read_flag(g, KEY "add_eos_token", &s->add_eos, err));
    TL_TRY(read_flag(g, KEY "add_sep_token", &s->add_sep, err));
    TL_TRY(read_flag(g, KEY "add_space_prefix", &s->add_space_prefix, err));
    TL_TRY(read_flag(g, KEY "remove_extra_whitespaces", &s->remove_extra_whitespaces, err));
    TL_TRY(read_flag(g, KEY "normalizer.lowercase", &s->lowercase, err));
    return read_flag(g, KEY "normalizer.strip_accents", &s->strip_accents, err);
}

static tl_status read_charsmap(const gguf *g, token_source *s, tl_error *err) {
    const gguf_value *v = find(g, KEY "precompiled_charsmap");
    if (!v) return TL_OK;
    if (v->type != GGUF_ARR || (v->elem != GGUF_U8 && v->elem != GGUF_I8))
        return err_at(err, TL_E_FORMAT, (int64_t)v->offset, KEY "precompiled_charsmap is not an array of bytes");
    s->charsmap = v->data;
    s->charsmap_n = v->bytes;
    return TL_OK;
}

typedef struct string_lists { // which the tokenizer needs while it is made
    str *tokens, *merges;
} string_lists;

static tl_status read_all(const gguf *g, const char *pre, token_source *s, string_lists *lists, tl_error *err) {
    uint64_t n = 0;
    TL_TRY(gguf_get_str(g, KEY "model", &s->model, err));
    TL_TRY(read_str(g, KEY "pre", &s->pre, err));
    if (pre) s->pre = str_of(pre), s->pre_forced = true;
    TL_TRY(read_str(g, "general.name", &s->name, err));
    TL_TRY(read_str(g, "general.architecture", &s->architecture, err));
    TL_TRY(gguf_strings_new(g, KEY "tokens", &lists->tokens, &n, err));
    s->tokens = lists->tokens, s->n_tokens = n;
    TL_TRY(read_array(g, KEY "scores", GGUF_F32, "f32", s->n_tokens, &s->scores, err));
    TL_TRY(read_array(g, KEY "token_type", GGUF_I32, "i32", s->n_tokens, &s->types, err));
    if (find(g, KEY "merges")) {
        TL_TRY(gguf_strings_new(g, KEY "merges", &lists->merges, &n, err));
        s->merges = lists->merges, s->n_merges = n;
    }
    TL_TRY(read_ids(g, s, err));
    TL_TRY(read_flags(g, s, err));
    return read_charsmap(g, s, err);
}

tl_status tokenizer_from_gguf(const gguf *g, const char *pre, tokenizer **out, tl_error *err) {
    token_source s;
    token_source_init(&s);
    *out = NULL;
    const gguf_value *model = find(g, KEY "model");
    if (!model || str_is(model->s, "none") || str_is(model->s, "no_vocab"))
        return err_set(err, TL_E_UNSUPPORTED, "the file has no tokenizer (" KEY "model); only token ids can be used");
    string_lists lists = {0};
    tl_status status = read_all(g, pre, &s, &lists, err);
    if (status == TL_OK) status = tokenizer_new(&s, out, err);
    mem_free(lists.tokens);
    mem_free(lists.merges);
    return status;
}
