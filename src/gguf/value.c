// value.c - typed access to metadata values. Values lie unaligned in the file, little endian; every read copies.
#include "gguf/internal.h"

static const struct { const char *name; size_t size; } types[] = {
    [GGUF_U8] = {"u8", 1},   [GGUF_I8] = {"i8", 1},     [GGUF_U16] = {"u16", 2},    [GGUF_I16] = {"i16", 2},
    [GGUF_U32] = {"u32", 4}, [GGUF_I32] = {"i32", 4},   [GGUF_F32] = {"f32", 4},    [GGUF_BOOL] = {"bool", 1},
    [GGUF_STR] = {"string", 0}, [GGUF_ARR] = {"array", 0}, [GGUF_U64] = {"u64", 8}, [GGUF_I64] = {"i64", 8},
    [GGUF_F64] = {"f64", 8},
};

const char *gguf_type_name(uint32_t type) { return type < sizeof types / sizeof *types ? types[type].name : "unknown type"; }
size_t gguf_type_size(uint32_t type) { return type < sizeof types / sizeof *types ? types[type].size : 0; }

// The bytes of scalar or element i and their type; NULL when there is none or it is a string.
static const uint8_t *element(const gguf_value *v, uint64_t i, gguf_type *type) {
    *type = v->type == GGUF_ARR ? v->elem : v->type;
    size_t size = gguf_type_size(*type);
    if (!size || i >= (v->type == GGUF_ARR ? v->count : 1)) return NULL;
    return v->data + (size_t)i * size;
}

#define LOADER(T)                                                                                                      \
    static T load_##T(const uint8_t *p) {                                                                              \
        T v;                                                                                                           \
        memcpy(&v, p, sizeof v);                                                                                       \
        return v;                                                                                                      \
    }
LOADER(uint16_t)
LOADER(int16_t)
LOADER(uint32_t)
LOADER(int32_t)
LOADER(uint64_t)
LOADER(int64_t)
LOADER(float)
LOADER(double)

bool gguf_value_int(const gguf_value *v, uint64_t i, int64_t *out) {
    gguf_type type;
    const uint8_t *p = element(v, i, &type);
    if (!p) return false;
    switch (type) {
    case GGUF_U8: *out = *p; return true;
    case GGUF_I8: *out = (int8_t)*p; return true;
    case GGUF_U16: *out = load_uint16_t(p); return true;
    case GGUF_I16: *out = load_int16_t(p); return true;
    case GGUF_U32: *out = load_uint32_t(p); return true;
    case GGUF_I32: *out = load_int32_t(p); return true;
    case GGUF_I64: *out = load_int64_t(p); return true;
    case GGUF_U64: *out = (int64_t)load_uint64_t(p); return load_uint64_t(p) <= INT64_MAX;
    default: return false;
    }
}

bool gguf_value_float(const gguf_value *v, uint64_t i, double *out) {
    gguf_type type;
    const uint8_t *p = element(v, i, &type);
    if (!p) return false;
    int64_t whole;
    switch (type) {
    case GGUF_F32: *out = (double)load_float(p); return true;
    case GGUF_F64: *out = load_double(p); return true;
    case GGUF_U64: *out = (double)load_uint64_t(p); return true;
    default:
        if (!gguf_value_int(v, i, &whole)) return false;
        *out = (double)whole;
        return true;
    }
}

bool gguf_value_bool(const gguf_value *v, uint64_t i, bool *out) {
    gguf_type type;
    const uint8_t *p = element(v, i, &type);
    if (!p || type != GGUF_BOOL) return false;
    *out = *p != 0;
    return true;
}

// ---- by key ---------------------------------------------------------------------------------------
static tl_status find(const gguf *g, const char *key, const gguf_value **out, tl_error *err) {
    *out = gguf_find(g, str_of(key));
    return *out ? TL_OK : err_set(err, TL_E_FORMAT, "%s: there is no key %s", g->files[0].shown, key);
}

static tl_status mismatch(const gguf *g, const char *key, const gguf_value *v, const char *wanted, tl_error *err) {
    char found[64];
    int64_t n;
    if (v->type == GGUF_ARR) snprintf(found, sizeof found, "an array of %s", gguf_type_name(v->elem));
    else if (gguf_value_int(v, 0, &n)) snprintf(found, sizeof found, "the %s %lld", gguf_type_name(v->type), (long long)n);
    else snprintf(found, sizeof found, "a %s", gguf_type_name(v->type));
    return err_at(err, TL_E_FORMAT, (int64_t)v->offset, "%s: key %s is %s, wanted is %s (byte %llu)", g->files[0].shown, key,
                  found, wanted, (unsigned long long)v->offset);
}

tl_status gguf_get_int(const gguf *g, const char *key, int64_t *out, tl_error *err) {
    const gguf_value *v;
    TL_TRY(find(g, key, &v, err));
    return v->type != GGUF_ARR && gguf_value_int(v, 0, out) ? TL_OK : mismatch(g, key, v, "an integer below 2^63", err);
}

tl_status gguf_get_float(const gguf *g, const char *key, double *out, tl_error *err) {
    const gguf_value *v;
    TL_TRY(find(g, key, &v, err));
    return v->type != GGUF_ARR && gguf_value_float(v, 0, out) ? TL_OK : mismatch(g, key, v, "a number", err);
}

tl_status gguf_get_bool(const gguf *g, const char *key, bool *out, tl_error *err) {
    const gguf_value *v;
    TL_TRY(find(g, key, &v, err));
    return v->type != GGUF_ARR && gguf_value_bool(v, 0, out) ? TL_OK : mismatch(g, key, v, "a bool", err);
}

tl_status gguf_get_str(const gguf *g, const char *key, str *out, tl_error *err) {
    const gguf_value *v;
    TL_TRY(find(g, key, &v, err));
    if (v->type != GGUF_STR) return mismatch(g, key, v, "a string", err);
    *out = v->s;
    return TL_OK;
}

// The lengths were checked when the file was parsed, but the file may change under the mapping: they are checked again.
static tl_status slice_strings(const gguf *g, const gguf_value *v, str *out, tl_error *err) {
    uint64_t at = 0;
    for (uint64_t i = 0; i < v->count; i++) {
        uint64_t n = v->bytes - at < 8 ? UINT64_MAX : load_uint64_t(v->data + at);
        if (n > v->bytes - at - 8)
            return err_at(err, TL_E_IO, (int64_t)(v->offset + at), "%s: the file changed while in use; load it again",
                          g->files[0].shown);
        out[i] = (str){(const char *)v->data + at + 8, (size_t)n};
        at += 8 + n;
    }
    return TL_OK;
}

tl_status gguf_strings_new(const gguf *g, const char *key, str **out, uint64_t *count, tl_error *err) {
    const gguf_value *v;
    *out = NULL;
    TL_TRY(find(g, key, &v, err));
    if (v->type != GGUF_ARR || v->elem != GGUF_STR) return mismatch(g, key, v, "an array of strings", err);
    size_t bytes; // the count was limited when it was read
    str *s = size_mul((size_t)v->count, sizeof *s, &bytes) ? mem_alloc(bytes) : NULL;
    tl_status status = s ? slice_strings(g, v, s, err) : err_set(err, TL_E_MEMORY, "%s: key %s: out of memory", g->files[0].shown, key);
    if (status == TL_OK) *out = s, *count = v->count;
    else mem_free(s);
    return status;
}

tl_status gguf_strings(const gguf *g, const char *key, const str **out, uint64_t *count, tl_error *err) {
    const gguf_value *found;
    TL_TRY(find(g, key, &found, err));
    gguf *own = (gguf *)g; // the slices are a cache: filling it does not change what g says
    gguf_value *v = (gguf_value *)found;
    tl_status status = TL_OK;
    pthread_mutex_lock(&own->lock);
    if (!v->strs) status = gguf_strings_new(g, key, &v->strs, count, err);
    *out = v->strs;
    *count = v->count;
    pthread_mutex_unlock(&own->lock);
    return status;
}
