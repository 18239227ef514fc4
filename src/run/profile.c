// profile.c - the time of a session's kernels, by the statement of the program that they compute.
#include "base/bandwidth.h"
#include "run/run.h"

enum { PROBE_BYTES = 256 << 20, PROBE_ROUNDS = 4 };

int tl_session_workers(const tl_session *s, int64_t rows) { return plan_workers(tl_session_plan(s), rows); }

tl_status tl_session_profile(tl_session *s, bool on, tl_error *err) { return plan_profile(tl_session_plan(s), on, err); }

// Bytes that a row must read: each weight as stored, the cache as far as it is filled and the window goes.
static double node_bytes(const ir_node *n, int64_t cached) {
    const ir_weight *w = n->u.weight;
    switch (n->op) {
    case IR_LINEAR: return (double)w->bytes * (double)n->inner / (double)(w->rows ? w->rows : 1);
    case IR_EMBED: return (double)w->bytes / (double)(w->rows ? w->rows : 1);
    case IR_ATTENTION: {
        const ir_attention *a = &n->u.attn;
        int64_t seen = a->window && a->window < cached ? a->window : cached;
        return (double)seen * (double)(n->state2->slot_bytes + n->state3->slot_bytes);
    }
    default: return 0;
    }
}

typedef VEC(tl_profile_line) line_list;

static tl_profile_line *line_of(line_list *all, span at) {
    int line = 0, col;
    if (at.src) span_line_col(at, &line, &col);
    const char *file = at.src ? at.src->name : "";
    for (size_t i = 0; i < all->n; i++)
        if (all->p[i].line == line && strcmp(all->p[i].file, file) == 0) return &all->p[i];
    tl_profile_line new = {.file = file, .line = line};
    if (at.src) new.text = at.src->text.p + at.begin, new.text_n = at.end - at.begin;
    return vec_push(all, new) ? &all->p[all->n - 1] : NULL;
}

static int slowest_first(const void *a, const void *b) {
    const tl_profile_line *x = a, *y = b;
    return x->seconds != y->seconds ? (x->seconds < y->seconds) - (x->seconds > y->seconds) : x->line - y->line;
}

tl_status tl_session_profile_lines(const tl_session *s, tl_profile_line **lines, size_t *n, tl_error *err) {
    const plan *p = tl_session_plan(s);
    int64_t rows, outs;
    line_list all = {0};
    session_last_step(s, &rows, &outs);
    int workers = plan_workers(p, rows);
    for (int i = 0; i < plan_kernel_count(p); i++) {
        plan_kernel_time t = plan_kernel_timing(p, i);
        tl_profile_line *l = line_of(&all, t.node->at);
        if (!l) {
            vec_free(&all);
            return err_set(err, TL_E_MEMORY, "out of memory");
        }
        l->seconds += 1e-9 * t.ns / workers;
        // Quantizing a product's input is a kernel of the same node: what the product reads counts once.
        if (strcmp(t.kernel, "QUANTIZE") != 0) l->bytes += node_bytes(t.node, session_cached(s));
        l->kernels++;
    }
    if (all.n) qsort(all.p, all.n, sizeof *all.p, slowest_first);
    *lines = all.p;
    *n = all.n;
    return TL_OK;
}

// ---- kernel by kernel --------------------------------------------------------------------------------
static tl_profile_kernel describe(const tl_session *s, const plan *p, int i) {
    plan_kernel_time t = plan_kernel_timing(p, i);
    span at = t.node->at;
    tl_profile_kernel k = {.kernel = t.kernel, .file = at.src ? at.src->name : "", .text = "", .layer = ir_layer_of(t.node, 4), .seconds = 1e-9 * t.ns};
    int col;
    if (at.src) span_line_col(at, &k.line, &col), k.text = at.src->text.p + at.begin, k.text_n = at.end - at.begin;
    if (strcmp(t.kernel, "QUANTIZE") != 0) k.bytes = node_bytes(t.node, session_cached(s));
    return k;
}

tl_status tl_session_profile_kernels(const tl_session *s, tl_profile_kernel **list, size_t *n, tl_error *err) {
    const plan *p = tl_session_plan(s);
    *n = (size_t)plan_kernel_count(p);
    *list = mem_calloc(*n + 1, sizeof **list);
    if (!*list) return err_set(err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0; i < *n; i++) (*list)[i] = describe(s, p, (int)i);
    return TL_OK;
}

tl_status tl_session_record(tl_session *s, size_t most, tl_error *err) { return plan_record(tl_session_plan(s), most, err); }

tl_status tl_session_recorded(const tl_session *s, tl_profile_kernel **list, size_t *n, size_t *lost, tl_error *err) {
    const plan *p = tl_session_plan(s);
    int threads = tl_engine_workers(session_model(s)->engine);
    size_t kernels, there, all = 0;
    tl_profile_kernel *each;
    TL_TRY(tl_session_profile_kernels(s, &each, &kernels, err));
    for (int t = 0; t < threads; t++) (void)plan_recorded(p, t, &there), all += there;
    *list = mem_calloc(all + 1, sizeof **list);
    *n = *lost = 0;
    for (int t = 0; t < threads && *list; t++) {
        const plan_event *e = plan_recorded(p, t, &there);
        size_t most = plan_record_room(p), kept = most < there ? most : there;
        *lost += there - kept;
        for (size_t i = 0; i < kept; i++) {
            tl_profile_kernel k = each[e[i].kernel];
            k.thread = t, k.begin = 1e-9 * e[i].begin_ns, k.seconds = 1e-9 * e[i].ns;
            k.bytes /= e[i].units > 0 ? e[i].units : 1;
            (*list)[(*n)++] = k;
        }
    }
    mem_free(each);
    return *list ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory");
}

double tl_engine_read_bandwidth(tl_engine *e) {
    if (e->device) return cuda_bandwidth(e->device);
    uint64_t *data = mem_alloc_aligned(PROBE_BYTES, 4096);
    if (!data) return 0;
    for (size_t i = 0; i < PROBE_BYTES / sizeof *data; i++) data[i] = i; // every page is there before the clock runs
    double rate = read_bandwidth(e->threads, data, PROBE_BYTES, PROBE_ROUNDS);
    mem_free_aligned(data);
    return rate;
}

tl_status tl_session_read_weights(const tl_session *s, tl_weight_read *out, tl_error *err) {
    const plan *p = tl_session_plan(s);
    read_stretch *list = mem_calloc((size_t)plan_kernel_count(p) + 1, sizeof *list);
    if (!list) return err_set(err, TL_E_MEMORY, "out of memory");
    size_t n = plan_matrix_reads(p, list);
    *out = (tl_weight_read){0};
    for (size_t i = 0; i < n; i++) out->bytes += (double)list[i].bytes;
    out->seconds = read_stretches(session_model(s)->engine->threads, list, n);
    mem_free(list);
    for (int i = 0; i < plan_kernel_count(p); i++) {
        const ir_node *node = plan_kernel_timing(p, i).node;
        if (node->op == IR_ATTENTION) out->cache_bytes += node_bytes(node, session_cached(s));
    }
    return TL_OK;
}
