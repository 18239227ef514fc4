// test_maps.c - the elementwise operations of every instruction set, over the range of float32, against map.def.
#include <math.h>

#include "cpu/vec_ops.h"
#include "util.h"

static cpu_kernels table[MAX_TABLES];
static int n_tables;
#define EACH_TABLE(k) for (const cpu_kernels *k = table; k < table + n_tables; k++)

// map.def's expressions in double: what the operations mean.
#define fabsf fabs
#define expf exp
#define logf log
#define sqrtf sqrt
#define sinf sin
#define cosf cos
#define tanhf tanh
#define erff erf
#define log1pf log1p
#define floorf floor
#define ceilf ceil
#define roundf round
#define powf pow
static double exact1(int op, double a) {
    switch (op) {
#define MAP1(name, expr) case MAP_##name: return expr;
#define MAP2(name, expr)
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    }
    return NAN;
}
static double exact2(int op, double a, double b) {
    switch (op) {
#define MAP1(name, expr)
#define MAP2(name, expr) case MAP_##name: return expr;
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    }
    return NAN;
}
#undef fabsf
#undef expf
#undef logf
#undef sqrtf
#undef sinf
#undef cosf
#undef tanhf
#undef erff
#undef log1pf
#undef floorf
#undef ceilf
#undef roundf
#undef powf

// How many units in the last place a kernel may be off, where the result is at least `from`: 1 / (1 + e^-a) in float32 is 0
// for a below -88.7.
static const struct { int op; const char *name; double ulp, from; } smooth[] = {
    {MAP_EXP, "exp", 1.5, 0},   {MAP_LOG, "log", 2, 0},   {MAP_SIN, "sin", 2, 0}, {MAP_COS, "cos", 2, 0},         {MAP_TANH, "tanh", 3, 0},
    {MAP_SIGMOID, "sigmoid", 4, 2e-38}, {MAP_ERF, "erf", 2, 0}, {MAP_SQRT, "sqrt", 0.5, 0}, {MAP_SOFTPLUS, "softplus", 5, 0},
};
enum { BATCH = 1 << 12 };

static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

// Every 2^13-th float32 or so, of both signs: all exponents, subnormals, infinities and NaN among them.
static void smooth_functions(void **unused) {
    (void)unused;
    float x[BATCH], y[BATCH];
    EACH_TABLE(k) for (size_t s = 0; s < sizeof smooth / sizeof *smooth; s++) {
        double worst = 0;
        float where = 0;
        bool slow = k == table; // `ref`: the same bits as the others, says test_same.c
        for (uint64_t u = random_bits() & 0x1fff; u < 1ull << 32;) {
            for (int i = 0; i < BATCH; i++, u += slow ? 0x40001 : 0x2003) x[i] = float_of((uint32_t)u);
            k->map1(smooth[s].op, x, y, BATCH);
            for (int i = 0; i < BATCH; i++) {
                double want = exact1(smooth[s].op, x[i]), off = ulps(y[i], want);
                if (off > worst && (!(fabs(want) < smooth[s].from) || fabs(y[i]) > smooth[s].from)) worst = off, where = x[i];
            }
        }
        if (worst > smooth[s].ulp) fail_msg("%s %s(%a) is %g ulp off", k->isa, smooth[s].name, (double)where, worst);
    }
}

// Gated units of x: x times a factor within [0, 1] (and what 1 + tanh loses), so errors are counted in ulps of x.
static void gated_units(void **unused) {
    (void)unused;
    static const struct { int op; const char *name; } gates[] = {
        {MAP_SILU, "silu"}, {MAP_GELU, "gelu"}, {MAP_GELU_ERF, "gelu_erf"}, {MAP_GELU_QUICK, "gelu_quick"}};
    float x[BATCH], y[BATCH];
    EACH_TABLE(k) for (size_t s = 0; s < sizeof gates / sizeof *gates; s++) for (int round = 0; round < 20; round++) {
        for (int i = 0; i < BATCH; i++) x[i] = ldexpf(random_normal(), (int)random_below(30) - 20);
        x[0] = INFINITY, x[1] = NAN, x[2] = 0, x[3] = 1e20f, x[4] = -30, x[5] = 1e-42f;
        k->map1(gates[s].op, x, y, BATCH);
        for (int i = 0; i < BATCH; i++) check_close(y[i], exact1(gates[s].op, x[i]), 4e-7, 3e-7 * fabs(x[i]) + 1e-44, k->isa, gates[s].name, i);
    }
}

static const int exact_ops1[] = {MAP_NEG, MAP_ABS, MAP_SQRT, MAP_RELU, MAP_STEP, MAP_NOT, MAP_FLOOR, MAP_CEIL, MAP_ROUND, MAP_SQUARE, MAP_SIGN};
static const int exact_ops2[] = {MAP_ADD, MAP_SUB, MAP_MUL, MAP_DIV, MAP_MIN, MAP_MAX, MAP_MOD, MAP_EQ,
                                 MAP_NE,  MAP_LT,  MAP_LE,  MAP_GT,  MAP_GE,  MAP_AND, MAP_OR,  MAP_POW};

static void same_bits(const float *got, const float *want, int n, const char *isa, int op) {
    for (int i = 0; i < n; i++)
        if (!(isnan(got[i]) && isnan(want[i])) && memcmp(&got[i], &want[i], 4) != 0)
            fail_msg("%s op %d at %d: %a, not %a", isa, op, i, (double)got[i], (double)want[i]);
}

static float any_float(void) {
    switch (random_below(4)) {
    case 0: return float_of(random_bits());
    case 1: return (float)((double)random_below(41) - 20) * 0.5f; // halves, zeros, equal pairs
    case 2: return 8388607.5f * random_normal();
    default: return random_normal();
    }
}

static void rounded_operations(void **unused) { // equal to `ref` to the bit, and `ref` to the correctly rounded value
    (void)unused;
    float a[BATCH], b[BATCH], want[BATCH], got[BATCH];
    EACH_TABLE(k) for (int round = 0; round < 4; round++) {
        for (int i = 0; i < BATCH; i++) a[i] = any_float(), b[i] = any_float();
        for (size_t s = 0; s < sizeof exact_ops1 / sizeof *exact_ops1; s++) {
            for (int i = 0; i < BATCH; i++) want[i] = (float)exact1(exact_ops1[s], a[i]);
            k->map1(exact_ops1[s], a, got, BATCH);
            same_bits(got, want, BATCH, k->isa, exact_ops1[s]);
        }
        for (size_t s = 0; s < sizeof exact_ops2 / sizeof *exact_ops2; s++) {
            int op = exact_ops2[s];
            table[0].map2(op, a, b, want, BATCH);
            k->map2(op, a, b, got, BATCH);
            same_bits(got, want, BATCH, k->isa, op);
            if (op != MAP_MOD && op != MAP_POW) { // those round more than once
                for (int i = 0; i < BATCH; i++) want[i] = (float)exact2(op, a[i], b[i]);
                same_bits(got, want, BATCH, k->isa, op);
            }
            for (int i = 0; i < 40; i++) {
                float one[40];
                for (int j = 0; j < 40; j++) one[j] = b[i];
                table[0].map2(op, a, one, want, 40);
                k->map2s(op, a, b[i], got, 40);
                same_bits(got, want, 40, k->isa, op);
            }
        }
    }
}

static void gated_products(void **unused) { // of `ref`'s map1 and map2, wherever they stand; results may overwrite arguments
    (void)unused;
    static const int gates[] = {MAP_SILU, MAP_GELU};
    float a[BATCH], b[BATCH], want[BATCH];
    EACH_TABLE(k) for (int i = 0; i < 2; i++) for (int n = 1; n < 80; n++) {
        for (int j = 0; j < n; j++) a[j] = any_float(), b[j] = any_float();
        table[0].map1(gates[i], a, want, n);
        table[0].map2(MAP_MUL, want, b, want, n);
        float *x = guard_floats(a, n), *y = guard_floats(b, n), *z = guard_floats(NULL, n);
        k->gate(gates[i], x, y, z, n);
        same_bits(z, want, n, k->isa, gates[i]);
        k->gate(gates[i], x, y, i ? x : y, n);
        same_bits(i ? x : y, want, n, k->isa, gates[i]);
        guard_floats_free(x, n), guard_floats_free(y, n), guard_floats_free(z, n);
    }
}

// An element's value is the same wherever it stands, nothing past the end is touched, and results may overwrite arguments.
static void place_does_not_matter(void **unused) {
    (void)unused;
    enum { N = 70 };
    float a[N], b[N], whole[N];
    for (int i = 0; i < N; i++) a[i] = 3 * random_normal(), b[i] = random_normal();
    a[9] = 3e9f, a[11] = INFINITY, a[20] = NAN;
    EACH_TABLE(k) for (int op = 0; op <= MAP_OR; op++) {
        bool one = op < MAP_ADD;
        if (one) k->map1(op, a, whole, N);
        else k->map2(op, a, b, whole, N);
        for (int from = 0; from < 20; from += 3) for (int n = from % 2; n <= 36; n += 2) {
            float *x = guard_floats(a + from, n), *y = guard_floats(b + from, n), *z = guard_floats(NULL, n);
            if (one) k->map1(op, x, z, n), k->map1(op, x, x, n);
            else k->map2(op, x, y, z, n), k->map2(op, x, y, y, n), memcpy(x, y, (size_t)n * sizeof *x);
            same_bits(z, whole + from, n, k->isa, op);
            same_bits(x, whole + from, n, k->isa, op);
            guard_floats_free(x, n), guard_floats_free(y, n), guard_floats_free(z, n);
        }
    }
}

int main(void) {
    n_tables = tables(table);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smooth_functions),
        cmocka_unit_test(gated_units),
        cmocka_unit_test(rounded_operations),
        cmocka_unit_test(gated_products),
        cmocka_unit_test(place_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
