// moments.h - what float32 values are like, and how two arrays of them differ: for tl trace, tl diff, and the builtins stats,
// nonfinite and compare. Sums are made in double in the order of the values; what is added piece by piece is as if at once.
#ifndef TL_MOMENTS_H
#define TL_MOMENTS_H
#include "base/base.h"

enum { STATS_BINS = 16 };
typedef struct value_stats { // zero-initialise
    double sum, squares;     // of the finite ones, as are min and max
    float min, max;
    int64_t n, nan, inf;     // nan, inf: how many are
    int64_t first;           // position of the first that is not finite, if nan + inf > 0
    int64_t bins[STATS_BINS]; // from min to max
} value_stats;
void stats_add(value_stats *v, const float *x, size_t n);
void stats_add_bins(value_stats *v, const float *x, size_t n); // after stats_add of all values
// NaN if no value is finite.
double stats_min(const value_stats *v);
double stats_max(const value_stats *v);
double stats_mean(const value_stats *v);
double stats_rms(const value_stats *v); // root mean square
// "-1.5 .. 2", with ", 3 of 64 are not finite" behind it where that is so. Returns buf.
const char *stats_range(const value_stats *v, char *buf, size_t cap);

typedef struct value_difference { // zero-initialise
    double aa, bb, ab, dd;   // sums of products where both values are finite; dd: of squared differences
    double worst;            // largest |a - b| of these, its position and the values there
    int64_t n, at;
    float a, b;
    int64_t bad_a, bad_b;    // values that are not finite
    int64_t apart;           // positions at which one is not finite and the other is, or another way
} value_difference;
void difference_add(value_difference *d, const float *a, const float *b, size_t n);
void difference_join(value_difference *d, const value_difference *more); // of the values that follow
double difference_nmse(const value_difference *d);   // dd / aa; infinite if only a is zero
double difference_cosine(const value_difference *d); // NaN if only one of them is zero
#endif
