// value.c - heap, scopes, lists, maps, errors and printing of values.
#include <inttypes.h>
#include <math.h>

#include "eval/value.h"

const char *const v_names[V_KINDS] = {
    "nothing", "an integer", "a float", "a boolean", "a string", "a list", "a map", "a tensor", "a function", "a builtin function",
    "a relation", "a state tensor", "a model", "a tokenizer", "a part of a model", "a family of tensors", "a partly defined tensor", "a range", "a session",
};

// ---- errors --------------------------------------------------------------------------------------
// An equation made of a specification of einsum is no text of the program: its errors belong to the call.
static diag *add_error(evaluator *ev, span at, const char *fmt, va_list ap) {
    bool made = at.src && at.src->name == einsum_source;
    diag *d = diag_addv(&ev->dl, DG_ERROR, made ? ev->einsum_at : at, fmt, ap);
    if (made) diag_note(&ev->dl, d, ev->einsum_at, "in einsum \"%.*s\"", (int)ev->einsum_spec.n, ev->einsum_spec.p);
    return d;
}

diag *ev_diag(evaluator *ev, span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag *d = add_error(ev, at, fmt, ap);
    va_end(ap);
    return d;
}

void ev_throw(evaluator *ev) {
    TL_CHECK(ev->escape);
    if (ev->code == TL_OK) ev->code = TL_E_PROGRAM;
    longjmp(*ev->escape, 1);
}

static void note_calls(evaluator *ev, diag *d) {
    int shown = 0;
    for (frame *f = ev->frames; f && shown < 3; f = f->caller, shown++) {
        if (f->call.src && f->call.src != d->at.src) diag_note(&ev->dl, d, f->call, "in this call of %s", f->fn);
    }
}

void ev_fail(evaluator *ev, span at, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag *d = add_error(ev, at, fmt, ap);
    va_end(ap);
    note_calls(ev, d);
    ev_throw(ev);
}

void ev_fail_fix(evaluator *ev, span at, const char *fix, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    diag *d = add_error(ev, at, fmt, ap);
    va_end(ap);
    if (fix) diag_fix(&ev->dl, d, "%s", fix);
    note_calls(ev, d);
    ev_throw(ev);
}

void ev_fail_err(evaluator *ev, span at, const tl_error *err) {
    ev->code = err->code;
    diag *d = ev_diag(ev, at, "%s", err->message);
    note_calls(ev, d);
    ev_throw(ev);
}

// ---- heap ----------------------------------------------------------------------------------------
void heap_account(evaluator *ev, size_t bytes) {
    ev->heap_bytes += bytes;
    if (!ev->o.max_bytes || ev->collecting || ev->heap_bytes <= ev->o.max_bytes) return;
    ev->code = TL_E_LIMIT;
    ev_fail(ev, ev->g->at, "the program's values need more than %zu MiB, which is its limit", ev->o.max_bytes >> 20);
}

void *heap_new(evaluator *ev, size_t size, int kind) {
    obj *o = mem_calloc(1, size);
    if (!o) {
        ev->code = TL_E_MEMORY;
        ev_fail(ev, (span){0}, "out of memory");
    }
    o->kind = (uint8_t)kind;
    o->next = ev->objects;
    ev->objects = o;
    heap_account(ev, size);
    return o;
}

static void obj_free(obj *o) {
    switch (o->kind) {
    case V_LIST: mem_free(((v_list *)o)->p); break;
    case V_MAP: mem_free(((v_map *)o)->keys), mem_free(((v_map *)o)->vals); break;
    case V_PATH: mem_free(((v_path *)o)->prefix); break;
    case V_PARTS: mem_free(((v_parts *)o)->p); break;
    case O_BUFFER: mem_free_aligned(((buffer *)o)->data); break;
    case O_SCOPE: mem_free(((scope *)o)->p); break;
    default: break;
    }
    mem_free(o);
}

void heap_free(evaluator *ev) {
    for (obj *o = ev->objects, *next; o; o = next) {
        next = o->next;
        obj_free(o);
    }
    ev->objects = NULL;
}

// ---- what a function holds while it may fail -------------------------------------------------------
void temp_begin(evaluator *ev, void *p, void (*drop)(void *p)) {
    ev_temp *t = p ? mem_alloc(sizeof *t) : NULL;
    if (!t) {
        if (p) drop(p);
        ev->code = TL_E_MEMORY;
        ev_fail(ev, (span){0}, "out of memory");
    }
    *t = (ev_temp){ev->temps, p, drop};
    ev->temps = t;
}

void temp_end(evaluator *ev, void *p) {
    for (ev_temp **at = &ev->temps; *at; at = &(*at)->next) {
        ev_temp *t = *at;
        if (t->p != p) continue;
        *at = t->next;
        t->drop(p);
        mem_free(t);
        return;
    }
}

void temps_drop(evaluator *ev, ev_temp *until) {
    while (ev->temps && ev->temps != until) temp_end(ev, ev->temps->p);
}

static void text_drop(void *p) {
    sbuf_free(p);
    mem_free(p);
}

sbuf *text_begin(evaluator *ev) {
    sbuf *b = mem_calloc(1, sizeof *b);
    temp_begin(ev, b, text_drop);
    return b;
}

void text_end(evaluator *ev, sbuf *b) { temp_end(ev, b); }

value text_value(evaluator *ev, sbuf *b) {
    if (b->failed) ev_fail(ev, (span){0}, "out of memory");
    value v = v_str_new(ev, (str){b->p ? b->p : "", b->n});
    text_end(ev, b);
    return v;
}

typedef struct marker { // explicit stack: values may nest deeply
    VEC(obj *) todo;
    evaluator *ev;
} marker;

static void mark_obj(marker *m, obj *o) {
    if (!o || o->mark) return;
    o->mark = true;
    if (!vec_push(&m->todo, o)) ev_fail(m->ev, (span){0}, "out of memory");
}

static void mark_value(marker *m, value v) {
    switch (v.kind) {
    case V_STR: case V_LIST: case V_MAP: case V_TENSOR: case V_FN: case V_RELATION: case V_STATE: case V_PATH: case V_FAMILY: case V_PARTS:
        mark_obj(m, v.o);
        break;
    default: break;
    }
}

static void mark_kids(marker *m, obj *o) {
    switch (o->kind) {
    case V_LIST:
        for (size_t i = 0; i < ((v_list *)o)->n; i++) mark_value(m, ((v_list *)o)->p[i]);
        break;
    case V_MAP:
        for (size_t i = 0; i < ((v_map *)o)->n; i++) mark_value(m, ((v_map *)o)->keys[i]), mark_value(m, ((v_map *)o)->vals[i]);
        break;
    case V_TENSOR: mark_obj(m, (obj *)((tensor *)o)->buf); break;
    case V_FN: mark_obj(m, (obj *)((v_fn *)o)->env); break;
    case V_RELATION: mark_obj(m, (obj *)((v_relation *)o)->whole); break;
    case V_STATE: mark_value(m, ((v_statedecl *)o)->now); break;
    case V_FAMILY: mark_obj(m, (obj *)((v_family *)o)->members); break;
    case V_PARTS: {
        v_parts *p = (v_parts *)o;
        for (size_t i = 0; i < p->n; i++) mark_obj(m, (obj *)p->p[i].t);
        mark_obj(m, (obj *)p->whole);
        break;
    }
    case O_SCOPE: {
        scope *s = (scope *)o;
        mark_obj(m, (obj *)s->parent);
        for (size_t i = 0; i < s->n; i++) mark_value(m, s->p[i].v);
        break;
    }
    default: break;
    }
}

static void mark_roots(marker *m) {
    evaluator *ev = m->ev;
    mark_obj(m, (obj *)ev->global);
    mark_obj(m, (obj *)ev->scope);
    mark_obj(m, (obj *)ev->step);
    for (frame *f = ev->frames; f; f = f->caller) {
        mark_obj(m, (obj *)f->env);
        mark_value(m, f->result);
    }
    while (m->todo.n) mark_kids(m, m->todo.p[--m->todo.n]);
}

// Live tensors that are still IR nodes are computed, then the eager graph is emptied.
static void force_live(evaluator *ev) {
    for (obj *o = ev->objects; o; o = o->next)
        if (o->mark && o->kind == V_TENSOR && ((tensor *)o)->node) tensor_force(ev, (tensor *)o, (span){0});
}

static size_t obj_bytes(const obj *o) {
    switch (o->kind) {
    case O_BUFFER: return 64 + ((const buffer *)o)->bytes;
    case V_LIST: return 64 + ((const v_list *)o)->cap * sizeof(value);
    case V_MAP: return 64 + ((const v_map *)o)->cap * 2 * sizeof(value);
    case V_STR: return 64 + ((const v_str *)o)->n;
    default: return 64;
    }
}

void heap_collect(evaluator *ev) {
    if (ev->pending || ev->tracing) return;
    marker m = {.ev = ev};
    mark_roots(&m);
    ev->collecting = true; // no budget's error may leave the marks behind
    force_live(ev);
    ev->collecting = false;
    for (obj *o = ev->objects; o; o = o->next) o->mark = false; // forcing made buffers: mark again
    mark_roots(&m);
    vec_free(&m.todo);
    ev->heap_bytes = 0;
    for (obj **p = &ev->objects; *p;) {
        obj *o = *p;
        if (o->mark) {
            o->mark = false;
            ev->heap_bytes += obj_bytes(o);
            p = &o->next;
        } else {
            *p = o->next;
            obj_free(o);
        }
    }
    arena_free(&ev->eager_arena);
    ir_init(&ev->eager, &ev->eager_arena);
    ev->eager.fold_limit = EAGER_FOLD;
    ev->heap_limit = ev->heap_bytes * 2 + (64u << 20);
    size_t left = ev->o.max_bytes > ev->heap_bytes ? ev->o.max_bytes - ev->heap_bytes : 0;
    if (left && ev->heap_bytes + left / 2 < ev->heap_limit) ev->heap_limit = ev->heap_bytes + left / 2 + (1u << 20); // before the budget ends
}

void heap_maybe_collect(evaluator *ev) {
    if (ev->pending || ev->tracing) return;
    if (ev->heap_bytes > ev->heap_limit || ev->eager.n > 20000 || ev->eager_arena.total > (256u << 20)) heap_collect(ev);
}

const char *intern(evaluator *ev, str s) {
    int64_t *v = map_get(&ev->names, s);
    if (v) return (const char *)(intptr_t)*v;
    char *c = arena_strndup(&ev->a, s.p, s.n);
    if (!map_put(&ev->names, (str){c, s.n}, (int64_t)(intptr_t)c)) ev_fail(ev, (span){0}, "out of memory");
    return c;
}

// ---- constructors --------------------------------------------------------------------------------
value v_none(void) { return (value){.kind = V_NONE}; }
value v_int(int64_t i) { return (value){.kind = V_INT, .i = i}; }
value v_float(double f) { return (value){.kind = V_FLOAT, .f = f}; }
value v_bool(bool b) { return (value){.kind = V_BOOL, .b = b}; }
value v_of_tensor(tensor *t) { return (value){.kind = V_TENSOR, .t = t}; }

value v_str_new(evaluator *ev, str s) {
    v_str *v = heap_new(ev, sizeof *v + s.n + 1, V_STR);
    v->n = s.n;
    if (s.n) memcpy(v->p, s.p, s.n);
    return (value){.kind = V_STR, .s = v};
}

value v_list_new(evaluator *ev) { return (value){.kind = V_LIST, .list = heap_new(ev, sizeof(v_list), V_LIST)}; }

void list_push(evaluator *ev, v_list *l, value v) {
    if (!vec_grow_((void **)&l->p, &l->cap, l->n + 1, sizeof *l->p)) ev_fail(ev, (span){0}, "out of memory");
    l->p[l->n++] = v;
    heap_account(ev, sizeof v);
}

value v_map_new(evaluator *ev) { return (value){.kind = V_MAP, .map = heap_new(ev, sizeof(v_map), V_MAP)}; }

static bool key_equal(value a, value b) {
    if (a.kind != b.kind) return false;
    return a.kind == V_STR ? str_eq(v_text(a), v_text(b)) : a.i == b.i;
}

value *map_find(v_map *m, value key) {
    for (size_t i = 0; i < m->n; i++)
        if (key_equal(m->keys[i], key)) return &m->vals[i];
    return NULL;
}

void map_set(evaluator *ev, v_map *m, value key, value v) {
    value *old = map_find(m, key);
    if (old) {
        *old = v;
        return;
    }
    if (m->n == m->cap) {
        size_t cap = m->cap ? m->cap * 2 : 8;
        value *k = mem_realloc(m->keys, cap * sizeof *k), *w = k ? mem_realloc(m->vals, cap * sizeof *w) : NULL;
        if (k) m->keys = k;
        if (w) m->vals = w;
        if (!k || !w) ev_fail(ev, (span){0}, "out of memory");
        m->cap = cap;
    }
    m->keys[m->n] = key;
    m->vals[m->n++] = v;
    heap_account(ev, 2 * sizeof v);
}

// ---- scopes --------------------------------------------------------------------------------------
scope *env_new(evaluator *ev, scope *parent) {
    scope *s = heap_new(ev, sizeof *s, O_SCOPE);
    s->parent = parent;
    return s;
}

static binding *find_hashed(scope *s, str name, uint64_t hash) {
    if (!(s->seen[hash >> 6 & 3] & (uint64_t)1 << (hash & 63))) return NULL;
    for (size_t i = s->n; i-- > 0;)
        if (s->p[i].hash == hash && str_eq(s->p[i].name, name)) return &s->p[i];
    return NULL;
}

binding *env_find_here(scope *s, str name) { return find_hashed(s, name, str_hash(name)); }

binding *env_find(scope *s, str name) {
    uint64_t hash = str_hash(name);
    for (; s; s = s->parent) {
        binding *b = find_hashed(s, name, hash);
        if (b) return b;
    }
    return NULL;
}

binding *env_put(evaluator *ev, scope *s, str name, value v, span at) {
    binding *b = env_find_here(s, name);
    if (!b) {
        if (!vec_grow_((void **)&s->p, &s->cap, s->n + 1, sizeof *s->p)) ev_fail(ev, at, "out of memory");
        b = &s->p[s->n++];
    }
    const char *own = intern(ev, name);
    uint64_t hash = str_hash(name);
    *b = (binding){.name = {own, name.n}, .hash = hash, .v = v, .at = at};
    s->seen[hash >> 6 & 3] |= (uint64_t)1 << (hash & 63);
    return b;
}

// ---- dims ------------------------------------------------------------------------------------------
dim_entry *dim_find(evaluator *ev, const char *name) {
    for (size_t i = ev->dims.n; i-- > 0;)
        if (ev->dims.p[i].name == name && ev->dims.p[i].unit == ev->cur && (ev->dims.p[i].depth == ev->depth || !ev->dims.p[i].depth)) return &ev->dims.p[i];
    return NULL;
}

dim_entry *dim_put(evaluator *ev, const char *name) {
    dim_entry *d = dim_find(ev, name);
    if (d) return d;
    if (!vec_push(&ev->dims, ((dim_entry){.name = name, .unit = ev->cur, .depth = ev->depth, .size = -1}))) ev_fail(ev, (span){0}, "out of memory");
    return &ev->dims.p[ev->dims.n - 1];
}

// ---- equality and printing -----------------------------------------------------------------------
enum { MAX_NESTING = 200 }; // of lists and maps: they may contain themselves

static bool equal_elements(evaluator *ev, value a, value b, span at) {
    if (++ev->nesting > MAX_NESTING) {
        ev->nesting = 0;
        ev_fail(ev, at, "these values are nested too deeply to be compared: does one contain itself?");
    }
    bool same = v_equal(ev, a, b, at);
    ev->nesting--;
    return same;
}

bool v_equal(evaluator *ev, value a, value b, span at) {
    if ((a.kind == V_INT || a.kind == V_FLOAT || a.kind == V_BOOL) && (b.kind == V_INT || b.kind == V_FLOAT || b.kind == V_BOOL)) {
        if (a.kind == V_FLOAT || b.kind == V_FLOAT) return want_float(ev, a, at, "value") == want_float(ev, b, at, "value");
        return (a.kind == V_BOOL ? a.b : a.i) == (b.kind == V_BOOL ? b.b : b.i);
    }
    if (a.kind == V_TENSOR && b.kind == V_TENSOR) {
        if (a.t->rank != b.t->rank || tensor_elements(a.t) != tensor_elements(b.t)) return false;
        for (int i = 0; i < a.t->rank; i++)
            if (a.t->ax[i].size != b.t->ax[i].size) return false;
        const float *x = tensor_floats(ev, a.t, at), *y = tensor_floats(ev, b.t, at);
        for (int64_t i = 0; i < tensor_elements(a.t); i++)
            if (!(x[i] == y[i])) return false;
        return true;
    }
    if (a.kind == V_TENSOR || b.kind == V_TENSOR) {
        value t = a.kind == V_TENSOR ? a : b, o = a.kind == V_TENSOR ? b : a;
        if (o.kind == V_INT || o.kind == V_FLOAT || o.kind == V_BOOL)
            return tensor_elements(t.t) == 1 && tensor_scalar(ev, t.t, at) == want_float(ev, o, at, "value");
        if (o.kind == V_LIST) return v_equal(ev, t, v_of_tensor(value_tensor(ev, o, at)), at);
        return false;
    }
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case V_NONE: return true;
    case V_STR: return str_eq(v_text(a), v_text(b));
    case V_LIST:
        if (a.list->n != b.list->n) return false;
        for (size_t i = 0; i < a.list->n; i++)
            if (!equal_elements(ev, a.list->p[i], b.list->p[i], at)) return false;
        return true;
    case V_MAP:
        if (a.map->n != b.map->n) return false;
        for (size_t i = 0; i < a.map->n; i++) {
            value *o = map_find(b.map, a.map->keys[i]);
            if (!o || !equal_elements(ev, a.map->vals[i], *o, at)) return false;
        }
        return true;
    case V_RANGE: return a.range.lo == b.range.lo && a.range.hi == b.range.hi;
    default: return a.o == b.o;
    }
}

static void print_float(double f, sbuf *out, int digits) {
    char buf[48];
    if (isnan(f)) { sbuf_puts(out, "nan"); return; }
    if (isinf(f)) { sbuf_puts(out, f < 0 ? "-inf" : "inf"); return; }
    char rounded[48];
    snprintf(rounded, sizeof rounded, "%.*e", digits - 1, f);
    double shown = strtod(rounded, NULL);
    int d = 1; // the fewest digits that read back as the number that is shown
    for (; d < digits; d++) {
        snprintf(buf, sizeof buf, "%.*e", d - 1, f);
        double back = strtod(buf, NULL);
        if (digits > 9 ? back == f : back == shown || (float)back == (float)f) break;
    }
    snprintf(buf, sizeof buf, "%.*e", d - 1, f);
    int exponent = (int)strtol(strchr(buf, 'e') + 1, NULL, 10);
    if (exponent >= -5 && exponent < 16) snprintf(buf, sizeof buf, "%.*f", d - 1 > exponent ? d - 1 - exponent : 0, f);
    sbuf_puts(out, buf);
    if (!strpbrk(buf, ".eninf")) sbuf_puts(out, ".0");
}

// Long axes are cut in the middle: three elements from each end.
static void print_axis(const tensor *t, const float *p, int axis_no, int64_t *at, sbuf *out) {
    if (axis_no == t->rank) {
        if (t->type == DT_I32) sbuf_printf(out, "%" PRId64, (int64_t)p[*at]);
        else if (t->type == DT_BOOL) sbuf_puts(out, p[*at] != 0 ? "true" : "false");
        else print_float((double)p[*at], out, 6);
        ++*at;
        return;
    }
    int64_t n = t->ax[axis_no].size, inner = 1;
    for (int i = axis_no + 1; i < t->rank; i++) inner *= t->ax[i].size;
    sbuf_putc(out, '[');
    for (int64_t i = 0; i < n; i++) {
        if (i) sbuf_puts(out, axis_no + 1 == t->rank ? ", " : ",\n ");
        if (n > 16 && i == 3) {
            sbuf_puts(out, axis_no + 1 == t->rank ? "..., " : "...,\n ");
            *at += inner * (n - 6);
            i = n - 3;
        }
        print_axis(t, p, axis_no + 1, at, out);
    }
    sbuf_putc(out, ']');
}

static void print_tensor(evaluator *ev, tensor *t, sbuf *out) {
    if (tensor_has_sym(t) || ev->tracing) {
        sbuf_puts(out, "<tensor ");
        tensor_shape_text(t, out);
        sbuf_puts(out, " being traced>");
        return;
    }
    int64_t at = 0;
    print_axis(t, tensor_floats(ev, t, (span){0}), 0, &at, out);
}

typedef struct printed { // the lists and maps that the value stands in
    const obj *o;
    const struct printed *in;
    int depth;
} printed;

static void print_value(evaluator *ev, value v, sbuf *out, bool nested, const printed *in);

static void print_element(evaluator *ev, value v, sbuf *out, const printed *in) {
    for (const printed *p = in; p && (v.kind == V_LIST || v.kind == V_MAP); p = p->in)
        if (p->o == v.o || in->depth > MAX_NESTING) {
            sbuf_puts(out, "...");
            return;
        }
    if (ev->o.max_bytes && out->n > ev->o.max_bytes) {
        ev->code = TL_E_LIMIT;
        ev_fail(ev, ev->g->at, "the text is longer than %zu MiB, which is the program's limit", ev->o.max_bytes >> 20);
    }
    print_value(ev, v, out, true, in);
}

static void print_list(evaluator *ev, const v_list *l, sbuf *out, const printed *in) {
    printed here = {&l->o, in, in ? in->depth + 1 : 1};
    sbuf_putc(out, '[');
    for (size_t i = 0; i < l->n; i++) {
        if (i) sbuf_puts(out, ", ");
        print_element(ev, l->p[i], out, &here);
    }
    sbuf_putc(out, ']');
}

static void print_map(evaluator *ev, const v_map *m, sbuf *out, const printed *in) {
    printed here = {&m->o, in, in ? in->depth + 1 : 1};
    sbuf_putc(out, '{');
    for (size_t i = 0; i < m->n; i++) {
        if (i) sbuf_puts(out, ", ");
        print_element(ev, m->keys[i], out, &here);
        sbuf_puts(out, ": ");
        print_element(ev, m->vals[i], out, &here);
    }
    sbuf_putc(out, '}');
}

static void print_value(evaluator *ev, value v, sbuf *out, bool nested, const printed *in) {
    switch (v.kind) {
    case V_NONE: sbuf_puts(out, "nothing"); break;
    case V_INT: sbuf_printf(out, "%" PRId64, v.i); break;
    case V_FLOAT: print_float(v.f, out, 17); break;
    case V_BOOL: sbuf_puts(out, v.b ? "true" : "false"); break;
    case V_STR:
        if (nested) sbuf_putc(out, '"');
        sbuf_put(out, v.s->p, v.s->n);
        if (nested) sbuf_putc(out, '"');
        break;
    case V_LIST: print_list(ev, v.list, out, in); break;
    case V_MAP: print_map(ev, v.map, out, in); break;
    case V_TENSOR: print_tensor(ev, v.t, out); break;
    case V_FN: sbuf_printf(out, "<fn %.*s>", (int)v.fn->def->head.name.n, v.fn->def->head.name.p); break;
    case V_BUILTIN: sbuf_printf(out, "<builtin %s>", v.bi->name); break;
    case V_MODEL: sbuf_printf(out, "<model %s>", v.model->path); break;
    case V_PATH: sbuf_printf(out, "<%s of a model>", v.path->prefix); break;
    case V_RANGE: sbuf_printf(out, "range(%d, %d)", v.range.lo, v.range.hi); break;
    case V_PARTS: print_tensor(ev, settle(ev, v, (span){0}).t, out); break;
    default: sbuf_printf(out, "<%s>", v_names[v.kind]); break;
    }
}

void v_print(evaluator *ev, value v, sbuf *out, bool nested) { print_value(ev, v, out, nested, NULL); }
