// batch_file.c - the lines of a batch and their results on disk (batch.h).
#include "batch.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

// ---- what a line may say -------------------------------------------------------------------------
typedef enum { FIELD_FLOAT, FIELD_I32, FIELD_I64, FIELD_BOOL } field_kind;
typedef struct field {
    const char *name;
    field_kind kind;
    void *to;
    double low, high;
} field;
enum { FIELDS = 13 };

static void list_fields(batch_line *l, field *f) {
    tl_sampling *s = &l->sampling.s;
    const field rows[FIELDS] = {
        {"max_tokens", FIELD_I64, &l->most, -1, 1e9}, {"seed", FIELD_I64, &l->sampling.seed, 0, 9e15}, {"ignore_eos", FIELD_BOOL, &l->ignore_end, 0, 0},
        {"temperature", FIELD_FLOAT, &s->temperature, 0, 100}, {"top_k", FIELD_I32, &s->top_k, 0, 2e9}, {"top_p", FIELD_FLOAT, &s->top_p, 0, 1},
        {"min_p", FIELD_FLOAT, &s->min_p, 0, 1}, {"repeat_penalty", FIELD_FLOAT, &s->repeat_penalty, 1e-3, 1e3},
        {"presence_penalty", FIELD_FLOAT, &s->presence_penalty, -1e3, 1e3}, {"frequency_penalty", FIELD_FLOAT, &s->frequency_penalty, -1e3, 1e3},
        {"repeat_last_n", FIELD_I32, &s->penalty_last_n, -1, 2e9}, {"n_predict", FIELD_I64, &l->most, -1, 1e9}, {"temp", FIELD_FLOAT, &s->temperature, 0, 100}};
    memcpy(f, rows, sizeof rows);
}

typedef struct place { // for messages
    const char *file;
    size_t line;
} place;

static int bad(const place *at, const char *key, const char *what) {
    return fail("generate", "%s:%zu: \"%s\": %s", at->file, at->line, key, what);
}

static int set_field(const place *at, const field *f, const json_t *v) {
    char range[120];
    if (f->kind == FIELD_BOOL) {
        if (!json_is_boolean(v)) return bad(at, f->name, "true or false is wanted");
        return *(bool *)f->to = json_is_true(v), 0;
    }
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    bool whole = f->kind == FIELD_FLOAT || json_is_integer(v);
    snprintf(range, sizeof range, "a %s from %g to %g is wanted", f->kind == FIELD_FLOAT ? "number" : "whole number", f->low, f->high);
    if (!whole || !(x >= f->low && x <= f->high)) return bad(at, f->name, range);
    if (f->kind == FIELD_FLOAT) *(float *)f->to = (float)x;
    else if (f->kind == FIELD_I32) *(int32_t *)f->to = (int32_t)json_integer_value(v);
    else *(int64_t *)f->to = json_integer_value(v);
    return 0;
}

static int set_stop(const place *at, batch_line *l, const json_t *v) {
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    l->stops.n = 0;
    if (n > sizeof l->stops.p / sizeof *l->stops.p) return bad(at, "stop", "there are too many");
    for (size_t i = 0; i < n; i++) {
        const char *text = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!text || !*text) return bad(at, "stop", "a text or a list of texts is wanted, none of them empty");
        l->stops.p[l->stops.n++] = text;
    }
    return 0;
}

static const struct {
    const char *name;
    tl_constraint_kind kind;
} constraints[] = {{"grammar", TL_CONSTRAINT_GRAMMAR}, {"json_schema", TL_CONSTRAINT_JSON_SCHEMA}, {"regex", TL_CONSTRAINT_REGEX}, {"choices", TL_CONSTRAINT_CHOICES}};
enum { CONSTRAINTS = sizeof constraints / sizeof *constraints };

static char *join_choices(const json_t *list) { // NULL: not a list of texts without line ends
    size_t n = 1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        if (!text || strchr(text, '\n')) return NULL;
        n += strlen(text) + 1;
    }
    char *out = malloc(n), *to = out;
    for (size_t i = 0; out && i < json_array_size(list); i++) {
        to = stpcpy(to, json_string_value(json_array_get(list, i)));
        *to++ = '\n', *to = '\0';
    }
    return json_array_size(list) ? out : (free(out), NULL);
}

static int set_constraint(const place *at, batch_line *l, size_t which, const json_t *v) {
    if (l->own) return bad(at, constraints[which].name, "there is another constraint beside it");
    bool schema = constraints[which].kind == TL_CONSTRAINT_JSON_SCHEMA, choices = constraints[which].kind == TL_CONSTRAINT_CHOICES;
    if (schema && (json_is_object(v) || json_is_boolean(v))) l->own = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    else if (choices && json_is_array(v)) l->own = join_choices(v);
    else if (json_is_string(v)) l->own = strdup(json_string_value(v));
    if (!l->own) return bad(at, constraints[which].name, schema ? "a schema, or its text, is wanted" : choices ? "a list of texts of one line each is wanted" : "a text is wanted");
    l->constraint_kind = constraints[which].kind;
    l->constraint = l->own, l->n_constraint = strlen(l->own);
    return 0;
}

static int set_messages(const place *at, batch_line *l, const json_t *v) {
    size_t n = json_array_size(v);
    if (n == 0) return bad(at, "messages", "a list of {\"role\": .., \"content\": ..} is wanted");
    l->messages = calloc(n, sizeof *l->messages);
    if (!l->messages) return fail("generate", "out of memory");
    for (size_t i = 0; i < n; i++) {
        const json_t *m = json_array_get(v, i);
        l->messages[i] = (tl_message){json_string_value(json_object_get(m, "role")), json_string_value(json_object_get(m, "content"))};
        if (!l->messages[i].role || !l->messages[i].content) return bad(at, "messages", "each wants a role and a content, both texts");
    }
    l->n_messages = n;
    return 0;
}

static int set_key(const place *at, batch_line *l, const char *key, const json_t *v) {
    field fields[FIELDS];
    const char *names[FIELDS + CONSTRAINTS + 5] = {"prompt", "messages", "stop", "id"};
    list_fields(l, fields);
    for (int i = 0; i < FIELDS; i++) {
        if (strcmp(fields[i].name, key) == 0) return set_field(at, &fields[i], v);
        names[i + 4] = fields[i].name;
    }
    for (int i = 0; i < CONSTRAINTS; i++) {
        if (strcmp(constraints[i].name, key) == 0) return set_constraint(at, l, (size_t)i, v);
        names[FIELDS + 4 + i] = constraints[i].name;
    }
    if (strcmp(key, "id") == 0) return 0; // echoed
    if (strcmp(key, "stop") == 0) return set_stop(at, l, v);
    if (strcmp(key, "messages") == 0) return set_messages(at, l, v);
    if (strcmp(key, "prompt") != 0) {
        const char *near = args_nearest(key, names);
        if (near) return fail("generate", "%s:%zu: \"%s\" is unknown; did you mean \"%s\"?", at->file, at->line, key, near);
        return bad(at, key, "is unknown; docs/generation.md lists what a line may say");
    }
    if (!json_is_string(v)) return bad(at, key, "a text is wanted");
    l->text = strdup(json_string_value(v));
    return l->text ? 0 : fail("generate", "out of memory");
}

static int read_line(const place *at, const char *text, size_t n, batch_line *l) {
    json_error_t why;
    const char *key;
    json_t *v;
    l->said = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!l->said) return fail("generate", "%s:%zu: no JSON: %s", at->file, at->line, why.text);
    if (!json_is_object(l->said)) return fail("generate", "%s:%zu: a line is {\"prompt\": \"..\"} or {\"messages\": [..]}", at->file, at->line);
    json_object_foreach(l->said, key, v) {
        int status = set_key(at, l, key, v);
        if (status != 0) return status;
    }
    if (!l->text == !l->messages) return fail("generate", "%s:%zu: either \"prompt\" or \"messages\" is wanted", at->file, at->line);
    return 0;
}

static uint64_t hash_bytes(uint64_t h, const void *p, size_t n) { // FNV-1a
    for (size_t i = 0; i < n; i++) h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return h;
}

// Equal keys: the same line in the same place, continued by the same model in the same way.
static uint64_t key_of(const batch_args *a, uint64_t model_key, const batch_line *l, size_t index, const char *text, size_t n) {
    const sampling_args *all = &l->sampling;
    const tl_sampling *s = &all->s;
    const double numbers[] = {(double)l->most, (double)a->sampling->seed, a->chat, a->parse_special, a->no_special, l->ignore_end, (double)s->temperature, s->top_k,
                              (double)s->top_p, (double)s->min_p, (double)s->repeat_penalty, (double)s->presence_penalty, (double)s->frequency_penalty, s->penalty_last_n,
                              (double)s->typical_p, (double)s->top_n_sigma, (double)s->xtc_probability, (double)s->xtc_threshold, (double)s->dynatemp_range,
                              (double)s->dynatemp_exponent, (double)s->dry_multiplier, (double)s->dry_base, s->dry_allowed_length, s->dry_penalty_last_n,
                              s->mirostat, (double)s->mirostat_tau, (double)s->mirostat_eta};
    const char *texts[] = {s->samplers, all->letters, a->model->cache_type};
    const arg_list *lists[] = {&all->biases, &all->breakers, &l->stops};
    uint64_t h = hash_bytes(hash_bytes(model_key, &index, sizeof index), numbers, sizeof numbers);
    for (size_t i = 0; i < 3; i++) h = hash_bytes(h, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 1);
    if (l->constraint) h = hash_bytes(hash_bytes(h, &l->constraint_kind, sizeof l->constraint_kind), l->constraint, l->n_constraint);
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < lists[i]->n; k++) h = hash_bytes(h, lists[i]->p[k], strlen(lists[i]->p[k]) + 1);
    return hash_bytes(h, text, n);
}

int batch_read(const batch_args *a, uint64_t model_key, batch_lines *out) {
    char *text;
    size_t n, cap = 0;
    place at = {a->prompts, 0};
    batch_line first = {.most = a->most, .ignore_end = a->ignore_end, .sampling = *a->sampling, .stops = *a->stops}; // what a line does not say
    *out = (batch_lines){0};
    int status = read_constraint("generate", a->constraint, &first.constraint_kind, &out->constraint, &first.n_constraint);
    if (status != 0) return status;
    first.constraint = out->constraint;
    status = read_file("generate", a->prompts, &text, &n);
    for (size_t from = 0; status == 0 && from < n;) {
        const char *end = memchr(text + from, '\n', n - from);
        size_t length = end ? (size_t)(end - text) - from : n - from;
        const char *line = text + from;
        at.line++;
        from += length + 1;
        if (strspn(line, " \t\r") >= length) continue;
        if (out->n == cap) {
            cap = cap ? 2 * cap : 64;
            batch_line *grown = realloc(out->p, cap * sizeof *grown);
            if (!grown) status = fail("generate", "out of memory");
            else out->p = grown;
            if (!grown) break;
        }
        batch_line *l = &out->p[out->n++];
        *l = first;
        l->number = at.line;
        status = read_line(&at, line, length, l);
        if (status == 0) l->key = key_of(a, model_key, l, out->n - 1, line, length);
        // One seed for all would give equal prompts equal replies.
        if (l->sampling.seed >= 0 && !json_object_get(l->said, "seed")) l->sampling.seed += (int64_t)out->n - 1;
    }
    if (status == 0 && out->n == 0) status = fail("generate", "%s: there are no prompts in it", a->prompts);
    free(text);
    return status;
}

static bool same_constraint(const batch_line *a, const batch_line *b) {
    return a->constraint_kind == b->constraint_kind && a->n_constraint == b->n_constraint && memcmp(a->constraint, b->constraint, a->n_constraint) == 0;
}

int batch_open_constraints(const batch_args *a, tl_model *m, batch_lines *l) {
    tl_error err;
    l->fits = calloc(l->n, sizeof *l->fits);
    if (!l->fits) return fail("generate", "out of memory");
    size_t *seen = calloc(l->n, sizeof *seen); // the first line with each
    int status = seen ? 0 : fail("generate", "out of memory");
    for (size_t i = 0; i < l->n && status == 0; i++) {
        batch_line *one = &l->p[i];
        size_t k = 0;
        if (one->result || !one->constraint) continue;
        while (k < l->n_fits && !same_constraint(one, &l->p[seen[k]])) k++;
        if (k == l->n_fits && tl_constraint_new(m, one->constraint_kind, one->constraint, one->n_constraint, &l->fits[k], &err) != TL_OK)
            status = one->own ? fail("generate", "%s:%zu: %s", a->prompts, one->number, err.message) : fail("generate", "%s", err.message);
        else if (k == l->n_fits) seen[l->n_fits++] = i;
        one->fits = l->fits[k];
    }
    free(seen);
    return status;
}

void batch_lines_free(batch_lines *l) {
    for (size_t i = 0; i < l->n_fits; i++) tl_constraint_free(l->fits[i]);
    free(l->fits), free(l->constraint);
    for (size_t i = 0; i < l->n; i++) {
        json_decref(l->p[i].said);
        free(l->p[i].text), free(l->p[i].messages), free(l->p[i].result), free(l->p[i].own);
    }
    free(l->p);
    *l = (batch_lines){0};
}

// ---- results -------------------------------------------------------------------------------------
// Takes over the results in a file; *good: bytes up to the end of the last whole line. Those of other lines or settings are
// counted in *others.
static int take_over(const char *path, batch_lines *lines, size_t *good, size_t *others) {
    char *text;
    size_t n;
    *good = *others = 0;
    if (access(path, F_OK) != 0) return 0;
    int status = read_file("generate", path, &text, &n);
    if (status != 0) return status;
    for (size_t from = 0; from < n;) {
        const char *end = memchr(text + from, '\n', n - from);
        if (!end) break; // torn when the process was killed
        size_t length = (size_t)(end - text) - from, i;
        json_t *v = json_loadb(text + from, length, 0, NULL);
        const char *key = json_string_value(json_object_get(v, "key"));
        unsigned long long k = key ? strtoull(key, NULL, 16) : 0;
        for (i = 0; key && i < lines->n && (lines->p[i].key != k || (size_t)json_integer_value(json_object_get(v, "index")) != i);) i++;
        if (!key || i == lines->n) (*others)++;
        else if (!lines->p[i].result && (lines->p[i].result = strndup(text + from, length))) lines->done++;
        json_decref(v);
        from += length + 1;
        *good = from;
    }
    free(text);
    return 0;
}

int batch_store_open(batch_store *s, const batch_args *a, batch_lines *lines) {
    size_t good, others, in_part;
    *s = (batch_store){.out = a->out, .file = -1};
    if (!a->out) return 0;
    s->part = malloc(strlen(a->out) + 6);
    if (!s->part) return fail("generate", "out of memory");
    sprintf(s->part, "%s.part", a->out);
    s->file = open(s->part, O_RDWR | O_CREAT | O_APPEND, 0666);
    if (s->file < 0) return fail("generate", "%s: %s", s->part, strerror(errno));
    if (flock(s->file, LOCK_EX | LOCK_NB) != 0) return fail("generate", "%s: another tl generate is writing it", s->part);
    int status = a->overwrite ? 0 : take_over(s->out, lines, &good, &others);
    if (status == 0 && !a->overwrite && others > 0)
        return fail("generate", "%s is there already, with results of other prompts or settings: give another --out, or --overwrite", s->out);
    if (status == 0) status = take_over(s->part, lines, &in_part, &others);
    if (status == 0 && ftruncate(s->file, (off_t)in_part) != 0) status = fail("generate", "%s: %s", s->part, strerror(errno));
    if (status == 0 && others > 0) fprintf(stderr, "[%zu results in %s are of other prompts or settings: not used]\n", others, s->part);
    return status;
}

static int write_all(int file, const char *p, size_t n) {
    while (n > 0) {
        ssize_t done = write(file, p, n);
        if (done < 0 && errno != EINTR) return -1;
        if (done > 0) p += done, n -= (size_t)done;
    }
    return 0;
}

int batch_store_add(batch_store *s, batch_lines *lines, size_t i, char *result) {
    size_t n = strlen(result);
    lines->p[i].result = result;
    lines->done++;
    if (s->file < 0) {
        for (; s->shown < lines->n && lines->p[s->shown].result; s->shown++) puts(lines->p[s->shown].result);
        return fflush(stdout) == 0 ? 0 : fail("generate", "the results cannot be written: %s", strerror(errno));
    }
    result[n] = '\n'; // one write for the line: what is there is whole up to the last end of a line
    int failed = write_all(s->file, result, n + 1);
    result[n] = '\0';
    return failed ? fail("generate", "%s: %s", s->part, strerror(errno)) : 0;
}

int batch_store_finish(batch_store *s, const batch_lines *lines) {
    char name[PATH_MAX];
    if (s->file < 0) return 0;
    if (snprintf(name, sizeof name, "%s.new", s->out) >= (int)sizeof name) return fail("generate", "%s: the name is too long", s->out);
    FILE *f = fopen(name, "wb");
    bool ok = f != NULL;
    for (size_t i = 0; i < lines->n && ok; i++) ok = fprintf(f, "%s\n", lines->p[i].result) > 0;
    ok = ok && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) != 0) ok = false;
    ok = ok && rename(name, s->out) == 0;
    if (!ok) return fail("generate", "%s: %s", name, strerror(errno));
    unlink(s->part);
    return 0;
}

void batch_store_close(batch_store *s) {
    struct stat st;
    if (s->file >= 0 && fstat(s->file, &st) == 0 && st.st_size == 0) unlink(s->part); // nothing came of it
    if (s->file >= 0) close(s->file);
    free(s->part);
}
