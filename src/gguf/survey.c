// survey.c - see survey.h. The parser tells its mistakes to a sink and goes on; here is what concerns the file as a whole.
#include "gguf/internal.h"

#include <inttypes.h>

typedef struct survey {
    const gguf *g;
    gguf_sink sink;
} survey;

static void tell(const survey *s, tl_status code, str name, uint64_t offset, const char *fmt, ...) TL_PRINTF(5, 6);
static void tell(const survey *s, tl_status code, str name, uint64_t offset, const char *fmt, ...) {
    char message[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    s->sink.each(s->sink.ctx, &(gguf_problem){.code = code, .name = name, .offset = (int64_t)offset, .message = message});
}

// ---- names -----------------------------------------------------------------------------------------
// The parser told of the first key that is there twice.
static void more_keys_twice(const survey *s) {
    const gguf *g = s->g;
    char shown[GGUF_NAME_SHOWN];
    bool first = true;
    for (size_t i = 1; g->kv_index && i < g->kv.n; i++) {
        if (!str_eq(g->kv_index[i].name, g->kv_index[i - 1].name)) continue;
        const gguf_kv *kv = &g->kv.p[g->kv_index[i].at];
        if (!first)
            tell(s, TL_E_FORMAT, kv->key, kv->v.offset, "key '%s' is there twice (second value at byte %" PRIu64 ")", str_escape(shown, sizeof shown, kv->key), kv->v.offset);
        first = false;
    }
}

static void tensors_twice(const survey *s) {
    const gguf *g = s->g;
    char shown[GGUF_NAME_SHOWN];
    for (size_t i = 1; i < g->tensors.n; i++) {
        if (!str_eq(g->tensor_index[i].name, g->tensor_index[i - 1].name)) continue;
        const gguf_tensor *t = &g->tensors.p[g->tensor_index[i].at];
        tell(s, TL_E_FORMAT, t->name, t->offset, "tensor '%s' is there twice (second: data at byte %" PRIu64 ")", str_escape(shown, sizeof shown, t->name), t->offset);
    }
}

// ---- data ------------------------------------------------------------------------------------------
static int by_offset(const void *a, const void *b) {
    const gguf_tensor *x = *(const gguf_tensor *const *)a, *y = *(const gguf_tensor *const *)b;
    return x->offset != y->offset ? (x->offset > y->offset) - (x->offset < y->offset) : (x > y) - (x < y);
}

static void unused_bytes(const survey *s, uint64_t from, uint64_t to, const char *where) {
    if (to > from && to - from >= s->g->alignment)
        tell(s, TL_OK, (str){NULL, 0}, from, "%" PRIu64 " bytes %s belong to no tensor (byte %" PRIu64 ")", to - from, where, from);
}

static void check_data(const survey *s, const gguf_tensor **sorted, size_t n) {
    char one[GGUF_NAME_SHOWN], two[GGUF_NAME_SHOWN];
    uint64_t end = n ? sorted[0]->offset : 0;
    const gguf_tensor *last = NULL; // the one that reaches `end`
    for (size_t i = 0; i < n; i++) {
        const gguf_tensor *t = sorted[i];
        if (last && t->offset < end)
            tell(s, TL_E_FORMAT, t->name, t->offset, "the data of tensor '%s' (byte %" PRIu64 ") overlaps that of '%s' (%zu bytes at byte %" PRIu64 ")",
                 str_escape(two, sizeof two, t->name), t->offset, str_escape(one, sizeof one, last->name), last->bytes, last->offset);
        else unused_bytes(s, end, t->offset, "between tensors");
        if (t->offset + t->bytes > end) end = t->offset + t->bytes, last = t;
    }
    if (n == s->g->tensors.n && n) unused_bytes(s, end, s->g->files[0].size, "at the end");
}

// How much is missing of a file that was cut.
static void missing_bytes(const survey *s) {
    const gguf *g = s->g;
    uint64_t end = 0, size = g->files[0].size;
    for (size_t i = 0; i < g->tensors.n; i++) {
        const gguf_tensor *t = &g->tensors.p[i];
        if (t->offset + t->bytes > end && t->offset + t->bytes > t->offset) end = t->offset + t->bytes;
    }
    if (end > size) tell(s, TL_OK, (str){NULL, 0}, size, "the file ends at byte %" PRIu64 ", its tensors at byte %" PRIu64 ": %" PRIu64 " bytes are missing", size, end, end - size);
}

static tl_status whole_file(const survey *s, tl_error *err) {
    const gguf *g = s->g;
    const gguf_tensor **sorted = mem_calloc(g->tensors.n + 1, sizeof *sorted);
    if (!sorted) return err_set(err, TL_E_MEMORY, "out of memory");
    size_t n = 0;
    for (size_t i = 0; i < g->tensors.n; i++)
        if (g->tensors.p[i].data) sorted[n++] = &g->tensors.p[i];
    qsort(sorted, n, sizeof *sorted, by_offset);
    more_keys_twice(s);
    tensors_twice(s);
    check_data(s, sorted, n);
    missing_bytes(s);
    mem_free(sorted);
    return TL_OK;
}

// ---- the survey ------------------------------------------------------------------------------------
static tl_status run(gguf *g, survey *s, tl_error *err) {
    tl_error first = {0};
    tl_status status = gguf_parse(g, &s->sink, &first);
    if (status != TL_OK && status != TL_E_MEMORY) { // what follows cannot be found
        size_t path = strlen(g->files[0].shown) + 2;
        tell(s, status, (str){NULL, 0}, (uint64_t)first.offset, "%s; what follows cannot be read", first.message + path);
        more_keys_twice(s);
        return TL_OK;
    }
    tl_error twice = {0}; // told by tensors_twice()
    if (status == TL_OK && gguf_index_tensors(g, &twice) == TL_E_MEMORY) status = TL_E_MEMORY;
    if (status == TL_OK) status = whole_file(s, err);
    return status == TL_OK ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

tl_status gguf_survey(const char *path, void (*each)(void *ctx, const gguf_problem *problem), void *ctx, tl_error *err) {
    gguf *g = gguf_new();
    if (!g) return err_set(err, TL_E_MEMORY, "out of memory");
    survey s = {.g = g, .sink = {each, ctx}};
    tl_status status = source_open(path, &g->files[0], err);
    if (status == TL_OK) g->n_files = 1, status = run(g, &s, err);
    gguf_close(g);
    return status;
}

tl_status gguf_survey_memory(const void *data, size_t size, void (*each)(void *ctx, const gguf_problem *problem), void *ctx, tl_error *err) {
    gguf *g = gguf_new();
    if (!g) return err_set(err, TL_E_MEMORY, "out of memory");
    survey s = {.g = g, .sink = {each, ctx}};
    tl_status status = source_memory(data, size, &g->files[0], err);
    if (status == TL_OK) g->n_files = 1, status = run(g, &s, err);
    gguf_close(g);
    return status;
}
