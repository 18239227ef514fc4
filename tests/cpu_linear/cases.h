// cases.h - random matrices of every type and buffers that end at a guard page.
#ifndef CASES_H
#define CASES_H
#include "cpu/linear.h"

extern const tl_dtype case_types[]; // every matrix type
enum { CASE_TYPES = 13 };

// Memory whose last byte is followed by a page that cannot be touched; the start has the alignment that leaves.
typedef struct guarded {
    void *map;
    size_t map_bytes;
    void *p;
} guarded;
guarded guarded_new(size_t bytes); // zeroed
void guarded_free(guarded *g);

uint32_t case_random(uint64_t *state);
float case_normal(uint64_t *state); // roughly normal, variance 1
// A matrix in the file's layout with random codes and scales, values of about unit size; its bytes end at a guard page.
cpu_matrix case_matrix(tl_dtype type, int64_t n, int64_t k, uint64_t seed, guarded *bytes);
cpu_matrix case_prepared(const cpu_kernels *ks, const cpu_matrix *src, int64_t step, guarded *bytes); // in pieces of `step` rows
#endif
