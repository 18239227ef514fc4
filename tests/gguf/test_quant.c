// test_quant.c - the quantized formats against other implementations (golden.def, made by make_golden.py), and the search
// for values that are not finite.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "gguf/quant.h"

enum { MAX_VALUES = 4096, MAX_BYTES = 4096 };

static uint32_t number(uint32_t *seed) { // as numbers() of make_golden.py
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static uint64_t fnv(const void *data, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
}

// The blocks of make_golden.py: seeded bytes, scales made finite.
static size_t make_blocks(tl_dtype t, int blocks, uint8_t *raw) {
    const dtype_info *info = &dtype_table[t];
    uint32_t seed = (uint32_t)info->gguf_id + 1;
    size_t n = (size_t)blocks * info->block_bytes, scale, min;
    bool half = quant_scale_places(t, &scale, &min);
    assert_true(n <= MAX_BYTES);
    for (size_t i = 0; i < n; i++) raw[i] = (uint8_t)(number(&seed) >> 16);
    for (uint8_t *b = raw; b < raw + n; b += info->block_bytes) {
        if (half) b[scale + 1] &= 0xbf;
        if (half && min != scale) b[min + 1] &= 0xbf;
        if (t == DT_IQ1_M) b[55] &= 0xbf;
        if (t == DT_MXFP4) b[0] &= 0x7f;
    }
    return n;
}

typedef struct golden_decoded {
    tl_dtype type;
    int blocks;
    uint64_t hash;
    uint32_t first[4];
} golden_decoded;

typedef struct golden_encoded {
    tl_dtype type;
    int exact;
    uint64_t hash;
    double error;
} golden_encoded;

#define ENCODED(type, exact, hash, error)
#define DECODED(type, blocks, hash, a, b, c, d) {DT_##type, blocks, hash, {a, b, c, d}},
static const golden_decoded decoded[] = {
#include "golden.def"
};
#undef DECODED
#undef ENCODED
#define DECODED(type, blocks, hash, a, b, c, d)
#define ENCODED(type, exact, hash, error) {DT_##type, exact, hash, error},
static const golden_encoded encoded[] = {
#include "golden.def"
};

static void decoders_agree_bit_for_bit(void **state) {
    uint8_t raw[MAX_BYTES + 1];
    float values[MAX_VALUES];
    int quantized = 0;
    (void)state;
    for (int t = 0; t < DT_COUNT; t++) quantized += dtype_table[t].quantized;
    assert_int_equal(quantized, sizeof decoded / sizeof *decoded); // a new format needs a row
    for (size_t i = 0; i < sizeof decoded / sizeof *decoded; i++) {
        const golden_decoded *g = &decoded[i];
        size_t n = (size_t)g->blocks * dtype_table[g->type].block_values;
        make_blocks(g->type, g->blocks, raw + 1); // an odd address: the file promises no alignment
        quant_decode(g->type, raw + 1, values, (int64_t)n);
        if (memcmp(values, g->first, sizeof g->first) != 0 || fnv(values, n * 4) != g->hash)
            fail_msg("%s: %g %g %g %g", dtype_table[g->type].name, (double)values[0], (double)values[1], (double)values[2], (double)values[3]);
    }
}

static void make_values(float *x, int n) { // as make_golden.py: bell-shaped, standard deviation about 0.009
    uint32_t seed = 7;
    for (int i = 0; i < n; i++) {
        int64_t sum = -2 * (int64_t)0xffffff;
        for (int k = 0; k < 4; k++) sum += number(&seed);
        x[i] = (float)sum * 0x1p-30f;
    }
}

static double squared_error(const float *x, const float *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sum;
}

static void encoders_are_as_good(void **state) {
    float x[1024], y[1024];
    uint8_t raw[MAX_BYTES];
    int encodable = 0;
    (void)state;
    make_values(x, 1024);
    for (int t = 0; t < DT_COUNT; t++) encodable += dtype_table[t].quantized && quant_can_encode((tl_dtype)t);
    assert_int_equal(encodable, sizeof encoded / sizeof *encoded);
    for (size_t i = 0; i < sizeof encoded / sizeof *encoded; i++) {
        const golden_encoded *g = &encoded[i];
        size_t bytes;
        assert_true(dtype_bytes(g->type, 1024, &bytes) && bytes <= sizeof raw);
        quant_encode(g->type, x, raw, 1024);
        quant_decode(g->type, raw, y, 1024);
        double error = squared_error(x, y, 1024);
        if (error > g->error * 1.000001 || (g->exact && fnv(raw, bytes) != g->hash))
            fail_msg("%s: squared error %.9g, theirs %.9g; %s", dtype_table[g->type].name, error, g->error,
                     fnv(raw, bytes) == g->hash ? "same bytes" : "other bytes");
    }
}

static void hard_blocks_are_encoded(void **state) {
    float x[256], y[256];
    uint8_t raw[1024];
    (void)state;
    for (int t = 0; t < DT_COUNT; t++) {
        if (!dtype_table[t].quantized || !quant_can_encode((tl_dtype)t)) continue;
        for (int kind = 0; kind < 5; kind++) { // zeros, one value, far too large, denormal, alternating extremes
            for (int i = 0; i < 256; i++) {
                const float values[] = {0, 0.5f, 3e38f, 1e-42f, i % 2 ? 60000.0f : -60000.0f};
                x[i] = values[kind];
            }
            memset(raw, 0xee, sizeof raw);
            quant_encode((tl_dtype)t, x, raw, 256);
            quant_decode((tl_dtype)t, raw, y, 256);
            for (int i = 0; i < 256; i++) {
                if (!isfinite(y[i])) fail_msg("%s: kind %d gives %g", dtype_table[t].name, kind, (double)y[i]);
                if (kind == 0 && y[i] != 0) fail_msg("%s: zero gives %g", dtype_table[t].name, (double)y[i]);
                if (kind == 1 && fabsf(y[i] - 0.5f) > 0.05f) fail_msg("%s: 0.5 gives %g", dtype_table[t].name, (double)y[i]);
            }
        }
    }
}

static void bad_values_give_bad_blocks(void **state) {
    float x[512], y[512];
    uint8_t raw[2048];
    quant_bad bad;
    (void)state;
    for (int t = 0; t < DT_COUNT; t++) {
        if (!dtype_table[t].quantized || !quant_can_encode((tl_dtype)t)) continue;
        int per = (int)dtype_table[t].block_values;
        make_values(x, 512);
        x[256 + 3] = t % 2 ? NAN : INFINITY;
        quant_encode((tl_dtype)t, x, raw, 512);
        quant_decode((tl_dtype)t, raw, y, 512);
        for (int i = 0; i < 512; i++) {
            bool inside = i >= 256 && i < 256 + per;
            if (t == DT_NVFP4) assert_true(!inside || y[i] == 0);
            else assert_int_equal(isnan(y[i]) != 0, inside);
        }
        assert_int_equal(quant_find_nonfinite((tl_dtype)t, raw, 0, 2, 256, &bad), t != DT_NVFP4);
        if (t == DT_NVFP4) continue;
        assert_true(bad.row == 1 && bad.block == 0 && bad.count == per && bad.in_scale);
        assert_int_equal(bad.byte_offset, 256 / per * (int)dtype_table[t].block_bytes);
    }
}

// For arbitrary bytes: a block is reported exactly when one of its values is not finite.
static void search_agrees_with_decoder(void **state) {
    enum { BLOCKS = 1000 };
    static uint8_t raw[BLOCKS * 256];
    float values[256];
    uint32_t seed = 99;
    (void)state;
    for (size_t i = 0; i < sizeof raw; i++) raw[i] = (uint8_t)(number(&seed) >> 16);
    for (int t = 0; t < DT_COUNT; t++) {
        const dtype_info *info = &dtype_table[t];
        int64_t count = 0, first = -1;
        quant_bad bad;
        if (!info->quantized) continue;
        for (int b = 0; b < BLOCKS; b++) {
            bool finite = true;
            quant_decode((tl_dtype)t, raw + (size_t)b * info->block_bytes, values, info->block_values);
            for (uint32_t i = 0; i < info->block_values; i++) finite = finite && isfinite(values[i]);
            if (finite) continue;
            count += info->block_values;
            if (first < 0) first = b;
        }
        assert_int_equal(quant_find_nonfinite((tl_dtype)t, raw, 0, BLOCKS / 4, 4 * info->block_values, &bad), count > 0);
        if (bad.count != count) fail_msg("%s: %lld bad values found, there are %lld", info->name, (long long)bad.count, (long long)count);
        assert_true(count == 0 || (bad.row == first / 4 && bad.block == first % 4));
    }
}

// Rows of plain floats, each kind of bad value planted anywhere, also near the ends of the range searched.
static void bad_floats_are_found(void **state) {
    static const tl_dtype types[] = {DT_F32, DT_F16, DT_BF16, DT_F64};
    enum { ROWS = 9, COLS = 515 };
    static float x[ROWS * COLS];
    static uint8_t raw[ROWS * COLS * 8];
    (void)state;
    for (size_t k = 0; k < 4; k++) {
        size_t size = dtype_table[types[k]].block_bytes;
        for (int at = 0; at < ROWS * COLS; at += 101) {
            quant_bad bad;
            for (int i = 0; i < ROWS * COLS; i++) x[i] = i % 3 ? 65504 : -1e-30f; // F16's largest value is finite
            x[at] = at % 2 ? -INFINITY : NAN;
            quant_encode(types[k], x, raw, ROWS * COLS);
            assert_true(quant_find_nonfinite(types[k], raw, 0, ROWS, COLS, &bad));
            assert_true(bad.count == 1 && bad.row == at / COLS && bad.block == at % COLS && !bad.in_scale);
            assert_int_equal(bad.byte_offset, (size_t)at * size);
            int64_t row = at / COLS;
            assert_true(quant_find_nonfinite(types[k], raw, row, row + 1, COLS, &bad) && bad.row == row);
            assert_false(quant_find_nonfinite(types[k], raw, 0, row, COLS, &bad));
            assert_false(quant_find_nonfinite(types[k], raw, row + 1, ROWS, COLS, &bad));
        }
    }
    quant_bad bad;
    assert_false(quant_find_nonfinite(DT_I8, raw, 0, 1, 8, &bad)); // integers are finite
}

// The stand-ins of formats without kernels: `most` is the greatest difference, relative to the largest value of each 32.
static void stand_ins_are_close(void **state) {
#define ROUNDED (1 / 254.0f + 0x1p-11f) // half a step, and the scale's own rounding
    static const struct { tl_dtype type; float most; } rows[] = {
        {DT_IQ4_NL, 0}, {DT_TQ1_0, 0}, {DT_TQ2_0, 0}, {DT_Q1_0, 0}, {DT_MXFP4, 0}, {DT_IQ4_XS, 0x1p-11f}, {DT_IQ3_S, 0x1p-11f},
        {DT_IQ3_XXS, 0x1p-11f}, {DT_IQ2_XXS, 0x1p-11f}, {DT_IQ1_S, 0x1p-11f}, {DT_IQ2_XS, ROUNDED}, {DT_IQ2_S, ROUNDED},
        {DT_IQ1_M, ROUNDED},
    };
    enum { N = 1024 };
    static uint8_t raw[MAX_BYTES], q8[N / 32 * 34];
    static float x[N], y[N];
    int others = 0;
    (void)state;
    for (int t = 0; t < DT_COUNT; t++) others += quant_stand_in((tl_dtype)t, N) != (tl_dtype)t;
    assert_int_equal(others, sizeof rows / sizeof *rows + 1); // and NVFP4
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const dtype_info *info = &dtype_table[rows[r].type];
        size_t scale, min;
        make_blocks(rows[r].type, N / (int)info->block_values, raw);
        for (int b = 0; b < N / (int)info->block_values; b++) { // scales of the size that weights have
            uint8_t *block = raw + (size_t)b * info->block_bytes;
            uint16_t h = (uint16_t)(0x2000 + 37 * b); // 1/128 and more
            if (quant_scale_places(rows[r].type, &scale, &min)) memcpy(block + scale, &h, 2);
            if (rows[r].type == DT_MXFP4) block[0] = (uint8_t)(118 + b % 8);
        }
        assert_int_equal(quant_stand_in(rows[r].type, N), DT_Q8_0);
        quant_decode(rows[r].type, raw, x, N);
        quant_convert(rows[r].type, raw, DT_Q8_0, q8, N);
        quant_decode(DT_Q8_0, q8, y, N);
        for (int i = 0; i < N; i += 32) {
            float peak = 0, apart = 0;
            for (int j = i; j < i + 32; j++) peak = fmaxf(peak, fabsf(x[j])), apart = fmaxf(apart, fabsf(x[j] - y[j]));
            if (apart > rows[r].most * peak) fail_msg("%s: values %d: apart %g of %g", info->name, i, (double)apart, (double)peak);
        }
        if (rows[r].most == ROUNDED) { // the codes suit both scales: less than half of the plain format's squared error
            double plain = 0, ours = 0;
            static float z[N];
            quant_encode(DT_Q8_0, x, q8, N);
            quant_decode(DT_Q8_0, q8, z, N);
            for (int i = 0; i < N; i++) ours += pow(x[i] - y[i], 2), plain += pow(x[i] - z[i], 2);
            if (ours > plain / 2) fail_msg("%s: squared error %g, as Q8_0 %g", info->name, ours, plain);
        }
    }
    assert_int_equal(quant_stand_in(DT_Q4_K, N), DT_Q4_K);
    make_values(x, N); // other pairs go by way of float32, in parts that are no multiple of the chunk
    quant_convert(DT_F32, x, DT_Q5_0, q8, N - 32);
    quant_encode(DT_Q5_0, x, raw, N - 32);
    assert_memory_equal(q8, raw, (N - 32) / 32 * 22);
}

// NVFP4 with a scale for each 16 values becomes Q6_K, which has them too: the same values where scales are within a factor of 8,
// whatever their size; under smaller ones within a small part of the largest. F16 (other rows) holds all values.
static void nvfp4_keeps_its_scales(void **state) {
    enum { N = 256, SPANS = 12 };
    uint8_t raw[N / 64 * 36], q6[210], f16[2 * N];
    float x[N], y[N];
    (void)state;
    assert_int_equal(quant_stand_in(DT_NVFP4, 2048), DT_Q6_K);
    assert_int_equal(quant_stand_in(DT_NVFP4, 576), DT_F16);
    for (int span = 0; span < SPANS; span++)
        for (int top = 0; top < 0x7f; top++) { // the largest scale's code; the others reach `span` octaves further down
            make_blocks(DT_NVFP4, N / 64, raw);
            for (int i = 0; i < 16; i++) {
                int code = top - (i ? (i * 37 + top) % (8 * span + 1) : 0);
                raw[i / 4 * 36 + i % 4] = (uint8_t)(code < 0 ? 0 : code);
            }
            raw[4] = 0x77; // 12 times the largest scale's half
            quant_decode(DT_NVFP4, raw, x, N);
            quant_convert(DT_NVFP4, raw, DT_Q6_K, q6, N);
            quant_decode(DT_Q6_K, q6, y, N);
            float most = span <= 3 ? 0 : x[0] / 12 / 24;
            for (int i = 0; i < N; i++)
                if (fabsf(x[i] - y[i]) > most) fail_msg("scale %d, %d octaves, value %d: %g, not %g", top, span, i, (double)y[i], (double)x[i]);
            quant_convert(DT_NVFP4, raw, DT_F16, f16, N);
            quant_decode(DT_F16, f16, y, N);
            for (int i = 0; i < N; i++) assert_true(x[i] == y[i]);
        }
}

static void plain_types_are_decoded(void **state) {
    float y[3];
    (void)state;
    quant_decode(DT_I8, (int8_t[]){-128, 0, 127}, y, 3);
    assert_true(y[0] == -128 && y[1] == 0 && y[2] == 127);
    quant_decode(DT_I16, (int16_t[]){-32768, 0, 32767}, y, 3);
    assert_true(y[0] == -32768 && y[2] == 32767);
    quant_decode(DT_I32, (int32_t[]){INT32_MIN, 0, 1}, y, 3);
    assert_true(y[0] == -0x1p31f && y[2] == 1);
    quant_decode(DT_I64, (int64_t[]){INT64_MIN, 0, 1}, y, 3);
    assert_true(y[0] == -0x1p63f && y[2] == 1);
    quant_decode(DT_F64, (double[]){0.1, 1e300, -1}, y, 3);
    assert_true(y[0] == 0.1f && isinf(y[1]) && y[2] == -1);
    quant_decode(DT_BOOL, (uint8_t[]){0, 1, 1}, y, 3);
    assert_true(y[0] == 0 && y[1] == 1);
    quant_decode(DT_F32, (float[]){1, 2, 3}, y, 0);
    assert_true(y[0] == 0);
    quant_decode(DT_F16, (uint16_t[]){0x3c00, 0x0001, 0xfbff}, y, 3);
    assert_true(y[0] == 1 && y[1] == 0x1p-24f && y[2] == -65504);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoders_agree_bit_for_bit),
        cmocka_unit_test(encoders_are_as_good),
        cmocka_unit_test(hard_blocks_are_encoded),
        cmocka_unit_test(bad_values_give_bad_blocks),
        cmocka_unit_test(search_agrees_with_decoder),
        cmocka_unit_test(bad_floats_are_found),
        cmocka_unit_test(stand_ins_are_close), cmocka_unit_test(nvfp4_keeps_its_scales),
        cmocka_unit_test(plain_types_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
