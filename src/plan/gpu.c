// gpu.c - a plan's memory on the device, the inputs of a step, replay, results. A run is only begun: who asks for a result
// waits for it.
//
// Values lie in the workspace as stage.c laid them out; kernels run one after the other, so what may share memory on the
// CPU may here. A step's inputs travel in one transfer, or with a launch. The sequences' slot lists are mirrored on the device: a step
// sends only what changed in them. Launches of a shape that comes again (rows, outputs, length of the lists) are recorded
// as a graph and replayed.
#include "plan/gpu.h"

#include "cuda/ops.h"


// ---- memory ----------------------------------------------------------------------------------------------
static const ir_weight *weight_of_value(const plan *p, int32_t v) { // whose bytes a fixed value is
    for (const ir_node *n = p->graph->first; n; n = n->next)
        if (n->op == IR_WEIGHT && n->id < p->n_nodes && p->node_value[n->id] == v) return n->u.weight;
    return NULL;
}

static bool raw_weight(const value *v) { return v->type != DT_F32 && v->type != DT_I32; }

static size_t fixed_bytes(const value *v) { return (size_t)v->inner * 4; }

size_t gpu_fixed_bytes(const plan *p, int i) {
    const value *v = &p->values[i];
    const ir_weight *w = raw_weight(v) ? weight_of_value(p, i) : NULL;
    if (!raw_weight(v)) return fixed_bytes(v);
    return !w || ((const plan_weight *)w->prepared)->d_bytes ? 0 : w->bytes;
}

// Constants and small tensors: one area.
static tl_status make_constants(plan *p, tl_error *err) {
    gpu_plan *g = p->gpu;
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].place == V_FIXED && !raw_weight(&p->values[i])) g->const_bytes += gpu_aligned(fixed_bytes(&p->values[i]));
    TL_TRY(cuda_alloc(g->d, g->const_bytes, &g->consts, err));
    char *at = g->consts;
    for (int i = 0; i < p->n_values; i++) {
        const value *v = &p->values[i];
        if (v->place != V_FIXED) continue;
        if (raw_weight(v)) {
            ir_weight *w = (ir_weight *)(uintptr_t)weight_of_value(p, i);
            if (!w) return err_set(err, TL_E_UNSUPPORTED, "an array of type %s on a CUDA device", dtype_table[v->type].name);
            TL_TRY(gpu_weight_bytes(w, g->d, err));
            p->base[i] = ((plan_weight *)w->prepared)->d_bytes;
            continue;
        }
        TL_TRY(cuda_upload(g->d, at, v->fixed, fixed_bytes(v), err));
        p->base[i] = at;
        at += gpu_aligned(fixed_bytes(v));
    }
    return TL_OK;
}

static tl_status state_memory(gpu_plan *g, const ir_state *s, void **out, tl_error *err) {
    for (int i = 0; i < g->n_states; i++)
        if (g->states[i].state == s) {
            *out = g->states[i].data;
            return TL_OK;
        }
    size_t bytes;
    if (!size_mul(s->slot_bytes, (size_t)s->slots, &bytes)) return err_set(err, TL_E_MEMORY, "the cache does not fit in memory");
    if (cuda_alloc(g->d, bytes, out, err) != TL_OK) {
        sbuf b = {0};
        sbuf_printf(&b, "the cache: %s; ask for less with -c N", err ? err->message : "");
        tl_status st = err_set(err, TL_E_MEMORY, "%s", b.p ? b.p : "out of memory");
        sbuf_free(&b);
        return st;
    }
    g->states[g->n_states++] = (gpu_state){s, *out};
    g->state_bytes += bytes;
    return cuda_zero(g->d, *out, bytes, err);
}

static tl_status make_states(plan *p, tl_error *err) {
    gpu_plan *g = p->gpu;
    g->states = arena_array(&p->mem, gpu_state, p->n_values + 1);
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].place == V_STATE) TL_TRY(state_memory(g, p->values[i].state, &p->base[i], err));
    return TL_OK;
}

size_t gpu_work_bytes(plan *p) {
    gpu_plan *g = p->gpu;
    g->act_bytes = gpu_act_room(p);
    g->attn_bytes = gpu_attn_room(p, &g->counter_bytes);
    return g->work_bytes = gpu_aligned(p->work_bytes) + gpu_aligned(g->act_bytes) + gpu_aligned(g->attn_bytes);
}

static tl_status make_work(plan *p, tl_error *err) {
    gpu_plan *g = p->gpu;
    TL_TRY(cuda_alloc(g->d, g->work_bytes, &g->work, err));
    g->act = (char *)g->work + gpu_aligned(p->work_bytes);
    g->attn_work = (char *)g->act + gpu_aligned(g->act_bytes);
    if (g->counter_bytes) TL_TRY(cuda_zero(g->d, g->attn_work, g->counter_bytes, err));
    return TL_OK;
}

static void collect_inputs(plan *p) {
    p->input_values = arena_array(&p->mem, int32_t, p->n_values + 1);
    for (int32_t i = 0; i < p->n_values; i++)
        if (p->values[i].place == V_INPUT) p->input_values[p->n_input_values++] = i;
}

tl_status gpu_make(plan *p, const plan_backend *b, tl_error *err) {
    gpu_plan *g = p->gpu = arena_new(&p->mem, gpu_plan);
    g->d = b->device;
    g->copies = arena_array(&p->mem, struct gpu_copy, p->n_values + 1);
    g->no_graphs = getenv("TL_CUDA_GRAPHS") && strcmp(getenv("TL_CUDA_GRAPHS"), "0") == 0;
    TL_TRY(gpu_views_make(p, err));
    TL_TRY(gpu_check_memory(p, b, err));
    TL_TRY(make_work(p, err));
    TL_TRY(make_states(p, err));
    TL_TRY(make_constants(p, err));
    TL_TRY(gpu_load_weights(p, b, err));
    gpu_views_place(p);
    collect_inputs(p);
    return cuda_sync(g->d, err);
}

void gpu_free(plan *p) {
    gpu_plan *g = p->gpu;
    if (!g) return;
    for (int i = 0; i < GPU_GRAPHS; i++) cuda_graph_free(g->d, g->graphs[i].graph);
    cuda_free(g->d, g->work);
    cuda_free(g->d, g->consts);
    cuda_free(g->d, g->lists);
    cuda_free(g->d, g->input);
    for (int i = 0; i < g->n_states; i++) cuda_free(g->d, g->states[i].data);
    for (int i = 0; i < 2; i++) {
        cuda_host_free(g->d, g->host[i]);
        cuda_point_free(g->d, g->sent[i]);
    }
    for (int i = 0; g->copies && i < p->n_values; i++) cuda_host_free(g->d, g->copies[i].host);
    mem_free(g->shadow);
    mem_free(g->seen);
}

// ---- the sequences' lists ----------------------------------------------------------------------------------
static tl_status list_room(plan *p, int64_t n, tl_error *err) {
    gpu_plan *g = p->gpu;
    if (n <= g->max_seqs) return TL_OK;
    size_t slots = (size_t)p->limits.max_slots;
    cuda_free(g->d, g->lists);
    mem_free(g->shadow);
    mem_free(g->seen);
    g->lists = NULL;
    g->max_seqs = 0;
    g->shadow = mem_calloc((size_t)n * slots * 2 + 1, sizeof *g->shadow);
    g->seen = mem_calloc((size_t)n, sizeof *g->seen);
    if (!g->shadow || !g->seen) return err_set(err, TL_E_MEMORY, "out of memory for the lists of %lld sequences", (long long)n);
    g->list_bytes = (size_t)n * slots * 2 * sizeof(int32_t) + GPU_ALIGN;
    TL_TRY(cuda_alloc(g->d, g->list_bytes, &g->lists, err));
    g->max_seqs = n;
    for (int i = 0; i < GPU_GRAPHS; i++) { // they have the old addresses
        cuda_graph_free(g->d, g->graphs[i].graph);
        g->graphs[i] = (gpu_recorded){0};
    }
    return TL_OK;
}

// First entry of sequence i that differs from what the device has.
static int64_t first_change(const gpu_plan *g, const attn_seq *s, int64_t i, int64_t max_slots) {
    const gpu_seen *seen = &g->seen[i];
    int64_t n = seen->n < s->n ? seen->n : s->n;
    if (!seen->known) return 0;
    if (s->version && s->version == seen->version) return n;
    const int32_t *slots = g->shadow + 2 * i * max_slots, *at = slots + max_slots;
    for (int64_t e = 0; e < n; e++)
        if (slots[e] != s->slots[e] || at[e] != s->at[e]) return e;
    return n;
}

static int64_t count_edits(const plan *p) {
    int64_t n = 0;
    for (int64_t i = 0; i < p->step.n_seqs; i++) n += p->step.seqs[i].n - first_change(p->gpu, &p->step.seqs[i], i, p->limits.max_slots);
    return n;
}

static void write_edits(plan *p, int32_t *to) {
    gpu_plan *g = p->gpu;
    int64_t slots = p->limits.max_slots, n = 0;
    for (int64_t i = 0; i < p->step.n_seqs; i++) {
        const attn_seq *s = &p->step.seqs[i];
        int32_t *mine = g->shadow + 2 * i * slots;
        for (int64_t e = first_change(g, s, i, slots); e < s->n; e++, n++) {
            to[4 * n] = (int32_t)i, to[4 * n + 1] = (int32_t)e, to[4 * n + 2] = s->slots[e], to[4 * n + 3] = s->at[e];
            mine[e] = s->slots[e], mine[slots + e] = s->at[e];
        }
        g->seen[i] = (gpu_seen){s->n, s->version, true};
    }
}

// ---- the inputs of a step ------------------------------------------------------------------------------------
// The parts of the one transfer; the same for equal row counts, so that graphs find them.
typedef struct layout {
    size_t in[INPUT_COUNT], seqs, edits, bytes;
} layout;

static size_t part(layout *l, size_t bytes) {
    size_t at = l->bytes;
    l->bytes += (bytes + 31) / 32 * 32;
    return at;
}

static layout lay_out(const plan *p, int64_t edits) {
    const plan_step *s = &p->step;
    layout l = {0};
    for (int i = 0; i < INPUT_COUNT; i++) l.in[i] = part(&l, (size_t)(i == INPUT_OUT ? s->outs : s->rows) * sizeof(int32_t));
    l.seqs = part(&l, (size_t)s->n_seqs * sizeof(cuda_seq));
    l.edits = part(&l, (size_t)edits * 4 * sizeof(int32_t));
    return l;
}

static tl_status input_room(plan *p, size_t bytes, tl_error *err) {
    gpu_plan *g = p->gpu;
    if (bytes <= g->input_room) return TL_OK;
    size_t room = gpu_aligned(bytes * 2 + 4096);
    TL_TRY(cuda_sync(g->d, err));
    cuda_free(g->d, g->input);
    g->input = NULL, g->input_room = 0;
    for (int i = 0; i < 2; i++) {
        cuda_host_free(g->d, g->host[i]);
        g->host[i] = NULL;
        TL_TRY(cuda_host_alloc(g->d, room, (void **)&g->host[i], NULL, err));
        if (!g->sent[i]) TL_TRY(cuda_point_new(g->d, &g->sent[i], err));
    }
    TL_TRY(cuda_alloc(g->d, room, &g->input, err));
    g->input_room = room;
    for (int i = 0; i < GPU_GRAPHS; i++) {
        cuda_graph_free(g->d, g->graphs[i].graph);
        g->graphs[i] = (gpu_recorded){0};
    }
    return TL_OK;
}

// Runs of neighbouring rows of one sequence: which attention kernel suits.
static int32_t count_tiles(const plan *p, bool outs) {
    const plan_step *s = &p->step;
    const int32_t *seq = s->in[INPUT_SEQ], *out = s->in[INPUT_OUT];
    int64_t rows = outs ? s->outs : s->rows;
    int32_t n = 0;
    if (!seq) return 0;
    for (int64_t r = 0; r < rows; n++) {
        int32_t q = outs ? seq[out[r]] : seq[r];
        while (r < rows && (outs ? seq[out[r]] : seq[r]) == q) r++;
    }
    return n;
}

static void write_seqs(plan *p, cuda_seq *to) {
    gpu_plan *g = p->gpu;
    int64_t slots = p->limits.max_slots, most = 1;
    for (int64_t i = 0; i < p->step.n_seqs; i++) {
        const attn_seq *s = &p->step.seqs[i];
        const int32_t *mine = (const int32_t *)g->lists + 2 * i * slots;
        to[i] = (cuda_seq){.slots = mine, .at = mine + slots, .n = s->n, .dropped = s->dropped};
        int64_t chunks = (s->dropped % GPU_CHUNK + s->n + GPU_CHUNK - 1) / GPU_CHUNK;
        most = chunks > most ? chunks : most;
    }
    g->chunks = 1;
    while (g->chunks < most) g->chunks = g->chunks < 8 ? g->chunks * 2 : g->chunks + g->chunks / 4 / 2 * 2; // 1 2 4 8 10 12 14 16 20 ...
}

static void write_inputs(plan *p, const layout *l, char *to) {
    const plan_step *s = &p->step;
    for (int i = 0; i < INPUT_COUNT; i++)
        if (s->in[i]) memcpy(to + l->in[i], s->in[i], (size_t)(i == INPUT_OUT ? s->outs : s->rows) * sizeof(int32_t));
    write_seqs(p, (cuda_seq *)(void *)(to + l->seqs));
    write_edits(p, (int32_t *)(void *)(to + l->edits));
}

// Few of them go with a launch: a transfer takes the device longer to begin and to end than a small model's layer.
static tl_status send_inline(plan *p, const layout *l, int64_t edits, tl_error *err) {
    gpu_plan *g = p->gpu;
    const plan_step *s = &p->step;
    ops_inputs_args a = {.to = g->input, .ids = s->chosen, .slots = g->lists, .at = edits ? (int32_t *)g->lists + p->limits.max_slots : NULL, .stride = 2 * p->limits.max_slots,
                         .words = (int32_t)(l->bytes / sizeof(int32_t)), .tok = (int32_t)(l->in[INPUT_TOK] / sizeof(int32_t)), .rows = (int32_t)s->rows,
                         .edits = (int32_t)(l->edits / sizeof(int32_t)), .n_edits = (int32_t)edits};
    write_inputs(p, l, (char *)a.word);
    return cuda_launch(g->d, "ops_inputs", 1, 1, 1, 256, 0, &a, sizeof a, 0, err);
}

static tl_status send_copied(plan *p, const layout *l, int64_t edits, tl_error *err) {
    gpu_plan *g = p->gpu;
    const plan_step *s = &p->step;
    char *d = g->input;
    g->turn = !g->turn;
    TL_TRY(cuda_point_wait(g->d, g->sent[g->turn], err));
    write_inputs(p, l, g->host[g->turn]);
    TL_TRY(cuda_send(g->d, d, g->host[g->turn], l->bytes, err));
    TL_TRY(cuda_point_mark(g->d, g->sent[g->turn], err));
    if (s->chosen) TL_TRY(cuda_feed(g->d, (int32_t *)(void *)(d + l->in[INPUT_TOK]), s->rows, s->chosen, err));
    if (!edits) return TL_OK;
    ops_list_args a = {.n = edits, .edits = (const int32_t *)(const void *)(d + l->edits), .slots = g->lists, .at = (int32_t *)g->lists + p->limits.max_slots, .stride = 2 * p->limits.max_slots};
    return cuda_launch(g->d, "ops_lists", edits > 256 ? 4 : 1, 1, 1, 256, 0, &a, sizeof a, 0, err);
}

static tl_status send_inputs(plan *p, tl_error *err) {
    gpu_plan *g = p->gpu;
    const plan_step *s = &p->step;
    TL_TRY(list_room(p, s->n_seqs, err));
    int64_t edits = count_edits(p);
    layout l = lay_out(p, edits);
    TL_TRY(input_room(p, l.bytes, err));
    char *d = g->input;
    g->seqs_device = (const cuda_seq *)(const void *)(d + l.seqs);
    g->n_seqs = s->n_seqs;
    for (int i = 0; i < 2; i++) g->n_tiles[i] = count_tiles(p, i == 1);
    for (int i = 0; i < p->n_input_values; i++) p->base[p->input_values[i]] = (void *)(uintptr_t)(d + l.in[p->values[p->input_values[i]].input]);
    gpu_view_inputs(p);
    return l.bytes <= OPS_INLINE * sizeof(int32_t) ? send_inline(p, &l, edits, err) : send_copied(p, &l, edits, err);
}

// ---- replay ------------------------------------------------------------------------------------------------
static bool same_key(const gpu_key *a, const gpu_key *b) { return a->rows == b->rows && a->outs == b->outs && a->chunks == b->chunks && a->tiles == b->tiles && a->view == b->view && a->n_seqs == b->n_seqs; }

static gpu_recorded *find_graph(gpu_plan *g, const gpu_key *key) {
    gpu_recorded *oldest = &g->graphs[0];
    for (int i = 0; i < GPU_GRAPHS; i++) {
        gpu_recorded *r = &g->graphs[i];
        if (r->used && same_key(&r->key, key)) return r;
        if (r->used < oldest->used) oldest = r;
    }
    cuda_graph_free(g->d, oldest->graph);
    *oldest = (gpu_recorded){.key = *key};
    return oldest;
}

static tl_status record(plan *p, gpu_recorded *r, tl_error *err) {
    gpu_plan *g = p->gpu;
    TL_TRY(cuda_record_begin(g->d, err));
    tl_status st = gpu_launch_all(p, err);
    if (st == TL_OK) return cuda_record_end(g->d, &r->graph, err);
    cuda_record_end(g->d, NULL, NULL);
    return st;
}

// A shape is recorded when it comes for the second time.
static tl_status run_kernels(plan *p, int view, tl_error *err) {
    gpu_plan *g = p->gpu;
    gpu_key key = {p->step.rows, p->step.outs, g->chunks, g->n_tiles[0] << 12 | g->n_tiles[1], view, g->n_seqs};
    if (g->no_graphs || p->profile || p->step.rows > 256) return gpu_launch_all(p, err);
    gpu_recorded *r = find_graph(g, &key);
    r->used = ++g->clock;
    if (!r->graph && r->seen++ == 0) return gpu_launch_all(p, err);
    if (!r->graph) TL_TRY(record(p, r, err));
    return cuda_replay(g->d, r->graph, err);
}

// ---- results -----------------------------------------------------------------------------------------------
static size_t result_bytes(const plan *p, const value *v) { return (size_t)sym_rows(p, v->sym, 1) * (size_t)v->inner * 4; }

tl_status gpu_run(plan *p, tl_error *err) {
    int view = p->profile ? 0 : gpu_view_of(p->gpu, &p->step);
    for (int i = 0; i < p->n_values; i++) p->gpu->copies[i].fresh = false;
    gpu_view_take(p, view);
    tl_status st = send_inputs(p, err);
    if (st == TL_OK) st = plan_pass(p, err);
    if (st == TL_OK) st = run_kernels(p, view, err);
    gpu_view_leave(p);
    return st == TL_OK ? gpu_profile_collect(p, err) : st;
}

tl_status gpu_value(const plan *p, int32_t v, const void **out, tl_error *err) {
    struct gpu_copy *c = &p->gpu->copies[v];
    size_t bytes = result_bytes(p, &p->values[v]);
    *out = NULL;
    if (!c->fresh) {
        if (bytes > c->bytes) {
            cuda_host_free(p->device, c->host);
            c->host = NULL, c->bytes = 0;
            TL_TRY(cuda_host_alloc(p->device, bytes, &c->host, NULL, err));
            c->bytes = bytes;
        }
        TL_TRY(cuda_fetch(p->device, c->host, p->base[v], bytes, err));
        TL_TRY(cuda_sync(p->device, err));
    }
    c->fresh = true;
    *out = c->host;
    return TL_OK;
}
