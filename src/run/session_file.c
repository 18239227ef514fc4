// session_file.c - a sequence on disk: its tokens and what the cache holds of them.
//
// The file, in this machine's byte order: magic with the version, hashes of model, program and adapters, the states' names, types and
// sizes, then the caller's note, the tokens, each state's slots in the order of positions, and a hash of all before it. Everything is
// checked before the session changes.
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "run/session_int.h"

static const char magic[8] = "TLSESS2";

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { HASH_CHECKED = 0 }; // else no changed file would get past it
#else
enum { HASH_CHECKED = 1 };
#endif

typedef struct file_head {
    char magic[8];
    uint64_t model, states; // hashes of what the cache was computed by, and of how it is stored
    int64_t n_tokens, n_note, bytes; // bytes: of the whole file
} file_head;

static uint64_t mix(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        h = (h ^ v) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; n > 0; p++, n--) h = (h ^ *p) * 0x100000001b3u;
    return h ^ h >> 32;
}

// mix() of much: eight chains side by side, as fast as memory. The whole of a model is hashed, since a cache that other weights
// made would be wrong without a sign; sha256, which `tl replay` shows for what it is, would take ten times as long.
static uint64_t mix_much(uint64_t h, const void *data, size_t n) {
    enum { LANES = 8, STEP = LANES * sizeof(uint64_t) };
    const unsigned char *p = data;
    uint64_t lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = h + (uint64_t)i;
    for (; n >= STEP; p += STEP, n -= STEP)
        for (int i = 0; i < LANES; i++) {
            uint64_t v;
            memcpy(&v, p + 8 * i, 8);
            lane[i] = (lane[i] ^ v) * 0x9e3779b97f4a7c15u;
            lane[i] ^= lane[i] >> 29;
        }
    return mix(mix(h, lane, sizeof lane), p, n);
}

static uint64_t mix_weight(uint64_t h, const ir_weight *w) { // name, shape, type, data
    h = mix(h, w->name, strlen(w->name));
    h = mix(h, &(int64_t[3]){w->rows, w->cols, w->type}, 3 * sizeof(int64_t));
    return mix_much(h, w->data, w->bytes);
}

static uint64_t model_hash(const tl_model *m) {
    uint64_t h = mix(1, &m->program_hash, sizeof m->program_hash);
    for (size_t i = 0; i < gguf_n_tensors(m->m.file); i++) h = mix_weight(h, &m->m.weights[i]);
    for (size_t i = 0; i < m->adapters.n; i++) {
        const ir_adapter *a = &m->adapters.p[i];
        h = mix(mix_weight(mix_weight(h, a->a), a->b), &a->scale, sizeof a->scale);
    }
    return h;
}

static uint64_t states_hash(const tl_session *s, int64_t *slot_bytes) {
    uint64_t h = 1;
    *slot_bytes = 0;
    for (const ev_state *st = s->states; st; st = st->next) {
        h = mix(h, st->ir.name, strlen(st->ir.name));
        h = mix(h, &(int64_t[3]){st->ir.layer, st->ir.type, (int64_t)st->ir.slot_bytes}, 3 * sizeof(int64_t));
        *slot_bytes += (int64_t)st->ir.slot_bytes;
    }
    return h;
}

// ---- writing ---------------------------------------------------------------------------------------
typedef struct writer {
    FILE *f;
    uint64_t hash;
} writer;

static bool put(writer *w, const void *data, size_t n) {
    w->hash = mix(w->hash, data, n);
    return n == 0 || fwrite(data, 1, n, w->f) == n;
}

static bool put_all(writer *w, const tl_session *s, const sequence *q, const file_head *head, const char *note) {
    bool ok = put(w, head, sizeof *head) && put(w, note, (size_t)head->n_note);
    for (int64_t i = 0; i < q->n && ok; i++) ok = put(w, &s->pool.slot[q->slots[q->first + i]].token, sizeof(int32_t));
    for (const ev_state *st = s->states; st; st = st->next)
        for (int64_t i = 0; i < q->n && ok; i++) ok = put(w, (const char *)st->ir.data + st->ir.slot_bytes * (size_t)q->slots[q->first + i], st->ir.slot_bytes);
    uint64_t hash = w->hash;
    return ok && put(w, &hash, sizeof hash);
}

// The file beside, empty and nobody else's. Its name is always the same, so that one left behind by a process that was killed is
// used up by the next; who finds it locked waits.
static FILE *open_beside(const char *name) {
    for (;;) {
        struct stat ours, there;
        int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (fd < 0) return NULL;
        bool ok = flock(fd, LOCK_EX) == 0 && fstat(fd, &ours) == 0;
        bool same = ok && stat(name, &there) == 0 && ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
        FILE *f = same && ftruncate(fd, 0) == 0 ? fdopen(fd, "wb") : NULL;
        if (f) return f;
        int why = errno;
        close(fd);
        errno = why;
        if (!ok || same) return NULL; // else it was renamed while we waited
    }
}

tl_status tl_session_save(const tl_session *s, int32_t seq, const char *path, const char *note, size_t n_note, tl_error *err) {
    char beside[4096];
    int64_t slot_bytes;
    if (seq < 0 || seq >= s->n_seq) return err_set(err, TL_E_USAGE, "sequence %d of %d", seq, s->n_seq);
    const sequence *q = &s->seqs[seq];
    if (s->late) return err_set(err, TL_E_USAGE, "the last step's tokens are not known yet: tl_session_chosen comes first");
    if (q->dropped) return err_set(err, TL_E_UNSUPPORTED, "the sequence has let go of what its sliding window has passed: it cannot be saved");
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside) return err_set(err, TL_E_USAGE, "the file's name is too long");
    TL_TRY(plan_states_fetch(s->p, q->slots + q->first, q->n, err));
    file_head head = {.model = model_hash(s->m), .n_tokens = q->n, .n_note = (int64_t)n_note};
    memcpy(head.magic, magic, sizeof magic);
    head.states = states_hash(s, &slot_bytes);
    head.bytes = (int64_t)sizeof head + head.n_note + q->n * ((int64_t)sizeof(int32_t) + slot_bytes) + (int64_t)sizeof(uint64_t);
    writer w = {.f = open_beside(beside), .hash = 1};
    if (!w.f) return err_set(err, TL_E_IO, "%s: %s", beside, strerror(errno));
    bool ok = put_all(&w, s, q, &head, note) && fflush(w.f) == 0 && fsync(fileno(w.f)) == 0;
    int why = errno;
    if (fclose(w.f) != 0 && ok) ok = false, why = errno;
    if (ok && rename(beside, path) != 0) ok = false, why = errno;
    if (ok) return TL_OK;
    unlink(beside);
    return err_set(err, TL_E_IO, "%s: %s", path, strerror(why));
}

// ---- reading ---------------------------------------------------------------------------------------
static tl_status check_head(const tl_session *s, FILE *f, const char *path, file_head *head, int64_t *slot_bytes, tl_error *err) {
    struct stat st;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) return err_set(err, TL_E_FORMAT, "%s: this is no file", path);
    if (fread(head, 1, sizeof *head, f) != sizeof *head || memcmp(head->magic, magic, sizeof magic - 2) != 0) return err_set(err, TL_E_FORMAT, "%s: this is no session file", path);
    if (memcmp(head->magic, magic, sizeof magic) != 0) return err_set(err, TL_E_FORMAT, "%s: a session of another version of TensorLogic", path);
    if (head->model != model_hash(s->m)) return err_set(err, TL_E_FORMAT, "%s: the session is of another model, program or adapter", path);
    if (head->states != states_hash(s, slot_bytes)) return err_set(err, TL_E_FORMAT, "%s: the session has a cache of another type; --cache-type says which", path);
    bool sane = head->n_tokens >= 0 && head->n_tokens <= INT32_MAX && head->n_note >= 0 && head->n_note <= st.st_size;
    int64_t each = *slot_bytes + (int64_t)sizeof(int32_t);
    sane = sane && head->n_tokens <= st.st_size / each;
    if (!sane || head->bytes != st.st_size || head->bytes != (int64_t)sizeof *head + head->n_note + head->n_tokens * each + (int64_t)sizeof(uint64_t))
        return err_set(err, TL_E_FORMAT, "%s: the session file is cut or damaged", path);
    return TL_OK;
}

// Reads what follows the head, in the pieces in which it was written; the cache's part into the sequence's slots, or (NULL) only to
// check it. `slot` has room for the largest slot of a state.
static bool read_all(FILE *f, const tl_session *s, const file_head *head, const sequence *q, char *note, int32_t *ids, char *slot) {
    uint64_t hash = mix(1, head, sizeof *head), end;
    bool ok = fseek(f, (long)sizeof *head, SEEK_SET) == 0 && fread(note, 1, (size_t)head->n_note, f) == (size_t)head->n_note;
    hash = mix(hash, note, (size_t)head->n_note);
    for (int64_t i = 0; i < head->n_tokens && ok; i++) {
        ok = fread(&ids[i], 1, sizeof *ids, f) == sizeof *ids && ids[i] >= 0 && ids[i] < s->m->n_vocab;
        hash = mix(hash, &ids[i], sizeof *ids);
    }
    for (const ev_state *st = s->states; st; st = st->next)
        for (int64_t i = 0; i < head->n_tokens && ok; i++) {
            char *to = q ? (char *)st->ir.data + st->ir.slot_bytes * (size_t)q->slots[q->first + i] : slot;
            ok = fread(to, 1, st->ir.slot_bytes, f) == st->ir.slot_bytes;
            hash = mix(hash, to, st->ir.slot_bytes);
        }
    return ok && fread(&end, 1, sizeof end, f) == sizeof end && (end == hash || !HASH_CHECKED);
}

// The slots' states also hold positions; a sequence begins at 0, so they are the ones that were saved.
static tl_status take(tl_session *s, int32_t seq, FILE *f, const char *path, const file_head *head, char *note, int32_t *ids, char *slot, tl_error *err) {
    sequence *q = &s->seqs[seq];
    if (!read_all(f, s, head, NULL, note, ids, slot)) return err_set(err, TL_E_FORMAT, "%s: the session file is damaged", path);
    int64_t own = 0; // slots that come free with the present sequence
    for (int64_t i = 0; i < q->n; i++) own += s->pool.slot[q->slots[q->first + i]].owners == 1;
    if (head->n_tokens > s->pool.n_free + own)
        return err_set(err, TL_E_LIMIT, "%s: the session has %lld tokens, the cache room for %lld; ask for more with -c N", path, (long long)head->n_tokens, (long long)(s->pool.n_free + own));
    tl_seq_cut(s, seq, 0);
    uint64_t hash = s->pool.seed;
    for (int64_t i = 0; i < head->n_tokens; i++) session_append(s, q, slots_take(&s->pool));
    bool whole = read_all(f, s, head, q, note, ids, slot);
    tl_status st = whole ? plan_states_send(s->p, q->slots + q->first, q->n, err) : err_set(err, TL_E_FORMAT, "%s: the session file changed while it was read", path);
    if (st != TL_OK) {
        tl_seq_cut(s, seq, 0);
        return st;
    }
    for (int64_t i = 0; i < head->n_tokens; i++) {
        slots_learn(&s->pool, q->slots[q->first + i], hash, ids[i], (int32_t)i);
        hash = s->pool.slot[q->slots[q->first + i]].hash;
    }
    return TL_OK;
}

tl_status tl_session_load(tl_session *s, int32_t seq, const char *path, int32_t **ids, size_t *n, char **note, size_t *n_note, tl_error *err) {
    file_head head;
    int64_t slot_bytes;
    if (seq < 0 || seq >= s->n_seq) return err_set(err, TL_E_USAGE, "sequence %d of %d", seq, s->n_seq);
    FILE *f = fopen(path, "rb");
    if (!f) return err_set(err, TL_E_FORMAT, "%s: %s", path, strerror(errno));
    tl_status st = check_head(s, f, path, &head, &slot_bytes, err);
    char *text = st == TL_OK ? mem_calloc((size_t)head.n_note + 1, 1) : NULL, *slot = st == TL_OK ? mem_alloc((size_t)slot_bytes + 1) : NULL;
    int32_t *tokens = st == TL_OK ? mem_alloc(((size_t)head.n_tokens + 1) * sizeof *tokens) : NULL;
    if (st == TL_OK && (!text || !slot || !tokens)) st = err_set(err, TL_E_MEMORY, "out of memory");
    if (st == TL_OK) st = take(s, seq, f, path, &head, text, tokens, slot, err);
    fclose(f);
    mem_free(slot);
    if (st == TL_OK && n) *n = (size_t)head.n_tokens;
    if (st == TL_OK && n_note) *n_note = (size_t)head.n_note;
    if (st == TL_OK && ids) *ids = tokens, tokens = NULL;
    if (st == TL_OK && note) *note = text, text = NULL;
    mem_free(text), mem_free(tokens);
    return st;
}
