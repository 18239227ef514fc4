// util.h - what the tests of row kernels share: the tables to test, random numbers, guarded buffers, closeness.
#ifndef TL_TEST_CPU_VEC_H
#define TL_TEST_CPU_VEC_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cpu/kernels.h"

// Tables that this machine can run, `ref` first; returns how many.
enum { MAX_TABLES = 4 };
int tables(cpu_kernels out[MAX_TABLES]);

uint32_t random_bits(void);
int64_t random_below(int64_t n);
float random_normal(void); // mean 0, variance 1

// n bytes that end at a page which cannot be touched.
void *guard_alloc(size_t n);
void guard_free(void *p, size_t n);
float *guard_floats(const float *from, int64_t n); // a guarded copy; from NULL: filled with NaN
void guard_floats_free(float *p, int64_t n);

// |got - want| <= abs + rel * |want|; equal infinities, and NaN with NaN, are close.
void check_close(float got, double want, double rel, double abs, const char *isa, const char *what, int64_t at);
double ulps(float got, double want); // |got - want| in units of the last place of (float)want
#endif
