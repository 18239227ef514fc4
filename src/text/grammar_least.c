// grammar_least.c - the fewest bytes that end a text: for each element of the automaton those from it to the end of its
// alternative. What never ends counts as NEVER and is no way to go.
//
// Knuth's generalisation of Dijkstra's algorithm (1977): the rule with the least number is final; alternatives that wait for
// no other rule enter a heap.
#include "text/grammar_int.h"

typedef struct entry {
    uint32_t bytes, rule;
} entry;

typedef struct least {
    grammar *g;
    uint32_t *first, *users; // users[first[r] .. first[r + 1]): the alternatives that refer to r, one for each reference
    uint32_t *owner, *waits, *sum; // of alternatives
    uint32_t *rule;                // the result, by rule
    VEC(entry) heap;
} least;

static uint32_t plus(uint32_t a, uint32_t b) { return a > G_NEVER - b ? G_NEVER : a + b; }

static bool heap_push(least *l, entry e) {
    if (!vec_push(&l->heap, e)) return false;
    entry *h = l->heap.p;
    size_t i = l->heap.n - 1;
    for (; i > 0 && h[(i - 1) / 2].bytes > e.bytes; i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = e;
    return true;
}

static entry heap_pop(least *l) {
    entry *h = l->heap.p, top = h[0], e = h[--l->heap.n];
    size_t i = 0, n = l->heap.n;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && h[child + 1].bytes < h[child].bytes) child++;
        if (h[child].bytes >= e.bytes) break;
        h[i] = h[child];
    }
    if (n) h[i] = e;
    return top;
}

static void count_users(least *l, bool fill) {
    const grammar *g = l->g;
    for (uint32_t a = 0; a < g->alts.n; a++)
        for (const g_elem *e = &g->elems.p[g->alts.p[a]]; e->kind != G_END; e++) {
            if (e->kind == G_SET) {
                if (!fill) l->sum[a] = plus(l->sum[a], 1);
            } else if (fill) {
                l->users[l->first[e->arg]++] = a;
            } else {
                l->first[e->arg + 1]++;
                l->waits[a]++;
            }
        }
}

static bool prepare(least *l) {
    grammar *g = l->g;
    size_t rules = g->rules.n, alts = g->alts.n;
    l->first = mem_calloc(rules + 2, sizeof *l->first);
    l->owner = mem_calloc(alts + 1, sizeof *l->owner);
    l->waits = mem_calloc(alts + 1, sizeof *l->waits);
    l->sum = mem_calloc(alts + 1, sizeof *l->sum);
    l->rule = mem_alloc((rules + 1) * sizeof *l->rule);
    g->least = mem_calloc(g->elems.n + 1, sizeof *g->least);
    if (!l->first || !l->owner || !l->waits || !l->sum || !l->rule || !g->least) return false;
    memset(l->rule, 0xff, (rules + 1) * sizeof *l->rule);
    for (uint32_t r = 0; r < rules; r++)
        for (uint32_t i = 0; i < g->rules.p[r].n; i++) l->owner[g->rules.p[r].first + i] = r;
    count_users(l, false);
    for (size_t i = 0; i < rules; i++) l->first[i + 1] += l->first[i];
    l->users = mem_calloc(l->first[rules] + 1, sizeof *l->users);
    if (!l->users) return false;
    count_users(l, true);
    for (size_t i = rules; i > 0; i--) l->first[i] = l->first[i - 1]; // filling moved them on by one rule
    l->first[0] = 0;
    return true;
}

static bool solve(least *l) {
    for (uint32_t a = 0; a < l->g->alts.n; a++)
        if (l->waits[a] == 0 && !heap_push(l, (entry){l->sum[a], l->owner[a]})) return false;
    while (l->heap.n) {
        entry e = heap_pop(l);
        if (l->rule[e.rule] != G_NEVER) continue;
        l->rule[e.rule] = e.bytes;
        for (uint32_t i = l->first[e.rule]; i < l->first[e.rule + 1]; i++) {
            uint32_t a = l->users[i];
            l->sum[a] = plus(l->sum[a], e.bytes);
            if (--l->waits[a] == 0 && l->sum[a] != G_NEVER && !heap_push(l, (entry){l->sum[a], l->owner[a]})) return false;
        }
    }
    return true;
}

static void fill_elems(least *l) { // from the last element to the first: an alternative's stand together, its end behind them
    grammar *g = l->g;
    for (size_t i = g->elems.n; i-- > 0;) {
        g_elem e = g->elems.p[i];
        g->least[i] = e.kind == G_END ? 0 : plus(g->least[i + 1], e.kind == G_SET ? 1 : l->rule[e.arg]);
    }
}

tl_status grammar_measure(grammar *g, tl_error *err) {
    least l = {.g = g};
    bool ok = prepare(&l) && solve(&l);
    if (ok) fill_elems(&l);
    bool endless = ok && l.rule[g->root] == G_NEVER;
    mem_free(l.first), mem_free(l.users), mem_free(l.owner), mem_free(l.waits), mem_free(l.sum), mem_free(l.rule);
    vec_free(&l.heap);
    if (!ok) return err_set(err, TL_E_MEMORY, "out of memory");
    return endless ? err_set(err, TL_E_FORMAT, "the grammar's texts never end: every way from its start leads back into itself") : TL_OK;
}
