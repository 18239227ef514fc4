// tok_driver.c - tokenizes many texts with one model, for compare.py: each record on stdin is a length (4 bytes, little
// endian) and so many bytes; each line on stdout is the text's ids. Usage: tok_driver MODEL [--parse-special]
// [--add-special] [--pre NAME]
#include "run/tokenizer_gguf.h"

#include <inttypes.h>

static bool read_record(sbuf *text) {
    unsigned char head[4];
    if (fread(head, 1, 4, stdin) != 4) return false;
    size_t n = head[0] | head[1] << 8 | head[2] << 16 | (size_t)head[3] << 24;
    text->n = 0;
    char buffer[65536];
    while (text->n < n) {
        size_t want = n - text->n < sizeof buffer ? n - text->n : sizeof buffer, got = fread(buffer, 1, want, stdin);
        if (got == 0) return false;
        sbuf_put(text, buffer, got);
    }
    return true;
}

static tl_status run(const tokenizer *t, unsigned flags, tl_error *err) {
    sbuf text = {0};
    token_ids ids = {0};
    tl_status status = TL_OK;
    while (status == TL_OK && read_record(&text)) {
        ids.n = 0;
        status = tokenizer_encode(t, (str){text.p, text.n}, flags, &ids, err);
        for (size_t i = 0; i < ids.n; i++) printf(i ? " %" PRId32 : "%" PRId32, ids.p[i]);
        putchar('\n');
    }
    sbuf_free(&text);
    vec_free(&ids);
    return status;
}

int main(int argc, char **argv) {
    unsigned flags = 0;
    const char *pre = NULL;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--parse-special") == 0) flags |= TOKEN_PARSE_SPECIAL;
        else if (strcmp(argv[i], "--add-special") == 0) flags |= TOKEN_ADD_SPECIAL;
        else if (strcmp(argv[i], "--pre") == 0 && i + 1 < argc) pre = argv[++i];
        else return fprintf(stderr, "unknown option %s\n", argv[i]), 2;
    }
    if (argc < 2) return fprintf(stderr, "usage: tok_driver MODEL [--parse-special] [--add-special] [--pre NAME]\n"), 2;
    gguf *g = NULL;
    tokenizer *t = NULL;
    tl_error err = {0};
    tl_status status = gguf_open(argv[1], &g, &err);
    if (status == TL_OK) status = tokenizer_from_gguf(g, pre, &t, &err);
    if (status == TL_OK) status = run(t, flags, &err);
    if (status != TL_OK) fprintf(stderr, "%s\n", err.message);
    tokenizer_free(t);
    gguf_close(g);
    return status != TL_OK;
}
