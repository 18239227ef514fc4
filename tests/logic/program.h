// program.h - runs the logic part of a .tl program against the engine and keeps what its queries answer, as text.
#ifndef LOGIC_TEST_PROGRAM_H
#define LOGIC_TEST_PROGRAM_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "logic/logic.h"

typedef struct program {
    logic_db *db;
    arena a;
    diag_list dl;
    sbuf out; // "x=Alice y=3\n" for each row, "yes\n", "no\n"; problems as they are rendered
    struct { char *text; source src; } sources[64];
    int n_sources;
} program;

static inline void program_open(program *p, const logic_options *o) {
    memset(p, 0, sizeof *p);
    p->dl.a = &p->a;
    assert_int_equal(logic_db_new(o, &p->db, NULL), TL_OK);
}

static inline void program_close(program *p) {
    logic_db_free(p->db);
    arena_free(&p->a);
    sbuf_free(&p->out);
    for (int i = 0; i < p->n_sources; i++) free(p->sources[i].text);
}

static inline void program_rows(program *p, const logic_rows *rows) {
    int n = logic_rows_columns(rows);
    if (n == 0) sbuf_puts(&p->out, logic_rows_count(rows) ? "yes\n" : "no\n");
    for (size_t r = 0; n && r < logic_rows_count(rows); r++)
        for (int c = 0; c < n; c++) {
            str name = logic_rows_name(rows, c);
            sbuf_printf(&p->out, "%.*s=", (int)name.n, name.p);
            logic_value_text(logic_rows_value(rows, r, c), &p->out);
            sbuf_putc(&p->out, c == n - 1 ? '\n' : ' ');
        }
}

static inline tl_status program_statement(program *p, const ast_stmt *s) {
    logic_rel *r;
    logic_rows *rows;
    tl_status status;
    switch (s->kind) {
    case ST_RELATION: return logic_relation_from_ast(p->db, s, &p->dl, &r);
    case ST_ENTITY: return logic_entity_from_ast(p->db, s, &p->dl);
    case ST_EXPR: return logic_fact_from_ast(p->db, s->expr, &p->dl);
    case ST_RULE:
    case ST_ASSIGN: return logic_rule_from_ast(p->db, s, &p->dl);
    default:
        status = logic_query(p->db, s->expr, s->where, &p->dl, &rows);
        if (status != TL_OK) return status;
        program_rows(p, rows);
        logic_rows_free(rows);
        return TL_OK;
    }
}

// Runs every statement, those after a wrong one too; the status of the first that failed.
static inline tl_status program_run(program *p, const char *text) {
    ast_program *prog;
    tl_status first = TL_OK;
    int i = p->n_sources++;
    assert_true(i < 64);
    p->sources[i].text = strdup(text);
    p->sources[i].src = (source){.name = "t.tl", .dir = "", .text = str_of(p->sources[i].text)};
    p->dl.first = p->dl.last = NULL;
    tl_status status = tl_parse(&p->a, &p->sources[i].src, &p->dl, &prog);
    if (status == TL_E_MEMORY) return status;
    for (const ast_stmt *s = prog->items; s && status == TL_OK; s = s->next) {
        tl_status one = program_statement(p, s);
        if (first == TL_OK) first = one;
        if (one == TL_E_MEMORY) return one;
    }
    for (const diag *d = p->dl.first; d; d = d->next) diag_render(d, &p->out, false);
    return status == TL_OK ? first : status;
}

static inline void program_expect(const char *text, const char *want) {
    program p;
    program_open(&p, NULL);
    program_run(&p, text);
    assert_string_equal(p.out.p ? p.out.p : "", want);
    program_close(&p);
}
#endif
