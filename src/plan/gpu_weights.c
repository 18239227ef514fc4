// gpu_weights.c - tensors on the device: matrices are streamed from the mapped file through the pinned ring and repacked there.
#include "cuda/layout.h"
#include "plan/gpu.h"

bool gpu_takes_matrix(const ir_weight *w, int64_t row0, const plan_weight *pw) {
    (void)w;
    return cuda_is_matrix(pw->m.type) && row0 % CUDA_STRIP == 0;
}

static tl_status device_alloc(plan_weight *pw, cuda_device *d, size_t bytes, void **out, tl_error *err) {
    TL_TRY(cuda_alloc(d, bytes, out, err));
    pw->device = d;
    pw->device_bytes += bytes;
    return TL_OK;
}

// ---- a matrix --------------------------------------------------------------------------------------------
typedef struct copy_job {
    pool *threads;
    char *dst;
    const char *src;
    size_t bytes;
} copy_job;

static void copy_part(void *ctx, int thread, int n) {
    (void)thread, (void)n;
    const copy_job *j = ctx;
    int64_t a, b;
    while (pool_take(j->threads, (int64_t)j->bytes, 256 << 10, &a, &b)) memcpy(j->dst + a, j->src + a, (size_t)(b - a));
}

static void copy_shared(pool *threads, void *dst, const void *src, size_t bytes) {
    copy_job j = {threads, dst, src, bytes};
    if (bytes < (1 << 20)) memcpy(dst, src, bytes);
    else pool_run(threads, copy_part, &j);
}

// Rows go to a staging area in pieces that fit a part of the ring; each piece is repacked from there.
static tl_status stream(plan_weight *pw, const plan_backend *b, tl_error *err) {
    cuda_device *d = b->device;
    const cpu_matrix *m = &pw->m;
    void *part, *landing;
    size_t room;
    TL_TRY(cuda_ring(d, &part, &room, err));
    if (m->row_bytes * CUDA_STRIP > room) return err_set(err, TL_E_UNSUPPORTED, "rows of %zu bytes are too long for the device's ring", m->row_bytes);
    TL_TRY(cuda_stage(d, room, &landing, err));
    int64_t step = (int64_t)(room / m->row_bytes) / CUDA_STRIP * CUDA_STRIP;
    for (int64_t r = 0; r < m->n; r += step) {
        int64_t rows = m->n - r < step ? m->n - r : step;
        size_t bytes = (size_t)rows * m->row_bytes;
        TL_TRY(cuda_ring(d, &part, &room, err));
        copy_shared(b->threads, part, (const char *)m->data + (size_t)r * m->row_bytes, bytes);
        TL_TRY(cuda_ring_send(d, landing, bytes, err));
        cuda_repack_args a = {.m = pw->dm, .src = landing, .row_bytes = (int64_t)m->row_bytes, .n0 = (int32_t)r, .rows = (int32_t)rows};
        TL_TRY(cuda_repack(d, &a, err));
    }
    return TL_OK;
}

tl_status gpu_weight(ir_weight *w, const plan_backend *b, tl_error *err) {
    TL_TRY(weight_need(w, USE_ROWS, b, err));
    plan_weight *pw = w->prepared;
    if (pw->dm.data) return TL_OK;
    if (pw->m.n > INT32_MAX || pw->m.k > INT32_MAX || !cuda_is_matrix(pw->m.type))
        return err_set(err, TL_E_UNSUPPORTED, "tensor %s: %s on a CUDA device", w->name ? w->name : "?", dtype_table[w->type].name);
    size_t bytes = (size_t)layout_matrix_bytes((int)pw->m.type, pw->m.n, pw->m.k);
    TL_TRY(device_alloc(pw, b->device, bytes, &pw->d_matrix, err));
    pw->dm = (cuda_matrix){.type = (int32_t)pw->m.type, .n = (int32_t)pw->m.n, .k = (int32_t)pw->m.k, .data = pw->d_matrix};
    tl_status st = stream(pw, b, err);
    if (st != TL_OK) {
        pw->dm.data = NULL;
        cuda_free(b->device, pw->d_matrix);
        pw->d_matrix = NULL;
        return st;
    }
    mem_free_aligned(pw->other); // a stand-in's values are on the device now
    pw->other = NULL;
    if (b->drop && w->type == pw->m.type) b->drop(b->ctx, w->data, w->bytes);
    return TL_OK;
}

// ---- as it is in the file ----------------------------------------------------------------------------------
tl_status gpu_weight_bytes(ir_weight *w, cuda_device *d, tl_error *err) {
    plan_weight *pw = w->prepared;
    if (pw->d_bytes) return TL_OK;
    size_t bytes;
    if (!dtype_bytes(w->type, w->rows * w->cols, &bytes)) return err_set(err, TL_E_UNSUPPORTED, "tensor %s is too large", w->name ? w->name : "?");
    TL_TRY(device_alloc(pw, d, bytes, &pw->d_bytes, err));
    return cuda_upload(d, pw->d_bytes, weight_bytes(w), bytes, err);
}

void gpu_weight_free(plan_weight *pw) {
    if (!pw->device) return;
    cuda_free(pw->device, pw->d_matrix);
    cuda_free(pw->device, pw->d_bytes);
}
