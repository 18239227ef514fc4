// reference.c - the definition of results: a graph evaluated one element at a time, in the plainest way, with sums in
// double. States are values like others here (each scatter copies), so no order of reads and writes can be wrong.
#include <math.h>

#include "gguf/quant.h"
#include "plan/plan.h"

typedef struct evaluation {
    const ir_graph *g;
    const plan_step *step;
    arena mem;
    float **value;      // [ids]
    const ir_node **node; // [ids]
    int32_t n;
    tl_error *err;
} evaluation;

static const float *eval(evaluation *ev, const ir_node *n);

static int64_t rows_of(const evaluation *ev, ir_sym s) { return s == SYM_ROWS ? ev->step->rows : s == SYM_OUT ? ev->step->outs : 1; }

static int64_t size_of(const evaluation *ev, const ir_node *n, int label) { return label == 0 && n->sym ? rows_of(ev, n->sym) : n->size[label]; }

static int64_t elements(const evaluation *ev, const ir_node *n) { return n->inner * rows_of(ev, n->sym); }

// ---- loops ---------------------------------------------------------------------------------------
// Steps at[l0..l1) to the next point; false after the last.
static bool next_point(const evaluation *ev, const ir_node *n, int64_t *at, int l0, int l1) {
    for (int l = l1 - 1; l >= l0; l--) {
        if (++at[l] < size_of(ev, n, l)) return true;
        at[l] = 0;
    }
    return false;
}

static int64_t place(const ir_node *n, int e, const int64_t *at) {
    int64_t p = n->in[e].offset;
    for (int l = 0; l < n->nlab; l++) p += at[l] * n->in[e].stride[l];
    return p;
}

// ---- leaves --------------------------------------------------------------------------------------
static const float *decode(evaluation *ev, tl_dtype t, const void *data, int64_t n) {
    float *out = arena_array(&ev->mem, float, n + 1);
    quant_decode(t, data, out, n);
    return out;
}

static const float *state_start(evaluation *ev, const ir_state *s) { // as the session holds it
    float *out = arena_array(&ev->mem, float, s->slots * s->width + 1);
    for (int64_t i = 0; i < s->slots; i++) quant_decode(s->type, (const char *)s->data + (size_t)i * s->slot_bytes, out + i * s->width, s->width);
    return out;
}

static int64_t version_of(const ir_node *n) { return n->op == IR_SCATTER ? version_of(n->in[0].node) + 1 : n->u.state.version; }

static const float *state_version(evaluation *ev, const ir_node *n) {
    const ir_node *made = NULL; // the latest write before this version
    for (int32_t i = 0; i < ev->n; i++) {
        const ir_node *w = ev->node[i];
        if (w && w->op == IR_SCATTER && w->state2 == n->u.state.ref && version_of(w->in[0].node) < n->u.state.version &&
            (!made || version_of(w) >= version_of(made)))
            made = w;
    }
    return made ? eval(ev, made) : state_start(ev, n->u.state.ref);
}

static const float *eval_input(evaluation *ev, const ir_node *n) {
    int64_t count = elements(ev, n);
    float *out = arena_array(&ev->mem, float, count + 1);
    for (int64_t i = 0; i < count; i++) out[i] = (float)ev->step->in[n->sub][i];
    return out;
}

static const float *eval_const(evaluation *ev, const ir_node *n) {
    if (n->u.k.scalar) {
        float *v = arena_array(&ev->mem, float, 1);
        *v = (float)n->u.k.value;
        return v;
    }
    return decode(ev, n->type, n->u.k.data, n->u.k.n);
}

// ---- operations ----------------------------------------------------------------------------------
static void eval_map(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t at[IR_MAX_LABELS] = {0}, i = 0;
    if (elements(ev, n) == 0) return;
    do {
        float v[3] = {0};
        for (int e = 0; e < n->n_in; e++) v[e] = in[e][place(n, e, at)];
        out[i++] = map_eval((map_op)n->sub, v[0], v[1], v[2]);
    } while (next_point(ev, n, at, 0, n->nout));
}

static void eval_fused(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t at[IR_MAX_LABELS] = {0}, i = 0;
    if (elements(ev, n) == 0) return;
    do {
        float stack[32];
        int top = 0;
        for (int c = 0; c < n->u.fused.n; c++) {
            const ir_fused *f = &n->u.fused.code[c];
            if (f->op == FUSED_PUSH) {
                stack[top++] = in[f->arg][place(n, f->arg, at)];
                continue;
            }
            int arity = map_arity[f->op];
            top -= arity;
            stack[top] = map_eval((map_op)f->op, stack[top], arity > 1 ? stack[top + 1] : 0, arity > 2 ? stack[top + 2] : 0);
            top++;
        }
        out[i++] = stack[0];
    } while (next_point(ev, n, at, 0, n->nout));
}

// EINSUM, LINEAR (two inputs) and REDUCE (one).
static void eval_fold(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t at[IR_MAX_LABELS] = {0}, i = 0;
    fold_kind f = n->op == IR_REDUCE ? (fold_kind)n->sub : FOLD_SUM;
    if (elements(ev, n) == 0) return;
    do {
        double acc = f == FOLD_MAX ? -INFINITY : f == FOLD_MIN ? INFINITY : f == FOLD_PROD ? 1 : 0;
        int64_t count = 0;
        do {
            double v = in[0][place(n, 0, at)];
            if (n->op != IR_REDUCE) v *= (double)in[1][place(n, 1, at)];
            switch (f) {
            case FOLD_MAX: acc = acc > v ? acc : v; break;
            case FOLD_MIN: acc = acc < v ? acc : v; break;
            case FOLD_OR: acc = acc != 0 || v != 0; break;
            case FOLD_PROD: acc *= v; break;
            default: acc += v;
            }
            count++;
        } while (next_point(ev, n, at, n->nout, n->nlab));
        out[i++] = (float)(f == FOLD_AVG ? acc / (double)count : acc);
    } while (next_point(ev, n, at, 0, n->nout));
}

// SOFTMAX, TOPK and norms: one row of the last label.
static void eval_row(const ir_node *n, const float *const *in, const int64_t *at, float *out) {
    int64_t size = n->size[n->nout - 1], s0 = n->in[0].stride[n->nout - 1];
    const float *x = in[0] + place(n, 0, at);
    if (n->op == IR_SOFTMAX) {
        const float *m = n->n_in > 1 ? in[1] + place(n, 1, at) : NULL;
        int64_t sm = m ? n->in[1].stride[n->nout - 1] : 0;
        double max = -INFINITY, sum = 0;
        for (int64_t i = 0; i < size; i++)
            if (!m || m[i * sm] != 0) max = max > (double)x[i * s0] ? max : (double)x[i * s0];
        for (int64_t i = 0; i < size; i++)
            if (!m || m[i * sm] != 0) sum += exp((double)x[i * s0] - max);
        for (int64_t i = 0; i < size; i++) out[i] = (!m || m[i * sm] != 0) && sum > 0 ? (float)(exp((double)x[i * s0] - max) / sum) : 0;
    } else if (n->op == IR_TOPK) {
        for (int64_t i = 0; i < size; i++) {
            int64_t above = 0; // NaN counts least; of equal values the first
            float v = isnan(x[i * s0]) ? -INFINITY : x[i * s0];
            for (int64_t j = 0; j < size; j++) {
                float w = isnan(x[j * s0]) ? -INFINITY : x[j * s0];
                above += w > v || (w == v && j < i);
            }
            out[i] = above < n->u.topk;
        }
    } else {
        double mean = 0, squares = 0;
        if (n->op == IR_LAYER_NORM)
            for (int64_t i = 0; i < size; i++) mean += (double)x[i * s0] / (double)size;
        for (int64_t i = 0; i < size; i++) squares += ((double)x[i * s0] - mean) * ((double)x[i * s0] - mean);
        double scale = 1 / sqrt(squares / (double)size + (double)n->u.norm.eps);
        const float *w = n->n_in > 1 ? in[1] + place(n, 1, at) : NULL, *b = n->n_in > 2 ? in[2] + place(n, 2, at) : NULL;
        for (int64_t i = 0; i < size; i++) {
            double v = ((double)x[i * s0] - mean) * scale;
            if (w) v *= (double)w[i * n->in[1].stride[n->nout - 1]];
            if (b) v += (double)b[i * n->in[2].stride[n->nout - 1]];
            out[i] = (float)v;
        }
    }
}

static void eval_rows(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t at[IR_MAX_LABELS] = {0};
    if (elements(ev, n) == 0) return;
    do {
        eval_row(n, in, at, out);
        out += n->size[n->nout - 1];
    } while (next_point(ev, n, at, 0, n->nout - 1));
}

static void eval_gather(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t at[IR_MAX_LABELS] = {0}, i = 0;
    const ir_node *base = n->in[0].node;
    if (elements(ev, n) == 0) return;
    do {
        int64_t p = place(n, 0, at);
        bool valid = true;
        for (int e = 1; e < n->n_in; e++) {
            double index = in[e][place(n, e, at)];
            int64_t limit = n->u.gather.limit[e - 1], step = n->u.gather.gstride[e - 1];
            if (base->sym && step == base->inner && (limit <= 0 || limit > rows_of(ev, base->sym))) limit = rows_of(ev, base->sym);
            if (!(index >= 0 && index < (double)limit)) valid = false;
            else p += (int64_t)index * step;
        }
        out[i++] = valid ? in[0][p] : 0;
    } while (next_point(ev, n, at, 0, n->nout));
}

static void eval_assemble(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    memset(out, 0, sizeof *out * (size_t)elements(ev, n));
    if (elements(ev, n) == 0) return;
    for (int e = 0; e < n->n_in; e++) {
        const int64_t *sizes = n->u.parts.sizes + e * n->nout, *dst = n->u.parts.stride + e * n->nout;
        int64_t at[IR_MAX_LABELS] = {0};
        int l;
        do {
            int64_t to = n->u.parts.offset[e];
            for (l = 0; l < n->nout; l++) to += at[l] * dst[l];
            out[to] = in[e][place(n, e, at)];
            for (l = n->nout - 1; l >= 0; l--) {
                if (++at[l] < (l == 0 && n->sym ? rows_of(ev, n->sym) : sizes[l])) break;
                at[l] = 0;
            }
        } while (l >= 0);
    }
}

static void eval_scatter(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    const ir_state *s = n->state2;
    int64_t at[IR_MAX_LABELS] = {0};
    memcpy(out, in[0], sizeof *out * (size_t)(s->slots * s->width));
    if (elements(ev, n) == 0) return;
    do {
        int64_t to = place(n, 0, at);
        if (n->n_in > 2) {
            double slot = in[2][place(n, 2, at)];
            if (!(slot >= 0 && slot < (double)n->u.gather.limit[0])) continue;
            to += (int64_t)slot * n->u.gather.gstride[0];
        }
        out[to] = in[1][place(n, 1, at)];
    } while (next_point(ev, n, at, 0, n->nout));
}

// What storing in the state's type leaves of the values.
static void round_trip(evaluation *ev, const ir_state *s, float *v) {
    int64_t n = s->slots * s->width;
    size_t bytes;
    for (int64_t i = 0; s->type == DT_I32 && i < n; i++) v[i] = (float)(int32_t)v[i];
    if (s->type == DT_F32 || s->type == DT_I32 || !dtype_bytes(s->type, n, &bytes)) return;
    void *stored = arena_alloc(&ev->mem, bytes + 1);
    quant_encode(s->type, v, stored, n);
    quant_decode(s->type, stored, v, n);
}

static void eval_owned(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t slots = n->size[n->nout - 1], at[IR_MAX_LABELS] = {0};
    memset(out, 0, sizeof *out * (size_t)elements(ev, n));
    for (at[0] = 0; n->nout > 1 && at[0] < size_of(ev, n, 0); at[0]++) {
        int64_t q = (int64_t)in[0][place(n, 0, at)];
        if (q < 0 || q >= ev->step->n_seqs) continue;
        for (int64_t i = 0; i < ev->step->seqs[q].n; i++) out[at[0] * slots + ev->step->seqs[q].slots[i]] = 1;
    }
}

static void eval_rope(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t d = n->u.rope.d, rot = n->u.rope.rot, half = rot / 2;
    for (int64_t r = 0; r < rows_of(ev, n->sym); r++)
        for (int64_t h = 0; h < n->u.rope.heads; h++) {
            const float *x = in[0] + n->in[0].offset + (n->sym ? r * n->in[0].stride[0] : 0) + h * n->u.rope.head_stride;
            const float *cs = in[1] + n->in[1].offset + (n->sym ? r * n->in[1].stride[0] : 0);
            float *y = out + r * n->inner + h * d;
            for (int64_t i = rot; i < d; i++) y[i] = x[i];
            for (int64_t i = 0; i < half; i++) {
                int64_t a = n->u.rope.interleaved ? 2 * i : i, b = n->u.rope.interleaved ? 2 * i + 1 : i + half;
                y[a] = (float)((double)x[a] * cs[i] - (double)x[b] * cs[half + i]);
                y[b] = (float)((double)x[a] * cs[half + i] + (double)x[b] * cs[i]);
            }
        }
}

static bool sees(const ir_attention *a, int64_t pos, int64_t at) {
    if (a->causal && at > pos) return false;
    if (!a->window) return true;
    return a->causal ? at > pos - a->window : llabs(pos - at) < a->window;
}

static void attend(const ir_node *n, const attn_seq *seq, int64_t pos, const float *q, const float *k, const float *v, double *acc) {
    const ir_attention *a = &n->u.attn;
    double max = -INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < seq->n; i++) {
            if (!sees(a, pos, seq->at[i])) continue;
            double s = 0;
            for (int j = 0; j < a->dk; j++) s += (double)q[j] * k[seq->slots[i] * n->state2->width + j];
            s *= (double)a->scale;
            if (a->softcap != 0) s = (double)a->softcap * tanh(s / (double)a->softcap);
            if (pass == 0) {
                max = max > s ? max : s;
                continue;
            }
            sum += exp(s - max);
            for (int j = 0; j < a->dv; j++) acc[j] += exp(s - max) * (double)v[seq->slots[i] * n->state3->width + j];
        }
    for (int j = 0; j < a->dv; j++) acc[j] = sum > 0 ? acc[j] / sum : 0;
}

static void eval_attention(evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    const ir_attention *a = &n->u.attn;
    double *acc = arena_array(&ev->mem, double, a->dv);
    for (int64_t r = 0; r < ev->step->rows; r++)
        for (int h = 0; h < a->heads; h++) {
            int g = h / (a->heads / a->kv_heads);
            memset(acc, 0, sizeof *acc * (size_t)a->dv);
            attend(n, &ev->step->seqs[(int64_t)in[3][r]], n->n_in > 4 ? (int64_t)in[4][r] : 0, in[0] + n->in[0].offset + r * n->in[0].stride[0] + (int64_t)h * a->dk,
                   in[1] + (int64_t)g * a->dk, in[2] + (int64_t)g * a->dv, acc);
            for (int j = 0; j < a->dv; j++) out[r * n->inner + (int64_t)h * a->dv + j] = (float)acc[j];
        }
}

static void eval_embed(const evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    int64_t cols = n->u.weight->cols, rows = elements(ev, n) / cols, step = n->nout == 2 ? n->in[0].stride[0] : 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t row = (int64_t)in[0][n->in[0].offset + r * step];
        for (int64_t c = 0; c < cols; c++) out[r * cols + c] = row >= 0 && row < n->u.weight->rows ? in[1][row * cols + c] : 0;
    }
}

static void compute(evaluation *ev, const ir_node *n, const float *const *in, float *out) {
    switch (n->op) {
    case IR_MAP: eval_map(ev, n, in, out); break;
    case IR_FUSED: eval_fused(ev, n, in, out); break;
    case IR_EINSUM: case IR_LINEAR: case IR_REDUCE: eval_fold(ev, n, in, out); break;
    case IR_SOFTMAX: case IR_TOPK: case IR_RMS_NORM: case IR_LAYER_NORM: eval_rows(ev, n, in, out); break;
    case IR_GATHER: eval_gather(ev, n, in, out); break;
    case IR_ASSEMBLE: eval_assemble(ev, n, in, out); break;
    case IR_SCATTER: eval_scatter(ev, n, in, out); break;
    case IR_OWNED: eval_owned(ev, n, in, out); break;
    case IR_ROPE: eval_rope(ev, n, in, out); break;
    case IR_ATTENTION: eval_attention(ev, n, in, out); break;
    case IR_EMBED: eval_embed(ev, n, in, out); break;
    default: TL_CHECK(!"an operation without a definition");
    }
}

static const float *eval(evaluation *ev, const ir_node *n) {
    if (ev->value[n->id]) return ev->value[n->id];
    const float *v = NULL;
    switch (n->op) {
    case IR_INPUT: v = eval_input(ev, n); break;
    case IR_CONST: v = eval_const(ev, n); break;
    case IR_IOTA: v = n->u.k.data; break;
    case IR_WEIGHT: v = decode(ev, n->type, n->u.weight->data, n->u.weight->rows * n->u.weight->cols); break;
    case IR_STATE: v = state_version(ev, n); break;
    default: {
        const float **in = arena_array(&ev->mem, const float *, n->n_in + 1);
        for (int e = 0; e < n->n_in; e++) in[e] = eval(ev, n->in[e].node);
        int64_t count = n->op == IR_SCATTER ? n->state2->slots * n->state2->width : elements(ev, n);
        float *out = arena_array(&ev->mem, float, count + 1);
        compute(ev, n, in, out);
        if (n->op == IR_SCATTER) round_trip(ev, n->state2, out);
        v = out;
    }
    }
    return ev->value[n->id] = (float *)v;
}

// The last version of each state goes back to the session.
static void write_states(evaluation *ev) {
    for (int32_t i = 0; i < ev->n; i++) {
        const ir_node *w = ev->node[i];
        if (!w || w->op != IR_SCATTER) continue;
        bool last = true;
        for (int32_t j = 0; j < ev->n; j++) {
            const ir_node *x = ev->node[j];
            if (x && x->op == IR_SCATTER && x->state2 == w->state2 && version_of(x) > version_of(w)) last = false;
        }
        const ir_state *s = w->state2;
        const float *v = ev->value[w->id];
        for (int64_t slot = 0; last && slot < s->slots; slot++) {
            char *dst = (char *)s->data + (size_t)slot * s->slot_bytes;
            if (s->type != DT_I32) quant_encode(s->type, v + slot * s->width, dst, s->width);
            else for (int64_t j = 0; j < s->width; j++) ((int32_t *)(void *)dst)[j] = (int32_t)v[slot * s->width + j];
        }
    }
}

tl_status plan_reference(const ir_graph *g, const plan_step *step, float **out, tl_error *err) {
    evaluation ev = {.g = g, .step = step, .err = err, .n = 0};
    for (const ir_node *n = g->first; n; n = n->next)
        if (n->id >= ev.n) ev.n = n->id + 1;
    ev.value = arena_array(&ev.mem, float *, ev.n + 1);
    ev.node = arena_array(&ev.mem, const ir_node *, ev.n + 1);
    for (const ir_node *n = g->first; n; n = n->next) ev.node[n->id] = n;
    for (int32_t i = 0; i < ev.n; i++)
        if (ev.node[i] && ev.node[i]->op == IR_SCATTER) eval(&ev, ev.node[i]);
    tl_status status = TL_OK;
    for (int i = 0; i < g->n_outputs; i++) {
        const float *v = eval(&ev, g->outputs[i]);
        size_t bytes = sizeof(float) * (size_t)elements(&ev, g->outputs[i]);
        out[i] = mem_alloc(bytes + 1);
        if (!out[i]) status = err_set(err, TL_E_MEMORY, "out of memory for an output");
        else memcpy(out[i], v, bytes);
    }
    write_states(&ev);
    arena_free(&ev.mem);
    return status;
}
