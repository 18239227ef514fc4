// catalog.c - reads models/catalog.tsv (compiled in) and the user's rows; finds a model's file by its name.
// Names become file names and packages become arguments of pip, so both are checked here, once, for all later use.
#include "catalog_data.h"
#include "models.h"
#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COLUMNS = 8, MAX_PARTS = 1000, MAX_FILE = 1 << 20 };

// ---- folders -----------------------------------------------------------------------------------
// $VARIABLE/tensorlogic/FILE; the variable counts only where it is absolute, as the XDG specification says.
static bool xdg_path(char *path, size_t cap, const char *variable, const char *fallback, const char *file) {
    const char *base = getenv(variable), *home = getenv("HOME");
    int n;
    if (base && base[0] == '/') {
        n = snprintf(path, cap, "%s/tensorlogic%s", base, file);
    } else {
        const struct passwd *user = home && home[0] == '/' ? NULL : getpwuid(getuid());
        if (user) home = user->pw_dir;
        if (!home || home[0] != '/') return false;
        n = snprintf(path, cap, "%s/%s/tensorlogic%s", home, fallback, file);
    }
    return n > 0 && (size_t)n < cap;
}

bool models_folder(char *path, size_t cap) { return xdg_path(path, cap, "XDG_CACHE_HOME", ".cache", ""); }

bool model_row_path(const model_row *row, char *path, size_t cap) {
    char folder[PATH_MAX];
    int n;
    if (row->package_count == 0) n = snprintf(path, cap, "%s", row->file);
    else if (!models_folder(folder, sizeof folder)) return false;
    else n = snprintf(path, cap, "%s/%s.gguf", folder, row->name);
    return n > 0 && (size_t)n < cap;
}

bool model_row_ready(const model_row *row) {
    char path[PATH_MAX];
    struct stat st;
    if (!model_row_path(row, path, sizeof path) || stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return false;
    return row->package_count == 0 || st.st_size == row->size;
}

// ---- rows --------------------------------------------------------------------------------------
static bool name_ok(const char *s) {
    if (!isalnum((unsigned char)*s) || strlen(s) > 100) return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("._-", *s)) return false;
    return true;
}

// A pip requirement of the form NAME or NAME==VERSION, and nothing that pip could take for an option or an address.
static bool requirement_ok(const char *s) {
    const char *equal = strstr(s, "==");
    if (!isalnum((unsigned char)*s) || strlen(s) > 200) return false;
    for (const char *p = s; *p; p++) {
        if (equal && p >= equal && p < equal + 2) continue;
        if (!isalnum((unsigned char)*p) && !strchr(equal && p > equal ? "._+!-" : "._-", *p)) return false;
    }
    return !equal || equal[2];
}

static bool number_ok(const char *s, int64_t *out) {
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    *out = v;
    return isdigit((unsigned char)*s) && !*end && !errno && v >= 0;
}

static bool sha256_ok(const char *s) { return strspn(s, "0123456789abcdef") == 64 && s[64] == '\0'; }

static bool add_package(model_row *row, const char *text) {
    char **grown = realloc(row->packages, sizeof *grown * (size_t)(row->package_count + 1));
    if (!grown) return false;
    row->packages = grown;
    grown[row->package_count] = strdup(text);
    return grown[row->package_count] && ++row->package_count;
}

// "a-part{1..3}==1,b" -> a-part1==1, a-part2==1, a-part3==1, b. Cuts `text` up. Returns what is wrong, or NULL.
static const char *parse_packages(model_row *row, char *text) {
    char *next = NULL;
    for (char *item = strtok_r(text, ", ", &next); item; item = strtok_r(NULL, ", ", &next)) {
        int first = 0, last = 0, used = 0;
        char *brace = strchr(item, '{');
        if (brace && (sscanf(brace, "{%d..%d}%n", &first, &last, &used) != 2 || used == 0)) return "a bad {1..N} in packages";
        if (first < 0 || last < first || last - first >= MAX_PARTS || row->package_count >= MAX_PARTS)
            return "too many packages";
        for (int i = first; i <= last; i++) {
            char one[300];
            int n = brace ? snprintf(one, sizeof one, "%.*s%d%s", (int)(brace - item), item, i, brace + used)
                          : snprintf(one, sizeof one, "%s", item);
            if (n < 0 || (size_t)n >= sizeof one || !requirement_ok(one)) return "not a package name in packages";
            if (!add_package(row, one)) return "out of memory";
        }
    }
    return row->package_count ? NULL : "no packages";
}

static const char *parse_row(model_row *row, char *line) { // returns what is wrong, or NULL
    char *column[COLUMNS];
    int n = 0;
    for (char *p = line; p && n < COLUMNS; n++) {
        column[n] = p;
        p = strchr(p, '\t');
        if (p) *p++ = '\0';
    }
    if (n < COLUMNS) return "eight columns, separated by tabs, are wanted";
    if (!name_ok(column[0])) return "not a model name (letters, digits, dot, dash, underscore)";
    bool local = strcmp(column[1], "-") == 0;
    const char *wrong = local ? NULL : parse_packages(row, column[1]);
    if (wrong) return wrong;
    if (!*column[2]) return "no file";
    if (local && column[2][0] != '/') return "the path of a local model must start with /";
    if (!local && (!number_ok(column[3], &row->size) || row->size == 0)) return "size is not a number of bytes";
    if (!local && !number_ok(column[4], &row->download)) return "download is not a number of bytes";
    if (!local && !sha256_ok(column[5])) return "sha256 is not 64 lower-case hexadecimal digits";
    row->name = strdup(column[0]), row->file = strdup(column[2]), row->sha256 = strdup(column[5]);
    row->licence = strdup(column[6]), row->description = strdup(column[7]);
    return row->name && row->file && row->sha256 && row->licence && row->description ? NULL : "out of memory";
}

static void row_free(model_row *row) {
    for (int i = 0; i < row->package_count; i++) free(row->packages[i]);
    free(row->packages), free(row->name), free(row->file), free(row->sha256), free(row->licence), free(row->description);
}

static bool add_row(catalog *c, const model_row *row) {
    for (int i = 0; i < c->count; i++) {
        if (strcmp(c->rows[i].name, row->name) != 0) continue;
        row_free(&c->rows[i]);
        c->rows[i] = *row;
        return true;
    }
    model_row *grown = realloc(c->rows, sizeof *grown * (size_t)(c->count + 1));
    if (!grown) return false;
    c->rows = grown;
    grown[c->count++] = *row;
    return true;
}

static bool parse_text(catalog *c, char *text, bool own, const char *where) {
    int number = 0;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        number++;
        line[strcspn(line, "\r")] = '\0';
        if (line[0] == '#' || line[strspn(line, " \t")] == '\0') continue;
        model_row row = {.own = own};
        const char *wrong = parse_row(&row, line);
        if (!wrong && add_row(c, &row)) continue;
        row_free(&row);
        if (!wrong) return false;
        if (!*c->warning) snprintf(c->warning, sizeof c->warning, "%.400s:%d: %s; this row is left out", where, number, wrong);
    }
    return true;
}

static char *read_text(const char *path) { // NULL: not there, too large, or no memory
    FILE *f = fopen(path, "rb");
    char *text = f ? calloc(MAX_FILE + 1, 1) : NULL;
    size_t n = text ? fread(text, 1, MAX_FILE + 1, f) : 0;
    if (f) fclose(f);
    if (n > MAX_FILE) free(text), text = NULL;
    return text;
}

bool catalog_load(catalog *c) {
    char path[PATH_MAX];
    memset(c, 0, sizeof *c);
    char *text = strdup(catalog_data[0].data);
    bool ok = text && parse_text(c, text, false, catalog_data[0].name);
    free(text);
    if (ok && xdg_path(path, sizeof path, "XDG_CONFIG_HOME", ".config", "/models.tsv") && access(path, F_OK) == 0) {
        text = read_text(path);
        if (text) ok = parse_text(c, text, true, path);
        else snprintf(c->warning, sizeof c->warning, "%.400s cannot be read (1 MB at most)", path);
        free(text);
    }
    if (!ok) catalog_free(c);
    return ok;
}

void catalog_free(catalog *c) {
    for (int i = 0; i < c->count; i++) row_free(&c->rows[i]);
    free(c->rows);
    c->rows = NULL;
    c->count = 0;
}

const model_row *catalog_find(const catalog *c, const char *name) {
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->rows[i].name, name) == 0) return &c->rows[i];
    return NULL;
}

// ---- a file by name ----------------------------------------------------------------------------
static int unknown_name(const catalog *c, const char *name, char *why, size_t cap) {
    size_t n = (size_t)snprintf(why, cap, "\"%s\" is neither a file nor a known model; known are:", name);
    for (int i = 0; i < c->count && n < cap; i++)
        n += (size_t)snprintf(why + n, cap - n, "%s %s", i ? "," : "", c->rows[i].name);
    return -1;
}

static int row_to_path(const model_row *row, char *path, size_t cap, char *why, size_t why_cap) {
    if (!model_row_path(row, path, cap))
        return snprintf(why, why_cap, "there is no cache folder: set HOME or XDG_CACHE_HOME"), -1;
    if (model_row_ready(row)) return 0;
    if (row->package_count == 0)
        return snprintf(why, why_cap, "model %s: there is no file %s", row->name, path), -1;
    return snprintf(why, why_cap, "model %s is not here yet: fetch it with `tl pull %s`", row->name, row->name), -1;
}

int model_path_by_name(const char *name, char *path, size_t cap, char *why, size_t why_cap) {
    catalog c;
    if (!catalog_load(&c)) return snprintf(why, why_cap, "out of memory"), -1;
    const model_row *row = catalog_find(&c, name ? name : MODEL_DEFAULT);
    int status;
    struct stat st;
    if (row) status = row_to_path(row, path, cap, why, why_cap);
    else if (stat(name, &st) == 0)
        status = (size_t)snprintf(path, cap, "%s", name) < cap ? 0 : (snprintf(why, why_cap, "the path is too long"), -1);
    else if (strchr(name, '/') || (strlen(name) > 5 && strcmp(name + strlen(name) - 5, ".gguf") == 0))
        status = (snprintf(why, why_cap, "%s: %s", name, strerror(errno)), -1);
    else status = unknown_name(&c, name, why, why_cap);
    catalog_free(&c);
    return status;
}
