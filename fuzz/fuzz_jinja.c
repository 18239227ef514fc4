// fuzz_jinja.c - a template, and after a NUL byte the content of a message, through compiling and rendering.
#include "text/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data, *nul = size ? memchr(p, 0, size) : NULL;
    size_t n = nul ? (size_t)(nul - p) : size;
    jinja *t = NULL;
    jinja_ctx *c = NULL;
    jinja_output o = {0};
    jinja_limits limits = {.steps = 100000, .memory = 16 << 20, .output = 1 << 20, .depth = 300, .now = 1};
    if (jinja_compile((str){p, n}, &t, NULL) == TL_OK && jinja_ctx_new(&limits, &c, NULL) == TL_OK) {
        json_t *m = json_pack("[{s:s,s:s}]", "role", "user", "content", "<|a|> b");
        if (nul && size > n + 1) jinja_set_str(c, "s", (str){nul + 1, size - n - 1}, true, NULL);
        if (jinja_set_json(c, "messages", m, true, NULL) == TL_OK && jinja_render(t, c, &o, NULL) == TL_OK) {
            size_t at = 0;
            for (size_t i = 0; i < o.n_taint; i++) { // sorted, disjoint, inside
                if (o.taint[i].begin < at || o.taint[i].end <= o.taint[i].begin || o.taint[i].end > o.n) abort();
                at = o.taint[i].end + 1;
            }
        }
        json_decref(m);
    }
    jinja_output_free(&o);
    jinja_ctx_free(c);
    jinja_free(t);
    return 0;
}
