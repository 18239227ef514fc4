// driver_sim.c - a CUDA driver for machines without one: libcuda_sim.so, which TL_CUDA_DRIVER names. It has the functions of
// src/cuda/driver.h; memory is the host's and kernels run on simt.h's machine, so that whole plans run and are compared.
// It can also fail: TL_SIM_DEVICES=0 (-1: it does not start), TL_SIM_CC=75, TL_SIM_NO_BINARY, TL_SIM_OLD, TL_SIM_MEMORY=bytes,
// TL_SIM_BREAK (the next launch breaks the device), TL_SIM_BREAK_AFTER=launches.
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

#include "cuda/driver.h"

int simt_launch(const char *name, const unsigned grid[3], const unsigned block[3], unsigned smem, const void *args);
const char *simt_name(int i, unsigned *args_bytes, unsigned *max_threads);
#define SIM __attribute__((visibility("default")))

typedef struct sim_launch { // recorded
    const char *name;
    unsigned grid[3], block[3], shared;
    struct sim_launch *next;
    char args[];
} sim_launch;
typedef struct sim_graph { sim_launch *first, **tail; } sim_graph;
typedef struct sim_block { void *p; size_t bytes; struct sim_block *next; } sim_block;

static sim_block *blocks;
static size_t used;
static long launches;
static bool lost;
static sim_graph *recording;

static long setting(const char *name, long otherwise) {
    const char *v = getenv(name);
    return v ? atol(v) : otherwise;
}
static size_t memory(void) { return (size_t)setting("TL_SIM_MEMORY", 8L << 30); }
static cu_result now(void) { return lost ? 719 : CU_OK; }

SIM cu_result cuInit(unsigned flags) { (void)flags; return setting("TL_SIM_DEVICES", 1) < 0 ? CU_NO_DEVICE : CU_OK; }
SIM cu_result cuDriverGetVersion(int *v) { *v = getenv("TL_SIM_OLD") ? 11080 : 13000; return CU_OK; }
SIM cu_result cuDeviceGetCount(int *n) { *n = (int)setting("TL_SIM_DEVICES", 1); return CU_OK; }
SIM cu_result cuDeviceGet(int *d, int i) { *d = i; return CU_OK; }
SIM cu_result cuDeviceGetName(char *s, int n, int d) { (void)d; snprintf(s, (size_t)n, "simulated"); return CU_OK; }
SIM cu_result cuDeviceGetAttribute(int *v, int which, int d) {
    (void)d;
    long cc = setting("TL_SIM_CC", 90);
    *v = which == CU_ATTR_SMS ? 4 : which == CU_ATTR_MAJOR ? (int)cc / 10 : (int)cc % 10;
    return CU_OK;
}
SIM cu_result cuDeviceTotalMem_v2(size_t *n, int d) { (void)d; *n = memory(); return CU_OK; }
SIM cu_result cuDevicePrimaryCtxRetain(void **c, int d) { (void)d; *c = &blocks; return CU_OK; }
SIM cu_result cuDevicePrimaryCtxRelease_v2(int d) {
    (void)d;
    if (blocks && getenv("TL_SIM_LEAKS")) fprintf(stderr, "driver_sim: %zu bytes are still allocated\n", blocks->bytes), abort();
    return CU_OK;
}
SIM cu_result cuCtxSetCurrent(void *c) { (void)c; return CU_OK; }
SIM cu_result cuMemGetInfo_v2(size_t *free_, size_t *total) { *total = memory(); *free_ = *total > used ? *total - used : 0; return now(); }
SIM cu_result cuModuleLoadData(void **m, const void *image) { *m = (void *)(uintptr_t)image; return getenv("TL_SIM_NO_BINARY") ? CU_NO_BINARY : CU_OK; }
SIM cu_result cuModuleUnload(void *m) { (void)m; return CU_OK; }
SIM cu_result cuModuleGetFunction(void **f, void *m, const char *name) {
    const char *found;
    unsigned bytes, threads;
    (void)m;
    for (int i = 0; (found = simt_name(i, &bytes, &threads)); i++)
        if (strcmp(found, name) == 0) {
            *f = (void *)(uintptr_t)(i + 1);
            return CU_OK;
        }
    return CU_NOT_FOUND;
}
SIM cu_result cuFuncSetAttribute(void *f, int which, int v) { (void)f, (void)which; return v <= 227 << 10 ? CU_OK : 1; }

SIM cu_result cuMemAlloc_v2(uint64_t *out, size_t n) {
    if (lost) return 719;
    if (memory() < used || n > memory() - used) return CU_OUT_OF_MEMORY;
    sim_block *b = malloc(sizeof *b);
    *b = (sim_block){aligned_alloc(256, (n + 511) / 256 * 256), n, blocks};
    memset(b->p, 0xa5, n);
    blocks = b;
    used += n;
    *out = (uint64_t)(uintptr_t)b->p;
    return CU_OK;
}
SIM cu_result cuMemFree_v2(uint64_t p) {
    for (sim_block **b = &blocks; *b; b = &(*b)->next)
        if ((uint64_t)(uintptr_t)(*b)->p == p) {
            sim_block *gone = *b;
            *b = gone->next;
            used -= gone->bytes;
            free(gone->p);
            free(gone);
            return CU_OK;
        }
    return 1;
}
SIM cu_result cuMemHostAlloc(void **p, size_t n, unsigned flags) { (void)flags; *p = malloc(n); return *p ? CU_OK : CU_OUT_OF_MEMORY; }
SIM cu_result cuMemFreeHost(void *p) { free(p); return CU_OK; }
SIM cu_result cuMemHostGetDevicePointer_v2(uint64_t *d, void *p, unsigned flags) { (void)flags; *d = (uint64_t)(uintptr_t)p; return CU_OK; }
static void *at(uint64_t p) { return (void *)(uintptr_t)p; }
SIM cu_result cuMemcpyHtoDAsync_v2(uint64_t d, const void *s, size_t n, void *st) { (void)st; memcpy(at(d), s, n); return now(); }
SIM cu_result cuMemcpyDtoHAsync_v2(void *d, uint64_t s, size_t n, void *st) { (void)st; memcpy(d, at(s), n); return now(); }
SIM cu_result cuMemcpyDtoDAsync_v2(uint64_t d, uint64_t s, size_t n, void *st) { (void)st; memmove(at(d), at(s), n); return now(); }
SIM cu_result cuMemsetD8Async(uint64_t d, unsigned char v, size_t n, void *st) {
    (void)st;
    if (recording) return 900; // not foreseen in graphs here
    memset(at(d), v, n);
    return now();
}
SIM cu_result cuStreamCreate(void **s, unsigned flags) { (void)flags; *s = &used; return CU_OK; }
SIM cu_result cuStreamDestroy_v2(void *s) { (void)s; return CU_OK; }
SIM cu_result cuStreamSynchronize(void *s) { (void)s; return now(); }
SIM cu_result cuEventCreate(void **e, unsigned flags) { (void)flags; *e = &launches; return CU_OK; }
SIM cu_result cuEventDestroy_v2(void *e) { (void)e; return CU_OK; }
SIM cu_result cuEventRecord(void *e, void *s) { (void)e, (void)s; return now(); }
SIM cu_result cuEventSynchronize(void *e) { (void)e; return now(); }
SIM cu_result cuEventElapsedTime(float *ms, void *a, void *b) { (void)a, (void)b; *ms = 1; return CU_OK; }

static cu_result start(const char *name, const unsigned *grid, const unsigned *block, unsigned shared, const void *args) {
    if (lost) return 719;
    launches++;
    if (getenv("TL_SIM_BREAK") || (getenv("TL_SIM_BREAK_AFTER") && launches > setting("TL_SIM_BREAK_AFTER", 0))) lost = true;
    return lost ? 719 : simt_launch(name, grid, block, shared, args) == 0 ? CU_OK : 1;
}
SIM cu_result cuLaunchKernelEx(const cu_launch *l, void *f, void **params, void **extra) {
    unsigned bytes = 0, threads = 0;
    const char *name = simt_name((int)(uintptr_t)f - 1, &bytes, &threads);
    (void)extra;
    if (!name || l->block[0] * l->block[1] * l->block[2] > threads) return 1;
    if (!recording) return start(name, l->grid, l->block, l->shared, params[0]);
    sim_launch *r = malloc(sizeof *r + bytes);
    *r = (sim_launch){.name = name, .shared = l->shared};
    memcpy(r->grid, l->grid, sizeof r->grid);
    memcpy(r->block, l->block, sizeof r->block);
    memcpy(r->args, params[0], bytes);
    *recording->tail = r;
    recording->tail = &r->next;
    return CU_OK;
}
SIM cu_result cuStreamBeginCapture_v2(void *s, int mode) {
    (void)s, (void)mode;
    recording = malloc(sizeof *recording);
    recording->first = NULL;
    recording->tail = &recording->first;
    return now();
}
SIM cu_result cuStreamEndCapture(void *s, void **g) { (void)s; *g = recording; recording = NULL; return now(); }
SIM cu_result cuGraphInstantiateWithFlags(void **e, void *g, unsigned long long flags) { (void)flags; *e = malloc(sizeof(sim_graph)); memcpy(*e, g, sizeof(sim_graph)); ((sim_graph *)g)->first = NULL; return CU_OK; }
SIM cu_result cuGraphLaunch(void *e, void *s) {
    (void)s;
    for (const sim_launch *l = ((sim_graph *)e)->first; l; l = l->next) {
        cu_result r = start(l->name, l->grid, l->block, l->shared, l->args);
        if (r != CU_OK) return r;
    }
    return CU_OK;
}
SIM cu_result cuGraphDestroy(void *g) {
    if (!g) return CU_OK;
    for (sim_launch *l = ((sim_graph *)g)->first, *next; l; l = next) next = l->next, free(l);
    free(g);
    return CU_OK;
}
SIM cu_result cuGraphExecDestroy(void *e) { return cuGraphDestroy(e); }
SIM cu_result cuGetErrorName(cu_result r, const char **s) { *s = r == 719 ? "CUDA_ERROR_LAUNCH_FAILED" : "CUDA_ERROR_SIMULATED"; return CU_OK; }
SIM cu_result cuGetErrorString(cu_result r, const char **s) { *s = r == 719 ? "unspecified launch failure" : "simulated"; return CU_OK; }
