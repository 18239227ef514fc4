// driver.c - runs the logic part of the .tl program on standard input; prints rows and problems. For compare_clingo.py.
#include "program.h"

int main(void) {
    program p;
    sbuf text = {0};
    char part[4096];
    for (size_t n; (n = fread(part, 1, sizeof part, stdin)) > 0;) sbuf_put(&text, part, n);
    program_open(&p, NULL);
    tl_status status = program_run(&p, text.p ? text.p : "");
    if (p.out.p) fputs(p.out.p, stdout);
    program_close(&p);
    sbuf_free(&text);
    return status == TL_OK ? 0 : 1;
}
