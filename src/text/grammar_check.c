// grammar_check.c - finds left recursion, which would make the automaton's stacks grow without reading anything.
//
// An edge goes from a rule to each rule that one of its alternatives may begin with (what stands before it may be empty). It
// pushes when something follows the reference. A cycle with a pushing edge is left recursion; a cycle without, as in the
// rest of a repetition, comes back to the same stack and ends there.
#include "text/grammar_int.h"

typedef struct check {
    const grammar *g;
    bool *nullable;
    VEC(uint32_t) todo;      // rules that have just become nullable
    uint32_t *users, *first; // users[first[r] .. first[r + 1]): rules that refer to r
    uint32_t *low, *order;   // Tarjan
    bool *open;
    VEC(uint32_t) stack;
    struct frame {
        uint32_t rule, alt, elem;
    } *frames;
    uint32_t next;
} check;

static bool alt_nullable(const check *c, uint32_t at) {
    const g_elem *e = &c->g->elems.p[at];
    for (; e->kind != G_END; e++)
        if (e->kind == G_SET || !c->nullable[e->arg]) return false;
    return true;
}

static bool make_nullable(check *c, uint32_t rule) { // false: out of memory
    const g_rule *r = &c->g->rules.p[rule];
    if (c->nullable[rule]) return true;
    for (uint32_t i = 0; i < r->n; i++) {
        if (!alt_nullable(c, c->g->alts.p[r->first + i])) continue;
        c->nullable[rule] = true;
        return vec_push(&c->todo, rule);
    }
    return true;
}

static void each_user(check *c, bool fill) {
    for (uint32_t rule = 0; rule < c->g->rules.n; rule++) {
        const g_rule *r = &c->g->rules.p[rule];
        for (uint32_t i = 0; i < r->n; i++)
            for (const g_elem *e = &c->g->elems.p[c->g->alts.p[r->first + i]]; e->kind != G_END; e++) {
                if (e->kind != G_REF) continue;
                if (fill) c->users[c->first[e->arg]++] = rule;
                else c->first[e->arg + 1]++;
            }
    }
}

static bool find_nullable(check *c) {
    size_t n = c->g->rules.n;
    each_user(c, false);
    for (size_t i = 0; i < n; i++) c->first[i + 1] += c->first[i];
    c->users = mem_calloc(c->first[n] + 1, sizeof *c->users);
    if (!c->users) return false;
    each_user(c, true);
    for (size_t i = n; i > 0; i--) c->first[i] = c->first[i - 1]; // filling moved them on by one rule
    c->first[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!make_nullable(c, i)) return false;
    for (size_t at = 0; at < c->todo.n; at++) {
        uint32_t r = c->todo.p[at];
        for (uint32_t i = c->first[r]; i < c->first[r + 1]; i++)
            if (!make_nullable(c, c->users[i])) return false;
    }
    return true;
}

// The next rule that f->rule may begin with, from where the frame stopped; false at its end.
static bool next_edge(const check *c, struct frame *f, uint32_t *to) {
    const grammar *g = c->g;
    const g_rule *r = &g->rules.p[f->rule];
    while (f->alt < r->n) {
        const g_elem *e = &g->elems.p[g->alts.p[r->first + f->alt] + f->elem];
        if (e->kind == G_REF) {
            *to = e->arg;
            if (c->nullable[e->arg]) f->elem++;
            else f->alt++, f->elem = 0;
            return true;
        }
        f->alt++;
        f->elem = 0;
    }
    return false;
}

static bool enter(check *c, uint32_t rule, size_t *depth) {
    c->low[rule] = c->order[rule] = ++c->next;
    c->open[rule] = true;
    c->frames[(*depth)++] = (struct frame){.rule = rule};
    return vec_push(&c->stack, rule);
}

// Strongly connected parts; afterwards low[] is equal within a part. Without recursion: chains of rules may be long.
static bool find_parts(check *c, uint32_t from) {
    size_t depth = 0;
    if (!enter(c, from, &depth)) return false;
    while (depth > 0) {
        struct frame *f = &c->frames[depth - 1];
        uint32_t to, rule = f->rule;
        if (next_edge(c, f, &to)) {
            if (!c->order[to]) {
                if (!enter(c, to, &depth)) return false;
            } else if (c->open[to] && c->order[to] < c->low[rule]) {
                c->low[rule] = c->order[to];
            }
            continue;
        }
        if (--depth > 0 && c->low[rule] < c->low[c->frames[depth - 1].rule])
            c->low[c->frames[depth - 1].rule] = c->low[rule];
        if (c->low[rule] != c->order[rule]) continue;
        uint32_t member;
        do {
            member = c->stack.p[--c->stack.n];
            c->open[member] = false;
            c->low[member] = c->order[rule];
        } while (member != rule);
    }
    return true;
}

static bool pushes_in_part(const check *c, uint32_t rule) {
    const g_rule *r = &c->g->rules.p[rule];
    for (uint32_t i = 0; i < r->n; i++)
        for (const g_elem *e = &c->g->elems.p[c->g->alts.p[r->first + i]]; e->kind == G_REF; e++) {
            if (e[1].kind != G_END && c->low[e->arg] == c->low[rule]) return true;
            if (!c->nullable[e->arg]) break;
        }
    return false;
}

static tl_status run(check *c, const str *names, tl_error *err) {
    size_t n = c->g->rules.n;
    c->nullable = mem_calloc(n + 1, sizeof *c->nullable);
    c->first = mem_calloc(n + 2, sizeof *c->first);
    c->low = mem_calloc(n + 1, sizeof *c->low);
    c->order = mem_calloc(n + 1, sizeof *c->order);
    c->open = mem_calloc(n + 1, sizeof *c->open);
    c->frames = mem_calloc(n + 1, sizeof *c->frames);
    bool ok = c->nullable && c->first && c->low && c->order && c->open && c->frames && find_nullable(c);
    for (uint32_t i = 0; i < n && ok; i++)
        if (!c->order[i]) ok = find_parts(c, i);
    if (!ok) return err_set(err, TL_E_MEMORY, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
        char esc[80];
        if (pushes_in_part(c, i))
            return err_set(err, TL_E_FORMAT, "the grammar's rule '%s' is left recursive: it can begin with itself",
                           names[i].n ? str_escape(esc, sizeof esc, names[i]) : "(group)");
    }
    return TL_OK;
}

tl_status grammar_check(const grammar *g, const str *names, tl_error *err) {
    check c = {.g = g};
    tl_status s = run(&c, names, err);
    mem_free(c.nullable);
    mem_free(c.first);
    mem_free(c.users);
    mem_free(c.low);
    mem_free(c.order);
    mem_free(c.open);
    mem_free(c.frames);
    vec_free(&c.todo);
    vec_free(&c.stack);
    return s;
}
