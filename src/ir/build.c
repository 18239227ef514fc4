// build.c - constructors of IR nodes: every node is brought to a canonical form (size-1 labels dropped, labels
// merged where all edges allow, constants folded, algebra on scalars) and hash-consed, so equal computations are
// one node whatever style they were written in.
#include <math.h>

#include "ir/ir_int.h"

const char *const map_names[MAP_END] = {
#define MAP1(name, expr) #name,
#define MAP2(name, expr) #name,
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    "COPY", "SELECT"};
const uint8_t map_arity[MAP_END] = {
#define MAP1(name, expr) 1,
#define MAP2(name, expr) 2,
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    1, 3};
const char *const fold_names[FOLD_COUNT] = {"sum", "max", "min", "avg", "or", "prod"};

float map_eval(map_op op, float a, float b, float c) {
    switch (op) {
#define MAP1(name, expr)                                                                                               \
    case MAP_##name: return expr;
#define MAP2 MAP1
#include "cpu/map.def"
#undef MAP1
#undef MAP2
    case MAP_COPY: return a;
    case MAP_SELECT: return a != 0 ? b : c;
    case MAP_END: break;
    }
    return NAN;
}

const char *ir_op_name(ir_op op) {
    static const char *const names[] = {
#define IR_OP(name, what) #name,
#include "ir/ops.def"
#undef IR_OP
    };
    return names[op];
}

void ir_init(ir_graph *g, arena *a) {
    *g = (ir_graph){.a = a, .table_cap = 256, .fold_limit = 1 << 20};
    g->tail = &g->first;
    g->table = arena_array(a, ir_node *, g->table_cap);
}

// ---- hash-consing --------------------------------------------------------------------------------
static uint64_t mix(uint64_t h, uint64_t v) {
    h = (h ^ v) * 0x9fb21c651e98df25u;
    return h ^ h >> 32;
}

static uint64_t double_bits(double v) {
    uint64_t u;
    memcpy(&u, &v, 8);
    return u;
}

// Small constant arrays are equal by content (a table made twice is one node), large ones by place.
enum { CONTENT_BYTES = 1 << 17 };
static bool by_content(const ir_node *n) { return n->u.k.n * 4 <= CONTENT_BYTES; }
static uint64_t array_hash(const ir_node *n) {
    if (!by_content(n)) return (uintptr_t)n->u.k.data;
    return str_hash((str){n->u.k.data, (size_t)n->u.k.n * 4});
}

// The part of the union that an operation uses, as a hash.
static uint64_t attr_hash(const ir_node *n, uint64_t h) {
    switch (n->op) {
    case IR_CONST: return mix(mix(h, n->u.k.scalar ? double_bits(n->u.k.value) : array_hash(n)), (uint64_t)n->u.k.n);
    case IR_WEIGHT: case IR_LINEAR: case IR_EMBED: return mix(h, (uintptr_t)n->u.weight);
    case IR_STATE: return mix(mix(h, (uintptr_t)n->u.state.ref), (uint64_t)n->u.state.version);
    case IR_GATHER:
        for (int i = 0; i < n->n_in - 1; i++) h = mix(mix(h, (uint64_t)n->u.gather.gstride[i]), (uint64_t)n->u.gather.limit[i]);
        return h;
    case IR_SCATTER: return mix(mix(mix(h, (uint64_t)n->u.gather.gstride[0]), (uint64_t)n->u.gather.limit[0]), (uintptr_t)n->state2);
    case IR_ASSEMBLE:
        for (int i = 0; i < n->n_in; i++) {
            h = mix(h, (uint64_t)n->u.parts.offset[i]);
            for (int j = 0; j < n->nout; j++) h = mix(mix(h, (uint64_t)n->u.parts.stride[i * n->nout + j]), (uint64_t)n->u.parts.sizes[i * n->nout + j]);
        }
        return h;
    case IR_RMS_NORM: case IR_LAYER_NORM: return mix(h, double_bits(n->u.norm.eps));
    case IR_ROPE:
        h = mix(mix(mix(h, (uint64_t)n->u.rope.heads), (uint64_t)n->u.rope.d), (uint64_t)n->u.rope.rot << 1 | n->u.rope.interleaved);
        return mix(h, (uint64_t)n->u.rope.head_stride);
    case IR_ATTENTION:
        h = mix(mix(h, (uint64_t)n->u.attn.heads << 32 | (uint64_t)n->u.attn.kv_heads), (uint64_t)n->u.attn.dk << 32 | (uint64_t)n->u.attn.dv);
        h = mix(mix(h, double_bits(n->u.attn.scale)), double_bits(n->u.attn.softcap));
        return mix(mix(h, (uint64_t)(uint32_t)n->u.attn.window << 1 | n->u.attn.causal), (uintptr_t)n->state2 ^ (uintptr_t)n->state3 << 1);
    case IR_FUSED:
        for (int i = 0; i < n->u.fused.n; i++) h = mix(h, (uint64_t)(uint16_t)n->u.fused.code[i].op << 16 | (uint16_t)n->u.fused.code[i].arg);
        return h;
    case IR_TOPK: return mix(h, (uint64_t)n->u.topk);
    default: return h;
    }
}

static uint64_t node_hash(const ir_node *n) {
    uint64_t h = mix((uint64_t)n->op << 32 | (uint64_t)(uint32_t)n->sub, (uint64_t)n->type << 24 | (uint64_t)n->nlab << 16 | (uint64_t)n->nout << 8 | n->sym);
    for (int i = 0; i < n->nlab; i++) h = mix(h, i == 0 && n->sym ? 0 : (uint64_t)n->size[i]);
    for (int e = 0; e < n->n_in; e++) {
        h = mix(mix(h, (uint64_t)n->in[e].node->id), (uint64_t)n->in[e].offset);
        for (int i = 0; i < n->nlab; i++) h = mix(h, (uint64_t)n->in[e].stride[i]);
    }
    return attr_hash(n, h);
}

static bool attr_equal(const ir_node *a, const ir_node *b) {
    switch (a->op) {
    case IR_CONST:
        return a->u.k.scalar == b->u.k.scalar && a->u.k.n == b->u.k.n &&
               (a->u.k.scalar ? double_bits(a->u.k.value) == double_bits(b->u.k.value)
                               : a->u.k.data == b->u.k.data || (by_content(a) && !memcmp(a->u.k.data, b->u.k.data, (size_t)a->u.k.n * 4)));
    case IR_WEIGHT: case IR_LINEAR: case IR_EMBED: return a->u.weight == b->u.weight;
    case IR_STATE: return a->u.state.ref == b->u.state.ref && a->u.state.version == b->u.state.version;
    default: return true; // the rest is in the 64-bit hash; ASSEMBLE and FUSED are compared there too
    }
}

static bool node_equal(const ir_node *a, const ir_node *b) {
    if (a->hash != b->hash || a->op != b->op || a->sub != b->sub || a->n_in != b->n_in || a->nlab != b->nlab || a->nout != b->nout) return false;
    for (int i = a->sym ? 1 : 0; i < a->nlab; i++)
        if (a->size[i] != b->size[i]) return false;
    for (int e = 0; e < a->n_in; e++) {
        if (a->in[e].node != b->in[e].node || a->in[e].offset != b->in[e].offset) return false;
        if (memcmp(a->in[e].stride, b->in[e].stride, sizeof(int64_t) * a->nlab)) return false;
    }
    return attr_equal(a, b);
}

static void table_grow(ir_graph *g) {
    size_t cap = g->table_cap * 2;
    ir_node **t = arena_array(g->a, ir_node *, cap);
    for (size_t i = 0; i < g->table_cap; i++) {
        if (!g->table[i]) continue;
        size_t j = g->table[i]->hash & (cap - 1);
        while (t[j]) j = (j + 1) & (cap - 1);
        t[j] = g->table[i];
    }
    g->table = t;
    g->table_cap = cap;
}

static int64_t inner_elements(const ir_node *n) {
    int64_t e = 1;
    for (int i = n->sym ? 1 : 0; i < n->nout; i++) e *= n->size[i];
    return e;
}

ir_node *ir_proto(ir_graph *g, ir_op op, const ir_space *sp, int n_in) {
    ir_node *n = arena_new(g->a, ir_node);
    n->op = op;
    n->type = DT_F32;
    if (sp) {
        n->nlab = (uint8_t)sp->nlab;
        n->nout = (uint8_t)sp->nout;
        n->sym = sp->sym;
        memcpy(n->size, sp->size, sizeof n->size);
    }
    n->n_in = n_in;
    n->in = n_in ? arena_array(g->a, ir_edge, n_in) : NULL;
    return n;
}

ir_node *ir_intern(ir_graph *g, const ir_node *proto) {
    ir_node *n = (ir_node *)proto;
    n->hash = node_hash(n);
    if (g->n * 2 >= g->table_cap) table_grow(g);
    size_t i = n->hash & (g->table_cap - 1);
    for (; g->table[i]; i = (i + 1) & (g->table_cap - 1))
        if (node_equal(g->table[i], n)) return g->table[i];
    g->table[i] = n;
    n->inner = inner_elements(n);
    n->id = (int32_t)g->n++;
    n->at = g->at;
    n->next = NULL;
    *g->tail = n;
    g->tail = &n->next;
    return n;
}

void ir_unlist(ir_graph *g, const ir_node *n) {
    size_t mask = g->table_cap - 1, i = n->hash & mask;
    while (g->table[i] && g->table[i] != n) i = (i + 1) & mask;
    if (!g->table[i]) return;
    for (size_t j = (i + 1) & mask; g->table[j]; j = (j + 1) & mask) // what was put off by n moves up
        if (((j - g->table[j]->hash) & mask) >= ((j - i) & mask)) g->table[i] = g->table[j], i = j;
    g->table[i] = NULL;
}

ir_node *ir_relist(ir_graph *g, ir_node *n) {
    n->hash = node_hash(n);
    size_t i = n->hash & (g->table_cap - 1);
    for (; g->table[i]; i = (i + 1) & (g->table_cap - 1))
        if (node_equal(g->table[i], n)) return g->table[i];
    return g->table[i] = n;
}

void ir_rehash(ir_graph *g, ir_node *n) {
    n->hash = node_hash(n);
    size_t i = n->hash & (g->table_cap - 1);
    while (g->table[i]) i = (i + 1) & (g->table_cap - 1);
    g->table[i] = n;
}

// ---- canonical iteration space -------------------------------------------------------------------
static void label_remove(ir_node *n, int at) {
    for (int i = at; i + 1 < n->nlab; i++) {
        n->size[i] = n->size[i + 1];
        for (int e = 0; e < n->n_in; e++) n->in[e].stride[i] = n->in[e].stride[i + 1];
    }
    n->nlab--;
    if (at < n->nout) n->nout--;
    for (int e = 0; e < n->n_in; e++) n->in[e].stride[n->nlab] = 0;
}

static void label_swap(ir_node *n, int a, int b) {
    int64_t t = n->size[a];
    n->size[a] = n->size[b], n->size[b] = t;
    for (int e = 0; e < n->n_in; e++) {
        t = n->in[e].stride[a];
        n->in[e].stride[a] = n->in[e].stride[b], n->in[e].stride[b] = t;
    }
}

// Folded labels ordered by how far they move the first input (then the second), widest first.
static void sort_folded(ir_node *n) {
    for (int i = n->nout + 1; i < n->nlab; i++)
        for (int j = i; j > n->nout; j--) {
            int64_t a = n->in[0].stride[j - 1], b = n->in[0].stride[j];
            if (a == b && n->n_in > 1) a = n->in[1].stride[j - 1], b = n->in[1].stride[j];
            if (a >= b) break;
            label_swap(n, j - 1, j);
        }
}

static bool mergeable(const ir_node *n, int i) { // labels i and i + 1
    if (i == 0 && n->sym) return false;
    if ((i < n->nout) != (i + 1 < n->nout)) return false;
    for (int e = 0; e < n->n_in; e++)
        if (n->in[e].stride[i] != n->in[e].stride[i + 1] * n->size[i + 1]) return false;
    return true;
}

// `fixed`: output labels from this one on keep their identity (SOFTMAX's axis).
void ir_canonical(ir_node *n, int fixed) {
    if (n->nlab > n->nout) sort_folded(n);
    for (int i = n->nlab - 1; i >= 0; i--) {
        if (i == 0 && n->sym) continue;
        if (n->size[i] == 1 && !(i < n->nout && i >= fixed)) {
            label_remove(n, i);
            if (i < fixed) fixed--;
        }
    }
    for (int i = n->nlab - 2; i >= 0; i--) {
        if (i + 1 >= fixed && i + 1 < n->nout) continue;
        if (!mergeable(n, i)) continue;
        n->size[i + 1] *= n->size[i];
        label_remove(n, i);
        if (i < fixed) fixed--;
    }
}

// ---- leaves --------------------------------------------------------------------------------------
ir_node *ir_scalar(ir_graph *g, double v) {
    ir_node *n = ir_proto(g, IR_CONST, NULL, 0);
    n->u.k.value = v;
    n->u.k.n = 1;
    n->u.k.scalar = true;
    return ir_intern(g, n);
}

ir_node *ir_const(ir_graph *g, tl_dtype t, const void *data, int64_t count) {
    if (count == 1 && t == DT_F32) return ir_scalar(g, (double)*(const float *)data);
    if (count == 1 && t == DT_I32) return ir_scalar(g, (double)*(const int32_t *)data);
    ir_node *n = ir_proto(g, IR_CONST, NULL, 0);
    n->type = t;
    n->u.k.data = data;
    n->u.k.n = count;
    n->nlab = n->nout = 1;
    n->size[0] = count;
    return ir_intern(g, n);
}

ir_node *ir_input_node(ir_graph *g, ir_input which, ir_sym sym) {
    ir_node *n = ir_proto(g, IR_INPUT, NULL, 0);
    n->type = DT_I32;
    n->sub = (int)which;
    n->sym = sym;
    n->nlab = n->nout = 1;
    return ir_intern(g, n);
}

ir_node *ir_weight_node(ir_graph *g, ir_weight *w) {
    ir_node *n = ir_proto(g, IR_WEIGHT, NULL, 0);
    n->type = w->type;
    n->u.weight = w;
    n->nlab = n->nout = 1;
    n->size[0] = w->rows * w->cols;
    n->name = w->name;
    return ir_intern(g, n);
}

ir_node *ir_state_node(ir_graph *g, ir_state *s, int version) {
    ir_node *n = ir_proto(g, IR_STATE, NULL, 0);
    n->type = s->type;
    n->u.state.ref = s;
    n->u.state.version = version;
    n->nlab = n->nout = 1;
    n->size[0] = s->slots * s->width;
    n->name = s->name;
    return ir_intern(g, n);
}

ir_node *ir_iota(ir_graph *g, int64_t count) {
    if (count == 1) return ir_scalar(g, 0);
    float *v = arena_alloc(g->a, (size_t)count * sizeof *v);
    for (int64_t i = 0; i < count; i++) v[i] = (float)i;
    ir_node *n = ir_proto(g, IR_IOTA, NULL, 0); // consed as IOTA so that equal ranges are one node
    n->nlab = n->nout = 1;
    n->size[0] = count;
    n->u.k.data = v;
    n->u.k.n = count;
    return ir_intern(g, n);
}

bool ir_is_scalar_const(const ir_node *n, double *v) {
    if (n->op != IR_CONST || !n->u.k.scalar) return false;
    if (v) *v = n->u.k.value;
    return true;
}

bool ir_is_const(const ir_node *n) { return n->op == IR_CONST || n->op == IR_IOTA; }

ir_edge ir_whole(ir_node *n) {
    ir_edge e = {.node = n};
    int64_t stride = 1;
    for (int i = n->nout - 1; i >= 0; i--) {
        e.stride[i] = stride;
        if (i > 0 || !n->sym) stride *= n->size[i];
    }
    return e;
}

// ---- constant folding ----------------------------------------------------------------------------
static bool foldable(const ir_node *n) {
    return ir_is_const(n) || (n->op == IR_WEIGHT && n->type == DT_F32 && n->u.weight->rows * n->u.weight->cols <= 1 << 16);
}

static float const_at(const ir_node *n, int64_t i) {
    if (n->op == IR_CONST && n->u.k.scalar) return (float)n->u.k.value;
    float v;
    if (n->op == IR_WEIGHT) {
        memcpy(&v, (const char *)n->u.weight->data + i * 4, 4);
        return v;
    }
    return n->type == DT_I32 ? (float)((const int32_t *)n->u.k.data)[i] : ((const float *)n->u.k.data)[i];
}

// All inputs of a MAP are constant arrays: computes it now. NULL when it is not worth it.
static ir_node *fold_map(ir_graph *g, const ir_node *n) {
    if (n->sym) return NULL;
    int64_t total = 1;
    for (int i = 0; i < n->nout; i++) total *= n->size[i];
    if (total > g->fold_limit) return NULL;
    for (int e = 0; e < n->n_in; e++)
        if (!foldable(n->in[e].node)) return NULL;
    float *out = arena_alloc(g->a, (size_t)total * sizeof *out);
    int64_t at[IR_MAX_LABELS] = {0};
    for (int64_t i = 0; i < total; i++) {
        float v[3] = {0};
        for (int e = 0; e < n->n_in; e++) {
            int64_t p = n->in[e].offset;
            for (int l = 0; l < n->nout; l++) p += at[l] * n->in[e].stride[l];
            v[e] = const_at(n->in[e].node, p);
        }
        out[i] = n->sub == MAP_POW ? (float)pow((double)v[0], (double)v[1]) : map_eval((map_op)n->sub, v[0], v[1], v[2]);
        for (int l = n->nout - 1; l >= 0 && ++at[l] == n->size[l]; l--) at[l] = 0;
    }
    return ir_const(g, DT_F32, out, total);
}

static double scalar_eval(map_op op, double a, double b) { // scalars fold in double
    switch (op) {
    case MAP_ADD: return a + b;
    case MAP_SUB: return a - b;
    case MAP_MUL: return a * b;
    case MAP_DIV: return a / b;
    case MAP_POW: return pow(a, b);
    case MAP_SQRT: return sqrt(a);
    case MAP_NEG: return -a;
    case MAP_EXP: return exp(a);
    case MAP_LOG: return log(a);
    case MAP_SIN: return sin(a);
    case MAP_COS: return cos(a);
    case MAP_TANH: return tanh(a);
    case MAP_SQUARE: return a * a;
    case MAP_COPY: return a;
    default: return (double)map_eval(op, (float)a, (float)b, 0);
    }
}

// ---- elementwise ---------------------------------------------------------------------------------
static ir_node *copy_of(ir_graph *g, const ir_space *sp, const ir_edge *e) { return ir_map(g, MAP_COPY, sp, e); }

// x op scalar: identities and cheaper forms. NULL: none applies.
static ir_node *simplify(ir_graph *g, map_op op, const ir_space *sp, const ir_edge *in) {
    double a = 0, b = 0;
    bool ka = ir_is_scalar_const(in[0].node, &a), kb = map_arity[op] > 1 && ir_is_scalar_const(in[1].node, &b);
    if (ka && (map_arity[op] == 1 || (map_arity[op] == 2 && kb))) return ir_scalar(g, scalar_eval(op, a, kb ? b : 0));
    if (kb && ((b == 0 && (op == MAP_ADD || op == MAP_SUB)) || (b == 1 && (op == MAP_MUL || op == MAP_DIV || op == MAP_POW)))) return copy_of(g, sp, in);
    if (ka && ((a == 0 && op == MAP_ADD) || (a == 1 && op == MAP_MUL))) return copy_of(g, sp, in + 1);
    if (kb && op == MAP_DIV && b != 0) {
        ir_edge e[2] = {in[0], {.node = ir_scalar(g, 1.0 / b)}};
        return ir_map(g, MAP_MUL, sp, e);
    }
    if (kb && op == MAP_POW && b == 2) return ir_map(g, MAP_SQUARE, sp, in);
    if (kb && op == MAP_POW && b == 0.5) return ir_map(g, MAP_SQRT, sp, in);
    if (kb && op == MAP_POW && b == -0.5) {
        ir_node *root = ir_map(g, MAP_SQRT, sp, in);
        ir_edge e[2] = {{.node = ir_scalar(g, 1)}, ir_whole(root)};
        if (root->nout == sp->nout) return ir_map(g, MAP_DIV, sp, e);
    }
    if (ka && (op == MAP_MUL || op == MAP_ADD)) { // constants stand second
        ir_edge e[2] = {in[1], in[0]};
        return ir_map(g, op, sp, e);
    }
    return NULL;
}

static bool is_whole(const ir_node *n) { // COPY that changes nothing
    const ir_node *x = n->in[0].node;
    if (x->type != DT_F32 && x->type != DT_BOOL) return false;
    if (n->in[0].offset || n->sym != x->sym || n->nout != x->nout) return false;
    ir_edge w = ir_whole((ir_node *)x);
    for (int i = 0; i < n->nout; i++)
        if (w.stride[i] != n->in[0].stride[i] || (n->size[i] != x->size[i] && !(i == 0 && n->sym))) return false;
    return true;
}

// ---- axes without elements -----------------------------------------------------------------------
// No node of a graph has one: a tensor without elements is a scalar that nobody reads, a fold over nothing its neutral value.
static bool empty_between(const ir_space *sp, int from, int to) {
    for (int i = from; i < to; i++)
        if (sp->size[i] == 0 && !(i == 0 && sp->sym)) return true;
    return false;
}

double ir_fold_neutral(fold_kind k) {
    switch (k) {
    case FOLD_MAX: return -INFINITY;
    case FOLD_MIN: return INFINITY;
    case FOLD_PROD: return 1;
    case FOLD_AVG: return NAN;
    default: return 0;
    }
}

static ir_node *fold_nothing(ir_graph *g, fold_kind k, const ir_space *sp) {
    if (empty_between(sp, 0, sp->nout)) return ir_scalar(g, 0);
    return empty_between(sp, sp->nout, sp->nlab) ? ir_scalar(g, ir_fold_neutral(k)) : NULL;
}

ir_node *ir_map(ir_graph *g, map_op op, const ir_space *sp, const ir_edge *in) {
    if (empty_between(sp, 0, sp->nout)) return ir_scalar(g, 0);
    ir_node *s = simplify(g, op, sp, in);
    if (s) return s;
    ir_node *n = ir_proto(g, IR_MAP, sp, map_arity[op]);
    n->sub = op;
    memcpy(n->in, in, sizeof *in * (size_t)n->n_in);
    ir_canonical(n, IR_MAX_LABELS);
    if (op == MAP_COPY && is_whole(n)) return n->in[0].node;
    ir_node *k = fold_map(g, n);
    return k ? k : ir_intern(g, n);
}

ir_node *ir_einsum(ir_graph *g, const ir_space *sp, const ir_edge *a, const ir_edge *b) {
    ir_node *none = fold_nothing(g, FOLD_SUM, sp);
    if (none) return none;
    ir_node *n = ir_proto(g, IR_EINSUM, sp, 2);
    n->in[0] = *a;
    n->in[1] = *b;
    ir_canonical(n, IR_MAX_LABELS);
    return ir_intern(g, n);
}

ir_node *ir_reduce(ir_graph *g, fold_kind k, const ir_space *sp, const ir_edge *a) {
    ir_node *none = fold_nothing(g, k, sp);
    if (none) return none;
    ir_node *n = ir_proto(g, IR_REDUCE, sp, 1);
    n->sub = k;
    n->in[0] = *a;
    ir_canonical(n, IR_MAX_LABELS);
    return ir_intern(g, n);
}

ir_node *ir_softmax(ir_graph *g, const ir_space *sp, const ir_edge *a, const ir_edge *mask) {
    if (empty_between(sp, 0, sp->nout)) return ir_scalar(g, 0);
    ir_node *n = ir_proto(g, IR_SOFTMAX, sp, mask ? 2 : 1);
    n->in[0] = *a;
    if (mask) n->in[1] = *mask;
    ir_canonical(n, sp->nout - 1);
    return ir_intern(g, n);
}

ir_node *ir_topk(ir_graph *g, const ir_space *sp, const ir_edge *a, int64_t k) {
    if (empty_between(sp, 0, sp->nout)) return ir_scalar(g, 0);
    ir_node *n = ir_proto(g, IR_TOPK, sp, 1);
    n->in[0] = *a;
    n->u.topk = k;
    ir_canonical(n, sp->nout - 1);
    return ir_intern(g, n);
}

ir_node *ir_owned(ir_graph *g, const ir_edge *seq, const ir_space *sp) {
    ir_node *n = ir_proto(g, IR_OWNED, sp, 1);
    n->in[0] = *seq;
    return ir_intern(g, n);
}

ir_node *ir_gather(ir_graph *g, const ir_space *sp, const ir_edge *base, int n_idx, const ir_edge *idx, const int64_t *gstride, const int64_t *limit) {
    bool nowhere = empty_between(sp, 0, sp->nout); // no place to go to, or none to read from
    for (int i = 0; i < n_idx; i++) nowhere |= limit[i] == 0 && !base->node->sym;
    if (nowhere) return ir_scalar(g, 0);
    ir_node *n = ir_proto(g, IR_GATHER, sp, 1 + n_idx);
    if (base->node->type == DT_I32) n->type = DT_I32;
    n->in[0] = *base;
    memcpy(n->in + 1, idx, sizeof *idx * (size_t)n_idx);
    n->u.gather.gstride = arena_dup(g->a, gstride, sizeof *gstride * (size_t)n_idx);
    n->u.gather.limit = arena_dup(g->a, limit, sizeof *limit * (size_t)n_idx);
    ir_canonical(n, IR_MAX_LABELS);
    return ir_intern(g, n);
}

ir_node *ir_assemble(ir_graph *g, const ir_space *sp, int n_parts, const ir_edge *parts, const int64_t *offset, const int64_t *stride, const int64_t *sizes) {
    int kept = 0, nout = sp->nout;
    ir_edge *in = arena_array(g->a, ir_edge, n_parts);
    size_t dims = (size_t)n_parts * (size_t)nout;
    int64_t *off = arena_dup(g->a, offset, sizeof *offset * (size_t)n_parts);
    int64_t *st = arena_dup(g->a, stride, sizeof *stride * dims), *sz = arena_dup(g->a, sizes, sizeof *sizes * dims);
    for (int i = 0; i < n_parts; i++) { // parts without elements are none
        bool empty = false;
        for (int k = sp->sym ? 1 : 0; k < nout; k++) empty |= sizes[i * nout + k] == 0;
        if (empty) continue;
        in[kept] = parts[i], off[kept] = offset[i];
        memcpy(st + kept * nout, stride + i * nout, sizeof *st * (size_t)nout);
        memcpy(sz + kept * nout, sizes + i * nout, sizeof *sz * (size_t)nout);
        kept++;
    }
    if (kept == 0 || empty_between(sp, 0, nout)) return ir_scalar(g, 0);
    ir_node *n = ir_proto(g, IR_ASSEMBLE, sp, kept);
    memcpy(n->in, in, sizeof *in * (size_t)kept);
    n->u.parts.offset = off, n->u.parts.stride = st, n->u.parts.sizes = sz;
    return ir_intern(g, n);
}

ir_node *ir_scatter(ir_graph *g, ir_node *state, const ir_space *sp, const ir_edge *value, const ir_edge *slot, int64_t gstride, int64_t limit,
                    int64_t offset, const int64_t *dst_stride) {
    ir_node *n = ir_proto(g, IR_SCATTER, sp, slot ? 3 : 2);
    n->type = state->type;
    n->in[0] = (ir_edge){.node = state, .offset = offset};
    memcpy(n->in[0].stride, dst_stride, sizeof(int64_t) * (size_t)sp->nlab);
    n->in[1] = *value;
    if (slot) n->in[2] = *slot;
    n->u.gather.gstride = arena_dup(g->a, &gstride, sizeof gstride);
    n->u.gather.limit = arena_dup(g->a, &limit, sizeof limit);
    n->state2 = state->u.state.ref;
    ir_canonical(n, IR_MAX_LABELS);
    return ir_intern(g, n);
}

int64_t ir_elements(const ir_node *n, int64_t rows, int64_t outs) {
    return n->inner * (n->sym == SYM_ROWS ? rows : n->sym == SYM_OUT ? outs : 1);
}
