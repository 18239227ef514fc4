// linear_layout.c - the prepared layout LINEAR_I16: sizes, interleaving at load, and reading one row back.
// Interleaving only moves bytes (and the single bits of Q5_0 and Q5_1), so it runs near memory speed and is undone
// exactly. See linear.h for the layout.
#include "cpu/linear.h"

static const linear_format formats[DT_COUNT] = {
    // values, bytes, parts, and the block's fields: {offset in the file, offset merged, units, bytes per unit}
    [DT_Q4_0] = {32, 18, 1, {{2, 0, 4, 4}, {0, Q4_0_D, 1, 2}}},
    [DT_Q4_1] = {32, 20, 1, {{4, 0, 4, 4}, {0, Q4_1_D, 1, 2}, {2, Q4_1_M, 1, 2}}},
    [DT_Q5_0] = {32, 22, 1, {{6, 0, 4, 4}, {2, Q5_0_H, 1, LINEAR_BITS}, {0, Q5_0_D, 1, 2}}},
    [DT_Q5_1] = {32, 24, 1, {{8, 0, 4, 4}, {4, Q5_1_H, 1, LINEAR_BITS}, {0, Q5_1_D, 1, 2}, {2, Q5_1_M, 1, 2}}},
    [DT_Q8_0] = {32, 34, 1, {{2, 0, 8, 4}, {0, Q8_0_D, 1, 2}}},
    [DT_Q2_K] = {256, 84, 2, {{16, 0, 16, 4}, {0, Q2_K_SC, 4, 4}, {80, Q2_K_D, 1, 2}, {82, Q2_K_M, 1, 2}}},
    [DT_Q3_K] = {256, 110, 2, {{32, 0, 16, 4}, {0, Q3_K_H, 8, 4}, {96, Q3_K_SC, 3, 4}, {108, Q3_K_D, 1, 2}}},
    [DT_Q4_K] = {256, 144, 1, {{16, 0, 32, 4}, {4, Q4_K_SC, 3, 4}, {0, Q4_K_D, 1, 2}, {2, Q4_K_M, 1, 2}}},
    [DT_Q5_K] = {256, 176, 1, {{48, 0, 32, 4}, {16, Q5_K_H, 8, 4}, {4, Q5_K_SC, 3, 4}, {0, Q5_K_D, 1, 2}, {2, Q5_K_M, 1, 2}}},
    [DT_Q6_K] = {256, 210, 2, {{0, 0, 32, 4}, {128, Q6_K_H, 16, 4}, {192, Q6_K_SC, 4, 4}, {208, Q6_K_D, 1, 2}}},
};

const linear_format *linear_format_of(tl_dtype type) {
    return (unsigned)type < DT_COUNT && formats[type].values ? &formats[type] : NULL;
}

bool linear_is_matrix(tl_dtype type) {
    return linear_format_of(type) || type == DT_F32 || type == DT_F16 || type == DT_BF16;
}

// Units of a row of a plain type: float32 and float16 singly, bfloat16 in pairs of k (as its dot instruction wants).
static int64_t plain_units(tl_dtype type, int64_t k) { return type == DT_BF16 ? (k + 1) / 2 : k; }
static size_t plain_unit_bytes(tl_dtype type) { return type == DT_F16 ? 2 : 4; }

size_t linear_group_bytes(tl_dtype type, int64_t k) {
    const linear_format *f = linear_format_of(type);
    if (f) return (size_t)(k / f->values) * (size_t)f->bytes * LINEAR_ROWS;
    return (size_t)plain_units(type, k) * plain_unit_bytes(type) * LINEAR_ROWS;
}

size_t linear_bytes(tl_dtype type, int layout, int64_t n, int64_t k) {
    size_t row, all;
    if (!linear_is_matrix(type) || n < 0 || k < 0 || !dtype_bytes(type, k, &row)) return 0;
    if (layout != LINEAR_FILE) {
        n = (n + LINEAR_ROWS - 1) / LINEAR_ROWS;
        row = linear_group_bytes(type, k);
    }
    return size_mul((size_t)n, row, &all) ? all : 0;
}

int linear_layout_file(tl_dtype type, int64_t n, int64_t k) {
    (void)type, (void)n, (void)k;
    return LINEAR_FILE;
}

int linear_layout_i16(tl_dtype type, int64_t n, int64_t k) {
    (void)n, (void)k;
    return linear_is_matrix(type) ? LINEAR_I16 : LINEAR_FILE;
}

// ---- single bits -------------------------------------------------------------------------------
static uint32_t delta_swap(uint32_t x, uint32_t mask, int shift) {
    uint32_t t = (x ^ (x >> shift)) & mask;
    return x ^ t ^ t << shift;
}

// Bit 4 * j + b (j < 8, b < 4) to bit 8 * b + j. The five bits of a position rotate, by four swaps of two of them.
static uint32_t bits_to_planes(uint32_t x) { // position j2 j1 j0 b1 b0
    x = delta_swap(x, 0x0000cccc, 14);       // b1 j1 j0 j2 b0
    x = delta_swap(x, 0x00aa00aa, 7);        // b1 b0 j0 j2 j1
    x = delta_swap(x, 0x0c0c0c0c, 2);        // b1 b0 j2 j0 j1
    return delta_swap(x, 0x22222222, 1);     // b1 b0 j2 j1 j0
}

static uint32_t planes_to_bits(uint32_t x) {
    x = delta_swap(x, 0x22222222, 1);
    x = delta_swap(x, 0x0c0c0c0c, 2);
    x = delta_swap(x, 0x00aa00aa, 7);
    return delta_swap(x, 0x0000cccc, 14);
}

// ---- file rows to groups -------------------------------------------------------------------------
static void put_dwords(const uint8_t *src, uint8_t *dst, int units, bool bits) { // dst: lane's first dword
    for (int u = 0; u < units; u++) {
        uint32_t v;
        memcpy(&v, src + 4 * u, 4);
        if (bits) v = bits_to_planes(v);
        memcpy(dst + (size_t)u * 4 * LINEAR_ROWS, &v, 4);
    }
}

static void put_halves(const uint8_t *src, uint8_t *dst, int units) {
    for (int u = 0; u < units; u++) memcpy(dst + (size_t)u * 2 * LINEAR_ROWS, src + 2 * u, 2);
}

static void put_block(const linear_format *f, const uint8_t *src, uint8_t *dst, int lane) {
    for (const linear_field *d = f->field; d->units; d++) {
        if (d->unit == 2) put_halves(src + d->src, dst + d->dst + 2 * lane, d->units);
        else put_dwords(src + d->src, dst + d->dst + 4 * lane, d->units, d->unit == LINEAR_BITS);
    }
}

// Units [u0, u1) of a row. The last pair of an odd k of BF16 keeps its upper half zero, as memset left it.
static void put_plain(tl_dtype type, const uint8_t *src, uint8_t *dst, int lane, int64_t k, int64_t u0, int64_t u1) {
    size_t unit = plain_unit_bytes(type), row = (size_t)k * dtype_table[type].block_bytes;
    src += (size_t)u0 * unit, dst += (size_t)u0 * unit * LINEAR_ROWS + unit * (size_t)lane;
    if (unit == 2)
        for (int64_t u = u0; u < u1; u++, src += 2, dst += 2 * LINEAR_ROWS) memcpy(dst, src, 2);
    else
        for (int64_t u = u0; u < u1; u++, src += 4, dst += 4 * LINEAR_ROWS) memcpy(dst, src, row - (size_t)u * 4 < 4 ? 2 : 4);
}

static void prefetch_bytes(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch(p + i);
}

// Rows [n, n + count) of the file, count <= 16, to the group at `to`; a stretch of k at a time, so that it stays in cache.
// `ahead`: the rows that follow are wanted next. They are fetched meanwhile, in the order of their addresses: sixteen rows
// read side by side are more streams than the hardware follows.
static void prepare_group(const cpu_matrix *src, uint8_t *to, int64_t n, int count, bool ahead) {
    enum { STRETCH = 64 };
    const linear_format *f = linear_format_of(src->type);
    const uint8_t *row = (const uint8_t *)src->data + (size_t)n * src->row_bytes;
    if (f) {
        const uint8_t *next = row + LINEAR_ROWS * src->row_bytes;
        size_t group_block = (size_t)f->bytes * LINEAR_ROWS;
        for (int64_t b = 0; b < src->k / f->values; b++, row += f->bytes, to += group_block, next += group_block) {
            if (ahead) prefetch_bytes(next, group_block);
            for (int lane = 0; lane < count; lane++) put_block(f, row + (size_t)lane * src->row_bytes, to, lane);
        }
        return;
    }
    int64_t units = plain_units(src->type, src->k);
    for (int64_t u = 0; u < units; u += STRETCH)
        for (int lane = 0; lane < count; lane++)
            put_plain(src->type, row + (size_t)lane * src->row_bytes, to, lane, src->k, u, u + STRETCH < units ? u + STRETCH : units);
}

void linear_prepare(const cpu_matrix *src, int layout, void *dst, int64_t n0, int64_t n1) {
    TL_CHECK(src->layout == LINEAR_FILE && n0 % LINEAR_ROWS == 0);
    if (layout == LINEAR_FILE) {
        size_t from = (size_t)n0 * src->row_bytes, bytes = n1 > n0 ? (size_t)(n1 - n0) * src->row_bytes : 0;
        if (bytes) memcpy((uint8_t *)dst + from, (const uint8_t *)src->data + from, bytes);
        return;
    }
    size_t group = linear_group_bytes(src->type, src->k);
    for (int64_t n = n0; n < n1; n += LINEAR_ROWS) {
        uint8_t *to = (uint8_t *)dst + (size_t)(n / LINEAR_ROWS) * group;
        int count = n1 - n < LINEAR_ROWS ? (int)(n1 - n) : LINEAR_ROWS;
        if (count < LINEAR_ROWS || src->k % 2) memset(to, 0, group); // lanes or half a pair stay unwritten
        prepare_group(src, to, n, count, n + 2 * LINEAR_ROWS <= n1);
    }
}

// ---- one row back --------------------------------------------------------------------------------
static void get_block(const linear_format *f, const uint8_t *src, uint8_t *dst, int lane) {
    for (const linear_field *d = f->field; d->units; d++)
        for (int u = 0; u < d->units; u++) {
            size_t unit = d->unit == 2 ? 2 : 4;
            uint32_t v = 0;
            memcpy(&v, src + d->dst + unit * (size_t)(u * LINEAR_ROWS + lane), unit);
            if (d->unit == LINEAR_BITS) v = planes_to_bits(v);
            memcpy(dst + d->src + unit * (size_t)u, &v, unit);
        }
}

const uint8_t *linear_block(const cpu_matrix *w, int64_t row, int64_t block, uint8_t *buffer) {
    const linear_format *f = linear_format_of(w->type);
    if (w->layout == LINEAR_FILE) return (const uint8_t *)w->data + (size_t)row * w->row_bytes + (size_t)block * (size_t)f->bytes;
    get_block(f, linear_group(w, row) + (size_t)block * (size_t)f->bytes * LINEAR_ROWS, buffer, (int)(row % LINEAR_ROWS));
    return buffer;
}

static float plain_value(tl_dtype type, const uint8_t *p) {
    uint16_t h;
    float v;
    if (type == DT_F32) return memcpy(&v, p, 4), v;
    memcpy(&h, p, 2);
    return type == DT_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

void linear_plain(const cpu_matrix *w, int64_t row, int64_t k0, int64_t count, float *dst) {
    size_t value = dtype_table[w->type].block_bytes, unit = plain_unit_bytes(w->type);
    bool file = w->layout == LINEAR_FILE;
    const uint8_t *p = file ? (const uint8_t *)w->data + (size_t)row * w->row_bytes
                            : linear_group(w, row) + unit * (size_t)(row % LINEAR_ROWS);
    for (int64_t i = 0; i < count; i++) {
        size_t at = (size_t)(k0 + i) * value;
        dst[i] = plain_value(w->type, file ? p + at : p + at / unit * unit * LINEAR_ROWS + at % unit);
    }
}

void linear_row(const cpu_matrix *w, int64_t row, float *dst) {
    const linear_format *f = linear_format_of(w->type);
    if (!f) {
        linear_plain(w, row, 0, w->k, dst);
        return;
    }
    uint8_t buffer[LINEAR_BLOCK_MAX];
    linear_sub sub;
    for (int64_t b = 0; b < w->k / f->values; b++) {
        const uint8_t *block = linear_block(w, row, b, buffer);
        for (int s = 0; s < f->values / 32; s++) {
            linear_sub_decode(w->type, block, s, &sub);
            for (int i = 0; i < 32; i++) *dst++ = sub.scale[i / 16] * (float)sub.q[i] - sub.min[i / 16];
        }
    }
}
