// fmt.c - `tl fmt`: the canonical form of programs, in place.
#include "common.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// Writes a neighbour and renames it, so that a full disk leaves the program as it was.
static int replace_file(const char *path, const char *text, size_t n) {
    char target[PATH_MAX], temporary[PATH_MAX + 16];
    struct stat st;
    if (!realpath(path, target) || stat(target, &st) != 0) return fail("fmt", "%s: %s", path, strerror(errno));
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", target);
    int fd = mkstemp(temporary);
    if (fd < 0) return fail("fmt", "%s: %s", path, strerror(errno));
    FILE *f = fdopen(fd, "wb");
    bool good = f && fwrite(text, 1, n, f) == n && fchmod(fd, st.st_mode & 07777) == 0;
    if (f) good = fclose(f) == 0 && good;
    else close(fd);
    if (good && rename(temporary, target) == 0) return 0;
    int reason = errno;
    unlink(temporary);
    return fail("fmt", "%s: %s", path, strerror(reason));
}

// 0: nothing to do, 1: it differs, and the exit status + 1 after an error's message.
static int format_one(const char *path, bool check, bool *changed) {
    char *text, *out;
    size_t n, out_n;
    tl_error err;
    int status = read_file("fmt", path, &text, &n);
    if (status != 0) return status;
    bool is_stdin = strcmp(path, "-") == 0;
    if (tl_program_format(is_stdin ? "stdin" : path, text, n, &out, &out_n, &err) != TL_OK) {
        free(text);
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    bool differs = n != out_n || memcmp(text, out, n) != 0;
    *changed |= differs;
    if (check && differs) printf("%s\n", is_stdin ? "stdin" : path);
    else if (!check && is_stdin) fwrite(out, 1, out_n, stdout);
    else if (!check && differs) status = replace_file(path, out, out_n);
    free(text);
    tl_free(out);
    return status;
}

int cli_fmt(int argc, char **argv) {
    bool check = false;
    int first, status;
    const arg_option options[] = {{ARG_FLAG, "check", 0, &check, NULL, "change nothing; list the files that would change and exit with 1", 0, 0}, {0}};
    const arg_command command = {.name = "fmt", .usage = "FILE.tl ... [--check]", .options = options, .least = 1, .most = -1,
        .about = "Puts programs into their canonical form, in place; - reads stdin and writes stdout. Line breaks and comments stay\n"
                 "where they are; spaces, indentation and empty lines are made anew. A program that does not parse stays as it is."};
    if ((status = args_parse(&command, argc, argv, &first)) >= 0) return status;
    bool changed = false;
    for (int i = first; i < argc; i++) {
        int one = format_one(argv[i], check, &changed);
        if (one > status) status = one;
    }
    if (status > 0) return status;
    return check && changed ? 1 : 0;
}
