// source.c - opening, mapping and checking a file. Anything but a regular file is refused before a byte is read:
// a FIFO, a terminal or /dev/zero neither blocks nor runs on for ever.
#include "gguf/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a directory";
    if (S_ISFIFO(mode)) return "a pipe";
    if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
    if (S_ISSOCK(mode)) return "a socket";
    return "not a regular file";
}

static tl_status source_stat(gguf_source *s, tl_error *err) {
    struct stat st;
    if (fstat(s->fd, &st) != 0) return err_set(err, TL_E_IO, "%s: cannot be examined: %s", s->shown, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return err_set(err, TL_E_IO, "%s: is %s; a GGUF file is expected", s->shown, kind_of(st.st_mode));
    if (st.st_size <= 0) return err_at(err, TL_E_FORMAT, 0, "%s: the file is empty; fetch the model again", s->shown);
    if ((uint64_t)st.st_size > SIZE_MAX / 2)
        return err_set(err, TL_E_UNSUPPORTED, "%s: %lld bytes are too many to map here", s->shown, (long long)st.st_size);
    s->size = (size_t)st.st_size;
    return TL_OK;
}

static tl_status source_map(gguf_source *s, tl_error *err) {
    void *base = mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0);
    if (base == MAP_FAILED)
        return err_set(err, TL_E_IO, "%s: cannot map %zu bytes: %s", s->shown, s->size, strerror(errno));
    s->base = base;
    s->guard = guard_add(base, s->size, s->fd);
    return TL_OK;
}

tl_status source_open(const char *path, gguf_source *out, tl_error *err) {
    *out = (gguf_source){.fd = -1, .guard = -1};
    str_escape(out->shown, sizeof out->shown, str_of(path));
    out->path = mem_strdup(path);
    if (!out->path) return err_set(err, TL_E_MEMORY, "%s: out of memory", out->shown);
    out->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    tl_status status = out->fd < 0 ? err_set(err, TL_E_IO, "%s: cannot be opened: %s", out->shown, strerror(errno)) : TL_OK;
    if (status == TL_OK) status = source_stat(out, err);
    if (status == TL_OK) status = source_map(out, err);
    if (status != TL_OK) source_close(out);
    return status;
}

tl_status source_memory(const void *data, size_t size, gguf_source *out, tl_error *err) {
    *out = (gguf_source){.shown = "(memory)", .base = data, .size = size, .fd = -1, .guard = -1};
    out->path = mem_strdup("");
    if (!out->path) return err_set(err, TL_E_MEMORY, "out of memory");
    if (!size) {
        source_close(out);
        return err_at(err, TL_E_FORMAT, 0, "(memory): the file is empty; fetch the model again");
    }
    return TL_OK;
}

void source_close(gguf_source *s) {
    if (s->fd >= 0) {
        guard_remove(s->guard);
        if (s->base) munmap((void *)s->base, s->size);
        close(s->fd);
    }
    mem_free(s->path);
    *s = (gguf_source){.fd = -1, .guard = -1};
}

tl_status source_check(const gguf_source *s, tl_error *err) {
    uint64_t at;
    struct stat st;
    if (s->fd < 0) return TL_OK;
    if (fstat(s->fd, &st) == 0 && (uint64_t)st.st_size < s->size)
        return err_at(err, TL_E_IO, (int64_t)st.st_size,
                      "%s: the file was cut from %zu to %lld bytes while in use; restore it and load it again", s->shown,
                      s->size, (long long)st.st_size);
    if (guard_lost(s->guard, &at))
        return err_at(err, TL_E_IO, (int64_t)at,
                      "%s: the disk could not read the file at byte %llu; check the disk and load the model again",
                      s->shown, (unsigned long long)at);
    return TL_OK;
}
