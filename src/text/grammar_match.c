// grammar_match.c - runs the automaton: states, transitions and token masks, all made on demand and kept.
//
// A stack is (element to read, stack below), shared by hash consing, so equal stacks have equal numbers; number 0 is the
// empty stack: the text is whole. A state is a sorted set of stacks whose top is a byte set (or the empty stack).
#include "text/grammar_run.h"

enum { MAX_STACKS = 1 << 24, MAX_STATES = 1 << 18, MASK_BYTES = 64 << 20 };
static tl_status no_memory(tl_error *err) { return err_set(err, TL_E_MEMORY, "out of memory"); }

// ---- stacks --------------------------------------------------------------------------------------
static uint64_t mix(uint64_t h) {
    h *= 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

static bool fill(numbers *v, size_t n) { // n entries of NONE
    if (!vec_reserve(v, n)) return false;
    v->n = n;
    memset(v->p, 0xff, n * sizeof *v->p);
    return true;
}

static uint64_t stack_hash(stack s) { return mix((uint64_t)s.elem << 32 | s.below); }

static bool grow_stacks(grammar_matcher *m) {
    if (m->stacks.n * 2 < m->stack_slots.n) return true;
    if (!fill(&m->stack_slots, m->stack_slots.n ? 2 * m->stack_slots.n : 1024)) return false;
    for (size_t i = 1; i < m->stacks.n; i++) {
        size_t k = stack_hash(m->stacks.p[i]) & (m->stack_slots.n - 1);
        while (m->stack_slots.p[k] != NONE) k = (k + 1) & (m->stack_slots.n - 1);
        m->stack_slots.p[k] = (uint32_t)i;
    }
    return true;
}

static tl_status stack_id(grammar_matcher *m, uint32_t elem, uint32_t below, uint32_t *id) {
    stack s = {elem, below};
    if (!grow_stacks(m)) return no_memory(m->err);
    size_t mask = m->stack_slots.n - 1, k = stack_hash(s) & mask;
    for (; (*id = m->stack_slots.p[k]) != NONE; k = (k + 1) & mask)
        if (m->stacks.p[*id].elem == elem && m->stacks.p[*id].below == below) return TL_OK;
    if (m->stacks.n >= MAX_STACKS) return err_set(m->err, TL_E_LIMIT, "the grammar needs too many states");
    if (!vec_reserve(&m->seen, m->stacks.n + 1) || !vec_push(&m->stacks, s)) return no_memory(m->err);
    m->seen.p[m->seen.n++] = 0;
    *id = m->stack_slots.p[k] = (uint32_t)m->stacks.n - 1;
    return TL_OK;
}

static tl_status visit(grammar_matcher *m, uint32_t elem, uint32_t below) { // once per closure
    uint32_t id;
    if (m->g->least[elem] == G_NEVER) return TL_OK; // no way out from here
    TL_TRY(stack_id(m, elem, below, &id));
    if (m->seen.p[id] == m->stamp) return TL_OK;
    m->seen.p[id] = m->stamp;
    return vec_push(&m->todo, id) ? TL_OK : no_memory(m->err);
}

// Follows references and ends until every stack shows a byte set; `found` gets those and 0 where the text may end.
static tl_status close_over(grammar_matcher *m) {
    const grammar *g = m->g;
    while (m->todo.n > 0) {
        uint32_t id = m->todo.p[--m->todo.n];
        stack s = m->stacks.p[id];
        g_elem e = g->elems.p[s.elem];
        if (e.kind == G_SET || (e.kind == G_END && s.below == 0)) {
            uint32_t item = e.kind == G_SET ? id : 0;
            if (!vec_push(&m->found, item)) return no_memory(m->err);
        } else if (e.kind == G_END) {
            TL_TRY(visit(m, m->stacks.p[s.below].elem, m->stacks.p[s.below].below));
        } else {
            uint32_t below = s.below; // the last element of a rule leaves nothing to come back to
            if (g->elems.p[s.elem + 1].kind != G_END) TL_TRY(stack_id(m, s.elem + 1, s.below, &below));
            const g_rule *r = &g->rules.p[e.arg];
            for (uint32_t i = 0; i < r->n; i++) TL_TRY(visit(m, g->alts.p[r->first + i], below));
        }
    }
    return TL_OK;
}

// ---- states --------------------------------------------------------------------------------------
static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static uint64_t items_hash(const uint32_t *p, size_t n) {
    uint64_t h = n;
    for (size_t i = 0; i < n; i++) h = mix(h ^ p[i]);
    return h;
}

static bool grow_states(grammar_matcher *m) {
    if (m->states.n * 2 < m->state_slots.n) return true;
    if (!fill(&m->state_slots, m->state_slots.n ? 2 * m->state_slots.n : 256)) return false;
    for (size_t i = 0; i < m->states.n; i++) {
        const state *s = &m->states.p[i];
        size_t k = items_hash(m->items.p + s->first, s->n) & (m->state_slots.n - 1);
        while (m->state_slots.p[k] != NONE) k = (k + 1) & (m->state_slots.n - 1);
        m->state_slots.p[k] = (uint32_t)i;
    }
    return true;
}

static tl_status state_id(grammar_matcher *m, uint32_t *id) { // of the stacks in `found`
    numbers *f = &m->found;
    size_t n = 0;
    if (f->n) qsort(f->p, f->n, sizeof *f->p, by_number);
    for (size_t i = 0; i < f->n; i++)
        if (i == 0 || f->p[i] != f->p[i - 1]) f->p[n++] = f->p[i];
    if (!grow_states(m)) return no_memory(m->err);
    size_t mask = m->state_slots.n - 1, k = items_hash(f->p, n) & mask;
    for (; (*id = m->state_slots.p[k]) != NONE; k = (k + 1) & mask) {
        const state *s = &m->states.p[*id];
        if (s->n == n && (n == 0 || memcmp(m->items.p + s->first, f->p, n * sizeof *f->p) == 0)) return TL_OK;
    }
    if (m->states.n >= MAX_STATES) return err_set(m->err, TL_E_LIMIT, "the grammar needs too many states");
    state s = {.first = (uint32_t)m->items.n, .n = (uint32_t)n, .mask = NONE, .whole = n > 0 && f->p[0] == 0};
    for (size_t i = 0; i < n; i++)
        if (!vec_push(&m->items, f->p[i])) return no_memory(m->err);
    if (!vec_push(&m->states, s)) return no_memory(m->err);
    *id = m->state_slots.p[k] = (uint32_t)m->states.n - 1;
    return TL_OK;
}

static void begin_closure(grammar_matcher *m) {
    m->todo.n = m->found.n = 0;
    if (++m->stamp == 0) { // 2^32 closures: old stamps must not look new
        memset(m->seen.p, 0, m->seen.n * sizeof *m->seen.p);
        m->stamp = 1;
    }
}

static tl_status compute_step(grammar_matcher *m, uint32_t from, unsigned char byte, uint32_t *to) {
    state s = m->states.p[from];
    begin_closure(m);
    for (uint32_t i = 0; i < s.n; i++) {
        uint32_t id = m->items.p[s.first + i];
        if (id == 0) continue;
        stack top = m->stacks.p[id];
        if (set_has(&m->g->sets.p[m->g->elems.p[top.elem].arg], byte)) TL_TRY(visit(m, top.elem + 1, top.below));
    }
    TL_TRY(close_over(m));
    return state_id(m, to);
}

static tl_status step(grammar_matcher *m, uint32_t from, unsigned char byte, uint32_t *to) {
    if (from == GRAMMAR_DEAD) return *to = GRAMMAR_DEAD, TL_OK;
    if (!m->states.p[from].next) {
        uint32_t *next = mem_alloc(256 * sizeof *next);
        if (!next) return no_memory(m->err);
        memset(next, 0xff, 256 * sizeof *next);
        m->states.p[from].next = next;
    }
    uint32_t known = m->states.p[from].next[byte];
    if (known != NONE) return *to = known, TL_OK;
    TL_TRY(compute_step(m, from, byte, to)); // may move m->states
    m->states.p[from].next[byte] = *to;
    return TL_OK;
}

// ---- the matcher ---------------------------------------------------------------------------------
static tl_status start(grammar_matcher *m) {
    uint32_t id;
    if (!vec_push(&m->stacks, ((stack){0, 0})) || !vec_push(&m->seen, 0)) return no_memory(m->err);
    begin_closure(m);
    TL_TRY(state_id(m, &id)); // the empty set: GRAMMAR_DEAD
    begin_closure(m);
    const g_rule *r = &m->g->rules.p[m->g->root];
    for (uint32_t i = 0; i < r->n; i++) TL_TRY(visit(m, m->g->alts.p[r->first + i], 0));
    TL_TRY(close_over(m));
    TL_TRY(state_id(m, &id));
    return id == GRAMMAR_START ? TL_OK : err_set(m->err, TL_E_FORMAT, "the grammar allows no text at all");
}

tl_status grammar_matcher_new(const grammar *g, const grammar_vocab *v, grammar_matcher **out, tl_error *err) {
    *out = NULL;
    grammar_matcher *m = mem_calloc(1, sizeof *m);
    if (!m) return no_memory(err);
    size_t words = ((size_t)v->n + 63) / 64;
    m->g = g;
    m->v = v;
    m->err = err;
    m->cap_masks = MASK_BYTES / (words * 8) > 16 ? MASK_BYTES / (words * 8) : 16;
    if (m->cap_masks > MAX_STATES) m->cap_masks = MAX_STATES;
    m->path = mem_calloc(v->max_len + 1, sizeof *m->path);
    m->masks = mem_calloc(m->cap_masks, sizeof *m->masks);
    m->owner = mem_calloc(m->cap_masks, sizeof *m->owner);
    tl_status s = m->path && m->masks && m->owner ? start(m) : no_memory(err);
    if (s == TL_OK) *out = m;
    else grammar_matcher_free(m);
    return s;
}

void grammar_matcher_free(grammar_matcher *m) {
    if (!m) return;
    for (size_t i = 0; i < m->states.n; i++) mem_free(m->states.p[i].next);
    for (size_t i = 0; i < m->n_masks; i++) mem_free(m->masks[i]);
    vec_free(&m->stacks);
    vec_free(&m->stack_slots);
    vec_free(&m->seen);
    vec_free(&m->states);
    vec_free(&m->items);
    vec_free(&m->state_slots);
    vec_free(&m->todo);
    vec_free(&m->found);
    mem_free(m->path);
    mem_free(m->masks);
    mem_free(m->owner);
    mem_free(m);
}

bool grammar_may_end(const grammar_matcher *m, uint32_t s) { return s < m->states.n && m->states.p[s].whole; }

// ---- masks ---------------------------------------------------------------------------------------
static tl_status walk_trie(grammar_matcher *m, uint32_t from, uint64_t *mask) {
    const grammar_vocab *v = m->v;
    m->path[0] = from;
    for (uint32_t i = 0; i < v->nodes.n;) {
        const trie_node *t = &v->nodes.p[i];
        uint32_t *to = &m->path[t->depth];
        TL_TRY(step(m, m->path[t->depth - 1], t->byte, to));
        if (*to == GRAMMAR_DEAD) {
            i = t->next;
            continue;
        }
        for (uint32_t k = t->first; k < t->first + t->n; k++)
            mask[v->by_text[k] >> 6] |= (uint64_t)1 << (v->by_text[k] & 63);
        i++;
    }
    return TL_OK;
}

static tl_status mask_slot(grammar_matcher *m, uint32_t *slot) { // a free one, or the one that has served longest
    size_t words = ((size_t)m->v->n + 63) / 64;
    if (m->n_masks < m->cap_masks) {
        m->masks[m->n_masks] = mem_alloc(words * 8);
        if (!m->masks[m->n_masks]) return no_memory(m->err);
        *slot = (uint32_t)m->n_masks++;
    } else {
        *slot = (uint32_t)m->turn;
        m->turn = (m->turn + 1) % m->cap_masks;
        if (m->owner[*slot] != NONE) m->states.p[m->owner[*slot]].mask = NONE;
    }
    m->owner[*slot] = NONE;
    memset(m->masks[*slot], 0, words * 8);
    return TL_OK;
}

tl_status grammar_mask(grammar_matcher *m, uint32_t s, const uint64_t **mask, tl_error *err) {
    uint32_t slot = NONE;
    m->err = err;
    if (s >= m->states.n) return err_set(err, TL_E_USAGE, "no such grammar state");
    if (m->states.p[s].mask == NONE) {
        TL_TRY(mask_slot(m, &slot));
        TL_TRY(walk_trie(m, s, m->masks[slot]));
        for (int32_t i = 0; m->states.p[s].whole && i < m->v->n; i++)
            if (m->v->is_end[i]) m->masks[slot][i >> 6] |= (uint64_t)1 << (i & 63);
        m->states.p[s].mask = slot;
        m->owner[slot] = s;
    }
    *mask = m->masks[m->states.p[s].mask];
    return TL_OK;
}

tl_status grammar_next_bytes(grammar_matcher *m, uint32_t s, str bytes, uint32_t *next, tl_error *err) {
    m->err = err;
    if (s >= m->states.n) return err_set(err, TL_E_USAGE, "no such grammar state");
    for (size_t i = 0; i < bytes.n && s != GRAMMAR_DEAD; i++) TL_TRY(step(m, s, (unsigned char)bytes.p[i], &s));
    *next = s;
    return TL_OK;
}

tl_status grammar_next(grammar_matcher *m, uint32_t s, int32_t token, uint32_t *next, tl_error *err) {
    const grammar_vocab *v = m->v;
    *next = GRAMMAR_DEAD;
    if (token < 0 || token >= v->n) return err_set(err, TL_E_USAGE, "no such token");
    size_t n = v->start[token + 1] - v->start[token];
    if (n == 0 || v->is_end[token]) return TL_OK;
    return grammar_next_bytes(m, s, (str){v->bytes + v->start[token], n}, next, err);
}

static bool only_byte(const grammar_matcher *m, const state *s, unsigned char *byte) {
    g_set all = {{0}};
    for (uint32_t i = 0; i < s->n; i++) {
        const stack *top = &m->stacks.p[m->items.p[s->first + i]];
        const g_set *set = &m->g->sets.p[m->g->elems.p[top->elem].arg];
        for (int k = 0; k < 4; k++) all.bits[k] |= set->bits[k];
    }
    int count = 0;
    for (int k = 0; k < 4; k++) {
        count += __builtin_popcountll(all.bits[k]);
        if (all.bits[k]) *byte = (unsigned char)(64 * k + __builtin_ctzll(all.bits[k]));
    }
    return count == 1;
}

tl_status grammar_forced(grammar_matcher *m, uint32_t s, char *buf, size_t cap, size_t *n, tl_error *err) {
    unsigned char byte = 0;
    m->err = err;
    *n = 0;
    if (s >= m->states.n) return err_set(err, TL_E_USAGE, "no such grammar state");
    while (*n < cap && s != GRAMMAR_DEAD && !m->states.p[s].whole && only_byte(m, &m->states.p[s], &byte)) {
        buf[(*n)++] = (char)byte;
        TL_TRY(step(m, s, byte, &s));
    }
    return TL_OK;
}
