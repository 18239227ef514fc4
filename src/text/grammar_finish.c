// grammar_finish.c - the shortest way to a whole text, for replies that something cuts.
#include "text/grammar_run.h"

// The byte that is written out of a set: a letter or digit where one is in it, else something to be seen, else the first.
static unsigned char plain_byte(const g_set *s) {
    for (int b = '0'; b <= 'z'; b++)
        if (((b <= '9') || (b >= 'a')) && set_has(s, (unsigned char)b)) return (unsigned char)b;
    for (int b = ' '; b < 127; b++)
        if (set_has(s, (unsigned char)b)) return (unsigned char)b;
    int k = 0;
    while (k < 3 && !s->bits[k]) k++;
    return (unsigned char)(64 * k + (s->bits[k] ? __builtin_ctzll(s->bits[k]) : 0));
}

static uint64_t stack_least(const grammar_matcher *m, uint32_t id) { // bytes until the text is whole
    uint64_t total = 0;
    for (; id != 0; id = m->stacks.p[id].below) total += m->g->least[m->stacks.p[id].elem];
    return total;
}

static tl_status push_rest(grammar_matcher *m, uint32_t id) { // the elements of a stack, its top last
    m->todo.n = 0;
    for (; id != 0; id = m->stacks.p[id].below)
        if (!vec_push(&m->todo, m->stacks.p[id].elem)) return err_set(m->err, TL_E_MEMORY, "out of memory");
    for (size_t i = 0, n = m->todo.n; i < n / 2; i++) {
        uint32_t t = m->todo.p[i];
        m->todo.p[i] = m->todo.p[n - 1 - i], m->todo.p[n - 1 - i] = t;
    }
    return TL_OK;
}

static uint32_t best_alternative(const grammar *g, const g_rule *r) {
    uint32_t best = g->alts.p[r->first];
    for (uint32_t i = 1; i < r->n; i++)
        if (g->least[g->alts.p[r->first + i]] < g->least[best]) best = g->alts.p[r->first + i];
    return best;
}

static tl_status write_rest(grammar_matcher *m, sbuf *out) {
    const grammar *g = m->g;
    while (m->todo.n) {
        uint32_t at = m->todo.p[--m->todo.n];
        g_elem e = g->elems.p[at];
        if (e.kind == G_END) continue;
        if (g->elems.p[at + 1].kind != G_END && !vec_push(&m->todo, at + 1)) return err_set(m->err, TL_E_MEMORY, "out of memory");
        if (e.kind == G_SET) sbuf_putc(out, (char)plain_byte(&g->sets.p[e.arg]));
        else if (!vec_push(&m->todo, best_alternative(g, &g->rules.p[e.arg]))) return err_set(m->err, TL_E_MEMORY, "out of memory");
    }
    return out->failed ? err_set(m->err, TL_E_MEMORY, "out of memory") : TL_OK;
}

tl_status grammar_shortest(grammar_matcher *m, uint32_t s, sbuf *out, tl_error *err) {
    m->err = err;
    if (s == GRAMMAR_DEAD || s >= m->states.n) return err_set(err, TL_E_USAGE, "no such grammar state");
    const state *from = &m->states.p[s];
    if (from->whole) return TL_OK;
    uint32_t best = m->items.p[from->first];
    uint64_t least = stack_least(m, best);
    for (uint32_t i = 1; i < from->n; i++) {
        uint64_t one = stack_least(m, m->items.p[from->first + i]);
        if (one < least) least = one, best = m->items.p[from->first + i];
    }
    if (least > GRAMMAR_MOST_REST) return err_set(err, TL_E_LIMIT, "the shortest way to end the text is %llu bytes long", (unsigned long long)least);
    TL_TRY(push_rest(m, best));
    return write_rest(m, out);
}
