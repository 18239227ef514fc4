// writer.h - making GGUF v3 files: for tools, caches and tests.
//   gguf_writer w = {0};
//   gguf_put_str(&w, "general.architecture", STR("demo"));
//   gguf_put_tensor(&w, "a.weight", DT_F32, 2, (int64_t[]){64, 8}, data);
//   status = gguf_save(&w, path, &err);   // reports the first mistake of all the calls before
//   gguf_writer_free(&w);
#ifndef TL_GGUF_WRITER_H
#define TL_GGUF_WRITER_H
#include "gguf/gguf.h"

typedef struct gguf_writer { // zero-initialise; alignment may be set before the first call
    uint32_t alignment;      // of tensor data; 0 means 32. A power of two from 8; other than 32 it is recorded
    sbuf kv, infos;
    uint64_t n_kv, n_tensors, data_bytes;
    VEC(gguf_tensor) tensors; // data is the caller's, and must live until the file is written
    tl_error error;           // of the first call that failed
    void (*progress)(void *ctx, uint64_t done, uint64_t total); // of the data while it is written; may be NULL
    void *ctx;
    volatile const int *cancel; // may be NULL; not 0: gguf_save gives up, TL_E_CANCELLED
} gguf_writer;

// Keys are not checked for duplicates; opening the file does that. type: GGUF_U8 to GGUF_I64, floats for gguf_put_float.
void gguf_put_int(gguf_writer *w, const char *key, gguf_type type, int64_t v);
void gguf_put_float(gguf_writer *w, const char *key, gguf_type type, double v);
void gguf_put_bool(gguf_writer *w, const char *key, bool v);
void gguf_put_str(gguf_writer *w, const char *key, str v);
// `count` elements of a fixed-size type, little endian, one after the other.
void gguf_put_array(gguf_writer *w, const char *key, gguf_type elem, const void *data, uint64_t count);
void gguf_put_strs(gguf_writer *w, const char *key, const str *v, uint64_t count);
// A value as another file has it.
void gguf_put_kv(gguf_writer *w, const gguf_kv *kv);
// ne in GGUF order (ne[0] contiguous), `rank` of them; data of dtype_bytes(type, product) bytes is not copied.
void gguf_put_tensor(gguf_writer *w, const char *name, tl_dtype type, int rank, const int64_t *ne, const void *data);

// The whole file in memory (out: zero-initialised, freed with sbuf_free) or on disk, where it is written under a name of its
// own beside `path` (path.part-XXXXXX) and renamed when it is complete and on the disk.
tl_status gguf_image(gguf_writer *w, sbuf *out, tl_error *err);
tl_status gguf_save(gguf_writer *w, const char *path, tl_error *err);
void gguf_writer_free(gguf_writer *w);
#endif
