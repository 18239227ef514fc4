// fuzz_check.c - any text through the checker, and every place of it through what an editor asks.
#include <stdlib.h>
#include <string.h>

#include <tensorlogic.h>

static void on_name(void *ctx, const tl_name *name) { *(size_t *)ctx += strlen(name->name) + strlen(name->detail) + strlen(name->doc); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tl_analysis *a;
    tl_problem p;
    tl_name n;
    size_t sum = 0;
    if (tl_analysis_new("fuzz.tl", (const char *)data, size, true, &a, NULL) != TL_OK) return 0;
    for (size_t i = 0; tl_analysis_problem(a, i, &p); i++) sum += strlen(p.text) + strlen(p.json);
    for (size_t i = 0; i < 1000 && tl_analysis_symbol(a, i, &n); i++) on_name(&sum, &n);
    int line = 1, col = 1;
    for (size_t i = 0; i < size && i < 2000; i++, col++) {
        if (tl_analysis_at(a, line, col, &n)) on_name(&sum, &n);
        if (data[i] == '\n') line++, col = 0;
    }
    tl_analysis_complete(a, line, col, "s", on_name, &sum);
    if (tl_repl_complete_entry((const char *)data, size)) sum++;
    tl_analysis_free(a);
    return sum == (size_t)-1;
}
