// sample.c - the C side of check_schema.py. In, one JSON a line: {"schema", "texts", "samples", "seed"}. Out: {"error",
// "code"} or {"match": [whether each text fits the schema's grammar], "samples": [random texts of the grammar], "gbnf"}.
#include "text/grammar.h"
#include "text/schema.h"

static const char *byte_text(void *ctx, int32_t id, size_t *n) {
    static char one[256];
    (void)ctx;
    *n = id < 256;
    return id < 256 ? (one[id] = (char)id, &one[id]) : "";
}

static grammar_vocab *bytes;

static uint32_t draw(uint64_t *seed, uint32_t below) {
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % below);
}

// Closing brackets and quotes are likelier, so that texts come to an end.
static int pick(const uint64_t *mask, uint64_t *seed) {
    uint32_t total = 0, weight[257];
    for (int i = 0; i < 257; i++) {
        bool may = mask[i / 64] >> (i % 64) & 1;
        weight[i] = !may ? 0 : i == 256 ? 40 : i == '"' || i == ']' || i == '}' ? 20 : i < 128 ? 2 : 1;
        total += weight[i];
    }
    if (total == 0) return -1;
    uint32_t at = draw(seed, total);
    int i = 0;
    while (at >= weight[i]) at -= weight[i++];
    return i;
}

static json_t *sample(grammar_matcher *m, uint64_t *seed) { // NULL: it became too long
    sbuf b = {0};
    uint32_t s = GRAMMAR_START;
    json_t *out = NULL;
    while (b.n < 4000) {
        const uint64_t *mask;
        tl_error err;
        int byte = grammar_mask(m, s, &mask, &err) == TL_OK ? pick(mask, seed) : -1;
        if (byte < 0 || byte == 256) {
            out = byte < 0 ? json_string("dead end") : json_stringn(b.p ? b.p : "", b.n);
            break;
        }
        sbuf_putc(&b, (char)byte);
        if (grammar_next(m, s, byte, &s, &err) != TL_OK) break;
    }
    sbuf_free(&b);
    return out;
}

static json_t *answer(const json_t *in, const grammar *g, const char *gbnf, tl_error *err) {
    grammar_matcher *m;
    if (grammar_matcher_new(g, bytes, &m, err) != TL_OK) return NULL;
    json_t *match = json_array(), *samples = json_array(), *text;
    uint64_t seed = (uint64_t)json_integer_value(json_object_get(in, "seed"));
    size_t i;
    json_array_foreach(json_object_get(in, "texts"), i, text) {
        uint32_t s;
        str t = {json_string_value(text), json_string_length(text)};
        json_array_append_new(
            match, json_boolean(grammar_next_bytes(m, GRAMMAR_START, t, &s, err) == TL_OK && grammar_may_end(m, s)));
    }
    for (json_int_t n = json_integer_value(json_object_get(in, "samples")); n > 0; n--) {
        json_t *one = sample(m, &seed);
        if (one) json_array_append_new(samples, one);
    }
    grammar_matcher_free(m);
    return json_pack("{s:o,s:o,s:s}", "match", match, "samples", samples, "gbnf", gbnf);
}

static json_t *handle(const json_t *in) {
    char *gbnf = NULL;
    grammar *g = NULL;
    tl_error err = {0};
    json_t *out = NULL;
    tl_status code = schema_to_gbnf(json_object_get(in, "schema"), &gbnf, &err);
    if (code == TL_OK) code = grammar_parse(str_of(gbnf), "root", &g, &err);
    if (code == TL_OK) out = answer(in, g, gbnf, &err);
    if (!out) out = json_pack("{s:s,s:i,s:s?}", "error", err.message, "code", (int)err.code, "gbnf", gbnf);
    grammar_free(g);
    mem_free(gbnf);
    return out;
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    int32_t end = 256;
    tl_error err;
    if (grammar_vocab_new(257, byte_text, NULL, &end, 1, &bytes, &err) != TL_OK)
        return fprintf(stderr, "%s\n", err.message), 1;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_t *out = in ? handle(in) : json_pack("{s:s,s:i}", "error", "not JSON", "code", -1);
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(in);
    }
    grammar_vocab_free(bytes);
    free(line);
    return 0;
}
