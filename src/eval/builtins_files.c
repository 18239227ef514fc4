// builtins_files.c - tensors in files: NumPy's .npy (format 1 to 3) and .safetensors.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html; https://github.com/huggingface/safetensors
// Everything is read as float32, or int32 where the file has integers that fit; both are written as they are.
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "eval/value.h"
#include "gguf/quant.h"

typedef struct element { const char *npy, *st; tl_dtype type; int bytes; } element; // little endian
static const element elements[] = {
    {"<f4", "F32", DT_F32, 4}, {"<f8", "F64", DT_F64, 8}, {"<f2", "F16", DT_F16, 2}, {"", "BF16", DT_BF16, 2}, {"<i4", "I32", DT_I32, 4},
    {"<i8", "I64", DT_COUNT, 8}, {"<i2", "I16", DT_COUNT, 2}, {"|i1", "I8", DT_COUNT, 1}, {"|u1", "U8", DT_COUNT, 1}, {"|b1", "BOOL", DT_BOOL, 1},
};
enum { N_ELEMENTS = sizeof elements / sizeof *elements };

typedef struct file { call *c; const char *path; const uint8_t *p; size_t n; } file;

_Noreturn static void malformed(file *f, const char *what) { ev_fail(f->c->ev, f->c->at, "%s: %s", f->path, what); }

static file open_file(call *c) {
    file f = {.c = c, .path = intern(c->ev, want_str(c->ev, c->arg[0], c->at, "a path"))};
    struct stat st;
    FILE *in = fopen(f.path, "rb");
    if (!in || fstat(fileno(in), &st) != 0 || !S_ISREG(st.st_mode)) {
        int e = in ? EISDIR : errno;
        if (in) fclose(in);
        malformed(&f, strerror(e));
    }
    f.n = (size_t)st.st_size;
    int64_t words = (int64_t)(f.n / 4) + 1;
    tensor *hold = tensor_from_floats(c->ev, 1, &words, NULL); // collected like any value
    f.p = hold->buf->data;
    size_t got = fread(hold->buf->data, 1, f.n, in);
    fclose(in);
    if (got != f.n) malformed(&f, "the file changed while it was read");
    return f;
}

static int64_t integer_at(const element *e, const uint8_t *p, int64_t i) {
    int64_t v = 0;
    memcpy(&v, p + i * e->bytes, (size_t)e->bytes);
    if (e->st[0] == 'U' || e->type == DT_BOOL || e->bytes == 8) return v;
    unsigned shift = 64 - 8 * (unsigned)e->bytes;
    return (int64_t)((uint64_t)v << shift) >> shift;
}

static tensor *decoded(file *f, const element *e, const uint8_t *p, int rank, const int64_t *sizes) {
    tensor *t = tensor_from_floats(f->c->ev, rank, sizes, NULL);
    int64_t n = tensor_elements(t);
    float *to = t->buf->data;
    if (e->type == DT_F32 || e->type == DT_F16 || e->type == DT_BF16 || e->type == DT_F64) {
        if (n) quant_decode(e->type, p, to, n);
        return t;
    }
    bool small = true;
    for (int64_t i = 0; i < n; i++) {
        int64_t v = integer_at(e, p, i);
        small &= v >= INT32_MIN && v <= INT32_MAX;
        to[i] = (float)v;
    }
    t->type = e->type == DT_BOOL ? DT_BOOL : small ? DT_I32 : DT_F32;
    for (int64_t i = 0; i < n && t->type == DT_I32; i++) ((int32_t *)t->buf->data)[i] = (int32_t)integer_at(e, p, i);
    return t;
}

static int64_t count_of(file *f, int rank, const int64_t *sizes) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++)
        if (sizes[i] < 0 || __builtin_mul_overflow(n, sizes[i], &n) || n > (int64_t)1 << 48) malformed(f, "the shape is too large");
    return n;
}

// ---- reading headers -----------------------------------------------------------------------------
typedef struct reader { file *f; const char *p, *end; } reader;

static void skip_space(reader *r) {
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) r->p++;
}

static bool accept(reader *r, char c) {
    skip_space(r);
    if (r->p >= r->end || *r->p != c) return false;
    r->p++;
    return true;
}

static void expect(reader *r, char c) {
    if (!accept(r, c)) malformed(r->f, "the header is malformed");
}

static str quoted(reader *r, char quote) { // escapes other than \" and \\ do not occur in names that programs can use
    expect(r, quote);
    char *out = arena_array(&r->f->c->ev->dl_arena, char, (size_t)(r->end - r->p) + 1);
    size_t n = 0;
    while (r->p < r->end && *r->p != quote) {
        if (*r->p == '\\' && (++r->p >= r->end || (*r->p != '"' && *r->p != '\\' && *r->p != '/'))) malformed(r->f, "the header has a text with an escape that is not supported");
        out[n++] = *r->p++;
    }
    expect(r, quote);
    return (str){out, n};
}

static int64_t whole(reader *r) {
    skip_space(r);
    int64_t v = 0;
    const char *first = r->p;
    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *r->p++ - '0', &v)) malformed(r->f, "a number in the header is too large");
    if (r->p == first) malformed(r->f, "the header lacks a number");
    return v;
}

static int numbers(reader *r, char open, char close, int64_t *out) {
    int n = 0;
    expect(r, open);
    while (!accept(r, close)) {
        if (n == IR_MAX_RANK) malformed(r->f, "more axes than a tensor can have");
        out[n++] = whole(r);
        if (!accept(r, ',')) {
            expect(r, close);
            break;
        }
    }
    return n;
}

// ---- npy -------------------------------------------------------------------------------------------
static value f_load_npy(call *c) {
    file f = open_file(c);
    if (f.n < 12 || memcmp(f.p, "\x93NUMPY", 6) != 0) malformed(&f, "this is no .npy file");
    bool wide = f.p[6] >= 2;
    size_t at = wide ? 12 : 10, len = f.p[8] | (size_t)f.p[9] << 8;
    if (wide) len |= (size_t)f.p[10] << 16 | (size_t)f.p[11] << 24;
    if (f.p[6] < 1 || f.p[6] > 3 || len > f.n - at) malformed(&f, "the header is malformed");
    reader r = {&f, (const char *)f.p + at, (const char *)f.p + at + len};
    const element *e = NULL;
    int64_t sizes[IR_MAX_RANK];
    int rank = -1;
    bool fortran = false;
    expect(&r, '{');
    while (!accept(&r, '}')) {
        str key = quoted(&r, '\'');
        expect(&r, ':');
        if (str_is(key, "descr")) {
            str d = quoted(&r, '\'');
            for (int i = 0; i < N_ELEMENTS; i++)
                if (d.n && str_is(d, elements[i].npy)) e = &elements[i];
            if (!e) ev_fail(c->ev, c->at, "%s: elements of type %.*s are not supported", f.path, (int)d.n, d.p);
        } else if (str_is(key, "fortran_order")) {
            skip_space(&r);
            fortran = r.p < r.end && *r.p == 'T';
            while (r.p < r.end && *r.p >= 'A' && *r.p <= 'z') r.p++;
        } else if (str_is(key, "shape")) {
            rank = numbers(&r, '(', ')', sizes);
        } else {
            malformed(&f, "the header is malformed");
        }
        if (!accept(&r, ',')) {
            expect(&r, '}');
            break;
        }
    }
    if (!e || rank < 0) malformed(&f, "the header lacks the type or the shape");
    if ((uint64_t)count_of(&f, rank, sizes) * (unsigned)e->bytes > f.n - at - len) malformed(&f, "the file ends before its last element");
    tensor *t = decoded(&f, e, f.p + at + len, rank, sizes);
    int64_t stride = 1;
    for (int i = 0; i < rank && fortran; i++) t->ax[i].stride = stride, stride *= sizes[i];
    return v_of_tensor(t);
}

static const void *dense(call *c, value v, tensor **out, size_t *bytes) {
    tensor *t = tensor_compact(c->ev, want_tensor(c->ev, v, c->at, "what is saved"), c->at);
    const float *f = tensor_floats(c->ev, t, c->at);
    *bytes = (size_t)tensor_elements(t) * 4;
    *out = t;
    if (t->type != DT_I32) return f;
    int64_t n = tensor_elements(t);
    int32_t *whole_numbers = arena_array(&c->ev->dl_arena, int32_t, (size_t)n + 1);
    for (int64_t i = 0; i < n; i++) whole_numbers[i] = (int32_t)f[i];
    return whole_numbers;
}

static void close_file(call *c, FILE *out, const char *path, bool ok) {
    if (fclose(out) != 0) ok = false;
    if (!ok) ev_fail(c->ev, c->at, "%s: %s", path, strerror(errno));
}

static FILE *create(call *c, const char *path) {
    FILE *out = fopen(path, "wb");
    if (!out) ev_fail(c->ev, c->at, "%s: %s", path, strerror(errno));
    return out;
}

static value f_save_npy(call *c) {
    const char *path = intern(c->ev, want_str(c->ev, c->arg[0], c->at, "a path"));
    tensor *t;
    size_t bytes;
    const void *data = dense(c, c->arg[1], &t, &bytes);
    char head[400];
    int n = snprintf(head, sizeof head, "\x93NUMPY%c%c%c%c{'descr': '%s', 'fortran_order': False, 'shape': (", 1, 'x', 'x', 'x', t->type == DT_I32 ? "<i4" : "<f4");
    for (int i = 0; i < t->rank; i++) n += snprintf(head + n, sizeof head - (size_t)n, "%" PRId64 ",", t->ax[i].size);
    n += snprintf(head + n, sizeof head - (size_t)n, "), }");
    while ((n + 1) % 64) head[n++] = ' ';
    head[n++] = '\n';
    head[7] = 0, head[8] = (char)((n - 10) & 255), head[9] = (char)((n - 10) >> 8);
    FILE *out = create(c, path);
    close_file(c, out, path, fwrite(head, 1, (size_t)n, out) == (size_t)n && fwrite(data, 1, bytes, out) == bytes);
    return v_none();
}

// ---- safetensors -----------------------------------------------------------------------------------
static value read_entry(reader *r, const uint8_t *data, size_t n_data) {
    const element *e = NULL;
    int64_t sizes[IR_MAX_RANK], offsets[IR_MAX_RANK];
    int rank = -1, n_offsets = 0;
    expect(r, '{');
    do {
        str key = quoted(r, '"');
        expect(r, ':');
        if (str_is(key, "dtype")) {
            str d = quoted(r, '"');
            for (int i = 0; i < N_ELEMENTS; i++)
                if (str_is(d, elements[i].st)) e = &elements[i];
            if (!e) ev_fail(r->f->c->ev, r->f->c->at, "%s: elements of type %.*s are not supported", r->f->path, (int)d.n, d.p);
        } else if (str_is(key, "shape")) {
            rank = numbers(r, '[', ']', sizes);
        } else if (str_is(key, "data_offsets")) {
            n_offsets = numbers(r, '[', ']', offsets);
        } else {
            malformed(r->f, "the header has an unknown key");
        }
    } while (accept(r, ','));
    expect(r, '}');
    if (!e || rank < 0 || n_offsets != 2) malformed(r->f, "a tensor lacks its type, shape or place");
    if (offsets[0] > offsets[1] || (uint64_t)offsets[1] > n_data) malformed(r->f, "a tensor lies outside the file");
    if (offsets[1] - offsets[0] != count_of(r->f, rank, sizes) * e->bytes) malformed(r->f, "a tensor's bytes do not fit its shape");
    return v_of_tensor(decoded(r->f, e, data + offsets[0], rank, sizes));
}

static value f_load_safetensors(call *c) {
    file f = open_file(c);
    uint64_t len = 0;
    if (f.n >= 8) memcpy(&len, f.p, 8);
    if (f.n < 10 || len > f.n - 8) malformed(&f, "this is no .safetensors file");
    reader r = {&f, (const char *)f.p + 8, (const char *)f.p + 8 + len};
    value m = v_map_new(c->ev);
    expect(&r, '{');
    while (!accept(&r, '}')) {
        str name = quoted(&r, '"');
        expect(&r, ':');
        if (str_is(name, "__metadata__")) {
            expect(&r, '{');
            while (!accept(&r, '}')) {
                (void)quoted(&r, '"');
                expect(&r, ':');
                (void)quoted(&r, '"');
                (void)accept(&r, ',');
            }
        } else {
            value key = v_str_new(c->ev, name);
            if (map_find(m.map, key)) malformed(&f, "two tensors have one name");
            map_set(c->ev, m.map, key, read_entry(&r, f.p + 8 + len, f.n - 8 - (size_t)len));
        }
        if (!accept(&r, ',')) {
            expect(&r, '}');
            break;
        }
    }
    return m;
}

static value f_save_safetensors(call *c) {
    const char *path = intern(c->ev, want_str(c->ev, c->arg[0], c->at, "a path"));
    if (c->arg[1].kind != V_MAP) ev_fail(c->ev, c->at, "save_safetensors needs a map of names to tensors, found %s", v_names[c->arg[1].kind]);
    const v_map *m = c->arg[1].map;
    const void **data = arena_array(&c->ev->dl_arena, const void *, m->n + 1);
    size_t *bytes = arena_array(&c->ev->dl_arena, size_t, m->n + 1), at = 0;
    sbuf *b = text_begin(c->ev);
    sbuf_putc(b, '{');
    for (size_t i = 0; i < m->n; i++) {
        tensor *t;
        str name = m->keys[i].kind == V_STR ? v_text(m->keys[i]) : (str){0};
        bool plain = name.n > 0;
        for (size_t k = 0; k < name.n; k++) plain &= (unsigned char)name.p[k] >= 32 && name.p[k] != '"' && name.p[k] != '\\';
        if (!plain) ev_fail(c->ev, c->at, "a tensor's name is a text without quotes and backslashes");
        data[i] = dense(c, m->vals[i], &t, &bytes[i]);
        sbuf_printf(b, "%s\"%.*s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", (int)name.n, name.p, t->type == DT_I32 ? "I32" : "F32");
        for (int k = 0; k < t->rank; k++) sbuf_printf(b, "%s%" PRId64, k ? "," : "", t->ax[k].size);
        sbuf_printf(b, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes[i]);
        at += bytes[i];
    }
    sbuf_putc(b, '}');
    while (b->n % 8) sbuf_putc(b, ' ');
    FILE *out = fopen(path, "wb");
    uint64_t len = b->n;
    bool ok = out && !b->failed && fwrite(&len, 1, 8, out) == 8 && fwrite(b->p, 1, b->n, out) == b->n;
    for (size_t i = 0; i < m->n && ok; i++) ok = fwrite(data[i], 1, bytes[i], out) == bytes[i];
    text_end(c->ev, b);
    if (!out) ev_fail(c->ev, c->at, "%s: %s", path, strerror(errno));
    close_file(c, out, path, ok);
    return v_none();
}

const builtin builtins_files[] = {
    {"load_npy", f_load_npy, 1, 1, "path", "The tensor of a .npy file."},
    {"save_npy", f_save_npy, 2, 2, "path, x", "Writes a tensor as a .npy file."},
    {"load_safetensors", f_load_safetensors, 1, 1, "path", "A map of the names in a .safetensors file to tensors."},
    {"save_safetensors", f_save_safetensors, 2, 2, "path, map", "Writes the tensors of a map as a .safetensors file."},
    {0},
};
