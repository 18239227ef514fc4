// gpu_weights.c - tensors on the device: matrices are streamed from the mapped file through the pinned ring and repacked there.
#include "cuda/layout.h"
#include "gguf/quant.h"
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

// The file's rows, or those of the format that stands in for it; *temp is freed by the caller. The CPU may have its own form of
// them already.
static tl_status file_rows(const ir_weight *w, const plan_weight *pw, cpu_matrix *out, void **temp, tl_error *err) {
    tl_dtype t = quant_stand_in(w->type, w->cols);
    size_t bytes;
    *out = pw->m;
    *temp = NULL;
    if (pw->m.data && pw->m.layout == 0) return TL_OK;
    *out = (cpu_matrix){.type = t, .n = w->rows, .k = w->cols, .data = weight_bytes(w)};
    if (!dtype_bytes(t, w->cols, &out->row_bytes) || !size_mul(out->row_bytes, (size_t)w->rows, &bytes)) return err_set(err, TL_E_UNSUPPORTED, "tensor %s is too large", w->name ? w->name : "?");
    if (t == w->type) return TL_OK;
    if (!(*temp = mem_alloc_aligned(bytes + LINE, LINE))) return err_set(err, TL_E_MEMORY, "out of memory for tensor %s", w->name ? w->name : "?");
    quant_convert(w->type, weight_bytes(w), t, *temp, w->rows * w->cols);
    out->data = *temp;
    return TL_OK;
}

// Rows go to a staging area in pieces that fit a part of the ring; each piece is repacked from there.
static tl_status stream(const plan_weight *pw, const cpu_matrix *m, const plan_backend *b, tl_error *err) {
    cuda_device *d = b->device;
    void *part, *landing;
    size_t room;
    TL_TRY(cuda_ring(d, &part, &room, err));
    if (m->row_bytes * CUDA_STRIP > room) return err_set(err, TL_E_UNSUPPORTED, "rows of %zu bytes are too long for the device's ring", m->row_bytes);
    TL_TRY(cuda_stage(d, room, &landing, err));
    cuda_matrix to = pw->dm;
    to.data = pw->d_matrix;
    int64_t step = (int64_t)(room / m->row_bytes) / CUDA_STRIP * CUDA_STRIP;
    for (int64_t r = 0; r < m->n; r += step) {
        int64_t rows = m->n - r < step ? m->n - r : step;
        size_t bytes = (size_t)rows * m->row_bytes;
        TL_TRY(cuda_ring(d, &part, &room, err));
        copy_shared(b->threads, part, (const char *)m->data + (size_t)r * m->row_bytes, bytes);
        TL_TRY(cuda_ring_send(d, landing, bytes, err));
        cuda_repack_args a = {.m = to, .src = landing, .row_bytes = (int64_t)m->row_bytes, .n0 = (int32_t)r, .rows = (int32_t)rows};
        TL_TRY(cuda_repack(d, &a, err));
    }
    return TL_OK;
}

tl_status gpu_weight_want(ir_weight *w, const plan_backend *b, tl_error *err) {
    plan_weight *pw = w->prepared;
    if (pw && pw->dm.k) return TL_OK;
    TL_TRY(weight_need(w, USE_ROWS, b, NULL, err));
    pw = w->prepared;
    if (pw->m.n > INT32_MAX || pw->m.k > INT32_MAX || !cuda_is_matrix(pw->m.type))
        return err_set(err, TL_E_UNSUPPORTED, "tensor %s: %s on a CUDA device", w->name ? w->name : "?", dtype_table[w->type].name);
    pw->dm = (cuda_matrix){.type = (int32_t)pw->m.type, .n = (int32_t)pw->m.n, .k = (int32_t)pw->m.k};
    return TL_OK;
}

size_t gpu_weight_room(const ir_weight *w) {
    const plan_weight *pw = w->prepared;
    return pw->dm.data ? 0 : (size_t)layout_matrix_bytes(pw->dm.type, pw->dm.n, pw->dm.k);
}

tl_status gpu_weight(ir_weight *w, const plan_backend *b, tl_error *err) {
    plan_weight *pw = w->prepared;
    void *temp;
    cpu_matrix m;
    if (pw->dm.data) return TL_OK;
    TL_TRY(file_rows(w, pw, &m, &temp, err));
    tl_status st = device_alloc(pw, b->device, gpu_weight_room(w), &pw->d_matrix, err);
    if (st == TL_OK) st = stream(pw, &m, b, err);
    if (st == TL_OK && temp) st = cuda_sync(b->device, err);
    mem_free_aligned(temp);
    if (st != TL_OK) {
        cuda_free(b->device, pw->d_matrix);
        if (pw->d_matrix) pw->device_bytes -= gpu_weight_room(w);
        pw->d_matrix = NULL;
        return st;
    }
    pw->dm.data = pw->d_matrix;
    if (pw->other) { // a stand-in's values are on the device now; the CPU makes them anew if it wants them
        mem_free_aligned(pw->other);
        pw->other = NULL;
        pw->m.data = NULL;
    }
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
