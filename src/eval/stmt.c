// stmt.c - statements of ordinary code.
#include <inttypes.h>

#include "eval/explain.h"
#include "eval/relations.h"
#include "eval/update.h"
#include "eval/watch.h"

void poll_budget(evaluator *ev, span at) {
    if (ev->o.max_steps && ev->steps >= ev->o.max_steps) {
        ev->code = TL_E_LIMIT;
        ev_fail_fix(ev, at, "a loop that never ends?", "the program has run %" PRId64 " statements, which is its limit", ev->steps);
    }
    if (ev->o.host.cancelled && ev->o.host.cancelled(ev->o.host.ctx)) {
        ev->code = TL_E_CANCELLED;
        ev_fail(ev, at, "stopped");
    }
}

static void poll(evaluator *ev, span at) {
    if ((++ev->steps & 63) == 0 || (ev->o.max_steps && ev->steps >= ev->o.max_steps)) poll_budget(ev, at);
}

static flow exec_loop_body(evaluator *ev, const ast_stmt *s, scope *outer, const str *var, value v) {
    ev->scope = env_new(ev, outer);
    if (var) env_put(ev, ev->scope, *var, v, s->head.at);
    flow f = exec_block(ev, s->body);
    ev->scope = outer;
    poll(ev, s->at);
    heap_maybe_collect(ev);
    return f;
}

static flow exec_for(evaluator *ev, const ast_stmt *s) {
    value it = settle(ev, eval(ev, s->expr), s->expr->at);
    int64_t n;
    if (it.kind == V_RANGE) n = it.range.hi > it.range.lo ? it.range.hi - it.range.lo : 0;
    else if (it.kind == V_LIST) n = (int64_t)it.list->n;
    else if (it.kind == V_TENSOR && it.t->rank && !it.t->ax[0].sym) n = it.t->ax[0].size;
    else if (it.kind == V_MAP) n = (int64_t)it.map->n;
    else ev_fail(ev, s->expr->at, "'for' needs a list, a range, a map or a tensor, found %s", v_names[it.kind]);
    scope *outer = ev->scope, *hold = env_new(ev, outer);
    env_put(ev, hold, STR(" iterated"), it, s->at); // keeps it alive
    flow f = FLOW_NEXT;
    loop_at here = {.outer = ev->loops, .name = intern(ev, s->head.name), .n = n};
    watch_lens(ev, s, outer, -1);
    for (int64_t i = 0; i < n; i++) {
        value v;
        if (it.kind == V_RANGE) v = v_int(it.range.lo + i);
        else if (it.kind == V_LIST) v = i < (int64_t)it.list->n ? it.list->p[i] : v_none();
        else if (it.kind == V_MAP) v = it.map->keys[i];
        else v = v_of_tensor(tensor_select(ev, it.t, 0, i, i + 1, true));
        bool counted = v.kind == V_INT;
        here.at = counted ? v.i : 0;
        if (counted) ev->loops = &here;
        f = exec_loop_body(ev, s, hold, &s->head.name, v);
        ev->loops = here.outer;
        if (counted && f == FLOW_NEXT) watch_lens(ev, s, outer, v.i);
        if (f == FLOW_BREAK || f == FLOW_RETURN) break;
    }
    ev->scope = outer;
    return f == FLOW_RETURN ? f : FLOW_NEXT;
}

static flow exec_while(evaluator *ev, const ast_stmt *s) {
    scope *outer = ev->scope;
    for (;;) {
        if (s->kind == ST_WHILE && !truthy(ev, eval(ev, s->expr), s->expr->at)) return FLOW_NEXT;
        flow f = exec_loop_body(ev, s, outer, NULL, v_none());
        if (f == FLOW_RETURN) return f;
        if (f == FLOW_BREAK) return FLOW_NEXT;
    }
}

static void assign_element(evaluator *ev, const ast_stmt *s, binding *b) {
    value v = eval(ev, s->expr), base = b->v;
    ev->pending++;
    for (const ast_index *ix = s->head.index; ix; ix = ix->next) {
        if (ix->kind != IX_EXPR) ev_fail(ev, ix->at, "a key or number was expected");
        value key = eval(ev, ix->expr);
        if (!ix->next && s->assign != AS_EQ && s->assign != AS_SET) {
            value *old = base.kind == V_MAP ? map_find(base.map, key) : NULL;
            if (base.kind == V_LIST) old = &base.list->p[clamp_index(ev, want_int(ev, key, ix->at, "an index"), (int64_t)base.list->n, ix->at)];
            if (!old) ev_fail(ev, ix->at, "there is nothing here to update yet");
            v = binary_op(ev, s->assign == AS_SUB ? OP_SUB : s->assign == AS_MUL ? OP_MUL : OP_ADD, *old, v, s->assign_at);
        }
        if (base.kind == V_MAP) {
            if (!ix->next) map_set(ev, base.map, key, v);
            else {
                value *q = map_find(base.map, key);
                if (!q) ev_fail(ev, ix->at, "the map has no such key");
                base = *q;
            }
        } else if (base.kind == V_LIST) {
            int64_t i = clamp_index(ev, want_int(ev, key, ix->at, "an index"), (int64_t)base.list->n, ix->at);
            if (!ix->next) base.list->p[i] = v;
            else base = base.list->p[i];
        } else {
            ev_fail(ev, ix->at, "%s has no elements to assign to", v_names[base.kind]);
        }
    }
    ev->pending--;
}

static void assign_name(evaluator *ev, const ast_stmt *s) {
    value v = eval(ev, s->expr);
    binding *b = find_name(ev, s->head.name);
    if (s->assign != AS_EQ && s->assign != AS_SET) {
        if (!b) ev_fail(ev, s->head.at, "'%.*s' has no value to update yet", (int)s->head.name.n, s->head.name.p);
        ex_op op = s->assign == AS_ADD ? OP_ADD : s->assign == AS_SUB ? OP_SUB : s->assign == AS_MUL ? OP_MUL : OP_NONE;
        value args[2] = {b->v, v};
        if (op != OP_NONE) v = binary_op(ev, op, b->v, v, s->assign_at);
        else if (s->assign == AS_MAX || s->assign == AS_MIN) v = v_of_tensor(tensor_map(ev, s->assign == AS_MAX ? MAP_MAX : MAP_MIN, 2, args, s->assign_at));
        else ev_fail(ev, s->assign_at, "this fold needs an indexed left side");
    }
    v = watch_value(ev, s, v);
    if (b) b->v = v, b->constant = false; // the outer variable changes; its place of definition stays
    else env_put(ev, ev->scope, s->head.name, v, s->head.at);
}

static void exec_let(evaluator *ev, const ast_stmt *s) {
    value v = eval(ev, s->expr);
    if (s->type && s->type->has_shape) {
        ast_param p = {.at = s->type->at, .name = s->head.name, .type = s->type};
        v = bind_param(ev, &p, v, s->expr->at);
    } else if (s->type && (str_is(s->type->name, "float") || str_is(s->type->name, "float64")) && v.kind == V_INT) {
        v = v_float((double)v.i);
    }
    env_put(ev, ev->scope, s->head.name, watch_value(ev, s, v), s->head.at);
}

static void declare_tensor(evaluator *ev, const ast_stmt *s) {
    if (s->state) {
        v_statedecl *d = heap_new(ev, sizeof *d, V_STATE);
        d->def = s;
        d->type = s->type->dtype == DT_COUNT ? DT_F32 : s->type->dtype;
        d->rank = s->type->rank;
        d->unit = ev->cur;
        env_put(ev, ev->scope, s->head.name, (value){.kind = V_STATE, .state = d}, s->head.at);
        return;
    }
    value v;
    if (s->expr) {
        v = v_of_tensor(want_tensor(ev, eval(ev, s->expr), s->expr->at, "a tensor's value"));
    } else { // zeros of the declared shape
        int64_t sizes[IR_MAX_RANK];
        int i = 0;
        for (const ast_size *z = s->type->sizes; z; z = z->next, i++) {
            sizes[i] = z->n;
            if (z->kind == SZ_NAME) sizes[i] = want_int(ev, lookup(ev, z->name, z->at), z->at, "a size");
            if (z->kind == SZ_ANY) ev_fail(ev, z->at, "a tensor without a value needs a size here");
        }
        v = v_of_tensor(tensor_from_floats(ev, i, sizes, NULL));
    }
    if (s->type->has_shape) {
        ast_param p = {.at = s->type->at, .name = s->head.name, .type = s->type};
        v = bind_param(ev, &p, v, s->at);
    }
    env_put(ev, ev->scope, s->head.name, v, s->head.at);
}

static void declare_dims(evaluator *ev, const ast_stmt *s) {
    int64_t n = want_int(ev, eval(ev, s->expr), s->expr->at, "a dim's size");
    if (n < 0) ev_fail(ev, s->expr->at, "a dim's size cannot be %" PRId64, n);
    if (ev->depth) { // inside a function: the call's own
        if (!vec_push(&ev->dims, ((dim_entry){.name = intern(ev, s->head.name), .unit = ev->cur, .depth = ev->depth, .size = n, .at = s->head.at}))) ev_fail(ev, s->at, "out of memory");
        return;
    }
    (void)dim_learn(ev, s->head.name, n, s->head.at, "this dim");
    dim_find(ev, intern(ev, s->head.name))->decl = s;
}

static bool element_target(evaluator *ev, const ast_stmt *s) {
    binding *b = find_name(ev, s->head.name);
    if (!b || (b->v.kind != V_LIST && b->v.kind != V_MAP)) return false;
    for (const ast_index *ix = s->head.index; ix && b->v.kind == V_LIST; ix = ix->next)
        if (ix->kind == IX_SLICE || (ix->kind == IX_EXPR && (eq_free_name(ev, ix->expr) || has_free_index(ev, ix->expr)))) { // an equation over a list of numbers
            b->v = v_of_tensor(value_tensor(ev, b->v, s->head.at));
            return false;
        }
    return true;
}

static void exec_assert(evaluator *ev, const ast_stmt *s) {
    if (truthy(ev, eval(ev, s->expr), s->expr->at)) return;
    const ast_expr *e = s->expr;
    sbuf *b = text_begin(ev);
    if (e->kind == EX_BINARY && e->op >= OP_EQ && e->op <= OP_GE) { // show both sides
        value l = settle(ev, eval(ev, e->kids), e->at), r = settle(ev, eval(ev, e->kids->next), e->at);
        sbuf_puts(b, ": ");
        v_print(ev, l, b, true);
        sbuf_printf(b, " %s ", op_text(e->op));
        v_print(ev, r, b, true);
    }
    char found[300];
    snprintf(found, sizeof found, "%s", b->p ? b->p : "");
    text_end(ev, b);
    if (s->text.p) ev_fail(ev, s->at, "%.*s%s", (int)s->text.n, s->text.p, found);
    ev_fail(ev, s->at, "the assertion does not hold%s", found);
}

flow exec_block(evaluator *ev, const ast_stmt *list) {
    for (const ast_stmt *s = list; s; s = s->next) {
        flow f = exec(ev, s);
        if (f != FLOW_NEXT) return f;
    }
    return FLOW_NEXT;
}

static flow exec_scoped(evaluator *ev, const ast_stmt *list) {
    scope *outer = ev->scope;
    ev->scope = env_new(ev, outer);
    flow f = exec_block(ev, list);
    ev->scope = outer;
    return f;
}

// The relation between sequences and the cache's slots: the session fills it.
static bool is_cache_relation(const ast_stmt *s) {
    for (const ast_param *p = s->params; p; p = p->next)
        if (p->type && str_is(p->type->name, "slot")) return true;
    return false;
}

static void declare_cache(evaluator *ev, const ast_stmt *s) {
    v_relation *r = heap_new(ev, sizeof *r, V_RELATION);
    r->def = s;
    r->cache = true;
    env_put(ev, ev->scope, s->head.name, (value){.kind = V_RELATION, .rel = r}, s->head.at);
}

static void declare_fn(evaluator *ev, const ast_stmt *s) {
    v_fn *fn = heap_new(ev, sizeof *fn, V_FN);
    fn->def = s;
    fn->env = ev->scope;
    fn->unit = ev->cur;
    env_put(ev, ev->scope, s->head.name, (value){.kind = V_FN, .fn = fn}, s->head.at);
}

static void exec_assign(evaluator *ev, const ast_stmt *s) {
    if (s->assign == AS_SOFT) {
        ev->code = TL_E_UNSUPPORTED;
        ev_fail_fix(ev, s->assign_at, "write = for an exact equation", "'~' is understood, but learning is not there yet");
    }
    if (!s->head.indexed && !s->where) assign_name(ev, s);
    else if (is_logic_rule(ev, s)) exec_logic_rule(ev, s);
    else if (virtual_index(s)) exec_recurrence(ev, s);
    else if (reads_steps(s)) exec_step_reads(ev, s);
    else if (element_target(ev, s)) assign_element(ev, s, find_name(ev, s->head.name));
    else if (is_fixpoint(ev, s)) exec_fixpoint(ev, s);
    else {
        refuse_cycle(ev, s);
        exec_equation(ev, s);
    }
}

tl_status ev_import(evaluator *ev, const ast_stmt *s);

flow exec(evaluator *ev, const ast_stmt *s) {
    span saved = ev->g->at;
    ev->g->at = s->at;
    flow f = FLOW_NEXT;
    explain_mark mark = {0};
    if (ev->explain) mark = explain_begin(ev, s);
    switch (s->kind) {
    case ST_IMPORT: (void)ev_import(ev, s); break;
    case ST_DIM: declare_dims(ev, s); break;
    case ST_TENSOR: declare_tensor(ev, s); break;
    case ST_RELATION:
        if (is_cache_relation(s)) declare_cache(ev, s);
        else declare_relation(ev, s);
        break;
    case ST_FN: declare_fn(ev, s); break;
    case ST_MAIN: case ST_TEST: case ST_BENCH: break; // run by the driver
    case ST_BLOCK: f = exec_scoped(ev, s->body); break;
    case ST_LET:
        if (!s->head.indexed) exec_let(ev, s);
        else if (is_equation(ev, s)) exec_equation(ev, s);
        else (void)let_axes(ev, s, false);
        break;
    case ST_ASSIGN: exec_assign(ev, s); break;
    case ST_RULE:
        if (is_logic_rule(ev, s)) exec_logic_rule(ev, s);
        else exec_rule(ev, s);
        break;
    case ST_IF:
        if (truthy(ev, eval(ev, s->expr), s->expr->at)) f = exec_scoped(ev, s->body);
        else if (s->orelse) f = exec_scoped(ev, s->orelse);
        break;
    case ST_FOR: f = exec_for(ev, s); break;
    case ST_WHILE: case ST_LOOP: f = exec_while(ev, s); break;
    case ST_BREAK: f = FLOW_BREAK; break;
    case ST_CONTINUE: f = FLOW_CONTINUE; break;
    case ST_RETURN:
        if (!ev->frames) ev_fail(ev, s->at, "'return' outside a function");
        ev->frames->result = s->expr ? settle(ev, eval(ev, s->expr), s->expr->at) : v_none();
        f = FLOW_RETURN;
        break;
    case ST_ASSERT: exec_assert(ev, s); break;
    case ST_EXPR:
        if (s->expr->kind == EX_CALL && is_relation(ev, s->expr->kids)) exec_fact(ev, s->expr);
        else (void)eval(ev, s->expr);
        break;
    case ST_ENTITY: declare_entity(ev, s); break;
    case ST_QUERY: exec_query(ev, s); break;
    case ST_PATCH: patch_declare(ev, s); break;
    case ST_LEARN:
        ev->code = TL_E_UNSUPPORTED;
        ev_fail(ev, s->at, "'learn' is understood, but learning is not there yet");
    case ST_EMBEDDING: declare_embedding(ev, s); break;
    case ST_INFER:
        ev->code = TL_E_UNSUPPORTED;
        ev_fail_fix(ev, s->at, "ask with query", "'infer' is understood, but cannot be run yet");
    }
    if (ev->explain) explain_end(ev, s, &mark);
    ev->g->at = saved;
    poll(ev, s->at);
    if (f == FLOW_NEXT) heap_maybe_collect(ev);
    return f;
}
