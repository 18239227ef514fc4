// builtins_debug.c - what values are like and how two tensors differ, as tl trace and tl diff tell it (base/moments.h).
#include <inttypes.h>

#include "base/moments.h"
#include "eval/value.h"

static const float *floats_arg(call *c, int i, tensor **t) {
    *t = want_tensor(c->ev, c->arg[i], c->at, "the argument");
    return tensor_floats(c->ev, *t, c->at);
}

static void set(call *c, value m, const char *key, value v) { map_set(c->ev, m.map, v_str_new(c->ev, str_of(key)), v); }

static value sizes_of(call *c, const tensor *t) {
    value l = v_list_new(c->ev);
    for (int i = 0; i < t->rank; i++) list_push(c->ev, l.list, v_int(t->ax[i].size));
    return l;
}

// A position counted over all elements, as one of each axis.
static value place_of(call *c, const tensor *t, int64_t flat) {
    int64_t at[IR_MAX_RANK];
    value l = v_list_new(c->ev);
    for (int i = t->rank - 1; i >= 0; i--) at[i] = flat % t->ax[i].size, flat /= t->ax[i].size;
    for (int i = 0; i < t->rank; i++) list_push(c->ev, l.list, v_int(at[i]));
    return l;
}

static value_stats stats_of(call *c, tensor **t) {
    value_stats s = {0};
    const float *x = floats_arg(c, 0, t);
    stats_add(&s, x, (size_t)tensor_elements(*t));
    return s;
}

static value f_stats(call *c) {
    tensor *t;
    value_stats s = stats_of(c, &t);
    value m = v_map_new(c->ev);
    set(c, m, "shape", sizes_of(c, t));
    set(c, m, "min", v_float(stats_min(&s)));
    set(c, m, "max", v_float(stats_max(&s)));
    set(c, m, "mean", v_float(stats_mean(&s)));
    set(c, m, "rms", v_float(stats_rms(&s)));
    set(c, m, "nan", v_int(s.nan));
    set(c, m, "inf", v_int(s.inf));
    if (s.nan + s.inf) set(c, m, "first", place_of(c, t, s.first));
    return m;
}

static value f_nonfinite(call *c) {
    tensor *t;
    value_stats s = stats_of(c, &t);
    return v_int(s.nan + s.inf);
}

static void want_same_shape(call *c, const tensor *a, const tensor *b) {
    char left[200], right[200];
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->ax[i].size == b->ax[i].size;
    if (!same) ev_fail(c->ev, c->at, "compare needs two tensors of one shape, found %s and %s", tensor_shape(a, left, sizeof left), tensor_shape(b, right, sizeof right));
}

static value f_compare(call *c) {
    tensor *a, *b;
    const float *x = floats_arg(c, 0, &a), *y = floats_arg(c, 1, &b);
    value_difference d = {0};
    want_same_shape(c, a, b);
    difference_add(&d, x, y, (size_t)tensor_elements(a));
    value m = v_map_new(c->ev);
    set(c, m, "nmse", v_float(difference_nmse(&d)));
    set(c, m, "cosine", v_float(difference_cosine(&d)));
    set(c, m, "largest", v_float(d.worst));
    set(c, m, "apart", v_int(d.apart));
    if (d.worst > 0) {
        set(c, m, "at", place_of(c, a, d.at));
        set(c, m, "a", v_float((double)d.a));
        set(c, m, "b", v_float((double)d.b));
    }
    return m;
}

const builtin builtins_debug[] = {
    {"stats", f_stats, 1, 1, "x", "A map: shape, min, max, mean, rms, nan, inf; and first, the position of the first that is not finite, if any is not."},
    {"nonfinite", f_nonfinite, 1, 1, "x", "How many elements are NaN or infinite."},
    {"compare", f_compare, 2, 2, "a, b", "A map: nmse, cosine, largest difference, its position and values there; apart: how many places differ in what is not finite."},
    {0},
};
