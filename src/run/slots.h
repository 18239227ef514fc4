// slots.h - the cache's slots: who owns each, which are free, and what token each was computed for.
//
// A slot that nobody owns keeps what it holds until it is taken for something else. It can be found again by its content: the
// hash of its token and of all tokens before it in its sequence. So a prompt that begins like an earlier one finds the slots
// of what they have in common, whoever computed them, and results are the same bits as if it had computed them itself.
#ifndef TL_RUN_SLOTS_H
#define TL_RUN_SLOTS_H
#include "base/base.h"

typedef struct slot_info {
    uint64_t hash;       // of the tokens up to this one; meaningful while `known`
    int32_t token, at;
    int32_t owners;      // sequences that own the slot
    int32_t prev, next;  // in the list of free slots
    int32_t chain;       // next slot of the same bucket
    bool known;          // computed: can be found by content
} slot_info;

typedef struct slot_pool {
    slot_info *slot;     // [n]
    int32_t *bucket;     // [buckets], -1: empty
    int64_t n, n_free;
    uint64_t mask, seed; // buckets - 1; the hash of nothing
    int32_t first, last; // free slots, the next to be taken first
    bool keep;           // released slots are taken last, so that what they hold can be found for long; else first
} slot_pool;

bool slots_init(slot_pool *p, int64_t n, bool keep); // false: out of memory
void slots_free(slot_pool *p);
int32_t slots_take(slot_pool *p);                    // the caller knows that one is free
void slots_share(slot_pool *p, int32_t slot);        // one owner more; the slot may be free
void slots_drop(slot_pool *p, int32_t slot);
uint64_t slots_hash(uint64_t before, int32_t token); // of a token and those before it; before the first one: `seed`
// What the slot holds once its step has run; `before`: the hash up to the token before it.
void slots_learn(slot_pool *p, int32_t slot, uint64_t before, int32_t token, int32_t at);
// A slot that holds this token at this place after those tokens, or -1.
int32_t slots_find(const slot_pool *p, uint64_t before, int32_t token, int32_t at);
#endif
