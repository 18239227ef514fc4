// check_query.c - what an editor asks of a checked program: which name stands at a place, what it is.
#include <inttypes.h>

#include "eval/check.h"

const chk_symbol *chk_at(const checker *c, uint32_t byte, span *name) {
    const chk_symbol *found = NULL;
    for (size_t i = 0; i < c->refs.n; i++) {
        span at = c->refs.p[i].at;
        if (byte < at.begin || byte > at.end || (found && at.end - at.begin >= name->end - name->begin)) continue;
        found = c->refs.p[i].to;
        *name = at;
    }
    for (size_t i = 0; !found && i < c->symbols.n; i++) {
        span at = c->symbols.p[i]->at;
        if (at.src != &c->main->src || byte < at.begin || byte > at.end) continue;
        found = c->symbols.p[i];
        *name = at;
    }
    return found;
}

bool chk_visible(const checker *c, const chk_symbol *s, uint32_t byte) {
    if (s->kind == CK_INDEX) return false;
    if (s->at.src == NULL || !s->visible.src) return s->kind != CK_DIM || s->at.src == &c->main->src;
    return s->at.src == &c->main->src && byte >= s->at.end && byte <= s->visible.end;
}

// ---- declarations as text ------------------------------------------------------------------------
static void put_source(span at, uint32_t end, sbuf *out) { // its text on one line
    bool blank = false;
    for (uint32_t i = at.begin; i < end; i++) {
        char ch = at.src->text.p[i];
        bool space = ch == ' ' || ch == '\n' || ch == '\r' || ch == '\t';
        if (!space && blank && out->n) sbuf_putc(out, ' ');
        if (!space) sbuf_putc(out, ch);
        blank = space;
    }
}

static void put_axes(const checker *c, const chk_symbol *s, sbuf *out) {
    sbuf_putc(out, s->boolean ? '(' : '[');
    for (int i = 0; i < s->rank && i < IR_MAX_RANK; i++) {
        int64_t size;
        sbuf_puts(out, i ? ", " : "");
        if (!s->axes[i].n) sbuf_putc(out, '?');
        sbuf_put(out, s->axes[i].p, s->axes[i].n);
        if (s->axes[i].n && s->at.src == &c->main->src && chk_dim_size(c, s->axes[i], &size)) sbuf_printf(out, "=%" PRId64, size);
    }
    sbuf_putc(out, s->boolean ? ')' : ']');
}

void chk_detail(const checker *c, const chk_symbol *s, sbuf *out) {
    int64_t size;
    switch (s->kind) {
    case CK_BUILTIN: sbuf_printf(out, "%s(%s)", s->bi->name, s->bi->params); break;
    case CK_GIVEN: sbuf_printf(out, "%.*s: given by `tl run -m MODEL -p TEXT`", (int)s->name.n, s->name.p); break;
    case CK_FN: { // up to its body
        uint32_t end = s->def->type ? s->def->type->at.end : s->at.end;
        const str t = s->def->at.src->text;
        while (end < t.n && t.p[end] != '{' && t.p[end] != '\n') end++;
        put_source(s->def->at, end, out);
        break;
    }
    case CK_PARAM: put_source(s->param->at, s->param->type ? s->param->type->at.end : s->param->at.end, out); break;
    case CK_DIM:
        sbuf_printf(out, "dim %.*s = ", (int)s->name.n, s->name.p);
        put_source(s->def->expr->at, s->def->expr->at.end, out);
        if (s->def->expr->kind != EX_INT && chk_dim_size(c, s->name, &size)) sbuf_printf(out, " = %" PRId64, size);
        break;
    case CK_STATE: case CK_RELATION: case CK_ENTITY: put_source(s->def->at, s->def->at.end, out); break;
    case CK_INDEX: sbuf_printf(out, "index %.*s", (int)s->name.n, s->name.p); break;
    case CK_MEMBER: sbuf_printf(out, "%.*s: %.*s", (int)s->name.n, s->name.p, (int)s->def->head.name.n, s->def->head.name.p); break;
    default:
        sbuf_printf(out, "%s %.*s", chk_kind_names[s->kind], (int)s->name.n, s->name.p);
        if (s->rank >= 0) put_axes(c, s, out);
    }
}

// The comment lines directly above the declaration, without their slashes.
void chk_doc(const chk_symbol *s, sbuf *out) {
    if (s->bi) sbuf_puts(out, s->bi->doc);
    if (!s->at.src || !s->def) return;
    const char *p = s->at.src->text.p;
    uint32_t line = s->def->at.begin, first;
    while (line > 0 && p[line - 1] != '\n') line--;
    for (first = line; first > 0;) { // upwards while lines are comments
        uint32_t above = first - 1;
        while (above > 0 && p[above - 1] != '\n') above--;
        uint32_t i = above;
        while (p[i] == ' ' || p[i] == '\t') i++;
        if (p[i] != '/' || p[i + 1] != '/') break;
        first = above;
    }
    while (first < line) {
        while (p[first] == ' ' || p[first] == '\t' || p[first] == '/') first++;
        uint32_t end = first;
        while (p[end] != '\n') end++;
        if (out->n) sbuf_putc(out, '\n');
        sbuf_put(out, p + first, end - first);
        first = end + 1;
    }
}
