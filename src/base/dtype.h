// dtype.h - element types of tensors; the rows are in dtype.def.
#ifndef TL_DTYPE_H
#define TL_DTYPE_H
#include "base/base.h"

typedef enum {
#define TL_DTYPE(name, id, values, bytes, quant) DT_##name,
#include "base/dtype.def"
#undef TL_DTYPE
    DT_COUNT
} tl_dtype;

typedef struct dtype_info {
    const char *name; // "Q4_0"
    int gguf_id;      // -1: not storable in GGUF
    uint32_t block_values, block_bytes;
    bool quantized;
} dtype_info;
extern const dtype_info dtype_table[DT_COUNT];

tl_dtype dtype_from_gguf(uint32_t id);     // DT_COUNT if unknown
tl_dtype dtype_from_name(str name);        // "float32", "f32", "F32", "int32", "q8_0", ...; DT_COUNT if unknown
bool dtype_bytes(tl_dtype t, int64_t values, size_t *out); // false: overflow or not whole blocks
#endif
