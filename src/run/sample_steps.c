// sample_steps.c - the samplers that thin out or change a set of candidates. docs/generation.md has their meanings and says where
// they come from; std/sample.tl defines each of them as equations, and tests compare the two.
#include <math.h>

#include "run/sample.h"

// A mass that falls short of what was asked for by no more than rounding has reached it.
static const double NEARLY = 1 - 1e-6;

void step_top_k(sample_set *s, int32_t k) {
    if (k > 0 && (s->dense ? k < s->n : true)) set_keep_best(s, k);
}

void step_top_p(sample_set *s, float p, int64_t min_keep) {
    float max;
    if (p >= 1 || !set_largest(s, &max)) return;
    double total = set_total(s, max, NULL);
    set_keep_mass(s, max, NAN, (double)p * total * NEARLY, false, min_keep);
}

void step_min_p(sample_set *s, float p, int64_t min_keep) {
    float max;
    if (p <= 0 || !set_largest(s, &max)) return;
    set_keep_from(s, max + logf(p), min_keep);
}

// Locally typical: nearest in surprise to the entropy (Meister, Pimentel, Wiher, Cotterell 2022).
void step_typical(sample_set *s, float p, int64_t min_keep) {
    float max;
    double dot;
    if (p <= 0 || p >= 1 || !set_largest(s, &max)) return;
    double total = set_total(s, max, &dot); // -log p(x) = log(total) - (x - max); entropy = log(total) - dot / total
    set_keep_mass(s, max, max + (float)(dot / total), (double)p * total, true, min_keep);
}

// Logits not below the largest by more than n standard deviations (Tang, Liu, Yang, Xu 2024).
void step_top_n_sigma(sample_set *s, float n) {
    float max;
    double sum = 0, squares = 0;
    int64_t count = 0, size = s->dense ? s->n : (int64_t)s->items.n;
    if (n <= 0 || !set_largest(s, &max)) return;
    for (int64_t i = 0; i < size; i++) {
        float x = s->dense ? s->x[i] : s->items.p[i].logit;
        if (!isfinite(x)) continue;
        double d = (double)x - (double)max; // near the data, so that squares lose nothing
        sum += d, squares += d * d, count++;
    }
    double mean = sum / (double)count, variance = squares / (double)count - mean * mean;
    set_keep_from(s, (float)((double)max - (double)n * sqrt(variance > 0 ? variance : 0)), 0);
}

// Exclude top choices: of those at least as probable as the threshold all but the last go.
void step_xtc(sample_set *s, float probability, float threshold, int64_t min_keep, double chance) {
    float max;
    if (probability <= 0 || threshold > 0.5f || chance >= (double)probability || !set_largest(s, &max)) return;
    double total = set_total(s, max, NULL), least = (double)max + log((double)threshold * total * NEARLY);
    int64_t above = set_count_from(s, least);
    if (above > 1 && (min_keep <= 0 || set_count(s) - (above - 1) >= min_keep)) set_drop_best(s, above - 1);
}

// The entropy of a set of n candidates, as a share of what it could be at most, moves the temperature in its range.
static float dynamic_temperature(sample_set *s, float t, float range, float exponent) {
    float max, low = t - range > 0 ? t - range : 0, high = t + range;
    double dot;
    if (!set_largest(s, &max)) return t;
    double total = set_total(s, max, &dot), entropy = log(total) - dot / total;
    double share = entropy / log((double)set_count(s));
    return low + (high - low) * (float)pow(share > 0 ? share : 0, (double)exponent);
}

void step_temperature(sample_set *s, float t, float range, float exponent) {
    if (range > 0) {
        if (set_count(s) <= 1) return;
        t = dynamic_temperature(s, t, range, exponent);
    }
    float max;
    if (t <= 0) set_keep_best(s, 1);
    else if (t != 1 && set_largest(s, &max)) set_scale(s, 1 / t);
}

void step_logit_bias(sample_set *s, const tl_logit_bias *bias, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float *x = set_find(s, bias[i].id);
        if (!x) continue;
        *x = bias[i].bias == -INFINITY ? NAN : *x + bias[i].bias;
        if (!s->dense && isnan(*x)) set_changed(s);
    }
    if (n) set_changed(s);
}

// The repetition penalty divides a positive logit and multiplies another (Keskar and others 2019 only divide, which would
// make unlikely tokens likelier); the two others are taken off, one for each occurrence and one for there being any.
void step_penalties(sample_set *s, const int32_t *tokens, size_t n, int32_t *counts, float repeat, float frequency, float presence) {
    for (size_t i = 0; i < n; i++) {
        int32_t id = tokens[i], count = counts[id];
        if (count <= 0) continue; // done already
        counts[id] = -count;
        float *x = set_find(s, id);
        if (!x) continue;
        *x = *x > 0 ? *x / repeat : *x * repeat;
        *x -= (float)count * frequency + presence;
    }
    for (size_t i = 0; i < n; i++)
        if (counts[tokens[i]] < 0) counts[tokens[i]] = -counts[tokens[i]];
    set_changed(s);
}

// ---- mirostat (Basu, Ramachandran, Keskar, Varshney 2021) ----------------------------------------------
// How many candidates give the wanted surprise, were probabilities as Zipf's law says: its exponent is estimated from the
// most probable hundred.
static int64_t mirostat_size(sample_set *s, float mu, int64_t n_vocab) {
    enum { SEEN = 100 };
    double products = 0, squares = 0;
    set_sort(s);
    for (size_t i = 0; i + 1 < SEEN && i + 1 < s->items.n; i++) {
        double t = log((double)(i + 2) / (double)(i + 1)), b = (double)s->items.p[i].logit - (double)s->items.p[i + 1].logit;
        products += t * b, squares += t * t;
    }
    double exponent = products / squares, e = exponent - 1;
    double k = pow(e * pow(2, (double)mu) / (1 - pow((double)n_vocab, -e)), 1 / exponent);
    return k >= 1 && k < (double)n_vocab ? (int64_t)k : k >= 1 ? n_vocab : 1;
}

int32_t step_mirostat(sample_set *s, int version, float tau, float eta, int64_t n_vocab, double u, float *mu) {
    float max;
    double p = 1;
    if (!set_largest(s, &max)) return -1;
    if (version == 1) {
        if (set_count(s) > 1) set_keep_best(s, mirostat_size(s, *mu, n_vocab));
    } else {
        set_keep_from(s, max + (float)(log(set_total(s, max, NULL)) - (double)*mu * M_LN2), 1);
        set_sort(s);
    }
    int32_t id = set_draw(s, u, &p);
    *mu -= eta * ((float)-log2(p) - tau);
    return id;
}
