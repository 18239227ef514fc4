// bench_kernels.c - speed of linear() against this machine's read bandwidth.
//
//   bench_kernels [-t THREADS] [-i ISA]... [-r ROWS,ROWS...] [-s NxK,...] [-y TYPE,...] [-m MEGABYTES] [-p REPEATS] [-w] [-c]
//
// For each shape and type, every ISA and row count is measured in turn, REPEATS times over, so that disturbances hit all
// alike; medians are printed. Weights are many copies of one matrix, MEGABYTES in all, so that every pass reads memory.
// Columns: time of one product, weight bytes per second, the share of the read bandwidth (measured the same way, in the
// same run), multiply-adds per second. -w: activations as ACT_Q16. -c: processor time (one thread on a busy machine).
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/pool.h"
#include "cpu/linear.h"

enum { HUGE_PAGE = 2 << 20, MOST = 32, CHUNK_ROWS = 64 };

typedef struct list {
    int64_t v[MOST], w[MOST]; // w: second number of NxK
    int n;
} list;

static clockid_t which_clock = CLOCK_MONOTONIC;

static double now(void) {
    struct timespec t;
    clock_gettime(which_clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 2];
}

// ---- read bandwidth ----------------------------------------------------------------------------------
typedef struct reading {
    const uint64_t *data;
    int64_t words;
    volatile uint64_t sink;
} reading;

static uint64_t sum_words(const uint64_t *p, int64_t n) {
    uint64_t s[16] = {0};
    for (int64_t i = 0; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) s[j] += p[i + j];
    for (int j = 1; j < 16; j++) s[0] += s[j];
    return s[0];
}

static void read_part(void *ctx, int thread, int n) {
    reading *r = ctx;
    int64_t each = r->words / n;
    r->sink = sum_words(r->data + each * thread, each);
}

// ---- products ----------------------------------------------------------------------------------------
typedef struct product {
    const cpu_kernels *k;
    cpu_matrix m;
    size_t matrix_bytes;
    int64_t copies, rows;
    const uint8_t *x;
    float *y;
    pool *threads;
} product;

static void run_part(void *ctx, int thread, int n) {
    product *p = ctx;
    (void)thread, (void)n;
    int64_t chunks = (p->m.n + CHUNK_ROWS - 1) / CHUNK_ROWS, c, end;
    while (pool_take(p->threads, chunks * p->copies, 1, &c, &end)) {
        cpu_matrix m = p->m;
        m.data = (const uint8_t *)p->m.data + (size_t)(c / chunks) * p->matrix_bytes;
        int64_t n0 = c % chunks * CHUNK_ROWS, n1 = n0 + CHUNK_ROWS < m.n ? n0 + CHUNK_ROWS : m.n;
        p->k->linear(&m, p->x, p->rows, p->y, m.n, n0, n1);
    }
    pool_barrier_reset(p->threads);
}

static void fill(uint8_t *p, size_t bytes, tl_dtype type) { // small numbers, whatever the format reads them as
    uint64_t s = 1;
    for (size_t i = 0; i < bytes; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        p[i] = type == DT_F32 || type == DT_F16 || type == DT_BF16 ? 0x11 : (uint8_t)(s >> 40) & 0x37;
    }
}

typedef struct options {
    list rows, shapes, types, isas;
    int threads, repeats;
    int64_t megabytes;
    bool wide;
} options;

static const cpu_kernels *isa_tables[8];

static uint8_t *make_inputs(const options *o, const cpu_kernels *k, tl_dtype type, int64_t width, int64_t rows) {
    act_kind kind = k->matrix_act(type);
    if (kind == ACT_Q8 && o->wide) kind = ACT_Q16;
    size_t stride = k->act_bytes(kind, width);
    uint8_t *x = mem_alloc_aligned(stride * (size_t)rows, 64);
    float *row = mem_calloc((size_t)width, sizeof *row);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < width; i++) row[i] = (float)((i * 37 + r * 11) % 201 - 100) * 0.01f;
        k->act_quantize(kind, row, x + (size_t)r * stride, width);
    }
    mem_free(row);
    return x;
}

static double time_product(product *p) {
    double t = now();
    pool_run(p->threads, run_part, p);
    return (now() - t) / (double)p->copies;
}

static void bench_case(const options *o, pool *threads, tl_dtype type, int64_t n, int64_t k, const uint8_t *memory, double bandwidth) {
    double times[8][MOST][64];
    product p[8][MOST];
    int64_t most = 1;
    for (int i = 0; i < o->rows.n; i++) most = o->rows.v[i] > most ? o->rows.v[i] : most;
    float *y = mem_alloc_aligned((size_t)(most * n) * sizeof *y, 64);
    for (int i = 0; i < o->isas.n; i++) {
        const cpu_kernels *ks = isa_tables[i];
        cpu_matrix m = {.type = type, .layout = ks->matrix_layout(type, n, k), .n = n, .k = k, .data = memory, .wide = o->wide};
        dtype_bytes(type, k, &m.row_bytes);
        size_t bytes = ks->matrix_bytes(type, m.layout, n, k);
        uint8_t *x = make_inputs(o, ks, type, k, most);
        for (int r = 0; r < o->rows.n; r++) {
            int64_t copies = (int64_t)(((size_t)o->megabytes << 20) / bytes), work = 400000000 / (n * k * o->rows.v[r]) + 1;
            copies = o->rows.v[r] < 8 ? copies : copies < work ? copies : work;
            p[i][r] = (product){ks, m, bytes, copies ? copies : 1, o->rows.v[r], x, y, threads};
        }
    }
    for (int t = 0; t < o->repeats; t++)
        for (int i = 0; i < o->isas.n; i++)
            for (int r = 0; r < o->rows.n; r++) times[i][r][t] = time_product(&p[i][r]);
    for (int i = 0; i < o->isas.n; i++)
        for (int r = 0; r < o->rows.n; r++) {
            double t = median(times[i][r], o->repeats), rate = (double)p[i][r].matrix_bytes / t;
            printf("%-5s %6dx%-5d %-7s rows %3d  %10.1f us  %6.2f GB/s %4.0f %%  %7.1f GMAC/s  x%.2f\n", dtype_table[type].name, (int)n, (int)k,
                   isa_tables[i]->isa, (int)o->rows.v[r], t * 1e6, rate * 1e-9, 100 * rate / bandwidth,
                   (double)(n * k * o->rows.v[r]) / t * 1e-9, t / median(times[i][0], o->repeats));
        }
    fflush(stdout);
    for (int i = 0; i < o->isas.n; i++) mem_free_aligned((void *)(uintptr_t)p[i][0].x);
    mem_free_aligned(y);
}

// ---- command line ------------------------------------------------------------------------------------
static list numbers(const char *s) {
    list l = {0};
    while (*s && l.n < MOST) {
        char *end;
        l.v[l.n] = strtoll(s, &end, 10);
        if (*end == 'x') l.w[l.n] = strtoll(end + 1, &end, 10);
        l.n++;
        if (*end != ',') break;
        s = end + 1;
    }
    return l;
}

static list types(const char *s) {
    list l = {0};
    while (*s && l.n < MOST) {
        size_t n = strcspn(s, ",");
        l.v[l.n++] = dtype_from_name((str){s, n});
        s += n + (s[n] == ',');
    }
    return l;
}

static bool parse(int argc, char **argv, options *o) {
    int c;
    tl_error err;
    while ((c = getopt(argc, argv, "t:i:r:s:y:m:p:wc")) != -1) switch (c) {
        case 't': o->threads = atoi(optarg); break;
        case 'r': o->rows = numbers(optarg); break;
        case 's': o->shapes = numbers(optarg); break;
        case 'y': o->types = types(optarg); break;
        case 'm': o->megabytes = atoi(optarg); break;
        case 'p': o->repeats = atoi(optarg) < 64 ? atoi(optarg) : 63; break;
        case 'w': o->wide = true; break;
        case 'c': which_clock = CLOCK_THREAD_CPUTIME_ID; break;
        case 'i':
            if (o->isas.n == 8 || cpu_select(optarg, &isa_tables[o->isas.n++], &err) != TL_OK) {
                fprintf(stderr, "%s\n", err.message);
                return false;
            }
            break;
        default: return false;
        }
    if (o->isas.n == 0 && cpu_select(NULL, &isa_tables[o->isas.n++], &err) != TL_OK) return false;
    for (int i = 0; i < o->types.n; i++)
        if (o->types.v[i] == DT_COUNT || !linear_is_matrix((tl_dtype)o->types.v[i])) return fprintf(stderr, "unknown type\n"), false;
    return o->threads > 0 && o->repeats > 0 && o->megabytes > 0;
}

int main(int argc, char **argv) {
    options o = {.rows = numbers("1,2,4,8,32,256"), .shapes = numbers("576x1536,2048x5632,896x4864"), .threads = 1, .repeats = 5, .megabytes = 256};
    o.types = types("Q4_0,Q4_1,Q4_K,Q5_0,Q6_K,Q8_0");
    pool *threads;
    if (!parse(argc, argv, &o)) return 2;
    if (pool_new(o.threads, &threads, NULL) != TL_OK) return 1;
    size_t bytes = (size_t)o.megabytes << 20;
    for (int i = 0; i < o.shapes.n; i++) { // room for one matrix of the largest shape and type
        size_t one = linear_bytes(DT_F32, LINEAR_I16, o.shapes.v[i], o.shapes.w[i]);
        bytes = one > bytes && one < (size_t)2 << 30 ? one : bytes;
    }
    uint8_t *memory = mem_alloc_aligned((bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, HUGE_PAGE);
    if (!memory) return 1;
    (void)madvise(memory, bytes, MADV_HUGEPAGE); // as a model's weights are
    tl_dtype filled = DT_COUNT;
    for (int t = 0; t < o.types.n; t++) {
        tl_dtype type = (tl_dtype)o.types.v[t];
        if (filled == DT_COUNT || dtype_table[type].quantized != dtype_table[filled].quantized) fill(memory, bytes, type);
        filled = type;
        for (int s = 0; s < o.shapes.n; s++) {
            double reads[9];
            reading r = {(const uint64_t *)(const void *)memory, (int64_t)(bytes / 8), 0};
            for (int i = 0; i < 9; i++) {
                double start = now();
                pool_run(threads, read_part, &r);
                reads[i] = (double)bytes / (now() - start);
            }
            double bandwidth = median(reads, 9);
            if (s == 0) printf("read bandwidth, %d thread%s: %.2f GB/s\n", o.threads, o.threads > 1 ? "s" : "", bandwidth * 1e-9);
            bench_case(&o, threads, type, o.shapes.v[s], o.shapes.w[s], memory, bandwidth);
        }
    }
    mem_free_aligned(memory);
    pool_free(threads);
    return 0;
}
