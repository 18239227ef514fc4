// Every operation in odd shapes, strides and storage types: planned (1 to 3 threads) against the plain evaluation.
#include "toy.h"

typedef struct bench { // a graph and the data it reads
    arena mem;
    ir_graph g;
    uint64_t seed;
    toy_step t;
    ir_state *states[16];
    int n_states;
    ir_weight *weights[16];
    int n_weights;
    double close; // distance allowed; 0: equal bits wanted
} bench;

static void bench_start(bench *b) {
    *b = (bench){.seed = 11, .close = 1e-5};
    ir_init(&b->g, &b->mem);
}

// A computed-at-replay array of n values: a float32 state, so that nothing folds.
static ir_node *array(bench *b, int64_t n) {
    ir_state *s = toy_state(&b->mem, "array", DT_F32, 1, n, b->n_states);
    b->states[b->n_states++] = s;
    for (int64_t i = 0; i < n; i++) ((float *)s->data)[i] = toy_random(&b->seed);
    return ir_state_node(&b->g, s, 0);
}

static ir_node *weights(bench *b, tl_dtype t, int64_t n, int64_t cols) {
    ir_weight *w = toy_weight(&b->mem, arena_printf(&b->mem, "w%d", b->n_weights), t, n, cols, 1, &b->seed);
    b->weights[b->n_weights++] = w;
    return ir_weight_node(&b->g, w);
}

static ir_node *rows(bench *b, int64_t n) { // [p, n]
    ir_node *w = weights(b, DT_F32, 80, n), *tok = ir_input_node(&b->g, INPUT_TOK, SYM_ROWS);
    ir_space sp = SPACE(SYM_ROWS, 2, P, n);
    int64_t limit = 80;
    ir_edge base = EDGE(w, 0, N(0), N(1)), idx = EDGE(tok, 0, N(1), N(0));
    return ir_gather(&b->g, &sp, &base, 1, &idx, &n, &limit);
}

static void output(bench *b, ir_node *n) { b->g.outputs[b->g.n_outputs++] = n; }

static void *saved_states(bench *b, bool restore, char *store) {
    size_t at = 0;
    for (int i = 0; i < b->n_states; i++) {
        size_t n = b->states[i]->slot_bytes * (size_t)b->states[i]->slots;
        if (store && !restore) memcpy(store + at, b->states[i]->data, n);
        if (store && restore) memcpy(b->states[i]->data, store + at, n);
        at += n;
    }
    return store ? store : mem_alloc(at + 1);
}

static void compare(const bench *b, const plan *p, float *const *want, const char *what, int threads) {
    for (int i = 0; i < b->g.n_outputs; i++) {
        const ir_node *n = b->g.outputs[i];
        int64_t count = n->op == IR_STATE ? n->size[0] : ir_elements(n, b->t.s.rows, b->t.s.outs);
        const float *got = plan_output(p, i);
        float *ints = mem_calloc((size_t)count + 1, 4);
        if (n->type == DT_I32 && n->op != IR_STATE) {
            for (int64_t j = 0; j < count; j++) ints[j] = (float)((const int32_t *)plan_output(p, i))[j];
            got = ints;
        }
        double d = toy_distance(got, want[i], count);
        if (!(d <= b->close)) fail_msg("%s, output %d, %d threads: distance %g", what, i, threads, d);
        mem_free(ints);
    }
}

// Evaluates, plans and runs; states must end equal as well.
static void bench_check(bench *b, const char *what, bool rewrite) {
    tl_error err = {0};
    if (rewrite) {
        ir_rewrite(&b->g);
        ir_fuse_maps(&b->g);
    }
    if (ir_verify(&b->g, &err) != TL_OK) fail_msg("%s: %s", what, err.message);
    if (b->t.s.rows == 0) toy_rows(&b->t, 0, 7, 1, 3, true);
    char *before = saved_states(b, false, saved_states(b, false, NULL)), *after = saved_states(b, false, NULL);
    float *want[8];
    assert_int_equal(plan_reference(&b->g, &b->t.s, want, &err), TL_OK);
    saved_states(b, false, after);
    for (int threads = 1; threads <= 3; threads += 2) {
        pool *team;
        plan *p;
        assert_int_equal(pool_new(threads, &team, &err), TL_OK);
        plan_backend k = toy_backend(team);
        plan_limits limits = {.max_rows = TOY_ROWS, .max_outs = TOY_ROWS, .max_slots = TOY_ROWS};
        if (plan_new(&b->g, &k, &limits, &p, &err) != TL_OK) fail_msg("%s: %s", what, err.message);
        for (int again = 0; again < 2; again++) {
            saved_states(b, true, before);
            if (plan_run(p, &b->t.s, &err) != TL_OK) fail_msg("%s: %s", what, err.message);
            compare(b, p, want, what, threads);
        }
        size_t at = 0;
        for (int i = 0; i < b->n_states; i++) {
            size_t n = b->states[i]->slot_bytes * (size_t)b->states[i]->slots;
            if (memcmp(b->states[i]->data, after + at, n)) fail_msg("%s: state %d differs", what, i);
            at += n;
        }
        plan_free(p);
        pool_free(team);
    }
    for (int i = 0; i < b->g.n_outputs; i++) mem_free(want[i]);
    for (int i = 0; i < b->n_weights; i++) plan_weight_free(b->weights[i]);
    mem_free(before);
    mem_free(after);
    arena_free(&b->mem);
}

// ---- elementwise ---------------------------------------------------------------------------------
static void test_maps(void **state) {
    (void)state;
    for (int op = 0; op < MAP_END; op++) {
        bench b;
        bench_start(&b);
        int arity = map_arity[op];
        ir_node *x = rows(&b, 1300), *y = array(&b, 1300), *z = array(&b, 9);
        ir_space sp = SPACE(SYM_ROWS, 2, P, N(1300));
        ir_edge in[3] = {EDGE(x, 0, N(1300), N(1)), EDGE(y, 0, N(0), N(1)), EDGE(z, 3, N(0), N(0))};
        if (op == MAP_LOG || op == MAP_SQRT || op == MAP_POW) in[0].node = toy_map2(&b.g, MAP_ADD, x, ir_scalar(&b.g, 1.5));
        output(&b, ir_map(&b.g, (map_op)op, &sp, in));
        if (arity > 1) { // one value for all
            in[1] = EDGE(z, 2, N(0), N(0));
            output(&b, ir_map(&b.g, (map_op)op, &sp, in));
            ir_edge turned[3] = {in[1], in[0], in[2]};
            if (op != MAP_POW) output(&b, ir_map(&b.g, (map_op)op, &sp, turned));
        }
        b.close = 3e-6;
        bench_check(&b, map_names[op], false);
    }
}

static void test_map_reads(void **state) { // permuted, strided, backwards, integers, every storage type
    (void)state;
    static const tl_dtype types[] = {DT_F32, DT_F16, DT_BF16, DT_Q4_0, DT_Q5_1, DT_Q8_0, DT_Q4_K, DT_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bench b;
        bench_start(&b);
        ir_node *w = weights(&b, types[i], 6, 512), *pos = ir_input_node(&b.g, INPUT_POS, SYM_ROWS);
        ir_space t = SPACE(SYM_NONE, 2, N(512), N(6)), s = SPACE(SYM_NONE, 3, N(5), N(3), N(77)), r = SPACE(SYM_ROWS, 2, P, N(600));
        ir_edge e = EDGE(w, 0, N(1), N(512));
        output(&b, ir_map(&b.g, MAP_COPY, &t, &e));
        e = EDGE(w, 11, N(512), N(100), N(1));
        output(&b, ir_map(&b.g, MAP_ABS, &s, &e));
        e = EDGE(w, 3000, N(-512), N(-100), N(-2));
        output(&b, ir_map(&b.g, MAP_COPY, &s, &e));
        ir_edge two[2] = {EDGE(w, 5, N(0), N(1)), EDGE(pos, 0, N(1), N(0))};
        output(&b, ir_map(&b.g, MAP_MUL, &r, two));
        bench_check(&b, dtype_table[types[i]].name, false);
    }
}

static void test_flat(void **state) { // long rows are cut
    (void)state;
    for (int sym = 0; sym < 2; sym++) {
        bench b;
        bench_start(&b);
        ir_node *x = sym ? rows(&b, 20011) : array(&b, 50021);
        ir_node *y = toy_map1(&b.g, MAP_TANH, toy_map2(&b.g, MAP_MUL, x, ir_scalar(&b.g, 0.5)));
        output(&b, toy_map2(&b.g, MAP_MUL, y, ir_scalar(&b.g, 3)));
        b.close = 1e-6;
        bench_check(&b, "flat", sym);
    }
}

static void test_fused(void **state) { // a chain over [p, 6, 50] with a value per row, per head, and per column
    (void)state;
    bench b;
    bench_start(&b);
    ir_node *x = rows(&b, 300), *per_row = ir_input_node(&b.g, INPUT_POS, SYM_ROWS), *per_head = array(&b, 6), *col = array(&b, 50);
    ir_space flat = SPACE(SYM_ROWS, 2, P, N(300)), deep = SPACE(SYM_ROWS, 3, P, N(6), N(50)), other = SPACE(SYM_ROWS, 3, P, N(3), N(100));
    ir_edge a[2] = {EDGE(x, 0, N(300), N(50), N(1)), EDGE(per_head, 0, N(0), N(1), N(0))};
    ir_node *s = ir_map(&b.g, MAP_ADD, &deep, a);
    ir_edge c[2] = {EDGE(s, 0, N(300), N(50), N(1)), EDGE(col, 0, N(0), N(0), N(1))};
    s = ir_map(&b.g, MAP_MUL, &deep, c);
    ir_edge d[2] = {EDGE(s, 0, N(300), N(1)), EDGE(per_row, 0, N(1), N(0))};
    s = ir_map(&b.g, MAP_SUB, &flat, d);
    ir_edge f[2] = {EDGE(s, 0, N(300), N(100), N(1)), EDGE(per_head, 1, N(0), N(2), N(0))};
    s = ir_map(&b.g, MAP_MAX, &other, f);
    output(&b, toy_map1(&b.g, MAP_SILU, s));
    ir_rewrite(&b.g);
    ir_fuse_maps(&b.g);
    int maps = 0, fused = 0;
    for (ir_node *n = b.g.first; n; n = n->next) maps += n->op == IR_MAP, fused += n->op == IR_FUSED;
    assert_int_equal(maps, 0);
    assert_int_equal(fused, 1);
    bench_check(&b, "fused", false);
}

// Products with silu and gelu, which have a loop of their own: as first and as second factor, of operands, of results and of one value.
static void test_gates(void **state) {
    (void)state;
    for (int which = 0; which < 10; which++) {
        bench b;
        bench_start(&b);
        ir_node *x = rows(&b, 700), *y = rows(&b, 700);
        map_op op = which % 2 ? MAP_GELU : MAP_SILU;
        ir_node *gate = toy_map1(&b.g, op, which < 6 ? x : toy_map2(&b.g, MAP_SUB, x, ir_scalar(&b.g, 0.25)));
        ir_node *by = which / 2 % 3 == 0 ? y : which / 2 % 3 == 1 ? toy_map2(&b.g, MAP_MAX, y, x) : ir_scalar(&b.g, 3);
        ir_node *z = which / 2 == 4 ? toy_map2(&b.g, MAP_MUL, by, gate) : toy_map2(&b.g, MAP_MUL, gate, by);
        output(&b, which % 3 ? z : toy_map2(&b.g, MAP_MUL, toy_map1(&b.g, MAP_NEG, y), z));
        ir_rewrite(&b.g);
        ir_fuse_maps(&b.g);
        bench_check(&b, "gates", false);
    }
}

// ---- contractions and folds ----------------------------------------------------------------------
static void test_einsum(void **state) {
    (void)state;
    static const tl_dtype types[] = {DT_F32, DT_F16, DT_Q8_0, DT_Q4_K};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bench b;
        bench_start(&b);
        ir_node *w = weights(&b, types[i], 24, 256), *x = array(&b, 33 * 24), *y = rows(&b, 24 * 3), *v = array(&b, 700);
        // x[33, 24] w[24, 256]: k is not the contiguous axis of w
        ir_space mm = SPACE(SYM_NONE, 2, N(33), N(256), N(24));
        ir_edge xe = EDGE(x, 0, N(24), N(0), N(1)), we = EDGE(w, 0, N(0), N(1), N(256));
        output(&b, ir_einsum(&b.g, &mm, &xe, &we));
        // y[p, c, k] w[k, n] -> [p, n, c]
        ir_space pc = SPACE(SYM_ROWS, 3, P, N(256), N(3), N(24));
        ir_edge ye = EDGE(y, 0, N(72), N(0), N(24), N(1));
        we = EDGE(w, 0, N(0), N(1), N(0), N(256));
        output(&b, ir_einsum(&b.g, &pc, &ye, &we));
        // sum over both axes: [p | k, n]
        ir_space two = SPACE(SYM_ROWS, 1, P, N(24), N(200));
        ye = EDGE(y, 5, N(72), N(1), N(0)), we = EDGE(w, 8, N(0), N(256), N(1));
        output(&b, ir_einsum(&b.g, &two, &ye, &we));
        // w's rows in part: k is contiguous in both
        ir_space part = SPACE(SYM_ROWS, 2, P, N(23), N(70));
        ye = EDGE(y, 1, N(72), N(0), N(1)), we = EDGE(w, 263, N(0), N(256), N(1));
        output(&b, ir_einsum(&b.g, &part, &ye, &we));
        // a batch of outer products, and a plain dot product
        ir_space outer = SPACE(SYM_NONE, 3, N(4), N(5), N(7)), dot = SPACE(SYM_NONE, 0, N(700));
        ir_edge oa = EDGE(v, 0, N(50), N(1), N(0)), ob = EDGE(v, 300, N(20), N(0), N(3)), da = EDGE(v, 0, N(1)), db = EDGE(v, 699, N(-1));
        output(&b, ir_einsum(&b.g, &outer, &oa, &ob));
        output(&b, ir_einsum(&b.g, &dot, &da, &db));
        bench_check(&b, dtype_table[types[i]].name, false);
    }
}

static void test_reduce(void **state) {
    (void)state;
    for (int f = 0; f < FOLD_COUNT; f++) {
        bench b;
        bench_start(&b);
        ir_node *x = rows(&b, 1200), *v = array(&b, 60);
        ir_space last = SPACE(SYM_ROWS, 2, P, N(2), N(600)), first = SPACE(SYM_ROWS, 2, P, N(600), N(2)), mid = SPACE(SYM_NONE, 2, N(3), N(4), N(5)), all = SPACE(SYM_NONE, 0, N(60));
        ir_edge e = EDGE(x, 0, N(1200), N(600), N(1));
        output(&b, ir_reduce(&b.g, (fold_kind)f, &last, &e));
        e = EDGE(x, 0, N(1200), N(1), N(600));
        output(&b, ir_reduce(&b.g, (fold_kind)f, &first, &e));
        e = EDGE(v, 0, N(20), N(1), N(4));
        output(&b, ir_reduce(&b.g, (fold_kind)f, &mid, &e));
        e = EDGE(v, 0, N(1));
        output(&b, ir_reduce(&b.g, (fold_kind)f, &all, &e));
        bench_check(&b, fold_names[f], false);
    }
}

// ---- rows ----------------------------------------------------------------------------------------
static void test_rows(void **state) {
    (void)state;
    bench b;
    bench_start(&b);
    ir_node *x = rows(&b, 130), *v = array(&b, 700), *mask = toy_map1(&b.g, MAP_STEP, v);
    ir_space sp = SPACE(SYM_ROWS, 3, P, N(2), N(65)), one = SPACE(SYM_NONE, 1, N(700)), turned = SPACE(SYM_ROWS, 2, P, N(130));
    ir_edge xe = EDGE(x, 0, N(130), N(65), N(1)), me = EDGE(mask, 20, N(0), N(70), N(1)), ve = EDGE(v, 0, N(1)), back = EDGE(x, 129, N(130), N(-1));
    output(&b, ir_softmax(&b.g, &sp, &xe, NULL));
    output(&b, ir_softmax(&b.g, &sp, &xe, &me));
    output(&b, ir_softmax(&b.g, &one, &ve, NULL));
    output(&b, ir_softmax(&b.g, &turned, &back, NULL));
    output(&b, ir_topk(&b.g, &sp, &xe, 4));
    output(&b, ir_topk(&b.g, &one, &ve, 33));
    ir_node *coarse = toy_map1(&b.g, MAP_ROUND, toy_map2(&b.g, MAP_MUL, x, ir_scalar(&b.g, 3))); // many equal values
    ir_edge ce = EDGE(coarse, 0, N(130), N(65), N(1));
    output(&b, ir_topk(&b.g, &sp, &ce, 11));
    ir_node *none = toy_map2(&b.g, MAP_MUL, mask, ir_scalar(&b.g, 0)); // a mask that lets nothing through
    ir_edge ne = EDGE(none, 0, N(0), N(0), N(1));
    output(&b, ir_softmax(&b.g, &sp, &xe, &ne));
    bench_check(&b, "rows", false);
}

static void test_norms(void **state) {
    (void)state;
    bench b;
    bench_start(&b);
    ir_node *x = rows(&b, 96), *w = array(&b, 32), *bias = array(&b, 96), *half = weights(&b, DT_F16, 3, 64);
    ir_space heads = SPACE(SYM_ROWS, 3, P, N(3), N(32)), whole = SPACE(SYM_ROWS, 2, P, N(96)), fixed = SPACE(SYM_NONE, 2, N(3), N(64)), one = SPACE(SYM_NONE, 1, N(96));
    ir_node *n = ir_proto(&b.g, IR_RMS_NORM, &heads, 2);
    n->in[0] = EDGE(x, 0, N(96), N(32), N(1)), n->in[1] = EDGE(w, 0, N(0), N(0), N(1)), n->u.norm.eps = 1e-3f;
    output(&b, ir_intern(&b.g, n));
    n = ir_proto(&b.g, IR_LAYER_NORM, &whole, 3);
    n->in[0] = EDGE(x, 0, N(96), N(1)), n->in[1] = EDGE(bias, 0, N(0), N(1)), n->in[2] = EDGE(bias, 0, N(0), N(1)), n->u.norm.eps = 1e-3f;
    output(&b, ir_intern(&b.g, n));
    n = ir_proto(&b.g, IR_RMS_NORM, &fixed, 1); // of a tensor that is not float32
    n->in[0] = EDGE(half, 0, N(64), N(1)), n->u.norm.eps = 1e-3f;
    output(&b, ir_intern(&b.g, n));
    n = ir_proto(&b.g, IR_LAYER_NORM, &one, 1);
    n->in[0] = EDGE(bias, 0, N(1)), n->u.norm.eps = 1e-3f;
    output(&b, ir_intern(&b.g, n));
    bench_check(&b, "norms", false);
}

// ---- moving data ---------------------------------------------------------------------------------
static void test_gather(void **state) {
    (void)state;
    bench b;
    bench_start(&b);
    ir_node *table = array(&b, 5 * 4 * 30), *pos = ir_input_node(&b.g, INPUT_POS, SYM_ROWS), *outs = ir_input_node(&b.g, INPUT_OUT, SYM_OUT), *x = rows(&b, 40);
    // table[pos[p], j, k] with a float index besides; positions above 4 are outside
    float *pick = arena_array(&b.mem, float, 3);
    pick[0] = 3, pick[1] = -1, pick[2] = 1;
    ir_node *which = ir_const(&b.g, DT_F32, pick, 3);
    ir_space sp = SPACE(SYM_ROWS, 3, P, N(3), N(30)), out = SPACE(SYM_OUT, 2, P, N(40)), within = SPACE(SYM_ROWS, 2, P, N(3));
    ir_edge base = EDGE(table, 0, N(0), N(0), N(1)), idx[2] = {EDGE(pos, 0, N(1), N(0), N(0)), EDGE(which, 0, N(0), N(1), N(0))};
    int64_t steps[2] = {120, 30}, limits[2] = {5, 4}, n40 = 40, none = 0, n1 = 1;
    output(&b, ir_gather(&b.g, &sp, &base, 2, idx, steps, limits));
    ir_edge xe = EDGE(x, 0, N(0), N(1)), oe = EDGE(outs, 0, N(1), N(0));
    output(&b, ir_gather(&b.g, &out, &xe, 1, &oe, &n40, &none));
    ir_edge in_row = EDGE(x, 0, N(40), N(0)), we = EDGE(which, 0, N(0), N(1)); // x[p, which[j]]
    output(&b, ir_gather(&b.g, &within, &in_row, 1, &we, &n1, &n40));
    ir_space ints = SPACE(SYM_OUT, 1, P); // pos[out[o]]
    ir_edge pe = EDGE(pos, 0, N(0)), o1 = EDGE(outs, 0, N(1));
    output(&b, ir_gather(&b.g, &ints, &pe, 1, &o1, &n1, &none));
    bench_check(&b, "gather", false);
}

static void test_assemble(void **state) {
    (void)state;
    bench b;
    bench_start(&b);
    ir_node *x = rows(&b, 40), *y = rows(&b, 600), *v = array(&b, 30);
    ir_space sp = SPACE(SYM_ROWS, 2, P, N(700)), fixed = SPACE(SYM_NONE, 2, N(6), N(10));
    ir_edge parts[3] = {EDGE(y, 0, N(600), N(1)), EDGE(x, 4, N(40), N(1)), EDGE(x, 39, N(40), N(-1))};
    int64_t at[3] = {0, 600, 661}, stride[6] = {700, 1, 700, 1, 700, 2}, sizes[6] = {1, 600, 1, 36, 1, 19};
    output(&b, ir_assemble(&b.g, &sp, 3, parts, at, stride, sizes));
    ir_edge two[2] = {EDGE(v, 0, N(5), N(1)), EDGE(v, 29, N(-5), N(-1))};
    int64_t at2[2] = {0, 15}, stride2[4] = {10, 1, 10, 1}, sizes2[4] = {6, 5, 4, 5};
    output(&b, ir_assemble(&b.g, &fixed, 2, two, at2, stride2, sizes2));
    bench_check(&b, "assemble", false);
}

static void test_scatter(void **state) { // written by slot, read before and after, in every type that states have
    (void)state;
    static const tl_dtype types[] = {DT_F32, DT_F16, DT_Q8_0, DT_I32, DT_BF16};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bench b;
        bench_start(&b);
        ir_state *s = b.states[b.n_states++] = toy_state(&b.mem, "s", types[i], 24, 64, 0), *t = b.states[b.n_states++] = toy_state(&b.mem, "t", types[i], 3, 64, 1);
        ir_node *x = toy_map2(&b.g, MAP_MUL, rows(&b, 64), ir_scalar(&b.g, 9)), *slot = ir_input_node(&b.g, INPUT_SLOT, SYM_ROWS), *a = array(&b, 96);
        ir_node *old = ir_state_node(&b.g, s, 0), *new1, *new2;
        ir_space sp = SPACE(SYM_ROWS, 2, P, N(64)), whole = SPACE(SYM_NONE, 2, N(24), N(64)), part = SPACE(SYM_NONE, 2, N(2), N(32));
        ir_edge xe = EDGE(x, 0, N(64), N(1)), se = EDGE(slot, 0, N(1), N(0)), all = EDGE(old, 0, N(64), N(1)), ae = EDGE(a, 7, N(40), N(1));
        int64_t rows_to[IR_MAX_LABELS] = {0, 1}, part_to[IR_MAX_LABELS] = {64, 1};
        output(&b, ir_map(&b.g, MAP_NEG, &whole, &all));
        b.t.s.rows = 0;
        toy_rows(&b.t, 0, 7, 1, 3, true);
        b.t.slot[2] = -1, b.t.slot[5] = 99;
        ir_scatter(&b.g, old, &sp, &xe, &se, 64, 24, 0, rows_to);
        new1 = ir_state_node(&b.g, s, 1);
        all.node = new1;
        output(&b, ir_map(&b.g, MAP_NEG, &whole, &all));
        ir_edge back = EDGE(x, 0, N(64), N(1));
        back.node = toy_map2(&b.g, MAP_ADD, x, ir_scalar(&b.g, 1));
        ir_scatter(&b.g, new1, &sp, &back, &se, 64, 24, 0, rows_to);
        new2 = ir_state_node(&b.g, s, 2);
        all.node = new2;
        output(&b, ir_map(&b.g, MAP_NEG, &whole, &all));
        ir_scatter(&b.g, ir_state_node(&b.g, t, 0), &part, &ae, NULL, 0, 0, 32, part_to); // two stretches of a state, no reader
        output(&b, new1); // the state itself, before it is overwritten
        bench_check(&b, dtype_table[types[i]].name, false);
    }
}

// ---- matrices ------------------------------------------------------------------------------------
static void test_linear(void **state) { // slices that start and end inside a group of rows; one row; several fixed rows
    (void)state;
    static const struct { tl_dtype t; double close; } types[] = {{DT_F32, 1e-5}, {DT_F16, 1e-2}, {DT_Q4_0, 1e-2}, {DT_Q8_0, 1e-2}, {DT_Q6_K, 1e-2}};
    static const struct { int64_t row0, n; } slices[] = {{0, 83}, {0, 40}, {16, 32}, {5, 60}, {70, 13}, {33, 9}, {82, 1}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t j = 0; j < sizeof slices / sizeof *slices; j++) {
            bench b;
            bench_start(&b);
            int64_t K = 256, n = slices[j].n;
            ir_node *w = weights(&b, types[i].t, 83, K), *x = rows(&b, 2 * K), *v = toy_map1(&b.g, MAP_NEG, array(&b, 4 * K + 3));
            ir_space sp = SPACE(SYM_ROWS, 2, P, n, K), fixed = SPACE(SYM_NONE, 2, N(4), n, K), one = SPACE(SYM_NONE, 1, n, K);
            ir_edge we = EDGE(w, slices[j].row0 * K, N(0), K, N(1)), xe = EDGE(x, K, 2 * K, N(0), N(1)), ve = EDGE(v, 3, K, N(0), N(1));
            output(&b, ir_einsum(&b.g, &sp, &we, &xe));
            output(&b, ir_einsum(&b.g, &fixed, &we, &ve));
            ir_edge w1 = EDGE(w, slices[j].row0 * K, K, N(1)), v1 = EDGE(v, 0, N(0), N(1));
            output(&b, ir_einsum(&b.g, &one, &w1, &v1));
            b.close = types[i].close;
            if (n > 1) {
                ir_rewrite(&b.g);
                for (int o = 0; o < 3; o++) assert_int_equal(b.g.outputs[o]->op, IR_LINEAR);
            }
            bench_check(&b, dtype_table[types[i].t].name, false);
        }
}

static void test_embed(void **state) {
    (void)state;
    bench b;
    bench_start(&b);
    int64_t K = 64, limit = 10;
    ir_node *w = weights(&b, DT_Q8_0, 10, K), *pos = ir_input_node(&b.g, INPUT_POS, SYM_ROWS);
    int32_t *ids = arena_array(&b.mem, int32_t, 3);
    ids[0] = 9, ids[1] = 0, ids[2] = 12;
    ir_node *c = ir_const(&b.g, DT_I32, ids, 3);
    ir_space sp = SPACE(SYM_ROWS, 2, P, K), fixed = SPACE(SYM_NONE, 2, N(3), K);
    ir_edge we = EDGE(w, 0, N(0), N(1)), pe = EDGE(pos, 0, N(1), N(0)), ce = EDGE(c, 0, N(1), N(0));
    output(&b, ir_gather(&b.g, &sp, &we, 1, &pe, &K, &limit));
    output(&b, ir_gather(&b.g, &fixed, &we, 1, &ce, &K, &limit));
    ir_rewrite(&b.g);
    assert_int_equal(b.g.outputs[0]->op, IR_EMBED);
    assert_int_equal(b.g.outputs[1]->op, IR_EMBED);
    bench_check(&b, "embed", false);
}

static void test_leaves(void **state) { // outputs that no kernel computes
    (void)state;
    bench b;
    bench_start(&b);
    float *v = arena_array(&b.mem, float, 3);
    v[0] = 1, v[1] = 2, v[2] = 3;
    output(&b, ir_scalar(&b.g, 2.5));
    output(&b, ir_const(&b.g, DT_F32, v, 3));
    output(&b, weights(&b, DT_F32, 2, 5));
    output(&b, weights(&b, DT_Q4_0, 2, 64));
    output(&b, ir_input_node(&b.g, INPUT_POS, SYM_ROWS));
    output(&b, ir_iota(&b.g, 9));
    output(&b, array(&b, 12));
    b.close = 0;
    bench_check(&b, "leaves", true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_maps),   cmocka_unit_test(test_map_reads), cmocka_unit_test(test_flat),     cmocka_unit_test(test_fused), cmocka_unit_test(test_gates),
        cmocka_unit_test(test_einsum), cmocka_unit_test(test_reduce),    cmocka_unit_test(test_rows),     cmocka_unit_test(test_norms),
        cmocka_unit_test(test_gather), cmocka_unit_test(test_assemble),  cmocka_unit_test(test_scatter),  cmocka_unit_test(test_linear),
        cmocka_unit_test(test_embed),  cmocka_unit_test(test_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
