// test_attention.c - attention over slot lists: near the CPU's reference, and the same bits from the kernel for single rows, the
// one for prompts, in any number of parts, and for any rows beside.
#include <math.h>

#include "cpu/kernels.h"
#include "cuda/attn_rows.h"
#include "harness.h"

typedef struct shape {
    int heads, kv_heads, dk, dv;
    tl_dtype type;
    int window;
    float softcap;
    bool sinks, causal, mask;
} shape;

typedef struct problem {
    shape s;
    int rows, n_seqs, slots;
    attn_args cpu;
    attn_seq *seqs;
    cuda_attn_args gpu;
    float *want;
    void *owned[48];
    int n_owned;
} problem;

static void *keep(problem *p, void *x) { return p->owned[p->n_owned++] = x; }

static void *cache(problem *p, const cpu_kernels *cpu, int width, size_t *slot_bytes, uint64_t *seed) {
    int64_t n = (int64_t)width * p->s.kv_heads;
    TL_CHECK(dtype_bytes(p->s.type, n, slot_bytes));
    *slot_bytes = (*slot_bytes + 15) / 16 * 16;
    char *bytes = host_new((size_t)p->slots * *slot_bytes);
    float *x = host_new((size_t)n * 4);
    for (int i = 0; i < p->slots; i++) {
        for (int j = 0; j < n; j++) x[j] = random_normal(seed);
        cpu->store(p->s.type, x, bytes + (size_t)i * *slot_bytes, n);
    }
    free(x);
    return bytes;
}

// Sequence i holds lens[i] entries; rows: per sequence `last` rows at its end.
static void problem_new(problem *p, shape s, const int *lens, const int *last, int n_seqs, bool reference) {
    const cpu_kernels *cpu;
    MUST(cpu_select("ref", &cpu, &err));
    uint64_t seed = 0x1234567 + (uint64_t)(s.dk * 131 + s.heads);
    *p = (problem){.s = s, .n_seqs = n_seqs};
    int most = 0;
    for (int i = 0; i < n_seqs; i++) p->slots += lens[i], p->rows += last[i], most = lens[i] > most ? lens[i] : most;
    int32_t *slots = host_new((size_t)p->slots * 4 + 4), *at = host_new((size_t)p->slots * 4 + 4), *seq = host_new((size_t)p->rows * 4), *pos = host_new((size_t)p->rows * 4);
    for (int i = 0; i < p->slots; i++) slots[i] = i;
    for (int i = p->slots - 1; i > 0; i--) {
        int j = (int)(random_u32(&seed) % (uint32_t)(i + 1)), x = slots[i];
        slots[i] = slots[j], slots[j] = x;
    }
    p->seqs = host_new((size_t)n_seqs * sizeof *p->seqs);
    int words = (most + 31) / 32, row = 0, first = 0;
    uint32_t *mask = host_new((size_t)(p->rows * words) * 4 + 4);
    for (int i = 0; i < p->rows * words; i++) mask[i] = random_u32(&seed) | random_u32(&seed);
    for (int i = 0; i < n_seqs; i++) {
        int gap = i % 3 == 1 ? 5 : 0; // positions with a hole
        p->seqs[i] = (attn_seq){.slots = slots + first, .at = at + first, .n = lens[i], .dropped = i % 3 == 2 ? 37 : 0};
        for (int j = 0; j < lens[i]; j++) at[first + j] = (int32_t)p->seqs[i].dropped + j + (j > lens[i] / 2 ? gap : 0);
        for (int j = 0; j < last[i]; j++, row++) {
            seq[row] = i;
            pos[row] = lens[i] ? at[first + lens[i] - last[i] + j] : 3;
        }
        first += lens[i];
    }
    size_t k_bytes, v_bytes;
    char *k = cache(p, cpu, s.dk, &k_bytes, &seed), *v = cache(p, cpu, s.dv, &v_bytes, &seed);
    size_t q_floats = (size_t)p->rows * (size_t)(s.heads * s.dk), o_floats = (size_t)p->rows * (size_t)(s.heads * s.dv);
    float *q = host_new(q_floats * 4), *sinks = host_new((size_t)s.heads * 4);
    for (size_t i = 0; i < q_floats; i++) q[i] = random_normal(&seed) * 2;
    for (int i = 0; i < s.heads; i++) sinks[i] = random_normal(&seed);
    p->want = host_new(o_floats * 4);
    p->cpu = (attn_args){.rows = p->rows, .heads = s.heads, .kv_heads = s.kv_heads, .dk = s.dk, .dv = s.dv, .q = q, .q_stride = s.heads * s.dk, .k = k, .v = v, .kv_type = s.type,
                         .k_slot_bytes = k_bytes, .v_slot_bytes = v_bytes, .seq = seq, .pos = pos, .seqs = p->seqs, .scale = 1.0f / sqrtf((float)s.dk), .softcap = s.softcap,
                         .window = s.window, .sinks = s.sinks ? sinks : NULL, .causal = s.causal, .mask = s.mask ? mask : NULL, .mask_stride = words, .out = p->want,
                         .out_stride = s.heads * s.dv, .threads = 1};
    if (reference) {
        if (q_floats * (size_t)most > 100000000u) MUST(cpu_select(NULL, &cpu, &err)); // the plain one would take minutes
        void *scratch = host_new(attn_scratch_bytes(&p->cpu) + 8 * 4096);
        cpu->attention(&p->cpu, 0, attn_items(&p->cpu), scratch);
        free(scratch);
    }
    cuda_seq *gs = host_new((size_t)n_seqs * sizeof *gs);
    int32_t *g_slots = keep(p, gpu_put(slots, (size_t)p->slots * 4 + 4)), *g_at = keep(p, gpu_put(at, (size_t)p->slots * 4 + 4));
    for (int i = 0; i < n_seqs; i++) gs[i] = (cuda_seq){g_slots + (p->seqs[i].slots - slots), g_at + (p->seqs[i].at - at), p->seqs[i].n, p->seqs[i].dropped};
    cuda_attn_args a = {.rows = p->rows, .heads = s.heads, .kv_heads = s.kv_heads, .dk = s.dk, .dv = s.dv, .q_stride = p->cpu.q_stride, .kv_type = (int)s.type, .causal = s.causal,
                        .k_slot_bytes = (int64_t)k_bytes, .v_slot_bytes = (int64_t)v_bytes, .scale = p->cpu.scale, .softcap = s.softcap, .window = s.window, .mask_stride = words,
                        .out_stride = p->cpu.out_stride, .chunks = (most + 37) / 64 + 2};
    a.q = keep(p, gpu_put(q, q_floats * 4));
    a.k = keep(p, gpu_put(k, (size_t)p->slots * k_bytes));
    a.v = keep(p, gpu_put(v, (size_t)p->slots * v_bytes));
    a.seq = keep(p, gpu_put(seq, (size_t)p->rows * 4));
    a.pos = keep(p, gpu_put(pos, (size_t)p->rows * 4));
    a.seqs = keep(p, gpu_put(gs, (size_t)n_seqs * sizeof *gs));
    if (s.sinks) a.sinks = keep(p, gpu_put(sinks, (size_t)s.heads * 4));
    if (s.mask) a.mask = keep(p, gpu_put(mask, (size_t)(p->rows * words) * 4));
    p->gpu = a;
    free(slots), free(at), free(seq), free(pos), free(mask), free(k), free(v), free(q), free(sinks), free(gs);
}

static void problem_free(problem *p) {
    for (int i = 0; i < p->n_owned; i++) gpu_free(p->owned[i]);
    free(p->seqs), free(p->want);
}

// Rows [row0, row0 + rows) by the kernel that n_seqs asks for.
static void attend(const problem *p, int row0, int rows, int n_seqs, bool split, float *out) {
    size_t floats = (size_t)rows * (size_t)p->gpu.out_stride, counters = 0;
    cuda_attn_args a = p->gpu;
    a.rows = rows, a.n_seqs = n_seqs;
    a.q += row0 * a.q_stride, a.seq += row0, a.pos += row0;
    if (a.mask) a.mask += row0 * a.mask_stride;
    a.out = gpu_new(floats * 4);
    if (split) {
        a.work = gpu_new(cuda_attention_work(&a, &counters));
        a.counter = gpu_new(counters);
        MUST(cuda_zero(gpu, a.counter, counters, &err));
    }
    for (int i = 0; i < (split ? 2 : 1); i++) MUST(cuda_attention(gpu, &a, &err)); // twice: the counters are as they were
    gpu_get(out, a.out, floats * 4);
    gpu_free(a.out);
    if (split) gpu_free(a.work), gpu_free(a.counter);
}

static void check(const char *name, shape s, const int *lens, const int *last, int n_seqs) {
    problem p;
    problem_new(&p, s, lens, last, n_seqs, true);
    size_t width = (size_t)s.heads * (size_t)s.dv, floats = (size_t)p.rows * width;
    float *rows = host_new(floats * 4), *other = host_new(floats * 4);
    attend(&p, 0, p.rows, 0, false, rows);
    if (!cuda_attention_takes(&p.gpu)) complain("attention %s is not taken", name);
    for (size_t i = 0; i < floats; i++)
        if (!(fabsf(rows[i] - p.want[i]) <= 3e-3f)) {
            complain("attention %s: row %d head %d value %d is %g, not %g", name, (int)(i / width), (int)(i % width) / s.dv, (int)i % s.dv, (double)rows[i], (double)p.want[i]);
            break;
        }
    attend(&p, 0, p.rows, 1, false, other); // as a prompt's
    for (size_t i = 0; i < floats; i++)
        if (memcmp(&rows[i], &other[i], 4)) {
            complain("attention %s: row %d head %d value %d: tiles give %.9g, rows %.9g", name, (int)(i / width), (int)(i % width) / s.dv, (int)i % s.dv, (double)other[i], (double)rows[i]);
            break;
        }
    for (int r = 0; r < p.rows; r += p.rows / 3 + 1) { // alone, its chunks shared out
        attend(&p, r, 1, 0, true, other);
        if (memcmp(other, rows + (size_t)r * width, width * 4)) complain("attention %s: row %d alone and in parts has other bits", name, r);
        int n = p.rows - r < 3 ? p.rows - r : 3;
        attend(&p, r, n, 1, false, other);
        if (memcmp(other, rows + (size_t)r * width, (size_t)n * width * 4)) complain("attention %s: rows from %d in another tile have other bits", name, r);
    }
    free(rows), free(other);
    problem_free(&p);
}

// One row whose queries and keys are rotated and whose keys and values are stored on the way: the bits, in `out` and in the
// cache, of the two kernels that do these apart. The row's own entry is the last of `len`.
static void check_one(const char *name, shape s, int len, bool interleaved, int rot) {
    int lens[] = {len}, last[] = {1};
    problem p;
    problem_new(&p, s, lens, last, 1, false);
    int widths[] = {s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv};
    size_t cache_bytes[] = {(size_t)p.slots * (size_t)p.gpu.k_slot_bytes, (size_t)p.slots * (size_t)p.gpu.v_slot_bytes}, floats = (size_t)(s.heads * s.dv), counters;
    float *x = host_new(8192 * 4), *cs = host_new(1024 * 4), *out[2];
    char *cache[2][2];
    uint64_t seed = 3;
    for (int i = 0; i < 1024; i++) cs[i] = random_normal(&seed);
    fused_store_args f = {.n_tasks = 3, .rows = 1};
    cuda_seq seq;
    gpu_get(&seq, p.gpu.seqs, sizeof seq);
    const int32_t *slot_at = seq.slots + len - 1;
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < widths[i]; j++) x[j] = random_normal(&seed) * 2;
        f.task[i] = (fused_task){.x = keep(&p, gpu_put(x, (size_t)widths[i] * 4)), .ldx = widths[i], .n = widths[i], .d = i < 2 ? s.dk : 1, .rot = i < 2 ? rot : 0, .interleaved = interleaved,
                                 .type = (int)s.type, .slot = slot_at, .limit = p.slots};
        if (i < 2) f.task[i].cs = keep(&p, gpu_put(cs, 4096));
    }
    f.task[0].out = keep(&p, gpu_new((size_t)widths[0] * 4));
    for (int way = 0; way < 2; way++) {
        attn_one_args a = {.a = p.gpu};
        a.a.n_seqs = 1;
        a.a.out = keep(&p, gpu_new(floats * 4));
        a.a.work = keep(&p, gpu_new(cuda_attention_work(&a.a, &counters)));
        a.a.counter = keep(&p, gpu_new(counters));
        MUST(cuda_zero(gpu, a.a.counter, counters, &err));
        for (int i = 0; i < 2; i++) {
            size_t bytes = cache_bytes[i];
            char *copy = host_new(bytes);
            gpu_get(copy, i ? p.gpu.v : p.gpu.k, bytes);
            f.task[1 + i].state = keep(&p, gpu_put(copy, bytes));
            f.task[1 + i].slot_bytes = i ? p.gpu.v_slot_bytes : p.gpu.k_slot_bytes;
            free(copy);
        }
        a.a.k = f.task[1].state, a.a.v = f.task[2].state;
        if (way == 0) {
            int all = 0;
            for (int i = 0; i < 3; i++) all += (widths[i] + 31) / 32 * 32;
            MUST(cuda_launch(gpu, "fused_store", (unsigned)(all + 255) / 256, 1, 1, 256, 0, &f, sizeof f, 0, &err));
            a.a.q = f.task[0].out;
            MUST(cuda_attention(gpu, &a.a, &err));
        } else {
            a.q = f.task[0], a.k = f.task[1], a.v = f.task[2];
            for (int i = 0; i < 2; i++) MUST(cuda_attention_one(gpu, &a, &err)); // twice: the counters are as they were
        }
        gpu_get(out[way] = host_new(floats * 4), a.a.out, floats * 4);
        for (int i = 0; i < 2; i++) gpu_get(cache[way][i] = host_new(cache_bytes[i]), i ? a.a.v : a.a.k, cache_bytes[i]);
    }
    if (memcmp(out[0], out[1], floats * 4)) complain("attention %s of one row and %d entries: other bits than apart", name, len);
    for (int i = 0; i < 2; i++)
        if (memcmp(cache[0][i], cache[1][i], cache_bytes[i])) complain("attention %s of one row and %d entries: other %s in the cache", name, len, i ? "values" : "keys");
    for (int i = 0; i < 2; i++) free(out[i]), free(cache[i][0]), free(cache[i][1]);
    free(x), free(cs);
    problem_free(&p);
}

static void test_one(void) {
    static const int lens[] = {1, 40, 64, 65, 130, 257, 700};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        check_one("64", (shape){8, 2, 64, 64, DT_F16, 0, 0, false, true, false}, lens[i], false, 64);
        if (i % 2) check_one("128 q8_0", (shape){4, 2, 128, 128, DT_Q8_0, 100, 0, true, true, false}, lens[i], true, 128);
        else check_one("96 and 72", (shape){20, 1, 96, 72, DT_F16, 0, 20, true, true, false}, lens[i], false, 48);
    }
    check_one("256", (shape){4, 1, 256, 256, DT_F16, 0, 0, false, true, false}, 200, false, 256);
}

void test_attention(bool big) {
    const int lens[] = {70, 1, 200, 129, 33}, last[] = {5, 1, 3, 2, 33};
    check("64 f16", (shape){8, 2, 64, 64, DT_F16, 0, 0, false, true, false}, lens, last, 5);
    check("64 f16 many mask", (shape){8, 4, 64, 64, DT_F16, 0, 0, true, true, true}, lens, last, 5);
    check("128 f16 many softcap window", (shape){9, 3, 128, 128, DT_F16, 50, 20, false, true, false}, lens, last, 5);
    check("64 q8_0 window", (shape){4, 4, 64, 64, DT_Q8_0, 50, 0, false, true, false}, lens, last, 5);
    check("128 f16 softcap sinks", (shape){6, 2, 128, 128, DT_F16, 0, 20, true, true, false}, lens, last, 5);
    check("96 and 64 f32 window sinks", (shape){4, 2, 96, 64, DT_F32, 64, 0, true, true, false}, lens, last, 5);
    check("80 f16 all", (shape){3, 3, 80, 80, DT_F16, 0, 0, false, false, false}, lens, last, 5);
    check("72 f16 window all", (shape){2, 1, 72, 72, DT_F16, 40, 0, false, false, false}, lens, last, 5);
    check("20 f16", (shape){2, 2, 20, 12, DT_F16, 0, 0, false, true, false}, lens, last, 5);
    check("64 group 20 mask", (shape){20, 1, 64, 64, DT_F16, 0, 0, false, true, true}, lens, last, 5);
    check("256 q8_0", (shape){2, 1, 256, 256, DT_Q8_0, 0, 0, false, true, false}, lens, last, 2);
    check("256 f16 mask window", (shape){4, 1, 256, 256, DT_F16, 100, 0, true, true, true}, lens, last, 4);
    if (big) {
        const int long_lens[] = {1500, 900, 64, 65, 700}, long_last[] = {40, 1, 64, 1, 130};
        check("big 64", (shape){32, 4, 64, 64, DT_F16, 0, 0, false, true, false}, long_lens, long_last, 5);
        check("big 128", (shape){32, 8, 128, 128, DT_F16, 0, 0, false, true, false}, long_lens, long_last, 5);
        check("big 128 q8_0 window", (shape){32, 8, 128, 128, DT_Q8_0, 512, 0, true, true, false}, long_lens, long_last, 5);
        check("big 256", (shape){8, 4, 256, 256, DT_F16, 512, 30, false, true, false}, long_lens, long_last, 5);
    }
    test_one();
    printf("  attention\n");
}

static void time_one(const char *name, shape s, int n_seqs, int len, int rows_each) {
    problem p;
    int *lens = host_new((size_t)n_seqs * 4), *last = host_new((size_t)n_seqs * 4);
    for (int i = 0; i < n_seqs; i++) lens[i] = len, last[i] = rows_each;
    problem_new(&p, s, lens, last, n_seqs, false);
    cuda_attn_args a = p.gpu;
    size_t counters;
    a.n_seqs = n_seqs;
    a.out = gpu_new((size_t)p.rows * (size_t)a.out_stride * 4);
    a.work = gpu_new(cuda_attention_work(&a, &counters));
    a.counter = gpu_new(counters);
    MUST(cuda_zero(gpu, a.counter, counters, &err));
    enum { RUNS = 20 };
    double best = 1e9;
    for (int round = 0; round < 4; round++) {
        MUST(cuda_mark(gpu, 0, &err));
        for (int i = 0; i < RUNS; i++) MUST(cuda_attention(gpu, &a, &err));
        MUST(cuda_mark(gpu, 1, &err));
        MUST(cuda_sync(gpu, &err));
        double ms = cuda_between(gpu, 0, 1) / RUNS;
        if (ms < best) best = ms;
    }
    double pairs = (double)n_seqs * rows_each * (len - (rows_each - 1) / 2.0), bytes = (double)n_seqs * len * s.kv_heads * (s.dk + s.dv) * (s.type == DT_F16 ? 2 : 1.0625);
    printf("  attention %-24s %3d sequences of %5d, %3d rows each: %8.2f us %6.1f TFLOP/s %6.0f GB/s of cache\n", name, n_seqs, len, rows_each, best * 1e3,
           2 * pairs * s.heads * (s.dk + s.dv) / best / 1e9, bytes / best / 1e6);
    fflush(stdout);
    gpu_free(a.out), gpu_free(a.work), gpu_free(a.counter), free(lens), free(last);
    problem_free(&p);
}

void time_attention(void) {
    shape tiny = {32, 4, 64, 64, DT_F16, 0, 0, false, true, false}, eight = {32, 8, 128, 128, DT_F16, 0, 0, false, true, false}, q8 = tiny, wide = {8, 4, 256, 256, DT_F16, 0, 0, false, true, false};
    q8.type = DT_Q8_0;
    time_one("TinyLlama", tiny, 1, 512, 512);
    time_one("8B", eight, 1, 512, 512);
    time_one("8B", eight, 1, 4096, 512);
    time_one("Gemma", wide, 1, 512, 512);
    time_one("TinyLlama q8_0", q8, 1, 512, 512);
    time_one("TinyLlama", tiny, 64, 256, 1);
    time_one("8B", eight, 64, 256, 1);
    time_one("8B", eight, 64, 1024, 1);
    time_one("TinyLlama q8_0", q8, 64, 256, 1);
    time_one("TinyLlama", tiny, 1, 128, 1);
    time_one("TinyLlama", tiny, 1, 1024, 1);
    time_one("8B", eight, 1, 1024, 1);
    time_one("8B", eight, 1, 8192, 1);
}
