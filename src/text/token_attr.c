// token_attr.c - what each token is (its type in the file, corrected by what names tell), the special ids, and the trie
// of texts that are cut out before anything else.
#include "text/token_int.h"
#include "text/token_trie.h"

#include <ctype.h>

static const uint16_t type_attr[] = {
    [TOKEN_NORMAL] = ATTR_NORMAL,     [TOKEN_UNKNOWN] = ATTR_UNKNOWN, [TOKEN_CONTROL] = ATTR_CONTROL,
    [TOKEN_USER_DEFINED] = ATTR_USER, [TOKEN_UNUSED] = ATTR_UNUSED,   [TOKEN_BYTE] = ATTR_BYTE,
};
enum { N_TYPES = sizeof type_attr / sizeof *type_attr };

static bool encloses(str s, str open, str close) {
    return s.n > open.n + close.n && str_starts(s, open) && memcmp(s.p + s.n - close.n, close.p, close.n) == 0;
}

// "<|user|>": converters have not always marked these as control tokens, and as user-defined ones any text could spell them.
static bool looks_control(str s) {
    return encloses(s, STR("<|"), STR("|>")) || encloses(s, STR("<\xef\xbd\x9c"), STR("\xef\xbd\x9c>"));
}

static void set_types(tokenizer *t, const token_source *s) {
    for (int32_t i = 0; i < t->n; i++) {
        int32_t type = TOKEN_NORMAL;
        if (s->types) memcpy(&type, (const char *)s->types + 4 * (size_t)i, 4);
        t->attr[i] = type >= 0 && type < N_TYPES ? type_attr[type] : 0;
        if (type == TOKEN_USER_DEFINED && looks_control(token_text(t, i))) t->attr[i] |= ATTR_CONTROL | ATTR_SHOWN;
    }
}

// A stated id; 2^32 - 1 and negative ones mean none, as some converters write it.
static tl_status special_id(const tokenizer *t, int64_t stated, int32_t usual, const char *what, int32_t *out, tl_error *err) {
    if (stated == TOKEN_UNSET) {
        *out = usual < t->n ? usual : -1;
        return TL_OK;
    }
    *out = -1;
    if (stated < 0 || stated == UINT32_MAX) return TL_OK;
    if (stated >= t->n)
        return err_set(err, TL_E_FORMAT, "tokenizer.ggml.%s_token_id is %lld, but the vocabulary has %d tokens", what,
                       (long long)stated, t->n);
    *out = (int32_t)stated;
    return TL_OK;
}

static void mark(tokenizer *t, const char *text, unsigned attr) {
    int32_t id = vocab_find(t, text, strlen(text));
    if (id >= 0) t->attr[id] |= (uint16_t)attr;
}

static void mark_id(tokenizer *t, int64_t id) {
    if (id >= 0 && id < t->n) t->attr[id] |= ATTR_END;
}

static void mark_names(tokenizer *t, const token_source *s) {
#define END_NAME(text) mark(t, text, ATTR_CONTROL | ATTR_END);
#define SEPARATOR_NAME(field, text)                                                                                    \
    if (s->field == TOKEN_UNSET) mark(t, text, ATTR_CONTROL | ATTR_END);
#define CONTROL_NAME(text) mark(t, text, ATTR_CONTROL);
#define SHOWN_NAME(text) mark(t, text, ATTR_CONTROL | ATTR_SHOWN);
#include "text/token_names.def"
    mark_id(t, t->eos);
    mark_id(t, s->eot);
    mark_id(t, s->eom);
    mark_id(t, s->fim_pad);
    mark_id(t, s->fim_rep);
    mark_id(t, s->fim_sep);
}

static bool ends_by_name(const tokenizer *t, const char *text) {
    int32_t id = vocab_find(t, text, strlen(text));
    return id >= 0 && (t->attr[id] & ATTR_END);
}

// Two names mean other things in some company.
static void settle_end_names(tokenizer *t) {
    int32_t s = vocab_find(t, "</s>", 4), end = vocab_find(t, "<|end|>", 7);
    // In vocabularies with HTML tags it is one; where it ends a text, the file says that it is a control token.
    if (s >= 0 && (t->attr[s] & ATTR_CONTROL) && !ends_by_name(t, "<|tool_response>")) t->attr[s] |= ATTR_END;
    // Here a reply has several parts, each closed by <|end|>.
    bool call = ends_by_name(t, "<|call|>") || ends_by_name(t, "<|calls|>");
    if (end >= 0 && call && (ends_by_name(t, "<|return|>") || ends_by_name(t, "<|flush|>")))
        t->attr[end] = (uint16_t)((t->attr[end] & ~ATTR_END) | ATTR_SHOWN);
}

static bool contains(str text, const char *part) { // part in lower case
    size_t n = strlen(part);
    for (size_t i = 0; i + n <= text.n; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)text.p[i + k]) == part[k]) k++;
        if (k == n) return true;
    }
    return false;
}

static void set_strip(tokenizer *t, const char *token, unsigned set) {
    int32_t only = token ? vocab_find(t, token, strlen(token)) : -1;
    for (int32_t i = token ? only : 0; i >= 0 && i < t->n; i++) {
        if (token || (t->attr[i] & (ATTR_SPECIAL | ATTR_USER)))
            t->attr[i] = (uint16_t)((t->attr[i] & ~(ATTR_LSTRIP | ATTR_RSTRIP)) | set);
        if (token) break;
    }
}

static void mark_strip(tokenizer *t, const token_source *s) {
#define STRIP(field, part, token, set)                                                                                 \
    if (contains(s->field, part)) set_strip(t, token, set);
#include "text/token_names.def"
}

tl_status token_too_long(const tokenizer *t, int32_t id, tl_error *err) {
    size_t n = token_text(t, id).n;
    return n <= SEARCHED_MOST ? TL_OK : err_set(err, TL_E_LIMIT, "token %d has %zu bytes; the most is %d", id, n, SEARCHED_MOST);
}

static tl_status special_build(tokenizer *t, tl_error *err) {
    t->special = trie_new();
    if (!t->special) return err_set(err, TL_E_MEMORY, "out of memory");
    for (int32_t i = 0; i < t->n; i++) {
        if (!(t->attr[i] & (ATTR_SPECIAL | ATTR_USER)) || token_text(t, i).n == 0) continue;
        TL_TRY(token_too_long(t, i, err));
        if (!trie_add(t->special, token_text(t, i), i)) return err_set(err, TL_E_MEMORY, "out of memory for the special tokens");
    }
    return TL_OK;
}

static const struct model_row {
    const char *name;
    model_kind kind;
    const char *pre; // NULL: the file tells
    int32_t bos, eos, unk, sep;
    bool add_bos, add_eos, add_sep, add_space_prefix;
} model_rows[] = {
#define MODEL(...) {__VA_ARGS__},
#include "text/token_names.def"
};

static const struct model_row *model_find(const token_source *s) {
    for (size_t i = 0; i < sizeof model_rows / sizeof *model_rows; i++)
        if (str_is(s->model, model_rows[i].name)) return &model_rows[i];
    return s->pre_forced ? &model_rows[0] : NULL;
}

static bool flag(int8_t stated, bool usual) { return stated == TOKEN_UNSET ? usual : stated != 0; }

static void set_flags(tokenizer *t, const token_source *s, const struct model_row *row) {
    t->add_bos = flag(s->add_bos, row->add_bos || (t->pre_flags & PRE_ADD_BOS)) && t->bos >= 0;
    t->add_eos = flag(s->add_eos, row->add_eos) && t->eos >= 0;
    t->add_sep = flag(s->add_sep, row->add_sep || (t->pre_flags & PRE_ADD_SEP)) && t->sep >= 0;
    t->add_space_prefix = flag(s->add_space_prefix, row->add_space_prefix);
    t->remove_extra_whitespaces = flag(s->remove_extra_whitespaces, false);
    t->lowercase = flag(s->lowercase, t->kind == MODEL_WPM);
    t->strip_accents = flag(s->strip_accents, t->lowercase);
    t->escape_spaces = t->kind == MODEL_BPE ? (t->pre_flags & PRE_ESCAPE_SPACES) != 0 : t->kind != MODEL_WPM;
}

static tl_status pre_build(tokenizer *t, const token_source *s, const struct model_row *row, tl_error *err) {
    str pre = row->pre && !s->pre_forced ? str_of(row->pre) : s->pre;
    TL_TRY(pretok_new(pre, &t->pre, err));
    t->pre_flags = pretok_flags(t->pre);
    return TL_OK;
}

tl_status attr_build(tokenizer *t, const token_source *s, tl_error *err) {
    const struct model_row *row = model_find(s);
    char shown[100];
    if (!row)
        return err_set(err, TL_E_UNSUPPORTED,
                       "unknown tokenizer '%s' (tokenizer.ggml.model); if it is a byte-level BPE, name its "
                       "pre-tokenizer by --pre NAME",
                       str_escape(shown, sizeof shown, s->model));
    t->kind = row->kind;
    if (t->kind == MODEL_BPE) TL_TRY(pre_build(t, s, row, err));
    set_types(t, s);
    TL_TRY(special_id(t, s->bos, row->bos, "bos", &t->bos, err));
    TL_TRY(special_id(t, s->eos, row->eos, "eos", &t->eos, err));
    TL_TRY(special_id(t, s->unk, row->unk, "unknown", &t->unk, err));
    TL_TRY(special_id(t, s->sep, row->sep, "seperator", &t->sep, err)); // the key is spelled so
    int32_t checked;
    TL_TRY(special_id(t, s->eot, -1, "eot", &checked, err));
    TL_TRY(special_id(t, s->eom, -1, "eom", &checked, err));
    t->pad = s->pad >= 0 && s->pad < t->n ? (int32_t)s->pad : -1; // converters write sizes here; nothing depends on it
    set_flags(t, s, row);
    mark_names(t, s);
    settle_end_names(t);
    mark_strip(t, s);
    return special_build(t, err);
}
