// toy.h - graphs for the tests of src/ir and src/plan: short forms of the constructors, and a small decoder-only transformer
// written as its equations (nothing fused), as the tracer writes a program.
#ifndef TOY_H
#define TOY_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gguf/quant.h"
#include "plan/plan.h"

// ---- random data ---------------------------------------------------------------------------------
float toy_random(uint64_t *seed); // in [-1, 1)
// A weight of random values times `scale`, in the given format.
ir_weight *toy_weight(arena *a, const char *name, tl_dtype t, int64_t rows, int64_t cols, float scale, uint64_t *seed);
ir_state *toy_state(arena *a, const char *name, tl_dtype t, int64_t slots, int64_t width, int64_t layer);

// ---- short forms ---------------------------------------------------------------------------------
// A space from sizes, -1: the symbolic label; 0 ends. nout: output labels.
ir_space toy_space(ir_sym sym, int nout, ...);
ir_edge toy_edge(ir_node *n, int64_t offset, ...); // strides, one for each label; ends at TOY_END
#define TOY_END INT64_MIN
#define N(x) ((int64_t)(x))
#define P N(-1)
#define SPACE(sym, nout, ...) toy_space(sym, nout, __VA_ARGS__, N(0))
#define EDGE(node, offset, ...) toy_edge(node, N(offset), __VA_ARGS__, TOY_END)
ir_node *toy_map1(ir_graph *g, map_op op, ir_node *a);
ir_node *toy_map2(ir_graph *g, map_op op, ir_node *a, ir_node *b); // equal spaces, or b a scalar
ir_node *toy_linear(ir_graph *g, ir_weight *w, ir_node *x);        // x [p, k]
ir_node *toy_rms_norm(ir_graph *g, ir_node *x, ir_weight *w, float eps);

// ---- the transformer -----------------------------------------------------------------------------
typedef struct toy_config {
    int64_t embd, heads, kv_heads, head, ffn, vocab, layers, slots;
    tl_dtype weights, cache;
    int32_t window;     // of odd layers; 0: none
    float softcap;      // of scores; 0: none
    bool interleaved;
    bool plain;         // do not rewrite and fuse
} toy_config;
extern const toy_config toy_small;

typedef struct toy_model {
    arena mem;
    toy_config c;
    ir_graph g;
    ir_weight *weights[1024];
    int n_weights;
    ir_state *states[256];
    int n_states;
    ir_node *watched;   // residual stream after layer 0
} toy_model;
void toy_build(toy_model *m, const toy_config *c);
void toy_free(toy_model *m);
void toy_clear_states(toy_model *m);

// ---- running -------------------------------------------------------------------------------------
plan_backend toy_backend(pool *threads);
enum { TOY_ROWS = 64 };
typedef struct toy_step { // arrays behind a plan_step
    int32_t tok[TOY_ROWS], pos[TOY_ROWS], seq[TOY_ROWS], slot[TOY_ROWS], out[TOY_ROWS];
    int32_t slots[4][TOY_ROWS], at[4][TOY_ROWS];
    attn_seq seqs[4];
    plan_step s;
} toy_step;
// rows [r0, r1) of one sequence `seq` at positions r0.., slots base + position; asks for outputs of the last row or of all.
void toy_rows(toy_step *t, int64_t r0, int64_t r1, int seq, int32_t base, bool all_outs);
double toy_distance(const float *a, const float *b, int64_t n); // max |a - b| / max |b|
#endif
