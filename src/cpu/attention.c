// attention.c - cuts an attention call into work items (see attention.h).
#include "cpu/attention.h"

#include <stdatomic.h>

enum {
    LINE = 64,
    ITEMS_PER_THREAD = 4, // fewer (tile, head) items than this: chunks become items too
};

static int64_t thread_count(const attn_args *a) { return a->threads > 1 ? a->threads : 1; }
static int64_t group_size(const attn_args *a) { return a->heads / a->kv_heads; }

static bool is_split(const attn_args *a) {
    return a->work && thread_count(a) > 1 && a->rows * a->kv_heads < ITEMS_PER_THREAD * thread_count(a);
}

// Rows of a tile: as many as share a conversion well, fewer where that would leave threads without work.
static int64_t tile_rows(const attn_args *a) {
    int64_t most = ATTN_TILE / group_size(a);
    if (most < 1) most = 1;
    if (is_split(a)) return most;
    int64_t fair = a->rows * a->kv_heads / (ITEMS_PER_THREAD * thread_count(a));
    if (fair < 1) fair = 1;
    return fair < most ? fair : most;
}

// First entry of the list whose position is >= at.
static int64_t lower_bound(const attn_seq *s, int64_t at) {
    int64_t lo = 0, hi = s->n;
    int64_t guess = hi > 0 ? hi - 1 - (s->at[hi - 1] - at) : 0; // as in lists whose positions follow each other
    if (guess > 0 && guess < hi && s->at[guess - 1] < at && s->at[guess] >= at) return guess;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (s->at[mid] < at) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

void attn_range(const attn_args *a, int64_t row, int64_t *lo, int64_t *hi) {
    const attn_seq *s = &a->seqs[a->seq[row]];
    int64_t pos = a->pos[row];
    *lo = a->window > 0 ? lower_bound(s, pos - a->window + 1) : 0;
    if (a->causal) *hi = s->n == 0 || s->at[s->n - 1] <= pos ? s->n : lower_bound(s, pos + 1);
    else *hi = a->window > 0 ? lower_bound(s, pos + a->window) : s->n;
    if (*hi < *lo) *hi = *lo;
}

static void load_tile(attn_iter *it) {
    const attn_args *a = it->a;
    int64_t n = 1, end = it->row;
    while (n < it->tile_rows && n < end && a->seq[end - n - 1] == a->seq[end - 1]) n++;
    it->rows = n;
    if (!is_split(a)) { // chunks are looked up when the tile is worked on
        it->split = false;
        it->first = it->last = -1;
        return;
    }
    const attn_seq *s = &a->seqs[a->seq[end - 1]];
    it->split = s->n <= a->work_slots;
    int64_t first = INT64_MAX, last = 0;
    for (int64_t r = end - n; r < end; r++) {
        int64_t lo, hi;
        attn_range(a, r, &lo, &hi);
        if (lo == hi) continue;
        int64_t c0 = (s->dropped + lo) / ATTN_CHUNK, c1 = (s->dropped + hi + ATTN_CHUNK - 1) / ATTN_CHUNK;
        if (c0 < first) first = c0;
        if (c1 > last) last = c1;
    }
    if (first >= last) first = last = 0;
    it->first = first;
    it->last = last;
    if (last - first <= 1) it->split = false;
}

static int64_t tile_items(const attn_iter *it) { return it->a->kv_heads * (it->split ? it->last - it->first : 1); }

static void next_tile(attn_iter *it) {
    it->row -= it->rows;
    it->tile++;
    it->left = 0;
    if (it->row > 0) load_tile(it);
}

void attn_iter_init(attn_iter *it, const attn_args *a, int64_t item0) {
    *it = (attn_iter){.a = a, .tile_rows = tile_rows(a), .row = a->rows};
    if (a->rows > 0) load_tile(it);
    while (it->row > 0 && item0 >= tile_items(it)) {
        item0 -= tile_items(it);
        next_tile(it);
    }
    it->left = item0;
}

void attn_iter_next(attn_iter *it, attn_item *out) {
    const attn_args *a = it->a;
    int64_t chunk = it->left / a->kv_heads; // heads innermost: they share the slots' pages
    *out = (attn_item){.row0 = it->row - it->rows, .rows = it->rows, .tile = it->tile, .kv_head = (int)(it->left % a->kv_heads),
                       .first = it->first, .last = it->last, .split = it->split};
    if (it->split) {
        out->chunk0 = it->first + chunk;
        out->chunk1 = out->chunk0 + 1;
    } else {
        out->chunk0 = 0;
        out->chunk1 = INT64_MAX; // all that the rows can see
    }
    if (++it->left >= tile_items(it)) next_tile(it);
}

int64_t attn_items(const attn_args *a) {
    attn_iter it = {.a = a, .tile_rows = tile_rows(a), .row = a->rows};
    int64_t n = 0;
    if (a->rows > 0) load_tile(&it);
    while (it.row > 0) {
        n += tile_items(&it);
        next_tile(&it);
    }
    return n;
}

// work: a counter for each (tile, kv head) on its own cache line, then the partials, [rows, heads, chunks].
static int64_t counter_bytes(const attn_args *a) { return ITEMS_PER_THREAD * thread_count(a) * LINE; }
static int64_t chunk_slots(int64_t max_slots) { return max_slots / ATTN_CHUNK + 2; } // a list may start inside a chunk

size_t attn_work_bytes(const attn_args *a, int64_t max_slots) {
    if (thread_count(a) == 1) return 0;
    int64_t rows = (ITEMS_PER_THREAD * thread_count(a) - 1) / a->kv_heads; // most rows of a split call
    return (size_t)(counter_bytes(a) + rows * a->heads * chunk_slots(max_slots) * attn_partial_floats(a) * 4);
}

float *attn_partial(const attn_args *a, const attn_item *it, int64_t row, int head, int64_t chunk) {
    int64_t i = (row * a->heads + head) * chunk_slots(a->work_slots) + (chunk - it->first);
    return (float *)((char *)a->work + counter_bytes(a)) + i * attn_partial_floats(a);
}

bool attn_item_done(const attn_args *a, const attn_item *it) {
    _Atomic int32_t *counter = (_Atomic int32_t *)((char *)a->work + (it->tile * a->kv_heads + it->kv_head) * LINE);
    if (atomic_fetch_add_explicit(counter, 1, memory_order_acq_rel) + 1 < it->last - it->first) return false;
    atomic_store_explicit(counter, 0, memory_order_relaxed);
    return true;
}

// A thread's scratch (tile_init() in attention_core.h): scaled queries, running results and their state, rows' marks; then either all
// vectors' weights and a panel of keys or values, or those of some vectors and a chunk's keys, 16 of them before they are turned, and
// its values.
size_t attn_scratch_bytes(const attn_args *a) {
    int64_t vectors = group_size(a) > ATTN_TILE ? group_size(a) : ATTN_TILE;
    int64_t dk = (a->dk + 15) / 16 * 16, dv = (a->dv + 15) / 16 * 16, wide = dk > dv ? dk : dv;
    int64_t each = vectors * (dk + dv + 2 * 16 + 16); // the marks of a row are no more than 16 words with those of its vectors
    int64_t panel = vectors * (ATTN_CHUNK + 16 + dv + 64) + (wide + 16) * ATTN_PANEL;
    int64_t turned = ATTN_GROUP * (ATTN_CHUNK + 16 + dv + 64) + (ATTN_CHUNK + 16) * dk + ATTN_CHUNK * (dv + 16);
    return (size_t)(each + panel + turned + 64 * 16) * 4;
}
