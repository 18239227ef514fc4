// cases.c - see cases.h.
#include "cases.h"

#include <sys/mman.h>
#include <unistd.h>

#include "gguf/quant.h"

const tl_dtype case_types[CASE_TYPES] = {DT_F32, DT_F16, DT_BF16, DT_Q4_0, DT_Q4_1, DT_Q5_0, DT_Q5_1, DT_Q8_0,
                                         DT_Q2_K, DT_Q3_K, DT_Q4_K, DT_Q5_K, DT_Q6_K};

guarded guarded_new(size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (bytes + page - 1) / page * page;
    guarded g = {.map_bytes = body + page};
    g.map = mmap(NULL, g.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    TL_CHECK(g.map != MAP_FAILED && mprotect((char *)g.map + body, page, PROT_NONE) == 0);
    g.p = (char *)g.map + body - bytes;
    return g;
}

void guarded_free(guarded *g) { munmap(g->map, g->map_bytes); }

uint32_t case_random(uint64_t *state) { // PCG
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint32_t x = (uint32_t)((*state >> 18 ^ *state) >> 27), r = (uint32_t)(*state >> 59);
    return x >> r | x << (-r & 31);
}

float case_normal(uint64_t *state) {
    float s = 0;
    for (int i = 0; i < 4; i++) s += (float)case_random(state) * 0x1p-32f;
    return (s - 2.0f) * 1.7320508f;
}

static void random_blocks(tl_dtype type, uint8_t *p, size_t bytes, uint64_t *seed) {
    size_t block = dtype_table[type].block_bytes, scale, min;
    quant_scale_places(type, &scale, &min);
    for (size_t i = 0; i < bytes; i++) p[i] = (uint8_t)(case_random(seed) >> 7);
    for (size_t at = 0; at < bytes; at += block) {
        float width = dtype_table[type].block_values == 32 ? 0.05f : 0.003f;
        uint16_t d = f32_to_f16(case_normal(seed) * width), m = f32_to_f16(case_normal(seed) * width);
        memcpy(p + at + min, &m, 2);
        memcpy(p + at + scale, &d, 2);
    }
}

cpu_matrix case_matrix(tl_dtype type, int64_t n, int64_t k, uint64_t seed, guarded *bytes) {
    cpu_matrix m = {.type = type, .n = n, .k = k};
    TL_CHECK(dtype_bytes(type, k, &m.row_bytes));
    size_t all = m.row_bytes * (size_t)n;
    *bytes = guarded_new(all);
    m.data = bytes->p;
    if (dtype_table[type].quantized) {
        random_blocks(type, bytes->p, all, &seed);
        return m;
    }
    for (int64_t i = 0; i < n * k; i++) {
        float v = case_normal(&seed);
        uint16_t h = type == DT_F16 ? f32_to_f16(v) : f32_to_bf16(v);
        if (type == DT_F32) memcpy((char *)bytes->p + i * 4, &v, 4);
        else memcpy((char *)bytes->p + i * 2, &h, 2);
    }
    return m;
}

cpu_matrix case_prepared(const cpu_kernels *ks, const cpu_matrix *src, int64_t step, guarded *bytes) {
    cpu_matrix m = *src;
    m.layout = ks->matrix_layout(src->type, src->n, src->k);
    *bytes = guarded_new((ks->matrix_bytes(src->type, m.layout, src->n, src->k) + 63) / 64 * 64); // 64-byte aligned
    memset(bytes->p, 0xa5, ks->matrix_bytes(src->type, m.layout, src->n, src->k));
    for (int64_t n = 0; n < src->n; n += step)
        ks->matrix_prepare(src, m.layout, bytes->p, n, n + step < src->n ? n + step : src->n);
    m.data = bytes->p;
    return m;
}
