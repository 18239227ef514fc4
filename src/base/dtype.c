// dtype.c - the table of element types and lookups in it.
#include "base/dtype.h"

#include <strings.h>

const dtype_info dtype_table[DT_COUNT] = {
#define TL_DTYPE(name, id, values, bytes, quant) {#name, id, values, bytes, quant},
#include "base/dtype.def"
#undef TL_DTYPE
};

tl_dtype dtype_from_gguf(uint32_t id) {
    for (int i = 0; i < DT_COUNT; i++)
        if (dtype_table[i].gguf_id >= 0 && (uint32_t)dtype_table[i].gguf_id == id) return (tl_dtype)i;
    return DT_COUNT;
}

tl_dtype dtype_from_name(str name) {
    static const struct { const char *name; tl_dtype type; } words[] = {
        {"float32", DT_F32}, {"float", DT_F32}, {"float16", DT_F16}, {"half", DT_F16}, {"bfloat16", DT_BF16}, {"float64", DT_F64},
        {"double", DT_F64}, {"int8", DT_I8}, {"int16", DT_I16}, {"int32", DT_I32}, {"int64", DT_I64}, {"int", DT_I64}, {"bool", DT_BOOL},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (str_is(name, words[i].name)) return words[i].type;
    for (int i = 0; i < DT_COUNT; i++)
        if (name.n == strlen(dtype_table[i].name) && strncasecmp(name.p, dtype_table[i].name, name.n) == 0) return (tl_dtype)i;
    return DT_COUNT;
}

bool dtype_bytes(tl_dtype t, int64_t values, size_t *out) {
    const dtype_info *d = &dtype_table[t];
    if (values < 0 || values % d->block_values) return false;
    return size_mul((size_t)(values / d->block_values), d->block_bytes, out);
}
