// session.c - sequences in one cache: slots, who owns them, steps.
//
// A sequence is a list of slots in the order of positions. Forked sequences share slots (slots.h); nothing is copied.
// A step appends its rows to their sequences, runs the plan, and takes the rows back if that failed. Where every layer
// looks through a window only, a sequence lets go of what has left the widest one.
#include <inttypes.h>
#include <sys/mman.h>

#include "run/session_int.h"

enum { TAKE_BACK = 64 };    // positions that a sequence may be cut by although they have left the window

static tl_status new_states(tl_session *s, tl_error *err) {
    for (ev_state *st = s->states; st; st = st->next) {
        size_t bytes;
        if (!size_mul(st->ir.slot_bytes, (size_t)st->ir.slots, &bytes)) return err_set(err, TL_E_MEMORY, "the cache does not fit in memory");
        // Pages come when they are first written: an unused part of the cache costs nothing.
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) return err_set(err, TL_E_MEMORY, "a cache of %" PRId64 " positions does not fit in memory; ask for less with -c N", s->n_ctx);
        st->ir.data = p;
    }
    return TL_OK;
}

static tl_status new_tables(tl_session *s, bool keep, tl_error *err) {
    s->n_list = 2 * s->n_ctx;
    s->n_chosen = -1;
    s->chosen = mem_calloc((size_t)s->n_batch, sizeof *s->chosen);
    s->seqs = mem_calloc((size_t)s->n_seq, sizeof *s->seqs);
    s->views = mem_calloc((size_t)s->n_seq, sizeof *s->views);
    s->prompt = mem_calloc((size_t)s->n_batch, sizeof *s->prompt);
    bool ok = slots_init(&s->pool, s->n_ctx, keep) && s->chosen && s->seqs && s->views && s->prompt;
    for (int i = 0; i < INPUT_COUNT && ok; i++) ok = (s->in[i] = mem_calloc((size_t)s->n_batch, sizeof(int32_t))) != NULL;
    for (int32_t i = 0; i < s->n_seq && ok; i++) {
        s->seqs[i].slots = mem_alloc((size_t)s->n_list * sizeof(int32_t));
        s->seqs[i].at = mem_alloc((size_t)s->n_list * sizeof(int32_t));
        ok = s->seqs[i].slots && s->seqs[i].at;
    }
    return ok ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

static tl_status cache_type(const char *name, tl_dtype *out, tl_error *err) {
    *out = DT_COUNT;
    if (!name) return TL_OK;
    *out = dtype_from_name(str_of(name));
    if (*out == DT_F16 || *out == DT_F32 || *out == DT_Q8_0 || *out == DT_Q4_0) return TL_OK;
    return err_set(err, TL_E_USAGE, "cache type \"%s\": there are f16, f32, q8_0 and q4_0", name);
}

// The widest window of the graph's rules; 0 where one of them sees all positions.
static int64_t widest_window(const ir_graph *g) {
    int64_t widest = 0;
    for (const ir_node *n = g->first; n; n = n->next) {
        if (!n->uses) continue;
        if (n->op == IR_OWNED || (n->op == IR_ATTENTION && (!n->u.attn.window || !n->u.attn.causal))) return 0;
        if (n->op == IR_ATTENTION && n->u.attn.window > widest) widest = n->u.attn.window;
    }
    return widest;
}

static tl_status adapt(tl_session *s, tl_error *err) {
    ir_adapter *list = s->m->adapters.p;
    TL_TRY(ir_adapt(&s->g, list, s->m->adapters.n, err));
    for (size_t i = 0; i < s->m->adapters.n; i++)
        if (!list[i].used) return err_set(err, TL_E_UNSUPPORTED, "an adapter changes %s, which the model's program does not read", list[i].of->name);
    return TL_OK;
}

tl_status session_trace(tl_model *m, char *const *patches, const ev_trace_options *o, ir_graph *g, ev_state **states, tl_error *err) {
    tl_status st = TL_OK;
    for (; patches && *patches && st == TL_OK; patches++) st = ev_add_patch(m->program, *patches, err);
    if (st == TL_OK) st = ev_trace(m->program, o, g, states, err);
    if (st == TL_OK) st = ev_patches_applied(m->program, err);
    ev_clear_patches(m->program);
    return st;
}

static tl_status copy_patches(tl_session *s, const char *const *list, tl_error *err) {
    size_t n = 0;
    while (list && list[n]) n++;
    s->patches = mem_calloc(n + 1, sizeof *s->patches);
    bool ok = s->patches != NULL;
    for (size_t i = 0; i < n && ok; i++) ok = (s->patches[i] = mem_strdup(list[i])) != NULL;
    return ok ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

// Makes the graph end where its last product begins: at what the logits are made from, [wanted rows, width].
static tl_status end_before_logits(ir_graph *g, tl_error *err) {
    const ir_node *n = g->outputs[0];
    while (n->op != IR_LINEAR && n->n_in > 0 && n->in[0].node->sym == SYM_OUT) n = n->in[0].node; // a soft cap, a scale
    ir_node *x = n->op == IR_LINEAR ? n->in[0].node : NULL;
    bool whole = x && x->sym == SYM_OUT && x->nout == 2 && x->type == DT_F32 && n->in[0].offset == 0 && n->in[0].stride[0] == x->size[1];
    if (!whole) return err_set(err, TL_E_UNSUPPORTED, "the program's result is no product of a matrix with a value for each row: there are no hidden states in front of it");
    g->outputs[0] = x;
    return TL_OK;
}

// What a GPU cannot compute, the CPU can: the session is there then, with a warning.
static tl_status make_plan(tl_session *s, plan_backend *b, const plan_limits *limits, tl_error *err) {
    tl_error why = {0};
    tl_status st = plan_new(&s->g, b, limits, &s->p, &why);
    if (st == TL_E_UNSUPPORTED && b->device) {
        engine_warn(s->m->engine, "%s; this session runs on the CPU", why.message);
        b->device = NULL;
        st = plan_new(&s->g, b, limits, &s->p, &why);
    }
    if (st != TL_OK && err) *err = why;
    return st;
}

static tl_status build(tl_session *s, const tl_session_options *so, tl_dtype type, tl_error *err) {
    bool watched = so->watch || so->lens;
    ev_trace_options o = {.n_ctx = s->n_ctx, .cache_type = type, .a = &s->a, .graph = &s->traced, .bindings = watched ? &s->watch.all : NULL, .lens = so->lens};
    s->cache_type = type;
    TL_TRY(copy_patches(s, so->patches, err));
    TL_TRY(session_trace(s->m, s->patches, &o, &s->g, &s->states, err));
    for (size_t i = 0; i < s->watch.all.n && so->lens; i++) // results of their own: what leads to them is fused, too
        if (s->watch.all.p[i].is_lens) s->watch.all.p[i].node->keep = true;
    ir_rewrite(&s->g);
    if (so->hidden) TL_TRY(end_before_logits(&s->g, err));
    s->width = s->g.outputs[0]->inner;
    s->hidden = so->hidden;
    TL_TRY(adapt(s, err));
    ir_fuse_maps(&s->g);
    if (watched) {
        TL_TRY(watch_pick(&s->watch, so->watch, so->lens, err));
        TL_TRY(watch_keep(&s->watch, &s->g, err));
        TL_TRY(adapt(s, err)); // of what came back
    }
    TL_TRY(ir_verify(&s->g, err));
    ir_count_uses(&s->g);
    if (!watched) { // who watches holds nodes
        ir_move(&s->g, &s->a);
        arena_free(&s->traced);
    }
    s->window = widest_window(&s->g);
    TL_TRY(new_states(s, err));
    plan_backend b = engine_backend(s->m->engine, s->m);
    b.device = so->nan_trap ? NULL : s->m->engine->device;
    if (so->nan_trap && s->m->engine->device) engine_warn(s->m->engine, "the NaN trap looks through values on the CPU, so this session runs there");
    plan_limits limits = {.max_rows = s->n_batch, .max_outs = s->n_batch, .max_slots = s->n_ctx, .device_layers = s->m->engine->o.gpu_layers};
    TL_TRY(make_plan(s, &b, &limits, err));
    s->trap = so->nan_trap;
    return plan_trap(s->p, so->nan_trap, err);
}

tl_status tl_session_new(tl_model *m, const tl_session_options *options, tl_session **out, tl_error *err) {
    tl_session_options o = options ? *options : (tl_session_options){0};
    if (!m->program) return err_set(err, TL_E_USAGE, "the model was opened without its program");
    tl_dtype type;
    TL_TRY(cache_type(o.cache_type, &type, err));
    if (o.n_ctx < 0 || o.n_batch < 0 || o.n_seq < 0 || o.n_ctx > INT32_MAX) return err_set(err, TL_E_USAGE, "sizes of a session are positive");
    tl_session *s = mem_calloc(1, sizeof *s);
    if (!s) return err_set(err, TL_E_MEMORY, "out of memory");
    s->m = m;
    s->n_ctx = o.n_ctx ? o.n_ctx : m->n_ctx_train && m->n_ctx_train < 4096 ? m->n_ctx_train : 4096;
    s->n_batch = o.n_batch ? o.n_batch : 512;
    if (s->n_batch > s->n_ctx) s->n_batch = s->n_ctx;
    s->n_seq = o.n_seq ? o.n_seq : 1;
    tl_status st = new_tables(s, o.keep_released, err);
    if (st == TL_OK) st = build(s, &o, type, err);
    if (st != TL_OK) tl_session_free(s);
    else *out = s;
    return st;
}

void tl_session_free(tl_session *s) {
    if (!s) return;
    cuda_chooser_free(s->chooser);
    mem_free(s->chosen);
    mem_free(s->choices);
    plan_free(s->p);
    for (ev_state *st = s->states; st; st = st->next)
        if (st->ir.data) munmap(st->ir.data, st->ir.slot_bytes * (size_t)st->ir.slots);
    for (int32_t i = 0; s->seqs && i < s->n_seq; i++) mem_free(s->seqs[i].slots), mem_free(s->seqs[i].at);
    for (int i = 0; i < INPUT_COUNT; i++) mem_free(s->in[i]);
    mem_free(s->seqs);
    mem_free(s->views);
    slots_free(&s->pool);
    mem_free(s->prompt);
    watch_free(&s->watch);
    for (char **p = s->patches; p && *p; p++) mem_free(*p);
    mem_free(s->patches);
    arena_free(&s->a);
    arena_free(&s->traced);
    mem_free(s);
}

int64_t tl_session_n_ctx(const tl_session *s) { return s->n_ctx; }
int64_t tl_session_n_batch(const tl_session *s) { return s->n_batch; }
int64_t tl_session_width(const tl_session *s) { return s->width; }
bool session_is_hidden(const tl_session *s) { return s->hidden; }
tl_memory tl_session_memory(const tl_session *s) {
    tl_memory all = {.file = (double)gguf_bytes(s->m->m.file), .workspace = (double)plan_workspace_bytes(s->p)};
    for (const ev_state *st = s->states; st; st = st->next) all.cache += (double)st->ir.slot_bytes * (double)st->ir.slots;
    for (size_t i = 0; i < gguf_n_tensors(s->m->m.file); i++) all.weights += (double)plan_weight_bytes(&s->m->m.weights[i]);
    return all;
}

int64_t tl_session_free_slots(const tl_session *s) { return s->pool.n_free; }
static int64_t length_of(const sequence *q) { return q->dropped + q->n; }
int64_t tl_seq_length(const tl_session *s, int32_t seq) { return seq >= 0 && seq < s->n_seq ? length_of(&s->seqs[seq]) : 0; }

void tl_session_print_plan(const tl_session *s, sbuf *out) { plan_print(s->p, out); }
void tl_session_print_ir(const tl_session *s, sbuf *out) { ir_print(&s->g, out); }
plan *tl_session_plan(const tl_session *s) { return s->p; }

const watch_list *session_watches(const tl_session *s) { return &s->watch; }

void session_last_step(const tl_session *s, int64_t *rows, int64_t *outs) {
    *rows = s->rows;
    *outs = s->outs;
}

const tl_model *session_model(const tl_session *s) { return s->m; }
int32_t session_sequences(const tl_session *s) { return s->n_seq; }

int64_t session_cached(const tl_session *s) {
    int64_t most = 0;
    for (int32_t i = 0; i < s->n_seq; i++) most = s->seqs[i].n > most ? s->seqs[i].n : most;
    return most;
}

// ---- sequences -------------------------------------------------------------------------------------
void session_append(tl_session *s, sequence *q, int32_t slot) {
    if (q->first + q->n == s->n_list) {
        memmove(q->slots, q->slots + q->first, (size_t)q->n * sizeof *q->slots);
        memmove(q->at, q->at + q->first, (size_t)q->n * sizeof *q->at);
        q->first = 0;
    }
    q->slots[q->first + q->n] = slot;
    q->at[q->first + q->n] = (int32_t)length_of(q);
    q->n++;
}

static void drop_last(tl_session *s, sequence *q) {
    q->n--;
    slots_drop(&s->pool, q->slots[q->first + q->n]);
    if (q->n == 0) q->first = 0, q->dropped = 0;
}

// What no later row can see, even if some of the last ones are taken back.
static void drop_hidden(tl_session *s, sequence *q) {
    while (q->n > 0 && q->at[q->first] <= length_of(q) - s->window - TAKE_BACK) {
        slots_drop(&s->pool, q->slots[q->first]);
        q->first++, q->n--, q->dropped++;
    }
}

// What is known of the token at a position, which has not been dropped.
static const slot_info *info_at(const tl_session *s, const sequence *q, int64_t at) {
    return &s->pool.slot[q->slots[q->first + at - q->dropped]];
}

void tl_seq_cut(tl_session *s, int32_t seq, int64_t length) {
    if (seq < 0 || seq >= s->n_seq || length < 0) return;
    sequence *q = &s->seqs[seq];
    // The next row would have to see positions that are gone.
    if (length < length_of(q) && q->dropped && length - s->window + 1 < q->dropped) length = 0;
    while (q->n && length_of(q) > length) drop_last(s, q);
}

static tl_status check_seq(const tl_session *s, int32_t seq, tl_error *err) {
    if (seq >= 0 && seq < s->n_seq) return TL_OK;
    return err_set(err, TL_E_USAGE, "sequences of this session are numbered 0 to %d, there is no %d", s->n_seq - 1, seq);
}

tl_status tl_seq_fork(tl_session *s, int32_t from, int32_t to, tl_error *err) {
    TL_TRY(check_seq(s, from, err));
    TL_TRY(check_seq(s, to, err));
    if (from == to) return TL_OK;
    tl_seq_cut(s, to, 0);
    sequence *a = &s->seqs[from], *b = &s->seqs[to];
    for (int64_t i = 0; i < a->n; i++) slots_share(&s->pool, a->slots[a->first + i]);
    memcpy(b->slots, a->slots + a->first, (size_t)a->n * sizeof *b->slots);
    memcpy(b->at, a->at + a->first, (size_t)a->n * sizeof *b->at);
    b->first = 0, b->n = a->n, b->dropped = a->dropped;
    return TL_OK;
}

int64_t tl_seq_share(tl_session *s, int32_t seq, const int32_t *ids, size_t n) {
    if (seq < 0 || seq >= s->n_seq) return 0;
    sequence *q = &s->seqs[seq];
    uint64_t hash = s->pool.seed, kept = hash; // of ids up to `at`, and of what the sequence keeps
    int64_t same = 0;
    for (int64_t at = 0; at < (int64_t)n && at < length_of(q); at++) { // a hash says all about the tokens before, dropped ones too
        hash = slots_hash(hash, ids[at]);
        if (at < q->dropped) continue;
        if (info_at(s, q, at)->hash != hash) break;
        same = at + 1, kept = hash;
    }
    tl_seq_cut(s, seq, same);
    if (length_of(q) == 0) kept = s->pool.seed;
    for (int64_t at = length_of(q); at < (int64_t)n && at < s->n_ctx; at++) {
        int32_t slot = slots_find(&s->pool, kept, ids[at], (int32_t)at);
        if (slot < 0) break;
        slots_share(&s->pool, slot);
        session_append(s, q, slot);
        kept = s->pool.slot[slot].hash;
    }
    return length_of(q);
}

// ---- steps -----------------------------------------------------------------------------------------
static tl_status check_rows(const tl_session *s, const tl_row *rows, size_t n, tl_error *err) {
    if (n == 0 || n > (size_t)s->n_batch) return err_set(err, TL_E_USAGE, "a step has 1 to %" PRId64 " rows, %zu were given", s->n_batch, n);
    if ((int64_t)n > s->pool.n_free)
        return err_set(err, TL_E_LIMIT, "the cache of %" PRId64 " positions is full; ask for more with -c N", s->n_ctx);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].seq < 0 || rows[i].seq >= s->n_seq) return err_set(err, TL_E_USAGE, "sequence %d of %d", rows[i].seq, s->n_seq);
        if (rows[i].token < 0 && -1 - (int64_t)rows[i].token < s->n_chosen) continue;
        if (rows[i].token < 0 || rows[i].token >= s->m->n_vocab)
            return err_set(err, TL_E_USAGE, "token id %d is outside the vocabulary of %" PRId64, rows[i].token, s->m->n_vocab);
    }
    return TL_OK;
}

// Rows of a trunk come first, and belong to sequences that are equally long.
static tl_status check_trunk(const tl_session *s, const tl_row *rows, size_t n, tl_error *err) {
    for (size_t i = 0; i < n; i++) {
        int32_t also = rows[i].also;
        if (also == 0) continue;
        bool ok = also > 0 && also < s->n_seq - rows[i].seq && (i == 0 || (rows[i - 1].also == also && rows[i - 1].seq == rows[i].seq));
        for (int32_t k = 1; ok && k <= also; k++) ok = length_of(&s->seqs[rows[i].seq + k]) == length_of(&s->seqs[rows[i].seq]);
        if (!ok) return err_set(err, TL_E_USAGE, "rows that several sequences own come first in a step, and these are forks of one sequence");
        if (s->m->engine->device) return err_set(err, TL_E_UNSUPPORTED, "on a GPU a row belongs to one sequence");
    }
    return TL_OK;
}

// Rows of a sequence come in order: the token before is known when a row's turn comes.
static void learn_row(tl_session *s, size_t i) {
    const sequence *q = &s->seqs[s->in[INPUT_SEQ][i]];
    int32_t at = s->in[INPUT_POS][i];
    uint64_t before = at > q->dropped ? info_at(s, q, at - 1)->hash : s->pool.seed;
    slots_learn(&s->pool, s->in[INPUT_SLOT][i], before, s->in[INPUT_TOK][i], at);
}

void session_learn_rows(tl_session *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const sequence *q = &s->seqs[s->in[INPUT_SEQ][i]];
        int64_t at = s->in[INPUT_POS][i];
        bool there = at >= q->dropped && at < length_of(q) && q->slots[q->first + at - q->dropped] == s->in[INPUT_SLOT][i];
        if (there) learn_row(s, i); // else it has been taken back meanwhile
    }
}

void session_take_back(tl_session *s, size_t n) {
    for (size_t i = n; i-- > 0;)
        for (int32_t k = 0; k <= (i < s->trunk ? s->trunk_also : 0); k++) {
            sequence *q = &s->seqs[s->in[INPUT_SEQ][i] + k];
            if (q->n && q->slots[q->first + q->n - 1] == s->in[INPUT_SLOT][i]) drop_last(s, q);
        }
}

// Tokens that are choices: known ones take their place. True: some are known to the device only.
static bool resolve_choices(tl_session *s, size_t n) {
    bool open = false;
    for (size_t i = 0; i < n; i++) {
        int32_t *t = &s->in[INPUT_TOK][i];
        if (*t >= 0) continue;
        if (s->choosing) open = true;
        else *t = session_choice(s, *t);
    }
    return open;
}

tl_status tl_session_step(tl_session *s, const tl_row *rows, size_t n, const float **logits, tl_error *err) {
    TL_TRY(check_rows(s, rows, n, err));
    TL_TRY(check_trunk(s, rows, n, err));
    if (s->late || plan_is_split(s->p)) TL_TRY(session_take_choices(s, err)); // the CPU's layers cannot read what a GPU has chosen
    int64_t outs = 0;
    s->trunk = 0, s->trunk_also = rows[0].also;
    for (size_t i = 0; i < n; i++) {
        sequence *q = &s->seqs[rows[i].seq];
        int32_t slot = slots_take(&s->pool);
        s->in[INPUT_TOK][i] = rows[i].token;
        s->in[INPUT_POS][i] = (int32_t)length_of(q);
        s->in[INPUT_SEQ][i] = rows[i].seq;
        s->in[INPUT_SLOT][i] = slot;
        session_append(s, q, slot);
        for (int32_t k = 1; k <= rows[i].also; k++) slots_share(&s->pool, slot), session_append(s, q + k, slot);
        s->trunk += rows[i].also > 0;
        if (rows[i].logits) s->in[INPUT_OUT][outs++] = (int32_t)i;
    }
    for (int32_t i = 0; i < s->n_seq; i++) {
        const sequence *q = &s->seqs[i];
        s->views[i] = (attn_seq){.slots = q->slots + q->first, .at = q->at + q->first, .n = q->n, .dropped = q->dropped};
    }
    plan_step step = {.rows = (int64_t)n, .outs = outs, .seqs = s->views, .n_seqs = s->n_seq};
    for (int i = 0; i < INPUT_COUNT; i++) step.in[i] = s->in[i];
    s->rows = (int64_t)n;
    s->outs = outs;
    bool open = resolve_choices(s, n);
    if (open) step.chosen = cuda_chosen_ids(s->chooser);
    tl_status st = plan_run(s->p, &step, err);
    const void *out = NULL;
    if (st == TL_OK && logits && outs) st = plan_fetch(s->p, 0, &out, err);
    if (st == TL_OK) st = gguf_check(s->m->m.file, err);
    plan_fault fault = plan_first_fault(s->p);
    if (st == TL_OK && s->trap && fault.node) {
        const trap_case c = {.m = s->m, .n_ctx = s->n_ctx, .cache_type = s->cache_type, .patches = s->patches, .states = s->states, .step = &step, .fault = fault};
        st = trap_explain(&c, err);
    }
    if (st != TL_OK) {
        session_take_back(s, n);
        return st;
    }
    if (open) s->late = (int64_t)n;
    else session_learn_rows(s, n);
    for (size_t i = 0; i < n && s->window; i++) drop_hidden(s, &s->seqs[rows[i].seq]);
    if (logits) *logits = out;
    return TL_OK;
}

tl_status tl_session_prompt(tl_session *s, int32_t seq, const int32_t *ids, size_t n, const float **logits, volatile const int *cancel, tl_error *err) {
    if (n == 0) return err_set(err, TL_E_USAGE, "an empty prompt");
    TL_TRY(check_seq(s, seq, err));
    int64_t room = s->pool.n_free;
    if ((int64_t)n > room && !s->window)
        return err_set(err, TL_E_LIMIT, "the prompt has %zu tokens, the cache has room for %" PRId64 " of its %" PRId64 "; ask for more with -c N", n, room, s->n_ctx);
    tl_row *rows = s->prompt;
    for (size_t at = 0; at < n;) {
        if (cancel && *cancel) return err_set(err, TL_E_CANCELLED, "stopped");
        size_t m = n - at < (size_t)s->n_batch ? n - at : (size_t)s->n_batch;
        for (size_t i = 0; i < m; i++) rows[i] = (tl_row){.token = ids[at + i], .seq = seq, .logits = logits && at + i + 1 == n};
        TL_TRY(tl_session_step(s, rows, m, logits, err));
        at += m;
        if (n > (size_t)s->n_batch && s->m->engine->o.on_progress) s->m->engine->o.on_progress(s->m->engine->o.ctx, "reading", (double)at, (double)n);
    }
    return TL_OK;
}
