// writer.c - GGUF v3 files of metadata and tensors. Metadata and the tensor table grow in memory as they are put;
// tensor data stays where the caller has it until the file is written. The first mistake is kept and reported then.
#include "gguf/internal.h"
#include "gguf/writer.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 8 << 20 }; // bytes of data from one report to the next

static void put_u32(sbuf *b, uint32_t v) { sbuf_put(b, (const char *)&v, 4); }
static void put_u64(sbuf *b, uint64_t v) { sbuf_put(b, (const char *)&v, 8); }
static void put_str(sbuf *b, str s) {
    put_u64(b, s.n);
    sbuf_put(b, s.p, s.n);
}

static bool refuse(gguf_writer *w, const char *name, const char *why) {
    char shown[GGUF_NAME_SHOWN];
    if (w->error.code == TL_OK)
        err_set(&w->error, TL_E_USAGE, "'%s' cannot be written: %s", str_escape(shown, sizeof shown, str_of(name)), why);
    return false;
}

static bool put_key(gguf_writer *w, const char *key, gguf_type type) {
    const char *why;
    if (strlen(key) > GGUF_MAX_KEY) return refuse(w, key, "the key is too long");
    if (!gguf_name_ok(str_of(key), &why)) return refuse(w, key, why);
    put_str(&w->kv, str_of(key));
    put_u32(&w->kv, type);
    w->n_kv++;
    return true;
}

void gguf_put_int(gguf_writer *w, const char *key, gguf_type type, int64_t v) {
    size_t size = gguf_type_size(type);
    bool is_signed = type == GGUF_I8 || type == GGUF_I16 || type == GGUF_I32 || type == GGUF_I64;
    if (!size || type == GGUF_F32 || type == GGUF_F64 || type == GGUF_BOOL) {
        refuse(w, key, "the type is not an integer's");
        return;
    }
    int bits = (int)size * 8 - (is_signed ? 1 : 0); // value bits
    if ((!is_signed && v < 0) || (bits < 63 && (v >= (int64_t)1 << bits || v < -((int64_t)1 << bits)))) {
        refuse(w, key, "the value does not fit its type");
        return;
    }
    if (put_key(w, key, type)) sbuf_put(&w->kv, (const char *)&v, size);
}

void gguf_put_float(gguf_writer *w, const char *key, gguf_type type, double v) {
    float single = (float)v;
    if (type != GGUF_F32 && type != GGUF_F64) refuse(w, key, "the type is not f32 or f64");
    else if (put_key(w, key, type)) sbuf_put(&w->kv, type == GGUF_F32 ? (const char *)&single : (const char *)&v, gguf_type_size(type));
}

void gguf_put_bool(gguf_writer *w, const char *key, bool v) {
    if (put_key(w, key, GGUF_BOOL)) sbuf_putc(&w->kv, v ? 1 : 0);
}

void gguf_put_str(gguf_writer *w, const char *key, str v) {
    if (put_key(w, key, GGUF_STR)) put_str(&w->kv, v);
}

static bool put_array_head(gguf_writer *w, const char *key, gguf_type elem, uint64_t count) {
    if (!put_key(w, key, GGUF_ARR)) return false;
    put_u32(&w->kv, elem);
    put_u64(&w->kv, count);
    return true;
}

void gguf_put_array(gguf_writer *w, const char *key, gguf_type elem, const void *data, uint64_t count) {
    size_t bytes;
    if (!gguf_type_size(elem) || !size_mul((size_t)count, gguf_type_size(elem), &bytes)) refuse(w, key, "no such array");
    else if (put_array_head(w, key, elem, count)) sbuf_put(&w->kv, data, bytes);
}

void gguf_put_strs(gguf_writer *w, const char *key, const str *v, uint64_t count) {
    if (!put_array_head(w, key, GGUF_STR, count)) return;
    for (uint64_t i = 0; i < count; i++) put_str(&w->kv, v[i]);
}

void gguf_put_kv(gguf_writer *w, const gguf_kv *kv) {
    const gguf_value *v = &kv->v;
    put_str(&w->kv, kv->key); // its name was checked when the file was opened
    put_u32(&w->kv, v->type);
    w->n_kv++;
    if (v->type == GGUF_STR) put_u64(&w->kv, v->s.n);
    if (v->type == GGUF_ARR) put_u32(&w->kv, v->elem), put_u64(&w->kv, v->count);
    sbuf_put(&w->kv, (const char *)v->data, (size_t)v->bytes);
}

static uint64_t align_up(uint64_t v, uint64_t alignment) { return (v + alignment - 1) / alignment * alignment; }

void gguf_put_tensor(gguf_writer *w, const char *name, tl_dtype type, int rank, const int64_t *ne, const void *data) {
    gguf_tensor t = {.type = type, .rank = rank, .data = data, .offset = w->data_bytes};
    const char *why;
    int64_t values = 1;
    bool fits = type < DT_COUNT && dtype_table[type].gguf_id >= 0 && rank >= 1 && rank <= 4;
    for (int i = 0; fits && i < rank; i++) fits = ne[i] > 0 && !__builtin_mul_overflow(values, ne[i], &values);
    if (strlen(name) > GGUF_MAX_NAME || !gguf_name_ok(str_of(name), &why)) {
        refuse(w, name, "the name is empty, too long or not text");
        return;
    }
    if (!fits || ne[0] % dtype_table[type].block_values || !dtype_bytes(type, values, &t.bytes)) {
        refuse(w, name, "type and shape do not fit together");
        return;
    }
    if (!w->alignment) w->alignment = 32;
    put_str(&w->infos, str_of(name));
    put_u32(&w->infos, (uint32_t)rank);
    for (int i = 0; i < rank; i++) put_u64(&w->infos, (uint64_t)ne[i]);
    put_u32(&w->infos, (uint32_t)dtype_table[type].gguf_id);
    put_u64(&w->infos, w->data_bytes);
    if (!vec_push(&w->tensors, t)) w->infos.failed = true;
    w->data_bytes = align_up(w->data_bytes + t.bytes, w->alignment);
    w->n_tensors++;
}

// ---- output ----------------------------------------------------------------------------------------
// Everything before tensor data, padded.
static tl_status put_head(gguf_writer *w, sbuf *out, tl_error *err) {
    uint32_t alignment = w->alignment ? w->alignment : 32;
    if (w->error.code != TL_OK) return err_set(err, w->error.code, "%s", w->error.message);
    if (alignment < 8 || alignment > GGUF_MAX_ALIGN || (alignment & (alignment - 1)))
        return err_set(err, TL_E_USAGE, "an alignment of %u is not possible", alignment);
    sbuf_puts(out, "GGUF");
    put_u32(out, 3);
    put_u64(out, w->n_tensors);
    put_u64(out, w->n_kv + (alignment != 32));
    if (alignment != 32) {
        put_str(out, STR("general.alignment"));
        put_u32(out, GGUF_U32);
        put_u32(out, alignment);
    }
    sbuf_put(out, w->kv.p, w->kv.n);
    sbuf_put(out, w->infos.p, w->infos.n);
    while (w->n_tensors && !out->failed && out->n % alignment) sbuf_putc(out, 0);
    return out->failed || w->kv.failed || w->infos.failed ? err_set(err, TL_E_MEMORY, "out of memory for the file's head") : TL_OK;
}

static tl_status put_data(gguf_writer *w, tl_status (*put)(void *ctx, const void *p, size_t n), void *ctx) {
    static const char zeros[64];
    uint64_t done = 0;
    for (size_t i = 0; i < w->tensors.n; i++) {
        const gguf_tensor *t = &w->tensors.p[i];
        for (size_t at = 0, n; at < t->bytes; at += n) {
            n = t->bytes - at < PIECE ? t->bytes - at : PIECE;
            if (w->cancel && *w->cancel) return TL_E_CANCELLED;
            TL_TRY(put(ctx, (const char *)t->data + at, n));
            if (w->progress) w->progress(w->ctx, done += n, w->data_bytes);
        }
        for (uint64_t pad = align_up(t->bytes, w->alignment) - t->bytes, n; pad; pad -= n) {
            n = pad < sizeof zeros ? pad : sizeof zeros;
            TL_TRY(put(ctx, zeros, (size_t)n));
        }
    }
    return TL_OK;
}

static tl_status to_buffer(void *ctx, const void *p, size_t n) {
    sbuf_put(ctx, p, n);
    return ((sbuf *)ctx)->failed ? TL_E_MEMORY : TL_OK;
}

static tl_status to_file(void *ctx, const void *p, size_t n) { return fwrite(p, 1, n, ctx) == n ? TL_OK : TL_E_IO; }

tl_status gguf_image(gguf_writer *w, sbuf *out, tl_error *err) {
    TL_TRY(put_head(w, out, err));
    return put_data(w, to_buffer, out) == TL_OK ? TL_OK : err_set(err, TL_E_MEMORY, "out of memory for the file's data");
}

// Writes and closes f; errno says why it failed.
static tl_status write_all(gguf_writer *w, const sbuf *head, FILE *f) {
    tl_status status = to_file(f, head->p, head->n);
    if (status == TL_OK) status = put_data(w, to_file, f);
    if (status == TL_OK && (fflush(f) != 0 || fsync(fileno(f)) != 0) && errno != EINVAL && errno != EROFS) status = TL_E_IO; // EINVAL: no disk
    int why = errno;
    if (fclose(f) != 0 && status == TL_OK) return TL_E_IO;
    errno = why;
    return status;
}

// A finished file appears under its name at once; what was there before stays until then.
static tl_status save_as(gguf_writer *w, const sbuf *head, const char *path, char *part, tl_error *err) {
    char shown[GGUF_PATH_SHOWN];
    str_escape(shown, sizeof shown, str_of(path));
    int fd = mkstemp(part); // a new file always: nothing that has this name or a link to it is written to
    FILE *f = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!f) {
        err_set(err, TL_E_IO, "%s: cannot be created: %s", shown, strerror(errno));
        if (fd >= 0) close(fd), unlink(part);
        return TL_E_IO;
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)!fchmod(fd, 0666 & ~mask); // mkstemp gives 0600
    tl_status status = write_all(w, head, f);
    if (status == TL_OK && rename(part, path) == 0) return TL_OK;
    int why = errno;
    unlink(part);
    if (status == TL_E_CANCELLED) return err_set(err, status, "%s: stopped; nothing was written", shown);
    return err_set(err, TL_E_IO, "%s: cannot be written: %s", shown, strerror(why));
}

tl_status gguf_save(gguf_writer *w, const char *path, tl_error *err) {
    sbuf head = {0}, part = {0};
    tl_status status = put_head(w, &head, err);
    sbuf_printf(&part, "%s.part-XXXXXX", path);
    if (status == TL_OK && part.failed) status = err_set(err, TL_E_MEMORY, "out of memory");
    if (status == TL_OK) status = save_as(w, &head, path, part.p, err);
    sbuf_free(&head);
    sbuf_free(&part);
    return status;
}

void gguf_writer_free(gguf_writer *w) {
    sbuf_free(&w->kv);
    sbuf_free(&w->infos);
    vec_free(&w->tensors);
}
