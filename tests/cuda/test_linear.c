// test_linear.c - products: each type, shape of block, odd size and number of rows. Quantized types must have the very bits that
// mma.cuh defines, computed here in plain C; all types must be near the CPU's kernels and the same in every shape of block.
#include <math.h>

#include "cpu/linear.h"
#include "cuda/fused/args.h"
#include "cuda/linear_shapes.h"
#include "gguf/quant.h"
#include "harness.h"

enum {
#define SHAPE(name, ...) SHAPE_##name,
    LINEAR_SHAPES(SHAPE)
#undef SHAPE
    SHAPES
};
static const char *const shape_name[] = {
#define SHAPE(name, ...) #name,
    LINEAR_SHAPES(SHAPE)
#undef SHAPE
};
static const tl_dtype types[] = {DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0, DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K, DT_F16, DT_BF16, DT_F32};
enum { TYPES = sizeof types / sizeof *types };

typedef struct problem {
    tl_dtype type;
    int n, k, rows;
    bool wide;
    size_t row_bytes;
    float *x;            // [rows, k]
    unsigned char *file; // [n] rows
    float *want;         // [rows, n] by the definition (quantized) or in double
    float *norm;         // [rows, n]: sum of |w x|, what errors are relative to
    bool exact;
} problem;

// ---- the definition ------------------------------------------------------------------------------------
typedef struct block {
    int v[32], hi[32], lo[32];
    float d, ds, ds1;
} block;

static void quantize_block(const float *x, int n, bool wide, block *b) {
    memset(b, 0, sizeof *b);
    float max = 0, top = wide ? 254.0f * 127.0f : 127.0f;
    for (int i = 0; i < n; i++) max = fmaxf(max, fabsf(x[i]));
    if (max < 1e-30f) return;
    uint32_t u;
    float d = max / top;
    memcpy(&u, &d, 4);
    u = (u + 0xff) & ~0xffu;
    memcpy(&b->d, &u, 4);
    float inverse = 1.0f / b->d;
    int s[2] = {0, 0};
    for (int i = 0; i < n; i++) {
        b->v[i] = (int)rintf(x[i] * inverse);
        s[i / 16] += b->v[i];
        b->hi[i] = (int)rintf((float)b->v[i] * (1.0f / 254.0f));
        b->lo[i] = b->v[i] - 254 * b->hi[i];
    }
    b->ds = b->d * (float)(s[0] + s[1]);
    b->ds1 = b->d * (float)s[1];
}

static int dot(const int8_t *q, const int *v, int n) {
    int s = 0;
    for (int i = 0; i < n; i++) s += q[i] * v[i];
    return s;
}

static float define_output(const problem *p, const block *x, int n, float *norm) {
    const linear_format *f = linear_format_of(p->type);
    int subs = f->values / 32;
    float y = 0, sum = 0;
    double size = 0;
    for (int b = 0; b < p->k / 32; b++) {
        if (b % 8 == 0 && b) y += sum, sum = 0;
        linear_sub w;
        linear_sub_decode(p->type, p->file + (size_t)n * p->row_bytes + (size_t)(b / subs) * (size_t)f->bytes, b % subs, &w);
        for (int part = 0; part < f->parts; part++) {
            int count = 32 / f->parts, at = part * count;
            const block *a = &x[b];
            float t = p->wide ? fmaf(254, (float)dot(w.q + at, a->hi + at, count), (float)dot(w.q + at, a->lo + at, count))
                              : (float)dot(w.q + at, a->v + at, count);
            float ds = f->parts == 1 ? a->ds : part ? a->ds1 : a->ds - a->ds1;
            float u = a->d * t;
            sum = fmaf(w.scale[part], u, sum);
            if (linear_has_min(p->type)) sum = fmaf(-w.min[part], ds, sum);
            for (int i = 0; i < count; i++) size += fabs((double)(w.scale[part] * (float)w.q[at + i] - w.min[part]) * a->d * a->v[at + i]);
        }
    }
    *norm = (float)size;
    return y + sum;
}

static void define(problem *p) {
    int blocks = (p->k + 31) / 32;
    block *x = host_new((size_t)blocks * sizeof *x);
    float *w = host_new((size_t)p->k * 4);
    p->exact = dtype_table[p->type].quantized;
    for (int r = 0; r < p->rows; r++) {
        const float *row = p->x + (size_t)r * (size_t)p->k;
        for (int b = 0; p->exact && b < blocks; b++) quantize_block(row + b * 32, p->k - b * 32 < 32 ? p->k - b * 32 : 32, p->wide, &x[b]);
        for (int n = 0; n < p->n; n++) {
            size_t at = (size_t)r * (size_t)p->n + (size_t)n;
            if (p->exact) {
                p->want[at] = define_output(p, x, n, &p->norm[at]);
                continue;
            }
            double s = 0, size = 0;
            quant_decode(p->type, p->file + (size_t)n * p->row_bytes, w, p->k);
            for (int i = 0; i < p->k; i++) s += (double)w[i] * row[i], size += fabs((double)w[i] * row[i]);
            p->want[at] = (float)s;
            p->norm[at] = (float)size;
        }
    }
    free(x);
    free(w);
}

// The CPU's own kernel is near the definition (it rounds d differently).
static void check_cpu(const problem *p) {
    const cpu_kernels *cpu;
    MUST(cpu_select("ref", &cpu, &err));
    cpu_matrix m = {.type = p->type, .n = p->n, .k = p->k, .data = p->file, .row_bytes = p->row_bytes, .wide = p->wide};
    act_kind kind = p->wide ? ACT_Q16 : cpu->matrix_act(p->type);
    size_t stride = cpu->act_bytes(kind, p->k);
    char *x = host_new(stride * (size_t)p->rows);
    float *y = host_new((size_t)p->rows * (size_t)p->n * 4);
    for (int r = 0; r < p->rows; r++) cpu->act_quantize(kind, p->x + (size_t)r * (size_t)p->k, x + (size_t)r * stride, p->k);
    cpu->linear(&m, x, p->rows, y, p->n, 0, p->n);
    for (int i = 0; i < p->rows * p->n; i++)
        if (!(fabsf(y[i] - p->want[i]) <= 4e-4f * p->norm[i] + 1e-6f)) {
            complain("%s n %d k %d: the CPU gives %g, the definition %g", dtype_table[p->type].name, p->n, p->k, (double)y[i], (double)p->want[i]);
            break;
        }
    free(x);
    free(y);
}

static void problem_new(problem *p, tl_dtype type, int n, int k, int rows, bool wide, uint64_t seed) {
    *p = (problem){.type = type, .n = n, .k = k, .rows = rows, .wide = wide};
    TL_CHECK(dtype_bytes(type, k, &p->row_bytes));
    p->x = host_new((size_t)rows * (size_t)k * 4);
    p->file = host_new((size_t)n * p->row_bytes);
    p->want = host_new((size_t)rows * (size_t)n * 4);
    p->norm = host_new((size_t)rows * (size_t)n * 4);
    float *w = host_new((size_t)k * 4);
    for (int i = 0; i < rows * k; i++) p->x[i] = random_normal(&seed) * (1.0f + 4.0f * (float)(i % 7 == 0));
    for (int i = 0; i < k && rows > 2; i++) p->x[2 * k + i] = i < 32 ? 0 : p->x[i] * 1e4f;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < k; j++) w[j] = random_normal(&seed) * 0.05f + (i % 3 == 0 ? 0.02f : 0);
        quant_encode(type, w, p->file + (size_t)i * p->row_bytes, k);
    }
    free(w);
}

static void problem_free(problem *p) {
    free(p->x), free(p->file), free(p->want), free(p->norm);
}

// ---- on the device --------------------------------------------------------------------------------------
static cuda_matrix upload(const problem *p) {
    cuda_matrix m = {.type = (int)p->type, .n = p->n, .k = p->k, .data = gpu_new((size_t)layout_matrix_bytes((int)p->type, p->n, p->k))};
    void *file = gpu_put(p->file, (size_t)p->n * p->row_bytes);
    int half = p->n > 32 ? 32 : p->n; // in two parts
    cuda_repack_args a = {.m = m, .src = file, .row_bytes = (int64_t)p->row_bytes, .n0 = 0, .rows = half};
    MUST(cuda_repack(gpu, &a, &err));
    a.src = (char *)file + (size_t)half * p->row_bytes, a.n0 = half, a.rows = p->n - half;
    MUST(cuda_repack(gpu, &a, &err));
    MUST(cuda_sync(gpu, &err));
    gpu_free(file);
    return m;
}

static void *activations(const problem *p, void *x, int rows) {
    if (p->type == DT_F32) return x;
    int kind = layout_act_kind((int)p->type, p->wide);
    void *q = gpu_new((size_t)layout_act_bytes(kind, rows, p->k));
    cuda_quantize_args a = {.x = x, .ldx = p->k, .rows = rows, .k = p->k, .kind = kind, .q = q};
    MUST(cuda_quantize(gpu, &a, &err));
    return q;
}

static void compare(const problem *p, const float *y, int ldy, int rows, const char *what) {
    float tolerance = p->type == DT_BF16 ? 3e-5f : 3e-6f;
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < p->n; n++) {
            float got = y[r * ldy + n], want = p->want[r * p->n + n];
            bool same = memcmp(&got, &want, 4) == 0;
            if (p->exact ? same : fabsf(got - want) <= tolerance * p->norm[r * p->n + n] + 1e-7f) continue;
            complain("%s%s n %d k %d rows %d %s: row %d output %d is %.9g, not %.9g", dtype_table[p->type].name, p->wide ? " wide" : "", p->n, p->k, rows, what, r, n,
                     (double)got, (double)want);
            return;
        }
    for (int r = 0; r < rows; r++)
        for (int n = p->n; n < ldy; n++)
            if (memcmp(&y[r * ldy + n], "\xff\xff\xff\xff", 4)) {
                complain("%s n %d k %d rows %d %s: wrote past its outputs", dtype_table[p->type].name, p->n, p->k, rows, what);
                return;
            }
}

static void check_embed(const problem *p, cuda_matrix m) {
    int32_t ids[4] = {0, p->n - 1, -1, p->n / 2};
    float *y = host_new((size_t)p->k * 16), *w = host_new((size_t)p->k * 4);
    void *gy = gpu_new((size_t)p->k * 16), *gi = gpu_put(ids, sizeof ids);
    cuda_embed_args a = {.m = m, .ids = gi, .id_stride = 1, .rows = 4, .out = gy};
    MUST(cuda_embed(gpu, &a, &err));
    gpu_get(y, gy, (size_t)p->k * 16);
    for (int r = 0; r < 4; r++) {
        memset(w, 0, (size_t)p->k * 4);
        if (ids[r] >= 0) quant_decode(p->type, p->file + (size_t)ids[r] * p->row_bytes, w, p->k);
        for (int i = 0; i < p->k; i++)
            if (w[i] != y[r * p->k + i]) {
                complain("%s k %d: embedding row %d value %d is %g, not %g", dtype_table[p->type].name, p->k, ids[r], i, (double)y[r * p->k + i], (double)w[i]);
                r = 4;
                break;
            }
    }
    gpu_free(gy), gpu_free(gi), free(y), free(w);
}

static void check_rows(const problem *p, cuda_matrix m, void *x, int rows, int shape, float *first) {
    int ldy = p->n + 3;
    size_t bytes = (size_t)rows * (size_t)ldy * 4;
    float *y = host_new(bytes);
    void *gy = gpu_new(bytes), *q = activations(p, x, rows);
    cuda_linear_args a = {.n_m = 1, .rows = rows, .x = q, .ld_x = p->k, .wide = p->wide};
    a.m[0] = m, a.y[0] = gy, a.ldy[0] = ldy;
    MUST(cuda_linear_shape(gpu, &a, shape, &err));
    gpu_get(y, gy, bytes);
    compare(p, y, ldy, rows, shape < 0 ? "chosen" : shape_name[shape]);
    for (int r = 0; r < rows && !p->exact; r++) { // the same bits in every call
        if (first[p->rows * p->n] == 0) memcpy(first + r * p->n, y + r * ldy, (size_t)p->n * 4);
        else if (memcmp(first + r * p->n, y + r * ldy, (size_t)p->n * 4)) complain("%s n %d k %d rows %d: shape %d gives row %d other bits", dtype_table[p->type].name, p->n, p->k, rows, shape, r);
    }
    if (rows == p->rows) first[p->rows * p->n] = 1;
    free(y), gpu_free(gy);
    if (q != x) gpu_free(q);
}

// Two more matrices' outputs, a slice, a residual, and a gate.
static void check_epilogues(const problem *p, cuda_matrix m, void *x) {
    int n = p->n, rows = p->rows, ldy = n + 1;
    size_t bytes = (size_t)rows * (size_t)ldy * 4;
    float *y = host_new(bytes), *z = host_new(bytes);
    uint64_t seed = 99;
    for (int i = 0; i < rows * ldy; i++) z[i] = random_normal(&seed);
    void *gy = gpu_new(bytes), *gz = gpu_put(z, bytes), *q = activations(p, x, rows);
    cuda_linear_args a = {.n_m = 1, .rows = rows, .x = q, .ld_x = p->k, .wide = p->wide, .epilogue = CUDA_EPI_ADD, .res = gz, .ld_res = ldy};
    a.m[0] = m, a.y[0] = gy, a.ldy[0] = ldy;
    MUST(cuda_linear(gpu, &a, &err));
    gpu_get(y, gy, bytes);
    for (int r = 0; r < rows && p->exact; r++)
        for (int i = 0; i < n; i++)
            if (y[r * ldy + i] != p->want[r * n + i] + z[r * ldy + i]) {
                complain("%s n %d k %d: residual at %d, %d", dtype_table[p->type].name, n, p->k, r, i);
                r = rows;
                break;
            }
    cuda_linear_args b = {.n_m = 2, .rows = rows, .x = q, .ld_x = p->k, .wide = p->wide};
    b.m[0] = b.m[1] = m;
    b.m[1].strip0 = 1, b.m[1].n = n - 16; // a slice
    b.y[0] = gy, b.y[1] = gz, b.ldy[0] = b.ldy[1] = ldy;
    MUST(cuda_linear(gpu, &b, &err));
    gpu_get(y, gy, bytes);
    gpu_get(z, gz, bytes);
    for (int r = 0; r < rows; r++)
        if (memcmp(y + r * ldy + 16, z + r * ldy, (size_t)(n - 16) * 4) || (p->exact && memcmp(y + r * ldy, p->want + r * n, (size_t)n * 4)))
            complain("%s n %d k %d: two matrices, row %d", dtype_table[p->type].name, n, p->k, r);
    enum { MAP_NEG = 0 };
    b.epilogue = CUDA_EPI_GLU, b.map = MAP_NEG, b.m[0].n = n - 16; // -W[i] x * W[i + 16] x
    MUST(cuda_linear(gpu, &b, &err));
    float *u = host_new(bytes);
    gpu_get(u, gy, bytes);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n - 16; i++)
            if (u[r * ldy + i] != -y[r * ldy + i] * y[r * ldy + i + 16]) {
                complain("%s n %d k %d rows %d: gate at %d, %d: %g for %g", dtype_table[p->type].name, n, p->k, rows, r, i, (double)u[r * ldy + i], (double)(-y[r * ldy + i] * y[r * ldy + i + 16]));
                r = rows;
                break;
            }
    gpu_free(gy), gpu_free(gz), free(y), free(z), free(u);
    if (q != x) gpu_free(q);
}

// One row of floats: the same bits as quantized and multiplied by two kernels; normalised, with a residual, a gate, two matrices.
typedef struct one_row {
    cuda_linear_args l;
    bool norm;
    const char *what;
} one_row;

static void check_row(const problem *p, const one_row *o, void *x, int r, void *w, void *y, float *want, float *got) {
    int kind = layout_act_kind((int)p->type, p->wide), n = p->n;
    size_t bytes = (size_t)n * 8;
    void *q = gpu_new((size_t)layout_act_bytes(kind, 1, p->k));
    float *from = (float *)x + (size_t)r * (size_t)p->k;
    cuda_row_args a = {.l = o->l, .x = from, .norm = o->norm, .eps = 1e-5f, .w = r % 2 ? NULL : w};
    fused_norm_args norm = {.x = from, .w = a.w, .ldx = p->k, .k = p->k, .kind = kind, .eps = 1e-5f, .q = q};
    cuda_quantize_args quant = {.x = from, .ldx = p->k, .rows = 1, .k = p->k, .kind = kind, .q = q};
    a.l.wide = p->wide, a.l.rows = 1, a.l.x = q;
    a.l.y[0] = y, a.l.y[1] = (float *)y + n;
    if (!cuda_row_takes(&a)) {
        gpu_free(q);
        return;
    }
    for (int way = 0; way < 2; way++) {
        MUST(cuda_zero(gpu, y, bytes, &err));
        if (way == 1) MUST(cuda_row(gpu, &a, &err));
        else {
            if (o->norm) MUST(cuda_launch(gpu, "fused_norm", 1, 1, 1, 256, 0, &norm, sizeof norm, CUDA_PDL, &err));
            else MUST(cuda_quantize(gpu, &quant, &err));
            MUST(cuda_linear(gpu, &a.l, &err));
        }
        gpu_get(way ? got : want, y, bytes);
    }
    for (int i = 0; i < 2 * n; i++)
        if (memcmp(&got[i], &want[i], 4)) {
            complain("%s%s n %d k %d row %d alone, %s: output %d is %.9g, not %.9g", dtype_table[p->type].name, p->wide ? " wide" : "", n, p->k, r, o->what, i, (double)got[i], (double)want[i]);
            break;
        }
    gpu_free(q);
}

static void check_one_row(const problem *p, cuda_matrix m, void *x) {
    int n = p->n, k = p->k;
    float *w = host_new((size_t)k * 4), *want = host_new((size_t)n * 8), *got = host_new((size_t)n * 8);
    uint64_t seed = 7;
    for (int i = 0; i < k; i++) w[i] = random_normal(&seed);
    for (int i = 0; i < n; i++) got[i] = random_normal(&seed);
    void *gw = gpu_put(w, (size_t)k * 4), *res = gpu_put(got, (size_t)n * 4), *y = gpu_new((size_t)n * 8);
    cuda_matrix slice = m;
    slice.strip0 = n > 16, slice.n = n > 16 ? n - 16 : n;
    const one_row ways[] = {
        {{.n_m = 1, .m = {m}}, false, "plain"},
        {{.n_m = 1, .m = {m}, .epilogue = CUDA_EPI_ADD, .res = res}, true, "norm and residual"},
        {{.n_m = 2, .m = {m, slice}}, true, "norm and two"},
        {{.n_m = 2, .m = {slice, m}, .epilogue = CUDA_EPI_GLU, .map = 1}, false, "gate"},
    };
    for (int r = 0; r < p->rows && r < 3; r++)
        for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) check_row(p, &ways[i], x, r, gw, y, want, got);
    gpu_free(gw), gpu_free(res), gpu_free(y), free(w), free(want), free(got);
}

static void check(tl_dtype type, int n, int k, int rows, bool wide) {
    problem p;
    problem_new(&p, type, n, k, rows, wide, 0x9e3779b97f4a7c15u + (uint64_t)(n * 1000 + k));
    define(&p);
    check_cpu(&p);
    cuda_matrix m = upload(&p);
    void *x = gpu_put(p.x, (size_t)rows * (size_t)k * 4);
    float *first = host_new(((size_t)rows * (size_t)n + 1) * 4);
    if (!wide) check_embed(&p, m);
    for (int s = -1; s < (type == DT_F32 ? 0 : SHAPES); s++)
        if (s < 0 || cuda_linear_fits((int)type, wide, k, s)) check_rows(&p, m, x, rows, s, first);
    for (int r = 1; r < rows; r = r * 3 + 1) check_rows(&p, m, x, r, -1, first);
    if (n > 16) check_epilogues(&p, m, x);
    if (type != DT_F32) check_one_row(&p, m, x);
    free(first), gpu_free(x), gpu_free((void *)m.data), problem_free(&p);
}

void test_linear(bool big) {
    for (int i = 0; i < TYPES; i++) {
        bool k_format = dtype_table[types[i]].block_values == 256;
        for (int wide = 0; wide <= (types[i] <= DT_Q8_0 && types[i] >= DT_Q4_0); wide++) {
            check(types[i], 40, k_format ? 256 : 96, 9, wide);
            check(types[i], 17, k_format ? 768 : 544, 3, wide);
            if (!big) continue;
            check(types[i], 200, k_format ? 2304 : 2080, 70, wide);
            check(types[i], 1000, 2048, 33, wide);
            check(types[i], 48, 5632, 65, wide);
        }
        if (!dtype_table[types[i]].quantized) check(types[i], 33, 70, 5, false), check(types[i], 33, 72, 2, false);
        printf("  %s\n", dtype_table[types[i]].name);
        fflush(stdout);
    }
}

// ---- times -------------------------------------------------------------------------------------------------
typedef struct timed {
    const char *name;
    int n[3], k;
    bool glu;
} timed;
static const timed tiny[] = {{"qkv", {2048, 256, 256}, 2048, false}, {"o", {2048, 0, 0}, 2048, false}, {"gate up", {5632, 5632, 0}, 2048, true}, {"down", {2048, 0, 0}, 5632, false}};
static const timed eight[] = {{"qkv", {4096, 1024, 1024}, 4096, false}, {"o", {4096, 0, 0}, 4096, false}, {"gate up", {14336, 14336, 0}, 4096, true}, {"down", {4096, 0, 0}, 14336, false}};
static const timed head[] = {{"head", {32000, 0, 0}, 2048, false}};

static double time_one(const timed *t, tl_dtype type, bool wide, int rows, int shape) {
    enum { COPIES = 12, RUNS = 24 };
    cuda_linear_args a[COPIES];
    size_t total = 0, row_bytes;
    int kind = layout_act_kind((int)type, wide), copies = 0;
    TL_CHECK(dtype_bytes(type, t->k, &row_bytes));
    unsigned char *file = host_new(64 * row_bytes);
    float *x = host_new((size_t)rows * (size_t)t->k * 4);
    uint64_t seed = 5;
    for (int i = 0; i < rows * t->k; i++) x[i] = random_normal(&seed);
    float *w = host_new((size_t)t->k * 4);
    for (int i = 0; i < 64; i++) {
        for (int j = 0; j < t->k; j++) w[j] = random_normal(&seed) * 0.03f;
        if (i < 4) quant_encode(type, w, file + (size_t)i * row_bytes, t->k);
        else memcpy(file + (size_t)i * row_bytes, file + (size_t)(i % 4) * row_bytes, row_bytes);
    }
    free(w);
    void *gx = gpu_put(x, (size_t)rows * (size_t)t->k * 4), *gf = gpu_put(file, 64 * row_bytes), *q = gpu_new((size_t)layout_act_bytes(kind, rows, t->k));
    cuda_quantize_args qa = {.x = gx, .ldx = t->k, .rows = rows, .k = t->k, .kind = kind, .q = q};
    MUST(cuda_quantize(gpu, &qa, &err));
    for (; copies < COPIES && total < (size_t)160 << 20; copies++) {
        a[copies] = (cuda_linear_args){.rows = rows, .x = q, .ld_x = t->k, .wide = wide, .epilogue = t->glu ? CUDA_EPI_GLU : CUDA_EPI_NONE};
        for (int i = 0; i < 3 && t->n[i]; i++) {
            size_t bytes = (size_t)layout_matrix_bytes((int)type, t->n[i], t->k);
            void *data = NULL, *y = NULL;
            MUST(cuda_alloc(gpu, bytes, &data, &err));
            MUST(cuda_alloc(gpu, (size_t)rows * (size_t)t->n[i] * 4, &y, &err));
            cuda_matrix m = {.type = (int)type, .n = t->n[i], .k = t->k, .data = data};
            for (int n0 = 0; n0 < t->n[i]; n0 += 64) {
                cuda_repack_args r = {.m = m, .src = gf, .row_bytes = (int64_t)row_bytes, .n0 = n0, .rows = t->n[i] - n0 < 64 ? t->n[i] - n0 : 64};
                MUST(cuda_repack(gpu, &r, &err));
            }
            a[copies].m[i] = m, a[copies].y[i] = y, a[copies].ldy[i] = t->n[i], a[copies].n_m = i + 1;
            total += bytes;
        }
    }
    for (int i = 0; i < 4; i++) MUST(cuda_linear_shape(gpu, &a[i % copies], shape, &err));
    MUST(cuda_sync(gpu, &err));
    double best = 1e9;
    for (int round = 0; round < 3; round++) {
        MUST(cuda_mark(gpu, 0, &err));
        for (int i = 0; i < RUNS; i++) MUST(cuda_linear_shape(gpu, &a[i % copies], shape, &err));
        MUST(cuda_mark(gpu, 1, &err));
        MUST(cuda_sync(gpu, &err));
        double ms = cuda_between(gpu, 0, 1) / RUNS;
        if (ms < best) best = ms;
    }
    double ops = 0, bytes = 0;
    for (int i = 0; i < 3; i++) ops += 2.0 * rows * t->n[i] * t->k, bytes += (double)layout_matrix_bytes((int)type, t->n[i], t->k);
    printf("  %-8s %-5s%s rows %3d %-5s: %8.2f us %7.1f TFLOP/s %7.0f GB/s of weights\n", t->name, dtype_table[type].name, wide ? " wide" : "", rows,
           shape < 0 ? "-" : shape_name[shape], best * 1e3, ops / best / 1e9, bytes / best / 1e6);
    fflush(stdout);
    for (int c = 0; c < copies; c++)
        for (int i = 0; i < a[c].n_m; i++) gpu_free((void *)a[c].m[i].data), gpu_free(a[c].y[i]);
    gpu_free(gx), gpu_free(gf), gpu_free(q), free(file), free(x);
    return best;
}

static void time_layer(const char *what, const timed *t, int count, int layers, tl_dtype type, int rows) {
    double ms = 0;
    for (int i = 0; i < count; i++) ms += time_one(&t[i], type, false, rows, -1);
    printf("%s %s rows %d: a layer %.1f us; %d layers alone: %.0f tokens/s\n", what, dtype_table[type].name, rows, ms * 1e3, layers, rows / (ms * layers) * 1e3);
}

void time_linear(void) {
    static const int rows[] = {1, 8, 16, 32, 64, 128, 512};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) time_layer("TinyLlama", tiny, 4, 22, DT_Q4_0, rows[i]);
    for (int r = 16; r <= 512; r *= 2)
        for (int s = 0; s < SHAPES; s++)
            for (int i = 1; i < 4; i++)
                if (cuda_linear_fits(CT_Q4_0, false, tiny[i].k, s) && !(tiny[i].glu && (s == SHAPE_one || s == SHAPE_thin)) && (s > SHAPE_pair || r <= 32))
                    time_one(&tiny[i], DT_Q4_0, false, r, s);
    for (int s = SHAPE_thin; s < SHAPES; s++)
        for (int i = 2; i < 4; i++)
            if (cuda_linear_fits(CT_Q4_K, false, eight[i].k, s) && !(eight[i].glu && s == SHAPE_thin)) time_one(&eight[i], DT_Q4_K, false, 64, s), time_one(&eight[i], DT_Q4_K, false, 512, s);
    time_one(&tiny[3], DT_Q4_0, true, 512, -1);
    time_one(&tiny[3], DT_Q4_0, true, 64, -1);
    time_layer("8B", eight, 4, 32, DT_Q4_K, 1);
    time_layer("8B", eight, 4, 32, DT_Q4_K, 64);
    time_layer("8B", eight, 4, 32, DT_Q4_K, 512);
    for (int r = 1; r <= 512; r *= 8) {
        time_one(&head[0], DT_Q6_K, false, r, -1);
        for (int i = 0; i < TYPES - 1; i++)
            if (types[i] != DT_Q4_0) time_one(&tiny[3], types[i], false, r, -1);
    }
}
