// fuzz_parse.c - any text through the parser and the formatter. Text that parses must be formatted, the result must
// parse to the same tree, and formatting it again must change nothing. Messages are rendered both ways.
#include "lang/ast.h"

static source text_source(const char *p, size_t n) { return (source){.name = "fuzz.tl", .dir = "", .text = {p, n}}; }

static void check(const char *p, size_t n, sbuf *formatted, sbuf *dump) {
    source src = text_source(p, n);
    arena a = {.limit = 256u << 20};
    diag_list dl = {0};
    ast_program *prog = NULL;
    tl_status status = tl_parse(&a, &src, &dl, &prog);
    sbuf shown = {0};
    for (const diag *d = dl.first; d != NULL; d = d->next) {
        diag_render(d, &shown, true);
        diag_render_json(d, &shown);
    }
    sbuf_free(&shown);
    TL_CHECK((status == TL_OK) == (dl.errors == 0) || status == TL_E_MEMORY);
    if (prog != NULL) ast_dump(prog, dump);
    if (status == TL_OK) {
        diag_list again = {0};
        TL_CHECK(tl_format(&a, &src, &again, formatted) == TL_OK);
    } else {
        dump->n = 0;
    }
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    sbuf once = {0}, twice = {0}, tree = {0}, tree2 = {0};
    check((const char *)data, size, &once, &tree);
    if (once.p != NULL) {
        check(once.p, once.n, &twice, &tree2);
        if (tree.n != tree2.n || (tree.n > 0 && memcmp(tree.p, tree2.p, tree.n) != 0)) {
            fprintf(stderr, "the tree changed; formatted:\n%s\n", once.p);
            abort();
        }
        if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0) {
            fprintf(stderr, "not idempotent:\n%s---- second:\n%s\n", once.p, twice.p ? twice.p : "");
            abort();
        }
    }
    sbuf_free(&once);
    sbuf_free(&twice);
    sbuf_free(&tree);
    sbuf_free(&tree2);
    return 0;
}
