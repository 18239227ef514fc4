// grammar_run.h - the state of a running automaton: grammar_match.c makes it, grammar_finish.c reads it.
#ifndef TL_TEXT_GRAMMAR_RUN_H
#define TL_TEXT_GRAMMAR_RUN_H
#include "text/grammar_int.h"
#include "text/grammar_vocab.h"

#define NONE UINT32_MAX

typedef struct stack {
    uint32_t elem, below;
} stack;
typedef struct state {
    uint32_t first, n; // items[first .. first + n)
    uint32_t *next;    // by byte, NONE where not known yet; NULL: none is
    uint32_t mask;     // slot, or NONE
    bool whole;
} state;
typedef VEC(uint32_t) numbers;

struct grammar_matcher {
    const grammar *g;
    const grammar_vocab *v;
    VEC(stack) stacks;
    numbers stack_slots, seen; // hash table; stamp of the last closure that met the stack
    VEC(state) states;
    numbers items, state_slots;
    numbers todo, found;
    uint32_t stamp;
    uint32_t *path; // states along the trie
    uint64_t **masks;
    uint32_t *owner; // state whose mask a slot holds
    size_t n_masks, cap_masks, turn;
    tl_error *err;
};
#endif
