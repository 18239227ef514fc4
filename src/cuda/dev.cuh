// dev.cuh - what every kernel is written with: how a kernel is declared, tensor-core and copy instructions, conversions.
// Compiled by nvcc for the GPU, or with TL_SIMT by the host's C++ compiler for tests/cuda/simt.h, which runs a kernel's
// threads as fibers. Kernels use no other intrinsics than those here and those that simt.h knows.
#ifndef TL_CUDA_DEV_CUH
#define TL_CUDA_DEV_CUH
#include <stdint.h>

#ifdef TL_SIMT
#include "simt.h"
#else

// CUDA_KERNEL(name, struct name_args, threads) { ... a.field ... }: a kernel takes one struct by value.
#define CUDA_KERNEL(name, type, threads)                                                                               \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ type a)
#define CUDA_KERNEL_MIN(name, type, threads, blocks) /* registers for so many resident blocks */                       \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ type a)
#define CUDA_KERNEL_REGS(name, type, threads, regs) /* with so many registers at most */                               \
    extern "C" __global__ void __maxnreg__(regs) name(const __grid_constant__ type a)
#define DEV_SMEM(name) extern __shared__ __align__(128) unsigned char name[] // the block's dynamic shared memory
#define DEV static __device__ __forceinline__
#define DEV_MEMBER __device__ __forceinline__

// ---- launches that overlap: loads that depend on no kernel may come before dev_wait() --------------
#if __CUDA_ARCH__ >= 900
DEV void dev_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
DEV void dev_launch_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#else
DEV void dev_wait() {}
DEV void dev_launch_next() {}
#endif

// ---- tensor cores: c += a b; fragments as PTX's mma.sync has them -----------------------------------
DEV void mma_s8_k32(int c[4], const uint32_t a[4], const uint32_t b[2]) { // 16 x 32 times 32 x 8
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
DEV void mma_s8_k16(int c[4], uint32_t a0, uint32_t a1, uint32_t b) { // 16 x 16 times 16 x 8
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3},{%4,%5},{%6},{%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(a0), "r"(a1), "r"(b));
}
DEV void mma_f16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) { // 16 x 16 times 16 x 8
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV void mma_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- shared memory -----------------------------------------------------------------------------------
DEV uint32_t dev_shared(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
// Four 8 x 8 matrices of 16 bits; lane l gives the address of row l % 8 of matrix l / 8.
DEV void ldmatrix4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(dev_shared(row)) : "memory");
}
DEV void ldmatrix4_trans(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(dev_shared(row)) : "memory");
}
// A shared address that a kernel keeps: it is not worked out again for each copy.
typedef uint32_t dev_place;
DEV dev_place dev_place_of(void *p) {
    uint32_t at = dev_shared(p);
    asm volatile("" : "+r"(at));
    return at;
}
DEV const void *dev_anywhere(const void *p) { // the same, read as any memory is
    asm volatile("" : "+l"(p));
    return p;
}
DEV void dev_keep(int &x) { asm volatile("" : "+r"(x)); } // x is worked out here, not where it is used
// 16 bytes from global to shared memory in the background; zeros when not `valid` (src is not read then).
DEV void cp_async16_to(dev_place dst, const void *src) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(dst), "l"(src) : "memory"); }
DEV void cp_async16_if(dev_place dst, const void *src, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(valid ? 16 : 0) : "memory");
}
DEV void cp_async16(void *dst, const void *src, bool valid) { cp_async16_if(dev_shared(dst), src, valid); }
DEV void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> DEV void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); } // but the last N groups

// ---- numbers -------------------------------------------------------------------------------------------
DEV float dev_exp(float x) { // e^x for x <= 0, within some 2^-22; tiny ones are 0
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}
DEV float dev_inverse(float x) { // 1 / x, correctly rounded, for x > 0 far from the ends of the range
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return fmaf(y, -fmaf(y, x, -1.0f), y);
}
DEV float f16_float(uint32_t h) { // of the low half
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"((uint16_t)h));
    return f;
}
DEV uint32_t float_f16(float x) {
    uint16_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
DEV uint32_t float_f16x2(float low, float high) {
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEV uint32_t float_bf16x2(float low, float high) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
#endif

DEV float bf16_float(uint32_t h) { return __uint_as_float(h << 16); }
DEV uint32_t float_bf16(float x) { return float_bf16x2(x, 0.0f) & 0xffff; }

// Unsigned and signed byte i of a word as a float, exactly.
DEV float byte_float(uint32_t w, int i) { return __uint_as_float(__byte_perm(w, 0x4b000000u, 0x7440 | i)) - 8388608.0f; }
DEV float sbyte_float(uint32_t w, int i) { return byte_float(w ^ 0x80808080u, i) - 128.0f; }

// Sum and maximum over a warp, the same in every lane; by halves, so the order is fixed.
DEV float warp_sum(float x) {
    for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(0xffffffffu, x, d);
    return x;
}
DEV float warp_max(float x) {
    for (int d = 16; d; d >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, d));
    return x;
}
#endif
