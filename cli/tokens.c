// tokens.c - `tl tokenize` and `tl detokenize`.
#include "common.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_ids(const tl_model *m, const int32_t *ids, size_t n, bool json) {
    if (!json) {
        for (size_t i = 0; i < n; i++) printf(i ? " %d" : "%d", ids[i]);
        putchar('\n');
        return 0;
    }
    json_t *list = json_array(), *texts = json_array();
    for (size_t i = 0; i < n; i++) {
        size_t length;
        const char *text = tl_token_text(m, ids[i], true, &length);
        json_array_append_new(list, json_integer(ids[i]));
        json_array_append_new(texts, json_bytes(text, length));
    }
    return print_json(json_pack("{s:o, s:o}", "ids", list, "tokens", texts));
}

int cli_tokenize(int argc, char **argv) {
    model_args a = {0};
    const char *file = NULL;
    bool json = false, parse = false, bare = false;
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "file", 'f', &file, "FILE", "the text is in FILE; - is stdin", 0, 0},
        {ARG_FLAG, "json", 0, &json, NULL, "{\"ids\": [...], \"tokens\": [their texts]}", 0, 0},
        {ARG_FLAG, "parse-special", 0, &parse, NULL, "special tokens in the text are tokens, not text", 0, 0},
        {ARG_FLAG, "no-special", 0, &bare, NULL, "do not add the special tokens that the model asks for", 0, 0},
        MODEL_OPTIONS_TEXT(a), {0}};
    const arg_command command = {.name = "tokenize", .usage = "[-m MODEL] (TEXT | -f FILE) [options]", .options = options, .most = 1,
        .about = "Prints the ids of the text's tokens. Without TEXT and -f it reads stdin."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (file && first < argc) return args_wrong("tokenize", "give either TEXT or -f FILE");
    char *text = NULL;
    size_t n = 0, n_ids;
    int32_t *ids;
    opened o;
    tl_error err;
    if (first == argc && (status = read_file("tokenize", file ? file : "-", &text, &n)) > 0) return status;
    const char *input = text ? text : argv[first];
    if ((status = open_model("tokenize", &a, TL_MODEL_TEXT, &o)) == 0) {
        unsigned flags = (bare ? 0 : TL_ADD_SPECIAL) | (parse ? TL_PARSE_SPECIAL : 0);
        if (tl_tokenize(o.model, input, text ? n : strlen(input), flags, &ids, &n_ids, &err) != TL_OK) {
            status = fail_with("tokenize", &err);
        } else {
            status = print_ids(o.model, ids, n_ids, json);
            tl_free(ids);
        }
        opened_free(&o);
    }
    free(text);
    return status;
}

static int print_text(const tl_model *m, const int32_t *ids, size_t n, bool special, bool json) {
    tl_decoder *d;
    tl_error err;
    char *all = NULL;
    size_t size = 0;
    FILE *to = json ? open_memstream(&all, &size) : stdout;
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= tl_model_n_vocab(m)) {
            if (json) fclose(to), free(all);
            return fail("detokenize", "token %d is not in the vocabulary of %lld", ids[i], (long long)tl_model_n_vocab(m));
        }
    if (tl_decoder_new(m, special, &d, &err) != TL_OK) return fail_with("detokenize", &err);
    for (size_t i = 0; i < n; i++) fputs(tl_decoder_put(d, ids[i]), to);
    fputs(tl_decoder_end(d), to);
    tl_decoder_free(d);
    if (!json && isatty(STDOUT_FILENO) == 1) putchar('\n');
    if (!json) return 0;
    fclose(to);
    int status = print_json(json_pack("{s:o}", "text", json_bytes(all, size)));
    free(all);
    return status;
}

int cli_detokenize(int argc, char **argv) {
    model_args a = {0};
    const char *file = NULL;
    bool json = false, special = false;
    int first;
    const arg_option options[] = {
        {ARG_TEXT, "file", 'f', &file, "FILE", "the ids are in FILE; - is stdin", 0, 0},
        {ARG_FLAG, "json", 0, &json, NULL, "{\"text\": ...}", 0, 0},
        {ARG_FLAG, "special", 0, &special, NULL, "show special tokens too", 0, 0},
        MODEL_OPTIONS_TEXT(a), {0}};
    const arg_command command = {.name = "detokenize", .usage = "[-m MODEL] (IDS ... | -f FILE) [options]", .options = options, .most = -1,
        .about = "Prints the text of the ids, which may be separated by commas or spaces, or be a JSON list.\n"
                 "Without IDS and -f it reads stdin."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (file && first < argc) return args_wrong("detokenize", "give either IDS or -f FILE");
    char *text = NULL;
    size_t n = 0, n_ids = 0;
    int32_t *ids = NULL;
    opened o;
    if (first == argc) {
        if ((status = read_file("detokenize", file ? file : "-", &text, &n)) > 0) return status;
    } else {
        FILE *all = open_memstream(&text, &n);
        for (int i = first; i < argc; i++) fprintf(all, "%s ", argv[i]);
        fclose(all);
    }
    if (!parse_ids(text, &ids, &n_ids)) status = args_wrong("detokenize", "token ids are whole numbers, separated by commas or spaces");
    else if ((status = open_model("detokenize", &a, TL_MODEL_TEXT, &o)) == 0) {
        status = print_text(o.model, ids, n_ids, special, json);
        opened_free(&o);
    }
    free(ids), free(text);
    return status;
}
