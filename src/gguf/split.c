// split.c - models in several files, NAME-00001-of-0000N.gguf and so on, as ggml's gguf-split writes them. The first
// holds all metadata; each says its number (split.no, from 0) and how many there are (split.count), and the tensors of
// all are counted in split.tensors.count. Names of the other files are made from the opened path, never from file contents.
#include "gguf/internal.h"

enum { SUFFIX = 20 }; // "-00001-of-00002.gguf"

// Whether p is n digits; their value.
static bool digits(const char *p, int n, int64_t *out) {
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9') return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

// Finds "-NNNNN-of-NNNNN.gguf" at the end of path.
static bool shard_name(const char *path, size_t *stem, int64_t *no, int64_t *count) {
    size_t n = strlen(path);
    if (n <= SUFFIX) return false;
    const char *p = path + n - SUFFIX;
    *stem = n - SUFFIX;
    return p[0] == '-' && digits(p + 1, 5, no) && memcmp(p + 6, "-of-", 4) == 0 && digits(p + 10, 5, count) &&
           strcmp(p + 15, ".gguf") == 0;
}

static char *shard_path(const char *path, size_t stem, int64_t no, int64_t count) {
    char *p = mem_alloc(stem + 64);
    if (!p) return NULL;
    memcpy(p, path, stem);
    snprintf(p + stem, 64, "-%05lld-of-%05lld.gguf", (long long)no, (long long)count);
    return p;
}

char *gguf_first_shard(const char *path) {
    size_t stem;
    int64_t no, count;
    return shard_name(path, &stem, &no, &count) && no > 1 && no <= count ? shard_path(path, stem, 1, count) : mem_strdup(path);
}

// split.* of a file; count 1 when it is not split.
typedef struct split_info {
    int64_t no, count, tensors;
} split_info;

static tl_status read_split(const gguf *g, split_info *out, tl_error *err) {
    *out = (split_info){.count = 1, .tensors = -1};
    const gguf_value *count = gguf_find(g, STR("split.count"));
    if (!count) return TL_OK;
    TL_TRY(gguf_get_int(g, "split.count", &out->count, err));
    if (out->count <= 1) return TL_OK;
    if (!gguf_find(g, STR("split.no")))
        return err_at(err, TL_E_FORMAT, (int64_t)count->offset, "%s: there is split.count but no split.no (byte %llu)",
                      g->files[0].shown, (unsigned long long)count->offset);
    TL_TRY(gguf_get_int(g, "split.no", &out->no, err));
    if (gguf_find(g, STR("split.tensors.count"))) TL_TRY(gguf_get_int(g, "split.tensors.count", &out->tensors, err));
    if (out->count > GGUF_MAX_SHARDS)
        return err_set(err, TL_E_UNSUPPORTED, "%s: the model is split into %lld files; at most %d are read", g->files[0].shown,
                       (long long)out->count, GGUF_MAX_SHARDS);
    return TL_OK;
}

// Moves the file and tensors of `part` to g, which keeps its own metadata.
static tl_status adopt(gguf *g, gguf *part, tl_error *err) {
    if (part->tensors.n > GGUF_MAX_TENSORS - g->tensors.n)
        return err_set(err, TL_E_UNSUPPORTED, "%s: the files of the model hold more than %d tensors", part->files[0].shown,
                       GGUF_MAX_TENSORS);
    if (!vec_reserve(&g->tensors, g->tensors.n + part->tensors.n))
        return err_set(err, TL_E_MEMORY, "%s: out of memory", part->files[0].shown);
    if (part->tensors.n) memcpy(g->tensors.p + g->tensors.n, part->tensors.p, part->tensors.n * sizeof *g->tensors.p);
    g->tensors.n += part->tensors.n;
    g->files[g->n_files++] = part->files[0];
    part->n_files = 0; // the mapping has a new owner
    return TL_OK;
}

static tl_status join_one(gguf *g, const char *path, int64_t no, int64_t count, tl_error *err) {
    gguf *part;
    split_info info;
    TL_TRY(gguf_open_part(path, &part, err));
    tl_status status = read_split(part, &info, err);
    if (status == TL_OK && (info.no != no || info.count != count))
        status = err_set(err, TL_E_FORMAT, "%s: it says to be file %lld of %lld of a split model, not %lld of %lld; fetch it again",
                         part->files[0].shown, (long long)info.no + 1, (long long)info.count, (long long)no + 1, (long long)count);
    if (status == TL_OK) status = adopt(g, part, err);
    gguf_close(part);
    return status;
}

static tl_status check_first(const gguf *g, const split_info *info, size_t *stem, tl_error *err) {
    int64_t no, count;
    const gguf_source *f = &g->files[0];
    if (f->fd < 0) return err_set(err, TL_E_UNSUPPORTED, "%s: one file of a split model; only from files can it be opened", f->shown);
    if (!shard_name(f->path, stem, &no, &count) || no != info->no + 1 || count != info->count || info->no != 0)
        return err_set(err, TL_E_FORMAT, "%s: it says to be file %lld of %lld of a split model; its name must end in -%05lld-of-%05lld.gguf, "
                       "with the other files beside it", f->shown, (long long)info->no + 1, (long long)info->count,
                       (long long)info->no + 1, (long long)info->count);
    return TL_OK;
}

tl_status gguf_join_shards(gguf *g, tl_error *err) {
    split_info info;
    size_t stem = 0;
    TL_TRY(read_split(g, &info, err));
    if (info.count <= 1) return TL_OK;
    TL_TRY(check_first(g, &info, &stem, err));
    gguf_source *files = mem_realloc(g->files, (size_t)info.count * sizeof *files);
    if (!files) return err_set(err, TL_E_MEMORY, "%s: out of memory", g->files[0].shown);
    g->files = files;
    for (int64_t i = 1; i < info.count; i++) {
        char *path = shard_path(g->files[0].path, stem, i + 1, info.count);
        if (!path) return err_set(err, TL_E_MEMORY, "%s: out of memory", g->files[0].shown);
        tl_status status = join_one(g, path, i, info.count, err);
        mem_free(path);
        TL_TRY(status);
    }
    if (info.tensors >= 0 && (uint64_t)info.tensors != g->tensors.n)
        return err_set(err, TL_E_FORMAT, "%s: split.tensors.count is %lld, but the %lld files hold %zu tensors; fetch them again",
                       g->files[0].shown, (long long)info.tensors, (long long)info.count, g->tensors.n);
    return TL_OK;
}
