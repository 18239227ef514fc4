// test_sample.c - tokens chosen on the device are those that the CPU's sampler chooses from the same logits: greedy and drawn, with
// masks, biases and penalties, ties, infinities and NaNs, several rows at once.
#include <math.h>

#include "cuda/sample.h"
#include "harness.h"
#include "run/sample.h"

enum { ROWS = 3 };
typedef enum { NORMAL, STEEP, TIES, HOLES, INFINITE, SUNK, NOTHING, KINDS } row_kind;

static float logit(row_kind kind, uint64_t *seed) {
    float x = 3 * random_normal(seed);
    switch (kind) {
    case STEEP: return 8 * x;
    case TIES: return (float)(random_u32(seed) % 5) - 2.0f; // -0 does not come; 0 does
    case HOLES: return random_u32(seed) % 3 ? NAN : x;
    case INFINITE: return random_u32(seed) % 50 ? x : INFINITY;
    case SUNK: return random_u32(seed) % 40 ? -INFINITY : random_u32(seed) % 2 ? -0.0f : 0.0f;
    case NOTHING: return NAN;
    default: return x;
    }
}

static const tl_logit_bias bias[] = {{3, 2.5f}, {7, -INFINITY}, {3, 0.125f}, {90, 9}, {1 << 20, 1}};
static tl_sampling setting(int i) {
    tl_sampling o = tl_sampling_default();
    o.seed = 1000 + (uint64_t)i;
    switch (i) {
    case 0: o.temperature = 0; break;
    case 1: break;
    case 2: o.temperature = 1.7f, o.top_k = 64, o.top_p = 0.5f, o.min_p = 0; break;
    case 3: o.samplers = "temperature;penalties;top_k;min_p;top_p", o.repeat_penalty = 1.0f, o.temperature = 1; break;
    case 4: o.repeat_penalty = 1.3f, o.presence_penalty = 0.5f, o.frequency_penalty = 0.25f, o.logit_bias = bias, o.n_logit_bias = 5; break;
    case 5: o.temperature = 0, o.repeat_penalty = 2, o.penalty_last_n = -1, o.logit_bias = bias, o.n_logit_bias = 5; break;
    case 6: o.top_k = 1; break;
    case 7: o.samplers = "top_k;temperature;top_p;min_p", o.temperature = 0.3f, o.min_keep = 3, o.min_p = 0.9f, o.top_p = 0.1f; break;
    case 8: o.top_p = 0, o.min_p = 1; break;
    default: o.top_k = 90, o.temperature = 100, o.top_p = 0.999f; break;
    }
    return o;
}
enum { SETTINGS = 10 };

static uint64_t *make_mask(int kind, int64_t n, uint64_t *seed) { // none, half, few, nothing
    if (kind == 0) return NULL;
    uint64_t *m = host_new((size_t)(n + 63) / 64 * 8);
    for (int64_t i = 0; i < n && kind < 3; i++) m[i / 64] |= (uint64_t)(random_u32(seed) % (kind == 1 ? 2 : 97) == 0) << (i % 64);
    return m;
}

static void check(cuda_chooser *c, int64_t n, int how, uint64_t *seed) {
    float *x = host_new(ROWS * (size_t)n * sizeof *x);
    tl_sampler *s[ROWS], *same[ROWS];
    uint64_t *mask[ROWS];
    cuda_choice rows[ROWS];
    int32_t ids[ROWS];
    row_kind kind[ROWS];
    tl_sampling o = setting(how);
    for (int r = 0; r < ROWS; r++) {
        kind[r] = (row_kind)(random_u32(seed) % KINDS);
        mask[r] = make_mask((int)(random_u32(seed) % 4), n, seed);
        for (int64_t i = 0; i < n; i++) x[r * n + i] = logit(kind[r], seed);
        o.sequence = (uint64_t)r;
        MUST(tl_sampler_new(&o, &s[r], &err));
        for (int i = 0; i < 80; i++) tl_sampler_accept(s[r], (int32_t)(random_u32(seed) % (i % 2 ? 20 : (uint32_t)n)));
        tl_sampler_seek(s[r], random_u32(seed));
        MUST(tl_sampler_fork(s[r], o.sequence, &same[r], &err));
    }
    float *there = gpu_put(x, ROWS * (size_t)n * sizeof *x);
    for (int turn = 0; turn < 2; turn++) {
        bool can = true;
        for (int r = 0; r < ROWS; r++) {
            can &= sampler_device_choice(s[r], n, &rows[r]);
            rows[r].x = there + r * n, rows[r].mask = mask[r];
        }
        if (!can) {
            if (setting(how).top_k < n) complain("choosing among %lld, setting %d: the device cannot", (long long)n, how);
            break;
        }
        MUST(cuda_choose(c, rows, ROWS, n, &err));
        MUST(cuda_chosen(c, ids, &err));
        for (int r = 0; r < ROWS; r++) {
            int32_t id = tl_sampler_pick_masked(same[r], x + r * n, n, mask[r]);
            if (id != ids[r]) complain("choosing among %lld, setting %d, logits %d, mask %d: %d, the CPU chooses %d", (long long)n, how, (int)kind[r], mask[r] != NULL, ids[r], id);
            if (tl_sampler_position(same[r]) != tl_sampler_position(s[r])) complain("the sampler's position");
            if (id >= 0) tl_sampler_accept(s[r], id), tl_sampler_accept(same[r], id);
        }
    }
    for (int r = 0; r < ROWS; r++) tl_sampler_free(s[r]), tl_sampler_free(same[r]), free(mask[r]);
    gpu_free(there);
    free(x);
}

static void test_refused(void) {
    tl_sampling o[] = {tl_sampling_default(), tl_sampling_default(), tl_sampling_default(), tl_sampling_default()};
    o[0].top_k = 0, o[1].mirostat = 2, o[2].xtc_probability = 0.5f, o[3].dry_multiplier = 1;
    for (int i = 0; i < 4; i++) {
        tl_sampler *s;
        MUST(tl_sampler_new(&o[i], &s, &err));
        if (sampler_device_can(s, 32000)) complain("a chain is not the device's: %d", i);
        tl_sampler_free(s);
    }
    if (sample_fits(1 << 20, 40) || !sample_fits(262144, 40) || sample_fits(40, 40) || !sample_fits(7, 1)) complain("what the device can choose from");
}

static void test_feed(void) {
    const int32_t tok[5] = {4, TL_CHOSEN(1), 9, TL_CHOSEN(0), TL_CHOSEN(2)}, ids[3] = {70, 80, -1}, want[5] = {4, 80, 9, 70, 0};
    int32_t *t = gpu_put(tok, sizeof tok), *i = gpu_put(ids, sizeof ids), got[5];
    MUST(cuda_feed(gpu, t, 5, i, &err));
    gpu_get(got, t, sizeof got);
    if (memcmp(got, want, sizeof got)) complain("chosen tokens as a step's input");
    gpu_free(t), gpu_free(i);
}

void test_sample(bool big) {
    static const int64_t sizes[] = {96, 300, 4096, 9001, 32000, 49152, 151936, 262144};
    uint64_t seed = 20261125;
    cuda_chooser *c;
    MUST(cuda_chooser_new(gpu, &c, &err));
    for (int i = 0; i < (big ? 8 : 4); i++)
        for (int how = 0; how < SETTINGS; how++)
            for (int again = 0; again < (big ? 6 : i < 2 ? 4 : 1); again++)
                if (sizes[i] <= 180000 || setting(how).top_k <= 64) check(c, sizes[i], how, &seed);
    test_refused();
    test_feed();
    cuda_chooser_free(c);
}

// Microseconds of a choice, the host's part included.
void time_sample(void) {
    static const int64_t sizes[] = {32000, 49152, 128256, 262144};
    cuda_chooser *c;
    MUST(cuda_chooser_new(gpu, &c, &err));
    for (int i = 0; i < 4; i++)
        for (int rows = 1; rows <= 64; rows *= 64)
            for (int how = 0; how < 2; how++) {
                uint64_t seed = 7;
                size_t all = (size_t)(sizes[i] * rows);
                float *x = host_new(all * sizeof *x);
                for (size_t k = 0; k < all; k++) x[k] = logit(NORMAL, &seed);
                float *there = gpu_put(x, all * sizeof *x);
                cuda_choice list[64];
                int32_t ids[64];
                tl_sampling o = setting(how);
                tl_sampler *s;
                MUST(tl_sampler_new(&o, &s, &err));
                double best = 1e9;
                for (int turn = 0; turn < 20; turn++) {
                    for (int r = 0; r < rows; r++) sampler_device_choice(s, sizes[i], &list[r]), list[r].x = there + r * sizes[i], list[r].mask = NULL;
                    MUST(cuda_mark(gpu, 0, &err));
                    MUST(cuda_choose(c, list, rows, sizes[i], &err));
                    MUST(cuda_mark(gpu, 1, &err));
                    MUST(cuda_chosen(c, ids, &err));
                    MUST(cuda_sync(gpu, &err));
                    double us = 1000 * cuda_between(gpu, 0, 1);
                    best = us < best ? us : best;
                }
                printf("choose %s of %lld, %d rows: %.1f us\n", how ? "by the default chain" : "the best", (long long)sizes[i], rows, best);
                tl_sampler_free(s);
                gpu_free(there);
                free(x);
            }
    cuda_chooser_free(c);
}
