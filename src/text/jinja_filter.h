// jinja_filter.h - filters over sequences (jinja_filter_seq.c), for the table in jinja_filter.c.
#ifndef TL_TEXT_JINJA_FILTER_H
#define TL_TEXT_JINJA_FILTER_H
#include "text/jinja_int.h"

// `a`: the arguments bound to the table's parameters, JV_MISSING where absent; `c`: the call as it was written.
typedef jv filter_fn(jrt *r, jv in, const jv *a, const jcall *c);
filter_fn seq_batch, seq_dictsort, seq_first, seq_groupby, seq_items, seq_join, seq_last, seq_length, seq_list, seq_map,
    seq_max, seq_min, seq_reject, seq_rejectattr, seq_reverse, seq_select, seq_selectattr, seq_slice, seq_sort, seq_sum,
    seq_unique;
#endif
