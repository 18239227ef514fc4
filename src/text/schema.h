// schema.h - JSON Schema to a GBNF grammar, so that generated text is a document the schema accepts.
//
// Fails closed: a keyword that the grammar cannot promise is an error that names it and where it stands. Where the schema
// allows more than a grammar can say (any order of properties, additional ones beside declared ones, exponents of bounded
// numbers), the grammar allows less: every text it matches is valid.
#ifndef TL_TEXT_SCHEMA_H
#define TL_TEXT_SCHEMA_H
#include "base/base.h"
#include <jansson.h>

// *gbnf: NUL-terminated text for grammar_parse, start symbol `root`; release with mem_free. Supported: type, enum, const,
// properties, required, additionalProperties, items, prefixItems, minItems, maxItems, minLength, maxLength, pattern, format
// (date, time, date-time, uuid, ipv4, ipv6, email, hostname, uri), minimum, maximum, exclusive*, anyOf, oneOf where the
// branches cannot overlap, allOf of objects, local $ref. TL_E_UNSUPPORTED, TL_E_FORMAT (not a schema, or one that allows
// nothing), TL_E_LIMIT (depth, size), TL_E_MEMORY.
tl_status schema_to_gbnf(const json_t *schema, char **gbnf, tl_error *err);
// Plain text (no JSON) that matches the regular expression from end to end: the same dialect as `pattern`. UTF-8.
tl_status schema_regex_to_gbnf(str regex, char **gbnf, tl_error *err);
// Plain text that is one of the n choices. UTF-8.
tl_status schema_choices_to_gbnf(const char *const *choices, size_t n, char **gbnf, tl_error *err);
#endif
