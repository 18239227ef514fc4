// test_golden.c - templates and expressions against what Python's jinja2 made of them (compare.py --golden).
#include "text/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static json_t *golden;

// Renders and compares; `want` is null where jinja2 raised an error.
static void check(const char *name, const json_t *source, const json_t *c, const json_t *vars, const json_t *want) {
    json_t *none = json_array(), *messages = json_object_get(c, "messages");
    chat_input in = {.messages = messages ? messages : none,
                     .tools = json_object_get(c, "tools"),
                     .vars = vars ? vars : json_object_get(c, "vars"),
                     .reply = json_is_true(json_object_get(c, "reply")),
                     .bos = "<s>",
                     .eos = "</s>",
                     .now = json_integer_value(json_object_get(golden, "now"))};
    chat_template *t = NULL;
    chat_text text = {0};
    tl_error err = {0};
    tl_status code = chat_template_new((str){json_string_value(source), json_string_length(source)}, &t, &err);
    if (code == TL_OK) code = chat_render(t, &in, &text, &err);
    if (json_is_null(want) != (code != TL_OK)) fail_msg("%s: %s", name, code == TL_OK ? text.text : err.message);
    if (code == TL_OK && strcmp(text.text, json_string_value(want)) != 0)
        fail_msg("%s:\n%s\nbut jinja2:\n%s", name, text.text, json_string_value(want));
    chat_text_free(&text);
    chat_template_free(t);
    json_decref(none);
}

static void test_templates(void **state) {
    (void)state;
    json_t *list = json_object_get(golden, "renderings"), *item;
    size_t i;
    assert_true(json_array_size(list) >= 60);
    json_array_foreach(list, i, item) {
        const char *name = json_string_value(json_array_get(item, 0)), *title = json_string_value(json_array_get(item, 1));
        const json_t *c = json_object_get(json_object_get(golden, "cases"), title);
        assert_non_null(c);
        check(name, json_object_get(json_object_get(golden, "templates"), name), c, NULL, json_array_get(item, 2));
    }
}

static void test_expressions(void **state) {
    (void)state;
    json_t *list = json_object_get(golden, "expressions"), *item, *outer = json_object();
    size_t i;
    assert_true(json_array_size(list) >= 60);
    json_array_foreach(list, i, item)
        check(json_string_value(json_array_get(item, 0)), json_array_get(item, 0), outer, json_object_get(golden, "vars"),
              json_array_get(item, 1));
    json_decref(outer);
}

int main(void) {
    setenv("TZ", "UTC", 1);
    json_error_t e;
    golden = json_load_file(TEST_DIR "/golden.json", JSON_ALLOW_NUL, &e);
    if (!golden) return fprintf(stderr, "golden.json: %s\n", e.text), 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_templates), cmocka_unit_test(test_expressions)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
