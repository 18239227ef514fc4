// driver.h - what is used of the CUDA driver, loaded at run time. Private to this folder (and to the tests' stand-in).
// Names, values and signatures: NVIDIA's CUDA Driver API reference.
#ifndef TL_CUDA_DRIVER_H
#define TL_CUDA_DRIVER_H
#include <stddef.h>
#include <stdint.h>

typedef struct cuda_image { // a compiled .cu file; the table ends with a row whose name is NULL
    const char *name;
    const unsigned char *data, *end;
} cuda_image;
extern const cuda_image cuda_images[];

typedef int cu_result;
enum {
    CU_OK = 0, CU_OUT_OF_MEMORY = 2, CU_NO_DEVICE = 100, CU_INVALID_DEVICE = 101, CU_NO_BINARY = 209, CU_NOT_FOUND = 500, CU_NOT_READY = 600,
};
enum { CU_ATTR_SMS = 16, CU_ATTR_MAJOR = 75, CU_ATTR_MINOR = 76 };
enum { CU_FUNC_MAX_SHARED = 8, CU_FUNC_CARVEOUT = 9 };
enum { CU_LAUNCH_PDL = 6 };                 // programmatic stream serialization
enum { CU_HOST_PORTABLE = 1, CU_HOST_MAPPED = 2, CU_STREAM_NON_BLOCKING = 1, CU_CAPTURE_THREAD = 1, CU_EVENT_NO_TIMING = 2 };

typedef struct cu_launch_attr { // CUlaunchAttribute: 4 bytes id, padding, 64 bytes value
    int id;
    char pad[4];
    union { int on; char bytes[64]; } v;
} cu_launch_attr;
typedef struct cu_launch {      // CUlaunchConfig
    unsigned grid[3], block[3], shared;
    void *stream;
    cu_launch_attr *attrs;
    unsigned n_attrs;
} cu_launch;

// CU(field, symbol, parameters): one row a function
#define CU_FUNCTIONS(CU)                                                                                                        \
    CU(init, "cuInit", (unsigned))                                                                                              \
    CU(driver_version, "cuDriverGetVersion", (int *))                                                                           \
    CU(device_count, "cuDeviceGetCount", (int *))                                                                               \
    CU(device_get, "cuDeviceGet", (int *, int))                                                                                 \
    CU(device_name, "cuDeviceGetName", (char *, int, int))                                                                      \
    CU(device_attribute, "cuDeviceGetAttribute", (int *, int, int))                                                             \
    CU(device_memory, "cuDeviceTotalMem_v2", (size_t *, int))                                                                   \
    CU(primary_retain, "cuDevicePrimaryCtxRetain", (void **, int))                                                              \
    CU(primary_release, "cuDevicePrimaryCtxRelease_v2", (int))                                                                  \
    CU(ctx_set, "cuCtxSetCurrent", (void *))                                                                                    \
    CU(mem_info, "cuMemGetInfo_v2", (size_t *, size_t *))                                                                       \
    CU(module_load, "cuModuleLoadData", (void **, const void *))                                                                \
    CU(module_unload, "cuModuleUnload", (void *))                                                                               \
    CU(module_function, "cuModuleGetFunction", (void **, void *, const char *))                                                 \
    CU(function_set, "cuFuncSetAttribute", (void *, int, int))                                                                  \
    CU(mem_alloc, "cuMemAlloc_v2", (uint64_t *, size_t))                                                                        \
    CU(mem_free, "cuMemFree_v2", (uint64_t))                                                                                    \
    CU(host_alloc, "cuMemHostAlloc", (void **, size_t, unsigned))                                                               \
    CU(host_free, "cuMemFreeHost", (void *))                                                                                    \
    CU(host_pointer, "cuMemHostGetDevicePointer_v2", (uint64_t *, void *, unsigned))                                            \
    CU(copy_to, "cuMemcpyHtoDAsync_v2", (uint64_t, const void *, size_t, void *))                                               \
    CU(copy_from, "cuMemcpyDtoHAsync_v2", (void *, uint64_t, size_t, void *))                                                   \
    CU(copy_inside, "cuMemcpyDtoDAsync_v2", (uint64_t, uint64_t, size_t, void *))                                               \
    CU(fill, "cuMemsetD8Async", (uint64_t, unsigned char, size_t, void *))                                                      \
    CU(stream_new, "cuStreamCreate", (void **, unsigned))                                                                       \
    CU(stream_free, "cuStreamDestroy_v2", (void *))                                                                             \
    CU(stream_sync, "cuStreamSynchronize", (void *))                                                                            \
    CU(capture_begin, "cuStreamBeginCapture_v2", (void *, int))                                                                 \
    CU(capture_end, "cuStreamEndCapture", (void *, void **))                                                                    \
    CU(graph_make, "cuGraphInstantiateWithFlags", (void **, void *, unsigned long long))                                        \
    CU(graph_launch, "cuGraphLaunch", (void *, void *))                                                                         \
    CU(graph_free, "cuGraphDestroy", (void *))                                                                                  \
    CU(graph_exec_free, "cuGraphExecDestroy", (void *))                                                                         \
    CU(event_new, "cuEventCreate", (void **, unsigned))                                                                         \
    CU(event_free, "cuEventDestroy_v2", (void *))                                                                               \
    CU(event_record, "cuEventRecord", (void *, void *))                                                                         \
    CU(event_sync, "cuEventSynchronize", (void *))                                                                              \
    CU(event_between, "cuEventElapsedTime", (float *, void *, void *))                                                          \
    CU(launch, "cuLaunchKernelEx", (const cu_launch *, void *, void **, void **))                                               \
    CU(error_name, "cuGetErrorName", (cu_result, const char **))                                                                \
    CU(error_text, "cuGetErrorString", (cu_result, const char **))

typedef struct cuda_driver {
#define CU(field, symbol, params) cu_result (*field) params;
    CU_FUNCTIONS(CU)
#undef CU
} cuda_driver;
#endif
