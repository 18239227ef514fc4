// jinja.h - a sandboxed interpreter of the Jinja2 subset that published chat templates use.
//
// A template is untrusted input that arrives with a model. It can compute strings and nothing else: no files, no clock but
// strftime_now (whose time the caller may give), no attribute that is not data. Rendering stops with TL_E_LIMIT when its
// steps, depth, memory or output run out. Semantics are those of jinja2 3.1 with trim_blocks, lstrip_blocks, loopcontrols,
// a `generation` tag and an immutable sandbox, which is what model publishers test with. Known differences: `safe` gives a
// plain string (no HTML escaping when it meets another one), filters are never lazy, integers have 64 bits.
//
// Taint. Every string remembers which of its bytes came from tainted input values (messages, tools, keyword arguments)
// through concatenation, slicing, stripping, splitting, replacing, formatting and JSON output. The rendered text carries
// those byte ranges, so that a tokenizer can refuse to read a special token out of a byte that a user wrote.
#ifndef TL_TEXT_JINJA_H
#define TL_TEXT_JINJA_H
#include "base/base.h"
#include <jansson.h>

typedef struct jinja jinja;         // a compiled template: immutable, may be shared by threads
typedef struct jinja_ctx jinja_ctx; // the variables of one rendering and its memory: one thread

// Half-open byte range [begin, end).
typedef struct jinja_range {
    size_t begin, end;
} jinja_range;

typedef struct jinja_limits { // 0 takes the default
    int64_t steps;            // evaluated nodes plus one per 64 bytes handled; 20 million
    size_t memory;            // bytes of values, the output included; 256 MiB
    size_t output;            // bytes of the rendered text; 64 MiB
    int depth;                // nested evaluations, macro calls included; 1500
    int64_t now;              // seconds since 1970 for strftime_now (local time); 0: the system's clock
} jinja_limits;

typedef struct jinja_output { // release with jinja_output_free
    char *text;               // UTF-8, NUL-terminated, may hold NUL bytes
    size_t n;
    jinja_range *taint; // sorted, disjoint, not touching: the bytes that came from tainted values
    size_t n_taint;
    jinja_range *generation; // what {% generation %} blocks at the top level wrote, in order
    size_t n_generation;
} jinja_output;

// Compiles `source` (UTF-8, at most 4 MiB). TL_E_FORMAT with the line for a syntax error or a tag that
// needs other files; TL_E_LIMIT for size or nesting. An unknown filter or test fails only when it is reached.
tl_status jinja_compile(str source, jinja **out, tl_error *err);
void jinja_free(jinja *t); // NULL is fine
// Whether the template reads the variable `name` anywhere (e.g. "tools").
bool jinja_uses(const jinja *t, const char *name);

// A new set of variables; `limits` may be NULL. TL_E_MEMORY.
tl_status jinja_ctx_new(const jinja_limits *limits, jinja_ctx **out, tl_error *err);
void jinja_ctx_free(jinja_ctx *c); // NULL is fine
// Sets a variable; all copy their input. Strings must be UTF-8 (TL_E_FORMAT). `tainted` marks every string and key inside.
tl_status jinja_set_str(jinja_ctx *c, const char *name, str value, bool tainted, tl_error *err);
tl_status jinja_set_int(jinja_ctx *c, const char *name, int64_t value, tl_error *err);
tl_status jinja_set_bool(jinja_ctx *c, const char *name, bool value, tl_error *err);
tl_status jinja_set_none(jinja_ctx *c, const char *name, tl_error *err);
// From now on a string under the key `key` that is one of `words` (NULL-terminated, kept by reference) carries no taint in
// jinja_set_json: message roles, which templates spell special tokens with.
void jinja_ctx_clean(jinja_ctx *c, const char *key, const char *const *words);
// Objects keep their order; nesting deeper than 200 is TL_E_LIMIT.
tl_status jinja_set_json(jinja_ctx *c, const char *name, const json_t *value, bool tainted, tl_error *err);

// Renders into *out. TL_E_USAGE: the template called raise_exception (its message follows). TL_E_FORMAT: an
// evaluation error (the line and what Jinja would say). TL_E_LIMIT, TL_E_MEMORY. On failure *out is empty. The context
// may be rendered again; its memory is only returned by jinja_ctx_free.
tl_status jinja_render(const jinja *t, jinja_ctx *c, jinja_output *out, tl_error *err);
void jinja_output_free(jinja_output *out);
#endif
