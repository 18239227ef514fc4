// fuzz_grammar.c - a grammar, and after a NUL byte a text, through parsing, matching and masks.
#include "text/grammar.h"

static const char *token_text(void *ctx, int32_t id, size_t *n) {
    static char one[256];
    (void)ctx;
    *n = id < 256 ? 1 : id == 256 ? 0 : 2;
    return id < 256 ? (one[id] = (char)id, &one[id]) : "\xc3\xa9";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data, *nul = size ? memchr(p, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - p) : size;
    grammar *g = NULL;
    grammar_vocab *v = NULL;
    grammar_matcher *m = NULL;
    int32_t end = 256;
    if (grammar_parse((str){p, n}, "root", &g, NULL) == TL_OK &&
        grammar_vocab_new(258, token_text, NULL, &end, 1, &v, NULL) == TL_OK &&
        grammar_matcher_new(g, v, &m, NULL) == TL_OK) {
        uint32_t s = GRAMMAR_START;
        for (size_t i = n; i + 1 < size && s != GRAMMAR_DEAD; i++) {
            const uint64_t *mask;
            uint32_t next;
            uint8_t byte = data[i + 1];
            if (grammar_mask(m, s, &mask, NULL) != TL_OK || grammar_next(m, s, byte, &next, NULL) != TL_OK) break;
            if ((next != GRAMMAR_DEAD) != (mask[byte >> 6] >> (byte & 63) & 1)) abort();
            if ((mask[4] & 1) != grammar_may_end(m, s)) abort();
            s = next;
        }
    }
    grammar_matcher_free(m);
    grammar_vocab_free(v);
    grammar_free(g);
    return 0;
}
