// lsp.c - `tl lsp`: the Language Server Protocol on stdin and stdout: problems, hover, definitions, completion, symbols,
// formatting. Everything comes from tl_analysis; nothing is run. Documents are sent whole.
#include "common.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

typedef struct document {
    char *uri, *path, *text;
    size_t n;
    tl_analysis *analysis; // NULL: not made yet
    struct document *next;
} document;

typedef struct server {
    document *documents;
    bool shut_down, done;
} server;

// ---- messages ----------------------------------------------------------------------------------
enum { MESSAGE_MAX = 64 << 20 };

static json_t *read_message(bool *end) {
    char line[1000];
    size_t n = 0;
    *end = true;
    while (fgets(line, sizeof line, stdin)) {
        if (strncasecmp(line, "Content-Length:", 15) == 0) n = strtoul(line + 15, NULL, 10);
        if (strcmp(line, "\r\n") != 0 && strcmp(line, "\n") != 0) continue;
        if (n == 0 || n > MESSAGE_MAX) return NULL;
        char *body = malloc(n);
        json_t *m = NULL;
        if (body && fread(body, 1, n, stdin) == n) *end = false, m = json_loadb(body, n, 0, NULL);
        free(body);
        return m;
    }
    return NULL;
}

static void send(json_t *message) { // takes it
    json_object_set_new(message, "jsonrpc", json_string("2.0"));
    char *text = json_dumps(message, JSON_COMPACT);
    if (text) printf("Content-Length: %zu\r\n\r\n%s", strlen(text), text);
    fflush(stdout);
    free(text);
    json_decref(message);
}

static void reply(const json_t *id, json_t *result) { send(json_pack("{s:O, s:o}", "id", id, "result", result ? result : json_null())); }

static void reply_error(const json_t *id, int code, const char *text) {
    send(json_pack("{s:O, s:{s:i, s:s}}", "id", id, "error", "code", code, "message", text));
}

// ---- documents ---------------------------------------------------------------------------------
static char *path_of(const char *uri) { // file:///a%20b -> /a b; other schemes stay as they are
    const char *p = strncmp(uri, "file://", 7) == 0 ? uri + 7 : uri;
    char *out = malloc(strlen(p) + 1), *o = out;
    for (; out && *p; p++) {
        unsigned v;
        if (*p == '%' && isxdigit((unsigned char)p[1]) && isxdigit((unsigned char)p[2]) && sscanf(p + 1, "%2x", &v) == 1) *o++ = (char)v, p += 2;
        else *o++ = *p;
    }
    if (out) *o = 0;
    return out;
}

static json_t *uri_of(const char *path) {
    char uri[4 * PATH_MAX] = "file://";
    size_t n = 7;
    for (; *path && n + 4 < sizeof uri; path++) {
        if (isalnum((unsigned char)*path) || strchr("/._-~", *path)) uri[n++] = *path, uri[n] = 0;
        else n += (size_t)snprintf(uri + n, sizeof uri - n, "%%%02X", (unsigned char)*path);
    }
    return json_string(uri);
}

static document *find(server *s, const char *uri) {
    document *d = s->documents;
    while (d && strcmp(d->uri, uri) != 0) d = d->next;
    return d;
}

static const tl_analysis *analysis_of(document *d) {
    if (!d->analysis && tl_analysis_new(d->path, d->text, d->n, false, &d->analysis, NULL) != TL_OK) d->analysis = NULL;
    return d->analysis;
}

static void drop(document *d) {
    tl_analysis_free(d->analysis);
    free(d->uri);
    free(d->path);
    free(d->text);
    free(d);
}

static void set_text(server *s, const char *uri, const char *text, size_t n) {
    document *d = find(s, uri);
    if (!d) {
        d = calloc(1, sizeof *d);
        if (!d) return;
        d->uri = strdup(uri);
        d->path = path_of(uri);
        d->next = s->documents;
        s->documents = d;
    }
    free(d->text);
    tl_analysis_free(d->analysis);
    d->analysis = NULL;
    d->text = malloc(n + 1);
    d->n = d->text ? n : 0;
    if (d->text) memcpy(d->text, text, n), d->text[n] = 0;
}

static void close_document(server *s, const char *uri) {
    for (document **p = &s->documents; *p; p = &(*p)->next) {
        if (strcmp((*p)->uri, uri) != 0) continue;
        document *d = *p;
        *p = d->next;
        drop(d);
        return;
    }
}

// ---- places: the protocol counts UTF-16 units from 0, we characters from 1 -------------------------
static const char *line_of(const document *d, int line) {
    const char *p = d->text ? d->text : "";
    for (; line > 0 && *p; p++) line -= *p == '\n';
    return p;
}

static int column_of(const document *d, int line, int units) {
    int col = 1;
    for (const unsigned char *p = (const unsigned char *)line_of(d, line); units > 0 && *p && *p != '\n'; p++) {
        if ((*p & 0xC0) == 0x80) continue;
        units -= *p >= 0xF0 ? 2 : 1;
        col++;
    }
    return col;
}

static json_t *position(const document *d, int line, int col) { // d NULL: another file; its characters are taken as units
    int units = col > 0 ? col - 1 : 0;
    const unsigned char *p = d ? (const unsigned char *)line_of(d, line - 1) : NULL;
    for (int c = 1; p && c < col && *p && *p != '\n'; p++) {
        if ((*p & 0xC0) == 0x80) continue;
        units += *p >= 0xF0;
        c++;
    }
    return json_pack("{s:i, s:i}", "line", line > 0 ? line - 1 : 0, "character", units);
}

static json_t *range(const document *d, int line, int col, int end_line, int end_col) {
    return json_pack("{s:o, s:o}", "start", position(d, line, col), "end", position(d, end_line, end_col));
}

static void publish(document *d) {
    const tl_analysis *a = analysis_of(d);
    json_t *list = json_array();
    tl_problem p;
    for (size_t i = 0; a && tl_analysis_problem(a, i, &p); i++) {
        bool here = strcmp(p.file, d->path) == 0;
        char text[4000];
        snprintf(text, sizeof text, "%s%s%s%s%s", here ? "" : p.file, here ? "" : ": ", p.message, p.help ? "\nhelp: " : "", p.help ? p.help : "");
        json_array_append_new(list, json_pack("{s:o, s:i, s:s, s:o}", "range", here ? range(d, p.line, p.col, p.end_line, p.end_col) : range(d, 1, 1, 1, 1), "severity",
                                              p.warning ? 2 : 1, "source", "tl", "message", json_bytes(text, strlen(text))));
    }
    send(json_pack("{s:s, s:{s:s, s:o}}", "method", "textDocument/publishDiagnostics", "params", "uri", d->uri, "diagnostics", list));
}

// ---- requests ----------------------------------------------------------------------------------
static json_t *capabilities(void) {
    return json_pack("{s:{s:i, s:b, s:b, s:b, s:b, s:{s:b}}, s:{s:s, s:s}}", "capabilities", "textDocumentSync", 1, "hoverProvider", 1, "definitionProvider", 1,
                     "documentFormattingProvider", 1, "documentSymbolProvider", 1, "completionProvider", "resolveProvider", 0, "serverInfo", "name", "tl", "version", tl_version());
}

static json_t *hover(document *d, int line, int col) {
    tl_name n;
    if (!analysis_of(d) || !tl_analysis_at(d->analysis, line, col, &n)) return NULL;
    char text[6000];
    snprintf(text, sizeof text, "```tl\n%s\n```\n%s%s%s", n.detail, n.kind, *n.doc ? "\n\n" : "", n.doc);
    return json_pack("{s:{s:s, s:o}}", "contents", "kind", "markdown", "value", json_bytes(text, strlen(text)));
}

static json_t *definition(document *d, int line, int col) {
    tl_name n;
    if (!analysis_of(d) || !tl_analysis_at(d->analysis, line, col, &n) || !*n.file || n.line == 0) return NULL;
    bool here = strcmp(n.file, d->path) == 0;
    if (!here && n.file[0] != '/') return NULL; // built in
    return json_pack("{s:o, s:o}", "uri", here ? json_string(d->uri) : uri_of(n.file), "range", range(here ? d : NULL, n.line, n.col, n.end_line, n.end_col));
}

static int completion_kind(const char *kind) {
    static const struct { const char *kind; int number; } kinds[] = {{"function", 3}, {"builtin", 3}, {"dim", 21}, {"relation", 22}, {"entity", 13}, {"member of an entity", 20}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].kind, kind) == 0) return kinds[i].number;
    return 6;
}

static void add_completion(void *ctx, const tl_name *n) {
    json_array_append_new(ctx, json_pack("{s:s, s:i, s:s, s:s}", "label", n->name, "kind", completion_kind(n->kind), "detail", n->detail, "documentation", n->doc));
}

static json_t *completion(document *d, int line, int col) {
    char prefix[200];
    const char *begin = line_of(d, line - 1), *end = begin;
    for (int c = 1; c < col && *end && *end != '\n'; c++)
        for (end++; ((unsigned char)*end & 0xC0) == 0x80; end++) {}
    const char *from = end;
    while (from > begin && (isalnum((unsigned char)from[-1]) || from[-1] == '_' || (unsigned char)from[-1] >= 0x80)) from--;
    snprintf(prefix, sizeof prefix, "%.*s", (int)(end - from), from);
    json_t *list = json_array();
    if (analysis_of(d)) tl_analysis_complete(d->analysis, line, col, prefix, add_completion, list);
    return list;
}

static json_t *symbols(document *d) {
    json_t *list = json_array();
    tl_name n;
    for (size_t i = 0; analysis_of(d) && tl_analysis_symbol(d->analysis, i, &n); i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:{s:s, s:o}}", "name", n.name, "kind", strcmp(n.kind, "function") == 0 ? 12 : strcmp(n.kind, "dim") == 0 ? 14 : 13,
                                              "location", "uri", d->uri, "range", range(d, n.line, n.col, n.end_line, n.end_col)));
    return list;
}

static json_t *formatting(document *d) {
    char *out;
    size_t n;
    if (!d->text || tl_program_format(d->path, d->text, d->n, &out, &n, NULL) != TL_OK) return NULL;
    json_t *edits = json_array();
    int lines = 1;
    for (size_t i = 0; i < d->n; i++) lines += d->text[i] == '\n';
    if (n != d->n || memcmp(out, d->text, n) != 0)
        json_array_append_new(edits, json_pack("{s:o, s:o}", "range", range(NULL, 1, 1, lines + 1, 1), "newText", json_bytes(out, n)));
    tl_free(out);
    return edits;
}

static bool answer(server *s, const char *method, const json_t *params, json_t **result) { // false: not a method of ours
    const char *uri = json_string_value(json_object_get(json_object_get(params, "textDocument"), "uri"));
    const json_t *at = json_object_get(params, "position");
    document *d = uri ? find(s, uri) : NULL;
    int line = (int)json_integer_value(json_object_get(at, "line"));
    int col = d ? column_of(d, line, (int)json_integer_value(json_object_get(at, "character"))) : 1;
    *result = NULL;
    if (strcmp(method, "initialize") == 0) *result = capabilities();
    else if (strcmp(method, "shutdown") == 0) s->shut_down = true;
    else if (strcmp(method, "textDocument/hover") == 0) *result = d ? hover(d, line + 1, col) : NULL;
    else if (strcmp(method, "textDocument/definition") == 0) *result = d ? definition(d, line + 1, col) : NULL;
    else if (strcmp(method, "textDocument/completion") == 0) *result = d ? completion(d, line + 1, col) : NULL;
    else if (strcmp(method, "textDocument/documentSymbol") == 0) *result = d ? symbols(d) : NULL;
    else if (strcmp(method, "textDocument/formatting") == 0) *result = d ? formatting(d) : NULL;
    else return false;
    return true;
}

static void notice(server *s, const char *method, const json_t *params) {
    const json_t *doc = json_object_get(params, "textDocument"), *text = NULL;
    const char *uri = json_string_value(json_object_get(doc, "uri"));
    if (strcmp(method, "exit") == 0) s->done = true;
    if (!uri) return;
    if (strcmp(method, "textDocument/didOpen") == 0) text = json_object_get(doc, "text");
    if (strcmp(method, "textDocument/didChange") == 0) {
        const json_t *changes = json_object_get(params, "contentChanges");
        text = json_object_get(json_array_get(changes, json_array_size(changes) - 1), "text");
    }
    if (json_is_string(text)) {
        set_text(s, uri, json_string_value(text), json_string_length(text));
        document *d = find(s, uri);
        if (d) publish(d);
    }
    if (strcmp(method, "textDocument/didClose") == 0) close_document(s, uri);
}

static void handle(server *s, const json_t *message) {
    const char *method = json_string_value(json_object_get(message, "method"));
    const json_t *id = json_object_get(message, "id"), *params = json_object_get(message, "params");
    json_t *result;
    if (!method) return;
    if (!id) notice(s, method, params);
    else if (answer(s, method, params, &result)) reply(id, result);
    else reply_error(id, -32601, "there is no such method");
}

int cli_lsp(int argc, char **argv) {
    int first;
    const arg_option options[] = {{0}};
    const arg_command command = {.name = "lsp", .usage = "", .options = options, .least = 0, .most = 0,
        .about = "A language server on stdin and stdout, for editors: problems while typing, what a name is (with axes and sizes), where\n"
                 "it is declared, completion, symbols, formatting."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    server s = {0};
    bool end = false;
    while (!s.done && !end) {
        json_t *message = read_message(&end);
        if (message) handle(&s, message);
        else if (!end) send(json_pack("{s:n, s:{s:i, s:s}}", "id", "error", "code", -32700, "message", "this is no JSON"));
        json_decref(message);
    }
    while (s.documents) close_document(&s, s.documents->uri);
    return s.done && s.shut_down ? 0 : 1;
}
