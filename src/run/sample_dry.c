// sample_dry.c - DRY ("don't repeat yourself", pi6am 2024): what would lengthen a repetition of the
// last tokens loses multiplier * base ^ (length - allowed length) of its logit.
//
// The length of a repetition is how far the end of the text agrees with the text before one of its tokens, going backwards:
// the Z function of the reversed text. A breaker (a line end, a quote) ends every repetition: lengths stop at the last one.
#include <math.h>

#include "run/sample.h"

void dry_free(dry_state *d) { vec_free(&d->breakers), vec_free(&d->tail), vec_free(&d->lengths), vec_free(&d->repeats); }

bool dry_add_breaker(dry_state *d, int32_t head, const int32_t *tail, size_t n) {
    dry_breaker b = {.head = head, .first = (uint32_t)d->tail.n, .n = (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        if (!vec_push(&d->tail, tail[i])) return false;
    return vec_push(&d->breakers, b);
}

static int by_head(const void *a, const void *b) {
    const dry_breaker *x = a, *y = b;
    if (x->head != y->head) return x->head < y->head ? -1 : 1;
    return (x->n > y->n) - (x->n < y->n);
}

void dry_sort_breakers(dry_state *d) {
    if (d->breakers.n > 1) qsort(d->breakers.p, d->breakers.n, sizeof *d->breakers.p, by_head);
}

static size_t first_breaker(const dry_state *d, int32_t head) { // where those of this head are, or would be
    size_t low = 0, high = d->breakers.n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (d->breakers.p[middle].head < head) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool single_breaker(const dry_state *d, int32_t id) {
    size_t i = first_breaker(d, id);
    return i < d->breakers.n && d->breakers.p[i].head == id && d->breakers.p[i].n == 0;
}

// How many tokens stand behind the last breaker: the token `i` from the end begins one, whose tail is the longest that fits.
static size_t since_breaker(const dry_state *d, const int32_t *end, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int32_t head = end[-1 - (ptrdiff_t)i];
        bool found = false;
        size_t longest = 0;
        for (size_t k = first_breaker(d, head); k < d->breakers.n && d->breakers.p[k].head == head; k++) {
            const dry_breaker *b = &d->breakers.p[k];
            if (b->n > i || (b->n && memcmp(end - i, d->tail.p + b->first, b->n * sizeof *end) != 0)) continue;
            found = true;
            longest = b->n;
        }
        if (found) return i - longest;
    }
    return n;
}

// lengths[k]: how many of the tokens before the k-th from the end (0: the last) agree with the end of the text; k > 0.
static void repeat_lengths(const int32_t *end, size_t n, int32_t *lengths) {
    size_t left = 0, right = 0; // the agreement that reaches furthest: [left, right)
    lengths[0] = 0;
    for (size_t k = 1; k < n; k++) {
        size_t m = 0;
        if (k < right) m = (size_t)lengths[k - left] < right - k ? (size_t)lengths[k - left] : right - k;
        if (k + m >= right)
            while (k + m < n && end[-1 - (ptrdiff_t)m] == end[-1 - (ptrdiff_t)(k + m)]) m++;
        lengths[k] = (int32_t)m;
        if (k + m > right) left = k, right = k + m;
    }
}

static float penalty(const dry_options *o, int32_t length) {
    const double most = 88.7228391; // log of the largest float32
    double exponent = length - o->allowed_length;
    if (o->base > 1.000001f && exponent > most / log((double)o->base)) exponent = floor(most / log((double)o->base));
    return (float)((double)o->multiplier * pow((double)o->base, exponent));
}

static int by_id(const void *a, const void *b) { // of equal ids the longest repetition first
    const dry_repeat *x = a, *y = b;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    return (x->length < y->length) - (x->length > y->length);
}

// The token behind a repetition would lengthen it: the k-th from the end has lengths[k], behind it stands the one before.
static bool find_repeats(dry_state *d, const dry_options *o, const int32_t *end, size_t n, int32_t limit) {
    if (!vec_reserve(&d->lengths, n)) return false;
    repeat_lengths(end, n, d->lengths.p);
    d->repeats.n = 0;
    for (size_t k = 1; k < n; k++) {
        dry_repeat r = {end[-(ptrdiff_t)k], d->lengths.p[k] < limit ? d->lengths.p[k] : limit};
        if (r.length >= o->allowed_length && !vec_push(&d->repeats, r)) return false;
    }
    if (d->repeats.n > 1) qsort(d->repeats.p, d->repeats.n, sizeof *d->repeats.p, by_id);
    return true;
}

void step_dry(sample_set *s, dry_state *d, const dry_options *o, const int32_t *tokens, size_t n) {
    const int32_t *end = tokens + n;
    if (o->multiplier == 0 || o->base < 1 || n <= (size_t)o->allowed_length) return;
    int32_t limit = (int32_t)since_breaker(d, end, n);
    if (limit < o->allowed_length) return;
    if (!find_repeats(d, o, end, n, limit)) {
        s->failed = true;
        return;
    }
    for (size_t i = 0; i < d->repeats.n; i++) {
        const dry_repeat *r = &d->repeats.p[i];
        if ((i > 0 && r[-1].id == r->id) || single_breaker(d, r->id)) continue;
        float *x = set_find(s, r->id);
        if (x) *x -= penalty(o, r->length);
    }
    set_changed(s);
}
