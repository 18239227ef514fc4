// inspect.c - `tl inspect`: what is in a GGUF file. It needs no program and no weights, so it works for any file that is
// well formed.
#include "common.h"
#include "gguf/gguf.h"
#include "models.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_ITEMS = 6, SHOWN_TEXT = 100 };

static const char *const type_names[] = {"u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "str", "arr", "u64", "i64", "f64"};

// ---- values ------------------------------------------------------------------------------------
static void print_quoted(str s) {
    char buf[SHOWN_TEXT * 4 + 8];
    printf("\"%s\"", str_escape(buf, s.n > SHOWN_TEXT ? SHOWN_TEXT : sizeof buf, s));
}

static void print_scalar(const gguf_value *v, gguf_type type, uint64_t i) {
    int64_t whole;
    double real;
    bool yes;
    if (type == GGUF_BOOL && gguf_value_bool(v, i, &yes)) printf("%s", yes ? "true" : "false");
    else if ((type == GGUF_F32 || type == GGUF_F64) && gguf_value_float(v, i, &real)) printf("%.9g", real);
    else if (gguf_value_int(v, i, &whole)) printf("%lld", (long long)whole);
    else printf("?"); // an unsigned number beyond int64
}

static void print_value(const gguf *g, const gguf_kv *kv) {
    const gguf_value *v = &kv->v;
    const str *items = NULL;
    uint64_t n = 0;
    char key[256];
    if (v->type == GGUF_STR) return print_quoted(v->s);
    if (v->type != GGUF_ARR) return print_scalar(v, v->type, 0);
    if (v->elem == GGUF_STR && kv->key.n < sizeof key) {
        snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
        if (gguf_strings(g, key, &items, &n, NULL) != TL_OK) items = NULL;
    }
    printf("[");
    for (uint64_t i = 0; i < v->count && i < SHOWN_ITEMS; i++) {
        printf(i ? ", " : "");
        if (items) print_quoted(items[i]);
        else if (v->elem == GGUF_STR || v->elem == GGUF_ARR) printf("...");
        else print_scalar(v, v->elem, i);
    }
    printf(v->count > SHOWN_ITEMS ? ", ...] (%llu)" : "]", (unsigned long long)v->count);
}

static json_t *json_scalar(const gguf_value *v, gguf_type type, uint64_t i) {
    int64_t whole;
    double real;
    bool yes;
    if (type == GGUF_BOOL && gguf_value_bool(v, i, &yes)) return json_boolean(yes);
    if ((type == GGUF_F32 || type == GGUF_F64) && gguf_value_float(v, i, &real)) return json_real_or_null(real);
    return gguf_value_int(v, i, &whole) ? json_integer(whole) : json_null();
}

static json_t *json_value(const gguf *g, const gguf_kv *kv) {
    const gguf_value *v = &kv->v;
    const str *items = NULL;
    uint64_t n;
    if (v->type == GGUF_STR) return json_bytes(v->s.p, v->s.n);
    if (v->type != GGUF_ARR) return json_scalar(v, v->type, 0);
    char *key = strndup(kv->key.p, kv->key.n);
    if (v->elem == GGUF_STR && key && gguf_strings(g, key, &items, &n, NULL) != TL_OK) items = NULL;
    free(key);
    json_t *list = json_array();
    for (uint64_t i = 0; i < v->count; i++)
        json_array_append_new(list, items ? json_bytes(items[i].p, items[i].n)
                                          : v->elem == GGUF_STR || v->elem == GGUF_ARR ? json_null() : json_scalar(v, v->elem, i));
    return list;
}

// ---- tensors -----------------------------------------------------------------------------------
typedef struct type_sum {
    int64_t tensors, elements;
    size_t bytes;
} type_sum;

static int64_t n_elements(const gguf_tensor *t) { return t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]; }

static type_sum sum_type(const gguf *g, int type) { // -1: all
    type_sum s = {0};
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        if (type >= 0 && (int)t->type != type) continue;
        s.tensors++, s.elements += n_elements(t), s.bytes += t->bytes;
    }
    return s;
}

static void print_tensors(const gguf *g) {
    int width = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++)
        if ((int)gguf_tensor_at(g, i)->name.n > width) width = (int)gguf_tensor_at(g, i)->name.n;
    if (width > 60) width = 60;
    printf("\ntensors (axes in the file's order: the first is contiguous):\n");
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        char name[300], shape[100];
        int n = 0;
        for (int a = 0; a < t->rank; a++) n += snprintf(shape + n, sizeof shape - (size_t)n, a ? ", %lld" : "[%lld", (long long)t->ne[a]);
        snprintf(shape + n, sizeof shape - (size_t)n, "]");
        printf("  %-*s  %-5s %-18s %11zu bytes at %llu\n", width, str_escape(name, sizeof name, t->name), dtype_table[t->type].name, shape,
               t->bytes, (unsigned long long)t->offset);
    }
}

static json_t *json_tensors(const gguf *g) {
    json_t *list = json_array();
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const gguf_tensor *t = gguf_tensor_at(g, i);
        json_t *shape = json_array();
        for (int a = 0; a < t->rank; a++) json_array_append_new(shape, json_integer(t->ne[a]));
        json_array_append_new(list, json_pack("{s:o, s:s, s:o, s:I, s:I}", "name", json_bytes(t->name.p, t->name.n), "type",
                                              dtype_table[t->type].name, "shape", shape, "bytes", (json_int_t)t->bytes, "offset",
                                              (json_int_t)t->offset));
    }
    return list;
}

// ---- the file ----------------------------------------------------------------------------------
static void print_summary(const gguf *g) {
    type_sum all = sum_type(g, -1);
    char path[2 * PATH_MAX];
    printf("%s: GGUF version %u, %zu bytes\n", str_escape(path, sizeof path, str_of(gguf_path(g))), gguf_version(g), gguf_file_size(g));
    printf("%lld tensors, %lld weights:", (long long)all.tensors, (long long)all.elements);
    const char *separator = " ";
    for (int type = 0; type < DT_COUNT; type++) {
        type_sum s = sum_type(g, type);
        if (s.tensors == 0) continue;
        printf("%s%s %lld (%.1f MB)", separator, dtype_table[type].name, (long long)s.tensors, 1e-6 * (double)s.bytes);
        separator = ", ";
    }
    printf("\n\nmetadata:\n");
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        char key[300];
        printf("  %-44s %-4s ", str_escape(key, sizeof key, kv->key), type_names[kv->v.type]);
        print_value(g, kv);
        putchar('\n');
    }
}

static int print_as_json(const gguf *g, bool tensors) {
    json_t *metadata = json_object(), *types = json_object();
    for (size_t i = 0; i < gguf_n_kv(g); i++) {
        const gguf_kv *kv = gguf_kv_at(g, i);
        char key[300];
        json_object_set_new(metadata, str_escape(key, sizeof key, kv->key), json_value(g, kv));
    }
    for (int type = 0; type < DT_COUNT; type++) {
        type_sum s = sum_type(g, type);
        if (s.tensors == 0) continue;
        json_object_set_new(types, dtype_table[type].name, json_pack("{s:I, s:I, s:I}", "tensors", (json_int_t)s.tensors, "weights",
                                                               (json_int_t)s.elements, "bytes", (json_int_t)s.bytes));
    }
    type_sum all = sum_type(g, -1);
    json_t *top = json_pack("{s:o, s:i, s:I, s:I, s:I, s:o, s:o}", "path", json_bytes(gguf_path(g), strlen(gguf_path(g))), "version",
                            (int)gguf_version(g), "bytes", (json_int_t)gguf_file_size(g), "tensor_count", (json_int_t)all.tensors,
                            "weights", (json_int_t)all.elements, "types", types, "metadata", metadata);
    if (tensors) json_object_set_new(top, "tensors", json_tensors(g));
    return print_json(top);
}

int cli_inspect(int argc, char **argv) {
    const char *model = NULL;
    bool tensors = false, json = false;
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "model", 'm', &model, "MODEL", "a name that `tl models` lists, or a path (default: smollm2)", 0, 0},
        {ARG_FLAG, "tensors", 0, &tensors, NULL, "list the tensors too", 0, 0},
        {ARG_FLAG, "json", 0, &json, NULL, "as JSON, arrays in full", 0, 0},
        {0}};
    const arg_command command = {.name = "inspect", .usage = "[-m MODEL | MODEL] [--tensors] [--json]", .options = options, .most = 1,
        .about = "Shows the metadata of a model file, its types and, if wanted, its tensors."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (first < argc && (status = args_positional("inspect", argv[first], &model)) >= 0) return status;
    char path[PATH_MAX], why[2000];
    gguf *g;
    tl_error err;
    if (model_path_by_name(model, path, sizeof path, why, sizeof why) != 0) return fail("inspect", "%s", why);
    if (gguf_open(path, &g, &err) != TL_OK) return fail_with("inspect", &err);
    if (json) {
        status = print_as_json(g, tensors);
    } else {
        print_summary(g);
        if (tensors) print_tensors(g);
        status = 0;
    }
    gguf_close(g);
    return status;
}
