// test_threads.c - one tokenizer, many threads: ids are the same everywhere.
#include "vocab.h"

#include "base/pool.h"

enum { THREADS = 4, ROUNDS = 50 };
typedef struct shared {
    const tokenizer *t;
    str text;
    token_ids want;
    int wrong[THREADS];
} shared;

static void work(void *ctx, int thread, int n) {
    shared *s = ctx;
    (void)n;
    for (int i = 0; i < ROUNDS; i++) {
        token_ids ids = {0};
        token_decoder d;
        tl_error err;
        tl_status status = tokenizer_encode(s->t, s->text, 0, &ids, &err);
        bool same = status == TL_OK && ids.n == s->want.n && memcmp(ids.p, s->want.p, ids.n * sizeof *ids.p) == 0;
        s->wrong[thread] += !same;
        token_decoder_init(&d, s->t, 0);
        for (size_t k = 0; k < ids.n; k++) token_decoder_put(&d, ids.p[k]);
        token_decoder_deinit(&d);
        vec_free(&ids);
    }
}

static void same_everywhere(void **state) {
    vocab v = {0};
    pool *threads;
    tl_error err = {0};
    (void)state;
    vocab_alphabet(&v);
    vocab_merge(&v, "a b");
    vocab_add(&v, "ab", TOKEN_NORMAL, 0);
    tokenizer *t = vocab_make(vocab_source(&v, "gpt2", "qwen2"));
    shared s = {.t = t, .text = STR("abc ab 123 don't\n\n ab\xff abababababababababababababababababababab")};
    assert_int_equal(tokenizer_encode(t, s.text, 0, &s.want, &err), TL_OK);
    assert_int_equal(pool_new(THREADS, &threads, &err), TL_OK);
    pool_run(threads, work, &s);
    pool_free(threads);
    for (int i = 0; i < THREADS; i++) assert_int_equal(s.wrong[i], 0);
    vec_free(&s.want);
    tokenizer_free(t);
    vocab_free(&v);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_everywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
