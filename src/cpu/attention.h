// attention.h - how one attention call is cut into work items, shared by all ISAs. Private to src/cpu.
//
// The numbers of a (row, head) are defined by chunks: entries of its sequence's slot list, counted from the sequence's
// start (attn_seq.dropped included), fall into chunks of ATTN_CHUNK. Each chunk gives a partial (max, sum, weighted values) and
// partials are folded in ascending order. Who computes which chunk, and which rows share a tile, changes no bit.
#ifndef TL_ATTENTION_H
#define TL_ATTENTION_H
#include "cpu/act.h"
#include "cpu/kernels.h"

enum {
    ATTN_CHUNK = 256,
    ATTN_TILE = 192, // query vectors (rows x heads of a group) that share converted K and V; more if one row has more
    ATTN_GROUP = 24, // of those, how many at most go at a time through scores, weights and values
    ATTN_PANEL = 32, // entries whose V are converted at a time
};

typedef struct attn_item {
    int64_t row0, rows;       // the tile's rows, all of one sequence
    int64_t tile;             // its number in the call
    int kv_head;
    int64_t chunk0, chunk1;   // chunks of this item
    int64_t first, last;      // chunks that the tile's rows can see, [first, last)
    bool split;               // the tile's chunks are items of their own; the last to finish merges
} attn_item;

typedef struct attn_iter { // walks the items of a call from any start: the last rows, which may see most, come first
    const attn_args *a;
    int64_t tile_rows, row, rows, tile, left; // current tile [row - rows, row); `left` items skipped or done in it
    int64_t first, last;
    bool split;
} attn_iter;
void attn_iter_init(attn_iter *it, const attn_args *a, int64_t item0);
void attn_iter_next(attn_iter *it, attn_item *out); // only as often as there are items

// List entries [lo, hi) that row may read by position (mask bits not regarded).
void attn_range(const attn_args *a, int64_t row, int64_t *lo, int64_t *hi);
static inline bool attn_bit(const attn_args *a, int64_t row, int64_t i) {
    return !a->mask || (a->mask[row * a->mask_stride + (i >> 5)] >> (i & 31) & 1);
}

// Quantizes what the query heads of kv_head gave for a row, if that is wanted.
static inline void attn_quantize(const attn_args *a, int64_t row, int64_t kv_head) {
    if (!a->act) return;
    int64_t n = (int64_t)(a->heads / a->kv_heads) * a->dv;
    a->quantize(a->act_kind, a->out + row * a->out_stride + kv_head * n, (char *)a->act + (size_t)row * a->act_bytes + (size_t)(kv_head * n / ACT_BLOCK) * act_block_bytes(a->act_kind), n);
}

// Partials in `work` of a split item: [vectors of the tile, chunk] with ATTN_HEAD floats (max, sum), then dv values.
enum { ATTN_HEAD = 2 };
static inline int64_t attn_partial_floats(const attn_args *a) { return (ATTN_HEAD + (int64_t)a->dv + 15) / 16 * 16; }
float *attn_partial(const attn_args *a, const attn_item *it, int64_t row, int head, int64_t chunk);
bool attn_item_done(const attn_args *a, const attn_item *it); // true for the thread that must merge the tile's kv head

#endif
