// harness.h - what the programs that test and time CUDA kernels share: data, device memory, complaints.
#ifndef TL_CUDA_HARNESS_H
#define TL_CUDA_HARNESS_H
#include "cuda/cuda.h"

extern cuda_device *gpu;
extern int failures;
void must(tl_status s, const tl_error *err, const char *what); // ends the program with the message unless TL_OK
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        tl_error err = {0};                                                                                            \
        must((call), &err, #call);                                                                                     \
    } while (0)
void *gpu_new(size_t bytes);                     // filled with 0xff
void *gpu_put(const void *from, size_t bytes);
void gpu_get(void *to, const void *from, size_t bytes);
void gpu_free(void *p);
float random_normal(uint64_t *s);
uint32_t random_u32(uint64_t *s);
void *host_new(size_t bytes);
void complain(const char *fmt, ...) TL_PRINTF(1, 2); // counts a failure; prints the first 40

void test_linear(bool big);
void time_linear(void);
void test_attention(bool big);
void time_attention(void);
void test_sample(bool big);
void time_sample(void);
#endif
