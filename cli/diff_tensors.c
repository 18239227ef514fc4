// diff_tensors.c - `tl diff --tensors`: the weights and metadata of two files. Tensors are decoded to float32 by the reference
// decoders; sums are made in double, piece by piece in the order of the file, so that they do not depend on the threads.
#include "base/moments.h"
#include "base/pool.h"
#include "diff.h"
#include "gguf/tensor_stats.h"
#include "models.h"
#include "progress.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE_VALUES = 1 << 18 };

typedef struct piece {
    int pair;
    int64_t row0, row1;
    value_difference m; // positions are counted in the order of the values
} piece;

typedef struct pair { // a tensor that both files have
    const gguf_tensor *a, *b;
    bool shapes, identical, compared;
    value_difference m; // positions are counted in the order of the values
} pair;

typedef struct comparison {
    gguf *a, *b;
    pool *threads;
    VEC(pair) pairs;
    VEC(const gguf_tensor *) only_a, only_b;
    VEC(piece) pieces;
    json_t *meta_a, *meta_b, *meta_differ;
    progress bar;
    int64_t longest;
} comparison;

// ---- values ------------------------------------------------------------------------------------
static void compare_piece(const comparison *c, piece *p, float *x, float *y) {
    const pair *both = &c->pairs.p[p->pair];
    int64_t cols = both->a->ne[0];
    size_t row_a = both->a->bytes / (size_t)tensor_rows(both->a), row_b = both->b->bytes / (size_t)tensor_rows(both->b);
    for (int64_t r = p->row0; r < p->row1; r++) {
        quant_decode(both->a->type, both->a->data + (size_t)r * row_a, x, cols);
        quant_decode(both->b->type, both->b->data + (size_t)r * row_b, y, cols);
        difference_add(&p->m, x, y, (size_t)cols);
    }
}

static void compare_pieces(void *ctx, int thread, int n) {
    comparison *c = ctx;
    int64_t from, to;
    (void)n;
    float *x = mem_alloc((size_t)c->longest * sizeof *x), *y = mem_alloc((size_t)c->longest * sizeof *y);
    while (pool_take(c->threads, (int64_t)c->pieces.n, 1, &from, &to)) {
        if (x && y) compare_piece(c, &c->pieces.p[from], x, y);
        else c->pieces.p[from].row1 = -1; // without memory
        if (thread == 0) progress_update(&c->bar, from * PIECE_VALUES, "");
    }
    mem_free(x), mem_free(y);
}

// ---- what there is to compare ------------------------------------------------------------------
static bool same_shape(const gguf_tensor *a, const gguf_tensor *b) { return memcmp(a->ne, b->ne, sizeof a->ne) == 0; }

static bool add_pair(comparison *c, const gguf_tensor *a, const gguf_tensor *b) {
    pair p = {.a = a, .b = b, .shapes = same_shape(a, b)};
    p.identical = p.shapes && a->type == b->type && memcmp(a->data, b->data, a->bytes) == 0;
    p.compared = p.shapes && tensor_stats_known(a->type) && tensor_stats_known(b->type);
    if (!vec_push(&c->pairs, p)) return false;
    if (p.identical || !p.compared) return true;
    int64_t rows = tensor_rows(a), step = PIECE_VALUES / a->ne[0] + 1;
    if (a->ne[0] > c->longest) c->longest = a->ne[0];
    for (int64_t r = 0; r < rows; r += step)
        if (!vec_push(&c->pieces, ((piece){.pair = (int)c->pairs.n - 1, .row0 = r, .row1 = r + step < rows ? r + step : rows}))) return false;
    return true;
}

static bool match_tensors(comparison *c) {
    for (size_t i = 0; i < gguf_n_tensors(c->a); i++) {
        const gguf_tensor *a = gguf_tensor_at(c->a, i), *b = gguf_tensor_find(c->b, a->name);
        if (b ? !add_pair(c, a, b) : !vec_push(&c->only_a, a)) return false;
    }
    for (size_t i = 0; i < gguf_n_tensors(c->b); i++) {
        const gguf_tensor *b = gguf_tensor_at(c->b, i);
        if (!gguf_tensor_find(c->a, b->name) && !vec_push(&c->only_b, b)) return false;
    }
    return true;
}

// ---- metadata ----------------------------------------------------------------------------------
static bool same_value(const gguf_value *a, const gguf_value *b) {
    if (a->type != b->type || (a->type == GGUF_ARR && (a->elem != b->elem || a->count != b->count))) return false;
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, (size_t)a->bytes) == 0);
}

static json_t *element(const gguf *g, const gguf_kv *kv, uint64_t i) {
    const gguf_value *v = &kv->v;
    gguf_type type = v->type == GGUF_ARR ? v->elem : v->type;
    int64_t whole;
    double real;
    bool yes;
    if (type == GGUF_STR && v->type == GGUF_STR) return json_bytes(v->s.p, v->s.n);
    if (type == GGUF_STR) {
        const str *items = NULL;
        uint64_t n;
        char key[300];
        snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
        return gguf_strings(g, key, &items, &n, NULL) == TL_OK && i < n ? json_bytes(items[i].p, items[i].n) : json_null();
    }
    if (type == GGUF_BOOL && gguf_value_bool(v, i, &yes)) return json_boolean(yes);
    if (type != GGUF_F32 && type != GGUF_F64 && gguf_value_int(v, i, &whole)) return json_integer(whole);
    return gguf_value_float(v, i, &real) ? json_real_or_null(real) : json_null();
}

// Scalars as they are; of arrays the length and the first element that differs from the other file's.
static void tell_value(json_t *to, const char *side, const gguf *g, const gguf_kv *kv, uint64_t differs) {
    if (kv->v.type != GGUF_ARR) {
        json_object_set_new(to, side, element(g, kv, 0));
        return;
    }
    json_t *v = json_pack("{s:I}", "count", (json_int_t)kv->v.count);
    if (differs < kv->v.count) json_object_set_new(v, "element", element(g, kv, differs));
    json_object_set_new(to, side, v);
}

static uint64_t first_difference(const comparison *c, const gguf_kv *a, const gguf_kv *b) {
    uint64_t n = a->v.count < b->v.count ? a->v.count : b->v.count;
    if (a->v.type != GGUF_ARR || b->v.type != GGUF_ARR) return 0;
    for (uint64_t i = 0; i < n; i++) {
        json_t *x = element(c->a, a, i), *y = element(c->b, b, i);
        bool same = json_equal(x, y) || (json_is_null(x) && json_is_null(y));
        json_decref(x), json_decref(y);
        if (!same) return i;
    }
    return n;
}

static const gguf_kv *key_of(const gguf *g, str name) {
    for (size_t i = 0; i < gguf_n_kv(g); i++)
        if (str_eq(gguf_kv_at(g, i)->key, name)) return gguf_kv_at(g, i);
    return NULL;
}

static void match_metadata(comparison *c) {
    c->meta_a = json_array(), c->meta_b = json_array(), c->meta_differ = json_array();
    for (size_t i = 0; i < gguf_n_kv(c->a); i++) {
        const gguf_kv *a = gguf_kv_at(c->a, i), *b = gguf_find(c->b, a->key) ? key_of(c->b, a->key) : NULL;
        if (!b) json_array_append_new(c->meta_a, json_bytes(a->key.p, a->key.n));
        if (!b || same_value(&a->v, &b->v)) continue;
        uint64_t at = first_difference(c, a, b);
        json_t *d = json_pack("{s:o}", "key", json_bytes(a->key.p, a->key.n));
        if (a->v.type == GGUF_ARR) json_object_set_new(d, "at", json_integer((json_int_t)at));
        tell_value(d, "a", c->a, a, at);
        tell_value(d, "b", c->b, b, at);
        json_array_append_new(c->meta_differ, d);
    }
    for (size_t i = 0; i < gguf_n_kv(c->b); i++) {
        const gguf_kv *b = gguf_kv_at(c->b, i);
        if (!gguf_find(c->a, b->key)) json_array_append_new(c->meta_b, json_bytes(b->key.p, b->key.n));
    }
}

// ---- result ------------------------------------------------------------------------------------
static void shape_text(const gguf_tensor *t, char *buf, size_t cap) {
    size_t n = 0;
    for (int i = 0; i < t->rank && n < cap; i++) n += (size_t)snprintf(buf + n, cap - n, i ? ", %lld" : "[%lld", (long long)t->ne[i]);
    snprintf(buf + n, cap > n ? cap - n : 0, "]");
}

static json_t *shape_json(const gguf_tensor *t) {
    json_t *list = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(list, json_integer(t->ne[i]));
    return list;
}

static json_t *names_json(const gguf_tensor *const *list, size_t n) {
    json_t *names = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(names, json_bytes(list[i]->name.p, list[i]->name.n));
    return names;
}

static json_t *pair_json(const pair *p) {
    const value_difference *m = &p->m;
    json_t *t = json_pack("{s:o, s:s, s:s, s:o, s:o, s:b}", "name", json_bytes(p->a->name.p, p->a->name.n), "type_a", dtype_table[p->a->type].name, "type_b",
                          dtype_table[p->b->type].name, "shape_a", shape_json(p->a), "shape_b", shape_json(p->b), "identical", p->identical);
    if (!p->compared) return t;
    json_t *values = json_pack("{s:o, s:o, s:o, s:I, s:I}", "nmse", p->identical ? json_real(0) : json_real_or_null(difference_nmse(m)), "cosine", p->identical ? json_real(1) : json_real_or_null(difference_cosine(m)),
                               "largest_error", json_real_or_null(m->worst), "nonfinite_a", (json_int_t)m->bad_a, "nonfinite_b", (json_int_t)m->bad_b);
    if (m->worst > 0)
        json_object_update_new(values, json_pack("{s:I, s:I, s:f, s:f}", "row", (json_int_t)(m->at / p->a->ne[0]), "column", (json_int_t)(m->at % p->a->ne[0]), "a", (double)m->a,
                                                 "b", (double)m->b));
    json_object_update_new(t, values);
    return t;
}

static bool all_the_same(const comparison *c) {
    for (size_t i = 0; i < c->pairs.n; i++)
        if (!c->pairs.p[i].identical) return false;
    return !c->only_a.n && !c->only_b.n && !json_array_size(c->meta_a) && !json_array_size(c->meta_b) && !json_array_size(c->meta_differ);
}

static int print_as_json(const comparison *c, bool all) {
    json_t *tensors = json_array();
    for (size_t i = 0; i < c->pairs.n; i++)
        if (all || !c->pairs.p[i].identical) json_array_append_new(tensors, pair_json(&c->pairs.p[i]));
    return print_json(json_pack("{s:o, s:o, s:b, s:I, s:o, s:o, s:o, s:{s:O, s:O, s:O}}", "a", json_bytes(gguf_path(c->a), strlen(gguf_path(c->a))), "b",
                                json_bytes(gguf_path(c->b), strlen(gguf_path(c->b))), "identical", all_the_same(c), "compared", (json_int_t)c->pairs.n, "tensors", tensors,
                                "only_a", names_json(c->only_a.p, c->only_a.n), "only_b", names_json(c->only_b.p, c->only_b.n), "metadata", "differ", c->meta_differ,
                                "only_a", c->meta_a, "only_b", c->meta_b));
}

static void print_pair(const pair *p, int width) {
    char name[300], types[40], shape[100], other[100];
    const value_difference *m = &p->m;
    bool same_type = p->a->type == p->b->type;
    snprintf(types, sizeof types, same_type ? "%s" : "%s, %s", dtype_table[p->a->type].name, dtype_table[p->b->type].name);
    printf("%-*s  %-12s", width, str_escape(name, sizeof name, p->a->name), types);
    shape_text(p->a, shape, sizeof shape), shape_text(p->b, other, sizeof other);
    if (!p->shapes) printf("  shapes %s and %s\n", shape, other);
    else if (p->identical) printf("  the same\n");
    else if (!p->compared) printf("  other values\n");
    else {
        printf(" %10.3e  %.7f  %10.3e", difference_nmse(m), difference_cosine(m), m->worst);
        if (m->worst > 0) printf("  row %lld, column %lld: %g, %g", (long long)(m->at / p->a->ne[0]), (long long)(m->at % p->a->ne[0]), (double)m->a, (double)m->b);
        if (m->bad_a || m->bad_b) printf("  (not finite: %lld, %lld)", (long long)m->bad_a, (long long)m->bad_b);
        putchar('\n');
    }
}

static void print_only(const char *side, const gguf_tensor *const *list, size_t n) {
    char name[300];
    for (size_t i = 0; i < n; i++) printf("only in %s: %s (%s)\n", side, str_escape(name, sizeof name, list[i]->name), dtype_table[list[i]->type].name);
}

static void print_metadata(const comparison *c) {
    size_t i;
    json_t *d;
    json_array_foreach(c->meta_differ, i, d) {
        char *a = json_dumps(json_object_get(d, "a"), JSON_ENCODE_ANY), *b = json_dumps(json_object_get(d, "b"), JSON_ENCODE_ANY);
        json_t *at = json_object_get(d, "at");
        printf("metadata %s", json_string_value(json_object_get(d, "key")));
        if (at) printf(" (first at %lld)", (long long)json_integer_value(at));
        printf(": %.300s, %.300s\n", a ? a : "", b ? b : "");
        free(a), free(b);
    }
    json_array_foreach(c->meta_a, i, d) printf("metadata only in A: %s\n", json_string_value(d));
    json_array_foreach(c->meta_b, i, d) printf("metadata only in B: %s\n", json_string_value(d));
}

static int print_text(const comparison *c, bool all) {
    int width = 6;
    size_t same = 0;
    char a[2 * PATH_MAX], b[2 * PATH_MAX];
    for (size_t i = 0; i < c->pairs.n; i++) {
        const pair *p = &c->pairs.p[i];
        same += p->identical;
        if ((all || !p->identical) && (int)p->a->name.n > width) width = (int)p->a->name.n;
    }
    printf("A %s\nB %s\n", str_escape(a, sizeof a, str_of(gguf_path(c->a))), str_escape(b, sizeof b, str_of(gguf_path(c->b))));
    if (all || same < c->pairs.n) printf("%-*s  %-12s %10s  %-9s  %10s\n", width, "tensor", "type", "NMSE", "cosine", "largest");
    for (size_t i = 0; i < c->pairs.n; i++)
        if (all || !c->pairs.p[i].identical) print_pair(&c->pairs.p[i], width);
    print_only("A", c->only_a.p, c->only_a.n);
    print_only("B", c->only_b.p, c->only_b.n);
    print_metadata(c);
    printf("%zu tensors in both, %zu of them the same; metadata %s\n", c->pairs.n, same,
           json_array_size(c->meta_a) || json_array_size(c->meta_b) || json_array_size(c->meta_differ) ? "differs" : "is the same");
    return 0;
}

// ---- the comparison ----------------------------------------------------------------------------
static int open_file(const char *name, gguf **out) {
    char path[PATH_MAX], why[2000];
    tl_error err;
    if (model_path_by_name(name, path, sizeof path, why, sizeof why) != 0) return fail("diff", "%s", why);
    return gguf_open(path, out, &err) == TL_OK ? 0 : fail_with("diff", &err);
}

static int compare(comparison *c, int threads) {
    tl_error err;
    if (pool_new(threads ? threads : pool_default_threads(), &c->threads, &err) != TL_OK) return fail_with("diff", &err);
    if (!match_tensors(c)) return fail("diff", "out of memory");
    match_metadata(c);
    progress_start(&c->bar, "comparing", (int64_t)c->pieces.n * PIECE_VALUES, 0, isatty(STDERR_FILENO) != 1);
    pool_run(c->threads, compare_pieces, c);
    progress_end(&c->bar);
    for (size_t i = 0; i < c->pieces.n; i++) {
        if (c->pieces.p[i].row1 < 0) return fail("diff", "out of memory");
        difference_join(&c->pairs.p[c->pieces.p[i].pair].m, &c->pieces.p[i].m);
    }
    if (gguf_check(c->a, &err) != TL_OK || gguf_check(c->b, &err) != TL_OK) return fail_with("diff", &err); // cut while it was read
    return 0;
}

int diff_tensors(const char *a, const char *b, int threads, bool all, bool json) {
    comparison c = {0};
    int status = open_file(a, &c.a);
    if (status == 0) status = open_file(b, &c.b);
    if (status == 0) status = compare(&c, threads);
    if (status == 0) status = json ? print_as_json(&c, all) : print_text(&c, all);
    json_decref(c.meta_a), json_decref(c.meta_b), json_decref(c.meta_differ);
    vec_free(&c.pairs), vec_free(&c.only_a), vec_free(&c.only_b), vec_free(&c.pieces);
    pool_free(c.threads);
    gguf_close(c.a), gguf_close(c.b);
    return status;
}
