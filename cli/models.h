// models.h - models by name: the catalog, where a model's file is, and fetching it.
// Uses nothing of the library, so that a model can be fetched by a program that cannot load one.
#ifndef CLI_MODELS_H
#define CLI_MODELS_H
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_DEFAULT "smollm2"

typedef struct model_row { // one row of models/catalog.tsv, which explains the columns; strings are owned by the catalog
    char *name;
    char **packages; // pip requirements, in the order of the parts
    int package_count; // 0: a local file, whose path is `file`
    char *file;
    int64_t size, download;
    char *sha256, *licence, *description;
    bool own; // from the user's file
} model_row;

typedef struct catalog {
    model_row *rows;
    int count;
    char warning[600]; // what was wrong in the user's file, or ""
} catalog;

// The built-in rows and the user's. False: out of memory. A bad row of the user's is left out and named in `warning`.
bool catalog_load(catalog *c);
void catalog_free(catalog *c);
const model_row *catalog_find(const catalog *c, const char *name); // NULL: no such name

// $XDG_CACHE_HOME/tensorlogic, or ~/.cache/tensorlogic. False: no home folder, or the path is longer than cap.
bool models_folder(char *path, size_t cap);
// Where the row's file is or would be.
bool model_row_path(const model_row *row, char *path, size_t cap);
bool model_row_ready(const model_row *row); // the file is there, in full size

// The file that a user means by `name`: a name of the catalog, a path, or NULL for the default model.
// 0: `path` is an existing file. -1: `why` says in one line what is wrong and what to do.
int model_path_by_name(const char *name, char *path, size_t cap, char *why, size_t why_cap);

// Fetches the row's file into the cache, showing progress on stderr unless quiet. Everything that was finished before is
// kept: calling again goes on from there. 0, or -1 with the reason in `why`.
int model_fetch(const model_row *row, bool quiet, char *why, size_t why_cap);
// Compares the file's sha256 with the row's. 0, or -1 with the reason in `why`.
int model_verify(const model_row *row, const char *path, bool quiet, char *why, size_t why_cap);
#endif
