// cuda.h - the CUDA backend: one device with its memory, launches and graphs, and the argument blocks of its kernels.
//
// Nothing of CUDA is linked: device.c loads the driver (libcuda.so.1) at run time. Kernels are compiled by nvcc and lie in
// the binary as images; a build without nvcc has no image and cuda_open() says so. Callers need no #ifdef.
//
// Kernels take exactly one struct by value, declared here for both sides. Pointers in them are device addresses. Work goes
// into the device's one stream in the order of the calls; only cuda_sync(), cuda_download() and cuda_free() wait.
#ifndef TL_CUDA_H
#define TL_CUDA_H
#include <stddef.h>
#include <stdint.h>

#include "cuda/layout.h"

// ---- matrices (layout.h) --------------------------------------------------------------------------------
typedef struct cuda_matrix { // W [n, k], in strips of 16 rows
    int32_t type;            // tl_dtype
    int32_t n, k;            // n: rows of the slice
    int32_t strip0;          // first strip of a slice of rows (which starts at a multiple of 16 of them)
    const void *data;        // the whole matrix, 256-byte aligned
} cuda_matrix;

// ---- y = W x -----------------------------------------------------------------------------------------
enum { CUDA_JOB_MATRICES = 4 };
typedef enum { CUDA_EPI_NONE, CUDA_EPI_ADD, CUDA_EPI_GLU } cuda_epilogue;
typedef struct cuda_linear_args {
    cuda_matrix m[CUDA_JOB_MATRICES]; // of one type and k. GLU: gate, up
    int32_t n_m, rows;
    const void *x;                    // activations (layout.h) of kind layout_act_kind(type, wide); F32: floats, ld_x between rows
    int64_t ld_x;
    int32_t wide;
    int32_t epilogue, map;            // GLU: y = map(gate) * up, map: a MAP1 row of cpu/map.def
    float *y[CUDA_JOB_MATRICES];      // [rows, n], ldy floats between rows. GLU: y[0]
    int64_t ldy[CUDA_JOB_MATRICES];
    const float *res;                 // ADD: y[0] = W x + res (res may be y)
    int64_t ld_res;
    int32_t tiles[CUDA_JOB_MATRICES]; // set by cuda_linear(): blocks along each matrix's strips
} cuda_linear_args;

typedef struct cuda_row_args { // one row: y = W f(x), bits as quantizing (and a norm before it) and cuda_linear() give them
    cuda_linear_args l;        // but rows, x, ld_x
    const float *x;            // 16-byte aligned; k a multiple of 8
    int32_t norm;              // 0 none, 1 rms_norm, then
    float eps;
    const float *w;            // may be NULL; 16-byte aligned
} cuda_row_args;

typedef struct cuda_repack_args { // the file's rows [n0, n0 + rows) of m at src; n0 a multiple of 16
    cuda_matrix m;
    const void *src;
    int64_t row_bytes;
    int32_t n0, rows;
} cuda_repack_args;

typedef struct cuda_quantize_args { // float rows -> activations of `kind`; with norm weights or NULL
    const float *x;
    int64_t ldx;
    int32_t rows, k, kind;       // cuda_act_kind
    int32_t norm;                // 0 none, 1 rms_norm, 2 layer_norm, then
    void *q;
    float eps;
    const float *w, *b;          // may be NULL
    float *y;                    // NULL, or where the normalised rows go as well [rows, k]
} cuda_quantize_args;

typedef struct cuda_embed_args { // out[r] = row ids[r] of m, zeros where that is none
    cuda_matrix m;
    const int32_t *ids;
    int64_t id_stride;
    int32_t rows;
    float *out;                  // [rows, k]
} cuda_embed_args;

// ---- attention ---------------------------------------------------------------------------------------
typedef struct cuda_seq { // a sequence's readable slots in device memory (attn_seq)
    const int32_t *slots, *at;
    int64_t n, dropped;
} cuda_seq;
typedef struct cuda_attn_args {
    int32_t rows, heads, kv_heads, dk, dv;
    const float *q;
    int64_t q_stride;
    const void *k, *v;
    int32_t kv_type, causal;             // tl_dtype: F16, F32, Q8_0
    int64_t k_slot_bytes, v_slot_bytes;
    const int32_t *seq, *pos;            // [rows]
    const cuda_seq *seqs;
    float scale, softcap;
    int32_t window, chunks;              // chunks: most that a row may have, for the grid
    const float *sinks;
    float *out;
    int64_t out_stride;
    float *work;                         // cuda_attention_work() bytes, or NULL: no row's chunks are shared out
    int32_t *counter;                    // its counters: zero between calls
    const uint32_t *mask;                // NULL, or bits [rows, 32 mask_stride] over the sequence's entries
    int64_t mask_stride;
    int32_t n_seqs, splits;              // sequences that the rows belong to (0: unknown); splits is set by cuda_attention()
} cuda_attn_args;

#ifndef __CUDACC__
#ifndef TL_SIMT
#include "base/dtype.h"

// ---- device --------------------------------------------------------------------------------------------
typedef struct cuda_device cuda_device;
typedef struct cuda_graph cuda_graph;
typedef struct cuda_info {
    char name[128];
    int ordinal, cc, sms, driver; // cc: 90; driver: 13000
    size_t total, free;           // bytes; free when opened
} cuda_info;
int cuda_count(void);             // devices that could be opened; 0 without a driver
// TL_E_UNSUPPORTED: no kernels in this build, no driver, no such device, wrong architecture; each says what to do.
tl_status cuda_open(int ordinal, cuda_device **out, tl_error *err);
void cuda_close(cuda_device *d);
const cuda_info *cuda_device_info(const cuda_device *d);
size_t cuda_memory_free(cuda_device *d);

tl_status cuda_alloc(cuda_device *d, size_t bytes, void **out, tl_error *err); // TL_E_MEMORY with the numbers
void cuda_free(cuda_device *d, void *p);
tl_status cuda_zero(cuda_device *d, void *dst, size_t bytes, tl_error *err);
tl_status cuda_upload(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err); // src is free on return
tl_status cuda_download(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err);
tl_status cuda_copy(cuda_device *d, void *dst, const void *src, size_t bytes, tl_error *err); // device to device
// The same without waiting, from and to pinned memory (cuda_host_alloc): may be recorded.
tl_status cuda_send(cuda_device *d, void *dst, const void *pinned, size_t bytes, tl_error *err);
tl_status cuda_fetch(cuda_device *d, void *pinned, const void *src, size_t bytes, tl_error *err);
enum { CUDA_RING_PART = 8 << 20 }; // bytes of a part of the pinned ring, and of the staging area at most
// The next free part of the pinned ring, to be filled by the caller, and its sending.
tl_status cuda_ring(cuda_device *d, void **part, size_t *bytes, tl_error *err);
tl_status cuda_stage(cuda_device *d, size_t bytes, void **out, tl_error *err); // device memory for what is on its way; reused
tl_status cuda_ring_send(cuda_device *d, void *dst, size_t bytes, tl_error *err);
// Memory of the host that the device reads in place.
tl_status cuda_host_alloc(cuda_device *d, size_t bytes, void **host, void **device, tl_error *err);
void cuda_host_free(cuda_device *d, void *host);

bool cuda_has(cuda_device *d, const char *kernel);
enum { CUDA_PDL = 1 }; // may start before the kernel before it has ended; it calls dev_wait() before reading what that wrote
tl_status cuda_launch(cuda_device *d, const char *kernel, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned shared, const void *args, size_t args_bytes,
                      unsigned flags, tl_error *err);
tl_status cuda_sync(cuda_device *d, tl_error *err);
// Launches between begin and end are recorded, not run.
tl_status cuda_record_begin(cuda_device *d, tl_error *err);
tl_status cuda_record_end(cuda_device *d, cuda_graph **out, tl_error *err); // out NULL: thrown away
tl_status cuda_replay(cuda_device *d, cuda_graph *g, tl_error *err);
void cuda_graph_free(cuda_device *d, cuda_graph *g);
// A point in the stream that the host can wait for. A point never marked has passed.
typedef struct cuda_point cuda_point;
tl_status cuda_point_new(cuda_device *d, cuda_point **out, tl_error *err);
tl_status cuda_point_mark(cuda_device *d, cuda_point *p, tl_error *err);
tl_status cuda_point_wait(cuda_device *d, cuda_point *p, tl_error *err);
void cuda_point_free(cuda_device *d, cuda_point *p);
// Times: mark i is a point in the stream; milliseconds between two after cuda_sync().
tl_status cuda_mark(cuda_device *d, int i, tl_error *err);
double cuda_between(cuda_device *d, int i, int j);
double cuda_bandwidth(cuda_device *d); // bytes a second of a copy inside its memory, read and written ones; 0: no room for it

// ---- choosing tokens (choose.c) ----------------------------------------------------------------------
typedef struct cuda_chooser cuda_chooser;
typedef struct cuda_edit { // of the logit of one id
    int32_t id, count;     // count: of penalties
    float bias;
} cuda_edit;
typedef struct cuda_choice { // one row: see sample.h
    const float *x;        // on the device
    double u;
    int32_t k, n_ops, min_keep;
    struct { int32_t kind; float value; } op[4];
    float repeat, frequency, presence;
    const uint64_t *mask;  // NULL: all ids
    cuda_edit *edits;      // n_bias, in their order, then n_said, one an id
    size_t n_bias, n_said;
} cuda_choice;
tl_status cuda_chooser_new(cuda_device *d, cuda_chooser **out, tl_error *err);
void cuda_chooser_free(cuda_chooser *c);
// Begins to choose among n logits for each row; what was begun before has been waited for.
tl_status cuda_choose(cuda_chooser *c, const cuda_choice *rows, int n_rows, int64_t n, tl_error *err);
tl_status cuda_chosen(cuda_chooser *c, int32_t *ids, tl_error *err); // waits for it; -1: there was nothing to choose from
const int32_t *cuda_chosen_ids(const cuda_chooser *c);               // where they are on the device
tl_status cuda_feed(cuda_device *d, int32_t *tok, int64_t rows, const int32_t *ids, tl_error *err); // -1 - i in tok becomes ids[i]

// ---- products and attention: launchers ---------------------------------------------------------------
bool cuda_is_matrix(tl_dtype t);
// Bytes of a matrix and of `rows` activations of k values: layout_matrix_bytes(), layout_act_bytes() of layout.h.
tl_status cuda_repack(cuda_device *d, const cuda_repack_args *a, tl_error *err);
tl_status cuda_embed(cuda_device *d, const cuda_embed_args *a, tl_error *err);
tl_status cuda_quantize(cuda_device *d, const cuda_quantize_args *a, tl_error *err);
tl_status cuda_linear(cuda_device *d, const cuda_linear_args *a, tl_error *err);
tl_status cuda_linear_shape(cuda_device *d, const cuda_linear_args *a, int shape, tl_error *err); // as the named row of linear_shapes.h; bits are equal
bool cuda_row_takes(const cuda_row_args *a);
tl_status cuda_row(cuda_device *d, const cuda_row_args *a, tl_error *err);
bool cuda_linear_fits(int type, bool wide, int64_t k, int shape); // into shared memory
bool cuda_attention_takes(const cuda_attn_args *a); // else the kernel attn_any; by shape and types alone
size_t cuda_attention_work(const cuda_attn_args *a, size_t *counters); // bytes of work, and of counter, for so many rows and chunks
tl_status cuda_attention(cuda_device *d, const cuda_attn_args *a, tl_error *err);
struct attn_one_args; // attn_rows.h
tl_status cuda_attention_one(cuda_device *d, const struct attn_one_args *a, tl_error *err); // for what cuda_attention_takes()
#endif
#endif
#endif
