// stamp.c - see stamp.h.
#include "stamp.h"
#include "progress.h"
#include "sha256.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_STDIN = 16 << 20, READ = 1 << 20 };

static struct call {
    int argc;
    char **argv;     // a copy of the pointers: getopt changes their order
    char *text;      // what came from stdin
    size_t text_n;
} call;

void stamp_call(int argc, char **argv) {
    call.argv = malloc((size_t)argc * sizeof *argv);
    if (!call.argv) return;
    memcpy(call.argv, argv, (size_t)argc * sizeof *argv);
    call.argc = argc;
}

void stamp_stdin(const char *text, size_t n) {
    free(call.text);
    call.text = n <= MOST_STDIN ? malloc(n + 1) : NULL;
    if (call.text) memcpy(call.text, text, n), call.text_n = n;
}

// ---- hashes ------------------------------------------------------------------------------------
static bool have_hashes(void) {
    char why[300];
    return sha256_load(why, sizeof why);
}

static json_t *hex(struct sha256_ctx *ctx) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    char text[2 * SHA256_DIGEST_SIZE + 1];
    sha256.nettle_sha256_digest(ctx, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return json_string(text);
}

static bool hash_file(struct sha256_ctx *ctx, const char *path, progress *bar, int64_t *done) {
    uint8_t *buf = malloc(READ);
    FILE *f = buf ? fopen(path, "rb") : NULL;
    bool ok = f != NULL;
    for (size_t n; ok && (n = fread(buf, 1, READ, f)) > 0;) {
        sha256.nettle_sha256_update(ctx, n, buf);
        progress_update(bar, *done += (int64_t)n, "");
    }
    if (f) ok = !ferror(f), fclose(f);
    free(buf);
    return ok;
}

// The sha256 of the file, as sha256sum prints it; of the files of a split model one after the other.
static json_t *hash_model(const char *path, int64_t *bytes) {
    char next[PATH_MAX];
    int n = 0, count = 1, at;
    size_t length = strlen(path), stem = length > 20 ? length - 20 : 0;
    struct sha256_ctx ctx;
    progress bar;
    if (!have_hashes()) return json_null();
    sha256.nettle_sha256_init(&ctx);
    progress_start(&bar, "hashing", 0, 0, isatty(STDERR_FILENO) != 1);
    if (stem && sscanf(path + stem, "-%5d-of-%5d.gguf%n", &at, &count, &n) == 2 && n == 20) n = 1;
    else n = 0, count = 1;
    bool ok = true;
    for (int i = 1; i <= count && ok; i++) {
        if (n) snprintf(next, sizeof next, "%.*s-%05d-of-%05d.gguf", (int)stem, path, i, count);
        ok = hash_file(&ctx, n ? next : path, &bar, bytes);
    }
    progress_end(&bar);
    return ok ? hex(&ctx) : json_null();
}

// Of the texts of the program and all that it imports, each followed by a zero byte.
static json_t *hash_program(const tl_model *m, const char **main_file) {
    struct sha256_ctx ctx;
    const char *file, *text;
    size_t n;
    *main_file = "";
    if (!have_hashes()) return json_null();
    sha256.nettle_sha256_init(&ctx);
    for (size_t i = 0; tl_model_program(m, i, &file, &text, &n); i++) {
        sha256.nettle_sha256_update(&ctx, n, (const uint8_t *)text);
        sha256.nettle_sha256_update(&ctx, 1, (const uint8_t *)"");
        if (tl_model_program_is_main(m, i)) *main_file = file;
    }
    return hex(&ctx);
}

static json_t *hash_adapters(const tl_model *m) { // NULL: there are none
    json_t *list = tl_model_adapter(m, 0) ? json_array() : NULL;
    const char *path;
    for (size_t i = 0; list && (path = tl_model_adapter(m, i)) != NULL; i++) {
        int64_t bytes = 0;
        json_t *hash = hash_model(path, &bytes);
        json_array_append_new(list, json_pack("{s:o, s:I, s:o}", "path", json_bytes(path, strlen(path)), "bytes", (json_int_t)bytes, "sha256", hash));
    }
    return list;
}

// ---- the stamp ---------------------------------------------------------------------------------
static json_t *arguments(void) {
    json_t *list = json_array();
    for (int i = 1; i < call.argc; i++) json_array_append_new(list, json_bytes(call.argv[i], strlen(call.argv[i])));
    return list;
}

static json_t *chain(const tl_sampler *s) {
    json_t *list = json_array();
    const char *name;
    for (size_t i = 0; s && (name = tl_sampler_name(s, i)) != NULL; i++) json_array_append_new(list, json_string(name));
    return list;
}

json_t *stamp_json(const opened *o, const tl_sampler *s, int64_t seed, const int32_t *ids, size_t n) {
    const char *path = tl_model_path(o->model), *main_file;
    char folder[PATH_MAX];
    int64_t bytes = 0;
    json_t *tokens = json_array(), *model_hash = hash_model(path, &bytes), *program_hash = hash_program(o->model, &main_file);
    for (size_t i = 0; i < n; i++) json_array_append_new(tokens, json_integer(ids[i]));
    if (!getcwd(folder, sizeof folder)) *folder = '\0';
    json_t *stamp = json_pack("{s:s, s:o, s:o, s:o*, s:s, s:s, s:{s:o, s:I, s:o}, s:{s:s, s:o}, s:s, s:i, s:I, s:o}", "command", call.argc ? call.argv[0] : "", "arguments",
                              arguments(), "folder", json_bytes(folder, strlen(folder)), "stdin", call.text ? json_bytes(call.text, call.text_n) : NULL, "version", tl_version(),
                              "build", tl_build(), "model", "path", json_bytes(path, strlen(path)), "bytes", (json_int_t)bytes, "sha256", model_hash, "program", "file", main_file,
                              "sha256", program_hash, "isa", tl_engine_isa(o->engine), "threads", tl_engine_threads(o->engine), "n_ctx",
                              (json_int_t)(o->session ? tl_session_n_ctx(o->session) : 0), "prompt_ids", tokens);
    json_t *adapters = hash_adapters(o->model);
    if (adapters) json_object_set_new(stamp, "adapters", adapters);
    if (s) json_object_set_new(stamp, "seed", json_integer(seed)), json_object_set_new(stamp, "samplers", chain(s));
    return stamp;
}
