// constraint.c - the public constraints: a grammar, joined with a model's vocabulary. The trie over the vocabulary is made
// once for a model; masks and states belong to the constraint.
#include <jansson.h>
#include <pthread.h>

#include "run/constraint_rule.h"
#include "run/run.h"
#include "text/grammar.h"
#include "text/schema.h"

struct tl_constraint {
    grammar *g;
    grammar_matcher *m;
    rule_constraint *rule; // instead of the two
    const tl_model *model;
    int32_t n_vocab;
    sbuf text; // what the last call of tl_constraint_shortest or _forced handed out
};

static pthread_mutex_t vocab_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *piece(void *ctx, int32_t id, size_t *n) { return tl_token_text(ctx, id, false, n); }

static tl_status make_vocab(tl_model *m, tl_error *err) {
    VEC(int32_t) ends = {0};
    for (int32_t id = 0; id < m->n_vocab; id++)
        if (tl_token_is_end(m, id) && !vec_push(&ends, id)) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status s = grammar_vocab_new((int32_t)m->n_vocab, piece, m, ends.p, ends.n, &m->vocab, err);
    vec_free(&ends);
    return s;
}

static tl_status vocab_of(tl_model *m, tl_error *err) {
    if (!m->tok) {
        if (err) *err = m->tok_err;
        return m->tok_err.code;
    }
    pthread_mutex_lock(&vocab_lock);
    tl_status s = m->vocab ? TL_OK : make_vocab(m, err);
    pthread_mutex_unlock(&vocab_lock);
    return s;
}

// ---- from text to a grammar ----------------------------------------------------------------------------
static tl_status parse_schema(str text, char **gbnf, tl_error *err) {
    json_error_t e;
    json_t *schema = json_loadb(text.p, text.n, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
    if (!schema) return err_set(err, TL_E_FORMAT, "the JSON schema is not JSON: %s at line %d", e.text, e.line);
    tl_status s = schema_to_gbnf(schema, gbnf, err);
    json_decref(schema);
    return s;
}

// Choices stand on lines of their own, or between '|' where the text is one line.
static tl_status parse_choices(str text, char **gbnf, tl_error *err) {
    VEC(const char *) list = {0};
    if (memchr(text.p, '\0', text.n)) return err_set(err, TL_E_USAGE, "a choice cannot hold a NUL character");
    char *copy = mem_alloc(text.n + 1);
    bool ok = copy != NULL;
    if (ok) memcpy(copy, text.p, text.n), copy[text.n] = 0;
    if (ok && text.n && copy[text.n - 1] == '\n') copy[text.n - 1] = 0;
    char between = ok && strchr(copy, '\n') ? '\n' : '|';
    for (char *p = copy; ok && p;) {
        char *end = strchr(p, between);
        if (end) *end = 0;
        ok = vec_push(&list, p);
        p = end ? end + 1 : NULL;
    }
    tl_status s = ok ? schema_choices_to_gbnf(list.p, list.n, gbnf, err) : err_set(err, TL_E_MEMORY, "out of memory");
    vec_free(&list);
    mem_free(copy);
    return s;
}

static bool utf8_valid(str t) {
    const unsigned char *p = (const unsigned char *)t.p, *end = p + t.n;
    while (p < end) {
        size_t n = *p < 0x80 ? 1 : *p >= 0xc2 && *p < 0xe0 ? 2 : (*p & 0xf0) == 0xe0 ? 3 : *p >= 0xf0 && *p < 0xf5 ? 4 : 0;
        if (n == 0 || n > (size_t)(end - p)) return false;
        for (size_t i = 1; i < n; i++)
            if ((p[i] & 0xc0) != 0x80) return false;
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f)) return false;
        p += n;
    }
    return true;
}

static tl_status compile(tl_constraint_kind kind, str text, grammar **out, tl_error *err) {
    char *gbnf = NULL;
    tl_status s;
    if (text.n > 4 << 20) return err_set(err, TL_E_LIMIT, "a constraint is at most 4 MiB of text");
    if (kind == TL_CONSTRAINT_GRAMMAR) return grammar_parse(text, "root", out, err);
    if (!utf8_valid(text)) return err_set(err, TL_E_FORMAT, "the constraint is not valid UTF-8");
    if (kind == TL_CONSTRAINT_JSON_SCHEMA) s = parse_schema(text, &gbnf, err);
    else if (kind == TL_CONSTRAINT_REGEX) s = schema_regex_to_gbnf(text, &gbnf, err);
    else if (kind == TL_CONSTRAINT_CHOICES) s = parse_choices(text, &gbnf, err);
    else return err_set(err, TL_E_USAGE, "there is no constraint of kind %d", (int)kind);
    if (s == TL_OK) s = grammar_parse(str_of(gbnf), "root", out, err);
    mem_free(gbnf);
    return s;
}

static tl_status open_rule(tl_model *m, tl_constraint_kind kind, str text, rule_constraint **out, tl_error *err) {
    if (kind == TL_CONSTRAINT_RULE) return rule_new(m, "constraint.tl", text.p, text.n, out, err);
    char *path = mem_alloc(text.n + 1);
    if (!path) return err_set(err, TL_E_MEMORY, "out of memory");
    memcpy(path, text.p, text.n);
    path[text.n] = 0;
    tl_status s = rule_new(m, path, NULL, 0, out, err);
    mem_free(path);
    return s;
}

tl_status tl_constraint_new(tl_model *m, tl_constraint_kind kind, const char *text, size_t n, tl_constraint **out, tl_error *err) {
    tl_error own;
    if (!err) err = &own;
    *out = NULL;
    tl_constraint *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(err, TL_E_MEMORY, "out of memory");
    bool rule = kind == TL_CONSTRAINT_RULE || kind == TL_CONSTRAINT_RULE_FILE;
    tl_status s = vocab_of(m, err);
    if (s == TL_OK && rule) s = open_rule(m, kind, (str){text, n}, &c->rule, err);
    if (s == TL_OK && !rule) s = compile(kind, (str){text, n}, &c->g, err);
    if (s == TL_OK && !rule) s = grammar_matcher_new(c->g, m->vocab, &c->m, err);
    c->n_vocab = (int32_t)m->n_vocab;
    c->model = m;
    if (s == TL_OK) *out = c;
    else tl_constraint_free(c);
    return s;
}

void tl_constraint_free(tl_constraint *c) {
    if (!c) return;
    grammar_matcher_free(c->m);
    grammar_free(c->g);
    rule_free(c->rule);
    sbuf_free(&c->text);
    mem_free(c);
}

// ---- states ----------------------------------------------------------------------------------------------
uint32_t tl_constraint_start(const tl_constraint *c) { return (void)c, GRAMMAR_START; }

tl_status tl_constraint_mask(tl_constraint *c, uint32_t state, const uint64_t **mask, bool *any, tl_error *err) {
    TL_TRY(c->rule ? rule_mask(c->rule, state, mask, err) : grammar_mask(c->m, state, mask, err));
    *any = false;
    for (int32_t i = 0; i < (c->n_vocab + 63) / 64 && !*any; i++) *any = (*mask)[i] != 0;
    return TL_OK;
}

tl_status tl_constraint_next(tl_constraint *c, uint32_t state, int32_t token, uint32_t *next, tl_error *err) {
    return c->rule ? rule_next(c->rule, state, token, next, err) : grammar_next(c->m, state, token, next, err);
}

tl_status tl_constraint_next_text(tl_constraint *c, uint32_t state, const char *text, size_t n, uint32_t *next, tl_error *err) {
    if (c->rule) return *next = state, TL_OK; // a rule speaks of tokens
    return grammar_next_bytes(c->m, state, (str){text, n}, next, err);
}

bool tl_constraint_may_end(const tl_constraint *c, uint32_t state) {
    return c->rule ? rule_may_end(c->rule, state) : grammar_may_end(c->m, state);
}

tl_status tl_constraint_forced(tl_constraint *c, uint32_t state, const char **text, size_t *n, tl_error *err) {
    char buf[4096];
    if (c->rule) return *text = "", *n = 0, TL_OK;
    TL_TRY(grammar_forced(c->m, state, buf, sizeof buf, n, err));
    c->text.n = 0;
    sbuf_put(&c->text, buf, *n);
    *text = c->text.p ? c->text.p : "";
    return c->text.failed ? err_set(err, TL_E_MEMORY, "out of memory") : TL_OK;
}

// How many of the tokens lead on from the state.
static size_t fitting(tl_constraint *c, uint32_t state, const int32_t *ids, size_t n, tl_error *err) {
    size_t i = 0;
    while (i < n && tl_constraint_next(c, state, ids[i], &state, err) == TL_OK && state != 0) i++;
    return i;
}

tl_status tl_constraint_jump(tl_constraint *c, uint32_t state, int32_t *ids, size_t most, size_t *n, tl_error *err) {
    const char *text;
    size_t n_text, found;
    int32_t *all;
    *n = 0;
    TL_TRY(tl_constraint_forced(c, state, &text, &n_text, err));
    if (n_text < 2) return TL_OK;
    TL_TRY(tl_tokenize(c->model, text, n_text, 0, &all, &found, err));
    if (found > 0 && fitting(c, state, all, found, err) == found) *n = found - 1 < most ? found - 1 : most;
    memcpy(ids, all, *n * sizeof *ids);
    tl_free(all);
    return TL_OK;
}

tl_status tl_constraint_shortest(tl_constraint *c, uint32_t state, const char **text, size_t *n, tl_error *err) {
    c->text.n = 0;
    if (c->rule) return *text = "", *n = 0, TL_OK;
    TL_TRY(grammar_shortest(c->m, state, &c->text, err));
    *text = c->text.p ? c->text.p : "";
    *n = c->text.n;
    return TL_OK;
}
