// fuzz_logic.c - any program that parses through the Datalog engine, with small budgets: declarations, facts, rules and
// queries in order; answers and messages are rendered, and what was saved as text must load again.
#include "logic/logic.h"

static void answer(logic_db *db, const ast_stmt *s, diag_list *dl, sbuf *out) {
    logic_rows *rows;
    if (logic_query(db, s->expr, s->where, dl, &rows) != TL_OK) return;
    for (size_t r = 0; r < logic_rows_count(rows) && r < 10; r++)
        for (int c = 0; c < logic_rows_columns(rows); c++) logic_value_text(logic_rows_value(rows, r, c), out);
    logic_rows_free(rows);
}

static void statement(logic_db *db, const ast_stmt *s, diag_list *dl, sbuf *out) {
    logic_rel *r;
    switch (s->kind) {
    case ST_RELATION: logic_relation_from_ast(db, s, dl, &r); break;
    case ST_ENTITY: logic_entity_from_ast(db, s, dl); break;
    case ST_EXPR:
        if (s->expr->kind == EX_CALL && s->expr->kids->kind == EX_NAME) logic_fact_from_ast(db, s->expr, dl);
        break;
    case ST_RULE:
    case ST_ASSIGN:
        if (s->head.round) logic_rule_from_ast(db, s, dl);
        break;
    case ST_QUERY: answer(db, s, dl, out); break;
    default: break;
    }
}

static void reload(logic_db *db, logic_format f, str name, diag_list *dl) {
    sbuf text = {0};
    logic_rel *r = logic_find(db, name);
    if (r && logic_arity(r) > 0 && logic_save_text(db, r, f, &text, dl) == TL_OK) {
        tl_status status = logic_load_text(db, r, f, (str){text.p, text.n}, NULL);
        TL_CHECK(status == TL_OK || status == TL_E_LIMIT);
    }
    sbuf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    arena a = {.limit = 64u << 20};
    diag_list dl = {.a = &a, .limit = 20};
    source src = {.name = "fuzz.tl", .dir = "", .text = {(const char *)data, size}};
    const logic_options o = {.max_rounds = 50, .max_steps = 20000, .max_bytes = 4u << 20};
    ast_program *prog = NULL;
    logic_db *db;
    sbuf out = {0};
    if (size > 10000 || tl_parse(&a, &src, &dl, &prog) != TL_OK || logic_db_new(&o, &db, NULL) != TL_OK) {
        arena_free(&a);
        return 0;
    }
    for (const ast_stmt *s = prog->items; s; s = s->next) statement(db, s, &dl, &out);
    for (const ast_stmt *s = prog->items; s; s = s->next)
        if (s->kind == ST_RELATION) reload(db, s->at.begin % 2 ? LOGIC_TSV : LOGIC_CSV, s->head.name, &dl);
    for (const diag *d = dl.first; d; d = d->next) diag_render(d, &out, false);
    sbuf_free(&out);
    logic_db_free(db);
    arena_free(&a);
    return 0;
}
