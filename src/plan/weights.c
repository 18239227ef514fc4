// weights.c - tensors of the model file in the backend's form, made on first use and kept with the tensor.
#include <stdatomic.h>
#include <sys/mman.h>

#include "gguf/quant.h"
#include "plan/plan_int.h"

enum { PREPARE_ROWS = 64, PREPARE_MOST = 512, STRIPE_BYTES = 2 << 20, SMALL = 1 << 20, COPIED = 64 << 10 };

bool weight_is_matrix(tl_dtype t) { return dtype_table[t].quantized || t == DT_F32 || t == DT_F16 || t == DT_BF16; }

bool weight_small(const ir_weight *w) { return w->rows * w->cols <= SMALL; }

static size_t element_align(tl_dtype t) {
    const dtype_info *d = &dtype_table[t];
    return d->quantized ? 2 : d->block_bytes;
}

static tl_status no_memory(const ir_weight *w, tl_error *err) {
    return err_set(err, TL_E_MEMORY, "out of memory for tensor %s", w->name ? w->name : "?");
}

// ---- memory for repacked weights -------------------------------------------------------------------
// They lie on huge pages where the system has them: a product reads its matrix front to back, and decoding is 5 to
// 13 % faster. All threads ask for the pages at once, before the repacking. A virtual machine may have to get each of them
// from its host, which can take longer than all the rest of loading: after SLOW_SECONDS of that the rest of the weights get
// small pages, which the system has at hand more often (and may join to huge ones later).
enum { HUGE_PAGE = 2 << 20, TOUCH_STEP = 4 * HUGE_PAGE, ROOM_BYTES = 8 * HUGE_PAGE, SHARED_LEAST = 16 << 10 };
#define SLOW_SECONDS 0.12      // lost before small pages are taken
#define FAST_RATE (4.0 * (1 << 30)) // bytes a second that are not slow

typedef struct touch_job {
    pool *threads;
    char *p;
    int64_t bytes;
} touch_job;

static void touch_pages(void *ctx, int thread, int n) {
    (void)thread, (void)n;
    const touch_job *j = ctx;
    int64_t a, b;
    while (pool_take(j->threads, j->bytes, TOUCH_STEP, &a, &b)) {
#ifdef MADV_POPULATE_WRITE
        if (madvise(j->p + a, (size_t)(b - a), MADV_POPULATE_WRITE) == 0) continue;
#endif
        for (; a < b; a += 4096) *(volatile char *)(j->p + a) = 0;
    }
}

// Asks for pages behind `bytes` bytes from p, which is aligned to HUGE_PAGE: large ones while they come fast enough.
static void get_pages(const plan_backend *b, char *p, size_t bytes) {
    plan_pages none = {0}, *pages = b->pages ? b->pages : &none;
#ifdef MADV_HUGEPAGE
    if (!pages->slow) (void)madvise(p, bytes, MADV_HUGEPAGE); // what is left of the last page gets small ones
#endif
    double start = 1e-9 * clock_ns();
    pool_run(b->threads, touch_pages, &(touch_job){b->threads, p, (int64_t)bytes});
    if (!pages->slow) {
        pages->seconds += 1e-9 * clock_ns() - start;
        pages->bytes += (double)bytes;
        pages->slow = pages->seconds > SLOW_SECONDS + pages->bytes / FAST_RATE;
    }
#ifdef MADV_HUGEPAGE
    else (void)madvise(p, bytes, MADV_HUGEPAGE);
#endif
}

// Matrices of less than two large pages share memory, in the order in which a step reads them. It is there page by page, as it is taken.
struct weight_room {
    _Atomic int users; // weights that lie here, and the plan that is being made
    char *data;        // ROOM_BYTES
    size_t used, there;
};

void weight_room_leave(weight_room *r) {
    if (!r || atomic_fetch_sub(&r->users, 1) != 1) return;
    mem_free_aligned(r->data);
    mem_free(r);
}

static bool new_room(weight_room **room) {
    weight_room_leave(*room);
    weight_room *r = *room = mem_calloc(1, sizeof *r);
    if (!r) return false;
    r->users = 1;
    r->data = mem_alloc_aligned(ROOM_BYTES, HUGE_PAGE);
    return r->data != NULL;
}

// Memory for a repacked matrix. *owner: the room that it lies in, which has one more user; or NULL.
static void *matrix_alloc(const plan_backend *b, weight_room **room, size_t bytes, weight_room **owner) {
    *owner = NULL;
    if (bytes < SHARED_LEAST) return mem_alloc_aligned(bytes + LINE, LINE);
    size_t all = (bytes + 2 * LINE - 1) / LINE * LINE;
    if (bytes >= 2 * (size_t)HUGE_PAGE) {
        char *p = mem_alloc_aligned((all + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE, HUGE_PAGE);
        if (p) get_pages(b, p, bytes);
        return p;
    }
    weight_room *r = *room;
    if ((!r || ROOM_BYTES - r->used < all) && !new_room(room)) return NULL;
    r = *room;
    char *p = r->data + r->used;
    r->used += all;
    if (r->used > r->there) {
        size_t more = (r->used - r->there + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        get_pages(b, r->data + r->there, more);
        r->there += more;
    }
    atomic_fetch_add(&r->users, 1);
    *owner = r;
    return p;
}

// What lies badly in the file is copied, and so is what is small: read in place, a norm of 8 KB would keep all the megabytes in memory
// that one page fault may map around it (gguf_drop_pages).
static tl_status weight_entry(ir_weight *w, const plan_backend *b, plan_weight **out, tl_error *err) {
    if (!w->prepared) {
        size_t bytes;
        if (!dtype_bytes(w->type, w->cols, &bytes) || !size_mul(bytes, (size_t)w->rows, &bytes) || bytes > w->bytes)
            return err_set(err, TL_E_PROGRAM, "tensor %s: %lld x %lld values of %s do not fit its %zu bytes", w->name ? w->name : "?",
                           (long long)w->rows, (long long)w->cols, dtype_table[w->type].name, w->bytes);
        plan_weight *pw = mem_calloc(1, sizeof *pw);
        if (!pw) return no_memory(w, err);
        if ((uintptr_t)w->data % element_align(w->type) || bytes <= COPIED) {
            pw->copy = mem_alloc_aligned(bytes + LINE, LINE);
            if (!pw->copy) {
                mem_free(pw);
                return no_memory(w, err);
            }
            memcpy(pw->copy, w->data, bytes);
            if (b->drop) b->drop(b->ctx, w->data, bytes);
        }
        w->prepared = pw;
    }
    *out = w->prepared;
    return TL_OK;
}

const void *weight_bytes(const ir_weight *w) {
    const plan_weight *pw = w->prepared;
    return pw && pw->copy ? pw->copy : w->data;
}

// Formats without kernels of their own become one that has them.
static tl_status stand_in(const ir_weight *w, plan_weight *pw, tl_error *err) {
    tl_dtype t = quant_stand_in(w->type, w->cols);
    size_t row, bytes;
    if (!dtype_bytes(t, w->cols, &row) || !size_mul(row, (size_t)w->rows, &bytes) || !(pw->other = mem_alloc_aligned(bytes + LINE, LINE))) {
        pw->m.data = NULL;
        return no_memory(w, err);
    }
    quant_convert(w->type, weight_bytes(w), t, pw->other, w->rows * w->cols);
    pw->m.type = t;
    pw->m.data = pw->other;
    pw->m.row_bytes = row;
    return TL_OK;
}

static tl_status in_place(const ir_weight *w, plan_weight *pw, tl_error *err) {
    if (pw->m.data) return TL_OK;
    size_t row_bytes;
    if (!dtype_bytes(w->type, w->cols, &row_bytes))
        return err_set(err, TL_E_UNSUPPORTED, "tensor %s: rows of %lld are no whole blocks of %s", w->name ? w->name : "?", (long long)w->cols,
                       dtype_table[w->type].name);
    pw->m = (cpu_matrix){.type = w->type, .n = w->rows, .k = w->cols, .data = weight_bytes(w), .row_bytes = row_bytes};
    return quant_stand_in(w->type, w->cols) == w->type ? TL_OK : stand_in(w, pw, err);
}

typedef struct prepare_job {
    const plan_backend *b;
    const cpu_matrix *src;
    int layout;
    void *dst;
    int64_t r0, r1;
} prepare_job;

static void prepare_rows(void *ctx, int thread, int n) {
    (void)thread, (void)n;
    const prepare_job *j = ctx;
    int64_t r0, r1, chunk = (j->r1 - j->r0) / (16 * PREPARE_ROWS) * PREPARE_ROWS; // large ones: each begins with rows not fetched ahead
    if (chunk < PREPARE_ROWS) chunk = PREPARE_ROWS;
    if (chunk > PREPARE_MOST) chunk = PREPARE_MOST;
    while (pool_take(j->b->threads, j->r1 - j->r0, chunk, &r0, &r1)) j->b->k->matrix_prepare(j->src, j->layout, j->dst, j->r0 + r0, j->r0 + r1);
}

// The file's pages go stripe by stripe: no tensor is ever there twice as a whole.
static void prepare_all(const ir_weight *w, prepare_job *j) {
    int64_t rows = STRIPE_BYTES / (int64_t)(j->src->row_bytes + 1) / PREPARE_MOST * PREPARE_MOST;
    if (rows < PREPARE_MOST) rows = PREPARE_MOST;
    for (j->r0 = 0; j->r0 < j->src->n; j->r0 = j->r1) {
        j->r1 = j->src->n - j->r0 < 2 * rows ? j->src->n : j->r0 + rows;
        pool_run(j->b->threads, prepare_rows, j);
        if (j->b->drop && j->r1 < j->src->n && j->src->data == w->data)
            j->b->drop(j->b->ctx, (const char *)w->data + (size_t)j->r0 * j->src->row_bytes, (size_t)(j->r1 - j->r0) * j->src->row_bytes);
    }
    if (j->b->drop) j->b->drop(j->b->ctx, w->data, w->bytes);
}

static tl_status repack(ir_weight *w, plan_weight *pw, const plan_backend *b, weight_room **room, tl_error *err) {
    if (pw->repacked) return TL_OK;
    TL_TRY(in_place(w, pw, err));
    int layout = b->k->matrix_layout(pw->m.type, w->rows, w->cols);
    if (layout != pw->m.layout) {
        cpu_matrix m = pw->m;
        size_t bytes = b->k->matrix_bytes(m.type, layout, w->rows, w->cols);
        void *dst = matrix_alloc(b, room, bytes, &pw->room);
        if (!dst) return no_memory(w, err);
        pw->made_bytes = bytes;
        prepare_job job = {.b = b, .src = &pw->m, .layout = layout, .dst = dst};
        prepare_all(w, &job);
        m.layout = layout;
        m.data = pw->made = dst;
        pw->m = m;
        mem_free_aligned(pw->other);
        pw->other = NULL;
    }
    pw->repacked = true;
    return TL_OK;
}

static tl_status as_float(ir_weight *w, plan_weight *pw, tl_error *err) {
    if (pw->f32 || (w->type == DT_F32 && weight_bytes(w))) return TL_OK;
    int64_t n = w->rows * w->cols;
    float *f = mem_alloc_aligned((size_t)n * sizeof *f + LINE, LINE);
    if (!f) return no_memory(w, err);
    quant_decode(w->type, weight_bytes(w), f, n);
    pw->f32 = f;
    return TL_OK;
}

tl_status weight_need(ir_weight *w, weight_use use, const plan_backend *b, weight_room **room, tl_error *err) {
    plan_weight *pw = NULL;
    TL_TRY(weight_entry(w, b, &pw, err));
    switch (use) {
    case USE_ROWS: return in_place(w, pw, err);
    case USE_LINEAR: return repack(w, pw, b, room, err);
    case USE_F32: return as_float(w, pw, err);
    case USE_BYTES: break;
    }
    return TL_OK;
}

size_t plan_weight_bytes(const ir_weight *w) {
    const plan_weight *pw = w->prepared;
    if (!pw) return 0;
    size_t all = (pw->copy ? w->bytes : 0) + (pw->f32 ? (size_t)(w->rows * w->cols) * sizeof(float) : 0);
    if (pw->other) all += pw->m.row_bytes * (size_t)w->rows;
    if (pw->made) all += pw->made_bytes;
    all += pw->device_bytes;
    return all ? all : w->bytes;
}

void plan_weight_free(ir_weight *w) {
    plan_weight *pw = w->prepared;
    if (!pw) return;
    gpu_weight_free(pw);
    if (pw->room) weight_room_leave(pw->room);
    else mem_free_aligned(pw->made);
    mem_free_aligned(pw->copy);
    mem_free_aligned(pw->other);
    mem_free_aligned(pw->f32);
    mem_free(pw);
    w->prepared = NULL;
}
