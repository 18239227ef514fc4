// choose.c - tokens chosen on the device (sample.cu): what the rows' samplers want goes there in one transfer, ids come back
// into memory that the device writes in place.
#include "cuda/cuda.h"
#include "cuda/sample.h"

struct cuda_chooser {
    cuda_device *d;
    cuda_point *done;
    char *host;              // pinned: rows, masks, edits
    void *input;             // the same on the device
    size_t room;
    int32_t *ids_host, *ids_mapped; // pinned, and its address on the device
    int32_t *ids;
    unsigned *counter;
    unsigned long long *found;
    size_t found_room;
    int n_rows, most_rows;
    bool begun;
};

tl_status cuda_chooser_new(cuda_device *d, cuda_chooser **out, tl_error *err) {
    cuda_chooser *c = mem_calloc(1, sizeof *c);
    if (!c) return err_set(err, TL_E_MEMORY, "out of memory");
    c->d = d;
    tl_status st = cuda_point_new(d, &c->done, err);
    if (st != TL_OK) cuda_chooser_free(c);
    else *out = c;
    return st;
}

void cuda_chooser_free(cuda_chooser *c) {
    if (!c) return;
    cuda_host_free(c->d, c->host);
    cuda_host_free(c->d, c->ids_host);
    cuda_free(c->d, c->input);
    cuda_free(c->d, c->ids);
    cuda_free(c->d, c->counter);
    cuda_free(c->d, c->found);
    cuda_point_free(c->d, c->done);
    mem_free(c);
}

// ---- room ------------------------------------------------------------------------------------------------
static tl_status row_room(cuda_chooser *c, int n, tl_error *err) {
    if (n <= c->most_rows) return TL_OK;
    size_t bytes = (size_t)n * sizeof(int32_t);
    void *device;
    cuda_host_free(c->d, c->ids_host);
    cuda_free(c->d, c->ids);
    cuda_free(c->d, c->counter);
    c->ids_host = c->ids = NULL, c->counter = NULL, c->most_rows = 0;
    TL_TRY(cuda_host_alloc(c->d, bytes, (void **)&c->ids_host, &device, err));
    TL_TRY(cuda_alloc(c->d, bytes, (void **)&c->ids, err));
    TL_TRY(cuda_alloc(c->d, bytes, (void **)&c->counter, err));
    TL_TRY(cuda_zero(c->d, c->counter, bytes, err));
    c->ids_mapped = device;
    c->most_rows = n;
    return TL_OK;
}

static tl_status found_room(cuda_chooser *c, size_t n, tl_error *err) {
    if (n <= c->found_room) return TL_OK;
    cuda_free(c->d, c->found);
    c->found = NULL, c->found_room = 0;
    TL_TRY(cuda_alloc(c->d, n * sizeof *c->found, (void **)&c->found, err));
    c->found_room = n;
    return TL_OK;
}

static tl_status input_room(cuda_chooser *c, size_t bytes, tl_error *err) {
    if (bytes <= c->room) return TL_OK;
    size_t room = bytes * 2 + 4096;
    cuda_host_free(c->d, c->host);
    cuda_free(c->d, c->input);
    c->host = NULL, c->input = NULL, c->room = 0;
    TL_TRY(cuda_host_alloc(c->d, room, (void **)&c->host, NULL, err));
    TL_TRY(cuda_alloc(c->d, room, &c->input, err));
    c->room = room;
    return TL_OK;
}

// ---- one choice --------------------------------------------------------------------------------------------
static size_t part(size_t *at, size_t bytes) {
    size_t here = *at;
    *at += (bytes + 15) / 16 * 16;
    return here;
}

// Masks of many rows are often one and the same.
static int64_t mask_place(const cuda_choice *rows, const sample_row *to, int i) {
    for (int j = 0; j < i; j++)
        if (rows[j].mask == rows[i].mask) return to[j].mask;
    return -1;
}

static void write_edits(const cuda_choice *c, sample_edit *to) {
    for (size_t i = 0; i < c->n_bias; i++) to[i] = (sample_edit){.id = c->edits[i].id, .u.bias = c->edits[i].bias};
    for (size_t i = c->n_bias; i < c->n_bias + c->n_said; i++) to[i] = (sample_edit){.id = c->edits[i].id, .u.count = c->edits[i].count};
}

static void write_row(const cuda_choice *c, sample_row *r) { // without mask and edits
    *r = (sample_row){.x = c->x, .u = c->u, .k = c->k, .n_ops = c->n_ops, .min_keep = c->min_keep, .repeat = c->repeat, .frequency = c->frequency, .presence = c->presence, .mask = -1};
    for (int o = 0; o < c->n_ops; o++) r->op[o] = c->op[o].kind, r->value[o] = c->op[o].value;
}

// Lays the rows' data out; with `host` it is written there.
static size_t write_rows(const cuda_choice *rows, int n_rows, int64_t n, sample_row *to, char *host) {
    size_t at = 0, words = (size_t)(n + 63) / 64 * sizeof(uint64_t);
    (void)part(&at, (size_t)n_rows * sizeof *to);
    for (int i = 0; i < n_rows; i++) {
        const cuda_choice *c = &rows[i];
        int64_t mask = c->mask && host ? mask_place(rows, to, i) : -1;
        size_t edits = part(&at, (c->n_bias + c->n_said) * sizeof(sample_edit));
        if (c->mask && mask < 0) {
            mask = (int64_t)part(&at, words);
            if (host) memcpy(host + mask, c->mask, words);
        }
        if (!host) continue;
        sample_row *r = &to[i];
        write_row(c, r);
        r->n_bias = (int32_t)c->n_bias, r->n_said = (int32_t)c->n_said, r->mask = mask;
        r->bias = (int64_t)edits, r->said = (int64_t)(edits + c->n_bias * sizeof(sample_edit));
        write_edits(c, (sample_edit *)(void *)(host + edits));
    }
    return at;
}

// Few rows without masks and edits travel with the launch, which saves a transfer.
static bool fit_inline(const cuda_choice *rows, int n_rows, sample_pick_args *a) {
    if (n_rows > SAMPLE_INLINE) return false;
    for (int i = 0; i < n_rows; i++) {
        if (rows[i].mask || rows[i].n_bias || rows[i].n_said) return false;
        write_row(&rows[i], &a->row[i]);
    }
    return true;
}

static tl_status send_rows(cuda_chooser *c, const cuda_choice *rows, int n_rows, int64_t n, sample_pick_args *a, tl_error *err) {
    TL_TRY(input_room(c, write_rows(rows, n_rows, n, NULL, NULL), err));
    size_t bytes = write_rows(rows, n_rows, n, (sample_row *)(void *)c->host, c->host);
    a->rows = c->input, a->data = c->input;
    return cuda_send(c->d, c->input, c->host, bytes, err);
}

tl_status cuda_choose(cuda_chooser *c, const cuda_choice *rows, int n_rows, int64_t n, tl_error *err) {
    int64_t chunks = sample_chunks(n);
    int32_t room = 1;
    for (int i = 0; i < n_rows; i++) room = rows[i].k > room ? rows[i].k : room;
    TL_TRY(row_room(c, n_rows, err));
    TL_TRY(found_room(c, (size_t)n_rows * (size_t)chunks * (size_t)room, err));
    sample_pick_args a = {.n = n, .room = room, .found = c->found, .counter = c->counter, .ids = c->ids, .ids_host = c->ids_mapped};
    if (!fit_inline(rows, n_rows, &a)) TL_TRY(send_rows(c, rows, n_rows, n, &a, err));
    TL_TRY(cuda_launch(c->d, "sample_pick", (unsigned)chunks, (unsigned)n_rows, 1, SAMPLE_THREADS, 0, &a, sizeof a, 0, err));
    TL_TRY(cuda_point_mark(c->d, c->done, err));
    c->n_rows = n_rows;
    c->begun = true;
    return TL_OK;
}

tl_status cuda_chosen(cuda_chooser *c, int32_t *ids, tl_error *err) {
    if (c->begun) TL_TRY(cuda_point_wait(c->d, c->done, err));
    c->begun = false;
    memcpy(ids, c->ids_host, (size_t)c->n_rows * sizeof *ids);
    return TL_OK;
}

const int32_t *cuda_chosen_ids(const cuda_chooser *c) { return c->ids; }

tl_status cuda_feed(cuda_device *d, int32_t *tok, int64_t rows, const int32_t *ids, tl_error *err) {
    sample_feed_args a = {.tok = tok, .rows = rows, .ids = ids};
    return cuda_launch(d, "sample_feed", (unsigned)((rows + SAMPLE_THREADS - 1) / SAMPLE_THREADS), 1, 1, SAMPLE_THREADS, 0, &a, sizeof a, 0, err);
}
