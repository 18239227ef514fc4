// linear(): `ref` against products in double, every other instruction set of this machine against `ref`, bit by bit, and
// the promise that rows, ranges and neighbours do not matter.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "cases.h"
#include "gguf/quant.h"

void cpu_linear_emulated(cpu_kernels *k, bool tiles); // emulated.c
static cpu_kernels emulated[2];
static const cpu_kernels *isas[9]; // the first is ref
static int isa_count;

static int find_isas(void **state) {
    (void)state;
    static const char *const names[] = {"ref", "avx2", "avxvnni", "avx512", "avx512bf16", "amx", "neon", "dotprod", "i8mm"};
    tl_error err;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (cpu_select(names[i], &isas[isa_count], &err) == TL_OK) isa_count++;
    for (int i = 0; i < 2; i++) {
        cpu_linear_emulated(&emulated[i], i);
        isas[isa_count++] = &emulated[i];
    }
    return isa_count > 2 ? 0 : -1;
}

// Activations for `rows` rows in the kind the matrix reads, ending at a guard page.
typedef struct inputs {
    guarded floats, acts;
    size_t stride;
    int64_t rows, k;
} inputs;

static act_kind kind_of(const cpu_kernels *ks, const cpu_matrix *m) {
    act_kind kind = ks->matrix_act(m->type);
    return m->wide && kind == ACT_Q8 ? ACT_Q16 : kind;
}

static inputs make_inputs(const cpu_kernels *ks, const cpu_matrix *m, int64_t rows, uint64_t seed) {
    act_kind kind = kind_of(ks, m);
    inputs in = {.stride = ks->act_bytes(kind, m->k), .rows = rows, .k = m->k};
    in.floats = guarded_new((size_t)(rows * m->k) * 4);
    in.acts = guarded_new(in.stride * (size_t)rows);
    for (int64_t i = 0; i < rows * m->k; i++) ((float *)in.floats.p)[i] = case_normal(&seed);
    for (int64_t r = 0; r < rows; r++)
        ks->act_quantize(kind, (const float *)in.floats.p + r * m->k, (char *)in.acts.p + (size_t)r * in.stride, m->k);
    return in;
}

static void free_inputs(inputs *in) {
    guarded_free(&in->floats);
    guarded_free(&in->acts);
}

// What activation i of a row is after its conversion.
static double act_value(act_kind kind, const void *row, int64_t i) {
    if (kind == ACT_F32) return ((const float *)row)[i];
    if (kind == ACT_Q8) return (double)((const act_q8 *)row)[i / 32].d * ((const act_q8 *)row)[i / 32].q[i % 32];
    const act_q16 *b = (const act_q16 *)row + i / 32;
    return (double)b->d * (ACT_BASE * b->hi[i % 32] + b->lo[i % 32]);
}

static void ref_is_the_product(void **state) {
    (void)state;
    const cpu_kernels *ks = isas[0];
    for (int t = 0; t < CASE_TYPES; t++)
        for (int wide = 0; wide < 2; wide++) {
            enum { N = 5, ROWS = 3 };
            int64_t k = dtype_table[case_types[t]].block_values == 1 ? 301 : 768;
            guarded bytes;
            cpu_matrix m = case_matrix(case_types[t], N, k, (uint64_t)t + 40, &bytes);
            m.wide = wide;
            inputs in = make_inputs(ks, &m, ROWS, 77);
            float y[ROWS * N], *row = mem_alloc((size_t)k * 4);
            ks->linear(&m, in.acts.p, ROWS, y, N, 0, N);
            for (int n = 0; n < N; n++) {
                ks->matrix_row(&m, n, row);
                for (int r = 0; r < ROWS; r++) {
                    double want = 0, size = 0;
                    for (int64_t i = 0; i < k; i++) {
                        double v = row[i] * act_value(kind_of(ks, &m), (const char *)in.acts.p + (size_t)r * in.stride, i);
                        want += v;
                        size += fabs(v);
                    }
                    assert_true(fabs(y[r * N + n] - want) <= 2e-6 * size);
                }
            }
            mem_free(row);
            free_inputs(&in);
            guarded_free(&bytes);
        }
}

typedef struct shape {
    int64_t n, k, rows;
} shape;

// The results that this table's kind of activations stands for.
static void define(const cpu_kernels *ks, const cpu_matrix *file, const void *acts, int64_t rows, float *y) {
    bool bf16 = kind_of(ks, file) == ACT_BF16, tiles = !strcmp(ks->isa, "amx");
    (!bf16 ? linear_ref : tiles ? linear_bf16_tiles_ref : linear_bf16_ref)(file, acts, rows, y, file->n, 0, file->n);
}

static guarded make_tiles(const cpu_kernels *ks, act_kind kind, const float *x, int64_t rows, int64_t k) {
    int64_t room = (rows + CPU_TILE - 1) / CPU_TILE * CPU_TILE;
    guarded tiles = guarded_new(ks->act_bytes(kind, k) * (size_t)room);
    memset(tiles.p, 0xff, ks->act_bytes(kind, k) * (size_t)room);
    for (int64_t r = 0; r < room; r++) ks->act_tile(kind, r < rows ? x + r * k : NULL, tiles.p, k, r);
    return tiles;
}

// The same from rows in tiles: all together, and from some row on in ranges of n, where the results beside stay as they were.
static void check_tiled(const cpu_kernels *ks, const cpu_matrix *m, const inputs *in, const float *want, float *got) {
    guarded tiles = make_tiles(ks, kind_of(ks, m), in->floats.p, in->rows, m->k);
    size_t bytes = (size_t)(in->rows * m->n) * 4;
    memset(got, 0xff, bytes);
    ks->linear_tiled(m, tiles.p, in->rows, got, m->n, 0, m->n);
    if (memcmp(want, got, bytes)) fail_msg("%s %s rows %d n %d k %d wide %d: tiled", ks->isa, dtype_table[m->type].name, (int)in->rows, (int)m->n, (int)m->k, m->wide);
    memset(got, 0xff, bytes);
    for (int64_t n0 = 0; n0 < m->n; n0 += 48)
        for (int64_t r = 0; r < in->rows; r += 2 * CPU_TILE)
            ks->linear_tiled(m, (char *)tiles.p + (size_t)r * in->stride, in->rows - r < 2 * CPU_TILE ? in->rows - r : 2 * CPU_TILE, got + r * m->n, m->n, n0, n0 + 48 < m->n ? n0 + 48 : m->n);
    if (memcmp(want, got, bytes)) fail_msg("%s %s rows %d n %d k %d wide %d: tiled, in pieces", ks->isa, dtype_table[m->type].name, (int)in->rows, (int)m->n, (int)m->k, m->wide);
    guarded_free(&tiles);
}

// Every row alone, all rows together, and ranges of n, against ref on the file's layout.
static void check_case(const cpu_kernels *ks, tl_dtype type, bool wide, shape s) {
    guarded bytes, prepared;
    cpu_matrix file = case_matrix(type, s.n, s.k, (uint64_t)(s.n * 31 + s.k), &bytes);
    file.wide = wide;
    cpu_matrix m = case_prepared(ks, &file, 32, &prepared);
    inputs in = make_inputs(ks, &file, s.rows, 3);
    size_t out_bytes = (size_t)(s.rows * s.n) * 4;
    guarded want = guarded_new(out_bytes), got = guarded_new(out_bytes);
    define(ks, &file, in.acts.p, s.rows, want.p);
    ks->linear(&m, in.acts.p, s.rows, got.p, s.n, 0, s.n);
    if (memcmp(want.p, got.p, out_bytes)) fail_msg("%s %s rows %d n %d k %d wide %d: together", ks->isa, dtype_table[type].name, (int)s.rows, (int)s.n, (int)s.k, wide);
    memset(got.p, 0xff, out_bytes);
    for (int64_t n0 = 0; n0 < s.n; n0 += 16)
        for (int64_t r = 0; r < s.rows; r++)
            ks->linear(&m, (char *)in.acts.p + (size_t)r * in.stride, 1, (float *)got.p + r * s.n, s.n, n0, n0 + 16 < s.n ? n0 + 16 : s.n);
    if (memcmp(want.p, got.p, out_bytes)) fail_msg("%s %s rows %d n %d k %d wide %d: alone", ks->isa, dtype_table[type].name, (int)s.rows, (int)s.n, (int)s.k, wide);
    if (ks->tiled && ks->tiled(&m)) check_tiled(ks, &m, &in, want.p, got.p);
    guarded_free(&want);
    guarded_free(&got);
    free_inputs(&in);
    guarded_free(&prepared);
    guarded_free(&bytes);
}

static void isas_equal_ref(void **state) {
    (void)state;
    static const shape shapes[] = {{1, 256, 1}, {16, 256, 2}, {17, 512, 3}, {80, 768, 4}, {35, 256, 5}, {64, 1280, 7}, {33, 512, 9}, {80, 256, 12}, {48, 256, 13}, {48, 768, 33}, {16, 512, 70}, {7, 256, 135},
                                   {100, 256, 16}, {33, 512, 145}, {290, 256, 33}, {20, 256, 265}};
    for (int i = 0; i < isa_count; i++)
        for (int t = 0; t < CASE_TYPES; t++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                for (int wide = 0; wide <= (dtype_table[case_types[t]].quantized ? 1 : 0); wide++) check_case(isas[i], case_types[t], wide, shapes[s]);
}

// Plain types: panels of k and what is left of one, rows beside a tile's, at every row count.
static void every_row_count(void **state) {
    (void)state;
    for (int i = 0; i < isa_count; i++)
        for (int t = 0; t < 3; t++)
            for (int64_t rows = 1; rows <= 70; rows++) check_case(isas[i], case_types[t], false, (shape){rows % 5 ? 37 : 64, rows % 7 ? 95 : 1062, rows});
}

static void odd_widths(void **state) { // plain types take any k, blocks of 32 any multiple of it
    (void)state;
    for (int i = 0; i < isa_count; i++)
        for (int t = 0; t < CASE_TYPES; t++) {
            int values = (int)dtype_table[case_types[t]].block_values;
            for (int64_t k = 1; k <= 11; k += 5)
                for (int64_t rows = 1; rows <= 41; rows += 10) check_case(isas[i], case_types[t], false, (shape){21, k * values, rows});
        }
}

// The largest codes everywhere: no sum of products may overflow.
static void extreme_codes(void **state) {
    (void)state;
    for (int i = 0; i < isa_count; i++)
        for (int t = 3; t < CASE_TYPES; t++)
            for (int pattern = 0; pattern < 4; pattern++) {
                enum { N = 16, K = 512, ROWS = 18 };
                guarded bytes, prepared;
                cpu_matrix file = case_matrix(case_types[t], N, K, 1, &bytes);
                size_t block = dtype_table[file.type].block_bytes, scale, min;
                quant_scale_places(file.type, &scale, &min);
                for (size_t b = 0; b < file.row_bytes * N; b++) // all ones, all zeros, or only the lowest code of Q8_0
                    if (b % block / 2 != scale / 2 && b % block / 2 != min / 2) ((uint8_t *)bytes.p)[b] = pattern % 2 ? 0xff : 0x80;
                cpu_matrix m = case_prepared(isas[i], &file, 16, &prepared);
                float x[K], want[ROWS * N], got[ROWS * N];
                for (int k = 0; k < K; k++) x[k] = pattern / 2 ? 1.0f : -1.0f;
                size_t stride = act_bytes(ACT_Q8, K);
                guarded acts = guarded_new(stride * ROWS);
                for (int r = 0; r < ROWS; r++) isas[i]->act_quantize(ACT_Q8, x, (char *)acts.p + stride * (size_t)r, K);
                isas[0]->linear(&file, acts.p, ROWS, want, N, 0, N);
                isas[i]->linear(&m, acts.p, ROWS, got, N, 0, N);
                assert_memory_equal(want, got, sizeof want);
                guarded_free(&acts);
                guarded_free(&prepared);
                guarded_free(&bytes);
            }
}

static void activations_equal_ref(void **state) {
    (void)state;
    static const int64_t widths[] = {1, 31, 32, 100, 576};
    for (int i = 0; i < isa_count; i++)
        for (int kind = 0; kind < ACT_KINDS; kind++)
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                for (int odd = 0; odd < 4; odd++) {
                    int64_t k = widths[w];
                    size_t size = act_bytes((act_kind)kind, k);
                    guarded x = guarded_new((size_t)k * 4), got = guarded_new(size), want = guarded_new(size);
                    uint64_t seed = (uint64_t)k;
                    for (int64_t j = 0; j < k; j++) ((float *)x.p)[j] = case_normal(&seed);
                    if (odd) ((float *)x.p)[k / 2] = odd == 1 ? NAN : odd == 2 ? -INFINITY : 1e-33f;
                    if (odd == 3) for (int64_t j = 0; j < k; j++) ((float *)x.p)[j] *= 1e-32f;
                    isas[0]->act_quantize((act_kind)kind, x.p, want.p, k);
                    isas[i]->act_quantize((act_kind)kind, x.p, got.p, k);
                    assert_memory_equal(want.p, got.p, size);
                    guarded_free(&x);
                    guarded_free(&got);
                    guarded_free(&want);
                }
}

// Products of bfloat16 at the ends of the range: subnormal numbers and sums, infinite ones, pairs that cancel.
static void extreme_bfloats(void **state) {
    (void)state;
    for (int i = 0; i < isa_count; i++)
        for (int exponent = -140; exponent <= 60; exponent += 10) {
            enum { N = 19, K = 77, ROWS = 21 };
            guarded bytes;
            cpu_matrix m = case_matrix(DT_BF16, N, K, 5, &bytes);
            if (isas[i]->matrix_act(DT_BF16) != ACT_BF16) {
                guarded_free(&bytes);
                continue;
            }
            uint64_t seed = (uint64_t)(exponent + 200);
            uint16_t *w = bytes.p;
            for (int j = 0; j < N * K; j++) w[j] = j % 2 && j % 3 ? w[j - 1] ^ 0x8000 : f32_to_bf16(ldexpf(bf16_to_f32(w[j]), exponent));
            inputs in = make_inputs(isas[i], &m, ROWS, seed);
            for (int64_t r = 0; r < ROWS; r++) {
                uint16_t *x = (uint16_t *)(void *)((char *)in.acts.p + (size_t)r * in.stride);
                for (int j = 0; j < K; j++) x[j] = r % 4 ? f32_to_bf16(ldexpf(bf16_to_f32(x[j]), exponent % 3 ? exponent + (int)r : -exponent)) : 0x3f80;
            }
            float want[ROWS * N], got[ROWS * N];
            define(isas[i], &m, in.acts.p, ROWS, want);
            isas[i]->linear(&m, in.acts.p, ROWS, got, N, 0, N);
            for (int j = 0; j < ROWS * N; j++) assert_true((isnan(want[j]) && isnan(got[j])) || !memcmp(&want[j], &got[j], 4));
            free_inputs(&in);
            guarded_free(&bytes);
        }
}

// A NaN or an infinity in an activation row reaches all its outputs, and no other row's.
static void nonfinite_rows_stay_alone(void **state) {
    (void)state;
    for (int i = 0; i < isa_count; i++)
        for (int t = 0; t < CASE_TYPES; t++) {
            enum { N = 16, K = 256, ROWS = 3 };
            guarded bytes, prepared;
            cpu_matrix file = case_matrix(case_types[t], N, K, 9, &bytes), m = case_prepared(isas[i], &file, 16, &prepared);
            act_kind kind = isas[i]->matrix_act(file.type);
            size_t stride = act_bytes(kind, K);
            guarded acts = guarded_new(stride * ROWS);
            float x[K], y[ROWS * N];
            for (int r = 0; r < ROWS; r++) {
                for (int k = 0; k < K; k++) x[k] = 0.5f;
                if (r == 1) x[100] = i % 2 ? NAN : INFINITY;
                isas[i]->act_quantize(kind, x, (char *)acts.p + stride * (size_t)r, K);
            }
            isas[i]->linear(&m, acts.p, ROWS, y, N, 0, N);
            for (int n = 0; n < N; n++) {
                assert_true(isfinite(y[n]) && isfinite(y[2 * N + n]));
                assert_false(isfinite(y[N + n]));
            }
            guarded_free(&acts);
            guarded_free(&prepared);
            guarded_free(&bytes);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_product),    cmocka_unit_test(isas_equal_ref), cmocka_unit_test(every_row_count), cmocka_unit_test(odd_widths), cmocka_unit_test(extreme_codes),
        cmocka_unit_test(activations_equal_ref), cmocka_unit_test(extreme_bfloats), cmocka_unit_test(nonfinite_rows_stay_alone),
    };
    return cmocka_run_group_tests(tests, find_isas, NULL);
}
