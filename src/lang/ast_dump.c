// ast_dump.c - the tree as text, for tests and `--dump ast`. Spans are left out, so equal trees have equal dumps.
#include "lang/ast.h"

static const char *const op_texts[] = {
    [OP_NONE] = "", [OP_OR] = "or", [OP_AND] = "and", [OP_EQ] = "==", [OP_NE] = "!=", [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">",
    [OP_GE] = ">=", [OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/", [OP_MOD] = "%", [OP_MATMUL] = "@", [OP_JUXT] = "juxt",
    [OP_POW] = "^", [OP_NEG] = "-", [OP_NOT] = "not",
};
const char *op_text(ex_op op) { return op == OP_JUXT ? "*" : op_texts[op]; }

static const char *const assign_texts[] = {
    [AS_EQ] = "=", [AS_SET] = ":=", [AS_ADD] = "+=", [AS_SUB] = "-=", [AS_MUL] = "*=", [AS_MAX] = "max=", [AS_MIN] = "min=", [AS_AVG] = "avg=",
    [AS_OR] = "or=", [AS_SOFT] = "~",
};

static void put_str(sbuf *out, str s) { sbuf_put(out, s.p ? s.p : "", s.n); }

static void put_quoted(sbuf *out, str s) {
    sbuf_putc(out, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\') sbuf_printf(out, "\\%c", c);
        else if (c < 0x20 || c == 0x7F) sbuf_printf(out, "\\x%02x", c);
        else sbuf_putc(out, (char)c);
    }
    sbuf_putc(out, '"');
}

// Expressions are S-expressions on one line: (+ a (* 2 b)), (index W l (g r) lo:hi s.), (call f x axis=1).
static void put_expr(sbuf *out, const ast_expr *e);

static void put_kids(sbuf *out, const ast_expr *kids) {
    for (const ast_expr *k = kids; k != NULL; k = k->next) {
        sbuf_putc(out, ' ');
        if (k->arg_name.n > 0) {
            put_str(out, k->arg_name);
            sbuf_putc(out, '=');
        }
        put_expr(out, k);
    }
}

static void put_index(sbuf *out, const ast_index *x) {
    sbuf_puts(out, x->virtual_axis ? "*" : "");
    if (x->names && x->kind != IX_COMPOSITE) sbuf_printf(out, "%.*s=", (int)x->names->name.n, x->names->name.p);
    if (x->kind == IX_COMPOSITE) {
        sbuf_putc(out, '<');
        for (const ast_expr *k = x->names; k != NULL; k = k->next) sbuf_printf(out, "%.*s%s", (int)k->name.n, k->name.p, k->next ? " " : ">");
    } else if (x->kind == IX_SLICE) {
        if (x->lo) put_expr(out, x->lo);
        sbuf_putc(out, ':');
        if (x->hi) put_expr(out, x->hi);
    } else {
        put_expr(out, x->expr);
    }
    sbuf_puts(out, x->normalised ? "." : "");
}

static void put_indices(sbuf *out, const ast_index *x) {
    for (; x != NULL; x = x->next) {
        sbuf_putc(out, ' ');
        put_index(out, x);
    }
}

// The shortest digits that read back as the same number, always with a mark of a float.
static void put_float(sbuf *out, double f) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, f);
        if (strtod(text, NULL) == f) break;
    }
    sbuf_puts(out, text);
    if (strpbrk(text, ".en") == NULL) sbuf_puts(out, ".0");
}

static void put_node(sbuf *out, const char *word, const ast_expr *e) {
    sbuf_printf(out, "(%s", word);
    put_kids(out, e->kids);
    sbuf_putc(out, ')');
}

static void put_expr(sbuf *out, const ast_expr *e) {
    if (e == NULL) {
        sbuf_puts(out, "?");
        return;
    }
    switch (e->kind) {
    case EX_INT: sbuf_printf(out, "%lld", (long long)e->i); return;
    case EX_FLOAT: put_float(out, e->f); return;
    case EX_BOOL: sbuf_puts(out, e->i ? "true" : "false"); return;
    case EX_NAME: put_str(out, e->name); return;
    case EX_STRING:
        if (e->kids) put_node(out, "string", e);
        else put_quoted(out, e->name);
        return;
    case EX_LIST: put_node(out, "list", e); return;
    case EX_TUPLE: put_node(out, "tuple", e); return;
    case EX_MAP: put_node(out, "map", e); return;
    case EX_SET: put_node(out, "set", e); return;
    case EX_CALL: put_node(out, "call", e); return;
    case EX_UNARY: case EX_BINARY: put_node(out, e->kind == EX_UNARY && e->op == OP_NEG ? "neg" : op_texts[e->op], e); return;
    case EX_FIELD: case EX_PATH: case EX_CAST:
        sbuf_puts(out, e->kind == EX_FIELD ? "(." : e->kind == EX_PATH ? "(::" : "(as");
        put_kids(out, e->kids);
        sbuf_putc(out, ' ');
        put_str(out, e->name);
        sbuf_putc(out, ')');
        return;
    case EX_INDEX:
        sbuf_puts(out, "(index");
        put_kids(out, e->kids);
        put_indices(out, e->index);
        sbuf_putc(out, ')');
        return;
    case EX_REDUCE:
        sbuf_printf(out, "(fold %.*s [", (int)e->name.n, e->name.p);
        put_indices(out, e->index);
        sbuf_puts(out, " ]");
        put_kids(out, e->kids);
        sbuf_putc(out, ')');
        return;
    }
}

static void put_type(sbuf *out, const ast_type *ty) {
    put_str(out, ty->name);
    if (!ty->has_shape) return;
    sbuf_putc(out, '[');
    for (const ast_size *z = ty->sizes; z != NULL; z = z->next) {
        if (z->kind == SZ_ANY) sbuf_putc(out, '?');
        else if (z->kind == SZ_INT) sbuf_printf(out, "%lld", (long long)z->n);
        else put_str(out, z->name);
        if (z->next) sbuf_putc(out, ' ');
    }
    sbuf_putc(out, ']');
}

static void put_head(sbuf *out, const ast_head *h) {
    if (h->name.n == 0) return;
    sbuf_putc(out, ' ');
    put_str(out, h->name);
    if (!h->indexed) return;
    sbuf_putc(out, h->round ? '(' : '[');
    put_indices(out, h->index);
    sbuf_puts(out, h->round ? " )" : " ]");
}

static void put_list(sbuf *out, const ast_stmt *s, int depth);

static void put_indent(sbuf *out, int depth) {
    for (int i = 0; i < depth; i++) sbuf_puts(out, "  ");
}

static void put_stmt_line(sbuf *out, const ast_stmt *s) {
    static const char *const words[] = {
        [ST_IMPORT] = "import", [ST_DIM] = "dim", [ST_TENSOR] = "tensor", [ST_RELATION] = "relation", [ST_ENTITY] = "entity",
        [ST_EMBEDDING] = "embedding", [ST_FN] = "fn", [ST_MAIN] = "main", [ST_BLOCK] = "block", [ST_TEST] = "test", [ST_BENCH] = "bench",
        [ST_LET] = "let", [ST_ASSIGN] = "assign", [ST_RULE] = "rule", [ST_IF] = "if", [ST_FOR] = "for", [ST_WHILE] = "while",
        [ST_LOOP] = "loop", [ST_BREAK] = "break", [ST_CONTINUE] = "continue", [ST_RETURN] = "return", [ST_QUERY] = "query",
        [ST_ASSERT] = "assert", [ST_PATCH] = "patch", [ST_LEARN] = "learn", [ST_INFER] = "infer", [ST_EXPR] = "expr",
    };
    sbuf_puts(out, words[s->kind]);
    put_head(out, &s->head);
    for (const ast_param *q = s->params; q != NULL; q = q->next) {
        sbuf_printf(out, " %.*s:", (int)q->name.n, q->name.p);
        if (q->type) put_type(out, q->type);
    }
    if (s->type) {
        sbuf_puts(out, s->kind == ST_FN ? " -> " : " : ");
        put_type(out, s->type);
    }
    sbuf_puts(out, s->learnable ? " learnable" : "");
    sbuf_puts(out, s->frozen ? " frozen" : "");
    sbuf_puts(out, s->state ? " state" : "");
    if (s->kind == ST_ASSIGN || s->kind == ST_PATCH) sbuf_printf(out, " %s", assign_texts[s->assign]);
    if (s->expr) {
        sbuf_putc(out, ' ');
        put_expr(out, s->expr);
    }
    if (s->kind == ST_IMPORT || s->text.p) {
        sbuf_putc(out, ' ');
        put_quoted(out, s->text);
    }
    put_kids(out, s->names);
    for (const ast_literal *l = s->where; l != NULL; l = l->next) {
        sbuf_puts(out, l == s->where ? (s->kind == ST_RULE ? " <- " : " where ") : ", ");
        sbuf_puts(out, l->negated ? "NOT " : "");
        put_expr(out, l->expr);
    }
}

static void put_list(sbuf *out, const ast_stmt *s, int depth) {
    for (; s != NULL; s = s->next) {
        put_indent(out, depth);
        put_stmt_line(out, s);
        sbuf_putc(out, '\n');
        for (const ast_expr *f = s->fields; f != NULL; f = f->next) {
            put_indent(out, depth + 1);
            sbuf_printf(out, "field %.*s ", (int)f->arg_name.n, f->arg_name.p);
            put_expr(out, f);
            sbuf_putc(out, '\n');
        }
        put_list(out, s->body, depth + 1);
        if (s->orelse == NULL) continue;
        put_indent(out, depth);
        sbuf_puts(out, "else\n");
        put_list(out, s->orelse, depth + 1);
    }
}

void ast_dump(const ast_program *prog, sbuf *out) { put_list(out, prog->items, 0); }
