// sample_infill.c - the sampler for text between a prefix and a suffix: prefers to end, joins candidates of which one
// begins with the other, and leaves only those that are clear. It looks at the most probable thousand.
#include <math.h>

#include "run/sample.h"

enum { MOST = 1000 };

// Candidates' weights become probabilities of the set.
static double probabilities(sample_set *s) {
    double total = 0;
    for (size_t i = 0; i < s->items.n; i++) total += (double)s->items.p[i].weight;
    for (size_t i = 0; i < s->items.n; i++) s->items.p[i].weight = (float)((double)s->items.p[i].weight / total);
    return total;
}

static void keep_ends(sample_set *s, const sample_vocab *v) {
    size_t keep = 0;
    for (size_t i = 0; i < s->items.n; i++)
        if (v->is_end(v->ctx, s->items.p[i].id)) s->items.p[keep++] = s->items.p[i];
    s->items.n = keep;
}

static bool begins(const sample_vocab *v, int32_t a, int32_t b) { // the text of b with that of a, which is not empty
    size_t n, m;
    const char *p = v->text(v->ctx, a, &n), *q = v->text(v->ctx, b, &m);
    return n > 0 && n <= m && memcmp(p, q, n) == 0;
}

static void join_prefixes(sample_set *s, const sample_vocab *v) { // a joined one weighs 0 and has the logit -inf
    candidate *p = s->items.p;
    for (size_t i = 0; i < s->items.n; i++)
        for (size_t j = 0; j < s->items.n && p[i].logit != -INFINITY; j++) {
            if (i == j || p[j].logit == -INFINITY || !begins(v, p[i].id, p[j].id)) continue;
            candidate *to = p[j].weight > p[i].weight ? &p[j] : &p[i], *from = to == &p[i] ? &p[j] : &p[i];
            to->weight += from->weight;
            from->weight = 0;
            from->logit = -INFINITY;
        }
}

static size_t keep_clear(sample_set *s, const sample_vocab *v, float least) { // how many of those left are no ends
    size_t keep = 0, text = 0;
    for (size_t i = 0; i < s->items.n; i++) {
        bool end = v->is_end(v->ctx, s->items.p[i].id);
        if (!end && s->items.p[i].weight < least) continue;
        text += !end;
        s->items.p[keep++] = s->items.p[i];
    }
    s->items.n = keep;
    return text;
}

void step_infill(sample_set *s, const sample_vocab *v) {
    double ends = 0, all = 0;
    if (!v->text || set_count(s) == 0) return;
    set_keep_best(s, MOST);
    set_weights(s);
    for (size_t i = 0; i < s->items.n; i++) {
        all += (double)s->items.p[i].weight;
        if (v->is_end(v->ctx, s->items.p[i].id)) ends += (double)s->items.p[i].weight;
    }
    if (3 * ends * (double)s->items.n > all - ends) return keep_ends(s, v);
    probabilities(s);
    join_prefixes(s, v);
    size_t text = keep_clear(s, v, 0.2f);
    if (text == 0) {
        s->items.n = 1;
        s->items.p[0] = (candidate){.id = v->end, .key = 1, .logit = 1};
        return;
    }
    probabilities(s);
    keep_clear(s, v, 1.0f / (float)(text + 1));
    for (size_t i = 0; i < s->items.n; i++) // the joined probabilities count from here on
        s->items.p[i].key = s->items.p[i].logit = logf(s->items.p[i].weight);
    s->sorted = false;
}
