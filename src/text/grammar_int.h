// grammar_int.h - the automaton that grammar_parse.c builds and grammar_match.c runs.
#ifndef TL_TEXT_GRAMMAR_INT_H
#define TL_TEXT_GRAMMAR_INT_H
#include "text/grammar.h"

typedef enum {
    G_END, // of an alternative
    G_SET, // one byte out of sets[arg]
    G_REF, // rule `arg`
} g_kind;
typedef struct g_elem {
    uint32_t kind : 2, arg : 30;
} g_elem;
typedef struct g_set {
    uint64_t bits[4];
} g_set;
typedef struct g_rule {
    uint32_t first, n; // its alternatives: alts[first .. first + n), each the index of its first element
} g_rule;

struct grammar {
    VEC(g_elem) elems;
    VEC(uint32_t) alts;
    VEC(g_rule) rules;
    VEC(g_set) sets;
    uint32_t root;
    uint32_t *least; // by element: the fewest bytes from it to the end of its alternative; G_NEVER
};
#define G_NEVER UINT32_MAX

static inline bool set_has(const g_set *s, unsigned char b) { return s->bits[b >> 6] >> (b & 63) & 1; }
static inline void set_add(g_set *s, unsigned lo, unsigned hi) {
    for (unsigned b = lo; b <= hi; b++) s->bits[b >> 6] |= (uint64_t)1 << (b & 63);
}

// grammar_check.c: TL_E_FORMAT naming a rule that is left recursive. names[rule] may be an empty string.
tl_status grammar_check(const grammar *g, const str *names, tl_error *err);
// grammar_least.c: fills `least`. TL_E_FORMAT: no text of the grammar ever ends.
tl_status grammar_measure(grammar *g, tl_error *err);
#endif
