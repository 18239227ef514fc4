// gpu_memory.c - what a plan will take of a device's memory, told and compared with what is free before any of it is taken; then
// its matrices go there.
#include "plan/gpu.h"

enum { SPARE = 64 << 20 }; // of what is free: the driver's own needs, graphs, the staging area

typedef struct need {
    size_t weights, cache, work; // bytes
    size_t of_layers;            // of weights and cache, what belongs to layers
    int64_t layers, slots;       // layers that are to be there
} need;

static double mib(size_t n) { return (double)n / 1048576; }

static ir_weight *matrix_of(const kernel *k) { // that k reads on the device, or NULL
    const ir_node *n = k->node;
    return k->kind == K_TILE || n->op == IR_EMBED ? n->u.weight : NULL;
}

static void add(need *n, size_t *what, size_t bytes, int64_t layer) {
    *what += bytes;
    if (layer < 0) return;
    n->of_layers += bytes;
    if (layer + 1 > n->layers) n->layers = layer + 1;
}

static void add_weights(const plan *p, need *n) {
    for (int i = 0; i < p->n_kernels; i++) {
        const ir_weight *w = matrix_of(p->kernels[i]);
        bool before = false;
        for (int j = 0; j < i && w && !before; j++) before = matrix_of(p->kernels[j]) == w;
        if (w && !before) add(n, &n->weights, gpu_aligned(gpu_weight_room(w)), ir_layer_of_weight(w));
    }
    for (int i = 0; i < p->n_values; i++)
        if (p->values[i].place == V_FIXED) n->weights += gpu_aligned(gpu_fixed_bytes(p, i));
}

static void add_states(const plan *p, need *n) {
    for (int i = 0; i < p->n_values; i++) {
        const ir_state *s = p->values[i].place == V_STATE ? p->values[i].state : NULL;
        bool before = false;
        for (int j = 0; j < i && s && !before; j++) before = p->values[j].place == V_STATE && p->values[j].state == s;
        size_t bytes;
        if (!s || before) continue;
        if (!size_mul(s->slot_bytes, (size_t)s->slots, &bytes)) bytes = SIZE_MAX / 64;
        add(n, &n->cache, gpu_aligned(bytes), s->layer);
        n->slots = s->slots > n->slots ? s->slots : n->slots;
    }
}

static tl_status too_large(const plan *p, const need *n, size_t all, size_t room, tl_error *err) {
    const cuda_info *d = cuda_device_info(p->device);
    int64_t layers = p->limits.device_layers ? p->limits.device_layers : n->layers;
    size_t rest = all - n->of_layers, each = layers > 0 ? n->of_layers / (size_t)layers + 1 : 1;
    int64_t fit = room > rest ? (int64_t)((room - rest) / each) : 0;
    char advice[160];
    if (fit >= layers) fit = layers - 1;
    if (layers > 0) snprintf(advice, sizeof advice, "--gpu-layers %lld leaves the other layers to the CPU", (long long)fit);
    else snprintf(advice, sizeof advice, "--device cpu has room for it");
    return err_set(err, TL_E_MEMORY, "this does not fit on CUDA device %d (%s): %.0f MiB of weights, %.0f MiB of cache for %lld tokens and %.0f MiB to work in are %.0f MiB, %.0f of %.0f MiB are free; %s, "
                   "-c N takes a smaller cache", d->ordinal, d->name, mib(n->weights), mib(n->cache), (long long)n->slots, mib(n->work), mib(all), mib(room), mib(d->total), advice);
}

tl_status gpu_check_memory(plan *p, const plan_backend *b, tl_error *err) {
    need n = {.work = gpu_work_bytes(p) + CUDA_RING_PART}; // where matrices land
    add_weights(p, &n);
    add_states(p, &n);
    const cuda_info *d = cuda_device_info(p->device);
    size_t now = cuda_memory_free(p->device), spare = d->total / 64 < SPARE ? d->total / 64 : SPARE, room = now > spare ? now - spare : 0;
    size_t all = n.weights + n.cache + n.work;
    if (b->report) {
        char text[400];
        snprintf(text, sizeof text, "CUDA device %d (%s): %.1f MiB of weights, %.1f MiB of cache for %lld tokens, %.1f MiB to work in; %.0f of %.0f MiB are free", d->ordinal, d->name,
                 mib(n.weights), mib(n.cache), (long long)n.slots, mib(n.work), mib(now), mib(d->total));
        b->report(b->ctx, text);
    }
    return all > room ? too_large(p, &n, all, room, err) : TL_OK;
}

tl_status gpu_load_weights(plan *p, const plan_backend *b, tl_error *err) {
    double total = 0, done = 0;
    for (int i = 0; i < p->n_kernels; i++) {
        const ir_weight *w = matrix_of(p->kernels[i]);
        if (w && gpu_weight_room(w)) total += (double)w->bytes;
    }
    for (int i = 0; i < p->n_kernels; i++) {
        ir_weight *w = matrix_of(p->kernels[i]);
        if (!w || !gpu_weight_room(w)) continue;
        TL_TRY(gpu_weight(w, b, err));
        if (b->progress) b->progress(b->ctx, done += (double)w->bytes, total);
    }
    if (b->progress && total > done) b->progress(b->ctx, total, total); // a matrix of two kernels
    return TL_OK;
}
