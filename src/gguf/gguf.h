// gguf.h - reading GGUF v2/v3 files by mmap. The file is untrusted: every count, length, offset and
// product is checked before use; errors name the key or tensor and the byte offset.
#ifndef TL_GGUF_H
#define TL_GGUF_H
#include "base/dtype.h"

typedef enum {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL, GGUF_STR, GGUF_ARR, GGUF_U64, GGUF_I64, GGUF_F64
} gguf_type; // values are the file format's own ids

typedef struct gguf_value {
    gguf_type type, elem; // elem: element type of an array
    uint64_t count;       // elements of an array
    const uint8_t *data;  // scalar's or first element's bytes in the file (unaligned, little endian)
    uint64_t bytes;       // length of data
    uint64_t offset;      // of data in the file
    str s;                // when type is GGUF_STR
    str *strs;            // when elem is GGUF_STR: count slices into the file (NULL until gguf_strings)
} gguf_value;

typedef struct gguf_kv { str key; gguf_value v; } gguf_kv;

typedef struct gguf_tensor {
    str name;
    tl_dtype type;
    int rank;           // 1..4
    int64_t ne[4];      // GGUF order: ne[0] is the contiguous axis; 1 beyond rank
    const uint8_t *data;
    size_t bytes;
    uint64_t offset;    // of data in the file
} gguf_tensor;

typedef struct gguf gguf; // owns the mapping and the tables
tl_status gguf_open(const char *path, gguf **out, tl_error *err);
// The same over a caller's buffer (tests, fuzzers); `data` must outlive the result.
tl_status gguf_open_memory(const void *data, size_t size, gguf **out, tl_error *err);
void gguf_close(gguf *g); // NULL is fine
// TL_E_IO when a file got shorter since it was opened or a page of it could not be read (its values then read as
// zeros). Cheap: one fstat a file; to be called between steps.
tl_status gguf_check(const gguf *g, tl_error *err);
// Before the first gguf_open: leaves the program's SIGBUS handling alone. A file cut while mapped then ends the process.
void gguf_guard_disable(void);

const char *gguf_path(const gguf *g);
uint32_t gguf_version(const gguf *g);
size_t gguf_file_size(const gguf *g);
size_t gguf_n_kv(const gguf *g);
const gguf_kv *gguf_kv_at(const gguf *g, size_t i);
const gguf_value *gguf_find(const gguf *g, str key); // NULL if absent
size_t gguf_n_tensors(const gguf *g);
const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i);
const gguf_tensor *gguf_tensor_find(const gguf *g, str name);
size_t gguf_bytes(const gguf *g); // of its files
// Drops [data, data+bytes) of the mapping from this process's resident set (it can be read again).
void gguf_drop_pages(const gguf *g, const void *data, size_t bytes);

// Typed access. Any integer type converts when the value fits; a float key also takes integers.
// Absent: TL_E_FORMAT "there is no key"; wrong type or range: TL_E_FORMAT naming key, found and wanted type.
bool gguf_value_int(const gguf_value *v, uint64_t i, int64_t *out);   // scalar (i = 0) or array element
bool gguf_value_float(const gguf_value *v, uint64_t i, double *out);
bool gguf_value_bool(const gguf_value *v, uint64_t i, bool *out);
tl_status gguf_get_int(const gguf *g, const char *key, int64_t *out, tl_error *err);
tl_status gguf_get_float(const gguf *g, const char *key, double *out, tl_error *err);
tl_status gguf_get_bool(const gguf *g, const char *key, bool *out, tl_error *err);
tl_status gguf_get_str(const gguf *g, const char *key, str *out, tl_error *err);
// Slices of a string array, made on first use and owned by g.
tl_status gguf_strings(const gguf *g, const char *key, const str **out, uint64_t *count, tl_error *err);
// The same for a while: the caller releases *out with mem_free. NULL after a failure.
tl_status gguf_strings_new(const gguf *g, const char *key, str **out, uint64_t *count, tl_error *err);
#endif
