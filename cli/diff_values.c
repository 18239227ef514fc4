// diff_values.c - `tl diff A B -p TEXT`: two models, programs or instruction sets side by side on the same tokens, value by
// value of their programs, aligned by key; or one against a folder of .npy files as `tl trace --npy` writes them.
#include "base/moments.h"
#include "diff.h"
#include "interrupt.h"
#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { DIFF_ROWS = 16 };

typedef struct difference { // of one key, over all steps
    value_difference v;
    bool other, shapes;         // B has the key; its shape fits
} difference;

typedef struct side {
    opened o;
    const float *logits; // of the last step
    const char *folder;  // of .npy files, or NULL
    float *values, *file;
    size_t room;
    int64_t file_size[8];
    int file_rank;
} side;

typedef struct comparison {
    const diff_values_args *args;
    side a, b;
    difference *d;
    size_t n;
    int32_t *ids;
    size_t tokens, kept;
    double kl;
    int64_t changed, rows;
    json_t *tops;
} comparison;

// ---- one value ---------------------------------------------------------------------------------
static bool room_for(side *s, size_t n) {
    if (n <= s->room) return true;
    free(s->values);
    s->values = malloc(n * sizeof *s->values);
    s->room = s->values ? n : 0;
    return s->values != NULL;
}

static double nmse(const difference *d) { return d->v.apart ? INFINITY : difference_nmse(&d->v); }

static bool same_shape(const tl_watch *x, const tl_watch *y) {
    bool same = x->rank == y->rank;
    for (int i = 0; same && i < x->rank; i++) same = x->size[i] == y->size[i];
    return same;
}

// B's value for A's: NULL if it has none of this shape. *error: the exit status of a failure.
static const float *other_value(comparison *c, const tl_watch *w, size_t from, size_t n, difference *d, int *error) {
    tl_watch v;
    tl_error err;
    if (c->b.folder) {
        char path[4096];
        const char *why;
        free(c->b.file);
        c->b.file = NULL;
        snprintf(path, sizeof path, "%s/%s.npy", c->b.folder, w->key);
        struct stat st;
        if (stat(path, &st) != 0) return NULL;
        d->other = true;
        if (!npy_read(path, &c->b.file, c->b.file_size, &c->b.file_rank, &why)) return *error = fail("diff", "%s: %s", path, why), NULL;
        bool rows = w->rows || w->outs, fits = c->b.file_rank == w->rank;
        for (int i = 0; fits && i < w->rank; i++) fits = c->b.file_size[i] == (i == 0 && rows ? (int64_t)c->tokens : w->size[i]);
        d->shapes = fits;
        return fits ? c->b.file + (rows ? from * (n / (size_t)w->size[0]) : 0) : NULL;
    }
    for (size_t i = 0; tl_session_watch_at(c->b.o.session, i, &v); i++) {
        if (strcmp(v.key, w->key) != 0) continue;
        d->other = true;
        if (!(d->shapes = same_shape(w, &v))) return NULL;
        if (!room_for(&c->b, n)) return *error = fail("diff", "out of memory"), NULL;
        if (tl_session_watch_read(c->b.o.session, i, c->b.values, &err) != TL_OK) return *error = fail_with("diff", &err), NULL;
        return c->b.values;
    }
    return NULL;
}

// ---- the end -----------------------------------------------------------------------------------
static int64_t top(const float *x, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

static double log_sum(const float *x, int64_t n) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = (double)x[i] > max ? (double)x[i] : max;
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

static void compare_logits(comparison *c, size_t from, size_t rows, const float *a, const float *b, int64_t vocab) {
    for (size_t r = 0; r < rows; r++, a += vocab, b += vocab) {
        double la = log_sum(a, vocab), lb = log_sum(b, vocab), kl = 0;
        for (int64_t i = 0; i < vocab; i++) {
            double p = (double)a[i] - la;
            if (isfinite(p)) kl += exp(p) * (p - ((double)b[i] - lb));
        }
        int64_t ta = top(a, vocab), tb = top(b, vocab);
        c->kl += kl;
        c->rows++;
        if (ta == tb) continue;
        c->changed++;
        json_array_append_new(c->tops, json_pack("{s:I, s:I, s:I}", "position", (json_int_t)(from + r), "a", (json_int_t)ta, "b", (json_int_t)tb));
    }
}

// ---- steps -------------------------------------------------------------------------------------
static int on_b(void *ctx, size_t from, size_t rows, const float *logits) {
    (void)from, (void)rows;
    ((comparison *)ctx)->b.logits = logits;
    return 0;
}

static int step_b(comparison *c, size_t from, size_t rows) { // the same rows as A's
    tl_row list[DIFF_ROWS];
    tl_error err;
    const float *logits;
    for (size_t i = 0; i < rows; i++) list[i] = (tl_row){.token = c->ids[from + i], .logits = true};
    if (tl_session_step(c->b.o.session, list, rows, &logits, &err) != TL_OK) return fail_with("diff", &err);
    return on_b(c, from, rows, logits);
}

static int on_step(void *ctx, size_t from, size_t rows, const float *logits) {
    comparison *c = ctx;
    int status = c->b.folder ? 0 : step_b(c, from, rows);
    for (size_t i = 0; i < c->n && status == 0 && !interrupt_came; i++) {
        tl_watch w;
        tl_error err;
        tl_session_watch_at(c->a.o.session, i, &w);
        size_t n = inside_elements(&w);
        const float *b = other_value(c, &w, from, n, &c->d[i], &status);
        if (!b || status) continue;
        if (!room_for(&c->a, n)) return fail("diff", "out of memory");
        if (tl_session_watch_read(c->a.o.session, i, c->a.values, &err) != TL_OK) return fail_with("diff", &err);
        difference_add(&c->d[i].v, c->a.values, b, n);
    }
    int64_t vocab = tl_model_n_vocab(c->a.o.model);
    if (status == 0 && !c->b.folder && vocab == tl_model_n_vocab(c->b.o.model)) compare_logits(c, from, rows, logits, c->b.logits, vocab);
    return status;
}

// ---- output ------------------------------------------------------------------------------------
static void put_worst(const tl_watch *w, const difference *d, size_t tokens, char *out, size_t cap) {
    int64_t at[8], flat = d->v.at;
    for (int i = w->rank - 1; i >= 0; i--) {
        int64_t size = i == 0 && (w->rows || w->outs) ? (int64_t)tokens : w->size[i];
        at[i] = size ? flat % size : 0;
        flat = size ? flat / size : 0;
    }
    int n = 0;
    *out = 0;
    for (int i = 0; i < w->rank && n < (int)cap; i++)
        n += snprintf(out + n, cap - (size_t)n, "%s%s%s%" PRId64, i ? ", " : "", w->axis[i], w->axis[i][0] ? "=" : "", at[i]);
}

static bool diverges(const comparison *c, size_t i) { return c->d[i].other && (!c->d[i].shapes || nmse(&c->d[i]) > c->args->limit); }

static bool differs(const difference *d) { return !d->shapes || d->v.dd > 0 || d->v.apart; }

static int print_text(const comparison *c) {
    size_t missing = 0, first = c->n, differ = 0;
    char where[600], worst[200];
    tl_watch w;
    for (size_t i = 0; i < c->n; i++) c->d[i].other ? differ += differs(&c->d[i]) : missing++;
    if (differ || c->args->all) printf("%-14s %10s %12s %11s  %-28s %s\n", "name", "NMSE", "cosine", "largest", "at", "where");
    for (size_t i = 0; i < c->n; i++) {
        const difference *d = &c->d[i];
        tl_session_watch_at(c->a.o.session, i, &w);
        if (!d->other) continue;
        if (first == c->n && diverges(c, i)) first = i;
        inside_place(&w, where, sizeof where);
        put_worst(&w, d, c->tokens, worst, sizeof worst);
        if (!d->shapes) printf("%-14s the shapes differ%*s %s\n", w.key, 44, "", where);
        else if (differs(d) || c->args->all)
            printf("%-14s %10.3g %12.9f %11.4g  %-28s %s%s\n", w.key, nmse(d), difference_cosine(&d->v), d->v.worst, worst, where, d->v.apart ? "  (values that are not finite differ)" : "");
    }
    if (first < c->n) {
        tl_session_watch_at(c->a.o.session, first, &w);
        inside_place(&w, where, sizeof where);
        put_worst(&w, &c->d[first], c->tokens, worst, sizeof worst);
        printf("\nthe first that diverges (NMSE over %g): %s, %s", c->args->limit, w.key, where);
        if (c->d[first].shapes) printf(": NMSE %.3g, cosine %.9f, largest error %.4g at [%s]", nmse(&c->d[first]), difference_cosine(&c->d[first].v), c->d[first].v.worst, worst);
        printf("\n");
    } else if (differ) {
        printf("\nno value diverges (NMSE over %g)\n", c->args->limit);
    } else {
        printf("%sall %zu values are the same\n", c->args->all ? "\n" : "", c->n - missing);
    }
    if (missing) printf("%zu values of A have none of the same name in B\n", missing);
    if (c->rows) printf("logits: KL divergence %.3g a token, the most probable token differs at %" PRId64 " of %" PRId64 " positions\n", c->kl / (double)c->rows, c->changed, c->rows);
    return 0;
}

static int print_values_json(comparison *c) {
    json_t *list = json_array(), *first = json_null();
    char worst[200];
    for (size_t i = 0; i < c->n; i++) {
        const difference *d = &c->d[i];
        tl_watch w;
        tl_session_watch_at(c->a.o.session, i, &w);
        json_t *one = inside_json(&w, c->tokens);
        json_object_set_new(one, "in_b", json_boolean(d->other));
        if (d->other) json_object_set_new(one, "same_shape", json_boolean(d->shapes));
        if (d->other && d->shapes) {
            put_worst(&w, d, c->tokens, worst, sizeof worst);
            json_object_set_new(one, "nmse", json_real_or_null(nmse(d)));
            json_object_set_new(one, "cosine", json_real_or_null(difference_cosine(&d->v)));
            json_object_set_new(one, "largest", json_real_or_null(d->v.worst));
            json_object_set_new(one, "at", json_string(worst));
        }
        if (json_is_null(first) && diverges(c, i)) first = json_string(w.key);
        json_array_append_new(list, one);
    }
    json_t *all = json_pack("{s:f, s:o, s:o}", "limit", c->args->limit, "first", first, "values", list);
    if (c->rows) json_object_set_new(all, "kl", json_real_or_null(c->kl / (double)c->rows));
    if (c->rows) json_object_set(all, "changed", c->tops);
    return print_json(all);
}

// ---- the command -------------------------------------------------------------------------------
static bool is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int open_side(const diff_values_args *args, bool b, side *s, int64_t tokens) {
    model_args m = args->inside.model;
    m.model = b ? args->model_b : args->model_a;
    m.program = b ? args->program_b : args->program_a;
    m.isa = b ? args->isa_b : args->isa_a;
    m.n_batch = 0; // both read the same rows in a step, DIFF_ROWS at most
    if (s->o.model) return open_session("diff", &m, tokens, tokens < DIFF_ROWS ? tokens : DIFF_ROWS, &s->o);
    return open_model("diff", &m, TL_MODEL_WHOLE, &s->o);
}

int diff_values(const diff_values_args *args) {
    comparison c = {.args = args, .tops = json_array()};
    if (is_folder(args->model_b)) c.b.folder = args->model_b;
    int status = open_side(args, false, &c.a, 0);
    if (status == 0) status = inside_tokens("diff", &args->inside, &c.a.o, &c.ids, &c.tokens);
    if (status == 0) status = open_side(args, false, &c.a, (int64_t)c.tokens);
    if (status == 0 && !c.b.folder) status = open_side(args, true, &c.b, 0);
    if (status == 0 && !c.b.folder) status = open_side(args, true, &c.b, (int64_t)c.tokens);
    for (size_t i = 0; status == 0 && !c.b.folder && i < c.tokens; i++)
        if (c.ids[i] >= tl_model_n_vocab(c.b.o.model)) status = fail("diff", "token %d is not in the vocabulary of %s", c.ids[i], args->model_b);
    if (status == 0) {
        c.n = tl_session_watch_count(c.a.o.session);
        c.d = calloc(c.n + 1, sizeof *c.d);
        status = c.d ? inside_run("diff", c.a.o.session, c.ids, c.tokens, on_step, &c) : fail("diff", "out of memory");
    }
    size_t found = 0;
    for (size_t i = 0; i < c.n; i++) found += c.d[i].other;
    if (status == 0 && !found)
        status = c.b.folder ? fail("diff", "%s: none of the %zu values that are compared is there as a .npy file; `tl trace --npy` writes them", c.b.folder, c.n)
                            : fail("diff", "none of the %zu values that are compared has a name that B has, too", c.n);
    if (status == 0) status = args->inside.json ? print_values_json(&c) : print_text(&c);
    opened_free(&c.a.o), opened_free(&c.b.o);
    free(c.ids), free(c.d), free(c.a.values), free(c.b.values), free(c.b.file);
    json_decref(c.tops);
    return status;
}
