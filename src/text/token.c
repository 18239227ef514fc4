// token.c - making a tokenizer, cutting special tokens out of text, and questions about tokens.
#include "text/token_int.h"
#include "text/token_trie.h"

void token_source_init(token_source *s) {
    *s = (token_source){0};
    s->bos = s->eos = s->unk = s->sep = s->pad = s->mask = s->eot = s->eom = s->fim_pad = s->fim_rep = s->fim_sep = TOKEN_UNSET;
    s->add_bos = s->add_eos = s->add_sep = s->add_space_prefix = s->remove_extra_whitespaces = TOKEN_UNSET;
    s->lowercase = s->strip_accents = TOKEN_UNSET;
}

static tl_status build(tokenizer *t, const token_source *s, tl_error *err) {
    TL_TRY(vocab_build(t, s, err));
    TL_TRY(attr_build(t, s, err));
    TL_TRY(piece_build(t, err));
    switch (t->kind) {
    case MODEL_BPE: return bpe_build(t, s, err);
    case MODEL_SPM: return spm_build(t, err);
    case MODEL_WPM: return wpm_build(t, err);
    case MODEL_UGM: return ugm_build(t, s, err);
    }
    return TL_OK;
}

tl_status tokenizer_new(const token_source *source, tokenizer **out, tl_error *err) {
    *out = NULL;
    tokenizer *t = mem_calloc(1, sizeof *t);
    if (!t) return err_set(err, TL_E_MEMORY, "out of memory");
    t->scores = source->scores;
    tl_status status = build(t, source, err);
    if (status != TL_OK) {
        tokenizer_free(t);
        return status;
    }
    *out = t;
    return TL_OK;
}

void tokenizer_free(tokenizer *t) {
    if (!t) return;
    pretok_free(t->pre);
    trie_free(t->special);
    trie_free(t->words);
    trie_free(t->user);
    map_free(&t->extra);
    mem_free(t->extra_pool);
    mem_free(t->pairs);
    mem_free(t->ranks.slots);
    mem_free(t->piece_pool);
    mem_free(t->piece_at);
    mem_free(t->ids.slots);
    mem_free(t->text_pool);
    mem_free(t->text_at);
    mem_free(t->attr);
    mem_free(t);
}

const char *tokenizer_pre_name(size_t i) { return pretok_name(i); }

// ---- tokens --------------------------------------------------------------------------------------
static bool valid(const tokenizer *t, int32_t id) { return id >= 0 && id < t->n; }
int32_t tokenizer_size(const tokenizer *t) { return t->n; }
int32_t tokenizer_bos(const tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const tokenizer *t) { return t->eos; }
int32_t tokenizer_unk(const tokenizer *t) { return t->unk; }
int32_t tokenizer_pad(const tokenizer *t) { return t->pad; }
bool tokenizer_adds_bos(const tokenizer *t) { return t->add_bos; }
bool tokenizer_adds_eos(const tokenizer *t) { return t->add_eos; }
int32_t tokenizer_find(const tokenizer *t, str text) { return text.n ? vocab_find(t, text.p, text.n) : -1; }
bool tokenizer_is_end(const tokenizer *t, int32_t id) { return valid(t, id) && (t->attr[id] & ATTR_END); }
bool tokenizer_is_special(const tokenizer *t, int32_t id) { return valid(t, id) && (t->attr[id] & ATTR_SPECIAL); }
str tokenizer_token(const tokenizer *t, int32_t id) { return valid(t, id) ? token_text(t, id) : (str){"", 0}; }

str tokenizer_piece(const tokenizer *t, int32_t id, bool special) {
    if (!valid(t, id)) return (str){"", 0};
    bool hidden = (t->attr[id] & ATTR_SPECIAL) && !(t->attr[id] & ATTR_SHOWN) && !special;
    if (hidden) return (str){"", 0};
    if (t->attr[id] & ATTR_OWN_PIECE) return (str){t->piece_pool + t->piece_at[id], t->piece_at[id + 1] - t->piece_at[id]};
    return token_text(t, id);
}

// ---- encoding ------------------------------------------------------------------------------------
// The segments as one text; [parse_from, parse_to) is the stretch at or after the place last asked about in which
// special tokens may be read.
typedef struct joined {
    str text;
    const token_segment *segments;
    size_t n, next; // next: the segment behind the stretch
    size_t next_at, parse_from, parse_to;
} joined;

static bool may_parse(joined *j, size_t from, size_t to) {
    while (j->parse_to <= from && j->next < j->n) {
        for (; j->next < j->n && !j->segments[j->next].parse_special; j->next++) j->next_at += j->segments[j->next].text.n;
        j->parse_from = j->next_at;
        for (; j->next < j->n && j->segments[j->next].parse_special; j->next++) j->next_at += j->segments[j->next].text.n;
        j->parse_to = j->next_at;
    }
    return from >= j->parse_from && to <= j->parse_to;
}

// The longest special token that begins at text[at], or -1; user-defined ones are read in any text.
static int32_t special_at(const tokenizer *t, joined *j, size_t at, size_t *end) {
    const trie *special = t->special;
    uint32_t node = 0;
    int32_t found = -1;
    for (size_t i = at; i < j->text.n;) {
        node = trie_step(special, node, (unsigned char)j->text.p[i++]);
        if (!node) break;
        int32_t id = trie_value(special, node);
        if (id < 0 || ((t->attr[id] & ATTR_SPECIAL) && !may_parse(j, at, i))) continue;
        found = id;
        *end = i;
    }
    return found;
}

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static tl_status encode_fragment(encoder *e, str text) {
    if (text.n == 0) return TL_OK;
    switch (e->t->kind) {
    case MODEL_BPE: return bpe_encode(e, text);
    case MODEL_SPM: return spm_encode(e, text);
    case MODEL_WPM: return wpm_encode(e, text);
    case MODEL_UGM: return ugm_encode(e, text);
    }
    return TL_OK;
}

static tl_status push(encoder *e, int32_t id) {
    return vec_push(e->out, id) ? TL_OK : err_set(e->err, TL_E_MEMORY, "out of memory");
}

static tl_status encode_joined(encoder *e, joined *j) {
    const tokenizer *t = e->t;
    const char *p = j->text.p;
    size_t begin = 0;
    for (size_t i = 0; i < j->text.n;) {
        size_t end = 0;
        int32_t id = t->special->first[(unsigned char)p[i]] ? special_at(t, j, i, &end) : -1;
        if (id < 0) {
            i++;
            continue;
        }
        size_t stop = i;
        while ((t->attr[id] & ATTR_LSTRIP) && stop > begin && is_space(p[stop - 1])) stop--;
        TL_TRY(encode_fragment(e, (str){p + begin, stop - begin}));
        TL_TRY(push(e, id));
        while ((t->attr[id] & ATTR_RSTRIP) && end < j->text.n && is_space(p[end])) end++;
        begin = i = end;
    }
    return encode_fragment(e, (str){p + begin, j->text.n - begin});
}

static tl_status encode(encoder *e, joined *j, bool add_special) {
    if (add_special && e->t->add_bos) TL_TRY(push(e, e->t->bos));
    TL_TRY(encode_joined(e, j));
    if (add_special && e->t->add_eos) TL_TRY(push(e, e->t->eos));
    if (add_special && e->t->add_sep && e->t->kind == MODEL_WPM) TL_TRY(push(e, e->t->sep));
    return TL_OK;
}

static void encoder_deinit(encoder *e) {
    sbuf_free(&e->text);
    sbuf_free(&e->clean);
    vec_free(&e->syms);
    vec_free(&e->heap);
    pretok_work_deinit(&e->pre);
    mem_free(e->lattice);
}

tl_status tokenizer_encode_segments(const tokenizer *t, const token_segment *segments, size_t n, bool add_special,
                                    token_ids *out, tl_error *err) {
    sbuf all = {0};
    joined j = {.segments = segments, .n = n};
    if (n == 1) {
        j.text = segments[0].text;
    } else {
        for (size_t i = 0; i < n; i++) sbuf_put(&all, segments[i].text.p, segments[i].text.n);
        j.text = (str){all.p, all.n};
    }
    if (!j.text.p) j.text.p = "";
    size_t had = out->n;
    encoder e = {.t = t, .out = out, .err = err};
    tl_status status = all.failed ? err_set(err, TL_E_MEMORY, "out of memory") : encode(&e, &j, add_special);
    encoder_deinit(&e);
    sbuf_free(&all);
    if (status != TL_OK) out->n = had;
    return status;
}

tl_status tokenizer_encode(const tokenizer *t, str text, unsigned flags, token_ids *out, tl_error *err) {
    token_segment one = {text, (flags & TOKEN_PARSE_SPECIAL) != 0};
    return tokenizer_encode_segments(t, &one, 1, (flags & TOKEN_ADD_SPECIAL) != 0, out, err);
}
