// gpu_fuse.c - which kernels of a plan become one launch on a device. A group is launched in the place of its last kernel;
// what its kernels read lives until then. Results are those of the single kernels, bit for bit.
//
//   products that read the same rows              one launch
//   a product and what is added to it             its epilogue
//   two products, map(one) * other                their epilogue
//   a norm that only products read                part of quantizing its rows
//   rotations, and rows stored in the cache       one launch for neighbours; of one row: part of the attention that reads them
//   elementwise kernels of one stage              one launch, where they are small: the angles of a step's positions
#include "plan/gpu.h"

typedef struct fuser {
    plan *p;
    int32_t *uses;   // [values] reads by kernels; large: also read from outside
    int32_t *maker;  // [values] index in p->kernels, -1
} fuser;

static gpu_role *role(const kernel *k) { return k->gpu; }
static bool free_kernel(const kernel *k) { return role(k)->kind == GPU_ALONE; }

static void count_uses(fuser *f) {
    plan *p = f->p;
    for (int i = 0; i < p->n_values; i++) {
        f->maker[i] = -1;
        f->uses[i] = p->values[i].last == INT32_MAX ? 1000 : 0;
    }
    for (int i = 0; i < p->n_kernels; i++) {
        kernel *k = p->kernels[i];
        k->gpu = arena_new(&p->mem, gpu_role);
        if (k->out >= 0) f->maker[k->out] = i;
        else if (k->node->op == IR_GATHER) role(k)->kind = GPU_SKIP; // of a view that picks nothing
        for (int r = 0; r < k->n_reads; r++) f->uses[k->reads[r].value]++;
    }
}

static int index_of(const plan *p, const kernel *k) {
    for (int i = 0; i < p->n_kernels; i++)
        if (p->kernels[i] == k) return i;
    return -1;
}

// What k reads lives until `leader` runs.
static void keep_until(plan *p, const kernel *k, const kernel *leader) {
    for (int r = 0; r < k->n_reads; r++) {
        value *v = &p->values[k->reads[r].value];
        if (v->last < leader->stage) v->last = leader->stage;
    }
}

// Does a kernel in (i, j) read value v?
static bool read_between(const plan *p, int32_t v, int i, int j) {
    for (int x = i + 1; x < j; x++)
        for (int r = 0; r < p->kernels[x]->n_reads; r++)
            if (p->kernels[x]->reads[r].value == v) return true;
    return false;
}

static bool whole_rows(const kernel *k, int e) { // edge e reads its array's rows as they are
    const ir_node *n = k->node, *x = n->in[e].node;
    return k->in[e].kind == SRC_F32 && n->sym && x->sym == n->sym && n->nout == 2 && k->in[e].offset == 0 && k->in[e].stride[0] == n->size[1] && k->in[e].stride[1] == 1 &&
           x->inner == n->size[1];
}

// The product that makes input e of k and nothing else, or NULL.
static kernel *product_of(const fuser *f, const kernel *k, int e) {
    if (!whole_rows(k, e)) return NULL;
    int32_t v = k->in[e].value, m = f->maker[v];
    if (m < 0 || f->uses[v] != 1) return NULL;
    kernel *l = f->p->kernels[m];
    return l->kind == K_TILE && l->sym == k->sym && free_kernel(l) ? l : NULL;
}

static bool same_input(const kernel *a, const kernel *b) {
    const gpu_linear *x = a->args, *y = b->args;
    return a->sym == b->sym && a->sym && a->node->nout == 2 && b->node->nout == 2 && a->in[0].value == b->in[0].value && a->in[0].offset == b->in[0].offset &&
           a->in[0].stride[0] == b->in[0].stride[0] && x->w->m.type == y->w->m.type && x->w->m.k == y->w->m.k && x->wide == y->wide;
}

// ---- epilogues -------------------------------------------------------------------------------------------
static void fuse_add(fuser *f, kernel *k) {
    const ir_node *n = k->node;
    if (n->op != IR_MAP || n->sub != MAP_ADD || n->n_in != 2) return;
    for (int e = 1; e >= 0; e--) {
        kernel *l = product_of(f, k, e);
        if (!l || !whole_rows(k, 1 - e)) continue;
        *role(k) = (gpu_role){.kind = GPU_ADD, .member = {l}, .n = 1, .residual = 1 - e};
        role(l)->kind = GPU_SKIP;
        keep_until(f->p, l, k);
        return;
    }
}

static void fuse_glu(fuser *f, kernel *k) {
    const ir_node *n = k->node;
    const ir_fused *c = n->op == IR_FUSED ? n->u.fused.code : NULL;
    if (!c || n->u.fused.n != 4 || n->n_in != 2 || c[3].op != MAP_MUL) return;
    int gate, op;
    if (c[0].op == FUSED_PUSH && c[1].op >= 0 && map_arity[c[1].op] == 1 && c[2].op == FUSED_PUSH) gate = c[0].arg, op = c[1].op;
    else if (c[0].op == FUSED_PUSH && c[1].op == FUSED_PUSH && c[2].op >= 0 && map_arity[c[2].op] == 1) gate = c[1].arg, op = c[2].op;
    else return;
    kernel *g = product_of(f, k, gate), *u = product_of(f, k, 1 - gate);
    if (!g || !u || g == u || op >= MAP_COUNT || !same_input(g, u)) return;
    *role(k) = (gpu_role){.kind = GPU_GLU, .member = {g, u}, .n = 2, .map = op};
    role(g)->kind = role(u)->kind = GPU_SKIP;
    keep_until(f->p, g, k);
    keep_until(f->p, u, k);
}

// ---- products of one input -------------------------------------------------------------------------------
static void fuse_products(fuser *f, int last) {
    plan *p = f->p;
    kernel *k = p->kernels[last];
    if (k->kind != K_TILE || !free_kernel(k) || !k->sym) return;
    gpu_role all = {.kind = GPU_PRODUCTS, .member = {k}, .n = 1};
    for (int i = last - 1; i >= 0 && i > last - 32 && all.n < CUDA_JOB_MATRICES; i--) {
        kernel *o = p->kernels[i];
        if (o->kind == K_TILE && free_kernel(o) && same_input(o, k) && !read_between(p, o->out, i, last)) all.member[all.n++] = o;
    }
    if (all.n == 1) return;
    *role(k) = all;
    for (int i = 1; i < all.n; i++) {
        role(all.member[i])->kind = GPU_SKIP;
        keep_until(p, all.member[i], k);
        if (p->values[all.member[i]->out].last < k->stage) p->values[all.member[i]->out].last = k->stage;
    }
}

// ---- norms -----------------------------------------------------------------------------------------------
// The kernel in whose place product l is launched.
static kernel *leader_of(const plan *p, kernel *l) {
    if (role(l)->kind != GPU_SKIP) return l;
    for (int i = index_of(p, l) + 1; i < p->n_kernels; i++) {
        gpu_role *r = role(p->kernels[i]);
        for (int m = 0; m < r->n; m++)
            if (r->member[m] == l) return p->kernels[i];
    }
    return NULL;
}

static void fuse_norm(fuser *f, kernel *k) {
    plan *p = f->p;
    const ir_node *n = k->node;
    if (n->op != IR_RMS_NORM || n->nout != 2 || !n->sym || n->n_in > 2 || f->uses[k->out] >= 1000 || k->in[0].stride[1] != 1) return;
    if (n->n_in == 2 && (k->in[1].stride[0] != 0 || k->in[1].stride[1] != 1)) return;
    int found = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < p->n_kernels; i++) {
            kernel *l = p->kernels[i];
            bool reads = false;
            for (int r = 0; r < l->n_reads; r++) reads |= l->reads[r].value == k->out;
            if (!reads) continue;
            if (pass == 0) {
                if (l->kind != K_TILE || l->sym != k->sym || l->node->nout != 2 || l->in[0].offset || l->in[0].stride[0] != n->inner) return;
                const gpu_linear *a = l->args;
                if (a->w->m.type == DT_F32 || a->w->m.k != n->inner || !leader_of(p, l)) return;
                found++;
            } else {
                keep_until(p, k, leader_of(p, l));
            }
        }
    if (found) role(k)->kind = GPU_NORM;
}

// ---- rotations and stores ---------------------------------------------------------------------------------
static bool plain_rope(const kernel *k) {
    const ir_node *n = k->node;
    return n->op == IR_ROPE && n->sym && n->u.rope.head_stride == n->u.rope.d && n->u.rope.rot > 0 && n->u.rope.rot % 2 == 0 && k->in[0].kind == SRC_F32;
}

static bool plain_store(const kernel *k) {
    const ir_node *n = k->node;
    if (n->op != IR_SCATTER || n->n_in != 3 || !n->sym || n->nout != 2) return false;
    const ir_state *s = n->state2;
    const reader *x = &k->in[1], *slot = &k->in[2];
    bool type = s->type == DT_F32 || s->type == DT_F16 || s->type == DT_BF16 || (s->type == DT_Q8_0 && n->size[1] % 32 == 0 && n->in[0].offset % 32 == 0);
    return type && n->in[0].stride[0] == 0 && n->in[0].stride[1] == 1 && n->u.gather.gstride[0] == s->width && n->in[0].offset >= 0 && n->in[0].offset + n->size[1] <= s->width &&
           x->kind == SRC_F32 && x->stride[1] == 1 && slot->kind == SRC_I32 && slot->stride[0] == 1 && slot->stride[1] == 0;
}

static bool stores_output_of(const kernel *s, const kernel *r) {
    return s->node->op == IR_SCATTER && s->in[1].value == r->out && s->in[1].offset == 0 && s->node->size[1] == r->node->inner && s->in[1].stride[0] == r->node->inner;
}

static void fuse_stores(fuser *f, int first) {
    plan *p = f->p;
    gpu_role all = {.kind = GPU_STORES};
    int end = first, tasks = 0;
    for (; end < p->n_kernels && all.n < GPU_MEMBERS; end++) {
        kernel *k = p->kernels[end];
        if (k->stage != p->kernels[first]->stage || k->sym != p->kernels[first]->sym || !free_kernel(k) || !(plain_rope(k) || plain_store(k))) break;
        bool joined = false;
        for (int i = 0; i < all.n; i++) {
            if (stores_output_of(k, all.member[i])) joined = true;
            else if (k->node->op == IR_SCATTER && k->in[1].value == all.member[i]->out) return; // in another shape
            else if (k->node->op == IR_ROPE && (k->in[0].value == all.member[i]->out || k->in[1].value == all.member[i]->out)) return;
        }
        if (!joined && ++tasks > GPU_TASKS) break;
        all.member[all.n++] = k;
    }
    if (all.n < 2) return;
    for (int i = 0; i < all.n; i++) {
        role(all.member[i])->kind = GPU_SKIP;
        keep_until(p, all.member[i], all.member[all.n - 1]);
    }
    all.float_out = 0;
    for (int i = 0; i < all.n; i++) { // is a rotation's float output read by others than the store that it has here?
        const kernel *k = all.member[i];
        int inside = 0;
        for (int j = i + 1; j < all.n; j++) inside += stores_output_of(all.member[j], k);
        if (k->out >= 0 && (f->uses[k->out] > inside || inside > 1)) all.float_out |= 1u << i;
    }
    *role(all.member[all.n - 1]) = all;
}

// ---- attention of one row -------------------------------------------------------------------------------
static const kernel *store_into(const gpu_role *r, const ir_state *state, int64_t width) { // writes whole rows of the state
    for (int i = 0; i < r->n; i++) {
        const kernel *s = r->member[i];
        if (s->node->op == IR_SCATTER && s->node->state2 == state && s->node->in[0].offset == 0 && s->node->size[1] == width) return s;
    }
    return NULL;
}

// Stores whose queries go to attention k alone, and whose keys and values it reads next.
static bool stores_for(const fuser *f, int leader, int attend) {
    plan *p = f->p;
    const kernel *k = p->kernels[attend];
    const gpu_role *r = role(p->kernels[leader]);
    const ir_attention *at = &k->node->u.attn;
    const kernel *keys = store_into(r, k->node->state2, (int64_t)at->kv_heads * at->dk), *values = store_into(r, k->node->state3, (int64_t)at->kv_heads * at->dv);
    int tasks = 0, queries = 0;
    for (int i = 0; i < r->n; i++) {
        const kernel *m = r->member[i];
        bool mine = m->node->op == IR_ROPE && (stores_output_of(keys, m) || stores_output_of(values, m));
        queries += m->out >= 0 && m->out == k->in[0].value;
        tasks += !mine;
        if ((m->out >= 0 && read_between(p, m->out, leader, attend)) || (mine && r->float_out >> i & 1)) return false;
    }
    return keys != values && tasks == 3 && queries == 1 && keys->in[2].value == values->in[2].value && keys->in[2].offset == values->in[2].offset;
}

static bool state_read_between(const plan *p, const kernel *attend, int i, int j) {
    for (int x = i + 1; x < j; x++)
        for (int e = 0; e < p->kernels[x]->node->n_in; e++) {
            const ir_node *in = p->kernels[x]->node->in[e].node;
            const ir_state *s = in->op == IR_STATE ? in->u.state.ref : in->op == IR_SCATTER ? in->state2 : NULL;
            if (s && (s == attend->node->state2 || s == attend->node->state3)) return true;
        }
    return false;
}

static void fuse_attention(fuser *f, int attend) {
    plan *p = f->p;
    kernel *k = p->kernels[attend];
    const ir_node *n = k->node;
    if (n->op != IR_ATTENTION || !n->sym || k->in[0].kind != SRC_F32 || k->in[0].offset || k->in[0].stride[0] != n->in[0].node->inner || f->uses[k->in[0].value] != 1) return;
    for (int i = attend - 1; i >= 0 && i > attend - 16; i--) {
        gpu_role *r = role(p->kernels[i]);
        if (r->kind != GPU_STORES || p->kernels[i]->sym != k->sym) continue;
        if (!store_into(r, k->node->state2, (int64_t)n->u.attn.kv_heads * n->u.attn.dk) || !store_into(r, k->node->state3, (int64_t)n->u.attn.kv_heads * n->u.attn.dv)) return;
        if (!stores_for(f, i, attend) || state_read_between(p, k, i, attend)) return;
        r->attend = k;
        role(k)->stores = r;
        for (int m = 0; m < r->n; m++) keep_until(p, r->member[m], k);
        return;
    }
}

// ---- small kernels ------------------------------------------------------------------------------------------
static bool elementwise(const kernel *k) { // over floats and integers
    const ir_node *n = k->node;
    bool stores = n->op == IR_SCATTER, picks = n->op == IR_GATHER;
    if (!stores && !picks && n->op != IR_MAP && n->op != IR_FUSED && n->op != IR_ASSEMBLE) return false;
    if (stores && n->state2->type != DT_F32 && n->state2->type != DT_I32) return false;
    for (int e = stores; e < n->n_in; e++) {
        reader_kind kind = k->in[e].kind;
        bool index = (picks && e > 0) || (stores && e > 1);
        if (kind != SRC_I32 && (index || (kind != SRC_F32 && kind != SRC_SCALAR))) return false;
    }
    return true;
}

static bool make(const gpu_role *all, int32_t v) { // do they make value v?
    for (int i = 0; i < all->n; i++)
        if (all->member[i]->out == v) return true;
    return false;
}

static bool reads_any(const kernel *k, const gpu_role *all) { // of what they make
    for (int r = 0; r < k->n_reads; r++)
        if (make(all, k->reads[r].value)) return true;
    return false;
}

static bool begins_with(const plan *p, const kernel *k, const gpu_role *all) { // does k read only what a step begins with, and what they make?
    for (int r = 0; r < k->n_reads; r++) {
        int32_t v = k->reads[r].value;
        bool state = p->values[v].place == V_STATE && k->node->op == IR_SCATTER && v == k->in[0].value;
        if (!make(all, v) && !state && p->values[v].place != V_INPUT && p->values[v].place != V_FIXED) return false;
    }
    return true;
}

static bool behind_embedding(const plan *p, const gpu_role *all) { // is one embedding all that is launched before them?
    int embeddings = 0;
    for (int i = 0; p->kernels[i] != all->member[all->n - 1]; i++) {
        bool member = false;
        for (int m = 0; m < all->n; m++) member |= all->member[m] == p->kernels[i];
        if (member || role(p->kernels[i])->kind == GPU_SKIP || role(p->kernels[i])->kind == GPU_NORM) continue;
        if (p->kernels[i]->node->op != IR_EMBED) return false;
        embeddings++;
    }
    return embeddings == 1;
}

// Kernels between them are launched before them: none reads what they make.
static void fuse_some(fuser *f, int first) {
    plan *p = f->p;
    gpu_role all = {.kind = GPU_SOME, .ahead = true};
    for (int i = first; i < p->n_kernels && all.n < GPU_MEMBERS && p->kernels[i]->stage == p->kernels[first]->stage; i++) {
        kernel *k = p->kernels[i];
        if (free_kernel(k) && elementwise(k)) all.member[all.n++] = k;
        else if (reads_any(k, &all)) break;
    }
    if (all.n < 2) return;
    for (int i = 0; i < all.n; i++) {
        all.ahead = all.ahead && begins_with(p, all.member[i], &all);
        role(all.member[i])->kind = GPU_SKIP;
    }
    all.ahead = all.ahead && behind_embedding(p, &all);
    *role(all.member[all.n - 1]) = all;
}

tl_status gpu_fuse(plan *p, tl_error *err) {
    (void)err;
    fuser f = {.p = p, .uses = arena_array(&p->mem, int32_t, p->n_values + 1), .maker = arena_array(&p->mem, int32_t, p->n_values + 1)};
    count_uses(&f);
    p->gpu->norm_of = arena_array(&p->mem, int32_t, p->n_values + 1);
    for (int i = 0; i < p->n_values; i++) p->gpu->norm_of[i] = -1;
    const char *off = getenv("TL_CUDA_FUSE");
    if (off && strcmp(off, "0") == 0) return TL_OK;
    for (int i = 0; i < p->n_kernels; i++) {
        fuse_add(&f, p->kernels[i]);
        fuse_glu(&f, p->kernels[i]);
    }
    for (int i = p->n_kernels - 1; i >= 0; i--) fuse_products(&f, i);
    for (int i = 0; i < p->n_kernels; i++) fuse_norm(&f, p->kernels[i]);
    for (int i = 0; i < p->n_kernels; i++)
        if (role(p->kernels[i])->kind == GPU_NORM) p->gpu->norm_of[p->kernels[i]->out] = i;
    for (int i = 0; i < p->n_kernels; i++)
        if (free_kernel(p->kernels[i])) fuse_stores(&f, i);
    for (int i = 0; i < p->n_kernels; i++) fuse_attention(&f, i);
    for (int i = 0; i < p->n_kernels; i++)
        if (free_kernel(p->kernels[i]) && elementwise(p->kernels[i])) fuse_some(&f, i);
    return TL_OK;
}
