// device.c - the driver, loaded at run time; one device: memory, transfers through a pinned ring, launches, graphs.
//
// After an error of the device itself (a fault of a kernel, a device lost) the context is unusable: every later call fails
// with the same message, and closing frees what the driver still lets go.
#include "cuda/cuda.h"

#include <dlfcn.h>
#include <pthread.h>

#include "cuda/driver.h"

enum { RING_BYTES = CUDA_RING_PART, RING_PARTS = 4, TABLE = 512, MARKS = 8192, LEAST_CC = 80, LEAST_DRIVER = 12000 };

typedef struct function {
    char name[48];
    void *f;
    unsigned shared;  // raised limit
} function;

struct cuda_device {
    cuda_info info;
    void *ctx, *stream;
    void **modules;
    int n_modules;
    function table[TABLE]; // by hash of the name
    char *ring;
    void *ring_done[RING_PARTS];
    int ring_at;
    void *stage;
    size_t stage_bytes;
    void *mark[MARKS];
    bool lost;
    char why[256];
};
struct cuda_graph { void *exec; };

// ---- driver --------------------------------------------------------------------------------------------
static cuda_driver cu;
static char driver_why[300]; // empty: loaded
static pthread_once_t driver_once = PTHREAD_ONCE_INIT;

static void driver_load(void) {
    const char *given = getenv("TL_CUDA_DRIVER");
    void *lib = dlopen(given ? given : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        snprintf(driver_why, sizeof driver_why, "no CUDA driver is installed (%s)", dlerror());
        return;
    }
    static const struct { const char *name; size_t at; } rows[] = {
#define CU(field, symbol, params) {symbol, offsetof(cuda_driver, field)},
        CU_FUNCTIONS(CU)
#undef CU
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *f = dlsym(lib, rows[i].name);
        if (!f) {
            snprintf(driver_why, sizeof driver_why, "the CUDA driver is too old: it has no %s; 12.0 or later is needed", rows[i].name);
            return;
        }
        memcpy((char *)&cu + rows[i].at, &f, sizeof f);
    }
    cu_result r = cu.init(0);
    const char *text = NULL;
    int version = 0;
    if (r == CU_OK && cu.driver_version(&version) == CU_OK && version < LEAST_DRIVER)
        snprintf(driver_why, sizeof driver_why, "the CUDA driver is too old: it is for CUDA %d.%d, %d.%d or later is needed", version / 1000, version % 1000 / 10, LEAST_DRIVER / 1000,
                 LEAST_DRIVER % 1000 / 10);
    if (r == CU_OK) return;
    cu.error_text(r, &text);
    snprintf(driver_why, sizeof driver_why, "the CUDA driver does not start: %s (error %d)", text ? text : "unknown", r);
}

static bool driver_ready(void) {
    pthread_once(&driver_once, driver_load);
    return !driver_why[0];
}

int cuda_count(void) {
    int n = 0;
    return cuda_images[0].name && driver_ready() && cu.device_count(&n) == CU_OK ? n : 0;
}

// ---- errors --------------------------------------------------------------------------------------------
static tl_status failed(cuda_device *d, cu_result r, const char *what, tl_error *err) {
    const char *text = NULL, *name = NULL;
    cu.error_text(r, &text);
    cu.error_name(r, &name);
    if (r == CU_OUT_OF_MEMORY) return err_set(err, TL_E_MEMORY, "CUDA device %d (%s) is out of memory: %s", d->info.ordinal, d->info.name, what);
    if (!d->lost) {
        d->lost = true;
        snprintf(d->why, sizeof d->why, "CUDA device %d (%s) failed: %s: %s (%s)", d->info.ordinal, d->info.name, what, text ? text : "unknown error", name ? name : "?");
    }
    return err_set(err, TL_E_IO, "%s", d->why);
}

static tl_status usable(cuda_device *d, tl_error *err) {
    if (d->lost) return err_set(err, TL_E_IO, "%s", d->why);
    cu_result r = cu.ctx_set(d->ctx); // the caller's thread may be new
    return r == CU_OK ? TL_OK : failed(d, r, "taking its context", err);
}

#define TRY_CU(d, call, what)                                        \
    do {                                                             \
        cu_result r_ = (call);                                       \
        if (r_ != CU_OK) return failed(d, r_, what, err);            \
    } while (0)

// ---- open and close --------------------------------------------------------------------------------------
static tl_status load_images(cuda_device *d, tl_error *err) {
    int n = 0;
    while (cuda_images[n].name) n++;
    d->modules = mem_calloc((size_t)n, sizeof *d->modules);
    if (!d->modules) return err_set(err, TL_E_MEMORY, "out of memory");
    for (int i = 0; i < n; i++) {
        cu_result r = cu.module_load(&d->modules[i], cuda_images[i].data);
        if (r == CU_NO_BINARY)
            return err_set(err, TL_E_UNSUPPORTED, "CUDA device %d (%s) has compute capability %d.%d: this build's kernels need %d.%d or later", d->info.ordinal,
                           d->info.name, d->info.cc / 10, d->info.cc % 10, LEAST_CC / 10, LEAST_CC % 10);
        TRY_CU(d, r, "loading kernels");
        d->n_modules = i + 1;
    }
    return TL_OK;
}

static tl_status describe(cuda_device *d, int ordinal, int *dev, tl_error *err) {
    int n = 0, major = 0, minor = 0;
    d->info.ordinal = ordinal;
    snprintf(d->info.name, sizeof d->info.name, "?");
    TRY_CU(d, cu.device_count(&n), "counting devices");
    if (n == 0) return err_set(err, TL_E_UNSUPPORTED, "there is no CUDA device");
    if (ordinal < 0 || ordinal >= n) return err_set(err, TL_E_USAGE, "there is no CUDA device %d: they are numbered 0 to %d", ordinal, n - 1);
    TRY_CU(d, cu.device_get(dev, ordinal), "finding it");
    TRY_CU(d, cu.device_name(d->info.name, sizeof d->info.name, *dev), "its name");
    TRY_CU(d, cu.device_attribute(&major, CU_ATTR_MAJOR, *dev), "its kind");
    TRY_CU(d, cu.device_attribute(&minor, CU_ATTR_MINOR, *dev), "its kind");
    TRY_CU(d, cu.device_attribute(&d->info.sms, CU_ATTR_SMS, *dev), "its kind");
    TRY_CU(d, cu.driver_version(&d->info.driver), "the driver's version");
    d->info.cc = major * 10 + minor;
    if (d->info.cc < LEAST_CC)
        return err_set(err, TL_E_UNSUPPORTED, "CUDA device %d (%s) has compute capability %d.%d: %d.%d or later is needed", ordinal, d->info.name, major, minor,
                       LEAST_CC / 10, LEAST_CC % 10);
    return TL_OK;
}

static tl_status start(cuda_device *d, int dev, tl_error *err) {
    TRY_CU(d, cu.primary_retain(&d->ctx, dev), "making a context");
    TRY_CU(d, cu.ctx_set(d->ctx), "taking its context");
    TRY_CU(d, cu.mem_info(&d->info.free, &d->info.total), "asking for its memory");
    TRY_CU(d, cu.stream_new(&d->stream, CU_STREAM_NON_BLOCKING), "making a stream");
    TL_TRY(load_images(d, err));
    return TL_OK;
}

tl_status cuda_open(int ordinal, cuda_device **out, tl_error *err) {
    if (!cuda_images[0].name) return err_set(err, TL_E_UNSUPPORTED, "this build has no CUDA kernels: install nvcc (CUDA 12 or later) and build again");
    if (!driver_ready()) return err_set(err, TL_E_UNSUPPORTED, "%s", driver_why);
    cuda_device *d = mem_calloc(1, sizeof *d);
    if (!d) return err_set(err, TL_E_MEMORY, "out of memory");
    int dev = -1;
    tl_status st = describe(d, ordinal, &dev, err);
    if (st == TL_OK) st = start(d, dev, err);
    if (st != TL_OK) cuda_close(d);
    else *out = d;
    return st;
}

void cuda_close(cuda_device *d) {
    if (!d) return;
    if (d->ctx) {
        cu.ctx_set(d->ctx);
        if (d->stream) cu.stream_sync(d->stream);
        for (int i = 0; i < RING_PARTS; i++)
            if (d->ring_done[i]) cu.event_free(d->ring_done[i]);
        for (int i = 0; i < MARKS; i++)
            if (d->mark[i]) cu.event_free(d->mark[i]);
        cuda_free(d, d->stage);
        if (d->ring) cu.host_free(d->ring);
        for (int i = 0; i < d->n_modules; i++) cu.module_unload(d->modules[i]);
        if (d->stream) cu.stream_free(d->stream);
        cu.primary_release(d->info.ordinal);
    }
    mem_free(d->modules);
    mem_free(d);
}

const cuda_info *cuda_device_info(const cuda_device *d) { return &d->info; }

size_t cuda_memory_free(cuda_device *d) {
    size_t free = 0, total;
    return usable(d, NULL) == TL_OK && cu.mem_info(&free, &total) == CU_OK ? free : 0;
}

// ---- memory ----------------------------------------------------------------------------------------------
static uint64_t address(const void *p) { return (uint64_t)(uintptr_t)p; }

tl_status cuda_alloc(cuda_device *d, size_t bytes, void **out, tl_error *err) {
    *out = NULL;
    TL_TRY(usable(d, err));
    uint64_t p = 0;
    cu_result r = cu.mem_alloc(&p, bytes ? bytes : 1);
    if (r == CU_OUT_OF_MEMORY)
        return err_set(err, TL_E_MEMORY, "CUDA device %d (%s) is out of memory: %.1f MiB were asked for, %.1f of %.1f MiB are free", d->info.ordinal, d->info.name,
                       (double)bytes / 1048576, (double)cuda_memory_free(d) / 1048576, (double)d->info.total / 1048576);
    TRY_CU(d, r, "allocating");
    *out = (void *)(uintptr_t)p;
    return TL_OK;
}

void cuda_free(cuda_device *d, void *p) {
    if (p && cu.ctx_set(d->ctx) == CU_OK) cu.mem_free(address(p));
}

tl_status cuda_zero(cuda_device *d, void *dst, size_t bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    if (bytes) TRY_CU(d, cu.fill(address(dst), 0, bytes, d->stream), "clearing memory");
    return TL_OK;
}

static tl_status make_ring(cuda_device *d, tl_error *err) {
    void *p = NULL;
    if (d->ring) return TL_OK;
    TRY_CU(d, cu.host_alloc(&p, (size_t)RING_BYTES * RING_PARTS, CU_HOST_PORTABLE), "pinning host memory");
    d->ring = p;
    for (int i = 0; i < RING_PARTS; i++) TRY_CU(d, cu.event_new(&d->ring_done[i], CU_EVENT_NO_TIMING), "making an event");
    return TL_OK;
}

tl_status cuda_ring(cuda_device *d, void **part, size_t *bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    TL_TRY(make_ring(d, err));
    TRY_CU(d, cu.event_sync(d->ring_done[d->ring_at]), "waiting for a transfer"); // an event never recorded is done
    *part = d->ring + (size_t)d->ring_at * RING_BYTES;
    *bytes = RING_BYTES;
    return TL_OK;
}

tl_status cuda_ring_send(cuda_device *d, void *dst, size_t bytes, tl_error *err) {
    TRY_CU(d, cu.copy_to(address(dst), d->ring + (size_t)d->ring_at * RING_BYTES, bytes, d->stream), "copying to the device");
    TRY_CU(d, cu.event_record(d->ring_done[d->ring_at], d->stream), "marking a transfer");
    d->ring_at = (d->ring_at + 1) % RING_PARTS;
    return TL_OK;
}

tl_status cuda_stage(cuda_device *d, size_t bytes, void **out, tl_error *err) {
    if (bytes > d->stage_bytes) {
        cuda_free(d, d->stage);
        d->stage = NULL;
        d->stage_bytes = 0;
        TL_TRY(cuda_alloc(d, bytes, &d->stage, err));
        d->stage_bytes = bytes;
    }
    *out = d->stage;
    return TL_OK;
}

tl_status cuda_upload(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) {
    for (size_t at = 0; at < bytes;) {
        void *part;
        size_t room;
        TL_TRY(cuda_ring(d, &part, &room, err));
        size_t n = bytes - at < room ? bytes - at : room;
        memcpy(part, (const char *)src + at, n);
        TL_TRY(cuda_ring_send(d, (char *)dst + at, n, err));
        at += n;
    }
    return TL_OK;
}

tl_status cuda_download(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    if (bytes) TRY_CU(d, cu.copy_from(dst, address(src), bytes, d->stream), "copying from the device");
    return cuda_sync(d, err);
}

tl_status cuda_fetch(cuda_device *d, void *pinned, const void *src, size_t bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    if (bytes) TRY_CU(d, cu.copy_from(pinned, address(src), bytes, d->stream), "copying from the device");
    return TL_OK;
}

tl_status cuda_send(cuda_device *d, void *dst, const void *pinned, size_t bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    if (bytes) TRY_CU(d, cu.copy_to(address(dst), pinned, bytes, d->stream), "copying to the device");
    return TL_OK;
}

tl_status cuda_copy(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) {
    TL_TRY(usable(d, err));
    if (bytes) TRY_CU(d, cu.copy_inside(address(dst), address(src), bytes, d->stream), "copying on the device");
    return TL_OK;
}

tl_status cuda_host_alloc(cuda_device *d, size_t bytes, void **host, void **device, tl_error *err) {
    uint64_t p = 0;
    *host = NULL;
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.host_alloc(host, bytes ? bytes : 1, CU_HOST_PORTABLE | CU_HOST_MAPPED), "pinning host memory");
    TRY_CU(d, cu.host_pointer(&p, *host, 0), "mapping host memory");
    if (device) *device = (void *)(uintptr_t)p;
    return TL_OK;
}

void cuda_host_free(cuda_device *d, void *host) {
    if (host && cu.ctx_set(d->ctx) == CU_OK) cu.host_free(host);
}

// ---- launches ----------------------------------------------------------------------------------------------
static unsigned hash_name(const char *s) {
    unsigned h = 2166136261u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 16777619u;
    return h;
}

static tl_status find_function(cuda_device *d, const char *name, function **out, tl_error *err) {
    unsigned h = hash_name(name) % TABLE;
    for (int i = 0; i < TABLE; i++, h = (h + 1) % TABLE) {
        function *f = &d->table[h];
        if (f->f && strcmp(f->name, name) == 0) {
            *out = f;
            return TL_OK;
        }
        if (f->f) continue;
        for (int m = 0; m < d->n_modules; m++)
            if (cu.module_function(&f->f, d->modules[m], name) == CU_OK) {
                snprintf(f->name, sizeof f->name, "%s", name);
                *out = f;
                // The same for all: kernels that divide a multiprocessor's memory otherwise do not overlap there.
                TRY_CU(d, cu.function_set(f->f, CU_FUNC_CARVEOUT, 100), name);
                return TL_OK;
            }
        f->f = NULL;
        break;
    }
    return err_set(err, TL_E_UNSUPPORTED, "there is no CUDA kernel %s", name);
}

bool cuda_has(cuda_device *d, const char *kernel) {
    function *f;
    return usable(d, NULL) == TL_OK && find_function(d, kernel, &f, NULL) == TL_OK;
}

tl_status cuda_launch(cuda_device *d, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned shared, const void *args, size_t args_bytes,
                      unsigned flags, tl_error *err) {
    (void)args_bytes;
    function *f;
    if (x == 0 || y == 0 || z == 0) return TL_OK;
    TL_TRY(usable(d, err));
    TL_TRY(find_function(d, kernel, &f, err));
    if (shared > (48u << 10) && shared > f->shared) {
        TRY_CU(d, cu.function_set(f->f, CU_FUNC_MAX_SHARED, (int)shared), kernel);
        f->shared = shared;
    }
    cu_launch_attr attr = {.id = CU_LAUNCH_PDL};
    attr.v.on = 1;
    bool pdl = (flags & CUDA_PDL) && d->info.cc >= 90;
    cu_launch l = {.grid = {x, y, z}, .block = {threads, 1, 1}, .shared = shared, .stream = d->stream, .attrs = &attr, .n_attrs = pdl};
    void *params[] = {(void *)(uintptr_t)args};
    TRY_CU(d, cu.launch(&l, f->f, params, NULL), kernel);
    return TL_OK;
}

tl_status cuda_sync(cuda_device *d, tl_error *err) {
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.stream_sync(d->stream), "running kernels");
    return TL_OK;
}

// ---- graphs ------------------------------------------------------------------------------------------------
tl_status cuda_record_begin(cuda_device *d, tl_error *err) {
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.capture_begin(d->stream, CU_CAPTURE_THREAD), "recording a graph");
    return TL_OK;
}

tl_status cuda_record_end(cuda_device *d, cuda_graph **out, tl_error *err) {
    void *graph = NULL, *exec = NULL;
    cu_result r = cu.capture_end(d->stream, &graph);
    if (out) *out = NULL;
    if (!out) {
        if (r == CU_OK) cu.graph_free(graph);
        return TL_OK;
    }
    TRY_CU(d, r, "recording a graph");
    cuda_graph *g = mem_calloc(1, sizeof *g);
    r = g ? cu.graph_make(&exec, graph, 0) : CU_OK;
    cu.graph_free(graph);
    if (!g) return err_set(err, TL_E_MEMORY, "out of memory");
    if (r != CU_OK) {
        mem_free(g);
        return failed(d, r, "making a graph", err);
    }
    g->exec = exec;
    *out = g;
    return TL_OK;
}

tl_status cuda_replay(cuda_device *d, cuda_graph *g, tl_error *err) {
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.graph_launch(g->exec, d->stream), "starting a graph");
    return TL_OK;
}

void cuda_graph_free(cuda_device *d, cuda_graph *g) {
    if (!g) return;
    if (cu.ctx_set(d->ctx) == CU_OK) cu.graph_exec_free(g->exec);
    mem_free(g);
}

// ---- points ------------------------------------------------------------------------------------------------
struct cuda_point { void *event; };

tl_status cuda_point_new(cuda_device *d, cuda_point **out, tl_error *err) {
    *out = NULL;
    TL_TRY(usable(d, err));
    void *event = NULL;
    TRY_CU(d, cu.event_new(&event, CU_EVENT_NO_TIMING), "making an event");
    cuda_point *p = mem_calloc(1, sizeof *p);
    if (!p) {
        cu.event_free(event);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    p->event = event;
    *out = p;
    return TL_OK;
}

tl_status cuda_point_mark(cuda_device *d, cuda_point *p, tl_error *err) {
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.event_record(p->event, d->stream), "marking a point");
    return TL_OK;
}

tl_status cuda_point_wait(cuda_device *d, cuda_point *p, tl_error *err) {
    TL_TRY(usable(d, err));
    TRY_CU(d, cu.event_sync(p->event), "running kernels");
    return TL_OK;
}

void cuda_point_free(cuda_device *d, cuda_point *p) {
    if (!p) return;
    if (cu.ctx_set(d->ctx) == CU_OK) cu.event_free(p->event);
    mem_free(p);
}

// ---- times -------------------------------------------------------------------------------------------------
tl_status cuda_mark(cuda_device *d, int i, tl_error *err) {
    if (i < 0 || i >= MARKS) return err_set(err, TL_E_LIMIT, "mark %d of %d", i, MARKS);
    TL_TRY(usable(d, err));
    if (!d->mark[i]) TRY_CU(d, cu.event_new(&d->mark[i], 0), "making an event");
    TRY_CU(d, cu.event_record(d->mark[i], d->stream), "marking a point");
    return TL_OK;
}

double cuda_bandwidth(cuda_device *d) {
    enum { BYTES = 128 << 20, ROUNDS = 8 };
    char *p = NULL;
    double ms = 0;
    if (cuda_alloc(d, 2 * (size_t)BYTES, (void **)&p, NULL) != TL_OK) return 0;
    tl_status st = cuda_zero(d, p, 2 * (size_t)BYTES, NULL);
    for (int i = 0; i <= ROUNDS && st == TL_OK; i++) {
        if (i == 1) st = cuda_mark(d, 0, NULL);
        if (st == TL_OK) st = cuda_copy(d, p + BYTES, p, BYTES, NULL);
    }
    if (st == TL_OK && cuda_mark(d, 1, NULL) == TL_OK && cuda_sync(d, NULL) == TL_OK) ms = cuda_between(d, 0, 1);
    cuda_free(d, p);
    return ms > 0 ? 2.0 * BYTES * ROUNDS / (1e-3 * ms) : 0;
}

double cuda_between(cuda_device *d, int i, int j) {
    float ms = 0;
    return d->mark[i] && d->mark[j] && cu.event_between(&ms, d->mark[i], d->mark[j]) == CU_OK ? (double)ms : 0;
}
