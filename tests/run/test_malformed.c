// test_malformed.c - model files whose bytes are well-formed and whose contents contradict each other: a clean error that
// names what is wrong, never a crash. (Cases G34 to G43 of the project's list of malformed inputs.)
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "gguf/quant.h"
#include "run/run.h"
#include "tiny.h"

typedef enum { KEEP, SET_INT, SET_FLOAT, DROP_KEY, DROP_TENSOR, RESHAPE, POISON } action;
typedef struct edit {
    action what;
    const char *name; // key or tensor
    double value;     // SET_*; RESHAPE: new ne[0]
    int64_t rows;     // RESHAPE: new ne[1], 0: one axis
} edit;

typedef struct malformed {
    const char *label, *arch;
    edit e;
    const char *says; // part of the message; NULL: the model must work
} malformed;

static char good[64], bad[64];

static void copy_kv(gguf_writer *w, const gguf_kv *kv, const edit *e) {
    char key[200];
    snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
    bool hit = e->name && strcmp(key, e->name) == 0;
    int64_t i;
    double f;
    if (hit && e->what == DROP_KEY) return;
    if (hit && e->what == SET_INT) gguf_put_int(w, key, GGUF_I64, (int64_t)e->value);
    else if (hit && e->what == SET_FLOAT) gguf_put_float(w, key, GGUF_F32, e->value);
    else if (kv->v.type == GGUF_STR) gguf_put_str(w, key, kv->v.s);
    else if (kv->v.type == GGUF_F32 && gguf_value_float(&kv->v, 0, &f)) gguf_put_float(w, key, GGUF_F32, f);
    else if (gguf_value_int(&kv->v, 0, &i)) gguf_put_int(w, key, kv->v.type, i);
}

static void make_bad(const malformed *m) {
    tl_error err = {0};
    gguf *g;
    gguf_writer w = {0};
    void *made = NULL;
    tiny t = {.arch = m->arch, .type = DT_F32};
    tiny_write(good, &t);
    assert_int_equal(gguf_open(good, &g, &err), TL_OK);
    bool seen = false;
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        copy_kv(&w, gguf_kv_at(g, i), &m->e);
        seen |= m->e.name && str_is(gguf_kv_at(g, i)->key, m->e.name);
    }
    if (!seen && m->e.what == SET_INT) gguf_put_int(&w, m->e.name, GGUF_I64, (int64_t)m->e.value);
    if (!seen && m->e.what == SET_FLOAT) gguf_put_float(&w, m->e.name, GGUF_F32, m->e.value);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *x = gguf_tensor_at(g, i);
        char name[100];
        snprintf(name, sizeof name, "%.*s", (int)x->name.n, x->name.p);
        bool hit = m->e.name && strcmp(name, m->e.name) == 0;
        int64_t ne[4] = {x->ne[0], x->ne[1], x->ne[2], x->ne[3]};
        int rank = x->rank;
        const void *data = x->data;
        if (hit && m->e.what == DROP_TENSOR) continue;
        if (hit && m->e.what == RESHAPE) {
            ne[0] = (int64_t)m->e.value, ne[1] = m->e.rows ? m->e.rows : 1, rank = m->e.rows ? 2 : 1;
            data = made = mem_calloc((size_t)(ne[0] * ne[1]), 4);
        }
        if (hit && m->e.what == POISON) {
            data = made = mem_alloc(x->bytes);
            memcpy(made, x->data, x->bytes);
            float f = (float)m->e.value;
            memcpy((char *)made + 4 * 300, &f, 4);
        }
        gguf_put_tensor(&w, name, DT_F32, rank, ne, data);
    }
    if (gguf_save(&w, bad, &err) != TL_OK) fail_msg("%s: %s", m->label, err.message);
    gguf_writer_free(&w);
    mem_free(made);
    gguf_close(g);
}

static tl_status use(const char *file, tl_error *err) { // open, prompt, one more step
    tl_engine *e;
    tl_model *m = NULL;
    tl_session *s = NULL;
    tl_engine_options eo = {.threads = 2};
    assert_int_equal(tl_engine_new(&eo, &e, err), TL_OK);
    tl_status st = tl_model_open(e, file, NULL, &m, err);
    tl_session_options so = {.n_ctx = 32};
    if (st == TL_OK) st = tl_session_new(m, &so, &s, err);
    const float *logits;
    int32_t ids[5] = {1, 2, 3, 4, 5};
    if (st == TL_OK) st = tl_session_prompt(s, 0, ids, 5, &logits, NULL, err);
    if (st == TL_OK) st = tl_session_prompt(s, 0, ids, 1, &logits, NULL, err);
    tl_session_free(s);
    tl_model_free(m);
    tl_engine_free(e);
    return st;
}

#define L "llama"
static const malformed cases[] = {
    {"untouched", L, {KEEP, NULL, 0, 0}, NULL},
    // G34: shapes that contradict the numbers
    {"query matrix", L, {RESHAPE, "blk.1.attn_q.weight", 256, 100}, "positions together"},
    {"query input", L, {RESHAPE, "blk.0.attn_q.weight", 128, 256}, "two sizes"},
    {"embedding width", L, {RESHAPE, "token_embd.weight", 128, 96}, "two sizes"},
    {"embedding rows", L, {RESHAPE, "token_embd.weight", 256, 50}, "two sizes"},
    {"norm length", L, {RESHAPE, "blk.0.attn_norm.weight", 255, 0}, "two sizes"},
    {"norm with two axes", L, {RESHAPE, "blk.0.attn_norm.weight", 128, 2}, "axes"},
    {"down matrix turned", L, {RESHAPE, "blk.2.ffn_down.weight", 256, 512}, "two sizes"},
    // G35: heads
    {"no heads", L, {SET_INT, "llama.attention.head_count", 0, 0}, ""},
    {"no kv heads", L, {SET_INT, "llama.attention.head_count_kv", 0, 0}, ""},
    {"more kv heads than heads", L, {SET_INT, "llama.attention.head_count_kv", 8, 0}, ""},
    {"kv heads that do not divide", L, {SET_INT, "llama.attention.head_count_kv", 3, 0}, ""},
    {"negative heads", L, {SET_INT, "llama.attention.head_count", -4, 0}, ""},
    {"key width 0", L, {SET_INT, "llama.attention.key_length", 0, 0}, ""},
    {"key width 2^31", L, {SET_INT, "llama.attention.key_length", 2147483648.0, 0}, ""},
    {"odd key width", L, {SET_INT, "llama.attention.key_length", 63, 0}, ""},
    {"width 0", L, {SET_INT, "llama.embedding_length", 0, 0}, "two sizes"},
    // G36: layers
    {"2^31 layers", L, {SET_INT, "llama.block_count", 2147483648.0, 0}, "range"},
    {"one layer too many", L, {SET_INT, "llama.block_count", TINY_LAYERS + 1, 0}, "no tensor \"blk.3."},
    {"one layer fewer", L, {SET_INT, "llama.block_count", TINY_LAYERS - 1, 0}, NULL},
    {"no count of layers", L, {DROP_KEY, "llama.block_count", 0, 0}, "no key \"llama.block_count\""},
    // G37: context
    {"context 0", L, {SET_INT, "llama.context_length", 0, 0}, NULL},
    {"context -1", L, {SET_INT, "llama.context_length", -1, 0}, NULL},
    // G38, G39: rotation and norms
    {"base 0", L, {SET_FLOAT, "llama.rope.freq_base", 0, 0}, "positive"},
    {"base -1", L, {SET_FLOAT, "llama.rope.freq_base", -1, 0}, "positive"},
    {"base NaN", L, {SET_FLOAT, "llama.rope.freq_base", (double)__builtin_nanf(""), 0}, "positive"},
    {"base inf", L, {SET_FLOAT, "llama.rope.freq_base", (double)__builtin_inff(), 0}, "positive"},
    {"eps 0", L, {SET_FLOAT, "llama.attention.layer_norm_rms_epsilon", 0, 0}, "positive"},
    {"eps -1", L, {SET_FLOAT, "llama.attention.layer_norm_rms_epsilon", -1, 0}, "positive"},
    {"eps NaN", L, {SET_FLOAT, "llama.attention.layer_norm_rms_epsilon", (double)__builtin_nanf(""), 0}, "positive"},
    {"no eps", L, {DROP_KEY, "llama.attention.layer_norm_rms_epsilon", 0, 0}, "layer_norm_rms_epsilon"},
    // G40: windows
    {"window 0", "gemma3", {SET_INT, "gemma3.attention.sliding_window", 0, 0}, "positive"},
    {"window 2^31", "gemma3", {SET_INT, "gemma3.attention.sliding_window", 2147483648.0, 0}, NULL},
    {"no window", "gemma3", {DROP_KEY, "gemma3.attention.sliding_window", 0, 0}, "positive"},
    // G41, G42: output and values
    {"no output", L, {DROP_TENSOR, "output.weight", 0, 0}, NULL},
    {"NaN in output", L, {POISON, "output.weight", (double)__builtin_nanf(""), 0}, NULL},
    {"inf in output", L, {POISON, "output.weight", (double)__builtin_inff(), 0}, NULL},
    {"output of another shape with NaN", L, {RESHAPE, "output.weight", 256, 95}, "two sizes"},
    {"NaN in a layer", L, {POISON, "blk.1.ffn_up.weight", (double)__builtin_nanf(""), 0}, NULL},
    {"no embedding", L, {DROP_TENSOR, "token_embd.weight", 0, 0}, "no tensor \"token_embd.weight\""},
    {"no norm", L, {DROP_TENSOR, "blk.0.ffn_norm.weight", 0, 0}, "no tensor \"blk.0.ffn_norm.weight\""},
    {"no bias where one may be", "qwen2", {DROP_TENSOR, "blk.1.attn_q.bias", 0, 0}, NULL},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const malformed *m = &cases[i];
        tl_error err = {0};
        make_bad(m);
        tl_status st = use(bad, &err);
        if (!m->says && st != TL_OK) fail_msg("%s: should work, but: %s", m->label, err.message);
        if (m->says && st == TL_OK) fail_msg("%s: was accepted", m->label);
        if (m->says && (!*err.message || !strstr(err.message, m->says))) fail_msg("%s: the message is\n%s", m->label, err.message);
    }
}

int main(void) {
    snprintf(good, sizeof good, "good-%d.gguf", (int)getpid());
    snprintf(bad, sizeof bad, "bad-%d.gguf", (int)getpid());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(good);
    unlink(bad);
    return failed;
}
