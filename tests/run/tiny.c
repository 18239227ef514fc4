// tiny.c - see tiny.h. Weights come from a fixed generator, so every run of a test sees the same model.
#include "tiny.h"

#include "gguf/quant.h"

static uint64_t state;

static float noise(void) { // uniform in [-1, 1)
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(state >> 11) * 0x1p-52 - 1.0);
}

typedef struct writer {
    gguf_writer w;
    void *kept[128];
    int n;
} writer;

static void put(writer *w, const char *name, tl_dtype type, int64_t cols, int64_t rows, float scale, float offset) {
    float *v = mem_alloc((size_t)(cols * rows) * 4);
    size_t bytes;
    TL_CHECK(v && dtype_bytes(type, cols * rows, &bytes));
    for (int64_t i = 0; i < cols * rows; i++) v[i] = offset + scale * noise();
    void *data = mem_alloc(bytes);
    TL_CHECK(data && w->n < 128);
    quant_encode(type, v, data, cols * rows);
    mem_free(v);
    w->kept[w->n++] = data;
    gguf_put_tensor(&w->w, name, type, rows > 1 ? 2 : 1, (int64_t[]){cols, rows}, data);
}

static void put_int(writer *w, const char *arch, const char *key, int64_t v) {
    char name[96];
    snprintf(name, sizeof name, "%s.%s", arch, key);
    gguf_put_int(&w->w, name, GGUF_U32, v);
}

static void put_layer(writer *w, const tiny *t, int l) {
    bool gemma = strcmp(t->arch, "gemma3") == 0;
    const struct { const char *name; int64_t cols, rows; } parts[] = {
        {"attn_q", TINY_WIDTH, 4 * 64}, {"attn_k", TINY_WIDTH, 2 * 64}, {"attn_v", TINY_WIDTH, 2 * 64}, {"attn_output", 4 * 64, TINY_WIDTH},
        {"ffn_gate", TINY_WIDTH, 512}, {"ffn_up", TINY_WIDTH, 512}, {"ffn_down", 512, TINY_WIDTH},
    };
    char name[96];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, parts[i].name);
        put(w, name, t->type, parts[i].cols, parts[i].rows, 0.1f, 0);
        if (strcmp(t->arch, "qwen2") == 0 && i < 3) {
            snprintf(name, sizeof name, "blk.%d.%s.bias", l, parts[i].name);
            put(w, name, DT_F32, parts[i].rows, 1, 0.2f, 0);
        }
    }
    static const char *const norms[] = {"attn_norm", "ffn_norm", "post_attention_norm", "post_ffw_norm"};
    for (int i = 0; i < (gemma ? 4 : 2); i++) {
        snprintf(name, sizeof name, "blk.%d.%s.weight", l, norms[i]);
        put(w, name, DT_F32, TINY_WIDTH, 1, 0.1f, 1);
    }
    for (int i = 0; i < 2 && gemma; i++) {
        snprintf(name, sizeof name, "blk.%d.attn_%c_norm.weight", l, "qk"[i]);
        put(w, name, DT_F32, 64, 1, 0.1f, 1);
    }
}

void tiny_write(const char *path, const tiny *t) {
    writer w = {0};
    state = 42;
    gguf_put_str(&w.w, "general.architecture", str_of(t->arch));
    put_int(&w, t->arch, "block_count", TINY_LAYERS);
    put_int(&w, t->arch, "context_length", 256);
    put_int(&w, t->arch, "embedding_length", TINY_WIDTH);
    put_int(&w, t->arch, "attention.head_count", 4);
    put_int(&w, t->arch, "attention.head_count_kv", 2);
    put_int(&w, t->arch, "attention.key_length", 64);
    put_int(&w, t->arch, "attention.sliding_window", 6);
    char eps[96];
    snprintf(eps, sizeof eps, "%s.attention.layer_norm_rms_epsilon", t->arch);
    gguf_put_float(&w.w, eps, GGUF_F32, 1e-5);
    put(&w, "token_embd.weight", t->type, TINY_WIDTH, TINY_VOCAB, 1, 0);
    put(&w, "output_norm.weight", DT_F32, TINY_WIDTH, 1, 0.1f, 1);
    if (!t->tied) {
        put(&w, "output.weight", t->type, TINY_WIDTH, TINY_VOCAB, 1, 0);
        size_t scale, min, row;
        TL_CHECK(dtype_bytes(t->type, TINY_WIDTH, &row));
        for (int64_t i = 0; i < t->bad_output; i++) { // a NaN as the scale of the first block of rows 5, 6, ...
            TL_CHECK(quant_scale_places(t->type, &scale, &min));
            memcpy((char *)w.kept[w.n - 1] + (size_t)(5 + i) * row + scale, (uint16_t[]){0x7e00}, 2);
        }
    }
    for (int l = 0; l < TINY_LAYERS; l++) put_layer(&w, t, l);
    tl_error err = {0};
    if (gguf_save(&w.w, path, &err) != TL_OK) fprintf(stderr, "%s\n", err.message), abort();
    gguf_writer_free(&w.w);
    for (int i = 0; i < w.n; i++) mem_free(w.kept[i]);
}
