// doctor_tensors.c - every tensor's values: what is not finite and where, rows of zeros, scales and sizes that stand out.
#include "base/pool.h"
#include "doctor.h"
#include "gguf/tensor_stats.h"
#include "progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE = 1 << 20,      // bytes that a thread takes at once
    SAMPLED_ROWS = 32,    // of each tensor, for mean and size
    SIBLINGS = 4,         // fewer layers than this cannot be compared
    MOST_NOTED = 20,      // findings of one kind that are listed one by one
};

typedef struct scan_piece {
    int tensor;
    int64_t row0, row1;
} scan_piece;

typedef struct scan {
    const gguf *g;
    pool *threads;
    VEC(scan_piece) pieces;
    tensor_stats *found;  // [thread][tensor]
    size_t n;
    progress bar;
} scan;

// ---- reading -----------------------------------------------------------------------------------
static bool cut_pieces(scan *s) {
    for (size_t i = 0; i < s->n; i++) {
        const gguf_tensor *t = gguf_tensor_at(s->g, i);
        if (!tensor_stats_known(t->type)) continue;
        int64_t rows = tensor_rows(t), step = (int64_t)(PIECE / (t->bytes / (size_t)rows + 1)) + 1;
        for (int64_t r = 0; r < rows; r += step)
            if (!vec_push(&s->pieces, ((scan_piece){(int)i, r, r + step < rows ? r + step : rows}))) return false;
    }
    return true;
}

static void sample_piece(const scan *s, const scan_piece *p, float *buf, tensor_stats *out) {
    const gguf_tensor *t = gguf_tensor_at(s->g, (size_t)p->tensor);
    int64_t rows = tensor_rows(t), step = rows / SAMPLED_ROWS + 1;
    for (int64_t r = (p->row0 + step - 1) / step * step; r < p->row1; r += step) tensor_stats_sample(t, r, buf, out);
}

static void scan_pieces(void *ctx, int thread, int n) {
    scan *s = ctx;
    int64_t from, to, longest = 1;
    (void)n;
    for (size_t i = 0; i < s->n; i++)
        if (gguf_tensor_at(s->g, i)->ne[0] > longest) longest = gguf_tensor_at(s->g, i)->ne[0];
    float *buf = mem_alloc((size_t)longest * sizeof *buf); // without it there are no samples
    while (pool_take(s->threads, (int64_t)s->pieces.n, 1, &from, &to)) {
        const scan_piece *p = &s->pieces.p[from];
        tensor_stats *out = &s->found[(size_t)thread * s->n + (size_t)p->tensor];
        tensor_stats_add(gguf_tensor_at(s->g, (size_t)p->tensor), p->row0, p->row1, out);
        if (buf) sample_piece(s, p, buf, out);
        if (thread == 0) progress_update(&s->bar, from * PIECE, "");
    }
    mem_free(buf);
}

// ---- non-finite values -------------------------------------------------------------------------
static void tell_bad(doctor *d, const gguf_tensor *t, const tensor_stats *s) {
    char name[300], where[200];
    bool blocks = dtype_table[t->type].quantized;
    uint64_t offset = t->offset + s->bad.byte_offset;
    const gguf_tensor *emb = gguf_tensor_find(d->g, STR("token_embd.weight"));
    bool output = str_is(t->name, "output.weight"), fits = emb && emb->ne[0] == t->ne[0] && emb->ne[1] == t->ne[1];
    if (blocks) snprintf(where, sizeof where, ", in %" PRId64 " block%s; the first is block %" PRId64 " of row %" PRId64 " at byte %" PRIu64 " of the file: its %s not finite", s->bad_blocks,
                         s->bad_blocks == 1 ? "" : "s", s->bad.block, s->bad.row, offset, strcmp(tensor_bad_part(t, &s->bad), "scale and min") == 0 ? "scale and min are" : strcmp(tensor_bad_part(t, &s->bad), "min") == 0 ? "min is" : "scale is");
    else snprintf(where, sizeof where, "; the first is value %" PRId64 " of row %" PRId64 " at byte %" PRIu64 " of the file", s->bad.block, s->bad.row, offset);
    json_t *place = json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "tensor", json_bytes(t->name.p, t->name.n), "type", dtype_table[t->type].name, "count",
                              (json_int_t)s->bad.count, "blocks", (json_int_t)s->bad_blocks, "row", (json_int_t)s->bad.row, "block", (json_int_t)s->bad.block, "offset",
                              (json_int_t)offset, "cause", tensor_bad_part(t, &s->bad));
    bool tied = output && fits && !d->a->model.no_repair;
    const char *advice = tied ? "the embedding is used instead; --repair OUT.gguf writes a copy without it"
                         : output && fits ? "without --no-repair the embedding would be used instead"
                                          : "fetch or quantize the file again; --repair OUT.gguf --zero-nan makes these blocks zeros";
    doctor_find(d, tied ? DOCTOR_WARNING : DOCTOR_ERROR, "values", place, advice, "%s (%s): %" PRId64 " of %" PRId64 " values are infinite or no number%s",
                str_escape(name, sizeof name, t->name), dtype_table[t->type].name, s->bad.count, tensor_rows(t) * t->ne[0], where);
    if (!tied) d->bad[d->n_bad++] = t;
    d->tied |= tied;
}

// ---- statistics --------------------------------------------------------------------------------
// "blk.12.ffn_up.weight" -> "ffn_up.weight", 12.
static bool layer_of(str name, str *rest, int64_t *layer) {
    size_t i = 4;
    if (name.n < 7 || memcmp(name.p, "blk.", 4) != 0) return false;
    for (*layer = 0; i < name.n && name.p[i] >= '0' && name.p[i] <= '9' && *layer < 100000; i++) *layer = *layer * 10 + (name.p[i] - '0');
    if (i == 4 || i >= name.n || name.p[i] != '.') return false;
    *rest = (str){name.p + i + 1, name.n - i - 1};
    return true;
}

static json_t *named(const gguf_tensor *t) { return json_pack("{s:o, s:s}", "tensor", json_bytes(t->name.p, t->name.n), "type", dtype_table[t->type].name); }

// Rows of zeros: usual for tokens that were never trained, strange in a matrix of a layer.
static void tell_zeros(doctor *d, const gguf_tensor *t, const tensor_stats *s) {
    char name[300];
    int64_t rows = tensor_rows(t);
    if (!s->zero_rows || t->rank < 2) return;
    bool vocab = str_is(t->name, "token_embd.weight") || str_is(t->name, "output.weight"), all = s->zero_rows == rows;
    json_t *place = named(t);
    json_object_set_new(place, "row", json_integer(s->zero_row));
    json_object_set_new(place, "count", json_integer(s->zero_rows));
    doctor_find(d, vocab && !all ? DOCTOR_NOTE : DOCTOR_WARNING, "statistics", place, vocab && !all ? "" : "compare with the original: tl diff --tensors A.gguf B.gguf",
                "%s: %" PRId64 " of %" PRId64 " rows are zeros throughout, the first is row %" PRId64 "%s", str_escape(name, sizeof name, t->name), s->zero_rows, rows, s->zero_row,
                vocab && !all ? " (tokens that were not trained)" : "");
}

// A finite scale a thousand times the usual one: a flipped bit of an exponent, or a block read from the wrong place.
static void tell_scale(doctor *d, const gguf_tensor *t, const tensor_stats *s) {
    char name[300];
    bool quantized = dtype_table[t->type].quantized;
    double usual = quantized ? tensor_stats_mean_scale(s) : tensor_stats_rms(s);
    if (usual <= 0 || (double)s->largest < 1000 * usual) return;
    json_t *place = named(t);
    json_object_set_new(place, "row", json_integer(s->largest_row));
    json_object_set_new(place, "block", json_integer(s->largest_block));
    const dtype_info *info = &dtype_table[t->type];
    uint64_t offset = t->offset + (uint64_t)s->largest_row * (t->bytes / (size_t)tensor_rows(t)) + (uint64_t)s->largest_block * info->block_bytes;
    json_object_set_new(place, "offset", json_integer((json_int_t)offset));
    doctor_find(d, DOCTOR_WARNING, "statistics", place, "compare with the original: tl diff --tensors A.gguf B.gguf",
                "%s: %s %" PRId64 " of row %" PRId64 " (byte %" PRIu64 ") %s %g, %.0f times the usual size", str_escape(name, sizeof name, t->name),
                quantized ? "block" : "value", s->largest_block, s->largest_row, offset, quantized ? "has the scale" : "is", (double)s->largest, (double)s->largest / usual);
}

typedef struct sibling {
    const gguf_tensor *t;
    str rest;
    int64_t layer;
    double size; // log2 of the root of the mean square
} sibling;

static int by_rest(const void *a, const void *b) {
    const sibling *x = a, *y = b;
    size_t n = x->rest.n < y->rest.n ? x->rest.n : y->rest.n;
    int order = memcmp(x->rest.p, y->rest.p, n);
    if (order == 0) order = (x->rest.n > y->rest.n) - (x->rest.n < y->rest.n);
    return order ? order : (x->layer > y->layer) - (x->layer < y->layer);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double middle(double *x, size_t n) {
    qsort(x, n, sizeof *x, ascending);
    return x[n / 2];
}

// One tensor of the same name in many layers whose size is far from the others', measured by how much these differ.
static void compare_siblings(doctor *d, const sibling *s, size_t n, double *spare) {
    char name[300];
    if (n < SIBLINGS) return;
    for (size_t i = 0; i < n; i++) spare[i] = s[i].size;
    double usual = middle(spare, n);
    for (size_t i = 0; i < n; i++) spare[i] = fabs(s[i].size - usual);
    double spread = middle(spare, n);
    for (size_t i = 0; i < n; i++) {
        double off = s[i].size - usual;
        // 16 times larger or smaller; gains and biases of sound models differ much more than matrices do
        if (fabs(off) < (s[i].t->rank > 1 ? 4 : 10) || fabs(off) < 8 * spread) continue;
        doctor_find(d, DOCTOR_WARNING, "statistics", named(s[i].t), "compare with the original: tl diff --tensors A.gguf B.gguf",
                    "%s: its values are %.3g times %s than those of its siblings in the other layers (root mean square %.3g, theirs %.3g)",
                    str_escape(name, sizeof name, s[i].t->name), exp2(fabs(off)), off > 0 ? "larger" : "smaller", exp2(s[i].size), exp2(usual));
    }
}

static void tell_siblings(doctor *d, const tensor_stats *found) {
    size_t n = gguf_n_tensors(d->g), k = 0;
    sibling *s = calloc(n + 1, sizeof *s);
    double *spare = calloc(n + 1, sizeof *spare);
    for (size_t i = 0; s && spare && i < n; i++) {
        const gguf_tensor *t = gguf_tensor_at(d->g, i);
        double rms = tensor_stats_rms(&found[i]);
        if (rms > 0 && layer_of(t->name, &s[k].rest, &s[k].layer)) s[k].t = t, s[k++].size = log2(rms);
    }
    if (s && spare) qsort(s, k, sizeof *s, by_rest);
    for (size_t i = 0, from = 0; s && spare && i <= k; i++)
        if (i == k || !str_eq(s[i].rest, s[from].rest)) compare_siblings(d, s + from, i - from, spare), from = i;
    free(s), free(spare);
}

static void tell_all(doctor *d, const tensor_stats *found) {
    size_t n = gguf_n_tensors(d->g);
    int bad = 0, noted = 0;
    for (size_t i = 0; i < n; i++) {
        const gguf_tensor *t = gguf_tensor_at(d->g, i);
        if (found[i].bad.count) tell_bad(d, t, &found[i]), bad++;
    }
    if (!bad) doctor_find(d, DOCTOR_OK, "values", NULL, "", "all values of all tensors are finite");
    int before = d->count[DOCTOR_NOTE] + d->count[DOCTOR_WARNING];
    for (size_t i = 0; i < n && noted < MOST_NOTED; i++) {
        tell_zeros(d, gguf_tensor_at(d->g, i), &found[i]);
        tell_scale(d, gguf_tensor_at(d->g, i), &found[i]);
        noted = d->count[DOCTOR_NOTE] + d->count[DOCTOR_WARNING] - before;
    }
    if (noted >= MOST_NOTED) doctor_find(d, DOCTOR_NOTE, "statistics", NULL, "", "there may be more rows of zeros and large scales than these");
    tell_siblings(d, found);
    if (before == d->count[DOCTOR_NOTE] + d->count[DOCTOR_WARNING])
        doctor_find(d, DOCTOR_OK, "statistics", NULL, "", "no row is zero throughout, no scale and no tensor stands out");
}

void doctor_tensors(doctor *d) {
    scan s = {.g = d->g, .n = gguf_n_tensors(d->g)};
    tl_error err;
    int threads = d->a->model.threads ? d->a->model.threads : pool_default_threads();
    if (!s.n) return;
    double start = seconds_now();
    bool ok = pool_new(threads, &s.threads, &err) == TL_OK && cut_pieces(&s);
    s.found = ok ? calloc((size_t)threads * s.n, sizeof *s.found) : NULL;
    d->bad = calloc(s.n, sizeof(gguf_tensor *));
    if (s.found && d->bad) {
        progress_start(&s.bar, "examining", (int64_t)s.pieces.n * PIECE, 0, isatty(STDERR_FILENO) != 1);
        pool_run(s.threads, scan_pieces, &s);
        progress_end(&s.bar);
        for (int i = 1; i < threads; i++)
            for (size_t k = 0; k < s.n; k++) tensor_stats_merge(&s.found[k], &s.found[(size_t)i * s.n + k]);
        tell_all(d, s.found);
        json_object_set_new(d->facts, "scan_seconds", json_real(seconds_now() - start));
        if (gguf_check(d->g, &err) != TL_OK) doctor_find(d, DOCTOR_ERROR, "structure", NULL, "check the disk, and fetch the file again", "%s", err.message);
    } else {
        doctor_find(d, DOCTOR_ERROR, "values", NULL, "", "out of memory: the tensors were not looked at");
    }
    pool_free(s.threads);
    vec_free(&s.pieces);
    free(s.found);
}
