// slots.c - see slots.h.
#include <sys/random.h>

#include "run/slots.h"

uint64_t slots_hash(uint64_t before, int32_t token) { // the finalizer of splitmix64 (Steele, Lea and Flood 2014), twice
    uint64_t z = before + 0x9e3779b97f4a7c15u * ((uint64_t)(uint32_t)token + 1);
    for (int i = 0; i < 2; i++) {
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        z ^= z >> 31;
    }
    return z;
}

bool slots_init(slot_pool *p, int64_t n, bool keep) {
    size_t buckets = 16;
    while (buckets < (size_t)n) buckets *= 2;
    *p = (slot_pool){.n = n, .n_free = n, .mask = buckets - 1, .last = (int32_t)n - 1, .keep = keep};
    p->slot = mem_calloc((size_t)n, sizeof *p->slot);
    p->bucket = mem_alloc(buckets * sizeof *p->bucket);
    if (!p->slot || !p->bucket) return false;
    // Nobody can prepare prompts whose hashes collide with those of somebody else's.
    if (getrandom(&p->seed, sizeof p->seed, 0) != sizeof p->seed) p->seed = 1;
    memset(p->bucket, 0xff, buckets * sizeof *p->bucket);
    for (int64_t i = 0; i < n; i++) p->slot[i].prev = (int32_t)i - 1, p->slot[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    return true;
}

void slots_free(slot_pool *p) {
    mem_free(p->slot);
    mem_free(p->bucket);
    *p = (slot_pool){0};
}

// ---- content -------------------------------------------------------------------------------------
static void forget(slot_pool *p, int32_t slot) {
    slot_info *s = &p->slot[slot];
    if (!s->known) return;
    int32_t *at = &p->bucket[s->hash & p->mask];
    while (*at != slot) at = &p->slot[*at].chain;
    *at = s->chain;
    s->known = false;
}

void slots_learn(slot_pool *p, int32_t slot, uint64_t before, int32_t token, int32_t at) {
    slot_info *s = &p->slot[slot];
    forget(p, slot);
    s->hash = slots_hash(before, token);
    s->token = token, s->at = at, s->known = true;
    s->chain = p->bucket[s->hash & p->mask];
    p->bucket[s->hash & p->mask] = slot;
}

int32_t slots_find(const slot_pool *p, uint64_t before, int32_t token, int32_t at) {
    uint64_t hash = slots_hash(before, token);
    for (int32_t i = p->bucket[hash & p->mask]; i >= 0; i = p->slot[i].chain) {
        const slot_info *s = &p->slot[i];
        if (s->hash == hash && s->token == token && s->at == at) return i;
    }
    return -1;
}

// ---- owners --------------------------------------------------------------------------------------
static void unlink_free(slot_pool *p, int32_t slot) {
    const slot_info *s = &p->slot[slot];
    if (s->prev >= 0) p->slot[s->prev].next = s->next;
    else p->first = s->next;
    if (s->next >= 0) p->slot[s->next].prev = s->prev;
    else p->last = s->prev;
    p->n_free--;
}

int32_t slots_take(slot_pool *p) {
    int32_t slot = p->first;
    unlink_free(p, slot);
    forget(p, slot);
    p->slot[slot].owners = 1;
    return slot;
}

void slots_share(slot_pool *p, int32_t slot) {
    if (p->slot[slot].owners++ == 0) unlink_free(p, slot);
}

void slots_drop(slot_pool *p, int32_t slot) {
    slot_info *s = &p->slot[slot];
    if (--s->owners) return;
    bool back = p->keep && s->known; // nothing of use in it: the next to be taken
    s->prev = back ? p->last : -1;
    s->next = back ? -1 : p->first;
    if (s->prev >= 0) p->slot[s->prev].next = slot;
    else p->first = slot;
    if (s->next >= 0) p->slot[s->next].prev = slot;
    else p->last = slot;
    p->n_free++;
}
