// linear.c - which kernel, and which shape of it, computes a product; repacking, embedding and quantizing.
#include "cuda/cuda.h"
#include "cuda/linear_shapes.h"

#include <stdio.h>

typedef struct shape {
    const char *name;
    int sw, nt, rw, mw, kw, step, stages;
} shape;

enum {
#define SHAPE(name, ...) SHAPE_##name,
    LINEAR_SHAPES(SHAPE)
#undef SHAPE
};
#define SHAPE(name, SW, NT, RW, MW, KW, STEP, STAGES, BLOCKS) {#name, SW, NT, RW, MW, KW, STEP, STAGES},
static const shape block_shapes[] = {LINEAR_SHAPES(SHAPE)}, half_shapes[] = {LINEAR_SHAPES_HALF(SHAPE)};
#undef SHAPE
static const shape *shape_of(int type, int i) { return layout_is_half(type) ? &half_shapes[i] : &block_shapes[i]; }

bool cuda_is_matrix(tl_dtype t) { return t == DT_F32 || layout_is_half((int)t) || layout_is_blocks((int)t); }

// ---- shapes ----------------------------------------------------------------------------------------------
// Shared memory of a block (linear.cuh): stages in use, sides, scales worked out, then the pieces' sums where warps share k.
static size_t shared_bytes(const shape *s, int type, bool wide, int64_t k) {
    bool half = layout_is_half(type);
    int strips = s->rw * s->sw, groups = s->mw * s->nt, steps = CUDA_PIECE_CHUNKS / s->step;
    int stage = s->kw * s->step * (strips * layout_code_bytes(type) + groups * (half ? 1024 : 512 + 64 * layout_scale_kinds(type)));
    int side = s->kw * (strips * (layout_s_bytes(type) + layout_d_bytes(type)) + groups * (half ? 32 : 0)), sides = 1 + (s->stages - 1 + steps - 1) / steps;
    int64_t most = (layout_pieces(k) + s->kw - 1) / s->kw * steps, stages = most < s->stages ? most : s->stages;
    int values = wide || half ? 2 : 4, worked = half ? 0 : s->sw * CUDA_PIECE_CHUNKS * layout_worked_chunk(type);
    return (size_t)(stages * stage + sides * side + s->rw * s->mw * s->kw * worked + (s->kw > 1 ? s->kw * strips * s->mw * linear_turn(s->sw, s->nt, s->rw, s->mw, s->kw) * 32 * values * 4 : 0));
}

enum { SHARED_MOST = 227 << 10, SMS = 132 };
bool cuda_linear_fits(int type, bool wide, int64_t k, int which) { return shared_bytes(shape_of(type, which), type, wide, k) <= SHARED_MOST; }

// How long a shape takes for n rows in all, relative to others: `resident` blocks share a multiprocessor, one that is alone there takes `alone` of
// the time that they take together times 1 / resident, and `rate` is what they do together.
typedef struct shape_speed {
    int shape, resident;
    double alone, rate;
} shape_speed;
static double shape_time(const shape_speed *v, int type, int64_t n, int64_t k, int64_t cols) {
    const shape *s = shape_of(type, v->shape);
    int64_t rows = s->rw * s->sw * CUDA_STRIP, columns = s->mw * s->nt * CUDA_GROUP, blocks = (n + rows - 1) / rows * ((cols + columns - 1) / columns);
    int64_t full = blocks / (SMS * v->resident), rest = (blocks % (SMS * v->resident) + SMS - 1) / SMS; // blocks of the fullest multiprocessor in the last round
    double last = rest ? v->alone + (v->resident - v->alone) * (double)(rest - 1) / (v->resident > 1 ? v->resident - 1 : 1) : 0;
    double pieces = (double)layout_pieces(k), idle = (double)((layout_pieces(k) + s->kw - 1) / s->kw * s->kw) / pieces; // warps without a piece
    return ((double)full * v->resident + last) * (double)(rows * columns) * idle / v->rate;
}

// Small shapes until their blocks are several for each multiprocessor, then those that reuse more.
static int choose(const cuda_linear_args *a, int type) {
    int64_t cols = (int64_t)a->rows * layout_columns(layout_act_kind(type, a->wide)), n = 0, k = a->m[0].k;
    for (int i = 0; i < a->n_m; i++) n += a->m[i].n;
    bool glu = a->epilogue == CUDA_EPI_GLU;
    if (cols <= CUDA_GROUP) return glu ? SHAPE_pair : SHAPE_one;
    int64_t large = (n + 127) / 128 * ((cols + 63) / 64), middle = (n + 63) / 64 * ((cols + 63) / 64), small = (n + 31) / 32 * ((cols + 31) / 32);
    bool half = layout_is_half(type), thin = small < 200 && !glu && cuda_linear_fits(type, a->wide, k, SHAPE_thin);
    if (half && large >= 96) return large <= SMS ? SHAPE_deep : SHAPE_some;
    if (half && middle >= 2 * SMS) return SHAPE_some;
    if (half || cols <= 4 * CUDA_GROUP) return thin ? SHAPE_thin : SHAPE_few;
    // As measured on an H200 with Q4_0 and Q4_K.
    static const shape_speed known[] = {{SHAPE_few, 3, 1.6, 140}, {SHAPE_some, 3, 1.8, 183}, {SHAPE_deep, 1, 1, 140}, {SHAPE_tall, 1, 1, 170}};
    int best = SHAPE_some;
    double least = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double time = shape_time(&known[i], type, n, k, cols);
        if (cuda_linear_fits(type, a->wide, k, known[i].shape) && (least == 0 || time < least)) least = time, best = known[i].shape;
    }
    return best;
}

static tl_status launch_f32(cuda_device *d, const cuda_linear_args *a, tl_error *err) {
    int64_t n = 0;
    for (int i = 0; i < (a->epilogue == CUDA_EPI_GLU ? 1 : a->n_m); i++) n += a->m[i].n;
    return cuda_launch(d, "linear_f32", (unsigned)((n + 3) / 4), (unsigned)((a->rows + 3) / 4), 1, 128, 0, a, sizeof *a, CUDA_PDL, err);
}

tl_status cuda_linear_shape(cuda_device *d, const cuda_linear_args *args, int which, tl_error *err) {
    cuda_linear_args a = *args;
    int type = a.m[0].type;
    if (a.rows <= 0 || a.m[0].n <= 0) return TL_OK;
    if (type == CT_F32) return launch_f32(d, &a, err);
    const shape *s = shape_of(type, which >= 0 ? which : choose(&a, type));
    bool glu = a.epilogue == CUDA_EPI_GLU;
    unsigned tiles = 0;
    for (int i = 0; i < a.n_m; i++) {
        int64_t strips = layout_strips(a.m[i].n), each = glu ? s->rw * s->sw / 2 : s->rw * s->sw;
        a.tiles[i] = glu && i ? 0 : (int32_t)((strips + each - 1) / each);
        tiles += (unsigned)a.tiles[i];
    }
    int64_t cols = (int64_t)a.rows * layout_columns(layout_act_kind(type, a.wide)), each = (int64_t)s->mw * s->nt * CUDA_GROUP;
    char name[48], type_name[16];
    snprintf(type_name, sizeof type_name, "%s", dtype_table[type].name);
    for (char *p = type_name; *p; p++) *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    snprintf(name, sizeof name, "linear_%s%s_%s", type_name, a.wide && !layout_is_half(type) ? "_wide" : "", s->name);
    return cuda_launch(d, name, tiles, (unsigned)((cols + each - 1) / each), 1, (unsigned)(32 * s->rw * s->mw * s->kw),
                       (unsigned)shared_bytes(s, type, a.wide, a.m[0].k), &a, sizeof a, CUDA_PDL, err);
}

tl_status cuda_linear(cuda_device *d, const cuda_linear_args *a, tl_error *err) { return cuda_linear_shape(d, a, -1, err); }

// ---- one row ---------------------------------------------------------------------------------------------
static size_t row_shared(const cuda_row_args *a, int warps) {
    int type = a->l.m[0].type;
    int64_t pieces = layout_pieces(a->l.m[0].k), sums = 2 * (a->l.epilogue == CUDA_EPI_GLU ? 2 : 1) * pieces * CUDA_STRIP;
    return (size_t)(warps * CUDA_ROW_SLOTS * layout_row_slot(type)) + (size_t)pieces * (size_t)layout_row_bytes(type, a->l.wide) + (size_t)(sums + pieces) * 4;
}

// Shared memory that a block asks for lest more of them than its share lie on one multiprocessor while others have none; 0: they may. As
// measured on an H200: where blocks are few, or long, one each; pairs of 3 each. More of it would keep the next kernel's blocks out.
static size_t row_share(const cuda_row_args *a, int tiles, int sms) {
    bool few = tiles <= sms * 3 / 4, one = tiles <= sms && layout_strip_bytes(a->l.m[0].type, a->l.m[0].k) >= 32 << 10;
    if (few || one) return 115 << 10;
    return a->l.epilogue == CUDA_EPI_GLU && tiles > 2 * sms && tiles <= 3 * sms ? 66 << 10 : 0;
}

bool cuda_row_takes(const cuda_row_args *a) {
    int type = a->l.m[0].type;
    bool aligned = (((uintptr_t)a->x | (uintptr_t)(a->norm && a->w ? a->w : NULL)) & 15) == 0;
    return type != CT_F32 && a->l.m[0].k % 8 == 0 && aligned && row_shared(a, 8) <= SHARED_MOST;
}

tl_status cuda_row(cuda_device *d, const cuda_row_args *args, tl_error *err) {
    cuda_row_args a = *args;
    int type = a.l.m[0].type, tiles = 0, warps = 8, sms = cuda_device_info(d)->sms;
    bool glu = a.l.epilogue == CUDA_EPI_GLU;
    for (int i = 0; i < a.l.n_m; i++) tiles += a.l.tiles[i] = glu && i ? 0 : (int32_t)layout_strips(a.l.m[i].n);
    if (tiles == 0) return TL_OK;
    if (sms < 1) sms = SMS;
    if (tiles <= 2 * sms && layout_pieces(a.l.m[0].k) > 8 && row_shared(&a, 12) <= SHARED_MOST) warps = 12;
    size_t shared = row_shared(&a, warps), share = row_share(&a, tiles, sms);
    if (shared < share) shared = share;
    int each = warps == 12 ? 2 : 4; // blocks of a multiprocessor; as measured on an H200: more leave no room for the next kernel's
    while (each > 1 && (size_t)each * (shared + 1024) > (228u << 10)) each--;
    char name[48], type_name[16];
    snprintf(type_name, sizeof type_name, "%s", dtype_table[type].name);
    for (char *p = type_name; *p; p++) *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
    snprintf(name, sizeof name, "row_%s%s", type_name, a.l.wide && !layout_is_half(type) ? "_wide" : "");
    return cuda_launch(d, name, (unsigned)(tiles < each * sms ? tiles : each * sms), 1, 1, (unsigned)(32 * warps), (unsigned)shared, &a, sizeof a, CUDA_PDL, err);
}

// ---- data ------------------------------------------------------------------------------------------------
tl_status cuda_repack(cuda_device *d, const cuda_repack_args *a, tl_error *err) {
    if (a->rows <= 0) return TL_OK;
    if (a->m.type == CT_F32) return cuda_copy(d, (char *)a->m.data + (size_t)a->n0 * (size_t)a->row_bytes, a->src, (size_t)a->rows * (size_t)a->row_bytes, err);
    int64_t strips = layout_strips(a->rows);
    return cuda_launch(d, "repack", (unsigned)((layout_chunks(a->m.k) + 3) / 4), (unsigned)(strips < 65535 ? strips : 65535), 1, 128, 0, a, sizeof *a, 0, err);
}

tl_status cuda_embed(cuda_device *d, const cuda_embed_args *a, tl_error *err) {
    if (a->rows <= 0) return TL_OK;
    return cuda_launch(d, "embed", (unsigned)a->rows, 1, 1, 128, 0, a, sizeof *a, CUDA_PDL, err);
}

tl_status cuda_quantize(cuda_device *d, const cuda_quantize_args *a, tl_error *err) {
    int64_t warps = (int64_t)a->rows * layout_pieces(a->k);
    if (warps <= 0) return TL_OK;
    return cuda_launch(d, "quantize", (unsigned)((warps + 3) / 4), 1, 1, 128, 0, a, sizeof *a, CUDA_PDL, err);
}
