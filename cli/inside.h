// inside.h - what the commands that look inside a model's program share: the tokens of a text, statistics of a value, .npy.
#ifndef CLI_INSIDE_H
#define CLI_INSIDE_H
#include "common.h"

typedef struct inside_args {
    model_args model;
    const char *text, *file, *ids;
    bool parse_special, no_special, json;
} inside_args;

#define INSIDE_TEXT_OPTIONS(a)                                                                                         \
    {ARG_TEXT, "prompt", 'p', &(a).text, "TEXT", "the text that the model reads", 0, 0},                               \
    {ARG_TEXT, "file", 'f', &(a).file, "FILE", "the text is in FILE; - is stdin", 0, 0},                               \
    {ARG_TEXT, "ids", 0, &(a).ids, "1,2,3", "token ids instead of a text (for files without a tokenizer, too)", 0, 0}, \
    {ARG_FLAG, "parse-special", 0, &(a).parse_special, NULL, "special tokens in the text are tokens, not text", 0, 0}, \
    {ARG_FLAG, "no-special", 0, &(a).no_special, NULL, "do not add the special tokens that the model asks for", 0, 0}

int inside_check(const char *command, const inside_args *a); // one of text, file, ids: -1, or 2 after a message
// Of the text, or the ids. *ids is freed with free(). Returns 0, or the exit status after its message.
int inside_tokens(const char *command, const inside_args *a, const opened *o, int32_t **ids, size_t *n);
json_t *inside_token_texts(const tl_model *m, const int32_t *ids, size_t n); // [] without a tokenizer
// A token's text on one line for a terminal, at most `width` columns; buf has 4 * width + 8 bytes. Returns its columns.
int inside_show_token(const tl_model *m, int32_t id, int width, char *buf);

// The session reads all tokens, at most `batch` rows in a step, with logits of all rows; after each step `each` is called,
// which may return early once Ctrl-C has come (interrupt.h): inside_run says so.
typedef int (*inside_step)(void *ctx, size_t from, size_t rows, const float *logits);
int inside_run(const char *command, tl_session *s, const int32_t *ids, size_t n, inside_step each, void *ctx);

size_t inside_elements(const tl_watch *w);
void inside_place(const tl_watch *w, char *buf, size_t cap); // "models/NAME.tl:54", "std/nn.tl:28 from NAME.tl:24"
void inside_shape(const tl_watch *w, char *buf, size_t cap, size_t rows); // "[p=5, e=576]"; rows: of all steps
json_t *inside_json(const tl_watch *w, size_t rows);  // key, name, layer, place, axes, shape

// numpy.lib.format 1.0 of float32; `last`: elements of a row. False: not written.
bool npy_write_header(FILE *f, const int64_t *size, int rank);
// A float32 or float64 C-order file as float32; *data is freed with free(). False with *why.
bool npy_read(const char *path, float **data, int64_t *size, int *rank, const char **why);
#endif
