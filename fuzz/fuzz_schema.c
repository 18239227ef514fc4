// fuzz_schema.c - JSON text as a schema: what is accepted must be a grammar that parses.
#include "text/grammar.h"
#include "text/schema.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *j = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    char *gbnf = NULL;
    grammar *g = NULL;
    if (!j) return 0;
    if (schema_to_gbnf(j, &gbnf, NULL) == TL_OK) {
        tl_status code = grammar_parse((str){gbnf, strlen(gbnf)}, "root", &g, NULL);
        if (code != TL_OK && code != TL_E_LIMIT) abort();
    }
    grammar_free(g);
    mem_free(gbnf);
    json_decref(j);
    return 0;
}
