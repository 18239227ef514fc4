// schema_string.c - strings: lengths and formats.
#include "text/schema_int.h"

static const char *format_body(schema *s, const char *name) {
    static const struct {
        const char *name, *body;
    } formats[] = {
        {"uuid", "[0-9a-f]{8} \"-\" [0-9a-f]{4} \"-\" [1-5] [0-9a-f]{3} \"-\" [89ab] [0-9a-f]{3} \"-\" [0-9a-f]{12}"},
        {"ipv4", NULL},
        {"ipv6", "([0-9a-f]{1,4} \":\"){7} [0-9a-f]{1,4}"},
        {"email", "[a-z0-9] ([a-z0-9_+-]{0,30} | [a-z0-9_+-]{0,20} \".\" [a-z0-9]{1,20}) \"@\" ([a-z0-9]{1,20} "
                  "\".\"){1,3} [a-z]{2,10}"},
        {"hostname", "[a-z] [a-z0-9]{0,30} (\".\" [a-z] [a-z0-9]{0,30}){0,4}"},
        {"uri", "[a-z]{2,8} \"://\" [a-z0-9]{1,30} (\".\" [a-z0-9]{1,30}){0,4} (\"/\" [a-zA-Z0-9_~.-]{0,60}){0,8} "
                "(\"?\" [a-zA-Z0-9_=&-]{1,60})?"},
    };
    if (strcmp(name, "date") == 0) return schema_shared(s, SH_DATE);
    if (strcmp(name, "time") == 0) return schema_shared(s, SH_TIME);
    if (strcmp(name, "date-time") == 0) {
        const char *date = schema_shared(s, SH_DATE);
        return schema_text(s, "%s \"T\" %s", date, schema_shared(s, SH_TIME));
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(name, formats[i].name) != 0) continue;
        if (strcmp(name, "ipv4") != 0) return formats[i].body;
        const char *octet = schema_rule(s, "[0-9] | [1-9] [0-9] | \"1\" [0-9] [0-9] | \"2\" [0-4] [0-9] | \"25\" [0-5]");
        return schema_text(s, "(%s \".\"){3} %s", octet, octet);
    }
    schema_fail(s, TL_E_UNSUPPORTED, "the format '%.80s' is not supported", name);
}

const char *schema_string(schema *s, const json_t *j) {
    const json_t *pattern = json_object_get(j, "pattern"), *format = json_object_get(j, "format");
    int64_t min = schema_count(s, j, "minLength", 0), max = schema_count(s, j, "maxLength", INT32_MAX);
    bool lengths = json_object_get(j, "minLength") || json_object_get(j, "maxLength");
    if (min > max) schema_fail(s, TL_E_FORMAT, "'minLength' is larger than 'maxLength'");
    if ((pattern != NULL) + (format != NULL) + lengths > 1)
        schema_fail(s, TL_E_UNSUPPORTED, "only one of pattern, format and a length is supported at once");
    if (pattern) {
        if (!json_is_string(pattern)) schema_fail(s, TL_E_FORMAT, "'pattern' must be a string");
        str regex = {json_string_value(pattern), json_string_length(pattern)};
        return schema_rule(s, schema_text(s, "\"\\\"\" (%s) \"\\\"\"", schema_pattern(s, regex, false)));
    }
    if (format) {
        if (!json_is_string(format)) schema_fail(s, TL_E_FORMAT, "'format' must be a string");
        return schema_rule(s, schema_text(s, "\"\\\"\" %s \"\\\"\"", format_body(s, json_string_value(format))));
    }
    if (!lengths) return schema_shared(s, SH_STRING);
    const char *most = max == INT32_MAX ? "" : schema_text(s, "%d", (int)max);
    return schema_rule(s, schema_text(s, "\"\\\"\" %s{%d,%s} \"\\\"\"", schema_shared(s, SH_CHAR), (int)min, most));
}
