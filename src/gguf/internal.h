// internal.h - what the files of src/gguf share; nobody else includes it.
#ifndef TL_GGUF_INTERNAL_H
#define TL_GGUF_INTERNAL_H
#include "gguf/gguf.h"
#include "gguf/survey.h"

#include <pthread.h>

// Limits that keep a hostile file's cost bounded; real files are far below them (the largest published models have
// about 50,000 tensors over all shards, vocabularies of 262,144 strings).
enum {
    GGUF_MAX_KV = 65536,
    GGUF_MAX_TENSORS = 131072,
    GGUF_MAX_STRINGS = 4 << 20, // over all string arrays of a file
    GGUF_MAX_KEY = 65535,       // bytes; the specification's limit
    GGUF_MAX_NAME = 63,         // bytes; the format's readers keep names in 64 bytes with a NUL
    GGUF_MAX_SHARDS = 256,
    GGUF_MAX_ALIGN = 1 << 24,
    GGUF_PATH_SHOWN = 300,      // bytes of a path in messages
    GGUF_NAME_SHOWN = 200,      // bytes of a key or name in messages
};

// One mapped file, or a caller's buffer (fd -1).
typedef struct gguf_source {
    char *path;
    char shown[GGUF_PATH_SHOWN]; // escaped, for messages
    const uint8_t *base;
    size_t size;
    int fd;
    int guard;                   // guard slot, or -1
} gguf_source;

typedef VEC(gguf_kv) gguf_kv_vec;
typedef VEC(gguf_tensor) gguf_tensor_vec;

typedef struct gguf_name { // one entry of a sorted index
    str name;
    size_t at; // position in kv or tensors
} gguf_name;

struct gguf {
    gguf_source *files;     // one, or one a shard
    size_t n_files;
    uint32_t version, alignment;
    gguf_kv_vec kv;
    gguf_tensor_vec tensors;
    gguf_name *kv_index;     // n entries each, sorted by name
    gguf_name *tensor_index;
    uint64_t n_strings;     // elements of string arrays so far
    pthread_mutex_t lock;   // over gguf_value.strs
};

// source.c
tl_status source_open(const char *path, gguf_source *out, tl_error *err);
tl_status source_memory(const void *data, size_t size, gguf_source *out, tl_error *err);
void source_close(gguf_source *s); // zeroed or closed is fine
// TL_E_IO when the file is now shorter than its mapping or a page of it could not be read.
tl_status source_check(const gguf_source *s, tl_error *err);

// guard.c
int guard_add(const void *base, size_t size, int fd); // slot, or -1: full (the mapping is then unguarded)
void guard_remove(int slot);
bool guard_lost(int slot, uint64_t *offset);          // a page of the mapping was replaced by zeros

// Where a survey (survey.h) tells what it finds.
typedef struct gguf_sink {
    void (*each)(void *ctx, const gguf_problem *problem);
    void *ctx;
} gguf_sink;

// parse.c: header, metadata and tensor table of g->files[0] into the empty g; sets kv_index, not tensor_index. With a sink
// mistakes are told to it and passed over where that is possible; tensors that had one have data NULL (and may have type DT_COUNT).
tl_status gguf_parse(gguf *g, const gguf_sink *sink, tl_error *err);

// reader.c
gguf *gguf_new(void); // empty; NULL: out of memory
// Opens one file and parses it; tensors are not indexed yet. The caller closes *out.
tl_status gguf_open_part(const char *path, gguf **out, tl_error *err);

// split.c
// The path of the first file of the split model that `path` names any file of: a new string; NULL: out of memory.
char *gguf_first_shard(const char *path);
// Adds the tensors of the other files when g, parsed, is the first of several; fails when files are missing or lie.
tl_status gguf_join_shards(gguf *g, tl_error *err);

// index.c
const char *gguf_shown_path(const gguf *g, const void *data); // of the file whose mapping holds data
tl_status gguf_index_kv(gguf *g, tl_error *err);      // sorts the index; TL_E_FORMAT on a duplicate
tl_status gguf_index_tensors(gguf *g, tl_error *err); // the same, over all shards
const gguf_name *gguf_index_find(const gguf_name *index, size_t n, str name);
// Fails when two tensors of g share bytes of their file.
tl_status gguf_check_overlaps(const gguf *g, tl_error *err);
bool gguf_name_ok(str name, const char **why); // valid UTF-8 without control characters

// value.c
const char *gguf_type_name(uint32_t type); // "u32", or "unknown type"
size_t gguf_type_size(uint32_t type);      // bytes of a scalar; 0: string, array or unknown
#endif
