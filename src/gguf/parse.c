// parse.c - header, metadata and tensor table of one GGUF file. The bytes are untrusted: nothing is used before it was
// checked against what remains of the file, and the cost is linear in the file's head, whatever its counts say.
// Layout: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, which differ only in allowing big-endian files.
#include "gguf/internal.h"

typedef struct reader {
    gguf *g;
    const gguf_source *f;
    size_t at;        // position in the file
    const char *kind; // what is being read, for messages: "header", "key", "tensor"
    uint64_t number;  // of that key or tensor, from 0
    str name;         // its name once that is known
    tl_error *err;
    const gguf_sink *sink; // NULL: the first mistake ends it
    bool broken;      // the tensor being read has had one
} reader;

static void subject(const reader *r, char *buf, size_t cap) {
    char shown[GGUF_NAME_SHOWN];
    if (r->name.n) snprintf(buf, cap, "%s '%s'", r->kind, str_escape(shown, sizeof shown, r->name));
    else if (*r->kind == 'h') snprintf(buf, cap, "%s", r->kind);
    else snprintf(buf, cap, "%s number %llu", r->kind, (unsigned long long)r->number);
}

static tl_status fail(const reader *r, tl_status code, size_t at, const char *fmt, ...) TL_PRINTF(4, 5);
static tl_status fail(const reader *r, tl_status code, size_t at, const char *fmt, ...) {
    char what[GGUF_NAME_SHOWN + 32], detail[GGUF_NAME_SHOWN + 400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    subject(r, what, sizeof what);
    return err_at(r->err, code, (int64_t)at, "%s: %s: %s (byte %zu)", r->f->shown, what, detail, at);
}

// A mistake that leaves it clear where the next thing begins: a survey tells it and goes on.
static tl_status go_on(reader *r, tl_status status) {
    if (status == TL_OK || !r->sink || status == TL_E_MEMORY) return status;
    const char *message = r->err->message + strlen(r->f->shown) + 2; // without the path
    r->sink->each(r->sink->ctx, &(gguf_problem){.code = status, .name = r->name, .offset = r->err->offset, .message = message});
    r->broken = true;
    return TL_OK;
}

static size_t left(const reader *r) { return r->f->size - r->at; }

static tl_status take(reader *r, void *out, size_t n, const char *part) {
    if (n > left(r))
        return fail(r, TL_E_FORMAT, r->at, "the file ends within its %s; it is cut short, fetch it again", part);
    memcpy(out, r->f->base + r->at, n);
    r->at += n;
    return TL_OK;
}

static tl_status take_u32(reader *r, uint32_t *out, const char *part) {
    *out = 0; // the compiler cannot see that a failing take() returns early in the callers
    return take(r, out, 4, part);
}

static tl_status take_u64(reader *r, uint64_t *out, const char *part) {
    *out = 0;
    return take(r, out, 8, part);
}

static tl_status take_str(reader *r, str *out, const char *part) {
    uint64_t n;
    TL_TRY(take_u64(r, &n, part));
    if (n > left(r))
        return fail(r, TL_E_FORMAT, r->at - 8, "its %s has %llu bytes, but only %zu remain in the file", part,
                    (unsigned long long)n, left(r));
    *out = (str){(const char *)r->f->base + r->at, (size_t)n};
    r->at += (size_t)n;
    return TL_OK;
}

// ---- header ----------------------------------------------------------------------------------------
static tl_status read_version(reader *r) {
    uint8_t magic[4];
    uint32_t version;
    TL_TRY(take(r, magic, 4, "first four bytes"));
    if (memcmp(magic, "GGUF", 4) != 0)
        return fail(r, TL_E_FORMAT, 0, "the file begins with %02x %02x %02x %02x instead of \"GGUF\"; it is no GGUF file",
                    magic[0], magic[1], magic[2], magic[3]);
    TL_TRY(take_u32(r, &version, "version"));
    if (version != 2 && version != 3) {
        bool swapped = version == 2u << 24 || version == 3u << 24;
        return fail(r, TL_E_UNSUPPORTED, 4, swapped ? "the file is big-endian (version %#x); convert it to little endian"
                                                    : "version %u is not known; versions 2 and 3 are", version);
    }
    r->g->version = version;
    return TL_OK;
}

// A count of records that take at least `least` bytes each.
static tl_status read_count(reader *r, uint64_t limit, size_t least, const char *part, uint64_t *out) {
    TL_TRY(take_u64(r, out, part));
    uint64_t room = left(r) / least;
    if (*out > room) {
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, r->at - 8, "the %s of %llu is too large for the %zu bytes that follow", part,
                             (unsigned long long)*out, left(r))));
        *out = room;
    }
    if (*out > limit) {
        TL_TRY(go_on(r, fail(r, TL_E_UNSUPPORTED, r->at - 8, "the %s of %llu is above the limit of %llu", part,
                             (unsigned long long)*out, (unsigned long long)limit)));
        *out = limit;
    }
    return TL_OK;
}

// ---- metadata --------------------------------------------------------------------------------------
static tl_status check_bools(reader *r, const gguf_value *v) {
    for (uint64_t i = 0; i < v->bytes; i++)
        if (v->data[i] > 1)
            return go_on(r, fail(r, TL_E_FORMAT, (size_t)(v->offset + i), "a bool is %u instead of 0 or 1", v->data[i]));
    return TL_OK;
}

static tl_status skip_strings(reader *r, uint64_t count) {
    const uint8_t *p = r->f->base;
    size_t at = r->at, size = r->f->size; // locals: this loop passes over the whole vocabulary
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n;
        if (size - at < 8) return fail(r, TL_E_FORMAT, at, "the file ends within string %llu of %llu", (unsigned long long)i,
                                       (unsigned long long)count);
        memcpy(&n, p + at, 8);
        if (n > size - at - 8)
            return fail(r, TL_E_FORMAT, at, "string %llu of %llu has %llu bytes, but only %zu remain in the file",
                        (unsigned long long)i, (unsigned long long)count, (unsigned long long)n, size - at - 8);
        at += 8 + (size_t)n;
    }
    r->at = at;
    return TL_OK;
}

static tl_status read_string_array(reader *r, gguf_value *v) {
    gguf *g = r->g;
    if (v->count > left(r) / 8)
        return fail(r, TL_E_FORMAT, r->at - 8, "an array of %llu strings does not fit the %zu bytes that follow",
                    (unsigned long long)v->count, left(r));
    if (v->count > GGUF_MAX_STRINGS - g->n_strings)
        return fail(r, TL_E_UNSUPPORTED, r->at - 8, "an array of %llu strings; a file may hold %d in all",
                    (unsigned long long)v->count, GGUF_MAX_STRINGS);
    g->n_strings += v->count;
    TL_TRY(skip_strings(r, v->count));
    v->bytes = r->at - v->offset;
    return TL_OK;
}

static tl_status read_array(reader *r, gguf_value *v) {
    uint32_t elem;
    size_t bytes;
    TL_TRY(take_u32(r, &elem, "element type"));
    if (elem > GGUF_F64) return fail(r, TL_E_FORMAT, r->at - 4, "element type %u is not known", elem);
    if (elem == GGUF_ARR) return fail(r, TL_E_UNSUPPORTED, r->at - 4, "it is an array of arrays, which no model uses");
    v->elem = (gguf_type)elem;
    TL_TRY(take_u64(r, &v->count, "element count"));
    v->data = r->f->base + r->at;
    v->offset = r->at;
    if (elem == GGUF_STR) return read_string_array(r, v);
    if (v->count > SIZE_MAX || !size_mul((size_t)v->count, gguf_type_size(elem), &bytes) || bytes > left(r))
        return fail(r, TL_E_FORMAT, r->at - 8, "an array of %llu %s does not fit the %zu bytes that follow",
                    (unsigned long long)v->count, gguf_type_name(elem), left(r));
    v->bytes = bytes;
    r->at += bytes;
    return elem == GGUF_BOOL ? check_bools(r, v) : TL_OK;
}

static tl_status read_value(reader *r, gguf_value *v) {
    uint32_t type;
    TL_TRY(take_u32(r, &type, "value type"));
    if (type > GGUF_F64) return fail(r, TL_E_FORMAT, r->at - 4, "value type %u is not known", type);
    *v = (gguf_value){.type = (gguf_type)type, .elem = (gguf_type)type, .count = 1};
    if (type == GGUF_ARR) return read_array(r, v);
    if (type == GGUF_STR) {
        TL_TRY(take_str(r, &v->s, "string"));
        v->data = (const uint8_t *)v->s.p;
        v->bytes = v->s.n;
        v->offset = r->at - v->s.n;
        return TL_OK;
    }
    uint8_t scalar[8];
    v->data = r->f->base + r->at;
    v->offset = r->at;
    v->bytes = gguf_type_size(type);
    TL_TRY(take(r, scalar, (size_t)v->bytes, "value"));
    return type == GGUF_BOOL ? check_bools(r, v) : TL_OK;
}

static tl_status read_kv(reader *r, gguf_kv *kv) {
    const char *why;
    size_t start = r->at;
    r->name = (str){NULL, 0};
    TL_TRY(take_str(r, &kv->key, "name"));
    r->name = kv->key;
    if (kv->key.n > GGUF_MAX_KEY)
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, start, "the name has %zu bytes; the format allows %d", kv->key.n, GGUF_MAX_KEY)));
    else if (!gguf_name_ok(kv->key, &why))
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, start, "the name %s", why)));
    return read_value(r, &kv->v);
}

static tl_status read_alignment(reader *r) {
    const gguf_value *v = gguf_find(r->g, STR("general.alignment"));
    int64_t n = 32;
    r->g->alignment = 32; // what a survey goes on with
    if (v) {
        r->name = STR("general.alignment");
        if (v->type != GGUF_U32)
            return fail(r, TL_E_FORMAT, (size_t)v->offset, "it has type %s, wanted is u32", gguf_type_name(v->type));
        gguf_value_int(v, 0, &n);
    }
    if (n < 8 || n > GGUF_MAX_ALIGN || (n & (n - 1)))
        return fail(r, TL_E_FORMAT, (size_t)v->offset, "it is %lld; a power of two from 8 to %d is needed", (long long)n, GGUF_MAX_ALIGN);
    r->g->alignment = (uint32_t)n;
    return TL_OK;
}

// ---- tensor table -----------------------------------------------------------------------------------
static tl_status bad_type(const reader *r, uint32_t id) {
    static const struct { uint32_t first, last; const char *what; } gone[] = {
        {4, 5, "a format of 2023 that was given up; quantize the model again"},
        {9, 9, "Q8_1, which is for activations only"},
        {15, 15, "Q8_K, which is for activations only"},
        {31, 33, "Q4_0 rearranged for one processor; fetch the plain Q4_0 file"},
        {36, 38, "IQ4_NL rearranged for one processor; fetch the plain IQ4_NL file"},
    };
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        if (id >= gone[i].first && id <= gone[i].last)
            return fail(r, TL_E_UNSUPPORTED, r->at - 4, "type %u is %s", id, gone[i].what);
    return fail(r, TL_E_UNSUPPORTED, r->at - 4, "type %u is not known", id);
}

static tl_status read_shape(reader *r, gguf_tensor *t, int64_t *values) {
    uint32_t rank;
    TL_TRY(take_u32(r, &rank, "rank"));
    if (rank < 1 || rank > 4) {
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, r->at - 4, "it has %u dimensions; 1 to 4 are possible", rank)));
        if (rank > left(r) / 8) return fail(r, TL_E_FORMAT, r->at, "the file ends within its dimensions");
    }
    *values = 1;
    for (int i = 0; i < 4; i++) t->ne[i] = 1;
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t n;
        TL_TRY(take_u64(r, &n, "dimensions"));
        if (i >= 4) continue; // a survey passes over them
        if (n < 1 || n > INT64_MAX || __builtin_mul_overflow(*values, (int64_t)n, values)) {
            TL_TRY(go_on(r, fail(r, TL_E_FORMAT, r->at - 8, "dimension %u is %llu, which is %s", i, (unsigned long long)n,
                                 n ? "too large" : "not possible")));
            *values = 0;
        }
        t->ne[i] = (int64_t)n;
    }
    t->rank = rank < 4 ? (int)rank : 4;
    return TL_OK;
}

// Type and size in bytes.
static tl_status read_storage(reader *r, gguf_tensor *t, int64_t values) {
    uint32_t id;
    TL_TRY(take_u32(r, &id, "type"));
    t->type = dtype_from_gguf(id);
    if (t->type == DT_COUNT) return go_on(r, bad_type(r, id));
    if (r->broken) return TL_OK; // the shape means nothing
    const dtype_info *info = &dtype_table[t->type];
    if (t->ne[0] % info->block_values)
        return go_on(r, fail(r, TL_E_FORMAT, r->at - 4, "its rows have %lld values, no multiple of the %u of a %s block", (long long)t->ne[0],
                             info->block_values, info->name));
    if (!dtype_bytes(t->type, values, &t->bytes))
        return go_on(r, fail(r, TL_E_FORMAT, r->at - 4, "%lld values of type %s are too many", (long long)values, info->name));
    return TL_OK;
}

// t->offset is relative to the data section here; place() makes it absolute.
static tl_status read_tensor(reader *r, gguf_tensor *t) {
    const char *why;
    size_t start = r->at;
    int64_t values = 0;
    r->name = (str){NULL, 0};
    r->broken = false;
    TL_TRY(take_str(r, &t->name, "name"));
    r->name = t->name;
    if (t->name.n > GGUF_MAX_NAME)
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, start, "the name has %zu bytes; the format allows %d", t->name.n, GGUF_MAX_NAME)));
    else if (!gguf_name_ok(t->name, &why))
        TL_TRY(go_on(r, fail(r, TL_E_FORMAT, start, "the name %s", why)));
    r->broken = false; // of its shape or type
    TL_TRY(read_shape(r, t, &values));
    TL_TRY(read_storage(r, t, values));
    if (r->broken) t->type = DT_COUNT, t->bytes = 0; // a survey only: its data cannot be looked at
    return take_u64(r, &t->offset, "data offset");
}

static tl_status place(reader *r, gguf_tensor *t, size_t data_start) {
    uint64_t at = t->offset, room = data_start > r->f->size ? 0 : r->f->size - data_start;
    r->name = t->name;
    t->offset = data_start + (at < SIZE_MAX - data_start ? at : 0);
    if (at % r->g->alignment)
        return fail(r, TL_E_FORMAT, room ? data_start : r->f->size, "its data offset %llu is no multiple of the alignment %u", (unsigned long long)at,
                    r->g->alignment);
    if (at > room || t->bytes > room - at)
        return fail(r, TL_E_FORMAT, r->f->size, "its %zu bytes at %llu of the data section do not fit: the section has %llu; "
                    "the file is cut short, fetch it again", t->bytes, (unsigned long long)at, (unsigned long long)room);
    if (t->type != DT_COUNT) t->data = r->f->base + t->offset;
    return TL_OK;
}

// Elements are counted only once they are filled: gguf_close() looks at all that are counted.
static tl_status read_tables(reader *r, uint64_t n_kv, uint64_t n_tensors) {
    gguf *g = r->g;
    r->kind = "key";
    for (r->number = 0; r->number < n_kv; r->number++) {
        gguf_kv kv = {0};
        TL_TRY(read_kv(r, &kv));
        g->kv.p[g->kv.n++] = kv;
    }
    TL_TRY(go_on(r, gguf_index_kv(g, r->err)));
    TL_TRY(go_on(r, read_alignment(r)));
    r->kind = "tensor";
    for (r->number = 0; r->number < n_tensors; r->number++) {
        gguf_tensor t = {0};
        TL_TRY(read_tensor(r, &t));
        g->tensors.p[g->tensors.n++] = t;
    }
    return TL_OK;
}

tl_status gguf_parse(gguf *g, const gguf_sink *sink, tl_error *err) {
    reader r = {.g = g, .f = &g->files[0], .kind = "header", .err = err, .sink = sink};
    uint64_t n_tensors, n_kv;
    TL_TRY(read_version(&r));
    TL_TRY(read_count(&r, GGUF_MAX_TENSORS, 8 + 1 + 4 + 8 + 4 + 8, "tensor count", &n_tensors));
    TL_TRY(read_count(&r, GGUF_MAX_KV, 8 + 1 + 4 + 1, "key count", &n_kv));
    if (!vec_reserve(&g->kv, (size_t)n_kv) || !vec_reserve(&g->tensors, (size_t)n_tensors))
        return err_set(err, TL_E_MEMORY, "%s: out of memory for %llu keys and %llu tensors", r.f->shown,
                       (unsigned long long)n_kv, (unsigned long long)n_tensors);
    TL_TRY(read_tables(&r, n_kv, n_tensors));
    size_t data_start = (r.at + g->alignment - 1) / g->alignment * g->alignment;
    for (size_t i = 0; i < g->tensors.n; i++) TL_TRY(go_on(&r, place(&r, &g->tensors.p[i], data_start)));
    return TL_OK;
}
