// attention.c - which attention kernel runs, in how many parts. Bits do not depend on it (attn.cuh), but attn_any's are its own:
// it serves the shapes that the others do not take.
#include "cuda/attn_rows.h"
#include "cuda/cuda.h"

#include <stdio.h>

enum { VECTORS = 16, TILE = 64, ENTRIES = 64, BLOCKS_ENOUGH = 264, SPLIT_MOST = 66, TEAMS_ONE = 4, TEAMS_MANY = 2, SEQS_HEADS = 8, SEQS_ENOUGH = 128, SHARED_MOST = 227 << 10 };
enum { FOLD_BYTES = 4 * 2 * 4 + 16, TILE_BYTES = 2 * 64 * 4 + 2 * 64 * 4 };

static int group_size(const cuda_attn_args *a) { return a->heads / a->kv_heads; }
static int values(const cuda_attn_args *a) { return a->dv <= 64 ? 64 : a->dv <= 128 ? 128 : 256; } // of the kernel
static size_t stride(int width) { return 2 * (size_t)((width + 15) / 16 * 16) + 16; }
static int row_parts(const cuda_attn_args *a) { return (group_size(a) + VECTORS - 1) / VECTORS * a->kv_heads; }
static bool aligned(const cuda_attn_args *a) { return a->k_slot_bytes % 16 == 0 && a->v_slot_bytes % 16 == 0; }

bool cuda_attention_takes(const cuda_attn_args *a) {
    if (a->dk > 256 || a->dv > 256 || a->dk < 1 || a->dv < 1) return false;
    switch (a->kv_type) {
    case CT_F16: return (a->dk % 8 == 0 && a->dv % 8 == 0 && aligned(a)) || (a->dk % 8 && a->dv % 8);
    case CT_Q8_0: return a->dk % 32 == 0 && a->dv % 32 == 0 && a->k_slot_bytes % 2 == 0 && a->v_slot_bytes % 2 == 0;
    default: return a->kv_type == CT_F32;
    }
}

static size_t rows_shared(const cuda_attn_args *a, int teams) {
    return (FOLD_BYTES + 15) / 16 * 16 + 2 * VECTORS * stride(a->dk) + (size_t)teams * (size_t)rows_team_bytes(a->dk, values(a));
}

// A row alone: as many chunks at once as fit; else small blocks, of which several share a multiprocessor.
static int row_teams(const cuda_attn_args *a, int teams) {
    while (teams > 1 && (teams / 2 >= a->chunks || (values(a) == 256 && teams > 2) || rows_shared(a, teams) > SHARED_MOST)) teams /= 2;
    return teams;
}

static int splits(const cuda_attn_args *a, int teams) {
    int64_t blocks = (int64_t)a->rows * row_parts(a), most = (a->chunks + teams - 1) / teams;
    if (!a->work || !a->counter || blocks > SPLIT_MOST) return 1;
    int64_t n = BLOCKS_ENOUGH / blocks;
    return (int)(n < most ? n : most > 0 ? most : 1);
}

size_t cuda_attention_work(const cuda_attn_args *a, size_t *counters) {
    int64_t blocks = (int64_t)a->rows * row_parts(a), group = group_size(a) < VECTORS ? group_size(a) : VECTORS;
    if (blocks > SPLIT_MOST) blocks = SPLIT_MOST;
    if (counters) *counters = (size_t)blocks * 4;
    return (size_t)(blocks * a->chunks * group) * (size_t)(2 + values(a)) * 4;
}

static tl_status launch_tiles(cuda_device *d, const cuda_attn_args *a, tl_error *err) {
    int group = group_size(a) < TILE ? group_size(a) : TILE, each = TILE / group, parts = (group_size(a) + TILE - 1) / TILE;
    size_t shared = TILE_BYTES + 2 * TILE * stride(a->dk) + 2 * ENTRIES * (stride(a->dk) + stride(values(a)));
    const char *name = values(a) == 64 ? "attn_tiles_64" : values(a) == 128 ? "attn_tiles_128" : "attn_tiles_256";
    return cuda_launch(d, name, (unsigned)((a->rows + each - 1) / each), (unsigned)(a->kv_heads * parts), 1, 128, (unsigned)shared, a, sizeof *a, CUDA_PDL, err);
}

static tl_status launch_rows(cuda_device *d, const char *kind, int most, cuda_attn_args *a, const void *args, size_t bytes, tl_error *err) {
    char name[32];
    int teams = row_teams(a, most);
    a->splits = splits(a, teams);
    snprintf(name, sizeof name, "attn_%s_%d", kind, values(a));
    return cuda_launch(d, name, (unsigned)a->rows, (unsigned)row_parts(a), (unsigned)a->splits, (unsigned)(128 * teams), (unsigned)rows_shared(a, teams), args, bytes, CUDA_PDL, err);
}

// A warp for each row and kv head: when they are enough to keep the memory busy.
static bool seqs_take(const cuda_attn_args *a) {
    return a->kv_type == CT_F16 && a->dk == a->dv && (a->dk == 64 || a->dk == 128) && group_size(a) <= SEQS_HEADS && (int64_t)a->rows * a->kv_heads >= SEQS_ENOUGH;
}

static tl_status launch_seqs(cuda_device *d, const cuda_attn_args *a, tl_error *err) {
    return cuda_launch(d, a->dk == 64 ? "attn_seqs_64" : "attn_seqs_128", (unsigned)a->rows, (unsigned)a->kv_heads, 1, 32, (unsigned)seqs_bytes(a->dk), a, sizeof *a, CUDA_PDL, err);
}

tl_status cuda_attention(cuda_device *d, const cuda_attn_args *args, tl_error *err) {
    cuda_attn_args a = *args;
    if (a.rows <= 0) return TL_OK;
    if (a.n_seqs > 0 && (int64_t)a.rows * group_size(&a) >= (int64_t)a.n_seqs * (TILE / 2)) return launch_tiles(d, &a, err);
    if (seqs_take(&a)) return launch_seqs(d, &a, err);
    return launch_rows(d, "rows", TEAMS_MANY, &a, &a, sizeof a, err);
}

tl_status cuda_attention_one(cuda_device *d, const attn_one_args *args, tl_error *err) {
    attn_one_args a = *args;
    return launch_rows(d, "one", TEAMS_ONE, &a.a, &a, sizeof a, err);
}
