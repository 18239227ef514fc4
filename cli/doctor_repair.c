// doctor_repair.c - `tl doctor --repair`: a copy without what cannot be used. The copy is a new file always, written beside
// its name and renamed when it is complete; what has the name already is never touched.
#include "doctor.h"
#include "gguf/tensor_stats.h"
#include "gguf/writer.h"
#include "interrupt.h"
#include "progress.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct mend {
    doctor *d;
    gguf_writer w;
    VEC(void *) copies; // of tensors that were changed
    progress bar;
} mend;

static void show_progress(void *ctx, uint64_t done, uint64_t total) {
    mend *m = ctx;
    if (!m->bar.title) progress_start(&m->bar, "writing", (int64_t)total, 0, isatty(STDERR_FILENO) != 1);
    progress_update(&m->bar, (int64_t)done, "");
}

// A name that is taken, by whatever, is refused: so neither the original nor a link to it can be written over.
static int refuse_taken(const doctor *d, const char *out) {
    struct stat there, ours;
    if (lstat(out, &there) != 0) return errno == ENOENT ? 0 : fail("doctor", "--repair %s: %s", out, strerror(errno));
    if (stat(out, &there) == 0 && stat(d->path, &ours) == 0 && there.st_dev == ours.st_dev && there.st_ino == ours.st_ino)
        return fail("doctor", "--repair %s: this is the model itself; give another name", out);
    return fail("doctor", "--repair %s: the name is taken; give another one, or remove it first", out);
}

static void put_metadata(mend *m) {
    int64_t alignment;
    if (gguf_get_int(m->d->g, "general.alignment", &alignment, NULL) == TL_OK) m->w.alignment = (uint32_t)alignment;
    for (size_t i = 0; i < gguf_n_kv(m->d->g); i++) {
        const gguf_kv *kv = gguf_kv_at(m->d->g, i);
        if (str_is(kv->key, "general.alignment") || str_starts(kv->key, STR("split."))) continue; // written as it now is; one file
        gguf_put_kv(&m->w, kv);
    }
}

static bool is_bad(const doctor *d, const gguf_tensor *t) {
    for (size_t i = 0; i < d->n_bad; i++)
        if (d->bad[i] == t) return true;
    return false;
}

static int put_tensor(mend *m, const gguf_tensor *t) {
    char name[128], shown[300];
    const void *data = t->data;
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    str_escape(shown, sizeof shown, t->name);
    if (is_bad(m->d, t) && m->d->a->zero_nan) {
        void *copy = malloc(t->bytes);
        if (!copy || !vec_push(&m->copies, copy)) return free(copy), fail("doctor", "out of memory for a copy of %s", shown);
        memcpy(copy, data, t->bytes);
        int64_t n = quant_mend(t->type, copy, tensor_rows(t), t->ne[0]);
        fprintf(stderr, "%s: %" PRId64 " %s%s made zeros\n", shown, n, dtype_table[t->type].quantized ? "block" : "value", n == 1 ? "" : "s");
        data = copy;
    } else if (is_bad(m->d, t)) {
        fprintf(stderr, "%s: left as it is; --zero-nan would make its blocks that are not finite zeros\n", shown);
    }
    gguf_put_tensor(&m->w, name, t->type, t->rank, t->ne, data);
    return 0;
}

static bool unusable_output(const doctor *d, const gguf_tensor *t) {
    const gguf_tensor *emb = gguf_tensor_find(d->g, STR("token_embd.weight"));
    quant_bad bad;
    return str_is(t->name, "output.weight") && emb && emb->ne[0] == t->ne[0] && emb->ne[1] == t->ne[1] && tensor_stats_known(t->type) &&
           quant_find_nonfinite(t->type, t->data, 0, tensor_rows(t), t->ne[0], &bad);
}

static int write_copy(mend *m, const char *out) {
    tl_error err;
    int status = 0;
    put_metadata(m);
    for (size_t i = 0; i < gguf_n_tensors(m->d->g) && status == 0; i++) {
        const gguf_tensor *t = gguf_tensor_at(m->d->g, i);
        if (!unusable_output(m->d, t)) status = put_tensor(m, t);
        else fprintf(stderr, "output.weight: left out; token_embd.weight takes its place\n");
    }
    if (status != 0) return status;
    m->w.progress = show_progress, m->w.ctx = m, m->w.cancel = &interrupt_came;
    interrupt_catch();
    tl_status saved = gguf_save(&m->w, out, &err);
    interrupt_leave();
    progress_end(&m->bar);
    if (saved != TL_OK) return fail("doctor", "%s", err.message);
    if (gguf_check(m->d->g, &err) == TL_OK) return 0;
    unlink(out); // what was copied may be zeros
    return fail("doctor", "%s; the copy was removed", err.message);
}

int doctor_repair(doctor *d) {
    mend m = {.d = d};
    int status = refuse_taken(d, d->a->repair);
    if (status == 0) status = write_copy(&m, d->a->repair);
    for (size_t i = 0; i < m.copies.n; i++) free(m.copies.p[i]);
    vec_free(&m.copies);
    gguf_writer_free(&m.w);
    return status;
}
