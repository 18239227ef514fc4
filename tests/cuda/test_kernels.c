// test_kernels.c - the tests' program: every launcher, type and odd shape against the CPU's definitions. On a GPU with
// src/cuda/device.c, on the host with simt_device.c. `time` as the argument measures
// instead, `small` takes small shapes only; without a device it says so and ends well.
#include "harness.h"

#include <math.h>

cuda_device *gpu;
int failures;

void must(tl_status s, const tl_error *err, const char *what) {
    if (s == TL_OK) return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

void *host_new(size_t bytes) {
    void *p = calloc(1, bytes + 64);
    if (!p) abort();
    return p;
}

void *gpu_new(size_t bytes) {
    void *p = NULL, *poison = malloc(bytes + 1);
    if (!poison) abort();
    memset(poison, 0xff, bytes);
    MUST(cuda_alloc(gpu, bytes ? bytes : 1, &p, &err));
    if (bytes) MUST(cuda_upload(gpu, p, poison, bytes, &err));
    free(poison);
    return p;
}

void *gpu_put(const void *from, size_t bytes) {
    void *p = NULL;
    MUST(cuda_alloc(gpu, bytes ? bytes : 1, &p, &err));
    if (bytes) MUST(cuda_upload(gpu, p, from, bytes, &err));
    return p;
}

void gpu_get(void *to, const void *from, size_t bytes) {
    MUST(cuda_sync(gpu, &err));
    MUST(cuda_download(gpu, to, from, bytes, &err));
}
void gpu_free(void *p) { cuda_free(gpu, p); }

uint32_t random_u32(uint64_t *s) {
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return (uint32_t)(*s >> 32);
}

float random_normal(uint64_t *s) {
    float x = 0;
    for (int i = 0; i < 4; i++) x += (float)random_u32(s) / 4294967296.0f - 0.5f;
    return x * 1.7f;
}

void complain(const char *fmt, ...) {
    if (failures++ >= 40) return;
    va_list v;
    va_start(v, fmt);
    vprintf(fmt, v);
    va_end(v);
    printf("\n");
}

int main(int argc, char **argv) {
    tl_error err = {0};
    const char *mode = argc > 1 ? argv[1] : "";
    if (cuda_open(0, &gpu, &err) != TL_OK) {
        printf("skipped: %s\n", err.message);
        return 77;
    }
    bool device = strcmp(cuda_device_info(gpu)->name, "host") != 0;
    printf("%s\n", cuda_device_info(gpu)->name);
    bool all = argc < 3 || strcmp(argv[2], "sample") != 0; // `sample` as the second: choosing tokens alone
    if (!strcmp(mode, "time")) {
        if (all) time_linear();
        if (all) time_attention();
        time_sample();
    } else {
        bool big = device && strcmp(mode, "small") != 0;
        if (all) test_linear(big);
        if (all) test_attention(big);
        test_sample(big);
        printf(failures ? "%d FAILED\n" : "ok\n", failures);
    }
    cuda_close(gpu);
    return failures != 0;
}
