// sample_model.c - what samplers need to know of a model's vocabulary.
#include "run/run.h"
#include "run/sample.h"

static const char *token_text(void *ctx, int32_t id, size_t *n) { return tl_token_text(ctx, id, false, n); }
static bool token_is_end(void *ctx, int32_t id) { return tl_token_is_end(ctx, id); }

enum { MOST_BREAKER = 40, MOST_TAIL = 20 }; // bytes of a breaker, tokens of its tail

static bool has_breaker(const dry_state *d, int32_t head, const int32_t *tail, size_t n) {
    for (size_t i = d->breakers.n; i-- > 0 && d->breakers.p[i].head == head;)
        if (d->breakers.p[i].n == n && (n == 0 || memcmp(d->tail.p + d->breakers.p[i].first, tail, n * sizeof *tail) == 0)) return true;
    return false;
}

static tl_status add_tail(dry_state *d, const tl_model *m, int32_t head, str rest, tl_error *err) {
    int32_t *ids = NULL;
    size_t n = 0;
    if (rest.n) TL_TRY(tl_tokenize(m, rest.p, rest.n, 0, &ids, &n, err));
    if (n > MOST_TAIL) n = MOST_TAIL;
    bool ok = has_breaker(d, head, ids, n) || dry_add_breaker(d, head, ids, n);
    tl_free(ids);
    return ok ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

// A token that contains the breaker ends a repetition alone; one that ends with the breaker's beginning does it together with
// the tokens of the breaker's rest.
static tl_status add_token(dry_state *d, const tl_model *m, int32_t id, str breaker, tl_error *err) {
    size_t n;
    const char *text = tl_token_text(m, id, true, &n);
    if (n == 0) return TL_OK;
    if (memmem(text, n, breaker.p, breaker.n)) return add_tail(d, m, id, (str){NULL, 0}, err);
    for (size_t have = breaker.n - 1; have > 0; have--) {
        if (have > n || memcmp(text + n - have, breaker.p, have) != 0) continue;
        TL_TRY(add_tail(d, m, id, (str){breaker.p + have, breaker.n - have}, err));
    }
    return TL_OK;
}

tl_status tl_sampler_bind(tl_sampler *s, const tl_model *m, const char *const *dry_breakers, size_t n, tl_error *err) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    if (!m->tok) return err_set(err, TL_E_USAGE, "the model has no tokenizer");
    int32_t end = tokenizer_eos(m->tok), n_vocab = (int32_t)m->n_vocab;
    for (int32_t id = 0; end < 0 && id < n_vocab; id++)
        if (tl_token_is_end(m, id)) end = id;
    sampler_set_vocab(s, &(sample_vocab){.ctx = (void *)(uintptr_t)m, .text = token_text, .is_end = token_is_end, .end = end});
    if (!sampler_dry_on(s)) return TL_OK;
    dry_state *d = sampler_dry(s);
    d->breakers.n = d->tail.n = 0;
    if (!dry_breakers) dry_breakers = usual, n = sizeof usual / sizeof *usual;
    for (int32_t id = 0; id < n_vocab; id++)
        for (size_t i = 0; i < n; i++) {
            str breaker = str_of(dry_breakers[i]);
            if (breaker.n > MOST_BREAKER) breaker.n = MOST_BREAKER;
            if (breaker.n) TL_TRY(add_token(d, m, id, breaker, err));
        }
    dry_sort_breakers(d);
    return TL_OK;
}
