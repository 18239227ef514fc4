// toy.c - see toy.h.
#include "toy.h"

// ---- random data ---------------------------------------------------------------------------------
float toy_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

ir_weight *toy_weight(arena *a, const char *name, tl_dtype t, int64_t rows, int64_t cols, float scale, uint64_t *seed) {
    ir_weight *w = arena_new(a, ir_weight);
    size_t bytes;
    assert_true(dtype_bytes(t, cols, &bytes));
    float *f = arena_array(a, float, rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) f[i] = toy_random(seed) * scale;
    void *data = arena_alloc(a, bytes * (size_t)rows);
    quant_encode(t, f, data, rows * cols);
    *w = (ir_weight){.name = name, .type = t, .rows = rows, .cols = cols, .data = data, .bytes = bytes * (size_t)rows};
    return w;
}

ir_state *toy_state(arena *a, const char *name, tl_dtype t, int64_t slots, int64_t width, int64_t layer) {
    ir_state *s = arena_new(a, ir_state);
    size_t bytes;
    assert_true(dtype_bytes(t, width, &bytes));
    *s = (ir_state){.name = name, .type = t, .slots = slots, .width = width, .layer = layer, .per_slot = true, .width0 = width, .slot_bytes = bytes};
    s->data = arena_alloc(a, bytes * (size_t)slots);
    return s;
}

// ---- short forms ---------------------------------------------------------------------------------
ir_space toy_space(ir_sym sym, int nout, ...) {
    ir_space sp = {.sym = sym, .nout = nout};
    va_list ap;
    va_start(ap, nout);
    for (int64_t v; (v = va_arg(ap, int64_t)) != 0;) sp.size[sp.nlab++] = v < 0 ? 0 : v;
    va_end(ap);
    return sp;
}

ir_edge toy_edge(ir_node *n, int64_t offset, ...) {
    ir_edge e = {.node = n, .offset = offset};
    va_list ap;
    va_start(ap, offset);
    int i = 0;
    for (int64_t v; (v = va_arg(ap, int64_t)) != TOY_END;) e.stride[i++] = v;
    va_end(ap);
    return e;
}

static ir_space space_of(const ir_node *n) {
    ir_space sp = {.sym = n->sym, .nlab = n->nout, .nout = n->nout};
    memcpy(sp.size, n->size, sizeof sp.size);
    return sp;
}

ir_node *toy_map1(ir_graph *g, map_op op, ir_node *a) {
    ir_space sp = space_of(a);
    ir_edge e = ir_whole(a);
    return ir_map(g, op, &sp, &e);
}

ir_node *toy_map2(ir_graph *g, map_op op, ir_node *a, ir_node *b) {
    ir_space sp = space_of(a);
    ir_edge e[2] = {ir_whole(a), b->nout ? ir_whole(b) : (ir_edge){.node = b}};
    return ir_map(g, op, &sp, e);
}

ir_node *toy_linear(ir_graph *g, ir_weight *w, ir_node *x) {
    ir_space sp = SPACE(x->sym, 2, P, w->rows, w->cols);
    ir_edge we = EDGE(ir_weight_node(g, w), 0, N(0), w->cols, N(1)), xe = EDGE(x, 0, x->inner, N(0), N(1));
    return ir_einsum(g, &sp, &we, &xe);
}

ir_node *toy_rms_norm(ir_graph *g, ir_node *x, ir_weight *w, float eps) {
    int64_t n = x->inner;
    ir_space rows = SPACE(x->sym, 1, P, n), one = SPACE(x->sym, 1, P), all = SPACE(x->sym, 2, P, n);
    ir_edge sq = EDGE(toy_map1(g, MAP_SQUARE, x), 0, n, N(1));
    ir_node *avg = ir_reduce(g, FOLD_AVG, &rows, &sq);
    ir_edge e[2] = {EDGE(avg, 0, N(1)), {.node = ir_scalar(g, (double)eps)}};
    ir_node *root = toy_map1(g, MAP_SQRT, ir_map(g, MAP_ADD, &one, e));
    ir_edge d[2] = {EDGE(x, 0, n, N(1)), EDGE(root, 0, N(1), N(0))};
    ir_edge m[2] = {{0}, EDGE(ir_weight_node(g, w), 0, N(0), N(1))};
    m[0] = EDGE(ir_map(g, MAP_DIV, &all, d), 0, n, N(1));
    return ir_map(g, MAP_MUL, &all, m);
}

// ---- the transformer -----------------------------------------------------------------------------
const toy_config toy_small = {.embd = 64, .heads = 4, .kv_heads = 2, .head = 32, .ffn = 96, .vocab = 80, .layers = 2, .slots = 96,
                              .weights = DT_F32, .cache = DT_F32};

typedef struct maker {
    toy_model *m;
    ir_graph *g;
    uint64_t seed;
    ir_node *pos, *seq, *slot;
    ir_node *rotation; // [p, j, 2, 2]
    ir_node *causal, *windowed; // [p, s]
} maker;

static ir_weight *weight(maker *k, const char *what, int layer, tl_dtype t, int64_t rows, int64_t cols, float scale) {
    ir_weight *w = toy_weight(&k->m->mem, arena_printf(&k->m->mem, "blk.%d.%s", layer, what), t, rows, cols, scale, &k->seed);
    return k->m->weights[k->m->n_weights++] = w;
}

static ir_weight *matrix(maker *k, const char *what, int layer, int64_t rows, int64_t cols) {
    return weight(k, what, layer, k->m->c.weights, rows, cols, 1.5f / sqrtf((float)cols));
}

static ir_state *state(maker *k, const char *name, tl_dtype t, int64_t width, int64_t layer) {
    return k->m->states[k->m->n_states++] = toy_state(&k->m->mem, name, t, k->m->c.slots, width, layer);
}

static ir_node *norm(maker *k, ir_node *x, const char *what, int layer) {
    return toy_rms_norm(k->g, x, weight(k, what, layer, DT_F32, 1, x->inner, 1), 1e-5f);
}

static void make_rotation(maker *k) {
    ir_graph *g = k->g;
    int64_t half = k->m->c.head / 2;
    float *f = arena_array(&k->m->mem, float, half);
    for (int64_t j = 0; j < half; j++) f[j] = powf(10000, -2 * (float)j / (float)k->m->c.head);
    ir_space sp = SPACE(SYM_ROWS, 2, P, half);
    ir_edge e[2] = {EDGE(k->pos, 0, N(1), N(0)), EDGE(ir_const(g, DT_F32, f, half), 0, N(0), N(1))};
    ir_node *angle = ir_map(g, MAP_MUL, &sp, e), *c = toy_map1(g, MAP_COS, angle), *s = toy_map1(g, MAP_SIN, angle), *ms = toy_map1(g, MAP_NEG, s);
    ir_space r = SPACE(SYM_ROWS, 4, P, half, N(2), N(2));
    ir_node *from[4] = {c, ms, s, c};
    ir_edge parts[4];
    int64_t offset[4], stride[16], sizes[16];
    for (int i = 0; i < 4; i++) {
        parts[i] = EDGE(from[i], 0, half, N(1), N(0), N(0));
        offset[i] = i;
        memcpy(stride + 4 * i, (int64_t[]){half * 4, 4, 2, 1}, sizeof(int64_t) * 4);
        memcpy(sizes + 4 * i, (int64_t[]){1, half, 1, 1}, sizeof(int64_t) * 4);
    }
    k->rotation = ir_assemble(g, &r, 4, parts, offset, stride, sizes);
}

// sum_c R[p, j, c', c] x[p, h, (c j) or (j c)]
static ir_node *rotate(maker *k, ir_node *x, int64_t heads) {
    int64_t d = k->m->c.head, half = d / 2;
    if (k->m->c.interleaved) {
        ir_space sp = SPACE(SYM_ROWS, 4, P, heads, half, N(2), N(2)); // p h j c' | c
        ir_edge r = EDGE(k->rotation, 0, half * 4, N(0), N(4), N(2), N(1)), t = EDGE(x, 0, heads * d, d, N(2), N(0), N(1));
        return ir_einsum(k->g, &sp, &r, &t);
    }
    ir_space sp = SPACE(SYM_ROWS, 4, P, heads, N(2), half, N(2)); // p h c' j | c
    ir_edge r = EDGE(k->rotation, 0, half * 4, N(0), N(2), N(4), N(1)), t = EDGE(x, 0, heads * d, d, N(0), N(1), half);
    return ir_einsum(k->g, &sp, &r, &t);
}

static ir_node *store(maker *k, ir_state *s, ir_node *value) { // state'[slot[p]] = value[p]
    ir_space sp = s->width == 1 ? SPACE(SYM_ROWS, 1, P) : SPACE(SYM_ROWS, 2, P, s->width);
    ir_edge v = EDGE(value, 0, s->width, N(1)), slot = EDGE(k->slot, 0, N(1), N(0));
    int64_t dst[IR_MAX_LABELS] = {0, 1};
    ir_scatter(k->g, ir_state_node(k->g, s, 0), &sp, &v, &slot, s->width, s->slots, 0, dst);
    return ir_state_node(k->g, s, 1);
}

static void make_masks(maker *k) {
    ir_graph *g = k->g;
    int64_t slots = k->m->c.slots;
    ir_node *at = store(k, state(k, "at", DT_I32, 1, -1), k->pos);
    ir_space sp = SPACE(SYM_ROWS, 2, P, slots), one = SPACE(SYM_ROWS, 1, P);
    ir_edge seq = EDGE(k->seq, 0, N(1), N(0));
    ir_node *owned = ir_owned(g, &seq, &sp);
    ir_edge le[2] = {EDGE(at, 0, N(0), N(1)), EDGE(k->pos, 0, N(1), N(0))};
    k->causal = toy_map2(g, MAP_AND, owned, ir_map(g, MAP_LE, &sp, le));
    if (!k->m->c.window) return;
    ir_edge sub[2] = {EDGE(k->pos, 0, N(1)), {.node = ir_scalar(g, k->m->c.window)}};
    ir_edge gt[2] = {EDGE(at, 0, N(0), N(1)), EDGE(ir_map(g, MAP_SUB, &one, sub), 0, N(1), N(0))};
    k->windowed = toy_map2(g, MAP_AND, k->causal, ir_map(g, MAP_GT, &sp, gt));
}

static ir_node *attention(maker *k, ir_node *q, ir_node *key, ir_node *value, int layer) {
    const toy_config *c = &k->m->c;
    ir_graph *g = k->g;
    int64_t r = c->heads / c->kv_heads, d = c->head, S = c->slots, w = c->kv_heads * d;
    ir_node *ks = store(k, state(k, "K", c->cache, w, layer), key), *vs = store(k, state(k, "V", c->cache, w, layer), value);
    ir_space qk = SPACE(SYM_ROWS, 4, P, c->kv_heads, r, S, d);
    ir_edge qe = EDGE(q, 0, c->heads * d, r * d, d, N(0), N(1)), ke = EDGE(ks, 0, N(0), d, N(0), w, N(1));
    ir_node *s = toy_map2(g, MAP_MUL, ir_einsum(g, &qk, &qe, &ke), ir_scalar(g, 1 / sqrt((double)d)));
    if (c->softcap != 0) {
        s = toy_map1(g, MAP_TANH, toy_map2(g, MAP_DIV, s, ir_scalar(g, (double)c->softcap)));
        s = toy_map2(g, MAP_MUL, s, ir_scalar(g, (double)c->softcap));
    }
    ir_node *mask = layer % 2 && c->window ? k->windowed : k->causal;
    ir_space sp = SPACE(SYM_ROWS, 4, P, c->kv_heads, r, S), av = SPACE(SYM_ROWS, 4, P, c->kv_heads, r, d, S);
    ir_edge se = EDGE(s, 0, c->heads * S, r * S, S, N(1)), me = EDGE(mask, 0, S, N(0), N(0), N(1));
    ir_node *a = ir_softmax(g, &sp, &se, &me);
    ir_edge ae = EDGE(a, 0, c->heads * S, r * S, S, N(0), N(1)), ve = EDGE(vs, 0, N(0), d, N(0), N(1), w);
    return ir_einsum(g, &av, &ae, &ve);
}

static ir_node *layer(maker *k, ir_node *x, int l) {
    const toy_config *c = &k->m->c;
    ir_graph *g = k->g;
    ir_node *n = norm(k, x, "attn_norm", l);
    ir_node *q = toy_linear(g, matrix(k, "q", l, c->heads * c->head, c->embd), n), *key = toy_linear(g, matrix(k, "k", l, c->kv_heads * c->head, c->embd), n),
            *v = toy_linear(g, matrix(k, "v", l, c->kv_heads * c->head, c->embd), n);
    ir_node *a = attention(k, rotate(k, q, c->heads), rotate(k, key, c->kv_heads), v, l);
    x = toy_map2(g, MAP_ADD, x, toy_linear(g, matrix(k, "o", l, c->embd, c->heads * c->head), a));
    n = norm(k, x, "ffn_norm", l);
    ir_node *gate = toy_linear(g, matrix(k, "gate", l, c->ffn, c->embd), n), *up = toy_linear(g, matrix(k, "up", l, c->ffn, c->embd), n);
    ir_node *h = toy_map2(g, MAP_MUL, toy_map1(g, MAP_SILU, gate), up);
    return toy_map2(g, MAP_ADD, x, toy_linear(g, matrix(k, "down", l, c->embd, c->ffn), h));
}

void toy_build(toy_model *m, const toy_config *c) {
    *m = (toy_model){.c = *c};
    ir_init(&m->g, &m->mem);
    maker k = {.m = m, .g = &m->g, .seed = 7};
    k.pos = ir_input_node(&m->g, INPUT_POS, SYM_ROWS);
    k.seq = ir_input_node(&m->g, INPUT_SEQ, SYM_ROWS);
    k.slot = ir_input_node(&m->g, INPUT_SLOT, SYM_ROWS);
    ir_node *tok = ir_input_node(&m->g, INPUT_TOK, SYM_ROWS), *outs = ir_input_node(&m->g, INPUT_OUT, SYM_OUT);
    make_rotation(&k);
    make_masks(&k);
    ir_weight *table = weight(&k, "embd", 0, c->weights, c->vocab, c->embd, 1);
    ir_space sp = SPACE(SYM_ROWS, 2, P, c->embd), so = SPACE(SYM_OUT, 2, P, c->embd);
    ir_edge we = EDGE(ir_weight_node(&m->g, table), 0, N(0), N(1)), te = EDGE(tok, 0, N(1), N(0));
    ir_node *x = ir_gather(&m->g, &sp, &we, 1, &te, &c->embd, &c->vocab);
    for (int l = 0; l < c->layers; l++) {
        x = layer(&k, x, l);
        if (l == 0) m->watched = x;
    }
    x = norm(&k, x, "out_norm", 0);
    int64_t no_limit = 0;
    ir_edge xe = EDGE(x, 0, N(0), N(1)), oe = EDGE(outs, 0, N(1), N(0));
    ir_node *picked = ir_gather(&m->g, &so, &xe, 1, &oe, &c->embd, &no_limit);
    m->g.outputs[m->g.n_outputs++] = toy_linear(&m->g, table, picked);
    tl_error err = {0};
    if (ir_verify(&m->g, &err) != TL_OK) fail_msg("%s", err.message);
    if (c->plain) return;
    ir_rewrite(&m->g);
    if (ir_verify(&m->g, &err) != TL_OK) fail_msg("%s", err.message);
    ir_fuse_maps(&m->g);
    if (ir_verify(&m->g, &err) != TL_OK) fail_msg("%s", err.message);
}

void toy_free(toy_model *m) {
    for (int i = 0; i < m->n_weights; i++) plan_weight_free(m->weights[i]);
    arena_free(&m->mem);
}

void toy_clear_states(toy_model *m) {
    for (int i = 0; i < m->n_states; i++) memset(m->states[i]->data, 0, m->states[i]->slot_bytes * (size_t)m->states[i]->slots);
}

// ---- running -------------------------------------------------------------------------------------
plan_backend toy_backend(pool *threads) {
    plan_backend b = {.threads = threads};
    tl_error err;
    assert_int_equal(cpu_select(NULL, &b.k, &err), TL_OK);
    return b;
}

void toy_rows(toy_step *t, int64_t r0, int64_t r1, int seq, int32_t base, bool all_outs) {
    int64_t n = t->s.rows;
    for (int64_t r = r0; r < r1; r++, n++) {
        t->tok[n] = (int32_t)((r * 7 + seq * 5 + 3) % 80);
        t->pos[n] = (int32_t)r;
        t->seq[n] = seq;
        t->slot[n] = base + (int32_t)r;
        if (all_outs || r + 1 == r1) t->out[t->s.outs++] = (int32_t)n;
    }
    for (int64_t r = 0; r < r1; r++) {
        t->slots[seq][r] = base + (int32_t)r;
        t->at[seq][r] = (int32_t)r;
    }
    t->seqs[seq] = (attn_seq){.slots = t->slots[seq], .at = t->at[seq], .n = r1};
    t->s.rows = n;
    t->s.in[INPUT_TOK] = t->tok, t->s.in[INPUT_POS] = t->pos, t->s.in[INPUT_SEQ] = t->seq, t->s.in[INPUT_SLOT] = t->slot, t->s.in[INPUT_OUT] = t->out;
    t->s.seqs = t->seqs;
    t->s.n_seqs = 4;
}

double toy_distance(const float *a, const float *b, int64_t n) {
    double most = 0, size = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= most)) most = d; // NaN too
        if (fabs((double)b[i]) > size) size = fabs((double)b[i]);
    }
    return most / size;
}
