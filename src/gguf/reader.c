// reader.c - the life of a gguf: opening, the tables, closing.
#include "gguf/internal.h"

#include <sys/mman.h>
#include <unistd.h>

// What one page fault maps of the page cache at most: 2 MiB, where a file system keeps large folios (Linux, Documentation/admin-guide/mm/transhuge.rst).
enum { FOLIO = 2 << 20 };

gguf *gguf_new(void) {
    gguf *g = mem_calloc(1, sizeof *g);
    if (!g) return NULL;
    g->files = mem_calloc(1, sizeof *g->files);
    if (!g->files || pthread_mutex_init(&g->lock, NULL) != 0) {
        mem_free(g->files);
        mem_free(g);
        return NULL;
    }
    return g;
}

void gguf_close(gguf *g) {
    if (!g) return;
    for (size_t i = 0; i < g->kv.n; i++) mem_free(g->kv.p[i].v.strs);
    vec_free(&g->kv);
    vec_free(&g->tensors);
    mem_free(g->kv_index);
    mem_free(g->tensor_index);
    for (size_t i = 0; i < g->n_files; i++) source_close(&g->files[i]);
    mem_free(g->files);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

// Takes over g: *out is g when all is well, else NULL and g is closed.
static tl_status hand_out(gguf *g, tl_status status, gguf **out) {
    if (status == TL_OK) *out = g;
    else gguf_close(g);
    return status;
}

static tl_status complete(gguf *g, tl_error *err) {
    TL_TRY(gguf_join_shards(g, err));
    TL_TRY(gguf_index_tensors(g, err));
    TL_TRY(gguf_check_overlaps(g, err));
    return gguf_check(g, err); // cut while it was parsed: what was read may be zeros
}

tl_status gguf_open_part(const char *path, gguf **out, tl_error *err) {
    *out = NULL;
    gguf *g = gguf_new();
    if (!g) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status status = source_open(path, &g->files[0], err);
    if (status == TL_OK) g->n_files = 1, status = gguf_parse(g, NULL, err);
    return hand_out(g, status, out);
}

tl_status gguf_open(const char *path, gguf **out, tl_error *err) {
    gguf *g = NULL;
    *out = NULL;
    char *first = gguf_first_shard(path);
    if (!first) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status status = gguf_open_part(first, &g, err);
    mem_free(first);
    if (status == TL_OK) status = complete(g, err);
    return hand_out(g, status, out);
}

tl_status gguf_open_memory(const void *data, size_t size, gguf **out, tl_error *err) {
    *out = NULL;
    gguf *g = gguf_new();
    if (!g) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status status = source_memory(data, size, &g->files[0], err);
    if (status == TL_OK) g->n_files = 1, status = gguf_parse(g, NULL, err);
    if (status == TL_OK) status = complete(g, err);
    return hand_out(g, status, out);
}

tl_status gguf_check(const gguf *g, tl_error *err) {
    for (size_t i = 0; i < g->n_files; i++) TL_TRY(source_check(&g->files[i], err));
    return TL_OK;
}

const char *gguf_path(const gguf *g) { return g->files[0].path; }
uint32_t gguf_version(const gguf *g) { return g->version; }
size_t gguf_n_kv(const gguf *g) { return g->kv.n; }
const gguf_kv *gguf_kv_at(const gguf *g, size_t i) { return i < g->kv.n ? &g->kv.p[i] : NULL; }
size_t gguf_n_tensors(const gguf *g) { return g->tensors.n; }
const gguf_tensor *gguf_tensor_at(const gguf *g, size_t i) { return i < g->tensors.n ? &g->tensors.p[i] : NULL; }

size_t gguf_file_size(const gguf *g) {
    size_t sum = 0;
    for (size_t i = 0; i < g->n_files; i++) sum += g->files[i].size;
    return sum;
}

const gguf_value *gguf_find(const gguf *g, str key) {
    const gguf_name *found = gguf_index_find(g->kv_index, g->kv.n, key);
    return found ? &g->kv.p[found->at].v : NULL;
}

const gguf_tensor *gguf_tensor_find(const gguf *g, str name) {
    const gguf_name *found = gguf_index_find(g->tensor_index, g->tensors.n, name);
    return found ? &g->tensors.p[found->at] : NULL;
}

size_t gguf_bytes(const gguf *g) {
    size_t all = 0;
    for (size_t i = 0; i < g->n_files; i++) all += g->files[i].size;
    return all;
}

void gguf_drop_pages(const gguf *g, const void *data, size_t bytes) {
    uintptr_t begin = (uintptr_t)data, end = begin + bytes;
    for (size_t i = 0; i < g->n_files; i++) {
        uintptr_t base = (uintptr_t)g->files[i].base;
        if (g->files[i].fd < 0 || begin < base || end > base + g->files[i].size) continue;
        // A fault may map FOLIO bytes of the page cache at once, what was dropped before included. A neighbour that is still in use
        // loses nothing: the file is mapped for reading, and its pages come back from the cache when they are touched.
        begin = begin / FOLIO * FOLIO;
        end = (end + FOLIO - 1) / FOLIO * FOLIO;
        if (begin < base) begin = base;
        if (end > base + g->files[i].size) end = base + g->files[i].size;
        madvise((void *)begin, end - begin, MADV_DONTNEED);
        return;
    }
}
