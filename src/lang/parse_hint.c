// parse_hint.c - what people write who come from another language, and what to write instead. Only wording: no
// program is accepted or rejected here that would not be otherwise, except where hint_statement reports.
#include "lang/parse.h"

typedef struct slip { const char *word, *fix; } slip;

// First words of statements of other languages, when a name, a string or "(" follows on the line.
static const slip foreign[] = {
    {"def", "functions are written: fn name(x: int) -> int { ... }"},
    {"func", "functions are written: fn name(x: int) -> int { ... }"},
    {"function", "functions are written: fn name(x: int) -> int { ... }"},
    {"var", "a new name is introduced with let: let x = 1"},
    {"const", "a new name is introduced with let: let x = 1"},
    {"auto", "a new name is introduced with let: let x = 1"},
    {"elif", "write else if, after the closing brace"},
    {"elsif", "write else if, after the closing brace"},
    {"foreach", "loops are written: for x in list { ... }"},
    {"until", "write while not ... { ... }"},
    {"switch", "write if ... { } else if ... { } else { }"},
    {"match", "write if ... { } else if ... { } else { }"},
    {"include", "write import \"file.tl\""},
    {"require", "write import \"file.tl\""},
    {"use", "write import \"file.tl\""},
    {"from", "write import \"file.tl\""},
    {"struct", "there are no records; use a map: {\"name\": value}"},
    {"class", "there are no classes; use functions and maps"},
    {"pass", "an empty block is written { }"},
};

// Words that begin statements, for "did you mean".
static const str starters[] = {
    {"let", 3}, {"return", 6}, {"while", 5}, {"break", 5}, {"continue", 8}, {"import", 6}, {"else", 4}, {"for", 3}, {"fn", 2}, {"if", 2},
    {"tensor", 6}, {"relation", 8}, {"entity", 6}, {"embedding", 9}, {"query", 5}, {"assert", 6}, {"dim", 3}, {"main", 4}, {"test", 4},
    {"bench", 5}, {"loop", 4}, {"rule", 4}, {"print", 5},
};

static const ast_expr *leftmost(const ast_expr *e) {
    while (e != NULL && (e->kind == EX_BINARY || e->kind == EX_INDEX || e->kind == EX_FIELD) && e->kids != NULL) e = e->kids;
    return e;
}

// "did you mean return?" where the statement begins with NAME NAME; true if it said something.
static bool hint_starter(parser *p, diag *d, str word) {
    char near[32];
    const char *best = diag_nearest(word, starters, sizeof starters / sizeof *starters, near, sizeof near);
    if (best == NULL || str_is(word, best)) return false;
    ps_fix(p, d, "did you mean '%s'?", best);
    return true;
}

static bool report(parser *p, const char *fmt, const char *what, const char *help) {
    diag *d = ps_fail(p, ps_span_of(p, p->t), fmt, what);
    ps_fix(p, d, "%s", help);
    return true;
}

static bool hint_symbol(parser *p, bool top) {
    tk_kind k = (tk_kind)p->t->kind;
    const char *text = token_kind_text(k), *begins = "a statement cannot begin with '%s'", *closes = "'%s' closes nothing";
    const char *goes_on = "to go on with the line before, put the operator at its end, or use parentheses";
    switch (k) {
    case TK_RBRACE: return top && report(p, closes, text, "remove it, or look for a '{' that is missing above");
    case TK_RPAREN: case TK_RBRACK:
        return report(p, closes, text, "remove it, or look for an opening bracket that is missing before it");
    case TK_ELSE: return report(p, "'%s' without an if before it", "else", "else follows the closing brace of an if");
    case TK_STAR: case TK_SLASH: case TK_PERCENT: case TK_CARET: case TK_POW: case TK_PLUS: case TK_AND: case TK_AND2: case TK_OR2: case TK_EQ:
    case TK_NE: case TK_LT: case TK_LE: case TK_GT: case TK_GE: case TK_DOT: case TK_COMMA: case TK_AS:
        return report(p, begins, text, k == TK_DOT ? "keep the '.' on the line of the name before it" : goes_on);
    case TK_AT:
        return report(p, begins, text, "to go on with the line before, put the operator at its end; there are no decorators");
    case TK_OR: return p->t[1].kind != TK_LBRACK && report(p, begins, text, goes_on);
    case TK_WHERE: return report(p, "'%s' without an equation before it", "where", "where follows the expression of an equation, a query or a rule");
    default: return false;
    }
}

bool hint_statement(parser *p, bool top) {
    if (!ps_at(p, TK_NAME)) return hint_symbol(p, top);
    const token *next = ps_ahead(p, 1);
    if (next->nl || !next->space) return false;
    str word = ps_token_str(p, p->t);
    bool name = next->kind == TK_NAME, string = next->kind == TK_STRING;
    int n;
    parse_assign_at(p, next, &n);
    if (n > 0) return false;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
        if (!str_is(word, foreign[i].word) || !(name || string || next->kind == TK_LBRACE)) continue;
        return report(p, "'%s' is not part of the language", foreign[i].word, foreign[i].fix);
    }
    if (string && !str_is(word, "test") && !str_is(word, "bench") && !str_is(word, "assert")) {
        diag *d = ps_fail(p, ps_span_of(p, next), "a string after the name '%.*s'", (int)word.n, word.p);
        if (!hint_starter(p, d, word)) ps_fix(p, d, "to call %.*s, use parentheses: %.*s(...)", (int)word.n, word.p, (int)word.n, word.p);
        return true;
    }
    if (str_is(word, "print") && next->kind == TK_LPAREN)
        return report(p, "a space between %s and '('", "print", "write print(...); with a space it would multiply");
    return false;
}

// The text at the stopped token and behind it, for slips of operators.
static bool stopped_is(const parser *p, tk_kind a, tk_kind b) {
    const token *t = p->stopped;
    return t->kind == a && t[1].kind == b && t[1].begin == t->end;
}

// "a[p] sum= e" and "let a = 1 b = 2": a product whose last factor is a name, then an assignment.
static void hint_word_assign(parser *p, diag *d, const ast_expr *e) {
    if (e == NULL || e->kind != EX_BINARY || e->op != OP_JUXT || e->kids->next->kind != EX_NAME) return;
    str word = e->kids->next->name;
    const ast_expr *left = leftmost(e);
    if (left->kind == EX_NAME && hint_starter(p, d, left->name)) return;
    if (p->stopped->space) ps_fix(p, d, "begin a new line, or put ';' between the statements");
    else if (str_is(word, "sum")) ps_fix(p, d, "+= sums");
    else if (str_is(word, "mean")) ps_fix(p, d, "avg= takes the mean");
    else ps_fix(p, d, "the folds are += max= min= avg= or=");
}

void hint_end(parser *p, diag *d, const ast_expr *e) {
    if (d == NULL || d->fix != NULL) return;
    const ast_expr *left = leftmost(e);
    if (p->panic) {
        tk_kind k = (tk_kind)p->stopped->kind;
        if (k == TK_QUESTION) ps_fix(p, d, "a query is R(x, y)?; there is no a ? b : c, use if");
        else if (stopped_is(p, TK_COLON, TK_MINUS)) ps_fix(p, d, "a rule is written with <-");
        else if (k == TK_ARROW) ps_fix(p, d, "a rule is written with <-");
        else if (k == TK_DOT) ps_fix(p, d, "statements end with the line; no '.' is needed");
        else if (k == TK_RPAREN || k == TK_RBRACK) ps_fix(p, d, "this bracket closes nothing; remove it or look for the opening one");
        else if (k == TK_LET || k == TK_RETURN || k == TK_IF || k == TK_FOR || k == TK_WHILE)
            ps_fix(p, d, "begin a new line, or put ';' between the statements");
        else if (k == TK_SLASH || k == TK_PERCENT || k == TK_CARET) ps_fix(p, d, "write x := x %s y", token_kind_text(k));
        else if (k == TK_ASSIGN || k == TK_SET) hint_word_assign(p, d, e);
        if (d->fix != NULL) return;
    }
    bool words = e != NULL && e->kind == EX_BINARY && left != NULL && left->kind == EX_NAME;
    const ast_expr *second = words ? e : NULL;
    while (second != NULL && second->kind == EX_BINARY && second->kids != left) second = second->kids;
    if (second != NULL && second->op == OP_JUXT) hint_starter(p, d, left->name);
    else if (p->panic && e != NULL && e->kind == EX_NAME) hint_starter(p, d, e->name);
}

void hint_block(parser *p, diag *d) {
    if (d == NULL) return;
    const token *t = p->stopped;
    str word = t->kind == TK_NAME ? ps_token_str(p, t) : (str){0};
    if (t->kind == TK_COLON) ps_fix(p, d, "blocks stand in braces: { ... }");
    else if (str_is(word, "then") || str_is(word, "do")) ps_fix(p, d, "leave the word away; the block stands in braces: { ... }");
    else if (t->kind == TK_ASSIGN) ps_fix(p, d, "== compares; = assigns");
    else ps_fix(p, d, "a block stands in braces, also when it is one statement");
}
