// chat.h - chat templates: a conversation to the text that a model was trained on, with the user's bytes marked.
//
// A message's bytes are never template text, whatever the template does with them: only segments with tainted = false may
// be read for special tokens. To tokenize: look for special tokens wholly inside untainted segments, then encode the
// text between them as one run each, across segment borders.
#ifndef TL_TEXT_CHAT_H
#define TL_TEXT_CHAT_H
#include "text/jinja.h"

typedef struct chat_template chat_template; // immutable; may be shared by threads

typedef struct chat_segment { // of chat_text.text
    size_t begin, n;          // bytes
    bool tainted;             // came from messages, tools or variables
} chat_segment;

typedef struct chat_text { // release with chat_text_free
    char *text;            // UTF-8, NUL-terminated
    size_t n;
    chat_segment *segments; // cover the text in order; none is empty; taint alternates
    size_t n_segments;
} chat_text;

typedef struct chat_input {
    const json_t *messages; // array of objects: role, content, tool_calls, ... as OpenAI's API has them
    const json_t *tools;    // array or NULL (the template sees none)
    const json_t *vars;     // object or NULL: further variables, e.g. {"enable_thinking": false}
    bool reply;             // add_generation_prompt
    const char *bos, *eos;  // what bos_token and eos_token print; NULL: undefined. Trusted: from the model's vocabulary
    int64_t now;            // seconds since 1970 for strftime_now; 0: the clock
} chat_input;

// Compiles a Jinja template (UTF-8). Errors as jinja_compile: TL_E_FORMAT, TL_E_UNSUPPORTED, TL_E_LIMIT, TL_E_MEMORY.
tl_status chat_template_new(str source, chat_template **out, tl_error *err);
void chat_template_free(chat_template *t); // NULL is fine
// Whether the template looks at `tools`; if not, tools given to chat_render would be lost.
bool chat_template_takes_tools(const chat_template *t);

// Renders. TL_E_USAGE: the template refused (raise_exception) or the input is of the wrong shape; else as jinja_render.
// *out is empty after a failure.
tl_status chat_render(const chat_template *t, const chat_input *in, chat_text *out, tl_error *err);
void chat_text_free(chat_text *t);

// [{"role": ..., "content": ...}, ...] for chat_input.messages; bytes that are not UTF-8 become U+FFFD. The caller
// releases *out with json_decref. TL_E_MEMORY, TL_E_USAGE (a NULL role or content).
tl_status chat_messages(const tl_message *messages, size_t n, json_t **out, tl_error *err);

// A template for a file that has none, if its vocabulary has all tokens of a known format; NULL if no format fits.
// `has` says whether the token's text is in the vocabulary. *name (may be NULL) is the format's name, for a warning.
const char *chat_builtin(bool (*has)(void *ctx, const char *token), void *ctx, const char **name);
#endif
