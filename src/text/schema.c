// schema.c - the shape of a schema: types, objects, arrays, combinations, references.
#include "text/schema_int.h"

enum { MAX_DEPTH = 100, MAX_OUT = 4 << 20 };

// ---- failure and text ----------------------------------------------------------------------------
static void write_place(sbuf *b, const place *at) {
    if (!at) return sbuf_putc(b, '#');
    write_place(b, at->up);
    sbuf_putc(b, '/');
    sbuf_puts(b, at->name);
}

void schema_fail(schema *s, tl_status code, const char *fmt, ...) {
    char what[600], esc[400];
    sbuf where = {0};
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    write_place(&where, s->at);
    str_escape(esc, sizeof esc, (str){where.p ? where.p : "#", where.p ? where.n : 1});
    sbuf_free(&where);
    s->code = s->root ? err_set(s->err, code, "JSON schema at %s: %s", esc, what) : err_set(s->err, code, "%s", what);
    longjmp(s->jump, 1);
}

static void out_of_memory(void *ctx, size_t size) {
    schema *s = ctx;
    (void)size;
    s->code = err_set(s->err, TL_E_MEMORY, "out of memory");
    longjmp(s->jump, 1);
}

char *schema_text(schema *s, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0 || n > MAX_OUT || s->mem.total > (size_t)16 * MAX_OUT) {
        va_end(again);
        schema_fail(s, TL_E_LIMIT, "the grammar becomes too large");
    }
    char *p = arena_alloc(&s->mem, (size_t)n + 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

static void put_rule(schema *s, const char *name, const char *body) {
    sbuf_puts(&s->out, name);
    sbuf_puts(&s->out, " ::= ");
    sbuf_puts(&s->out, body);
    sbuf_putc(&s->out, '\n');
    if (s->out.failed) out_of_memory(s, 0);
    if (s->out.n > MAX_OUT) schema_fail(s, TL_E_LIMIT, "the grammar becomes too large");
}

const char *schema_rule(schema *s, const char *body) {
    char *name = schema_text(s, "r%d", s->n_rules++);
    put_rule(s, name, body);
    return name;
}

const char *schema_shared(schema *s, shared_rule rule) {
    static const struct {
        const char *name, *body;
        uint32_t needs;
    } table[] = {
        [SH_SPACE] = {"space", "| \" \" | \"\\n\"{1,2} [ \\t]{0,20}", 0},
        [SH_CHAR] = {"char",
                     "[^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" ([0-9a-cA-CefEF] [0-9a-fA-F]{3} | "
                     "[dD] [0-7] [0-9a-fA-F]{2}))",
                     0},
        [SH_STRING] = {"string", "\"\\\"\" char* \"\\\"\"", 1 << SH_CHAR},
        [SH_NUMBER] = {"number", "integer (\".\" [0-9]{1,16})? ([eE] [-+]? [0-9] [0-9]?)?", 1 << SH_INTEGER},
        [SH_INTEGER] = {"integer", "\"-\"? (\"0\" | [1-9] [0-9]{0,15})", 0},
        [SH_VALUE] = {"value", "object | array | string | number | \"true\" | \"false\" | \"null\"",
                      1 << SH_OBJECT | 1 << SH_ARRAY | 1 << SH_STRING | 1 << SH_NUMBER},
        [SH_OBJECT] =
            {"object",
             "\"{\" space (string \":\" space value space (\",\" space string \":\" space value space)*)? \"}\"",
             1 << SH_SPACE | 1 << SH_STRING | 1 << SH_VALUE},
        [SH_ARRAY] = {"array", "\"[\" space (value space (\",\" space value space)*)? \"]\"",
                      1 << SH_SPACE | 1 << SH_VALUE},
        [SH_DATE] =
            {"date",
             "[0-9]{3} [1-9] \"-\" ((\"0\" [13578] | \"1\" [02]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" [01]) | "
             "(\"0\" [469] | \"11\") \"-\" (\"0\" [1-9] | [12] [0-9] | \"30\") | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | "
             "\"2\" [0-8]))",
             0},
        [SH_TIME] = {"time",
                     "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9] \":\" [0-5] [0-9] (\".\" [0-9]{1,6})? (\"Z\" | [+-] "
                     "([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])",
                     0},
    };
    if (!(s->shared >> rule & 1)) {
        s->shared |= (uint32_t)1 << rule;
        put_rule(s, table[rule].name, table[rule].body);
        for (uint32_t i = 0; i < sizeof table / sizeof *table; i++)
            if (table[rule].needs >> i & 1) schema_shared(s, (shared_rule)i);
    }
    return table[rule].name;
}

const char *schema_literal(schema *s, const char *text) {
    char *out = schema_text(s, "%s%s   ", text, text), *p = out; // room for an escape of every byte
    *p++ = '"';
    for (; *text; text++) { // a string of a grammar may hold line ends as they are
        if (*text == '"' || *text == '\\') *p++ = '\\';
        *p++ = *text;
    }
    *p++ = '"';
    *p = 0;
    return out;
}

static const char *json_literal(schema *s, const json_t *j) {
    char *text = json_dumps(j, JSON_ENCODE_ANY | JSON_COMPACT);
    if (!text) schema_fail(s, TL_E_LIMIT, "the value cannot be written");
    bool fits = strlen(text) < MAX_OUT / 4;
    char *copy = fits ? arena_strndup(&s->mem, text, strlen(text)) : NULL;
    free(text);
    if (!copy) schema_fail(s, TL_E_LIMIT, "the value is too long");
    return schema_literal(s, copy);
}

int64_t schema_count(schema *s, const json_t *j, const char *key, int64_t absent) {
    const json_t *v = json_object_get(j, key);
    if (!v) return absent;
    double d = json_number_value(v);
    if (!json_is_number(v) || d < 0 || d != (double)(int64_t)d)
        schema_fail(s, TL_E_FORMAT, "'%s' must be a whole number from 0 on", key);
    if (d > 100000) schema_fail(s, TL_E_LIMIT, "'%s' is larger than 100000", key);
    return (int64_t)d;
}

// ---- keywords ------------------------------------------------------------------------------------
enum { T_NULL = 1, T_BOOLEAN = 2, T_INTEGER = 4, T_NUMBER = 8, T_STRING = 16, T_ARRAY = 32, T_OBJECT = 64, T_ANY = 127 };
static const char *const type_names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};

static const struct keyword {
    const char *name;
    int types; // it says something about; 0: nothing at all
} keywords[] = {
    {"title", 0},
    {"description", 0},
    {"default", 0},
    {"examples", 0},
    {"example", 0},
    {"$schema", 0},
    {"$id", 0},
    {"id", 0},
    {"$comment", 0},
    {"$defs", 0},
    {"definitions", 0},
    {"deprecated", 0},
    {"readOnly", 0},
    {"writeOnly", 0},
    {"properties", T_OBJECT},
    {"required", T_OBJECT},
    {"additionalProperties", T_OBJECT},
    {"items", T_ARRAY},
    {"prefixItems", T_ARRAY},
    {"minItems", T_ARRAY},
    {"maxItems", T_ARRAY},
    {"minLength", T_STRING},
    {"maxLength", T_STRING},
    {"pattern", T_STRING},
    {"format", T_STRING},
    {"minimum", T_NUMBER},
    {"maximum", T_NUMBER},
    {"exclusiveMinimum", T_NUMBER},
    {"exclusiveMaximum", T_NUMBER},
    {"type", T_ANY},
};

static const struct keyword *keyword_of(const char *name) {
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0) return &keywords[i];
    return NULL;
}

// Fails for a keyword beside `main` that is more than a remark.
static void only(schema *s, const json_t *j, const char *main) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)j, name, value) {
        const struct keyword *k = keyword_of(name);
        if (strcmp(name, main) != 0 && !(k && k->types == 0))
            schema_fail(s, TL_E_UNSUPPORTED, "the keyword '%s' beside '%s' is not supported", name, main);
    }
}

// The types that the other keywords are about; fails for an unknown keyword.
static int check_keywords(schema *s, const json_t *j) {
    const char *name;
    json_t *value;
    int types = 0;
    json_object_foreach((json_t *)j, name, value) {
        const struct keyword *k = keyword_of(name);
        if (!k) schema_fail(s, TL_E_UNSUPPORTED, "the keyword '%s' is not supported", name);
        if (k->types != T_ANY) types |= k->types;
    }
    return types;
}

static int type_bit(schema *s, const json_t *name) {
    for (int i = 0; json_is_string(name) && i < 7; i++)
        if (strcmp(json_string_value(name), type_names[i]) == 0) return 1 << i;
    schema_fail(s, TL_E_FORMAT, "'type' must be null, boolean, integer, number, string, array or object");
}

static int declared_types(schema *s, const json_t *type) {
    if (!json_is_array(type)) return type_bit(s, type);
    int types = 0;
    for (size_t i = 0; i < json_array_size(type); i++) types |= type_bit(s, json_array_get(type, i));
    if (!types) schema_fail(s, TL_E_FORMAT, "'type' is an empty list");
    return types;
}

// ---- descending ----------------------------------------------------------------------------------
static const char *visit(schema *s, const json_t *j);

static const char *visit_at(schema *s, const json_t *j, const char *name) {
    place here = {s->at, name};
    s->at = &here;
    const char *e = visit(s, j);
    s->at = here.up;
    return e;
}

static const char *visit_item(schema *s, const json_t *list, size_t i) {
    return visit_at(s, json_array_get(list, i), schema_text(s, "%zu", i));
}

static const char *visit_named(schema *s, const json_t *j, const char *keyword, const char *name) {
    place here = {s->at, keyword};
    s->at = &here;
    const char *e = visit_at(s, j, name);
    s->at = here.up;
    return e;
}

// ---- references ----------------------------------------------------------------------------------
static const json_t *follow(schema *s, const char *pointer) {
    if (pointer[0] != '#' || (pointer[1] && pointer[1] != '/'))
        schema_fail(s, TL_E_UNSUPPORTED, "$ref '%.100s' does not point into this schema", pointer);
    const json_t *at = s->root;
    for (const char *p = pointer + 1; at && *p;) {
        const char *end = strchrnul(++p, '/');
        char *key = arena_strndup(&s->mem, p, (size_t)(end - p)), *o = key;
        for (const char *c = key; *c; c++) { // ~1 is /, ~0 is ~
            bool escaped = *c == '~' && (c[1] == '0' || c[1] == '1');
            char plain = !escaped ? *c : c[1] == '1' ? '/' : '~';
            c += escaped;
            *o++ = plain;
        }
        *o = 0;
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
        p = end;
    }
    if (!at) schema_fail(s, TL_E_FORMAT, "$ref '%.100s' leads nowhere", pointer);
    return at;
}

static const char *ref_target(schema *s, const json_t *j) {
    const json_t *ref = json_object_get(j, "$ref");
    if (!json_is_string(ref)) schema_fail(s, TL_E_FORMAT, "'$ref' must be a string");
    return json_string_value(ref);
}

static const char *visit_ref(schema *s, const json_t *j) {
    const char *pointer = ref_target(s, j);
    only(s, j, "$ref");
    int64_t *known = map_get(&s->refs, str_of(pointer));
    if (known) return schema_text(s, "r%d", (int)*known);
    const json_t *target = follow(s, pointer);
    int number = s->n_rules++;
    if (!map_put(&s->refs, str_of(pointer), number)) out_of_memory(s, 0);
    const char *name = schema_text(s, "r%d", number);
    put_rule(s, name, visit_at(s, target, "$ref"));
    return name;
}

// ---- combinations --------------------------------------------------------------------------------
static const char *either(schema *s, const json_t *list, const char *keyword) {
    if (!json_is_array(list) || json_array_size(list) == 0)
        schema_fail(s, TL_E_FORMAT, "'%s' must be a list of schemas", keyword);
    place here = {s->at, keyword};
    s->at = &here;
    const char *e = "";
    for (size_t i = 0; i < json_array_size(list); i++)
        e = schema_text(s, "%s%s%s", e, i ? " | " : "", visit_item(s, list, i));
    s->at = here.up;
    return schema_rule(s, e);
}

static const json_t *resolved(schema *s, const json_t *j) {
    for (int i = 0; i < MAX_DEPTH && json_object_get(j, "$ref"); i++) j = follow(s, ref_target(s, j));
    return j;
}

static int value_type(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return T_OBJECT;
    case JSON_ARRAY: return T_ARRAY;
    case JSON_STRING: return T_STRING;
    case JSON_NULL: return T_NULL;
    case JSON_TRUE:
    case JSON_FALSE: return T_BOOLEAN;
    case JSON_REAL: return T_NUMBER;
    default: return T_INTEGER | T_NUMBER;
    }
}

static int numeric(int types) { return types & (T_INTEGER | T_NUMBER) ? types | T_INTEGER | T_NUMBER : types; }

static int types_of(schema *s, const json_t *j) {
    const json_t *v = json_object_get(j, "const"), *list = json_object_get(j, "enum"), *type = json_object_get(j, "type");
    int types = 0;
    if (v) return numeric(value_type(v));
    for (size_t i = 0; i < json_array_size(list); i++) types |= value_type(json_array_get(list, i));
    if (list) return numeric(types);
    return type ? numeric(declared_types(s, type)) : T_ANY;
}

static bool among(const json_t *list, const json_t *one, const json_t *v) { // v equals one or an element of list
    for (size_t i = 0; i < json_array_size(list); i++)
        if (json_equal(json_array_get(list, i), v)) return true;
    return one && json_equal(one, v);
}

static bool fixed_apart(const json_t *a, const json_t *b) { // both list their values, with none in common
    const json_t *one = json_object_get(a, "const"), *list = json_object_get(a, "enum");
    const json_t *other = json_object_get(b, "const"), *others = json_object_get(b, "enum");
    if ((!one && !list) || (!other && !others)) return false;
    if (one && among(others, other, one)) return false;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (among(others, other, json_array_get(list, i))) return false;
    return true;
}

static bool requires(const json_t *j, const char *name) {
    const json_t *list = json_object_get(j, "required");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)) ? json_string_value(json_array_get(list, i)) : "",
                   name) == 0)
            return true;
    return false;
}

static bool apart(schema *s, const json_t *a, const json_t *b) { // no value can match both
    a = resolved(s, a);
    b = resolved(s, b);
    if (!(types_of(s, a) & types_of(s, b)) || fixed_apart(a, b)) return true;
    const char *name;
    json_t *p;
    json_object_foreach(json_object_get(a, "properties"), name, p) {
        const json_t *q = json_object_get(json_object_get(b, "properties"), name);
        if (q && requires(a, name) && requires(b, name) && fixed_apart(p, q)) return true;
    }
    return false;
}

static void check_one_of(schema *s, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        for (size_t k = 0; k < i; k++)
            if (!apart(s, json_array_get(list, k), json_array_get(list, i)))
                schema_fail(s, TL_E_UNSUPPORTED, "branches %zu and %zu of 'oneOf' may overlap; use 'anyOf'", k, i);
}

static void merge_into(schema *s, json_t *to, const json_t *from) {
    const char *name, *property;
    json_t *value, *p;
    json_object_foreach((json_t *)from, name, value) {
        json_t *old = json_object_get(to, name);
        const struct keyword *k = keyword_of(name);
        if (strcmp(name, "allOf") == 0 || (k && k->types == 0)) continue;
        if (old && strcmp(name, "properties") == 0 && json_is_object(value)) {
            json_object_foreach(value, property, p) {
                json_t *same = json_object_get(old, property);
                if (same && !json_equal(same, p))
                    schema_fail(s, TL_E_UNSUPPORTED, "'allOf' gives '%s' two meanings", property);
                json_object_set(old, property, p);
            }
        } else if (old && strcmp(name, "required") == 0 && json_is_array(value)) {
            json_array_extend(old, value);
        } else if (old && !json_equal(old, value)) {
            schema_fail(s, TL_E_UNSUPPORTED, "'allOf' with two different '%s' is not supported", name);
        } else {
            json_object_set_new(to, name, json_deep_copy(value));
        }
    }
}

static const char *visit_all(schema *s, const json_t *j) {
    const json_t *list = json_object_get(j, "allOf");
    if (!json_is_array(list) || json_array_size(list) == 0)
        schema_fail(s, TL_E_FORMAT, "'allOf' must be a list of schemas");
    json_t *merged = json_object();
    if (!merged || json_array_append_new(s->made, merged) != 0) out_of_memory(s, 0);
    merge_into(s, merged, j);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *branch = resolved(s, json_array_get(list, i));
        if (!json_is_object(branch)) schema_fail(s, TL_E_UNSUPPORTED, "'allOf' of anything but objects is not supported");
        if (json_object_get(branch, "allOf"))
            schema_fail(s, TL_E_UNSUPPORTED, "'allOf' inside of 'allOf' is not supported");
        merge_into(s, merged, branch);
    }
    const json_t *more =
        json_object_get(merged, "additionalProperties"); // these speak of what their own schema leaves open
    if ((more && !json_is_true(more)) || json_object_get(merged, "prefixItems"))
        schema_fail(s, TL_E_UNSUPPORTED, "'allOf' with 'additionalProperties' or 'prefixItems' is not supported");
    return visit_at(s, merged, "allOf");
}

// ---- objects -------------------------------------------------------------------------------------
static const char *any_object(schema *s, const json_t *more) {
    if (!more || json_is_true(more)) return schema_shared(s, SH_OBJECT);
    if (json_is_false(more)) return schema_text(s, "\"{\" %s \"}\"", schema_shared(s, SH_SPACE));
    const char *value = visit_at(s, more, "additionalProperties"), *string = schema_shared(s, SH_STRING);
    schema_shared(s, SH_SPACE);
    const char *pair = schema_rule(s, schema_text(s, "%s \":\" space %s space", string, value));
    return schema_rule(s, schema_text(s, "\"{\" space (%s (\",\" space %s)*)? \"}\"", pair, pair));
}

// Declared properties, and required ones that are not declared: {name: schema} in order.
static json_t *all_properties(schema *s, const json_t *j) {
    const json_t *declared = json_object_get(j, "properties"), *required = json_object_get(j, "required");
    const json_t *more = json_object_get(j, "additionalProperties");
    if (declared && !json_is_object(declared)) schema_fail(s, TL_E_FORMAT, "'properties' must be an object");
    if (required && !json_is_array(required)) schema_fail(s, TL_E_FORMAT, "'required' must be a list of names");
    json_t *all = declared ? json_copy((json_t *)declared) : json_object();
    if (!all || json_array_append_new(s->made, all) != 0) out_of_memory(s, 0);
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        if (!name) schema_fail(s, TL_E_FORMAT, "'required' must be a list of names");
        if (json_object_get(all, name)) continue;
        if (json_is_false(more)) schema_fail(s, TL_E_FORMAT, "'%s' is required but not allowed", name);
        json_object_set_new(all, name, more ? json_incref((json_t *)more) : json_true());
    }
    return all;
}

// From the last property to the first: `some` is what follows once a property has been written, `none` before any has.
static const char *visit_object(schema *s, const json_t *j) {
    json_t *all = all_properties(s, j);
    size_t n = json_object_size(all), i = n;
    if (n == 0) return any_object(s, json_object_get(j, "additionalProperties"));
    const char **names = arena_array(&s->mem, const char *, n), *name, *some = "", *none = "";
    json_t *value;
    i = 0;
    json_object_foreach(all, name, value) names[i++] = name;
    schema_shared(s, SH_SPACE);
    while (i-- > 0) {
        json_t *key = json_string(names[i]);
        if (!key || json_array_append_new(s->made, key) != 0) out_of_memory(s, 0);
        const char *e = visit_named(s, json_object_get(all, names[i]), "properties", names[i]);
        const char *pair = schema_rule(s, schema_text(s, "%s space \":\" space %s space", json_literal(s, key), e));
        bool needed = requires(j, names[i]);
        const char *first = schema_text(s, "%s%s%s %s", needed ? "" : none, needed ? "" : " | ", pair, some);
        some = schema_rule(s, schema_text(s, "%s%s\",\" space %s %s", needed ? "" : some, needed ? "" : " | ", pair, some));
        none = schema_rule(s, first);
    }
    return schema_rule(s, schema_text(s, "\"{\" space %s \"}\"", none));
}

// ---- arrays --------------------------------------------------------------------------------------
static const char *visit_tuple(schema *s, const json_t *prefix, const json_t *rest, int64_t min, int64_t max) {
    int64_t n = (int64_t)json_array_size(prefix);
    if (max < n) schema_fail(s, TL_E_UNSUPPORTED, "'maxItems' below the number of 'prefixItems' is not supported");
    const char *e = "\"[\" space";
    for (int64_t i = 0; i < n; i++)
        e = schema_text(s, "%s%s %s space", e, i ? " \",\" space" : "", visit_item(s, prefix, (size_t)i));
    if (min > n) {
        if (json_is_false(rest)) schema_fail(s, TL_E_FORMAT, "'minItems' asks for more items than there may be");
        const char *item = rest ? visit_at(s, rest, "items") : schema_shared(s, SH_VALUE);
        e = schema_text(s, "%s (\",\" space %s space){%d}", e, item, (int)(min - n));
    }
    return schema_rule(s, schema_text(s, "%s \"]\"", e));
}

static const char *visit_array(schema *s, const json_t *j) {
    const json_t *items = json_object_get(j, "items"), *prefix = json_object_get(j, "prefixItems");
    int64_t min = schema_count(s, j, "minItems", 0), max = schema_count(s, j, "maxItems", INT32_MAX);
    if (min > max) schema_fail(s, TL_E_FORMAT, "'minItems' is larger than 'maxItems'");
    schema_shared(s, SH_SPACE);
    if (json_is_array(items)) prefix = items, items = NULL; // as before draft 2020-12
    if (prefix && !json_is_array(prefix)) schema_fail(s, TL_E_FORMAT, "'prefixItems' must be a list of schemas");
    if (json_array_size(prefix) > 0) return visit_tuple(s, prefix, items, min, max);
    if (max == 0 || (json_is_false(items) && min == 0)) return "\"[\" space \"]\"";
    if (!items && min == 0 && max == INT32_MAX) return schema_shared(s, SH_ARRAY);
    const char *item = items ? visit_at(s, items, "items") : schema_shared(s, SH_VALUE);
    const char *most = max == INT32_MAX ? "" : schema_text(s, "%d", (int)max - 1);
    const char *least = schema_text(s, "%d", min > 1 ? (int)min - 1 : 0), *optional = min == 0 ? ")?" : ")";
    item = schema_rule(s, schema_text(s, "%s space", item));
    return schema_rule(
        s, schema_text(s, "\"[\" space (%s (\",\" space %s){%s,%s}%s \"]\"", item, item, least, most, optional));
}

// ---- one schema ----------------------------------------------------------------------------------
static const char *visit_type(schema *s, const json_t *j, int type) {
    switch (type) {
    case T_NULL: return "\"null\"";
    case T_BOOLEAN: return "(\"true\" | \"false\")";
    case T_INTEGER: return schema_number(s, j, true);
    case T_NUMBER: return schema_number(s, j, false);
    case T_STRING: return schema_string(s, j);
    case T_ARRAY: return visit_array(s, j);
    default: return visit_object(s, j);
    }
}

static const char *visit_types(schema *s, const json_t *j) {
    const json_t *type = json_object_get(j, "type");
    int about = check_keywords(s, j), types = type ? declared_types(s, type) : about;
    if (!types) return schema_shared(s, SH_VALUE);
    if (types & T_NUMBER) types &= ~T_INTEGER;
    const char *e = NULL;
    for (int bit = 1; bit < T_ANY; bit <<= 1) {
        if (!(types & bit)) continue;
        const char *one = visit_type(s, j, bit);
        e = e ? schema_text(s, "%s | %s", e, one) : one;
    }
    return types & (types - 1) ? schema_rule(s, e) : e;
}

// JSON text of a value, numbers with 15 digits where those read back the same; free() it. NULL: cannot be written.
static char *value_text(const json_t *v) {
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (!json_equal(again, v)) {
        free(text);
        text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    }
    json_decref(again);
    return text;
}

static void put_value(sbuf *b, const json_t *v) { // as a GBNF string
    char *text = value_text(v);
    sbuf_puts(b, b->n ? " | \"" : "\"");
    for (const char *c = text; c && *c; c++) {
        if (*c == '"' || *c == '\\') sbuf_putc(b, '\\');
        sbuf_putc(b, *c);
    }
    sbuf_putc(b, '"');
    b->failed |= !text;
    free(text);
}

// enum, or const as a list of one; a type beside it leaves out values of other types.
static const char *visit_values(schema *s, const json_t *j, const json_t *list, const json_t *one) {
    const json_t *type = json_object_get(j, "type");
    int types = type ? declared_types(s, type) : T_ANY;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)j, name, value) {
        const struct keyword *k = keyword_of(name);
        bool ours = strcmp(name, "type") == 0 || strcmp(name, "enum") == 0 || strcmp(name, "const") == 0;
        if (!ours && !(k && k->types == 0))
            schema_fail(s, TL_E_UNSUPPORTED, "the keyword '%s' beside a list of values is not supported", name);
    }
    if (list && (!json_is_array(list) || one))
        schema_fail(s, TL_E_FORMAT, one ? "both 'enum' and 'const'" : "'enum' must be a list of values");
    sbuf b = {0};
    for (size_t i = 0; i < (one ? 1 : json_array_size(list)); i++) {
        const json_t *v = one ? one : json_array_get(list, i);
        if (value_type(v) & types) put_value(&b, v);
    }
    s->values = b; // freed in schema_to_gbnf whatever happens
    if (b.failed) out_of_memory(s, 0);
    if (b.n == 0) schema_fail(s, TL_E_FORMAT, "no value is allowed here");
    if (b.n > MAX_OUT / 4) schema_fail(s, TL_E_LIMIT, "the list of values is too long");
    const char *rule = schema_rule(s, b.p);
    sbuf_free(&s->values);
    return rule;
}

static const char *visit_object_schema(schema *s, const json_t *j) {
    const json_t *x;
    if (json_object_get(j, "$ref")) return visit_ref(s, j);
    const json_t *one = json_object_get(j, "const"), *list = json_object_get(j, "enum");
    if (one || list) return visit_values(s, j, list, one);
    if (json_object_get(j, "allOf")) return visit_all(s, j);
    if ((x = json_object_get(j, "anyOf"))) return only(s, j, "anyOf"), either(s, x, "anyOf");
    if (!(x = json_object_get(j, "oneOf"))) return visit_types(s, j);
    only(s, j, "oneOf");
    check_one_of(s, x);
    return either(s, x, "oneOf");
}

static const char *visit(schema *s, const json_t *j) {
    if (++s->depth > MAX_DEPTH) schema_fail(s, TL_E_LIMIT, "nested too deeply");
    const char *e;
    if (json_is_true(j)) e = schema_shared(s, SH_VALUE);
    else if (json_is_object(j)) e = visit_object_schema(s, j);
    else schema_fail(s, TL_E_FORMAT, json_is_false(j) ? "nothing is allowed here" : "a schema must be an object or true");
    s->depth--;
    return e;
}

// ---- entry points --------------------------------------------------------------------------------
typedef struct request {
    const json_t *root;
    str regex;
    const char *const *choices;
    size_t n;
} request;

static const char *choices(schema *s, const request *q) {
    const char *e = q->n ? "" : NULL;
    if (!e) schema_fail(s, TL_E_USAGE, "there are no choices");
    for (size_t i = 0; i < q->n; i++) e = schema_text(s, "%s%s%s", e, i ? " | " : "", schema_literal(s, q->choices[i]));
    return e;
}

static const char *body(schema *s, const request *q) {
    if (q->root) return visit(s, q->root);
    return q->choices ? choices(s, q) : schema_pattern(s, q->regex, true);
}

static tl_status produce(const request *q, char **gbnf, tl_error *err) {
    *gbnf = NULL;
    schema *s = mem_calloc(1, sizeof *s);
    json_t *made = json_array();
    if (!s || !made) {
        mem_free(s);
        json_decref(made);
        return err_set(err, TL_E_MEMORY, "out of memory");
    }
    s->mem.on_fail = out_of_memory;
    s->mem.fail_ctx = s;
    s->err = err;
    s->root = q->root;
    s->made = made;
    if (setjmp(s->jump) == 0) put_rule(s, "root", body(s, q));
    tl_status code = s->code;
    if (code == TL_OK) *gbnf = s->out.p;
    else sbuf_free(&s->out);
    sbuf_free(&s->values);
    map_free(&s->refs);
    arena_free(&s->mem);
    json_decref(made);
    mem_free(s);
    return code;
}

tl_status schema_to_gbnf(const json_t *root, char **gbnf, tl_error *err) {
    return produce(&(request){.root = root}, gbnf, err);
}

tl_status schema_regex_to_gbnf(str regex, char **gbnf, tl_error *err) {
    return produce(&(request){.regex = regex}, gbnf, err);
}

tl_status schema_choices_to_gbnf(const char *const *list, size_t n, char **gbnf, tl_error *err) {
    return produce(&(request){.choices = list ? list : (const char *const[]){NULL}, .n = list ? n : 0}, gbnf, err);
}
