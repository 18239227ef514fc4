// simt_device.c - the part of cuda.h that kernels' tests need, on the host: memory is the host's, launches go to simt.h's
// machine. In place of src/cuda/device.c.
#include "cuda/cuda.h"

int simt_launch(const char *name, const unsigned grid[3], const unsigned block[3], unsigned smem, const void *args);
const char *simt_name(int i, unsigned *args_bytes, unsigned *max_threads);

struct cuda_device {
    cuda_info info;
};
static cuda_device device = {.info = {.name = "host", .cc = 90, .sms = 4}};

tl_status cuda_open(int ordinal, cuda_device **out, tl_error *err) {
    (void)ordinal, (void)err;
    *out = &device;
    return TL_OK;
}
void cuda_close(cuda_device *d) { (void)d; }
const cuda_info *cuda_device_info(const cuda_device *d) { return &d->info; }
tl_status cuda_alloc(cuda_device *d, size_t bytes, void **out, tl_error *err) {
    (void)d;
    *out = aligned_alloc(256, (bytes + 511) / 256 * 256);
    if (!*out) return err_set(err, TL_E_MEMORY, "out of memory");
    memset(*out, 0xa5, bytes);
    return TL_OK;
}
void cuda_free(cuda_device *d, void *p) {
    (void)d;
    free(p);
}
tl_status cuda_zero(cuda_device *d, void *dst, size_t bytes, tl_error *err) {
    (void)d, (void)err;
    memset(dst, 0, bytes);
    return TL_OK;
}
tl_status cuda_copy(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) {
    (void)d, (void)err;
    memcpy(dst, src, bytes);
    return TL_OK;
}
tl_status cuda_upload(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) { return cuda_copy(d, dst, src, bytes, err); }
tl_status cuda_download(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) { return cuda_copy(d, dst, src, bytes, err); }
tl_status cuda_send(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err) { return cuda_copy(d, dst, src, bytes, err); }
tl_status cuda_host_alloc(cuda_device *d, size_t bytes, void **host, void **there, tl_error *err) {
    TL_TRY(cuda_alloc(d, bytes, host, err));
    if (there) *there = *host;
    return TL_OK;
}
void cuda_host_free(cuda_device *d, void *host) { cuda_free(d, host); }
tl_status cuda_point_new(cuda_device *d, cuda_point **out, tl_error *err) { return cuda_alloc(d, 1, (void **)out, err); }
tl_status cuda_point_mark(cuda_device *d, cuda_point *p, tl_error *err) {
    (void)d, (void)p, (void)err;
    return TL_OK;
}
tl_status cuda_point_wait(cuda_device *d, cuda_point *p, tl_error *err) { return cuda_point_mark(d, p, err); }
void cuda_point_free(cuda_device *d, cuda_point *p) { cuda_free(d, p); }
tl_status cuda_launch(cuda_device *d, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned shared, const void *args,
                      size_t args_bytes, unsigned flags, tl_error *err) {
    (void)d, (void)args_bytes, (void)flags;
    const unsigned grid[3] = {x, y, z}, block[3] = {threads, 1, 1};
    if (!x || !y || !z) return TL_OK;
    return simt_launch(kernel, grid, block, shared, args) ? err_set(err, TL_E_UNSUPPORTED, "cannot launch %s", kernel) : TL_OK;
}
tl_status cuda_sync(cuda_device *d, tl_error *err) {
    (void)d, (void)err;
    return TL_OK;
}
tl_status cuda_mark(cuda_device *d, int i, tl_error *err) {
    (void)d, (void)i, (void)err;
    return TL_OK;
}
double cuda_between(cuda_device *d, int i, int j) {
    (void)d;
    return i == j ? 0 : 1;
}
