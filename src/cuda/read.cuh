// read.cuh - reading one element of any array: floats, integers, states in any cache format, tensors in any storage
// format as the file has them. Formats: docs/formats.md.
#ifndef TL_CUDA_READ_CUH
#define TL_CUDA_READ_CUH
#include "cuda/dev.cuh"
#include "cuda/layout.h"
#include "cuda/ops.h"

DEV float half_at(const uint8_t *p) { return f16_float(p[0] | (uint32_t)p[1] << 8); }

DEV float block_32(int type, const uint8_t *b, int i) { // Q4_0 to Q8_0
    int at = i & 15, high = i >> 4;
    switch (type) {
    case CT_Q4_0: return half_at(b) * (float)((b[2 + at] >> 4 * high & 15) - 8);
    case CT_Q4_1: return fmaf(half_at(b), (float)(b[4 + at] >> 4 * high & 15), half_at(b + 2));
    case CT_Q5_0: return half_at(b) * (float)(((b[6 + at] >> 4 * high & 15) | (b[2 + i / 8] >> (i & 7) & 1) << 4) - 16);
    case CT_Q5_1: return fmaf(half_at(b), (float)((b[8 + at] >> 4 * high & 15) | (b[4 + i / 8] >> (i & 7) & 1) << 4), half_at(b + 2));
    default: return half_at(b) * (float)(int8_t)b[2 + i];
    }
}

DEV void scale_min(const uint8_t *s, int sub, int *scale, int *min) { // 6-bit pairs of Q4_K and Q5_K
    if (sub < 4) {
        *scale = s[sub] & 63;
        *min = s[sub + 4] & 63;
    } else {
        *scale = (s[sub + 4] & 15) | s[sub - 4] >> 6 << 4;
        *min = s[sub + 4] >> 4 | s[sub] >> 6 << 4;
    }
}

DEV float block_256(int type, const uint8_t *b, int i) {
    int n = i >> 7, j = i >> 5 & 3, l = i & 31, part = i >> 4, sub = i >> 5, scale, min;
    switch (type) {
    case CT_Q2_K: {
        int sc = b[part];
        return half_at(b + 80) * (float)(sc & 15) * (float)(b[16 + n * 32 + l] >> 2 * j & 3) - half_at(b + 82) * (float)(sc >> 4);
    }
    case CT_Q3_K: {
        int q = (b[32 + n * 32 + l] >> 2 * j & 3) - (b[l] >> (n * 4 + j) & 1 ? 0 : 4);
        const uint8_t *s = b + 96;
        int low = part < 8 ? s[part] & 15 : s[part - 8] >> 4, high = s[8 + (part & 3)] >> 2 * (part >> 2) & 3;
        return half_at(b + 108) * (float)((low | high << 4) - 32) * (float)q;
    }
    case CT_Q4_K:
        scale_min(b + 4, sub, &scale, &min);
        return half_at(b) * (float)scale * (float)(b[16 + (sub >> 1) * 32 + l] >> 4 * (sub & 1) & 15) - half_at(b + 2) * (float)min;
    case CT_Q5_K: {
        int q = (b[48 + (sub >> 1) * 32 + l] >> 4 * (sub & 1) & 15) | (b[16 + l] >> sub & 1) << 4;
        scale_min(b + 4, sub, &scale, &min);
        return half_at(b) * (float)scale * (float)q - half_at(b + 2) * (float)min;
    }
    default: { // Q6_K
        int q = (b[n * 64 + (j & 1) * 32 + l] >> 4 * (j >> 1) & 15) | (b[128 + n * 32 + l] >> 2 * j & 3) << 4;
        return half_at(b + 208) * (float)(int8_t)b[192 + part] * (float)(q - 32);
    }
    }
}

DEV float read_stored(int type, const void *data, int64_t i) {
    const uint8_t *p = (const uint8_t *)data;
    switch (type) {
    case CT_F32: return ((const float *)data)[i];
    case CT_I32: return (float)((const int32_t *)data)[i];
    case CT_F16: return f16_float(((const uint16_t *)data)[i]);
    case CT_BF16: return bf16_float(((const uint16_t *)data)[i]);
    case CT_Q4_0: return block_32(type, p + i / 32 * 18, (int)(i & 31));
    case CT_Q4_1: return block_32(type, p + i / 32 * 20, (int)(i & 31));
    case CT_Q5_0: return block_32(type, p + i / 32 * 22, (int)(i & 31));
    case CT_Q5_1: return block_32(type, p + i / 32 * 24, (int)(i & 31));
    case CT_Q8_0: return block_32(type, p + i / 32 * 34, (int)(i & 31));
    case CT_Q2_K: return block_256(type, p + i / 256 * 84, (int)(i & 255));
    case CT_Q3_K: return block_256(type, p + i / 256 * 110, (int)(i & 255));
    case CT_Q4_K: return block_256(type, p + i / 256 * 144, (int)(i & 255));
    case CT_Q5_K: return block_256(type, p + i / 256 * 176, (int)(i & 255));
    default: return block_256(type, p + i / 256 * 210, (int)(i & 255));
    }
}

DEV float read_at(const ops_reader &r, int64_t pos) {
    switch (r.kind) {
    case OPS_F32: return ((const float *)r.p)[pos];
    case OPS_I32: return (float)((const int32_t *)r.p)[pos];
    case OPS_SCALAR: return r.scalar;
    case OPS_STATE: return read_stored(r.type, (const uint8_t *)r.p + pos / r.width * r.slot_bytes, pos % r.width);
    default: return read_stored(r.type, r.p, pos);
    }
}

DEV int64_t read_index(const ops_reader &r, int64_t pos) { // -1 for what is no index
    if (r.kind == OPS_I32) return ((const int32_t *)r.p)[pos];
    float v = read_at(r, pos);
    return v >= 0 && v < 9e15f ? (int64_t)v : -1;
}

// Output element i of a space as label values, the last one fastest.
DEV void space_at(const ops_space &s, int64_t i, int *at) {
    uint64_t rest = (uint64_t)i;
    for (int l = s.nout - 1; l >= 0; l--) {
        if (rest >> 32) {
            at[l] = (int)(rest % (uint32_t)s.size[l]);
            rest /= (uint32_t)s.size[l];
        } else {
            uint32_t r = (uint32_t)rest, q = r / (uint32_t)s.size[l];
            at[l] = (int)(r - q * (uint32_t)s.size[l]);
            rest = q;
        }
    }
}

DEV int64_t read_pos(const ops_reader &r, const ops_space &s, const int *at) {
    int64_t pos = r.offset;
    for (int l = 0; l < s.nout; l++) pos += at[l] * r.stride[l];
    return pos;
}
#endif
