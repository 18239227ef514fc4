// index.c - names of keys and tensors: what they may contain, sorted lookup (no hash table: a hostile file could make
// its names collide), and the check that no two tensors share bytes.
#include "gguf/internal.h"

// Length of the valid UTF-8 sequence at p (of n bytes), 0 if there is none.
static size_t utf8_length(const uint8_t *p, size_t n) {
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || outside ? 0 : len;
}

bool gguf_name_ok(str name, const char **why) {
    const uint8_t *p = (const uint8_t *)name.p;
    *why = NULL;
    if (!name.n) *why = "is empty";
    for (size_t i = 0, len; i < name.n && !*why; i += len) {
        len = utf8_length(p + i, name.n - i);
        if (!len) *why = "is not valid UTF-8";
        else if (p[i] < 0x20 || p[i] == 0x7f || (p[i] == 0xc2 && p[i + 1] < 0xa0)) *why = "contains a control character";
    }
    for (size_t i = 0; i + 3 <= name.n && !*why; i++) // nobody makes a path of it, but nobody should be tempted either
        if (memcmp(name.p + i, "../", 3) == 0) *why = "contains \"../\"";
    return !*why;
}

static int compare_str(str a, str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b) {
    const gguf_name *x = a, *y = b;
    int order = compare_str(x->name, y->name);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

const gguf_name *gguf_index_find(const gguf_name *index, size_t n, str name) {
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int order = compare_str(index[mid].name, name);
        if (order == 0) return &index[mid];
        if (order < 0) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

// Sorts; the position in `index` of the second of two equal names, or 0.
static size_t sort_names(gguf_name *index, size_t n) {
    qsort(index, n, sizeof *index, by_name);
    for (size_t i = 1; i < n; i++)
        if (str_eq(index[i - 1].name, index[i].name)) return i;
    return 0;
}

const char *gguf_shown_path(const gguf *g, const void *data) {
    for (size_t i = 1; i < g->n_files; i++)
        if ((uintptr_t)data - (uintptr_t)g->files[i].base < g->files[i].size) return g->files[i].shown;
    return g->files[0].shown;
}

static tl_status new_index(const gguf *g, size_t n, gguf_name **index, tl_error *err) {
    mem_free(*index);
    *index = mem_calloc(n, sizeof **index);
    return *index ? TL_OK : err_set(err, TL_E_MEMORY, "%s: out of memory", g->files[0].shown);
}

tl_status gguf_index_kv(gguf *g, tl_error *err) {
    TL_TRY(new_index(g, g->kv.n, &g->kv_index, err));
    for (size_t i = 0; i < g->kv.n; i++) g->kv_index[i] = (gguf_name){g->kv.p[i].key, i};
    size_t twice = sort_names(g->kv_index, g->kv.n);
    if (!twice) return TL_OK;
    char shown[GGUF_NAME_SHOWN];
    const gguf_kv *kv = &g->kv.p[g->kv_index[twice].at];
    return err_at(err, TL_E_FORMAT, (int64_t)kv->v.offset, "%s: key '%s' is there twice (second value at byte %llu)",
                  g->files[0].shown, str_escape(shown, sizeof shown, kv->key), (unsigned long long)kv->v.offset);
}

tl_status gguf_index_tensors(gguf *g, tl_error *err) {
    TL_TRY(new_index(g, g->tensors.n, &g->tensor_index, err));
    for (size_t i = 0; i < g->tensors.n; i++) g->tensor_index[i] = (gguf_name){g->tensors.p[i].name, i};
    size_t twice = sort_names(g->tensor_index, g->tensors.n);
    if (!twice) return TL_OK;
    char shown[GGUF_NAME_SHOWN];
    const gguf_tensor *t = &g->tensors.p[g->tensor_index[twice].at];
    return err_at(err, TL_E_FORMAT, (int64_t)t->offset, "%s: tensor '%s' is there twice (second: data at byte %llu)",
                  gguf_shown_path(g, t->data), str_escape(shown, sizeof shown, t->name), (unsigned long long)t->offset);
}

// ---- overlaps --------------------------------------------------------------------------------------
// By address: the mappings of different shards do not overlap.
static int by_data(const void *a, const void *b) {
    const gguf_tensor *x = *(const gguf_tensor *const *)a, *y = *(const gguf_tensor *const *)b;
    return ((uintptr_t)x->data > (uintptr_t)y->data) - ((uintptr_t)x->data < (uintptr_t)y->data);
}

static tl_status overlap_error(const gguf *g, const gguf_tensor *a, const gguf_tensor *b, tl_error *err) {
    char one[GGUF_NAME_SHOWN], two[GGUF_NAME_SHOWN];
    return err_at(err, TL_E_FORMAT, (int64_t)b->offset,
                  "%s: the data of tensor '%s' (byte %llu) overlaps that of '%s' (%zu bytes at byte %llu)", gguf_shown_path(g, b->data), str_escape(two, sizeof two, b->name), (unsigned long long)b->offset,
                  str_escape(one, sizeof one, a->name), a->bytes, (unsigned long long)a->offset);
}

tl_status gguf_check_overlaps(const gguf *g, tl_error *err) {
    size_t n = g->tensors.n, i = 1;
    const gguf_tensor *t = g->tensors.p;
    while (i < n && (uintptr_t)t[i].data >= (uintptr_t)t[i - 1].data + t[i - 1].bytes) i++;
    if (i >= n) return TL_OK; // in order, as writers leave them
    const gguf_tensor **sorted = mem_calloc(n, sizeof *sorted);
    if (!sorted) return err_set(err, TL_E_MEMORY, "%s: out of memory", g->files[0].shown);
    for (i = 0; i < n; i++) sorted[i] = &t[i];
    qsort(sorted, n, sizeof *sorted, by_data);
    tl_status status = TL_OK;
    for (i = 1; i < n && status == TL_OK; i++)
        if ((uintptr_t)sorted[i]->data < (uintptr_t)sorted[i - 1]->data + sorted[i - 1]->bytes)
            status = overlap_error(g, sorted[i - 1], sorted[i], err);
    mem_free(sorted);
    return status;
}
