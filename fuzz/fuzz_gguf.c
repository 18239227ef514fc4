// fuzz_gguf.c - any bytes as a GGUF file. What opens must lie within the buffer, be found by name, convert, decode, and
// come back the same from a file that the writer makes of it.
#include "gguf/gguf.h"
#include "gguf/quant.h"
#include "gguf/writer.h"

static void use_value(const gguf *g, const gguf_kv *kv, const uint8_t *data, size_t size) {
    const gguf_value *v = &kv->v;
    char key[256];
    int64_t n;
    double f;
    bool b;
    TL_CHECK(gguf_find(g, kv->key) == v);
    TL_CHECK(v->data >= data && v->bytes <= size && v->data + v->bytes <= data + size && v->data == data + v->offset);
    uint64_t last = v->type == GGUF_ARR && v->count ? v->count - 1 : 0;
    (void)(gguf_value_int(v, 0, &n) && gguf_value_int(v, last, &n));
    (void)(gguf_value_float(v, 0, &f) && gguf_value_float(v, last, &f));
    (void)gguf_value_bool(v, last, &b);
    TL_CHECK(v->type != GGUF_ARR || !gguf_value_int(v, v->count, &n));
    if (v->type != GGUF_ARR || v->elem != GGUF_STR || kv->key.n >= sizeof key) return;
    memcpy(key, kv->key.p, kv->key.n);
    key[kv->key.n] = 0;
    const str *strs;
    uint64_t count, bytes = 0;
    tl_error err;
    TL_CHECK(gguf_strings(g, key, &strs, &count, &err) == TL_OK && count == v->count);
    for (uint64_t i = 0; i < count; i++) bytes += 8 + strs[i].n;
    TL_CHECK(bytes == v->bytes);
}

static void use_tensor(const gguf *g, const gguf_tensor *t, const uint8_t *data, size_t size) {
    float values[256];
    quant_bad bad;
    TL_CHECK(gguf_tensor_find(g, t->name) == t);
    TL_CHECK(t->data >= data && t->bytes <= size && t->data + t->bytes <= data + size);
    quant_decode(t->type, t->data, values, dtype_table[t->type].block_values);
    int64_t rows = t->ne[1] * t->ne[2] * t->ne[3];
    if (quant_find_nonfinite(t->type, t->data, 0, rows, t->ne[0], &bad))
        TL_CHECK(bad.row >= 0 && bad.row < rows && bad.byte_offset < t->bytes && bad.count <= t->ne[0] * rows);
}

static void write_value(gguf_writer *w, const char *key, const gguf_value *v, const str *strs) {
    int64_t n;
    double f;
    bool b;
    if (v->type == GGUF_STR) gguf_put_str(w, key, v->s);
    else if (v->type == GGUF_ARR && v->elem == GGUF_STR) gguf_put_strs(w, key, strs, v->count);
    else if (v->type == GGUF_ARR) gguf_put_array(w, key, v->elem, v->data, v->count);
    else if (gguf_value_bool(v, 0, &b)) gguf_put_bool(w, key, b);
    else if (gguf_value_int(v, 0, &n)) gguf_put_int(w, key, v->type, n);
    else if (v->type != GGUF_U64 && gguf_value_float(v, 0, &f)) gguf_put_float(w, key, v->type, f);
}

static void write_again(const gguf *g) {
    gguf_writer w = {0};
    sbuf image = {0};
    tl_error err;
    gguf *copy;
    char name[65536];
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        if (str_is(kv->key, "general.alignment")) continue;
        memcpy(name, kv->key.p, kv->key.n);
        name[kv->key.n] = 0;
        const str *strs = NULL;
        uint64_t count;
        if (kv->v.type == GGUF_ARR && kv->v.elem == GGUF_STR) TL_CHECK(gguf_strings(g, name, &strs, &count, &err) == TL_OK);
        write_value(&w, name, &kv->v, strs);
    }
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        memcpy(name, t->name.p, t->name.n);
        name[t->name.n] = 0;
        gguf_put_tensor(&w, name, t->type, t->rank, t->ne, t->data);
    }
    TL_CHECK(gguf_image(&w, &image, &err) == TL_OK);
    TL_CHECK(gguf_open_memory(image.p, image.n, &copy, &err) == TL_OK && gguf_n_tensors(copy) == gguf_n_tensors(g));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *a = gguf_tensor_at(g, i), *b = gguf_tensor_at(copy, i);
        TL_CHECK(str_eq(a->name, b->name) && a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0);
    }
    gguf_close(copy);
    gguf_writer_free(&w);
    sbuf_free(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    gguf *g = NULL;
    tl_error err = {.offset = -2};
    tl_status status = gguf_open_memory(data, size, &g, &err);
    TL_CHECK((status == TL_OK) == (g != NULL));
    if (!g) {
        TL_CHECK(err.code == status && err.message[0] && err.offset >= -1 && err.offset <= (int64_t)size);
        return 0;
    }
    for (size_t i = 0; i < gguf_n_kv(g); i++) use_value(g, gguf_kv_at(g, i), data, size);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) use_tensor(g, gguf_tensor_at(g, i), data, size);
    write_again(g);
    gguf_close(g);
    return 0;
}
