// gpu_states.c - a plan's states between the device, where they are, and their memory on the host, for what is written to disk and
// read back. Neighbouring slots travel together.
#include "plan/gpu.h"

static int64_t run_length(const int32_t *slots, int64_t n) {
    int64_t m = 1;
    while (m < n && slots[m] == slots[m - 1] + 1) m++;
    return m;
}

static tl_status move_state(const gpu_plan *g, const gpu_state *s, const int32_t *slots, int64_t n, bool to_device, tl_error *err) {
    size_t each = s->state->slot_bytes;
    for (int64_t i = 0, m; i < n; i += m) {
        m = run_length(slots + i, n - i);
        size_t at = each * (size_t)slots[i], bytes = each * (size_t)m;
        char *host = (char *)s->state->data + at, *there = (char *)s->data + at;
        TL_TRY(to_device ? cuda_upload(g->d, there, host, bytes, err) : cuda_download(g->d, host, there, bytes, err));
    }
    return TL_OK;
}

static tl_status move_states(const plan *p, const int32_t *slots, int64_t n, bool to_device, tl_error *err) {
    const gpu_plan *g = p->gpu;
    for (int i = 0; g && i < g->n_states; i++) TL_TRY(move_state(g, &g->states[i], slots, n, to_device, err));
    return g ? cuda_sync(g->d, err) : TL_OK;
}

tl_status plan_states_fetch(const plan *p, const int32_t *slots, int64_t n, tl_error *err) { return move_states(p, slots, n, false, err); }
tl_status plan_states_send(const plan *p, const int32_t *slots, int64_t n, tl_error *err) { return move_states(p, slots, n, true, err); }
