// check_part.c - what could be read of a file that does not parse: statements that lack a part are taken out, so that the
// checker can walk the rest for editors.
#include "eval/check.h"

static bool whole_expr(const ast_expr *e);

static bool whole_index(const ast_index *ix) {
    for (; ix; ix = ix->next) {
        if (ix->kind == IX_EXPR && !(ix->expr && whole_expr(ix->expr))) return false;
        if (ix->kind == IX_COMPOSITE && !ix->names) return false;
        if (ix->kind == IX_SLICE && ((ix->lo && !whole_expr(ix->lo)) || (ix->hi && !whole_expr(ix->hi)))) return false;
    }
    return true;
}

static int least_kids(const ast_expr *e) {
    switch (e->kind) {
    case EX_BINARY: return 2;
    case EX_UNARY: case EX_CALL: case EX_INDEX: case EX_FIELD: case EX_PATH: case EX_CAST: case EX_REDUCE: return 1;
    default: return 0;
    }
}

static bool whole_expr(const ast_expr *e) {
    int n = 0;
    for (const ast_expr *k = e->kids; k; k = k->next, n++)
        if (!whole_expr(k)) return false;
    return n >= least_kids(e) && n == e->n_kids && !(e->kind == EX_MAP && n % 2) && whole_index(e->index);
}

static bool whole_stmt(const ast_stmt *s) {
    static const bool needs_expr[] = {[ST_DIM] = true, [ST_LET] = true, [ST_ASSIGN] = true, [ST_IF] = true, [ST_FOR] = true, [ST_WHILE] = true, [ST_QUERY] = true, [ST_ASSERT] = true, [ST_PATCH] = true, [ST_EXPR] = true};
    static const bool needs_name[] = {[ST_PATCH] = true, [ST_DIM] = true, [ST_TENSOR] = true, [ST_RELATION] = true, [ST_ENTITY] = true, [ST_EMBEDDING] = true, [ST_FN] = true, [ST_LET] = true, [ST_ASSIGN] = true, [ST_RULE] = true, [ST_FOR] = true, [ST_EXPR] = false};
    if (s->kind < sizeof needs_expr && needs_expr[s->kind] && !s->expr) return false;
    if (s->kind < sizeof needs_name && needs_name[s->kind] && !s->head.name.n) return false;
    if (s->kind == ST_TENSOR && !s->type) return false;
    if (s->expr && !whole_expr(s->expr)) return false;
    for (const ast_literal *l = s->where; l; l = l->next)
        if (!l->expr || !whole_expr(l->expr)) return false;
    return whole_index(s->head.index);
}

void chk_prune(ast_stmt **list) {
    while (*list) {
        if (!whole_stmt(*list)) {
            *list = (*list)->next;
            continue;
        }
        chk_prune(&(*list)->body);
        chk_prune(&(*list)->orelse);
        list = &(*list)->next;
    }
}
