// trace.c - how long the front end takes for a model's program, apart from its weights.
// usage: bench_trace MODEL.gguf [PROGRAM.tl] [ROUNDS]
// Four times, each the median of ROUNDS (25): checking the program, running its top level (the standard library
// included), tracing its step function to a graph, rewriting that graph to its fused operations.
#include <time.h>

#include "run/run.h"

enum { PARTS = 4 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + 1e-6 * (double)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int fail(const tl_error *err) { return fprintf(stderr, "%s\n", err->message), 1; }

static tl_status once(tl_engine *e, tl_model *m, const char *file, str text, double *ms, tl_error *err) {
    double t[PARTS + 1] = {now()};
    tl_analysis *a;
    TL_TRY(tl_analysis_new(file, text.p, text.n, false, &a, err));
    tl_analysis_free(a);
    t[1] = now();
    ev_options eo = {.host = engine_host(e, m), .model = &m->m, .confined = true};
    evaluator *ev;
    TL_TRY(ev_new(&eo, &ev, err));
    TL_TRY(ev_run(ev, file, text.p, text.n, false, err));
    t[2] = now();
    arena mem = {0};
    ir_graph g;
    ev_state *states;
    ev_trace_options o = {.n_ctx = 4096, .cache_type = DT_COUNT, .a = &mem};
    TL_TRY(ev_trace(ev, &o, &g, &states, err));
    t[3] = now();
    ir_rewrite(&g);
    ir_fuse_maps(&g);
    TL_TRY(ir_verify(&g, err));
    t[4] = now();
    ev_free(ev);
    arena_free(&mem);
    for (int i = 0; i < PARTS; i++) ms[i] = t[i + 1] - t[i];
    return TL_OK;
}

int main(int argc, char **argv) {
    static double ms[PARTS][1000], row[PARTS];
    static const char *const names[PARTS] = {"check", "run", "trace", "rewrite"};
    tl_error err;
    tl_engine *e;
    tl_model *m;
    const tl_engine_options eo = {.threads = 1};
    const tl_model_options mo = {.parts = TL_MODEL_DATA};
    if (argc < 2) return fprintf(stderr, "usage: bench_trace MODEL.gguf [PROGRAM.tl] [ROUNDS]\n"), 2;
    const char *file = argc > 2 ? argv[2] : "models/llama.tl";
    int rounds = argc > 3 ? atoi(argv[3]) : 25;
    if (rounds < 1 || rounds > 1000) rounds = 25;
    sbuf b = {0};
    if (sbuf_read_file(&b, file, 1 << 20, &err) != TL_OK || tl_engine_new(&eo, &e, &err) != TL_OK || tl_model_open(e, argv[1], &mo, &m, &err) != TL_OK) return fail(&err);
    for (int r = 0; r < rounds; r++) {
        if (once(e, m, file, (str){b.p, b.n}, row, &err) != TL_OK) return fail(&err);
        for (int i = 0; i < PARTS; i++) ms[i][r] = row[i];
    }
    double total = 0;
    for (int i = 0; i < PARTS; i++) {
        qsort(ms[i], (size_t)rounds, sizeof(double), by_size);
        printf("%s %.2f ms  ", names[i], ms[i][rounds / 2]);
        total += ms[i][rounds / 2];
    }
    printf("together %.2f ms\n", total);
    tl_model_free(m);
    tl_engine_free(e);
    sbuf_free(&b);
    return 0;
}
