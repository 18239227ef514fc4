// simt.h - runs the kernels of src/cuda on the host: dev.cuh includes it when TL_SIMT is defined and the host's C++ compiler
// compiles the .cu files. Blocks run one after the other; a block's threads are fibers that run until they meet others
// (barrier, shuffle, matrix instruction), in an order that TL_SIMT_SEED changes, so that a missing barrier shows. Copies
// of cp.async land when they are waited for, not before. Shared memory starts as garbage. No C++ library is needed.
#ifndef TL_SIMT_H
#define TL_SIMT_H
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEV static inline
#define DEV_MEMBER inline
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __constant__ static const
#define __shared__ static
#define __align__(n) __attribute__((aligned(n)))

struct simt_dim { unsigned x, y, z; };
struct simt_thread;
extern struct simt_thread_view { simt_dim tid, bid, bdim, gdim; } simt_now; // of the fiber that runs
#define threadIdx (simt_now.tid)
#define blockIdx (simt_now.bid)
#define blockDim (simt_now.bdim)
#define gridDim (simt_now.gdim)
#define warpSize 32

struct float2 { float x, y; };
struct __align__(16) float4 { float x, y, z, w; };
struct int2 { int x, y; };
struct __align__(16) int4 { int x, y, z, w; };
struct uint2 { uint32_t x, y; };
struct __align__(16) uint4 { uint32_t x, y, z, w; };
static inline float2 make_float2(float x, float y) { return {x, y}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline int2 make_int2(int x, int y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

// ---- the machine (simt.cpp) -----------------------------------------------------------------------------
typedef void (*simt_entry)(const void *args);
struct simt_kernel {
    const char *name;
    simt_entry entry;
    unsigned args_bytes, max_threads;
    simt_kernel *next;
    simt_kernel(const char *name, simt_entry entry, unsigned args_bytes, unsigned max_threads);
};
extern "C" const simt_kernel *simt_find(const char *name);
// 0, or -1: no such kernel or an impossible shape.
extern "C" int simt_launch(const char *name, const unsigned grid[3], const unsigned block[3], unsigned smem, const void *args);
extern "C" const char *simt_name(int i, unsigned *args_bytes, unsigned *max_threads); // i-th kernel, or NULL

#define CUDA_KERNEL_MIN(name, type, threads, blocks) CUDA_KERNEL(name, type, threads)
#define CUDA_KERNEL_REGS(name, type, threads, regs) CUDA_KERNEL(name, type, threads)
#define CUDA_KERNEL(name, type, threads)                                                                               \
    static void name(const type &a);                                                                                   \
    static void simt_entry_##name(const void *p) { name(*(const type *)p); }                                           \
    static simt_kernel simt_kernel_##name(#name, simt_entry_##name, sizeof(type), threads);                            \
    static void name(const type &a)

void *simt_smem();
#define DEV_SMEM(name) unsigned char *name = (unsigned char *)simt_smem()

void __syncthreads();
// Meets the warp's other lanes of `mask`; each gives `in` (bytes) and gets `out`; `all` runs once with everyone's.
struct simt_meeting {
    const void *in[32];
    void *out[32];
    uint32_t mask;
};
void simt_meet(uint32_t mask, const void *what, void (*all)(simt_meeting *, int), int arg, const void *in, void *out);
unsigned simt_lane();

static inline void __syncwarp(uint32_t mask = 0xffffffffu) { simt_meet(mask, (const void *)&__syncthreads, 0, 0, 0, 0); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
static inline void dev_wait() {}
static inline void dev_launch_next() {}

template <class T> struct simt_shuffle {
    T v;
    int from;
    static void all(simt_meeting *m, int) {
        T got[32];
        for (int i = 0; i < 32; i++)
            if (m->mask >> i & 1) {
                int f = ((const simt_shuffle *)m->in[i])->from;
                got[i] = ((const simt_shuffle *)m->in[f >= 0 && f < 32 && (m->mask >> f & 1) ? f : i])->v;
            }
        for (int i = 0; i < 32; i++)
            if (m->mask >> i & 1) *(T *)m->out[i] = got[i];
    }
};
template <class T> static inline T simt_shfl(uint32_t mask, T v, int from) {
    simt_shuffle<T> s = {v, from};
    T out;
    simt_meet(mask, (const void *)&simt_shuffle<T>::all, simt_shuffle<T>::all, 0, &s, &out);
    return out;
}
template <class T> static inline T __shfl_sync(uint32_t m, T v, int from, int w = 32) {
    int l = (int)simt_lane();
    return simt_shfl(m, v, (l & ~(w - 1)) | (from & (w - 1)));
}
template <class T> static inline T __shfl_xor_sync(uint32_t m, T v, int x, int = 32) { return simt_shfl(m, v, (int)simt_lane() ^ x); }
template <class T> static inline T __shfl_down_sync(uint32_t m, T v, int d, int w = 32) {
    int l = (int)simt_lane();
    return simt_shfl(m, v, l % w + d < w ? l + d : l);
}
template <class T> static inline T __shfl_up_sync(uint32_t m, T v, int d, int w = 32) {
    int l = (int)simt_lane();
    return simt_shfl(m, v, l % w - d >= 0 ? l - d : l);
}
void simt_ballot_all(simt_meeting *m, int);
static inline uint32_t __ballot_sync(uint32_t mask, int pred) {
    uint32_t out;
    simt_meet(mask, (const void *)simt_ballot_all, simt_ballot_all, 0, &pred, &out);
    return out;
}
static inline int __any_sync(uint32_t mask, int pred) { return __ballot_sync(mask, pred) != 0; }
static inline int __all_sync(uint32_t mask, int pred) { return __ballot_sync(mask, pred) == mask; }
int __syncthreads_or(int pred);
static inline int __syncthreads_and(int pred) { return !__syncthreads_or(!pred); }

// ---- tensor cores -----------------------------------------------------------------------------------------
void simt_mma_s8(int c[4], const uint32_t *a, const uint32_t *b, int k);
void simt_mma_half(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, bool bf);
void simt_ldmatrix(uint32_t r[4], const void *row, bool trans);
static inline void mma_s8_k32(int c[4], const uint32_t a[4], const uint32_t b[2]) { simt_mma_s8(c, a, b, 32); }
static inline void mma_s8_k16(int c[4], uint32_t a0, uint32_t a1, uint32_t b) {
    uint32_t a[4] = {a0, a1, 0, 0}, bb[2] = {b, 0};
    simt_mma_s8(c, a, bb, 16);
}
static inline void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) { simt_mma_half(c, a, b0, b1, false); }
static inline void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) { simt_mma_half(c, a, b0, b1, true); }
static inline void ldmatrix4(uint32_t r[4], const void *row) { simt_ldmatrix(r, row, false); }
static inline void ldmatrix4_trans(uint32_t r[4], const void *row) { simt_ldmatrix(r, row, true); }

// ---- copies -------------------------------------------------------------------------------------------------
void cp_async16(void *dst, const void *src, bool valid);
typedef unsigned char *dev_place;
static inline const void *dev_anywhere(const void *p) { return p; }
static inline void dev_keep(int &) {}
static inline dev_place dev_place_of(void *p) { return (dev_place)p; }
static inline void cp_async16_to(dev_place dst, const void *src) { cp_async16(dst, src, true); }
static inline void cp_async16_if(dev_place dst, const void *src, bool valid) { cp_async16(dst, src, valid); }
void cp_async_commit();
void simt_copies_wait(int left);
template <int N> static inline void cp_async_wait() { simt_copies_wait(N); }

// ---- arithmetic ---------------------------------------------------------------------------------------------
static inline float __uint_as_float(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }
static inline uint32_t __float_as_uint(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
static inline float __int_as_float(int u) { float f; memcpy(&f, &u, 4); return f; }
static inline int __float_as_int(float f) { int u; memcpy(&u, &f, 4); return u; }
static inline uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t s) {
    uint64_t v = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++) r |= (uint32_t)(v >> (8 * (s >> (4 * i) & 7)) & 0xff) << (8 * i);
    return r;
}
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
#define __expf expf // glibc has another __expf
static inline int __popc(uint32_t x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __dp4a(int a, int b, int c) {
    for (int i = 0; i < 4; i++) c += (int8_t)(a >> (8 * i)) * (int8_t)(b >> (8 * i));
    return c;
}
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline void __stcg(T *p, T v) { *p = v; }
template <class T> static inline T min(T a, T b) { return a < b ? a : b; }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }
static inline int64_t min(int64_t a, int b) { return a < b ? a : b; }
static inline int64_t max(int64_t a, int b) { return a > b ? a : b; }
static inline int64_t min(int a, int64_t b) { return a < b ? a : b; }
static inline int64_t max(int a, int64_t b) { return a > b ? a : b; }
template <class T> static inline T atomicAdd(T *p, T v) { T o = *p; *p = o + v; return o; }
template <class T> static inline T atomicMax(T *p, T v) { T o = *p; if (v > o) *p = v; return o; }
template <class T> static inline T atomicMin(T *p, T v) { T o = *p; if (v < o) *p = v; return o; }
template <class T> static inline T atomicExch(T *p, T v) { T o = *p; *p = v; return o; }
template <class T> static inline T atomicOr(T *p, T v) { T o = *p; *p = o | v; return o; }
template <class T> static inline T atomicCAS(T *p, T c, T v) { T o = *p; if (o == c) *p = v; return o; }
// An atomicInc that wraps, as CUDA's: (old >= v) ? 0 : old + 1.
static inline unsigned atomicInc(unsigned *p, unsigned v) { unsigned o = *p; *p = o >= v ? 0 : o + 1; return o; }

static inline float dev_inverse(float x) { return 1.0f / x; }
static inline float dev_exp(float x) { return exp2f(x * 1.4426950408889634f); }
static inline float f16_float(uint32_t h) {
    uint32_t sign = (h & 0x8000u) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 31) return __uint_as_float(sign | 0x7f800000u | m << 13);
    if (e) return __uint_as_float(sign | (e + 112) << 23 | m << 13);
    float f = (float)m * 0x1p-24f;
    return sign ? -f : f;
}
static inline uint32_t float_f16(float x) { // round to nearest even
    uint32_t u = __float_as_uint(x), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000) return 0x7fff;
    if (a >= 0x477ff000) return sign | 0x7c00;
    if (a < 0x38800000) return sign | (uint32_t)rintf(__uint_as_float(a) * 0x1p24f);
    a += 0xfff + (a >> 13 & 1);
    return sign | ((a - 0x38000000) >> 13);
}
static inline uint32_t simt_bf16(float x) {
    uint32_t u = __float_as_uint(x);
    if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
static inline uint32_t float_f16x2(float low, float high) { return float_f16(low) | float_f16(high) << 16; }
static inline uint32_t float_bf16x2(float low, float high) { return simt_bf16(low) | simt_bf16(high) << 16; }
#endif
