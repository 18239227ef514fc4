// ops.h - argument blocks of the kernels in ops.cu, which compute any node of the IR that has no kernel of its own kind.
#ifndef TL_CUDA_OPS_H
#define TL_CUDA_OPS_H
#include <stdint.h>

enum { OPS_LABELS = 12, OPS_INPUTS = 8, OPS_CODE = 64, OPS_STACK = 16 };

// As plan/plan_int.h's reader: how an edge reads its array.
enum { OPS_F32, OPS_I32, OPS_SCALAR, OPS_STATE, OPS_BLOCKS };
typedef struct ops_reader {
    const void *p;
    int32_t kind, type;
    float scalar;
    int32_t width;          // STATE: elements of a slot
    int64_t slot_bytes, offset;
    int64_t stride[OPS_LABELS];
} ops_reader;
typedef struct ops_space { // output labels, then folded ones; size[0]: the rows of this launch
    int32_t nout, nlab, size[OPS_LABELS];
    int64_t count;         // output elements
} ops_space;

typedef struct ops_map_args { // postfix program; MAP: push, push, op
    ops_space s;
    int32_t n_in, n_code;
    float *out;
    int8_t code[OPS_CODE], arg[OPS_CODE]; // code -1: push in[arg]
    ops_reader in[OPS_INPUTS];
} ops_map_args;

typedef struct ops_gather_args {
    ops_space s;
    int32_t n_in, integer;
    int64_t gstride[OPS_INPUTS], limit[OPS_INPUTS]; // of index inputs 1..
    void *out;
    ops_reader in[OPS_INPUTS];
} ops_gather_args;

typedef struct ops_part_args { // one part of an ASSEMBLE; sizes are the part's
    ops_space s;
    ops_reader in;
    int64_t dst[OPS_LABELS], offset;
    float *out;
} ops_part_args;

typedef struct ops_scatter_args {
    ops_space s;
    ops_reader in, slot;
    int32_t has_slot, type, width, pad;
    int64_t to_offset, to_stride[OPS_LABELS], gstride, limit, slot_bytes;
    void *data;
} ops_scatter_args;

// Several of the above one after the other in one block: small ones whose launches would take longer than they.
enum { OPS_TASKS = 12, OPS_TASK_BYTES = 3840, OPS_TASK_MOST = 512 }; // MOST: output elements of each
typedef enum { OPS_MAP, OPS_GATHER, OPS_PART, OPS_SCATTER } ops_task_kind;
typedef struct ops_some_args {
    int32_t n, ahead;       // ahead: they read nothing of the launch in front, which began when all before it had ended
    struct { int16_t kind, behind; int32_t at; } task[OPS_TASKS]; // behind: it reads what tasks before it have made; at: of its arguments in `args`
    int64_t args[OPS_TASK_BYTES / 8]; // each up to its last input
} ops_some_args;

typedef struct ops_row_args { // SOFTMAX, TOPK: one block a run of the last output label
    ops_space s;
    int32_t n_in, run;
    int64_t k;
    ops_reader in[2];
    float *out;
} ops_row_args;

typedef struct ops_fold_args { // REDUCE, EINSUM: one warp an output
    ops_space s;
    int32_t n_in, fold;
    int64_t folded;        // folded elements
    ops_reader in[2];
    float *out;
} ops_fold_args;

typedef struct ops_norm_args { // RMS_NORM, LAYER_NORM: one block a run of the last output label
    ops_space s;
    int32_t n_in, run, layer; // in: x, w, b; the last two may be missing
    float eps;
    ops_reader in[3];
    float *out;
} ops_norm_args;

typedef struct ops_rope_args {
    const float *x, *cs;
    int64_t x_row, cs_row, head_stride, rows;
    int32_t heads, d, rot, interleaved;
    float *out;
} ops_rope_args;

struct cuda_seq;
typedef struct ops_owned_args {
    ops_reader seq;
    const void *seqs;      // cuda_seq [n_seqs]
    int32_t n_seqs, slots;
    int64_t rows;
    float *out;
} ops_owned_args;

typedef struct ops_list_args { // changes of the sequences' slot lists: [n, 4] sequence, index, slot, position
    const int32_t *edits;
    int32_t *slots, *at;   // [sequences, stride]
    int64_t stride, n;
} ops_list_args;

// Inputs of a step that travel with the launch, to `to`; and what sample_feed and ops_lists do for others. One block.
enum { OPS_INLINE = 960 }; // words: a launch takes 4096 bytes
typedef struct ops_inputs_args {
    int32_t *to;
    const int32_t *ids;    // of choices, or NULL
    int32_t *slots, *at;   // [sequences, stride]
    int64_t stride;
    int32_t words, tok, rows, edits, n_edits, pad; // tok, edits: where in `word` the [rows] tokens and the changes begin
    int32_t word[OPS_INLINE];
} ops_inputs_args;

typedef struct ops_pick_args { // greedy: the first largest value of each row, NaN never
    const float *x;
    int64_t n;
    int32_t rows, pad;
    int32_t *out;
} ops_pick_args;
#endif
