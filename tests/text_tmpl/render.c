// render.c - renders the JSON case of each input line and prints one JSON line: the C side of compare.py.
// In: {"template", "messages", "tools", "vars", "reply", "bos", "eos", "now"}. Out: {"text", "taint"} or {"error", "code"}.
#include "text/chat.h"

static json_t *segments_json(const chat_text *t) {
    json_t *list = json_array();
    for (size_t i = 0; i < t->n_segments; i++)
        if (t->segments[i].tainted)
            json_array_append_new(list, json_pack("[I,I]", (json_int_t)t->segments[i].begin,
                                                  (json_int_t)(t->segments[i].begin + t->segments[i].n)));
    return list;
}

static json_t *render(const json_t *in) {
    const json_t *source = json_object_get(in, "template");
    chat_input input = {
        .messages = json_object_get(in, "messages"),
        .tools = json_object_get(in, "tools"),
        .vars = json_object_get(in, "vars"),
        .reply = json_is_true(json_object_get(in, "reply")),
        .bos = json_string_value(json_object_get(in, "bos")),
        .eos = json_string_value(json_object_get(in, "eos")),
        .now = json_integer_value(json_object_get(in, "now")),
    };
    if (json_is_null(input.tools)) input.tools = NULL;
    chat_template *t = NULL;
    chat_text text = {0};
    tl_error err = {0};
    tl_status code = chat_template_new((str){json_string_value(source), json_string_length(source)}, &t, &err);
    if (code == TL_OK) code = chat_render(t, &input, &text, &err);
    json_t *out = code == TL_OK
                      ? json_pack("{s:o,s:o}", "text", json_stringn(text.text, text.n), "taint", segments_json(&text))
                      : json_pack("{s:s,s:i}", "error", err.message, "code", (int)code);
    chat_text_free(&text);
    chat_template_free(t);
    return out;
}

int main(void) {
    char *line = NULL;
    size_t cap = 0;
    for (ssize_t n; (n = getline(&line, &cap, stdin)) > 0;) {
        json_t *in = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_t *out = in ? render(in) : json_pack("{s:s,s:i}", "error", "not JSON", "code", -1);
        json_dumpf(out, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(out);
        json_decref(in);
    }
    free(line);
    return 0;
}
