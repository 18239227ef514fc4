// moments.c - statistics of values and of differences.
#include "base/moments.h"

#include <math.h>

// ---- of one array ----------------------------------------------------------------------------------
void stats_add(value_stats *v, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++, v->n++) {
        if (!isfinite(x[i])) {
            if (v->nan + v->inf == 0) v->first = v->n;
            if (isnan(x[i])) v->nan++;
            else v->inf++;
            continue;
        }
        if (v->n == v->nan + v->inf) v->min = v->max = x[i];
        if (x[i] < v->min) v->min = x[i];
        if (x[i] > v->max) v->max = x[i];
        v->sum += (double)x[i];
        v->squares += (double)x[i] * (double)x[i];
    }
}

void stats_add_bins(value_stats *v, const float *x, size_t n) {
    double width = ((double)v->max - (double)v->min) / STATS_BINS;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) continue;
        int bin = width > 0 ? (int)(((double)x[i] - (double)v->min) / width) : 0;
        v->bins[bin < STATS_BINS ? bin : STATS_BINS - 1]++;
    }
}

static double counted(const value_stats *v) {
    int64_t n = v->n - v->nan - v->inf;
    return n ? (double)n : (double)NAN;
}

double stats_min(const value_stats *v) { return isnan(counted(v)) ? (double)NAN : (double)v->min; }
double stats_max(const value_stats *v) { return isnan(counted(v)) ? (double)NAN : (double)v->max; }
double stats_mean(const value_stats *v) { return v->sum / counted(v); }
double stats_rms(const value_stats *v) { return sqrt(v->squares / counted(v)); }

const char *stats_range(const value_stats *v, char *buf, size_t cap) {
    long long bad = (long long)(v->nan + v->inf), n = (long long)v->n;
    if (bad == n) snprintf(buf, cap, n == 1 ? "not finite" : n ? "none of %lld is finite" : "nothing", n);
    else if (bad) snprintf(buf, cap, "%g .. %g, %lld of %lld are not finite", (double)v->min, (double)v->max, bad, n);
    else snprintf(buf, cap, "%g .. %g", (double)v->min, (double)v->max);
    return buf;
}

// ---- of two ----------------------------------------------------------------------------------------
void difference_add(value_difference *d, const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++, d->n++) {
        bool good_a = isfinite(a[i]), good_b = isfinite(b[i]);
        if (!good_a || !good_b) {
            d->bad_a += !good_a, d->bad_b += !good_b;
            d->apart += !(isnan(a[i]) && isnan(b[i])) && a[i] != b[i];
            continue;
        }
        double x = (double)a[i], y = (double)b[i], e = fabs(x - y);
        d->aa += x * x, d->bb += y * y, d->ab += x * y, d->dd += e * e;
        if (e > d->worst) d->worst = e, d->at = d->n, d->a = a[i], d->b = b[i];
    }
}

void difference_join(value_difference *d, const value_difference *more) {
    d->aa += more->aa, d->bb += more->bb, d->ab += more->ab, d->dd += more->dd;
    d->bad_a += more->bad_a, d->bad_b += more->bad_b, d->apart += more->apart;
    if (more->worst > d->worst) d->worst = more->worst, d->at = d->n + more->at, d->a = more->a, d->b = more->b;
    d->n += more->n;
}

double difference_nmse(const value_difference *d) { return d->dd == 0 ? 0 : d->aa > 0 ? d->dd / d->aa : (double)INFINITY; }

double difference_cosine(const value_difference *d) {
    if (d->dd == 0) return 1;
    if (!(d->aa > 0 && d->bb > 0)) return (double)NAN;
    return fmax(-1, fmin(1, d->ab / sqrt(d->aa) / sqrt(d->bb)));
}
