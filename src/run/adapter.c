// adapter.c - LoRA adapters in GGUF files: what they change and by how much (ir/adapt.h does it).
//
// The format (written by llama.cpp's convert_lora_to_gguf.py): general.type "adapter", adapter.type "lora", adapter.lora.alpha, and for
// each weight W that changes two tensors, W.lora_a and W.lora_b. The change is alpha / rank * B A, times the user's scale.
#include <math.h>

#include "gguf/quant.h"
#include "run/run.h"

static bool meta_is(const gguf *g, const char *key, const char *wanted, str *found) {
    *found = (str){"", 0};
    return gguf_get_str(g, key, found, NULL) == TL_OK && str_is(*found, wanted);
}

static tl_status check_kind(const ev_model *f, const tl_model *m, double *alpha, tl_error *err) {
    str s;
    char shown[80];
    if (!meta_is(f->file, "general.type", "adapter", &s))
        return err_set(err, TL_E_FORMAT, "%s: general.type is \"%s\": this is no adapter", f->path, str_escape(shown, sizeof shown, s));
    if (!meta_is(f->file, "adapter.type", "lora", &s))
        return err_set(err, TL_E_UNSUPPORTED, "%s: adapter.type is \"%s\"; only lora is known", f->path, str_escape(shown, sizeof shown, s));
    if (!meta_is(f->file, "general.architecture", m->arch ? m->arch : "", &s))
        return err_set(err, TL_E_FORMAT, "%s: the adapter is for the architecture \"%s\", the model is %s", f->path, str_escape(shown, sizeof shown, s), m->arch ? m->arch : "?");
    const gguf_value *v = gguf_find(f->file, STR("adapter.lora.alpha"));
    if (!v || !gguf_value_float(v, 0, alpha)) return err_set(err, TL_E_FORMAT, "%s: adapter.lora.alpha is missing or no number", f->path);
    if (!isfinite(*alpha)) return err_set(err, TL_E_FORMAT, "%s: adapter.lora.alpha is %g", f->path, *alpha);
    return TL_OK;
}

static tl_status check_values(const ev_model *f, const ir_weight *w, tl_error *err) {
    quant_bad bad = {0};
    bool known = dtype_table[w->type].quantized || w->type == DT_F32 || w->type == DT_F16 || w->type == DT_BF16;
    if (!known) return err_set(err, TL_E_UNSUPPORTED, "%s: %s has elements of type %s", f->path, w->name, dtype_table[w->type].name);
    if (!quant_find_nonfinite(w->type, w->data, 0, w->rows, w->cols, &bad)) return TL_OK;
    return err_set(err, TL_E_FORMAT, "%s: %s holds values that are infinite or no number, the first in row %lld", f->path, w->name, (long long)bad.row);
}

static ir_weight *find(const ev_model *f, str name) {
    const gguf_tensor *t = gguf_tensor_find(f->file, name);
    return t && t->rank <= 2 ? &f->weights[t - gguf_tensor_at(f->file, 0)] : NULL;
}

// The pair whose first tensor is `a`.
static tl_status add_pair(tl_model *m, const ev_model *f, ir_weight *a, double alpha, double scale, tl_error *err) {
    char other[300];
    size_t n = strlen(a->name) - strlen(".lora_a");
    snprintf(other, sizeof other, "%.*s.lora_b", (int)n, a->name);
    ir_weight *b = find(f, str_of(other)), *w = find(&m->m, (str){a->name, n});
    if (!b) return err_set(err, TL_E_FORMAT, "%s: %s has no matrix %s beside it", f->path, a->name, other);
    if (!w) return err_set(err, TL_E_FORMAT, "%s: the model has no matrix %.*s, which the adapter changes", f->path, (int)n, a->name);
    bool matrix = a->cols == w->cols && b->rows == w->rows && a->rows == b->cols;
    bool table = a->cols == b->cols && a->rows == w->rows && b->rows == w->cols;
    if (!matrix && !table)
        return err_set(err, TL_E_FORMAT, "%s: %s is %lld x %lld and %s %lld x %lld; together they do not fit %s, %lld x %lld", f->path, a->name, (long long)a->cols, (long long)a->rows,
                       other, (long long)b->cols, (long long)b->rows, w->name, (long long)w->cols, (long long)w->rows);
    TL_TRY(check_values(f, a, err));
    TL_TRY(check_values(f, b, err));
    int64_t rank = b->cols;
    ir_adapter one = {.of = w, .a = a, .b = b, .table = !matrix, .scale = alpha != 0 ? scale * alpha / (double)rank : scale};
    if (!vec_push(&m->adapters, one)) return err_set(err, TL_E_MEMORY, "out of memory");
    return TL_OK;
}

static tl_status add_all(tl_model *m, const ev_model *f, double alpha, double scale, tl_error *err) {
    size_t before = m->adapters.n, n = gguf_n_tensors(f->file);
    for (size_t i = 0; i < n; i++) {
        str name = str_of(f->weights[i].name);
        bool a = name.n > 7 && memcmp(name.p + name.n - 7, ".lora_a", 7) == 0, b = name.n > 7 && memcmp(name.p + name.n - 7, ".lora_b", 7) == 0;
        if (!a && !b) return err_set(err, TL_E_FORMAT, "%s: tensor %s is neither .lora_a nor .lora_b", f->path, f->weights[i].name);
        if (!find(f, name)) return err_set(err, TL_E_FORMAT, "%s: %s is no matrix", f->path, f->weights[i].name);
        if (a) TL_TRY(add_pair(m, f, &f->weights[i], alpha, scale, err));
        char other[300];
        snprintf(other, sizeof other, "%.*s.lora_a", (int)(name.n - 7), name.p);
        if (b && !find(f, str_of(other))) return err_set(err, TL_E_FORMAT, "%s: %s has no matrix %s beside it", f->path, f->weights[i].name, other);
    }
    return m->adapters.n > before ? TL_OK : err_set(err, TL_E_FORMAT, "%s: there is nothing in it", f->path);
}

// "FILE" or "FILE:SCALE".
static tl_status split_scale(const char *given, char *path, size_t cap, double *scale, tl_error *err) {
    const char *colon = strrchr(given, ':');
    char *end;
    *scale = 1;
    snprintf(path, cap, "%s", given);
    if (!colon || !colon[1]) return TL_OK;
    double x = strtod(colon + 1, &end);
    if (*end) return TL_OK; // a name with a colon in it
    if (!isfinite(x)) return err_set(err, TL_E_USAGE, "the scale of adapter %s is %s", given, colon + 1);
    path[(size_t)(colon - given) < cap ? (size_t)(colon - given) : cap - 1] = '\0';
    *scale = x;
    return TL_OK;
}

tl_status model_add_adapter(tl_model *m, const char *given, tl_error *err) {
    char path[4096];
    double scale, alpha;
    TL_TRY(split_scale(given, path, sizeof path, &scale, err));
    ev_model *f = mem_calloc(1, sizeof *f);
    if (!f) return err_set(err, TL_E_MEMORY, "out of memory");
    tl_status st = model_file_open(m->engine, path, true, f, err);
    if (st != TL_OK) {
        mem_free(f);
        return st;
    }
    f->next = m->adapter_files;
    m->adapter_files = f;
    TL_TRY(check_kind(f, m, &alpha, err));
    return add_all(m, f, alpha, scale, err);
}

const char *tl_model_adapter(const tl_model *m, size_t i) {
    size_t n = 0;
    for (const ev_model *f = m->adapter_files; f; f = f->next) n++;
    if (i >= n) return NULL;
    const ev_model *f = m->adapter_files; // the last one given
    for (size_t k = n - 1; k > i; k--) f = f->next;
    return f->path;
}

void model_free_adapters(tl_model *m) {
    for (ev_model *f = m->adapter_files, *next; f; f = next) {
        next = f->next;
        model_file_close(f);
        mem_free(f);
    }
    vec_free(&m->adapters);
}
